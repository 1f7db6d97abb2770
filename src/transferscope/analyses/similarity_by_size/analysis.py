"""Feature similarity against the size of the training set (R4.8): is RI-T unlike P because its data is small?"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Literal, final

import polars as pl
from pydantic import Field, field_validator

from transferscope.analyses.cka_settings import CKA, AbstractStatesSimilarity
from transferscope.analyses.contract import MeasureResult, Task
from transferscope.analyses.estimate_words import in_turn
from transferscope.analyses.estimates import Contrast, Estimate, Quantity
from transferscope.analyses.estimator import estimated
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.pairs import with_variation
from transferscope.analyses.summary import Summary
from transferscope.analyses.tuned import SIDES, Pair, finite, tuned_member
from transferscope.context.resolved_study import BASELINES, TRAINED, ResolvedStudy
from transferscope.context.study_network import StudyNetwork
from transferscope.study.columns import Column

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
class SimilarityBySize(AbstractStatesSimilarity):
    """CKA of like modules between networks trained on growing, nested parts of the training images.

    Attributes:
        fractions: shares of the study's training images; the whole is always among them.
        equal: train for equal ``updates`` (smaller parts are seen more often), or equal ``epochs`` (cheaper; small
            parts then also mean less training).
    """

    fractions: tuple[float, ...] = Field(default=(0.1, 0.3, 1.0), min_length=1)
    equal: Literal["updates", "epochs"] = "updates"
    max_seeds: int | None = Field(default=3, ge=1)

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
        **CKA,
    }
    quantities: ClassVar[tuple[Quantity, ...]] = (_CKA, _CHANGE)

    @field_validator("fractions")
    @classmethod
    def _shares(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if any(not 0 < share <= 1 for share in value) or len(set(value)) != len(value):
            raise ValueError("fractions are different shares above 0 and up to 1")
        return tuple(sorted({*value, 1.0}))

    def tasks(self, study: ResolvedStudy, evidence: Evidence) -> Iterable[Task]:
        """One per size: its networks, with P."""
        for share in self.fractions:
            parts = [
                self._member(study, variant, seed, share, evidence) for variant in TRAINED for seed in self.seeds(study)
            ]
            untrained = self.members(study, evidence, (), once=BASELINES)
            yield Task(members=(*untrained, *parts), settings={"fraction": share})

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

    def measure(self, task: Task, context: "Context") -> MeasureResult:
        """One pass of each network over the test images."""
        suffix = f"_{task.settings['fraction']:g}"
        roles = (member.model_copy(update={"variant": member.variant.removesuffix(suffix)})
                 for member in finite(task, context))  # fmt: skip
        members = {member.label: member for member in roles}
        trained = [member.spec for member in members.values() if member.spec.trained]
        if not trained:
            return self.measured()
        found = self.states(
            {label: partial(context.network, member.spec) for label, member in members.items()}, context
        )
        spec = trained[0]
        assert spec.recipe is not None
        images = len(context.splits(spec.data)["train"])
        facts = {"fraction": task.settings["fraction"], "images": images, "epochs": spec.recipe.epochs}
        place = {label: index for index, label in enumerate(found.labels)}
        return self.measured(
            {**facts, **Pair(a, b).columns, **self.row(found, position, place[a.label], place[b.label])}
            for a, b in _compared(list(members.values()))
            for position in range(len(found.modules))
        )

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
