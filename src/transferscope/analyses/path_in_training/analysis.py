"""Paths between checkpoints: when runs part or stay together, when each is connected to its end, and from P onwards."""

import math
from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations
from typing import TYPE_CHECKING, Any, ClassVar, Literal, final

import polars as pl
from pydantic import Field

from transferscope.analyses.checkpoints import chosen_epochs, missing_epochs, too_few
from transferscope.analyses.contract import MeasureResult, Task
from transferscope.analyses.estimates import Quantity
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.images import OnImages
from transferscope.analyses.path_in_training.summary import QUANTITIES, summary
from transferscope.analyses.path_rows import LINE_COLUMNS, clusters_of, own_row, way_rows
from transferscope.analyses.summary import Summary
from transferscope.analyses.tuned import AbstractTuned, finite, tuned_member
from transferscope.context.resolved_study import ResolvedStudy
from transferscope.context.study_network import StudyNetwork
from transferscope.keys import shown
from transferscope.study.columns import Column, schema

if TYPE_CHECKING:
    import torch

    from transferscope.context.context import Context
    from transferscope.methods.landscape.checkpoint_lines import TrainingLines
    from transferscope.methods.landscape.linear_path import LinearPath
    from transferscope.study.settings import Study

    State = Mapping[str, torch.Tensor]

__all__ = ["PathInTraining"]

_SPLITS: tuple[Literal["train", "test"], ...] = ("train", "test")


@final
class PathInTraining(AbstractTuned, OnImages):
    """Straight lines between checkpoints: of two runs at equal epochs, of a run and its end, of a run and its start.

    Each checkpoint is read once and evaluated once, however many lines it ends. In memory are the start, the end and
    one epoch of all runs of a variant.

    Attributes:
        lines: ``across``: two seeds of one variant at the same epoch; ``end``: each epoch and the last of its run;
            ``start``: the start (P or RI with the run's head) and each epoch.
        variants: whose runs.
        epochs: which kept epochs; the start and the last always among them. None takes all that are kept.
        max_epochs: at most so many, evenly spread over the kept ones, where ``epochs`` is None.
        max_seeds: at most so many seeds of each variant, of which all pairs are measured; None for all.
        points: values of α from 0 to 1, ends included.
        batch_norm: ``recompute`` running statistics at every point, or ``interpolate`` them (which makes artefacts).
    """

    lines: tuple[Literal["across", "end", "start"], ...] = Field(default=("across", "end", "start"), min_length=1)
    variants: tuple[Literal["P_T", "RI_T"], ...] = Field(default=("P_T", "RI_T"), min_length=1)
    epochs: tuple[int, ...] | None = Field(default=None, min_length=1)
    max_epochs: int = Field(default=8, ge=3)
    max_seeds: int | None = Field(default=4, ge=1)
    points: int = Field(default=9, ge=3)
    batch_norm: Literal["recompute", "interpolate"] = "recompute"

    name: ClassVar[str] = "path_in_training"
    title: ClassVar[str] = "Paths between solutions during training"
    question: ClassVar[str] = "When do two runs part, and from when on is a run connected to its end?"
    reference: ClassVar[str] = (
        "Frankle et al. 2020, Sec. 3 (when runs become stable); Neyshabur et al. 2020, Fig. 4 (at the end of "
        "training); Goodfellow et al. 2015 (from the start)"
    )
    version: ClassVar[int] = 3
    columns: ClassVar[Mapping[str, Column]] = {
        "level": Column(str, "point: one α; own: one checkpoint as it was trained; barrier: the largest gap of a line"),
        "line": Column(str, "across: two runs; end: a run and its end; start: its start and the run; checkpoint"),
        "variant": Column(str, "RI_T or P_T"),
        "pair": Column(str, "what the line joins, as shown: P-T/P-T across, P-T to its end, P/P-T from the start"),
        "a": Column(str, "run of the checkpoint at α = 0"),
        "seed_a": Column(int, "its seed", "count"),
        "epoch_a": Column(int, "its epoch; 0 is the start", "count"),
        "b": Column(str, "run of the checkpoint at α = 1"),
        "seed_b": Column(int, "its seed", "count"),
        "epoch_b": Column(int, "its epoch", "count"),
        "epoch": Column(int, "the one that goes along training: of both, of a (end), of b (start)", "count"),
        "l2": Column(float, "distance from α = 0; of the whole line for a barrier", "ℓ2"),
        **LINE_COLUMNS,
    }

    quantities: ClassVar[tuple[Quantity, ...]] = QUANTITIES

    def check_study(self, study: "Study") -> str | None:
        """Epochs that are asked for and not kept."""
        return missing_epochs(study.training.recipe, self.epochs)

    def skip_reason(self, study: ResolvedStudy) -> str | None:
        """There must be an epoch between the first and the last, and two seeds for lines across."""
        if self.lines == ("across",) and len(study.seeds[: self.max_seeds]) < 2:
            return "a line between two runs needs at least two seeds; lines: [end, start] do with one"
        return too_few(study.settings.training.recipe)

    def tasks(self, study: ResolvedStudy, evidence: Evidence) -> Iterable[Task]:
        """One for each variant: what a checkpoint gives is shared by all lines that it ends."""
        seeds = study.seeds[: self.max_seeds]
        epochs = chosen_epochs(study.settings.training.recipe, self.epochs, self.max_epochs)
        for variant in self.variants:
            members = tuple(tuned_member(study, variant, seed, evidence) for seed in seeds)
            yield Task(members=members, settings={"epochs": list(epochs)})

    def forward_passes(self, task: Task, study: ResolvedStudy) -> int:
        """Every checkpoint, and what lies between the ends of every line."""
        epochs, runs = len(task.settings["epochs"]), len(task.members)
        lines = epochs * ("across" in self.lines) * math.comb(runs, 2)
        lines += runs * (epochs - 1) * (("end" in self.lines) + ("start" in self.lines))
        return ((self.points - 2) * lines + 2 * runs * epochs) * self.per_point

    def measure(self, task: Task, context: "Context") -> MeasureResult:
        """Walk the lines, epoch by epoch."""
        from transferscope.methods.landscape.checkpoint_lines import TrainingLines
        from transferscope.methods.landscape.landscape import Landscape
        from transferscope.methods.landscape.linear_path import alpha_grid

        members = finite(task, context)
        if not members:
            return MeasureResult(pl.DataFrame([], schema=schema(self.columns)))
        starts = {member.label: context.network(member.spec, 0) for member in members}
        anywhere = starts[members[0].label]
        land = Landscape(
            (anywhere, anywhere),
            self.data(context),
            evaluation=self.evaluation(context),
        )
        lines = TrainingLines(land, alpha_grid(self.points, 0))
        clusters = clusters_of(context, self.limits)
        rows: list[dict[str, Any]] = []
        epochs: list[int] = task.settings["epochs"]
        known = {label: network.state_dict() for label, network in starts.items()}
        for path, facts, family in self._walk(members, epochs, known, lines, context):
            rows += [{**facts, **row} for row in _rows(path, clusters, family)]
        for member in members:
            for epoch in epochs:
                rows += _own(member, epoch, lines, clusters)
        return MeasureResult(pl.DataFrame(rows, schema=schema(self.columns)))

    def _walk(
        self,
        members: list[StudyNetwork],
        epochs: list[int],
        starts: "Mapping[str, State]",
        lines: "TrainingLines",
        context: "Context",
    ) -> Iterator[tuple["LinearPath", dict[str, Any], int]]:
        """Every line with what it joins and how many of its kind there are; states are read as they are needed."""
        last = epochs[-1]
        ends: Mapping[str, State] = {member.label: context.state(member.spec, last) for member in members}
        whole: dict[str, LinearPath] = {}
        for epoch in epochs:
            now = (
                starts if epoch == 0 else ends if epoch == last
                else {member.label: context.state(member.spec, epoch) for member in members}
            )  # fmt: skip
            for member in members:
                name = member.label
                lines.visit((name, epoch), now[name])
                if "end" in self.lines and epoch != last:
                    path = lines.between(((name, epoch), now[name]), ((name, last), ends[name]))
                    if epoch == 0:
                        whole[name] = path
                    yield path, _facts("end", member, epoch, member, last), len(epochs) - 1
                if "start" in self.lines and epoch != 0:
                    path = (
                        whole[name] if epoch == last and name in whole
                        else lines.between(((name, 0), starts[name]), ((name, epoch), now[name]))
                    )  # fmt: skip
                    yield path, _facts("start", member, 0, member, epoch), len(epochs) - 1
            for first, second in combinations(members, 2) if "across" in self.lines else ():
                path = lines.between(*(((end.label, epoch), now[end.label]) for end in (first, second)))
                yield path, _facts("across", first, epoch, second, epoch), len(epochs)

    def summarise(self, table: pl.DataFrame, evidence: Evidence) -> Summary:
        """Barriers at a few epochs, and from which epoch on runs are connected to each other and to their end."""
        return summary(table, self.batch_norm, self.batch_norm_images, self.points)


def _facts(line: str, first: StudyNetwork, epoch_a: int, second: StudyNetwork, epoch_b: int) -> dict[str, Any]:
    name = shown(first.variant)
    return {
        "line": line, "variant": first.variant,
        "pair": {"across": f"{name}/{name}", "end": f"{name} to its end",
                 "start": f"{name.removesuffix('-T')}/{name}"}[line],
        "a": first.label, "seed_a": first.seed, "epoch_a": epoch_a,
        "b": second.label, "seed_b": second.seed, "epoch_b": epoch_b,
        "epoch": epoch_b if line == "start" else epoch_a,
    }  # fmt: skip


def _rows(path: "LinearPath", clusters: Mapping[str, Any], family: int) -> Iterator[dict[str, Any]]:
    lengths = [alpha * path.distance for alpha in path.alphas]
    for split in _SPLITS:
        for row in way_rows(path.alphas, lengths, path.points[split], clusters[split], family):
            yield {"split": split, "batch_norm": path.batch_norm, **row}


def _own(
    member: StudyNetwork, epoch: int, lines: "TrainingLines", clusters: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    facts = _facts("end", member, epoch, member, epoch) | {"line": "checkpoint", "pair": shown(member.variant)}
    for split in _SPLITS:
        own = own_row(lines.own((member.label, epoch))[split], clusters[split])
        yield {"split": split, "l2": 0.0, **facts, **own}
