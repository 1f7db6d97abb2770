"""A finished study from the folder of its report alone: no store, no images, no torch."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from transferscope.analyses.contract import AbstractAnalysis, analysis_of, checked_files
from transferscope.analyses.estimates import Estimate
from transferscope.analyses.summary import Summary
from transferscope.errors import AnalysisError, StoreError
from transferscope.report.results_file import FORMAT
from transferscope.running.failures import Failure
from transferscope.running.results import AnalysisResult, Results
from transferscope.store.system_errors import translated
from transferscope.study.registry import parse_analysis
from transferscope.study.settings import Study

__all__ = ["read_results"]

_AGAIN = "transferscope report STUDY writes the folder again, from the store; nothing is trained"


def read_results(folder: Path) -> Results:
    """What :func:`transferscope.write_report` wrote into a folder.

    Args:
        folder: with ``results.json``, ``tables`` and ``files``.

    Raises:
        StoreError: there is no such folder, or what lies in it is damaged or of another version.
    """
    place = folder / "results.json"
    with translated(None, "read"):
        if not place.is_file():
            raise StoreError(
                f"there are no results in {folder}",
                expected="the folder of a report, with results.json: transferscope-runs/reports/NAME",
                hint=_AGAIN,
            )
        try:
            document = json.loads(place.read_bytes())
            if document["format"] != FORMAT:
                raise StoreError(
                    f"{place} is of another version",
                    expected=f"format {FORMAT}",
                    got=str(document["format"]),
                    hint=_AGAIN,
                )
            return Results(
                study=Study.model_validate(document["settings"]),
                headline=pl.read_parquet(folder / "tables" / "headline.parquet"),
                gap=_estimates(document["gap"]),
                verdict=document["verdict"],
                analyses=tuple(_analysis(item, folder) for item in document["analyses"]),
                manifest=document["manifest"],
            )
        except (ValueError, KeyError, TypeError, OSError, AnalysisError, pl.exceptions.PolarsError) as error:
            raise StoreError(
                f"the results in {folder} cannot be read",
                expected="results.json and its tables, as they were written",
                got=f"{type(error).__name__}: {error}",
                hint=_AGAIN,
            ) from error


def _analysis(item: Mapping[str, Any], folder: Path) -> AnalysisResult:
    analysis: AbstractAnalysis = analysis_of(parse_analysis({item["name"]: item["settings"]}))
    checked_files(analysis, dict.fromkeys(item["files"], b""))
    table, files = folder / "tables" / f"{item['slug']}.parquet", folder / "files" / item["slug"]
    summary = None
    if item["verdict"] is not None:
        summary = Summary(item["verdict"], _estimates(item["estimates"]), tuple(item["notes"]), item["facts"])
    return AnalysisResult(
        analysis=analysis,
        # By name, as an older report may have left others in this folder.
        table=None if item["rows"] is None else pl.read_parquet(table),
        files={name: (files / name).read_bytes() for name in item["files"]},
        summary=summary,
        skip_reason=item["skip_reason"],
        failed=None if item["failed"] is None else Failure(item["failed"]),
    )


def _estimates(items: list[dict[str, Any]]) -> tuple[Estimate, ...]:
    return tuple(Estimate(**{**item, "flags": tuple(item["flags"])}) for item in items)
