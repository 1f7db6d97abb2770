"""Tested sets in words: one basin, apart, or undecided; and their numbers."""

from typing import Any, Literal

import polars as pl

from transferscope.analyses.contract import Number, Summary
from transferscope.analyses.pairs import pairs_interval
from transferscope.measures.barriers import stability
from transferscope.measures.intervals import Interval

__all__ = ["summary_of"]

_POINTS = 100.0
_NUMBERS = (
    ("ε", "epsilon", ""),
    ("δ", "delta", "ℓ2"),
    ("δ_τ", "delta_tau", "ℓ2"),
    ("barrier within the set", "rise", ""),
)


def summary_of(table: pl.DataFrame, wanted: list[str], batch_norm_images: int, largest: float) -> Summary:
    """Verdict, numbers and notes.

    Args:
        table: of ``basin``.
        wanted: the sets asked for, in their order.
        batch_norm_images: for the note.
        largest: cap of δ over the distance, for the note.
    """
    sets = table.filter((pl.col("level") == "set") & (pl.col("split") == "test"))
    words, numbers = [], []
    for name in wanted:
        errors = sets.filter((pl.col("set") == name) & (pl.col("quantity") == "error")).to_dicts()
        if not errors:
            words.append(f"{name} not measured (diverged, or too few seeds)")
            continue
        words.append(f"{name} {_judged(errors)}")
        for quantity in ("error", "loss"):
            rows = sets.filter((pl.col("set") == name) & (pl.col("quantity") == quantity)).to_dicts()
            numbers += [_number(rows, name, quantity, *what) for what in _NUMBERS]
        numbers.append(_distance(errors, name))
    for row in table.filter(pl.col("level") == "published").to_dicts():
        note = "printed in the paper; another network and task"
        for word, column, unit in (("ε", "epsilon", "1"), ("δ", "delta", "ℓ2"), ("distance", "distance", "ℓ2")):
            numbers.append(Number(f"{word} of the paper, {row['origin']}", row[column], unit=unit, note=note))
    return Summary("; ".join(words) + ".", tuple(numbers), _notes(table, batch_norm_images, largest))


def _judged(rows: list[dict[str, Any]]) -> str:
    """One basin: there is a δ, 2ε is resolved, and no barrier lies within; of several sets all of this in each."""
    from transferscope.measures.intervals import MAGNITUDE

    if any(row["mean"] is None for row in rows):
        return f"undecided: {rows[0]['reason']}"
    heights = [row["rise"] for row in rows]
    many = len(rows) >= 3
    if many:
        interval = pairs_interval(heights, MAGNITUDE)
        said, basis = sum(heights) / len(rows), f"over {len(rows)} disjoint pairs of seeds"
    else:
        lows, highs = [row["rise_low"] for row in rows], [row["rise_high"] for row in rows]
        low, high = (None, None) if None in lows or None in highs else (min(lows), max(highs))
        interval = Interval(max(heights), low, high, rows[0]["examples"], "examples")
        said = max(heights)
        whose = "these networks" if len(rows) == 1 else "these pairs of networks, the larger of two"
        basis = f"from {rows[0]['examples']} test images, for {whose}"
    barrier = f"error barrier {_POINTS * said:.1f} points"
    if interval.low is None or interval.high is None:
        return f"undecided: {barrier}, without limits"
    barrier += f", 95 % limits {_POINTS * interval.low:.1f} to {_POINTS * interval.high:.1f} {basis}"
    match stability(interval):
        case "unstable":
            return f"not one basin: {barrier}"
        case "undecided":
            return f"undecided: {barrier}"
    if not all(row["resolved"] for row in rows):
        return f"undecided: connected ({barrier}), but 2ε is under twice its standard error"
    lost = [row["reason"] for row in rows if row["delta"] is None]
    if lost:
        return f"undecided: connected ({barrier}), but no δ: {lost[0]}"
    return f"one basin ({_radii(rows)}): {barrier}"


def _radii(rows: list[dict[str, Any]]) -> str:
    def span(name: str, scale: float, unit: str) -> str:
        values = sorted(scale * row[name] for row in rows)
        ends = f"{values[0]:.3g}" if len(values) == 1 else f"{values[0]:.3g} to {values[-1]:.3g}"
        return f"{ends}{unit}"

    return (
        f"ε {span('epsilon', _POINTS, ' points')}, δ {span('delta', 1.0, '')} at a distance of "
        f"{span('distance', 1.0, '')}"
    )


def _number(rows: list[dict[str, Any]], name: str, quantity: str, word: str, column: str, unit: str) -> Number:
    from transferscope.measures.intervals import MAGNITUDE

    title = f"{word} of {name} (test {quantity})"
    unit = unit or ("1" if quantity == "error" else "nat")
    values = [row[column] for row in rows]
    lost = [row for row in rows if row[column] is None]
    if lost:
        # A mean of the sets that are left would leave out the very ones that have none.
        reason = lost[0]["reason_tau" if column == "delta_tau" else "reason"]
        count = f" ({len(lost)} of {len(rows)} sets)" if len(rows) > 1 else ""
        return Number(title, None, n=len(rows), unit=unit, note=f"{reason}{count}")
    if len(rows) > 1:
        return Number.of(title, pairs_interval(values, MAGNITUDE), unit)
    row = rows[0]
    low, high, note = _limits(row, column)
    basis: Literal["examples"] | None = None if low is None or high is None else "examples"
    if basis is None:
        low = high = None
    return Number(title, row[column], low, high, basis, row["examples"], unit, note)


def _limits(row: dict[str, Any], column: str) -> tuple[float | None, float | None, str]:
    if column == "epsilon":
        errors = (row["epsilon_se_draws"], row["epsilon_se_examples"])
        if None in errors:
            return None, None, "no standard error"
        half = 1.96 * (errors[0] ** 2 + errors[1] ** 2) ** 0.5
        return max(0.0, row[column] - half), row[column] + half, "one set; error over examples and draws"
    if column == "rise":
        return row["rise_low"], row["rise_high"], "one set"
    note = "one set; limits are values of the grid of δ, from the errors over examples and draws"
    if row[f"{column}_high"] is None:
        note = "one set; no upper limit up to the largest δ tested"
    return row[f"{column}_low"], row[f"{column}_high"], note


def _distance(rows: list[dict[str, Any]], name: str) -> Number:
    from transferscope.measures.intervals import MAGNITUDE

    title = f"distance of the networks of {name}"
    if len(rows) == 1:
        return Number(title, rows[0]["distance"], unit="ℓ2", n=1, note="one set")
    return Number.of(title, pairs_interval([row["distance"] for row in rows], MAGNITUDE), "ℓ2")


def _notes(table: pl.DataFrame, batch_norm_images: int, largest: float) -> tuple[str, ...]:
    notes = []
    policies = set(table["batch_norm"].drop_nulls())
    if policies & {"interpolate", "none"}:
        notes.append("batch-norm statistics were not recomputed: these values are artefacts")
    elif "recompute" in policies:
        notes.append(
            f"batch-norm statistics recomputed at every point on the same {batch_norm_images} training images (or all, "
            "if fewer), corners included"
        )
    notes.append(
        f"δ is a value of a geometric grid up to {largest:g} times the distance of the networks: it lies above the "
        "next smaller value tested; it is no width, for a set with less variation has a smaller ε and so a smaller δ"
    )
    notes.append("any set has some ε: one basin needs a barrier below 2 points as well")
    if (table["corners"] > 2).any():
        notes.append(
            "the barrier of a hull is the largest height at its corners, the middles of its edges, its centre and the "
            "uniform points: one between them may be missed"
        )
    return tuple(notes)
