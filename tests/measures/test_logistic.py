"""Logistic regression against scikit-learn, and by what its minimum must satisfy."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from transferscope.errors import MeasureError
from transferscope.measures.logistic import fit_logistic, scaling


def data(examples: int = 200, features: int = 12, classes: int = 4, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, features, generator=generator, dtype=torch.float64)
    labels = torch.arange(examples) % classes
    noise = torch.randn(examples, features, generator=generator, dtype=torch.float64)
    return centres[labels] + 1.5 * noise, labels


@pytest.mark.parametrize("penalty", [1.0, 0.01, 0.0001])
@pytest.mark.parametrize("features", [12, 300])
def test_against_scikit_learn(penalty: float, features: int) -> None:
    x, y = data(features=features)
    fit = fit_logistic(x, y, 4, penalty, tolerance=1e-9)
    other = LogisticRegression(C=1 / (len(x) * penalty), tol=1e-12, max_iter=50_000).fit(x.numpy(), y.numpy())
    assert fit.converged
    np.testing.assert_allclose(fit.weight.T.numpy(), other.coef_, atol=2e-4, rtol=1e-3)
    ours = fit.logits(x).softmax(1).numpy()
    np.testing.assert_allclose(ours, other.predict_proba(x.numpy()), atol=1e-4)


def test_two_classes_are_scikit_learns_with_half_the_penalty() -> None:
    x, y = data(classes=2)
    fit = fit_logistic(x, y, 2, 0.02, tolerance=1e-9)
    other = LogisticRegression(C=2 / (len(x) * 0.02), tol=1e-12, max_iter=50_000).fit(x.numpy(), y.numpy())
    np.testing.assert_allclose(fit.logits(x).softmax(1).numpy(), other.predict_proba(x.numpy()), atol=1e-5)


def test_several_labels_are_one_regression_each() -> None:
    x, y = data(classes=3)
    labels = torch.stack([(y == k) | (x[:, k] > 1) for k in range(3)], 1).to(torch.uint8)
    fit = fit_logistic(x, labels, 3, 0.05, task="multi", tolerance=1e-9)
    for label in range(3):
        other = LogisticRegression(C=1 / (len(x) * 0.05), tol=1e-12, max_iter=50_000)
        other.fit(x.numpy(), labels[:, label].numpy())
        np.testing.assert_allclose(fit.weight[:, label].numpy(), other.coef_[0], atol=1e-4)
        np.testing.assert_allclose(float(fit.bias[label]), other.intercept_[0], atol=1e-4)


def test_the_gradient_is_zero_at_the_end() -> None:
    x, y = data()
    fit = fit_logistic(x, y, 4, 0.1, tolerance=1e-8)
    weight, bias = fit.weight.clone().requires_grad_(), fit.bias.clone().requires_grad_()
    loss = torch.nn.functional.cross_entropy(x @ weight + bias, y) + 0.05 * weight.square().sum()
    assert float(loss.detach()) == pytest.approx(fit.loss, abs=1e-12)
    loss.backward()
    assert weight.grad is not None
    assert bias.grad is not None
    assert float(weight.grad.abs().max()) < 1e-7
    assert float(bias.grad.abs().max()) < 1e-7


def test_a_warm_start_ends_at_the_same_minimum() -> None:
    x, y = data()
    far = fit_logistic(x, y, 4, 10.0)
    cold, warm = (fit_logistic(x, y, 4, 0.01, start=start, tolerance=1e-9) for start in (None, far))
    torch.testing.assert_close(cold.weight, warm.weight, atol=1e-5, rtol=0)


def test_a_class_without_examples_and_huge_features_are_no_trouble() -> None:
    x, y = data(classes=3)
    fit = fit_logistic(1e3 * x, y, 5, 0.1)
    assert bool(torch.isfinite(fit.logits(1e3 * x)).all())
    assert fit.logits(x).argmax(1).max() < 3


def test_stopping_early_is_said() -> None:
    x, y = data()
    assert not fit_logistic(x, y, 4, 1e-12, tolerance=1e-15).converged


def test_scaling_is_of_the_training_data_alone() -> None:
    x, _ = data()
    x[:, 3] = 7.25
    found = scaling(x)
    scaled = found.apply(x)
    assert torch.allclose(scaled.mean(0), torch.zeros(12, dtype=torch.float64), atol=1e-12)
    varied = [k for k in range(12) if k != 3]
    assert torch.allclose(scaled[:, varied].std(0, correction=0), torch.ones(11, dtype=torch.float64))
    assert bool((scaled[:, 3] == 0).all())
    torch.testing.assert_close(found.apply(x + 1), scaled + 1 / found.deviation)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"penalty": 0.0}, "a penalty must be positive"),
        ({"labels": torch.tensor([0, 1, 9])}, "labels do not fit the features"),
        ({"labels": torch.tensor([0, 1])}, "labels do not fit the features"),
        ({"labels": torch.tensor([0.0, 1.0, 1.0])}, "labels do not fit the features"),
        ({"features": torch.zeros(3)}, "features must be a table"),
        ({"features": torch.full((3, 2), torch.nan)}, "features are not finite"),
        ({"task": "multi"}, r"expected: \(3, 2\) of 0 and 1"),
        ({"task": "multi", "labels": torch.full((3, 2), 2)}, r"expected: \(3, 2\) of 0 and 1"),
    ],
)
def test_bad_input_is_named(change: dict, message: str) -> None:
    given = {"features": torch.eye(3, 2), "labels": torch.tensor([0, 1, 1]), "classes": 2, "penalty": 0.1, **change}
    with pytest.raises(MeasureError, match=message):
        fit_logistic(**given)
