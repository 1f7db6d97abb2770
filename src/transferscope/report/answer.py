"""The first thing a reader learns: a plain sentence, what to take, and what limits both."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from transferscope.analyses.spikes import spike_note
from transferscope.analyses.summary import Summary
from transferscope.keys import shown
from transferscope.report.numbers import metric_words, value_words
from transferscope.report.prescription import heading, prescription
from transferscope.running.results import AnalysisResult, Results

NEGLIGIBLE = 0.005
"""A difference of the metric this small, both ways, makes two starts equally good: half a point."""

_METRICS = {"top1": "accuracy", "top5": "top-5 accuracy", "auc": "AUC"}
_COUNTS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NOTES = 4
"""Notes on the data that are shown first; the manifest has all."""


@dataclass(frozen=True)
class Answer:
    """What a study says, in plain words."""

    sentence: str
    advice: str
    caveats: tuple[str, ...]
    notes: tuple[str, ...]


def found(results: Results, name: str) -> AnalysisResult | None:
    """The first analysis called ``name`` that was run; None where there is none."""
    return next((item for item in results.analyses if item.analysis.name == name and item.summary is not None), None)


def with_setting(results: Results, setting: str) -> str:
    """How the study is run with another setting: the whole command, as it was called, between backticks."""
    run = results.manifest.get("run")
    return f"set `{setting}`" if run is None else f"`{run} --set {shlex.quote(setting)}`"


def answer(results: Results) -> Answer:
    """The answer of a finished study: words rendered from the facts of ``outcome``, never from its sentences."""
    if heading(results) is not None:
        first, *lines = prescription(results)
        return Answer(first, "", tuple(lines), _data_notes(results))
    facts = _facts(results)
    rows = {row["variant"]: row for row in results.headline.to_dicts() if row["split"] == "test"}
    if not rows and results.remaining is not None:
        return Answer(
            "No answer yet: the four networks are still being trained and measured.", "", (), _data_notes(results)
        )
    if facts["rival"] not in rows or "P_T" not in rows:
        return Answer(
            "No answer yet: no fine-tuned network and no network trained from scratch have finished as a pair.",
            "Train at least one finished pair of P-T and RI-T: without it nothing can be said about the start.",
            (),
            _data_notes(results),
        )
    caveats = tuple(_caveats(results, facts))
    return Answer(_sentence(results, facts, rows), _advice(facts, rows), caveats, _data_notes(results))


def _facts(results: Results) -> Mapping[str, Any]:
    outcome = found(results, "outcome")
    summary = outcome.summary if outcome else None
    if isinstance(summary, Summary) and summary.facts:
        return summary.facts
    # Results without the table of the four networks: the gap alone, over seeds where there are enough of them.
    by_basis = {number.basis: number for number in reversed(results.gap)}
    number = by_basis.get("seeds") or by_basis.get("examples")
    facts: dict[str, Any] = dict.fromkeys(("winner", "rival", "basis", "value", "low", "high", "n", "unended"))
    if number is None or number.low is None or number.high is None:
        return facts
    winner = "P_T" if number.low > 0 else "RI_T" if number.high < 0 else None
    return facts | {name: getattr(number, name) for name in ("basis", "value", "low", "high", "n")} | {
        "winner": winner, "rival": "RI_T"
    }  # fmt: skip


def _equal(facts: Mapping[str, Any]) -> bool:
    """Whether the whole interval lies within half a point both ways."""
    return facts["low"] is not None and facts["low"] > -NEGLIGIBLE and facts["high"] < NEGLIGIBLE


def _sentence(results: Results, facts: Mapping[str, Any], rows: Mapping[str, Mapping[str, Any]]) -> str:
    fine, scratch = rows["P_T"], rows[facts["rival"]]
    metric = fine["metric"]
    ours, theirs = (metric_words(row["value"], metric) for row in (fine, scratch))
    numbers = f"{ours} against {theirs} {_METRICS.get(metric, metric)}"
    if (runs := _runs(results, fine, scratch)) is not None:
        numbers = f"{numbers}, {runs}"
    epochs = (fine["epochs"], scratch["epochs"])
    if facts["rival"] == "RI_T_long":
        against = f"training from scratch for longer ({epochs[1]} epochs against {epochs[0]})"
    else:
        against = "training from scratch"
    if _equal(facts):
        return f"Fine-tuning and {against} end equally well, within half a point: {numbers}."
    if facts["winner"] is None:
        return f"Whether fine-tuning beats {against} is undecided: {numbers}."
    if facts["unended"]:
        equal = f" ({epochs[0]} epochs each)" if epochs[0] is not None and epochs[0] == epochs[1] else ""
        place = "ahead of" if facts["winner"] == "P_T" else "behind"
        return f"After equal training{equal} fine-tuning is {place} {against}: {numbers}."
    return f"Fine-tuning {'beats' if facts['winner'] == 'P_T' else 'does worse than'} {against}: {numbers}."


def _runs(results: Results, *rows: Mapping[str, Any]) -> str | None:
    seeds = [row["n"] if row["basis"] in ("seeds", "range") else len(results.study.seeds) for row in rows]
    words = [_COUNTS[count] if count < len(_COUNTS) else str(count) for count in seeds]
    if len(set(seeds)) == 1:
        return f"{words[0]} run{'' if seeds[0] == 1 else 's'} each"
    return f"{' and '.join(words)} runs"


def _advice(facts: Mapping[str, Any], rows: Mapping[str, Mapping[str, Any]]) -> str:
    at = "At equal cost ship" if facts["unended"] else "Ship"
    if _equal(facts):
        return "Take whichever start is cheaper: the difference lies within half a point both ways."
    if facts["winner"] is None:
        return "The start is undecided: add seeds or test images before choosing one."
    row = rows[facts["winner"]]
    rate = "" if row["learning_rate"] is None else f" at rate {value_words(row['learning_rate'], 'rate')}"
    if facts["winner"] == "P_T":
        return f"{at} P-T{rate}."
    name = shown(facts["winner"])
    return f"{at} {name}{rate}: at their chosen rate the pre-trained weights do harm here."


def _caveats(results: Results, facts: Mapping[str, Any]) -> list[str]:
    said = []
    plateau, epochs = results.study.training.plateau_epochs, results.study.training.recipe.epochs
    if facts["unended"]:
        doubt = {
            "improving": "Training from scratch was still improving when it stopped: trained longer it may end higher.",
            "too short": "Training from scratch was too short to tell whether it was still improving.",
            "no run": "No run from scratch has finished with a defined validation metric.",
        }[facts["unended"]]
        longer = 3 * (plateau or epochs)
        how = "Not measured" if plateau is None else f"{plateau} epochs did not show it"
        said.append(f"{doubt} {how}: {with_setting(results, f'training.plateau_epochs={longer}')}.")
    if facts["basis"] != "seeds":
        said.append(
            "This speaks of these trained networks, not of training in general: that needs at least three runs each."
        )
    rates = found(results, "learning_rate")
    if rates is not None and rates.summary is not None and rates.summary.facts.get("at_edge"):
        said.append("A best learning rate lies at the edge of those tried: a better one may lie beyond.")
    curves = found(results, "learning_curves")
    spikes = curves.summary.facts.get("spikes") if curves is not None and curves.summary is not None else None
    if spikes:
        note = spike_note(spikes)
        smaller = min(run["learning_rate"] for run in spikes) / 3
        grid = f"training.learning_rates=[{smaller:.6g},{3 * smaller:.6g}]"
        said.append(f"{note[0].upper()}{note[1:]}. Smaller rates are steadier: {with_setting(results, grid)}.")
    return said


def _data_notes(results: Results) -> tuple[str, ...]:
    notes = [str(note) for note in results.manifest.get("notes") or ()]
    more = [f"{len(notes) - _NOTES} more notes on the data are in the manifest."] if len(notes) > _NOTES else []
    return (*notes[:_NOTES], *more)
