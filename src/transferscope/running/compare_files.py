"""Compare two files of weights on a folder of images: what ``transferscope compare`` does."""

import json
import tempfile
from pathlib import Path

import numpy as np
from torch import nn

from transferscope.analyses.compare import Comparison, compare
from transferscope.data.batches import evaluation_batches
from transferscope.data.mixing import mixed
from transferscope.data.sources import AbstractSource, parse_source
from transferscope.data.spec import SplitSettings
from transferscope.data.splits import make_splits
from transferscope.data.store import open_images
from transferscope.errors import ArchitectureError, DataError, WeightsError
from transferscope.networks.architectures import build, head_name, input_stats
from transferscope.networks.evaluate import resolve_device
from transferscope.networks.settings import Architecture, FileWeights
from transferscope.networks.weights import fitting_architectures, load, read_file, read_metadata

__all__ = ["compare_files"]

_DEFAULT_SIZE = 224
_STATISTICS_IMAGES = 1024
_BATCH = 128
_PREPARED = ("image_size", "mean", "std", "splits")


def compare_files(
    a: Path,
    b: Path,
    *,
    model: str | None = None,
    data: Path | AbstractSource,
    image_size: int | None = None,
    device: str = "auto",
    points: int = 13,
    refine: float | None = 0.021,
) -> Comparison:
    """Compare two networks stored in files, on the test images of a folder.

    The images' classes are those of the first network; a second one with a head of another size is compared in its
    trunk alone.

    Images are divided as in a study: batch-norm statistics are recomputed on training images, everything else is
    measured on test images. The division is that of the study the networks were trained by, where their metadata name
    it, else a study's default.

    Args:
        a: a ``.safetensors``, ``.pt``, ``.pth`` or ``.ckpt`` file.
        b: another of the same architecture.
        model: ``timm:NAME`` and so on; None reads it from the files' metadata.
        data: folder with one folder of images per class, or any data source.
        image_size: height and width in pixels; None takes the metadata's, else 224.
        device: where to compute.
        points: of the path, from α = 0 to 1.
        refine: tolerance in α to which its maxima are then located; None for ``points`` alone.

    Raises:
        ArchitectureError: the architecture is not given and not in the metadata (those that fit are listed).
        WeightsError: a file cannot be read, or does not fit, or the two were trained on images prepared differently.
        DataError: the images cannot be used, or have another number of classes than the first network.
    """
    facts = _facts(a, b, image_size)
    architecture = _architecture(a, b, model, facts)
    networks = [_network(path, architecture) for path in (a, b)]
    size = image_size or int(facts.get("image_size", _DEFAULT_SIZE))
    if "mean" in facts and "std" in facts:
        mean, std = json.loads(facts["mean"]), json.loads(facts["std"])
    else:
        mean, std = input_stats(architecture, FileWeights(path=str(a)))
    source = data if isinstance(data, AbstractSource) else parse_source({"kind": "folder", "path": str(data)})
    where = resolve_device(device)
    with tempfile.TemporaryDirectory(prefix="transferscope-") as folder:
        images = open_images(source, size, Path(folder))
        classes = [_classes(network, architecture) for network in networks]
        if classes[0] != len(images.classes):
            raise DataError(
                "the images do not have the first network's classes",
                expected=f"{classes[0]} classes (and {classes[1]} of the second network)",
                got=f"{len(images.classes)}: {', '.join(images.classes[:8])}",
                hint="give the images the networks were trained on",
            )
        division = SplitSettings(**json.loads(facts["splits"])) if "splits" in facts else SplitSettings()
        splits = make_splits(images, division)
        # A folder lists one class after the other: batches of one class give other statistics than those of training.
        shown = mixed(images.labels, splits["test"], division.seed)
        seen = mixed(images.labels, splits["train"], division.seed, _STATISTICS_IMAGES)
        held_out = evaluation_batches(images, shown, mean, std, _BATCH, where)
        train = evaluation_batches(images, seen[:-1] if len(seen) % _BATCH == 1 else seen, mean, std, _BATCH, where)
        return compare(
            networks[0],
            networks[1],
            held_out,
            train=train,
            metric_name="auc" if images.multi_label else "top1",
            clusters=None if images.groups is None else np.asarray(images.groups)[shown],
            head=head_name(networks[0], architecture),
            device=where,
            points=points,
            refine=refine,
        )


def _facts(a: Path, b: Path, image_size: int | None) -> dict[str, str]:
    """What the files say of the networks: both must have been trained on images prepared alike."""
    facts, others = read_metadata(a), read_metadata(b)
    for name in _PREPARED:
        if name == "image_size" and image_size is not None:
            continue
        if name in facts and name in others and facts[name] != others[name]:
            raise WeightsError(
                f"the two networks were trained on images prepared differently: {name} differs",
                expected=f"{name} {facts[name]}, as of {a}",
                got=f"{others[name]}, of {b}",
                hint="compare networks of one study",
            )
    return {**others, **facts}


def _architecture(a: Path, b: Path, model: str | None, facts: dict[str, str]) -> Architecture:
    if model is not None:
        return Architecture(name=model)
    if "architecture" in facts:
        try:
            return Architecture(**json.loads(facts["architecture"]))
        except (ValueError, TypeError) as error:
            raise WeightsError(
                f"the metadata of {a} names no usable architecture",
                got=facts["architecture"][:200],
                hint="give --model",
            ) from error
    fits = fitting_architectures(read_file(a))
    raise ArchitectureError(
        f"the architecture of {a} and {b} is not given, and their metadata do not name it",
        expected="--model timm:NAME",
        got="these fit by names and shapes: " + ", ".join(fits) if fits else "no registered architecture fits",
        hint=f"--model {fits[0]}" if fits else "--model package.module:function builds a network of your own",
    )


def _network(path: Path, architecture: Architecture) -> nn.Module:
    state = read_file(path)
    probe = build(architecture, 2, 0)
    head = head_name(probe, architecture)
    counts = {tensor.shape[0] for name, tensor in state.items() if name.startswith(f"{head}.") and tensor.ndim}
    if len(counts) != 1:
        raise WeightsError(
            f"{path} does not hold the head {head!r} of {architecture.name}",
            expected=f"tensors named {head}.*, as many rows as classes",
            got=f"{len(state)} tensors, for example {', '.join(list(state)[:3])}",
            hint="name the right architecture with --model",
        )
    model = build(architecture, counts.pop(), 0)
    load(model, state, head, new_head=False)
    return model.eval()


def _classes(model: nn.Module, architecture: Architecture) -> int:
    head = model.get_submodule(head_name(model, architecture))
    return next(p.shape[0] for p in head.parameters())
