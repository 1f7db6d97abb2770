"""One network permuted so that its hidden units stand where those of another do."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from transferscope.errors import AlignmentError
from transferscope.methods.alignment.activation_matching import activation_matching
from transferscope.methods.alignment.permuted_state import Match
from transferscope.methods.alignment.weight_matching import weight_matching
from transferscope.methods.evaluation import Batches
from transferscope.networks.alike import unlike
from transferscope.networks.batch import first_inputs
from transferscope.networks.evaluate import (
    check_deterministic,
    check_network_deterministic,
    network_inputs,
    resolve_device,
)
from transferscope.networks.given import takes_networks
from transferscope.networks.one_function import check_one_function
from transferscope.networks.permutations.groups import PermutationGroups, permutation_groups
from transferscope.networks.permutations.trace import evaluation_copy, state_of
from transferscope.networks.permutations.units import Order
from transferscope.networks.pruning import pruning_masks, without_pruned
from transferscope.readable import readable

Method = Literal["activations", "weights"]
METHODS: tuple[Method, ...] = ("activations", "weights")

_CHECKED_IMAGES = 4


@readable
@dataclass(frozen=True)
class Aligned:
    """A network with its hidden units permuted.

    Attributes:
        network: a copy of the second one, in evaluation mode: the same function, other places of its units.
        orders: for each group and inner group, by name, which unit (by its number before) is at each place now.
        moved: share of all units that are not where they were.
        share: of the parameters that lie along some group: what no permutation reaches cannot be aligned.
        objective: ``before, after``: mean correlation of matched units for ``activations``, Σ⟨θ₁, θ₂⟩ for ``weights``.
        distance: ``before, after``: ‖θ₁ − θ₂‖₂ over parameters.
        unchanged_to: largest difference between outputs before and after, relative to their largest entry: of this
            network, and of one with random permutations of all groups and no weights of zero; in float64 where the
            device has it.
    """

    network: nn.Module
    method: Method
    groups: PermutationGroups = field(repr=False)
    orders: Mapping[str, Order] = field(repr=False)
    moved: float
    share: float
    objective: tuple[float, float]
    distance: tuple[float, float]
    unchanged_to: float


@takes_networks("a", "b")
def align(
    a: nn.Module,
    b: nn.Module,
    batches: Batches,
    *,
    method: Method = "activations",
    seed: int = 0,
    restarts: int = 1,
    device: str | torch.device = "auto",
) -> Aligned:
    """Permute the hidden units of ``b`` to the places of their counterparts in ``a``.

    The function of ``b`` stays the same; a barrier between ``a`` and ``b`` that only came from another order of units
    is then gone. Which permutations there are is read from the graph of operations, see
    :mod:`transferscope.networks.permutations.groups`; that the function is the same is checked.

    Running statistics of batch norm are permuted along. On a path they must be recomputed as on any other
    (:func:`transferscope.linear_path` does).

    Args:
        a: stays; left as it is.
        b: of the same architecture; left as it is.
        batches: of images, the same at every pass; labels are not looked at. For ``weights`` only the first batch is
            used, to trace the network and to check.
        method: ``activations`` matches units that vary together on the images (for a permuted copy this is exact);
            ``weights`` looks at weights alone (a local optimum).
        seed: for ``weights``: order of the groups.
        restarts: for ``weights``: descents, of which the best is taken.

    Raises:
        AlignmentError: the networks differ, cannot be traced, or have an operation for which there is no rule (named);
            or the function would not be the same.
        ArchitectureError: with the parameters and buffers of ``a`` the network ``b`` does not compute what ``a`` does.
        LoaderError: there is no batch, or a loader does not give the same batches twice.
        ArchitectureError: a network gives other outputs for the same images in evaluation mode.
        MeasureError: a weight or an activation is not finite.

    Reference: Ainsworth, Hayase & Srinivasa 2023, "Git Re-Basin"; Li et al. 2015, "Convergent learning".

    Example:
        >>> a = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> b = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> state = a.state_dict()
        >>> _ = b.load_state_dict({name: t.flip(1 if name == "2.weight" else 0) if t.shape[-1] != 2 else t
        ...                        for name, t in state.items()})
        >>> found = align(a, b, [(torch.randn(32, 3), torch.zeros(32))])
        >>> found.orders["0.weight"].tolist(), round(found.distance[1], 6)
        ([7, 6, 5, 4, 3, 2, 1, 0], 0.0)
    """
    if method not in METHODS:
        raise AlignmentError(f"unknown method {method!r}", expected=" or ".join(METHODS), got=repr(method))
    check_deterministic(batches, labels=False)
    _check_alike(a, b)
    where = resolve_device(device)
    models = [evaluation_copy(network).to(where) for network in (a, b)]
    example = network_inputs(models[1], first_inputs(batches)[:_CHECKED_IMAGES], where, "contiguous")
    for model in models:
        check_network_deterministic(model, example)
    first, second = (
        {name: tensor.detach() for name, tensor in without_pruned(state_of(model), pruning_masks(model)).items()}
        for model in models
    )
    check_one_function(models[1], models[0], second, first, first.keys(), example)
    groups = permutation_groups(models[1], example)
    parameters = [name for name, _ in models[1].named_parameters()]
    match method:
        case "activations":
            found = activation_matching(groups, models[1], first, second, batches)
        case "weights":
            found = weight_matching(groups, first, second, parameters, seed=seed, restarts=restarts)
    difference = _check_function(groups, models[1], found, example)
    distance = _distance(first, second, parameters), _distance(first, found.state, parameters)
    network = evaluation_copy(b)
    _load(network, found.state)
    return Aligned(
        network=network,
        method=method,
        groups=groups,
        orders=found.orders,
        moved=found.moved,
        share=groups.share,
        objective=(found.before, found.after),
        distance=distance,
        unchanged_to=difference,
    )


def _check_alike(a: nn.Module, b: nn.Module) -> None:
    apart = unlike(a, b, types=False, masks=False)
    if apart is not None:
        raise AlignmentError(
            "the units of these networks cannot be matched: their parameters or buffers differ",
            expected="two networks of one architecture with heads of one size",
            got=f"{apart.got} ({apart.cause})",
            hint=apart.hint,
        )


def _check_function(groups: PermutationGroups, model: nn.Module, found: Match, example: Tensor) -> float:
    """How far outputs move: with random permutations of shaken weights, and from ``model`` to what was found."""
    wide = torch.float64 if _runs_wide(model, example) else torch.float32
    images = example.to(wide) if example.is_floating_point() else example
    limit = 1e-7 if wide == torch.float64 and _stays_wide(groups) else 1e-3
    own = _widened(state_of(model), wide)
    shaken = _shaken(groups, own)
    worst = 0.0
    for before, after in ((shaken, groups.apply(shaken, groups.random(0))), (own, _widened(found.state, wide))):
        outputs = _output(model, before, images), _output(model, after, images)
        difference = float((outputs[0] - outputs[1]).abs().max()) / max(1e-30, float(outputs[0].abs().max()))
        if not difference <= limit:
            raise AlignmentError(
                f"permuting the units of {type(model).__name__} changed what it computes",
                expected=f"outputs equal to {limit:g} of the largest",
                got=f"{difference:.3g}",
                hint="an operation was misread, or an image's output depends on the others: this network cannot be "
                "aligned",
            )
        worst = max(worst, difference)
    return worst


@torch.no_grad()
def _output(model: nn.Module, state: Mapping[str, Tensor], images: Tensor) -> Tensor:
    # Entering training mode drops what a network keeps of its parameters between evaluations.
    model.train().eval()
    found = functional_call(model, dict(state), (images.clone(),))
    if not isinstance(found, Tensor):
        raise AlignmentError(
            f"{type(model).__name__} does not give one tensor", expected="logits", got=type(found).__name__
        )
    return found


def _widened(state: Mapping[str, Tensor], wide: torch.dtype) -> dict[str, Tensor]:
    return {
        name: tensor.detach().to(wide) if tensor.is_floating_point() else tensor.detach()
        for name, tensor in state.items()
    }


def _runs_wide(model: nn.Module, example: Tensor) -> bool:
    """Whether the device has float64, and the network takes it: one that casts its input does not."""
    if example.device.type == "mps":
        return False
    images = example.double() if example.is_floating_point() else example
    try:
        _output(model, _widened(state_of(model), torch.float64), images)
    except AlignmentError:
        raise
    except Exception:  # a network may raise anything on types that it does not take
        return False
    return True


def _stays_wide(groups: PermutationGroups) -> bool:
    """Whether no operation casts to a narrower type whatever its input."""
    return not any(
        argument in (torch.float32, torch.bfloat16, torch.float16)
        for node in groups.operations.nodes
        if node.op == "call_function"
        for argument in (*node.args, *node.kwargs.values())
    )


def _shaken(groups: PermutationGroups, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights with which no branch is switched off by a scale or matrix of zeros; variances stay positive."""
    generator = torch.Generator().manual_seed(0)
    moved = dict(state)
    for name in groups.operations.saved:
        tensor = state[name]
        if not tensor.is_floating_point():
            continue
        # Drawn on the CPU, so that every device has the same.
        noise = torch.rand(tensor.shape, generator=generator).to(tensor)
        long = tensor.numel() == max(tensor.shape, default=1)
        moved[name] = tensor + 0.1 * noise if long else tensor + 0.02 * (noise - 0.5)
    return moved


def _distance(first: Mapping[str, Tensor], second: Mapping[str, Tensor], names: Iterable[str]) -> float:
    return math.sqrt(sum(float((first[n].cpu().double() - second[n].cpu().double()).square().sum()) for n in names))


@torch.no_grad()
def _load(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    for name, tensor in state_of(network).items():
        tensor.copy_(state[name])
