"""What a command that advises needs of a run: its answer so far, how long it may take, and what follows from it."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from transferscope.analyses.start.analysis import StartAnalysis
from transferscope.analyses.start.arms import names_of
from transferscope.context.context import Context
from transferscope.context.resolve import resolve
from transferscope.errors import AnalysisError
from transferscope.running.budget import Fitted, fitted
from transferscope.running.plan import plan_study
from transferscope.running.results import AnalysisResult, Results
from transferscope.store import Store
from transferscope.study.analysis_settings import AnalysisSettings
from transferscope.study.registry import ANALYSES
from transferscope.study.settings import Study

__all__ = ["FOLLOWING", "affordable", "fitted_to", "following", "further_study", "settings_of", "start_of"]

FOLLOWING = ("freeze", "average", "label_budget")
"""Analyses of the recommended network, in the order in which a budget is spent on them."""


def following() -> tuple[str, ...]:
    """Those of :data:`FOLLOWING` that there are."""
    return tuple(name for name in FOLLOWING if name in ANALYSES)


def start_of(results: Results) -> AnalysisResult:
    """The analysis ``start`` of a study.

    Raises:
        AnalysisError: it has none.
    """
    for item in results.analyses:
        if isinstance(item.analysis, StartAnalysis):
            return item
    raise AnalysisError("the study asks for no advice", expected="the analysis start", hint="--set 'analyses=[start]'")


def settings_of(analyses: Iterable[AnalysisSettings]) -> StartAnalysis:
    """The settings of ``start`` among analyses.

    Raises:
        AnalysisError: it is not among them.
    """
    for item in analyses:
        if isinstance(item, StartAnalysis):
            return item
    raise AnalysisError("the study asks for no advice", expected="the analysis start", hint="--set 'analyses=[start]'")


def fitted_to(study: Study, store_root: Path, budget: float) -> Fitted:
    """The most thorough search that fits a budget; images are decoded, and steps of each network timed once.

    Args:
        study: with the analysis ``start``.
        store_root: folder of its store.
        budget: in seconds.

    Raises:
        OptionError: not even the shortest search fits; it says what it would take.
    """
    store = Store(store_root)
    return fitted(Context(store, resolve(study, store)), settings_of(study.analyses), budget)


def further_study(results: Results, names: Sequence[str]) -> Study | None:
    """A study of the recommended network at its rate, whose networks are those of the search.

    Args:
        results: of the search.
        names: of its analyses.

    Returns:
        None where there is no recommended network yet, or it starts from random weights.
    """
    item = start_of(results)
    chosen = None if item.summary is None else item.summary.facts.get("chosen")
    if not names or chosen is None or chosen["start"] == "random":
        return None
    study, analysis = results.study, settings_of([item.analysis])
    number = names_of(study, analysis.candidates).index(chosen["candidate"])
    settings = study.model_dump(mode="json")
    if number:
        candidate = analysis.candidates[number - 1]
        settings["source"] = candidate.model_dump(mode="json", exclude={"image_size"})
        settings["target"]["image_size"] = candidate.image_size or study.target.image_size
    settings["name"] = f"{study.name[:56]}-further"
    settings["training"] |= {"learning_rates": [chosen["learning_rate"]], "extensions": 0}
    settings["analyses"] = list(names)
    return Study.model_validate(settings)


def affordable(results: Results, store_root: Path, budget: float) -> tuple[Study | None, tuple[str, ...]]:
    """The study of as many of :func:`following` as fit what is left of a budget, and the names of those that do not.

    Args:
        results: of the search.
        store_root: folder of its store.
        budget: seconds that are left.

    Returns:
        No study and no names where no budget would bring one: there is no pre-trained start to look at.
    """
    names = following()
    for count in range(len(names), 0, -1):
        study = further_study(results, names[:count])
        if study is None:
            return None, ()
        seconds = plan_study(study, store_root).seconds
        if seconds is not None and seconds[1] <= budget:
            return study, names[count:]
    return None, names
