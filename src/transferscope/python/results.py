"""The results of a study as people in Python see them: tables, estimates, figures, networks, a page of a notebook."""

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from transferscope.arguments import checked_as
from transferscope.errors import MissingExtraError, OptionError, StoreError, StudyError, nearest
from transferscope.factories import offered
from transferscope.plots.theme import Figure
from transferscope.report.figures import figures
from transferscope.report.folder import reports_folder
from transferscope.report.fragment import figure_fragment, fragment
from transferscope.report.render import written_report
from transferscope.report.results_file import estimates_table
from transferscope.report.sections import metric_of, slugs
from transferscope.running.failures import isolated
from transferscope.running.results import AnalysisResult, Results
from transferscope.store.atomic import replace_file
from transferscope.study.file import code_named, dump_study

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from torch import nn

    from transferscope.running.export import Exported

__all__ = ["DIMENSIONS", "StudyFigure", "StudyResults"]

DIMENSIONS = (
    "seed", "variant", "pair", "seed_a", "seed_b", "module", "module_a", "module_b", "part", "epoch",
)  # fmt: skip
"""Columns that say of what a row is: dimensions of :meth:`StudyResults.to_xarray` wherever a table has them."""

_FURTHER = ("variant_a", "variant_b", "learning_rate", "alpha")
_PLACES = ("position", "position_a", "position_b")
_MOST_CELLS = 50_000_000


@dataclass(frozen=True, repr=False)
class StudyFigure(Figure):
    """A figure of a study: shown by notebooks with its words; ``chart()`` gives an Altair chart to change or save."""

    def __repr__(self) -> str:
        return f"<figure {self.name}: {self.title}>"

    def _repr_html_(self) -> str:
        return figure_fragment(self)


@dataclass(frozen=True, repr=False)
class StudyResults(Results):
    """A finished study.

    Attributes:
        store: folder of the store that has its networks; None where it is not known.
        allow_code: whether functions that the study names may be run to make its networks.
    """

    store: Path | None = None
    allow_code: bool = True

    @cached_property
    def _by_slug(self) -> dict[str, AnalysisResult]:
        return dict(zip(slugs(self), self.analyses, strict=True))

    @property
    def estimates(self) -> pl.DataFrame:
        """Every number of the study under its key: analysis, quantity, coordinates, value, limits, basis, verdict."""
        return estimates_table(self, list(self._by_slug))

    @property
    def tables(self) -> tuple[str, ...]:
        """Names that :meth:`table` takes."""
        measured = (slug for slug, item in self._by_slug.items() if item.table is not None)
        return ("headline", "estimates", *measured)

    @checked_as(OptionError)
    def table(self, name: str) -> pl.DataFrame:
        """A table: ``headline``, ``estimates``, or that of an analysis, in its declared columns.

        Args:
            name: one of :attr:`tables`.

        Raises:
            OptionError: there is no such table; of an analysis that was not run or failed it says why.
        """
        if name == "headline":
            return self.headline
        if name == "estimates":
            return self.estimates
        item = self._item(name, "table", self.tables)
        if item.table is None:
            raise self._absent(name, item, "table")
        return item.table

    @property
    def figures(self) -> tuple[str, ...]:
        """Names that :meth:`figure` takes, as of the files beside a report; every analysis is drawn for it."""
        return tuple(f"{slug}-{figure.name}" for slug in self._by_slug for figure in self._drawn(slug))

    @checked_as(OptionError)
    def figure(self, name: str) -> StudyFigure:
        """A figure, which a notebook shows as it stands in the report; its ``chart()`` is an Altair chart.

        Args:
            name: one of :attr:`figures`; the name of an analysis is its first figure.

        Raises:
            OptionError: there is no such figure; of an analysis that was not run or failed it says why.
        """
        # The longest first: "mistakes-2-pairs" may be of "mistakes-2", or of "mistakes".
        for slug in sorted(self._by_slug, key=len, reverse=True):
            if name == slug or name.startswith(f"{slug}-"):
                for figure in self._drawn(slug):
                    if name in (slug, f"{slug}-{figure.name}"):
                        return figure
        item = self._item(name, "figure", (*self._by_slug, *self.figures))
        raise self._absent(name, item, "figure")

    @checked_as(OptionError)
    def to_pandas(self, name: str = "estimates") -> "pd.DataFrame":
        """A table as a pandas frame; needs the extra ``pandas``.

        Args:
            name: one of :attr:`tables`.

        Raises:
            MissingExtraError: pandas is not installed.
            OptionError: there is no such table.
        """
        found = self.table(name)
        _require("pandas", "pandas")
        _require("pyarrow", "pandas")
        return found.to_pandas()

    @checked_as(OptionError)
    def to_xarray(
        self, name: str = "learning_curves", dims: Sequence[str] | None = None, **where: str | int | float | bool
    ) -> "xr.Dataset":
        """A table as an xarray data set; needs the extra ``xarray``.

        Dimensions are the columns that say of what a row is (seed, variant, module, epoch, ...) and as many further
        ones of words as tell the rows apart; every other column is a variable, with its meaning and unit.

        Args:
            name: one of :attr:`tables`.
            dims: in place of these dimensions.
            where: keeps the rows with this value in this column: ``setting="chosen"``.

        Raises:
            MissingExtraError: xarray is not installed.
            OptionError: there is no such table or column, or the dimensions do not tell its rows apart.
        """
        found = self.table(name)
        for column in (*where, *(dims or ())):
            if column not in found.columns:
                raise OptionError(f"the table {name!r} has no column {column!r}", hint=nearest(column, found.columns))
        for column, value in where.items():
            have = found[column].drop_nulls().cast(pl.String).unique()
            try:
                found = found.filter(pl.col(column) == value)
            except pl.exceptions.PolarsError:  # a word for a column of numbers
                found = found.clear()
            if found.is_empty():
                what = f"no row of {name!r} has {column}={value!r}"
                raise OptionError(what, hint=nearest(str(value), have))
        # A head is listed as a total and, at another position, as a module: one row says both.
        found = found.unique(
            [column for column in found.columns if column not in _PLACES], keep="last", maintain_order=True
        )
        places = list(dict.fromkeys(dims)) if dims is not None else _dimensions(found)
        _check_dimensions(name, found, places)
        _require("xarray", "xarray")
        _require("pyarrow", "xarray")
        data: xr.Dataset = found.to_pandas().set_index(places).to_xarray()
        item = self._by_slug.get(name)
        for column, declared in item.analysis.columns.items() if item is not None else ():
            if column in data.variables:
                data[column].attrs = {"long_name": declared.meaning, "units": declared.unit}
        return data

    @checked_as(OptionError)
    def network(self, variant: str = "P_T", seed: int | None = None) -> "nn.Module":
        """The trained network whose numbers the report shows: on the CPU, in evaluation mode.

        Args:
            variant: ``P_T`` (fine-tuned), ``RI_T`` (from scratch), ``RI_T_long``, or the untrained ``P`` and ``RI``.
            seed: one of the study's; the first where None.

        Raises:
            OptionError: there is no such network in the study.
            StoreError: the store is not known, or has it no more.
        """
        from transferscope.running.export import study_network

        self._check_code("network")
        return study_network(self.study, self._store(), variant, self._seed(seed), run="study.run()")

    @checked_as(OptionError)
    def export(
        self, variant: str = "P_T", seed: int | None = None, output: str | Path = ".", *, force: bool = False
    ) -> "Exported":
        """Write a trained network as one safetensors file with its classes and preprocessing.

        Args:
            variant: as in :meth:`network`, of those that are trained.
            seed: one of the study's; the first where None.
            output: the file, or a folder.
            force: overwrite the file.

        Returns:
            The path, what the file says, and ``snippet``: lines that load it without this package.
        """
        from transferscope.running.export import export_network

        self._check_code("export")
        return export_network(
            self.study, self._store(), variant, self._seed(seed), Path(output), force=force, run="study.run()"
        )

    @checked_as(OptionError)
    def write_report(self, folder: str | Path | None = None) -> Path:
        """Write the report with its tables, figures and the study file; :func:`transferscope.load_results` reads it.

        Args:
            folder: ``reports/NAME`` in the store where None.

        Returns:
            The path of ``report.html``.
        """
        place = reports_folder(self._store(), self.study) if folder is None else Path(folder)
        replace_file(place / "study.yaml", dump_study(self.study).encode())
        return written_report(replace(self, manifest={**self.manifest, **self._commands(place)}), place)[0].resolve()

    def _repr_html_(self) -> str:
        seed = self.study.seeds[0]
        further = [
            f'Tables: `results.table("outcome")`, all numbers: `results.estimates`, pictures: '
            f'`results.figure("learning_curves")`, the trained network: `results.network("P_T", seed={seed})`, '
            "a page for colleagues: `results.write_report()`."
        ]
        return fragment(self, further)

    def _commands(self, place: Path) -> dict[str, str]:
        """What a reader of the report can do at a command line; nothing where there is no store."""
        if self.store is None:
            return {}
        study, seed = place / "study.yaml", str(self.study.seeds[0])
        options = ["--store", str(self.store)]
        if next(code_named(self.study), None) is not None:
            options.append("--allow-code")
        return {
            "run": shlex.join(["transferscope", "run", str(study), *options]),
            "export": shlex.join(["transferscope", "export", str(study), "P_T", "--seed", seed, *options]),
        }

    def _drawn(self, slug: str) -> tuple[StudyFigure, ...]:
        item = self._by_slug[slug]
        if item.table is None:
            return ()
        with isolated(item.analysis, "drawing"):
            return tuple(
                StudyFigure(**{field.name: getattr(figure, field.name) for field in fields(figure)})
                for figure in figures(type(item.analysis), item.table, metric_of(self))
            )

    def _item(self, name: str, what: str, known: Iterable[str]) -> AnalysisResult:
        if name not in self._by_slug:
            raise OptionError(f"there is no {what} {name!r} in these results", hint=nearest(name, known))
        return self._by_slug[name]

    def _absent(self, name: str, item: AnalysisResult, what: str) -> OptionError:
        why = item.failed.what if item.failed else item.skip_reason or "it has nothing to draw"
        state = "failed" if item.failed else "was not run for this study" if item.skip_reason else "is there"
        return OptionError(f"{name!r} has no {what}: it {state}", got=why)

    def _store(self) -> Path:
        if self.store is None:
            raise StoreError(
                "the store of these results is not known: they were read from the folder of a report",
                expected="the folder that has the networks",
                hint='load_results(folder, store="transferscope-runs")',
            )
        return self.store

    def _seed(self, seed: int | None) -> int:
        return self.study.seeds[0] if seed is None else seed

    def _check_code(self, what: str) -> None:
        asked = [code for _, code in code_named(self.study) if not offered(code)]
        if asked and not self.allow_code:
            raise StudyError(
                f"{what} runs functions that the study of these results names, and a file never decides which code "
                f"runs: {', '.join(asked)}",
                expected="the consent of whoever runs it: load_results(folder, allow_code=True)",
                hint="look at the functions first",
            )


def _require(package: str, extra: str) -> None:
    try:
        import_module(package)
    except ImportError as error:
        raise MissingExtraError(package, extra) from error


def _dimensions(table: pl.DataFrame) -> list[str]:
    """Columns that say of what a row is, then as many further ones of words as tell the rows apart."""
    # A column of nulls alone is of other rows, which are not among these.
    chosen = [name for name in DIMENSIONS if name in table.columns and table[name].null_count() < table.height]
    apart = table.select(chosen).n_unique() if chosen else 1
    words = [name for name, dtype in table.schema.items() if dtype == pl.String]
    for name in dict.fromkeys([*(name for name in _FURTHER if name in table.columns), *words]):
        if table[name].null_count():
            continue
        if apart == table.height:
            break
        finer = table.select({*chosen, name}).n_unique()
        if finer > apart:
            chosen.append(name)
            apart = finer
    return chosen


def _check_dimensions(name: str, table: pl.DataFrame, dims: list[str]) -> None:
    """Raise where rows would fall together, lie nowhere, or make a box that is all but empty."""
    said = ", ".join(dims) or "none"
    hint = 'choose rows (level="network") or dimensions (dims=[...]); to_pandas() takes every table as it is'
    if empty := [column for column in dims if table[column].null_count()]:
        raise OptionError(f"rows of {name!r} have no {empty[0]}", expected=f"a value in each of {said}", hint=hint)
    if not dims or table.select(dims).n_unique() < table.height:
        got = f"{table.height} rows, {table.select(dims).n_unique() if dims else 1} places along {said}"
        raise OptionError(f"the rows of {name!r} are not told apart", expected="one row in a place", got=got, hint=hint)
    cells = 1
    for column in dims:
        cells *= table[column].n_unique()
    if cells > _MOST_CELLS:
        got = f"{cells:,} for {table.height:,} rows"
        raise OptionError(f"{name!r} is too sparse", expected=f"at most {_MOST_CELLS:,} cells", got=got, hint=hint)
