"""What more labels would bring: curves of error against the number of examples, and their honest extrapolation."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from transferscope.arguments import checked
from transferscope.errors import MeasureError
from transferscope.measures.interval import Flag, Interval
from transferscope.measures.label_families import FAMILIES, Array, Family, FamilyName, FittedCurves, fit_family

__all__ = ["FARTHEST", "LabelCurve", "label_curve", "ordered_errors", "resampled_means"]

FARTHEST: Final = 8.0
"""How many times the largest measured number of examples a curve is trusted for; beyond it answers are flagged."""
_HELD_BACK = 0.25
_COARSE = 4
_LEAST = 0.02
"""Errors below this share of the largest are not told apart where errors are compared as ratios."""
_CONFIDENCE = 0.95


@dataclass(frozen=True, eq=False)
class LabelCurve:
    """A curve of error against the number of examples, with draws of what it may be.

    Attributes:
        sizes: ``sizes``, numbers of examples, ascending.
        errors: ``sizes``, mean over seeds.
        seeds: how many there are.
        family: that was chosen.
        held_back: by family, mean relative error on the largest sizes when these were held back; empty where there were
            too few sizes to choose by.
        curve: the fit to all sizes.
        draws: fits to resampled seeds and points, of families chosen anew.
        misfit: ``draws``, how fast each drawn curve goes astray beyond the largest size, per unit of log n.
        flags: what is wrong with it.
    """

    sizes: Array
    errors: Array
    seeds: int
    family: FamilyName
    held_back: Mapping[FamilyName, float]
    curve: FittedCurves
    draws: FittedCurves
    misfit: Array
    flags: tuple[Flag, ...] = field(default=())

    @property
    def largest(self) -> float:
        """The largest number of examples measured."""
        return float(self.sizes[-1])

    def error_at(self, size: float) -> Interval:
        """The error with so many examples."""
        return self._interval(float(self.curve([size])[0, 0]), self._drawn([size])[:, 0], self._beyond(size))

    def gain(self, factor: float = 2.0) -> Interval:
        """How much lower the error is with ``factor`` times the largest number of examples.

        Raises:
            MeasureError: ``factor`` is not above 1.
        """
        if not factor > 1:
            raise MeasureError("more labels are a factor above 1", expected="for example 2", got=str(factor))
        ends = [self.largest, factor * self.largest]
        now, then = self.curve(ends)[0]
        drawn = self._drawn(ends)
        return self._interval(float(now - then), drawn[:, 0] - drawn[:, 1], self._beyond(ends[1]))

    def plateau(self) -> float:
        """The error that is left with any number of examples, by the curve."""
        return float(self.curve.c[0])

    def needed(self, error: float) -> Interval:
        """How many examples bring the error down to a value.

        A limit that lies beyond what the curve is trusted for is that bound, flagged ``beyond_range``; the number
        itself is then None, and the note says so. Below the smallest size measured it is the same.
        """
        grid = np.geomspace(self.sizes[0], FARTHEST * self.largest, 600)
        value = float(_first_below(self.curve(grid), error, grid)[0])
        drawn = _first_below(self._drawn(grid), error, grid)
        bound = f"> {grid[-1]:,.0f}" if np.isinf(value) else f"≤ {grid[0]:,.0f}" if value == 0 else ""
        flags = self._beyond(value)
        if bound:
            note = f"{bound}: not within {FARTHEST:g} × the examples measured" if np.isinf(value) else bound
            return Interval(None, None, None, self.seeds, None, note=note, flags=(*self.flags, "beyond_range"))
        cut = np.clip(drawn, grid[0], grid[-1])
        found = self._interval(value, cut, flags)
        open_ended = found.high == grid[-1] or found.low == grid[0]
        return replace(found, flags=(*found.flags, "beyond_range")) if open_ended else found

    def _drawn(self, sizes: npt.ArrayLike) -> Array:
        n = np.asarray(sizes, dtype=np.float64)
        astray = np.maximum(np.log(n / self.largest), 0.0)
        with np.errstate(over="ignore"):
            found = self.draws(n) * np.exp(self.misfit[:, None] * astray)
        # More examples do not do worse than the fewest did.
        return np.asarray(np.minimum(found, self.errors.max()))

    def _beyond(self, size: float) -> tuple[Flag, ...]:
        return ("extrapolated",) if FARTHEST * self.largest * (1 + 1e-9) < size < np.inf else ()

    def _interval(self, value: float, drawn: Array, flags: tuple[Flag, ...]) -> Interval:
        tail = 50 * (1 - _CONFIDENCE)
        low, high = np.percentile(drawn, [tail, 100 - tail])
        few: tuple[Flag, ...] = ("too_few_seeds",) if self.seeds < 3 else ()
        return Interval(
            value, min(float(low), value), max(float(high), value), self.seeds, "seeds" if self.seeds > 2 else None,
            _CONFIDENCE, flags=tuple(dict.fromkeys((*self.flags, *few, *flags))),
        )  # fmt: skip


@checked
def label_curve(sizes: npt.ArrayLike, errors: npt.ArrayLike, *, draws: int = 200, seed: int = 0) -> LabelCurve:
    r"""The curve of error against the number of examples, of the family that extrapolates best.

    The families are a power law :math:`a n^{-b}`, one with a floor :math:`a n^{-b} + c`, its rectified form
    :math:`B / (D + n^b) + c` (Lin et al. 2024), flat before it falls, and M4 (Alabdulmohsin et al. 2022),
    :math:`(e - c) / (e_0 - e)^\alpha = \beta n^{-b}`. The largest quarter of the sizes is held back; each family with
    fewer parameters than sizes are left is fitted to the rest, and that with the smallest relative error on what was
    held back is fitted to all. How well a family fits counts for nothing.

    Limits are percentiles of draws, which resample seeds (whole, so that what a seed's budgets share stays together)
    and weigh points anew (exponential weights), and take a family at random, the more often the less it erred on what
    was held back. Beyond the largest size each draw goes astray as earlier forecasts did: the chosen family is fitted
    to the first sizes, for every number of them; the root mean square of its errors on the next ones, per unit of log
    n, times Student's t with as many degrees of freedom as there were forecasts, is the scale.

    Args:
        sizes: ``sizes``, different numbers of examples.
        errors: ``sizes`` or ``sizes seeds``, not negative, for example 1 − accuracy or a loss; NaN where a seed has
            none.
        draws: of the limits.
        seed: of the draws.

    Returns:
        With flags: ``few_budgets`` where not all families could be fitted; ``not_monotone`` where the error rises from
        one size to a larger one by more than twice its standard error.

    Raises:
        MeasureError: fewer than three different sizes, or errors that are negative or not finite.

    Example:
        >>> sizes = [10, 30, 100, 300, 1000]
        >>> curve = label_curve(sizes, [0.5 * n**-0.4 + 0.05 for n in sizes])
        >>> curve.family, round(float(curve.curve.b[0]), 3), round(curve.plateau(), 3)
        ('power_floor', 0.4, 0.05)
    """
    n, table = ordered_errors(sizes, errors)
    generator = np.random.default_rng(seed)
    drawn = resampled_means(table, draws, generator)
    mean = np.nanmean(table, axis=1)
    weights = generator.exponential(size=drawn.shape)
    held = max(1, round(_HELD_BACK * len(n)))
    families = [family for family in FAMILIES if len(n) - held > family.parameters] or [FAMILIES[0]]
    judged = len(n) - held > FAMILIES[0].parameters
    scores, curves, refits = [], [], []
    for family in families:
        whole = fit_family(family, n, mean)
        curves.append(whole)
        weighed = weights * whole.weights
        refits.append(fit_family(family, n, drawn, weighed, robust=False, zooms=_COARSE))
        if judged:
            first = fit_family(family, n[:-held], mean[:-held])
            again = fit_family(family, n[:-held], drawn[:, :-held], weighed[:, :-held], robust=False, zooms=_COARSE)
            scores.append((_erred(first(n[-held:]), mean[-held:]), _erred(again(n[-held:]), drawn[:, -held:])))
    best, which = 0, np.zeros(draws, dtype=np.int64)
    if judged:
        best = int(np.argmin([own[0] for own, _ in scores]))
        chance = 1 / (np.stack([of_draws for _, of_draws in scores]) + 1e-6) ** 2
        cumulative = np.cumsum(chance / chance.sum(axis=0), axis=0)
        which = np.minimum((cumulative < generator.random(draws)).sum(axis=0), len(families) - 1)
    family = families[best]
    scale, degrees = _astray(family, n, table, held)
    flags: list[Flag] = []
    if len(families) < len(FAMILIES):
        flags.append("few_budgets")
    if _rises(table):
        flags.append("not_monotone")
    return LabelCurve(
        n, mean, table.shape[1], family.name,
        {item.name: float(own[0]) for item, (own, _) in zip(families, scores, strict=judged)},
        curves[best], _mixed(refits, which), scale * generator.standard_t(degrees, draws),
        tuple(flags),
    )  # fmt: skip


def ordered_errors(sizes: npt.ArrayLike, errors: npt.ArrayLike, least: int = 3) -> tuple[Array, Array]:
    """Sizes ascending, and errors ``sizes seeds`` in their order."""
    n, table = np.asarray(sizes, dtype=np.float64), np.asarray(errors, dtype=np.float64)
    table = table[:, None] if table.ndim == 1 else table
    if n.ndim != 1 or table.ndim != 2 or len(n) != len(table):
        raise MeasureError(
            "errors are of sizes, and of seeds where there are several",
            expected=f"errors of shape ({len(n) if n.ndim == 1 else 'sizes'},) or (sizes, seeds)",
            got=str(np.asarray(errors).shape),
        )
    if len(np.unique(n)) < max(least, len(n)) or not (n > 0).all():
        raise MeasureError(
            "a curve of labels needs different numbers of examples",
            expected=f"at least {least}, all above 0 and different",
            got=", ".join(f"{size:g}" for size in n.ravel()) or "none",
            hint="give more budgets",
        )
    if np.isinf(table).any() or (table < 0).any() or np.isnan(table).all(axis=1).any():
        raise MeasureError(
            "errors are not negative, and there is one at every size",
            expected="for example 1 − accuracy; NaN for a seed that has none",
            got=str(table.tolist()),
            hint="leave sizes at which every run diverged out",
        )
    order = np.argsort(n)
    return n[order], table[order]


def resampled_means(table: Array, draws: int, generator: np.random.Generator) -> Array:
    """Means over resampled seeds, as far from the mean as means over independent seeds are: ``draws sizes``."""
    k = table.shape[1]
    mean = np.nanmean(table, axis=1)
    if k == 1:
        return np.repeat(mean[None], draws, axis=0)
    counts = generator.multinomial(k, np.full(k, 1 / k), size=draws).astype(np.float64)
    known = ~np.isnan(table)
    total = counts @ np.where(known, table, 0.0).T
    number = counts @ known.T.astype(np.float64)
    drawn = np.where(number > 0, total / np.maximum(number, 1), mean)
    # Seeds are resampled too close to their mean, by √(k/(k − 1)).
    found: Array = np.maximum(mean + np.sqrt(k / (k - 1)) * (drawn - mean), 0.0)
    return found


def _erred(forecast: Array, errors: Array) -> Array:
    """Mean relative error of forecasts: ``draws``."""
    found: Array = np.abs(_log(forecast, errors) - _log(errors, errors)).mean(axis=-1)
    return found


def _log(values: Array, errors: Array) -> Array:
    """The logarithm of errors, which are not told apart far below those that were measured."""
    return np.asarray(np.log(np.maximum(values, max(_LEAST * float(errors.max()), np.finfo(np.float64).tiny))))


def _astray(family: Family, n: Array, table: Array, held: int) -> tuple[float, int]:
    """How far forecasts from the first sizes went astray, relative, per unit of log n; and how many there were.

    What the noise of the mean over seeds explains is no error of the forecast.
    """
    errors, noise = np.nanmean(table, axis=1), np.sqrt(_squared_error(table))
    squares = []
    for origin in range(min(family.parameters + 1, len(n) - 1), len(n)):
        after = slice(origin, origin + held)
        forecast = fit_family(family, n[:origin], errors[:origin], zooms=_COARSE + 4)(n[after])[0]
        wrong = _log(forecast, errors) - _log(errors[after], errors)
        explained = noise[after] / np.exp(_log(errors[after], errors))
        unexplained = np.maximum(wrong**2 - explained**2, 0.0)
        squares.append(np.mean(unexplained / np.log(n[after] / n[origin - 1]) ** 2))
    return float(np.sqrt(np.mean(squares))), len(squares)


def _squared_error(table: Array) -> Array:
    """The squared standard error of the mean over seeds: ``sizes``; 0 where there is one."""
    seeds = (~np.isnan(table)).sum(axis=1)
    return np.asarray(np.nanvar(table, axis=1) / np.maximum(seeds - 1, 1))


def _mixed(draws: list[FittedCurves], which: npt.NDArray[np.int64]) -> FittedCurves:
    """Of each draw the curve of the family that was taken."""
    rows = np.arange(len(which))
    fields = {name: np.stack([getattr(each, name) for each in draws])[which, rows] for name in vars(draws[0])}
    return FittedCurves(**fields)


def _rises(table: Array) -> bool:
    mean = np.nanmean(table, axis=1)
    spread = _squared_error(table)
    return bool((np.diff(mean) > 2 * np.sqrt(spread[1:] + spread[:-1]) + 1e-12).any())


def _first_below(errors: Array, error: float, sizes: Array) -> Array:
    """Where each row comes down to an error, linear in log n: 0 where it starts below, infinite where it never does."""
    below = errors <= error
    at = below.argmax(axis=1)
    rows = np.arange(len(errors))
    left, right = np.maximum(at - 1, 0), at
    high, low = errors[rows, left], errors[rows, right]
    share = np.where(high > low, (high - error) / np.where(high > low, high - low, 1.0), 0.0)
    log_n = np.log(sizes)
    found = np.exp(log_n[left] + share * (log_n[right] - log_n[left]))
    return np.where(~below.any(axis=1), np.inf, np.where(at == 0, 0.0, found))
