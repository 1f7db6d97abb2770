"""What trained networks end with: final metrics and optimisation speed, by variant and seed, and shares of a gain."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from transferscope.analyses.estimates import Estimate, Quantity
from transferscope.analyses.trends import improving, too_short
from transferscope.context.study_network import StudyNetwork
from transferscope.rounding import exact
from transferscope.study.columns import Column

if TYPE_CHECKING:
    from transferscope.bounds import Flag
    from transferscope.context.context import Context
    from transferscope.measures.intervals import Interval

__all__ = [
    "END_METRICS",
    "EndMetric",
    "Ends",
    "by_interval",
    "columns_of",
    "ends_of",
    "estimate_of",
    "gain",
    "interval_columns",
    "network_columns",
    "over_seeds_row",
    "run_columns",
    "share",
    "span",
    "why_no_claim",
]

EndMetric = tuple[Literal["metric", "speed"], Literal["train", "validation", "test"]]
END_METRICS: tuple[EndMetric, ...] = (("metric", "validation"), ("metric", "test"), ("speed", "train"))
"""Final metric, and optimisation speed: the mean clean training metric over the epochs common to all, from 1."""

BySeed = dict[int, float]

_SEEDS = 3  # fewer give no interval


def columns_of(
    difference: str, family: str, no_family: str = "no interval", unit: str = "metric; 1 for a share"
) -> dict[str, Column]:
    """The declared columns ``split`` to ``n`` of a table of ends, as :func:`interval_columns` fills them.

    Args:
        difference: the level of the rows that hold a difference.
        family: of which the simultaneous limits hold at once.
        no_family: why they are null.
        unit: of ``value``.
    """
    limit = "as {}, for " + family + " at once (Bonferroni)"
    return {
        "split": Column(str, "train (speed), validation or test"),
        "value": Column(
            float,
            f"the quantity; of a {difference} the difference, of a share the ratio, not clipped",
            unit,
            "row",
            "diverged or undefined: see note",
        ),
        "low": Column(float, "lower end of the 95 % interval, or of a range", "as value", "row", "no interval"),
        "high": Column(float, "upper end of the 95 % interval, or of a range", "as value", "row", "no interval"),
        "simultaneous_low": Column(float, limit.format("low"), "as value", "row", no_family),
        "simultaneous_high": Column(float, limit.format("high"), "as value", "row", no_family),
        "basis": Column(str, "seeds, or range (of two seeds)", null="one run, or no interval"),
        "n": Column(int, "how many seeds the row rests on", "count"),
    }


@dataclass(frozen=True)
class Ends:
    """Values of trained networks; diverged ones and undefined metrics are left out.

    Attributes:
        values: by quantity, name of the network's role, and seed.
        lost: role and seed of those that diverged.
    """

    values: Mapping[EndMetric, Mapping[str, BySeed]]
    lost: frozenset[tuple[str, int]] = field(default_factory=frozenset)

    def of(self, quantity: EndMetric, role: str) -> BySeed:
        """By seed; empty where no network of the role has a value."""
        return dict(self.values[quantity].get(role, {}))


def ends_of(members: Iterable[tuple[str, StudyNetwork]], context: "Context") -> Ends:
    """Read the histories of trained networks: no network is run.

    Args:
        members: role and network; a network may have several roles.
        context: gives the histories.
    """
    from transferscope.measures.curves import optimisation_speed

    values: dict[EndMetric, dict[str, BySeed]] = {quantity: {} for quantity in END_METRICS}
    curves: dict[tuple[str, int], dict[int, float]] = {}
    lost = set()
    for role, member in members:
        history = context.history(member.spec)
        last = history.row(-1, named=True)
        if last["diverged"]:
            lost.add((role, member.seed))
            continue
        for split in ("validation", "test"):
            if last[f"{split}_metric"] is not None:
                values["metric", split].setdefault(role, {})[member.seed] = last[f"{split}_metric"]
        known = history.filter(pl.col("train_metric").is_not_null())
        if known.height:
            curves[role, member.seed] = dict(zip(known["epoch"], known["train_metric"], strict=True))
    speeds = optimisation_speed(list(curves.values())) if curves else None
    for (role, seed), speed in zip(curves, speeds or (), strict=speeds is not None):
        values["speed", "train"].setdefault(role, {})[seed] = speed
    return Ends(values, frozenset(lost))


def gain(ends: Ends, quantity: EndMetric, better: str, worse: str, confidence: float = 0.95) -> "Interval":
    """The difference of two roles, paired by seed."""
    from transferscope.measures.intervals import DIFFERENCE, Interval, paired_seeds_interval

    a, b = ends.of(quantity, better), ends.of(quantity, worse)
    seeds = sorted(set(a) & set(b))
    if not seeds:
        return Interval(None, None, None, 0, None, confidence, "no seed has a finished run of both")
    return paired_seeds_interval([a[seed] for seed in seeds], [b[seed] for seed in seeds], confidence, DIFFERENCE)


def share(ends: Ends, quantity: EndMetric, part: str, none: str, whole: str, confidence: float = 0.95) -> "Interval":
    """(A_part − A_none) / (A_whole − A_none), unclipped, with Fieller's interval over the seeds that all three have."""
    from transferscope.measures.intervals import Interval, fieller

    a, b, c = (ends.of(quantity, role) for role in (part, none, whole))
    seeds = sorted(set(a) & set(b) & set(c))
    if not seeds:
        return Interval(None, None, None, 0, None, confidence, "no seed has a finished run of all three")
    return fieller([a[seed] - b[seed] for seed in seeds], [c[seed] - b[seed] for seed in seeds], confidence, scale=1.0)


def by_interval(ends: Ends, quantity: EndMetric, role: str) -> "Interval":
    """The mean of a role over its seeds."""
    from transferscope.measures.intervals import SHARE, Interval, seeds_interval

    values = list(ends.of(quantity, role).values())
    if not values:
        return Interval(None, None, None, 0, None, note="no finished run with a defined value")
    return seeds_interval(values, bounds=SHARE)


def interval_columns(interval: "Interval", simultaneous: "Interval | None" = None) -> dict[str, Any]:
    """The columns ``value, low, high, simultaneous_low, simultaneous_high, basis, n, note`` of a row."""
    together = simultaneous if simultaneous is not None and simultaneous.basis == "seeds" else None
    return {
        "value": interval.value,
        "low": interval.low,
        "high": interval.high,
        "simultaneous_low": None if together is None else together.low,
        "simultaneous_high": None if together is None else together.high,
        "basis": interval.basis,
        "n": interval.n,
        "note": interval.note or None,
    }


def run_columns(value: float | None, lost: bool) -> dict[str, Any]:
    """The columns ``value, n, diverged, note`` of one training.

    Args:
        value: None where there is none.
        lost: it diverged.
    """
    note = "diverged" if lost else None if value is not None else "undefined for these labels"
    return {"value": value, "n": 1, "diverged": lost, "note": note}


def network_columns(ends: Ends, quantity: EndMetric, role: str, seed: int) -> dict[str, Any]:
    """The columns ``level, seed, value, n, diverged, note`` of one network's row."""
    value = ends.of(quantity, role).get(seed)
    return {"level": "network", "seed": seed, **run_columns(value, (role, seed) in ends.lost)}


def over_seeds_row(
    row: Mapping[str, Any], value: str = "value", low: str = "low", high: str = "high"
) -> tuple[dict[str, Any], "tuple[Flag, ...]"]:
    """The columns ``value, low, high, basis, n`` of a number over seeds, and its flags.

    Args:
        row: of a table, with ``n`` seeds.
        value: its column.
        low: its column; null where there is no interval.
        high: its column.
    """
    limits = {"value": row[value], "low": row[low], "high": row[high], "n": row["n"]}
    few = row["n"] < _SEEDS
    basis = None if row[low] is None else "range" if few else "seeds"
    none = row[value] is None
    flags: tuple[Flag, ...] = () if none or basis == "seeds" else ("too_few_seeds",) if few else ("no_spread",)
    return {**limits, "basis": basis}, flags


def estimate_of(quantity: Quantity, row: Mapping[str, Any], *flags: "Flag", **more: Any) -> Estimate:
    """The estimate that a row of a difference or a share over seeds holds.

    Args:
        quantity: of which it is.
        row: with ``value, low, high, simultaneous_low, simultaneous_high, n, diverged, note``.
        flags: what else is wrong with it.
        more: of :meth:`Quantity.at_row`, coordinates among them.
    """
    values, found = over_seeds_row(row)
    lost: tuple[Flag, ...] = ("diverged",) if row["diverged"] else ()
    note = "a diverged seed is left out" if row["diverged"] else None
    return quantity.at_row({**row, **values}, row["note"], note, flags=(*found, *lost, *flags), **more)


def span(item: "Estimate | Interval", scale: float, digits: int, unit: str = "", sign: str = "+") -> str:
    """A number in words: ``+0.8 (95 % interval over 3 seeds +0.2 to +1.4)``, or its range, or its value alone.

    Args:
        item: its value is defined.
        scale: what numbers are multiplied by.
        digits: after the point.
        unit: written after numbers.
        sign: ``+`` also signs positive numbers.
    """
    assert item.value is not None
    value = f"{exact(scale * item.value):{sign}z.{digits}f}{unit}"
    if item.low is None or item.high is None:
        return f"{value} ({item.n} seed{'s' if item.n != 1 else ''}, no interval)"
    ends = f"{exact(scale * item.low):{sign}z.{digits}f} to {exact(scale * item.high):{sign}z.{digits}f}{unit}"
    words = f"95 % interval over {item.n} seeds" if item.basis == "seeds" else f"range of {item.n} seeds"
    return f"{value} ({words} {ends})"


def why_no_claim(curves: pl.DataFrame, variant: str = "RI_T") -> str | None:
    """Why no claim on the final gain is made; None where one may be.

    Args:
        curves: the table of ``learning_curves``.
        variant: the one whose end counts.
    """
    if improving(curves, variant):
        return "RI-T is still improving at the end"
    if too_short(curves, variant):
        return "RI-T has too few epochs to tell whether it is still improving"
    return None
