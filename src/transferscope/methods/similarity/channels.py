"""Channels of one network found again in others, on a loader: all modules, all networks, one pass over the data.

For people with networks and no study: :func:`channel_reuse`.
"""

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np
import torch
from torch import Tensor, nn

from transferscope.errors import LoaderError, MeasureError, ModuleNameError, nearest
from transferscope.measures.channels import ChannelMoments, Reuse, channel_update, reuse
from transferscope.networks.activations import ActivationRecorder
from transferscope.networks.batch import inputs_of
from transferscope.networks.evaluate import as_taken, check_network_deterministic, in_format, preserved, resolve_device
from transferscope.networks.given import takes_networks
from transferscope.networks.modules import Granularity, core, hookable_parts


@dataclass(frozen=True)
class ChannelReuse:
    """What :func:`channel_reuse` found.

    Attributes:
        found: (label, module) to the channels of the reference found again in that network.
        excitation: module to the largest activation of each channel of the reference in each image: float32 ``examples
            channels``, on the CPU.
    """

    found: Mapping[tuple[str, str], Reuse]
    excitation: Mapping[str, Tensor]
    unusable: Mapping[str, str]
    examples: int
    samples: Mapping[str, int]


def channel_samples(output: Tensor, positions: int, channels_last: bool = False) -> Tensor:
    """A module's output as samples of its channels: every position of every image, or some of them.

    Args:
        output: ``examples channels height width``, ``examples tokens channels`` or ``examples channels``.
        positions: at most so many of each image: evenly spread, the same for every image and network.
        channels_last: four axes are ``examples height width channels``.

    Returns:
        ``examples positions channels``.

    >>> channel_samples(torch.arange(8.0).reshape(1, 2, 2, 2), 4).tolist()
    [[[0.0, 4.0], [1.0, 5.0], [2.0, 6.0], [3.0, 7.0]]]
    """
    if output.dim() == 4:
        maps = output if channels_last else output.permute(0, 2, 3, 1)
        # A view in either memory format: only what is chosen is copied.
        whole = maps.is_contiguous() or channels_last
        samples = maps.flatten(1, 2) if whole else output.flatten(2).transpose(1, 2)
    elif output.dim() == 3:
        samples = output
    elif output.dim() == 2:
        samples = output[:, None, :]
    else:
        raise MeasureError(
            "this output has no channels that can be told apart",
            expected="examples channels height width, examples tokens channels, or examples channels",
            got=str(tuple(output.shape)),
        )
    count = samples.shape[1]
    if count <= positions:
        return samples
    # Steps of one golden section visit rows and columns evenly, where equal steps would meet few columns only.
    chosen = (torch.arange(positions, dtype=torch.float64) * 0.6180339887498949 % 1 * count).long()
    distinct: Tensor = torch.from_numpy(np.unique(chosen.numpy()))
    return samples[:, distinct.to(samples.device)]


@final
class _Taken:
    """The samples of the latest batch, by module."""

    def __init__(self, model: nn.Module, positions: int) -> None:
        self.samples: dict[str, Tensor] = {}
        self.largest: dict[str, Tensor] = {}
        self.unusable: dict[str, str] = {}
        self.examples = 0
        self.reference = False
        self._positions = positions
        self._channels_last = getattr(core(model)[1], "output_fmt", None) == "NHWC"

    def take(self, name: str, output: Tensor) -> None:
        if output.dim() not in (2, 3, 4) or output.shape[0] != self.examples:
            self.unusable[name] = f"its output is no map, tokens or channels of each example: {tuple(output.shape)}"
            return
        self.samples[name] = channel_samples(output, self._positions, self._channels_last).clone()
        if self.reference:
            axes = {2: (), 3: (1,), 4: (1, 2) if self._channels_last else (2, 3)}[output.dim()]
            largest = output.amax(axes) if axes else output
            self.largest[name] = largest.to("cpu", torch.float32, copy=True)


@takes_networks("reference", "networks")
def channel_reuse(
    reference: nn.Module,
    networks: Mapping[str, nn.Module],
    loader: Iterable[Any],
    *,
    modules: Iterable[str] | None = None,
    granularity: Granularity = "block",
    head: str | None = None,
    positions: int = 64,
    threshold: float = 0.5,
    device: str | torch.device = "auto",
    memory_format: Literal["contiguous", "channels_last"] = "contiguous",
) -> ChannelReuse:
    """Match the channels of ``reference`` one to one with those of each network, module by module.

    The first half of each batch finds the matching, the second half scores it. Networks are run in evaluation mode and
    given back as they were. Memory beyond the networks: the samples of one batch of the reference and one network,
    channels × channels sums for each network and module, and the reference's ``examples channels``.

    Args:
        modules: names; all parts of ``granularity`` but the head where None.
        positions: samples an image gives at most, spread over its positions; 1 looks at one position.

    Example:
        >>> net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).requires_grad_(False)
        >>> data = [torch.arange(60.0).reshape(20, 3).sin()]
        >>> found = channel_reuse(net, {"copy": net}, data, modules=["0"], device="cpu").found["copy", "0"]
        >>> found.matched, found.same_index
        (1.0, 1.0)
    """
    if not networks:
        raise MeasureError("there is no network to compare with", expected="at least one network", got="none")
    where = resolve_device(device)
    names = [name for name in hookable_parts(reference, granularity, head) if name != head]
    if modules is not None:
        names = list(modules)
    for label, model in networks.items():
        known = {name for name, _ in model.named_modules()}
        lost = [name for name in names if name not in known]
        if lost:
            raise ModuleNameError(f"network {label!r} has no module {lost[0]!r}", hint=nearest(lost[0], known))
    halves: dict[tuple[str, str], list[ChannelMoments | None]] = {}
    excitation: dict[str, list[Tensor]] = {}
    unusable: dict[str, str] = {}
    examples = 0
    samples: dict[str, int] = {}
    with contextlib.ExitStack() as stack:
        seen: dict[str, tuple[ActivationRecorder, _Taken]] = {}
        for label, model in {"": reference, **networks}.items():
            stack.enter_context(preserved(model))
            model.eval()
            model.to(where)
            if memory_format == "channels_last":
                model.to(memory_format=torch.channels_last)
            taken = _Taken(model, positions)
            recorder = ActivationRecorder(model, names, taken.take, label=label or "the reference", strict=False)
            seen[label] = (recorder, taken)
        seen[""][1].reference = True
        for batch in loader:
            inputs = in_format(inputs_of(batch).to(where), memory_format)
            if len(inputs) < 2:
                continue
            if not examples:
                check_network_deterministic(reference, inputs[:2].clone())
            examples += len(inputs)
            of_reference: dict[str, Tensor] = {}
            for label, (recorder, taken) in seen.items():
                taken.samples, taken.largest, taken.examples = {}, {}, len(inputs)
                with recorder:
                    recorder.run(as_taken(recorder.model, inputs).clone())
                unusable.update({**recorder.unusable, **taken.unusable})
                if not label:
                    of_reference = taken.samples
                    for name, largest in taken.largest.items():
                        excitation.setdefault(name, []).append(largest)
                        samples[name] = of_reference[name].shape[1]
                    continue
                for name, own in of_reference.items():
                    if name in unusable or name not in taken.samples:
                        continue
                    other, half = taken.samples[name], len(inputs) // 2
                    sums = halves.setdefault((label, name), [None, None])
                    for part, span in enumerate((slice(None, half), slice(half, None))):
                        a, b = (table[span].flatten(0, 1) for table in (own, other))
                        sums[part] = channel_update(sums[part], *_exact(a, b))
    if not examples:
        raise LoaderError("no batch has two examples", expected="at least one batch of 2 or more", got="none")
    found = {}
    for key, (choosing, scoring) in halves.items():
        assert choosing is not None
        assert scoring is not None
        if key[1] not in unusable:
            found[key] = reuse(choosing, scoring, threshold)
    return ChannelReuse(
        found=found,
        excitation={name: torch.cat(parts) for name, parts in excitation.items() if name not in unusable},
        unusable=unusable,
        examples=examples,
        samples=samples,
    )


def _exact(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Sums are float64, which MPS does not have."""
    return (a.cpu(), b.cpu()) if a.device.type == "mps" else (a, b)
