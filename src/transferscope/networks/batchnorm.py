"""Running statistics of batch and instance norms, estimated again on given batches."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.instancenorm import _InstanceNorm

from transferscope.errors import LoaderError, WeightsError
from transferscope.networks.activations import entering
from transferscope.networks.evaluate import autocast, network_inputs, run_network

_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


def tracked_norms(model: nn.Module) -> dict[str, _NormBase]:
    """Batch and instance norms with running statistics, by name.

    Subclasses count: timm's BatchNormAct2d, SyncBatchNorm. Layers without running statistics have nothing to redo.
    """
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, _NormBase) and module.running_mean is not None
    }


def has_batch_norm(model: nn.Module) -> bool:
    """Whether any layer is a batch norm, or an instance norm, with running statistics.

    Example:
        >>> has_batch_norm(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)))
        True
        >>> has_batch_norm(nn.LayerNorm(3))
        False
    """
    return bool(tracked_norms(model))


def batch_norm_state(model: nn.Module) -> dict[str, Tensor]:
    """Copies of all running statistics and counters, by their names in the network's ``state_dict``."""
    return {
        f"{layer}.{name}" if layer else name: getattr(module, name).detach().clone()
        for layer, module in tracked_norms(model).items()
        for name in _BUFFERS
        if getattr(module, name) is not None
    }


def load_batch_norm_state(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Put running statistics back, in place."""
    own = {
        f"{layer}.{name}" if layer else name: getattr(module, name)
        for layer, module in tracked_norms(model).items()
        for name in _BUFFERS
        if getattr(module, name) is not None
    }
    if own.keys() != state.keys():
        different = sorted(own.keys() ^ state.keys())
        raise WeightsError(
            "the batch-norm statistics are of another network",
            expected=f"{len(own)} tensors",
            got=f"{len(state)} tensors; not on both sides: {', '.join(different[:5])}",
        )
    with torch.no_grad():
        for name, buffer in own.items():
            buffer.copy_(state[name])


class _Pooled:
    """Mean and variance of all values seen, merged batch by batch (Chan, Golub & LeVeque 1979, eq. 2.1).

    Of an instance norm the statistics of a batch are averages over its examples, and so are those of several batches.
    """

    def __init__(self, instances: bool) -> None:
        self.instances = instances
        self.count = 0
        self.calls = 0
        self.mean: Tensor | None = None
        self.squares: Tensor | None = None

    def add(self, count: int, mean: Tensor, variance: Tensor) -> None:
        # Double precision, where the device has it, keeps hundreds of merges exact to float32.
        wide = torch.float32 if mean.device.type == "mps" else torch.float64
        mean, squares = mean.to(wide), variance.to(wide) * self._freedom(count)
        self.calls += 1
        if self.mean is None or self.squares is None:
            self.count, self.mean, self.squares = count, mean, squares
            return
        total = self.count + count
        apart = mean - self.mean
        self.mean = self.mean + apart * (count / total)
        self.squares = self.squares + squares
        if not self.instances:
            self.squares = self.squares + apart.square() * (self.count * count / total)
        self.count = total

    def _freedom(self, count: int) -> int:
        return count if self.instances else count - 1

    @property
    def variance(self) -> Tensor | None:
        """Unbiased."""
        return None if self.squares is None else self.squares / self._freedom(self.count)


@contextmanager
def _measuring(model: nn.Module, layers: Mapping[str, _NormBase]) -> Iterator[dict[str, _Pooled]]:
    """Evaluation mode with batch norm alone in training mode; each layer's input statistics are collected."""
    training = {module: module.training for module in model.modules()}
    momentum = {module: module.momentum for module in layers.values()}
    pooled = {name: _Pooled(isinstance(layer, _InstanceNorm)) for name, layer in layers.items()}
    with ExitStack() as stack:
        for name, layer in layers.items():
            stack.callback(layer.register_forward_pre_hook(_large_enough(name), with_kwargs=True).remove)
            stack.callback(layer.register_forward_hook(_collect(pooled[name]), with_kwargs=True).remove)
        try:
            model.eval()
            for layer in layers.values():
                layer.train()
                layer.momentum = 1.0  # the running statistics then are those of the batch that just went through
            yield pooled
        finally:
            for layer, value in momentum.items():
                layer.momentum = value
            for module, mode in training.items():
                module.training = mode


def _values(layer: nn.Module, tensor: Tensor) -> int:
    """How many values a variance is estimated from: of a channel, in an instance norm in one example.

    An input without a batch axis is one example.
    """
    values = tensor.numel() // tensor.shape[min(1, tensor.ndim - 1)]
    return values // len(tensor) if isinstance(layer, _InstanceNorm) else values


def _large_enough(name: str) -> Any:
    def check(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        tensor = entering(args, kwargs)
        if _values(layer, tensor) < 2:
            raise LoaderError(
                f"a batch is too small to estimate the variance in batch norm {name!r}",
                expected="at least 2 values per channel",
                got=f"{_values(layer, tensor)} (input of shape {tuple(tensor.shape)})",
                hint="use a larger batch, or leave a last batch of one example out",
            )
        # Even with momentum 1 a former NaN would stay: 0 · NaN is NaN.
        layer.running_mean.zero_()  # type: ignore[operator]  # a batch norm with statistics
        layer.running_var.fill_(1.0)  # type: ignore[operator]  # as above

    return check


def _collect(pooled: _Pooled) -> Any:
    def collect(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], _: Any) -> None:
        mean, variance = layer.running_mean, layer.running_var
        # For the type checker: tracked_norms keeps only layers with running statistics.
        assert isinstance(mean, Tensor)
        assert isinstance(variance, Tensor)
        tensor = entering(args, kwargs)
        count = len(tensor) if pooled.instances else _values(layer, tensor)
        pooled.add(count, mean.clone(), variance.clone())

    return collect


def recompute(
    model: nn.Module,
    batches: Iterable[Any],
    *,
    forward: Callable[[Any], Any] | None = None,
    precision: Literal["float32", "bfloat16"] = "float32",
    memory_format: Literal["contiguous", "channels_last"] = "contiguous",
) -> None:
    """Estimate all running statistics again, in place, on exactly the given batches.

    One forward pass. While it lasts every batch norm normalises by the statistics of the batch that passes, as in
    training and as in ``torch.optim.swa_utils.update_bn`` (Izmailov et al. 2018, §3), so a layer's input is what
    training-mode batch norms before it make of the batch; everything else is in evaluation mode, so dropout and
    stochastic depth are off. Afterwards

        running_mean = mean over all values of the layer's input in all batches,
        running_var  = their unbiased variance around that mean,

    per channel, every value with equal weight whatever the size of its batch. Instance norms with running statistics
    get the averages, over all examples, of each example's mean and unbiased variance. With one batch this is what
    ``update_bn`` gives; with several, ``update_bn`` gives a short batch the weight of a full one and leaves the spread
    of batch means out of the variance. Not a limit of exponential averages: no earlier statistic has any weight.
    ``num_batches_tracked`` becomes the number of batches; ``momentum``, modes and hooks are put back.

    The result depends on how examples are batched, since layers after the first see normalised batches: use the same
    mixed (not class-sorted) batches wherever results are compared.

    A network without batch norm is left alone and ``batches`` is not read. After an exception the statistics are the
    former ones.

    Args:
        model: changed in place: running statistics only. On any device; batches are brought to it.
        batches: of images, with or without labels: see :func:`~transferscope.networks.batch.inputs_of`.
        forward: run the network otherwise, on the batches as they come: a part of it, from what was kept of the rest.
            Layers that it does not reach keep their statistics.
        precision: ``bfloat16`` for autocast.
        memory_format: of the images.

    Raises:
        LoaderError: there is no batch, or a layer sees fewer than 2 values per channel in one.
    """
    layers = tracked_norms(model)
    if not layers:
        return
    former = batch_norm_state(model)
    device = next(iter(layers.values())).running_mean.device  # type: ignore[union-attr]  # tracked_norms: not None
    try:
        with _measuring(model, layers) as pooled, torch.no_grad(), autocast(device, precision):
            count = 0
            for batch in batches:
                if forward is not None:
                    forward(batch)
                else:
                    run_network(model, network_inputs(model, batch, device, memory_format))
                count += 1
        if not count:
            raise LoaderError(
                "there is no batch to estimate batch-norm statistics on", expected="at least one batch", got="none"
            )
        _write(layers, pooled, former)
    except BaseException:  # also Ctrl-C: half-estimated statistics must not stay
        load_batch_norm_state(model, former)
        raise


def _write(layers: Mapping[str, _NormBase], pooled: Mapping[str, _Pooled], former: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        for name, layer in layers.items():
            seen = pooled[name]
            buffers = {key: getattr(layer, key) for key in _BUFFERS}
            if seen.mean is None or seen.variance is None:
                # A layer that no batch went through (an unused branch) keeps what it had.
                for key, buffer in buffers.items():
                    if buffer is not None:
                        buffer.copy_(former[f"{name}.{key}" if name else key])
                continue
            buffers["running_mean"].copy_(seen.mean)
            buffers["running_var"].copy_(seen.variance)
            if buffers["num_batches_tracked"] is not None:
                buffers["num_batches_tracked"].fill_(seen.calls)
