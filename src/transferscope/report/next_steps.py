"""What a reader can do: rate, freezing, averaging, classes, labels, file; each measured, or how to measure it."""

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from transferscope.keys import shown
from transferscope.report.answer import found, with_setting
from transferscope.report.modules_strip import modules_strip
from transferscope.report.numbers import metric_words, value_words
from transferscope.report.prescription import heading
from transferscope.running.results import Results

_AVERAGE = {
    "stable": "the weights of two P-T can be averaged: the error rises by less than 2 points on the line between them",
    "unstable": "do not average the weights of two P-T: the error rises by 2 points or more between them",
    "undecided": "undecided whether the weights of two P-T can be averaged: more test images or seeds may tell",
}


@dataclass(frozen=True)
class Choice:
    """One thing to decide."""

    topic: str
    text: str
    measured: bool = True


def choices(results: Results) -> list[Choice]:
    """What the study says on each thing to decide, in a fixed order; nothing is left out.

    A study that another analysis heads has its prescription in place of them.
    """
    if heading(results) is not None:
        return []
    if any(item.waiting for item in results.analyses if item.analysis.name == "outcome"):
        rate, classes, file = (_unmeasured(results, topic, "outcome") for topic in ("rate", "classes", "file"))
    else:
        rate, classes, file = _rate(results), _classes(results), _file(results)
    return [rate, _freeze(results), _average(results), classes, _labels(results), file]


def next_steps(results: Results) -> list[str]:
    """What would make the study say more."""
    steps = list(_seeds(results))
    if failed := ", ".join(item.analysis.title for item in results.analyses if item.failed):
        steps.insert(
            0,
            f"Missing here, as it failed: {failed}. What went wrong stands in its section. What is measured is kept: "
            "once that is mended, the same command goes on from there.",
        )
    missing = [item for item in results.analyses if item.skip_reason]
    if missing:
        names = ", ".join(item.analysis.title for item in missing)
        steps.append(f"Not answered here: {names}. The reasons stand in their sections.")
    return steps


def _seeds(results: Results) -> Iterator[str]:
    count = len(results.study.seeds)
    if 3 <= count < 5:
        yield f"For a headline claim use five seeds ({_more_seeds(results, 5)}); this study has {count} seeds."
    elif count < 3:
        have = "1 seed" if count == 1 else f"{count} seeds"
        yield (
            f"Add seeds ({_more_seeds(results, 3)}): with {have} the report speaks for these trained networks only, "
            "not for training in general. What is finished is not trained again."
        )


def _more_seeds(results: Results, count: int) -> str:
    """The study with so many seeds, its own among them: what is finished is not trained again."""
    own = results.study.seeds
    new = (seed for seed in range(count) if seed not in own)
    seeds = [*own, *new][:count]
    return with_setting(results, f"seeds=[{','.join(map(str, seeds))}]")


def _unmeasured(results: Results, topic: str, analysis: str) -> Choice:
    item = next((item for item in results.analyses if item.analysis.name == analysis), None)
    if item is not None and item.waiting:
        return Choice(topic, f"still to come, with “{item.analysis.title}”", measured=False)
    if item is not None and (item.skip_reason or item.failed):
        return Choice(topic, f"not measured: {item.skip_reason or 'it failed'}", measured=False)
    if item is not None:
        return Choice(topic, f"not told by “{item.analysis.title}” here: see its notes", measured=False)
    added = with_setting(results, f"analyses.{len(results.study.analyses)}={analysis}")
    return Choice(topic, f"not measured: {added}", measured=False)


def _rate(results: Results) -> Choice:
    rows = results.headline.filter(pl.col("split") == "test").to_dicts()
    rates = {row["variant"]: row["learning_rate"] for row in rows if row["learning_rate"] is not None}
    item = found(results, "learning_rate")
    facts: Mapping[str, Any] = item.summary.facts if item is not None and item.summary is not None else {}
    tried = facts.get("tried") or []
    if "P_T" not in rates:
        return Choice("rate", "no P-T has finished", measured=False)
    text = value_words(rates["P_T"], "rate") + " for P-T"
    if "RI_T" in rates:
        text += f", {value_words(rates['RI_T'], 'rate')} for RI-T"
    if len(tried) == 1:
        return Choice(
            "rate", f"{text}: given, not chosen. To choose: {_grid(results, tried[0] / 3, *tried, 3 * tried[0])}"
        )
    if tried:
        text += f", chosen on validation images out of {', '.join(value_words(rate, 'rate') for rate in tried)}"
    for variant, choice in (facts.get("choices") or {}).items():
        if choice["moved"]:
            text += f"; for {shown(variant)} not distinguishable from {value_words(choice['best'], 'rate')}"
    if facts.get("at_edge"):
        wider = _grid(results, tried[0] ** 2 / tried[1], *tried, tried[-1] ** 2 / tried[-2])
        text += f". A best one lies at the edge: {wider}"
    return Choice("rate", text)


def _grid(results: Results, *rates: float) -> str:
    # Six digits, as the search has them: another digit is another network.
    return with_setting(results, f"training.learning_rates=[{','.join(f'{rate:.6g}' for rate in rates)}]")


def _freeze(results: Results) -> Choice:
    strip = modules_strip(results)
    if not strip:
        return _unmeasured(results, "freeze", "rewind")
    free = [part.name for part in strip if part.state in ("kept", "useless")]
    if not free:
        return Choice("freeze", "no module is shown to do as well with its pre-trained weights")
    listed = ", ".join(free[:8]) + (f" and {len(free) - 8} more" if len(free) > 8 else "")
    return Choice("freeze", f"candidates are {listed}: one by one their pre-trained weights do as well. Training with "
                  "them frozen must show it")  # fmt: skip


def _average(results: Results) -> Choice:
    item = found(results, "path")
    facts: Mapping[str, Any] = item.summary.facts if item is not None and item.summary is not None else {}
    word = facts.get("pairs", {}).get("P-T/P-T")
    if word is None:
        if item is not None and len(results.study.seeds) < 2:
            return Choice("average", f"not measured, it needs two seeds: {_more_seeds(results, 2)}", measured=False)
        return _unmeasured(results, "average", "path")
    return Choice("average", _AVERAGE[word if facts["ruler_holds"] else "undecided"])


def _classes(results: Results) -> Choice:
    item = found(results, "outcome")
    if item is None or item.table is None:
        return Choice("classes", "not measured", measured=False)
    rows = item.table.filter(
        (pl.col("level") == "class") & (pl.col("metric") == "recall") & (pl.col("basis") == "examples")
    ).drop_nulls("value")
    own = rows.filter(pl.col("variant") == "P_T").sort("value", "item")
    if own.is_empty():
        return Choice("classes", "no P-T has finished", measured=False)
    worst = own.row(0, named=True)
    low, high = (metric_words(worst[name], "top1") for name in ("low", "high"))
    text = f"P-T finds {metric_words(worst['value'], 'top1')} of “{worst['item']}” ({low} to {high}), the fewest of all"
    other = rows.filter((pl.col("variant") == "RI_T") & (pl.col("item") == worst["item"]))
    if not other.is_empty():
        text += f"; RI-T finds {metric_words(other['value'][0], 'top1')}"
    return Choice("classes", text)


def _labels(results: Results) -> Choice:
    item = found(results, "mistakes")
    data = item.files.get("wrong-images.csv") if item is not None else None
    if data is None:
        return _unmeasured(results, "labels", "mistakes")
    always = pl.read_csv(io.BytesIO(data), infer_schema_length=None)
    count = always.filter((pl.col("wrong_P_T") == 1) & (pl.col("wrong_RI_T") == 1)).height
    if not count:
        return Choice("labels", "no test image is wrong in every network")
    each = "1 test label is" if count == 1 else f"{count} test labels are"
    return Choice(
        "labels", f"{each} contradicted by every network: check them first (`files/mistakes/wrong-images.csv`)"
    )


def _file(results: Results) -> Choice:
    command = results.manifest.get("export")
    if command is None:
        return Choice("file", "the weights of every network are listed in the manifest")
    return Choice("file", f"`{command}` writes P-T with its classes and preprocessing, and prints how to load it")
