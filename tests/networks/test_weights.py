import copy

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from transferscope.errors import ArchitectureError, WeightsError
from transferscope.networks.architectures import build
from transferscope.networks.known_layouts import fitting_architectures
from transferscope.networks.weight_files import write_state
from transferscope.networks.weights import load, read_state, state_hash, weights_hash
from transferscope.specs.architecture import Architecture, FileWeights, TimmWeights

RESNET = Architecture(name="timm:resnet10t")


class Wrapped(nn.Module):
    """All names of this network begin with a wrapper's prefix."""

    def __init__(self):
        super().__init__()
        self.model = net()

    def forward(self, x):
        return self.model(x)


def net(classes=3, width=4):
    return nn.Sequential(nn.Linear(2, width), nn.BatchNorm1d(width), nn.Linear(width, classes))


def values(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def unchanged(model, before):
    return all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def other(model):
    """A state of the same names and shapes, every value different."""
    return {name: tensor + 1 for name, tensor in model.state_dict().items()}


def test_everything_is_loaded():
    model = net()
    state = other(model)
    report = load(model, state, "2", new_head=False)
    assert unchanged(model, state)
    assert set(report.loaded) == set(state)
    assert (report.missing, report.unexpected, report.replaced) == ((), (), ())
    assert str(report) == "9 tensors loaded"


@pytest.mark.parametrize(("classes", "new_head"), [(3, True), (7, True), (7, False)])
def test_the_head_stays_as_drawn(classes, new_head):
    model = net(3)
    state, head = other(net(classes)), values(model[2])
    report = load(model, state, "2", new_head=new_head)
    assert unchanged(model[2], head)
    assert torch.equal(model[0].weight, state["0.weight"])
    assert report.replaced == ("2.weight", "2.bias")
    assert not set(report.replaced) & set(report.loaded)
    assert "2 of a new head (2.weight, 2.bias)" in str(report)


def test_a_file_without_head():
    model = net()
    state = {name: tensor for name, tensor in other(model).items() if not name.startswith("2.")}
    report = load(model, state, "2", new_head=True)
    assert report.missing == ("2.weight", "2.bias")
    with pytest.raises(WeightsError, match=r"only the head '2'(?s:.*)2 missing \(2.weight, 2.bias\)(?s:.*)new head"):
        load(model, state, "2", new_head=False)


def test_a_head_with_further_tensors_is_no_surprise():
    model = net()
    state = other(model) | {"2.scale": torch.ones(1)}
    assert load(model, state, "2", new_head=True).unexpected == ("2.scale",)
    with pytest.raises(WeightsError, match=r"1 unexpected \(2.scale\)"):
        load(model, state, "2", new_head=False)


def test_counters_do_not_matter():
    model = net()
    state = other(model)
    del state["1.num_batches_tracked"]
    state["9.num_batches_tracked"] = torch.tensor(1)
    state["n_averaged"] = torch.tensor(1)
    report = load(model, state, "2", new_head=False)
    assert report.missing == ("1.num_batches_tracked",)
    assert report.unexpected == ("9.num_batches_tracked", "n_averaged")


@pytest.mark.parametrize("prefix", ["module.", "model.", "_orig_mod.module."])
def test_prefixes_are_looked_through_on_both_sides(prefix):
    state = other(net())
    for model in (net(), Wrapped()):
        load(model, {prefix + name: tensor for name, tensor in state.items()}, "model.2", new_head=False)
        inner = model.model if isinstance(model, Wrapped) else model
        assert unchanged(inner, state)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("0.weight"), r"1 missing \(0.weight\)(?s:.*)none of 59 common architectures"),
        (lambda s: s.update(extra=torch.ones(1)), r"1 unexpected \(extra\)(?s:.*)none of 59 common architectures"),
        (
            lambda s: s.update({"0.bias": torch.ones(9)}),
            r"1 of another shape \(0.bias \[9\] instead of \[4\]\)(?s:.*)the sizes are not",
        ),
        (
            lambda s: s.update({"2.weight": torch.ones(3, 9)}),
            r"only the head(?s:.*)2.weight \[3, 9\] instead of \[3, 4\]",
        ),
    ],
)
def test_what_does_not_fit_is_an_error_and_changes_nothing(change, message):
    model = net()
    before, state = values(model), other(model)
    change(state)
    with pytest.raises(WeightsError, match=message):
        load(model, state, "2", new_head=False)
    assert unchanged(model, before)


def test_long_lists_are_cut():
    with pytest.raises(WeightsError, match=r"7 missing \(.*\) and 0|and \d+ more"):
        load(net(), {f"{i}.x": torch.ones(1) for i in range(20)}, "2", new_head=False)


def test_weights_of_another_architecture_are_recognised():
    state = build(Architecture(name="torchvision:resnet18"), 17, 0).state_dict()
    fits = fitting_architectures({f"module.{name}": tensor for name, tensor in state.items()})
    assert fits == ["timm:resnet18", "torchvision:resnet18"]
    with pytest.raises(WeightsError, match=r"the file fits timm:resnet18, torchvision:resnet18: set that"):
        load(build(RESNET, 3, 0), state, "fc", new_head=True)


def test_candidates_can_be_given():
    state = build(RESNET, 3, 0).state_dict()
    assert fitting_architectures(state, ["timm:resnet10t", "timm:resnet14t"]) == ["timm:resnet10t"]
    assert fitting_architectures({"x": torch.ones(1)}, ["timm:resnet10t"]) == []
    with pytest.raises(ArchitectureError, match="timm has no architecture named 'resnet10x'"):
        fitting_architectures(state, ["timm:resnet10x"])


def test_a_file_through_settings_in_every_format(tmp_path):
    state = build(RESNET, 3, 0).state_dict()
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}}, tmp_path / "w.pth")
    save_file(state, tmp_path / "w.safetensors")
    write_state(tmp_path / "v.safetensors", state)
    paths = [str(tmp_path / name) for name in ("w.pth", "w.safetensors", "v.safetensors")]
    hashes = {weights_hash(FileWeights(path=path), RESNET) for path in paths}
    assert hashes == {state_hash(state)}
    model = build(RESNET, 3, 1)
    load(model, read_state(FileWeights(path=paths[0]), RESNET), "fc", new_head=False)
    assert unchanged(model, state)


def test_hash_sees_every_bit_and_nothing_else():
    state = {"a": torch.randn(2, 3, 4, 4), "n": torch.tensor(3), "e": torch.empty(0, 2), "z": torch.zeros(2)}
    reference = state_hash(state)
    assert len(reference) == 64
    layout = state | {"a": state["a"].to(memory_format=torch.channels_last)}
    assert state_hash(dict(reversed(layout.items()))) == reference
    for change in (
        {"n": torch.tensor(4)},
        {"n": torch.tensor(3, dtype=torch.int32)},
        {"e": torch.empty(2, 0)},
        {"z": -torch.zeros(2)},
        {"a": state["a"].reshape(2, 3, 16)},
        {"b": torch.ones(1)},
    ):
        assert state_hash(state | change) != reference
    assert state_hash({"a": state["z"]}) != state_hash({"b": state["z"]})


def test_timm_weights_come_through_its_hub(monkeypatch):
    import timm

    pretrained = other(timm.create_model("resnet10t"))
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", lambda *a, **k: copy.copy(pretrained))
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    state = read_state(TimmWeights(), Architecture(name="timm:resnet10t.c3_in1k"))
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(state[name], pretrained[name]) for name in pretrained)


def test_timm_weights_without_a_connection(monkeypatch):
    def offline(*_, **__):
        raise ConnectionError("no route to huggingface.co")

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", offline)
    with pytest.raises(
        WeightsError, match=r"'resnet10t': ConnectionError: no route(?s:.*)check the connection"
    ) as caught:
        read_state(TimmWeights(), RESNET)
    assert isinstance(caught.value.__cause__, ConnectionError)


def test_timm_weights_that_do_not_exist():
    with pytest.raises(WeightsError, match="timm has no weights for 'torchvision:resnet18'"):
        read_state(TimmWeights(), Architecture(name="torchvision:resnet18"))
    with pytest.raises(WeightsError, match="timm has the architecture 'resnet200', but no weights for it"):
        read_state(TimmWeights(), Architecture(name="timm:resnet200"))
