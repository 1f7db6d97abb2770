"""CKA of like modules of many states of networks (checkpoints), one state in memory at a time.

The other way round than :mod:`transferscope.methods.similarity.cka`: networks outside, batches inside. Each state is
loaded once and dropped after its pass; what stays is one Gram matrix for every state, module and batch::

    bytes = 4 · states · modules · Σ_batches n²

For 40 states of 18 modules on 512 images in batches of 64 that is 94 MB, whatever the size of the network. Where it
would be more than the budget, modules are taken in groups, and each state is loaded once for each group.
"""

import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from transferscope.errors import LoaderError, MeasureError
from transferscope.measures.cka import CkaSums, Kind, cka_compute, cka_update, smallest_batch
from transferscope.methods.similarity.cka_points import Maps, ObservedNetwork
from transferscope.networks.activations import ActivationRecorder
from transferscope.networks.batch import inputs_of
from transferscope.networks.evaluate import check_network_deterministic, in_format, preserved, resolve_device
from transferscope.networks.modules import Granularity, hookable_parts
from transferscope.readable import readable

_PROBE = 3


@readable
@dataclass(frozen=True)
class StatesCka:
    """What :func:`cka_states` found.

    Attributes:
        values: ``modules states states``, float64, symmetric in the states; 0 where ``null``.
        null: ``modules states states``, bool: CKA is not defined there.
        groups: how often each state was loaded; 1 where the Gram matrices fit the budget.
    """

    labels: tuple[str, ...]
    modules: tuple[str, ...]
    values: np.ndarray
    null: np.ndarray
    examples: int
    batch_size: int
    groups: int
    gram_bytes: int


def cka_states(
    states: Mapping[str, Callable[[], nn.Module]],
    batches: Iterable[Any],
    *,
    granularity: Granularity = "block",
    device: str | torch.device = "auto",
    memory_format: Literal["contiguous", "channels_last"] = "contiguous",
    kind: Kind = "unbiased",
    maps: Maps = "flattened",
    memory: int = 2**30,
) -> StatesCka:
    """CKA between all states, module by module, over the same batches; see the module's text for its memory.

    Args:
        states: label to a function that gives the network; called once for each group of modules. Networks are run in
            evaluation mode and given back as they were.
        batches: of tensors, or as a ``DataLoader`` gives them; the same each time they are iterated, in mixed order. A
            last batch too small for the estimator is left out.
        memory: bytes of Gram matrices held at once, at most, but for one module at least.

    Example:
        >>> net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).requires_grad_(False)
        >>> data = [torch.arange(30.0).reshape(10, 3).sin(), torch.arange(30.0).reshape(10, 3).cos()]
        >>> found = cka_states({"start": lambda: net, "end": lambda: net}, data, device="cpu")
        >>> found.modules, found.values[0].round(6).tolist()
        (('0', '2'), [[1.0, 1.0], [1.0, 1.0]])
    """
    if not states:
        raise MeasureError("there is no state to compare", expected="at least one network", got="none")
    where = resolve_device(device)
    counted = _counted(batches, kind)
    first = [next(iter(states.values()))()]
    names = hookable_parts(first[0], granularity)
    each = 4 * len(states) * sum(size**2 for size in counted)
    step = max(1, memory // each)
    groups = [names[start : start + step] for start in range(0, len(names), step)]
    points: list[str] = []
    values: list[Tensor] = []
    null: list[Tensor] = []
    for group in groups:
        room: _Room | None = None
        for place, (label, make) in enumerate(states.items()):
            # The names of modules were read from the first state: it need not be loaded twice.
            model = first.pop() if first else make()
            observed = ObservedNetwork(label, model, group, False, maps)
            room = _observe(observed, batches, counted, where, memory_format, room, (place, len(states)))
            del model, observed
        assert room is not None
        for point, name in enumerate(room.points):
            sums: CkaSums | None = None
            for grams, offsets in zip(room.grams, room.offsets, strict=True):
                sums = cka_update(sums, grams[:, point], offsets[:, point], kind=kind, feature_dtype=room.coarsest)
            assert sums is not None
            matrix = cka_compute(sums)
            points.append(name)
            values.append(matrix.values)
            null.append(matrix.null)
    return StatesCka(
        labels=tuple(states),
        modules=tuple(points),
        values=torch.stack(values).numpy(),
        null=torch.stack(null).numpy(),
        examples=sum(counted),
        batch_size=counted[0],
        groups=len(groups),
        gram_bytes=each * max(len(group) for group in groups),
    )


@dataclass
class _Room:
    """Gram matrices and offsets of all states: one pair for each batch, on the CPU.

    Attributes:
        grams: ``states points examples examples`` of each batch.
        offsets: ``states points 2`` of each batch.
        coarsest: type of an output so far; it sets the level of rounding errors.
    """

    points: tuple[str, ...]
    grams: list[Tensor]
    offsets: list[Tensor]
    coarsest: torch.dtype


def _observe(
    observed: ObservedNetwork,
    batches: Iterable[Any],
    counted: list[int],
    device: torch.device,
    memory_format: Literal["contiguous", "channels_last"],
    room: _Room | None,
    place: tuple[int, int],
) -> _Room:
    """One state over all batches, into its place of the room; the room is made with the first state."""
    model, (state, states) = observed.model, place
    with contextlib.ExitStack() as stack:
        stack.enter_context(preserved(model))
        model.eval()
        model.to(device)
        if memory_format == "channels_last":
            model.to(memory_format=torch.channels_last)
        recorder: ActivationRecorder | None = None
        for batch, data in enumerate(batches):
            if batch == len(counted):
                break
            inputs = in_format(inputs_of(data).to(device), memory_format)
            if recorder is None:
                check_network_deterministic(model, inputs[:2].clone())
                observed.probe(inputs[:_PROBE])
                recorder = stack.enter_context(observed.recorder())
                room = room or _room(observed, counted, states)
                if room.points != tuple(observed.points):
                    raise MeasureError(
                        f"the state {observed.label!r} has other modules than the first",
                        expected=", ".join(room.points),
                        got=", ".join(observed.points),
                        hint="compare states of one architecture",
                    )
            assert room is not None
            into = room.grams[batch][state], room.offsets[batch][state]
            if device.type == "cpu":
                observed.run(recorder, inputs, *into)
                continue
            here = [torch.empty_like(tensor, device=device) for tensor in into]
            observed.run(recorder, inputs, here[0], here[1])
            for tensor, found in zip(into, here, strict=True):
                tensor.copy_(found)
    assert room is not None
    room.coarsest = max(room.coarsest, observed.coarsest, key=lambda dtype: torch.finfo(dtype).eps)
    return room


def _room(observed: ObservedNetwork, counted: list[int], states: int) -> _Room:
    points, dtype = len(observed.points), observed.finest
    return _Room(
        points=tuple(observed.points),
        grams=[torch.empty(states, points, size, size, dtype=dtype) for size in counted],
        offsets=[torch.empty(states, points, 2, dtype=dtype) for _ in counted],
        coarsest=observed.coarsest,
    )


def _counted(batches: Iterable[Any], kind: Kind) -> list[int]:
    """Examples of each batch that counts."""
    sizes = [len(inputs_of(batch)) for batch in batches]
    least = smallest_batch(kind)
    if not sizes:
        raise LoaderError("the loader has no batches", expected="at least one batch", got="none")
    small = [size for size in sizes[: max(1, len(sizes) - 1)] if size < least]
    if small:
        raise MeasureError(
            f"a batch of {small[0]} examples is too small for {kind} CKA",
            expected=f"at least {least} examples in every batch but the last",
            got=str(small[0]),
            hint="use a larger batch size",
        )
    return [size for size in sizes if size >= least]
