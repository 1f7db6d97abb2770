"""Ways to average networks: uniform and greedy soups, Model Stock, towards the start, and along one run."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from transferscope.measures.averages import decayed_shares, model_stock_state
from transferscope.methods.averaging.space import AveragedNetwork, AveragingSpace, Scores, rank_of

__all__ = ["WISE_SHARES", "best_single", "greedy_soup", "model_stock", "run_averages", "uniform_soup", "wise_ft"]

WISE_SHARES = (0.2, 0.4, 0.6, 0.8)
"""Of the fine-tuned network, between its start and itself."""


def best_single(space: AveragingSpace, singles: Sequence[Mapping[str, Scores]], decides: str) -> list[int]:
    """Networks by the split that decides, the best first: metric, then loss, then content; never their order."""
    return sorted(range(len(space)), key=lambda place: (*rank_of(singles[place][decides]), space.hashes[place]))


def uniform_soup(space: AveragingSpace, members: Sequence[int]) -> AveragedNetwork:
    """The mean of some networks.

    Reference: Wortsman et al. (2022), "Model soups", Sec. 2.
    """
    return space.weighted("uniform", [(place in members) / len(members) for place in range(len(space))])


def greedy_soup(
    space: AveragingSpace, members: Sequence[int], alone: Mapping[str, Scores], decides: str
) -> AveragedNetwork | None:
    """The mean of those networks that, added one after the other, make it better.

    A network is added where the metric of the split that decides rises, or stays and the loss falls; the first one
    counts as it is, so that the soup is never below it on that split.

    Args:
        members: the best first, as of :func:`best_single`.
        alone: scores of the first.
        decides: name of the split.

    Returns:
        None where no other network makes the best one better.

    Reference: Wortsman et al. (2022), "Model soups", recipe 1.
    """
    kept, best = [members[0]], rank_of(alone[decides])
    found: AveragedNetwork | None = None
    for place in members[1:]:
        tried = space.weighted("greedy", [(item in (*kept, place)) / (len(kept) + 1) for item in range(len(space))])
        if rank_of(tried.scores[decides]) < best:
            kept, best, found = [*kept, place], rank_of(tried.scores[decides]), tried
    return None if found is None else replace(found, trials=len(members) - 1)


def model_stock(space: AveragingSpace, members: Sequence[int], start: Mapping[str, Tensor]) -> AveragedNetwork:
    """The mean, moved towards the start as far as the angle between the networks says; see
    :func:`~transferscope.measures.averages.model_stock_state`.

    Args:
        start: tensors of the start by name; those it lacks are the mean.
    """
    chosen = sorted(members, key=lambda place: space.hashes[place])
    state, ratios = model_stock_state([space.state(place) for place in chosen], start, space.parameters, space.counters)
    sizes = {name: state[name].numel() for name in ratios}
    moved = sum(sizes.values())
    away = sum((1 - ratio) * sizes[name] for name, ratio in ratios.items()) / moved if moved else 0.0
    shares = [(1 - away) * (place in members) / len(members) for place in range(len(space))]
    return space.made("stock", state, shares, away)


def wise_ft(
    space: AveragingSpace, member: int, start: Mapping[str, Tensor], decides: str, shares: Sequence[float] = WISE_SHARES
) -> AveragedNetwork:
    """The best point on the way from the start to one fine-tuned network, by the split that decides.

    Args:
        start: all tensors of the start, the head included.
        shares: of the fine-tuned network.

    Reference: Wortsman et al. (2022), "Robust fine-tuning of zero-shot models".
    """
    found = [
        space.weighted("wise", [share * (place == member) for place in range(len(space))], start) for share in shares
    ]
    return replace(min(found, key=lambda item: rank_of(item.scores[decides])), trials=len(found))


def run_averages(space: AveragingSpace, decides: str, decays: Sequence[float]) -> list[AveragedNetwork]:
    """Averages along one run whose checkpoints are the networks, the oldest first.

    Of the last k, and exponential moving averages, the best of each kind by the split that decides.

    Reference: Izmailov et al. (2018), "Averaging weights leads to wider optima"; Kaddour (2022), "Stop wasting my
    time!" (LAWA, the last k).
    """
    count = len(space)
    last = [space.weighted("last", [(place >= count - k) / k for place in range(count)]) for k in range(2, count + 1)]
    moving = [space.weighted("ema", decayed_shares(count, decay)) for decay in decays]
    return [
        replace(min(kind, key=lambda item: rank_of(item.scores[decides])), trials=len(kind))
        for kind in (last, moving)
        if kind
    ]
