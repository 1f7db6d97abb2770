"""One-module paths of a study: the rows, the joint view, and the words they are given."""

import csv
import io
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from tests.estimates import estimate_of, estimates_of
from tests.reference.pairs_reference import leave_one_seed_out
from tests.report.synthetic_pairs import seed_pairs
from tests.studies import Diverging, Trained, untrained
from transferscope.analyses.contract import MeasureResult, Task, checked, checked_summary
from transferscope.analyses.estimates import Estimate
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.module_path.analysis import ALL, TRUNK, ModulePath
from transferscope.measures.barriers import barrier
from transferscope.measures.standard_error import standard_error
from transferscope.methods.evaluation import Evaluation, Execution
from transferscope.methods.landscape.linear_path import linear_path
from transferscope.methods.modules.paths import module_paths
from transferscope.methods.similarity.cka import cka
from transferscope.study.columns import schema

ANALYSIS = ModulePath(
    points=3,
    batch_norm_images=40,
    train_images=50,
    test_images=None,
    cka_images=40,
    cka_batch=20,
    pairs=("P_T/P_T",),
    max_pairs=1,
)
PARTS = ["stem", "block", "head"]


@pytest.fixture(scope="module")
def task(trained: Trained) -> Task:
    (found,) = ANALYSIS.tasks(trained.study, trained.evidence.for_decision())
    return found


@pytest.fixture(scope="module")
def measured(trained: Trained, task: Task) -> MeasureResult:
    found = ANALYSIS.measure(task, trained.context)
    return MeasureResult(checked(ANALYSIS, found.table), found.files)


def test_rows_are_those_of_the_library(measured: MeasureResult, task: Task, trained: Trained) -> None:
    context = trained.context
    networks = [context.network(member.spec) for member in task.members]
    groups = np.asarray(context.images().groups)[context.indices("test")]
    assert set(measured.table["module"]) == {*PARTS, ALL, TRUNK, "(none)"}
    for member, ends in zip(task.members, (networks, networks[::-1]), strict=True):
        found = module_paths(
            *ends,
            {"test": context.batches("test")},
            evaluation=Evaluation(recompute_on=context.mixed_batches("train", 40), device="cpu"),
            alphas=(0.0, 0.5, 1.0),
        )
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
                assert row["n_comparisons"] == 6, "three modules in both directions"
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


def test_all_modules_at_once_are_the_path_of_the_pair(measured: MeasureResult, task: Task, trained: Trained) -> None:
    context = trained.context
    path = linear_path(
        *(context.network(member.spec) for member in task.members),
        {"test": context.batches("test")},
        evaluation=Evaluation(recompute_on=context.mixed_batches("train", 40), device="cpu"),
        alphas=(0.0, 0.5, 1.0),
    )
    rows = measured.table.filter(
        (pl.col("module") == ALL) & (pl.col("split") == "test") & (pl.col("rest") == task.members[0].label)
    )
    assert rows.filter(pl.col("level") == "point")["loss"].to_list() == pytest.approx(
        [point.losses.mean() for point in path.points["test"]]
    )
    assert rows.filter(pl.col("level") == "barrier")["n_comparisons"].to_list() == [1] * 4


def test_similarity_and_distance_are_those_of_the_other_analyses(
    measured: MeasureResult, task: Task, trained: Trained
) -> None:
    first, second = task.members
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
        *(context.network(m.spec) for m in (first, second)),
        context.mixed_batches("test", 40, 20),
        execution=Execution(device="cpu"),
    )
    for place, module in enumerate(PARTS):
        values = barriers.filter(pl.col("module") == module)["cka"].unique().to_list()
        assert values == [pytest.approx(float(found.between("a", "b")[place, place]), abs=1e-6)]
    assert barriers.filter(pl.col("module").is_in([ALL, TRUNK]))["cka"].null_count() == 32


def test_the_file_sets_them_side_by_side(measured: MeasureResult) -> None:
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


def test_without_the_head_the_trunk_stands_for_all(trained: Trained, task: Task) -> None:
    asked = ANALYSIS.model_copy(update={"head": False, "points": 2, "train_images": 20, "test_images": 20})
    table = checked(asked, asked.measure(task, trained.context).table)
    assert table["module"].unique(maintain_order=True).to_list() == ["(none)", TRUNK, "stem", "block"]
    assert table["n_comparisons"].drop_nulls().unique().sort().to_list() == [1, 4]
    assert "of 2 modules moved alone" in asked.summarise(table, Evidence()).verdict


def test_a_network_and_itself_have_nothing_between_them(plain) -> None:
    members = untrained(plain.study, "RI_T 0", "RI_T 0")
    asked = ANALYSIS.model_copy(update={"points": 3, "train_images": 20, "test_images": 20})
    table = checked(asked, asked.measure(Task(members=members), plain).table)
    assert table["barrier"].drop_nulls().unique().to_list() == [0.0]
    assert table.filter(pl.col("level") == "point")["loss_change"].unique().to_list() == [0.0]
    assert table["relative"].drop_nulls().unique().to_list() == [0.0]
    summary = asked.summarise(table, Evidence())
    assert "of 3 modules moved alone 0 separated, 0 undecided, 3 connected" in summary.verdict
    unknown = estimate_of(summary, "barrier_rank_agreement", beside="cka")
    assert (unknown.value, unknown.n, unknown.flags) == (None, 1, ("incomplete",))


def test_units_are_pairs_of_each_kind(trained: Trained) -> None:
    asked = ModulePath(pairs=("P_T/P_T", "RI_T/RI_T", "P_T/RI_T"))
    evidence = trained.evidence.for_decision()
    labels = [[member.label for member in task.members] for task in asked.tasks(trained.study, evidence)]
    assert labels == [
        *([f"{v}[{a}]", f"{v}[{b}]"] for v in ("P-T", "RI-T") for a, b in ((0, 1), (0, 2), (1, 2))),
        ["P-T[0]", "RI-T[0]"],
        ["P-T[1]", "RI-T[1]"],
        ["P-T[2]", "RI-T[2]"],
    ]
    every = asked.model_copy(update={"max_pairs": None})
    assert len(list(every.tasks(trained.study, evidence))) == 6 + 6 + 4
    first = next(iter(asked.tasks(trained.study, evidence)))
    assert asked.forward_passes(first, trained.study) > ANALYSIS.forward_passes(first, trained.study) > 0


def test_one_seed_has_pairs_of_two_variants_alone(plain) -> None:
    one = replace(plain.study, settings=plain.study.settings.model_copy(update={"seeds": (0,)}))
    assert (
        ModulePath().skip_reason(one) == "two networks of one variant need two seeds; pairs: [P_T/RI_T] does with one"
    )
    assert ModulePath(pairs=("P_T/RI_T",)).skip_reason(one) is None
    assert ModulePath().skip_reason(plain.study) is None


def test_a_pair_with_a_diverged_end_has_no_lines(trained: Trained, task: Task) -> None:
    for lost in task.members:
        assert ANALYSIS.measure(task, Diverging(trained.context, lost)).table.is_empty()


# -- words ------------------------------------------------------------------------------------------------------


def barriers(*pairs: dict[str, tuple], policy: str = "recompute") -> pl.DataFrame:
    """Test rows of pairs: by module the error's barrier and simultaneous limits, the same in both directions."""
    rows = [
        {
            "level": "barrier",
            "pair": "P-T/P-T",
            "a": f"P-T[{ends[0]}]",
            "seed_a": ends[0],
            "b": f"P-T[{ends[1]}]",
            "seed_b": ends[1],
            "rest": f"P-T[{ends[side]}]",
            "module": module,
            "position": -1 if module == TRUNK else place,
            "head": False,
            "parameters": 10,
            "l2": 1.0,
            "relative": 0.1 * place + 0.01 * k,
            "cka": None if module == TRUNK else 1 - 0.1 * place,
            "split": "test",
            "batch_norm": policy,
            "examples": 400,
            "alpha": 0.5,
            "quantity": quantity,
            "baseline": baseline,
            "barrier": height,
            "barrier_se": 0.001,
            "low": low,
            "high": high,
            "simultaneous_low": low,
            "simultaneous_high": high,
            "n_comparisons": 6,
            "n": 400,
            "midpoint_gap": 0.0,
            "smallest_gap": 0.0,
        }
        for k, (ends, modules) in enumerate(zip(seed_pairs(len(pairs)), pairs, strict=True))
        for side in (0, 1)
        for place, (module, (height, low, high)) in enumerate(modules.items())
        for quantity in ("loss", "error")
        for baseline in ("linear", "mean")
    ]
    return checked(ANALYSIS, pl.DataFrame(rows, schema=schema(ModulePath.columns)))


FINE, HIGH, OPEN = (0.005, 0.0, 0.015), (0.05, 0.03, 0.07), (0.015, 0.0, 0.03)


def test_connected_is_said_of_limits_that_hold_for_all() -> None:
    verdict = ANALYSIS.summarise(barriers({"stem": FINE, "block": HIGH, "head": OPEN}), Evidence()).verdict
    assert verdict == (
        "By the test error's barrier against the mean of the ends, below 2 points for connected: P-T/P-T: of 3 modules "
        "moved alone 1 separated (block 5.0 points with a hill), 1 undecided (head 1.5 points), 1 connected "
        "(simultaneous 95 % limits over 400 test examples or groups, for this pair of networks)."
    )


def of(table: pl.DataFrame, module: str = "stem", **at: str) -> Estimate:
    """The barrier of a module (mean baseline)."""
    summary = checked_summary(ANALYSIS, ANALYSIS.summarise(table, Evidence()))
    return estimate_of(summary, "error_barrier", module=module, split="test", **({"baseline": "mean"} | at))


@pytest.mark.parametrize(
    ("pairs", "judged", "basis"),
    [
        ([FINE], "stable", "examples"),
        ([OPEN], "undecided", "examples"),
        ([HIGH], "unstable", "examples"),
        ([(0.005, None, None)], "undecided", None),
        ([FINE, HIGH], "undecided", "examples"),
        ([HIGH, HIGH], "unstable", "examples"),
        ([(0.004, 0, 1), (0.005, 0, 1), (0.006, 0, 1)], "stable", "seeds"),
        ([(0.1, 0, 1), (0.1, 0, 1), (0.11, 0, 1)], "unstable", "seeds"),
        ([(0.1, 0, 1), (0.0, 0, 1), (0.2, 0, 1)], "undecided", "seeds"),
        ([(0.1, 0, 1)] * 3, "undecided", "examples"),
        ([HIGH] * 3, "unstable", "examples"),
    ],
)
def test_a_module_is_judged_over_seeds_or_over_examples(pairs: list[tuple], judged: str, basis: str | None) -> None:
    table = barriers(*({"stem": pair} for pair in pairs))
    found = of(table)
    assert (found.verdict, found.basis) == (judged, basis)
    words = {
        "seeds": "simultaneous 95 % intervals over 3 seeds",
        None: "without limits",
        "examples": "for this pair of" if len(pairs) == 1 else f"for the worst of {len(pairs)} pairs of networks",
    }
    assert words[basis] in ANALYSIS.summarise(table, Evidence()).verdict


def test_limits_over_seeds_hold_for_all_modules_at_once() -> None:
    heights = (0.04, 0.05, 0.065)
    table = barriers(*({TRUNK: (h, 0, 1), "a": (h, 0, 1), "b": (h / 2, 0, 1), "c": FINE} for h in heights))
    found, pairs = of(table, "a"), dict(zip(seed_pairs(3), heights, strict=True))
    expected, wide = leave_one_seed_out(pairs), leave_one_seed_out(pairs, 1 - 0.05 / 3)
    assert (found.value, found.high, found.simultaneous_high) == pytest.approx((*expected[::2], wide[2]))
    assert (found.low, found.simultaneous_low, found.flags) == (0, 0, ("clipped",))
    assert found.n_comparisons == 3
    trunk = of(table, TRUNK)
    assert (trunk.value, trunk.simultaneous_low, trunk.n_comparisons, trunk.verdict) == (found.value, None, None, None)
    few = of(table, "c")
    assert (few.basis, few.flags, few.n_comparisons) == ("examples", ("no_spread",), 6)
    assert ANALYSIS.summarise(table, Evidence()).verdict.endswith(
        "(simultaneous 95 % intervals over 3 seeds and limits over 400 test examples or groups, for the worst of 3 "
        "pairs of networks)."
    )


def test_both_directions_of_a_pair_are_averaged() -> None:
    table = barriers(*({"stem": (height, 0, 1)} for height in (0.04, 0.05, 0.065)))
    rest = pl.col("rest") == pl.col("a")
    table = table.with_columns(barrier=pl.when(rest).then(pl.col("barrier") * 3).otherwise(pl.col("barrier")))
    found = of(table)
    expected = leave_one_seed_out(dict(zip(seed_pairs(3), (0.08, 0.1, 0.13), strict=True)))
    assert (found.value, found.low, found.high) == pytest.approx((expected[0], max(0, expected[1]), expected[2]))


def test_every_module_has_its_number_and_what_goes_with_it() -> None:
    table = barriers({TRUNK: HIGH, "stem": FINE, "block": OPEN, "head": HIGH})
    summary = checked_summary(ANALYSIS, ANALYSIS.summarise(table, Evidence()))
    worst = of(table, "head")
    assert worst.name == "error barrier of head alone, P-T/P-T (test, mean baseline)"
    assert (worst.value, worst.low, worst.high, worst.basis, worst.n) == (0.05, 0.03, 0.07, "examples", 400)
    trunk = of(table, TRUNK)
    assert trunk.name == "error barrier of the trunk at once, P-T/P-T (test, mean baseline)"
    assert (trunk.value, trunk.basis, trunk.at["grouping"]) == (0.05, "examples", "at once")
    assert [item.at["module"] for item in estimates_of(summary, "error_barrier", baseline="mean")] == [
        TRUNK,
        "stem",
        "block",
        "head",
    ]
    for beside, sign in (("cka", -1), ("relative", 1)):
        tau = estimate_of(summary, "barrier_rank_agreement", beside=beside, pair="P-T/P-T")
        assert tau.value == pytest.approx(sign)
    assert tau.name == "Kendall τ over modules, error barrier and relative distance, P-T/P-T"


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
