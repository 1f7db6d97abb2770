"""The command line: what it says, what it calls, how it ends."""

import contextlib
import json
import re
import runpy
import signal
import subprocess
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

import transferscope.report.render as render_module
import transferscope.running.compare_files as compare_module
import transferscope.running.plan as plan_module
import transferscope.running.run as run_module
from transferscope import errors
from transferscope.analyses.contract import Number, Summary
from transferscope.analyses.registry import ANALYSES, parse_analysis
from transferscope.cli import app, main
from transferscope.commands import printing, studies
from transferscope.data.sources import Arrays, known_sources
from transferscope.running.plan import Plan, PlanRound, Status
from transferscope.running.results import AnalysisResult, Results
from transferscope.study import Study
from transferscope.study_file import load_study

RUNNER = CliRunner()
STUDY = """\
name: cells
source: {architecture: timm:resnet18, weights: "package:efficientnet-lite0"}
target: {data: {kind: elpv}}
analyses: [mistakes, path]
"""


@dataclass
class Calls:
    """What the command asked of the runner."""

    studies: list[Study]
    options: list[dict[str, object]]
    folders: list[Path]


def results_of(study: Study) -> Results:
    headline = pl.DataFrame(
        {
            "variant": ["RI_T", "P_T", "P_T"],
            "split": ["test", "test", "validation"],
            "metric": ["top1"] * 3,
            "value": [0.8, 0.91234, 0.5],
            "low": [0.75, 0.9, None],
            "high": [0.85, 0.92, None],
            "basis": ["seeds", "range", None],
            "n": [3, 2, None],
            "learning_rate": [0.1, 0.01, None],
            "epochs": [10, 10, None],
            "note": ["", "still improving", ""],
        }
    )
    return Results(
        study=study,
        headline=headline,
        gap=(Number("P-T − RI-T", 0.1, 0.05, 0.15, "seeds", 3), Number("undefined", None, n=1)),
        verdict="Pre-training helps.",
        analyses=(
            AnalysisResult(parse_analysis("mistakes"), None, {}, Summary("They err alike [0.1, 0.2]."), None),
            AnalysisResult(parse_analysis("path"), None, {}, None, "heads differ"),
        ),
        manifest={},
    )


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    seen = Calls([], [], [])

    def run_study(study: Study, store_root: Path, **options: object) -> Results:
        seen.studies.append(study)
        seen.options.append({"store": store_root, **options})
        return results_of(study)

    def write_report(results: Results, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        seen.folders.append(folder)
        (folder / "report.html").write_text("<html>", encoding="utf-8")
        return folder / "report.html"

    monkeypatch.setattr(run_module, "run_study", run_study)
    monkeypatch.setattr(render_module, "write_report", write_report)
    return seen


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TRANSFERSCOPE_STORE", raising=False)
    monkeypatch.delenv("COLUMNS", raising=False)
    (tmp_path / "study.yaml").write_text(STUDY, encoding="utf-8")
    paths = list(sys.path)
    yield tmp_path
    sys.path[:] = paths


def call(*arguments: str, code: int = 0) -> tuple[str, str]:
    result = RUNNER.invoke(app, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.stdout, result.stderr


def pictures(folder: Path, classes: dict[str, int], size: tuple[int, int] = (40, 50)) -> Path:
    for name, count in classes.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            Image.new("RGB", size, (number, 0, 0)).save(folder / name / f"{number}.png")
    return folder


# -- help, usage, completion ------------------------------------------------------------------------------

COMMANDS = ("demo", "init", "plan", "run", "status", "report", "list", "schema", "compare")


def test_help_names_every_command_and_the_exit_codes() -> None:
    out, _ = call("--help")
    for name in COMMANDS:
        assert name in out
    assert "Exit codes: 0 done, 1 failed or stopped, 2 wrong usage" in out


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_each_command_teaches_by_example(name: str) -> None:
    out, _ = call(name, "--help")
    assert re.search(rf"Examples?:\s*\n\s+(pip install.*\n\s+)?transferscope {name}", out)


@pytest.mark.parametrize("name", ["run", "plan", "report"])
def test_a_study_is_needed(name: str) -> None:
    _, err = call(name, code=2)
    assert "Missing argument" in err


@pytest.mark.parametrize("arguments", [["runn"], ["run", "study.yaml", "--sett", "a=1"], ["list", "analysis"]])
def test_wrong_usage_is_2(arguments: list[str]) -> None:
    call(*arguments, code=2)


def test_no_arguments_show_the_help() -> None:
    result = RUNNER.invoke(app, [])
    assert "Commands" in result.output


def test_version() -> None:
    out, _ = call("--version")
    assert re.match(r"transferscope \d", out)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script_is_generated(shell: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "transferscope", "--show-completion", shell],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "_TRANSFERSCOPE_COMPLETE" in done.stdout


def test_completion_offers_commands() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "transferscope"],
        capture_output=True,
        text=True,
        check=False,
        env={
            "PATH": "/usr/bin:/bin",
            "_TRANSFERSCOPE_COMPLETE": "complete_bash",
            "COMP_WORDS": "transferscope s",
            "COMP_CWORD": "1",
        },
        timeout=60,
    )
    assert {"status", "schema"} <= set(done.stdout.split())


# -- run, demo, report ------------------------------------------------------------------------------------


def test_run_prints_the_result_and_where_the_report_is(calls: Calls, here: Path) -> None:
    out, _ = call("run", "study.yaml", "--set", "seeds=[4, 5]", "--store", "s", "--quiet")
    assert calls.studies[0].seeds == (4, 5)
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
        "0.9123",
        "0.9000 … 0.9200 (range)",
        "2 seeds",
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
        "seconds": 480.0,
        "step_seconds": 0.156,
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
        "images to pass:     at most 165,678",
        "estimated time:     8 min (a training step takes 0.156 s here)",
        "disk, at most:      123.5 MB",
        "start it with:      transferscope run study.yaml",
    ):
        assert words in out


def test_plan_without_anything_to_train(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = planned(networks=(), seconds=None, step_seconds=None)
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
    rows = [line.split()[:8] for line in out.splitlines()]
    assert ["cells", "finished", "8", "0", "5", "0", "2.0", "MB"] in rows
    assert ["other", "not", "finished", "3", "5", "0", "7", "2.0"] in rows
    out, _ = call("status", "study.yaml", "--set", "name=other")
    assert "other" in out
    assert "cells" not in out.replace("reports/cells", "")
    Path("transferscope-runs/reports/other/study.yaml").write_text("of: old\n", encoding="utf-8")
    out, _ = call("status")
    assert "is not a study of this version" in " ".join(out.split())
    assert "finished" in out
    _, err = call("status", "--set", "name=x", code=2)
    assert "--set changes a study, and none is given" in err


# -- errors -------------------------------------------------------------------------------------------------

CODES = [
    (errors.StudyError("x"), 2),
    (errors.ArchitectureError("x"), 2),
    (errors.WeightsError("x"), 2),
    (errors.ModuleNameError("x"), 2),
    (errors.DataError("x"), 2),
    (errors.LoaderError("x"), 2),
    (errors.MeasureError("x"), 1),
    (errors.ActivationError("x"), 1),
    (errors.AlignmentError("x"), 1),
    (errors.StoreError("x"), 1),
    (errors.CorruptEntryError("x"), 1),
    (errors.StoreBusyError("x"), 1),
    (errors.AnalysisError("x"), 1),
    (errors.StopRequested("x"), 1),
    (errors.WorkerError("x"), 1),
    (errors.MissingExtraError("package", "demo"), 1),
    (errors.TransferscopeError("x"), 1),
    (OSError(28, "No space left on device"), 1),
    (KeyboardInterrupt(), 1),
]


def failing(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(run_module, "run_study", fail)
    monkeypatch.setattr(plan_module, "plan_study", fail)


@pytest.mark.parametrize(("error", "code"), CODES, ids=lambda value: type(value).__name__)
def test_exit_codes(error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(error, monkeypatch)
    out, err = call("run", "study.yaml", code=code)
    assert "Traceback" not in err
    assert out == ""
    stopped = isinstance(error, (KeyboardInterrupt, errors.StopRequested))
    assert err.startswith("stopped" if stopped else "error: ")


def test_every_error_of_the_package_has_an_exit_code() -> None:
    told = {type(error) for error, _ in CODES}
    for name in errors.__all__:
        kind = getattr(errors, name)
        assert not isinstance(kind, type) or kind in told, name


@pytest.mark.parametrize("arguments", [["--debug", "run", "study.yaml"], ["run", "study.yaml", "--debug"]])
def test_debug_shows_the_traceback(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    failing(errors.StoreError("the disk is full", hint="make room"), monkeypatch)
    _, err = call(*arguments, code=1)
    assert "Traceback" in err
    assert "error: the disk is full\n  do:       make room\n" in err


def test_debug_after_two_dashes_is_a_name() -> None:
    _, err = call("run", "--", "--debug", code=2)
    assert "no study file --debug" in err


def test_other_errors_are_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    failing(ZeroDivisionError("a bug"), monkeypatch)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        call("run", "study.yaml")


def test_closed_pipe_is_left_to_the_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    failing(BrokenPipeError(32, "Broken pipe"), monkeypatch)
    _, err = call("run", "study.yaml", code=1)
    assert "error" not in err


@pytest.mark.parametrize("error", [KeyboardInterrupt(), errors.StopRequested("stopped at epoch 3")])
def test_stopping_says_how_to_go_on(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(error, monkeypatch)
    _, err = call("run", "study.yaml", "--set", "seeds=[1, 2]", "--debug", code=1)
    assert err.endswith(
        "stopped; what was finished is kept; go on with: transferscope run study.yaml --set 'seeds=[1, 2]'\n"
    )
    _, err = call("plan", "study.yaml", code=1)
    assert "go on with" not in err
    assert err.startswith("stopped")


def test_invalid_study_lists_all_problems(here: Path) -> None:
    (here / "bad.yaml").write_text(STUDY.replace("kind: elpv", "kind: elvp") + "sedes: [1]\n", encoding="utf-8")
    _, err = call("plan", "bad.yaml", "--set", "target.image_size=4", code=2)
    assert "line 3, target.data.kind: there is no kind 'elvp'; did you mean 'elpv'?" in err
    assert "line 5, sedes: there is no such setting; did you mean 'seeds'?" in err
    assert "--set target.image_size=4, target.image_size: expected a number of at least 8" in err


def test_real_interrupt(here: Path) -> None:
    program = """
import sys, time, types
import transferscope.commands.studies as studies
def wait(*arguments, **options):
    print("ready", flush=True)
    time.sleep(60)
studies._run = wait
sys.argv = ["transferscope", "run", "study.yaml"]
from transferscope.cli import main
main()
"""
    with subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=here,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert err == "stopped; what was finished is kept; go on with: transferscope run study.yaml\n"


def test_code_in_the_current_folder_is_found_but_hides_nothing(
    calls: Calls, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", ["/somewhere"])
    with contextlib.suppress(ImportError):
        call("status")
    assert sys.path == ["/somewhere", str(here)]


# -- list and schema ----------------------------------------------------------------------------------------


def test_list_for_people() -> None:
    out, _ = call("list")
    for name in (*ANALYSES, *known_sources()):
        assert name in out
    assert "Do networks from the same pre-trained start make the same mistakes?" in out
    out, _ = call("list", "architectures")
    assert {"timm:resnet18", "torchvision:resnet18"} <= set(out.split())


def test_list_for_programs() -> None:
    out, _ = call("list", "--json")
    found = json.loads(out)
    assert [item["name"] for item in found["analyses"]] == list(ANALYSES)
    assert [item["kind"] for item in found["sources"]] == list(known_sources())
    mistakes = next(item for item in found["analyses"] if item["name"] == "mistakes")
    assert {"title", "question", "columns", "settings", "reference", "version"} <= set(mistakes)
    assert all({"name", "type", "unit", "meaning"} <= set(column) for column in mistakes["columns"])
    assert json.loads(call("list", "architectures", "--json")[0])["architectures"][0]["name"]


def test_schema() -> None:
    out, _ = call("schema")
    assert json.loads(out)["properties"]["target"]
    out, _ = call("schema", "--markdown")
    assert out.startswith("# The study file\n")


# -- compare --------------------------------------------------------------------------------------------------


def test_compare_hands_over_what_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []

    def compare_files(a: Path, b: Path, **options: object) -> object:
        seen.append((a, b, options))
        return types.SimpleNamespace(text="they are alike")

    monkeypatch.setattr(compare_module, "compare_files", compare_files)
    out, _ = call("compare", "a.pt", "b.pt", "--model", "timm:resnet18", "--data", "photos")
    assert out == "they are alike\n"
    call("compare", "a.pt", "b.pt", "--data", "photos", "--image-size", "32")
    assert seen == [
        (Path("a.pt"), Path("b.pt"), {"model": "timm:resnet18", "data": Path("photos"), "image_size": None}),
        (Path("a.pt"), Path("b.pt"), {"model": None, "data": Path("photos"), "image_size": 32}),
    ]
    _, err = call("compare", "a.pt", "b.pt", code=2)
    assert "--data" in err


# -- init -----------------------------------------------------------------------------------------------------


def test_init_looks_at_class_folders(here: Path) -> None:
    pictures(here / "my photos: 1", {"cat": 4, "a dog #2": 3}, size=(130, 100))
    out, _ = call("init", "my photos: 1")
    assert "found 7 pictures of 2 classes" in out
    text = (here / "my-photos-1.yaml").read_text(encoding="utf-8")
    assert "# Found: 7 pictures, 2 classes: a dog #2, cat." in text
    assert "100 to 100 pixels high, 130 to 130 wide" in text
    study = load_study(here / "my-photos-1.yaml")
    assert study.name == "my-photos-1"
    assert study.target.data.model_dump()["path"] == str(here / "my photos: 1")
    assert len(study.target.data.listing().names) == 7
    assert study.target.image_size == 96
    assert study.source.architecture.name == "timm:resnet18.a1_in1k"
    assert study.source.weights is not None
    assert study.source.weights.kind == "timm"
    for name in (analysis.name for analysis in study.analyses):
        assert re.search(rf"- {name} +# .*\?", text)


def test_init_defaults_are_those_of_a_study(here: Path) -> None:
    pictures(here / "photos", {"a": 1, "b": 1})
    call("init", "photos")
    written = load_study(here / "photos.yaml")
    bare = Study.model_validate(
        {
            "name": "photos",
            "source": {"architecture": "timm:resnet18.a1_in1k", "weights": "timm"},
            "target": {"data": written.target.data, "image_size": written.target.image_size},
        }
    )
    assert written == bare


def test_init_tells_of_splits_and_unreadable_pictures(here: Path) -> None:
    pictures(here / "photos" / "train", {f"class{n}": 2 for n in range(10)})
    pictures(here / "photos" / "test", {"class0": 1})
    (here / "photos" / "train" / "class0" / "bad.png").write_bytes(b"no picture")
    (here / "photos" / "readme.txt").write_text("x")
    call("init", "photos", "--name", "mine", "--output", "deep/er/x.yaml")
    text = (here / "deep" / "er" / "x.yaml").read_text(encoding="utf-8")
    assert "class7 and 2 more." in text
    assert "20 train" in text or "21 train" in text
    assert "bad.png" in text
    study = load_study(here / "deep" / "er" / "x.yaml")
    assert study.name == "mine"
    assert len(study.target.data.listing().names) == 22


def test_init_looks_at_parquet_and_arrays(here: Path) -> None:
    import io

    buffer = io.BytesIO()
    Image.new("L", (16, 16)).save(buffer, "PNG")
    (here / "table").mkdir()
    table = pl.DataFrame({"image": [{"bytes": buffer.getvalue(), "path": None}] * 4, "label": [0, 1, 0, 1]})
    table.write_parquet(here / "table" / "train-00000-of-00001.parquet")
    images = np.zeros((4, 8, 8, 3), np.uint8)
    labels = np.array([[0, 1], [1, 0], [1, 1], [0, 1]])
    Arrays.save(here / "arrays", images, labels)
    np.savez(here / "packed.npz", images=images, labels=np.array([0, 1, 1, 0]))
    (here / "folder").mkdir()
    np.savez(here / "folder" / "packed.npz", images=images, labels=np.array([0, 1, 1, 0]))
    for place, kind in (
        ("table", "parquet"),
        ("table/train-00000-of-00001.parquet", "parquet"),
        ("arrays", "arrays"),
        ("packed.npz", "arrays"),
        ("folder", "arrays"),
    ):
        call("init", place, "--force", "--output", "found.yaml")
        study = load_study(here / "found.yaml")
        assert study.target.data.kind == kind
        assert len(study.target.data.listing().names) == 4
    call("init", "arrays", "--output", "labels.yaml")
    assert "2 labels: 0, 1." in (here / "labels.yaml").read_text(encoding="utf-8")


def test_init_of_a_folder_elsewhere_names_it_in_full(here: Path) -> None:
    pictures(here / "photos", {"a": 1, "b": 1})
    (here / "studies").mkdir()
    call("init", "photos", "--output", "studies/photos.yaml")
    text = (here / "studies" / "photos.yaml").read_text(encoding="utf-8")
    assert str(here / "photos") in text
    assert load_study(here / "studies" / "photos.yaml").target.data.model_dump()["path"] == str(here / "photos")


def test_init_with_models(here: Path) -> None:
    call("init", "--model", "efficientnet-lite0")
    study = load_study(here / "efficientnet-lite0.yaml")
    assert study.source.architecture.name == "timm:tf_efficientnet_lite0"
    assert study.source.weights is not None
    assert study.source.weights.model_dump() == {"kind": "package", "name": "efficientnet-lite0"}
    assert study.target.data.kind == "elpv"
    call("init", "--model", "resnet50", "--name", "r")
    assert load_study(here / "r.yaml").source.architecture.name == "timm:resnet50"
    (here / "w").mkdir()
    (here / "w" / "mine.safetensors").write_bytes(b"")
    call("init", "--model", "w/mine.safetensors", "--architecture", "torchvision:resnet18")
    study = load_study(here / "mine.yaml")
    assert study.source.architecture.name == "torchvision:resnet18"
    assert study.source.weights is not None
    assert study.source.weights.model_dump() == {"kind": "file", "path": str(here / "w" / "mine.safetensors")}
    assert "weights: w/mine.safetensors" in (here / "mine.yaml").read_text(encoding="utf-8")
    call("init")
    assert load_study(here / "solar-cells.yaml").name == "solar-cells"


def test_init_refuses_to_overwrite(here: Path) -> None:
    _, err = call("init", "--output", "study.yaml", code=2)
    assert "study.yaml exists already" in err
    assert (here / "study.yaml").read_text(encoding="utf-8") == STUDY
    call("init", "--output", "study.yaml", "--force")
    assert (here / "study.yaml").read_text(encoding="utf-8") != STUDY


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "there is no folder nowhere"),
        (["notes.txt"], "notes.txt is not a file of labelled pictures"),
        (["empty"], "holds 0 class folders"),
        (["--name", "a b"], "'a b' cannot be the name of a study"),
        (["--model", "mine.safetensors"], "there is no file mine.safetensors"),
        (["--model", "here.pt"], "the architecture of here.pt is not known"),
        (["--model", "here.pt", "--architecture", "timm:resnet19"], "did you mean 'resnet18'"),
        (["--model", "resnet19"], "did you mean 'resnet18'"),
        (["--model", "torchvision:resnet18"], "there are no weights for 'torchvision:resnet18' yet"),
        (["--architecture", "torchvision:resnet18"], "there are no weights for 'torchvision:resnet18' yet"),
        (["--model", "resnet18", "--architecture", "timm:resnet18"], "--model names no file"),
        (["--model", "efficientnet-lite0", "--architecture", "timm:x"], "has its architecture"),
    ],
)
def test_init_with_bad_input(here: Path, arguments: list[str], message: str) -> None:
    (here / "empty").mkdir()
    (here / "here.pt").write_bytes(b"")
    (here / "notes.txt").write_text("x")
    before = sorted(here.iterdir())
    _, err = call("init", *arguments, code=2)
    assert message in err
    assert sorted(here.iterdir()) == before


# -- odds and ends --------------------------------------------------------------------------------------------


def test_main_and_dash_m(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["anything", "--version"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code in (0, None)
    with pytest.raises(SystemExit):
        runpy.run_module("transferscope", run_name="__main__")
    assert capsys.readouterr().out.count("transferscope ") == 2


def test_sizes_and_times() -> None:
    assert printing.bytes_words(2.5e9) == "2.5 GB"
    assert printing.bytes_words(1500) == "1.5 kB"
    assert printing.seconds_words(5399) == "90 min"


def test_completion_is_typers_own() -> None:
    assert typer.main.get_command(app).name == "transferscope"


def test_the_page_on_the_command_line_names_every_command_and_option() -> None:
    page = (Path(__file__).parents[1] / "docs" / "cli.md").read_text(encoding="utf-8")
    command = typer.main.get_command(app)
    for name, inner in command.commands.items():  # type: ignore[attr-defined]  # it is a group
        assert f"\n## {name}\n" in page
        section = page.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
        assert f"transferscope {name}" in section
        for option in inner.params:
            for word in option.opts:
                if word.startswith("--") and word != "--help":
                    assert f"{word}" in section, f"{name} {word}"
