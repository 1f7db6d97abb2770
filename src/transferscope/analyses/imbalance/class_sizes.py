"""How many training images each class of a long tail has."""

from collections.abc import Sequence

import numpy as np

from transferscope.errors import StudyError
from transferscope.frozen import derive_seed

__all__ = ["class_order", "tail_sizes"]


def tail_sizes(counts: Sequence[int], names: Sequence[str], ratio: float, largest: float) -> tuple[int, ...]:
    r"""Images of the most frequent class first: :math:`n_k \propto r^{-k / (K - 1)}`, as many in total at any ratio.

    The total is that of a tail of the largest ratio whose most frequent class is as large as the smallest class there
    is: so any class can have any rank.

    Args:
        counts: training images of each class.
        names: of the classes.
        ratio: of the most frequent class to the rarest.
        largest: ratio of all that are compared.

    Raises:
        StudyError: a class would have no image.

    Example:
        >>> tail_sizes([90, 90, 90], "abc", 9, 9), tail_sizes([90, 90, 90], "abc", 1, 9)
        ((90, 30, 10), (44, 43, 43))
    """
    smallest, ranks = min(counts), np.arange(len(counts)) / max(1, len(counts) - 1)
    if smallest / ratio < 0.5:
        at = int(np.argmin(counts))
        raise StudyError(
            f"a class as small as {names[at]!r} would vanish from the training images at the ratio {ratio:g}",
            expected=f"at least {int(np.ceil(ratio / 2))} training images of every class",
            got=f"{counts[at]} of {names[at]!r}",
            hint=f"give more images of it, or ratios up to {max(1, 2 * smallest)} in `imbalance.ratios`",
        )
    total = int(np.maximum(1, np.floor(np.round(smallest * largest**-ranks, 9))).sum())
    shares = ratio**-ranks
    wanted = np.clip(np.round(total * shares / shares.sum(), 9), 1, smallest)
    sizes = np.floor(wanted).astype(np.int64)
    # By largest remainder, of equal ones the more frequent first: no size above what was wanted, rounded up.
    order = np.argsort(sizes - wanted, kind="stable")
    sizes[order[: max(0, total - int(sizes.sum()))]] += 1
    return tuple(int(size) for size in sorted(sizes, reverse=True))


def class_order(classes: int, seed: int) -> tuple[int, ...]:
    """Which class has which rank: drawn by the seed of the network, so that a hard class is not always the rare one."""
    generator = np.random.Generator(np.random.PCG64(derive_seed(seed, "imbalance")))
    return tuple(int(number) for number in np.argsort(generator.random(classes), kind="stable"))
