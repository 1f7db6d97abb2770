"""One network under observation: which of its modules can be compared, and a Gram matrix of each for every batch."""

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn

from transferscope.errors import ActivationError
from transferscope.measures.cka import centred_gram
from transferscope.networks.activations import ActivationRecorder

__all__ = ["ObservedNetwork"]


@final
class ObservedNetwork:
    """One network with the points to look at, and the Gram matrices of its latest batch.

    Args:
        label: of the network, for messages.
        model: on its device, in evaluation mode.
        names: of modules or calls.
        required: whether a module that cannot be compared is an error, or noted in ``unusable``.

    Attributes:
        points: name to index, known after :meth:`probe`.
        unusable: name to reason.
        coarsest: the coarsest type of an output so far; it sets the level of rounding errors.
    """

    def __init__(self, label: str, model: nn.Module, names: Sequence[str], required: bool) -> None:
        self.label, self.model, self.required = label, model, required
        self.names = tuple(dict.fromkeys(names))
        self.points: dict[str, int] = {}
        self.unusable: dict[str, str] = {}
        self._times: dict[str, int] = {}
        self._grams: dict[int, Tensor] = {}
        self._offsets: dict[int, Tensor] = {}
        self._examples = 0
        self.coarsest = torch.float32

    def probe(self, inputs: Tensor) -> None:
        """Find out which modules are called and comparable, before anything long is started.

        Two passes of different size: an output whose first axis does not grow with the examples is found.

        Args:
            inputs: two or three examples.

        Raises:
            ActivationError: a module asked for by name cannot be compared, or none can.
        """
        for count in (len(inputs), len(inputs) - 1):
            self._examples = count
            recorder = ActivationRecorder(
                self.model, self.names, self._look, label=f"network {self.label!r}", strict=self.required
            )
            with recorder:
                recorder.run(inputs[:count].clone())
            self.unusable.update(recorder.unusable)
        found = [name for name in self._times if name not in self.unusable]
        # In the order asked for, further calls of a module right after its first.
        position = {name: index for index, name in enumerate(self.names)}
        found.sort(key=lambda name: position.get(name, position.get(name.rpartition("#")[0], 0)))
        self.points = {name: index for index, name in enumerate(found)}
        if not self.points:
            raise ActivationError(
                f"no module of network {self.label!r} has an output that can be compared",
                expected="at least one module that is called and gives one tensor",
                got="; ".join(f"{name}: {reason}" for name, reason in self.unusable.items()) or "no modules",
                hint="name modules, or choose another granularity",
            )

    def _look(self, name: str, output: Tensor) -> None:
        rows = output.shape[0] if output.dim() else 0
        times = rows // self._examples
        if rows and rows == times * self._examples == self._times.setdefault(name, times) * self._examples:
            return
        reason = f"its first axis does not run over the {self._examples} examples: {tuple(output.shape)}"
        if self.required:
            raise _not_examples(name, self.label, reason)
        self.unusable[name] = reason

    def recorder(self) -> ActivationRecorder:
        """A recorder of the points; to be entered once for all batches."""
        return ActivationRecorder(self.model, list(self.points), self._receive, label=f"network {self.label!r}")

    def _receive(self, name: str, output: Tensor) -> None:
        if name not in self.points:
            raise ActivationError(
                f"network {self.label!r} calls modules in another way in this batch than in the first",
                expected=f"the calls {', '.join(self.points)}",
                got=f"{name!r}",
                hint="name the calls to compare, for example 'relu#2'",
            )
        times = self._times[name]
        if output.shape[0] != times * self._examples:
            raise _not_examples(name, self.label, f"{self._examples} examples gave the shape {tuple(output.shape)}")
        # Windows and heads that were folded into the first axis run inside the examples.
        if times > 1 or output.dim() == 1:
            output = output.reshape(self._examples, -1)
        gram, offset = centred_gram(output)
        if torch.finfo(output.dtype).eps > torch.finfo(self.coarsest).eps:
            self.coarsest = output.dtype
        self._grams[self.points[name]] = gram
        self._offsets[self.points[name]] = offset

    def run(self, recorder: ActivationRecorder, inputs: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """One batch through the network.

        Args:
            recorder: from :meth:`recorder`, entered.
            inputs: of the batch, examples first.

        Returns:
            The Gram matrix and the offset of each point, in their order.

        Raises:
            ActivationError: modules are called in another way than in the probe.
        """
        self._examples = len(inputs)
        self._grams, self._offsets = {}, {}
        # A copy: a network that begins in place must not change what the next one, or the caller, sees.
        recorder.run(inputs.clone())
        order = sorted(self._grams)
        return [self._grams[index] for index in order], [self._offsets[index] for index in order]


def _not_examples(name: str, label: str, reason: str) -> ActivationError:
    return ActivationError(
        f"the output of module {name!r} of network {label!r} is not one row for each example",
        expected="the first axis runs over the examples",
        got=reason,
        hint="name a module whose output is batch-first",
    )
