"""Labels that are doubted and classes that are confused, by held-out probes."""

from itertools import combinations

import numpy as np
import torch

from transferscope.look.probes import Examples, Reading
from transferscope.look.result import Confusion, Suspect
from transferscope.measures.label_issues import label_issues, softmax_at_best_scale

__all__ = ["confused", "suspects"]

_VOTES = 0.1
_SHOWN = 6
_PAIRS = 5


def suspects(reading: Reading, examples: Examples) -> tuple[Suspect, ...]:
    """Images whose label the probe and the neighbours speak against with the same other class, most doubted first.

    Of the neighbours' votes less than a tenth is for the label. The probe alone doubts four to five times as many
    images that are only hard, and finds a third more wrong labels. Not defined where several labels hold at once.
    """
    images = examples.images
    probabilities = softmax_at_best_scale(reading.linear.numpy(), examples.labels)
    issues = label_issues(probabilities, examples.labels)
    votes = reading.neighbours.numpy()
    against = votes[np.arange(len(votes)), examples.labels] < _VOTES
    agreed = (issues.suggested >= 0) & (issues.suggested == votes.argmax(1)) & against
    return tuple(
        Suspect(
            int(examples.chosen[k]),
            images.names[int(examples.chosen[k])],
            images.classes[int(examples.labels[k])],
            images.classes[int(issues.suggested[k])],
            float(issues.margin[k]),
        )
        for k in sorted(np.flatnonzero(agreed).tolist(), key=lambda k: (-issues.margin[k], k))
    )


def confused(reading: Reading, examples: Examples) -> tuple[Confusion, ...]:
    """The pairs of classes that the linear probe confuses most often, with the images it is surest about."""
    images, classes = examples.images, len(examples.images.classes)
    taken = reading.linear.argmax(1).numpy()
    table = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(table, (examples.labels, taken), 1)
    counts = {(a, b): int(table[a, b] + table[b, a]) for a, b in combinations(range(classes), 2)}
    found = []
    for a, b in sorted(counts, key=lambda pair: (-counts[pair], pair))[:_PAIRS]:
        if not counts[a, b]:
            break
        inside = np.flatnonzero(((examples.labels == a) & (taken == b)) | ((examples.labels == b) & (taken == a)))
        rows = torch.from_numpy(inside)
        lead = reading.linear[rows, torch.from_numpy(taken[inside])]
        lead = lead - reading.linear[rows, torch.from_numpy(examples.labels[inside])]
        shown = inside[np.argsort(-lead.numpy(), kind="stable")][:_SHOWN]
        numbers = [int(examples.chosen[k]) for k in shown]
        found.append(
            Confusion(
                images.classes[a],
                images.classes[b],
                counts[a, b],
                tuple(numbers),
                tuple(images.names[k] for k in numbers),
                tuple(f"{images.classes[examples.labels[k]]}, taken for {images.classes[taken[k]]}" for k in shown),
            )
        )
    return tuple(found)
