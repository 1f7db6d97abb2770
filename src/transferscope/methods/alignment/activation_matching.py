"""Units matched by what they do on data (Li et al. 2015; Ainsworth, Hayase & Srinivasa 2023, section 3.1)."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, fx, nn

from transferscope.errors import AlignmentError, LoaderError
from transferscope.measures.assignment import CrossCorrelation
from transferscope.methods.alignment.permuted_state import Match, Mover, best_move
from transferscope.networks.evaluate import network_inputs
from transferscope.networks.permutations.groups import PermutationGroups
from transferscope.networks.permutations.trace import Operations, operations, run_together
from transferscope.networks.permutations.units import Group, Place


@final
class _Kind:
    """Units that are compared with each other: those of a group, or of one kind within all wholes."""

    def __init__(self, units: int, places: tuple[Place, ...]) -> None:
        self.units, self.places = units, places
        self.seen = [CrossCorrelation() for _ in places]

    def similarity(self) -> npt.NDArray[np.float64]:
        """Mean over the places of the correlation of units, ``units units``."""
        total = sum((seen.value() for seen in self.seen), torch.zeros(self.units, self.units, dtype=torch.float64))
        found: npt.NDArray[np.float64] = (total / max(1, len(self.seen))).numpy()
        return found


@torch.no_grad()
def activation_matching(
    groups: PermutationGroups,
    model: nn.Module,
    first: Mapping[str, Tensor],
    second: Mapping[str, Tensor],
    batches: Iterable[object],
) -> Match:
    """Permute the units of ``second`` so that matched units vary together on images.

    For every group the correlations of all units of one network with all of the other are taken wherever they enter or
    leave a sum of products, averaged over these places, and the assignment with the largest sum is chosen. All groups
    are matched at once, but for those only seen beside others (hidden units along tokens, beside channels), which
    follow in a further pass. Nothing depends on a seed. The objective is the mean correlation of matched units.
    """
    shown = {group.name: _kinds(group) for group in groups}
    mover = Mover(groups, second)
    traced: dict[tuple[int, ...], Operations] = {}
    before = after = 0.0
    units = rounds = 0
    waiting = list(groups)
    while waiting:
        matched = {group.name for group in groups} - {group.name for group in waiting}
        # First what is seen on samples that both networks share; then what needs the former in its place.
        kinds = {group.name: _clear(shown[group.name], matched) for group in waiting}
        ready = [group for group in waiting if all(kind.places for kind in kinds[group.name])]
        if not ready:
            raise AlignmentError(
                f"the units of {waiting[0].name!r} are only seen together with others that are not matched either",
                expected="one set of units that is seen alone",
                got=", ".join(group.name for group in waiting[:5]),
                hint="match by weights: method='weights'",
            )
        chosen = [kind for group in ready for kind in kinds[group.name]]
        _look(groups.operations, model, (first, mover.state), batches, chosen, traced)
        rounds += 1
        for group in ready:
            kept, gained = _match(mover, group, kinds[group.name])
            before, after = before + kept, after + gained
            units += sum(kind.units for kind in kinds[group.name])
        waiting = [group for group in waiting if group not in ready]
    return mover.finished(before / max(1, units), after / max(1, units), rounds)


def _look(
    known: Operations,
    model: nn.Module,
    states: tuple[Mapping[str, Tensor], Mapping[str, Tensor]],
    batches: Iterable[object],
    kinds: list[_Kind],
    traced: dict[tuple[int, ...], Operations],
) -> None:
    """One pass over the images with both networks side by side."""
    by_node: dict[str, list[tuple[CrossCorrelation, Place]]] = {}
    for kind in kinds:
        for seen, place in zip(kind.seen, kind.places, strict=True):
            by_node.setdefault(place.node, []).append((seen, place))

    def receive(node: fx.Node, one: Tensor, two: Tensor) -> None:
        for seen, place in by_node[node.name]:
            seen.add(_samples(one, place), _samples(two, place))

    count = 0
    device = next(iter(states[0].values())).device
    for batch in batches:
        images = network_inputs(model, batch, device, "contiguous")
        shape = tuple(images.shape)
        if shape not in traced:
            traced[shape] = _retraced(known, model, images)
        run_together(traced[shape], states, images, receive, frozenset(by_node))
        count += 1
    if not count:
        raise LoaderError("activations cannot be compared without images", expected="at least one batch", got="none")


def _match(mover: Mover, group: Group, kinds: list[_Kind]) -> tuple[float, float]:
    """Give a group its best move; the sum of correlations of its units before and after."""
    inner, similarity = _similarities(group, kinds)
    move = best_move(group, inner, similarity)
    kept = np.trace(similarity) + sum(np.einsum("aauu->", values) for values in inner)
    gained = similarity[np.arange(group.units), move.order].sum()
    for whole, partner in enumerate(move.order if group.inner else ()):
        for values, order in zip(inner, move.inner[whole], strict=True):
            gained += values[whole, partner][np.arange(len(order)), order].sum()
    mover.apply(group, move)
    return float(kept), float(gained)


def _clear(kinds: list[_Kind], matched: set[str]) -> list[_Kind]:
    """Kinds with the places where all that lies beside them is matched."""
    return [_Kind(kind.units, tuple(place for place in kind.places if place.beside <= matched)) for kind in kinds]


def _kinds(group: Group) -> list[_Kind]:
    """What is compared for a group."""
    if not group.inner or not group.inner[0]:
        if not group.places:
            raise AlignmentError(
                f"the units of {group.name!r} are seen in no convolution or linear map",
                expected="activations to match them by",
                hint="match by weights: method='weights'",
            )
        return [_Kind(group.units, group.places)]
    kinds = []
    for place in range(len(group.inner[0])):
        parts = [whole[place] for whole in group.inner]
        merged = tuple(
            replace(seen, index=np.concatenate([part.places[number].index for part in parts]))
            for number, seen in enumerate(parts[0].places)
        )
        kinds.append(_Kind(len(parts) * parts[0].units, merged))
    return kinds


def _similarities(group: Group, kinds: list[_Kind]) -> tuple[list[npt.NDArray[np.float64]], npt.NDArray[np.float64]]:
    if not group.inner or not group.inner[0]:
        return [], kinds[0].similarity()
    wholes = len(group.inner)
    inner = []
    for kind in kinds:
        units = kind.units // wholes
        inner.append(kind.similarity().reshape(wholes, units, wholes, units).transpose(0, 2, 1, 3))
    return inner, np.zeros((wholes, wholes))


def _samples(value: Tensor, place: Place) -> Tensor:
    """``samples units``: every position of the other axes, and every column of a unit, is a sample."""
    last = range(-len(place.axes), 0)
    flat = value.movedim(place.axes, tuple(last)).flatten(start_dim=-len(place.axes))
    flat = flat.reshape(-1, flat.shape[-1])
    units, columns = place.index.shape
    index = torch.as_tensor(place.index.T.ravel(), device=value.device)
    return flat.index_select(1, index).reshape(-1, units) if columns > 0 else flat


def _retraced(known: Operations, model: nn.Module, images: Tensor) -> Operations:
    """The operations for another number of images: the same ones."""
    if tuple(images.shape) == tuple(known.images.meta["val"].shape):
        return known
    found = operations(model, images)
    if [_facts(node) for node in found.nodes] != [_facts(node) for node in known.nodes]:
        raise AlignmentError(
            f"the operations of {type(model).__name__} are others for {len(images)} images than for one",
            expected="the same operations whatever the number of images",
            hint="match by weights: method='weights'",
        )
    return found


def _facts(node: fx.Node) -> tuple[str, str, str, int | None]:
    value = node.meta.get("val")
    return node.name, node.op, str(node.target), value.ndim if isinstance(value, Tensor) else None
