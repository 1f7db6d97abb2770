"""Files of strangers decide nothing about which code runs: weights, studies, stores, data and the current folder."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from tests.commands.calling import RUNNER, pictures
from transferscope.cli import app
from transferscope.errors import ArchitectureError, DataError, StudyError, WeightsError
from transferscope.factories import code_forbidden, find_module, import_factory
from transferscope.networks.architectures import build
from transferscope.specs.architecture import Architecture
from transferscope.study.file import load_study

FOREIGN = """\
name: foreign
source: {{architecture: {architecture}, weights: start.safetensors}}
target: {{data: {data}, image_size: 32}}
training: {{recipe: {{epochs: 1, batch_size: 8}}, learning_rates: [0.01], extensions: 0}}
seeds: [0]
analyses: [outcome]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of a stranger's: whatever of it is imported leaves a trace."""
    trace = f"import pathlib\npathlib.Path({str(tmp_path)!r}, 'ran').write_text(__name__)\n"
    network = "\ndef net(num_classes, **options):\n    import timm\n    return timm.create_model('test_resnet', "
    network += "num_classes=num_classes)\n"
    data = "\ndef images(**options):\n    return [(__import__('numpy').full((32, 32, 3), i, 'uint8'), i % 2) "
    data += "for i in range(24)]\n"
    (tmp_path / "evil.py").write_text(trace + network + data)
    (tmp_path / "evilpack").mkdir()
    (tmp_path / "evilpack" / "__init__.py").write_text(trace)
    (tmp_path / "evilpack" / "inner.py").write_text(network + data)
    (tmp_path / "hubconf.py").write_text(trace + network)
    pictures(tmp_path / "photos", {"cat": 12, "dog": 12}, (32, 32))
    torch.manual_seed(0)
    save_file(timm.create_model("test_resnet", num_classes=2).state_dict(), tmp_path / "start.safetensors")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in ("evil", "evilpack", "evilpack.inner"):
        sys.modules.pop(name, None)


def ran(folder: Path) -> bool:
    return (folder / "ran").exists()


FACTORIES = ("evil:net", "evilpack.inner:net", "torch.hub:load", "os:system", "subprocess:call", "builtins:exec", "a:b")


@pytest.mark.kind("code-weights")
@pytest.mark.parametrize("command", ["compare", "modules"])
@pytest.mark.parametrize("name", FACTORIES)
def test_weights_never_name_code(folder: Path, command: str, name: str) -> None:
    options = {"repo_or_dir": str(folder), "model": "net", "source": "local", "command": "touch ran"}
    written = {"architecture": json.dumps({"name": name, "options": options})}
    for file in ("a.safetensors", "b.safetensors"):
        save_file(timm.create_model("test_resnet", num_classes=2).state_dict(), folder / file, metadata=written)
    result = RUNNER.invoke(app, [command, "a.safetensors", "b.safetensors", "--data", "photos"])
    assert result.exit_code == 2, result.output
    assert "--model" in result.stderr
    assert not ran(folder)


@pytest.mark.kind("code-weights")
def test_code_beside_a_name_of_timm_is_refused(folder: Path) -> None:
    for options in ({"pretrained": True}, {"checkpoint_path": "evil.pt"}, {"pretrained_cfg": {"url": "file:evil"}}):
        with pytest.raises(ArchitectureError):
            build(Architecture(name="timm:test_resnet", options=options), 2, 0)


def study(folder: Path, architecture: str = "timm:test_resnet", data: str = "{kind: folder, path: photos}") -> Path:
    file = folder / "foreign.yaml"
    file.write_text(FOREIGN.format(architecture=architecture, data=data))
    return file


CODE: list[dict[str, str]] = [
    *({"architecture": name} for name in FACTORIES),
    *({"architecture": f"{{name: '{name}', options: {{command: touch ran}}}}"} for name in FACTORIES),
    *({"data": f"{{kind: factory, function: '{name}', options: {{command: touch ran}}}}"} for name in FACTORIES),
]


@pytest.mark.kind("code-study")
@pytest.mark.parametrize("command", ["plan", "run", "status", "report"])
@pytest.mark.parametrize("code", CODE, ids=str)
def test_a_study_file_runs_nothing_without_consent(folder: Path, command: str, code: dict[str, str]) -> None:
    result = RUNNER.invoke(app, [command, str(study(folder, **code)), "--store", "runs"])
    assert result.exit_code == 2, result.output
    # Data whose module has no file cannot be told apart from a misspelt name without importing it.
    assert "--allow-code" in result.stderr or (
        command in ("status", "report") and "there is no module" in result.stderr
    )
    assert not ran(folder)


@pytest.mark.kind("code-study")
@pytest.mark.parametrize("command", ["plan", "run", "status", "report"])
@pytest.mark.parametrize("code", CODE[:2] + CODE[-7:-5], ids=str)
def test_an_invalid_study_imports_nothing(folder: Path, command: str, code: dict[str, str]) -> None:
    file = study(folder, **code)
    file.write_text(file.read_text() + "misspelt: 1\n")
    words = [command, str(file)] + (["--allow-code"] if command in ("plan", "run") else [])
    result = RUNNER.invoke(app, words)
    assert result.exit_code == 2
    assert "misspelt" in result.stderr
    assert not ran(folder)


@pytest.mark.kind("code-study")
@pytest.mark.parametrize("where", ["source.pretrain.data", "analyses.domain_distance.reference_data"])
def test_code_is_found_wherever_a_study_can_name_it(folder: Path, where: str) -> None:
    data = "{kind: factory, function: 'evil:images'}"
    text = study(folder).read_text()
    if where.startswith("source"):
        text = text.replace(
            "weights: start.safetensors",
            f"pretrain: {{data: {data}, recipe: {{epochs: 1}}, image_size: 32, learning_rate: 0.1, seed: 5}}",
        )
    else:
        text = text.replace("[outcome]", f"[domain_distance: {{reference_data: {data}}}]")
    (folder / "foreign.yaml").write_text(text)
    with pytest.raises(StudyError, match="evil:images"):
        load_study(folder / "foreign.yaml")
    assert load_study(folder / "foreign.yaml", allow_code=True).name == "foreign"
    assert not ran(folder), "reading a study imports nothing"


@pytest.mark.kind("code-study")
def test_status_of_a_strangers_store_runs_none_of_its_studies(folder: Path) -> None:
    for number, code in enumerate(CODE):
        place = folder / "theirs" / "reports" / f"study{number}"
        place.mkdir(parents=True)
        (place / "study.yaml").write_text(study(folder, **code).read_text().replace("foreign", f"study{number}"))
    result = RUNNER.invoke(app, ["status", "--store", "theirs"])
    assert result.exit_code == 0, result.output
    assert not ran(folder)


def test_consent_is_given_by_option_by_what_was_typed_and_by_an_installed_package(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = study(folder, architecture="evil:net")
    assert load_study(file, allow_code=True).source.architecture.name == "evil:net"
    assert load_study(file, ["source.architecture=evil:net"]).source.architecture.name == "evil:net"
    with pytest.raises(StudyError, match=r"line 2, source\.architecture"):
        load_study(study(folder, architecture="{name: 'evil:net'}"), ["source.architecture.head=fc"])
    site = folder / "site" / "lab-1.0.dist-info"
    site.mkdir(parents=True)
    (site / "METADATA").write_text("Metadata-Version: 2.1\nName: lab\nVersion: 1.0\n")
    (site / "entry_points.txt").write_text("[transferscope.factories]\nnet = evil:net\n")
    monkeypatch.syspath_prepend(str(folder / "site"))
    assert load_study(file).source.architecture.name == "evil:net"


def test_a_study_with_code_runs_with_consent_and_is_reported(folder: Path) -> None:
    file = study(folder, architecture="evil:net", data="{kind: factory, function: 'evilpack.inner:images'}")
    result = RUNNER.invoke(app, ["plan", str(file), "--allow-code", "--store", "runs"])
    assert result.exit_code == 0, result.output
    assert f"transferscope run {file} --store runs --allow-code" in result.stdout
    assert ran(folder)
    assert str(folder) not in sys.path


def test_init_says_the_option_that_its_study_needs(folder: Path) -> None:
    words = ["init", "photos", "--model", "start.safetensors", "--architecture", "evil:net", "-o", "mine.yaml"]
    result = RUNNER.invoke(app, words)
    assert result.exit_code == 0, result.output
    assert "transferscope plan mine.yaml --allow-code" in result.stdout


def test_reading_commands_refuse_code_though_it_was_allowed() -> None:
    with code_forbidden("status"), pytest.raises(ArchitectureError, match="status does not run code"):
        import_factory("evil:net", ArchitectureError, "architecture")


def test_a_module_is_found_without_running_its_package(folder: Path) -> None:
    assert find_module("evilpack.inner") == folder / "evilpack" / "inner.py"
    assert find_module("evilpack.nothing") is None
    assert find_module("evil.inner") is None
    assert not ran(folder)


SHADOWS = (
    "dill",
    "pynvml",
    "typer",
    "rich",
    "numpy",
    "matplotlib",
    "multiprocessing",
    "elpv_dataset",
    "pandas",
    "IPython",
)


@pytest.mark.kind("code-folder")
@pytest.mark.parametrize(
    "start",
    [
        ["-m", "transferscope"],
        pytest.param(["-c", "from transferscope.cli import main; main()"], marks=pytest.mark.slow),
    ],
)
def test_standing_in_a_folder_runs_none_of_its_files(folder: Path, start: list[str]) -> None:
    for name in SHADOWS:
        (folder / f"{name}.py").write_text(
            f"import pathlib\npathlib.Path('ran').write_text({name!r})\nraise SystemExit(3)\n"
        )
    environment = {**os.environ, "TRANSFERSCOPE_STORE": "runs"}
    if start[0] == "-c":  # as the installed command starts: its own folder first, not the current one
        environment["PYTHONSAFEPATH"] = "1"
    words = ["init", "photos", "--model", "start.safetensors", "--architecture", "timm:test_resnet"]
    done = subprocess.run(
        [sys.executable, *start, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not ran(folder), (folder / "ran").read_text()


@pytest.mark.kind("code-folder")
@pytest.mark.slow
def test_workers_do_not_look_into_the_current_folder(folder: Path) -> None:
    for name in ("multiprocessing", "pickle", "dill", "socket"):
        (folder / f"{name}.py").write_text(f"import pathlib\npathlib.Path('ran').write_text({name!r})\n")
    script = (
        "import sys\n"
        "from transferscope.running.executors import processes\n"
        "if __name__ == '__main__':\n"
        "    print(list(processes(len, [[1], [1, 2]], workers=2, threads=1, on_event=print)))\n"
    )
    (folder / "lib").mkdir()
    (folder / "lib" / "start.py").write_text(script)
    done = subprocess.run(
        [sys.executable, "-P", "lib/start.py"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert not ran(folder), (folder / "ran").read_text()
    assert "TypeError" in done.stderr or done.returncode == 0, done.stderr


@pytest.mark.kind("code-study")
@pytest.mark.parametrize("name", ["LSUN", "LSUNClass"])
def test_data_that_torchvision_would_unpickle_are_refused(folder: Path, name: str) -> None:
    from transferscope.data.sources import Torchvision

    with pytest.raises(DataError, match="unpickles"):
        Torchvision(name=name, root=str(folder)).listing()


class _Runs:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.system, ("touch ran",)


@pytest.mark.kind("code-weights")
def test_pickles_are_refused_as_weights_and_as_arrays(folder: Path) -> None:
    torch.save({"state_dict": _Runs()}, folder / "evil.pt")
    np.save(folder / "images.npy", np.array([_Runs()], dtype=object))
    np.save(folder / "labels.npy", np.array([0, 1]))
    from transferscope.data.sources import Arrays
    from transferscope.networks.weight_files import read_file

    with pytest.raises(WeightsError):
        read_file(folder / "evil.pt")
    with pytest.raises(DataError):
        Arrays(images=str(folder / "images.npy"), labels=str(folder / "labels.npy")).listing()
    assert not ran(folder)
