"""The study that confirms a ranking: its first candidates fine-tuned, on validation data, then proved on test data."""

from pathlib import Path
from typing import Any

from transferscope.errors import StudyError
from transferscope.scores.candidates import RANDOM
from transferscope.scores.result import CandidateScores, Scores
from transferscope.study.edit import with_settings
from transferscope.study.file import parse_study
from transferscope.study.template import Found, Model, starter_study
from transferscope.study.yaml import write_flow

__all__ = ["confirming_study"]


def confirming_study(scores: Scores, count: int, found: Found, path: Path) -> str:
    """The text of a study that fine-tunes the first candidates, each on images of the size it was scored at.

    Args:
        scores: the ranking.
        count: how many of its first.
        found: the data.
        path: where the study will lie.

    Raises:
        StudyError: the first are random starts alone, or the settings do not hold together.
    """
    first = scores.candidates[:count]
    trained = [one for one in first if one.weights]
    if not trained:
        raise StudyError(
            f"the first {count} have no weights: there is nothing to fine-tune",
            expected="a pre-trained candidate among them",
            got=", ".join(one.name for one in first),
            hint="--confirm with more of them, or train from scratch",
        )
    source = trained[0]
    model = Model(source.facts.architecture, source.weights, "The first by its scores.")
    settings: dict[str, Any] = {
        "candidates": [_candidate(one) for one in trained[1:]],
        "random_starts": _random_starts(first, source),
        "finalists": len(first),
    }
    changes = [
        f"target.image_size={source.facts.used.size}",
        f"analyses={write_flow([{'start': settings}])}",
    ]
    text = with_settings(starter_study(path.stem, found, model, path.parent), path, changes)
    parse_study(text, path, [])
    return text


def _candidate(one: CandidateScores) -> dict[str, Any]:
    return {"architecture": one.facts.architecture, "weights": one.weights, "image_size": one.facts.used.size}


def _random_starts(first: tuple[CandidateScores, ...], source: CandidateScores) -> str:
    drawn = [one for one in first if one.facts.start == RANDOM]
    if not drawn:
        return "none"
    return "source" if all(one.facts.architecture == source.facts.architecture for one in drawn) else "all"
