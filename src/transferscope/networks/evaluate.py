"""A network on batches: its logits, with nothing about the network changed afterwards."""

import hashlib
from collections.abc import Iterable, Iterator, Sized
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from transferscope.errors import ArchitectureError, LoaderError, StudyError
from transferscope.networks.initialisation import isolated_randomness

__all__ = [
    "autocast",
    "check_deterministic",
    "check_network_deterministic",
    "digest",
    "in_format",
    "logits",
    "preserved",
    "resolve_device",
]

Precision = Literal["float32", "bfloat16"]
MemoryFormat = Literal["contiguous", "channels_last"]

_HOOKS = (
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_backward_hooks",
    "_backward_pre_hooks",
)


def resolve_device(name: str | torch.device = "auto") -> torch.device:
    """The device to compute on.

    Args:
        name: ``auto`` takes CUDA before MPS before the CPU; else ``cpu``, ``cuda``, ``cuda:1``, ``mps``.

    Raises:
        StudyError: there is no such device here.

    Example:
        >>> resolve_device("cpu")
        device(type='cpu')
    """
    mps = torch.backends.mps.is_available()
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if mps else "cpu")
    here = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count())), *(["mps"] if mps else [])]
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise StudyError(
            f"{name!r} is not a device", expected=f"auto or one of {', '.join(here)}", got=str(name)
        ) from error
    shown = f"cuda:{device.index or 0}" if device.type == "cuda" else device.type
    if shown not in here or (device.type != "cuda" and device.index):
        raise StudyError(
            f"the device {str(name)!r} is not available",
            expected=f"auto or one of {', '.join(here)}",
            got=str(name),
            hint="set device: auto",
        )
    return device


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[Any]:
    """Autocast to bfloat16 for ``bfloat16``; for ``float32`` a context in which autocast is off."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16")


def in_format(images: Tensor, memory_format: MemoryFormat) -> Tensor:
    """Images [examples channels height width] in the memory format; tensors of another rank as they are."""
    if images.ndim != 4:
        return images
    wanted = torch.channels_last if memory_format == "channels_last" else torch.contiguous_format
    return images.contiguous(memory_format=wanted)


class _Snapshot:
    """What :func:`preserved` puts back: references to tensors, copies of values that may change in place."""

    def __init__(self, model: nn.Module, weights: bool) -> None:
        self.modules = list(model.modules())
        self.modes = [module.training for module in self.modules]
        self.hooks = [(getattr(m, kind), dict(getattr(m, kind))) for m in self.modules for kind in _HOOKS]
        self.buffers = [
            (m._buffers, name, buffer, None if buffer is None else buffer.detach().clone())
            for m in self.modules
            for name, buffer in m._buffers.items()
        ]
        self.registered = [(m._parameters, dict(m._parameters)) for m in self.modules]
        self.parameters = [
            (
                p,
                p.data,
                # `Module.to` moves a gradient by exchanging its data: the tensor alone would not be enough.
                None if p.grad is None else (p.grad, p.grad.data),
                p.requires_grad,
                p.detach().clone() if weights else None,
            )
            for p in model.parameters()
        ]

    def restore(self) -> None:
        for module, mode in zip(self.modules, self.modes, strict=True):
            module.training = mode
        for live, saved in self.hooks:
            # The same dictionary object is kept: handles given out earlier point to it.
            live.clear()
            live.update(saved)
        for names, registered in self.registered:
            names.update(registered)
        for holder, name, buffer, value in self.buffers:
            holder[name] = buffer
            if buffer is not None and value is not None:
                buffer.detach().copy_(value)
        for parameter, data, gradient, requires, value in self.parameters:
            # The old storage itself comes back, with its device and strides: a copy could only be equal.
            parameter.grad = None
            parameter.data = data
            if gradient is not None:
                gradient[0].data = gradient[1]
                parameter.grad = gradient[0]
            parameter.requires_grad_(requires)
            if value is not None:
                data.copy_(value)


@contextmanager
def preserved(model: nn.Module, *, weights: bool = False) -> Iterator[nn.Module]:
    """Give a network back as it was, whatever happens inside, exceptions included.

    Put back: training modes, values and places of buffers, ``requires_grad``, gradients, forward and backward
    hooks, device, dtype and memory format. Values of parameters that are changed in place inside are put back
    only with ``weights=True``, which costs a second copy of them; moving or converting the network needs no
    copy.

    Args:
        model: the network.
        weights: also put back the values of parameters.

    Yields:
        ``model`` itself.
    """
    snapshot = _Snapshot(model, weights)
    try:
        yield model
    finally:
        with torch.no_grad():
            snapshot.restore()


def logits(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    device: torch.device,
    precision: Precision = "float32",
    memory_format: MemoryFormat = "contiguous",
) -> tuple[Tensor, Tensor]:
    """Logits of a network in evaluation mode, in the order of the batches.

    The network is moved to ``device`` for the pass and given back as it was (:func:`preserved`). The same
    batches give the same bits on one machine with equal threads. Logits that are not finite (a diverged
    network) are returned as they are.

    Args:
        model: gives logits [examples classes] for images [examples channels height width].
        batches: pairs of images and labels.
        device: where to compute.
        precision: ``bfloat16`` for autocast.
        memory_format: of weights and images.

    Returns:
        Logits [examples classes] float32 and labels [examples ...], both on the CPU.

    Raises:
        LoaderError: there is no batch, or a batch has not as many labels as images.
        ArchitectureError: the network's output is not one row of logits per image.
    """
    outputs: list[Tensor] = []
    labels: list[Tensor] = []
    with preserved(model):
        # Outside inference mode: tensors made inside it could never be trained again.
        model.eval()
        model.to(device)
        if memory_format == "channels_last":
            model.to(memory_format=torch.channels_last)
        with torch.inference_mode(), autocast(device, precision):
            for images, given in batches:
                output = model(in_format(images.to(device, non_blocking=True), memory_format))
                _check_output(output, images, given)
                outputs.append(output.float().cpu())
                labels.append(torch.as_tensor(given).cpu())
    if not outputs:
        raise LoaderError("there is no batch to evaluate on", expected="at least one batch", got="none")
    # Joined outside inference mode they are ordinary tensors, which callers may use in any computation.
    return torch.cat(outputs), torch.cat(labels)


def _check_output(output: object, images: Tensor, labels: Tensor) -> None:
    if not isinstance(output, Tensor) or output.ndim != 2 or len(output) != len(images):
        got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ArchitectureError(
            "the network does not give one row of logits per image",
            expected=f"a tensor of shape ({len(images)}, classes)",
            got=str(got),
            hint="wrap it in a module that returns the logits alone",
        )
    if len(labels) != len(images):
        raise LoaderError(
            "a batch has not as many labels as images", expected=f"{len(images)} labels", got=str(len(labels))
        )


def digest(item: object) -> str:
    """A hash of the bits of tensors, in tuples, lists and dictionaries too; of anything else its text."""
    made = hashlib.blake2b(digest_size=16)
    if isinstance(item, (tuple, list)):
        for part in item:
            made.update(digest(part).encode())
    elif isinstance(item, dict):
        for key, part in item.items():
            made.update(f"{key!r} {digest(part)}".encode())
    elif isinstance(item, Tensor):
        tensor = item.detach().cpu().contiguous()
        made.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        made.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    else:
        made.update(repr(item).encode())
    return made.hexdigest()


def _examples(batch: object) -> int:
    first = batch[0] if isinstance(batch, (tuple, list)) and batch else batch
    return len(first) if isinstance(first, Sized) else 0


def check_deterministic(batches: Iterable[Any]) -> None:
    """Check, before anything is computed, that batches can be read twice and are the same bits each time.

    Two full passes without a network, global random state put back. Found are shuffling, random augmentation,
    iterators that are used up after one pass, and loaders that leave examples out (``drop_last``).

    Args:
        batches: what an analysis is about to read.

    Raises:
        LoaderError: the batches do not repeat themselves, are empty, or leave out examples of their data set.
    """
    if isinstance(batches, Iterator):
        raise LoaderError(
            "the batches can be read only once",
            expected="an object that starts anew at each iter(), such as a DataLoader or a list",
            got=f"an iterator ({type(batches).__name__})",
            hint="pass the loader itself, or list(batches)",
        )
    # Looking must not change what the caller draws next; the second pass still draws other numbers than the first.
    with isolated_randomness(0):
        _compare_passes(batches)


def _compare_passes(batches: Iterable[Any]) -> None:
    examples, first = 0, []
    for batch in batches:
        first.append(digest(batch))
        examples += _examples(batch)
    if not first:
        raise LoaderError("the loader gives no batch", expected="at least one batch", got="none")
    sampler = getattr(batches, "sampler", None)
    whole = len(sampler) if isinstance(sampler, Sized) else examples
    if examples < whole:
        raise LoaderError(
            "the loader leaves examples out",
            expected=f"all {whole} examples",
            got=f"{examples} examples in {len(first)} batches",
            hint="build it with drop_last=False",
        )
    count = 0
    for index, batch in enumerate(batches):
        count = index + 1
        if index < len(first) and digest(batch) != first[index]:
            raise LoaderError(
                f"the loader is not deterministic: batch {index} differs between two passes",
                expected="the same images and labels, in the same order, each time",
                got="other bits in the second pass",
                hint="switch off shuffling and random augmentation, or seed them per example",
            )
    if count != len(first):
        raise LoaderError(
            "the loader is not deterministic: two passes differ in length",
            expected=f"{len(first)} batches",
            got=f"{count} batches in the second pass",
        )


def check_network_deterministic(model: nn.Module, images: Tensor) -> None:
    """Check that a network in evaluation mode gives the same bits twice; it is left as it was.

    Args:
        model: on the device of ``images``.
        images: a batch [examples channels height width].

    Raises:
        ArchitectureError: the outputs differ, as with dropout that ignores the mode.
    """
    with preserved(model):
        model.eval()
        with torch.inference_mode():
            same = digest(model(images)) == digest(model(images))
    if not same:
        raise ArchitectureError(
            "the network gives other outputs for the same images in evaluation mode",
            expected="equal outputs",
            got="outputs that differ",
            hint="let dropout and other randomness depend on module.training",
        )
