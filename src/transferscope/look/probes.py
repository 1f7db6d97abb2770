"""Frozen features read by a linear probe and by neighbours, each image by what was fitted without it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from transferscope.bounds import DIFFERENCE, SHARE
from transferscope.data.batches import EvaluationBatches
from transferscope.data.images import ImageSet
from transferscope.data.splits import nested_subset
from transferscope.data.stratified_shuffle import stratified_shuffle
from transferscope.frozen import derive_seed
from transferscope.measures.example_intervals import auc_difference_interval, mean_difference_interval
from transferscope.measures.interval import Interval, within
from transferscope.measures.logistic import scaling
from transferscope.measures.neighbours import votes
from transferscope.measures.ridge import choose_penalty, ridge_path
from transferscope.networks.features import FEATURES, pooled_features

__all__ = [
    "Examples",
    "Reading",
    "examples_of",
    "learning_curve",
    "network_features",
    "network_tables",
    "pixel_features",
    "read_features",
]

PENALTIES: Final = tuple(10.0**power for power in range(-3, 3))
FOLDS: Final = 5
NEIGHBOURS: Final = 10
_SIZES: Final = (10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)
_APART: Final = 3
"""All labels are so many times those of the last point but one, at least: large fits take most time."""
_PIXELS: Final = 16
_BATCH: Final = 64
_SIDE: Final = 96
_ROWS: Final = 1024


@dataclass(frozen=True, eq=False)
class Examples:
    """The images that probes rest on.

    Attributes:
        images: all that were read.
        chosen: numbers of those that are probed.
        labels: int64 ``examples``, or uint8 ``examples labels``.
        targets: float64 ``examples classes`` of 0 and 1.
        folds: int64 ``examples``; copies and groups of the data lie in one.
        clusters: ``examples``, what is resampled together; None where every image stands alone.
        metric: ``top1`` or ``auc``.
        unprobed: why no probe can be fitted; empty where one can.
    """

    images: ImageSet
    chosen: np.ndarray
    labels: np.ndarray
    targets: Tensor
    folds: Tensor
    clusters: np.ndarray | None
    metric: str
    unprobed: str = ""

    def part(self, limit: int) -> np.ndarray:
        """Places of about ``limit`` of the examples, of all classes, in order."""
        places = np.arange(len(self.chosen))
        return places if limit >= len(places) else nested_subset(self.labels, places, limit / len(places), 0)

    def at(self, places: np.ndarray) -> "Examples":
        """Some of the examples, in the folds they have."""
        return replace(
            self,
            chosen=self.chosen[places],
            labels=self.labels[places],
            targets=self.targets[places],
            folds=self.folds[places],
            clusters=None if self.clusters is None else self.clusters[places],
        )

    def interval(self, scores: Tensor, others: Tensor | None = None) -> Interval:
        """The metric of held-out scores with its interval over examples; or its difference from that of others."""
        if self.metric == "auc":
            level = np.zeros((len(scores), self.targets.shape[1])) if others is None else others.numpy()
            found = auc_difference_interval(scores.numpy(), level, self.labels, self.clusters)
            return within(found, DIFFERENCE) if others is not None else within(_raised(found, 0.5), SHARE)
        right = self.correct(scores).astype(float)
        against = np.zeros(len(right)) if others is None else self.correct(others).astype(float)
        found = mean_difference_interval(right, against, self.clusters)
        return within(found, SHARE if others is None else DIFFERENCE)

    def correct(self, scores: Tensor) -> np.ndarray:
        """Of one label each: whether the highest score is the label's."""
        return np.asarray(scores.argmax(1).numpy() == self.labels)


def _raised(found: Interval, by: float) -> Interval:
    if found.value is None:
        return found
    low, high = (None if end is None else end + by for end in (found.low, found.high))
    return replace(found, value=found.value + by, low=low, high=high)


def examples_of(images: ImageSet, together: np.ndarray, limit: int, inside: np.ndarray | None = None) -> Examples:
    """Choose what is probed and deal it into folds.

    Test images that the data name are left out: no choice of a model may rest on them.

    Args:
        images: all that were read.
        together: number of the set of copies of each.
        limit: about so many at most.
        inside: numbers of the images to choose from; None for all but those test images.
    """
    if inside is None:
        given = images.given_splits or (None,) * len(images)
        inside = np.flatnonzero([split != "test" for split in given])
    chosen = np.sort(stratified_shuffle(images.labels, inside, 0, limit))
    labels = images.labels[chosen]
    units = _units(images, together)[chosen]
    classes = len(images.classes)
    targets = torch.from_numpy(labels.astype(np.float64) if images.multi_label else np.eye(classes)[labels])
    folds = _dealt(labels, units, FOLDS)
    alone = len(np.unique(units)) == len(units)
    found = Examples(
        images,
        chosen,
        labels,
        targets,
        torch.from_numpy(folds),
        None if alone else units,
        "auc" if images.multi_label else "top1",
    )
    in_folds = [len(np.unique(folds[targets[:, number].numpy() > 0])) for number in range(classes)]
    readable = sum(count >= 2 for count in in_folds)
    if readable >= 2 or (images.multi_label and readable):
        return found
    held = f"{readable} of {classes} classes have two images that are no copies of each other"
    return replace(found, unprobed=f"a probe needs two different images of two classes at least, and {held}")


def _units(images: ImageSet, together: np.ndarray) -> np.ndarray:
    """What must not be torn apart: groups of the data and copies, joined."""
    if images.groups is None:
        return together
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    groups = np.unique(np.asarray(images.groups), return_inverse=True)[1].reshape(-1)
    count = int(together.max()) + 1
    size = count + int(groups.max()) + 1
    graph = coo_array((np.ones(len(groups), dtype=bool), (together, count + groups)), shape=(size, size))
    return np.asarray(connected_components(graph, directed=False)[1][together], dtype=np.int64)


def _dealt(labels: np.ndarray, units: np.ndarray, folds: int) -> np.ndarray:
    """A fold per example: units in a random order, those of one class dealt in turn."""
    _, first, member = np.unique(units, return_index=True, return_inverse=True)
    generator = np.random.Generator(np.random.PCG64(derive_seed(0, "folds")))
    order = np.argsort(generator.random(len(first)), kind="stable")
    rows = labels[first[order]]
    kind = rows if rows.ndim == 1 else np.unique(rows, axis=0, return_inverse=True)[1].reshape(-1)
    dealt = np.empty(len(first), dtype=np.int64)
    dealt[order[np.argsort(kind, kind="stable")]] = np.arange(len(first)) % folds
    return np.asarray(dealt[member.reshape(-1)])


@dataclass(frozen=True, eq=False)
class Reading:
    """What can be read off a table of features.

    Attributes:
        features: standardised, float64 ``examples features``.
        linear: held-out scores of the linear probe, ``examples classes``.
        neighbours: held-out votes of the nearest neighbours, ``examples classes``.
    """

    features: Tensor
    linear: Tensor
    neighbours: Tensor


def read_features(table: Tensor, examples: Examples) -> Reading:
    """Fit the probes to a table of features, each fold predicted by the others.

    Features are standardised by all probed images: no label takes part in that.
    """
    features = scaling(table).apply(table)
    path = ridge_path(features, examples.targets, examples.folds, PENALTIES).held_out
    linear = choose_penalty(path, examples.targets, examples.folds)
    return Reading(features, linear, _votes(features, examples))


def _votes(features: Tensor, examples: Examples) -> Tensor:
    """Labels of the nearest neighbours of other folds by the cosine, weighted by it."""
    points = functional.normalize(features.float(), dim=1)
    found = []
    for start in range(0, len(points), _ROWS):
        rows = slice(start, start + _ROWS)
        near = points[rows] @ points.T
        near[examples.folds[rows, None] == examples.folds[None]] = -torch.inf
        found.append(votes(near, examples.targets, NEIGHBOURS))
    return torch.cat(found)


def learning_curve(reading: Reading, examples: Examples) -> list[tuple[int, Interval]]:
    """The metric of probes fitted to fewer labels: each fold by a stratified part of the others.

    Returns:
        Labels and metric, rising; the last are all labels outside of a fold.
    """
    count, classes = examples.targets.shape
    whole = round(count * (1 - 1 / FOLDS))
    found = []
    for size in (size for size in _SIZES if 2 * classes <= size <= whole / _APART):
        scores = torch.empty_like(reading.linear)
        used = []
        for fold in sorted(set(examples.folds.tolist())):
            inside = np.flatnonzero((examples.folds != fold).numpy())
            part = nested_subset(examples.labels, inside, size / len(inside), fold)
            tested = torch.nonzero(examples.folds == fold).flatten()
            aims = examples.targets[part]
            path = ridge_path(
                reading.features[part], aims, torch.arange(len(part)), PENALTIES, reading.features[tested]
            )
            best = int((path.held_out - aims).square().sum((1, 2)).argmin())
            scores[tested] = path.others[best]
            used.append(len(part))
        found.append((round(float(np.mean(used))), examples.interval(scores)))
    return [*found, (whole, examples.interval(reading.linear))]


def pixel_features(images: ImageSet, chosen: np.ndarray) -> Tensor:
    """Pixels as features: means over a grid of 16 × 16, in three colours."""
    parts = []
    for start in range(0, len(chosen), _ROWS):
        pixels = torch.from_numpy(images.pixels(chosen[start : start + _ROWS])).permute(0, 3, 1, 2).float()
        parts.append(functional.adaptive_avg_pool2d(pixels, min(_PIXELS, images.image_size)).flatten(1))
    return torch.cat(parts)


@dataclass(frozen=True)
class Input:
    """How images go into a network.

    Attributes:
        mean: per channel, of values in [0, 1].
        std: per channel.
        size: they are enlarged to, where the network reads no other; None as they are.
        cut: side of the square cut out of their centre; None takes all.
    """

    mean: Sequence[float]
    std: Sequence[float]
    size: int | None = None
    cut: int | None = None


def network_features(
    network: tuple[nn.Module, str],
    images: ImageSet,
    chosen: np.ndarray,
    given: Input,
    device: torch.device,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """What enters the head of a network, float32 ``examples features``: see :func:`network_tables`."""
    return network_tables(network, images, chosen, given, device, progress)[FEATURES]


def network_tables(
    network: tuple[nn.Module, str],
    images: ImageSet,
    chosen: np.ndarray,
    given: Input,
    device: torch.device,
    progress: Callable[[int, int], None] | None = None,
    *,
    outputs: bool = False,
) -> Mapping[str, Tensor]:
    """What enters the head of a network, and what the network gives, for some images: one pass.

    Args:
        network: and the name of its head.
        images: decoded.
        chosen: numbers of the images.
        given: how they go in.
        device: where to compute.
        progress: called as ``progress(done, total)`` after each batch; None tells nobody.
        outputs: keep what the network gives.

    Returns:
        ``FEATURES`` and, where asked for, ``OUTPUT``: float32 ``examples features``.
    """
    model, head = network

    def batches() -> Any:
        # As many pixels in a batch, whatever their size: activations are what takes memory.
        side = given.size or given.cut or images.image_size
        batch = max(4, min(_BATCH, _BATCH * _SIDE**2 // side**2))
        made = EvaluationBatches(images, chosen, given.mean, given.std, batch, device, "channels_last")
        for number, (x, _) in enumerate(made):
            x = x if given.cut is None else central(x, given.cut)
            yield x if given.size is None else enlarged(x, given.size)
            if progress is not None:
                progress(min((number + 1) * batch, len(chosen)), len(chosen))

    found = pooled_features(
        model, batches(), head, granularity=None, outputs=outputs, device=device, memory_format="channels_last"
    )
    return found.tables


def central(x: Tensor, side: int) -> Tensor:
    """The central square of images, ``examples channels side side``."""
    start = (x.shape[-1] - side) // 2
    return x[..., start : start + side, start : start + side]


def enlarged(x: Tensor, size: int) -> Tensor:
    """Images at another size, bicubic."""
    return functional.interpolate(x, (size, size), mode="bicubic", antialias=True)
