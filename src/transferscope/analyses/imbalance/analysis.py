"""Long-tailed training images: what pre-training gives to rare classes (R3.3)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, final

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field, field_validator

from transferscope.analyses.contract import MeasureResult, Task
from transferscope.analyses.estimate_words import spoken
from transferscope.analyses.estimates import Contrast, Estimate, Quantity
from transferscope.analyses.estimator import estimated
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.final_metrics import interval_columns
from transferscope.analyses.imbalance.class_sizes import class_order, tail_sizes
from transferscope.analyses.predictions import Judgements
from transferscope.analyses.summary import Summary
from transferscope.analyses.training_parts import part_network
from transferscope.analyses.tuned import AbstractTuned, OnSeeds, chosen_rate
from transferscope.bounds import DIFFERENCE, SHARE, side_of
from transferscope.context.resolved_study import TRAINED, ResolvedStudy
from transferscope.keys import shown
from transferscope.study.columns import Column

if TYPE_CHECKING:
    from transferscope.context.context import Context

__all__ = ["Imbalance", "macro_rows"]

_ON_TEST = pl.col("split") == "test"
_IN = "at ratio {ratio:g} (test)"
_RECALL = Quantity(
    "recall", "recall of the {frequency} classes, {variant} " + _IN, "1", SHARE, column="value",
    where=_ON_TEST & (pl.col("level") == "class"), by=("variant", "ratio", "frequency"), family=("frequency",),
)  # fmt: skip
_RECALL_GAP = replace(
    _RECALL, key="recall_gap", words="recall of the {frequency} classes, {variant} − {rival} " + _IN, bounds=DIFFERENCE,
    contrast=Contrast("variant", "P_T", "RI_T"),
)  # fmt: skip
_MACRO = Quantity(
    "macro", "{metric}, {variant} " + _IN, "1", SHARE, column="value",
    where=_ON_TEST & (pl.col("level") == "network"), by=("variant", "ratio", "metric"),
)  # fmt: skip
_MACRO_GAP = replace(
    _MACRO, key="macro_gap", words="{metric}, {variant} − {rival} " + _IN, bounds=DIFFERENCE,
    contrast=Contrast("variant", "P_T", "RI_T"),
)  # fmt: skip


@final
class Imbalance(AbstractTuned, OnSeeds):
    """Train P-T and RI-T on long-tailed parts of the training images, of equal size, and measure recall by class.

    The rank of each class in the tail is drawn by the seed. At the default, 3 ratios × 2 variants × 3 seeds = 18
    trainings, for as many updates as on all images.

    Attributes:
        ratios: of the most frequent class's images to the rarest one's; sizes between fall exponentially.
    """

    ratios: tuple[float, ...] = Field(default=(1.0, 10.0, 50.0), min_length=1)
    max_seeds: int | None = Field(default=3, ge=1)

    name: ClassVar[str] = "imbalance"
    title: ClassVar[str] = "Imbalanced classes"
    question: ClassVar[str] = "What does pre-training give to rare classes?"
    reference: ClassVar[str] = "Cui et al. 2019 (long-tailed versions of data sets)"
    version: ClassVar[int] = 1
    columns: ClassVar[Mapping[str, Column]] = {
        "level": Column(str, "network: all classes of one network; class: one class of it"),
        "variant": Column(str, "P_T or RI_T"),
        "seed": Column(int, "seed of the network, which draws the ranks of the classes", "count"),
        "ratio": Column(float, "of the most frequent class's training images to the rarest one's, as asked for"),
        "item": Column(str, "the class", null="the row speaks of all"),
        "rank": Column(int, "of the class in the tail: 0 is the most frequent", "count", null="as item"),
        "frequency": Column(str, "third of the ranks: frequent, middle or rare", null="as item"),
        "images": Column(int, "training images: of the class, or of all", "count"),
        "split": Column(str, "validation or test"),
        "metric": Column(str, "recall of a class; macro recall (balanced accuracy), macro F1 or accuracy of all"),
        "value": Column(float, "the metric", "1", "row", "diverged, or no image of the class in the split"),
        "low": Column(float, "lower end of the 95 % interval over images", "1", "row", "no interval"),
        "high": Column(float, "upper end of the 95 % interval over images", "1", "row", "no interval"),
        "n": Column(int, "images, or groups of them, that it is measured on", "count"),
        "diverged": Column(bool, "the loss exploded or was not finite"),
    }  # fmt: skip
    quantities: ClassVar[tuple[Quantity, ...]] = (_RECALL, _RECALL_GAP, _MACRO, _MACRO_GAP)

    @field_validator("ratios")
    @classmethod
    def _tails(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if any(not 1 <= ratio < float("inf") for ratio in value) or len(set(value)) != len(value):
            raise ValueError("ratios are different numbers from 1: of the most frequent class's images to the rarest's")
        return tuple(sorted(value))

    def skip_reason(self, study: ResolvedStudy) -> str | None:
        """Several labels per image have no long tail of this kind."""
        if not study.multi_label:
            return None
        return "an image with several labels belongs to frequent and rare ones at once: no part has these frequencies"

    def tasks(self, study: ResolvedStudy, evidence: Evidence) -> Iterable[Task]:
        """One per ratio."""
        for ratio in self.ratios:
            sizes = tail_sizes(study.class_counts, study.class_names, ratio, self.ratios[-1])
            members, ranks = [], {}
            for variant in TRAINED:
                for seed in self.seeds(study):
                    order = class_order(len(sizes), seed)
                    ranks[str(seed)] = [order.index(item) for item in range(len(sizes))]
                    spec = study.trained(variant, seed, chosen_rate(variant, evidence))
                    part = {"class_sizes": tuple(sizes[rank] for rank in ranks[str(seed)])}
                    members.append(part_network(study, spec, variant, sum(sizes), f"tail_{ratio:g}", part))
            yield Task(members=tuple(members), settings={"ratio": ratio, "ranks": ranks})

    def forward_passes(self, task: Task, study: ResolvedStudy) -> int:
        """Every network sees validation and test images once."""
        return len(task.members) * 1000

    def measure(self, task: Task, context: "Context") -> MeasureResult:
        """Recall of every class, and macro metrics, of every network."""
        ratio = task.settings["ratio"]
        rows: list[dict[str, Any]] = []
        for split in ("validation", "test"):
            judgements = Judgements.of(context, split)
            for member in task.members:
                data = member.spec.data
                assert data is not None
                assert data.class_sizes is not None
                lost = context.diverged(member.spec)
                said = None if lost else judgements.predicted(context.outputs(member.spec, split).logits)
                same = {
                    "variant": member.variant.removesuffix(f"_tail_{ratio:g}"), "seed": member.seed, "ratio": ratio,
                    "split": split, "diverged": lost,
                }  # fmt: skip
                ranks = task.settings["ranks"][str(member.seed)]
                rows += [{**same, **row} for row in macro_rows(judgements, said, data.class_sizes, ranks)]
        return self.measured(rows)

    def summarise(self, table: pl.DataFrame, evidence: Evidence) -> Summary:
        """Whether P-T is ahead of RI-T on rare classes, by the interval over seeds."""
        estimates = [_judged(item) for item in estimated(table, self.quantities)]
        gaps = {
            item.at["ratio"]: item
            for item in estimates
            if item.quantity == _RECALL_GAP.key and item.at["frequency"] == "rare"
        }
        words = [f"{_spoken(gap)} at ratio {ratio:g}, {gap.verdict}" for ratio, gap in sorted(gaps.items())]
        lost = table.filter(pl.col("diverged"))
        notes = [
            "parts of all ratios have equally many images and are trained for as many updates; each class has each "
            "rank with equal chance, drawn by the seed",
            "the rates are those chosen on all images",
        ]
        if lost.height:
            runs = lost.select("variant", "seed", "ratio").unique().sort(pl.all()).to_dicts()
            said = ", ".join(f"{shown(run['variant'])}[{run['seed']}] at ratio {run['ratio']:g}" for run in runs)
            notes.append(f"diverged: {said}; what these would tell is not defined")
        if not words:
            return Summary("Undecided: no seed of both P-T and RI-T ended.", tuple(estimates), tuple(notes))
        return Summary(
            f"Recall of the rarest third of classes, P-T − RI-T (limits for all thirds at once): {'; '.join(words)}.",
            tuple(estimates),
            tuple(notes),
        )


def macro_rows(
    judgements: Judgements, said: npt.NDArray[np.int64] | None, sizes: Sequence[int], ranks: Sequence[int]
) -> Iterable[dict[str, Any]]:
    """Recall of each class with its interval over images; macro recall, macro F1 and accuracy.

    Args:
        judgements: of a split.
        said: the class each image is taken for; None of a network that diverged.
        sizes: training images of each class.
        ranks: of each class in the tail.
    """
    from transferscope.measures.share_interval import share_interval

    owners = judgements.images if judgements.clusters is None else judgements.clusters
    truth = judgements.truth
    third = max(1, len(sizes) // 3)
    recalls, f1 = [], []
    for item, name in enumerate(judgements.names):
        inside = truth == item
        frequency = "frequent" if ranks[item] < third else "rare" if ranks[item] >= len(sizes) - third else "middle"
        row = {"level": "class", "metric": "recall", "item": name, "rank": ranks[item], "frequency": frequency,
               "images": sizes[item], "n": int(inside.sum())}  # fmt: skip
        if said is not None and inside.any():
            interval = interval_columns(share_interval(said[inside] == item, owners[inside]))
            row |= {column: interval[column] for column in ("value", "low", "high", "n")}
            recalls.append(float(interval["value"]))
            f1.append(2 * float((said[inside] == item).sum()) / float(inside.sum() + (said == item).sum()))
        yield row
    whole = {"level": "network", "images": sum(sizes), "n": len(truth)}
    complete = len(recalls) == len(sizes)
    yield {**whole, "metric": "macro recall", "value": float(np.mean(recalls)) if complete else None}
    yield {**whole, "metric": "macro F1", "value": float(np.mean(f1)) if complete else None}
    yield {**whole, "metric": "accuracy", "value": None if said is None else float((said == truth).mean())}


def _judged(item: Estimate) -> Estimate:
    """With a verdict, where it is a difference."""
    if item.quantity not in (_RECALL_GAP.key, _MACRO_GAP.key):
        return item
    low, high = (
        (item.simultaneous_low, item.simultaneous_high) if item.quantity == _RECALL_GAP.key else (item.low, item.high)
    )
    side = side_of(low, high) if item.basis == "seeds" else 0
    return replace(item, verdict={1: "larger", -1: "smaller", 0: "undecided"}[side])


def _spoken(gap: Estimate) -> str:
    """With the limits by which it is judged."""
    if gap.simultaneous_low is None:
        return spoken(gap)
    return spoken(replace(gap, low=gap.simultaneous_low, high=gap.simultaneous_high))
