"""Frozen first modules run once: equal to training without it, to the bit; where it cannot be, the record says why."""

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from tests.training.conftest import Tiny, spec, tiny
from tests.training.small_trainings import run, same
from transferscope.errors import ModuleNameError, StopRequested
from transferscope.specs.pretraining import VariantRecipe
from transferscope.specs.recipe import Recipe
from transferscope.training.objective import PrefixBudget, WholeNetwork

PLAIN = {"flip": False, "crop_padding": 0}
FROZEN = {"module_rates": {"stem": 0.0}, "augmentation": PLAIN, "epochs": 3}


def both(images, splits, folder, model=tiny, views=1, options=None, **recipe):
    """The same training without and with what was kept."""
    without = run(images, splits, folder / "without", model(), **recipe)
    kept = run(images, splits, folder / "kept", model(), prefix_views=views, options=options, **recipe)
    return without, kept


def assert_equal(first, second):
    assert same(first.state, second.state)
    assert first.history.equals(second.history)


@pytest.mark.parametrize(
    ("frozen", "memory_format"),
    [
        ({"stem": 0.0}, "contiguous"),
        ({"stem": 0.0}, "channels_last"),
        ({"stem": 0.0, "block.0": 0.0}, "contiguous"),
        ({"": 0.0, "head": 1.0}, "channels_last"),
    ],
)
def test_without_augmentation_it_is_frozen_training_to_the_bit(images, splits, tmp_path, frozen, memory_format):
    settings = FROZEN | {"module_rates": frozen, "memory_format": memory_format, "keep": "all"}
    without, kept = both(images, splits, tmp_path, **settings)
    assert_equal(without, kept)
    assert without.prefix is None
    assert (kept.prefix.kept, kept.prefix.views, kept.prefix.to_the_bit) == ("memory", 1, True)
    assert kept.prefix.before == ("block.1" if "block.0" in frozen else "head" if "" in frozen else "block")
    assert kept.prefix.why is None
    assert {e: p.read_bytes() for e, p in without.checkpoints.items()} == {
        e: p.read_bytes() for e, p in kept.checkpoints.items()
    }


def test_with_all_that_a_recipe_can_have(images, splits, tmp_path):
    settings = FROZEN | {
        "optimiser": "adamw", "schedule": "one_cycle", "learning_rate": 0.01, "label_smoothing": 0.1,
        "gradient_clip": 1.0, "module_rates": {"stem": 0.0, "block": 0.1}, "train_evaluation": 20,
    }  # fmt: skip
    without, kept = both(images, splits, tmp_path, lambda: tiny(dropout=0.5), **settings)
    assert kept.prefix.kept == "memory"
    assert_equal(without, kept)


def test_as_many_views_as_epochs_are_ordinary_augmentation_to_the_bit(images, splits, tmp_path):
    settings = FROZEN | {"augmentation": {"flip": True, "crop_padding": 2}}
    without, kept = both(images, splits, tmp_path, views=3, **settings)
    assert (kept.prefix.views, kept.prefix.to_the_bit) == (3, True)
    assert_equal(without, kept)


def test_fewer_views_come_again_and_what_is_kept_decides_nothing(images, splits, tmp_path):
    """The recipe says how many views there are; a budget says only whether they are kept."""
    settings = FROZEN | {"augmentation": {"flip": True, "crop_padding": 2}, "epochs": 4}
    without, kept = both(images, splits, tmp_path, views=2, **settings)
    assert not same(without.state, kept.state)

    def none(model, optimiser):
        return WholeNetwork(model, optimiser, PrefixBudget(0, 0))

    full = run(images, splits, tmp_path / "full", options={"objective": none}, prefix_views=2, **settings)
    assert full.prefix.kept == "none"
    assert "compute.prefix_memory is 0 MiB" in full.prefix.why
    assert_equal(full, kept)


def test_a_mapped_file_where_memory_is_not_enough(images, splits, tmp_path):
    def on_disk(model, optimiser):
        return WholeNetwork(model, optimiser, PrefixBudget(0, 100))

    without, kept = both(images, splits, tmp_path, options={"objective": on_disk}, **FROZEN)
    assert (kept.prefix.kept, kept.prefix.to_the_bit) == ("file", True)
    assert kept.prefix.megabytes == pytest.approx(50 * 8 * 12 * 12 * 4 / 1e6, abs=1e-3)
    assert_equal(without, kept)
    assert not list((tmp_path / "kept").glob("prefix*"))


def test_an_interrupted_training_ends_the_same(images, splits, tmp_path):
    settings = FROZEN | {"augmentation": {"flip": True, "crop_padding": 1}, "epochs": 4, "prefix_views": 2}
    whole = run(images, splits, tmp_path / "whole", **settings)
    calls = iter(range(1000))
    with pytest.raises(StopRequested):
        run(images, splits, tmp_path / "x", options={"stop_requested": lambda: next(calls) > 16}, **settings)
    assert_equal(whole, run(images, splits, tmp_path / "x", **settings))


@pytest.mark.parametrize("views", [None, 1])
def test_statistics_and_weights_of_what_is_frozen_do_not_move(images, splits, tmp_path, views):
    model = tiny()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    training = run(images, splits, tmp_path, model, prefix_views=views, **FROZEN)
    after = training.state
    assert {name for name in before if not torch.equal(before[name], after[name])} == {
        name for name in before if not name.startswith("stem")
    }


def test_what_is_trained_runs_in_train_mode_and_what_is_kept_runs_once(images, splits, tmp_path):
    model = tiny()
    seen = {"stem": [], "block": []}
    for name, modes in seen.items():
        norm = getattr(model, name)[1]
        norm.register_forward_hook(lambda module, *_, modes=modes: modes.append(module.training))
    run(images, splits, tmp_path, model, prefix_views=1, **FROZEN)
    assert not any(seen["stem"])
    assert sum(seen["block"]) >= 3 * 7
    # Tracing, filling, checking and evaluating once; three epochs of full passes alone would be 21 and 4 × 3 more.
    few = len(seen["stem"])
    again = tiny()
    count = []
    again.stem[0].register_forward_hook(lambda *_: count.append(1))
    run(images, splits, tmp_path / "long", again, prefix_views=1, **(FROZEN | {"epochs": 9}))
    assert len(count) == few


class Draws(Tiny):
    """Dropout between the modules, outside of what is frozen."""

    def forward(self, images):
        return self.head(self.block(self.dropout(self.stem(images))).mean((2, 3)))


class OtherImages(Tiny):
    """The values of an image hang on the others of its batch."""

    def forward(self, images):
        seen = self.stem(images)
        return self.head(self.block(seen - seen.mean(0, keepdim=True)).mean((2, 3)))


class Everything(Tiny):
    """No place of it hides what came before."""

    def forward(self, images):
        outside = images.mean((1, 2, 3))[:, None]
        return self.head(self.block(self.stem(images)).mean((2, 3))) * float(outside.sum()) ** 0


class ByMode(Tiny):
    """Another function in train mode, outside of its modules."""

    def forward(self, images):
        seen = self.stem(images)
        return self.head(self.block(-seen if self.training else seen).mean((2, 3)))


def built(kind, **settings):
    def make():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            return kind(**settings)

    return make


@pytest.mark.parametrize(
    ("model", "settings", "why"),
    [
        (built(Draws, dropout=0.5), {"module_rates": {"stem": 0.0, "block": 0.0}}, "random numbers"),
        (built(OtherImages), {"module_rates": {"stem": 0.0, "block": 0.0}}, "other images"),
        (built(Everything), {}, "cannot be cut"),
        (built(ByMode), {}, "train mode"),
        (tiny, {"mixup": 0.4}, "mixup"),
        (tiny, {"module_rates": {"block": 0.0}}, "nothing that is frozen lies before"),
        (tiny, {"module_rates": {"stem.1": 0.0}}, "nothing that is frozen lies before"),
        (tiny, {"module_rates": {"head": 0.0}}, "nothing that is frozen lies before"),
        (tiny, {"module_rates": {"": 1.0}}, "nothing that is frozen lies before"),
    ],
)
def test_where_it_cannot_be_every_update_is_a_full_pass_and_the_record_says_why(
    images, splits, tmp_path, model, settings, why
):
    events = []
    options = {"on_event": events.append}
    without, kept = both(images, splits, tmp_path, model, options=options, **(FROZEN | settings))
    assert kept.prefix.kept == "none"
    assert why in kept.prefix.why
    assert_equal(without, kept)
    assert [event["text"] for event in events if event["kind"] == "note"] == [kept.prefix.text]


def test_frozen_modules_behind_trained_ones_are_named(images, splits, tmp_path):
    without, kept = both(images, splits, tmp_path, **(FROZEN | {"module_rates": {"stem": 0.0, "head": 0.0}}))
    assert kept.prefix.before == "block"
    assert kept.prefix.why == "run each time although frozen: head"
    assert_equal(without, kept)


@pytest.mark.parametrize("batch_size", [2, 64])
def test_the_smallest_batches_and_one_of_all_images(images, splits, tmp_path, batch_size):
    without, kept = both(images, splits, tmp_path, **(FROZEN | {"batch_size": batch_size, "epochs": 1}))
    assert (kept.prefix.kept, kept.prefix.to_the_bit) == ("memory", True)
    assert_equal(without, kept)


def test_bfloat16(images, splits, tmp_path):
    without, kept = both(images, splits, tmp_path, **(FROZEN | {"precision": "bfloat16"}))
    assert kept.prefix.kept == "memory"
    if kept.prefix.to_the_bit:
        assert_equal(without, kept)


def test_a_token_in_front_of_all_modules(images, splits, tmp_path):
    """A parameter on the network itself is frozen by its own name."""
    import timm

    def vit():
        torch.manual_seed(0)
        return timm.create_model(
            "vit_tiny_patch16_224", img_size=12, patch_size=4, embed_dim=24, depth=3, num_heads=2, num_classes=2
        )

    names = ("cls_token", "pos_embed", "patch_embed", "blocks.0", "blocks.1")
    settings = FROZEN | {"module_rates": dict.fromkeys(names, 0.0), "learning_rate": 0.01}
    without, kept = both(images, splits, tmp_path, vit, **settings)
    assert (kept.prefix.kept, kept.prefix.before) == ("memory", "blocks.2")
    if kept.prefix.to_the_bit:
        assert_equal(without, kept)
    with pytest.raises(ModuleNameError, match="cls_tokn"):
        run(images, splits, tmp_path / "no", vit(), **(settings | {"module_rates": {"cls_tokn": 0.0}}))


def test_keys_are_as_they_were_and_views_are_at_least_one():
    assert "prefix_views" not in Recipe(learning_rate=0.1, epochs=1).identity()
    assert "prefix_views" not in VariantRecipe().identity()
    assert spec(prefix_views=1).key != spec().key
    assert VariantRecipe(prefix_views=2).key != VariantRecipe().key
    for kind in (Recipe, VariantRecipe):
        with pytest.raises(ValidationError, match="prefix_views"):
            kind(**{"learning_rate": 0.1} if kind is Recipe else {}, epochs=1, prefix_views=0)


class Looks(Tiny):
    """Its code looks at what it is given, so that no graph of it can be made: it is replayed."""

    def forward(self, images):
        if images.shape[1] != 3:
            raise ValueError("colours")
        return super().forward(images)


def test_a_network_without_a_graph(images, splits, tmp_path):
    without, kept = both(images, splits, tmp_path, built(Looks, dropout=0.5), **FROZEN)
    assert (kept.prefix.kept, kept.prefix.before, kept.prefix.to_the_bit) == ("memory", "block", True)
    assert_equal(without, kept)


def test_in_place_after_the_cut(images, splits, tmp_path):
    def model():
        network = tiny()
        network.block = nn.Sequential(nn.ReLU(inplace=True), *network.block)
        return network

    assert_equal(*both(images, splits, tmp_path, model, **FROZEN))
