import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score, top_k_accuracy_score

from tests.reference import metrics_reference as reference
from transferscope.errors import MeasureError
from transferscope.measures.metrics import (
    correct,
    metric,
    per_example_loss,
    per_label_auc,
    predictions,
    top_k,
    weighted_auc,
)

exact = settings(derandomize=True, deadline=None, max_examples=60)


def single(examples: int = 200, classes: int = 7, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(examples, classes, generator=generator) * 3
    return logits, torch.randint(classes, (examples,), generator=generator)


def multi(examples: int = 150, labels: int = 4, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = (torch.randn(examples, labels, generator=generator) * 2).round(decimals=1)  # with ties
    return logits, (torch.rand(examples, labels, generator=generator) < 0.3).long()


def test_against_sklearn_single_label() -> None:
    logits, labels = single()
    probabilities = logits.double().softmax(1).numpy()
    assert per_example_loss(logits, labels).mean().item() == pytest.approx(
        log_loss(labels, probabilities, labels=range(7)), rel=1e-12
    )
    assert metric(logits, labels, "top1") == accuracy_score(labels, logits.argmax(1))
    assert metric(logits, labels, "top5") == pytest.approx(
        top_k_accuracy_score(labels, probabilities, k=5, labels=range(7))
    )
    assert correct(logits, labels).double().mean().item() == metric(logits, labels, "top1")


def test_against_sklearn_multi_label() -> None:
    logits, labels = multi()
    areas = [area.value for area in per_label_auc(logits, labels)]
    assert areas == pytest.approx(roc_auc_score(labels, logits, average=None), rel=1e-12)
    assert metric(logits, labels, "auc") == pytest.approx(roc_auc_score(labels, logits), rel=1e-12)
    losses = [log_loss(labels[:, i], logits[:, i].double().sigmoid(), labels=[0, 1]) for i in range(labels.shape[1])]
    assert per_example_loss(logits, labels, "multi").mean().item() == pytest.approx(sum(losses) / 4, rel=1e-12)
    weights = np.random.default_rng(0).integers(0, 4, size=(3, len(logits))).astype(float)
    for row in weights:
        expected = roc_auc_score(labels[:, 0], logits[:, 0], sample_weight=row)
        assert weighted_auc(logits[:, 0], labels[:, 0] == 1, row[None])[0] == pytest.approx(expected, rel=1e-12)


@exact
@given(st.integers(0, 10_000))
def test_literal_reference(seed: int) -> None:
    logits, labels = single(examples=11, classes=4, seed=seed)
    logits = logits.round()  # with ties
    expected = [
        reference.cross_entropy(row, label) for row, label in zip(logits.tolist(), labels.tolist(), strict=True)
    ]
    assert per_example_loss(logits, labels).tolist() == pytest.approx(expected, rel=1e-12, abs=1e-14)
    for k in range(1, 5):
        assert top_k(logits, labels, k) == reference.top_k(logits.tolist(), labels.tolist(), k)
    logits, labels = multi(examples=9, labels=2, seed=seed)
    expected = [
        reference.binary_cross_entropy(row, label) for row, label in zip(logits.tolist(), labels.tolist(), strict=True)
    ]
    assert per_example_loss(logits, labels, "multi").tolist() == pytest.approx(expected, rel=1e-12)
    weights = np.random.default_rng(seed).integers(0, 3, size=9).astype(float)
    found = weighted_auc(logits[:, 0], labels[:, 0] == 1, weights[None])[0]
    literal = reference.auc(logits[:, 0].tolist(), (labels[:, 0] == 1).tolist(), weights.tolist())
    assert math.isnan(found) if literal is None else found == pytest.approx(literal, rel=1e-12)


def test_auc_of_one_class_is_a_named_null() -> None:
    logits, labels = multi()
    labels[:, 1], labels[:, 2] = 0, 1
    areas = per_label_auc(logits, labels)
    assert (areas[1].value, areas[1].positives, areas[1].reason) == (None, 0, "no positive example")
    assert (areas[2].value, areas[2].negatives, areas[2].reason) == (None, 0, "no negative example")
    kept = [0, 3]
    assert metric(logits, labels, "auc") == pytest.approx(roc_auc_score(labels[:, kept], logits[:, kept]))
    assert metric(logits, torch.zeros_like(labels), "auc") is None


def test_auc_of_two_classes_uses_the_difference_of_logits() -> None:
    logits, labels = single(classes=2)
    expected = roc_auc_score(labels, logits[:, 1] - logits[:, 0])
    assert metric(logits, labels, "auc") == pytest.approx(expected, rel=1e-12)


def test_nan_logits_are_mistakes_and_never_numbers() -> None:
    logits, labels = torch.eye(3), torch.arange(3)
    logits[1, 2] = float("nan")
    assert predictions(logits).tolist() == [0, -1, 2]
    assert correct(logits, labels).tolist() == [True, False, True]
    assert metric(logits, labels, "top1") == pytest.approx(2 / 3)
    assert top_k(logits, labels, 3) == pytest.approx(2 / 3)
    with pytest.raises(MeasureError, match="loss of logits that are not finite"):
        per_example_loss(logits, labels)
    scores, truth = multi(20, 2)
    scores[3, 0] = float("nan")
    assert per_label_auc(scores, truth)[0].reason == "a score is NaN"
    assert metric(scores, truth, "auc") is None
    assert predictions(scores, "multi")[3, 0] == -1
    assert not correct(scores, truth)[3, 0]


def test_constant_logits_are_not_right_everywhere() -> None:
    labels = torch.arange(6) % 3
    assert metric(torch.zeros(6, 3), labels, "top1") == pytest.approx(1 / 3)
    assert top_k(torch.zeros(6, 3), labels, 2) == pytest.approx(2 / 3)


def test_half_probability_is_a_yes() -> None:
    assert predictions(torch.tensor([[0.0, -1e-3]]), "multi").tolist() == [[1, 0]]


def test_float64_sums() -> None:
    logits = torch.full((1, 2), 20.0)
    logits[0, 0] += 1e-3  # float32 logits; the loss keeps what they hold
    expected = math.log1p(math.exp(float(logits[0, 1].double() - logits[0, 0].double())))
    assert per_example_loss(logits, torch.tensor([0])).item() == pytest.approx(expected, rel=1e-13)
    assert per_example_loss(logits.bfloat16(), torch.tensor([0])).dtype == torch.float64


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: per_example_loss(torch.zeros(3), torch.zeros(3).long()), "logits must be a table"),
        (lambda: metric(torch.zeros(0, 3), torch.zeros(0).long(), "top1"), "logits must be a table"),
        (lambda: correct(torch.zeros(3, 2), torch.zeros(4).long()), "logits and labels do not fit"),
        (lambda: correct(torch.zeros(3, 2), torch.zeros(3, 3)), "logits and labels do not fit"),
        (lambda: correct(torch.zeros(3, 2), torch.tensor([0, 1, 2])), "a label is out of range"),
        (lambda: correct(torch.zeros(3, 2), torch.tensor([0, 1, -1])), "a label is out of range"),
        (lambda: correct(torch.zeros(3, 2), torch.zeros(3)), "labels must be integers"),
        (lambda: correct(torch.zeros(1, 2), torch.tensor([[0.5, 1.0]])), "neither 0 nor 1"),
        (lambda: per_example_loss(torch.zeros(3, 2), torch.zeros(3).long(), "multi"), "do not fit task='multi'"),
        (lambda: per_example_loss(torch.zeros(3, 2), torch.zeros(3, 2)), "do not fit task='single'"),
        (lambda: metric(torch.zeros(3, 2), torch.zeros(3).long(), "top5"), "top5 does not fit 2 classes"),
        (lambda: metric(torch.zeros(3, 2), torch.zeros(3, 2), "top1"), "top1 takes one label per example"),
        (lambda: metric(torch.zeros(3, 4), torch.zeros(3).long(), "auc"), "auc takes several labels"),
        (lambda: metric(torch.zeros(3, 4), torch.zeros(3).long(), "top11"), "did you mean 'top1'"),
    ],
)
def test_errors(call, match: str) -> None:
    with pytest.raises(MeasureError, match=match):
        call()
