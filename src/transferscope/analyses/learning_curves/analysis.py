"""Learning curves and optimisation speed (paper Fig. 2)."""

import math
import statistics
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, final

import polars as pl
from pydantic import Field

from transferscope.analyses.contract import MeasureResult, Task
from transferscope.analyses.estimates import Estimate, Quantity
from transferscope.analyses.estimator import over_seeds
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.learning_rate.analysis import LearningRate, choose
from transferscope.analyses.spikes import spike_facts, spike_note
from transferscope.analyses.summary import Summary
from transferscope.analyses.trends import Curves, curves_of, improving, too_short
from transferscope.analyses.tuned import AbstractTuned, tuned_members
from transferscope.bounds import DIFFERENCE, SHARE, side_of
from transferscope.context.resolved_study import TRAINED, ResolvedStudy
from transferscope.keys import FINAL_GAP, SPEED_GAP, shown
from transferscope.rounding import exact
from transferscope.study.columns import Column

if TYPE_CHECKING:
    from transferscope.bounds import Flag
    from transferscope.context.context import Context

__all__ = ["LearningCurves", "end_flags"]


_SPEED = Quantity("speed", "optimisation speed of {variant}", "metric", SHARE)
_SPEED_GAP = Quantity(SPEED_GAP, "optimisation speed, {variant} − {rival}", "metric", DIFFERENCE)
_FROM_EQUAL_LOSS = Quantity(
    "speed_from_equal_loss", "speed from equal starting loss, {variant} − {rival}", "metric", DIFFERENCE
)
_FINAL = Quantity("final_metric", "final {split} metric of {variant}", "metric", SHARE)
_BEST = Quantity("best_epoch_metric", "{split} metric of {variant} at its best validation epoch", "metric", SHARE)
_FINAL_GAP = Quantity(FINAL_GAP, "final {split} metric, {variant} − {rival}", "metric", DIFFERENCE)
_EPOCHS = Quantity(
    "epochs_to_threshold", "epochs of {variant} to a training metric of {threshold:.3f} (median)", "epochs"
)
_AT_RATE = "both at rate {learning_rate:.3g} (tuning runs)"
_METRIC_AT_RATE = Quantity(
    "metric_gap_at_equal_rate", "{split} metric, {variant} − {rival}, " + _AT_RATE, "metric", DIFFERENCE
)
_SPEED_AT_RATE = Quantity(
    "speed_gap_at_equal_rate", "optimisation speed, {variant} − {rival}, " + _AT_RATE, "metric", DIFFERENCE
)
_GAP: dict[str, Any] = {"variant": "P_T", "rival": "RI_T"}


@final
class LearningCurves(AbstractTuned):
    """Clean metric and loss after every epoch for P-T and RI-T: at the chosen rate, and over the grid.

    Attributes:
        thresholds: how many common thresholds the steps-to-threshold are counted to.
    """

    thresholds: int = Field(default=5, ge=1)
    # They are counted from the table, which does not depend on them.
    not_identity: ClassVar[frozenset[str]] = frozenset({"thresholds"})

    name: ClassVar[str] = "learning_curves"
    title: ClassVar[str] = "Learning curves and optimisation speed"
    question: ClassVar[str] = "Does the pre-trained start learn faster, and does it end higher?"
    reference: ClassVar[str] = "Neyshabur et al. 2020, Sec. 3.1 and Fig. 2"
    version: ClassVar[int] = 1
    columns: ClassVar[Mapping[str, Column]] = {
        "variant": Column(str, "P_T, RI_T or RI_T_long"),
        "setting": Column(str, "chosen: own chosen rate, report seeds; grid: a tuning run"),
        "seed": Column(int, "seed of the network", "count"),
        "learning_rate": Column(float, "peak learning rate", "rate"),
        "epoch": Column(int, "passes over the training images; 0 is the start", "count"),
        "updates": Column(int, "updates made so far", "count"),
        "train_loss": Column(float, "clean loss on training images", "nat", "train", "not finite"),
        "train_metric": Column(float, "clean metric on training images", "metric", "train", "undefined or diverged"),
        "validation_loss": Column(float, "loss", "nat", "validation", "not finite"),
        "validation_metric": Column(float, "metric", "metric", "validation", "undefined or diverged"),
        "test_loss": Column(float, "loss; for display, never for choosing", "nat", "test", "not finite"),
        "test_metric": Column(float, "metric; for display, never for choosing", "metric", "test",
                              "undefined or diverged"),
        "diverged": Column(bool, "the run ended here: the loss exploded or was not finite"),
        "network": Column(str, "key of the network"),
    }  # fmt: skip

    quantities: ClassVar[tuple[Quantity, ...]] = (
        _SPEED, _SPEED_GAP, _FROM_EQUAL_LOSS, _FINAL, _BEST, _FINAL_GAP, _EPOCHS, _METRIC_AT_RATE, _SPEED_AT_RATE,
    )  # fmt: skip

    def tasks(self, study: ResolvedStudy, evidence: Evidence) -> Iterable[Task]:
        """One per network: they only read its history."""
        variants: tuple[str, ...] = TRAINED
        if study.settings.training.plateau_epochs is not None:
            variants = (*TRAINED, "RI_T_long")
        for member in tuned_members(study, evidence, variants):
            yield Task(members=(member,), settings={"setting": "chosen"})
        tried = set(evidence.table(LearningRate()).select("learning_rate", "epochs").iter_rows())
        for task in LearningRate().tasks(study, evidence):
            recipes = [member.spec.recipe for member in task.members]
            if all(recipe is not None and (recipe.learning_rate, recipe.epochs) in tried for recipe in recipes):
                yield Task(members=task.members, settings={"setting": "grid"})

    def measure(self, task: Task, context: "Context") -> MeasureResult:
        """Read one training's history."""
        (member,) = task.members
        assert member.spec.recipe is not None
        history = context.history(member.spec)
        return MeasureResult(
            history.select(
                pl.lit(member.variant).alias("variant"),
                pl.lit(task.settings["setting"]).alias("setting"),
                pl.lit(member.seed).alias("seed"),
                pl.lit(member.spec.recipe.learning_rate).alias("learning_rate"),
                *(name for name in self.columns if name in history.columns and name != "learning_rate"),
                pl.lit(member.spec.key).alias("network"),
            )
        )

    def summarise(self, table: pl.DataFrame, evidence: Evidence) -> Summary:
        """Speed and final metric of P-T against RI-T, with intervals over seeds."""
        train = {variant: curves_of(table, variant, "train_metric") for variant in TRAINED}
        estimates: list[Estimate] = []
        verdict = "Undecided: P-T and RI-T have no finished epoch in common."
        if (speeds := _speeds(train)) is not None:
            gap = _estimate(_SPEED_GAP, _differences(speeds["P_T"], speeds["RI_T"]), **_GAP, at_rate="own")
            gap = replace(gap, verdict=_faster(gap))
            estimates += [_estimate(_SPEED, speeds[variant], variant=variant) for variant in TRAINED]
            estimates.append(gap)
            verdict = _speed_verdict(gap)
        estimates += [
            _from_equal_loss(table, train), *_finals(table), *self._epochs(train), *_equal_rate(table, evidence)
        ]  # fmt: skip
        notes = _plateaus(table)
        lost = table.filter(pl.col("diverged")).select("variant", "seed", "learning_rate").unique().sort(pl.all())
        notes += [f"{shown(variant)}[{seed}] diverged at rate {rate:.3g}" for variant, seed, rate in lost.iter_rows()]
        if spikes := _spikes(table):
            notes.append(spike_note(spikes))
        facts = {
            "improving": [variant for variant in (*TRAINED, "RI_T_long") if improving(table, variant)],
            "spikes": spikes,
        }
        return Summary(verdict, tuple(_flagged(item, table) for item in estimates), tuple(notes), facts)

    def _epochs(self, train: dict[str, Curves]) -> Iterator[Estimate]:
        from transferscope.measures.curves import common_thresholds, steps_to_threshold

        every = [curve for variant in TRAINED for curve in train[variant].values()]
        for threshold in common_thresholds(every, self.thresholds) if every else ():
            for variant in TRAINED:
                reached = [steps_to_threshold(curve, threshold).epoch for curve in train[variant].values()]
                if not reached:
                    continue
                censored = reached.count(None)
                # A mean over the runs that got there would be biased: with any censored only the median is honest.
                middle = statistics.median(math.inf if epoch is None else epoch for epoch in reached)
                yield _EPOCHS.number(
                    None if math.isinf(middle) else float(middle), len(reached),
                    f"{censored} of {len(reached)} never reached it" if censored else None,
                    variant=variant, threshold=float(exact(threshold)),
                )  # fmt: skip


def _from_equal_loss(table: pl.DataFrame, metrics: dict[str, Curves]) -> Estimate:
    from transferscope.measures.curves import speed_from_equal_loss

    losses = {variant: curves_of(table, variant, "train_loss") for variant in TRAINED}
    seeds = sorted(set(losses["P_T"]) & set(losses["RI_T"]))
    differences: dict[int, float] = {}
    for seed in seeds:
        pair = [losses[variant][seed] for variant in TRAINED]
        if any(set(losses[v][seed]) != set(metrics[v].get(seed, {})) for v in TRAINED):
            continue
        speeds = speed_from_equal_loss(pair, [metrics[variant][seed] for variant in TRAINED])
        if speeds is not None:
            differences[seed] = speeds[TRAINED.index("P_T")] - speeds[TRAINED.index("RI_T")]
    why = "a network never gets down to the common starting loss, or has no epoch left after it"
    if not differences:
        return _FROM_EQUAL_LOSS.undefined(why, len(seeds), **_GAP)
    lost = len(seeds) - len(differences)
    # The seeds that are left are those that learned faster: a reader must know how many are not.
    note = f"{lost} of {len(seeds)} seeds left out: {why}" if lost else ""
    return _estimate(_FROM_EQUAL_LOSS, differences, note, **_GAP)


def _finals(table: pl.DataFrame) -> Iterator[Estimate]:
    finals: dict[str, dict[int, float]] = {}
    for variant in (*TRAINED, "RI_T_long"):
        tests = curves_of(table, variant, "test_metric")
        if not tests:
            continue
        finals[variant] = _last(tests)
        yield _estimate(_FINAL, finals[variant], variant=variant, split="test")
        best = {
            seed: tests[seed][epoch]
            for seed, curve in curves_of(table, variant, "validation_metric").items()
            if (epoch := _best(curve)) in tests.get(seed, {})
        }
        if best:
            yield _estimate(_BEST, best, variant=variant, split="test")
    for rival in ("RI_T", "RI_T_long"):
        if "P_T" in finals and rival in finals:
            gap = _differences(finals["P_T"], finals[rival])
            yield _estimate(_FINAL_GAP, gap, variant="P_T", rival=rival, split="test")


def _flagged(item: Estimate, table: pl.DataFrame) -> Estimate:
    """With what is wrong with the chosen runs it is of; a final gap is no claim while its rival still improves."""
    if "learning_rate" in item.at:  # of tuning runs
        return item
    variants = [str(item.at[name]) for name in ("variant", "rival") if name in item.at]
    flags = list(item.flags)
    chosen = table.filter(pl.col("variant").is_in(variants) & (pl.col("setting") == "chosen"))
    if chosen["diverged"].any():
        flags.append("diverged")
    note = item.note
    if item.quantity in (_FINAL.key, _FINAL_GAP.key):
        flags += end_flags(table, variants[-1])
        if item.quantity == _FINAL_GAP.key and "still_improving" in flags:
            note = "; ".join(filter(None, (note, f"{shown(variants[-1])} is still improving: no claim")))
    return replace(item, flags=tuple(flags), note=note)


def _speeds(train: dict[str, Curves]) -> dict[str, dict[int, float]] | None:
    from transferscope.measures.curves import optimisation_speed

    named = [(variant, seed) for variant in TRAINED for seed in train[variant]]
    if any(not train[variant] for variant in TRAINED):
        return None
    values = optimisation_speed([train[variant][seed] for variant, seed in named])
    if values is None:
        return None
    speeds: dict[str, dict[int, float]] = {variant: {} for variant in TRAINED}
    for (variant, seed), value in zip(named, values, strict=True):
        speeds[variant][seed] = value
    return speeds


def _faster(gap: Estimate) -> str:
    """``faster``, ``slower`` or ``undecided``, by the interval over seeds alone."""
    side = side_of(gap.low, gap.high) if gap.basis == "seeds" else 0
    return {1: "faster", -1: "slower", 0: "undecided"}[side]


def _speed_verdict(gap: Estimate) -> str:
    if gap.value is None:
        return "Undecided: no seed has a finished run of both variants."
    said = f"the clean training metric, averaged over epochs, is {exact(gap.value):+.3f} for P-T against RI-T"
    span = "" if gap.low is None or gap.high is None else f"{exact(gap.low):+.3f} to {exact(gap.high):+.3f}"
    if gap.basis == "seeds":
        word = {"faster": "P-T learns faster", "slower": "P-T learns slower", "undecided": "Undecided"}
        return f"{word[_faster(gap)]}: {said}, 95 % interval over {gap.n} seeds {span}."
    if "no_spread" in gap.flags:
        return f"Undecided: {said}, equal for all {gap.n} seeds, which proves nothing."
    of_two = f", range {span}" if span else ""
    return f"Undecided with {gap.n} seed{'s' if gap.n != 1 else ''} (3 are needed): {said}{of_two}."


def _spikes(table: pl.DataFrame) -> list[dict[str, Any]]:
    """Report runs whose training loss rose far above its earlier level; those of the search are told beside it."""
    runs = table.filter(pl.col("setting") == "chosen").select("variant", "learning_rate").unique(maintain_order=True)
    return [
        {"variant": variant, "seed": seed, "learning_rate": rate, **spike}
        for variant, rate in runs.iter_rows()
        for seed, losses in curves_of(table, variant, "train_loss", learning_rate=rate).items()
        if (spike := spike_facts(losses)) is not None
    ]


def _equal_rate(table: pl.DataFrame, evidence: Evidence) -> Iterator[Estimate]:
    """Gap and difference of speed at one rate for both, each variant's own, from the tuning runs."""
    rates = evidence.table(LearningRate())
    for rate in sorted({choose(rates, variant) for variant in TRAINED}):
        runs = _equally_long(table, rate)
        finals = {v: _last(curves_of(runs, v, "validation_metric", "grid", rate)) for v in TRAINED}
        gap = _differences(finals["P_T"], finals["RI_T"])
        yield _estimate(_METRIC_AT_RATE, gap, **_GAP, learning_rate=rate, split="validation")
        train = {v: curves_of(runs, v, "train_metric", "grid", rate) for v in TRAINED}
        speeds = _speeds(train) or {variant: {} for variant in TRAINED}
        gap = _differences(speeds["P_T"], speeds["RI_T"])
        yield _estimate(_SPEED_AT_RATE, gap, **_GAP, learning_rate=rate)


def _equally_long(table: pl.DataFrame, rate: float) -> pl.DataFrame:
    """The longest tuning runs at a rate that both variants have, where a search trained some of them longer."""
    runs = table.filter((pl.col("setting") == "grid") & (pl.col("learning_rate") == rate))
    runs = runs.filter(~pl.col("diverged").any().over("network"))
    runs = runs.with_columns(length=pl.col("epoch").max().over("network"))
    common = set.intersection(*(set(runs.filter(variant=variant)["length"]) for variant in TRAINED))
    return runs.filter(pl.col("length") == max(common, default=-1)).drop("length")


def end_flags(table: pl.DataFrame, variant: str) -> "tuple[Flag, ...]":
    """Why a variant's final metric is not yet its last: it still improves, or has too few epochs to tell.

    Args:
        table: of :class:`LearningCurves`.
        variant: ``P_T``, ``RI_T`` or ``RI_T_long``.
    """
    if improving(table, variant):
        return ("still_improving",)
    return ("too_few_epochs",) if too_short(table, variant) else ()


def _plateaus(table: pl.DataFrame) -> list[str]:
    notes = []
    for variant in (*TRAINED, "RI_T_long"):
        if rising := improving(table, variant):
            seeds = f"seed{'s' if len(rising) > 1 else ''} {', '.join(map(str, rising))}"
            if variant == "P_T":
                notes.append(f"P-T still rises at the end ({seeds}): longer training may widen the gap")
            else:
                notes.append(
                    f"{shown(variant)} is still improving at the end ({seeds}): no claim on the final gap is made from "
                    "these runs"
                )
        if too_short(table, variant):
            notes.append(f"{shown(variant)} has too few epochs to tell whether it has reached its plateau")
    return notes


def _best(curve: Mapping[int, float]) -> int:
    """The epoch of the highest value, the earliest of equals."""
    return min(curve, key=lambda epoch: (-curve[epoch], epoch))


def _last(curves: Curves) -> dict[int, float]:
    return {seed: curve[max(curve)] for seed, curve in curves.items()}


def _differences(a: Mapping[int, float], b: Mapping[int, float]) -> dict[int, float]:
    """Of the seeds that both have."""
    return {seed: a[seed] - b[seed] for seed in sorted(set(a) & set(b))}


def _estimate(quantity: Quantity, by_seed: Mapping[int, float], *notes: str, **at: Any) -> Estimate:
    if not by_seed:
        return quantity.undefined("no seed has a finished run of both variants", 0, **at)
    # Differences of metrics carry the rounding of numbers up to 1.
    values, scale = {(seed, seed): value for seed, value in by_seed.items()}, 1.0 if "rival" in at else None
    return quantity.of(over_seeds(values, bounds=quantity.bounds, scale=scale), *notes, **at)
