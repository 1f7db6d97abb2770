"""Feature similarity of the networks of a study: CKA, all layers × all layers, one pass (paper Table 1)."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, final

import polars as pl
from pydantic import Field

from transferscope.analyses.cka_settings import CKA, AbstractSimilarity
from transferscope.analyses.contract import MeasureResult, Task
from transferscope.analyses.estimate_words import spoken
from transferscope.analyses.estimates import Contrast, Estimate, Quantity
from transferscope.analyses.estimator import estimated
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.pairs import with_variation
from transferscope.analyses.summary import Summary
from transferscope.analyses.tuned import finite
from transferscope.bounds import DIFFERENCE
from transferscope.context.resolved_study import BASELINES, ResolvedStudy
from transferscope.keys import shown
from transferscope.study.columns import Column

if TYPE_CHECKING:
    from transferscope.context.context import Context

__all__ = ["Similarity"]

_PAIRS = (
    ("P_T", "P_T"),
    ("RI_T", "RI_T"),
    ("P_T", "RI_T"),
    ("P", "P_T"),
    ("P", "RI_T"),
    ("RI", "RI_T"),
    ("RI", "P_T"),
)
_MEASURES = {"cca": "mean squared CCA", "procrustes": "Procrustes similarity", "rsa": "RSA"}
_ESTIMATES = {
    "unbiased": "unbiased HSIC",
    "biased": "biased HSIC (high for few images and wide features whatever they are)",
    "rbf": "RBF kernel as wide as the median distance, unbiased HSIC",
}
_NOT_ASKED = "not asked for, not like modules, or no variation"
_SAID = ("P-T/P-T", "RI-T/RI-T", "P-T/RI-T", "P/P-T")
_CKA = Quantity("cka", "mean CKA of like modules, {pair}", column="cka", by=("pair",))
_GAPS = tuple(
    Quantity("cka_gap", "mean CKA of like modules, {pair} − {rival}", column="cka", by=("pair",), contrast=contrast)
    for contrast in (Contrast("pair", "P-T/P-T", "RI-T/RI-T"), Contrast("pair", "P/P-T", "P-T/RI-T"))
)
_AGREEMENT = Quantity(
    "rank_agreement", "Kendall τ over modules, CKA and {measure}, {pair}", "1", DIFFERENCE, "kendall",
    by=("pair", "measure"), labels={"measure": _MEASURES},
)  # fmt: skip


@final
class Similarity(AbstractSimilarity):
    """CKA (linear, unbiased HSIC over minibatches) between all modules of RI, P, RI-T and P-T.

    Attributes:
        max_seeds: at most so many seeds of RI-T and P-T; None for all. RI and P enter once.
        extra_measures: also mean squared CCA, orthogonal Procrustes and RSA of like modules, on pooled features of all
            images at once.
    """

    test_images: int | None = Field(default=1024, ge=8)
    batch_size: int = Field(default=128, ge=4)
    max_seeds: int | None = Field(default=4, ge=1)
    extra_measures: bool = False

    name: ClassVar[str] = "similarity"
    title: ClassVar[str] = "Feature similarity"
    question: ClassVar[str] = "Which features of the pre-trained network are still there after fine-tuning?"
    reference: ClassVar[str] = (
        "Neyshabur et al. 2020, Table 1; Kornblith et al. 2019; Nguyen et al. 2021 (minibatch CKA)"
    )
    version: ClassVar[int] = 2
    columns: ClassVar[Mapping[str, Column]] = {
        "a": Column(str, "first network"),
        "variant_a": Column(str, "its variant"),
        "seed_a": Column(int, "its seed", "count"),
        "module_a": Column(str, "module of a"),
        "position_a": Column(int, "depth of the module: 0 is the first", "count"),
        "b": Column(str, "second network"),
        "variant_b": Column(str, "its variant"),
        "seed_b": Column(int, "its seed", "count"),
        "module_b": Column(str, "module of b"),
        "position_b": Column(int, "depth of the module", "count"),
        **{name: CKA[name] for name in ("cka", "estimator", "pooling")},
        "cca": Column(float, "mean squared canonical correlation of pooled features", "1", "test",
                      "not asked for, not like modules, no variation, or as many features as images"),
        "cca_chance": Column(float, "what independent features of these widths give for it on average",
                             null=_NOT_ASKED),
        "procrustes": Column(float, "orthogonal Procrustes similarity of pooled features, 0 to 1", "1", "test",
                             _NOT_ASKED),
        "rsa": Column(float, "Spearman correlation of the distances between images, pooled features", "1", "test",
                      _NOT_ASKED),
        **CKA,
    }  # fmt: skip
    quantities: ClassVar[tuple[Quantity, ...]] = (_CKA, *_GAPS, _AGREEMENT)

    def tasks(self, study: ResolvedStudy, evidence: Evidence) -> Iterable[Task]:
        """One: all networks share one pass over the images."""
        yield Task(members=self.members(study, evidence, once=("RI", "P")))

    def measure(self, task: Task, context: "Context") -> MeasureResult:
        """One pass over the test images through all networks."""
        from transferscope.methods.evaluation import Execution
        from transferscope.methods.similarity.cka import CkaEstimator, cka_networks
        from transferscope.methods.similarity.pooled_features import PooledFeatures

        features = PooledFeatures() if self.extra_measures else None
        members = {member.label: member for member in finite(task, context)}
        result = cka_networks(
            {label: context.network(member.spec) for label, member in members.items()},
            context.mixed_batches("test", self.test_images, self.batch_size),
            granularity=self.granularity,
            execution=Execution(device=context.device, memory_format=context.memory_format),
            estimator=CkaEstimator(kind=self.estimator, maps=self.pooling),
            on_features=None if features is None else features.take,
        )
        checks = {} if features is None else features.compared()
        position = {
            label: {module: index for index, module in enumerate(modules)} for label, modules in result.modules.items()
        }
        rows: list[dict[str, Any]] = []
        for row in result.rows():
            a, b = members[str(row["network_a"])], members[str(row["network_b"])]
            module_a, module_b = str(row["module_a"]), str(row["module_b"])
            rows.append({
                "a": a.label, "variant_a": a.variant, "seed_a": a.seed,
                "module_a": module_a, "position_a": position[a.label][module_a],
                "b": b.label, "variant_b": b.variant, "seed_b": b.seed,
                "module_b": module_b, "position_b": position[b.label][module_b],
                "cka": row["cka"], **self.estimated_on(result.examples, result.batch_size),
                **(checks.get((a.label, b.label, module_a), {}) if module_a == module_b else {}),
            })  # fmt: skip
        return self.measured(rows)

    def summarise(self, table: pl.DataFrame, evidence: Evidence) -> Summary:
        """Mean CKA of like modules, for each kind of pair."""
        pairs, left_out = with_variation(_pairs(table), "module_a")
        estimates = estimated(pairs, [_CKA, *_GAPS])
        said = [
            f"{item.at['pair']} {spoken(item)}"
            for item in estimates
            if item.quantity == "cka" and item.at["pair"] in _SAID
        ]
        agreed, agreed_notes = _agreement(pairs)
        notes = (
            f"{_ESTIMATES[table['estimator'][0]]} over batches of {table['batch'][0]}; CKA ignores rotations, scales "
            "and offsets of features, so equal CKA does not mean equal features",
            "P and RI are one network each: their pairs count by the seed of the other",
        )
        return Summary(
            f"Mean CKA of like modules on {table['examples'][0]} test images: {', '.join(said) or 'not defined'}.",
            (*estimates, *agreed),
            (*notes, *left_out, *agreed_notes),
        )


def _pairs(table: pl.DataFrame) -> pl.DataFrame:
    """Rows of like modules of two networks, by the kind of ``pair``."""
    a, b, of = pl.col("variant_a"), pl.col("variant_b"), []
    like = table.filter((pl.col("module_a") == pl.col("module_b")) & (pl.col("a") != pl.col("b")))
    for first, second in _PAIRS:
        rows = like.filter(((a == first) & (b == second)) | ((a == second) & (b == first)))
        if (first, second) in (("P_T", "RI_T"), ("RI", "RI_T")):
            # Equal seeds share head and data order; and RI[s] is the start of RI-T[s] alone, to others a stranger.
            rows = rows.filter(pl.col("seed_a") == pl.col("seed_b"))
        if first in BASELINES:
            # One network for all seeds: what varies is what it is compared with.
            rows = rows.with_columns(seed=pl.when(a == first).then("seed_b").otherwise("seed_a"))
            rows = rows.with_columns(seed_a="seed", seed_b="seed").drop("seed")
        of.append(rows.with_columns(pair=pl.lit(f"{shown(first)}/{shown(second)}")))
    return pl.concat(of)


def _agreement(pairs: pl.DataFrame) -> tuple[list[Estimate], tuple[str, ...]]:
    """Whether the other measures put the modules in the same order as CKA, for each kind of pair."""
    from transferscope.measures.agreement import rank_agreement

    asked = pairs.filter(pl.col("procrustes").is_not_null())
    if asked.is_empty():
        return [], ()
    rows = [
        {"pair": pair, "seed_a": a, "seed_b": b, "measure": measure,
         "kendall": rank_agreement(part["cka"].to_list(), part[measure].to_list()).kendall}
        for (pair, a, b), part in asked.sort("position_a").group_by("pair", "seed_a", "seed_b", maintain_order=True)
        for measure in _MEASURES
    ]  # fmt: skip
    taus = pl.DataFrame(rows, infer_schema_length=None, schema_overrides={"kendall": pl.Float64})
    notes = ["mean squared CCA, Procrustes and RSA are of features pooled over positions, on all images at once"]
    if lost := taus.filter(pl.col("kendall").is_null())["measure"].unique(maintain_order=True).to_list():
        words = ", ".join(sorted(_MEASURES[measure] for measure in lost))
        notes.append(f"no rank agreement for some pairs (too few modules with a value): {words}")
    return estimated(taus, [_AGREEMENT]), tuple(notes)
