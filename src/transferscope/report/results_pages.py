"""``docs/results.md`` from the results kept in ``docs/results``: neither can fall behind the other.

``python -m transferscope.report.results_pages docs/results docs/results.md``
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from transferscope.analyses.claims import CLAIMS, Claim, Measurement, Verdict, judge
from transferscope.analyses.contract import Number
from transferscope.analyses.variants import shown
from transferscope.report.evidence_tables import NUMBERS
from transferscope.report.kept_results import KeptResults, kept_results
from transferscope.report.numbers import MISSING, basis_words, interval_words, metric_words, value_words

__all__ = ["results_page", "write_results_page"]

Judged = Mapping[str, tuple[Verdict, Measurement | None]]

_SIGNS: Mapping[Verdict, str] = {
    "reproduced": "yes",
    "not reproduced": "**no**",
    "undecided": "?",
    "not measured": MISSING,
}


def results_page(studies: Sequence[KeptResults]) -> str:
    """The page of all finished studies.

    Args:
        studies: in the order of the page.

    Returns:
        Markdown.
    """
    judged = {study.name: _judged(study) for study in studies}
    parts = [_INTRODUCTION.format(count=_counted(len(studies)))]
    if not studies:
        parts.append("No study is finished yet.")
    else:
        parts += ["## The paper's findings", _findings(), _overview(studies, judged)]
        parts += ["## Where the paper's finding is not reproduced", *_against(studies, judged)]
    for study in studies:
        parts += list(_study(study, judged[study.name]))
    return "\n\n".join(parts) + "\n"


def _counted(studies: int) -> str:
    return "a finished study" if studies < 2 else f"one of {studies} finished studies"


def write_results_page(folder: Path, place: Path) -> Path:
    """Read what is kept in ``folder`` and write the page to ``place``; returns that.

    Raises:
        AnalysisError: what is kept is not what was collected.
    """
    place.write_text(results_page(kept_results(folder)), encoding="utf-8")
    return place


_INTRODUCTION = """# Results on real data

Generated from the tables under `docs/results` by

    python -m transferscope.report.results_pages docs/results docs/results.md

Every number below comes from {count}. The command that reproduces a study stands at its
beginning; its tables, its study file and a manifest (versions, machine, hashes) lie under `docs/results`. Intervals are
95 %: over *seeds* they speak of training in general, over *images* of the trained networks alone. All claims are for
the pre-trained network of the study. The networks and images are far smaller than the paper's: what differs from it
may differ for that reason."""


# -- the paper's findings --------------------------------------------------------------------------------


def _judged(study: KeptResults) -> Judged:
    tables = dict(study.tables)
    for slug, numbers in study.numbers.items():
        tables[f"{slug}{NUMBERS}"] = pl.DataFrame([vars(number) for number in numbers], infer_schema_length=None)
    return {claim.key: judge(claim, tables) for claim in CLAIMS}


def _findings() -> str:
    rows = [
        (str(place), claim.sentence, claim.section, claim.numbers or MISSING)
        for place, claim in enumerate(CLAIMS, start=1)
    ]
    return "\n\n".join(
        [
            "Each is a rule on one number of a study, fixed in `transferscope/analyses/claims.py`: reproduced (yes) "
            "where its whole interval lies on the side the paper claims, not reproduced (**no**) where it lies wholly "
            f"on the other, else undecided (?). {MISSING}: not measured.",
            _table(("", "finding", "where", "in the paper (ResNet-50, ImageNet)"), rows),
        ]
    )


def _overview(studies: Sequence[KeptResults], judged: Mapping[str, Judged]) -> str:
    heads = ("study", *(str(place) for place in range(1, len(CLAIMS) + 1)))
    rows = [
        (f"[{study.name}](#{study.name})", *(_SIGNS[judged[study.name][claim.key][0]] for claim in CLAIMS))
        for study in studies
    ]
    return _table(heads, rows)


def _against(studies: Sequence[KeptResults], judged: Mapping[str, Judged]) -> Iterable[str]:
    found = {
        verdict: [
            f"- {claim.sentence} ({claim.section}): {study.name}, {_said(claim, tested)}"
            for claim in CLAIMS
            for study in studies
            for said, tested in (judged[study.name][claim.key],)
            if said == verdict and tested is not None
        ]
        for verdict in ("not reproduced", "undecided")
    }
    lines, open_ones = found["not reproduced"], found["undecided"]
    yield "The interval lies wholly on the other side:" if lines else "Nowhere, as far as the intervals decide."
    if lines:
        yield "\n".join(lines)
    if open_ones:
        title = f"{len(open_ones)} undecided: the interval spans the margin, or for the reason given"
        yield _folded(title, "\n".join(open_ones))


def _said(claim: Claim, tested: Measurement) -> str:
    number = _as_number(tested)
    said = f"{tested.what} {value_words(tested.value, tested.unit, fixed=True)}"
    if tested.low is not None or tested.high is not None:
        said += f" ({interval_words(number)}; {basis_words(tested.basis, tested.n, short=True)})"
    else:
        said += " (no interval)"
    if claim.margin:
        said += f", margin {claim.margin:g}"
    return f"{said}: {tested.doubt}" if tested.doubt else said


def _as_number(tested: Measurement) -> Number:
    basis: Any = tested.basis
    return Number(tested.what, tested.value, tested.low, tested.high, basis, tested.n, tested.unit)


# -- one study -------------------------------------------------------------------------------------------


def _study(study: KeptResults, judged: Judged) -> Iterable[str]:
    manifest = study.manifest
    yield f"## {study.name}"
    yield _comment(study.study_text)
    yield f"    transferscope run examples/studies/{manifest['study_file']}"
    yield _facts(study)
    yield f"**{study.summary['verdict']}**"
    yield _headline(study)
    yield _table(
        ("the paper's finding", "here", "number", "interval", "rests on"),
        [_judged_row(claim, *judged[claim.key]) for claim in CLAIMS if judged[claim.key][0] != "not measured"],
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
    return " ".join(lines).removeprefix("The evidence of docs/results.md: ").strip().replace("*", "\\*")


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
        f"[tables and manifest](results/{study.name}/)",
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
    return _table(("network", f"test {metric}", "interval", "rests on", "training"), rows)


def _judged_row(claim: Claim, verdict: Verdict, tested: Measurement | None) -> tuple[str, ...]:
    assert tested is not None
    number = f"{tested.what}: {value_words(tested.value, tested.unit, fixed=True)}"
    basis = tested.doubt or basis_words(tested.basis, tested.n, short=True)
    return claim.sentence, verdict, number, interval_words(_as_number(tested)), basis


def _analysis(study: KeptResults, item: Mapping[str, Any]) -> Iterable[str]:
    yield f"### {study.name}: {item['title']}"
    if item["inapplicable"] is not None:
        yield f"Not run: {item['inapplicable']}"
        return
    yield f"*{item['question']}* {item['verdict']}".replace("\n", " ")
    numbers = study.numbers.get(item["slug"], ())
    if numbers:
        rows = [
            (
                number.name,
                value_words(number.value, number.unit, fixed=number.low is not None),
                interval_words(number),
                basis_words(number.basis, number.n, short=True),
                "" if number.unit == "1" else number.unit,
                number.note,
            )
            for number in numbers
        ]
        yield _folded(f"{len(rows)} numbers", _table(("", "value", "interval", "rests on", "unit", "note"), rows))
    if item["notes"]:
        yield "\n".join(f"- {note}" for note in item["notes"])
    if item["rows_kept"] == 0 and item["rows"]:
        yield f"Its table of {item['rows']} rows is too large to be kept here; the command above makes it."


def _folded(title: str, text: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{text}\n\n</details>"


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    names = list(heads)
    lines = [f"| {' | '.join(names)} |", f"|{'---|' * len(names)}"]
    lines += [f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    return "\n".join(lines)


def main(words: Sequence[str]) -> None:
    """The command."""
    if len(words) != 2:
        sys.exit("usage: python -m transferscope.report.results_pages FOLDER PAGE")
    print(write_results_page(Path(words[0]), Path(words[1])))


if __name__ == "__main__":
    main(sys.argv[1:])
