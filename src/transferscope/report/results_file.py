"""``results.json``: what a study found, for programs; the tables lie beside it."""

import json
from typing import Any

import polars as pl

from transferscope.analyses.estimates import Estimate, frame
from transferscope.report.answer import answer
from transferscope.running.results import Results

FORMAT = 4
"""Of the document; a reader refuses another one."""


def results_as_json(results: Results, slugs: list[str]) -> str:
    """Verdicts, notes, estimates, settings and manifest of a finished study."""
    document = {
        "format": FORMAT,
        "study": {"name": results.study.name, "key": results.study.key},
        "settings": results.study.model_dump(mode="json"),
        "answer": dict(vars(answer(results))),
        "verdict": results.verdict,
        "gap": estimates_as_json(results.gap),
        "analyses": [
            {
                "slug": slug,
                "name": item.analysis.name,
                "title": item.analysis.title,
                "question": item.analysis.question,
                "reference": item.analysis.reference,
                "version": item.analysis.version,
                "settings": item.analysis.model_dump(mode="json"),
                "rows": None if item.table is None else item.table.height,
                "files": sorted(item.files),
                "skip_reason": item.skip_reason,
                "failed": item.failed and item.failed.what,
                "verdict": None if item.summary is None else item.summary.verdict,
                "notes": [] if item.summary is None else list(item.summary.notes),
                "facts": {} if item.summary is None else dict(item.summary.facts),
                "estimates": [] if item.summary is None else estimates_as_json(item.summary.estimates),
            }
            for slug, item in zip(slugs, results.analyses, strict=True)
        ],
        "manifest": dict(results.manifest),
    }
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def estimates_table(results: Results, slugs: list[str]) -> pl.DataFrame:
    """Every number of a study under its key: analysis, quantity, coordinates, value, limits, basis, verdict, flags.

    Args:
        results: of the study.
        slugs: a name for each analysis, which is what stands in the column ``analysis``.
    """
    return frame(
        {slug: item.summary.estimates for slug, item in zip(slugs, results.analyses, strict=True) if item.summary}
    )


def estimates_as_json(estimates: tuple[Estimate, ...]) -> list[dict[str, Any]]:
    """Estimates as dictionaries of their fields.

    >>> estimates_as_json((Estimate("distance", {"pair": "P-T/P-T"}, 0.5, n=3),))[0]["at"]
    {'pair': 'P-T/P-T'}
    """
    return [{**vars(item), "at": dict(item.at), "flags": list(item.flags)} for item in estimates]
