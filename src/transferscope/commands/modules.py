"""``modules``: what a fine-tuned network can do without, on the user's data."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from transferscope.commands.comparing import of_each, progress
from transferscope.commands.printing import say, seconds_words
from transferscope.errors import OptionError

if TYPE_CHECKING:
    from transferscope.data.sources import AbstractSource
    from transferscope.methods.modules.choices import ModuleWork
    from transferscope.specs.architecture import Weights

_PICTURES = (".svg", ".png")


def modules(
    finetuned: Path,
    pretrained: str,
    model: str | None,
    data: "Path | AbstractSource",
    image_size: int | None,
    which: Sequence[str],
    margin: float,
    picture: Path | None,
    *,
    quiet: bool,
) -> None:
    """Print which modules can go back to their pre-trained value, or go altogether.

    Args:
        finetuned: file of weights.
        pretrained: ``timm``, ``package:NAME`` or a file.
        model: the architecture; None reads it from the metadata of ``finetuned``.
        data: labelled pictures: class folders, Parquet or NumPy files.
        image_size: height and width in pixels; None takes the default.
        which: of the networks in the files: one word for both, or one for each.
        margin: loss of the metric that counts as none.
        picture: where the picture goes, as SVG or PNG by its name; None draws none.
        quiet: show no progress.

    Raises:
        OptionError: the picture's name has another ending.
        TransferscopeError: what was measured went wrong.
    """
    if picture is not None and picture.suffix not in _PICTURES:
        raise OptionError("the picture is of an unknown kind", expected=" or ".join(_PICTURES), got=repr(picture.name))
    from transferscope.files.modules import module_files
    from transferscope.files.networks import FileSettings
    from transferscope.specs.architecture import FileWeights, weights_from_text

    weights = cast("Weights", weights_from_text(pretrained))
    first, second = of_each(which)
    if isinstance(weights, FileWeights):
        weights = FileWeights(path=weights.path, which=second)
    with progress(quiet=quiet) as (on_step, on_note):
        found = module_files(
            FileWeights(path=str(finetuned), which=first),
            weights,
            FileSettings(data, model, image_size),
            margin=margin,
            on_step=on_step,
            on_note=on_note,
            on_plan=lambda work, seconds: on_note(_plan_words(work, seconds)),
        )
    say(found.text)
    if picture is None:
        return
    from transferscope.plots.export import png, svg
    from transferscope.plots.module_choices import figure
    from transferscope.store.atomic import replace_file

    drawn = svg(figure(found.table, found.metric_name, found.margin).chart())
    replace_file(picture, png(drawn) if picture.suffix == ".png" else drawn.encode())
    say(f"picture: {picture}")


def _plan_words(work: "ModuleWork", seconds: float) -> str:
    """What will be done, before it is begun."""
    return (
        f"to do: {work.modules} modules put back and at 0, with noise, and lists of them; at most {work.points:,} "
        f"points (networks to evaluate), {work.images:,} images, {seconds_words(seconds)} by the time of one batch; "
        "less where the search ends early and what lies before a module is kept"
    )
