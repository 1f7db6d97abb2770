"""The same picture twice: it stays in one split, and it is said."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.broken_pictures import SIZE, encoded, folder_with, opened
from tests.data.making import folder_of, picture, random_set
from transferscope.data import near_duplicates
from transferscope.data.decoding import Decoding
from transferscope.data.duplicates import grouped_duplicates, twin_numbers
from transferscope.data.images import ImageSet
from transferscope.data.near_duplicates import near_duplicate_notes, near_pairs, thumbnail
from transferscope.data.sources import Arrays, Folder
from transferscope.data.spec import SplitSettings
from transferscope.data.splits import make_splits
from transferscope.data.store import open_images
from transferscope.errors import DataError

pytestmark = pytest.mark.kind("data-4")


def splits_of(images: ImageSet, seed: int = 0) -> list[str]:
    """The split of each example."""
    where = [""] * len(images)
    for split, indices in make_splits(images, SplitSettings(seed=seed, test=0.3, validation=0.3)).items():
        for index in indices.tolist():
            where[index] = split
    return where


def copies() -> dict[str, bytes]:
    """The first good picture of class a, in other files."""
    first = picture(10, SIZE)
    exif = Image.Exif()
    exif[0x0112] = 3
    return {
        "again.png": encoded(first),
        "compressed.png": encoded(first, compress_level=0),
        "bitmap.bmp": encoded(first, "BMP"),
        "tagged.tif": encoded(first, "TIFF", tiffinfo={270: "another"}),
        "lossless.webp": encoded(first, "WEBP", lossless=True),
        "turned.png": encoded(first.rotate(180), exif=exif),
        "alpha.png": encoded(first.convert("RGBA")),
    }


@pytest.mark.parametrize("name", copies())
def test_a_copy_stays_with_its_original_whatever_the_file(name: str, tmp_path: Path) -> None:
    images = opened(folder_with(tmp_path / "data", {name: copies()[name]}))
    one, other = images.names.index("a/good0.png"), images.names.index(f"a/{name}")
    for seed in range(6):
        where = splits_of(images, seed)
        assert where[one] == where[other]
    (note,) = images.notes
    assert "the same picture more than once" in note
    assert "1 picture in 2 files" in note
    assert name in note


def test_copies_across_given_splits_are_counted(tmp_path: Path) -> None:
    root = tmp_path / "data"
    for number, split in enumerate(("train", "test")):
        folder_of(root / split, {"cat": 4, "dog": 4})
        for path in (root / split).rglob("*.png"):
            picture(number * 100 + int(path.stem) + 50 * (path.parent.name == "dog")).save(path)
    shutil.copy(root / "train" / "cat" / "000.png", root / "test" / "cat" / "copy.png")
    shutil.copy(root / "train" / "cat" / "001.png", root / "test" / "cat" / "other.png")
    notes = opened(root, 8).notes
    assert any("2 pictures in 4 files" in note for note in notes)
    assert any("in several of the splits that the source gives: 2 pictures" in note for note in notes)
    assert not any("different labels" in note for note in notes)


def test_copies_under_two_classes_are_counted(tmp_path: Path) -> None:
    root = folder_with(tmp_path / "data", {})
    shutil.copy(root / "a" / "good0.png", root / "b" / "c.png")
    notes = opened(root).notes
    assert any("under different labels: 1 picture (a/good0.png = b/c.png)" in note for note in notes)
    assert not any("splits that the source gives" in note for note in notes)


PIXELS = np.random.default_rng(1).integers(0, 256, (12, 8, 8, 3), dtype=np.uint8)


def arrays(folder: Path, twins: dict[int, int], labels: object = None, **more: object) -> Arrays:
    pixels = PIXELS.copy()
    for one, other in twins.items():
        pixels[one] = pixels[other]
    return Arrays.save(folder, pixels, np.arange(12) % 2 if labels is None else np.asarray(labels), **more)


def test_groups_that_share_a_picture_become_one(tmp_path: Path) -> None:
    source = arrays(tmp_path / "x", {2: 0, 4: 3}, groups=["p", "p", "q", "q", "r", "r", *"uvwxyz"])
    images = open_images(source, 8, tmp_path / "store")
    assert images.groups is not None
    assert len(set(images.groups[:6])) == 1
    assert len(set(images.groups)) == 7


def test_copies_of_multi_label_pictures(tmp_path: Path) -> None:
    labels = np.array([[1, 0], [0, 1], [1, 1], [0, 0]] * 3)
    images = open_images(arrays(tmp_path / "x", {4: 0, 9: 1, 7: 2}, labels), 8, tmp_path / "store")
    for seed in range(4):
        where = splits_of(images, seed)
        assert (where[0], where[1], where[2]) == (where[4], where[9], where[7])
    assert "3 pictures in 6 files" in images.notes[0]
    assert "under different labels: 1 picture (2 = 7)" in images.notes[1]


def test_a_copy_without_a_split_beside_a_test_picture(tmp_path: Path) -> None:
    splits = ["test", "test", "test", "test", None, None, None, None, None, None, None, None]
    images = open_images(arrays(tmp_path / "x", {4: 0, 6: 5}, splits=splits), 8, tmp_path / "store")
    assert any("in several of the splits that the source gives: 1 picture (0)" in note for note in images.notes)


def test_copies_of_the_training_pool_stay_out_of_validation(tmp_path: Path) -> None:
    splits = ["test"] * 4 + ["train"] * 8
    images = open_images(arrays(tmp_path / "x", {8: 4, 11: 5}, splits=splits), 8, tmp_path / "store")
    for seed in range(6):
        where = splits_of(images, seed)
        assert (where[4], where[5]) == (where[8], where[11])
        assert where[:4] == ["test"] * 4
    assert not any("that the source gives" in note for note in images.notes)


def test_without_copies_nothing_changes(tmp_path: Path) -> None:
    """Fingerprints and splits are those of versions that did not look for copies: networks keep their keys."""
    images = random_set(tmp_path)
    assert images.groups is None
    assert images.notes == ()
    assert images.fingerprint == "c42d5c84e888e4d4fc2214f389bcd64d66483a48fd497899896e0a95f907a165"
    grouped = open_images(arrays(tmp_path / "x", {}, groups=list("aabbccddeeff")), 8, tmp_path / "store")
    assert grouped.groups == tuple("aabbccddeeff")


def test_copies_can_be_divided_like_others(tmp_path: Path) -> None:
    source = arrays(tmp_path / "x", {2: 0})
    apart = open_images(source, 8, tmp_path / "store", decoding=Decoding(duplicates="ignore"))
    together = open_images(source, 8, tmp_path / "store")
    assert apart.groups is None
    assert together.groups is not None
    assert apart.fingerprint != together.fingerprint
    assert "target.duplicates=ignore" in apart.notes[0]


def test_a_class_of_one_picture_names_the_way_out(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "data", {"a": 6, "b": 6})
    for k in range(1, 6):
        shutil.copy(root / "b" / "000.png", root / "b" / f"{k:03d}.png")
    with pytest.raises(DataError, match=r"in 1 groups(.|\n)*target\.duplicates=ignore"):
        make_splits(opened(root, 8), SplitSettings())
    images = open_images(Folder(path=str(root)), 8, tmp_path / "store", decoding=Decoding(duplicates="ignore"))
    assert sum(map(len, make_splits(images, SplitSettings()).values())) == 12


def test_numbers_and_groups() -> None:
    twins = twin_numbers([b"x", b"y", b"x", b"z", b"y"])
    assert twins.tolist() == [0, 1, 0, 3, 1]
    assert grouped_duplicates(None, list("abcde"), twins) == ["a", "b", "a", "d", "b"]
    assert grouped_duplicates(list("12345"), list("abcde"), np.arange(5)) == list("12345")
    assert grouped_duplicates(None, list("abcde"), np.arange(5)) is None
    assert len(set(grouped_duplicates(list("12231"), list("abcde"), twins) or ())) == 2


def near_copies() -> dict[str, bytes]:
    """A picture of blobs, in other forms."""
    first = blobs(1)
    return {
        "quality.jpg": encoded(first, "JPEG", quality=60),
        "small.png": encoded(first.resize((40, 40), Image.Resampling.LANCZOS)),
        "large.webp": encoded(first.resize((96, 96), Image.Resampling.LANCZOS), "WEBP", quality=80),
        "brighter.png": encoded(first.point(lambda value: min(255, value + 8))),
        "one_pixel.png": encoded(spotted(first)),
    }


def blobs(seed: int) -> Image.Image:
    return picture(seed, (6, 6)).resize((64, 64), Image.Resampling.BICUBIC)


def spotted(image: Image.Image) -> Image.Image:
    changed = image.copy()
    changed.putpixel((5, 5), (255, 0, 255))
    return changed


@pytest.mark.parametrize("name", near_copies())
def test_near_copies_are_said_and_change_no_split(name: str, tmp_path: Path) -> None:
    files = {"first.png": encoded(blobs(1)), "other.png": encoded(blobs(2)), name: near_copies()[name]}
    images = opened(folder_with(tmp_path / "data", files), 32)
    (note,) = images.notes
    assert "nearly the same picture" in note
    assert "1 pair" in note
    assert name in note
    assert images.groups is None


def test_near_pairs_are_those_of_all_comparisons() -> None:
    rng = np.random.default_rng(0)
    pixels = np.stack([np.asarray(blobs(seed).resize((16, 16))) for seed in range(300)])
    pixels[200:] = np.clip(pixels[:100] + rng.integers(-3, 4, pixels[:100].shape), 0, 255)
    pixels[7] = 40  # flat
    found = near_pairs([thumbnail(one) for one in pixels], pixels, np.arange(300))
    assert set(found) >= {(k, k + 200) for k in range(100) if k != 7}
    assert near_pairs([], pixels[:0], np.arange(0)) == []


@pytest.mark.parametrize("sort", ["spread", "alike"])
def test_near_pairs_of_thumbnails_in_many_cubes(sort: str) -> None:
    rng = np.random.default_rng(1)
    noise = np.kron(rng.normal(size=(900, 4, 4)), np.ones((2, 2)))
    ramp = 60 * np.linspace(-1, 1, 8)[:, None]
    grids = np.clip(128 + (30 * noise if sort == "spread" else ramp + 8 * noise), 0, 255).astype(np.uint8)
    grids[600:] = np.clip(grids[:300] + rng.integers(-2, 3, (300, 8, 8)), 0, 255)
    flat = grids.reshape(900, -1)
    correlations = np.triu(np.corrcoef(flat), 1)
    clear = np.abs(correlations - 0.995) > 1e-6
    expected = {(int(a), int(b)) for a, b in zip(*np.nonzero((correlations > 0.995) & clear), strict=True)}
    found = near_pairs([grid.tobytes() for grid in grids], grids[..., None], np.arange(900))
    assert set(found) == expected
    assert len(expected) > 250


def test_too_many_pictures_that_look_alike_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.stack([np.asarray(blobs(seed).resize((16, 16))) for seed in range(30)])
    thumbnails = [thumbnail(one) for one in pixels]
    monkeypatch.setattr(near_duplicates, "_MOST_COMPARISONS", 30)
    assert near_pairs(thumbnails, pixels, np.arange(30)) is None
    assert "not looked for" in near_duplicate_notes([f"{k}.png" for k in range(30)], None, None)[0]
