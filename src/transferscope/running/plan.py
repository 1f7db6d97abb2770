"""What a study will take: round 1 exactly, later rounds as upper bounds; and how far it is."""

import math
import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import polars as pl

from transferscope.analyses.contract import AbstractAnalysis
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.finished import table_of
from transferscope.analyses.task_keys import task_key
from transferscope.context.context import Context
from transferscope.context.resolve import resolve
from transferscope.context.resolved_study import ResolvedStudy
from transferscope.context.threads import limited
from transferscope.errors import AnalysisError, CorruptEntryError
from transferscope.networks.architectures import build
from transferscope.networks.evaluate import resolve_device
from transferscope.networks.probe_speed import step_seconds
from transferscope.running.failures import isolated
from transferscope.running.results import Remaining
from transferscope.running.rounds import PlannedTask, Round, asked_of, expand, with_needs
from transferscope.specs.network import NetworkSpec
from transferscope.store import Entry, Store
from transferscope.study.settings import Study

_FORWARD_SHARE = 0.25
"""A forward pass costs about a quarter of a training step per image (measured on EfficientNet-Lite0: 0.23)."""
_ENTRY_BYTES = 64 * 1024
"""Allowed for what lies beside weights in an entry: a history, a table, manifests, logits of a thousand images."""


@dataclass(frozen=True)
class PlanRound:
    """One round."""

    analyses: tuple[str, ...]
    trainings: int
    trainings_stored: int
    units: int
    units_stored: int
    images: int
    exact: bool


@dataclass(frozen=True)
class StepTime:
    """What a training step takes here, in seconds.

    Attributes:
        source: ``now``, or ``trainings`` of this study that are finished: what they took is worth more.
    """

    low: float
    median: float
    high: float
    count: int
    source: Literal["now", "trainings"]


@dataclass(frozen=True)
class Plan:
    """What a study will take."""

    rounds: tuple[PlanRound, ...]
    networks: tuple[str, ...]
    seconds: tuple[float, float] | None
    step: "StepTime | None"
    disk_bytes: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Status:
    """How far a study is."""

    trainings_finished: int
    trainings_pending: int
    units_finished: int
    units_pending: int
    disk_bytes: int


@dataclass(frozen=True)
class _Step:
    """A round, with what may come on top of it.

    In a round that is not exact the networks themselves are supposed, at a rate that may not be chosen.
    """

    round: Round
    further: Mapping[str, Sequence[NetworkSpec | None]]
    units: int
    exact: bool


def plan_study(study: Study, store_root: Path) -> Plan:
    """Expand every round, with real tables where the store has them and supposed ones where not.

    Images are decoded and, as long as no training of the study is finished, a few training steps are measured anew: a
    machine is not always as busy as it was. Nothing is trained.
    """
    store = Store(Path(store_root))
    bound = resolve(study, store)
    context = Context(store, bound)
    size = sum(tensor.numel() * tensor.element_size() for tensor in context.start(_any(bound)).state_dict().values())
    report = context.loaded(bound.untrained("P", bound.seeds[0]))
    rounds: list[PlanRound] = []
    names: list[str] = []
    seen: set[str] = set()
    disk = 0.0
    steps = _steps(bound, store)
    work = [_work(step, store, context) for step in steps]
    for step, part in zip(steps, work, strict=True):
        names += [step.round.labels[spec.key] for spec in part.missing]
        # Logits are stored once for each network and split, which units share: two entries of a network are allowed.
        members = {member.spec.key for piece in part.pieces for member in piece.task.members} - seen
        seen |= members
        disk += sum(size * (1 + _kept(spec)) for spec in part.missing)
        disk += _ENTRY_BYTES * (len(part.missing) + len(part.pieces) + step.units + 2 * len(members))
        rounds.append(
            PlanRound(
                analyses=tuple(dict.fromkeys(piece.analysis.name for piece in step.round.pieces)),
                trainings=len(step.round.networks),
                trainings_stored=len(step.round.networks) - len(part.missing),
                units=len(step.round.pieces) + step.units,
                units_stored=len(step.round.pieces) - len(part.pieces),
                images=part.training + part.looking + part.measuring,
                exact=step.exact,
            )
        )
        if further := len(part.further):
            names.append(f"up to {further} more: rates beyond the edge of a grid, runs at a rate still to be chosen")
            disk += further * (2 * size + 2 * _ENTRY_BYTES)
            images = sum(map(sum, part.further))
            rounds.append(PlanRound(tuple(step.further), further, 0, further, 0, images, exact=False))
    cost = _cost(bound, work)
    pace = (_trained_pace(bound, store, steps) or _pace_now(bound)) if cost else None
    return Plan(
        rounds=tuple(rounds),
        networks=tuple(names),
        seconds=_seconds(bound, cost, pace),
        step=pace,
        disk_bytes=int(disk),
        notes=(*context.images().notes, *(() if report is None else (f"pre-trained weights: {report}",))),
    )


@dataclass(frozen=True)
class _Work:
    """What the store lacks of a round: networks, units, and images to train on, to evaluate after epochs, to measure.

    Attributes:
        further: trainings that may come on top: images that each trains on, and evaluates.
    """

    missing: Sequence[NetworkSpec]
    pieces: Sequence[PlannedTask]
    training: int
    looking: int
    measuring: int
    further: Sequence[tuple[int, int]]


def _work(step: _Step, store: Store, context: Context) -> _Work:
    stored, measured = _stored(step, store)
    missing = [spec for key, spec in step.round.networks.items() if key not in stored]
    pieces = [piece for piece in step.round.pieces if piece.key not in measured]
    training, looking = (sum(each) for each in zip((0, 0), *(_images(spec, context) for spec in missing), strict=True))
    # Further trainings are on the target, whatever the pre-trainings of the round took.
    target = context.study.data.fingerprint
    on_target = (spec for spec in step.round.networks.values() if spec.data and spec.data.fingerprint == target)
    longest = max((_images(spec, context) for spec in on_target), default=(0, 0))
    further = [_images(spec, context) for specs in step.further.values() for spec in specs if spec is not None]
    further += [longest] * (sum(map(len, step.further.values())) - len(further))
    measuring = sum(piece.images for piece in pieces)
    return _Work(missing, pieces, training, looking, measuring, further)


def _cost(study: ResolvedStudy, work: Iterable[_Work]) -> float:
    """Images to train on, those of forward passes by their share, as long as workers do them side by side."""
    compute = study.settings.compute
    workers = compute.workers if compute.executor == "processes" else 1
    trained = forward = 0.0
    for part in work:
        side_by_side = _side_by_side(len(part.missing), workers)
        trained += part.training * side_by_side
        forward += part.looking * side_by_side + part.measuring * _side_by_side(len(part.pieces), workers)
        at_once = _side_by_side(len(part.further), workers)
        trained += at_once * sum(training for training, _ in part.further)
        forward += at_once * sum(looking for _, looking in part.further)
    return trained + _FORWARD_SHARE * forward


def _seconds(study: ResolvedStudy, cost: float, pace: StepTime | None) -> tuple[float, float] | None:
    if not cost:
        return 0.0, 0.0
    batches = cost / study.settings.training.recipe.batch_size
    return None if pace is None else (batches * pace.low, batches * pace.high)


def _side_by_side(count: int, workers: int) -> float:
    """The share of the time of ``count`` equal pieces of work that passes while ``workers`` do them."""
    return math.ceil(count / workers) / count if count else 0.0


def _trained_pace(study: ResolvedStudy, store: Store, steps: Sequence[_Step]) -> StepTime | None:
    """What a step took in finished trainings of this study; None where there are none."""
    batch = study.settings.training.recipe.batch_size
    seconds = [
        batch * sum(epoch["training_seconds"] for epoch in timings) / images
        for step in steps
        for key in _stored(step, store)[0]
        if (timings := store.entry("networks", key).provenance().get("timings"))
        and (images := sum(epoch["images"] for epoch in timings))
    ]
    return _pace(seconds, "trainings") if seconds else None


def _pace_now(study: ResolvedStudy) -> StepTime:
    settings = study.settings
    with limited(settings.compute.threads):
        seconds = step_seconds(
            lambda: build(settings.source.architecture, 2, 0),
            settings.target.image_size,
            settings.training.recipe.batch_size,
            resolve_device(settings.compute.device),
            study.memory_format,
        )
    return _pace(seconds, "now")


def _pace(seconds: Iterable[float], source: Literal["now", "trainings"]) -> StepTime:
    ordered = sorted(seconds)
    return StepTime(ordered[0], statistics.median(ordered), ordered[-1], len(ordered), source)


def study_status(study: Study, store_root: Path) -> Status:
    """Count what the store has of a study."""
    store = Store(Path(store_root))
    return Status(*_counts(_steps(resolve(study, store), store), store), store.size())


def _counts(steps: Sequence[_Step], store: Store) -> tuple[int, int, int, int]:
    """Trainings finished and pending, units finished and pending."""
    networks = {key for step in steps for key in step.round.networks}
    units = {piece.key for step in steps for piece in step.round.pieces}
    stored = [_stored(step, store) for step in steps]
    trained = len({key for trainings, _ in stored for key in trainings})
    measured = len({key for _, pieces in stored for key in pieces})
    further = sum(len(specs) for step in steps for specs in step.further.values())
    unmeasured = len(units) - measured + further + sum(step.units for step in steps)
    return trained, len(networks) - trained + further, measured, unmeasured


def remaining_of(context: Context, failed: Collection[str]) -> Remaining:
    """What the store lacks of a study that is being run, without the analyses that failed."""
    study, store = context.study, context.store
    try:
        steps = _steps(study, store, failed)
    except AnalysisError as error:
        # Of one analysis alone, which the run will meet itself.
        return Remaining((0, 0), (0, 0), None, str(error), study.metric)
    trained, untrained, measured, unmeasured = _counts(steps, store)
    cost = _cost(study, [_work(step, store, context) for step in steps])
    return Remaining(
        trainings=(trained, trained + untrained),
        measurements=(measured, measured + unmeasured),
        seconds=_seconds(study, cost, _trained_pace(study, store, steps)),
        unknown="",
        metric=study.metric,
    )


def _stored(step: _Step, store: Store) -> tuple[set[str], set[str]]:
    """Keys of a round's networks and units in the store; none where they are only supposed."""
    if not step.exact:
        return set(), set()
    return (
        {key for key in step.round.networks if _usable(store.entry("networks", key), read=False)},
        {piece.key for piece in step.round.pieces if _usable(store.entry("units", piece.key))},
    )


def _usable(entry: Entry, *, read: bool = True) -> bool:
    """Whether a run finds the entry; a damaged one it makes anew."""
    try:
        return entry.exists() and (not read or all(entry.path(name) for name in entry.names()))
    except CorruptEntryError:
        return False


def _steps(study: ResolvedStudy, store: Store, failed: Collection[str] = ()) -> list[_Step]:
    analyses = with_needs(study, [analysis for analysis in asked_of(study) if analysis.key not in failed])
    done: set[str] = set()
    tables: dict[str, pl.DataFrame] = {}
    measured: dict[str, list[str]] = {}
    more: dict[str, int] = {}
    named: set[str] = set()
    steps: list[_Step] = []
    exact = True
    while len(done) < len(analyses):
        step = expand(study, analyses, Evidence(tables), done, measured)
        if step.failed:
            key, failure = next(iter(step.failed.items()))
            name = next(analysis.name for analysis in analyses if analysis.key == key)
            raise AnalysisError(f"the analysis {name!r} cannot be planned", got=failure.what)
        # Each network is trained, and counted, in the first round that names it.
        step = replace(step, networks={key: spec for key, spec in step.networks.items() if key not in named})
        named.update(step.networks)
        done.update(analysis.key for analysis in step.finished)
        for analysis in step.finished:
            tables.setdefault(analysis.key, table_of(analysis, store, ()))
        if not step.pieces:
            continue
        expanded = {piece.analysis.key: piece.analysis for piece in step.pieces}
        for piece in step.pieces:
            measured.setdefault(piece.analysis.key, []).append(piece.key)
        further: dict[str, Sequence[NetworkSpec | None]] = {}
        units = 0
        supposed = False
        following: list[PlannedTask] = []
        for key, analysis in expanded.items():
            # Whoever needs an analysis may have a unit for each of its further trainings as well.
            units += sum(more.get(need.key, 0) for need in with_needs(study, analysis.needs(study)))
            if all(_usable(store.entry("units", name)) for name in measured[key]):
                tables[key] = table_of(analysis, store, measured[key])
                continue
            supposed = True
            with isolated(analysis, "planning"):
                tables[key] = analysis.expected_table(study)
                following += _following(study, analysis, tables, measured[key], named)
                more[key] = analysis.extra_trainings(study)
                known = list(analysis.extra_networks(study))
            if more[key]:
                further[analysis.name] = [*known, *[None] * (more[key] - len(known))]
            done.add(key)
        steps.append(_Step(step, further, units, exact))
        if following:
            steps.append(_Step(Round({}, {}, tuple(following), ()), {}, 0, exact=False))
        exact = exact and not supposed
    return steps


def _following(
    study: ResolvedStudy,
    analysis: AbstractAnalysis,
    tables: Mapping[str, pl.DataFrame],
    measured: Sequence[str],
    named: Collection[str],
) -> list[PlannedTask]:
    """Units of known networks that an analysis names once it has seen its own first ones."""
    if tables[analysis.key].is_empty():
        return []
    units = analysis.tasks(study, Evidence(tables).for_decision())
    known = [task for task in units if all(m.spec.key in named or not m.spec.trained for m in task.members)]
    found = [
        PlannedTask(analysis, task, task_key(analysis, task, study), analysis.forward_passes(task, study))
        for task in known
    ]
    return [piece for piece in found if piece.key not in measured]


def _images(spec: NetworkSpec, context: Context) -> tuple[int, int]:
    """Images trained on, and evaluated after epochs, of one training."""
    assert spec.recipe is not None
    splits = context.splits(spec.data)
    train = len(splits["train"])
    looked = min(train, spec.recipe.train_evaluation or train) + len(splits["validation"]) + len(splits["test"])
    return spec.recipe.epochs * train, (spec.recipe.epochs + 1) * looked


def _kept(spec: NetworkSpec) -> int:
    assert spec.recipe is not None
    keep = spec.recipe.keep
    # The best epoch is always kept beside the last.
    return 1 + (spec.recipe.epochs if keep == "all" else 0 if keep == "none" else len(keep))


def _any(study: ResolvedStudy) -> NetworkSpec:
    return study.untrained("RI", study.seeds[0])
