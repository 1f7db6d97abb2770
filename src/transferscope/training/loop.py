"""The training loop.

One function, :func:`train`, that reads from top to bottom: start or resume, then for every epoch train, measure, save,
report. What an update does is :func:`_train_epoch`.
"""

import math
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import astuple, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn

from transferscope.data.batches import TrainingBatches, updates_per_epoch
from transferscope.data.images import ImageSet
from transferscope.data.spec import Split
from transferscope.errors import ArchitectureError, CorruptEntryError, LoaderError, StopRequested
from transferscope.frozen import derive_seed
from transferscope.networks.evaluate import autocast
from transferscope.specs.network import NetworkSpec
from transferscope.specs.recipe import Recipe
from transferscope.training.checkpoints import WorkingFolder, cpu_state
from transferscope.training.evaluation import CleanEvaluation, EpochEvaluation
from transferscope.training.frozen_prefix import PrefixUse, keep_prefix
from transferscope.training.history import EpochRow, EpochTiming, best_epoch, history_frame
from transferscope.training.loss import Task, divergence_limit, mixed_loss, training_loss
from transferscope.training.mixup import Mixup
from transferscope.training.objective import Objective, ObjectiveFactory, WholeNetwork
from transferscope.training.optimisers import (
    build_optimiser,
    load_optimiser_state,
    optimiser_state,
    set_rate,
    training_mode,
)
from transferscope.training.phases import Phase, Phases
from transferscope.training.progress import Progress, Saved, position, timed
from transferscope.training.randomness import deterministic_kernels, seeded
from transferscope.training.request import recipe_and_data, training_examples, training_identity
from transferscope.training.schedules import learning_rate

OnEvent = Callable[[dict[str, object]], None]

_FINITE_CHECK_EVERY = 50
_EVENT_SECONDS = 0.2


@dataclass(frozen=True)
class Training:
    """A finished training.

    Attributes:
        state: the network's weights and buffers at its end, on the CPU. Where the weights of a diverged run are no
            longer finite, those after the last epoch with finite losses.
        state_epoch: the epoch ``state`` belongs to: the last one unless the run diverged.
        checkpoints: a safetensors file for each kept epoch, and for the best one.
        best_epoch: best validation metric, earliest of equals; None without a validation metric.
        diverged: the run ended early because its loss was not finite or exploded.
        prefix: how frozen first modules were kept; None where the recipe does not ask for it.
    """

    state: dict[str, Tensor]
    state_epoch: int
    checkpoints: dict[int, Path]
    history: pl.DataFrame
    timings: tuple[EpochTiming, ...]
    best_epoch: int | None
    diverged: bool
    prefix: PrefixUse | None = None


def train(
    model: nn.Module,
    images: ImageSet,
    splits: Mapping[Split, np.ndarray],
    spec: NetworkSpec,
    working: Path,
    *,
    device: torch.device | str = "cpu",
    on_event: OnEvent | None = None,
    measured: EpochEvaluation = EpochEvaluation(),
    stop_requested: Callable[[], bool] | None = None,
    objective: ObjectiveFactory = WholeNetwork,
) -> Training:
    """Train a network as ``spec.recipe`` says, resuming what ``working`` holds of the same training.

    All randomness comes from ``spec.seed`` and the epoch (data order, augmentation, mixup, dropout), so an interrupted
    training ends bit-identical to an uninterrupted one on the same machine with the same number of threads. After each
    epoch weights, optimiser and history are saved in one file; an interruption (Ctrl-C included) loses the running
    epoch only. A damaged partial training is reported as an event and starts again.

    A loss that is not finite, or an epoch whose mean training loss exceeds ``recipe.divergence_loss`` × the clean loss
    at the start (at least that of the uniform guess), ends the training: the result is marked diverged.

    Frozen modules (rate factor 0) get no gradients and run in eval mode: batch-norm statistics stay, dropout is off.
    With ``recipe.prefix_views`` those before all that is trained run once for every view of an image; what they give
    is kept, for evaluations as well: see :mod:`transferscope.training.frozen_prefix`.

    Events: ``training`` (network, epoch, epochs, step, steps, images_per_second; at most 5 a second), ``epoch``
    (network and the new row), ``training_resumed`` (network, epoch), ``training_restarted`` (network, reason), ``note``
    (network, text: it goes on with other threads, another device or version of torch).

    Args:
        model: the network at its start; trained in place and moved to the device and memory format. Its train modes and
            ``requires_grad`` are put back.
        images: all examples.
        splits: positions by split, the training split as it is to be used (subset already drawn).
        spec: gives recipe, data and seed.
        working: folder of this training alone, for partial work and kept epochs.
        device: where to train.
        on_event: told what happens.
        measured: what is measured after each epoch, and with which labels the network is trained.
        stop_requested: asked before each update; the training stops when it says True.
        objective: what an update computes with and what is measured, made of the network and its optimiser: the network
            itself, or for example :class:`~transferscope.training.curve_midpoint.CurveMidpoint`.

    Returns:
        The finished training, also when it diverged.

    Raises:
        StudyError: the spec has no recipe, or everything is frozen.
        ModuleNameError: ``module_rates`` names an unknown module.
        DataError: too few training images, or labels that do not fit the head.
        ArchitectureError: the network gives something other than logits in train mode.
        StoreError: ``working`` cannot be written, or somebody wrote to the decoded images.
        StopRequested: ``stop_requested`` said so.
    """
    recipe, data = recipe_and_data(spec)
    examples = training_examples(images, splits, spec, measured.task)
    per_epoch = updates_per_epoch(len(examples), recipe.batch_size)
    device = torch.device(device)
    notify = on_event or _silent
    measured = replace(
        measured,
        metric=measured.metric or recipe.metric,
        train_examples=measured.train_examples or recipe.train_evaluation,
    )
    # What other pixels taught must not be saved.
    folder = WorkingFolder(working, training_identity(spec, splits, list(astuple(measured))), images.check)
    clean = CleanEvaluation(images, splits, data, recipe, device, measured)
    channels_last = recipe.memory_format == "channels_last"
    model.to(device).to(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
    batches_of = partial(
        TrainingBatches, images, examples, data.mean, data.std, recipe, spec.seed, device=device, ablation=data.ablation
    )
    with training_mode(model, recipe), deterministic_kernels(), ExitStack() as files:
        optimiser = build_optimiser(model, recipe)
        trained_as = objective(model, optimiser)
        saved = _resumed(folder, spec, notify, device)
        if saved is not None:
            model.load_state_dict(saved.state)
            load_optimiser_state(optimiser, saved.optimiser)
        kept, use = None, None
        if recipe.prefix_views is not None:
            names = [name for group in optimiser.param_groups for name in group["names"]]
            kept, use = keep_prefix(model, trained_as, names, recipe, batches_of, working, files)
            clean.kept = None if kept is None else kept.evaluation
            notify({"kind": "note", "network": spec.key, "text": use.text})
        if saved is None:
            saved = _start(model, trained_as, clean, folder, spec, device)
        # Of the epoch before: an epoch's timing is part of what is written.
        writing_seconds = 0.0
        limit = _loss_limit(saved.progress.rows[0], recipe, spec.classes, measured.task)
        while not saved.progress.diverged and saved.progress.epoch < recipe.epochs:
            epoch = saved.progress.epoch + 1
            started = time.perf_counter()
            with seeded(derive_seed(spec.seed, "dropout", epoch), device):
                batches = batches_of(epoch)
                passed = _train_epoch(
                    kept or trained_as,
                    optimiser,
                    batches if kept is None else kept.batches(batches, epoch),
                    recipe,
                    spec,
                    epoch,
                    per_epoch,
                    measured.task,
                    notify,
                    stop_requested,
                )
            trained = time.perf_counter()
            row = _measured(trained_as, clean, passed, epoch, saved.progress.rows[-1].updates, limit)
            evaluated = time.perf_counter()
            timing = timed(
                epoch, passed.images, trained - started, evaluated - trained, device, passed.phases, writing_seconds
            )
            saved = _save(folder, saved, cpu_state(model), optimiser_state(optimiser), row, timing, recipe)
            writing_seconds = time.perf_counter() - evaluated
            notify({"kind": "epoch", "network": spec.key, "epochs": recipe.epochs, **vars(row)})
    progress = saved.progress
    if progress.state_epoch != progress.epoch:
        model.load_state_dict(saved.state)
    return Training(
        state=saved.state,
        state_epoch=progress.state_epoch,
        checkpoints={epoch: folder.path(epoch) for epoch in sorted(progress.kept)},
        history=history_frame(progress.rows),
        timings=progress.timings,
        best_epoch=best_epoch(progress.rows),
        diverged=progress.diverged,
        prefix=use,
    )


@dataclass(frozen=True)
class _Passed:
    """One epoch's updates: mean loss (None where not finite), images and updates done, last rate, seconds by phase."""

    loss: float | None
    images: int
    updates: int
    rate: float
    phases: Mapping[Phase, float]


def _train_epoch(
    objective: Objective,
    optimiser: torch.optim.Optimizer,
    batches: Iterable[tuple[Any, Tensor]],
    recipe: Recipe,
    spec: NetworkSpec,
    epoch: int,
    per_epoch: int,
    task: Task,
    notify: OnEvent,
    stop_requested: Callable[[], bool] | None,
) -> _Passed:
    mixup = Mixup(recipe.mixup, spec.seed, epoch) if recipe.mixup else None
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    device = parameters[0].device
    # The loss is summed on the device: asking for its value at every update would wait for the accelerator
    # each time.
    total = torch.zeros((), device=device, dtype=torch.float32 if device.type == "mps" else torch.float64)
    started = told = time.perf_counter()
    step = images = 0
    rate = 0.0
    phases = Phases(device)
    for inputs, labels in batches:
        phases.ended("images")
        if stop_requested is not None and stop_requested():
            raise _stopped(epoch, recipe)
        rate = learning_rate(recipe, (epoch - 1) * per_epoch + step, per_epoch)
        set_rate(optimiser, rate)
        optimiser.zero_grad(set_to_none=True)
        with autocast(device, recipe.precision):
            if mixup is None:
                loss = training_loss(_logits(objective, inputs, epoch, step), labels, task, recipe.label_smoothing)
            else:
                mixed = mixup(inputs, labels)
                loss = mixed_loss(_logits(objective, mixed.images, epoch, step), mixed, task, recipe.label_smoothing)
        phases.ended("forward")
        loss.backward()  # type: ignore[no-untyped-call] # torch's own stub
        if recipe.gradient_clip is not None:
            torch.nn.utils.clip_grad_norm_(parameters, recipe.gradient_clip)
        objective.before_step()
        optimiser.step()
        total += loss.detach() * len(labels)
        step, images = step + 1, images + len(labels)
        phases.ended("backward")
        now = time.perf_counter()
        if now - told >= _EVENT_SECONDS:
            told = now
            notify(position(spec, epoch, step, per_epoch, images / (now - started)))
        if step % _FINITE_CHECK_EVERY == 0:
            finite = math.isfinite(float(total))
            phases.settle()
            if not finite:
                return _Passed(None, images, step, rate, phases.seconds)
    if step != per_epoch:
        raise LoaderError(
            "the training batches of an epoch are not as many as its schedule counts on",
            expected=f"{per_epoch} batches",
            got=str(step),
            hint="batches of one image are left out, all others given",
        )
    mean = float(total) / images
    phases.settle()
    return _Passed(mean if math.isfinite(mean) else None, images, step, rate, phases.seconds)


def _measured(
    objective: Objective, clean: CleanEvaluation, passed: _Passed, epoch: int, updates_before: int, limit: float
) -> EpochRow:
    row = EpochRow(
        epoch=epoch,
        updates=updates_before + passed.updates,
        learning_rate=passed.rate,
        running_loss=passed.loss,
        diverged=True,
    )
    if passed.loss is None:
        return row  # nothing measured on such weights means anything
    measured = clean(objective.measured())
    return replace(row, **measured.values, diverged=passed.loss > limit or not measured.finite)


def _start(
    model: nn.Module,
    objective: Objective,
    clean: CleanEvaluation,
    folder: WorkingFolder,
    spec: NetworkSpec,
    device: torch.device,
) -> Saved:
    recipe, _ = recipe_and_data(spec)
    started = time.perf_counter()
    measured = clean(objective.measured())
    row = EpochRow(epoch=0, updates=0, **measured.values, diverged=not measured.finite)
    timing = timed(0, 0, 0.0, time.perf_counter() - started, device)
    before = Saved(Progress(folder.identity), {}, {})
    return _save(folder, before, cpu_state(model), {}, row, timing, recipe)


def _save(
    folder: WorkingFolder,
    before: Saved,
    state: dict[str, Tensor],
    optimiser: dict[str, Tensor],
    row: EpochRow,
    timing: EpochTiming,
    recipe: Recipe,
) -> Saved:
    """Write kept epochs, then the partial file, then remove what it names no more: safe at any moment."""
    rows = (*before.progress.rows, row)
    if row.diverged and row.train_loss is None and before.state:
        state, state_epoch = before.state, before.progress.state_epoch
    else:
        state_epoch = row.epoch
    best = best_epoch(rows)
    kept = dict(before.progress.kept)
    if state_epoch == row.epoch and (_keeps(recipe, row.epoch) or best == row.epoch):
        kept[row.epoch] = folder.keep(row.epoch, state)
    dropped = [epoch for epoch in kept if epoch != best and not _keeps(recipe, epoch)]
    for epoch in dropped:
        del kept[epoch]
    timings = (*before.progress.timings, timing)
    saved = Saved(Progress(folder.identity, rows, timings, kept, state_epoch), state, optimiser)
    folder.save(saved)
    for epoch in dropped:
        folder.drop(epoch)
    return saved


def _keeps(recipe: Recipe, epoch: int) -> bool:
    return recipe.keep == "all" or (recipe.keep != "none" and epoch in recipe.keep)


def _resumed(folder: WorkingFolder, spec: NetworkSpec, notify: OnEvent, device: torch.device) -> Saved | None:
    try:
        saved = folder.load()
    except CorruptEntryError as error:
        notify({"kind": "training_restarted", "network": spec.key, "reason": str(error)})
        saved = None
    if saved is None:
        folder.clear()
    else:
        notify({"kind": "training_resumed", "network": spec.key, "epoch": saved.progress.epoch})
        for text in saved.progress.changes(device):
            notify({"kind": "note", "network": spec.key, "text": text})
    return saved


def _loss_limit(start: EpochRow, recipe: Recipe, classes: int, task: Task) -> float:
    # A start whose loss is not finite has diverged already: there is no epoch to compare with it.
    initial = 0.0 if start.train_loss is None else start.train_loss
    return divergence_limit(initial, recipe.divergence_loss, classes, task)


def _logits(objective: Objective, inputs: Any, epoch: int, step: int) -> Tensor:
    outputs = objective.logits(inputs, epoch, step)
    if not isinstance(outputs, Tensor):
        raise ArchitectureError(
            "the network does not give logits in train mode",
            expected="one tensor, examples classes",
            got=type(outputs).__name__,
            hint="switch auxiliary outputs off in the architecture's options (for example aux_logits: false)",
        )
    return outputs


def _stopped(epoch: int, recipe: Recipe) -> StopRequested:
    return StopRequested(
        f"training was stopped in epoch {epoch} of {recipe.epochs}",
        hint=f"run the same again: it goes on after epoch {epoch - 1}, with the same result to the bit",
    )


def _silent(event: dict[str, object]) -> None:
    """Ignore the event."""
