"""Whether weights that timm names lie on this disk, and how it wants images prepared; nothing is fetched."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from transferscope.networks.architectures import IMAGENET_MEAN, IMAGENET_STD, input_stats, split_name, timm_name
from transferscope.networks.packages import PACKAGES
from transferscope.specs.architecture import Architecture, PackageWeights, TimmWeights, Weights

__all__ = ["DeclaredInput", "declared_input", "has_timm_weights", "timm_file"]

_FILES: Final = ("model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True)
class DeclaredInput:
    """What a network's images are to be like.

    Attributes:
        size: height and width in pixels; None where nobody says.
        mean: per channel, of values in [0, 1].
        std: per channel.
        crop: share of the side of the picture that is cut out; None where nobody says.
        interpolation: its name; None where nobody says.
    """

    size: int | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop: float | None
    interpolation: str | None


def declared_input(architecture: Architecture, weights: Weights | None) -> DeclaredInput:
    """How timm, or a package of weights, declares the images of a network.

    Raises:
        ArchitectureError: timm has no such architecture.

    >>> declared_input(Architecture(name="timm:resnet18"), None).size
    224
    """
    mean, std = input_stats(architecture, weights)
    family, name = split_name(architecture)
    if isinstance(weights, PackageWeights):
        name = PACKAGES[weights.name].architecture
    elif family != "timm":
        return DeclaredInput(None, IMAGENET_MEAN, IMAGENET_STD, None, None)
    import timm

    declared = timm.models.get_pretrained_cfg(name)
    if declared is None:
        return DeclaredInput(None, mean, std, None, None)
    return DeclaredInput(
        int(declared.input_size[-1]), mean, std, float(declared.crop_pct), str(declared.interpolation or "") or None
    )


def timm_file(architecture: Architecture) -> Path | None:
    """The file of the weights that timm names for an architecture, where it was fetched before; else None.

    Looked up where the hub's client and torch keep what they fetched. No connection is made.

    Raises:
        ArchitectureError: timm has no such architecture.
    """
    if timm_name(architecture) is None:
        return None
    import timm

    input_stats(architecture, TimmWeights())  # an error where the name is unknown
    declared = timm.models.get_pretrained_cfg(split_name(architecture)[1])
    if declared is None:
        return None
    if declared.hf_hub_id:
        from huggingface_hub import try_to_load_from_cache

        repository, _, revision = str(declared.hf_hub_id).partition("@")
        for file in (declared.hf_hub_filename, *_FILES):
            found = try_to_load_from_cache(repository, file, revision=revision or None) if file else None
            if isinstance(found, str) and Path(found).is_file():
                return Path(found)
    if declared.url:
        import torch

        fetched = Path(torch.hub.get_dir()) / "checkpoints" / Path(str(declared.url)).name
        if fetched.is_file():
            return fetched
    return None


def has_timm_weights(architecture: Architecture) -> bool:
    """Whether timm names weights for an architecture and tag, here or at its hub."""
    import timm

    return timm_name(architecture) is not None and bool(timm.models.is_model_pretrained(split_name(architecture)[1]))
