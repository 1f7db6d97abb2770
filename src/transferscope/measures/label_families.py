"""Families of curves of error against the number of examples, fitted over whole grids: no start, no local minimum."""

from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from transferscope.errors import MeasureError

__all__ = ["FAMILIES", "Family", "FamilyName", "FittedCurves", "fit_family"]

Array = npt.NDArray[np.float64]
FamilyName = Literal["power", "power_floor", "rectified", "m4"]

_EXPONENTS: Final = (0.005, 3.0)
_CURVATURES: Final = (0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0)
_HUBER = 1.345
_SMALLEST_SCALE = 0.01
"""Relative residuals below this are not told apart from a fit without any: all points then count alike."""


@dataclass(frozen=True)
class Family:
    r"""A family of decreasing curves :math:`e(n) = a\,g(n) + c` with :math:`a, c \ge 0`.

    :math:`g \in (0, 1)` solves :math:`g / (1 - g)^\alpha = (n / s)^{-b}`. With :math:`\alpha = 0` that is a power law,
    with :math:`\alpha = 1` the rectified one, :math:`g = 1 / (1 + (n / s)^b)`, whose fall begins around :math:`n = s`.

    Attributes:
        name: its key.
        parameters: how many are fitted.
        floor: whether :math:`c` may be above 0.
        phase: whether :math:`s` is fitted.
        curvature: :math:`\alpha`; None where it is fitted.
    """

    name: FamilyName
    parameters: int
    floor: bool
    phase: bool
    curvature: float | None


FAMILIES: Final[tuple[Family, ...]] = (
    Family("power", 2, floor=False, phase=False, curvature=0.0),
    Family("power_floor", 3, floor=True, phase=False, curvature=0.0),
    Family("rectified", 4, floor=True, phase=True, curvature=1.0),
    Family("m4", 5, floor=True, phase=True, curvature=None),
)
"""From few parameters to many."""


@dataclass(frozen=True, eq=False)
class FittedCurves:
    r"""Curves of one family, one for each draw; see :class:`Family` for what the parameters mean.

    Attributes:
        alpha: ``draws``.
        b: ``draws``, the exponent.
        log_s: ``draws``, the logarithm of the scale.
        a: ``draws``.
        c: ``draws``, the floor.
        weights: ``draws sizes``, by which points were weighted down as outliers.
    """

    alpha: Array
    b: Array
    log_s: Array
    a: Array
    c: Array
    weights: Array

    def __call__(self, sizes: npt.ArrayLike) -> Array:
        """The error of each curve: ``draws sizes``; sizes are ``sizes``, or ``draws sizes``."""
        log_n = np.log(np.asarray(sizes, dtype=np.float64))
        g = _shape(self.alpha[:, None], self.b[:, None], self.log_s[:, None], log_n)
        return self.a[:, None] * g + self.c[:, None]


def _shape(alpha: Array, b: Array, log_s: Array, log_n: Array) -> Array:
    """``g`` of :class:`Family`, by Newton's method for t = logit g, where g is not in closed form."""
    v = -b * (log_n - log_s)
    alpha = np.broadcast_to(alpha, v.shape)
    with np.errstate(over="ignore"):
        g = np.exp(v)
        rectified = 1 / (1 + np.exp(-v))
    g = np.where(alpha == 1, rectified, g)
    open_form = (alpha != 0) & (alpha != 1)
    if open_form.any():
        g[open_form] = _newton(alpha[open_form], v[open_form])
    return g


def _newton(alpha: Array, v: Array) -> Array:
    t = np.where(v < 0, v, v / alpha)
    for _ in range(7):
        value = alpha * np.logaddexp(0, t) - np.logaddexp(0, -t)
        sigma = 1 / (1 + np.exp(-np.clip(t, -700, 700)))
        t = t - (value - v) / (1 - sigma + alpha * sigma)
    found: Array = 1 / (1 + np.exp(-np.clip(t, -700, 700)))
    return found


def fit_family(
    family: Family,
    sizes: npt.ArrayLike,
    errors: npt.ArrayLike,
    weights: npt.ArrayLike | None = None,
    *,
    robust: bool = True,
    zooms: int = 48,
) -> FittedCurves:
    r"""The curves of a family that lie nearest to errors, for each draw.

    Given :math:`(\alpha, b, s)` the curve is linear in :math:`(a, c)`: these are solved for, bounded at 0; the others
    are looked for on a grid that covers all their range, and then on finer ones around the best. Residuals are relative
    to the error at their size; those that are outliers are weighted down (Huber's weights). Nothing is drawn.

    Args:
        family: which.
        sizes: ``sizes``, numbers of examples, ascending.
        errors: ``draws sizes``, not negative.
        weights: ``draws sizes``; None weighs all alike.
        robust: weight outliers down.
        zooms: how many finer grids.

    Raises:
        MeasureError: there are fewer sizes than parameters.
    """
    n, y = np.asarray(sizes, dtype=np.float64), np.atleast_2d(np.asarray(errors, dtype=np.float64))
    if len(n) < family.parameters:
        raise MeasureError(
            f"a curve of the family {family.name!r} needs more sizes",
            expected=f"at least {family.parameters}",
            got=str(len(n)),
            hint="take a family of fewer parameters, or give more budgets",
        )
    given = np.ones_like(y) if weights is None else np.broadcast_to(np.asarray(weights, dtype=np.float64), y.shape)
    level = np.maximum(y, 0.02 * y.max(axis=1, keepdims=True))
    level = np.where(level > 0, level, 1.0)
    search = _Search(family, np.log(n), zooms)
    outliers = np.ones_like(y)
    found = search.best(y, given / level**2)
    for _ in range(3 if robust else 0):
        relative = np.abs(found(n) - y) / level
        scale = np.maximum(1.4826 * np.median(relative, axis=1, keepdims=True), _SMALLEST_SCALE)
        outliers = np.minimum(1.0, _HUBER * scale / np.maximum(relative, np.finfo(np.float64).tiny))
        if (outliers == 1).all():
            break
        found = search.best(y, given * outliers / level**2)
    return replace(found, weights=given * outliers)


def _all(*values: Array) -> Array:
    """Every combination: ``combinations values``."""
    return np.stack([axis.ravel() for axis in np.meshgrid(*values, indexing="ij")], axis=1)


class _Search:
    """The nonlinear parameters of a family: a grid over their range, then finer ones around the best of each draw."""

    def __init__(self, family: Family, log_n: Array, zooms: int) -> None:
        self.family, self.log_n, self.zooms = family, log_n, zooms
        exponents = np.log(np.geomspace(*_EXPONENTS, 17 if family.phase else 61))
        span = max(float(log_n[-1] - log_n[0]), 1.0)
        scales = np.linspace(log_n[0] - span, log_n[-1] + span / 2, 15) if family.phase else log_n[:1]
        curvatures = np.array(_CURVATURES if family.curvature is None else [family.curvature])
        self.curvatures = len(curvatures)
        self.grid = _all(curvatures, exponents, scales)
        self.low = np.array([0.0, np.log(_EXPONENTS[0]), scales.min() - span])
        self.high = np.array([_CURVATURES[-1], np.log(_EXPONENTS[1]), scales.max() + span])
        self.steps = np.array(
            [
                0.25 if family.curvature is None else 0.0,
                exponents[1] - exponents[0],
                scales[1] - scales[0] if family.phase else 0.0,
            ]
        )
        self.around = _all(*(np.array([-1.0, 0.0, 1.0]) if step else np.zeros(1) for step in self.steps))
        self.shapes = self._shapes(self.grid)[None]

    def best(self, y: Array, weights: Array) -> FittedCurves:
        """The best curve of each draw; a single one is looked for from the best of each curvature, which is slower."""
        losses, a, c = self._solved(self.shapes, y, weights)
        if len(y) > 1:
            return self._refined(y, weights, losses.argmin(axis=1), losses, a, c)
        parts = np.split(losses[0], self.curvatures)
        at = np.array([part.argmin() + which * len(part) for which, part in enumerate(parts)])
        several = (np.repeat(each, len(at), axis=0) for each in (y, weights, losses, a, c))
        y, weights, losses, a, c = several
        found = self._refined(y, weights, at, losses, a, c)
        loss = (weights * (found(np.exp(self.log_n)) - y) ** 2).sum(axis=1)
        first = slice(int(loss.argmin()), int(loss.argmin()) + 1)
        return FittedCurves(**{name: value[first] for name, value in vars(found).items()})

    def _refined(
        self, y: Array, weights: Array, at: npt.NDArray[np.intp], losses: Array, a: Array, c: Array
    ) -> FittedCurves:
        """From a place on the grid on, for each draw."""
        rows = np.arange(len(y))
        theta, loss, a, c = self.grid[at], losses[rows, at], a[rows, at], c[rows, at]
        steps = self.steps
        for zoom in range(self.zooms):
            near = np.clip(theta[:, None] + self.around * steps, self.low, self.high)
            losses, near_a, near_c = self._solved(self._shapes(near), y, weights)
            at = losses.argmin(axis=1)
            better = losses[rows, at] < loss
            theta = np.where(better[:, None], near[rows, at], theta)
            loss, a, c = (
                np.where(better, new[rows, at], old) for new, old in ((losses, loss), (near_a, a), (near_c, c))
            )
            # A best that moves may lie further on: grids stay as wide for some time.
            if (zoom + 1) % max(1, self.zooms // 12) == 0 or not better.any():
                steps = steps / 2
        return FittedCurves(theta[:, 0], np.exp(theta[:, 1]), theta[:, 2], a, c, weights)

    def _shapes(self, theta: Array) -> Array:
        return _shape(theta[..., :1], np.exp(theta[..., 1:2]), theta[..., 2:3], self.log_n)

    def _solved(self, g: Array, y: Array, w: Array) -> tuple[Array, Array, Array]:
        """Weighted least squares for a and c at every grid point: loss, a, c of ``draws grid``."""
        if len(g) == 1:  # one grid for all draws
            s_g, s_gg, s_gy = w @ g[0].T, w @ (g[0] ** 2).T, (w * y) @ g[0].T
        else:
            s_g, s_gg, s_gy = ((w[:, None] * part).sum(-1) for part in (g, g**2, g * y[:, None]))
        s_w, s_y, s_yy = (part.sum(-1, keepdims=True) for part in (w, w * y, w * y**2))
        alone = s_gy / np.maximum(s_gg, np.finfo(np.float64).tiny)
        if not self.family.floor:
            return s_yy - alone * s_gy, alone, np.zeros_like(alone)
        determinant = s_w * s_gg - s_g**2
        # A curve that is as good as flat has no level of its own beside the floor.
        sound = determinant > 1e-13 * s_w * s_gg
        a = np.where(sound, (s_w * s_gy - s_g * s_y) / np.where(sound, determinant, 1.0), 0.0)
        a = np.maximum(a, 0.0)
        c = (s_y - a * s_g) / s_w
        a, c = np.where(c < 0, alone, a), np.maximum(c, 0.0)
        return s_yy - 2 * a * s_gy - 2 * c * s_y + a**2 * s_gg + 2 * a * c * s_g + c**2 * s_w, a, c
