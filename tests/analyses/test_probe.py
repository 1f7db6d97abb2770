"""Linear probes: against scikit-learn on the same features, chosen without test data, with honest intervals."""

import dataclasses

import numpy as np
import polars as pl
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from tests.estimates import estimate_of, estimates_of
from tests.studies import Diverging, Trained, bound, untrained
from transferscope.analyses.contract import Task, checked, checked_summary
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.probe.analysis import GAPS, Probe
from transferscope.context.context import Context
from transferscope.errors import MeasureError
from transferscope.methods.similarity.linear_probe import linear_probe
from transferscope.networks.features import FEATURES

PROBE = Probe(n_bootstrap=100, penalties=(1.0, 0.1, 0.01, 0.001), max_seeds=3)


@pytest.fixture(scope="module")
def table(trained: Trained) -> pl.DataFrame:
    units = PROBE.tasks(trained.study, trained.evidence)
    return pl.concat([checked(PROBE, PROBE.measure(task, trained.context).table) for task in units])


def test_every_probe_against_scikit_learn(table: pl.DataFrame, trained: Trained) -> None:
    context = trained.context
    members = {(m.variant, m.seed): m for task in PROBE.tasks(trained.study, trained.evidence) for m in task.members}
    networks = table.filter(pl.col("level") == "network")
    assert networks.height == 3 * 10
    labels = {split: context.labels(split).numpy() for split in ("train", "validation", "test")}
    for row in networks.iter_rows(named=True):
        spec = members[row["variant"], row["seed"]].spec
        features = {split: context.features(spec, split).tables[row["module"]].numpy() for split in labels}
        scaler = StandardScaler().fit(features["train"])
        inputs = {split: scaler.transform(values) for split, values in features.items()}
        accuracy = {}
        for penalty in PROBE.penalties:
            model = LogisticRegression(C=1 / (len(labels["train"]) * penalty), tol=1e-8, max_iter=20_000)
            model.fit(inputs["train"], labels["train"])
            accuracy[penalty] = [model.score(inputs[split], labels[split]) for split in ("validation", "test")]
        assert row["validation_metric"] == pytest.approx(max(values[0] for values in accuracy.values()))
        assert accuracy[row["penalty"]] == pytest.approx([row["validation_metric"], row["value"]])
        assert row["features"] == features["train"].shape[1]
        assert row["at_edge"] == (row["penalty"] in (1.0, 0.001))


def test_levels_and_intervals(table: pl.DataFrame) -> None:
    for (module,), rows in table.group_by("module"):
        assert module in ("stem", "block", FEATURES)
        values = {
            (row["variant"], row["seed"]): row["value"]
            for row in rows.filter(pl.col("level") == "network").iter_rows(named=True)
        }
        means = {row["variant"]: row for row in rows.filter(pl.col("level") == "variant").iter_rows(named=True)}
        # Equal values of all seeds have no interval.
        of_p_t = "seeds" if len({values["P_T", seed] for seed in range(3)}) > 1 else None
        assert (means["P"]["n"], means["P"]["basis"], means["P_T"]["n"], means["P_T"]["basis"]) == (1, None, 3, of_p_t)
        for better, worse in GAPS:
            seeds = [
                values[better, 0 if better == "P" else seed] - values[worse, 0 if worse == "P" else seed]
                for seed in range(3)
            ]
            of = rows.filter((pl.col("level") == "gap") & (pl.col("variant") == f"{better} − {worse}"))
            over = dict(zip(("seeds", "examples"), of.iter_rows(named=True), strict=True))
            if np.ptp(seeds) < 1e-12:
                assert (over["seeds"]["basis"], over["seeds"]["low"]) == (None, None)
                continue
            assert [row["basis"] for row in over.values()] == ["seeds", "examples"]
            half = 4.302653 * np.std(seeds, ddof=1) / np.sqrt(3)
            assert over["seeds"]["value"] == pytest.approx(np.mean(seeds))
            assert over["seeds"]["high"] - over["seeds"]["value"] == pytest.approx(half, abs=1e-6)
            assert over["seeds"]["simultaneous_low"] <= over["seeds"]["low"]
            assert over["examples"]["value"] == pytest.approx(np.mean(seeds))
            assert over["examples"]["simultaneous_low"] is None
            assert over["seeds"]["note"] == ("P is one network" if "P" in (better, worse) else None)


def test_one_unit_a_part_and_images_counted_once(trained: Trained) -> None:
    units = list(PROBE.tasks(trained.study, trained.evidence))
    assert [task.settings["module"] for task in units] == ["stem", "block", FEATURES]
    assert [PROBE.forward_passes(task, trained.study) for task in units] == [30_000, 0, 0]
    assert {m.label for m in units[0].members} == {
        "P[0]", *(f"{v}[{s}]" for v in ("RI", "RI-T", "P-T") for s in range(3))
    }  # fmt: skip


def test_features_are_computed_once(trained: Trained, monkeypatch: pytest.MonkeyPatch, table: pl.DataFrame) -> None:
    def never(*args: object, **kwargs: object) -> None:
        raise AssertionError("the features lie in the store")

    monkeypatch.setattr(Context, "network", never)
    task = next(iter(PROBE.tasks(trained.study, trained.evidence)))
    again = PROBE.measure(task, trained.context).table
    assert checked(PROBE, again).equals(table.filter(pl.col("module") == "stem"))


def test_a_diverged_network_is_left_out(trained: Trained) -> None:
    task = next(iter(PROBE.tasks(trained.study, trained.evidence)))
    lost = next(member for member in task.members if member.label == "RI-T[1]")
    rows = checked(PROBE, PROBE.measure(task, Diverging(trained.context, lost)).table)
    assert rows.filter((pl.col("variant") == "RI_T") & (pl.col("seed") == 1)).is_empty()
    gap = rows.filter((pl.col("variant") == "P_T − RI_T") & (pl.col("basis") != "examples"))
    assert gap["n"].to_list() == [2]
    assert gap["basis"].to_list() == ["range"]


def test_the_summary_names_the_largest_gain_and_what_it_rests_on(table: pl.DataFrame) -> None:
    summary = checked_summary(PROBE, PROBE.summarise(table, Evidence()))
    gaps = table.filter((pl.col("variant") == "P − RI") & (pl.col("basis") == "seeds")).sort("value")
    top = gaps.row(-1, named=True)
    largest = estimate_of(summary, "largest_gap", variant="P", rival="RI")
    assert (largest.at["module"], largest.value, largest.n_comparisons) == (top["module"], top["value"], 3)
    assert largest.verdict == ("larger" if top["simultaneous_low"] > 0 else "undecided")
    assert [item.verdict for item in estimates_of(summary, "largest_gap")] == [largest.verdict, None, None]
    assert f"{100 * top['value']:+.1f} points" in summary.verdict
    assert "simultaneous for all parts" in summary.verdict
    assert ("Undecided" in summary.verdict) == (top["simultaneous_low"] <= 0)
    deepest = estimate_of(summary, "metric", variant="P_T")
    assert (deepest.at["module"], deepest.n, deepest.unit) == (FEATURES, 3, "metric")
    none = PROBE.summarise(table.filter(pl.col("level") != "gap"), Evidence())
    assert none.verdict == "Undecided: no part of both P and RI could be probed."


@pytest.mark.parametrize(("n", "flag", "needed"), [(1, "too_few_seeds", "seeds."), (3, "no_spread", "that differ.")])
def test_without_an_interval_over_seeds_the_examples_speak(table, n, flag, needed) -> None:
    limits = ("low", "high", "simultaneous_low", "simultaneous_high")
    over_seeds = (pl.col("level") == "gap") & (pl.col("basis") == "seeds")
    rows = table.with_columns(
        *(pl.when(over_seeds).then(None).otherwise(name).alias(name) for name in (*limits, "basis")),
        pl.when(over_seeds).then(n).otherwise("n").alias("n"),
    )
    summary = checked_summary(PROBE, PROBE.summarise(rows, Evidence()))
    largest = estimate_of(summary, "largest_gap", variant="P", rival="RI")
    assert (largest.low, largest.flags, largest.verdict) == (None, (flag,), "undecided")
    these = estimate_of(summary, "largest_gap_of_these_networks", variant="P", rival="RI")
    assert (these.basis, these.at["module"]) == ("examples", largest.at["module"])
    assert summary.verdict.startswith("For these networks P − RI is largest at")
    assert summary.verdict.endswith(needed)
    single = rows.filter((pl.col("level") != "gap") | (pl.col("basis").ne_missing("examples")))
    assert PROBE.summarise(single, Evidence()).verdict.startswith("Undecided: P − RI is largest at")


def test_what_cannot_be_probed_has_a_reason(trained: Trained) -> None:
    task = next(iter(PROBE.tasks(trained.study, trained.evidence)))

    class Unusable(Context):
        def features(self, *args, **kwargs):
            found = super().features(*args, **kwargs)
            return dataclasses.replace(found, tables={}, unusable={"stem": "its output has shape (7,)"})

    context = Unusable(trained.context.store, trained.study)
    table = checked(PROBE, PROBE.measure(task, context).table)
    assert set(table["level"]) == {"network"}
    assert table["value"].null_count() == table.height
    summary = PROBE.summarise(table, Evidence())
    assert summary.verdict == "Undecided: no part of both P and RI could be probed."
    assert "not probed: stem (its output has shape (7,))" in summary.notes

    class Infinite(Context):
        def features(self, *args, **kwargs):
            found = super().features(*args, **kwargs)
            tables = {name: torch.full_like(values, torch.inf) for name, values in found.tables.items()}
            return dataclasses.replace(found, tables=tables)

    table = checked(PROBE, PROBE.measure(task, Infinite(trained.context.store, trained.study)).table)
    assert set(table["note"]) == {"features are not finite"}


def test_several_labels_are_probed_by_auc(tmp_path) -> None:
    from tests.studies import SIZE, arrays

    data = arrays(tmp_path / "multi", 150, 3, multi=True)
    context = bound(tmp_path, target={"data": data, "image_size": SIZE}, seeds=[0])
    members = untrained(context.study, "P 0", "RI 0")
    task = Task(members=members, settings={"module": "stem", "position": 0, "places": 1})
    table = checked(PROBE, PROBE.measure(task, _pretrained(context)).table)
    assert set(table["metric"]) == {"auc"}
    assert table.filter(pl.col("level") == "network")["value"].is_between(0.3, 1).all()


def _pretrained(context: Context) -> Context:
    """P without a training: its start is that of RI of another seed."""

    class Random(Context):
        def start(self, spec):
            return super().start(spec if spec.start.kind == "random" else self.study.untrained("RI", 99))

    return Random(context.store, context.study)


def test_the_penalty_is_chosen_on_validation_data() -> None:
    generator = torch.Generator().manual_seed(0)
    x, labels = torch.randn(60, 20, generator=generator), torch.arange(60) % 3
    y = x + 2 * torch.eye(3, 20)[labels]
    held = torch.randn(90, 20, generator=generator) + 2 * torch.eye(3, 20)[torch.arange(90) % 3]
    probe = linear_probe((y, labels), (held, torch.arange(90) % 3), 3, [10.0, 0.1, 1e-6])
    scores = {}
    for penalty in (10.0, 0.1, 1e-6):
        one = linear_probe((y, labels), (held, torch.arange(90) % 3), 3, [penalty])
        assert not one.at_edge
        scores[penalty] = (one.validation_metric, -one.validation_loss)
    assert probe.penalty == max(scores, key=lambda penalty: scores[penalty])
    assert (probe.validation_metric, -probe.validation_loss) == pytest.approx(scores[probe.penalty], abs=1e-3)
    with pytest.raises(MeasureError, match="there is no penalty to choose"):
        linear_probe((y, labels), (y, labels), 3, [])


def test_equal_grids_are_one_analysis() -> None:
    assert Probe(penalties=(0.1, 1.0, 0.1)).key == Probe(penalties=(1.0, 0.1)).key != Probe(penalties=(1.0,)).key
