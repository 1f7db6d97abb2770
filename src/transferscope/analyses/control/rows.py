"""The rows of the control initialisations, from histories: no network is run."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from transferscope.analyses.contract import Task
from transferscope.analyses.final_metrics import (
    END_METRICS,
    Ends,
    by_interval,
    ends_of,
    gain,
    interval_columns,
    network_columns,
    share,
)
from transferscope.context.resolved_study import TRAINED
from transferscope.context.study_network import StudyNetwork
from transferscope.specs.network import Checkpoint

if TYPE_CHECKING:
    from transferscope.context.context import Context

__all__ = ["UNRELATED", "ends_rows", "report_rows"]

UNRELATED = "unrelated"
"""The control that was pre-trained on an unrelated source."""


def _of(member: StudyNetwork) -> dict[str, Any]:
    assert member.spec.recipe is not None
    return {"variant": member.variant, "seed": member.seed, "learning_rate": member.spec.recipe.learning_rate}


def ends_rows(task: Task, context: "Context") -> list[dict[str, Any]]:
    """Report runs, from their histories; and what an unrelated source was taught, where there is one."""
    ends = ends_of([(member.variant, member) for member in task.members], context)
    networks = [(member.variant, member.seed, _of(member)["learning_rate"]) for member in task.members]
    return [*report_rows(ends, networks), *_taught(task, context)]


def _taught(task: Task, context: "Context") -> Iterator[dict[str, Any]]:
    """On how many images P and the unrelated network were trained."""
    firsts = {member.variant: member for member in reversed(task.members)}
    if UNRELATED not in firsts:
        return
    for variant in ("P_T", UNRELATED):
        start = firsts[variant].spec.start
        count = None
        if isinstance(start, Checkpoint):
            assert start.of.data is not None  # a checkpoint is of a trained network
            count = len(context.splits(start.of.data)["train"])
        yield {
            "level": "source",
            "variant": variant,
            "learning_rate": _of(firsts[variant])["learning_rate"],
            "quantity": "images",
            "split": "train",
            "value": count,
            "n": 1,
            "diverged": False,
            "note": None if count is not None else "given weights: not known",
        }


def report_rows(ends: Ends, networks: Iterable[tuple[str, int, float]]) -> list[dict[str, Any]]:
    """The rows of report runs: each network, means, gains over RI-T, and shares of P-T's gain.

    Args:
        ends: values by variant.
        networks: variant, seed and learning rate of each.
    """
    from transferscope.measures.families import bonferroni_confidence

    runs = list(networks)
    rates = {variant: rate for variant, _, rate in runs}
    controls = [variant for variant in rates if variant not in TRAINED]
    together = bonferroni_confidence(len(controls))
    rows: list[dict[str, Any]] = []
    for quantity in END_METRICS:
        common = {"quantity": quantity[0], "split": quantity[1]}
        for variant, seed, rate in runs:
            row = {**common, "variant": variant, "learning_rate": rate}
            rows.append({**row, **network_columns(ends, quantity, variant, seed)})
        for variant, rate in rates.items():
            lost = any(role == variant for role, _ in ends.lost)
            row = {**common, "variant": variant, "learning_rate": rate, "diverged": lost}
            rows.append({**row, "level": "variant", **interval_columns(by_interval(ends, quantity, variant))})
            if variant == "RI_T":
                continue
            difference = gain(ends, quantity, variant, "RI_T")
            rows.append({**row, "level": "gain", **interval_columns(difference)})
            if variant in controls:
                single = share(ends, quantity, variant, "RI_T", "P_T")
                family = share(ends, quantity, variant, "RI_T", "P_T", together)
                rows.append({**row, "level": "share", **interval_columns(single, family)})
    return rows
