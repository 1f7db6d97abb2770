"""Figures of probes, of the reuse table and of domain distance."""

import polars as pl
import pytest

from tests.report.synthetic_features import PARTS, domain_distance_table, probe_table, reuse_table
from transferscope.analyses.domain_distance import plot as domain_distance
from transferscope.analyses.probe import plot as probe
from transferscope.analyses.reuse import plot as reuse
from transferscope.errors import AnalysisError


def rows(figure, panel: int = 0) -> list[dict]:
    return [row for found in figure.panels[panel].to_dict()["datasets"].values() for row in found]


def test_probes_by_depth_show_all_four_variants_and_every_part() -> None:
    depth, gaps = probe.figures(probe_table(), "top1")
    found = rows(depth)
    assert {row["variant"] for row in found} == {"RI", "P", "RI-T", "P-T"}
    assert {row["module"] for row in found} == set(PARTS)
    assert [label for label, _, _ in depth.legend] == ["RI", "P", "RI-T", "P-T"]
    assert len(gaps.panels) == 3
    assert "P-T − P at (features)" in " ".join(row.get("hover", "") for row in rows(gaps, 2))


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_probes_of_few_seeds_are_drawn_without_what_they_lack(seeds: tuple[int, ...]) -> None:
    depth, gaps = probe.figures(probe_table(seeds), "auc")
    assert all(row["low"] is None for row in rows(depth) if row["variant"] == "P")
    assert all(row.get("simultaneous_low") is None for row in rows(gaps))
    assert depth.panels[0].to_dict()["layer"][1]["encoding"]["y"]["title"] == "Test mean AUC (0 to 1)"
    depth.chart().to_dict()


def test_what_could_not_be_probed_is_not_drawn() -> None:
    table = probe_table()
    lost = table.with_columns(
        pl.when(pl.col("module") == "stem").then(None).otherwise(pl.col("value")).alias("value")
    )  # fmt: skip
    assert "stem" not in {row["module"] for row in rows(probe.figures(lost, "top1")[0])}
    with pytest.raises(AnalysisError, match="there is nothing to draw"):
        probe.chart(table.with_columns(pl.lit(None, pl.Float64).alias("value")), "top1")
    probe.chart(table, "top1").to_dict()


def test_every_measurement_has_its_panel() -> None:
    (figure,) = reuse.figures(reuse_table(), "top1")
    assert len(figure.panels) == 6
    assert ("RI-T (control)", "#D55E00", "ring") in figure.legend
    without = reuse_table().filter(~pl.col("measurement").str.starts_with("transplant"))
    assert len(reuse.figures(without, "top1")[0].panels) == 4
    probes = reuse_table().filter(pl.col("measurement").str.starts_with("probe"))
    assert [label for label, _, _ in reuse.figures(probes, "top1")[0].legend] == ["P-T"]
    reuse.chart(reuse_table(), "auc").to_dict()
    with pytest.raises(AnalysisError, match="there is nothing to draw"):
        reuse.chart(reuse_table().clear(), "top1")


def test_domain_distance_with_and_without_a_source() -> None:
    names = [figure.name for figure in domain_distance.figures(domain_distance_table())]
    assert names == ["distances", "along", "statistics", "looks"]
    alone = domain_distance.figures(domain_distance_table(source=False))
    assert [figure.name for figure in alone] == ["statistics", "looks"]
    assert all([label for label, _, _ in figure.legend] == ["target"] for figure in alone)
    domain_distance.chart(domain_distance_table()).to_dict()
    with pytest.raises(AnalysisError, match="there is nothing to draw"):
        domain_distance.chart(domain_distance_table().clear())


def test_the_null_stands_beside_every_distance() -> None:
    distances, along, *_ = domain_distance.figures(domain_distance_table())
    assert len(distances.panels) == 4
    for panel in range(4):
        values = {row["kind"]: row["value"] for row in rows(distances, panel)}
        assert values["target to source"] > values["two halves of the source"]
    shares = {(row["part"], row["kind"]): row["share"] for row in rows(along)}
    assert shares["stem", "two halves of the source"] == pytest.approx(0.1 * shares["stem", "target to source"])
    assert list(dict.fromkeys(place for place, _ in shares)) == PARTS
