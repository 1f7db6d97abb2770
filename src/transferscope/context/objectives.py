"""What the training of a network works on, by its start."""

from functools import partial

from transferscope.context.initial_networks import Origins, ends_of, statistics_batches
from transferscope.specs.network import Curve, NetworkSpec
from transferscope.training.curve_midpoint import CurveMidpoint
from transferscope.training.objective import ObjectiveFactory, PrefixBudget, WholeNetwork


def objective_of(spec: NetworkSpec, origins: Origins, budget: PrefixBudget | None = None) -> ObjectiveFactory:
    """The network itself; for the bend of a curve the points between the ends.

    Args:
        spec: of the network.
        origins: gives the ends of a curve.
        budget: what may be kept of frozen first modules; None for as much as by default.
    """
    if not isinstance(spec.start, Curve) or spec.data is None:
        return partial(WholeNetwork, prefix_budget=budget or PrefixBudget())
    first, second = ends_of(spec.start, origins)
    statistics = statistics_batches(spec.data, origins)
    return partial(
        CurveMidpoint, first=first, second=second, shape=spec.start.shape, statistics=statistics, seed=spec.seed
    )
