"""Whether a barrier between two networks of a study is one of permutation: the straight line before and after."""

import functools
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, final

import polars as pl
from pydantic import Field

from transferscope.analyses.align.summary import QUANTITIES, UNALIGNED, summary
from transferscope.analyses.contract import Task
from transferscope.analyses.estimates import Quantity
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.path_rows import LINE_COLUMNS, line_rows
from transferscope.analyses.path_settings import AbstractWays, way_columns
from transferscope.analyses.summary import Summary
from transferscope.context.resolved_study import ResolvedStudy
from transferscope.frozen import Once
from transferscope.specs.architecture import Architecture
from transferscope.study.columns import Column

if TYPE_CHECKING:
    from transferscope.context.context import Context
    from transferscope.methods.alignment.align import Aligned

__all__ = ["Align"]

_BEFORE = "the line before alignment"


@final
class Align(AbstractWays):
    """The straight line between two networks of one variant, before and after hidden units were matched.

    Attributes:
        methods: ``activations`` matches units that vary together on training images, ``weights`` looks at weights
            alone; the verdict rests on the first.
        restarts: of ``weights``: descents in other orders, of which the best is taken.
        match_images: training images that ``activations`` looks at.
        points: positions α on every line, ends included.
    """

    methods: Annotated[tuple[Literal["activations", "weights"], ...], Once] = Field(
        default=("activations", "weights"), min_length=1
    )
    restarts: int = Field(default=1, ge=1)
    match_images: int = Field(default=512, ge=2)

    name: ClassVar[str] = "align"
    title: ClassVar[str] = "Paths after permutation"
    question: ClassVar[str] = "Is a barrier one of permutation, or are the networks really apart?"
    reference: ClassVar[str] = "Ainsworth et al. 2023, Sec. 3; Entezari et al. 2022; Jordan et al. 2023"
    version: ClassVar[int] = 3
    columns: ClassVar[Mapping[str, Column]] = {
        **way_columns("α", "unaligned; activations or weights: b's units permuted by that method before",
                      "; after alignment the same function"),
        **LINE_COLUMNS,
        "l2": Column(float, "distance from a (‖θ_a − θ_b‖ for a barrier)", "ℓ2"),
        "distance": Column(float, "‖θ_a − θ_b‖ over all parameters, b as on this line", "ℓ2"),
        "permuted_share": Column(float, "share of the hidden units of b that another one took the place of"),
        "permutable_share": Column(
            float, "share of the parameters that lie along units that may be permuted", null=_BEFORE
        ),
        "groups": Column(int, "sets of units that may be permuted, those within heads or groups included", "count",
                         null=_BEFORE),
        "objective_before": Column(float,
                                   "activations: mean correlation of units of the same number; weights: Σ⟨θ_a, θ_b⟩",
                                   null=_BEFORE),
        "objective_after": Column(float, "the same for matched units", null=_BEFORE),
        "unchanged_to": Column(float,
                               "largest difference between b's outputs before and after, relative to the largest",
                               null=_BEFORE),
    }  # fmt: skip

    quantities: ClassVar[tuple[Quantity, ...]] = QUANTITIES

    def skip_reason(self, study: ResolvedStudy) -> str | None:
        """It needs two seeds, and a network whose operations can be read."""
        if len(study.seeds) < 2:
            return "a path between two networks needs at least two seeds"
        architecture = study.settings.source.architecture.model_dump_json()
        return _unreadable(architecture, len(study.class_names), study.data.image_size)

    def tasks(self, study: ResolvedStudy, evidence: Evidence) -> Iterable[Task]:
        """One per pair."""
        for variant in self.variants:
            for pair in self.pairs(variant, study, evidence):
                yield Task(members=pair)

    def forward_passes(self, task: Task, study: ResolvedStudy) -> int:
        """Every point of every line, and what both networks do on the images that units are matched on."""
        return (1 + len(self.methods)) * (self.points + 2) * self.per_point + 2 * self.match_images

    def path_rows(self, task: Task, context: "Context", clusters: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """The line as it is, and with the second network aligned by each method."""
        from transferscope.methods.alignment.align import align
        from transferscope.methods.landscape.linear_path import alpha_grid, linear_path

        first, second = task.members
        a, b = context.network(first.spec), context.network(second.spec)
        for method in (None, *self.methods):
            aligned = None
            if method is not None:
                aligned = align(
                    a,
                    b,
                    context.mixed_batches("train", self.match_images),
                    method=method,
                    seed=first.seed,
                    restarts=self.restarts,
                    device=context.device,
                )
            path = linear_path(
                a,
                b if aligned is None else aligned.network,
                self.data(context),
                evaluation=self.evaluation(context),
                alphas=alpha_grid(self.points, 0),
            )
            facts = {"way": method or UNALIGNED, "distance": path.distance, **_facts(aligned)}
            # All lines of a pair are one family: the verdict speaks of each.
            yield from ({**facts, **row} for row in line_rows(path, clusters, 1 + len(self.methods)))

    def summarise(self, table: pl.DataFrame, evidence: Evidence) -> Summary:
        """Whether the barrier of each variant goes when units are matched."""
        return summary(table, self, self.methods)


def _facts(aligned: "Aligned | None") -> dict[str, Any]:
    if aligned is None:
        return {"permuted_share": 0.0}
    return {
        "permuted_share": aligned.moved,
        "permutable_share": aligned.share,
        "groups": sum(1 for _ in aligned.groups.every()),
        "objective_before": aligned.objective[0],
        "objective_after": aligned.objective[1],
        "unchanged_to": aligned.unchanged_to,
    }


@functools.lru_cache(maxsize=8)
def _unreadable(written: str, classes: int, image_size: int) -> str | None:
    """Why no permutations can be found for an architecture, written as JSON; None if they can."""
    import torch

    from transferscope.errors import AlignmentError
    from transferscope.networks.architectures import build
    from transferscope.networks.permutations.groups import permutation_groups

    architecture = Architecture.model_validate_json(written)
    try:
        permutation_groups(build(architecture, classes, 0), torch.zeros(1, 3, image_size, image_size))
    except AlignmentError as error:
        return f"hidden units of {architecture.name} cannot be matched: {error.what} ({error.got})"
    return None
