"""Expected regret: closed forms of two arms, invariances, coverage, bad input."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from transferscope.errors import MeasureError
from transferscope.measures.metric_error import auc_error
from transferscope.measures.regret import arm_metrics, expected_regret

MEANS = np.array([0.71, 0.74, 0.70, 0.735])
COVARIANCE = np.diag([2e-4, 3e-4, 1e-4, 4e-4]) + 1e-4


@pytest.mark.parametrize(("gap", "error"), [(0.0, 0.02), (0.01, 0.02), (0.03, 0.01)])
def test_of_two_arms_it_is_the_closed_form(gap: float, error: float) -> None:
    found = expected_regret([0.7, 0.7 + gap], [[error**2 / 2, 0], [0, error**2 / 2]], n=400, draws=200_000)
    assert found.chosen == (1 if gap else 0)
    # The rival is ahead by D ~ N(−gap, error²): E max(D, 0) = error·φ(gap / error) − gap·Φ(−gap / error).
    z = gap / error
    expected = error * stats.norm.pdf(z) - gap * stats.norm.cdf(-z)
    assert found.interval.value == pytest.approx(expected, abs=5 * error / math.sqrt(200_000))
    assert found.probability_best == pytest.approx(stats.norm.cdf(z), abs=5 * 0.5 / math.sqrt(200_000))
    assert found.interval.high == pytest.approx(max(0.0, error * stats.norm.ppf(0.9) - gap), abs=error * 0.02)
    assert (found.interval.low, found.interval.confidence, found.interval.n) == (0.0, pytest.approx(0.8), 400)


def test_what_all_arms_share_changes_nothing() -> None:
    plain = expected_regret(MEANS, COVARIANCE, n=9, draws=200_000)
    for means, covariance in ((MEANS + 0.1, COVARIANCE), (MEANS, COVARIANCE + 1e-3)):
        other = expected_regret(means, covariance, n=9, draws=200_000)
        assert other.interval.value == pytest.approx(plain.interval.value, abs=5 * 0.02 / math.sqrt(200_000))
        assert other.chosen == plain.chosen == 1
    wide = expected_regret(10 * MEANS, 100 * COVARIANCE, n=9, draws=200_000)
    assert wide.interval.value == pytest.approx(10 * plain.interval.value, rel=1e-9)
    order = [2, 0, 3, 1]
    turned = expected_regret(MEANS[order], COVARIANCE[np.ix_(order, order)], n=9, draws=200_000)
    assert turned.chosen == 3
    assert turned.interval.value == pytest.approx(plain.interval.value, abs=5 * 0.02 / math.sqrt(200_000))
    # Not invariant: larger errors of the arms promise more regret, a worse arm as well.
    assert expected_regret(MEANS, 4 * COVARIANCE, n=9).interval.value > plain.interval.value
    assert expected_regret(MEANS, COVARIANCE, n=9, chosen=0).interval.value > plain.interval.value + 0.02


def test_one_arm_equal_arms_and_certainty() -> None:
    one = expected_regret([0.5], [[0.01]], n=10)
    assert (one.chosen, one.interval.value, one.interval.high, one.probability_best) == (0, 0.0, 0.0, 1.0)
    same = expected_regret([0.5, 0.5], [[0.01, 0.01], [0.01, 0.01]], n=10)
    assert (same.chosen, same.interval.value, same.probability_best) == (0, pytest.approx(0.0, abs=1e-9), 1.0)
    known = expected_regret([0.5, 0.9, 0.8], np.zeros((3, 3)), n=10, chosen=2)
    assert (known.interval.value, known.interval.low, known.interval.high) == (pytest.approx(0.1),) * 3
    assert known.probability_best == 0.0


def test_the_upper_limit_covers_the_regret() -> None:
    generator = np.random.default_rng(0)
    inside, promised, proved = [], [], []
    for _ in range(400):
        truth = generator.normal(0.8, 0.02, size=5)
        seen = truth + generator.multivariate_normal(np.zeros(5), COVARIANCE[0, 0] * np.eye(5))
        found = expected_regret(seen, COVARIANCE[0, 0] * np.eye(5), n=1, draws=2000)
        lost = truth.max() - truth[found.chosen]
        inside.append(lost <= found.interval.high)
        promised.append(found.interval.value)
        proved.append(lost)
    assert np.mean(inside) >= 0.9 - 5 * math.sqrt(0.09 / 400)
    # A flat prior promises too much regret rather than too little.
    assert np.mean(promised) >= np.mean(proved) - 5 * np.std(proved) / math.sqrt(400)


def test_trying_further_arms_loses_less_and_all_of_them_nothing() -> None:
    means, covariance = [0.80, 0.79, 0.78, 0.70], 1e-4 * np.eye(4)
    lost = [expected_regret(means, covariance, n=9, confirmed=range(1, k)).interval.value for k in (1, 2, 3, 4)]
    assert lost[0] > lost[1] > lost[2] >= lost[3] == 0.0  # type: ignore[operator]
    assert expected_regret(means, covariance, n=9, chosen=0, confirmed=(0,)).interval.value == lost[0]
    with pytest.raises(MeasureError, match="chosen among"):
        expected_regret(means, covariance, n=9, confirmed=(4,))


def _logits(right: np.ndarray) -> torch.Tensor:
    return torch.stack([1.0 - torch.from_numpy(right).double(), torch.from_numpy(right).double()], dim=1)


def test_covariance_of_shares_is_that_of_the_examples() -> None:
    generator = np.random.default_rng(1)
    hard = generator.random(500) < 0.3
    arms = [np.where(hard, generator.random(500) < 0.2, generator.random(500) < 0.95) for _ in range(3)]
    found = arm_metrics([[_logits(arm)] for arm in arms], torch.ones(500, dtype=torch.long), "top1", draws=20_000)
    assert found.means == pytest.approx([arm.mean() for arm in arms])
    expected = np.cov(np.stack(arms).astype(float), bias=True) / 500
    assert found.covariance == pytest.approx(expected, abs=5 * expected.max() * math.sqrt(2 / 20_000))
    assert (found.spread, found.n) == (None, 500)


def test_seeds_add_their_spread() -> None:
    generator = np.random.default_rng(2)
    first = [generator.random(200) < 0.8 for _ in range(3)]
    second = [generator.random(200) < 0.7]
    labels = torch.ones(200, dtype=torch.long)
    outputs = [[_logits(each) for each in first], [_logits(each) for each in second]]
    found = arm_metrics(outputs, labels, "top1")
    spread = float(np.std([each.mean() for each in first], ddof=1))
    assert found.spread == pytest.approx(spread)
    alone = arm_metrics([outputs[0][:1], outputs[1]], labels, "top1")
    assert found.covariance[1, 1] == pytest.approx(alone.covariance[1, 1] + spread**2)
    assert found.means[0] == pytest.approx(np.mean([each.mean() for each in first]))


def test_of_areas_under_the_curve() -> None:
    generator = np.random.default_rng(3)
    labels = torch.from_numpy(generator.random(300) < 0.4).long()
    logits = torch.randn(300, 2, generator=torch.Generator().manual_seed(0)) + torch.stack([-labels, labels], dim=1)
    found = arm_metrics([[logits], [torch.flip(logits, dims=(1,))]], labels, "auc", draws=5000)
    assert found.means.sum() == pytest.approx(1.0)
    hanley = auc_error(float(found.means[0]), float(labels.sum()), float((1 - labels).sum()))
    assert math.sqrt(found.covariance[0, 0]) == pytest.approx(hanley, rel=0.2)
    assert found.covariance[0, 1] == pytest.approx(-found.covariance[0, 0])


def test_groups_are_drawn_together() -> None:
    generator = np.random.default_rng(4)
    right = np.repeat(generator.random(50) < 0.6, 4)
    groups = np.repeat(np.arange(50), 4)
    labels = torch.ones(200, dtype=torch.long)
    single = arm_metrics([[_logits(right)]], labels, "top1")
    grouped = arm_metrics([[_logits(right)]], labels, "top1", groups)
    assert (single.n, grouped.n) == (200, 50)
    assert grouped.covariance[0, 0] == pytest.approx(4 * single.covariance[0, 0], rel=0.3)


def test_bad_input_is_named() -> None:
    labels, logits = torch.ones(3, dtype=torch.long), torch.zeros(3, 2)
    for outputs in ([], [[]], [[logits], []]):
        with pytest.raises(MeasureError, match="arms are compared"):
            arm_metrics(outputs, labels, "top1")
    with pytest.raises(MeasureError, match="outputs does not fit"):
        arm_metrics([[torch.zeros(2, 2)]], labels, "top1")
    with pytest.raises(MeasureError, match="not defined"):
        arm_metrics([[logits]], labels, "auc")
    with pytest.raises(MeasureError, match="errors need examples"):
        arm_metrics([[logits[:1]]], labels[:1], "top1")
    for means, covariance, message in (
        ([], np.zeros((0, 0)), "must be finite"),
        ([0.5, float("nan")], np.eye(2), "must be finite"),
        ([0.5, 0.6], np.eye(3), "covariance does not fit"),
        ([0.5, 0.6], [[1.0, 0.5], [0.0, 1.0]], "finite and symmetric"),
        ([0.5, 0.6], [[1.0, 2.0], [2.0, 1.0]], "no negative variance"),
    ):
        with pytest.raises(MeasureError, match=message):
            expected_regret(means, covariance, n=5)
    with pytest.raises(MeasureError, match="chosen among"):
        expected_regret([0.5], [[1.0]], n=5, chosen=1)
    with pytest.raises(MeasureError, match="a confidence is a share"):
        expected_regret([0.5], [[1.0]], n=5, confidence=1.0)
