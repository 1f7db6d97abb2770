"""Limits of metrics in summaries: none outside of what a metric can be."""

import polars as pl
import pytest

from tests.estimates import estimate_of, estimates_of
from tests.report.synthetic import learning_curves_table, learning_rate_table
from tests.report.synthetic_criticality import criticality_table
from tests.report.synthetic_rewind import rewind_table
from transferscope.analyses.criticality.summary import summary_of as of_criticality
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.learning_curves.analysis import LearningCurves
from transferscope.analyses.learning_rate.analysis import LearningRate
from transferscope.analyses.rewind.summary import drops
from transferscope.analyses.rewind.summary import summary_of as of_rewind


def spread(table: pl.DataFrame, variant: str, values: tuple[float, float, float]) -> pl.DataFrame:
    """The metrics of three seeds of a variant, at every epoch."""
    by_seed = pl.col("seed").replace_strict(dict(enumerate(values)), default=None, return_dtype=pl.Float64)
    mine = pl.col("variant") == variant
    return table.with_columns(
        pl.when(mine).then(by_seed).otherwise(name).alias(name)
        for name in ("train_metric", "validation_metric", "test_metric")
    )


def test_limits_of_learning_curves_are_metrics_and_differences_of_metrics() -> None:
    table = spread(learning_curves_table(), "RI_T", (0.02, 0.1, 0.25))
    table = spread(table, "P_T", (0.99, 0.8, 0.97))
    rates = Evidence({LearningRate().key: learning_rate_table()})
    summary = LearningCurves().summarise(table, rates)
    low, high = (estimate_of(summary, "final_metric", variant=variant) for variant in ("RI_T", "P_T"))
    assert (low.low, high.high) == (0.0, 1.0)
    assert (low.value, high.value) == (pytest.approx(0.37 / 3), pytest.approx(2.76 / 3))
    assert low.high == pytest.approx(0.37 / 3 + 4.302653 * 0.1167619 / 3**0.5, rel=1e-5)
    assert "clipped" in low.flags
    assert estimate_of(summary, "speed", variant="RI_T").low == 0.0
    gap = estimate_of(summary, "final_gap", variant="P_T", rival="RI_T")
    assert (gap.high, gap.basis) == (1.0, "seeds")
    assert gap.low > 0
    for item in summary.estimates:
        if item.unit == "metric" and item.low is not None:
            assert -1 <= item.low <= item.high <= 1


def test_limits_of_drops_are_differences_of_metrics() -> None:
    rows = pl.DataFrame([
        {"module": name, "variant": "P_T", "target_value": "initial", "position": place, "seed": seed, "drop": value,
         "low": value, "high": value, "simultaneous_low": value, "simultaneous_high": value, "n": 100, "judged": "lost"}
        for place, name in enumerate("abcdef") for seed, value in enumerate((0.1, 0.5, 0.9))
    ])  # fmt: skip
    for item in drops(rows, 0.005):
        assert item.low == pytest.approx(0.5 - 4.302653 * 0.4 / 3**0.5, rel=1e-5)
        assert item.high == 1.0
        assert (item.simultaneous_low, item.simultaneous_high) == (-1.0, 1.0)
        assert (item.verdict, item.flags) == ("undecided", ("clipped",))


def test_a_difference_of_drops_reaches_to_two() -> None:
    table = rewind_table()
    own = (pl.col("origin") == "study") & (pl.col("level") == "module") & (pl.col("target_value") == "initial")
    extreme = pl.col("variant").replace_strict({"P_T": -0.9, "RI_T": 0.9}, default=None, return_dtype=pl.Float64)
    summary = of_rewind(table.with_columns(drop=pl.when(own).then(extreme).otherwise("drop")), 0.005)
    gap = estimate_of(summary, "mean_drop_gap", variant="P_T", rival="RI_T", target_value="initial")
    assert (gap.value, gap.flags) == (pytest.approx(-1.8), ("no_spread",))


def test_a_share_of_modules_is_a_share() -> None:
    table = criticality_table((0, 1, 2))
    zero = (pl.col("variant") == "P_T") & (pl.col("seed") == 0)
    summary = of_criticality(
        table.with_columns(mu=pl.when(zero & pl.col("mu").is_not_null()).then(0.0).otherwise("mu")), 0.01
    )
    shares = estimates_of(summary, "mu_zero_share", variant="P_T")
    assert len(shares) == 2
    assert all((item.high, item.basis, item.flags) == (1.0, "seeds", ("clipped",)) for item in shares)
