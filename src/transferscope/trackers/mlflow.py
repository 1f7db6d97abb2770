"""MLflow: a parent run for the study, a child run for each training, found again by their tags."""

import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from transferscope.analyses.estimates import Estimate
from transferscope.store.atomic import make_folder
from transferscope.study.tracker_settings import Mlflow
from transferscope.trackers.contract import StudyRun, Training, curves, numbers

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["MlflowTracker", "local"]

_KEY = "transferscope.key"
_PARENT = "mlflow.parentRunId"
_METRICS, _PARAMETERS = 1000, 100
"""The most that one call takes."""
_LONGEST = 500  # of a parameter's text, in every version


def local(settings: Mlflow) -> bool:
    """Whether the runs go into a store of our own making."""
    return settings.uri is None and (settings.folder is not None or "MLFLOW_TRACKING_URI" not in os.environ)


class MlflowTracker:
    """Writes through a client of its own: what a caller has set up in ``mlflow`` stays as it is.

    Args:
        settings: where to.
        store_root: folder of the store.
    """

    def __init__(self, settings: Mlflow, store_root: Path) -> None:
        self._settings = settings
        self._folder = Path(os.path.abspath(settings.folder or store_root / "mlflow")) if local(settings) else None
        self._parent = ""
        self._children: dict[str, tuple[str, bool]] = {}

    @property
    def place(self) -> str:
        """As in :class:`transferscope.trackers.contract.Tracker`."""
        parts = urlsplit(self._uri)
        # Reports hold it, and people pass reports on.
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])) if "@" in parts.netloc else self._uri

    @property
    def _uri(self) -> str:
        if self._folder is not None:
            return f"sqlite:///{(self._folder / 'mlflow.db').as_posix()}"
        return self._settings.uri or os.environ["MLFLOW_TRACKING_URI"]

    @cached_property
    def _client(self) -> "MlflowClient":
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=self._uri)

    @cached_property
    def _experiment(self) -> str:
        name = self._settings.experiment
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        artifacts = None if self._folder is None else (self._folder / "artifacts").as_uri()
        return str(self._client.create_experiment(name, artifact_location=artifacts))

    def begin(self, study: StudyRun) -> None:
        """As in :class:`transferscope.trackers.contract.Tracker`."""
        if self._folder is not None:
            make_folder(self._folder)
        with _asked_once():
            found = list(self._runs(f"tags.`{_KEY}` = '{study.key}'"))
        self._parent = found[0].info.run_id if found else self._made(study.name, {_KEY: study.key}, None)
        self._client.update_run(self._parent, status="RUNNING")
        # All of them where this run made the parent, or somebody was stopped who did.
        there = found[0].data.params if found else {}
        missing = {name: value for name, value in study.parameters.items() if name not in there}
        self._client.log_batch(self._parent, params=_parameters(missing), tags=_tags(study.tags))
        children = self._runs(f"tags.`{_PARENT}` = '{self._parent}'")
        self._children = {
            run.data.tags.get(_KEY, ""): (run.info.run_id, run.info.status == "FINISHED") for run in children
        }

    def log_training(self, training: Training) -> None:
        """As in :class:`transferscope.trackers.contract.Tracker`."""
        from mlflow.entities import Metric

        known, whole = self._children.get(training.key, ("", False))
        if whole:
            return
        if known:
            # Half of it was written when somebody stopped: points written again would stand there twice.
            self._client.delete_run(known)
        tags = {**training.tags, _KEY: training.key, _PARENT: self._parent}
        run = self._made(training.label, tags, training.began)
        self._children[training.key] = (run, False)
        last = max(training.ended.values(), default=training.began)
        metrics = [
            Metric(name, value, _milliseconds(training.ended.get(epoch, last)), epoch)
            for epoch, row in curves(training.history)
            for name, value in row.items()
        ]
        metrics += [Metric(name, value, _milliseconds(last), 0) for name, value in training.final.items()]
        self._log(run, metrics, _parameters(training.parameters))
        self._client.set_terminated(run, "FINISHED", _milliseconds(last))
        self._children[training.key] = (run, True)

    def log_estimates(self, estimates: Mapping[str, Estimate]) -> None:
        """As in :class:`transferscope.trackers.contract.Tracker`; what is no more estimated becomes NaN."""
        from mlflow.entities import Metric

        wanted = {key: value for name, item in estimates.items() for key, value in numbers(name, item).items()}
        there: Mapping[str, float] = self._client.get_run(self._parent).data.metrics
        gone = {key: math.nan for key, value in there.items() if key not in wanted and not math.isnan(value)}
        changed = {key: value for key, value in wanted.items() if there.get(key) != value} | gone
        now = _milliseconds(time.time())
        self._log(self._parent, [Metric(key, value, now, 0) for key, value in changed.items()], [])

    def log_artifact(self, path: Path) -> None:
        """As in :class:`transferscope.trackers.contract.Tracker`."""
        self._client.log_artifact(self._parent, str(path))

    def end(self, *, finished: bool) -> None:
        """As in :class:`transferscope.trackers.contract.Tracker`."""
        self._client.set_terminated(self._parent, "FINISHED" if finished else "KILLED")

    def _made(self, name: str, tags: Mapping[str, str], began: float | None) -> str:
        start = None if began is None else _milliseconds(began)
        run = self._client.create_run(self._experiment, start_time=start, tags=dict(tags), run_name=name)
        return str(run.info.run_id)

    def _runs(self, which: str) -> Iterator[Any]:
        token = None
        while True:
            page = self._client.search_runs([self._experiment], which, page_token=token)
            yield from page
            if not (token := page.token):
                return

    def _log(self, run: str, metrics: Sequence[Any], parameters: Sequence[Any]) -> None:
        for part in _parts(parameters, _PARAMETERS):
            self._client.log_batch(run, params=part)
        for part in _parts(metrics, _METRICS):
            self._client.log_batch(run, metrics=part)


def _parts(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _parameters(values: Mapping[str, Any]) -> list[Any]:
    from mlflow.entities import Param

    return [Param(name, str(value)[:_LONGEST]) for name, value in values.items()]


def _tags(values: Mapping[str, str]) -> list[Any]:
    from mlflow.entities import RunTag

    return [RunTag(name, value) for name, value in values.items()]


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


@contextmanager
def _asked_once() -> Iterator[None]:
    """A server that does not answer is told after one more try, not after the minutes that MLflow would wait."""
    name = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
    if name in os.environ:
        yield
        return
    os.environ[name] = "1"
    try:
        yield
    finally:
        del os.environ[name]
