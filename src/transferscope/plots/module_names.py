"""Names of modules as they fit an axis: told apart, whatever is left out."""

from collections.abc import Sequence

__all__ = ["short_names"]

_LEFT_OUT = "…"
_TOGETHER = " + "


def short_names(names: Sequence[str], most: int = 22) -> dict[str, str]:
    """Each name by itself where it is short, else its end: modules of one network differ at the end of their names.

    Long names all keep as many of their parts between dots: as many as it takes to tell them apart, and more where all
    are then short. Of a group (``a + b + c``) what lies between the first and the last is left out.

    Args:
        names: distinct.
        most: characters of a name that is short.

    Returns:
        Name to what is shown, in the order of ``names``; all different.

    >>> short_names(["conv1", "features.denseblock1.denselayer2", "features.denseblock2.denselayer2"], 20)
    {'conv1': 'conv1', 'features.denseblock1.denselayer2': '…denseblock1.denselayer2', \
'features.denseblock2.denselayer2': '…denseblock2.denselayer2'}
    >>> short_names(["a + b + c + d", "trunk.a"], 8)
    {'a + b + c + d': 'a … d (4)', 'trunk.a': 'trunk.a'}
    """
    deepest = max((name.count(".") + 1 for name in names), default=1)
    found = {name: name for name in names}
    for parts in range(deepest, 0, -1):
        said = {name: _short(name, parts, most) for name in names}
        if len(set(said.values())) < len(said):
            break
        found = said
        if all(len(text) <= most for text in said.values()):
            break
    return found


def _short(name: str, parts: int, most: int) -> str:
    if len(name) <= most:
        return name
    if _TOGETHER in name:
        modules = name.split(_TOGETHER)
        return f"{modules[0]} {_LEFT_OUT} {modules[-1]} ({len(modules)})"
    kept = name.split(".")[-parts:]
    return name if len(kept) == name.count(".") + 1 else _LEFT_OUT + ".".join(kept)
