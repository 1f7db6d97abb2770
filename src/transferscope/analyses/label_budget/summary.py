"""The answers of a label budget: decided from validation data, and held against test data."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from transferscope.analyses.estimates import Estimate, Quantity
from transferscope.analyses.estimator import estimated
from transferscope.analyses.summary import Summary
from transferscope.bounds import DIFFERENCE, MAGNITUDE, SHARE, Flag, side_of
from transferscope.keys import shown
from transferscope.rounding import exact, rounded

if TYPE_CHECKING:
    from transferscope.measures.label_curve import LabelCurve

__all__ = ["QUANTITIES", "summary_of"]

_METRIC = Quantity(
    "metric", "{variant}, {images} training images (test)", "metric", SHARE, column="value",
    where=(pl.col("level") == "network") & (pl.col("split") == "test"), by=("variant", "images"),
)  # fmt: skip
_GAIN = Quantity("gain_of_labels", "{variant}: gain with {factor:g} × the training labels", "metric", DIFFERENCE)
_NEEDED = Quantity("labels_needed", "training labels that {variant} needs for {goal}", "count", MAGNITUDE)
_MULTIPLIER = Quantity("label_multiplier", "labels of RI-T for each of P-T, {images} training images", "1", MAGNITUDE)
_CROSSOVER = Quantity("crossover", "training labels with which RI-T is as good as P-T", "count", MAGNITUDE)
_PROMISED = Quantity("promised_gain", "{variant}: promised gain from {images} to all training images", "metric")
_PROVED = Quantity("proved_gain", "{variant}: gain from {images} to all training images (test)", "metric")
_VARIANTS = ("P_T", "RI_T")
QUANTITIES = (_METRIC, _GAIN, _NEEDED, _MULTIPLIER, _CROSSOVER, _PROMISED, _PROVED)


@dataclass(frozen=True)
class _Errors:
    """Errors of one variant on one split: ``sizes seeds``, NaN where a run diverged or has no value."""

    sizes: npt.NDArray[np.int64]
    seeds: tuple[int, ...]
    values: npt.NDArray[np.float64]


def summary_of(
    table: pl.DataFrame,
    factor: float,
    goal: tuple[float | None, float | None],
    n_bootstrap: int,
    edges: Mapping[float, Sequence[str]],
) -> Summary:
    """Everything that the table of a label budget says.

    Args:
        table: of the analysis.
        factor: how many times the labels the gain is told for.
        goal: a share of the plateau, or a value of the metric.
        n_bootstrap: draws of the limits.
        edges: of each budget with a search of its own, whose best rate lies at an end of its grid.
    """
    runs = table.filter(pl.col("level") == "network").sort("variant", "fraction", maintain_order=True)
    estimates = estimated(runs, [_METRIC])
    validation = {variant: _errors(runs, variant, "validation") for variant in _VARIANTS}
    words: list[str] = []
    families: dict[str, Any] = {}
    for variant in _VARIANTS:
        flags: tuple[Flag, ...] = ("edge_of_grid",) if any(variant in names for names in edges.values()) else ()
        curve, why = _fitted(validation[variant], n_bootstrap)
        found = list(_answers(variant, curve, why, factor, goal, flags))
        estimates += found
        estimates += _proof(variant, validation[variant], _errors(runs, variant, "test"), n_bootstrap)
        if curve is not None:
            families[variant] = {"family": curve.family, "held_back": dict(curve.held_back)}
            words.append(_said(found, runs["metric"][0], curve))
        else:
            words.append(f"{shown(variant)}: undecided, {why}")
    worth = list(_worth(validation, n_bootstrap))
    estimates += worth
    words.append(_worth_said(worth))
    return Summary(f"{'; '.join(words)}.", tuple(estimates), _notes(runs, families, edges), {"families": families})


def _errors(runs: pl.DataFrame, variant: str, split: str) -> _Errors:
    own = runs.filter((pl.col("variant") == variant) & (pl.col("split") == split))
    seeds = tuple(sorted(own["seed"].unique()))
    # Of parts with several labels per image the seeds' sizes differ by an image or two.
    sizes = own.group_by("fraction").agg(pl.col("images").max()).sort("fraction").unique("images", keep="last")
    rows = sizes.sort("images")
    values = np.full((rows.height, len(seeds)), np.nan)
    places = {fraction: at for at, fraction in enumerate(rows["fraction"])}
    for fraction, seed, value in own.select("fraction", "seed", "value").iter_rows():
        if fraction in places and value is not None:
            values[places[fraction], seeds.index(seed)] = 1 - value
    known = ~np.isnan(values).all(axis=1) if len(seeds) else np.zeros(rows.height, dtype=bool)
    return _Errors(rows["images"].to_numpy()[known], seeds, values[known])


def _fitted(errors: _Errors, n_bootstrap: int) -> "tuple[LabelCurve | None, str]":
    """The curve, or why there is none."""
    from transferscope.measures.label_curve import label_curve

    if len(errors.sizes) < 3:
        return None, f"a curve needs 3 budgets with a finished run, there are {len(errors.sizes)}"
    return label_curve(errors.sizes, errors.values, draws=n_bootstrap), ""


def _answers(
    variant: str,
    curve: "LabelCurve | None",
    why: str,
    factor: float,
    goal: tuple[float | None, float | None],
    flags: tuple[Flag, ...],
) -> Iterator[Estimate]:
    share, target = goal
    said = f"metric {target:.3g}" if target is not None else f"{100 * (share or 0):.3g} % of its plateau"
    if curve is None:
        yield _GAIN.undefined(why, flags=("few_budgets",), variant=variant, factor=factor)
        yield _NEEDED.undefined(why, flags=("few_budgets",), variant=variant, goal=said)
        return
    gain = curve.gain(factor)
    note = f"by the family {curve.family}" + (", chosen by extrapolation" if curve.held_back else ", not chosen")
    verdict = {1: "gains", -1: "loses", 0: "undecided"}[side_of(gain.low, gain.high)]
    yield _GAIN.of(gain, note, flags=flags, verdict=verdict, variant=variant, factor=factor)
    reached = target if target is not None else (share or 0) * (1 - curve.plateau())
    needed = curve.needed(1 - reached)
    place = None
    if needed.value is None:
        place = "fewer" if curve.curve([curve.sizes[0]])[0, 0] <= 1 - reached else "more"
    about = f"a metric of {reached:.3f}"
    yield _NEEDED.of(needed, about, note, flags=flags, verdict=place, variant=variant, goal=said)


def _proof(variant: str, validation: _Errors, test: _Errors, n_bootstrap: int) -> Iterator[Estimate]:
    """The gain to all images as it would have been promised without them, and as it is on test data."""
    from transferscope.measures.intervals import paired_seeds_interval

    if len(validation.sizes) < 4 or len(test.sizes) < 2 or (test.sizes[-2:] != validation.sizes[-2:]).any():
        return
    images = int(validation.sizes[-2])
    known = _Errors(validation.sizes[:-1], validation.seeds, validation.values[:-1])
    curve, _ = _fitted(known, n_bootstrap)
    before, after = test.values[-2:]
    both = ~np.isnan(before) & ~np.isnan(after)
    if curve is None or not both.any():
        return
    promise = curve.gain(float(validation.sizes[-1] / images))
    proved = paired_seeds_interval(list(1 - after[both]), list(1 - before[both]), bounds=DIFFERENCE)
    kept = (promise.low or 0) <= (proved.value or 0) <= (promise.high or 0)
    at: dict[str, Any] = {"variant": variant, "images": images}
    yield _PROMISED.of(promise, "from validation data of the smaller budgets alone", **at)
    yield _PROVED.of(proved, verdict="within its limits" if kept else "outside its limits", **at)


def _worth(validation: Mapping[str, _Errors], n_bootstrap: int) -> Iterator[Estimate]:
    """Label multipliers of P-T over RI-T, and where they cross."""
    from transferscope.measures.intervals import paired_seeds_interval
    from transferscope.measures.label_multiplier import label_crossover, label_multipliers

    ours, theirs = (validation[variant] for variant in ("P_T", "RI_T"))
    sizes = np.intersect1d(ours.sizes, theirs.sizes)
    seeds = [seed for seed in ours.seeds if seed in theirs.seeds]
    if len(sizes) < 2 or not seeds:
        why = f"both variants need 2 budgets with a finished run, there are {len(sizes)}"
        yield _CROSSOVER.undefined(why, len(seeds), ("few_budgets",))
        return
    both = [
        each.values[np.isin(each.sizes, sizes)][:, [each.seeds.index(seed) for seed in seeds]]
        for each in (ours, theirs)
    ]
    found = label_multipliers(sizes, *both, draws=n_bootstrap)
    # At the largest budget there is nothing to the right that RI-T could be as good at.
    for size, multiplier, better, worse in list(zip(sizes, found, *both, strict=True))[:-1]:
        known = ~np.isnan(better) & ~np.isnan(worse)
        # RI-T needs more labels exactly where it is worse: that is decided where no multiplier is measured, too.
        behind = (
            paired_seeds_interval(list(worse[known]), list(better[known]), bounds=DIFFERENCE) if known.any() else None
        )
        side = 0 if behind is None or behind.basis != "seeds" else side_of(behind.low, behind.high)
        verdict = {1: "worth more", -1: "worth less", 0: "undecided"}[side]
        yield _MULTIPLIER.of(multiplier, verdict=verdict, images=int(size))
    yield _CROSSOVER.of(label_crossover(sizes, *both, draws=n_bootstrap))


def _said(found: Sequence[Estimate], metric: str, curve: "LabelCurve") -> str:
    """``P-T: with 2 × the labels +1.9 points (0.8 to 3.1); for 95 % of its plateau 1,400 labels (900 to > 4,000)``."""
    from transferscope.measures.label_curve import FARTHEST

    gain, needed = found
    scale, unit, digits = (1.0, "", 3) if metric == "auc" else (100.0, " points", 1)
    assert gain.value is not None
    ends = " to ".join(f"{exact(scale * (end or 0)):+z.{digits}f}" for end in (gain.low, gain.high))
    undecided = ", undecided" if gain.verdict == "undecided" else ""
    gained = (
        f"with {gain.at['factor']:g} × the labels {exact(scale * gain.value):+z.{digits}f}{unit} ({ends}{undecided})"
    )
    counted = _counted(needed, curve.sizes[0], FARTHEST * curve.largest)
    return f"{shown(str(gain.at['variant']))}: {gained}, for {needed.at['goal']} {counted}"


def _counted(needed: Estimate, smallest: float, farthest: float) -> str:
    """``1,400 labels (900 to > 4,000)``; the bound where the number lies beyond what was measured or is trusted."""
    if needed.value is None:
        return f"> {rounded(farthest, 2)} labels" if needed.verdict == "more" else f"≤ {rounded(smallest, 2)} labels"
    assert needed.low is not None
    assert needed.high is not None
    high = f"{'> ' if needed.high >= farthest * (1 - 1e-9) else ''}{rounded(needed.high, 2)}"
    return f"{rounded(needed.value, 2)} labels ({rounded(needed.low, 2)} to {high})"


def _worth_said(worth: Sequence[Estimate]) -> str:
    multipliers = [item for item in worth if item.quantity == _MULTIPLIER.key]
    known = [item for item in multipliers if item.value is not None]
    if not multipliers:
        return f"how many labels of RI-T one of P-T is worth is undecided, {worth[0].note}"
    if not known:
        bounds = ", ".join(f"{item.note} at {item.at['images']}" for item in multipliers)
        return f"a label of P-T is worth, in labels of RI-T, {bounds} training images"
    said = []
    for item in known:
        limits = "no limits" if item.low is None or item.high is None else f"{item.low:.3g} to {item.high:.3g}"
        said.append(f"{item.value:.3g} at {item.at['images']} ({limits})")
    return f"a label of P-T is worth, in labels of RI-T, {', '.join(said)} training images"


def _notes(runs: pl.DataFrame, families: Mapping[str, Any], edges: Mapping[float, Sequence[str]]) -> tuple[str, ...]:
    beside = runs.select(pl.col("labels") - pl.col("images")).to_series().to_list()
    validation = max(beside, default=0)
    notes: list[str] = [
        f"at every budget {validation} validation images are used as well: labels that count, and that are not in the "
        "numbers of training labels",
        "parts are nested within a seed and drawn anew by each; all are trained for about as many updates",
        "decided from validation data; metrics and proved gains are of test data",
    ]
    searched = ", ".join(f"{share:g}" for share in edges)
    notes.append(
        f"the rate was searched at each of the fractions {searched}" if edges
        else "the rates are those chosen on all images: `rates: search` searches at each budget"
    )  # fmt: skip
    for share, variants in edges.items():
        if variants:
            whose = " and ".join(shown(variant) for variant in variants)
            notes.append(f"the best rate of {whose} lies at the edge of its grid at the fraction {share:g}")
    lost = runs.filter(pl.col("diverged") & (pl.col("split") == "validation")).sort("variant", "fraction", "seed")
    if lost.height:
        names = ", ".join(f"{shown(row['variant'])}[{row['seed']}] at {row['images']}" for row in lost.to_dicts())
        notes.append(f"diverged and left out: {names} training images")
    for variant, facts in families.items():
        tried = ", ".join(f"{name} {100 * error:.2g} %" for name, error in facts["held_back"].items())
        notes.append(
            f"{shown(variant)}: the curve is of the family {facts['family']}"
            + (f"; relative errors on budgets held back: {tried}" if tried else "; too few budgets to choose by")
        )
    return tuple(notes)
