"""What the system does to a command: disks, limits, other users, streams; and what a killed one leaves behind."""

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.commands.processes import CLOSED, GONE, Commands, Ended, can_be_nobody
from transferscope.networks.architectures import build
from transferscope.networks.weight_files import write_state
from transferscope.specs.architecture import Architecture
from transferscope.store import Store, atomic
from transferscope.store.verify import verify

pytestmark = pytest.mark.skipif(os.name != "posix", reason="limits, users and streams of POSIX systems")
as_root = pytest.mark.skipif(
    os.name != "posix" or not can_be_nobody(), reason="needs root to be another user, and a Python that others may read"
)
# Each is a process of its own: one member of each kind is tried every time, the others with `make test-slow`.
slow = pytest.mark.slow
full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")

STUDY = """\
name: squares
source: {architecture: timm:test_byobnet, weights: FOLDER/start.safetensors}
target: {data: {kind: folder, path: FOLDER/photos}, image_size: 16}
training: {recipe: {epochs: 1, batch_size: 8, memory_format: contiguous}, learning_rates: [0.01], extensions: 0}
seeds: [0]
analyses: [outcome]
compute: {device: cpu, threads: 1}
"""


def shared_folder() -> Path:
    """A folder that every user may look into."""
    folder = Path(tempfile.mkdtemp(prefix="ts-"))
    folder.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def command() -> Iterator[Commands]:
    with Commands() as started:
        yield started


@pytest.fixture(scope="module")
def made(command: Commands) -> Iterator[Path]:
    """A study with its finished store; nobody may write into it."""
    folder = shared_folder()
    generator = np.random.default_rng(0)
    for number, name in enumerate(("dark", "light")):
        (folder / "photos" / name).mkdir(parents=True)
        for k in range(12):
            pixels = generator.integers(0, 120, (16, 16, 3)) + 120 * number
            Image.fromarray(pixels.astype(np.uint8)).save(folder / "photos" / name / f"{k}.png")
    write_state(folder / "start.safetensors", build(Architecture(name="timm:test_byobnet"), 5, 0).state_dict())
    (folder / "study.yaml").write_text(STUDY.replace("FOLDER", str(folder)))
    (folder / "start.safetensors").chmod(0o644)
    ended = run(command, folder, folder / "store")
    assert ended.code == 0, ended
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def store(command: Commands, made: Path) -> Iterator[Path]:
    """A copy of the finished store."""
    folder = shared_folder()
    shutil.copytree(made / "store", folder / "store")
    yield folder / "store"
    shutil.rmtree(folder)


def run(command: Commands, made: Path, store: Path, **options: object) -> Ended:
    return command("run", str(made / "study.yaml"), "--store", str(store), "--quiet", **options)


def is_ours(ended: Ended, *parts: str, code: int = 1) -> None:
    assert ended.code == code, ended
    assert "Traceback" not in ended.err
    assert ended.err.startswith("error: "), ended.err
    for part in parts:
        assert part in ended.err, ended.err


def tables(store: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (store / "reports" / "squares" / "tables").glob("*.csv")}


# -- stores of other users, and folders that cannot be written ---------------------------------------------


@as_root
@pytest.mark.kind("R1")
@pytest.mark.parametrize(
    "words", [("status",), ("status", "STUDY"), ("verify",), ("report", "STUDY", "--output", "OUT")]
)
def test_a_store_of_another_user_can_be_read(
    command: Commands, made: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    out = shared_folder()
    out.chmod(0o777)
    real = [{"STUDY": str(made / "study.yaml"), "OUT": str(out / "report")}.get(word, word) for word in words]
    ended = command(*real, "--store", str(made / "store"), nobody=True)
    assert (ended.code, ended.err) == (0, ""), ended
    assert "squares" in ended.out or words[0] != "status"
    assert (out / "report" / "report.html").exists() is (words[0] == "report")
    shutil.rmtree(out)


@as_root
@pytest.mark.kind("R1")
def test_what_would_write_to_a_store_of_another_user_says_so(command: Commands, made: Path) -> None:
    study, store = str(made / "study.yaml"), str(made / "store")
    is_ours(command("report", study, "--store", store, nobody=True), "Permission denied", "--output", "bytes free")
    is_ours(
        run(command, made, made / "store", nobody=True), "Permission denied", "--store", "go on with: transferscope run"
    )
    is_ours(command("init", "-o", str(made / "new.yaml"), nobody=True), str(made / "new.yaml"), "--output")
    is_ours(command("plan", study, "--store", str(made / "new"), nobody=True), "Permission denied", "--store")


@as_root
@pytest.mark.kind("S12")
@pytest.mark.parametrize("words", [("status",), ("status", "STUDY"), ("report", "STUDY"), ("verify",)])
def test_a_store_that_cannot_be_read_is_no_empty_one(
    command: Commands, made: Path, store: Path, words: tuple[str, ...]
) -> None:
    store.chmod(0o700)
    real = [{"STUDY": str(made / "study.yaml")}.get(word, word) for word in words]
    ended = command(*real, "--store", str(store), nobody=True)
    assert ended.code in (1, 2), ended
    assert str(store) in ended.err
    assert "no study" not in ended.out


@pytest.mark.kind("S12")
@pytest.mark.parametrize("umask", [pytest.param(0o002, marks=slow), 0o077])
def test_everything_has_the_rights_of_the_umask(command: Commands, made: Path, tmp_path: Path, umask: int) -> None:
    ended = run(command, made, tmp_path / "store", umask=umask)
    assert ended.code == 0, ended
    found = {(path.is_dir(), stat.S_IMODE(path.stat().st_mode)) for path in (tmp_path / "store").rglob("*")}
    assert found == {(True, 0o777 & ~umask), (False, 0o666 & ~umask)}


# -- limits and full disks ---------------------------------------------------------------------------------


@pytest.mark.kind("R1")
@pytest.mark.parametrize("file_bytes", [pytest.param(4_000, marks=slow), 100_000, pytest.param(250_000, marks=slow)])
@pytest.mark.slow
def test_a_limit_on_the_size_of_files(command: Commands, made: Path, tmp_path: Path, file_bytes: int) -> None:
    store = tmp_path / "store"
    is_ours(
        run(command, made, store, file_bytes=file_bytes), "File too large", "ulimit -f", "bytes free", "go on with: "
    )
    assert [problem for problem in verify(Store(store)) if problem.harmful] == []
    assert run(command, made, store).code == 0
    assert tables(store) == tables(made / "store")


@full
@pytest.mark.kind("R1")
@pytest.mark.parametrize(
    "words",
    [
        ("list",),
        ("--version",),
        ("schema",),
        *(pytest.param(w, marks=slow) for w in [("status",), ("run", "STUDY"), ("verify",)]),
    ],
)
def test_standard_output_on_a_full_disk(command: Commands, made: Path, store: Path, words: tuple[str, ...]) -> None:
    real = [{"STUDY": str(made / "study.yaml")}.get(word, word) for word in words]
    place = ["--store", str(store)] if words[0] in ("status", "run", "verify") else []
    shutil.rmtree(store / "reports" / "squares" / "tables")
    ended = command(*real, *place, out="/dev/full")
    assert (ended.code, "Traceback" in ended.err) == (1, False)
    assert "standard output cannot be written: No space left on device" in ended.err
    # What was computed is reported all the same.
    assert (store / "reports" / "squares" / "tables").exists() is (words[0] == "run")


# -- standard streams --------------------------------------------------------------------------------------


@pytest.mark.kind("R4")
@pytest.mark.parametrize("streams", [{"out": CLOSED}, {"err": CLOSED}, {"out": CLOSED, "err": CLOSED}])
@pytest.mark.parametrize(
    "words",
    [
        pytest.param(("status",), marks=slow),
        ("list",),
        pytest.param(("report", "STUDY"), marks=slow),
        ("status", "nosuch.yaml"),
    ],
)
def test_closed_streams(
    command: Commands, made: Path, store: Path, words: tuple[str, ...], streams: dict[str, str]
) -> None:
    real = [{"STUDY": str(made / "study.yaml")}.get(word, word) for word in words]
    place = [] if words == ("list",) else ["--store", str(store)]
    ended = command(*real, *place, **streams)
    assert ended.code == (2 if "nosuch.yaml" in words else 0), ended
    assert "Traceback" not in ended.err
    assert verify(Store(store)) == []


@pytest.mark.kind("R4")
@pytest.mark.parametrize("which", ["out", pytest.param("err", marks=slow)])
def test_a_run_whose_reader_has_gone_ends_with_its_report(
    command: Commands, made: Path, tmp_path: Path, which: str
) -> None:
    ended = command("run", str(made / "study.yaml"), "--store", str(tmp_path / "store"), **{which: GONE})
    assert "Traceback" not in ended.err
    assert "BrokenPipe" not in ended.err
    assert ended.code == (1 if which == "out" else 0)
    assert tables(tmp_path / "store") == tables(made / "store")


@full
@slow
@pytest.mark.kind("R4")
def test_messages_that_cannot_be_written_change_nothing(command: Commands, made: Path, store: Path) -> None:
    assert command("status", "nosuch.yaml", err="/dev/full").code == 2
    shutil.rmtree(store / "units")
    ended = command("run", str(made / "study.yaml"), "--store", str(store), err="/dev/full")
    assert ended.code == 0
    assert tables(store) == tables(made / "store")


# -- what a killed process leaves --------------------------------------------------------------------------


@pytest.mark.kind("S8")
@pytest.mark.parametrize(
    ("module", "name", "call"),
    [
        ("transferscope.data.store", "_write_rest", 1),
        *(
            pytest.param(*place, marks=slow)
            for place in [("os", "fsync", 40), ("os", "rename", 4), ("os", "replace", 12)]
        ),
        pytest.param("os", "replace", 30, marks=slow),
    ],
)
@pytest.mark.slow
def test_a_killed_run_leaves_nothing_that_the_next_does_not_remove(
    command: Commands, made: Path, tmp_path: Path, module: str, name: str, call: int
) -> None:
    store = tmp_path / "store"
    assert run(command, made, store, kill=[module, name, call]).code == -9
    assert run(command, made, store).code == 0
    assert list(store.rglob(".*")) == []
    assert [path for path in store.rglob("*") if "partial" in path.name or "writing" in path.name] == []
    assert tables(store) == tables(made / "store")


@pytest.mark.kind("S8")
@pytest.mark.slow
def test_what_is_left_in_a_folder_named_by_output_goes_and_what_others_write_stays(
    command: Commands, made: Path, tmp_path: Path
) -> None:
    words = ("report", str(made / "study.yaml"), "--store", str(made / "store"), "--output", str(tmp_path / "out"))
    assert command(*words, kill=["os", "replace", 3]).code == -9
    left = list((tmp_path / "out").rglob(".tmp-*"))
    assert len(left) == 1
    mine = left[0].with_name(f".tmp-x.csv-{atomic._host()}-{os.getpid()}-abc")
    mine.write_bytes(b"at work")
    assert command(*words).code == 0
    assert not left[0].exists()
    assert mine.exists()


# -- verify ------------------------------------------------------------------------------------------------


@pytest.mark.kind("R8")
@pytest.mark.parametrize(
    "name", ["images/*/*/images.npy", "networks/*/*/weights.safetensors", "units/*/*/manifest.json"]
)
def test_verify_says_what_is_damaged(command: Commands, store: Path, name: str) -> None:
    path = next(store.glob(name))
    state = path.stat()
    raw = bytearray(path.read_bytes())
    raw[-5] ^= 1
    path.write_bytes(bytes(raw))
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    ended = command("verify", "--store", str(store))
    is_ours(ended, "1 files or folders", f"transferscope run {store}/reports/")
    assert path.parent.name in ended.out
    assert command("verify", "--store", str(store.parent)).code == 1
