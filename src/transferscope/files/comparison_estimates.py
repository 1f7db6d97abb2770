"""The numbers of a comparison of two networks, each under its key: with data, and from weights alone."""

import math
from collections.abc import Iterable, Iterator

import numpy as np

from transferscope.analyses.estimates import Estimate, Quantity
from transferscope.bounds import Flag
from transferscope.measures.barriers import Barrier
from transferscope.measures.implicit_ranks import RankEstimate
from transferscope.measures.interval import DIFFERENCE, MAGNITUDE, SHARE, Interval
from transferscope.methods.compare.comparison import Comparison
from transferscope.methods.compare.weights_result import TensorChange, WeightsComparison

__all__ = ["DATA", "RANKS", "WEIGHTS", "data_estimates", "weight_estimates", "weight_notes"]

_MODULE = ("module",)


def _weights(key: str, words: str, unit: str = "1", bounds: tuple[float, float] | None = MAGNITUDE) -> Quantity:
    return Quantity(key, words, unit, bounds, by=_MODULE if key.startswith("module_") else ())


WEIGHTS = {
    quantity.key: quantity
    for quantity in (
        _weights("relative_change", "‖ΔW‖ / ‖W_a‖ of all weights"),
        _weights("distance", "‖ΔW‖ of all weights", "l2"),
        _weights("cosine", "cosine between all weights", bounds=DIFFERENCE),
        _weights("changed_share", "share of the numbers that changed", bounds=SHARE),
        _weights("batch_norm_mean_drift", "drift of batch norm's means, in standard deviations of a"),
        _weights("batch_norm_scale_drift", "drift of batch norm's standard deviations, as a logarithm"),
        _weights("not_finite", "weights that are NaN or infinite", "count"),
        _weights("tensors_compared", "tensors compared", "count"),
        _weights("tensors_added", "tensors of b alone", "count"),
        _weights("tensors_gone", "tensors of a alone", "count"),
        _weights("tensors_reshaped", "tensors of two shapes", "count"),
        _weights("tensors_not_measured", "tensors whose numbers are codes", "count"),
        _weights("tensors_tied", "copies of another tensor in b", "count"),
        _weights("tensors_untied", "copies in a that differ in b", "count"),
        _weights("module_relative_change", "‖ΔW‖ / ‖W_a‖ of {module}"),
        _weights("module_distance", "‖ΔW‖ of {module}", "l2"),
        _weights("module_cosine", "cosine between the weights of {module}", bounds=DIFFERENCE),
        _weights("module_share_of_change", "share of ‖ΔW‖² in {module}", bounds=SHARE),
        _weights("module_batch_norm_mean_drift", "drift of the means of {module}, in standard deviations of a"),
        _weights("module_batch_norm_scale_drift", "drift of the standard deviations of {module}, as a logarithm"),
        _weights("module_stable_rank", "stable rank of ΔW of {tensor}"),
        _weights("module_effective_rank", "effective rank of ΔW of {tensor}"),
    )
}
"""What is measured of weights alone; those of modules begin with ``module_``."""

RANKS = ("module_stable_rank", "module_effective_rank")

DATA = {
    quantity.key: quantity
    for quantity in (
        Quantity("metric_a", "{metric} of a", bounds=SHARE),
        Quantity("metric_b", "{metric} of b", bounds=SHARE),
        Quantity("metric_difference", "{metric} of b less that of a", bounds=DIFFERENCE),
        Quantity("churn", "share of predictions that changed", bounds=SHARE),
        Quantity("error_consistency", "error consistency κ of the mistakes", bounds=DIFFERENCE),
        Quantity("ece_a", "expected calibration error of a", bounds=SHARE),
        Quantity("ece_b", "expected calibration error of b", bounds=SHARE),
        Quantity("nll_a", "negative log-likelihood of a", "nats", MAGNITUDE),
        Quantity("nll_b", "negative log-likelihood of b", "nats", MAGNITUDE),
        Quantity("nll_difference", "negative log-likelihood of b less that of a", "nats"),
        Quantity("forgetting", "{metric} that the new trunk lost under the old head", bounds=DIFFERENCE),
        Quantity("forgetting_nll", "negative log-likelihood that the new trunk gained under the old head", "nats"),
        Quantity("error_barrier", "error barrier of the straight line between them", bounds=DIFFERENCE),
        Quantity("loss_barrier", "loss barrier of the straight line between them", "nats"),
        Quantity("aligned_error_barrier", "error barrier with the hidden units in one order", bounds=DIFFERENCE),
        Quantity("average_loss", "{metric} that the average of both loses to the better one", bounds=DIFFERENCE),
        Quantity("module_cka", "CKA of {module}", by=_MODULE),
    )
}
"""What is measured on data."""


def weight_estimates(found: WeightsComparison) -> tuple[Estimate, ...]:
    """Every number of a comparison of weights."""
    return (*_totals(found), *_modules(found), *_drifts(found), *_ranks(found))


def _number(value: float | None, n: int = 0, note: str = "") -> Interval:
    return Interval(value, None, None, n, None, note=note)


def _totals(found: WeightsComparison) -> Iterator[Estimate]:
    total = found.total
    lost = total.not_finite_a + total.not_finite_b
    why = f"{lost:,} weights are NaN or infinite: {_few(found.of_state('not_finite'))}" if lost else ""
    flags: tuple[Flag, ...] = ("diverged",) if lost else ()
    undefined = why or ("too large to be squared" if not total.finite else "")
    values = {
        "relative_change": (total.relative, undefined or "a has no weights but zeros"),
        "distance": (total.distance, undefined),
        "cosine": (total.cosine, undefined or "all weights of one are 0"),
        "changed_share": (total.changed / total.count if total.count else None, "no tensor could be compared"),
    }
    for key, (value, note) in values.items():
        yield WEIGHTS[key].of(_number(value, total.count, "" if value is not None else note), flags=flags)
    copies = sum(len(group) - 1 for group in found.tied[1])
    untied = _untied(found)
    counts = {
        "not_finite": lost,
        "tensors_compared": len(found.tensors) + 2 * len(found.drift) - len(found.of_state("codes")),
        "tensors_added": len(found.names.added),
        "tensors_gone": len(found.names.gone),
        "tensors_reshaped": len(found.reshaped),
        "tensors_not_measured": len(found.of_state("codes")),
        "tensors_tied": copies,
        "tensors_untied": untied,
    }
    for key, number in counts.items():
        yield WEIGHTS[key].of(_number(float(number)))


def _untied(found: WeightsComparison) -> int:
    """Copies of a tensor in a whose counterparts in b are no copies of its counterpart."""
    partner = dict(found.names.pairs.values())
    owner = {name: group[0] for group in found.tied[1] for name in group}
    lost = 0
    for first, *others in found.tied[0]:
        for name in others:
            if first in partner and name in partner:
                of_first = owner.get(partner[first], partner[first])
                lost += owner.get(partner[name], partner[name]) != of_first
    return lost


def _modules(found: WeightsComparison) -> Iterator[Estimate]:
    whole = found.total.dd
    for module, sums in found.by_module.items():
        share = sums.dd / whole if found.total.finite and whole > 0 else None
        bad = "weights that are NaN or infinite" if not sums.finite else ""
        flags: tuple[Flag, ...] = ("diverged",) if bad else ()
        values = {
            "module_relative_change": (sums.relative, bad or "all weights of a are 0"),
            "module_distance": (sums.distance, bad),
            "module_cosine": (sums.cosine, bad or "all weights of one are 0"),
            "module_share_of_change": (share, "the change of all weights is 0 or not finite"),
        }
        for key, (value, note) in values.items():
            text = "" if value is not None else note
            yield WEIGHTS[key].of(_number(value, sums.count, text), flags=flags, module=module)


def _drifts(found: WeightsComparison) -> Iterator[Estimate]:
    for kind in ("mean", "scale"):
        squares, channels, lost = 0.0, 0, []
        for module, drift in found.drift.items():
            quantity = WEIGHTS[f"module_batch_norm_{kind}_drift"]
            if drift is None:
                lost.append(module)
                yield quantity.undefined("running statistics that no network has", flags=("diverged",), module=module)
                continue
            value = getattr(drift, kind)
            squares, channels = squares + value**2 * drift.channels, channels + drift.channels
            yield quantity.of(_number(value, drift.channels), module=module)
        quantity = WEIGHTS[f"batch_norm_{kind}_drift"]
        if lost:
            yield quantity.undefined(f"running statistics of {lost[0]} are no numbers", flags=("diverged",))
        elif channels:
            yield quantity.of(_number(math.sqrt(squares / channels), channels))
        else:
            yield quantity.undefined("no running statistics")


def _ranks(found: WeightsComparison) -> Iterator[Estimate]:
    for change in found.tensors:
        if change.ranks is None or change.repeated:
            continue
        note = f"limits of {change.ranks.probes} random probes" if change.ranks.probes else "from all singular values"
        for key, rank in (("stable", change.ranks.stable), ("effective", change.ranks.effective)):
            interval = _limits(rank, note)
            yield WEIGHTS[f"module_{key}_rank"].of(interval, module=change.module, tensor=change.name)


def _limits(rank: RankEstimate, note: str) -> Interval:
    if rank.low == rank.high:
        return _number(rank.value, note=note)
    return Interval(rank.value, rank.low, rank.high, 0, None, note=note)


def weight_notes(found: WeightsComparison) -> tuple[str, ...]:
    """What a reader must know of tensors that do not correspond, or could not be measured."""
    notes = []
    for side, prefix in zip("ab", found.names.prefixes, strict=True):
        if prefix:
            notes.append(f"names of {side} were matched without {prefix!r}")
    if found.names.gone:
        notes.append(f"of a alone: {_few(found.names.gone)}")
    notes += [f"{name} is gone; names like it in b: {', '.join(like)}" for name, like in found.names.nearest.items()]
    if found.names.added:
        notes.append(f"of b alone: {_few(found.names.added)}")
    if found.reshaped:
        shown = [f"{name} {list(one)} → {list(other)}" for name, (one, other) in found.reshaped.items()]
        notes.append(f"of two shapes, not compared: {_few(shown)}")
    if codes := found.of_state("codes"):
        differ = sum(change.equal is False for change in codes)
        notes.append(
            f"not measured: the numbers of {_few(codes)} are codes (integers, float8 with a scale beside it, sparse or "
            f"of two kinds), whose distance means nothing; {differ} of {len(codes)} differ; compare the weights before "
            "quantisation"
        )
    if lost := found.of_state("not_finite"):
        notes.append(f"NaN or infinite weights in {_few(lost)}")
    for side, groups in zip("ab", found.tied, strict=True):
        notes += [f"tied in {side} (equal to the last bit): {' = '.join(group)}" for group in groups]
    types = sorted({change.types for change in found.of_state("measured") if change.types[0] != change.types[1]})
    if types and not found.adapter:
        notes.append("stored in two types: " + ", ".join(f"{one} and {other}" for one, other in types))
    if found.adapter:
        kept = len(found.of_state("kept"))
        notes.append(f"b is an adapter, not merged; it leaves {kept} tensors as they are")
    return tuple(notes)


def _few(items: Iterable[str | TensorChange]) -> str:
    names = [item if isinstance(item, str) else item.name for item in items]
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def data_estimates(found: Comparison) -> tuple[Estimate, ...]:
    """Every number of a comparison on data that could be measured."""
    return tuple(item for item in _on_data(found) if item is not None)


def _on_data(found: Comparison) -> Iterator[Estimate | None]:
    name, n = found.metric_name, found.examples
    for side, value in zip("ab", found.metrics, strict=True):
        yield DATA[f"metric_{side}"].of(_number(value, n, "" if value is not None else "undefined"), metric=name)
    if (seen := found.behaviour) is not None:
        yield DATA["metric_difference"].of(seen.difference, metric=name)
        yield DATA["churn"].of(seen.churn)
        for side, error, loss in zip("ab", seen.calibration, seen.nll, strict=True):
            yield DATA[f"ece_{side}"].of(error)
            yield DATA[f"nll_{side}"].of(loss)
        yield DATA["nll_difference"].of(seen.nll_difference)
    if found.mistakes is not None:
        yield DATA["error_consistency"].of(_number(found.mistakes.kappa, n))
    if found.forgetting is not None:
        yield DATA["forgetting"].of(found.forgetting.metric, metric=name)
        yield DATA["forgetting_nll"].of(found.forgetting.nll)
    barriers: tuple[tuple[str, Barrier | None], ...] = (
        ("error_barrier", found.error_barrier),
        ("loss_barrier", found.loss_barrier),
        ("aligned_error_barrier", found.aligned_barrier),
    )
    for key, barrier in barriers:
        if barrier is not None:
            yield DATA[key].of(barrier.mean.interval)
    if found.average is not None:
        yield DATA["average_loss"].of(found.average.loss, verdict=found.average.verdict, metric=name)
    between = found.similarity.between(*found.similarity.networks)
    names_a, names_b = (found.similarity.modules[network] for network in found.similarity.networks)
    for index, module in enumerate(names_a):
        if module in names_b:
            value = between[index, names_b.index(module)]
            shown = None if value is np.ma.masked else float(value)
            yield DATA["module_cka"].of(_number(shown, n, "" if shown is not None else "undefined"), module=module)
