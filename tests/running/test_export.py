"""A trained network is handed over whole: what its file says is enough to repeat the study's predictions."""

import ast
import contextlib
import io
import json
import os
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file

from tests.commands.calling import RUNNER
from transferscope.analyses.tuned import tuned_member
from transferscope.cli import app
from transferscope.networks.weights import read_metadata, state_hash

STUDY = """\
name: squares
source: {architecture: timm:test_resnet, weights: start.safetensors}
target: {data: {kind: folder, path: photos}, image_size: 32}
training: {recipe: {epochs: 1, batch_size: 8, memory_format: contiguous}, learning_rates: [0.01], extensions: 0}
seeds: [0, 3]
analyses: [outcome]
compute: {device: cpu, threads: 1}
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import timm
    import torch
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("export")
    generator = np.random.default_rng(0)
    for number, name in enumerate(('dark "café"', "light")):
        (folder / "photos" / name).mkdir(parents=True)
        for k in range(20):
            pixels = generator.integers(0, 120, (40, 52, 3)) + 120 * number
            Image.fromarray(pixels.astype(np.uint8)).save(folder / "photos" / name / f"{k}.png")
    torch.manual_seed(0)
    save_file(timm.create_model("test_resnet", num_classes=5).state_dict(), folder / "start.safetensors")
    (folder / "squares.yaml").write_text(STUDY)
    here = os.getcwd()
    os.chdir(folder)
    try:
        result = RUNNER.invoke(app, ["run", "squares.yaml", "--quiet"])
        assert result.exit_code == 0, result.output
        (folder / "console.txt").write_text(result.stdout)
    finally:
        os.chdir(here)
    return folder


@pytest.mark.kind("C4")
def test_the_command_that_a_run_prints_gives_the_network(ran: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ran)
    lines = (ran / "console.txt").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("take the trained network: ")]
    words = shlex.split(line.partition(": ")[2])
    result = RUNNER.invoke(app, words[1:])
    assert result.exit_code == 0, result.output
    facts = read_metadata(ran / "squares-P_T-seed0.safetensors")
    assert json.loads(facts["class_names"]) == ['dark "café"', "light"]
    assert (facts["variant"], facts["seed"], facts["image_size"], facts["fit"]) == ("P_T", "0", "32", "crop")
    assert oct((ran / "squares-P_T-seed0.safetensors").stat().st_mode & 0o777) == oct(0o666 & ~_umask())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.kind("C4")
@pytest.mark.parametrize(("variant", "seed"), [("P_T", 0), ("RI-T", 3)])
def test_the_printed_lines_predict_as_the_study_did(
    ran: Path, monkeypatch: pytest.MonkeyPatch, variant: str, seed: int
) -> None:
    monkeypatch.chdir(ran)
    output = ran / f"{variant}{seed}.safetensors"
    result = RUNNER.invoke(app, ["export", "squares.yaml", variant, "--seed", str(seed), "-o", str(output)])
    assert result.exit_code == 0, result.output
    snippet = result.stdout.partition("\n\n")[2]
    from transferscope.analyses.evidence import Evidence
    from transferscope.analyses.finished import finished_table
    from transferscope.analyses.learning_rate.analysis import LearningRate
    from transferscope.context.context import Context
    from transferscope.context.resolve import resolve
    from transferscope.store import Store
    from transferscope.study.file import load_study

    store = Store(ran / "transferscope-runs")
    study = resolve(load_study("squares.yaml"), store)
    context = Context(store, study)
    evidence = Evidence({LearningRate().key: finished_table(LearningRate(), study, store)})
    member = tuned_member(study, variant.replace("-", "_"), seed, evidence)
    outputs = context.outputs(member.spec, "test").logits.softmax(1)
    names = [context.images().names[int(index)] for index in context.splits()["test"]]
    for number in (0, len(names) - 1):
        Image.open(ran / "photos" / names[number]).save(ran / "picture.png")
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            exec(snippet, {})
        scores = ast.literal_eval(said.getvalue().strip())
        assert list(scores.values()) == pytest.approx(outputs[number].tolist(), abs=1e-5)


@pytest.mark.kind("C4")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["P"], "not a trained variant"),
        (["RI_T_long"], "not a trained variant"),
        (["P_T", "--seed", "7"], "not a seed of this study"),
        (["--output", "squares.yaml"], "exists already"),
        (["--output", "model.pt"], "safetensors"),
        (["--set", "seeds=[9]"], "not trained yet"),
    ],
)
def test_what_cannot_be_exported_is_said(
    ran: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    monkeypatch.chdir(ran)
    result = RUNNER.invoke(app, ["export", "squares.yaml", *words])
    assert result.exit_code in (1, 2)
    assert message in result.stderr


@pytest.mark.kind("C4")
def test_the_store_keeps_no_second_copy_of_the_weights(ran: Path) -> None:
    for manifest in (ran / "transferscope-runs" / "networks").rglob("manifest.json"):
        states = [state_hash(load_file(path)) for path in manifest.parent.glob("*.safetensors")]
        assert len(states) == len(set(states)), "one file holds what another holds"
