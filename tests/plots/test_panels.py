"""Shared panels: the right encodings, the right rows, and what happens where there is nothing or something wrong."""

from typing import Any

import polars as pl
import pytest

from transferscope.plots.axes import EPOCHS, Axis, Names, Ramp, Shades, Steps, Tints, tints
from transferscope.plots.export import svg
from transferscope.plots.panels import (
    Frame,
    dot_panel,
    facets,
    heat_map,
    interval_text,
    kept_names,
    line_panel,
    listed,
    present,
    values_text,
)  # fmt: skip
from transferscope.plots.theme import Figure, themed

ROWS = pl.DataFrame(
    {
        "module": ["a", "a", "b", "b"],
        "variant": ["P-T", "RI-T", "P-T", "RI-T"],
        "value": [0.8, 0.5, 0.9, 0.6],
        "low": [0.7, None, 0.8, 0.5],
        "high": [0.9, None, 1.0, 0.7],
        "simultaneous_low": [0.6, None, 0.7, None],
        "simultaneous_high": [1.0, None, 1.1, None],
        "unused": ["x", "x", "x", "x"],
    }
).with_columns(interval_text(pl.col("variant"), " at ", pl.col("module")))
VALUE = Axis("value", "Metric (%)", ".0%", domain=[0.0, 1.2])
DOWN = Frame(VALUE, Names("module", "Module (name)", ["a", "b"]), tints("variant", ["P-T", "RI-T"]), aside=True)
UP = Frame(EPOCHS, VALUE, tints("variant", ["P-T", "RI-T"]))


def layers(panel: Any) -> list[dict[str, Any]]:
    return panel.to_dict()["layer"]


def rows(panel: Any) -> list[dict[str, Any]]:
    return [row for part in panel.to_dict()["datasets"].values() for row in part]


def marks(panel: Any) -> list[str]:
    return [layer["mark"]["type"] for layer in layers(panel)]


def test_dots_stand_on_their_intervals_and_those_on_what_they_are_held_against() -> None:
    panel = dot_panel(DOWN, ROWS, at=[0.5])
    assert marks(panel) == ["rule", "rule", "rule", "circle"]
    reference, wide, own, dots = layers(panel)
    assert reference["mark"]["strokeDash"] == [4, 3]
    assert set(reference["encoding"]) == {"x"}
    for layer, low, high in ((wide, "simultaneous_low", "simultaneous_high"), (own, "low", "high")):
        assert (layer["encoding"]["x"]["field"], layer["encoding"]["x2"]["field"]) == (low, high)
        assert layer["transform"] == [{"filter": f"isValid(datum.{low}) && isValid(datum.{high})"}]
    assert wide["mark"]["strokeWidth"] < own["mark"]["strokeWidth"]
    assert dots["encoding"]["description"]["field"] == "hover"
    assert [layer["mark"].get("aria") for layer in layers(panel)] == [False, False, False, None]


def test_all_marks_of_a_panel_say_the_same_of_an_axis_and_of_colours() -> None:
    encodings = [layer["encoding"] for layer in layers(dot_panel(DOWN, ROWS, DOWN.means(ROWS.drop("hover"))))]
    for channel in ("y", "color", "yOffset"):
        assert all(encoding[channel] == encodings[0][channel] for encoding in encodings)
    for key in ("title", "scale", "axis"):
        assert all(encoding["x"][key] == encodings[0]["x"][key] for encoding in encodings)
    assert encodings[0]["color"]["scale"] == {"domain": ["P-T", "RI-T"], "range": ["#0072B2", "#D55E00"]}
    assert encodings[0]["yOffset"]["sort"] == ["P-T", "RI-T"]
    assert encodings[0]["y"]["scale"]["domain"] == ["a", "b"]


def test_a_panel_carries_the_rows_it_was_given_and_no_column_it_does_not_draw() -> None:
    drawn = rows(dot_panel(DOWN, ROWS))
    assert "unused" not in {name for row in drawn for name in row}
    assert sorted((row["module"], row["variant"], row["value"]) for row in drawn) == sorted(
        ROWS.select("module", "variant", "value").iter_rows()
    )


def test_means_are_ticks_at_the_mean_of_each_name_and_label() -> None:
    many = pl.concat([ROWS, ROWS.with_columns(pl.col("value") + 0.1)])
    panel = DOWN.panel(DOWN.means(many.drop("hover")))
    assert marks(panel) == ["tick"]
    means = {(row["module"], row["variant"]): row["value"] for row in rows(panel)}
    assert means == pytest.approx({("a", "P-T"): 0.85, ("a", "RI-T"): 0.55, ("b", "P-T"): 0.95, ("b", "RI-T"): 0.65})


def test_lines_have_bars_upwards_bands_and_runs_of_their_own() -> None:
    data = ROWS.with_columns(epoch=pl.Series([0, 0, 1, 1]), seed=pl.Series([0, 1, 0, 1]))
    panel = line_panel(UP, data, UP.band(data, by=["seed"], opacity=0.3), at=[0.5])
    assert marks(panel) == ["rule", "area", "rule", "line", "circle"]
    reference, band, bars, *_ = layers(panel)
    assert set(reference["encoding"]) == {"y"}
    assert (band["encoding"]["y"]["field"], band["encoding"]["y2"]["field"]) == ("low", "high")
    assert band["encoding"]["detail"] == [{"field": "seed", "type": "nominal"}]
    assert bars["encoding"]["y2"]["field"] == "high"
    assert all(layer["mark"]["clip"] for layer in (band, bars)), "what leaves the domain leaves the frame"
    dashed = layers(UP.panel(UP.dashed(data, by=["seed"])))[0]
    assert dashed["mark"]["strokeDash"] == [4, 3]
    ordered = layers(UP.panel(UP.lines(data, order="seed")))[0]
    assert ordered["encoding"]["order"]["field"] == "seed"


def test_bars_begin_at_the_foot_of_the_axis() -> None:
    names = Names("module", "Module (name)", ["a", "b"])
    for domain, foot in (([0.4, 1.0], 0.4), (None, 0.0)):
        frame = Frame(names, Axis("value", "Metric (%)", domain=domain), tints("variant", ["P-T", "RI-T"]), aside=True)
        panel = frame.panel(frame.bars(ROWS))
        assert {row["foot"] for row in rows(panel)} == {foot}
        assert layers(panel)[0]["encoding"]["xOffset"]["field"] == "variant"
    stacked = layers(DOWN.panel(DOWN.stacked(ROWS, "value")))[0]
    assert stacked["encoding"]["order"]["field"] == "value"


def test_cells_share_one_ramp_and_what_lies_beyond_has_its_ends() -> None:
    ramp = Ramp("value", "CKA (0 to 1)", 0, 1)
    panel = heat_map(
        ROWS, Steps("variant", "Variant (name)"), Names("module", "Module (name)", ["a", "b"], cells=True), ramp,
        title="Cells", width=100, height=50,
    )  # fmt: skip
    spec = panel.to_dict()
    assert spec["mark"]["type"] == "rect"
    assert spec["encoding"]["color"]["scale"] == {"domain": [0, 1], "range": list(Ramp.COLOURS), "clamp": True}
    assert ramp.legend("none", "all") == ("none", "all", Ramp.COLOURS)
    assert len(rows(panel)) == ROWS.height


def test_nothing_is_drawn_of_nothing() -> None:
    none = ROWS.clear()
    for found in (
        DOWN.dots(none),
        DOWN.intervals(none),
        DOWN.lines(none),
        DOWN.bars(none),
        DOWN.rule(),
        DOWN.means(none),
    ):
        assert found == []
    assert UP.band(ROWS.with_columns(low=pl.lit(None, pl.Float64), epoch=0)) == []
    assert DOWN.spans(ROWS.drop("low", "high")) == []
    assert facets(none, "variant", ["P-T"], lambda part, label: dot_panel(DOWN, part)) == ()
    empty, full = (Figure("n", "t", "c", "d", panels) for panels in ((), (dot_panel(DOWN, ROWS),)))
    assert present(None, empty, full) == (full,)


def test_a_column_that_is_not_there_is_named() -> None:
    with pytest.raises(pl.exceptions.ColumnNotFoundError, match="nowhere"):
        DOWN.ticks(ROWS, "nowhere")
    with pytest.raises(pl.exceptions.ColumnNotFoundError, match="low"):
        UP.band(ROWS.drop("low"))
    with pytest.raises(pl.exceptions.ColumnNotFoundError, match="nowhere"):
        facets(ROWS, "nowhere", ["P-T"], lambda part, label: dot_panel(DOWN, part))


def test_small_multiples_are_in_the_order_asked_for_and_leave_out_what_is_not_there() -> None:
    seen = []
    facets(ROWS, "variant", ["RI-T", "P", "P-T"], lambda part, label: (seen.append((label, part.height)), None)[1])
    assert seen == [("RI-T", 2), ("P-T", 2)]


def test_of_many_names_some_are_drawn_and_the_caption_says_so() -> None:
    names = [f"m{place}" for place in range(30)]
    table = pl.DataFrame({"module": names[::-1], "position": range(29, -1, -1)})
    assert kept_names(table) == (names, "")
    kept, less = kept_names(table, most=4, what="parts")
    assert kept == ["m0", "m10", "m19", "m29"]
    assert less == " 4 of 30 parts are drawn; the table holds all."


def test_texts_of_values_and_intervals() -> None:
    texts = ROWS["hover"].to_list()
    assert texts[:2] == ["• P-T at a: 0.8 (0.7 to 0.9)", "• RI-T at a: 0.5 (– to –)"]
    points = ROWS.select(interval_text("all", factor=100, digits=2, unit=" %")).to_series()
    assert points[0] == "• all: 80.0 (70.0 to 90.0) %"
    assert ROWS.select(values_text(pl.col("module"), digits=1)).to_series()[3] == "• b: 0.6"
    assert listed(ROWS, "variant", "value", ".2f") == "P-T 0.85, RI-T 0.55"
    assert listed(ROWS, "variant", "value", order=["RI-T", "P"]) == "RI-T 0.55"
    assert listed(ROWS.clear(), "variant", "value") == "not defined"


def test_axes_keep_their_domain_their_ticks_and_their_own_labels() -> None:
    log = Axis("k", "Rate (per update)", kind="log", ticks=(0.1, 1.0), labels="'x'", grid=False).encode("x").to_dict()
    assert log["scale"] == {"type": "log", "nice": False}
    assert log["axis"]["values"] == [0.1, 1.0]
    assert log["axis"]["labelExpr"] == "'x'"
    assert log["axis"]["grid"] is False
    assert EPOCHS.encode("x").to_dict()["axis"]["tickMinStep"] == 1
    up = VALUE.encode("y").to_dict()
    assert (up["scale"]["domain"], up["axis"]["minExtent"]) == ([0.0, 1.2], 38)
    free = Axis("value", "Value (1)", zero=True).encode("y").to_dict()
    assert free["scale"] == {"zero": True}


def test_names_and_shades_as_they_are_asked_for() -> None:
    order = [f"m{place}" for place in range(30)]
    many = Names("module", "Module (name)", order).encode("x").to_dict()["axis"]
    assert many["labelOverlap"] is True
    few = Names("module", "Module (name)", order, named=order[:2]).encode("y").to_dict()["axis"]
    assert few["values"] == ["m0", "m1"]
    assert Shades("images", "Images (count)", [1]).encode().to_dict()["scale"]["range"] == [1.0, 1.0]
    frame = Frame(EPOCHS, VALUE, "#000000", shade=Shades("module", "Module (name)", ["a", "b"]))
    (line,) = layers(frame.panel(frame.lines(ROWS.with_columns(epoch=0), opacity=0.5)))
    assert line["encoding"]["opacity"]["field"] == "module"
    assert line["mark"]["color"] == "#000000"
    quiet = Tints("variant", {"P-T": "#000000"}, named=False).encode().to_dict()
    assert quiet["legend"] is None


@pytest.mark.parametrize("width", [120, 700])
def test_a_panel_is_drawn_narrow_and_wide(width: int) -> None:
    frame = Frame(VALUE, DOWN.y, DOWN.tint, aside=True, width=width, height=60, title="Where")
    drawn = svg(themed(dot_panel(frame, ROWS, at=[0.5])))
    assert "nan" not in drawn.lower()
    assert all(f">{word}<" in drawn for word in ("a", "b", "Where", "Metric (%)"))
