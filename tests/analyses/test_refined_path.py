"""Paths from coarse to fine, and in bfloat16."""

import numpy as np
import pytest
import torch
from torch import nn

from tests.analyses.lines_by_hand import batches, network
from transferscope.errors import MeasureError
from transferscope.measures.barriers import barrier
from transferscope.methods.evaluation import Evaluation
from transferscope.methods.landscape.line_points import Recheck
from transferscope.methods.landscape.linear_path import alpha_grid, linear_path

ON_CPU = Evaluation(device="cpu")


def hilly(at: float) -> nn.Module:
    """Its loss on :func:`hills` is a sum of waves of its one parameter."""

    class Hilly(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.at = nn.Parameter(torch.tensor([at]))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            height = torch.sin(3 * torch.pi * self.at) + 0.8 * torch.sin(5 * torch.pi * self.at)
            return torch.cat([-height * x[:, :1], height * x[:, :1]], dim=1)

    return Hilly()


def test_several_hills_are_found_as_on_the_dense_grid() -> None:
    hills = {"x": [(torch.ones(12, 1), torch.zeros(12, dtype=torch.long))]}
    ends = hilly(0.0), hilly(1.0)
    dense = linear_path(*ends, hills, alphas=alpha_grid(49, 0), evaluation=ON_CPU)
    found = linear_path(*ends, hills, refine=0.021, evaluation=ON_CPU)
    inside = [alpha for alpha in found.alphas if 0 <= alpha <= 1]
    assert found.resolution is not None
    assert found.resolution.bracket <= 0.021
    assert found.resolution.open > 0, "the error, a square wave, may be higher at each of its steps"
    assert len(inside) == found.resolution.evaluations <= 24
    assert found.resolution.equivalent == 49
    assert {-0.5, 1.5} <= set(found.alphas), "extrapolation is kept"
    assert dense.resolution is None
    one, two = (path.barrier("x", "loss").linear for path in (found, dense))
    assert one.value == pytest.approx(two.value, rel=0.01)
    assert one.alpha == pytest.approx(two.alpha, abs=0.021)


def test_limits_of_a_refined_path_allow_for_the_finest_grid() -> None:
    path = linear_path(network(0, False), network(1, False), {"x": batches()}, refine=0.05, evaluation=ON_CPU)
    wanted = barrier(path.alphas, path.values("x", "error"), family=path.resolution.equivalent)
    assert path.barrier("x", "error") == wanted
    narrow = barrier(path.alphas, path.values("x", "error"))
    assert wanted.mean.interval.low <= narrow.mean.interval.low
    assert wanted.mean.interval.high == narrow.mean.interval.high


def test_progress_of_a_refined_path_stays_below_what_it_may_take() -> None:
    told = []
    linear_path(
        network(0, False), network(1, False), {"x": batches()}, refine=0.021, evaluation=ON_CPU,
        on_point=lambda done, of: told.append((done, of)),
    )  # fmt: skip
    assert [done for done, _ in told] == list(range(1, len(told) + 1))
    assert all(done <= of for done, of in told)


def test_the_fast_way_says_how_far_off_it_is() -> None:
    a, b, data = network(0), network(1), {"x": batches()}
    evaluation = Evaluation(recompute_on=batches(30, 15, seed=3), device="cpu")
    options = {"evaluation": evaluation, "alphas": alpha_grid(9, 0.5, 1)}
    exact, fast = linear_path(a, b, data, **options), linear_path(a, b, data, fast=True, **options)
    assert exact.recheck is None
    recheck = fast.recheck
    assert recheck.settled
    assert {0.0, 1.0} < set(recheck.alphas), "both ends, and at least one point between"
    apart = np.abs(fast.values("x", "loss") - exact.values("x", "loss")).mean(axis=1)
    for alpha, value in zip(fast.alphas, apart, strict=True):
        if alpha in recheck.alphas:
            assert value < 1e-5, "the values of float32"
    assert max(apart) > 1e-5, "the others are of bfloat16"
    assert 0 < recheck.loss < 0.1
    inside = [alpha for alpha in fast.alphas if 0 <= alpha <= 1]
    for quantity in ("loss", "error"):
        means = dict(zip(fast.alphas, fast.values("x", quantity).mean(axis=1), strict=True))
        for lines in (lambda a, m: (1 - a) * m[0.0] + a * m[1.0], lambda a, m: (m[0.0] + m[1.0]) / 2):
            gaps = {alpha: means[alpha] - lines(alpha, means) for alpha in inside}
            assert max(gaps[alpha] for alpha in recheck.alphas) == max(gaps.values()), "no maximum is of bfloat16 alone"
    for one, two in zip(fast.own["x"], exact.own["x"], strict=True):
        np.testing.assert_allclose(one.losses, two.losses, rtol=1e-4, atol=1e-5)


def test_a_network_and_itself_are_still_checked_between() -> None:
    a = network(0, False)
    path = linear_path(a, a, {"x": batches()}, fast=True, alphas=alpha_grid(5, 0), evaluation=ON_CPU)
    assert len(path.recheck.alphas) >= 3


def test_what_bfloat16_changed_is_said_in_a_sentence() -> None:
    said = Recheck((0.0, 0.5, 1.0), 0.0123, 0.5 / 60, True).text
    assert said.endswith("again in float32: largest difference of a mean loss 0.012, of an error 0.0083")
    open_ = Recheck((0.0, 1.0), float("inf"), 0.0, False).text
    assert open_.endswith("mean loss not finite, of an error 0; a maximum is still of bfloat16, for want of points")


@pytest.mark.parametrize("alphas", [(0.0, 0.5), (0.5, 1.0)])
def test_only_a_path_with_both_ends_is_refined(alphas) -> None:
    with pytest.raises(MeasureError, match="only a path with both ends can be refined"):
        linear_path(
            network(0, False), network(1, False), {"x": batches()}, refine=0.1, alphas=alphas, evaluation=ON_CPU
        )
