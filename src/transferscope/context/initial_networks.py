"""How a network is built before its training: each kind of start, made from what the store has."""

from dataclasses import replace
from typing import Literal, Protocol

import numpy as np
import torch
from torch import nn

from transferscope.data.batches import EvaluationBatches, evaluation_batches
from transferscope.data.spec import DataSpec, Split
from transferscope.data.store import ImageSet
from transferscope.data.stratified_shuffle import stratified_shuffle
from transferscope.errors import DataError, WeightsError
from transferscope.frozen import derive_seed
from transferscope.networks.architectures import build, head_name
from transferscope.networks.batchnorm import has_batch_norm, recompute
from transferscope.networks.controls import initialise
from transferscope.networks.mixing import mix
from transferscope.networks.transplants import transplant
from transferscope.networks.weights import LoadReport, load, state_hash, take
from transferscope.specs.network import STATISTICS_IMAGES, Checkpoint, Control, Curve, File, NetworkSpec, Transplant

__all__ = ["Origins", "diverged_before", "ends_of", "loaded", "no_best", "start", "statistics_batches"]

_STATISTICS_BATCH = 64


class Origins(Protocol):
    """What a start is made from: images, and networks that exist already."""

    device: torch.device

    def images(self, data: DataSpec | None = None) -> ImageSet:
        """The decoded images of a data set."""

    def splits(self, data: DataSpec | None = None) -> dict[Split, np.ndarray]:
        """Indices of each of its splits."""

    def state(self, spec: NetworkSpec, epoch: int | Literal["last", "best"] = "last") -> dict[str, torch.Tensor]:
        """Weights and buffers of a network that exists, on the CPU."""

    def diverged(self, spec: NetworkSpec) -> bool:
        """Whether its training ended in an exploded or undefined loss."""


def start(spec: NetworkSpec, origins: Origins) -> nn.Module:
    """The network before its training, on the CPU.

    Args:
        spec: the network.
        origins: where the images and networks that it starts from are found.

    Raises:
        StoreError: the network it starts from is not trained yet, or its epoch was not kept.
        WeightsError: its file is not the one the study was planned with, or the network it starts from diverged
            before the epoch that is asked for.
        DataError: batch norm's statistics are to be estimated, and there are no images for it.
    """
    model = build(spec.architecture, spec.classes, spec.seed)
    head = head_name(model, spec.architecture)
    match spec.start:
        case File() | Checkpoint() as origin:
            _load(model, origin, spec, origins, head, origin.new_head)
        case Control() as control:
            report = _load(model, control.of, spec, origins, head, control.new_head)
            drawn = control.new_head or bool(report.replaced)
            initialise(model, control.method, spec.seed, head if drawn else None)
            _estimate_statistics(model, spec, control.data, origins)
        case Transplant() as transplanted:
            donor = build(spec.architecture, spec.classes, spec.seed)
            _load(donor, transplanted.of, spec, origins, head, new_head=True)
            transplant(model, donor.state_dict(), transplanted.modules, transplanted.granularity, head)
            _estimate_statistics(model, spec, transplanted.data, origins)
        case Curve() as curve:
            _between(model, *ends_of(curve, origins))
        case _:
            pass
    return model


def ends_of(curve: Curve, origins: Origins) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Weights and buffers of both ends of a curve, on the CPU.

    Args:
        curve: names them.
        origins: as in :func:`start`.

    Raises:
        StoreError: an end is not trained yet.
        WeightsError: an end diverged: its last weights are no solution.
    """
    for end in (curve.a, curve.b):
        if origins.diverged(end):
            raise diverged_before(end, "last")
    return origins.state(curve.a), origins.state(curve.b)


def loaded(spec: NetworkSpec, origins: Origins) -> LoadReport | None:
    """Which tensors of the given weights went into a network; None where it starts from no file.

    Args:
        spec: the network.
        origins: as in :func:`start`.

    Raises:
        WeightsError: its file is not the one the study was planned with.
    """
    if not isinstance(spec.start, File):
        return None
    model = build(spec.architecture, spec.classes, spec.seed)
    return _load(model, spec.start, spec, origins, head_name(model, spec.architecture), spec.start.new_head)


def diverged_before(spec: NetworkSpec, epoch: int | str) -> WeightsError:
    """The error of a network that diverged before an epoch that is asked for."""
    return WeightsError(
        f"the training of {spec.key} diverged: it has no usable epoch {epoch!r}",
        expected="a training that reaches that epoch with finite weights",
        hint="lower its learning rate (of a pre-training: source.pretrain.learning_rate), or take an earlier epoch",
    )


def no_best(spec: NetworkSpec) -> WeightsError:
    """The error of a network without a best epoch that is asked for it."""
    return WeightsError(
        f"the network {spec.key} has no best epoch",
        expected="a metric that is defined on its validation images",
        hint="give validation images of every class, or take the epoch 'last'",
    )


def statistics_batches(data: DataSpec, origins: Origins) -> EvaluationBatches:
    """Training images for batch norm's statistics, under the evaluation transform, in mixed order.

    :data:`~transferscope.specs.network.STATISTICS_IMAGES` of them, the same for every network of the data.

    Args:
        data: whose training images.
        origins: as in :func:`start`.
    """
    images = origins.images(data)
    seed = derive_seed(data.splits.seed, "statistics")
    indices = stratified_shuffle(images.labels, origins.splits(data)["train"], seed, STATISTICS_IMAGES)
    if len(indices) % _STATISTICS_BATCH == 1:
        # A batch of a single image has no variance.
        indices = indices[:-1]
    return evaluation_batches(
        images, indices, data.mean, data.std, _STATISTICS_BATCH, origins.device, ablation=data.ablation
    )


def _load(
    model: nn.Module, origin: File | Checkpoint, spec: NetworkSpec, origins: Origins, head: str, new_head: bool
) -> LoadReport:
    """Pre-trained weights into a network."""
    if isinstance(origin, Checkpoint):
        if origin.epoch == "last" and origins.diverged(origin.of):
            raise diverged_before(origin.of, "last")
        return load(model, origins.state(origin.of, origin.epoch), head, new_head)
    taken = take(origin.weights, spec.architecture)
    found = state_hash(taken.state)
    if found != origin.sha256:
        raise WeightsError(
            "the weights changed since the study was started",
            expected=f"sha256 {origin.sha256[:12]}",
            got=found[:12],
            hint="start the run again: networks trained from the old weights keep their own keys",
        )
    report = load(model, taken.state, head, new_head)
    return replace(report, remarks=(*taken.remarks, *report.remarks))


def _between(model: nn.Module, first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    """The midpoint of two networks; counters, which have no middle, are those of the first."""
    for name, target in model.state_dict().items():
        mix(target, (first[name], second[name]), (0.5, 0.5))


def _estimate_statistics(model: nn.Module, spec: NetworkSpec, of_start: DataSpec | None, origins: Origins) -> None:
    """Batch norm's running statistics of a start whose weights are of several origins, from training images."""
    if not has_batch_norm(model):
        return
    data = spec.data or of_start
    if data is None:
        raise DataError(
            f"the start of {spec.key} has batch norm, and no images to estimate its statistics on",
            expected="training data of the network, or `data` of its start",
            got="neither",
        )
    recompute(model.to(origins.device), statistics_batches(data, origins))
    model.to("cpu")
