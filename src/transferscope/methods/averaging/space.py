"""Networks of one architecture, and any average of their weights, evaluated on some images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, final

import torch
from torch import Tensor, nn

from transferscope.errors import MeasureError
from transferscope.measures.averages import weighted_state
from transferscope.measures.metrics import metric, per_example_loss
from transferscope.methods.evaluation import Batches, Evaluation, outputs_of
from transferscope.methods.landscape.landscape import Landscape
from transferscope.networks.batchnorm import has_batch_norm
from transferscope.networks.copies import copied
from transferscope.networks.weights import state_hash

__all__ = ["AveragedNetwork", "AveragingMethod", "AveragingSpace", "Scores", "rank_of", "scored"]

AveragingMethod = Literal["uniform", "greedy", "stock", "wise", "last", "ema"]


@dataclass(frozen=True)
class Scores:
    """What a network says of the images of a split.

    Attributes:
        logits: ``examples classes``.
        labels: ``examples`` or ``examples labels``.
        metric: None where it is not defined.
        loss: mean, in nats; infinite where a logit is not finite.
    """

    logits: Tensor = field(repr=False)
    labels: Tensor = field(repr=False)
    metric: float | None
    loss: float


@dataclass(frozen=True)
class AveragedNetwork:
    """One average of networks.

    Attributes:
        shares: of each network, in the order given; of all of them together 1 less ``start_share``.
        start_share: of the start; of Model Stock the mean over the parameters that it moves.
        trials: averages that were evaluated to find it, itself included.
        state: parameters and buffers by name, on the CPU, running statistics as evaluated.
        scores: by split.
    """

    method: AveragingMethod
    shares: tuple[float, ...]
    start_share: float
    trials: int
    state: Mapping[str, Tensor] = field(repr=False)
    scores: Mapping[str, Scores] = field(repr=False)

    @property
    def members(self) -> tuple[int, ...]:
        """Which networks have a share, by their place."""
        return tuple(place for place, share in enumerate(self.shares) if share)


@final
class AveragingSpace:
    """Evaluates networks as they are, and averages of them with batch norm estimated anew.

    Args:
        networks: of one architecture, with heads of one size; left as they are.
        data: loaders by split.
        evaluation: its ``batch_norm`` is ``recompute``, or ``interpolate`` for statistics averaged like weights.
        hashes: by which networks are put in order; those of their own content where None.
    """

    def __init__(
        self,
        networks: Sequence[nn.Module],
        data: Mapping[str, Batches],
        evaluation: Evaluation,
        hashes: Sequence[str] | None = None,
    ) -> None:
        if evaluation.batch_norm == "none":
            raise MeasureError(
                "an average has no running statistics of its own: those of the first network would depend on the order",
                expected="batch_norm='recompute', or 'interpolate' for averaged statistics",
                got="none",
            )
        # One end more, which takes each average in turn: the landscape checks all networks at its door.
        self._land = Landscape((networks[0], *networks), data, evaluation)
        self._data, self._evaluation = dict(data), evaluation
        self._states = list(self._land.ends[1:])
        network = self._land.network
        self._counters = [name for name, buffer in network.named_buffers() if not buffer.is_floating_point()]
        self.parameters = tuple(name for name, _ in network.named_parameters())
        self.re_estimated = evaluation.batch_norm == "recompute" and has_batch_norm(network)
        self.hashes = tuple(hashes or (state_hash(model.state_dict()) for model in networks))

    def __len__(self) -> int:
        return len(self._states)

    @property
    def counters(self) -> Sequence[str]:
        """Buffers of whole numbers, which the landscape found to be equal or to make no difference."""
        return self._counters

    @property
    def policy(self) -> str:
        """What was done with running statistics."""
        return self._land.policy

    def state(self, member: int) -> Mapping[str, Tensor]:
        """Parameters and buffers of a network by name."""
        return self._states[member]

    def single(self, member: int) -> dict[str, Scores]:
        """A network as it is, with its own running statistics."""
        self._land.replace(0, self._states[member])
        self._land.combine((1.0, *([0.0] * len(self))))
        return self._scores()

    def weighted(
        self, method: AveragingMethod, shares: Sequence[float], start: Mapping[str, Tensor] | None = None
    ) -> AveragedNetwork:
        """An average by shares; what they lack to 1 is the share of the start.

        Networks enter in the order of their content: the same ones in another order give the same bits.
        """
        rest = 1 - sum(shares) if start is not None else 0.0
        chosen = sorted((place for place, share in enumerate(shares) if share), key=lambda place: self.hashes[place])
        states: list[Mapping[str, Tensor]] = [self._states[place] for place in chosen]
        if start is not None:
            states.append(start)
        parts = [*(shares[place] for place in chosen), *([] if start is None else [rest])]
        found = weighted_state(states, parts, self.counters)
        return self.made(method, found, shares, rest)

    def made(
        self, method: AveragingMethod, state: Mapping[str, Tensor], shares: Sequence[float], start_share: float
    ) -> AveragedNetwork:
        """An average of a given state, evaluated."""
        self._land.replace(0, state)
        self._land.combine((1.0, *([0.0] * len(self))))
        self._land.evaluate(())  # running statistics and singular vectors of these weights
        scores = self._scores()
        live = self._land.network
        kept = {name: tensor.detach().cpu().clone() for name, tensor in live.state_dict().items()}
        return AveragedNetwork(method, tuple(shares), start_share, 1, kept, scores)

    def network(self, average: AveragedNetwork) -> nn.Module:
        """A network of its own with the weights of an average, on the CPU, in evaluation mode."""
        model = copied(self._land.network).cpu()
        model.load_state_dict(average.state)
        return model.eval()

    def _scores(self) -> dict[str, Scores]:
        return {split: self._score(batches) for split, batches in self._data.items()}

    def _score(self, batches: Batches) -> Scores:
        values, labels = outputs_of(self._land.network, batches, self._evaluation)
        return scored(values, labels, self._evaluation.metric)


def scored(values: Tensor, labels: Tensor, metric_name: str) -> Scores:
    """Metric and loss of logits."""
    finite = torch.isfinite(values).all()
    task: Literal["single", "multi"] = "single" if labels.ndim == 1 else "multi"
    loss = float(per_example_loss(values, labels, task).mean()) if bool(finite) else float("inf")
    return Scores(values, labels, metric(values, labels, metric_name) if bool(finite) else None, loss)


def rank_of(scores: Scores) -> tuple[float, float]:
    """What networks are ordered by, the best first: the metric, then the loss; an undefined metric is the last."""
    return (-scores.metric if scores.metric is not None else float("inf"), scores.loss)
