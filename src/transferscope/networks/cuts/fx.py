"""The forward pass as a graph of calls, with the named parts as single nodes (``torch.fx``)."""

import functools
import inspect
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

from torch import Tensor, fx, nn

from transferscope.networks.cuts.cuts import AbstractRoute, Cut, CutValues, Found, Untraceable, tensors_of


@final
class _Tracer(fx.Tracer):
    """Follows calls down to the parts, and to modules without a part below them."""

    def __init__(self, parts: Sequence[str]) -> None:
        super().__init__()
        self._parts = parts

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        below = f"{module_qualified_name}."
        return not any(part.startswith(below) for part in self._parts)


def _traced(model: nn.Module, parts: Sequence[str]) -> tuple[fx.Graph, dict[str, Any]]:
    """The graph, and the values of the arguments after the first: their defaults."""
    arguments = list(inspect.signature(model.forward).parameters.values())
    if not arguments:
        raise Untraceable("graph: its forward takes no argument")
    fixed: dict[str, Any] = {}
    for argument in arguments[1:]:
        if argument.kind in (argument.VAR_POSITIONAL, argument.VAR_KEYWORD):
            continue
        if argument.default is argument.empty:
            raise Untraceable(f"graph: its forward needs a second argument {argument.name!r}")
        fixed[argument.name] = argument.default
    try:
        graph = _Tracer(parts).trace(model, concrete_args=dict(fixed) or None)
    except Exception as error:  # a network's own code may raise anything when it meets a proxy
        raise Untraceable(f"graph: its code cannot be traced: {type(error).__name__}: {error}") from error
    return graph, fixed


@final
class _Graph(AbstractRoute):
    """Runs nodes in the order of the forward pass; what does not depend on the input is made where it is used."""

    def __init__(self, model: nn.Module, graph: fx.Graph, fixed: Mapping[str, Any]) -> None:
        super().__init__()
        self._model, self._fixed = model, fixed
        nodes = list(graph.nodes)
        places = [node for node in nodes if node.op == "placeholder"]
        live = {places[0]}
        for node in nodes:
            if node.op == "output" or any(source in live for source in node.all_input_nodes):
                live.add(node)
        self.order = [node for node in nodes if node in live]
        self._live = live
        position = {node: place for place, node in enumerate(self.order)}
        self.last_use = [place for place, _ in enumerate(self.order)]
        for node in self.order:
            for source in node.all_input_nodes:
                if source in live:
                    self.last_use[position[source]] = max(self.last_use[position[source]], position[node])
        self._dying: list[list[fx.Node]] = [[] for _ in self.order]
        for place, node in enumerate(self.order):
            self._dying[self.last_use[place]].append(node)
        self._used = [self._parameters_of(node) for node in self.order]
        # Cut name -> number of the last node before it, and the nodes whose values are kept.
        self.boundary: dict[str, tuple[int, tuple[fx.Node, ...]]] = {}

    def _parameters_of(self, node: fx.Node) -> frozenset[str]:
        found: set[str] = set()
        if node.op == "call_module":
            module = self._model.get_submodule(str(node.target))
            mine = {id(parameter) for parameter in module.parameters()}
            found |= {name for name, parameter in self._model.named_parameters() if id(parameter) in mine}
        if node.op == "get_attr":
            value = _attribute(self._model, str(node.target))
            found |= {name for name, parameter in self._model.named_parameters() if parameter is value}
        for source in node.all_input_nodes:
            if source not in self._live:
                found |= self._parameters_of(source)
        return frozenset(found)

    def live_after(self, place: int) -> tuple[fx.Node, ...]:
        """Nodes up to ``place`` that are used after it."""
        return tuple(node for number, node in enumerate(self.order[: place + 1]) if self.last_use[number] > place)

    def used(self, start: int, stop: int) -> frozenset[str]:
        """Parameters that the nodes from ``start`` up to ``stop`` use."""
        return frozenset().union(*self._used[start:stop])

    def parameters(self, cut: Cut) -> tuple[frozenset[str], frozenset[str]]:
        """See the base class."""
        last, _ = self.boundary[cut.name]
        return self.used(0, last + 1), self.used(last + 1, len(self.order))

    def run(self, first: Cut | None, given: Any, second: Cut | None) -> Any:
        """See the base class."""
        if first is None:
            start, env = 1, {self.order[0]: given}
        else:
            last, nodes = self.boundary[first.name]
            start, env = last + 1, dict(zip(nodes, self.protected(first, given.values), strict=True))
        stop, wanted = (len(self.order), ()) if second is None else self.boundary[second.name]
        if second is not None:
            stop += 1
        self.execute(env, start, stop)
        if second is not None:
            return CutValues(tuple(env[node] for node in wanted))
        return env[self.order[-1]]

    def execute(self, env: dict[fx.Node, Any], start: int, stop: int, keep: bool = False) -> None:
        """Run nodes; a value is let go after its last use, unless ``keep``."""
        constants: dict[fx.Node, Any] = {}
        for place in range(start, stop):
            node = self.order[place]
            env[node] = self._call(node, env, constants)
            if not keep:
                for dead in self._dying[place]:
                    if dead is not node or place < len(self.order) - 1:
                        env.pop(dead, None)

    def _value(self, node: fx.Node, env: Mapping[fx.Node, Any], constants: dict[fx.Node, Any]) -> Any:
        if node in self._live:
            return env[node]
        if node not in constants:
            constants[node] = self._call(node, env, constants)
        return constants[node]

    def _call(self, node: fx.Node, env: Mapping[fx.Node, Any], constants: dict[fx.Node, Any]) -> Any:
        if node.op == "placeholder":
            # fx numbers the names of arguments it specialises: attn_mask_1.
            name = str(node.target)
            return self._fixed[name if name in self._fixed else name.rpartition("_")[0]]
        if node.op == "get_attr":
            return _attribute(self._model, str(node.target))
        value = functools.partial(self._value, env=env, constants=constants)
        args, kwargs = _filled(node.args, value), _filled(node.kwargs, value)
        if node.op == "output":
            return args[0]
        if node.op == "call_module":
            return self._model.get_submodule(str(node.target))(*args, **kwargs)
        if node.op == "call_method":
            return getattr(args[0], str(node.target))(*args[1:], **kwargs)
        assert callable(node.target)
        return node.target(*args, **kwargs)


def _filled(argument: Any, value: Callable[[fx.Node], Any]) -> Any:
    """An argument with the values of its nodes; in plain lists and dictionaries, where fx has frozen ones."""
    if isinstance(argument, fx.Node):
        return value(argument)
    if isinstance(argument, dict):
        return {key: _filled(item, value) for key, item in argument.items()}
    if isinstance(argument, list):
        return [_filled(item, value) for item in argument]
    if isinstance(argument, tuple):
        items = [_filled(item, value) for item in argument]
        return type(argument)(*items) if hasattr(argument, "_fields") else tuple(items)
    if isinstance(argument, slice):
        return slice(*(_filled(item, value) for item in (argument.start, argument.stop, argument.step)))
    return argument


def _attribute(model: nn.Module, name: str) -> Any:
    return operator.attrgetter(name)(model)


def find_graph(
    model: nn.Module, example: Tensor, parts: Sequence[str], owned: Mapping[str, list[str]], most_tensors: int
) -> Found:
    """The cuts of a network that ``torch.fx`` can trace, not yet verified.

    Between two parts the place with the fewest bytes is taken, of equals the last.
    """
    graph, fixed = _traced(model, parts)
    route = _Graph(model, graph, fixed)
    env: dict[fx.Node, Any] = {route.order[0]: example.clone()}
    try:
        route.execute(env, 1, len(route.order), keep=True)
    except Exception as error:  # as when it was traced
        raise Untraceable(f"graph: it cannot be run as traced: {type(error).__name__}: {error}") from error
    owner = {name: part for part, names in owned.items() for name in names}
    best: dict[frozenset[str], tuple[int, int]] = {}
    refused: dict[str, str] = {}
    names: dict[frozenset[str], str] = {}
    for place in range(len(route.order) - 1):
        before = frozenset(owner[name] for name in route.used(0, place + 1))
        following = next((used for used in route._used[place + 1 :] if {owner[n] for n in used} - before), None)
        if following is None:
            break
        names.setdefault(before, next(part for part in parts if part in {owner[n] for n in following} - before))
        kept = tensors_of([env[node] for node in route.live_after(place)])
        size = sum(tensor.numel() * tensor.element_size() for tensor in kept)
        if before not in best or size <= best[before][0]:
            best[before] = (size, place)
    cuts: list[Cut] = []
    for before, (size, place) in best.items():
        name = names[before]
        nodes = route.live_after(place)
        kept = tensors_of([env[node] for node in nodes])
        if len(kept) > most_tensors:
            refused[name] = f"{len(kept)} tensors would have to be kept before {name!r}"
            continue
        after = {owner[parameter] for parameter in route.used(place + 1, len(route.order))}
        route.boundary[name] = (place, nodes)
        cuts.append(
            Cut(
                index=len(cuts),
                name=name,
                before=tuple(part for part in parts if part in before and part not in after),
                after=tuple(part for part in parts if part not in before),
                shared=tuple(part for part in parts if part in before and part in after),
                shapes=tuple(tuple(tensor.shape) for tensor in kept),
                bytes_per_example=size // len(example),
            )
        )
    return Found(route, tuple(cuts), refused, graph)
