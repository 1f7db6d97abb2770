import pytest
import torch
from torch import nn

from transferscope.errors import ModuleNameError, WeightsError
from transferscope.networks.architectures import build
from transferscope.networks.heads import head_name
from transferscope.networks.modules import parts_parameters
from transferscope.networks.transplants import movable_parts, parts_of, transplant
from transferscope.specs.architecture import Architecture

RESNET = Architecture(name="test_resnet")
VIT = Architecture(name="test_vit")


def pair(architecture=RESNET):
    model, donor = build(architecture, 3, 0), build(architecture, 3, 1)
    with torch.no_grad():
        for value in donor.parameters():
            value.add_(torch.full_like(value, 0.5))  # norms start alike
    return model, donor, head_name(model, architecture)


@pytest.mark.parametrize("architecture", [RESNET, VIT], ids=["cnn", "vit"])
@pytest.mark.parametrize("granularity", ["stage", "block", "layer"])
def test_parts_come_from_the_donor_and_the_rest_stays(architecture, granularity):
    model, donor, head = pair(architecture)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    parts = movable_parts(model, granularity, head)
    taken = parts[: max(1, len(parts) // 2)]
    copied = transplant(model, donor.state_dict(), taken, granularity, head)
    owned = parts_parameters(model, granularity, head)
    assert set(copied) == {name for part in taken for name in owned[part]}
    for name, value in model.state_dict().items():
        expected = donor.state_dict()[name] if name in copied else before[name]
        assert torch.equal(value, expected), name
    assert not torch.equal(before[copied[0]], donor.state_dict()[copied[0]])


def test_all_parts_are_the_donor_with_the_own_head():
    model, donor, head = pair()
    own = model.get_submodule(head).weight.detach().clone()
    transplant(model, donor.state_dict(), movable_parts(model, "stage", head), "stage", head)
    for name, value in model.named_parameters():
        assert torch.equal(value, own if name == f"{head}.weight" else dict(donor.named_parameters())[name]) or (
            name == f"{head}.bias"
        )
    assert not torch.equal(own, donor.get_submodule(head).weight)


def test_running_statistics_are_not_copied():
    model, donor, head = pair()
    donor.bn1.running_mean.fill_(9.0)
    transplant(model, donor.state_dict(), movable_parts(model, "stage", head), "stage", head)
    assert torch.equal(model.bn1.running_mean, torch.zeros_like(model.bn1.running_mean))


def test_parts_of_an_architecture_are_in_order_and_without_the_head():
    assert parts_of(RESNET, "stage") == ("conv1", "bn1", "layer1", "layer2", "layer3", "layer4")
    assert "head" not in parts_of(VIT, "stage")


@pytest.mark.parametrize("part", ["layer9", "fc"])
def test_a_part_that_is_not_there_or_is_the_head_is_named(part):
    model, donor, head = pair()
    with pytest.raises(ModuleNameError, match=f"no part '{part}' that could be transplanted"):
        transplant(model, donor.state_dict(), [part], "stage", head)


def test_a_donor_of_another_shape_changes_nothing():
    model, donor, head = pair()
    state = donor.state_dict()
    state["layer1.0.conv1.weight"] = torch.zeros(1)
    before = model.conv1[0].weight.detach().clone()
    with pytest.raises(WeightsError, match=r"do not fit the parts.*\n.*\n.*layer1\.0\.conv1\.weight"):
        transplant(model, state, ["conv1", "layer1"], "stage", head)
    assert torch.equal(model.conv1[0].weight, before)


def test_a_frozen_part_keeps_its_setting():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[0].weight.requires_grad_(False)
    transplant(model, {name: torch.ones_like(v) for name, v in model.state_dict().items()}, ["0"], "layer", "1")
    assert not model[0].weight.requires_grad
    assert torch.equal(model[0].weight, torch.ones(2, 2))
