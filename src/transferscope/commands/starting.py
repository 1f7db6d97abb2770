"""``init``: a commented study for the user's own data or model."""

from pathlib import Path

from transferscope.commands.printing import say
from transferscope.errors import StudyError

__all__ = ["init"]


def init(
    data: Path | None,
    model: str | None,
    architecture: str | None,
    name: str | None,
    output: Path | None,
    *,
    force: bool,
) -> Path:
    """Write a study.

    Args:
        data: folder or file of labelled pictures; None for a study of solar cells.
        model: as of :func:`transferscope.starter.find_model`.
        architecture: as of :func:`transferscope.starter.find_model`.
        name: of the study; from ``data`` or ``model`` where None.
        output: the file; ``NAME.yaml`` in the current folder where None.
        force: overwrite.

    Returns:
        The file.

    Raises:
        StudyError: the file exists, or the name cannot be one.
        TransferscopeError: the data or the model cannot be used.
    """
    from transferscope.networks.settings import Architecture
    from transferscope.starter import find_data, find_model, starter_study, study_name

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
    chosen = find_model(model, architecture)
    found = find_data(data) if data is not None else None
    text = starter_study(name, found, chosen, path.parent)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    if found is not None:
        say(f"found {len(found.listing.names)} pictures of {len(found.listing.classes)} classes in {data}")
    say(f"wrote {path}")
    consent = " --allow-code" if Architecture(name=chosen.architecture).code is not None else ""
    say(f"what it will take:  transferscope plan {path}{consent}")
    say(f"run it:             transferscope run {path}{consent}")
    return path
