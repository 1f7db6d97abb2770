import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import filelock
import pytest

from transferscope.errors import StoreBusyError, StoreError
from transferscope.store import Store
from transferscope.store.locks import hold

HOLD = """
import sys
from pathlib import Path
from transferscope.store import Store
with Store(Path(sys.argv[1])).lock("study-x", wait=0):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


@pytest.fixture
def holder(store: Store):
    command = [sys.executable, "-c", HOLD, str(store.root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        yield child
        child.kill()


def test_the_second_process_is_told_who_holds_the_lock(store: Store, holder: subprocess.Popen[bytes]):
    with (
        pytest.raises(StoreBusyError, match=f"the same study is already running as process {holder.pid} since"),
        store.lock("study-x", wait=0, what="the same study"),
    ):
        pass
    with pytest.raises(StoreBusyError, match=r"(?s)study-x is already.*after 0.2 seconds"), store.lock("study-x", 0.2):
        pass
    with store.lock("study-y", wait=0):
        pass


def test_the_lock_is_free_when_its_holder_was_killed(store: Store, holder: subprocess.Popen[bytes]):
    holder.kill()
    holder.wait()
    assert (store.root / "locks" / "study-x.holder.json").exists()
    with store.lock("study-x", wait=0):
        assert json.loads((store.root / "locks" / "study-x.holder.json").read_text())["pid"] == os.getpid()
    assert not (store.root / "locks" / "study-x.holder.json").exists()
    with store.lock("study-x", wait=0):
        pass


def test_waiting_ends_when_the_lock_is_free_and_says_whom_for(store: Store, holder: subprocess.Popen[bytes]):
    told: list[str] = []

    def release(text: str) -> None:
        told.append(text)
        assert holder.stdin is not None
        holder.stdin.close()

    with store.lock("study-x", on_wait=release):
        pass
    assert len(told) == 1
    assert told[0].startswith(f"waiting: study-x is already running as process {holder.pid}")


def test_one_process_excludes_itself(store: Store):
    with store.lock("a"), pytest.raises(StoreBusyError, match=f"process {os.getpid()}"), store.lock("a", wait=0):
        pass
    inside, order = threading.Event(), []

    def second() -> None:
        inside.wait()
        with store.lock("a"):
            order.append("second")

    thread = threading.Thread(target=second)
    thread.start()
    with store.lock("a"):
        inside.set()
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_an_error_frees_the_lock(store: Store):
    with pytest.raises(RuntimeError), store.lock("a", wait=0):
        raise RuntimeError
    with store.lock("a", wait=0):
        pass


@pytest.mark.parametrize(
    ("side", "words"),
    [
        (None, "running as another process"),
        (b"{", "running as another process"),
        ({"host": "elsewhere", "pid": 7, "since": "noon"}, "running as process 7 on elsewhere since noon"),
        ({"host": socket.gethostname(), "pid": 2**22 + 1, "since": "noon"}, "running as another process"),
    ],
)
def test_what_is_said_of_the_holder(store: Store, side: object, words: str):
    folder = store.root / "locks"
    folder.mkdir()
    if side is not None:
        raw = side if isinstance(side, bytes) else json.dumps(side).encode()
        (folder / "a.holder.json").write_bytes(raw)
    with filelock.FileLock(folder / "a.lock"), pytest.raises(StoreBusyError, match=words), store.lock("a", wait=0):
        pass


@pytest.mark.parametrize("name", ["", "../a", "a b", "x" * 200])
def test_names_that_are_none(store: Store, name: str):
    with pytest.raises(StoreError, match="cannot name a lock"), store.lock(name):
        pass


def test_a_store_that_cannot_be_written_cannot_be_locked(store: Store):
    (store.root / "locks").write_bytes(b"in the way")
    with pytest.raises(StoreError, match="cannot lock"), store.lock("a", wait=0):
        pass


def test_a_umask_that_leaves_nothing_leaves_the_owner_his_lock(tmp_path: Path) -> None:
    folder, before = tmp_path / "locks", os.umask(0o777)
    try:
        with hold(folder, "x"):
            pass
    finally:
        os.umask(before)
    assert (folder / "x.lock").stat().st_mode & 0o600 == 0o600
