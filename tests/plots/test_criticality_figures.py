"""Figures of criticality: μ by module, and valleys on one colour scale with named axes."""

import polars as pl
import pytest

from tests.report.synthetic_criticality import MODULES, criticality_table
from transferscope.analyses.criticality import plot as criticality
from transferscope.plots.export import svg
from transferscope.plots.theme import themed


def valleys(table: pl.DataFrame, metric: str = "top1"):
    (figure,) = [found for found in criticality.figures(table, metric) if found.name == "valleys"]
    return figure


def cells(panel) -> list[dict]:
    return [row for rows in panel.to_dict()["datasets"].values() for row in rows]


def test_axes_are_distance_and_noise() -> None:
    table = criticality_table()
    figure = valleys(table)
    assert len(figure.panels) == 2 * len(MODULES)
    for place, panel in enumerate(figure.panels):
        found = panel.to_dict()["encoding"]
        assert found["x"]["title"] == "Distance from the initial value (ℓ2)"
        assert found["y"]["title"] == "σ of the noise (of a parameter)"
        module = place % len(MODULES)
        moved = 2.0 + module
        assert found["x"]["sort"] == [f"{share * moved:g}" for share in (0.0, 0.5, 1.0)]
        assert found["y"]["sort"] == ["0.1", "0.01", "0.001"]  # more noise is higher
        title = panel.to_dict()["title"]
        assert (title["text"], title["subtitle"]) == (("P-T[0]", "RI-T[0]")[place // len(MODULES)], MODULES[module])
    first = cells(figure.panels[3])
    asked = table.filter(
        (pl.col("level") == "point") & (pl.col("network") == "P-T[0]") & (pl.col("module") == "classifier")
    )
    assert sorted(row["value"] for row in first) == pytest.approx(sorted(asked["value"].to_list()))
    (start,) = [row for row in first if (row["x"], row["y"]) == ("0", "0.1")]
    assert start["value"] == pytest.approx(0.05 + 0.6 + 0.05)


@pytest.mark.parametrize(
    ("metric", "quantity", "what"),
    [
        ("top1", "error", "1 − top-1 accuracy on training images"),
        ("auc", "error", "1 − mean AUC on training images"),
        ("top1", "loss", "mean loss on training images (nats)"),
    ],
)
def test_one_colour_scale_says_what_it_shows(metric, quantity, what) -> None:
    table = criticality_table().with_columns(pl.lit(quantity).alias("quantity"))
    figure = valleys(table, metric)
    colours = [panel.to_dict()["encoding"]["color"] for panel in figure.panels]
    assert all(colour == colours[0] for colour in colours)
    drawn = table.filter((pl.col("level") == "point") & (pl.col("seed") == 0))["value"]
    assert colours[0]["scale"]["domain"] == pytest.approx([drawn.min(), drawn.max()])
    title = what[0].upper() + what[1:]
    assert colours[0]["title"] == title
    assert figure.ramp is not None
    assert figure.ramp[0].startswith(f"{what}: ")
    # In a file of its own the figure has the colour bar, once; a panel of the report leaves it to the page.
    assert svg(figure.chart()).count(f">{title}<") == 1
    assert f">{title}<" not in svg(themed(figure.panels[0], legend=False))


def test_every_tick_that_is_asked_for_is_drawn() -> None:
    """Eleven places do not divide 200 pixels: rounding would put the first tick outside the axis."""
    rows = criticality_table()
    points = rows.filter((pl.col("level") == "point") & (pl.col("step") == 0))
    many = [
        points.with_columns(step=pl.lit(place, pl.Int64), distance=0.1 * place * pl.col("displacement"))
        for place in range(11)
    ]
    figure = valleys(pl.concat([*many, rows.filter(pl.col("level") != "point")]))
    picture = svg(themed(figure.panels[0], legend=False))
    for tick in ("0", "0.4", "1", "1.6", "2"):
        assert f">{tick}</text>" in picture


def test_distances_are_told_apart_however_small() -> None:
    tiny = criticality_table().with_columns(pl.col("distance") * 1e-6)
    found = valleys(tiny).panels[0].to_dict()["encoding"]["x"]["sort"]
    assert found == ["0", "1e-06", "2e-06"]


def test_a_module_that_never_moved_has_one_place() -> None:
    still = criticality_table().with_columns(distance=pl.when(pl.col("level") == "point").then(0.0))
    found = cells(valleys(still).panels[0])
    assert [row["x"] for row in found] == ["0"] * 3
    assert len({row["y"] for row in found}) == 3


def test_what_is_not_finite_is_dark_and_said() -> None:
    table = criticality_table()
    assert "not finite" not in valleys(table).caption
    gone = (pl.col("level") == "point") & (pl.col("module") == "stem") & (pl.col("sigma") == 0.1)
    figure = valleys(table.with_columns(value=pl.when(~gone).then(pl.col("value"))))
    top = figure.panels[0].to_dict()["encoding"]["color"]["scale"]["domain"][1]
    lost = [row for row in cells(figure.panels[0]) if row["y"] == "0.1"]
    assert [row["value"] for row in lost] == [top] * 3
    assert all(row["hover"].endswith("not finite") for row in lost)
    assert "What is not finite has the darkest colour." in figure.caption


def test_a_grid_that_was_searched_is_no_valley() -> None:
    table = criticality_table()
    searched = table.with_columns(evaluated=pl.when(pl.col("evaluated").is_not_null()).then(pl.lit(4, pl.Int64)))
    assert [figure.name for figure in criticality.figures(searched)] == ["modules-direct"]
    # Noise at the final value alone is few points: all of them are no reason to draw the straight path.
    final = table.filter(pl.col("level") == "module").with_columns(pl.lit("final").alias("view"))
    assert "valleys" not in [figure.name for figure in criticality.figures(pl.concat([searched, final]))]


def test_of_many_modules_the_same_are_drawn_of_every_network() -> None:
    table = criticality_table()
    one = table.filter(pl.col("module") == "stem")
    names = [f"features.denseblock1.denselayer{place}" for place in range(50)]
    many = pl.concat([
        one.with_columns(pl.lit(name).alias("module"), pl.lit(place, pl.Int64).alias("position"))
        for place, name in enumerate(names)
    ])  # fmt: skip
    bars, valley = criticality.figures(many)
    titles = [panel.to_dict()["title"] for panel in valley.panels]
    assert len(titles) == 24
    assert [title["subtitle"] for title in titles[:12]] == [title["subtitle"] for title in titles[12:]]
    assert "12 of 50 modules." in valley.caption
    assert "40 of 50 modules are drawn" in bars.caption
    ticks = bars.panels[0].to_dict()["layer"][0]["encoding"]["x"]["axis"]["values"]
    assert ticks[0] == "…denselayer0"
    assert len(ticks) == 20


def test_unreachable_modules_are_named() -> None:
    (bars, _) = criticality.figures(criticality_table())
    assert "Unreachable (+∞) and not drawn: RI-T[1] stem." in bars.caption
    assert "Unreachable" not in criticality.figures(criticality_table((0,)))[0].caption
    everything = criticality_table().with_columns(pl.lit(True).alias("unreachable"), mu=pl.lit(None, pl.Float64))
    assert "and 12 more." in criticality.figures(everything)[0].caption
