import math

import pytest
import torch

from transferscope.training.loss import divergence_limit, mixed_loss, training_loss
from transferscope.training.mixup import Mixed

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.0, 0.3, -2.0]])
LABELS = torch.tensor([0, 2])
ROWS = torch.tensor([[1, 0, 1], [0, 0, 1]], dtype=torch.uint8)


def cross_entropy_by_hand(logits, targets):
    total = 0.0
    for row, target in zip(logits.tolist(), targets, strict=True):
        normaliser = math.log(sum(math.exp(value) for value in row))
        total -= sum(t * (value - normaliser) for t, value in zip(target, row, strict=True))
    return total / len(targets)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_smoothed_cross_entropy_by_hand(smoothing):
    targets = [[(1 - smoothing) * (k == label) + smoothing / 3 for k in range(3)] for label in LABELS.tolist()]
    expected = cross_entropy_by_hand(LOGITS, targets)
    assert float(training_loss(LOGITS, LABELS, "single", smoothing)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_smoothed_binary_cross_entropy_by_hand(smoothing):
    total = 0.0
    for row, labels in zip(LOGITS.tolist(), ROWS.tolist(), strict=True):
        for value, label in zip(row, labels, strict=True):
            target = label * (1 - smoothing) + smoothing / 2
            share = 1 / (1 + math.exp(-value))
            total -= target * math.log(share) + (1 - target) * math.log(1 - share)
    assert float(training_loss(LOGITS, ROWS, "multi", smoothing)) == pytest.approx(total / 6, rel=1e-6)


def test_a_mixed_loss_is_the_mixture_of_losses():
    mixed = Mixed(torch.zeros(2, 3, 1, 1), LABELS, LABELS.flip(0), 0.3)
    expected = 0.3 * training_loss(LOGITS, LABELS, "single") + 0.7 * training_loss(LOGITS, LABELS.flip(0), "single")
    torch.testing.assert_close(mixed_loss(LOGITS, mixed, "single"), expected)


def test_half_precision_logits_are_summed_in_float32():
    assert training_loss(LOGITS.bfloat16(), LABELS, "single").dtype == torch.float32


def test_the_limit_has_a_floor():
    assert divergence_limit(3.0, 20.0, 2, "single") == pytest.approx(60)
    assert divergence_limit(0.0, 20.0, 10, "single") == pytest.approx(20 * math.log(10))
    assert divergence_limit(0.0, 20.0, 10, "multi") == pytest.approx(20 * math.log(2))
