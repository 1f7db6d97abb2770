"""One shared trace of a network: the places where little separates what comes before from what comes after.

At a :class:`Cut` a few tensors hold all that the rest of the network needs to know of its input. What lies before runs
once and is kept; what lies after runs again and again with other weights: criticality, rewinding, one-module paths. The
order of operations is that of the network, so ``suffix(prefix(x))`` equals ``model(x)`` bit for bit, which is checked
on the example for every cut before it is offered.

Two ways, tried in this order:

- ``graph``: the forward pass as a graph of calls (``torch.fx``), in which the named parts are single nodes. Any few
  live values make a cut.
- ``replay``: for a network whose own code cannot be traced. The operations of one forward pass are recorded, and after
  every call of a module that gives one tensor, and hides everything before it, is a cut. To go on from there the
  network runs with the calls before it replaced by zeros of the right shape.

Where neither works there are no cuts, and :attr:`Trace.reason` says why.
"""

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from torch import Tensor, fx, nn

from transferscope.errors import ModuleNameError, nearest
from transferscope.networks.cuts.cuts import AbstractRoute, Cut, CutValues, Found, Untraceable, holding, same
from transferscope.networks.cuts.fx import find_graph
from transferscope.networks.cuts.replay import find_replay
from transferscope.networks.evaluate import check_network_deterministic, preserved
from transferscope.networks.modules import Granularity, named_parts, parts_parameters

Kind = Literal["graph", "replay", "none"]


@dataclass(frozen=True)
class Sides:
    """The parameters of a network by the side of a cut they are used on.

    Attributes:
        after: used after it alone, or never. These may change while what lies before is kept.
    """

    before: tuple[str, ...]
    after: tuple[str, ...]
    shared: tuple[str, ...]


@final
class Trace:
    """The cuts of a network, and how to run what lies between them.

    It refers to the live network: a run uses the weights, buffers and training modes of that moment. It was traced in
    evaluation mode, so only what lies inside a part may depend on the mode. Hooks of modules that are opened (the
    network itself, containers of parts) are not called by a ``graph``.

    Attributes:
        refused: places that are no cuts, by the part that comes next, and why.
        reason: why it is not a ``graph``; None if it is one.
        graph: of ``torch.fx``, parts as single nodes; None if it is not a ``graph``.
    """

    def __init__(
        self, model: nn.Module, kind: Kind, owned: Mapping[str, list[str]], found: Found | None, reason: str | None
    ) -> None:
        self.model, self.kind, self.reason = model, kind, reason
        self.parts = tuple(owned)
        self._owned = owned
        self._route: AbstractRoute | None = found.route if found else None
        self.cuts: tuple[Cut, ...] = found.cuts if found else ()
        self.refused: Mapping[str, str] = found.refused if found else {}
        self.graph: fx.Graph | None = found.graph if found else None

    def __repr__(self) -> str:
        return f"Trace({type(self.model).__name__}, {self.kind}, {len(self.cuts)} cuts of {len(self.parts)} parts)"

    def prefix(self, cut: Cut) -> Callable[[Tensor], CutValues]:
        """What lies before a cut: from images to the values that the rest needs."""
        route = self._checked(cut)
        return lambda images: route.run(None, images, cut)

    def suffix(self, cut: Cut) -> Callable[[CutValues], Any]:
        """What lies after a cut: from its values to the network's output. The values are left as they are."""
        route = self._checked(cut)
        return lambda values: route.run(cut, values, None)

    def between(self, first: Cut, second: Cut) -> Callable[[CutValues], CutValues]:
        """What lies between two cuts: so that a cache moves on from cut to cut without starting at the images."""
        route = self._checked(first)
        self._checked(second)
        if second.index < first.index:
            raise ModuleNameError(
                f"the cut before {second.name!r} lies before the one it should follow",
                expected=f"a cut from {first.name!r} on",
                got=second.name,
                hint="give the two cuts in the order of the forward pass",
            )
        if first == second:
            return lambda values: values
        return lambda values: route.run(first, values, second)

    def cut_before(self, part: str) -> Cut | None:
        """The last cut before anything of a part is used: what lies before it never changes with the part.

        Returns:
            The input itself where nothing closer separates; None where there are no cuts at all.
        """
        if part not in self._owned:
            raise ModuleNameError(
                f"the trace of {type(self.model).__name__} has no part {part!r}", hint=nearest(part, self.parts)
            )
        return self.cut_for(self._owned[part])

    def cut_for(self, parameters: Iterable[str]) -> Cut | None:
        """The last cut that has all of ``parameters`` on its far side: for groups of parts, or parts of parts."""
        wanted = set(parameters)
        known = {name for names in self._owned.values() for name in names}
        for name in sorted(wanted - known):
            raise ModuleNameError(
                f"the network {type(self.model).__name__} has no parameter {name!r}", hint=nearest(name, known)
            )
        return next((cut for cut in reversed(self.cuts) if wanted <= set(self.sides(cut).after)), None)

    def sides(self, cut: Cut) -> Sides:
        """The parameters by the side of a cut they are used on: each is on one side, or named as shared."""
        before, after = self._checked(cut).parameters(cut)
        names = [name for names in self._owned.values() for name in names]
        return Sides(
            tuple(name for name in names if name in before and name not in after),
            tuple(name for name in names if name not in before),
            tuple(name for name in names if name in before and name in after),
        )

    def parameters_of(self, parts: Iterable[str]) -> dict[str, list[str]]:
        """Names of the parameters of some parts."""
        return {part: self._owned[part] for part in parts}

    def _checked(self, cut: Cut) -> AbstractRoute:
        if self._route is None or not (0 <= cut.index < len(self.cuts) and self.cuts[cut.index] == cut):
            raise ModuleNameError(
                f"the cut before {cut.name!r} is not one of this trace",
                expected=f"one of the {len(self.cuts)} cuts of {type(self.model).__name__}",
                got=repr(cut.name),
                hint="take it from trace.cuts",
            )
        return self._route


def trace(
    model: nn.Module,
    example: Tensor,
    *,
    granularity: Granularity = "block",
    head: str | None = None,
    most_tensors: int = 8,
    way: Literal["auto", "graph", "replay"] = "auto",
) -> Trace:
    """Find the cuts of a network: see :mod:`transferscope.networks.cuts.trace`. The network is left as it was.

    Args:
        model: any network that takes one tensor, and gives the same output twice in evaluation mode.
        example: a batch of inputs on the network's device; its first two are used.
        most_tensors: a place where more tensors than this would have to be kept is no cut (inside a dense block
            everything made so far is still needed).
        way: ``graph`` or ``replay`` alone, in place of one after the other.

    Example:
        >>> net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
        >>> found = trace(net, torch.ones(2, 3))
        >>> [(cut.name, cut.before, cut.after) for cut in found.cuts]
        [('0', (), ('0', '2')), ('2', ('0',), ('2',))]
        >>> kept = found.prefix(found.cuts[1])(torch.ones(5, 3))
        >>> torch.equal(found.suffix(found.cuts[1])(kept), net(torch.ones(5, 3)))
        True
    """
    owned = parts_parameters(model, granularity, head)
    few = example[:2]
    parts = named_parts(model, granularity, head)
    ways: dict[Kind, Callable[..., Found]] = {
        "graph": functools.partial(find_graph, most_tensors=most_tensors),
        "replay": find_replay,
    }
    reasons: list[str] = []
    with preserved(model), torch.no_grad():
        model.eval()
        check_network_deterministic(model, few)
        for name, find in ways.items():
            if way not in ("auto", name):
                continue
            try:
                found = find(model, few, parts, owned)
            except Untraceable as error:
                reasons.append(str(error))
                continue
            found = _verified(model, found, few)
            if len(found.cuts) > 1 or len(owned) < 2:
                return Trace(model, name, owned, found, "; ".join(reasons) or None)
            reasons.append(f"{name}: " + ("; ".join(found.refused.values()) or "nothing separates its parts"))
    return Trace(model, "none", owned, None, "; ".join(reasons))


def _verified(model: nn.Module, found: Found, example: Tensor) -> Found:
    """The cuts at which the two halves give the output of the whole, for several inputs and batch sizes."""
    inputs = [example, example[:1]]
    if example.is_floating_point():
        inputs.append(example * 0.5)
    wanted = [model(images.clone()) for images in inputs]
    kept: list[Cut] = []
    reached: list[CutValues] = []
    refused = dict(found.refused)
    for cut in found.cuts:
        before = (kept[-1], reached) if kept else None
        values, reason = _checked_cut(found.route, cut, before, inputs, wanted)
        if reason is None:
            kept.append(cut)
            reached = values
        else:
            refused[cut.name] = reason
    return found.renumbered(tuple(kept), refused)


def _checked_cut(
    route: AbstractRoute, cut: Cut, before: tuple[Cut, list[CutValues]] | None, inputs: list[Tensor], wanted: list[Any]
) -> tuple[list[CutValues], str | None]:
    """The values at a cut for each input, and why it is none; None if it is one.

    The first input comes straight from the images, the others from the cut before, so that both ways are checked.
    """
    found: list[CutValues] = []
    try:
        for number, (images, output) in enumerate(zip(inputs, wanted, strict=True)):
            if number == 0 or before is None:
                values = route.run(None, images.clone(), cut)
            else:
                values = route.run(before[0], before[1][number], cut)
            found.append(values)
            with holding(route, cut, values):
                first = route.run(cut, values, None)
            # Once more: the kept values must have survived.
            if not same(first, output) or (number == 0 and not same(route.run(cut, values, None), output)):
                return found, "the two halves do not give the output of the whole, bit for bit"
    except Exception as error:  # a network's own code may raise anything on stand-ins
        return found, f"the two halves cannot be run: {type(error).__name__}: {error}"
    return found, None
