"""What was transferred from a pre-trained network, through which of its parts, and what to do about it.

Without a study: :func:`compare` two networks on data, or use :func:`cka`, :func:`linear_path`, :func:`align`,
:func:`criticality` and their like, and everything in :mod:`transferscope.measures`. With one: :func:`load_study`,
:func:`run_study`, :func:`write_report`.
"""

import importlib
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transferscope import measures as measures
    from transferscope.analyses.align_networks import align as align
    from transferscope.analyses.basin_networks import basin_networks as basin_networks
    from transferscope.analyses.cka_loader import cka as cka
    from transferscope.analyses.cka_loader import cka_networks as cka_networks
    from transferscope.analyses.compare import compare as compare
    from transferscope.analyses.curve_path import curve_path as curve_path
    from transferscope.analyses.domain_loader import domain_distance as domain_distance
    from transferscope.analyses.hessian import hessian as hessian
    from transferscope.analyses.linear_path import linear_path as linear_path
    from transferscope.analyses.module_choices import module_choices as module_choices
    from transferscope.analyses.module_criticality import criticality as criticality
    from transferscope.analyses.module_paths import module_paths as module_paths
    from transferscope.analyses.module_rewind import rewind as rewind
    from transferscope.analyses.network_spectra import spectra as spectra
    from transferscope.analyses.plane_networks import plane_around as plane_around
    from transferscope.analyses.plane_networks import plane_through as plane_through
    from transferscope.analyses.radius_curves import radius_curves as radius_curves
    from transferscope.errors import TransferscopeError as TransferscopeError
    from transferscope.report.render import write_report as write_report
    from transferscope.running.run import run_study as run_study
    from transferscope.specs import NetworkSpec as NetworkSpec
    from transferscope.study import Study as Study
    from transferscope.study_file import load_study as load_study

__version__ = version("transferscope")

_PLACES = {
    "NetworkSpec": "transferscope.specs",
    "Study": "transferscope.study",
    "TransferscopeError": "transferscope.errors",
    "align": "transferscope.analyses.align_networks",
    "basin_networks": "transferscope.analyses.basin_networks",
    "cka": "transferscope.analyses.cka_loader",
    "cka_networks": "transferscope.analyses.cka_loader",
    "compare": "transferscope.analyses.compare",
    "criticality": "transferscope.analyses.module_criticality",
    "curve_path": "transferscope.analyses.curve_path",
    "domain_distance": "transferscope.analyses.domain_loader",
    "hessian": "transferscope.analyses.hessian",
    "linear_path": "transferscope.analyses.linear_path",
    "load_study": "transferscope.study_file",
    "module_choices": "transferscope.analyses.module_choices",
    "module_paths": "transferscope.analyses.module_paths",
    "plane_around": "transferscope.analyses.plane_networks",
    "plane_through": "transferscope.analyses.plane_networks",
    "radius_curves": "transferscope.analyses.radius_curves",
    "rewind": "transferscope.analyses.module_rewind",
    "run_study": "transferscope.running.run",
    "spectra": "transferscope.analyses.network_spectra",
    "write_report": "transferscope.report.render",
}

__all__ = [
    "NetworkSpec",
    "Study",
    "TransferscopeError",
    "__version__",
    "align",
    "basin_networks",
    "cka",
    "cka_networks",
    "compare",
    "criticality",
    "curve_path",
    "domain_distance",
    "hessian",
    "linear_path",
    "load_study",
    "measures",
    "module_choices",
    "module_paths",
    "plane_around",
    "plane_through",
    "radius_curves",
    "rewind",
    "run_study",
    "spectra",
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
