"""What the template is given: results turned into words, rows and pictures, nothing else."""

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import polars as pl
import yaml
from markupsafe import Markup, escape

from transferscope.analyses.contract import checked_files
from transferscope.analyses.estimates import Estimate
from transferscope.keys import shown
from transferscope.plots.export import inline_svg
from transferscope.plots.theme import VARIANTS, Figure, colour, metric_name, themed
from transferscope.report.cards import card
from transferscope.report.figures import figures, is_drawn
from transferscope.report.gallery import Pictures, galleries
from transferscope.report.numbers import (
    basis_words,
    interval_words,
    metric_words,
    minus_signs,
    points_words,
    value_words,
)
from transferscope.rounding import duration
from transferscope.running.failures import Failure, isolated
from transferscope.running.results import AnalysisResult, Results
from transferscope.study.columns import Column

ROWS = 200
"""Rows of a table shown in the page; the CSV beside it has all."""

OPEN_NUMBERS = 6
"""Key numbers of an analysis that stand open; more are folded, so that pictures and verdicts stay close together."""

OPEN_NOTES = 2
"""Notes of an analysis that stand open."""

NAMES = (
    ("P-T", "fine-tuned"), ("RI-T", "trained from scratch"), ("P", "pre-trained, not yet trained here"),
    ("RI", "random, untrained"),
)  # fmt: skip
"""The four networks in plain words."""

CSV_BUDGET = 200_000
"""Bytes of a table that is carried inside the page; a larger one lies beside it."""

_LONG_VERDICT = 30
_UNITS = {"1": "", "rate": "", "metric": "0 to 1", "nat": "nats", "count": "count"}
_VARIANT_NAME = re.compile(r"\b(?:RI|P)-T(?:-\w+)?(?:\[\d+\])?")
_MEANINGS = {
    "RI": "random start, untrained",
    "P": "pre-trained, new head, untrained",
    "RI-T": "trained from the random start",
    "P-T": "trained from pre-trained weights",
    "RI-T-long": "trained longer from the random start",
}


@dataclass(frozen=True)
class Picture:
    """A figure ready for the page: its words and one SVG element per panel."""

    figure: Figure
    panels: tuple[str, ...]


@dataclass(frozen=True)
class Section:
    """One analysis, ready for the page."""

    slug: str
    title: str
    question: str
    reference: str
    verdict: str
    skip_reason: str | None
    failed: str | None
    waiting: bool
    notes: tuple[str, ...]
    numbers: list[dict[str, Any]]
    pictures: tuple[Picture, ...]
    galleries: tuple[Pictures, ...]
    nothing_drawn: bool
    columns: list[dict[str, str]]
    rows: list[list[dict[str, Any]]]
    total: int
    csv: str | None
    card: list[tuple[str, str]]
    settings: str

    @property
    def has_units(self) -> bool:
        """Whether any key number has a unit worth a column."""
        return any(number["unit"] for number in self.numbers)


def metric_of(results: Results) -> str:
    """The study's metric, as the headline names it."""
    found = results.headline["metric"].drop_nulls().to_list()
    if found:
        return str(found[0])
    return results.remaining.metric if results.remaining else str(results.manifest.get("metric", "top1"))


def slugs(results: Results) -> list[str]:
    """A name for each analysis that no other has: two of one kind are numbered."""
    seen: dict[str, int] = {}
    names = []
    for item in results.analyses:
        count = seen[item.analysis.name] = seen.get(item.analysis.name, 0) + 1
        names.append(item.analysis.name if count == 1 else f"{item.analysis.name}-{count}")
    return names


def headline(results: Results) -> dict[str, Any]:
    """The variants' test metric, with everything placed on one scale from 0 to 100."""
    metric = metric_of(results)
    rows = {shown(row["variant"]): row for row in results.headline.to_dicts() if row["split"] == "test"}
    ends = [value for row in rows.values() for value in (row["value"], row["low"], row["high"]) if value is not None]
    low = max(0.0, int((min(ends, default=0.0) - 0.02) * 10) / 10)
    high = min(1.0, -int(-(max(ends, default=1.0) + 0.02) * 10 // 1) / 10)
    width = max(high - low, 0.1)

    def place(value: float | None) -> float | None:
        return None if value is None else round(100 * min(1.0, max(0.0, (value - low) / width)), 2)

    lines = []
    for name in [*(name for name in VARIANTS if name in rows), *(name for name in rows if name not in VARIANTS)]:
        row = rows[name]
        trained = [f"rate {row['learning_rate']:.3g}"] if row["learning_rate"] is not None else []
        trained += [f"{row['epochs']} epochs"] if row["epochs"] is not None else []
        has = row["low"] is not None and row["high"] is not None
        lines.append(
            {
                "name": name,
                "meaning": _MEANINGS.get(name, ""),
                "colour": colour(name),
                "value": metric_words(row["value"], metric),
                "interval": f"{metric_words(row['low'], metric)} to {metric_words(row['high'], metric)}" if has else "",
                "basis": basis_words(row["basis"], row["n"], short=True) if has else "no interval",
                "training": ", ".join(trained),
                "note": row["note"] or "",
                "at": place(row["value"]),
                "from": place(row["low"]) if has else None,
                "to": place(row["high"]) if has else None,
            }
        )
    return {
        "metric": metric_name(metric),
        "lines": lines,
        "scale": [
            metric_words(value, metric).replace(".0\u00a0%", "\u00a0%") for value in (low, low + width / 2, low + width)
        ],
    }


def gap_rows(results: Results) -> list[dict[str, str]]:
    """P-T − RI-T: value, interval, and what the interval speaks of."""
    metric = metric_of(results)
    return [
        {
            "name": f"{shown(str(number.at['variant']))} − {shown(str(number.at['rival']))}",
            "value": points_words(number.value, metric),
            "interval": ""
            if number.low is None or number.high is None
            else f"{points_words(number.low, metric, unit=False)} to {points_words(number.high, metric)}",
            "basis": basis_words(number.basis, number.n),
            "note": number.note,
        }
        for number in results.gap
    ]


def subtitle(results: Results) -> str:
    """Source, target and seeds in one line."""
    study = results.study
    seeds = study.seeds
    trained = f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {', '.join(map(str, seeds))}"
    name = study.source.architecture.name.removeprefix("timm:")
    data = getattr(study.target.data, "kind", "data")
    return f"{name} → {data} · images of {study.target.image_size} px · {trained}"


def tidy(text: str) -> Markup:
    """Escaped text with real minus signs and no line break between a number and its unit, or within a variant's name.

    >>> tidy("P-T < RI-T by -3 points")
    Markup('<span class="nobreak">P-T</span> &lt; <span class="nobreak">RI-T</span> by −3\xa0points')
    """
    joined = re.sub(r"(?<=\d) (?=%|points?\b|seeds?\b|px\b)", "\u00a0", minus_signs(text))
    return Markup(_VARIANT_NAME.sub(r'<span class="nobreak">\g<0></span>', str(escape(joined))))


def clauses(text: str) -> list[str]:
    """A long verdict in its parts: sentences, and what stands between semicolons; what is in brackets stays whole.

    >>> clauses("A: one (1; 2), two; three. A last one.")
    ['A: one (1; 2), two; three. A last one.']
    """
    if len(text.split()) <= _LONG_VERDICT:
        return [text]
    parts, depth, start = [], 0, 0
    for place, letter in enumerate(text):
        depth += (letter in "([") - (letter in ")]")
        if depth == 0 and letter in ";." and text[place + 1 : place + 2] == " ":
            parts.append(text[start : place + (letter == ".")])
            start = place + 2
    return [*parts, text[start:]]


def took(results: Results) -> list[dict[str, Any]]:
    """What the study took: all trainings, their phases, and each analysis, with its share of the whole.

    Nothing where the results do not say, as those of earlier versions.
    """
    times = results.manifest.get("times")
    if not times:
        return []
    trainings, analyses = times["trainings"], times["analyses"]
    whole = trainings["all"] + sum(analyses.values())
    phases = [(phase, _PHASES[phase], seconds) for phase, seconds in trainings.items() if phase in _PHASES and seconds]
    rows = [("trainings", f"{len(results.manifest['networks'])} trainings", trainings["all"])]
    rows += [(phase, f"of them {words}", seconds) for phase, words, seconds in phases]
    rows += [("analysis", title, seconds) for title, seconds in sorted(analyses.items(), key=lambda item: -item[1])]
    return [
        {"kind": kind, "what": what, "time": duration(seconds), "share": f"{100 * seconds / whole:.0f}\u00a0%"}
        for kind, what, seconds in rows
        if seconds >= _SHORTEST and whole
    ]


_PHASES = {
    "images": "waiting for images",
    "forward": "forward passes",
    "backward": "backward passes and updates",
    "evaluation": "evaluation after epochs",
    "writing": "writing",
}
_SHORTEST = 0.05
"""Seconds; what took less is not listed."""


ShownResult = tuple[AnalysisResult, Section, tuple[Figure, ...]]
"""A result with what went wrong while it was drawn, its section, and its figures."""

Drawn = dict[str, tuple[AnalysisResult, ShownResult]]
"""By slug what was drawn before, and of what."""


def sections(results: Results, drawn_before: Drawn | None = None) -> list[ShownResult]:
    """Every analysis of the study in its order, as it is shown; one whose figures or card fail is shown without them.

    Args:
        drawn_before: of a run that goes on: the same object is not drawn again; what is drawn is added.
    """
    metric = metric_of(results)
    known = {} if drawn_before is None else drawn_before
    shown_items = []
    for slug, item in zip(slugs(results), results.analyses, strict=True):
        asked = item
        if slug in known and known[slug][0] is item:
            shown_items.append(known[slug][1])
            continue
        failed: dict[str, Failure] = {}
        drawn: tuple[Figure, ...] = ()
        section = None
        with isolated(item.analysis, "drawing", failed):
            drawn = figures(type(item.analysis), item.table, metric) if item.table is not None else ()
            section = _section(slug, item, drawn)
        if section is None:
            item = replace(item, files={}, failed=item.failed or failed[item.analysis.key])
            section, drawn = _section(slug, item, (), bare=True), ()
        known[slug] = (asked, (item, section, drawn))
        shown_items.append(known[slug][1])
    return shown_items


def plain(value: Any) -> str:
    """Nested settings as YAML, for reading and for using again."""
    # Through JSON: tuples, paths and numbers of other libraries become what YAML has a word for.
    simple = json.loads(json.dumps(value, default=_simple))
    return yaml.safe_dump(simple, sort_keys=False, allow_unicode=True, width=88)


def _simple(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else str(value)


def _section(slug: str, item: AnalysisResult, drawn: tuple[Figure, ...], *, bare: bool = False) -> Section:
    analysis, table = item.analysis, item.table
    checked_files(analysis, item.files)
    found = None if bare else card(type(analysis))
    return Section(
        slug=slug,
        title=analysis.title,
        question=analysis.question,
        reference=analysis.reference,
        verdict=item.summary.verdict if item.summary else "",
        skip_reason=item.skip_reason,
        failed=item.failed.what if item.failed else None,
        waiting=item.waiting,
        notes=item.summary.notes if item.summary else (),
        numbers=[number_row(number) for number in item.summary.estimates] if item.summary else [],
        pictures=tuple(picture_of(figure, slug) for figure in drawn),
        galleries=galleries(analysis.name, item.files),
        nothing_drawn=not bare and table is not None and is_drawn(type(analysis)) and not drawn,
        columns=[column_row(name, analysis.columns.get(name)) for name in table.columns] if table is not None else [],
        rows=table_rows(table, analysis.columns) if table is not None else [],
        total=table.height if table is not None else 0,
        csv=table_csv(table) if table is not None else None,
        card=found.html() if found else [],
        settings=plain({analysis.name: analysis.model_dump(mode="json")}),
    )


def picture_of(figure: Figure, slug: str) -> Picture:
    """A figure ready for the page."""
    panels = tuple(
        inline_svg(themed(panel, legend=False), f"{slug}-{figure.name}-{place}")
        for place, panel in enumerate(figure.panels)
    )
    return Picture(figure, panels)


def number_row(number: Estimate) -> dict[str, Any]:
    """A key number in words."""
    return {
        "name": number.name,
        "value": value_words(number.value, number.unit, fixed=number.low is not None),
        "interval": interval_words(number),
        "basis": basis_words(number.basis, number.n, short=True),
        "unit": _UNITS.get(number.unit, number.unit),
        "note": number.note,
    }


def column_row(name: str, column: Column | None) -> dict[str, str]:
    """What the page says of a column."""
    if column is None:
        return {"name": name, "meaning": "", "unit": "", "null": "", "split": "", "kind": "text"}
    return {
        "name": name,
        "meaning": column.meaning,
        "unit": "" if column.dtype in (str, bool) else _UNITS.get(column.unit, column.unit),
        "null": column.null or "",
        "split": {"row": "as the row says", None: ""}.get(column.measured_on, str(column.measured_on)),
        "kind": "number" if column.dtype in (int, float) else "text",
    }


def table_rows(table: pl.DataFrame, columns: Mapping[str, Column]) -> list[list[dict[str, Any]]]:
    """The first rows of a table in words."""
    units = [columns[name].unit if name in columns else "1" for name in table.columns]
    numeric = [dtype.is_numeric() for dtype in table.dtypes]
    shown_rows = table.head(ROWS)
    # One number of digits in a column, unless all of its values are short ones such as learning rates.
    fixed = [
        dtype.is_float() and any(float(f"{value:.2g}") != value for value in shown_rows[name].drop_nulls())
        for name, dtype in table.schema.items()
    ]
    return [
        [
            {"text": value_words(value, unit, fixed=same), "number": number}
            for value, unit, number, same in zip(row, units, numeric, fixed, strict=True)
        ]
        for row in shown_rows.iter_rows()
    ]


def table_csv(table: pl.DataFrame) -> str | None:
    """A table as an address that a page can carry; None where it is too large."""
    data = table.write_csv().encode()
    if len(data) > CSV_BUDGET:
        return None
    return "data:text/csv;charset=utf-8;base64," + base64.b64encode(data).decode()
