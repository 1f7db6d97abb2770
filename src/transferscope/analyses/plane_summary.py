"""Planes in words: what lies at the networks, and that a picture decides nothing."""

import polars as pl

from transferscope.analyses.contract import Number, Summary
from transferscope.analyses.variants import BASELINES
from transferscope.keys import OWN_STATISTICS, RANDOM_DIRECTIONS

__all__ = ["summary_of"]


def summary_of(table: pl.DataFrame, batch_norm_images: int, tolerance: float, one_dimensional: str) -> Summary:
    """Errors at the networks, how much was evaluated, and a verdict that claims nothing.

    Args:
        table: of ``plane``.
        batch_norm_images: for the note.
        tolerance: for the note.
        one_dimensional: for the note.
    """
    found = table.filter(pl.col("split") == "test")
    names = found["plane"].unique(maintain_order=True).to_list()
    if not names:
        return Summary("Not measured: a network of every plane diverged.")
    words, numbers = [], []
    for name in names:
        rows = found.filter(pl.col("plane") == name)
        points = rows.filter(pl.col("level") == "point")
        marks = rows.filter((pl.col("level") == "mark") & (pl.col("batch_norm") != OWN_STATISTICS)).to_dicts()
        errors = [100 * value for value in (*points["error"], *(mark["error"] for mark in marks))]
        where = name if rows["kind"][0] == RANDOM_DIRECTIONS else f"on {name}"
        words.append(f"{min(errors):.1f} to {max(errors):.1f} % {where}")
        for mark in marks:
            spread = None if mark["error_se"] is None else 1.96 * mark["error_se"]
            numbers.append(
                Number(
                    f"test error of {mark['network']}, plane {name}",
                    mark["error"],
                    None if spread is None else max(0.0, mark["error"] - spread),
                    None if spread is None else min(1.0, mark["error"] + spread),
                    None if spread is None else "examples",
                    mark["examples"],
                    note=f"batch norm: {mark['batch_norm']}",
                )
            )
        share = float(1 - points["interpolated"].cast(pl.Float64).to_numpy().mean())
        numbers.append(Number(f"share of the grid evaluated, plane {name}", share, n=len(points)))
    verdict = (
        f"A picture, not a test: test error {'; '.join(words)}. Whether networks are connected is for paths and basins "
        "to decide, with intervals."
    )
    return Summary(verdict, tuple(numbers), _notes(table, batch_norm_images, tolerance, one_dimensional))


def _notes(table: pl.DataFrame, batch_norm_images: int, tolerance: float, one_dimensional: str) -> tuple[str, ...]:
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
        policy = "do not move" if one_dimensional == "zero" else "are one filter each"
        notes.append(
            f"random directions are normalised filter by filter; biases and parameters of norms {policy}; cosine "
            f"between the two at most {steep:.3f} in size"
        )
    if any(name.split("[")[0] in BASELINES for name in table["network"].drop_nulls()):
        notes.append("untrained networks have the head of their seed, which nobody trained")
    return tuple(notes)
