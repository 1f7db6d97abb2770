"""Linear probes: what each part of a network offers to a linear classifier (R4.1)."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, final

import polars as pl
from pydantic import Field, field_validator

from transferscope.analyses.contract import MeasureResult, Task
from transferscope.analyses.estimates import Estimate, Quantity
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.final_metrics import over_seeds_row
from transferscope.analyses.modules import OnModules
from transferscope.analyses.summary import Summary
from transferscope.analyses.tuned import AbstractTuned, tuned_member
from transferscope.bounds import DIFFERENCE, SHARE, Flag
from transferscope.context.resolved_study import TRAINED, ResolvedStudy
from transferscope.context.study_network import StudyNetwork
from transferscope.keys import gap_key
from transferscope.rounding import exact
from transferscope.specs.network import NetworkSpec
from transferscope.study.columns import Column, schema

if TYPE_CHECKING:
    from torch import Tensor

    from transferscope.context.context import Context
    from transferscope.measures.intervals import Interval

__all__ = ["GAPS", "Probe"]

GAPS = (("P", "RI"), ("P_T", "RI_T"), ("P_T", "P"))
"""Which variants' probes are compared: what pre-training offers, what is left after training, what training adds."""

_METRIC = Quantity("metric", "probe of {variant} at {module} ({metric}, test)", "metric", SHARE)
_LARGEST = Quantity("largest_gap", "largest {variant} − {rival}, at {module} ({metric}, test)", "metric", DIFFERENCE)
_OF_THESE = Quantity(
    "largest_gap_of_these_networks", "largest {variant} − {rival}, at {module} ({metric}, test), these networks",
    "metric", DIFFERENCE,
)  # fmt: skip


@final
class Probe(AbstractTuned, OnModules):
    """A multinomial logistic regression on the pooled output of every part, for RI, P, RI-T and P-T.

    Fitted on training images (features standardised by them), the penalty chosen on validation images, tested on test
    images. Binary logistic regressions where an image has several labels.

    Attributes:
        granularity: of the parts: ``stage``, ``block`` or ``layer``; what enters the head comes last.
        train_images: training images used; None for all.
        penalties: ℓ2 penalties to choose from, on the mean loss.
        max_seeds: at most so many seeds of RI, RI-T and P-T; None for all. P enters once.
        n_bootstrap: bootstrap draws of the intervals over examples.
    """

    train_images: int | None = Field(default=None, ge=8)
    penalties: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        default=(10.0, 1.0, 0.1, 0.01, 0.001, 0.0001, 0.00001), min_length=1
    )
    max_seeds: int | None = Field(default=None, ge=1)
    n_bootstrap: int = Field(default=2000, ge=100)

    name: ClassVar[str] = "probe"
    title: ClassVar[str] = "Linear probes"
    question: ClassVar[str] = "Where in the network can the target's classes be read off?"
    reference: ClassVar[str] = "Alain & Bengio 2016"
    version: ClassVar[int] = 3
    columns: ClassVar[Mapping[str, Column]] = {
        "level": Column(str, "network: one network; variant: mean over seeds; gap: first − second variant"),
        "variant": Column(str, "RI, P, RI_T, P_T, or the two that a gap compares"),
        "seed": Column(int, "seed of the network", "count", null="the row speaks of all seeds"),
        "module": Column(str, "part whose pooled output is probed; (features) is what enters the head"),
        "position": Column(int, "depth of the part: 0 is the first", "count"),
        "features": Column(int, "numbers per image", "count", null="the output cannot be pooled: see note"),
        "penalty": Column(float, "chosen on validation images", null="not a network, or no probe"),
        "at_edge": Column(
            bool, "the chosen penalty is the first or last of the grid", null="not a network, or no probe"
        ),
        "metric": Column(str, "top1, top5 or auc"),
        "validation_metric": Column(
            float, "of the chosen penalty", "metric", "validation", "not a network, undefined, or no probe: see note"
        ),
        "value": Column(
            float, "metric on test images; of a gap the difference", "metric", "test", "undefined or no probe: see note"
        ),
        "low": Column(float, "lower end of the 95 % interval, or of a range", "metric", "test", "no interval"),
        "high": Column(float, "upper end of the 95 % interval, or of a range", "metric", "test", "no interval"),
        "simultaneous_low": Column(
            float, "as low, for a gap at all parts at once (Bonferroni)", "metric", "test", "not a gap over 3 seeds"
        ),
        "simultaneous_high": Column(
            float, "as high, for a gap at all parts at once (Bonferroni)", "metric", "test", "not a gap over 3 seeds"
        ),
        "basis": Column(str, "seeds, examples, or range (of two seeds)", null="one network, or no interval"),
        "n": Column(int, "how many seeds, or examples (groups of them where the data names groups)", "count"),
        "note": Column(str, "what a reader must know", null="nothing"),
    }

    quantities: ClassVar[tuple[Quantity, ...]] = (_METRIC, _LARGEST, _OF_THESE)

    @field_validator("penalties")
    @classmethod
    def _strongest_first(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        # The same grid is the same analysis; the fits follow one another from strong to weak.
        return tuple(sorted(set(value), reverse=True))

    def networks(self, study: ResolvedStudy, evidence: Evidence) -> Iterable[NetworkSpec]:
        """P-T and RI-T; RI and P need no training."""
        return self._members(study, evidence)[1]

    def _members(self, study: ResolvedStudy, evidence: Evidence) -> tuple[tuple[StudyNetwork, ...], list[NetworkSpec]]:
        seeds = study.seeds[: self.max_seeds]
        members = [tuned_member(study, "P", seeds[0], evidence)]
        members += [tuned_member(study, variant, seed, evidence) for variant in ("RI", *TRAINED) for seed in seeds]
        return tuple(members), [member.spec for member in members]

    def tasks(self, study: ResolvedStudy, evidence: Evidence) -> Iterable[Task]:
        """One for each part, with all networks; they share the stored features."""
        from transferscope.networks.features import FEATURES, feature_parts_of

        members, _ = self._members(study, evidence)
        places = (*feature_parts_of(study.settings.source.architecture, self.granularity), FEATURES)
        for position, module in enumerate(places):
            yield Task(members=members, settings={"module": module, "position": position, "places": len(places)})

    def forward_passes(self, task: Task, study: ResolvedStudy) -> int:
        """Every network sees every image once, for all parts together."""
        return 3000 * len(task.members) if task.settings["position"] == 0 else 0

    def measure(self, task: Task, context: "Context") -> MeasureResult:
        """Fit a probe for every network on stored features; run the networks whose features are missing."""
        module = task.settings["module"]
        base: dict[str, Any] = {"module": module, "position": task.settings["position"], "metric": context.study.metric}
        labels = context.labels("test")
        rows: list[dict[str, Any]] = []
        logits: dict[str, dict[int, Tensor]] = {}
        values: dict[str, dict[int, float]] = {}
        for member in task.members:
            if context.diverged(member.spec):
                continue
            row, found = self._probed(member, module, labels, context)
            rows.append({"level": "network", "variant": member.variant, "seed": member.seed, **base, **row})
            if found is not None and row["value"] is not None:
                logits.setdefault(member.variant, {})[member.seed] = found
                values.setdefault(member.variant, {})[member.seed] = row["value"]
        rows += [{**base, **row} for row in _variants(values)]
        rows += [{**base, **row} for row in self._gaps(values, logits, labels, task, context)]
        return MeasureResult(pl.DataFrame(rows, schema=schema(self.columns)))

    def _probed(
        self, member: StudyNetwork, module: str, labels: "Tensor", context: "Context"
    ) -> "tuple[dict[str, Any], Tensor | None]":
        from transferscope.measures.metrics import metric
        from transferscope.methods.similarity.linear_probe import linear_probe

        train = context.features(member.spec, "train", self.granularity, self.train_images, [module])
        validation = context.features(member.spec, "validation", self.granularity, None, [module])
        test = context.features(member.spec, "test", self.granularity, None, [module])
        if module not in train.tables:
            return {"value": None, "n": len(labels), "note": train.unusable[module]}, None
        if not bool(train.tables[module].isfinite().all()):
            return {"value": None, "n": len(labels), "note": "features are not finite"}, None
        probe = linear_probe(
            (train.tables[module], context.labels("train", self.train_images)),
            (validation.tables[module], context.labels("validation")),
            len(context.study.class_names),
            self.penalties,
            task=context.study.task,
            metric_name=context.study.metric,
        )
        logits = probe.logits(test.tables[module])
        notes = []
        if not probe.fit.converged:
            notes.append("the solver stopped before it converged")
        value = metric(logits, labels, context.study.metric)
        if value is None:
            notes.append("the metric is undefined for the test labels")
        return {
            "features": train.tables[module].shape[1],
            "penalty": probe.penalty,
            "at_edge": probe.at_edge,
            "validation_metric": probe.validation_metric,
            "value": value,
            "n": len(labels),
            "note": "; ".join(notes) or None,
        }, logits

    def _gaps(
        self,
        values: Mapping[str, Mapping[int, float]],
        logits: "Mapping[str, Mapping[int, Tensor]]",
        labels: "Tensor",
        task: Task,
        context: "Context",
    ) -> Iterable[dict[str, Any]]:
        """The rows of each gap: over seeds, and over examples."""
        import numpy as np

        from transferscope.measures.families import bonferroni_confidence
        from transferscope.measures.intervals import seeds_interval
        from transferscope.measures.metric_difference import gap_over_examples

        groups = context.images().groups
        clusters = None if groups is None else np.asarray(groups)[context.indices("test")]
        for better, worse in GAPS:
            pairs = _paired(values.get(better, {}), values.get(worse, {}), "P" in (better, worse))
            if not pairs:
                continue
            name = gap_key(better, worse)
            gaps = [values[better][a] - values[worse][b] for a, b in pairs]
            seeds = seeds_interval(gaps, bounds=DIFFERENCE, scale=1.0)
            confidence = bonferroni_confidence(task.settings["places"])
            family = seeds_interval(gaps, confidence, DIFFERENCE, 1.0) if seeds.basis == "seeds" else None
            row = {"level": "gap", "variant": name, **_limits(seeds)}
            if "P" in (better, worse):
                row["note"] = "; ".join(filter(None, (seeds.note, "P is one network")))
            if family is not None:
                row |= {"simultaneous_low": family.low, "simultaneous_high": family.high}
            yield row
            examples = gap_over_examples(
                [logits[better][a] for a in dict.fromkeys(a for a, _ in pairs)],
                [logits[worse][b] for b in dict.fromkeys(b for _, b in pairs)],
                labels,
                context.study.metric,
                clusters,
                self.n_bootstrap,
                context.seed("probe", task.settings["module"], name),
            )
            yield {"level": "gap", "variant": name, **_limits(examples)}

    def summarise(self, table: pl.DataFrame, evidence: Evidence) -> Summary:
        """Where P's probe gains most over RI's, and what enters the head of each variant."""
        deepest = table.filter((pl.col("position") == table["position"].max()) & (pl.col("level") == "variant"))
        estimates = [_estimate(_METRIC, row, variant=row["variant"]) for row in deepest.iter_rows(named=True)]
        for gap in GAPS:
            estimates += _largest(table, *gap)
        notes = [
            "probes of P-T and RI-T are fitted on images that these networks were trained on",
            "pooled outputs: what lies in the places of a map, and not in its mean, is not probed",
        ]
        lost = table.filter((pl.col("level") == "network") & pl.col("value").is_null())
        if not lost.is_empty():
            notes.append(
                "not probed: " + ", ".join(dict.fromkeys(f"{m} ({n})" for m, n in lost.select("module", "note").rows()))
            )
        edge = table.filter(pl.col("at_edge"))
        if not edge.is_empty():
            weakest = edge.filter(pl.col("penalty") == min(self.penalties)).height
            notes.append(
                f"the chosen penalty lies at an end of the grid in {edge.height} probes ({weakest} the weakest)"
            )
        return Summary(_verdict(estimates), tuple(estimates), tuple(notes))


def _paired(first: Mapping[int, float], second: Mapping[int, float], single: bool) -> list[tuple[int, int]]:
    """Seeds of both: equal ones; where one of them is a ``single`` network (P) it stands against every seed."""
    if single:
        return [(a, b) for a in first for b in second]
    return [(seed, seed) for seed in first if seed in second]


def _limits(interval: "Interval") -> dict[str, Any]:
    return {
        "value": interval.value,
        "low": interval.low,
        "high": interval.high,
        "basis": interval.basis,
        "n": interval.n,
        "note": interval.note or None,
    }


def _variants(values: Mapping[str, Mapping[int, float]]) -> Iterable[dict[str, Any]]:
    from transferscope.measures.intervals import seeds_interval

    for variant, by_seed in values.items():
        yield {"level": "variant", "variant": variant, **_limits(seeds_interval(list(by_seed.values()), bounds=SHARE))}


def _estimate(quantity: Quantity, row: Mapping[str, Any], **more: Any) -> Estimate:
    """Of a row over seeds."""
    values, flags = over_seeds_row(row)
    at = {"module": row["module"], "metric": row["metric"]}
    return quantity.at_row({**row, **values}, row["note"], flags=flags, **at, **more)


def _largest(table: pl.DataFrame, better: str, worse: str) -> Iterable[Estimate]:
    """The gap over seeds at the part where it is largest, and over examples where there is no interval over seeds."""
    rows = table.filter((pl.col("level") == "gap") & (pl.col("variant") == gap_key(better, worse)))
    # Of each part the row over seeds comes first, that over examples after it.
    gaps = rows.unique("module", keep="first", maintain_order=True).filter(pl.col("value").is_not_null())
    if gaps.is_empty():
        return
    top = gaps.sort("value", "position", descending=[True, False]).row(0, named=True)
    at: dict[str, Any] = {"variant": better, "rival": worse}
    item = _estimate(_LARGEST, top, **at, n_comparisons=table["module"].n_unique())
    if (better, worse) == GAPS[0]:
        # The part was chosen by its value: only limits that hold for all parts decide.
        more = item.simultaneous_low is not None and item.simultaneous_low > 0
        item = replace(item, verdict="larger" if more else "undecided")
    yield item
    if item.basis == "seeds":
        return
    for row in rows.filter(pl.col("module") == top["module"])[1:].iter_rows(named=True):
        flags: tuple[Flag, ...] = () if row["low"] is not None else ("no_spread",)
        yield _OF_THESE.at_row(row, row["note"], flags=flags, **at, module=row["module"], metric=row["metric"])


def _verdict(estimates: Iterable[Estimate]) -> str:
    first = {"variant": GAPS[0][0], "rival": GAPS[0][1]}
    found = {item.quantity: item for item in estimates if first.items() <= item.at.items()}
    top = found.get(_LARGEST.key)
    if top is None or top.value is None:
        return "Undecided: no part of both P and RI could be probed."
    points, scale, digits = ("", 1.0, 3) if top.at["metric"] == "auc" else (" points", 100.0, 1)

    def limits(low: float, high: float) -> str:
        return f"{exact(scale * low):+.{digits}f} to {exact(scale * high):+.{digits}f}{points}"

    most = f"{exact(scale * top.value):+.{digits}f}{points} of test {top.at['metric']}"
    said = f"P − RI is largest at {top.at['module']}, {most}"
    if top.simultaneous_low is not None and top.simultaneous_high is not None:
        word = (
            "P's features, before any training on the target, say more of its classes than random ones"
            if top.verdict == "larger"
            else "Undecided whether P's features say more of the target's classes than random ones"
        )
        return (
            f"{word}: {said}, interval over {top.n} random starts, simultaneous for all parts, "
            f"{limits(top.simultaneous_low, top.simultaneous_high)}."
        )
    needed = "at least 3 seeds that differ" if "no_spread" in top.flags else "at least 3 seeds"
    these = found.get(_OF_THESE.key)
    if these is None or these.low is None or these.high is None:
        return f"Undecided: {said}, without an interval. A claim needs {needed}."
    return (
        f"For these networks {said}, 95 % interval over {these.n} test examples (this part alone) "
        f"{limits(these.low, these.high)}. A claim about random starts in general needs {needed}."
    )
