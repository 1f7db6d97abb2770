"""Fifty folders of pictures as people have them, made from a seed, each with its right outcome.

Every folder is a layout (where splits and classes lie), names drawn for it, and clutter that changes nothing: what
systems and NAS leave, notes, pipes, links in a circle. What is right follows from how it was made, not from reading it.
"""

import os
import random
import socket
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

from PIL import Image

__all__ = ["COUNT", "Situation", "make", "situations"]

COUNT = 50
_CLASSES = (
    ("cat", "dog"),
    ("0", "1", "2"),
    ("daisy", "rose", "tulip", "sunflower"),
    ("T-shirt #1", "trouser, long", "it's: a bag"),
    ("Käfer", "Straße", "日本"),
    ("valid", "invalid"),
    ("Test tube", "beaker", "flask"),
    ("a", "A", "b"),
    ("[x]", "*", "{y}"),
    ("😀", "emoji 😢"),
)
_SPLITS = (
    ("train", "val", "test"),
    ("Training", "Validation", "Testing"),
    ("seg_train", "seg_pred_valid", "seg_test"),
    ("train_images", "val_images", "test_images"),
    ("TrainingData", "ValData", "TestData"),
    ("X-train", "X-dev", "X-test"),
    ("train2017", "val2017", "test2017"),
    ("TRAIN SET", "VALID SET", "TEST SET"),
    ("flowers_trainset", "flowers_valset", "flowers_testset"),
    ("01 training images", "02 validation images", "03 testing images"),
)
_SYSTEM = ("@eaDir", "__MACOSX", ".thumbnails", "$RECYCLE.BIN", "lost+found", "#recycle", ".ipynb_checkpoints")


@dataclass
class Situation:
    """A folder and what should come of it.

    Attributes:
        name: of the layout, and its number.
        pictures: paths of picture files, as bytes.
        classes: the right classes, as they are shown.
        splits: pictures by split; None where no split is given.
        refused: what a refusal must offer, one setting; None where the folder can be read.
        settings: that are given.
        clutter: how much is added that changes nothing.
        after: what is made after the pictures.
        said: what the notes must say.
    """

    name: str
    pictures: list[bytes] = field(default_factory=list)
    classes: set[str] = field(default_factory=set)
    splits: Counter[str] | None = None
    refused: str | None = None
    settings: dict[str, object] = field(default_factory=dict)
    clutter: bool = True
    after: list[Callable[[Path], None]] = field(default_factory=list)
    said: tuple[str, ...] = ()

    def put(self, place: str, name: str, count: int, split: str | None = None, shown: str | None = None) -> None:
        """Pictures of a class in a folder."""
        self.pictures += [os.fsencode(f"{place}/{number:03d}.png") for number in range(count)]
        self.classes.add(name if shown is None else shown)
        if split is not None:
            self.splits = (self.splits or Counter()) + Counter({split: count})


def situations() -> Iterator[Situation]:
    """All of them, in a fixed order."""
    for number in range(COUNT):
        layout = _LAYOUTS[number % len(_LAYOUTS)]
        rng = random.Random(f"folders {number}")
        made = Situation(f"{number:02d} {layout.__name__.strip('_')}")
        classes = list(_CLASSES[rng.randrange(len(_CLASSES))])
        splits = dict(zip(("train", "validation", "test"), _SPLITS[rng.randrange(len(_SPLITS))], strict=True))
        layout(made, rng, classes, splits)
        yield made


def make(made: Situation, root: Path) -> Path:
    """The folder on disk."""
    buffer = BytesIO()
    Image.new("RGB", (8, 8), (200, 10, 30)).save(buffer, "PNG")
    for path in made.pictures:
        place = os.path.join(os.fsencode(root), path)
        os.makedirs(os.path.dirname(place), exist_ok=True)
        with open(place, "wb") as file:
            file.write(buffer.getvalue())
    for step in made.after:
        step(root)
    if made.clutter:
        _clutter(root, random.Random(made.name), buffer.getvalue())
    return root


def _clutter(root: Path, rng: random.Random, picture: bytes) -> None:
    folders = [Path(place) for place, _, _ in os.walk(root)]
    for _ in range(rng.randint(1, 4)):
        system = rng.choice(folders) / rng.choice(_SYSTEM)
        (system / "000.png").mkdir(parents=True, exist_ok=True)
        (system / "000.png" / "SYNOPHOTO_THUMB_XL.jpg").write_bytes(picture)
        (system / "copy.png").write_bytes(picture)
    for name in rng.sample(["Thumbs.db", ".DS_Store", "README.md", "labels.txt", "._000.png"], 3):
        (rng.choice(folders) / name).write_bytes(b"x")
    deep = rng.choice([folder for folder in folders if any(folder.glob("*.png"))])
    kind = rng.randrange(5)
    if kind == 0:
        os.mkfifo(deep / "pipe.png")
    elif kind == 1:
        (deep / "up").symlink_to(root)
    elif kind == 2:
        (deep / "process").symlink_to("/proc/self")
    elif kind == 3:
        (deep / "round.png").symlink_to("round.png")
    elif len(os.fspath(deep)) < 80:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(os.fspath(deep / "socket.png"))


# -- layouts ----------------------------------------------------------------------------------------------


def _plain(made: Situation, rng: random.Random, classes: list[str], splits: dict[str, str]) -> None:
    for name in classes:
        made.put(name, name, rng.randint(1, 5))


def _wrapped(made: Situation, rng: random.Random, classes: list[str], splits: dict[str, str]) -> None:
    start = "/".join(["archive", "images", "all pictures"][: rng.randint(1, 3)])
    for name in classes:
        made.put(f"{start}/{name}", name, rng.randint(1, 5))


def _split(made: Situation, rng: random.Random, classes: list[str], splits: dict[str, str]) -> None:
    wrapped = rng.choice(["", "data/"])
    for split, folder in splits.items():
        for name in classes:
            made.put(f"{wrapped}{folder}/{name}", name, rng.randint(1, 4), split)


def _two_splits(made: Situation, rng: random.Random, classes: list[str], splits: dict[str, str]) -> None:
    for split in ("train", rng.choice(["test", "validation"])):
        for name in classes:
            made.put(f"{splits[split]}/{name}", name, rng.randint(1, 4), split)


def _doubled(made: Situation, rng: random.Random, classes: list[str], splits: dict[str, str]) -> None:
    for split, folder in splits.items():
        inner = rng.choice([folder, "images"])
        for name in classes:
            made.put(f"{folder}/{inner}/{name}", name, rng.randint(1, 4), split)


def _one_class_in_test(made: Situation, rng: random.Random, classes: list[str], splits: dict[str, str]) -> None:
    for name in classes:
        made.put(f"{splits['train']}/{name}/by hand", name, 2, "train")
        made.put(f"{splits['train']}/{name}/by machine", name, 2, "train")
    made.put(f"{splits['test']}/{classes[0]}/by hand", classes[0], 1, "test")
    made.put(f"{splits['test']}/{classes[0]}/by machine", classes[0], 1, "test")


def _flat_test(made: Situation, rng: random.Random, classes: list[str], splits: dict[str, str]) -> None:
    for name in classes:
        made.put(f"{splits['train']}/{name}", name, 3)
    inside = rng.choice(["", "/images"])
    made.pictures += [os.fsencode(f"{splits['test']}{inside}/{number}.png") for number in range(6)]
    made.said = (splits["test"], "6 pictures", "cut from train")


def _within_classes(made: Situation, rng: random.Random, classes: list[str], splits: dict[str, str]) -> None:
    for name in (*classes, "valid"):
        for split in ("train", "test"):
            made.put(f"{name}/{splits[split]}", name, rng.randint(1, 4), split)
    made.said = ("holds its splits",)


def _folds(made: Situation, rng: random.Random, classes: list[str], splits: dict[str, str]) -> None:
    words = rng.choice([("fold1", "fold2", "fold3"), ("site A", "site B"), ("treino", "teste"), ("2019", "2020")])
    way = rng.choice(["asked", "splits", "parts", "classes"])
    for number, part in enumerate(words):
        for name in classes:
            split = ("train", "test", "validation")[number] if way == "splits" else None
            made.put(f"{part}/{name}", name, 2, split)
    if way == "asked":
        made.refused = rng.choice(["target.data.splits=", "target.data.layout=parts", "target.data.layout=classes"])
    elif way == "splits":
        made.settings = {"splits": dict(zip(words, ("train", "test", "val"), strict=False))}
    else:
        made.settings = {"layout": way}
        made.classes = set(words) if way == "classes" else made.classes


def _mixed(made: Situation, rng: random.Random, classes: list[str], splits: dict[str, str]) -> None:
    for split in ("train", "test"):
        for name in classes:
            made.put(f"{splits[split]}/{name}", name, 2, split)
    extra = rng.choice(["chest_xray/train/a", "unlabelled", "extra/x"])
    made.pictures += [os.fsencode(f"{extra}/{number}.png") for number in range(3)]
    if rng.random() < 0.5:
        made.refused = "target.data.ignore="
    else:
        made.settings = {"ignore": [extra.partition("/")[0]]}
        made.said = ("as `ignore` asks",)


def _masks(made: Situation, rng: random.Random, classes: list[str], splits: dict[str, str]) -> None:
    for name in classes:
        made.put(f"images/{name}", name, 2)
        made.pictures += [os.fsencode(f"masks/{name}/{number}.png") for number in range(2)]
    if rng.random() < 0.5:
        made.refused = "target.data.layout=parts"
    else:
        made.settings = {"ignore": ["masks"]}


def _no_train(made: Situation, rng: random.Random, classes: list[str], splits: dict[str, str]) -> None:
    for split in ("validation", "test"):
        for name in classes:
            made.put(f"{splits[split]}/{name}", name, 2, split)
    made.refused = "target.data.splits="


def _flat_splits(made: Situation, rng: random.Random, classes: list[str], splits: dict[str, str]) -> None:
    for folder in splits.values():
        made.pictures += [os.fsencode(f"{folder}/{number}.png") for number in range(3)]
    if rng.random() < 0.5:
        made.refused = "target.data.layout=classes"
    else:
        made.settings = {"layout": "classes"}
        made.classes = set(splits.values())


def _vehicles(made: Situation, rng: random.Random, classes: list[str], splits: dict[str, str]) -> None:
    for name in ("train", "bus", "car"):
        made.put(name, name, rng.randint(1, 4))


def _odd_bytes(made: Situation, rng: random.Random, classes: list[str], splits: dict[str, str]) -> None:
    made.put("plain", "plain", 2)
    for raw, shown in ((b"caf\xe9", "caf\\xe9"), (b"stra\xdfe", "stra\\xdfe"), (b"\xff\xfe", "\\xff\\xfe")):
        made.put(os.fsdecode(raw), "", 2, shown=shown)
    made.pictures.append(b"plain/\xe9t\xe9.png")


def _control(made: Situation, rng: random.Random, classes: list[str], splits: dict[str, str]) -> None:
    for raw, shown in (
        ("red\x1b[31m", "red\\x1b[31m"),
        ("line\nbreak", "line\\x0abreak"),
        ("no\ufffe", "no\\ufffe"),
        ("<b>&amp;</b>".replace("/", ""), "<b>&amp;<b>"),
        ("[bold]=1+1", "[bold]=1+1"),
    ):
        made.put(raw, "", 2, shown=shown)


def _two_spellings(made: Situation, rng: random.Random, classes: list[str], splits: dict[str, str]) -> None:
    composed, parts = "café", unicodedata.normalize("NFD", "café")
    for split, folder in splits.items():
        made.put(f"{folder}/{parts if split == 'test' else composed}", composed, 2, split)
        made.put(f"{folder}/tea", "tea", 2, split)
    made.said = ("written in 2 ways",)


def _two_cases(made: Situation, rng: random.Random, classes: list[str], splits: dict[str, str]) -> None:
    for split, folder in splits.items():
        made.put(f"{folder}/{'cat' if split == 'test' else 'Cat'}", "Cat", 2, split)
        made.put(f"{folder}/Dog", "Dog", 2, split)
    made.said = ("case or spaces",)


def _links(made: Situation, rng: random.Random, classes: list[str], splits: dict[str, str]) -> None:
    for name in classes:
        made.put(name, name, 2)
    made.classes.add("linked")

    def link(root: Path) -> None:
        far = root.parent / "far" / "away"
        far.mkdir(parents=True)
        Image.new("L", (8, 8)).save(far / "1.png")
        (far / "round").symlink_to(far)
        (root / "linked").symlink_to(far)
        (root / "again").symlink_to(root / classes[0])
        (root / "whole disk").symlink_to("/")

    made.after.append(link)
    made.said = ("links that leave the folder: linked", "read in their own place: again", "whole disk")


def _one_class(made: Situation, rng: random.Random, classes: list[str], splits: dict[str, str]) -> None:
    made.put(rng.choice(["only", "a/b/only"]), "only", 3)
    made.refused = "folder for each class"


def _no_class(made: Situation, rng: random.Random, classes: list[str], splits: dict[str, str]) -> None:
    made.pictures += [os.fsencode(f"./{number}.png") for number in range(3)]
    made.refused = "folder for each class"


def _empty_folders(made: Situation, rng: random.Random, classes: list[str], splits: dict[str, str]) -> None:
    for name in classes:
        made.put(name, name, 2)
    made.after.append(lambda root: (root / "nothing yet").mkdir())
    made.said = ("nothing yet",)


def _other_pictures(made: Situation, rng: random.Random, classes: list[str], splits: dict[str, str]) -> None:
    for name in classes:
        made.put(name, name, 2)
    made.pictures += [f"phone/{number}.heic".encode() for number in range(4)]
    if rng.random() < 0.5:
        made.refused = "target.data.extensions="
    else:
        made.settings = {"extensions": [".png", ".heic"]}
        made.classes.add("phone")


def _super_classes(made: Situation, rng: random.Random, classes: list[str], splits: dict[str, str]) -> None:
    for top, below in {"animals": ("cat", "dog"), "vehicles": ("car", "bus")}.items():
        for name in below:
            made.put(f"{top}/{name}", top, 2)
    made.said = ("further folders",)


def _many(made: Situation, rng: random.Random, classes: list[str], splits: dict[str, str]) -> None:
    for number in range(40):
        made.put(f"n{number:08d}/images", f"n{number:08d}", 1)


_LAYOUTS = (
    _plain,
    _split,
    _doubled,
    _two_splits,
    _one_class_in_test,
    _flat_test,
    _within_classes,
    _folds,
    _mixed,
    _masks,
    _no_train,
    _flat_splits,
    _vehicles,
    _odd_bytes,
    _control,
    _two_spellings,
    _two_cases,
    _links,
    _one_class,
    _no_class,
    _empty_folders,
    _other_pictures,
    _super_classes,
    _many,
    _wrapped,
)
