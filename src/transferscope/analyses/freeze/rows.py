"""The rows of ``freeze``: gradients at the start, metrics of all arms, what they lose, and what they cost."""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Literal

import torch
from torch import Tensor

from transferscope.analyses.contract import Task
from transferscope.analyses.final_metrics import interval_columns
from transferscope.analyses.freeze.networks import FULL
from transferscope.analyses.images import groups_of
from transferscope.context.context import Context
from transferscope.context.study_network import StudyNetwork
from transferscope.data.batches import TrainingBatches
from transferscope.measures.families import bonferroni_confidence
from transferscope.measures.intervals import DIFFERENCE, SHARE, Interval, paired_seeds_interval, seeds_interval
from transferscope.measures.metric_difference import difference_over_examples, judged
from transferscope.measures.metrics import metric
from transferscope.measures.regret import arm_metrics
from transferscope.networks.heads import head_name
from transferscope.networks.modules import parts_parameters
from transferscope.specs.network import NetworkSpec
from transferscope.training.first_update import gradient_ratios, update_bytes

_Row = dict[str, Any]
_Logits = dict[str, dict[int, Tensor]]


def gradient_rows(
    task: Task, context: Context, count: int, granularity: Literal["stage", "block", "layer"]
) -> Iterator[_Row]:
    """Of the first network at its start, on its first training batches."""
    member, modules = task.members[0], task.settings["modules"]
    spec = member.spec
    assert spec.recipe is not None
    model = context.start(spec).to(context.device)
    owned = parts_parameters(model, granularity, head_name(model, spec.architecture))
    batches = list(islice(_training_batches(spec, context), count))
    ratios = gradient_ratios(
        model, batches, {module: owned[module] for module in modules}, spec.recipe, context.study.task
    )
    for place, (module, ratio) in enumerate(ratios.items()):
        yield {
            "level": "gradient", "module": module, "position": place, "modules": len(modules), "seed": member.seed,
            "quantity": "ratio", "split": "train", "value": ratio, "n": len(batches), "diverged": False,
        }  # fmt: skip


def _training_batches(spec: NetworkSpec, context: Context) -> TrainingBatches:
    assert spec.data is not None
    assert spec.recipe is not None
    data = spec.data
    return TrainingBatches(
        context.images(data), context.splits(data)["train"], data.mean, data.std, spec.recipe, spec.seed, 1,
        context.device, ablation=data.ablation,
    )  # fmt: skip


def arm_rows(task: Task, context: Context, n_bootstrap: int) -> Iterator[_Row]:
    """Metrics on validation and test data, losses against full fine-tuning, errors of the means, and costs."""
    by_arm: dict[str, list[StudyNetwork]] = {}
    for role, member in zip(task.settings["roles"], task.members, strict=True):
        by_arm.setdefault(role, []).append(member)
    common = {"modules": len(task.settings["modules"])}
    lost = {(arm, one.seed) for arm, members in by_arm.items() for one in members if context.diverged(one.spec)}
    # Full fine-tuning is in every unit: its rows are those of the first.
    own = [arm for arm in by_arm if arm != FULL or len(task.settings["k"]) > 0]
    for split in ("validation", "test"):
        logits: _Logits = {}
        values: dict[str, dict[int, float]] = {}
        labels = context.labels(split)
        for arm, members in by_arm.items():
            for member in members:
                value = None
                if (arm, member.seed) not in lost:
                    outputs = context.outputs(member.spec, split).logits
                    value = metric(outputs, labels, context.study.metric)
                if value is not None:
                    logits.setdefault(arm, {})[member.seed] = outputs
                    values.setdefault(arm, {})[member.seed] = value
        at = {**common, "quantity": "metric", "split": split}
        for arm in own:
            place = {**at, "arm": arm, "k": _count(arm)}
            diverged = any((arm, member.seed) in lost for member in by_arm[arm])
            for member in by_arm[arm]:
                here = (arm, member.seed) in lost
                value = values.get(arm, {}).get(member.seed)
                note = "diverged" if here else None if value is not None else "undefined for these labels"
                yield {**place, "level": "network", "seed": member.seed, "value": value, "n": 1, "diverged": here,
                       "note": note}  # fmt: skip
            if arm in values:
                mean = seeds_interval(list(values[arm].values()), bounds=SHARE)
                yield {**place, "level": "arm", **interval_columns(mean), "diverged": diverged}
            if arm != FULL:
                for row in _losses(arm, values, logits, split, context, n_bootstrap, max(1, len(task.settings["k"]))):
                    yield {**place, **row, "diverged": diverged}
        if split == "validation":
            yield from ({**at, **row} for row in _covariances(logits, task, labels, context, n_bootstrap))
    for arm in own:
        yield from ({**common, "arm": arm, "k": _count(arm), **row} for row in _costs(by_arm[arm], context))


def _count(arm: str) -> int:
    tail = arm.rpartition("_")[2]
    return int(tail) if tail.isdigit() else 0


def _losses(
    arm: str,
    values: Mapping[str, Mapping[int, float]],
    logits: _Logits,
    split: Literal["validation", "test"],
    context: Context,
    n_bootstrap: int,
    family: int,
) -> Iterator[_Row]:
    """Full fine-tuning − arm: over seeds and over examples, paired; simultaneous limits are one-sided for all k."""
    seeds = sorted(set(values.get(FULL, {})) & set(values.get(arm, {})))
    if not seeds:
        none = Interval(None, None, None, 0, None, note="no seed has a finished run of both")
        yield {"level": "loss", "over": "seeds", **interval_columns(none)}
        return
    one_sided = bonferroni_confidence(family, 0.90)
    full, own = ([values[of][seed] for seed in seeds] for of in (FULL, arm))
    single, family_limits = (paired_seeds_interval(full, own, level, DIFFERENCE) for level in (0.95, one_sided))
    yield {"level": "loss", "over": "seeds", **interval_columns(single, family_limits)}
    labels, name = context.labels(split), context.study.metric
    sides = [torch.stack([torch.from_numpy(judged(logits[of][seed], labels, name)) for seed in seeds]).numpy()
             for of in (FULL, arm)]  # fmt: skip
    clusters, drawn = groups_of(context, split), context.seed("freeze", split, arm)
    single, family_limits = (
        difference_over_examples(sides[0], sides[1], labels, name, clusters, n_bootstrap, drawn, level)
        for level in (0.95, one_sided)
    )
    limits = {"simultaneous_low": family_limits.low, "simultaneous_high": family_limits.high}
    yield {"level": "loss", "over": "examples", **interval_columns(single), **limits}


def _covariances(logits: _Logits, task: Task, labels: Tensor, context: Context, n_bootstrap: int) -> Iterator[_Row]:
    """Errors of the means of full fine-tuning and all k, among which is chosen."""
    arms = [arm for arm in dict.fromkeys(task.settings["roles"]) if arm in logits and (arm == FULL or _is_first(arm))]
    if len(arms) < 2:
        return
    known = arm_metrics(
        [list(logits[arm].values()) for arm in arms], labels, context.study.metric, groups_of(context, "validation"),
        n_bootstrap, context.seed("freeze", "arms"),
    )  # fmt: skip
    for row, arm in enumerate(arms):
        for column, other in enumerate(arms):
            yield {
                "level": "covariance", "arm": arm, "k": _count(arm), "other": other, "n": known.n, "diverged": False,
                "value": float(known.covariance[row, column]),
            }  # fmt: skip


def _is_first(arm: str) -> bool:
    return arm.startswith("first_")


def _costs(members: list[StudyNetwork], context: Context) -> Iterator[_Row]:
    """What the trainings took by their own record, and the memory of an update of the first."""
    for member in members:
        record = context.training_record(member.spec)
        kept = record.get("frozen_prefix") or {}
        epochs = [timing for timing in record.get("timings", ()) if timing["epoch"] > 0]
        if epochs:
            seconds = sum(timing["training_seconds"] + timing["evaluation_seconds"] for timing in epochs)
            seconds += kept.get("seconds", 0.0)
            yield {**_cost(member, "seconds_per_epoch", seconds / len(epochs)), "note": kept.get("why")}
        if kept:
            yield _cost(member, "kept_megabytes", kept["megabytes"])
    spec = members[0].spec
    assert spec.recipe is not None
    inputs, labels = next(iter(_training_batches(spec, context)))
    layout = torch.channels_last if spec.recipe.memory_format == "channels_last" else torch.contiguous_format
    model = context.start(spec).to(context.device).to(memory_format=layout)
    size = update_bytes(model, inputs, labels, spec.recipe, context.study.task)
    yield _cost(members[0], "update_megabytes", size / 1e6)


def _cost(member: StudyNetwork, quantity: str, value: float) -> _Row:
    return {"level": "cost", "seed": member.seed, "quantity": quantity, "split": "train", "value": value, "n": 1,
            "diverged": False}  # fmt: skip
