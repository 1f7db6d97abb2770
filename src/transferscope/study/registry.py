"""All analyses, by name: those of this package, and those that installed packages add; imported when asked for."""

import importlib
import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import Distribution, EntryPoint, distributions
from typing import Any

from pydantic import ValidationError

from transferscope.errors import AnalysisError, nearest
from transferscope.study.analysis_settings import AnalysisSettings
from transferscope.study.renamed import unknown_setting

GROUP = "transferscope.analyses"
"""Entry points by which an installed package adds analyses: ``name = "module:Class"``."""

BUILT_IN: dict[str, str] = {
    "learning_rate": "LearningRate",
    "outcome": "Outcome",
    "learning_curves": "LearningCurves",
    "mistakes": "MistakesAnalysis",
    "mistakes_in_training": "MistakesInTraining",
    "similarity": "Similarity",
    "similarity_in_training": "SimilarityInTraining",
    "similarity_by_size": "SimilarityBySize",
    "reused_channels": "ReusedChannels",
    "distance": "DistanceAnalysis",
    "distance_in_training": "DistanceInTraining",
    "path": "Path",
    "module_path": "ModulePath",
    "path_in_training": "PathInTraining",
    "plane": "PlaneAnalysis",
    "basin": "Basins",
    "flatness": "Flatness",
    "curve": "CurveAnalysis",
    "align": "Align",
    "block_shuffle": "InputAblations",
    "control": "ControlAnalysis",
    "transplant": "TransplantAnalysis",
    "checkpoint": "CheckpointAnalysis",
    "negative_transfer": "NegativeTransfer",
    "probe": "Probe",
    "reuse": "ReuseAnalysis",
    "domain_distance": "DomainDistance",
    "spectrum": "SpectrumAnalysis",
    "criticality": "CriticalityAnalysis",
    "rewind": "Rewind",
    "average": "AverageAnalysis",
    "label_budget": "LabelBudget",
    "imbalance": "Imbalance",
    "freeze": "FreezeAnalysis",
    "start": "StartAnalysis",
}
"""Name of each analysis of this package, which is also its folder, and its class."""


class _Analyses(Mapping[str, str]):
    """Where the class of each analysis is, ``module:Class``; looked up anew, as packages may be installed meanwhile."""

    def __getitem__(self, name: str) -> str:
        if name in BUILT_IN:
            return f"transferscope.analyses.{name}.analysis:{BUILT_IN[name]}"
        return _installed(tuple(sys.path))[name][0].value

    def __iter__(self) -> Iterator[str]:
        yield from BUILT_IN
        yield from sorted(_installed(tuple(sys.path)).keys() - BUILT_IN)

    def __len__(self) -> int:
        return sum(1 for _ in self)


ANALYSES: Mapping[str, str] = _Analyses()
"""Every analysis by its name: those of this package, then those of installed ones; none is imported."""

DEFAULT_ANALYSES = ("outcome", "learning_curves", "mistakes", "similarity", "distance", "path")
"""The analyses of a study that names none."""


@cache
def _installed(places: tuple[str, ...]) -> Mapping[str, list[EntryPoint]]:
    """The entry points of installed packages, by the name of the analysis; a package found twice counts once."""
    packages: dict[str, Distribution] = {}
    for package in distributions(path=list(places)):
        packages.setdefault(re.sub(r"[-_.]+", "-", package.name).lower(), package)
    found: dict[str, list[EntryPoint]] = {}
    for package in packages.values():
        for point in package.entry_points:
            if point.group == GROUP:
                found.setdefault(point.name, []).append(point)
    return found


def analysis_type(name: str) -> type[AnalysisSettings]:
    """The class of the analysis called ``name``."""
    if name not in ANALYSES:
        raise ValueError(f"unknown analysis {name!r}: {nearest(name, ANALYSES)}")
    points = _installed(tuple(sys.path)).get(name, [])
    owners = [f"the package {point.dist.name!r}" for point in points if point.dist is not None]
    if name in BUILT_IN:
        owners.insert(0, "transferscope")
    if len(owners) > 1:
        raise AnalysisError(
            f"there are two analyses called {name!r}",
            expected="a name that no other installed package gives",
            got=" and ".join(owners),
            hint="uninstall one of the packages, or ask its authors for another name",
        )
    module, _, attribute = ANALYSES[name].partition(":")
    if not points:
        found: type[AnalysisSettings] = getattr(importlib.import_module(module), attribute)
        return found
    return _usable(points[0], name, owners[0])


def _usable(point: EntryPoint, name: str, owner: str) -> type[AnalysisSettings]:
    """The class that an entry point names, checked at the door."""
    what = f"the analysis {name!r} of {owner} cannot be used"
    hint = "update or uninstall the package, or tell its authors"
    try:
        kind = point.load()
    except Exception as error:  # a module of somebody's may raise anything when it is imported
        got = f"{type(error).__name__}: {error}"
        raise AnalysisError(what, expected=f"{point.value} can be imported", got=got, hint=hint) from error
    # By name, as of every analysis: settings know no analyses.
    base = importlib.import_module("transferscope.analyses.contract").AbstractAnalysis
    if not (isinstance(kind, type) and issubclass(kind, base)):
        raise AnalysisError(what, expected="a class derived from AbstractAnalysis", got=repr(kind), hint=hint)
    lacking = [item for item in AnalysisSettings.__annotations__ if not hasattr(kind, item)]
    if lacking := sorted({*lacking, *getattr(kind, "__abstractmethods__", ())}):
        raise AnalysisError(what, expected=f"{', '.join(lacking)}, on the class", got="none", hint=hint)
    usable: type[AnalysisSettings] = kind
    if usable.name != name:
        got = f"an entry point {name!r} for the class of {usable.name!r}"
        raise AnalysisError(what, expected="an entry point of the name that its class has", got=got, hint=hint)
    return usable


def beside(kind: type[AnalysisSettings]) -> str | None:
    """The package in which the class of an analysis lies, with its plot and its card.

    Returns:
        None for a class in a module outside of packages, which has nothing beside it.
    """
    return kind.__module__.rpartition(".")[0] or None


def parse_analysis(item: Any) -> AnalysisSettings:
    """An analysis from ``name``, ``{name: settings}`` or an analysis."""
    if isinstance(item, AnalysisSettings):
        return item
    if isinstance(item, str):
        item = {item: None}
    if not isinstance(item, dict) or len(item) != 1 or not isinstance(next(iter(item)), str):
        raise ValueError(f"expected a name or one 'name: {{settings}}', got {item!r}")
    ((name, settings),) = item.items()
    kind = analysis_type(name)
    try:
        # Not kind(**settings): settings of another type must be a message, not a TypeError.
        return kind.model_validate({} if settings is None else settings)
    except ValidationError as error:
        lines = []
        for problem in error.errors():
            place = ".".join(str(part) for part in problem["loc"])
            hint = ""
            if problem["type"] == "extra_forbidden":
                hint = f" ({unknown_setting(str(problem['loc'][-1]), [kind])})"
            lines.append(f"{name}.{place}: {problem['msg']}{hint}")
        raise ValueError("; ".join(lines)) from error
