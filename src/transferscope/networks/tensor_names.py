"""Which tensors of two networks correspond, found by names: wrappers around either of them are looked through."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from transferscope.errors import WeightsError, near
from transferscope.networks.weight_names import canonical, few, is_counter, likely_prefixes

__all__ = ["Correspondence", "correspondence"]

_NEAREST = 5


@dataclass(frozen=True)
class Correspondence:
    """The tensors of two networks, name by name.

    Attributes:
        pairs: names of both, by the name without wrappers; counters of batches are left out.
        gone: names of the first network that the second has not.
        added: names of the second network that the first has not.
        prefixes: what stands before the names of each, and not before those of the other.
        nearest: for the first of those that are gone, names that were added and look alike.
    """

    pairs: Mapping[str, tuple[str, str]]
    gone: tuple[str, ...]
    added: tuple[str, ...]
    prefixes: tuple[str, str]
    nearest: Mapping[str, tuple[str, ...]]


def correspondence(a: Iterable[str], b: Iterable[str], sources: tuple[str, str]) -> Correspondence:
    """Pair the tensors of two networks by name.

    Segments of wrappers (``module``, ``_orig_mod``, …) count nowhere, and one of the two may have its names under a
    prefix (``model.``, ``encoder.``): the one under which most names of the other stand.

    Args:
        a: names of the first network.
        b: names of the second.
        sources: what the two are, for messages.

    Raises:
        WeightsError: no tensor of one has a name of the other.

    Example:
        >>> found = correspondence(["fc.weight", "fc.bias"], ["module.net.fc.weight"], ("a", "b"))
        >>> dict(found.pairs), found.gone, found.prefixes
        ({'fc.weight': ('fc.weight', 'module.net.fc.weight')}, ('fc.bias',), ('', 'net.'))
    """
    first, second = (canonical(name for name in names if not is_counter(name)) for names in (a, b))
    prefixes = _prefixes(first, second)
    short = [_without(side, prefix) for side, prefix in zip((first, second), prefixes, strict=True)]
    pairs = {name: (full, short[1][name]) for name, full in short[0].items() if name in short[1]}
    gone = tuple(full for name, full in short[0].items() if name not in pairs)
    added = tuple(full for name, full in short[1].items() if name not in pairs)
    nearest = {name: tuple(close) for name in gone[:_NEAREST] if (close := near(name, added))}
    if not pairs:
        alike = "; ".join(f"{name} is like {' and '.join(names)}" for name, names in nearest.items())
        raise WeightsError(
            f"no tensor of {sources[0]} has the name of one of {sources[1]}",
            expected="two networks of one architecture",
            got=f"{few(gone) or 'no tensor'} against {few(added) or 'no tensor'}",
            hint=f"nearest names: {alike}" if alike else "check that both are weights of the same network",
        )
    return Correspondence(pairs, gone, added, prefixes, nearest)


def _without(side: Mapping[str, str], prefix: str) -> dict[str, str]:
    """Names without a prefix, where that makes no two equal."""
    return {name if name.removeprefix(prefix) in side else name.removeprefix(prefix): side[name] for name in side}


def _prefixes(first: Mapping[str, str], second: Mapping[str, str]) -> tuple[str, str]:
    """The prefix of each side; one of the two is empty."""
    tried = [("", "")]
    tried += [("", prefix) for prefix in likely_prefixes(second, first)]
    tried += [(prefix, "") for prefix in likely_prefixes(first, second)]

    def fitting(prefixes: tuple[str, str]) -> int:
        sides = zip((first, second), prefixes, strict=True)
        one, other = ({name[len(prefix) :] for name in side if name.startswith(prefix)} for side, prefix in sides)
        return len(one & other)

    return max(tried, key=fitting)  # the first of equals: without a prefix, where that does as well
