import polars as pl
import pytest

from tests.report.synthetic_align import align_table
from transferscope.analyses.align.plot import chart, figures
from transferscope.errors import AnalysisError
from transferscope.plots.theme import LIMIT


def data(panel):
    """The rows of every layer of a panel."""
    return [row for rows in panel.to_dict()["datasets"].values() for row in rows]


def test_one_figure_for_each_pair_of_variants_with_every_way():
    found = figures(align_table())
    assert [figure.name for figure in found] == ["p-t-p-t", "ri-t-ri-t"]
    for figure in found:
        assert len(figure.panels) == 4
        for panel in figure.panels:
            assert {row["way"] for row in data(panel)} == {"unaligned", "activations", "weights"}
        assert [entry[2] for entry in figure.legend] == ["dashed", "line", "line", "point"]
    assert "Highest test error: as trained 44.0 %, matched by activations 28.5 %" in found[1].description


def test_own_statistics_and_barriers_are_no_points():
    points = align_table().filter(pl.col("level") == "point")
    values = {round(value, 9) for name in ("loss", "error") for value in points[name]}
    for figure in figures(align_table()):
        for panel in figure.panels:
            assert {round(row["value"], 9) for row in data(panel)} <= values


def test_one_method_alone_is_drawn_alone():
    (figure, *_) = figures(align_table().filter(pl.col("way") != "weights"))
    assert [entry[0] for entry in figure.legend] == ["as trained", "matched by activations", "solutions"]


def test_many_pairs_stay_within_the_limit():
    for figure in figures(align_table(pairs=18, steps=101)):
        assert "further pairs of networks are in the table" in figure.caption
        for panel in figure.panels:
            assert all(len(rows) <= LIMIT for rows in panel.to_dict()["datasets"].values())


def test_what_is_not_finite_is_left_out_and_nothing_draws_nothing():
    lost = pl.when((pl.col("way") == "weights") & (pl.col("alpha") == 0.5)).then(None).otherwise(pl.col("loss"))
    rows = data(figures(align_table().with_columns(lost.alias("loss")))[0].panels[0])
    assert not [row for row in rows if row["way"] == "weights" and row["alpha"] == 0.5]
    assert [row for row in rows if row["way"] == "activations" and row["alpha"] == 0.5]
    with pytest.raises(AnalysisError, match="nothing to draw"):
        chart(align_table().with_columns(pl.lit(None, pl.Float64).alias("loss")))
