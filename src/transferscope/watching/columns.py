"""The declared columns of what is recorded of a training, and of pairs of trainings."""

from collections.abc import Mapping

from transferscope.study.columns import Column

__all__ = ["PAIRS", "PATHS", "TABLES", "WHOLE"]

WHOLE = "(all)"
"""In ``module``: all parameters that are followed."""

_PLACE = {
    "session": Column(int, "process that recorded it, from 0; a resumed training has several", "count"),
    "step": Column(int, "optimiser steps done", "count"),
    "epoch": Column(float, "epochs done", "count", null="the loop said no epoch"),
}
TABLES: Mapping[str, Mapping[str, Column]] = {
    "steps": {
        **_PLACE,
        "module": Column(str, f"part of the network; {WHOLE} for all of it"),
        "distance": Column(float, "‖θ − θ₀‖₂ over its parameters, frozen ones included", "l2", null="not finite"),
        "relative": Column(float, "the distance divided by ‖θ₀‖₂", null="the start is 0, or not finite"),
        "gradient_ratio": Column(float, "‖g‖₂ / ‖θ‖₂", null="it had no gradient when it was recorded, or not finite"),
        "mean_drift": Column(
            float,
            "batch norm: root mean square of (running mean − its start) / standard deviation at the start",
            null="no batch norm, or not finite",
        ),
        "variance_drift": Column(
            float,
            "batch norm: root mean square of log(running variance / its start)",
            null="no batch norm, or not finite",
        ),
        "update_cosine": Column(
            float,
            "cosine of the movement since the record before to the direction from the start: 1 away from it, −1 back",
            null="the first record, no movement, or not asked for",
        ),
        "update_steps": Column(int, "steps that movement took", "count", null="as of update_cosine"),
    },
    "metrics": {
        **_PLACE,
        "name": Column(str, "as given to log"),
        "value": Column(float, "as given", null="not a finite number"),
    },
    "similarity": {
        **_PLACE,
        "module": Column(str, "whose output is compared"),
        "cka": Column(
            float, "unbiased linear CKA of its output with that of the start, on the probe batch", null="not defined"
        ),
        "examples": Column(int, "of the probe batch", "count"),
    },
}  # fmt: skip
"""By the name of a table: ``steps``, ``metrics`` and ``similarity``."""

_NAMES: Mapping[str, Column] = {
    "run_a": Column(str, "first run"),
    "run_b": Column(str, "second run"),
}
_NO_DATA = "not compared on data"
PAIRS: Mapping[str, Column] = {
    **_NAMES,
    "group": Column(str, "of both runs", null="they are of different groups, or of none"),
    "seed_a": Column(int, "number of the first run", "count"),
    "seed_b": Column(int, "number of the second run", "count"),
    "distance": Column(float, "‖θ_a − θ_b‖₂ of the last weights, equal names and shapes", "l2", null="see note"),
    "cosine": Column(float, "cosine between both displacements", null="a start is not known, or no movement"),
    "cosine_without_decay": Column(float, "the same without the direction of weight decay, −θ₀", null="as of cosine"),
    "left_out": Column(int, "parameters that only one has in this name and shape", "count"),
    "metric_a": Column(float, "metric of the first run", "metric", "test", null=_NO_DATA),
    "metric_b": Column(float, "metric of the second run", "metric", "test", null=_NO_DATA),
    "kappa": Column(float, "error consistency κ of their mistakes", "1", "test", null=_NO_DATA),
    "kappa_max": Column(float, "the largest κ that their accuracies allow", "1", "test", null=_NO_DATA),
    "jaccard": Column(float, "mistakes of both / mistakes of either", "1", "test", null=_NO_DATA),
    "cka": Column(float, "mean over modules of the CKA of equal modules", "1", "test", null=_NO_DATA),
    "error_barrier": Column(float, "highest error above the mean of both ends", "metric", "test", null=_NO_DATA),
    "error_barrier_low": Column(float, "lower 95 % limit", "metric", "test", null=_NO_DATA),
    "error_barrier_high": Column(float, "upper 95 % limit", "metric", "test", null=_NO_DATA),
    "loss_barrier": Column(float, "highest loss above the mean of both ends", "nat", "test", null=_NO_DATA),
    "connected": Column(str, "verdict on the error barrier: stable, unstable or undecided", null=_NO_DATA),
    "note": Column(str, "what is missing, and why", null="nothing"),
}  # fmt: skip
"""Declared columns of the pairs of runs."""
PATHS: Mapping[str, Column] = {
    **_NAMES,
    "alpha": Column(float, "0 is the first run, 1 the second"),
    "loss": Column(float, "mean loss on the line between them", "nat", "test", null="not finite"),
    "error": Column(float, "mean error on the line between them", "metric", "test", null="not finite"),
}
"""Declared columns of the lines between runs."""
