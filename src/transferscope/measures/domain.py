"""Distance between two domains, from features: Fréchet, kernel, proxy-A, batch-norm moments.

Fréchet distance and proxy-A are biased: two halves of one data set are not at distance 0, and the more features and the
fewer examples, the further apart they seem. So :func:`against_halves` compares equal numbers of examples and gives the
distance of two halves of the first set beside it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from transferscope.errors import MeasureError
from transferscope.measures.arguments import check_axes, group_numbers, of_tensors
from transferscope.measures.logistic import fit_logistic, scaling

__all__ = [
    "DomainEstimate",
    "against_halves",
    "batch_norm_distance",
    "frechet_distance",
    "frechet_gaussian",
    "kernel_distance",
    "proxy_a_distance",
]


def _pair(a: Tensor, b: Tensor, least: int) -> tuple[Tensor, Tensor]:
    for name, side in (("first", a), ("second", b)):
        if side.ndim != 2 or len(side) < least or not side.numel():
            raise MeasureError(
                f"the {name} set of features does not fit",
                expected=f"'examples features', at least {least} examples of at least one feature",
                got=str(tuple(side.shape)),
            )
        if not bool(torch.isfinite(side).all()):
            raise MeasureError(f"the {name} set of features is not finite", expected="finite numbers")
    if a.shape[1] != b.shape[1]:
        raise MeasureError(
            "the two sets have features of their own", expected=f"{a.shape[1]} features", got=f"{b.shape[1]} features"
        )
    # Float64 is not there on every device, and decompositions are as fast here.
    return a.detach().cpu().double(), b.detach().cpu().double()


@of_tensors
def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Fréchet distance of the Gaussians with the moments of two sets (the "FID" where features are Inception's).

        ‖μ_a − μ_b‖² + tr(Σ_a + Σ_b − 2 (Σ_a Σ_b)^½)

    with unbiased covariances, in the squared unit of the features. tr (Σ_a Σ_b)^½ is the sum of the singular values of
    A Bᵀ / √((n_a − 1)(n_b − 1)), A and B the centred tables: no root of a matrix is taken, and fewer examples than
    features are no difficulty.

    At least 0; symmetric; biased upwards by about 1/n. Invariant to a common orthogonal map and a common offset, and to
    the order of examples; scales with the square of a common factor; not invariant to other linear maps.

    Args:
        a: ``examples features``, at least 2.
        b: ``examples features``; the numbers of examples may differ, but then so do the biases.

    Raises:
        MeasureError: shapes do not fit, or values are not finite.

    Reference: Dowson & Landau (1982); Heusel et al. (2017), eq. 6; the bias: Bińkowski et al. (2018), §4.

    >>> x = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [2.0, 2.0]])
    >>> round(frechet_distance(x, x + 3.0), 9)
    18.0
    """
    first, second = _pair(a, b, 2)
    mean_a, mean_b = first.mean(0), second.mean(0)
    root_a = torch.linalg.qr(first - mean_a, mode="r").R / math.sqrt(len(first) - 1)
    root_b = torch.linalg.qr(second - mean_b, mode="r").R / math.sqrt(len(second) - 1)
    between = float(torch.linalg.svdvals(root_a @ root_b.T).sum())
    spread = float(root_a.square().sum() + root_b.square().sum()) - 2 * between
    return float((mean_a - mean_b).square().sum()) + max(0.0, spread)


@of_tensors
def frechet_gaussian(mean_a: Tensor, covariance_a: Tensor, mean_b: Tensor, covariance_b: Tensor) -> float:
    """Fréchet distance of two Gaussians of known moments: the closed form of :func:`frechet_distance`.

    Args:
        mean_a: ``features``.
        covariance_a: ``features features``, symmetric, no negative eigenvalue beyond rounding.
        mean_b: as ``mean_a``.
        covariance_b: as ``covariance_a``.

    Raises:
        MeasureError: shapes do not fit, or a covariance is not one.

    >>> one = torch.eye(3)
    >>> round(frechet_gaussian(torch.zeros(3), one, torch.zeros(3), 4 * one), 9)
    3.0
    """
    check_axes("mean_a", mean_a, None)
    size = len(mean_a)
    check_axes("mean_b", mean_b, size)
    if not all(bool(torch.isfinite(part).all()) for part in (mean_a, covariance_a, mean_b, covariance_b)):
        raise MeasureError("a mean or covariance is not finite", expected="finite numbers", got="NaN or infinity")
    for matrix in (covariance_a, covariance_b):
        if matrix.shape != (size, size) or len(mean_b) != size:
            raise MeasureError(
                "means and covariances do not fit each other",
                expected=f"({size},) and ({size}, {size})",
                got=f"{tuple(mean_b.shape)} and {tuple(matrix.shape)}",
            )
    root_a, root_b = _root(covariance_a), _root(covariance_b)
    between = float(torch.linalg.svdvals(root_a @ root_b).sum())
    spread = float(covariance_a.double().trace() + covariance_b.double().trace()) - 2 * between
    return float((mean_a.double() - mean_b.double()).square().sum()) + max(0.0, spread)


def _root(covariance: Tensor) -> Tensor:
    matrix = covariance.detach().cpu().double()
    values, vectors = torch.linalg.eigh(matrix)
    if not torch.allclose(matrix, matrix.T, rtol=1e-9, atol=1e-12) or float(values[0]) < -1e-8 * float(values[-1]):
        raise MeasureError(
            "the matrix is no covariance",
            expected="a symmetric matrix without negative eigenvalues",
            got=f"smallest eigenvalue {float(values[0]):.3g}",
        )
    root: Tensor = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    return root


@of_tensors
def kernel_distance(a: Tensor, b: Tensor) -> float:
    """Squared maximum mean discrepancy with the kernel of KID, unbiased.

        k(x, y) = (xᵀy / features + 1)³
        MMD² = mean_{i≠j} k(a_i, a_j) + mean_{i≠j} k(b_i, b_j) − 2 mean_{i,j} k(a_i, b_j)

    The mean over samples is the true value, so it may be negative near 0, and numbers of examples may differ.
    Symmetric. Invariant to a common orthogonal map and to the order of examples; not to an offset or a scale.

    Args:
        a: ``examples features``, at least 2.
        b: ``examples features``, at least 2.

    Raises:
        MeasureError: shapes do not fit, or values are not finite.

    Reference: Gretton et al. (2012), eq. 3; Bińkowski et al. (2018), §3.

    >>> x = torch.tensor([[1.0], [-1.0]])
    >>> kernel_distance(x, x)
    -8.0
    """
    first, second = _pair(a, b, 2)
    width = first.shape[1]

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        return (x @ y.T / width + 1) ** 3

    def within(x: Tensor) -> float:
        values = kernel(x, x)
        return float(values.sum() - values.diagonal().sum()) / (len(x) * (len(x) - 1))

    return within(first) + within(second) - 2 * float(kernel(first, second).mean())


@of_tensors
def proxy_a_distance(
    train_a: Tensor, train_b: Tensor, test_a: Tensor, test_b: Tensor, *, penalty: float = 0.01
) -> float:
    """Proxy-A distance: how well a linear classifier tells two domains apart on examples it has not seen.

        2 (1 − 2 min(err, ½)), err = ½ (share of test_a taken for b + share of test_b taken for a)

    The classifier is logistic regression with an ℓ2 penalty, both domains with equal weight, on features standardised
    by the training examples of both. 0: no better than a coin; 2: no error. Biased upwards at 0, as errors above ½
    count as ½. Symmetric. Invariant to the order of examples and to a common scale and offset of each feature.

    Args:
        train_a: ``examples features``, as many as ``train_b``.
        train_b: as ``train_a``.
        test_a: held-out examples.
        test_b: held-out examples.
        penalty: of :func:`~transferscope.measures.logistic.fit_logistic`.

    Raises:
        MeasureError: shapes do not fit, or the training sets are not of one size.

    Reference: Ben-David et al. (2007), §4; Ganin et al. (2016), §3.1.

    >>> x = torch.arange(8.0).reshape(8, 1) / 10
    >>> proxy_a_distance(x, x + 5, x + 0.01, x + 5.01)
    2.0
    """
    first, second = _pair(train_a, train_b, 2)
    held_a, held_b = _pair(test_a, test_b, 1)
    _pair(train_a[:2], test_a[:1].expand(2, -1), 2)
    if len(first) != len(second):
        raise MeasureError(
            "the domains are not balanced",
            expected=f"as many training examples of both, {min(len(first), len(second))}",
            got=f"{len(first)} and {len(second)}",
        )
    both = torch.cat([first, second])
    scale = scaling(both)
    labels = torch.arange(2).repeat_interleave(len(first))
    fit = fit_logistic(scale.apply(both), labels, 2, penalty)

    def taken_for_b(features: Tensor) -> float:
        logits = fit.logits(scale.apply(features))
        margin = logits[:, 1] - logits[:, 0]
        # A tie is half an error, whichever domain it comes from.
        return float((margin > 0).double().mean() + 0.5 * (margin == 0).double().mean())

    error = (taken_for_b(held_a) + 1 - taken_for_b(held_b)) / 2
    return 2 * (1 - 2 * min(error, 0.5))


@of_tensors
def batch_norm_distance(
    mean: Tensor, variance: Tensor, running_mean: Tensor, running_variance: Tensor, *, epsilon: float = 1e-5
) -> float:
    """How far the activations that enter a batch norm are from the statistics it holds of its training data.

        mean over channels of [(μ − μ_P)² + (σ − σ_P)²] / (½ (σ² + σ_P²) + ε)

    The numerator is the squared Fréchet distance of two one-dimensional Gaussians; the denominator makes it free of the
    channel's scale, and keeps a channel that hardly varies in P from deciding everything. No source image is needed. At
    least 0; symmetric. Invariant to a scale or an offset of a channel (but for ε) and to the order of channels.

    Args:
        mean: ``channels``, of the activations on the target.
        variance: ``channels``.
        running_mean: ``channels``, held by the layer.
        running_variance: ``channels``.
        epsilon: the layer's own.

    Raises:
        MeasureError: shapes differ, or a variance is negative.

    >>> one = torch.ones(4)
    >>> round(batch_norm_distance(2 * one, one, 0 * one, one), 3)
    4.0
    """
    sides = [values.detach().cpu().double() for values in (mean, variance, running_mean, running_variance)]
    if len({tuple(values.shape) for values in sides}) > 1 or sides[0].ndim != 1 or not len(sides[0]):
        raise MeasureError(
            "moments do not fit each other",
            expected="four times 'channels'",
            got=", ".join(str(tuple(values.shape)) for values in sides),
        )
    if bool((sides[1] < 0).any() or (sides[3] < 0).any()):
        raise MeasureError("a variance is negative", expected="at least 0")
    apart = (sides[0] - sides[2]).square() + (sides[1].sqrt() - sides[3].sqrt()).square()
    return float((apart / ((sides[1] + sides[3]) / 2 + epsilon)).mean())


@dataclass(frozen=True)
class DomainEstimate:
    """A distance of two sets beside the distance of two halves of the first.

    Attributes:
        value: mean over the draws, at ``examples`` from each set.
        standard_error: of ``value``; see :func:`against_halves`.
        null: mean distance of two halves of the first set, at as many examples.
        null_deviation: spread of that over the draws.
        excess: value − null.
        excess_error: standard error of ``excess``.
        examples: from each set, in each draw.
        draws: how many.
    """

    value: float
    standard_error: float
    null: float
    null_deviation: float
    excess: float
    excess_error: float
    examples: int
    draws: int


@of_tensors
def against_halves(
    distance: Callable[[Tensor, Tensor, Tensor, Tensor], float],
    a: Tensor,
    b: Tensor,
    *,
    groups_a: npt.ArrayLike | None = None,
    groups_b: npt.ArrayLike | None = None,
    held_out: bool = False,
    draws: int = 20,
    seed: int = 0,
) -> DomainEstimate:
    """A distance at equal numbers of examples, with its null: the same between two halves of the first set.

    In each draw the first set is cut at random into two halves, and of the second a part of the same size is taken; the
    distance of one half to that part stands against the distance of the two halves. The spread over the draws is the
    standard error (delete-half jackknife; Shao & Wu 1989): about that of one statistic of the whole sets, too large
    where one set has many more examples than are used.

    Args:
        distance: called as ``distance(a, b, held_out_a, held_out_b)``; the last two are empty unless ``held_out``.
        a: ``examples features``, the first set.
        b: ``examples features``.
        groups_a: ``examples``, what must not be torn apart (a patient); None where unknown.
        groups_b: as ``groups_a``.
        held_out: give the distance held-out examples too: each part is cut in two again.
        draws: at least 2.
        seed: of the draws.

    Raises:
        MeasureError: too few examples or draws.

    >>> generator = torch.Generator().manual_seed(0)
    >>> a, b = (torch.randn(400, 4, generator=generator) for _ in range(2))
    >>> near = against_halves(lambda x, y, *_: frechet_distance(x, y), a, b)
    >>> near.examples, abs(near.excess) < 3 * near.excess_error, near.value > 0
    (200, True, True)
    """
    if draws < 2:
        raise MeasureError("a standard error needs draws", expected="at least 2", got=str(draws))
    pieces = 4 if held_out else 2
    labels_a, labels_b = _labels(groups_a, len(a)), _labels(groups_b, len(b))
    size = min(_piece(labels_a, pieces), _piece(labels_b, pieces // 2))
    if size < 2:
        raise MeasureError(
            "there are too few examples to halve a set",
            expected=f"at least {2 * pieces} of the first and {pieces} of the second, not all of one group",
            got=f"{len(a)} and {len(b)}",
        )
    generator = np.random.default_rng(seed)
    nothing = a[:0]
    values, nulls = [], []
    for _ in range(draws):
        own = [a[part] for part in _drawn(labels_a, pieces, size, generator)]
        other = [b[part] for part in _drawn(labels_b, pieces // 2, size, generator)]
        if held_out:
            values.append(distance(own[0], other[0], own[1], other[1]))
            nulls.append(distance(own[0], own[2], own[1], own[3]))
        else:
            values.append(distance(own[0], other[0], nothing, nothing))
            nulls.append(distance(own[0], own[1], nothing, nothing))
    value, null = np.asarray(values), np.asarray(nulls)
    return DomainEstimate(
        value=float(value.mean()),
        standard_error=float(value.std(ddof=1)),
        null=float(null.mean()),
        null_deviation=float(null.std(ddof=1)),
        excess=float((value - null).mean()),
        excess_error=float((value - null).std(ddof=1)),
        examples=size,
        draws=draws,
    )


def _labels(groups: npt.ArrayLike | None, examples: int) -> npt.NDArray[np.intp]:
    return np.arange(examples) if groups is None else group_numbers(groups, examples, name="groups")


def _piece(labels: npt.NDArray[np.intp], pieces: int) -> int:
    """Examples that every piece surely has, where no group may lie in two of them."""
    if not len(labels):
        return 0
    if pieces == 1:
        # One piece is a half all the same, so that its spread over draws is that of a half.
        return _piece(labels, 2)
    largest = int(np.bincount(labels).max())
    return (len(labels) - (pieces - 1) * (largest - 1)) // pieces


def _drawn(labels: npt.NDArray[np.intp], pieces: int, size: int, generator: np.random.Generator) -> list[torch.Tensor]:
    """``pieces`` random disjoint sets of ``size`` examples, whole groups in one piece."""
    places = generator.permutation(int(labels.max()) + 1)
    order = np.argsort(places[labels], kind="stable")
    ranks = places[labels][order]
    found, start = [], 0
    for _ in range(pieces):
        found.append(torch.from_numpy(order[start : start + size].copy()))
        start += size
        # On to the next group: the rest of this one has a half of it already.
        while 0 < start < len(order) and ranks[start] == ranks[start - 1]:
            start += 1
    return found
