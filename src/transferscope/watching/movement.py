"""How far a network has moved from its start, module by module: a few batched operations, no wait for the device."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import is_lazy

from transferscope.networks.modules import Granularity, parts_parameters

__all__ = ["Movement", "Observed", "Shown", "unwrapped"]

_SUMS = ("distance", "start", "parameters", "gradient", "update", "cross", "mean", "variance")
_HALF = (torch.float16, torch.bfloat16)
_ROW = 1024


def unwrapped(model: nn.Module) -> nn.Module:
    """The network within DataParallel, DistributedDataParallel and torch.compile: its names are those of the start."""
    while True:
        inner = model._modules.get("_orig_mod")
        if inner is None and type(model).__name__ in ("DataParallel", "DistributedDataParallel"):
            inner = model._modules.get("module")
        if not isinstance(inner, nn.Module):
            return model
        model = inner


@dataclass(frozen=True)
class Shown:
    """One record of one module, on the CPU; None where it is not defined."""

    module: str
    distance: float | None
    relative: float | None
    gradient_ratio: float | None
    mean_drift: float | None
    variance_drift: float | None
    update_cosine: float | None


@dataclass(frozen=True)
class Observed:
    """Sums of one record (``modules sums``), still on the device, and what is needed to read them.

    Attributes:
        sums: squares summed over each module.
        modules: their names.
        has_gradient: by module.
        has_update: whether there was a record before.
        channels: of batch norm, by module.
    """

    sums: Tensor
    modules: tuple[str, ...]
    has_gradient: tuple[bool, ...]
    has_update: bool
    channels: tuple[int, ...]

    def shown(self, sums: Tensor, whole: str) -> list[Shown]:
        """The record in numbers, the whole network first.

        Args:
            sums: ``self.sums``, on the CPU.
            whole: name of the row of the whole network.
        """
        rows = [(whole, sums.sum(0).tolist(), any(self.has_gradient), sum(self.channels))]
        rows += list(zip(self.modules, sums.tolist(), self.has_gradient, self.channels, strict=True))
        return [self._row(*row) for row in rows]

    def _row(self, module: str, values: Sequence[float], has_gradient: bool, channels: int) -> Shown:
        found = dict(zip(_SUMS, values, strict=True))
        update = (found["update"] * found["distance"]) ** 0.5
        return Shown(
            module,
            _root(found["distance"]),
            _root(found["distance"], found["start"]),
            _root(found["gradient"], found["parameters"]) if has_gradient else None,
            _root(found["mean"], channels),
            _root(found["variance"], channels),
            _finite(max(-1.0, min(1.0, found["cross"] / update))) if self.has_update and update > 0 else None,
        )


def _root(square: float, by: float = 1.0) -> float | None:
    return _finite((square / by) ** 0.5) if by > 0 else None


def _finite(value: float) -> float | None:
    return value if -float("inf") < value < float("inf") else None


class Movement:
    """A network and a copy of its start on the same device.

    Args:
        model: the network; only read.
        start: parameters and buffers by name; those it lacks, or has in another shape, start as they are now.
        granularity: of the modules.
        updates: keep the movement of the record before, for the cosine of the update.
        own_start: follow also what is not in the start; False where the network was not there when training began.

    Attributes:
        left_out: parameters that cannot be followed, by name, with the reason.
        own_start: parameters and batch-norm statistics that start as they were when they were first seen.
    """

    def __init__(
        self,
        model: nn.Module,
        start: Mapping[str, Tensor],
        granularity: Granularity,
        updates: bool,
        *,
        own_start: bool = True,
    ) -> None:
        self._model, self._granularity, self._updates, self._own = model, granularity, updates, own_start
        self._start: dict[str, Tensor] = dict(start)
        self._owned: set[str] = set()
        self.left_out: dict[str, str] = {}
        self.own_start: list[str] = []
        self._before: list[Tensor] | None = None
        self._bind()

    @property
    def start(self) -> Mapping[str, Tensor]:
        """The start of what is followed, by name."""
        return self._start

    def changed(self) -> bool:
        """Whether the network's parameters are others than before: a replaced head, added adapters."""
        found = list(self._model.parameters())
        return len(found) != len(self._all) or any(a is not b for a, b in zip(found, self._all, strict=True))

    def rebind(self) -> None:
        """Follow the network as it is now; what kept its name and shape keeps its start."""
        self._before = None
        self._bind()

    @torch.no_grad()
    def _bind(self) -> None:
        self._all = list(self._model.parameters())
        self.left_out, self.own_start = {}, []
        followed: dict[str, Tensor] = {}
        for name, parameter in self._model.named_parameters():
            start = self._start.get(name)
            if (why := _unfollowable(parameter)) is not None:
                self.left_out[name] = why
            elif not self._own and (start is None or start.shape != parameter.shape):
                self.left_out[name] = "it is not in the start with this name and shape"
            else:
                followed[name] = parameter
        for name, tensor in followed.items():
            self._start[name] = self._started(name, tensor)
        self._names = list(followed)
        self._parameters = list(followed.values())
        self._starts = [self._start[name] for name in followed]
        parts = parts_parameters(self._model, self._granularity)
        self.modules = tuple(part for part, names in parts.items() if any(name in followed for name in names))
        owner = {
            name: self.modules.index(part) for part, names in parts.items() if part in self.modules for name in names
        }
        self._owner = [owner[name] for name in followed]
        device = self._parameters[0].device if self._parameters else torch.device("cpu")
        self._device, self._exact = device, torch.float32 if device.type == "mps" else torch.float64
        self._at = torch.tensor(self._owner, device=device, dtype=torch.long)
        self._owners_of: dict[tuple[int, ...], Tensor] = {tuple(range(len(followed))): self._at}
        self._groups = self._grouped()
        self._start_squares = self._summed(self._norms(self._starts))
        self._bind_batch_norm(owner)
        self._start = {name: value for name, value in self._start.items() if name in self._owned}

    def _started(self, name: str, now: Tensor) -> Tensor:
        start = self._start.get(name)
        owned = name in self._owned
        self._owned.add(name)
        if start is None or start.shape != now.shape:
            self.own_start.append(name)
            return now.detach().clone()
        # Never the caller's tensor: it may be freed, moved or trained on.
        return start.detach().to(now.device, now.dtype, copy=not owned)

    def _grouped(self) -> list[list[int]]:
        groups: dict[tuple[torch.dtype, torch.device], list[int]] = {}
        for at, parameter in enumerate(self._parameters):
            groups.setdefault((parameter.dtype, parameter.device), []).append(at)
        return list(groups.values())

    def _bind_batch_norm(self, owner: Mapping[str, int]) -> None:
        self._norm_layers: list[_BatchNorm] = []
        index: list[int] = []
        means: list[Tensor] = []
        variances: list[Tensor] = []
        channels = [0] * len(self.modules)
        for name, module in self._model.named_modules():
            if not isinstance(module, _BatchNorm) or module.running_mean is None or module.running_var is None:
                continue
            # Without an affine part it has no parameter: it belongs to the module that encloses it.
            at = owner.get(f"{name}.weight", self._enclosing(name))
            if at is None:
                continue
            self._norm_layers.append(module)
            for key, kept in (("running_mean", means), ("running_var", variances)):
                kept.append(self._started(f"{name}.{key}", getattr(module, key)).to(self._device))
                self._start[f"{name}.{key}"] = kept[-1]
            index += [at] * len(means[-1])
            channels[at] += len(means[-1])
        self.channels = tuple(channels)
        if self._norm_layers:
            self._channel_at = torch.tensor(index, device=self._device)
            self._epsilon = torch.cat(
                [torch.full_like(m, layer.eps) for m, layer in zip(means, self._norm_layers, strict=True)]
            )
            self._mean0, self._variance0 = torch.cat(means), torch.cat(variances) + self._epsilon

    def _enclosing(self, name: str) -> int | None:
        while name and name not in self.modules:
            name = name.rpartition(".")[0]
        return self.modules.index(name) if name else None

    @torch.no_grad()
    def observe(self) -> Observed:
        """Record where the network is. Call it after the optimiser's step and before gradients are set to zero."""
        if self._parameters and self._parameters[0].device != self._device:
            self._start = {name: value.to(self._parameters[0].device) for name, value in self._start.items()}
            self.rebind()
        moved: list[Tensor] = [torch.empty(0)] * len(self._parameters)
        for group in self._groups:
            now, start = [self._parameters[at].detach() for at in group], [self._starts[at] for at in group]
            for at, value in zip(group, torch._foreach_sub(now, start), strict=True):
                moved[at] = value
        nothing = torch.zeros(len(self.modules), device=self._device, dtype=self._exact)
        update, cross = nothing, nothing
        has_update = self._before is not None
        if self._before is not None:
            before, self._before = self._before, None
            for group in self._groups:
                last = [before[at] for at in group]
                torch._foreach_neg_(last)
                torch._foreach_add_(last, [moved[at] for at in group])
            update, cross = self._summed(self._norms(before)), self._dots(before, moved)
        distance = self._summed(self._norms(moved))
        if self._updates:
            self._before = moved
        gradient, has_gradient = self._gradients()
        mean, variance = self._drift(nothing)
        columns = [
            distance, self._start_squares, self._summed(self._norms([p.detach() for p in self._parameters])), gradient,
            update, cross, mean, variance,
        ]  # fmt: skip
        return Observed(torch.stack(columns, 1), self.modules, has_gradient, has_update, self.channels)

    def _gradients(self) -> tuple[Tensor, tuple[bool, ...]]:
        with_gradient = [
            at for at, p in enumerate(self._parameters) if p.grad is not None and p.grad.layout == torch.strided
        ]
        having = {self._owner[at] for at in with_gradient}
        squares = torch.zeros(len(self.modules), device=self._device, dtype=self._exact)
        if with_gradient:
            gradients = [self._parameters[at].grad.detach() for at in with_gradient]  # type: ignore[union-attr]
            kinds = {(g.dtype, g.device) for g in gradients}
            # Usually one batched operation; gradients may be of several kinds in mixed precision.
            norms = _norms(gradients) if len(kinds) == 1 else [_norms([gradient])[0] for gradient in gradients]
            where = self._owners(tuple(with_gradient))
            squares.index_add_(0, where, self._one_vector(norms).square())
        return squares, tuple(at in having for at in range(len(self.modules)))

    def _owners(self, which: tuple[int, ...]) -> Tensor:
        """The modules of some parameters; kept, for making it anew would wait for the device."""
        if which not in self._owners_of:
            self._owners_of[which] = torch.tensor([self._owner[at] for at in which], device=self._device)
        return self._owners_of[which]

    def _drift(self, nothing: Tensor) -> tuple[Tensor, Tensor]:
        if not self._norm_layers:
            return nothing, nothing
        running = [(layer.running_mean, layer.running_var) for layer in self._norm_layers]
        mean = torch.cat([m for m, _ in running if m is not None]).to(self._device)
        variance = torch.cat([v for _, v in running if v is not None]).to(self._device) + self._epsilon
        shift = (mean - self._mean0).square() / self._variance0
        ratio = (variance / self._variance0).log().square()
        return (
            torch.zeros_like(nothing).index_add_(0, self._channel_at, shift.to(self._exact)),
            torch.zeros_like(nothing).index_add_(0, self._channel_at, ratio.to(self._exact)),
        )

    def _norms(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        found: list[Tensor] = [torch.empty(0)] * len(tensors)
        for group in self._groups:
            for at, value in zip(group, _norms([tensors[at] for at in group]), strict=True):
                found[at] = value
        return found

    def _dots(self, a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
        found = [_dot(first, second) for first, second in zip(a, b, strict=True)]
        zeros = torch.zeros(len(self.modules), device=self._device, dtype=self._exact)
        return zeros.index_add_(0, self._at, self._one_vector(found)) if found else zeros

    def _summed(self, norms: Sequence[Tensor]) -> Tensor:
        zeros = torch.zeros(len(self.modules), device=self._device, dtype=self._exact)
        return zeros.index_add_(0, self._at, self._one_vector(norms).square()) if norms else zeros

    def _one_vector(self, values: Sequence[Tensor]) -> Tensor:
        if any(value.device != self._device or value.dtype != values[0].dtype for value in values):
            values = [value.to(self._device, self._exact, non_blocking=True) for value in values]
        return torch.stack(list(values)).to(self._exact)


def _norms(tensors: list[Tensor]) -> list[Tensor]:
    # A norm in half precision would overflow at 65,504 and keep three digits.
    wide = torch.float32 if tensors[0].dtype in _HALF else None
    if tensors[0].device.type != "cpu":
        return list(torch._foreach_norm(tensors, 2, dtype=wide))
    return [_cpu_norm(tensor, wide) for tensor in tensors]


def _cpu_norm(tensor: Tensor, wide: torch.dtype | None) -> Tensor:
    """The norm, summed in double over short rows: one sum in single precision loses up to three digits, no faster."""
    flat = _flat(tensor)
    rows = flat.numel() // _ROW
    if rows < 2:
        short: Tensor = torch.linalg.vector_norm(flat, dtype=wide)
        return short
    squares: Tensor = (
        torch.linalg.vector_norm(flat[: rows * _ROW].view(rows, _ROW), dim=1, dtype=wide).double().square().sum()
    )
    if rows * _ROW < flat.numel():
        squares = squares + torch.linalg.vector_norm(flat[rows * _ROW :], dtype=wide).double().square()
    return squares.sqrt()


def _dot(a: Tensor, b: Tensor) -> Tensor:
    if a.dtype in _HALF:
        a, b = a.float(), b.float()
    first, second = (_flat(a), _flat(b)) if a.stride() == b.stride() else (a.reshape(-1), b.reshape(-1))
    rows = first.numel() // _ROW
    if rows < 2 or a.device.type != "cpu":
        return torch.dot(first, second)
    whole = rows * _ROW
    sums = torch.bmm(first[:whole].view(rows, 1, _ROW), second[:whole].view(rows, _ROW, 1)).double().sum()
    return sums + torch.dot(first[whole:], second[whole:]).double()


def _flat(tensor: Tensor) -> Tensor:
    """All elements in the order in which they lie, without a copy where they lie densely."""
    if tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last):
        return tensor.permute(0, 2, 3, 1).reshape(-1)
    return tensor.reshape(-1)


def _unfollowable(parameter: Tensor) -> str | None:
    if is_lazy(parameter):
        return "it has no values yet"
    if type(parameter).__name__ == "DTensor" or type(getattr(parameter, "data", None)).__name__ == "DTensor":
        return "it is divided over processes, and reading it would make all of them wait"
    if parameter.is_meta or parameter.numel() == 0:
        return "its values are not on this process"
    return None if parameter.is_floating_point() else f"it is of type {parameter.dtype}"
