"""Average networks stored in files, on the images of a folder: what ``transferscope average`` does."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from transferscope.errors import WeightsError
from transferscope.files.images import StoredImages, image_size_of, stored_images
from transferscope.files.networks import (
    FileSettings,
    architecture_of,
    check_classes,
    check_size,
    classes_of,
    facts_of,
    network_of,
    start_of,
)
from transferscope.methods.averaging.advice import AverageData, AverageStart, average_networks
from transferscope.methods.averaging.advice_result import AverageAdvice
from transferscope.methods.averaging.space import AveragingMethod
from transferscope.methods.compare.compare import OnStep
from transferscope.methods.evaluation import Evaluation
from transferscope.networks.evaluate import resolve_device
from transferscope.networks.heads import head_name
from transferscope.networks.weight_files import read_metadata, write_state
from transferscope.networks.weights import state_hash
from transferscope.specs.architecture import Architecture, FileWeights, Weights

__all__ = ["AverageOfFiles", "average_files"]

_STATISTICS_IMAGES = 1024
_LOCATED_IMAGES = 512
_SHARED = ("splits", "images", "labels", "fit")
"""What else a file says of how its network was trained: of the average where all files say the same."""


@dataclass(frozen=True)
class AverageOfFiles:
    """The answer, and what is written beside the weights.

    Attributes:
        metadata: of the file; empty where there is no average.
    """

    advice: AverageAdvice
    metadata: Mapping[str, str]

    def write(self, path: Path) -> bool:
        """Write the average, complete or not at all; nothing where there is none.

        Returns:
            Whether there is one.
        """
        made = self.advice.made
        if made is not None:
            write_state(path, made.average.state, self.metadata)
        return made is not None


def average_files(
    files: Sequence[FileWeights],
    given: FileSettings,
    *,
    start: Weights | None = None,
    methods: Sequence[AveragingMethod] | None = None,
    margin: float = 0.005,
    force: bool = False,
    on_step: OnStep | None = None,
    on_note: Callable[[str], None] | None = None,
) -> AverageOfFiles:
    """Say whether networks stored in files can be averaged, and average them.

    Images are divided as in a study (by that of the files, where their metadata name it): validation images decide,
    test images prove, batch norm is estimated anew on training images. The same files in another order give the same
    average, to the last bit.

    Args:
        files: two or more of one architecture with heads of one size.
        given: images, and what the files do not say of themselves.
        start: what the networks were fine-tuned from.
        methods: as of :func:`~transferscope.methods.averaging.advice.average_networks`, with ``margin`` and ``force``.
    """
    paths = [Path(weights.path) for weights in files]
    facts = facts_of(paths[0], paths[0], given.image_size)
    for other in paths[1:]:
        facts = {**facts_of(paths[0], other, given.image_size), **facts}
    architecture = architecture_of(paths[0], paths[-1], given.model, facts)
    found_in = [network_of(weights, architecture) for weights in files]
    networks, remarks = [network for network, _ in found_in], [text for _, texts in found_in for text in texts]
    classes = _classes(networks, architecture, paths)
    origin = None
    if start is not None:
        pretrained = start_of(start, architecture, classes)
        origin = AverageStart(pretrained.network, None if pretrained.own_head else pretrained.head)
        remarks += pretrained.remarks
    if on_note is not None:
        for remark in remarks:
            on_note(remark)
    size = image_size_of(architecture, facts, given.image_size)
    check_size(networks[0], architecture, size)
    where = resolve_device(given.device)
    with stored_images(given.data, size, architecture, facts, paths[0], where, on_note) as found:
        check_classes(found.images, classes)
        advice = average_networks(
            networks,
            AverageData(
                found.batches("validation"),
                found.batches("test"),
                found.batches("validation", _LOCATED_IMAGES),
                {
                    "validation": found.clusters("validation"),
                    "test": found.clusters("test"),
                    "located": found.clusters("validation", _LOCATED_IMAGES),
                },
            ),
            Evaluation(recompute_on=found.batches("train", _STATISTICS_IMAGES), metric=found.metric, device=where),
            names=_names(paths),
            start=origin,
            methods=methods,
            margin=margin,
            head=head_name(networks[0], architecture),
            force=force,
            on_step=on_step,
        )
        advice = replace(advice, notes=(*found.notes("test"), *remarks))
        told = {} if advice.made is None else _metadata(advice, found, architecture, paths, origin)
        return AverageOfFiles(advice, told)


def _classes(networks: Sequence[Any], architecture: Architecture, paths: Sequence[Path]) -> int:
    counts = [classes_of(network, architecture) for network in networks]
    for path, count in zip(paths, counts, strict=True):
        if count != counts[0]:
            raise WeightsError(
                f"the network of {path} tells other classes apart: heads of two sizes have no average",
                expected=f"{counts[0]} classes, as of {paths[0]}",
                got=f"{count} classes",
                hint="give networks trained for the same classes",
            )
    return counts[0]


def _names(paths: Sequence[Path]) -> list[str]:
    """File names, as far as they tell the files apart; else whole paths."""
    names = [path.name for path in paths]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]


def _metadata(
    advice: AverageAdvice,
    found: StoredImages,
    architecture: Architecture,
    paths: Sequence[Path],
    start: AverageStart | None,
) -> dict[str, str]:
    """What the average's file says of itself: how it is used, and where it comes from."""
    made = advice.made
    assert made is not None
    said = [read_metadata(path) for path in paths]
    shared = {
        name: said[0][name] for name in _SHARED if name in said[0] and all(of.get(name) == said[0][name] for of in said)
    }
    best = advice.members[advice.best]

    def measured(split: str) -> dict[str, object]:
        gain = {"validation": made.gain, "test": made.proof}[split]
        return {
            "split": split,
            "examples": advice.examples[split],
            "metric": made.average.scores[split].metric,
            "best_single": best.scores[split].metric,
            "gain": gain.value,
            "low": gain.low,
            "high": gain.high,
            "confidence": gain.confidence,
        }

    provenance = {
        "writer_version": version("transferscope"),
        "answer": advice.answer,
        "reason": advice.reason,
        "forced": advice.chosen is None,
        "needs": advice.needs,
        "method": made.average.method,
        # In the order of their content: the same networks in another order are the same average.
        "members": sorted(
            (
                {
                    "file": Path(member.name).name,
                    "content": member.content,
                    "share": share,
                    "aligned": member.correspondence is not None and member.correspondence.aligned,
                    "best": place == advice.best,
                }
                for place, (member, share) in enumerate(zip(advice.members, made.average.shares, strict=True))
            ),
            key=lambda item: (str(item["content"]), str(item["file"])),
        ),
        "start_share": made.average.start_share,
        "start": None if start is None else state_hash(start.network.state_dict()),
        "metric": advice.metric_name,
        "margin": advice.margin,
        "looked_at": advice.looked_at,
        "promised_regret": None
        if advice.regret is None
        else {
            "value": advice.regret.interval.value,
            "below_with_90_percent": advice.regret.interval.high,
            "probability_best": advice.regret.probability_best,
        },
        "proved_regret": advice.proved_regret,
        "decided_on": measured("validation"),
        "proved_on": measured("test"),
        "batch_norm": advice.batch_norm,
        "data": found.images.fingerprint,
    }
    prepared = {name: value if isinstance(value, str) else json.dumps(value) for name, value in found.prepared.items()}
    return {
        **shared,
        **prepared,
        "architecture": json.dumps(architecture.model_dump(mode="json"), sort_keys=True),
        "classes": str(len(found.images.classes)),
        "averaged": json.dumps(provenance, sort_keys=True),
    }
