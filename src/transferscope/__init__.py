"""What was transferred from a pre-trained network, through which of its parts, and what to do about it.

Without a study: :func:`compare` two networks on data, or use :func:`cka`, :func:`linear_path` and everything in
:mod:`transferscope.measures`. With one: :func:`load_study`, :func:`run_study`, :func:`write_report`.
"""

import importlib
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transferscope import measures as measures
    from transferscope.analyses.cka_loader import cka as cka
    from transferscope.analyses.cka_loader import cka_networks as cka_networks
    from transferscope.analyses.compare import compare as compare
    from transferscope.analyses.domain_loader import domain_distance as domain_distance
    from transferscope.analyses.linear_path import linear_path as linear_path
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
    "cka": "transferscope.analyses.cka_loader",
    "cka_networks": "transferscope.analyses.cka_loader",
    "compare": "transferscope.analyses.compare",
    "domain_distance": "transferscope.analyses.domain_loader",
    "linear_path": "transferscope.analyses.linear_path",
    "load_study": "transferscope.study_file",
    "run_study": "transferscope.running.run",
    "write_report": "transferscope.report.render",
}

__all__ = [
    "NetworkSpec",
    "Study",
    "TransferscopeError",
    "__version__",
    "cka",
    "cka_networks",
    "compare",
    "domain_distance",
    "linear_path",
    "load_study",
    "measures",
    "run_study",
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
