"""Rows of the rewound modules of one network: metric, what is lost, and its limits over examples."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from transferscope.analyses.images import clusters_of
from transferscope.keys import OWN_STATISTICS
from transferscope.measures.families import bonferroni_confidence
from transferscope.measures.intervals import noninferior
from transferscope.methods.modules.rewind import ALL, Rewinding, Rewound
from transferscope.rounding import finite_or_none

if TYPE_CHECKING:
    from transferscope.context.context import Context
    from transferscope.data.spec import Split
    from transferscope.methods.landscape.landscape import LandscapePoint

__all__ = ["rows_of"]


def rows_of(
    found: Rewinding, limits: "Mapping[Split, int | None]", context: "Context", margin: float, draws: int
) -> Iterator[dict[str, Any]]:
    """The network itself, with its own and with recomputed statistics; then every module at every value.

    The family is all single modules put back to like values; a group is a family of its own.

    Args:
        found: of one network.
        limits: images of each split, as in ``context.batches``.
        context: gives groups of examples and the seed of the bootstrap.
        margin: largest loss of the metric that counts as nothing.
        draws: of the bootstrap.
    """
    clusters = clusters_of(context, limits)
    singles = sum(len(item.modules) == 1 and item.name != ALL and item.to == "initial" for item in found.rewound)
    order = {name: place for place, name in enumerate(dict.fromkeys(item.name for item in found.rewound))}
    for split in limits:
        for level, points, policy in (("own", found.own, OWN_STATISTICS), ("final", found.final, found.batch_norm)):
            yield {"level": level, "modules": 0, "batch_norm": policy, "split": split, **_values(points[split])}
        final = found.final[split]
        for item in found.rewound:
            point = item.points[split]
            alone = item.name in item.modules
            row = {
                "level": "module" if alone else "group", "module": item.name, "position": order[item.name],
                "modules": len(item.modules), "parameters": item.parameters, "target_value": item.to,
                "epoch": item.epoch, "displacement": item.distance, "batch_norm": found.batch_norm, "split": split,
                "evaluation": item.evaluation,
                "loss_rise": finite_or_none(float(point.losses.mean()) - float(final.losses.mean())),
            }  # fmt: skip
            family = singles if alone else 1
            seed = context.seed("rewind", split)
            yield {**row, **_values(point), **_limits(found, item, split, clusters[split], family, margin, draws, seed)}


def _limits(
    found: Rewinding, item: Rewound, split: str, clusters: Any, family: int, margin: float, draws: int, seed: int
) -> dict[str, Any]:
    single, together, sided = (
        found.drop(item, split, clusters, draws=draws, seed=seed, confidence=confidence)
        for confidence in (0.95, bonferroni_confidence(family), bonferroni_confidence(family, 0.90))
    )
    return {
        "drop": single.value, "low": single.low, "high": single.high, "simultaneous_low": together.low,
        "simultaneous_high": together.high, "upper_one_sided": sided.high, "n_comparisons": family, "n": single.n,
        "verdict": noninferior(sided, margin).verdict,
    }  # fmt: skip


def _values(point: "LandscapePoint") -> dict[str, Any]:
    return {
        "examples": len(point.losses),
        "metric": point.metric,
        "loss": finite_or_none(float(np.mean(point.losses))),
    }
