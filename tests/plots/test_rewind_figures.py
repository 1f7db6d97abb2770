"""Figures of rewound modules: bars of ours and of the paper, names that tell modules apart, colours with a name."""

import polars as pl
import pytest

from tests.report import synthetic_rewind
from tests.report.synthetic_rewind import rewind_table
from transferscope.analyses.rewind import plot as rewind
from transferscope.plots.export import svg
from transferscope.plots.theme import themed

LONG = ("conv1", *(f"features.denseblock{block}.denselayer{layer}" for block in (1, 2) for layer in range(1, 9)), "fc")


def drawn(panel) -> list[dict]:
    return [row for rows in panel.to_dict()["datasets"].values() for row in rows]


def axes(panel) -> dict[str, dict]:
    return panel.to_dict()["layer"][0]["encoding"]


def named(table: pl.DataFrame, names: tuple[str, ...]) -> pl.DataFrame:
    """The rows of the first modules again, for as many modules as there are names."""
    own = table.filter((pl.col("origin") == "study") & (pl.col("level") == "module"))
    first = own.filter(pl.col("module") == synthetic_rewind.MODULES[0])
    modules = [
        first.with_columns(pl.lit(name).alias("module"), pl.lit(place, pl.Int64).alias("position"))
        for place, name in enumerate(names)
    ]
    return pl.concat([*modules, table.filter((pl.col("origin") != "study") | (pl.col("level") != "module"))])


def test_the_papers_bars_stand_in_panels_of_their_own() -> None:
    figure = rewind.figures(rewind_table())[0]
    titles = [panel.to_dict().get("title") for panel in figure.panels]
    assert titles == [None, "Paper, CheXpert: P-T at 0.02, RI-T at 0.02", "Paper, CheXpert: RI-T at 0.1"]
    ours, *paper = [axes(panel) for panel in figure.panels]
    assert ours["y"]["title"] == "Test top-1 accuracy (%)"
    for found in paper:
        assert found["y"]["title"] == "Test mean AUC (0 to 1)"
        assert found["x"]["title"] == "Module put back (from input to output)"
        assert found["x"]["sort"][:2] == ["conv1", "layer1.0"]
        assert found["x"]["sort"][-1] == "fc"
    # The paper's rates can be compared: one scale, one width.
    assert paper[0]["y"]["scale"]["domain"] == paper[1]["y"]["scale"]["domain"]
    assert figure.panels[1].to_dict()["width"] == figure.panels[2].to_dict()["width"]
    bars = [row for row in drawn(figure.panels[2]) if row.get("hover")]
    assert {row["module"]: row["metric"] for row in bars}["layer3.0"] == 0.543
    assert {row["variant"] for row in bars} == {"RI-T"}
    assert "Fig. 5, read off the figure: another network and task, one network each" in figure.caption


def test_without_the_paper_there_is_one_panel() -> None:
    table = rewind_table().filter(pl.col("origin") == "study")
    figure = rewind.figures(table)[0]
    assert len(figure.panels) == 1
    assert "paper" not in figure.caption


def test_the_papers_bars_are_beside_initial_values_alone() -> None:
    by = {figure.name: figure for figure in rewind.figures(rewind_table())}
    assert len(by["modules-initial"].panels) == 3
    assert len(by["modules-random"].panels) == 1


def test_long_names_are_told_apart_and_written_whole() -> None:
    for figure in rewind.figures(named(rewind_table(), LONG)):
        if figure.name not in ("modules-initial", "epochs"):
            continue
        picture = svg(themed(figure.panels[0], legend=False))
        for name in LONG:
            said = name.replace("features.", "…")
            assert f">{said}<" in picture
        found = {row["module"] for row in drawn(figure.panels[0]) if "module" in row}
        assert len(found) == len(LONG)


def test_of_many_modules_some_are_drawn_and_every_other_is_named() -> None:
    names = tuple(f"layer.{place}" for place in range(60))
    figure = rewind.figures(named(rewind_table(), names))[0]
    assert "40 of 60 modules are drawn; the table holds all." in figure.caption
    ticks = axes(figure.panels[0])["x"]["axis"]["values"]
    assert len(ticks) == 20
    order = axes(figure.panels[0])["x"]["sort"]
    assert ticks == order[::2]
    few = rewind.figures(rewind_table())[0]
    assert "are drawn" not in few.caption
    assert axes(few.panels[0])["x"]["axis"]["values"] == list(synthetic_rewind.MODULES)


def test_groups_are_named_as_what_goes_back_together() -> None:
    figure = next(found for found in rewind.figures(rewind_table()) if found.name == "groups-initial")
    assert axes(figure.panels[0])["x"]["title"] == "Modules put back together (from input to output)"
    assert figure.title == "Several modules put back to their initial values at once"


@pytest.mark.parametrize("metric", ["top1", "auc"])
def test_one_colour_scale_says_what_it_shows(metric) -> None:
    figure = rewind.figures(rewind_table(), metric)[-1]
    name = {"top1": "top-1 accuracy", "auc": "mean AUC"}[metric]
    colours = [panel.to_dict()["encoding"]["color"] for panel in figure.panels]
    assert len(colours) == 2
    assert colours[0] == colours[1]
    assert colours[0]["title"] == f"Drop of test {name}"
    assert figure.ramp is not None
    assert figure.ramp[0].startswith(f"drop of test {name} ")
    # In a file of its own the figure has the colour bar; a panel of the report leaves it to the page.
    assert f"Drop of test {name}" in svg(figure.chart())
    assert f"Drop of test {name}" not in svg(themed(figure.panels[0], legend=False))
