"""Label budgets and long tails from end to end, on a tiny study."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.studies import RECIPE, study
from transferscope.running.results import Results
from transferscope.running.run import run_study


@pytest.fixture(scope="module")
def results(tmp_path_factory: Any) -> Results:
    folder: Path = tmp_path_factory.mktemp("labels")
    asked = study(
        folder,
        training={"recipe": {**RECIPE, "epochs": 2}, "learning_rates": [0.02, 0.1], "extensions": 0},
        seeds=[0],
        analyses=[{"label_budget": {"fractions": [0.3], "rates": "search"}}, {"imbalance": {"ratios": [1, 5]}}],
    )
    return run_study(asked, folder / "store", quiet=True)


def table_of(results: Results, name: str) -> pl.DataFrame:
    item = next(each for each in results.analyses if each.analysis.name == name)
    assert item.failed is None
    assert item.summary is not None
    assert item.summary.verdict.endswith(".")
    assert item.table is not None
    return item.table


def test_budgets_are_searched_and_trained_for_as_many_updates(results: Results) -> None:
    table = table_of(results, "label_budget")
    tuning = table.filter(pl.col("level") == "tuning")
    assert tuning.height == 4
    assert set(tuning["split"]) == {"validation"}
    assert tuning["validation_error"].null_count() == 0
    runs = table.filter((pl.col("level") == "network") & (pl.col("split") == "test"))
    sizes = runs.group_by("fraction").agg(pl.col("images").first(), pl.col("updates").mean()).sort("fraction")
    small, whole = sizes.iter_rows(named=True)
    assert small["images"] == pytest.approx(0.3 * whole["images"], abs=2)
    assert small["updates"] == pytest.approx(whole["updates"], rel=0.2)
    assert set(runs["variant"]) == {"P_T", "RI_T"}
    assert (table["labels"] - table["images"]).n_unique() == 1


def test_recall_is_measured_of_every_class_at_every_ratio(results: Results) -> None:
    table = table_of(results, "imbalance").filter(pl.col("split") == "test")
    classes = table.filter(pl.col("level") == "class")
    assert classes.height == 2 * 2 * 3
    assert table.filter(pl.col("level") == "network")["images"].n_unique() == 1, "equal totals"
    assert sorted(classes.filter(pl.col("ratio") == 5)["images"].unique()) == [8, 17, 38]
    assert classes["value"].null_count() == 0
