"""Representational similarity analysis: do two sets of features find the same pairs of examples alike?"""

from typing import Literal

import torch
from scipy import stats
from torch import Tensor

from transferscope.errors import MeasureError
from transferscope.measures.arguments import of_tensors
from transferscope.measures.grams import flat_and_scaled

__all__ = ["Dissimilarity", "dissimilarities", "rank_scores", "rsa", "rsa_of"]

Dissimilarity = Literal["euclidean", "correlation"]


@of_tensors
def dissimilarities(features: Tensor, kind: Dissimilarity = "euclidean") -> Tensor | None:
    """The dissimilarity of every pair of examples: what stands above the diagonal of an RDM, row by row.

    Args:
        features: ``examples ...``, floating point; everything after the first axis is flattened.
        kind: ``euclidean``: distance, invariant to orthogonal maps and offset of the features; ``correlation``: 1 −
            Pearson's r between the features of two examples, which an offset of the features changes.

    Returns:
        float64 ``pairs``, n(n − 1)/2 of them, on the CPU; None where ``correlation`` meets an example whose features
        are all equal.

    Raises:
        MeasureError: fewer than 3 examples, not floating point, not finite, or another kind.

    >>> dissimilarities(torch.tensor([[0.0], [3.0], [4.0]])).tolist()
    [3.0, 4.0, 1.0]
    """
    if features.dim() < 2 or features.shape[0] < 3 or not features.is_floating_point():
        raise MeasureError(
            "these features have no dissimilarities",
            expected="a floating-point tensor, examples first, with at least two axes and three examples",
            got=f"{features.dtype} of shape {tuple(features.shape)}",
        )
    flat, scale = flat_and_scaled(features)
    n = flat.shape[0]
    rows, columns = torch.triu_indices(n, n, 1)
    if kind == "euclidean":
        return torch.pdist(flat) / scale
    centred = flat - flat.mean(1, keepdim=True)
    norms = centred.norm(dim=1)
    rounding = torch.finfo(features.dtype).eps * flat.norm(dim=1)
    if bool((norms <= rounding).any()):
        return None
    unit = centred / norms[:, None]
    above: Tensor = (1 - unit @ unit.T)[rows, columns]
    return above


@of_tensors
def rank_scores(values: Tensor) -> Tensor | None:
    """Ranks (ties share their mean), centred and of norm 1: the product of two of them is Spearman's ρ.

    Args:
        values: one axis, finite.

    Returns:
        float64, same shape; None where all values are equal.
    """
    ranks = torch.from_numpy(stats.rankdata(values.cpu().double().numpy()))
    centred = ranks - ranks.mean()
    norm = centred.norm()
    return None if float(norm) == 0 else centred / norm


@of_tensors
def rsa_of(a: Tensor | None, b: Tensor | None) -> float | None:
    """Spearman's ρ of two :func:`rank_scores`; None where one is None.

    Raises:
        MeasureError: of different lengths.
    """
    if a is None or b is None:
        return None
    if a.dim() != 1 or a.shape != b.shape:
        raise MeasureError(
            "RSA compares dissimilarities of the same examples",
            expected="a score for each pair, equally many pairs",
            got=f"{tuple(a.shape)} and {tuple(b.shape)}",
        )
    return max(-1.0, min(1.0, float(a.double() @ b.double())))


@of_tensors
def rsa(a: Tensor, b: Tensor, kind: Dissimilarity = "euclidean") -> float | None:
    """Spearman's rank correlation of the dissimilarities of all pairs of examples under two sets of features.

    Invariant to every increasing map of the dissimilarities; with ``euclidean`` thereby to orthogonal maps, isotropic
    scale and offset of either side, not to general linear maps.

    Args:
        a: ``examples ...``.
        b: ``examples ...``, same examples in the same order.
        kind: of dissimilarity: see :func:`dissimilarities`.

    Returns:
        In [−1, 1]; None where all pairs of one side are equally apart, or its dissimilarity is not defined.

    Raises:
        MeasureError: as :func:`dissimilarities`, or different numbers of examples.

    Reference: Kriegeskorte, Mur & Bandettini (2008), "Representational similarity analysis", Front. Syst. Neurosci.

    >>> x = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
    >>> round(rsa(x, -3 * x + 5), 9), rsa(x, x * 0) is None
    (1.0, True)
    """
    if a.shape[:1] != b.shape[:1]:
        raise MeasureError(
            "RSA compares features of the same examples",
            expected="equal first axes",
            got=f"{tuple(a.shape)} and {tuple(b.shape)}",
        )
    pairs = [dissimilarities(features, kind) for features in (a, b)]
    first, second = (None if values is None else rank_scores(values) for values in pairs)
    return rsa_of(first, second)
