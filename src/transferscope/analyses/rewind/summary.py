"""What rewinding costs over seeds, and the verdict, from the table of ``rewind``. No torch at module level."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

import polars as pl

from transferscope.analyses.estimates import Estimate, Quantity
from transferscope.analyses.estimator import over_seeds, units
from transferscope.analyses.images import batch_norm_note
from transferscope.analyses.modules import listed
from transferscope.analyses.shuffled_members import shuffled_notes
from transferscope.analyses.summary import Summary
from transferscope.bounds import DIFFERENCE
from transferscope.keys import shown
from transferscope.rounding import exact

__all__ = ["QUANTITIES", "drops", "summary_of"]

_SEEDS = 3  # fewer give no interval over seeds
_VALUES = {"initial": "its initial value", "random": "a random value"}
_DROP = Quantity(
    "drop",
    "{module}, {variant}, put back to {target_value}: drop ({split})",
    "metric",
    DIFFERENCE,
    labels={"target_value": _VALUES},
)
_OVER_MODULES = "mean drop over modules, put back to {target_value} ({split})"
_MEAN = Quantity("mean_drop", "{variant}: " + _OVER_MODULES, "metric", DIFFERENCE, labels={"target_value": _VALUES})
# Each drop lies in [−1, 1].
_GAP = Quantity(
    "mean_drop_gap", "{variant} − {rival}: " + _OVER_MODULES, "metric", (-2.0, 2.0), labels={"target_value": _VALUES}
)

QUANTITIES: tuple[Quantity, ...] = (_DROP, _MEAN, _GAP)
"""Of ``rewind``: a drop at its variant, module and the value it goes back to (``target_value``), with the verdict;
means over modules at their variants."""


def drops(rows: pl.DataFrame, margin: float) -> list[Estimate]:
    """What is lost on test images when a module of one variant goes back to one kind of value, in the network's order.

    Over three seeds or more the interval is Student's, paired by network; of fewer, and where all seeds lose the same,
    it is the mean drop with the lowest lower and the highest upper limit over examples. Each is judged ``kept``,
    ``lost`` or ``undecided`` for all modules at once: over seeds, or by what all networks agree on.

    Args:
        rows: test rows of single modules, or of one group; rows without a drop are left out.
        margin: largest loss that counts as nothing.
    """
    from transferscope.measures.families import bonferroni_confidence
    from transferscope.measures.intervals import noninferior

    rows = rows.filter(pl.col("drop").is_not_null()).sort("position", "seed")
    modules = rows["module"].unique(maintain_order=True).to_list()
    found = []
    for module in modules:
        of = rows.filter(pl.col("module") == module)
        first = of.row(0, named=True)
        at: dict[str, Any] = {
            "variant": first["variant"],
            "module": module,
            "target_value": first["target_value"],
            "split": "test",
        }
        # A network's final and rewound metric are one pair: the interval is that of their differences.
        values: Any = units(of, "drop")
        interval, together, sided = (
            over_seeds(values, confidence, DIFFERENCE, scale=1.0)
            for confidence in (0.95, bonferroni_confidence(len(modules)), bonferroni_confidence(len(modules), 0.90))
        )
        if interval.basis == "seeds":
            verdict: str = noninferior(sided, margin).verdict
            item = _DROP.of(
                interval, simultaneous=together, n_comparisons=len(modules), verdict=verdict, **at
            )  # fmt: skip
        else:
            judged = of["verdict"].unique().to_list()
            verdict = judged[0] if len(judged) == 1 else "undecided"
            flags = [flag for flag in interval.flags if flag != "clipped"]
            item = _DROP.at_row(
                _widest(of), _of_networks(of), n_comparisons=len(modules), verdict=verdict, flags=flags, **at
            )
        found.append(item)
    return found


def _widest(rows: pl.DataFrame) -> dict[str, Any]:
    """The mean over networks, with the widest of their limits over examples; none where a network has none."""
    limits = {
        kind + end: None if rows[kind + end].has_nulls() else choose(rows[kind + end].to_list())
        for kind in ("", "simultaneous_")
        for end, choose in (("low", min), ("high", max))
    }
    basis = None if limits["low"] is None else "examples"
    return {"value": fmean(rows["drop"].to_list()), **limits, "basis": basis, "n": min(rows["n"].to_list())}


def _of_networks(rows: pl.DataFrame) -> str | None:
    if rows["low"].has_nulls():
        return "no interval over examples"
    return f"mean of {rows.height} networks, the widest of their limits over examples" if rows.height > 1 else None


def summary_of(table: pl.DataFrame, margin: float) -> Summary:
    """Estimates and verdict of ``rewind``.

    Args:
        table: in the declared columns of the analysis.
        margin: largest loss that counts as nothing.
    """
    own = table.filter(pl.col("origin") == "study")
    test = own.filter((pl.col("split") == "test") & pl.col("drop").is_not_null())
    singles = test.filter((pl.col("level") == "module") & pl.col("target_value").is_in(list(_VALUES)))
    if singles.is_empty():
        return Summary("Undecided: no network was measured.", notes=tuple(_notes(own, margin)))
    said: list[str] = []
    estimates: list[Estimate] = []
    for to in _VALUES:
        rows = singles.filter(pl.col("target_value") == to)
        for variant in rows["variant"].unique(maintain_order=True):
            of = rows.filter(pl.col("variant") == variant)
            found = drops(of, margin)
            said.append(_said(shown(variant), to, found, of))
            estimates += found
            groups = test.filter(
                (pl.col("level") == "group") & (pl.col("target_value") == to) & (pl.col("variant") == variant)
            ).sort("position")
            for _, part in groups.group_by("module", maintain_order=True):
                estimates += drops(part, margin)
        estimates += _means(rows, to)
    verdict = (
        f"With every other module at its final value, a module is kept if the test metric surely falls by less than "
        f"{100 * margin:g} points, all modules at once: {'; '.join(said)}."
    )
    lost = set(_diverged(own)["variant"])
    marked = [
        replace(item, flags=(*item.flags, "diverged")) if lost & {item.at["variant"], item.at.get("rival")} else item
        for item in estimates
    ]
    return Summary(verdict, tuple(marked), tuple(_notes(own, margin)))


def _said(variant: str, to: str, found: Sequence[Estimate], rows: pl.DataFrame) -> str:
    seeds = rows["seed"].n_unique()
    kept = [str(item.at["module"]) for item in found if item.verdict == "kept"]
    lost = sorted((item for item in found if item.verdict == "lost"), key=lambda item: -(item.value or 0.0))
    undecided = len(found) - len(kept) - len(lost)
    words = [
        f"{len(kept)} of {len(found)} kept" + (f" ({listed(kept)})" if kept else ""),
        f"{undecided} undecided",
        f"{len(lost)} lost" + (f" (most: {', '.join(map(_points, lost[:3]))})" if lost else ""),
    ]
    basis = f"{seeds} seeds" if seeds >= _SEEDS else "test examples of this network"
    if seeds == _SEEDS - 1:
        basis = "test examples of these networks"
    if not lost:
        words[-1] += f" (largest mean drop: {_points(max(found, key=lambda item: item.value or 0.0))})"
    return f"{variant} put back to {_VALUES[to]} ({basis}): {', '.join(words)}"


def _points(item: Estimate) -> str:
    said = f"{item.at['module']} {exact(100 * (item.value or 0.0)):.1f} points"
    if item.simultaneous_low is None or item.simultaneous_high is None:
        return said
    return f"{said} [{exact(100 * item.simultaneous_low):.1f}, {exact(100 * item.simultaneous_high):.1f}]"


def _means(rows: pl.DataFrame, to: str) -> Iterator[Estimate]:
    """The drop averaged over modules, of each variant, and P-T's less every other's."""
    means: dict[str, Any] = {
        str(variant): units(of, "drop") for (variant,), of in rows.group_by("variant", maintain_order=True)
    }
    for variant, values in means.items():
        yield _MEAN.of(over_seeds(values, bounds=DIFFERENCE, scale=1.0), variant=variant, target_value=to, split="test")
    ours = means.get("P_T", {})
    for rival, values in means.items():
        common = {unit: ours[unit] - values[unit] for unit in ours if unit in values}
        if rival != "P_T" and common:
            gap = over_seeds(common, bounds=_GAP.bounds, scale=2.0)
            yield _GAP.of(gap, variant="P_T", rival=rival, target_value=to, split="test")


def _diverged(table: pl.DataFrame) -> pl.DataFrame:
    return table.filter((pl.col("level") == "final") & (pl.col("split") == "test") & pl.col("examples").is_null())


def _notes(table: pl.DataFrame, margin: float) -> list[str]:
    notes = list(
        batch_norm_note(
            table.filter(pl.col("level") == "final")["batch_norm"][:1],
            "on training images at every point, the final network's included",
            "kept as the trained network has them: the module's are not those it had",
        )
    )
    if lost := _diverged(table)["network"].to_list():
        notes.append(f"diverged, left out: {', '.join(lost)}")
    if not table.filter((pl.col("drop").is_null()) & pl.col("module").is_not_null()).is_empty():
        notes.append("some networks give outputs that are not finite, or an undefined metric: their drops are null")
    notes += shuffled_notes(table)
    notes.append(f"undecided is not kept: with few test images or seeds a loss below {100 * margin:g} points is hard "
                 "to show")  # fmt: skip
    notes.append("modules that are kept one by one are not kept all at once: see (all), and the groups")
    return notes
