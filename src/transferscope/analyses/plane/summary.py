"""Planes in words: what lies at the networks, and that a picture decides nothing."""

from typing import Any

import polars as pl

from transferscope.analyses.estimates import Estimate, Quantity
from transferscope.analyses.summary import Summary
from transferscope.bounds import SHARE
from transferscope.context.resolved_study import BASELINES
from transferscope.keys import OWN_STATISTICS, RANDOM_DIRECTIONS

__all__ = ["QUANTITIES", "summary_of"]

_ERROR = Quantity("error", "{split} error of {network}, plane {plane}", "1", SHARE)
_EVALUATED = Quantity("share_evaluated", "share of the grid evaluated, plane {plane}", "1", SHARE)
QUANTITIES = (_ERROR, _EVALUATED)
"""Of ``plane``."""


def summary_of(table: pl.DataFrame, batch_norm_images: int, tolerance: float, norm_and_bias: str) -> Summary:
    """Errors at the networks, how much was evaluated, and a verdict that claims nothing.

    Args:
        table: of ``plane``.
        batch_norm_images: for the note.
        tolerance: for the note.
        norm_and_bias: for the note.
    """
    from transferscope.measures.intervals import Interval

    found = table.filter(pl.col("split") == "test")
    names = found["plane"].unique(maintain_order=True).to_list()
    if not names:
        return Summary("Not measured: a network of every plane diverged.")
    words: list[str] = []
    estimates: list[Estimate] = []
    for name in names:
        rows = found.filter(pl.col("plane") == name)
        points = rows.filter(pl.col("level") == "point")
        marks = rows.filter((pl.col("level") == "mark") & (pl.col("batch_norm") != OWN_STATISTICS))
        errors = [100 * value for value in (*points["error"], *marks["error"])]
        where = name if rows["kind"][0] == RANDOM_DIRECTIONS else f"on {name}"
        words.append(f"{min(errors):.1f} to {max(errors):.1f} % {where}")
        estimates += [_at(mark) for mark in marks.iter_rows(named=True)]
        share = Interval(1 - float(points["interpolated"].sum()) / len(points), None, None, len(points), None)
        estimates.append(_EVALUATED.of(share, plane=name))
    verdict = (
        f"A picture, not a test: test error {'; '.join(words)}. Whether networks are connected is for paths and basins "
        "to decide, with intervals."
    )
    return Summary(verdict, tuple(estimates), _notes(table, batch_norm_images, tolerance, norm_and_bias))


def _at(mark: dict[str, Any]) -> Estimate:
    """The error of a network, with its interval over examples."""
    from transferscope.measures.intervals import Interval, within

    error, spread = mark["error"], mark["error_se"]
    interval = Interval(error, None, None, mark["examples"], None)
    if spread is not None:
        interval = within(
            Interval(error, error - 1.96 * spread, error + 1.96 * spread, mark["examples"], "examples"), SHARE
        )
    at = {name: mark[name] for name in ("network", "plane", "split", "batch_norm")}
    return _ERROR.of(interval, f"batch norm: {mark['batch_norm']}", **at)


def _notes(table: pl.DataFrame, batch_norm_images: int, tolerance: float, norm_and_bias: str) -> tuple[str, ...]:
    notes = []
    policies = set(table["batch_norm"])
    if policies & {"interpolate", "none"}:
        notes.append("batch-norm statistics were not recomputed: these values are artefacts")
    elif "recompute" in policies:
        notes.append(
            f"batch-norm statistics recomputed at every point on the same {batch_norm_images} training images "
            "(or all, if fewer), the networks included; these with their own statistics are listed apart"
        )
    notes.append(
        f"points are evaluated where interpolation from the coarser grid was off by more than {tolerance:g} "
        "in error or in 1 − exp(−loss), the others are interpolated and flagged; what is narrower than the second "
        "grid may be missed"
    )
    random = table.filter(pl.col("kind") == RANDOM_DIRECTIONS)
    if random.height:
        steep = max(random["cosine"].abs().to_list())
        policy = "do not move" if norm_and_bias == "zero" else "are one filter each"
        notes.append(
            f"random directions are normalised filter by filter; biases and parameters of norms {policy}; cosine "
            f"between the two at most {steep:.3f} in size"
        )
    if any(name.split("[")[0] in BASELINES for name in table["network"].drop_nulls()):
        notes.append("untrained networks have the head of their seed, which nobody trained")
    return tuple(notes)
