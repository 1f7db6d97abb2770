"""What is said of curvature: each measure with its control and its interval, never of a network alone."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import polars as pl

from transferscope.analyses.estimates import Estimate, Quantity
from transferscope.analyses.estimator import Unit, estimated, over_seeds, units
from transferscope.analyses.images import batch_norm_note, on_same
from transferscope.analyses.summary import Summary
from transferscope.bounds import MAGNITUDE, side_of

if TYPE_CHECKING:
    from transferscope.measures.intervals import Interval

__all__ = ["QUANTITIES", "summary_of"]


class Asked(Protocol):
    """The settings of the analysis that its words depend on."""

    @property
    def splits(self) -> tuple[str, ...]: ...

    @property
    def moved_shares(self) -> tuple[float, ...]: ...

    @property
    def hessian(self) -> bool: ...

    @property
    def shares(self) -> tuple[float, ...]: ...

    @property
    def batch_norm_images(self) -> int: ...

    @property
    def norm_and_bias(self) -> str: ...


_SEEDS = 3  # fewer decide nothing

_NORMALISATIONS = {
    "equal": "loss rise at equal ℓ2 radius",
    "relative": "loss rise at radius relative to ‖θ‖",
    "moved": "loss rise at radius relative to the distance moved",
}
_HESSIANS = {
    ("eigenvalue", "value"): "top Hessian eigenvalue",
    ("eigenvalue", "scaled"): "top Hessian eigenvalue times ‖θ‖²",
    ("trace", "value"): "Hessian trace",
    ("trace", "scaled"): "Hessian trace times ‖θ‖²",
}
_RISES = {
    normalisation: Quantity(
        f"loss_rise_gap_{normalisation}", f"{name}, {{variant}} − {{rival}}, share {{share:g}} ({{split}})", "nat"
    )
    for normalisation, name in _NORMALISATIONS.items()
}
_RATIOS = {
    (level, column): Quantity(
        f"{level}_ratio" if column == "value" else f"{column}_{level}_ratio", f"{name}, {{variant}} ÷ {{rival}}"
    )
    for (level, column), name in _HESSIANS.items()
}
_LEVEL, _TOP = pl.col("level"), pl.col("rank").is_null() | (pl.col("rank") == 1)
_ITSELF = (_LEVEL == "radius") & (pl.col("normalisation") == "equal") & (pl.col("share") == 0)
_LOSS = Quantity("loss", "loss of {variant} ({split})", "nat", MAGNITUDE, "loss", _ITSELF, ("variant", "split"))
_EIGENVALUE = Quantity(
    "eigenvalue", "top Hessian eigenvalue of {variant}", "nat/ℓ2²", column="value",
    where=(_LEVEL == "eigenvalue") & _TOP, by=("variant",),
)  # fmt: skip
_TRACE = Quantity(
    "trace", "Hessian trace of {variant}", "nat/ℓ2²", column="value", where=_LEVEL == "trace", by=("variant",)
)

QUANTITIES: tuple[Quantity, ...] = (_LOSS, _EIGENVALUE, _TRACE, *_RISES.values(), *_RATIOS.values())
"""Of ``flatness``: what each variant has, then P-T against RI-T by every measure, each judged by itself."""
_AT: dict[str, Any] = {"variant": "P_T", "rival": "RI_T"}


def summary_of(table: pl.DataFrame, settings: Asked) -> Summary:
    """P-T against RI-T by every measure.

    A word rests on 95 % intervals over paired seeds. For a normalisation it is said where the interval at *every*
    radius lies on one side of zero, which needs no correction for their number; for the Hessian, of the ratio
    P-T ÷ RI-T.
    """
    split = settings.splits[0]
    normalisations = [
        normalisation for normalisation in _NORMALISATIONS if normalisation != "moved" or settings.moved_shares
    ]
    measures = len(normalisations) + (len(_HESSIANS) if settings.hessian else 0)
    own = table.filter((_LEVEL != "radius") | (pl.col("split") == split))
    judged: dict[str, list[Estimate]] = {}
    for normalisation in normalisations:
        judged[_NORMALISATIONS[normalisation]] = list(_rises(own, normalisation, split, settings, measures))
    for (level, column), name in _HESSIANS.items() if settings.hessian else ():
        rows = own.filter((level == _LEVEL) & _TOP)
        judged[name] = [_compared(_RATIOS[level, column], rows, column, measures, ratio=True)]
    estimates = [*estimated(own, QUANTITIES), *(item for items in judged.values() for item in items)]
    return Summary(_verdict(judged, split), tuple(estimates), _notes(table, settings))


def _verdict(judged: dict[str, list[Estimate]], split: str) -> str:
    """One sentence: the decided measures, then the undecided ones."""
    seeds = max((item.n or 0 for items in judged.values() for item in items), default=0)
    if seeds < _SEEDS:
        return (
            f"Undecided by every measure: {seeds} paired seed{'' if seeds == 1 else 's'}; "
            "a claim needs at least 3 with both P-T and RI-T."
        )
    named: dict[str, list[str]] = {"flatter": [], "sharper": [], "undecided": []}
    for measure, items in judged.items():
        word, detail = _word_of(items)
        named[word].append(measure + detail)
    parts = [
        f"{'undecided' if word == 'undecided' else f'P-T is {word} than RI-T'} by {', '.join(measures)}"
        for word, measures in named.items()
        if measures
    ]
    text = "; ".join(parts)
    return (
        f"{text[0].upper()}{text[1:]}. Each by its own 95 % interval over {seeds} paired seeds "
        f"({split} images; Hessians: training images)."
    )


def _word_of(items: Sequence[Estimate]) -> tuple[str, str]:
    """What a measure says at all its radii, and where it says something at some alone."""
    verdicts = [item.verdict or "undecided" for item in items]
    if verdicts[0] != "undecided" and len(set(verdicts)) == 1:
        return verdicts[0], f" (at all {len(items)} radii)" if len(items) > 1 else ""
    some = [
        f"{word} at {verdicts.count(word)} of {len(items)} radii" for word in ("flatter", "sharper") if word in verdicts
    ]
    return "undecided", f" ({', '.join(some)})" if some else ""


def _rises(table: pl.DataFrame, normalisation: str, split: str, settings: Asked, measures: int) -> Iterator[Estimate]:
    rows = table.filter((_LEVEL == "radius") & (pl.col("normalisation") == normalisation))
    for share in settings.moved_shares if normalisation == "moved" else settings.shares:
        of = rows.filter(pl.col("share") == share)
        yield _compared(_RISES[normalisation], of, "loss_rise", measures, share=share, split=split)


def _compared(
    quantity: Quantity, rows: pl.DataFrame, column: str, measures: int, *, ratio: bool = False, **at: Any
) -> Estimate:
    """P-T − RI-T over the seeds that have both; of a ratio the geometric mean, where logarithms are compared."""
    from transferscope.measures.families import bonferroni_confidence

    first, second = (units(rows.filter(pl.col("variant") == variant), column) for variant in ("P_T", "RI_T"))
    pairs = {unit: (first[unit], second[unit]) for unit in first if unit in second}
    known = {unit: (a, b) for unit, (a, b) in pairs.items() if a is not None and b is not None}
    # Without the seeds that lack a value it would be a selection.
    lacking = "" if pairs else "no seed has both networks"
    if len(known) < len(pairs):
        lacking = f"{'not found' if ratio else 'not finite'} for {len(pairs) - len(known)} of {len(pairs)} seeds"
    elif ratio and any(a <= 0 or b <= 0 for a, b in known.values()):
        lacking = "a value is not positive: there is no ratio"
    if lacking:
        return replace(quantity.undefined(lacking, len(pairs), **_AT, **at), verdict="undecided")
    values: dict[Unit, float] = {unit: math.log(a) - math.log(b) if ratio else a - b for unit, (a, b) in known.items()}
    scale = max(abs(math.log(end) if ratio else end) for pair in known.values() for end in pair)
    single, joint = (over_seeds(values, level, scale=scale) for level in (0.95, bonferroni_confidence(measures)))
    verdict = _word(single)
    if ratio:
        from transferscope.measures.interval import exponential

        single, joint = exponential(single), exponential(joint)
    return quantity.of(
        single, simultaneous=joint if joint.basis == "seeds" else None, n_comparisons=measures, verdict=verdict,
        **_AT, **at,
    )  # fmt: skip


def _word(interval: "Interval") -> str:
    side = side_of(interval.low, interval.high) if interval.basis == "seeds" else 0
    return {1: "sharper", -1: "flatter", 0: "undecided"}[side]


def _notes(table: pl.DataFrame, settings: Asked) -> tuple[str, ...]:
    notes = list(
        batch_norm_note(
            table["batch_norm"],
            f"{on_same(settings.batch_norm_images, 'radius')}; under the Hessian they are constants",
            "are those of each network at every radius: noise that they would absorb",
        )
    )
    if settings.norm_and_bias == "zero":
        notes.append("directions leave biases and the parameters of norms where they are; Hessians are over all")
    notes.append("networks of unlike loss differ in curvature for that reason alone: see the losses beside it")
    if settings.hessian:
        reasons = table["note"].drop_nulls().unique(maintain_order=True).to_list()
        notes += [f"Hessian: {reason}" for reason in reasons]
    else:
        notes.append("Hessians were not asked for (hessian: false)")
    return tuple(notes)
