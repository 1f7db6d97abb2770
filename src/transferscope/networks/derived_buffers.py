"""Buffers that follow from weights or data: singular vectors of spectral norms, and statistics of unknown classes."""

from collections.abc import Collection, Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import _SpectralNorm
from torch.nn.utils.parametrize import ParametrizationList
from torch.nn.utils.spectral_norm import SpectralNorm

from transferscope.errors import ArchitectureError
from transferscope.networks.copies import copied


def _spectral_norms(model: nn.Module) -> Iterator[tuple[str, str, Tensor, Tensor, Tensor]]:
    """Names of u and v, the two, and the matrix whose leading singular vectors they are to be, of every norm."""
    for prefix, module in model.named_modules():
        start = f"{prefix}." if prefix else ""
        if isinstance(module, ParametrizationList) and any(isinstance(step, _SpectralNorm) for step in module):
            given = (
                [module.original]
                if module.is_tensor
                else [getattr(module, f"original{index}") for index in range(module.ntensors)]
            )
            for index, step in enumerate(module):
                if isinstance(step, _SpectralNorm) and given[0].ndim > 1:
                    names = f"{start}{index}._u", f"{start}{index}._v"
                    yield *names, step._u, step._v, step._reshape_weight_to_matrix(given[0])
                # What the next step sees: the vectors just given are in place by then.
                given = [step(*given)]
        for hook in module._forward_pre_hooks.values():
            if isinstance(hook, SpectralNorm):
                names = f"{start}{hook.name}_u", f"{start}{hook.name}_v"
                u, v = (getattr(module, f"{hook.name}_{vector}") for vector in "uv")
                yield *names, u, v, hook.reshape_weight_to_matrix(getattr(module, f"{hook.name}_orig"))


def spectral_norm_buffers(model: nn.Module) -> set[str]:
    """Names of the singular vectors that spectral norms keep, of torch's parametrisation and of its older hook."""
    with torch.no_grad():
        return {name for left, right, *_ in _spectral_norms(model) for name in (left, right)}


@torch.no_grad()
def converge_spectral_norms(model: nn.Module) -> None:
    """Put the leading singular vectors of the weights as they are now into all spectral norms, in place.

    In training one power iteration a step follows the weights. Where weights are put elsewhere the vectors kept belong
    to other weights, and uᵀWv may be any number from −σ₁ to σ₁: near 0 the network's outputs have no bound. Weight
    norms keep no vectors and need nothing.

    Args:
        model: in evaluation mode, in which the norms do not write to their vectors.
    """
    for *_, u, v, matrix in _spectral_norms(model):
        wide = matrix.double() if matrix.device.type != "mps" else matrix.float()
        if bool(torch.isfinite(wide).all()):
            left, _, right = torch.linalg.svd(wide, full_matrices=False)
            u.copy_(left[:, 0])
            v.copy_(right[0])


def followers_of_data(model: nn.Module, known: Collection[str], example: Tensor) -> list[str]:
    """Buffers of fractions that a forward pass in training mode changes: running statistics, whatever their class.

    Args:
        model: on the device of ``example``; left as it is (a copy is run).
    """
    asked = [name for name, buffer in model.named_buffers() if buffer.is_floating_point() and name not in known]
    if not asked:
        return []
    made = copied(model).eval()
    for name in asked:
        # Their owners alone: batch norms and dropout elsewhere have nothing to do with it.
        made.get_submodule(name.rpartition(".")[0]).training = True
    before = {name: buffer.detach().clone() for name, buffer in made.named_buffers() if name in asked}
    try:
        with torch.no_grad():
            made(example.clone())
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever the user's own class raises in training mode
        raise ArchitectureError(
            "it cannot be told whether these buffers follow the data in training: " + ", ".join(asked[:3]),
            expected="a forward pass in training mode",
            got=f"{type(error).__name__}: {error}",
            hint="choose what happens to them: batch_norm='none' keeps them everywhere, and the result says so",
        ) from error
    after = dict(made.named_buffers())
    return [name for name in asked if not torch.equal(before[name], after[name])]
