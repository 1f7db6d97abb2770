"""Estimates and the verdict of module criticality, from its table. No torch here."""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import polars as pl

from transferscope.analyses.estimates import Contrast, Estimate, Quantity
from transferscope.analyses.estimator import estimated
from transferscope.analyses.images import batch_norm_note
from transferscope.analyses.modules import listed
from transferscope.analyses.shuffled_members import shuffled_notes
from transferscope.analyses.summary import Summary
from transferscope.bounds import MAGNITUDE, SHARE
from transferscope.keys import shown
from transferscope.rounding import rounded

__all__ = ["QUANTITIES", "free_modules", "summary_of"]

_BY = ("view", "limit", "variant")
_WHERE = "{view}, {limit}"
_LABELS = {
    "view": {"direct": "direct path", "optimisation": "optimisation path", "final": "at the final value"},
    "limit": {"own": "own ε", "common": "one ε for all"},
}
_SUM = Quantity(
    "mu_sum", "network criticality Σ k·log(1 + μ/k) of {variant}, " + _WHERE, "1", MAGNITUDE, "mu_sum", by=_BY,
    labels=_LABELS,
)  # fmt: skip
_ZERO = Quantity(
    "mu_zero_share", "share of modules with μ = 0, {variant}, " + _WHERE, "1", SHARE, "mu_zero_share", by=_BY,
    labels=_LABELS,
)  # fmt: skip
_GAP = Quantity(
    "mu_sum_gap", "network criticality, {variant} − {rival}, " + _WHERE, column="mu_sum", by=_BY, labels=_LABELS
)

QUANTITIES = (_SUM, _ZERO, _GAP)
"""Of ``criticality``, over networks: a row for each ``view``, ``limit`` (of ε), ``variant`` and seed."""


def free_modules(modules: pl.DataFrame, variant: str) -> list[str]:
    """The modules whose μ is 0 in every seed of a variant, in the order of the network.

    Args:
        modules: rows of level ``module``, of one view and one limit.
        variant: ``P_T`` or ``RI_T``.
    """
    rows = modules.filter(pl.col("variant") == variant)
    kept = rows.group_by("module", "position", maintain_order=True).agg((pl.col("mu") == 0).fill_null(False).all())
    return kept.filter(pl.col("mu")).sort("position")["module"].to_list()


def summary_of(table: pl.DataFrame, margin: float | None) -> Summary:
    """For each variant which modules are free to go back, which are most critical, and the networks' sums.

    Args:
        table: in the declared columns of ``criticality``.
        margin: above the trained network's own value; None where ε was given.
    """
    modules = table.filter(pl.col("level") == "module")
    if modules.is_empty():
        return Summary("Undecided: no network was measured.", notes=tuple(_notes(table)))
    first = modules["view"][0]
    asked = modules.filter((pl.col("view") == first) & (pl.col("limit") == "own"))
    words = [_said(asked, variant) for variant in asked["variant"].unique(maintain_order=True)]
    quantity = "error" if table["quantity"][0] == "error" else "loss"
    within = "the ε that was given" if margin is None else f"{margin:g} of its own"
    verdict = (
        f"With every other module at its final value, training {quantity} within {within}: {'; '.join(words)}. A "
        "description of these networks, on these training images."
    )
    return Summary(verdict, tuple(_estimates(modules, table)), tuple(_notes(table)))


def _said(modules: pl.DataFrame, variant: str) -> str:
    rows = modules.filter(pl.col("variant") == variant)
    seeds = rows["seed"].n_unique()
    free = free_modules(modules, variant)
    every = rows["module"].n_unique()
    whose = "its seed" if seeds == 1 else f"all {seeds} seeds"
    said = f"{shown(variant)}: {len(free)} of {every} modules can go back to their initial value in {whose}"
    if free:
        said += f" ({listed(free)})"
    critical = (
        rows.with_columns(pl.col("mu").fill_null(math.inf))
        .group_by("module")
        .agg(pl.col("mu").median())
        .filter(pl.col("mu") > 0)
        .sort("mu", descending=True)
        .head(3)
    )
    if not critical.is_empty():
        told = ", ".join(f"{name} ({_mu(value)})" for name, value in critical.iter_rows())
        said += f", most critical by the median of μ {told}"
    return said


def _mu(value: float) -> str:
    return "unreachable" if math.isinf(value) else rounded(value)


def _estimates(modules: pl.DataFrame, table: pl.DataFrame) -> Iterator[Estimate]:
    """A network of which a module is unreachable has no sum: its variant's mean would be one of a selection."""
    k, mu = pl.col("parameters"), pl.col("mu")
    networks = modules.group_by(*_BY, "seed", maintain_order=True).agg(
        pl.when(mu.null_count() == 0).then((k * (mu / k).log1p()).sum()).alias("mu_sum"),
        (mu == 0).fill_null(value=False).mean().alias("mu_zero_share"),
        pl.col("unreachable").sum(),
    )
    rivals = [variant for variant in networks["variant"].unique(maintain_order=True) if variant != "P_T"]
    gaps = [replace(_GAP, contrast=Contrast("variant", "P_T", rival)) for rival in rivals]
    found = estimated(networks, (_SUM, _ZERO, *gaps))
    for of, part in networks.group_by(_BY, maintain_order=True):
        if part["mu_sum"].null_count() == part.height:
            at: dict[str, Any] = dict(zip(_BY, of, strict=True))
            found.append(_SUM.undefined("", part.height, **at))
    lost = set(_left_out(table)["variant"])
    for item in found:
        place = {name: item.at[name] for name in _BY}
        unreachable = int(networks.filter(**place)["unreachable"].sum())
        notes = [item.note]
        if item.quantity == _SUM.key and unreachable:
            notes.append(f"{unreachable} modules are unreachable (+∞)")
        if item.quantity == _GAP.key:
            notes.append("comparable at equal granularity alone")
        gone = lost & {item.at["variant"], item.at.get("rival")}
        yield replace(
            item, note="; ".join(filter(None, notes)), flags=(*item.flags, "diverged") if gone else item.flags
        )


def _left_out(table: pl.DataFrame) -> pl.DataFrame:
    return table.filter((pl.col("level") == "final") & pl.col("value").is_null())


def _notes(table: pl.DataFrame) -> list[str]:
    modules = table.filter(pl.col("level") == "module")
    notes = list(
        batch_norm_note(
            table["batch_norm"][:1],
            "on training images at every point",
            "kept as the trained network has them, at every point",
        )
    )
    if lost := _left_out(table)["network"].to_list():
        notes.append(f"diverged or not finite, left out: {', '.join(lost)}")
    if not modules.is_empty():
        evaluated, whole = int(modules["evaluated"].sum()), int(modules["grid_points"].sum())
        notes.append(f"{evaluated} of {whole} grid points were evaluated to find μ")
        edge = modules.filter(pl.col("at_largest_sigma"))["module"].n_unique()
        if edge:
            notes.append(f"{edge} modules bear the largest noise there is: at a larger σ their μ might be smaller")
    notes += shuffled_notes(table)
    notes.append("μ depends on how a network is parametrised: compare networks of one architecture alone")
    return notes
