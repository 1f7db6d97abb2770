"""Transplants: which modules of P hold the gain (R4.1)."""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, final

import polars as pl
from pydantic import Field

from transferscope.analyses.contract import AbstractAnalysis, MeasureResult, Task
from transferscope.analyses.estimates import Estimate, Quantity
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.final_metrics import (
    END_METRICS,
    Ends,
    by_interval,
    columns_of,
    ends_of,
    estimate_of,
    gain,
    interval_columns,
    network_columns,
    share,
    span,
    why_no_claim,
)
from transferscope.analyses.learning_curves.analysis import LearningCurves
from transferscope.analyses.learning_rate.analysis import LearningRate, choose
from transferscope.analyses.summary import Summary
from transferscope.analyses.tuned import chosen_rate
from transferscope.bounds import DIFFERENCE
from transferscope.context.resolved_study import ResolvedStudy
from transferscope.context.study_network import StudyNetwork
from transferscope.specs.network import NetworkSpec
from transferscope.specs.network import Transplant as TransplantStart
from transferscope.study.columns import Column, schema

if TYPE_CHECKING:
    from transferscope.context.context import Context
    from transferscope.measures.intervals import Interval

__all__ = ["TransplantAnalysis", "counts", "point_rows"]

_QUANTITIES = {
    ("step", "metric"): Quantity(
        "gain_of_step", "final test metric, gained by {added} ({side} {k})", "metric", DIFFERENCE
    ),
    ("step", "speed"): Quantity(
        "speed_gain_of_step", "optimisation speed, gained by {added} ({side} {k})", "metric", DIFFERENCE
    ),
    ("share", "metric"): Quantity("share_of_gain", "share of P-T's gain with the {side} {k}, final test metric"),
    ("share", "speed"): Quantity("share_of_speed_gain", "share of P-T's gain with the {side} {k}, optimisation speed"),
}
"""By level and quantity of a row."""
_LOSS = Quantity("loss_of_metric", "final {split} metric, all modules − the {side} {k}", "metric", DIFFERENCE)

SIDES: tuple[Literal["first", "last"], ...] = ("first", "last")


def counts(modules: int, steps: int | None) -> list[int]:
    """How many modules are taken from P: 0 to all, evenly thinned to ``steps`` values, both ends kept.

    >>> counts(6, None), counts(6, 4), counts(2, 9)
    ([0, 1, 2, 3, 4, 5, 6], [0, 2, 4, 6], [0, 1, 2])
    """
    if steps is None or steps > modules:
        return list(range(modules + 1))
    return sorted({round(index * modules / (steps - 1)) for index in range(steps)})


@final
class TransplantAnalysis(AbstractAnalysis):
    """Train networks whose first k (or last k) modules come from P and whose others are random.

    Modules are counted in the order in which the network defines them; the head is always new. No module is RI-T, all
    are P-T; every network is trained at P-T's rate, so that k alone differs.

    Attributes:
        granularity: what counts as a module: ``stage``, ``block`` or ``layer``.
        steps: at most so many values of k for each side, evenly spaced with both ends; None takes every k.
        margin: loss of the metric that counts as nothing, where fewer modules are called as good as all.
    """

    granularity: Literal["stage", "block", "layer"] = "stage"
    steps: int | None = Field(default=None, ge=2)
    margin: float = Field(default=0.005, gt=0)
    # The margin is applied to the table, which does not depend on it.
    not_identity: ClassVar[frozenset[str]] = frozenset({"margin"})

    name: ClassVar[str] = "transplant"
    title: ClassVar[str] = "Transplants"
    question: ClassVar[str] = "Which modules of the pre-trained network hold the gain?"
    reference: ClassVar[str] = "Yosinski et al. 2014, Sec. 4"
    version: ClassVar[int] = 3
    columns: ClassVar[Mapping[str, Column]] = {
        "level": Column(
            str,
            "network: one seed; point: mean over seeds; step: point − the point of the next smaller k, paired by seed; "
            "share: (point − k = 0) ÷ (all − k = 0)",
        ),
        "side": Column(str, "first: the first k modules are P's; last: the last k"),
        "k": Column(int, "modules from P", "count"),
        "modules": Column(int, "modules there are, the head apart", "count"),
        "added": Column(str, "modules that k has more than the next smaller k, from input to output; empty for k = 0"),
        "seed": Column(int, "seed of the network", "count", null="the row speaks of all seeds"),
        "learning_rate": Column(float, "peak learning rate: the one chosen for P-T"),
        "quantity": Column(str, "metric: final metric; speed: mean clean training metric over the epochs from 1"),
        **columns_of("step", "all steps of a side", "no interval, or no step"),
        "diverged": Column(bool, "this run, or a run of the row, diverged and is left out"),
        "note": Column(str, "why there is no value or no interval", null="nothing to say"),
    }

    quantities: ClassVar[tuple[Quantity, ...]] = (*_QUANTITIES.values(), _LOSS)

    def needs(self, study: ResolvedStudy) -> Iterable[AbstractAnalysis]:
        """P-T's learning rate, and whether RI-T has ended."""
        return (LearningRate(), LearningCurves())

    def skip_reason(self, study: ResolvedStudy) -> str | None:
        """A network of one module has nothing to choose from."""
        modules = self._modules(study)
        if len(modules) < 2:
            return f"the network has {len(modules)} {self.granularity} beside its head: at least 2 are needed"
        return None

    def networks(self, study: ResolvedStudy, evidence: Evidence) -> Iterable[NetworkSpec]:
        """First k and last k, of every report seed."""
        return [member.spec for task in self.tasks(study, evidence) for member in task.members]

    def tasks(self, study: ResolvedStudy, evidence: Evidence) -> Iterable[Task]:
        """One: steps and shares need all networks."""
        modules = self._modules(study)
        rate = chosen_rate("P_T", evidence)
        same = chosen_rate("RI_T", evidence) == rate
        members, points = [], []
        for side in SIDES:
            for k in counts(len(modules), self.steps):
                taken = modules[:k] if side == "first" else modules[len(modules) - k :]
                variant = f"{side}_{k}"
                if k == len(modules) or (k == 0 and same):
                    variant = "P_T" if k else "RI_T"  # the very networks of the other analyses
                for seed in study.seeds:
                    spec = self._network(study, seed, rate, taken, len(modules))
                    members.append(StudyNetwork(variant=variant, seed=seed, spec=spec))
                    points.append([side, k])
        yield Task(members=tuple(members), settings={"points": points, "modules": list(modules)})

    def extra_trainings(self, study: ResolvedStudy) -> int:
        """RI-T at P-T's rate, which a plan supposes to be its own."""
        return len(study.seeds)

    def _modules(self, study: ResolvedStudy) -> tuple[str, ...]:
        from transferscope.networks.transplants import parts_of

        return parts_of(study.settings.source.architecture, self.granularity)

    def _network(
        self, study: ResolvedStudy, seed: int, rate: float, taken: tuple[str, ...], modules: int
    ) -> NetworkSpec:
        if len(taken) in (0, modules):
            return study.trained("P_T" if taken else "RI_T", seed, rate)
        start = TransplantStart(of=study.pretrained, modules=taken, granularity=self.granularity)
        return study.trained_from(start, seed, rate)

    def measure(self, task: Task, context: "Context") -> MeasureResult:
        """Read histories: ends and speeds, steps and shares."""
        return MeasureResult(pl.DataFrame(list(_rows(task, context)), schema=schema(self.columns)))

    def summarise(self, table: pl.DataFrame, evidence: Evidence) -> Summary:
        """How few modules are as good as all: chosen on validation, told on test data."""
        losses = [item for side in SIDES for item in self._losses(table, side)]
        modules = int(table["modules"][0])
        words = [_enough([item for item in losses if item.at["side"] == side], side, modules, self.margin)
                 for side in SIDES]  # fmt: skip
        unended = why_no_claim(evidence.table(LearningCurves()))
        verdict = f"After equal updates: {'; '.join(words)}."
        rates = {variant: choose(evidence.table(LearningRate()), variant) for variant in ("P_T", "RI_T")}
        notes = [
            f"all were trained at P-T's rate {rates['P_T']:.3g}, RI-T's own is {rates['RI_T']:.3g}: networks with few "
            "modules of P may do better at another",
            "modules count in the order in which the network defines them; k = 0 is RI-T at P-T's rate, all is P-T",
        ]
        if unended is not None:
            notes.append(f"{unended}: with longer training the gain of small k may shrink")
        reported = table.filter(pl.col("level").is_in(["step", "share"]) & (pl.col("split") != "validation"))
        steps = {side: reported.filter(pl.col("side") == side)["k"].n_unique() for side in SIDES}
        estimates = [_estimate(row, steps[row["side"]]) for row in reported.iter_rows(named=True)]
        return Summary(verdict, (*estimates, *losses), tuple(notes))

    def _losses(self, table: pl.DataFrame, side: str) -> Iterator[Estimate]:
        """What fewer modules lose against all: on validation data up to the first k judged as good as all, then that
        one on test data."""
        from transferscope.measures.families import bonferroni_confidence
        from transferscope.measures.intervals import noninferior, paired_seeds_interval

        rows = table.filter(
            (pl.col("side") == side) & (pl.col("level") == "network") & (pl.col("quantity") == "metric")
        )
        modules = int(table["modules"][0])
        ks = sorted(set(rows["k"]) - {modules})

        def values(k: int, split: str) -> dict[int, float]:
            found = rows.filter((pl.col("k") == k) & (pl.col("split") == split) & pl.col("value").is_not_null())
            return dict(zip(found["seed"], found["value"], strict=True))

        def loss(k: int, split: str, confidence: float = 0.95) -> "Interval | None":
            whole, part = values(modules, split), values(k, split)
            seeds = sorted(set(whole) & set(part))
            if not seeds:
                return None
            first, second = ([of[seed] for seed in seeds] for of in (whole, part))
            return paired_seeds_interval(first, second, confidence, DIFFERENCE)

        for k in ks:
            lost, sided = loss(k, "validation"), loss(k, "validation", bonferroni_confidence(len(ks), 0.90))
            if lost is None or sided is None:
                continue
            verdict = noninferior(sided, self.margin).verdict
            yield _LOSS.of(
                lost, "simultaneous limits are one-sided", simultaneous=sided if sided.basis == "seeds" else None,
                n_comparisons=len(ks), verdict=verdict, side=side, k=k, split="validation",
            )  # fmt: skip
            if verdict != "kept":
                continue
            if (test := loss(k, "test")) is not None:
                yield _LOSS.of(test, side=side, k=k, split="test")
            return


def _enough(losses: list[Estimate], side: str, modules: int, margin: float) -> str:
    """The smallest k that validation data call as good as all, and what it loses on test data."""
    kept = next((item for item in losses if item.verdict == "kept"), None)
    if kept is None or kept.simultaneous_high is None:
        return f"undecided how many of the {side} modules are enough: no k below {modules} is shown as good as all"
    test = next((item for item in losses if item.at["split"] == "test"), None)
    told = "" if test is None else f"; on test data all − {kept.at['k']} is {span(test, 1.0, 3)}"
    limit = f"{kept.simultaneous_high:+.3f}, below {margin:g}, over {kept.n} seeds"
    return (
        f"the {side} {kept.at['k']} of {modules} modules are as good as all on validation data "
        f"(upper one-sided 95 % limit of the loss {limit}, for {kept.n_comparisons} values of k at once){told}"
    )


def _rows(task: Task, context: "Context") -> Iterator[dict[str, Any]]:
    points = [(side, k) for side, k in task.settings["points"]]
    roles = [_role(side, k) for side, k in points]
    ends = ends_of(list(zip(roles, task.members, strict=True)), context)
    recipe = task.members[0].spec.recipe
    assert recipe is not None
    seeds = list(dict.fromkeys(member.seed for member in task.members))
    return point_rows(ends, task.settings["modules"], points, seeds, recipe.learning_rate)


def point_rows(
    ends: Ends, modules: list[str], points: Iterable[tuple[str, int]], seeds: Iterable[int], learning_rate: float
) -> Iterator[dict[str, Any]]:
    """The rows of all networks, point by point: each network, means, steps and shares.

    Args:
        ends: values by role, which is ``"first 2"`` for the first two modules from P.
        modules: from input to output.
        points: side and k.
        seeds: of every point.
        learning_rate: of every network.
    """
    from transferscope.measures.families import bonferroni_confidence

    asked, runs = set(points), list(seeds)
    for side in SIDES:
        ks = sorted(k for at, k in asked if at == side)
        together = bonferroni_confidence(len(ks) - 1)
        for below, k in zip([None, *ks], ks, strict=False):
            role, none, whole = _role(side, k), _role(side, 0), _role(side, ks[-1])
            common = {
                "side": side,
                "k": k,
                "modules": len(modules),
                "added": ", ".join(_added(modules, side, below or 0, k)),
                "learning_rate": learning_rate,
                "diverged": any(lost == role for lost, _ in ends.lost),
            }
            for quantity in END_METRICS:
                row = {**common, "quantity": quantity[0], "split": quantity[1]}
                yield from ({**row, **network_columns(ends, quantity, role, seed)} for seed in runs)
                yield {**row, "level": "point", **interval_columns(by_interval(ends, quantity, role))}
                if below is None:
                    continue
                former = _role(side, below)
                single = gain(ends, quantity, role, former)
                family = gain(ends, quantity, role, former, together)
                yield {**row, "level": "step", **interval_columns(single, family)}
                if role != whole:  # whose share is 1 by definition
                    yield {**row, "level": "share", **interval_columns(share(ends, quantity, role, none, whole))}


def _role(side: str, k: int) -> str:
    return f"{side} {k}"


def _added(modules: list[str], side: str, below: int, k: int) -> list[str]:
    return modules[below:k] if side == "first" else modules[len(modules) - k : len(modules) - below]


def _estimate(row: Mapping[str, Any], steps: int) -> Estimate:
    at = {"side": row["side"], "k": row["k"], "added": row["added"], "split": row["split"]}
    more = {"n_comparisons": steps} if row["level"] == "step" else {}
    return estimate_of(_QUANTITIES[row["level"], row["quantity"]], row, **at, **more)
