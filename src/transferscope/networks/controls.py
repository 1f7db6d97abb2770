"""Control initialisations: what is left of a pre-trained network when its features are destroyed.

Four methods, each keeping less than the network and more than nothing (methods §3):

- ``mean-var``: every tensor i.i.d. Gaussian with its own mean and standard deviation.
- ``permuted``: the entries of every tensor permuted within it.
- ``filter-permuted``: whole filters (rows of the output axis) permuted within their layer, their inputs not matched:
  every filter is intact, but reads the outputs of others than it was trained with.
- ``spectrum``: the matrix ``c_out × (c_in/groups · kh · kw)`` of each group keeps its singular values; its singular
  vectors are drawn uniformly (Haar), left and right. The spectrum at each spatial frequency is not kept.

Weights, biases, norms, embeddings, class and position tokens, layer scales: all parameters that are trained, save the
head, which is drawn anew. Tensors with one axis longer than 1 are permuted (``permuted``, and, by the permutation of
their layer's filters, ``filter-permuted``) or matched in their moments (``mean-var``, ``spectrum``). Tensors of one
element, and parameters that are not trained, are copied. Packed query-key-value projections are three tensors where
their layout is known (:mod:`transferscope.networks.packed`), else one. The running statistics of batch norm go back to
their start, for they belong to the former weights: they are to be estimated on training data. Other buffers are
constants of the architecture and stay.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from transferscope.errors import WeightsError
from transferscope.frozen import derive_seed
from transferscope.networks.packed import packed_rows
from transferscope.specs.architecture import CONTROL_METHODS, ControlMethod

Treatment = Literal["gaussian", "entries permuted", "filters permuted", "singular vectors drawn", "copied", "head"]
"""What became of a tensor."""


@dataclass(frozen=True)
class _Tensor:
    """A parameter, where it sits, and its parts (rows of q, k and v; one part for all others)."""

    owner: str
    module: nn.Module
    value: nn.Parameter
    parts: tuple[Tensor, ...]


def initialise(model: nn.Module, method: ControlMethod, seed: int, head: str | None = None) -> dict[str, Treatment]:
    """Replace a network's weights by a control of them, in place.

    Every tensor has its own stream, ``derive_seed(seed, "control", method, name)``, drawn on the CPU: the result does
    not depend on the device, on global random state or on the order of modules.

    Args:
        model: the pre-trained network. Parameters and running statistics are changed, nothing else.
        head: the classifying module, which is left as it is; None treats every module.

    Returns:
        What became of each parameter, by its name. A parameter shared by two modules is treated once.

    Example:
        >>> layer = nn.Sequential(nn.Linear(3, 2))
        >>> before = layer[0].weight.detach().flatten().sort().values
        >>> initialise(layer, "permuted", seed=0)
        {'0.weight': 'entries permuted', '0.bias': 'entries permuted'}
        >>> bool((layer[0].weight.detach().flatten().sort().values == before).all())
        True
    """
    if method not in get_args(ControlMethod):
        raise ValueError(f"there is no control {method!r}: {', '.join(CONTROL_METHODS)}")
    tensors = dict(_tensors(model))
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor.value).all()):
            raise WeightsError(
                f"the weight {name!r} is not finite: there is no control of it",
                hint="take an epoch before the training diverged",
            )
    treated: dict[str, Treatment] = {}
    with torch.no_grad():
        for name, tensor in tensors.items():
            if head is not None and (tensor.owner == head or tensor.owner.startswith(f"{head}.")):
                treated[name] = "head"
            elif tensor.value.numel() == 1 or not tensor.value.requires_grad:
                treated[name] = "copied"
            else:
                treated[name] = _replace(name, tensor, method, seed)
        for module in model.modules():
            if isinstance(module, _NormBase):
                module.reset_running_stats()
    return treated


def _tensors(model: nn.Module) -> Iterator[tuple[str, _Tensor]]:
    packed = packed_rows(model)
    seen: set[int] = set()
    for owner, module in model.named_modules():
        for local, value in module.named_parameters(recurse=False):
            name = f"{owner}.{local}" if owner else local
            if id(value) not in seen:
                seen.add(id(value))
                yield name, _Tensor(owner, module, value, packed.get(name, ()))


def _replace(name: str, tensor: _Tensor, method: ControlMethod, seed: int) -> Treatment:
    old = tensor.value.detach().to("cpu", torch.float64)
    one_axis = sum(size > 1 for size in old.shape) < 2
    filters, put_back = _filters(old, tensor.module)
    if one_axis:
        filters = filters.reshape(-1, 1, 1)
    parts = tensor.parts or (torch.arange(len(filters)),)
    treatment: Treatment = "gaussian"
    for number, rows in enumerate(parts):
        generator = torch.Generator().manual_seed(derive_seed(seed, "control", method, name, number))
        part = filters[rows]
        if method == "permuted":
            treatment = "entries permuted"
            part = part.flatten()[torch.randperm(part.numel(), generator=generator)].view_as(part)
        elif method == "filter-permuted":
            treatment = "filters permuted"
            # One permutation for all of a layer's tensors with as many filters: a bias goes with its filter.
            purpose = ("control", method, tensor.owner, "filters", len(rows), number)
            generator.manual_seed(derive_seed(seed, *purpose))
            part = part[torch.randperm(len(part), generator=generator)]
        elif method == "spectrum" and not one_axis:
            treatment = "singular vectors drawn"
            part = _grouped_spectrum(part, _groups(tensor), generator)
        else:
            deviates = torch.randn(part.shape, generator=generator, dtype=torch.float64)
            part = part.mean() + part.std(correction=0) * deviates
        filters = filters.index_copy(0, rows, part)
    tensor.value.copy_(put_back(filters).reshape(old.shape))
    return treatment


def _groups(tensor: _Tensor) -> int:
    return tensor.module.groups if isinstance(tensor.module, _ConvNd) and not tensor.parts else 1


class _PutBack:
    """The way from ``filters inputs positions`` back to a tensor's own order of axes."""

    def __init__(self, shape: torch.Size, groups: int) -> None:
        self.shape, self.groups = shape, groups

    def __call__(self, filters: Tensor) -> Tensor:
        if not self.groups:
            return filters.reshape(self.shape)
        inputs, outputs = self.shape[0] // self.groups, self.shape[1]
        return filters.reshape(self.groups, outputs, inputs, -1).transpose(1, 2).reshape(self.shape)


def _filters(value: Tensor, module: nn.Module) -> tuple[Tensor, _PutBack]:
    """A tensor as ``filters inputs positions``, one row per output of its layer."""
    if isinstance(module, _ConvNd) and value.dim() > 2 and value.shape[2:] == module.kernel_size:
        if module.transposed:
            groups, inputs, outputs = module.groups, value.shape[0] // module.groups, value.shape[1]
            rows = value.reshape(groups, inputs, outputs, -1).transpose(1, 2)
            return rows.reshape(groups * outputs, inputs, -1), _PutBack(value.shape, groups)
        return value.reshape(value.shape[0], value.shape[1], -1), _PutBack(value.shape, 0)
    # Tokens and position embeddings have leading axes of size 1, which are no outputs.
    sizes = [size for size in value.shape if size > 1] or [1]
    return value.reshape(sizes[0], 1, -1), _PutBack(value.shape, 0)


def _grouped_spectrum(filters: Tensor, groups: int, generator: torch.Generator) -> Tensor:
    matrices = filters.reshape(groups, len(filters) // groups, -1)
    return with_spectrum(matrices, generator).reshape(filters.shape)


def with_spectrum(matrices: Tensor, generator: torch.Generator) -> Tensor:
    """Matrices with the same singular values, and singular vectors drawn uniformly on both sides.

    Returns:
        U diag(s) Vᵀ with s the singular values of the input, U and V Haar.

    Example:
        >>> drawn = with_spectrum(torch.diag(torch.tensor([3.0, 2.0]).double()), torch.Generator().manual_seed(0))
        >>> [round(float(value), 6) for value in torch.linalg.svdvals(drawn)]
        [3.0, 2.0]
    """
    # LAPACK is some seven times faster on tall matrices than on wide ones.
    wide = matrices.shape[-2] < matrices.shape[-1]
    values = torch.linalg.svdvals(matrices.transpose(-1, -2) if wide else matrices)
    rank, batch = values.shape[-1], matrices.shape[:-2]
    left = haar((*batch, matrices.shape[-2], rank), generator)
    right = haar((*batch, matrices.shape[-1], rank), generator)
    drawn: Tensor = (left * values.unsqueeze(-2)) @ right.transpose(-1, -2)
    return drawn


def haar(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Orthonormal columns, uniformly distributed (Haar on the Stiefel manifold).

    The Q of a Gaussian matrix's QR decomposition, with the signs of R's diagonal: without them the distribution depends
    on the sign convention of the decomposition.

    Reference: Mezzadri (2007), "How to generate random matrices from the classical compact groups".
    """
    gaussian = torch.randn(shape, generator=generator, dtype=torch.float64)
    orthogonal, triangle = torch.linalg.qr(gaussian)
    signs = torch.where(triangle.diagonal(dim1=-2, dim2=-1) < 0, -1.0, 1.0).to(torch.float64)
    found: Tensor = orthogonal * signs.unsqueeze(-2)
    return found
