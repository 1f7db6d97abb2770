"""CKA of networks on a data loader: all layers, all networks, one pass over the data.

For people with networks and no study: :func:`cka` for one or two networks, :func:`cka_networks` for any
number. k networks take k forward passes a batch. The Gram matrix of a module's output is computed while its
hook runs, so feature maps are never kept; what a batch leaves behind is one Gram matrix a point.
"""

import contextlib
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from transferscope.errors import LoaderError, MeasureError, ModuleNameError, nearest
from transferscope.measures.cka import CkaSums, Kind, cka_compute, cka_update, smallest_batch
from transferscope.methods.evaluation import Execution
from transferscope.methods.similarity.cka_points import Maps, ObservedNetwork
from transferscope.methods.similarity.cka_result import CkaResult
from transferscope.networks.activations import ActivationRecorder
from transferscope.networks.batch import inputs_of
from transferscope.networks.evaluate import (
    autocast,
    check_network_deterministic,
    in_format,
    preserved,
    resolve_device,
)
from transferscope.networks.given import takes_networks
from transferscope.networks.loader_check import LoaderFacts, check_repeatable
from transferscope.networks.modules import Granularity, hookable_parts
from transferscope.readable import readable

__all__ = ["CkaEstimator", "CkaResult", "cka", "cka_networks"]

_PROBE = 3

Modules = Sequence[str] | Mapping[str, Sequence[str]] | None


@readable
@dataclass(frozen=True, kw_only=True)
class CkaEstimator:
    """How CKA is estimated.

    Attributes:
        kind: ``unbiased``, ``biased`` (averaged over minibatches; depends on the batch size), both with the linear
            kernel; or ``rbf``: the RBF kernel with the unbiased estimator.
        maps: ``flattened``, or ``pooled``: averaged over positions.
        bandwidth: of the RBF kernel, as a multiple of the median distance of each batch.
    """

    kind: Kind = "unbiased"
    maps: Maps = "flattened"
    bandwidth: float = 1.0


def _names(
    networks: Mapping[str, nn.Module], modules: Modules, granularity: Granularity
) -> dict[str, tuple[tuple[str, ...], bool]]:
    """Label to the modules to look at, and whether they were asked for by name."""
    if modules is None:
        return {label: (tuple(hookable_parts(model, granularity)), False) for label, model in networks.items()}
    if isinstance(modules, Mapping):
        for label in [*modules, *networks]:
            if label not in networks or label not in modules:
                raise ModuleNameError(
                    f"modules are named for other networks than there are: {label!r} is in one of the two only",
                    expected=", ".join(networks),
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


@takes_networks("networks")
def cka_networks(
    networks: Mapping[str, nn.Module],
    loader: Iterable[Any],
    *,
    modules: Modules = None,
    granularity: Granularity = "block",
    execution: Execution = Execution(),
    estimator: CkaEstimator = CkaEstimator(),
    repeatable: bool = True,
    on_batch: Callable[[int], None] | None = None,
    on_features: Callable[[str, str, Tensor], None] | None = None,
) -> CkaResult:
    """CKA of all layers of all networks with each other, in one pass over the data.

    Networks are run in evaluation mode and given back as they were: weights, buffers, hooks, mode,
    ``requires_grad``, device. All of them see the same batch, so the loader may shuffle. Definition and
    estimator: see :mod:`transferscope.measures.cka`. Convolution maps and tokens are flattened, unless ``maps`` says
    ``pooled``. Peak memory beyond the forward pass is one Gram matrix (``examples examples`` of a batch, float32) a
    point.

    Args:
        networks: label to network; the same network may come twice.
        loader: batches: see :func:`~transferscope.networks.batch.inputs_of`. At least 4 examples each; a shorter last
            batch counts with its number of examples, one of fewer than 4 is dropped, and the result says so.
        modules: names of modules (``relu#2`` is the second call), one list for all or one for each label; all
            parts of ``granularity`` where None.
        granularity: ``stage``, ``block`` or ``layer``.
        execution: device and number format of the forward passes.
        estimator: kernel, estimator, and what becomes of convolution maps.
        repeatable: check first that the loader gives the same examples each time; False to take one that does
            not.
        on_batch: called with the number of examples counted so far.
        on_features: called with label, point and pooled features (``examples channels``) of every batch, inside the
            forward pass; a network under two labels is told once, under its first.

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
        >>> result = cka_networks({"P": net}, batches, execution=Execution(device="cpu"))
        >>> result.modules, result.between("P", "P").round(6).diagonal().tolist()
        ({'P': ('0', '2')}, [1.0, 1.0])
    """
    _check_choice("granularity", granularity, ("stage", "block", "layer"))
    precision, memory_format, kind, maps = execution.precision, execution.memory_format, estimator.kind, estimator.maps
    _check_choice("precision", precision, ("float32", "bfloat16"))
    _check_choice("memory_format", memory_format, ("contiguous", "channels_last"))
    _check_choice("kind", kind, ("unbiased", "biased", "rbf"))
    _check_choice("maps", maps, ("flattened", "pooled"))
    if not networks:
        raise MeasureError("there is no network to compare", expected="at least one network", got="none")
    where = resolve_device(execution.device)
    names = _names(networks, modules, granularity)
    # A network that comes under two labels is run once.
    observed: dict[tuple[int, tuple[str, ...]], ObservedNetwork] = {}
    for label, model in networks.items():
        observed.setdefault(
            (id(model), names[label][0]), ObservedNetwork(label, model, *names[label], maps, on_features)
        )
    facts = check_repeatable(loader) if repeatable else LoaderFacts()
    seen = list(observed.values())
    with contextlib.ExitStack() as stack:
        for network in seen:
            stack.enter_context(preserved(network.model))
            network.model.eval()
            network.model.to(where)
            if memory_format == "channels_last":
                network.model.to(memory_format=torch.channels_last)
        batches = (in_format(inputs_of(batch).to(where), memory_format) for batch in loader)
        # Around the networks only: neither the data set's transforms nor the sums are to lose digits.
        cast = functools.partial(autocast, where, precision)
        counted = _count(seen, batches, estimator, stack, cast, on_batch)
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
            (label, name): reason for label, network in found.items() for name, reason in network.unusable.items()
        },
        examples=counted.sums.examples,
        dropped=counted.dropped + facts.left_out,
        batches=counted.sums.batches,
        batch_size=counted.first,
        last_batch=counted.last,
        shuffled=facts.shuffled,
        kind=kind,
        maps=maps,
        precision=precision,
        memory_format=memory_format,
        device=str(where),
    )


def _places(
    networks: Mapping[str, nn.Module],
    names: Mapping[str, tuple[tuple[str, ...], bool]],
    observed: Mapping[tuple[int, tuple[str, ...]], ObservedNetwork],
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
    seen: Sequence[ObservedNetwork],
    batches: Iterable[Tensor],
    estimator: CkaEstimator,
    stack: contextlib.ExitStack,
    cast: Callable[[], contextlib.AbstractContextManager[Any]],
    on_batch: Callable[[int], None] | None,
) -> _Counted:
    kind = estimator.kind
    sums: CkaSums | None = None
    recorders: list[ActivationRecorder] = []
    grams, offsets, dtype = torch.empty(0, 0, 0), torch.empty(0, 2), torch.float32
    first = last = short = 0
    for inputs in batches:
        if short:
            raise _too_small(short, kind)
        if len(inputs) < smallest_batch(kind):
            short = len(inputs)
            continue
        if sums is None:
            first = len(inputs)
            few = inputs[:_PROBE]
            for network in seen:
                with cast():
                    check_network_deterministic(network.model, few[:2].clone())
                    network.probe(few)
            recorders = [stack.enter_context(network.recorder()) for network in seen]
            dtype = max((network.finest for network in seen), key=lambda dtype: torch.finfo(dtype).bits)
        if grams.shape[-1] != len(inputs):
            points = sum(len(network.points) for network in seen)
            grams = torch.empty(points, len(inputs), len(inputs), dtype=dtype, device=inputs.device)
            offsets = torch.empty(points, 2, dtype=dtype, device=inputs.device)
        start = 0
        for network, recorder in zip(seen, recorders, strict=True):
            span = slice(start, start + len(network.points))
            start = span.stop
            with cast():
                network.run(recorder, inputs, grams[span], offsets[span])
        coarsest = max((network.coarsest for network in seen), key=lambda dtype: torch.finfo(dtype).eps)
        # The sums are float64, which MPS does not have.
        here = [tensor.cpu() if tensor.device.type == "mps" else tensor for tensor in (grams, offsets)]
        sums = cka_update(sums, *here, kind=kind, feature_dtype=coarsest, bandwidth=estimator.bandwidth)
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


@takes_networks("a", "b")
def cka(
    a: nn.Module,
    b: nn.Module | None = None,
    loader: Iterable[Any] | None = None,
    *,
    modules: Modules = None,
    granularity: Granularity = "block",
    execution: Execution = Execution(),
    estimator: CkaEstimator = CkaEstimator(),
    repeatable: bool = True,
    on_batch: Callable[[int], None] | None = None,
) -> CkaResult:
    """CKA of all layers of two networks, or of one with itself: :func:`cka_networks` with labels ``a``
    and ``b``.

    Args:
        a: a network.
        b: another; the layers of ``a`` among themselves where None.
        loader: as in :func:`cka_networks`; required.
        modules: as in :func:`cka_networks`, by the labels ``a`` and ``b`` where they differ.
        granularity: as in :func:`cka_networks`.
        execution: as in :func:`cka_networks`.
        estimator: as in :func:`cka_networks`.
        repeatable: as in :func:`cka_networks`.
        on_batch: as in :func:`cka_networks`.

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
        execution=execution,
        estimator=estimator,
        repeatable=repeatable,
        on_batch=on_batch,
    )
