"""The numbers of an average of networks, each under its key."""

from collections.abc import Iterator

from transferscope.analyses.estimates import Estimate, Quantity
from transferscope.measures.interval import DIFFERENCE, MAGNITUDE, SHARE, Interval
from transferscope.methods.averaging.advice_result import METHOD_WORDS, AverageAdvice, Candidate

__all__ = ["AVERAGE", "average_estimates"]

_METHODS: dict[str, str] = dict(METHOD_WORDS.items())

AVERAGE = {
    quantity.key: quantity
    for quantity in (
        Quantity("metric", "{metric} of {network} ({split})", bounds=SHARE, by=("network", "split", "metric")),
        Quantity(
            "gain", "{metric} of {method} less that of the best single network ({split})", bounds=DIFFERENCE,
            by=("method", "split", "metric"), labels={"method": _METHODS},
        ),
        Quantity(
            "forced_gain", "the same of {method}, made although the answer is no ({split})", bounds=DIFFERENCE,
            by=("method", "split", "metric"), labels={"method": _METHODS},
        ),
        Quantity("promised_regret", "what the answer is expected to lose to the best of all ({metric})", bounds=SHARE),
        Quantity("proved_regret", "what the answer lost to the best of all on test data ({metric})", bounds=SHARE),
        Quantity(
            "ensemble_gain", "{metric} of the ensemble of all less that of the best single network ({split})",
            bounds=DIFFERENCE, by=("split", "metric"),
        ),
        Quantity(
            "error_barrier", "error barrier between {network} and the best one, {units}", bounds=MAGNITUDE,
            by=("network", "units"),
        ),
        Quantity(
            "module_error_barrier", "error barrier of {module} alone, from the best network to {network}",
            bounds=MAGNITUDE, by=("network", "module"),
        ),
    )
}  # fmt: skip
"""Declared for ``average``; those of modules begin with ``module_``."""


def average_estimates(found: AverageAdvice) -> tuple[Estimate, ...]:
    """Every number of an answer."""
    return (*_metrics(found), *_gains(found), *_barriers(found))


def _metrics(found: AverageAdvice) -> Iterator[Estimate]:
    for member in found.members:
        for split, scores in member.scores.items():
            yield AVERAGE["metric"].number(
                scores.metric, len(scores.labels), network=member.name, split=split, metric=found.metric_name
            )


def _gains(found: AverageAdvice) -> Iterator[Estimate]:
    for item in found.candidates:
        yield from _gain("gain", found, item)
    if found.forced is not None:
        yield from _gain("forced_gain", found, found.forced)
    if found.regret is not None:
        best = f"the best itself with probability {found.regret.probability_best:.3g}"
        note = f"limits of 90 % each, one-sided; {best}"
        yield AVERAGE["promised_regret"].of(found.regret.interval, note, metric=found.metric_name)
        yield AVERAGE["proved_regret"].number(found.proved_regret, found.examples["test"], metric=found.metric_name)
    yield AVERAGE["ensemble_gain"].of(found.ensemble_gain, split="test", metric=found.metric_name)


def _gain(key: str, found: AverageAdvice, item: Candidate) -> Iterator[Estimate]:
    sides: tuple[tuple[str, Interval, str, str | None], ...] = (
        ("validation", item.gain, f"limits hold at once for all {found.looked_at} averages looked at", item.verdict),
        ("test", item.proof, "", None),
    )
    for split, interval, note, verdict in sides:
        yield AVERAGE[key].of(
            interval, note, verdict=verdict, method=item.average.method, split=split, metric=found.metric_name
        )


def _barriers(found: AverageAdvice) -> Iterator[Estimate]:
    for member in found.members:
        way = member.correspondence
        if way is None:
            continue
        yield AVERAGE["error_barrier"].of(way.barrier, verdict=way.verdict, network=member.name, units="as trained")
        if way.aligned_barrier is not None:
            yield AVERAGE["error_barrier"].of(
                way.aligned_barrier, verdict=way.aligned_verdict, network=member.name, units="matched"
            )
        for module in way.modules:
            yield AVERAGE["module_error_barrier"].of(
                module.barrier, verdict=module.verdict, network=member.name, module=module.name
            )
