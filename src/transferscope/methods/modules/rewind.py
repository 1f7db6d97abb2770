"""Modules of a trained network put back to an earlier or a random value, one at a time or several together."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from transferscope.errors import MeasureError, ModuleNameError, nearest
from transferscope.measures.intervals import Interval
from transferscope.measures.metric_difference import difference_over_examples
from transferscope.methods.evaluation import Batches, Evaluation
from transferscope.methods.landscape.landscape import Landscape, LandscapePoint
from transferscope.networks.copies import copied
from transferscope.networks.given import takes_networks
from transferscope.networks.modules import Granularity, parts_parameters
from transferscope.readable import readable

ALL = "(all)"
"""All modules at once: rewound to the initial value this is the initial network."""
Target = Literal["initial", "random", "zero", "epoch"]
UNMOVED = "not evaluated: equal to its final value"


@readable
@dataclass(frozen=True, kw_only=True)
class ModuleSelection:
    """Which modules of a network are changed, one at a time and several together.

    Attributes:
        names: at ``granularity``; None for all.
        granularity: ``stage``, ``block`` or ``layer``.
        head: the classifying module, a part of its own.
        groups: modules to be changed together.
        cumulative: also the first k and the last k of ``names``, for every k.
    """

    names: Sequence[str] | None = None
    granularity: Granularity = "block"
    head: str | None = None
    groups: Sequence[Sequence[str]] = ()
    cumulative: bool = False


@readable
@dataclass(frozen=True)
class Rewound:
    """The final network with one module, or several, at another value."""

    name: str
    modules: tuple[str, ...]
    parameters: int
    to: Target
    epoch: int | None
    distance: float
    points: Mapping[str, LandscapePoint]
    evaluation: str


@readable
@dataclass(frozen=True)
class Rewinding:
    """What was measured.

    Attributes:
        final: by split, the final network under the batch-norm policy: what all others are compared with.
        rewound: modules in the order of the network, then groups, then all modules; each at every value.
    """

    final: Mapping[str, LandscapePoint]
    own: Mapping[str, LandscapePoint]
    rewound: tuple[Rewound, ...]
    batch_norm: str
    metric: str

    def at(self, name: str, to: Target = "initial", epoch: int | None = None) -> Rewound:
        """The network with a module or group at a value."""
        for item in self.rewound:
            if (item.name, item.to, item.epoch) == (name, to, epoch):
                return item
        raise MeasureError(
            f"rewinding {name!r} to {to if epoch is None else f'epoch {epoch}'} was not measured",
            hint=nearest(name, dict.fromkeys(item.name for item in self.rewound)),
        )

    def drop(
        self,
        item: Rewound,
        split: str,
        clusters: npt.ArrayLike | None = None,
        *,
        draws: int = 2000,
        seed: int = 0,
        confidence: float = 0.95,
    ) -> Interval:
        """Metric of the final network less that of the rewound one, paired bootstrap over examples.

        It speaks for these networks, not for training in general.

        Args:
            clusters: group of each example, drawn together; None draws examples.

        Returns:
            The interval; its value is None where the metric is not defined.
        """
        final, point = self.final[split], item.points[split]
        assert final.judged is not None
        assert final.labels is not None
        assert point.judged is not None
        if final.metric is None or point.metric is None:
            note = "the metric is not defined on these examples, or outputs are not finite"
            return Interval(None, None, None, len(final.judged), None, confidence, note)
        if item.distance == 0:
            units = len(final.judged) if clusters is None else len(np.unique(np.asarray(clusters)))
            return Interval(0.0, 0.0, 0.0, units, "examples", confidence, UNMOVED)
        return difference_over_examples(
            final.judged, point.judged, final.labels, self.metric, clusters, draws, seed, confidence
        )


def group_name(modules: Sequence[str]) -> str:
    """Several modules at once, as shown.

    >>> group_name(["conv1", "layer1.0"])
    'conv1 + layer1.0'
    """
    return " + ".join(modules)


@takes_networks("initial", "final", "random", "checkpoints")
def rewind(
    initial: nn.Module,
    final: nn.Module,
    data: Mapping[str, Batches],
    evaluation: Evaluation = Evaluation(),
    *,
    random: nn.Module | None = None,
    zero: bool = False,
    checkpoints: Mapping[int, nn.Module] | None = None,
    modules: ModuleSelection = ModuleSelection(),
    on_point: Callable[[], None] | None = None,
) -> Rewinding:
    """Put each module back to its initial value, a random one and each checkpoint's, all others at their final value.

    What lies before the modules runs once (:meth:`Landscape.focus`): values are those of full passes to the last bit.
    Parameters are copied bit for bit. Modules that are equal to their final value are not evaluated: nothing changes.

    Args:
        initial: before the training (for P-T the pre-trained values, the head its random start). Left as it is.
        final: after it. Left as it is.
        data: loaders by split, under the evaluation transform.
        random: a fresh initialisation of the same architecture; None leaves re-randomising out.
        zero: also with all parameters of a module at 0: it puts out nothing, what a residual connection leads past it
            stays.
        checkpoints: of the training, by epoch.
        modules: which are put back, alone and together.
        evaluation: batch norm, metric, device and number format: see :class:`Evaluation`.
        on_point: told after every network: the final one with either statistics, then each change.

    Raises:
        ModuleNameError: there is no such module.
        MeasureError: a group is empty or names a module twice, or the networks do not fit each other.

    Reference: Zhang, Bengio & Singer (2019), "Are all layers created equal?"; Neyshabur et al. 2020, Fig. 5.
    """
    parts = parts_parameters(final, modules.granularity, modules.head)
    together = _together(modules, parts)
    places: list[tuple[Target, int | None, nn.Module]] = [("initial", None, initial)]
    if random is not None:
        places.append(("random", None, random))
    if zero:
        places.append(("zero", None, without_weights(final)))
    places += [("epoch", epoch, network) for epoch, network in sorted((checkpoints or {}).items())]
    land = Landscape((final, *(network for _, _, network in places)), data, evaluation)
    shares = [tuple(float(index == place) for index in range(len(land.ends))) for place in range(len(land.ends))]
    land.combine(shares[0])
    tell = on_point or _silent
    own = land.evaluate(own_statistics=True, judged=True)
    tell()
    reached = land.evaluate(judged=True)
    tell()
    rewound = []
    for name, members in together.items():
        parameters = [parameter for member in members for parameter in parts[member]]
        size = sum(land.parameters[parameter].numel() for parameter in parameters)
        land.combine(shares[0])
        evaluated = land.focus(parameters, memory=evaluation.memory, granularity=modules.granularity, head=modules.head)
        for place, (to, epoch, _) in enumerate(places, start=1):
            distance = land.distance(0, place, only=set(parameters))
            points = reached
            if distance != 0:
                land.combine(shares[place], only=parameters)
                points = land.evaluate(judged=True)
            words = evaluated if distance != 0 else UNMOVED
            rewound.append(Rewound(name, members, size, to, epoch, distance, points, words))
            tell()
    return Rewinding(reached, own, tuple(rewound), land.policy, evaluation.metric)


def _silent() -> None:
    pass


@torch.no_grad()
def without_weights(network: nn.Module) -> nn.Module:
    """A copy with all parameters at 0; buffers stay."""
    empty = copied(network)
    for parameter in empty.parameters():
        parameter.zero_()
    return empty


def _together(modules: ModuleSelection, parts: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """What is put back at once, by name: single modules first, all of them last."""
    wanted = list(parts) if modules.names is None else list(modules.names)
    for members in ((name,) for name in wanted), modules.groups:
        for group in members:
            _check_group(group, parts, modules.granularity)
    found = {name: (name,) for name in wanted} | {group_name(group): tuple(group) for group in modules.groups}
    if modules.cumulative:
        found |= dict(_cumulative(wanted))
    return found | {ALL: tuple(parts)}


def _cumulative(names: Sequence[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    # One is the module itself.
    for count in range(2, len(names)):
        yield f"(first {count})", tuple(names[:count])
    for count in range(2, len(names)):
        yield f"(last {count})", tuple(names[-count:])


def _check_group(group: Sequence[str], parts: Mapping[str, Sequence[str]], granularity: str) -> None:
    if not group or len(set(group)) < len(group):
        raise MeasureError(
            "a group holds modules, each once", expected="at least one name, none twice", got=str(list(group))
        )
    for name in group:
        if name not in parts:
            raise ModuleNameError(f"there is no module {name!r} at granularity {granularity!r}",
                                  hint=nearest(name, parts))  # fmt: skip
