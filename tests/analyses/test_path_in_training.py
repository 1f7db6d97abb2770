"""Paths between checkpoints of a study: the rows, the shared work, and from when on runs are connected."""

from collections import Counter
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from tests.estimates import estimate_of
from tests.reference.lines_reference import first_stable
from tests.reference.pairs_reference import leave_one_seed_out
from tests.studies import Diverging, Trained, study
from tests.tables import barriers as barriers_of
from tests.tables import example, seed_pairs
from transferscope.analyses.contract import Task, checked, checked_summary
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.path_in_training.analysis import PathInTraining
from transferscope.analyses.path_in_training.summary import Connected, connected_from
from transferscope.analyses.tuned import tuned_member
from transferscope.context.context import Context
from transferscope.measures.barriers import barrier
from transferscope.methods.evaluation import Evaluation
from transferscope.methods.landscape.linear_path import linear_path

ANALYSIS = PathInTraining(
    points=3, batch_norm_images=40, train_images=30, test_images=None, epochs=(2,), variants=("P_T",), max_seeds=3
)


@pytest.fixture(scope="module")
def units(trained: Trained):
    return list(ANALYSIS.tasks(trained.study, trained.evidence.for_decision()))


@pytest.fixture(scope="module")
def table(trained: Trained, units) -> pl.DataFrame:
    return pl.concat([checked(ANALYSIS, ANALYSIS.measure(task, trained.context).table) for task in units])


def test_one_unit_of_each_variant_shares_its_checkpoints(trained: Trained, units) -> None:
    assert [[member.label for member in task.members] for task in units] == [["P-T[0]", "P-T[1]", "P-T[2]"]]
    assert all(task.settings == {"epochs": [0, 2, 4]} for task in units)
    evidence = trained.evidence.for_decision()
    across = ANALYSIS.model_copy(update={"lines": ("across",)})
    both = list(PathInTraining(max_epochs=3).tasks(trained.study, evidence))
    assert [task.settings["epochs"] for task in both] == [[0, 2, 4]] * 2
    assert [len(task.members) for task in both] == [4, 4]
    one, two, three = (
        across.forward_passes(Task(members=units[0].members[:count], settings=units[0].settings), trained.study)
        for count in (1, 2, 3)
    )
    assert three - two == 2 * (two - one) - one, "three pairs of three runs"


def test_every_line_is_the_one_between_its_checkpoints(trained: Trained, units, table: pl.DataFrame) -> None:
    context = trained.context
    specs = {member.label: member.spec for task in units for member in task.members}
    data = {"test": context.batches("test")}
    groups = np.asarray(context.images().groups)[context.indices("test")]
    keys = ["line", "a", "epoch_a", "b", "epoch_b", "epoch"]
    rows = table.filter(pl.col("line") != "checkpoint", split="test")
    joined = rows.select(keys).unique(maintain_order=True).rows()
    pairs = ((0, 1), (0, 2), (1, 2))
    wanted = {("across", f"P-T[{a}]", t, f"P-T[{b}]", t, t) for a, b in pairs for t in (0, 2, 4)}
    for run in specs:
        wanted |= {("end", run, t, run, 4, t) for t in (0, 2)} | {("start", run, 0, run, t, t) for t in (2, 4)}
    assert set(joined) == wanted
    for line, a, epoch_a, b, epoch_b, epoch in joined:
        if (line, a) in (("end", "P-T[1]"), ("start", "P-T[1]")):
            continue  # the same as of P-T[0]
        path = linear_path(
            context.network(specs[a], epoch_a),
            context.network(specs[b], epoch_b),
            data,
            evaluation=Evaluation(recompute_on=context.mixed_batches("train", 40), device="cpu"),
            alphas=(0.0, 0.5, 1.0),
        )
        of = rows.filter(line=line, a=a, b=b, epoch=epoch)
        points = of.filter(level="point")
        assert points["loss"].to_list() == pytest.approx([point.losses.mean() for point in path.points["test"]])
        assert points["l2"].to_list() == pytest.approx([alpha * path.distance for alpha in path.alphas])
        family = 3 if line == "across" else 2
        for row in of.filter(level="barrier").iter_rows(named=True):
            values = path.values("test", row["quantity"])
            height = getattr(barrier(path.alphas, values, clusters=groups), row["baseline"])
            wide = barrier(path.alphas, values, clusters=groups, confidence=1 - 0.05 / family)
            assert row["barrier"] == pytest.approx(height.value, abs=1e-12)
            assert (row["low"], row["high"]) == pytest.approx((height.interval.low, height.interval.high))
            assert row["simultaneous_high"] == pytest.approx(getattr(wide, row["baseline"]).interval.high)
            assert row["n_comparisons"] == family
            assert row["l2"] == pytest.approx(path.distance)


def test_checkpoints_are_listed_with_their_own_statistics(trained: Trained, table: pl.DataFrame) -> None:
    own = table.filter(level="own", split="test")
    assert own.select("a", "epoch").rows() == [(f"P-T[{seed}]", epoch) for seed in (0, 1, 2) for epoch in (0, 2, 4)]
    assert own["batch_norm"].unique().to_list() == ["own statistics"]
    spec = tuned_member(trained.study, "P_T", 1, trained.evidence.for_decision()).spec
    outputs = trained.context.outputs(spec, "test", 2)
    wrong = float((outputs.logits.argmax(1) != outputs.labels).double().mean())
    assert own.filter(a="P-T[1]", epoch=2)["error"].to_list() == [wrong]


def test_each_checkpoint_is_read_once(trained: Trained, units, monkeypatch: pytest.MonkeyPatch) -> None:
    read: Counter[tuple[str, object]] = Counter()
    state = Context.state

    def counted(self: Context, spec, epoch="last"):
        read[spec.key, epoch] += 1
        return state(self, spec, epoch)

    monkeypatch.setattr(Context, "state", counted)
    few = ANALYSIS.model_copy(update={"train_images": 20, "test_images": 20, "epochs": None})
    (task, *_) = few.tasks(trained.study, trained.evidence.for_decision())
    few.measure(task, trained.context)
    runs = {member.spec.key for member in task.members}
    assert {key: count for key, count in read.items() if key[0] in runs} == {
        (run, epoch): 1 for run in runs for epoch in (1, 2, 3, 4)
    }  # epoch 0 is made anew from P, which is read once for each run
    assert {count for key, count in read.items() if key[0] not in runs} == {3}


def test_the_line_from_start_to_end_is_walked_once(trained: Trained, units, table: pl.DataFrame) -> None:
    one = table.filter(a="P-T[2]", level="point")
    ends = one.filter(line="end", epoch=0)
    starts = one.filter(line="start", epoch=4)
    assert ends["loss"].to_list() == starts["loss"].to_list()
    alone = ANALYSIS.model_copy(update={"lines": ("start",)})
    last = Task(members=units[0].members[2:], settings=units[0].settings)
    found = alone.measure(last, trained.context).table
    again = found.filter(line="start", epoch=4, level="point")
    assert again["loss"].to_list() == starts["loss"].to_list()
    assert alone.summarise(found, Evidence()).verdict.startswith("Undecided: no line between two runs or to the end")
    (item,) = checked_summary(alone, alone.summarise(found, Evidence())).estimates
    assert (item.quantity, item.basis, item.unit, item.verdict) == ("loss_barrier", "examples", "nat", None)
    assert item.name == "loss barrier of P/P-T at epoch 4 (test, linear baseline)"


def test_the_others_of_a_diverged_run_are_measured(trained: Trained, units) -> None:
    found = ANALYSIS.measure(units[0], Diverging(trained.context, units[0].members[0])).table
    across = found.filter(line="across")
    assert set(across.select("a", "b").rows()) == {("P-T[1]", "P-T[2]")}
    assert set(found["a"]) == set(found["b"]) == {"P-T[1]", "P-T[2]"}
    assert set(found["line"]) == {"across", "end", "start", "checkpoint"}
    lone = ANALYSIS.measure(units[0], Diverging(trained.context, *units[0].members[:2])).table
    assert set(lone["line"]) == {"end", "start", "checkpoint"}
    assert ANALYSIS.measure(units[0], Diverging(trained.context, *units[0].members)).table.is_empty()


def test_a_study_that_cannot_have_it_is_told_why(plain: Context, tmp_path) -> None:
    settings = plain.study.settings
    recipe = settings.training.recipe.model_copy(update={"keep": "none"})
    training = settings.training.model_copy(update={"recipe": recipe})
    keeps_none = replace(plain.study, settings=settings.model_copy(update={"training": training}))
    assert "set training.recipe.keep to all" in (PathInTraining().skip_reason(keeps_none) or "")
    assert PathInTraining().skip_reason(plain.study) is None
    one = replace(plain.study, settings=settings.model_copy(update={"seeds": (0,)}))
    assert PathInTraining().skip_reason(one) is None
    assert PathInTraining(lines=("across",)).skip_reason(one) == (
        "a line between two runs needs at least two seeds; lines: [end, start] do with one"
    )
    assert PathInTraining(lines=("across",), max_seeds=1).skip_reason(plain.study) is not None
    with pytest.raises(ValueError, match=r"does not keep 9 \(it has 0, 1, 2, 3, 4\)"):
        study(tmp_path, analyses=[{"path_in_training": {"epochs": [9]}}])


# -- from when on -----------------------------------------------------------------------------------------------


def judged(*limits: tuple[float | None, float | None]) -> Connected:
    """Epochs 0, 1, ... with (low, high) of the barrier."""
    return connected_from(
        [
            {
                "epoch": epoch,
                "barrier": low or 0.0,
                "low": low,
                "high": high,
                "simultaneous_low": low,
                "simultaneous_high": high,
                "n": 100,
            }
            for epoch, (low, high) in enumerate(limits)
        ]
    )


BELOW, ABOVE, OPEN = (0.0, 0.01), (0.05, 0.08), (0.01, 0.03)


@pytest.mark.parametrize(
    ("limits", "by", "after", "words"),
    [
        ([BELOW, BELOW, BELOW], 0, None, "from epoch 0"),
        ([ABOVE, BELOW, BELOW], 1, 0, "from epoch 1"),
        ([ABOVE, BELOW, ABOVE, BELOW], 3, 2, "from epoch 3"),
        ([ABOVE, OPEN, BELOW], 2, 0, "undecided (after epoch 0, by epoch 2)"),
        ([OPEN, BELOW, BELOW], 1, None, "undecided (by epoch 1)"),
        ([ABOVE, OPEN, OPEN], None, 0, "undecided (after epoch 0)"),
        ([OPEN, OPEN], None, None, "undecided"),
        ([BELOW, OPEN], None, None, "undecided"),
        ([BELOW, ABOVE], None, 1, "still apart at epoch 1"),
        ([BELOW, (None, None)], None, None, "undecided"),
    ],
)
def test_connected_is_said_where_it_stays(limits, by, after, words) -> None:
    found = judged(*limits)
    assert (found.by, found.after, found.words) == (by, after, words)
    highs = [1.0 if high is None else high for _, high in limits]
    assert found.by == first_stable(highs)


def test_which_epoch_is_the_last_apart_is_looked_for_among_all(approved) -> None:
    rows = [
        {
            "epoch": 3,
            "barrier": 0.0,
            "low": 0.0,
            "high": 0.01,
            "simultaneous_low": 0.0,
            "simultaneous_high": 0.03,
            "n": 9,
        },
        {
            "epoch": 1,
            "barrier": 0.03,
            "low": 0.021,
            "high": 0.04,
            "simultaneous_low": 0.01,
            "simultaneous_high": 0.05,
            "n": 9,
        },
    ]
    found = connected_from(rows)
    assert found == Connected(by=3, after=None, epochs=(1, 3))
    approved(found.words)


def barriers(line: str, *runs: list[tuple], policy: str = "recompute") -> pl.DataFrame:
    """Test rows: for each run, or pair of runs, the error's barrier and limits at epochs 0, 1, ..."""
    pairs = seed_pairs(len(runs)) if line == "across" else [(k, k) for k in range(len(runs))]
    rows = [
        row
        for (one, two), limits in zip(pairs, runs, strict=True)
        for epoch, (low, high) in enumerate(limits)
        for row in barriers_of(
            (low, low, high), seed_a=one, seed_b=two, epoch_a=epoch, epoch_b=epoch, epoch=epoch,
        )
    ]  # fmt: skip
    pair = "P-T/P-T" if line == "across" else "P-T to its end"
    same = {"line": line, "variant": "P_T", "variant_a": "P_T", "variant_b": "P_T", "pair": pair, "n_comparisons": 3}
    return example(ANALYSIS, rows, batch_norm=policy, barrier_se=0.01, **same)


def test_the_verdict_names_each_run_and_what_it_rests_on(approved) -> None:
    summary = ANALYSIS.summarise(barriers("end", [ABOVE, BELOW, BELOW], [ABOVE, OPEN, BELOW]), Evidence())
    approved(summary.verdict)
    first = estimate_of(summary, "connected_from", pair="P-T to its end", line="end")
    approved(first.name)
    assert (first.value, first.n, first.flags) == (None, 2, ("incomplete",))
    across = ANALYSIS.summarise(barriers("across", [BELOW, BELOW]), Evidence())
    approved(across.verdict)
    one = estimate_of(across, "error_barrier", epoch=0)
    assert (one.basis, one.n, one.verdict, one.flags) == ("examples", 400, "stable", ("too_few_seeds",))


@pytest.mark.parametrize("line", ["across", "end"])
def test_three_decided_runs_have_an_interval_over_seeds(line: str, approved) -> None:
    high = (0.06, 0.09)
    runs = [[ABOVE, BELOW, BELOW], [high, ABOVE, BELOW], [ABOVE, high, BELOW]]
    pairs = seed_pairs(3) if line == "across" else [(k, k) for k in range(3)]
    summary = checked_summary(ANALYSIS, ANALYSIS.summarise(barriers(line, *runs), Evidence()))
    first = estimate_of(summary, "connected_from")
    expected = leave_one_seed_out(dict(zip(pairs, (1, 2, 2), strict=True)))
    assert (first.value, first.low, first.high) == pytest.approx((expected[0], max(0, expected[1]), expected[2]))
    assert (first.basis, first.n) == ("seeds", 3)
    approved(summary.verdict)
    start = estimate_of(summary, "error_barrier", epoch=0, line=line, baseline="mean")
    approved(start.name)
    expected = leave_one_seed_out(dict(zip(pairs, (0.05, 0.06, 0.05), strict=True)))
    assert (start.value, start.low, start.high) == pytest.approx(expected)


def test_equal_epochs_of_all_runs_have_no_interval_and_are_listed(approved) -> None:
    summary = ANALYSIS.summarise(barriers("end", *[[BELOW, BELOW]] * 3), Evidence())
    first = estimate_of(summary, "connected_from")
    assert (first.value, first.low, first.flags) == (0, None, ("no_spread",))
    approved(summary.verdict)


def test_a_run_on_its_way_down_has_no_hill(approved) -> None:
    table = barriers("end", [ABOVE, ABOVE]).with_columns(
        pl.when(pl.col("baseline") == "linear").then(0.0).otherwise(pl.col(name)).alias(name)
        for name in ("barrier", "low", "high", "simultaneous_low", "simultaneous_high")
    )
    summary = ANALYSIS.summarise(table, Evidence())
    approved(summary.verdict)
    flat = estimate_of(summary, "no_hill_from", pair="P-T to its end", baseline="linear")
    approved(flat.name)
    assert flat.value == 0
    bare = table.with_columns(
        pl.lit(None, pl.Float64).alias(name) for name in ("low", "high", "simultaneous_low", "simultaneous_high")
    )
    approved(ANALYSIS.summarise(bare, Evidence()).verdict)


def test_a_barrier_that_is_not_finite_is_no_mean_of_the_others() -> None:
    table = barriers("end", [ABOVE, BELOW], [ABOVE, BELOW])
    table = table.with_columns(
        line=pl.lit("start"),
        pair=pl.lit("P/P-T"),
        barrier=pl.when((pl.col("a") == "P-T[0]") & (pl.col("epoch") == 1)).then(None).otherwise(pl.col("barrier")),
    )
    (lost,) = ANALYSIS.summarise(table, Evidence()).estimates
    assert (lost.value, lost.n, lost.flags) == (None, 2, ("incomplete",))


def test_notes_name_the_epochs_and_the_policy(approved) -> None:
    notes = ANALYSIS.summarise(barriers("end", [ABOVE, BELOW]), Evidence()).notes
    assert notes[0].startswith("epochs looked at: 0, 1; a schedule")
    approved(*notes)


def test_the_whole_table_has_a_verdict(table: pl.DataFrame) -> None:
    summary = ANALYSIS.summarise(table, Evidence())
    assert "two P-T connected to each other: " in summary.verdict
    assert "P-T connected to its own end" in summary.verdict
    assert len({item.name for item in checked_summary(ANALYSIS, summary).estimates}) == len(summary.estimates)
    for item in summary.estimates:
        assert item.value is not None or item.note
