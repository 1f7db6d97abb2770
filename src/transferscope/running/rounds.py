"""The plan, round by round: an analysis is expanded when the analyses it needs are finished tables."""

from collections.abc import Collection, Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field

from transferscope.analyses.contract import AbstractAnalysis, Task, analysis_of
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.outcome.analysis import Outcome
from transferscope.analyses.task_keys import new_units
from transferscope.context.resolved_study import ResolvedStudy
from transferscope.data.ablation_settings import words
from transferscope.errors import AnalysisError
from transferscope.keys import shown
from transferscope.running.failures import Failure, isolated
from transferscope.specs.network import NetworkSpec


@dataclass(frozen=True)
class PlannedTask:
    """One unit of one analysis."""

    analysis: AbstractAnalysis
    task: Task
    key: str
    images: int = 0


@dataclass(frozen=True)
class Round:
    """What can be done now."""

    networks: Mapping[str, NetworkSpec]
    labels: Mapping[str, str]
    pieces: tuple[PlannedTask, ...]
    finished: tuple[AbstractAnalysis, ...]
    failed: Mapping[str, Failure] = field(default_factory=dict)
    asked_by: Mapping[str, frozenset[str]] = field(default_factory=dict)


def asked_of(study: ResolvedStudy) -> tuple[AbstractAnalysis, ...]:
    """The analyses of a study, the four networks' outcome among them, as the headline needs it, unless all head it."""
    asked = tuple(analysis_of(settings) for settings in study.settings.analyses)
    if (asked and all(analysis.heads for analysis in asked)) or any(isinstance(each, Outcome) for each in asked):
        return asked
    return (Outcome(), *asked)


def with_needs(
    study: ResolvedStudy, asked: Iterable[AbstractAnalysis], failed: MutableMapping[str, Failure] | None = None
) -> tuple[AbstractAnalysis, ...]:
    """The analyses asked for and all they need, needs first, each once; those that cannot be had are left out."""
    ordered: dict[str, AbstractAnalysis] = {}

    def add(analysis: AbstractAnalysis, above: tuple[AbstractAnalysis, ...]) -> None:
        if analysis in above:
            raise AnalysisError(
                f"the analysis {analysis.name!r} needs itself",
                expected="analyses that need earlier ones",
                got=" → ".join(each.name for each in (*above, analysis)),
            )
        reason = analysis.skip_reason(study)
        if above and reason is not None:
            raise AnalysisError(
                f"the analysis {above[-1].name!r} needs {analysis.name!r}, which this study cannot have: {reason}",
                expected=f"{above[-1].name!r} to be inapplicable as well",
            )
        for need in analysis.needs(study):
            add(need, (*above, analysis))
        ordered.setdefault(analysis.key, analysis)

    for analysis in asked:
        with isolated(analysis, "saying what it needs", failed):
            if analysis.skip_reason(study) is None:
                add(analysis, ())
    return tuple(ordered.values())


def expand(
    study: ResolvedStudy,
    analyses: Iterable[AbstractAnalysis],
    evidence: Evidence,
    finished: Iterable[str],
    measured: Mapping[str, Iterable[str]],
    failed: Collection[str] = (),
) -> Round:
    """The next round."""
    done = set(finished)
    failures: dict[str, Failure] = {}
    asked_by: dict[str, frozenset[str]] = {}
    decision = evidence.for_decision()
    networks: dict[str, NetworkSpec] = {}
    labels: dict[str, str] = {}
    pieces: list[PlannedTask] = []
    complete: list[AbstractAnalysis] = []
    parents: set[str] = set()
    for analysis in analyses:
        if analysis.key in done or analysis.key in failed:
            continue
        needs = list(analysis.needs(study))
        if lost := [need.name for need in needs if need.key in failed or need.key in failures]:
            failures[analysis.key] = Failure(f"it needs {', '.join(lost)}, which failed")
        if lost or any(need.key not in done for need in needs):
            continue
        units: list[Task] = []
        new: list[PlannedTask] = []
        specs: list[NetworkSpec] = []
        with isolated(analysis, "naming networks and units", failures):
            units = list(analysis.tasks(study, decision))
            named = new_units(analysis, units, study, set(measured.get(analysis.key, ())))
            new = [
                PlannedTask(analysis, unit, key, analysis.forward_passes(unit, study)) for key, unit in named.items()
            ]
            specs = [*analysis.networks(study, decision), *(m.spec for piece in new for m in piece.task.members)]
            networks_of = [network for spec in specs for network in (*spec.ancestors, spec)]
        if analysis.key in failures:
            continue
        if not new:
            complete.append(analysis)
            continue
        pieces.extend(new)
        for task in units:
            for member in task.members:
                search = ", rate search" if member.seed in study.settings.training.tuning_seeds else ""
                labels.setdefault(member.spec.key, label_of(member.variant, member.seed, member.spec) + search)
        for network in networks_of:
            if network.trained:
                networks.setdefault(network.key, network)
                asked_by[network.key] = asked_by.get(network.key, frozenset()) | {analysis.key}
        parents.update(network.key for spec in specs for network in spec.ancestors)
    for key, spec in networks.items():
        labels.setdefault(key, label_of("pre-training" if key in parents else "network", spec.seed, spec))
    return Round(networks, labels, tuple(pieces), tuple(complete), failures, asked_by)


def label_of(variant: str, seed: int, spec: NetworkSpec) -> str:
    """How a network is shown while it trains: ``P-T[0] at 0.01``, ``P-T[0] at 0.01, blocks of 8``."""
    # What a shuffled variant is named after is told from its data, as of every ablation.
    start, shuffled, _ = variant.partition("_block_")
    rate = f" at {spec.recipe.learning_rate:.3g}" if spec.recipe else ""
    ablation = spec.data.ablation if spec.data else None
    lacks = f", {words(ablation, spec.data.image_size)}" if spec.data and ablation else ""
    if shuffled and not ablation:
        lacks = ", whole images without augmentation"
    if spec.data and spec.data.labels == "permuted":
        lacks += ", permuted labels"
    return f"{shown(start)}[{seed}]{rate}{lacks}"
