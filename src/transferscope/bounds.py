"""What numbers can be, what their intervals speak of, and what can be wrong with them: words that need no torch."""

import math
from typing import Final, Literal

Basis = Literal["seeds", "examples", "range"]
"""What an interval speaks of."""

Flag = Literal[
    "still_improving", "too_few_epochs", "edge_of_grid", "diverged", "incomplete", "no_spread", "too_few_seeds",
    "clipped", "uncontrolled", "few_budgets", "not_monotone", "extrapolated", "beyond_range",
]  # fmt: skip
"""What is wrong with a number: the training had not ended, or was too short to tell; its rate lies at the edge of what
was tried; a network diverged; some pairs have no value; values are equal over seeds (which proves nothing); there are
fewer than three seeds; limits are cut at what the number can be; pairs whose answer is known are not told apart."""

Bounds = tuple[float, float]
"""The least and the largest value that a number can have, whatever was measured."""
SHARE: Final[Bounds] = (0.0, 1.0)
"""Of accuracies, AUC and their means over epochs or seeds."""
DIFFERENCE: Final[Bounds] = (-1.0, 1.0)
"""Of differences of two such numbers; of κ, cosines and rank correlations as well."""
MAGNITUDE: Final[Bounds] = (0.0, math.inf)
"""Of distances, barriers, criticalities and norms."""


def side_of(low: float | None, high: float | None) -> Literal[-1, 0, 1]:
    """Which side of 0 a whole interval lies on; 0 where it spans it, or where there is none.

    >>> side_of(0.1, 0.2), side_of(-0.2, -0.1), side_of(-0.1, 0.1), side_of(None, None)
    (1, -1, 0, 0)
    """
    if low is None or high is None:
        return 0
    return 1 if low > 0 else -1 if high < 0 else 0
