"""Two networks by their weights alone: of any kind and size, tensor by tensor, an adapter without merging it."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from transferscope.arguments import checked_as
from transferscope.errors import WeightsError
from transferscope.measures.batchnorm_drift import BatchNormDrift, batchnorm_drift
from transferscope.measures.change import NO_CHANGE, change_sums
from transferscope.measures.implicit_ranks import Ranks, implicit_ranks, ranks_of_values
from transferscope.measures.spectra import matrix_spectrum
from transferscope.methods.compare.weights_result import State, TensorChange, WeightsComparison
from transferscope.networks.adapters import Adapter, LowRank
from transferscope.networks.stored_tensors import PIECE, StoredTensors
from transferscope.networks.tensor_names import correspondence

__all__ = ["compare_weights"]

OnStep = Callable[[str, int, int], None]
Rows = Callable[[], Iterator[Tensor]]
"""Gives the rows of a matrix, some at a time."""

_EXACT_SIDE = 512  # up to that a matrix is decomposed
_EXACT_NUMBERS = 2**22
_HELD = 2**25  # bytes of ΔW that may always be kept; else as many as the largest tensor has
_FINGERPRINT = 64
_STATISTICS = ("running_mean", "running_var")
_SCALES = ("_scale", "_scale_inv", "_scales", ".absmax", ".scale")


@checked_as(WeightsError)
def compare_weights(
    a: StoredTensors | Adapter, b: StoredTensors | Adapter, *, ranks: bool = True, on_step: OnStep | None = None
) -> WeightsComparison:
    """Compare two networks by their weights; ΔW = W_b − W_a.

    Tensors are read in pieces of 8 MB. Beside those, ΔW of one tensor is in memory where in single precision it is
    no larger than the largest tensor as stored (or 32 MB); else it is read again for every product.

    Args:
        a: the first network, or an adapter.
        b: the second; an adapter is one of a, or, where a is one too, is compared with it.
        ranks: also the stable and the effective rank of every ΔW.
        on_step: told how many tensors are done.

    Raises:
        WeightsError: no names correspond, a file cannot be read, or a is an adapter and b is none.
    """
    tell = on_step or _silent
    if isinstance(a, Adapter) and not isinstance(b, Adapter):
        raise WeightsError(
            f"{a.source} is an adapter and {b.source} is none",
            expected="the base first, then its adapter; or two adapters of one base",
            hint="give the base in place of the first, or give both in the other order",
        )
    if isinstance(a, Adapter) and isinstance(b, Adapter):
        return _adapters(a, b, ranks, tell)
    assert isinstance(a, StoredTensors)
    return _base_and_adapter(a, b, ranks, tell) if isinstance(b, Adapter) else _networks(a, b, ranks, tell)


def _silent(step: str, done: int, most: int) -> None:
    """Nobody is told."""


def _networks(a: StoredTensors, b: StoredTensors, ranks: bool, tell: OnStep) -> WeightsComparison:
    names = correspondence(a.infos, b.infos, (a.source, b.source))
    infos = {name: (a.infos[first], b.infos[second]) for name, (first, second) in names.pairs.items()}
    reshaped = {n: (one.shape, other.shape) for n, (one, other) in infos.items() if one.shape != other.shape}
    held = max([_HELD, *(info.bytes for pair in infos.values() for info in pair)])
    fitting = {name: pair for name, pair in names.pairs.items() if name not in reshaped}
    found = []
    for done, (name, (first, second)) in enumerate(fitting.items()):
        tell("tensors", done, len(fitting))
        if name.rpartition(".")[2] not in _STATISTICS:
            found.append(_dense(name, (a, first), (b, second), held if ranks else None))
    tied_a, tied_b = _tied(a), _tied(b)
    return WeightsComparison(
        sources=(a.source, b.source),
        tensors=_once(found, fitting, tied_a, tied_b),
        drift=_drift(fitting, a, b),
        reshaped=reshaped,
        names=names,
        tied=(tied_a, tied_b),
        ranks=ranks,
    )


def _dense(
    name: str, one: tuple[StoredTensors, str], other: tuple[StoredTensors, str], held: int | None
) -> TensorChange:
    (a, first), (b, second) = one, other
    infos = a.infos[first], b.infos[second]
    change = TensorChange(name, infos[0].shape, (str(infos[0].dtype)[6:], str(infos[1].dtype)[6:]), "measured")
    if not (infos[0].dense and infos[1].dense):
        return replace(change, state="codes")
    if any(_coded(tensors, stored) for tensors, stored in (one, other)):
        pieces = zip(a.pieces(first), b.pieces(second), strict=True)
        same = infos[0].dtype == infos[1].dtype and all(torch.equal(*_bytes(*pair)) for pair in pieces)
        return replace(change, state="codes", equal=same)
    sums = sum((change_sums(*pair) for pair in zip(a.pieces(first), b.pieces(second), strict=True)), NO_CHANGE)
    change = replace(change, sums=sums, equal=not sums.changed)
    if not sums.finite:
        return replace(change, state="not_finite")
    if held is None or len(change.shape) < 2 or not sums.dd:
        return change
    return replace(change, ranks=_ranks(change, one, other, held))


def _coded(tensors: StoredTensors, name: str) -> bool:
    """Whether a tensor's numbers are no weights: integers, or float8 beside which a scale lies."""
    dtype = tensors.infos[name].dtype
    if not dtype.is_floating_point:
        return True
    return dtype.itemsize == 1 and any(f"{name}{end}" in tensors.infos for end in _SCALES)


def _bytes(*tensors: Tensor) -> tuple[Tensor, ...]:
    return tuple(tensor.contiguous().view(torch.uint8) for tensor in tensors)


def _ranks(
    change: TensorChange, one: tuple[StoredTensors, str], other: tuple[StoredTensors, str], held: int
) -> Ranks | None:
    assert change.sums is not None
    rows, columns = change.shape[0], change.sums.count // change.shape[0]
    (a, first), (b, second) = one, other
    step = max(1, PIECE // columns) * columns
    double = "float64" in change.types or not 1e-15 < math.sqrt(change.sums.dd) < 1e15

    def blocks(kind: torch.dtype = torch.float64 if double else torch.float32) -> Iterator[Tensor]:
        for x, y in zip(a.pieces(first, step), b.pieces(second, step), strict=True):
            yield (y.to(kind) - x.to(kind)).view(-1, columns)

    if min(rows, columns) <= _EXACT_SIDE and rows * columns <= _EXACT_NUMBERS:
        return ranks_of_values(matrix_spectrum(torch.cat(list(blocks(torch.float64)))).values)
    frobenius = math.sqrt(change.sums.dd)

    def scaled() -> Iterator[Tensor]:
        for block in blocks():
            yield (block / frobenius).float()

    if 4 * rows * columns > held:
        found = implicit_ranks(_product(scaled, rows, columns), min(rows, columns), 1.0)
    else:
        kept = torch.empty(rows, columns)
        start = 0
        for block in scaled():
            kept[start : start + len(block)] = block
            start += len(block)
        found = implicit_ranks(_product(lambda: iter((kept,)), rows, columns), min(rows, columns), 1.0)
    return None if found is None else replace(found, largest=found.largest * frobenius)


def _product(matrix: Rows, rows: int, columns: int) -> Callable[[Tensor], Tensor]:
    """V ↦ Wᵀ(WV), or U ↦ W(WᵀU) where W is wider than high."""

    def narrow(vectors: Tensor) -> Tensor:
        total = torch.zeros_like(vectors)
        for block in matrix():
            total += block.T @ (block @ vectors)
        return total

    def wide(vectors: Tensor) -> Tensor:
        inner, start = torch.zeros(columns, vectors.shape[1]), 0
        for block in matrix():
            inner += block.T @ vectors[start : start + len(block)]
            start += len(block)
        return torch.cat([block @ inner for block in matrix()])

    return narrow if rows >= columns else wide


def _base_and_adapter(a: StoredTensors, b: Adapter, ranks: bool, tell: OnStep) -> WeightsComparison:
    names = correspondence(a.infos, [*b.changes, *b.saved], (a.source, b.source))
    found: list[TensorChange] = []
    reshaped: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {}
    held = max([_HELD, *(info.bytes for info in a.infos.values())])
    for done, (name, (first, second)) in enumerate(names.pairs.items()):
        tell("tensors", done, len(names.pairs))
        shape = a.infos[first].shape
        change = b.changes.get(second)
        if change is None:
            saved = b.saved[second]
            if b.tensors.infos[saved].shape != shape:
                reshaped[name] = (shape, b.tensors.infos[saved].shape)
            else:
                found.append(_dense(name, (a, first), (b.tensors, saved), held if ranks else None))
            continue
        up, down = change.factors
        if len(shape) < 2 or (len(up), down.shape[1]) != (shape[0], math.prod(shape[1:])):
            reshaped[name] = (shape, (len(up), down.shape[1]))
            continue
        found.append(_adapted(name, (a, first), change, ranks=ranks))
    untouched = [_kept(name, a) for name in names.gone]
    return WeightsComparison(
        sources=(a.source, b.source),
        tensors=(*found, *untouched),
        drift={},
        reshaped=reshaped,
        names=replace(names, gone=(), nearest={}),
        tied=((), ()),
        ranks=ranks,
        adapter=True,
    )


def _kept(name: str, base: StoredTensors) -> TensorChange:
    """A tensor that an adapter leaves as it is: its norm counts in that of all weights."""
    info = base.infos[name]
    change = TensorChange(name, info.shape, (str(info.dtype)[6:],) * 2, "kept", equal=True)
    if not info.dense or _coded(base, name) or name.rpartition(".")[2] in _STATISTICS:
        return change
    return replace(change, sums=sum((change_sums(piece, piece) for piece in base.pieces(name)), NO_CHANGE))


def _adapted(name: str, base: tuple[StoredTensors, str], change: LowRank, *, ranks: bool) -> TensorChange:
    tensors, stored = base
    info = tensors.infos[stored]
    types = (str(info.dtype)[6:], "low rank")
    if not info.dense or _coded(tensors, stored):
        return TensorChange(name, info.shape, types, "codes")
    up, down = change.factors
    step = max(1, PIECE // down.shape[1])
    sums = NO_CHANGE
    for start, piece in zip(range(0, len(up), step), tensors.pieces(stored, step * down.shape[1]), strict=True):
        weight = piece.to(torch.float64 if piece.dtype == torch.float64 else torch.float32)
        added = (up[start : start + step] @ down).reshape(-1).to(weight.dtype)
        # The change itself, before it is rounded to the weights it is added to.
        alone, together = change_sums(torch.zeros_like(added), added), change_sums(weight, weight + added)
        sums += replace(together, dd=alone.dd, changed=alone.changed)
    found = TensorChange(name, info.shape, types, "measured", sums=sums, equal=not sums.changed)
    if not sums.finite:
        return replace(found, state="not_finite")
    return replace(found, ranks=ranks_of_values(change.values)) if ranks and sums.dd else found


def _adapters(a: Adapter, b: Adapter, ranks: bool, tell: OnStep) -> WeightsComparison:
    names = correspondence([*a.changes, *a.saved], [*b.changes, *b.saved], (a.source, b.source))
    found, reshaped = [], {}
    for done, (name, (first, second)) in enumerate(names.pairs.items()):
        tell("tensors", done, len(names.pairs))
        if (first in a.changes) != (second in b.changes):
            found.append(TensorChange(name, (), ("low rank", "whole"), "codes"))
            continue
        if first not in a.changes:
            whole = (a.tensors, a.saved[first]), (b.tensors, b.saved[second])
            shapes = tuple(tensors.infos[stored].shape for tensors, stored in whole)
            if shapes[0] != shapes[1]:
                reshaped[name] = (shapes[0], shapes[1])
            else:
                found.append(_dense(name, *whole, _HELD if ranks else None))
            continue
        (up_a, down_a), (up_b, down_b) = a.changes[first].factors, b.changes[second].factors
        sizes = (len(up_a), down_a.shape[1]), (len(up_b), down_b.shape[1])
        if sizes[0] != sizes[1]:
            reshaped[name] = sizes
            continue
        step = max(1, PIECE // down_a.shape[1])
        parts = range(0, len(up_a), step)
        sums = sum((change_sums(up_a[i : i + step] @ down_a, up_b[i : i + step] @ down_b) for i in parts), NO_CHANGE)
        both = LowRank(torch.cat([up_b, -up_a], 1), torch.cat([down_b, down_a]))
        state: State = "measured" if sums.finite else "not_finite"
        rank = ranks_of_values(both.values) if ranks and sums.finite and sums.dd else None
        found.append(TensorChange(name, sizes[0], ("low rank", "low rank"), state, sums, rank, not sums.changed))
    return WeightsComparison(
        sources=(a.source, b.source), tensors=tuple(found), drift={}, reshaped=reshaped, names=names, tied=((), ()),
        ranks=ranks, adapter=True,
    )  # fmt: skip


def _drift(
    pairs: Mapping[str, tuple[str, str]], a: StoredTensors, b: StoredTensors
) -> dict[str, BatchNormDrift | None]:
    found: dict[str, BatchNormDrift | None] = {}
    for name in pairs:
        module, _, last = name.rpartition(".")
        of_mean, of_variance = (f"{module}.{each}" if module else each for each in _STATISTICS)
        if last != _STATISTICS[0] or of_variance not in pairs:
            continue
        mean_a, mean_b = (side.whole(stored) for side, stored in zip((a, b), pairs[of_mean], strict=True))
        variance_a, variance_b = (side.whole(stored) for side, stored in zip((a, b), pairs[of_variance], strict=True))
        numbers = all(bool(value.isfinite().all()) for value in (mean_a, variance_a, mean_b, variance_b))
        right = numbers and bool((variance_a >= 0).all()) and bool((variance_b >= 0).all())
        found[module] = batchnorm_drift(mean_a, variance_a, mean_b, variance_b) if right else None
    return found


def _tied(tensors: StoredTensors) -> tuple[tuple[str, ...], ...]:
    """Matrices of one network that are equal to the last bit, without those that are one value throughout."""
    groups: dict[tuple[object, ...], list[str]] = {}
    for name, info in tensors.infos.items():
        if len(info.shape) < 2 or not info.dense or not info.count:
            continue
        start = tensors.piece(name, 0, min(_FINGERPRINT, info.count))
        key = (info.shape, info.dtype, _bytes(start)[0].numpy().tobytes())
        groups.setdefault(key, []).append(name)
    found = []
    for names in groups.values():
        equal = [name for name in names[1:] if _same(tensors, names[0], name)]
        if equal and not _constant(tensors, names[0]):
            found.append((names[0], *equal))
    return tuple(found)


def _same(tensors: StoredTensors, one: str, other: str) -> bool:
    # Copies: the second piece may make the file be opened anew.
    pairs = ((piece.clone(), start) for start, piece in enumerate(tensors.pieces(one)))
    count = tensors.infos[one].count
    return all(
        torch.equal(*_bytes(piece, tensors.piece(other, at * PIECE, min(at * PIECE + PIECE, count))))
        for piece, at in pairs
    )


def _constant(tensors: StoredTensors, name: str) -> bool:
    first = tensors.piece(name, 0, 1).clone().float()
    return all(bool((piece.float() == first).all()) for piece in tensors.pieces(name))


def _once(
    found: Iterable[TensorChange],
    pairs: Mapping[str, tuple[str, str]],
    tied_a: tuple[tuple[str, ...], ...],
    tied_b: tuple[tuple[str, ...], ...],
) -> tuple[TensorChange, ...]:
    """Mark what is one tensor under two names in both networks: it counts once."""
    owners = [{name: group[0] for group in tied for name in group} for tied in (tied_a, tied_b)]
    seen: Counter[tuple[str, str]] = Counter()
    marked = []
    for change in found:
        keys = tuple(owner.get(stored) for owner, stored in zip(owners, pairs[change.name], strict=True))
        if keys[0] is None or keys[1] is None:
            marked.append(change)
            continue
        key = (keys[0], keys[1])
        marked.append(replace(change, repeated=bool(seen[key])))
        seen[key] += 1
    return tuple(marked)
