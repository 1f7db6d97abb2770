"""What is said of input ablations: verdicts and flags from tables."""

import polars as pl

from tests.estimates import estimate_of, estimates_of
from tests.report.synthetic_ablations import ablation_table
from transferscope.analyses.block_shuffle.analysis import InputAblations
from transferscope.analyses.block_shuffle.summary import hardest, summary_of
from transferscope.analyses.contract import checked_summary
from transferscope.analyses.evidence import Evidence


def test_shuffling_takes_part_of_the_gain(approved) -> None:
    table = ablation_table(seeds=tuple(range(6)))
    analysis = InputAblations()
    summary = checked_summary(analysis, analysis.summarise(table, Evidence()))
    change = estimate_of(summary, "gap_minus_whole", ablation="block_shuffle", block="1")
    assert (change.verdict, change.basis, change.n, change.n_comparisons) == ("smaller", "seeds", 6, 7)
    assert change.simultaneous_low < change.low < change.high < change.simultaneous_high
    approved(summary.verdict)
    # Only the ablation that was named before any result was seen is decided by its own interval.
    decided = {item.at["label"] for item in summary.estimates if item.verdict is not None}
    assert decided == {"single pixels"}
    assert estimate_of(summary, "final_gap", ablation="low_pass", cutoff=8.0).n_comparisons == 8


def test_two_seeds_speak_for_their_networks_only(approved) -> None:
    summary = summary_of(ablation_table(seeds=(0, 1)))
    gap = estimate_of(summary, "final_gap", block="1")
    assert (gap.basis, gap.flags, gap.verdict) == ("range", ("too_few_seeds",), "undecided")
    these = estimate_of(summary, "final_gap_of_these_networks", block="1")
    assert (these.basis, these.n, these.verdict) == ("examples", 656, "undecided")
    approved(summary.verdict)


def test_seeds_without_spread_speak_for_their_networks_only(approved) -> None:
    rows = pl.col("level") == "gap"
    over_seeds = rows & (pl.col("basis") == "seeds")
    table = ablation_table().with_columns(
        pl.when(over_seeds).then(None).otherwise(name).alias(name)
        for name in ("basis", "test_low", "test_high", "simultaneous_low", "simultaneous_high")
    )
    summary = summary_of(table)
    gap = estimate_of(summary, "final_gap", block="1")
    assert (gap.basis, gap.n, gap.low, gap.flags, gap.verdict) == (None, 3, None, ("no_spread",), "undecided")
    assert estimate_of(summary, "final_gap_of_these_networks", block="1").basis == "examples"
    approved(summary.verdict)


def test_no_claim_while_ri_t_improves(approved) -> None:
    table = ablation_table().with_columns(
        pl.when((pl.col("label") == "single pixels") & (pl.col("variant") == "RI_T") & (pl.col("level") == "network"))
        .then(pl.lit(value=True))
        .otherwise(pl.col("improving"))
        .alias("improving")
    )
    summary = summary_of(table)
    gap = estimate_of(summary, "final_gap", block="1")
    assert ("still_improving" in gap.flags, gap.verdict) == (True, "undecided")
    assert "still_improving" in estimate_of(summary, "gap_minus_whole", block="1").flags
    assert "still_improving" not in estimate_of(summary, "final_gap", block="*").flags
    assert "still_improving" not in estimate_of(summary, "speed_gap", block="1").flags
    approved(summary.verdict)
    approved(*summary.notes)


def test_too_few_epochs_to_tell_are_no_claim(approved) -> None:
    single = (pl.col("label") == "single pixels") & (pl.col("level") == "network")
    table = ablation_table().with_columns(improving=pl.when(~single).then("improving"))
    summary = summary_of(table)
    gap = estimate_of(summary, "final_gap", block="1")
    assert (gap.flags, gap.verdict) == (("too_few_epochs",), "undecided")
    assert "too_few_epochs" in estimate_of(summary, "gap_minus_whole", block="1").flags
    assert estimate_of(summary, "final_gap", block="*").flags == ()
    approved(summary.verdict)


def test_whole_images_that_still_improve_put_every_change_in_doubt() -> None:
    whole = (pl.col("order") == 0) & (pl.col("variant") == "RI_T") & (pl.col("level") == "network")
    table = ablation_table().with_columns(improving=pl.when(whole).then(pl.lit(value=True)).otherwise("improving"))
    summary = summary_of(table)
    changes = estimates_of(summary, "gap_minus_whole")
    assert len(changes) == 7
    assert all("still_improving" in item.flags for item in changes)
    assert "still_improving" not in estimate_of(summary, "final_gap", block="1").flags


def test_a_missing_drop_names_its_reason(approved) -> None:
    table = ablation_table()
    low = table.with_columns(
        pl.when((pl.col("label") == "all values") & (pl.col("level") == "gap")).then(None).otherwise(
            pl.col("relative_drop")).alias("relative_drop"),
        pl.when(pl.col("label") == "all values").then(0.7).otherwise(pl.col("chance")).alias("chance"),
    )  # fmt: skip
    drop = estimate_of(summary_of(low), "relative_drop", block="*")
    assert drop.value is None
    approved(drop.note)


def test_published_curves_of_another_metric_are_not_drawn(approved) -> None:
    approved(*summary_of(ablation_table()).notes)
    approved(*summary_of(ablation_table(metric="auc")).notes)


def test_the_verdict_is_about_the_hardest_shuffle(approved) -> None:
    table = ablation_table()
    assert hardest(table) == "1"
    assert hardest(table.filter(pl.col("block").ne_missing("1"))) == "*"
    assert hardest(table.filter(~pl.col("label").is_in(["single pixels", "all values"]))) == "8"
    assert hardest(table.filter(pl.col("order") == 0)) is None
    approved(summary_of(table.filter(pl.col("order") == 0)).verdict)
    approved(summary_of(table.clear()).verdict)
