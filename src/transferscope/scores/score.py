"""Rank networks that could be fine-tuned, on the user's training images, without fine-tuning."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from transferscope.analyses.estimates import Estimate
from transferscope.arguments import checked
from transferscope.data.decoding import BY_DEFAULT, MAX_IMAGE_SIZE, MIN_IMAGE_SIZE
from transferscope.data.images import ImageSet
from transferscope.data.sources.base import Listing
from transferscope.data.spec import SplitSettings
from transferscope.data.splits import make_splits
from transferscope.errors import DataError, StudyError
from transferscope.look.data import examine, read_images, sample
from transferscope.look.models import readable_size
from transferscope.look.networks import facts_of
from transferscope.look.preprocessing import read_again
from transferscope.look.probes import Examples, Input, Reading, examples_of, network_tables
from transferscope.look.settings import PROBED, Clock, OnStep
from transferscope.measures.regret import arm_metrics, expected_regret
from transferscope.networks.architectures import build
from transferscope.networks.evaluate import resolve_device
from transferscope.networks.features import FEATURES
from transferscope.networks.probe_speed import step_seconds
from transferscope.scores.candidates import (
    Candidate,
    LoadedNetwork,
    declared_accuracies,
    find_candidates,
    load_network,
)
from transferscope.scores.measure import Pass, score_pass
from transferscope.scores.quantities import QUANTITIES
from transferscope.scores.result import UNLIKE, CandidateScores, Scores
from transferscope.study.template import find_data, study_name

__all__ = ["ScoreSettings", "score", "score_candidates"]

CONFIRMED: Final = (1, 3)
"""So many of the first candidates are confirmed by fine-tuning, where nobody says how many."""
_FEWEST: Final = 10
"""Images, of which no fewer are asked for."""
_STEP_BATCH: Final = 16
_STEPS: Final = 2


@dataclass(frozen=True)
class ScoreSettings:
    """What to score, and on what.

    Attributes:
        models: candidates: packages of weights, names of timm's, files or folders of weights, ``random``.
        architecture: of files that do not name theirs.
        images: so many at most are read; None reads all and scores 2,000.
        image_size: height and width in pixels for all candidates, in place of what each declares.
        device: where to compute.
        source_accuracy: as the user declares it, by candidate: 0 to 1.
        confirm: what fine-tuning so many of the first would lose is said as well.
        data: settings of the source, as under ``target.data``.
    """

    models: tuple[str, ...]
    architecture: str | None = None
    images: int | None = None
    image_size: int | None = None
    device: str = "auto"
    source_accuracy: Mapping[str, float] = field(default_factory=dict)
    confirm: int | None = None
    data: Mapping[str, Any] = field(default_factory=dict)


@checked
def score(
    folder: str | Path,
    models: Sequence[str],
    *,
    architecture: str | None = None,
    images: int | None = None,
    image_size: int | None = None,
    device: str = "auto",
    source_accuracy: Mapping[str, float] | None = None,
    data: Mapping[str, object] | None = None,
) -> Scores:
    """Rank networks that could be fine-tuned on labelled images, without fine-tuning.

    Each candidate sees the training images once, prepared as it declares. Nothing is fetched or kept.

    Args:
        folder: class folders, Parquet or NumPy files.
        models: candidates: packages of weights, names of timm's whose weights lie on this disk, files or folders of
            weights, ``random``.
        architecture: of files that do not name theirs.
        images: so many at most are read, of every class; None reads all and scores 2,000.
        image_size: height and width in pixels for all candidates, in place of what each declares.
        device: where to compute.
        source_accuracy: accuracies on the source data as you know them, by candidate; shown beside the scores.
        data: how the data are read, as under ``target.data`` of a study.

    Raises:
        DataError: the images cannot be used.
        StudyError: no candidates, or an accuracy of none.
        ArchitectureError: a candidate is unknown.
        WeightsError: weights cannot be used.
    """
    settings = ScoreSettings(
        tuple(models), architecture, images, image_size, device, source_accuracy or {}, None, data or {}
    )
    return score_candidates(Path(folder), settings)


def score_candidates(place: Path, settings: ScoreSettings, on_step: OnStep | None = None) -> Scores:
    """Rank candidates: as :func:`score`, telling what is being done.

    Args:
        place: class folders, Parquet or NumPy files.
        settings: what to score.
        on_step: told what is being done, as ``on_step(name, done, total)``.
    """
    _check(settings)
    clock, step = Clock(), on_step or _nothing
    with clock.phase("candidates"):
        step("candidates", 0, 0)
        candidates = find_candidates(settings.models, settings.architecture)
        accuracies = declared_accuracies(settings.source_accuracy, candidates)
    with clock.phase("listing"):
        found = find_data(place, dict(settings.data))
        listing = sample(found.listing, settings.images)
    with tempfile.TemporaryDirectory(prefix="transferscope-") as folder:
        with clock.phase("reading"):
            images, counts = read_images(
                listing, settings.image_size or found.image_size, Path(folder), BY_DEFAULT, _told(step, "reading")
            )
        with clock.phase("copies"):
            together = examine(images).together
        examples = _examples(images, together, settings.images or PROBED)
        with ExitStack() as kept:
            work = _Work(examples, listing, settings, accuracies, clock, step, kept)
            scored = [work.score(candidate) for candidate in candidates]
    ordered = sorted(scored, key=lambda one: (-(one[0].value("linear") or 0.0), one[0].value("parameters") or 0.0))
    ones, chances, choice = _choice(ordered, examples, settings.confirm)
    read = {"images": "images_read", "images_unreadable": "images_unreadable"}
    numbers = [
        QUANTITIES["images"].number(float(len(examples.chosen)), len(images)),
        *(QUANTITIES[read[item.quantity]].number(item.value, item.n) for item in counts if item.quantity in read),
        QUANTITIES["classes"].number(float(len(images.classes)), len(images)),
        QUANTITIES["classes_torn"].number(float(_torn(examples)), len(examples.chosen)),
        *choice,
        *(QUANTITIES["seconds"].number(value, 0, phase=key) for key, value in clock.seconds.items()),
    ]
    return Scores(
        study_name(place),
        str(place),
        examples.metric,
        "given" if images.given_splits is not None and "train" in images.given_splits else "divided",
        tuple(replace(one, numbers=(*one.numbers, more)) for one, more in zip(ones, chances, strict=True)),
        tuple(numbers),
        tuple(images.classes),
        tuple(dict.fromkeys((*found.notes, *images.notes))),
    )


def _check(settings: ScoreSettings) -> None:
    for name, value, least in (
        ("images", settings.images, _FEWEST),
        ("image_size", settings.image_size, MIN_IMAGE_SIZE),
    ):
        if value is not None and value < least:
            raise StudyError(f"{name} is too small", expected=f"{least} at least", got=str(value))


def _examples(images: ImageSet, together: np.ndarray, limit: int) -> Examples:
    """The training images of a study with the usual settings: no test or validation image has a say."""
    examples = examples_of(images, together, limit, make_splits(images, SplitSettings())["train"])
    if examples.unprobed:
        raise DataError(
            "candidates cannot be scored on these images",
            expected="two training images at least, of two classes at least, that are no copies of each other",
            got=examples.unprobed,
            hint="add images; transferscope look shows what each class has",
        )
    return examples


def _torn(examples: Examples) -> int:
    """Classes that lie in one fold alone: held out, nothing is known of them."""
    folds = examples.folds.numpy()
    members = (examples.targets > 0).numpy().T
    return sum(len(np.unique(folds[inside])) == 1 for inside in members)


@dataclass(frozen=True, eq=False)
class _Work:
    """What the scoring of every candidate shares.

    Attributes:
        examples: that are scored, as they were first read.
        listing: of all images that were read.
        settings: what was asked for.
        accuracies: as declared, by candidate.
        clock: of the phases.
        on_step: told what is being done.
        kept: holds decoded images until all candidates are scored.
        decoded: the examples, by the size they were decoded at: candidates that declare one size share them.
        steps: seconds of a training step, by architecture and image size: measured once.
    """

    examples: Examples
    listing: Listing
    settings: ScoreSettings
    accuracies: Mapping[str, float]
    clock: Clock
    on_step: OnStep
    kept: ExitStack
    decoded: dict[int, ImageSet] = field(default_factory=dict)
    steps: dict[tuple[str, int], float] = field(default_factory=dict)

    def score(self, candidate: Candidate) -> tuple[CandidateScores, Reading]:
        """A candidate's numbers, and what its probes read."""
        name, model, device = candidate.name, candidate.model, resolve_device(self.settings.device)
        with self.clock.phase("candidates"):
            loaded = load_network(candidate)
        images, chosen, given = self._prepared(candidate, loaded)
        loaded.network.to(device)
        outputs = loaded.sources is not None and not images.multi_label
        told = _told(self.on_step, f"features of {name}")
        with self.clock.phase("features"):
            network = (loaded.network, loaded.head)
            tables = network_tables(network, images, chosen, given, device, told, outputs=outputs)
        with self.clock.phase("scores"):
            reading, numbers = score_pass(Pass(name, tables, loaded.no_sources), self.examples)
        facts = facts_of(model, given, images.image_size, tables[FEATURES].shape[1])
        parameters = loaded.network.named_parameters()
        trunk = sum(value.numel() for key, value in parameters if not key.startswith(f"{loaded.head}."))
        more = [
            QUANTITIES["parameters"].number(float(trunk), None, candidate=name),
            QUANTITIES["step_seconds"].number(self._step(candidate, facts.used.size or 0), None, candidate=name),
        ]
        if name in self.accuracies:
            more.append(QUANTITIES["source_accuracy"].number(self.accuracies[name], None, candidate=name))
        facts = replace(facts, start="pretrained" if candidate.pretrained else "random")
        return CandidateScores(facts, candidate.weights, (*numbers, *more)), reading

    def _step(self, candidate: Candidate, size: int) -> float:
        architecture = candidate.model.architecture
        key = architecture.model_dump_json(), size
        if key not in self.steps:
            self.on_step(f"a training step of {candidate.name}", 0, 0)
            classes, device = max(2, len(self.examples.images.classes)), resolve_device(self.settings.device)
            with self.clock.phase("steps"):
                seconds = step_seconds(
                    lambda: build(architecture, classes, 0), size, _STEP_BATCH, device, "channels_last", steps=_STEPS
                )
            self.steps[key] = seconds[0]
        return self.steps[key]

    def _prepared(self, candidate: Candidate, loaded: LoadedNetwork) -> tuple[ImageSet, np.ndarray, Input]:
        """The images as the candidate declares them; as they were read where it declares no size."""
        declared, images, asked = candidate.model.declared, self.examples.images, self.settings.image_size
        given = Input(declared.mean, declared.std)
        if asked is not None or declared.size is None:
            size = readable_size(loaded.network, images.image_size, declared.size)
            return images, self.examples.chosen, given if size == images.image_size else replace(given, size=size)
        readable_size(loaded.network, declared.size, None)
        whole = round(declared.size / (declared.crop or 1.0))
        if whole > MAX_IMAGE_SIZE:
            raise DataError(
                f"{candidate.name} declares images that are too large",
                expected=f"up to {MAX_IMAGE_SIZE} pixels",
                got=f"{declared.size} pixels, a share of {declared.crop} of the side",
                hint="--image-size sets one size for all candidates",
            )
        if whole not in self.decoded:
            with self.clock.phase("reading"):
                told = _told(self.on_step, f"images of {whole} px")
                self.decoded[whole] = self.kept.enter_context(
                    read_again(self.examples, self.listing, whole, BY_DEFAULT, told)
                )
        again = self.decoded[whole]
        return again, np.arange(len(again)), replace(given, cut=declared.size)


def _choice(
    ordered: Sequence[tuple[CandidateScores, Reading]], examples: Examples, confirm: int | None
) -> tuple[list[CandidateScores], list[Estimate], list[Estimate]]:
    """The candidates in order, the chance of each to be the best, and what the first ones are expected to lose."""
    ones = [one for one, _ in ordered]
    labels = torch.from_numpy(examples.labels)
    metrics = arm_metrics([[reading.linear] for _, reading in ordered], labels, examples.metric, examples.clusters)
    means, covariance, n = metrics.means, metrics.covariance, metrics.n
    chances = []
    for place, one in enumerate(ones):
        chance = expected_regret(means, covariance, n, chosen=place).probability_best
        chances.append(QUANTITIES["probability_best"].number(chance, n, candidate=one.name))
    sizes = [one.value("parameters") or 1.0 for one in ones]
    ratio = max(sizes) / max(min(sizes), 1.0)
    verdict = "unlike" if ratio >= UNLIKE else "alike"
    numbers = [QUANTITIES["size_ratio"].number(ratio, None, verdict=verdict)]
    for count in sorted({*CONFIRMED, *((confirm,) if confirm else ())}):
        if count < len(ones) or count == 1:
            lost = expected_regret(means, covariance, n, chosen=0, confirmed=range(1, count))
            numbers.append(QUANTITIES["regret"].of(lost.interval, confirmed=count))
    return ones, chances, numbers


def _told(on_step: OnStep, name: str) -> Callable[[int, int], None]:
    return lambda done, total: on_step(name, done, total)


def _nothing(*told: object) -> None:
    pass
