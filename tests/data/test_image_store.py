import errno
import json
import multiprocessing
import os
import pickle
import resource
from pathlib import Path

import numpy as np
import pytest

from tests.data.making import folder_of, picture, random_set
from transferscope.data import decode_all
from transferscope.data import store as image_store
from transferscope.data.decode import square
from transferscope.data.decoding import Decoding
from transferscope.data.images import ImageSet
from transferscope.data.sources import Arrays, Factory, Folder
from transferscope.data.store import open_images
from transferscope.errors import CorruptEntryError, DataError, StoreError


@pytest.fixture
def source(tmp_path: Path) -> Folder:
    return Folder(path=str(folder_of(tmp_path / "data", {"a": 3, "b": 4})))


def entries(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir())


def test_pixels_labels_and_names(source: Folder, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    images = open_images(source, 8, tmp_path / "store", progress=lambda done, total: seen.append((done, total)))
    assert seen == [(k, 7) for k in range(1, 8)]
    assert images.array.shape == (7, 8, 8, 3)
    assert images.labels.tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert images.names[3] == "b/000.png"
    assert images.classes == ("a", "b")
    assert len(images) == 7
    assert "7 images, 8 pixels, 2 classes" in repr(images)
    for index in range(7):
        assert np.array_equal(images.pixels(index), square(source.image(index), 8))
    assert images.pixels([6, 0]).shape == (2, 8, 8, 3)
    with pytest.raises(DataError, match=r"no image of that number(.|\n)*0 to 6"):
        images.pixels([0, 7])


def test_order_holds_while_pictures_are_opened_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_all, "_WINDOW", 3)
    pixels = np.random.default_rng(0).integers(0, 256, (11, 8, 8, 3), dtype=np.uint8)
    images = open_images(Arrays.save(tmp_path / "x", pixels, np.arange(11) % 2), 8, tmp_path / "store")
    assert np.array_equal(images.array, pixels)


def test_opened_again_without_decoding(source: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = open_images(source, 8, tmp_path / "store")
    monkeypatch.setattr(image_store, "_build", None)
    again = open_images(source, 8, tmp_path / "store")
    assert again.fingerprint == first.fingerprint
    assert again.path == first.path


def test_one_folder_for_each_size_and_fit(source: Folder, tmp_path: Path) -> None:
    sets = [
        open_images(source, size, tmp_path / "store", decoding=Decoding(fit=fit))
        for size in (8, 9)
        for fit in ("crop", "squash")
    ]
    assert len({images.fingerprint for images in sets}) == 4
    assert len(entries(tmp_path / "store")) == 4


def test_changed_files_are_decoded_again(source: Folder, tmp_path: Path) -> None:
    before = open_images(source, 8, tmp_path / "store")
    picture(99).save(Path(source.path) / "a" / "001.png")
    after = open_images(source, 8, tmp_path / "store")
    assert after.fingerprint != before.fingerprint
    assert np.array_equal(after.pixels(1), square(picture(99), 8))
    assert np.array_equal(before.pixels(0), after.pixels(0))


def test_touched_files_keep_the_fingerprint(source: Folder, tmp_path: Path) -> None:
    before = open_images(source, 8, tmp_path / "store")
    os.utime(Path(source.path) / "a" / "001.png", (1, 1))
    after = open_images(source, 8, tmp_path / "store")
    assert after.path != before.path
    assert after.fingerprint == before.fingerprint


def test_fingerprint_covers_everything_that_splits_and_trains(tmp_path: Path) -> None:
    pixels = np.arange(6 * 8 * 8, dtype=np.uint8).reshape(6, 8, 8)
    other = pixels.copy()
    other[0, 0, 0] += 1
    labels = np.array([0, 1, 0, 1, 0, 1])
    choices = [
        (pixels, labels, {}),
        (other, labels, {}),
        (pixels, 1 - labels, {}),
        (pixels, labels, {"classes": ("x", "y")}),
        (pixels, labels, {"groups": [1, 1, 2, 2, 3, 3]}),
        (pixels, labels, {"splits": ["train", "test"] * 3}),
    ]
    prints = [
        open_images(Arrays.save(tmp_path / str(k), a, b, **more), 8, tmp_path / "store").fingerprint
        for k, (a, b, more) in enumerate(choices)
    ]
    assert len(set(prints)) == len(choices)
    again = Arrays.save(tmp_path / "again", pixels, labels)
    assert open_images(again, 8, tmp_path / "store").fingerprint == prints[0]


def test_groups_in_several_given_splits_are_noted(tmp_path: Path) -> None:
    source = Arrays.save(
        tmp_path / "x",
        np.random.default_rng(0).integers(0, 256, (4, 8, 8), dtype=np.uint8),
        np.array([0, 1, 0, 1]),
        groups=[1, 1, 2, 3],
        splits=["train", "test", "test", None],
    )
    images = open_images(source, 8, tmp_path / "store")
    assert images.given_splits == ("train", "test", "test", None)
    assert images.notes == ("1 groups lie in more than one of the splits the source gives: they leak.",)


def spoil(root: Path) -> None:
    whole = (root / "a" / "000.png").read_bytes()
    (root / "a" / "000.png").write_bytes(whole[: len(whole) // 2])
    (root / "b" / "001.png").write_text("this is no picture")
    (root / "b" / "zzz.png").symlink_to(root / "gone.png")


def test_unreadable_files_are_named_and_counted(source: Folder, tmp_path: Path) -> None:
    spoil(Path(source.path))
    with pytest.raises(DataError, match="3 of 8 images cannot be read") as caught:
        open_images(source, 8, tmp_path / "store")
    message = str(caught.value)
    assert "a/000.png" in message
    assert "a PNG picture that is cut off" in message
    assert "b/001.png (a text file, which begins with 'this is no picture')" in message
    assert "b/zzz.png (no such file or directory)" in message
    assert "--set target.on_unreadable=skip" in message
    assert entries(tmp_path / "store") == []


def test_unreadable_files_are_skipped_if_asked(source: Folder, tmp_path: Path) -> None:
    spoil(Path(source.path))
    images = open_images(source, 8, tmp_path / "store", on_unreadable="skip")
    assert images.names == ("a/001.png", "a/002.png", "b/000.png", "b/002.png", "b/003.png")
    assert images.labels.tolist() == [0, 0, 1, 1, 1]
    assert [name for name, _ in images.skipped] == ["a/000.png", "b/001.png", "b/zzz.png"]
    assert "3 of 8 images could not be read" in images.notes[-1]
    assert images.array.shape == (5, 8, 8, 3)
    assert np.array_equal(images.pixels(2), square(picture(1000), 8))
    # What was skipped once is not accepted silently by someone who did not ask for it.
    with pytest.raises(DataError, match="3 of 8 images cannot be read"):
        open_images(source, 8, tmp_path / "store")


def test_skipping_may_change_the_number_of_digits(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "data", {"a": 60, "b": 50})
    for number in range(15):
        (root / "a" / f"{number:03d}.png").write_bytes(b"")
    images = open_images(Folder(path=str(root)), 8, tmp_path / "store", on_unreadable="skip")
    assert images.array.shape == (95, 8, 8, 3)
    assert np.array_equal(images.pixels(0), square(picture(15), 8))
    assert np.array_equal(images.pixels(94), square(picture(1049), 8))


def test_skipping_may_not_empty_a_class_or_all(source: Folder, tmp_path: Path) -> None:
    for name in ("000", "001", "002"):
        (Path(source.path) / "a" / f"{name}.png").write_bytes(b"")
    with pytest.raises(DataError, match="only one class"):
        open_images(source, 8, tmp_path / "store", on_unreadable="skip")
    for path in Path(source.path).rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"7 of 7 images cannot be read(.|\n)*and 2 more"):
        open_images(source, 8, tmp_path / "store", on_unreadable="skip")


def test_image_size_that_does_not_fit(source: Folder, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"image size does not fit(.|\n)*at least 8"):
        open_images(source, 4, tmp_path)


@pytest.mark.parametrize("name", ["images.npy", "labels.npy", "examples.json"])
def test_flipped_bits_are_found(source: Folder, tmp_path: Path, name: str) -> None:
    place = open_images(source, 8, tmp_path / "store").path.parent
    data = bytearray((place / name).read_bytes())
    data[-3] ^= 1
    (place / name).write_bytes(bytes(data))
    with pytest.raises(CorruptEntryError, match=rf"damaged(.|\n)*{name}(.|\n)*delete this folder"):
        open_images(source, 8, tmp_path / "store")


def test_hashing_can_be_left_out_but_not_sizes(source: Folder, tmp_path: Path) -> None:
    file = open_images(source, 8, tmp_path / "store").path
    data = bytearray(file.read_bytes())
    data[-3] ^= 1
    file.write_bytes(bytes(data))
    assert len(open_images(source, 8, tmp_path / "store", verify=False)) == 7
    file.write_bytes(bytes(data[:-1]))
    with pytest.raises(CorruptEntryError, match="as written"):
        open_images(source, 8, tmp_path / "store", verify=False)
    file.unlink()
    with pytest.raises(CorruptEntryError, match="of -1 bytes"):
        open_images(source, 8, tmp_path / "store", verify=False)


@pytest.mark.parametrize("text", ["{", "[]", "{}"])
def test_damaged_manifest(source: Folder, tmp_path: Path, text: str) -> None:
    place = open_images(source, 8, tmp_path / "store").path.parent
    (place / "manifest.json").write_text(text)
    with pytest.raises(CorruptEntryError, match="damaged"):
        open_images(source, 8, tmp_path / "store")


def test_a_folder_without_manifest_is_built_anew(source: Folder, tmp_path: Path) -> None:
    place = open_images(source, 8, tmp_path / "store").path.parent
    (place / "manifest.json").unlink()
    assert len(open_images(source, 8, tmp_path / "store")) == 7


def test_a_store_that_cannot_be_written_or_read(
    source: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match=r"cannot be written(.|\n)*another folder"):
        open_images(source, 8, tmp_path / "file" / "store")
    images = open_images(source, 8, tmp_path / "store")

    def refused(place: Path) -> str:
        raise PermissionError(errno.EACCES, "refused", str(place))

    monkeypatch.setattr(image_store, "_file_hash", refused)
    with pytest.raises(StoreError, match=r"cannot be read(.|\n)*permissions"):
        open_images(source, 8, tmp_path / "store")
    images.path.unlink()
    with pytest.raises(StoreError, match=r"cannot be read(.|\n)*rebuilt"):
        images.pixels(0)


def test_full_disk(source: Folder, tmp_path: Path) -> None:
    """A limit on file size stands for the full disk: writes fail half-way, by the system."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    (tmp_path / "store").mkdir()
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (600, before[1]))
        with pytest.raises(StoreError, match="cannot be written"):
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
    assert manifest["files"]["images.npy"]["size"] == images.path.stat().st_size


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
