"""LEEP and NCE: what the labels a source head gives say of the target labels."""

import torch
from torch import Tensor

from transferscope.errors import MeasureError
from transferscope.measures.arguments import of_tensors

__all__ = ["leep", "nce"]

_ROUNDING = 1e-4
"""Rows of float32 probabilities sum to one up to it."""


@of_tensors
def leep(probabilities: Tensor, labels: Tensor) -> float:
    r"""Compute the log expected empirical prediction of target labels by a source head.

    With θ(x) the probabilities of source classes z, and :math:`\hat P(y, z) = \frac1n \sum_{i: y_i = y} \theta(x_i)_z`,

    .. math:: \frac1n \sum_i \log \sum_z \hat P(y_i \mid z)\, \theta(x_i)_z \;\le\; 0,

    in nats: the mean log-likelihood of a classifier that goes by way of the source classes and is never trained. It is
    computed on the images it is estimated on. With few images of many source classes it is too high: with as many
    source classes as images, each predicted for one, it is 0 whatever the labels.

    Invariant to the order of examples, to names of source classes and of target classes and to repeating all examples;
    not to the temperature of the head.

    Args:
        probabilities: ``examples sources``, rows sum to 1.
        labels: ``examples`` whole numbers.

    Raises:
        MeasureError: shapes that do not fit, or rows that are no probabilities.

    Reference: Nguyen, Hassner, Seeger & Archambeau (2020), LEEP: a new measure to evaluate transferability of learned
        representations.

    >>> theta = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8]])
    >>> leep(theta, torch.tensor([0, 0, 1, 1])) > leep(theta, torch.tensor([0, 1, 0, 1]))
    True
    """
    theta = probabilities.cpu().double()
    fits = theta.ndim == 2 and theta.shape[1] > 0 and bool(((theta >= 0) & theta.isfinite()).all())
    if not fits or bool(((theta.sum(1) - 1).abs() > _ROUNDING).any()):
        raise MeasureError(
            "these are no probabilities of source classes",
            expected="'examples sources', at least 0, rows that sum to 1",
            got=str(tuple(theta.shape)),
            hint="take logits.softmax(1)",
        )
    member = _members(labels, len(theta))
    targets = torch.nn.functional.one_hot(member).double()
    joint = targets.T @ theta
    given = joint / joint.sum(0).clamp(min=torch.finfo(torch.float64).tiny)
    likelihood = (theta @ given.T)[torch.arange(len(theta)), member]
    return min(0.0, float(likelihood.log().mean()))


@of_tensors
def nce(sources: Tensor, labels: Tensor) -> float:
    r"""Compute the negative conditional entropy of target labels given the labels of a source head.

    .. math:: -H(Y \mid Z) = \sum_{y, z} \hat P(y, z) \log \frac{\hat P(y, z)}{\hat P(z)} \;\le\; 0,

    in nats, with :math:`\hat P` the shares among the examples. Too high with few images, as :func:`leep`.

    Invariant to the order of examples, to names of classes on both sides and to repeating all examples.

    Args:
        sources: ``examples`` whole numbers, the most probable source class of each.
        labels: ``examples`` whole numbers.

    Raises:
        MeasureError: shapes that do not fit.

    Reference: Tran, Nguyen & Hassner (2019), Transferability and hardness of supervised classification tasks.

    >>> round(nce(torch.tensor([5, 5, 7, 7]), torch.tensor([0, 1, 2, 2])), 4)
    -0.3466
    """
    rows = _members(sources, len(sources))
    columns = _members(labels, len(rows))
    joint = torch.zeros(int(rows.max()) + 1, int(columns.max()) + 1, dtype=torch.float64)
    joint.index_put_((rows, columns), torch.ones(len(rows), dtype=torch.float64), accumulate=True)
    # An empty cell contributes nothing.
    terms = torch.xlogy(joint, joint / joint.sum(1, keepdim=True))
    return min(0.0, float(terms.sum() / len(rows)))


def _members(labels: Tensor, examples: int) -> Tensor:
    whole = not labels.is_floating_point() and labels.dtype != torch.bool
    if not whole or labels.shape != (examples,) or not examples:
        raise MeasureError(
            "labels do not fit the examples",
            expected=f"({examples},) whole numbers, at least one",
            got=f"{tuple(labels.shape)} of {labels.dtype}",
            hint="of several labels at once neither LEEP nor NCE is defined",
        )
    members: Tensor = torch.unique(labels.cpu(), return_inverse=True)[1]
    return members
