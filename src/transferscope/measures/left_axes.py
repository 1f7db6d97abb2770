"""Squared singular values and left singular vectors of a table, by the smaller of its two Gram matrices."""

import torch
from scipy import linalg
from torch import Tensor

__all__ = ["left_axes"]

_RANK = 1e-12
"""Of the largest eigenvalue: directions below it hold rounding alone."""


def left_axes(table: Tensor) -> tuple[Tensor, Tensor]:
    """Decompose a table; directions that hold rounding alone are left out.

    Args:
        table: float64 ``examples features``.

    Returns:
        Squared singular values, rising, ``rank``; left singular vectors ``examples rank``.
    """
    examples, width = table.shape
    if examples <= width:
        squares, axes = _eigen(table @ table.T)
        kept = squares > _RANK * squares[-1].clamp(min=0)
        return squares[kept], axes[:, kept]
    squares, directions = _eigen(table.T @ table)
    kept = squares > _RANK * squares[-1].clamp(min=0)
    return squares[kept], table @ (directions[:, kept] / squares[kept].sqrt())


def _eigen(gram: Tensor) -> tuple[Tensor, Tensor]:
    try:
        squares, axes = torch.linalg.eigh(gram)
    except RuntimeError:  # of which LAPACK's failures are a kind
        # Divide and conquer gives up on some matrices of many equal eigenvalues (dead features); QR does not.
        values, vectors = linalg.eigh(gram.numpy(), driver="ev")
        squares, axes = torch.from_numpy(values), torch.from_numpy(vectors)
    return squares, axes
