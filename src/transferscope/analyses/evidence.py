"""Finished tables; for a decision, without anything measured on test data."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

from transferscope.errors import AnalysisError
from transferscope.study.analysis_settings import AnalysisSettings

__all__ = ["Evidence"]


@dataclass(frozen=True)
class Evidence:
    """The tables finished so far.

    Attributes:
        tables: by the key of the analysis.
        decision: hide what was measured on test data.
    """

    tables: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    decision: bool = False

    def has(self, analysis: AnalysisSettings) -> bool:
        """Whether there are rows of ``analysis``."""
        return analysis.key in self.tables

    def table(self, analysis: AnalysisSettings) -> pl.DataFrame:
        """The rows of ``analysis``.

        Raises:
            AnalysisError: it is not finished.
        """
        if analysis.key not in self.tables:
            raise AnalysisError(
                f"there is no table of {analysis.name!r} yet",
                hint="name it in needs() of the analysis that reads it",
            )
        table = self.tables[analysis.key]
        if not self.decision:
            return table
        hidden = [name for name, column in analysis.columns.items() if column.measured_on == "test"]
        if any(column.measured_on == "row" for column in analysis.columns.values()):
            table = table.filter(pl.col("split") != "test")
        return table.drop(hidden)

    def for_decision(self) -> "Evidence":
        """The same tables without what was measured on test data."""
        return Evidence(self.tables, decision=True)
