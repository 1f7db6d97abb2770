"""Gaps between P-T and RI-T under ablations, and the verdict on them."""

from typing import Any

import polars as pl
import pytest

from tests.estimates import estimate_of
from tests.report.synthetic_ablations import ablation_table
from transferscope.analyses.block_shuffle.analysis import InputAblations
from transferscope.analyses.block_shuffle.differences import Run, difference_row, gap_row, mean_row
from transferscope.analyses.block_shuffle.summary import summary_of
from transferscope.measures.intervals import fieller, paired_seeds_interval
from transferscope.measures.metrics import chance_level
from transferscope.study.columns import schema

# -- gaps --------------------------------------------------------------------------------------------


def runs(*values: float, orders: int = 1) -> dict[tuple[int, int | None], Run]:
    return {
        (seed, order): Run(value + 0.001 * order, value + 0.1)
        for seed, value in enumerate(values)
        for order in range(orders)
    }


def test_relative_drop_is_fiellers_ratio_of_means() -> None:
    p_t, ri_t = [0.8, 0.84, 0.79], [0.7, 0.73, 0.72]
    row = gap_row(runs(*p_t), runs(*ri_t), "top1", 0.1, family=4)
    assert row is not None
    expected = fieller([a - b for a, b in zip(p_t, ri_t, strict=True)], p_t)
    assert expected.low is not None
    assert expected.high is not None
    assert row["relative_drop"] == pytest.approx(100 * (1 - sum(ri_t) / sum(p_t)))
    assert (row["relative_drop_low"], row["relative_drop_high"]) == pytest.approx(
        (100 * expected.low, 100 * expected.high)
    )
    gap = paired_seeds_interval(p_t, ri_t)
    assert (row["test_metric"], row["test_low"]) == pytest.approx((gap.value, gap.low))
    wide = paired_seeds_interval(p_t, ri_t, 1 - 0.05 / 4)
    assert (row["simultaneous_low"], row["simultaneous_high"]) == pytest.approx((wide.low, wide.high))
    assert row["speed"] == pytest.approx(gap.value)


def test_relative_drop_of_auc_is_above_one_half() -> None:
    row = gap_row(runs(0.8, 0.82, 0.81), runs(0.7, 0.71, 0.72), "auc", 0.5, family=1)
    assert row is not None
    assert row["relative_drop"] == pytest.approx(100 * 0.1 / 0.31)


@pytest.mark.parametrize(("metric", "level", "chance"), [("auc", 0.49, 0.5), ("auc", 0.5, 0.5), ("top1", 0.09, 0.1)])
def test_no_relative_drop_where_p_t_is_not_above_chance(metric: str, level: float, chance: float) -> None:
    row = gap_row(runs(level, level, level), runs(0.05, 0.06, 0.04), metric, chance, family=1)
    assert row is not None
    assert "relative_drop" not in row
    assert row["test_metric"] == pytest.approx(level - 0.05)


def test_orders_are_averaged_within_a_seed() -> None:
    row = mean_row(runs(0.6, 0.7, 0.8, orders=3))
    assert row["n"] == 3
    assert row["test_metric"] == pytest.approx(0.701)
    gap = gap_row(runs(0.6, 0.7, 0.8, orders=3), runs(0.5, 0.55, 0.6), "top1", 0.1, family=1)
    assert gap is not None
    assert gap["n"] == 3
    assert gap["test_metric"] == pytest.approx(0.15)


def test_a_seed_without_its_partner_is_left_out() -> None:
    p_t, ri_t = runs(0.6, 0.7, 0.8), runs(0.5, 0.55, 0.6)
    del ri_t[1, 0]
    row = gap_row(p_t, ri_t, "top1", 0.1, family=1)
    assert row is not None
    assert row["n"] == 2
    assert row["test_metric"] == pytest.approx(0.15)
    assert gap_row(p_t, {}, "top1", 0.1, family=1) is None
    assert difference_row((p_t, {}), (p_t, ri_t), 1) is None


def test_difference_of_differences() -> None:
    ablated, plain = (runs(0.6, 0.65, 0.7), runs(0.58, 0.6, 0.66)), (runs(0.9, 0.92, 0.94), runs(0.8, 0.83, 0.82))
    row = difference_row(ablated, plain, family=3)
    assert row is not None
    expected = paired_seeds_interval([0.02, 0.05, 0.04], [0.1, 0.09, 0.12])
    assert (row["test_metric"], row["test_low"], row["test_high"]) == pytest.approx(
        (expected.value, expected.low, expected.high)
    )
    assert row["simultaneous_low"] < row["test_low"]


def test_chance() -> None:
    assert chance_level("auc", 5) == 0.5
    assert chance_level("top1", 345) == pytest.approx(1 / 345)
    assert chance_level("top5", 3) == 1.0


# -- summary -----------------------------------------------------------------------------------------


def summary_with(levels: list[float], label: str = "single pixels", **more: Any) -> Any:
    """A summary in which the gaps of ``label`` are those, one per seed."""
    asked = ablation_table(seeds=tuple(range(len(levels))), settings=InputAblations(published="none"))
    place = asked.filter(pl.col("label") == label)["order"][0]
    row = gap_row(runs(*(0.6 + level for level in levels)), runs(*(0.6 for _ in levels)), "top1", 0.5, 5)
    assert row is not None
    facts = asked.filter((pl.col("label") == label) & (pl.col("level") == "gap")).row(0, named=True)
    rest = asked.filter(~((pl.col("order") == place) & (pl.col("level") == "gap")))
    empty = dict.fromkeys(("simultaneous_low", "simultaneous_high", "relative_drop"))
    new = pl.DataFrame([{**facts, **empty, **row, **more}], schema=schema(InputAblations.columns))
    return summary_of(pl.concat([rest, new]))


@pytest.mark.parametrize(
    ("levels", "verdict", "words"),
    [
        ([0.05, 0.06, 0.055, 0.052], "larger", "Part of the gain does not need the shapes in the images: with single "
         "pixels P-T − RI-T is +5.4 points"),
        ([-0.05, -0.06, -0.055], "smaller", "Without the shapes in the images pre-training hurts"),
        ([-0.05, 0.06, 0.01], "undecided", "Undecided for training in general"),
    ],
)  # fmt: skip
def test_verdict_rests_on_the_interval_over_seeds(levels, verdict, words) -> None:
    summary = summary_with(levels)
    gap = estimate_of(summary, "final_gap", ablation="block_shuffle", block="1")
    assert (gap.verdict, gap.basis, gap.n) == (verdict, "seeds", len(levels))
    assert gap.value == pytest.approx(sum(levels) / len(levels))
    assert summary.verdict.startswith(words)
