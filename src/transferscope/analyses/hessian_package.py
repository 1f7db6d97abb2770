"""Whether the package that multiplies with Hessians is there; known without importing torch."""

import importlib.util

__all__ = ["PACKAGE", "hessian_available"]

PACKAGE = "curvlinops-for-pytorch"
"""The distribution; the extra ``hessian`` installs it."""


def hessian_available() -> bool:
    """Whether curvlinops can be imported; nothing is imported."""
    return importlib.util.find_spec("curvlinops") is not None
