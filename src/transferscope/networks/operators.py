"""Every weight of a network as the linear operator it is, with the size of the map it reads.

One forward pass of an example shows which modules run, on which maps, and with which weight: that of a parametrised or
standardised convolution is made in its forward pass, and is taken from there. Operators are listed in the order in
which they run. What is no operator is listed with its reason, so that every parameter is accounted for.

Projections of attention are split into queries, keys, values and outputs where their rows are known:

- ``nn.MultiheadAttention``: ``in_proj_weight`` in thirds, or its three matrices; ``out_proj`` is the output;
- the attentions of timm and torchvision listed in :mod:`transferscope.networks.packed`: ``qkv`` in thirds, ``kv`` in
  halves; ``proj`` beside them is the output;
- three linear layers side by side called ``q, k, v``, ``q_proj, k_proj, v_proj``, ``query, key, value`` or
  ``to_q, to_k, to_v``; ``o_proj``, ``out_proj`` or ``proj`` beside them is the output.

Any other packed projection is one matrix.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.overrides import TorchFunctionMode

from transferscope.networks.activations import entering
from transferscope.networks.batch import inputs_of
from transferscope.networks.evaluate import as_taken, preserved, run_network
from transferscope.networks.packed import packed_rows

Kind = Literal["convolution", "transposed convolution", "linear", "embedding"]
Part = Literal["", "q", "k", "v", "out"]

_APPLY = frozenset(
    (
        torch.conv1d, torch.conv2d, torch.conv3d,
        torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d,
        nn.functional.linear,
    )
)  # fmt: skip
_PARTS: dict[int, tuple[Part, ...]] = {2: ("k", "v"), 3: ("q", "k", "v")}
_SEPARATE: tuple[tuple[str, str, str], ...] = (
    ("q", "k", "v"),
    ("q_proj", "k_proj", "v_proj"),
    ("query", "key", "value"),
    ("to_q", "to_k", "to_v"),
)
_OUTPUTS = ("o_proj", "out_proj", "proj")


@dataclass(frozen=True, eq=False)
class Operator:
    """A weight and how it is applied.

    Attributes:
        name: of its module, with the part of attention, and the map where it runs on several, in brackets.
        part: ``q``, ``k``, ``v`` or ``out`` of an attention, else empty.
        weight: as it is applied, detached: ``outputs inputs/groups taps ...`` (a transposed convolution: ``inputs
            outputs/groups taps ...``). It shares memory with the network.
        size: of the map that it reads, along each axis; () for a matrix.
        padding: zeros on either side along each axis; None where it is padded in another way, or unevenly.
    """

    name: str
    parameter: str
    kind: Kind
    part: Part
    weight: Tensor
    size: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    groups: int = 1
    padding: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Operators:
    """The operators of a network, and what is none."""

    found: tuple[Operator, ...]
    skipped: Mapping[str, str]


def operators(model: nn.Module, example: object) -> Operators:
    """List the operators of a network.

    Returns:
        Convolutions, transposed convolutions, linear layers, embeddings and projections of attention that run on the
        example, and the parameters that are none of them.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(72, 2))
        >>> listed = operators(model, torch.zeros(1, 3, 8, 8))
        >>> [(found.name, found.kind, found.size) for found in listed.found]
        [('0', 'convolution', (8, 8)), ('3', 'linear', ())]
        >>> listed.skipped["1.weight"], listed.skipped["0.bias"]
        ('of a normalisation', 'a bias')
    """
    watch = _Watch(model)
    with preserved(model), torch.no_grad():
        model.eval()
        first = next(model.parameters(), None)
        handles = watch.hooked()
        try:
            with watch.applied:
                inputs = inputs_of(example)
                run_network(model, as_taken(model, inputs if first is None else inputs.to(first.device)))
        finally:
            for handle in handles:
                handle.remove()
    return Operators(tuple(_told_apart(watch.found)), _skipped(model, watch))


class _Applied(TorchFunctionMode):
    """Notes the weight of the last convolution or linear map."""

    def __init__(self) -> None:
        super().__init__()
        self.last: Tensor | None = None

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _APPLY:
            self.last = kwargs["weight"] if "weight" in kwargs else args[1]
        return func(*args, **kwargs)


class _Watch:
    """Collects operators while a network runs."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._packed = packed_rows(model)
        self._outputs, self._roles = _roles(model, self._packed)
        self.applied = _Applied()
        self.found: list[Operator] = []
        self.unseen: set[str] = set()
        self._known: set[tuple[int, Part, tuple[int, ...]]] = set()

    def hooked(self) -> list[Any]:
        handles: list[Any] = []
        for name, module in self._model.named_modules():
            if isinstance(module, nn.MultiheadAttention):
                handles.append(module.register_forward_hook(self._attention(name)))
            elif isinstance(module, nn.Embedding | nn.EmbeddingBag):
                handles.append(module.register_forward_hook(self._table(name)))
            elif isinstance(module, _ConvNd | nn.Linear):
                handles.append(module.register_forward_pre_hook(self._forget))
                handles.append(module.register_forward_hook(self._layer(name), with_kwargs=True))
        return handles

    def _forget(self, _module: nn.Module, _inputs: object) -> None:
        self.applied.last = None

    def _layer(self, name: str) -> Callable[..., None]:
        def hook(module: _ConvNd | nn.Linear, args: tuple[Any, ...], kwargs: dict[str, Any], _output: object) -> None:
            weight, self.applied.last = self.applied.last, None
            parameter = _join(name, "weight")
            if weight is None:
                self.unseen.add(parameter)
            elif isinstance(module, _ConvNd):
                self._convolution(name, parameter, module, weight, tuple(entering(args, kwargs).shape[2:]))
            else:
                self._matrix(name, parameter, module, weight)

        return hook

    def _attention(self, name: str) -> Callable[..., None]:
        def hook(module: nn.MultiheadAttention, _inputs: object, _output: object) -> None:
            if module.in_proj_weight is not None:
                self._matrix(name, _join(name, "in_proj_weight"), module, module.in_proj_weight)
            else:
                for part in _PARTS[3]:
                    local = f"{part}_proj_weight"
                    self._matrix(name, _join(name, local), module, getattr(module, local), part)
            self._matrix(name, _join(name, "out_proj.weight"), module, module.out_proj.weight, "out")

        return hook

    def _table(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Embedding | nn.EmbeddingBag, _inputs: object, _output: object) -> None:
            self._matrix(name, _join(name, "weight"), module, module.weight)

        return hook

    def _matrix(self, name: str, parameter: str, module: nn.Module, weight: Tensor, part: Part = "") -> None:
        kind: Kind = "embedding" if isinstance(module, nn.Embedding | nn.EmbeddingBag) else "linear"
        for chosen, rows in self._split(name, parameter, part):
            shown = f"{name} ({chosen})" if part or rows is not None else name
            self._add(Operator(shown, parameter, kind, chosen, _rows(weight, rows)), module)

    def _convolution(self, name: str, parameter: str, module: _ConvNd, weight: Tensor, size: tuple[int, ...]) -> None:
        kind: Kind = "transposed convolution" if module.transposed else "convolution"
        for part, rows in self._split(name, parameter, ""):
            shown = f"{name} ({part})" if rows is not None else name
            found = Operator(
                shown, parameter, kind, part, _rows(weight, rows), size, tuple(module.stride),
                tuple(module.dilation), module.groups, _zeros(module),
            )  # fmt: skip
            self._add(found, module)

    def _split(self, name: str, parameter: str, part: Part) -> list[tuple[Part, Tensor | None]]:
        rows = self._packed.get(parameter)
        if rows is not None:
            return list(zip(_PARTS[len(rows)], rows, strict=True))
        return [(part or self._roles.get(name, "out" if name in self._outputs else ""), None)]

    def _add(self, operator: Operator, module: nn.Module) -> None:
        # Whose weight it is: two modules may share one, and one that is made in the forward pass is new every time.
        owner = module._parameters.get(operator.parameter.rpartition(".")[2])
        mark = (id(module if owner is None else owner), operator.part, operator.size)
        # What runs twice on maps of one size is one operator.
        if mark not in self._known:
            self._known.add(mark)
            self.found.append(operator)


def _rows(weight: Tensor, rows: Tensor | None) -> Tensor:
    return weight.detach() if rows is None else weight.detach()[rows.to(weight.device)]


def _join(name: str, local: str) -> str:
    return f"{name}.{local}" if name else local


def _zeros(module: _ConvNd) -> tuple[int, ...] | None:
    """Zeros on either side, where padding is that and known."""
    # A subclass with a forward pass of its own (timm's "same" convolutions) pads in its own way.
    plain = (nn.Conv1d.forward, nn.Conv2d.forward, nn.Conv3d.forward)
    if module.padding_mode != "zeros" or type(module).forward not in plain:
        return None
    if module.padding == "valid":
        return (0,) * len(module.kernel_size)
    if isinstance(module.padding, str):
        total = [d * (k - 1) for d, k in zip(module.dilation, module.kernel_size, strict=True)]
        return None if any(number % 2 for number in total) else tuple(number // 2 for number in total)
    return tuple(module.padding)


def _roles(model: nn.Module, packed: Mapping[str, Tensor | tuple[Tensor, ...]]) -> tuple[set[str], dict[str, Part]]:
    """Linear layers that are the output of an attention; and those that are its q, k or v, by their names."""
    outputs: set[str] = set()
    roles: dict[str, Part] = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.MultiheadAttention):
            continue
        children = {local for local, child in module.named_children() if isinstance(child, nn.Linear | nn.Conv2d)}
        named = [triple for triple in _SEPARATE if children.issuperset(triple)]
        for triple in named:
            for part, local in zip(_PARTS[3], triple, strict=True):
                roles[_join(name, local)] = part
        if named or any(_join(name, f"{local}.weight") in packed for local in children):
            outputs |= {_join(name, local) for local in _OUTPUTS if local in children}
    return outputs, roles


def _told_apart(found: list[Operator]) -> Iterable[Operator]:
    """Operators of one weight on maps of several sizes say which."""
    several = {one.name for one in found if sum(other.name == one.name for other in found) > 1}
    for one in found:
        if one.name in several:
            size = " × ".join(map(str, one.size))
            yield Operator(**{**vars(one), "name": f"{one.name} ({size})"})
        else:
            yield one


def _skipped(model: nn.Module, watch: _Watch) -> dict[str, str]:
    listed = {one.parameter for one in watch.found}
    values = dict(model.named_parameters(remove_duplicate=False))
    owners = {id(values[name]): name for name in listed if name in values}
    reasons: dict[str, str] = {}
    for name, value in values.items():
        if name not in listed:
            same = owners.get(id(value))
            reasons[name] = f"the same tensor as {same}" if same else _reason(model, name, value, watch, listed)
    return reasons


def _reason(model: nn.Module, name: str, value: Tensor, watch: _Watch, listed: set[str]) -> str:
    owner, _, local = name.rpartition(".")
    made, mark, _ = name.partition("parametrizations.")
    if mark:
        target = made + name.removeprefix(made + mark).partition(".")[0]
        return f"{target} is made from it" + (", and is listed" if target in listed else "")
    module = model.get_submodule(owner)
    if isinstance(module, _NormBase | nn.LayerNorm | nn.GroupNorm) or "norm" in type(module).__name__.lower():
        return "of a normalisation"
    if local.endswith("bias"):
        return "a bias"
    if name in watch.unseen:
        return "its module applies it in a way of its own"
    if isinstance(module, _ConvNd | nn.Linear) and local != "weight":
        return "a further parameter of its layer"
    if isinstance(module, _ConvNd | nn.Linear | nn.Embedding | nn.EmbeddingBag | nn.MultiheadAttention):
        return "its module does not run on the example"
    if value.dim() < 2 or sum(size > 1 for size in value.shape) < 2:
        return "no matrix: a scale, an offset or a token"
    return "not a weight of a convolution, linear layer, embedding or attention"
