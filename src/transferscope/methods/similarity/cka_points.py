"""One network under observation: which of its modules can be compared, and a Gram matrix of each for every batch."""

from collections.abc import Callable, Sequence
from typing import Literal, final

import torch
from torch import Tensor, nn

from transferscope.errors import ActivationError
from transferscope.measures.grams import gram_and_rounding, power_of_two
from transferscope.networks.activations import ActivationRecorder
from transferscope.networks.evaluate import as_taken
from transferscope.networks.modules import core

Maps = Literal["flattened", "pooled"]
"""What becomes of feature maps and tokens: every position is a feature, or they are averaged over positions."""


def pooled(output: Tensor, channels_last: bool = False) -> Tensor:
    """The mean over positions: of a feature map over height and width, of tokens over the tokens.

    Args:
        output: ``examples channels height width``, ``examples tokens channels`` or ``examples channels``; outputs of
            more axes are flattened.
        channels_last: four axes are ``examples height width channels``.

    Returns:
        ``examples channels``.

    >>> pooled(torch.arange(8.0).reshape(1, 2, 2, 2)).tolist()
    [[1.5, 5.5]]
    """
    if output.dim() == 4:
        return output.mean((1, 2) if channels_last else (2, 3))
    return output.mean(1) if output.dim() == 3 else output.flatten(1)


@final
class ObservedNetwork:
    """One network with the points to look at, and the Gram matrices of its latest batch.

    Args:
        on_features: told the label, the point and its pooled features (``examples channels``) in every batch, inside
            the forward pass: what it wants to keep it must copy.

    Attributes:
        points: name to index, known after :meth:`probe`.
        coarsest: the coarsest type of an output so far; it sets the level of rounding errors.
        finest: float64 if an output has that type, else float32: of the Gram matrices.
    """

    def __init__(
        self,
        label: str,
        model: nn.Module,
        names: Sequence[str],
        required: bool,
        maps: Maps = "flattened",
        on_features: Callable[[str, str, Tensor], None] | None = None,
    ) -> None:
        self.label, self.model, self.required = label, model, required
        self._maps, self._on_features = maps, on_features
        # timm's word for networks (Swin) whose maps have their channels last.
        self._channels_last = getattr(core(model)[1], "output_fmt", None) == "NHWC"
        self.names = tuple(dict.fromkeys(names))
        self.points: dict[str, int] = {}
        self.unusable: dict[str, str] = {}
        self._times: dict[str, int] = {}
        self._scales: dict[str, float] = {}
        self._into = torch.empty(0, 0, 0), torch.empty(0)
        self._examples = 0
        self.coarsest = torch.float32
        self.finest = torch.float32

    def probe(self, inputs: Tensor) -> None:
        """Find out which modules are called and comparable, before anything long is started.

        Two passes of different size: an output whose first axis does not grow with the examples is found.
        """
        for count in (len(inputs), len(inputs) - 1):
            self._examples = count
            recorder = ActivationRecorder(
                self.model, self.names, self._look, label=f"network {self.label!r}", strict=self.required
            )
            with recorder:
                recorder.run(as_taken(self.model, inputs[:count]).clone())
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
        if output.dtype == torch.float64:
            self.finest = output.dtype
        if rows and rows == times * self._examples == self._times.setdefault(name, times) * self._examples:
            self._scales.setdefault(name, power_of_two(output) if output.is_floating_point() else 1.0)
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
        if self._on_features is not None:
            self._on_features(self.label, name, pooled(output, self._channels_last))
        if self._maps == "pooled":
            output = pooled(output, self._channels_last)
        grams, offsets = self._into
        index = self.points[name]
        # The same for all batches: what a point is scaled by drops out of CKA.
        if (scale := self._scales[name]) != 1:
            output = output * scale
        _, offsets[index] = gram_and_rounding(output, out=grams[index])
        if torch.finfo(output.dtype).eps > torch.finfo(self.coarsest).eps:
            self.coarsest = output.dtype

    def run(self, recorder: ActivationRecorder, inputs: Tensor, grams: Tensor, offsets: Tensor) -> None:
        """One batch through the network.

        The room is the caller's and used again for every batch: small matrices that outlive the feature maps around
        them would keep the allocator from giving these back (100 MB for a ResNet-18).

        Args:
            grams: ``points examples examples``, to be filled in the order of ``points``.
            offsets: ``points 2``, likewise.
        """
        self._examples, self._into = len(inputs), (grams, offsets)
        # A copy: a network that begins in place must not change what the next one, or the caller, sees.
        recorder.run(as_taken(self.model, inputs).clone())


def _not_examples(name: str, label: str, reason: str) -> ActivationError:
    return ActivationError(
        f"the output of module {name!r} of network {label!r} is not one row for each example",
        expected="the first axis runs over the examples",
        got=reason,
        hint="name a module whose output is batch-first",
    )
