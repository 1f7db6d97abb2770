"""The tracker that settings ask for, if its package is installed."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

from transferscope.errors import MissingExtraError
from transferscope.study.tracker_settings import Mlflow, TensorBoard, TrackerSettings
from transferscope.trackers.contract import Tracker
from transferscope.trackers.mlflow import MlflowTracker, local
from transferscope.trackers.tensorboard import TensorBoardTracker
from transferscope.trackers.wandb import WandbTracker

__all__ = ["tracker_of"]


def tracker_of(settings: TrackerSettings, store_root: Path) -> Tracker:
    """The tracker of these settings; nothing is opened yet.

    Args:
        settings: which, and where.
        store_root: folder of the store, in which trackers without a place of their own write.

    Raises:
        MissingExtraError: its package is not installed.
    """
    packages, make = _choice(settings, store_root)
    for package in packages:
        found = importlib.util.find_spec(package)
        # A folder of that name (wandb makes one where it runs) is no package.
        if found is None or found.origin is None:
            raise MissingExtraError(package, settings.kind)
    return make()


def _choice(settings: TrackerSettings, store_root: Path) -> tuple[tuple[str, ...], Callable[[], Tracker]]:
    if isinstance(settings, Mlflow):
        # Without these MLflow can talk to servers alone.
        packages = ("mlflow", "sqlalchemy", "alembic") if local(settings) else ("mlflow",)
        return packages, lambda: MlflowTracker(settings, store_root)
    if isinstance(settings, TensorBoard):
        return ("tensorboard",), lambda: TensorBoardTracker(settings, store_root)
    return ("wandb",), lambda: WandbTracker(settings, store_root)
