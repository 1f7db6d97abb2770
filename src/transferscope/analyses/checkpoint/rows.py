"""The rows of the choice of a checkpoint: outcomes, advice, and barriers to the last checkpoint's network."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from transferscope.analyses.checkpoint.settings import CheckpointSettings
from transferscope.analyses.contract import Task
from transferscope.analyses.final_metrics import (
    END_METRICS,
    Ends,
    by_interval,
    ends_of,
    gain,
    interval_columns,
    network_columns,
)
from transferscope.analyses.images import clusters_of, groups_of
from transferscope.context.study_network import StudyNetwork

if TYPE_CHECKING:
    from transferscope.context.context import Context

__all__ = ["advised_epoch", "barrier_rows", "end_rows", "loss_rows", "outcome_rows", "placed"]

_LEVELS = 5
_LEVEL = 3
"""Updates are counted to the fourth of five levels between the best start and the best value of all networks."""
_PROMISE, _PROOF = 0.9, 0.975
"""One-sided confidence of the limits of a promised regret, and of a proved one."""

Place = tuple[int, int]
"""Seed of a pre-training, and an epoch of it."""


def placed(task: Task) -> list[tuple[Place, StudyNetwork]]:
    """The networks of a task with the checkpoint that each is of."""
    return [((at[0], at[1]), member) for at, member in zip(task.settings["places"], task.members, strict=True)]


def outcome_rows(task: Task, context: "Context", asked: CheckpointSettings) -> Iterator[dict[str, Any]]:
    """Of all fine-tuned networks: ends, updates, losses against the last checkpoint, and an advice for each run."""
    members: dict[Place, list[StudyNetwork]] = {}
    for place, member in placed(task):
        members.setdefault(place, []).append(member)
    ends = ends_of([(_role(place), one) for place, of in members.items() for one in of], context)
    seeds = list(dict.fromkeys(member.seed for member in task.members))
    yield from end_rows(ends, list(members), seeds)
    yield from _update_rows(members, context)
    for pretraining in dict.fromkeys(run for run, _ in members):
        of_run = {epoch: of for (run, epoch), of in members.items() if run == pretraining}
        losses = list(loss_rows(ends, pretraining, list(of_run)))
        yield from losses
        yield from _advice_rows(pretraining, advised_epoch(losses, max(of_run), asked.margin), of_run, context, asked)


def _role(place: Place) -> str:
    return f"{place[0]} {place[1]}"


def end_rows(ends: Ends, places: list[Place], seeds: list[int]) -> Iterator[dict[str, Any]]:
    """Each network and the mean of each checkpoint, for final metric and speed."""
    for place in places:
        base = _base(place, ends)
        for quantity in END_METRICS:
            row = {**base, "quantity": quantity[0], "split": quantity[1]}
            yield from ({**row, **network_columns(ends, quantity, _role(place), seed)} for seed in seeds)
            yield {**row, "level": "checkpoint", **interval_columns(by_interval(ends, quantity, _role(place)))}


def _base(place: Place, ends: Ends) -> dict[str, Any]:
    lost = any(role == _role(place) for role, _ in ends.lost)
    return {"pretraining": place[0], "epoch": place[1], "diverged": lost}


def loss_rows(ends: Ends, pretraining: int, epochs: list[int]) -> Iterator[dict[str, Any]]:
    """What every earlier checkpoint loses against the last, paired by seed.

    Simultaneous limits are one-sided ones of 95 %, for all earlier checkpoints at once.

    Args:
        ends: values by pre-training and epoch.
        pretraining: its seed.
        epochs: its checkpoints.
    """
    from transferscope.measures.families import bonferroni_confidence

    *earlier, last = sorted(epochs)
    sided = bonferroni_confidence(len(earlier), 0.90)
    for epoch in earlier:
        for split in ("validation", "test"):
            roles = _role((pretraining, last)), _role((pretraining, epoch))
            single, family = (gain(ends, ("metric", split), *roles, level) for level in (0.95, sided))
            yield {**_base((pretraining, epoch), ends), "level": "loss", "quantity": "metric", "split": split,
                   **interval_columns(single, family)}  # fmt: skip


def advised_epoch(losses: "list[Mapping[str, Any]] | list[dict[str, Any]]", last: int, margin: float) -> int:
    """The earliest checkpoint whose loss on validation data is surely below a margin; the last where none is.

    Args:
        losses: rows of :func:`loss_rows` of one pre-training; those on test data are not looked at.
        last: its last checkpoint.
        margin: the largest loss that counts as nothing.
    """
    kept = [
        row["epoch"]
        for row in losses
        if row["split"] == "validation" and row["simultaneous_high"] is not None and row["simultaneous_high"] < margin
    ]
    return min(kept, default=last)


def _update_rows(members: Mapping[Place, list[StudyNetwork]], context: "Context") -> Iterator[dict[str, Any]]:
    """How many updates each network takes to a threshold that all share."""
    from transferscope.measures.curves import common_thresholds, steps_to_threshold

    curves: dict[tuple[Place, int], dict[int, float]] = {}
    updates: dict[tuple[Place, int], dict[int, int]] = {}
    for place, of in members.items():
        for member in of:
            if context.diverged(member.spec):
                continue
            history = context.history(member.spec).filter(pl.col("train_metric").is_not_null())
            curves[place, member.seed] = dict(history.select("epoch", "train_metric").iter_rows())
            updates[place, member.seed] = dict(history.select("epoch", "updates").iter_rows())
    known = [curve for curve in curves.values() if curve]
    levels = common_thresholds(known, _LEVELS) if known else []
    if not levels:
        return
    for (place, seed), curve in curves.items():
        reached = steps_to_threshold(curve, levels[_LEVEL]).epoch if curve else None
        yield {
            "level": "network", "pretraining": place[0], "epoch": place[1], "seed": seed, "quantity": "updates",
            "split": "train", "value": None if reached is None else float(updates[place, seed][reached]), "n": 1,
            "threshold": levels[_LEVEL], "diverged": False, "note": "never reached" if reached is None else None,
        }  # fmt: skip


def _advice_rows(
    pretraining: int,
    epoch: int,
    of_run: Mapping[int, list[StudyNetwork]],
    context: "Context",
    asked: CheckpointSettings,
) -> Iterator[dict[str, Any]]:
    """What is promised of an advice on validation data, and what test data prove."""
    from transferscope.measures.regret import arm_metrics, expected_regret

    finished = {at: [one for one in of if not context.diverged(one.spec)] for at, of in of_run.items()}
    arms = [at for at, of in finished.items() if of]
    base = {"level": "advice", "pretraining": pretraining, "epoch": epoch,
            "diverged": any(len(finished[at]) < len(of_run[at]) for at in of_run)}  # fmt: skip
    kinds: tuple[tuple[str, Literal["validation", "test"], float], ...] = (
        ("expected_regret", "validation", _PROMISE), ("proved_regret", "test", _PROOF),
    )  # fmt: skip
    for quantity, split, confidence in kinds:
        row = {**base, "quantity": quantity, "split": split}
        if epoch not in arms or len(arms) < 2:
            yield {**row, "n": 0, "note": "fewer than two checkpoints have a finished network, or not the advised one"}
            continue
        outputs = [[context.outputs(one.spec, split).logits for one in finished[at]] for at in arms]
        known = arm_metrics(
            outputs, context.labels(split), context.study.metric, groups_of(context, split), asked.n_bootstrap,
            context.seed("checkpoint", split),
        )  # fmt: skip
        regret = expected_regret(
            known.means, known.covariance, known.n, arms.index(epoch), confidence=confidence,
            seed=context.seed("checkpoint regret", split),
        )  # fmt: skip
        best = regret.probability_best if quantity == "expected_regret" else None
        yield {**row, **interval_columns(regret.interval), "probability_best": best}


def barrier_rows(task: Task, context: "Context", asked: CheckpointSettings) -> Iterator[dict[str, Any]]:
    """Error barriers between the networks of one seed from a checkpoint and from the last one."""
    from transferscope.methods.landscape.linear_path import alpha_grid, linear_path

    networks = placed(task)
    clusters = clusters_of(context, asked.limits)
    for (place, first), (_, second) in zip(networks[::2], networks[1::2], strict=True):
        if context.diverged(first.spec) or context.diverged(second.spec):
            continue
        path = linear_path(
            context.network(first.spec),
            context.network(second.spec),
            asked.data(context),
            evaluation=asked.evaluation(context),
            alphas=alpha_grid(asked.points, 0),
        )
        for split in asked.limits:
            height = path.barrier(split, "error", clusters[split]).mean
            yield {
                "level": "barrier", "pretraining": place[0], "epoch": place[1], "seed": first.seed,
                "quantity": "error_barrier", "split": split, "diverged": False,
                **interval_columns(height.interval), "value": height.value,
            }  # fmt: skip
