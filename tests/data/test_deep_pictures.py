"""What pictures lose that are more than 8 bits of colour in one frame, and what is said of it."""

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.broken_pictures import SIZE, encoded, folder_with, of, opened, png, tiff
from tests.data.making import picture
from transferscope.data.images import ImageSet
from transferscope.data.sources import Arrays
from transferscope.data.store import open_images
from transferscope.study.settings import Target

pytestmark = pytest.mark.kind("data-8")

RAMP = np.arange(24 * 24, dtype=np.uint16).reshape(24, 24)


def frames(form: str, mode: str = "RGB") -> bytes:
    pages = [Image.new("RGB", SIZE, "black"), *(picture(k, SIZE) for k in range(3))]
    return encoded(
        pages[0].convert(mode), form, save_all=True, append_images=[page.convert(mode) for page in pages[1:]]
    )


def sixteen(*values: int) -> bytes:
    return struct.pack(f">{len(values)}H", *values)


SAID = {
    "twelve_bits.png": (encoded(Image.fromarray(RAMP * 7)), "highest is 4025, at most 17 of 256", "white_level=4095"),
    "twelve_bits.tif": (tiff((RAMP * 7).astype("<u2")), "highest is 4025, at most 17 of 256", "white_level=4095"),
    "ten_bits.png": (encoded(Image.fromarray(RAMP)), "highest is 575, at most 3 of 256", "white_level=1023"),
    "long_integers.tif": (tiff((RAMP * 7).astype("<i4"), sample_format=2), "highest is 4025", "white_level=4095"),
    "colour.png": (png(16, 2, sixteen(*[1000, 2000, 4095] * 24)), "at most 16 of 256", "white_level=4095"),
    "alpha.png": (png(16, 4, sixteen(*[4095, 65535] * 24)), "at most 16 of 256", "white_level=4095"),
    "full.png": (encoded(Image.fromarray(RAMP * 113)), "0 to 65535 become 0 to 255, the highest is 64975", ""),
    "float.tif": (tiff((RAMP / 575).astype("<f4"), sample_format=3), "0 to 1 become 0 to 255", ""),
    "pages.tif": (frames("TIFF"), "more than one page or frame", "the first is taken"),
    "moving.gif": (frames("GIF", "P"), "more than one page or frame", "the first is taken"),
    "moving.webp": (frames("WEBP"), "more than one page or frame", "the first is taken"),
    "moving.png": (frames("PNG"), "more than one page or frame", "the first is taken"),
    "several.jpg": (frames("MPO"), "more than one page or frame", "the first is taken"),
    "inks.jpg": (encoded(picture(1, SIZE).convert("CMYK"), "JPEG"), "CMYK", "without their colour profile"),
    "inks.tif": (encoded(picture(1, SIZE).convert("CMYK"), "TIFF"), "CMYK", "without their colour profile"),
    "glass.png": (encoded(picture(1, SIZE).convert("P"), transparency=bytes(256)), "transparent pixels", "show white"),
    "alpha.webp": (encoded(Image.new("RGBA", SIZE, (1, 2, 3, 9)), "WEBP"), "transparent pixels", "show white"),
}


@pytest.mark.parametrize("name", SAID)
def test_what_is_lost_is_said_and_counted(name: str, tmp_path: Path) -> None:
    data, *words = SAID[name]
    images = opened(folder_with(tmp_path / "data", {name: data}))
    (note,) = images.notes
    assert all(word in note for word in ["1 of 7 images", name, *words])


@pytest.mark.parametrize(
    "data",
    [
        encoded(picture(1, SIZE)),
        encoded(picture(1, SIZE).convert("L")),
        encoded(picture(1, SIZE).convert("RGBA")),  # without a transparent pixel
        encoded(picture(1, SIZE).convert("P")),
        encoded(picture(1, SIZE).convert("1")),
        encoded(picture(1, SIZE), "JPEG"),
    ],
)
def test_nothing_is_said_where_nothing_is_lost(data: bytes, tmp_path: Path) -> None:
    assert opened(folder_with(tmp_path / "data", {"x.png": data})).notes == ()


HIDDEN = {
    "grey 16": png(16, 0, sixteen(*[0] * 12, *[40000] * 12), ((b"tRNS", sixteen(0)),)),
    "grey 16, another value": png(16, 0, sixteen(*[777] * 12, *[40000] * 12), ((b"tRNS", sixteen(777)),)),
    "colour 16": png(16, 2, sixteen(*[65535, 0, 300] * 12, *[40000] * 36), ((b"tRNS", sixteen(65535, 0, 300)),)),
    "grey 4": png(4, 0, bytes([0xFF] * 6 + [0x99] * 6), ((b"tRNS", sixteen(15)),)),
    "grey 2": png(2, 0, bytes([0xFF] * 3 + [0xAA] * 3), ((b"tRNS", sixteen(3)),)),
    "grey 1": png(1, 0, bytes([0x00, 0x0F, 0xFF]), ((b"tRNS", sixteen(0)),)),
    "grey 8": png(8, 0, bytes([5] * 12 + [156] * 12), ((b"tRNS", sixteen(5)),)),
}


@pytest.mark.parametrize("name", HIDDEN)
def test_a_transparent_value_shows_white(name: str, tmp_path: Path) -> None:
    images = opened(folder_with(tmp_path / "data", {"x.png": HIDDEN[name]}))
    row = of(images, "a/x.png")[0, :, 0]
    assert (row[:12] == 255).all()
    assert row[12:].tolist() == [{"grey 4": 153, "grey 2": 170, "grey 1": 255}.get(name, 156)] * 12
    assert any("transparent pixels: 1 of 7" in note for note in images.notes)


def test_white_is_zero_in_sixteen_bits_as_in_eight(tmp_path: Path) -> None:
    files = {
        "eight.tif": tiff(np.full((24, 24), 200, "u1"), photometric=0),
        "sixteen.tif": tiff(np.full((24, 24), 200 * 257, "<u2"), photometric=0),
    }
    images = opened(folder_with(tmp_path / "data", files))
    assert of(images, "a/eight.tif").max() == of(images, "a/sixteen.tif").min() == 55


def with_levels(root: Path, **levels: float) -> ImageSet:
    target = Target(data={"kind": "folder", "path": str(root)}, **levels)
    return opened(root, decoding=target)


def test_the_white_level_keeps_levels_apart(tmp_path: Path) -> None:
    root = folder_with(tmp_path / "data", {"deep.png": SAID["twelve_bits.png"][0], "plain.png": encoded(picture(9))})
    before, after = opened(root), with_levels(root, white_level=4095)
    assert len(np.unique(of(before, "a/deep.png"))) == 17
    assert len(np.unique(of(after, "a/deep.png"))) > 240
    assert of(after, "a/deep.png").max() == round(4025 * 255 / 4095)
    assert np.array_equal(of(before, "a/plain.png"), of(after, "a/plain.png"))
    assert before.fingerprint != after.fingerprint
    assert "0 to 4095 become 0 to 255" in after.notes[-1]


@pytest.mark.parametrize(
    ("data", "levels"),
    [
        (tiff((RAMP * 7.0).astype("<f4"), sample_format=3), {"white_level": 4025}),
        (tiff((RAMP * 7.0 - 1000).astype("<f4"), sample_format=3), {"white_level": 3025, "black_level": -1000}),
        (tiff(RAMP.astype("<i4") * 200, sample_format=2), {"white_level": 115000}),
        (tiff(RAMP.astype("<i2") - 500, sample_format=2), {"white_level": 75, "black_level": -500}),
    ],
)
def test_values_out_of_range_can_be_read_with_levels(data: bytes, levels: dict[str, float], tmp_path: Path) -> None:
    root = folder_with(tmp_path / "data", {"x.tif": data})
    ((_, why),) = opened(root).skipped
    assert "set target.white_level" in why
    seen = of(with_levels(root, **levels), "a/x.tif")
    assert (seen.min(), seen.max()) == (0, 255)


def test_values_beyond_levels_are_counted(tmp_path: Path) -> None:
    root = folder_with(tmp_path / "data", {"x.png": SAID["full.png"][0]})
    images = with_levels(root, white_level=1000, black_level=100)
    assert any("values beyond target.black_level or target.white_level: 1 of 7" in note for note in images.notes)
    assert np.array_equal(np.unique(of(images, "a/x.png"))[[0, -1]], [0, 255])


def test_levels_reach_arrays_and_colour(tmp_path: Path) -> None:
    deep = np.random.default_rng(0).integers(0, 4096, (6, 8, 8, 3), dtype=np.uint16)
    source = Arrays.save(tmp_path / "x", deep, np.arange(6) % 2)
    images = open_images(source, 8, tmp_path / "store")
    assert images.array.max() == 16
    assert any("--set target.white_level=4095" in note and "6 of 6 images" in note for note in images.notes)
    bright = open_images(source, 8, tmp_path / "store", decoding=Target(data=source, white_level=4095))
    assert np.array_equal(bright.array, np.rint(deep * (255 / 4095)))
    root = folder_with(tmp_path / "data", {"x.png": SAID["colour.png"][0]})
    assert of(with_levels(root, white_level=4095), "a/x.png")[0, 0].tolist() == [48, 112, 240]


def test_levels_must_differ() -> None:
    with pytest.raises(ValueError, match="white_level must be above black_level"):
        Target(data={"kind": "elpv"}, white_level=5, black_level=5)


@pytest.mark.kind("contact")
def test_pictures_that_are_not_square_are_counted(tmp_path: Path) -> None:
    root = folder_with(
        tmp_path / "data", {"wide.png": encoded(picture(1, (40, 20))), "high.png": encoded(picture(2, (20, 25)))}
    )
    (note,) = opened(root).notes
    assert "not square: 2 of 8 images (a/high.png, a/wide.png)" in note
    assert "at most 50%" in note
    assert "--set target.fit=squash" in note
    (note,) = with_levels(root, fit="squash").notes
    assert "squashed" in note
