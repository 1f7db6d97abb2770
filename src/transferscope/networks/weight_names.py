"""Which tensors of a file are those of a network: found by names and shapes, whatever wrappers put around them."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor, nn

from transferscope.errors import WeightsError
from transferscope.networks.pruning import is_factor

Tables = Mapping[str, Mapping[str, Tensor]]
"""The tensors of a file by name, in the containers they lie in: by the dotted place of each, empty for the top."""

PREFIXES = ("module.", "model.", "_orig_mod.")
"""Prefixes of wrappers (DataParallel, Lightning, torch.compile), taken off where all names share one."""

NESTED = ("", "state_dict", "model_state_dict", "model")
"""Where weights usually lie, the first before the others; empty is the file itself."""

# Segments that wrappers put into names, also in their middle: around a compiled, sharded or checkpointed block.
_WRAPPERS = frozenset(
    ("module", "_orig_mod", "_fsdp_wrapped_module", "_fpw_module", "_checkpoint_wrapped_module", "_forward_module")
)
# Words in the place of moving averages, those of self-supervised training included: MoCo's encoder_k, DINO's teacher.
_AVERAGES = frozenset(
    ("ema", "ewa", "swa", "avg", "averaged", "average", "shadow", "teacher", "momentum", "target", "k")
)
# First segments of what training scripts keep beside a network in one module.
_BESIDE = frozenset(("criterion", "criteria", "loss", "losses", "metric", "metrics", "accuracy", "queue"))
# Buffers that follow from the architecture: kept by old versions of a network, computed by new ones.
_CONSTANTS = ("relative_position_index", "relative_coords_table", "attn_mask", "position_ids")
_SHOWN = 5


def is_counter(name: str) -> bool:
    """Whether a tensor only counts batches (``num_batches_tracked``, ``n_averaged``): outputs ignore it."""
    return name.rpartition(".")[2] in ("num_batches_tracked", "n_averaged")


def is_average(place: str) -> bool:
    """Whether the words of a place in a file say that a moving average of weights lies there."""
    return not _AVERAGES.isdisjoint(re.split(r"[._]", place.lower()))


def _in_module(name: str, module: str) -> bool:
    """Whether a tensor belongs to a module, by its name."""
    return name == module or name.startswith(f"{module}.")


def few(names: Iterable[str]) -> str:
    """The first names of a list, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return ", ".join(listed[:_SHOWN]) + more


def shared_prefix(names: "Mapping[str, object] | list[str]") -> str:
    """What wrappers put before every name: a chain of :data:`PREFIXES`, maybe empty.

    Example:
        >>> shared_prefix(["module.model.fc.weight", "module.model.fc.bias"])
        'module.model.'
    """
    prefix, rest = "", list(names)
    while True:
        found = next((p for p in PREFIXES if rest and all(name.startswith(p) for name in rest)), None)
        if found is None:
            return prefix
        prefix += found
        rest = [name[len(found) :] for name in rest]


@dataclass(frozen=True)
class Layout:
    """What a network wants: its tensors and the name of its head."""

    model: nn.Module
    head: str

    @cached_property
    def own(self) -> dict[str, Tensor]:
        """Tensors by name, counters included."""
        state = self.model.state_dict()
        strange = [name for name, value in state.items() if not isinstance(value, Tensor)]
        if strange:
            raise WeightsError(
                f"the network keeps state that is no tensor: {few(strange)}",
                expected="a network whose state_dict holds tensors alone",
                hint="leave out quantisation and get_extra_state",
            )
        return dict(state)

    @cached_property
    def prefix(self) -> str:
        """What all its names share."""
        return shared_prefix([name for name in self.own if name != "n_averaged"])

    @cached_property
    def wanted(self) -> dict[str, str]:
        """Names as they are looked for, without wrappers, with the network's own names."""
        short = canonical(name[len(self.prefix) :] for name in self.own if name.startswith(self.prefix))
        return {key: self.prefix + name for key, name in short.items()}

    @cached_property
    def by_position(self) -> dict[str, str]:
        """As :attr:`wanted`, for a network whose parts were put into an ``nn.Sequential`` in their order."""
        inner = self.model.get_submodule(self.prefix.rstrip("."))
        numbers = {name: str(number) for number, (name, _) in enumerate(inner.named_children())}
        split = {key: key.partition(".") for key in self.wanted}
        return {numbers.get(first, first) + dot + rest: self.wanted[key] for key, (first, dot, rest) in split.items()}

    def is_head(self, name: str) -> bool:
        """Whether a tensor of the network, or of a file under its names, belongs to the head."""
        return _in_module(name, self.head) or _in_module(self.prefix + name, self.head)


@dataclass(frozen=True)
class Match:
    """One place in a file, as it fits a network.

    Attributes:
        found: the network's names with those of the container: whatever their shapes, head and counters included.
        extra: under the prefix, within the network's own modules or beside them, and not known to be of no use.
        further: more counters, and what the head holds more, under the prefix: with their names in the container.
        head_fits: the file has the head's tensors, the number of outputs apart.
    """

    table: str
    prefix: str
    found: Mapping[str, str]
    missing: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    other_head: tuple[str, ...] = ()
    further: Mapping[str, str] = field(default_factory=dict)
    head_fits: bool = False

    @property
    def fits(self) -> bool:
        """Whether the trunk is complete, shapes apart, and nothing speaks for another network."""
        return not (self.missing or self.extra)

    @property
    def place(self) -> str:
        """The dotted place of the container and its prefix; empty for the file itself."""
        return ".".join(part for part in (self.table, self.prefix.rstrip(".")) if part)

    @property
    def average(self) -> bool:
        """Whether it is the moving average of other weights, by the words of its place."""
        return is_average(self.place)


def canonical(given: Iterable[str]) -> dict[str, str]:
    """Give names by what is left without the segments of wrappers; those that would then be equal keep theirs."""
    names = list(given)
    short = {name: ".".join(part for part in name.split(".") if part not in _WRAPPERS) or name for name in names}
    counts = Counter(short.values())
    return {short[name] if counts[short[name]] == 1 else name: name for name in names}


def matches(tables: Tables, layout: Layout) -> list[Match]:
    """All places in a file where names of a network stand under one prefix; the best first."""
    found = []
    for table, tensors in tables.items():
        short = canonical(tensors)
        for wanted in (layout.wanted, layout.by_position):
            found += [
                _match(table, tensors, short, prefix, wanted, layout) for prefix in likely_prefixes(short, wanted)
            ]
    unique = {(match.table, match.prefix, tuple(match.found.items())): match for match in found}
    # Of those that do not fit, the one that is nearest by names tells most.
    return sorted(unique.values(), key=lambda m: (not m.fits, len(m.wrong) if m.fits else 0, -len(m.found)))


def likely_prefixes(names: Iterable[str], wanted: Collection[str]) -> list[str]:
    """The prefixes under which at least half as many of the wanted names stand as under the best."""
    counts: Counter[str] = Counter()
    for name in names:
        start = 0
        while True:
            counts[name[:start]] += name[start:] in wanted
            dot = name.find(".", start)
            if dot < 0:
                break
            start = dot + 1
    best = max(counts.values(), default=0)
    return [prefix for prefix, count in counts.items() if count and 2 * count >= best]


def _match(
    table: str,
    tensors: Mapping[str, Tensor],
    short: Mapping[str, str],
    prefix: str,
    wanted: Mapping[str, str],
    layout: Layout,
) -> Match:
    own = layout.own
    under = {name[len(prefix) :]: full for name, full in short.items() if name.startswith(prefix)}
    found = {wanted[name]: full for name, full in under.items() if name in wanted}
    head = [name for name in own if layout.is_head(name) and not is_counter(name)]
    trunk = [name for name in wanted.values() if not layout.is_head(name) and not is_counter(name)]
    head_fits = all(name in found and own[name].shape[1:] == tensors[found[name]].shape[1:] for name in head)
    modules = {name.partition(".")[0] for name in wanted}
    rest = [name for name in under if name not in wanted and not is_counter(name) and not layout.is_head(name)]
    known = {*wanted, *rest}
    strange = [name for name in rest if not _negligible(name) and not is_factor(name, under)]
    inside = [name for name in strange if name.partition(".")[0] in modules]
    beside = [name for name in strange if name not in inside]
    after = beside if not head_fits and trunk else []
    return Match(
        table=table,
        prefix=prefix,
        found=found,
        missing=tuple(name for name in trunk if name not in found),
        wrong=tuple(name for name in trunk if name in found and own[name].shape != tensors[found[name]].shape),
        extra=tuple(prefix + name for name in (inside if after else strange)),
        other_head=tuple(after),
        further={name: full for name, full in under.items() if name not in known and not is_factor(name, under)},
        head_fits=head_fits,
    )


def _negligible(name: str) -> bool:
    return name.rpartition(".")[2] in _CONSTANTS or not _BESIDE.isdisjoint(name.partition(".")[0].lower().split("_"))


def choose(found: list[Match], tables: Tables, which: str | None, of: str) -> tuple[Match, list[Match]]:
    """The place to take a network from, where a file has several.

    Trained weights come before their moving average, and usual places before others; where that does not decide, it is
    an error: two networks are not told apart by chance.

    Args:
        which: ``raw``, ``ema``, or a place; None decides as above.
    """
    fitting = [match for match in found if match.fits] or found[:1]
    asked = [match for match in fitting if which is None or _is(match, which)]
    if not asked:
        there = ", ".join(repr(match.place or "raw") for match in fitting)
        raise WeightsError(
            f"{of} has no weights under which={which!r}",
            expected="raw, ema, or one of the places in the file that fit the network",
            got=f"places that fit: {there or 'none'}",
            hint="leave `which` out, or name one of these",
        )
    pool = [match for match in asked if not match.average] or asked
    pool = [match for match in pool if len(match.wrong) == len(pool[0].wrong)]
    pool = [match for match in pool if match.head_fits] or pool
    usual = [[match for match in pool if match.table.partition(".")[0] == name] for name in NESTED]
    pool = next((group for group in usual if group), pool)
    chosen = pool[0]
    rivals = [match for match in pool if not _equal(match, chosen, tables)]
    if rivals:
        places = [match.place or "raw" for match in (chosen, *rivals)]
        raise WeightsError(
            f"{of} holds {len(places)} networks that fit: {few(places)}",
            expected="one, or a word on which to take",
            hint=f"which: {places[-1]} beside the path of the weights "
            f"(`weights: {{kind: file, path: ..., which: {places[-1]}}}`), or --which {places[-1]} on the command line",
        )
    return chosen, [match for match in fitting if not _equal(match, chosen, tables)]


def _is(match: Match, which: str) -> bool:
    if which in ("raw", "ema"):
        return match.average == (which == "ema")
    place = ".".join(part for part in which.split(".") if part not in _WRAPPERS)
    return match.place == place or match.place.startswith(f"{place}.")


def _equal(one: Match, other: Match, tables: Tables) -> bool:
    first, second = tables[one.table], tables[other.table]
    return one.found.keys() == other.found.keys() and all(
        _same(first[name], second[other.found[own]]) for own, name in one.found.items()
    )


def _same(one: Tensor, other: Tensor) -> bool:
    if one is other:
        return True
    if (one.shape, one.dtype, one.layout) != (other.shape, other.dtype, other.layout) or one.is_quantized:
        return False
    if one.layout != torch.strided or one.is_meta or other.is_meta:
        return False
    return torch.equal(*(tensor.contiguous().reshape(-1).view(torch.uint8) for tensor in (one, other)))
