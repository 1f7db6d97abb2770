"""The rows of negative transfer: networks, and the gap of each candidate to RI-T."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from transferscope.analyses.contract import Task
from transferscope.analyses.final_metrics import (
    EndMetric,
    Ends,
    ends_of,
    gain,
    interval_columns,
    network_columns,
)
from transferscope.analyses.images import groups_of

if TYPE_CHECKING:
    from transferscope.context.context import Context
    from transferscope.measures.intervals import Interval

__all__ = ["CONTROL", "METRICS", "SOURCE", "Candidate", "at_rate", "gap_rows", "report_rows"]

SOURCE = "source"
"""The candidate that is the study's own pre-trained network."""
CONTROL = "permuted_labels"
"""The candidate that was pre-trained like the source, on labels that tell nothing."""
METRICS: tuple[EndMetric, ...] = (("metric", "validation"), ("metric", "test"))


@dataclass(frozen=True)
class Candidate:
    """A start that may do harm.

    Attributes:
        name: in the table.
        variant: of the networks trained from it.
        rival: of those trained from a random start.
        tuned: whether each of the two has its own best rate, or both have one.
    """

    name: str
    variant: str
    rival: str = "RI_T"
    tuned: bool = True


def at_rate(variant: str, rate: float) -> str:
    """What networks of a variant are called that were trained at a given rate.

    >>> at_rate("P_T", 0.1)
    'P_T_at_0.1'
    """
    return f"{variant}_at_{rate:g}"


def report_rows(
    task: Task, context: "Context", candidates: Sequence[Candidate], n_bootstrap: int
) -> Iterator[dict[str, Any]]:
    """The rows of one stage: read from histories, the interval over examples from the networks' answers.

    Args:
        task: its networks.
        context: of the study.
        candidates: that have networks in the task.
        n_bootstrap: draws of the interval over examples.
    """
    from transferscope.measures.curves import still_improving

    ends = ends_of([(member.variant, member) for member in task.members], context)
    stage, rates = task.settings["stage"], {}
    for member in task.members:
        assert member.spec.recipe is not None
        rates[member.variant] = member.spec.recipe.learning_rate
        history = context.history(member.spec)
        curve = {
            row["epoch"]: row["validation_metric"]
            for row in history.iter_rows(named=True)
            if row["validation_metric"] is not None
        }
        trend = still_improving(curve) if curve and not context.diverged(member.spec) else None
        row = {"stage": stage, "variant": member.variant, "learning_rate": rates[member.variant],
               "improving": None if trend is None else trend.improving}  # fmt: skip
        for quantity in METRICS:
            yield {**row, "split": quantity[1], **network_columns(ends, quantity, member.variant, member.seed)}
    examples = {one.name: _over_examples(one, task, ends, context, n_bootstrap) for one in candidates}
    yield from gap_rows(ends, candidates, stage, rates, examples)


def gap_rows(
    ends: Ends,
    candidates: Sequence[Candidate],
    stage: str,
    rates: Mapping[str, float],
    examples: "Mapping[str, Interval | None]",
) -> Iterator[dict[str, Any]]:
    """err(candidate) − err(RI-T), over seeds on both splits, over examples on test data.

    Args:
        ends: values by variant.
        candidates: in order.
        stage: first or confirm.
        rates: by variant.
        examples: the interval over test examples by candidate, None where no pair of networks finished.
    """
    from transferscope.measures.families import bonferroni_confidence

    together = bonferroni_confidence(len(candidates))
    for one in candidates:
        lost = any(role in (one.variant, one.rival) for role, _ in ends.lost)
        row = {"level": "gap", "stage": stage, "candidate": one.name, "variant": one.variant, "tuned": one.tuned,
               "learning_rate": rates[one.variant], "diverged": lost}  # fmt: skip
        for quantity in METRICS:
            # An error is what a metric lacks of 1: the rival's metric minus the candidate's.
            single, family = (gain(ends, quantity, one.rival, one.variant, level) for level in (0.95, together))
            yield {**row, "split": quantity[1], **interval_columns(single, family)}
        if (interval := examples.get(one.name)) is not None:
            yield {**row, "split": "test", **interval_columns(interval)}


def _over_examples(one: Candidate, task: Task, ends: Ends, context: "Context", draws: int) -> "Interval | None":
    from transferscope.measures.metric_difference import gap_over_examples

    finished = [set(ends.of(("metric", "test"), role)) for role in (one.rival, one.variant)]
    seeds = sorted(finished[0] & finished[1])
    if not seeds:
        return None
    specs = {(member.variant, member.seed): member.spec for member in task.members}
    rival, mine = (
        [context.outputs(specs[role, seed], "test").logits for seed in seeds] for role in (one.rival, one.variant)
    )
    return gap_over_examples(
        rival, mine, context.labels("test"), context.study.metric, groups_of(context, "test"), draws,
        context.seed("negative_transfer", one.name),
    )  # fmt: skip


def harmful(rows: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """The candidates that seem to hurt: those with more error than RI-T on validation data, by the mean over seeds.

    Args:
        rows: gaps of the first stage on validation data.
    """
    return tuple(row["candidate"] for row in rows if row["value"] is not None and row["value"] > 0)
