"""The named parts of any network, at three granularities, by the shape of its module tree alone.

The tree is opened from the top. A module is *opened* (its children become nodes) if it holds blocks, and is a
part as a whole if not:

- a list (``Sequential``, ``ModuleList``, ``ModuleDict`` and their subclasses) is opened if it has no forward
  pass of its own, or an element that is opened, or an element that is not a list and has at least two weights
  (arrays of two or more axes), or two elements of at least two weights, or at least five weights in leaves of
  its own;
- any other module is opened if lists below it repeat a class of two or more weights (a stage, an encoder, a
  backbone), or if all its children are of one such class;
- the root is always opened; so is what encloses the head, where one is named;
- a module around a network (``DataParallel``, ``Sequential(Normalise(), network)``, a class with the one child
  ``self.model``) changes nothing but the beginning of names: where the root has no parameters of its own and one child
  that has any, and that is no layer, the child is taken for the root.

``block`` parts are what is left unopened: ``conv1``, ``layer1.0``, ``blocks.3.1``, ``head``. ``stage`` parts
are the children of the root, where those that hold opened modules are replaced by their children, down to the
elements of a list: ``layer1``, ``stages.2``. Without stages in the tree (a plain ViT) all blocks are one stage.
``layer`` parts are modules with parameters of their own; attention and parametrised modules are one layer.

Every parameter belongs to exactly one part of each granularity. Parameters directly on an opened module (a
class token) form the part ``(direct)``, or ``owner.(direct)``. A parameter shared by two modules belongs to
the first. Parts without parameters are left out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from torch import nn

from transferscope.errors import ModuleNameError, nearest

__all__ = ["DIRECT", "Granularity", "core", "find_module", "hookable_parts", "named_parts", "parts_parameters"]

Granularity = Literal["stage", "block", "layer"]
DIRECT = "(direct)"

_LISTS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
_BLOCK_WEIGHTS = 2
_PLAIN_LIST_WEIGHTS = 5


@dataclass(frozen=True)
class _Node:
    """A module of the opened tree; ``children`` is empty for a part."""

    name: str
    module: nn.Module
    children: tuple["_Node", ...]


def _weights(module: nn.Module) -> int:
    return sum(parameter.dim() >= 2 for parameter in module.parameters())


def _children(module: nn.Module) -> list[tuple[str, nn.Module]]:
    return [(name, child) for name, child in module.named_children() if any(True for _ in child.parameters())]


def _has_forward(module: nn.Module) -> bool:
    return type(module).forward is not nn.Module.forward


def _is_list(module: nn.Module) -> bool:
    return isinstance(module, _LISTS)


def _is_one_layer(module: nn.Module) -> bool:
    """Whether the parts of ``module`` are never run by themselves."""
    return isinstance(module, nn.MultiheadAttention) or hasattr(module, "parametrizations")


def _repeats_blocks(module: nn.Module) -> bool:
    """Whether lists inside ``module`` hold two or more blocks of one class."""
    seen: dict[type[nn.Module], int] = {}
    for inner in module.modules():
        if inner is module or not _is_list(inner):
            continue
        for element in inner.children():
            if not _is_list(element) and _weights(element) >= _BLOCK_WEIGHTS:
                seen[type(element)] = seen.get(type(element), 0) + 1
    # One such element (the squeeze-and-excitation inside a block) is not repetition.
    return any(count >= 2 for count in seen.values())


def _is_opened(module: nn.Module) -> bool:
    children = [child for _, child in _children(module)]
    if not children or _is_one_layer(module):
        return False
    if _is_list(module):
        if not _has_forward(module):
            return True
        if any(_is_opened(child) or (not _is_list(child) and _weights(child) >= _BLOCK_WEIGHTS) for child in children):
            return True
        if sum(_weights(child) >= _BLOCK_WEIGHTS for child in children) >= 2:
            return True
        return sum(_weights(child) for child in children if not _children(child)) >= _PLAIN_LIST_WEIGHTS
    if _repeats_blocks(module):
        return True
    own = any(True for _ in module.parameters(recurse=False))
    first = children[0]
    uniform = all(type(child) is type(first) and not _is_list(child) for child in children)
    return not own and uniform and all(_weights(child) >= _BLOCK_WEIGHTS for child in children)


def _encloses(name: str, head: str | None) -> bool:
    return head is not None and head.startswith(f"{name}.")


def core(model: nn.Module, head: str | None = None) -> tuple[str, nn.Module]:
    """The network within modules that are around it, and its name: the module's text says what these are.

    Args:
        model: any network.
        head: the classifying module, which is never the core itself.

    >>> core(nn.Sequential(nn.Identity(), nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))))[0]
    '1'
    """
    name, module = "", model
    while not any(True for _ in module.parameters(recurse=False)) and len(children := _children(module)) == 1:
        inner = f"{name}.{children[0][0]}" if name else children[0][0]
        if inner == head or _is_one_layer(children[0][1]) or not _children(children[0][1]):
            break
        name, module = inner, children[0][1]
    return name, module


def _tree(module: nn.Module, name: str, head: str | None, root: bool = True) -> _Node:
    if not root and not _encloses(name, head) and (head == name or not _is_opened(module)):
        return _Node(name, module, ())
    children = tuple(
        _tree(child, f"{name}.{local}" if name else local, head, root=False) for local, child in _children(module)
    )
    return _Node(name, module, children)


def _direct(node: _Node) -> str:
    return f"{node.name}.{DIRECT}" if node.name else DIRECT


def _block_parts(node: _Node) -> Iterator[tuple[str, nn.Module | None]]:
    if not node.children:
        yield (node.name, node.module) if node.name else (_direct(node), None)
        return
    yield _direct(node), None
    for child in node.children:
        yield from _block_parts(child)


def _stage_parts(
    node: _Node, head: str | None, root: bool = True, element: bool = False
) -> Iterator[tuple[str, nn.Module | None]]:
    """Parts of granularity ``stage``; ``element`` says that ``node`` is one of a list below the root."""
    opened_inside = any(child.children for child in node.children)
    if not root and not _encloses(node.name, head) and (element or not opened_inside):
        yield node.name, node.module
        return
    yield _direct(node), None
    for child in node.children:
        yield from _stage_parts(child, head, root=False, element=not root and _is_list(node.module))


def _layer_parts(name: str, module: nn.Module) -> Iterator[tuple[str, nn.Module | None]]:
    children = _children(module)
    if name and (not children or _is_one_layer(module)):
        yield name, module
        return
    yield (f"{name}.{DIRECT}" if name else DIRECT), None
    for local, child in children:
        yield from _layer_parts(f"{name}.{local}" if name else local, child)


def _parts(
    model: nn.Module, granularity: Granularity, head: str | None
) -> list[tuple[str, nn.Module | None, list[str]]]:
    if head is not None:
        find_module(model, head)
    if granularity == "layer":
        found = list(_layer_parts("", model))
    else:
        name, module = core(model, head)
        root = _tree(module, name, head)
        found = list(_stage_parts(root, head) if granularity == "stage" else _block_parts(root))
    owned: dict[str, list[str]] = {name: [] for name, _ in found}
    for parameter, _ in model.named_parameters():
        owned[_owner(parameter, owned)].append(parameter)
    return [(name, module, owned[name]) for name, module in found if owned[name]]


def _owner(parameter: str, parts: dict[str, list[str]]) -> str:
    """The part whose name is the longest beginning of the parameter's."""
    owner = parameter.rpartition(".")[0]
    direct = f"{owner}.{DIRECT}" if owner else DIRECT
    if direct in parts:
        return direct
    while owner not in parts:
        owner = owner.rpartition(".")[0]
    return owner


def named_parts(model: nn.Module, granularity: Granularity, head: str | None = None) -> list[str]:
    """The names of the parts of a network, in the order in which it defines them.

    Args:
        model: any network.
        granularity: ``stage``, ``block`` or ``layer``.
        head: the classifying module, which is then a part of its own at ``stage`` and ``block``.

    Returns:
        Names of modules, and ``(direct)`` or ``owner.(direct)`` for parameters that sit on an opened module.

    Raises:
        ModuleNameError: there is no module ``head``.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
        >>> named_parts(model, "block")
        ['0', '2']
    """
    return [name for name, _, _ in _parts(model, granularity, head)]


def parts_parameters(model: nn.Module, granularity: Granularity, head: str | None = None) -> dict[str, list[str]]:
    """The parameters of each part: a partition of ``model.named_parameters()``.

    Args:
        model: any network.
        granularity: ``stage``, ``block`` or ``layer``.
        head: as in :func:`named_parts`.

    Returns:
        Part to names of parameters, none empty, every parameter once.

    Raises:
        ModuleNameError: there is no module ``head``.
    """
    return {name: parameters for name, _, parameters in _parts(model, granularity, head)}


def hookable_parts(model: nn.Module, granularity: Granularity, head: str | None = None) -> list[str]:
    """The parts that are modules with a forward pass: those whose output can be looked at.

    Left out are ``(direct)`` parts and bare lists. Whether a module is called, and gives one tensor, only a
    run can tell: see :mod:`transferscope.networks.activations`.

    Args:
        model: any network.
        granularity: ``stage``, ``block`` or ``layer``.
        head: as in :func:`named_parts`.

    Raises:
        ModuleNameError: there is no module ``head``.
    """
    return [name for name, module, _ in _parts(model, granularity, head) if module is not None and _has_forward(module)]


def find_module(model: nn.Module, name: str) -> nn.Module:
    """The module of that name.

    Args:
        model: any network.
        name: as in ``model.named_modules()``.

    Raises:
        ModuleNameError: there is none; the nearest names are offered.
    """
    # get_submodule also finds the second name of a shared module, which named_modules() leaves out.
    try:
        module = model.get_submodule(name) if name else None
    except AttributeError:
        module = None
    if module is None:
        names = [known for known, _ in model.named_modules() if known]
        raise ModuleNameError(f"the network {type(model).__name__} has no module {name!r}", hint=nearest(name, names))
    return module
