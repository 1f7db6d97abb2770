import io

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from transferscope.analyses.gallery import SUFFIX, Gallery, GalleryGroup, GalleryImage, gallery_files
from transferscope.analyses.mistakes.thumbnails import embedded_size, thumbnails


def noise(count: int, side: int, seed: int = 0, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, channels)).astype(np.uint8)


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def test_small_pictures_keep_their_pixels() -> None:
    pixels = noise(3, 20)
    ((first, second, third),) = thumbnails([pixels], 96, 100_000)
    for data, wanted in zip((first, second, third), pixels, strict=True):
        assert np.array_equal(np.asarray(opened(data)), wanted)


def test_grey_pictures_are_written_as_such() -> None:
    grey = np.repeat(noise(1, 20, channels=1), 3, axis=3)
    ((data,),) = thumbnails([grey], 96, 100_000)
    ((single,),) = thumbnails([grey[..., :1]], 96, 100_000)
    assert opened(data).mode == "L"
    assert data == single
    assert np.array_equal(np.asarray(opened(data)), grey[0, ..., 0])


def test_large_pictures_are_made_smaller_in_proportion() -> None:
    wide = noise(1, 200)[:, :100]
    ((data,),) = thumbnails([wide], 96, 100_000)
    assert opened(data).size == (96, 48)


@pytest.mark.parametrize("budget", [200_000, 60_000, 20_000, 4_000, 900, 0])
def test_the_budget_holds_in_the_page(budget: int) -> None:
    groups = [noise(6, 64, 1), noise(2, 64, 2), noise(0, 64)]
    made = thumbnails(groups, 64, budget)
    assert sum(map(embedded_size, made)) <= budget
    assert thumbnails(groups, 64, budget) == made
    assert len(made) == 3
    # The longest group is cut first, from its end.
    assert len(made[0]) >= len(made[1]) - 1
    whole = [len(group) for group in made] == [6, 2, 0]
    assert whole == (budget >= 20_000)


def test_what_a_little_loss_saves_is_taken_before_pictures_are_left_out() -> None:
    groups = [noise(4, 64)]
    lossless = sum(map(embedded_size, thumbnails(groups, 64, 10**6)))
    made = thumbnails(groups, 64, lossless - 1)
    assert len(made[0]) == 4
    assert {opened(data).format for data in made[0]} == {"JPEG"}
    assert {opened(data).size for data in made[0]} == {(64, 64)}


def test_a_gallery_is_written_beside_its_pictures_and_read_again() -> None:
    image = GalleryImage(file="a.png", alt="a cat", lines=("true: cat",))
    gallery = Gallery(title="Cats", caption="All of them.", groups=(GalleryGroup(title="one", images=(image,)),))
    files = gallery_files("cats", gallery, {"a.png": b"x"})
    assert set(files) == {f"cats{SUFFIX}", "a.png"}
    assert Gallery.model_validate_json(files[f"cats{SUFFIX}"]) == gallery


def test_a_picture_needs_words() -> None:
    with pytest.raises(ValidationError, match="alt"):
        GalleryImage(file="a.png", alt="")
