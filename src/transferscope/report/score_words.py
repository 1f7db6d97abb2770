"""A ranking in words: every sentence and cell, made from the keys of its numbers."""

from typing import Final

from transferscope.report.numbers import MISSING, metric_words, points_words, span_words, value_words
from transferscope.rounding import exact
from transferscope.scores.result import CandidateScores, Scores

__all__ = ["missing_lines", "preparation_lines", "sentences", "table_of"]

_COLUMNS: Final = (
    "candidate", "#probe", "#95 %", "#P(best)", "#10-NN", "#LogME", "#H-score", "#LEEP", "#NCE", "#source", "#weights",
    "#step",
)  # fmt: skip
_SPLITS: Final = {
    "given": "the training images that the data name",
    "divided": "those that a study with the usual settings trains on",
}
_SCORES: Final = {
    "knn": "10-NN",
    "logme": "LogME",
    "h_score": "the H-score",
    "leep": "LEEP",
    "nce": "NCE",
    "parameters": "size alone",
    "source_accuracy": "source accuracy",
}
_NAMES: Final = {"linear": "linear probe", **_SCORES}


def sentences(found: Scores) -> list[str]:
    """What was scored, where to begin, what that may lose, and what the scores cannot say."""
    lines = [_images(found), _begin(found)]
    if len(found.candidates) > 1:
        lines += [_regret(found), _others(found)]
        if found.unlike:
            lines.append(_unlike(found))
        lines.append(
            "All of this speaks of a linear probe on frozen features of these images. Fine-tuning may order the "
            "candidates otherwise; it is the proof."
        )
    return lines


def _images(found: Scores) -> str:
    images, classes = found.find("images"), found.find("classes")
    torn = found.find("classes_torn")
    assert images is not None
    assert classes is not None
    kinds = "labels" if found.metric == "auc" else "classes"
    lone = (
        f" {kinds.capitalize()} whose images all lie in one fold: {value_words(torn.value, 'count')}; held out, no "
        "probe can know them."
        if torn is not None and torn.value
        else ""
    )
    return (
        f"Scored on {value_words(images.value, 'count')} training images of {value_words(classes.value, 'count')} "
        f"{kinds}: {_SPLITS[found.split]}. Validation and test images have no say. Probe and neighbours predict each "
        f"image from the other folds; LogME, H-score, LEEP and NCE describe the images they are computed on.{lone}"
    )


def _begin(found: Scores) -> str:
    first = found.candidates[0]
    linear = first.find("linear")
    assert linear is not None
    limits = span_words(metric_words(linear.low, found.metric), metric_words(linear.high, found.metric))
    alone = " There is one candidate: nothing to choose." if len(found.candidates) == 1 else ""
    return (
        f"Begin with {first.name}: a linear probe on its frozen features reaches "
        f"{metric_words(linear.value, found.metric)} ({limits}).{alone}"
    )


def _regret(found: Scores) -> str:
    parts = []
    for item in (one for one in found.numbers if one.quantity == "regret"):
        count = int(item.at["confirmed"])
        if count == 1:
            chance = found.candidates[0].value("probability_best")
            best = f"; P(best) {_fixed(chance, 2)}" if chance is not None else ""
            parts.append(f"If {found.candidates[0].name} alone is fine-tuned, the expected loss against the best is ")
        else:
            best = ""
            parts.append(f"if the first {count} are and the best of them is kept, ")
        parts.append(f"{_points(item.value, found)} (90 % below {_points(item.high, found)}{best})")
        parts.append("; ")
    return "".join(parts[:-1]) + "."


def _points(value: float | None, found: Scores) -> str:
    return points_words(value, found.metric).removeprefix("+")


def _others(found: Scores) -> str:
    firsts: dict[str, list[str]] = {}
    for key, name in _SCORES.items():
        best = found.first_by(key)
        if 0 < len(best) < len(found.candidates):
            firsts.setdefault(" or ".join(one.name for one in best), []).append(name)
    said = "; ".join(f"{candidate} by {', '.join(names)}" for candidate, names in firsts.items())
    return f"By other scores the first is: {said}." if said else "No other score tells the candidates apart."


def _unlike(found: Scores) -> str:
    ratio = found.find("size_ratio")
    assert ratio is not None
    largest = found.first_by("parameters")[0]
    return (
        f"The candidates are of unlike size: the largest has {value_words(round(ratio.value or 0.0, 1))} times the "
        f"weights of the smallest. On usual zoos a list by size ranks better than such scores: {largest.name} belongs "
        "among those that are fine-tuned."
    )


def table_of(found: Scores) -> tuple[list[str], list[list[str | None]]]:
    """Columns, and a row for each candidate; columns without any value are left out."""
    every = [_row(one, found.metric) for one in found.candidates]
    used = [place for place in range(len(_COLUMNS)) if any(row[place] not in (None, MISSING) for row in every)]
    return [_COLUMNS[place] for place in used], [[row[place] for place in used] for row in every]


def _row(one: CandidateScores, metric: str) -> tuple[str | None, ...]:
    linear = one.find("linear")
    source, chance = one.value("source_accuracy"), one.value("probability_best")
    parameters, step = one.value("parameters"), one.value("step_seconds")
    return (
        one.name,
        metric_words(one.value("linear"), metric),
        MISSING
        if linear is None
        else span_words(metric_words(linear.low, metric), metric_words(linear.high, metric)).replace("\u00a0%", ""),
        _fixed(chance, 2),
        metric_words(one.value("knn"), metric),
        *(_fixed(one.value(key), 2 if key == "h_score" else 3) for key in ("logme", "h_score", "leep", "nce")),
        None if source is None else metric_words(source, "top1"),
        None if parameters is None else _size(parameters),
        None if step is None else f"{value_words(round(step, 2 if step < 10 else 1))} s",
    )


def _size(parameters: float) -> str:
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if parameters >= size:
            return f"{exact(parameters / size):.1f} {unit}"
    return f"{parameters:.0f}"


def _fixed(value: float | None, digits: int) -> str | None:
    return None if value is None else f"{exact(value):.{digits}f}".replace("-", "−")


def missing_lines(found: Scores) -> list[str]:
    """Why scores are missing: one line for each reason."""
    reasons: dict[str, dict[str, list[str]]] = {}
    for one in found.candidates:
        for item in one.numbers:
            if item.value is None and item.quantity in _NAMES:
                reasons.setdefault(item.note, {}).setdefault(_NAMES[item.quantity], []).append(one.name)
    lines = []
    for reason, scores in reasons.items():
        who = dict.fromkeys(name for names in scores.values() for name in names)
        lines.append(f"no {', no '.join(scores)} of {', '.join(who)}: {reason}")
    return lines


def preparation_lines(found: Scores) -> list[str]:
    """How each candidate's images were prepared, and what a reader must know of it."""
    lines = []
    for one in found.candidates:
        used, declared = one.facts.used, one.facts.declared
        how = f"{used.size} px, the central {100 * (used.crop or 1):.3g} % of the side"
        same = (
            "as declared"
            if declared.size == used.size and declared.crop is not None
            else f"it declares {declared.size} px"
            if declared.size is not None
            else "it declares no size"
        )
        other = (
            f"; it declares {declared.interpolation}, bicubic was used"
            if declared.interpolation not in (None, "bicubic")
            else ""
        )
        notes = "".join(f"; {note}" for note in one.facts.notes)
        start = "random weights" if one.facts.start == "random" else "pre-trained"
        lines.append(f"{one.name}: {one.facts.architecture}, {start}, {how} ({same}){other}{notes}")
    return lines
