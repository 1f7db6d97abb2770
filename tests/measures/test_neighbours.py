import numpy as np
import pytest
import torch
from scipy import stats

from transferscope.errors import MeasureError
from transferscope.measures.agreement import weighted_tau
from transferscope.measures.neighbours import neighbour_votes


def literal_votes(known, targets, asked, neighbours):
    found = []
    for row in asked:
        cosines = [float(np.dot(row, one) / np.linalg.norm(row) / np.linalg.norm(one)) for one in known]
        nearest = sorted(range(len(known)), key=lambda i: -cosines[i])[:neighbours]
        weights = [1 + cosines[i] for i in nearest]
        found.append(sum(w * targets[i] for w, i in zip(weights, nearest, strict=True)) / sum(weights))
    return np.stack(found)


@pytest.mark.parametrize("neighbours", [1, 3, 100])
def test_votes_are_those_of_a_literal_version(neighbours):
    rng = np.random.default_rng(0)
    known, asked = rng.standard_normal((30, 5)), rng.standard_normal((7, 5))
    targets = (rng.random((30, 4)) < 0.4).astype(float)
    found = neighbour_votes(*map(torch.tensor, (known, targets, asked)), neighbours)
    assert found.numpy() == pytest.approx(literal_votes(known, targets, asked, neighbours), abs=1e-6)
    assert (found >= 0).all()
    assert (found <= 1).all()
    turned, _ = np.linalg.qr(rng.standard_normal((5, 5)))
    again = neighbour_votes(*map(torch.tensor, (known @ turned, targets, 3 * asked @ turned)), neighbours)
    assert again.numpy() == pytest.approx(found.numpy(), abs=1e-6)
    shifted = neighbour_votes(*map(torch.tensor, (known + 5, targets, asked + 5)), 3)
    assert shifted.shape == (7, 4)


@pytest.mark.parametrize("change", [{"neighbours": 0}, {"known": torch.ones(0, 2)}, {"asked": torch.ones(1, 3)}])
def test_bad_input(change):
    good = {"known": torch.ones(2, 2), "targets": torch.eye(2), "asked": torch.ones(1, 2), "neighbours": 1}
    with pytest.raises(MeasureError, match="neighbours are looked for"):
        neighbour_votes(**{**good, **change})


def literal_tau(scores, outcomes):
    """Each pair weighs 1/(r+1) + 1/(s+1), once by the ranks of scores and once by those of outcomes."""
    found = []
    for by, ties in ((scores, outcomes), (outcomes, scores)):
        order = sorted(range(len(by)), key=lambda i: (-by[i], -ties[i]))
        rank = {i: place for place, i in enumerate(order)}

        def total(x, y, rank=rank):
            return sum(
                np.sign(x[i] - x[j]) * np.sign(y[i] - y[j]) * (1 / (rank[i] + 1) + 1 / (rank[j] + 1))
                for i in range(len(x)) for j in range(i)
            )  # fmt: skip

        found.append(total(scores, outcomes) / np.sqrt(total(scores, scores) * total(outcomes, outcomes)))
    return np.mean(found)


@pytest.mark.parametrize("seed", range(4))
def test_a_weighted_tau_is_that_of_a_literal_version(seed):
    rng = np.random.default_rng(seed)
    scores, outcomes = rng.standard_normal((2, 8)).round(1).tolist()
    assert weighted_tau(scores, outcomes) == pytest.approx(literal_tau(scores, outcomes))
    assert weighted_tau(np.exp(scores).tolist(), outcomes) == pytest.approx(weighted_tau(scores, outcomes))
    assert weighted_tau(scores, outcomes) != pytest.approx(stats.kendalltau(scores, outcomes).statistic)


def test_a_weighted_tau_of_too_little_is_none():
    assert weighted_tau([1.0, 2.0, None], [1.0, 2.0, 3.0]) is None
    assert weighted_tau([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]) is None
    with pytest.raises(MeasureError, match="different"):
        weighted_tau([1.0], [1.0, 2.0])
