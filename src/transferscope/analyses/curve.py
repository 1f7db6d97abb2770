"""Trained curves between the networks of a study, beside the straight line."""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, final

import polars as pl
from pydantic import Field

from transferscope.analyses.contract import AbstractAnalysis, Column, Measured, Member, Summary, Unit, schema
from transferscope.analyses.curve_summary import summary
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.learning_curves import LearningCurves
from transferscope.analyses.learning_rate import LearningRate
from transferscope.analyses.line_rows import LINE_COLUMNS, barrier_rows, clusters_of, point_rows
from transferscope.analyses.variants import BoundStudy, shown
from transferscope.specs import Curve as CurveStart
from transferscope.specs import CurveShape, NetworkSpec

if TYPE_CHECKING:
    from transferscope.analyses.curve_path import CurvePath
    from transferscope.data.spec import Split
    from transferscope.running.context import Context

__all__ = ["Curve"]

_SPLITS: tuple["Split", ...] = ("train", "test")
_NO_CHANGE = dict.fromkeys(("loss_change", "loss_change_se", "error_change", "error_change_se"))


@final
class Curve(AbstractAnalysis):
    """Train the bend of a curve between two networks of one variant; loss and error along it and along the line.

    Attributes:
        shape: ``bezier``, a quadratic Bézier curve, or ``chain``, two straight pieces.
        epochs: of the bend's training; None for those of the study's recipe.
        learning_rate: of the bend's training; None for the one chosen for the variant.
        points: positions t on the curve, and on the line, ends included.
        batch_norm_images: training images the statistics are recomputed on at every point; the same at all.
        train_images: training images the points are evaluated on; None for all.
        test_images: test images the points are evaluated on; None for all.
        variants: whose pairs; pairs are disjoint: seeds (0, 1), (2, 3), ...
    """

    shape: CurveShape = "bezier"
    epochs: int | None = Field(default=None, ge=1)
    learning_rate: float | None = Field(default=None, gt=0)
    points: int = Field(default=25, ge=3)
    batch_norm_images: int = Field(default=512, ge=2)
    train_images: int | None = Field(default=1024, ge=2)
    test_images: int | None = Field(default=None, ge=2)
    variants: tuple[Literal["P_T", "RI_T"], ...] = ("P_T", "RI_T")

    name: ClassVar[str] = "curve"
    title: ClassVar[str] = "Curves between solutions"
    question: ClassVar[str] = "Are two trained networks joined by a curve of low loss?"
    reference: ClassVar[str] = "Garipov et al. 2018, Sec. 3; Draxler et al. 2018"
    version: ClassVar[int] = 1
    columns: ClassVar[Mapping[str, Column]] = {
        "level": Column(
            str,
            "point: one t; own: an end with its own statistics; barrier: the largest gap over t in [0, 1]",
        ),
        "way": Column(str, "curve, or line: the straight line between the same ends"),
        "pair": Column(str, "which variants"),
        "a": Column(str, "the network at t = 0"),
        "b": Column(str, "the network at t = 1"),
        "seed_a": Column(int, "seed of a", "count"),
        "seed_b": Column(int, "seed of b", "count"),
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

    def needs(self, study: BoundStudy) -> Iterable[AbstractAnalysis]:
        """Each variant's learning rate, and which runs diverged: no curve ends there."""
        return (LearningRate(), LearningCurves())

    def inapplicable(self, study: BoundStudy) -> str | None:
        """A curve needs two seeds."""
        return "a curve between two networks needs at least two seeds" if len(study.seeds) < 2 else None

    def networks(self, study: BoundStudy, evidence: Evidence) -> Iterable[NetworkSpec]:
        """The ends, and the bends between them."""
        return [member.spec for unit in self.units(study, evidence) for member in unit.members]

    def units(self, study: BoundStudy, evidence: Evidence) -> Iterable[Unit]:
        """One per pair: both ends and the bend."""
        runs = evidence.table(LearningCurves()).filter((pl.col("setting") == "chosen") & pl.col("diverged"))
        lost = set(runs.select("variant", "seed").iter_rows())
        for variant in self.variants:
            recipe = study.recipe(self.learning_rate or study.chosen_rate(variant, evidence), self.epochs)
            # Of a curve only the end of its training is looked at.
            recipe = recipe.model_copy(update={"keep": "none"})
            for first, second in study.pairs(evidence, variant):
                if {(variant, first.seed), (variant, second.seed)} & lost:
                    continue
                start = CurveStart(a=first.spec, b=second.spec, shape=self.shape)
                bend = first.spec.model_copy(update={"start": start, "recipe": recipe})
                yield Unit(members=(first, second, Member(variant=f"{variant}_curve", seed=first.seed, spec=bend)))

    def images(self, unit: Unit, study: BoundStudy) -> int:
        """Every point of both ways: statistics (about twice the cost of a plain pass), training and test images."""
        per_point = 2 * self.batch_norm_images + (self.train_images or 2000) + (self.test_images or 1000)
        return 2 * self.points * per_point

    def measure(self, unit: Unit, context: "Context") -> Measured:
        """Walk the curve, and the line between its ends."""
        from transferscope.analyses.curve_path import curve_path

        first, second, bend = unit.members
        if any(context.diverged(member.spec) for member in unit.members):
            return Measured(pl.DataFrame([], schema=schema(self.columns)))
        limits: dict[Split, int | None] = {"train": self.train_images, "test": self.test_images}
        path = curve_path(
            context.network(first.spec),
            context.network(second.spec),
            context.network(bend.spec),
            {split: context.batches(split, limits[split]) for split in _SPLITS},
            shape=self.shape,
            recompute_on=context.mixed_batches("train", self.batch_norm_images),
            positions=[index / (self.points - 1) for index in range(self.points)],
            metric_name=context.study.metric,
            device=context.device,
            memory_format=context.memory_format,
        )
        clusters = clusters_of(context, limits)
        recipe = bend.spec.recipe
        assert recipe is not None
        base = {
            "pair": f"{shown(first.variant)}/{shown(second.variant)}",
            "a": first.label,
            "b": second.label,
            "seed_a": first.seed,
            "seed_b": second.seed,
            "shape": path.shape,
            "learning_rate": recipe.learning_rate,
            "epochs": recipe.epochs,
            "distance": path.distance,
        }
        rows = [{**base, "split": split, **row} for split in _SPLITS for row in _rows(path, split, clusters[split])]
        return Measured(pl.DataFrame(rows, schema=schema(self.columns)))

    def summarise(self, table: pl.DataFrame, evidence: Evidence) -> Summary:
        """Whether the pairs of each variant are joined by their curve, and what the straight line says."""
        return summary(table, self.variants, self.batch_norm_images, self.points)


def _rows(path: "CurvePath", split: str, clusters: Any) -> Iterator[dict[str, Any]]:
    from transferscope.analyses.curve_path import WAYS

    for way in WAYS:
        points = path.points(split, way)
        lengths = path.lengths if way == "curve" else [t * path.distance for t in path.positions]
        facts = {"way": way, "batch_norm": path.batch_norm}
        for length, row in zip(lengths, point_rows(path.positions, points, clusters), strict=True):
            yield {"level": "point", "l2": length, **facts, **row}
        # The curve and the line of a pair are one family: the verdict speaks of both.
        for row in barrier_rows(path.positions, points, clusters, len(WAYS)):
            yield {"level": "barrier", "l2": lengths[-1], **facts, **row}
    for t, end in zip((0.0, 1.0), path.own[split], strict=True):
        (row,) = point_rows((0.0,), (end,), clusters)
        own = {"level": "own", "way": "line", "batch_norm": "own statistics"}
        yield {**row, **_NO_CHANGE, **own, "alpha": t, "l2": t * path.distance}
