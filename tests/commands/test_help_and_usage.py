"""The command itself: help, completion, entry points, its page."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from tests.commands.calling import RUNNER, call
from transferscope.cli import app, main
from transferscope.commands import printing

# -- help, usage, completion ------------------------------------------------------------------------------


COMMANDS = ("look", "advise", "demo", "init", "plan", "run", "status", "report", "list", "schema", "compare")


def test_help_names_every_command_and_the_exit_codes() -> None:
    out, _ = call("--help")
    for name in COMMANDS:
        assert name in out
    assert "Exit codes: 0 done, 1 failed or stopped, 2 wrong usage" in out


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_each_command_teaches_by_example(name: str) -> None:
    out, _ = call(name, "--help")
    assert re.search(rf"Examples?(, in a clone of the project)?:\s*\n\s+(pip install.*\n\s+)?transferscope {name}", out)


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
    page = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
    command = typer.main.get_command(app)
    for name, inner in command.commands.items():  # type: ignore[attr-defined]  # it is a group
        assert f"\n## {name}\n" in page
        section = page.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
        assert f"transferscope {name}" in section
        for option in inner.params:
            for word in option.opts:
                if word.startswith("--") and word != "--help":
                    assert f"{word}" in section, f"{name} {word}"
