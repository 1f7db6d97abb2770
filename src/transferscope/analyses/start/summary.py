"""What a search over starts says: the arm to take, what it may lose, and what that turned out to be."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from transferscope.analyses.estimates import Estimate, Quantity
from transferscope.analyses.start.arms import scores_of
from transferscope.analyses.summary import Summary
from transferscope.bounds import Flag
from transferscope.rounding import exact

if TYPE_CHECKING:
    from transferscope.analyses.halving import Score

__all__ = ["summary_of"]

_PLACE = ("candidate", "start", "learning_rate")


def summary_of(table: pl.DataFrame, quantities: Sequence[Quantity]) -> Summary:
    """The summary of a table, whether or not the search in it is finished.

    Args:
        table: of the analysis.
        quantities: that it declares.
    """
    by_key = {quantity.key: quantity for quantity in quantities}
    runs = table.filter(pl.col("level") == "run")
    arms = table.filter(pl.col("level") == "arm")
    choice = table.filter(pl.col("level") == "choice")
    default = arms.filter(pl.col("role") == "default").select(_PLACE).unique().to_dicts()
    facts: dict[str, Any] = {"default": default[0] if default else None, **_search_facts(runs)}
    estimates = [_arm_estimate(by_key["metric"], row) for row in arms.iter_rows(named=True)]
    if choice.is_empty():
        return _so_far(runs, arms, facts, estimates)
    for row in choice.iter_rows(named=True):
        estimates.append(by_key[row["quantity"]].at_row(row, row["note"]))
        facts[row["quantity"]] = {name: row[name] for name in ("value", "low", "high", "basis", "n")}
    chosen = choice.row(0, named=True)
    facts |= {"stage": "proved", "chosen": {name: chosen[name] for name in (*_PLACE, "role", "epochs")}}
    own = arms.filter(*(pl.col(name) == chosen[name] for name in _PLACE))
    facts["metrics"] = {
        row["split"]: {name: row[name] for name in ("value", "error", "n")} for row in own.iter_rows(named=True)
    }
    return Summary(_verdict(facts), tuple(estimates), tuple(_notes(table, facts)), facts)


def _arm_estimate(quantity: Quantity, row: Mapping[str, Any]) -> Estimate:
    flags: tuple[Flag, ...] = ("diverged",) if row["diverged"] else ()
    at = {name: row[name] for name in (*_PLACE, "split")}
    return quantity.number(row["value"], row["n"], row["note"], flags=flags, **at)


def _search_facts(runs: pl.DataFrame) -> dict[str, Any]:
    """How many arms there were, how many diverged, and what the search took against the full grid."""
    if runs.is_empty():
        return {"arms": 0, "diverged": [], "candidates": [], "updates": 0, "grid_updates": 0}
    arms = runs.select(_PLACE).unique(maintain_order=True)
    lost = runs.filter("diverged").select(_PLACE).unique(maintain_order=True)
    seeds = runs["seed"].n_unique()
    # Of a run that diverged the updates it was to make count: it is the plan that is compared.
    longest = runs.filter(pl.col("epochs") == runs["epochs"].max())["updates"].max()
    return {
        "arms": len(arms), "candidates": arms["candidate"].unique(maintain_order=True).to_list(),
        "diverged": lost.to_dicts(), "longest_epochs": runs["epochs"].max(),
        "updates": int(runs["updates"].fill_null(0).sum()), "grid_updates": int(str(longest or 0)) * len(arms) * seeds,
    }  # fmt: skip


def _so_far(runs: pl.DataFrame, arms: pl.DataFrame, facts: dict[str, Any], estimates: list[Estimate]) -> Summary:
    names = facts["candidates"]
    scores = scores_of(runs, names)
    sound = {place: score for place, score in scores.items() if score.sound}
    # The arms that came furthest are the ones that were never dropped.
    furthest = max((epochs for _, epochs in sound), default=0)
    there = {arm: score for (arm, epochs), score in sound.items() if epochs == furthest}
    if not there or (len(arms) and arms["diverged"].all()):
        facts |= {"stage": "diverged" if len(runs) else "nothing", "chosen": None}
        return Summary(_verdict(facts), tuple(estimates), (), facts)
    best = min(there, key=lambda arm: (*_order(there[arm]), arm))
    score = there[best]
    facts |= {
        "stage": "search",
        "chosen": {"candidate": names[best.candidate], "start": best.start, "learning_rate": best.rate,
                   "role": None, "epochs": furthest},
        "metrics": {"validation": {"value": score.metric, "error": score.error, "n": None}},
    }  # fmt: skip
    return Summary(_verdict(facts), tuple(estimates), (), facts)


def _order(score: "Score") -> tuple[float, float]:
    inf = float("inf")
    return (inf if score.metric is None else -score.metric, inf if score.loss is None else score.loss)


def _verdict(facts: Mapping[str, Any]) -> str:
    if facts["stage"] == "nothing":
        return "Undecided: no training is finished."
    if facts["stage"] == "diverged":
        return "Undecided: every arm diverged. Lower learning rates are needed (learning_rates)."
    arm = place_words(facts["chosen"])
    if facts["stage"] == "search":
        return f"Undecided: so far {arm} is ahead on validation data; the search is not finished."
    promise, proof = facts["expected_regret"], facts["proved_regret"]
    said = (
        f"Take {arm}: expected to lose {_number(promise['value'])} against the best arm, 90 % below "
        f"{_number(promise['high'])}; probability that none is better {facts['probability_best']['value']:.2f}. "
        f"Proved on test data: it lost {_number(proof['value'])} ({_number(proof['low'])} to {_number(proof['high'])})"
    )
    gain = facts.get("gain_over_default")
    if gain is None:
        return f"{said}; it is the default."
    limits = "" if gain["low"] is None else f" ({_number(gain['low'], '+')} to {_number(gain['high'], '+')})"
    return f"{said}; {_number(gain['value'], '+')}{limits} against the default."


def place_words(place: Mapping[str, Any]) -> str:
    """An arm in words: ``resnet18 from its weights at 0.01``."""
    start = "from its weights" if place["start"] == "pretrained" else "from a random start"
    return f"{place['candidate']} {start} at {place['learning_rate']:.3g}"


def _number(value: float, sign: str = "") -> str:
    return f"{exact(value):{sign}.3f}"


def _notes(table: pl.DataFrame, facts: Mapping[str, Any]) -> list[str]:
    notes = [
        "all limits count what seeds and images do to the arms; the best of many arms looks better than it is, which "
        "the expected regret contains",
    ]
    if facts["grid_updates"]:
        share = facts["updates"] / facts["grid_updates"]
        notes.append(f"the search took {share:.0%} of the updates of all {facts['arms']} arms at full length")
    if len(facts["candidates"]) < 2:
        notes.append("one candidate: there was nothing to choose between networks")
    if facts["diverged"]:
        notes.append("diverged in the search: " + ", ".join(place_words(each) for each in facts["diverged"]))
    lost = table.filter((pl.col("level") == "arm") & pl.col("diverged"))
    if len(lost):
        notes.append("diverged in the proof: " + ", ".join(place_words(each) for each in lost.iter_rows(named=True)))
    return notes
