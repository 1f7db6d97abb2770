"""What holds for every analysis: the contract, the registry, and that decisions see no test data."""

import json
import subprocess
import sys
from typing import ClassVar

import polars as pl
import pytest

from tests.studies import Trained
from transferscope.analyses.contract import AbstractAnalysis, MeasureResult, Task, checked, checked_summary
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.learning_rate.analysis import LearningRate
from transferscope.analyses.summary import Summary
from transferscope.context.resolve import resolve
from transferscope.context.resolved_study import ResolvedStudy
from transferscope.errors import AnalysisError
from transferscope.running.work import task_key
from transferscope.study.columns import Column, schema
from transferscope.study.registry import BUILT_IN, DEFAULT_ANALYSES, analysis_type, parse_analysis

EVERY = sorted(BUILT_IN)


class Odd(AbstractAnalysis):
    """Of no use but to be checked."""

    size: int = 1

    name = "odd"
    title = "Odd"
    question = "?"
    reference = "-"
    version = 1
    columns: ClassVar[dict[str, Column]] = {
        "a": Column(int, "a number", "count"),
        "b": Column(float, "another", null="not known"),
        "c": Column(str, "a word"),
        "d": Column(bool, "yes or no"),
    }

    def networks(self, study, evidence):
        return ()

    def tasks(self, study, evidence):
        return ()

    def measure(self, task: Task, context) -> MeasureResult:
        return MeasureResult(pl.DataFrame())

    def summarise(self, table, evidence) -> Summary:
        return Summary("none")


GOOD = {"a": [1, 2], "b": [0.5, None], "c": ["x", ""], "d": [True, False]}


def test_a_checked_table_has_the_declared_columns_and_types() -> None:
    table = checked(Odd(), pl.DataFrame({name: GOOD[name] for name in "dcba"}))
    assert table.columns == ["a", "b", "c", "d"]
    assert table.schema == schema(Odd.columns) == {"a": pl.Int64, "b": pl.Float64, "c": pl.String, "d": pl.Boolean}
    widened = checked(Odd(), pl.DataFrame({**GOOD, "a": pl.Series([1, 2], dtype=pl.Int8), "b": [1, 2]}))
    assert widened["b"].to_list() == [1.0, 2.0]
    assert checked(Odd(), pl.DataFrame({**GOOD, "b": [None, None]})).schema["b"] == pl.Float64
    assert checked(Odd(), pl.DataFrame([], schema=schema(Odd.columns))).height == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"d": None}, r"does not have its declared columns\n  expected: a, b, c, d\n  got:      a, b, c"),
        ({"e": [1, 2]}, "does not have its declared columns"),
        ({"a": [1.0, 2.0]}, "column 'a' of 'odd' is of another type than declared\n  expected: Int64\n"),
        ({"a": ["1", "2"]}, "column 'a' of 'odd' is of another type"),
        ({"b": ["0.5", None]}, "column 'b' of 'odd' is of another type"),
        ({"b": [True, False]}, "column 'b' of 'odd' is of another type"),
        ({"c": [1, 2]}, "column 'c' of 'odd' is of another type"),
        ({"d": [0, 1]}, "column 'd' of 'odd' is of another type"),
        ({"b": [0.5, float("nan")]}, "column 'b' of 'odd' holds NaN"),
        ({"a": [1, None]}, "column 'a' of 'odd' holds a null but declares none"),
        ({"c": [None, None]}, "column 'c' of 'odd' holds a null but declares none"),
    ],
)  # fmt: skip
def test_a_table_that_breaks_the_contract_is_named(changes, message) -> None:
    columns = {name: values for name, values in {**GOOD, **changes}.items() if values is not None}
    with pytest.raises(AnalysisError, match=message):
        checked(Odd(), pl.DataFrame(columns))


def test_the_key_is_name_version_and_settings(monkeypatch) -> None:
    key = Odd().key
    assert Odd().key == key != Odd(size=2).key
    monkeypatch.setattr(Odd, "version", 2)
    assert Odd().key != key
    monkeypatch.undo()
    monkeypatch.setattr(Odd, "name", "even")
    assert Odd().key != key


@pytest.mark.parametrize("name", EVERY)
def test_every_analysis_says_what_it_is(name) -> None:
    kind = analysis_type(name)
    assert kind.name == name
    assert getattr(kind, "__final__", False)
    for text in (kind.title, kind.question, kind.reference, kind.__doc__):
        assert text
        assert text.strip()
    assert kind.question.endswith("?")
    assert kind.version >= 1
    for column, facts in kind.columns.items():
        assert column.isidentifier()
        assert facts.meaning
        assert facts.unit
        assert facts.dtype in (str, int, float, bool)
        assert facts.null != ""
    rows = [column for column, facts in kind.columns.items() if facts.measured_on == "row"]
    assert not rows or "split" in kind.columns, "columns measured on the row's split need a column that names it"


@pytest.mark.parametrize("name", EVERY)
def test_keys_change_with_the_version_and_with_settings_that_change_the_table(name, monkeypatch) -> None:
    kind = analysis_type(name)
    analysis = kind()
    for field in kind.model_fields:
        value = getattr(analysis, field)
        other = analysis.model_copy(update={field: ["another", value]})
        assert (other.key == analysis.key) == (field in kind.not_identity)
    before = analysis.key
    monkeypatch.setattr(kind, "version", kind.version + 1)
    assert kind().key != before


def test_the_default_analyses_are_registered() -> None:
    assert set(DEFAULT_ANALYSES) <= set(BUILT_IN)
    assert (
        parse_analysis("mistakes") == parse_analysis({"mistakes": None}) == parse_analysis(analysis_type("mistakes")())
    )
    assert parse_analysis({"mistakes": {"n_bootstrap": 500}}).n_bootstrap == 500


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("mistake", "unknown analysis 'mistake': did you mean 'mistakes'"),
        ({"mistakes": {"n_bootstrp": 3}}, r"mistakes\.n_bootstrp: Extra inputs[\s\S]*did you mean 'n_bootstrap'"),
        ({"mistakes": {"n_bootstrap": 3}}, r"mistakes\.n_bootstrap: .*greater than or equal to 100"),
        ({"outcome": {"n_bootstrap": 0}}, r"outcome\.n_bootstrap: .*greater than or equal to 100"),
        ({"learning_curves": {"thresholds": 0}}, r"learning_curves\.thresholds: .*greater than or equal to 1"),
        ({"mistakes": 3}, r"mistakes\.: Input should be a valid dictionary"),
        ({3: None}, "expected a name or one 'name: {settings}', got {3: None}"),
        ({"mistakes": None, "path": None}, "expected a name or one"),
        (["mistakes"], "expected a name or one"),
    ],
)
def test_what_is_no_analysis_is_named(item, message) -> None:
    with pytest.raises(ValueError, match=message):
        parse_analysis(item)


def test_a_summary_setting_asks_for_no_second_table() -> None:
    assert parse_analysis({"learning_curves": {"thresholds": 2}}).key == parse_analysis("learning_curves").key


# -- evidence ---------------------------------------------------------------------------------------------------


def test_a_table_that_is_not_finished_is_named() -> None:
    with pytest.raises(AnalysisError, match="there is no table of 'learning_rate' yet"):
        Evidence().table(LearningRate())
    assert not Evidence().has(LearningRate())


def test_a_decision_sees_no_test_column_and_no_test_row(trained: Trained) -> None:
    decision = trained.evidence.for_decision()
    for item in trained.results.analyses:
        kind, full = item.analysis, trained.evidence.table(item.analysis)
        seen = decision.table(item.analysis)
        tests = [name for name, column in kind.columns.items() if column.measured_on == "test"]
        assert set(seen.columns) == set(full.columns) - set(tests)
        if "split" in seen.columns:
            assert "test" in full["split"].to_list()
            assert set(seen["split"]) == set(full["split"]) - {"test"}
        else:
            assert seen.height == full.height


def mutated(kind: AbstractAnalysis, table: pl.DataFrame) -> pl.DataFrame:
    """The table with every number that was measured on test data changed."""

    def on_test(column: Column) -> pl.Expr:
        return pl.lit(True) if column.measured_on == "test" else pl.col("split") == "test"

    return table.with_columns(
        pl.when(on_test(column)).then(0.5 - pl.col(name)).otherwise(pl.col(name)).cast(table.schema[name]).alias(name)
        for name, column in kind.columns.items()
        if column.measured_on in ("test", "row") and column.dtype in (int, float)
    )


def asking_for(analysis: AbstractAnalysis, trained: Trained) -> ResolvedStudy:
    """The tiny study with one more analysis, bound anew: some need data sets beside the target."""
    settings = trained.study.settings
    if any(asked.name == analysis.name for asked in settings.analyses):
        return trained.study
    return resolve(settings.model_copy(update={"analyses": (*settings.analyses, analysis)}), trained.context.store)


@pytest.mark.parametrize("name", EVERY)
def test_no_decision_changes_with_test_data(name, trained: Trained) -> None:
    analysis = analysis_type(name)()
    study = asking_for(analysis, trained)
    if analysis.skip_reason(study) is not None:
        pytest.skip(f"{name} does not apply to the tiny study")
    kinds = {item.analysis.key: item.analysis for item in trained.results.analyses}
    tables = dict(trained.evidence.tables)
    for need in _needs(analysis, study):
        kinds.setdefault(need.key, need)
        tables.setdefault(need.key, need.expected_table(study))
    tables.setdefault(analysis.key, analysis.expected_table(study))
    kinds.setdefault(analysis.key, analysis)
    changed = {key: mutated(kinds[key], table) for key, table in tables.items()}
    assert any(not changed[key].equals(table) for key, table in tables.items())
    asked = []
    for evidence in (Evidence(tables), Evidence(changed)):
        decision = evidence.for_decision()
        asked.append(
            (
                sorted(spec.key for spec in analysis.networks(study, decision)),
                [task_key(analysis, task, study) for task in analysis.tasks(study, decision)],
            )
        )
    assert asked[0] == asked[1]
    assert asked[0][1], "an analysis that applies has units"


def _needs(analysis, study):
    for need in analysis.needs(study):
        yield from _needs(need, study)
        yield need


@pytest.mark.parametrize("name", EVERY)
def test_every_unit_names_its_networks_and_counts_its_images(name, trained: Trained) -> None:
    analysis = analysis_type(name)()
    study = asking_for(analysis, trained)
    if analysis.skip_reason(study) is not None:
        pytest.skip(f"{name} does not apply to the tiny study")
    tables = dict(trained.evidence.tables)
    for need in (*_needs(analysis, study), analysis):
        tables.setdefault(need.key, need.expected_table(study))
    decision = Evidence(tables).for_decision()
    named = {spec.key for spec in analysis.networks(study, decision)}
    for task in analysis.tasks(study, decision):
        assert {member.spec.key for member in task.members if member.spec.trained} <= named
        assert analysis.forward_passes(task, study) >= 0


def test_summaries_of_the_tiny_study_are_whole(trained: Trained) -> None:
    for item in trained.results.analyses:
        assert item.summary is not None
        assert item.summary.verdict.endswith(".")
        assert item.summary.estimates
        assert checked_summary(item.analysis, item.summary) == item.summary
        for estimate in item.summary.estimates:
            assert (estimate.low is None) == (estimate.high is None) == (estimate.basis is None)
            assert estimate.value is not None or estimate.note


def test_reading_a_study_and_all_analyses_imports_no_torch() -> None:
    program = """
import json, sys
import transferscope.study.settings
from transferscope.study.registry import BUILT_IN, analysis_type
for name in BUILT_IN:
    analysis_type(name)
print(json.dumps(sorted({"torch", "timm", "torchvision", "sklearn", "scipy", "altair"} & set(sys.modules))))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert json.loads(done.stdout) == []
