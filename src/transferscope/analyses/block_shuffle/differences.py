"""What an ablation leaves of the gain of P-T over RI-T: rows of gaps with intervals over seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from transferscope.measures.families import bonferroni_confidence
from transferscope.measures.intervals import (
    DIFFERENCE,
    SHARE,
    Bounds,
    Interval,
    fieller,
    paired_seeds_interval,
    seeds_interval,
)

__all__ = ["Run", "Runs", "difference_row", "gap_row", "mean_row"]

_TWICE = (-2.0, 2.0)
"""What a difference of two differences of metrics can be."""


@dataclass(frozen=True)
class Run:
    """How one training ended.

    Attributes:
        test: final metric on ablated test images.
        speed: mean clean training metric over the epochs after 0; None where no epoch is common to all.
    """

    test: float
    speed: float | None


Runs = Mapping[tuple[int, int | None], Run]
"""Trainings of one variant by seed and permutation seed; those that diverged are left out."""


def mean_row(runs: Runs) -> dict[str, Any]:
    """Mean over seeds of one variant, with intervals.

    Args:
        runs: of the variant, at least one.
    """
    test = seeds_interval(_per_seed(runs, runs, "test"), bounds=SHARE)
    return _row(test, _interval(_per_seed(runs, runs, "speed"), SHARE))


def gap_row(p_t: Runs, ri_t: Runs, metric: str, chance: float, family: int) -> dict[str, Any] | None:
    """P-T − RI-T, paired by seed and permutation, and the share of P-T's metric that it is.

    The relative drop is 100 · (A_PT − A_RIT) / (A_PT − c), with c = 0.5 for AUC and 0 for accuracies, of means over
    seeds; null where A_PT is not above chance.

    Args:
        p_t: trainings of P-T.
        ri_t: trainings of RI-T.
        metric: ``top1``, ``top5`` or ``auc``.
        chance: of :func:`chance_level`.
        family: how many gaps the simultaneous intervals hold for.

    Returns:
        A row; None where no seed has both.
    """
    shared = _shared(p_t, ri_t)
    better, worse = _per_seed(p_t, shared, "test"), _per_seed(ri_t, shared, "test")
    if not better:
        return None
    faster, slower = _per_seed(p_t, shared, "speed"), _per_seed(ri_t, shared, "speed")
    row = _row(
        paired_seeds_interval(better, worse, bounds=DIFFERENCE),
        paired_seeds_interval(faster, slower, bounds=DIFFERENCE) if faster and slower else None,
        paired_seeds_interval(better, worse, bonferroni_confidence(family), DIFFERENCE),
    )
    offset = 0.5 if metric == "auc" else 0.0
    if sum(better) / len(better) <= chance:
        return row
    drop = fieller([a - b for a, b in zip(better, worse, strict=True)], [value - offset for value in better], scale=1.0)
    for name, value in (
        ("relative_drop", drop.value),
        ("relative_drop_low", drop.low),
        ("relative_drop_high", drop.high),
    ):
        row[name] = None if value is None else 100 * value
    return row


def difference_row(ablated: tuple[Runs, Runs], plain: tuple[Runs, Runs], family: int) -> dict[str, Any] | None:
    """Difference of differences: the gap with the ablation minus the gap without, paired by seed.

    Args:
        ablated: P-T and RI-T on ablated images.
        plain: P-T and RI-T on whole images.
        family: how many differences the simultaneous intervals hold for.

    Returns:
        A row, negative where the ablation takes from the gain; None where no seed has all four.
    """
    gaps: list[dict[str, dict[int, float]]] = [
        {what: _gaps(p_t, ri_t, what) for what in ("test", "speed")} for p_t, ri_t in (ablated, plain)
    ]

    def differences(what: str) -> list[float]:
        seeds = sorted(set(gaps[0][what]) & set(gaps[1][what]))
        return [gaps[0][what][seed] - gaps[1][what][seed] for seed in seeds]

    test = differences("test")
    if not test:
        return None
    return _row(
        seeds_interval(test, bounds=_TWICE, scale=1.0),
        _interval(differences("speed"), _TWICE, 1.0),
        seeds_interval(test, bonferroni_confidence(family), _TWICE, 1.0),
    )


def _gaps(p_t: Runs, ri_t: Runs, what: str) -> dict[int, float]:
    shared = _shared(p_t, ri_t)
    seeds = sorted({seed for seed, _ in shared})
    first, second = _per_seed(p_t, shared, what), _per_seed(ri_t, shared, what)
    if not first or not second:
        return {}
    return {seed: a - b for seed, a, b in zip(seeds, first, second, strict=True)}


def _shared(a: Runs, b: Runs) -> list[tuple[int, int | None]]:
    return [place for place in a if place in b]


def _per_seed(runs: Runs, places: Any, what: str) -> list[float]:
    """One value for each seed, the mean over its permutations: the unit of every interval is the seed."""
    values: dict[int, list[float]] = {}
    for place in places:
        value = getattr(runs[place], what)
        if value is None:
            return []
        values.setdefault(place[0], []).append(value)
    return [sum(each) / len(each) for _, each in sorted(values.items())]


def _interval(values: Sequence[float], bounds: Bounds, scale: float | None = None) -> Interval | None:
    return seeds_interval(values, bounds=bounds, scale=scale) if values else None


def _row(test: Interval, speed: Interval | None, simultaneous: Interval | None = None) -> dict[str, Any]:
    row: dict[str, Any] = {"test_metric": test.value, "test_low": test.low, "test_high": test.high}
    row |= {"basis": test.basis, "n": test.n}
    if speed is not None:
        row |= {"speed": speed.value, "speed_low": speed.low, "speed_high": speed.high}
    if simultaneous is not None and simultaneous.basis == "seeds":
        row |= {"simultaneous_low": simultaneous.low, "simultaneous_high": simultaneous.high}
    return row
