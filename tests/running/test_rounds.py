"""The plan, round by round: needs first, parents first, a fixpoint, and no decision on test data."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
import pytest

from tests.running import tiny
from tests.running.conftest import FinishedStudy
from transferscope.analyses.contract import AbstractAnalysis, MeasureResult, Task
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.learning_rate.analysis import LearningRate
from transferscope.analyses.summary import Summary
from transferscope.context.resolve import resolve
from transferscope.context.resolved_study import ResolvedStudy
from transferscope.context.study_network import StudyNetwork
from transferscope.errors import AnalysisError
from transferscope.running.finished import Finished
from transferscope.running.rounds import asked_of, expand, label_of, with_needs
from transferscope.running.run import run_study
from transferscope.specs.network import Checkpoint, NetworkSpec
from transferscope.store import Store
from transferscope.study.columns import Column, schema
from transferscope.study.registry import BUILT_IN, parse_analysis


class Fake(AbstractAnalysis):
    """Settings say what it needs and names."""

    label: str
    needing: tuple["Fake", ...] = ()
    reason: str | None = None
    variants: tuple[str, ...] = ("RI_T",)
    twice: bool = False

    name: ClassVar[str] = "fake"
    title: ClassVar[str] = "Fake"
    question: ClassVar[str] = ""
    reference: ClassVar[str] = ""
    version: ClassVar[int] = 1
    columns: ClassVar[Mapping[str, Column]] = {
        "split": Column(str, ""),
        "value": Column(float, "", "1", "row"),
        "shown": Column(float, "", "1", "test"),
    }
    seen: ClassVar[list[Evidence]] = []

    def needs(self, study: ResolvedStudy) -> Iterable[AbstractAnalysis]:
        return self.needing

    def skip_reason(self, study: ResolvedStudy) -> str | None:
        return self.reason

    def networks(self, study: ResolvedStudy, evidence: Evidence) -> Iterable[NetworkSpec]:
        return [member.spec for task in self.tasks(study, evidence) for member in task.members]

    def tasks(self, study: ResolvedStudy, evidence: Evidence) -> Iterable[Task]:
        self.seen.append(evidence)
        for variant in self.variants * (1 + self.twice):
            yield Task(members=(StudyNetwork(variant=variant, seed=0, spec=study.trained(variant, 0, 0.1)),))

    def measure(self, task: Task, context: Any) -> MeasureResult:
        return MeasureResult(pl.DataFrame([], schema=schema(self.columns)))

    def summarise(self, table: pl.DataFrame, evidence: Evidence) -> Summary:
        return Summary("")


@pytest.fixture(scope="module")
def bound(finished: FinishedStudy) -> ResolvedStudy:
    return resolve(finished.study, Store(finished.store))


def test_needs_come_first_and_each_once(bound: ResolvedStudy) -> None:
    a = Fake(label="a")
    b, c = Fake(label="b", needing=(a,)), Fake(label="c", needing=(a,))
    d = Fake(label="d", needing=(b, c))
    assert with_needs(bound, [d, b, d]) == (a, b, c, d)
    assert with_needs(bound, [Fake(label="e", reason="no"), b]) == (a, b)


def test_an_analysis_that_needs_itself_is_named(bound: ResolvedStudy) -> None:
    class Circle(Fake):
        def needs(self, study: ResolvedStudy) -> Iterable[AbstractAnalysis]:
            return (self,)

    with pytest.raises(AnalysisError, match=r"'fake' needs itself[\s\S]*fake → fake"):
        with_needs(bound, [Circle(label="a")])


def test_a_need_that_cannot_be_had_is_named(bound: ResolvedStudy) -> None:
    need = Fake(label="a", reason="only one seed")
    with pytest.raises(AnalysisError, match="which this study cannot have: only one seed"):
        with_needs(bound, [Fake(label="b", needing=(need,))])


def test_an_analysis_waits_for_its_needs_and_is_finished_when_it_names_nothing_new(bound: ResolvedStudy) -> None:
    a = Fake(label="a")
    b = Fake(label="b", needing=(a,), variants=("P_T",))
    both = with_needs(bound, [b])
    first = expand(bound, both, Evidence(), (), {})
    assert [piece.analysis for piece in first.pieces] == [a]
    assert first.finished == ()
    measured = {a.key: [piece.key for piece in first.pieces]}
    second = expand(bound, both, Evidence(), (), measured)
    assert (second.pieces, second.finished) == ((), (a,))
    third = expand(bound, both, Evidence(), {a.key}, measured)
    assert [piece.analysis for piece in third.pieces] == [b]


def test_a_unit_named_twice_is_one(bound: ResolvedStudy) -> None:
    assert len(expand(bound, [Fake(label="a", twice=True)], Evidence(), (), {}).pieces) == 1


def test_a_network_of_many_analyses_is_trained_once(bound: ResolvedStudy) -> None:
    step = expand(bound, [Fake(label="a"), Fake(label="b", variants=("RI_T", "P_T"))], Evidence(), (), {})
    assert len(step.pieces) == 3
    assert [step.labels[key] for key in step.networks] == ["RI-T[0] at 0.1", "P-T[0] at 0.1"]


@pytest.mark.parametrize(
    ("checkpoint", "labels"), [("last", ["pre-training[7] at 0.05", "P-T[0] at 0.1"]), (0, ["P-T[0] at 0.1"])]
)
def test_parents_come_first(tmp_path: Path, checkpoint: Any, labels: list[str]) -> None:
    found, _, _ = tiny.bound(tmp_path, tiny.pretrained(tmp_path, checkpoint=checkpoint, seed=7))
    step = expand(found, [Fake(label="a", variants=("P_T",))], Evidence(), (), {})
    assert [step.labels[key] for key in step.networks] == labels


def test_ancestors_of_networks_that_are_not_trained_come_too(tmp_path: Path) -> None:
    found, _, _ = tiny.bound(tmp_path, tiny.pretrained(tmp_path))
    middle = found.untrained("P", 0)
    last = found.trained("RI_T", 3, 0.1).model_copy(update={"start": Checkpoint(of=middle)})

    class Chain(Fake):
        def tasks(self, study: ResolvedStudy, evidence: Evidence) -> Iterable[Task]:
            yield Task(members=(StudyNetwork(variant="chain", seed=3, spec=last),))

    step = expand(found, [Chain(label="a")], Evidence(), (), {})
    assert [step.labels[key] for key in step.networks] == ["pre-training[2000] at 0.05", "chain[3] at 0.1"]


def test_labels() -> None:
    data = {
        "source": {"kind": "arrays", "images": "x.npz"},
        "fingerprint": "0" * 64,
        "image_size": 16,
        "labels": "permuted",
    }
    taught = {"architecture": tiny.NAME, "classes": 2, "start": {"kind": "random"}, "data": data,
              "recipe": {"learning_rate": 0.1, "epochs": 1}}  # fmt: skip
    assert label_of("pre-training", 7, NetworkSpec.model_validate(taught)) == "pre-training[7] at 0.1, permuted labels"
    study = {"architecture": tiny.NAME, "classes": 2, "start": {"kind": "random"}}
    assert label_of("RI_T_long", 3, NetworkSpec.model_validate(study)) == "RI-T-long[3]"


# -- decisions -----------------------------------------------------------------------------------------------


def test_units_and_networks_see_decision_evidence(bound: ResolvedStudy) -> None:
    fake = Fake(label="a")
    Fake.seen.clear()
    rows = pl.DataFrame({"split": ["validation", "test"], "value": [1.0, 2.0], "shown": [3.0, 4.0]})
    expand(bound, [fake], Evidence({fake.key: rows}), (), {})
    assert Fake.seen
    for evidence in Fake.seen:
        assert evidence.decision
        assert evidence.table(fake).to_dict(as_series=False) == {"split": ["validation"], "value": [1.0]}


def test_no_decision_changes_when_everything_measured_on_test_data_does(
    finished: FinishedStudy, bound: ResolvedStudy
) -> None:
    rng = np.random.default_rng(0)
    analyses = with_needs(bound, asked_of(bound))
    tables = {result.analysis.key: result.table for result in finished.results.analyses if result.table is not None}
    scrambled = {}
    changed = 0
    for analysis in analyses:
        table = tables[analysis.key]
        for name, column in analysis.columns.items():
            noise = pl.Series(name, rng.random(table.height))
            if column.dtype is not float or column.measured_on not in ("test", "row"):
                continue
            test = pl.lit(True) if column.measured_on == "test" else pl.col("split") == "test"
            table = table.with_columns(pl.when(test).then(noise).otherwise(pl.col(name)).alias(name))
        changed += not table.equals(tables[analysis.key])
        scrambled[analysis.key] = table
    assert changed >= 4
    done = [analysis.key for analysis in analyses if analysis.name == "learning_rate"]
    one, other = (expand(bound, analyses, Evidence(each), done, {}) for each in (tables, scrambled))
    assert one == other
    assert len(one.pieces) > 5


@pytest.mark.parametrize("name", BUILT_IN)
def test_no_column_that_a_decision_sees_speaks_of_test_data(name: str) -> None:
    columns = parse_analysis(name).columns
    for column, about in columns.items():
        if "test" in column.split("_") and about.dtype is float:
            assert about.measured_on in ("test", "row"), column
    if any(about.measured_on == "row" for about in columns.values()):
        assert columns["split"].dtype is str


# -- the grid of learning rates ------------------------------------------------------------------------------


def test_a_grid_whose_best_lies_at_its_edge_grows_for_both_variants_until_it_does_not(tmp_path: Path) -> None:
    changes = {
        "analyses": ["outcome"],
        "seeds": [0],
        "training": {"learning_rates": [1e-6, 2e-6], "extensions": 3, "recipe": {"epochs": 1}},
    }
    results = run_study(tiny.study(tmp_path, changes), tmp_path / "store", quiet=True)
    rate = next(result for result in results.analyses if isinstance(result.analysis, LearningRate))
    table = rate.table
    assert table is not None
    by_variant = {
        variant: sorted(table.filter(variant=variant)["learning_rate"].to_list()) for variant in ("RI_T", "P_T")
    }
    assert by_variant["RI_T"] == by_variant["P_T"]
    grid = by_variant["RI_T"]
    assert len(grid) == len(set(grid)) > 2
    assert {1e-6, 2e-6} <= set(grid)
    below, above = sum(rate < 1e-6 for rate in grid), sum(rate > 2e-6 for rate in grid)
    assert below <= 3
    assert above <= 3
    found, store, _ = tiny.bound(tmp_path, changes)
    finished = Finished(with_needs(found, asked_of(found)))
    finished.tables[rate.analysis.key] = table
    assert LearningRate().grid(found, finished.evidence.for_decision()) == grid
    del store
