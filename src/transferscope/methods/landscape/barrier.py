"""The barrier between the first and the last of some points of a landscape."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from transferscope.measures.barriers import Barrier, barrier
from transferscope.methods.landscape.landscape import LandscapePoint

Quantity = Literal["loss", "error"]


def values_of(points: Sequence[LandscapePoint], quantity: Quantity) -> npt.NDArray[np.float64]:
    """``points examples`` losses or errors."""
    return np.stack([point.losses if quantity == "loss" else point.errors for point in points])


def barrier_of(
    alphas: Sequence[float],
    points: Sequence[LandscapePoint],
    quantity: Quantity,
    clusters: npt.ArrayLike | None = None,
    *,
    confidence: float = 0.95,
    family: int | None = None,
) -> Barrier:
    """Barrier of loss or error, against both baselines; see :func:`transferscope.measures.barriers.barrier`.

    Where every example keeps its loss to the last bit, the points are one and the same network.
    """
    losses = values_of(points, "loss")
    return barrier(
        alphas,
        values_of(points, quantity),
        clusters=clusters,
        confidence=confidence,
        family=family,
        one_network=bool((losses == losses[0]).all()),
    )
