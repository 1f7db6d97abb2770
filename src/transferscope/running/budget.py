"""How much of a search over starts fits a budget of time, by measured training steps; and what stays undecided."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from transferscope.analyses.start.analysis import StartAnalysis
from transferscope.context.context import Context
from transferscope.context.resolve import speed
from transferscope.errors import OptionError

__all__ = ["EFFORTS", "Effort", "Fitted", "fitted", "search_seconds"]

_EVALUATION = 0.25
"""A forward pass costs about a quarter of a training step per image, as in a plan."""
_SLACK = 1.25
"""What passes beside training steps: reading, writing, a machine that is busy with other things."""
_START = 20.0
"""Seconds in which a command starts and writes a report."""


@dataclass(frozen=True)
class Effort:
    """How thorough a search is.

    Attributes:
        epochs: of the longest trainings.
        seeds: report seeds of the proof.
        finalists: proved beside the default.
        random_starts: as in the analysis ``start``.
    """

    epochs: int
    seeds: int
    finalists: int
    random_starts: Literal["all", "source", "none"]

    @property
    def settings(self) -> Mapping[str, Any]:
        """Of the study, by name: what is written into it."""
        return {
            "training.recipe.epochs": self.epochs,
            "training.extensions": 0,
            "seeds": list(range(self.seeds)),
        }


EFFORTS = (
    Effort(20, 3, 3, "all"),
    Effort(10, 3, 3, "all"),
    Effort(10, 3, 2, "source"),
    Effort(6, 3, 2, "source"),
    Effort(4, 3, 1, "source"),
    Effort(3, 2, 1, "source"),
    Effort(2, 2, 1, "none"),
    Effort(1, 1, 1, "none"),
)
"""From the most thorough to what says hardly anything."""


@dataclass(frozen=True)
class Fitted:
    """What fits.

    Attributes:
        effort: the most thorough that does.
        seconds: that it takes, about.
        left_out: what it does not decide, by key: ``random_starts``, ``seeds``, ``length``.
    """

    effort: Effort
    seconds: float
    left_out: tuple[str, ...]


def fitted(context: Context, analysis: StartAnalysis, budget: float) -> Fitted:
    """The most thorough search that fits.

    Args:
        context: of the study, whose candidates are looked up.
        analysis: of it.
        budget: in seconds.

    Raises:
        OptionError: not even the shortest search fits; it says what it would take.
    """
    epoch = _epoch_seconds(context, analysis)
    took = [(effort, search_seconds(context, analysis, effort, epoch)) for effort in EFFORTS]
    for effort, seconds in took:
        if seconds <= budget:
            return Fitted(effort, seconds, tuple(_left_out(effort, analysis)))
    least, enough = took[-1][1], took[-3][1]
    raise OptionError(
        "the budget is too small for any search",
        expected=f"--budget {_minutes(least)} at least, by the time that training steps take here; "
        f"{_minutes(enough)} for a choice with two seeds",
        got=f"{budget:.0f} s",
        hint=f"--budget {_minutes(enough)}, fewer --model, or --set target.fraction=0.5 for half of the pictures",
    )


def _minutes(seconds: float) -> str:
    return f"{max(1, -(-seconds // 60)):.0f}m"


def search_seconds(context: Context, analysis: StartAnalysis, effort: Effort, epoch: tuple[float, ...]) -> float:
    """What a search takes: its runs at the mean pace of the candidates, its proof at that of the slowest.

    Args:
        context: of the study.
        analysis: of it.
        effort: in place of the study's.
        epoch: seconds of an epoch, by candidate.
    """
    asked = analysis.model_copy(update={"random_starts": effort.random_starts, "finalists": effort.finalists})
    study = context.study
    settings = study.settings
    training = settings.training
    recipe = training.recipe.model_copy(update={"epochs": effort.epochs})
    tuned = training.model_copy(update={"recipe": recipe, "tuning_epochs": None})
    longer = replace(study, settings=settings.model_copy(update={"training": tuned}))
    arms = asked.arms(longer)
    run = sum(epoch[arm.candidate] for arm in arms) / len(arms)
    rule = asked.rule(longer)
    epochs = len(arms) * rule.rungs[0] + sum(rung * count for rung, count in rule.most(len(arms)).items())
    searched = epochs * run * len(training.tuning_seeds)
    proved = (effort.finalists + 1) * effort.seeds * effort.epochs * max(epoch)
    return _START + _SLACK * (searched + proved)


def _epoch_seconds(context: Context, analysis: StartAnalysis) -> tuple[float, ...]:
    """Seconds of an epoch of the source and each candidate, by training steps timed once per store."""
    study, splits = context.study, context.splits()
    count = {name: len(indices) for name, indices in splits.items()}
    train = count["train"]
    looked = min(train, study.settings.training.recipe.train_evaluation or train) + count["validation"] + count["test"]
    found = []
    for asked in (None, *analysis.candidates):
        network = study.candidate(asked)
        pace = speed(study.settings, context.store, network.architecture, network.data.image_size)
        per_second = pace["images_per_second"][f"float32 {network.memory_format}"]
        found.append((train + _EVALUATION * looked) / per_second)
    return tuple(found)


def _left_out(effort: Effort, analysis: StartAnalysis) -> Iterator[str]:
    if effort.random_starts == "none" or (effort.random_starts == "source" and analysis.candidates):
        yield "random_starts"
    if effort.seeds < 3:
        yield "seeds"
    if effort.epochs < EFFORTS[1].epochs:
        yield "length"
