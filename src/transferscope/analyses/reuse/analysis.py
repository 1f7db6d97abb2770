"""Where the reuse sits: what the analyses of modules found, side by side (R4.1, R4.9)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, final

import polars as pl

from transferscope.analyses.contract import AbstractAnalysis, MeasureResult, Task, analysis_of
from transferscope.analyses.distance.analysis import DistanceAnalysis
from transferscope.analyses.estimates import Estimate, Quantity
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.finished import finished_table
from transferscope.analyses.learning_rate.analysis import LearningRate
from transferscope.analyses.modules import OnModules
from transferscope.analyses.probe.analysis import Probe
from transferscope.analyses.similarity.analysis import Similarity
from transferscope.analyses.summary import Summary
from transferscope.analyses.tuned import tuned_members
from transferscope.bounds import DIFFERENCE
from transferscope.context.resolved_study import ResolvedStudy
from transferscope.specs.network import NetworkSpec
from transferscope.study.columns import Column, schema

if TYPE_CHECKING:
    from transferscope.context.context import Context
    from transferscope.measures.intervals import Interval

__all__ = ["MEASUREMENTS", "ReuseAnalysis"]

MEASUREMENTS: Mapping[str, str] = {
    "similarity": "CKA of P-T to P; control: of RI-T to P",
    "distance": "way from P to P-T over the norm of P; control: from RI to RI-T over that of RI",
    "probe_gain": "linear probe of P − of RI, test metric",
    "probe_kept": "linear probe of P-T − of RI-T, test metric",
    "transplant_first": "metric gained by taking this module from P as well, all before it being P's",
    "transplant_last": "metric gained by taking this module from P as well, all after it being P's",
}
"""What stands side by side, and what it is."""
_WORDS = {name: words.split(";")[0] for name, words in MEASUREMENTS.items()}
_LARGEST = Quantity("largest", "{measurement}, at {module}", labels={"measurement": _WORDS})
_CONTROL = Quantity("control", "control of it: {measurement}, at {module}", labels={"measurement": _WORDS})
_AGREEMENT = Quantity(
    "rank_agreement", "rank agreement over modules (Kendall's τ), {measurement} and {other}", "1", DIFFERENCE,
    labels={key: {name: name.replace("_", " ") for name in MEASUREMENTS} for key in ("measurement", "other")},
)  # fmt: skip
_TOP = {"similarity": "like P", "probe_gain": "offering more than random features", "distance": "moved"}


@final
class ReuseAnalysis(AbstractAnalysis, OnModules):
    """Similarity to P, distance from P, probe gain and transplant gain of every module, in one table.

    The head is left out: P's is random. Nothing is measured anew: it reads the tables of ``similarity``, ``distance``
    and ``probe`` (those of the study, where they have this granularity), and of ``transplant`` where the study asks
    for it at this granularity.
    """

    name: ClassVar[str] = "reuse"
    title: ClassVar[str] = "Where the reuse sits"
    question: ClassVar[str] = "Which modules keep what was learnt before, and which of them matter?"
    reference: ClassVar[str] = (
        "Neyshabur et al. 2020, Figs. 4–6; Kornblith et al. 2019; Alain & Bengio 2016; Yosinski et al. 2014; "
        "reviews R4.1 and R4.9"
    )
    version: ClassVar[int] = 2
    columns: ClassVar[Mapping[str, Column]] = {
        "module": Column(str, "name; (features) is what enters the head"),
        "position": Column(int, "depth: 0 is the first", "count"),
        "measurement": Column(str, "similarity, distance, probe_gain, probe_kept, transplant_first or transplant_last"),
        "value": Column(float, "mean over seeds", "CKA, ratio, or metric", "test", "not defined: see note"),
        "low": Column(float, "lower end of the 95 % interval, or of a range", "as value", "test", "no interval"),
        "high": Column(float, "upper end of the 95 % interval, or of a range", "as value", "test", "no interval"),
        "simultaneous_low": Column(
            float,
            "as low, for all modules at once (Bonferroni)",
            "as value",
            "test",
            "fewer than 3 seeds, or equal for all of them",
        ),
        "simultaneous_high": Column(
            float,
            "as high, for all modules at once (Bonferroni)",
            "as value",
            "test",
            "fewer than 3 seeds, or equal for all of them",
        ),
        "basis": Column(str, "seeds, or range (of two seeds)", null="one seed, equal for all seeds, or no value"),
        "n": Column(int, "seeds", "count"),
        "control": Column(float, "the same of RI-T, mean over seeds", "as value", "test", "it has none"),
        "note": Column(str, "what a reader must know", null="nothing"),
    }
    quantities: ClassVar[tuple[Quantity, ...]] = (_LARGEST, _CONTROL, _AGREEMENT)

    def _read(self, study: ResolvedStudy) -> dict[str, AbstractAnalysis]:
        """The analyses whose tables are joined, by name: the study's own where they have this granularity."""
        found: dict[str, AbstractAnalysis] = {}
        for analysis in map(analysis_of, study.settings.analyses):
            if getattr(analysis, "granularity", None) == self.granularity and analysis.skip_reason(study) is None:
                found.setdefault(analysis.name, analysis)
        kinds = {"similarity": Similarity, "distance": DistanceAnalysis, "probe": Probe}
        reads = {name: found.get(name) or kind(granularity=self.granularity) for name, kind in kinds.items()}
        return reads | ({"transplant": found["transplant"]} if "transplant" in found else {})

    def needs(self, study: ResolvedStudy) -> Iterable[AbstractAnalysis]:
        """The analyses whose tables it joins."""
        return (LearningRate(), *self._read(study).values())

    def networks(self, study: ResolvedStudy, evidence: Evidence) -> Iterable[NetworkSpec]:
        """Those of the analyses it reads."""
        return [member.spec for member in tuned_members(study, evidence)]

    def tasks(self, study: ResolvedStudy, evidence: Evidence) -> Iterable[Task]:
        """One: the tables are joined as they are."""
        # Keys of what is read stand for its rows: with the networks they decide them.
        reads = [analysis.key for analysis in self._read(study).values()]
        yield Task(members=tuple(tuned_members(study, evidence)), settings={"reads": reads})

    def measure(self, task: Task, context: "Context") -> MeasureResult:
        """Join finished tables; no network is run."""
        from transferscope.networks.features import FEATURES
        from transferscope.networks.transplants import parts_of

        tables = {
            name: finished_table(analysis, context.study, context.store)
            for name, analysis in self._read(context.study).items()
        }
        found: dict[str, list[dict[str, Any]]] = {
            "similarity": list(_similarity(tables["similarity"])),
            "distance": list(_distance(tables["distance"])),
            "probe_gain": list(_probe(tables["probe"], "P − RI")),
            "probe_kept": list(_probe(tables["probe"], "P_T − RI_T")),
        }
        if "transplant" in tables:
            for side in ("first", "last"):
                found[f"transplant_{side}"] = list(_transplant(tables["transplant"], side))
        # Without the head: P's is as random as RI's.
        modules = (*parts_of(context.study.settings.source.architecture, self.granularity), FEATURES)
        places = {module: place for place, module in enumerate(modules)}
        rows = [
            {"measurement": name, "position": places[row["module"]], **row}
            for name, items in found.items()
            for row in items
            if row["module"] in places
        ]
        rows.sort(key=lambda row: (list(found).index(row["measurement"]), row["position"]))
        table = pl.DataFrame(rows, schema=schema(self.columns))
        return MeasureResult(table, {"side-by-side.csv": _side_by_side(table)} if rows else {})

    def summarise(self, table: pl.DataFrame, evidence: Evidence) -> Summary:
        """The module that stands out by each measurement, and whether the measurements agree."""
        estimates: list[Estimate] = []
        for name in MEASUREMENTS:
            if (rows := _by_size(table, name)).is_empty():
                continue
            top = rows.row(0, named=True)
            unit = "metric" if name.startswith(("probe", "transplant")) else "1"
            at: dict[str, Any] = {"measurement": name, "module": top["module"]}
            note = f"largest of {rows.height} modules"
            estimates.append(_LARGEST.at_row(top, note, top["note"], n_comparisons=rows.height, unit=unit, **at))
            if top["control"] is not None:
                control = dict.fromkeys(("low", "high", "basis", "n"))
                estimates.append(_CONTROL.at_row({**control, "value": top["control"]}, unit=unit, **at))
        pairs = (("similarity", "distance"), ("similarity", "probe_gain"), ("similarity", "probe_kept"))
        estimates += [_agreement(table, first, second) for first, second in pairs]
        notes = ["large similarity to P, small distance and a large gain need not fall on the same module"]
        if "transplant_first" not in table["measurement"]:
            notes.append("no transplants of this granularity in the study: name `transplant` to have their gain beside")
        return Summary(_verdict(estimates), tuple(estimates), tuple(notes))


def _by_size(table: pl.DataFrame, measurement: str) -> pl.DataFrame:
    """The modules that have a value of it, the largest first."""
    rows = table.filter((pl.col("measurement") == measurement) & pl.col("value").is_not_null())
    return rows.sort("value", "position", descending=[True, False])


def _agreement(table: pl.DataFrame, first: str, second: str) -> Estimate:
    """Whether two measurements put the modules of the study in the same order."""
    from transferscope.measures.agreement import rank_agreement

    a, b = (dict(_by_size(table, name).select("module", "value").iter_rows()) for name in (first, second))
    common = [module for module in table["module"].unique(maintain_order=True) if module in a and module in b]
    found = rank_agreement([a[module] for module in common], [b[module] for module in common])
    row = {"value": found.kendall, "low": None, "high": None, "basis": None, "n": found.n}
    note = found.note or f"{found.n} modules of one network: a description, without an interval"
    return _AGREEMENT.at_row(row, note, measurement=first, other=second)


def _summary(interval: "Interval", note: str = "") -> dict[str, Any]:
    words = "; ".join(filter(None, (interval.note, note)))
    return {
        "value": interval.value,
        "low": interval.low,
        "high": interval.high,
        "basis": interval.basis,
        "n": interval.n,
        "note": words or None,
    }


def _over_seeds(values: Sequence[float], places: int, note: str = "") -> dict[str, Any]:
    from transferscope.measures.families import bonferroni_confidence
    from transferscope.measures.intervals import seeds_interval

    interval = seeds_interval(values)
    row = _summary(interval, note)
    if interval.basis == "seeds":
        family = seeds_interval(values, confidence=bonferroni_confidence(places))
        row |= {"simultaneous_low": family.low, "simultaneous_high": family.high}
    return row


def _similarity(table: pl.DataFrame) -> Iterator[dict[str, Any]]:
    like = table.filter((pl.col("module_a") == pl.col("module_b")) & pl.col("cka").is_not_null())
    by_variant: dict[str, dict[str, list[float]]] = {"P_T": {}, "RI_T": {}}
    for row in like.iter_rows(named=True):
        variants = (row["variant_a"], row["variant_b"])
        if "P" in variants and (other := variants[variants[0] == "P"]) in by_variant:
            by_variant[other].setdefault(row["module_a"], []).append(row["cka"])
    for module, values in by_variant["P_T"].items():
        control = by_variant["RI_T"].get(module)
        mean = None if control is None else sum(control) / len(control)
        yield {"module": module, "control": mean, **_over_seeds(values, len(by_variant["P_T"]), "P is one network")}


def _distance(table: pl.DataFrame) -> Iterator[dict[str, Any]]:
    parts = table.filter((pl.col("position") >= 0) & pl.col("relative").is_not_null())
    moved = {
        pair: parts.filter(pl.col("pair") == pair).group_by("part", maintain_order=True).agg(pl.col("relative"))
        for pair in ("P/P-T", "RI/RI-T")
    }
    controls = dict(moved["RI/RI-T"].rows())
    for module, values in moved["P/P-T"].iter_rows():
        control = controls.get(module)
        mean = None if control is None else sum(control) / len(control)
        yield {"module": module, "control": mean, **_over_seeds(values, moved["P/P-T"].height)}


def _probe(table: pl.DataFrame, gap: str) -> Iterator[dict[str, Any]]:
    rows = table.filter(
        (pl.col("level") == "gap")
        & (pl.col("variant") == gap)
        & (pl.col("basis").is_null() | (pl.col("basis") != "examples"))
    )
    yield from _taken(rows, "module")


def _transplant(table: pl.DataFrame, side: str) -> Iterator[dict[str, Any]]:
    rows = table.filter(
        (pl.col("level") == "step")
        & (pl.col("side") == side)
        & (pl.col("quantity") == "metric")
        & (pl.col("split") == "test")
        # A step of several modules says nothing of each of them.
        & ~pl.col("added").str.contains(", ", literal=True)
        & (pl.col("added") != "")
    )
    yield from _taken(rows, "added")


def _taken(rows: pl.DataFrame, module: str) -> Iterator[dict[str, Any]]:
    names = ("value", "low", "high", "simultaneous_low", "simultaneous_high", "basis", "n", "note")
    for row in rows.iter_rows(named=True):
        yield {"module": row[module], **{name: row[name] for name in names}}


def _side_by_side(table: pl.DataFrame) -> bytes:
    """One row for each module, the measurements as columns."""
    known = [name for name in MEASUREMENTS if name in table["measurement"]]
    wide = table.sort("position").pivot("measurement", index=["position", "module"], values=["value", "low", "high"])
    columns = [f"{kind}_{name}" for name in known for kind in ("value", "low", "high")]
    chosen = wide.select("module", *(pl.col(column).alias(column.removeprefix("value_")) for column in columns))
    return chosen.write_csv().encode()


def _verdict(estimates: Sequence[Estimate]) -> str:
    largest = {item.at["measurement"]: item for item in estimates if item.quantity == "largest"}
    said = []
    for name, words in _TOP.items():
        if (top := largest.get(name)) is None:
            continue
        if top.simultaneous_low is not None:
            limits = (
                f"{top.value:.3g}, simultaneous 95 % interval over {top.n} seeds "
                f"{top.simultaneous_low:.3g} to {top.simultaneous_high:.3g}"
            )
        else:
            limits = f"{top.value:.3g}, {top.n} seed{'s' if top.n != 1 else ''}: a description of these networks"
        unsure = name == "probe_gain" and not (top.simultaneous_low or 0) > 0
        said.append(f"most {words}{', undecided' if unsure else ''}: {top.at['module']} ({limits})")
    if not said:
        return "Undecided: no module has a value."
    return f"Of the modules of P-T and P, {'; '.join(said)}."
