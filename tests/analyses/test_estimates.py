"""Every number under its key: what is declared is estimated, over which seeds, and where it may stand."""

import math
from itertools import combinations

import polars as pl
import pytest
from scipy import stats

from tests.reference import pairs_reference as reference
from transferscope.analyses.contract import checked_summary
from transferscope.analyses.distance.analysis import DistanceAnalysis
from transferscope.analyses.estimates import (
    COLUMNS,
    Contrast,
    Estimate,
    Quantity,
    estimated,
    frame,
    over_seeds,
    spoken,
    units,
)
from transferscope.analyses.summary import Summary
from transferscope.bounds import MAGNITUDE, SHARE
from transferscope.errors import AnalysisError
from transferscope.measures.intervals import Interval, paired_seeds_interval

SCORE = Quantity("score", "score of {variant}", column="score", by=("variant",))


def of_seeds(scores: dict[str, list[float | None]], **more) -> pl.DataFrame:
    """One row for each variant and seed."""
    rows = [
        {"variant": variant, "seed": seed, "score": score, **more}
        for variant, values in scores.items()
        for seed, score in enumerate(values)
    ]
    return pl.DataFrame(rows, infer_schema_length=None)


def of_pairs(values: dict[tuple[int, int], float], a: str = "P_T", b: str = "P_T") -> pl.DataFrame:
    rows = [
        {"variant_a": a, "seed_a": first, "variant_b": b, "seed_b": second, "score": value}
        for (first, second), value in values.items()
    ]
    return pl.DataFrame(rows)


def only(estimates: list[Estimate]) -> Estimate:
    (item,) = estimates
    return item


def limits(item: Estimate) -> tuple:
    return item.value, item.low, item.high


# -- what is declared --------------------------------------------------------------------------------------------


def test_one_estimate_for_each_coordinate_by_students_interval() -> None:
    scores = {"P_T": [0.7, 0.8, 0.75, 0.9], "RI_T": [0.2, 0.4, 0.3, 0.1]}
    found = estimated(of_seeds(scores), [SCORE, Quantity("elsewhere", "made by hand")])
    assert [(item.quantity, dict(item.at)) for item in found] == [
        ("score", {"variant": "P_T"}), ("score", {"variant": "RI_T"})
    ]  # fmt: skip
    assert [item.name for item in found] == ["score of P-T", "score of RI-T"]
    for item, values in zip(found, scores.values(), strict=True):
        low, high = stats.t.interval(0.95, 3, loc=sum(values) / 4, scale=stats.sem(values))
        assert limits(item) == pytest.approx((sum(values) / 4, low, high))
        assert (item.basis, item.n, item.n_comparisons, item.simultaneous_low, item.flags) == (
            "seeds",
            4,
            None,
            None,
            (),
        )


def test_rows_of_one_seed_are_averaged_first() -> None:
    """Modules of a network are not independent: many of them do not narrow the interval over seeds."""
    once = of_seeds({"P_T": [0.1, 0.4, 0.3]})
    modules = pl.concat([once.with_columns(pl.col("score") + change, module=pl.lit(str(change))) for change in (-1, 1)])
    assert limits(only(estimated(modules, [SCORE]))) == pytest.approx(limits(only(estimated(once, [SCORE]))))
    assert only(estimated(modules, [SCORE])).n == 3


def test_rows_and_bounds_are_those_declared() -> None:
    table = pl.concat([of_seeds({"P_T": [0.9, 1.0, 0.95]}, split="test"), of_seeds({"P_T": [9.0] * 3}, split="train")])
    bounded = Quantity("score", "score", column="score", where=pl.col("split") == "test", bounds=SHARE, unit="metric")
    item = only(estimated(table, [bounded]))
    assert (item.high, item.flags, item.unit, dict(item.at)) == (1.0, ("clipped",), "metric", {})
    assert estimated(table.filter(pl.col("split") == "validation"), [bounded]) == []


def test_a_family_holds_at_once_within_what_is_fixed() -> None:
    rows = []
    for variant, modules in (("P_T", "abc"), ("RI_T", "ab")):
        for place, module in enumerate(modules):
            rows.append(of_seeds({variant: [0.1 * place, 0.3, 0.2 + 0.05 * place, 0.6]}, module=module))
    quantity = Quantity("score", "{variant} at {module}", column="score", by=("variant", "module"), family=("module",))
    found = estimated(pl.concat(rows), [quantity])
    assert [item.n_comparisons for item in found] == [3, 3, 3, 2, 2]
    for item in found:
        half, wide = item.high - item.value, item.simultaneous_high - item.value
        share = stats.t.ppf(1 - 0.025 / item.n_comparisons, 3) / stats.t.ppf(0.975, 3)
        assert wide / half == pytest.approx(share)
        assert item.simultaneous_low == pytest.approx(item.value - wide)
    together = Quantity("score", "", column="score", by=("variant", "module"), family=("variant", "module"))
    assert {item.n_comparisons for item in estimated(pl.concat(rows), [together])} == {5}
    two = estimated(pl.concat(rows).filter(pl.col("seed") < 2), [quantity])
    assert {(item.basis, item.simultaneous_low, item.simultaneous_high) for item in two} == {("range", None, None)}


def test_simultaneous_limits_of_pairs_leave_one_seed_out_too() -> None:
    values = {pair: math.sin(sum(pair) ** 2) for pair in combinations(range(5), 2)}
    table = pl.concat([of_pairs(values).with_columns(module=pl.lit(module)) for module in "abcd"])
    quantity = Quantity("score", "at {module}", column="score", by=("module",), family=("module",))
    for item in estimated(table, [quantity]):
        assert limits(item) == pytest.approx(reference.leave_one_seed_out(values))
        wide = reference.leave_one_seed_out(values, 1 - 0.05 / 4)
        assert (item.simultaneous_low, item.simultaneous_high) == pytest.approx(wide[1:])


def test_a_contrast_is_paired_by_seed() -> None:
    scores = {"P_T": [0.7, 0.8, 0.75, 0.9], "RI_T": [0.2, 0.4, 0.3], "RI": [0.1, 0.1, 0.1, 0.1]}
    gap = Quantity(
        "gap", "{variant} − {rival}", column="score", by=("variant",), contrast=Contrast("variant", "P_T", "RI_T")
    )
    item = only(estimated(of_seeds(scores), [gap]))
    expected = paired_seeds_interval(scores["P_T"][:3], scores["RI_T"])
    assert limits(item) == pytest.approx((expected.value, expected.low, expected.high))
    assert (item.n, item.name, dict(item.at)) == (3, "P-T − RI-T", {"variant": "P_T", "rival": "RI_T"})
    # What a seed adds to both sides does not widen it.
    shifted = {name: [value + 10 * seed for seed, value in enumerate(values)] for name, values in scores.items()}
    assert limits(only(estimated(of_seeds(shifted), [gap]))) == pytest.approx(limits(item))
    assert estimated(of_seeds({"P_T": [0.1, 0.2, 0.3]}), [gap]) == []


def test_a_contrast_of_equal_gains_has_no_interval_whatever_the_rounding() -> None:
    table = of_seeds({"P_T": [0.871, 0.872, 0.873], "RI_T": [0.870, 0.871, 0.872]})
    gap = Quantity("gap", "", column="score", by=("variant",), contrast=Contrast("variant", "P_T", "RI_T"))
    item = only(estimated(table, [gap]))
    assert (item.low, item.high, item.basis, item.flags) == (None, None, None, ("no_spread",))
    moved = table.with_columns(pl.when(pl.col("score") == 0.873).then(0.874).otherwise("score").alias("score"))
    assert only(estimated(moved, [gap])).basis == "seeds"


def test_a_contrast_of_pairs_keeps_the_other_coordinates() -> None:
    values = {pair: math.cos(sum(pair) ** 2) for pair in combinations(range(4), 2)}
    less = {pair: value - math.sin(pair[1]) for pair, value in values.items()}
    table = pl.concat([
        of_pairs(side).with_columns(pair=pl.lit(pair), module=pl.lit(module))
        for pair, side in (("P-T/P-T", values), ("RI-T/RI-T", less)) for module in "ab"
    ])  # fmt: skip
    quantity = Quantity("more", "{pair} − {rival} at {module}", column="score", by=("module", "pair"),
                        contrast=Contrast("pair", "P-T/P-T", "RI-T/RI-T"))  # fmt: skip
    found = estimated(table, [quantity])
    assert [item.name for item in found] == ["P-T/P-T − RI-T/RI-T at a", "P-T/P-T − RI-T/RI-T at b"]
    for item in found:
        expected = reference.leave_one_seed_out({pair: math.sin(pair[1]) for pair in values})
        assert limits(item) == pytest.approx(expected)


def test_a_pair_is_compared_with_what_each_of_its_seeds_has_for_itself() -> None:
    """A path of two seeds less that of each with its own late epochs: there is no such pair of two seeds."""
    between = {pair: math.cos(sum(pair) ** 2) for pair in combinations(range(4), 2)}
    own = {(seed, seed): 0.1 * seed**2 for seed in range(4)}
    table = pl.concat([
        of_pairs(side).with_columns(pair=pl.lit(pair)) for pair, side in (("P-T/P-T", between), ("late", own))
    ])  # fmt: skip
    contrast = Contrast("pair", "P-T/P-T", "late")
    quantity = Quantity("more", "", column="score", by=("pair",), contrast=contrast)
    expected = {(a, b): value - (own[a, a] + own[b, b]) / 2 for (a, b), value in between.items()}
    item = only(estimated(table, [quantity]))
    assert limits(item) == pytest.approx(reference.leave_one_seed_out(expected))
    # A pair of whose seeds one has none is compared with nothing.
    few = table.filter((pl.col("pair") != "late") | (pl.col("seed_a") != 3))
    three = {pair: value for pair, value in expected.items() if 3 not in pair}
    item = only(estimated(few, [quantity]))
    assert limits(item) == pytest.approx(reference.leave_one_seed_out(three))
    assert item.n == 3


@pytest.mark.parametrize(
    "wrong", [{"family": ("modul",)}, {"contrast": Contrast("pair", "a", "b")}, {"by": (), "family": ("module",)}]
)
def test_a_family_or_contrast_of_no_coordinate_is_named(wrong: dict) -> None:
    with pytest.raises(AnalysisError, match="has no coordinate"):
        Quantity("score", "", column="score", **{"by": ("module", "variant"), **wrong})


# -- what is independent -----------------------------------------------------------------------------------------


def test_all_measured_pairs_count_and_the_unit_is_the_seed() -> None:
    values = {pair: math.sin(10 * pair[0] + pair[1]) for pair in combinations(range(4), 2)}
    item = only(estimated(of_pairs(values), [Quantity("score", "", column="score")]))
    assert limits(item) == pytest.approx(reference.leave_one_seed_out(values))
    assert (item.basis, item.n, item.note) == ("seeds", 4, "n counts seeds, of 6 pairs, leaving one seed out")
    # A pair is one, whichever of its networks is named first; its modules are averaged.
    turned = {(b, a): value for (a, b), value in values.items()}
    both = pl.concat([of_pairs(values), of_pairs(turned).with_columns(pl.col("score") + 1)])
    again = only(estimated(both, [Quantity("score", "", column="score")]))
    assert limits(again) == pytest.approx(tuple(value + 0.5 for value in limits(item)))
    assert again.n == 4


def test_a_seed_column_goes_before_the_seeds_of_a_pair() -> None:
    table = of_seeds({"P_T": [0.1, 0.5, 0.3]}).with_columns(seed_a=pl.lit(0), seed_b=pl.lit(1))
    assert units(table, "score") == {(0, 0): 0.1, (1, 1): 0.5, (2, 2): 0.3}


@pytest.mark.parametrize("first", [True, False])
def test_a_pair_with_p_counts_under_the_seed_of_the_other(first: bool) -> None:
    """P is one network, of whichever seed: only what it is compared with varies."""
    values = {(0, seed): 0.1 * seed**2 for seed in range(4)}
    table = of_pairs(values, "P", "P_T")
    if not first:
        table = table.rename(
            {"variant_a": "variant_b", "variant_b": "variant_a", "seed_a": "seed_b", "seed_b": "seed_a"}
        )
    assert units(table, "score") == {(seed, seed): pytest.approx(0.1 * seed**2) for seed in range(4)}
    plain = over_seeds({(seed, seed): 0.1 * seed**2 for seed in range(4)}, bounds=MAGNITUDE)
    item = only(estimated(table, [Quantity("score", "", column="score", bounds=MAGNITUDE)]))
    assert limits(item) == pytest.approx((plain.value, plain.low, plain.high))
    # Any other start is of its seed: these pairs all share seed 0, and nothing is left without it.
    star = only(estimated(of_pairs(values, "RI", "P_T"), [Quantity("score", "", column="score")]))
    assert (star.low, star.basis, star.n) == (None, None, 4)
    assert "every pair shares a seed" in star.note


def test_one_seed_two_seeds_and_one_pair() -> None:
    one, two = (only(estimated(of_seeds({"P_T": values}), [SCORE])) for values in ([0.4], [0.4, 0.2]))
    assert (*limits(one), one.basis, one.n, one.flags) == (0.4, None, None, None, 1, ("too_few_seeds",))
    assert (*limits(two), two.basis, two.n, two.flags) == (pytest.approx(0.3), 0.2, 0.4, "range", 2, ("too_few_seeds",))
    pair = only(estimated(of_pairs({(0, 1): 0.4}), [Quantity("score", "", column="score")]))
    assert (*limits(pair), pair.basis, pair.n, pair.flags) == (0.4, None, None, None, 2, ("too_few_seeds",))


def test_equal_seeds_and_equal_pairs_have_no_interval() -> None:
    seeds = only(estimated(of_seeds({"P_T": [1 / 3] * 4}), [SCORE]))
    pairs = only(
        estimated(of_pairs(dict.fromkeys(combinations(range(3), 2), 0.25)), [Quantity("s", "", column="score")])
    )
    for item, n in ((seeds, 4), (pairs, 3)):
        assert (item.low, item.high, item.basis, item.n, item.flags) == (None, None, None, n, ("no_spread",))
        assert "proves nothing" in item.note
    assert (seeds.value, pairs.value) == (pytest.approx(1 / 3), 0.25)


def test_rows_without_a_seed_are_an_error() -> None:
    with pytest.raises(AnalysisError, match="nothing tells which rows are independent"):
        units(pl.DataFrame({"score": [0.1]}), "score")
    all_seeds = of_seeds({"P_T": [0.1, 0.2, 0.3]}).with_columns(
        pl.when(pl.col("seed") < 2).then("seed").alias("seed")
    )  # fmt: skip
    with pytest.raises(AnalysisError, match="speaks of no seed"):
        estimated(all_seeds, [SCORE])
    half = of_pairs({(0, 1): 0.5}).with_columns(seed_b=pl.lit(None, pl.Int64))
    with pytest.raises(AnalysisError, match="speaks of no seed"):
        units(half, "score")
    # A set of networks of all seeds is one, however many rows it has.
    hull = of_pairs({(0, 1): 0.5, (0, 2): 0.7, (1, 2): 0.9}).with_columns(
        pl.lit(None, pl.Int64).alias(name) for name in ("seed_a", "seed_b")
    )
    item = only(estimated(hull, [Quantity("score", "", column="score")]))
    assert (item.value, item.low, item.basis, item.n) == (pytest.approx(0.7), None, None, 1)


def test_what_is_not_defined_for_every_seed_is_not_defined() -> None:
    table = of_seeds({"P_T": [0.1, None, 0.3], "RI_T": [0.1, 0.2, 0.4], "RI": [None, None, None]})
    some, whole = estimated(table, [SCORE])
    assert (some.value, some.n, some.note, some.flags) == (None, 3, "not defined for 1 of 3", ("incomplete",))
    assert (whole.at["variant"], whole.basis) == ("RI_T", "seeds")
    gap = Quantity("gap", "", column="score", by=("variant",), contrast=Contrast("variant", "RI_T", "P_T"))
    assert only(estimated(table, [gap])).note == "not defined for 1 of 3"
    # Of several rows of one seed one null is enough.
    double = pl.concat([table, table.with_columns(pl.lit(0.5).alias("score"))])
    assert estimated(double, [SCORE])[0].note == "not defined for 1 of 3"


# -- where it stands ---------------------------------------------------------------------------------------------


def test_a_missing_coordinate_is_named() -> None:
    quantity = Quantity("score", "score of {variant} on {split}")
    interval = Interval(0.5, 0.4, 0.6, 3, "seeds")
    with pytest.raises(AnalysisError, match="lacks a coordinate that its words name"):
        quantity.of(interval, variant="P_T")
    with pytest.raises(AnalysisError, match="lacks a coordinate that its words name"):
        quantity.undefined("none", variant="P_T")
    assert quantity.of(interval, variant="P_T", split="test", module="stem").name == "score of P-T on test"
    unnamed = of_seeds({"P_T": [0.1, 0.2]}).with_columns(variant=pl.lit(None, pl.String))
    with pytest.raises(AnalysisError, match="lacks a coordinate"):
        estimated(unnamed, [SCORE])


def test_an_estimate_has_what_its_interval_has() -> None:
    interval = Interval(0.5, 0.4, 0.6, 3, "seeds", note="first", flags=("clipped",))
    wide = Interval(0.5, 0.2, 0.8, 3, "seeds")
    item = SCORE.of(interval, "", "second", simultaneous=wide, n_comparisons=7, verdict="kept",
                    flags=("diverged", "clipped"), variant="P_T")  # fmt: skip
    assert item == Estimate(
        "score", {"variant": "P_T"}, 0.5, 0.4, 0.6, "seeds", 3, "1", "score of P-T", "first; second", 0.2, 0.8, 7,
        "kept", ("clipped", "diverged"),
    )  # fmt: skip
    row = {"value": 1.0, "low": None, "high": None, "basis": None, "n": 1, "other": 3}
    bare = SCORE.at_row(row, None, "why", unit="ℓ2", variant="RI_T")
    assert (bare.value, bare.unit, bare.note, bare.simultaneous_low) == (1.0, "ℓ2", "why", None)
    limited = SCORE.at_row({**row, "simultaneous_low": 0.1, "simultaneous_high": 0.9}, variant="RI_T")
    assert (limited.simultaneous_low, limited.simultaneous_high) == (0.1, 0.9)
    none = SCORE.undefined("no run", 2, ("diverged",), variant="RI_T")
    assert (none.value, none.n, none.note, none.flags) == (None, 2, "no run", ("diverged",))


def test_the_frame_has_a_row_for_each_number_and_a_column_for_each_coordinate() -> None:
    first = SCORE.of(
        Interval(0.5, 0.4, 0.6, 3, "seeds", flags=("clipped",)), flags=("diverged",), variant="P_T", epoch=3
    )
    second = Quantity("gap", "gap").undefined("why", 2, module="stem")
    found = frame({"a": [first], "a-2": [second]})
    assert found.columns == ["analysis", "quantity", "variant", "epoch", "module", *COLUMNS]
    assert found.select("analysis", "quantity", "variant", "epoch", "module").rows() == [
        ("a", "score", "P_T", "3", None), ("a-2", "gap", None, None, "stem")
    ]  # fmt: skip
    assert found["flags"].to_list() == ["clipped diverged", ""]
    assert found["value"].to_list() == [0.5, None]
    assert found["note"].to_list() == ["", "why"]
    empty = frame({})
    assert (empty.columns, empty.height) == (["analysis", "quantity", *COLUMNS], 0)


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (Estimate("a", {}, 0.5), "0.5"),
        (
            Estimate("a", {}, 0.5, 0.4, 0.6, "examples", 90),
            "0.500 (95 % interval over 90 test examples 0.400 to 0.600)",
        ),
        (Estimate("a", {}, 0.5, 0.4, 0.6, "range", 2), "0.500 (range of 2 seeds 0.400 to 0.600)"),
        (Estimate("a", {}, None), "not defined"),
    ],
)
def test_an_estimate_is_spoken_with_its_basis(item: Estimate, words: str) -> None:
    assert spoken(item) == words


# -- a summary is held to what is declared -----------------------------------------------------------------------


DISTANCE = DistanceAnalysis.quantities[0]


def summary(*items: Estimate) -> Summary:
    return checked_summary(DistanceAnalysis(), Summary("Said.", items))


def test_declared_estimates_pass() -> None:
    items = [DISTANCE.of(Interval(2.0, 1.0, 3.0, 3, "seeds"), pair=pair) for pair in ("P/P-T", "RI/RI-T")]
    items += [DISTANCE.undefined("no run", pair="P-T/P-T"), DISTANCE.of(Interval(1.0, None, None, 1, None), pair="x")]
    # A percentile interval may leave out the value of a statistic that is biased in its resamples.
    items.append(DISTANCE.of(Interval(2.0, 2.1, 3.0, 90, "examples"), pair="y"))
    # Limits are clipped where a value may lie beyond by rounding.
    items.append(DISTANCE.of(Interval(1.0 + 1e-15, 0.5, 1.0, 3, "seeds"), pair="z"))
    assert summary(*items).estimates == tuple(items)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([Estimate("undeclared", {}, 1.0)], "is of an undeclared quantity"),
        ([Estimate("distance", {"pair": "a"}, 1.0), Estimate("distance", {"pair": "a"}, 2.0)], "stand under one key"),
        ([Estimate("distance", {"pair": "a", "part": "b"}, 1.0), Estimate("distance", {"part": "b", "pair": "a"}, 2.0)],
         "stand under one key"),
        *(([Estimate("distance", {}, *numbers, "seeds", 3)], "not a finite number within its interval") for numbers in (
            (math.nan, None, None), (math.inf, None, None), (1.0, math.nan, 2.0), (1.0, 0.0, math.inf), (1.0, 2.0, 3.0),
            (1.0, -1.0, 0.0), (1.0, 2.0, 0.0), (1.0, 0.0, None), (1.0, None, 2.0), (None, 0.0, 1.0),
        )),
        ([Estimate("distance", {}, 1.0, 2.0, 0.0, "examples", 9)], "not a finite number within its interval"),
        ([Estimate("distance", {}, 1.0, simultaneous_low=2.0, simultaneous_high=3.0)], "not a finite number within"),
        ([Estimate("distance", {}, 1.0, simultaneous_low=0.0)], "not a finite number within"),
        ([Estimate("distance", {"value": "P"}, 1.0)], "named as what every row has"),
        ([Estimate("distance", {"quantity": "P"}, 1.0)], "named as what every row has"),
    ],
)  # fmt: skip
def test_what_is_not_declared_or_not_a_number_is_named(items: list[Estimate], message: str) -> None:
    with pytest.raises(AnalysisError, match=message):
        summary(*items)
