"""A tested set as rows of the table of ``basin``."""

import math
from collections.abc import Iterator
from typing import Any

from transferscope.measures.basin import Basin, Radius
from transferscope.measures.intervals import Interval
from transferscope.methods.landscape.basin import NetworkBasin

__all__ = ["rows_of"]

_NOT_FINITE = "the loss is not finite somewhere within the set"


def rows_of(tested: NetworkBasin, split: str, examples: int, tau: float) -> Iterator[dict[str, Any]]:
    """Of one split: a row for the set, and one for each condition at each δ, of loss and of error.

    Args:
        tested: the set.
        split: which.
        examples: images of the split that were evaluated.
        tau: the fixed threshold.
    """
    facts = {
        "corners": len(tested.distances),
        "split": split,
        "batch_norm": tested.batch_norm,
        "examples": examples,
        "points": tested.points,
        "n_noise": tested.draws,
        "parameters": tested.parameters,
        "distance": tested.span,
    }
    for quantity, found in tested.found[split].items():
        base = {**facts, "quantity": quantity}
        height = tested.rise[split][quantity]
        if found is None or height is None:
            yield {**base, "level": "set", "tau": tau, "reason": _NOT_FINITE, "reason_tau": _NOT_FINITE}
            continue
        yield {**base, "level": "set", **_set(found, height)}
        for condition, sides in (("noise", found.noise), ("outward", found.outward)):
            for delta, side in zip(found.deltas, sides, strict=True):
                yield {
                    **base,
                    "level": "condition",
                    "condition": condition,
                    "delta": delta,
                    "height": side.value if math.isfinite(side.value) else None,
                    "height_se_draws": side.draw_error,
                    "height_se_examples": side.example_error,
                    "threshold": 2 * found.epsilon.value,
                }


def _set(found: Basin, height: Interval) -> dict[str, Any]:
    return {
        "mean": found.mean.value,
        "epsilon": found.epsilon.value,
        "epsilon_se_draws": found.epsilon.draw_error,
        "epsilon_se_examples": found.epsilon.example_error,
        "resolved": found.resolved,
        "rise": height.value,
        "rise_low": height.low,
        "rise_high": height.high,
        **_radius(found.delta, "delta"),
        "delta_below": found.delta.below,
        "reason": found.delta.reason or None,
        "tau": found.tau,
        **_radius(found.delta_tau, "delta_tau"),
        "reason_tau": found.delta_tau.reason or None,
    }


def _radius(radius: Radius, name: str) -> dict[str, Any]:
    return {name: radius.value, f"{name}_low": radius.low, f"{name}_high": radius.high}
