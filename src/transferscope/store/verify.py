"""Every entry of a store read and hashed anew, on request."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from transferscope.errors import StoreError
from transferscope.store.atomic import temporaries
from transferscope.store.integrity import (
    MANIFEST,
    PROVENANCE,
    Problem,
    check_file,
    forget_checks,
    read_manifest,
    read_provenance,
)
from transferscope.store.system_errors import translated

if TYPE_CHECKING:
    from transferscope.store.store import Store


def verify(store: "Store") -> list[Problem]:
    """Every entry of the store read and hashed anew, and what else lies around.

    Returns:
        Damaged, missing and unlisted files, entries in a wrong place, folders left by interrupted writers.
    """
    forget_checks()
    problems: list[Problem] = []
    for kind in store.write_once:
        keys = set(store.keys(kind))
        for key in sorted(keys):
            problems += _entry_problems(store.entry(kind, key).folder, kind, key)
        with translated(store.root / kind, "read"):
            for path in sorted((store.root / kind).glob("??/*")):
                if path in temporaries(path.parent):
                    what = "left by a writer that was interrupted, or is still at work"
                    problems.append(Problem(kind, "", path, what, harmful=False))
                elif path.name not in keys:
                    problems.append(Problem(kind, path.name, path, "is no folder of an entry"))
    return problems


def _entry_problems(folder: Path, kind: str, key: str) -> Iterator[Problem]:
    try:
        manifest = read_manifest(folder)
    except StoreError as error:
        yield Problem(kind, key, folder / MANIFEST, error.what)
        return
    if (manifest["kind"], manifest["key"]) != (kind, key):
        yield Problem(kind, key, folder, f"holds {manifest['kind']} {manifest['key']}: it was moved or renamed")
    for name, facts in manifest["files"].items():
        try:
            check_file(folder / name, facts["sha256"], facts["bytes"])
        except StoreError as error:
            yield Problem(kind, key, folder / name, error.what)
    try:
        read_provenance(folder)
    except StoreError as error:
        yield Problem(kind, key, folder / PROVENANCE, f"{error.what}; no result rests on it", harmful=False)
    listed = {*manifest["files"], MANIFEST, PROVENANCE}
    for path in sorted(folder.rglob("*")):
        if not path.is_dir() and path.relative_to(folder).as_posix() not in listed:
            yield Problem(kind, key, path, "is not in the manifest")
