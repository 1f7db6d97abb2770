"""A table of the four networks with its classes, for a study that was never run."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from transferscope.analyses.outcome.analysis import Outcome
from transferscope.analyses.outcome.per_class import class_rows
from transferscope.analyses.predictions import Judgements
from transferscope.analyses.summary import Summary
from transferscope.running.results import AnalysisResult
from transferscope.study.columns import schema

FACTS: dict[str, Any] = {
    "rival": "RI_T", "winner": "P_T", "basis": "seeds", "value": 0.081, "low": 0.069, "high": 0.093, "n": 3,
    "unended": None,
}  # fmt: skip


def outcome_table(names: Sequence[str] = ("intact", "defective"), images: int = 656, seeds: int = 3) -> pl.DataFrame:
    """Only the rows of classes and confusions: P-T errs less than RI-T, both most in the last class."""
    draw = np.random.default_rng(0)
    labels = np.sort(draw.integers(0, len(names), images))
    judgements = Judgements.made(labels, tuple(names), None)

    def said(error: float) -> list[Any]:
        wrong = draw.random((seeds, images)) < error * (1 + labels / len(names))
        other = (labels + draw.integers(1, len(names), (seeds, images))) % len(names)
        return list(np.where(wrong, other, labels))

    rows = [
        {**row, "split": "test", "diverged": False}
        for row in class_rows(judgements, {"RI_T": said(0.2), "P_T": said(0.12)})
    ]
    return pl.DataFrame(rows, schema=schema(Outcome.columns))


def outcome_result(table: pl.DataFrame | None = None, **facts: Any) -> AnalysisResult:
    """The analysis, its verdict told by ``facts``."""
    made = outcome_table() if table is None else table
    verdict = "This pre-training helps: P-T − RI-T is +8.1 points of test top1, over 3 seeds +6.9 to +9.3 points."
    return AnalysisResult(Outcome(), made, {}, Summary(verdict, facts={**FACTS, **facts}), None)
