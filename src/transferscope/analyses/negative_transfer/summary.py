"""What is said of negative transfer: of each candidate whether it helps or hurts, and of rates what is unstable."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import polars as pl

from transferscope.analyses.estimates import Estimate, Quantity
from transferscope.analyses.final_metrics import span
from transferscope.analyses.negative_transfer.rows import CONTROL, SOURCE
from transferscope.analyses.summary import Summary
from transferscope.analyses.tuned import at_edge
from transferscope.bounds import DIFFERENCE, side_of

if TYPE_CHECKING:
    from transferscope.bounds import Flag

__all__ = ["QUANTITIES", "summary_of"]

_HARM = Quantity(
    "negative_transfer_gap", "error of {candidate} − error of RI-T, each at its own rate ({split}, {stage} seeds)",
    "metric", DIFFERENCE,
)  # fmt: skip
_OF_THESE = Quantity(
    "negative_transfer_gap_of_these_networks",
    "error of {candidate} − error of RI-T, these networks ({split}, {stage} seeds)", "metric", DIFFERENCE,
)  # fmt: skip
_INSTABILITY = Quantity(
    "instability", "error of P-T − error of RI-T, both at rate {learning_rate:.3g} ({split}, {stage} seeds)",
    "metric", DIFFERENCE,
)  # fmt: skip
QUANTITIES = (_HARM, _OF_THESE, _INSTABILITY)

_WORDS = {1: "hurts", -1: "helps", 0: "undecided"}
_STAGES = ("first", "confirm")


def summary_of(table: pl.DataFrame, rates: pl.DataFrame, confirming: bool) -> Summary:
    """Numbers, verdict and notes.

    Args:
        table: of the analysis.
        rates: of ``learning_rate``.
        confirming: whether candidates that seem to hurt are trained on further seeds.
    """
    estimates = [*_gaps(table), *_equal_rates(table), *_tuning_rates(rates)]
    deciding = {str(item.at["candidate"]): item for item in estimates if item.verdict is not None}
    words = [_said(name, item) for name, item in deciding.items()]
    verdict = "; ".join(words) or "undecided: no seed of a candidate and of RI-T ended with a defined metric"
    return Summary(f"{verdict[0].upper()}{verdict[1:]}.", tuple(estimates), tuple(_notes(table, deciding, confirming)))


def _gaps(table: pl.DataFrame) -> Iterator[Estimate]:
    """Of each candidate at its own rate, on both splits, over seeds and over examples; one on test data decides."""
    gaps = table.filter((pl.col("level") == "gap") & pl.col("tuned"))
    for candidate in gaps["candidate"].unique(maintain_order=True):
        own = gaps.filter(pl.col("candidate") == candidate)
        stage = max(own["stage"], key=_STAGES.index)
        last = own.filter(pl.col("stage") == stage)
        decides = _deciding(last.filter(pl.col("split") == "test"))
        for row in own.iter_rows(named=True):
            at = {"candidate": candidate, "stage": row["stage"], "split": row["split"]}
            quantity = _OF_THESE if row["basis"] == "examples" else _HARM
            flags = (*_flags(row), *_unended(table, row))
            word = None
            if decides is not None and row == decides:
                # What is behind may still catch up.
                ended = not {"still_improving", "too_few_epochs"} & set(flags)
                word = _WORDS[side_of(row["low"], row["high"]) if ended else 0]
                if row["basis"] not in ("seeds", "examples"):
                    word = "undecided"
            note = "a diverged seed is left out" if row["diverged"] else None
            yield quantity.at_row(row, row["note"], note, flags=flags, verdict=word, **at)


def _deciding(rows: pl.DataFrame) -> Mapping[str, Any] | None:
    """Over seeds where there are three or more that differ, else over examples, else what there is."""
    found = {row["basis"]: row for row in rows.iter_rows(named=True)}
    return found.get("seeds") or found.get("examples") or next(iter(found.values()), None)


def _flags(row: Mapping[str, Any]) -> "tuple[Flag, ...]":
    flags: list[Flag] = ["diverged"] if row["diverged"] else []
    if row["basis"] == "range" or (row["low"] is None and row["n"] < 2):
        flags.append("too_few_seeds")
    elif row["low"] is None:
        flags.append("no_spread")
    return tuple(flags)


def _unended(table: pl.DataFrame, row: Mapping[str, Any]) -> "tuple[Flag, ...]":
    """Why the one that is behind may not be at its end: it still improves, or ran too few epochs to tell."""
    if row["value"] is None:
        return ()
    behind = row["variant"] if row["value"] > 0 else "RI_T"
    runs = table.filter(
        (pl.col("level") == "network") & (pl.col("stage") == row["stage"]) & (pl.col("variant") == behind)
        & ~pl.col("diverged") & (pl.col("split") == row["split"])
    )  # fmt: skip
    if runs["improving"].any():
        return ("still_improving",)
    return ("too_few_epochs",) if runs["improving"].null_count() else ()


def _equal_rates(table: pl.DataFrame) -> Iterator[Estimate]:
    """At the rates that were asked for, on test data, over seeds."""
    gaps = table.filter((pl.col("level") == "gap") & ~pl.col("tuned") & (pl.col("split") == "test"))
    for row in gaps.filter(pl.col("basis").ne_missing("examples")).iter_rows(named=True):
        at = {"learning_rate": row["learning_rate"], "stage": row["stage"], "split": "test"}
        note = "a diverged seed is left out" if row["diverged"] else None
        yield _INSTABILITY.at_row(row, row["note"], note, flags=_flags(row), **at)


def _tuning_rates(rates: pl.DataFrame) -> Iterator[Estimate]:
    """At all rates of the search, on validation data, over the tuning seeds."""
    from transferscope.measures.intervals import paired_seeds_interval

    for rate in sorted(rates["learning_rate"].unique()):
        values = {
            variant: dict(
                rates.filter(
                    (pl.col("variant") == variant) & (pl.col("learning_rate") == rate) & ~pl.col("diverged")
                )
                .drop_nulls("validation_metric").select("seed", "validation_metric").iter_rows()
            )
            for variant in ("RI_T", "P_T")
        }  # fmt: skip
        at = {"learning_rate": rate, "stage": "tuning", "split": "validation"}
        lost: tuple[Flag, ...] = ("diverged",) if rates.filter(learning_rate=rate)["diverged"].any() else ()
        seeds = sorted(set(values["RI_T"]) & set(values["P_T"]))
        if not seeds:
            yield _INSTABILITY.undefined("no tuning seed has a finished run of both", 0, lost, **at)
            continue
        rival, mine = ([values[variant][seed] for seed in seeds] for variant in ("RI_T", "P_T"))
        yield _INSTABILITY.of(paired_seeds_interval(rival, mine, bounds=DIFFERENCE), flags=lost, **at)


_NAMES = {SOURCE: "the source", CONTROL: "the positive control (permuted labels)"}


def _said(name: str, item: Estimate) -> str:
    """One candidate in words."""
    word = {"hurts": "hurts", "helps": "helps", "undecided": "is undecided"}[str(item.verdict)]
    who = f"{_NAMES.get(name, name)} {word}"
    if item.value is None:
        return f"{who}, for {item.note}"
    if item.basis == "examples":
        words = f"95 % interval over {item.n} test examples, these networks"
        number = f"{item.value:+.3f} ({words} {item.low:+.3f} to {item.high:+.3f})"
    else:
        number = span(item, 1.0, 3)
    confirmed = ", on seeds that had no part in its choice" if item.at["stage"] == "confirm" else ""
    why = ", for what is behind has not ended" if {"still_improving", "too_few_epochs"} & set(item.flags) else ""
    return f"{who}{why}: error {number} against RI-T{confirmed}"


def _notes(table: pl.DataFrame, deciding: Mapping[str, Estimate], confirming: bool) -> Iterator[str]:
    stages = {name: item.at["stage"] for name, item in deciding.items()}
    if confirming:
        told = [name for name, stage in stages.items() if stage == "confirm"]
        listed = ", ".join(told) or "none"
        yield f"candidates with more error than RI-T on validation data, trained anew on further seeds: {listed}"
    if CONTROL not in deciding:
        yield (
            "no positive control: its source is not pre-trained by the study, or control is off; a candidate with "
            "pretrain: {labels: permuted} is one"
        )
    elif deciding[CONTROL].verdict != "hurts":
        yield "the positive control is not shown to hurt: permuted labels may leave useful low-level features"
    tuned = table.filter(pl.col("level") == "tuning")
    edges = [name for name in tuned["variant"].unique(maintain_order=True) if at_edge(table, name)]
    if edges:
        yield f"the best rate lies at the edge of the grid: {', '.join(edges)}"
    lost = table.filter((pl.col("level") != "gap") & pl.col("diverged")).select("variant", "learning_rate").unique()
    for variant, rate in lost.sort(pl.all()).iter_rows():
        yield f"{variant} diverged at rate {rate:.3g}"
    yield "at an equal rate a gap is instability of that rate, no harm of the start: it is listed apart"
