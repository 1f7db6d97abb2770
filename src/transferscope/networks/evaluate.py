"""A network on batches: its logits, with nothing about the network changed afterwards."""

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any, Literal

import torch
from torch import Tensor, nn

from transferscope.errors import ArchitectureError, LoaderError, StudyError, TransferscopeError
from transferscope.networks.batch import inputs_and_labels, inputs_of, labelled
from transferscope.networks.initialisation import isolated_randomness

# Batches found deterministic, by their number and whether labels were looked at; held, so that no number comes again.
_checked: ContextVar[dict[tuple[int, bool], object] | None] = ContextVar("_checked", default=None)

Precision = Literal["float32", "bfloat16"]
MemoryFormat = Literal["contiguous", "channels_last"]


def resolve_device(name: str | torch.device = "auto") -> torch.device:
    """The device to compute on.

    Args:
        name: ``auto`` takes CUDA before MPS before the CPU; else ``cpu``, ``cuda``, ``cuda:1``, ``mps``.

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


def as_taken(model: nn.Module, inputs: Tensor) -> Tensor:
    """Inputs in the floating-point type of a network; integers (tokens, bytes) stay as they are.

    >>> as_taken(nn.Linear(2, 2), torch.ones(1, 2, dtype=torch.float64)).dtype
    torch.float32
    """
    if not inputs.is_floating_point():
        return inputs
    own = next((p.dtype for p in model.parameters() if p.is_floating_point()), inputs.dtype)
    return inputs.to(own)


def network_inputs(model: nn.Module, batch: object, device: torch.device, memory_format: MemoryFormat) -> Tensor:
    """What a network takes of a batch: on the device, in the network's type and the memory format.

    Never the caller's own tensor: layers that work in place would write to it.
    """
    given = inputs_of(batch)
    inputs = in_format(as_taken(model, given).to(device, non_blocking=True), memory_format)
    return inputs.clone() if inputs is given else inputs


def run_network(model: nn.Module, inputs: Tensor) -> Any:
    """The network's output; ``inputs`` stay as they are for whoever reads them next."""
    try:
        return model(inputs.clone())
    except TransferscopeError:
        raise
    except Exception as error:  # a network may raise anything on what it does not take
        if inputs.is_floating_point():
            raise
        raise LoaderError(
            f"the network fails on a batch of {inputs.dtype}",
            expected="inputs that it takes",
            got=f"{tuple(inputs.shape)}: {type(error).__name__}: {str(error).partition(chr(10))[0]}",
            hint="bytes of images become floating point by images.float() / 255 in the data set's transform; indices "
            "must lie within the embedding",
        ) from error


class _Snapshot:
    """What :func:`preserved` puts back: references to tensors, copies of values that may change in place."""

    def __init__(self, model: nn.Module, weights: bool) -> None:
        # All that a module holds, and what is in it: parameters, buffers, modules, hooks, caches.
        self.modules = [(module, dict(vars(module))) for module in model.modules()]
        self.contents = [
            (value, tuple(value.items() if isinstance(value, dict) else value) if value else ())
            for _, attributes in self.modules
            for value in attributes.values()
            if isinstance(value, (dict, set, list))
        ]
        self.buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
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
        for module, attributes in self.modules:
            vars(module).clear()
            vars(module).update(attributes)
        for live, saved in self.contents:
            # The same object is kept: handles of hooks given out earlier point to it. Most are empty.
            if live or saved:
                live.clear()
                (live.extend if isinstance(live, list) else live.update)(saved)
        for buffer, former in self.buffers:
            buffer.detach().copy_(former)
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

    Put back: training modes and all other attributes of modules (what a forward pass caches, a ``forward`` that was
    replaced), values and places of buffers, ``requires_grad``, gradients, forward and backward hooks, device, dtype and
    memory format. Values of parameters that are changed in place inside are put back only with ``weights=True``, which
    costs a second copy of them; moving or converting the network needs no copy.
    """
    snapshot = _Snapshot(model, weights)
    try:
        yield model
    finally:
        with torch.no_grad():
            snapshot.restore()


def logits(
    model: nn.Module,
    batches: Iterable[object],
    device: torch.device,
    precision: Precision = "float32",
    memory_format: MemoryFormat = "contiguous",
) -> tuple[Tensor, Tensor]:
    """Logits of a network in evaluation mode, in the order of the batches.

    The network is moved to ``device`` for the pass and given back as it was (:func:`preserved`). The same batches give
    the same bits on one machine with equal threads. Logits that are not finite (a diverged network) are returned as
    they are.

    Args:
        model: gives logits [examples classes] for images [examples channels height width].

    Returns:
        Logits [examples classes] float32 and labels [examples ...], both on the CPU.
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
            for batch in batches:
                images, given = labelled(batch)
                output = run_network(model, network_inputs(model, images, device, memory_format))
                _check_output(output, images)
                outputs.append(output.float().cpu())
                labels.append(given.cpu())
    if not outputs:
        raise LoaderError("there is no batch to evaluate on", expected="at least one batch", got="none")
    # Joined outside inference mode they are ordinary tensors, which callers may use in any computation.
    return torch.cat(outputs), torch.cat(labels)


def _check_output(output: object, images: Tensor) -> None:
    if not isinstance(output, Tensor) or output.ndim != 2 or len(output) != len(images):
        got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ArchitectureError(
            "the network does not give one row of logits per image",
            expected=f"a tensor of shape ({len(images)}, classes)",
            got=str(got),
            hint="wrap it in a module that returns the logits alone",
        )


def digest(item: object) -> str:
    """A hash of the bits of tensors, in tuples, lists and dictionaries too; of anything else its text."""
    made = hashlib.blake2b(digest_size=16)
    if isinstance(item, (tuple, list)):
        for part in item:
            made.update(digest(part).encode())
    elif isinstance(item, Mapping) or dataclasses.is_dataclass(item):
        for key, part in (item if isinstance(item, Mapping) else vars(item)).items():
            made.update(f"{key!r} {digest(part)}".encode())
    elif isinstance(item, Tensor):
        tensor = item.detach().cpu().contiguous()
        made.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        made.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    else:
        made.update(repr(item).encode())
    return made.hexdigest()


def check_deterministic(batches: Iterable[object], *, labels: bool = True) -> None:
    """Check, before anything is computed, that batches can be read twice and are the same bits each time.

    Two full passes without a network, global random state put back. Found are shuffling, random augmentation, iterators
    that are used up after one pass, and loaders that leave examples out (``drop_last``).
    """
    if isinstance(batches, Iterator):
        raise LoaderError(
            "the batches can be read only once",
            expected="an object that starts anew at each iter(), such as a DataLoader or a list",
            got=f"an iterator ({type(batches).__name__})",
            hint="pass the loader itself, or list(batches)",
        )
    known = _checked.get()
    if known is not None and not known.keys().isdisjoint([(id(batches), True), (id(batches), labels)]):
        return
    # Looking must not change what the caller draws next; the second pass still draws other numbers than the first.
    with isolated_randomness(0):
        _compare_passes(batches, labelled if labels else inputs_and_labels)
    if known is not None:
        known[id(batches), labels] = batches


@contextmanager
def batches_checked_once() -> Iterator[None]:
    """Let :func:`check_deterministic` read the same batches once within the outermost of these."""
    if _checked.get() is not None:
        yield
        return
    token = _checked.set({})
    try:
        yield
    finally:
        _checked.reset(token)


def _compare_passes(batches: Iterable[object], read: Callable[[object], tuple[Tensor, Tensor | None]]) -> None:
    examples, first = 0, []
    for found in map(read, batches):
        first.append(digest(found))
        examples += len(found[0])
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
        if index < len(first) and digest(read(batch)) != first[index]:
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
    """Check that a network in evaluation mode gives the same bits twice; it is left as it was."""
    images = as_taken(model, images)
    known = {name for name, _ in model.named_parameters()}
    with preserved(model):
        model.eval()
        with torch.inference_mode():
            same = digest(run_network(model, images)) == digest(run_network(model, images))
        made = sorted({name for name, _ in model.named_parameters()} - known)
    if made:
        raise ArchitectureError(
            "the network makes parameters in its first forward pass",
            expected="parameters that are there before it is looked at",
            got=", ".join(made[:5]),
            hint="run it on one batch first: network(images)",
        )
    if not same:
        raise ArchitectureError(
            "the network gives other outputs for the same images in evaluation mode",
            expected="equal outputs",
            got="outputs that differ",
            hint="let dropout and other randomness depend on module.training",
        )
