"""Scores of a frozen checkpoint on the target, without fine-tuning, and how good it is at its own task."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import polars as pl

from transferscope.analyses.checkpoint.rows import placed
from transferscope.analyses.checkpoint.settings import CheckpointSettings
from transferscope.analyses.contract import Task
from transferscope.context.resolved_study import ResolvedStudy
from transferscope.specs.network import Checkpoint

if TYPE_CHECKING:
    from torch import Tensor

    from transferscope.context.context import Context
    from transferscope.specs.network import NetworkSpec

__all__ = ["SCORES", "score_rows"]


class FrozenCheckpoint(NamedTuple):
    """What a frozen checkpoint gives: features and labels of both splits, and what its own head says."""

    study: ResolvedStudy
    asked: CheckpointSettings
    train: "Tensor"
    labels: "Tensor"
    targets: "Tensor"
    validation: "Tensor"
    validation_labels: "Tensor"
    source_logits: "Tensor"


@dataclass(frozen=True)
class Score:
    """One score.

    Attributes:
        of: its value; None where it is not defined.
        split: on which it is computed; those on validation images are fitted on training images.
        several: whether it is defined where several labels hold at once.
    """

    of: "Callable[[FrozenCheckpoint], float | None]"
    split: Literal["train", "validation"] = "train"
    several: bool = True


def _probe(frozen: FrozenCheckpoint) -> float | None:
    from transferscope.methods.similarity.linear_probe import linear_probe

    return linear_probe(
        (frozen.train, frozen.labels), (frozen.validation, frozen.validation_labels), len(frozen.study.class_names),
        frozen.asked.penalties, task=frozen.study.task, metric_name=frozen.study.metric,
    ).validation_metric  # fmt: skip


def _neighbours(frozen: FrozenCheckpoint) -> float | None:
    from transferscope.measures.logistic import scaling
    from transferscope.measures.metrics import metric
    from transferscope.measures.neighbours import neighbour_votes

    scale = scaling(frozen.train)
    known, questions = scale.apply(frozen.train), scale.apply(frozen.validation)
    votes = neighbour_votes(known, frozen.targets, questions, frozen.asked.neighbours)
    return metric(votes.float(), frozen.validation_labels, frozen.study.metric)


def _logme(frozen: FrozenCheckpoint) -> float | None:
    from transferscope.measures.logme import logme

    return logme(frozen.train, frozen.targets).value


def _h_score(frozen: FrozenCheckpoint) -> float | None:
    from transferscope.measures.h_score import h_score

    return h_score(frozen.train, frozen.labels).value


def _leep(frozen: FrozenCheckpoint) -> float | None:
    from transferscope.measures.label_transfer import leep

    return leep(frozen.source_logits.double().softmax(1), frozen.labels)


def _nce(frozen: FrozenCheckpoint) -> float | None:
    from transferscope.measures.label_transfer import nce

    return nce(frozen.source_logits.argmax(1), frozen.labels)


SCORES: Mapping[str, Score] = {
    "linear_probe": Score(_probe, "validation"),
    "nearest_neighbours": Score(_neighbours, "validation"),
    "logme": Score(_logme),
    "h_score": Score(_h_score, several=False),
    "leep": Score(_leep, several=False),
    "nce": Score(_nce, several=False),
}
"""By key. A higher one is better in all of them."""


def score_rows(task: Task, context: "Context", asked: CheckpointSettings) -> Iterator[dict[str, Any]]:
    """Scores of a frozen checkpoint, and its metric on its own task."""
    ((place, member),) = placed(task)
    base = {"pretraining": place[0], "epoch": place[1], "n": 1, "diverged": False}
    start = member.spec.start
    assert isinstance(start, Checkpoint)
    history = context.history(start.of)
    for row in history.filter(pl.col("epoch") == place[1]).iter_rows(named=True):
        for split in ("train", "validation", "test"):
            value = row[f"{split}_metric"]
            note = None if value is not None else "not measured, or not defined"
            yield {**base, "level": "pretraining", "quantity": "metric", "split": split, "value": value, "note": note}
    frozen = _frozen(member.spec, start, context, asked)
    unusable = _unusable(frozen.train, frozen.validation)
    for name, score in SCORES.items():
        note = unusable
        if not score.several and context.study.multi_label:
            note = "not defined where several labels hold at once"
        value = None if note else score.of(frozen)
        note = note or (None if value is not None else "the metric is not defined for these labels")
        yield {**base, "level": "score", "quantity": name, "split": score.split, "value": value, "note": note}


def _frozen(spec: "NetworkSpec", start: Checkpoint, context: "Context", asked: CheckpointSettings) -> FrozenCheckpoint:
    from torch.nn import functional

    from transferscope.networks.features import FEATURES

    train, validation = (
        context.features(spec, split, "stage", None, [FEATURES]).tables[FEATURES] for split in ("train", "validation")
    )
    labels = context.labels("train")
    several = labels.ndim == 2
    targets = labels.double() if several else functional.one_hot(labels, len(context.study.class_names)).double()
    # With the head of its own task in place of a new one.
    own = {"start": start.model_copy(update={"new_head": False}), "classes": start.of.classes}
    logits = context.outputs(spec.model_copy(update=own), "train").logits
    judged = context.labels("validation")
    return FrozenCheckpoint(context.study, asked, train, labels, targets, validation, judged, logits)


def _unusable(train: "Tensor", validation: "Tensor") -> str | None:
    if not all(bool(side.isfinite().all()) for side in (train, validation)):
        return "features are not finite"
    return None if bool((train != train[0]).any()) else "no feature differs between images"
