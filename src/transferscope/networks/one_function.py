"""Whether a network is its parameters and buffers, given the code of another: what can be moved between the two."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from transferscope.errors import ArchitectureError
from transferscope.networks.evaluate import check_network_deterministic, digest, preserved

_NAMED = 3


@contextmanager
def lent(model: nn.Module, state: Mapping[str, Tensor]) -> Iterator[nn.Module]:
    """The network in evaluation mode with other tensors in place of its own; given back as it was."""
    with preserved(model), torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.data = state[name]
        # Copies: what a forward pass writes to its buffers must not change the tensors lent.
        buffers = {id(buffer): state[name].clone() for name, buffer in model.named_buffers()}
        for module in model.modules():
            module._buffers.update({name: buffers[id(b)] for name, b in module._buffers.items() if b is not None})
        try:
            yield model.train().eval()
        finally:
            # Entering training mode drops what a network keeps of its parameters between evaluations.
            model.train()


def check_one_function(
    host: nn.Module,
    network: nn.Module,
    first: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    movable: Collection[str],
    example: Tensor,
) -> None:
    """Check that a network's tensors make another network compute what the first one computes, bit for bit.

    Names, shapes and types alone do not tell: activation functions, padding, numbers of heads, constants of a norm,
    quantised weights and other state outside parameters and buffers stay those of ``host``. So do buffers that nothing
    moves: whole numbers, tables, statistics of a class of the user's own.

    Two forward passes; both networks are left as they were.

    Args:
        movable: names of those that may be taken from ``state``; the others are those of ``first``.
    """
    moved = {name: state[name] if name in movable else tensor for name, tensor in first.items()}
    wanted = _output(network, state, example)
    if digest(_output(host, moved, example)) == digest(wanted):
        return
    with lent(network, state):
        check_network_deterministic(network, example)
    got = "other outputs for the same inputs"
    if digest(_output(host, state, example)) == digest(wanted):
        differ = [name for name in first if name not in movable and not torch.equal(first[name], state[name])]
        raise ArchitectureError(
            "the networks differ in buffers that nothing can be put between: " + _few(differ),
            expected="buffers other than the running statistics of norms that are equal, or make no difference",
            got=got,
            hint="compare networks that have the same; or choose batch_norm='interpolate' on lines, planes and basins: "
            "floating-point buffers are then moved like weights, and the result says so",
        )
    differences = _differences(host, network)
    raise ArchitectureError(
        "these networks are not of one architecture: with the parameters and buffers of one the other does not compute "
        "the same",
        expected="networks that differ in parameters and running statistics alone",
        got=_few(differences) if differences else f"{got}: state outside parameters and buffers differs",
        hint="build both with the same code and settings (activation, padding, heads, quantisation, ...) and load the "
        "weights of each",
    )


def _output(model: nn.Module, state: Mapping[str, Tensor], example: Tensor) -> object:
    with lent(model, state):
        # A copy: a network that begins in place must not change what the other one sees.
        output: object = model(example.clone())
        return output


def _differences(host: nn.Module, network: nn.Module) -> list[str]:
    """Modules of one name that are described differently, for a message."""
    others = dict(network.named_modules())
    found = []
    for name, module in host.named_modules():
        other = others.get(name)
        own, their = (
            "nothing" if each is None else f"{type(each).__name__}({each.extra_repr()})" for each in (module, other)
        )
        if own != their:
            found.append(f"{name or 'the network'}: {own} and {their}")
    return found


def _few(names: Sequence[str]) -> str:
    return "; ".join(names[:_NAMED]) + (f"; and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
