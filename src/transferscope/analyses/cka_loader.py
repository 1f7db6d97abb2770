"""CKA of networks on a data loader: all layers, all networks, one pass over the data.

For people with networks and no study: :func:`cka` for one or two networks, :func:`cka_networks` for any
number. k networks take k forward passes a batch. The Gram matrix of a module's output is computed while its
hook runs, so feature maps are never kept; what a batch leaves behind is one Gram matrix a point.
"""

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np
import torch
from torch import Tensor, nn

from transferscope.errors import ActivationError, LoaderError, MeasureError, ModuleNameError, nearest
from transferscope.measures.cka import CkaSums, Kind, centred_gram, cka_compute, cka_update, smallest_batch
from transferscope.networks.activations import ActivationRecorder
from transferscope.networks.evaluate import (
    autocast,
    check_network_deterministic,
    in_format,
    preserved,
    resolve_device,
)
from transferscope.networks.loader_check import LoaderFacts, check_repeatable, inputs_of
from transferscope.networks.modules import Granularity, hookable_parts

__all__ = ["CkaResult", "cka", "cka_networks"]

# Fewer than any batch, so that an output whose first axis is not examples shows in one of the two.
_PROBE = 3

Modules = Sequence[str] | Mapping[str, Sequence[str]] | None


@dataclass(frozen=True)
class CkaResult:
    """CKA of every point of every network with every other.

    A *point* is a module's output, or one call of it (``relu#2``). Points are in the order of the networks,
    and in each network in the order of ``modules``.

    Attributes:
        networks: labels.
        modules: label to the names of its points.
        values: ``points points``, float64, symmetric, in [-1, 1] up to rounding; 0 where ``null``.
        null: ``points points``, bool: CKA is not defined there.
        reasons: (label, point) to why it has none.
        unusable: (label, module) to why a module chosen by granularity has no point (never called, no single
            tensor).
        examples: how many examples were counted; each batch counts with its number of them.
        dropped: how many were not: in a last batch too small for the estimator, or left out by the loader.
        batches: how many batches were counted.
        batch_size: examples of the first batch.
        last_batch: examples of the last batch counted; weighted accordingly where shorter.
        shuffled: the loader shuffles, so batches (not examples) differ from run to run, and CKA a little.
        kind: of the estimator.
        precision: of the forward passes.
        memory_format: of the forward passes.
        device: that was computed on.
    """

    networks: tuple[str, ...]
    modules: Mapping[str, tuple[str, ...]]
    values: np.ndarray
    null: np.ndarray
    reasons: Mapping[tuple[str, str], str]
    unusable: Mapping[tuple[str, str], str]
    examples: int
    dropped: int
    batches: int
    batch_size: int
    last_batch: int
    shuffled: bool
    kind: Kind
    precision: str
    memory_format: str
    device: str

    def _span(self, label: str) -> slice:
        if label not in self.modules:
            raise ModuleNameError(f"there is no network {label!r} in this result", hint=nearest(label,
            self.networks))
        start = 0
        for name in self.networks:
            if name == label:
                break
            start += len(self.modules[name])
        return slice(start, start + len(self.modules[label]))

    def between(self, a: str, b: str) -> "np.ma.MaskedArray[Any, np.dtype[np.float64]]":
        """CKA of the points of one network with those of another.

        Args:
            a: label; rows.
            b: label, may be ``a``; columns.

        Returns:
            ``points points``, masked where CKA is not defined.

        Raises:
            ModuleNameError: there is no such network.
        """
        span = self._span(a), self._span(b)
        return np.ma.MaskedArray(self.values[span], mask=self.null[span])

    def rows(self) -> list[dict[str, str | float | None]]:
        """One row for each pair of points of each pair of networks (a network with itself included).

        Returns:
            Dictionaries of ``network_a, module_a, network_b, module_b, cka, reason``; ``cka`` is None where
            it is not defined, and ``reason`` then says why.
        """
        table: list[dict[str, str | float | None]] = []
        for index, a in enumerate(self.networks):
            for b in self.networks[index:]:
                values = self.between(a, b)
                mask = np.ma.getmaskarray(values)
                for i, module_a in enumerate(self.modules[a]):
                    for j, module_b in enumerate(self.modules[b]):
                        null = bool(mask[i, j])
                        why = self.reasons.get((a, module_a)) or self.reasons.get((b, module_b))
                        table.append(
                            {
                                "network_a": a,
                                "module_a": module_a,
                                "network_b": b,
                                "module_b": module_b,
                                "cka": None if null else float(values.data[i, j]),
                                "reason": why if null else None,
                            }
                        )
        return table


@final
class _Observed:
    """One network with its points, and where their Gram matrices go."""

    def __init__(self, label: str, model: nn.Module, names: Sequence[str], required: bool) -> None:
        self.label, self.model, self.required = label, model, required
        self.names = tuple(dict.fromkeys(names))
        self.points: dict[str, int] = {}
        self.unusable: dict[str, str] = {}
        self._widths: dict[str, tuple[int, int]] = {}
        self._grams: dict[int, Tensor] = {}
        self._offsets: dict[int, Tensor] = {}
        self._examples = 0
        self.coarsest = torch.float32

    def probe(self, inputs: Tensor) -> None:
        """Run a few examples to see which modules are called and comparable: before anything long is
        started.""" self._examples = len(inputs)
        recorder = ActivationRecorder(
            self.model, self.names, self._look, label=f"network {self.label!r}", strict=self.required
        )
        with recorder:
            recorder.run(inputs.clone())
        self.unusable.update(recorder.unusable)
        found = [name for name in self._widths if name not in self.unusable]
        # In the order asked for, further calls of a module right after its first.
        position = {name: index for index, name in enumerate(self.names)}
        found.sort(key=lambda name: position.get(name, position.get(name.rpartition("#")[0], 0)))
        self.points = {name: index for index, name in enumerate(found)}
        if not self.points:
            raise ActivationError(
                f"no module of network {self.label!r} has an output that can be compared",
                expected="at least one module that is called and gives one tensor",
                got="; ".join(f"{name}: {reason}" for name, reason in self.unusable.items()) or "no modules",
                hint="name modules, or choose another granularity",
            )

    def _look(self, name: str, output: Tensor) -> None:
        if output.dim() < 1 or output.shape[0] == 0 or output.shape[0] % self._examples:
            reason = f"its first axis does not run over the {self._examples} examples: {tuple(output.shape)}"
            if self.required:
                raise _not_examples(name, self.label, reason)
            self.unusable[name] = reason
            return
        self._widths[name] = (output.shape[0] // self._examples, output.dim())

    def recorder(self) -> ActivationRecorder:
        return ActivationRecorder(self.model, list(self.points), self._receive, label=f"network
        {self.label!r}")

    def _receive(self, name: str, output: Tensor) -> None:
        if name not in self.points:
            raise ActivationError(
                f"network {self.label!r} calls modules in another way in this batch than in the first",
                expected=f"the calls {', '.join(self.points)}",
                got=f"{name!r}",
                hint="name the calls to compare, for example 'relu#2'",
            )
        times, _ = self._widths[name]
        if output.shape[0] != times * self._examples:
            raise _not_examples(
                name, self.label, f"{self._examples} examples gave the shape {tuple(output.shape)}"
            )
        # Windows and heads that were folded into the first axis run inside the examples.
        gram, offset = centred_gram(output.reshape(self._examples, -1) if times > 1 or output.dim() == 1 else
        output) if torch.finfo(output.dtype).eps > torch.finfo(self.coarsest).eps:
            self.coarsest = output.dtype
        self._grams[self.points[name]] = gram
        self._offsets[self.points[name]] = offset

    def run(self, recorder: ActivationRecorder, inputs: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """One batch through the network: Gram matrix and offset of each point, in their order."""
        self._examples = len(inputs)
        self._grams, self._offsets = {}, {}
        # A copy: a network that begins in place must not change what the next one, or the caller, sees.
        recorder.run(inputs.clone())
        order = sorted(self._grams)
        return [self._grams[index] for index in order], [self._offsets[index] for index in order]


def _not_examples(name: str, label: str, reason: str) -> ActivationError:
    return ActivationError(
        f"the output of module {name!r} of network {label!r} is not one row for each example",
        expected="the first axis runs over the examples",
        got=reason,
        hint="name a module whose output is batch-first",
    )


def _names(
    networks: Mapping[str, nn.Module], modules: Modules, granularity: Granularity
) -> dict[str, tuple[tuple[str, ...], bool]]:
    """Label to the modules to look at, and whether they were asked for by name."""
    if modules is None:
        return {label: (tuple(hookable_parts(model, granularity)), False) for label, model in
        networks.items()}
    if isinstance(modules, Mapping):
        for label in [*modules, *networks]:
            if label not in networks or label not in modules:
                raise ModuleNameError(
                    f"modules are named for other networks than there are: {label!r} is in one of the two
                    only", expected=", ".join(networks),
                    got=", ".join(modules),
                    hint=nearest(label, networks),
                )
        return {label: (_as_tuple(modules[label]), True) for label in networks}
    return {label: (_as_tuple(modules), True) for label in networks}


def _as_tuple(names: Sequence[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


def _check_choice(setting: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise MeasureError(
            f"{setting} is not one of its choices",
            expected=", ".join(choices),
            got=repr(value),
            hint=nearest(str(value), choices),
        )


def _stacked(tensors: Sequence[Tensor]) -> Tensor:
    """On one device, in one type; float64 follows, which MPS does not have."""
    dtype = torch.float64 if any(tensor.dtype == torch.float64 for tensor in tensors) else torch.float32
    stacked = torch.stack([tensor.to(dtype) for tensor in tensors])
    return stacked.cpu() if stacked.device.type == "mps" else stacked


def cka_networks(
    networks: Mapping[str, nn.Module],
    loader: Iterable[Any],
    *,
    modules: Modules = None,
    granularity: Granularity = "block",
    device: str | torch.device = "auto",
    precision: Literal["float32", "bfloat16"] = "float32",
    memory_format: Literal["contiguous", "channels_last"] = "contiguous",
    kind: Kind = "unbiased",
    repeatable: bool = True,
    on_batch: Callable[[int], None] | None = None,
) -> CkaResult:
    """Linear CKA of all layers of all networks with each other, in one pass over the data.

    Networks are run in evaluation mode and given back as they were: weights, buffers, hooks, mode,
    ``requires_grad``, device. All of them see the same batch, so the loader may shuffle. Definition and
    estimator: see :mod:`transferscope.measures.cka`. Convolution maps and tokens are flattened. Peak memory
        beyond the forward pass is one
    Gram matrix (``examples examples`` of a batch, float32) a point.

    Args:
        networks: label to network; the same network may come twice.
        loader: batches of tensors, or of tuples that start with one. At least 4 examples each; a shorter last
            batch counts with its number of examples, one of fewer than 4 is dropped, and the result says so.
        modules: names of modules (``relu#2`` is the second call), one list for all or one for each label; all
            parts of ``granularity`` where None.
        granularity: ``stage``, ``block`` or ``layer``.
        device: ``auto``, ``cpu``, ``cuda``, ``mps``.
        precision: of the forward passes; ``bfloat16`` is faster and off by about 1e-3.
        memory_format: of the forward passes.
        kind: ``unbiased``, or ``biased`` (averaged over minibatches; depends on the batch size).
        repeatable: check first that the loader gives the same examples each time; False to take one that does
            not.
        on_batch: called with the number of examples counted so far.

    Raises:
        LoaderError: the loader is empty or does not repeat itself.
        MeasureError: a batch of too few examples that is not the last; no networks; an unknown choice.
        ModuleNameError: a network has no such module (the nearest names are offered).
        ActivationError: a named module is never called or does not give one tensor, examples first.
        ArchitectureError: a network gives other outputs for the same input in evaluation mode.
        StudyError: there is no such device.

    Example:
        >>> net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).requires_grad_(False)
        >>> batches = [torch.arange(30.0).reshape(10, 3).sin(), torch.arange(30.0).reshape(10, 3).cos()]
        >>> result = cka_networks({"P": net}, batches, device="cpu")
        >>> result.modules, result.between("P", "P").round(6).diagonal().tolist()
        ({'P': ('0', '2')}, [1.0, 1.0])
    """
    _check_choice("granularity", granularity, ("stage", "block", "layer"))
    _check_choice("precision", precision, ("float32", "bfloat16"))
    _check_choice("memory_format", memory_format, ("contiguous", "channels_last"))
    _check_choice("kind", kind, ("unbiased", "biased"))
    if not networks:
        raise MeasureError("there is no network to compare", expected="at least one network", got="none")
    where = resolve_device(device)
    names = _names(networks, modules, granularity)
    # A network that comes under two labels is run once.
    observed: dict[tuple[int, tuple[str, ...]], _Observed] = {}
    for label, model in networks.items():
        observed.setdefault((id(model), names[label][0]), _Observed(label, model, *names[label]))
    facts = check_repeatable(loader) if repeatable else LoaderFacts()
    seen = list(observed.values())
    with contextlib.ExitStack() as stack:
        for network in seen:
            stack.enter_context(preserved(network.model))
            network.model.eval()
            network.model.to(where)
            if memory_format == "channels_last":
                network.model.to(memory_format=torch.channels_last)
        stack.enter_context(autocast(where, precision))
        batches = (in_format(inputs_of(batch).to(where), memory_format) for batch in loader)
        counted = _count(seen, batches, kind, stack, on_batch)
    matrix = cka_compute(counted.sums)
    places = _places(networks, names, observed)
    index = [place for spots in places.values() for place in spots]
    values, null = (array.numpy()[np.ix_(index, index)] for array in (matrix.values, matrix.null))
    values.setflags(write=False)
    null.setflags(write=False)
    found = {label: observed[id(model), names[label][0]] for label, model in networks.items()}
    return CkaResult(
        networks=tuple(networks),
        modules={label: tuple(network.points) for label, network in found.items()},
        values=values,
        null=null,
        reasons={
            (label, name): reason
            for label, network in found.items()
            for name, place in zip(network.points, places[label], strict=True)
            if (reason := matrix.reasons[place]) is not None
        },
        unusable={
            (label, name): reason for label, network in found.items() for name, reason in
            network.unusable.items()
        },
        examples=counted.sums.examples,
        dropped=counted.dropped + facts.left_out,
        batches=counted.sums.batches,
        batch_size=counted.first,
        last_batch=counted.last,
        shuffled=facts.shuffled,
        kind=kind,
        precision=precision,
        memory_format=memory_format,
        device=str(where),
    )


def _places(
    networks: Mapping[str, nn.Module],
    names: Mapping[str, tuple[tuple[str, ...], bool]],
    observed: Mapping[tuple[int, tuple[str, ...]], _Observed],
) -> dict[str, list[int]]:
    """Where the points of each label stand among the points that were computed."""
    spans: dict[tuple[int, tuple[str, ...]], list[int]] = {}
    total = 0
    for key, network in observed.items():
        spans[key] = list(range(total, total + len(network.points)))
        total += len(network.points)
    return {label: spans[id(model), names[label][0]] for label, model in networks.items()}


@dataclass(frozen=True)
class _Counted:
    sums: CkaSums
    first: int
    last: int
    dropped: int


def _count(
    seen: Sequence[_Observed],
    batches: Iterable[Tensor],
    kind: Kind,
    stack: contextlib.ExitStack,
    on_batch: Callable[[int], None] | None,
) -> _Counted:
    sums: CkaSums | None = None
    recorders: list[ActivationRecorder] = []
    first = last = short = 0
    for inputs in batches:
        if short:
            raise _too_small(short, kind)
        if len(inputs) < smallest_batch(kind):
            short = len(inputs)
            continue
        if sums is None:
            first = len(inputs)
            few = inputs[: min(_PROBE, first - 1)]
            for network in seen:
                check_network_deterministic(network.model, few.clone())
                network.probe(few)
            recorders = [stack.enter_context(network.recorder()) for network in seen]
        grams: list[Tensor] = []
        offsets: list[Tensor] = []
        for network, recorder in zip(seen, recorders, strict=True):
            for kept, new in zip((grams, offsets), network.run(recorder, inputs), strict=True):
                kept.extend(new)
        coarsest = max((network.coarsest for network in seen), key=lambda dtype: torch.finfo(dtype).eps)
        sums = cka_update(sums, _stacked(grams), _stacked(offsets), kind=kind, feature_dtype=coarsest)
        last = len(inputs)
        if on_batch is not None:
            on_batch(sums.examples)
    if sums is None:
        if short:
            raise _too_small(short, kind)
        raise LoaderError("the loader has no batches", expected="at least one batch", got="none")
    return _Counted(sums, first, last, short)


def _too_small(examples: int, kind: Kind) -> MeasureError:
    return MeasureError(
        f"a batch of {examples} examples is too small for {kind} CKA",
        expected=f"at least {smallest_batch(kind)} examples in every batch but the last",
        got=str(examples),
        hint="use a larger batch size",
    )


def cka(
    a: nn.Module,
    b: nn.Module | None = None,
    loader: Iterable[Any] | None = None,
    *,
    modules: Modules = None,
    granularity: Granularity = "block",
    device: str | torch.device = "auto",
    precision: Literal["float32", "bfloat16"] = "float32",
    memory_format: Literal["contiguous", "channels_last"] = "contiguous",
    kind: Kind = "unbiased",
    repeatable: bool = True,
    on_batch: Callable[[int], None] | None = None,
) -> CkaResult:
    """Linear CKA of all layers of two networks, or of one with itself: :func:`cka_networks` with labels ``a``
    and ``b``.

    Args:
        a: a network.
        b: another; the layers of ``a`` among themselves where None.
        loader: as of :func:`cka_networks`; required.
        modules: as of :func:`cka_networks`, by the labels ``a`` and ``b`` where they differ.
        granularity: as of :func:`cka_networks`.
        device: as of :func:`cka_networks`.
        precision: as of :func:`cka_networks`.
        memory_format: as of :func:`cka_networks`.
        kind: as of :func:`cka_networks`.
        repeatable: as of :func:`cka_networks`.
        on_batch: as of :func:`cka_networks`.

    Returns:
        ``result.between("a", "b")`` is the matrix of two networks, ``result.between("a", "a")`` that of one.

    Raises:
        LoaderError: there is no loader; and all errors of :func:`cka_networks`.
    """
    if loader is None:
        raise LoaderError(
            "there is no loader",
            expected="cka(a, b, loader), or cka(a, loader=loader)",
            got="None",
            hint="give the batches to compare the networks on",
        )
    return cka_networks(
        {"a": a} if b is None else {"a": a, "b": b},
        loader,
        modules=modules,
        granularity=granularity,
        device=device,
        precision=precision,
        memory_format=memory_format,
        kind=kind,
        repeatable=repeatable,
        on_batch=on_batch,
    )
