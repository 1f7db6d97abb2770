"""The report of runs that were watched, or that timm's ``train.py`` left: nothing is trained or evaluated here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from transferscope.analyses.estimates import Estimate, Quantity, frame
from transferscope.analyses.estimator import estimated
from transferscope.bounds import DIFFERENCE, MAGNITUDE
from transferscope.errors import DataError, counted
from transferscope.plots.export import png, svg
from transferscope.plots.runs import lines, paths
from transferscope.plots.theme import Figure
from transferscope.report.render import document, write_table
from transferscope.report.sections import Section, column_row, number_row, picture_of, table_csv, table_rows
from transferscope.store.atomic import replace_file
from transferscope.store.system_errors import translated
from transferscope.study.columns import Column, schema
from transferscope.watching.columns import PAIRS, TABLES, WHOLE
from transferscope.watching.reading import Run

__all__ = ["RunPairs", "write_runs_report"]

_RUN: Mapping[str, Column] = {
    "run": Column(str, "name of the run"),
    "group": Column(str, "what it repeats", null="nothing: it stands alone"),
    "seed": Column(int, "number of the run in this report", "count"),
}
_RUNS: Mapping[str, Column] = {
    **_RUN,
    "kind": Column(str, "watch, or timm: a folder of its train.py"),
    "status": Column(str, "finished, failed, left (not closed), or unfinished: killed or still running"),
    "steps": Column(int, "last step on record", "count", null="none"),
    "epochs": Column(float, "epochs done at the last record", "count", null="the loop said none"),
    "checkpoints": Column(int, "that are kept", "count"),
    "error": Column(str, "what the loop raised", null="nothing"),
    "notes": Column(str, "what was noted", null="nothing"),
}
_NOT_GROUPED = (
    "these runs are not said to repeat each other, so each stands alone and no interval is given: "
    "`watch(..., group=NAME)`, or `transferscope report --repeats` where all of them are repeats of one setting"
)
_STEP_PANELS = [
    ("distance", "Distance from the start (l2)"),
    ("relative", "Distance / norm of the start"),
    ("gradient_ratio", "Gradient norm / weight norm"),
    ("update_cosine", "Cosine of the update to the start"),
    ("mean_drift", "Drift of batch-norm means (std)"),
    ("variance_drift", "Drift of batch-norm variances (log)"),
]
_MOVEMENT = (
    Quantity("distance", "{group}: distance from the start at the end", "l2", MAGNITUDE, "distance",
             pl.col("module") == WHOLE, ("group",)),
    Quantity("relative", "{group}: the same, relative to the start", "1", MAGNITUDE, "relative",
             pl.col("module") == WHOLE, ("group",)),
    Quantity("module_relative", "{group}, {module}: relative distance at the end", "1", MAGNITUDE, "relative",
             pl.col("module") != WHOLE, ("group", "module"), family=("module",)),
)  # fmt: skip
_METRICS = (Quantity("last_value", "{group}: {name} at the end", column="value", by=("group", "name")),)
_SIMILARITY = (
    Quantity("start_similarity", "{group}, {module}: CKA with the start at the end", "1", DIFFERENCE, "cka",
             by=("group", "module"), family=("module",)),
)  # fmt: skip
_PAIRED = (
    Quantity("pair_distance", "{group}: distance between two runs", "l2", MAGNITUDE, "distance", by=("group",)),
    Quantity("pair_cosine", "{group}: cosine between two displacements", "1", DIFFERENCE, "cosine", by=("group",)),
    Quantity("pair_kappa", "{group}: error consistency κ of two runs", "1", DIFFERENCE, "kappa", by=("group",)),
    Quantity("pair_cka", "{group}: CKA of two runs, mean over modules", "1", DIFFERENCE, "cka", by=("group",)),
    Quantity("error_barrier", "{group}: error barrier between two runs", "metric", MAGNITUDE, "error_barrier",
             by=("group",)),
)  # fmt: skip


@dataclass(frozen=True)
class RunPairs:
    """Pairs of runs, compared before.

    Attributes:
        pairs: in the columns of ``PAIRS``.
        paths: in the columns of ``PATHS``.
        on_data: what they were compared on; None for weights alone.
        why_not: what is missing, in words, with what to do.
    """

    pairs: pl.DataFrame
    paths: pl.DataFrame
    on_data: str | None
    why_not: tuple[str, ...] = ()


def write_runs_report(runs: Sequence[Run], compared: RunPairs, folder: Path, *, repeats: bool = False) -> Path:
    """Write ``report.html``, ``figures/*`` and ``tables/*`` of runs into a folder.

    Args:
        runs: at least one, of different names.
        compared: pairs of them.
        folder: made if it is not there.
        repeats: take all runs as repeats of one setting, whatever group they name.

    Returns:
        The path of ``report.html``.

    Raises:
        DataError: there is no run, or two of one name.
        StoreError: the folder cannot be written.
    """
    names = [run.name for run in runs]
    if not runs or len(set(names)) < len(names):
        raise DataError(
            "a report needs runs of different names",
            expected="one or more runs",
            got=", ".join(names) or "none",
            hint="watch(..., name=NAME); else the name is that of the folder",
        )
    groups = ["all runs" if repeats else run.group for run in runs]
    sections = [
        _overview(runs, groups),
        _metrics(_joined(runs, groups, "metrics")),
        _movement(_joined(runs, groups, "steps")),
        _start_similarity(_joined(runs, groups, "similarity")),
        _between(compared, groups),
    ]
    caveats = [_NOT_GROUPED] if len(runs) > 1 and not any(groups) else []
    caveats += [f"{run.name} is {run.status}: its records end early" for run in runs if run.status != "finished"]
    with translated(None, "use"):
        estimates = {item.section.slug: item.estimates for item in sections if item.estimates}
        write_table(folder / "tables" / "estimates", frame(estimates), "every number of the runs, with its 95 % limits")
        for item in sections:
            write_table(folder / "tables" / item.section.slug, item.table, item.section.title)
            for figure in item.figures:
                drawn = svg(figure.chart())
                replace_file(folder / "figures" / f"{item.section.slug}-{figure.name}.svg", drawn.encode())
                replace_file(folder / "figures" / f"{item.section.slug}-{figure.name}.png", png(drawn))
        write_table(folder / "tables" / "paths", compared.paths, "the lines between the runs")
        page = document(
            "runs.html.j2",
            title=names[0] if len(names) == 1 else f"{counted(len(names), 'run')}: {', '.join(names)}",
            caveats=[*caveats, *compared.why_not],
            sections=[item.section for item in sections],
            verdict=None,
            absent="Not measured.",
        )
        replace_file(folder / "report.html", page.encode())
    return folder / "report.html"


@dataclass(frozen=True)
class _Part:
    section: Section
    table: pl.DataFrame
    figures: tuple[Figure, ...]
    estimates: tuple[Estimate, ...]


def _part(
    slug: str,
    title: str,
    question: str,
    table: pl.DataFrame,
    columns: Mapping[str, Column],
    *,
    figures: tuple[Figure, ...] = (),
    estimates: Sequence[Estimate] = (),
    absent: str | None = None,
    notes: tuple[str, ...] = (),
) -> _Part:
    section = Section(
        slug=slug,
        title=title,
        question=question,
        reference="",
        verdict="",
        skip_reason=absent if table.is_empty() else None,
        waiting=False,
        failed=None,
        notes=notes,
        numbers=[number_row(item) for item in estimates],
        pictures=tuple(picture_of(figure, slug) for figure in figures),
        galleries=(),
        nothing_drawn=False,
        columns=[column_row(name, columns.get(name)) for name in table.columns] if table.height else [],
        rows=table_rows(table, columns),
        total=table.height,
        csv=table_csv(table),
        card=[],
        settings="",
    )
    return _Part(section, table, figures, tuple(estimates))


def _joined(runs: Sequence[Run], groups: Sequence[str | None], table: str) -> pl.DataFrame:
    frames = [
        run.tables[table].select(
            pl.lit(run.name).alias("run"), pl.lit(group, dtype=pl.String).alias("group"),
            pl.lit(number, dtype=pl.Int64).alias("seed"), pl.all(),
        )
        for number, (run, group) in enumerate(zip(runs, groups, strict=True))
    ]  # fmt: skip
    return pl.concat([pl.DataFrame(schema=schema({**_RUN, **TABLES[table]})), *frames])


def _grouped(rows: pl.DataFrame) -> pl.DataFrame:
    """Each run under its group, those of none under their own name."""
    return rows.with_columns(pl.coalesce("group", "run").alias("group"))


def _at_end(rows: pl.DataFrame, *of: str) -> pl.DataFrame:
    return _grouped(rows).filter(pl.col("step") == pl.col("step").max().over("run", *of))


def _overview(runs: Sequence[Run], groups: Sequence[str | None]) -> _Part:
    rows = []
    for number, (run, group) in enumerate(zip(runs, groups, strict=True)):
        last = pl.concat([table.select("step", "epoch") for table in run.tables.values()])
        rows.append(
            {
                "run": run.name, "group": group, "seed": number, "kind": run.kind, "status": run.status,
                "steps": last["step"].max(), "epochs": last["epoch"].max(), "checkpoints": len(run.checkpoints),
                "error": run.facts.get("error"), "notes": "; ".join(note.text for note in run.notes) or None,
            }
        )  # fmt: skip
    notes = tuple(f"{run.name}: {note.text}" for run in runs for note in run.notes)
    table = pl.DataFrame(rows, schema=schema(_RUNS))
    return _part("runs", "The runs", "Which runs are these?", table, _RUNS, notes=notes)


def _metrics(rows: pl.DataFrame) -> _Part:
    drawn = _grouped(rows).with_columns(_where(rows), panel=pl.col("name"), line=pl.col("group"))
    names = list(dict.fromkeys(rows["name"]))
    figures = lines(
        drawn, "metrics", "Metrics along training", "As the loop logged them.", _axis(rows),
        [(name, name) for name in names],
    )  # fmt: skip
    return _part(
        "metrics", "Metrics along training", "How did the runs go?", rows, {**_RUN, **TABLES["metrics"]},
        figures=figures, estimates=estimated(_at_end(rows, "name"), _METRICS),
        absent="No run logged a metric: w.log(name=value).",
    )  # fmt: skip


def _movement(rows: pl.DataFrame) -> _Part:
    whole = _grouped(rows).filter(pl.col("module") == WHOLE)
    drawn = whole.with_columns(_where(whole), line=pl.col("group")).unpivot(
        [key for key, _ in _STEP_PANELS], index=["run", "line", "x"], variable_name="panel", value_name="value"
    )
    caption = "The whole network, at the recorded steps. The cosine is that of the movement since the record before."
    figures = lines(drawn, "movement", "How the network moved", caption, _axis(whole), _STEP_PANELS)
    return _part(
        "movement", "Distance from the start", "How far did the runs move, which modules, and how steadily?",
        rows, {**_RUN, **TABLES["steps"]}, figures=figures, estimates=estimated(_at_end(rows, "module"), _MOVEMENT),
        absent="No distance is on record.",
    )  # fmt: skip


def _start_similarity(rows: pl.DataFrame) -> _Part:
    drawn = _grouped(rows).with_columns(_where(rows), panel=pl.col("module"), line=pl.col("group"), value=pl.col("cka"))
    modules = list(dict.fromkeys(rows["module"]))
    figures = lines(
        drawn, "similarity", "Similarity with the start", "CKA of each module's output with the start's on the probe "
        "batch.", _axis(rows), [(name, f"CKA, {name}") for name in modules],
    )  # fmt: skip
    return _part(
        "start_similarity", "Similarity with the start", "Which features of the start are still there?", rows,
        {**_RUN, **TABLES["similarity"]}, figures=figures, estimates=estimated(_at_end(rows, "module"), _SIMILARITY),
        absent="It needs a fixed batch of examples while the network trains: watch(..., probe=batch).",
    )  # fmt: skip


def _between(compared: RunPairs, groups: Sequence[str | None]) -> _Part:
    table = compared.pairs
    # Pairs across groups are shown, and enter no interval.
    within = table.with_columns(
        pl.struct("seed_a", "seed_b")
        .map_elements(lambda pair: _common(groups, pair["seed_a"], pair["seed_b"]), return_dtype=pl.String)
        .alias("group")
    )
    data = "the weights alone" if compared.on_data is None else compared.on_data
    return _part(
        "pairs", "Between the runs", "Did they go the same way, are they connected, do they make the same mistakes?",
        within, PAIRS, figures=paths(compared.paths), estimates=estimated(within.drop_nulls("group"), _PAIRED),
        absent="There is one run: give another to compare with.",
        notes=(f"Measured on {data}; pairs of different groups are in the table alone.",) if table.height else (),
    )  # fmt: skip


def _common(groups: Sequence[str | None], a: int, b: int) -> str | None:
    return groups[a] if groups[a] == groups[b] else None


def _where(rows: pl.DataFrame) -> pl.Expr:
    by_epoch = rows["step"].len() > 0 and rows["epoch"].null_count() == 0
    return (pl.col("epoch") if by_epoch else pl.col("step").cast(pl.Float64)).alias("x")


def _axis(rows: pl.DataFrame) -> str:
    return "Epochs done" if rows.height and rows["epoch"].null_count() == 0 else "Steps"
