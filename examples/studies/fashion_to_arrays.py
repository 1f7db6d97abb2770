"""Fashion-MNIST as the arrays that the studies ``*-fashion.yaml`` read: a balanced part of it, in one ``.npz`` file.

    python examples/studies/fashion_to_arrays.py SOURCE [--output FILE] [--train 1200] [--test 1000]

SOURCE is a folder with the four original files ``{train,t10k}-{images-idx3,labels-idx1}-ubyte.gz``: those of
https://github.com/zalandoresearch/fashion-mnist (MIT licence), or of Debian's package ``dataset-fashion-mnist``
(/usr/share/datasets/fashion-mnist). The first images of each class are taken; the original's split is kept.
"""

import argparse
import gzip
from pathlib import Path

import numpy as np

CLASSES = 10
IMAGES, LABELS = 0x803, 0x801  # the files' magic numbers: unsigned bytes in three dimensions, in one


def read(file: Path, magic: int) -> np.ndarray:
    """An idx file: magic number, sizes, then bytes."""
    with gzip.open(file) as opened:
        data = opened.read()
    dimensions = magic & 0xFF
    found, *shape = np.frombuffer(data, ">i4", 1 + dimensions)
    if found != magic:
        raise SystemExit(f"{file} is not what its name says: magic number {found:#x} in place of {magic:#x}")
    return np.frombuffer(data, np.uint8, offset=4 * (1 + dimensions)).reshape(shape)


def first_of_each(labels: np.ndarray, count: int) -> np.ndarray:
    """Positions of the first ``count / 10`` examples of each class, in order."""
    each, rest = divmod(count, CLASSES)
    if rest or each < 1:
        raise SystemExit(f"a balanced part has a multiple of {CLASSES} images, not {count}")
    if (fewest := min(np.bincount(labels, minlength=CLASSES))) < each:
        raise SystemExit(f"there are {fewest} images of a class, fewer than {each}")
    return np.sort(np.concatenate([np.flatnonzero(labels == k)[:each] for k in range(CLASSES)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "fashion" / "fashion.npz")
    parser.add_argument("--train", type=int, default=1200)
    parser.add_argument("--test", type=int, default=1000)
    asked = parser.parse_args()
    images, labels, splits = [], [], []
    for split, word, count in (("train", "train", asked.train), ("test", "t10k", asked.test)):
        every = read(asked.source / f"{word}-labels-idx1-ubyte.gz", LABELS)
        kept = first_of_each(every, count)
        images.append(read(asked.source / f"{word}-images-idx3-ubyte.gz", IMAGES)[kept])
        labels.append(every[kept].astype(np.int64))
        splits += [split] * count
    asked.output.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        asked.output, images=np.concatenate(images), labels=np.concatenate(labels), splits=np.array(splits)
    )
    print(f"{len(splits)} images in {asked.output}")


if __name__ == "__main__":
    main()
