"""Distance in parameter space, in float64, one tensor at a time.

Parameters are a mapping from name to tensor, as ``dict(model.named_parameters())``: frozen parameters are in it,
buffers are not. (``state_dict`` holds buffers too: running statistics are no parameters and must be left out.)
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from transferscope.arguments import checked
from transferscope.errors import MeasureError, nearest
from transferscope.measures.arguments import of_tensors

__all__ = [
    "Distance",
    "Parameters",
    "displacement_cosine",
    "distance_by_module",
    "group_by_module",
    "parameter_distance",
    "parameter_norm",
    "split_head",
]

Parameters = Mapping[str, Tensor]

_ROUNDING = 1e-7
"""What float32 weights lose to rounding, as a share of their norm."""


@dataclass(frozen=True)
class Distance:
    """How far two networks, or two modules, are apart.

    Attributes:
        l2: ‖θ_a − θ_b‖₂, at least 0.
        relative: l2 / ‖θ_init‖₂; None where no initial value was given or it is 0.
        parameters: how many numbers were compared.
    """

    l2: float
    relative: float | None
    parameters: int


@of_tensors
def parameter_norm(parameters: Parameters) -> float:
    """‖θ‖₂ over all parameters, summed in float64.

    Raises:
        MeasureError: a tensor is no parameter (not floating point) or not finite.

    >>> parameter_norm({"weight": torch.tensor([3.0, 4.0])})
    5.0
    """
    return math.sqrt(math.fsum(float(tensor @ tensor) for _, tensor in _flat(parameters)))


@of_tensors
def parameter_distance(a: Parameters, b: Parameters, initial: Parameters | None = None) -> Distance:
    """‖θ_a − θ_b‖₂ over all parameters, frozen ones included.

    A metric: symmetric, 0 only for equal parameters, with the triangle inequality. Invariant to one orthogonal map of
    both (a permutation of channels applied to both). Not invariant to permuting the channels of one of them, nor to
    rescaling that leaves the function unchanged, such as weights before a norm layer.

    Args:
        a: parameters of the first network.
        b: of the second: the same names and shapes.
        initial: where the distance is made relative to; the same names (the values of the network's start).

    Returns:
        The distance.

    Raises:
        MeasureError: names or shapes differ, a tensor is not floating point, or not finite.

    Reference: Neyshabur, Sedghi & Zhang (2020), table 2.

    >>> parameter_distance({"w": torch.ones(4)}, {"w": torch.zeros(4)}, {"w": torch.ones(4)})
    Distance(l2=2.0, relative=1.0, parameters=4)
    """
    _check_match(a, b)
    if initial is not None:
        _check_match(a, initial)
    squares = []
    for (_, first), (_, second) in zip(_flat(a), _flat({name: b[name] for name in a}), strict=True):
        difference = first - second
        squares.append(float(difference @ difference))
    l2 = math.sqrt(math.fsum(squares))
    norm = 0.0 if initial is None else parameter_norm({name: initial[name] for name in a})
    return Distance(l2, l2 / norm if norm > 0 else None, sum(tensor.numel() for tensor in a.values()))


@of_tensors
def distance_by_module(
    a: Parameters, b: Parameters, modules: Sequence[str], initial: Parameters | None = None
) -> dict[str, Distance]:
    """The distance within each module; their squares add up to that of the whole network.

    Args:
        a: parameters of the first network.
        b: of the second.
        modules: names such as ``layer1.0``; see :func:`group_by_module`.
        initial: where distances are made relative to, each to its own module's.

    Returns:
        By module, in the order given; parameters of no module, if any, under ``""`` at the end.

    Raises:
        MeasureError: as :func:`parameter_distance`, or a module without parameters.
    """
    _check_match(a, b)
    if initial is not None:
        _check_match(a, initial)
    return {
        module: parameter_distance(
            {name: a[name] for name in names},
            {name: b[name] for name in names},
            None if initial is None else {name: initial[name] for name in names},
        )
        for module, names in group_by_module(a, modules).items()
    }


@checked
def group_by_module(names: Iterable[str], modules: Sequence[str]) -> dict[str, list[str]]:
    """Which parameters belong to which module: the longest module name that is the parameter's name or leads it.

    Args:
        names: of the parameters.
        modules: of the modules; where one lies inside another, its parameters are its own.

    Returns:
        Names by module, in the order of ``modules``; parameters of none under ``""`` at the end, if there are any.

    Raises:
        MeasureError: a module has no parameters (with the nearest names that have).

    >>> group_by_module(["stem.weight", "blocks.1.weight", "blocks.10.weight"], ["blocks.1", "blocks.10"])
    {'blocks.1': ['blocks.1.weight'], 'blocks.10': ['blocks.10.weight'], '': ['stem.weight']}
    """
    known = set(modules)
    groups: dict[str, list[str]] = {module: [] for module in modules}
    rest: list[str] = []
    everything = list(names)
    for name in everything:
        parts = name.split(".")
        prefixes = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
        module = next((prefix for prefix in prefixes if prefix in known), None)
        (rest if module is None else groups[module]).append(name)
    empty = [module for module, members in groups.items() if not members]
    if empty:
        prefixes_there = {".".join(name.split(".")[:length]) for name in everything for length in range(1, 9)}
        raise MeasureError(
            f"the module {empty[0]!r} has no parameters of its own",
            expected="modules with parameters that no listed inner module takes",
            hint=nearest(empty[0], prefixes_there),
        )
    return {**groups, "": rest} if rest else groups


@checked
def split_head(parameters: Parameters, head: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Trunk and head apart: heads start anew for each task, so their distance says little about transfer.

    Args:
        parameters: of the network.
        head: the module name of the head.

    Returns:
        Parameters of the trunk, and of the head.

    Raises:
        MeasureError: no parameter belongs to ``head``.
    """
    of_head = set(group_by_module(parameters, [head])[head])
    trunk = {name: tensor for name, tensor in parameters.items() if name not in of_head}
    return trunk, {name: parameters[name] for name in parameters if name in of_head}


@of_tensors
def displacement_cosine(
    a: Parameters, a_start: Parameters, b: Parameters, b_start: Parameters, *, without_decay: bool = False
) -> float | None:
    """Cosine between two displacements θ_a − θ_0a and θ_b − θ_0b.

    Shared weight decay alone pulls both networks along −θ_0 and makes the cosine positive; ``without_decay`` removes
    from each displacement its component along its own start. For displacements of equal length r whose ends are d apart
    and that have one start, it is 1 − d²/(2r²).

    Invariant to scaling each displacement and to one orthogonal map of all four. Not invariant to moving a start.

    Args:
        a: parameters of the first network.
        a_start: where it started.
        b: of the second.
        b_start: where it started.
        without_decay: project out the decay direction first.

    Returns:
        In [−1, 1]; None if a displacement is 0, or if the projection leaves no more than float32 weights lose to
        rounding (1e-7 of their norm).

    Raises:
        MeasureError: names or shapes differ, a tensor is not floating point, or not finite.

    >>> start = {"w": torch.zeros(2)}
    >>> displacement_cosine({"w": torch.tensor([1.0, 0.0])}, start, {"w": torch.tensor([0.0, 2.0])}, start)
    0.0
    """
    for other in (a_start, b, b_start):
        _check_match(a, other)
    # Sums decide: the products of u = θ_a − θ_0a and v = θ_b − θ_0b with themselves and with both starts.
    products = {key: [0.0] for key in ("uu", "vv", "uv", "us", "vt", "ut", "vs", "ss", "tt", "st")}
    aligned = ({name: side[name] for name in a} for side in (a, a_start, b, b_start))
    for (_, first), (_, s), (_, second), (_, t) in zip(*(_flat(side) for side in aligned), strict=True):
        vectors = {"u": first - s, "v": second - t, "s": s, "t": t}
        for key, terms in products.items():
            terms.append(float(vectors[key[0]] @ vectors[key[1]]))
    total = {key: math.fsum(terms) for key, terms in products.items()}
    uu, vv, uv = total["uu"], total["vv"], total["uv"]
    if without_decay:
        # u' = u − (u·s/s·s)s and v' = v − (v·t/t·t)t; a start at 0 has no decay direction.
        along_s = total["us"] / total["ss"] if total["ss"] > 0 else 0.0
        along_t = total["vt"] / total["tt"] if total["tt"] > 0 else 0.0
        uv += -along_s * total["vs"] - along_t * total["ut"] + along_s * along_t * total["st"]
        uu -= along_s * total["us"]
        vv -= along_t * total["vt"]
        lost_u = _ROUNDING**2 * max(total["uu"], total["ss"])
        lost_v = _ROUNDING**2 * max(total["vv"], total["tt"])
        if uu <= lost_u or vv <= lost_v:
            return None
    if uu == 0 or vv == 0:
        return None
    return max(-1.0, min(1.0, uv / math.sqrt(uu * vv)))


def _flat(parameters: Parameters) -> Iterator[tuple[str, Tensor]]:
    """Flatten one tensor after the other to float64 on the CPU (not every device knows float64)."""
    for name, tensor in parameters.items():
        if not tensor.is_floating_point():
            raise MeasureError(
                f"{name!r} is not a parameter",
                expected="floating point tensors, no buffers",
                got=str(tensor.dtype),
                hint="give dict(model.named_parameters())",
            )
        flat = tensor.detach().cpu().double().flatten()
        if not bool(torch.isfinite(flat).all()):
            raise MeasureError(
                f"the parameter {name!r} is not finite",
                expected="finite weights",
                hint="leave out diverged networks, and say so",
            )
        yield name, flat


def _check_match(a: Parameters, b: Parameters) -> None:
    if not a:
        raise MeasureError("a network without parameters has no distance", expected="at least one parameter")
    apart = set(a) ^ set(b)
    if apart:
        name = min(apart)
        side, other = ("first", b) if name in a else ("second", a)
        raise MeasureError(
            f"the parameter {name!r} is only in the {side} network", expected="equal names", hint=nearest(name, other)
        )
    for name in a:
        if a[name].shape != b[name].shape:
            raise MeasureError(
                f"the parameter {name!r} has two shapes",
                expected=str(tuple(a[name].shape)),
                got=str(tuple(b[name].shape)),
                hint="compare trunks: split_head",
            )
