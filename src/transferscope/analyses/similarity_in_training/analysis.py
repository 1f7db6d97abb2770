"""Feature similarity along training (R4.6): every kept epoch against every other, and against P."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, final

import polars as pl
from pydantic import Field

from transferscope.analyses.checkpoints import OnEpochs, evenly
from transferscope.analyses.cka_settings import CKA, AbstractStatesSimilarity
from transferscope.analyses.contract import MeasureResult, Task
from transferscope.analyses.estimate_words import in_turn
from transferscope.analyses.estimates import Estimate, Quantity
from transferscope.analyses.estimator import estimated, over_seeds, units
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.pairs import with_variation
from transferscope.analyses.summary import Summary
from transferscope.analyses.tuned import Pair, finite
from transferscope.context.resolved_study import ResolvedStudy
from transferscope.study.columns import Column

if TYPE_CHECKING:
    from transferscope.context.context import Context

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
class SimilarityInTraining(AbstractStatesSimilarity, OnEpochs):
    """CKA of like modules between all kept epochs of P-T and RI-T; epoch 0 is P or RI.

    Each checkpoint is read once and only one network is in memory at a time; what stays is one Gram matrix for every
    epoch, module and batch: 4 bytes · networks · epochs · modules · images · batch_size, 94 MB for 4 networks of 10
    epochs and 18 modules at the defaults.
    """

    max_seeds: int | None = Field(default=2, ge=1)

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
        **CKA,
    }
    quantities: ClassVar[tuple[Quantity, ...]] = (_CKA, _SETTLED)

    def tasks(self, study: ResolvedStudy, evidence: Evidence) -> Iterable[Task]:
        """One: every checkpoint is read once."""
        epochs = self.chosen(study.settings.training.recipe)
        yield Task(members=self.members(study, evidence), settings={"epochs": list(epochs)})

    def measure(self, task: Task, context: "Context") -> MeasureResult:
        """One pass of each checkpoint over the test images."""
        return self.measured(self._rows(task, context))

    def _rows(self, task: Task, context: "Context") -> Iterator[dict[str, Any]]:
        states = [(member, epoch) for member in finite(task, context) for epoch in task.settings["epochs"]]
        if not states:
            return
        found = self.states(
            {f"{member.label}@{epoch}": partial(context.network, member.spec, epoch) for member, epoch in states},
            context,
        )
        for position in range(len(found.modules)):
            for i, (a, epoch_a) in enumerate(states):
                for j, (b, epoch_b) in enumerate(states[i:], i):
                    yield {
                        **Pair(a, b).columns, "epoch_a": epoch_a, "epoch_b": epoch_b, **self.row(found, position, i, j)
                    }  # fmt: skip

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
