"""What networks make of the images: probes on frozen features, and what follows from them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from transferscope.analyses.estimates import Estimate
from transferscope.data.decoding import BY_DEFAULT
from transferscope.data.images import ImageSet
from transferscope.data.sources.base import Listing
from transferscope.errors import DataError
from transferscope.look.data import Examined
from transferscope.look.doubts import confused, suspects
from transferscope.look.models import LookModel, find_models, readable_size
from transferscope.look.pictures import look_files
from transferscope.look.preprocessing import Prepared, preprocessing_costs
from transferscope.look.probes import (
    Examples,
    Input,
    Reading,
    examples_of,
    learning_curve,
    network_features,
    pixel_features,
    read_features,
)
from transferscope.look.quantities import QUANTITIES, count_of, plain
from transferscope.look.result import Look, ModelFacts, Preprocessing
from transferscope.look.settings import PROBED, Clock, LookSettings, OnStep
from transferscope.look.steps import next_steps
from transferscope.networks.evaluate import resolve_device
from transferscope.study.template import Found

__all__ = ["facts_of", "with_networks", "with_probes"]


@dataclass(frozen=True, eq=False)
class _Probed:
    """One network, as it was probed.

    Attributes:
        model: the network.
        facts: of it.
        prepared: with the features of its pre-trained weights; None where there are none.
        readings: by the kind of features.
        numbers: of it.
    """

    model: LookModel
    facts: ModelFacts
    prepared: Prepared | None
    readings: dict[str, Reading]
    numbers: tuple[Estimate, ...]


def with_probes(
    read: Look,
    images: ImageSet,
    inside: np.ndarray,
    examined: Examined,
    settings: LookSettings,
    clock: Clock,
    on_step: OnStep,
) -> Look:
    """A look with probes alone, without curves, preprocessing and pictures.

    Args:
        read: what is known of the data.
        images: decoded.
        inside: numbers of those that may be probed.
        examined: what their pixels say.
        settings: what was asked for.
        clock: of the phases.
        on_step: told what is being done.
    """
    examples = examples_of(images, examined.together, settings.images or PROBED, inside)
    if examples.unprobed:
        return replace(read, unprobed=examples.unprobed, numbers=(*read.numbers, *clock.numbers()))
    found = _probe(examples, settings, clock, on_step)
    numbers = [number for item in found for number in item.numbers]
    return replace(
        read,
        numbers=(*read.numbers, count_of("images_probed", len(examples.chosen), len(images)), *numbers,
                 *clock.numbers()),
        models=tuple(item.facts for item in found),
    )  # fmt: skip


def with_networks(
    read: Look,
    found: Found,
    listing: Listing,
    images: ImageSet,
    examined: Examined,
    settings: LookSettings,
    clock: Clock,
    on_step: OnStep,
) -> Look:
    """A whole look.

    Args:
        read: what is known of the data.
        found: the data.
        listing: of the images that were read.
        images: decoded.
        examined: what their pixels say.
        settings: what was asked for.
        clock: of the phases.
        on_step: told what is being done.
    """
    examples = examples_of(images, examined.together, settings.images or PROBED)
    numbers: list[Estimate] = []
    probed: tuple[_Probed, ...] = ()
    if not examples.unprobed:
        probed = _probe(examples, settings, clock, on_step)
        numbers += [count_of("images_probed", len(examples.chosen), len(images))]
        numbers += [number for item in probed for number in item.numbers]
        with clock.phase("curves"):
            numbers += _curves(probed, examples, on_step)
        oblong = read.value("not_square") / max(1, len(images))
        with clock.phase("preprocessing"):
            for item in probed:
                if item.prepared is not None:
                    on_step(f"preprocessing of {item.model.name}", 0, 0)
                    numbers += preprocessing_costs(item.prepared, examples, listing, BY_DEFAULT, oblong)
    whole = replace(
        read,
        numbers=(*read.numbers, *numbers),
        models=tuple(item.facts for item in probed),
        unprobed=examples.unprobed,
    )
    whole = _with_doubts(whole, probed, examples)
    best = next((item for item in probed if whole.best is not None and item.facts.name == whole.best.name), None)
    note: tuple[str, ...] = ()
    try:
        steps = next_steps(found, settings, images, None if best is None else best.model, whole)
    except DataError as error:
        steps, note = (), (str(error),)
    times = [plain("step_seconds", step.seconds, 0, step=step.key) for step in steps]
    return replace(
        whole,
        steps=steps,
        notes=(*whole.notes, *note),
        numbers=(*whole.numbers, *times, *clock.numbers()),
        files=look_files(images, whole.duplicates, whole.suspects, whole.confusions),
    )


def _with_doubts(whole: Look, probed: Sequence[_Probed], examples: Examples) -> Look:
    best = whole.best
    if best is None or examples.metric != "top1":
        return whole
    item = next(item for item in probed if item.facts.name == best.name)
    reading, n = item.readings[best.start], len(examples.chosen)
    doubted, pairs = suspects(reading, examples), confused(reading, examples)
    numbers = [count_of("labels_checked", n, n), count_of("labels_doubted", len(doubted), n)]
    for pair in pairs:
        both = int(whole.value("class_images", label=pair.label) + whole.value("class_images", label=pair.rival))
        at = {"label": pair.label, "rival": pair.rival}
        inside = int(np.isin(examples.labels, [whole.classes.index(name) for name in at.values()]).sum())
        numbers += [count_of("confused", pair.count, both, **at)]
        numbers += [plain("confused_share", pair.count / max(inside, 1), inside, **at)]
    return replace(whole, suspects=doubted, confusions=pairs, numbers=(*whole.numbers, *numbers))


def _probe(examples: Examples, settings: LookSettings, clock: Clock, on_step: OnStep) -> tuple[_Probed, ...]:
    device = resolve_device(settings.device)
    with clock.phase("models"):
        on_step("networks", 0, 0)
        models = find_models(settings.models, settings.architecture)
    with clock.phase("probes"):
        pixels = read_features(pixel_features(examples.images, examples.chosen), examples)
    return tuple(_of_model(model, examples, pixels, device, clock, on_step) for model in models)


def _of_model(
    model: LookModel, examples: Examples, pixels: Reading, device: torch.device, clock: Clock, on_step: OnStep
) -> _Probed:
    declared, images = model.declared, examples.images
    readings: dict[str, Reading] = {}
    prepared: Prepared | None = None
    numbers: list[Estimate] = []
    width = 0
    for start in ("pretrained", "random") if model.weights is not None else ("random",):
        with clock.phase("models"):
            network, head = model.network(pretrained=start == "pretrained")
            size = readable_size(network, images.image_size, declared.size)
            given = Input(declared.mean, declared.std, None if size == images.image_size else size)
            network.to(device)
        step: Callable[[int, int], None] = _step_of(on_step, f"{start} features of {model.name}")
        before = clock.seconds.get("features", 0.0)
        with clock.phase("features"):
            table = network_features((network, head), images, examples.chosen, given, device, step)
        width, seconds = table.shape[1], clock.seconds["features"] - before
        if not numbers:
            speed = len(examples.chosen) / max(seconds, 1e-9)
            numbers.append(plain("images_per_second", speed, len(examples.chosen), model=model.name))
        if start == "pretrained":
            prepared = Prepared(model.name, (network, head), declared, given, table, device)
        with clock.phase("probes"):
            readings[start] = read_features(table, examples)
    readings["pixels"] = pixels
    with clock.phase("probes"):
        numbers += _values(model.name, readings, examples)
    return _Probed(model, facts_of(model, given, images.image_size, width), prepared, readings, tuple(numbers))


def _step_of(on_step: OnStep, name: str) -> Callable[[int, int], None]:
    return lambda done, total: on_step(name, done, total)


def _values(name: str, readings: dict[str, Reading], examples: Examples) -> Iterator[Estimate]:
    for features, reading in readings.items():
        for method, scores in (("linear", reading.linear), ("knn", reading.neighbours)):
            found = examples.interval(scores)
            yield QUANTITIES["probe"].of(found, model=name, features=features, method=method)
    if "pretrained" in readings:
        for rival in ("random", "pixels"):
            found = examples.interval(readings["pretrained"].linear, readings[rival].linear)
            yield QUANTITIES["worth"].of(found, model=name, rival=rival)


def _curves(probed: Sequence[_Probed], examples: Examples, on_step: OnStep) -> Iterator[Estimate]:
    for item in probed:
        ends: dict[str, list[tuple[int, float]]] = {}
        for features in [name for name in ("pretrained", "random") if name in item.readings]:
            on_step(f"learning curve of {item.model.name}, {features}", 0, 0)
            for labels, found in learning_curve(item.readings[features], examples):
                yield QUANTITIES["curve"].of(found, model=item.model.name, features=features, labels=labels)
                if found.value is not None:
                    ends.setdefault(features, []).append((labels, found.value))
        if len(ends) == 2:
            yield _reached(item.model.name, ends, len(examples.chosen))


def _reached(name: str, ends: dict[str, list[tuple[int, float]]], n: int) -> Estimate:
    """The fewest labels at which pre-trained features reach what random ones reach with all."""
    goal = ends["random"][-1][1]
    first = next((labels for labels, value in ends["pretrained"] if value >= goal), None)
    at = {"model": name, "features": "pretrained", "target": "random"}
    if first is None:
        return plain("curve_reached", None, n, "not reached with all labels", **at)
    return plain("curve_reached", float(first), n, "of the sizes that were tried", **at)


def facts_of(model: LookModel, given: Input, read: int, features: int) -> ModelFacts:
    """What a network is, and how its images are declared and were prepared.

    Args:
        model: the network.
        given: how images went in.
        read: height and width at which they were read.
        features: length of a feature vector.
    """
    declared = model.declared
    return ModelFacts(
        model.name,
        model.architecture.name,
        "random" if model.weights is None else "pretrained",
        Preprocessing(declared.size, declared.mean, declared.std, declared.crop, declared.interpolation),
        Preprocessing(
            given.size or given.cut or read,
            tuple(given.mean),
            tuple(given.std),
            1.0 if given.cut is None else given.cut / read,
            "bicubic",
        ),
        features,
        (
            *model.notes,
            *(
                (f"it reads images of {given.size} px alone: they were enlarged from {read} px",)
                if given.size is not None
                else ()
            ),
        ),
    )
