"""The rows of one ablation: its networks, their means, the gap between them and what it is on whole images."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from transferscope.analyses.block_shuffle.differences import Run, difference_row, gap_row, mean_row
from transferscope.analyses.contract import Task
from transferscope.analyses.images import groups_of
from transferscope.context.resolved_study import TRAINED
from transferscope.context.study_network import StudyNetwork
from transferscope.measures.curves import optimisation_speed, still_improving
from transferscope.measures.metric_difference import gap_over_examples
from transferscope.measures.metrics import chance_level

if TYPE_CHECKING:
    from transferscope.context.context import Context

__all__ = ["rows_of"]

_GAP = "P_T − RI_T"
_STARTS = {"P_T": "P", "RI_T": "RI"}

Place = tuple[int, int | None]


def rows_of(task: Task, context: "Context", facts: Mapping[str, Any], whole: bool, draws: int) -> list[dict[str, Any]]:
    """All rows of one task.

    Args:
        task: trainings on ablated images and, unless ``whole``, those on whole images to compare with.
        context: gives histories and logits.
        facts: columns that all rows share.
        whole: the ablation changes nothing.
        draws: bootstrap draws of the interval over examples.
    """
    metric, classes = context.study.metric, len(context.study.class_names)
    chance = chance_level(metric, classes)
    shared = {**facts, "chance": chance}
    own = [member for member in task.members if whole or _ablation(member) is not None]
    keys = {member.spec.key for member in own}
    histories = {member.spec.key: context.history(member.spec) for member in task.members}
    lost = {member.spec.key for member in task.members if context.diverged(member.spec)}
    speeds = _speeds(task, histories, lost)
    rows: list[dict[str, Any]] = []
    runs: dict[bool, dict[str, dict[Place, Run]]] = {here: {name: {} for name in TRAINED} for here in (True, False)}
    starts: dict[str, dict[Place, Run]] = {_STARTS[variant]: {} for variant in TRAINED}
    for member in task.members:
        key, place = member.spec.key, _place(member)
        last = histories[key].row(-1, named=True)
        if key not in lost and last["test_metric"] is not None:
            run = Run(last["test_metric"], speeds.get(key))
            runs[key in keys][member.variant][place] = run
        if key not in keys:
            continue
        rows.append(_network_row(member, histories[key], key in lost, speeds.get(key)) | shared)
        start = histories[key].row(0, named=True)
        rows.append(_start_row(member, start) | shared)
        if start["test_metric"] is not None:
            starts[_STARTS[member.variant]][place] = Run(start["test_metric"], None)
    for variant, found in {**starts, **runs[True]}.items():
        if found:
            gone = any(member.variant == variant and member.spec.key in lost for member in own)
            rows.append({"level": "variant", "variant": variant, "diverged": gone, **shared, **mean_row(found)})
    common = {"variant": _GAP, "diverged": any(member.spec.key in lost for member in own), **shared}
    count = task.settings["ablations"]
    mine = (runs[True]["P_T"], runs[True]["RI_T"])
    gap = gap_row(*mine, metric, chance, count)
    if gap is None:
        return rows
    rows.append({"level": "gap", **common, **gap})
    rows.append({"level": "gap", **common, **_over_examples(own, mine, context, draws)})
    if not whole:
        difference = difference_row(mine, (runs[False]["P_T"], runs[False]["RI_T"]), count - 1)
        if difference is not None:
            rows.append({"level": "difference", **common, **difference})
    return rows


def _ablation(member: StudyNetwork) -> Any:
    assert member.spec.data is not None
    return member.spec.data.ablation


def _place(member: StudyNetwork) -> Place:
    return member.seed, getattr(_ablation(member), "seed", None)


def _speeds(task: Task, histories: Mapping[str, Any], lost: set[str]) -> dict[str, float]:
    curves = {}
    for member in task.members:
        key = member.spec.key
        epochs = histories[key].select("epoch", "train_metric").drop_nulls()
        if key not in lost and not epochs.is_empty():
            curves[key] = dict(epochs.iter_rows())
    values = optimisation_speed(list(curves.values())) if curves else None
    return {} if values is None else dict(zip(curves, values, strict=True))


def _network_row(member: StudyNetwork, history: Any, lost: bool, speed: float | None) -> dict[str, Any]:
    recipe = member.spec.recipe
    assert recipe is not None
    last = history.row(-1, named=True)
    names = ("train_metric", "validation_metric", "test_metric")
    validation = dict(history.select("epoch", "validation_metric").drop_nulls().iter_rows())
    trend = None if lost else still_improving(validation) if validation else None
    return {
        "level": "network",
        "variant": member.variant,
        "seed": member.seed,
        "permutation_seed": _place(member)[1],
        "learning_rate": recipe.learning_rate,
        "epochs": recipe.epochs,
        **{name: None if lost else last[name] for name in names},
        "speed": speed,
        "n": 1,
        "improving": None if trend is None else trend.improving,
        "diverged": lost,
        "network": member.spec.key,
    }


def _start_row(member: StudyNetwork, start: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "level": "network",
        "variant": _STARTS[member.variant],
        "seed": member.seed,
        "permutation_seed": _place(member)[1],
        "epochs": 0,
        **{name: start[name] for name in ("train_metric", "validation_metric", "test_metric")},
        "n": 1,
        "diverged": False,
        "network": member.spec.untrained().key,
    }


def _over_examples(
    own: list[StudyNetwork], runs: tuple[Mapping[Place, Run], Mapping[Place, Run]], context: "Context", draws: int
) -> dict[str, Any]:
    """The gap of these networks, averaged over seeds and orders, with its interval over test images."""
    places = [place for place in runs[0] if place in runs[1]]
    by_place = {(member.variant, _place(member)): member.spec for member in own}
    logits = [
        [context.outputs(by_place[variant, place], "test").logits for place in places] for variant in ("P_T", "RI_T")
    ]
    clusters = groups_of(context, "test")
    seed = context.seed("block_shuffle", _GAP)
    found = gap_over_examples(logits[0], logits[1], context.labels("test"), context.study.metric, clusters, draws, seed)
    return {
        "test_metric": found.value,
        "test_low": found.low,
        "test_high": found.high,
        "basis": found.basis,
        "n": found.n,
    }
