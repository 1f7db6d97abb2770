"""Barriers of pairs: which are averaged, of which the worst is judged, and what is said of both."""

import polars as pl
import pytest

from tests.reference.pairs_reference import leave_one_seed_out
from transferscope.analyses.align.analysis import Align
from transferscope.analyses.barrier_estimates import barrier, barrier_quantities, height, over_pairs, pairs_interval
from transferscope.analyses.curve.analysis import CurveAnalysis
from transferscope.analyses.estimates import Estimate, Quantity
from transferscope.study.schema import setting_meanings

ALL = [(0, 1), (0, 2), (1, 2)]
QUANTITIES = barrier_quantities("%s barrier of {pair}")


def rows(*heights: float | None, seeds: list[tuple[int, int]] | None = None, limits: bool = True) -> pl.DataFrame:
    pairs = seeds or [(place, place) for place in range(len(heights))]
    known = [value is not None and limits for value in heights]
    return pl.DataFrame({
        "seed_a": [a for a, _ in pairs], "seed_b": [b for _, b in pairs], "barrier": heights,
        "low": [value - 0.005 if shown else None for value, shown in zip(heights, known, strict=True)],
        "high": [value + 0.005 if shown else None for value, shown in zip(heights, known, strict=True)],
        "examples": [400] * len(heights), "n": [100 - place for place in range(len(heights))],
    }, schema_overrides=dict.fromkeys(("barrier", "low", "high"), pl.Float64))  # fmt: skip


def judged(*heights: float | None, of: str = "error", split: str = "test", baseline: str = "mean", **made) -> Estimate:
    return barrier(QUANTITIES[of], rows(*heights, **made), pair="P-T/P-T", split=split, baseline=baseline)


def test_of_two_pairs_the_worst_is_judged() -> None:
    found = judged(0.01, 0.04)
    assert (found.value, found.low, found.high) == pytest.approx((0.04, 0.005, 0.045))
    assert (found.verdict, found.n, found.basis, found.flags) == ("undecided", 99, "examples", ("too_few_seeds",))
    assert height(found, 2) == (
        "error barrier 4.0 points, 95 % limits 0.5 to 4.5 from 99 test examples, for the worst of 2 pairs of networks"
    )


@pytest.mark.parametrize("seeds", [ALL, [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)], [(3, 3), (5, 5), (7, 7)]])
def test_three_seeds_make_an_interval_that_leaves_one_out(seeds: list[tuple[int, int]]) -> None:
    heights = [0.30 + 0.01 * place**1.5 for place in range(len(seeds))]
    found = judged(*heights, seeds=seeds)
    expected = leave_one_seed_out(dict(zip(seeds, heights, strict=True)))
    assert (found.value, found.low, found.high) == pytest.approx(expected, rel=1e-12)
    assert (found.basis, found.n, found.flags) == ("seeds", len({seed for pair in seeds for seed in pair}), ())
    assert height(found, len(seeds)).endswith(f" over {found.n} seeds")


def test_several_rows_of_a_pair_are_averaged_first() -> None:
    both = pl.concat([rows(0.30, 0.32, 0.37, seeds=ALL), rows(0.32, 0.30, 0.33, seeds=[(b, a) for a, b in ALL])])
    found = pairs_interval(both)
    assert (found.value, found.low, found.high) == pytest.approx(
        leave_one_seed_out({(0, 1): 0.31, (0, 2): 0.31, (1, 2): 0.35}), rel=1e-12
    )


@pytest.mark.parametrize(("value", "word"), [(0.002, "stable"), (0.018, "undecided"), (0.3, "unstable")])
def test_equal_heights_prove_nothing_so_that_the_examples_decide(value: float, word: str) -> None:
    found = judged(value, value, value, seeds=ALL)
    assert (found.basis, found.flags, found.verdict) == ("examples", ("no_spread",), word)
    assert (found.low, found.high) == pytest.approx((value - 0.005, value + 0.005))
    bare = judged(value, value, value, seeds=ALL, limits=False)
    assert (bare.basis, bare.low, bare.flags, bare.verdict) == (None, None, ("no_spread",), "undecided")


def test_what_is_not_finite_or_has_no_limits_is_undecided() -> None:
    lost = judged(0.0, None)
    assert (lost.value, lost.n, lost.verdict, lost.flags) == (None, 2, "undecided", ("incomplete",))
    assert lost.note == "not finite for 1 of 2 pairs of networks"
    assert height(lost, 2) == "an error between the ends is not finite"
    bare = judged(0.0, limits=False)
    assert (bare.verdict, height(bare, 1)) == ("undecided", "error barrier 0.0 points, without limits")


def test_one_pair_has_its_limits_over_examples() -> None:
    found = judged(0.1, seeds=[(0, 1)])
    assert (found.value, found.low, found.high) == (0.1, 0.1 - 0.005, 0.1 + 0.005)
    assert (found.basis, found.n, found.note, found.flags) == ("examples", 100, "one pair", ("too_few_seeds",))
    assert pairs_interval(rows(0.1).drop("n")).n == 400


def test_the_test_error_over_the_mean_of_the_ends_alone_is_judged() -> None:
    for of, split, baseline in (("loss", "test", "mean"), ("error", "train", "mean"), ("error", "test", "linear")):
        assert judged(0.1, of=of, split=split, baseline=baseline).verdict is None
    assert [(key, quantity.key, quantity.unit) for key, quantity in QUANTITIES.items()] == [
        ("error", "error_barrier", "1"), ("loss", "loss_barrier", "nat"),
    ]  # fmt: skip


def test_a_column_over_pairs_leaves_one_seed_out() -> None:
    ratio = Quantity("ratio", "ratio of {pair}")
    table = rows(0, 0, 0, seeds=ALL).with_columns(ratio=pl.Series([1.0, 1.5, 1.25]))
    found = over_pairs(ratio, table, "ratio", "of both", pair="P-T/P-T")
    assert (found.value, found.low, found.high) == pytest.approx(
        leave_one_seed_out(dict(zip(ALL, (1.0, 1.5, 1.25), strict=True))), rel=1e-12
    )
    assert found.note == "n counts seeds, of 3 pairs, leaving one seed out; of both"
    lost = over_pairs(ratio, table.with_columns(ratio=pl.Series([1.0, None, 1.0])), "ratio", pair="P-T/P-T")
    assert (lost.value, lost.n, lost.flags) == (None, 3, ("incomplete",))


@pytest.mark.parametrize("kind", [Align, CurveAnalysis])
def test_settings_of_its_own_come_before_those_that_ways_share(kind: type) -> None:
    shared = ["batch_norm_images", "train_images", "test_images", "points", "variants", "max_pairs"]
    assert kind.setting_names()[-6:] == shared
    assert kind.setting_names()[0] in ("methods", "shape")
    assert list(setting_meanings(kind)) == kind.setting_names()
