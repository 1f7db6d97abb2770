"""What the table of ``path`` says: the ruler first, then each kind of pair, and numbers with their intervals."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from transferscope.analyses.barrier_estimates import (
    CONNECTED,
    barrier,
    barrier_quantities,
    barriers,
    deciding,
    height,
    over_pairs,
    policy,
    select,
)
from transferscope.analyses.estimates import Estimate, Quantity
from transferscope.analyses.path.radius import RISE, radius_estimates
from transferscope.analyses.path_pairs import NEGATIVE, POSITIVE
from transferscope.analyses.summary import Summary
from transferscope.bounds import MAGNITUDE

if TYPE_CHECKING:
    from transferscope.bounds import Flag

__all__ = ["QUANTITIES", "Ruler", "ruler_of", "summary_of"]

_MOVED = {"all": "", "trunk": " (trunk only, head of the first)"}
_ROLES = {"pair": "", "ruler": "ruler: "}
_BARRIERS = barrier_quantities(
    "{role}%s barrier of {pair}{moves} ({split}, {baseline} baseline, {batch_norm})", moves=_MOVED, role=_ROLES
)
_PER_L2 = {
    of: Quantity(
        f"{of}_barrier_per_l2",
        of + " barrier per unit of ℓ2 distance of {pair}{moves} ({split}, {baseline} baseline, {batch_norm})",
        f"{unit} per ℓ2", MAGNITUDE, labels={"moves": _MOVED},
    )
    for of, unit in (("error", "1"), ("loss", "nat"))
}  # fmt: skip
QUANTITIES = (*_BARRIERS.values(), *_PER_L2.values(), RISE)
"""Of ``path``; ``role`` is ``ruler`` for a pair whose answer is known."""

_ENOUGH_POINTS = 25
_RECHECKED = ("recheck_loss", "recheck_error")
_NOT_SCALE_FREE = "not scale-free: quadratic effects grow as the square of the distance"


@dataclass(frozen=True)
class Ruler:
    """Whether the pairs whose answer is known are told apart.

    Attributes:
        positive: ``stable``, ``unstable`` or ``undecided``, of a run and the same run trained on; None where it was
            not measured.
        negative: the same of two random starts.
        text: both, with their barriers.
    """

    positive: str | None
    negative: str | None
    text: str

    @property
    def holds(self) -> bool:
        """Whether the one is stable and the other has a barrier."""
        return self.positive == "stable" and self.negative == "unstable"


def summary_of(table: pl.DataFrame, asked: Sequence[tuple[str, str]], batch_norm_images: int) -> Summary:
    """Verdict, estimates and notes.

    Args:
        table: of ``path``.
        asked: kinds of pairs as shown, and what moves.
        batch_norm_images: the setting.
    """
    found = table.filter(pl.col("level") == "barrier")
    ruler = ruler_of(found)
    estimates: list[Estimate] = []
    words: list[str] = []
    verdicts: dict[str, str | None] = {}
    for pair, moves in asked:
        rows = found.filter((pl.col("pair") == pair) & (pl.col("moves") == moves) & (pl.col("role") == "pair"))
        name = f"{pair}{_MOVED[moves]}"
        if rows.is_empty():
            words.append(f"{name} not measured (diverged, or fewer than two seeds)")
            continue
        flags = _doubt(pair, ruler)
        own = list(barriers(rows, _BARRIERS, ("linear", "mean"), flags, pair=pair, moves=moves, role="pair"))
        judged = deciding(own)
        estimates += [*own, *_per_l2(rows, pair, moves)]
        said = height(judged, select(rows).height)
        verdicts[name] = judged.verdict
        words.append(f"{name} {CONNECTED[judged.verdict]}: {said}" if ruler.holds else f"{name} {said}")
    known = select(found.filter(pl.col("role") == "ruler"))
    for (pair,), rows in known.group_by(["pair"], maintain_order=True):
        estimates.append(_of_ruler(str(pair), rows, _doubt(str(pair), ruler)))
    estimates += radius_estimates(table, policy(found))
    opening = "" if ruler.holds else "Undecided: two pairs whose answer is known are not told apart here. Measured: "
    holds = "the ruler holds" if ruler.holds else "the ruler does not hold, so that no other pair is judged"
    notes = (f"{holds}: {ruler.text}", *_notes(found, batch_norm_images))
    facts = {"ruler_holds": ruler.holds, "pairs": verdicts}
    return Summary(f"{opening}{'; '.join(words)}.", tuple(estimates), notes, facts)


def ruler_of(rows: pl.DataFrame) -> Ruler:
    """The ruler's verdicts.

    Args:
        rows: the barrier rows of the table.
    """
    found: list[str | None] = []
    texts = []
    for pair, wanted, lacking in (
        (POSITIVE, {"stable": CONNECTED["stable"]}, "not shown to be connected"),
        (NEGATIVE, {"unstable": CONNECTED["unstable"]}, "no barrier of 2 points shown"),
    ):
        known = select(rows.filter((pl.col("pair") == pair) & (pl.col("moves") == "all")))
        if known.is_empty():
            found.append(None)
            texts.append(f"{pair} not measured")
            continue
        item = _of_ruler(pair, known)
        found.append(item.verdict)
        texts.append(f"{pair} {wanted.get(str(item.verdict), lacking)}, {height(item, known.height)}")
    return Ruler(found[0], found[1], "; ".join(texts))


def _doubt(pair: str, ruler: Ruler) -> "tuple[Flag, ...]":
    """Where pairs whose answer is known are not told apart no other is; two random starts may be the finding."""
    if pair == POSITIVE:
        return ()
    holds = ruler.positive == "stable" if pair == NEGATIVE else ruler.holds
    return () if holds else ("uncontrolled",)


def _of_ruler(pair: str, rows: pl.DataFrame, flags: "tuple[Flag, ...]" = ()) -> Estimate:
    at = {"pair": pair, "moves": "all", "role": "ruler", "split": "test", "baseline": "mean"}
    return barrier(_BARRIERS["error"], rows, flags, **at, batch_norm=policy(rows))


def _per_l2(rows: pl.DataFrame, pair: str, moves: str) -> Iterator[Estimate]:
    at = {"pair": pair, "moves": moves, "split": "test", "baseline": "mean", "batch_norm": policy(rows)}
    for of, quantity in _PER_L2.items():
        yield over_pairs(quantity, select(rows, quantity=of), "per_l2", _NOT_SCALE_FREE, **at)


def _notes(rows: pl.DataFrame, batch_norm_images: int) -> tuple[str, ...]:
    notes = []
    policies = set(rows["batch_norm"])
    if policies & {"interpolate", "none"}:
        how = "interpolated" if "interpolate" in policies else "those of the first network everywhere"
        notes.append(f"batch-norm statistics were {how}, not recomputed: these barriers are artefacts")
    elif "recompute" in policies:
        notes.append(
            f"batch-norm statistics recomputed at every point on the same {batch_norm_images} training images "
            "(or all, if fewer), ends included; the ends with their own statistics are listed apart"
        )
    if "trunk" in set(rows["moves"]):
        notes.append("trunk only: the head is that of the first network on the whole line, at the second end too")
    pairs = rows.filter(pl.col("role") == "pair")
    refined = pairs.drop_nulls("equivalent")
    if refined.height:
        notes.append(
            f"α from coarse to fine: {_span(refined, 'points')} points in [0, 1] in place of the "
            f"{_span(refined, 'equivalent')} of an even grid of the finest spacing; maxima located within "
            f"{max(refined['search_interval'].to_list()):.3g}"
        )
        if left := refined.filter(pl.col("open") > 0).n_unique(("a", "b", "moves")):
            notes.append(f"on {left} paths intervals that may hide a higher value were left for want of points")
    looked = pairs.select(pl.max_horizontal("points", pl.col("equivalent").fill_null(0)).min()).item()
    if looked is not None and looked < _ENOUGH_POINTS:
        notes.append(f"fewer than {_ENOUGH_POINTS} points between the ends: a narrow barrier may be missed")
    checked = rows.drop_nulls("recheck_error")
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
