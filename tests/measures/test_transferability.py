"""LogME, H-score, LEEP and NCE against literal versions, closed forms and scikit-learn, and on bad input."""

import math

import numpy as np
import pytest
import torch
from sklearn.covariance import LedoitWolf

from tests.reference import transferability_reference as literal
from transferscope.errors import MeasureError
from transferscope.measures import h_score, leep, logme, nce


def tables(examples: int, width: int, classes: int = 3, pull: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(examples + width)
    labels = np.arange(examples) % classes
    features = generator.normal(size=(examples, width)) + pull * generator.normal(size=(classes, width))[labels] + 0.3
    return features, labels


def one_hot(labels: np.ndarray) -> torch.Tensor:
    return torch.nn.functional.one_hot(torch.from_numpy(labels)).double()


@pytest.mark.parametrize(("examples", "width"), [(40, 6), (25, 40), (30, 1)])
def test_logme_is_the_highest_of_the_fixed_points(examples: int, width: int) -> None:
    features, labels = tables(examples, width)
    found = logme(torch.from_numpy(features), one_hot(labels))
    assert found.value == pytest.approx(literal.logme(features, one_hot(labels).numpy()), abs=1e-7)
    assert found.value == pytest.approx(np.mean(found.outputs))  # type: ignore[arg-type]


def test_logme_of_labels_that_hold_at_once_is_the_mean_over_labels() -> None:
    features, _ = tables(40, 6)
    targets = np.random.default_rng(3).integers(2, size=(40, 4)).astype(float)
    targets[:, 2] = 1.0
    found = logme(torch.from_numpy(features), torch.from_numpy(targets))
    assert found.outputs[2] is None
    each = [literal.logme(features, targets[:, [place]]) for place in (0, 1, 3)]
    assert [found.outputs[place] for place in (0, 1, 3)] == pytest.approx(each, abs=1e-7)
    assert found.value == pytest.approx(np.mean(each), abs=1e-7)


def test_features_that_say_nothing_leave_the_evidence_of_noise_alone() -> None:
    labels = np.array([0, 0, 1, 1])
    features = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    found = logme(features, one_hot(labels))
    assert found.at_limit == 2
    assert found.value == pytest.approx(0.5 * math.log(4 / (2 * math.pi * math.e * 2)), abs=1e-8)


@pytest.mark.parametrize(("examples", "width"), [(60, 5), (24, 50), (30, 1)])
def test_h_score_is_that_of_whole_matrices(examples: int, width: int) -> None:
    features, labels = tables(examples, width)
    found = h_score(torch.from_numpy(features), torch.from_numpy(labels))
    fitted = LedoitWolf().fit(features)
    assert found.shrinkage == pytest.approx(fitted.shrinkage_, abs=1e-10)
    if width > 1:
        assert (found.value, found.shrinkage) == pytest.approx(literal.h_score(features, labels), rel=1e-8)
    assert 0 <= found.value <= 2


def test_h_score_of_one_feature_is_the_share_of_variance_between_classes() -> None:
    features, labels = tables(30, 1)
    means = np.array([features[labels == kind].mean() for kind in range(3)])[labels]
    found = h_score(torch.from_numpy(features), torch.from_numpy(labels))
    assert found.value == pytest.approx(means.var() / features.var())


def test_leep_and_nce_are_those_of_loops() -> None:
    generator = np.random.default_rng(0)
    theta = generator.dirichlet(np.full(6, 0.3), size=50)
    labels = generator.integers(4, size=50) * 3
    assert leep(torch.from_numpy(theta), torch.from_numpy(labels)) == pytest.approx(literal.leep(theta, labels))
    sources = theta.argmax(1)
    assert nce(torch.from_numpy(sources), torch.from_numpy(labels)) == pytest.approx(literal.nce(sources, labels))


def test_leep_of_sure_heads_is_nce_and_both_are_zero_where_sources_give_the_labels() -> None:
    generator = np.random.default_rng(1)
    sources, labels = torch.from_numpy(generator.integers(5, size=40)), torch.from_numpy(generator.integers(3, size=40))
    sure = torch.nn.functional.one_hot(sources).double()
    assert leep(sure, labels) == pytest.approx(nce(sources, labels))
    assert nce(labels + 7, labels) == 0
    assert leep(torch.nn.functional.one_hot(labels).float(), labels) == 0


def test_leep_of_a_head_without_a_view_is_the_entropy_of_the_labels() -> None:
    labels = torch.tensor([0, 0, 0, 1])
    found = leep(torch.full((4, 3), 1 / 3, dtype=torch.float64), labels)
    assert found == pytest.approx(0.75 * math.log(0.75) + 0.25 * math.log(0.25))


X = torch.eye(4)


@pytest.mark.parametrize(
    "call",
    [
        lambda: logme(X, torch.ones(4, 2)),
        lambda: logme(X, torch.ones(3, 2)),
        lambda: logme(torch.zeros(4, 2), torch.eye(4)),
        lambda: logme(X * torch.nan, torch.eye(4)),
        lambda: h_score(X, torch.zeros(4, dtype=torch.int64)),
        lambda: h_score(X, torch.eye(4, dtype=torch.int64)),
        lambda: h_score(torch.ones(4, 2), torch.tensor([0, 0, 1, 1])),
        lambda: h_score(X * torch.inf, torch.tensor([0, 0, 1, 1])),
        lambda: leep(X * 2, torch.tensor([0, 0, 1, 1])),
        lambda: leep(X * torch.nan, torch.tensor([0, 0, 1, 1])),
        lambda: leep(X, torch.tensor([0.0, 0, 1, 1])),
        lambda: nce(torch.arange(3), torch.arange(4)),
        lambda: nce(torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64)),
    ],
)  # fmt: skip
def test_what_cannot_be_scored_is_an_error(call: object) -> None:
    with pytest.raises(MeasureError):
        call()  # type: ignore[operator]
