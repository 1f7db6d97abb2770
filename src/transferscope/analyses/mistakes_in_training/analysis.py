"""Whether networks share their mistakes before they have converged (R4.6), epoch by epoch."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, final

import polars as pl
from pydantic import Field

from transferscope.analyses.checkpoints import chosen_epochs, missing_epochs, too_few
from transferscope.analyses.contract import MeasureResult, Task
from transferscope.analyses.estimates import Estimate, Quantity, in_turn
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.mistake_rows import PAIR_COLUMNS, consistency, row_of
from transferscope.analyses.pairs import pairs_of
from transferscope.analyses.summary import Summary
from transferscope.analyses.tuned import AbstractTuned, Pair, finite, tuned_members
from transferscope.bounds import DIFFERENCE
from transferscope.context.resolved_study import TRAINED, ResolvedStudy
from transferscope.keys import shown
from transferscope.specs.network import NetworkSpec
from transferscope.study.columns import Column, schema

if TYPE_CHECKING:
    from transferscope.context.context import Context
    from transferscope.study.settings import Study, VariantRecipe

__all__ = ["MistakesInTraining"]

_KAPPA = Quantity(
    "kappa", "κ at epoch {epoch} of {pair}", "1", DIFFERENCE, "kappa", pl.col("level") == "pair", ("pair", "epoch")
)
_SETTLED = Quantity("settled_epoch", "epoch from which {variant} makes mostly the mistakes of its end", "count")


@final
class MistakesInTraining(AbstractTuned):
    """Common mistakes and error consistency κ of P-T and RI-T at equal epochs, and of each run with its own end.

    Attributes:
        epochs: which kept epochs, 0 is the start; None takes all kept ones, the last always among them.
        max_epochs: at most so many, evenly spread over the kept ones, where ``epochs`` is None.
        n_bootstrap: bootstrap draws of the interval of κ over examples.
    """

    epochs: tuple[int, ...] | None = Field(default=None, min_length=1)
    max_epochs: int = Field(default=12, ge=2)
    n_bootstrap: int = Field(default=1000, ge=100)

    name: ClassVar[str] = "mistakes_in_training"
    title: ClassVar[str] = "Mistakes during training"
    question: ClassVar[str] = "Do networks from the same start make the same mistakes before they have converged?"
    reference: ClassVar[str] = "Neyshabur et al. 2020, Sec. 3.2 (at the end of training); κ: Geirhos et al. 2020"
    version: ClassVar[int] = 1
    columns: ClassVar[Mapping[str, Column]] = {
        "level": Column(str, "pair: two networks at the same epoch; end: a at this epoch, b the same run at its end"),
        "epoch": Column(int, "passes over the training images; 0 is the start", "count"),
        **PAIR_COLUMNS,
    }
    quantities: ClassVar[tuple[Quantity, ...]] = (_KAPPA, _SETTLED)

    def check_study(self, study: "Study") -> str | None:
        """Epochs that are asked for and not kept."""
        return missing_epochs(study.training.recipe, self.epochs, start=False)

    def skip_reason(self, study: ResolvedStudy) -> str | None:
        """There must be an epoch before the last whose weights are kept."""
        return too_few(study.settings.training.recipe, start=False)

    def networks(self, study: ResolvedStudy, evidence: Evidence) -> Iterable[NetworkSpec]:
        """P-T and RI-T of all seeds."""
        return [member.spec for member in tuned_members(study, evidence, TRAINED)]

    def tasks(self, study: ResolvedStudy, evidence: Evidence) -> Iterable[Task]:
        """One per epoch: all of its pairs read the same stored logits."""
        members = tuple(tuned_members(study, evidence, TRAINED))
        for epoch in self.chosen(study.settings.training.recipe):
            yield Task(members=members, settings={"epoch": epoch})

    def chosen(self, recipe: "VariantRecipe") -> tuple[int, ...]:
        """The epochs that are looked at, the last among them."""
        return chosen_epochs(recipe, self.epochs, self.max_epochs, start=False)

    def forward_passes(self, task: Task, study: ResolvedStudy) -> int:
        """Every network sees the test images once, but at the last epoch, which other analyses have run."""
        last = task.settings["epoch"] == study.settings.training.recipe.epochs
        return 0 if last else len(task.members) * 1000

    def measure(self, task: Task, context: "Context") -> MeasureResult:
        """Compare the predictions of one epoch with each other and with each run's end."""
        from transferscope.analyses.predictions import Judgements

        epoch = task.settings["epoch"]
        judgements = Judgements.of(context)
        members = finite(task, context)
        now = {
            member.label: judgements.predicted(context.outputs(member.spec, "test", epoch).logits) for member in members
        }
        rows: list[dict[str, Any]] = []
        for first, second in pairs_of(members):
            seed = context.seed("mistakes_in_training", epoch, first.label, second.label)
            found = row_of(judgements, now[first.label], now[second.label], None, self.n_bootstrap, seed)
            rows.append({"level": "pair", "epoch": epoch, **Pair(first, second).columns, **found})
        for member in members:
            end = judgements.predicted(context.outputs(member.spec, "test").logits)
            seed = context.seed("mistakes_in_training", epoch, member.label)
            found = row_of(judgements, now[member.label], end, None, self.n_bootstrap, seed)
            named = {**Pair(member, member).columns, "pair": f"{shown(member.variant)}/its end"}
            rows.append({"level": "end", "epoch": epoch, **named, **found})
        return MeasureResult(pl.DataFrame(rows, schema=schema(self.columns)))

    def summarise(self, table: pl.DataFrame, evidence: Evidence) -> Summary:
        """Mean κ over all pairs of seeds at the first epoch after the start, in the middle and at the end."""
        epochs = sorted(table["epoch"].unique())
        after = [epoch for epoch in epochs if epoch > 0] or epochs
        said = list(dict.fromkeys((after[0], after[(len(after) - 1) // 2], after[-1])))
        kappas = consistency(table.filter(pl.col("epoch").is_in(said)).sort("epoch", maintain_order=True), _KAPPA)
        estimates = (*kappas, *_settled(table))
        if not kappas:
            return Summary("Undecided: no two networks to compare ended with finite weights.", estimates)
        words = [
            f"{pair} {in_turn([item for item in kappas if item.at['pair'] == pair])}"
            for pair in dict.fromkeys(item.at["pair"] for item in kappas)
        ]
        return Summary(
            f"Agreement of mistakes beyond chance (κ) at epochs {' → '.join(map(str, said))}: {'; '.join(words)}.",
            estimates,
            (
                "early networks are less accurate, which caps κ: read it against its ceiling, and at equal accuracy",
                f"epochs looked at: {', '.join(map(str, epochs))}; the rates are those chosen for the end of training",
            ),
        )


def _settled(table: pl.DataFrame) -> list[Estimate]:
    """From which epoch on a run's mistakes are mostly those of its end: Jaccard at least ½."""
    estimates = []
    for variant in ("P_T", "RI_T"):
        rows = table.filter((pl.col("level") == "end") & (pl.col("variant_a") == variant))
        if rows.is_empty():
            continue
        runs = rows["seed_a"].n_unique()
        known = rows.filter(pl.col("jaccard").is_not_null()).group_by("epoch").agg(pl.col("jaccard").mean())
        means = dict(known.iter_rows())
        late = [epoch for epoch in means if all(means[other] >= 0.5 for other in means if other >= epoch)]
        if late:
            found = {"value": float(min(late)), "low": None, "high": None, "basis": None, "n": runs}
            why = f"common / wrong by either, mean over {runs} runs, at least ½ from there on"
            estimates.append(_SETTLED.at_row(found, why, variant=variant))
        else:
            estimates.append(_SETTLED.undefined("no run ends with a mistake", runs, variant=variant))
    return estimates
