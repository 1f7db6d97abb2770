"""Resampling of examples, as counts: one row of weights for each draw.

A statistic of a resample is the statistic with each example weighted by how often it was drawn. So statistics that are
written for a matrix of weights are bootstrapped by a matrix product, without a loop over draws.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from transferscope.errors import MeasureError
from transferscope.measures.arguments import check_axes, group_numbers, of_arrays

__all__ = ["Statistic", "bootstrap_draws", "bootstrap_weights", "weighted_mean"]

Statistic = Callable[..., npt.NDArray[np.float64]]
"""``statistic(weights [draws examples], *arrays [examples …]) -> [draws]``; NaN where it is undefined."""

_CELLS = 2_000_000
"""Weights held in memory at once (16 MB)."""


@of_arrays
def bootstrap_weights(
    examples: int, draws: int = 2000, seed: int = 0, clusters: npt.ArrayLike | None = None
) -> Iterator[npt.NDArray[np.float64]]:
    """How often each example is drawn, for each draw, in blocks of bounded size.

    Examples are drawn with replacement, as many as there are. With ``clusters`` whole groups are drawn, as many as
    there are groups: all examples of a patient come and go together.

    Args:
        examples: how many examples.
        draws: how many resamples.
        seed: of the draws; the same numbers whatever the size of the blocks.
        clusters: ``examples``, any labels: the group of each example.

    Yields:
        ``draws examples`` counts, float64.

    Raises:
        MeasureError: no examples, no draws, or ``clusters`` of another length.
    """
    if examples < 1 or draws < 1:
        raise MeasureError(
            "a bootstrap needs examples and draws", expected="at least 1", got=f"{examples} examples, {draws} draws"
        )
    member: npt.NDArray[np.intp] | None = None
    units = examples
    if clusters is not None:
        member = group_numbers(clusters, examples)
        units = int(member.max()) + 1
    generator = np.random.default_rng(seed)
    block = max(1, _CELLS // examples)
    for start in range(0, draws, block):
        rows = min(block, draws - start)
        drawn = generator.integers(units, size=(rows, units))
        # One bincount for all rows: row r counts in the slots r·units … r·units + units − 1.
        slots = drawn + np.arange(rows)[:, None] * units
        counts = np.bincount(slots.ravel(), minlength=rows * units).reshape(rows, units).astype(np.float64)
        yield counts if member is None else counts[:, member]


@of_arrays
def bootstrap_draws(
    statistic: Statistic,
    arrays: Sequence[npt.ArrayLike],
    clusters: npt.ArrayLike | None = None,
    draws: int = 2000,
    seed: int = 0,
) -> tuple[float, npt.NDArray[np.float64]]:
    """The statistic of the examples, and of each resample of them.

    Args:
        statistic: see :data:`Statistic`.
        arrays: what the statistic reads; the first axis of each is the examples.
        clusters: ``examples``, the group of each example.
        draws: how many resamples.
        seed: of the draws.

    Returns:
        The statistic itself (all weights 1), and ``draws`` values; NaN where it is not defined.

    Raises:
        MeasureError: no array, or arrays of different length.
    """
    data = [np.asarray(array) for array in arrays]
    lengths = {len(array) for array in data}
    if len(lengths) != 1:
        raise MeasureError(
            "the arrays of a bootstrap must speak of the same examples",
            expected="at least one array, all with the examples as first axis",
            got=f"lengths {sorted(lengths)}",
        )
    examples = lengths.pop()
    blocks = bootstrap_weights(examples, draws, seed, clusters)
    values = np.concatenate([statistic(weights, *data) for weights in blocks])
    return float(statistic(np.ones((1, examples)), *data)[0]), values


@of_arrays
def weighted_mean(weights: npt.NDArray[np.float64], values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The mean of ``values`` under each row of weights: the statistic for shares and differences of shares.

    Args:
        weights: ``draws examples``.
        values: ``examples``.

    Returns:
        ``draws``.
    """
    check_axes("values", values, None)
    check_axes("weights", weights, None, len(values))
    result: npt.NDArray[np.float64] = (weights @ values) / weights.sum(axis=1)
    return result
