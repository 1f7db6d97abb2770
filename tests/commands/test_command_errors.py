"""How commands end: exit codes, errors, Ctrl-C."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

import transferscope.running.plan as plan_module
import transferscope.running.run as run_module
from tests.commands.calling import STUDY, call
from transferscope import errors, streams
from transferscope.commands.printing import table

CODES = [
    (errors.StudyError("x"), 2),
    (errors.ArchitectureError("x"), 2),
    (errors.WeightsError("x"), 2),
    (errors.ModuleNameError("x"), 2),
    (errors.OptionError("x"), 2),
    (errors.DataError("x"), 2),
    (errors.LoaderError("x"), 2),
    (errors.MeasureError("x"), 1),
    (errors.ActivationError("x"), 1),
    (errors.AlignmentError("x"), 1),
    (errors.StoreError("x"), 1),
    (errors.CorruptEntryError("x"), 1),
    (errors.MissingEntryError("gone"), 1),
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


@pytest.mark.kind("S7")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_real_signals(here: Path, number: int) -> None:
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
        [sys.executable, "-c", program], cwd=here, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert err == "stopped; what was finished is kept; go on with: transferscope run study.yaml\n"


@pytest.mark.kind("S7")
def test_a_hang_up_that_is_ignored_stays_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `nohup` asks for."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN), signal.getsignal(signal.SIGTERM)
    try:
        streams.stop_signals()
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        assert signal.getsignal(signal.SIGTERM) == signal.default_int_handler
    finally:
        signal.signal(signal.SIGHUP, before[0])
        signal.signal(signal.SIGTERM, before[1])


def test_a_folder_that_is_gone_is_said(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    script = f"cd {tmp_path}/gone; rmdir {tmp_path}/gone; exec {sys.executable} -m transferscope compare a b"
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "error: the current folder has been deleted", "  do:       cd to one that exists",
    ]  # fmt: skip


def test_a_terminal_of_no_width_shows_errors_and_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "0")
    command = [sys.executable, "-m", "transferscope", "nothing"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "nothing" in done.stderr


def test_numbers_of_a_table_are_whole_on_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    table("", ["name", "#value", "#other"], [["a long name of a network", "0.123456789", "70.1 to 75.9"]])
    assert "0.123456789   70.1 to 75.9" in capsys.readouterr().out
