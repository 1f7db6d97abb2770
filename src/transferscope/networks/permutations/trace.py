"""The operations of a network's forward pass, with its parameters and buffers as inputs (``torch.fx``)."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.func import functional_call
from torch.fx.experimental.proxy_tensor import make_fx

from transferscope.errors import AlignmentError
from transferscope.networks.copies import copied


def state_of(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name: the live tensors."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


@dataclass(frozen=True)
class Operations:
    """A forward pass as a graph of ATen operations with sizes.

    Attributes:
        saved: names of parameters, and of buffers that are saved with the network; the others are made anew whenever it
            is loaded.
    """

    graph: fx.GraphModule
    state: Mapping[str, fx.Node]
    images: fx.Node
    saved: tuple[str, ...]

    @property
    def nodes(self) -> list[fx.Node]:
        """The nodes, in the order of the forward pass."""
        return list(self.graph.graph.nodes)


def evaluation_copy(model: nn.Module) -> nn.Module:
    """A copy in evaluation mode, without what some networks keep of their parameters between evaluations."""
    # Entering training mode is where they drop it.
    return copied(model).train().eval()


@contextmanager
def _plain_attention() -> Iterator[None]:
    # torch's own attention layer runs as one opaque kernel in evaluation mode otherwise.
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def operations(model: nn.Module, example: Tensor) -> Operations:
    """Trace a network in evaluation mode. Nothing is computed; the network is left as it was."""
    state = {name: tensor.detach() for name, tensor in state_of(model).items()}

    # What a network keeps for later (a bias made once for evaluation) must not be a stand-in afterwards.
    fresh = evaluation_copy(model)

    def forward(tensors: dict[str, Tensor], images: Tensor) -> Any:
        return functional_call(fresh, tensors, (images,))

    with torch.no_grad(), _plain_attention():
        try:
            graph = make_fx(forward, tracing_mode="fake", pre_dispatch=True)(state, example)
        except Exception as error:  # a network's own code may raise anything when it meets stand-ins
            raise AlignmentError(
                f"the forward pass of {type(model).__name__} cannot be traced",
                expected="a network of one input whose steps do not depend on the values of tensors",
                got=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}",
                hint="permutations need the graph of operations; paths without alignment work for any network",
            ) from error
    inputs = [node for node in graph.graph.nodes if node.op == "placeholder"]
    anew = {
        f"{prefix}.{name}" if prefix else name
        for prefix, module in model.named_modules()
        for name in module._non_persistent_buffers_set
    }
    saved = tuple(name for name in state if name not in anew)
    return Operations(graph, dict(zip(state, inputs[:-1], strict=True)), inputs[-1], saved)


def run_together(
    traced: Operations,
    states: tuple[Mapping[str, Tensor], Mapping[str, Tensor]],
    images: Tensor,
    receive: Callable[[fx.Node, Tensor, Tensor], None],
    wanted: frozenset[str],
) -> None:
    """Run one graph with two states side by side; a value is let go after its last use."""
    nodes = traced.nodes
    last: dict[fx.Node, fx.Node] = {}
    for node in nodes:
        for source in node.all_input_nodes:
            last[source] = node
    dying: dict[fx.Node, list[fx.Node]] = {}
    for source, node in last.items():
        dying.setdefault(node, []).append(source)
    names = {node: name for name, node in traced.state.items()}
    values: tuple[dict[fx.Node, Any], dict[fx.Node, Any]] = ({}, {})
    for node in nodes:
        for env, state in zip(values, states, strict=True):
            env[node] = _computed(traced, node, env, names, state, images)
        if node.name in wanted:
            receive(node, values[0][node], values[1][node])
        for env in values:
            for dead in dying.get(node, ()):
                del env[dead]
            if node not in last:
                del env[node]


def _computed(
    traced: Operations,
    node: fx.Node,
    env: Mapping[fx.Node, Any],
    names: Mapping[fx.Node, str],
    state: Mapping[str, Tensor],
    images: Tensor,
) -> Any:
    if node.op == "placeholder":
        return images.clone() if node is traced.images else state[names[node]]
    if node.op == "get_attr":
        return getattr(traced.graph, str(node.target)).to(images.device)
    if node.op == "output":
        return None
    args = fx.map_arg(node.args, env.__getitem__)
    kwargs = fx.map_arg(node.kwargs, env.__getitem__)
    assert callable(node.target)
    return node.target(*args, **kwargs)
