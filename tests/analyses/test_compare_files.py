"""``transferscope compare``: two files of weights and a folder of images."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.studies import NAME, SIZE, Trained, arrays
from transferscope.analyses.tuned import tuned_member
from transferscope.data.images import ImageSet
from transferscope.data.sources import parse_source
from transferscope.data.store import open_images
from transferscope.data.stratified_shuffle import stratified_shuffle
from transferscope.errors import ArchitectureError, DataError, WeightsError
from transferscope.files import compare as module
from transferscope.files import images as images_module
from transferscope.files.compare import compare_files
from transferscope.files.networks import FileSettings
from transferscope.methods.compare.compare import PathGrid, compare
from transferscope.methods.compare.comparison import Comparison
from transferscope.methods.evaluation import Evaluation
from transferscope.networks.architectures import build, input_stats
from transferscope.networks.weights import write_state
from transferscope.specs.architecture import Architecture, FileWeights

ARCHITECTURE = Architecture(name=NAME)
FACTS = {"architecture": json.dumps(ARCHITECTURE.model_dump(mode="json")), "image_size": str(SIZE)}


def compared(a: object, b: object, *, points: int = 13, fast: bool = False, refine=0.021, **settings) -> Comparison:
    files = [FileWeights(path=str(path)) for path in (a, b)]
    return compare_files(*files, FileSettings(**settings), path=PathGrid(points=points, refine=refine, fast=fast))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """One folder for each of three classes."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for k in range(3):
        (folder / f"class{k}").mkdir()
        for number in range(20):
            pixels = rng.integers(0, 120, (SIZE, SIZE, 3)) + 100 * np.eye(3, dtype=int)[k]
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"class{k}" / f"{number:02d}.png")
    return folder


def file(folder: Path, name: str, *, seed: int = 0, classes: int = 3, **facts: str) -> Path:
    path = folder / f"{name}.safetensors"
    write_state(path, build(ARCHITECTURE, classes, seed).state_dict(), facts)
    return path


def test_networks_of_a_study_with_code_need_its_name_beside_their_files(trained: Trained, monkeypatch) -> None:
    """Size and normalisation come from the metadata, code from the caller; the images are divided as in the study."""
    members = [tuned_member(trained.study, "P_T", seed, trained.evidence) for seed in (0, 1)]
    paths = [trained.context.store.entry("networks", m.spec.key).path("weights.safetensors") for m in members]
    found = compared(*paths, model=NAME, data=trained.study.data.source, points=3, refine=None, device="cpu")
    context = trained.context
    for member, value in zip(members, found.metrics, strict=True):
        outputs = context.outputs(member.spec, "test")
        assert value == pytest.approx(float((outputs.logits.argmax(1) == outputs.labels).double().mean()))
    own = [context.network(member.spec) for member in members]
    literal = compare(
        *own,
        context.mixed_batches("test", None, 128),
        evaluation=Evaluation(recompute_on=context.mixed_batches("train", None, 128), device="cpu"),
        path=PathGrid(points=3, refine=None),
    )
    assert found.distance == literal.distance
    assert found.mistakes == literal.mistakes
    assert found.path.values("held-out", "error").mean() == pytest.approx(
        literal.path.values("held-out", "error").mean(), abs=0.02
    )
    # The pictures of the tiny study come in groups: limits are over them.
    groups = set(np.asarray(context.images().groups)[context.indices("test")])
    assert found.error_barrier.mean.interval.n == len(groups)
    assert "path        error barrier" in found.text


def test_the_architecture_may_be_given(pictures: Path, tmp_path: Path) -> None:
    paths = [file(tmp_path, name, seed=seed) for seed, name in enumerate("ab")]
    found = compared(*paths, model=NAME, data=pictures, image_size=SIZE, points=3, refine=None, device="cpu")
    assert found.examples == 15
    networks = [build(ARCHITECTURE, 3, seed) for seed in (0, 1)]
    literal = sum(
        float((p.detach().double() - q.detach().double()).square().sum())
        for p, q in zip(networks[0].parameters(), networks[1].parameters(), strict=True)
    )
    assert found.distance.l2 == pytest.approx(literal**0.5, rel=1e-6)


def test_the_fast_way_is_handed_on(pictures: Path, tmp_path: Path) -> None:
    paths = [file(tmp_path, name, seed=seed, **FACTS) for seed, name in enumerate("ab")]
    found = compared(*paths, model=NAME, data=pictures, points=3, refine=None, fast=True, device="cpu")
    assert found.path.recheck is not None
    assert found.path.recheck.text in found.text


def test_what_was_measured_on_is_said(pictures: Path, tmp_path: Path) -> None:
    (one, two) = (file(tmp_path, name, seed=seed, **FACTS) for seed, name in enumerate("ab"))
    found = compared(one, two, model=NAME, data=pictures, points=2, refine=None, device="cpu")
    assert f"measured on 15 of 60 images, {SIZE} px; the files do not say that the" in found.text
    assert found.notes[1] == "classes, in the order of the outputs: class0, class1, class2"
    facts = {**FACTS, "splits": json.dumps({"seed": 3})}
    one, two = (file(tmp_path, f"other-{name}", **facts, images="those of another folder") for name in "ab")
    found = compared(one, two, model=NAME, data=pictures, points=2, refine=None, device="cpu")
    assert "the files do not say that the networks were trained on others of these images" in found.text
    images = open_images(parse_source({"kind": "folder", "path": str(pictures)}), SIZE, tmp_path / "decoded")
    one, two = (file(tmp_path, f"study-{name}", **facts, images=images.fingerprint) for name in "ab")
    found = compared(one, two, model=NAME, data=pictures, points=2, refine=None, device="cpu")
    assert f"measured on 15 of 60 images, {SIZE} px: the test images of the study that the files name" in found.text


def test_images_that_cannot_be_read_are_left_out_and_named(pictures: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    shutil.copytree(pictures, folder)
    (folder / "class1" / "07.png").write_bytes(b"no picture")
    paths = [file(tmp_path, name, **FACTS) for name in "ab"]
    found = compared(*paths, model=NAME, data=folder, points=2, refine=None, device="cpu")
    assert "of 59 images" in found.text
    assert "1 of 60 images could not be read and were left out (class1/07.png" in found.text


def test_statistics_are_of_mixed_training_images(pictures: Path, tmp_path: Path, monkeypatch) -> None:
    """A folder lists one class after the other: the first so many images would be of one class alone."""
    seen: dict[str, np.ndarray] = {}
    images: list[ImageSet] = []

    def spy(a, b, data, evaluation, **options):
        seen.update(test=data.indices, train=evaluation.recompute_on.indices)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "compare", spy)
    monkeypatch.setattr(module, "_STATISTICS_IMAGES", 12)
    opened = images_module.open_images
    monkeypatch.setattr(images_module, "open_images", lambda *a, **k: images.append(opened(*a, **k)) or images[0])
    paths = [file(tmp_path, name, **FACTS) for name in "ab"]
    with pytest.raises(KeyboardInterrupt):
        compared(*paths, model=NAME, data=pictures, device="cpu")
    labels = images[0].labels
    assert np.bincount(labels[seen["train"]]).tolist() == [4, 4, 4]
    assert len(set(labels[seen["test"]][:6])) > 1
    assert not set(seen["test"]) & set(seen["train"])


def test_the_division_of_the_study_is_kept(pictures: Path, tmp_path: Path) -> None:
    facts = {**FACTS, "splits": json.dumps({"test": 0.5, "validation": 0.2, "seed": 3})}
    paths = [file(tmp_path, name, **facts) for name in "ab"]
    assert compared(*paths, model=NAME, data=pictures, points=2, refine=None, device="cpu").examples == 30


def test_normalisation_without_metadata_is_the_architectures() -> None:
    assert input_stats(ARCHITECTURE, None) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.mark.parametrize(
    ("name", "values"),
    [("mean", ("[0.1, 0.1, 0.1]", "[0.2, 0.2, 0.2]")), ("image_size", ("16", "24")), ("splits", ('{"seed": 1}', "{}"))],
)
def test_networks_of_images_prepared_differently_are_not_compared(name, values, pictures, tmp_path) -> None:
    a, b = (file(tmp_path, k, **{**FACTS, name: value}) for k, value in zip("ab", values, strict=True))
    with pytest.raises(WeightsError, match=f"prepared differently: {name} differs"):
        compared(a, b, model=NAME, data=pictures, device="cpu")
    if name == "image_size":
        assert (
            compared(a, b, model=NAME, data=pictures, image_size=SIZE, points=2, refine=None, device="cpu").examples
            == 15
        )


def test_two_networks_of_a_known_architecture_need_nothing_but_their_files(tmp_path: Path, pictures: Path) -> None:
    known = Architecture(name="timm:test_resnet")
    facts = {"architecture": json.dumps(known.model_dump(mode="json")), "image_size": str(SIZE)}
    paths = [tmp_path / f"{name}.safetensors" for name in "ab"]
    for seed, path in enumerate(paths):
        write_state(path, build(known, 3, seed).state_dict(), facts)
    bare = compared(*paths, data=pictures, points=2, refine=None, device="cpu")
    named = compared(*paths, model=known.name, data=pictures, points=2, refine=None, device="cpu")
    assert bare.metrics == named.metrics


def test_without_an_architecture_those_that_fit_are_listed(tmp_path: Path, pictures: Path) -> None:
    own = file(tmp_path, "own")
    with pytest.raises(ArchitectureError, match="no registered architecture fits") as caught:
        compared(own, own, data=pictures, device="cpu")
    assert "package.module:function" in str(caught.value)
    import timm

    known = tmp_path / "known.safetensors"
    write_state(known, timm.create_model("mobilenetv3_small_100", num_classes=3).state_dict(), {})
    with pytest.raises(ArchitectureError, match=r"these fit by names and shapes: .*mobilenetv3_small_100") as caught:
        compared(known, known, data=pictures, device="cpu")
    assert "--model timm:mobilenetv3_small_100" in str(caught.value)


def test_metadata_that_name_no_architecture_are_named(tmp_path: Path, pictures: Path) -> None:
    for number, text in enumerate(('{"nme": "x"}', "not json")):
        broken = file(tmp_path, f"broken{number}", architecture=text)
        with pytest.raises(WeightsError, match="names no usable architecture"):
            compared(broken, broken, data=pictures, device="cpu")


def test_another_number_of_classes_is_named(tmp_path: Path, pictures: Path) -> None:
    a, b = file(tmp_path, "a", classes=5, **FACTS), file(tmp_path, "b", classes=3, **FACTS)
    with pytest.raises(DataError, match="the images do not have the network's classes") as caught:
        compared(a, b, model=NAME, data=pictures, device="cpu")
    assert "5 classes (and 3 of the second network)" in str(caught.value)
    assert "3: class0, class1, class2" in str(caught.value)


def test_a_file_of_another_architecture_is_named(tmp_path: Path, pictures: Path) -> None:
    path = tmp_path / "odd.safetensors"
    write_state(path, {"other.weight": torch.zeros(3, 4)}, {})
    with pytest.raises(WeightsError, match=r"do not fit the network(?s:.*)odd\.safetensors"):
        compared(path, path, model=NAME, data=pictures, image_size=SIZE, device="cpu")


def test_a_file_of_another_shape_is_named_with_what_it_fits(tmp_path: Path, pictures: Path) -> None:
    import timm

    good, other = file(tmp_path, "good", **FACTS), tmp_path / "other.safetensors"
    write_state(other, timm.create_model("mobilenetv3_small_100", num_classes=3).state_dict(), {})
    with pytest.raises(WeightsError, match=r"do not fit the network: the weights file .*other\.safetensors") as caught:
        compared(good, other, model=NAME, data=pictures, device="cpu")
    assert "by names and shapes the file fits timm:mobilenetv3_small_100" in str(caught.value)
    lacking = tmp_path / "lacking.safetensors"
    state = build(ARCHITECTURE, 3, 0).state_dict()
    write_state(lacking, {name: tensor for name, tensor in state.items() if not name.startswith("stem")}, {})
    with pytest.raises(WeightsError, match=r"the weights do not fit the network: .*lacking\.safetensors"):
        compared(good, lacking, model=NAME, data=pictures, device="cpu")


def test_images_of_a_size_that_the_network_does_not_take_are_named(tmp_path: Path, pictures: Path) -> None:
    import timm

    path = tmp_path / "fixed.safetensors"
    write_state(path, timm.create_model("vit_tiny_patch16_224", num_classes=3).state_dict(), {})
    with pytest.raises(ArchitectureError, match="vit_tiny_patch16_224 cannot read images of 64 × 64 pixels") as caught:
        compared(path, path, model="timm:vit_tiny_patch16_224", data=pictures, image_size=64, device="cpu")
    assert "--image-size 224" in str(caught.value)


def test_without_a_size_it_is_what_the_architecture_declares(tmp_path: Path, pictures: Path, monkeypatch) -> None:
    monkeypatch.setattr(images_module, "input_size", lambda architecture: 24)
    paths = [file(tmp_path, name) for name in "ab"]
    found = compared(*paths, model=NAME, data=pictures, points=2, refine=None, device="cpu")
    assert "images, 24 px" in found.notes[0]


def test_mixed_order_is_a_stratified_part_in_a_fixed_random_order() -> None:
    labels = np.repeat([0, 1, 2], [60, 40, 20])
    every = stratified_shuffle(labels, np.arange(120), 0)
    assert sorted(every.tolist()) == list(range(120))
    assert (
        every.tolist()
        == stratified_shuffle(labels, np.arange(120), 0).tolist()
        != stratified_shuffle(labels, np.arange(120), 1).tolist()
    )
    # Every stretch holds about its share: none of one class alone.
    assert all(len(set(labels[part])) == 3 for part in np.split(every, 6))
    part = stratified_shuffle(labels, np.arange(120), 0, 12)
    assert np.bincount(labels[part]).tolist() == [6, 4, 2]
    assert set(part) <= set(stratified_shuffle(labels, np.arange(120), 0, 60))


def test_a_last_batch_of_one_image_is_left_out_of_statistics(trained: Trained) -> None:
    context = trained.context
    count = len(context.indices("train"))
    sizes = [len(labels) for _, labels in context.mixed_batches("train", None, count - 1)]
    assert sizes == [count - 1]
    assert [len(labels) for _, labels in context.mixed_batches("train", None, count)] == [count]


def test_the_sources_files_are_written_once(tmp_path: Path) -> None:
    """The tiny source is what these tests say it is: sorted by class."""
    arrays(tmp_path, 9, 0)
    assert np.load(tmp_path / "labels.npy").tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
