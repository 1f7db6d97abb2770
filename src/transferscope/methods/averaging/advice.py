"""Whether several networks can be averaged into one: decided on one split, proved on another."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import final

import numpy.typing as npt
from torch import Tensor, nn

from transferscope.errors import MeasureError
from transferscope.methods.averaging.advice_result import AverageAdvice
from transferscope.methods.averaging.correspondence import Correspondence, blocking_modules, correspondence
from transferscope.methods.averaging.judging import DECIDES, PROVES, Judging
from transferscope.methods.averaging.soups import greedy_soup, model_stock, run_averages, uniform_soup, wise_ft
from transferscope.methods.averaging.space import AveragedNetwork, AveragingMethod, AveragingSpace, Scores
from transferscope.methods.compare.compare import OnStep
from transferscope.methods.evaluation import Batches, Evaluation
from transferscope.networks.alike import unlike
from transferscope.networks.given import given, takes_networks
from transferscope.readable import readable

__all__ = ["AverageData", "AverageStart", "average_checkpoints", "average_networks"]

_WHY_NO_START = "no start is given"
_WHY_NEW_HEAD = "the start has another head"


@readable
@dataclass(frozen=True)
class AverageData:
    """Examples on which it is decided whether and how networks are averaged, and others that prove it.

    Attributes:
        validation: examples that decide.
        test: examples that prove.
        located: examples on which barriers are measured, in passes that are many: fewer; None for ``validation``.
        clusters: group of each example by the name of the field, drawn together in intervals; absent draws examples.
    """

    validation: Batches
    test: Batches
    located: Batches | None = None
    clusters: Mapping[str, npt.ArrayLike | None] = field(default_factory=dict)


@readable
@dataclass(frozen=True)
class AverageStart:
    """Where the networks were fine-tuned from.

    Attributes:
        network: the pre-trained network, of the same architecture.
        new_head: name of the head where it is not the pre-trained one: it is left out.
    """

    network: nn.Module
    new_head: str | None = None


@takes_networks("networks")
def average_networks(
    networks: Sequence[nn.Module],
    data: AverageData,
    evaluation: Evaluation = Evaluation(),
    *,
    names: Sequence[str] | None = None,
    start: AverageStart | None = None,
    methods: Sequence[AveragingMethod] | None = None,
    margin: float = 0.005,
    head: str | None = None,
    force: bool = False,
    on_step: OnStep | None = None,
) -> AverageAdvice:
    """Say whether one network, an average of the weights of several, is as good as the best of them.

    First the barrier between the best single network and every other one, before and after hidden units are matched;
    networks behind a barrier are left out. Then averages of the others, with batch norm's running statistics estimated
    anew. The answer is yes where the best of them has a metric that is not below that of the best single network, and
    its loss is surely below ``margin``, both on validation examples, for all averages looked at at once. Test examples
    decide nothing. The order of the networks makes no difference: ties go by validation loss, then by content.

    Networks are left as they are.

    Args:
        networks: two or more of one architecture, with heads of one size; one suffices for ``wise``.
        names: of the networks, for what is said of them; their places by default.
        start: where they were fine-tuned from: needed for ``stock`` and ``wise``.
        methods: ``uniform``, ``greedy``, ``stock``, ``wise``; None takes all that apply.
        margin: loss of the metric that counts as none.
        head: the classifying module, a part of its own where barriers are located.
        force: make an average also where the answer is no: of all networks, by the first of the methods.
        on_step: told what is being done.

    Raises:
        MeasureError: too few networks, networks that do not correspond (names, shapes, masks), a method that does not
            apply, or a metric that is not defined on the validation examples.
        ArchitectureError: buffers that nothing can be put between.
        LoaderError: a loader does not give the same batches twice.

    Reference: Wortsman et al. (2022), "Model soups"; Jang, Yun & Han (2024), "Model Stock"; Wortsman et al. (2022),
    "Robust fine-tuning of zero-shot models"; Ainsworth et al. (2023), "Git Re-Basin"; Jordan et al. (2023), "REPAIR".

    Example:
        >>> network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).eval()
        >>> import torch
        >>> inputs = torch.randn(40, 3)
        >>> batches = [(inputs, network(inputs).argmax(dim=1))]
        >>> average_networks([network, network], AverageData(batches, batches), Evaluation(device="cpu")).sentence
        'yes'
    """
    told = on_step or _silent
    asked, not_tried = _asked(methods, start, len(networks))
    called = [str(place) for place in range(len(networks))] if names is None else list(names)
    _check_alike(networks, start, called)
    table = Judging(AveragingSpace(networks, _splits(data), evaluation), evaluation, data.clusters, margin, called)
    order, best = table.order, table.order[0]
    ways: dict[int, Correspondence] = {}
    match_on = evaluation.recompute_on
    for done, place in enumerate(order[1:]):
        told("barriers", done, len(order) - 1)
        ways[place] = correspondence(
            networks[best], networks[place], data.located or data.validation, evaluation, _groups(data), match_on
        )
    space = table.space
    if any(way.aligned for way in ways.values()):
        entering = [networks[place] if place == best else ways[place].network for place in range(len(networks))]
        space = AveragingSpace(entering, _splits(data), evaluation, space.hashes)
    inside = [place for place in order if place == best or not ways[place].blocked]
    blocked = len(inside) == 1 and len(networks) > 1 and "wise" not in asked
    ways_to = _Ways(space, order, table.singles, _start_state(start))
    told("averages", 0, 0)
    averages = [] if blocked else [made for method in asked if (made := ways_to.average(method, inside)) is not None]
    found = table.advice(averages, space, blocked=blocked, ways=ways, not_tried=not_tried)
    if found.answer == "yes":
        return found
    told("modules that block the way", 0, 0)
    located = {
        place: replace(
            way,
            modules=blocking_modules(
                networks[best], way.network, data.located or data.validation, evaluation, _groups(data), head=head
            ),
        )
        if way.blocked or (way.open and found.reason == "worse")
        else way
        for place, way in ways.items()
    }
    found = replace(found, members=table.members(located))
    if not force:
        return found
    made = ways_to.average(asked[0], order) or ways_to.average("uniform", order)
    assert made is not None  # a uniform soup is always there
    return replace(found, forced=table.judged(made, found.looked_at + 1), network=space.network(made))


@takes_networks("checkpoints")
def average_checkpoints(
    checkpoints: Sequence[nn.Module],
    data: AverageData,
    evaluation: Evaluation = Evaluation(),
    *,
    names: Sequence[str] | None = None,
    decays: Sequence[float] = (0.5, 0.8),
    margin: float = 0.005,
) -> AverageAdvice:
    """Say whether an average along one run is as good as its best checkpoint: of the last k, or a moving average.

    As :func:`average_networks`, without barriers: checkpoints of a run follow each other.

    Args:
        checkpoints: two or more, the oldest first: here the order is that of the run.
        names: as of :func:`average_networks`.
        decays: of exponential moving averages.
        margin: loss of the metric that counts as none.

    Raises:
        MeasureError: as :func:`average_networks`.
    """
    _asked(None, None, len(checkpoints))
    called = [str(place) for place in range(len(checkpoints))] if names is None else list(names)
    _check_alike(checkpoints, None, called)
    table = Judging(AveragingSpace(checkpoints, _splits(data), evaluation), evaluation, data.clusters, margin, called)
    return table.advice(run_averages(table.space, DECIDES, decays), table.space)


@final
class _Ways:
    """Averages by the name of their method.

    Args:
        order: all networks, the best first.
        start: tensors of the start; None without one.
    """

    def __init__(
        self,
        space: AveragingSpace,
        order: Sequence[int],
        singles: Sequence[Mapping[str, Scores]],
        start: Mapping[str, Tensor] | None,
    ) -> None:
        self._space, self._order, self._singles, self._start = space, order, singles, start

    def average(self, method: AveragingMethod, members: Sequence[int]) -> AveragedNetwork | None:
        """The average of some networks; None where there is none but one of them alone."""
        best = self._order[0]
        if method == "wise":
            assert self._start is not None  # checked at the door
            return wise_ft(self._space, best, self._start, DECIDES)
        if len(members) < 2:
            return None
        if method == "stock":
            assert self._start is not None  # as above
            return model_stock(self._space, members, self._start)
        if method == "greedy":
            return greedy_soup(self._space, members, self._singles[best], DECIDES)
        return uniform_soup(self._space, members)


def _silent(_name: str, _done: int, _most: int) -> None:
    """Tell nothing."""


def _splits(data: AverageData) -> dict[str, Batches]:
    return {DECIDES: data.validation, PROVES: data.test}


def _groups(data: AverageData) -> npt.ArrayLike | None:
    return data.clusters.get(DECIDES if data.located is None else "located")


def _start_state(start: AverageStart | None) -> dict[str, Tensor] | None:
    """The tensors of the start by name, without those of a head that is not its own."""
    if start is None:
        return None
    network = given(start.network)
    tensors = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    dropped = None if start.new_head is None else f"{start.new_head}."
    return {
        name: tensor.detach() for name, tensor in tensors.items() if dropped is None or not name.startswith(dropped)
    }


def _asked(
    methods: Sequence[AveragingMethod] | None, start: AverageStart | None, count: int
) -> tuple[tuple[AveragingMethod, ...], dict[str, str]]:
    """The methods that are tried, and why others are not.

    Raises:
        MeasureError: one that was asked for does not apply.
    """
    why: dict[str, str] = {}
    if start is None:
        why = dict.fromkeys(("stock", "wise"), _WHY_NO_START)
    elif start.new_head is not None:
        why = {"wise": _WHY_NEW_HEAD}
    known: tuple[AveragingMethod, ...] = ("uniform", "greedy", "stock", "wise")
    for method in methods or ():
        if method not in known or method in why:
            raise MeasureError(
                f"the method {method!r} cannot be used here"
                if method in known
                else f"there is no way to average called {method!r}",
                expected=", ".join(name for name in known if name not in why),
                got=why.get(method, method),
                hint="give the start, with its own head for 'wise'" if method in why else None,
            )
    asked = tuple(methods or (name for name in known if name not in why))
    if count < (1 if set(asked) == {"wise"} else 2):
        raise MeasureError(
            "there is nothing to average",
            expected="two networks or more; one for 'wise' alone",
            got=f"{count} network(s)",
        )
    return asked, {name: reason for name, reason in why.items() if name not in asked}


def _check_alike(networks: Sequence[nn.Module], start: AverageStart | None, names: Sequence[str]) -> None:
    if len(names) != len(networks):
        raise MeasureError(
            "every network needs a name", expected=f"{len(networks)} names", got=f"{len(names)}: {', '.join(names)}"
        )
    others: list[tuple[str, nn.Module, str | None]]
    others = [(f"{name!r}", network, None) for name, network in zip(names[1:], networks[1:], strict=True)]
    if start is not None:
        others.append(("the start", given(start.network), start.new_head))
    for name, network, without in others:
        apart = unlike(networks[0], network, without=without)
        if apart is not None:
            raise MeasureError(
                f"{name} does not correspond to {names[0]!r}: they have no average",
                expected="networks of one architecture with heads of one size, pruned alike where they are",
                got=f"{apart.got} ({apart.cause})",
                hint=apart.hint,
            )
