"""What settings and columns were called before, by analysis: files, keys and stores of then go on to be understood."""

from collections.abc import Iterable, Mapping
from typing import Any

from transferscope.errors import nearest

__all__ = ["COLUMNS", "FORMAT", "SETTINGS", "former_settings", "unknown_setting"]

FORMAT = 2
"""Of stored tables: 2 has the columns as they are declared; a table without a format has those of :data:`COLUMNS`."""

_EPOCHS = {"most": "max_epochs"}
_RESAMPLES = {"draws": "n_bootstrap"}
_CKA = {"kind": "estimator", "maps": "pooling"}
_TOGETHER = {"family": "n_comparisons"}

SETTINGS: Mapping[str, Mapping[str, str]] = {
    "outcome": _RESAMPLES,
    "mistakes": _RESAMPLES,
    "mistakes_in_training": {**_EPOCHS, **_RESAMPLES},
    "similarity": {**_CKA, "agreement": "extra_measures"},
    "similarity_in_training": {**_EPOCHS, **_CKA},
    "similarity_by_size": _CKA,
    "distance_in_training": _EPOCHS,
    "path": {"outer": "points_outside", "ruler_images": "control_images", "ruler_rate": "control_rate"},
    "path_in_training": _EPOCHS,
    "plane": {"through": "via", "around": "center", "reach": "extent", "one_dimensional": "norm_and_bias"},
    "basin": {"draws": "n_noise", "hull_draws": "n_hull_samples"},
    "flatness": {"one_dimensional": "norm_and_bias", "most_products": "max_products"},
    "block_shuffle": {**_RESAMPLES, "examples": "n_shown"},
    "probe": _RESAMPLES,
    "domain_distance": {"against": "reference_data", "draws": "n_resamples"},
    "criticality": {"places": "alphas", "draws": "n_noise"},
    "rewind": {"also": "rewind_to", **_RESAMPLES},
}
"""Settings by their former names, which are those in keys: nothing is trained or measured again for a name."""

COLUMNS: Mapping[str, Mapping[str, str]] = {
    "similarity": _CKA,
    "similarity_in_training": _CKA,
    "similarity_by_size": _CKA,
    "path": {"moved": "moves", "bracket": "search_interval"},
    "module_path": _TOGETHER,
    "path_in_training": _TOGETHER,
    "basin": {"draws": "n_noise"},
    "flatness": {"ruler": "normalisation"},
    "curve": _TOGETHER,
    "align": {**_TOGETHER, "moved": "permuted_share", "reach": "permutable_share"},
    "block_shuffle": {"place": "order"},
    "domain_distance": {
        "place": "part",
        "excess": "above_chance",
        "excess_low": "above_chance_low",
        "excess_high": "above_chance_high",
    },
    "criticality": {"moved": "displacement", "place": "step"},
    "rewind": {
        **_TOGETHER,
        "to": "target_value",
        "moved": "displacement",
        "upper": "upper_one_sided",
        "judged": "verdict",
    },
}
"""Columns by their former names."""


def former_settings(analysis: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """``settings`` under the names that keys are made of.

    >>> former_settings("outcome", {"n_bootstrap": 2000})
    {'draws': 2000}
    """
    former = {present: name for name, present in SETTINGS.get(analysis, {}).items()}
    return {former.get(name, name): value for name, value in settings.items()}


def unknown_setting(name: str, owners: Iterable[Any]) -> str:
    """What to write in place of a setting that there is not: its present name, else the nearest ones.

    Args:
        name: as it was given.
        owners: the classes of settings it could belong to.
    """
    owners = list(owners)
    for owner in owners:
        present = SETTINGS.get(str(getattr(owner, "name", "")), {}).get(name)
        if present is not None and present in owner.model_fields:
            return f"it is called {present!r} now"
    return nearest(name, [known for owner in owners for known in owner.model_fields])
