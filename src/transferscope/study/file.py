"""Study files: YAML in, YAML out, every problem at once."""

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from transferscope.data.sources import Arrays, Folder, Parquet, Torchvision
from transferscope.errors import ArchitectureError, StudyError, nearest
from transferscope.factories import GROUP, offered
from transferscope.frozen import Frozen
from transferscope.specs.architecture import Architecture, FileWeights
from transferscope.study.analysis_settings import AnalysisSettings
from transferscope.study.overrides import override
from transferscope.study.problems import Place, Problem, problems_of, shown
from transferscope.study.registry import ANALYSES, analysis_type
from transferscope.study.settings import Study
from transferscope.study.tracker_settings import Mlflow, TensorBoard, Wandb
from transferscope.study.yaml import Document, parse_document, read_document, write_values


def load_study(path: str | Path, overrides: Sequence[str] = (), *, allow_code: bool = False) -> Study:
    """Read a study.

    Overrides are merged first, then everything is validated once. Relative paths in the file start at the folder of the
    file, so that a study means the same wherever it is started from; those in overrides start at the current folder, as
    elsewhere on a command line.

    Args:
        path: of a YAML file.
        overrides: as after ``--set``: ``target.image_size=96``, ``seeds=[0, 1]``, ``seeds.0=7``,
            ``analyses.similarity.granularity=block``; values are YAML.
        allow_code: accept functions (``package.module:function``) that the file names. Without it only those that an
            override names or an installed package offers (:func:`transferscope.factories.offered`) are accepted.
            Nothing is imported here either way.

    Returns:
        The study, its paths absolute.

    Raises:
        StudyError: the file is missing, not YAML, or its settings do not hold together: all problems at
        once, each with its place, line or override, what was expected and what came, and the nearest names where one is
            misspelt.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise StudyError("this is no path of a study", expected="a str or Path", got=type(path).__name__)
    if not isinstance(overrides, (list, tuple)) or not all(isinstance(text, str) for text in overrides):
        raise StudyError("overrides are texts", expected='several, such as ["seeds.0=7"]', got=repr(overrides))
    return _study(read_document(Path(path)), Path(path), overrides, allow_code)


def parse_study(text: str, path: Path, overrides: Sequence[str] = ()) -> Study:
    """Check the text of a study to be written to ``path``; it may name functions, as nothing is run."""
    return _study(parse_document(text, path), path, overrides, allow_code=True)


def _study(document: Document, path: Path, overrides: Sequence[str], allow_code: bool) -> Study:
    problems = list(document.problems)
    origins: dict[Place, str] = {}
    for text in overrides:
        try:
            origins[override(document.values, text)] = text
        except ValueError as error:
            problems.append(Problem((), str(error), override=text))
    study: Study | None = None
    try:
        study = Study.model_validate(document.values)
    except ValidationError as error:
        found = _found(error, document.values)
        problems += [_located(problem, document, origins) for problem in found]
    if study is None or problems:
        problems += [_located(item, document, origins) for item in _architecture_problems(document.values)]
        raise _study_error(path, problems)
    if not allow_code:
        _refuse_code(path, study, document, origins)
    anchored: Study = _with_paths(study, path.resolve().parent, origins)
    return anchored


def _refuse_code(path: Path, study: Study, document: Document, origins: Collection[Place]) -> None:
    asked = [
        (place, code)
        for place, code in code_named(study)
        if not any(place[:length] in origins for length in range(1, len(place) + 1)) and not offered(code)
    ]
    if asked:
        lines = [f"  {Problem(place, code, line=document.line(place))}" for place, code in asked]
        raise StudyError(
            "\n".join([f"the study {path} names functions, and a file never decides which code runs:", *lines]),
            expected="the consent of whoever runs it: --allow-code (in Python: load_study(..., allow_code=True))",
            hint=f"look at the functions first; a package offers its own to every study by entry points named {GROUP}",
        )


def code_named(value: Any, place: Place = ()) -> Iterator[tuple[Place, str]]:
    """The functions that settings name, each with its place."""
    if isinstance(value, tuple):
        for index, item in enumerate(value):
            inside: Place = (*place, index, item.name) if isinstance(item, AnalysisSettings) else (*place, index)
            yield from code_named(item, inside)
    if not isinstance(value, Frozen):
        return
    if value.code is not None:
        field = next(name for name in type(value).model_fields if getattr(value, name) == value.code)
        yield (*place, field), value.code
    for name in type(value).model_fields:
        yield from code_named(getattr(value, name), (*place, name))


def dump_study(study: Study) -> str:
    """A study as YAML, every setting written out.

    ``load_study`` of this text gives an equal study, if the paths of the study are absolute (those of every loaded
    study are).
    """
    return write_values(study.model_dump(mode="json"))


def _found(error: ValidationError, values: dict[str, Any]) -> list[Problem]:
    problems = problems_of(error, Study)
    inside = _analysis_problems(values.get("analyses"))
    if not inside:
        return problems
    # The study's own validator stops at the first analysis that fails and knows no lines.
    return [problem for problem in problems if problem.place != ("analyses",)] + inside


def _analysis_problems(items: Any) -> list[Problem]:
    problems: list[Problem] = []
    for index, item in enumerate(items if isinstance(items, list) else []):
        place: Place = ("analyses", index)
        if isinstance(item, str):
            item = {item: None}
        if not isinstance(item, dict) or len(item) != 1:
            problems.append(
                Problem(place, f"expected the name of an analysis, or one 'name: {{settings}}', got {shown(item)}")
            )
            continue
        ((name, settings),) = item.items()
        if name not in ANALYSES:
            problems.append(Problem(place, f"there is no analysis {name!r}; {nearest(name, ANALYSES)}"))
            continue
        kind: type[AnalysisSettings] = analysis_type(name)
        try:
            kind.model_validate({} if settings is None else settings)
        except ValidationError as error:
            problems += problems_of(error, kind, (*place, name))
    return problems


def _architecture_problems(values: dict[str, Any]) -> list[Problem]:
    """Whether the architecture exists: asked only when other problems are told, as it takes importing torch.

    Without other problems the first use of the architecture says the same.
    """
    source = values.get("source")
    given = source.get("architecture") if isinstance(source, dict) else None
    name = given.get("name") if isinstance(given, dict) else given
    if not isinstance(name, str) or Architecture(name=name).code is not None:
        return []  # a study that is not valid imports nothing
    from transferscope.networks.architectures import check_architecture

    try:
        check_architecture(Architecture(name=name))
    except ArchitectureError as error:
        text = "; ".join(part for part in (error.what, error.hint) if part)
        return [Problem(("source", "architecture"), text)]
    return []


def _located(problem: Problem, document: Document, origins: dict[Place, str]) -> Problem:
    for length in range(len(problem.place), 0, -1):
        if problem.place[:length] in origins:
            return replace(problem, override=origins[problem.place[:length]])
    return replace(problem, line=document.line(problem.place))


def _study_error(path: Path, problems: Sequence[Problem]) -> StudyError:
    ordered = sorted(problems, key=lambda problem: (problem.override is not None, problem.line or 0))
    count = "1 problem" if len(ordered) == 1 else f"{len(ordered)} problems"
    lines = [f"  {problem}" for problem in ordered]
    return StudyError(
        "\n".join([f"the study {path} has {count}:", *lines]),
        hint="'transferscope schema --markdown' lists all settings; docs/study.md is the same page",
    )


_PATHS: dict[type[Frozen], tuple[str, ...]] = {
    FileWeights: ("path",),
    Folder: ("path",),
    Parquet: ("path",),
    Arrays: ("images", "labels", "groups", "splits"),
    Torchvision: ("root",),
    Mlflow: ("folder",),
    TensorBoard: ("folder",),
    Wandb: ("folder",),
}
"""The settings that hold paths."""


def holds_path(settings: Frozen, name: str) -> bool:
    """Whether the setting ``name`` of ``settings`` is a path, which may be written relative to the study."""
    return name in _PATHS.get(type(settings), ())


def _with_paths(value: Any, folder: Path, origins: Collection[Place], place: Place = ()) -> Any:
    """``value`` with every path absolute: relative ones start at ``folder``, those of overrides at the current one."""
    if place in origins:
        folder = Path.cwd()
    if isinstance(value, tuple):
        return tuple(_with_paths(item, folder, origins, (*place, index)) for index, item in enumerate(value))
    if not isinstance(value, Frozen):
        return value
    changed = {}
    for name in type(value).model_fields:
        old = getattr(value, name)
        if holds_path(value, name) and old is not None:
            start = Path.cwd() if (*place, name) in origins else folder
            new: Any = os.path.normpath(start / os.path.expanduser(old))
        else:
            new = _with_paths(old, folder, origins, (*place, name))
        if new != old:
            changed[name] = new
    return value.model_copy(update=changed) if changed else value
