"""Outputs of named modules, handed on the moment they are computed and never kept.

A later module may overwrite a tensor in place (``ReLU(inplace=True)``), so what a module gave is only there while its
hook runs: the receiver is called inside the hook.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, final

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from transferscope.errors import ActivationError, nearest
from transferscope.networks.evaluate import run_network
from transferscope.networks.modules import find_module


def _tensors(output: object) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, Mapping):
        for item in output.values():
            yield from _tensors(item)
    elif isinstance(output, (tuple, list)):
        for item in output:
            yield from _tensors(item)


def only_tensor(output: object, name: str) -> Tensor:
    """The one floating-point tensor in a module's output.

    Example:
        >>> only_tensor((torch.ones(2), None), "attn").shape
        torch.Size([2])
    """
    found = list(_tensors(output))
    if len(found) != 1 or not found[0].is_floating_point():
        shown = ", ".join(f"{tensor.dtype} {tuple(tensor.shape)}" for tensor in found)
        raise ActivationError(
            f"the output of module {name!r} cannot be compared",
            expected="exactly one floating-point tensor",
            got=shown or type(output).__name__,
            hint="name the module inside it whose output you mean",
        )
    return found[0]


def entering(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
    """The first tensor among the arguments of a call, by position or by keyword: what a layer works on.

    >>> entering((), {"input": torch.ones(2)}).shape
    torch.Size([2])
    """
    return next(_tensors((args, kwargs)))


@final
class ActivationRecorder:
    """Runs a network and hands each named module's output to a receiver, inside the forward pass.

    Names are those of modules. A module that is called more than once in a pass (a shared ReLU) is handed on as
    ``relu``, ``relu#2``, ``relu#3``; ``relu#2`` alone asks for the second call only, and the others are not looked at.
    The network is left in the mode it is in, and its own hooks stay; the recorder's hooks are removed on leaving, also
    on exceptions. Evaluation mode, device and buffers are for :func:`transferscope.networks.evaluate.preserved`.

    Only the recorder's own :meth:`run` is recorded: a network that shares modules with another one is not disturbed by
    it.

    Args:
        receive: called with a name and a tensor, detached. What it wants to keep it must copy.
        strict: raise where a module is never called or has no single tensor; else note it in ``unusable``.

    Attributes:
        unusable: name to reason, only filled without ``strict``.

    Example:
        >>> model = nn.Sequential(nn.Linear(3, 2), nn.ReLU(inplace=True))
        >>> shapes = {}
        >>> def receive(name, output):
        ...     shapes[name] = tuple(output.shape)
        >>> with ActivationRecorder(model, ["0"], receive) as recorder:
        ...     _ = recorder.run(torch.ones(5, 3))
        >>> shapes
        {'0': (5, 2)}
    """

    def __init__(
        self,
        model: nn.Module,
        names: Sequence[str],
        receive: Callable[[str, Tensor], None],
        *,
        label: str = "the network",
        strict: bool = True,
    ) -> None:
        self.model, self._names, self._receive = model, tuple(names), receive
        self._label, self._strict = label, strict
        self._wanted: dict[str, set[int] | None] = {}
        self._handles: list[RemovableHandle] = []
        self._calls: dict[str, int] = {}
        self._seen: set[str] = set()
        self._running = False
        self.unusable: dict[str, str] = {}

    def __enter__(self) -> Self:
        modules = [self._module(name) for name in self._names]
        try:
            for module, base, call in modules:
                if base not in self._wanted:
                    self._wanted[base] = set()
                    self._handles.append(module.register_forward_hook(self._hook(base)))
                calls = self._wanted[base]
                if call is None:
                    self._wanted[base] = None
                elif calls is not None:
                    calls.add(call)
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    def _remove(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._wanted.clear()

    def _module(self, name: str) -> tuple[nn.Module, str, int | None]:
        base, mark, call = name.rpartition("#")
        if mark and call.isdigit() and int(call) >= 1:
            return find_module(self.model, base), base, int(call)
        return find_module(self.model, name), name, None

    def _hook(self, base: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_module: nn.Module, _inputs: object, output: object) -> None:
            if not self._running:
                return
            call = self._calls[base] = self._calls.get(base, 0) + 1
            wanted = self._wanted[base]
            if wanted is not None and call not in wanted:
                return
            names = self._named(base, call)
            try:
                tensor = only_tensor(output, names[0])
            except ActivationError as error:
                if self._strict:
                    raise
                self._seen.update(names)
                self.unusable.update(dict.fromkeys(names, f"{error.what}: {error.got}"))
                return
            for name in names:
                self._seen.add(name)
                self._receive(name, tensor.detach())

        return hook

    def _named(self, base: str, call: int) -> list[str]:
        """What this call is handed on as: in the words it was asked for."""
        asked = f"{base}#{call}"
        if self._wanted[base] is not None:
            return [asked]
        own = base if call == 1 else asked
        return [own, asked] if asked in self._names and asked != own else [own]

    def run(self, inputs: Tensor) -> Any:
        """One forward pass without gradients; gives the network's own output."""
        if self._names and not self._handles:
            raise RuntimeError("use the recorder in a with statement")
        self._calls, self._seen = {}, set()
        self._running = True
        try:
            # Not inference mode: a network may cache a tensor (a mask, a position table), and one made in
            # inference mode could not be used for training afterwards.
            with torch.no_grad():
                output = run_network(self.model, inputs)
        finally:
            self._running = False
        for name in self._names:
            if name not in self._seen:
                self._missing(name)
        return output

    def _missing(self, name: str) -> None:
        _, base, call = self._module(name)
        calls = self._calls.get(base, 0)
        reason = "is never called" if not calls else f"is called {calls} time(s), not {call}"
        if not self._strict:
            self.unusable[name] = reason
            return
        raise ActivationError(
            f"the hook on {name!r} of {self._label} stayed empty: the module {reason} in a forward pass",
            expected="a module whose forward is called",
            got=f"no output of {name!r}",
            hint=f"leave it out, or name a module inside it; {nearest(base, self._calls)}",
        )
