"""The four networks: what each achieves, over all classes and class by class, and the gap between P-T and RI-T."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, final

import polars as pl
from pydantic import Field

from transferscope.analyses.contract import AbstractAnalysis, MeasureResult, Task
from transferscope.analyses.estimates import Estimate, Quantity
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.learning_curves.analysis import LearningCurves, end_flags
from transferscope.analyses.learning_rate.analysis import LearningRate
from transferscope.analyses.outcome.per_class import CLASS_COLUMNS, class_rows
from transferscope.analyses.summary import Summary
from transferscope.analyses.trends import curves_of, improving, too_short
from transferscope.analyses.tuned import tuned_members
from transferscope.bounds import DIFFERENCE, SHARE, Flag
from transferscope.context.resolved_study import BASELINES, TRAINED, ResolvedStudy
from transferscope.keys import gap_key, shown
from transferscope.rounding import exact
from transferscope.specs.network import NetworkSpec
from transferscope.study.columns import Column, schema

if TYPE_CHECKING:
    from transferscope.bounds import Flag
    from transferscope.context.context import Context

__all__ = ["Outcome"]


_GAPS = (("P_T", "RI_T"), ("P_T", "RI_T_long"))
_METRIC = Quantity("metric", "{variant} ({metric}, test)", "metric", SHARE)
_GAP = Quantity("gap", "{variant} − {rival} ({metric}, test, over {over})", "metric", DIFFERENCE)


@final
class Outcome(AbstractAnalysis):
    """Final metric and loss of RI, P, RI-T and P-T on validation and test data, and the gap P-T − RI-T; recall and
    precision of every class and the confusion matrix of RI-T and P-T on test data.

    Attributes:
        n_bootstrap: bootstrap draws of the interval over examples.
    """

    n_bootstrap: int = Field(default=2000, ge=100)

    name: ClassVar[str] = "outcome"
    title: ClassVar[str] = "The four networks"
    question: ClassVar[str] = "Does pre-training help on this task, and how sure is that?"
    reference: ClassVar[str] = "Neyshabur et al. 2020, Sec. 2 and Table 1"
    version: ClassVar[int] = 4
    columns: ClassVar[Mapping[str, Column]] = {
        "level": Column(
            str,
            "network: one seed; variant: mean over seeds; gap: P-T − RI-T, paired by seed; class: one class, over all "
            "seeds; confusion: images of one class taken for one class, mean over seeds",
        ),
        "variant": Column(str, "RI, P, RI_T, P_T, RI_T_long, or the two that a gap compares"),
        "seed": Column(int, "seed of the network", "count", null="the row speaks of all seeds"),
        "split": Column(str, "validation or test"),
        "metric": Column(str, "top1, top5 or auc; recall or precision of a class; images of a confusion"),
        "value": Column(
            float, "the metric; of a confusion how many images", "metric", "row",
            "undefined for these labels, diverged, or a class without a test image, or that is never predicted",
        ),
        "loss": Column(float, "mean loss per example", "nat", "row", "not a row of one network, or diverged"),
        "low": Column(float, "lower end of the 95 % interval, or of a range", "metric", "row", "no interval"),
        "high": Column(float, "upper end of the 95 % interval, or of a range", "metric", "row", "no interval"),
        "basis": Column(str, "seeds, examples, or range (of two seeds)", null="no interval"),
        "n": Column(int, "how many seeds, or examples (groups of them where the data names groups)", "count"),
        "diverged": Column(bool, "a training of this row diverged and is left out"),
        **CLASS_COLUMNS,
    }  # fmt: skip

    quantities: ClassVar[tuple[Quantity, ...]] = (_METRIC, _GAP)

    def needs(self, study: ResolvedStudy) -> Iterable[AbstractAnalysis]:
        """Each variant's learning rate, and the curves that tell whether RI-T has ended."""
        return (LearningRate(), LearningCurves())

    def networks(self, study: ResolvedStudy, evidence: Evidence) -> Iterable[NetworkSpec]:
        """All four variants, all seeds."""
        return [member.spec for task in self.tasks(study, evidence) for member in task.members]

    def tasks(self, study: ResolvedStudy, evidence: Evidence) -> Iterable[Task]:
        """One: the intervals need all networks."""
        variants: tuple[str, ...] = (*BASELINES, *TRAINED)
        if study.settings.training.plateau_epochs is not None:
            variants = (*variants, "RI_T_long")
        yield Task(members=tuple(tuned_members(study, evidence, variants)))

    def forward_passes(self, task: Task, study: ResolvedStudy) -> int:
        """Every network sees validation and test images once."""
        return len(task.members) * 1000

    def measure(self, task: Task, context: "Context") -> MeasureResult:
        """Read the stored logits of every network; run those that are missing."""
        import numpy as np

        from transferscope.analyses.predictions import Judgements
        from transferscope.measures.intervals import paired_seeds_interval, seeds_interval
        from transferscope.measures.metric_difference import gap_over_examples
        from transferscope.measures.metrics import metric, per_example_loss

        label_kind, name = context.study.task, context.study.metric
        groups = context.images().groups
        rows: list[dict[str, Any]] = []
        for split in ("validation", "test"):
            values: dict[str, dict[int, float]] = {}
            logits: dict[str, list[Any]] = {}
            labels = context.labels(split)
            diverged: dict[str, bool] = {}
            for member in task.members:
                lost = context.diverged(member.spec)
                diverged[member.variant] = diverged.get(member.variant, False) or lost
                row: dict[str, Any] = {
                    "level": "network",
                    "variant": member.variant,
                    "seed": member.seed,
                    "diverged": lost,
                }
                row |= {"split": split, "metric": name, "n": len(labels)}
                if not lost:
                    outputs = context.outputs(member.spec, split)
                    row["value"] = metric(outputs.logits, outputs.labels, name)
                    row["loss"] = float(per_example_loss(outputs.logits, outputs.labels, label_kind).double().mean())
                    if row["value"] is not None:
                        values.setdefault(member.variant, {})[member.seed] = row["value"]
                        logits.setdefault(member.variant, []).append((member.seed, outputs.logits))
                rows.append(row)
            for variant, by_seed in values.items():
                interval = seeds_interval(list(by_seed.values()), bounds=SHARE)
                rows.append(
                    {"level": "variant", "variant": variant, "split": split, "metric": name}
                    | {"value": interval.value, "low": interval.low, "high": interval.high}
                    | {"basis": interval.basis, "n": interval.n, "diverged": diverged[variant]}
                )
            for better, worse in _GAPS:
                seeds = [seed for seed in values.get(better, {}) if seed in values.get(worse, {})]
                if not seeds:
                    continue
                names = gap_key(better, worse)
                paired = paired_seeds_interval(
                    [values[better][seed] for seed in seeds],
                    [values[worse][seed] for seed in seeds],
                    bounds=DIFFERENCE,
                )
                chosen = [dict(logits[variant]) for variant in (better, worse)]
                index = context.indices(split)
                clusters = None if groups is None else np.asarray(groups)[index]
                examples = gap_over_examples(
                    [chosen[0][seed] for seed in seeds],
                    [chosen[1][seed] for seed in seeds],
                    labels,
                    name,
                    clusters,
                    self.n_bootstrap,
                    context.seed("outcome", split, names),
                )
                rows += [
                    {"level": "gap", "variant": names, "split": split, "metric": name}
                    | {"value": interval.value, "low": interval.low, "high": interval.high}
                    | {"basis": interval.basis, "n": interval.n}
                    | {"diverged": diverged[better] or diverged[worse]}
                    for interval in (paired, examples)
                ]
        judgements = Judgements.of(context)
        said = {
            variant: [judgements.predicted(values) for _, values in logits[variant]]
            for variant in TRAINED
            if variant in logits
        }
        rows += [{**row, "split": "test", "diverged": diverged[row["variant"]]} for row in class_rows(judgements, said)]
        return MeasureResult(pl.DataFrame(rows, schema=schema(self.columns)))

    def summarise(self, table: pl.DataFrame, evidence: Evidence) -> Summary:
        """Whether P-T beats RI-T on test data, by which interval."""
        test = table.filter(pl.col("split") == "test")
        curves = evidence.table(LearningCurves())
        verdict, facts = _judgement(test, curves)
        estimates: list[Estimate] = []
        for row in test.filter(pl.col("level") == "variant").iter_rows(named=True):
            at = {"variant": row["variant"], "metric": row["metric"]}
            flags = _flags(row, curves, row["variant"])
            estimates.append(_METRIC.at_row(row, _left_out(row), flags=flags, **at))
        for variant, rival in _GAPS:
            rows = test.filter((pl.col("level") == "gap") & (pl.col("variant") == gap_key(variant, rival)))
            # Of each gap the row over seeds comes first, that over examples after it.
            for over, row in zip(("seeds", "examples"), rows.iter_rows(named=True), strict=False):
                at = {"variant": variant, "rival": rival, "metric": row["metric"], "over": over}
                decides = rival == facts["rival"] and (facts["basis"] == "examples") == (over == "examples")
                word = {variant: "larger", rival: "smaller", None: "undecided"}[facts["winner"]] if decides else None
                flags = _flags(row, curves, rival)
                estimates.append(_GAP.at_row(row, _left_out(row), flags=flags, verdict=word, **at))
        notes = []
        if test["diverged"].any():
            lost = test.filter((pl.col("level") == "network") & pl.col("diverged"))
            notes.append(
                "diverged and left out: "
                + ", ".join(f"{shown(row['variant'])}[{row['seed']}]" for row in lost.iter_rows(named=True))
            )
        notes.append("every claim is for this pre-trained network; another pre-training may differ")
        return Summary(verdict, tuple(estimates), tuple(notes), facts)


def _left_out(row: Mapping[str, Any]) -> str | None:
    return "a diverged seed is left out" if row["diverged"] else None


def _flags(row: Mapping[str, Any], curves: pl.DataFrame, variant: str) -> tuple[Flag, ...]:
    """What is wrong with a row, whose end is that of this variant."""
    flags: list[Flag] = ["diverged"] if row["diverged"] else []
    if row["basis"] == "range" or (row["low"] is None and row["n"] == 1):
        flags.append("too_few_seeds")
    elif row["low"] is None:
        flags.append("no_spread")
    return (*flags, *end_flags(curves, variant))


_UNENDED = {
    "no run": "{name} has no finished run with a defined validation metric",
    "improving": "{name} is still improving at the end ({rising} of {runs} seeds)",
    "too short": "{name} has too few epochs to tell whether it is still improving",
}
"""Why a variant's final metric is not yet one."""
_OF_INTERVAL = ("value", "low", "high", "basis", "n")


def _judgement(test: pl.DataFrame, curves: pl.DataFrame) -> tuple[str, dict[str, Any]]:
    """The gap to RI-T where that has ended, else to RI-T trained longer where that has, else no claim.

    Returns:
        The verdict, and its facts: ``rival``, the variant P-T is compared with; ``winner`` by the interval, None where
        it is undecided; the ``value``, ``low``, ``high``, ``basis`` and ``n`` of that interval; ``unended``, a key of
        why the rival's metric is not its last, or None.
    """
    counts = test.filter(pl.col("level") == "network")["n"]
    gaps = {
        name: test.filter((pl.col("level") == "gap") & (pl.col("variant") == gap_key("P_T", name)))
        for name in ("RI_T", "RI_T_long")
    }
    if gaps["RI_T"].is_empty():
        none = dict.fromkeys(("rival", "winner", "unended", *_OF_INTERVAL))
        return "Undecided: no seed of both P-T and RI-T ended with a defined metric.", none
    unended, why = _unended(curves, "RI_T")
    rival = "RI_T"
    if unended is not None and not gaps["RI_T_long"].is_empty() and _unended(curves, "RI_T_long")[0] is None:
        rival, unended = "RI_T_long", None
    deciding = _deciding(gaps[rival])
    sign = 0 if deciding is None else _sign(deciding)
    facts = {
        "rival": rival,
        "winner": {1: "P_T", -1: rival, 0: None}[sign],
        "unended": unended,
        **(dict.fromkeys(_OF_INTERVAL) if deciding is None else {name: deciding[name] for name in _OF_INTERVAL}),
    }
    if unended is not None:
        return f"No claim on the final gap: {why}. So far {_judged(gaps['RI_T'], counts[0])[1]}.", facts
    verdict = gap_verdict(gaps[rival], counts[0])
    if rival == "RI_T_long":
        verdict = f"After equal updates {why}: no claim is made there. Against RI-T trained to its plateau: {verdict}"
    return verdict, facts


def _unended(curves: pl.DataFrame, variant: str) -> tuple[str | None, str]:
    """Why a variant's final metric is not yet one, as a key and in words; None where it is."""
    runs = curves.filter((pl.col("variant") == variant) & (pl.col("setting") == "chosen"))["seed"].n_unique()
    rising: list[int] = []
    if not curves_of(curves, variant, "validation_metric"):
        key = "no run"
    elif rising := improving(curves, variant):
        key = "improving"
    elif too_short(curves, variant):
        key = "too short"
    else:
        return None, ""
    return key, _UNENDED[key].format(name=shown(variant), rising=len(rising), runs=runs)


def _deciding(gaps: pl.DataFrame) -> dict[str, Any] | None:
    """The row whose interval a verdict rests on: over seeds where there are three or more, else over examples."""
    rows = {row["basis"]: row for row in gaps.iter_rows(named=True)}
    return rows.get("seeds") or rows.get("examples")


def gap_verdict(gaps: pl.DataFrame, examples: int | None = None) -> str:
    """One sentence on the gap, resting on the interval over seeds where there is one (n ≥ 3).

    Args:
        gaps: the rows of one gap on one split: one over seeds (or a range), one over examples.
        examples: how many the split has; an interval over fewer is one over groups of them.
    """
    word, said, after = _judged(gaps, examples)
    return f"{word}: {said}.{after}"


def _judged(gaps: pl.DataFrame, examples: int | None) -> tuple[str, str, str]:
    """The word of a verdict, what it rests on, and what follows it."""
    auc = gaps["metric"][0] == "auc"
    points, scale, digits = ("", 1.0, 3) if auc else (" points", 100.0, 1)

    def span(row: dict[str, Any]) -> str:
        return f"{exact(scale * row['low']):+z.{digits}f} to {exact(scale * row['high']):+z.{digits}f}{points}"

    rows = {row["basis"]: row for row in gaps.iter_rows(named=True)}
    said = (
        f"{shown(gaps['variant'][0])} is {exact(scale * gaps['value'][0]):+z.{digits}f}{points} of test "
        f"{'AUC' if auc else gaps['metric'][0]}"
    )
    if (seeds := rows.get("seeds")) is not None:
        words = {1: "This pre-training helps", -1: "This pre-training hurts", 0: "Undecided for training in general"}
        return words[_sign(seeds)], f"{said}, 95 % interval over {seeds['n']} seeds {span(seeds)}", ""
    first = gaps.row(0, named=True)  # over seeds
    of_seeds = "; one seed" if first["n"] == 1 else f"; equal for all {first['n']} seeds"
    if "range" in rows:
        of_seeds = f"; {first['n']} seeds, range {span(first)}"
    differ = " that differ" if first["low"] is None and first["n"] > 1 else ""
    after = f" A claim about training in general needs at least 3 seeds{differ}."
    if (row := rows.get("examples")) is None:
        return "Undecided", f"{said}, without an interval{of_seeds}", after
    unit = "groups of test examples" if examples is not None and row["n"] < examples else "test examples"
    words = {1: "These P-T networks are better", -1: "These P-T networks are worse", 0: "Undecided"}
    return words[_sign(row)], f"{said}, 95 % interval over {row['n']} {unit} {span(row)}{of_seeds}", after


def _equal(over_seeds: dict[str, Any]) -> bool:
    """Whether three seeds or more are all equal: they then have no interval."""
    return over_seeds["basis"] is None and over_seeds["n"] > 2


def _sign(row: dict[str, Any]) -> int:
    return 1 if row["low"] > 0 else -1 if row["high"] < 0 else 0
