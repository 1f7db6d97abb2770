"""What lies before a cut of a network, run once for each batch and kept within a memory budget."""

from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack
from typing import Any, Literal, final

import torch
from torch import Tensor, nn

from transferscope.networks.batch import labels_of
from transferscope.networks.batchnorm import tracked_norms
from transferscope.networks.cuts.cuts import Cut, CutValues
from transferscope.networks.cuts.trace import Trace
from transferscope.networks.evaluate import MemoryFormat, Precision, autocast, network_inputs, preserved


@final
class KeptPrefix:
    """The values at a cut for the batches that went through, from memory where they were kept.

    Batches beyond the budget are run again each time they are asked for: it never fails for want of memory, and what
    comes out is the same to the last bit. What was kept is forgotten as soon as a parameter before the cut has changed.

    Args:
        layers: names of the batch norms with running statistics before the cut.

    Attributes:
        runs: batches that went through what lies before the cut so far, and those that came from memory.
    """

    def __init__(self, trace: Trace, cut: Cut, budget: int, layers: Collection[str]) -> None:
        self.cut = cut
        self.kept_bytes = 0
        self.runs = {"run": 0, "kept": 0}
        self._budget = budget
        self._model = trace.model
        self._prefix = trace.prefix(cut)
        self.suffix = trace.suffix(cut)
        known = dict(trace.model.named_parameters())
        self._parameters = [known[name] for name in (*trace.sides(cut).before, *trace.sides(cut).shared)]
        self._layers = {name: trace.model.get_submodule(name) for name in layers}
        self._versions: list[int] | None = None
        self._kept: dict[str, dict[int, tuple[CutValues, Tensor | None]]] = {}
        self._counts: dict[str, int] = {}
        self._statistics: dict[str, Tensor] | None = None

    def refresh(self) -> None:
        """Forget everything if a parameter before the cut was written to since the last call."""
        versions = [parameter._version for parameter in self._parameters]
        if versions != self._versions:
            self._versions = versions
            self._kept.clear()
            self._counts.clear()
            self._statistics = None
            self.kept_bytes = 0

    def values(
        self,
        name: str,
        batches: Iterable[object],
        device: torch.device,
        memory_format: Literal["contiguous", "channels_last"],
    ) -> Iterator[tuple[CutValues, Tensor | None]]:
        """Values at the cut, and labels where there are any, of each batch, in order.

        The loader is not read once all batches are kept.

        Args:
            name: of the batches; the same name always stands for the same batches in the same mode.
        """
        kept = self._kept.setdefault(name, {})
        if self._counts.get(name) == len(kept):
            self.runs["kept"] += len(kept)
            yield from (kept[index] for index in range(len(kept)))
            return
        count = 0
        for index, batch in enumerate(batches):
            count += 1
            if index in kept:
                self.runs["kept"] += 1
                yield kept[index]
                continue
            self.runs["run"] += 1
            # Ordinary tensors: what inference mode makes could not be written to by layers that work in place.
            with torch.inference_mode(False), torch.no_grad():
                found = self._prefix(network_inputs(self._model, batch, device, memory_format))
            labels = labels_of(batch)
            if self.kept_bytes + found.bytes <= self._budget:
                kept[index] = (found, labels)
                self.kept_bytes += found.bytes
            yield found, labels
        self._counts[name] = count

    def settle_statistics(self) -> None:
        """Put the running statistics before the cut to what a full estimate made them.

        To be called after each estimate that went through :meth:`values`: the first saw all batches, later ones those
        alone that were not kept.
        """
        if self._statistics is None:
            self._statistics = {
                f"{name}.{key}": buffer.detach().clone()
                for name, layer in self._layers.items()
                for key, buffer in layer.named_buffers(recurse=False)
            }
            return
        with torch.no_grad():
            for name, layer in self._layers.items():
                for key, buffer in layer.named_buffers(recurse=False):
                    buffer.copy_(self._statistics[f"{name}.{key}"])


def prefix_logits(
    model: nn.Module,
    kept: KeptPrefix,
    name: str,
    batches: Iterable[object],
    precision: Precision,
    memory_format: MemoryFormat,
) -> tuple[Tensor, Tensor]:
    """As :func:`~transferscope.networks.evaluate.logits`, from what was kept before the cut.

    Args:
        model: on its device.
        kept: of it.
        name: of the batches, see :meth:`KeptPrefix.values`.
        batches: with labels.
        precision: of the pass.
        memory_format: of images.
    """
    outputs: list[Tensor] = []
    labels: list[Tensor] = []
    device = next(model.parameters()).device
    with preserved(model):
        model.eval()
        with torch.inference_mode(), autocast(device, precision):
            for values, given in kept.values(name, batches, device, memory_format):
                assert given is not None
                outputs.append(kept.suffix(values).float().cpu())
                labels.append(given.cpu())
    return torch.cat(outputs), torch.cat(labels)


def find_prefix(
    trace: Trace, parameters: Collection[str], example: Tensor, budget: int
) -> tuple[KeptPrefix | None, str]:
    """The longest part of a network that does not depend on some parameters, and a word on it.

    Returns:
        The prefix, or None where nothing can be kept (the first module changes, or there is no cut); and how points are
        evaluated, for a report.
    """
    cut = trace.cut_for(parameters)
    if cut is None:
        return None, f"full pass ({trace.reason or 'no cut'})"
    if cut.index == 0:
        return None, "full pass (nothing lies before)"
    before, after = _batch_norms(trace, cut, example[:2])
    if before & after:
        return None, f"full pass (batch norm {min(before & after)!r} is used on both sides of the cut)"
    return KeptPrefix(trace, cut, budget, sorted(before)), f"kept before {cut.name} ({trace.kind})"


def _batch_norms(trace: Trace, cut: Cut, example: Tensor) -> tuple[set[str], set[str]]:
    """Names of the batch norms with running statistics that are called before and after a cut."""
    called: set[str] = set()

    def note(name: str) -> Any:
        return lambda *_: called.add(name)

    with ExitStack() as stack, torch.no_grad():
        for name, module in tracked_norms(trace.model).items():
            stack.callback(module.register_forward_pre_hook(note(name)).remove)
        values = trace.prefix(cut)(example)
        before = set(called)
        called.clear()
        trace.suffix(cut)(values)
    return before, set(called)
