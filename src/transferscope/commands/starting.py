"""``init``: a commented study for the user's own data or model."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from transferscope.commands.looking import brief_data
from transferscope.commands.printing import DEFAULT_STORE, notes, say, study_command
from transferscope.commands.settings import divided
from transferscope.errors import StudyError, counted

if TYPE_CHECKING:
    from transferscope.study.template import Found

_MOST_CLASSES = 12


def init(
    data: Path | None,
    model: str | None,
    architecture: str | None,
    name: str | None,
    output: Path | None,
    overrides: Sequence[str] = (),
    *,
    which: str | None = None,
    quick: bool = False,
    force: bool = False,
) -> Path:
    """Write a study.

    What a plan would refuse after minutes is refused here: data that cannot be read or divided, settings that do not
    hold together, packages that are not installed.

    Args:
        data: folder or file of labelled pictures; None for a study of solar cells.
        model: see :func:`transferscope.study.template.find_model`.
        architecture: see :func:`transferscope.study.template.find_model`.
        name: of the study; from ``data`` or ``model`` where None.
        output: the file; ``NAME.yaml`` in the current folder where None.
        overrides: settings written into it, as after ``--set``; those of ``target.data`` say how the data are read.
        quick: few and short trainings, for a first look.
        which: see :func:`transferscope.study.template.find_model`.
        force: overwrite.

    Returns:
        The file.

    Raises:
        StudyError: the file exists, the name cannot be one, or settings do not fit.
        TransferscopeError: the data or the model cannot be used.
    """
    from transferscope.data.sources import Elpv
    from transferscope.specs.architecture import Architecture
    from transferscope.store.atomic import replace_file
    from transferscope.study.edit import with_settings
    from transferscope.study.file import parse_study
    from transferscope.study.template import (
        check_division,
        find_data,
        find_model,
        most_trainings,
        quick_settings,
        starter_study,
        study_name,
    )

    if name is not None and study_name(Path(name)) != name:
        raise StudyError(
            f"{name!r} cannot be the name of a study",
            expected="letters, digits, '.', '_' and '-', 64 at most, a letter or digit first",
            hint=f"--name {study_name(Path(name))}",
        )
    if name is None:
        name = study_name(data) if data is not None else study_name(Path(model)) if model else "solar-cells"
    path = output if output is not None else Path(f"{name}.yaml")
    if path.exists() and not force:
        raise StudyError(f"{path} exists already", hint="--output FILE names another, --force overwrites it")
    chosen = find_model(model, architecture, which)
    asked, others = divided(overrides)
    if data is None and not asked:
        Elpv().listing()  # an error where its package is not installed
    found = find_data(data, asked) if data is not None else None
    # Settings of data that were looked at are part of the text already.
    others = [*(quick_settings(found) if quick else ()), *(others if found is not None else overrides)]
    text = starter_study(name, found, chosen, path.parent)
    study = parse_study(text, path, others)
    if found is not None:
        check_division(found, study.target.splits)
    text = with_settings(text, path, others)
    replace_file(path, text.encode())
    if found is not None and data is not None:
        _say_found(found, data)
        brief_data(found, data)
    say(f"wrote {path}")
    epochs = study.training.recipe.epochs
    shorter = "" if quick else "; for a first look: --quick"
    say(f"trainings, at most: {most_trainings(study)} of {counted(epochs, 'epoch')} each{shorter}")
    code = Architecture(name=chosen.architecture).code is not None
    say(f"what it will take:  {study_command('plan', path, (), DEFAULT_STORE, allow_code=code)}")
    say(f"run it:             {study_command('run', path, (), DEFAULT_STORE, allow_code=code)}")
    return path


def _say_found(found: "Found", data: Path | None) -> None:
    listing = found.listing
    held = Counter(listing.labels.nonzero()[1].tolist() if listing.multi_label else listing.labels.tolist())
    shown = [f"{name} ({held[number]})" for number, name in enumerate(listing.classes)]
    more = f" and {len(shown) - _MOST_CLASSES} more" if len(shown) > _MOST_CLASSES else ""
    kinds = "labels" if listing.multi_label else "classes"
    say(f"found {counted(len(listing.names), 'picture')} of {len(shown)} {kinds} in {data}")
    say(f"{kinds}: {', '.join(shown[:_MOST_CLASSES])}{more}")
    given = Counter(listing.splits or ())
    splits = ", ".join(f"{split} ({given[split]})" for split in ("train", "validation", "test") if given[split])
    say(f"splits: {splits or 'none given; pictures to validate and test on are drawn from each class'}")
    notes(found.notes)
