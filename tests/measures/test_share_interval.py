"""Wilson's interval of a share, owners counted once."""

import numpy as np
import pytest
from scipy import stats

from transferscope.errors import MeasureError
from transferscope.measures.share_interval import share_interval


@pytest.mark.kind("C3")
@pytest.mark.parametrize(("hits", "count"), [(0, 12), (12, 12), (1, 1), (7, 20), (355, 656)])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_of_single_judgements_it_is_wilsons(hits: int, count: int, confidence: float) -> None:
    right = np.arange(count) < hits
    found = share_interval(right, np.arange(count), confidence)
    known = stats.binomtest(hits, count).proportion_ci(confidence, "wilson")
    assert (found.low, found.high) == (pytest.approx(known.low, abs=1e-12), pytest.approx(known.high, abs=1e-12))
    assert (found.value, found.n, found.basis) == (hits / count, count, "examples")
    assert found.low < found.high


@pytest.mark.kind("C3")
def test_judgements_of_one_owner_count_once() -> None:
    right = np.array([1, 0, 1, 1, 0])
    once = share_interval(right, np.arange(5))
    assert share_interval(np.tile(right, 3), np.tile(np.arange(5), 3)) == once
    uneven = share_interval([1, 1, 1, 0], [0, 0, 0, 1])
    assert uneven.n == 2
    # (3 + 1)² / (3² + 1²) = 1.6 judgements at least are independent.
    assert uneven.high - uneven.low > (lambda two: two.high - two.low)(share_interval([1, 0], [0, 1])) * 0.9


@pytest.mark.kind("C3")
def test_nothing_and_nonsense() -> None:
    empty = share_interval([], [])
    assert (empty.value, empty.low, empty.n, empty.basis) == (None, None, 0, None)
    for right, owners in (([0.5], [0]), ([1, 0], [0]), ([[1]], [[0]])):
        with pytest.raises(MeasureError, match="a share is of judgements"):
            share_interval(right, owners)
    with pytest.raises(MeasureError, match="a confidence is a share"):
        share_interval([1], [0], 1.0)
