import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import nn

from tests.reference import barriers_reference as reference
from transferscope.errors import MeasureError
from transferscope.measures.barriers import barrier, interpolate, stability
from transferscope.measures.intervals import Interval, seeds_interval

exact = settings(derandomize=True, deadline=None, max_examples=80)
GRID = np.linspace(-0.5, 1.5, 49)  # 25 points in [0, 1]


@exact
@given(st.lists(st.floats(-10, 10), min_size=2, max_size=12), st.lists(st.floats(-10, 10), max_size=3))
def test_against_the_literal_definition(inside: list[float], outside: list[float]) -> None:
    alphas = [*np.linspace(0, 1, len(inside)), *(1.1 + 0.1 * i for i in range(len(outside)))]
    found, expected = barrier(alphas, inside + outside), reference.barriers(alphas, inside + outside)
    assert found.linear.value == pytest.approx(expected["linear"], abs=1e-12)
    assert found.mean.value == pytest.approx(expected["mean"], abs=1e-12)
    assert found.minimum_gap == pytest.approx(expected["minimum"], abs=1e-12)
    assert found.linear.value >= 0
    assert found.mean.value >= abs(found.first - found.second) / 2 - 1e-12
    assert found.minimum_gap <= 0
    assert found.points == len(inside)


@pytest.mark.parametrize("shift", [-1.0, 0.0, 0.3, 2.0])
def test_convex_loss_has_no_linear_barrier(shift: float) -> None:
    losses = (GRID - shift) ** 2
    found = barrier(GRID, losses)
    assert found.linear.value == pytest.approx(0, abs=1e-15)
    assert found.mean.value == pytest.approx(abs(found.first - found.second) / 2, abs=1e-12)
    assert found.midpoint_gap == pytest.approx(-0.25)
    assert found.minimum_gap == pytest.approx(-0.25)
    assert found.minimum_alpha == 0.5
    assert found.points == 25


def test_a_hill() -> None:
    losses = np.exp(-(((GRID - 0.375) / 0.1) ** 2)) + GRID
    found = barrier(GRID, losses)
    assert found.linear.alpha == pytest.approx(0.375)
    assert found.linear.value == pytest.approx(1.0, abs=1e-3)
    assert found.mean.value == pytest.approx(losses[np.isclose(GRID, 0.375)][0] - 0.5, abs=1e-6)


def test_extrapolation_is_no_part_of_a_barrier() -> None:
    losses = np.where((GRID < 0) | (GRID > 1), np.nan, 1.0)
    found = barrier(GRID, losses)
    assert (found.linear.value, found.mean.value, found.points) == (0.0, 0.0, 25)


def test_better_middle_shows_in_the_gaps_only() -> None:
    found = barrier([0.0, 0.25, 0.5, 0.75, 1.0], [1.0, 0.8, 0.7, 0.9, 1.0])
    assert (found.linear.value, found.mean.value) == (0.0, 0.0)
    assert found.midpoint_gap == pytest.approx(-0.3)
    assert (found.minimum_gap, found.minimum_alpha) == (pytest.approx(-0.3), 0.5)
    assert barrier([0.0, 0.4, 1.0], [1.0, 1.0, 1.0]).midpoint_gap is None


@pytest.mark.parametrize("clusters", [None, [0, 0, 1, 1, 1, 2, 3, 4, 4, 5, 6, 6]])
def test_paired_errors_against_the_literal_definition(clusters: list[int] | None) -> None:
    generator = np.random.default_rng(0)
    alphas = np.linspace(0, 1, 5)
    values = generator.random((5, 12)) + np.array([0.0, 0.4, 1.0, 0.3, 0.2])[:, None]
    found = barrier(alphas, values, clusters=clusters)
    groups = list(range(12)) if clusters is None else clusters
    quantile = stats.t.ppf(0.975, len(set(groups)) - 1)
    careful = stats.t.ppf(1 - 0.025 / 5, len(set(groups)) - 1)
    for name, height in (("linear", found.linear), ("mean", found.mean)):
        rows = [values[i].tolist() for i in range(5)]
        literal = [reference.gap_error(alphas[i], rows[i], rows[0], rows[-1], name, groups) for i in range(5)]
        errors = np.array(literal)
        share = alphas if name == "linear" else np.full(5, 0.5)
        gaps = values.mean(1) - (1 - share) * values[0].mean() - share * values[-1].mean()
        assert height.alpha == 0.5
        assert height.standard_error == pytest.approx(errors[2], rel=1e-12)
        assert height.interval.high == pytest.approx(max(gaps + quantile * errors), rel=1e-12)
        assert height.interval.low == pytest.approx(max(0, max(gaps - careful * errors)), rel=1e-12)
        assert (height.interval.basis, height.interval.n) == ("examples", len(set(groups)))
        assert height.interval.value == height.value


def test_pairing_takes_out_what_examples_share() -> None:
    generator = np.random.default_rng(0)
    hard = 10 * generator.random(200)
    values = np.array([1.0, 1.5, 1.0])[:, None] + 0.01 * generator.normal(size=(3, 200))
    paired = barrier([0, 0.5, 1], values + hard)
    assert paired.linear.standard_error == pytest.approx(barrier([0, 0.5, 1], values).linear.standard_error)
    assert paired.linear.standard_error < 0.002


@pytest.mark.slow
def test_limits_cover_the_true_barrier_although_the_maximum_is_biased() -> None:
    generator = np.random.default_rng(0)
    alphas, repeats = np.linspace(0, 1, 25), 400
    # No barrier at all: the maximum of 25 noisy points says there is one, its lower limit does not.
    found = [barrier(alphas, generator.normal(size=(25, 100))).linear for _ in range(repeats)]
    assert np.mean([height.value for height in found]) > 0.1
    # 0.975 is promised; 0.0078 is its standard error over 400 repeats.
    assert np.mean([height.interval.low == 0 for height in found]) >= 0.975 - 3 * 0.0078
    hill = np.sin(math.pi * alphas)[:, None]
    limits = [barrier(alphas, hill + generator.normal(size=(25, 100))).linear.interval for _ in range(repeats)]
    assert np.mean([interval.low <= 1 <= interval.high for interval in limits]) >= 0.95


@pytest.mark.parametrize(("examples", "word"), [(20, "undecided"), (181, "undecided"), (183, "stable")])
def test_few_examples_of_which_none_differs_show_no_connection(examples: int, word: str) -> None:
    right = np.zeros((25, examples))
    for height in (barrier(np.linspace(0, 1, 25), right).linear, barrier(np.linspace(0, 1, 25), right).mean):
        # A share p of examples is not among n with probability (1 - p)^n; the limit is where that is 2.5 %.
        assert (1 - height.interval.high) ** examples == pytest.approx(0.025)
        assert (height.value, height.interval.low) == (0.0, 0.0)
        assert stability(height.interval) == word
    one_group_each_pair = np.repeat(np.arange(examples), 2)
    doubled = barrier(np.linspace(0, 1, 25), np.repeat(right, 2, axis=1), clusters=one_group_each_pair)
    assert doubled.mean.interval.high == pytest.approx(height.interval.high), "groups count, not examples"


def test_limits_where_all_examples_differ_alike() -> None:
    wrong_between = np.repeat([[0.0], [1.0], [0.0]], 30, axis=1)
    found = barrier([0.0, 0.5, 1.0], wrong_between).mean.interval
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx((0.025 / 3) ** (1 / 30)), "Bonferroni over three points"
    # Losses below 1 are no shares for that: their limits may lie above.
    uncertain = np.stack([np.zeros(4), [0.0, 0.0, 1.0, 1.0], np.zeros(4)]) * 0.99
    assert barrier([0.0, 0.5, 1.0], uncertain).mean.interval.high > 1
    # Equal losses of all examples are no chance.
    same = barrier([0.0, 0.5, 1.0], np.full((3, 30), 2.3)).mean.interval
    assert (same.low, same.high) == (0.0, 0.0)


def test_without_examples_there_is_no_interval() -> None:
    height = barrier([0, 0.5, 1], [0.0, 1.0, 0.0]).mean
    assert (height.standard_error, height.interval.low, height.interval.basis) == (None, None, None)
    assert height.interval.note == "one value for each point: no interval"
    alone = barrier([0, 0.5, 1], [[0.0], [1.0], [0.0]]).mean
    assert (alone.standard_error, alone.interval.low) == (None, None)
    assert "one of examples or groups" in alone.interval.note


def test_stability_rule() -> None:
    generator = np.random.default_rng(0)
    right = generator.random(4000) < 0.8
    errors = np.stack([~right, ~right, ~right]).astype(float)
    assert stability(barrier([0, 0.5, 1], errors).mean.interval) == "stable"
    errors[1] = generator.random(4000) < 0.5
    assert stability(barrier([0, 0.5, 1], errors).mean.interval) == "unstable"
    errors[1] = (generator.random(4000) < 0.015) | ~right
    found = barrier([0, 0.5, 1], errors[:, :200]).mean.interval
    assert found.value < 0.02 < found.high
    assert stability(found) == "undecided"
    assert stability(barrier([0, 0.5, 1], [0.2, 0.2, 0.2]).mean.interval) == "undecided"
    assert stability(seeds_interval([0.001, 0.002, 0.001])) == "stable"
    assert stability(seeds_interval([0.001, 0.002])) == "undecided"
    assert stability(Interval(0.01, 0.0, 0.02, 9, "examples")) == "undecided"  # below, not at
    assert stability(Interval(0.03, 0.02, 0.04, 9, "seeds")) == "unstable"


def network(seed: int) -> dict[str, torch.Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
    model[1].num_batches_tracked.fill_(10 * seed)
    return model.state_dict()


def test_ends_are_copied_bit_for_bit() -> None:
    a, b = network(1), network(2)
    a["0.weight"][0, 0, 0, 0], b["0.weight"][0, 0, 0, 0] = 1e30, -1e-30
    for alpha, end in ((0.0, a), (1.0, b)):
        point = interpolate(a, b, alpha)
        assert list(point) == list(end)
        for name, tensor in point.items():
            assert torch.equal(tensor, end[name]), name
            assert tensor.data_ptr() != end[name].data_ptr()


@exact
@given(st.floats(-0.5, 1.5), st.sampled_from([torch.float64, torch.float32, torch.float16, torch.bfloat16]))
def test_points_of_the_line(alpha: float, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(50, generator=generator).to(dtype) for _ in range(2))
    point = interpolate(
        {"w": a, "same": a, "count": torch.tensor(3)}, {"w": b, "same": a, "count": torch.tensor(5)}, alpha
    )
    expected = ((1 - alpha) * a.double() + alpha * b.double()).to(dtype)
    assert point["w"].dtype == dtype
    assert torch.allclose(point["w"].double(), expected.double(), rtol=2 * torch.finfo(dtype).eps, atol=1e-6)
    assert torch.equal(point["same"], a)
    assert point["count"].item() == (5 if alpha == 1 else 3)


def test_one_module_at_a_time() -> None:
    a, b = network(1), network(2)
    point = interpolate(a, b, 1.0, names=["2.weight", "2.bias"])
    assert torch.equal(point["2.weight"], b["2.weight"])
    assert torch.equal(point["0.weight"], a["0.weight"])
    middle = interpolate(a, b, 0.5, names=["2.weight"])
    assert torch.allclose(middle["2.weight"], (a["2.weight"] + b["2.weight"]) / 2)
    assert torch.equal(middle["2.bias"], a["2.bias"])


def test_callers_tensors_are_unchanged_and_no_gradient_is_kept() -> None:
    a, b = {"w": torch.ones(3, requires_grad=True)}, {"w": torch.zeros(3, requires_grad=True)}
    point = interpolate(a, b, 0.5)
    point["w"].zero_()
    assert a["w"].tolist() == [1.0, 1.0, 1.0]
    assert not point["w"].requires_grad


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: barrier([0.5, 1.0], [1.0, 1.0]), "α = 0 is not in the grid"),
        (lambda: barrier([0.0, 0.5, 1.5], [1.0, 1.0, 1.0]), "α = 1 is not in the grid"),
        (lambda: barrier([2.0], [1.0]), "no point in"),
        (lambda: barrier([0.0, 0.5, 0.5, 1.0], [1.0] * 4), "in the grid twice"),
        (lambda: barrier([0.0, 1.0], [1.0]), "a path needs a value for each"),
        (lambda: barrier([0.0, 1.0], np.zeros((2, 0))), "a path needs a value for each"),
        (lambda: barrier([0.0, 0.5, 1.0], [1.0, float("nan"), 1.0]), "the value at α = 0.5 is not finite"),
        (lambda: barrier([0.0, 1.0], [1.0, 1.0], clusters=[0]), "clusters need per-example values"),
        (lambda: barrier([0.0, 1.0], np.zeros((2, 3)), clusters=[0]), "clusters must name the group"),
        (lambda: barrier([0.0, 1.0], [1.0, 1.0], confidence=95), "a confidence is a share"),
        (lambda: stability(Interval(0.0, 0.0, 0.0, 9, "seeds", 0.8)), "limits of this barrier"),
        (lambda: interpolate(network(1), network(2), float("inf")), "α must be finite"),
        (lambda: interpolate({"w": torch.ones(1)}, {"v": torch.ones(1)}, 0.5), "'v' is only in the second"),
        (lambda: interpolate({"w": torch.ones(1)}, {}, 0.5), "'w' is only in the first"),
        (lambda: interpolate({"w": torch.ones(1)}, {"w": torch.ones(2)}, 0.5), "'w' differs in shape or type"),
        (lambda: interpolate({"w": torch.ones(1)}, {"w": torch.ones(1).half()}, 1.0), "'w' differs in shape or type"),
        (lambda: interpolate(network(1), network(2), 0.5, names=["2.wait"]), "did you mean '2.weight'"),
    ],
)
def test_errors(call, match: str) -> None:
    with pytest.raises(MeasureError, match=match):
        call()
