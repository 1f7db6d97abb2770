from typing import Any

import polars as pl
import pytest

from tests.report.synthetic_ablations import ablation_table
from transferscope.analyses.block_shuffle.analysis import InputAblations
from transferscope.analyses.block_shuffle.plot import chart, figures
from transferscope.errors import AnalysisError
from transferscope.plots.export import svg


def encodings(panel: Any) -> list[dict[str, Any]]:
    return [layer["encoding"] for layer in panel.to_dict()["layer"]]


def rows(panel: Any) -> list[dict[str, Any]]:
    return [row for part in panel.to_dict()["datasets"].values() for row in part]


def test_blocks_and_gaps_are_drawn() -> None:
    blocks, gaps = figures(ablation_table(), "top1")
    assert (blocks.name, gaps.name) == ("blocks", "gaps")
    assert len(blocks.panels) == len(gaps.panels) == 2
    axis = encodings(blocks.panels[0])[-1]["x"]
    assert axis["title"] == "Side of a block (pixels of 64)"
    assert axis["axis"]["values"] == [1 / 224 / 2, 1 / 64, 8 / 64, 16 / 64, 1.0]
    for block in ("'*'", "'1'", "'8'", "'16'", "'64'"):
        assert block in axis["axis"]["labelExpr"]
    drawn = svg(blocks.chart())
    assert all(f">{label}</text>" in drawn for label in ("*", "1", "8", "16", "64"))
    assert "nan" not in drawn.lower()


def test_the_papers_curve_lies_behind_by_the_share_of_the_image() -> None:
    blocks, _ = figures(ablation_table(), "top1")
    paper = [row for row in rows(blocks.panels[0]) if row["origin"] == "quickdraw"]
    assert {row["share"] for row in paper} >= {1.0, 0.5, 1 / 224, 1 / 448}
    assert ("paper, quickdraw", "#59636e", "dashed") in blocks.legend
    assert "Dashed" in blocks.caption
    alone, _ = figures(ablation_table(settings=InputAblations(published="none")), "top1")
    assert all(row["origin"] == "study" for row in rows(alone.panels[0]))
    assert "Dashed" not in alone.caption


def test_the_papers_accuracy_is_not_drawn_beside_auc() -> None:
    blocks, gaps = figures(ablation_table(metric="auc"), "auc")
    assert all(row["origin"] == "study" for panel in blocks.panels for row in rows(panel))
    assert encodings(gaps.panels[0])[0]["x"]["title"].endswith("(AUC)")


def test_gaps_show_points_with_all_intervals() -> None:
    table = ablation_table()
    _, gaps = figures(table, "top1")
    whole = table.filter(
        (pl.col("label") == "whole images") & (pl.col("level") == "gap") & (pl.col("basis") == "seeds")
    )
    shown = next(row for row in rows(gaps.panels[0]) if row.get("hover", "").startswith("• whole images"))
    assert shown["value"] == pytest.approx(100 * whole["test_metric"][0])
    assert shown["least"] == pytest.approx(100 * whole["simultaneous_low"][0])
    assert "relative drop" in gaps.description


def test_two_seeds_have_ranges_and_one_seed_none() -> None:
    assert len(figures(ablation_table(seeds=(0, 1)), "top1")) == 2
    assert len(figures(ablation_table(seeds=(0,)), "top1")) == 2


def test_nothing_but_whole_images_is_no_curve() -> None:
    table = ablation_table()
    only = table.filter((pl.col("order") == 0) & (pl.col("origin") == "study"))
    assert [figure.name for figure in figures(only, "top1")] == ["gaps"]
    with pytest.raises(AnalysisError, match="nothing to draw"):
        chart(table.clear())
    assert chart(table).to_dict()["hconcat" if "hconcat" in chart(table).to_dict() else "concat"]
