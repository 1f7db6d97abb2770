"""The declared columns of what is recorded of a training."""

from collections.abc import Mapping

from transferscope.study.columns import Column

__all__ = ["TABLES", "WHOLE"]

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
