"""Two networks and data, no study: what they share, how far they are apart, and what lies between them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from transferscope.analyses.cka_loader import CkaResult, cka
from transferscope.analyses.linear_path import LinearPath, alpha_grid, linear_path
from transferscope.errors import MeasureError
from transferscope.measures.barriers import Barrier, stability
from transferscope.measures.distance import Distance, parameter_distance
from transferscope.measures.metrics import metric, predictions
from transferscope.measures.mistakes import Mistakes, compare_mistakes
from transferscope.networks.batchnorm import has_batch_norm
from transferscope.networks.evaluate import check_deterministic, logits, resolve_device
from transferscope.networks.modules import Granularity, parts_parameters

__all__ = ["Comparison", "compare"]

Batches = Iterable[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Comparison:
    """What :func:`compare` found.

    Attributes:
        examples: how many were used.
        metric_name: ``top1``, ``top5`` or ``auc``.
        metrics: of a and of b; None where undefined.
        mistakes: of the pair; with several labels over image-label pairs.
        similarity: CKA of all modules of a and b, in one pass.
        distance: of all parameters; None where shapes differ.
        distance_by_module: the same per module.
        path: the straight line between them; None where it was not measured.
        error_barrier: of the path, from errors.
        loss_barrier: of the path, from losses; None also where a loss between them is not finite.
        not_measured: what was left out, and why.
    """

    examples: int
    metric_name: str
    metrics: tuple[float | None, float | None]
    mistakes: Mistakes
    similarity: CkaResult
    distance: Distance | None
    distance_by_module: dict[str, Distance]
    path: LinearPath | None
    error_barrier: Barrier | None
    loss_barrier: Barrier | None
    not_measured: dict[str, str]

    @property
    def text(self) -> str:
        """A page for a terminal."""
        return _page(self)

    def __str__(self) -> str:
        return self.text


def compare(
    a: nn.Module,
    b: nn.Module,
    data: Batches,
    *,
    train: Batches | None = None,
    metric_name: str = "top1",
    granularity: Granularity = "block",
    points: int = 25,
    clusters: npt.ArrayLike | None = None,
    device: str | torch.device = "auto",
    memory_format: Literal["contiguous", "channels_last"] = "contiguous",
) -> Comparison:
    """Compare two trained networks of one architecture on held-out data. Both are left as they are.

    Args:
        a: first network; α = 0 of the path.
        b: second network.
        data: batches of (images, labels) that can be iterated again, the same each time; in mixed order, for CKA is
            estimated batch by batch.
        train: batches of training images; needed for the path of networks with batch norm, whose statistics are
            recomputed on them at every point; in mixed order as well. Without them that path is left out, with the
            reason.
        metric_name: ``top1``, ``top5`` or ``auc``.
        granularity: of the modules: ``stage``, ``block`` or ``layer``.
        points: of the path, from α = 0 to 1.
        clusters: group (patient, panel) of each example of ``data``: limits of barriers are then over groups.
        device: where to compute.
        memory_format: of weights and images.

    Returns:
        Mistakes, similarity, distance and path; ``print`` it for a page.

    Raises:
        LoaderError: a loader does not give the same batches twice, or too few examples.
        MeasureError: ``points`` is below 2.
        ActivationError: a network has no module whose output can be compared (a single bare layer).

    Example:
        >>> import torch
        >>> _ = torch.manual_seed(0)
        >>> a, b = (nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)) for _ in range(2))
        >>> found = compare(a, b, [(torch.randn(8, 4), torch.arange(8) % 3)], device="cpu", points=3)
        >>> found.mistakes.examples, len(found.path.alphas)
        (8, 3)
    """
    if points < 2:
        raise MeasureError("points does not fit a path", expected="at least 2: its ends", got=str(points))
    check_deterministic(data)
    where = resolve_device(device)
    missing: dict[str, str] = {}
    outputs_a, labels = logits(a, data, where, memory_format=memory_format)
    outputs_b, _ = logits(b, data, where, memory_format=memory_format)
    task: Literal["single", "multi"] = "single" if labels.ndim == 1 else "multi"
    judged_a, judged_b = (predictions(outputs, task).reshape(-1).numpy() for outputs in (outputs_a, outputs_b))
    similarity = cka(a, b, data, granularity=granularity, device=where, memory_format=memory_format)
    first, second = dict(a.named_parameters()), dict(b.named_parameters())
    whole, by_module, path = None, {}, None
    if {name: p.shape for name, p in first.items()} != {name: p.shape for name, p in second.items()}:
        missing["distance and path"] = "the networks' parameters differ in name or shape"
    else:
        whole = parameter_distance(first, second)
        by_module = {
            part: parameter_distance({n: first[n] for n in names}, {n: second[n] for n in names})
            for part, names in parts_parameters(a, granularity).items()
        }
        if has_batch_norm(a) and train is None:
            missing["path"] = (
                "the networks have batch norm, and no training batches were given (train=...) to recompute its "
                "statistics on; without that every barrier is an artefact"
            )
        else:
            path = linear_path(
                a,
                b,
                {"held-out": data},
                recompute_on=train,
                alphas=alpha_grid(points, 0.0, 0),
                metric_name=metric_name,
                device=where,
                memory_format=memory_format,
            )
    return Comparison(
        examples=len(labels),
        metric_name=metric_name,
        metrics=(metric(outputs_a, labels, metric_name), metric(outputs_b, labels, metric_name)),
        mistakes=compare_mistakes(judged_a, judged_b, labels.reshape(-1).numpy()),
        similarity=similarity,
        distance=whole,
        distance_by_module=by_module,
        path=path,
        error_barrier=_barrier(path, "error", clusters, missing),
        loss_barrier=_barrier(path, "loss", clusters, missing),
        not_measured=missing,
    )


def _barrier(
    path: LinearPath | None,
    quantity: Literal["loss", "error"],
    clusters: npt.ArrayLike | None,
    missing: dict[str, str],
) -> Barrier | None:
    if path is None:
        return None
    if not np.isfinite(path.values("held-out", quantity)).all():
        missing[f"{quantity} barrier"] = f"the {quantity} of a network between them is not finite"
        return None
    return path.barrier("held-out", quantity, clusters)


def _page(found: Comparison) -> str:
    a, b = (("undefined" if value is None else f"{value:.4f}") for value in found.metrics)
    mistakes = found.mistakes
    lines = [
        f"{found.examples} examples; {found.metric_name}: a {a}, b {b}",
        "",
        f"mistakes    common {mistakes.common}, only a {mistakes.only_a}, only b {mistakes.only_b}",
        f"            consistency κ {_number(mistakes.kappa)}, 0 is chance, {_number(mistakes.kappa_max)} the most",
    ]
    if found.distance is not None:
        lines.append(f"distance    ‖a − b‖ = {found.distance.l2:.4g} over {found.distance.parameters:,} parameters")
    for quantity, barrier in (("error", found.error_barrier), ("loss", found.loss_barrier)):
        if barrier is not None and found.path is not None:
            interval = barrier.mean.interval
            limits = f", 95 % limits {interval.low:.4f} to {interval.high:.4f}" if interval.low is not None else ""
            lines.append(
                f"path        {quantity} barrier {barrier.mean.value:.4f} above the mean of the ends{limits} "
                f"(batch norm: {found.path.batch_norm})"
            )
    if found.error_barrier is not None:
        words = {
            "stable": "linearly connected (error barrier below 2 points): their average works about as well",
            "unstable": "a barrier of 2 points or more lies between them: do not average them",
            "undecided": "undecided whether a barrier of 2 points lies between them: more examples would tell",
        }
        lines.append(f"            {words[stability(found.error_barrier.mean.interval)]}")
    lines += [f"left out    {name}: {reason}" for name, reason in found.not_measured.items()]
    lines += ["", f"{'module':<40} {'CKA a/b':>8} {'distance':>10}"]
    between = found.similarity.between(*found.similarity.networks)
    names_a, names_b = (found.similarity.modules[name] for name in found.similarity.networks)
    for index, name in enumerate(names_a):
        if name not in names_b:
            continue
        value = between[index, names_b.index(name)]
        shown = "–" if value is np.ma.masked else f"{float(value):.3f}"
        distance = found.distance_by_module.get(name)
        lines.append(f"{name:<40} {shown:>8} {'–' if distance is None else f'{distance.l2:.4g}':>10}")
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"
