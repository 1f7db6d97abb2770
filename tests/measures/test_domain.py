"""Distances of domains: closed forms, literal references, what they are and are not invariant to, and their null."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.reference import domain_reference
from transferscope.errors import MeasureError
from transferscope.measures.domain import (
    against_halves,
    batch_norm_distance,
    frechet_distance,
    frechet_gaussian,
    kernel_distance,
    proxy_a_distance,
)


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def sets(seed: int = 0, features: int = 6) -> tuple[Tensor, Tensor]:
    mix = randn(features, features, seed=seed + 9)
    return randn(40, features, seed=seed) @ mix, 0.7 * randn(50, features, seed=seed + 1) + 0.4


def with_moments(mean: Tensor, covariance: Tensor, examples: int) -> Tensor:
    """Examples whose mean and unbiased covariance are exactly these."""
    raw = randn(examples, len(mean), seed=4)
    raw = raw - raw.mean(0)
    whitened = raw @ torch.linalg.inv(torch.linalg.cholesky(raw.T @ raw / (examples - 1))).T
    return whitened @ torch.linalg.cholesky(covariance).T + mean


# -- Fréchet ----------------------------------------------------------------------------------------------------


def test_frechet_in_one_dimension_and_of_commuting_covariances_is_known() -> None:
    zero, one = torch.zeros(1), torch.ones(1, 1)
    assert frechet_gaussian(zero, 4 * one, zero + 3, 25 * one) == pytest.approx(9 + (2 - 5) ** 2)
    turn = torch.linalg.qr(randn(5, 5)).Q
    a, b = torch.tensor([1.0, 2, 3, 4, 5]).double(), torch.tensor([2.0, 0.5, 0, 4, 9]).double()
    found = frechet_gaussian(turn[0], turn @ a.diag() @ turn.T, turn[1], turn @ b.diag() @ turn.T)
    assert found == pytest.approx(2 + float((a.sqrt() - b.sqrt()).square().sum()), abs=1e-6)  # one eigenvalue is 0


@pytest.mark.parametrize("seed", range(3))
def test_frechet_of_features_is_that_of_their_gaussians(seed: int) -> None:
    first, second = randn(4, 4, seed=seed), randn(4, 4, seed=seed + 7)
    covariances = [first @ first.T + torch.eye(4), second @ second.T + 0.1 * torch.eye(4)]
    means = [randn(4, seed=3), randn(4, seed=5)]
    a, b = (with_moments(mean, covariance, n) for mean, covariance, n in zip(means, covariances, (30, 44), strict=True))
    wanted = frechet_gaussian(means[0], covariances[0], means[1], covariances[1])
    assert frechet_distance(a, b) == pytest.approx(wanted, rel=1e-10)


@pytest.mark.parametrize("features", [2, 6, 39, 60])
def test_frechet_against_the_matrix_root(features: int) -> None:
    a, b = sets(features=features)
    assert frechet_distance(a, b) == pytest.approx(domain_reference.frechet(a.numpy(), b.numpy()), rel=1e-5)


def test_frechet_of_equal_sets_is_zero_even_with_fewer_examples_than_features() -> None:
    for shape in ((40, 6), (10, 50)):
        x = 100 + randn(*shape)
        assert 0 <= frechet_distance(x, x.flip(0)) < 1e-8


# -- kernel, proxy-A, batch norm -------------------------------------------------------------------------------


def test_kernel_against_two_loops() -> None:
    a, b = sets()
    assert kernel_distance(a, b) == pytest.approx(domain_reference.kernel(a.numpy(), b.numpy()), rel=1e-12)


def test_kernel_is_unbiased_and_frechet_is_not() -> None:
    kernels, frechets = zip(
        *(
            (kernel_distance(x, y), frechet_distance(x, y))
            for x, y in ((randn(20, 3, seed=2 * k), randn(20, 3, seed=2 * k + 1)) for k in range(300))
        ),
        strict=True,
    )
    error = np.std(kernels, ddof=1) / math.sqrt(len(kernels))
    assert abs(np.mean(kernels)) < 3 * error
    assert min(kernels) < 0
    assert min(frechets) > 0
    assert np.mean(frechets) > 20 * np.std(frechets) / math.sqrt(len(frechets))


@pytest.mark.parametrize("apart", [0.0, 0.5, 2.0])
def test_proxy_a_against_scikit_learn(apart: float) -> None:
    parts = [randn(60, 5, seed=seed) + (apart if seed % 2 else 0) for seed in range(4)]
    train_a, train_b, test_a, test_b = parts
    found = proxy_a_distance(train_a, train_b, test_a, test_b, penalty=0.05)
    arrays = [part.numpy() for part in parts]
    assert found == pytest.approx(domain_reference.proxy_a(*arrays, penalty=0.05), abs=1e-9)


def test_proxy_a_is_two_apart_and_zero_where_a_coin_would_do() -> None:
    a = randn(30, 3)
    assert proxy_a_distance(a, a + 50, a, a + 50) == 2.0
    assert proxy_a_distance(a, a, a, a) == 0.0


def test_batch_norm_distance_by_hand() -> None:
    mean, variance = torch.tensor([1.0, 0.0]), torch.tensor([4.0, 1.0])
    held, spread = torch.tensor([0.0, 0.0]), torch.tensor([1.0, 1.0])
    wanted = ((1 + 1) / (2.5 + 1e-5) + 0) / 2
    assert batch_norm_distance(mean, variance, held, spread) == pytest.approx(wanted)
    # A channel that is dead in P and on the target decides nothing.
    assert batch_norm_distance(held, 0 * spread, held, 0 * spread) == 0


# -- laws, both ways -------------------------------------------------------------------------------------------

Change = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
TURN = torch.linalg.qr(randn(6, 6, seed=77)).Q
CHANGES: dict[str, Change] = {
    "swapped": lambda a, b: (b, a),
    "examples in another order": lambda a, b: (a.flip(0), b.roll(3, 0)),
    "a common orthogonal map": lambda a, b: (a @ TURN, b @ TURN),
    "a common offset": lambda a, b: (a + 3, b + 3),
    "a common scale": lambda a, b: (2 * a, 2 * b),
    "a scale of each feature": lambda a, b: (a * torch.arange(1.0, 7), b * torch.arange(1.0, 7)),
    "an offset of one": lambda a, b: (a + 3, b),
}


def proxy(a: Tensor, b: Tensor) -> float:
    return proxy_a_distance(a[:20], b[:20], a[20:40], b[20:40], penalty=0.5)


DISTANCES: dict[str, tuple[Callable[[Tensor, Tensor], float], set[str]]] = {
    "frechet": (
        frechet_distance,
        {"swapped", "examples in another order", "a common orthogonal map", "a common offset"},
    ),
    "kernel": (kernel_distance, {"swapped", "examples in another order", "a common orthogonal map"}),
    "proxy_a": (
        proxy,
        {"swapped", "a common offset", "a common scale", "a scale of each feature"},
    ),
}  # fmt: skip


# Another order changes what is held out, a rotation little: neither is a law, nor its contrary.
NEITHER = {("proxy_a", "examples in another order"), ("proxy_a", "a common orthogonal map")}


@pytest.mark.parametrize(("name", "change"), [(n, c) for n in DISTANCES for c in CHANGES if (n, c) not in NEITHER])
def test_laws(name: str, change: str) -> None:
    distance, invariant = DISTANCES[name]
    differences = []
    for seed in range(4):
        a, b = sets(seed)
        first, second = distance(a, b), distance(*CHANGES[change](a, b))
        differences.append(abs(first - second) / (1e-12 + abs(first)))
    if change in invariant:
        assert max(differences) < 1e-8
    else:
        assert max(differences) > 1e-3


def test_frechet_scales_with_the_square() -> None:
    a, b = sets()
    assert frechet_distance(3 * a, 3 * b) == pytest.approx(9 * frechet_distance(a, b))


def test_batch_norm_distance_laws() -> None:
    mean, held = randn(7), randn(7, seed=1)
    variance, spread = randn(7, seed=2).square() + 1, randn(7, seed=3).square() + 1
    value = batch_norm_distance(mean, variance, held, spread, epsilon=0)
    order = torch.randperm(7, generator=torch.Generator().manual_seed(0))
    assert batch_norm_distance(held, spread, mean, variance, epsilon=0) == pytest.approx(value)
    moved = batch_norm_distance(3 * mean + 2, 9 * variance, 3 * held + 2, 9 * spread, epsilon=0)
    assert moved == pytest.approx(value)
    assert batch_norm_distance(mean[order], variance[order], held[order], spread[order], epsilon=0) == (
        pytest.approx(value)
    )
    assert batch_norm_distance(mean + 1, variance, held, spread, epsilon=0) != pytest.approx(value, rel=1e-3)


# -- the null --------------------------------------------------------------------------------------------------


def plain(a: Tensor, b: Tensor, *_: Tensor) -> float:
    return frechet_distance(a, b)


def test_two_halves_of_one_set_are_the_null() -> None:
    same = against_halves(plain, randn(200, 5), randn(150, 5, seed=1))
    assert same.examples == 75
    assert same.value > 0.05
    assert abs(same.excess) < 3 * same.excess_error
    apart = against_halves(plain, randn(200, 5), randn(150, 5, seed=1) + 0.5)
    assert apart.excess > 3 * apart.excess_error
    assert apart.excess == pytest.approx(5 * 0.25, abs=0.4)


def test_equal_numbers_take_the_bias_out_of_unequal_sets() -> None:
    a = randn(800, 20)
    few = against_halves(plain, a, randn(60, 20, seed=1))
    many = against_halves(plain, a, randn(800, 20, seed=2))
    assert (few.examples, many.examples) == (30, 400)
    assert few.value > 5 * many.value
    assert abs(few.excess) < 3 * few.excess_error


def test_the_standard_error_is_about_the_spread_over_samples() -> None:
    def mean_apart(a: Tensor, b: Tensor, *_: Tensor) -> float:
        return float(a.mean() - b.mean())

    found = [
        against_halves(mean_apart, randn(80, 1, seed=3 * k), randn(80, 1, seed=3 * k + 1), draws=40) for k in range(40)
    ]
    true = math.sqrt(2 / 80)
    assert np.mean([item.standard_error for item in found]) == pytest.approx(true, rel=0.15)


def test_draws_depend_on_the_seed_alone() -> None:
    a, b = randn(40, 3), randn(40, 3, seed=1)
    assert against_halves(plain, a, b, seed=4) == against_halves(plain, a, b, seed=4)
    assert against_halves(plain, a, b, seed=4) != against_halves(plain, a, b, seed=5)


def test_groups_stay_together_and_parts_do_not_overlap() -> None:
    groups = np.repeat(np.arange(20), 3)
    a = torch.stack([torch.arange(60.0), torch.from_numpy(groups).double()], 1).double()
    b = a + 1000

    def look(first: Tensor, second: Tensor, held_first: Tensor, held_second: Tensor) -> float:
        parts = [first, second, held_first, held_second]
        numbers = torch.cat([part[:, 0] for part in parts]).tolist()
        assert len(set(numbers)) == len(numbers)
        owned = [set(part[:, 1].tolist()) for part in parts]
        assert all(not x & y for i, x in enumerate(owned) for y in owned[i + 1 :])
        assert {len(part) for part in parts} == {found_size}
        return 0.0

    found_size = 13  # (60 − 3·2) / 4
    found = against_halves(look, a, b, groups_a=groups, groups_b=groups, held_out=True)
    assert found.examples == found_size


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: frechet_distance(torch.zeros(5), torch.zeros(5)), "first set of features does not fit"),
        (lambda: frechet_distance(torch.zeros(5, 2), torch.zeros(1, 2)), "second set of features does not fit"),
        (lambda: kernel_distance(torch.zeros(5, 2), torch.zeros(5, 3)), "features of their own"),
        (lambda: kernel_distance(torch.zeros(5, 2), torch.full((5, 2), math.inf)), "second set .* is not finite"),
        (lambda: frechet_gaussian(torch.zeros(2), torch.eye(2), torch.zeros(2), torch.eye(3)), "do not fit each other"),
        (lambda: frechet_gaussian(torch.zeros(2), torch.eye(2), torch.zeros(2), -torch.eye(2)), "is no covariance"),
        (lambda: proxy_a_distance(*(torch.zeros(n, 2) for n in (3, 4, 2, 2))), "the domains are not balanced"),
        (lambda: proxy_a_distance(*(torch.zeros(3, n) for n in (2, 2, 3, 3))), "features of their own"),
        (lambda: batch_norm_distance(*(torch.zeros(n) for n in (2, 2, 3, 3))), "moments do not fit each other"),
        (lambda: batch_norm_distance(torch.zeros(2), -torch.ones(2), *[torch.ones(2)] * 2), "a variance is negative"),
        (lambda: against_halves(plain, torch.zeros(3, 2), torch.zeros(9, 2)), "too few examples to halve"),
        (lambda: against_halves(plain, torch.zeros(9, 2), torch.zeros(0, 2)), "too few examples to halve"),
        (lambda: against_halves(plain, torch.zeros(9, 2), torch.zeros(9, 2), draws=1), "a standard error needs draws"),
        (
            lambda: against_halves(plain, torch.zeros(9, 2), torch.zeros(9, 2), groups_a=["x"]),
            "groups must name the group",
        ),
    ],
)  # fmt: skip
def test_bad_input_is_named(call: Callable[[], float], message: str) -> None:
    with pytest.raises(MeasureError, match=message):
        call()
