"""Weights & Biases: a run for each training and one for the study, in one group; each has an id of its own."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transferscope.analyses.estimates import Estimate
from transferscope.frozen import content_key
from transferscope.store.atomic import make_folder
from transferscope.study.tracker_settings import Wandb
from transferscope.trackers.contract import Scalar, StudyRun, Training, curves, numbers

if TYPE_CHECKING:
    from wandb import Run

__all__ = ["WandbTracker"]

_SENT = "transferscope-sent"
"""A file in the folder of a run that is written whole."""


class WandbTracker:
    """The same training is the same id: sent again it goes on in its run, which takes no epoch twice.

    Args:
        settings: where to.
        store_root: folder of the store.
    """

    def __init__(self, settings: Wandb, store_root: Path) -> None:
        self._settings = settings
        self._folder = Path(os.path.abspath(settings.folder or store_root / "wandb"))
        self._study: StudyRun | None = None
        self._run: Run | None = None

    @property
    def place(self) -> str:
        """As in :class:`transferscope.trackers.contract.Tracker`."""
        if self._settings.mode == "offline":
            return str(self._folder)
        return "/".join(filter(None, ("wandb.ai", self._settings.entity, self._settings.project)))

    def begin(self, study: StudyRun) -> None:
        """As in :class:`transferscope.trackers.contract.Tracker`."""
        make_folder(self._folder)
        self._study = study

    def log_training(self, training: Training) -> None:
        """As in :class:`transferscope.trackers.contract.Tracker`."""
        assert self._study is not None
        identity = content_key([self._study.key, training.key])
        if any(self._folder.glob(f"wandb/*run-*-{identity}/{_SENT}")):
            return
        run = self._open(identity, training.label, "training", {**training.parameters, **training.tags})
        try:
            for epoch, row in curves(training.history):
                run.log(row, step=epoch)
            run.summary.update(dict(training.final))
        finally:
            run.finish()
        # The folder of the files is within that of the run.
        (Path(run.dir).parent / _SENT).touch()

    def log_estimates(self, estimates: Mapping[str, Estimate]) -> None:
        """As in :class:`transferscope.trackers.contract.Tracker`."""
        summary = self._parent().summary
        wanted = {key: value for name, item in estimates.items() for key, value in numbers(name, item).items()}
        summary.update(wanted)

    def log_artifact(self, path: Path) -> None:
        """As in :class:`transferscope.trackers.contract.Tracker`."""
        self._parent().save(str(path), base_path=str(path.parent), policy="now")

    def end(self, *, finished: bool) -> None:
        """As in :class:`transferscope.trackers.contract.Tracker`."""
        run, self._run = self._run, None
        if run is not None:
            run.finish(exit_code=0 if finished else 1)

    def _parent(self) -> "Run":
        assert self._study is not None
        if self._run is None:
            config = {**self._study.parameters, **self._study.tags}
            self._run = self._open(self._study.key, self._study.name, "study", config)
        return self._run

    def _open(self, identity: str, name: str, kind: str, config: Mapping[str, Scalar]) -> "Run":
        import wandb

        assert self._study is not None
        settings: dict[str, Any] = {"console": "off", "silent": True}
        return wandb.init(
            project=self._settings.project,
            entity=self._settings.entity,
            dir=str(self._folder),
            mode=self._settings.mode,
            id=identity,
            name=name,
            group=self._study.key,
            job_type=kind,
            config=dict(config),
            resume="allow",
            # Beside a run that the caller may have open.
            reinit="create_new",
            settings=wandb.Settings(**settings),
        )
