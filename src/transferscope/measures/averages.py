"""Averages of networks' weights: weighted means of states, and where Model Stock puts the mean of some towards their
start."""

import math
from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor

from transferscope.arguments import checked
from transferscope.errors import MeasureError
from transferscope.measures.arguments import of_tensors

__all__ = ["decayed_shares", "model_stock_state", "stock_ratio", "weighted_state"]


@of_tensors
def weighted_state(
    states: Sequence[Mapping[str, Tensor]], shares: Sequence[float], counters: Collection[str] = ()
) -> dict[str, Tensor]:
    """The point θ = Σ_k s_k·θ_k of some states, Σ_k s_k = 1.

    Computed as θ_1 + Σ_k s_k·(θ_k − θ_1) in float64: a tensor that is equal in all stays exactly as it is, so that the
    average of one network, given several times, is that network. Equal up to the last digit, not always to the bit, for
    another order of the states.

    Args:
        states: tensors by name, of the same names, shapes and types.
        shares: one for each, with a sum of 1.
        counters: names of whole numbers that may differ, of which the largest is taken: batch norm's counters of
            batches, which say nothing of the function.

    Returns:
        New tensors in the types and on the device of the first state.

    Raises:
        MeasureError: no state, shares that do not add up to 1, names, shapes or types that differ, or whole numbers
            that differ and are no counters.

    >>> weighted_state([{"w": torch.tensor([0.0])}, {"w": torch.tensor([4.0])}], [0.75, 0.25])
    {'w': tensor([1.])}
    """
    if not states or len(shares) != len(states) or not math.isclose(sum(shares), 1.0, abs_tol=1e-9):
        raise MeasureError(
            "an average needs a share of each network",
            expected="as many shares as networks, with a sum of 1",
            got=f"{len(states)} networks, shares {', '.join(f'{share:g}' for share in shares) or 'none'}",
        )
    _check_alike(states)
    return {name: _mean(name, [state[name] for state in states], shares, name in counters) for name in states[0]}


@of_tensors
def model_stock_state(
    states: Sequence[Mapping[str, Tensor]],
    start: Mapping[str, Tensor],
    parameters: Collection[str],
    counters: Collection[str] = (),
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """The mean of fine-tuned states, moved towards their start tensor by tensor as far as their angle says.

    θ = t·θ̄ + (1 − t)·θ_0 with t of :func:`stock_ratio`, the cosine being the mean over all pairs of cos(θ_i − θ_0, θ_j
    − θ_0). If fine-tuned weights lie at one distance around a centre, their noise at right angles to each other and to
    it, this is the point of the plane through start and mean that is nearest to the centre.

    A parameter that the start lacks, or has in another shape (a new head), is the mean; so are buffers.

    Args:
        states: at least two, as of :func:`weighted_state`.
        start: the weights before fine-tuning.
        parameters: names of what is moved towards the start.
        counters: as of :func:`weighted_state`.

    Returns:
        The state, and t by the name of each tensor that was moved.

    Raises:
        MeasureError: fewer than two states, or as :func:`weighted_state`.

    Reference: Jang, Yun & Han (2024), "Model Stock: all we need is just a few fine-tuned models", eq. 3 and appendix.

    >>> zero, one, two = ({"w": torch.tensor(values)} for values in ([0.0, 0.0], [2.0, 0.0], [0.0, 2.0]))
    >>> model_stock_state([one, two], zero, ["w"])  # at right angles: nothing in common but the start
    ({'w': tensor([0., 0.])}, {'w': 0.0})
    """
    if len(states) < 2:
        raise MeasureError(
            "Model Stock needs an angle between networks", expected="at least two", got=f"{len(states)} network(s)"
        )
    count = len(states)
    found = weighted_state(states, [1 / count] * count, counters)
    ratios: dict[str, float] = {}
    for name in parameters:
        origin = start.get(name)
        if origin is None or origin.shape != found[name].shape or not found[name].is_floating_point():
            continue
        wide = origin.detach().to(device=found[name].device, dtype=torch.float64)
        moves = torch.stack([(state[name].detach().to(wide) - wide).flatten() for state in states])
        cosine = _mean_cosine(moves)
        if cosine is None:
            continue
        ratios[name] = stock_ratio(cosine, count)
        if ratios[name] < 1:  # at 1 the mean stays as it is, to the last bit
            moved = wide + ratios[name] * moves.mean(dim=0).reshape(wide.shape)
            found[name] = moved.to(found[name].dtype)
    return found, ratios


@checked
def stock_ratio(cosine: float, count: int) -> float:
    """How much of the mean Model Stock keeps: t = n·cos θ / (1 + (n − 1)·cos θ) of n networks, in [0, 1].

    Args:
        cosine: of the angle between their ways from the start; below 0 it counts as 0, where the formula has no
            meaning.
        count: of networks, at least two.

    >>> stock_ratio(0.5, 2), stock_ratio(1.0, 5), stock_ratio(-0.2, 3)
    (0.6666666666666666, 1.0, 0.0)
    """
    if count < 2 or not math.isfinite(cosine):
        raise MeasureError(
            "the ratio needs an angle between networks",
            expected="a finite cosine, and at least two networks",
            got=f"cosine {cosine}, {count} network(s)",
        )
    bounded = min(1.0, max(0.0, cosine))
    return count * bounded / (1 + (count - 1) * bounded)


@checked
def decayed_shares(count: int, decay: float) -> list[float]:
    """Shares of ``count`` checkpoints, the oldest first, in their exponential moving average.

    The average starts at the oldest, a ← d·a + (1 − d)·θ_k: shares d^(n−1), then (1 − d)·d^(n−1−k).

    Args:
        count: of checkpoints, at least 1.
        decay: d, in [0, 1).

    >>> decayed_shares(3, 0.5)
    [0.25, 0.25, 0.5]
    """
    if count < 1 or not 0 <= decay < 1:
        raise MeasureError(
            "a moving average needs checkpoints and a decay",
            expected="at least one, and a decay in [0, 1)",
            got=f"{count}, decay {decay}",
        )
    return [decay ** (count - 1), *((1 - decay) * decay ** (count - 1 - place) for place in range(1, count))]


def _mean_cosine(moves: Tensor) -> float | None:
    """The mean over pairs of the cosine of rows; None where a row has no direction."""
    norms = moves.norm(dim=1)
    if bool((norms == 0).any()) or not bool(torch.isfinite(norms).all()):
        return None
    units = moves / norms[:, None]
    cosines = units @ units.T
    pairs = [float(cosines[i, j]) for i in range(len(moves)) for j in range(i)]
    mean = math.fsum(pairs) / len(pairs)
    # The cosine of a direction with itself is 1 up to rounding.
    return 1.0 if mean > 1 - 1e-12 else mean


def _check_alike(states: Sequence[Mapping[str, Tensor]]) -> None:
    first = states[0]
    for place, state in enumerate(states[1:], start=2):
        apart = sorted(first.keys() ^ state.keys())
        apart += [
            name
            for name in first
            if name in state and (first[name].shape != state[name].shape or first[name].dtype != state[name].dtype)
        ]
        if apart:
            raise MeasureError(
                f"network {place} does not correspond to the first: {apart[0]!r} is missing or differs",
                expected="tensors of the same names, shapes and types",
                got=", ".join(apart[:5]),
            )


def _mean(name: str, tensors: Sequence[Tensor], shares: Sequence[float], counter: bool) -> Tensor:
    first = tensors[0].detach()
    others = [tensor.detach().to(first.device) for tensor in tensors[1:]]
    if not (first.is_floating_point() or first.is_complex()):
        if all(torch.equal(first, other) for other in others):
            return first.clone()
        if not counter:
            raise MeasureError(
                f"{name!r} holds whole numbers that differ between the networks: they have no average",
                expected="equal ones",
                got=f"{first.dtype}",
                hint="average networks of one architecture and one configuration, whose tables and indices are equal",
            )
        return torch.stack([first, *others]).amax(dim=0)
    # Double precision, where the device has it: three equal float32 numbers then have exactly that mean.
    wide = torch.promote_types(first.dtype, torch.float32 if first.device.type == "mps" else torch.float64)
    base = first.to(wide)
    found = base.clone()
    for share, other in zip(shares[1:], others, strict=True):
        found += share * (other.to(wide) - base)
    return found.to(first.dtype)
