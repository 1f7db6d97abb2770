"""Linear paths between the networks of a study (paper Fig. 4), with a ruler that is checked first."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, final

import polars as pl
from pydantic import Field, model_validator

from transferscope.analyses.contract import MeasureResult, Task
from transferscope.analyses.estimates import Quantity
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.images import OnImages
from transferscope.analyses.path.rows import COLUMNS, rows_of
from transferscope.analyses.path.summary import QUANTITIES, summary_of
from transferscope.analyses.path_pairs import KINDS, NEGATIVE, POSITIVE, PairKind, members_of
from transferscope.analyses.path_rows import clusters_of
from transferscope.analyses.summary import Summary
from transferscope.analyses.tuned import AbstractTuned, tuned_member
from transferscope.context.resolved_study import ResolvedStudy
from transferscope.study.columns import Column, schema

if TYPE_CHECKING:
    from torch import nn

    from transferscope.context.context import Context

__all__ = ["Path"]

_SPLITS: tuple[Literal["train", "test"], ...] = ("train", "test")
_RULER_POINTS = 5
_NEGATIVE_KIND = "RI_T/RI_T"


@final
class Path(AbstractTuned, OnImages):
    """Loss and error on the straight line between two networks, both barriers, extrapolation.

    Beside the pairs asked for every table holds the ruler: a pair that must be connected (RI-T of the first seed, and
    the same run trained on for one more epoch at a small rate) and one that must not be (two random starts). Where the
    ruler does not hold, verdicts are "undecided".

    Attributes:
        pairs: which: ``P_T/P_T`` and ``RI_T/RI_T`` of different seeds, ``P_T/RI_T`` of one seed, ``P_T best/last`` and
            ``RI_T best/last`` of one run; ``P_T/P_T same head`` and ``RI_T/RI_T same init`` train, for each seed, a
            second network from the same start in another data order.
        max_seeds: at most so many seeds, of which all pairs are measured; None for all.
        moves: ``all`` parameters; ``trunk``: the head stays that of the first network, on the whole line.
        points: values of α in [0, 1], ends included, evenly spaced.
        refine: tolerance in α: intervals in which a maximum of loss or error lies or may lie are halved until they are
            no wider, with at most half of the points of the even grid of that spacing. None evaluates ``points`` alone.
        points_outside: values of α beyond each end.
        extrapolate: how far beyond either end; 0 for not at all.
        batch_norm: ``recompute`` running statistics at every point; ``interpolate`` them, or take those of the first
            network everywhere (``none``): both make artefacts.
        batch_norm_images: training images the statistics are recomputed on; the same at every point.
        train_images: training images the path is evaluated on; None for all.
        test_images: test images the path is evaluated on; None for all.
        fast: bfloat16 and channels_last, ends and maxima again in float32.
        control_images: training images of the ruler's further epoch.
        control_rate: its learning rate, as a share of the recipe's.
    """

    pairs: tuple[PairKind, ...] = Field(default=("P_T/P_T", "RI_T/RI_T"), min_length=1)
    max_seeds: int | None = Field(default=4, ge=2)
    moves: tuple[Literal["all", "trunk"], ...] = Field(default=("all",), min_length=1)
    points: int = Field(default=13, ge=3)
    refine: float | None = Field(default=0.021, gt=0, le=0.5)
    points_outside: int = Field(default=6, ge=0)
    extrapolate: float = Field(default=0.5, ge=0)
    batch_norm: Literal["recompute", "interpolate", "none"] = "recompute"
    batch_norm_images: int = Field(default=512, ge=2)
    train_images: int | None = Field(default=1024, ge=2)
    test_images: int | None = Field(default=None, ge=2)
    fast: bool = False
    control_images: int = Field(default=512, ge=2)
    control_rate: float = Field(default=0.1, gt=0, le=1)

    name: ClassVar[str] = "path"
    title: ClassVar[str] = "Paths between solutions"
    question: ClassVar[str] = "Do two trained networks lie in one basin of the loss?"
    reference: ClassVar[str] = "Neyshabur et al. 2020, Fig. 4; Frankle et al. 2020"
    version: ClassVar[int] = 6
    columns: ClassVar[Mapping[str, Column]] = COLUMNS
    quantities: ClassVar[tuple[Quantity, ...]] = QUANTITIES

    @model_validator(mode="before")
    @classmethod
    def _every_pair(cls, given: Any) -> Any:
        """An interval over seeds needs pairs that share networks: ``combinations`` had let them be left out."""
        if isinstance(given, Mapping) and "combinations" in given:
            raise ValueError(
                f"there is no setting combinations any more (got {given['combinations']!r}): all pairs of seeds are "
                "measured, and intervals leave one seed out; remove it, and write max_seeds: 2 for a single pair"
            )
        return given

    def skip_reason(self, study: ResolvedStudy) -> str | None:
        """A path needs two seeds."""
        return "a path between two networks needs at least two seeds" if len(study.seeds) < 2 else None

    def tasks(self, study: ResolvedStudy, evidence: Evidence) -> Iterable[Task]:
        """One per pair and what moves, and those of the ruler."""
        seeds = study.seeds[: self.max_seeds]
        for kind in dict.fromkeys(self.pairs):
            for pair in members_of(kind, study, evidence, seeds):
                for moved in dict.fromkeys(self.moves):
                    yield _unit(pair, KINDS[kind].label, moved)
        one, two = (tuned_member(study, "RI_T", seed, evidence) for seed in seeds[:2])
        yield _unit((one,), POSITIVE, "all", role="ruler")
        if _NEGATIVE_KIND not in self.pairs or "all" not in self.moves:
            yield _unit((one, two), NEGATIVE, "all", role="ruler")

    def forward_passes(self, task: Task, study: ResolvedStudy) -> int:
        """Every point: statistics (about twice the cost of a plain pass), training and test images."""
        from transferscope.measures.refinement import budget

        if len(task.members) == 1:
            # A training step costs about four forward passes.
            return 4 * self.control_images + (_RULER_POINTS + 2) * self.per_point
        inner = self.points if self.refine is None else budget(self.points, self.refine)
        return (inner + 2 * self.points_outside + 2) * self.per_point

    def measure(self, task: Task, context: "Context") -> MeasureResult:
        """Walk the line between the two members."""
        from transferscope.methods.landscape.linear_path import alpha_grid, linear_path
        from transferscope.networks.architectures import head_name

        first, second = task.members[0], task.members[-1]
        if any(context.diverged(member.spec) for member in task.members):
            return MeasureResult(pl.DataFrame([], schema=schema(self.columns)))
        label, moved = task.settings["pair"], task.settings["moved"]
        ruler = len(task.members) == 1
        ends, names = self._ends(task, context)
        path = linear_path(
            *ends,
            self.data(context),
            evaluation=self.evaluation(context),
            alphas=alpha_grid(_RULER_POINTS, 0)
            if ruler
            else alpha_grid(self.points, self.extrapolate, self.points_outside),
            refine=None if ruler else self.refine,
            trunk_of=head_name(ends[0], first.spec.architecture) if moved == "trunk" else None,
            fast=self.fast,
        )
        clusters = clusters_of(context, self.limits)
        base = {
            "role": task.settings["role"],
            "pair": label,
            "moves": moved,
            "a": names[0],
            "b": names[1],
            "seed_a": first.seed,
            "seed_b": second.seed,
        }
        rows: list[dict[str, Any]] = []
        for split in _SPLITS:
            rows += [{**base, "split": split, **row} for row in rows_of(path, split, clusters[split])]
        return MeasureResult(pl.DataFrame(rows, schema=schema(self.columns)))

    def _ends(self, task: Task, context: "Context") -> tuple[tuple["nn.Module", "nn.Module"], tuple[str, str]]:
        """The two networks of a unit, and what they are called."""
        first, second = task.members[0], task.members[-1]
        if len(task.members) == 1:
            from transferscope.training.continued_training import continue_training

            further = continue_training(
                context.network(first.spec),
                first.spec,
                context.images(),
                context.indices("train", self.control_images),
                self.control_rate,
                context.device,
            )
            return (context.network(first.spec), further), (first.label, f"{first.label} trained on")
        if first == second:
            ends = context.network(first.spec, "best"), context.network(second.spec)
            return ends, (f"{first.label} best", f"{second.label} last")
        return (context.network(first.spec), context.network(second.spec)), (first.label, second.label)

    def summarise(self, table: pl.DataFrame, evidence: Evidence) -> Summary:
        """Whether pairs are linearly connected, by the test error's barrier, if the ruler holds."""
        asked = [
            (KINDS[kind].label, moved) for kind in dict.fromkeys(self.pairs) for moved in dict.fromkeys(self.moves)
        ]
        return summary_of(table, asked, self.batch_norm_images)


def _unit(members: Any, label: str, moved: str, role: str = "pair") -> Task:
    return Task(members=members, settings={"pair": label, "moved": moved, "role": role})
