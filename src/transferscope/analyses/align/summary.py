"""The verdict on barriers after permutation: gone, still there, or undecided."""

from collections.abc import Iterator, Mapping, Sequence

import polars as pl

from transferscope.analyses.barrier_estimates import (
    barrier_quantities,
    barriers,
    deciding,
    height,
    over_pairs,
    pairs_of_variants,
    select,
)
from transferscope.analyses.estimates import Estimate, Quantity
from transferscope.analyses.path_rows import line_notes
from transferscope.analyses.summary import Summary
from transferscope.bounds import DIFFERENCE, MAGNITUDE, SHARE

__all__ = ["QUANTITIES", "UNALIGNED", "summary"]

UNALIGNED = "unaligned"
_WAYS = {
    "unaligned": "as trained",
    "activations": "matched by activations",
    "weights": "matched by weights",
}
_BARRIERS = barrier_quantities("%s barrier of {pair}, {method} ({split}, {baseline} baseline)", method=_WAYS)
_GONE = Quantity(
    "error_barrier_gone", "error barrier of {pair} that goes when {method} ({split}, {baseline} baseline)", "1",
    DIFFERENCE, labels={"method": _WAYS},
)  # fmt: skip
_DISTANCE = Quantity(
    "distance_ratio", "distance of {pair}, {method}, over that as trained", "1", MAGNITUDE, labels={"method": _WAYS}
)
_MOVED = Quantity(
    "permuted_share", "share of the units of the second network of {pair} that moved, {method}", "1", SHARE,
    labels={"method": _WAYS},
)  # fmt: skip
QUANTITIES = (*_BARRIERS.values(), _GONE, _DISTANCE, _MOVED)
"""Of ``align``: ``method`` is the column ``way``."""


def summary(
    table: pl.DataFrame, variants: Sequence[str], methods: Sequence[str], batch_norm_images: int, points: int
) -> Summary:
    """Estimates and verdict of ``align``.

    Args:
        table: in the declared columns of the analysis.
        variants: its setting.
        methods: its setting; the verdict that permutation explains a barrier rests on the first alone, that it does
            not on all.
        batch_norm_images: its setting.
        points: its setting.
    """
    estimates: list[Estimate] = []
    words: list[str] = []
    for pair, rows in pairs_of_variants(table, variants):
        if rows.is_empty():
            words.append(f"{pair} not measured (diverged, or fewer than two seeds)")
            continue
        ways = {way: rows.filter(pl.col("way") == way) for way in (UNALIGNED, *methods)}
        judged: dict[str, Estimate] = {}
        for way, of in ways.items():
            found = list(barriers(of, _BARRIERS, pair=pair, method=way))
            judged[way] = deciding(found)
            estimates += found
        pairs = select(ways[UNALIGNED])
        heights = "; ".join(f"{_WAYS[way]} {height(item, pairs.height)}" for way, item in judged.items())
        words.append(f"{pair} {_said(judged, methods)}: {heights}")
        for method in methods:
            estimates += _changes(pair, method, pairs, select(ways[method]))
    return Summary("; ".join(words) + ".", tuple(estimates), _notes(table, methods, batch_norm_images, points))


def _said(judged: Mapping[str, Estimate], methods: Sequence[str]) -> str:
    """The verdict of one variant."""
    before = judged[UNALIGNED].verdict
    if before == "stable":
        return "linearly connected as trained: there is no barrier to explain"
    if before == "unstable" and judged[methods[0]].verdict == "stable":
        return "apart by permutation: the barrier goes when hidden units are matched"
    if before == "unstable" and all(judged[way].verdict == "unstable" for way in methods):
        return "apart also after permutation: a barrier stays by every matching tried"
    return "undecided whether permutation explains the barrier"


def _changes(pair: str, method: str, before: pl.DataFrame, after: pl.DataFrame) -> Iterator[Estimate]:
    """What a matching changed, from the judged barrier rows without it and with it."""
    both = after.join(before.select("a", "b", "barrier", "distance"), on=["a", "b"], suffix="_before").with_columns(
        gone=pl.col("barrier_before") - pl.col("barrier"),
        ratio=pl.when(pl.col("distance_before") > 0).then(pl.col("distance") / pl.col("distance_before")),
    )
    at = {"pair": pair, "method": method}
    yield over_pairs(_GONE, both, "gone", **at, split="test", baseline="mean")
    yield over_pairs(_DISTANCE, both, "ratio", **at)
    yield over_pairs(_MOVED, both, "permuted_share", **at)


def _notes(table: pl.DataFrame, methods: Sequence[str], batch_norm_images: int, points: int) -> tuple[str, ...]:
    reach = table["permutable_share"].drop_nulls()
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
