import numpy as np
import pytest

from transferscope.errors import MeasureError
from transferscope.measures import bootstrap
from transferscope.measures.bootstrap import bootstrap_draws, bootstrap_weights, weighted_mean


def drawn(*args, **options) -> np.ndarray:
    return np.concatenate(list(bootstrap_weights(*args, **options)))


def test_counts_of_a_resample() -> None:
    weights = drawn(50, draws=400, seed=3)
    assert weights.shape == (400, 50)
    assert (weights.sum(axis=1) == 50).all()
    # The share of examples left out of a resample is (1 − 1/n)ⁿ.
    assert (weights == 0).mean() == pytest.approx((1 - 1 / 50) ** 50, abs=0.01)
    assert np.array_equal(weights, drawn(50, draws=400, seed=3))
    assert not np.array_equal(weights, drawn(50, draws=400, seed=4))


@pytest.mark.parametrize("cells", [1, 7 * 13, 10**6])
def test_blocks_do_not_change_the_draws(monkeypatch: pytest.MonkeyPatch, cells: int) -> None:
    whole = drawn(13, draws=40, seed=9)
    monkeypatch.setattr(bootstrap, "_CELLS", cells)
    assert np.array_equal(whole, drawn(13, draws=40, seed=9))


def test_clusters_come_and_go_together() -> None:
    clusters = ["p2", "p1", "p2", "p3", "p1"]
    weights = drawn(5, draws=100, seed=0, clusters=clusters)
    assert np.array_equal(weights[:, 0], weights[:, 2])
    assert np.array_equal(weights[:, 1], weights[:, 4])
    assert (weights[:, [0, 1, 3]].sum(axis=1) == 3).all()


def test_value_and_draws() -> None:
    value, values = bootstrap_draws(weighted_mean, [np.array([1.0, 2.0, 6.0])], draws=50, seed=1)
    assert value == 3.0
    assert values.shape == (50,)
    assert values == pytest.approx(drawn(3, draws=50, seed=1) @ [1.0, 2.0, 6.0] / 3)


def test_errors() -> None:
    with pytest.raises(MeasureError, match="needs examples and draws"):
        drawn(0)
    with pytest.raises(MeasureError, match="cannot take this as draws"):
        drawn(3, draws=0)
    with pytest.raises(MeasureError, match="clusters must name the group"):
        drawn(3, clusters=[1, 2])
    with pytest.raises(MeasureError, match="same examples"):
        bootstrap_draws(weighted_mean, [np.zeros(3), np.zeros(4)])
    with pytest.raises(MeasureError, match="same examples"):
        bootstrap_draws(weighted_mean, [])
