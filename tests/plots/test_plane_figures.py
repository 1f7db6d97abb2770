"""Figures of planes and basins."""

import polars as pl
import pytest

from tests.report.synthetic_planes import basin_table, plane_table
from transferscope.analyses.basin import plot as basin
from transferscope.analyses.plane import plot as plane
from transferscope.plots.axes import Ramp


def rows(panel, column: str) -> list[dict]:
    return [row for found in panel.to_dict()["datasets"].values() for row in found if column in row]


# -- planes -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fine() -> tuple[pl.DataFrame, tuple]:
    table = plane_table(17)
    return table, plane.figures(table)


def test_every_plane_has_a_panel_for_each_split_and_one_scale(fine) -> None:
    error, loss = fine[1]
    assert (error.name, loss.name) == ("error", "loss")
    for figure in (error, loss):
        assert len(figure.panels) == 8
        assert figure.ramp is not None
        tints = {row["tint"] for panel in figure.panels for row in rows(panel, "tint")}
        assert tints <= set(Ramp.COLOURS)
        assert len(tints) == len(Ramp.COLOURS), "the scale is that of all panels together"
    assert "decides nothing" in error.caption


def test_networks_are_marked_where_they_are(fine) -> None:
    panel = fine[1][0].panels[0]
    marks = {row["network"]: (row["x"], row["y"]) for row in rows(panel, "network")}
    assert marks["P[0]"] == (0, 0)
    assert marks["P-T[0]"] == (9, 0)
    assert marks["P-T[1]"][0] ** 2 + marks["P-T[1]"][1] ** 2 == pytest.approx(81)
    width, height = panel.to_dict()["width"], panel.to_dict()["height"]
    strips = rows(panel, "tint")
    across = max(row["right"] for row in strips) - min(row["x"] for row in strips)
    up = max(row["top"] for row in strips) - min(row["y"] for row in strips)
    assert height / width == pytest.approx(up / across, abs=0.01), "one scale for both axes"


def test_strips_cover_the_plane_once_and_have_the_colour_of_their_value(fine) -> None:
    table, (found, _) = fine
    points = table.filter((pl.col("plane") == "around P-T[0]") & (pl.col("split") == "test"))
    strips = rows(found.panels[4], "tint")
    area = sum((row["right"] - row["x"]) * (row["top"] - row["y"]) for row in strips)
    assert area == pytest.approx(60 * 62)
    low, high = (
        table.filter(pl.col("level") == "point")["error"].min(),
        table.filter(pl.col("level") == "point")["error"].max(),
    )
    for point in points.filter(pl.col("level") == "point").to_dicts():
        under = [
            row["tint"]
            for row in strips
            if row["x"] <= point["x"] <= row["right"] and row["y"] <= point["y"] <= row["top"]
        ]
        step = min(len(Ramp.COLOURS) - 1, int((point["error"] - low) / (high - low) * len(Ramp.COLOURS) + 1e-9))
        assert Ramp.COLOURS[step] in under


def test_only_evaluated_points_are_dotted(fine) -> None:
    table, (found, _) = fine
    panel = found.panels[0]
    own = (pl.col("plane") == "P[0], P-T[0], P-T[1]") & (pl.col("split") == "test") & (pl.col("level") == "point")
    evaluated = table.filter(own & ~pl.col("interpolated")).height
    dots = [row for row in rows(panel, "x") if set(row) == {"x", "y"}]
    assert len(dots) == evaluated < table.filter(own).height


def test_a_loss_that_is_not_finite_takes_the_highest_colour() -> None:
    corner = (pl.col("x") == pl.col("x").min().over("plane")) & (pl.col("level") == "point")
    table = plane_table().with_columns(pl.when(corner).then(None).otherwise(pl.col("loss")).alias("loss"))
    strips = rows(plane.figures(table)[1].panels[0], "tint")
    left = min(row["x"] for row in strips)
    assert {row["tint"] for row in strips if row["x"] == left} == {Ramp.COLOURS[-1]}
    empty = table.with_columns(pl.lit(None, pl.Float64).alias("loss"))
    assert [figure.name for figure in plane.figures(empty)] == ["error"]


def test_one_value_everywhere_is_drawn() -> None:
    even = plane_table(9).with_columns(pl.lit(0.0).alias("error"), pl.lit(0.0).alias("loss"))
    for figure in plane.figures(even):
        figure.chart().to_dict()


# -- basins -----------------------------------------------------------------------------------------------------


def test_both_conditions_are_drawn_for_every_set_with_their_threshold() -> None:
    table = basin_table()
    error, loss, radii = basin.figures(table)
    assert [figure.name for figure in (error, loss, radii)] == ["conditions_error", "conditions_loss", "radii"]
    assert len(error.panels) == len(loss.panels) == 3
    sets = table.filter((pl.col("level") == "set") & (pl.col("split") == "test") & (pl.col("quantity") == "error"))
    for panel, row in zip(error.panels, sets.sort("set", "networks").to_dicts(), strict=True):
        drawn = rows(panel, "condition")
        assert {item["condition"] for item in drawn} == {"noise", "outward"}
        assert {2 * row["epsilon"]} == {item["height"] for item in rows(panel, "height") if len(item) == 1}
        places = sorted({item["place"] for item in drawn})
        assert places[0] == pytest.approx(places[1] / 2), "nought stands one step before the first"


def test_the_paper_stands_beside_ours_where_asked() -> None:
    radii = basin.figures(basin_table("clipart"))[2]
    lines = {}
    for row in rows(radii.panels[0], "label"):
        lines.setdefault(row["label"], {}).update(row)
    assert lines["paper, clipart"]["delta"] == 98.28
    assert lines["paper, clipart"]["distance"] == 178.07
    assert "does not carry over" in radii.caption
    without = basin.figures(basin_table("none"))[2]
    assert not any("paper" in row["label"] for row in rows(without.panels[0], "label"))


def test_a_set_without_a_delta_is_named_and_keeps_its_curves() -> None:
    lost = pl.col("level") == "set"
    table = basin_table().with_columns(
        pl.when(lost).then(None).otherwise(pl.col(name)).alias(name) for name in ("delta", "delta_tau")
    )
    error, _, radii = basin.figures(table)
    assert len(error.panels) == 3
    assert "Without a δ up to the largest tested: hull of P-T" in radii.caption
    radii.chart().to_dict()


def test_many_sets_are_cut_and_said_to_be() -> None:
    error = basin.figures(basin_table(pairs=4))[0]
    assert len(error.panels) == 6
    assert "3 further sets are in the table" in error.caption
