"""The image store on full disks, interrupted, and used by several processes."""

import errno
import json
import multiprocessing
import pickle
import resource
from pathlib import Path

import numpy as np
import pytest

from tests.data.making import random_set
from tests.data.test_image_store import entries
from transferscope.data.images import ImageSet
from transferscope.data.sources import Arrays, Factory, Folder
from transferscope.data.store import open_images
from transferscope.errors import StoreError
from transferscope.store import integrity


def test_a_store_that_cannot_be_written_or_read(
    source: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match=r"cannot lock (.|\n)*name another place"):
        open_images(source, 8, tmp_path / "file" / "store")
    images = open_images(source, 8, tmp_path / "store")

    def refused(place: Path) -> str:
        raise PermissionError(errno.EACCES, "refused", str(place))

    monkeypatch.setattr(integrity, "_sha256", refused)
    integrity.forget_checks()
    with pytest.raises(StoreError, match=r"cannot read (.|\n)*get the right to read"):
        open_images(source, 8, tmp_path / "store")
    images.path.unlink()
    with pytest.raises(StoreError, match=r"changed while they were in use"):
        images.pixels(0)


def test_full_disk(source: Folder, tmp_path: Path) -> None:
    """A limit on file size stands for the full disk: writes fail half-way, by the system."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    (tmp_path / "store").mkdir()
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (600, before[1]))
        with pytest.raises(StoreError, match=r"File too large(.|\n)*ulimit -f"):
            open_images(source, 8, tmp_path / "store")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert entries(tmp_path / "store") == []
    assert len(open_images(source, 8, tmp_path / "store")) == 7


def test_interrupted_half_way_leaves_nothing(source: Folder, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_images(source, 8, tmp_path / "store", progress=stop)
    assert entries(tmp_path / "store") == []


def _open(path: str, folder: str, results: "multiprocessing.Queue[tuple[str, int]]") -> None:
    decoded = []
    images = open_images(Folder(path=path), 8, Path(folder), progress=lambda done, _: decoded.append(done))
    results.put((images.fingerprint, len(decoded)))


def test_two_processes_at_once(source: Folder, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    processes = [context.Process(target=_open, args=(source.path, str(tmp_path / "store"), results)) for _ in range(3)]
    for process in processes:
        process.start()
    found = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(60)
    assert len({fingerprint for fingerprint, _ in found}) == 1
    assert sorted(count for _, count in found) == [0, 0, 7]


def test_download_while_listing_is_stored_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Listing may fetch files, and with them change the stamp."""
    fetched = tmp_path / "fetched"
    source = Arrays.save(tmp_path / "x", np.zeros((4, 8, 8), np.uint8), np.array([0, 1, 0, 1]))
    listing, stamp = Arrays.listing, Arrays.stamp

    def fetch(self: Arrays) -> object:
        fetched.touch()
        return listing(self)

    monkeypatch.setattr(Arrays, "listing", fetch)
    monkeypatch.setattr(Arrays, "stamp", lambda self: [stamp(self), fetched.exists()])
    first = open_images(source, 8, tmp_path / "store")
    assert open_images(source, 8, tmp_path / "store").path == first.path
    assert len(entries(tmp_path / "store")) == 1
    fetched.unlink()
    assert open_images(source, 8, tmp_path / "store").path == first.path


def test_sent_to_another_process_without_pixels(tmp_path: Path) -> None:
    images = random_set(tmp_path, count=400)
    assert images.array.nbytes > 100_000
    sent = pickle.dumps(images)
    assert len(sent) < 20_000
    back = pickle.loads(sent)
    assert isinstance(back, ImageSet)
    assert np.array_equal(back.array, images.array)


def test_the_map_is_private(tmp_path: Path) -> None:
    images = random_set(tmp_path)
    before = images.path.read_bytes()
    images.array[0] = 0
    assert images.path.read_bytes() == before


def test_manifest_says_what_is_there(source: Folder, tmp_path: Path) -> None:
    images = open_images(source, 8, tmp_path / "store")
    manifest = json.loads((images.path.parent / "manifest.json").read_text())
    assert manifest["fingerprint"] == images.fingerprint
    assert manifest["files"]["images.npy"]["bytes"] == images.path.stat().st_size


def test_errors_of_users_code_are_not_taken_for_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "users_failing_data.py").write_text(
        "class Rows(list):\n"
        "    def __getitem__(self, k):\n"
        "        if k == 1 and len(self.seen) >= 4: raise RuntimeError('their bug')\n"
        "        self.seen.append(k)\n"
        "        return super().__getitem__(k)\n"
        "def rows():\n"
        "    import numpy as np\n"
        "    made = Rows((np.zeros((8, 8), np.uint8), k % 2) for k in range(4)); made.seen = []\n"
        "    return made\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(RuntimeError, match="their bug"):
        open_images(Factory(function="users_failing_data:rows"), 8, tmp_path / "store", on_unreadable="skip")
    assert entries(tmp_path / "store") == []
