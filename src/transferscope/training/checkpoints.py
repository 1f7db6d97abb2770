"""The folder of a running training: one resumable file, and the weights of the epochs that are kept.

``partial.safetensors`` holds weights, optimiser state and history together, so that either all of an epoch is on disk
or nothing of it. Every file is written under another name, flushed to the disk and renamed. No pickle.
"""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from transferscope.errors import CorruptEntryError, WeightsError
from transferscope.store.atomic import remove, replacing
from transferscope.store.system_errors import translated
from transferscope.training.progress import Progress, Saved

_PARTIAL = "partial.safetensors"
_MODEL, _OPTIMISER = "model/", "optimiser/"


def cpu_state(model: nn.Module) -> dict[str, Tensor]:
    """A copy of the network's state on the CPU: contiguous, nothing shared."""
    state: dict[str, Tensor] = {}
    for name, value in model.state_dict().items():
        if not isinstance(value, Tensor):
            raise WeightsError(
                f"the network's state {name!r} is not a tensor",
                expected="parameters and buffers only",
                got=type(value).__name__,
                hint="networks with extra state cannot be saved without pickle: keep it in a buffer",
            )
        state[name] = value.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
    return state


class WorkingFolder:
    """Reads and writes the files of one running training.

    Args:
        folder: where; made if it is not there. Only one training may use it at a time.
        identity: of the training; a partial file with another one is not resumed.
    """

    def __init__(self, folder: Path, identity: str, check: Callable[[], None] | None = None) -> None:
        self._folder = folder
        self.identity = identity
        self._check = check or (lambda: None)
        with translated(folder, "make"):
            folder.mkdir(parents=True, exist_ok=True)

    def path(self, epoch: int) -> Path:
        """The file of a kept epoch's weights."""
        return self._folder / f"epoch-{epoch:05d}.safetensors"

    def keep(self, epoch: int, state: Mapping[str, Tensor]) -> str:
        """Write the weights of an epoch."""
        with translated(self.path(epoch), "write"):
            _write(self.path(epoch), state, {"epoch": str(epoch)})
            return _file_digest(self.path(epoch))

    def drop(self, epoch: int) -> None:
        """Remove the file of an epoch that is no longer kept."""
        with translated(self.path(epoch), "remove"):
            self.path(epoch).unlink(missing_ok=True)

    def save(self, saved: Saved) -> None:
        """Replace the partial file, all or nothing."""
        self._check()
        tensors = {_MODEL + name: value for name, value in saved.state.items()}
        tensors |= {_OPTIMISER + name: value for name, value in saved.optimiser.items()}
        text = saved.progress.to_json()
        metadata = {"progress": text, "sha256": _content_digest(text, tensors)}
        _write(self._folder / _PARTIAL, tensors, metadata)

    def load(self) -> Saved | None:
        """What was saved last, checked."""
        path = self._folder / _PARTIAL
        # What the system answers is no damage: the epochs that were saved are kept.
        with translated(path, "read"):
            if not path.exists():
                return None
            try:
                with safe_open(path, framework="pt") as file:
                    metadata = file.metadata() or {}
                    tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
            except (SafetensorError, IsADirectoryError) as error:
                raise _damaged(path, "a complete safetensors file", str(error)) from error
        text = metadata.get("progress", "")
        if metadata.get("sha256") != _content_digest(text, tensors):
            raise _damaged(path, f"content with SHA-256 {metadata.get('sha256')}", "other content")
        progress = Progress.from_json(text)
        if progress.identity != self.identity:
            raise CorruptEntryError(
                f"the partial training in {path} is another one",
                expected=f"identity {self.identity}",
                got=f"identity {progress.identity}",
                hint="give every training a folder of its own",
            )
        for epoch, digest in progress.kept.items():
            kept = self.path(epoch)
            with translated(kept, "read"):
                found = _file_digest(kept) if kept.is_file() else "no file"
            if found != digest:
                raise _damaged(kept, f"SHA-256 {digest}", found)
        return Saved(progress, _under(tensors, _MODEL), _under(tensors, _OPTIMISER))

    def clear(self) -> None:
        """Remove this training's files, and nothing else."""
        for path in (self._folder / _PARTIAL, *self._folder.glob("epoch-*.safetensors")):
            with translated(path, "remove"):
                if path.is_dir():
                    remove(path)
                else:
                    path.unlink(missing_ok=True)


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _write(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    with replacing(path) as temporary:
        save_file(dict(tensors), temporary, metadata)


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _content_digest(text: str, tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        value = tensors[name].contiguous()
        digest.update(f"\n{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _damaged(path: Path, expected: str, got: str) -> CorruptEntryError:
    return CorruptEntryError(
        f"the partial training in {path} is damaged",
        expected=expected,
        got=got,
        hint="the training starts again from its beginning",
    )
