"""What of a run goes to the trackers of its study. They are told of what lies in the store, and decide nothing."""

import json
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from io import BytesIO
from itertools import accumulate
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import polars as pl

from transferscope.analyses.estimates import Estimate
from transferscope.context.resolved_study import ResolvedStudy
from transferscope.errors import TransferscopeError
from transferscope.frozen import content_key
from transferscope.running.results import Results
from transferscope.running.rounds import Round
from transferscope.specs.network import NetworkSpec
from transferscope.store import Store
from transferscope.study.settings import Study
from transferscope.trackers.contract import Scalar, StudyRun, Tracker, Training, named_estimates
from transferscope.trackers.kinds import tracker_of

__all__ = ["Tracking", "study_run", "training_of"]

OnEvent = Callable[[dict[str, Any]], None]


@dataclass
class _Sender:
    """One tracker, with what it has so far.

    Attributes:
        kind: as in the settings.
        tracker: what is told.
        begun: whether it holds the study.
        trainings: keys of the networks that it holds.
        failure: why it is told nothing more; None where nothing went wrong.
    """

    kind: str
    tracker: Tracker
    begun: bool = False
    trainings: set[str] = field(default_factory=set)
    failure: str | None = None


@dataclass(frozen=True)
class _Role:
    """How a network is shown in this study: its label and variant, and whether it only searches for a rate."""

    spec: NetworkSpec
    label: str
    variant: str
    rate_search: bool


class Tracking:
    """The trackers of one run; a context that closes them. Whatever they raise is noted and stops nothing.

    A tracker that fails is told nothing more until the trainings are over, then everything once more: a server
    that is down costs a run two attempts, not one for each training.

    Args:
        study: names them.
        store_root: folder of the store.

    Raises:
        MissingExtraError: the package of one is not installed.
    """

    def __init__(self, study: Study, store_root: Path) -> None:
        self._senders = [_Sender(each.kind, tracker_of(each, store_root)) for each in study.trackers]
        self._store: Store | None = None
        self._run: StudyRun | None = None
        self._roles: dict[str, _Role] = {}
        self._trained: dict[str, None] = {}
        self._unread: dict[str, str] = {}
        self._on_event: OnEvent = _silent
        self._lock = ExitStack()
        self._locked = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            for sender in self._senders:
                if sender.begun:
                    self._close(sender, whole=kind is None and sender.failure is None)

    def begin(self, study: ResolvedStudy, store: Store, on_event: OnEvent) -> None:
        """Open the study in every tracker.

        Args:
            study: with its data and weights.
            store: where finished trainings lie.
            on_event: told, as a note, of what goes wrong.
        """
        self._store, self._on_event = store, on_event
        if self._senders:
            self._run = study_run(study)
        for sender in self._senders:
            self._open(sender)

    def expect(self, step: Round, study: ResolvedStudy) -> None:
        """Learn how the networks of a round are shown."""
        variants: dict[str, str] = {}
        for piece in step.pieces:
            for member in piece.task.members:
                variants.setdefault(member.spec.key, member.variant)
        for key, spec in step.networks.items():
            # A parent of others, a pre-training say, is no variant.
            variant = variants.get(key, "other")
            search = spec.seed in study.settings.training.tuning_seeds
            self._roles.setdefault(key, _Role(spec, step.labels[key], variant, search))

    def trained(self, *keys: str) -> None:
        """Write trainings that lie in the store, of this run or of earlier ones."""
        for key in keys:
            self._trained[key] = None
            waiting = [sender for sender in self._senders if sender.begun and key not in sender.trainings]
            if any(sender.failure is None for sender in waiting) and (training := self._training(key)) is not None:
                for sender in waiting:
                    self._send(sender, training)

    def results(self, results: Results) -> Results:
        """Write the estimates, and what could not be written before.

        Returns:
            The results, whose manifest says under ``trackers`` what each tracker has.
        """
        if not self._senders:
            return results
        for sender in self._senders:
            if sender.failure is not None:
                sender.failure = None
                self._open(sender)
        self.trained(*tuple(self._trained))
        groups = [(item.analysis.name, item.summary.estimates if item.summary else ()) for item in results.analyses]
        estimates: Mapping[str, Estimate] = named_estimates(groups)
        for sender in self._senders:
            self._try(sender, "writing the estimates", partial(sender.tracker.log_estimates, estimates))
        notes = [words for sender in self._senders if (words := _words(sender)) is not None]
        notes += [f"not written to any tracker: {why}" for why in self._unread.values()]
        manifest = {
            **results.manifest,
            "trackers": [self._state(sender) for sender in self._senders],
            "notes": [*results.manifest["notes"], *notes],
        }
        # What comes after is told where it is asked for.
        self._on_event = _silent
        return replace(results, manifest=manifest)

    def report(self, paths: Iterable[Path]) -> list[str]:
        """Write the report.

        Args:
            paths: its files.

        Returns:
            What went wrong, in words.
        """
        before = {id(sender) for sender in self._senders if sender.failure is not None}
        for path in paths:
            for sender in self._senders:
                self._try(sender, f"writing {path.name}", partial(sender.tracker.log_artifact, path))
        return [words for sender in self._senders if id(sender) not in before and (words := _words(sender)) is not None]

    def _open(self, sender: _Sender) -> None:
        if not sender.begun:
            sender.begun = self._try(sender, "opening the study", partial(self._begin, sender.tracker))

    def _begin(self, tracker: Tracker) -> None:
        assert self._store is not None
        assert self._run is not None
        if not self._locked:
            # Two runs that differ in where they compute are one study here: what one has half written is no waste.
            what = "a run that writes this study to its trackers"
            self._lock.enter_context(self._store.lock(f"trackers-{self._run.key}", wait=0, what=what))
            self._locked = True
        tracker.begin(self._run)

    def _close(self, sender: _Sender, *, whole: bool) -> None:
        known = sender.failure
        # Also one that failed: it may have a process or a connection of its own.
        sender.failure = None
        closed = self._try(sender, "closing the study", partial(sender.tracker.end, finished=whole))
        if not closed and known is None:
            warnings.warn(str(_words(sender)), stacklevel=3)

    def _send(self, sender: _Sender, training: Training) -> None:
        if self._try(sender, f"writing {training.label}", partial(sender.tracker.log_training, training)):
            sender.trainings.add(training.key)

    def _training(self, key: str) -> Training | None:
        assert self._store is not None
        assert self._run is not None
        role = self._roles[key]
        self._unread.pop(key, None)
        try:
            return training_of(self._store, role.spec, role.label, role.variant, role.rate_search, self._run.key)
        except Exception as error:
            # What reads it for a result will say that it is damaged, and mend it.
            self._unread[key] = f"reading {role.label}: {_said(error)}"
            return None

    def _try(self, sender: _Sender, doing: str, call: Callable[[], None]) -> bool:
        if sender.failure is not None:
            return False
        try:
            call()
        except Exception as error:
            sender.failure = f"{doing}: {_said(error)}"
            self._on_event({"kind": "note", "text": _words(sender)})
            return False
        return True

    def _state(self, sender: _Sender) -> dict[str, Any]:
        return {
            "kind": sender.kind,
            "place": sender.tracker.place,
            "key": None if self._run is None else self._run.key,
            "trainings": len(sender.trainings),
            "trainings_missing": len(self._trained.keys() - sender.trainings),
            "failure": sender.failure,
        }


def _words(sender: _Sender) -> str | None:
    if sender.failure is None:
        return None
    return (
        f"{sender.kind} ({sender.tracker.place}) failed while {sender.failure}; nothing else is lost, and the same "
        "command run again writes what is missing there"
    )


def _said(error: Exception) -> str:
    text = error.what if isinstance(error, TransferscopeError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())[:500]


def study_run(study: ResolvedStudy) -> StudyRun:
    """The study as trackers see it: of one key with its data and weights, wherever it is computed."""
    settings = study.settings
    start, identity = study.pretrained, settings.identity()
    del identity["compute"]
    # In place of where data and weights lie: what they are.
    del identity["target"]["data"]
    identity["source"] = settings.source.architecture.identity()
    key = content_key([identity, study.data.identity(), start.identity(), study.memory_format])
    parameters: dict[str, Scalar] = {
        "architecture": settings.source.architecture.name,
        "pretrained": start.sha256 if start.kind == "file" else start.key,
        "data": study.data.fingerprint,
        "image_size": study.data.image_size,
        "classes": len(study.class_names),
        "metric": study.metric,
        "seeds": json.dumps(settings.seeds),
        "learning_rates": json.dumps(settings.training.learning_rates),
    }
    return StudyRun(key, settings.name, parameters, {"study": key, "study_key": settings.key})


def training_of(store: Store, spec: NetworkSpec, label: str, variant: str, rate_search: bool, study: str) -> Training:
    """A finished training as trackers see it.

    Args:
        store: where it lies.
        spec: the network.
        label: as shown.
        variant: its role in the study.
        rate_search: whether it only searches for a rate.
        study: key of the parent.

    Raises:
        StoreError: it is not there, or damaged.
    """
    assert spec.recipe is not None
    assert spec.data is not None
    entry = store.entry("networks", spec.key)
    facts, provenance = entry.manifest(), entry.provenance()
    history = pl.read_parquet(BytesIO(entry.read_bytes("history.parquet")))
    timings = provenance.get("timings", ())
    taken = list(accumulate(each["training_seconds"] + each["evaluation_seconds"] for each in timings))
    created = provenance.get("created")
    end = time.time() if created is None else datetime.fromisoformat(created).timestamp()
    began = end - (taken[-1] if taken else 0.0)
    kept = history.filter(pl.col("epoch") == facts["weights_epoch"]).row(0, named=True)
    final = {name: value for name, value in kept.items() if name.endswith(("_loss", "_metric")) and value is not None}
    final |= {name: facts[name] for name in ("best_epoch", "weights_epoch", "diverged") if facts[name] is not None}
    parameters: dict[str, Scalar] = {
        "architecture": spec.architecture.name,
        "start": spec.start.kind,
        "seed": spec.seed,
        "data": spec.data.fingerprint,
        "image_size": spec.data.image_size,
        **_flat(spec.recipe.model_dump(mode="json")),
    }
    tags = {
        "variant": variant,
        "seed": str(spec.seed),
        "network": spec.key,
        "study": study,
        "rate_search": str(rate_search).lower(),
        "diverged": str(facts["diverged"]).lower(),
    }
    return Training(
        spec.key,
        label,
        parameters,
        tags,
        history,
        {f"final/{name}": float(value) for name, value in final.items()},
        {each["epoch"]: began + seconds for each, seconds in zip(timings, taken, strict=True)},
        began,
    )


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Scalar]:
    """Nested settings under dotted names; what is no scalar as JSON text.

    >>> _flat({"augmentation": {"flip": True}, "keep": [0], "clip": None})
    {'augmentation.flip': True, 'keep': '[0]', 'clip': 'null'}
    """
    flat: dict[str, Scalar] = {}
    for name, value in values.items():
        if isinstance(value, dict) and value:
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value if isinstance(value, (str, int, float)) else json.dumps(value)
    return flat


def _silent(event: dict[str, Any]) -> None:
    del event
