"""All public functions that take networks, called with the least they need: what holds for each is tested on these."""

from collections.abc import Callable
from typing import Any

import transferscope as ts
from transferscope.methods.similarity.channels import channel_reuse

CPU = {"device": "cpu"}


FUNCTIONS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "cka": lambda a, b, d: ts.cka(a, b, d, **CPU),
    "cka_networks": lambda a, b, d: ts.cka_networks({"a": a, "b": b}, d, **CPU),
    "channel_reuse": lambda a, b, d: channel_reuse(a, {"b": b}, d, **CPU),
    "domain_distance": lambda a, b, d: ts.domain_distance(a, d, d, draws=2, **CPU),
    "spectra": lambda a, b, d: ts.spectra(a, next(iter(d))),
    "align": lambda a, b, d: ts.align(a, b, d, **CPU),
    "compare": lambda a, b, d: ts.compare(a, b, d, train=d, points=3, refine=None, align_by=None, **CPU),
    "linear_path": lambda a, b, d: ts.linear_path(a, b, {"t": d}, alphas=(0, 0.5, 1), recompute_on=d, **CPU),
    "curve_path": lambda a, b, d: ts.curve_path(a, b, b, {"t": d}, positions=(0, 0.5, 1), recompute_on=d, **CPU),
    "module_paths": lambda a, b, d: ts.module_paths(a, b, {"t": d}, alphas=(0, 1), recompute_on=d, **CPU),
    "rewind": lambda a, b, d: ts.rewind(a, b, {"t": d}, zero=True, checkpoints={1: a}, recompute_on=d, **CPU),
    "criticality": lambda a, b, d: ts.criticality(
        a, b, d, draws=2, alphas=(0, 1), sigmas=(0.1,), quantity="loss", margin=9.0, recompute_on=d, **CPU
    ),
    "module_choices": lambda a, b, d: ts.module_choices(a, b, d, d, train=d, **CPU),
    "basin_networks": lambda a, b, d: ts.basin_networks(
        [a, b], {"t": d}, points=3, draws=1, nodes=1, deltas=lambda span: (0.0, span), recompute_on=d, **CPU
    ),
    "plane_around": lambda a, b, d: ts.plane_around(a, {"t": d}, resolution=5, recompute_on=d, **CPU),
    "radius_curves": lambda a, b, d: ts.radius_curves(a, {"t": d}, (1.0,), 1, recompute_on=d, **CPU),
    "hessian": lambda a, b, d: ts.hessian(a, d, probes=2, tolerance=0.1, recompute_on=d, **CPU),
}
"""Name to a call with two networks of one architecture and batches (images, labels)."""

DISTINCT = [
    name for name in FUNCTIONS if name not in ("cka_networks", "module_choices", "basin_networks", "criticality")
]
"""Those that are not made of others."""
