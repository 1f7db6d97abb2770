import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.data.making import folder_of, picture
from transferscope.data import decode_all
from transferscope.data import store as image_store
from transferscope.data.batches import EvaluationBatches
from transferscope.data.decode import square
from transferscope.data.decoding import Decoding
from transferscope.data.sources import Arrays, Folder
from transferscope.data.store import open_images
from transferscope.errors import CorruptEntryError, DataError, StoreError
from transferscope.store import integrity


def entries(folder: Path) -> list[Path]:
    return sorted(folder.glob("??/*"))


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


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-3] ^= 1
    file.write_bytes(bytes(data))


def halve(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def folder_in_its_place(file: Path) -> None:
    file.unlink()
    file.mkdir()


@pytest.mark.kind("R8")
@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("damage", [flip, halve, Path.unlink, folder_in_its_place])
@pytest.mark.parametrize("name", ["images.npy", "labels.npy", "examples.json", "manifest.json"])
def test_damage_is_found_and_names_the_entry(
    source: Folder,
    tmp_path: Path,
    name: str,
    damage: Callable[[Path], None],
    large: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(image_store, "_ALWAYS_HASHED", 0 if large else 2**28)
    place = open_images(source, 8, tmp_path / "images").path.parent
    damage(place / name)
    with pytest.raises(CorruptEntryError, match=name) as caught:
        open_images(source, 8, tmp_path / "images")
    assert caught.value.entry == ("images", place.name)


def test_large_files_are_hashed_where_their_stamp_changed(
    source: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_store, "_ALWAYS_HASHED", 0)
    hashed: list[str] = []
    real = integrity._sha256
    monkeypatch.setattr(integrity, "_sha256", lambda path: hashed.append(path.name) or real(path))
    file = open_images(source, 8, tmp_path / "images").path
    hashed.clear()
    integrity.forget_checks()
    open_images(source, 8, tmp_path / "images")
    assert "images.npy" not in hashed
    integrity.forget_checks()
    os.utime(file, (1, 1))
    open_images(source, 8, tmp_path / "images")
    assert "images.npy" in hashed


def overwrite(file: Path) -> None:
    with file.open("r+b") as stream:
        stream.seek(-30, os.SEEK_END)
        stream.write(b"x" * 30)


def overwrite_and_put_the_time_back(file: Path) -> None:
    state = file.stat()
    overwrite(file)
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))


def replace_by_another(file: Path) -> None:
    data = file.read_bytes()
    file.unlink()
    file.write_bytes(data[:-1] + b"x")


@pytest.mark.kind("R8")
@pytest.mark.parametrize(
    "change", [overwrite, overwrite_and_put_the_time_back, replace_by_another, flip, halve, Path.unlink]
)
def test_pixels_that_change_while_they_are_in_use_are_an_error(
    source: Folder, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    images = open_images(source, 8, tmp_path / "images")
    batches = EvaluationBatches(images, range(7), (0.5,) * 3, (0.5,) * 3, 2)
    steps = iter(batches)
    next(steps)
    change(images.path)
    for read in (lambda: next(steps), lambda: images.pixels(0), images.check):
        with pytest.raises(StoreError, match=r"changed while they were in use(.|\n)*run the same command again"):
            read()


@pytest.mark.kind("R8")
def test_pixels_that_are_only_touched_or_moved_back_are_the_same(source: Folder, tmp_path: Path) -> None:
    images = open_images(source, 8, tmp_path / "images")
    os.utime(images.path, (1, 1))
    images.check()
    copy = images.path.read_bytes()
    images.path.unlink()
    images.path.write_bytes(copy)
    images.check()


@pytest.mark.kind("S12")
@pytest.mark.parametrize("umask", [0o022, 0o002, 0o027, 0o077])
def test_others_may_read_as_the_umask_says(source: Folder, tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        place = open_images(source, 8, tmp_path / "images").path.parent
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in place.iterdir()} == {0o666 & ~umask}
    assert place.stat().st_mode & 0o777 == 0o777 & ~umask
