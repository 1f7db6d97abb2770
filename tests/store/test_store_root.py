import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from transferscope.errors import StoreError
from transferscope.store import Store
from transferscope.store.atomic import _host, replace_file
from transferscope.store.verify import verify

KEY = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "deep" / "store")


def put(store: Store, kind: str, key: str, **files: bytes) -> Path:
    entry = store.entry(kind, key)
    with entry.write() as folder:
        for name, content in files.items():
            (folder / name).write_bytes(content)
    return entry.folder


def dead_process() -> int:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_counts_sizes_and_keys(store: Store):
    put(store, "networks", KEY, weights=b"w" * 1000)
    put(store, "units", "aaaa", table=b"rows")
    put(store, "units", "bbbb", table=b"rows")
    assert list(store.keys("units")) == ["aaaa", "bbbb"]
    store.study("s0s0")
    assert store.status() == {"networks": 1, "artefacts": 0, "units": 2, "images": 0, "probes": 0, "studies": 1}
    on_disk = sum(path.stat().st_size for path in store.root.rglob("*") if path.is_file())
    assert store.size() == on_disk > 1008
    assert store.disk_free() > 0


def test_a_study_folder_may_be_rewritten(store: Store):
    folder = store.study(KEY)
    assert folder == store.root / "studies" / KEY[:2] / KEY == store.study(KEY)
    replace_file(folder / "report.html", b"one")
    replace_file(folder / "report.html", b"two")
    assert [(path.name, path.read_bytes()) for path in folder.iterdir()] == [("report.html", b"two")]


@pytest.mark.parametrize("key", ["", "abc", "ABCD", "../x", "a/bcd", ".abc", "a" * 129, "abcd\n"])
def test_keys_that_are_none(store: Store, key: str):
    with pytest.raises(StoreError, match="cannot be a key"):
        store.entry("units", key)
    with pytest.raises(StoreError, match="cannot be a key"):
        store.study(key)


def test_kinds_that_are_none(store: Store):
    with pytest.raises(StoreError, match=r"(?s)'unit' is not a kind.*did you mean 'units'"):
        store.entry("unit", KEY)
    with pytest.raises(StoreError, match="'studies' is not a kind of entry"):
        store.entry("studies", KEY)
    with pytest.raises(StoreError, match="'locks' is not a kind"):
        list(store.keys("locks"))


def test_a_store_travels_to_a_worker(store: Store):
    put(store, "units", KEY, table=b"rows")
    again = pickle.loads(pickle.dumps(store))
    assert again == store
    assert pickle.loads(pickle.dumps(store.entry("units", KEY))).read_bytes("table") == b"rows"


def test_a_store_that_is_a_file(tmp_path: Path):
    (tmp_path / "store").write_bytes(b"")
    with pytest.raises(StoreError, match=r"store .*is not a folder"):
        Store(tmp_path / "store")


@pytest.mark.parametrize("content", [b"", b"[1]", b"{}", b"\xff"])
def test_a_damaged_mark(store: Store, content: bytes):
    (store.root / "store.json").write_bytes(content)
    with pytest.raises(StoreError, match=r"store.json is damaged"):
        Store(store.root)


def test_a_store_of_a_newer_version(store: Store):
    (store.root / "store.json").write_text('{"schema": 2}')
    with pytest.raises(StoreError, match="made by another version"):
        Store(store.root)


def test_a_relative_root_stays_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    store = Store(Path("store"))
    monkeypatch.chdir("/")
    put(store, "units", KEY)
    assert (tmp_path / "store" / "units").is_dir()


def test_what_dead_writers_left_goes_and_all_else_stays(store: Store):
    put(store, "units", KEY, table=b"rows")
    prefix = store.root / "units" / KEY[:2]
    dead = dead_process()
    gone = [
        prefix / f".tmp-{KEY}-{_host()}-{dead}-abcdef",
        prefix / f".tmp-{KEY}-{_host()}-{os.getpid()}-0000",  # an earlier process of our number
        store.root / "working" / "networks" / f".tmp-{KEY}-{_host()}-{dead}-abcdef",
        store.study("s0s0") / f".tmp-report.html-{_host()}-{dead}-abcdef",
    ]
    stay = [
        prefix / f".tmp-{KEY}-{_host()}-{os.getppid()}-abcdef",
        prefix / f".tmp-{KEY}-00000000-{dead}-abcdef",
        prefix / ".tmp-foreign",
    ]
    for folder in gone[:3] + stay:
        folder.mkdir(parents=True)
        (folder / "table").write_bytes(b"half")
    gone[3].write_bytes(b"half")
    with store.entry("units", "01ff").write() as mine:
        Store(store.root)
        assert mine.exists()
    assert [path.name for path in gone if path.exists()] == []
    assert all((path / "table").exists() for path in stay)
    problems = verify(store)
    assert sorted(problem.path for problem in problems) == sorted(stay)
    assert "interrupted" in problems[0].what


def test_verify_names_every_kind_of_damage(store: Store):
    assert verify(store) == []
    changed = put(store, "units", "aaaa", table=b"rows")
    put(store, "units", "bbbb", table=b"rows")
    bare = put(store, "networks", "cccc", weights=b"w")
    extra = put(store, "artefacts", "dddd", logits=b"l")
    moved = put(store, "probes", "eeee")
    assert verify(store) == []
    store.entry("units", "aaaa").read_bytes("table")
    state = (changed / "table").stat()
    (changed / "table").write_bytes(b"rowS")
    os.utime(changed / "table", ns=(state.st_atime_ns, state.st_mtime_ns))
    (bare / "manifest.json").unlink()
    (extra / "more").write_bytes(b"")
    moved.rename(moved.parent / "eef0")
    assert {(problem.kind, problem.key, problem.path.name) for problem in verify(store)} == {
        ("units", "aaaa", "table"),
        ("networks", "cccc", "manifest.json"),
        ("artefacts", "dddd", "more"),
        ("probes", "eef0", "eef0"),
    }
    words = " ".join(problem.what for problem in verify(store))
    for part in ("is not what was written", "is missing", "is not in the manifest", "was moved or renamed"):
        assert part in words


def test_discarding_what_is_not_there(store: Store):
    with pytest.raises(StoreError, match="cannot discard"):
        store.discard("units", KEY)
