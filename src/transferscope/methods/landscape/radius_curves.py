"""How loss and error rise with the distance from a network, along random filter-normalised directions."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from torch import nn

from transferscope.errors import MeasureError
from transferscope.frozen import derive_seed
from transferscope.measures.standard_error import standard_error
from transferscope.methods.evaluation import Batches, Evaluation
from transferscope.methods.landscape.landscape import Landscape, LandscapePoint
from transferscope.networks.directions import OneDimensional, direction_norm, filter_normalised, moved_names
from transferscope.networks.given import takes_networks
from transferscope.readable import readable


@dataclass(frozen=True)
class Rise:
    """Loss or error at one radius, averaged over directions.

    Attributes:
        rise: the same minus the value at the network itself, in the same unit.
        se_directions: standard error of both over directions, the examples given; None for one direction.
        se_examples: standard error of ``rise`` over examples or groups, the directions given, paired by example; None
            below two of them.

    A value that is not finite in one direction makes the mean infinite, and the standard errors None.
    """

    value: float
    rise: float
    se_directions: float | None
    se_examples: float | None


@readable
@dataclass(frozen=True)
class RadiusCurves:
    """What was measured around a network.

    Attributes:
        radii: ‖θ − θ_0‖₂ as asked, in their order.
        norm: ‖θ_0‖₂ over the parameters that move: radius / norm is the step of Li et al.
        centre: by split, the network itself, batch norm by the same policy.
    """

    radii: tuple[float, ...]
    norm: float
    parameters: int
    batch_norm: str
    centre: Mapping[str, LandscapePoint]
    points: Mapping[str, tuple[tuple[LandscapePoint, ...], ...]]

    def rises(
        self, split: str, quantity: Literal["loss", "error"], clusters: npt.ArrayLike | None = None
    ) -> tuple[Rise, ...]:
        """Mean over directions at each radius, with both standard errors."""
        own = _values(self.centre[split], quantity)
        return tuple(
            _rise(np.stack([_values(point, quantity) for point in points]), own, clusters)
            for points in self.points[split]
        )


@takes_networks("network")
def radius_curves(
    network: nn.Module,
    data: Mapping[str, Batches],
    radii: Sequence[float],
    directions: int = 5,
    *,
    evaluation: Evaluation = Evaluation(),
    seed: int = 0,
    one_dimensional: OneDimensional = "zero",
) -> RadiusCurves:
    """Loss and error at θ + R·d/‖d‖₂ for random filter-normalised directions d and every radius R.

    The network is not changed. The same seed gives networks of one architecture the same draws
    (:func:`~transferscope.networks.directions.filter_normalised`), so that two networks can be compared in pairs.

    What a radius means is the caller's choice, and part of any claim: equal radii compare networks at equal ℓ2
    distance, radii that are equal shares of each network's own norm compare them relative to it. The two may disagree:
    scaling all filters before a batch norm changes the first comparison and not the second.

    Args:
        network: gives logits.
        data: loaders by split; each must give the same batches twice.
        radii: ℓ2 distances from the network over the parameters that move, at least 0.
        directions: how many.
        seed: of the directions.
        one_dimensional: ``zero`` leaves biases and the parameters of norms where they are; ``normalise`` moves them.
        evaluation: batch norm, metric, device and number format: see :class:`Evaluation`.

    Raises:
        MeasureError: no radius or a negative one, no direction, nothing to move or to recompute batch norm on.
        LoaderError: a loader does not give the same batches twice.
        ArchitectureError: the network gives other outputs for the same images.

    Reference: Li, Xu, Taylor, Studer & Goldstein (2018), Sec. 4; random directions as in Sec. 3.
    """
    asked = tuple(float(radius) for radius in radii)
    if not asked or not all(math.isfinite(radius) and radius >= 0 for radius in asked):
        raise MeasureError("curves need radii", expected="finite ℓ2 distances of at least 0", got=str(list(asked)))
    if directions < 1:
        raise MeasureError("curves need a direction", expected="at least 1", got=str(directions))
    landscape = Landscape([network], data, evaluation)
    start = {name: landscape.ends[0][name] for name in landscape.parameters}
    moved = moved_names(start, one_dimensional)
    landscape.combine([1.0])
    centre = landscape.evaluate()
    # One direction lives at a time: it is as large as the network.
    found: dict[str, list[list[LandscapePoint]]] = {split: [[] for _ in asked] for split in landscape.splits}
    for index in range(directions):
        direction = filter_normalised(start, derive_seed(seed, "radius", index), one_dimensional)
        unit = 1 / direction_norm(direction.values())
        for place, radius in enumerate(asked):
            landscape.combine([1.0])
            landscape.shift(direction, radius * unit)
            for split, point in landscape.evaluate().items():
                found[split][place].append(point)
    return RadiusCurves(
        radii=asked,
        norm=direction_norm(start[name] for name in moved),
        parameters=sum(start[name].numel() for name in moved),
        batch_norm=landscape.policy,
        centre=centre,
        points={split: tuple(tuple(points) for points in places) for split, places in found.items()},
    )


def _values(point: LandscapePoint, quantity: Literal["loss", "error"]) -> npt.NDArray[np.float64]:
    return point.losses if quantity == "loss" else point.errors


def _rise(values: npt.NDArray[np.float64], own: npt.NDArray[np.float64], clusters: npt.ArrayLike | None) -> Rise:
    """Average values ``directions examples`` over directions, against those of the network, ``examples``."""
    if not (np.isfinite(values).all() and np.isfinite(own).all()):
        return Rise(math.inf, math.inf, None, None)
    by_direction = values.mean(axis=1)
    count = len(by_direction)
    spread = float(by_direction.std(ddof=1)) / math.sqrt(count) if count > 1 else None
    gaps = values.mean(axis=0) - own
    return Rise(float(by_direction.mean()), float(gaps.mean()), spread, standard_error(gaps, clusters))
