"""From finished tables to what a report reads: summaries, headline, manifest."""

import importlib.metadata
import platform
from collections.abc import Collection, Iterable, Mapping, MutableMapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import polars as pl

from transferscope.analyses.contract import AbstractAnalysis, analysis_of, checked_summary
from transferscope.analyses.learning_rate.analysis import LearningRate
from transferscope.analyses.outcome.analysis import Outcome
from transferscope.analyses.summary import Summary
from transferscope.context.resolved_study import ResolvedStudy
from transferscope.errors import AnalysisError
from transferscope.running.failures import isolated
from transferscope.running.finished import Finished
from transferscope.running.results import AnalysisResult, Remaining, Results
from transferscope.store import Store

_PACKAGES = ("transferscope", "torch", "torchvision", "timm", "numpy", "scipy", "polars", "pydantic")


def results_of(
    study: ResolvedStudy,
    store: Store,
    finished: Finished,
    command: str,
    remaining: Remaining | None = None,
    made: MutableMapping[str, AnalysisResult] | None = None,
) -> Results:
    """Everything a report needs, from a run that is finished, or from what it has so far.

    Args:
        remaining: what is still to come.
        made: results of analyses that were finished before, by key; those finished since are added.
    """
    results = []
    made = {} if made is None else made
    done = finished.done | finished.failed.keys()
    for analysis in _in_order(study, finished):
        if remaining is not None and analysis in finished.analyses and analysis.key not in done:
            results.append(_so_far(analysis, finished))
            continue
        if analysis.key not in made:
            made[analysis.key] = _isolated_result(analysis, study, store, finished)
        results.append(made[analysis.key])
    # Without the four networks an analysis that heads the study gives the verdict.
    first = next((result for result in results if isinstance(result.analysis, Outcome)), results[0])
    outcome = first if isinstance(first.analysis, Outcome) else None
    assert outcome is None or outcome.waiting or (outcome.table is not None and outcome.summary is not None)
    known = None if outcome is None else outcome.table
    return Results(
        study=study.settings,
        headline=_headline(Outcome().measured().table if known is None else known, study, finished),
        gap=tuple(item for item in outcome.summary.estimates if item.quantity == "gap")
        if outcome is not None and outcome.summary
        else (),
        verdict=first.summary.verdict if first.summary else "",
        analyses=tuple(results),
        manifest=_manifest(study, store, finished, command),
        remaining=remaining,
    )


def _so_far(analysis: AbstractAnalysis, finished: Finished) -> AnalysisResult:
    """What is still to come; of an analysis that heads the study with what it says already."""
    table = finished.tables.get(analysis.key)
    if not analysis.heads or table is None or table.is_empty():
        return AnalysisResult(analysis, None, {}, None, None, waiting=True)
    with isolated(analysis, "summarising"):
        summary = checked_summary(analysis, analysis.summarise(table, finished.evidence))
    return AnalysisResult(analysis, table, {}, summary, None, waiting=True)


def _isolated_result(
    analysis: AbstractAnalysis, study: ResolvedStudy, store: Store, finished: Finished
) -> AnalysisResult:
    if analysis.key not in finished.failed:
        with isolated(analysis, "summarising", finished.failed):
            reason = analysis.skip_reason(study)
            return (
                _result(analysis, store, finished)
                if reason is None
                else AnalysisResult(analysis, None, {}, None, reason)
            )
    table = finished.tables.get(analysis.key)
    return AnalysisResult(analysis, table, {}, None, None, finished.failed[analysis.key])


def _in_order(study: ResolvedStudy, finished: Finished) -> list[AbstractAnalysis]:
    # What was asked for comes first, in its order; what that needed comes after it.
    asked = [analysis_of(settings) for settings in study.settings.analyses]
    known = {analysis.key for analysis in asked}
    needed = [analysis for analysis in finished.analyses if analysis.key not in known]
    ordered = asked + needed
    # The four networks, how their rates were chosen, and the rest as asked for.
    ordered.sort(key=lambda analysis: (not isinstance(analysis, Outcome), not isinstance(analysis, LearningRate)))
    return ordered


def _result(analysis: AbstractAnalysis, store: Store, finished: Finished) -> AnalysisResult:
    files: dict[str, bytes] = {}
    lost: set[str] = set()
    for piece in finished.pieces[analysis.key]:
        entry = store.entry("units", piece.key)
        for name in entry.names():
            if name.startswith("files/"):
                short = name.removeprefix("files/")
                if short in files:
                    raise AnalysisError(
                        f"two units of {analysis.name!r} give a file of the same name",
                        expected="names that tell the units apart",
                        got=short,
                    )
                files[short] = entry.read_bytes(name)
        for member in piece.task.members:
            if member.spec.trained and store.entry("networks", member.spec.key).manifest()["diverged"]:
                lost.add(finished.labels.get(member.spec.key, member.label))
    table = finished.tables[analysis.key]
    if table.is_empty():
        reason = "every network this analysis needs diverged" if lost else "there was nothing to measure"
        summary = Summary(f"Undecided: {reason}.")
    else:
        summary = checked_summary(analysis, analysis.summarise(table, finished.evidence))
    if lost:
        note = "diverged (a result, shown as such; left out of means): " + ", ".join(sorted(lost))
        summary = replace(summary, notes=(*summary.notes, note))
    return AnalysisResult(analysis, table, files, summary, None)


def _headline(table: pl.DataFrame, study: ResolvedStudy, finished: Finished) -> pl.DataFrame:
    trained: dict[str, tuple[float, int]] = {}
    for pieces in finished.pieces.values():
        for piece in pieces:
            for member in piece.task.members:
                if member.spec.recipe is not None and member.seed in study.seeds:
                    trained[member.variant] = (member.spec.recipe.learning_rate, member.spec.recipe.epochs)
    rows: list[dict[str, Any]] = []
    for split in ("validation", "test"):
        for variant in ("RI", "P", "RI_T", "P_T", "RI_T_long"):
            every = table.filter((pl.col("split") == split) & (pl.col("variant") == variant))
            if every.is_empty():
                continue
            mean = every.filter(pl.col("level") == "variant")
            rate, epochs = trained.get(variant, (None, None))
            note = "a seed diverged and is left out" if every["diverged"].any() else ""
            row: dict[str, Any] = {"variant": variant, "split": split, "metric": study.metric}
            row |= {"learning_rate": rate, "epochs": epochs, "note": note}
            if mean.is_empty():
                row |= {"n": 0}
            else:
                row |= {name: mean[name][0] for name in ("value", "low", "high", "basis", "n")}
            rows.append(row)
    return pl.DataFrame(
        rows,
        schema={
            "variant": pl.String(),
            "split": pl.String(),
            "metric": pl.String(),
            "value": pl.Float64(),
            "low": pl.Float64(),
            "high": pl.Float64(),
            "basis": pl.String(),
            "n": pl.Int64(),
            "learning_rate": pl.Float64(),
            "epochs": pl.Int64(),
            "note": pl.String(),
        },
    )


def _manifest(study: ResolvedStudy, store: Store, finished: Finished, command: str) -> Mapping[str, Any]:
    networks, facts = [], []
    for key, spec in finished.networks.items():
        entry = store.entry("networks", key)
        provenance = entry.provenance()
        facts.append(provenance)
        assert spec.recipe is not None
        networks.append(
            {
                "label": finished.labels[key],
                "key": key,
                "seed": spec.seed,
                "learning_rate": spec.recipe.learning_rate,
                "epochs": spec.recipe.epochs,
                "diverged": entry.manifest()["diverged"],
                "seconds": _training_seconds(provenance),
                "weights": str(entry.folder / "weights.safetensors"),
            }
        )
    trained = list(facts)
    measured: dict[str, float] = {}
    for analysis in finished.analyses:
        units = [store.entry("units", piece.key).provenance() for piece in finished.pieces.get(analysis.key, ())]
        measured[analysis.title] = measured.get(analysis.title, 0.0) + _total(units, "seconds")
        facts += units
    start = study.pretrained
    return {
        "study": study.settings.name,
        "study_key": study.settings.key,
        "command": command,
        "reported": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}},
        "device": _values(facts, "device"),
        "threads": _values(facts, "threads"),
        "precision": study.settings.training.recipe.precision,
        "memory_format": study.memory_format,
        "seeds": list(study.seeds),
        "tuning_seeds": list(study.settings.training.tuning_seeds),
        "pretrained": start.sha256 if start.kind == "file" else start.key,
        "metric": study.metric,
        "data": study.data.source.kind,
        "fingerprint": study.data.fingerprint,
        "classes": list(study.class_names),
        "notes": list(finished.notes),
        "examples": dict(finished.examples),
        "networks": networks,
        "times": {"trainings": _phases(trained), "analyses": measured},
        "mixed": _mixed(facts),
    }


PHASES = ("images", "forward", "backward", "evaluation", "writing")
"""Of a training; what is left of its time is what lies between them."""


def _phases(trained: Collection[Mapping[str, Any]]) -> dict[str, float]:
    """Seconds of all trainings, and of them by phase; epochs of an earlier version have no phases but evaluation."""
    epochs = [epoch for provenance in trained for epoch in provenance.get("timings", ())]
    phases = {phase: _total(epochs, f"{phase}_seconds") for phase in PHASES}
    return {"all": _total(trained, "seconds"), **phases}


def _total(facts: Iterable[Mapping[str, Any]], name: str) -> float:
    return round(sum(float(fact.get(name) or 0.0) for fact in facts), 3)


def _training_seconds(provenance: Mapping[str, Any]) -> float:
    """Training and evaluation after epochs."""
    timings = provenance.get("timings", ())
    return round(float(sum(epoch["training_seconds"] + epoch["evaluation_seconds"] for epoch in timings)), 3)


def _mixed(facts: list[dict[str, Any]]) -> list[str]:
    """What the parts of the study do not have in common: bytes are then not comparable."""
    warnings = []
    if lost := sum(not fact for fact in facts):
        warnings.append(f"the provenance of {lost} parts of this study is lost: what they were made with is not known")
    for name in ("device", "threads", "machine", "python"):
        values = _values(facts, name)
        if len(values) > 1:
            warnings.append(f"parts of this study were made with different {name}: {', '.join(values)}")
    for name in ("device", "threads", "torch"):
        torn = sum(len(_values(fact.get("timings", ()), name)) > 1 for fact in facts)
        if torn:
            warnings.append(f"{name} changed within {torn} trainings: no run gives their bytes again")
    packages = sorted({package for fact in facts for package in fact.get("versions", {})})
    for package in packages:
        values = sorted({str(fact["versions"].get(package)) for fact in facts if "versions" in fact})
        if len(values) > 1:
            warnings.append(f"parts of this study were made with different versions of {package}: {', '.join(values)}")
    return warnings


def _values(facts: Collection[Mapping[str, Any]], name: str) -> list[str]:
    """What is known of a fact, over all parts and the epochs of trainings."""
    values = {str(fact[name]) for fact in facts if fact.get(name) is not None}
    return sorted(values.union(*(_values(fact["timings"], name) for fact in facts if "timings" in fact)))


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
