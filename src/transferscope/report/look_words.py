"""A look in words: every sentence and cell, made from the keys of its numbers."""

from collections.abc import Iterator
from typing import Final

from transferscope.analyses.estimates import Estimate
from transferscope.look.result import Look, ModelFacts, Preprocessing, Step
from transferscope.report.numbers import interval_words, metric_words, points_words, span_words, value_words
from transferscope.rounding import duration

__all__ = [
    "CHANGES",
    "FEATURES",
    "METHODS",
    "conflict_lines",
    "data_rows",
    "data_words",
    "first_words",
    "model_words",
    "number_rows",
    "preparation_rows",
    "preprocessing_rows",
    "probe_rows",
    "sentences",
    "step_words",
    "worth_words",
]

FEATURES: Final = {
    "pretrained": "pre-trained features",
    "random": "random features of the same network",
    "pixels": "raw pixels, 16 × 16",
}
METHODS: Final = {"linear": "linear probe", "knn": "10 nearest neighbours"}
CHANGES: Final = {
    "unnormalised": "pixels from 0 to 1, no mean and deviation taken",
    "imagenet_stats": "mean and deviation of ImageNet in place of the network's own",
    "declared_size": "the size and crop declared for the network",
    "squash": "the whole picture squashed to a square in place of its centre",
}
_STEPS: Final = {
    "first": "a first study, with few and short trainings",
    "plan": "the whole study: what it will take, exactly, before anything is trained",
    "study": "the whole study, with three seeds",
    "weights": "bring pre-trained weights and look again",
}
_FACTS: Final = {
    "images_probed": "images that were probed",
    "images_unreadable": "files that cannot be read",
    "identical_sets": "pictures that occur more than once",
    "near_sets": "pictures that occur nearly the same",
    "across_splits": "of them in several splits",
    "leaked_test": "test images with a copy elsewhere",
    "conflicts_identical": "equal pictures under several labels",
    "conflicts_near": "nearly equal pictures under several labels",
    "labels_doubted": "labels in doubt",
    "blank": "of one colour alone",
    "damaged_metadata": "damaged metadata; pixels read",
    "not_square": "not square",
    "grey_files": "stored as grey",
    "grey_content": "grey, however stored",
    "with_exif": "with EXIF",
    "turned": "turned by their EXIF; read upright",
}
_FAULTS: Final = (
    ("images_unreadable", "file cannot be read", "files cannot be read"),
    ("leaked_test", "test image has a copy elsewhere", "test images have copies elsewhere"),
    ("conflicts_identical", "picture lies under several labels", "pictures lie under several labels"),
    ("conflicts_near", "picture lies, nearly the same, under several labels",
     "pictures lie, nearly the same, under several labels"),
    ("extra_copies", "file is a copy of another", "files are copies of others"),
    ("blank", "picture is blank", "pictures are blank"),
)  # fmt: skip
_KINDS: Final = {
    "folder": "class folders",
    "parquet": "a Parquet table",
    "arrays": "NumPy arrays",
    "images": "decoded images",
}


def first_words(found: Look) -> str:
    """What is known before pictures are opened."""
    listed, classes = found.value("images_listed"), int(found.value("classes"))
    read = "" if not found.sampled else f", of which {_count(sum_of_classes(found))} are looked at, of every class"
    kind = _KINDS.get(found.kind, found.kind)
    kinds = "labels" if found.metric == "auc" else "classes"
    lean = found.value("imbalance")
    balance = (
        "all classes are of one size"
        if lean == 1
        else f"the largest has {value_words(round(lean, 1))} times the images of the smallest"
    )
    return f"{_count(listed)} pictures of {classes} {kinds} in {found.place} ({kind}){read}; {balance}."


def sum_of_classes(found: Look) -> float:
    """Images that were to be read."""
    item = found.find("classes")
    return 0.0 if item is None or item.n is None else float(item.n)


def sentences(found: Look) -> tuple[str, str, str]:
    """The answer: the data, what pre-training is worth, what to do."""
    return data_words(found), worth_words(found), _next_sentence(found)


def data_words(found: Look) -> str:
    """What the images are, and what is wrong with them."""
    faults = [words for words, count in _faults(found) if count]
    said = "no damaged file, no copies across splits or labels" if not faults else "; ".join(faults)
    doubted, checked = found.value("labels_doubted"), found.value("labels_checked")
    doubt = f"; {_count(doubted)} of {_count(checked)} labels are in doubt" if doubted else ""
    kinds = "labels" if found.metric == "auc" else "classes"
    part = (
        f" (a part of {_count(found.value('images_listed'))}: copies of the others are not seen)"
        if found.sampled
        else ""
    )
    return f"{_count(found.value('images'))} pictures of {int(found.value('classes'))} {kinds}{part}: {said}{doubt}."


def _faults(found: Look) -> Iterator[tuple[str, float]]:
    for key, one, many in _FAULTS:
        count = found.value(key)
        yield f"{_count(count)} {one if count == 1 else many}", count


def worth_words(found: Look) -> str:
    """What pre-training is worth before any fine-tuning."""
    if found.unprobed:
        return f"Nothing was probed: {found.unprobed}."
    best = found.best
    if best is None:
        return "Nothing was probed: no metric is defined for these images."
    own = found.find("probe", model=best.name, features=best.start, method="linear")
    if best.start == "random":
        pixels = found.find("probe", model=best.name, features="pixels", method="linear")
        return (
            f"No pre-trained weights were at hand: random features of {best.name} reach {_metric(found, own)}, "
            f"raw pixels {_metric(found, pixels)}."
        )
    rivals = [found.find("worth", model=best.name, rival=name) for name in ("random", "pixels")]
    gains = [item for item in rivals if item is not None]
    words = {"random": "random features of the same network", "pixels": "raw pixels"}
    least = min((item.low for item in gains if item.low is not None), default=None)
    most = min((item.high for item in gains if item.high is not None), default=None)
    verdict = (
        "pre-training is worth it before any fine-tuning"
        if least is not None and least > 0
        else "pre-training brings less than nothing here, before fine-tuning"
        if most is not None and most < 0
        else "undecided whether pre-training brings anything before fine-tuning"
    )
    against = " and ".join(f"{_points(found, item)} against {words[str(item.at['rival'])]}" for item in gains)
    return f"A linear probe on frozen features of {best.name} reaches {_metric(found, own)}, {against}: {verdict}."


def _next_sentence(found: Look) -> str:
    if not found.steps:
        return "Next: see the notes, no study can be made of these images yet."
    step = found.steps[0]
    time = "" if step.seconds is None else f" (about {duration(step.seconds)})"
    return f"Next, {_STEPS[step.key]}{time}: {step.command}"


def step_words(step: Step) -> tuple[str, str]:
    """What a step is for, with its time."""
    time = "" if step.seconds is None else f", about {duration(step.seconds)}"
    return _STEPS[step.key] + time, step.command


def _metric(found: Look, item: Estimate | None) -> str:
    if item is None:
        return "–"
    limits = span_words(metric_words(item.low, found.metric), metric_words(item.high, found.metric))
    n = "" if item.n is None else f", n = {_count(item.n)}"
    return f"{metric_words(item.value, found.metric)} ({limits}{n})"


def _points(found: Look, item: Estimate) -> str:
    limits = span_words(
        points_words(item.low, found.metric, unit=False), points_words(item.high, found.metric, unit=False)
    )
    return f"{points_words(item.value, found.metric)} ({limits})"


def probe_rows(found: Look) -> list[tuple[str, str, str, str, str, str]]:
    """Network, features, method, metric, interval, n."""
    seen: set[tuple[str, str]] = set()
    rows = []
    for item in found.all("probe"):
        features, method = str(item.at["features"]), str(item.at["method"])
        if features == "pixels" and (features, method) in seen:
            continue  # the same for every network
        seen.add((features, method))
        limits = span_words(metric_words(item.low, found.metric), metric_words(item.high, found.metric))
        name = "any" if features == "pixels" else str(item.at["model"])
        rows.append(
            (
                name,
                FEATURES[features],
                METHODS[method],
                metric_words(item.value, found.metric),
                limits,
                value_words(item.n),
            )
        )
    return rows


def preprocessing_rows(found: Look) -> list[tuple[str, str, str, str, str]]:
    """Network, change, difference, interval, n."""
    return [
        (
            str(item.at["model"]),
            CHANGES[str(item.at["change"])],
            points_words(item.value, found.metric),
            span_words(
                points_words(item.low, found.metric, unit=False), points_words(item.high, found.metric, unit=False)
            ),
            value_words(item.n),
        )
        for item in found.all("preprocessing")
    ]


def preparation_rows(model: ModelFacts) -> list[tuple[str, str, str]]:
    """Of a network: what, as declared, as used."""
    declared, used = _prepared(model.declared), _prepared(model.used)
    return [(name, declared[name], used[name]) for name in declared]


def _prepared(item: Preprocessing) -> dict[str, str]:
    def numbers(values: tuple[float, ...]) -> str:
        return ", ".join(f"{value:.3f}" for value in values)

    return {
        "size": "not declared" if item.size is None else f"{item.size} px",
        "mean": numbers(item.mean),
        "deviation": numbers(item.std),
        "crop": "not declared" if item.crop is None else f"the central {100 * item.crop:.3g} % of the side",
        "interpolation": item.interpolation or "not declared",
    }


def model_words(model: ModelFacts) -> str:
    """A network in one line."""
    start = "pre-trained" if model.start == "pretrained" else "random weights alone"
    return f"{model.name}: {model.architecture}, {start}, {model.features} features" + "".join(
        f"; {note}" for note in model.notes
    )


def data_rows(found: Look) -> list[tuple[str, str]]:
    """What the pictures are, counted."""
    side = [found.value("short_side", which=which) for which in ("smallest", "median", "largest")]
    rows = []
    none = []
    if found.find("short_side") is not None:
        rows.append(("short side", f"{_count(side[0])} to {_count(side[2])} px, median {_count(side[1])} px"))
    for key, name in _FACTS.items():
        item = found.find(key)
        if item is not None and item.value:
            rows.append((name, f"{_count(item.value)} of {_count(item.n or 0)}"))
        elif item is not None:
            none.append(name)
    return [*rows, ("none", "; ".join(none))] if none else rows


def conflict_lines(found: Look) -> list[str]:
    """The copies that do harm, by name."""
    lines = []
    for item in found.duplicates:
        if item.conflicting or item.across:
            places = item.splits or ("",) * len(item.names)
            parts = [
                f"{name} ({', '.join(part for part in (label, where) if part)})"
                for name, label, where in zip(item.names, item.labels, places, strict=True)
            ]
            lines.append((" = " if item.kind == "identical" else " ≈ ").join(parts))
    return lines


def number_rows(found: Look) -> list[tuple[str, str, str, str]]:
    """Every number: name, value, interval, n."""
    return [
        (item.name, value_words(item.value, item.unit), interval_words(item), value_words(item.n) if item.n else "–")
        for item in found.numbers
    ]


def _count(value: float) -> str:
    return value_words(int(value), "count")
