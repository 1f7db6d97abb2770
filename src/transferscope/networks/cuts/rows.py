"""Values at a cut of many images, an image a row: any of them make a batch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from transferscope.networks.cuts.cuts import CutValues


@dataclass(frozen=True)
class _Layout:
    """How the values of a batch of one size lie in memory."""

    leaves: tuple[Any, ...]
    shapes: tuple[tuple[tuple[int, ...], tuple[int, ...]] | None, ...]
    values: CutValues


@final
class Rows:
    """Values at a cut by image. A batch that is taken has shapes, strides and all else of one that was run.

    Args:
        layouts: by the size of a batch.
        count: of rows.
        structure: of the values.
        dtypes: of those that are kept by image.
    """

    def __init__(
        self, layouts: dict[int, _Layout], count: int, structure: pytree.TreeSpec, dtypes: Sequence[torch.dtype]
    ) -> None:
        self._layouts, self._structure, self._dtypes = layouts, structure, tuple(dtypes)
        some = next(iter(layouts.values()))
        self._widths = [_width(shape[0]) for shape in some.shapes if shape is not None]
        self._count = count
        self._stored: list[Tensor] = []
        self._device = torch.device("cpu")

    @classmethod
    def like(cls, templates: Mapping[int, CutValues], count: int) -> "Rows | str":
        """Room for ``count`` images.

        Args:
            templates: values of a batch of each of two sizes or more.
            count: how many rows.

        Returns:
            The rows, or in words why an image has no row of its own.
        """
        flat = [pytree.tree_flatten(template.values) for template in templates.values()]
        structure = flat[0][1]
        if any(other != structure for _, other in flat):
            return "what lies before the cut gives other things for batches of another size"
        sizes = list(templates)
        layouts: dict[int, _Layout] = {}
        rowed = [_rowed([leaves[place] for leaves, _ in flat], sizes) for place in range(len(flat[0][0]))]
        if not any(rowed):
            return "what lies before the cut does not give values by image"
        for (leaves, _), size, template in zip(flat, sizes, templates.values(), strict=True):
            for leaf, by_image in zip(leaves, rowed, strict=True):
                if isinstance(leaf, Tensor) and not by_image and not _same_everywhere(leaf, leaves, flat):
                    return "what lies before the cut gives a tensor that hangs on the batch, and not by image"
            # Without the tensors that are taken from rows: a template must not hold a batch.
            kept = tuple(None if by_image else leaf for leaf, by_image in zip(leaves, rowed, strict=True))
            shapes = tuple(_place(leaf) if by_image else None for leaf, by_image in zip(leaves, rowed, strict=True))
            layouts[size] = _Layout(kept, shapes, CutValues((), template.stand_ins))
        dtypes = [leaf.dtype for leaf, by_image in zip(flat[0][0], rowed, strict=True) if by_image]
        return cls(layouts, count, structure, dtypes)

    @property
    def bytes(self) -> int:
        """All rows take."""
        return self._count * sum(
            width * dtype.itemsize for width, dtype in zip(self._widths, self._dtypes, strict=True)
        )

    def allocate(self, device: torch.device, path: Path | None = None) -> list[Path]:
        """Make room on the device or, where a path is given, in files that are mapped.

        Returns:
            The files.
        """
        self._device = device
        paths: list[Path] = []
        for number, (width, dtype) in enumerate(zip(self._widths, self._dtypes, strict=True)):
            if path is None:
                self._stored.append(torch.empty(self._count, width, dtype=dtype, device=device))
                continue
            paths.append(path.with_name(f"{path.name}-{number}.bin"))
            flat = torch.from_file(str(paths[-1]), shared=True, size=self._count * width, dtype=dtype)
            self._stored.append(flat.view(self._count, width))
        return paths

    def put(self, rows: Tensor, values: CutValues) -> None:
        """Keep the first images of a batch.

        Args:
            rows: of as many.
            values: of the batch.
        """
        leaves, _ = pytree.tree_flatten(values.values)
        shapes = next(iter(self._layouts.values())).shapes
        tensors = [leaf for leaf, shape in zip(leaves, shapes, strict=True) if shape is not None]
        for stored, leaf in zip(self._stored, tensors, strict=True):
            shape, strides = _place(leaf)
            flat = leaf if leaf.stride() == strides else leaf.contiguous()
            lines = flat.as_strided((len(leaf), _width(shape)), (_width(shape), 1))
            stored[rows.to(stored.device)] = lines[: len(rows)].to(stored.device)

    def take(self, rows: Tensor) -> CutValues:
        """The values of a batch of one of the sizes that were given."""
        layout = self._layouts[len(rows)]
        stored = iter(self._stored)
        leaves: list[Any] = []
        for leaf, shape in zip(layout.leaves, layout.shapes, strict=True):
            if shape is None:
                leaves.append(leaf)
                continue
            lines = next(stored)
            chosen = lines.index_select(0, rows.to(lines.device)).to(self._device, non_blocking=True)
            leaves.append(chosen.as_strided(*shape))
        return CutValues(tuple(pytree.tree_unflatten(leaves, self._structure)), layout.values.stand_ins)


def _is_batch(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.ndim > 0


def _rowed(leaves: Sequence[Any], sizes: Sequence[int]) -> bool:
    """Whether a value has one entry for each image, whatever the size of the batch."""
    return all(
        _is_batch(leaf) and len(leaf) == size and leaf.shape[1:] == leaves[0].shape[1:]
        for leaf, size in zip(leaves, sizes, strict=True)
    )


def _same_everywhere(leaf: Tensor, leaves: Sequence[Any], flat: Sequence[tuple[list[Any], Any]]) -> bool:
    place = next(number for number, other in enumerate(leaves) if other is leaf)
    return all(other[place].shape == leaf.shape and bool(torch.equal(other[place], leaf)) for other, _ in flat)


def _width(shape: Sequence[int]) -> int:
    width = 1
    for size in shape[1:]:
        width *= size
    return width


def _place(leaf: Tensor) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shape and strides in which a batch is taken: its own, where its images lie one after the other."""
    shape = tuple(leaf.shape)
    dense = torch.ops.aten.is_non_overlapping_and_dense(leaf) and leaf.stride(0) == _width(shape)
    return shape, tuple(leaf.stride() if dense else torch.empty(shape, device="meta").stride())
