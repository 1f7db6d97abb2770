"""All analyses, by name; imported when asked for."""

import importlib
from typing import Any

from pydantic import ValidationError

from transferscope.errors import nearest
from transferscope.study.analysis_settings import AnalysisSettings

__all__ = ["ANALYSES", "DEFAULT_ANALYSES", "analysis_type", "beside", "parse_analysis"]

ANALYSES: dict[str, str] = {
    "learning_rate": "LearningRate",
    "outcome": "Outcome",
    "learning_curves": "LearningCurves",
    "mistakes": "Mistakes",
    "mistakes_in_training": "MistakesInTraining",
    "similarity": "Similarity",
    "similarity_in_training": "SimilarityInTraining",
    "similarity_by_size": "SimilarityBySize",
    "reused_channels": "ReusedChannels",
    "distance": "Distance",
    "distance_in_training": "DistanceInTraining",
    "path": "Path",
    "module_path": "ModulePath",
    "path_in_training": "PathInTraining",
    "plane": "Plane",
    "basin": "Basins",
    "flatness": "Flatness",
    "curve": "Curve",
    "align": "Align",
    "block_shuffle": "InputAblations",
    "control": "Control",
    "transplant": "Transplant",
    "probe": "Probe",
    "reuse": "Reuse",
    "domain_distance": "DomainDistance",
    "spectrum": "Spectrum",
    "criticality": "Criticality",
    "rewind": "Rewind",
}
"""Name of each analysis, which is also its folder, and its class."""

DEFAULT_ANALYSES = ("outcome", "learning_curves", "mistakes", "similarity", "distance", "path")
"""The analyses of a study that names none."""


def analysis_type(name: str) -> type[AnalysisSettings]:
    """The class of the analysis called ``name``.

    Raises:
        ValueError: there is none of that name (the nearest names are offered).
    """
    if name not in ANALYSES:
        raise ValueError(f"unknown analysis {name!r}: {nearest(name, ANALYSES)}")
    module = importlib.import_module(f"transferscope.analyses.{name}.analysis")
    found: type[AnalysisSettings] = getattr(module, ANALYSES[name])
    return found


def beside(kind: type[AnalysisSettings]) -> str | None:
    """The package in which the class of an analysis lies, with its plot and its card.

    Returns:
        None for a class in a module outside of packages, which has nothing beside it.
    """
    return kind.__module__.rpartition(".")[0] or None


def parse_analysis(item: Any) -> AnalysisSettings:
    """An analysis from ``name``, ``{name: settings}`` or an analysis.

    Raises:
        ValueError: an unknown name, or settings that do not fit, each named.
    """
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
                hint = f" ({nearest(str(problem['loc'][-1]), kind.model_fields)})"
            lines.append(f"{name}.{place}: {problem['msg']}{hint}")
        raise ValueError("; ".join(lines)) from error
