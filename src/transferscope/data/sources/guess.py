"""The source that reads a place on disk, by what lies there."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from transferscope.data.sources.arrays import Arrays
from transferscope.data.sources.base import AbstractSource, Listing, existing
from transferscope.data.sources.folder import Folder
from transferscope.data.sources.parquet import Parquet
from transferscope.data.sources.tree import read_tree
from transferscope.errors import DataError

_KINDS: dict[str, type[AbstractSource]] = {"parquet": Parquet, "arrays": Arrays, "folder": Folder}


def source_at(place: Path, settings: Mapping[str, Any]) -> tuple[AbstractSource, Listing, tuple[str, ...]]:
    """Read class folders, Parquet or NumPy files, whichever lies there.

    A table that holds pictures and labels is the data, and pictures beside it are not; one that holds none leaves the
    data to the class folders beside it.
    """
    if not place.exists():
        raise DataError(
            f"there is no folder {place}",
            expected="a folder of class folders, a .parquet file (or a folder of them), or NumPy files",
        )
    root = existing(str(place), "the data")
    made = list(_in_folder(root, settings)) if root.is_dir() else [_of_file(root, settings)]
    fitting = [(kind, given) for kind, given in made if set(settings) <= {*_KINDS[kind].model_fields}]
    fitting = [item for item in fitting if settings.get("kind", item[0]) == item[0]] or made[-1:]
    failed: list[tuple[str, DataError]] = []
    for number, (kind, given) in enumerate(fitting):
        source = _KINDS[kind].model_validate({"kind": kind, **given, **settings})
        try:
            listing = source.listing()
        except DataError as error:
            failed.append((kind, error))
            continue
        notes = [f"The {other} data beside were left out: {error.what}." for other, error in failed]
        notes += [
            f"The data are of kind {kind}; what lies beside was left out: --set target.data.kind={other} takes it."
            for other, _ in fitting[number + 1 :]
        ]
        return source, listing, tuple(notes)
    raise failed[0][1]


def _of_file(file: Path, settings: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
    if file.suffix in (".npz", ".npy") or "images" in settings:
        return "arrays", {"images": str(file), **(_beside(file) if file.suffix == ".npy" else {})}
    if file.suffix == ".parquet" or settings.get("kind") == "parquet":
        return "parquet", {"path": str(file)}
    raise DataError(
        f"{file} is not a file of labelled pictures",
        expected="a folder of class folders, a .parquet file (or a folder of them), .npz or .npy",
        got=f"a file ending in {file.suffix!r}",
    )


def _in_folder(root: Path, settings: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, str]]]:
    """Kinds of source that may read a folder, tables first."""
    ignore = settings.get("ignore") or ()
    endings = settings.get("extensions") or Folder.model_fields["extensions"].default
    tree = read_tree(root, tuple(str(ending).lower() for ending in endings), tuple(str(item) for item in ignore))
    tables = [file for file in tree.files(pictures=False) if file.lower().endswith(".parquet")]
    if tables:
        yield "parquet", {"path": str(root)}
    packed = [file for file in tree.others if file.lower().endswith(".npz")]
    if "images.npy" in tree.others:
        yield "arrays", {"images": str(root / "images.npy"), **_beside(root / "images.npy")}
    elif len(packed) == 1:
        yield "arrays", {"images": str(root / packed[0])}
    if tree.total or not (tables or packed or "images.npy" in tree.others):
        yield "folder", {"path": str(root)}


def _beside(images: Path) -> dict[str, str]:
    """The files of arrays beside one of pictures."""
    files = {name: images.with_name(f"{name}.npy") for name in ("labels", "groups", "splits")}
    return {name: str(file) for name, file in files.items() if file.exists()}
