"""Classes by the nearest examples that are known, without anything fitted."""

import torch
from torch import Tensor
from torch.nn import functional

from transferscope.errors import MeasureError
from transferscope.measures.arguments import of_tensors

__all__ = ["neighbour_votes", "votes"]

_ROWS = 1024


@of_tensors
def neighbour_votes(known: Tensor, targets: Tensor, asked: Tensor, neighbours: int = 10) -> Tensor:
    r"""Labels of the nearest known examples by the cosine of features, weighted by it.

    .. math:: v_c(x) = \sum_{i \in N_k(x)} (1 + \cos(x, x_i))\, t_{ic} \Big/ \sum_{i \in N_k(x)} (1 + \cos(x, x_i))

    Invariant to orthogonal maps and to the scale of each example; not to an offset. Each vote lies in [0, 1].

    Args:
        known: features ``examples features``.
        targets: of the known examples, ``examples classes``: 1 where a label holds, else 0.
        asked: features of the examples that are asked for.
        neighbours: how many vote; all where fewer are known.

    Returns:
        Votes ``examples classes``, float64.

    Raises:
        MeasureError: no known example, no neighbour asked for, or shapes that do not fit.

    Reference: Cover & Hart (1967), "Nearest neighbor pattern classification".

    >>> known, targets = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.eye(2)
    >>> neighbour_votes(known, targets, torch.tensor([[2.0, 0.1]]), 1).tolist()
    [[1.0, 0.0]]
    """
    if neighbours < 1 or not len(known) or len(known) != len(targets) or known.shape[1:] != asked.shape[1:]:
        raise MeasureError(
            "neighbours are looked for among known examples with labels and features like those asked for",
            expected="neighbours of at least 1, 'examples features', 'examples classes' and 'examples features'",
            got=f"{neighbours}, {tuple(known.shape)}, {tuple(targets.shape)} and {tuple(asked.shape)}",
        )
    points, questions = (functional.normalize(table.float(), dim=1) for table in (known, asked))
    parts = [votes(part @ points.T, targets, neighbours) for part in torch.split(questions, _ROWS)]
    return torch.cat(parts) if parts else targets.new_zeros(0, targets.shape[1], dtype=torch.float64)


def votes(near: Tensor, targets: Tensor, neighbours: int) -> Tensor:
    """What the nearest examples of each row vote for.

    Args:
        near: cosines ``asked known``; −∞ for an example that must not vote.
        targets: ``known classes``.
        neighbours: how many vote, at most.
    """
    value, place = near.topk(min(neighbours, near.shape[1]), dim=1)
    weight = torch.where(value.isfinite(), (1 + value).double(), 0.0)
    return (weight[..., None] * targets[place]).sum(1) / weight.sum(1, keepdim=True).clamp(min=1e-9)
