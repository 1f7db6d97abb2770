"""Compare two files of weights on a folder of images: what ``transferscope compare`` does."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from transferscope.files.images import image_size_of, stored_images
from transferscope.files.networks import (
    FileSettings,
    architecture_of,
    check_classes,
    check_size,
    classes_of,
    facts_of,
    network_of,
)
from transferscope.methods.compare.behaviour import forgetting
from transferscope.methods.compare.compare import OnStep, PathGrid, compare
from transferscope.methods.compare.comparison import Comparison
from transferscope.methods.compare.weights import compare_weights
from transferscope.methods.evaluation import Evaluation
from transferscope.networks.evaluate import resolve_device
from transferscope.networks.heads import head_name
from transferscope.networks.stored_tensors import StoredTensors
from transferscope.specs.architecture import FileWeights

_STATISTICS_IMAGES = 1024


def compare_files(
    a: FileWeights,
    b: FileWeights,
    given: FileSettings,
    *,
    old_head: FileWeights | None = None,
    ranks: bool = True,
    path: PathGrid = PathGrid(),
    on_step: OnStep | None = None,
    on_note: Callable[[str], None] | None = None,
) -> Comparison:
    """Compare two networks stored in files, on the test images of a folder.

    The images' classes are those of the first network; a second one with a head of another size is compared in its
    trunk alone.

    Images are divided as in a study: batch-norm statistics are recomputed on training images, everything else is
    measured on test images. The division is that of the study the networks were trained by, where their metadata name
    it, else a study's default. Images that cannot be read are left out. How many images were used, and of what size, is
    in the result's notes.

    Args:
        given: images, and what the files do not say of themselves.
        old_head: a file whose head stands for that of a where it is measured what the trunk of b has forgotten.
        ranks: also the ranks of every change of the weights.
    """
    files = (Path(a.path), Path(b.path))
    facts = facts_of(*files, given.image_size)
    architecture = architecture_of(*files, given.model, facts)
    found_in = [network_of(weights, architecture) for weights in (a, b)]
    networks, remarks = [network for network, _ in found_in], tuple(text for _, texts in found_in for text in texts)
    if on_note is not None:
        for remark in remarks:
            on_note(remark)
    old = None if old_head is None else network_of(old_head, architecture)
    size = image_size_of(architecture, facts, given.image_size)
    check_size(networks[0], architecture, size)
    where = resolve_device(given.device)
    with stored_images(given.data, size, architecture, facts, files[0], where, on_note) as found:
        classes = [classes_of(network, architecture) for network in networks]
        check_classes(found.images, classes[0], f" (and {classes[1]} of the second network)")
        if old is not None:
            check_classes(found.images, classes_of(old[0], architecture), " (of the old head)")
        compared = compare(
            networks[0],
            networks[1],
            found.batches("test"),
            Evaluation(recompute_on=found.batches("train", _STATISTICS_IMAGES), metric=found.metric, device=where),
            clusters=found.clusters("test"),
            head=head_name(networks[0], architecture),
            path=path,
            on_step=on_step,
        )
        head = head_name(networks[0], architecture)
        lost = forgetting(
            networks[0],
            networks[1],
            head,
            found.batches("test"),
            Evaluation(metric=found.metric, device=where),
            old=None if old is None else old[0],
            clusters=found.clusters("test"),
        )
        states = [StoredTensors(network.state_dict()) for network in networks]
        weights = compare_weights(*states, ranks=ranks, on_step=on_step)
        return replace(compared, notes=(*found.notes("test"), *remarks), forgetting=lost, weights=weights)
