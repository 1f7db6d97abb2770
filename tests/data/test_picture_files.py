"""What is in a file that should be a picture: damaged metadata, no picture at all, warnings."""

import io
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.broken_pictures import (
    SIZE,
    damaged_metadata,
    encoded,
    folder_with,
    no_pictures,
    of,
    opened,
    png,
    segment,
    with_segment,
)
from tests.data.making import picture
from transferscope.data.metadata import without_metadata
from transferscope.data.sources import Folder
from transferscope.data.store import open_images
from transferscope.errors import DataError

DAMAGED = damaged_metadata()
NONE = no_pictures()


@pytest.mark.kind("data-7")
@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_metadata_lose_no_picture(name: str, tmp_path: Path) -> None:
    images = opened(folder_with(tmp_path / "data", {name: DAMAGED[name]}))
    assert images.skipped == ()
    assert any("damaged metadata" in note and name in note and "1 of 7 images" in note for note in images.notes)
    seen = of(images, f"a/{name}").astype(int)
    if name.endswith(".png"):
        assert np.array_equal(seen[0, :, 0], np.arange(24))
    else:
        # As it lies, whatever the damaged EXIF says.
        pixels = np.asarray(picture(4 if name.endswith(".tif") else 3, SIZE)).astype(int)
        exact = not name.endswith(".jpg")
        assert np.array_equal(seen, pixels) if exact else np.abs(seen - pixels).mean() < 60


@pytest.mark.kind("data-7")
def test_good_metadata_are_used_and_not_counted(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    images = opened(folder_with(tmp_path / "data", {"turned.png": encoded(picture(3, SIZE), exif=exif)}))
    assert np.array_equal(of(images, "a/turned.png"), np.asarray(picture(3, SIZE))[::-1, ::-1])
    assert images.notes == ()


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_without_metadata_pixels_stay(form: str) -> None:
    exif = Image.Exif()
    exif[0x010E] = "words"
    whole = encoded(picture(3, SIZE), form, exif=exif)
    bare = without_metadata(whole)
    assert bare is not None
    assert bare != whole
    assert without_metadata(b"GIF89a") is None
    with Image.open(io.BytesIO(bare)) as one, Image.open(io.BytesIO(whole)) as other:
        assert np.array_equal(np.asarray(one), np.asarray(other))
        assert one.getexif().get(0x010E) is None


@pytest.mark.kind("data-11")
@pytest.mark.parametrize("name", NONE)
def test_what_a_file_is_that_is_no_picture(name: str, tmp_path: Path) -> None:
    data, expected = NONE[name]
    images = opened(folder_with(tmp_path / "data", {f"{name}.jpg": data}))
    ((skipped, why),) = images.skipped
    assert skipped == f"a/{name}.jpg"
    assert expected in why
    assert "cannot identify" not in why


@pytest.mark.kind("data-15")
def test_the_hint_for_unreadable_pictures_can_be_followed(tmp_path: Path) -> None:
    root = folder_with(tmp_path / "data", {"x.jpg": b""})
    with pytest.raises(DataError, match=r"a/x\.jpg \(an empty file\)(.|\n)*--set target\.on_unreadable=skip"):
        open_images(Folder(path=str(root)), 24, tmp_path / "store")
    assert any("1 of 7 images could not be read" in note and "an empty file" in note for note in opened(root).notes)


def _warning_files() -> dict[str, bytes]:
    palette = picture(3, SIZE).convert("P")
    return {
        "tag_type.tif": DAMAGED["resolution.tif"],
        "tag_offset.tif": DAMAGED["offset.tif"],
        "animation.png": png(8, 0, bytes(24), ((b"acTL", bytes(8)),)),
        "several.jpg": DAMAGED["several.jpg"],
        "palette.png": encoded(palette, transparency=bytes([0] * 128 + [128] * 128)),
        "exif.jpg": with_segment(segment(0xE1, b"Exif\0\0MM\0*\0\0\0\x08" + struct.pack(">H", 9) + bytes(20))),
    }


@pytest.mark.kind("data-16")
@pytest.mark.parametrize("name", [*_warning_files(), "many pixels"])
def test_warnings_of_pillow_are_not_shown(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {name: _warning_files()[name]} if name in _warning_files() else {}
    if not files:
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 400)
    root = folder_with(tmp_path / "data", files)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        images = opened(root)
    assert [str(one.message) for one in seen] == []
    assert images.skipped == ()
    assert (89_478_485 if files else 400) == Image.MAX_IMAGE_PIXELS


def test_warnings_of_others_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transferscope.data.sources import Factory

    (tmp_path / "users_warning_data.py").write_text(
        "import warnings\nimport numpy as np\n"
        "class Rows(list):\n"
        "    def __getitem__(self, k):\n"
        "        warnings.warn('theirs')\n"
        "        return super().__getitem__(k)\n"
        "def rows(): return Rows((np.full((8, 8), k, np.uint8), k % 2) for k in range(4))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.warns(UserWarning, match="theirs"):
        open_images(Factory(function="users_warning_data:rows"), 8, tmp_path / "store")
