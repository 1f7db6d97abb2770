"""What is said of similarity and distance along training, by size and channel by channel: over all pairs of seeds."""

import polars as pl
import pytest
from scipy import stats

from tests.reference import pairs_reference as reference
from tests.report import synthetic_similarity as synthetic
from transferscope.analyses.contract import checked, checked_summary
from transferscope.analyses.distance_in_training.analysis import DistanceInTraining
from transferscope.analyses.estimate_words import spoken
from transferscope.analyses.estimates import Estimate
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.reused_channels.analysis import ReusedChannels
from transferscope.analyses.similarity_by_size.analysis import SimilarityBySize
from transferscope.analyses.similarity_in_training.analysis import SimilarityInTraining
from transferscope.analyses.summary import Summary

SEEDS = (0, 1, 2, 3)


def summarised(analysis, table: pl.DataFrame) -> dict[tuple, Estimate]:
    return by_key(whole(analysis, table))


def whole(analysis, table: pl.DataFrame) -> Summary:
    return checked_summary(analysis, analysis.summarise(checked(analysis, table), Evidence()))


def by_key(summary: Summary) -> dict[tuple, Estimate]:
    return {(item.quantity, *item.at.values()): item for item in summary.estimates}


def means(rows: pl.DataFrame, column: str = "cka") -> dict[tuple[int, int], float]:
    """By the seeds of a pair; P counts under the seed of the other."""
    found: dict[tuple[int, int], list[float]] = {}
    for row in rows.iter_rows(named=True):
        a, b = row["seed_a"], row["seed_b"]
        found.setdefault((b, b) if row["variant_a"] == "P" else (a, b), []).append(row[column])
    return {pair: sum(values) / len(values) for pair, values in found.items()}


def assert_left_out(item: Estimate, values: dict[tuple[int, int], float], n: int = 4) -> None:
    assert (item.value, item.low, item.high) == pytest.approx(reference.leave_one_seed_out(values))
    assert (item.basis, item.n) == ("seeds", n)


# -- by size -----------------------------------------------------------------------------------------------------


def test_similarity_by_size_and_its_change_leave_one_seed_out(approved) -> None:
    table = synthetic.similarity_by_size_table(SEEDS)
    summary = whole(SimilarityBySize(), table)
    found = by_key(summary)
    pairs = ("P/P-T", "P/RI-T", "P-T/P-T", "RI-T/RI-T", "P-T/RI-T")
    assert list(found) == [
        *(("cka", pair, size) for pair in pairs for size in (0.1, 0.3, 1.0)),
        *(("cka_change", pair, 1.0, 0.1) for pair in pairs),
    ]
    for pair in pairs:
        sizes = {size: means(table.filter(pair=pair, fraction=size)) for size in (0.1, 0.3, 1.0)}
        for size, values in sizes.items():
            assert_left_out(found["cka", pair, size], values)
        assert_left_out(
            found["cka_change", pair, 1.0, 0.1],
            {seeds: value - sizes[0.1][seeds] for seeds, value in sizes[1.0].items()},
        )
    approved(found["cka", "P/RI-T", 0.3].name)
    change = found["cka_change", "P/RI-T", 1.0, 0.1]
    approved(change.name)
    assert change.low > 0
    approved(summary.verdict)
    assert spoken(found["cka", "P/RI-T", 1.0]) in summary.verdict


def test_what_cannot_be_judged_by_size_is_undecided(approved) -> None:
    table = synthetic.similarity_by_size_table(SEEDS)
    few = whole(SimilarityBySize(), synthetic.similarity_by_size_table((0, 1)))
    approved(few.verdict)
    one = whole(SimilarityBySize(), table.filter(fraction=1))
    approved(one.verdict)
    equal = table.with_columns(cka=pl.col("fraction"))
    approved(whole(SimilarityBySize(), equal).verdict)
    assert by_key(whole(SimilarityBySize(), equal))["cka_change", "P/RI-T", 1.0, 0.1].flags == ("no_spread",)
    none = whole(SimilarityBySize(), table.with_columns(cka=pl.lit(None, pl.Float64)))
    assert none.verdict.startswith("Undecided")
    assert none.estimates == ()


def test_a_module_without_variation_is_left_out_at_every_size() -> None:
    table = synthetic.similarity_by_size_table(SEEDS)
    lost = (pl.col("module") == "stem") & (pl.col("fraction") == 0.1) & (pl.col("b") == "RI-T[2]")
    found = summarised(SimilarityBySize(), table.with_columns(cka=pl.when(~lost).then("cka")))
    rest = summarised(SimilarityBySize(), table.filter(pl.col("module") != "stem"))
    assert found == rest


# -- along training ----------------------------------------------------------------------------------------------


def test_similarity_in_training_leaves_one_seed_out(approved) -> None:
    table = synthetic.similarity_in_training_table(SEEDS)
    summary = whole(SimilarityInTraining(), table)
    found = by_key(summary)
    said = (0, 2, 4, 10)
    assert {key[2] for key in found if key[0] == "cka"} == set(said)
    a, b, at, then = (pl.col(name) for name in ("variant_a", "variant_b", "epoch_a", "epoch_b"))
    same, seeds = pl.col("a") == pl.col("b"), pl.col("seed_a") == pl.col("seed_b")
    for epoch in said:
        for pair, chosen in {
            "P-T/P": same & (a == "P_T") & (at == 0) & (then == epoch),
            "RI-T/P": (a == "RI_T") & (b == "P_T") & seeds & (at == epoch) & (then == 0),
            "P-T/end": same & (a == "P_T") & (at == epoch) & (then == 10),
            "RI-T/end": same & (a == "RI_T") & (at == epoch) & (then == 10),
            "P-T/P-T": ~same & (a == "P_T") & (b == "P_T") & (at == epoch) & (then == epoch),
            "RI-T/RI-T": ~same & (a == "RI_T") & (b == "RI_T") & (at == epoch) & (then == epoch),
        }.items():
            item, values = found["cka", pair, epoch], means(table.filter(chosen))
            if set(values.values()) == {1.0}:  # a state with itself
                assert (item.value, item.low, item.flags) == (1.0, None, ("no_spread",))
            else:
                assert_left_out(item, values)
    approved(found["cka", "P-T/P-T", 4].name)
    reached = []
    for seed in SEEDS:
        ends = table.filter(same, a == "P_T", then == 10, seed_a=seed)
        by_epoch = dict(ends.group_by("epoch_a").agg(pl.col("cka").mean()).iter_rows())
        reached.append(min(e for e in by_epoch if all(by_epoch[later] >= 0.9 for later in by_epoch if later >= e)))
    settled = found["settled_epoch",]
    assert (settled.value, settled.n, settled.unit) == (sum(reached) / 4, 4, "epoch")
    assert (settled.flags == ("no_spread",)) == (len(set(reached)) == 1)
    approved(summary.verdict)
    assert f"{spoken(found['cka', 'RI-T/P', 10])}." in summary.verdict


def test_distance_in_training_leaves_one_seed_out(approved) -> None:
    table = synthetic.distance_in_training_table(SEEDS)
    # Runs that differ: a step of each seed of its own.
    table = table.with_columns(
        (pl.col(name) * (1 + 0.01 * pl.col("seed_a") * pl.col("epoch") + 0.02 * pl.col("seed_b"))).alias(name)
        for name in ("from_start", "between")
    )
    summary = whole(DistanceInTraining(), table)
    found = by_key(summary)
    trunk = table.filter(part="trunk")
    for variant in ("P_T", "RI_T"):
        own = trunk.filter(level="own", variant_a=variant)
        end = dict(own.filter(epoch=10).select("seed_a", "from_start").iter_rows())
        for epoch in (2, 4, 10):
            here = dict(own.filter(epoch=epoch).select("seed_a", "from_start").iter_rows())
            item = found["share_of_distance", variant, epoch]
            shares = [here[seed] / end[seed] for seed in SEEDS]
            if epoch == 10:  # of itself
                assert (item.value, item.low, item.flags) == (1.0, None, ("no_spread",))
                continue
            low, high = stats.t.interval(0.95, 3, loc=sum(shares) / 4, scale=stats.sem(shares))
            assert (item.value, item.low, item.high) == pytest.approx((sum(shares) / 4, low, high))
        last = own.filter(epoch=10)
        values = dict(zip(last["seed_a"], last["from_start"] / last["travelled"], strict=True))
        assert_left_out(found["straightness", variant], {(seed, seed): value for seed, value in values.items()})
    for pair in ("P-T/P-T", "RI-T/RI-T", "P-T/RI-T"):
        rows = trunk.filter(level="pair", pair=pair, epoch=10)
        assert_left_out(found["distance", pair], means(rows, "between"))
        assert found["distance", pair].unit == "ℓ2"
    approved(found["share_of_distance", "P_T", 4].name)
    assert f"straightness {spoken(found['straightness', 'P_T'])}" in summary.verdict


def test_a_run_that_did_not_move_has_no_share(approved) -> None:
    table = synthetic.distance_in_training_table(SEEDS)
    still = (pl.col("a") == "P-T[1]") & (pl.col("level") == "own")
    stuck = table.with_columns(
        pl.when(still).then(0.0).otherwise(name).alias(name) for name in ("from_start", "travelled")
    )
    found = summarised(DistanceInTraining(), stuck)
    for key in (("share_of_distance", "P_T", 4), ("straightness", "P_T")):
        assert (found[key].value, found[key].note) == (None, "not defined for 1 of 4")
    nobody = table.with_columns(from_start=pl.lit(0.0), travelled=pl.lit(0.0))
    approved(whole(DistanceInTraining(), nobody).verdict)


# -- channels ----------------------------------------------------------------------------------------------------


def test_channels_found_again_and_beyond_chance_are_paired_by_seed(approved) -> None:
    table = synthetic.reused_channels_table(SEEDS)
    summary = whole(ReusedChannels(), table)
    found = by_key(summary)
    modules = table.filter(level="module")
    shares = {
        variant: modules.filter(variant=variant).group_by("seed").agg(pl.col("reused").mean()).sort("seed")
        for variant in ("P_T", "RI_T", "RI")
    }
    assert list(found)[:3] == [("reused", "P_T"), ("reused", "RI_T"), ("reused", "RI")]
    for variant, of in shares.items():
        values = of["reused"].to_list()
        assert_left_out(found["reused", variant], {(seed, seed): value for seed, value in enumerate(values)})
        same = found["same_index", variant, 0.5]
        assert same.name.startswith("share whose channel of equal index correlates above 0.5, ")
        assert (same.flags == ("no_spread",)) == (variant != "P_T")
    for rival in ("RI_T", "RI"):
        item = found["beyond_chance", "P_T", rival]
        gains = (shares["P_T"]["reused"] - shares[rival]["reused"]).to_list()
        assert_left_out(item, {(seed, seed): value for seed, value in enumerate(gains)})
        assert item.low > 0
    approved(found["beyond_chance", "P_T", "RI_T"].name)
    approved(summary.verdict)
    few = whole(ReusedChannels(), synthetic.reused_channels_table((0, 1)))
    approved(few.verdict)
    equal = whole(
        ReusedChannels(), table.with_columns(reused=pl.when(pl.col("variant") == "P_T").then(0.7).otherwise(0.1))
    )
    approved(equal.verdict)
    assert by_key(equal)["beyond_chance", "P_T", "RI"].flags == ("no_spread",)
