"""What a batch of any loader holds: the input of a network, and labels.

The one place where batches are taken apart. Nothing is copied or moved: tensors come out as they are, arrays share
their memory.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from transferscope.errors import LoaderError

__all__ = ["first_inputs", "inputs_and_labels", "inputs_of", "labelled", "labels_of"]

_INPUTS = (
    "images", "image", "pixel_values", "imgs", "img", "pixels", "inputs", "input", "x", "data",
    "input_ids", "input_values", "input_features", "features",
)  # fmt: skip
_LABELS = ("labels", "label", "targets", "target", "y", "class", "fine_label", "label_ids")
# Further inputs of a network that change nothing where all their entries have this value.
_NEUTRAL = {"attention_mask": 1, "pixel_mask": 1, "token_type_ids": 0}
_FURTHER = ("position_ids", "inputs_embeds", "decoder_input_ids", "bool_masked_pos", "head_mask")


def inputs_of(batch: object) -> Tensor:
    """The network's input in a batch.

    Args:
        batch: a tensor or array; a tuple or list that starts with one (images, labels, ...); or a mapping, named tuple
            or dataclass with an entry of a usual name, such as ``images``, ``pixel_values``, ``x`` or ``input_ids``.

    Raises:
        LoaderError: it holds none, more than one, or one that cannot be used alone (padding behind a mask).

    >>> inputs_of({"image": torch.ones(2, 3), "label": torch.zeros(2)}).shape
    torch.Size([2, 3])
    """
    fields = _fields(batch)
    if fields is None and isinstance(batch, (tuple, list)) and batch:
        fields = _fields(batch[0])
        if fields is None:
            return _input_tensor(batch[0], batch)
    return _input_tensor(batch, batch) if fields is None else _named_input(fields)


def labels_of(batch: object) -> Tensor | None:
    """The labels in a batch; None where it has none.

    Args:
        batch: as in :func:`inputs_of`; labels are the second item, or the entry of a usual name: ``labels``, ``label``,
            ``y``, ``target``.

    Raises:
        LoaderError: there are several entries of such names, or what is there are no numbers.
    """
    fields = _fields(batch)
    given: Any = None
    if fields is not None:
        given = _named_labels(fields)
    elif isinstance(batch, (tuple, list)) and len(batch) > 1:
        inner = _fields(batch[1])
        given = batch[1] if inner is None else _named_labels(inner)
    elif isinstance(batch, (tuple, list)) and batch and (inner := _fields(batch[0])) is not None:
        given = _named_labels(inner)
    if given is None or isinstance(given, Tensor):
        return given
    try:
        return torch.as_tensor(given)
    except (TypeError, ValueError, RuntimeError) as error:  # what torch raises for strings, None, nested objects
        raise LoaderError(
            "the labels of a batch are no numbers",
            expected="integers (examples), or 0 and 1 (examples labels)",
            got=f"{type(given).__name__} of {type(given[0]).__name__}" if _is_list(given) else type(given).__name__,
            hint="let the data set give class numbers",
        ) from error


def inputs_and_labels(batch: object) -> tuple[Tensor, Tensor | None]:
    """Both at once, where labels are not needed."""
    return inputs_of(batch), labels_of(batch)


def labelled(batch: object) -> tuple[Tensor, Tensor]:
    """The network's input and the labels in a batch.

    Raises:
        LoaderError: it holds no input or no labels, or another number of them.

    >>> [item.tolist() for item in labelled((torch.ones(1, 2), torch.tensor([3]), "file.png"))]
    [[[1.0, 1.0]], [3]]
    """
    inputs, labels = inputs_and_labels(batch)
    if labels is None:
        raise LoaderError(
            "a batch of the loader holds no labels",
            expected=f"(inputs, labels, ...), or a mapping with one of {', '.join(_LABELS)}",
            got=_shown(batch),
            hint="let the data set give (image tensor, label)",
        )
    if labels.ndim == 0 or len(labels) != len(inputs):
        raise LoaderError(
            "a batch has not as many labels as images",
            expected=f"{len(inputs)} labels",
            got=str(len(labels)) if labels.ndim else "one number",
            hint="let the loader collate examples to (images, labels)",
        )
    return inputs, labels


def first_inputs(loader: Iterable[object]) -> Tensor:
    """The inputs of the first batch.

    Raises:
        LoaderError: there is no batch.
    """
    for batch in loader:
        return inputs_of(batch)
    raise LoaderError("the loader gives no batch", expected="at least one batch", got="none")


def _fields(item: object) -> Mapping[str, Any] | None:
    """The entries of what has names; None for what is read by position."""
    if isinstance(item, (Tensor, np.ndarray)):
        return None
    if isinstance(item, tuple):
        # A named tuple of other names than the usual ones is read by position, like any tuple.
        named = dict(zip(getattr(item, "_fields", ()), item, strict=False))
        return named if named.keys() & set(_INPUTS) else None
    if dataclasses.is_dataclass(item) and not isinstance(item, type):
        return {field.name: getattr(item, field.name) for field in dataclasses.fields(item)}
    if isinstance(item, Mapping):
        return item
    # Mappings in all but name: those of tokenizers, tensor dictionaries.
    keys = getattr(item, "keys", None)
    if callable(keys) and hasattr(item, "__getitem__"):
        return {key: item[key] for key in keys()}
    return None


def _named_input(fields: Mapping[str, Any]) -> Tensor:
    chosen = [name for name in _INPUTS if isinstance(fields.get(name), (Tensor, np.ndarray))]
    if len(chosen) != 1:
        raise LoaderError(
            f"a batch of the loader holds {'several inputs' if chosen else 'no input that a network could take'}",
            expected=f"a tensor under one of {', '.join(_INPUTS)}",
            got=_shown(fields) if not chosen else ", ".join(chosen),
            hint="let the loader give (inputs, labels), or name one entry 'images'",
        )
    for name in (*_NEUTRAL, *_FURTHER):
        other = fields.get(name)
        if other is None or (name in _NEUTRAL and bool((torch.as_tensor(other) == _NEUTRAL[name]).all())):
            continue
        raise LoaderError(
            f"a batch holds a further input of the network beside {chosen[0]!r}, which would be left out: {name!r}",
            expected="one input" + (f", or {name} of {_NEUTRAL[name]} everywhere" if name in _NEUTRAL else ""),
            got=", ".join(map(str, fields)),
            hint="batch examples of one length, or wrap the network in a module that makes it of its input",
        )
    return _input_tensor(fields[chosen[0]], fields)


def _named_labels(fields: Mapping[str, Any]) -> Any:
    chosen = [name for name in _LABELS if fields.get(name) is not None]
    if len(chosen) > 1:
        raise LoaderError(
            "a batch of the loader holds several entries that may be the labels",
            expected=f"one of {', '.join(_LABELS)}",
            got=", ".join(chosen),
            hint="let the loader give (inputs, labels)",
        )
    return fields[chosen[0]] if chosen else None


def _input_tensor(item: object, batch: object) -> Tensor:
    if isinstance(item, np.ndarray) and item.dtype.kind in "fiub":
        # torch takes no reversed axes and warns of memory that must not be written to.
        item = torch.from_numpy(item if item.flags.writeable and min(item.strides, default=1) >= 0 else item.copy())
    if not isinstance(item, Tensor) or item.ndim == 0:
        raise LoaderError(
            "a batch of the loader holds no input that a network could take",
            expected=f"a tensor, (tensor, labels, ...), or a mapping with one of {', '.join(_INPUTS)}",
            got=_shown(batch),
            hint="let the data set give (image tensor, label)",
        )
    return item


def _is_list(item: object) -> bool:
    return isinstance(item, (tuple, list)) and bool(item)


def _shown(batch: object) -> str:
    """What came, in few words."""
    fields = _fields(batch)
    if fields is not None:
        entries = (f"{key!r} ({_kind(value)})" for key, value in fields.items())
        return f"{type(batch).__name__} with {', '.join(entries) or 'nothing in it'}"
    if isinstance(batch, (tuple, list)):
        return f"{type(batch).__name__} of {', '.join(map(_kind, batch[:4])) or 'nothing'}"
    return _kind(batch)


def _kind(item: object) -> str:
    shape = getattr(item, "shape", None)
    return type(item).__name__ if shape is None else f"{type(item).__name__} {tuple(shape)}"
