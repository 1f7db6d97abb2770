"""Starts that are made of pre-trained weights: controls and transplants, as the context gives them."""

import pytest
import torch

from tests.running.tiny import NAME, bound, pretrained
from transferscope.data.batches import evaluation_batches
from transferscope.data.stratified_shuffle import stratified_shuffle
from transferscope.errors import DataError, WeightsError
from transferscope.frozen import derive_seed
from transferscope.networks.architectures import build
from transferscope.networks.batchnorm import recompute
from transferscope.networks.controls import CONTROL_METHODS, initialise
from transferscope.networks.transplants import transplant
from transferscope.specs.architecture import Architecture
from transferscope.specs.network import STATISTICS_IMAGES, Control, Transplant

HEAD = ("head.weight", "head.bias")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return bound(tmp_path_factory.mktemp("starts"))


def spec(study, start, seed=0):
    return study.trained("P_T", seed, 0.05).model_copy(update={"start": start})


@pytest.mark.parametrize("method", CONTROL_METHODS)
def test_a_control_has_the_head_of_both_variants_and_the_weights_of_neither(tiny, method):
    study, _, context = tiny
    for seed in (0, 1):
        found = context.start(spec(study, Control(of=study.pretrained, method=method), seed)).state_dict()
        p, ri = (context.start(study.untrained(variant, seed)).state_dict() for variant in ("P", "RI"))
        for name in HEAD:
            assert torch.equal(found[name], p[name])
            assert torch.equal(found[name], ri[name])
        for name in ("stem.0.weight", "block.0.weight"):
            assert not torch.equal(found[name], p[name])
            assert not torch.equal(found[name], ri[name])


def test_a_control_is_the_pre_trained_network_treated_from_the_network_seed(tiny):
    study, _, context = tiny
    found = context.start(spec(study, Control(of=study.pretrained, method="spectrum"), 1))
    expected = context.start(study.untrained("P", 1))
    initialise(expected, "spectrum", 1, "head")
    for name, value in expected.named_parameters():
        assert torch.equal(value, dict(found.named_parameters())[name]), name


@pytest.mark.parametrize(
    "start",
    [lambda origin: Control(of=origin, method="permuted"), lambda origin: Transplant(of=origin, modules=("stem",))],
    ids=["control", "transplant"],
)
def test_statistics_are_those_of_the_training_images(tiny, start):
    study, _, context = tiny
    network = spec(study, start(study.pretrained))
    found = context.start(network)
    expected = build(Architecture(name=NAME), 2, 0)
    expected.load_state_dict(found.state_dict())
    images = context.images()
    seed = derive_seed(study.data.splits.seed, "statistics")
    indices = stratified_shuffle(images.labels, context.splits()["train"], seed, STATISTICS_IMAGES)
    recompute(expected, evaluation_batches(images, indices, study.data.mean, study.data.std, 64))
    for name, value in expected.named_buffers():
        assert torch.allclose(value, dict(found.named_buffers())[name], atol=1e-6), name
    assert float(found.stem[1].running_var.sub(1).abs().max()) > 1e-3
    # Made again, or looked at before its training, it is the same network.
    for again in (context.start(network), context.start(network.untrained()), context.network(network.untrained())):
        for name, value in again.state_dict().items():
            assert torch.equal(value, found.state_dict()[name]), name
    assert context.state(network, 0).keys() == found.state_dict().keys()


def test_a_transplant_is_random_but_for_its_modules(tiny):
    study, _, context = tiny
    found = context.start(spec(study, Transplant(of=study.pretrained, modules=("block",)), 1)).state_dict()
    p, ri = (context.start(study.untrained(variant, 1)) for variant in ("P", "RI"))
    transplant(ri, p.state_dict(), ["block"], "stage", "head")
    parameters = dict(ri.named_parameters())
    assert set(parameters) == {name for name in found if "running" not in name and "batches" not in name}
    for name, value in parameters.items():
        assert torch.equal(found[name], value), name


def test_an_untrained_start_without_images_is_an_error(tiny):
    study, _, context = tiny
    start = Control(of=study.pretrained, method="permuted")
    network = study.untrained("P", 0).model_copy(update={"start": start})
    with pytest.raises(DataError, match="no images to estimate its statistics on"):
        context.start(network)


def test_changed_weights_are_noticed(tiny):
    study, _, context = tiny
    origin = study.pretrained.model_copy(update={"sha256": "0" * 64})
    for start in (Control(of=origin, method="permuted"), Transplant(of=origin, modules=("stem",))):
        with pytest.raises(WeightsError, match="the weights changed since the study was started"):
            context.start(spec(study, start))


def test_a_pre_trained_head_is_treated_where_it_fits_and_is_wanted(tiny):
    study, _, context = tiny
    origin = study.pretrained.model_copy(update={"new_head": False})
    start = Control(of=origin, method="permuted", new_head=False)
    # The file's head has five classes: with five it is P's, permuted; with two it is drawn.
    five = spec(study, start).untrained().model_copy(update={"classes": 5})
    whole = five.model_copy(update={"start": origin})
    kept, head = (context.start(item).state_dict()["head.weight"] for item in (five, whole))
    assert torch.equal(kept.flatten().sort().values, head.flatten().sort().values)
    assert not torch.equal(kept, head)
    two, ri = (context.start(item).state_dict() for item in (spec(study, start), study.untrained("RI", 0)))
    assert torch.equal(two["head.weight"], ri["head.weight"])


def test_a_control_of_a_pre_training_of_our_own(tmp_path):
    study, _, context = bound(tmp_path, pretrained(tmp_path, checkpoint=0))
    network = spec(study, Control(of=study.pretrained, method="permuted"))
    assert [parent.trained for parent in network.parents] == [False]
    values = context.start(network).stem[0].weight.detach().flatten().sort().values
    former = context.start(network.parents[0]).stem[0].weight.detach().flatten().sort().values
    assert torch.equal(values, former)
