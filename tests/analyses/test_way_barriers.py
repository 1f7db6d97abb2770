"""Barriers of pairs: which are averaged, of which the worst is judged, and what is said of both."""

import polars as pl
import pytest

from transferscope.analyses.align import Align
from transferscope.analyses.contract import Number
from transferscope.analyses.curve import Curve
from transferscope.analyses.way_barriers import basis, height, judge, over_pairs
from transferscope.measures.intervals import Interval
from transferscope.study_schema import setting_meanings


def rows(*heights: float | None, seeds: list[tuple[int, int]] | None = None, limits: bool = True) -> pl.DataFrame:
    pairs = seeds or [(2 * place, 2 * place + 1) for place in range(len(heights))]
    known = [value is not None and limits for value in heights]
    return pl.DataFrame({
        "seed_a": [a for a, _ in pairs], "seed_b": [b for _, b in pairs], "barrier": heights,
        "low": [value - 0.005 if shown else None for value, shown in zip(heights, known, strict=True)],
        "high": [value + 0.005 if shown else None for value, shown in zip(heights, known, strict=True)],
        "examples": [400] * len(heights), "n": [100 - place for place in range(len(heights))],
    }, schema_overrides=dict.fromkeys(("barrier", "low", "high"), pl.Float64))  # fmt: skip


def test_of_two_pairs_the_worst_is_judged() -> None:
    found = judge(rows(0.01, 0.04))
    assert (found.word, found.pairs, found.over_seeds) == ("undecided", 2, False)
    assert (found.interval.value, found.interval.low, found.interval.high) == pytest.approx((0.04, 0.005, 0.045))
    assert (found.interval.n, found.interval.basis) == (99, "examples")
    assert height(found) == "error barrier 4.0 points (the larger of two), 95 % limits 0.5 to 4.5"
    assert basis(found, rows(0.01, 0.04)) == "from 400 test examples, for these pairs of networks"


def test_three_pairs_make_an_interval_over_seeds_whether_or_not_they_share_some() -> None:
    apart = judge(rows(0.30, 0.31, 0.32))
    assert (apart.word, apart.over_seeds, apart.interval.n) == ("unstable", True, 3)
    assert basis(apart, rows(0.30, 0.31, 0.32)) == "over 3 disjoint pairs of seeds"
    sharing = rows(0.30, 0.31, 0.32, seeds=[(0, 1), (0, 2), (1, 2)])
    found = judge(sharing)
    assert (found.over_seeds, found.interval.value) == (True, pytest.approx(0.31))
    assert found.interval.high - found.interval.low != apart.interval.high - apart.interval.low
    assert basis(found, sharing, "over 3 seeds") == "over 3 seeds"


def test_what_is_not_finite_or_has_no_limits_is_undecided() -> None:
    assert (judge(rows(0.0, None)).word, height(judge(rows(0.0, None)))) == (
        "undecided", "an error on the way is not finite",
    )  # fmt: skip
    bare = judge(rows(0.0, limits=False))
    assert (bare.word, height(bare)) == ("undecided", "error barrier 0.0 points, without limits")
    lost = over_pairs("b", rows(0.0, None), "1")
    assert (lost.value, lost.n, lost.note) == (None, 2, "not finite for 1 of 2 pairs of networks")


def test_one_pair_has_its_limits_over_examples() -> None:
    assert over_pairs("b", rows(0.1), "1") == Number(
        "b", 0.1, 0.1 - 0.005, 0.1 + 0.005, "examples", 100, "1", "one pair"
    )
    images = over_pairs("b", rows(0.1).drop("n"), "1")
    assert (images.n, images.basis) == (400, "examples")


def test_a_number_of_an_interval_keeps_its_notes() -> None:
    found = Number.of("x", Interval(1.0, 0.5, 1.5, 3, "seeds", note="first"), "nat", "", "then")
    assert found == Number("x", 1.0, 0.5, 1.5, "seeds", 3, "nat", "first; then")


@pytest.mark.parametrize("kind", [Align, Curve])
def test_settings_of_its_own_come_before_those_that_ways_share(kind: type) -> None:
    shared = ["points", "batch_norm_images", "train_images", "test_images", "variants"]
    assert kind.setting_names()[-5:] == shared
    assert kind.setting_names()[0] in ("methods", "shape")
    assert list(setting_meanings(kind)) == kind.setting_names()
