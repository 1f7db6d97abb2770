"""The door for networks of a caller: what comes in can be worked with, and goes out as it came."""

import functools
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, ParamSpec, TypeVar, final

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from transferscope.arguments import checks_of, is_plain
from transferscope.errors import ArchitectureError
from transferscope.networks.evaluate import batches_checked_once, preserved
from transferscope.networks.initialisation import randomness_untouched

P = ParamSpec("P")
R = TypeVar("R")


@final
class _OneDevice(nn.Module):
    """A network without the wrapper that spreads batches over devices, its modules under the names of the wrapper."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the network on one device."""
        return self.module(*args, **kwargs)


def given(model: object) -> nn.Module:
    """A network that can be looked at in place of the one that was handed in, sharing all its tensors.

    A compiled network is the one that was compiled. One that is spread over devices runs on one.
    """
    model = _uncompiled(model)
    if not isinstance(model, nn.Module):
        raise ArchitectureError(
            "this is no network",
            expected="a torch.nn.Module",
            got=type(model).__name__,
            hint="weights alone are loaded into a network first, by load_state_dict; of a compiled function give the "
            "network that it runs",
        )
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise ArchitectureError(
                "TorchScript networks are not supported: their modules run where nothing can look at them",
                expected="the nn.Module that was scripted or traced",
                got=f"{type(module).__name__} at {name!r}" if name else type(module).__name__,
                hint="build the network in Python and load the weights: network.load_state_dict(scripted.state_dict())",
            )
    for name, tensor in _tensors(model):
        if is_lazy(tensor):
            raise ArchitectureError(
                f"the network is not initialised: {name!r} has no shape before the first forward pass",
                expected="weights",
                got=type(tensor).__name__,
                hint="run it on one batch first: network(images)",
            )
        if tensor.is_meta:
            raise ArchitectureError(
                f"the network holds no values: {name!r} is on the device 'meta'",
                expected="weights on a device that has memory",
                got="meta",
                hint="network.to_empty(device='cpu'), then load its weights",
            )
        # A buffer may be sparse, an adjacency matrix say: it is looked at as it is.
        if isinstance(tensor, nn.Parameter) and not is_plain(tensor):
            raise ArchitectureError(
                f"the network has a tensor that nothing can be computed with: {name!r}",
                expected="dense tensors with a value for each entry",
                got=f"{str(tensor.layout).removeprefix('torch.')}, {str(tensor.dtype).removeprefix('torch.')}",
                hint="put dense ones in their place: tensor.to_dense(), of quantised ones tensor.dequantize()",
            )
        if tensor.is_inference():
            raise ArchitectureError(
                f"the network was made in inference mode: {name!r} can neither be trained nor moved",
                expected="ordinary tensors",
                got="an inference tensor",
                hint="build it, and load its weights, outside torch.inference_mode()",
            )
    if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
        return _OneDevice(model.module)
    return model


def takes_networks(*names: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a function look at its caller's networks through :func:`given`, and leave nothing changed, also after errors.

    Networks are given back by :func:`~transferscope.networks.evaluate.preserved`, and global random state as it was.
    Batches that one of its steps found deterministic are not read again to find that out. Compiled modules run as they
    were written, so that hooks are called.

    Args:
        names: of the arguments that are networks, or sequences or mappings of networks; None is left alone.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            _check_keywords(function.__name__, kwargs, signature)
            bound = signature.bind(*args, **kwargs)
            known: dict[int, nn.Module] = {}

            def looked_at(item: Any) -> Any:
                if item is None:
                    return None
                if isinstance(item, Mapping):
                    return {key: looked_at(value) for key, value in item.items()}
                if isinstance(item, Sequence) and not isinstance(item, str):
                    return tuple(map(looked_at, item))
                if id(item) not in known:
                    known[id(item)] = given(item)
                return known[id(item)]

            for name in names:
                if name in bound.arguments:
                    bound.arguments[name] = looked_at(bound.arguments[name])
            for name, check in checks_of(function).items():
                if name in bound.arguments:
                    bound.arguments[name] = check(bound.arguments[name])
            with ExitStack() as stack:
                # Whatever the caller is in: what is computed is the same.
                stack.enter_context(torch.inference_mode(False))
                stack.enter_context(torch.enable_grad())
                stack.enter_context(randomness_untouched())
                stack.enter_context(batches_checked_once())
                for network in known.values():
                    stack.enter_context(preserved(network, weights=_changes_weights(network)))
                if any(map(_runs_compiled, known.values())):
                    stack.enter_context(torch.compiler.set_stance("force_eager"))
                return function(*bound.args, **bound.kwargs)

        return call

    return decorate


def _check_keywords(function: str, given_words: Iterable[str], signature: inspect.Signature) -> None:
    """Say where a setting belongs that is a field of a settings object."""
    for word in given_words:
        for name, parameter in signature.parameters.items():
            kind = type(parameter.default)
            if word not in signature.parameters and word in getattr(kind, "__dataclass_fields__", ()):
                raise TypeError(f"{function}() takes {word!r} within {name}: {name}={kind.__name__}({word}=...)")


def _tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters()
    yield from model.named_buffers()


def _changes_weights(network: nn.Module) -> bool:
    """Whether forward passes write to weights: embeddings bring rows that are used to their largest norm."""
    embeddings = (module for module in network.modules() if isinstance(module, nn.Embedding | nn.EmbeddingBag))
    return any(module.max_norm is not None for module in embeddings)


def _compiled_class() -> type[nn.Module] | None:
    # Where nothing was compiled the module is not loaded; loading it takes seconds.
    loaded = sys.modules.get("torch._dynamo.eval_frame")
    return None if loaded is None else loaded.OptimizedModule


def _uncompiled(model: object) -> object:
    compiled = _compiled_class()
    while compiled is not None and isinstance(model, compiled):
        model = model.get_submodule("_orig_mod")
    return model


def _runs_compiled(model: nn.Module) -> bool:
    compiled = _compiled_class()
    return compiled is not None and any(
        isinstance(module, compiled) or getattr(module, "_compiled_call_impl", None) is not None
        for module in model.modules()
    )
