"""Labels that tell nothing of their images: a source from which nothing useful of the classes can be learnt."""

from dataclasses import replace

import numpy as np

from transferscope.data.images import ImageSet
from transferscope.frozen import derive_seed

__all__ = ["permute_labels"]


def permute_labels(images: ImageSet, examples: np.ndarray, seed: int) -> ImageSet:
    """Exchange the labels of some examples among each other; images, and the labels of all others, stay.

    Each class keeps its frequency; of several labels at once an example gets all of another one.

    Args:
        images: all examples.
        examples: positions of those whose labels are exchanged.
        seed: of the permutation, which is the same on every platform.
    """
    generator = np.random.Generator(np.random.PCG64(derive_seed(seed, "permuted labels")))
    places = np.sort(np.asarray(examples, dtype=np.int64))
    # By sorting random numbers: the stream of `random` is the most stable promise NumPy makes.
    order = np.argsort(generator.random(len(places)), kind="stable")
    labels = np.array(images.labels)
    labels[places] = labels[places[order]]
    return replace(images, labels=labels)
