"""Tested sets in words: one basin, apart, or undecided; and their numbers."""

from collections.abc import Iterator
from typing import Any

import polars as pl

from transferscope.analyses.barrier_estimates import barrier, barrier_quantities, height, over_pairs, policy
from transferscope.analyses.estimates import Estimate, Quantity
from transferscope.analyses.images import batch_norm_note, on_same
from transferscope.analyses.summary import Summary
from transferscope.bounds import MAGNITUDE

__all__ = ["QUANTITIES", "summary_of"]

_POINTS = 100.0
_BARRIERS = barrier_quantities("barrier within the set of {set} ({split} %s)")
_RADII = {
    (of, column): Quantity(f"{of}_{column}", f"{word} of {{set}} ({{split}} {of})", unit, MAGNITUDE)
    for of, nat in (("error", "1"), ("loss", "nat"))
    for word, column, unit in (("ε", "epsilon", nat), ("δ", "delta", "ℓ2"), ("δ_τ", "delta_tau", "ℓ2"))
}
_DISTANCE = Quantity("distance", "distance of the networks of {set}", "ℓ2", MAGNITUDE)
_PUBLISHED = {
    column: Quantity(f"published_{column}", f"{word} of the paper, {{origin}}", unit, MAGNITUDE)
    for word, column, unit in (("ε", "epsilon", "1"), ("δ", "delta", "ℓ2"), ("distance", "distance", "ℓ2"))
}
QUANTITIES = (*_BARRIERS.values(), *_RADII.values(), _DISTANCE, *_PUBLISHED.values())
"""Of ``basin``: ``set`` is a kind of segments, or a hull; ``origin`` the target of the paper."""


def summary_of(table: pl.DataFrame, wanted: list[str], batch_norm_images: int, largest: float) -> Summary:
    """Verdict, estimates and notes.

    Args:
        table: of ``basin``.
        wanted: the sets asked for, in their order.
        batch_norm_images: for the note.
        largest: cap of δ over the distance, for the note.
    """
    sets = table.filter((pl.col("level") == "set") & (pl.col("split") == "test"))
    sets = sets.with_columns(barrier="rise", low="rise_low", high="rise_high")
    words: list[str] = []
    estimates: list[Estimate] = []
    for name in wanted:
        measured = {of: sets.filter((pl.col("set") == name) & (pl.col("quantity") == of)) for of in _BARRIERS}
        if measured["error"].is_empty():
            words.append(f"{name} not measured (diverged, or too few seeds)")
            continue
        heights = {
            of: barrier(_BARRIERS[of], rows, set=name, split="test", baseline="mean", batch_norm=policy(rows))
            for of, rows in measured.items()
        }
        words.append(f"{name} {_judged(heights['error'], measured['error'])}")
        for of, rows in measured.items():
            estimates += [heights[of], *_radii(of, name, rows)]
        estimates.append(over_pairs(_DISTANCE, measured["error"], "distance", set=name))
    for row in table.filter(pl.col("level") == "published").iter_rows(named=True):
        for column, quantity in _PUBLISHED.items():
            note = "printed in the paper; another network and task"
            estimates.append(quantity.number(row[column], None, note, origin=row["origin"]))
    return Summary("; ".join(words) + ".", tuple(estimates), _notes(table, batch_norm_images, largest))


def _judged(item: Estimate, rows: pl.DataFrame) -> str:
    """One basin: there is a δ, 2ε is resolved, and no barrier lies within; of several sets all of this in each."""
    reasons = ", ".join(rows["reason"].drop_nulls().unique(maintain_order=True))
    if rows["mean"].null_count():
        return f"undecided: {reasons}"
    said = height(item, rows.height, "set")
    match item.verdict:
        case "unstable":
            return f"not one basin: {said}"
        case "undecided":
            return f"undecided: {said}"
    if not rows["resolved"].fill_null(value=False).all():
        return f"undecided: connected ({said}), but 2ε is under twice its standard error"
    if rows["delta"].null_count():
        return f"undecided: connected ({said}), but no δ: {reasons}"
    return f"one basin ({_spans(rows)}): {said}"


def _spans(rows: pl.DataFrame) -> str:
    def span(name: str, scale: float, unit: str) -> str:
        values = sorted(scale * value for value in rows[name])
        ends = f"{values[0]:.3g}" if len(values) == 1 else f"{values[0]:.3g} to {values[-1]:.3g}"
        return f"{ends}{unit}"

    return (
        f"ε {span('epsilon', _POINTS, ' points')}, δ {span('delta', 1.0, '')} at a distance of "
        f"{span('distance', 1.0, '')}"
    )


def _radii(of: str, name: str, rows: pl.DataFrame) -> Iterator[Estimate]:
    """ε, δ and δ_τ: of one set with limits over examples, of several over seeds."""
    from transferscope.measures.intervals import Interval

    at: dict[str, Any] = {"set": name, "split": "test"}
    for column in ("epsilon", "delta", "delta_tau"):
        quantity = _RADII[of, column]
        if lost := rows[column].null_count():
            # A mean of the sets that are left would leave out the very ones that have none.
            reason = rows["reason_tau" if column == "delta_tau" else "reason"].drop_nulls()[0]
            count = f" ({lost} of {rows.height} sets)" if rows.height > 1 else ""
            yield quantity.undefined(f"{reason}{count}", rows.height, ("incomplete",), **at)
        elif rows.height > 1:
            yield over_pairs(quantity, rows, column, **at)
        else:
            row = rows.row(0, named=True)
            low, high, note = _limits(row, column)
            if low is None or high is None:
                low = high = None
            interval = Interval(
                row[column], low, high, row["examples"], "examples" if low is not None else None, note=note
            )
            yield quantity.of(interval, **at)


def _limits(row: dict[str, Any], column: str) -> tuple[float | None, float | None, str]:
    if column == "epsilon":
        errors = (row["epsilon_se_draws"], row["epsilon_se_examples"])
        if None in errors:
            return None, None, "no standard error"
        half = 1.96 * (errors[0] ** 2 + errors[1] ** 2) ** 0.5
        return max(0.0, row[column] - half), row[column] + half, "one set; error over examples and draws"
    note = "one set; limits are values of the grid of δ, from the errors over examples and draws"
    if row[f"{column}_high"] is None:
        note = "one set; no upper limit up to the largest δ tested"
    return row[f"{column}_low"], row[f"{column}_high"], note


def _notes(table: pl.DataFrame, batch_norm_images: int, largest: float) -> tuple[str, ...]:
    notes = list(
        batch_norm_note(
            table["batch_norm"],
            f"{on_same(batch_norm_images)}, corners included",
            "were not recomputed: these values are artefacts",
        )
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
