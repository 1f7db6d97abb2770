"""Pooled outputs of all parts of a network, and the input of its head, from one pass over the data."""

import contextlib
import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from transferscope.errors import ActivationError, LoaderError
from transferscope.networks.activations import ActivationRecorder, only_tensor
from transferscope.networks.architectures import build
from transferscope.networks.evaluate import network_inputs, preserved, resolve_device
from transferscope.networks.heads import head_name
from transferscope.networks.modules import Granularity, core, find_module, hookable_parts
from transferscope.specs.architecture import Architecture

FEATURES = "(features)"
"""The place of what enters the head: the network's features."""
OUTPUT = "(output)"
"""The place of what the network gives: the logits of the head it has."""


@dataclass(frozen=True)
class Features:
    """Pooled features of every example.

    Attributes:
        tables: by part, in the order of the network, float32 ``examples features`` on the CPU; the last is
            :data:`FEATURES`, or :data:`OUTPUT` where it was asked for.
        unusable: parts without one tensor of features per example, and why.
    """

    tables: Mapping[str, Tensor]
    unusable: Mapping[str, str]


def pooled(output: Tensor, channels_last: bool = False) -> Tensor:
    """One vector per example: the mean over places (pixels, tokens).

    Three axes are ``examples tokens channels``. Of four axes the two of equal length are height and width: channels
    come second in a convolutional network, last in Swin and its kin.

    Args:
        output: ``examples channels``, ``examples tokens channels``, ``examples channels height width`` or ``examples
            height width channels``.
        channels_last: what holds where all lengths are equal.

    Returns:
        ``examples channels``.

    Raises:
        ActivationError: another number of axes.

    Example:
        >>> [tuple(pooled(torch.ones(shape)).shape) for shape in ((2, 8, 4, 4), (2, 4, 4, 8), (2, 5, 8))]
        [(2, 8), (2, 8), (2, 8)]
    """
    if output.ndim == 2:
        return output
    if output.ndim == 3:
        return output.mean(1)
    if output.ndim != 4:
        raise ActivationError(
            "the output cannot be pooled", expected="2, 3 or 4 axes, examples first", got=str(tuple(output.shape))
        )
    _, second, third, fourth = output.shape
    first_equal, last_equal = second == third, third == fourth
    last = channels_last if first_equal == last_equal else first_equal
    return output.mean((1, 2) if last else (2, 3))


def feature_parts(model: nn.Module, granularity: Granularity, head: str) -> list[str]:
    """The parts whose pooled output is looked at: those with a forward pass, without the head.

    Example:
        >>> feature_parts(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)), "block", "2")
        ['0']
    """
    names = hookable_parts(model, granularity, head)
    return [name for name in names if name != head and not name.startswith(f"{head}.")]


@functools.lru_cache(maxsize=32)
def _feature_parts_of(architecture: str, granularity: Granularity) -> tuple[str, ...]:
    settings = Architecture.model_validate_json(architecture)
    model = build(settings, 2, 0)
    return tuple(feature_parts(model, granularity, head_name(model, settings)))


def feature_parts_of(architecture: Architecture, granularity: Granularity) -> tuple[str, ...]:
    """As :func:`feature_parts`, of an architecture; built once per process."""
    return _feature_parts_of(architecture.model_dump_json(), granularity)


@contextlib.contextmanager
def head_input(model: nn.Module, head: str) -> Iterator[list[Tensor]]:
    """Collects what enters the head, once for each forward pass inside; the hook is removed on leaving."""
    seen: list[Tensor] = []

    def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen.append(only_tensor((args, kwargs), head).detach())

    handle = find_module(model, head).register_forward_pre_hook(hook, with_kwargs=True)
    try:
        yield seen
    finally:
        handle.remove()


def pooled_features(
    model: nn.Module,
    batches: Iterable[Any],
    head: str,
    *,
    granularity: Granularity | None = "block",
    outputs: bool = False,
    device: str | torch.device = "auto",
    memory_format: Literal["contiguous", "channels_last"] = "contiguous",
) -> Features:
    """Pooled outputs of all parts and the input of the head: one pass, one forward per batch. See :func:`pooled`.

    The network is run in evaluation mode and left as it was.

    Args:
        granularity: of the parts; None takes the input of the head alone.
        outputs: keep what the network gives as well.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 2))
        >>> found = pooled_features(net, [torch.ones(5, 3, 8, 8)], "2", device="cpu")
        >>> {name: tuple(table.shape) for name, table in found.tables.items()}
        {'0': (5, 4), '(features)': (5, 144)}
    """
    where = resolve_device(device)
    names = [] if granularity is None else feature_parts(model, granularity, head)
    last = getattr(core(model)[1], "output_fmt", "NCHW") == "NHWC"
    tables: dict[str, list[Tensor]] = {name: [] for name in (*names, FEATURES, *([OUTPUT] if outputs else []))}
    unusable: dict[str, str] = {}
    examples = 0

    def receive(name: str, output: Tensor) -> None:
        if "#" in name and name not in tables:
            return  # a second call of a part: its first output stands for it
        if output.ndim not in (2, 3, 4) or len(output) != examples:
            unusable[name] = f"its output has shape {tuple(output.shape)} for {examples} examples"
            return
        tables[name].append(pooled(output, last).float().cpu())

    with preserved(model), contextlib.ExitStack() as stack:
        model.eval()
        model.to(where)
        if memory_format == "channels_last":
            model.to(memory_format=torch.channels_last)
        entering = stack.enter_context(head_input(model, head))
        recorder = stack.enter_context(ActivationRecorder(model, names, receive, strict=False))
        for batch in batches:
            images = network_inputs(model, batch, where, memory_format)
            examples = len(images)
            entering.clear()
            given = recorder.run(images)
            if not entering:
                raise ActivationError(
                    f"the head {head!r} is never called", expected="a module that the forward pass calls", got=head
                )
            receive(FEATURES, entering[0])
            if outputs:
                receive(OUTPUT, only_tensor(given, OUTPUT))
        unusable.update(recorder.unusable)
    if not examples:
        raise LoaderError("the loader has no batches", expected="at least one batch", got="none")
    found = {name: torch.cat(parts) for name, parts in tables.items() if name not in unusable}
    if FEATURES not in found:
        raise ActivationError(
            f"what enters the head {head!r} cannot be pooled",
            expected="one tensor of 2 to 4 axes, examples first",
            got=unusable[FEATURES],
        )
    return Features(found, unusable)
