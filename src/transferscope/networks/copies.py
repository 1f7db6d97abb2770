"""Copies of networks that can be moved in parameter space while the network itself stays."""

import copy
import inspect
from collections.abc import Callable, Iterable
from types import FunctionType, MethodType
from typing import Any, final

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from transferscope.errors import ArchitectureError


@final
class _Detaching(TorchFunctionMode):
    """Lets tensors be copied that hang on a graph: a weight made by a hook, activations kept as attributes."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is not Tensor.__deepcopy__ or args[0].is_leaf:
            return func(*args, **(kwargs or {}))
        tensor, memo = args
        memo[id(tensor)] = fresh = tensor.detach().clone()
        return fresh


def copied(model: nn.Module) -> nn.Module:
    """A deep copy of a network, its hooks included. Tensors that are results of a computation are detached in it.

    >>> from torch.nn.utils import prune
    >>> net = prune.identity(nn.Linear(2, 2), "weight")
    >>> copied(net).weight.is_leaf
    True
    """
    own = {id(module) for module in model.modules()}
    for name, module in model.named_modules():
        functions = [("forward", vars(module).get("forward"))]
        functions += [("hook", hook) for hook in (*module._forward_hooks.values(), *module._forward_pre_hooks.values())]
        for kind, function in functions:
            if isinstance(function, FunctionType) and _refers(function, own):
                raise ArchitectureError(
                    f"the network cannot be copied: the {kind} of its module {name!r} is a function that refers to the "
                    "network's own modules, which the copy would run in place of its own",
                    expected="a method, or a function that uses the module it is given",
                    got=function.__qualname__,
                    hint="bind it with types.MethodType(function, module), or write it as a class",
                )
    try:
        with _Detaching():
            return copy.deepcopy(model)
    except Exception as error:  # what a network holds (locks, files, loggers) may raise anything
        raise ArchitectureError(
            f"the network cannot be copied: {type(error).__name__}: {error}",
            expected="modules that copy.deepcopy can copy",
            got=type(model).__name__,
            hint="keep what cannot be copied out of the network's attributes, or give its class a __deepcopy__",
        ) from error


def _refers(function: FunctionType, modules: set[int]) -> bool:
    """Whether a function holds one of the modules, or a method of one, in its closure or among its globals."""
    found = inspect.getclosurevars(function)
    held = [*found.nonlocals.values(), *found.globals.values()]
    return any(id(item.__self__ if isinstance(item, MethodType) else item) in modules for item in held)
