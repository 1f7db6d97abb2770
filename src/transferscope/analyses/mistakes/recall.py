"""Recall of P-T against RI-T, class by class: where a pre-trained start helps, and where it does harm."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from transferscope.analyses.estimates import Estimate, Quantity
from transferscope.analyses.predictions import Judgements
from transferscope.bounds import DIFFERENCE
from transferscope.rounding import exact
from transferscope.study.columns import Column

__all__ = ["RECALL_COLUMNS", "RECALL_QUANTITIES", "SURE", "recall_estimates", "recall_rows"]

SURE = 0.05
"""A class counts as changed where Holm's adjusted p is at most this."""

_NOT_RECALL = "not a row of level recall"
RECALL_COLUMNS: Mapping[str, Column] = {
    "recall_a": Column(float, "share of the class's images that a gets right, mean over seeds", "1", "test",
                       f"{_NOT_RECALL}, or no test image of the class"),
    "recall_b": Column(float, "share that b gets right, mean over seeds", "1", "test",
                       f"{_NOT_RECALL}, or no test image of the class"),
    "difference": Column(float, "recall_a − recall_b, over seeds that both finished", "1", "test",
                         f"{_NOT_RECALL}, or no test image of the class"),
    "low": Column(float, "lower end of the 95 % interval of the difference", "1", "test", "no interval"),
    "high": Column(float, "upper end", "1", "test", "no interval"),
    "basis": Column(str, "examples: these networks; seeds: training in general; range (of two seeds)",
                    null=f"{_NOT_RECALL}, or no test image of the class"),
    "n": Column(int, "examples (groups of them where the data names groups), or seeds", "count", null=_NOT_RECALL),
    "p": Column(float, "two-sided, of no difference: sign-flip test over examples, paired t over seeds", "1", "test",
                "no test: fewer than 3 seeds, equal for all of them, or no test image of the class"),
    "p_holm": Column(float, "p adjusted for all classes at once (Holm)", "1", "test", "as p"),
}  # fmt: skip
"""What is known of a class."""

_CHANGED = Quantity("changed_classes", "classes P-T recalls at a surely {direction} rate than RI-T", "count")
_SEEDS_CHANGED = Quantity(
    "changed_classes_over_seeds", "classes P-T recalls at a surely {direction} rate than RI-T, over seeds", "count"
)
_LOWEST = Quantity(
    "lowest_recall_difference", "recall of P-T − RI-T, class {item} (the lowest of all)", "1", DIFFERENCE
)
_LOWEST_P = Quantity("lowest_recall_p", "Holm-adjusted p of recall of P-T − RI-T, class {item} (the lowest of all)")
RECALL_QUANTITIES = (_CHANGED, _SEEDS_CHANGED, _LOWEST, _LOWEST_P)
"""What :func:`recall_estimates` gives."""


def recall_rows(
    judgements: Judgements,
    predicted_a: Sequence[npt.NDArray[np.int64]],
    predicted_b: Sequence[npt.NDArray[np.int64]],
    draws: int,
    seed: int,
) -> Iterator[dict[str, Any]]:
    """Two rows per class: over its test images, and over seeds; each family adjusted for itself.

    Args:
        judgements: of the test split.
        predicted_a: ``judgements`` of each seed of the first variant.
        predicted_b: of the same seeds of the second.
        draws: of the bootstrap over examples.
        seed: of the draws.
    """
    from transferscope.measures.families import holm
    from transferscope.measures.intervals import mean_difference_interval, paired_seeds_interval, seeds_p_value
    from transferscope.measures.sign_flip import sign_flip_p_value

    right_a, right_b = (np.stack(side) == judgements.truth for side in (predicted_a, predicted_b))
    rows: list[dict[str, Any]] = []
    for item, name in enumerate(judgements.names):
        inside = judgements.recall_of(item)
        base = {"level": "recall", "item": name, "examples": int(inside.sum())}
        if not inside.any():
            rows += [{**base, "n": 0}]
            continue
        a, b = right_a[:, inside], right_b[:, inside]
        clusters = None if judgements.clusters is None else judgements.clusters[inside]
        over_seeds = paired_seeds_interval(a.mean(1), b.mean(1), bounds=DIFFERENCE)
        # Equal for all seeds there is no interval, and still a row that says so.
        basis_seeds = "seeds" if over_seeds.n > 2 else over_seeds.basis
        over_examples = mean_difference_interval(a, b, clusters, draws, seed + item)
        base |= {"recall_a": float(a.mean()), "recall_b": float(b.mean())}
        flips = sign_flip_p_value(a.sum(0).astype(np.int64) - b.sum(0).astype(np.int64), clusters)
        for found, basis, p in (
            (over_examples, "examples", flips),
            (over_seeds, basis_seeds, seeds_p_value(a.mean(1), b.mean(1))),
        ):
            if basis is not None:  # one seed says nothing about seeds
                rows.append(
                    {**base, "difference": found.value, "low": found.low, "high": found.high}
                    | {"basis": basis, "n": found.n, "p": p}
                )
    for basis in ("examples", "seeds"):
        family = [row for row in rows if row.get("basis") == basis]
        for row, adjusted in zip(family, holm([row["p"] for row in family]), strict=True):
            row["p_holm"] = adjusted
    yield from rows


def recall_estimates(rows: Sequence[dict[str, Any]]) -> list[Estimate]:
    """How many classes P-T surely recalls worse or better than RI-T, and the class it changes most for the worse.

    Args:
        rows: of level ``recall``.
    """
    over = {basis: [row for row in rows if row.get("basis") == basis] for basis in ("examples", "seeds")}
    family = over["examples"]
    if not family:
        return []
    grouped = any(row["n"] < row["examples"] for row in family)
    bases = {"examples": f"{'groups of ' if grouped else ''}test examples: these networks", "seeds": "seeds"}
    estimates = []
    for quantity, basis in ((_CHANGED, "examples"), (_SEEDS_CHANGED, "seeds")):
        for word, sign in (("lower", -1), ("higher", 1)):
            if not over[basis]:
                continue
            sure = _sure(over[basis], sign)
            why = f"of {len(family)}, Holm-adjusted over {bases[basis]}"
            estimates.append(
                quantity.number(
                    float(len(sure)), len(family), why, _listed(sure), n_comparisons=len(over[basis]), direction=word
                )
            )
    worst = min(family, key=lambda row: (row["difference"], row["item"]))
    lowest = {**worst, "value": worst["difference"], "basis": None if worst["low"] is None else "examples"}
    estimates.append(_LOWEST.at_row(
        lowest, f"picked as the lowest of {len(family)}: its own interval is too hopeful for that",
        "n counts groups of images" if grouped else "", n_comparisons=len(family), item=worst["item"],
    ))  # fmt: skip
    estimates.append(_LOWEST_P.number(worst["p_holm"], worst["n"], n_comparisons=len(family), item=worst["item"]))
    return estimates


def _sure(rows: Sequence[dict[str, Any]], sign: int) -> list[dict[str, Any]]:
    found = [
        row for row in rows if row["p_holm"] is not None and row["p_holm"] <= SURE and sign * row["difference"] > 0
    ]
    return sorted(found, key=lambda row: -sign * row["difference"])


def _listed(rows: Sequence[dict[str, Any]], most: int = 5) -> str:
    words = ", ".join(f"{row['item']} {exact(100 * row['difference']):+.1f} points" for row in rows[:most])
    return words + (f" and {len(rows) - most} more" if len(rows) > most else "")
