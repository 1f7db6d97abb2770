"""What was transferred from a pre-trained network, through which of its parts, and what to do about it.

Without a study: :func:`compare` two networks on data, or use :func:`cka`, :func:`linear_path`, :func:`align`,
:func:`criticality` and their like, and everything in :mod:`transferscope.measures`. With one: ``Study(...).run()``
gives :class:`StudyResults`; :func:`load_study` reads a study file, :func:`load_results` the folder of a report.
"""

import importlib
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transferscope import measures as measures
    from transferscope.errors import TransferscopeError as TransferscopeError
    from transferscope.methods.alignment.align import align as align
    from transferscope.methods.averaging.advice import AverageData as AverageData
    from transferscope.methods.averaging.advice import AverageStart as AverageStart
    from transferscope.methods.averaging.advice import average_checkpoints as average_checkpoints
    from transferscope.methods.averaging.advice import average_networks as average_networks
    from transferscope.methods.compare.compare import PathGrid as PathGrid
    from transferscope.methods.compare.compare import compare as compare
    from transferscope.methods.domains.distance import domain_distance as domain_distance
    from transferscope.methods.domains.features import Domain as Domain
    from transferscope.methods.evaluation import Evaluation as Evaluation
    from transferscope.methods.evaluation import Execution as Execution
    from transferscope.methods.landscape.basin import BasinGrid as BasinGrid
    from transferscope.methods.landscape.basin import basin_networks as basin_networks
    from transferscope.methods.landscape.curve import curve_path as curve_path
    from transferscope.methods.landscape.hessian import hessian as hessian
    from transferscope.methods.landscape.linear_path import linear_path as linear_path
    from transferscope.methods.landscape.plane import plane_around as plane_around
    from transferscope.methods.landscape.plane import plane_through as plane_through
    from transferscope.methods.landscape.radius_curves import radius_curves as radius_curves
    from transferscope.methods.modules.choices import ChoiceData as ChoiceData
    from transferscope.methods.modules.choices import module_choices as module_choices
    from transferscope.methods.modules.criticality import CriticalitySearch as CriticalitySearch
    from transferscope.methods.modules.criticality import criticality as criticality
    from transferscope.methods.modules.paths import module_paths as module_paths
    from transferscope.methods.modules.rewind import ModuleSelection as ModuleSelection
    from transferscope.methods.modules.rewind import rewind as rewind
    from transferscope.methods.similarity.cka import CkaEstimator as CkaEstimator
    from transferscope.methods.similarity.cka import cka as cka
    from transferscope.methods.similarity.cka import cka_networks as cka_networks
    from transferscope.methods.spectra import spectra as spectra
    from transferscope.python.images import images_source as images_source
    from transferscope.python.results import StudyResults as StudyResults
    from transferscope.python.study import Study as Study
    from transferscope.python.study import load_results as load_results
    from transferscope.python.study import load_study as load_study
    from transferscope.report.render import write_report as write_report
    from transferscope.running.run import run_study as run_study
    from transferscope.scores.result import Scores as Scores
    from transferscope.scores.score import score as score
    from transferscope.specs.network import NetworkSpec as NetworkSpec
    from transferscope.watching.lightning_callback import lightning_callback as lightning_callback
    from transferscope.watching.reading import read_watched as read_watched
    from transferscope.watching.settings import Keep as Keep
    from transferscope.watching.settings import Recording as Recording
    from transferscope.watching.start import watch as watch
    from transferscope.watching.transformers_callback import transformers_callback as transformers_callback

__version__ = version("transferscope")

_PLACES = {
    "AverageData": "transferscope.methods.averaging.advice",
    "AverageStart": "transferscope.methods.averaging.advice",
    "BasinGrid": "transferscope.methods.landscape.basin",
    "ChoiceData": "transferscope.methods.modules.choices",
    "CkaEstimator": "transferscope.methods.similarity.cka",
    "CriticalitySearch": "transferscope.methods.modules.criticality",
    "Domain": "transferscope.methods.domains.features",
    "Evaluation": "transferscope.methods.evaluation",
    "Execution": "transferscope.methods.evaluation",
    "Keep": "transferscope.watching.settings",
    "ModuleSelection": "transferscope.methods.modules.rewind",
    "NetworkSpec": "transferscope.specs.network",
    "PathGrid": "transferscope.methods.compare.compare",
    "Recording": "transferscope.watching.settings",
    "Scores": "transferscope.scores.result",
    "Study": "transferscope.python.study",
    "StudyResults": "transferscope.python.results",
    "TransferscopeError": "transferscope.errors",
    "align": "transferscope.methods.alignment.align",
    "average_checkpoints": "transferscope.methods.averaging.advice",
    "average_networks": "transferscope.methods.averaging.advice",
    "basin_networks": "transferscope.methods.landscape.basin",
    "cka": "transferscope.methods.similarity.cka",
    "cka_networks": "transferscope.methods.similarity.cka",
    "compare": "transferscope.methods.compare.compare",
    "criticality": "transferscope.methods.modules.criticality",
    "curve_path": "transferscope.methods.landscape.curve",
    "domain_distance": "transferscope.methods.domains.distance",
    "hessian": "transferscope.methods.landscape.hessian",
    "images_source": "transferscope.python.images",
    "lightning_callback": "transferscope.watching.lightning_callback",
    "linear_path": "transferscope.methods.landscape.linear_path",
    "load_results": "transferscope.python.study",
    "load_study": "transferscope.python.study",
    "module_choices": "transferscope.methods.modules.choices",
    "module_paths": "transferscope.methods.modules.paths",
    "plane_around": "transferscope.methods.landscape.plane",
    "plane_through": "transferscope.methods.landscape.plane",
    "radius_curves": "transferscope.methods.landscape.radius_curves",
    "read_watched": "transferscope.watching.reading",
    "rewind": "transferscope.methods.modules.rewind",
    "run_study": "transferscope.running.run",
    "score": "transferscope.scores.score",
    "spectra": "transferscope.methods.spectra",
    "transformers_callback": "transferscope.watching.transformers_callback",
    "watch": "transferscope.watching.start",
    "write_report": "transferscope.report.render",
}

__all__ = [
    "AverageData",
    "AverageStart",
    "BasinGrid",
    "ChoiceData",
    "CkaEstimator",
    "CriticalitySearch",
    "Domain",
    "Evaluation",
    "Execution",
    "Keep",
    "ModuleSelection",
    "NetworkSpec",
    "PathGrid",
    "Recording",
    "Scores",
    "Study",
    "StudyResults",
    "TransferscopeError",
    "__version__",
    "align",
    "average_checkpoints",
    "average_networks",
    "basin_networks",
    "cka",
    "cka_networks",
    "compare",
    "criticality",
    "curve_path",
    "domain_distance",
    "hessian",
    "images_source",
    "lightning_callback",
    "linear_path",
    "load_results",
    "load_study",
    "measures",
    "module_choices",
    "module_paths",
    "plane_around",
    "plane_through",
    "radius_curves",
    "read_watched",
    "rewind",
    "run_study",
    "score",
    "spectra",
    "transformers_callback",
    "watch",
    "write_report",
]


def __getattr__(name: str) -> Any:
    # Names are imported when they are first used, so that the command starts without loading torch.
    if name == "measures":
        return importlib.import_module("transferscope.measures")
    if name in _PLACES:
        value = getattr(importlib.import_module(_PLACES[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'transferscope' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
