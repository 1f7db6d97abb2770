"""Learning curves and optimisation speed (paper Fig. 2)."""

import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, final

import polars as pl
from pydantic import Field

from transferscope.analyses.contract import Column, Measured, Number, Summary, Unit
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.learning_rate import LearningRate, choose
from transferscope.analyses.rounding import exact
from transferscope.analyses.spikes import spike_facts, spike_note
from transferscope.analyses.tuned import AbstractTuned
from transferscope.analyses.variants import TRAINED, BoundStudy, shown
from transferscope.errors import AnalysisError
from transferscope.keys import FINAL_GAP, SPEED_GAP

if TYPE_CHECKING:
    from transferscope.measures.curves import Trend
    from transferscope.measures.intervals import Interval
    from transferscope.running.context import Context

__all__ = ["LearningCurves", "curves_of", "improving", "too_short"]

Curves = dict[int, dict[int, float]]


def curves_of(
    table: pl.DataFrame, variant: str, column: str, setting: str = "chosen", learning_rate: float | None = None
) -> Curves:
    """Curves by seed, each by epoch; diverged runs and epochs without a value are left out.

    Args:
        table: of :class:`LearningCurves`.
        variant: ``P_T``, ``RI_T``, ``RI_T_long``.
        column: for example ``train_metric``.
        setting: ``chosen`` (the variant's own rate, report seeds) or ``grid`` (the tuning runs).
        learning_rate: of the runs; needed where ``setting`` has several.

    Raises:
        AnalysisError: runs at several rates, and none was named.
    """
    rows = table.filter((pl.col("variant") == variant) & (pl.col("setting") == setting))
    if learning_rate is not None:
        rows = rows.filter(pl.col("learning_rate") == learning_rate)
    rates = sorted(rows["learning_rate"].unique())
    if len(rates) > 1:
        raise AnalysisError(
            f"the runs of {shown(variant)} are at several learning rates",
            expected="learning_rate: one of them",
            got=", ".join(f"{rate:.3g}" for rate in rates),
        )
    lost = set(rows.filter(pl.col("diverged"))["seed"].to_list())
    curves: Curves = {}
    for seed, epoch, value in rows.select("seed", "epoch", column).iter_rows():
        if seed not in lost and value is not None:
            curves.setdefault(seed, {})[epoch] = value
    return curves


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
        "test_metric": Column(
            float, "metric; for display, never for choosing", "metric", "test", "undefined or diverged"
        ),
        "diverged": Column(bool, "the run ended here: the loss exploded or was not finite"),
        "network": Column(str, "key of the network"),
    }

    def units(self, study: BoundStudy, evidence: Evidence) -> Iterable[Unit]:
        """One per network: they only read its history."""
        variants: tuple[str, ...] = TRAINED
        if study.settings.training.plateau_epochs is not None:
            variants = (*TRAINED, "RI_T_long")
        for member in study.members(evidence, variants):
            yield Unit(members=(member,), settings={"setting": "chosen"})
        tried = set(evidence.table(LearningRate())["learning_rate"].to_list())
        for unit in LearningRate().units(study, evidence):
            if all(m.spec.recipe is not None and m.spec.recipe.learning_rate in tried for m in unit.members):
                yield Unit(members=unit.members, settings={"setting": "grid"})

    def measure(self, unit: Unit, context: "Context") -> Measured:
        """Read one training's history."""
        (member,) = unit.members
        assert member.spec.recipe is not None
        history = context.history(member.spec)
        return Measured(
            history.select(
                pl.lit(member.variant).alias("variant"),
                pl.lit(unit.settings["setting"]).alias("setting"),
                pl.lit(member.seed).alias("seed"),
                pl.lit(member.spec.recipe.learning_rate).alias("learning_rate"),
                *(name for name in self.columns if name in history.columns and name != "learning_rate"),
                pl.lit(member.spec.key).alias("network"),
            )
        )

    def summarise(self, table: pl.DataFrame, evidence: Evidence) -> Summary:
        """Speed and final metric of P-T against RI-T, with intervals over seeds."""
        numbers: list[Number] = []
        notes: list[str] = []
        train = {variant: curves_of(table, variant, "train_metric") for variant in TRAINED}
        speeds = _speeds(train)
        if speeds is not None:
            numbers += [
                Number.of(f"optimisation speed of {shown(variant)}", _seeds(speeds[variant]), "metric")
                for variant in TRAINED
            ]
            gap = _paired(speeds["P_T"], speeds["RI_T"])
            number = Number.of("optimisation speed, P-T − RI-T", gap, "metric")
            numbers.append(number.keyed(SPEED_GAP, "RI_T"))
            verdict = _speed_verdict(gap)
        else:
            verdict = "Undecided: P-T and RI-T have no finished epoch in common."
        numbers += self._from_equal_loss(table, train)
        numbers += self._finals(table)
        numbers += self._steps(train)
        numbers += _equal_rate(table, evidence)
        notes += _plateaus(table)
        lost = table.filter(pl.col("diverged")).select("variant", "seed", "learning_rate").unique().sort(pl.all())
        notes += [f"{shown(variant)}[{seed}] diverged at rate {rate:.3g}" for variant, seed, rate in lost.iter_rows()]
        spikes = _spikes(table)
        if spikes:
            notes.append(spike_note(spikes))
        facts = {
            "improving": [variant for variant in (*TRAINED, "RI_T_long") if improving(table, variant)],
            "spikes": spikes,
        }
        return Summary(verdict, tuple(numbers), tuple(notes), facts)

    def _from_equal_loss(self, table: pl.DataFrame, metrics: dict[str, Curves]) -> list[Number]:
        from transferscope.measures.curves import speed_from_equal_loss

        name = "speed from equal starting loss, P-T − RI-T"
        losses = {variant: curves_of(table, variant, "train_loss") for variant in TRAINED}
        seeds = sorted(set(losses["P_T"]) & set(losses["RI_T"]))
        differences = []
        for seed in seeds:
            pair = [losses[variant][seed] for variant in TRAINED]
            if any(set(losses[v][seed]) != set(metrics[v].get(seed, {})) for v in TRAINED):
                continue
            speeds = speed_from_equal_loss(pair, [metrics[variant][seed] for variant in TRAINED])
            if speeds is not None:
                differences.append(speeds[TRAINED.index("P_T")] - speeds[TRAINED.index("RI_T")])
        why = "a network never gets down to the common starting loss, or has no epoch left after it"
        if not differences:
            return [Number(name, None, n=len(seeds), unit="metric", note=why)]
        number = Number.of(name, _of_differences(differences), "metric")
        lost = len(seeds) - len(differences)
        # The seeds that are left are those that learned faster: a reader must know how many are not.
        return [_noted(number, f"{lost} of {len(seeds)} seeds left out: {why}") if lost else number]

    def _finals(self, table: pl.DataFrame) -> list[Number]:
        numbers = []
        finals: dict[str, dict[int, float]] = {}
        for variant in (*TRAINED, "RI_T_long"):
            tests = curves_of(table, variant, "test_metric")
            validations = curves_of(table, variant, "validation_metric")
            if not tests:
                continue
            finals[variant] = {seed: curve[max(curve)] for seed, curve in tests.items()}
            numbers.append(Number.of(f"final test metric of {shown(variant)}", _seeds(finals[variant]), "metric"))
            best = {
                seed: tests[seed][epoch]
                for seed, curve in validations.items()
                if (epoch := _best(curve)) in tests.get(seed, {})
            }
            if best:
                name = f"test metric of {shown(variant)} at its best validation epoch"
                numbers.append(Number.of(name, _seeds(best), "metric"))
        for worse in ("RI_T", "RI_T_long"):
            if "P_T" in finals and worse in finals:
                title = f"final test metric, P-T − {shown(worse)}"
                gap = Number.of(title, _paired(finals["P_T"], finals[worse]), "metric").keyed(FINAL_GAP, worse)
                rising = improving(table, worse)
                numbers.append(_noted(gap, f"{shown(worse)} is still improving: no claim") if rising else gap)
        return numbers

    def _steps(self, train: dict[str, Curves]) -> list[Number]:
        from transferscope.measures.curves import common_thresholds, steps_to_threshold

        every = [curve for variant in TRAINED for curve in train[variant].values()]
        if not every:
            return []
        numbers = []
        for threshold in common_thresholds(every, self.thresholds):
            for variant in TRAINED:
                reached = [steps_to_threshold(curve, threshold) for curve in train[variant].values()]
                epochs = [item.epoch for item in reached if item.epoch is not None]
                censored = len(reached) - len(epochs)
                if not reached:
                    continue
                # A mean over the runs that got there would be biased: with any censored only the median is honest.
                middle = statistics.median([*epochs, *([math.inf] * censored)])
                numbers.append(
                    Number(
                        f"epochs of {shown(variant)} to a training metric of {exact(threshold):.3f} (median)",
                        None if math.isinf(middle) else float(middle),
                        n=len(reached),
                        unit="epochs",
                        note=f"{censored} of {len(reached)} never reached it" if censored else "",
                    )
                )
        return numbers


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


def _speed_verdict(gap: "Interval") -> str:
    if gap.value is None:
        return "Undecided: no seed has a finished run of both variants."
    said = f"the clean training metric, averaged over epochs, is {exact(gap.value):+.3f} for P-T against RI-T"
    if gap.basis != "seeds" or gap.low is None or gap.high is None:
        span = (
            f", range {exact(gap.low):+.3f} to {exact(gap.high):+.3f}"
            if gap.low is not None and gap.high is not None
            else ""
        )
        return f"Undecided with {gap.n} seed{'s' if gap.n != 1 else ''} (3 are needed): {said}{span}."
    word = "P-T learns faster" if gap.low > 0 else "P-T learns slower" if gap.high < 0 else "Undecided"
    return f"{word}: {said}, 95 % interval over {gap.n} seeds {exact(gap.low):+.3f} to {exact(gap.high):+.3f}."


def _spikes(table: pl.DataFrame) -> list[dict[str, Any]]:
    """Report runs whose training loss rose far above its earlier level; those of the search are told beside it."""
    runs = table.filter(pl.col("setting") == "chosen").select("variant", "learning_rate").unique(maintain_order=True)
    return [
        {"variant": variant, "seed": seed, "learning_rate": rate, **spike}
        for variant, rate in runs.iter_rows()
        for seed, losses in curves_of(table, variant, "train_loss", learning_rate=rate).items()
        if (spike := spike_facts(losses)) is not None
    ]


def _equal_rate(table: pl.DataFrame, evidence: Evidence) -> list[Number]:
    """Gap and difference of speed at one rate for both, each variant's own, from the tuning runs."""
    numbers: list[Number] = []
    rates = evidence.table(LearningRate())
    for rate in sorted({choose(rates, variant) for variant in TRAINED}):
        words = f"both at rate {rate:.3g} (tuning runs)"
        validation = {v: curves_of(table, v, "validation_metric", "grid", rate) for v in TRAINED}
        train = {v: curves_of(table, v, "train_metric", "grid", rate) for v in TRAINED}
        finals = {v: {seed: curve[max(curve)] for seed, curve in validation[v].items()} for v in TRAINED}
        speeds = _speeds(train) or {variant: {} for variant in TRAINED}
        numbers += [
            Number.of(f"validation metric, P-T − RI-T, {words}", _paired(finals["P_T"], finals["RI_T"]), "metric"),
            Number.of(f"optimisation speed, P-T − RI-T, {words}", _paired(speeds["P_T"], speeds["RI_T"]), "metric"),
        ]
    return numbers


def improving(table: pl.DataFrame, variant: str) -> list[int]:
    """Seeds of a variant whose validation metric still rises at the end, against its own noise.

    Args:
        table: of :class:`LearningCurves`.
        variant: ``P_T``, ``RI_T`` or ``RI_T_long``.
    """
    return [seed for seed, trend in _trends(table, variant).items() if trend is not None and trend.improving]


def too_short(table: pl.DataFrame, variant: str) -> list[int]:
    """Seeds of a variant with too few epochs to tell whether it still improves.

    Args:
        table: of :class:`LearningCurves`.
        variant: ``P_T``, ``RI_T`` or ``RI_T_long``.
    """
    return [seed for seed, trend in _trends(table, variant).items() if trend is None]


def _trends(table: pl.DataFrame, variant: str) -> dict[int, "Trend | None"]:
    from transferscope.measures.curves import still_improving

    return {seed: still_improving(curve) for seed, curve in curves_of(table, variant, "validation_metric").items()}


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


def _seeds(values: Mapping[int, float]) -> "Interval":
    """Of a metric, or its mean over epochs."""
    from transferscope.measures.intervals import SHARE, seeds_interval

    return seeds_interval(list(values.values()), bounds=SHARE)


def _of_differences(values: list[float]) -> "Interval":
    from transferscope.measures.intervals import DIFFERENCE, seeds_interval

    return seeds_interval(values, bounds=DIFFERENCE)


def _paired(a: Mapping[int, float], b: Mapping[int, float]) -> "Interval":
    from transferscope.measures.intervals import Interval

    seeds = sorted(set(a) & set(b))
    if not seeds:
        return Interval(None, None, None, 0, None, note="no seed has a finished run of both variants")
    return _of_differences([a[seed] - b[seed] for seed in seeds])


def _noted(number: Number, note: str) -> Number:
    return replace(number, note="; ".join(text for text in (number.note, note) if text))
