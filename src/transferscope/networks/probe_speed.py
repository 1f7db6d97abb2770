"""Which memory format trains a network fastest here: a few measured steps per option."""

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from transferscope.networks.evaluate import MemoryFormat, Precision, autocast, in_format
from transferscope.networks.initialisation import isolated_randomness

ADVANTAGE = 1.05
"""How many times faster channels_last must be to be chosen: below, two probes could disagree by chance."""

_FORMATS: tuple[MemoryFormat, ...] = ("contiguous", "channels_last")


@dataclass(frozen=True)
class ProbeResult:
    """The outcome of a probe.

    Attributes:
        precision: always ``float32``: bfloat16 changes results and is never chosen by a clock.
        images_per_second: of training, by option: ``float32 contiguous``, ``float32 channels_last`` and, where asked
            for, the same with ``bfloat16``.
    """

    memory_format: Literal["contiguous", "channels_last"]
    precision: Literal["float32"]
    images_per_second: Mapping[str, float]
    batch_size: int
    image_size: int
    device: str
    threads: int


def choose_format(images_per_second: Mapping[str, float]) -> Literal["contiguous", "channels_last"]:
    """``channels_last`` where it is at least 5 % faster in float32, else ``contiguous``.

    Example:
        >>> choose_format({"float32 contiguous": 100.0, "float32 channels_last": 104.0})
        'contiguous'
        >>> choose_format({"float32 contiguous": 100.0, "float32 channels_last": 105.0})
        'channels_last'
    """
    faster = images_per_second["float32 channels_last"] >= ADVANTAGE * images_per_second["float32 contiguous"]
    return "channels_last" if faster else "contiguous"


@contextlib.contextmanager
def _isolated(device: torch.device) -> Iterator[None]:
    """As ``isolated_randomness``; dropout on an accelerator draws from that device's generator as well."""
    with contextlib.ExitStack() as stack:
        if device.type != "cpu":
            module = torch.get_device_module(device)
            index = (device,) if device.type == "cuda" else ()
            stack.callback(module.set_rng_state, module.get_rng_state(*index), *index)
        stack.enter_context(isolated_randomness(0))
        yield


def probe(
    model_factory: Callable[[], nn.Module],
    image_size: int,
    batch_size: int,
    device: torch.device,
    *,
    steps: int = 5,
    warmup: int = 2,
    channels: int = 3,
    bfloat16: bool = False,
) -> ProbeResult:
    """Measure training steps (forward, backward, SGD update) on noise, per memory format.

    The median step counts. The options take turns, so that a burst of other work on the machine hits all of them.
    Global random state is not changed, and the networks measured are thrown away.

    Args:
        model_factory: makes a network that gives logits [examples classes]; called once per option.
        image_size: height and width.
        batch_size: images per step.
        device: where to measure.
        steps: measured steps per option.
        warmup: steps before them.
        channels: of the images.
        bfloat16: list the speed under bfloat16 autocast as well; it is never chosen.

    Returns:
        The speeds and the choice.
    """
    precisions: tuple[Precision, ...] = ("float32", "bfloat16") if bfloat16 else ("float32",)
    seconds: dict[str, list[float]] = {}
    with _isolated(device):
        generator = torch.Generator().manual_seed(0)
        images = torch.randn(batch_size, channels, image_size, image_size, generator=generator).to(device)
        options = {
            f"{precision} {layout}": _stepper(model_factory(), images, device, precision, layout)
            for precision in precisions
            for layout in _FORMATS
        }
        for turn in range(warmup + steps):
            for name, step in options.items():
                elapsed = step()
                if turn >= warmup:
                    seconds.setdefault(name, []).append(elapsed)
    speeds = {name: batch_size / statistics.median(values) for name, values in seconds.items()}
    return ProbeResult(
        choose_format(speeds), "float32", speeds, batch_size, image_size, device.type, torch.get_num_threads()
    )


def step_seconds(
    model_factory: Callable[[], nn.Module],
    image_size: int,
    batch_size: int,
    device: torch.device,
    memory_format: MemoryFormat,
    *,
    steps: int = 5,
    budget: float = 10.0,
) -> tuple[float, ...]:
    """Time a few training steps on noise, as they are here and now.

    Args:
        steps: at most, after one that is not counted.
    """
    with _isolated(device):
        images = torch.randn(batch_size, 3, image_size, image_size).to(device)
        step = _stepper(model_factory(), images, device, "float32", memory_format)
        step()
        seconds = [step()]
        while len(seconds) < steps and sum(seconds) < budget:
            seconds.append(step())
    return tuple(sorted(seconds))


def _stepper(
    model: nn.Module, images: torch.Tensor, device: torch.device, precision: Precision, memory_format: MemoryFormat
) -> Callable[[], float]:
    model.to(device).train()
    if memory_format == "channels_last":
        model.to(memory_format=torch.channels_last)
    # A tiny rate: noise as data must not send weights to values whose arithmetic is slower.
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-5, momentum=0.9)
    batch = in_format(images, memory_format)
    labels = torch.zeros(len(images), dtype=torch.int64, device=device)

    def step() -> float:
        _wait(device)
        start = time.perf_counter()
        optimiser.zero_grad(set_to_none=True)
        with autocast(device, precision):
            output = model(batch)
        loss = nn.functional.cross_entropy(output.float(), labels)
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own annotation is incomplete
        optimiser.step()
        _wait(device)
        return time.perf_counter() - start

    return step


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.get_device_module(device).synchronize()
