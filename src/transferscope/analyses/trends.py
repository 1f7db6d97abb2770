"""Which runs still improve when they end, told from their learning curves."""

from typing import TYPE_CHECKING

import polars as pl

from transferscope.errors import AnalysisError
from transferscope.keys import shown

if TYPE_CHECKING:
    from transferscope.measures.curves import Trend


__all__ = ["Curves", "curves_of", "improving", "too_short"]


Curves = dict[int, dict[int, float]]


def curves_of(
    table: pl.DataFrame, variant: str, column: str, setting: str = "chosen", learning_rate: float | None = None
) -> Curves:
    """Curves by seed, each by epoch; diverged runs and epochs without a value are left out.

    Args:
        table: of :class:`LearningCurves`.
        variant: ``P_T``, ``RI_T``, ``RI_T_long``.
        column: for example ``train_metric``.
        setting: ``chosen`` (the variant's own rate, report seeds) or ``grid`` (the tuning runs).
        learning_rate: of the runs; needed where ``setting`` has several.

    Raises:
        AnalysisError: runs at several rates, and none was named.
    """
    rows = table.filter((pl.col("variant") == variant) & (pl.col("setting") == setting))
    if learning_rate is not None:
        rows = rows.filter(pl.col("learning_rate") == learning_rate)
    rates = sorted(rows["learning_rate"].unique())
    if len(rates) > 1:
        raise AnalysisError(
            f"the runs of {shown(variant)} are at several learning rates",
            expected="learning_rate: one of them",
            got=", ".join(f"{rate:.3g}" for rate in rates),
        )
    lost = set(rows.filter(pl.col("diverged"))["seed"].to_list())
    curves: Curves = {}
    for seed, epoch, value in rows.select("seed", "epoch", column).iter_rows():
        if seed not in lost and value is not None:
            curves.setdefault(seed, {})[epoch] = value
    return curves


def improving(table: pl.DataFrame, variant: str) -> list[int]:
    """Seeds of a variant whose validation metric still rises at the end, against its own noise.

    Args:
        table: of :class:`LearningCurves`.
        variant: ``P_T``, ``RI_T`` or ``RI_T_long``.
    """
    return [seed for seed, trend in _trends(table, variant).items() if trend is not None and trend.improving]


def too_short(table: pl.DataFrame, variant: str) -> list[int]:
    """Seeds of a variant with too few epochs to tell whether it still improves.

    Args:
        table: of :class:`LearningCurves`.
        variant: ``P_T``, ``RI_T`` or ``RI_T_long``.
    """
    return [seed for seed, trend in _trends(table, variant).items() if trend is None]


def _trends(table: pl.DataFrame, variant: str) -> dict[int, "Trend | None"]:
    from transferscope.measures.curves import still_improving

    return {seed: still_improving(curve) for seed, curve in curves_of(table, variant, "validation_metric").items()}
