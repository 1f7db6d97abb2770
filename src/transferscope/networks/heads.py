"""The classifying module of a network: found, checked and drawn again."""

import inspect

from torch import nn

from transferscope.errors import ArchitectureError, ModuleNameError, nearest
from transferscope.networks.initialisation import redraw
from transferscope.specs.architecture import Architecture

_TORCHVISION_HEADS = ("fc", "classifier", "heads", "head")


def check_outputs(model: nn.Module, head: str, architecture: Architecture, classes: int) -> None:
    """Check that the head gives one output per class."""
    outputs = [
        int(getattr(module, name))
        for module in model.get_submodule(head).modules()
        for name in ("out_features", "out_channels")
        if isinstance(getattr(module, name, None), int)
    ]
    if outputs and outputs[-1] != classes:
        raise ArchitectureError(
            f"the head {head!r} of {architecture.name!r} does not fit the data",
            expected=f"{classes} outputs",
            got=f"{outputs[-1]} outputs",
            hint="let the factory use its argument num_classes, or name the classifying module as `head`",
        )


def reset_head(model: nn.Module, head: str, seed: int) -> None:
    """Draw the head again, in place, from ``derive_seed(seed, "head")`` by its ``reset_parameters``.

    Equal seeds give equal heads whatever the trunk and wherever its weights come from: P-T[s] and RI-T[s] share theirs.
    Why not the architecture's own initialisation: see :func:`transferscope.networks.initialisation.redraw`.
    """
    _check_module(model, head)
    redraw(model, head, seed)


def _check_module(model: nn.Module, name: str) -> None:
    modules = [known for known, _ in model.named_modules() if known]
    if name not in modules:
        raise ModuleNameError(f"the network has no module named {name!r}", got=name, hint=nearest(name, modules))


def head_name(model: nn.Module, architecture: Architecture) -> str:
    """Name of the classifying module.

    ``architecture.head`` where set; else what timm declares (``pretrained_cfg["classifier"]``, then
    ``get_classifier()``); for torchvision the last linear or convolution under ``fc``, ``classifier``, ``heads`` or
    ``head``; else the last ``nn.Linear`` registered.
    """
    if architecture.head is not None:
        _check_module(model, architecture.head)
        return architecture.head
    found = _declared_by_timm(model, architecture)
    if found is None and architecture.name.startswith("torchvision:"):
        children = dict(model.named_children())
        for name in _TORCHVISION_HEADS:
            if name in children and found is None:
                found = _last(children[name], name, (nn.Linear, nn.Conv2d))
    if found is None:
        found = _last(model, "", (nn.Linear,))
    if found is None:
        raise ArchitectureError(
            f"no classifying module was found in {architecture.name!r}",
            expected="an nn.Linear, or a network of timm or torchvision",
            hint="name it: architecture: {name: ..., head: NAME}",
        )
    return found


def _declared_by_timm(model: nn.Module, architecture: Architecture) -> str | None:
    settings = getattr(model, "pretrained_cfg", None)
    declared = settings.get("classifier") if isinstance(settings, dict) else None
    names = {name: module for name, module in model.named_modules() if name}
    candidates: tuple[str, ...] = (declared,) if isinstance(declared, str) else tuple(declared or ())
    # A distilled network's second head is declared for its undistilled sister as well: only those there count.
    present = [name for name in candidates if name in names and list(names[name].parameters())]
    if len(present) > 1:
        raise ArchitectureError(
            f"{architecture.name!r} has {len(present)} classifying modules: {', '.join(present)}",
            expected="a network with one head",
            hint="take the architecture without distillation or auxiliary heads",
        )
    if present:
        return present[0]
    get = getattr(model, "get_classifier", None)
    classifier = get() if inspect.ismethod(get) else None
    found: str | None = next((name for name, module in names.items() if module is classifier), None)
    return found


def _last(module: nn.Module, prefix: str, kinds: tuple[type[nn.Module], ...]) -> str | None:
    names = [name for name, part in module.named_modules() if isinstance(part, kinds)]
    return ".".join(filter(None, (prefix, names[-1]))) if names else None
