"""Reading the operations of a network: what each asks of permutations of hidden units."""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, fx

from transferscope.errors import AlignmentError
from transferscope.networks.permutations.blocks import Atoms
from transferscope.networks.permutations.labels import Labels
from transferscope.networks.permutations.values import Value

_ELEMENTWISE = frozenset(
    ("hardswish", "hardswish_", "dropout_", "mish", "mish_", "relu6", "relu6_", "selu", "selu_", "celu", "celu_",
     "prelu", "rrelu", "softplus")
)  # fmt: skip
"""Elementwise operations that torch does not tag as such."""
UNIFORM = frozenset(
    ("ones", "zeros", "full", "scalar_tensor", "zeros_like", "ones_like", "full_like", "new_zeros", "new_ones",
     "new_full")
)  # fmt: skip
"""Operations that give one value everywhere."""


class UnknownOperation(Exception):  # noqa: N818 - a finding of a rule that becomes the error naming the node
    """No rule fits this call."""


@final
@dataclass(frozen=True)
class Call:
    """One operation as its rule sees it."""

    name: str
    node: fx.Node
    given: Mapping[str, Any]
    reader: "Reader"

    @property
    def labels(self) -> Labels:
        """Operations on values."""
        return self.reader.labels

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the result."""
        return tuple(self.node.meta["val"].shape)

    @property
    def value(self) -> Value:
        """The first argument."""
        found = next((self.given[name] for name in ("self", "input", "x") if name in self.given), None)
        if not isinstance(found, Value):
            raise UnknownOperation("its first argument is no tensor")
        return found

    def outputs(self, make: Callable[[tuple[int, ...]], Value]) -> Any:
        """One value for each tensor that comes out."""
        return _outputs(self.node, make)

    def sum_of_products(self, outcome: Value) -> Value:
        """``outcome``, noting that what enters and leaves here shows the units at work."""
        self.reader.values[self.node] = outcome
        self.reader.see(self.node.all_input_nodes, self.node)
        return outcome


Rule = Callable[[Call], Any]


def enter(rules: dict[str, Rule], names: str) -> Callable[[Rule], Rule]:
    """The decorated function speaks for the operations of these names, in a table of rules."""

    def add(function: Rule) -> Rule:
        rules.update(dict.fromkeys(names.split(), function))
        return function

    return add


@final
class Reader:
    """Reads a graph node by node; afterwards the partition of ``labels`` holds the symmetries of the network.

    Args:
        rules: by the name of the operation; what torch knows to be elementwise needs none.
        slabs: of weights of grouped convolutions, by name of their input node: ``groups channels`` atoms of the input
            channels, which lie on one axis for all groups.

    Attributes:
        places: nodes where units can be seen: what enters and leaves sums of products.
    """

    def __init__(self, labels: Labels, rules: Mapping[str, Rule], slabs: Mapping[str, Atoms]) -> None:
        self.labels, self.slabs, self._rules = labels, slabs, rules
        self.values: dict[fx.Node, Any] = {}
        self.places: dict[fx.Node, None] = {}

    def read(self, node: fx.Node) -> None:
        """Take in one call."""
        if node.op == "output":
            for source in node.all_input_nodes:
                for value in _each(self.values[source]):
                    self.labels.fix(value)
            return
        if node.op == "get_attr":
            self.values[node] = Value(tuple(getattr(node.graph.owning_module, str(node.target)).shape))
            return
        args: Any = fx.map_arg(node.args, self.values.__getitem__)
        kwargs: Any = fx.map_arg(node.kwargs, self.values.__getitem__)
        if node.target is operator.getitem:
            self.values[node] = args[0][args[1]]
            return
        inputs = [value for source in node.all_input_nodes for value in _each(self.values[source])]
        if not any(value.labels for value in inputs) and _name(node) not in UNIFORM:
            uniform = bool(inputs) and all(value.uniform for value in inputs) and not _name(node).endswith("_")
            live = any(value.live for value in inputs)
            self.values[node] = _outputs(node, lambda shape: Value(shape, live=live, uniform=uniform))
            return
        try:
            self.values[node] = self._called(node, args, kwargs)
        except UnknownOperation as error:
            raise AlignmentError(
                f"no rule says how permutations of hidden units pass the operation {node.target}",
                expected="convolutions, linear maps, norms, attention, elementwise operations, changes of shape",
                got=f"node {node.name!r}{f' ({error})' if str(error) else ''}, of shape {_shapes(node)}",
                hint="this network cannot be aligned; its paths without alignment can be measured",
            ) from error

    def _called(self, node: fx.Node, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        name = _name(node)
        if name in self._rules:
            return self._rules[name](Call(name, node, _bound(node, args, kwargs), self))
        if torch.Tag.pointwise in getattr(node.target, "tags", ()) or name in _ELEMENTWISE:
            given = [value for value in (*args, *kwargs.values()) if isinstance(value, Value)]
            if name.endswith("_"):
                # What is written to keeps its place: it is not the same everywhere any more.
                given[0] = Value(given[0].shape, given[0].labels, given[0].live)
            return self.labels.meet(tuple(node.meta["val"].shape), given)
        raise UnknownOperation

    def see(self, sources: Sequence[fx.Node], outcome: fx.Node) -> None:
        """Remember nodes that show units of the network at work on its input."""
        for node in (*sources, outcome):
            value = self.values.get(node)
            if isinstance(value, Value) and value.live and value.labels:
                self.places[node] = None


def _name(node: fx.Node) -> str:
    packet = getattr(node.target, "overloadpacket", None)
    return packet.__name__ if packet is not None else str(node.target)


def _shapes(node: fx.Node) -> str:
    found = node.meta.get("val")
    return str(tuple(found.shape)) if isinstance(found, Tensor) else type(found).__name__


def _each(value: Any) -> list[Value]:
    if isinstance(value, Value):
        return [value]
    if isinstance(value, (list, tuple)):
        return [found for item in value for found in _each(item)]
    return []


def _outputs(node: fx.Node, make: Callable[[tuple[int, ...]], Value]) -> Any:
    found = node.meta["val"]
    if isinstance(found, Tensor):
        return make(tuple(found.shape))
    if isinstance(found, (list, tuple)):
        return [make(tuple(item.shape)) if isinstance(item, Tensor) else None for item in found]
    return found


def _bound(node: fx.Node, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments by their names, defaults included."""
    schema = node.target._schema  # type: ignore[union-attr] # calls of ATen operations alone come here
    found = {argument.name: argument.default_value for argument in schema.arguments if argument.has_default_value()}
    found |= dict(zip((argument.name for argument in schema.arguments), args, strict=False))
    return {**found, **kwargs}
