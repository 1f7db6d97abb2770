"""Trained curves between the networks of a study, beside the straight line."""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, final

import polars as pl
from pydantic import Field

from transferscope.analyses.contract import AbstractAnalysis, Task
from transferscope.analyses.curve.summary import QUANTITIES, summary
from transferscope.analyses.estimates import Quantity
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.learning_curves.analysis import LearningCurves
from transferscope.analyses.path_rows import LINE_COLUMNS, own_row, way_rows
from transferscope.analyses.path_settings import AbstractWays, way_columns
from transferscope.analyses.summary import Summary
from transferscope.analyses.tuned import chosen_rate
from transferscope.context.resolved_study import ResolvedStudy
from transferscope.context.study_network import StudyNetwork
from transferscope.specs.architecture import CurveShape
from transferscope.specs.network import Curve as CurveStart
from transferscope.study.columns import Column

if TYPE_CHECKING:
    from transferscope.context.context import Context
    from transferscope.methods.landscape.curve import CurvePath

__all__ = ["CurveAnalysis"]


@final
class CurveAnalysis(AbstractWays):
    """Train the bend of a curve between two networks of one variant; loss and error along it and along the line.

    Attributes:
        shape: ``bezier``, a quadratic Bézier curve, or ``chain``, two straight pieces.
        epochs: of the bend's training; None for those of the study's recipe.
        learning_rate: of the bend's training; None for the one chosen for the variant.
        points: positions t on the curve, and on the line, ends included.
    """

    shape: CurveShape = "bezier"
    epochs: int | None = Field(default=None, ge=1)
    learning_rate: float | None = Field(default=None, gt=0)

    name: ClassVar[str] = "curve"
    title: ClassVar[str] = "Curves between solutions"
    question: ClassVar[str] = "Are two trained networks joined by a curve of low loss?"
    reference: ClassVar[str] = "Garipov et al. 2018, Sec. 3; Draxler et al. 2018"
    version: ClassVar[int] = 3
    columns: ClassVar[Mapping[str, Column]] = {
        **way_columns("t", "curve, or line: the straight line between the same ends"),
        "shape": Column(str, "of the curve: bezier or chain"),
        "learning_rate": Column(float, "peak learning rate of the bend's training"),
        "epochs": Column(int, "of the bend's training", "count"),
        **LINE_COLUMNS,
        "alpha": Column(
            float, "position t on the curve, or α on the line; of a barrier's maximum", null="a barrier that is null"
        ),
        "l2": Column(float, "length of the way from a to there (of the whole way for a barrier)", "ℓ2"),
        "distance": Column(float, "‖θ_a − θ_b‖ over all parameters", "ℓ2"),
    }

    quantities: ClassVar[tuple[Quantity, ...]] = QUANTITIES

    def needs(self, study: ResolvedStudy) -> Iterable[AbstractAnalysis]:
        """Each variant's learning rate, and which runs diverged: no curve ends there."""
        return (*super().needs(study), LearningCurves())

    def skip_reason(self, study: ResolvedStudy) -> str | None:
        """A curve needs two seeds."""
        return "a curve between two networks needs at least two seeds" if len(study.seeds) < 2 else None

    def tasks(self, study: ResolvedStudy, evidence: Evidence) -> Iterable[Task]:
        """One per pair: both ends and the bend."""
        runs = evidence.table(LearningCurves()).filter((pl.col("setting") == "chosen") & pl.col("diverged"))
        lost = set(runs.select("variant", "seed").iter_rows())
        for variant in self.variants:
            recipe = study.recipe(self.learning_rate or chosen_rate(variant, evidence), self.epochs)
            # Of a curve only the end of its training is looked at.
            recipe = recipe.model_copy(update={"keep": "none"})
            for first, second in self.pairs(variant, study, evidence):
                if {(variant, first.seed), (variant, second.seed)} & lost:
                    continue
                start = CurveStart(a=first.spec, b=second.spec, shape=self.shape)
                bend = first.spec.model_copy(update={"start": start, "recipe": recipe})
                name = f"{variant}_curve_to_{second.seed}"
                yield Task(members=(first, second, StudyNetwork(variant=name, seed=first.seed, spec=bend)))

    def forward_passes(self, task: Task, study: ResolvedStudy) -> int:
        """Every point of both ways: statistics (about twice the cost of a plain pass), training and test images."""
        return 2 * self.points * self.per_point

    def path_rows(self, task: Task, context: "Context", clusters: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """The curve, and the line between its ends."""
        from transferscope.methods.landscape.curve import curve_path

        first, second, bend = task.members
        path = curve_path(
            context.network(first.spec),
            context.network(second.spec),
            context.network(bend.spec),
            self.data(context),
            shape=self.shape,
            evaluation=self.evaluation(context),
            positions=[index / (self.points - 1) for index in range(self.points)],
        )
        recipe = bend.spec.recipe
        assert recipe is not None
        facts = {
            "shape": path.shape,
            "learning_rate": recipe.learning_rate,
            "epochs": recipe.epochs,
            "distance": path.distance,
        }
        for split in self.limits:
            for row in _rows(path, split, clusters[split]):
                yield {**facts, "split": split, **row}

    def summarise(self, table: pl.DataFrame, evidence: Evidence) -> Summary:
        """Whether the pairs of each variant are joined by their curve, and what the straight line says."""
        return summary(table, self.variants, self.batch_norm_images, self.points)


def _rows(path: "CurvePath", split: str, clusters: Any) -> Iterator[dict[str, Any]]:
    from transferscope.methods.landscape.curve import WAYS

    for way in WAYS:
        lengths = path.lengths if way == "curve" else [t * path.distance for t in path.positions]
        # The curve and the line of a pair are one family: the verdict speaks of both.
        for row in way_rows(path.positions, lengths, path.points(split, way), clusters, len(WAYS)):
            yield {"way": way, "batch_norm": path.batch_norm, **row}
    for t, end in zip((0.0, 1.0), path.own[split], strict=True):
        yield {**own_row(end, clusters), "way": "line", "alpha": t, "l2": t * path.distance}
