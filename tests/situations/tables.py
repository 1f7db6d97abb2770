"""Twenty tables as people have them, made from a seed, each with its right outcome.

A table draws how its labels are written, how its pictures lie in it, how its files are called and divided. What is
right follows from how it was made, not from reading it: every file writes the same classes, each in its own order.
"""

import json
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from PIL import Image

__all__ = ["COUNT", "Row", "Situation", "make", "situations"]

COUNT = 20
_CLASSES = (
    ("cat", "dog"),
    ("daisy", "rose", "tulip"),
    ("T-shirt #1", "it's: a bag", "日本"),
    ("no", "yes", "null", "~"),
)
_NAMES = (
    {"train": "train-{:05d}-of-00002", "validation": "validation-{:05d}-of-00001", "test": "test-{:05d}-of-00001"},
    {"train": "data/train/{:04d}", "validation": "data/val/{:04d}", "test": "data/test/{:04d}"},
    {"train": "x [1] train {:d}", "validation": "x [1] dev {:d}", "test": "x [1] test {:d}"},
    {"train": "Training_{:d}", "validation": "Valid_{:d}", "test": "Testing_{:d}"},
)


@dataclass(frozen=True)
class Row:
    """One example: the grey of its picture and its labels."""

    grey: int
    labels: frozenset[str]


@dataclass
class Situation:
    """A table and what should come of it.

    Attributes:
        name: of what was drawn.
        kind: of the source.
        rows: of each file, in the order of the source.
        classes: the right classes.
        several: several labels may hold at once.
        splits: examples by split; None where none is given.
        settings: of the source.
        refused: what a refusal must name; None where the table can be read.
        noted: what a note must name.
        seed: of all that is left to draw.
    """

    name: str
    kind: str
    rows: dict[str, list[Row]]
    classes: set[str]
    several: bool = False
    splits: Counter[str] | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    refused: str | None = None
    noted: str = ""
    seed: int = 0


_LABELS = ("hub", "words", "json", "enum", "lists", "hub", "numbers", "vectors", "words", "hub")
_PICTURES = ("struct", "bytes", "path", "null bytes")
_FAULTS = ("null label", "unnamed file", "other names", "no pictures")


def situations() -> Iterator[Situation]:
    """All of them, in a fixed order: twelve Parquet, four arrays, four with a fault."""
    for number in range(COUNT):
        rng = random.Random(f"tables {number}")
        classes = list(_CLASSES[rng.randrange(len(_CLASSES))])
        if number >= COUNT - len(_FAULTS):
            yield _faulty(number, _FAULTS[number - COUNT], classes, rng)
        elif number % 4 == 3:
            yield _arrays(number, classes, rng)
        else:
            yield _parquet(number, classes, rng)


def _drawn(classes: list[str], rng: random.Random, several: bool) -> list[Row]:
    """Two rows of each class (or set of classes), in any order; two of a file look alike."""
    sets = [{name} for name in classes] * 2
    sets += [set(classes[:2]), set()] * several
    rng.shuffle(sets)
    return [Row(rng.randrange(256), frozenset(labels)) for labels in sets]


def _parquet(number: int, classes: list[str], rng: random.Random) -> Situation:
    written = _LABELS[number % len(_LABELS)]
    several = written in ("lists", "vectors")
    names = _NAMES[rng.randrange(len(_NAMES))]
    parts = rng.choice([("train", "train", "test"), ("train", "validation", "test"), ("test", "train")])
    rows = {f"{names[split].format(at)}.parquet": _drawn(classes, rng, several) for at, split in enumerate(parts)}
    splits: Counter[str] = Counter()
    for at, split in enumerate(parts):
        splits[split] += len(rows[f"{names[split].format(at)}.parquet"])
    made = Situation(f"{number:02d} {written}", "parquet", dict(sorted(rows.items())), set(classes), several, splits)
    made.seed = number
    if written == "numbers":  # without names: from 1 on
        made.noted = "not 0 to"
        numbers = {name: str(place) for place, name in enumerate(classes, start=1)}
        made.classes = set(numbers.values())
        made.rows = {
            file: [Row(row.grey, frozenset(numbers[name] for name in row.labels)) for row in listed]
            for file, listed in made.rows.items()
        }
    if written == "json":
        made.settings = {"classes": [*classes[::-1], "never seen"]}
        made.noted = "never seen"
    if written == "vectors":
        made.noted = "label_format"
    return made


def _arrays(number: int, classes: list[str], rng: random.Random) -> Situation:
    rows = _drawn(classes, rng, several=False)
    made = Situation(f"{number:02d} arrays", "arrays", {"": rows}, set(classes), seed=number)
    if rng.random() < 0.5:
        made.splits = Counter(train=len(rows) - len(classes), test=len(classes))
    return made


def _faulty(number: int, fault: str, classes: list[str], rng: random.Random) -> Situation:
    made = _parquet(0, classes, rng)  # numbers, with names in every file
    named = {"null label": "empty rows", "unnamed file": "classes", "other names": "classes", "no pictures": "'image'"}
    made.name, made.refused, made.seed = f"{number:02d} {fault}", named[fault], number
    return made


def make(made: Situation, root: Path) -> dict[str, Any]:
    """Write a table; the settings of its source."""
    root.mkdir(parents=True)
    rng = random.Random(f"writing {made.seed}")
    if made.kind == "arrays":
        return _make_arrays(made, root, rng)
    for at, (file, rows) in enumerate(made.rows.items()):
        place = root / file
        place.parent.mkdir(parents=True, exist_ok=True)
        order = sorted(made.classes)
        rng.shuffle(order)  # every file numbers the classes in its own way
        fault = made.name[3:] if made.refused is not None and at == 1 else ""
        labels, metadata = _labels(made, rows, order, fault)
        pictures = _pictures(rows, _PICTURES[made.seed % len(_PICTURES)], place.parent, at)
        columns = {"image" if fault != "no pictures" else "photo": pictures, "label": labels}
        pl.DataFrame(columns).write_parquet(place, metadata=metadata)
    return {"kind": "parquet", "path": str(root), **made.settings}


def _labels(made: Situation, rows: list[Row], order: list[str], fault: str) -> tuple[pl.Series, dict[str, str]]:
    written = "hub" if made.refused is not None else made.name[3:]
    one = [next(iter(row.labels), "") for row in rows]
    places = [[order.index(name) for name in sorted(row.labels)] for row in rows]
    feature: dict[str, Any] = {"names": order, "_type": "ClassLabel"}
    if written in ("lists", "vectors"):
        feature = {"feature": feature, "_type": "List"}
    metadata = {"huggingface": json.dumps({"info": {"features": {"label": feature}}})}
    if fault == "unnamed file":
        metadata = {}
    if fault == "other names":
        feature["names"] = [f"{name}s" for name in order]
        metadata = {"huggingface": json.dumps({"info": {"features": {"label": feature}}})}
    match written:
        case "words":
            return pl.Series(one), {}
        case "enum":
            return pl.Series(one, dtype=pl.Enum(order)), {}
        case "numbers":
            return pl.Series([int(name) for name in one], dtype=pl.Int16), {}
        case "json":
            return pl.Series([place[0] for place in places]), {"classes": json.dumps(order)}
        case "lists":
            return pl.Series(places, dtype=pl.List(pl.Int64)), metadata
        case "vectors":
            return pl.Series([[int(at in place) for at in range(len(order))] for place in places]), metadata
    numbers: list[int | None] = [place[0] for place in places]
    if fault == "null label":
        numbers[-1] = None
    return pl.Series(numbers), metadata


def _pictures(rows: list[Row], written: str, folder: Path, at: int) -> list[Any]:
    encoded = [_encoded(row.grey) for row in rows]
    names = [f"pictures/{at}-{number}.png" for number in range(len(rows))]
    if written == "bytes":
        return encoded
    if written == "struct":
        return [{"bytes": data, "path": name} for data, name in zip(encoded, names, strict=True)]
    (folder / "pictures").mkdir(exist_ok=True)
    for data, name in zip(encoded, names, strict=True):
        (folder / name).write_bytes(data)
    return names if written == "path" else [{"bytes": None, "path": name} for name in names]


def _make_arrays(made: Situation, root: Path, rng: random.Random) -> dict[str, Any]:
    rows = made.rows[""]
    order = sorted(made.classes)
    rng.shuffle(order)
    pixels = np.stack([np.full((8, 8), row.grey, dtype=np.uint8) for row in rows])
    words = np.array([next(iter(row.labels)) for row in rows])
    numbers = np.array([order.index(word) for word in words])
    splits = np.array(["train"] * (len(rows) - len(order)) + ["test"] * len(order))
    kept = {"splits": splits} if made.splits is not None else {}
    match rng.randrange(4):
        case 0:
            np.savez(root / "all.npz", images=pixels, labels=numbers[:, None], classes=np.array(order), **kept)
            return {"kind": "arrays", "images": str(root / "all.npz")}
        case 1:
            np.savez_compressed(root / "all.npz", images=pixels, labels=words, **kept)
            return {"kind": "arrays", "images": str(root / "all.npz")}
        case 2:
            labels, settings = np.eye(len(order))[numbers], {"classes": order, "label_format": "one_hot"}
        case _:
            labels, settings = numbers.astype(float), {"classes": order}
    for name, values in {"images": pixels, "labels": labels, **kept}.items():
        np.save(root / f"{name}.npy", values)
    files = {name: str(root / f"{name}.npy") for name in ("images", "labels", *kept)}
    return {"kind": "arrays", **files, **settings}


def _encoded(grey: int) -> bytes:
    buffer = BytesIO()
    Image.new("L", (8, 8), grey).save(buffer, format="PNG")
    return buffer.getvalue()
