import io

import numpy as np
import pytest
from PIL import Image

from transferscope.data.decode import as_image, from_array, square
from transferscope.data.decoding import Decoding
from transferscope.data.pictures import one_line
from transferscope.errors import DataError


def through(image: Image.Image, form: str, **options: object) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, format=form, **options)
    return Image.open(io.BytesIO(buffer.getvalue()))


def test_grey_becomes_three_equal_channels() -> None:
    ramp = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
    seen = square(through(Image.fromarray(ramp), "PNG"), 8)
    assert np.array_equal(seen, np.repeat(ramp[:, :, None], 3, axis=2))


def test_one_bit() -> None:
    bits = np.eye(8, dtype=bool)
    seen = square(through(Image.fromarray(bits), "PNG"), 8)
    assert np.array_equal(seen[:, :, 1], np.eye(8, dtype=np.uint8) * 255)


@pytest.mark.parametrize(("mode", "colour"), [("LA", (40, 0)), ("RGBA", (10, 20, 30, 0))])
def test_transparent_shows_white(mode: str, colour: tuple[int, ...]) -> None:
    seen = square(through(Image.new(mode, (8, 8), colour), "PNG"), 8)
    assert (seen == 255).all()


def test_half_transparent_is_mixed_with_white() -> None:
    seen = square(through(Image.new("RGBA", (8, 8), (0, 100, 200, 128)), "PNG"), 8)
    expected = np.array([0, 100, 200]) * (128 / 255) + 255 * (127 / 255)
    assert np.abs(seen[0, 0] - expected).max() <= 1


def test_opaque_alpha_changes_nothing() -> None:
    seen = square(through(Image.new("RGBA", (8, 8), (1, 2, 3, 255)), "PNG"), 8)
    assert np.array_equal(seen[0, 0], [1, 2, 3])


def test_palette_with_and_without_transparency() -> None:
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([9, 9, 9, 200, 100, 50])
    assert np.array_equal(square(through(palette, "PNG"), 8)[0, 0], [200, 100, 50])
    assert np.array_equal(square(through(palette, "PNG", transparency=1), 8)[0, 0], [255, 255, 255])


def test_grey_with_a_transparent_colour() -> None:
    image = Image.fromarray(np.array([[5, 90]] * 8, dtype=np.uint8).repeat(4, axis=1))
    seen = square(through(image, "PNG", transparency=5), 8)
    assert seen[0, 0].tolist() == [255] * 3
    assert seen[0, 7].tolist() == [90] * 3


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_not_clipped(form: str) -> None:
    values = np.array([0, 257, 32768, 65535], dtype=np.uint16).repeat(16).reshape(8, 8)
    image = through(Image.fromarray(values), form)
    assert image.mode.startswith("I")
    assert np.array_equal(np.unique(square(image, 8)), [0, 1, 128, 255])


def test_big_endian_sixteen_bit() -> None:
    values = np.array([0, 65535], dtype=">u2").repeat(32).reshape(8, 8)
    image = Image.frombytes("I;16B", (8, 8), values.tobytes())
    assert np.array_equal(np.unique(square(image, 8)), [0, 255])


def test_integer_and_float_modes_keep_their_range() -> None:
    grey = Image.fromarray(np.full((8, 8), 65535, dtype=np.int32))
    assert (square(grey, 8) == 255).all()
    assert (square(Image.fromarray(np.full((8, 8), 0.5, dtype=np.float32)), 8) == 128).all()


@pytest.mark.parametrize("value", [-1.0, 1.5, float("nan")])
def test_float_out_of_range(value: float) -> None:
    with pytest.raises(DataError, match=r"expected 0 to 1: set target\.white_level"):
        square(Image.fromarray(np.full((8, 8), value, dtype=np.float32)), 8)


def test_cmyk_jpeg() -> None:
    seen = square(through(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"), 8)
    red, green, blue = seen[4, 4].astype(int)
    assert red > 240
    assert green < 15
    assert blue < 15


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation: int) -> None:
    upright = np.zeros((8, 8, 3), dtype=np.uint8)
    upright[:4, :4] = (255, 0, 0)
    upright[:4, 4:] = (0, 255, 0)
    # How a camera that writes this orientation stores the picture.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = through(Image.fromarray(np.ascontiguousarray(stored)), "PNG", exif=exif)
    assert np.array_equal(square(image, 8), upright)


def test_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    seen = square(through(frames[0], "GIF", save_all=True, append_images=frames[1:]), 8)
    assert seen[0, 0].tolist() == [255, 0, 0]


def test_crop_takes_the_centre_and_squash_takes_all() -> None:
    wide = np.zeros((8, 24, 3), dtype=np.uint8)
    wide[:, 8:16] = 200
    assert (square(Image.fromarray(wide), 8, Decoding(fit="crop")) == 200).all()
    squashed = square(Image.fromarray(wide), 8, Decoding(fit="squash"))
    assert squashed[:, 0].max() < 60
    assert squashed.shape == (8, 8, 3)


def test_crop_equals_resizing_first() -> None:
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (40, 80, 3), dtype=np.uint8))
    resized = image.resize((20, 10), Image.Resampling.BICUBIC).crop((5, 0, 15, 10))
    # Inside, the same; at the cut the filter no longer sees what was cut off.
    difference = np.abs(square(image, 10).astype(int) - np.asarray(resized).astype(int))
    assert difference[:, 1:-1].max() <= 1


def test_downsampling_is_antialiased() -> None:
    stripes = np.zeros((64, 64), dtype=np.uint8)
    stripes[:, ::2] = 255
    seen = square(Image.fromarray(stripes), 8)
    assert abs(int(seen[4, 4, 0]) - 128) < 8


@pytest.mark.parametrize("channels", [None, 1, 2, 3, 4])
def test_arrays_with_any_number_of_channels(channels: int | None) -> None:
    shape = (8, 8) if channels is None else (8, 8, channels)
    seen = square(from_array(np.full(shape, 255, dtype=np.uint8)), 8)
    assert (seen == 255).all()


def test_sixteen_bit_colour_arrays() -> None:
    assert square(from_array(np.full((8, 8, 3), 32768, dtype=np.uint16)), 8)[0, 0].tolist() == [128] * 3


@pytest.mark.parametrize(
    "array",
    [np.zeros((3, 8, 8), np.uint8), np.zeros(8, np.uint8), np.zeros((8, 8), np.int64), np.zeros((0, 8), np.uint8)],
)
def test_what_is_no_picture(array: np.ndarray) -> None:
    with pytest.raises(DataError, match="not a picture"):
        from_array(array)


def test_as_image_keeps_images() -> None:
    image = Image.new("L", (3, 3))
    assert as_image(image) is image
    assert as_image(np.zeros((4, 5), np.uint8)).size == (5, 4)


def test_reason_is_one_line() -> None:
    assert one_line(ValueError("a\n  b")) == "a b"
    assert one_line(ValueError()) == "ValueError"
