"""What a comparison of two networks found, and what it says in a terminal."""

import math
from dataclasses import dataclass

import numpy as np

from transferscope.measures.barriers import Barrier, stability
from transferscope.measures.distance import Distance
from transferscope.measures.mistakes import Mistakes
from transferscope.methods.alignment.align import Aligned
from transferscope.methods.compare.behaviour import Behaviour, Forgetting
from transferscope.methods.compare.weights_result import WeightsComparison
from transferscope.methods.landscape.average import Average
from transferscope.methods.landscape.linear_path import LinearPath
from transferscope.methods.similarity.cka_result import CkaResult
from transferscope.readable import readable


@readable
@dataclass(frozen=True)
class Comparison:
    """What :func:`compare` found.

    Attributes:
        mistakes: of the pair; with several labels over image-label pairs. None where the heads differ in size.
        distance: of all parameters; None where shapes differ.
        path: the straight line between them; None where it was not measured. Of the trunk where the heads differ.
        loss_barrier: of the path, from losses; None also where a loss between them is not finite.
        alignment: b with its hidden units put in the order of a's; None where the path is stable, or that was not asked
            for or not possible.
        average: the network half-way between them; None where there is no path of all parameters.
        notes: on the data, where they were read from files: what a reader must know.
        behaviour: churn, calibration and likelihood; None where the heads differ in size or logits are not finite.
        forgetting: what the trunk of b lost of the task of a's head, or of another old one; None where it was not
            measured.
        weights: the two tensor by tensor, where they were read from files.
    """

    examples: int
    metric_name: str
    metrics: tuple[float | None, float | None]
    mistakes: Mistakes | None
    similarity: CkaResult
    distance: Distance | None
    distance_by_module: dict[str, Distance]
    path: LinearPath | None
    error_barrier: Barrier | None
    loss_barrier: Barrier | None
    alignment: Aligned | None
    aligned: LinearPath | None
    aligned_barrier: Barrier | None
    average: Average | None
    not_measured: dict[str, str]
    notes: tuple[str, ...] = ()
    chance: float = 0.0
    behaviour: Behaviour | None = None
    forgetting: Forgetting | None = None
    weights: WeightsComparison | None = None

    @property
    def guessing(self) -> tuple[str, ...]:
        """Which of ``a`` and ``b`` are not surely better than guessing: two standard errors above it, for a share.

        Nothing can be said of a path between such networks: they have nothing to lose on it.
        """
        return tuple(
            name
            for name, value in zip("ab", self.metrics, strict=True)
            if value is not None and value - 2 * self._standard_error(value) <= self.chance
        )

    def _standard_error(self, value: float) -> float:
        return 0.0 if self.metric_name == "auc" else math.sqrt(value * (1 - value) / self.examples)

    @property
    def text(self) -> str:
        """A page for a terminal."""
        return page(self)

    def __str__(self) -> str:
        return self.text


_CONNECTED = {
    "stable": "linearly connected along the straight line (error barrier below 2 points); how far one basin reaches is "
    "for the basin test",
    "unstable": "a barrier of 2 points or more lies on the straight line between them: not in one basin as they stand",
    "undecided": "undecided whether a barrier of 2 points lies between them: more examples would tell",
}
_ALIGNED = {
    "stable": "why: the hidden units are in another order; put in the same order the two are linearly connected",
    "unstable": "why: really apart, as far as this matching finds: a barrier is left with the units in one order",
    "undecided": "why: undecided whether the order of the hidden units explains it",
}
_SAFE = {
    "kept": "averaging is safe: it costs less than {margin} of the better one's metric",
    "lost": "do not average them: it costs more than {margin} of the better one's metric",
    "undecided": "undecided whether averaging costs more than {margin} of the better one's metric: more examples would "
    "tell",
}

_NO_VERDICT = "no verdict: a network that guesses has nothing to lose"


def page(found: "Comparison") -> str:
    """The page; every number beside what it rests on."""
    a, b = (_metric(value) for value in found.metrics)
    lines = [f"{found.examples} examples; {found.metric_name}: a {a}, b {b}", *found.notes, *_guessing(found), ""]
    if (mistakes := found.mistakes) is not None:
        lines += [
            f"mistakes    common {mistakes.common}, only a {mistakes.only_a}, only b {mistakes.only_b}",
            f"            consistency κ {_number(mistakes.kappa)}, 0 is chance, {_number(mistakes.kappa_max)} the most",
        ]
    if found.distance is not None:
        lines.append(f"distance    ‖a − b‖ = {found.distance.l2:.4g} over {found.distance.parameters:,} parameters")
    if found.path is not None:
        lines += _path("path", found.path, found.error_barrier, found.loss_barrier)
    if found.error_barrier is not None:
        said = _NO_VERDICT if found.guessing else _CONNECTED[stability(found.error_barrier.mean.interval)]
        lines.append(f"            {said}")
    if found.aligned is not None and found.alignment is not None:
        lines += _path("aligned", found.aligned, found.aligned_barrier, None)
        lines.append(
            f"            hidden units put in one order by {found.alignment.method}: {found.alignment.moved:.0%} of "
            f"them moved, {found.alignment.share:.0%} of the parameters can"
        )
    if found.aligned_barrier is not None:
        said = _NO_VERDICT if found.guessing else _ALIGNED[stability(found.aligned_barrier.mean.interval)]
        lines.append(f"            {said}")
    if found.average is not None:
        lines += _average(found, found.average)
    lines += [f"left out    {name}: {reason}" for name, reason in found.not_measured.items()]
    return "\n".join([*lines, "", *_modules(found)])


def _path(name: str, path: "LinearPath", error: "Barrier | None", loss: "Barrier | None") -> list[str]:
    lines = []
    for quantity, barrier in (("error", error), ("loss", loss)):
        if barrier is None:
            continue
        interval = barrier.mean.interval
        limits = f", 95 % limits {interval.low:.4f} to {interval.high:.4f}" if interval.low is not None else ""
        straight = f"{barrier.linear.value:.4f} above the straight line"
        middle = "" if barrier.midpoint_gap is None else f"; at the middle {barrier.midpoint_gap:+.4f}"
        lines.append(
            f"{name:<11} {quantity} barrier {barrier.mean.value:.4f} above the mean of the ends{limits}, at "
            f"α = {barrier.mean.alpha:.3g} (batch norm: {path.batch_norm})"
        )
        lines.append(f"            {straight}{middle}")
    if path.moved == "trunk":
        lines.append("            trunk only: the head is that of a on the whole line, at b's end too")
    if path.resolution is not None:
        lines.append(f"            {path.resolution.text}")
    else:
        inside = sum(0 <= alpha <= 1 for alpha in path.alphas)
        lines.append(f"            {inside} points in [0, 1]")
    if path.recheck is not None:
        lines.append(f"            {path.recheck.text}")
    return lines


def _average(found: "Comparison", average: "Average") -> list[str]:
    interval = average.loss
    limits = "" if interval.low is None else f", 95 % limits {interval.low:+.4f} to {interval.high:+.4f}"
    policy = "" if found.path is None else f" (batch norm: {found.path.batch_norm})"
    lost = "undefined" if interval.value is None else f"{interval.value:+.4f}"
    said = _NO_VERDICT if found.guessing else _SAFE[average.verdict].format(margin=average.margin)
    return [
        f"average     {found.metric_name} {_metric(average.metric)}{policy}; less than that of {'ab'[average.better]}, "
        f"the better one, by {lost}{limits}",
        f"            {said}",
    ]


def _guessing(found: "Comparison") -> list[str]:
    if not found.guessing:
        return []
    who = " and ".join(found.guessing)
    return [
        f"WARNING: {who} not surely better than guessing ({found.metric_name} {found.chance:.4f}): are the classes and "
        "their order, the images' size and their normalisation those of the training?"
    ]


def _modules(found: "Comparison") -> list[str]:
    lines = [f"{'module':<40} {'CKA a/b':>8} {'distance':>10}"]
    between = found.similarity.between(*found.similarity.networks)
    names_a, names_b = (found.similarity.modules[name] for name in found.similarity.networks)
    for index, name in enumerate(names_a):
        if name not in names_b:
            continue
        value = between[index, names_b.index(name)]
        shown = "–" if value is np.ma.masked else f"{float(value):.3f}"
        distance = found.distance_by_module.get(name)
        lines.append(f"{name:<40} {shown:>8} {'–' if distance is None else f'{distance.l2:.4g}':>10}")
    return lines


def _metric(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"
