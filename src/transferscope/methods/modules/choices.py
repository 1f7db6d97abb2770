"""Which modules of a fine-tuned network can go back to their pre-trained value, or go altogether, without loss."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy.typing as npt
import torch
from torch import nn

from transferscope.errors import MeasureError
from transferscope.measures.equivalence import noninferior
from transferscope.measures.families import bonferroni_confidence
from transferscope.methods.compare.compare import OnStep
from transferscope.methods.evaluation import Batches, Evaluation
from transferscope.methods.landscape.landscape import Landscape
from transferscope.methods.modules.choices_result import Change, ModuleChoice, ModuleChoices, Together
from transferscope.methods.modules.criticality import ALPHAS, SIGMAS, CriticalitySearch, criticality
from transferscope.methods.modules.rewind import (
    ModuleSelection,
    Rewinding,
    Rewound,
    group_name,
    rewind,
    without_weights,
)
from transferscope.networks.batchnorm import tracked_norms
from transferscope.networks.given import takes_networks
from transferscope.networks.modules import Granularity, parts_parameters
from transferscope.readable import readable

_CHOOSES = "validation"
_DRAWS = 2  # of noise, for μ
_ONE_SIDED = 0.90  # the ends of such an interval are one-sided 95 % limits


@readable
@dataclass(frozen=True)
class ChoiceData:
    """Examples on which modules are chosen, and others on which the choice is judged.

    Attributes:
        validation: examples that choose.
        test: examples that judge.
        noisy: training examples for μ, whose search evaluates many points: fewer than batch norm needs; None takes
            those that batch norm is recomputed on.
        clusters: group of each test example, drawn together in the bootstrap; None draws examples.
    """

    validation: Batches
    test: Batches
    noisy: Batches | None = None
    clusters: npt.ArrayLike | None = None


@dataclass(frozen=True)
class ModuleWork:
    """What :func:`module_choices` will do at most.

    Attributes:
        single: networks evaluated for single modules, and for all of them.
        noise: for μ; a search that leaves out what cannot become the minimum.
    """

    modules: int
    single: int
    noise: int
    together: int
    images: int

    @property
    def points(self) -> int:
        """Networks evaluated in all."""
        return self.single + self.noise + self.together


def module_work(
    finetuned: nn.Module,
    validation: int,
    test: int,
    *,
    train: int,
    noisy: int,
    new_head: str | None = None,
    head: str | None = None,
    granularity: Granularity = "block",
    batch_norm: Literal["recompute", "none"] = "recompute",
) -> ModuleWork:
    """Count what :func:`module_choices` will do at most, before it is begun."""
    count = len([name for name in parts_parameters(finetuned, granularity, new_head or head) if name != new_head])
    again = train if batch_norm == "recompute" and tracked_norms(finetuned) else 0
    # The final network with its own and with recomputed statistics; each module and all of them, put back and at 0.
    single = 2 + 2 * (count + 1)
    noise = 1 + count * len(ALPHAS) * len(SIGMAS) * _DRAWS
    # Of either list: the network and its growing; then as for single modules, of the whole list.
    grown, judged = 2 * (1 + count), 2 * (2 + 2 * 2)
    images = (single + judged) * (validation + test + again) + grown * (validation + again)
    images += noise * (noisy + (noisy if again else 0))
    return ModuleWork(count, single, noise, grown + judged, images)


@takes_networks("pretrained", "finetuned")
def module_choices(
    pretrained: nn.Module,
    finetuned: nn.Module,
    data: ChoiceData,
    evaluation: Evaluation,
    *,
    new_head: str | None = None,
    head: str | None = None,
    granularity: Granularity = "block",
    margin: float = 0.005,
    on_step: OnStep | None = None,
) -> ModuleChoices:
    """Put every module back to its pre-trained value, and to 0, and say what of it costs nothing.

    Lists of several modules are chosen on validation examples and judged on test examples. A module that can go back
    did not need its training here: a candidate for freezing, which training with it frozen must prove.

    Args:
        pretrained: of the architecture and the number of classes of ``finetuned``. Left as it is.
        finetuned: what came of it. Left as it is.
        data: examples that choose and judge.
        evaluation: examples of the training to recompute batch norm on, metric, device: see :class:`Evaluation`.
        new_head: the head's name, where the pre-trained network has none for these classes: it is left out.
        head: the classifying module, where it is not new, a part of its own.
        margin: loss of the metric that counts as none, above 0.
        on_step: see :func:`~transferscope.methods.compare.compare.compare`.

    Raises:
        MeasureError: the networks do not fit each other, there is no module besides the head, or the metric is not
            defined on the examples.

    Reference: Zhang, Bengio & Singer (2019), "Are all layers created equal?"; Neyshabur et al. 2020, Fig. 5 and 6.
    """
    if not margin > 0:
        raise MeasureError("the margin must be positive", expected="for example 0.005", got=str(margin))
    parts = parts_parameters(finetuned, granularity, new_head or head)
    names = [name for name in parts if name != new_head]
    if not names:
        raise MeasureError(
            "the network has no module besides its head",
            expected="a module that can be chosen",
            got=f"granularity {granularity!r}",
        )
    few = data.noisy if data.noisy is not None else evaluation.recompute_on
    if few is None:
        raise MeasureError("μ is found on training examples", expected="Evaluation(recompute_on=...)", got="None")
    select = partial(ModuleSelection, granularity=granularity, head=new_head or head)
    change = partial(rewind, pretrained, finetuned, {_CHOOSES: data.validation, "test": data.test}, evaluation)
    work = module_work(finetuned, 0, 0, train=0, noisy=0, new_head=new_head, head=head, granularity=granularity)
    steps = _Steps(on_step, work.points)
    steps.begin("single modules", 0)
    found = change(zero=True, modules=select(names=names), on_point=steps.one)
    final = found.final["test"]
    if final.metric is None or found.final[_CHOOSES].metric is None:
        raise MeasureError("the metric is not defined on these examples", expected="examples of every class")
    steps.begin("noise", work.single)
    bounds = criticality(
        pretrained,
        finetuned,
        few,
        replace(evaluation, recompute_on=few),
        modules=names,
        granularity=granularity,
        head=new_head or head,
        search=CriticalitySearch(draws=_DRAWS),
        on_module=partial(steps.one, (work.noise - 1) // work.modules),
    )
    every = bonferroni_confidence(len(names), _ONE_SIDED)
    modules = []
    for item in bounds.modules:
        back, gone = found.at(item.name), found.at(item.name, "zero")
        norm = _norm(pretrained, parts[item.name])
        modules.append(
            ModuleChoice(
                name=item.name,
                parameters=item.parameters,
                distance=back.distance,
                relative=back.distance / norm if norm else None,
                reset=_change(found, back, margin, every, data.clusters),
                zero=_change(found, gone, margin, every, data.clusters),
                mu=item.criticality.mu,
                sigma=item.criticality.sigma,
            )
        )

    def several(to: Literal["initial", "zero"]) -> Together:
        other = pretrained if to == "initial" else without_weights(finetuned)
        land = Landscape((finetuned, other), {_CHOOSES: data.validation}, evaluation)
        steps.begin("several modules at once", work.single + work.noise + (to == "zero") * work.together // 2)
        changes = {item.name: item.reset if to == "initial" else item.zero for item in modules}
        kept = _grown(land, _cheapest_first(changes, margin), parts, margin, steps.one)
        chosen = tuple(name for name in names if name in kept)
        if not chosen:
            return Together((), 0, None)
        together = change(zero=to == "zero", modules=select(names=(), groups=[chosen]), on_point=steps.one)
        item = together.at(group_name(chosen), to)
        return Together(chosen, item.parameters, _change(together, item, margin, _ONE_SIDED, data.clusters))

    return ModuleChoices(
        modules=tuple(modules),
        reset=several("initial"),
        zero=several("zero"),
        metric_name=evaluation.metric,
        metric=final.metric,
        examples=(len(found.final[_CHOOSES].losses), len(final.losses)),
        parameters=sum(parameter.numel() for parameter in finetuned.parameters()),
        margin=margin,
        epsilon=bounds.epsilon,
        batch_norm=found.batch_norm,
    )


class _Steps:
    """Tells of networks evaluated, of so many at most; what one step leaves out counts as done in the next."""

    def __init__(self, on_step: OnStep | None, most: int) -> None:
        self._on_step, self._most = on_step, most
        self._name, self._done = "", 0

    def begin(self, name: str, done: int) -> None:
        self._name, self._done = name, done
        self._tell()

    def one(self, count: int = 1) -> None:
        self._done += count
        self._tell()

    def _tell(self) -> None:
        if self._on_step is not None:
            self._on_step(self._name, self._done, self._most)


def _norm(network: nn.Module, names: Sequence[str]) -> float:
    own = dict(network.named_parameters())
    return float(torch.stack([own[name].detach().double().square().sum() for name in names]).sum().sqrt())


def _change(
    found: Rewinding, item: Rewound, margin: float, confidence: float, clusters: npt.ArrayLike | None
) -> Change:
    own, other = found.final[_CHOOSES].metric, item.points[_CHOOSES].metric
    loss = found.drop(item, "test", clusters, confidence=confidence)
    return Change(
        validation=None if own is None or other is None else own - other,
        test=noninferior(loss, margin),
        unchanged=item.distance == 0,
    )


def _cheapest_first(changes: dict[str, Change], margin: float) -> list[str]:
    """List the modules that keep the metric on validation examples when changed alone, the cheapest first."""
    kept = {
        name: (not change.unchanged, change.validation)
        for name, change in changes.items()
        if change.validation is not None and change.validation <= margin
    }
    return sorted(kept, key=lambda name: kept[name])


def _grown(
    land: Landscape,
    order: Sequence[str],
    parts: Mapping[str, Sequence[str]],
    margin: float,
    on_point: Callable[[], None],
) -> list[str]:
    """Add modules one by one as long as the metric on validation examples stays."""
    land.combine((1.0, 0.0))
    own = land.evaluate()[_CHOOSES].metric
    on_point()
    assert own is not None  # asked for before anything was changed
    kept: list[str] = []
    for name in order:
        land.combine((0.0, 1.0), only={parameter for member in (*kept, name) for parameter in parts[member]})
        metric = land.evaluate()[_CHOOSES].metric
        on_point()
        if metric is not None and own - metric <= margin:
            kept.append(name)
    return kept
