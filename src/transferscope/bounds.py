"""What numbers can be, what their intervals speak of, and what can be wrong with them: words that need no torch."""

import math
from typing import Final, Literal

__all__ = ["DIFFERENCE", "MAGNITUDE", "SHARE", "Basis", "Bounds", "Flag"]

Basis = Literal["seeds", "examples", "range"]
"""What an interval speaks of."""

Flag = Literal["still_improving", "edge_of_grid", "diverged", "no_spread", "too_few_seeds", "clipped"]
"""What is wrong with a number: the training had not ended, its rate lies at the edge of what was tried, a network of it
diverged, equal values over seeds (which prove nothing), fewer than three seeds, limits cut at what it can be."""

Bounds = tuple[float, float]
"""The least and the largest value that a number can have, whatever was measured."""
SHARE: Final[Bounds] = (0.0, 1.0)
"""Of accuracies, AUC and their means over epochs or seeds."""
DIFFERENCE: Final[Bounds] = (-1.0, 1.0)
"""Of differences of two such numbers; of κ, cosines and rank correlations as well."""
MAGNITUDE: Final[Bounds] = (0.0, math.inf)
"""Of distances, barriers, criticalities and norms."""
