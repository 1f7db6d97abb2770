"""What is done with a study: run, demo, report, plan, status."""

import re
import shlex
from pathlib import Path

import polars as pl
import pytest

import transferscope.running.plan as plan_module
from tests.commands.calling import STUDY, Calls, call, results_of
from transferscope.commands import printing, studies
from transferscope.running.plan import Plan, PlanRound, Status, StepTime
from transferscope.running.results import Results
from transferscope.running.tracking import Tracking
from transferscope.study.file import load_study

# -- run, demo, report ------------------------------------------------------------------------------------


def test_run_prints_the_result_and_where_the_report_is(calls: Calls, here: Path) -> None:
    out, _ = call("run", "study.yaml", "--set", "seeds=[4, 5]", "--store", "s", "--quiet")
    assert calls.studies[0].seeds == (4, 5)
    (options,) = calls.options
    assert callable(options.pop("on_results"))
    assert isinstance(options.pop("tracking"), Tracking)
    assert calls.options == [
        {
            "store": Path("s"),
            "quiet": True,
            "command": "transferscope run study.yaml --set 'seeds=[4, 5]' --store s --quiet",
        }
    ]
    report = here / "s" / "reports" / "cells" / "report.html"
    assert f"report: {report}" in out
    assert report.exists()
    assert load_study(report.parent / "study.yaml") == calls.studies[0]
    for words in (
        "P-T",
        "91.2\u00a0%",
        "90.0 to 92.0\u00a0%",
        "range, 2 seeds",
        "Fine-tuning beats training from scratch: 91.2\u00a0% against 80.0\u00a0% accuracy",
        "Ship P-T at rate 0.01.",
        "still improving",
        "They err alike [0.1, 0.2].",
        "not applicable: heads differ",
        "Pre-training helps.",
    ):
        assert words in out
    assert "validation" not in out  # the headline is of test data


def test_headline_without_test_rows_shows_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    results = results_of(load_study("study.yaml"))
    shown = Results(**{**vars(results), "headline": results.headline.filter(pl.col("split") != "test")})
    printing.results_summary(shown)
    assert "validation" in capsys.readouterr().out


def test_the_store_comes_from_the_environment(calls: Calls, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSFERSCOPE_STORE", str(here / "from-env"))
    call("run", "study.yaml")
    assert calls.options[0]["store"] == here / "from-env"
    call("run", "study.yaml", "--store", str(here / "from-option"))
    assert calls.options[1]["store"] == here / "from-option"


def test_demo_runs_the_packaged_study(calls: Calls, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "package" / "studies").mkdir(parents=True)
    (here / "package" / "studies" / "demo.yaml").write_text(STUDY.replace("cells", "demo"), encoding="utf-8")
    monkeypatch.setattr(studies, "files", lambda name: {"transferscope": here / "package"}[name])
    out, _ = call("demo", "--set", "training.recipe.epochs=2", "--quiet")
    assert calls.studies[0].training.recipe.epochs == 2
    assert calls.options[0]["command"] == "transferscope demo --set training.recipe.epochs=2 --quiet"
    assert "transferscope-runs/reports/demo/report.html" in out.replace("\n", "")


def test_the_demo_begins_with_a_look_where_there_is_no_report_yet(
    calls: Calls, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "package" / "studies").mkdir(parents=True)
    (here / "package" / "studies" / "demo.yaml").write_text(STUDY.replace("cells", "demo"), encoding="utf-8")
    monkeypatch.setattr(studies, "files", lambda name: {"transferscope": here / "package"}[name])
    looked: list[str] = []
    monkeypatch.setattr(studies, "brief", lambda study, store, quiet: looked.append(f"{study.name} {store}"))
    call("demo")
    assert looked == ["demo transferscope-runs"]
    call("demo")
    assert len(looked) == 1


def test_where_the_page_of_a_running_study_is_is_said_once(calls: Calls, here: Path) -> None:
    out, _ = call("run", "study.yaml", "--set", "name=told")
    page = here / "transferscope-runs" / "reports" / "told" / "report.html"
    assert out.count(f"report, written anew as the run goes on: {page}") == 1
    assert out.count(f"report: {page}") == 1
    assert len(calls.written) == 3
    assert calls.written[0].manifest["run"] == "transferscope run study.yaml --set name=told"
    out, _ = call("run", "study.yaml", "--set", "name=told", "--quiet")
    assert "goes on" not in out


def test_report_of_a_finished_study(calls: Calls, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_module, "study_status", lambda study, store: Status(8, 0, 5, 0, 10))
    out, _ = call("report", "study.yaml", "--output", "there")
    assert calls.folders == [Path("there")]
    assert calls.options[0]["quiet"] is True
    assert f"report: {here / 'there' / 'report.html'}" in out
    call("report", "study.yaml")
    assert calls.folders[1] == Path("transferscope-runs/reports/cells")


def test_report_of_an_unfinished_study_computes_nothing(calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_module, "study_status", lambda study, store: Status(3, 5, 0, 7, 10))
    _, err = call("report", "study.yaml", code=1)
    assert "the study 'cells' is not finished" in err
    assert "5 trainings and 7 measurements to do" in err
    assert "transferscope run study.yaml" in err
    assert calls.studies == []


# -- plan and status ----------------------------------------------------------------------------------------


def planned(**changes: object) -> Plan:
    values = {
        "rounds": (
            PlanRound(("learning_rate",), 8, 2, 8, 0, 120_000, True),
            PlanRound(("mistakes", "path"), 6, 0, 3, 1, 45_678, False),
        ),
        "networks": ("P-T[0] at 0.01", "RI-T[0] at 0.1"),
        "seconds": (480.0, 960.0),
        "step": StepTime(0.15, 0.156, 0.3, 5, "now"),
        "disk_bytes": 123_456_789,
    }
    return Plan(**{**values, **changes})  # type: ignore[arg-type]  # the fields of Plan, some changed


def test_plan_says_what_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_module, "plan_study", lambda study, store: planned())
    out, _ = call("plan", "study.yaml")
    rows = [line.split() for line in out.splitlines()]
    assert ["1", "learning_rate", "8", "2", "8", "0", "120,000", "exact"] in rows
    assert ["2", "mistakes,", "path", "6", "0", "3", "1", "45,678", "at", "most"] in rows
    for words in (
        "  P-T[0] at 0.01",
        "trainings to do:    at most 12",
        "images to pass:     about 165,678",
        "estimated time:     8 min to 16 min (a training step: 0.156 s, 0.15 to 0.3, measured just now)",
        "disk, at most:      123.5 MB",
        "start it with:      transferscope run study.yaml",
    ):
        assert words in out


def test_plan_without_anything_to_train(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = planned(networks=(), seconds=None, step=None)
    monkeypatch.setattr(plan_module, "plan_study", lambda study, store: nothing)
    out, _ = call("plan", "study.yaml")
    assert "networks to train" not in out
    assert re.search(r"estimated time: +unknown$", out, re.MULTILINE)


def test_status_of_a_study_and_of_the_store(calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    out, _ = call("status")
    assert "no study was run in transferscope-runs yet" in out
    call("run", "study.yaml")
    call("run", "study.yaml", "--set", "name=other")
    states = {"cells": Status(8, 0, 5, 0, 2_000_000), "other": Status(3, 5, 0, 7, 2_000_000)}
    monkeypatch.setattr(plan_module, "study_status", lambda study, store: states[study.name])
    out, _ = call("status")
    rows = [line.split()[:6] for line in out.splitlines()]
    assert ["cells", "finished", "8", "0", "5", "0"] in rows
    assert out.count("2.0 MB") == 1, "the store is one for all studies"
    assert ["other", "not", "finished", "3", "5", "0"] in rows
    out, _ = call("status", "study.yaml", "--set", "name=other")
    assert "other" in out
    assert "cells" not in out.replace("reports/cells", "")
    Path("transferscope-runs/reports/other/study.yaml").write_text("of: old\n", encoding="utf-8")
    out, _ = call("status")
    assert "is not a study of this version" in " ".join(out.split())
    assert "finished" in out
    _, err = call("status", "--set", "name=x", code=2)
    assert "--set changes a study, and none is given" in err


@pytest.mark.kind("C5")
@pytest.mark.parametrize(
    "overrides",
    [
        ["seeds=[0, 1]"],
        ["seeds=[0]", "target.image_size=32"],
        ["name=it's"],
        ["analyses=[outcome, {path: {points_outside: 0}}]"],
        ["training.recipe.epochs=3", "training.learning_rates=[0.01,  0.03]"],
    ],
)
def test_printed_commands_can_be_pasted(
    calls: Calls, monkeypatch: pytest.MonkeyPatch, overrides: list[str], tmp_path: Path
) -> None:
    """What a command prints repeats the overrides and the store of the call, quoted for a shell."""
    words = [word for text in overrides for word in ("--set", text)]
    (Path.cwd() / "my study.yaml").write_text(STUDY)
    monkeypatch.setattr(plan_module, "plan_study", lambda study, store: Plan((), (), (60.0, 70.0), None, 1))
    monkeypatch.setattr(plan_module, "study_status", lambda study, store: Status(0, 5, 0, 7, 1))
    store = str(tmp_path / "a store")
    code = 2 if overrides == ["name=it's"] else 0
    out, _ = call("plan", "my study.yaml", *words, "--store", store, code=code)
    if code:
        return
    (line,) = [line for line in out.splitlines() if "transferscope run" in line]
    assert shlex.split(line.partition(": ")[2]) == [
        "transferscope", "run", "my study.yaml", *words, "--store", store
    ]  # fmt: skip
    _, err = call("report", "my study.yaml", *words, code=1)
    (line,) = [line for line in err.splitlines() if "transferscope run" in line]
    assert shlex.split(line.partition("do:")[2]) == ["transferscope", "run", "my study.yaml", *words]


@pytest.mark.kind("C2")
@pytest.mark.parametrize(
    "change",
    ["seeds=[0]", "target.image_size=32", "training.recipe.epochs=3", "analyses=[outcome]", "source.weights=timm"],
)
def test_another_study_of_the_same_name_keeps_its_report(calls: Calls, change: str) -> None:
    first, _ = call("run", "study.yaml")
    second, _ = call("run", "study.yaml", "--set", change)
    third, _ = call("run", "study.yaml", "--set", "compute.workers=1")
    assert calls.folders[0] == calls.folders[2] != calls.folders[1]
    assert calls.folders[1].name.startswith("cells-")
    assert change.partition(".")[0].partition("=")[0] in second
    assert "holds another study of this name" in second
    assert "another study" not in first + third
    call("run", "study.yaml", "--set", change)
    assert calls.folders[3] == calls.folders[1]


def test_a_plan_says_each_note_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_module, "plan_study", lambda study, store: planned(notes=("two pictures are equal",)))
    out, _ = call("plan", "study.yaml")
    assert out.count("two pictures are equal") == 1
    assert "note: two pictures are equal" in out


@pytest.mark.kind("C5")
def test_next_steps_without_a_study_name_those_of_the_store(calls: Calls) -> None:
    out, _ = call("status", "--store", "new")
    assert "transferscope demo --store new" in out
    call("run", "study.yaml", "--store", "my store")
    _, err = call("status", "--set", "seeds=[1]", "--store", "my store", code=2)
    assert "transferscope status 'my store/reports/cells/study.yaml' --set 'seeds=[1]' --store 'my store'" in err
    assert "STUDY" not in out + err
