"""Recall and precision of every class and the confusion matrix, from the table of the four networks."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from transferscope.keys import shown
from transferscope.report.answer import found
from transferscope.report.numbers import MISSING, metric_words, value_words
from transferscope.rounding import exact
from transferscope.running.results import Results

OPEN_CLASSES = 12
"""Classes that stand open, and the largest confusion matrix that is shown whole."""

_VARIANTS = ("P_T", "RI_T")
_SHARE = "top1"  # recall and precision are written as an accuracy is


@dataclass(frozen=True)
class ClassRow:
    """One class, with its recall and precision by variant."""

    name: str
    images: str
    cells: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Confusion:
    """The confusion matrix of a variant, on average over its networks."""

    variant: str
    rows: tuple[tuple[str, tuple[tuple[str, float], ...]], ...]


@dataclass(frozen=True)
class Classes:
    """What the page shows of classes.

    Attributes:
        matrices: whole ones, of few classes; empty otherwise.
    """

    rows: tuple[ClassRow, ...]
    names: tuple[str, ...]
    matrices: tuple[Confusion, ...]
    taken: tuple[tuple[str, str, str, str], ...]


def class_results(results: Results) -> Classes | None:
    """What the study knows of single classes; None where no network was trained."""
    item = found(results, "outcome")
    if item is None or item.table is None:
        return None
    # Of a class without a test image, or never predicted, there is a row without a basis.
    rows = item.table.filter((pl.col("level") == "class") & (pl.col("basis").fill_null("examples") == "examples"))
    cells = {(row["item"], row["variant"], row["metric"]): row for row in rows.iter_rows(named=True)}
    names = rows["item"].unique(maintain_order=True).to_list()
    if not names:
        return None
    pairs = item.table.filter(pl.col("level") == "confusion")
    images = {
        (row["variant"], row["item"], row["predicted"]): float(row["value"]) for row in pairs.iter_rows(named=True)
    }
    made = [_row(name, cells, images) for name in sorted(names, key=lambda name: _recall(name, cells))]
    whole = len(names) <= OPEN_CLASSES and not pairs.is_empty()
    shown = [variant for variant in _VARIANTS if variant in pairs["variant"]] if whole else []
    return Classes(
        rows=tuple(made),
        names=tuple(names),
        matrices=tuple(_matrix(variant, names, images) for variant in shown),
        taken=() if whole else tuple(_taken(images)),
    )


Cells = Mapping[tuple[str, str, str], Mapping[str, Any]]
Images = Mapping[tuple[str, str, str], float]


def _recall(name: str, cells: Cells) -> tuple[float, str]:
    value = next((row["value"] for v in _VARIANTS if (row := cells.get((name, v, "recall"))) is not None), None)
    return (2.0 if value is None else float(value), name)


def _row(name: str, cells: Cells, images: Images) -> ClassRow:
    counted: float | None = next(
        (row["n"] for v in _VARIANTS if (row := cells.get((name, v, "recall"))) is not None), None
    )
    # Where the data names groups n counts those; the matrix has every image.
    for variant in _VARIANTS:
        if own := [count for (of, true, _), count in images.items() if (of, true) == (variant, name)]:
            counted = round(sum(own))
    return ClassRow(
        name,
        value_words(counted, "count"),
        tuple(_cell(cells.get((name, variant, metric))) for variant in _VARIANTS for metric in ("recall", "precision")),
    )


def _cell(row: Mapping[str, Any] | None) -> tuple[str, str]:
    if row is None or row["value"] is None:
        return MISSING, ""
    if row["low"] is None:
        return metric_words(row["value"], _SHARE), ""
    low, high = (metric_words(row[name], _SHARE).removesuffix("\u00a0%") for name in ("low", "high"))
    return metric_words(row["value"], _SHARE), f"{low} to {high}"


def _matrix(variant: str, names: list[str], images: Images) -> Confusion:
    rows = []
    for true in names:
        found_images = [images.get((variant, true, taken), 0.0) for taken in names]
        total = sum(found_images) or 1.0
        rows.append((true, tuple((_images(count), round(count / total, 3)) for count in found_images)))
    return Confusion(shown(variant), tuple(rows))


def _taken(images: Images) -> list[tuple[str, str, str, str]]:
    wrong = {(true, taken) for _, true, taken in images if true != taken}
    by_pair = {pair: [images.get((variant, *pair), 0.0) for variant in _VARIANTS] for pair in wrong}
    ranked = sorted(by_pair, key=lambda pair: (-max(by_pair[pair]), pair))[:OPEN_CLASSES]
    return [(*pair, *map(_images, by_pair[pair])) for pair in ranked]  # type: ignore[misc]


def _images(mean: float) -> str:
    return value_words(mean, "count") if mean.is_integer() else f"{exact(mean):.1f}"
