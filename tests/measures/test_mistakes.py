from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from tests.reference import mistakes_reference as reference
from tests.reference.statistics_reference import bootstrap_values
from transferscope.errors import MeasureError
from transferscope.measures.intervals import bootstrap_interval
from transferscope.measures.mistakes import (
    MISTAKE_STATISTICS,
    compare_mistakes,
    difficulty,
    ensemble_entropy,
    mistake_indicators,
    mistake_statistic,
    mistakes_by_group,
    mistakes_by_label,
    weighted_mistakes,
)

exact = settings(derandomize=True, deadline=None, max_examples=100)
triples = st.lists(st.tuples(*[st.integers(0, 2)] * 3), min_size=1, max_size=25)


def table(both_right: int, only_a_right: int, only_b_right: int, both_wrong: int) -> tuple[list[int], ...]:
    """Predictions with the given 2 × 2 table; the wrong labels differ."""
    a = [0] * (both_right + only_a_right) + [1] * (only_b_right + both_wrong)
    b = [0] * both_right + [2] * only_a_right + [0] * only_b_right + [2] * both_wrong
    return a, b, [0] * len(a)


@exact
@given(triples)
def test_against_sets_and_the_definition_of_kappa(rows: list[tuple[int, int, int]]) -> None:
    a, b, labels = (list(column) for column in zip(*rows, strict=True))
    found, expected = asdict(compare_mistakes(a, b, labels)), reference.mistakes(a, b, labels)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == (value if value is None else pytest.approx(value, abs=1e-15)), name


@pytest.mark.parametrize(
    ("cells", "kappa", "ceiling"),
    [
        # p = .7, .6: c_exp = .42 + .12 = .54; c_obs = .7 gives .16/.46; ceiling (1 − .1 − .54)/.46.
        ((50, 20, 10, 20), 0.16 / 0.46, 0.36 / 0.46),
        # p = ½, ½: c_exp = ½; always together, never together, independent.
        ((5, 0, 0, 5), 1.0, 1.0),
        ((0, 5, 5, 0), -1.0, 1.0),
        ((25, 25, 25, 25), 0.0, 1.0),
        # Everything right beside half right: c_obs = c_exp = ½; the ceiling leaves nothing.
        ((5, 5, 0, 0), 0.0, 0.0),
        # Everything right beside everything wrong: c_exp = 0, c_obs = 0.
        ((0, 4, 0, 0), 0.0, 0.0),
    ],
)
def test_kappa_by_hand(cells: tuple[int, int, int, int], kappa: float, ceiling: float) -> None:
    found = compare_mistakes(*table(*cells))
    assert found.kappa == pytest.approx(kappa, abs=1e-15)
    assert found.kappa_max == pytest.approx(ceiling, abs=1e-15)
    a, b, labels = (np.array(part) for part in table(*cells))
    assert found.kappa == pytest.approx(cohen_kappa_score(a == labels, b == labels), abs=1e-12)


def test_kappa_is_undefined_only_where_both_accuracies_are_equal_and_0_or_1() -> None:
    for cells in ((7, 0, 0, 0), (0, 0, 0, 7)):
        found = compare_mistakes(*table(*cells))
        assert (found.kappa, found.kappa_max) == (None, None)
    for cells in ((6, 1, 0, 0), (0, 7, 0, 0), (0, 0, 1, 6), (1, 0, 0, 6)):
        assert compare_mistakes(*table(*cells)).kappa is not None


def test_published_ceiling() -> None:
    """Accuracies .785 and .615 (real): whoever is right where the other is, κ cannot exceed .609."""
    found = compare_mistakes(*table(615, 170, 0, 215))
    assert (found.accuracy_a, found.accuracy_b) == (0.785, 0.615)
    assert found.kappa_max == pytest.approx(0.609, abs=5e-4)
    assert found.kappa == pytest.approx(found.kappa_max, abs=1e-15)
    assert compare_mistakes(*table(500, 285, 115, 100)).kappa < found.kappa_max


@exact
@given(triples)
def test_kappa_stays_under_its_ceiling(rows: list[tuple[int, int, int]]) -> None:
    found = compare_mistakes(*(list(column) for column in zip(*rows, strict=True)))
    if found.kappa is not None:
        assert -1 <= found.kappa <= found.kappa_max + 1e-12
        assert found.kappa_max <= 1


def test_nulls() -> None:
    perfect = compare_mistakes([0, 1], [0, 1], [0, 1])
    assert (perfect.jaccard, perfect.same_label_share, perfect.common) == (None, None, 0)
    apart = compare_mistakes([1, 0], [0, 1], [0, 0])
    assert (apart.jaccard, apart.same_label_share) == (0.0, None)
    empty = compare_mistakes([], [], [])
    assert (empty.examples, empty.accuracy_a, empty.kappa, empty.jaccard) == (0, None, None, None)


def test_no_prediction_is_wrong_and_never_the_same_label() -> None:
    found = compare_mistakes([-1, -1, 2], [-1, 0, 2], [0, 0, 1])
    assert (found.common, found.only_a, found.same_label) == (2, 1, 1)


@exact
@given(triples, st.integers(0, 1000))
def test_weights_are_repetitions(rows: list[tuple[int, int, int]], seed: int) -> None:
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    weights = np.random.default_rng(seed).integers(0, 4, size=(3, len(rows)))
    found = weighted_mistakes(weights.astype(float), mistake_indicators(*columns))
    for draw, counts in enumerate(weights):
        repeated = asdict(compare_mistakes(*(np.repeat(column, counts) for column in columns)))
        for name in MISTAKE_STATISTICS:
            expected = repeated[name]
            assert np.isnan(found[name][draw]) if expected is None else found[name][draw] == pytest.approx(expected)


def test_bootstrap_of_kappa_against_explicit_resamples() -> None:
    generator = np.random.default_rng(0)
    labels, a = generator.integers(3, size=60), generator.integers(3, size=60)
    b = np.where(generator.random(60) < 0.5, a, labels)
    interval = bootstrap_interval(mistake_statistic("kappa"), [mistake_indicators(a, b, labels)], draws=200, seed=4)
    literal = bootstrap_values(
        lambda drawn: reference.mistakes(list(a[drawn]), list(b[drawn]), list(labels[drawn]))["kappa"], 60, 200, 4
    )
    assert interval.value == pytest.approx(compare_mistakes(a, b, labels).kappa)
    assert (interval.low, interval.high) == pytest.approx(tuple(np.quantile(literal, [0.025, 0.975])))


def test_groups_add_up() -> None:
    generator = np.random.default_rng(0)
    a, b, labels = generator.integers(4, size=(3, 200))
    parts, whole = mistakes_by_group(a, b, labels, labels), compare_mistakes(a, b, labels)
    assert list(parts) == [0, 1, 2, 3]
    for name in ("examples", "common", "only_a", "only_b", "same_label"):
        assert sum(getattr(part, name) for part in parts.values()) == getattr(whole, name)
    assert parts[2] == compare_mistakes(a[labels == 2], b[labels == 2], labels[labels == 2])


def test_labels_one_by_one() -> None:
    generator = np.random.default_rng(0)
    a, b, labels = generator.integers(2, size=(3, 50, 3))
    found = mistakes_by_label(a, b, labels)
    assert len(found) == 3
    assert found[1] == compare_mistakes(a[:, 1], b[:, 1], labels[:, 1])
    assert all(label.same_label_share == 1 for label in found)


def test_difficulty_leaves_the_pair_out() -> None:
    wrong = [[1, 1, 1], [0, 1, 0], [1, 0, 0], [1, 1, 0]]
    assert difficulty(wrong, (0, 1)).tolist() == [1.0, 0.5, 0.0]
    assert difficulty(wrong, (2, 3)).tolist() == [0.5, 1.0, 0.5]
    assert difficulty(wrong, (3, 3)).tolist() == pytest.approx([2 / 3, 2 / 3, 1 / 3])
    assert difficulty(wrong[:2], (0, 1)) is None


def test_ensemble_entropy() -> None:
    uniform = np.full((2, 3, 4), 0.25)
    assert ensemble_entropy(uniform) == pytest.approx([np.log(4)] * 3)
    certain = np.eye(4)[None, :3]
    assert ensemble_entropy(certain).tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: compare_mistakes([0], [0, 1], [0, 1]), "predictions and labels do not fit"),
        (lambda: compare_mistakes([[0]], [[0]], [[0]]), "mistakes_by_label"),
        (lambda: mistakes_by_label([0], [0], [0]), "compare_mistakes"),
        (lambda: mistakes_by_group([0, 1], [0, 1], [0, 1], [0]), "groups must name the group"),
        (lambda: mistakes_by_group([0], [0, 1], [0, 1], [0, 1]), "predictions and labels do not fit"),
        (lambda: mistake_statistic("kapa"), "did you mean 'kappa'"),
        (lambda: difficulty([0, 1], (0, 1)), "difficulty needs the mistakes"),
        (lambda: difficulty([[0], [1]], (0, 2)), "difficulty needs the mistakes"),
        (lambda: ensemble_entropy([[0.5, 0.5]]), "ensemble entropy needs probabilities"),
        (lambda: ensemble_entropy([[[2.0, -3.0]]]), "ensemble entropy needs probabilities"),
    ],
)
def test_errors(call, match: str) -> None:
    with pytest.raises(MeasureError, match=match):
        call()
