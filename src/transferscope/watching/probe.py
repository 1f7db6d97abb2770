"""CKA of a network in training with its start, on one fixed batch of examples."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from transferscope.errors import ActivationError, MeasureError
from transferscope.measures.cka import cka_compute, cka_update
from transferscope.measures.grams import gram_and_rounding, power_of_two
from transferscope.networks.activations import only_tensor
from transferscope.networks.evaluate import preserved
from transferscope.networks.initialisation import randomness_untouched
from transferscope.networks.modules import Granularity, find_module, hookable_parts

__all__ = ["Probe", "first_tensor"]

_LEAST = 4
_Gram = tuple[Tensor, Tensor, torch.dtype]


class Probe:
    """A batch, and the Gram matrix of every module's output of the start on it.

    Args:
        batch: what the network takes: a tensor, a tuple of arguments, or a mapping of named ones; examples first.
        model: the network, whose names and code are used.
        start: tensors of the start, by name.
        granularity: of the modules.

    Attributes:
        unusable: modules that are not compared, with the reason.

    Raises:
        MeasureError: fewer than four examples.
        ActivationError: no module has an output that can be compared.
    """

    def __init__(self, batch: Any, model: nn.Module, start: Mapping[str, Tensor], granularity: Granularity) -> None:
        self._batch, self._granularity = batch, granularity
        self.examples = len(first_tensor(batch))
        if self.examples < _LEAST:
            raise MeasureError("CKA needs more examples", expected=f"{_LEAST} or more", got=str(self.examples))
        self.unusable: dict[str, str] = {}
        self._start = self._grams(
            model, lambda args, kwargs: functional_call(model, dict(start), tuple(args), dict(kwargs))
        )
        if not self._start:
            raise ActivationError(
                "no module of the network has an output that can be compared",
                expected="one floating-point tensor, an example in each row",
                got="; ".join(f"{name}: {why}" for name, why in self.unusable.items()) or "no module",
            )

    def similarity(self, model: nn.Module) -> dict[str, float | None]:
        """CKA by module; None where an output is the same for all examples, or not finite.

        Args:
            model: the network as it is now, left as it is.
        """
        now = self._grams(model, lambda args, kwargs: model(*args, **kwargs))
        return {name: _cka(self._start[name], gram) for name, gram in now.items() if name in self._start}

    def _grams(self, model: nn.Module, run: Callable[[Sequence[Any], Mapping[str, Any]], object]) -> dict[str, _Gram]:
        found: dict[str, _Gram] = {}

        def hook_of(name: str) -> Callable[[nn.Module, object, object], None]:
            def hook(_module: nn.Module, _inputs: object, output: object) -> None:
                if name in found:
                    return  # a module that is called again: its first output counts
                try:
                    features = only_tensor(output, name).detach()
                except ActivationError as error:
                    self.unusable[name] = f"{error.what}: {error.got}"
                    return
                if len(features) != self.examples:
                    self.unusable[name] = "its output has no row for each example"
                    return
                wide = features.to(torch.float32) if features.dtype in (torch.float16, torch.bfloat16) else features
                gram, offset = gram_and_rounding(wide * power_of_two(wide))
                found[name] = gram.cpu(), offset.cpu(), features.dtype

            return hook

        device = next((p.device for p in model.parameters()), torch.device("cpu"))
        args, kwargs = _arguments(_moved(self._batch, device))
        with preserved(model), randomness_untouched(), torch.no_grad(), torch.autocast(device.type, enabled=False):
            model.eval()
            handles = [
                find_module(model, name).register_forward_hook(hook_of(name))
                for name in hookable_parts(model, self._granularity)
            ]
            try:
                run(args, kwargs)
            finally:
                for handle in handles:
                    handle.remove()
        return found


def _cka(a: _Gram, b: _Gram) -> float | None:
    coarser = max((a[2], b[2]), key=lambda dtype: torch.finfo(dtype).eps)
    grams, offsets = torch.stack([a[0], b[0].to(a[0].dtype)]), torch.stack([a[1], b[1].to(a[1].dtype)])
    matrix = cka_compute(cka_update(None, grams, offsets, kind="unbiased", feature_dtype=coarser))
    return None if bool(matrix.null[0, 1]) else float(matrix.values[0, 1])


def _arguments(batch: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(batch, Mapping):
        return (), dict(batch)
    return tuple(batch) if isinstance(batch, tuple | list) else (batch,), {}


def _moved(batch: Any, device: torch.device) -> Any:
    if isinstance(batch, Tensor):
        return batch.to(device)
    if isinstance(batch, Mapping):
        return {name: _moved(item, device) for name, item in batch.items()}
    return tuple(_moved(item, device) for item in batch) if isinstance(batch, tuple | list) else batch


def first_tensor(batch: Any) -> Tensor:
    """The first tensor of a batch, whose rows are its examples.

    Raises:
        MeasureError: it holds none.
    """
    args, kwargs = _arguments(batch)
    found = next((item for item in (*args, *kwargs.values()) if isinstance(item, Tensor)), None)
    if found is None:
        raise MeasureError(
            "the probe batch holds no tensor",
            expected="what the network takes: a tensor, a tuple of arguments, or a mapping of named ones",
            got=type(batch).__name__,
        )
    return found
