"""Which channels of one network are found again in another: correlation, one-to-one matching, dead channels.

A channel's activations over many samples (images, or positions of images) are one vector. Means, squares and products
are summed over batches in float64, so all channels of a module against all of another's are one matrix product a batch.
"""

from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from transferscope.arguments import checked
from transferscope.errors import MeasureError
from transferscope.measures.arguments import check_axes, of_tensors

__all__ = [
    "ChannelMoments",
    "Matching",
    "Reuse",
    "channel_correlation",
    "channel_update",
    "dead_channels",
    "match_channels",
    "reuse",
]

_DEAD = 1e-6


@dataclass(frozen=True)
class ChannelMoments:
    """What has to be remembered between batches, float64 on the device of the features.

    Attributes:
        count: samples so far.
        mean_a: ``channels_a``.
        mean_b: ``channels_b``.
        square_a: ``channels_a``: sum of squared deviations from the mean.
        square_b: ``channels_b``.
        cross: ``channels_a channels_b``: sum of products of deviations.
    """

    count: int
    mean_a: Tensor
    mean_b: Tensor
    square_a: Tensor
    square_b: Tensor
    cross: Tensor


@of_tensors
def channel_update(moments: ChannelMoments | None, a: Tensor, b: Tensor) -> ChannelMoments:
    """Count one batch of samples; nothing is changed in place.

    Deviations are taken from the batch's own mean and batches are joined by their means (Chan et al. 1979), so an
    offset of the features costs no digits.

    Args:
        moments: of the batches before, None at the first.
        a: ``samples channels_a``, floating point.
        b: ``samples channels_b``, the same samples.

    Raises:
        MeasureError: not two axes, other samples, no sample, or other channels than before.
    """
    if a.dim() != 2 or b.dim() != 2 or a.shape[0] != b.shape[0] or not a.shape[0]:
        raise MeasureError(
            "channels are compared on the same samples",
            expected="samples channels, with equal first axes",
            got=f"{tuple(a.shape)} and {tuple(b.shape)}",
        )
    if moments is not None and moments.cross.shape != (a.shape[1], b.shape[1]):
        raise MeasureError(
            "this batch does not continue the ones before",
            expected=f"{tuple(moments.cross.shape)} channels",
            got=f"{(a.shape[1], b.shape[1])} channels",
        )
    count = int(a.shape[0])
    first, second = a.to(torch.float64), b.to(torch.float64)
    mean_a, mean_b = first.mean(0), second.mean(0)
    first, second = first - mean_a, second - mean_b
    square_a, square_b, cross = first.square().sum(0), second.square().sum(0), first.T @ second
    if moments is None:
        return ChannelMoments(count, mean_a, mean_b, square_a, square_b, cross)
    total = moments.count + count
    shift_a, shift_b = mean_a - moments.mean_a, mean_b - moments.mean_b
    weight = moments.count * count / total
    return ChannelMoments(
        total,
        moments.mean_a + shift_a * (count / total),
        moments.mean_b + shift_b * (count / total),
        moments.square_a + square_a + weight * shift_a.square(),
        moments.square_b + square_b + weight * shift_b.square(),
        moments.cross + cross + weight * shift_a[:, None] * shift_b[None, :],
    )


@of_tensors
def dead_channels(mean: Tensor, square: Tensor, count: int) -> Tensor:
    """Channels that are the same for all samples, up to rounding: a standard deviation of at most 1e-6 times the
    channel's mean or the largest deviation of the module.

    Args:
        mean: ``channels``.
        square: ``channels``: sums of squared deviations.
        count: samples.

    Returns:
        bool, ``channels``.
    """
    check_axes("mean", mean, None)
    check_axes("square", square, len(mean))
    deviation = (square / max(1, count)).sqrt()
    return deviation <= _DEAD * torch.maximum(mean.to(deviation.dtype).abs(), deviation.max())


@checked
def channel_correlation(moments: ChannelMoments) -> tuple[Tensor, Tensor, Tensor]:
    """Pearson's correlation of every channel of a with every channel of b.

    Invariant to a positive scale and an offset of each channel.

    Args:
        moments: from :func:`channel_update`.

    Returns:
        ``channels_a channels_b``, in [−1, 1], 0 for dead channels, on the CPU; which channels of a are dead; of b.
    """
    dead_a = dead_channels(moments.mean_a, moments.square_a, moments.count).cpu()
    dead_b = dead_channels(moments.mean_b, moments.square_b, moments.count).cpu()
    scale_a = torch.where(dead_a, 1.0, moments.square_a.cpu().sqrt())
    scale_b = torch.where(dead_b, 1.0, moments.square_b.cpu().sqrt())
    correlation = (moments.cross.cpu() / scale_a[:, None] / scale_b[None, :]).clamp(-1, 1)
    return torch.where(dead_a[:, None] | dead_b[None, :], 0.0, correlation), dead_a, dead_b


@dataclass(frozen=True)
class Matching:
    """Channels of a and b, one to one: ``a[i]`` goes with ``b[i]``; int64, ascending in a."""

    a: Tensor
    b: Tensor


@of_tensors
def match_channels(correlation: Tensor, dead_a: Tensor, dead_b: Tensor) -> Matching:
    """The one-to-one matching of living channels with the largest sum of correlations (linear assignment).

    Args:
        correlation: ``channels_a channels_b``, finite.
        dead_a: ``channels_a``, bool: left out.
        dead_b: ``channels_b``, bool: left out.

    Returns:
        As many pairs as the side with fewer living channels has.

    Raises:
        MeasureError: a correlation that is not finite, or shapes that do not fit.

    Reference: Li, Yosinski, Clune, Lipson & Hopcroft (2016), "Convergent learning", arXiv 1511.07543, section 3.1.

    >>> alive = torch.tensor([False, False])
    >>> match_channels(torch.tensor([[0.9, 0.8], [0.7, 0.1]]), alive, alive).b.tolist()
    [1, 0]
    """
    if correlation.shape != (len(dead_a), len(dead_b)):
        raise MeasureError(
            "correlations and dead channels do not fit each other",
            expected=f"{(len(dead_a), len(dead_b))}",
            got=str(tuple(correlation.shape)),
        )
    if dead_a.dtype != torch.bool or dead_b.dtype != torch.bool:
        raise MeasureError(
            "a channel is dead or not", expected="tensors of bool", got=f"{dead_a.dtype} and {dead_b.dtype}"
        )
    if not bool(torch.isfinite(correlation).all()):
        raise MeasureError("a correlation is not finite", expected="finite activations", hint="leave out diverged runs")
    alive_a, alive_b = ((~dead).nonzero().flatten() for dead in (dead_a, dead_b))
    rows, columns = linear_sum_assignment(correlation[alive_a][:, alive_b].numpy(), maximize=True)
    return Matching(alive_a[torch.from_numpy(rows)], alive_b[torch.from_numpy(columns)])


@dataclass(frozen=True)
class Reuse:
    """What :func:`reuse` found.

    Attributes:
        channels: of a.
        dead_a: channels of a that are dead on the whole data.
        dead_b: of b.
        matched: share of a's living channels whose matched channel correlates above the threshold on the half that the
            matching did not see; None where a has none.
        same_index: the same for the channel of equal index; None where the widths differ as well.
        correlation: mean correlation of matched channels, on that half; None where there is none.
        correlation_same: mean correlation of channels of equal index, dead ones of b counted as 0.
        kept_index: share of the matched channels whose partner has the same index; None where there is none.
        partner: ``channels``, int64: the matched channel of b, −1 where there is none.
        score: ``channels``, float64: correlation with it on that half, 0 where there is none.
        dead: ``channels``, bool: dead in a.
    """

    channels: int
    dead_a: int
    dead_b: int
    matched: float | None
    same_index: float | None
    correlation: float | None
    correlation_same: float | None
    kept_index: float | None
    partner: Tensor
    score: Tensor
    dead: Tensor


@checked
def reuse(choosing: ChannelMoments, scoring: ChannelMoments, threshold: float = 0.5) -> Reuse:
    """Match the channels of a with those of b on one half of the data, and score the matching on the other.

    Invariant to a permutation of b's channels (but for ``same_index``, ``correlation_same`` and ``kept_index``) and to
    a positive scale and an offset of each channel. Even unrelated networks match well by chance, the better the wider
    they are: always compare with a network that cannot have reused anything.

    Args:
        choosing: moments of the half that the matching is found on.
        scoring: of the other half, same channels.
        threshold: a channel counts as reused above this correlation, in [−1, 1).

    Raises:
        MeasureError: the halves are of different channels, a threshold out of range, or activations are not finite.

    >>> x = torch.tensor([[0.0, 1.0], [1.0, 0.0], [2.0, 4.0], [3.0, 1.0]])
    >>> half = channel_update(None, x, x.flip(1))
    >>> found = reuse(half, half)
    >>> found.matched, found.kept_index, found.partner.tolist()
    (1.0, 0.0, [1, 0])
    """
    if not -1 <= threshold < 1:
        raise MeasureError("the threshold is no correlation", expected="in [−1, 1)", got=str(threshold))
    if choosing.cross.shape != scoring.cross.shape:
        raise MeasureError(
            "the two halves are of different channels",
            expected=str(tuple(choosing.cross.shape)),
            got=str(tuple(scoring.cross.shape)),
        )
    chosen, dead_a, dead_b = channel_correlation(choosing)
    scored, still_a, still_b = channel_correlation(scoring)
    # Dead: in both halves. A channel that only one half excites has no score there, and counts as not found.
    matching = match_channels(chosen, dead_a & still_a, dead_b & still_b)
    dead = dead_a & still_a
    channels = len(dead)
    alive = int((~dead).sum())
    partner = torch.full((channels,), -1, dtype=torch.int64)
    score = torch.zeros(channels, dtype=torch.float64)
    partner[matching.a] = matching.b
    score[matching.a] = scored[matching.a, matching.b]
    equal = scored.diagonal()[~dead] if scored.shape[0] == scored.shape[1] and alive else None
    pairs = len(matching.a)
    return Reuse(
        channels=channels,
        dead_a=channels - alive,
        dead_b=int((dead_b & still_b).sum()),
        matched=float((score[~dead] > threshold).sum()) / alive if alive else None,
        same_index=float((equal > threshold).sum()) / alive if equal is not None else None,
        correlation=float(score[matching.a].mean()) if pairs else None,
        correlation_same=float(equal.mean()) if equal is not None else None,
        kept_index=float((matching.a == matching.b).sum()) / pairs if pairs else None,
        partner=partner,
        score=score,
        dead=dead,
    )
