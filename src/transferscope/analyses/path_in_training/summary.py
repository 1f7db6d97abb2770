"""From when on runs are connected: to each other, and each to its own end."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from transferscope.analyses.barrier_estimates import barrier, barrier_quantities, over_pairs, policy, select
from transferscope.analyses.checkpoints import evenly
from transferscope.analyses.estimates import Estimate, Quantity
from transferscope.analyses.path_rows import line_notes
from transferscope.analyses.summary import Summary
from transferscope.bounds import MAGNITUDE
from transferscope.keys import shown

__all__ = ["QUANTITIES", "Connected", "connected_from", "summary"]

_RUNS = {f"{name} to its end": name for name in ("P-T", "RI-T")}
_BARRIERS = barrier_quantities(
    "%s barrier of {pair} at epoch {epoch}{line} ({split}, {baseline} baseline)",
    pair=_RUNS, line={"across": "", "end": " to its end", "start": ""},
)  # fmt: skip
_CONNECTED = Quantity(
    "connected_from", "first epoch from which {pair} {line}, of those looked at", "epoch", MAGNITUDE,
    labels={"pair": _RUNS, "line": {"across": "stay connected", "end": "is connected to its end"}},
)  # fmt: skip
_NO_HILL = Quantity(
    "no_hill_from", "first epoch from which {pair} has no hill to its end ({baseline} baseline), of those looked at",
    "epoch", MAGNITUDE, labels={"pair": _RUNS},
)  # fmt: skip
QUANTITIES = (*_BARRIERS.values(), _CONNECTED, _NO_HILL)
"""Of ``path_in_training``: ``line`` is across, end or start."""


@dataclass(frozen=True)
class Connected:
    """From which of the epochs looked at on a run (or a pair of runs) is linearly connected, and how sure that is.

    Attributes:
        by: the first epoch from which all barriers have their upper limit below two points; None if the last has not.
        after: the last epoch at which the barrier is at or above two points by its simultaneous lower limit; None if
            there is none.
        epochs: looked at.
    """

    by: int | None
    after: int | None
    epochs: tuple[int, ...]

    @property
    def decided(self) -> bool:
        """Whether no epoch is left between what is shown to be apart and what is shown to be connected."""
        if self.by is None:
            return self.after == self.epochs[-1]
        place = self.epochs.index(self.by)
        return self.after is None if place == 0 else self.after == self.epochs[place - 1]

    @property
    def words(self) -> str:
        """As said in a verdict."""
        if self.by is None:
            if self.decided:
                return f"still apart at epoch {self.epochs[-1]}"
            return "undecided" + (f" (after epoch {self.after})" if self.after is not None else "")
        if self.decided:
            return f"from epoch {self.by}"
        return f"undecided ({f'after epoch {self.after}, ' if self.after is not None else ''}by epoch {self.by})"


def connected_from(rows: Sequence[dict[str, Any]]) -> Connected:
    """Judge the epochs of one run, or of one pair of runs.

    The upper limits are single ones: the epochs are tested in a fixed order, from the last backwards, until one fails,
    which errs in at most one of 40 cases. Which epoch is the last to be apart is looked for among all of them: the
    lower limits are simultaneous.

    Args:
        rows: barriers of the test error against one baseline, one for each epoch.
    """
    from transferscope.measures.barriers import stability
    from transferscope.measures.intervals import Interval

    ordered = sorted(rows, key=lambda row: int(row["epoch"]))
    by, after = None, None
    open_end = True
    for row in reversed(ordered):
        single = Interval(row["barrier"], row["low"], row["high"], row["n"], "examples")
        together = Interval(row["barrier"], row["simultaneous_low"], row["simultaneous_high"], row["n"], "examples")
        open_end = open_end and stability(single) == "stable"
        by = row["epoch"] if open_end else by
        if after is None and stability(together) == "unstable":
            after = row["epoch"]
    return Connected(by, after, tuple(int(row["epoch"]) for row in ordered))


def summary(table: pl.DataFrame, batch_norm: str, batch_norm_images: int, points: int) -> Summary:
    """Estimates and verdict of ``path_in_training``.

    Args:
        table: in the declared columns of the analysis.
        batch_norm: its setting.
        batch_norm_images: its setting.
        points: its setting.
    """
    barriers = table.filter((pl.col("level") == "barrier") & (pl.col("split") == "test"))
    errors, hills = select(barriers), select(barriers, baseline="linear")
    losses = select(barriers, quantity="loss", baseline="linear")
    epochs = sorted(table["epoch"].unique())
    said: list[str] = []
    estimates: list[Estimate] = []
    for variant in table["variant"].unique(maintain_order=True):
        name = shown(variant)
        of = {
            line: rows.filter((pl.col("variant") == variant) & (pl.col("line") == line))
            for line, rows in (("across", errors), ("end", errors), ("start", losses))
        }
        if not of["across"].is_empty():
            listed, first = _connected(_CONNECTED, of["across"])
            estimates += [*_along(of["across"], epochs), first]
            said.append(f"two {name} connected to each other: {listed}")
        if not of["end"].is_empty():
            listed, first = _connected(_CONNECTED, of["end"])
            to_end = hills.filter((pl.col("variant") == variant) & (pl.col("line") == "end"))
            lifted, flat = _connected(_NO_HILL, to_end)
            estimates += [*_along(of["end"], epochs[:-1]), first, flat]
            said.append(f"{name} connected to its own end: {listed} (no hill over the straight line: {lifted})")
        if not of["start"].is_empty():
            estimates += _along(of["start"], epochs[-1:])
    notes = (
        f"epochs looked at: {', '.join(map(str, epochs))}; a schedule that lowers the rate brings late epochs near to "
        "the end, whatever the landscape",
        "over the mean of the ends a barrier is at least half the difference of their errors: a run that is still "
        "getting better is not connected to its end yet, hill or no hill",
        *line_notes(table, batch_norm, batch_norm_images, points),
    )
    if not said:
        return Summary(
            "Undecided: no line between two runs or to the end of one was measured.", tuple(estimates), notes
        )
    n = errors["n"].drop_nulls()
    basis = f"limits over {n[0]} test images or groups, for these networks" if errors["low"].count() else "no limits"
    return Summary(
        f"By the test error's barrier below 2 points at all later epochs looked at ({basis}): {'; '.join(said)}.",
        tuple(estimates),
        notes,
    )


def _connected(quantity: Quantity, rows: pl.DataFrame) -> tuple[str, Estimate]:
    """Each run's or pair's epoch in words, and their mean; where that has an interval over seeds, the mean alone."""
    found = {
        key: connected_from(list(of.iter_rows(named=True)))
        for key, of in rows.group_by(["a", "b", "seed_a", "seed_b"], maintain_order=True)
    }
    listed = ", ".join(f"{a if a == b else f'{a} and {b}'} {item.words}" for (a, b, *_), item in found.items())
    first = [
        {"seed_a": one, "seed_b": two, "epoch": None if item.by is None or not item.decided else float(item.by)}
        for (_, _, one, two), item in found.items()
    ]
    at = {name: rows[name][0] for name in ("pair", "line", "split", "baseline")}
    estimate = over_pairs(quantity, pl.DataFrame(first, schema_overrides={"epoch": pl.Float64}), "epoch", **at)
    if estimate.basis == "seeds" and estimate.value is not None:
        listed = (
            f"from epoch {estimate.value:.1f} (95 % interval over {estimate.n} seeds: {estimate.low:.1f} to "
            f"{estimate.high:.1f})"
        )
    return listed, estimate


def _along(rows: pl.DataFrame, epochs: Sequence[int]) -> Iterator[Estimate]:
    """Barriers of one kind of line at a few epochs."""
    at = {name: rows[name][0] for name in ("pair", "line", "split", "baseline")} | {"batch_norm": policy(rows)}
    for epoch in evenly(epochs, 3):
        yield barrier(_BARRIERS[rows["quantity"][0]], rows.filter(pl.col("epoch") == epoch), epoch=epoch, **at)
