"""What the training of a network works on, by its start."""

from functools import partial

from transferscope.context.initial_networks import Origins, ends_of, statistics_batches
from transferscope.specs.network import Curve, NetworkSpec
from transferscope.training.curve_midpoint import CurveMidpoint
from transferscope.training.objective import ObjectiveFactory, WholeNetwork

__all__ = ["objective_of"]


def objective_of(spec: NetworkSpec, origins: Origins) -> ObjectiveFactory:
    """The network itself; for the bend of a curve the points between the ends.

    Args:
        spec: a network that is trained.
        origins: where the ends and training images are found.

    Raises:
        StoreError: an end of the curve is not trained yet.
        WeightsError: an end of the curve diverged.
    """
    if not isinstance(spec.start, Curve) or spec.data is None:
        return WholeNetwork
    first, second = ends_of(spec.start, origins)
    statistics = statistics_batches(spec.data, origins)
    return partial(
        CurveMidpoint, first=first, second=second, shape=spec.start.shape, statistics=statistics, seed=spec.seed
    )
