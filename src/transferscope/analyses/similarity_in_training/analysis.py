"""Feature similarity along training (R4.6): every kept epoch against every other, and against P."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal, final

import polars as pl
from pydantic import Field

from transferscope.analyses.checkpoints import chosen_epochs, evenly, missing_epochs, too_few
from transferscope.analyses.contract import MeasureResult, Task
from transferscope.analyses.estimates import Estimate, Quantity, estimated, in_turn, over_seeds, units
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.modules import OnModules
from transferscope.analyses.pairs import with_variation
from transferscope.analyses.summary import Summary
from transferscope.analyses.tuned import AbstractTuned, finite, tuned_member
from transferscope.context.resolved_study import TRAINED, ResolvedStudy
from transferscope.study.columns import Column, schema

if TYPE_CHECKING:
    from transferscope.context.context import Context
    from transferscope.study.settings import Study

__all__ = ["SimilarityInTraining"]

_KEPT = 0.9
_COMPARED = {
    "P-T/P": "P-T at the epoch and P",
    "RI-T/P": "RI-T at the epoch and P",
    "P-T/end": "P-T at the epoch and at its end",
    "RI-T/end": "RI-T at the epoch and at its end",
    "P-T/P-T": "two P-T at the epoch",
    "RI-T/RI-T": "two RI-T at the epoch",
}
_CKA = Quantity(
    "cka", "mean CKA of like modules, {pair} {epoch}", column="cka", by=("pair", "epoch"), labels={"pair": _COMPARED}
)  # fmt: skip
_SETTLED = Quantity(
    "settled_epoch", f"first epoch from which P-T stays at a mean CKA of {_KEPT:g} or more with its end", "epoch"
)


@final
class SimilarityInTraining(AbstractTuned, OnModules):
    """CKA of like modules between all kept epochs of P-T and RI-T; epoch 0 is P or RI.

    Each checkpoint is read once and only one network is in memory at a time; what stays is one Gram matrix for every
    epoch, module and batch: 4 bytes · networks · epochs · modules · images · batch_size, 94 MB for 4 networks of 10
    epochs and 18 modules at the defaults.

    Attributes:
        epochs: which kept epochs; the start and the last always among them. None takes all that are kept.
        max_epochs: at most so many, evenly spread over the kept ones, where ``epochs`` is None.
        estimator: ``unbiased`` or ``biased`` HSIC with the linear kernel, or ``rbf`` (unbiased, median heuristic).
        pooling: feature maps ``flattened``, or ``pooled`` over positions.
        test_images: test images used; None for all.
        batch_size: images per Gram matrix.
        max_seeds: at most so many seeds of RI-T and P-T; None for all.
        memory: MiB of Gram matrices held at once; beyond it modules are taken in groups, and each checkpoint is read
            once for each group.
    """

    epochs: tuple[int, ...] | None = Field(default=None, min_length=1)
    max_epochs: int = Field(default=10, ge=3)
    estimator: Literal["unbiased", "biased", "rbf"] = "unbiased"
    pooling: Literal["flattened", "pooled"] = "flattened"
    test_images: int | None = Field(default=512, ge=8)
    batch_size: int = Field(default=64, ge=4)
    max_seeds: int | None = Field(default=2, ge=1)
    memory: int = Field(default=1024, ge=1)

    name: ClassVar[str] = "similarity_in_training"
    title: ClassVar[str] = "Feature similarity during training"
    question: ClassVar[str] = "When do the features of the pre-trained network change, and when do they settle?"
    reference: ClassVar[str] = "Neyshabur et al. 2020, Table 1 (at the end of training); Raghu et al. 2017, Sec. 4.1"
    version: ClassVar[int] = 1
    columns: ClassVar[Mapping[str, Column]] = {
        "module": Column(str, "module of both networks"),
        "position": Column(int, "depth of the module: 0 is the first", "count"),
        "a": Column(str, "first network"),
        "variant_a": Column(str, "its variant; at epoch 0 it is P or RI"),
        "seed_a": Column(int, "its seed", "count"),
        "epoch_a": Column(int, "passes over the training images; 0 is the start", "count"),
        "b": Column(str, "second network; the first one again where epochs of one training are compared"),
        "variant_b": Column(str, "its variant"),
        "seed_b": Column(int, "its seed", "count"),
        "epoch_b": Column(int, "passes over the training images", "count"),
        "cka": Column(float, "CKA, at most 1; unbiased, so small negative values occur", "1", "test",
                      "features without variation"),
        "estimator": Column(str, "unbiased or biased (linear kernel), or rbf"),
        "pooling": Column(str, "flattened, or pooled over positions"),
        "examples": Column(int, "images used", "count"),
        "batch": Column(int, "images per Gram matrix", "count"),
    }  # fmt: skip
    quantities: ClassVar[tuple[Quantity, ...]] = (_CKA, _SETTLED)

    def check_study(self, study: "Study") -> str | None:
        """Epochs that are asked for and not kept."""
        return missing_epochs(study.training.recipe, self.epochs)

    def skip_reason(self, study: ResolvedStudy) -> str | None:
        """There must be an epoch between the first and the last."""
        return too_few(study.settings.training.recipe)

    def tasks(self, study: ResolvedStudy, evidence: Evidence) -> Iterable[Task]:
        """One: every checkpoint is read once."""
        seeds = study.seeds[: self.max_seeds]
        members = tuple(tuned_member(study, variant, seed, evidence) for variant in TRAINED for seed in seeds)
        epochs = chosen_epochs(study.settings.training.recipe, self.epochs, self.max_epochs)
        yield Task(members=members, settings={"epochs": list(epochs)})

    def forward_passes(self, task: Task, study: ResolvedStudy) -> int:
        """Every network sees every image at every epoch."""
        return len(task.members) * len(task.settings["epochs"]) * (self.test_images or 1000)

    def measure(self, task: Task, context: "Context") -> MeasureResult:
        """One pass of each checkpoint over the test images."""
        from transferscope.methods.similarity.cka_states import cka_states

        members = finite(task, context)
        states = {f"{member.label}@{epoch}": (member, epoch) for member in members for epoch in task.settings["epochs"]}
        if not states:
            return MeasureResult(pl.DataFrame([], schema=schema(self.columns)))
        found = cka_states(
            {label: partial(context.network, member.spec, epoch) for label, (member, epoch) in states.items()},
            context.mixed_batches("test", self.test_images, self.batch_size),
            granularity=self.granularity,
            device=context.device,
            memory_format=context.memory_format,
            kind=self.estimator,
            maps=self.pooling,
            memory=self.memory * 2**20,
        )
        rows: list[dict[str, Any]] = []
        listed = list(states.values())
        for position, module in enumerate(found.modules):
            for i, (a, epoch_a) in enumerate(listed):
                for j, (b, epoch_b) in enumerate(listed[i:], i):
                    rows.append({
                        "module": module, "position": position,
                        "a": a.label, "variant_a": a.variant, "seed_a": a.seed, "epoch_a": epoch_a,
                        "b": b.label, "variant_b": b.variant, "seed_b": b.seed, "epoch_b": epoch_b,
                        "cka": None if found.null[position, i, j] else float(found.values[position, i, j]),
                        "estimator": self.estimator, "pooling": self.pooling,
                        "examples": found.examples, "batch": found.batch_size,
                    })  # fmt: skip
        return MeasureResult(pl.DataFrame(rows, schema=schema(self.columns)))

    def summarise(self, table: pl.DataFrame, evidence: Evidence) -> Summary:
        """Mean CKA to P, to the own end, and between seeds, at a few epochs; when P-T settles."""
        epochs = sorted(table["epoch_a"].unique())
        said = evenly(epochs, 4)
        rows, left_out = with_variation(_compared(table, epochs[-1]))
        means = estimated(rows.filter(pl.col("epoch").is_in(said)), [_CKA])
        words = [
            f"{name} {in_turn(of)}"
            for name in ("P-T", "RI-T")
            if (of := [item for item in means if item.at["pair"] == f"{name}/P"])
        ]
        estimates = (*means, *_settled(rows, epochs))
        listed = " → ".join(map(str, said))
        notes = (
            f"{table['estimator'][0]} CKA, maps {table['pooling'][0]}, {table['examples'][0]} test images in "
            f"batches of {table['batch'][0]}",
            f"epochs looked at: {', '.join(map(str, epochs))}; the rates are those chosen for the end of training",
            *left_out,
        )
        if not words:
            return Summary("Undecided: no CKA with P is defined.", estimates, notes)
        return Summary(
            f"Mean CKA of like modules with P at epochs {listed}: {'; '.join(words)}.",
            estimates,
            notes,
        )


def _compared(table: pl.DataFrame, last: int) -> pl.DataFrame:
    """The rows that are summarised, with ``pair`` and ``epoch``."""
    a, b, then = pl.col("variant_a"), pl.col("variant_b"), pl.col("epoch_b")
    own, other = pl.col("a") == pl.col("b"), pl.col("a") != pl.col("b")
    seeds = pl.col("seed_a") == pl.col("seed_b")
    same_epoch = pl.col("epoch_a") == then
    chosen = {
        "P-T/P": (own & (a == "P_T") & (pl.col("epoch_a") == 0), "epoch_b"),
        # P is the start of P-T of the same seed.
        "RI-T/P": ((a == "RI_T") & (b == "P_T") & seeds & (then == 0), "epoch_a"),
        "P-T/end": (own & (a == "P_T") & (then == last), "epoch_a"),
        "RI-T/end": (own & (a == "RI_T") & (then == last), "epoch_a"),
        "P-T/P-T": (other & (a == "P_T") & (b == "P_T") & same_epoch, "epoch_a"),
        "RI-T/RI-T": (other & (a == "RI_T") & (b == "RI_T") & same_epoch, "epoch_a"),
    }
    return pl.concat(
        table.filter(which)
        .with_columns(pl.col(epoch).alias("epoch"), pair=pl.lit(pair))
        .sort("epoch", maintain_order=True)
        for pair, (which, epoch) in chosen.items()
    )


def _settled(rows: pl.DataFrame, epochs: Sequence[int]) -> list[Estimate]:
    """The first epoch from which P-T's mean CKA with its own end stays at 0.9 or more."""
    ends = rows.filter(pl.col("pair") == "P-T/end")
    by_epoch = {epoch: units(ends.filter(pl.col("epoch") == epoch), "cka") for epoch in epochs}
    reached = {}
    for seed in by_epoch[epochs[-1]]:
        below = [epoch for epoch in epochs if (by_epoch[epoch][seed] or 0.0) < _KEPT]
        reached[seed] = next((float(epoch) for epoch in epochs if not below or epoch > below[-1]), float(epochs[-1]))
    if not reached:
        return []
    return [_SETTLED.of(over_seeds(reached, bounds=(0.0, float(epochs[-1]))), "of the epochs looked at")]
