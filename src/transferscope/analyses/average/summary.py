"""What averages of networks come to: the answer for each set, its promise and its proof."""

from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

from transferscope.analyses.estimates import Estimate, Quantity
from transferscope.analyses.summary import Summary
from transferscope.bounds import DIFFERENCE, MAGNITUDE, SHARE
from transferscope.errors import counted
from transferscope.keys import shown

__all__ = ["METHODS", "QUANTITIES", "SETS", "SUPPORTED", "summary"]

SETS = {"seeds": "other seeds", "rates": "other rates and seeds", "run": "epochs of one run"}
_RUNS = {"all": "all runs"}
METHODS = {
    "uniform": "mean of all", "greedy": "greedy soup", "stock": "Model Stock", "wise": "towards the start (WiSE-FT)",
    "last": "mean of the last epochs", "ema": "moving average of epochs",
}  # fmt: skip
SUPPORTED = 6
"""Pairs of networks from which on diversity and gain are correlated: those of four seeds."""
_LABELS = {"set": SETS, "method": METHODS, "run": _RUNS}
_OF = "{variant}, {set} ({run})"

_GAIN = Quantity(
    "gain_of_average", "{split} metric of the {method} less that of the best single network, " + _OF, "metric",
    DIFFERENCE, labels=_LABELS,
)  # fmt: skip
_SEEDS = Quantity(
    "gain_over_seeds", "test metric of the {method} less that of the best single network, {variant}, leaving one out",
    "metric", DIFFERENCE, labels=_LABELS,
)  # fmt: skip
_ENSEMBLE = Quantity(
    "gain_of_ensemble", "test metric of the ensemble less that of the best single network, " + _OF, "metric",
    DIFFERENCE, labels=_LABELS,
)  # fmt: skip
_PROMISED = Quantity(
    "promised_regret", "what the answer is expected to lose to the best of all, " + _OF, "metric", SHARE, labels=_LABELS
)
_PROVED = Quantity(
    "proved_regret", "what the answer lost to the best of all on test data, " + _OF, "metric", SHARE, labels=_LABELS
)
_BARRIER = Quantity(
    "largest_barrier", "largest error barrier to the best network, {variant}, {set} ({run}), {units}", "1", MAGNITUDE,
    labels=_LABELS,
)  # fmt: skip
_DIVERSITY = Quantity(
    "diversity_and_gain", "rank correlation over pairs of {variant}: how often two disagree, and what their mean gains",
    "1", DIFFERENCE,
)  # fmt: skip
QUANTITIES = (_GAIN, _SEEDS, _ENSEMBLE, _PROMISED, _PROVED, _BARRIER, _DIVERSITY)

_REASONS = {
    "as_good": "",
    "barrier": "a barrier lies between the networks",
    "no_better": "no average is better than the best single network",
    "worse": "the average is worse than the best single network",
    "undecided": "it is not shown that the average is as good as the best single network",
}


def summary(table: pl.DataFrame, margin: float) -> Summary:
    """Estimates, and the answer for every set in words."""
    estimates: list[Estimate] = []
    words: list[str] = []
    for (variant, kind, run), rows in table.group_by("variant", "set", "run", maintain_order=True):
        at: dict[str, Any] = {"variant": variant, "set": kind, "run": "all" if run is None else run}
        found = list(_estimates(rows, at))
        estimates += found
        words.append(_words(rows, at, found))
        if kind == "seeds":
            estimates += [*_over_seeds(rows, at["variant"]), *_diversity(rows, at["variant"])]
    notes = (
        "yes: the average's validation metric is not below that of the best single network, and the upper limit of "
        f"its loss is below {margin:g} for all averages looked at at once; test data decide nothing",
        "the promise is what the answer (the average, or the best single network) loses to the best of all networks "
        "and averages; 90 % below its upper limit",
        "the ensemble runs all networks: a mark above, not an average",
    )
    return Summary(f"{'; '.join(words) or 'no two networks of one variant are there'}.", tuple(estimates), notes)


def _one(rows: pl.DataFrame, **where: Any) -> Mapping[str, Any] | None:
    found = rows.filter(**where)
    return None if found.is_empty() else found.row(0, named=True)


def _limited(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, "basis": None if row["low"] is None else "examples"}


def _estimates(rows: pl.DataFrame, at: Mapping[str, Any]) -> Iterator[Estimate]:
    for row in rows.filter(level="average", quantity="gain").iter_rows(named=True):
        family = "limits hold for all averages of the set at once" if row["split"] == "validation" else None
        yield _GAIN.at_row(
            _limited(row), family, verdict=row["verdict"], method=row["method"], split=row["split"], **at
        )
    if (ensemble := _one(rows, level="ensemble")) is not None:
        yield _ENSEMBLE.at_row(_limited(ensemble), **at)
    for quantity, split in ((_PROMISED, "validation"), (_PROVED, "test")):
        said = _one(rows, level="answer", split=split)
        if said is None or said["value"] is None:
            continue
        note = None
        if split == "validation":
            note = f"limits of 90 % each; nothing is better with probability {said['probability_best']:.2f}"
        yield quantity.at_row(_limited(said), note, verdict=said["verdict"], **at)
    for kind, units in (("barrier", "as trained"), ("aligned_barrier", "units matched")):
        barriers = rows.filter(level="network", quantity=kind).sort("value", descending=True, nulls_last=True)
        if not barriers.is_empty() and barriers["value"][0] is not None:
            row = barriers.row(0, named=True)
            yield _BARRIER.at_row(_limited(row), verdict=row["verdict"], units=units, **at)


def _words(rows: pl.DataFrame, at: Mapping[str, Any], found: list[Estimate]) -> str:
    """The answer for a set, and what it proved."""
    row = _one(rows, level="answer", split="validation")
    of = "" if at["run"] == "all" else f" (seed {at['run']})"
    place = f"{shown(at['variant'])}, {SETS[at['set']]}{of}"
    if row is None:
        return f"{place}: not measured"
    if row["verdict"] == "no":
        modules = f" (at {row['modules']})" if row["modules"] else ""
        return f"{place}: no, {_REASONS[row['reason']]}{modules}"
    proved = next(
        (
            item
            for item in found
            if item.quantity == _GAIN.key and item.at["split"] == "test" and item.at["method"] == row["method"]
        ),
        None,
    )
    after = "" if row["needs"] is None else f" after {row['needs'].replace(', ', ' and ')}"
    told = ""
    if proved is not None and proved.value is not None:
        limits = "" if proved.low is None else f" ({proved.low:+.3f} to {proved.high:+.3f} over examples)"
        told = f", on test data {proved.value:+.3f}{limits}"
    return f"{place}: yes{after}, the {METHODS[row['method']]} ({counted(row['members'], 'network')}){told}"


def _over_seeds(rows: pl.DataFrame, variant: str) -> Iterator[Estimate]:
    """The gain of the first average with the interval that leaves one seed out."""
    from transferscope.measures.intervals import leave_one_out_interval

    without = rows.filter(level="left_out")
    if without.is_empty() or without["value"].null_count():
        return
    method = without["method"][0]
    whole = _one(rows, level="average", quantity="gain", split="test", method=method)
    if whole is None or whole["value"] is None:
        return
    interval = leave_one_out_interval(whole["value"], without["value"].to_list(), bounds=DIFFERENCE, scale=1.0)
    yield _SEEDS.of(interval, variant=variant, method=method)


def _diversity(rows: pl.DataFrame, variant: str) -> Iterator[Estimate]:
    """How disagreement goes with gain over pairs, with the interval that leaves one seed out."""
    from transferscope.measures.agreement import rank_agreement
    from transferscope.measures.intervals import leave_one_out_interval

    pairs = rows.filter(level="pair")
    apart = pairs.filter(quantity="disagreement").select("seed_a", "seed_b", apart="value")
    gained = pairs.filter(quantity="gain", split="test").select("seed_a", "seed_b", gained="value")
    both = apart.join(gained, on=["seed_a", "seed_b"])
    if both.height < SUPPORTED:
        return

    def correlation(part: pl.DataFrame) -> float | None:
        return rank_agreement(part["apart"].to_list(), part["gained"].to_list()).spearman

    whole = correlation(both)
    seeds = sorted({*both["seed_a"], *both["seed_b"]})
    if whole is None:
        yield _DIVERSITY.undefined("no variation over pairs", len(seeds), variant=variant)
        return
    left = [
        value
        for seed in seeds
        if (value := correlation(both.filter((pl.col("seed_a") != seed) & (pl.col("seed_b") != seed)))) is not None
    ]
    note = f"{both.height} pairs of {len(seeds)} seeds"
    if len(left) < len(seeds):
        yield _DIVERSITY.number(whole, len(seeds), note, variant=variant)
        return
    yield _DIVERSITY.of(leave_one_out_interval(whole, left, bounds=DIFFERENCE), note, variant=variant)
