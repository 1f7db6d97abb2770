"""Example tables, made from the columns an analysis declares: rows say what matters, the rest is filled in."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import count, islice
from typing import Any

import polars as pl

from transferscope.analyses.contract import AbstractAnalysis, checked
from transferscope.keys import shown
from transferscope.study.columns import schema

__all__ = ["barriers", "example", "seed_pairs", "straight_lines"]

Row = Mapping[str, Any]
Height = float | tuple[float | None, float | None, float | None] | None

_USUAL: Mapping[str, Any] = {"batch_norm": "recompute", "split": "test", "origin": "study", "examples": 400}
_NEUTRAL: Mapping[type, Any] = {str: "", int: 0, float: 0.0, bool: False}


def seed_pairs(number: int) -> list[tuple[int, int]]:
    """The first pairs, as studies measure them: (0, 1), (0, 2), (1, 2), (0, 3), ..."""
    return list(islice(((a, b) for b in count(1) for a in range(b)), number))


def _named(row: Row) -> dict[str, Any]:
    """A row with the labels that follow from its variants and seeds: those of networks, and of their pair."""
    named: dict[str, Any] = {}
    if {"variant", "seed"} <= row.keys():
        named["network"] = f"{shown(row['variant'])}[{row['seed']}]"
    for side in ("a", "b"):
        if {f"variant_{side}", f"seed_{side}"} <= row.keys():
            named[side] = f"{shown(row[f'variant_{side}'])}[{row[f'seed_{side}']}]"
    if {"a", "b"} <= named.keys():
        named["pair"] = f"{shown(row['variant_a'])}/{shown(row['variant_b'])}"
    return named | dict(row)


def example(analysis: type[AbstractAnalysis] | AbstractAnalysis, rows: Iterable[Row], **same: Any) -> pl.DataFrame:
    """A table that keeps the contract.

    What a row leaves out is the usual value, else null, or a neutral value where the column declares no null.
    Variants and seeds give labels.

    Args:
        analysis: whose columns they are.
        rows: what matters.
        same: columns that are equal in all rows, unless a row says otherwise.
    """
    asked = analysis() if isinstance(analysis, type) else analysis
    declared = asked.columns
    blank = {
        name: _USUAL.get(name, None if column.null is not None else _NEUTRAL[column.dtype])
        for name, column in declared.items()
    }
    made = []
    for row in rows:
        said = _named(same | dict(row))
        unknown = said.keys() - declared.keys() - {"network", "pair", "a", "b", "variant_a", "variant_b"}
        assert not unknown, f"{asked.name} declares no {unknown}"
        made.append(blank | {name: value for name, value in said.items() if name in declared})
    return checked(asked, pl.DataFrame(made, schema=schema(declared)))


def barriers(
    height: Height | Mapping[str, Height], wide: float | None = None, **facts: Any
) -> Iterator[dict[str, Any]]:
    """Barrier rows: of loss and error, against both baselines.

    Args:
        height: (value, low, high), or a value whose limits are 10 % off; one for both quantities, or one for each.
        wide: how far off the simultaneous limits are, as a share; None as far as the others.
        facts: what else the rows say.
    """
    heights = height if isinstance(height, Mapping) else {"loss": height, "error": height}
    for quantity, of in heights.items():
        value, low, high = of if isinstance(of, tuple) else (of, 0.9 * of, 1.1 * of) if of is not None else (None,) * 3
        both = {"simultaneous_low": low, "simultaneous_high": high} if wide is None else {
            "simultaneous_low": (1 - wide) * value, "simultaneous_high": (1 + wide) * value}  # fmt: skip
        for baseline in ("linear", "mean"):
            yield {
                "level": "barrier", "alpha": 0.5, "l2": 1.0, "quantity": quantity, "baseline": baseline,
                "barrier": value, "low": low, "high": high, "n": 400, "midpoint_gap": 0.0, "smallest_gap": 0.0,
                **both, **facts,
            }  # fmt: skip


def straight_lines(
    ends: tuple[float, float],
    hill: float,
    length: float,
    family: tuple[float, int],
    steps: int,
    own: bool = True,
    **facts: Any,
) -> Iterator[dict[str, Any]]:
    """Rows of a way between two networks, equal at its ends and with a hill between, on both splits.

    ``family``: how far off the simultaneous limits are, as a share, and of how many barriers.
    """
    noise = {"loss_se": 0.015, "error_se": 0.013}
    for split, offset in (("train", -0.12), ("test", 0.0)):
        loss, error = (value + offset for value in ends)
        of = {"split": split, **facts}
        for alpha in (step / (steps - 1) for step in range(steps)):
            bump = hill * 16 * (alpha * (1 - alpha)) ** 2
            yield {
                **of, **noise, "level": "point", "alpha": alpha, "l2": alpha * length, "loss": loss + bump,
                "error": error + 0.5 * bump, "metric": 1 - error - 0.5 * bump, "loss_change": bump,
                "loss_change_se": 0.01, "error_change": 0.5 * bump, "error_change_se": 0.009,
            }  # fmt: skip
        for alpha in (0.0, 1.0) if own else ():
            yield {
                **of, **noise, "level": "own", "batch_norm": "own statistics", "alpha": alpha, "l2": alpha * length,
                "loss": loss, "error": error, "metric": 1 - error,
            }  # fmt: skip
        for row in barriers({"loss": hill, "error": 0.5 * hill}, family[0], l2=length, n=656, **of):
            height = row["barrier"]
            yield row | {"barrier_se": 0.05 * height, "midpoint_gap": height, "n_comparisons": family[1]}
