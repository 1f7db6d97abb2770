"""Keys stand for what is asked for: those of networks that exist already never change."""

import pytest

from transferscope.data.sources.arrays import Arrays
from transferscope.data.spec import DataSpec
from transferscope.specs.architecture import FileWeights
from transferscope.specs.network import Checkpoint, Control, File, NetworkSpec, Random, Transplant
from transferscope.specs.recipe import Recipe

DATA = DataSpec(source=Arrays(images="images.npy"), fingerprint="0" * 64, image_size=12)
RECIPE = Recipe(learning_rate=0.05, epochs=2, batch_size=8)
PRETRAINED = File(weights=FileWeights(path="w.safetensors"), sha256="1" * 64)
RI_T = NetworkSpec(architecture="timm:resnet18", classes=2, start=Random(), seed=3, data=DATA, recipe=RECIPE)


def network(start, trained=True, seed=1):
    data = {"data": DATA, "recipe": RECIPE} if trained else {}
    return NetworkSpec(architecture="timm:resnet18", classes=2, start=start, seed=seed, **data)


@pytest.mark.parametrize(
    ("spec", "key"),
    [
        (network(Random(), trained=False, seed=0), "e5046e434079bd3157940cbf6e129c5b"),
        (network(PRETRAINED, trained=False, seed=0), "42c1d678c4abb7c79263356c3094eb49"),
        (RI_T, "5da7a2758c8f536b52ee048e0dfc0907"),
        (network(Checkpoint(of=RI_T, epoch="best")), "58d9f93479a654cbca808744ad61b7b9"),
    ],
)
def test_golden_keys(spec, key):
    assert spec.key == key


def test_every_choice_of_a_control_is_part_of_the_key():
    kept = File(weights=PRETRAINED.weights, sha256=PRETRAINED.sha256, new_head=False)
    other = File(weights=PRETRAINED.weights, sha256="2" * 64)
    starts = [
        PRETRAINED,
        *(Control(of=PRETRAINED, method=name) for name in ("mean-var", "permuted", "filter-permuted", "spectrum")),
        Control(of=other, method="permuted"),
        Control(of=kept, method="permuted"),
        Control(of=kept, method="permuted", new_head=False),
        Control(of=Checkpoint(of=RI_T), method="permuted"),
        Control(of=Checkpoint(of=RI_T, epoch="best"), method="permuted"),
        Transplant(of=PRETRAINED, modules=("a",)),
        Transplant(of=PRETRAINED, modules=("a", "b")),
        Transplant(of=PRETRAINED, modules=("a",), granularity="block"),
        Transplant(of=other, modules=("a",)),
    ]
    assert len({network(start).key for start in starts}) == len(starts)


def test_where_weights_lie_is_not_part_of_the_key_of_a_control():
    moved = File(weights=FileWeights(path="elsewhere.pt"), sha256=PRETRAINED.sha256)
    assert network(Control(of=moved, method="spectrum")).key == network(Control(of=PRETRAINED, method="spectrum")).key


def test_the_order_of_modules_does_not_matter():
    there, back = Transplant(of=PRETRAINED, modules=("b", "a", "b")), Transplant(of=PRETRAINED, modules=("a", "b"))
    assert there == back
    assert network(there).key == network(back).key


def test_a_parent_of_a_control_stands_in_it_by_its_key():
    spec = network(Control(of=Checkpoint(of=RI_T), method="permuted"))
    assert spec.identity()["start"]["of"]["of"] == RI_T.key
    assert spec.parents == spec.ancestors == (RI_T,)
    assert network(Control(of=Checkpoint(of=RI_T, epoch=0), method="permuted")).parents == (RI_T.untrained(),)
    assert network(Transplant(of=PRETRAINED, modules=("a",))).parents == ()


def test_an_untrained_control_keeps_the_images_for_its_statistics():
    spec = network(Control(of=PRETRAINED, method="permuted"))
    start = spec.untrained()
    assert start.start.data == DATA
    assert start.data is None
    assert start.untrained() == start
    assert NetworkSpec.model_validate(start.model_dump()).key == start.key


def test_specs_survive_json():
    for start in (Control(of=Checkpoint(of=RI_T), method="permuted"), Transplant(of=PRETRAINED, modules=("a",))):
        spec = network(start)
        assert NetworkSpec.model_validate_json(spec.model_dump_json()) == spec


def test_a_control_without_a_head_needs_a_pre_trained_one():
    with pytest.raises(ValueError, match="there is no pre-trained head to keep"):
        Control(of=PRETRAINED, method="permuted", new_head=False)


def test_unknown_controls_and_empty_transplants_are_errors():
    with pytest.raises(ValueError, match="mean-var"):
        Control(of=PRETRAINED, method="shuffled")
    with pytest.raises(ValueError, match="at least 1 item"):
        Transplant(of=PRETRAINED, modules=())


def test_a_trained_network_has_one_set_of_images():
    with pytest.raises(ValueError, match="takes its images from the network's own data"):
        network(Control(of=PRETRAINED, method="permuted", data=DATA))
