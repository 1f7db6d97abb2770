"""The prescription: what to do, what that was promised to lose and what it lost, in at most ten lines, from keys."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from transferscope.analyses.start.summary import place_words
from transferscope.report.numbers import metric_words, points_words
from transferscope.report.sections import clauses, metric_of
from transferscope.running.results import AnalysisResult, Results

__all__ = ["MOST", "first_line", "heading", "prescription"]

MOST = 10
"""Lines at most."""

_LEFT_OUT = {
    "random_starts": "whether every network does as well from a random start",
    "seeds": "what seeds do: fewer than three of each were trained",
    "length": "whether longer trainings would change the order",
    "nothing_proved": "what the choice loses: it was not proved",
}


def heading(results: Results) -> AnalysisResult | None:
    """The analysis that heads a study of it alone; None where the four networks do."""
    return results.analyses[0] if all(item.analysis.heads for item in results.analyses) else None


def prescription(
    results: Results, further: Sequence[Results] = (), left_out: Sequence[str] = (), files: str = ""
) -> tuple[str, ...]:
    """The lines.

    Args:
        results: of the study with the analysis ``start``, finished or not.
        further: of studies of the recommended network: what they say is a line each.
        left_out: what stays undecided for want of budget: keys, or names of analyses.
        files: where what can be taken away lies; empty where there is nothing yet.
    """
    item = next((each for each in results.analyses if each.analysis.heads), None)
    facts = item.summary.facts if item is not None and item.summary is not None else {}
    lines = [first_line(facts), *_numbers(facts, metric_of(results))]
    said = [each for other in further for each in other.analyses if each.summary is not None and _advises(each)]
    lines += [f"{each.analysis.title}: {clauses(each.summary.verdict)[0]}" for each in said if each.summary]
    left = [_LEFT_OUT.get(key, key) for key in left_out]
    if facts.get("stage") == "search":
        left.insert(0, _LEFT_OUT["nothing_proved"])
    if left:
        lines.append(f"Undecided for want of budget: {'; '.join(left)}.")
    if files:
        lines.append(f"Take away: {files}")
    return tuple(lines[:MOST])


def first_line(facts: Mapping[str, Any]) -> str:
    """What to take, or why nothing can be said."""
    stage = facts.get("stage", "nothing")
    if stage == "nothing":
        return "No answer yet: no training is finished."
    if stage == "diverged":
        return "No answer: every arm diverged. Try lower rates: --set 'training.learning_rates=[0.0003, 0.001, 0.003]'."
    chosen = facts["chosen"]
    epochs = f"{chosen['epochs']} epoch{'' if chosen['epochs'] == 1 else 's'}"
    if stage == "search":
        return f"So far: {place_words(chosen)} is ahead after {epochs}; the search goes on."
    return f"Take {place_words(chosen)}, {epochs}."


def _numbers(facts: Mapping[str, Any], metric: str) -> Iterator[str]:
    if facts.get("stage") == "search":
        value = facts["metrics"]["validation"]["value"]
        if value is not None:
            yield f"Validation {metric} so far: {metric_words(value, metric)}."
    if facts.get("stage") != "proved":
        return
    promise, best = facts["expected_regret"], facts["probability_best"]["value"]
    yield (
        f"Promised on {promise['n']} validation images: expected loss against the best arm "
        f"{_lost(promise['value'], metric)}, 90 % below {_lost(promise['high'], metric)}; "
        f"P(best) {best:.2f}."
    )
    proof, test = facts["proved_regret"], facts["metrics"]["test"]
    span = f"({_lost(proof['low'], metric, unit=False)} to {_lost(proof['high'], metric, unit=False)})"
    # A width of zero proves nothing: it says that no draw of the test images put another arm ahead.
    lost = f"lost {_lost(proof['value'], metric)} {span} against the best proved arm" if proof["high"] != 0 else (
        "no other proved arm came ahead of it in any resample"
    )  # fmt: skip
    yield f"Proved on test images: {metric} {metric_words(test['value'], metric)}, {lost}."
    gain = facts.get("gain_over_default")
    if gain is None:
        yield "That is the default: the search found nothing better."
    else:
        ends = [points_words(gain[name], metric, unit=False) for name in ("low", "high")]
        limits = "" if gain["low"] is None else f" ({ends[0]} to {ends[1]})"
        yield f"Against the default ({place_words(facts['default'])}): {points_words(gain['value'], metric)}{limits}."


def _lost(value: float | None, metric: str, *, unit: bool = True) -> str:
    """A regret, which has no sign."""
    return points_words(value, metric, unit).removeprefix("+")


def _advises(item: AnalysisResult) -> bool:
    return item.analysis.name not in ("outcome", "learning_rate", "learning_curves")
