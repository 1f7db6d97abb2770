"""The verdict on barriers after permutation: gone, still there, or undecided."""

from collections.abc import Sequence

import polars as pl

from transferscope.analyses.contract import Number, Summary
from transferscope.analyses.line_rows import line_notes
from transferscope.analyses.pairs import pairs_interval
from transferscope.analyses.way_barriers import Judged, basis, height, judge, of_way, over_pairs, pairs_of_variants
from transferscope.keys import barrier_key

__all__ = ["UNALIGNED", "summary"]

UNALIGNED = "unaligned"
_WAYS = {
    "unaligned": "as trained",
    "activations": "matched by activations",
    "weights": "matched by weights",
}


def summary(
    table: pl.DataFrame, variants: Sequence[str], methods: Sequence[str], batch_norm_images: int, points: int
) -> Summary:
    """Numbers and verdict of ``align``.

    Args:
        table: in the declared columns of the analysis.
        variants: its setting.
        methods: its setting; the verdict that permutation explains a barrier rests on the first alone, that it does
            not on all.
        batch_norm_images: its setting.
        points: its setting.
    """
    numbers: list[Number] = []
    words: list[str] = []
    for pair, rows in pairs_of_variants(table, variants):
        if rows.is_empty():
            words.append(f"{pair} not measured (diverged, or fewer than two seeds)")
            continue
        judged = {way: judge(of_way(rows, way, "test", "error")) for way in (UNALIGNED, *methods)}
        rests = basis(judged[UNALIGNED], of_way(rows, UNALIGNED, "test", "error"))
        heights = "; ".join(f"{_WAYS[way]} {height(found)}" for way, found in judged.items())
        words.append(f"{pair} {_said(judged, methods)}: {heights} ({rests})")
        numbers += _numbers(pair, rows, methods)
    return Summary("; ".join(words) + ".", tuple(numbers), _notes(table, methods, batch_norm_images, points))


def _said(judged: dict[str, Judged], methods: Sequence[str]) -> str:
    """The verdict of one variant."""
    before = judged[UNALIGNED].word
    if before == "stable":
        return "linearly connected as trained: there is no barrier to explain"
    if before == "unstable" and judged[methods[0]].word == "stable":
        return "apart by permutation: the barrier goes when hidden units are matched"
    if before == "unstable" and all(judged[way].word == "unstable" for way in methods):
        return "apart also after permutation: a barrier stays by every matching tried"
    return "undecided whether permutation explains the barrier"


def _numbers(pair: str, rows: pl.DataFrame, methods: Sequence[str]) -> list[Number]:
    found = []
    for quantity, unit in (("error", "1"), ("loss", "nat")):
        for split in ("train", "test"):
            found += [
                over_pairs(
                    f"{quantity} barrier of {pair}, {_WAYS[way]} ({split}, mean baseline)",
                    of_way(rows, way, split, quantity),
                    unit,
                ).keyed(barrier_key(quantity, split, "mean"), pair, way)
                for way in (UNALIGNED, *methods)
            ]
    before = of_way(rows, UNALIGNED, "test", "error").sort("a", "b")
    for way in methods:
        after = of_way(rows, way, "test", "error").sort("a", "b")
        name = f"error barrier of {pair} that goes when {_WAYS[way]} (test, mean baseline)"
        found.append(_plain(name, (before["barrier"] - after["barrier"]).to_list()))
        name = f"distance of {pair}, {_WAYS[way]}, over that as trained"
        ratio = [
            after_l2 / before_l2 if before_l2 > 0 else None
            for before_l2, after_l2 in zip(before["distance"], after["distance"], strict=True)
        ]
        found.append(_plain(name, ratio))
        found.append(_plain(f"share of the units of the second network of {pair} that moved, {_WAYS[way]}",
                            after["moved"].to_list()))  # fmt: skip
    return found


def _plain(name: str, values: Sequence[float | None]) -> Number:
    """A number of pairs without limits over examples."""
    from transferscope.measures.intervals import MAGNITUDE

    known = [value for value in values if value is not None]
    if len(known) < len(values):
        note = f"not defined for {len(values) - len(known)} of {len(values)} pairs of networks"
        return Number(name, None, n=len(values), note=note)
    return Number.of(name, pairs_interval(known, MAGNITUDE))


def _notes(table: pl.DataFrame, methods: Sequence[str], batch_norm_images: int, points: int) -> tuple[str, ...]:
    reach = table["reach"].drop_nulls()
    notes = [
        "connected: the upper 95 % limit of the test error's barrier over the mean of the ends is below 2 points; a "
        "barrier: the lower one is not; that permutation explains it rests on the first method "
        f"({_WAYS[methods[0]]}), that it does not on all of them",
        "a barrier that stays does not show that no permutation removes it: matching finds good ones, not the best",
    ]
    if len(reach):
        notes.append(
            f"{100 * min(reach.to_list()):.1f} % of the parameters lie along units that may be permuted; rotations "
            "within attention heads and scales between layers are symmetries too, and are not looked for"
        )
    return (*notes, *line_notes(table, "recompute", batch_norm_images, points))
