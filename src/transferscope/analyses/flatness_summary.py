"""What is said of curvature: each measure with its control and its interval, never of a network alone."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import polars as pl

from transferscope.analyses.contract import Number, Summary
from transferscope.analyses.variants import TRAINED, shown

if TYPE_CHECKING:
    from transferscope.analyses.flatness import Flatness
    from transferscope.measures.intervals import Interval

__all__ = ["summary_of"]

Word = Literal["flatter", "sharper", "undecided"]

_RULERS = {
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


@dataclass(frozen=True)
class _Judged:
    """One measure: its word, what it rests on, and its numbers."""

    measure: str
    word: Word
    detail: str
    numbers: tuple[Number, ...]


def summary_of(table: pl.DataFrame, settings: "Flatness") -> Summary:
    """P-T against RI-T by every measure.

    A word rests on 95 % intervals over paired seeds. For a ruler it is said where the interval at *every* radius lies
    on one side of zero, which needs no correction for their number; for the Hessian, of the ratio P-T ÷ RI-T.
    """
    split = settings.splits[0]
    rulers = [ruler for ruler in _RULERS if ruler != "moved" or settings.moved_shares]
    asked = len(rulers) + (len(_HESSIANS) if settings.hessian else 0)
    judged = [_of_ruler(table, ruler, split, settings, asked) for ruler in rulers]
    if settings.hessian:
        judged += [_of_hessian(table, level, column, asked) for level, column in _HESSIANS]
    numbers = [number for item in judged for number in item.numbers]
    return Summary(_verdict(judged, split), (*_levels(table, split, settings), *numbers), _notes(table, settings))


def _verdict(judged: Sequence[_Judged], split: str) -> str:
    """One sentence: the decided measures, then the undecided ones."""
    seeds = max((number.n or 0 for item in judged for number in item.numbers), default=0)
    if seeds < 3:
        return (
            f"Undecided by every measure: {seeds} paired seed{'' if seeds == 1 else 's'}; "
            "a claim needs at least 3 with both P-T and RI-T."
        )
    parts = []
    words: tuple[Word, ...] = ("flatter", "sharper", "undecided")
    for word in words:
        named = [f"{item.measure}{item.detail}" for item in judged if item.word == word]
        if named:
            said = "undecided" if word == "undecided" else f"P-T is {word} than RI-T"
            parts.append(f"{said} by {', '.join(named)}")
    text = "; ".join(parts)
    return (
        f"{text[0].upper()}{text[1:]}. Each by its own 95 % interval over {seeds} paired seeds "
        f"({split} images; Hessians: training images)."
    )


def _of_ruler(table: pl.DataFrame, ruler: str, split: str, settings: "Flatness", measures: int) -> _Judged:
    name = _RULERS[ruler]
    shares = settings.moved_shares if ruler == "moved" else settings.shares
    rows = table.filter((pl.col("level") == "radius") & (pl.col("ruler") == ruler) & (pl.col("split") == split))
    numbers, words = [], []
    for share in shares:
        found = _paired(rows.filter(pl.col("share") == share), "loss_rise")
        title = f"{name}, P-T − RI-T, share {share:g} ({split})"
        number, word = _difference(title, found, measures)
        numbers.append(number)
        words.append(word)
    decided: tuple[Word, ...] = ("flatter", "sharper")
    for word in decided:
        if all(item == word for item in words):
            return _Judged(name, word, f" (at all {len(words)} radii)" if len(words) > 1 else "", tuple(numbers))
    split_words = [f"{word} at {words.count(word)} of {len(words)} radii" for word in decided if word in words]
    return _Judged(name, "undecided", f" ({', '.join(split_words)})" if split_words else "", tuple(numbers))


def _of_hessian(table: pl.DataFrame, level: str, column: str, measures: int) -> _Judged:
    name = _HESSIANS[level, column]
    rows = table.filter((pl.col("level") == level) & (pl.col("rank").is_null() | (pl.col("rank") == 1)))
    found = _paired(rows, column)
    number, word = _ratio(f"{name}, P-T ÷ RI-T", found, measures)
    return _Judged(name, word, "", (number,))


@dataclass(frozen=True)
class _Pairs:
    """Values of P-T and RI-T of the seeds that have both networks; None where the value is not defined."""

    first: tuple[float | None, ...]
    second: tuple[float | None, ...]

    @property
    def known(self) -> list[tuple[float, float]]:
        return [(a, b) for a, b in zip(self.first, self.second, strict=True) if a is not None and b is not None]


def _paired(rows: pl.DataFrame, column: str) -> _Pairs:
    by_variant = {
        variant: dict(rows.filter(pl.col("variant") == variant).select("seed", column).iter_rows())
        for variant in ("P_T", "RI_T")
    }
    seeds = [seed for seed in by_variant["P_T"] if seed in by_variant["RI_T"]]
    return _Pairs(tuple(by_variant["P_T"][seed] for seed in seeds), tuple(by_variant["RI_T"][seed] for seed in seeds))


def _difference(name: str, pairs: _Pairs, measures: int) -> tuple[Number, Word]:
    from transferscope.measures.families import bonferroni_confidence
    from transferscope.measures.intervals import paired_seeds_interval

    lacking = _lacking(pairs, "not finite")
    if lacking:
        return Number(name, None, n=len(pairs.first), unit="nat", note=lacking), "undecided"
    first, second = zip(*pairs.known, strict=True)
    single = paired_seeds_interval(first, second)
    joint = paired_seeds_interval(first, second, bonferroni_confidence(measures))
    return _number(name, single, joint, measures, "nat"), _word(single, 0.0)


def _ratio(name: str, pairs: _Pairs, measures: int) -> tuple[Number, Word]:
    """Geometric mean over seeds of P-T ÷ RI-T; what is compared are logarithms."""
    from dataclasses import replace

    from transferscope.measures.families import bonferroni_confidence
    from transferscope.measures.intervals import Interval, paired_seeds_interval

    lacking = _lacking(pairs, "not found")
    positive = all(a > 0 and b > 0 for a, b in pairs.known)
    if lacking or not positive:
        reason = lacking or "a value is not positive: there is no ratio"
        return Number(name, None, n=len(pairs.first), note=reason), "undecided"
    first, second = zip(*((math.log(a), math.log(b)) for a, b in pairs.known), strict=True)

    def back(interval: Interval) -> Interval:
        ends = [None if end is None else math.exp(end) for end in (interval.value, interval.low, interval.high)]
        return replace(interval, value=ends[0], low=ends[1], high=ends[2])

    single = back(paired_seeds_interval(first, second))
    joint = back(paired_seeds_interval(first, second, bonferroni_confidence(measures)))
    return _number(name, single, joint, measures, "1"), _word(single, 1.0)


def _lacking(pairs: _Pairs, what: str) -> str:
    """Why there is no number: without the seeds that lack one it would be a selection."""
    if not pairs.first:
        return "no seed has both networks"
    lost = len(pairs.first) - len(pairs.known)
    return f"{what} for {lost} of {len(pairs.first)} seeds" if lost else ""


def _word(interval: "Interval", none: float) -> Word:
    if interval.basis != "seeds" or interval.low is None or interval.high is None:
        return "undecided"
    return "sharper" if interval.low > none else "flatter" if interval.high < none else "undecided"


def _number(name: str, interval: "Interval", joint: "Interval", measures: int, unit: str) -> Number:
    note = interval.note
    if joint.basis == "seeds" and measures > 1:
        note = f"over all {measures} measures at once {joint.low:.3g} to {joint.high:.3g}"
    return Number(name, interval.value, interval.low, interval.high, interval.basis, interval.n, unit, note)


def _levels(table: pl.DataFrame, split: str, settings: "Flatness") -> list[Number]:
    """What each variant has: its loss, and its Hessian."""
    radius = (pl.col("level") == "radius") & (pl.col("ruler") == "equal") & (pl.col("share") == 0)
    asked = [(table.filter(radius & (pl.col("split") == split)), "loss", f"loss of {{}} ({split})", "nat")]
    if settings.hessian:
        top = (pl.col("level") == "eigenvalue") & (pl.col("rank") == 1)
        asked.append((table.filter(top), "value", "top Hessian eigenvalue of {}", "nat/ℓ2²"))
        asked.append((table.filter(pl.col("level") == "trace"), "value", "Hessian trace of {}", "nat/ℓ2²"))
    return [
        _mean(title.format(shown(variant)), rows.filter(pl.col("variant") == variant)[column].to_list(), unit)
        for rows, column, title, unit in asked
        for variant in sorted(TRAINED)
    ]


def _mean(name: str, values: list[float | None], unit: str) -> Number:
    from transferscope.measures.intervals import seeds_interval

    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        lost = len(values) - len(known)
        note = f"not found for {lost} of {len(values)} seeds" if values else "no network was measured"
        return Number(name, None, n=len(values), unit=unit, note=note)
    found = seeds_interval(known)
    return Number.of(name, found, unit)


def _notes(table: pl.DataFrame, settings: "Flatness") -> tuple[str, ...]:
    notes = []
    policy = set(table["batch_norm"])
    if "recompute" in policy:
        notes.append(
            "batch-norm statistics recomputed at every radius on the same "
            f"{settings.batch_norm_images} training images (or all, if fewer); under the Hessian they are constants"
        )
    elif "none" in policy:
        notes.append("batch-norm statistics are those of each network at every radius: noise that they would absorb")
    if settings.one_dimensional == "zero":
        notes.append("directions leave biases and the parameters of norms where they are; Hessians are over all")
    notes.append("networks of unlike loss differ in curvature for that reason alone: see the losses beside it")
    if settings.hessian:
        reasons = table["note"].drop_nulls().unique(maintain_order=True).to_list()
        notes += [f"Hessian: {reason}" for reason in reasons]
    else:
        notes.append("Hessians were not asked for (hessian: false)")
    return tuple(notes)
