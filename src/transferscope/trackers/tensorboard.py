"""TensorBoard: a folder for the study; in it one for each training and one for the estimates."""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from transferscope.analyses.estimate_words import spoken
from transferscope.analyses.estimates import Estimate
from transferscope.frozen import content_key
from transferscope.store.atomic import new_temporary, place, remove, replace_file, share, sweep, sync_tree, vanish
from transferscope.study.tracker_settings import TensorBoard
from transferscope.trackers.contract import StudyRun, Training, curves, numbers

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

__all__ = ["TensorBoardTracker"]


class TensorBoardTracker:
    """Event files that appear whole, by one rename.

    Args:
        settings: where to.
        store_root: folder of the store.
    """

    def __init__(self, settings: TensorBoard, store_root: Path) -> None:
        self._root = Path(os.path.abspath(settings.folder or store_root / "tensorboard"))
        self._folder = self._root

    @property
    def place(self) -> str:
        """As in :class:`transferscope.trackers.contract.Tracker`."""
        return str(self._root)

    def begin(self, study: StudyRun) -> None:
        """As in :class:`transferscope.trackers.contract.Tracker`."""
        self._folder = self._root / f"{study.name}-{study.key[:8]}"
        sweep(self._folder)

        def write(writer: "SummaryWriter") -> None:
            for name, value in {**study.tags, **study.parameters}.items():
                writer.add_text(name, str(value), 0)

        self._write("study", write)

    def log_training(self, training: Training) -> None:
        """As in :class:`transferscope.trackers.contract.Tracker`."""

        def write(writer: "SummaryWriter") -> None:
            last = max(training.ended.values(), default=training.began)
            for epoch, row in curves(training.history):
                for name, value in row.items():
                    writer.add_scalar(name, value, epoch, training.ended.get(epoch, last))
            for name, text in training.tags.items():
                writer.add_text(name, text, 0, last)
            # Parameters and final numbers, for the page of hyper-parameters.
            writer.add_hparams(dict(training.parameters), dict(training.final), run_name=".")

        self._write(f"{re.sub(r'[^A-Za-z0-9.-]+', '_', training.label)}-{training.key[:8]}", write)

    def log_estimates(self, estimates: Mapping[str, Estimate]) -> None:
        """As in :class:`transferscope.trackers.contract.Tracker`."""
        key = content_key([[name, item.row()] for name, item in estimates.items()])[:8]

        def write(writer: "SummaryWriter") -> None:
            lines = ["| estimate | value |", "|---|---|"]
            for name, item in estimates.items():
                for field, value in numbers(name, item).items():
                    writer.add_scalar(field, value, 0)
                lines.append(f"| {item.name or name} | {spoken(item)} |")
            writer.add_text("estimates", "\n".join(lines), 0)

        name = f"estimates-{key}"
        self._write(name, write)
        for other in self._folder.glob("estimates-*"):
            if other.name != name:
                vanish(other)

    def log_artifact(self, path: Path) -> None:
        """As in :class:`transferscope.trackers.contract.Tracker`; TensorBoard shows no files: it lies beside."""
        replace_file(self._folder / path.name, path.read_bytes())

    def end(self, *, finished: bool) -> None:
        """As in :class:`transferscope.trackers.contract.Tracker`; every folder is closed already."""

    def _write(self, name: str, write: "Callable[[SummaryWriter], None]") -> None:
        """Make the folder ``name``, unless it is there."""
        target = self._folder / name
        if target.exists():
            return
        from torch.utils.tensorboard import SummaryWriter

        temporary = new_temporary(self._folder, name)
        try:
            with SummaryWriter(str(temporary)) as writer:
                write(writer)
            share(temporary)
            sync_tree(temporary)
            place(temporary, target)
        finally:
            remove(temporary)
