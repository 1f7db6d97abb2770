"""Numbers and the verdict of module criticality, from its table. No torch here."""

import math
from typing import Any

import polars as pl

from transferscope.analyses.contract import Number, Summary
from transferscope.analyses.rounding import rounded
from transferscope.analyses.shuffled import shuffled_notes
from transferscope.analyses.variants import shown

__all__ = ["free_modules", "summary_of"]


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
    numbers: list[Number] = []
    for view in modules["view"].unique(maintain_order=True):
        rows = modules.filter(pl.col("view") == view)
        for limit in ("own", "common"):
            numbers += _numbers(rows.filter(pl.col("limit") == limit), view, limit)
    first = modules["view"][0]
    asked = modules.filter((pl.col("view") == first) & (pl.col("limit") == "own"))
    words = [_said(asked, variant) for variant in asked["variant"].unique(maintain_order=True)]
    quantity = "error" if table["quantity"][0] == "error" else "loss"
    within = "the ε that was given" if margin is None else f"{margin:g} of its own"
    verdict = (
        f"With every other module at its final value, training {quantity} within {within}: {'; '.join(words)}. A "
        "description of these networks, on these training images."
    )
    return Summary(verdict, tuple(numbers), tuple(_notes(table)))


def _said(modules: pl.DataFrame, variant: str) -> str:
    rows = modules.filter(pl.col("variant") == variant)
    seeds = rows["seed"].n_unique()
    free = free_modules(modules, variant)
    every = rows["module"].n_unique()
    whose = "its seed" if seeds == 1 else f"all {seeds} seeds"
    said = f"{shown(variant)}: {len(free)} of {every} modules can go back to their initial value in {whose}"
    if free:
        said += f" ({_listed(free)})"
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


def _listed(names: list[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _mu(value: float) -> str:
    return "unreachable" if math.isinf(value) else rounded(value)


def _sums(rows: pl.DataFrame) -> dict[str, dict[int, float]]:
    """Σ k·log(1 + μ/k) by variant and seed, of networks without an unreachable module."""
    found: dict[str, dict[int, float]] = {}
    for (variant, seed), part in rows.group_by("variant", "seed", maintain_order=True):
        if part["mu"].null_count():
            continue
        total = math.fsum(k * math.log1p(mu / k) for mu, k in part.select("mu", "parameters").iter_rows())
        found.setdefault(str(variant), {})[int(str(seed))] = total
    return found


def _numbers(rows: pl.DataFrame, view: str, limit: str) -> list[Number]:
    from transferscope.measures.intervals import MAGNITUDE, SHARE, paired_seeds_interval, seeds_interval

    where = f"{view} path" if view != "final" else "at the final value"
    epsilon = "own ε" if limit == "own" else "one ε for all"
    sums = _sums(rows)
    numbers = []
    for (variant,), part in rows.group_by("variant", maintain_order=True):
        name = shown(str(variant))
        lost = int(part["unreachable"].sum())
        values = list(sums.get(str(variant), {}).values())
        title = f"network criticality Σ k·log(1 + μ/k) of {name}, {where}, {epsilon}"
        if values:
            said = f"{lost} modules unreachable" if lost else ""
            numbers.append(Number.of(title, seeds_interval(values, bounds=MAGNITUDE), "1", said))
        else:
            numbers.append(Number(title, None, note=f"{lost} modules are unreachable (+∞)"))
        zero = [float((p["mu"] == 0).sum()) / p.height for _, p in part.group_by("seed", maintain_order=True)]
        title = f"share of modules with μ = 0, {name}, {where}, {epsilon}"
        numbers.append(Number.of(title, seeds_interval(zero, bounds=SHARE)))
    for other in sums:
        pairs = sorted(set(sums.get("P_T", {})) & set(sums[other]))
        if other != "P_T" and pairs:
            a, b = ([sums[variant][seed] for seed in pairs] for variant in ("P_T", other))
            title = f"network criticality, P-T − {shown(other)}, {where}, {epsilon}"
            numbers.append(Number.of(title, paired_seeds_interval(a, b), "1", "comparable at equal granularity alone"))
    return numbers


def _notes(table: pl.DataFrame) -> list[str]:
    notes: list[str] = []
    modules = table.filter(pl.col("level") == "module")
    policy = _first(table, "batch_norm")
    if policy == "recompute":
        notes.append("batch-norm statistics recomputed on training images at every point")
    elif policy == "none":
        notes.append("batch-norm statistics kept as the trained network has them, at every point")
    lost = table.filter((pl.col("level") == "final") & pl.col("value").is_null())["network"].to_list()
    if lost:
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


def _first(table: pl.DataFrame, column: str) -> Any:
    return table[column][0] if table.height else None
