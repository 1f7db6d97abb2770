"""``advise``: from a folder and two networks to a prescription with its proof, and to files that work by themselves."""

import contextlib
import io
import json
import os
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.commands.calling import RUNNER
from transferscope.cli import app
from transferscope.commands.advising import seconds_of
from transferscope.errors import OptionError
from transferscope.networks.weight_files import read_metadata
from transferscope.report.prescription import MOST

SETTINGS = (
    "target.image_size=32",
    "training.recipe.epochs=2",
    "training.recipe.batch_size=8",
    "training.recipe.memory_format=contiguous",
    "training.learning_rates=[0.05]",
    "seeds=[0, 1]",
    "compute.device=cpu",
    "compute.threads=1",
)


def pictures(folder: Path, count: int = 16) -> Path:
    generator = np.random.default_rng(0)
    for number, name in enumerate(('dark "café"', "light")):
        (folder / name).mkdir(parents=True)
        for k in range(count):
            pixels = generator.integers(0, 160, (40, 52, 3)) + 60 * number
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{k}.png")
    return folder


def weights(folder: Path, name: str = "test_resnet") -> Path:
    import timm
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    save_file(timm.create_model(name, num_classes=5).state_dict(), folder / f"{name}.safetensors")
    return folder / f"{name}.safetensors"


def words(folder: Path, *more: str, settings: tuple[str, ...] = SETTINGS) -> list[str]:
    given = [word for text in settings for word in ("--set", text)]
    names = ("test_resnet", "test_efficientnet")
    files = [word for name in names for word in ("--model", str(folder / f"{name}.safetensors"))]
    of_files = [word for name in names for word in ("--architecture", f"timm:{name}")]
    return ["advise", "photos", *files, *of_files, *given, *more]


@pytest.fixture(scope="module", autouse=True)
def nothing_follows() -> Iterator[None]:
    """Nothing more is asked of the recommended network, but in the slow test of all of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("transferscope.running.advice.FOLLOWING", ())
        yield


@pytest.fixture(scope="module")
def advised(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("advice")
    pictures(folder / "photos")
    weights(folder)
    weights(folder, "test_efficientnet")
    here = os.getcwd()
    os.chdir(folder)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "fsync", lambda descriptor: None)
            result = RUNNER.invoke(app, words(folder, "--budget", "30m", "--json"))
    finally:
        os.chdir(here)
    assert result.exit_code == 0, result.output
    (folder / "said.json").write_text(result.stdout)
    return folder


def said(folder: Path) -> dict:
    return json.loads((folder / "said.json").read_text())


def test_it_prescribes_in_at_most_ten_lines_with_promise_and_proof(advised: Path) -> None:
    found = said(advised)
    assert 4 <= len(found["prescription"]) <= MOST
    assert found["facts"]["stage"] == "proved"
    assert set(found["facts"]["candidates"]) == {"test_resnet", "test_efficientnet"}
    quantities = {number["quantity"] for number in found["estimates"]}
    assert {"expected_regret", "probability_best", "proved_regret"} <= quantities
    page = Path(found["report"]).read_text(encoding="utf-8")
    header = page.partition("</header>")[0]
    assert "Take test_" in header
    assert "Four networks" not in page


def run(folder: Path, script: str, *words: str) -> str:
    """What a script prints; in this process, which has its libraries loaded."""
    place, printed = str(folder / "photos-advice" / script), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setattr(sys, "argv", [place, *words])
        runpy.run_path(place, run_name="__main__")
    return printed.getvalue()


def test_the_script_predicts_what_the_study_evaluated(advised: Path) -> None:
    import torch

    from transferscope.context.context import Context
    from transferscope.context.resolve import resolve
    from transferscope.running.takeaway import recommended
    from transferscope.store import Store
    from transferscope.study.file import load_study

    store = Store(advised / "transferscope-runs")
    study = load_study(store.root / "reports" / "photos" / "study.yaml")
    context = Context(store, resolve(study, store))
    spec = recommended(context, study.analyses[0], said(advised)["facts"]).spec
    outputs = context.outputs(spec, "test")
    names = [context.images().names[int(k)] for k in context.indices("test")]
    lines = [json.loads(line) for line in run(advised, "predict.py", str(advised / "photos")).splitlines()]
    assert len(lines) == 32
    by_file = {Path(line["file"]).relative_to(advised / "photos").as_posix(): line for line in lines}
    for name, logits in zip(names, outputs.logits, strict=True):
        line = by_file[name]
        assert list(line["scores"]) == ['dark "café"', "light"]
        assert torch.allclose(torch.tensor(list(line["scores"].values())), logits.softmax(0), atol=1e-5)
    one = run(advised, "predict.py", str(advised / "photos" / names[0])).splitlines()
    assert json.loads(one[0])["prediction"] == by_file[names[0]]["prediction"]


@pytest.mark.slow
def test_the_other_script_trains_the_network_again(advised: Path) -> None:
    from safetensors.torch import load_file

    printed = run(advised, "train.py", str(advised / "photos")).splitlines()
    losses = [float(line.rpartition(" ")[2]) for line in printed]
    assert np.isfinite(losses).all()
    folder = advised / "photos-advice"
    trained, start = load_file(folder / "trained.safetensors"), load_file(folder / "start.safetensors")
    assert trained.keys() == start.keys() == load_file(folder / "model.safetensors").keys()
    assert any(not np.array_equal(trained[name], start[name]) for name in start)


def test_what_is_taken_away_says_what_it_is(advised: Path) -> None:
    folder = advised / "photos-advice"
    facts = read_metadata(folder / "model.safetensors")
    assert float(facts["test_metric_low"]) <= float(facts["test_metric"]) <= float(facts["test_metric_high"])
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text(encoding="utf-8"))
    assert recipe["study"]["key"] == facts["study_key"]
    assert recipe["recipe"]["learning_rate"] == float(facts["learning_rate"])
    assert recipe["promise"]["expected_regret"] == said(advised)["facts"]["expected_regret"]
    for script in ("predict.py", "train.py"):
        text = (folder / script).read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 40
        assert "transferscope" not in text


def test_run_again_it_finds_everything(advised: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(advised)
    monkeypatch.setattr("transferscope.running.work.train", None)  # nothing is trained
    result = RUNNER.invoke(app, words(advised, "--quiet"))
    assert result.exit_code == 0, result.output
    lines = result.stdout.strip().splitlines()
    assert lines[-1].startswith("report: ")
    assert next(line for line in said(advised)["prescription"] if line.startswith("Take ")) in lines


def test_a_study_with_the_analysis_is_taken_as_it_stands(advised: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(advised)
    study = advised / "transferscope-runs" / "reports" / "photos" / "study.yaml"
    result = RUNNER.invoke(app, ["advise", str(study), "--json", "--output", "other"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["facts"] == said(advised)["facts"]
    assert (advised / "other" / "predict.py").exists()


@pytest.mark.slow
def test_stopped_after_a_round_it_gives_the_best_so_far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transferscope.commands.advising import _Run

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    pictures(tmp_path / "photos", 10)
    weights(tmp_path)
    tell = _Run._tell
    told = []

    def stopping(self, results):
        tell(self, results)
        if results.analyses[0].summary is not None:
            told.append(results.analyses[0].summary.facts["stage"])
            raise KeyboardInterrupt

    monkeypatch.setattr(_Run, "_tell", stopping)
    given = [word for text in SETTINGS for word in ("--set", text)]
    file = ["--model", str(tmp_path / "test_resnet.safetensors"), "--architecture", "timm:test_resnet"]
    result = RUNNER.invoke(app, ["advise", "photos", *file, *given, "--json"])
    assert result.exit_code == 1
    assert told == ["search"]
    found = json.loads(result.stdout)
    assert found["facts"]["stage"] == "search"
    facts = read_metadata(tmp_path / "photos-advice" / "model.safetensors")
    assert "test_metric" not in facts
    assert 0 <= float(facts["validation_metric"]) <= 1


@pytest.mark.slow
def test_what_follows_is_asked_of_the_recommended_network(advised: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transferscope.running.advice import affordable, further_study
    from transferscope.running.reopen import reopen
    from transferscope.study.file import load_study

    monkeypatch.chdir(advised)
    monkeypatch.setattr("transferscope.running.advice.FOLLOWING", ("distance", "no_such_analysis"))
    store = advised / "transferscope-runs"
    study = load_study(store / "reports" / "photos" / "study.yaml")
    results = reopen(study, store, "", command="")
    chosen = results.analyses[0].summary.facts["chosen"]
    further = further_study(results, ["distance"])
    if chosen["start"] == "random":
        assert further is None
        assert affordable(results, store, 1e6) == (None, ())
        return
    assert further.source.architecture.name == f"timm:{chosen['candidate']}"
    assert further.training.learning_rates == (chosen["learning_rate"],)
    assert affordable(results, store, 1e6) == (further, ())
    assert affordable(results, store, 0.01) == (None, ("distance",))


@pytest.mark.slow
def test_what_follows_is_a_line_each(advised: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("freeze", "average", "label_budget")
    monkeypatch.chdir(advised)
    monkeypatch.setattr("transferscope.running.advice.FOLLOWING", names)
    result = RUNNER.invoke(app, words(advised, "--budget", "30m", "--json"))
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["facts"] == said(advised)["facts"]
    assert found["facts"]["chosen"]["start"] == "pretrained"
    (further,) = found["further"]
    assert further.keys() >= set(names)
    assert len(found["prescription"]) == len(said(advised)["prescription"]) + len(names) <= MOST


# -- bad input -------------------------------------------------------------------------------------------


def test_a_budget_too_small_says_what_it_would_take(advised: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(advised)
    result = RUNNER.invoke(app, words(advised, "--budget", "2s"))
    assert result.exit_code == 2
    assert "the budget is too small for any search" in result.stderr
    assert "--budget 1m" in result.stderr


@pytest.mark.parametrize("text", ["", "30", "m", "0m", "-5m", "1d"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(OptionError, match="is no time"):
        seconds_of(text)


@pytest.mark.parametrize(
    ("more", "what"),
    [
        (["--architecture", "timm:resnet18"], "one for each file among --model"),
        (["--model", "missing.pt"], "missing.pt"),
        (["--set", "seeds=[]"], "seeds"),
    ],
)
def test_options_that_do_not_fit_are_named(
    advised: Path, monkeypatch: pytest.MonkeyPatch, more: list[str], what: str
) -> None:
    monkeypatch.chdir(advised)
    result = RUNNER.invoke(app, [*words(advised), *more])
    assert result.exit_code == 2
    assert what in result.stderr


def test_a_study_without_the_analysis_and_options_beside_one_are_refused(
    advised: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(advised)
    study = str(advised / "transferscope-runs" / "reports" / "photos" / "study.yaml")
    for more, what in ((["--set", "analyses=[outcome]"], "asks for no advice"), (["--model", "x"], "names its own")):
        result = RUNNER.invoke(app, ["advise", study, *more])
        assert result.exit_code == 2
        assert what in result.stderr
