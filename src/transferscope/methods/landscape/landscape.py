"""The loss of one architecture anywhere in parameter space: what paths, planes, curves and basins are measured with."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from transferscope.errors import MeasureError
from transferscope.measures.metric_difference import judged as judged_of
from transferscope.measures.metrics import correct, metric, per_example_loss
from transferscope.measures.mixing import mix
from transferscope.methods.evaluation import Batches, Evaluation
from transferscope.methods.landscape.buffer_rules import buffer_rules
from transferscope.networks.alike import unlike
from transferscope.networks.batch import first_inputs
from transferscope.networks.batchnorm import has_batch_norm, recompute
from transferscope.networks.copies import copied
from transferscope.networks.cuts.prefix import KeptPrefix, find_prefix
from transferscope.networks.cuts.trace import Trace, trace
from transferscope.networks.derived_buffers import converge_spectral_norms
from transferscope.networks.evaluate import (
    autocast,
    check_deterministic,
    check_network_deterministic,
    logits,
    network_inputs,
    preserved,
    resolve_device,
)
from transferscope.networks.modules import Granularity
from transferscope.networks.one_function import check_one_function
from transferscope.networks.pruning import pruning_masks, without_pruned
from transferscope.readable import readable

_LOOKED_AT = 8
_COMPARED = 32


@readable
@dataclass(frozen=True)
class LandscapePoint:
    """A split's examples at one point.

    Attributes:
        losses: ``examples``, loss of each in nats; infinite where the network's logits are not finite.
        errors: ``examples``, share of wrong labels of each: 0 or 1 for a single label.
        judged: what the metric is made of, for intervals over examples: see
            :func:`~transferscope.measures.metric_difference.judged`; None unless asked for.
    """

    losses: npt.NDArray[np.float64]
    errors: npt.NDArray[np.float64]
    metric: float | None
    judged: npt.NDArray[np.float64] | None = None
    labels: Tensor | None = None


@final
class Landscape:
    """A network that can be put anywhere in the space spanned by some networks and evaluated there.

    It works on a copy: the networks given are never changed. Moving is in place, no tensor is allocated for a point.
    Singular vectors that spectral norms keep are those of the weights at the point, ends included. Pruned networks have
    one mask; what it switches off is 0 at every end, so that no distance counts it.

    Args:
        networks: of one architecture, with heads of one size; the first is where the landscape starts.

    Attributes:
        policy: what happens to running statistics, or ``no batch norm``.
        parameters: the live parameters of ``network`` by name; change them in place to be anywhere else.
    """

    def __init__(
        self, networks: Sequence[nn.Module], data: Mapping[str, Batches], evaluation: Evaluation = Evaluation()
    ) -> None:
        batch_norm, recompute_on = evaluation.batch_norm, evaluation.recompute_on
        if not networks:
            raise MeasureError("a landscape needs a network", expected="at least one", got="none")
        if not data:
            raise MeasureError("a landscape needs data", expected="at least one split", got="none")
        for other in networks[1:]:
            _check_alike(networks[0], other)
        if batch_norm == "recompute" and recompute_on is None and has_batch_norm(networks[0]):
            raise MeasureError(
                "the networks have batch norm, but there is nothing to recompute its statistics on",
                expected="Evaluation(recompute_on=...): batches of training images",
                hint="or switch it off with batch_norm='interpolate': the result then says so",
            )
        for batches in data.values():
            check_deterministic(batches)
        if recompute_on is not None:
            check_deterministic(recompute_on, labels=False)
        self.device = resolve_device(evaluation.device)
        self.memory_format, self.precision = evaluation.memory_format, evaluation.precision
        self.metric_name = evaluation.metric
        self._data = dict(data)
        self._recompute_on = recompute_on
        self._traces: dict[tuple[Granularity, str | None], Trace] = {}
        self._prefix: KeptPrefix | None = None
        # Where each tensor was last put, and its version then: what is there already is not written again.
        self._at: dict[str, tuple[int, tuple[float, ...]]] = {}
        self.network = copied(networks[0]).to(self.device).eval()
        if self.memory_format == "channels_last":
            self.network = self.network.to(memory_format=torch.channels_last)
        self._live = _tensors(self.network)
        self.parameters = dict(self.network.named_parameters())
        self._masks = pruning_masks(self.network)
        # empty_like keeps the memory format of the network, so that no point pays for a conversion.
        self.ends = tuple(
            {
                name: torch.empty_like(self._live[name]).copy_(tensor.detach())
                for name, tensor in without_pruned(_tensors(other), self._masks).items()
            }
            for other in networks
        )
        first = first_inputs(next(iter(self._data.values())))
        self._example = network_inputs(self.network, first, self.device, self.memory_format)
        # A few images show whether the network draws anything by chance.
        check_network_deterministic(self.network, self._example[:_LOOKED_AT])
        self._rules = buffer_rules(self.network, self.ends, batch_norm, self._example)
        self.policy = self._rules.policy
        for other, end in zip(networks[1:], self.ends[1:], strict=True):
            check_one_function(self.network, other, self.ends[0], end, self._rules.movable, self._example[:_COMPARED])

    @property
    def settles(self) -> bool:
        """Whether evaluating changes buffers, so that an end is not the network with its own."""
        return self.policy in ("recompute", "none") or self._rules.spectral_norms

    @property
    def splits(self) -> tuple[str, ...]:
        """The names of the loaders."""
        return tuple(self._data)

    def distance(self, first: int = 0, second: int = 1, only: Collection[str] | None = None) -> float:
        """‖θ_first − θ_second‖₂ over parameters (those named in ``only``, or all), buffers left out."""
        return math.sqrt(
            sum(
                float((self.ends[first][name].cpu().double() - self.ends[second][name].cpu().double()).square().sum())
                for name in self.parameters
                if only is None or name in only
            )
        )

    @torch.no_grad()
    def replace(self, index: int, state: Mapping[str, Tensor]) -> None:
        """Put another network at an end, in place: the next :meth:`combine` goes from there."""
        if not 0 <= index < len(self.ends):
            raise MeasureError("there is no such end", expected=f"0 to {len(self.ends) - 1}", got=str(index))
        for name, target in self.ends[index].items():
            given = state.get(name)
            if given is None or given.shape != target.shape or given.dtype != target.dtype:
                raise MeasureError(
                    f"the state does not fit the landscape: {name!r} is missing or differs",
                    expected=f"{tuple(target.shape)} {target.dtype}",
                    got="nothing" if given is None else f"{tuple(given.shape)} {given.dtype}",
                )
        given_state = without_pruned(state, self._masks)
        for name, target in self.ends[index].items():
            target.copy_(given_state[name])
        # What was put from the former end is no longer there.
        self._at.clear()

    @torch.no_grad()
    def combine(self, weights: Sequence[float], only: Collection[str] | None = None) -> None:
        """Go to Σ_k weights[k]·θ_k; where one weight is 1 and the rest 0, every tensor is copied bit for bit.

        Running statistics are combined like parameters, unless the policy keeps the first network's; counters are
        copied from the network whose weight is 1, else from the first.

        Args:
            only: names of parameters and buffers that move; the others are those of the first network. None for all.
        """
        shares = tuple(float(weight) for weight in weights)
        if len(shares) != len(self.ends) or not all(map(math.isfinite, shares)):
            raise MeasureError(
                "a point needs one finite weight for each network",
                expected=f"{len(self.ends)} weights",
                got=str(shares),
            )
        first_alone = (1.0, *([0.0] * (len(shares) - 1)))
        for name, target in self._live.items():
            kept = self.policy == "none" and name not in self.parameters
            moved = not kept and (only is None or name in only)
            goal = shares if moved else first_alone
            if self._at.get(name) == (target._version, goal):
                continue
            mix(target.detach(), [end[name] for end in self.ends], goal)
            self._at[name] = (target._version, goal)
        self._forget()

    @torch.no_grad()
    def shift(self, direction: Mapping[str, Tensor], scale: float = 1.0) -> None:
        """Add ``scale·direction`` to the parameters where they are; buffers stay."""
        for name, value in direction.items():
            if name not in self.parameters or self.parameters[name].shape != value.shape:
                raise MeasureError(
                    f"the direction {name!r} does not fit the network",
                    expected="names and shapes of its parameters",
                    got=f"shape {tuple(value.shape)}",
                )
            self.parameters[name].add_(value.to(self.device), alpha=scale)
        self._forget()

    def _forget(self) -> None:
        """Drop what a network keeps of its weights in evaluation mode: LeViT's attention biases are such a cache."""
        self.network.train()
        self.network.eval()

    def focus(
        self,
        parameters: Collection[str] | None,
        *,
        memory: int = 1024,
        granularity: Granularity = "block",
        head: str | None = None,
    ) -> str:
        """Say which parameters will change from now on: what lies before them is run once and kept.

        Values are the same to the last bit. Should another parameter change all the same, what was kept is made anew.
        Interpolated running statistics may move before the cut as well: that policy takes full passes.

        Args:
            memory: MiB that may be kept, of the evaluation and the recomputation batches together.
            granularity: of the parts between which the network may be cut: see
                :mod:`transferscope.networks.cuts.trace`.

        Returns:
            How points will be evaluated, for a report: ``kept before NAME (graph)``, or ``full pass`` and why.
        """
        self._prefix = None
        if parameters is None:
            return "full pass"
        if self.policy == "interpolate":
            return "full pass (batch norm: interpolate)"
        key = (granularity, head)
        if key not in self._traces:
            self._traces[key] = trace(self.network, self._example, granularity=granularity, head=head)
        self._prefix, words = find_prefix(self._traces[key], parameters, self._example, memory * 2**20)
        return words

    @property
    def prefix(self) -> KeptPrefix | None:
        """What :meth:`focus` keeps; None where points take full passes."""
        return self._prefix

    def evaluate(
        self, splits: Collection[str] | None = None, *, own_statistics: bool = False, judged: bool = False
    ) -> dict[str, LandscapePoint]:
        """Loss, error and metric where the network is; batch norm by the policy.

        Args:
            judged: give each example's part in the metric, and its label, as well.
        """
        asked = self._data if splits is None else splits
        prefix = None if own_statistics else self._prefix
        if self._rules.spectral_norms and not own_statistics:
            converge_spectral_norms(self.network)
        if prefix is not None:
            return self._evaluate_after(prefix, asked, judged)
        if self.policy == "recompute" and not own_statistics and self._recompute_on is not None:
            recompute(self.network, self._recompute_on, precision=self.precision, memory_format=self.memory_format)
        measured = {}
        for split in asked:
            values, labels = logits(
                self.network, self._data[split], self.device, self.precision, memory_format=self.memory_format
            )
            measured[split] = _point(values, labels, self.metric_name, judged)
        return measured

    def _evaluate_after(self, prefix: KeptPrefix, splits: Iterable[str], judged: bool) -> dict[str, LandscapePoint]:
        prefix.refresh()
        if self.policy == "recompute" and self._recompute_on is not None:
            kept = prefix.values("recompute", self._recompute_on, self.device, self.memory_format)
            recompute(self.network, (values for values, _ in kept), forward=prefix.suffix, precision=self.precision)
            prefix.settle_statistics()
        measured = {}
        for split in splits:
            outputs, labels = [], []
            with preserved(self.network), torch.inference_mode(), autocast(self.device, self.precision):
                for values, given in prefix.values(split, self._data[split], self.device, self.memory_format):
                    outputs.append(prefix.suffix(values).float().cpu())
                    assert given is not None  # checked when the landscape was made
                    labels.append(given.cpu())
            measured[split] = _point(torch.cat(outputs), torch.cat(labels), self.metric_name, judged)
        return measured


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def _check_alike(a: nn.Module, b: nn.Module) -> None:
    apart = unlike(a, b)
    if apart is not None:
        raise MeasureError(
            "there is no straight line between these networks: their parameters or buffers differ",
            expected="two networks of one architecture with heads of one size",
            got=f"{apart.got} ({apart.cause})",
            hint=apart.hint,
        )


def _point(values: Tensor, labels: Tensor, metric_name: str, judged: bool) -> LandscapePoint:
    task: Literal["single", "multi"] = "single" if labels.ndim == 1 else "multi"
    right = correct(values, labels).double()
    errors = 1 - (right if right.ndim == 1 else right.mean(dim=1))
    # Far from trained networks one may overflow: the loss of these examples has no bound, the others keep theirs.
    finite = torch.isfinite(values).all(dim=1)
    losses = torch.full((len(values),), math.inf, dtype=torch.float64)
    if bool(finite.any()):
        losses[finite] = per_example_loss(values[finite], labels[finite], task)
    return LandscapePoint(
        losses=losses.numpy(),
        errors=errors.numpy(),
        metric=metric(values, labels, metric_name),
        judged=judged_of(values, labels, metric_name) if judged else None,
        labels=labels if judged else None,
    )
