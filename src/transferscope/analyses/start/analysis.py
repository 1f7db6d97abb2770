"""Which network to start from, and at which rate: a search on validation data, and its proof on test data."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, final

import polars as pl
from pydantic import Field

from transferscope.analyses.contract import AbstractAnalysis, MeasureResult, Task
from transferscope.analyses.estimates import Quantity
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.halving import Halving, Search, rungs
from transferscope.analyses.images import groups_of
from transferscope.analyses.start.arms import PRETRAINED, RANDOM, Arm, names_of, network_of, scores_of, table_place
from transferscope.analyses.start.proof import Entrant, entrants_of, proof_rows
from transferscope.analyses.start.summary import summary_of
from transferscope.analyses.summary import Summary
from transferscope.bounds import DIFFERENCE, SHARE
from transferscope.context.resolved_study import ResolvedStudy
from transferscope.frozen import Once
from transferscope.study.candidate import Candidate
from transferscope.study.columns import Column

if TYPE_CHECKING:
    from transferscope.context.context import Context
    from transferscope.study.settings import Study

__all__ = ["StartAnalysis"]


@final
class StartAnalysis(AbstractAnalysis):
    """Search over starts: the source and other candidates, from their weights and from a random start, at every rate.

    The search is decided on validation data, of runs of the tuning seeds. Then the best arms and the default, which is
    the source fine-tuned at one rate, are trained with the report seeds: the one with the best validation metric is
    chosen. What that choice may lose against the best arm is stated before test data are looked at, and then measured.

    Attributes:
        candidates: pre-trained networks beside the source, which is always among them.
        random_starts: ``all``: every candidate is also trained from a random start; ``source``: the source alone is;
            ``none``.
        learning_rates: of all arms; None takes ``training.learning_rates``.
        search: ``halving``: short trainings first, of which a third goes on to three times as many epochs; ``grid``:
            every arm as long as a tuning run.
        finalists: arms that are trained with the report seeds, at most.
        default_rate: of the default.
        n_bootstrap: bootstrap draws of errors over examples.
    """

    candidates: tuple[Candidate, ...] = ()
    random_starts: Literal["all", "source", "none"] = "all"
    learning_rates: Annotated[tuple[Annotated[float, Field(gt=0)], ...] | None, Once] = Field(
        default=None, min_length=1
    )
    search: Literal["halving", "grid"] = "halving"
    finalists: int = Field(default=3, ge=1)
    default_rate: float = Field(default=0.01, gt=0)
    n_bootstrap: int = Field(default=2000, ge=100)

    name: ClassVar[str] = "start"
    title: ClassVar[str] = "Where to start"
    question: ClassVar[str] = "Which network to start from, and at which rate?"
    reference: ClassVar[str] = "Jamieson & Talwalkar 2016 (successive halving)"
    version: ClassVar[int] = 1
    heads: ClassVar[bool] = True
    columns: ClassVar[Mapping[str, Column]] = {
        "level": Column(
            str,
            "run: one training of the search; arm: mean over the report seeds; choice: what is said of the chosen arm",
        ),
        "candidate": Column(str, "the network, by its architecture"),
        "start": Column(str, "pretrained or random"),
        "learning_rate": Column(float, "peak learning rate", "rate"),
        "role": Column(str, "finalist, or default", null="a run of the search"),
        "seed": Column(int, "seed of the network", "count", null="the row speaks of all seeds"),
        "epochs": Column(int, "passes over the training images asked for", "count"),
        "updates": Column(int, "updates made", "count", null="not one training"),
        "quantity": Column(
            str,
            "metric; of the choice: expected_regret (high: below it with 90 %), probability_best, proved_regret, "
            "gain_over_default",
        ),
        "split": Column(str, "validation or test"),
        "value": Column(float, "of the quantity", "metric; 1 for a probability", "row", "diverged, or not defined"),
        "error": Column(float, "standard error of a metric, over examples and seeds", "metric", "row",
                        "not a metric, or not defined"),
        "low": Column(float, "lower limit", "metric", "row", "no interval"),
        "high": Column(float, "upper limit", "metric", "row", "no interval"),
        "basis": Column(str, "seeds, or examples (with what seeds do to an arm)", null="no interval"),
        "n": Column(int, "how many seeds, or examples (groups of them where the data names groups)", "count"),
        "loss": Column(float, "validation loss at the end of a run", "nat", "validation", "not a run, or diverged"),
        "diverged": Column(bool, "a training of this row diverged"),
        "note": Column(str, "what a reader must know", null="nothing"),
    }  # fmt: skip

    quantities: ClassVar[tuple[Quantity, ...]] = (
        Quantity("metric", "{candidate}, {start}, at {learning_rate} ({split})", "metric", SHARE),
        Quantity("expected_regret", "expected regret of the choice (limit: 90 %)", "metric", SHARE),
        Quantity("probability_best", "probability that no arm is better than the choice", "1", SHARE),
        Quantity("proved_regret", "regret of the choice, proved (test)", "metric", SHARE),
        Quantity("gain_over_default", "choice − default (test)", "metric", DIFFERENCE),
    )

    def other_sources(self, study: "Study") -> Iterable[Candidate]:
        """The candidates."""
        return self.candidates

    def check_study(self, study: "Study") -> str | None:
        """A candidate that is the source or stands there twice, or whose pre-training starts where a network does."""
        source = study.source
        for number, each in enumerate(self.candidates):
            same = (each.architecture, each.weights, each.pretrain) == (
                source.architecture, source.weights, source.pretrain,
            )  # fmt: skip
            if same and each.image_size in (None, study.target.image_size):
                return f"candidates.{number}: this is the study's source, which is always among them"
            if each in self.candidates[:number]:
                return f"candidates.{number}: it stands there twice"
            taken = {*study.seeds, *study.training.tuning_seeds}
            if each.pretrain is not None and each.pretrain.seed in taken:
                return f"candidates.{number}.pretrain.seed: {each.pretrain.seed} is also a seed of the target"
        return None

    def default(self) -> Arm:
        """What is done without a search: the source, fine-tuned."""
        return Arm(0, PRETRAINED, self.default_rate)

    def arms(self, study: ResolvedStudy) -> tuple[Arm, ...]:
        """All of them."""
        rates = sorted(self.learning_rates or study.settings.training.learning_rates)
        starts = [(number, PRETRAINED) for number in range(1 + len(self.candidates))]
        drawn = {"all": 1 + len(self.candidates), "source": 1, "none": 0}[self.random_starts]
        starts += [(number, RANDOM) for number in range(drawn)]
        return tuple(Arm(number, start, rate) for number, start in sorted(starts) for rate in rates)

    def rule(self, study: ResolvedStudy) -> Halving:
        """How long the trainings of the search are."""
        training = study.settings.training
        longest = training.tuning_epochs or training.recipe.epochs
        return Halving((longest,) if self.search == "grid" else rungs(longest))

    def searched(self, study: ResolvedStudy, table: pl.DataFrame) -> Search[Arm]:
        """How far the search is, by the runs in a table."""
        return self.rule(study).search(self.arms(study), scores_of(table, names_of(study.settings, self.candidates)))

    def tasks(self, study: ResolvedStudy, evidence: Evidence) -> Iterable[Task]:
        """One for each run of the search, rung by rung; then one that proves the finalists."""
        table = evidence.table(self) if evidence.has(self) else self.measured().table
        search = self.searched(study, table)
        for epochs, arms in search.asked.items():
            for arm in arms:
                yield from self._runs(study, arm, epochs)
        if search.finished:
            scores = scores_of(table, names_of(study.settings, self.candidates))
            epochs = study.settings.training.recipe.epochs
            yield self._proof(study, entrants_of(search, scores, self.default(), self.finalists, epochs))

    def _runs(self, study: ResolvedStudy, arm: Arm, epochs: int) -> Iterable[Task]:
        place = {"level": "run", **vars(arm), "epochs": epochs}
        for seed in study.settings.training.tuning_seeds:
            yield Task(members=(network_of(study, self.candidates, arm, seed, epochs, search=True),), settings=place)

    def _proof(self, study: ResolvedStudy, entrants: Iterable[Entrant]) -> Task:
        members, places = [], []
        for entrant in entrants:
            seeds = study.seeds if entrant.proved else study.settings.training.tuning_seeds
            epochs = None if entrant.proved else entrant.epochs
            members += [
                network_of(study, self.candidates, entrant.arm, seed, epochs, search=not entrant.proved)
                for seed in seeds
            ]
            places.append(
                {"candidate": entrant.arm.candidate, "start": entrant.arm.start, "learning_rate": entrant.arm.rate,
                 "role": entrant.role, "epochs": entrant.epochs, "members": len(seeds),
                 "gain": round(entrant.gain, 12), "gain_error": round(entrant.gain_error, 12)}
            )  # fmt: skip
        return Task(members=tuple(members), settings={"level": "proof", "arms": places})

    def forward_passes(self, task: Task, study: ResolvedStudy) -> int:
        """Every network of the proof sees validation and test images once."""
        return len(task.members) * 1000 if task.settings["level"] == "proof" else 0

    def expected_table(self, study: ResolvedStudy) -> pl.DataFrame:
        """A first rung in which all arms are as good."""
        names, first = names_of(study.settings, self.candidates), self.rule(study).rungs[0]
        return self.example(
            {"level": "run", **table_place(names, arm), "seed": seed, "epochs": first, "quantity": "metric",
             "split": "validation", "value": 0.5, "loss": 1.0}
            for arm in self.arms(study)
            for seed in study.settings.training.tuning_seeds
        )  # fmt: skip

    def extra_trainings(self, study: ResolvedStudy) -> int:
        """The later rungs, and the runs with the report seeds."""
        later = sum(self.rule(study).most(len(self.arms(study))).values())
        proved = (min(self.finalists, len(self.arms(study))) + 1) * len(study.seeds)
        return later * len(study.settings.training.tuning_seeds) + proved

    def measure(self, task: Task, context: "Context") -> MeasureResult:
        """Read the end of a run's history; for the proof run the networks that are missing on both splits."""
        names = names_of(context.study.settings, self.candidates)
        if task.settings["level"] == "proof":
            blank = {"diverged": False}
            return self.measured({**blank, **row} for row in proof_rows(task, context, names, self.n_bootstrap))
        return self.measured([self._run_row(task, context, names)])

    def _run_row(self, task: Task, context: "Context", names: tuple[str, ...]) -> dict[str, Any]:
        from transferscope.measures.metric_error import metric_error

        (member,) = task.members
        last = context.history(member.spec).row(-1, named=True)
        arm = Arm(task.settings["candidate"], task.settings["start"], task.settings["rate"])
        labels = context.labels("validation").numpy()
        row: dict[str, Any] = {
            "level": "run", **table_place(names, arm), "seed": member.seed, "epochs": task.settings["epochs"],
            "updates": last["updates"], "quantity": "metric", "split": "validation", "n": len(labels),
            "diverged": last["diverged"],
        }  # fmt: skip
        if not last["diverged"]:
            value = last["validation_metric"]
            groups = groups_of(context, "validation")
            row |= {"value": value, "loss": last["validation_loss"]}
            row["error"] = metric_error(value, labels, context.study.metric, groups)
        return row

    def summarise(self, table: pl.DataFrame, evidence: Evidence) -> Summary:
        """The choice with its promise and its proof; of a search that is not finished, the best arm so far."""
        return summary_of(table, self.quantities)
