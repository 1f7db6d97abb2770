import polars as pl
import pytest

from tests.plots.test_figures import drawn, hovers, parts
from tests.report import synthetic
from tests.report.synthetic_mistakes import in_training_table, mistakes_table
from transferscope.analyses.mistakes.plot_groups import classes_figure, strata_figure
from transferscope.analyses.mistakes_in_training import plot as mistakes_in_training
from transferscope.errors import AnalysisError


def test_strata_show_each_pair_and_the_mean_of_each_kind() -> None:
    table = mistakes_table()
    figure = strata_figure(table)
    assert figure is not None
    assert len(figure.panels) == 2
    told = hovers(figure)
    rows = table.filter((pl.col("level") == "difficulty") & (pl.col("item") == "all wrong"))
    one = rows.filter((pl.col("a") == "P-T[0]") & (pl.col("b") == "P-T[1]")).row(0, named=True)
    assert f"• P-T[0] · P-T[1], all wrong: κ {round(one['kappa'], 3)} on 36 judgements" in told
    mean = round(float(rows.filter(pl.col("pair") == "P-T/P-T")["kappa"].mean()), 3)  # type: ignore[arg-type]  # floats
    assert f"• P-T/P-T, all wrong: mean κ {mean} over 3 pairs" in told


def test_strata_without_a_network_outside_draw_nothing() -> None:
    assert strata_figure(mistakes_table((0,))) is None
    assert [figure.name for figure in drawn("mistakes", mistakes_table((0,)))] == ["overlap", "classes"]


def test_classes_are_coloured_by_the_adjusted_p_and_ordered_by_the_difference() -> None:
    figure = classes_figure(mistakes_table())
    assert figure is not None
    kinds = {
        row["item"]: row["kind"]
        for panel in figure.panels for rows in panel.to_dict()["datasets"].values() for row in rows if "kind" in row
    }  # fmt: skip
    assert kinds == {"functional": "P-T recalls more", "defective": "undecided"}
    assert "P-T recalls more: 1" in figure.description
    assert any("functional: P-T 90.0 %, RI-T 82.0 % of 377 images" in text for text in hovers(figure))
    harm = mistakes_table().with_columns(
        *(pl.when(pl.col("level") == "recall").then(-pl.col(name)).otherwise(pl.col(name)).alias(name)
          for name in ("difference", "low", "high"))
    )  # fmt: skip
    figure = classes_figure(harm)
    assert figure is not None
    assert "P-T recalls less: 1" in figure.description


def test_of_many_classes_those_that_change_most_are_drawn() -> None:
    row = mistakes_table().filter((pl.col("level") == "recall") & (pl.col("basis") == "examples")).head(1)
    many = pl.concat([
        row.with_columns(pl.lit(f"class {place:02d}").alias("item"), pl.lit((place - 25) / 100).alias("difference"))
        for place in range(50)
    ])  # fmt: skip
    figure = classes_figure(many)
    assert figure is not None
    assert "30 of 50 classes" in figure.caption
    names = [name for panel in figure.panels for encoding in parts(panel.to_dict()) if "y" in encoding
             for name in encoding["y"]["sort"]]  # fmt: skip
    assert names[0] == "class 49"
    assert names[29] == "class 00"
    assert "class 25" not in names


def test_epochs_show_means_and_ceilings_and_the_way_to_the_end() -> None:
    table = in_training_table()
    both, end = drawn("mistakes_in_training")
    assert [both.name, end.name] == ["epochs", "end"]
    rows = table.filter((pl.col("level") == "pair") & (pl.col("pair") == "P-T/P-T") & (pl.col("epoch") == 1))
    kappa = round(float(rows["kappa"].mean()), 3)  # type: ignore[arg-type]  # a mean of floats
    assert f"• P-T/P-T, epoch 1: mean κ {kappa} of 3 pairs, ceiling 1.0" in hovers(both)
    assert "• P-T, epoch 10: 100.0 % of the mistakes of either are common, mean of 3 runs" in hovers(end)


def test_epochs_without_a_defined_kappa_leave_the_way_to_the_end() -> None:
    table = in_training_table().with_columns(pl.lit(None, pl.Float64).alias("kappa"))
    assert [figure.name for figure in drawn("mistakes_in_training", table)] == ["end"]
    with pytest.raises(AnalysisError, match="nothing to draw"):
        mistakes_in_training.chart(table.clear())
    assert mistakes_in_training.chart(table).to_dict()["concat"]


def test_synthetic_tables_are_those_the_analyses_declare() -> None:
    for name in ("mistakes", "mistakes_in_training"):
        found = synthetic.result(name)
        assert found.table is not None
        assert found.table.height > 20
