"""The two kinds of work an executor runs: training a network, measuring a unit. Both end in the store."""

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from transferscope.analyses.contract import AbstractAnalysis, Task, analysis_of, checked, checked_files
from transferscope.analyses.task_keys import task_key
from transferscope.context.context import Context
from transferscope.context.objectives import objective_of
from transferscope.context.resolved_study import ResolvedStudy
from transferscope.networks.weight_files import write_state
from transferscope.running.failures import Failure, failure_of
from transferscope.specs.network import NetworkSpec
from transferscope.store import Store
from transferscope.study.registry import parse_analysis
from transferscope.study.renamed import FORMAT
from transferscope.training.evaluation import EpochEvaluation
from transferscope.training.loop import train
from transferscope.training.objective import PrefixBudget

OnEvent = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class TrainJob:
    """Train one network."""

    root: Path
    study: ResolvedStudy
    spec: NetworkSpec
    label: str
    isolated: bool = False


@dataclass(frozen=True)
class MeasureJob:
    """Measure one unit."""

    root: Path
    study: ResolvedStudy
    analysis: str
    task: Task
    label: str


Job = TrainJob | MeasureJob

_latest: list[tuple[Path, ResolvedStudy]] = []
_contexts: list[Context] = []


def forget() -> None:
    """Open images anew at the next job."""
    _latest.clear()
    _contexts.clear()


def do(job: Job, on_event: OnEvent) -> str | Failure:
    """Do one job, unless the store has its result; return the key of the entry, or what went wrong in an analysis."""
    context = _context(job.root, job.study)
    if isinstance(job, MeasureJob):
        return _measure(job, context, on_event)
    try:
        return _train(job, context, on_event)
    except Exception as error:
        if not job.isolated or (failure := failure_of(error, f"training {job.label}")) is None:
            raise
        return failure


def _context(root: Path, study: ResolvedStudy) -> Context:
    # The last one is kept: images stay open and splits computed from job to job.
    if not _latest or _latest[0] != (root, study):
        _latest[:] = [(root, study)]
        _contexts[:] = [Context(Store(root), study)]
    return _contexts[0]


def _train(job: TrainJob, context: Context, on_event: OnEvent) -> str:
    spec, store = job.spec, context.store
    assert spec.data is not None
    assert spec.recipe is not None
    compute = job.study.settings.compute
    entry = store.entry("networks", spec.key)
    started = time.perf_counter()
    with store.lock(f"networks-{spec.key}", on_wait=lambda text: on_event({"kind": "note", "text": text})):
        if entry.exists():
            # Another process trained it meanwhile: for this run it is finished all the same.
            store.finish("networks", spec.key)
            on_event(_trained(job, bool(entry.manifest()["diverged"]), 0.0))
            return spec.key
        images = context.training_images(spec.data)
        result = train(
            context.start(spec),
            images,
            context.splits(spec.data),
            spec,
            store.working("networks", spec.key),
            device=context.device,
            on_event=lambda event: on_event({**event, "label": job.label}),
            measured=EpochEvaluation(
                task="multi" if images.multi_label else "single",
                metric=spec.recipe.metric,
                batch_size=compute.evaluation_batch,
                train_examples=spec.recipe.train_evaluation,
            ),
            objective=objective_of(spec, context, PrefixBudget(compute.prefix_memory, compute.prefix_disk)),
        )
        facts = {
            "spec": spec.identity(),
            "best_epoch": result.best_epoch,
            "epochs": spec.recipe.epochs,
            "weights_epoch": result.state_epoch,
            "diverged": result.diverged,
        }
        epochs = sum(timing.training_seconds + timing.evaluation_seconds for timing in result.timings)
        provenance = {
            "device": str(context.device),
            "threads": torch.get_num_threads(),
            # Of earlier runs as well, where the training was stopped meanwhile.
            "seconds": round(max(epochs, time.perf_counter() - started), 3),
            "timings": [vars(timing) for timing in result.timings],
            # With its paths, which say where things lay and not what was asked for.
            "settings": spec.model_dump(mode="json"),
            **({} if result.prefix is None else {"frozen_prefix": vars(result.prefix)}),
        }
        with context.storing(entry, facts, provenance) as folder:
            write_state(folder / "weights.safetensors", result.state, metadata(spec))
            result.history.write_parquet(folder / "history.parquet")
            for epoch, path in result.checkpoints.items():
                if epoch != result.state_epoch:  # those weights are there already
                    shutil.copyfile(path, folder / f"epoch-{epoch:04d}.safetensors")
    on_event(_trained(job, result.diverged, time.perf_counter() - started))
    return spec.key


def _trained(job: TrainJob, diverged: bool, seconds: float) -> dict[str, Any]:
    return {"kind": "trained", "network": job.spec.key, "label": job.label, "diverged": diverged, "seconds": seconds}


def metadata(spec: NetworkSpec) -> dict[str, str]:
    """What ``transferscope compare`` needs to know to build the network again from its file."""
    assert spec.data is not None
    return {
        "architecture": json.dumps(spec.architecture.model_dump(mode="json"), sort_keys=True),
        "classes": str(spec.classes),
        "image_size": str(spec.data.image_size),
        "mean": json.dumps(spec.data.mean),
        "std": json.dumps(spec.data.std),
        "splits": json.dumps(spec.data.splits.model_dump(mode="json"), sort_keys=True),
        "images": spec.data.fingerprint,
        "network": spec.key,
    }


def _measure(job: MeasureJob, context: Context, on_event: OnEvent) -> str | Failure:
    analysis = analysis_of(parse_analysis(json.loads(job.analysis)))
    try:
        return _measured(analysis, job, context, on_event)
    except Exception as error:
        doing = "measuring " + ", ".join(member.label for member in job.task.members[:3])
        if (failure := failure_of(error, doing, analysis)) is None:
            raise
        return failure


def _measured(analysis: AbstractAnalysis, job: MeasureJob, context: Context, on_event: OnEvent) -> str:
    key = task_key(analysis, job.task, job.study)
    entry = context.store.entry("units", key)
    on_event({"kind": "unit", "analysis": analysis.name, "label": job.label})
    started = time.perf_counter()
    with context.store.lock(f"units-{key}", on_wait=lambda text: on_event({"kind": "note", "text": text})):
        if not entry.exists():
            measured = analysis.measure(job.task, context)
            table, files = checked(analysis, measured.table), checked_files(analysis, measured.files)
            provenance = {
                "device": str(context.device),
                "threads": torch.get_num_threads(),
                "seconds": round(time.perf_counter() - started, 3),
            }
            with context.storing(entry, {"analysis": analysis.name, "format": FORMAT}, provenance) as folder:
                table.write_parquet(folder / "table.parquet")
                for name, data in files.items():
                    target = folder / "files" / name
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(data)
    on_event(
        {"kind": "measured", "analysis": analysis.name, "label": job.label, "seconds": time.perf_counter() - started}
    )
    return key
