"""All public functions that take networks, called with the least they need: what holds for each is tested on these."""

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import transferscope as ts
from transferscope.methods.similarity.channels import channel_reuse

CPU = {"device": "cpu"}


def gathered(function: Callable[..., Any], **given: Any) -> dict[str, Any]:
    """Keywords of a call, those that are fields of a settings object within it."""
    parameters = inspect.signature(function).parameters
    found = {word: value for word, value in given.items() if word in parameters}
    for word in given.keys() - found.keys():
        defaults = {name: parameter.default for name, parameter in parameters.items()}
        (name,) = (name for name, value in defaults.items() if word in getattr(value, "__dataclass_fields__", ()))
        found[name] = replace(found.get(name, defaults[name]), **{word: given[word]})
    return found


FUNCTIONS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "cka": lambda a, b, d: ts.cka(a, b, d, execution=ts.Execution(**CPU)),
    "cka_networks": lambda a, b, d: ts.cka_networks({"a": a, "b": b}, d, execution=ts.Execution(**CPU)),
    "channel_reuse": lambda a, b, d: channel_reuse(a, {"b": b}, d, **CPU),
    "domain_distance": lambda a, b, d: ts.domain_distance(a, ts.Domain(d), ts.Domain(d), draws=2, **CPU),
    "spectra": lambda a, b, d: ts.spectra(a, next(iter(d))),
    "align": lambda a, b, d: ts.align(a, b, d, **CPU),
    "compare": lambda a, b, d: ts.compare(
        a, b, d, evaluation=ts.Evaluation(recompute_on=d, **CPU), path=ts.PathGrid(points=3, refine=None), align_by=None
    ),
    "average_networks": lambda a, b, d: ts.average_networks(
        [a, b], ts.AverageData(d, d), evaluation=ts.Evaluation(recompute_on=d, **CPU), methods=["uniform"]
    ),
    "average_checkpoints": lambda a, b, d: ts.average_checkpoints(
        [a, b], ts.AverageData(d, d), evaluation=ts.Evaluation(recompute_on=d, **CPU), decays=(0.5,)
    ),
    "linear_path": lambda a, b, d: ts.linear_path(
        a, b, {"t": d}, alphas=(0, 0.5, 1), evaluation=ts.Evaluation(recompute_on=d, **CPU)
    ),
    "curve_path": lambda a, b, d: ts.curve_path(
        a, b, b, {"t": d}, positions=(0, 0.5, 1), evaluation=ts.Evaluation(recompute_on=d, **CPU)
    ),
    "module_paths": lambda a, b, d: ts.module_paths(
        a, b, {"t": d}, alphas=(0, 1), evaluation=ts.Evaluation(recompute_on=d, **CPU)
    ),
    "rewind": lambda a, b, d: ts.rewind(
        a, b, {"t": d}, zero=True, checkpoints={1: a}, evaluation=ts.Evaluation(recompute_on=d, **CPU)
    ),
    "criticality": lambda a, b, d: ts.criticality(
        a,
        b,
        d,
        search=ts.CriticalitySearch(draws=2, alphas=(0, 1), sigmas=(0.1,), quantity="loss", margin=9.0),
        evaluation=ts.Evaluation(recompute_on=d, **CPU),
    ),
    "module_choices": lambda a, b, d: ts.module_choices(
        a, b, ts.ChoiceData(d, d), evaluation=ts.Evaluation(recompute_on=d, **CPU)
    ),
    "basin_networks": lambda a, b, d: ts.basin_networks(
        [a, b],
        {"t": d},
        grid=ts.BasinGrid(points=3, draws=1, nodes=1),
        deltas=lambda span: (0.0, span),
        evaluation=ts.Evaluation(recompute_on=d, **CPU),
    ),
    "plane_around": lambda a, b, d: ts.plane_around(
        a, {"t": d}, resolution=5, evaluation=ts.Evaluation(recompute_on=d, **CPU)
    ),
    "radius_curves": lambda a, b, d: ts.radius_curves(
        a, {"t": d}, (1.0,), 1, evaluation=ts.Evaluation(recompute_on=d, **CPU)
    ),
    "hessian": lambda a, b, d: ts.hessian(
        a, d, probes=2, tolerance=0.1, evaluation=ts.Evaluation(recompute_on=d, **CPU)
    ),
}
"""Name to a call with two networks of one architecture and batches (images, labels)."""

DISTINCT = [
    name
    for name in FUNCTIONS
    if name
    not in (
        "cka_networks",
        "module_choices",
        "basin_networks",
        "criticality",
        "average_networks",
        "average_checkpoints",
    )
]
"""Those that are not made of others."""
