"""Which rows of an analysis's table are small enough, and say enough, to be kept beside the documentation."""

from collections.abc import Callable, Mapping

import polars as pl

from transferscope.analyses.trends import improving, too_short

__all__ = ["BUDGET", "ESTIMATES", "small_table", "table_bytes"]

BUDGET = 60_000
"""Bytes of a table as CSV; one that is still larger is left out, and that is said."""

ESTIMATES = "estimates"
"""Name of the table of all numbers of a study."""

_DIGITS = 6


def small_table(name: str, table: pl.DataFrame) -> pl.DataFrame | None:
    """The rows of an analysis that summarise.

    Rows of single networks and examples go where means stand beside them; what statistics of pairs are computed from
    (κ, CKA, distances, barriers of each pair) stays. Keys of networks go, and numbers have six digits.

    Args:
        name: of the analysis.
        table: all its rows.

    Returns:
        A part of the table, or means of it; None where nothing small says enough.

    >>> table = pl.DataFrame({"level": ["network", "gap"], "seed": [0, None], "value": [1.0, 0.123456789]})
    >>> small_table("outcome", table).rows()
    [('gap', None, 0.123457)]
    """
    kept = _KEPT.get(name, _means_alone)(table)
    numbers = [column for column, dtype in kept.schema.items() if dtype.is_float()]
    kept = kept.with_columns(pl.col(numbers).round_sig_figs(_DIGITS))
    return kept if len(table_bytes(kept)) <= BUDGET else None


def table_bytes(table: pl.DataFrame) -> bytes:
    """The table as CSV, as it is kept."""
    return table.write_csv().encode()


def _means_alone(table: pl.DataFrame) -> pl.DataFrame:
    """Without rows of one network, tuning run, channel or class, and without the points of curves."""
    if "level" not in table.columns:
        return table
    return table.filter(~pl.col("level").is_in(["network", "tuning", "channel", "curve", "class", "confusion"]))


def _over_seeds(*by: str) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """Means over the networks of all seeds that did not diverge."""

    def means(table: pl.DataFrame) -> pl.DataFrame:
        own = table.filter((pl.col("level") == "network") & ~pl.col("diverged"))
        of = [name for name in ("images", "value", "loss", "validation_error") if name in own.columns]
        kept = own.group_by(*by, maintain_order=True).agg(pl.col(of).mean(), n=pl.col("seed").n_unique())
        return kept.select(pl.lit("mean").alias("level"), *by, *of, "n")

    return means


def _curves(table: pl.DataFrame) -> pl.DataFrame:
    """Means over seeds; whether any run of a variant still improved is kept with them, null where none can tell."""
    metrics = [f"{split}_metric" for split in ("train", "validation", "test")]
    chosen = table.filter(pl.col("setting") == "chosen")
    rising = {variant: _rising(table, variant) for variant in chosen["variant"].unique()}
    means = chosen.group_by("variant", "learning_rate", "epoch", maintain_order=True).agg(
        *(pl.col(name).mean() for name in metrics),
        pl.col("train_metric").count().alias("n"),
        pl.col("diverged").any(),
    )
    return means.with_columns(pl.col("variant").replace_strict(rising, return_dtype=pl.Boolean).alias("improving"))


def _rising(table: pl.DataFrame, variant: str) -> bool | None:
    if improving(table, variant):
        return True
    return None if too_short(table, variant) else False


def _ablations(table: pl.DataFrame) -> pl.DataFrame:
    """Rows of all seeds; whether any network of a variant still improved is kept with the mean over them."""
    own = table.filter((pl.col("level") == "network") & (pl.col("origin") == "study") & ~pl.col("diverged"))
    told = pl.when(pl.col("improving").count() == pl.len()).then(pl.col("improving").any())
    rising = own.group_by("label", "variant", maintain_order=True).agg(told.alias("any_improving"))
    kept = table.filter(pl.col("level") != "network").join(rising, on=["label", "variant"], how="left")
    of_study = (pl.col("level") == "variant") & (pl.col("origin") == "study")
    return kept.with_columns(improving=pl.when(of_study).then("any_improving")).drop(
        "any_improving",
        "network",
        "seed",
        "permutation_seed",
        "learning_rate",
        "epochs",
        "train_metric",
        "validation_metric",
    )


def _pairs_of_mistakes(table: pl.DataFrame) -> pl.DataFrame:
    return table.filter(pl.col("level").is_in(["all", "within"])).select(
        "level", "pair", "a", "b", "variant_a", "seed_a", "variant_b", "seed_b", "examples", "common", "only_a",
        "only_b", "jaccard", "same_wrong_label", "kappa", "kappa_low", "kappa_high", "kappa_max",
    )  # fmt: skip


def _like_modules(table: pl.DataFrame) -> pl.DataFrame:
    like = table.filter((pl.col("module_a") == pl.col("module_b")) & (pl.col("a") != pl.col("b")))
    return like.select(
        "a", "b", "variant_a", "seed_a", "variant_b", "seed_b", "cka", "estimator", "pooling", "examples",
        position="position_a", module="module_a",
    )  # fmt: skip


def _at_equal_epochs(table: pl.DataFrame) -> pl.DataFrame:
    """Means over seeds, of both at one epoch, or of one of them at its last."""
    last = pl.max_horizontal(pl.col("epoch_a").max(), pl.col("epoch_b").max())
    equal, ended = pl.col("epoch_a") == pl.col("epoch_b"), pl.col("epoch_b") == last
    return (
        table.filter(equal | ended)
        .group_by("variant_a", "epoch_a", "variant_b", "epoch_b", "module", "position", maintain_order=True)
        .agg(pl.col("cka").mean(), pl.col("cka").count().alias("n"))
    )


def _totals_and_means(table: pl.DataFrame) -> pl.DataFrame:
    """Totals of every pair; single modules as means over the pairs of a kind."""
    columns = ["distance", "relative", "cosine", "cosine_without_decay"]
    names = ["variant_a", "seed_a", "variant_b", "seed_b"]
    totals = table.filter(pl.col("position") < 0).select("pair", *names, "part", "position", "parameters", *columns)
    modules = (
        table.filter(pl.col("position") >= 0)
        .group_by("pair", "part", "position", "parameters", maintain_order=True)
        .agg(pl.col(columns).mean())
    )
    return pl.concat([totals, modules], how="diagonal").select(totals.columns)


def _without_points(table: pl.DataFrame) -> pl.DataFrame:
    """What lines and planes amount to on test images: barriers and marks, without the points they are drawn from."""
    kept = table.filter((pl.col("level") != "point") & (pl.col("split") == "test"))
    return _without_empty(kept)


def _barriers_of_modules(table: pl.DataFrame) -> pl.DataFrame:
    """The test error's barrier of every module over the mean of the ends; of all lines the one that verdicts use."""
    kept = table.filter(
        (pl.col("level") == "barrier")
        & (pl.col("split") == "test")
        & (pl.col("quantity") == "error")
        & (pl.col("baseline") == "mean")
    )
    return _without_empty(kept)


def _mu_of_modules(table: pl.DataFrame) -> pl.DataFrame:
    """μ of every module and network, without the grid it was found on."""
    return _without_empty(table.filter(pl.col("level") == "module"))


def _ratios_of_operators(table: pl.DataFrame) -> pl.DataFrame:
    """How the largest singular value and the stable rank of each operator changed, over seeds."""
    kept = table.filter((pl.col("level") == "ratio") & pl.col("quantity").is_in(["largest", "stable_rank"]))
    return kept.select(
        "operator", "kind", "map", "variant", "quantity", "value", "simultaneous_low", "simultaneous_high", "basis", "n"
    )


def _without_empty(table: pl.DataFrame) -> pl.DataFrame:
    return table.select(name for name in table.columns if table[name].null_count() < max(1, len(table)))


def _modules_of_channels(table: pl.DataFrame) -> pl.DataFrame:
    shares = ["reused", "same_index", "correlation", "correlation_same", "kept_index"]
    return (
        table.filter(pl.col("level") == "module")
        .group_by("variant", "module", "position", "channels", maintain_order=True)
        .agg(pl.col(shares).mean(), pl.col("seed").n_unique().alias("n"))
    )


_KEPT: Mapping[str, Callable[[pl.DataFrame], pl.DataFrame]] = {
    "learning_curves": _curves,
    "label_budget": _over_seeds("variant", "fraction", "split", "metric"),
    "imbalance": _over_seeds("variant", "ratio", "split", "metric"),
    "block_shuffle": _ablations,
    "mistakes": _pairs_of_mistakes,
    "similarity": _like_modules,
    "similarity_in_training": _at_equal_epochs,
    "distance": _totals_and_means,
    "path": _without_points,
    "module_path": _barriers_of_modules,
    "criticality": _mu_of_modules,
    "spectrum": _ratios_of_operators,
    "path_in_training": _without_points,
    "curve": _without_points,
    "plane": _without_points,
    "reused_channels": _modules_of_channels,
}
