"""What the key of a network hangs on, and what it does not; parents; JSON."""

from typing import Any

import pytest
from pydantic import ValidationError

import transferscope.specs.network as specs
from transferscope.data.sources.arrays import Arrays
from transferscope.data.spec import DataSpec
from transferscope.frozen import content_key
from transferscope.specs.architecture import FileWeights, PackageWeights
from transferscope.specs.network import Checkpoint, File, NetworkSpec, Random
from transferscope.specs.recipe import TRAINER_VERSION, Recipe

DATA = DataSpec(source=Arrays(images="/here/images.npy"), fingerprint="f" * 64, image_size=32)
RECIPE = Recipe(learning_rate=0.01, epochs=3)


def spec(**changes: Any) -> NetworkSpec:
    settings = {"architecture": "timm:resnet18", "classes": 2, "start": Random(), "seed": 1}
    return NetworkSpec.model_validate(settings | changes)


def trained(**changes: Any) -> NetworkSpec:
    return spec(**{"data": DATA, "recipe": RECIPE, **changes})


def test_a_key_is_the_hash_of_what_was_asked_for() -> None:
    network = spec(start=File(weights=PackageWeights(name="efficientnet-lite0"), sha256="a" * 64))
    assert network.identity()["start"] == {"kind": "file", "sha256": "a" * 64, "new_head": True}
    assert network.key == content_key(network.identity())
    assert trained().identity()["trainer"] == TRAINER_VERSION
    assert trained(start=Checkpoint(of=trained())).identity()["start"]["of"] == trained().key


def test_what_came_later_is_no_part_of_a_key_where_it_is_not_asked_for() -> None:
    assert not {"ablation", "class_sizes", "repeats"} & set(DATA.identity())


def test_where_something_lies_is_not_what_it_is() -> None:
    moved = DATA.model_copy(update={"source": Arrays(images="/elsewhere/x.npy")})
    assert trained(data=moved).key == trained().key
    files = [File(weights=FileWeights(path=path), sha256="a" * 64) for path in ("/here.pt", "/there.safetensors")]
    assert spec(start=files[0]).key == spec(start=files[1]).key
    assert trained(start=Checkpoint(of=trained(data=moved))).key == trained(start=Checkpoint(of=trained())).key


@pytest.mark.parametrize(
    "changes",
    [
        {"architecture": "timm:resnet34"},
        {"architecture": {"name": "timm:resnet18", "options": {"drop_rate": 0.1}}},
        {"classes": 3},
        {"seed": 2},
        {"start": File(weights=FileWeights(path="/here.pt"), sha256="a" * 64)},
        {"start": File(weights=FileWeights(path="/here.pt"), sha256="b" * 64)},
        {"start": File(weights=FileWeights(path="/here.pt"), sha256="a" * 64, new_head=False)},
        {"start": Checkpoint(of=trained(seed=5))},
        {"start": Checkpoint(of=trained(seed=6))},
        {"start": Checkpoint(of=trained(seed=5), epoch=1)},
        {"start": Checkpoint(of=trained(seed=5), new_head=False)},
        {"data": DATA.model_copy(update={"fingerprint": "0" * 64})},
        {"data": DATA.model_copy(update={"image_size": 64})},
        {"data": DATA.model_copy(update={"class_sizes": (3, 4)})},
        {"data": DATA.model_copy(update={"class_sizes": (4, 3)})},
        {"data": DATA.model_copy(update={"repeats": 2})},
        {"data": DATA.model_copy(update={"fraction": 0.5})},
        {"recipe": RECIPE.model_copy(update={"learning_rate": 0.02})},
        {"recipe": RECIPE.model_copy(update={"memory_format": "channels_last"})},
        {"data": None, "recipe": None},
    ],
)
def test_what_is_asked_for_changes_the_key(changes: dict[str, Any]) -> None:
    assert trained(**changes).key != trained().key


def test_no_two_of_these_are_the_same() -> None:
    keys = [
        network.key
        for start in (Random(), *(Checkpoint(of=trained(seed=5), epoch=epoch) for epoch in (0, 1, "last", "best")))
        for network in (spec(start=start), trained(start=start))
    ]
    assert len(set(keys)) == len(keys)


def test_the_trainers_version_is_part_of_trained_keys_and_of_their_childrens(monkeypatch: pytest.MonkeyPatch) -> None:
    child = spec(start=Checkpoint(of=trained()))
    before = [trained().key, child.key, spec().key]
    monkeypatch.setattr(specs, "TRAINER_VERSION", TRAINER_VERSION + 1)
    after = [trained().key, child.key, spec().key]
    assert [old == new for old, new in zip(before, after, strict=True)] == [False, False, True]


def test_json_and_back() -> None:
    for network in (spec(), trained(), trained(start=Checkpoint(of=trained(seed=5), epoch="best"))):
        again = NetworkSpec.model_validate_json(network.model_dump_json())
        assert again == network
        assert again.key == network.key


def test_parents_and_ancestors() -> None:
    oldest = trained(seed=1)
    middle = trained(seed=2, start=Checkpoint(of=oldest))
    young = spec(seed=3, start=Checkpoint(of=middle))
    assert spec().parents == trained().ancestors == ()
    assert young.parents == (middle,)
    assert young.ancestors == (oldest, middle)
    # Of epoch 0 only the start is needed, and what that starts from.
    start = spec(start=Checkpoint(of=middle, epoch=0))
    assert start.parents == (middle.untrained(),)
    assert start.ancestors == (oldest, middle.untrained())
    assert [network.trained for network in start.ancestors] == [True, False]


def test_untrained_is_the_start_of_the_same_seed() -> None:
    assert trained().untrained() == spec()
    assert not spec().trained
    assert trained().trained


@pytest.mark.parametrize("half", [{"data": DATA}, {"recipe": RECIPE}])
def test_data_and_recipe_come_together(half: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="needs both data and recipe"):
        spec(**half)


@pytest.mark.parametrize(("of", "epoch"), [(trained(), 4), (spec(), 1)])
def test_an_epoch_beyond_the_end_is_named(of: NetworkSpec, epoch: int) -> None:
    with pytest.raises(ValidationError, match=f"there is no epoch {epoch}: the network is trained for"):
        Checkpoint(of=of, epoch=epoch)
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        Checkpoint(of=of, epoch=-1)
    Checkpoint(of=of, epoch=0)
