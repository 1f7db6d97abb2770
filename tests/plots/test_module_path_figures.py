"""Figures of one-module paths and of paths in training."""

import polars as pl
import pytest

from tests.report.synthetic_module_paths import EPOCHS, PARTS, module_path_table, path_in_training_table
from transferscope.analyses.module_path import plot as module_path
from transferscope.analyses.module_path.analysis import ALL, TRUNK
from transferscope.analyses.path_in_training import plot as path_in_training
from transferscope.errors import AnalysisError


def rows(figure, panel: int = 0) -> list[dict]:
    return [row for found in figure.panels[panel].to_dict()["datasets"].values() for row in found]


def test_similarity_distance_and_barriers_stand_side_by_side() -> None:
    side, along = module_path.figures(module_path_table())
    assert len(side.panels) == 4
    similar, distant, loss, error = (rows(side, panel) for panel in range(4))
    assert {row["module"] for row in similar} == set(PARTS)
    for found in (distant, loss):
        assert {row["module"] for row in found} == {*PARTS, ALL, TRUNK}
    dots = [row for row in error if row.get("module")]
    table = module_path_table().filter(
        (pl.col("level") == "barrier") & (pl.col("split") == "test") & (pl.col("quantity") == "error")
        & (pl.col("baseline") == "mean") & (pl.col("module") == "stem") & (pl.col("pair") == "RI-T/RI-T")
    )  # fmt: skip
    (stem,) = (row for row in dots if row["module"] == "stem" and row["pair"] == "RI-T/RI-T")
    assert stem["value"] == pytest.approx(table["barrier"].mean())
    assert stem["low"] == table["simultaneous_low"].min()
    assert stem["high"] == table["simultaneous_high"].max()
    assert [label for label, _, _ in side.legend] == ["P-T/P-T", "RI-T/RI-T", "2 points"]
    assert "RI-T/RI-T at blocks.1." in side.description
    assert len(along.panels) == 2
    assert any("stem, α 0.5: error" in row["hover"] for row in rows(along))


def test_what_a_table_lacks_is_not_drawn() -> None:
    table = module_path_table()
    unlike = table.with_columns(pl.lit(None, pl.Float64).alias("cka"))
    assert len(module_path.figures(unlike)[0].panels) == 3
    bare = table.with_columns(pl.lit(None, pl.Float64).alias(f"simultaneous_{end}") for end in ("low", "high"))
    assert all(row["low"] is None for row in rows(module_path.figures(bare)[0], 3) if row.get("module"))
    lost = table.with_columns(
        pl.when(pl.col("quantity") == "loss").then(None).otherwise(pl.col("barrier")).alias("barrier")
    )
    assert not [row for row in rows(module_path.figures(lost)[0], 2) if row.get("module")]
    assert [f.name for f in module_path.figures(table.filter(pl.col("level") == "barrier"))] == ["modules"]
    with pytest.raises(AnalysisError, match="there is nothing to draw"):
        module_path.chart(table.filter(pl.col("level") == "point"))
    module_path.chart(table).to_dict()


def test_many_modules_are_thinned_and_the_caption_says_so() -> None:
    table = module_path_table()
    more = pl.concat(
        [table]
        + [
            table.filter(pl.col("module") == "stem").with_columns(
                module=pl.lit(f"more.{k}"), position=pl.lit(10 + k, pl.Int64)
            )
            for k in range(60)
        ]
    )
    side, along = module_path.figures(more)
    assert "40 of 69 modules are drawn." in side.caption
    assert "40 of 69 modules are drawn." in along.caption


def test_barriers_by_epoch_and_the_way_from_the_start() -> None:
    table = path_in_training_table()
    by_epoch, ways = path_in_training.figures(table)
    assert len(by_epoch.panels) == 4
    across = [row for row in rows(by_epoch, 0) if row.get("run")]
    assert {(row["variant"], row["epoch"]) for row in across} == {(v, e) for v in ("P-T", "RI-T") for e in EPOCHS}
    assert {row["run"] for row in across} == {"P-T[0]·P-T[1]", "RI-T[0]·RI-T[1]"}
    to_end = [row for row in rows(by_epoch, 1) if row.get("run")]
    assert {row["epoch"] for row in to_end} == set(EPOCHS[:-1])
    assert "RI-T to its end, points by epoch 0: " in by_epoch.description
    assert [panel.title for panel in ways.panels] == ["P/P-T", "RI/RI-T"]
    assert {row["epoch"] for row in rows(ways)} == set(EPOCHS[1:])


def test_lines_that_were_not_asked_for_are_not_drawn() -> None:
    table = path_in_training_table()
    for line, names, panels in (("across", ["barriers"], 2), ("end", ["barriers"], 2), ("start", ["from-start"], 2)):
        found = path_in_training.figures(table.filter(pl.col("line") == line))
        assert [figure.name for figure in found] == names
        assert len(found[0].panels) == panels
    with pytest.raises(AnalysisError, match="there is nothing to draw"):
        path_in_training.chart(table.clear())
    path_in_training.chart(table).to_dict()


def test_every_pair_of_runs_has_its_line() -> None:
    figure, *_ = path_in_training.figures(path_in_training_table((0, 1, 2, 3)))
    assert len({row["run"] for row in rows(figure, 0) if row.get("run")}) == 2 * 6
