"""The metric of P-T and RI-T against the number of training labels."""

import polars as pl

from transferscope.plots.label_curve import Words, label_curve
from transferscope.plots.theme import Figure, colour, shown_column

__all__ = ["figures"]

_VARIANTS = ("P-T", "RI-T")
_WORDS = Words(
    "The metric by the number of training labels",
    "Mean over seeds on test data, trained for as many updates at every budget; bands reach from the lowest to the "
    "highest seed. The label multiplier is the distance along the axis from P-T to where RI-T comes as high. "
    "Validation images are used beside these labels.",
    "Test metric against the number of training labels",
)


def figures(table: pl.DataFrame, metric: str = "top1") -> tuple[Figure, ...]:
    """The figures of ``label_budget``; none where nothing was trained to an end."""
    runs = table.filter((pl.col("level") == "network") & (pl.col("split") == "test")).drop_nulls("value")
    value = pl.col("value")
    means = (
        runs.with_columns(shown_column("variant"))
        .group_by("variant", "fraction", maintain_order=True)
        .agg(pl.col("images").max(), value.mean(), low=value.min(), high=value.max())
        .select("low", "high", "value", model=pl.lit("P-T and RI-T"), features="variant", labels="images")
        .sort("labels")
    )
    colours = {variant: colour(variant) for variant in _VARIANTS}
    return label_curve(means, metric, colours, dict(zip(_VARIANTS, _VARIANTS, strict=True)), _WORDS)
