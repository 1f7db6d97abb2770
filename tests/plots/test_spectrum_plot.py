"""Figures of spectra."""

import polars as pl
import pytest

from tests.report.synthetic_spectrum import OPERATORS, spectrum_table
from transferscope.analyses.spectrum import plot as spectrum
from transferscope.errors import AnalysisError
from transferscope.plots.theme import LIMIT, colour

NAMES = [name for name, *_ in OPERATORS]


def rows(figure, panel: int = 0) -> list[dict]:
    return [row for found in figure.panels[panel].to_dict()["datasets"].values() for row in found]


def test_rank_and_norm_along_the_network() -> None:
    depth, _, _ = spectrum.figures(spectrum_table())
    share, largest = (rows(depth, panel) for panel in range(2))
    assert {row["operator"] for row in share} == set(NAMES)
    assert {row["variant"] for row in share} == {"RI", "P", "RI-T", "P-T"}
    assert all(0 < row["value"] <= 1 for row in share)
    table = spectrum_table().filter(
        (pl.col("level") == "variant") & (pl.col("variant") == "P_T") & (pl.col("quantity") == "stable_rank")
    )
    stem = table.filter(pl.col("operator") == "stem").row(0, named=True)
    (drawn,) = [row for row in share if (row["operator"], row["variant"]) == ("stem", "P-T")]
    assert drawn["value"] == pytest.approx(stem["value"] / stem["count"])
    assert drawn["low"] == pytest.approx(stem["low"] / stem["count"])
    assert all(row["low"] is None for row in share if row["variant"] == "P")
    assert max(row["value"] for row in largest) > 1
    scales = [
        layer["encoding"]["y"]["scale"]["type"]
        for layer in depth.panels[0].to_dict()["layer"]
        if "scale" in layer["encoding"]["y"]
    ]
    assert set(scales) == {"log"}


def test_an_interval_below_zero_is_cut_off() -> None:
    table = spectrum_table().with_columns(
        pl.when(pl.col("level") == "variant").then(pl.col("low") - 1e9).otherwise(pl.col("low")).alias("low")
    )
    for panel in range(2):
        found = rows(spectrum.figures(table)[0], panel)
        assert min(row["low"] for row in found if row["low"] is not None) > 0


def test_changes_from_the_own_start_with_the_control_as_rings() -> None:
    changes = spectrum.figures(spectrum_table())[1]
    found = [row for row in rows(changes) if "network" in row]
    assert {row["network"] for row in found} == {"P-T", "RI-T", "P-T-wd0", "RI-T-wd0"}
    assert {row["network"] for row in found if row["control"]} == {"P-T-wd0", "RI-T-wd0"}
    assert {label: (tint, mark) for label, tint, mark in changes.legend} == {
        "P-T": (colour("P-T"), "point"),
        "RI-T": (colour("RI-T"), "point"),
        "P-T without decay": (colour("P-T"), "ring"),
        "RI-T without decay": (colour("RI-T"), "ring"),
    }
    assert "× " in changes.description


def test_singular_values_of_a_few_weights() -> None:
    curves = spectrum.figures(spectrum_table())[2]
    assert len(curves.panels) == 6
    assert "6 of 8 operators are drawn" in curves.caption
    for panel in range(6):
        found = rows(curves, panel)
        assert max(row["share"] for row in found) <= 1
        assert min(row["value"] for row in found) > 0
        assert len(found) < 300
    assert ("P-T without decay", colour("P-T"), "dashed") in curves.legend


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_few_seeds_are_drawn_without_what_they_lack(seeds: tuple[int, ...]) -> None:
    found = spectrum.figures(spectrum_table(seeds))
    assert all(row.get("simultaneous_low") is None for row in rows(found[1]))
    for figure in found:
        figure.chart().to_dict()


def test_without_training_only_depth_and_values_are_drawn() -> None:
    table = spectrum_table().filter(pl.col("level") != "ratio")
    assert [figure.name for figure in spectrum.figures(table)] == ["depth", "spectra"]
    with pytest.raises(AnalysisError, match="there is nothing to draw"):
        spectrum.chart(table.filter(pl.col("level") == "skipped"))


def test_zeros_have_no_place_on_logarithmic_axes() -> None:
    table = spectrum_table().with_columns(
        pl.when(pl.col("operator") == "head").then(0.0).otherwise(pl.col("value")).alias("value")
    )
    for figure in spectrum.figures(table):
        for panel in range(len(figure.panels)):
            assert "head" not in {row.get("operator") for row in rows(figure, panel)}


def test_a_deep_network_is_thinned() -> None:
    table = spectrum_table()
    many = pl.concat(
        table.with_columns(
            operator=pl.format("{}.{}", pl.lit(copy), pl.col("operator")), position=pl.col("position") + 8 * copy
        )
        for copy in range(20)
    )
    for figure in spectrum.figures(many.filter(pl.col("level") != "skipped")):
        assert "operators are drawn; the table holds all" in figure.caption
        assert all(len(found) <= LIMIT for found in figure.chart().to_dict()["datasets"].values())
