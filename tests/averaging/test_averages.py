"""Averages of weights against literal versions and closed forms."""

import itertools
import math

import pytest
import torch

from transferscope.errors import MeasureError
from transferscope.measures.averages import decayed_shares, model_stock_state, stock_ratio, weighted_state

State = dict[str, torch.Tensor]


def states(count: int, seed: int = 0) -> list[State]:
    generator = torch.Generator().manual_seed(seed)
    return [
        {"a": torch.randn(4, 3, generator=generator), "b": torch.randn(5, generator=generator, dtype=torch.float64)}
        for _ in range(count)
    ]


def literal_mean(given: list[State], shares: list[float]) -> State:
    found = {}
    for name, first in given[0].items():
        flat = [sum(share * float(of[name].flatten()[at]) for share, of in zip(shares, given, strict=True))
                for at in range(first.numel())]  # fmt: skip
        found[name] = torch.tensor(flat, dtype=torch.float64).reshape(first.shape).to(first.dtype)
    return found


@pytest.mark.parametrize("shares", [[0.2, 0.3, 0.5], [1 / 3] * 3, [1.5, -0.25, -0.25], [1.0, 0.0, 0.0]])
def test_a_weighted_mean_is_that_number_by_number(shares: list[float]) -> None:
    found, wanted = weighted_state(states(3), shares), literal_mean(states(3), shares)
    for name in wanted:
        torch.testing.assert_close(found[name], wanted[name])
        assert found[name].dtype == wanted[name].dtype


@pytest.mark.parametrize("count", [2, 3, 5, 7])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_the_mean_of_one_network_is_the_network_to_the_bit(count: int, dtype: torch.dtype) -> None:
    one = {"w": torch.randn(50, generator=torch.Generator().manual_seed(1)).to(dtype), "n": torch.tensor(7)}
    found = weighted_state([one] * count, [1 / count] * count)
    assert torch.equal(found["w"], one["w"])
    assert found["n"] == 7
    assert found["w"].data_ptr() != one["w"].data_ptr()


def test_whole_numbers_are_kept_where_equal_and_counters_are_the_largest() -> None:
    pair = [
        {"n": torch.tensor(3), "on": torch.tensor([True, False])},
        {"n": torch.tensor(5), "on": torch.tensor([True, False])},
    ]
    for order in (pair, pair[::-1]):
        found = weighted_state(order, [0.5, 0.5], counters=["n"])
        assert found["n"] == 5
        assert found["on"].tolist() == [True, False]
    with pytest.raises(MeasureError, match="'n' holds whole numbers that differ"):
        weighted_state(pair, [0.5, 0.5])


@pytest.mark.parametrize(
    ("given", "shares", "said"),
    [
        ([], [], "share of each network"),
        (states(2), [0.5], "share of each network"),
        (states(2), [0.5, 0.6], "share of each network"),
        ([{"a": torch.zeros(2)}, {"b": torch.zeros(2)}], [0.5, 0.5], "network 2 does not correspond"),
        ([{"a": torch.zeros(2)}, {"a": torch.zeros(3)}], [0.5, 0.5], "network 2 does not correspond"),
        ([{"a": torch.zeros(2)}, {"a": torch.zeros(2).double()}], [0.5, 0.5], "network 2 does not correspond"),
    ],
)
def test_what_has_no_average_is_refused(given: list[State], shares: list[float], said: str) -> None:
    with pytest.raises(MeasureError, match=said):
        weighted_state(given, shares)


def literal_stock(given: list[State], start: State) -> State:
    """Model Stock, written out for each tensor."""
    found = {}
    for name, origin in start.items():
        ways = [(of[name] - origin).double().flatten() for of in given]
        cosines = [float(a @ b / (a.norm() * b.norm())) for a, b in itertools.combinations(ways, 2)]
        cosine, n = sum(cosines) / len(cosines), len(given)
        t = n * cosine / ((n - 1) * cosine + 1) if cosine > 0 else 0.0
        mean = sum(of[name].double() for of in given) / n
        found[name] = (t * mean + (1 - t) * origin.double()).to(origin.dtype)
    return found


@pytest.mark.parametrize("count", [2, 3, 4])
def test_model_stock_is_the_literal_one(count: int) -> None:
    given, start = states(count, 2), states(1, 3)[0]
    centre = states(1, 4)[0]
    given = [{name: tensor + 2 * centre[name] for name, tensor in of.items()} for of in given]
    found, ratios = model_stock_state(given, start, list(start))
    wanted = literal_stock(given, start)
    for name in wanted:
        torch.testing.assert_close(found[name], wanted[name], atol=1e-6, rtol=1e-5)
        assert 0 < ratios[name] < 1


@pytest.mark.parametrize("count", [2, 3, 5])
def test_model_stock_is_nearest_to_the_centre_of_an_isotropic_shell(count: int) -> None:
    """Weights at c + σ·e_i, e_i at right angles to each other and to c: t = n‖c‖² / (n‖c‖² + σ²)."""
    start, centre, sigma = torch.full((12,), 0.7, dtype=torch.float64), 3.0, 2.0
    axes = torch.eye(12, dtype=torch.float64)
    target = start + centre * axes[0]
    given = [{"w": target + sigma * axes[1 + number]} for number in range(count)]
    found, ratios = model_stock_state(given, {"w": start}, ["w"])
    t = count * centre**2 / (count * centre**2 + sigma**2)
    assert ratios["w"] == pytest.approx(t, abs=1e-12)
    mean = sum(of["w"] for of in given) / count
    torch.testing.assert_close(found["w"], start + t * (mean - start))
    near = float((found["w"] - target).norm())
    for other in (0.0, t - 0.02, t + 0.02, 1.0):
        assert near < float((start + other * (mean - start) - target).norm())


def test_model_stock_leaves_what_the_start_lacks_at_the_mean() -> None:
    given, start = states(3), states(1, 9)[0]
    found, ratios = model_stock_state(given, {"a": start["a"], "b": torch.zeros(2)}, ["a", "b"])
    assert list(ratios) == ["a"]
    torch.testing.assert_close(found["b"], weighted_state(given, [1 / 3] * 3)["b"])
    same, ratios = model_stock_state([given[0]] * 3, start, ["a", "b"])
    assert ratios == {"a": 1.0, "b": 1.0}
    assert all(torch.equal(same[name], given[0][name]) for name in same)
    frozen, ratios = model_stock_state(given, given[0], ["a"])  # no way, no angle: the mean
    assert ratios == {}
    torch.testing.assert_close(frozen["a"], weighted_state(given, [1 / 3] * 3)["a"])


def test_ratios_and_shares() -> None:
    assert stock_ratio(1.0, 4) == 1
    assert stock_ratio(-0.9, 4) == 0
    assert stock_ratio(0.2, 3) == pytest.approx(0.6 / 1.4)
    for decay in (0.0, 0.5, 0.9):
        shares = decayed_shares(5, decay)
        average = 0.0
        values = [3.0, 1.0, 4.0, 1.5, 9.0]
        average = values[0]
        for value in values[1:]:
            average = decay * average + (1 - decay) * value
        assert math.fsum(shares) == pytest.approx(1)
        assert math.fsum(s * v for s, v in zip(shares, values, strict=True)) == pytest.approx(average)
    for wrong in ((0, 0.5), (3, 1.0), (3, -0.1)):
        with pytest.raises(MeasureError, match="checkpoints and a decay"):
            decayed_shares(*wrong)
    with pytest.raises(MeasureError, match="angle between networks"):
        stock_ratio(0.5, 1)
    with pytest.raises(MeasureError, match="at least two"):
        model_stock_state(states(1), states(1)[0], ["a"])
