"""Pictures with faults planted in them, by a seed: copies across splits, conflicting and flipped labels."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

__all__ = ["Faults", "Score", "drawn", "plant", "score"]

_SHAPES = ("disc", "square", "stripes", "cross", "ring", "triangle", "dots", "frame")


@dataclass(frozen=True)
class Faults:
    """How many of each are planted."""

    copies: int
    conflicts: int
    flips: int


@dataclass(frozen=True)
class Planted:
    """The names of what was planted."""

    copies: tuple[frozenset[str], ...]
    conflicts: tuple[frozenset[str], ...]
    flips: frozenset[str]


@dataclass(frozen=True)
class Score:
    """Share found, and other alarms."""

    copies: float
    other_copies: int
    conflicts: float
    other_conflicts: int
    flips: float
    false_flips: int
    checked: int


def drawn(kind: int, seed: int, side: int = 64) -> Image.Image:
    """A picture of a class: one shape in any place, size and colour on a noisy ground."""
    rng = np.random.default_rng([seed, kind])
    ground = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    image = Image.fromarray(ground).resize((side, side), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(image)
    colour = tuple(int(c) for c in rng.integers(0, 256, 3))
    r = int(side * rng.uniform(0.2, 0.4))
    x, y = (int(v) for v in rng.integers(r, side - r, 2))
    box, width = (x - r, y - r, x + r, y + r), max(2, r // 4)
    match _SHAPES[kind % len(_SHAPES)]:
        case "disc":
            pen.ellipse(box, fill=colour)
        case "square":
            pen.rectangle(box, fill=colour)
        case "stripes":
            for k in range(-r, r, 2 * width):
                pen.line((x + k, y - r, x + k, y + r), fill=colour, width=width)
        case "cross":
            pen.line((x - r, y - r, x + r, y + r), fill=colour, width=width)
            pen.line((x - r, y + r, x + r, y - r), fill=colour, width=width)
        case "ring":
            pen.ellipse(box, outline=colour, width=width)
        case "triangle":
            pen.polygon([(x, y - r), (x - r, y + r), (x + r, y + r)], fill=colour)
        case "dots":
            for dx in (-r, 0, r):
                for dy in (-r, 0, r):
                    pen.ellipse((x + dx - width, y + dy - width, x + dx + width, y + dy + width), fill=colour)
        case _:
            pen.rectangle(box, outline=colour, width=width)
    noise = rng.normal(0, 2, (side, side, 3))
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))


def plant(folder: Path, pictures: Sequence[tuple[str, Image.Image]], faults: Faults, seed: int = 0) -> Planted:
    """Write pictures into train and test folders of their classes, with faults.

    A copy is the same file, saved again as JPEG, or made smaller by a tenth, in turn.

    Args:
        folder: to write to.
        pictures: class and picture of each.
        faults: how many.
        seed: of what is chosen.
    """
    rng = np.random.default_rng(seed)
    classes = sorted({name for name, _ in pictures})
    order = rng.permutation(len(pictures))
    train, test = order[len(order) // 4 :], order[: len(order) // 4]
    flipped, copied, conflicting = np.split(
        rng.permutation(train)[: faults.flips + faults.copies + faults.conflicts],
        [faults.flips, faults.flips + faults.copies],
    )
    names: dict[int, str] = {}
    labels = {int(k): pictures[k][0] for k in order}

    def other(label: str) -> str:
        return str(rng.choice([name for name in classes if name != label]))

    for k in flipped:
        labels[int(k)] = other(labels[int(k)])
    for split, numbers in (("train", train), ("test", test)):
        for k in numbers:
            names[int(k)] = f"{split}/{labels[int(k)]}/{k}.png"
            _write(folder / names[int(k)], _png(pictures[k][1]))
    copies, conflicts = [], []
    for place, k in enumerate(copied):
        copies.append(
            frozenset({names[int(k)], _copy(folder, f"test/{labels[int(k)]}/copy{k}", pictures[k][1], place)})
        )
    for place, k in enumerate(conflicting):
        wrong = f"train/{other(labels[int(k)])}/conflict{k}"
        conflicts.append(frozenset({names[int(k)], _copy(folder, wrong, pictures[k][1], place)}))
    return Planted(tuple(copies), tuple(conflicts), frozenset(names[int(k)] for k in flipped))


def score(look: Mapping[str, Any], planted: Planted) -> Score:
    """What of the planted faults a look found, from its JSON."""
    sets = [(frozenset(item["names"]), item) for item in look["duplicates"]]

    def share(wanted: tuple[frozenset[str], ...], key: str) -> tuple[float, int]:
        hits = [names for names, item in sets if item[key]]
        found = sum(any(pair <= names for names in hits) for pair in wanted)
        return found / max(1, len(wanted)), sum(not any(pair <= names for pair in wanted) for names in hits)

    copies, conflicts = share(planted.copies, "across"), share(planted.conflicts, "conflicting")
    doubted = {item["name"] for item in look["suspects"]}
    # One of two conflicting labels is wrong as well: a doubt about it is none too many.
    known = planted.flips | frozenset().union(*planted.conflicts)
    checked = next(int(row["value"]) for row in look["numbers"] if row["quantity"] == "labels_checked")
    return Score(
        *copies,
        *conflicts,
        len(doubted & planted.flips) / max(1, len(planted.flips)),
        len(doubted - known),
        checked,
    )


def _copy(folder: Path, stem: str, picture: Image.Image, place: int) -> str:
    kind = place % 3
    if kind == 1:
        file = io.BytesIO()
        picture.convert("RGB").save(file, "JPEG", quality=85)
        return _write(folder / f"{stem}.jpg", file.getvalue(), folder)
    if kind == 2:
        side = round(0.9 * picture.width), round(0.9 * picture.height)
        return _write(folder / f"{stem}.png", _png(picture.resize(side, Image.Resampling.LANCZOS)), folder)
    return _write(folder / f"{stem}.png", _png(picture), folder)


def _png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def _write(file: Path, data: bytes, root: Path | None = None) -> str:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    return file.relative_to(root or file.parent).as_posix()
