"""What goes wrong in one analysis stays with it: the others finish, and a run after it is mended goes on."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.installed import install, on_path
from tests.running import tiny
from tests.running.conftest import FinishedStudy
from transferscope.analyses.outcome.analysis import Outcome
from transferscope.context.resolve import resolve
from transferscope.errors import AnalysisError, StoreError
from transferscope.report.render import written_report
from transferscope.running.failures import ESSENTIAL
from transferscope.running.plan import plan_study, study_status
from transferscope.running.results import AnalysisResult, Results
from transferscope.running.rounds import asked_of, with_needs
from transferscope.running.run import run_study
from transferscope.store import Store
from transferscope.study.settings import Study

SOURCE = """
from dataclasses import replace
from pathlib import Path
from transferscope.analyses.contract import MeasureResult
from transferscope.analyses.estimates import Quantity
from transferscope.analyses.summary import Summary
from transferscope.analyses.tuned import NETWORK, NetworkAnalysis
from transferscope.context.study_network import StudyNetwork
from transferscope.specs.architecture import Architecture
from transferscope.study.columns import Column

def fault():
    return Path(__file__).with_name("fault").read_text()

def raised(name):
    if fault() == name:
        raise ValueError(f"no {name} today")

def broken(num_classes):
    raise ValueError("no network today")

MEAN = Quantity("mean", "mean, {variant}", column="value", by=("variant",))
CARD = "".join(f"## {title}\\nwords\\n" for title in
               ("Question", "Definition", "How to read", "When not to trust", "Reference"))

class Faulty(NetworkAnalysis):
    name, title, question, reference, version = "faulty", "Faulty analysis", "What if?", "none", 1
    columns = {**NETWORK, "value": Column(float, "a value")}
    quantities = (MEAN,)

    def needs(self, study):
        raised("needs")
        return super().needs(study)

    def skip_reason(self, study):
        raised("skip_reason")

    def networks(self, study, evidence):
        raised("networks")
        specs = list(super().networks(study, evidence))
        if fault() == "training":
            specs.append(specs[0].model_copy(update={"architecture": Architecture(name="faulty_module:broken")}))
        return specs

    def tasks(self, study, evidence):
        raised("units")
        yield from super().tasks(study, evidence)

    def forward_passes(self, task, study):
        raised("images")
        return 1

    def rows(self, member, context):
        if member.seed == 1:
            raised("measure")
            if fault() == "file":
                open("nowhere.csv")
            if fault() == "missing":
                context.state(context.study.trained("P_T", 77, 0.05))
        value = float("nan") if fault() == "nan" else 1.0 + member.seed
        yield {"value": value}

    def measure(self, task, context):
        found = super().measure(task, context)
        if fault() == "nothing":
            return None
        if fault() == "file name":
            return MeasureResult(found.table, {f"../{task.members[0].label}": b""})
        extra = found.table.with_columns(more="value") if fault() == "columns" else found.table
        return MeasureResult(extra)

    def summarise(self, table, evidence):
        raised("summarise")
        found = super().summarise(table, evidence)
        return {
            "no summary": None,
            "undeclared": replace(found, estimates=(replace(found.estimates[0], quantity="other"),)),
            "duplicate": replace(found, estimates=found.estimates[:1] * 2),
            "facts": replace(found, facts={"path": Path()}),
        }.get(fault(), found)

def figures(table):
    raised("figures")
    return ()
"""
BEFORE = {
    "needs": "no needs today",
    "skip_reason": "no skip_reason today",
    "units": "no units today",
    "networks": "no networks today",
    "images": "no images today",
    "training": "training .*no network today",
}
MEASURING = {
    "measure": r"measuring RI-T\[1\]: ValueError: no measure today \(faulty_module.py, line \d+, in raised\)",
    "file": "FileNotFoundError.*nowhere.csv.*in rows",
    "missing": "is not in the store",
    "nothing": "'NoneType' object has no attribute 'table'",
    "columns": r"declared columns[\s\S]*got: .*more",
    "file name": "unusable name",
    "nan": "column 'value' of 'faulty' holds NaN",
}
SUMMARISING = {
    "summarise": "summarising: ValueError: no summarise today",
    "no summary": "summarising: AttributeError",
    "undeclared": r"undeclared quantity[\s\S]*'other'",
    "duplicate": "stand under one key",
    "facts": "JSON cannot",
}


@pytest.fixture
def fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = install(tmp_path / "site", "faults", {"faulty": "faulty_module:Faulty"}, faulty_module=SOURCE)
    on_path(folder, monkeypatch, "faulty_module")
    (folder / "fault").write_text("")
    return folder / "fault"


@pytest.fixture
def study(finished: FinishedStudy, tmp_path: Path, fault: Path) -> Study:
    shutil.copytree(finished.store, tmp_path / "store")
    return tiny.study(finished.folder, {"analyses": ["faulty", {"outcome": {"n_bootstrap": 100}}, "distance"]})


def by_name(results: Results) -> dict[str, AnalysisResult]:
    return {item.analysis.name: item for item in results.analyses}


def measured(root: Path) -> list[str]:
    store = Store(root)
    return [key for key in store.keys("units") if store.entry("units", key).manifest()["analysis"] == "faulty"]


def check_others(results: Results, finished: FinishedStudy) -> None:
    """Whatever is wrong with one, the other analyses are as they were without it."""
    items, before = by_name(results), by_name(finished.results)
    assert set(items) == {"faulty", "outcome", "distance", "learning_rate", "learning_curves"}
    for name in set(items) - {"faulty"}:
        assert items[name].failed is None
        assert items[name].summary == before[name].summary
    assert results.headline.equals(finished.results.headline)


@pytest.mark.parametrize("name", [*BEFORE, *MEASURING, *SUMMARISING])
def test_a_fault_stays_with_its_analysis(
    study: Study, finished: FinishedStudy, fault: Path, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fault.write_text(name)
    results = run_study(study, tmp_path / "store", quiet=name in SUMMARISING)
    check_others(results, finished)
    item = by_name(results)["faulty"]
    assert item.failed is not None
    assert item.summary is None
    words = {**BEFORE, **MEASURING, **SUMMARISING}[name]
    assert re.search(words, item.failed.what), item.failed.what
    # What is finished is not lost, where it is there.
    assert (item.table is not None) is (name in SUMMARISING)
    if name not in SUMMARISING:
        assert "Faulty analysis failed, the others go on" in capsys.readouterr().err


@pytest.mark.parametrize("executor", ["serial", pytest.param("processes", marks=pytest.mark.slow)])
def test_a_run_after_the_fault_is_mended_does_what_was_left(
    study: Study, fault: Path, tmp_path: Path, request: pytest.FixtureRequest, executor: str
) -> None:
    changed = study.compute.model_copy(update={"executor": executor, "workers": 2})
    study = study.model_copy(update={"compute": changed})
    fault.write_text("measure")
    results = run_study(study, tmp_path / "store", quiet=True)
    assert by_name(results)["faulty"].failed is not None
    assert len(measured(tmp_path / "store")) == 2  # those of seed 0 are kept
    fault.write_text("")
    # Of other processes nothing is seen here.
    jobs: list[str] = request.getfixturevalue("jobs") if executor == "serial" else []
    results = run_study(study, tmp_path / "store", quiet=True)
    item = by_name(results)["faulty"]
    assert item.failed is None
    assert item.table is not None
    assert item.table.sort("variant", "seed")["value"].to_list() == [1.0, 2.0, 1.0, 2.0]
    if executor == "serial":
        assert len(jobs) == 2
    assert len(measured(tmp_path / "store")) == 4
    assert study_status(study, tmp_path / "store").units_pending == 0


@pytest.mark.parametrize(
    "name",
    [
        "measure",
        pytest.param("summarise", marks=pytest.mark.slow),
        "figures",
        pytest.param("card", marks=pytest.mark.slow),
    ],
)
def test_the_report_says_what_is_missing(
    study: Study, finished: FinishedStudy, fault: Path, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault.write_text(name)
    results = run_study(study, tmp_path / "store", quiet=True)
    if name == "card":
        monkeypatch.setattr("faulty_module.CARD", "## Question\nwords")
    place, shown = written_report(results, tmp_path / "out")
    check_others(shown, finished)
    item = by_name(shown)["faulty"]
    assert item.failed is not None
    found = {each["name"]: each for each in json.loads((tmp_path / "out" / "results.json").read_text())["analyses"]}
    assert found["faulty"]["failed"] == item.failed.what
    assert [each for each in found if found[each]["failed"]] == ["faulty"]
    # What it has measured and estimated stands all the same.
    assert bool(found["faulty"]["estimates"]) is (name not in ("measure", "summarise"))
    assert (tmp_path / "out" / "tables" / "faulty.csv").exists() is (name != "measure")
    page = place.read_text(encoding="utf-8")
    assert '<a href="#faulty">Faulty analysis</a> failed.' in page
    assert page.count("<strong>Failed.</strong>") == 1
    assert not (tmp_path / "RI-T[0]").exists()


def test_what_needs_one_that_failed_is_missing_too(
    study: Study, fault: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = """
from faulty_module import Faulty
class Second(Faulty):
    name, title = "second", "Second"
    def needs(self, study):
        return (*super().needs(study), Faulty())
"""
    place = install(tmp_path / "other", "others", {"second": "second_module:Second"}, second_module=source)
    on_path(place, monkeypatch, "second_module")
    fault.write_text("units")
    both = [{"outcome": {"n_bootstrap": 100}}, "second"]
    study = Study.model_validate({**study.model_dump(mode="json"), "analyses": both})
    items = by_name(run_study(study, tmp_path / "store", quiet=True))
    assert {name for name, item in items.items() if item.failed} == {"faulty", "second"}
    failed = items["second"].failed
    assert failed is not None
    assert "needs faulty, which failed" in failed.what


@pytest.mark.parametrize("name", ["units", "images", "needs"])
def test_a_plan_names_the_analysis_that_cannot_be_planned(study: Study, fault: Path, tmp_path: Path, name: str) -> None:
    fault.write_text(name)
    with pytest.raises(AnalysisError, match=rf"'faulty'[\s\S]*no {name} today"):
        plan_study(study, tmp_path / "store")


def test_what_is_nobodys_fault_stops_the_run(study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any, **options: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("transferscope.context.context.Context.storing", full)
    with pytest.raises(StoreError, match="No space left"):
        run_study(study, tmp_path / "store", quiet=True)


def test_what_the_headline_needs_is_essential(study: Study, finished: FinishedStudy) -> None:
    bound = resolve(study, Store(finished.store))
    needed = with_needs(bound, [analysis for analysis in asked_of(bound) if isinstance(analysis, Outcome)])
    assert {type(analysis) for analysis in needed} == set(ESSENTIAL)


def test_without_the_headline_there_is_no_report(study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any) -> Any:
        raise AnalysisError("no headline")

    monkeypatch.setattr("transferscope.analyses.outcome.analysis.Outcome.summarise", broken)
    with pytest.raises(AnalysisError, match="no headline"):
        run_study(study, tmp_path / "store", quiet=True)
