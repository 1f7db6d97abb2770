"""Whether a data loader gives the same examples each time it is read, found out before anything is computed.

For what looks at each batch with all networks at once, the order of the examples may change (shuffling); the examples
themselves may not (random augmentation, a random part of the data).
"""

from collections.abc import Iterable, Iterator, Sized
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from transferscope.errors import LoaderError
from transferscope.networks.batch import inputs_of
from transferscope.networks.initialisation import randomness_untouched

_PROBED = 16


@dataclass(frozen=True)
class LoaderFacts:
    """What a look at a loader tells.

    Attributes:
        left_out: examples of the data set that no batch holds (``drop_last``).
    """

    shuffled: bool = False
    left_out: int = 0


def check_repeatable(loader: Iterable[Any]) -> LoaderFacts:
    """Look twice at what a loader draws, and raise where the same pass cannot be had again.

    For a ``DataLoader`` over indexed data its index batches are drawn twice and up to 16 examples are fetched and
    collated twice; of any other iterable the first two batches are read twice. Generators (torch, NumPy, Python, the
    loader's) are put back.
    """
    if isinstance(loader, Iterator):
        raise LoaderError(
            "the loader can be read only once",
            expected="something that gives the same batches each time it is iterated",
            got=type(loader).__name__,
            hint="give a DataLoader or a list of batches, or pass repeatable=False",
        )
    if isinstance(loader, DataLoader):
        samplers = (loader.sampler, loader.batch_sampler, getattr(loader.batch_sampler, "sampler", None))
        generators = (loader.generator, *(getattr(sampler, "generator", None) for sampler in samplers))
        with randomness_untouched(*generators):
            if isinstance(loader.dataset, IterableDataset):
                return _check_batches(loader)
            return _check_indices(loader)
    with randomness_untouched():
        return _check_batches(loader)


def _check_batches(loader: Iterable[Any]) -> LoaderFacts:
    first, second = ([inputs_of(batch) for batch in islice(loader, 2)] for _ in range(2))
    if not first:
        raise _empty()
    if len(first) != len(second) or not all(map(_same, first, second)):
        raise LoaderError(
            "the loader gives other batches the second time",
            expected="the same batches in the same order (only a DataLoader over indexed data may shuffle)",
            got="other examples, another order or random augmentation",
            hint="switch these off for evaluation, or pass repeatable=False",
        )
    return LoaderFacts()


def _check_indices(loader: DataLoader[Any]) -> LoaderFacts:
    first, second = _indices(loader), _indices(loader)
    if not first:
        raise _empty()
    if sorted(first, key=str) != sorted(second, key=str):
        raise LoaderError(
            "the loader draws other examples each time",
            expected="the same examples in any order",
            got="a random part of them (shuffle=True with drop_last=True, or a random sampler)",
            hint="use drop_last=False, or pass repeatable=False",
        )
    # Spread over the data set, so that a file that differs from the others is likely among them.
    chosen = sorted(first, key=str)[:: max(1, len(first) // _PROBED)][:_PROBED]
    batches = loader.batch_sampler is not None
    once, again = (
        inputs_of(loader.collate_fn(items if batches else items[0]))
        for items in ([loader.dataset[index] for index in chosen] for _ in range(2))
    )
    if not _same(once, again):
        raise LoaderError(
            "the loader gives another tensor for the same example the second time",
            expected="no randomness in the data set's transforms",
            got="random augmentation",
            hint="use the evaluation transforms, or pass repeatable=False",
        )
    # A sampler may choose a subset on purpose: only what it drew and no batch holds is left out.
    drawn = len(loader.sampler) if loader.drop_last and isinstance(loader.sampler, Sized) else len(first)
    left_out = max(0, drawn - len(first))
    return LoaderFacts(shuffled=first != second, left_out=left_out)


def _indices(loader: DataLoader[Any]) -> list[Any]:
    if loader.batch_sampler is None:
        return list(islice(loader.sampler, len(loader)))
    return [index for batch in islice(loader.batch_sampler, len(loader)) for index in batch]


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and bool(torch.equal(a.nan_to_num(), b.nan_to_num()))


def _empty() -> LoaderError:
    return LoaderError(
        "the loader has no batches", expected="at least one batch", got="none", hint="check the data set and drop_last"
    )
