"""What a look found: numbers under keys, and lists of images under names. No torch here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import polars as pl

from transferscope.analyses.estimates import Estimate
from transferscope.readable import readable

__all__ = ["Confusion", "DuplicateSet", "Look", "ModelFacts", "Preprocessing", "Step", "Suspect"]

Start = Literal["pretrained", "random"]


@dataclass(frozen=True)
class DuplicateSet:
    """Files that show one picture.

    Attributes:
        kind: ``identical`` where all are equal as decoded, else ``near``.
        images: numbers of the images.
        names: their files.
        labels: their labels, as words.
        splits: where each lies; empty where the data name no splits.
        across: they lie in several splits.
        conflicting: they do not have one label.
    """

    kind: Literal["identical", "near"]
    images: tuple[int, ...]
    names: tuple[str, ...]
    labels: tuple[str, ...]
    splits: tuple[str, ...]
    across: bool
    conflicting: bool


@dataclass(frozen=True)
class Suspect:
    """A label that a probe without this image, and the image's neighbours, speak against.

    Attributes:
        image: its number.
        name: its file.
        label: as given.
        suggested: what both take it for.
        margin: probability of that class less that of the label.
    """

    image: int
    name: str
    label: str
    suggested: str
    margin: float


@dataclass(frozen=True)
class Confusion:
    """Two classes that the best probe confuses.

    Attributes:
        label: a class.
        rival: another.
        count: images of one that are taken for the other, both ways.
        images: some of them, the most confident first.
        names: their files.
        notes: for each what it is and what it is taken for.
    """

    label: str
    rival: str
    count: int
    images: tuple[int, ...]
    names: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Preprocessing:
    """How a network's images are prepared.

    Attributes:
        size: height and width in pixels.
        mean: per channel, of values in [0, 1].
        std: per channel.
        crop: share of the picture's side that is seen.
        interpolation: its name.
        fit: how a picture becomes square.
    """

    size: int | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop: float | None
    interpolation: str | None
    fit: str = "crop"


@dataclass(frozen=True)
class ModelFacts:
    """A network that was looked at.

    Attributes:
        name: as the user wrote it.
        architecture: as in a study.
        start: whether pre-trained weights were at hand.
        declared: how its images are to be prepared; None of numbers that nobody declares.
        used: how they were.
        features: length of a feature vector.
        notes: what a reader must know.
    """

    name: str
    architecture: str
    start: Start
    declared: Preprocessing
    used: Preprocessing
    features: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Step:
    """What can be done next.

    Attributes:
        key: ``first``, ``plan``, ``study`` or ``weights``.
        command: whole, for a shell.
        seconds: estimated; None where it cannot be.
    """

    key: str
    command: str
    seconds: float | None


@readable
@dataclass(frozen=True)
class Look:
    """What was found.

    Attributes:
        name: of the data.
        place: where they lie.
        kind: of the source.
        metric: of the probes: ``top1`` or ``auc``.
        numbers: all of them, by key and coordinates.
        classes: names, in their order.
        duplicates: files that show one picture.
        suspects: doubted labels, the most doubted first.
        confusions: pairs of classes, the most confused first.
        unreadable: names of files and why.
        models: networks, in the order given.
        unprobed: why there are no probes; empty where there are.
        steps: what can be done next.
        notes: what a reader must know of the data.
        sampled: fewer images were read than lie there.
        files: galleries and their pictures, for the page.
    """

    name: str
    place: str
    kind: str
    metric: str
    numbers: tuple[Estimate, ...]
    classes: tuple[str, ...]
    duplicates: tuple[DuplicateSet, ...] = ()
    suspects: tuple[Suspect, ...] = ()
    confusions: tuple[Confusion, ...] = ()
    unreadable: tuple[tuple[str, str], ...] = ()
    models: tuple[ModelFacts, ...] = ()
    unprobed: str = ""
    steps: tuple[Step, ...] = ()
    notes: tuple[str, ...] = ()
    sampled: bool = False
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    def find(self, quantity: str, **at: str | int) -> Estimate | None:
        """The number of a key at coordinates; None where there is none."""
        wanted = {name: str(value) for name, value in at.items()}
        for item in self.numbers:
            if item.quantity == quantity and wanted.items() <= {n: str(v) for n, v in item.at.items()}.items():
                return item
        return None

    def all(self, quantity: str) -> tuple[Estimate, ...]:
        """Every number of a key."""
        return tuple(item for item in self.numbers if item.quantity == quantity)

    def value(self, quantity: str, **at: str | int) -> float:
        """A number that is there; 0 of a count that was not found."""
        item = self.find(quantity, **at)
        return 0.0 if item is None or item.value is None else item.value

    def curve(self) -> pl.DataFrame:
        """The learning curves: ``model, features, labels, value, low, high, n``."""
        return pl.DataFrame(
            [
                {**item.at, "value": item.value, "low": item.low, "high": item.high, "n": item.n}
                for item in self.all("curve")
            ],
            schema={"model": pl.String, "features": pl.String, "labels": pl.Int64, "value": pl.Float64,
                    "low": pl.Float64, "high": pl.Float64, "n": pl.Int64},
        )  # fmt: skip

    @property
    def best(self) -> ModelFacts | None:
        """The network whose features the linear probe reads best, of equals the first; None without probes."""
        scored = [(self.find("probe", model=m.name, features=m.start, method="linear"), m) for m in self.models]
        known = [(item.value, model) for item, model in scored if item is not None and item.value is not None]
        return max(known, key=lambda pair: pair[0])[1] if known else None

    def as_json(self) -> dict[str, Any]:
        """Everything but pictures, for programs: numbers as rows, lists by name."""
        return {
            "version": 1,
            "name": self.name,
            "place": self.place,
            "kind": self.kind,
            "metric": self.metric,
            "numbers": [item.row() for item in self.numbers],
            "classes": list(self.classes),
            "duplicates": [vars(item) for item in self.duplicates],
            "suspects": [vars(item) for item in self.suspects],
            "confusions": [vars(item) for item in self.confusions],
            "unreadable": [{"name": name, "reason": why} for name, why in self.unreadable],
            "models": [
                {**vars(item), "declared": vars(item.declared), "used": vars(item.used)} for item in self.models
            ],
            "unprobed": self.unprobed,
            "steps": [vars(item) for item in self.steps],
            "notes": list(self.notes),
            "sampled": self.sampled,
        }
