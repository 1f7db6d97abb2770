"""What each class gains: recall and precision of every class, and what its images are taken for."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from transferscope.analyses.final_metrics import interval_columns
from transferscope.analyses.predictions import Judgements
from transferscope.study.columns import Column

__all__ = ["CLASS_COLUMNS", "class_rows"]

Predicted = Mapping[str, Sequence[npt.NDArray[np.int64]]]
"""By variant, ``judgements`` of each seed."""

CLASS_COLUMNS: Mapping[str, Column] = {
    "item": Column(str, "the class or label of a row of level class or confusion", null="the row speaks of all"),
    "predicted": Column(str, "what images of the class are taken for", null="not a row of level confusion"),
}
"""What the rows have beside the columns of every row."""


def class_rows(judgements: Judgements, predicted: Predicted) -> Iterator[dict[str, Any]]:
    """Recall and precision of each class over test images and over seeds; the cells of the confusion matrix.

    Over images a share pools the judgements of all seeds, and an image (or its group) counts once however many seeds
    judge it. Cells are images, on average over seeds; those without an image are left out. Labels of which several can
    hold have no confusion matrix.

    Args:
        judgements: of the test split.
        predicted: at least one seed of each variant.
    """
    owners = judgements.images if judgements.clusters is None else judgements.clusters
    for variant, by_seed in predicted.items():
        said = np.stack(list(by_seed))
        for item, name in enumerate(judgements.names):
            base = {"level": "class", "variant": variant, "item": name}
            inside = judgements.recall_of(item)
            taken = said == item if judgements.task == "single" else (said == 1) & (judgements.classes == item)
            for metric, counted in (("recall", np.broadcast_to(inside, said.shape)), ("precision", taken)):
                for row in _shares(said == judgements.truth, counted, owners):
                    yield {**base, "metric": metric, **row}
        if judgements.task == "single":
            yield from _confusion(judgements, said, variant)


def _shares(
    right: npt.NDArray[np.bool_], counted: npt.NDArray[np.bool_], owners: npt.NDArray[Any]
) -> Iterator[dict[str, Any]]:
    from transferscope.measures.intervals import SHARE, seeds_interval
    from transferscope.measures.share_interval import share_interval

    seeds = [float(row[chosen].mean()) for row, chosen in zip(right, counted, strict=True) if chosen.any()]
    over_images = share_interval(right[counted], np.broadcast_to(owners, counted.shape)[counted])
    yield interval_columns(over_images)
    if len(seeds) > 1:  # one seed says nothing about seeds
        row = interval_columns(seeds_interval(seeds, bounds=SHARE))
        # Equal for all seeds there is no interval, and still a row of seeds: one without a basis is of no image.
        yield {**row, "basis": "seeds" if len(seeds) > 2 else "range"}


def _confusion(judgements: Judgements, said: npt.NDArray[np.int64], variant: str) -> Iterator[dict[str, Any]]:
    count = len(judgements.names)
    cells = np.zeros((count, count), dtype=np.int64)
    np.add.at(cells, (np.broadcast_to(judgements.truth, said.shape), said), 1)
    for true, taken in zip(*np.nonzero(cells), strict=True):
        yield {
            "level": "confusion",
            "variant": variant,
            "item": judgements.names[true],
            "predicted": judgements.names[taken],
            "metric": "images",
            "value": float(cells[true, taken]) / len(said),
            "n": len(said),
        }
