"""Barriers of lines and curves between pairs of networks, out of a table: estimated, judged and said. No torch here."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import polars as pl

from transferscope.analyses.estimates import Estimate, Quantity
from transferscope.analyses.estimator import over_seeds, units
from transferscope.bounds import MAGNITUDE
from transferscope.keys import shown
from transferscope.rounding import exact

if TYPE_CHECKING:
    from transferscope.bounds import Flag
    from transferscope.measures.intervals import Interval

__all__ = [
    "ARTEFACTS",
    "CONNECTED",
    "barrier",
    "barrier_quantities",
    "barriers",
    "deciding",
    "height",
    "over_pairs",
    "pairs_interval",
    "pairs_of_variants",
    "policy",
    "select",
]

CONNECTED: Mapping[str | None, str] = {
    "stable": "linearly connected",
    "unstable": "separated by a barrier",
    "undecided": "undecided",
}
"""The verdict of a barrier on two networks with a straight line between them, as readers see it."""

_POLICIES = {
    "recompute": "batch norm recomputed",
    "interpolate": "batch norm interpolated",
    "none": "batch norm of the first network",
}
ARTEFACTS = (_POLICIES["interpolate"], _POLICIES["none"])
"""Policies without which a barrier might not be there, as :func:`policy` says them."""


def barrier_quantities(words: str, **labels: Mapping[str, str]) -> dict[str, Quantity]:
    """Declare the barriers of error and loss of one kind of way, by ``error`` and ``loss``.

    Args:
        words: their name, with ``%s`` for error or loss.
        labels: as in :class:`~transferscope.analyses.estimates.Quantity`.
    """
    return {
        of: Quantity(f"{of}_barrier", words % of, unit, MAGNITUDE, labels=labels)
        for of, unit in (("error", "1"), ("loss", "nat"))
    }


def barriers(
    rows: pl.DataFrame,
    quantities: Mapping[str, Quantity],
    baselines: Sequence[str] = ("mean",),
    flags: "Sequence[Flag]" = (),
    **at: Any,
) -> Iterator[Estimate]:
    """Estimate the barriers of one kind of pair on one way: of error and loss, on every split of the table.

    Args:
        rows: barrier rows of that way and kind.
        quantities: as in :func:`barrier_quantities`.
        baselines: linear or mean.
        flags: what is wrong with them.
        at: further coordinates, ``pair`` among them.
    """
    for of, quantity in quantities.items():
        for split in rows["split"].unique(maintain_order=True):
            for baseline in baselines:
                found = select(rows, split, of, baseline)
                at |= {"split": split, "baseline": baseline, "batch_norm": policy(rows)}
                yield barrier(quantity, found, flags, **at)


def barrier(quantity: Quantity, rows: pl.DataFrame, flags: "Sequence[Flag]" = (), **at: Any) -> Estimate:
    """Estimate one barrier over pairs, by :func:`pairs_interval`.

    That of the test error over the mean of the ends is judged (methods, paths): ``stable``, ``unstable`` or
    ``undecided``. Where the rows belong to a family, limits that hold for all of it stand beside those that judge.

    Args:
        quantity: an error or loss barrier.
        rows: one for each pair of a kind.
        flags: what is wrong with it.
        at: the coordinates, ``split`` and ``baseline`` among them.
    """
    from transferscope.measures.barriers import stability
    from transferscope.measures.families import bonferroni_confidence

    interval = pairs_interval(rows)
    size = rows["n_comparisons"][0] if "n_comparisons" in rows.columns else 1
    together = None
    if size > 1:
        together = pairs_interval(rows, bonferroni_confidence(size), "simultaneous_low", "simultaneous_high")
    decides = (quantity.key, at["split"], at["baseline"]) == ("error_barrier", "test", "mean")
    return quantity.of(
        interval, simultaneous=together, n_comparisons=size if size > 1 else None,
        verdict=stability(interval) if decides else None, flags=flags, **at,
    )  # fmt: skip


def pairs_interval(rows: pl.DataFrame, confidence: float = 0.95, low: str = "low", high: str = "high") -> "Interval":
    """The interval of the mean barrier over seeds, leaving one out; without one, that of the worst of the pairs.

    Args:
        rows: with ``barrier``, ``seed_a`` and ``seed_b``; several of one pair are averaged.
        confidence: of the interval over seeds.
        low: column of lower limits over examples.
        high: column of upper limits over examples.

    Returns:
        Without a value where a barrier is not finite: those that are left would be a selection, without the worst.
    """
    from transferscope.measures.intervals import Interval

    if lost := rows["barrier"].null_count():
        note = f"not finite for {lost} of {rows.height} pairs of networks"
        return Interval(None, None, None, rows.height, None, note=note, flags=("incomplete",))
    values = {unit: value for unit, value in units(rows, "barrier").items() if value is not None}
    interval = over_seeds(values, confidence, MAGNITUDE)
    return interval if interval.basis == "seeds" else replace(_worst(rows, low, high), flags=interval.flags)


def _worst(rows: pl.DataFrame, low: str, high: str) -> "Interval":
    """The largest of barriers, with the lowest lower and the highest upper limit, over examples or groups of them.

    All are judged by it: "connected" is said of each, and so is "separated". Several pairs share their images, so that
    what counts is the smaller number.
    """
    from transferscope.measures.intervals import Interval

    lows, highs = rows[low].to_list(), rows[high].to_list()
    counted = rows["n" if "n" in rows.columns else "examples"].to_list()
    note = "one pair" if rows.height == 1 else f"the largest of {rows.height}, with their outermost limits"
    value = max(rows["barrier"].to_list())
    if None in lows or None in highs:
        return Interval(
            value, None, None, min((count for count in counted if count is not None), default=0), None, note=note
        )
    return Interval(value, min(lows), max(highs), min(counted), "examples", note=note)


def over_pairs(quantity: Quantity, rows: pl.DataFrame, column: str, *notes: str, **at: Any) -> Estimate:
    """Estimate the mean of a column over seeds, leaving one out, of what has no limits over examples.

    Args:
        quantity: what it is.
        rows: one for each pair.
        column: null where it is not defined, which leaves the mean undefined.
        notes: what a reader must know of a value.
        at: the coordinates.
    """
    if lost := rows[column].null_count():
        note = f"not defined for {lost} of {rows.height} pairs of networks"
        return quantity.undefined(note, rows.height, ("incomplete",), **at)
    values = {unit: value for unit, value in units(rows, column).items() if value is not None}
    return quantity.of(over_seeds(values, bounds=quantity.bounds), *notes, **at)


def deciding(items: Iterable[Estimate]) -> Estimate:
    """The one barrier of a kind of pair on a way that is judged."""
    (item,) = (item for item in items if item.verdict is not None)
    return item


def height(item: Estimate, pairs: int, what: str = "pair") -> str:
    """A barrier in points, with limits and what they rest on, as said in a verdict.

    Args:
        item: an error barrier.
        pairs: of networks that it is of.
        what: they are, if not pairs.
    """
    if item.value is None:
        return "an error between the ends is not finite"
    found = f"error barrier {exact(100 * item.value):.1f} points"
    if item.low is None or item.high is None:
        return f"{found}, without limits"
    found += f", 95 % limits {exact(100 * item.low):.1f} to {exact(100 * item.high):.1f}"
    if item.basis == "seeds":
        return f"{found} over {item.n} seeds"
    of = f"this {what}" if pairs == 1 else f"the worst of {pairs} {what}s"
    return f"{found} from {item.n} test examples, for {of} of networks"


def pairs_of_variants(table: pl.DataFrame, variants: Iterable[str]) -> Iterator[tuple[str, pl.DataFrame]]:
    """The barrier rows by pair as it is shown (P-T/P-T); no rows where none was measured.

    Args:
        table: of an analysis of ways.
        variants: whose pairs.
    """
    found = table.filter(pl.col("level") == "barrier")
    for variant in variants:
        pair = f"{shown(variant)}/{shown(variant)}"
        yield pair, found.filter(pl.col("pair") == pair)


def select(rows: pl.DataFrame, split: str = "test", quantity: str = "error", baseline: str = "mean") -> pl.DataFrame:
    """The barrier rows of one split, quantity and baseline; by default those that are judged.

    Args:
        rows: of barriers.
        split: train or test.
        quantity: loss or error.
        baseline: linear or mean.
    """
    wanted = (pl.col("split") == split) & (pl.col("quantity") == quantity) & (pl.col("baseline") == baseline)
    return rows.filter(wanted)


def policy(rows: pl.DataFrame) -> str:
    """What was done about batch norm, in words.

    Args:
        rows: of barriers, with ``batch_norm``.
    """
    return ", ".join(_POLICIES.get(name, name) for name in sorted(set(rows["batch_norm"])))
