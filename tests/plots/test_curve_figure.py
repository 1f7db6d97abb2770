import polars as pl
import pytest

from tests.report.synthetic_curve import curve_table
from transferscope.analyses.curve.plot import chart, figures
from transferscope.errors import AnalysisError
from transferscope.plots.theme import LIMIT


def data(panel):
    """The rows of every layer of a panel."""
    return [row for rows in panel.to_dict()["datasets"].values() for row in rows]


def test_positions_and_lengths_are_drawn_for_both_ways():
    found = figures(curve_table())
    assert [figure.name for figure in found] == ["position", "length"]
    for figure, furthest in zip(found, (1.0, 31.0), strict=True):
        assert len(figure.panels) == 4
        for panel in figure.panels:
            rows = data(panel)
            assert {row["way"] for row in rows} == {"curve", "line"}
            assert max(row["place"] for row in rows) == pytest.approx(furthest)
    assert "Highest test error: P-T/P-T curve 15.5 % and line 16.0 %, RI-T/RI-T curve 24.5 %" in found[0].description
    assert "quadratic Bézier curves" in found[0].caption


def test_own_statistics_and_barriers_are_no_points():
    rows = [row for panel in figures(curve_table())[0].panels for row in data(panel)]
    points = curve_table().filter(pl.col("level") == "point")
    drawn = {(row["ends"], row["way"], row["alpha"], round(row["value"], 9)) for row in rows}
    assert len(drawn) <= 2 * points.height
    values = {round(value, 9) for name in ("loss", "error") for value in points[name]}
    assert {value for *_, value in drawn} <= values


def test_many_pairs_stay_within_the_limit():
    table = curve_table(pairs=120)
    for figure in figures(table):
        assert "further pairs of networks are in the table" in figures(table)[0].caption
        for panel in figure.panels:
            assert all(len(rows) <= LIMIT for rows in panel.to_dict()["datasets"].values())
            assert {row["pair"] for row in data(panel)} == {"P-T/P-T", "RI-T/RI-T"}


def test_what_is_not_finite_is_left_out_and_nothing_draws_nothing():
    lost = pl.when((pl.col("way") == "curve") & (pl.col("alpha") == 0.5)).then(None).otherwise(pl.col("loss"))
    rows = data(figures(curve_table().with_columns(lost.alias("loss")))[0].panels[0])
    assert not [row for row in rows if row["way"] == "curve" and row["alpha"] == 0.5]
    assert [row for row in rows if row["way"] == "line" and row["alpha"] == 0.5]
    with pytest.raises(AnalysisError, match="nothing to draw"):
        chart(curve_table().with_columns(pl.lit(None, pl.Float64).alias("loss")))
