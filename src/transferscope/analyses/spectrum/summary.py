"""What is said of spectra: estimates with intervals over seeds, and one sentence for all operators at once."""

import math
from collections.abc import Iterable

import polars as pl

from transferscope.analyses.estimates import Estimate, Quantity
from transferscope.analyses.spectrum.rows import COMPARISONS, CONTROLS, ratio_interval
from transferscope.bounds import MAGNITUDE
from transferscope.keys import ratio_key, shown

__all__ = ["QUANTITIES", "estimates", "notes", "verdict"]

_SEEDS = 3  # fewer give no interval
_RATIOS = {
    name: Quantity(f"{name}_ratio", words + ", {variant} over {rival} (geometric mean over operators)", "1", MAGNITUDE)
    for name, words in (("largest", "largest singular value"), ("stable_rank", "stable rank"))
}

QUANTITIES = tuple(_RATIOS.values())
"""Of ``spectrum``: what training changes, paired by seed."""


def estimates(table: pl.DataFrame) -> Iterable[Estimate]:
    """Ratios of the largest singular value and of the stable rank, geometric means over all operators.

    Args:
        table: in the columns of ``spectrum``.
    """
    networks = table.filter((pl.col("level") == "network") & (pl.col("value") > 0))
    for name, quantity in _RATIOS.items():
        rows = networks.filter(pl.col("quantity") == name)
        for above, below in COMPARISONS:
            logs = (
                rows.filter(pl.col("variant") == above)
                .join(rows.filter(pl.col("variant") == below), on=("operator", "seed"), suffix="_below")
                .group_by("seed")
                .agg((pl.col("value") / pl.col("value_below")).log().mean())
                .sort("seed")["value"]
            )
            if not logs.is_empty():
                found = ratio_interval([(math.exp(value), 1.0) for value in logs])
                yield quantity.of(found, variant=above, rival=below)


def verdict(table: pl.DataFrame) -> str:
    """At how many operators training moves the stable rank, by intervals that hold for all operators at once.

    Args:
        table: in the columns of ``spectrum``.
    """
    said = [_said(table, a, b) for a, b in COMPARISONS[:2]]
    known = [text for text in said if text]
    if not known:
        return "Undecided: no trained network has a spectrum."
    control = [text for text in (_said(table, a, b) for a, b in COMPARISONS[2:4]) if text]
    text = f"Stable rank: {'; '.join(known)}"
    if control:
        text += f"; trained with weight decay 0: {'; '.join(control)}"
    return text + "."


def _said(table: pl.DataFrame, above: str, below: str) -> str | None:
    rows = table.filter(
        (pl.col("level") == "ratio")
        & (pl.col("variant") == ratio_key(shown(above), shown(below)))
        & (pl.col("quantity") == "stable_rank")
        & pl.col("value").is_not_null()
    )
    if rows.is_empty():
        return None
    total = rows.height
    way = f"from {shown(below)} to {shown(above)}"
    far = rows.sort(pl.col("value").log().abs(), descending=True).row(0, named=True)
    most = f"most at {far['operator']}, × {far['value']:.3g}"
    judged = rows.filter(pl.col("simultaneous_low").is_not_null())
    if judged.is_empty():
        why = "with fewer than 3 seeds" if min(rows["n"]) < _SEEDS else "for seeds that do not differ"
        return f"{way} undecided {why} ({most})"
    up = judged.filter(pl.col("simultaneous_low") > 1).height
    down = judged.filter(pl.col("simultaneous_high") < 1).height
    if far["simultaneous_low"] is not None:
        most += f" ({far['simultaneous_low']:.3g} to {far['simultaneous_high']:.3g})"
    rest = ", undecided at the rest" if up + down < total else ""
    return (
        f"{way} it rises at {up} and falls at {down} of {total} operators{rest} ({most}; intervals over "
        f"{min(judged['n'].to_list())} seeds, for all operators at once)"
    )


def notes(table: pl.DataFrame, control: bool) -> Iterable[str]:
    """What a reader must know: what is divided by what, the circular approximation, what is left out.

    Args:
        table: in the columns of ``spectrum``.
        control: whether the control was asked for.
    """
    yield (
        "ratios are of each network's summary over that of its own start, or of its control, with the same seed; "
        "spectra describe weights, without the normalisation that follows them"
    )
    ratios = set(table.filter(pl.col("level") == "ratio")["variant"])
    wanted = {ratio_key(shown(a), shown(b)) for a, b in COMPARISONS if b in CONTROLS.values()}
    if not control:
        yield "without a control trained at weight decay 0, changes cannot be told from those that decay alone makes"
    elif not ratios & wanted:
        yield "no control: the study trains without weight decay, or a network of each pair diverged"
    yield from _approximation(table)
    rounded = table.filter(pl.col("map") != pl.col("periodic_map")).unique("operator").sort("position")
    if not rounded.is_empty():
        words = ", ".join(f"{a} ({b} → {c})" for a, b, c in rounded.select("operator", "map", "periodic_map").rows())
        yield f"the stride does not divide the map, so the next larger one was taken: {words}"
    skipped = table.filter(pl.col("level") == "skipped").group_by("note").len().sort("note")
    if not skipped.is_empty():
        yield "parameters that are no operators: " + ", ".join(f"{n} ({note})" for note, n in skipped.rows())
    errors = table["error"].drop_nulls().to_list()
    if errors:
        yield f"single precision: on a sample at most {max(errors):.1e} of the largest value from double precision"


def _approximation(table: pl.DataFrame) -> Iterable[str]:
    rows = table.filter(pl.col("level") == "circular")
    measured = rows.filter(pl.col("value").is_not_null())
    worst = {row["quantity"]: row for row in measured.sort("value", "position").iter_rows(named=True)}
    if worst:
        top, each = worst["difference_largest"], worst["difference_any"]
        yield (
            f"circular approximation: on small maps ({measured['operator'].n_unique()} operators) zero padding changes "
            f"the largest singular value by at most {100 * top['value']:.2g} % ({top['operator']}, {top['note']}), and "
            f"any by at most {100 * each['value']:.2g} % of the largest ({each['operator']}, {each['note']}); larger "
            "maps have less border"
        )
    lost = rows.filter(pl.col("value").is_null()).unique("operator").group_by("note").len().sort("note")
    if not lost.is_empty():
        words = ", ".join(f"{count} operators ({note})" for note, count in lost.iter_rows())
        yield f"circular approximation: the difference to zero padding is not known for {words}"
