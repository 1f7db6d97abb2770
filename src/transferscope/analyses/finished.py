"""The tables that finished units make."""

import io
from collections.abc import Iterable

import polars as pl

from transferscope.analyses.contract import AbstractAnalysis, checked
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.task_keys import new_units
from transferscope.context.resolved_study import ResolvedStudy
from transferscope.errors import StoreError
from transferscope.store import Store
from transferscope.study.columns import schema
from transferscope.study.renamed import COLUMNS

__all__ = ["finished_table", "table_of"]


def finished_table(analysis: AbstractAnalysis, study: ResolvedStudy, store: Store) -> pl.DataFrame:
    """The rows of an analysis whose units all lie in the store, in their order, test columns included.

    Its units are named anew, as a run names them: from the tables of what it needs, without test data, round after
    round until none is new.

    Args:
        analysis: finished before the one that asks.
        study: whose.
        store: where the results lie.

    Raises:
        StoreError: a unit of it is not measured yet.
    """
    return _table(analysis, study, store, {})


def table_of(analysis: AbstractAnalysis, store: Store, keys: Iterable[str]) -> pl.DataFrame:
    """The table of an analysis: the rows of measured units, in the order of their keys.

    Raises:
        StoreError: a unit is not measured yet.
    """
    frames = [pl.DataFrame([], schema=schema(analysis.columns)), *(_read(analysis, key, store) for key in keys)]
    return checked(analysis, pl.concat(frames))


def _table(
    analysis: AbstractAnalysis, study: ResolvedStudy, store: Store, tables: dict[str, pl.DataFrame]
) -> pl.DataFrame:
    if analysis.key in tables:
        return tables[analysis.key]
    for need in analysis.needs(study):
        _table(need, study, store, tables)
    keys: list[str] = []
    while new := new_units(analysis, analysis.tasks(study, Evidence(tables).for_decision()), study, keys):
        keys += new
        tables[analysis.key] = table_of(analysis, store, keys)
    return tables.setdefault(analysis.key, table_of(analysis, store, ()))


def _read(analysis: AbstractAnalysis, key: str, store: Store) -> pl.DataFrame:
    entry = store.entry("units", key)
    if not entry.exists():
        raise StoreError(
            f"a unit of {analysis.name!r} is not measured yet",
            expected="an analysis that is finished",
            got=f"no entry {key}",
            hint="name it in needs() of the analysis that reads it",
        )
    table = pl.read_parquet(io.BytesIO(entry.read_bytes("table.parquet")))
    if "format" not in entry.manifest():
        table = table.rename(COLUMNS.get(analysis.name, {}), strict=False)
    return table
