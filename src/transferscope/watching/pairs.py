"""Two runs beside each other: what their weights tell without data, and what a comparison on data adds."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl
from torch import Tensor

from transferscope.errors import MeasureError, WeightsError
from transferscope.measures.barriers import Barrier, stability
from transferscope.measures.distance import displacement_cosine, parameter_distance
from transferscope.methods.compare.comparison import Comparison
from transferscope.networks.weight_files import read_file
from transferscope.study.columns import schema
from transferscope.watching.columns import PAIRS, PATHS
from transferscope.watching.reading import Run

__all__ = ["compared_row", "path_rows", "run_pairs", "weights_row"]

_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def run_pairs(runs: Sequence[Run]) -> Iterator[tuple[int, int]]:
    """All pairs of runs, by number."""
    yield from itertools.combinations(range(len(runs)), 2)


def weights_row(runs: Sequence[Run], a: int, b: int) -> dict[str, Any]:
    """What the last weights of two runs tell: a row of :data:`PAIRS`, null where data are needed.

    Args:
        runs: all of them.
        a: number of the first.
        b: number of the second.
    """
    first, second = runs[a], runs[b]
    row: dict[str, Any] = dict.fromkeys(PAIRS)
    row |= {"run_a": first.name, "run_b": second.name, "seed_a": a, "seed_b": b}
    row["group"] = first.group if first.group == second.group else None
    if first.last is None or second.last is None:
        return {**row, "note": "a run has no checkpoint"}
    try:
        ends = _parameters(first, first.last), _parameters(second, second.last)
        shared = [n for n, v in ends[0].items() if n in ends[1] and ends[1][n].shape == v.shape]
        row["left_out"] = len({*ends[0], *ends[1]}) - len(shared)
        if not shared:
            return {**row, "note": "they share no parameter of equal name and shape: other architectures"}
        at_end = [{name: end[name] for name in shared} for end in ends]
        row["distance"] = parameter_distance(*at_end).l2
        if first.start is None or second.start is None:
            return row
        starts = _parameters(first, first.start), _parameters(second, second.start)
        moving = [n for n in shared if all(n in s and s[n].shape == at_end[0][n].shape for s in starts)]
        sides = [{n: side[n] for n in moving} for side in (at_end[0], starts[0], at_end[1], starts[1])]
        if moving:
            row["cosine"] = displacement_cosine(*sides)
            row["cosine_without_decay"] = displacement_cosine(*sides, without_decay=True)
    except (WeightsError, MeasureError) as error:
        row["note"] = error.what
    return row


def compared_row(comparison: Comparison) -> dict[str, Any]:
    """What a comparison on data adds to a row of :data:`PAIRS`."""
    row: dict[str, Any] = {"metric_a": comparison.metrics[0], "metric_b": comparison.metrics[1]}
    if comparison.mistakes is not None:
        row |= {name: getattr(comparison.mistakes, name) for name in ("kappa", "kappa_max", "jaccard")}
    equal = [
        item["cka"]
        for item in comparison.similarity.rows()
        if item["network_a"] == "a" and item["network_b"] == "b" and item["module_a"] == item["module_b"]
    ]
    known = [value for value in equal if isinstance(value, float)]
    row["cka"] = sum(known) / len(known) if known else None
    if comparison.error_barrier is not None:
        height = comparison.error_barrier.mean
        row |= {"error_barrier": height.interval.value, "connected": stability(height.interval)}
        row |= {"error_barrier_low": height.interval.low, "error_barrier_high": height.interval.high}
    row["loss_barrier"] = _height(comparison.loss_barrier)
    missing = [f"{name}: {why}" for name, why in comparison.not_measured.items()]
    return {**row, "note": "; ".join(missing) or None}


def path_rows(comparison: Comparison, run_a: str, run_b: str) -> pl.DataFrame:
    """The line between two runs, in the columns of :data:`PATHS`; empty where it was not measured."""
    path = comparison.path
    if path is None:
        return pl.DataFrame(schema=schema(PATHS))
    values = {name: path.values("held-out", name).mean(1) for name in ("loss", "error")}
    rows = [
        {"run_a": run_a, "run_b": run_b, "alpha": alpha, **{name: _finite(float(v[at])) for name, v in values.items()}}
        for at, alpha in enumerate(path.alphas)
    ]
    return pl.DataFrame(rows, schema=schema(PATHS))


def _height(barrier: Barrier | None) -> float | None:
    return None if barrier is None else barrier.mean.interval.value


def _finite(value: float) -> float | None:
    return value if -float("inf") < value < float("inf") else None


def _parameters(run: Run, path: Path) -> dict[str, Tensor]:
    """Parameters of a file of weights, by what the run says are its buffers, else by the names of batch norm's."""
    buffers = set(run.facts.get("buffers") or ())
    return {
        name: value
        for name, value in read_file(path).items()
        if name not in buffers and value.is_floating_point() and name.rpartition(".")[2] not in _STATISTICS
    }
