"""Confident learning against a literal version, and its bad input."""

import numpy as np
import pytest

from transferscope.errors import MeasureError
from transferscope.measures import label_issues, softmax_at_best_scale


def literal(p: np.ndarray, y: np.ndarray) -> list[int]:
    classes = range(p.shape[1])
    level = {j: np.mean([p[i, j] for i in range(len(y)) if y[i] == j]) for j in classes if (y == j).any()}
    found = []
    for i, own in enumerate(y):
        sure = [j for j in level if p[i, j] >= level[j]]
        best = max(sure, key=lambda j: p[i, j]) if sure else own
        found.append(int(best) if best != own and p[i].argmax() != own else -1)
    return found


def probabilities(examples: int, classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, examples)
    return rng.dirichlet(np.ones(classes), examples) * 0.5 + 0.5 * np.eye(classes)[y][rng.permutation(examples)], y


@pytest.mark.parametrize("seed", range(5))
def test_it_is_the_off_diagonal_of_the_confident_joint(seed: int) -> None:
    p, y = probabilities(60, 4, seed)
    assert label_issues(p, y).suggested.tolist() == literal(p, y)


def test_flipped_labels_of_easy_classes_are_found_and_no_other() -> None:
    rng = np.random.default_rng(0)
    truth = np.arange(200) % 4
    given = truth.copy()
    given[:10] = (truth[:10] + 1) % 4
    scores = np.eye(4)[truth] + rng.normal(0, 0.1, (200, 4))
    found = label_issues(softmax_at_best_scale(scores, given), given)
    assert np.flatnonzero(found.suggested >= 0).tolist() == list(range(10))
    assert found.suggested[:10].tolist() == truth[:10].tolist()
    assert (found.margin[:10] > 0).all()
    assert (found.margin[10:] < 0).all()


def test_a_class_without_examples_is_never_suggested() -> None:
    found = label_issues([[0.1, 0.1, 0.8], [0.2, 0.7, 0.1]], [0, 1])
    assert 2 not in found.suggested.tolist()


def test_scores_keep_their_order_as_probabilities() -> None:
    scores = np.random.default_rng(1).normal(size=(30, 3))
    found = softmax_at_best_scale(scores, scores.argmax(1))
    np.testing.assert_allclose(found.sum(1), 1)
    assert (found.argmax(1) == scores.argmax(1)).all()


@pytest.mark.parametrize("labels", [[0], [0, 2], [-1, 0], []])
def test_labels_that_do_not_fit_are_named(labels: list[int]) -> None:
    with pytest.raises(MeasureError):
        label_issues([[0.5, 0.5], [0.2, 0.8]], labels)
