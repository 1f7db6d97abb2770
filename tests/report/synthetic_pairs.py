"""Pairs of seeds as studies measure them."""

from itertools import count, islice


def seed_pairs(number: int) -> list[tuple[int, int]]:
    """The first pairs: (0, 1), (0, 2), (1, 2), (0, 3), ..."""
    return list(islice(((a, b) for b in count(1) for a in range(b)), number))
