"""How many times the labels one way of training needs to do as well as another; where one overtakes the other."""

import numpy as np
import numpy.typing as npt

from transferscope.arguments import checked
from transferscope.errors import MeasureError
from transferscope.measures.interval import Flag, Interval
from transferscope.measures.label_curve import ordered_errors, resampled_means
from transferscope.measures.label_families import Array

__all__ = ["label_crossover", "label_multipliers"]


@checked
def label_multipliers(
    sizes: npt.ArrayLike, better: npt.ArrayLike, worse: npt.ArrayLike, *, draws: int = 1000, seed: int = 0
) -> tuple[Interval, ...]:
    r"""The label multiplier at each size: :math:`m(n) = n' / n` with :math:`e_{worse}(n') = e_{better}(n)`.

    Both curves are made monotone (isotonic regression) and that of ``worse`` is interpolated between neighbouring sizes
    as a power law, log e linear in log n. It is never extrapolated: where no n' lies between the smallest and the
    largest size the value is None, and the note gives the bound, ``> n_max/n`` or ``< n_min/n``. Limits resample seeds,
    the same of both, widened by Student's t as seeds are few; one that lies beyond what was measured is that bound.
    Such values and limits are flagged ``beyond_range``.

    Args:
        sizes: ``sizes``, different numbers of examples.
        better: ``sizes`` or ``sizes seeds``, errors; NaN where a seed has none.
        worse: as ``better``, of the same seeds.
        draws: of the limits.
        seed: of the draws.

    Returns:
        One for each size, ascending.

    Raises:
        MeasureError: fewer than two sizes, or errors of unlike shapes, negative or not finite.

    Example:
        >>> sizes = [10, 40, 160, 640]
        >>> found = label_multipliers(sizes, [n**-0.5 for n in sizes], [2 * n**-0.5 for n in sizes])
        >>> [one.value and round(one.value, 6) for one in found], found[-1].note
        ([4.0, 4.0, 4.0, None], '> 1')
    """
    n, ours, theirs = _paired(sizes, better, worse)
    own = _multipliers(n, np.nanmean(ours, axis=1)[None], np.nanmean(theirs, axis=1)[None])[0]
    drawn = _multipliers(n, *_drawn(ours, theirs, draws, seed))
    return tuple(
        _bounded(float(value), drawn[:, at], (float(n[0] / n[at]), float(n[-1] / n[at])), ours.shape[1])
        for at, value in enumerate(own)
    )


@checked
def label_crossover(
    sizes: npt.ArrayLike, better: npt.ArrayLike, worse: npt.ArrayLike, *, draws: int = 1000, seed: int = 0
) -> Interval:
    """The number of examples from which on ``worse`` is as good as ``better``, or better than it.

    The difference of the two monotone curves is interpolated linearly in log n. Where ``better`` stays ahead the value
    is None and the note says ``> n_max``; where it is never ahead ``≤ n_min``.

    Args:
        sizes: as of :func:`label_multipliers`.
        better: as of :func:`label_multipliers`.
        worse: as of :func:`label_multipliers`.
        draws: of the limits.
        seed: of the draws.

    Raises:
        MeasureError: as :func:`label_multipliers`.

    Example:
        >>> found = label_crossover([10, 100, 1000], [0.4, 0.3, 0.2], [0.6, 0.4, 0.1])
        >>> round(found.value)
        316
    """
    n, ours, theirs = _paired(sizes, better, worse)
    own = _crossings(n, np.nanmean(ours, axis=1)[None], np.nanmean(theirs, axis=1)[None])[0]
    drawn = _crossings(n, *_drawn(ours, theirs, draws, seed))
    return _bounded(float(own), drawn, (float(n[0]), float(n[-1])), ours.shape[1])


def _paired(sizes: npt.ArrayLike, better: npt.ArrayLike, worse: npt.ArrayLike) -> tuple[Array, Array, Array]:
    n, ours = ordered_errors(sizes, better, least=2)
    _, theirs = ordered_errors(sizes, worse, least=2)
    if ours.shape != theirs.shape:
        raise MeasureError(
            "both curves are of the same sizes and seeds",
            expected=f"errors of shape {ours.shape}",
            got=str(theirs.shape),
        )
    return n, ours, theirs


def _drawn(ours: Array, theirs: Array, draws: int, seed: int) -> tuple[Array, Array]:
    """The same seeds of both."""
    from scipy.stats import norm, t

    both = np.concatenate([ours, theirs])
    drawn, seeds = resampled_means(both, draws, np.random.default_rng(seed)), both.shape[1]
    if seeds > 1:
        mean = np.nanmean(both, axis=1)
        drawn = np.maximum(mean + (drawn - mean) * t.ppf(0.975, seeds - 1) / norm.ppf(0.975), 0.0)
    return drawn[:, : len(ours)], drawn[:, len(ours) :]


def _monotone(errors: Array) -> Array:
    from scipy.optimize import isotonic_regression

    return np.stack([isotonic_regression(row, increasing=False).x for row in errors])


def _multipliers(n: Array, ours: Array, theirs: Array) -> Array:
    """``draws sizes``; infinite or 0 where there is none within the sizes measured."""
    log_n = np.log(n)
    found = np.empty_like(ours)
    least = np.maximum(1e-3 * theirs.max(axis=1), np.finfo(np.float64).tiny)
    for draw, (mine, other) in enumerate(zip(_monotone(ours), _monotone(theirs), strict=True)):
        # np.interp wants ascending errors; of equal errors the smallest size counts, which comes last then.
        kept = np.concatenate([[True], np.diff(other) < 0])
        logs, log_other = (np.log(np.maximum(each, least[draw])) for each in (mine, other[kept][::-1]))
        at = np.interp(logs, log_other, log_n[kept][::-1])
        ratio = np.exp(at) / n
        found[draw] = np.where(mine < other[-1], np.inf, np.where(mine > other[0], 0.0, ratio))
    return found


def _crossings(n: Array, ours: Array, theirs: Array) -> Array:
    log_n = np.log(n)
    ahead = _monotone(theirs) - _monotone(ours)
    found = np.empty(len(ahead))
    for draw, lead in enumerate(ahead):
        leading = np.flatnonzero(lead > 0)
        if not len(leading):
            found[draw] = 0.0
        elif leading[-1] == len(n) - 1:
            found[draw] = np.inf
        else:
            at = leading[-1]
            share = lead[at] / (lead[at] - lead[at + 1])
            found[draw] = np.exp(log_n[at] + share * (log_n[at + 1] - log_n[at]))
    return found


def _bounded(value: float, draws: Array, ends: tuple[float, float], seeds: int) -> Interval:
    """A number that is known between two ends alone: 0 and infinity stand for beyond the one and the other."""
    least, largest = ends
    if value in (0.0, np.inf):
        note = f"> {largest:,.4g}" if value else f"< {least:,.4g}"
        return Interval(None, None, None, seeds, None, note=note, flags=("beyond_range",))
    flags: list[Flag] = ["too_few_seeds"] if seeds < 3 else []
    if seeds < 2:
        return Interval(value, None, None, seeds, None, note="one seed: no interval", flags=tuple(flags))
    # Of draws themselves: between a number and infinity there is no limit.
    low, high = np.percentile(draws, [2.5, 97.5], method="closest_observation")
    if low == 0 or np.isinf(high):
        flags.append("beyond_range")
    low, high = min(max(float(low), least), value), max(min(float(high), largest), value)
    return Interval(value, low, high, seeds, "seeds" if seeds > 2 else None, flags=tuple(flags))
