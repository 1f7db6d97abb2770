"""Halving on recorded searches of real trainings, against the grid: what it costs, and what its choice loses.

``recorded/rate_curves.csv`` holds every arm of two targets × four starts × six rates after 1, 3 and 9 epochs
(``tools/rate_curves.py`` makes it). What is lost is in validation metric after nine epochs, where the grid chooses.
"""

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

import polars as pl
import pytest

from tests.analyses.test_learning_rate import ANALYSIS
from tests.tables import example
from transferscope.analyses.halving import Halving, Score, ranked, rungs
from transferscope.analyses.learning_rate.analysis import choose

RECORDED = pl.read_csv(Path(__file__).parent / "recorded" / "rate_curves.csv").filter(
    (pl.col("epoch") == pl.col("epochs")) | pl.col("diverged")
)
SCORES = {
    (row["target"], row["start"], row["learning_rate"], row["epochs"]): Score(
        row["validation_metric"], row["validation_error"], row["validation_loss"], row["diverged"]
    )
    for row in RECORDED.iter_rows(named=True)
}
TARGETS, STARTS, RATES = (sorted({key[at] for key in SCORES}) for at in range(3))
RULE = Halving(rungs(9))


def windows(length: int) -> list[tuple[float, ...]]:
    return [tuple(RATES[at : at + length]) for at in range(len(RATES) - length + 1)]


def trained(target: str, arms: Iterable[tuple[str, float]]) -> dict[tuple[tuple[str, float], int], Score]:
    """The scores of a whole search, and of no other training."""
    arms = list(arms)
    known: dict = {}
    while not (found := RULE.search(arms, known)).finished:
        known |= {(arm, rung): SCORES[(target, *arm, rung)] for arm, rung in found.waiting}
    assert found.finalists
    return known


def share(known: dict, arms: int) -> float:
    return sum(rung for _, rung in known) / (9 * arms)


def of_rates(length: int) -> Iterator[tuple[float, float, float]]:
    """Of each search over rates of one start: its share of the updates, what it loses, and what the grid's choice does,
    both in standard errors of the best."""
    for target, start, rates in itertools.product(TARGETS, STARTS, windows(length)):
        known = trained(target, [(start, rate) for rate in rates])
        whole = {((start, rate), 9): SCORES[target, start, rate, 9] for rate in rates}
        full = {rate: score for ((_, rate), _), score in whole.items()}
        best = full[ranked(full, rates)[0]]
        losses = [(best.metric - full[choose(table(runs), "P_T")].metric) / best.error for runs in (known, whole)]
        yield share(known, length), *losses


def table(known: dict) -> pl.DataFrame:
    """The recorded trainings as those of a search over the rates of P-T."""
    rows = [
        {"variant": "P_T", "learning_rate": rate, "epochs": rung, "validation_metric": score.metric,
         "validation_error": score.error, "validation_loss": score.loss, "diverged": score.diverged}
        for ((_, rate), rung), score in known.items()
    ]  # fmt: skip
    return example(ANALYSIS, rows, seed=1000, updates=1, train_metric=0.5)


@pytest.mark.parametrize(("length", "cost"), [(3, 1 / 9), (4, 10 / 36), (6, 12 / 54)])
def test_the_rate_is_always_within_one_standard_error_of_the_best_at_a_third_of_the_updates(length, cost) -> None:
    found = list(of_rates(length))
    assert len(found) == 8 * (7 - length)
    assert {round(part, 6) for part, _, _ in found} == {round(cost, 6)}
    assert max(lost for _, lost, _ in found) <= 1
    # The rule of one standard error takes a smaller rate on purpose: so does the grid, and it loses no less.
    assert sum(lost for _, lost, _ in found) <= sum(lost for _, _, lost in found)


@pytest.mark.parametrize(("starts", "cost"), [(2, 17 / 72), (3, 24 / 108), (4, 52 / 144)])
def test_of_starts_with_rates_one_is_found_that_noise_cannot_tell_from_the_best(starts, cost) -> None:
    lost = []
    for target, some, rates in itertools.product(TARGETS, itertools.combinations(STARTS, starts), windows(4)):
        arms = list(itertools.product(some, rates))
        known = trained(target, arms)
        assert share(known, len(arms)) == pytest.approx(cost)
        full = {arm: SCORES[(target, *arm, 9)] for arm in arms}
        best, own = (full[arm] for arm in (ranked(full, arms)[0], RULE.search(arms, known).finalists[0]))
        assert best.metric - own.metric <= (best.error**2 + own.error**2) ** 0.5
        lost.append((best.metric - own.metric) / best.error)
    assert sum(each <= 1 for each in lost) >= 0.9 * len(lost)


def test_the_recorded_trainings_had_equal_updates_at_each_rung() -> None:
    assert RECORDED.height == len(SCORES) == 2 * 4 * 6 * 3
    assert RECORDED.group_by("target", "epochs").agg(pl.col("updates").n_unique())["updates"].to_list() == [1] * 6
