"""What analyses that look at modules have in common: their setting, their columns, and which parameters are whose."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import polars as pl

from transferscope.frozen import Frozen
from transferscope.study.columns import Column

if TYPE_CHECKING:
    import torch
    from torch import nn

    from transferscope.specs.architecture import Architecture

__all__ = ["PART", "TOTALS", "TRUNK", "OnModules", "listed", "parameters_of"]

TOTALS = {"all": -3, "trunk": -2, "head": -1}
"""Positions of the totals: an architecture may have modules of their names."""

TRUNK = pl.col("position") == TOTALS["trunk"]
"""The rows of what is pre-trained: all but the head."""

PART: Mapping[str, Column] = {
    "part": Column(str, "all, trunk (all but the head), head, or a module"),
    "position": Column(int, "depth of the module: 0 is the first; negative for totals", "count"),
    "parameters": Column(int, "numbers compared", "count"),
}
"""Columns of one part of a network."""


class OnModules(Frozen):
    """Settings of an analysis of modules.

    Attributes:
        granularity: of the modules: ``stage``, ``block`` or ``layer``.
    """

    granularity: Literal["stage", "block", "layer"] = "block"

    def parts(self, model: "nn.Module", architecture: "Architecture") -> list[tuple[str, int, list[str]]]:
        """Name, position and parameters of all, trunk and head, then of every module from input to output.

        Parameters only, frozen ones included, no buffers; totals without parameters are left out.
        """
        from transferscope.networks.heads import head_name
        from transferscope.networks.modules import parts_parameters

        head = head_name(model, architecture)
        names = [name for name, _ in model.named_parameters()]
        in_head = [name for name in names if name.startswith(head + ".") or name == head]
        trunk = [name for name in names if name not in set(in_head)]
        totals = {"all": names, "trunk": trunk, "head": in_head}
        modules = parts_parameters(model, self.granularity, head)
        return [
            *((part, TOTALS[part], of) for part, of in totals.items() if of),
            *((part, place, of) for place, (part, of) in enumerate(modules.items())),
        ]


def listed(names: Sequence[str], most: int = 8) -> str:
    """Names of modules in words, the first of them where there are many.

    >>> listed(["stem", "head"]), listed(["a", "b", "c"], 2)
    ('stem, head', 'a, b and 1 more')
    """
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def parameters_of(state: "Mapping[str, torch.Tensor]", names: list[str]) -> "dict[str, torch.Tensor]":
    """Those of a state's tensors that are named."""
    return {name: state[name] for name in names}
