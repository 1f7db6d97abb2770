"""Transplants: some modules of one network put into another of the same architecture."""

import functools
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from transferscope.errors import ModuleNameError, WeightsError, nearest
from transferscope.networks.architectures import build
from transferscope.networks.heads import head_name
from transferscope.networks.modules import Granularity, named_parts, parts_parameters
from transferscope.networks.pruning import PERMANENT, unlike_masks
from transferscope.specs.architecture import Architecture


def movable_parts(model: nn.Module, granularity: Granularity, head: str) -> list[str]:
    """The parts of a network in the order in which it defines them, without its head.

    Example:
        >>> movable_parts(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)), "block", "2")
        ['0']
    """
    return [name for name in named_parts(model, granularity, head) if not _in_head(name, head)]


@functools.lru_cache(maxsize=32)
def _parts_of(architecture: str, granularity: Granularity) -> tuple[dict[str, tuple[str, ...]], str]:
    settings = Architecture.model_validate_json(architecture)
    model = build(settings, 2, 0)
    head = head_name(model, settings)
    modules = {name for name, _ in model.named_modules()}
    owned = parts_parameters(model, granularity, head)
    return {part: (part,) if part in modules else tuple(names) for part, names in owned.items()}, head


def parts_of(architecture: Architecture, granularity: Granularity) -> tuple[str, ...]:
    """As :func:`movable_parts`, of an architecture; built once per process."""
    names, head = _parts_of(architecture.model_dump_json(), granularity)
    return tuple(name for name in names if not _in_head(name, head))


def parts_with_head(architecture: Architecture, granularity: Granularity) -> tuple[str, ...]:
    """As :func:`parts_of`, the head among them."""
    return tuple(_parts_of(architecture.model_dump_json(), granularity)[0])


def rate_names_of(architecture: Architecture, granularity: Granularity) -> dict[str, tuple[str, ...]]:
    """Of each of :func:`parts_of` the names by which ``module_rates`` of a recipe reaches all of it.

    Its own; those of its parameters where they sit on a module that is opened.
    """
    names, head = _parts_of(architecture.model_dump_json(), granularity)
    return {part: of for part, of in names.items() if not _in_head(part, head)}


def transplant(
    model: nn.Module, donor: Mapping[str, Tensor], parts: Iterable[str], granularity: Granularity, head: str
) -> tuple[str, ...]:
    """Copy the parameters of some parts from another network, in place.

    Buffers are not copied: batch norm's running statistics fit neither the former network nor the new one, and are to
    be estimated on training data.

    Args:
        model: the network that receives.
        donor: tensors by the names of ``model``.
        parts: names from :func:`movable_parts`.
        granularity: of the names.
        head: the classifying module, which is never copied.

    Returns:
        The names of the parameters that were copied.

    Raises:
        ModuleNameError: a part does not exist at this granularity, or is the head.
        WeightsError: the donor lacks a parameter, has it in another shape, or is pruned with other masks. The network
            is then unchanged.
    """
    owned = parts_parameters(model, granularity, head)
    movable = movable_parts(model, granularity, head)
    chosen: list[str] = []
    for part in parts:
        if part not in movable:
            raise ModuleNameError(
                f"the network has no part {part!r} that could be transplanted",
                expected=f"a {granularity} other than the head {head!r}",
                got=part,
                hint=nearest(part, movable),
            )
        chosen += owned[part]
    own = dict(model.named_parameters())
    wrong = [name for name in chosen if name not in donor or donor[name].shape != own[name].shape]
    if wrong:
        raise WeightsError(
            "the donor's weights do not fit the parts to be transplanted",
            expected=f"{len(chosen)} parameters of the same names and shapes",
            got=f"{len(wrong)} missing or of another shape: {', '.join(wrong[:5])}",
        )
    if pruned := unlike_masks(model, {**own, **dict(model.named_buffers())}, donor):
        raise WeightsError(
            "the donor is pruned with other masks than the network that is to receive its parts",
            expected="equal masks",
            got=", ".join(pruned[:5]),
            hint=PERMANENT,
        )
    with torch.no_grad():
        for name in chosen:
            own[name].copy_(donor[name])
    return tuple(chosen)


def _in_head(name: str, head: str) -> bool:
    return name == head or name.startswith(f"{head}.")
