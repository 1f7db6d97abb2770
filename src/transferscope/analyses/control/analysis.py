"""Control initialisations: how much of the gain is features, how much statistics (R1.1, R4.2)."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, final

import polars as pl
from pydantic import Field

from transferscope.analyses.contract import AbstractAnalysis, MeasureResult, Task
from transferscope.analyses.control.rows import UNRELATED, ends_rows, report_rows
from transferscope.analyses.estimates import Estimate, Quantity
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.final_metrics import columns_of, estimate_of, span, why_no_claim
from transferscope.analyses.learning_curves.analysis import LearningCurves, end_flags
from transferscope.analyses.learning_rate.analysis import Chosen, LearningRate, chosen
from transferscope.analyses.summary import Summary
from transferscope.analyses.tuned import (
    SEARCH_COLUMNS,
    at_edge,
    searched,
    tried_rates,
    tuned_members,
    tuning_row,
    tuning_tasks,
)
from transferscope.bounds import DIFFERENCE, Flag
from transferscope.context.resolved_study import TRAINED, ResolvedStudy
from transferscope.context.study_network import StudyNetwork
from transferscope.frozen import Once
from transferscope.keys import shown
from transferscope.specs.architecture import CONTROL_METHODS, ControlMethod
from transferscope.specs.network import Control as ControlStart
from transferscope.specs.network import NetworkSpec, Start
from transferscope.study.columns import Column
from transferscope.study.other_source import OtherSource

if TYPE_CHECKING:
    from transferscope.context.context import Context
    from transferscope.study.settings import Study

__all__ = ["ControlAnalysis", "report_rows"]

_QUANTITIES = {
    ("gain", "metric"): Quantity("gap", "{variant} − {rival}, final metric ({split})", "metric", DIFFERENCE),
    ("gain", "speed"): Quantity("speed_gap", "{variant} − {rival}, optimisation speed ({split})", "metric", DIFFERENCE),
    ("share", "metric"): Quantity("share_of_gain", "share of the gain recovered by {variant}, final metric ({split})"),
    ("share", "speed"): Quantity(
        "share_of_speed_gain", "share of the gain recovered by {variant}, optimisation speed ({split})"
    ),
}
"""By level and quantity of a row."""
_UNEQUAL = 0.05
"""Sizes that differ by no more than this share of the source's are called matched."""


@final
class ControlAnalysis(AbstractAnalysis):
    """Train from initialisations that keep only part of P, and measure which share of P-T's gain each recovers.

    Every control has a search over learning rates of its own, on the rates that P-T and RI-T searched, with the same
    tuning seeds and as many extensions; then report runs with the report seeds.

    Attributes:
        methods: the controls, each a row of the picture.
        unrelated: one more control: a network pre-trained on something else. What it recovers of the gain is not
            particular to the source.
    """

    methods: Annotated[tuple[ControlMethod, ...], Once] = Field(default=CONTROL_METHODS, min_length=1)
    unrelated: OtherSource | None = None

    name: ClassVar[str] = "control"
    title: ClassVar[str] = "Control initialisations"
    question: ClassVar[str] = "How much of the gain is learned features, how much only statistics of the weights?"
    reference: ClassVar[str] = (
        "controls of the claim of Neyshabur et al. 2020, Sec. 3.1, that low-level statistics are transferred"
    )
    version: ClassVar[int] = 4
    columns: ClassVar[Mapping[str, Column]] = {
        "level": Column(
            str,
            "tuning: a run of the rate search; network: a report run; variant: mean over seeds; gain: variant − RI-T, "
            "paired by seed; share: (variant − RI-T) ÷ (P-T − RI-T); source: of what P and `unrelated` were taught",
        ),
        "variant": Column(str, "a control (`unrelated`: pre-trained on another source), P_T or RI_T"),
        "seed": Column(int, "seed of the network", "count", null="the row speaks of all seeds"),
        "learning_rate": Column(float, "peak learning rate; of a report row the one chosen for the variant"),
        "quantity": Column(
            str, "metric: final metric; speed: mean clean training metric over the epochs from 1; images: trained on"
        ),
        **columns_of("gain", "all controls", unit="metric; 1 for a share; count of images"),
        **SEARCH_COLUMNS,
        "diverged": Column(bool, "this run, or a run of the variant, diverged and is left out"),
        "note": Column(str, "why there is no value or no interval", null="nothing to say"),
    }  # fmt: skip

    quantities: ClassVar[tuple[Quantity, ...]] = tuple(_QUANTITIES.values())

    @property
    def controls(self) -> tuple[str, ...]:
        """All of them, the unrelated source last."""
        return (*self.methods, *([] if self.unrelated is None else [UNRELATED]))

    def identity(self) -> Any:
        """As in :class:`AbstractAnalysis`; without an unrelated source it is what it was before there was one."""
        identity = dict(super().identity())
        if self.unrelated is None:
            del identity["unrelated"]
        return identity

    def other_sources(self, study: "Study") -> Iterable[OtherSource]:
        """The unrelated one."""
        return () if self.unrelated is None else (self.unrelated,)

    def check_study(self, study: "Study") -> str | None:
        """An unrelated source that is the source itself, or starts where RI starts."""
        if self.unrelated is None:
            return None
        pretrain, own = self.unrelated.pretrain, study.source.pretrain
        if pretrain is None:
            same = self.unrelated.weights == study.source.weights
            return "unrelated.weights: these are the source's own" if same else None
        if own is not None and pretrain.data == own.data:
            return "unrelated.pretrain.data: this is the source's own"
        if pretrain.seed in {*study.seeds, *study.training.tuning_seeds}:
            return f"unrelated.pretrain.seed: {pretrain.seed} is also a seed of the target, whose RI would start there"
        return None

    def needs(self, study: ResolvedStudy) -> Iterable[AbstractAnalysis]:
        """The rates P-T and RI-T searched, and whether RI-T has ended."""
        return (LearningRate(), LearningCurves())

    def tasks(self, study: ResolvedStudy, evidence: Evidence) -> Iterable[Task]:
        """One per tuning run; once every search has ended, one for all report runs, for shares need them together."""
        settled = True
        for method in self.controls:
            tried = self._tuned(evidence, method)
            grid = tried_rates(study, evidence, tried)
            settled = settled and sorted(set(tried["learning_rate"])) == grid
            yield from tuning_tasks(study, method, grid, partial(self._trained, study, method))
        if settled:
            yield Task(members=tuple(self._reported(study, evidence)), settings={"level": "report"})

    def _tuned(self, evidence: Evidence, method: str) -> pl.DataFrame:
        """The tuning runs of a control in the columns of ``learning_rate``."""
        return searched(evidence.table(self) if evidence.has(self) else self.measured().table, method)

    def _reported(self, study: ResolvedStudy, evidence: Evidence) -> Iterable[StudyNetwork]:
        yield from tuned_members(study, evidence, TRAINED)
        for method in self.controls:
            rate = chosen(self._tuned(evidence, method), method).rate
            for seed in study.seeds:
                yield StudyNetwork(variant=method, seed=seed, spec=self._trained(study, method, seed, rate, None))

    def _trained(self, study: ResolvedStudy, method: str, seed: int, rate: float, epochs: int | None) -> NetworkSpec:
        """A control, trained like P-T of the same seed: same head, order and augmentation."""
        start: Start
        if method == UNRELATED:
            assert self.unrelated is not None
            start = study.other(self.unrelated)
        else:
            start = ControlStart.model_validate({"of": study.pretrained, "method": method})
        return study.trained_from(start, seed, rate, epochs)

    def extra_trainings(self, study: ResolvedStudy) -> int:
        """The report runs of every control, and the extensions of its grid at either end."""
        tuning = study.settings.training
        extensions = 0 if len(tuning.learning_rates) < 2 else 2 * tuning.extensions * len(tuning.tuning_seeds)
        return len(self.controls) * (len(study.seeds) + extensions)

    def measure(self, task: Task, context: "Context") -> MeasureResult:
        """Read histories: of a tuning run its end, of report runs ends, speeds and shares."""
        if task.settings["level"] == "tuning":
            return self.measured([{**tuning_row(task, context), "quantity": "metric"}])
        return self.measured(ends_rows(task, context))

    def summarise(self, table: pl.DataFrame, evidence: Evidence) -> Summary:
        """Whether the controls recover the gain in final test metric and in speed, by Fieller's interval over seeds."""
        curves = evidence.table(LearningCurves())
        told = table.filter(pl.col("level").is_in(["gain", "share"]) & (pl.col("split") != "validation"))
        estimates = [self._estimate(row, table, curves) for row in told.iter_rows(named=True)]
        final = _judged(estimates, self.controls, "metric")
        if (unended := why_no_claim(curves)) is not None:
            final = f"no claim on the final metric, for {unended} (so far: {final})"
        speed = _judged(estimates, self.controls, "speed")
        searches = {method: searched(table, method) for method in self.controls}
        choices = {method: chosen(rows, method) for method, rows in searches.items() if not rows.is_empty()}
        return Summary(
            f"Final test metric: {final}. Optimisation speed: {speed}.",
            tuple(estimates),
            self._notes(table, choices),
            {"choices": {method: vars(choice) | {"moved": choice.moved} for method, choice in choices.items()}},
        )

    def _estimate(self, row: Mapping[str, Any], table: pl.DataFrame, curves: pl.DataFrame) -> Estimate:
        at = {"variant": row["variant"], "rival": "RI_T", "split": row["split"]}
        flags: list[Flag] = list(end_flags(curves, "RI_T")) if row["quantity"] == "metric" else []
        if at_edge(table, row["variant"]):
            flags.append("edge_of_grid")
        quantity = _QUANTITIES[row["level"], row["quantity"]]
        if row["level"] == "gain":
            return estimate_of(quantity, row, *flags, **at)
        item = estimate_of(quantity, row, *flags, **at, n_comparisons=len(self.controls))
        return replace(item, verdict=_share_verdict(item))

    def _notes(self, table: pl.DataFrame, choices: Mapping[str, Chosen]) -> tuple[str, ...]:
        tuned = table.filter(pl.col("level") == "tuning")
        given = (
            table.filter(pl.col("level") == "network").select("variant", "learning_rate").unique(maintain_order=True)
        )
        rates = ", ".join(f"{shown(variant)} {rate:.3g}" for variant, rate in given.iter_rows())
        notes = [f"each control was trained at its own rate, chosen on validation data: {rates}"]
        for method, choice in choices.items():
            if choice.moved:
                notes.append(f"{method} {choice.rate:.3g} is {choice.note}")
            if at_edge(table, method):
                notes.append(f"the best rate of {method} lies at the edge of its grid: the search was cut short")
        lost = tuned.filter(pl.col("diverged")).select("variant", "learning_rate").unique().sort(pl.all())
        notes += [f"{variant} diverged at rate {rate:.3g} in the search" for variant, rate in lost.iter_rows()]
        taught = {
            row["variant"]: row["value"] for row in table.filter(pl.col("level") == "source").iter_rows(named=True)
        }
        if taught:
            notes.append(_sizes(taught["P_T"], taught[UNRELATED]))
        notes.append("a share is of this pre-trained network; another pre-training may differ")
        return tuple(notes)


def _sizes(ours: float | None, other: float | None) -> str:
    """Whether the unrelated source is of the size of the source's."""
    if ours is None or other is None:
        return "the unrelated source is not matched in size: how many images given weights were trained on is not known"
    said = f"the unrelated network was pre-trained on {other:.0f} images, P on {ours:.0f}"
    # A stratified part is rounded class by class.
    return said if abs(other - ours) <= _UNEQUAL * ours else f"{said}: the sizes are not matched"


def _share_verdict(share: Estimate) -> str:
    """By its simultaneous interval: ``part``, ``part or all``, ``not all`` or ``undecided``."""
    unended = {"still_improving", "too_few_epochs"} & set(share.flags)
    if unended or share.simultaneous_low is None or share.simultaneous_high is None:
        return "undecided"
    if share.simultaneous_low > 0:
        return "part" if share.simultaneous_high < 1 else "part or all"
    return "not all" if share.simultaneous_high < 1 else "undecided"


def _judged(estimates: Iterable[Estimate], methods: Iterable[str], of: str) -> str:
    """What the shares of one quantity say; a family of controls is judged by its simultaneous intervals."""
    keys = {level: _QUANTITIES[level, of].key for level in ("gain", "share")}
    by_place = {(item.quantity, item.at["variant"]): item for item in estimates}
    whole = by_place[keys["gain"], "P_T"]
    if whole.value is None:
        return f"undecided, for {whole.note}"
    gained = f"P-T − RI-T is {span(whole, 1.0, 3)}"
    what = "gain" if whole.value > 0 else "loss"
    every = {method: by_place[keys["share"], method] for method in methods}
    shares = {method: item for method, item in every.items() if item.value is not None}
    if not shares:
        return f"undecided, for no share of it is defined: {gained}"
    recovered = ", ".join(_percent(method, item) for method, item in shares.items())
    said = f"{gained}, of which are recovered by {recovered}"
    lows = {method: item.simultaneous_low for method, item in shares.items() if item.simultaneous_low is not None}
    if len(lows) < len(shares):
        none = f"for the {what} itself may be none where intervals hold for all at once"
        few = "too_few_seeds" in whole.flags
        same = any("no_spread" in item.flags for item in shares.values())
        why = "with fewer than 3 seeds" if few else "for a share is equal for all seeds" if same else none
        return f"undecided {why}: {said}"
    part = [method for method in shares if lows[method] > 0]
    open_ends = [method for method, item in shares.items() if (item.simultaneous_high or 0) >= 1]
    whose = [f"{method} (perhaps all)" if method in open_ends else method for method in part]
    others = [method for method in open_ends if method not in part]
    some = f"part of the {what} by {', '.join(whose)}" if part else f"no part of the {what} for certain"
    rest = "" if open_ends else ", all of it by none"
    rest += f", undecided between none and all of it: {', '.join(others)}" if others else ""
    return f"{some}{rest} (intervals for all controls at once); {said} (Fieller intervals over seeds)"


def _percent(method: str, share: Estimate) -> str:
    value = f"{method} {100 * (share.value or 0):.0f} %"
    if share.low is None or share.high is None:
        return value
    return f"{value} ({100 * share.low:.0f} to {100 * share.high:.0f})"
