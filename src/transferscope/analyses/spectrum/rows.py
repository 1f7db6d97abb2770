"""The rows of the analysis ``spectrum``: networks, means, ratios, curves and how good the circular approximation is."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from transferscope.analyses.final_metrics import interval_columns
from transferscope.keys import ratio_key, shown

if TYPE_CHECKING:
    from transferscope.measures.intervals import Interval
    from transferscope.methods.spectra import OperatorSpectrum

__all__ = ["COMPARISONS", "CONTROLS", "SUMMARIES", "Key", "circular_rows", "operator_rows", "ratio_interval"]

CONTROLS = {"RI_T": "RI_T_wd0", "P_T": "P_T_wd0"}
"""A variant and its control: the same training with weight decay 0."""

COMPARISONS = (
    ("P_T", "P"),
    ("RI_T", "RI"),
    ("P_T_wd0", "P"),
    ("RI_T_wd0", "RI"),
    ("P_T", "P_T_wd0"),
    ("RI_T", "RI_T_wd0"),
    ("P_T", "RI_T"),
)
"""Whose summaries are divided by whose, network by network of one seed: what training changes against the own start,
the same with weight decay 0, what the decay changes, and P-T against RI-T."""

SUMMARIES = ("largest", "frobenius", "stable_rank", "effective_rank", "energy")
"""The numbers told of a spectrum, by their name in its summary."""

Key = tuple[str, int]
"""Variant and seed."""


@dataclass(frozen=True)
class Told:
    """An operator of one network.

    Attributes:
        found: its spectrum.
        content: a mark of its weight: equal for equal weights.
    """

    found: "OperatorSpectrum"
    content: str


def operator_rows(told: Mapping[Key, Told], operators: int, curve_points: int) -> Iterator[dict[str, Any]]:
    """All rows of one operator but those of the circular approximation.

    Args:
        told: its spectrum in every network.
        operators: how many operators the networks have: the family of the simultaneous intervals.
        curve_points: of a curve, at most.
    """
    from transferscope.measures.families import bonferroni_confidence
    from transferscope.measures.intervals import Interval, seeds_interval

    confidence = bonferroni_confidence(operators)
    for (variant, seed), one in told.items():
        for quantity in SUMMARIES:
            yield {
                "level": "network", "variant": variant, "seed": seed, "quantity": quantity,
                "value": getattr(one.found.summary, quantity), "error": one.found.spectrum.error, "n": 1,
                "note": _undefined(one),
            }  # fmt: skip
    for variant in dict.fromkeys(variant for variant, _ in told):
        # P's trunk is one network, whatever the seed of the head.
        distinct = {one.content: one for (name, _), one in told.items() if name == variant}
        for quantity in SUMMARIES:
            values = [getattr(one.found.summary, quantity) for one in distinct.values()]
            known = [value for value in values if value is not None]
            mean = (
                seeds_interval(known)
                if known
                else Interval(None, None, None, len(values), None, note="all singular values are 0")
            )
            yield {"level": "variant", "variant": variant, "quantity": quantity, **interval_columns(mean)}
        first = min(seed for name, seed in told if name == variant)
        yield from _curve(told[variant, first], variant, first, curve_points)
    for above, below in COMPARISONS:
        pairs = _pairs(told, above, below)
        if not pairs:
            continue
        for quantity in SUMMARIES:
            ratios = [
                (getattr(a.found.summary, quantity), getattr(b.found.summary, quantity)) for a, b in pairs.values()
            ]
            single, family = (ratio_interval(ratios, level) for level in (0.95, confidence))
            variant = ratio_key(shown(above), shown(below))
            yield {"level": "ratio", "variant": variant, "quantity": quantity, **interval_columns(single, family)}


def circular_rows(one: "OperatorSpectrum", variant: str, seed: int) -> Iterator[dict[str, Any]]:
    """How far the periodic operator of one network is from the zero-padded one on a small map.

    Args:
        one: the operator.
        variant: of the network.
        seed: of the network.
    """
    from transferscope.methods.spectra import difference_from_padded

    if one.operator.kind != "convolution" or all(taps == 1 for taps in one.operator.weight.shape[2:]):
        return  # nothing reaches over the border
    found = difference_from_padded(one.operator)
    for quantity in ("difference_largest", "difference_any"):
        row = {"level": "circular", "variant": variant, "seed": seed, "quantity": quantity, "n": 1}
        if isinstance(found, str):
            yield {**row, "value": None, "note": found}
        else:
            value = found.largest if quantity == "difference_largest" else found.any
            yield {**row, "value": value, "note": "on a map of " + " × ".join(map(str, found.size))}


def ratio_interval(pairs: Sequence[tuple[float | None, float | None]], confidence: float = 0.95) -> "Interval":
    """Geometric mean of ratios over seeds, with Student's interval of the mean logarithm.

    Args:
        pairs: numerator and denominator of each seed.
        confidence: in (0, 1).

    Returns:
        Of the seeds whose two values are above 0; without a value where there is none.
    """
    from transferscope.measures.interval import exponential
    from transferscope.measures.intervals import Interval, seeds_interval

    logarithms = [math.log(a / b) for a, b in pairs if a and b]
    if not logarithms:
        return Interval(None, None, None, len(pairs), None, confidence, "not defined: all singular values are 0")
    found = seeds_interval(logarithms, confidence)
    left_out = len(pairs) - len(logarithms)
    notes = [found.note] if found.note else []
    notes += [f"{left_out} of {len(pairs)} seeds left out: all singular values are 0"] if left_out else []
    return replace(exponential(found), note="; ".join(notes))


def _pairs(told: Mapping[Key, Told], above: str, below: str) -> dict[int, tuple[Told, Told]]:
    """Networks of equal seed."""
    return {
        seed: (one, told[below, seed])
        for (variant, seed), one in told.items()
        if variant == above and (below, seed) in told
    }


def _curve(one: Told, variant: str, seed: int, points: int) -> Iterable[dict[str, Any]]:
    from transferscope.measures.spectrum_summary import spectrum_curve

    ranks, values = spectrum_curve(one.found.spectrum, points)
    for rank, value in zip(ranks.tolist(), values.tolist(), strict=True):
        yield {
            "level": "curve", "variant": variant, "seed": seed, "quantity": "singular_value", "rank": rank,
            "value": value, "n": 1,
        }  # fmt: skip


def _undefined(one: Told) -> str | None:
    return "all singular values are 0: ranks are not defined" if one.found.summary.largest == 0 else None
