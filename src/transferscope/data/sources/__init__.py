"""Data sources: one file each."""

from typing import Annotated, get_args

from pydantic import Field

from transferscope.data.sources.arrays import Arrays
from transferscope.data.sources.base import AbstractSource, Listing
from transferscope.data.sources.elpv import Elpv
from transferscope.data.sources.factory import Factory
from transferscope.data.sources.folder import Folder
from transferscope.data.sources.parquet import Parquet
from transferscope.data.sources.torchvision import Torchvision

__all__ = [
    "AbstractSource",
    "Arrays",
    "DataSource",
    "Elpv",
    "Factory",
    "Folder",
    "Listing",
    "Parquet",
    "Torchvision",
    "known_sources",
]

DataSource = Annotated[Elpv | Folder | Parquet | Arrays | Torchvision | Factory, Field(discriminator="kind")]
"""Any data source, told apart by ``kind``."""


def known_sources() -> dict[str, type[AbstractSource]]:
    """The data sources by ``kind``; the first line of a class's docstring describes it.

    Example:
        >>> sorted(known_sources())
        ['arrays', 'elpv', 'factory', 'folder', 'parquet', 'torchvision']
    """
    union = get_args(DataSource)[0]
    return {kind.model_fields["kind"].default: kind for kind in get_args(union)}
