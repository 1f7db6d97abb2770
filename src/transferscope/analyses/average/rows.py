"""The rows of one set of networks that are averaged."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

from transferscope.analyses.images import evaluation_of, groups_of
from transferscope.context.study_network import StudyNetwork
from transferscope.measures.interval import Interval
from transferscope.methods.averaging.advice import AverageData, AverageStart, average_checkpoints, average_networks
from transferscope.methods.averaging.advice_result import AverageAdvice, Candidate
from transferscope.methods.averaging.soups import best_single, greedy_soup, uniform_soup
from transferscope.methods.averaging.space import AveragedNetwork, AveragingSpace, Scores
from transferscope.networks.heads import head_name

if TYPE_CHECKING:
    from torch import nn

    from transferscope.context.context import Context

__all__ = ["rows_of"]

_LOCATED = 512  # validation images on which barriers are measured
Row = dict[str, Any]


def rows_of(
    members: Sequence[StudyNetwork],
    settings: Mapping[str, Any],
    context: "Context",
    batch_norm_images: int,
    margin: float,
) -> Iterator[Row]:
    """All rows of a set.

    Args:
        members: of one variant; of a run the one.
        settings: of the task: ``set``, and of a run ``epochs``.
        context: gives networks and images.
        batch_norm_images: training images on which batch norm is estimated anew.
        margin: loss of the metric that counts as none.
    """
    first = members[0]
    base = {"variant": first.variant, "set": settings["set"], "run": first.seed if settings["set"] == "run" else None}
    evaluation = evaluation_of(context, batch_norm_images)
    data = AverageData(
        context.batches("validation"),
        context.batches("test"),
        context.batches("validation", _LOCATED),
        {
            "validation": groups_of(context, "validation"),
            "test": groups_of(context, "test"),
            "located": groups_of(context, "validation", _LOCATED),
        },
    )
    networks: list[nn.Module]
    if settings["set"] == "run":
        epochs = settings["epochs"]
        networks = [context.network(first.spec, epoch) for epoch in epochs]
        names = [f"epoch {epoch}" for epoch in epochs]
        found = average_checkpoints(networks, data, evaluation, names=names, margin=margin)
    else:
        networks = [context.network(member.spec) for member in members]
        found = average_networks(
            networks, data, evaluation, names=_names(members), start=_start(members, context), margin=margin,
            head=head_name(networks[0], first.spec.architecture),
        )  # fmt: skip
    rows = list(_answer(found))
    if settings["set"] == "seeds":
        entering = [
            network if way is None or not way.aligned else way.network
            for network, way in ((each, found.members[place].correspondence) for place, each in enumerate(networks))
        ]
        space = AveragingSpace(
            entering, {"validation": data.validation, "test": data.test}, evaluation,
            [member.content for member in found.members],
        )  # fmt: skip
        singles = [member.scores for member in found.members]
        rows += _pairs(space, singles, [member.seed for member in members])
        rows += _left_out(space, singles, found)
    yield from ({**base, **row} for row in rows)


def _names(members: Sequence[StudyNetwork]) -> list[str]:
    """Labels, with the rate where two runs of a set would have one name."""
    labels = [member.label for member in members]
    rates = [member.spec.recipe.learning_rate for member in members if member.spec.recipe is not None]
    if len(set(labels)) == len(labels):
        return labels
    return [f"{label} at {rate:.3g}" for label, rate in zip(labels, rates, strict=True)]


def _start(members: Sequence[StudyNetwork], context: "Context") -> AverageStart | None:
    """P, which all P-T started from; each RI-T has a start of its own."""
    first = members[0]
    if first.variant != "P_T":
        return None
    spec = context.study.untrained("P_T", first.seed)
    network, report = context.network(spec), context.loaded(spec)
    head = head_name(network, spec.architecture)
    new = context.study.pretrained.new_head or (
        report is not None and not any(name.startswith(f"{head}.") for name in report.loaded)
    )
    return AverageStart(network, head if new else None)


def _limits(interval: Interval) -> Row:
    return {"value": interval.value, "low": interval.low, "high": interval.high, "n": interval.n}


def _answer(found: AverageAdvice) -> Iterator[Row]:
    """What is said of the set, its networks, and the averages that were tried."""
    n = found.examples
    said: Row = {"verdict": found.answer, "reason": found.reason, "needs": ", ".join(found.needs) or None}
    chosen = found.chosen
    if chosen is not None:
        said |= {"method": chosen.average.method, "members": len(chosen.average.members)}
    promised: Row = {"value": None, "n": n["validation"]}
    if found.regret is not None:
        promised = {**_limits(found.regret.interval), "probability_best": found.regret.probability_best}
    modules = ", ".join(found.blocking) or None
    yield {"level": "answer", "split": "validation", "quantity": "regret", **said, "modules": modules, **promised}
    yield {
        "level": "answer",
        "split": "test",
        "quantity": "regret",
        **said,
        "value": found.proved_regret,
        "n": n["test"],
    }
    for member in found.members:
        own: Row = {"level": "network", "network": member.name}
        for split, scores in member.scores.items():
            yield {**own, "split": split, "quantity": "metric", "value": scores.metric, "n": n[split]}
        way = member.correspondence
        if way is None:
            continue
        where = {"split": "validation", "modules": ", ".join(module.name for module in way.modules) or None}
        yield {**own, **where, "quantity": "barrier", **_limits(way.barrier), "verdict": way.verdict}
        if way.aligned_barrier is not None:
            values = _limits(way.aligned_barrier)
            yield {**own, **where, "quantity": "aligned_barrier", **values, "verdict": way.aligned_verdict}
    for item in found.candidates:
        yield from _candidate(item)
    gain = _limits(found.ensemble_gain)
    yield {"level": "ensemble", "split": "test", "quantity": "gain", **gain}


def _candidate(item: Candidate) -> Iterator[Row]:
    own: Row = {"level": "average", "method": item.average.method, "members": len(item.average.members)}
    for split, interval in (("validation", item.gain), ("test", item.proof)):
        scores = item.average.scores[split]
        yield {**own, "split": split, "quantity": "metric", "value": scores.metric, "n": len(scores.labels)}
        verdict = item.verdict if split == "validation" else None
        yield {**own, "split": split, "quantity": "gain", **_limits(interval), "verdict": verdict}


def _pairs(space: AveragingSpace, singles: Sequence[Mapping[str, Scores]], seeds: Sequence[int]) -> Iterator[Row]:
    """How often two networks disagree, and what their mean gains over the better one."""
    for a, b in combinations(range(len(space)), 2):
        own: Row = {"level": "pair", "seed_a": seeds[a], "seed_b": seeds[b]}
        middle = uniform_soup(space, [a, b]).scores
        apart = _disagreement(singles[a]["validation"], singles[b]["validation"])
        n = len(middle["validation"].labels)
        yield {**own, "split": "validation", "quantity": "disagreement", "value": apart, "n": n}
        for split, scores in middle.items():
            yield {
                **own, "split": split, "quantity": "gain", "n": len(scores.labels),
                "value": _gain(scores, [singles[a], singles[b]], split),
            }  # fmt: skip


def _left_out(space: AveragingSpace, singles: Sequence[Mapping[str, Scores]], found: AverageAdvice) -> Iterator[Row]:
    """The average of all networks but one, against the best of these."""
    if len(space) < 3 or not found.candidates:
        return
    method = found.candidates[0].average.method
    order = best_single(space, singles, "validation")
    for place, member in enumerate(found.members):
        rest = [item for item in order if item != place]
        made: AveragedNetwork | None = None
        if method == "greedy":
            made = greedy_soup(space, rest, singles[rest[0]], "validation")
        elif method == "uniform":
            made = uniform_soup(space, rest)
        else:
            return
        scores = singles[rest[0]] if made is None else made.scores
        yield {
            "level": "left_out", "network": member.name, "method": method, "split": "test", "quantity": "gain",
            "members": 1 if made is None else len(made.members), "n": len(scores["test"].labels),
            "value": _gain(scores["test"], [singles[rest[0]]], "test"),
        }  # fmt: skip


def _gain(scores: Scores, singles: Sequence[Mapping[str, Scores]], split: str) -> float | None:
    """Metric less that of the single network that is best on validation data."""
    best = max(singles, key=lambda of: (of["validation"].metric or 0.0, -of["validation"].loss))[split].metric
    return None if scores.metric is None or best is None else scores.metric - best


def _disagreement(a: Scores, b: Scores) -> float:
    """Share of examples (or labels of them) of which two networks say another thing."""
    if a.labels.ndim == 1:
        return float((a.logits.argmax(dim=1) != b.logits.argmax(dim=1)).double().mean())
    return float(((a.logits > 0) != (b.logits > 0)).double().mean())
