"""Begin to watch a network: what it started from, where the run is written."""

import json
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from transferscope.arguments import checked_as
from transferscope.errors import OptionError, WeightsError
from transferscope.networks.modules import find_module
from transferscope.networks.weight_files import read_file, write_state
from transferscope.networks.weights import state_hash
from transferscope.watching.attach import Watch, WatchWarning
from transferscope.watching.folder import RunFolder
from transferscope.watching.layout import RUN
from transferscope.watching.movement import Movement, unwrapped
from transferscope.watching.probe import first_tensor
from transferscope.watching.settings import Keep, Recording

__all__ = ["Bystander", "Start", "watch", "watch_quietly"]

Start = nn.Module | Mapping[str, Any] | str | Path | None
"""What a network started from: a network, its tensors by name, a file of weights; None for what it is now."""

_VERSION = 1


class Bystander(Watch):
    """On all processes of a distributed training but the first, whose network is the same: does nothing."""

    def __init__(self, folder: Path) -> None:
        self._out = folder
        self._steps, self._epochs, self._best = 0, 0.0, None
        self.closed = True

    @property
    def folder(self) -> Path:
        """Where the first process writes the run."""
        return self._out


@checked_as(OptionError)
def watch(
    model: nn.Module,
    start: Start = None,
    out: str | Path = "run",
    *,
    keep: Keep = Keep(),
    recording: Recording = Recording(),
    probe: Any = None,
    name: str | None = None,
    group: str | None = None,
    architecture: str | None = None,
    resume: bool = False,
) -> Watch:
    """Watch a network while any loop trains it.

    Records, at most ``recording.budget`` of a step by its own measurement: the distance from the start for each module,
    the gradient ratio, the drift of batch norm, the cosine of the update; with ``probe`` the similarity with the start
    after each epoch. The network itself is never changed, and what goes wrong never reaches the loop.

    Args:
        model: the network, also within DistributedDataParallel or torch.compile.
        start: what it came from; its head may have another shape. None: what it is now.
        out: folder of the run.
        keep: which checkpoints are kept.
        recording: what is recorded, and how often.
        probe: a fixed batch for CKA with the start: a tensor, a tuple of arguments, or a mapping of named ones.
        name: of the run in reports; that of the folder where None.
        group: what is repeated: runs of one group are repeats of one setting, and reports give intervals over them.
        architecture: ``timm:NAME`` and so on, noted in the checkpoints, so that files can be compared without it.
        resume: continue the run that lies in ``out``.

    Returns:
        To be told of steps; use it in a ``with`` statement, or close it.

    Raises:
        OptionError: an argument is none, a setting cannot be, or ``out`` holds a run already.
        WeightsError: the start shares no parameter with the network, or is another one than that
            of the run to resume.
        MeasureError: the probe holds no tensor.
        StoreError: the folder cannot be written.

    Example:
        >>> import tempfile
        >>> net = nn.Linear(3, 2)
        >>> optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        >>> with tempfile.TemporaryDirectory() as folder, watch(net, out=f"{folder}/run") as w:
        ...     net(torch.ones(1, 3)).sum().backward()
        ...     optimizer.step()
        ...     w.step()
    """
    if probe is not None:
        first_tensor(probe)
    folder = Path(out)
    if _rank() != 0:
        return Bystander(folder)
    network = unwrapped(model)
    facts = {
        "kind": "watch",
        "version": _VERSION,
        "name": name or folder.name,
        "group": group,
        "architecture": architecture,
        "model": type(network).__name__,
        "parameters": sum(p.numel() for p in network.parameters()),
        "buffers": [name for name, _ in network.named_buffers()],
    }
    run = RunFolder(folder, facts, resume=resume)
    movement = _movement(network, start, run, recording)
    metadata = {} if architecture is None else {"architecture": json.dumps({"name": architecture})}
    if not run.start.exists():
        write_state(run.start, _started(network, movement), {**metadata, "step": "0"})
    run.begin(
        {
            "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "torch": torch.__version__,
            "device": str(next((p.device for p in network.parameters()), "cpu")),
            "granularity": recording.granularity,
            "every": recording.every,
            "budget": recording.budget,
            "left_out": list(movement.left_out),
        }
    )
    return Watch(network, movement, run, recording, keep, probe, metadata)


def _movement(network: nn.Module, start: Start, run: RunFolder, recording: Recording) -> Movement:
    """The network with its start; that of the run, where one is resumed.

    Raises:
        WeightsError: as in :func:`watch`.
    """
    given = None if start is None else _tensors(start)
    now = _tensors(network) if given is None else given
    movement = Movement(network, now, recording.granularity, recording.updates)
    if given is not None and not set(given) & set(dict(network.named_parameters())) - set(movement.own_start):
        raise WeightsError(
            "the start has no parameter of the network, by name and shape",
            expected=", ".join(name for name, _ in list(network.named_parameters())[:3]),
            got=", ".join(list(given)[:3]) or "no tensor",
            hint="give the network it came from, or its state_dict()",
        )
    if not run.start.exists():
        return movement
    kept = read_file(run.start)
    if start is None:
        return Movement(network, kept, recording.granularity, recording.updates)
    shared = {name: value for name, value in movement.start.items() if name in kept and name not in movement.own_start}
    if state_hash(shared) != state_hash({name: kept[name].to(value.dtype) for name, value in shared.items()}):
        raise WeightsError(
            f"the start is another one than that of the run in {run.path}",
            expected="the start it was begun with, or none",
            hint="leave start out: a resumed run has its own; or give another out",
        )
    return Movement(network, kept, recording.granularity, recording.updates)


def _tensors(start: nn.Module | Mapping[str, Any] | str | Path) -> dict[str, Tensor]:
    if isinstance(start, str | Path):
        return read_file(start)
    if isinstance(start, nn.Module):
        inner = unwrapped(start)
        return {**dict(inner.named_parameters()), **dict(inner.named_buffers())}
    return {name: value for name, value in start.items() if isinstance(value, Tensor)}


def _started(network: nn.Module, movement: Movement) -> dict[str, Tensor]:
    """The network's state with the values of the start: a file that loads into the network."""
    state = {name: value for name, value in network.state_dict().items() if isinstance(value, Tensor)}
    return {name: movement.start.get(name, value) for name, value in state.items()}


def _rank() -> int:
    distributed = torch.distributed
    return distributed.get_rank() if distributed.is_available() and distributed.is_initialized() else 0


def watch_quietly(
    model: nn.Module, start: Start, out: str | Path, resume: bool, settings: Mapping[str, Any], module: str = ""
) -> Watch:
    """As :func:`watch`, within a trainer that must not stop for it: what goes wrong is a warning.

    Args:
        model: as in :func:`watch`.
        start: as in :func:`watch`.
        out: where a run lies already and is not resumed, the next free name is taken: ``run-2``, ``run-3``, ...
        resume: continue the run that lies there, if one does.
        settings: the other ones.
        module: name of the network within ``model``; empty for all of it.
    """
    folder = Path(out)
    try:
        network = find_module(unwrapped(model), module) if module else model
        if _rank() == 0 and not resume:
            number = 2
            while (folder / RUN).exists():
                folder = Path(out).with_name(f"{Path(out).name}-{number}")
                number += 1
            if folder != Path(out):
                text = f"{out} holds a run already; {folder} is used"
                warnings.warn(f"transferscope.watch: {text}", WatchWarning, stacklevel=2)
        return watch(network, start, folder, resume=resume and (folder / RUN).exists(), **settings)
    except Exception as error:  # whatever a network, a disk or a device raises
        text = f"nothing is recorded: {type(error).__name__}: {error}"
        warnings.warn(f"transferscope.watch: {text}; the training goes on", WatchWarning, stacklevel=2)
        return Bystander(folder)
