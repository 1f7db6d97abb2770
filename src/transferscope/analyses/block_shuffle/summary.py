"""Estimates and the verdict of the input ablations, from their table. No torch here."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import polars as pl

from transferscope.analyses.estimates import Estimate, Quantity
from transferscope.analyses.final_metrics import over_seeds_row
from transferscope.analyses.summary import Summary
from transferscope.bounds import DIFFERENCE, Flag
from transferscope.keys import FINAL_GAP, SPEED_GAP
from transferscope.rounding import exact

__all__ = ["QUANTITIES", "hardest", "summary_of"]

_FINAL_GAP = Quantity(FINAL_GAP, "{label}: final test metric, {variant} − {rival}", "metric", DIFFERENCE)
_OF_THESE = Quantity(
    "final_gap_of_these_networks", "{label}: final test metric, {variant} − {rival}, these networks", "metric",
    DIFFERENCE,
)  # fmt: skip
_DROP = Quantity("relative_drop", "{label}: relative drop from {variant} to {rival}", "%")
_SPEED_GAP = Quantity(SPEED_GAP, "{label}: optimisation speed, {variant} − {rival}", "metric", DIFFERENCE)
_MINUS_WHOLE = Quantity("gap_minus_whole", "{label}: gap minus the gap on whole images", "metric", (-2.0, 2.0))

QUANTITIES = (_FINAL_GAP, _OF_THESE, _DROP, _SPEED_GAP, _MINUS_WHOLE)
"""Of the input ablations, at ``origin, ablation, label, variant, rival`` and, where the ablation has one, ``block`` or
``cutoff``."""


def hardest(table: pl.DataFrame) -> str | None:
    """The block shuffle the verdict is about: single pixels, else all values, else the smallest blocks there are.

    Args:
        table: of the input ablations.

    Returns:
        Its ``block``; None where nothing but whole images has a gap.
    """
    rows = table.filter((pl.col("level") == "gap") & (pl.col("origin") == "study"))
    rows = rows.filter((pl.col("ablation") == "block_shuffle") & (pl.col("order") > 0)).sort("order")
    blocks: list[str] = rows["block"].unique(maintain_order=True).to_list()
    return next((block for block in ("1", "*") if block in blocks), blocks[-1] if blocks else None)


def summary_of(table: pl.DataFrame) -> Summary:
    """For each ablation the gap, its share of P-T's metric, its change against whole images, and the gap in speed.

    Args:
        table: in the declared columns of the input ablations.
    """
    own = table.filter(pl.col("origin") == "study")
    if own.is_empty():
        return Summary("Undecided: no network was trained on ablated images.")
    metric = own["metric"][0]
    about = hardest(own)
    found = [item for place in sorted(own["order"].unique()) for item in _estimates(own, place)]
    estimates = tuple(_decided(item) if about is not None and item.at.get("block") == about else item for item in found)
    return Summary(_verdict(estimates, about, own, metric), estimates, tuple(_notes(table, own, metric)))


def _estimates(own: pl.DataFrame, place: int) -> Iterator[Estimate]:
    """Of one ablation; the gap over seeds is the first of its rows of gaps, that over examples the second."""
    rows = own.filter(pl.col("order") == place)
    gaps = rows.filter(pl.col("level") == "gap").rows(named=True)
    if not gaps:
        return
    row = gaps[0]
    at: dict[str, Any] = {"origin": "study", "ablation": row["ablation"], "label": row["label"]}
    at |= {"variant": "P_T", "rival": "RI_T"}
    at |= {name: row[name] for name in ("block", "cutoff") if row[name] is not None}
    lost: tuple[Flag, ...] = ("diverged",) if rows.filter(pl.col("level") == "network")["diverged"].any() else ()
    wrong = (*lost, *_end_flags(own, place))
    test, ablations = ("test_metric", "test_low", "test_high"), own["order"].n_unique()
    gap, flags = over_seeds_row(row, *test)
    yield _FINAL_GAP.at_row({**row, **gap}, n_comparisons=ablations, flags=(*flags, *wrong), **at)
    for other in gaps[1:] if gap["basis"] != "seeds" else ():
        value, low, high = (other[name] for name in test)
        these = {"value": value, "low": low, "high": high, "basis": other["basis"], "n": other["n"]}
        yield _OF_THESE.at_row(these, flags=wrong if low is not None else (*wrong, "no_spread"), **at)
    drop, flags = over_seeds_row(row, "relative_drop", "relative_drop_low", "relative_drop_high")
    yield _DROP.at_row(drop, _no_drop(rows, row) if drop["value"] is None else None, flags=(*flags, *wrong), **at)
    speed, flags = over_seeds_row(row, "speed", "speed_low", "speed_high")
    if speed["value"] is not None:
        yield _SPEED_GAP.at_row(speed, flags=(*flags, *lost), **at)
    wrong = (*lost, *_end_flags(own, place, 0))  # a difference is one of the gap on whole images, too
    for row in rows.filter(pl.col("level") == "difference").iter_rows(named=True):
        change, flags = over_seeds_row(row, *test)
        yield _MINUS_WHOLE.at_row({**row, **change}, n_comparisons=ablations - 1, flags=(*flags, *wrong), **at)


def _runs(own: pl.DataFrame, *places: int) -> pl.DataFrame:
    """Trainings of RI-T with these ablations that did not diverge."""
    rival = (pl.col("level") == "network") & (pl.col("variant") == "RI_T") & ~pl.col("diverged")
    return own.filter(rival & pl.col("order").is_in(places))


def _end_flags(own: pl.DataFrame, *places: int) -> tuple[Flag, ...]:
    improving = _runs(own, *places)["improving"]
    if improving.any():
        return ("still_improving",)
    return ("too_few_epochs",) if improving.has_nulls() else ()


def _decided(item: Estimate) -> Estimate:
    """With its verdict, by its own interval: one ablation, named before any result was seen, is no family."""
    if item.quantity not in (_FINAL_GAP.key, _OF_THESE.key, _MINUS_WHOLE.key):
        return item
    if item.basis not in ("seeds", "examples") or {"still_improving", "too_few_epochs"} & set(item.flags):
        return replace(item, verdict="undecided")
    return replace(item, verdict={1: "larger", -1: "smaller", 0: "undecided"}[_sign(item)])


def _no_drop(rows: pl.DataFrame, row: dict[str, Any]) -> str:
    best = rows.filter((pl.col("level") == "variant") & (pl.col("variant") == "P_T"))["test_metric"].to_list()
    if best and best[0] <= row["chance"]:
        return f"P-T is not above chance ({row['chance']:.3g})"
    return "P-T's metric is not surely above 0"


def _verdict(estimates: tuple[Estimate, ...], block: str | None, own: pl.DataFrame, metric: str) -> str:
    by_key = {item.quantity: item for item in estimates if item.at.get("block") == block}
    gap = by_key.get(_FINAL_GAP.key)
    if block is None or gap is None or gap.value is None:
        return "Undecided: no seed of both P-T and RI-T ended with a defined metric on shuffled images."
    label = gap.at["label"]
    said = f"with {label} P-T − RI-T is {_points(gap.value, metric)} of test {metric}"
    wholes = own.filter((pl.col("level") == "gap") & (pl.col("order") == 0))
    if not wholes.is_empty():
        said += f" (on whole images {_points(wholes['test_metric'][0], metric)})"
    these = by_key.get(_OF_THESE.key)
    if gap.basis == "seeds":
        word = {
            1: "Part of the gain does not need the shapes in the images",
            -1: "Without the shapes in the images pre-training hurts",
            0: "Undecided for training in general whether a gain is left without the shapes in the images",
        }[_sign(gap)]
        verdict = (
            f"{word}: {said}, 95 % interval over {gap.n} seeds "
            f"{_span(gap, metric)}.{_taken(by_key.get(_MINUS_WHOLE.key), metric)}"
        )
    elif these is not None and these.basis == "examples":
        word = {
            1: "These P-T networks stay better without the shapes in the images",
            -1: "These P-T networks are worse without the shapes in the images",
            0: "Undecided",
        }[_sign(these)]
        fewer = "one seed"
        if gap.basis == "range":
            fewer = f"{gap.n} seeds, range {_span(gap, metric)}"
        elif "no_spread" in gap.flags:
            fewer = f"equal for all {gap.n} seeds"
        verdict = (
            f"{word}: {said}, 95 % interval over {these.n} test examples {_span(these, metric)}; {fewer}. "
            "A claim about training in general needs at least 3 seeds"
            f"{' that differ' if 'no_spread' in gap.flags else ''}."
        )
    else:
        verdict = f"Undecided: {said}, without an interval."
    why = None
    if "still_improving" in gap.flags:
        mine = (pl.col("ablation") == "block_shuffle") & (pl.col("block") == block)
        runs = _runs(own.filter(mine), *own.filter(mine)["order"])
        rising = runs["improving"].sum()
        why = f"is still improving at the end ({rising} of {runs.height} trainings with {label})"
    elif "too_few_epochs" in gap.flags:
        why = "has too few epochs to tell whether it is still improving"
    if why is not None:
        return f"No claim on the final gap, for RI-T {why}. So far: {verdict}"
    return verdict


def _taken(change: Estimate | None, metric: str) -> str:
    if change is None or change.value is None or change.basis != "seeds":
        return ""
    word = {
        -1: "Shuffling takes part of the gain",
        1: "The gain is larger than on whole images",
        0: "Whether shuffling changes the gain is undecided",
    }[_sign(change)]
    return f" {word}: the gap changes by {_points(change.value, metric)} ({_span(change, metric)})."


def _notes(table: pl.DataFrame, own: pl.DataFrame, metric: str) -> list[str]:
    notes = [
        "trained without augmentation, at the rate each variant chose on whole images; "
        "a rate chosen for each ablation could change a gap"
    ]
    runs = own.filter(pl.col("level") == "network")
    for variant in ("P_T", "RI_T"):
        rising = runs.filter((pl.col("variant") == variant) & pl.col("improving").fill_null(value=False))
        labels = rising.sort("order")["label"].unique(maintain_order=True).to_list()
        if labels:
            notes.append(
                f"{variant.replace('_', '-')} is still improving at the end with {', '.join(labels)}: "
                "no claim on the final gap is made from these"
            )
    lost = runs.filter(pl.col("diverged")).sort("order")
    notes += [
        f"{row['variant'].replace('_', '-')}[{row['seed']}] diverged with {row['label']}"
        for row in lost.iter_rows(named=True)
    ]
    paper = table.filter(pl.col("origin") != "study")
    if not paper.is_empty():
        drawn = "drawn behind ours against the side of a block over the image size"
        if metric != "top1":
            drawn = f"not drawn: it is top-1 accuracy, ours is {metric}"
        notes.append(
            f"the paper's curve for {paper['origin'][0]} (ResNet-50 with Fixup, ImageNet to DomainNet, images of 224 "
            f"pixels) is in the table, {drawn}"
        )
    return notes


def _sign(item: Estimate) -> int:
    """Which side of 0 the whole interval lies on; 0 where it spans it."""
    assert item.low is not None
    assert item.high is not None
    return 1 if item.low > 0 else -1 if item.high < 0 else 0


def _points(value: float, metric: str) -> str:
    text = f"{exact(value):+.3f}" if metric == "auc" else f"{exact(100 * value):+.1f} points"
    return text.replace("-", "−")


def _span(item: Estimate, metric: str) -> str:
    if metric == "auc":
        return f"{exact(item.low or 0):+.3f} to {exact(item.high or 0):+.3f}".replace("-", "−")
    return f"{exact(100 * (item.low or 0)):+.1f} to {exact(100 * (item.high or 0)):+.1f} points".replace("-", "−")
