"""What is kept of finished studies beside the documentation, read back and checked."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from tools.results.collect_evidence import MANIFEST
from tools.results.evidence_tables import ESTIMATES
from transferscope.analyses.estimates import COLUMNS, Estimate
from transferscope.errors import AnalysisError

__all__ = ["KeptResults", "kept_results", "read_kept"]


@dataclass(frozen=True)
class KeptResults:
    """One study, as it was collected.

    Attributes:
        manifest: versions, machine, trainings, hashes.
        study_text: the study file.
        summary: verdict, gap and, of each analysis, its words.
        headline: one row per variant and split.
        estimates: by the slug of an analysis.
        tables: by the slug of an analysis; those that were small enough.
    """

    manifest: Mapping[str, Any]
    study_text: str
    summary: Mapping[str, Any]
    headline: pl.DataFrame
    estimates: Mapping[str, tuple[Estimate, ...]]
    tables: Mapping[str, pl.DataFrame]

    @property
    def name(self) -> str:
        """Of the study."""
        return str(self.manifest["study"])


def kept_results(folder: Path) -> list[KeptResults]:
    """All studies kept in ``folder``, in the order of their names.

    Raises:
        AnalysisError: as in :func:`read_kept`.
    """
    return [read_kept(place.parent) for place in sorted(folder.glob(f"*/{MANIFEST}"))]


def read_kept(folder: Path) -> KeptResults:
    """One study; every file is compared with its hash first.

    Raises:
        AnalysisError: a file is missing, is not listed, or is not what was collected.
    """
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    listed = manifest["files"]
    present = {path.name for path in folder.iterdir()} - {MANIFEST}
    if present != set(listed):
        raise AnalysisError(
            f"{folder.name} does not hold the files of its manifest",
            expected=", ".join(sorted(listed)),
            got=", ".join(sorted(present)),
            hint="collect the study again",
        )
    data = {name: (folder / name).read_bytes() for name in listed}
    for name, content in data.items():
        if hashlib.sha256(content).hexdigest() != listed[name]:
            raise AnalysisError(
                f"{folder.name}/{name} is not what was collected", hint="collect the study again; do not edit it"
            )
    tables: dict[str, pl.DataFrame] = {}
    for name, content in data.items():
        stem = name.removesuffix(".csv")
        if stem not in (name, "headline", ESTIMATES):
            tables[stem] = pl.read_csv(content, infer_schema_length=None)
    return KeptResults(
        manifest=manifest,
        study_text=data["study.yaml"].decode(),
        summary=json.loads(data["summary.json"]),
        headline=pl.read_csv(data["headline.csv"], infer_schema_length=None),
        estimates=_estimates(data[f"{ESTIMATES}.csv"]),
        tables=tables,
    )


def _estimates(content: bytes) -> dict[str, tuple[Estimate, ...]]:
    table = pl.read_csv(content, infer_schema=False).with_columns(pl.col(name).cast(to) for name, to in COLUMNS.items())
    found: dict[str, tuple[Estimate, ...]] = {}
    for row in table.iter_rows(named=True):
        at = {name: value for name, value in row.items() if name not in _FIXED and value is not None}
        values: dict[str, Any] = {name: row[name] for name in COLUMNS}
        values |= {"name": row["name"] or "", "note": row["note"] or "", "flags": tuple((row["flags"] or "").split())}
        found[row["analysis"]] = (*found.get(row["analysis"], ()), Estimate(row["quantity"], at, **values))
    return found


_FIXED = frozenset({"analysis", "quantity", *COLUMNS})
