"""What rewinding costs over seeds, and the verdict, from the table of ``rewind``. No torch at module level."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from transferscope.analyses.contract import Number, Summary
from transferscope.analyses.rounding import exact
from transferscope.analyses.shuffled import shuffled_notes
from transferscope.analyses.variants import shown

if TYPE_CHECKING:
    from transferscope.measures.intervals import Interval

__all__ = ["ModuleDrop", "drops", "summary_of"]

_TWICE = (-2.0, 2.0)
"""What the difference of two drops can be: each lies in [−1, 1]."""
_VALUES = {"initial": "its initial value", "random": "a random value"}


@dataclass(frozen=True)
class ModuleDrop:
    """What is lost on test images when one module goes back, over the networks of a variant.

    Attributes:
        module: its name.
        interval: of three seeds or more Student's, paired by network; of fewer the mean drop with the lowest lower and
            the highest upper limit over examples.
        simultaneous: the same for all modules at once.
        judged: ``kept``, ``lost`` or ``undecided``, for all modules at once; of fewer than three seeds what all
            networks agree on.
    """

    module: str
    interval: "Interval"
    simultaneous: "Interval"
    judged: Literal["kept", "lost", "undecided"]


def drops(rows: pl.DataFrame, margin: float) -> list[ModuleDrop]:
    """Every module of one variant put back to one kind of value, judged for all at once, in the network's order.

    Args:
        rows: test rows of single modules, or of one group; rows without a drop are left out.
        margin: largest loss that counts as nothing.
    """
    from transferscope.measures.families import bonferroni_confidence
    from transferscope.measures.intervals import DIFFERENCE, noninferior, seeds_interval

    rows = rows.filter(pl.col("drop").is_not_null()).sort("position", "seed")
    modules = rows["module"].unique(maintain_order=True).to_list()
    found = []
    for module in modules:
        of = rows.filter(pl.col("module") == module)
        values = of["drop"].to_list()
        if len(values) >= 3:
            # A network's final and rewound metric are one pair: the interval is that of their differences.
            sided, interval, together = (
                seeds_interval(values, confidence, DIFFERENCE)
                for confidence in (
                    bonferroni_confidence(len(modules), 0.90), 0.95, bonferroni_confidence(len(modules))
                )
            )  # fmt: skip
            judged = noninferior(sided, margin).verdict
        else:
            said = of["judged"].unique().to_list()
            judged = said[0] if len(said) == 1 else "undecided"
            interval, together = (_widest(of, f"{kind}low", f"{kind}high") for kind in ("", "simultaneous_"))
        found.append(ModuleDrop(module, interval, together, judged))
    return found


def _widest(rows: pl.DataFrame, low: str, high: str) -> "Interval":
    from transferscope.measures.intervals import Interval

    lows, highs = rows[low].to_list(), rows[high].to_list()
    value = fmean(rows["drop"].to_list())
    n = min(rows["n"].to_list())
    if None in lows or None in highs:
        return Interval(value, None, None, n, None, note="no interval over examples")
    note = "" if rows.height == 1 else f"mean of {rows.height} networks, the widest of their limits over examples"
    return Interval(value, min(lows), max(highs), n, "examples", note=note)


def summary_of(table: pl.DataFrame, margin: float) -> Summary:
    """Numbers and verdict of ``rewind``.

    Args:
        table: in the declared columns of the analysis.
        margin: largest loss that counts as nothing.
    """
    own = table.filter(pl.col("origin") == "study")
    test = own.filter((pl.col("split") == "test") & pl.col("drop").is_not_null())
    singles = test.filter((pl.col("level") == "module") & pl.col("to").is_in(list(_VALUES)))
    if singles.is_empty():
        return Summary("Undecided: no network was measured.", notes=tuple(_notes(own, margin)))
    said: list[str] = []
    numbers: list[Number] = []
    for to in _VALUES:
        rows = singles.filter(pl.col("to") == to)
        for variant in rows["variant"].unique(maintain_order=True):
            of = rows.filter(pl.col("variant") == variant)
            found = drops(of, margin)
            said.append(_said(shown(variant), to, found, of))
            numbers += [_number(f"{item.module}, {shown(variant)}, put back to {_VALUES[to]}: drop (test)",
                                item.interval, _together(item)) for item in found]  # fmt: skip
            groups = test.filter(
                (pl.col("level") == "group") & (pl.col("to") == to) & (pl.col("variant") == variant)
            ).sort("position")
            for (name,), part in groups.group_by("module", maintain_order=True):
                (item,) = drops(part, margin)
                title = f"{name}, {shown(variant)}, put back to {_VALUES[to]}: drop (test)"
                numbers.append(_number(title, item.interval, item.judged))
        numbers += _means(rows, to)
    verdict = (
        f"With every other module at its final value, a module is kept if the test metric surely falls by less than "
        f"{100 * margin:g} points, all modules at once: {'; '.join(said)}."
    )
    return Summary(verdict, tuple(numbers), tuple(_notes(own, margin)))


def _said(variant: str, to: str, found: Sequence[ModuleDrop], rows: pl.DataFrame) -> str:
    seeds = rows["seed"].n_unique()
    kept = [item.module for item in found if item.judged == "kept"]
    lost = sorted((item for item in found if item.judged == "lost"), key=lambda item: -(item.interval.value or 0.0))
    undecided = len(found) - len(kept) - len(lost)
    words = [
        f"{len(kept)} of {len(found)} kept" + (f" ({_listed(kept)})" if kept else ""),
        f"{undecided} undecided",
        f"{len(lost)} lost" + (f" (most: {_worst(lost)})" if lost else ""),
    ]
    basis = f"{seeds} seeds" if seeds >= 3 else f"test examples of {'this network' if seeds == 1 else 'these networks'}"
    if not lost:
        top = max(found, key=lambda item: item.interval.value or 0.0)
        words[-1] += f" (largest mean drop: {top.module} {_points(top)})"
    return f"{variant} put back to {_VALUES[to]} ({basis}): {', '.join(words)}"


def _worst(lost: Sequence[ModuleDrop]) -> str:
    return ", ".join(f"{item.module} {_points(item)}" for item in lost[:3])


def _points(item: ModuleDrop) -> str:
    together = item.simultaneous
    said = f"{exact(100 * (together.value or 0.0)):.1f} points"
    if together.low is None or together.high is None:
        return said
    return f"{said} [{exact(100 * together.low):.1f}, {exact(100 * together.high):.1f}]"


def _listed(names: Sequence[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _together(item: ModuleDrop) -> str:
    low, high = item.simultaneous.low, item.simultaneous.high
    limits = "" if low is None or high is None else f", for all modules at once {exact(low):.4f} to {exact(high):.4f}"
    return item.judged + limits


def _means(rows: pl.DataFrame, to: str) -> list[Number]:
    """The drop averaged over modules, of each variant, and P-T's less RI-T's."""
    from transferscope.measures.intervals import DIFFERENCE, paired_seeds_interval, seeds_interval

    by: dict[str, dict[int, float]] = {}
    for variant, seed, mean in (
        rows.group_by("variant", "seed", maintain_order=True).agg(pl.col("drop").mean()).iter_rows()
    ):
        by.setdefault(variant, {})[seed] = mean
    where = f"mean drop over modules, put back to {_VALUES[to]} (test)"
    numbers = [
        _number(f"{shown(variant)}: {where}", seeds_interval(list(values.values()), bounds=DIFFERENCE), "")
        for variant, values in by.items()
    ]
    for other in by:
        common = sorted(by.get("P_T", {}).keys() & by[other].keys())
        if other != "P_T" and common:
            a, b = ([by[variant][seed] for seed in common] for variant in ("P_T", other))
            numbers.append(_number(f"P-T − {shown(other)}: {where}", paired_seeds_interval(a, b, bounds=_TWICE), ""))
    return numbers


def _number(name: str, interval: "Interval", note: str) -> Number:
    said = "; ".join(text for text in (note, interval.note) if text)
    return Number(name, interval.value, interval.low, interval.high, interval.basis, interval.n, "metric", said)


def _notes(table: pl.DataFrame, margin: float) -> list[str]:
    notes: list[str] = []
    final = table.filter(pl.col("level") == "final")
    policy: Any = final["batch_norm"][0] if final.height else None
    if policy == "recompute":
        notes.append("batch-norm statistics recomputed on training images at every point, the final network's included")
    elif policy == "none":
        notes.append("batch-norm statistics kept as the trained network has them: the module's are not those it had")
    lost = final.filter((pl.col("split") == "test") & pl.col("examples").is_null())["network"].to_list()
    if lost:
        notes.append(f"diverged, left out: {', '.join(lost)}")
    if not table.filter((pl.col("drop").is_null()) & pl.col("module").is_not_null()).is_empty():
        notes.append("some networks give outputs that are not finite, or an undefined metric: their drops are null")
    notes += shuffled_notes(table)
    notes.append(f"undecided is not kept: with few test images or seeds a loss below {100 * margin:g} points is hard "
                 "to show")  # fmt: skip
    notes.append("modules that are kept one by one are not kept all at once: see (all), and the groups")
    return notes
