"""Optimisers over named parameters: rates per module, frozen modules, decay off norms and biases."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from transferscope.errors import ModuleNameError, StudyError, nearest
from transferscope.specs.recipe import Recipe

_NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)


def rate_factor(name: str, rates: Mapping[str, float]) -> float:
    """The factor on the learning rate of a module or parameter: that of the longest prefix in ``rates``.

    Prefixes are whole names: ``layer1`` covers ``layer1.0.weight``, not ``layer10.weight``. The empty name covers all,
    so ``{"": 0, "fc": 1}`` trains the head alone.

    >>> rates = {"layer1": 0.1, "layer1.0": 0.0}
    >>> [rate_factor(name, rates) for name in ("layer1.0.weight", "layer1.1.weight", "layer10.weight")]
    [0.0, 0.1, 1.0]
    """
    parts = name.split(".") if name else []
    for length in range(len(parts), -1, -1):
        prefix = ".".join(parts[:length])
        if prefix in rates:
            return rates[prefix]
    return 1.0


def check_module_rates(model: nn.Module, rates: Mapping[str, float]) -> None:
    """Every name of ``module_rates`` must be a module, or a parameter, of the network."""
    names = {name for named in (model.named_modules(), model.named_parameters()) for name, _ in named}
    for name in rates:
        if name not in names:
            raise ModuleNameError(
                f"module_rates names a module the network does not have: {name!r}",
                expected="names of modules or parameters of this network",
                got=name,
                hint=nearest(name, names - {""}),
            )


def is_norm_or_bias(model: nn.Module) -> dict[str, bool]:
    """For each parameter, whether weight decay may leave it out.

    True for every parameter of a normalisation layer, every bias and every parameter of fewer than two dimensions
    (layer scales, temperatures).
    """
    norms = {name for name, module in model.named_modules() if isinstance(module, _NORMS)}
    return {
        name: parameter.ndim <= 1 or name.endswith("bias") or name.rpartition(".")[0] in norms
        for name, parameter in model.named_parameters()
    }


def parameter_groups(model: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """The trained parameters, grouped by rate factor and weight decay.

    Parameters with factor 0, and those that did not require gradients before, are in no group.

    Returns:
        Groups for a torch optimiser with two more entries: ``factor`` and ``names`` (of ``params``, in order).
    """
    check_module_rates(model, recipe.module_rates)
    spared = is_norm_or_bias(model)
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        factor = rate_factor(name, recipe.module_rates)
        if factor == 0 or not parameter.requires_grad:
            continue
        decay = recipe.weight_decay if recipe.decay_norm_and_bias or not spared[name] else 0.0
        group = groups.setdefault((factor, decay), {"params": [], "names": [], "factor": factor, "weight_decay": decay})
        group["params"].append(parameter)
        group["names"].append(name)
    if not groups:
        raise StudyError(
            "nothing is left to train: every parameter of the network is frozen",
            expected="at least one trained parameter",
            got=f"module_rates = {dict(recipe.module_rates)}",
            hint='leave a module out of `module_rates`; {"": 0, "HEAD": 1} trains the head alone',
        )
    return list(groups.values())


def build_optimiser(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """SGD (Nesterov where asked, which without momentum is plain SGD) or AdamW (β = 0.9, 0.999; ε = 1e-8).

    The fused kernels are used on every device: they are deterministic, and on a CPU they take a half (SGD) to a quarter
    (AdamW) of the time.
    """
    groups = parameter_groups(model, recipe)
    if recipe.optimiser == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=True)
    return torch.optim.SGD(
        groups,
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov and recipe.momentum > 0,
        fused=True,
    )


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of the next update, times each group's factor."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group["factor"]


def _named(optimiser: torch.optim.Optimizer) -> Iterator[tuple[str, Tensor]]:
    for group in optimiser.param_groups:
        yield from zip(group["names"], group["params"], strict=True)


def optimiser_state(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """What the optimiser remembers, copied to the CPU.

    Returns:
        Tensors by ``"<kind>/<parameter name>"``, for example ``"momentum_buffer/fc.weight"``.
    """
    return {
        f"{kind}/{name}": value.detach().to("cpu", copy=True).contiguous()
        for name, parameter in _named(optimiser)
        for kind, value in optimiser.state.get(parameter, {}).items()
        if isinstance(value, Tensor)
    }


def load_optimiser_state(optimiser: torch.optim.Optimizer, state: Mapping[str, Tensor]) -> None:
    """Put back what :func:`optimiser_state` gave, bit for bit."""
    parameters = dict(_named(optimiser))
    for key, value in state.items():
        kind, _, name = key.partition("/")
        parameter = parameters[name]
        if value.shape == parameter.shape and kind != "step":
            # In the layout of the parameter: the fused kernels walk both by memory order.
            restored = torch.empty_like(parameter, dtype=value.dtype, requires_grad=False).copy_(value)
        else:
            restored = value.to(parameter.device, copy=True)
        optimiser.state[parameter][kind] = restored


def frozen_modules(model: nn.Module, recipe: Recipe) -> list[nn.Module]:
    """The modules with rate factor 0, each by its own longest prefix."""
    return [module for name, module in model.named_modules() if rate_factor(name, recipe.module_rates) == 0]


@contextmanager
def training_mode(model: nn.Module, recipe: Recipe) -> Iterator[None]:
    """The network ready to be trained: train mode, but frozen modules without gradients and in eval mode.

    A frozen module is a fixed function: its batch-norm statistics do not move and its dropout is off. Train modes and
    ``requires_grad`` of the network are put back at the end, whatever happened.
    """
    modes = [(module, module.training) for module in model.modules()]
    wanted = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        model.train()
        for module in frozen_modules(model, recipe):
            module.training = False
        for name, parameter in model.named_parameters():
            if rate_factor(name, recipe.module_rates) == 0:
                parameter.requires_grad_(False)
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        for parameter, required in wanted:
            parameter.requires_grad_(required)
