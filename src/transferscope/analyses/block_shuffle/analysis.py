"""Input ablations (paper Fig. 3): what of the gain is left when images lose their shapes, phases or colours."""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, final

import polars as pl
from pydantic import Field, TypeAdapter, model_validator

from transferscope.analyses.block_shuffle.summary import QUANTITIES, summary_of
from transferscope.analyses.contract import MeasureResult, Task
from transferscope.analyses.estimates import Quantity
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.summary import Summary
from transferscope.analyses.tuned import AbstractTuned, chosen_rate
from transferscope.context.resolved_study import TRAINED, ResolvedStudy
from transferscope.context.study_network import StudyNetwork
from transferscope.data.ablation_settings import (
    Ablation,
    BlockShuffle,
    Grayscale,
    HighPass,
    LowPass,
    PhaseScramble,
    check_study,
    divisors,
    is_identity,
    seeded,
    words,
)
from transferscope.data.spec import Augmentation
from transferscope.published import published
from transferscope.study.columns import Column, schema

if TYPE_CHECKING:
    from transferscope.context.context import Context
    from transferscope.study.settings import Study

__all__ = ["InputAblations", "default_blocks", "published_rows", "sides"]

_GAP = "P_T − RI_T"
_PARSER: TypeAdapter[Ablation] = TypeAdapter(Ablation)


def default_blocks(image_size: int) -> tuple[int | Literal["*"], ...]:
    """Whole images, about a quarter and an eighth of them, single pixels, all values.

    >>> default_blocks(64), default_blocks(224)
    ((64, 16, 8, 1, '*'), (224, 56, 28, 1, '*'))
    """
    sides = [max(side for side in divisors(image_size) if side <= max(1, image_size / part)) for part in (1, 4, 8)]
    return (*dict.fromkeys((*sides, 1)), "*")


@final
class InputAblations(AbstractTuned):
    """P-T and RI-T trained and tested on images that lack something, without augmentation.

    Attributes:
        blocks: sides of the blocks that are shuffled, in pixels; each divides the image size, ``*`` permutes all
            values. None takes the image size, a quarter, an eighth, 1 and ``*``. The image size itself (whole images)
            is always among them: the others are compared with it.
        phase_scramble: also keep the amplitude spectrum alone.
        low_pass: also keep frequencies up to each of these radii, in cycles per image.
        high_pass: also keep frequencies above each of these radii, in cycles per image.
        grayscale: also take the colour away.
        permutations: seeds of orders and phases, each combined with every report seed; None gives each report seed its
            own order, so that the intervals speak of orders in general too.
        n_bootstrap: bootstrap draws of the interval over examples.
        n_shown: images in the strip shown for each ablation; 0 shows none.
        published: a curve of the paper to draw behind those of the study.
    """

    blocks: tuple[Annotated[int, Field(ge=1)] | Literal["*"], ...] | None = None
    phase_scramble: bool = False
    low_pass: tuple[Annotated[float, Field(gt=0)], ...] = ()
    high_pass: tuple[Annotated[float, Field(gt=0)], ...] = ()
    grayscale: bool = False
    permutations: tuple[int, ...] | None = Field(default=None, min_length=1)
    n_bootstrap: int = Field(default=2000, ge=100)
    n_shown: int = Field(default=6, ge=0, le=12)
    published: Literal["none", "quickdraw", "clipart", "real"] = "none"

    name: ClassVar[str] = "block_shuffle"
    title: ClassVar[str] = "Input ablations"
    question: ClassVar[str] = "How much of the gain is left when images lose their shapes?"
    reference: ClassVar[str] = "Neyshabur et al. 2020, Sec. 3.1 and Fig. 3"
    version: ClassVar[int] = 3
    columns: ClassVar[Mapping[str, Column]] = {
        "level": Column(str, "network: one training; variant: mean over seeds; gap: P-T − RI-T; difference: the gap "
                             "minus the gap on whole images"),
        "origin": Column(str, "study, or the paper's name of the target"),
        "ablation": Column(str, "block_shuffle, phase_scramble, low_pass, high_pass or grayscale"),
        "label": Column(str, "the ablation in words"),
        "order": Column(int, "order of the ablations; whole images are 0", "count"),
        "block": Column(str, "side of a block in pixels, or *", "px", null="not a block shuffle"),
        "block_share": Column(float, "side of a block over the image size", null="not a block shuffle, or *"),
        "cutoff": Column(float, "radius in frequency", "cycles/image", null="not a filter"),
        "variant": Column(str, "P_T, RI_T, their starts P and RI, or both"),
        "seed": Column(int, "seed of the network", "count", null="the row speaks of all seeds"),
        "permutation_seed": Column(int, "seed of the order or phase", "count", null="nothing random, or all seeds"),
        "learning_rate": Column(float, "peak learning rate", null="untrained, or a row of all seeds"),
        "epochs": Column(int, "passes over the training images", "count", null="a row of all seeds, or published"),
        "metric": Column(str, "top1, top5 or auc"),
        "chance": Column(float, "what guessing reaches", "metric"),
        "train_metric": Column(float, "clean metric at the end", "metric", "train", "diverged, or a row of all seeds"),
        "validation_metric": Column(
            float, "metric at the end", "metric", "validation", "undefined, diverged, or a row of all seeds"
        ),
        "test_metric": Column(float, "metric at the end, or a difference of it", "metric", "test",
                              "undefined or diverged"),
        "test_low": Column(float, "lower 95 % limit", "metric", "test", "no interval"),
        "test_high": Column(float, "upper 95 % limit", "metric", "test", "no interval"),
        "simultaneous_low": Column(float, "lower limit that holds for all ablations at once (Bonferroni)", "metric",
                                   "test", "fewer than 3 seeds, or one network or variant"),
        "simultaneous_high": Column(float, "upper limit that holds for all ablations at once (Bonferroni)", "metric",
                                    "test", "fewer than 3 seeds, or one network or variant"),
        "relative_drop": Column(float, "100 · gap / P-T's metric (AUC: above 0.5), of means over seeds", "%", "test",
                                "not a gap over seeds, P-T not above chance, or not surely above 0"),
        "relative_drop_low": Column(float, "lower 95 % limit (Fieller)", "%", "test", "no interval"),
        "relative_drop_high": Column(float, "upper 95 % limit (Fieller)", "%", "test", "no interval"),
        "speed": Column(float, "clean training metric, mean over the epochs after 0, or a difference of it", "metric",
                        "train", "untrained, diverged, or an interval over examples"),
        "speed_low": Column(float, "lower 95 % limit", "metric", "train", "no interval"),
        "speed_high": Column(float, "upper 95 % limit", "metric", "train", "no interval"),
        "basis": Column(str, "seeds, examples, or range (of two seeds)", null="no interval"),
        "n": Column(int, "seeds or examples", "count"),
        "improving": Column(bool, "validation metric still rising at the end", null="too few epochs, or not a network"),
        "diverged": Column(bool, "the training diverged and is left out of means"),
        "network": Column(str, "key of the network", null="a row of all seeds, or published"),
    }  # fmt: skip

    quantities: ClassVar[tuple[Quantity, ...]] = QUANTITIES

    @model_validator(mode="after")
    def _holds_together(self) -> "InputAblations":
        for name in ("blocks", "low_pass", "high_pass", "permutations"):
            values = getattr(self, name) or ()
            if len(set(values)) != len(values):
                raise ValueError(f"{name} holds a value twice")
        return self

    def check_study(self, study: "Study") -> str | None:
        """A block that does not divide the image size, or a cutoff beyond its frequencies."""
        size = study.target.image_size
        for item in self.ablations(size):
            if (reason := check_study(item, size)) is not None:
                return f"{'blocks' if isinstance(item, BlockShuffle) else item.kind}: {reason}"
        return None

    def ablations(self, image_size: int) -> tuple[Ablation, ...]:
        """All ablations, whole images first, then from large blocks to all values, then the others."""
        given = default_blocks(image_size) if self.blocks is None else self.blocks
        sides = sorted({image_size, *(block for block in given if block != "*")}, reverse=True)
        return (
            *(BlockShuffle(block=side) for side in sides),
            *([BlockShuffle(block="*")] if "*" in given else []),
            *([PhaseScramble()] if self.phase_scramble else []),
            *(LowPass(cutoff=cutoff) for cutoff in sorted(self.low_pass, reverse=True)),
            *(HighPass(cutoff=cutoff) for cutoff in sorted(self.high_pass)),
            *([Grayscale()] if self.grayscale else []),
        )

    def tasks(self, study: ResolvedStudy, evidence: Evidence) -> Iterable[Task]:
        """One per ablation, with the networks on whole images; its strip of examples; the published curve."""
        size = study.data.image_size
        asked = self.ablations(size)
        plain = list(self._members(asked[0], study, evidence))
        for place, item in enumerate(asked):
            settings = {"ablation": item.model_dump(mode="json"), "place": place, "ablations": len(asked)}
            ablated = [] if is_identity(item, size) else list(self._members(item, study, evidence))
            yield Task(members=(*ablated, *plain), settings=settings)
        if self.published != "none":
            yield Task(members=(), settings={"published": self.published})
        if self.n_shown:
            for place, item in enumerate(asked):
                shown = seeded(item, self._permutations(study.seeds[0])[0]).model_dump(mode="json")
                yield Task(members=(), settings={"strip": shown, "place": place})

    def _permutations(self, seed: int) -> tuple[int, ...]:
        return (seed,) if self.permutations is None else self.permutations

    def _members(self, ablation: Ablation, study: ResolvedStudy, evidence: Evidence) -> Iterator[StudyNetwork]:
        for variant in TRAINED:
            rate = chosen_rate(variant, evidence)
            for seed in study.seeds:
                spec = study.trained(variant, seed, rate)
                assert spec.recipe is not None
                recipe = spec.recipe.model_copy(update={"augmentation": Augmentation(flip=False, crop_padding=0)})
                drawn = [seeded(ablation, order) for order in self._permutations(seed)]
                for data in dict.fromkeys(study.data.ablated(item) for item in drawn):
                    yield StudyNetwork(
                        variant=variant, seed=seed, spec=spec.model_copy(update={"data": data, "recipe": recipe})
                    )

    def forward_passes(self, task: Task, study: ResolvedStudy) -> int:
        """Every network sees the test images once."""
        return len(task.members) * 1000

    def measure(self, task: Task, context: "Context") -> MeasureResult:
        """Read the trainings' ends; run networks on ablated test images for the interval over examples."""
        if "published" in task.settings:
            return MeasureResult(published_rows(task.settings["published"], schema(self.columns)))
        if "strip" in task.settings:
            return MeasureResult(pl.DataFrame([], schema=schema(self.columns)), self._strip(task, context))
        from transferscope.analyses.block_shuffle.rows import rows_of

        ablation = _PARSER.validate_python(task.settings["ablation"])
        size = context.study.data.image_size
        facts: dict[str, Any] = {
            "origin": "study",
            "ablation": ablation.kind,
            "label": words(ablation, size),
            "order": task.settings["place"],
            **sides(getattr(ablation, "block", None), size),
            "cutoff": getattr(ablation, "cutoff", None),
            "metric": context.study.metric,
        }
        rows = rows_of(task, context, facts, is_identity(ablation, size), self.n_bootstrap)
        return MeasureResult(pl.DataFrame(rows, schema=schema(self.columns)))

    def _strip(self, task: Task, context: "Context") -> dict[str, bytes]:
        import torch

        from transferscope.analyses.gallery import Gallery, GalleryGroup, GalleryImage, gallery_files
        from transferscope.analyses.image_strip import picture_strip, restored_pixels
        from transferscope.data.ablations import ablate
        from transferscope.data.batches import normalised

        ablation = _PARSER.validate_python(task.settings["strip"])
        data = context.study.data
        pixels = context.images().pixels(context.indices("test", self.n_shown)[: self.n_shown])
        images = normalised(torch.from_numpy(pixels), data.mean, data.std, torch.contiguous_format)
        shown = restored_pixels(ablate(images, ablation, data.mean, data.std), data.mean, data.std)
        label = words(ablation, data.image_size)
        name = f"ablation-{task.settings['place']:02d}"
        group = GalleryGroup(
            title=label[0].upper() + label[1:],
            layout="strip",
            images=(GalleryImage(file=f"{name}.png", alt=f"{len(shown)} test images as networks see them: {label}"),),
        )
        gallery = Gallery(
            title="What the networks see",
            caption="The same test images with each ablation, in the order of the first report seed, undone to pixel "
            "values and cut to what a screen can show. Larger images are thinned to every k-th pixel, not averaged.",
            groups=(group,),
        )
        return gallery_files(name, gallery, {f"{name}.png": picture_strip(shown)})

    def summarise(self, table: pl.DataFrame, evidence: Evidence) -> Summary:
        """What is left of the gain at the ablation that leaves least, and each ablation's estimates."""
        return summary_of(table)


def sides(block: int | str | None, size: int) -> dict[str, Any]:
    """The columns ``block`` and ``block_share``."""
    share = block / size if isinstance(block, int) else None
    return {"block": None if block is None else str(block), "block_share": share}


def published_rows(domain: str, columns: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """The paper's curve for one target, as rows of the table.

    Args:
        domain: ``quickdraw``, ``clipart`` or ``real``.
        columns: schema of the table.
    """
    found = published("block_shuffle")
    size = found["image_size"]
    rows: list[dict[str, Any]] = []
    for item in (dict(zip(found["columns"], row, strict=True)) for row in found["rows"]):
        if item["domain"] != domain:
            continue
        block = item["block"]
        shuffle = BlockShuffle(block=block)
        facts = {
            "origin": domain, "ablation": shuffle.kind, "label": words(shuffle, size), "metric": "top1", "n": 1,
            "order": size if block == "*" else size - block, **sides(block, size),
            "chance": 1 / 345, "diverged": False,
        }  # fmt: skip
        values = {
            variant: [item[f"{what}_accuracy_{variant.lower()}"] / 100 for what in ("test", "mean_train")]
            for variant in TRAINED
        }
        for variant, (test, speed) in values.items():
            rows.append({"level": "variant", "variant": variant, **facts, "test_metric": test, "speed": speed})
        gap = [a - b for a, b in zip(values["P_T"], values["RI_T"], strict=True)]
        rows.append({"level": "gap", "variant": _GAP, **facts, "test_metric": gap[0], "speed": gap[1],
                     "relative_drop": item["relative_drop_percent"]})  # fmt: skip
    return pl.DataFrame(rows, schema=columns)
