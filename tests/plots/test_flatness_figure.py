"""Figures of flatness."""

import polars as pl
import pytest

from tests.report.synthetic_flatness import flatness_table
from transferscope.analyses.flatness import plot as flatness
from transferscope.analyses.flatness.analysis import Flatness
from transferscope.errors import AnalysisError


def rows(figure, panel: int) -> list[dict]:
    return [row for found in figure.panels[panel].to_dict()["datasets"].values() for row in found]


def test_every_ruler_has_its_panels_and_its_own_axis() -> None:
    table = flatness_table(settings=Flatness(splits=("train", "test")))
    figures = flatness.figures(table)
    assert [figure.name for figure in figures] == ["radius-train", "radius-test", "hessian"]
    curves = figures[0]
    assert len(curves.panels) == 6
    titles = [panel.to_dict()["layer"][1]["encoding"]["x"]["title"] for panel in curves.panels[::2]]
    assert titles == [
        "ℓ2 radius (units of the parameters)", "Radius ÷ own norm (ratio)", "Radius ÷ distance from own start (ratio)",
    ]  # fmt: skip
    drawn = [row for row in rows(curves, 0) if row.get("hover")]
    asked = table.filter((pl.col("normalisation") == "equal") & (pl.col("split") == "train"))
    assert sorted(row["place"] for row in drawn) == pytest.approx(sorted(asked["l2"].to_list()))
    assert sorted(row["value"] for row in drawn) == pytest.approx(sorted(asked["loss_rise"].to_list()))
    assert {row["variant"] for row in drawn} == {"P-T", "RI-T"}
    assert "• P-T[0], radius" in " ".join(row["hover"] for row in drawn)
    assert "equal ℓ2 radii, share 0.4: RI-T" in curves.description
    share = [row["place"] for row in rows(curves, 2) if row.get("hover")]
    assert set(share) == {0.0, 0.05, 0.1, 0.2, 0.4}


def test_hessians_are_drawn_with_and_without_the_scale() -> None:
    figure = flatness.figures(flatness_table())[-1]
    assert len(figure.panels) == 4
    plain, scaled = ([row for row in rows(figure, panel) if row.get("hover")] for panel in (2, 3))
    assert len(plain) == len(scaled) == 6
    for one, other in zip(plain, scaled, strict=True):
        assert other["value"] == pytest.approx(1600 * one["value"])
        assert other["high"] - other["value"] == pytest.approx(1600 * (one["high"] - one["value"]))
    assert figure.panels[0].to_dict()["layer"][0]["encoding"]["x"]["scale"]["type"] == "log"


def test_values_that_are_not_positive_have_no_logarithm() -> None:
    figure = flatness.figures(flatness_table(hessian=lambda variant, level: -1.0 if variant == "P_T" else 2.0))[-1]
    assert "type" not in figure.panels[0].to_dict()["layer"][0]["encoding"]["x"]["scale"]
    figure.chart().to_dict()


def test_what_was_not_measured_is_not_drawn() -> None:
    without = flatness_table(settings=Flatness(hessian=False, moved_shares=()))
    (figure,) = flatness.figures(without)
    assert len(figure.panels) == 4
    gone = flatness_table(rise=lambda variant, normalisation, share: None, hessian=lambda variant, level: None)
    (figure,) = flatness.figures(gone)
    assert {row["place"] for row in rows(figure, 0)} == {0.0}
    half = flatness_table(hessian=lambda variant, level: None if level == "eigenvalue" else 1.0)
    assert len(flatness.figures(half)[-1].panels) == 2
    one = flatness_table((0,), lost=("RI_T", 0))
    assert [label for label, _, _ in flatness.figures(one)[0].legend] == ["P-T"]
    with pytest.raises(AnalysisError, match="there is nothing to draw"):
        flatness.chart(flatness_table().clear())
