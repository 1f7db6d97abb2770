"""Channels found again: moments over batches, linear assignment against all matchings, dead channels, both halves."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reference.similarity_reference import best_matching
from transferscope.errors import MeasureError
from transferscope.measures.channels import channel_correlation, channel_update, dead_channels, match_channels, reuse


def samples(seed: int, count: int = 200, width: int = 6) -> torch.Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def moments(a: torch.Tensor, b: torch.Tensor, sizes: tuple[int, ...] = (70, 50, 80)):
    found = None
    for x, y in zip(a.split(list(sizes)), b.split(list(sizes)), strict=True):
        found = channel_update(found, x, y)
    return found


@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_correlation_over_batches_is_pearsons(offset: float) -> None:
    a = samples(0).double() + offset
    b = torch.cat([a[:, :3] + samples(1, width=3).double(), samples(2, width=2).double() - offset], 1)
    found, dead_a, dead_b = channel_correlation(moments(a, b))
    expected = np.corrcoef(a.numpy().T, b.numpy().T)[:6, 6:]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-10)
    assert not dead_a.any()
    assert not dead_b.any()


@settings(derandomize=True, deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.integers(2, 6))
def test_the_matching_is_the_best_of_all(seed: int, width: int) -> None:
    correlation = torch.from_numpy(np.random.default_rng(seed).uniform(-1, 1, (width, width)))
    alive = torch.zeros(width, dtype=torch.bool)
    found = match_channels(correlation, alive, alive)
    best, _ = best_matching(correlation.numpy())
    assert float(correlation[found.a, found.b].sum()) == pytest.approx(best)
    assert sorted(found.b.tolist()) == list(range(width))


def test_a_permuted_copy_has_all_channels_reused_and_none_in_its_place() -> None:
    a = samples(0, width=12)
    order = torch.arange(12).roll(5)
    halves = [moments(side, 3 * side[:, order] + 2, (100, 100)) for side in (a, samples(9, width=12))]
    found = reuse(*halves)
    assert (found.matched, found.correlation) == (1.0, pytest.approx(1.0))
    assert (found.same_index, found.kept_index) == (0.0, 0.0)
    assert order[found.partner].tolist() == list(range(12))
    plain = reuse(*(moments(side, side, (200,)) for side in (a, samples(9, width=12))))
    assert (plain.matched, plain.same_index, plain.kept_index) == (1.0, 1.0, 1.0)


def test_scores_come_from_the_half_that_the_matching_did_not_see() -> None:
    """Few samples of unrelated channels match well where they are matched, and not on others."""
    halves = [moments(samples(seed, 8, 40), samples(seed + 1, 8, 40), (8,)) for seed in (0, 10)]
    honest, cheating = reuse(*halves), reuse(halves[0], halves[0])
    assert cheating.correlation > 0.6
    assert abs(honest.correlation) < 0.15
    assert honest.matched < 0.2 < cheating.matched


def test_chance_grows_with_width() -> None:
    def chance(width: int) -> float:
        halves = [moments(samples(s, 60, width), samples(s + 1, 60, width), (60,)) for s in (0, 10)]
        return channel_correlation(halves[0])[0].max(1).values.mean().item()

    assert chance(8) < chance(64) < chance(256)


def test_dead_channels_are_counted_and_left_out() -> None:
    a = samples(0)
    a[:, 1] = 0.0
    a[:, 4] = 3.7
    b = a.clone()
    b[:, 2] = 0.0
    half = moments(a, b)
    found = reuse(half, half)
    assert (found.channels, found.dead_a, found.dead_b) == (6, 2, 3)
    assert found.dead.tolist() == [False, True, False, False, True, False]
    assert found.matched == 3 / 4
    assert found.partner[1].item() == found.partner[4].item() == -1
    assert found.score[[1, 4]].tolist() == [0.0, 0.0]
    assert dead_channels(torch.tensor([5.0, 5.0]), torch.tensor([1e-20, 4.0]), 4).tolist() == [True, False]
    nothing = moments(torch.ones(200, 3), torch.ones(200, 3))
    empty = reuse(nothing, nothing)
    assert (empty.matched, empty.correlation, empty.same_index, empty.kept_index) == (None, None, None, None)


def test_other_widths_have_no_equal_index() -> None:
    a = samples(0)
    half = moments(a, torch.cat([samples(3, width=2), a], 1))
    found = reuse(half, half)
    assert (found.matched, found.same_index, found.correlation_same) == (1.0, None, None)
    assert found.partner.tolist() == [2, 3, 4, 5, 6, 7]


def test_update_changes_nothing_in_place() -> None:
    a, b = samples(0), samples(1)
    first = channel_update(None, a, b)
    kept = first.cross.clone()
    channel_update(first, b, a)
    assert torch.equal(first.cross, kept)


def test_errors() -> None:
    a, alive = samples(0), torch.zeros(6, dtype=torch.bool)
    half = moments(a, a)
    cases = [
        ("on the same samples", lambda: channel_update(None, a, a[:5])),
        ("on the same samples", lambda: channel_update(None, a[0], a[0])),
        ("on the same samples", lambda: channel_update(None, a[:0], a[:0])),
        ("does not continue the ones before", lambda: channel_update(half, a, a[:, :3])),
        ("do not fit each other", lambda: match_channels(torch.zeros(6, 5), alive, alive)),
        ("a correlation is not finite", lambda: match_channels(torch.full((6, 6), torch.nan), alive, alive)),
        ("the threshold is no correlation", lambda: reuse(half, half, 1.0)),
        ("the two halves are of different channels", lambda: reuse(half, moments(a, a[:, :3]))),
    ]
    for message, wrong in cases:
        with pytest.raises(MeasureError, match=message):
            wrong()
