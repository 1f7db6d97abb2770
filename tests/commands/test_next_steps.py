"""What a finished study tells its reader to do: whole commands, as the study was called, that can be pasted."""

import html
import re
import shlex
from pathlib import Path

import pytest
import typer
import yaml

import transferscope.running.plan as plan_module
from tests.commands.calling import Calls, call
from tests.running import tiny
from transferscope.cli import app
from transferscope.running.plan import Status
from transferscope.study.file import load_study
from transferscope.study.settings import Study


def parsed(command: str) -> tuple[str, dict[str, object]]:
    """The name and the parameters of a command, by the parser of the command line itself; nothing is run."""
    program, *words = shlex.split(command)
    assert program == "transferscope"
    group = typer.main.get_command(app)
    context = group.make_context(program, list(words))
    name, found, rest = group.resolve_command(context, [*context._protected_args, *context.args])  # type: ignore[attr-defined]  # a group
    return str(name), dict(found.make_context(name, rest, parent=context).params)


def study_of(parameters: dict[str, object]) -> Study:
    return load_study(parameters["study"], parameters["overrides"], allow_code=parameters["allow_code"])  # type: ignore[arg-type]  # as typer gives them


@pytest.fixture
def finished(here: Path) -> tuple[Study, str, Path]:
    """A small study, run with overrides from a file and into a store whose names need quotes."""
    settings = tiny.settings(here / "my data", {"analyses": ["outcome"], "training": {"learning_rates": [0.05]}})
    (here / "my study.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    words = ("my study.yaml", "--set", "seeds=[4]", "--set", "training.recipe.epochs=3", "--store", "my store")
    out, _ = call("run", *words, "--allow-code", "--quiet")
    study = load_study("my study.yaml", ["seeds=[4]", "training.recipe.epochs=3"], allow_code=True)
    return study, out, here / "my store" / "reports" / study.name


def test_every_next_step_is_a_whole_command(finished: tuple[Study, str, Path]) -> None:
    study, out, folder = finished
    page = (folder / "report.html").read_text(encoding="utf-8")
    shown = [html.unescape(code) for code in re.findall(r"<code>(.*?)</code>", page)]
    commands = dict.fromkeys(code for code in shown if code.startswith("transferscope "))
    asked = {}
    for command in commands:
        name, parameters = parsed(command)
        assert parameters["store"] == Path("my store")
        if name == "run":
            new = study_of(parameters)
            changes = {key: value for key, value in new.model_dump().items() if value != study.model_dump()[key]}
            asked[next(iter(changes))] = new
            assert len(changes) == 1, command
    # Rates to choose from, seeds, an analysis more, RI-T for longer: all that this study leaves open.
    assert set(asked) == {"training", "seeds", "analyses"}
    assert set(asked["seeds"].seeds) > set(study.seeds)
    assert asked["seeds"].training.recipe.epochs == 3
    # In a terminal too, whole and on one line; no setting stands anywhere without its command.
    for command in commands:
        assert command in out
    for text in (out, *shown):
        for line in text.splitlines():
            assert "--set" not in line.partition("transferscope ")[0]
    assert "--set" not in re.sub(r"<code>transferscope .*?</code>", "", page.partition("<section")[0])


def test_the_report_written_again_and_the_demo_name_themselves(calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_module, "study_status", lambda study, store: Status(8, 0, 5, 0, 10))
    call("report", "study.yaml", "--set", "seeds=[4, 5]", "--store", "my store", "--output", "there")
    name, parameters = parsed(calls.written[0].manifest["run"])
    assert (name, parameters["store"]) == ("run", Path("my store"))
    assert study_of(parameters) == calls.studies[0]
    call("demo", "--set", "seeds=[4, 5]", "--store", "my store", "--quiet")
    name, parameters = parsed(calls.written[1].manifest["run"])
    assert (name, parameters["store"], parameters["overrides"]) == ("demo", Path("my store"), ["seeds=[4, 5]"])


def test_code_that_may_not_run_here_may_with_the_command_named(here: Path) -> None:
    (here / "own.yaml").write_text(yaml.safe_dump(tiny.settings(here / "data")), encoding="utf-8")
    _, err = call("report", "own.yaml", "--set", "seeds=[4]", "--store", "my store", code=2)
    (command,) = re.findall(r"do: +(transferscope .*?) finds what is finished", err)
    name, parameters = parsed(command)
    assert (name, parameters["store"], parameters["allow_code"]) == ("run", Path("my store"), True)
    assert study_of(parameters).seeds == (4,)


def test_a_network_that_is_not_trained_is_by_the_command_named(here: Path) -> None:
    settings = tiny.settings(here / "data", {"analyses": ["outcome"]})
    (here / "own.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    words = ("own.yaml", "--set", "seeds=[4]", "--store", "my store", "--allow-code")
    _, err = call("export", *words, code=1)
    (command,) = re.findall(r"do: +(transferscope .*?) trains it", err)
    name, parameters = parsed(command)
    assert (name, parameters["store"], parameters["allow_code"]) == ("run", Path("my store"), True)
    assert study_of(parameters).seeds == (4,)
