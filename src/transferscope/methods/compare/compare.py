"""Two networks and data, no study: what they share, how far they are apart, and what lies between them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from transferscope.errors import AlignmentError, ArchitectureError, MeasureError
from transferscope.measures.barriers import Barrier, stability
from transferscope.measures.distance import Distance, parameter_distance
from transferscope.measures.metrics import chance_level, metric, predictions
from transferscope.measures.mistakes import Mistakes, compare_mistakes
from transferscope.methods.alignment.align import Method, align
from transferscope.methods.compare.behaviour import behaviour
from transferscope.methods.compare.comparison import Comparison
from transferscope.methods.evaluation import Batches, Evaluation, outputs_of
from transferscope.methods.landscape.average import average_of
from transferscope.methods.landscape.linear_path import LinearPath, alpha_grid, linear_path
from transferscope.methods.similarity.cka import cka
from transferscope.networks.alike import unlike
from transferscope.networks.batchnorm import has_batch_norm
from transferscope.networks.evaluate import check_deterministic, resolve_device
from transferscope.networks.given import takes_networks
from transferscope.networks.modules import Granularity, parts_parameters
from transferscope.networks.pruning import pruning_masks, without_pruned
from transferscope.readable import readable

OnStep = Callable[[str, int, int], None]
"""Told what is being done, how many points of it are done, and of how many at most (0 where it is one step)."""


@readable
@dataclass(frozen=True, kw_only=True)
class PathGrid:
    """At how many points, and with how many digits, the straight line between two networks is measured.

    Attributes:
        points: from α = 0 to 1, evenly spaced, at least 2; at least 3 where they are refined.
        refine: tolerance in α to which maxima are then located; see
            :func:`~transferscope.methods.landscape.linear_path.linear_path`. None evaluates ``points`` alone.
        fast: in bfloat16 and channels_last, ends and maxima again in float32.
    """

    points: int = 13
    refine: float | None = 0.021
    fast: bool = False


@takes_networks("a", "b")
def compare(
    a: nn.Module,
    b: nn.Module,
    data: Batches,
    evaluation: Evaluation = Evaluation(),
    *,
    granularity: Granularity = "block",
    head: str | None = None,
    path: PathGrid = PathGrid(),
    align_by: Method | None = "activations",
    clusters: npt.ArrayLike | None = None,
    on_step: OnStep | None = None,
) -> Comparison:
    """Compare two trained networks of one architecture on held-out data. Both are left as they are.

    Args:
        a: first network; α = 0 of the path.
        b: second network.
        data: batches of (images, labels) that can be iterated again, the same each time; in mixed order, for CKA is
            estimated batch by batch. Labels are those of a's classes.
        evaluation: metric, device, and training images to recompute batch norm on at every point of the path; without
            them the path of networks with batch norm is left out, with the reason.
        granularity: of the modules: ``stage``, ``block`` or ``layer``.
        head: name of the classifying module. Where the heads differ in size only the trunk moves on the path, under the
            head of a; without the name that path is left out.
        path: how finely, and how precisely, the path is measured.
        align_by: where the networks are not found to be linearly connected, put b's hidden units in the order of a's
            (by ``activations`` on training images, or on ``data`` where there are none; or by ``weights``) and measure
            the path again: whether the order is all that lies between them. What cannot be aligned is listed with its
            reason. None leaves it out.
        clusters: group (patient, panel) of each example of ``data``: limits are then over groups.
        on_step: told what is being done.

    Returns:
        Mistakes, similarity, distance, path, the average of the two; ``print`` it for a page.

    Raises:
        LoaderError: a loader does not give the same batches twice, or too few examples.
        MeasureError: the path has points below 2, or below 3 and to be refined.
        ActivationError: a network has no module whose output can be compared (a single bare layer).

    Example:
        >>> import torch
        >>> _ = torch.manual_seed(0)
        >>> a, b = (nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)) for _ in range(2))
        >>> data = [(torch.randn(8, 4), torch.arange(8) % 3)]
        >>> found = compare(a, b, data, Evaluation(device="cpu"), path=PathGrid(points=3, refine=None))
        >>> found.mistakes.examples, len(found.path.alphas)
        (8, 3)
    """
    if path.points < 2:
        raise MeasureError("points does not fit a path", expected="at least 2: its ends", got=str(path.points))
    check_deterministic(data)
    evaluation = replace(evaluation, device=resolve_device(evaluation.device))
    train = evaluation.recompute_on
    missing: dict[str, str] = {}
    tell = on_step or _silent
    tell("outputs and features", 0, 0)
    outputs_a, labels = outputs_of(a, data, evaluation)
    outputs_b, _ = outputs_of(b, data, evaluation)
    similarity = cka(a, b, data, granularity=granularity, execution=evaluation)
    alike = outputs_a.shape[1] == outputs_b.shape[1]
    if not alike:
        missing["mistakes and metric of b"] = (
            f"its head has {outputs_b.shape[1]} outputs, that of a {outputs_a.shape[1]}: the labels are those of a"
        )
    whole, by_module = _distances(a, b, None if alike else head, granularity, missing)

    def walk(second: nn.Module, name: str) -> LinearPath:
        return linear_path(
            a,
            second,
            {"held-out": data},
            evaluation,
            alphas=alpha_grid(path.points, 0.0, 0),
            refine=path.refine,
            trunk_of=None if alike else head,
            fast=path.fast,
            on_point=lambda done, most: tell(name, done, most),
        )

    line = aligned = average = alignment = None
    if whole is not None and has_batch_norm(a) and train is None:
        missing["path"] = (
            "the networks have batch norm, and no training batches were given (Evaluation(recompute_on=...)) to "
            "recompute its statistics on; without that every barrier is an artefact"
        )
    elif whole is not None and (apart := unlike(a, b, without=None if alike else head)) is not None:
        missing["path"] = f"{apart.cause} ({apart.got}): {apart.hint}"
    elif whole is not None:
        try:
            line = walk(b, "path")
        except ArchitectureError as error:
            missing["path"] = " ".join(str(error).split())
        if line is not None and alike:
            tell("average", 0, 0)
            average = average_of((a, b), (outputs_a, outputs_b), labels, data, evaluation, clusters)
    error_barrier = _barrier(line, "error", clusters, missing)
    unstable = error_barrier is not None and stability(error_barrier.mean.interval) != "stable"
    if align_by is not None and unstable and not alike:
        missing["aligned path"] = "the heads differ in size: hidden units are matched between networks with equal heads"
    elif align_by is not None and unstable:
        tell("order of the hidden units", 0, 0)
        try:
            alignment = align(a, b, data if train is None else train, method=align_by, device=evaluation.device)
            aligned = walk(alignment.network, "path to the aligned network")
        except AlignmentError as error:
            missing["aligned path"] = " ".join(str(error).split())
    return Comparison(
        examples=len(labels),
        metric_name=evaluation.metric,
        metrics=(
            metric(outputs_a, labels, evaluation.metric),
            metric(outputs_b, labels, evaluation.metric) if alike else None,
        ),
        mistakes=_mistakes(outputs_a, outputs_b, labels) if alike else None,
        similarity=similarity,
        distance=whole,
        distance_by_module=by_module,
        path=line,
        error_barrier=error_barrier,
        loss_barrier=_barrier(line, "loss", clusters, missing),
        alignment=alignment,
        aligned=aligned,
        aligned_barrier=_barrier(aligned, "error", clusters, missing),
        average=average,
        not_measured=missing,
        chance=chance_level(evaluation.metric, outputs_a.shape[1]),
        behaviour=behaviour((outputs_a, outputs_b), labels, evaluation.metric, clusters) if alike else None,
    )


def _silent(step: str, done: int, most: int) -> None:
    """Ignore the event."""


def _distances(
    a: nn.Module, b: nn.Module, head: str | None, granularity: Granularity, missing: dict[str, str]
) -> tuple[Distance | None, dict[str, Distance]]:
    """Distance of all parameters that both have alike, the head left out where it is named; and of each module."""
    apart = unlike(a, b, without=head, among="parameters", types=False)
    if apart is not None:
        missing["distance and path"] = (
            f"the networks' parameters differ in name or shape: {apart.cause} ({apart.got}); {apart.hint}"
        )
        return None, {}
    first, second = (_effective_parameters(network, head) for network in (a, b))
    by_module = {
        part: parameter_distance({n: first[n] for n in names}, {n: second[n] for n in names})
        for part, names in parts_parameters(a, granularity).items()
        if set(names) <= first.keys()
    }
    return parameter_distance(first, second), by_module


def _effective_parameters(network: nn.Module, head: str | None) -> dict[str, Tensor]:
    """Parameters by name, the head left out where it is named, and 0 where a mask of pruning switches them off."""
    parameters = dict(network.named_parameters())
    effective = without_pruned({**parameters, **dict(network.named_buffers())}, pruning_masks(network))
    return {name: effective[name] for name in parameters if head is None or not name.startswith(f"{head}.")}


def _mistakes(outputs_a: Tensor, outputs_b: Tensor, labels: Tensor) -> Mistakes:
    task: Literal["single", "multi"] = "single" if labels.ndim == 1 else "multi"
    judged_a, judged_b = (predictions(outputs, task).reshape(-1).numpy() for outputs in (outputs_a, outputs_b))
    return compare_mistakes(judged_a, judged_b, labels.reshape(-1).numpy())


def _barrier(
    path: LinearPath | None, quantity: Literal["loss", "error"], clusters: npt.ArrayLike | None, missing: dict[str, str]
) -> Barrier | None:
    if path is None:
        return None
    if not np.isfinite(path.values("held-out", quantity)).all():
        missing[f"{quantity} barrier"] = f"the {quantity} of a network between them is not finite"
        return None
    return path.barrier("held-out", quantity, clusters)
