"""What changed between two tensors, as sums that are gathered piece by piece."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from transferscope.errors import MeasureError
from transferscope.measures.arguments import of_tensors

__all__ = ["NO_CHANGE", "ChangeSums", "change_sums"]

_ROW = 4096
_SAFE = (1e-30, 1e30)
"""Within these, sums of squares in single precision neither vanish nor overflow."""


@dataclass(frozen=True)
class ChangeSums:
    """Sums over the numbers of two tensors a and b of one shape; of two disjoint pieces they add up.

    Attributes:
        count: numbers.
        changed: of which so many differ.
        not_finite_a: of which so many are NaN or infinite in a.
        not_finite_b: of which so many are NaN or infinite in b.
        aa: Σa².
        bb: Σb².
        ab: Σab.
        dd: Σ(b − a)².
    """

    count: int = 0
    changed: int = 0
    not_finite_a: int = 0
    not_finite_b: int = 0
    aa: float = 0.0
    bb: float = 0.0
    ab: float = 0.0
    dd: float = 0.0

    def __add__(self, other: "ChangeSums") -> "ChangeSums":
        return ChangeSums(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))

    @property
    def finite(self) -> bool:
        """Whether the norms are numbers."""
        return all(math.isfinite(value) for value in (self.aa, self.bb, self.ab, self.dd))

    @property
    def distance(self) -> float | None:
        """‖b − a‖; None where a value is not finite."""
        return math.sqrt(self.dd) if self.finite else None

    @property
    def relative(self) -> float | None:
        """‖b − a‖ / ‖a‖; None where that is not defined."""
        return math.sqrt(self.dd / self.aa) if self.finite and self.aa > 0 else None

    @property
    def cosine(self) -> float | None:
        """a·b / ‖a‖‖b‖ in [−1, 1]; None where that is not defined."""
        if not self.finite or self.aa == 0 or self.bb == 0:
            return None
        return max(-1.0, min(1.0, self.ab / (math.sqrt(self.aa) * math.sqrt(self.bb))))


NO_CHANGE = ChangeSums()


@of_tensors
def change_sums(a: Tensor, b: Tensor) -> ChangeSums:
    """The sums of two tensors of one shape, of any floating types.

    Products are taken in single precision over rows of 4,096 numbers and added up in double precision (relative error
    of a norm about 1e-7); in double precision throughout where a tensor is, or where squares would vanish or overflow.

    Args:
        a: values of the first.
        b: of the second.

    Raises:
        MeasureError: shapes differ, or a tensor is not floating point.

    Example:
        >>> found = change_sums(torch.tensor([3.0, 4.0]), torch.tensor([3.0, 4.5]))
        >>> found.changed, found.distance, found.relative
        (1, 0.5, 0.1)
    """
    if a.shape != b.shape or not a.is_floating_point() or not b.is_floating_point():
        raise MeasureError(
            "two tensors of one shape are compared",
            expected="floating point, equal shapes",
            got=f"{a.dtype} {tuple(a.shape)} and {b.dtype} {tuple(b.shape)}",
        )
    double = torch.float64 in (a.dtype, b.dtype)
    sums = _sums(a, b, torch.float64 if double else torch.float32)
    changes = sums.dd if sums.changed else 1.0
    safe = sums.finite and all(_SAFE[0] < value < _SAFE[1] for value in (sums.aa, sums.bb, changes))
    return sums if double or safe else _sums(a, b, torch.float64)


def _sums(a: Tensor, b: Tensor, kind: torch.dtype) -> ChangeSums:
    first, second = (side.detach().cpu().reshape(-1).to(kind) for side in (a, b))
    difference = second - first
    products = [_dot(*pair) for pair in ((first, first), (second, second), (first, second), (difference, difference))]
    lost = [0, 0] if all(map(math.isfinite, products)) else [int((~side.isfinite()).sum()) for side in (first, second)]
    # NaN differs from itself; equal infinities do not.
    changed = int((first != second).sum())
    return ChangeSums(first.numel(), changed, *lost, *products)


def _dot(one: Tensor, other: Tensor) -> float:
    whole = one.numel() // _ROW * _ROW
    rows = torch.linalg.vecdot(one[:whole].view(-1, _ROW), other[:whole].view(-1, _ROW))
    return float(rows.sum(dtype=torch.float64)) + float(torch.dot(one[whole:], other[whole:]))
