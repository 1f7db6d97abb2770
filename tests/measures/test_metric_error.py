"""Standard errors of metrics: against literal formulas, simulation, and what they must be at the ends."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transferscope.errors import MeasureError
from transferscope.measures.metric_error import auc_error, independent_examples, metric_error, share_error
from transferscope.measures.metrics import weighted_auc

exact = settings(derandomize=True, deadline=None, max_examples=60)


def test_a_share_of_many_examples_has_the_binomial_error() -> None:
    for share in (0.1, 0.5, 0.804, 0.95):
        assert share_error(share, 100_000) == pytest.approx(math.sqrt(share * (1 - share) / 100_000), rel=1e-3)
    # Agresti and Coull's sample: 72 of 90 right is taken as 74 of 94.
    assert share_error(72 / 90, 90) == pytest.approx(math.sqrt(74 / 94 * 20 / 94 / 94))


@exact
@given(st.integers(20, 400), st.integers(0, 400))
def test_where_all_are_right_one_wrong_is_within_the_noise(examples: int, wrong: int) -> None:
    assert 1 / examples < share_error(1.0, examples) < 2 / examples
    share = min(wrong, examples) / examples
    assert share_error(share, examples) == pytest.approx(share_error(1 - share, examples))


def test_the_example_of_hanley_and_mcneil() -> None:
    """Their 109 CT images: 51 abnormal, 58 normal, area 0.893, standard error 0.032."""
    q1, q2 = 0.893 / 1.107, 2 * 0.893**2 / 1.893
    literal = math.sqrt((0.893 * 0.107 + 50 * (q1 - 0.893**2) + 57 * (q2 - 0.893**2)) / (51 * 58))
    assert auc_error(0.893, 51, 58) == pytest.approx(literal)
    assert literal == pytest.approx(0.032, abs=1e-3)


def test_it_is_the_spread_of_areas_of_exponential_scores() -> None:
    """Exact for them: area s / (1 + s) for positives of mean s and negatives of mean 1."""
    draw = np.random.default_rng(0)
    positives, negatives, draws = 12, 30, 4000
    truth = np.repeat([True, False], [positives, negatives])
    areas = [
        weighted_auc(np.r_[draw.exponential(4, positives), draw.exponential(1, negatives)], truth, np.ones((1, 42)))[0]
        for _ in range(draws)
    ]
    # The relative standard error of a standard deviation of n nearly normal numbers is 1/√(2n); five of them.
    assert auc_error(0.8, positives, negatives) == pytest.approx(np.std(areas), rel=5 / math.sqrt(2 * draws))


@exact
@given(st.floats(0, 1), st.integers(1, 200), st.integers(1, 200))
def test_an_area_is_never_known_without_error(area: float, positives: int, negatives: int) -> None:
    assert 0 < auc_error(area, positives, negatives) <= 0.5
    assert auc_error(area, positives, negatives) == pytest.approx(auc_error(1 - area, negatives, positives))


def test_of_several_labels_it_is_the_mean_over_those_that_the_metric_is_the_mean_of() -> None:
    labels = np.array([[1, 0, 1], [0, 0, 1], [1, 0, 0], [0, 0, 1], [0, 0, 1]])  # the second has no positive
    assert metric_error(0.7, labels, "auc") == pytest.approx((auc_error(0.7, 2, 3) + auc_error(0.7, 4, 1)) / 2)
    assert metric_error(0.7, labels[:, 0], "auc") == auc_error(0.7, 2, 3)
    assert metric_error(0.6, labels[:, 0], "top5") == share_error(0.6, 5)
    assert metric_error(None, labels, "auc") is None


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: share_error(1.1, 10),
        lambda: share_error(math.nan, 10),
        lambda: share_error(0.5, 0),
        lambda: auc_error(-0.1, 3, 3),
        lambda: auc_error(0.5, 0, 3),
        lambda: metric_error(0.5, [1, 1], "auc"),
        lambda: metric_error(0.5, [], "top1"),
    ],
)
def test_what_cannot_be_is_an_error(wrong) -> None:
    with pytest.raises(MeasureError):
        wrong()


@exact
@given(st.integers(0, 2**32 - 1), st.sampled_from(["top1", "auc"]))
def test_examples_that_stand_there_several_times_know_nothing_more(seed: int, metric: str) -> None:
    draw = np.random.default_rng(seed)
    labels = np.r_[0, 1, draw.integers(0, 2, 20)]
    copies = int(draw.integers(2, 5))
    order = draw.permutation(copies * len(labels))
    repeated, owners = (np.tile(each, copies)[order] for each in (labels, np.arange(len(labels))))
    alone = metric_error(0.8, labels, metric)
    assert metric_error(0.8, repeated, metric, owners) == pytest.approx(alone)
    assert metric_error(0.8, repeated, metric) < alone
    assert metric_error(0.8, labels, metric, np.arange(len(labels))) == alone


def test_groups_that_agree_wholly_have_the_spread_of_their_simulation() -> None:
    """Groups of unlike size, each all right or all wrong: the standard deviation of the share over many draws."""
    sizes = np.array([1] * 60 + [5] * 20 + [20] * 4)
    right = np.random.default_rng(0).random((20_000, len(sizes))) < 0.7
    spread = float(((right * sizes).sum(axis=1) / sizes.sum()).std())
    groups = np.repeat(np.arange(len(sizes)), sizes)
    assert share_error(0.7, independent_examples(groups)) == pytest.approx(spread, rel=0.05)


def test_groups_of_another_length_are_refused() -> None:
    with pytest.raises(MeasureError, match="the group of each example"):
        metric_error(0.5, [0, 1, 1], "top1", [0, 1])
    with pytest.raises(MeasureError, match="by their groups"):
        independent_examples([])
