"""Data sources: one file each."""

from collections.abc import Mapping
from typing import Annotated, get_args

from pydantic import Field, TypeAdapter

from transferscope.data.sources.arrays import Arrays
from transferscope.data.sources.base import AbstractSource, Listing
from transferscope.data.sources.elpv import Elpv
from transferscope.data.sources.factory import Factory
from transferscope.data.sources.folder import Folder
from transferscope.data.sources.parquet import Parquet
from transferscope.data.sources.torchvision import Torchvision
from transferscope.errors import DataError, nearest

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
    "parse_source",
]

DataSource = Annotated[
    Elpv | Folder | Parquet | Arrays | Torchvision | Factory,
    Field(discriminator="kind"),
]
"""Any data source, told apart by ``kind``."""


def known_sources() -> dict[str, type[AbstractSource]]:
    """The data sources by ``kind``; the first line of a class's docstring describes it.

    Example:
        >>> sorted(known_sources())
        ['arrays', 'elpv', 'factory', 'folder', 'parquet', 'torchvision']
    """
    union = get_args(DataSource)[0]
    return {kind.model_fields["kind"].default: kind for kind in get_args(union)}


def parse_source(value: Mapping[str, object]) -> AbstractSource:
    """A source from settings as a study file has them.

    Example:
        >>> parse_source({"kind": "elpv", "cells": "mono"}).cells
        'mono'
    """
    known = known_sources()
    kind = value.get("kind")
    if kind not in known:
        raise DataError(
            f"unknown data source {kind!r}" if kind else "the data source has no `kind`",
            expected="one of " + ", ".join(sorted(known)),
            hint=nearest(str(kind), known) if kind else "set `kind`",
        )
    source: AbstractSource = TypeAdapter(known[str(kind)]).validate_python(dict(value))
    return source
