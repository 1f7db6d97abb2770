"""Distance in parameter space along training (R4.6): how far from the start and the end, and in which direction."""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, final

import polars as pl
from pydantic import Field

from transferscope.analyses.checkpoints import chosen_epochs, evenly, missing_epochs, too_few
from transferscope.analyses.contract import MeasureResult, Task
from transferscope.analyses.estimates import Quantity, estimated, in_turn, spoken
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.modules import PART, TRUNK, OnModules, parameters_of
from transferscope.analyses.pairs import pairs_of
from transferscope.analyses.summary import Summary
from transferscope.analyses.tuned import SIDES, AbstractTuned, Pair, finite, tuned_member
from transferscope.bounds import MAGNITUDE
from transferscope.context.resolved_study import TRAINED, ResolvedStudy
from transferscope.context.study_network import StudyNetwork
from transferscope.keys import shown
from transferscope.study.columns import Column, schema

if TYPE_CHECKING:
    import torch

    from transferscope.context.context import Context
    from transferscope.study.settings import Study

    State = Mapping[str, torch.Tensor]

__all__ = ["DistanceInTraining"]

_DONE = Quantity(
    "share_of_distance", "distance from the start at epoch {epoch} over that at the end, {variant} (trunk)", "1",
    MAGNITUDE, "share", by=("variant", "epoch"),
)  # fmt: skip
_STRAIGHT = Quantity(
    "straightness", "straightness of the way, {variant} (trunk)", "1", MAGNITUDE, "straightness", by=("variant",)
)
_APART = Quantity("distance", "distance at the end, {pair} (trunk)", "ℓ2", MAGNITUDE, "between", by=("pair",))


@final
class DistanceInTraining(AbstractTuned, OnModules):
    """ℓ2 distance of each kept epoch to the run's start and end, and of two runs at equal epochs; cosines of ways.

    Parameters only, frozen ones included, no buffers; heads apart. Each checkpoint is read once; in memory are the
    start, the end, one epoch and the one before it of every network.

    Attributes:
        epochs: which kept epochs; the start and the last always among them. None takes all that are kept.
        max_epochs: at most so many, evenly spread over the kept ones, where ``epochs`` is None.
        max_seeds: at most so many seeds of RI-T and P-T; None for all.
    """

    epochs: tuple[int, ...] | None = Field(default=None, min_length=1)
    max_epochs: int = Field(default=20, ge=3)
    max_seeds: int | None = Field(default=4, ge=1)

    name: ClassVar[str] = "distance_in_training"
    title: ClassVar[str] = "Distance in parameter space during training"
    question: ClassVar[str] = "How far have the networks moved at each epoch, and do they go straight to their end?"
    reference: ClassVar[str] = "Neyshabur et al. 2020, Table 2 (at the end of training)"
    version: ClassVar[int] = 1
    columns: ClassVar[Mapping[str, Column]] = {
        "level": Column(str, "own: a network against its own start and end; pair: two networks at the same epoch"),
        "pair": Column(str, "the variant, or which variants"),
        **SIDES,
        "a": Column(str, "network"),
        "b": Column(str, "second network; the first one again where it is its own"),
        "epoch": Column(int, "passes over the training images; 0 is the start", "count"),
        **PART,
        "from_start": Column(float, "own: ‖θ_t − θ_0‖₂", "ℓ2", null="a pair"),
        "relative": Column(float, "own: from_start over ‖θ_0‖₂", null="a pair, or that norm is 0"),
        "to_end": Column(float, "own: ‖θ_T − θ_t‖₂", "ℓ2", null="a pair"),
        "travelled": Column(float, "own: sum of the steps between the epochs looked at", "ℓ2", null="a pair"),
        "between": Column(float, "pair: ‖θ_a,t − θ_b,t‖₂", "ℓ2", null="not a pair"),
        "cosine": Column(float, "own: between θ_t − θ_0 and θ_T − θ_0; pair: between both displacements so far",
                         null="a displacement is 0"),
        "cosine_without_decay": Column(float, "the same with the decay direction −θ_0 projected out of each",
                                       null="nothing is left of a displacement"),
    }  # fmt: skip
    quantities: ClassVar[tuple[Quantity, ...]] = (_DONE, _STRAIGHT, _APART)

    def check_study(self, study: "Study") -> str | None:
        """Epochs that are asked for and not kept."""
        return missing_epochs(study.training.recipe, self.epochs)

    def skip_reason(self, study: ResolvedStudy) -> str | None:
        """There must be an epoch between the first and the last."""
        return too_few(study.settings.training.recipe)

    def tasks(self, study: ResolvedStudy, evidence: Evidence) -> Iterable[Task]:
        """One: every checkpoint is read once."""
        seeds = study.seeds[: self.max_seeds]
        members = tuple(tuned_member(study, variant, seed, evidence) for variant in TRAINED for seed in seeds)
        epochs = chosen_epochs(study.settings.training.recipe, self.epochs, self.max_epochs)
        yield Task(members=members, settings={"epochs": list(epochs)})

    def measure(self, task: Task, context: "Context") -> MeasureResult:
        """Read weights, epoch by epoch; no network is run."""
        members = finite(task, context)
        if not members:
            return MeasureResult(pl.DataFrame([], schema=schema(self.columns)))
        model = context.start(members[0].spec)
        places = self.parts(model, members[0].spec.architecture)
        names = [name for name, _ in model.named_parameters()]

        def weights(member: StudyNetwork, epoch: int) -> "State":
            return parameters_of(context.state(member.spec, epoch), names)

        epochs: list[int] = task.settings["epochs"]
        starts = {member.label: weights(member, 0) for member in members}
        ends = {member.label: weights(member, epochs[-1]) for member in members}
        before = starts
        travelled = {(member.label, part): 0.0 for member in members for part, _, _ in places}
        rows: list[dict[str, Any]] = []
        for epoch in epochs:
            if epoch == 0:
                now = starts
            else:
                now = ends if epoch == epochs[-1] else {member.label: weights(member, epoch) for member in members}
            for member in members:
                label = member.label
                base = {**Pair(member, member).columns, "level": "own", "pair": shown(member.variant), "epoch": epoch}
                rows += [
                    {**base, **row}
                    for row in _own(now[label], before[label], starts[label], ends[label], places, travelled, label)
                ]
            for first, second in pairs_of(members):
                base = {**Pair(first, second).columns, "level": "pair", "epoch": epoch}
                a, b = first.label, second.label
                rows += [{**base, **row} for row in _pair(now[a], starts[a], now[b], starts[b], places)]
            before = now
        return MeasureResult(pl.DataFrame(rows, schema=schema(self.columns)))

    def summarise(self, table: pl.DataFrame, evidence: Evidence) -> Summary:
        """How much of the way is done at a few epochs, how straight it is, and how far seeds are apart."""
        trunk = table.filter(TRUNK)
        epochs = sorted(trunk["epoch"].unique())
        said = evenly(epochs, 4)[1:]
        own = trunk.filter(pl.col("level") == "own").sort("variant_a", "epoch", "seed_a")
        end = pl.col("from_start").filter(pl.col("epoch") == epochs[-1]).first().over("a")
        own = own.select(
            "epoch", pl.col("variant_a").alias("variant"), pl.col("seed_a").alias("seed"),
            pl.when(end > 0).then(pl.col("from_start") / end).alias("share"),
            pl.when(pl.col("travelled") > 0).then(pl.col("from_start") / pl.col("travelled")).alias("straightness"),
        )  # fmt: skip
        done = estimated(own.filter(pl.col("epoch").is_in(said)), [_DONE])
        straight = estimated(own.filter(pl.col("epoch") == epochs[-1]), [_STRAIGHT])
        apart = estimated(trunk.filter((pl.col("level") == "pair") & (pl.col("epoch") == epochs[-1])), [_APART])
        words = [
            f"{shown(variant)} {in_turn([each for each in done if each.at['variant'] == variant])}, straightness "
            f"{spoken(item)}"
            for item in straight
            if (variant := str(item.at["variant"])) and item.value is not None
        ]
        estimates = (*done, *straight, *apart)
        notes = (
            "straightness: distance from start to end over the sum of the steps between the epochs looked at, 1 is a "
            "straight line; more epochs give a longer way",
        )
        if not words:
            return Summary("Undecided: no network moved.", estimates, notes)
        return Summary(
            "Distance of the trunk from its start over that at the end, at epochs "
            f"{' → '.join(map(str, said))}: {'; '.join(words)}.",
            estimates,
            notes,
        )


def _own(
    now: "State",
    before: "State",
    start: "State",
    end: "State",
    places: list[tuple[str, int, list[str]]],
    travelled: dict[tuple[str, str], float],
    label: str,
) -> Iterator[dict[str, Any]]:
    """One row for each part; the way done so far is added up in ``travelled``."""
    from transferscope.measures.distance import displacement_cosine, parameter_distance

    for part, position, names in places:
        here, last, zero, goal = (parameters_of(state, names) for state in (now, before, start, end))
        found = parameter_distance(here, zero, zero)
        travelled[label, part] += parameter_distance(here, last).l2
        yield {
            "part": part, "position": position, "parameters": found.parameters,
            "from_start": found.l2, "relative": found.relative,
            "to_end": parameter_distance(here, goal).l2, "travelled": travelled[label, part],
            "cosine": displacement_cosine(here, zero, goal, zero),
            "cosine_without_decay": displacement_cosine(here, zero, goal, zero, without_decay=True),
        }  # fmt: skip


def _pair(
    a: "State", start_a: "State", b: "State", start_b: "State", places: list[tuple[str, int, list[str]]]
) -> Iterator[dict[str, Any]]:
    from transferscope.measures.distance import displacement_cosine, parameter_distance

    for part, position, names in places:
        sides = [parameters_of(state, names) for state in (a, start_a, b, start_b)]
        found = parameter_distance(sides[0], sides[2])
        yield {
            "part": part, "position": position, "parameters": found.parameters, "between": found.l2,
            "cosine": displacement_cosine(*sides),
            "cosine_without_decay": displacement_cosine(*sides, without_decay=True),
        }  # fmt: skip
