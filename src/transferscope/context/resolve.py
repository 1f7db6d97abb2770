"""Look up the facts a study rests on: images, weights, memory format."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np

from transferscope.context.resolved_study import ResolvedCandidate, ResolvedStudy, recipe_of
from transferscope.context.threads import limited
from transferscope.data.images import ImageSet
from transferscope.data.sources import DataSource
from transferscope.data.spec import DataSpec, SplitSettings
from transferscope.data.splits import make_splits, training_part
from transferscope.data.store import open_images
from transferscope.errors import StudyError
from transferscope.frozen import content_key
from transferscope.networks.architectures import build, check_image_size, input_stats
from transferscope.networks.evaluate import resolve_device
from transferscope.networks.probe_speed import probe
from transferscope.networks.weights import weights_hash
from transferscope.specs.architecture import Architecture
from transferscope.specs.network import Checkpoint, File, NetworkSpec, Random
from transferscope.store import Store
from transferscope.study.analysis_settings import answered
from transferscope.study.candidate import Candidate
from transferscope.study.other_source import OtherSource
from transferscope.study.settings import Source, Study

_PROBED = 1024  # images of a step, at most: a larger one is no faster for each, and may not fit the memory


def resolve(study: Study, store: Store) -> ResolvedStudy:
    """The study with its images decoded and hashed, its weights hashed and its memory format probed."""
    # The network comes first: a misspelt name should not wait for the decoding of a large folder.
    build(study.source.architecture, 2, 0)
    start: File | Checkpoint | None = _weights(study.source, study)
    stats = input_stats(study.source.architecture, study.source.weights)
    target = study.target
    data, images = _data(target.data, target.image_size, target.splits, stats, study, store, target.fraction)
    metric = _metric(study, images)
    memory_format = _memory_format(study, store)
    if start is None:
        start = _pretraining(study.source, study, store, stats, memory_format)
    asked = dict.fromkeys(pair for analysis in study.analyses for pair in answered(analysis, "data_sources", study))
    references = tuple(_data(source, target.image_size, splits, stats, study, store)[0] for source, splits in asked)
    train = training_part(images, make_splits(images, target.splits)["train"], data)
    return ResolvedStudy(
        settings=study,
        data=data,
        class_names=tuple(images.classes),
        multi_label=images.multi_label,
        metric=metric,
        pretrained=start,
        memory_format=memory_format,
        references=references,
        class_counts=_counts(images, train),
        training_images=len(train),
        others=_others(study, store, stats, memory_format),
        candidates=tuple(_candidates(study, store)),
    )


def speed(
    study: Study, store: Store, architecture: Architecture | None = None, image_size: int | None = None
) -> Mapping[str, Any]:
    """Measured images per second of a training step, by memory format; measured once per store.

    Args:
        study: gives batch size and device.
        store: keeps what was measured.
        architecture: the source's where None.
        image_size: the target's where None.

    The choice changes floating-point results, so it is part of the recipe; keeping it in the store keeps a study's keys
    the same from run to run.
    """
    recipe = study.training.recipe
    device = resolve_device(study.compute.device)
    architecture = architecture or study.source.architecture
    image_size = image_size or study.target.image_size
    key = content_key(
        {
            "probe": 1,
            "architecture": architecture.identity(),
            "image_size": image_size,
            "batch_size": recipe.batch_size,
            "device": str(device),
            "threads": study.compute.threads,
        }
    )
    entry = store.entry("probes", key)
    if not entry.exists():
        with store.lock(f"probes-{key}"):
            if not entry.exists():
                with limited(study.compute.threads):
                    found = probe(
                        lambda: build(architecture, 2, 0),
                        image_size,
                        min(recipe.batch_size, _PROBED),
                        device,
                    )
                rates = {str(name): float(rate) for name, rate in found.images_per_second.items()}
                with entry.write({"memory_format": found.memory_format, "images_per_second": rates}):
                    pass
    return entry.manifest()


def _memory_format(
    study: Study, store: Store, architecture: Architecture | None = None, image_size: int | None = None
) -> Literal["contiguous", "channels_last"]:
    asked = study.training.recipe.memory_format
    if asked != "auto":
        return asked
    found: Literal["contiguous", "channels_last"] = speed(study, store, architecture, image_size)["memory_format"]
    return found


def _others(
    study: Study, store: Store, stats: tuple[Any, Any], memory_format: Literal["contiguous", "channels_last"]
) -> tuple[tuple[OtherSource, File | Checkpoint], ...]:
    """Pre-trained networks beside the source's; those trained here see as many images as it did, if there are."""
    found: list[tuple[OtherSource, File | Checkpoint]] = []
    for analysis in study.analyses:
        for other in answered(analysis, "other_sources", study):
            if isinstance(other, Candidate):
                continue
            # Settings with options have no hash: two analyses may name the same.
            if other not in [known for known, _ in found]:
                start: File | Checkpoint | None = _weights(other, study)
                if start is None:
                    most = _source_images(study, stats, store)
                    start = _pretraining(other, study, store, stats, memory_format, most)
                found.append((other, start))
    return tuple(found)


def _candidates(study: Study, store: Store) -> Iterator[tuple[Candidate, ResolvedCandidate]]:
    """Networks that may be taken in the source's place: each with its own images and memory format."""
    target, known = study.target, []
    for other in (other for analysis in study.analyses for other in answered(analysis, "other_sources", study)):
        if not isinstance(other, Candidate) or other in known:
            continue
        known.append(other)
        size = other.image_size or target.image_size
        check_image_size(other.architecture, size)
        stats = input_stats(other.architecture, other.weights)
        memory_format = _memory_format(study, store, other.architecture, size)
        start: File | Checkpoint | None = _weights(other, study)
        if start is None:
            start = _pretraining(other, study, store, stats, memory_format)
        data, _ = _data(target.data, size, target.splits, stats, study, store, target.fraction)
        yield other, ResolvedCandidate(other.architecture, start, data, memory_format)


def _source_images(study: Study, stats: tuple[Any, Any], store: Store) -> int | None:
    """How many images the source was trained on; None where its weights are given."""
    asked = study.source.pretrain
    if asked is None:
        return None
    _, images = _data(asked.data, asked.image_size, asked.splits, stats, study, store)
    return len(make_splits(images, asked.splits)["train"])


def _architecture(source: Source | OtherSource | Candidate, study: Study) -> Architecture:
    return study.source.architecture if isinstance(source, OtherSource) else source.architecture


def _weights(source: Source | OtherSource | Candidate, study: Study) -> File | None:
    weights = source.weights
    if weights is None:
        return None
    return File(weights=weights, sha256=weights_hash(weights, _architecture(source, study)))


def _pretraining(
    source: Source | OtherSource | Candidate,
    study: Study,
    store: Store,
    stats: tuple[Any, Any],
    memory_format: Literal["contiguous", "channels_last"],
    most: int | None = None,
) -> Checkpoint:
    """A run of our own, on ``most`` of its training images where it has more."""
    asked = source.pretrain
    assert asked is not None
    data, images = _data(asked.data, asked.image_size, asked.splits, stats, study, store)
    if most is not None and (count := len(make_splits(images, asked.splits)["train"])) > most:
        data = data.model_copy(update={"fraction": most / count})
    data = data.model_copy(update={"labels": asked.labels})
    metric = "auc" if images.multi_label else "top1"
    recipe = recipe_of(asked.recipe, asked.learning_rate, memory_format, metric)
    # Start, end and best epoch are there in any case: a recipe, and with it the key, changes only where it must.
    if isinstance(asked.checkpoint, int) and 0 < asked.checkpoint < recipe.epochs and recipe.keep != "all":
        kept = () if recipe.keep == "none" else recipe.keep
        recipe = type(recipe)(**{**recipe.model_dump(), "keep": tuple(sorted({*kept, asked.checkpoint}))})
    network = NetworkSpec(
        architecture=_architecture(source, study),
        classes=len(images.classes),
        start=Random(),
        seed=asked.seed,
        data=data,
        recipe=recipe,
    )
    return Checkpoint(of=network, epoch=asked.checkpoint)


def _data(
    source: DataSource,
    image_size: int,
    splits: SplitSettings,
    stats: tuple[Any, Any],
    study: Study,
    store: Store,
    fraction: float = 1.0,
) -> tuple[DataSpec, ImageSet]:
    images = open_images(
        source, image_size, store.root / "images", on_unreadable=study.target.on_unreadable, decoding=study.target
    )
    mean, std = stats
    return (
        DataSpec(
            source=source,
            fingerprint=images.fingerprint,
            image_size=image_size,
            mean=mean,
            std=std,
            splits=splits,
            fraction=fraction,
        ),
        images,
    )


def _counts(images: ImageSet, indices: np.ndarray) -> tuple[int, ...]:
    """How many of these examples each class has, or each label."""
    labels = np.asarray(images.labels)[indices]
    counts = labels.sum(axis=0) if images.multi_label else np.bincount(labels, minlength=len(images.classes))
    return tuple(int(count) for count in counts)


def _metric(study: Study, images: ImageSet) -> str:
    asked = study.target.metric
    classes = len(images.classes)
    if asked == "auto":
        return "auc" if images.multi_label else "top1"
    if asked == "auc" and not images.multi_label and classes != 2:
        raise StudyError(
            "target.metric 'auc' does not fit this data",
            expected="several labels per image, or two classes",
            got=f"one label out of {classes} classes",
            hint="set target.metric to top1",
        )
    if asked == "top5" and (images.multi_label or classes < 6):
        raise StudyError(
            "target.metric 'top5' does not fit this data",
            expected="one label per image out of at least 6 classes",
            got=f"{classes} {'labels' if images.multi_label else 'classes'}",
            hint="set target.metric to top1",
        )
    if asked == "top1" and images.multi_label:
        raise StudyError(
            "target.metric 'top1' does not fit this data",
            expected="one label per image",
            got=f"{classes} labels that may hold at once",
            hint="set target.metric to auc",
        )
    return asked
