"""Examples in a mixed order: what statistics of batches need, where a source lists one class after the other."""

from typing import Any

import numpy as np

from transferscope.data.splits import nested_subset
from transferscope.frozen import derive_seed

__all__ = ["stratified_shuffle"]


def stratified_shuffle(labels: np.ndarray, indices: Any, seed: int, limit: int | None = None) -> np.ndarray:
    """A stratified part of ``indices`` in a random order that ``seed`` alone decides.

    Batches of it are random samples: batch-norm statistics are estimated, and minibatch CKA is defined, on such. The
    same part as :func:`~transferscope.data.splits.nested_subset` gives, for the same seed.

    Args:
        labels: of all examples: (examples,), or (examples, labels) of 0 and 1.
        indices: of the examples to choose from.
        seed: of the choice and the order.
        limit: about so many; None for all.

    Returns:
        int64 indices, each once.

    Example:
        >>> labels = np.repeat([0, 1], [60, 40])
        >>> part = stratified_shuffle(labels, np.arange(100), seed=0, limit=10)
        >>> np.bincount(labels[part]).tolist(), bool((np.diff(part) > 0).all())
        ([6, 4], False)
    """
    chosen = np.sort(np.asarray(indices, dtype=np.int64))
    if limit is not None and limit < len(chosen):
        chosen = nested_subset(labels, chosen, limit / len(chosen), seed)
    generator = np.random.Generator(np.random.PCG64(derive_seed(seed, "mixed")))
    return chosen[np.argsort(generator.random(len(chosen)), kind="stable")]
