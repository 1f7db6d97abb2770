import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transferscope.errors import CorruptEntryError, StoreError
from transferscope.store import Entry, Store
from transferscope.store import entry as entry_module
from transferscope.store.verify import verify

KEY = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def entry(store: Store) -> Entry:
    return store.entry("units", KEY)


def written(entry: Entry, **files: bytes) -> Entry:
    with entry.write({"analysis": "path"}) as folder:
        for name, content in files.items():
            (folder / name).write_bytes(content)
    return entry


def written_half(entry: Entry, error: BaseException) -> None:
    with entry.write() as folder:
        (folder / "table").write_bytes(b"rows")
        raise error


def everything(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_an_entry_is_written_and_read(store: Store, entry: Entry):
    assert not entry.exists()
    with entry.write({"analysis": "path"}, {"device": "cpu"}) as folder:
        assert folder.parent == entry.folder.parent
        assert not entry.exists()
        (folder / "files").mkdir()
        (folder / "files" / "thumb.png").write_bytes(b"png")
        (folder / "table").write_bytes(b"rows")
        assert list(store.keys("units")) == []
    assert entry.exists()
    assert entry.folder == store.root / "units" / KEY[:2] / KEY
    assert entry.names() == ["files/thumb.png", "table"]
    assert entry.read_bytes("files/thumb.png") == b"png"
    assert entry.path("table") == entry.folder / "table"
    manifest = entry.manifest()
    assert manifest["analysis"] == "path"
    assert manifest["files"]["table"]["bytes"] == 4
    assert (manifest["schema"], manifest["kind"], manifest["key"]) == (1, "units", KEY)
    assert entry.provenance()["device"] == "cpu"
    assert entry.provenance()["versions"]["transferscope"] != ""
    assert [path.name for path in entry.folder.parent.iterdir()] == [KEY]


def test_equal_work_gives_equal_bytes_apart_from_provenance(tmp_path: Path):
    trees = []
    for name in ("one", "two"):
        entry = written(Store(tmp_path / name).entry("units", KEY), b=b"2", a=b"1")
        tree = everything(entry.folder)
        assert b"created" in tree.pop("provenance.json")
        trees.append(tree)
    assert trees[0] == trees[1]
    assert sorted(trees[0]) == ["a", "b", "manifest.json"]


@settings(derandomize=True, deadline=None, max_examples=30)
@given(
    files=st.dictionaries(
        st.from_regex(r"[a-z0-9]{1,8}(/[A-Za-z0-9_ äß.-]{1,12}x)?", fullmatch=True), st.binary(max_size=300), max_size=5
    ).filter(
        lambda files: (
            not {name for name in files if "/" not in name} & {name.split("/")[0] for name in files if "/" in name}
        )
    )
)
def test_files_come_back_as_they_went(files: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory):
    entry = Store(tmp_path_factory.mktemp("store")).entry("images", KEY)
    with entry.write() as folder:
        for name, content in files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(content)
    assert {name: entry.read_bytes(name) for name in entry.names()} == files


def test_an_error_in_the_block_leaves_nothing(entry: Entry):
    with pytest.raises(RuntimeError, match="half way"):
        written_half(entry, RuntimeError("half way"))
    assert not entry.exists()
    assert list(entry.folder.parent.iterdir()) == []


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_ctrl_c_in_the_block_leaves_nothing(entry: Entry, stop: type[BaseException]):
    with pytest.raises(stop):
        written_half(entry, stop())
    assert list(entry.folder.parent.iterdir()) == []


@pytest.mark.parametrize("broken", ["sync_tree", "sync_file", "place", "manifest_bytes", "describe_files"])
def test_an_error_at_any_step_of_finishing_leaves_nothing(entry: Entry, broken: str, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(entry_module, broken, fail)
    with pytest.raises(StoreError, match="No space left on device") as caught, entry.write() as folder:
        (folder / "table").write_bytes(b"rows")
    assert "bytes free" in str(caught.value)
    assert "run the same command again" in str(caught.value)
    assert list(entry.folder.parent.iterdir()) == []
    monkeypatch.undo()
    assert written(entry, table=b"rows").read_bytes("table") == b"rows"


def test_the_manifest_is_written_after_all_it_lists_is_on_the_disk(entry: Entry, monkeypatch: pytest.MonkeyPatch):
    seen = []
    synced: set[str] = set()
    real_sync, real_place = os.fsync, os.rename

    def sync(descriptor: int) -> None:
        synced.add(os.readlink(f"/proc/self/fd/{descriptor}").rsplit("/", 1)[-1])
        real_sync(descriptor)

    def rename(source: Path, target: Path) -> None:
        seen.append(set(synced))
        synced.clear()
        real_place(source, target)

    if not Path("/proc/self/fd").exists():
        pytest.skip("needs /proc to see which file is forced to the disk")
    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "rename", rename)
    written(entry, table=b"rows")
    assert {"table", "manifest.json", "provenance.json"} <= seen[0]
    assert entry.folder.parent.name in synced


def test_a_changed_file_is_named_and_can_be_discarded(store: Store, entry: Entry):
    written(entry, table=b"rows", other=b"more")
    assert entry.read_bytes("table") == b"rows"
    (entry.folder / "table").write_bytes(b"rowS")
    with pytest.raises(CorruptEntryError, match="table is not what was written") as caught:
        entry.read_bytes("table")
    assert "sha256" in str(caught.value)
    assert "sets it aside and makes it anew" in str(caught.value)
    assert entry.read_bytes("other") == b"more"
    aside = store.discard("units", KEY)
    assert not entry.exists()
    assert (aside / "table").read_bytes() == b"rowS"
    assert written(entry, table=b"rows").read_bytes("table") == b"rows"


def test_a_shortened_or_missing_file_is_named(entry: Entry):
    written(entry, table=b"rows", other=b"more")
    (entry.folder / "table").write_bytes(b"ro")
    with pytest.raises(CorruptEntryError, match=r"(?s)not what was written.*4 bytes.*2 bytes"):
        entry.path("table")
    (entry.folder / "other").unlink()
    with pytest.raises(CorruptEntryError, match="other is missing"):
        entry.path("other")


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"digest": 1', b"\xff"])
def test_a_manifest_that_is_none(entry: Entry, content: bytes):
    written(entry, table=b"rows")
    (entry.folder / "manifest.json").write_bytes(content)
    with pytest.raises(CorruptEntryError, match=r"manifest.json is not a manifest"):
        entry.manifest()


def test_a_manifest_that_was_changed_or_is_missing(entry: Entry):
    written(entry, table=b"rows")
    path = entry.folder / "manifest.json"
    path.write_text(path.read_text().replace('"path"', '"best"'))
    with pytest.raises(CorruptEntryError, match=r"manifest.json is not what was written"):
        entry.path("table")
    path.unlink()
    for read in (entry.exists, entry.names):
        with pytest.raises(CorruptEntryError, match=r"manifest.json is missing") as caught:
            read()
        assert caught.value.entry == ("units", KEY)


def test_a_manifest_of_a_newer_version(entry: Entry, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(entry_module, "SCHEMA", 2)
    written(entry, table=b"rows")
    with pytest.raises(StoreError, match="another version of transferscope"):
        entry.manifest()


def test_bytes_are_hashed_once_until_the_file_changes(entry: Entry, monkeypatch: pytest.MonkeyPatch):
    from transferscope.store import integrity

    written(entry, table=b"rows")
    hashed = []
    real = integrity._sha256
    monkeypatch.setattr(integrity, "_sha256", lambda path: hashed.append(path.name) or real(path))
    for _ in range(3):
        entry.read_bytes("table")
    assert hashed == ["table"]
    os.utime(entry.folder / "table", ns=(1, 1))
    entry.read_bytes("table")
    assert hashed == ["table", "table"]


def test_names_that_are_not_there(entry: Entry):
    with pytest.raises(StoreError, match="the store holds no units 0123"):
        entry.names()
    assert entry.provenance() == {}
    written(entry, table=b"rows")
    with pytest.raises(StoreError, match=r"(?s)holds no file 'tabel'.*did you mean 'table'"):
        entry.path("tabel")


def test_the_stores_own_names_and_links_are_refused(entry: Entry):
    for name in ("manifest.json", "provenance.json"):
        with pytest.raises(StoreError, match=f"the name '{name}' is the store's own"), entry.write() as folder:
            (folder / name).write_bytes(b"{}")
    with pytest.raises(StoreError, match="'files' is the store's own"), entry.write({"files": 1}):
        pass
    with pytest.raises(StoreError, match="plain files only"), entry.write() as folder:
        (folder / "link").symlink_to("/etc/hostname")
    assert list(entry.folder.parent.iterdir()) == []


def test_facts_filled_inside_the_block_are_written(entry: Entry):
    facts: dict[str, object] = {}
    with entry.write(facts):
        facts["epochs"] = 3
    assert entry.manifest()["epochs"] == 3


def test_nan_is_no_fact(entry: Entry):
    with pytest.raises(ValueError, match="not JSON compliant"), entry.write({"loss": float("nan")}):
        pass
    assert not entry.exists()


def test_of_two_equal_writers_the_first_stays(entry: Entry):
    with entry.write({"threads": 1}) as folder:
        (folder / "table").write_bytes(b"rows")
        written(entry, table=b"rows")
    assert entry.manifest()["analysis"] == "path"
    assert [path.name for path in entry.folder.parent.iterdir()] == [KEY]


def test_of_two_different_writers_the_first_stays_and_the_second_is_told(entry: Entry):
    def second() -> None:
        with entry.write() as folder:
            (folder / "table").write_bytes(b"rows")
            written(entry, table=b"ROWS")

    with pytest.raises(StoreError, match=r"another process wrote units .* other bytes in 'table'"):
        second()
    assert entry.read_bytes("table") == b"ROWS"
    assert [path.name for path in entry.folder.parent.iterdir()] == [KEY]


def test_a_file_can_be_mapped(entry: Entry):
    images = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    with entry.write() as folder:
        np.save(folder / "images.npy", images)
    assert np.array_equal(np.load(entry.path("images.npy"), mmap_mode="r"), images)


def test_partial_work_goes_when_the_entry_is_whole(store: Store, entry: Entry):
    folder = store.working("units", KEY)
    (folder / "last.pt").write_bytes(b"state")
    assert store.working("units", KEY) == folder == store.root / "working" / "units" / KEY
    with pytest.raises(RuntimeError), entry.write():
        raise RuntimeError
    assert (folder / "last.pt").exists()
    written(entry, table=b"rows")
    assert not folder.exists()
    assert list(folder.parent.iterdir()) == []
    (store.working("units", KEY) / "x").write_bytes(b"")
    store.finish("units", KEY)
    store.finish("units", KEY)
    assert not folder.exists()


@pytest.mark.kind("R2")
@pytest.mark.parametrize("content", [b'{"created": ', b"\xff\xfe", b"[1]", b"", None])
def test_damaged_or_lost_provenance_hinders_nothing(store: Store, entry: Entry, content: bytes | None):
    path = written(entry, table=b"1").folder / "provenance.json"
    path.unlink() if content is None else path.write_bytes(content)
    assert entry.read_bytes("table") == b"1"
    assert entry.provenance() == {}
    assert [(problem.path, problem.harmful) for problem in verify(store)] == [(path, False)]


def test_provenance_is_json_and_keeps_the_writers_words(entry: Entry):
    with entry.write(None, {"seconds": 2.5}):
        pass
    assert json.loads((entry.folder / "provenance.json").read_text())["seconds"] == 2.5
