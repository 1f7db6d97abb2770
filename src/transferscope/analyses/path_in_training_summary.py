"""From when on runs are connected: to each other, and each to its own end."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from transferscope.analyses.contract import Number, Summary
from transferscope.analyses.kept_epochs import evenly
from transferscope.analyses.line_rows import line_notes
from transferscope.analyses.pairs import pairs_interval
from transferscope.analyses.way_barriers import of_one

if TYPE_CHECKING:
    from transferscope.measures.intervals import Interval

__all__ = ["Connected", "connected_from", "summary"]


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
    """Numbers and verdict of ``path_in_training``.

    Args:
        table: in the declared columns of the analysis.
        batch_norm: its setting.
        batch_norm_images: its setting.
        points: its setting.
    """
    barriers = table.filter((pl.col("level") == "barrier") & (pl.col("split") == "test"))
    errors = barriers.filter((pl.col("quantity") == "error") & (pl.col("baseline") == "mean"))
    losses = barriers.filter((pl.col("quantity") == "loss") & (pl.col("baseline") == "linear"))
    hills = barriers.filter(
        (pl.col("quantity") == "error") & (pl.col("baseline") == "linear") & (pl.col("line") == "end")
    )
    epochs = sorted(table["epoch"].unique())
    said: list[str] = []
    numbers: list[Number] = []
    for variant in table["variant"].unique(maintain_order=True):
        name = variant.replace("_", "-")
        across = errors.filter((pl.col("variant") == variant) & (pl.col("line") == "across"))
        ends = errors.filter((pl.col("variant") == variant) & (pl.col("line") == "end"))
        starts = losses.filter((pl.col("variant") == variant) & (pl.col("line") == "start"))
        if not across.is_empty():
            title = f"error barrier of {name}/{name} at epoch {{}} (test, mean baseline)"
            numbers += _along(across, title, "1", epochs, "pairs")
            listed, number = _connected(across, f"{name}/{name} stay connected", "pairs")
            said.append(f"two {name} connected to each other: {listed}")
            numbers.append(number)
        if not ends.is_empty():
            title = f"error barrier of {name} at epoch {{}} to its end (test, mean baseline)"
            numbers += _along(ends, title, "1", epochs[:-1], "runs")
            listed, number = _connected(ends, f"{name} is connected to its end", "runs")
            numbers.append(number)
            of = hills.filter(pl.col("variant") == variant)
            lifted, number = _connected(of, f"{name} has no hill to its end (linear baseline)", "runs")
            numbers.append(number)
            said.append(f"{name} connected to its own end: {listed} (no hill over the straight line: {lifted})")
        if not starts.is_empty():
            title = f"loss barrier of {starts['pair'][0]} at epoch {{}} (test, linear baseline)"
            numbers += _along(starts, title, "nat", epochs[-1:], "runs")
    notes = (
        f"epochs looked at: {', '.join(map(str, epochs))}; a schedule that lowers the rate brings late epochs near to "
        "the end, whatever the landscape",
        "over the mean of the ends a barrier is at least half the difference of their errors: a run that is still "
        "getting better is not connected to its end yet, hill or no hill",
        *line_notes(table, batch_norm, batch_norm_images, points),
    )
    if not said:
        return Summary("Undecided: no line between two runs or to the end of one was measured.", tuple(numbers), notes)
    n = errors["n"].drop_nulls()
    basis = f"limits over {n[0]} test images or groups, for these networks" if errors["low"].count() else "no limits"
    return Summary(
        f"By the test error's barrier below 2 points at all later epochs looked at ({basis}): {'; '.join(said)}.",
        tuple(numbers),
        notes,
    )


def _connected(rows: pl.DataFrame, stays: str, what: Literal["pairs", "runs"]) -> tuple[str, Number]:
    """Each run's or pair's epoch in words, and their mean; of three and more that are all decided the mean alone."""
    found = {
        (a, b): connected_from(list(of.iter_rows(named=True)))
        for (a, b), of in rows.group_by(["a", "b"], maintain_order=True)
    }
    title = f"first epoch from which {stays}, of those looked at"
    known = [float(item.by) for item in found.values() if item.decided and item.by is not None]
    listed = ", ".join(f"{a if a == b else f'{a} and {b}'} {item.words}" for (a, b), item in found.items())
    if len(known) < len(found):
        note = f"no epoch can be named for {len(found) - len(known)} of {len(found)} {what}"
        return listed, Number(title, None, n=len(found), unit="epoch", note=note)
    interval = _interval(known, what)
    number = Number.of(title, interval, "epoch")
    if interval.basis == "seeds":
        listed = (
            f"from epoch {interval.value:.1f} (95 % interval over {interval.n} {what}: {interval.low:.1f} to "
            f"{interval.high:.1f})"
        )
    return listed, number


def _interval(values: Sequence[float], what: Literal["pairs", "runs"]) -> "Interval":
    from transferscope.measures.intervals import seeds_interval

    return pairs_interval(values) if what == "pairs" else seeds_interval(values)


def _along(
    rows: pl.DataFrame, title: str, unit: str, epochs: Sequence[int], what: Literal["pairs", "runs"]
) -> list[Number]:
    """Barriers at a few epochs, over pairs or runs; of one alone over examples."""
    numbers = []
    for epoch in evenly(epochs, 3):
        of = rows.filter(pl.col("epoch") == epoch)
        name = title.format(epoch)
        values = [value for value in of["barrier"].to_list() if value is not None]
        if len(values) < of.height or not values:
            # Those that are left would be a selection: the ones without the worst of barriers.
            note = f"not finite for {of.height - len(values)} of {of.height} lines"
            numbers.append(Number(name, None, n=of.height, unit=unit, note=note))
        elif len(values) == 1:
            numbers.append(of_one(name, of.row(0, named=True), unit, "one line"))
        else:
            numbers.append(Number.of(name, _interval(values, what), unit))
    return numbers
