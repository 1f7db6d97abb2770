"""How long a curve between two points is, bent by a third: from the three distances between them alone."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from scipy import integrate

from transferscope.arguments import checked
from transferscope.errors import MeasureError

__all__ = ["curve_lengths"]

_ROUNDING = 1e-6


@checked
def curve_lengths(
    shape: Literal["bezier", "chain"], positions: Sequence[float], to_bend: float, from_bend: float, straight: float
) -> tuple[float, ...]:
    """Arc length ∫₀ᵗ ‖θ'(s)‖₂ ds from the first end to every position.

    A chain of straight pieces is 2t·‖φ−θ₁‖ long up to its bend. The speed of a quadratic Bézier curve is θ'(t) =
    2[(1−t)u + tv] with u = φ−θ₁ and v = θ₂−φ; its norm needs ‖u‖, ‖v‖ and ‖u+v‖ alone. Integrated numerically, to a
    relative error of about 1e-8.

    At least the straight distance from the first end, at most the chain's length; scales with the distances; invariant
    to everything that keeps them (rotations of the parameter space, permutations of its axes).

    Args:
        shape: ``bezier`` or ``chain``.
        positions: t, ascending, in [0, 1].
        to_bend: ‖φ − θ₁‖₂.
        from_bend: ‖θ₂ − φ‖₂.
        straight: ‖θ₂ − θ₁‖₂.

    Returns:
        One for each position, ascending.

    Raises:
        MeasureError: positions that do not ascend in [0, 1], or distances that are those of no triangle.

    Reference: Garipov et al. 2018, "Loss surfaces, mode connectivity, and fast ensembling of DNNs", Sec. 3.1.

    >>> curve_lengths("chain", [0.25, 0.75], 2.0, 4.0, 6.0)
    (1.0, 4.0)
    >>> [round(length, 6) for length in curve_lengths("bezier", [0.0, 0.5, 1.0], 1.0, 1.0, 2.0)]
    [0.0, 1.0, 2.0]
    """
    at = [float(position) for position in positions]
    if at != sorted(at) or not all(0 <= position <= 1 for position in at):
        raise MeasureError("positions on a curve ascend", expected="values in [0, 1], ascending", got=str(at))
    sides = (to_bend, from_bend, straight)
    if not all(np.isfinite(sides)) or min(sides) < 0 or 2 * max(sides) > sum(sides) * (1 + _ROUNDING):
        raise MeasureError(
            "these distances are those of no triangle",
            expected="finite, none longer than the other two together",
            got=f"to the bend {to_bend:g}, from it {from_bend:g}, straight {straight:g}",
        )
    if shape == "chain":
        return tuple(2 * min(t, 0.5) * to_bend + 2 * max(t - 0.5, 0.0) * from_bend for t in at)
    inner = (straight**2 - to_bend**2 - from_bend**2) / 2

    def speed(t: float) -> float:
        square = ((1 - t) * to_bend) ** 2 + 2 * t * (1 - t) * inner + (t * from_bend) ** 2
        return 2 * float(np.sqrt(max(square, 0.0)))

    lengths, total, before = [], 0.0, 0.0
    for t in at:
        total += float(integrate.quad(speed, before, t, epsrel=1e-8, epsabs=1e-10 * sum(sides))[0])
        before = t
        lengths.append(total)
    return tuple(lengths)
