"""One-module paths of a study: the rows, the joint view, and the words they are given."""

import csv
import io
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from tests.studies import Diverging, Trained, untrained
from transferscope.analyses.cka_loader import cka
from transferscope.analyses.contract import Measured, Unit, checked, schema
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.linear_path import linear_path
from transferscope.analyses.module_path import ALL, TRUNK, ModulePath
from transferscope.analyses.module_path_summary import module_barriers
from transferscope.analyses.module_paths import module_paths
from transferscope.measures.barriers import barrier
from transferscope.measures.standard_error import standard_error

ANALYSIS = ModulePath(
    points=3, batch_norm_images=40, train_images=50, test_images=None, cka_images=40, cka_batch=20,
    pairs=("P_T/P_T",), max_pairs=1,
)  # fmt: skip
PARTS = ["stem", "block", "head"]


@pytest.fixture(scope="module")
def unit(trained: Trained) -> Unit:
    (found,) = ANALYSIS.units(trained.study, trained.evidence.for_decision())
    return found


@pytest.fixture(scope="module")
def measured(trained: Trained, unit: Unit) -> Measured:
    found = ANALYSIS.measure(unit, trained.context)
    return Measured(checked(ANALYSIS, found.table), found.files)


def test_rows_are_those_of_the_library(measured: Measured, unit: Unit, trained: Trained) -> None:
    context = trained.context
    networks = [context.network(member.spec) for member in unit.members]
    groups = np.asarray(context.images().groups)[context.indices("test")]
    assert set(measured.table["module"]) == {*PARTS, ALL, TRUNK, "(none)"}
    for member, ends in zip(unit.members, (networks, networks[::-1]), strict=True):
        found = module_paths(
            *ends, {"test": context.batches("test")}, recompute_on=context.mixed_batches("train", 40),
            alphas=(0.0, 0.5, 1.0), device="cpu",
        )  # fmt: skip
        rows = measured.table.filter((pl.col("rest") == member.label) & (pl.col("split") == "test"))
        for place, module in enumerate(PARTS):
            line = found.modules[module]
            points = rows.filter((pl.col("level") == "point") & (pl.col("module") == module))
            start = line.points["test"][0]
            for row, point in zip(points.iter_rows(named=True), line.points["test"], strict=True):
                assert row["loss"] == pytest.approx(point.losses.mean(), rel=1e-9)
                assert row["error_change"] == pytest.approx((point.errors - start.errors).mean(), abs=1e-12)
                assert row["error_change_se"] == pytest.approx(
                    standard_error(point.errors - start.errors, groups), abs=1e-12
                )
                assert row["l2"] == pytest.approx(row["alpha"] * line.distance)
                assert (row["position"], row["head"]) == (place, module == "head")
            of = rows.filter((pl.col("level") == "barrier") & (pl.col("module") == module))
            assert of.height == 4
            for row in of.iter_rows(named=True):
                values = found.values(module, "test", row["quantity"])
                single = barrier(found.alphas, values, clusters=groups)
                wide = barrier(found.alphas, values, clusters=groups, confidence=1 - 0.05 / 6)
                height = getattr(single, row["baseline"])
                assert row["family"] == 6, "three modules in both directions"
                assert row["barrier"] == pytest.approx(height.value, abs=1e-12)
                assert (row["low"], row["high"]) == pytest.approx((height.interval.low, height.interval.high))
                together = getattr(wide, row["baseline"]).interval
                assert (row["simultaneous_low"], row["simultaneous_high"]) == pytest.approx(
                    (together.low, together.high)
                )
                assert row["n"] == len(set(groups.tolist()))
        own = rows.filter(pl.col("level") == "own").row(0, named=True)
        assert own["loss"] == pytest.approx(found.own["test"].losses.mean(), rel=1e-9)
        assert own["batch_norm"] == "own statistics"


def test_all_modules_at_once_are_the_path_of_the_pair(measured: Measured, unit: Unit, trained: Trained) -> None:
    context = trained.context
    path = linear_path(
        *(context.network(member.spec) for member in unit.members), {"test": context.batches("test")},
        recompute_on=context.mixed_batches("train", 40), alphas=(0.0, 0.5, 1.0), device="cpu",
    )  # fmt: skip
    rows = measured.table.filter(
        (pl.col("module") == ALL) & (pl.col("split") == "test") & (pl.col("rest") == unit.members[0].label)
    )
    assert rows.filter(pl.col("level") == "point")["loss"].to_list() == pytest.approx(
        [point.losses.mean() for point in path.points["test"]]
    )
    assert rows.filter(pl.col("level") == "barrier")["family"].to_list() == [1] * 4


def test_similarity_and_distance_are_those_of_the_other_analyses(
    measured: Measured, unit: Unit, trained: Trained
) -> None:
    first, second = unit.members
    barriers = measured.table.filter(pl.col("level") == "barrier")
    distances = next(item.table for item in trained.results.analyses if item.analysis.name == "distance")
    assert distances is not None
    of = distances.filter((pl.col("a") == first.label) & (pl.col("b") == second.label))
    for module, part in [*zip(PARTS, PARTS, strict=True), (ALL, "all"), (TRUNK, "trunk")]:
        row = of.filter(pl.col("part") == part).row(0, named=True)
        here = barriers.filter(pl.col("module") == module)
        assert here["l2"].to_list() == pytest.approx([row["distance"]] * here.height, rel=1e-6)
        assert here["relative"].to_list() == pytest.approx([row["relative"]] * here.height, rel=1e-6)
        assert here["parameters"].unique().to_list() == [row["parameters"]]
    context = trained.context
    found = cka(
        *(context.network(m.spec) for m in (first, second)), context.mixed_batches("test", 40, 20), device="cpu"
    )
    for place, module in enumerate(PARTS):
        values = barriers.filter(pl.col("module") == module)["cka"].unique().to_list()
        assert values == [pytest.approx(float(found.between("a", "b")[place, place]), abs=1e-6)]
    assert barriers.filter(pl.col("module").is_in([ALL, TRUNK]))["cka"].null_count() == 32


def test_the_file_sets_them_side_by_side(measured: Measured) -> None:
    (name,) = measured.files
    assert name == "side-by-side-P-T-0-P-T-1.csv"
    lines = list(csv.DictReader(io.StringIO(measured.files[name].decode())))
    assert [line["module"] for line in lines] == [ALL, TRUNK, *PARTS]
    assert list(lines[0])[:5] == ["module", "parameters", "cka", "l2", "relative"]
    for line in lines:
        for rest in ("P-T[0]", "P-T[1]"):
            of = measured.table.filter(
                (pl.col("module") == line["module"]) & (pl.col("rest") == rest) & (pl.col("split") == "test")
            )
            row = of.filter((pl.col("quantity") == "error") & (pl.col("baseline") == "mean")).row(0, named=True)
            assert float(line[f"barrier (rest {rest})"]) == row["barrier"]
            assert float(line[f"simultaneous_high (rest {rest})"]) == row["simultaneous_high"]
            end = of.filter((pl.col("level") == "point") & (pl.col("alpha") == 1.0)).row(0, named=True)
            assert float(line[f"error at the other's module (rest {rest})"]) == end["error_change"]


def test_without_the_head_the_trunk_stands_for_all(trained: Trained, unit: Unit) -> None:
    asked = ANALYSIS.model_copy(update={"head": False, "points": 2, "train_images": 20, "test_images": 20})
    table = checked(asked, asked.measure(unit, trained.context).table)
    assert table["module"].unique(maintain_order=True).to_list() == ["(none)", TRUNK, "stem", "block"]
    assert table["family"].drop_nulls().unique().sort().to_list() == [1, 4]
    assert "of 2 modules moved alone" in asked.summarise(table, Evidence()).verdict


def test_a_network_and_itself_have_nothing_between_them(plain) -> None:
    members = untrained(plain.study, "RI_T 0", "RI_T 0")
    asked = ANALYSIS.model_copy(update={"points": 3, "train_images": 20, "test_images": 20})
    table = checked(asked, asked.measure(Unit(members=members), plain).table)
    assert table["barrier"].drop_nulls().unique().to_list() == [0.0]
    assert table.filter(pl.col("level") == "point")["loss_change"].unique().to_list() == [0.0]
    assert table["relative"].drop_nulls().unique().to_list() == [0.0]
    summary = asked.summarise(table, Evidence())
    assert "of 3 modules moved alone 0 separated, 0 undecided, 3 connected" in summary.verdict
    unknown = next(n for n in summary.numbers if n.name.startswith("Kendall τ over modules, error barrier and CKA"))
    assert (unknown.value, unknown.note) == (None, "too few modules that differ")


def test_units_are_pairs_of_each_kind(trained: Trained) -> None:
    asked = ModulePath(pairs=("P_T/P_T", "RI_T/RI_T", "P_T/RI_T"))
    evidence = trained.evidence.for_decision()
    labels = [[member.label for member in unit.members] for unit in asked.units(trained.study, evidence)]
    assert labels == [
        ["P-T[0]", "P-T[1]"], ["P-T[2]", "P-T[3]"], ["RI-T[0]", "RI-T[1]"], ["RI-T[2]", "RI-T[3]"],
        ["P-T[0]", "RI-T[0]"], ["P-T[1]", "RI-T[1]"],
    ]  # fmt: skip
    every = asked.model_copy(update={"max_pairs": None})
    assert len(list(every.units(trained.study, evidence))) == 2 + 2 + 4
    first = next(iter(asked.units(trained.study, evidence)))
    assert asked.images(first, trained.study) > ANALYSIS.images(first, trained.study) > 0


def test_one_seed_has_pairs_of_two_variants_alone(plain) -> None:
    one = replace(plain.study, settings=plain.study.settings.model_copy(update={"seeds": (0,)}))
    assert (
        ModulePath().inapplicable(one) == "two networks of one variant need two seeds; pairs: [P_T/RI_T] does with one"
    )
    assert ModulePath(pairs=("P_T/RI_T",)).inapplicable(one) is None
    assert ModulePath().inapplicable(plain.study) is None


def test_a_pair_with_a_diverged_end_has_no_lines(trained: Trained, unit: Unit) -> None:
    for lost in unit.members:
        assert ANALYSIS.measure(unit, Diverging(trained.context, lost)).table.is_empty()


# -- words ------------------------------------------------------------------------------------------------------


def barriers(*pairs: dict[str, tuple], policy: str = "recompute") -> pl.DataFrame:
    """Test rows of pairs: by module the error's barrier and simultaneous limits, the same in both directions."""
    rows = [
        {
            "level": "barrier", "pair": "P-T/P-T", "a": f"P-T[{2 * k}]", "seed_a": 2 * k, "b": f"P-T[{2 * k + 1}]",
            "seed_b": 2 * k + 1, "rest": f"P-T[{2 * k + side}]", "module": module,
            "position": -1 if module == TRUNK else place, "head": False, "parameters": 10, "l2": 1.0,
            "relative": 0.1 * place + 0.01 * k, "cka": None if module == TRUNK else 1 - 0.1 * place, "split": "test",
            "batch_norm": policy, "examples": 400, "alpha": 0.5, "quantity": quantity, "baseline": baseline,
            "barrier": height, "barrier_se": 0.001, "low": low, "high": high, "simultaneous_low": low,
            "simultaneous_high": high, "family": 6, "n": 400, "midpoint_gap": 0.0, "smallest_gap": 0.0,
        }
        for k, modules in enumerate(pairs) for side in (0, 1)
        for place, (module, (height, low, high)) in enumerate(modules.items())
        for quantity in ("loss", "error") for baseline in ("linear", "mean")
    ]  # fmt: skip
    return checked(ANALYSIS, pl.DataFrame(rows, schema=schema(ModulePath.columns)))


FINE, HIGH, OPEN = (0.005, 0.0, 0.015), (0.05, 0.03, 0.07), (0.015, 0.0, 0.03)


def test_connected_is_said_of_limits_that_hold_for_all() -> None:
    verdict = ANALYSIS.summarise(barriers({"stem": FINE, "block": HIGH, "head": OPEN}), Evidence()).verdict
    assert verdict == (
        "By the test error's barrier against the mean of the ends, below 2 points for connected: P-T/P-T: of 3 modules "
        "moved alone 1 separated (block 5.0 points with a hill), 1 undecided (head 1.5 points), 1 connected "
        "(simultaneous 95 % limits over 400 test examples or groups, for this pair of networks)."
    )


@pytest.mark.parametrize(
    ("pairs", "judged"),
    [
        ([FINE], "stable"),
        ([OPEN], "undecided"),
        ([HIGH], "unstable"),
        ([(0.005, None, None)], "undecided"),
        ([FINE, HIGH], "undecided"),
        ([HIGH, HIGH], "unstable"),
        ([(0.004, 0, 1), (0.005, 0, 1), (0.006, 0, 1)], "stable"),
        ([(0.1, 0, 1), (0.1, 0, 1), (0.11, 0, 1)], "unstable"),
        ([(0.1, 0, 1), (0.0, 0, 1), (0.2, 0, 1)], "undecided"),
    ],
)
def test_a_module_is_judged_over_pairs_or_over_examples(pairs: list[tuple], judged: str) -> None:
    table = barriers(*({"stem": pair} for pair in pairs))
    rows = table.filter((pl.col("quantity") == "error") & (pl.col("baseline") == "mean"))
    (found,) = module_barriers(rows)
    assert found.judged == judged
    assert found.interval.basis == ("seeds" if len(pairs) > 2 else "examples")
    verdict = ANALYSIS.summarise(table, Evidence()).verdict
    basis = {1: "for this pair of networks", 2: "for these pairs of networks"}
    if pairs[0][1] is None:
        assert "without limits" in verdict
    else:
        assert (
            basis.get(len(pairs), "simultaneous 95 % intervals over 3 pairs that share no trained network") in verdict
        )


def test_intervals_over_pairs_are_wider_for_more_modules() -> None:
    values = [(0.004, 0, 1), (0.005, 0, 1), (0.006, 0, 1)]
    one = module_barriers(barriers(*({"a": v} for v in values)).filter(pl.col("quantity") == "error"))
    two = module_barriers(barriers(*({"a": v, "b": v} for v in values)).filter(pl.col("quantity") == "error"))
    assert one[0].interval.value == two[0].interval.value
    assert two[0].interval.high > one[0].interval.high


def test_numbers_name_the_worst_module_and_what_goes_with_it() -> None:
    table = barriers({TRUNK: HIGH, "stem": FINE, "block": OPEN, "head": HIGH})
    numbers = {number.name: number for number in ANALYSIS.summarise(table, Evidence()).numbers}
    worst = numbers["error barrier of head alone, P-T/P-T (test, mean baseline)"]
    assert (worst.value, worst.low, worst.high, worst.basis, worst.n) == (0.05, 0.03, 0.07, "examples", 400)
    trunk = numbers["error barrier of the trunk at once, P-T/P-T (test, mean baseline)"]
    assert (trunk.value, trunk.basis, trunk.note) == (0.05, "examples", "one pair")
    assert numbers["Kendall τ over modules, error barrier and CKA, P-T/P-T"].value == pytest.approx(-1)
    assert numbers["Kendall τ over modules, error barrier and relative distance, P-T/P-T"].value == pytest.approx(1)
    three = ANALYSIS.summarise(barriers(*[{TRUNK: HIGH, "stem": FINE}] * 3), Evidence()).numbers
    assert [(n.basis, n.n) for n in three[:2]] == [("seeds", 3), ("seeds", 3)]


def test_a_module_that_is_separated_by_the_exchange_alone_has_no_hill() -> None:
    table = barriers({"stem": HIGH, "block": FINE})
    level = table.with_columns(
        pl.when(pl.col("baseline") == "linear").then(0.0).otherwise(pl.col(name)).alias(name)
        for name in ("barrier", "low", "high", "simultaneous_low", "simultaneous_high")
    )
    assert "1 separated (stem 5.0 points)," in ANALYSIS.summarise(level, Evidence()).verdict


def test_notes_say_what_was_done_about_batch_norm_and_the_grid() -> None:
    notes = ANALYSIS.summarise(barriers({"stem": FINE}), Evidence()).notes
    assert any(note.startswith("batch-norm statistics recomputed at every point on the same 40") for note in notes)
    assert "3 points on each line: a narrow barrier may be missed" in notes
    off = ANALYSIS.model_copy(update={"batch_norm": "interpolate", "points": 25})
    notes = off.summarise(barriers({"stem": FINE}, policy="interpolate"), Evidence()).notes
    assert "batch-norm statistics were interpolated, not recomputed: these barriers are artefacts" in notes
    assert not any("narrow" in note for note in notes)
    none = off.summarise(barriers({"stem": FINE}, policy="no batch norm"), Evidence()).notes
    assert not any("batch-norm" in note for note in none)
