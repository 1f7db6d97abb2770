"""Whether two networks have the same parameters and buffers; if not, what is the cause and what to do."""

import re
from collections.abc import Mapping
from itertools import zip_longest
from typing import Literal, NamedTuple

from torch import Tensor, nn

from transferscope.networks.pruning import PERMANENT, unlike_masks

_SHOWN = 5
# Of pruning, parametrisations, and the older hooks of weight and spectral norms.
_MADE = re.compile(r"(^|\.)parametrizations\.|_orig$|_mask$|weight_[gv]$")
_PLAIN = (
    "build both alike, or make the weight plain in each that has it so: torch.nn.utils.prune.remove(module, 'weight'), "
    "torch.nn.utils.parametrize.remove_parametrizations(module, 'weight'), or remove_weight_norm and "
    "remove_spectral_norm of torch.nn.utils"
)


class Unlike(NamedTuple):
    """How two networks differ."""

    cause: str
    got: str
    hint: str


def unlike(
    a: nn.Module,
    b: nn.Module,
    *,
    without: str | None = None,
    among: Literal["all", "parameters"] = "all",
    types: bool = True,
    masks: bool = True,
) -> Unlike | None:
    """What keeps two networks from being points of one space; None if nothing does.

    >>> unlike(nn.Linear(2, 3), nn.Linear(2, 3).bfloat16()).cause
    'one is float32, the other bfloat16'
    """
    first, second = (_tensors(network, without, among) for network in (a, b))
    # Names of both in turn, so that the few that are shown are not all of one.
    sides = zip_longest(_without(first, second), _without(second, first))
    alone = [name for pair in sides for name in pair if name is not None]
    if alone:
        return _other_names(a, b, first, second, alone)
    shapes = [name for name in first if first[name].shape != second[name].shape]
    if shapes:
        owners = {name.rpartition(".")[0] for name in shapes}
        head = owners.pop() if len(owners) == 1 else None
        return Unlike(
            "tensors have other shapes" if head is None else f"the module {head!r} has another size",
            _listed([f"{name} {tuple(first[name].shape)} and {tuple(second[name].shape)}" for name in shapes]),
            "compare networks of one architecture"
            if head is None
            else f"if it is the head, name it (head={head!r}; of a path trunk_of={head!r}): the rest is then compared",
        )
    apart = [name for name in first if types and first[name].dtype != second[name].dtype]
    if apart:
        one, other = (str(side[apart[0]].dtype).removeprefix("torch.") for side in (first, second))
        return Unlike(
            f"one is {one}, the other {other}", _listed(apart), f"bring both to one type, for example b.to(torch.{one})"
        )
    pruned = unlike_masks(a, first, second) if masks else []
    if pruned:
        return Unlike("the two are pruned with unlike masks", _listed(pruned), PERMANENT)
    return None


def _without(names: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> list[str]:
    return [name for name in names if name not in others]


def _other_names(
    a: nn.Module, b: nn.Module, first: Mapping[str, Tensor], second: Mapping[str, Tensor], alone: list[str]
) -> Unlike:
    for bare, wrapped, which in ((first, second, "second"), (second, first, "first")):
        prefix = next((name.removesuffix(next(iter(bare), "")) for name in wrapped), "") if bare else ""
        if prefix and {f"{prefix}{name}" for name in bare} == wrapped.keys():
            inner = prefix.removesuffix(".")
            return Unlike(
                f"the {which} is wrapped: its names begin with {prefix!r}",
                _listed(alone),
                f"give the network inside: get_submodule({inner!r})",
            )
    everywhere = [dict(network.named_parameters(remove_duplicate=False)) for network in (a, b)]
    if all(name in everywhere[0] and name in everywhere[1] for name in alone):
        return Unlike(
            "a weight is tied to another in one of them and stands alone in the other",
            _listed(alone),
            "tie it in both, or give it a tensor of its own in both",
        )
    if any(_MADE.search(name) for name in alone):
        return Unlike(
            "a weight is made from other tensors (pruned, or parametrised) in one of the two, not so in the other",
            _listed(alone),
            _PLAIN,
        )
    buffers = {name for network in (a, b) for name, _ in network.named_buffers()}
    if buffers.issuperset(alone):
        side = "first" if alone[0] in first else "second"
        return Unlike(
            f"a buffer is in the {side} network alone, as one that is made in the first forward pass",
            _listed(alone),
            "run both on a batch before, or neither",
        )
    return Unlike("tensors are in one of them alone", _listed(alone), "compare networks of one architecture")


def _tensors(network: nn.Module, without: str | None, among: Literal["all", "parameters"]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = dict(network.named_parameters())
    if among == "all":
        found |= dict(network.named_buffers())
    return {name: tensor for name, tensor in found.items() if without is None or not name.startswith(f"{without}.")}


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (" ..." if len(names) > _SHOWN else "")
