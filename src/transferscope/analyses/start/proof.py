"""The proof of a search: what the chosen arm is expected to lose, and what it lost on test data."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from transferscope.analyses.halving import Search
from transferscope.analyses.images import groups_of
from transferscope.analyses.start.arms import Arm, table_place

if TYPE_CHECKING:
    from torch import Tensor

    from transferscope.analyses.contract import Task
    from transferscope.analyses.halving import Score
    from transferscope.context.context import Context
    from transferscope.context.study_network import StudyNetwork
    from transferscope.measures.regret import ArmMetrics

__all__ = ["FINALIST", "Entrant", "entrants_of", "judged_metric", "proof_rows"]

Role = Literal["finalist", "default", "dropped"]
FINALIST: Role = "finalist"
DEFAULT: Role = "default"
DROPPED: Role = "dropped"


@dataclass(frozen=True)
class Entrant:
    """An arm in the proof.

    Attributes:
        arm: which.
        role: ``finalist`` and ``default`` are trained with the report seeds; ``dropped`` was left earlier.
        epochs: of its longest training.
        gain: what it would still gain on validation data until the last rung, as those gained that were trained on.
        gain_error: how far those differ in it.
    """

    arm: Arm
    role: Role
    epochs: int
    gain: float = 0.0
    gain_error: float = 0.0

    @property
    def proved(self) -> bool:
        """Whether it is trained with the report seeds."""
        return self.role != DROPPED


def entrants_of(
    search: Search[Arm], scores: "Mapping[tuple[Arm, int], Score]", default: Arm, finalists: int, epochs: int
) -> tuple[Entrant, ...]:
    """Who is in the proof: the first finalists, the default, and every arm that was left on the way without diverging.

    Args:
        search: that is finished.
        scores: of every arm after every rung.
        default: is proved whatever the search found.
        finalists: at most so many.
        epochs: of the report runs.
    """
    first = search.finalists[:finalists]
    entrants = [Entrant(arm, DEFAULT if arm == default else FINALIST, epochs) for arm in first]
    if default not in first:
        entrants.append(Entrant(default, DEFAULT, epochs))
    known = {entrant.arm for entrant in entrants}
    last = max(search.asked)
    for rung, arms in search.asked.items():
        gains = [
            max(0.0, later - now)
            for arm in search.asked[last]
            if (now := _metric(scores, arm, rung)) is not None and (later := _metric(scores, arm, last)) is not None
        ]
        gain = sum(gains) / len(gains) if gains else 0.0
        # One gain says nothing of how gains differ: it is taken to be as uncertain as it is large.
        error = max(abs(each - gain) for each in gains) if len(gains) > 1 else gain
        for arm in arms:
            longest = max(each for each, asked in search.asked.items() if arm in asked)
            if rung == longest and arm not in known and _metric(scores, arm, rung) is not None:
                entrants.append(Entrant(arm, DROPPED, rung, gain, error))
    return tuple(entrants)


def _metric(scores: "Mapping[tuple[Arm, int], Score]", arm: Arm, rung: int) -> float | None:
    score = scores.get((arm, rung))
    return score.metric if score is not None and score.sound else None


@dataclass(frozen=True)
class _Judged:
    """The arms that are compared on one split."""

    arms: Sequence[Mapping[str, Any]]
    metrics: "ArmMetrics"
    logits: "Sequence[Sequence[Tensor]]"


def proof_rows(task: "Task", context: "Context", names: Sequence[str], draws: int) -> Iterable[dict[str, Any]]:
    """The rows of the proof: every proved arm, the choice with its promise, and what it lost.

    Args:
        task: its settings hold the arms, each with how many of the members are its networks, in order.
        context: gives what they say.
        names: of the candidates.
        draws: of the bootstrap.
    """
    lost: set[Arm] = set()
    arms: list[Mapping[str, Any]] = []
    at = 0
    for place in task.settings["arms"]:
        members = task.members[at : at + place["members"]]
        at += place["members"]
        known = Arm(place["candidate"], place["start"], place["learning_rate"])
        arm: Mapping[str, Any] = {**place, "arm": known, "networks": members}
        if any(context.diverged(member.spec) for member in members):
            lost.add(arm["arm"])
        arms.append(arm)
    for arm in arms:
        if arm["arm"] in lost and arm["role"] != DROPPED:
            yield {**_arm_row(arm, names), "split": "validation", "n": 0, "diverged": True}
    sound = [arm for arm in arms if arm["arm"] not in lost]
    proved = [arm for arm in sound if arm["role"] != DROPPED]
    if not proved:
        return
    validation = _judged(sound, "validation", context, draws)
    test = _judged(proved, "test", context, draws)
    for found, split in ((validation, "validation"), (test, "test")):
        for number, arm in enumerate(found.arms):
            if arm["role"] != DROPPED:
                yield {**_arm_row(arm, names), "split": split, **_over_seeds(found, number)}
    yield from _choice_rows(validation, test, context, names, draws)


def _arm_row(arm: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    place = table_place(names, arm["arm"])
    return {"level": "arm", **place, "role": arm["role"], "epochs": arm["epochs"], "quantity": "metric"}


def _judged(
    arms: Sequence[Mapping[str, Any]], split: Literal["validation", "test"], context: "Context", draws: int
) -> _Judged:
    from transferscope.measures.regret import arm_metrics

    logits = [[context.outputs(member.spec, split).logits for member in arm["networks"]] for arm in arms]
    labels, groups = context.labels(split), groups_of(context, split)
    found = arm_metrics(logits, labels, context.study.metric, groups, draws, context.seed("start", split))
    return _Judged(arms, found, logits)


def _over_seeds(found: _Judged, number: int) -> dict[str, Any]:
    """Mean over seeds, with its standard error over examples and seeds."""
    value, error = float(found.metrics.means[number]), math.sqrt(found.metrics.covariance[number, number])
    return {"value": value, "error": error, "n": len(found.logits[number])}


def _choice_rows(
    validation: _Judged, test: _Judged, context: "Context", names: Sequence[str], draws: int
) -> Iterable[dict[str, Any]]:
    """The promise on validation data, and its proof on test data."""
    import numpy as np

    from transferscope.measures.regret import expected_regret

    gains = np.array([arm["gain"] for arm in validation.arms])
    errors = np.array([arm["gain_error"] for arm in validation.arms])
    means = validation.metrics.means + gains
    covariance = validation.metrics.covariance + np.diag(errors**2)
    among = [number for number, arm in enumerate(validation.arms) if arm["role"] != DROPPED]
    # Of arms that are as good the first is taken: finalists come best first.
    chosen = max(among, key=lambda number: (means[number], -number))
    arm = validation.arms[chosen]
    seed = context.seed("start", "regret")
    promise = expected_regret(means, covariance, validation.metrics.n, chosen, draws=20_000, seed=seed)
    base = {"level": "choice", **table_place(names, arm["arm"]), "role": arm["role"], "epochs": arm["epochs"]}
    note = None
    if validation.metrics.spread is None:
        note = "one seed of each arm: what seeds do is not in it"
    elif any(each["role"] == DROPPED for each in validation.arms):
        note = "arms that were dropped are taken to gain on average what those gained that were trained on"
    yield {
        **base, "quantity": "expected_regret", "split": "validation", "value": promise.interval.value,
        "low": 0.0, "high": promise.interval.high, "basis": "examples", "n": promise.interval.n, "note": note,
    }  # fmt: skip
    yield {
        **base, "quantity": "probability_best", "split": "validation", "value": promise.probability_best,
        "n": promise.interval.n,
    }  # fmt: skip
    place = [each["arm"] for each in test.arms].index(arm["arm"])
    measured = test.metrics.means
    proof = expected_regret(
        measured, test.metrics.covariance, test.metrics.n, place, confidence=0.975, draws=20_000, seed=seed
    )  # fmt: skip
    value = float(measured.max() - measured[place])
    assert proof.interval.low is not None
    assert proof.interval.high is not None
    yield {
        **base, "quantity": "proved_regret", "split": "test", "value": value, "basis": "examples",
        "low": min(value, proof.interval.low), "high": max(value, proof.interval.high), "n": proof.interval.n,
        "note": "no other arm was proved" if len(measured) == 1 else None,
    }  # fmt: skip
    default = next((number for number, each in enumerate(test.arms) if each["role"] == DEFAULT), None)
    if default is not None and default != place:
        yield {**base, "quantity": "gain_over_default", "split": "test", **_gain(test, place, default, context, draws)}


def _gain(test: _Judged, chosen: int, default: int, context: "Context", draws: int) -> dict[str, Any]:
    """Chosen minus default on test data: over seeds, which pair, where there are three; else over examples."""
    from transferscope.bounds import DIFFERENCE
    from transferscope.measures.intervals import paired_seeds_interval
    from transferscope.measures.metric_difference import gap_over_examples
    from transferscope.measures.metrics import metric

    labels, name = context.labels("test"), context.study.metric
    both = [[metric(logits, labels, name) for logits in test.logits[number]] for number in (chosen, default)]
    seeds = paired_seeds_interval(both[0], both[1], bounds=DIFFERENCE)  # type: ignore[arg-type] # defined: arm_metrics
    if seeds.basis == "seeds" and seeds.low is not None:
        found = seeds
    else:
        groups = groups_of(context, "test")
        seed = context.seed("start", "gain")
        found = gap_over_examples(test.logits[chosen], test.logits[default], labels, name, groups, draws, seed)
    return {
        "value": found.value, "low": found.low, "high": found.high, "basis": found.basis, "n": found.n,
        "note": found.note or None,
    }  # fmt: skip


def judged_metric(
    member: "StudyNetwork", split: Literal["validation", "test"], context: "Context"
) -> dict[str, float | int | None]:
    """The metric of one network, with the limits that its images give it.

    Args:
        member: the network.
        split: whose images.
        context: gives what it says of them.

    Returns:
        ``metric, metric_low, metric_high, images``; None where it is not defined.
    """
    from transferscope.measures.metric_error import metric_error
    from transferscope.measures.metrics import metric

    outputs, name = context.outputs(member.spec, split), context.study.metric
    value = metric(outputs.logits, outputs.labels, name)
    error = metric_error(value, outputs.labels.numpy(), name, groups_of(context, split))
    found: dict[str, float | int | None] = {"metric": value, "images": len(outputs.labels)}
    if value is None or error is None:
        return found | {"metric_low": None, "metric_high": None}
    return found | {"metric_low": max(0.0, value - 1.96 * error), "metric_high": min(1.0, value + 1.96 * error)}
