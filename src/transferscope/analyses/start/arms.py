"""The arms of a search over starts: which candidate, from its weights or from a random start, at which rate."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from transferscope.analyses.halving import Score
from transferscope.context.resolved_study import ResolvedStudy
from transferscope.context.study_network import StudyNetwork

if TYPE_CHECKING:
    from transferscope.study.candidate import Candidate
    from transferscope.study.settings import Study

__all__ = ["PRETRAINED", "RANDOM", "Arm", "Start", "names_of", "network_of", "scores_of", "table_place"]

Start = Literal["pretrained", "random"]
PRETRAINED: Start = "pretrained"
RANDOM: Start = "random"


@dataclass(frozen=True, order=True)
class Arm:
    """One way to train: of two that are as good the first candidate, from its weights, at the smaller rate is taken.

    Attributes:
        candidate: 0 is the study's source, then the candidates in their order.
        start: ``pretrained`` or ``random``.
        rate: peak learning rate.
    """

    candidate: int
    start: Start
    rate: float


def names_of(study: "Study", candidates: "Sequence[Candidate]") -> tuple[str, ...]:
    """What the source and each candidate are called: their architecture without its library, numbered where equal.

    >>> from transferscope.study.candidate import Candidate
    >>> from transferscope.study.settings import Source
    >>> class Asked:
    ...     source = Source(architecture="resnet18", weights="timm")
    >>> names_of(Asked, [Candidate(architecture="timm:resnet18", weights="my.pt")])
    ('resnet18', 'resnet18 (2)')
    """
    seen: dict[str, int] = {}
    names = []
    for architecture in (study.source.architecture, *(each.architecture for each in candidates)):
        short = architecture.name.removeprefix("timm:")
        count = seen[short] = seen.get(short, 0) + 1
        names.append(short if count == 1 else f"{short} ({count})")
    return tuple(names)


def network_of(
    study: ResolvedStudy, candidates: "Sequence[Candidate]", arm: Arm, seed: int, epochs: int | None, *, search: bool
) -> StudyNetwork:
    """The network of an arm.

    Args:
        study: that it belongs to.
        candidates: of the analysis.
        arm: which.
        seed: of the network.
        epochs: None for those of the study's recipe.
        search: it is a run of the search, of which the end alone is read.
    """
    known = study.candidate(None if arm.candidate == 0 else candidates[arm.candidate - 1])
    spec = study.trained_candidate(known, seed, arm.rate, pretrained=arm.start == PRETRAINED, epochs=epochs)
    if search:
        # As in the search for a rate, whose networks these are where the arms are the same.
        assert spec.recipe is not None
        spec = spec.model_copy(update={"recipe": spec.recipe.model_copy(update={"keep": "none"})})
    name = names_of(study.settings, candidates)[arm.candidate]
    return StudyNetwork(variant=f"{name} {arm.start}", seed=seed, spec=spec)


def table_place(names: Sequence[str], arm: Arm) -> dict[str, Any]:
    """The columns of a row that say of which arm it is."""
    return {"candidate": names[arm.candidate], "start": arm.start, "learning_rate": arm.rate}


def scores_of(table: pl.DataFrame, names: Sequence[str]) -> Mapping[tuple[Arm, int], Score]:
    """What is known of each arm after each rung: means over the tuning seeds of its runs.

    The standard error is that of the mean: all seeds share the validation images, √(SE² + s²/k) for k seeds.
    """
    runs = table.filter(pl.col("level") == "run")
    by_arm = runs.group_by("candidate", "start", "learning_rate", "epochs", maintain_order=True)
    found = {}
    for (candidate, start, rate, epochs), rows in by_arm:
        arm = Arm(names.index(str(candidate)), PRETRAINED if start == PRETRAINED else RANDOM, float(str(rate)))
        found[arm, int(str(epochs))] = _score(rows)
    return found


def _score(rows: pl.DataFrame) -> Score:
    if rows["diverged"].any():
        return Score(None, diverged=True)
    metrics = rows["value"].drop_nulls().to_list()
    loss = _mean(rows["loss"].drop_nulls().to_list())
    if len(metrics) < len(rows):
        return Score(None, loss=loss)
    errors = rows["error"].fill_null(0.0).to_list()
    mean = _mean(metrics)
    assert mean is not None
    spread = sum((value - mean) ** 2 for value in metrics) / max(1, len(metrics) - 1)
    error = math.sqrt(sum(each**2 for each in errors) / len(errors) + spread / len(metrics))
    return Score(round(mean, 12), error, None if loss is None else round(loss, 12))


def _mean(values: Iterable[float]) -> float | None:
    known = list(values)
    return math.fsum(known) / len(known) if known else None
