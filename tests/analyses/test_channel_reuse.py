"""Channels found again on a loader: a permuted copy has all, a fresh network has what chance gives."""

import copy

import pytest
import torch
from torch import nn

from transferscope.errors import LoaderError, MeasureError, ModuleNameError
from transferscope.methods.similarity.channels import channel_reuse, channel_samples


class Net(nn.Module):
    def __init__(self, seed: int, width: int = 16) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True))
        self.block = nn.Sequential(nn.Conv2d(width, width, 3), nn.ReLU())
        self.head = nn.Linear(width, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.block(self.stem(x)).mean((2, 3)))


def images(count: int = 96) -> torch.Tensor:
    return torch.randn(count, 3, 10, 10, generator=torch.Generator().manual_seed(5))


def permuted(model: Net, seed: int = 0) -> tuple[Net, torch.Tensor]:
    """A copy whose channels stand in another order everywhere: the same function."""
    other, order = copy.deepcopy(model), torch.randperm(16, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        for old, new in ((model.stem[0], other.stem[0]), (model.block[0], other.block[0])):
            new.weight.copy_(old.weight[order])
            new.bias.copy_(old.bias[order])
        for name in ("weight", "bias", "running_mean", "running_var"):
            getattr(other.stem[1], name).copy_(getattr(model.stem[1], name)[order])
        other.block[0].weight.copy_(other.block[0].weight[:, order])
        other.head.weight.copy_(model.head.weight[:, order])
    return other, order


def test_a_permuted_copy_has_all_channels_reused_and_a_fresh_network_chance_level() -> None:
    model = Net(0)
    copied, order = permuted(model)
    with torch.no_grad():
        torch.testing.assert_close(copied.eval()(images(4)), model.eval()(images(4)))
    networks = {"copy": copied, "same": model, "fresh": Net(1), "other": Net(2)}
    found = channel_reuse(model, networks, images().split(32), head="head", device="cpu")
    assert {module for _, module in found.found} == {"stem", "block"}
    for module in ("stem", "block"):
        one = found.found["copy", module]
        assert (one.matched, one.correlation) == (1.0, pytest.approx(1.0, abs=1e-6))
        assert order[one.partner[~one.dead]].tolist() == (~one.dead).nonzero().flatten().tolist()
        assert one.same_index < 0.6
        assert found.found["same", module].same_index == 1.0
        fresh, other = (found.found[label, module].matched for label in ("fresh", "other"))
        assert abs(fresh - other) <= 0.35
        assert max(fresh, other) < 1.0
    assert found.examples == 96


def test_images_that_excite_a_channel_most() -> None:
    model = Net(0).eval()
    found = channel_reuse(model, {"same": model}, images().split(40), head="head", device="cpu")
    with torch.no_grad():
        expected = model.stem(images()).amax((2, 3))
    torch.testing.assert_close(found.excitation["stem"], expected)
    assert found.samples == {"stem": 63, "block": 64}, "two of the 64 places of a map of 100 are one"


def test_samples_of_maps_tokens_and_vectors_in_both_memory_formats() -> None:
    maps = torch.arange(2 * 3 * 20 * 20.0).reshape(2, 3, 20, 20)
    found = channel_samples(maps, 50)
    assert found.shape == (2, 50, 3)
    torch.testing.assert_close(channel_samples(maps.contiguous(memory_format=torch.channels_last), 50), found)
    torch.testing.assert_close(channel_samples(maps.permute(0, 2, 3, 1), 50, channels_last=True), found)
    rows, columns = (found[0, :, 0].long() // 20, found[0, :, 0].long() % 20)
    assert len(rows.unique()) > 15
    assert len(columns.unique()) > 15
    assert channel_samples(maps, 1000).shape == (2, 400, 3)
    assert channel_samples(torch.ones(2, 7, 5), 3).shape == (2, 3, 5)
    assert channel_samples(torch.ones(2, 5), 3).shape == (2, 1, 5)
    with pytest.raises(MeasureError, match="no channels that can be told apart"):
        channel_samples(torch.ones(2, 3, 4, 5, 6), 3)


def test_a_module_without_channels_is_left_out_with_its_reason() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.never, self.head = nn.Linear(3, 4), nn.Linear(3, 3), nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.first(x.mean((2, 3))))

    found = channel_reuse(Odd(), {"a": Odd()}, [images(20)], head="head", device="cpu")
    assert set(found.unusable) == {"never"}
    assert set(found.found) == {("a", "first")}


def test_networks_are_given_back_as_they_were() -> None:
    model, other = Net(0).train(), Net(1).train()
    before = copy.deepcopy(model.state_dict())
    channel_reuse(model, {"other": other}, images().split(32), device="cpu")
    assert model.training
    assert other.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not any(module._forward_hooks for net in (model, other) for module in net.modules())


def test_errors() -> None:
    model = Net(0)
    with pytest.raises(MeasureError, match="no network to compare with"):
        channel_reuse(model, {}, [images()])
    with pytest.raises(LoaderError, match="no batch has two examples"):
        channel_reuse(model, {"a": model}, [images(1)], device="cpu")
    with pytest.raises(ModuleNameError, match="network 'a' has no module 'stem'"):
        channel_reuse(model, {"a": nn.Sequential(nn.Linear(3, 3))}, [images()], device="cpu")
