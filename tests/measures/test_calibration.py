"""ECE, churn and their limits, against slow and other people's versions."""

import numpy as np
import pytest
import torch
from scipy import stats

from transferscope.errors import MeasureError
from transferscope.measures.calibration import calibration_error, churn, confidences


def literal_ece(confidence: np.ndarray, right: np.ndarray, bins: int = 15) -> float:
    total = 0.0
    for number in range(bins):
        low, high = number / bins, (number + 1) / bins
        inside = [(c, r) for c, r in zip(confidence, right, strict=True) if low < c <= high or (number == 0 and c == 0)]
        if inside:
            gap = sum(c for c, _ in inside) / len(inside) - sum(r for _, r in inside) / len(inside)
            total += len(inside) / len(confidence) * abs(gap)
    return total


def drawn(n: int, seed: int, sharpness: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0.3, 1.0, n)
    return truth**sharpness, (rng.uniform(size=n) < truth).astype(float)


@pytest.mark.parametrize("seed", range(5))
def test_the_error_is_that_of_its_definition(seed: int) -> None:
    confidence, right = drawn(301, seed, 0.5)
    found = calibration_error(confidence, right)
    assert found.value == pytest.approx(literal_ece(confidence, right))
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.value <= found.high
    assert found.basis == "examples"
    assert found.n == 301


def test_limits_cover_the_spread_over_samples() -> None:
    """The error of other samples of that size lies in the limits of one about as often as it should."""
    values = [calibration_error(*drawn(500, seed, 0.5), draws=200) for seed in range(60)]
    middle = float(np.mean([found.value for found in values]))
    assert sum(found.low <= middle <= found.high for found in values) >= 51


def test_confidences_are_those_of_softmax_and_sigmoid() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0]])
    sure, right = confidences(logits, torch.tensor([0, 0, 0]))
    assert sure == pytest.approx([1 / (1 + np.exp(-2)), 1 / (1 + np.exp(-1)), 1 / (1 + np.exp(-3))])
    assert right.tolist() == [1, 0, 1]
    sure, right = confidences(logits, torch.tensor([[1, 0], [0, 1], [1, 1]]))
    assert sure == pytest.approx(1 / (1 + np.exp(-logits.numpy().reshape(-1))))
    assert right.tolist() == [1, 0, 0, 1, 1, 1]
    with pytest.raises(MeasureError):
        confidences(torch.tensor([[float("nan"), 0.0]]), torch.tensor([0]))


def test_what_is_no_probability_is_refused() -> None:
    for confidence, right in (([1.1], [1]), ([0.5], [0.5]), ([0.5, 0.5], [1]), ([], [])):
        with pytest.raises(MeasureError):
            calibration_error(confidence, right)


def test_churn_counts_predictions_and_has_wilsons_limits() -> None:
    logits = torch.eye(4).repeat(25, 1)
    other = logits.clone()
    other[:7] = other[:7].roll(1, 1)
    found = churn(logits, other)
    assert found.value == pytest.approx(0.07)
    limits = stats.binomtest(7, 100).proportion_ci(method="wilson")
    assert (found.low, found.high) == (pytest.approx(limits.low), pytest.approx(limits.high))
    assert churn(logits, 5 * logits).value == 0.0
    assert churn(logits, logits).high > 0.03
    assert churn(other, logits).value == found.value
    groups = churn(logits, other, np.arange(100) // 25)
    assert groups.n == 4
    assert groups.high > found.high
    assert churn(torch.tensor([[1.0, -1.0]]), torch.tensor([[1.0, 1.0]]), multi=True).value == 0.5
    with pytest.raises(MeasureError):
        churn(logits, logits[:3])
