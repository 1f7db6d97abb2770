"""One offline HTML file from the results of a study, and the folder of figures and tables beside it."""

import base64
import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path

import jinja2
import polars as pl
from markupsafe import Markup, escape

from transferscope.errors import AnalysisError
from transferscope.plots.export import png, svg
from transferscope.plots.theme import metric_name
from transferscope.report.answer import answer
from transferscope.report.classes import OPEN_CLASSES, class_results
from transferscope.report.glossary import linked, terms
from transferscope.report.latex import latex
from transferscope.report.modules_strip import STATES, modules_strip
from transferscope.report.next_steps import choices, next_steps
from transferscope.report.prescription import heading
from transferscope.report.remaining import still_to_come
from transferscope.report.results_file import estimates_table, results_as_json
from transferscope.report.sections import (
    NAMES,
    OPEN_NOTES,
    OPEN_NUMBERS,
    ROWS,
    Drawn,
    Section,
    clauses,
    gap_rows,
    headline,
    metric_of,
    plain,
    sections,
    slugs,
    subtitle,
    tidy,
    took,
)
from transferscope.running.results import AnalysisResult, Results
from transferscope.store.atomic import replace_file, replacing
from transferscope.store.system_errors import translated


def render(results: Results) -> str:
    """The report as one HTML document that needs no network and no other file.

    Figures are inline SVG; the one script shows values on pointing and opens what is folded before printing. The
    content policy in the page allows nothing else.
    """
    shown = sections(results)
    return _page(_shown(results, shown), [section for _, section, _ in shown])


def _shown(results: Results, shown: Iterable[tuple[AnalysisResult, Section, object]]) -> Results:
    """The results with what went wrong while they were drawn."""
    return replace(results, analyses=tuple(item for item, _, _ in shown))


def document(template: str, **parts: object) -> str:
    """A page of ours that needs no network and no other file; everything but its own style and script is escaped.

    Args:
        template: of the folder ``report``.
        parts: what it shows.
    """
    folder = resources.files("transferscope") / "report"
    style = (folder / "report.css").read_text(encoding="utf-8")
    script = (folder / "report.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    # Ours, not the user's: the only text that is not escaped, with the SVG and the cards.
    ours = {"style": Markup(style), "script": Markup(script), "script_hash": digest, "safe": Markup}
    shown = {"rows_shown": ROWS, "open_numbers": OPEN_NUMBERS, "open_notes": OPEN_NOTES}
    return environment().get_template(template).render(**ours, **shown, **parts)


def _page(results: Results, shown: Sequence[Section]) -> str:
    return document(
        "report.html.j2",
        study=results.study,
        verdict=results.verdict,
        subtitle=subtitle(results),
        headline=headline(results),
        gap=gap_rows(results),
        answer=answer(results),
        headed=heading(results) is not None,
        names=NAMES,
        classes=class_results(results),
        open_classes=OPEN_CLASSES,
        export=results.manifest.get("export"),
        choices=choices(results),
        strip=modules_strip(results),
        states=list(STATES.items()),
        steps=next_steps(results),
        sections=shown,
        to_come=still_to_come(results),
        failed=[section for section in shown if section.failed],
        glossary=terms(),
        settings=plain(results.study.model_dump(mode="json")),
        manifest=_manifest(results),
        took=took(results),
        mixed=[str(item) for item in results.manifest.get("mixed") or ()],
    )


def environment() -> jinja2.Environment:
    """The templates of this folder; what they are given is escaped."""
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("transferscope", "report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters["code"] = _code
    templates.filters["tidy"] = tidy
    templates.filters["clauses"] = clauses
    templates.filters["linked"] = linked
    return templates


def write_report(results: Results, folder: Path) -> Path:
    """Write ``report.html``, ``results.json``, ``figures/*.svg|png`` and ``tables/*.csv|tex|parquet`` into ``folder``.

    Of a study that is being run (see ``on_results`` of :func:`run_study`) ``report.html`` alone, with what is to come.
    Every file is written beside its place and moved there, so that a reader never meets half a file; the report itself
    comes last.

    Args:
        results: of a study.
        folder: made if it is not there; files of other names are left alone.

    Returns:
        The path of ``report.html``.

    Raises:
        StoreError: the folder cannot be written.
    """
    return written_report(results, folder)[0]


def written_report(results: Results, folder: Path, drawn_before: Drawn | None = None) -> tuple[Path, Results]:
    """Write the report as :func:`write_report` does, and return the results with failed figures and cards noted.

    Args:
        drawn_before: what was drawn for the page of the same run; see :func:`sections`.
    """
    if not isinstance(results, Results):
        raise AnalysisError(
            "these are no results of a study",
            expected="what run_study gives",
            got=type(results).__name__,
            hint="write_report(run_study(load_study(path), store), folder)",
        )
    if not isinstance(folder, (str, os.PathLike)):
        raise AnalysisError("a report is written into a folder", expected="a path", got=type(folder).__name__)
    with translated(None, "use"):
        return _written(results, Path(folder), drawn_before)


def _written(results: Results, folder: Path, drawn_before: Drawn | None) -> tuple[Path, Results]:
    metric, shown = metric_of(results), sections(results, drawn_before)
    results = _shown(results, shown)
    page = folder / "report.html"
    if results.remaining is not None:
        replace_file(page, _page(results, [section for _, section, _ in shown]).encode())
        return page, results
    write_table(folder / "tables" / "headline", results.headline, f"{metric_name(metric)} of the variants")
    names = slugs(results)
    write_table(
        folder / "tables" / "estimates",
        estimates_table(results, names),
        "every number of the study, with its 95 % limits",
    )
    for item, section, drawn in shown:
        slug = section.slug
        for name, data in item.files.items():
            replace_file(folder / "files" / slug / name, data)
        if item.table is None:
            continue
        write_table(folder / "tables" / slug, item.table, item.analysis.title)
        for figure in drawn:
            picture = svg(figure.chart())
            replace_file(folder / "figures" / f"{slug}-{figure.name}.svg", picture.encode())
            replace_file(folder / "figures" / f"{slug}-{figure.name}.png", png(picture))
    replace_file(folder / "results.json", results_as_json(results, names).encode())
    replace_file(page, _page(results, [section for _, section, _ in shown]).encode())
    return page, results


def write_table(stem: Path, table: pl.DataFrame, caption: str) -> None:
    """Write a table as CSV, LaTeX and Parquet.

    Args:
        stem: of the three files.
        table: what is written.
        caption: of the LaTeX table.
    """
    replace_file(stem.with_name(stem.name + ".csv"), table.write_csv().encode())
    replace_file(stem.with_name(stem.name + ".tex"), latex(table, caption, f"tab:{stem.name}").encode())
    with replacing(stem.with_name(stem.name + ".parquet")) as part:
        table.write_parquet(part)


def _code(text: str) -> Markup:
    """Escaped text in which what stands between backticks is code."""
    pieces = [escape(piece) for piece in text.split("`")]
    return Markup("").join(Markup("<code>%s</code>") % piece if at % 2 else piece for at, piece in enumerate(pieces))


def _manifest(results: Results) -> dict[str, object]:
    simple: list[tuple[str, str]] = []
    nested = {}
    for name, value in results.manifest.items():
        if name in ("mixed", "times"):  # shown apart
            continue
        if isinstance(value, (str, int, float, bool)):
            simple.append((name, str(value)))
        elif value is not None:
            nested[name] = value
    return {"simple": simple, "nested": plain(nested) if nested else ""}
