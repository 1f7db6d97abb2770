"""Image sets and files for the tests of data."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from transferscope.data.images import ImageSet
from transferscope.data.sources import Arrays
from transferscope.data.store import open_images


def picture(seed: int, size: tuple[int, int] = (12, 10)) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def encoded(seed: int) -> bytes:
    """The same picture as a PNG file."""
    buffer = io.BytesIO()
    picture(seed).save(buffer, format="PNG")
    return buffer.getvalue()


def folder_of(root: Path, counts: dict[str, int], ending: str = ".png") -> Path:
    for number, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True, exist_ok=True)
        for k in range(count):
            picture(1000 * number + k).save(root / name / f"{k:03d}{ending}")
    return root


def bare_set(
    labels: object,
    groups: list[str] | None = None,
    splits: list[str | None] | None = None,
    classes: tuple[str, ...] | None = None,
) -> ImageSet:
    """A set without pixels: enough for splits."""
    array = np.asarray(labels)
    multi = array.ndim == 2
    names = classes or tuple(f"c{k}" for k in range(array.shape[1] if multi else int(array.max()) + 1))
    return ImageSet(
        path=Path("none.npy"),
        names=tuple(str(k) for k in range(len(array))),
        labels=array.astype(np.uint8 if multi else np.int64),
        classes=names,
        groups=None if groups is None else tuple(groups),
        given_splits=None if splits is None else tuple(splits),
        fingerprint="f" * 64,
        multi_label=multi,
        image_size=8,
    )


def random_set(folder: Path, count: int = 40, size: int = 16, multi: bool = False) -> ImageSet:
    rng = np.random.default_rng(7)
    pixels = rng.integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    labels = np.eye(3, dtype=np.uint8)[np.arange(count) % 3] if multi else np.arange(count) % 4
    return open_images(Arrays.save(folder / "arrays", pixels, labels), size, folder / "store")
