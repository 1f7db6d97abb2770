import functools
import re
from typing import Any

import polars as pl
import pytest

from tests.report import synthetic
from transferscope.analyses.learning_curves import plot as learning_curves
from transferscope.analyses.path import plot as path
from transferscope.analyses.similarity import plot as similarity
from transferscope.plots.theme import LIMIT, colour, pair_rank
from transferscope.report.figures import figures, is_drawn
from transferscope.study.registry import BUILT_IN, analysis_type

DRAWN = tuple(name for name in BUILT_IN if is_drawn(analysis_type(name)))


def drawn(name: str, table: pl.DataFrame | None = None, metric: str = "top1") -> Any:
    return whole(name, metric) if table is None else figures(analysis_type(name), table, metric)


@functools.cache
def whole(name: str, metric: str) -> Any:
    """Of the whole table, which many tests look at; no test changes a figure."""
    return figures(analysis_type(name), synthetic.TABLES[name](), metric)


@functools.cache
def specs(name: str) -> list[Any]:
    """The charts of all figures."""
    return [figure.chart().to_dict() for figure in drawn(name)]


def parts(spec: Any) -> Any:
    """All nested specifications that encode something."""
    if isinstance(spec, dict):
        if "encoding" in spec:
            yield spec["encoding"]
        for value in spec.values():
            yield from parts(value)
    elif isinstance(spec, list):
        for value in spec:
            yield from parts(value)


def hovers(figure: Any) -> list[str]:
    found = []
    for panel in figure.panels:
        for rows in panel.to_dict()["datasets"].values():
            found += [row["hover"] for row in rows if row.get("hover")]
    return found


@pytest.mark.parametrize("name", sorted(DRAWN))
def test_every_axis_has_a_name_and_a_unit(name: str) -> None:
    seen = 0
    for spec in specs(name):
        for encoding in parts(spec):
            for axis in ("x", "y"):
                if axis in encoding:
                    seen += 1
                    title = encoding[axis]["title"]
                    assert re.search(r"\((?:[^()]+)\)", title), title
    assert seen >= 2


@pytest.mark.parametrize("name", sorted(DRAWN))
def test_figures_have_words_and_stay_within_the_limit(name: str) -> None:
    found = drawn(name)
    assert len({figure.name for figure in found}) == len(found) > 0
    for figure, spec in zip(found, specs(name), strict=True):
        assert figure.title
        assert len(figure.description) > 20
        assert len(figure.caption) > 40
        assert all(len(rows) <= LIMIT for rows in spec["datasets"].values())


@pytest.mark.parametrize("name", sorted(DRAWN))
def test_a_table_without_rows_gives_no_figure(name: str) -> None:
    assert drawn(name, synthetic.TABLES[name]().clear()) == ()


def test_one_colour_per_variant_everywhere() -> None:
    wanted = {"P-T": "#0072B2", "RI-T": "#D55E00", "P-T/P-T": "#0072B2", "RI-T/RI-T": "#D55E00"}
    for name in DRAWN:
        for figure, spec in zip(drawn(name), specs(name), strict=True):
            for label, tint, _ in figure.legend:
                assert tint == wanted.get(label, tint)
            for encoding in parts(spec):
                scale = encoding.get("color", {}).get("scale") or {}
                if "domain" in scale and not any(isinstance(item, (int, float)) for item in scale["domain"]):
                    for label, tint in zip(scale["domain"], scale["range"], strict=True):
                        assert tint == wanted.get(label, tint)
    known = [colour(name) for name in ("RI", "P", "RI-T", "P-T", "RI-T-long")]
    assert len(set(known)) == 5


def test_of_a_search_in_rungs_the_longest_run_at_the_chosen_rate_is_ringed() -> None:
    table = synthetic.learning_rate_table()
    short = table.with_columns(pl.lit(3, pl.Int64).alias("epochs"), validation_metric=pl.col("validation_metric") / 2)
    kept = table.filter(pl.col("learning_rate").is_in([0.01, 0.03]))
    (figure,) = drawn("learning_rate", pl.concat([short.select(table.columns), kept]))
    rings = [text for text in hovers(figure) if "chosen rate" in text]
    assert len(rings) == len(set(rings)) == 2


def test_diverged_rates_are_marked_and_all_diverged_draws_nothing() -> None:
    (figure,) = drawn("learning_rate")
    assert ("diverged", "#59636e", "cross") in figure.legend
    assert any("RI-T[1000] at rate 0.3: diverged" in text for text in hovers(figure))
    assert drawn("learning_rate", synthetic.learning_rate_table(diverge=True)) == ()


def test_speed_is_the_mean_training_metric_over_common_epochs_without_the_start() -> None:
    table = synthetic.learning_curves_table()
    speed = learning_curves.speeds(table)
    runs = table.filter((pl.col("variant") == "P_T") & (pl.col("seed") == 1) & pl.col("epoch").is_between(1, 10))
    row = speed.filter((pl.col("variant") == "P-T") & (pl.col("seed") == 1)).row(0, named=True)
    assert row["speed"] == pytest.approx(runs["train_metric"].mean(), abs=1e-12)
    assert row["epochs"] == 10
    # a longer run does not lengthen the window
    longer = pl.concat([table, runs.filter(pl.col("epoch") == 10).with_columns(pl.lit(11, pl.Int64).alias("epoch"))])
    assert learning_curves.speeds(longer).equals(speed)


def test_a_diverged_run_is_marked_where_it_ended_and_has_no_speed() -> None:
    table = synthetic.learning_curves_table(diverge="one")
    found = drawn("learning_curves", table)
    assert any("RI-T[2] diverged after epoch 5" in text for text in hovers(found[0]))
    speed = learning_curves.speeds(table)
    assert speed.filter((pl.col("variant") == "RI-T") & (pl.col("seed") == 2)).is_empty()
    assert speed.height == 5


def test_runs_that_diverged_at_once_leave_curves_of_the_start_alone() -> None:
    found = drawn("learning_curves", synthetic.learning_curves_table(diverge="all"))
    assert [figure.name for figure in found] == ["curves"]


def test_many_pairs_of_networks_are_shown_as_means_without_intervals() -> None:
    single, many = drawn("mistakes")[0], drawn("mistakes", synthetic.mistakes_table((0, 1, 2, 3)))[0]
    assert any("P-T[0] · P-T[1]: both wrong" in text for text in hovers(single))
    assert any(text.startswith("• P-T/P-T: κ") and "(– to –)" in text for text in hovers(many))
    assert "interval" in single.caption
    assert "interval" not in many.caption


def test_undefined_kappa_leaves_the_bars() -> None:
    table = synthetic.mistakes_table().with_columns(
        pl.lit(None, pl.Float64).alias(name) for name in ("kappa", "kappa_low", "kappa_high", "kappa_max")
    )
    figures_found = {figure.name: figure for figure in drawn("mistakes", table)}
    assert set(figures_found) == {"overlap", "classes"}  # without κ there are no strata either
    assert len(figures_found["overlap"].panels) == 1


def test_heat_maps_leave_out_networks_with_themselves_and_share_one_scale() -> None:
    maps = drawn("similarity")[0]
    assert [panel.title for panel in maps.panels][:2] == ["P × P-T", "P × RI-T"]
    for encoding in (item for panel in maps.panels for item in parts(panel.to_dict())):
        assert encoding["color"]["scale"]["domain"] == [0, 1]
    alone = synthetic.similarity_table((0,)).filter(pl.col("a") == pl.col("b"))
    assert similarity.figures(alone) == ()


def test_ri_stands_beside_the_networks_that_started_from_it_alone() -> None:
    table = synthetic.similarity_table((0, 1), ["a", "b"])
    strange = pl.col("a").is_in(["RI[0]", "RI-T[1]"]) & pl.col("b").is_in(["RI[0]", "RI-T[1]"])
    assert table.filter(strange & (pl.col("a") != pl.col("b"))).height
    changed = table.with_columns(cka=pl.when(strange).then(-1.0).otherwise("cka"))
    drawn_as = sorted(hovers(similarity.figures(table)[0]))
    assert sorted(hovers(similarity.figures(changed)[0])) == drawn_as
    own = pl.col("a").is_in(["RI[0]", "RI-T[0]"]) & pl.col("b").is_in(["RI[0]", "RI-T[0]"])
    changed = table.with_columns(cka=pl.when(own).then(-1.0).otherwise("cka"))
    assert sorted(hovers(similarity.figures(changed)[0])) != drawn_as


def test_heat_maps_do_not_depend_on_the_order_of_the_networks() -> None:
    table = synthetic.similarity_table((0, 1), ["a", "b", "c"])
    swapped = table.rename(
        {f"{name}_{one}": f"{name}_{other}" for name in ("variant", "seed", "module", "position")
         for one, other in (("a", "b"), ("b", "a"))} | {"a": "b", "b": "a"}
    )  # fmt: skip
    texts = [sorted(hovers(similarity.figures(rows)[0])) for rows in (table, swapped.select(table.columns))]
    assert texts[0] == texts[1]
    # the mean over the seeds, module for module
    wanted = table.filter(
        (pl.col("variant_a") == "P") & (pl.col("variant_b") == "P_T") & (pl.col("module_a") == "a")
        & (pl.col("module_b") == "c")
    )["cka"].mean()  # fmt: skip
    assert f"• P a × P-T c: {round(wanted, 3)}" in texts[0]


def test_deep_networks_are_thinned_and_say_so() -> None:
    modules = [f"layer{place}" for place in range(60)]
    maps, depth = similarity.figures(synthetic.similarity_table((0,), modules))
    assert "28 of 60 modules are drawn" in maps.caption
    assert "layer0" in str(maps.panels[0].to_dict())
    assert "layer59" in str(maps.panels[0].to_dict())
    assert depth.panels


def test_pairs_of_one_variant_and_the_ruler_are_told_apart() -> None:
    table = synthetic.path_table((0, 1))
    own = pl.col("pair") == "RI-T/RI-T"
    same = table.filter(own).with_columns(pl.lit("RI-T/RI-T, same init").alias("pair"))
    ruler = table.filter(own).with_columns(pl.lit("RI-T/RI-T, trained on").alias("pair"), pl.lit("ruler").alias("role"))
    trunk = table.filter(own).with_columns(pl.lit("trunk").alias("moves"))
    along, _, barriers = path.figures(pl.concat([table, same, ruler, trunk]))
    for figure in (along, barriers):
        colours = {label: tint for label, tint, _ in figure.legend if "/" in label}
        assert {"RI-T/RI-T", "RI-T/RI-T, same init", "RI-T/RI-T, trained on", "RI-T/RI-T, trunk only"} < set(colours)
        assert len(set(colours.values())) == len(colours)
        assert colours["RI-T/RI-T"] == colour("RI-T/RI-T")


def test_the_path_between_the_ends_is_never_cut() -> None:
    table = synthetic.path_table((0, 1))
    steep = table.with_columns(
        pl.when(pl.col("alpha") > 1).then(pl.col("loss") + 500).otherwise(pl.col("loss")).alias("loss")
    )
    (panel, *_) = path.figures(steep)[0].panels
    domain = next(iter(parts(panel.to_dict())))["y"]["scale"]["domain"]
    inside = steep.filter(pl.col("alpha").is_between(0, 1) & (pl.col("level") == "point"))
    assert domain[0] <= inside["loss"].min() < inside["loss"].max() <= domain[1] < 10


def test_too_many_paths_keep_some_of_every_pair() -> None:
    along, *_ = path.figures(synthetic.path_table(tuple(range(6)), steps=121))
    assert "further paths are in the table" in along.caption
    assert {label for label, _, _ in along.legend} >= {"P-T/P-T", "RI-T/RI-T", "P-T/RI-T"}


def test_pairs_are_read_in_one_order() -> None:
    assert sorted(["RI-T/RI-T", "other", "P-T/P-T", "P/P-T"], key=pair_rank) == [
        "P/P-T", "P-T/P-T", "RI-T/RI-T", "other",
    ]  # fmt: skip


def test_the_captions_of_heat_maps_name_kind_and_maps() -> None:
    table = synthetic.similarity_table((0,), ["a", "b"])
    assert "Linear CKA (unbiased, minibatch) of features" in similarity.figures(table)[0].caption
    other = table.with_columns(estimator=pl.lit("rbf"), pooling=pl.lit("pooled"))
    assert "RBF CKA (unbiased, minibatch), maps pooled, of features" in similarity.figures(other)[0].caption


DRAWN_OF = {
    "align": {"p-t-p-t": 4, "ri-t-ri-t": 4},
    "average": {"gains": 4},
    "basin": {"conditions_error": 3, "conditions_loss": 3, "radii": 1},
    "block_shuffle": {"blocks": 2, "gaps": 2},
    "checkpoint": {"barriers": 1, "frozen": 7, "outcomes": 2},
    "control": {"shares": 2, "values": 2},
    "criticality": {"modules-direct": 1, "valleys": 8},
    "curve": {"length": 4, "position": 4},
    "distance": {"modules": 2, "whole": 4},
    "distance_in_training": {"modules": 2, "own": 3, "pairs": 2},
    "domain_distance": {"along": 1, "distances": 4, "looks": 4, "statistics": 1},
    "imbalance": {"recall": 3},
    "label_budget": {"labels": 1},
    "flatness": {"hessian": 4, "radius-train": 6},
    "freeze": {"costs": 1, "gradients": 1, "losses": 1},
    "learning_curves": {"curves": 4, "speed": 1},
    "learning_rate": {"rates": 1},
    "mistakes": {"classes": 1, "overlap": 2, "strata": 2},
    "mistakes_in_training": {"end": 1, "epochs": 2},
    "module_path": {"along": 2, "modules": 4},
    "negative_transfer": {"gaps": 1},
    "path": {"alpha": 4, "barriers": 2, "l2": 4},
    "path_in_training": {"barriers": 4, "from-start": 2},
    "plane": {"error": 8, "loss": 8},
    "probe": {"depth": 1, "gaps": 3},
    "reuse": {"modules": 6},
    "reused_channels": {"reused": 2},
    "rewind": {"epochs": 2, "groups-initial": 1, "groups-random": 1, "modules-initial": 3, "modules-random": 1},
    "similarity": {"depth": 1, "maps": 6},
    "similarity_by_size": {"modules": 2, "sizes": 1},
    "similarity_in_training": {"against-p": 1, "epochs": 3, "modules": 2},
    "start": {"proof": 1, "rungs": 1},
    "spectrum": {"changes": 2, "depth": 2, "spectra": 6},
    "transplant": {"modules": 2, "steps": 2},
}
"""Of each question the figures of its example table, and how many panels each has."""
TOLD = {
    "align": "• P-T[0] → P-T[1], as trained, α 0.0: loss",
    "control": "• RI-T[0]: ",
    "domain_distance": "• target to source at stem: ",
    "learning_rate": "• P-T: chosen rate 0.03",
    "path": "• P-T[0] → P-T[1]: error barrier 0.01 (0.009 to 0.011) at ℓ2 7.5",
    "probe": "• P-T − P at (features): ",
    "similarity_in_training": "• P/P-T, seed 0, epoch 0: 1.0",
    "module_path": "• RI-T/RI-T, blocks.1.0: ",
    "path_in_training": "• P-T[0] · P-T[1], epoch 0: ",
    "spectrum": "• P-T-wd0 / P at stem: ",
    "flatness": "• P-T[0], radius 0.0 (share 0.0): 0.0",
    "mistakes_in_training": "• P-T, epoch 10: 100.0 % of the mistakes of either are common, mean of 3 runs",
    "mistakes": "• functional: P-T 90.0 %, RI-T 82.0 % of 377 images",
    "block_shuffle": "• P-T, paper, quickdraw, ",
    "transplant": "• conv_stem, first 1: ",
    "reuse": "• CKA to P at stem: ",
    "curve": "• P-T[0] → P-T[1], curve at 0.5: ",
    "distance": "• P-T[0] · P-T[1], all: ",
    "label_budget": "• P-T, 20 labels: ",
    "imbalance": "• P-T, ",
}
"""Of some questions what a reader is told who points at one of its marks."""


@pytest.mark.parametrize("name", sorted(DRAWN))
def test_every_question_draws_its_figures(name: str) -> None:
    found = drawn(name)
    assert {figure.name: len(figure.panels) for figure in found} == DRAWN_OF[name]
    told = [text for figure in found for text in hovers(figure)]
    assert told
    assert any(text.startswith(TOLD.get(name, "• ")) for text in told), told[:3]


def test_the_axes_of_a_metric_are_named_after_it() -> None:
    (rates,) = drawn("learning_rate", metric="auc")
    titles = {encoding["y"]["title"] for panel in rates.panels for encoding in parts(panel.to_dict())}
    assert titles == {"Validation mean AUC (0 to 1)"}


def test_a_class_is_coloured_by_its_adjusted_p_and_the_sign_of_its_difference() -> None:
    table = synthetic.mistakes_table()
    harm = table.with_columns(
        pl.when(pl.col("level") == "recall").then(-pl.col(name)).otherwise(pl.col(name)).alias(name)
        for name in ("difference", "low", "high")
    )
    for rows, kind in ((table, "P-T recalls more"), (harm, "P-T recalls less")):
        data = [row for part in drawn("mistakes", rows)[2].panels[0].to_dict()["datasets"].values() for row in part]
        kinds = {row["item"]: row["kind"] for row in data if "kind" in row}
        assert kinds == {"functional": kind, "defective": "undecided"}


def test_without_what_a_table_may_lack_the_rest_is_drawn() -> None:
    paths = synthetic.TABLES["path_in_training"]()
    assert [figure.name for figure in drawn("path_in_training", paths.filter(pl.col("line") == "start"))] == [
        "from-start"
    ]
    spectra = synthetic.TABLES["spectrum"]().filter(pl.col("level") != "ratio")
    assert [figure.name for figure in drawn("spectrum", spectra)] == ["depth", "spectra"]
    module = synthetic.TABLES["module_path"]().with_columns(pl.lit(None, pl.Float64).alias("cka"))
    assert len(drawn("module_path", module)[0].panels) == 3
    probes = synthetic.TABLES["reuse"]().filter(pl.col("measurement").str.starts_with("probe"))
    assert [label for label, _, _ in drawn("reuse", probes)[0].legend] == ["P-T"]
    whole = synthetic.TABLES["block_shuffle"]().filter((pl.col("order") == 0) & (pl.col("origin") == "study"))
    assert [figure.name for figure in drawn("block_shuffle", whole)] == ["gaps"]
