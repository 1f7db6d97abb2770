"""What the table of ``path`` says: the ruler first, then each kind of pair, and numbers with their intervals."""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from transferscope.analyses.contract import Number, Summary
from transferscope.analyses.pairs import interval_of, share_seeds
from transferscope.analyses.path_pairs import NEGATIVE, POSITIVE
from transferscope.analyses.path_radius import radius_numbers
from transferscope.analyses.path_rows import QUANTITIES
from transferscope.analyses.way_barriers import CONNECTED, Word, basis, height, judge, over_pairs
from transferscope.keys import NO_BATCH_NORM, barrier_key

__all__ = ["Ruler", "ruler_of", "summary_of"]

_SPLITS = ("train", "test")
_ENOUGH_POINTS = 25
_RECHECKED = ("recheck_loss", "recheck_error")
_POLICIES = {
    "recompute": "batch norm recomputed",
    "interpolate": "batch norm interpolated",
    "none": "batch norm of the first network",
    NO_BATCH_NORM: "no batch norm",
}
_NOT_SCALE_FREE = "not scale-free: quadratic effects grow as the square of the distance"


@dataclass(frozen=True)
class Ruler:
    """Whether the pairs whose answer is known are told apart.

    Attributes:
        positive: of a run and the same run trained on; None where it was not measured.
        negative: of two random starts; None where it was not measured.
        text: both, with their barriers.
    """

    positive: Word | None
    negative: Word | None
    text: str

    @property
    def holds(self) -> bool:
        """Whether the one is stable and the other has a barrier."""
        return self.positive == "stable" and self.negative == "unstable"


def summary_of(table: pl.DataFrame, asked: Sequence[tuple[str, str]], batch_norm_images: int) -> Summary:
    """Verdict, numbers and notes.

    Args:
        table: of ``path``.
        asked: kinds of pairs as shown, and what moves.
        batch_norm_images: the setting.
    """
    barriers = table.filter(pl.col("level") == "barrier")
    ruler = ruler_of(barriers)
    numbers: list[Number] = []
    words: list[str] = []
    told: dict[str, Word] = {}
    for pair, moved in asked:
        rows = barriers.filter((pl.col("pair") == pair) & (pl.col("moved") == moved) & (pl.col("role") == "pair"))
        name = pair if moved == "all" else f"{pair} (trunk only, head of the first)"
        if rows.is_empty():
            words.append(f"{name} not measured (diverged, or fewer than two seeds)")
            continue
        numbers += _numbers(name, rows)
        told[name], said = _judged(_of(rows, "test", "error", "mean"), brief=True)
        words.append(f"{name} {CONNECTED[told[name]]}: {said}" if ruler.holds else f"{name} {said}")
    known = _of(barriers.filter(pl.col("role") == "ruler"), "test", "error", "mean")
    for (pair,), rows in known.group_by(["pair"], maintain_order=True):
        number = over_pairs(f"ruler: error barrier of {pair} (test, mean baseline, {_policy(rows)})", rows, "1")
        numbers.append(number.keyed(barrier_key("error", "test", "mean"), str(pair)))
    numbers += radius_numbers(table, _policy(barriers))
    opening = "" if ruler.holds else "Undecided: two pairs whose answer is known are not told apart here. Measured: "
    holds = "the ruler holds" if ruler.holds else "the ruler does not hold, so that no other pair is judged"
    notes = (f"{holds}: {ruler.text}", *_notes(barriers, batch_norm_images))
    facts = {"ruler_holds": ruler.holds, "pairs": told}
    return Summary(f"{opening}{'; '.join(words)}.", tuple(numbers), notes, facts)


def ruler_of(barriers: pl.DataFrame) -> Ruler:
    """The ruler's verdicts, from the barrier rows of the table."""
    found: list[Word | None] = []
    texts = []
    for pair, wanted, lacking in (
        (POSITIVE, "stable", "not shown to be connected"),
        (NEGATIVE, "unstable", "no barrier of 2 points shown"),
    ):
        rows = _of(barriers.filter((pl.col("pair") == pair) & (pl.col("moved") == "all")), "test", "error", "mean")
        if rows.is_empty():
            found.append(None)
            texts.append(f"{pair} not measured")
            continue
        word, said = _judged(rows)
        found.append(word)
        texts.append(f"{pair} {CONNECTED[word] if word == wanted else lacking}, {said}")
    return Ruler(found[0], found[1], "; ".join(texts))


def _of(rows: pl.DataFrame, split: str, quantity: str, baseline: str) -> pl.DataFrame:
    wanted = (pl.col("split") == split) & (pl.col("quantity") == quantity) & (pl.col("baseline") == baseline)
    return rows.filter(wanted)


def _judged(rows: pl.DataFrame, *, brief: bool = False) -> tuple[Word, str]:
    """Whether pairs are linearly connected, by the upper limit of their barriers (methods, paths); and the numbers.

    Args:
        rows: of one kind of pair.
        brief: leaves out what the numbers beside the verdict say too: pairs and batch norm.
    """
    judged = judge(rows)
    said = height(
        judged,
        largest=f"the largest of {judged.pairs}",
        lost="a network between them gives no finite error",
    )
    if judged.interval is None:
        return judged.word, said
    over_seeds = (
        f"over {judged.interval.n} seeds{'' if brief else f' ({judged.pairs} pairs, leaving one seed out)'}"
        if share_seeds(rows)
        else f"over {judged.pairs} pairs that share no network"
    )
    rests = "" if judged.interval.low is None else f" {basis(judged, rows, over_seeds)}"
    return judged.word, f"{said}{rests}" if brief else f"{said}{rests} ({_policy(rows)})"


def _numbers(name: str, rows: pl.DataFrame) -> list[Number]:
    policy = _policy(rows)
    found = [
        over_pairs(
            f"{quantity} barrier of {name} ({split}, {baseline} baseline, {policy})",
            _of(rows, split, quantity, baseline),
            "1" if quantity == "error" else "nat",
        ).keyed(barrier_key(quantity, split, baseline), name)
        for split in _SPLITS
        for quantity in QUANTITIES
        for baseline in ("linear", "mean")
    ]
    for quantity in QUANTITIES:
        unit = "1 per ℓ2" if quantity == "error" else "nat per ℓ2"
        title = f"{quantity} barrier per unit of ℓ2 distance of {name} (test, mean baseline, {policy})"
        found.append(_per_distance(title, _of(rows, "test", quantity, "mean"), unit))
    return found


def _per_distance(name: str, rows: pl.DataFrame, unit: str) -> Number:
    from transferscope.measures.intervals import MAGNITUDE

    if lost := rows["per_l2"].null_count():
        note = f"not finite, or no distance, for {lost} of {rows.height} pairs of networks"
        return Number(name, None, n=rows.height, unit=unit, note=note)
    if rows.height == 1:
        return Number(name, rows["per_l2"][0], n=1, unit=unit, note=f"one pair; {_NOT_SCALE_FREE}")
    return Number.of(name, interval_of(rows, "per_l2", MAGNITUDE), unit, _NOT_SCALE_FREE)


def _policy(rows: pl.DataFrame) -> str:
    return ", ".join(_POLICIES.get(name, name) for name in sorted(set(rows["batch_norm"])))


def _notes(barriers: pl.DataFrame, batch_norm_images: int) -> tuple[str, ...]:
    notes = []
    policy = set(barriers["batch_norm"])
    if policy & {"interpolate", "none"}:
        how = "interpolated" if "interpolate" in policy else "those of the first network everywhere"
        notes.append(f"batch-norm statistics were {how}, not recomputed: these barriers are artefacts")
    elif "recompute" in policy:
        notes.append(
            f"batch-norm statistics recomputed at every point on the same {batch_norm_images} training images "
            "(or all, if fewer), ends included; the ends with their own statistics are listed apart"
        )
    if "trunk" in set(barriers["moved"]):
        notes.append("trunk only: the head is that of the first network on the whole line, at the second end too")
    pairs = barriers.filter(pl.col("role") == "pair")
    refined = pairs.drop_nulls("equivalent")
    if refined.height:
        notes.append(
            f"α from coarse to fine: {_span(refined, 'points')} points in [0, 1] in place of the "
            f"{_span(refined, 'equivalent')} of an even grid of the finest spacing; maxima located within "
            f"{max(refined['bracket'].to_list()):.3g}"
        )
        if left := refined.filter(pl.col("open") > 0).n_unique(("a", "b", "moved")):
            notes.append(f"on {left} paths intervals that may hide a higher value were left for want of points")
    looked = pairs.select(pl.max_horizontal("points", pl.col("equivalent").fill_null(0)).min()).item()
    if looked is not None and looked < _ENOUGH_POINTS:
        notes.append(f"fewer than {_ENOUGH_POINTS} points between the ends: a narrow barrier may be missed")
    checked = barriers.drop_nulls("recheck_error")
    if checked.height:
        losses, errors = (max(checked[name].drop_nulls().to_list(), default=None) for name in _RECHECKED)
        notes.append(
            "computed in bfloat16, ends and maxima again in float32: largest difference of a mean loss "
            f"{'not finite' if losses is None else f'{losses:.2g}'}, of an error {errors:.2g}"
        )
    notes.append("the largest of noisy values is biased upward: small barriers are found where there is none")
    return tuple(notes)


def _span(rows: pl.DataFrame, column: str) -> str:
    values = rows[column].to_list()
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low} to {high}"
