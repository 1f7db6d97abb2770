"""The page of one study under ``docs/results``: what was found, every number with its interval, what it cost."""

from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

from tools.results.claims import CLAIMS, Claim, Verdict, doubt, judge
from tools.results.kept_results import KeptResults
from tools.results.markdown import folded, table
from transferscope.analyses.estimates import Estimate
from transferscope.keys import shown
from transferscope.report.numbers import MISSING, basis_words, interval_words, metric_words, minus_signs, value_words

__all__ = ["Judged", "judged", "study_page"]

Judged = Mapping[str, tuple[Verdict, Estimate | None]]
"""By the key of a claim."""


def judged(study: KeptResults) -> Judged:
    """Every finding of the paper, judged by the numbers of a study."""
    return {claim.key: judge(claim, study.estimates) for claim in CLAIMS}


def study_page(study: KeptResults) -> str:
    """Everything kept of a study.

    Returns:
        Markdown.
    """
    return "\n\n".join(_parts(study, judged(study))) + "\n"


def _parts(study: KeptResults, found: Judged) -> Iterable[str]:
    manifest = study.manifest
    yield f"# {study.name}"
    yield "[All studies](../results.md)"
    yield _comment(study.study_text)
    yield f"    transferscope run examples/studies/{manifest['study_file']}"
    yield _facts(study)
    yield f"**{minus_signs(study.summary['verdict'])}**"
    yield _headline(study)
    yield table(
        ("the paper's finding", "here", "number", "interval", "rests on"),
        [_judged_row(claim, *found[claim.key]) for claim in CLAIMS if found[claim.key][0] is not Verdict.NOT_MEASURED],
    )
    for item in study.summary["analyses"]:
        yield from _analysis(study, item)


def _comment(text: str) -> str:
    """What the study file says of itself: its first lines."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# "))
    said = " ".join(lines).removeprefix("The evidence of docs/results.md: ").strip().replace("*", "\\*")
    return said[:1].upper() + said[1:]


def _facts(study: KeptResults) -> str:
    manifest = study.manifest
    examples = ", ".join(f"{count} {split}" for split, count in manifest["examples"].items())
    machine = manifest["machine"]
    commit = manifest["program"]["commit"]
    lines = [
        f"- images: {examples}; {len(manifest['classes'])} classes; seeds {', '.join(map(str, manifest['seeds']))}",
        f"- {manifest['trainings']} trainings, {manifest['training_minutes']:g} minutes of training in all on "
        f"{machine['processor']} ({', '.join(machine['device'])}, threads: {', '.join(machine['threads'])}, "
        f"{machine['precision']})",
        f"- transferscope {manifest['program']['version']}{f' at {commit[:12]}' if commit else ''}, "
        f"torch {manifest['versions']['torch']}; "
        f"[tables and manifest]({study.name}/)",
    ]
    if manifest["trainings_diverged"]:
        lines.append(f"- {manifest['trainings_diverged']} of the trainings diverged")
    lines += [f"- {note}" for note in (*manifest["notes"], *manifest["mixed"])]
    return "\n".join(lines)


def _headline(study: KeptResults) -> str:
    rows = []
    for row in study.headline.filter(pl.col("split") == "test").iter_rows(named=True):
        has = row["low"] is not None and row["high"] is not None
        metric = row["metric"]
        interval = f"{metric_words(row['low'], metric)} to {metric_words(row['high'], metric)}" if has else MISSING
        trained = MISSING if row["learning_rate"] is None else f"{row['epochs']} epochs at {row['learning_rate']:g}"
        basis = basis_words(row["basis"], row["n"], short=True) if has else basis_words(None, row["n"])
        rows.append((shown(row["variant"]), metric_words(row["value"], metric), interval, basis, trained))
    metric = study.headline["metric"][0]
    return table(("network", f"test {metric}", "interval", "rests on", "training"), rows)


def _judged_row(claim: Claim, verdict: Verdict, number: Estimate | None) -> tuple[str, ...]:
    assert number is not None
    said = f"{number.name}: {value_words(number.value, number.unit, fixed=True)}"
    rests = doubt(number) or basis_words(number.basis, number.n, short=True)
    return claim.sentence, verdict, said, interval_words(number), rests


def _analysis(study: KeptResults, item: Mapping[str, Any]) -> Iterable[str]:
    yield f"## {item['title']}"
    if item["skip_reason"] is not None:
        yield f"Not run: {item['skip_reason']}"
        return
    yield minus_signs(f"*{item['question']}* {item['verdict']}".replace("\n", " "))
    numbers = study.estimates.get(item["slug"], ())
    if numbers:
        rows = [
            (
                number.name,
                value_words(number.value, number.unit, fixed=number.low is not None),
                interval_words(number),
                basis_words(number.basis, number.n, short=True),
                "" if number.unit == "1" else number.unit,
                minus_signs(number.note),
            )
            for number in numbers
        ]
        yield folded(f"{len(rows)} numbers", table(("", "value", "interval", "rests on", "unit", "note"), rows))
    if item["notes"]:
        yield "\n".join(f"- {minus_signs(note)}" for note in item["notes"])
    if item["rows_kept"] == 0 and item["rows"]:
        yield f"Its table of {item['rows']} rows is too large to be kept here; the command above makes it."
