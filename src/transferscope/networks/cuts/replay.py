"""Cuts of a network whose code cannot be traced, from the record of one forward pass.

While the pass runs, every operation on tensors is seen with what it reads and makes. After a call of a module is a cut
if, of all that was made up to then, later operations read that call's output alone, and no tensor was turned into a
number on the way (which could steer the code in ways no tensor shows).

To go on from there the network's own code runs again: that call gives the kept tensor, and the calls before it give
zeros of the shapes that were seen, which nothing reads that matters.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from transferscope.networks.cuts.cuts import AbstractRoute, Cut, CutValues, Found, Untraceable, tensors_of

_INPUT = -1


@dataclass
class _Call:
    """One call of a module: its number in the pass, the call it is made from, when it starts and ends."""

    name: str
    number: int
    parent: int | None
    start: int
    end: int = -1
    output: Any = None


@dataclass(frozen=True)
class _Blank:
    """Zeros to be."""

    shape: tuple[int, ...]
    dtype: torch.dtype

    def make(self, device: torch.device) -> Tensor:
        return torch.zeros(self.shape, dtype=self.dtype, device=device)


class _Reached(BaseException):
    """No failure: it leaves a forward pass at a cut. A network's own ``except Exception`` must not stop it."""


class _Record(TorchDispatchMode):  # type: ignore[no-untyped-call]  # of torch, without types
    """When each tensor was made and read. Tensors are kept, so that no two have one identity."""

    def __init__(self, images: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # of torch, without types
        self.time = 0
        self.made: dict[int, int] = {id(images): 0}
        self.last_read: dict[int, int] = {}
        self.reads: dict[int, list[int]] = {}
        self.looked: list[int] = []
        self._kept: list[Tensor] = [images]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = tensors_of((args, kwargs or {}))
        output = func(*args, **(kwargs or {}))
        self.time += 1
        for tensor in given:
            self.last_read[id(tensor)] = self.time
            self.reads.setdefault(id(tensor), []).append(self.time)
        for tensor in tensors_of(output):
            self.made.setdefault(id(tensor), self.time)
        self._kept += [*given, *tensors_of(output)]
        if func is torch.ops.aten._local_scalar_dense.default and any(id(t) in self.made for t in given):
            self.looked.append(self.time)
        return output


@contextmanager
def _forwards(wrapped: Mapping[nn.Module, Callable[..., Any]]) -> Iterator[None]:
    """Other forward functions for some modules."""
    former = {module: module.__dict__.get("forward") for module in wrapped}
    try:
        for module, function in wrapped.items():
            module.forward = function
        yield
    finally:
        for module, before in former.items():
            if before is None:
                module.__dict__.pop("forward", None)
            else:
                module.forward = before


def _recorded(model: nn.Module, images: Tensor) -> tuple[_Record, list[_Call]]:
    record = _Record(images)
    calls: list[_Call] = []
    stack: list[_Call] = []
    modules = {module: name for name, module in model.named_modules()}

    def wrap(name: str, forward: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            mine = _Call(name, len(calls), stack[-1].number if stack else None, record.time)
            calls.append(mine)
            stack.append(mine)
            try:
                mine.output = forward(*args, **kwargs)
            finally:
                stack.pop()
            mine.end = record.time
            return mine.output

        return call

    with _forwards({module: wrap(name, module.forward) for module, name in modules.items()}), record:
        model(images.clone())
    return record, calls


@final
class _Replay(AbstractRoute):
    """Runs the network with stand-ins before a cut, and leaves it at another."""

    def __init__(self, model: nn.Module, calls: Sequence[_Call]) -> None:
        super().__init__()
        self._model = model
        self._calls = calls
        self.sides: dict[str, tuple[frozenset[str], frozenset[str]]] = {}
        # Cut name -> number of the call whose output is kept; None for the input.
        self.call: dict[str, int | None] = {}

    def parameters(self, cut: Cut) -> tuple[frozenset[str], frozenset[str]]:
        """See the base class."""
        return self.sides[cut.name]

    def ancestors(self, number: int) -> set[int]:
        """Calls within which a call is made."""
        found: set[int] = set()
        parent = self._calls[number].parent
        while parent is not None:
            found.add(parent)
            parent = self._calls[parent].parent
        return found

    def _stand_ins(self, number: int | None) -> set[int]:
        """The outermost calls that end before a call begins."""
        if number is None:
            return set()
        above = self.ancestors(number)
        return {c.number for c in self._calls[:number] if c.number not in above and c.parent in above}

    def _happening(self, skipped: set[int]) -> dict[str, list[int]]:
        """The calls of each module, in order, that are made when those inside ``skipped`` ones are not."""
        found: dict[str, list[int]] = {}
        for call in self._calls:
            if not self.ancestors(call.number) & skipped:
                found.setdefault(call.name, []).append(call.number)
        return found

    def run(self, first: Cut | None, given: Any, second: Cut | None) -> Any:
        """See the base class."""
        start = None if first is None else self.call[first.name]
        if first is not None and start is None:
            given = self.protected(first, given.values)[0]
        if second is not None and self.call[second.name] is None:
            return CutValues((given,))
        kept: dict[int, Any] = {}
        stop = None if second is None else self.call[second.name]
        known: Mapping[int, Any] = {} if start is None else given.stand_ins
        blank = self._stand_ins(start)
        noted = self._stand_ins(stop)
        if start is None:
            images = given
        else:
            assert first is not None
            (value,) = self.protected(first, given.values)
            images = known[_INPUT].make(value.device)
        kept[_INPUT] = _Blank(tuple(images.shape), images.dtype)
        happening = self._happening(blank | ({start} if start is not None else set()))
        reached: list[Tensor] = []

        def wrap(name: str, forward: Callable[..., Any]) -> Callable[..., Any]:
            numbers = iter(happening.get(name, ()))

            def call(*args: Any, **kwargs: Any) -> Any:
                number = next(numbers, None)
                if number in blank:
                    assert number is not None
                    output = _map(known[number], value.device)
                elif number is not None and number == start:
                    output = value
                else:
                    output = forward(*args, **kwargs)
                if number in noted:
                    assert number is not None
                    kept[number] = _blanks(output)
                if number is not None and number == stop:
                    reached.append(output)
                    raise _Reached
                return output

            return call

        wanted = blank | noted | {number for number in (start, stop) if number is not None}
        names = {self._calls[number].name for number in wanted}
        modules = {self._model.get_submodule(name): name for name in names}
        with _forwards({module: wrap(name, module.forward) for module, name in modules.items()}):
            try:
                output = self._model(images.clone())
            except _Reached:
                return CutValues((reached[0],), kept)
        return output


def _blanks(output: Any) -> Any:
    return pytree.tree_map(lambda x: _Blank(tuple(x.shape), x.dtype) if isinstance(x, Tensor) else x, output)


def _map(blanks: Any, device: torch.device) -> Any:
    return pytree.tree_map(lambda x: x.make(device) if isinstance(x, _Blank) else x, blanks)


def find_replay(model: nn.Module, example: Tensor, parts: Sequence[str], owned: Mapping[str, list[str]]) -> Found:
    """The cuts of a network from the record of one forward pass, not yet verified."""
    try:
        record, calls = _recorded(model, example.clone())
    except Exception as error:  # a network's own code may not stand being watched
        raise Untraceable(f"replay: its forward pass cannot be recorded: {type(error).__name__}: {error}") from error
    route = _Replay(model, calls)
    owner = {name: part for part, names in owned.items() for name in names}
    constant = {id(tensor) for tensor in (*model.parameters(), *model.buffers())}
    reads = {name: record.reads.get(id(parameter), []) for name, parameter in model.named_parameters()}
    best: dict[frozenset[str], tuple[Cut, int | None, tuple[frozenset[str], frozenset[str]]]] = {}
    ranks: dict[frozenset[str], tuple[bool, int]] = {}
    refused: dict[str, str] = {}

    def offer(time: int, kept: Tensor, number: int | None, as_it_came: bool = False) -> None:
        before = frozenset(name for name, times in reads.items() if any(t <= time for t in times))
        after = frozenset(name for name, times in reads.items() if any(t > time for t in times))
        first = {owner[n] for n in before}
        later = sorted((min(t for t in reads[n] if t > time), owner[n]) for n in after if owner[n] not in first)
        if not later:
            return
        name = later[0][1]
        if number is not None and (why := _leak(record, time, kept, constant)) is not None:
            refused.setdefault(name, why)
            return
        last = {owner[n] for n in after}
        size = kept.numel() * kept.element_size()
        key = frozenset(first)
        rank = (as_it_came, size)
        if key in best and ranks[key] < rank:
            return
        cut = Cut(
            index=0,
            name=name,
            before=tuple(part for part in parts if part in first and part not in last),
            after=tuple(part for part in parts if part not in first),
            shared=tuple(part for part in parts if part in first and part in last),
            shapes=(tuple(kept.shape),),
            bytes_per_example=size // len(example),
        )
        best[key], ranks[key] = (cut, number, (before, after)), rank

    offer(0, example, None)
    inside = tuple(f"{part}." for part in parts)
    for call in sorted(calls, key=lambda item: item.end):
        if call.parent is None or call.name.startswith(inside) or not isinstance(call.output, Tensor):
            continue
        # What a module gives back as it came, written to in place or not, the code may hold under another name, as
        # no record shows: such a call is taken where there is no better one, and the halves will be tried.
        offer(call.end, call.output, call.number, record.made.get(id(call.output), 0) <= call.start)
    cuts = []
    for cut, number, sides in best.values():
        route.call[cut.name], route.sides[cut.name] = number, sides
        cuts.append(cut)
        refused.pop(cut.name, None)
    cuts.sort(key=lambda cut: len(cut.before) + len(cut.shared))
    return Found(route, (), refused).renumbered(tuple(cuts), refused)


def _leak(record: _Record, time: int, kept: Tensor, constant: set[int]) -> str | None:
    """Why ``kept`` does not hide all that was made up to ``time``; None if it does."""
    if any(looked <= time for looked in record.looked):
        return "replay: a tensor is turned into a number on the way, which may steer what follows"
    for identity, made in record.made.items():
        early = made <= time and identity != id(kept) and identity not in constant
        if early and record.last_read.get(identity, -1) > time:
            return "replay: more than one tensor is carried past it"
    return None
