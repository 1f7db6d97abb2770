"""Feature similarity against the size of the training set (R4.8): is RI-T unlike P because its data is small?"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal, final

import polars as pl
from pydantic import Field, field_validator

from transferscope.analyses.contract import MeasureResult, Task
from transferscope.analyses.estimates import Contrast, Estimate, Quantity, estimated, in_turn
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.modules import OnModules
from transferscope.analyses.pairs import with_variation
from transferscope.analyses.summary import Summary
from transferscope.analyses.tuned import SIDES, AbstractTuned, tuned_member
from transferscope.context.resolved_study import BASELINES, TRAINED, ResolvedStudy
from transferscope.context.study_network import StudyNetwork
from transferscope.keys import shown
from transferscope.study.columns import Column, schema

if TYPE_CHECKING:
    from transferscope.context.context import Context

__all__ = ["SimilarityBySize"]

_PAIRS = ("P/P-T", "P/RI-T", "P-T/P-T", "RI-T/RI-T", "P-T/RI-T")
_SAID = ("P/P-T", "P/RI-T", "RI-T/RI-T")
_CKA = Quantity(
    "cka", "mean CKA of like modules, {pair}, {fraction:.3g} of the training images", column="cka",
    by=("pair", "fraction"),
)  # fmt: skip
_CHANGE = Quantity("cka_change", "change of it from {rival} to all, {pair}", column="cka", by=("pair", "fraction"))


@final
class SimilarityBySize(AbstractTuned, OnModules):
    """CKA of like modules between networks trained on growing, nested parts of the training images.

    Attributes:
        fractions: shares of the study's training images; the whole is always among them.
        equal: train for equal ``updates`` (smaller parts are seen more often), or equal ``epochs`` (cheaper; small
            parts then also mean less training).
        estimator: ``unbiased`` or ``biased`` HSIC with the linear kernel, or ``rbf`` (unbiased, median heuristic).
        pooling: feature maps ``flattened``, or ``pooled`` over positions.
        test_images: test images used; None for all.
        batch_size: images per Gram matrix.
        max_seeds: at most so many seeds of RI-T and P-T; None for all.
        memory: MiB of Gram matrices held at once; beyond it modules are taken in groups.
    """

    fractions: tuple[float, ...] = Field(default=(0.1, 0.3, 1.0), min_length=1)
    equal: Literal["updates", "epochs"] = "updates"
    estimator: Literal["unbiased", "biased", "rbf"] = "unbiased"
    pooling: Literal["flattened", "pooled"] = "flattened"
    test_images: int | None = Field(default=512, ge=8)
    batch_size: int = Field(default=64, ge=4)
    max_seeds: int | None = Field(default=3, ge=1)
    memory: int = Field(default=1024, ge=1)

    name: ClassVar[str] = "similarity_by_size"
    title: ClassVar[str] = "Feature similarity and training-set size"
    question: ClassVar[str] = "Are features from a random start unlike the pre-trained ones because the data is small?"
    reference: ClassVar[str] = "Neyshabur et al. 2020, Table 1 (one size); Kornblith et al. 2019 (CKA)"
    version: ClassVar[int] = 1
    columns: ClassVar[Mapping[str, Column]] = {
        "fraction": Column(float, "share of the study's training images that P-T and RI-T were trained on"),
        "images": Column(int, "so many training images", "count"),
        "epochs": Column(int, "passes over them", "count"),
        "pair": Column(str, "which variants"),
        "module": Column(str, "module of both networks"),
        "position": Column(int, "depth of the module: 0 is the first", "count"),
        **SIDES,
        "variant_a": Column(str, "its variant; P is not trained and the same at every size"),
        "cka": Column(float, "CKA, at most 1; unbiased, so small negative values occur", "1", "test",
                      "features without variation"),
        "estimator": Column(str, "unbiased or biased (linear kernel), or rbf"),
        "pooling": Column(str, "flattened, or pooled over positions"),
        "examples": Column(int, "test images used", "count"),
        "batch": Column(int, "images per Gram matrix", "count"),
    }  # fmt: skip
    quantities: ClassVar[tuple[Quantity, ...]] = (_CKA, _CHANGE)

    @field_validator("fractions")
    @classmethod
    def _shares(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if any(not 0 < share <= 1 for share in value) or len(set(value)) != len(value):
            raise ValueError("fractions are different shares above 0 and up to 1")
        return tuple(sorted({*value, 1.0}))

    def tasks(self, study: ResolvedStudy, evidence: Evidence) -> Iterable[Task]:
        """One per size: its networks, with P."""
        seeds = study.seeds[: self.max_seeds]
        for share in self.fractions:
            members = [tuned_member(study, variant, seeds[0], evidence) for variant in BASELINES]
            members += [self._member(study, variant, seed, share, evidence) for variant in TRAINED for seed in seeds]
            yield Task(members=tuple(members), settings={"fraction": share})

    def _member(self, study: ResolvedStudy, variant: str, seed: int, share: float, evidence: Evidence) -> StudyNetwork:
        member = tuned_member(study, variant, seed, evidence)
        if share == 1:
            return member
        recipe = member.spec.recipe
        assert recipe is not None
        if self.equal == "updates":
            recipe = study.recipe(recipe.learning_rate, max(recipe.epochs, round(recipe.epochs / share)))
        # Of these only the end is looked at. A part of a part is drawn by the same seed, so that it is nested.
        recipe = recipe.model_copy(update={"keep": "none"})
        drawn = study.data.subset_seed if study.data.fraction < 1 else seed
        data = study.data.model_copy(update={"fraction": share * study.data.fraction, "subset_seed": drawn})
        # Not P-T itself: a name of its own, in which its progress is shown too.
        spec = member.spec.model_copy(update={"data": data, "recipe": recipe})
        return StudyNetwork(variant=f"{variant}_{share:g}", seed=seed, spec=spec)

    def forward_passes(self, task: Task, study: ResolvedStudy) -> int:
        """Every network sees every image once."""
        return len(task.members) * (self.test_images or 1000)

    def measure(self, task: Task, context: "Context") -> MeasureResult:
        """One pass of each network over the test images."""
        from transferscope.methods.similarity.cka_states import cka_states

        suffix = f"_{task.settings['fraction']:g}"
        roles = (
            StudyNetwork(variant=member.variant.removesuffix(suffix), seed=member.seed, spec=member.spec)
            for member in task.members
            if not context.diverged(member.spec)
        )
        members = {member.label: member for member in roles}
        trained = [member.spec for member in members.values() if member.spec.trained]
        if not trained:
            return MeasureResult(pl.DataFrame([], schema=schema(self.columns)))
        found = cka_states(
            {label: partial(context.network, member.spec) for label, member in members.items()},
            context.mixed_batches("test", self.test_images, self.batch_size),
            granularity=self.granularity,
            device=context.device,
            memory_format=context.memory_format,
            kind=self.estimator,
            maps=self.pooling,
            memory=self.memory * 2**20,
        )
        spec = trained[0]
        assert spec.recipe is not None
        facts = {
            "fraction": task.settings["fraction"], "images": len(context.splits(spec.data)["train"]),
            "epochs": spec.recipe.epochs, "estimator": self.estimator, "pooling": self.pooling,
            "examples": found.examples, "batch": found.batch_size,
        }  # fmt: skip
        place = {label: index for index, label in enumerate(found.labels)}
        rows: list[dict[str, Any]] = []
        for first, second in _compared(list(members.values())):
            i, j = place[first.label], place[second.label]
            for position, module in enumerate(found.modules):
                rows.append({
                    **facts, "pair": f"{shown(first.variant)}/{shown(second.variant)}",
                    "module": module, "position": position,
                    "a": first.label, "variant_a": first.variant, "seed_a": first.seed,
                    "b": second.label, "variant_b": second.variant, "seed_b": second.seed,
                    "cka": None if found.null[position, i, j] else float(found.values[position, i, j]),
                })  # fmt: skip
        return MeasureResult(pl.DataFrame(rows, schema=schema(self.columns)))

    def summarise(self, table: pl.DataFrame, evidence: Evidence) -> Summary:
        """Mean CKA of like modules by size, and its change from the smallest to the whole."""
        sizes = sorted(table["fraction"].unique())
        rows = table.filter(pl.col("pair").is_in(_PAIRS)).sort(
            pl.col("pair").cast(pl.Enum(_PAIRS)), "fraction", maintain_order=True
        )
        rows, left_out = with_variation(rows)
        means = estimated(rows, [_CKA])
        changes = []
        if len(sizes) > 1:
            changes = estimated(rows, [replace(_CHANGE, contrast=Contrast("fraction", sizes[-1], sizes[0]))])
        words = [
            f"{pair} {in_turn(of)}"
            for pair in _SAID
            if (of := [item for item in means if item.at["pair"] == pair]) and of[-1].at["fraction"] == sizes[-1]
        ]
        estimates = (*means, *changes)
        equal = f"equal {self.equal}" + ("" if self.equal == "updates" else ": smaller sets also mean fewer updates")
        notes = (
            f"{table['estimator'][0]} CKA, maps {table['pooling'][0]}, {table['examples'][0]} test images; {equal}; "
            "the rate is the one chosen on all training images",
            "the parts of one seed are nested; each seed draws its own",
            *left_out,
        )
        if not words:
            return Summary("Undecided: no network trained on all images is left.", estimates, notes)
        return Summary(
            f"Mean CKA of like modules from {sizes[0]:.3g} to all of the training images: {', '.join(words)}"
            f"{_verdict(next((item for item in changes if item.at['pair'] == 'P/RI-T'), None))}.",
            estimates,
            notes,
        )


def _verdict(change: Estimate | None) -> str:
    if change is None:
        return "; undecided how it changes: one size, or no seed of both"
    if "no_spread" in change.flags:
        return "; undecided whether RI-T comes nearer to P with more data (equal for all seeds)"
    if change.basis != "seeds" or change.low is None or change.high is None:
        return "; undecided whether RI-T comes nearer to P with more data (fewer than 3 seeds)"
    limits = f"(95 % interval over {change.n} seeds: {change.low:+.2f} to {change.high:+.2f})"
    if change.low > 0:
        return f"; RI-T comes nearer to P with more data {limits}"
    if change.high < 0:
        return f"; RI-T goes further from P with more data {limits}"
    return f"; undecided whether RI-T comes nearer to P with more data {limits}"


def _compared(members: list[StudyNetwork]) -> Iterator[tuple[StudyNetwork, StudyNetwork]]:
    """Like variants with each other, P with all that are trained, RI with RI-T and P-T, and equal seeds across."""
    for index, first in enumerate(members):
        for second in members[index + 1 :]:
            if not second.spec.trained:
                continue
            if first.variant in BASELINES or first.variant == second.variant:
                yield first, second
            elif first.seed == second.seed:
                # P-T before RI-T, as everywhere.
                yield (second, first) if second.variant == "P_T" else (first, second)
