"""The scores of one candidate, from what one pass over the images gave."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

from transferscope.analyses.estimates import Estimate
from transferscope.errors import MeasureError
from transferscope.look.probes import Examples, Reading, read_features
from transferscope.measures.h_score import h_score
from transferscope.measures.label_transfer import leep, nce
from transferscope.measures.logme import logme
from transferscope.networks.features import FEATURES, OUTPUT
from transferscope.scores.quantities import QUANTITIES

__all__ = ["Pass", "score_pass"]

_SEVERAL: Final = "not defined where several labels hold at once"


@dataclass(frozen=True, eq=False)
class Pass:
    """What one pass of a candidate gave.

    Attributes:
        name: of the candidate.
        tables: what entered its head, and the logits of its source head where it has one.
        no_sources: why it has none.
    """

    name: str
    tables: Mapping[str, Tensor]
    no_sources: str


def score_pass(given: Pass, examples: Examples) -> tuple[Reading, tuple[Estimate, ...]]:
    """All scores of a candidate, and what the probes read.

    Raises:
        MeasureError: its features are not finite.
    """
    features = given.tables[FEATURES]
    broken = int((~torch.isfinite(features)).any(1).sum())
    if broken:
        raise MeasureError(
            f"the features of {given.name} are not finite",
            expected="a network that can be run on these images",
            got=f"{broken} of {len(features)} images with NaN or infinite values",
            hint="leave the candidate out: its training diverged, or its normalisation is another",
        )
    reading = read_features(features, examples)
    return reading, tuple(_scores(given, reading, examples))


def _scores(given: Pass, reading: Reading, examples: Examples) -> Iterator[Estimate]:
    name, features, n = given.name, given.tables[FEATURES], len(examples.chosen)
    yield QUANTITIES["linear"].of(examples.interval(reading.linear), candidate=name)
    yield QUANTITIES["knn"].of(examples.interval(reading.neighbours), candidate=name)
    constant = not bool((features != features[0]).any())
    still = "no feature differs between images" if constant else ""
    if still:
        yield from (QUANTITIES[key].undefined(still, n, candidate=name) for key in ("logme", "h_score"))
    else:
        yield from _of_features(name, features, examples)
    several = _SEVERAL if examples.images.multi_label else ""
    why = several or given.no_sources
    if why:
        yield from (QUANTITIES[key].undefined(why, n, candidate=name) for key in ("leep", "nce"))
    else:
        logits, labels = given.tables[OUTPUT].double(), torch.from_numpy(examples.labels)
        yield QUANTITIES["leep"].number(leep(logits.softmax(1), labels), n, candidate=name)
        yield QUANTITIES["nce"].number(nce(logits.argmax(1), labels), n, candidate=name)
        yield QUANTITIES["sources"].number(float(logits.shape[1]), n, candidate=name)
    if several:
        yield from _of_labels(name, reading, examples)


def _of_features(name: str, features: Tensor, examples: Examples) -> Iterator[Estimate]:
    n = len(examples.chosen)
    evidence = logme(features, examples.targets)
    yield QUANTITIES["logme"].number(evidence.value, n, candidate=name)
    if examples.images.multi_label:
        yield QUANTITIES["h_score"].undefined(_SEVERAL, n, candidate=name)
        for label, value in zip(examples.images.classes, evidence.outputs, strict=True):
            why = "" if value is not None else "no image has it, or all have"
            yield QUANTITIES["logme_label"].number(value, n, why, candidate=name, label=label)
        return
    found = h_score(features, torch.from_numpy(examples.labels))
    yield QUANTITIES["h_score"].number(found.value, n, candidate=name)
    yield QUANTITIES["shrinkage"].number(found.shrinkage, n, candidate=name)


def _of_labels(name: str, reading: Reading, examples: Examples) -> Iterator[Estimate]:
    for number, label in enumerate(examples.images.classes):
        alone = replace(examples, labels=examples.labels[:, [number]], targets=examples.targets[:, [number]])
        yield QUANTITIES["linear_label"].of(alone.interval(reading.linear[:, [number]]), candidate=name, label=label)
