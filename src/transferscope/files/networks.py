"""Networks stored in files, with what the files say of them."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from transferscope.data.images import ImageSet
from transferscope.data.sources import AbstractSource
from transferscope.errors import ArchitectureError, DataError, WeightsError
from transferscope.networks.architectures import build, input_size
from transferscope.networks.heads import head_name
from transferscope.networks.known_layouts import CANDIDATES, fitting_architectures
from transferscope.networks.weight_files import read_file, read_metadata
from transferscope.networks.weights import load, take
from transferscope.specs.architecture import Architecture, FileWeights, Weights

_PREPARED = ("image_size", "mean", "std", "splits")


@dataclass(frozen=True)
class FileSettings:
    """Images for networks given as files, and what the files do not say of themselves.

    Attributes:
        model: ``timm:NAME`` and so on; None reads it from the files' metadata.
    """

    data: Path | AbstractSource
    model: str | None = None
    image_size: int | None = None
    device: str = "auto"


def facts_of(a: Path, b: Path, image_size: int | None) -> dict[str, str]:
    """What two files say of their networks; the first has the last word."""
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


def architecture_of(a: Path, b: Path, model: str | None, facts: dict[str, str]) -> Architecture:
    """The architecture two files were saved from."""
    if model is not None:
        return Architecture(name=model)
    if "architecture" in facts:
        try:
            named = Architecture(**json.loads(facts["architecture"]))
        except (ValueError, TypeError, RecursionError) as error:
            raise WeightsError(
                f"the metadata of {a} names no usable architecture",
                got=facts["architecture"][:200],
                hint="give --model",
            ) from error
        if named.code is not None:
            raise WeightsError(
                f"the metadata of {a} or {b} names a function, and a file of weights never decides which code runs",
                expected="timm:NAME or torchvision:NAME",
                got=named.name[:200],
                hint="if you trust that function, name it yourself: --model package.module:function",
            )
        return named
    fits = fitting_architectures(read_file(a))
    raise ArchitectureError(
        f"the architecture of {a} and {b} is not given, and their metadata do not name it",
        expected="--model timm:NAME",
        got="these fit by names and shapes: " + ", ".join(fits)
        if fits
        else f"no registered architecture fits (of {len(CANDIDATES)} common ones)",
        hint=f"--model {fits[0]}"
        if fits
        else "--model and the name that the weights were saved from (`transferscope list architectures` has all); "
        "--model package.module:function builds a network of your own",
    )


def network_of(weights: FileWeights, architecture: Architecture) -> tuple[nn.Module, tuple[str, ...]]:
    """The network stored in a file, with its own head."""
    path = Path(weights.path)
    taken = take(weights, architecture)
    head = head_name(build(architecture, 2, 0), architecture)
    counts = {tensor.shape[0] for name, tensor in taken.state.items() if name.startswith(f"{head}.") and tensor.ndim}
    if len(counts) != 1:
        other = ", ".join(taken.other_head[:5])
        raise WeightsError(
            f"only the head of {path} does not fit {architecture.name}",
            expected=f"tensors named {head}.*, as many rows as classes",
            got=f"everything before it, and in its place: {other or 'nothing'}",
            hint="give a file with the head, or --model package.module:function that builds the network with the "
            "file's own head",
        )
    model = build(architecture, counts.pop(), 0)
    try:
        report = load(model, taken.state, head, new_head=False)
    except WeightsError as error:
        # Of two files a reader must know which.
        raise WeightsError(f"{path}: {error.what}", expected=error.expected, got=error.got, hint=error.hint) from error
    return model.eval(), tuple(f"{path}: {remark}" for remark in (*taken.remarks, *report.remarks))


@dataclass(frozen=True)
class StartNetwork:
    """A pre-trained network under a head for the classes of a fine-tuned one.

    Attributes:
        head: name of the classifying module.
        own_head: whether that is the pre-trained one; else it is new.
    """

    network: nn.Module
    head: str
    own_head: bool
    remarks: tuple[str, ...]


def start_of(weights: Weights, architecture: Architecture, classes: int) -> StartNetwork:
    """The network that a fine-tuned one came from; a head for other classes is left out."""
    network = build(architecture, classes, 0)
    head = head_name(network, architecture)
    taken = take(weights, architecture)
    headless = not any(name.startswith(f"{head}.") for name in taken.state)
    report = load(network, taken.state, head, new_head=headless)
    own_head = any(name.startswith(f"{head}.") for name in report.loaded)
    remarks = tuple(f"pre-trained weights: {remark}" for remark in (*taken.remarks, *report.remarks))
    return StartNetwork(network.eval(), head, own_head, remarks)


@torch.no_grad()
def check_size(model: nn.Module, architecture: Architecture, size: int) -> None:
    """Refuse an image size that the network does not take, before images are decoded."""
    try:
        model(torch.zeros(1, 3, size, size))
    except Exception as error:  # timm asserts, layers complain of shapes: what networks raise here has no one type
        declared = input_size(architecture)
        raise ArchitectureError(
            f"{architecture.name} cannot read images of {size} × {size} pixels",
            expected="a size the network was built for",
            got=f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}",
            hint="--image-size" + ("" if declared in (None, size) else f" {declared}"),
        ) from error


def classes_of(model: nn.Module, architecture: Architecture) -> int:
    """How many classes a network tells apart."""
    head = model.get_submodule(head_name(model, architecture))
    return next(p.shape[0] for p in head.parameters())


def check_classes(images: ImageSet, classes: int, more: str = "") -> None:
    """Raise where images have another number of classes than a network."""
    if classes != len(images.classes):
        raise DataError(
            "the images do not have the network's classes",
            expected=f"{classes} classes{more}",
            got=f"{len(images.classes)}: {', '.join(images.classes[:8])}",
            hint="give the images the networks were trained on",
        )
