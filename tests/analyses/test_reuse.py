"""The reuse table: every number is that of the table it comes from."""

import csv
import dataclasses
import io
import os

import polars as pl
import pytest

from tests.studies import Trained
from transferscope.analyses.contract import checked_summary
from transferscope.analyses.distance.analysis import DistanceAnalysis
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.finished import finished_table
from transferscope.analyses.reuse.analysis import MEASUREMENTS, ReuseAnalysis
from transferscope.analyses.similarity.analysis import Similarity
from transferscope.context.context import Context
from transferscope.errors import StoreError
from transferscope.networks.features import FEATURES
from transferscope.running.results import Results
from transferscope.running.run import run_study
from transferscope.study.registry import parse_analysis

PROBE = {"probe": {"n_bootstrap": 100, "penalties": [1.0, 0.1]}}


@pytest.fixture(scope="module")
def joined(trained: Trained) -> Results:
    """The tiny study with probes, transplants and the reuse table."""
    asked = (*trained.study.settings.analyses, PROBE, {"transplant": {"granularity": "block"}}, "reuse")
    settings = trained.study.settings.model_copy(update={"analyses": tuple(map(parse_analysis, asked))})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)  # nothing here outlives the session
        return run_study(settings, trained.context.store.root, quiet=True)


def table(results: Results, name: str) -> pl.DataFrame:
    found = next(item.table for item in results.analyses if item.analysis.name == name)
    assert found is not None
    return found


def test_the_numbers_are_those_of_the_other_tables(joined: Results) -> None:
    rows = {(row["measurement"], row["module"]): row for row in table(joined, "reuse").iter_rows(named=True)}
    assert {measurement for measurement, _ in rows} == set(MEASUREMENTS)
    assert {module for _, module in rows} == {"stem", "block", FEATURES}
    similarity = table(joined, "similarity").filter(pl.col("module_a") == pl.col("module_b"))
    for module in ("stem", "block"):
        like = similarity.filter((pl.col("module_a") == module) & (pl.col("variant_a") == "P"))
        for variant, column in (("P_T", "value"), ("RI_T", "control")):
            values = like.filter(pl.col("variant_b") == variant)["cka"]
            assert rows["similarity", module][column] == pytest.approx(values.mean())
        assert rows["similarity", module]["n"] == 2  # the study's own similarity looks at two seeds
        assert rows["similarity", module]["basis"] == "range"
        distance = table(joined, "distance").filter(pl.col("part") == module)
        for pair, column in (("P/P-T", "value"), ("RI/RI-T", "control")):
            values = distance.filter(pl.col("pair") == pair)["relative"]
            assert rows["distance", module][column] == pytest.approx(values.mean())
        assert rows["distance", module]["simultaneous_low"] < rows["distance", module]["low"]
        steps = table(joined, "transplant").filter(
            (pl.col("level") == "step") & (pl.col("added") == module) & (pl.col("split") == "test")
        )
        for side in ("first", "last"):
            of = steps.filter((pl.col("side") == side) & (pl.col("quantity") == "metric"))
            assert rows[f"transplant_{side}", module]["value"] == of["value"].item()
    for module in ("stem", "block", FEATURES):
        gaps = table(joined, "probe").filter((pl.col("module") == module) & pl.col("basis").ne_missing("examples"))
        for measurement, name in (("probe_gain", "P − RI"), ("probe_kept", "P_T − RI_T")):
            row = gaps.filter((pl.col("level") == "gap") & (pl.col("variant") == name)).row(0, named=True)
            for column in ("value", "low", "high", "simultaneous_low", "n"):
                assert rows[measurement, module][column] == row[column]


def test_the_file_sets_them_side_by_side(joined: Results) -> None:
    (result,) = (item for item in joined.analyses if item.analysis.name == "reuse")
    lines = list(csv.DictReader(io.StringIO(result.files["side-by-side.csv"].decode())))
    assert [line["module"] for line in lines] == ["stem", "block", FEATURES]
    assert list(lines[0])[:4] == ["module", "similarity", "low_similarity", "high_similarity"]
    for row in table(joined, "reuse").iter_rows(named=True):
        line = next(item for item in lines if item["module"] == row["module"])
        assert float(line[row["measurement"]]) == row["value"]
    assert lines[-1]["similarity"] == ""


def test_the_summary_says_what_it_rests_on(joined: Results) -> None:
    (result,) = (item for item in joined.analyses if item.analysis.name == "reuse")
    assert result.summary is not None
    assert "most like P: stem" in result.summary.verdict
    assert "a description of these networks" in result.summary.verdict
    assert "simultaneous 95 % interval over 4 seeds" in result.summary.verdict
    assert checked_summary(result.analysis, result.summary) == result.summary
    found = {(item.quantity, *item.at.values()): item for item in result.summary.estimates}
    rows = {(row["measurement"], row["module"]): row for row in table(joined, "reuse").iter_rows(named=True)}
    for (quantity, measurement, module), item in found.items():
        if quantity == "rank_agreement":
            assert item.note
            continue
        of = [row for row in rows.values() if row["measurement"] == measurement and row["value"] is not None]
        top = max(of, key=lambda row: row["value"])
        assert top["module"] == module
        if quantity == "control":
            assert item.value == top["control"]
            continue
        for name in ("value", "low", "high", "simultaneous_low", "simultaneous_high", "basis", "n"):
            assert getattr(item, name) == top[name]
        assert item.n_comparisons == len(of)
        assert item.name == f"{MEASUREMENTS[measurement].split(';')[0]}, at {module}"
    assert {measurement for quantity, measurement, _ in found if quantity == "largest"} == set(MEASUREMENTS)
    assert {measurement for quantity, measurement, _ in found if quantity == "control"} == {"similarity", "distance"}
    assert sum(quantity == "rank_agreement" for quantity, *_ in found) == 3
    name = "rank agreement over modules (Kendall's τ), similarity and probe gain"
    assert found["rank_agreement", "similarity", "probe_gain"].name == name
    assert not any("transplants of this granularity" in note for note in result.summary.notes)


def test_a_gain_that_may_be_nothing_is_undecided(joined: Results) -> None:
    rows = table(joined, "reuse")
    unsure = rows.with_columns(
        pl.when(pl.col("measurement") == "probe_gain").then(-0.1).otherwise(pl.col("simultaneous_low"))
        .alias("simultaneous_low")
    )  # fmt: skip
    sure = rows.with_columns(
        pl.when(pl.col("measurement") == "probe_gain").then(0.1).otherwise(pl.col("simultaneous_low"))
        .alias("simultaneous_low")
    )  # fmt: skip
    assert "offering more than random features, undecided:" in ReuseAnalysis().summarise(unsure, Evidence()).verdict
    assert "offering more than random features: " in ReuseAnalysis().summarise(sure, Evidence()).verdict
    nothing = rows.with_columns(pl.lit(None, pl.Float64).alias("value"))
    assert ReuseAnalysis().summarise(nothing, Evidence()).verdict == "Undecided: no module has a value."
    few = rows.filter(~pl.col("measurement").str.starts_with("transplant"))
    assert any("name `transplant`" in note for note in ReuseAnalysis().summarise(few, Evidence()).notes)


def test_it_reads_what_the_study_asks_for_where_it_fits(joined: Results, trained: Trained) -> None:
    study = trained.study
    asked = {analysis.name: analysis for analysis in study.settings.analyses}
    needs = list(ReuseAnalysis().needs(study))
    assert asked["similarity"] in needs
    assert DistanceAnalysis() in needs
    stages = list(ReuseAnalysis(granularity="stage").needs(study))
    assert Similarity(granularity="stage") in stages
    assert not any(need.name == "transplant" for need in stages)


def test_it_waits_for_its_needs(plain: Context) -> None:
    with pytest.raises(StoreError, match="a unit of 'learning_rate' is not measured yet"):
        finished_table(Similarity(), plain.study, plain.store)


def test_a_finished_table_is_read_as_the_run_made_it(joined: Results, trained: Trained) -> None:
    study = dataclasses.replace(trained.study, settings=joined.study)
    context = Context(trained.context.store, study)
    tables = [item for item in joined.analyses if item.table is not None]
    assert len(tables) >= 10
    for item in tables:
        assert item.table is not None
        assert finished_table(item.analysis, context.study, context.store).equals(item.table)
