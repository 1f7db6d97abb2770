"""What a study will take: round 1 exactly, later rounds as upper bounds; and how far it is."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from transferscope.analyses.evidence import Evidence
from transferscope.analyses.variants import BoundStudy
from transferscope.running.bind import bind, speed
from transferscope.running.context import Context
from transferscope.running.rounds import Piece, Round, expand, with_needs
from transferscope.running.run import asked_of, table_of
from transferscope.specs import NetworkSpec
from transferscope.store import Store
from transferscope.study import Study

__all__ = ["Plan", "PlanRound", "Status", "plan_study", "study_status"]

_FORWARD_SHARE = 0.25
"""A forward pass costs about a quarter of a training step per image (measured on EfficientNet-Lite0: 0.23)."""


@dataclass(frozen=True)
class PlanRound:
    """One round.

    Attributes:
        analyses: names of those that are expanded.
        trainings: networks it needs, at most.
        trainings_stored: of those, already in the store.
        units: pieces of measurement, at most.
        units_stored: of those, already in the store.
        images: images through a network that are still to do: trained, evaluated after epochs, measured.
        exact: whether the numbers are exact, or upper bounds.
    """

    analyses: tuple[str, ...]
    trainings: int
    trainings_stored: int
    units: int
    units_stored: int
    images: int
    exact: bool


@dataclass(frozen=True)
class Plan:
    """What a study will take.

    Attributes:
        rounds: in order.
        networks: what is still to be trained, as shown.
        seconds: estimate of what is still to do, from a measured training step.
        step_seconds: of one measured training step.
        disk_bytes: of what is still to be written, at most.
    """

    rounds: tuple[PlanRound, ...]
    networks: tuple[str, ...]
    seconds: float | None
    step_seconds: float | None
    disk_bytes: int


@dataclass(frozen=True)
class Status:
    """How far a study is.

    Attributes:
        trainings_finished: in the store.
        trainings_pending: still to do, at most.
        units_finished: in the store.
        units_pending: still to do, at most.
        disk_bytes: of the whole store.
    """

    trainings_finished: int
    trainings_pending: int
    units_finished: int
    units_pending: int
    disk_bytes: int


@dataclass(frozen=True)
class _Step:
    round: Round
    further: int
    exact: bool


def plan_study(study: Study, store_root: Path) -> Plan:
    """Expand every round, with real tables where the store has them and supposed ones where not.

    Images are decoded and one training step is measured for it; nothing is trained.

    Args:
        study: what is asked for.
        store_root: folder of the store.
    """
    store = Store(Path(store_root))
    bound = bind(study, store)
    context = Context(store, bound)
    rates = speed(study, store)["images_per_second"]
    rate = float(rates[f"float32 {bound.memory_format}"])
    rounds, names = [], []
    trained = forward = disk = 0.0
    size = sum(tensor.numel() * tensor.element_size() for tensor in context.start(_any(bound)).state_dict().values())
    for step in _steps(bound, store):
        stored = [key for key in step.round.networks if store.entry("networks", key).exists()]
        missing = [spec for key, spec in step.round.networks.items() if key not in stored]
        measured = [piece for piece in step.round.pieces if store.entry("units", piece.key).exists()]
        names += [step.round.labels[spec.key] for spec in missing]
        passes = [_images(spec, context) for spec in missing]
        # Further trainings are like the ones of this round.
        extra = step.further * (sum(first for first, _ in passes) / len(passes) if passes else 0)
        looked = step.further * (sum(second for _, second in passes) / len(passes) if passes else 0)
        measuring = sum(
            piece.analysis.images(piece.unit, bound) for piece in step.round.pieces if piece not in measured
        )
        trained += sum(first for first, _ in passes) + extra
        forward += sum(second for _, second in passes) + looked + measuring
        disk += sum(size * (1 + _kept(spec)) for spec in missing) + step.further * size
        rounds.append(
            PlanRound(
                analyses=tuple(dict.fromkeys(piece.analysis.name for piece in step.round.pieces)),
                trainings=len(step.round.networks) + step.further,
                trainings_stored=len(stored),
                units=len(step.round.pieces) + step.further,
                units_stored=len(measured),
                images=int(sum(first + second for first, second in passes) + extra + looked + measuring),
                exact=step.exact and not step.further,
            )
        )
        names += [f"up to {step.further} more, where a best rate lies at the edge of the grid"] * bool(step.further)
    return Plan(
        rounds=tuple(rounds),
        networks=tuple(names),
        seconds=(trained + _FORWARD_SHARE * forward) / rate,
        step_seconds=study.training.recipe.batch_size / rate,
        disk_bytes=int(disk),
    )


def study_status(study: Study, store_root: Path) -> Status:
    """Count what the store has of a study.

    Args:
        study: what is asked for.
        store_root: folder of the store.
    """
    store = Store(Path(store_root))
    steps = list(_steps(bind(study, store), store))
    networks = {key for step in steps for key in step.round.networks}
    units = {piece.key for step in steps for piece in step.round.pieces}
    trained = sum(store.entry("networks", key).exists() for key in networks)
    measured = sum(store.entry("units", key).exists() for key in units)
    further = sum(step.further for step in steps)
    return Status(
        trainings_finished=trained,
        trainings_pending=len(networks) - trained + further,
        units_finished=measured,
        units_pending=len(units) - measured + further,
        disk_bytes=store.size(),
    )


def _steps(study: BoundStudy, store: Store) -> list[_Step]:
    analyses = with_needs(study, asked_of(study))
    done: set[str] = set()
    tables: dict[str, pl.DataFrame] = {}
    measured: dict[str, list[str]] = {}
    pieces: dict[str, list[Piece]] = {}
    steps: list[_Step] = []
    exact = True
    while len(done) < len(analyses):
        step = expand(study, analyses, Evidence(tables), done, measured)
        done.update(analysis.key for analysis in step.finished)
        if not step.pieces:
            continue
        expanded = {piece.analysis.key: piece.analysis for piece in step.pieces}
        further = 0
        for piece in step.pieces:
            pieces.setdefault(piece.analysis.key, []).append(piece)
            measured.setdefault(piece.analysis.key, []).append(piece.key)
        supposed = False
        for key, analysis in expanded.items():
            if all(store.entry("units", piece.key).exists() for piece in pieces[key]):
                tables[key] = table_of(analysis, store, pieces[key])
                continue
            supposed = True
            tables[key] = analysis.supposed(study)
            further += analysis.further(study)
            done.add(key)
        steps.append(_Step(step, further, exact))
        exact = exact and not supposed
    return steps


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


def _any(study: BoundStudy) -> NetworkSpec:
    return study.untrained("RI", study.seeds[0])
