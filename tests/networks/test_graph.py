"""The shared trace: both halves give the whole, bit for bit; what may change is on the far side; nothing is altered."""

import copy
from collections.abc import Callable, Iterator

import pytest
import timm
import torch
from timm.models.densenet import DenseNet
from torch import Tensor, nn

from transferscope.errors import ArchitectureError, ModuleNameError
from transferscope.networks.cuts.cuts import same
from transferscope.networks.cuts.trace import CutValues, trace
from transferscope.networks.modules import named_parts

NETWORKS: dict[str, tuple[Callable[[], nn.Module], int, str]] = {
    "resnet": (lambda: timm.create_model("resnet10t", num_classes=3), 32, "fc"),
    "densenet": (
        lambda: DenseNet(growth_rate=4, block_config=(2, 3), num_classes=3), 32, "classifier"
    ),
    "efficientnet": (lambda: timm.create_model("mobilenetv3_small_050", num_classes=3), 32, "classifier"),
    "convnext": (
        lambda: timm.create_model("convnext_atto", num_classes=3, depths=(1, 1, 2, 1), dims=(8, 12, 16, 24)),
        32,
        "head.fc",
    ),
    "vit": (lambda: timm.create_model("vit_tiny_patch16_224", num_classes=3, img_size=32, depth=2), 32, "head"),
    "swin": (
        lambda: timm.create_model(
            "swin_tiny_patch4_window7_224", num_classes=3, img_size=56, depths=(1, 2), embed_dim=12, num_heads=(1, 2)
        ),
        56,
        "head.fc",
    ),
}  # fmt: skip


def made(name: str) -> tuple[nn.Module, Tensor, str]:
    build, size, head = NETWORKS[name]
    torch.manual_seed(0)
    model = build().eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):  # fresh statistics would hide a mistake in their place
                assert module.running_mean is not None
                assert module.running_var is not None
                module.running_mean.uniform_(-0.5, 0.5)
                module.running_var.uniform_(0.5, 2)
    return model, torch.randn(3, 3, size, size), head


def perturbed(model: nn.Module, names: tuple[str, ...]) -> None:
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in names:
                parameter.add_(0.1 * torch.randn_like(parameter))


@pytest.mark.parametrize("way", ["graph", "replay"])
@pytest.mark.parametrize("name", NETWORKS)
def test_two_halves_are_the_whole(name: str, way: str) -> None:
    model, images, head = made(name)
    kept = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    found = trace(model, images, head=head, way=way)
    assert found.kind == way
    assert found.parts == tuple(named_parts(model, "block", head))
    assert len(found.cuts) >= (len(found.parts) if name not in ("densenet",) else 4)
    other = torch.randn(5, *images.shape[1:], generator=torch.Generator().manual_seed(3))
    everything = {key for key, _ in model.named_parameters()}
    with torch.no_grad():
        whole = model(other)
        before: CutValues | None = None
        for number, cut in enumerate(found.cuts):
            assert cut.index == number
            values = found.prefix(cut)(other)
            assert [tuple(t.shape[1:]) for t in values.tensors] == [shape[1:] for shape in cut.shapes]
            assert values.bytes == len(other) * cut.bytes_per_example
            copies = [tensor.clone() for tensor in values.tensors]
            for _ in range(2):
                assert torch.equal(found.suffix(cut)(values), whole)
            assert all(map(torch.equal, copies, values.tensors))
            assert torch.equal(found.suffix(cut)(values.to("cpu")), whole)
            if before is not None:
                moved = found.between(found.cuts[number - 1], cut)(before)
                assert torch.equal(found.suffix(cut)(moved), whole)
            before = values
            sides = found.sides(cut)
            assert {*sides.before, *sides.after} == everything
            assert len(sides.before) + len(sides.after) == len(everything)
            assert not sides.shared
            assert {*cut.before, *cut.after} == set(found.parts)
    assert all(torch.equal(kept[key], tensor) for key, tensor in model.state_dict().items())
    assert all("forward" not in module.__dict__ for module in model.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("way", ["graph", "replay"])
@pytest.mark.parametrize("name", ["resnet", "densenet", "vit"])
def test_what_lies_after_a_cut_may_change_while_the_rest_is_kept(name: str, way: str) -> None:
    model, images, head = made(name)
    found = trace(model, images, head=head, way=way)
    state = copy.deepcopy(model.state_dict())
    for part in found.parts:
        cut = found.cut_before(part)
        assert cut is not None
        assert part in cut.after
        with torch.no_grad():
            kept = found.prefix(cut)(images)
            former = model(images)
            perturbed(model, found.sides(cut).after)
            assert torch.equal(found.suffix(cut)(kept), model(images))
            assert not torch.equal(model(images), former)
        model.load_state_dict(state)


def test_the_cut_before_a_part_is_the_last_that_leaves_it_whole() -> None:
    model, images, head = made("densenet")
    found = trace(model, images, head=head, most_tensors=2)
    assert found.refused == {
        "features.denseblock2.denselayer3": "3 tensors would have to be kept before 'features.denseblock2.denselayer3'"
    }
    cut = found.cut_before("features.denseblock2.denselayer3")
    assert cut is not None
    assert cut.name == "features.denseblock2.denselayer2"
    assert len(cut.shapes) == 2
    assert found.cut_before(found.parts[0]) == found.cuts[0]
    assert found.cuts[0].before == ()
    group = [key for key, _ in model.named_parameters() if "denselayer3" in key or "classifier" in key]
    assert found.cut_for(group) == cut
    assert len(trace(model, images, head=head).cuts) == len(found.cuts) + 1


def test_where_the_bytes_are_fewest_is_the_cut() -> None:
    model, images, head = made("resnet")
    cut = next(item for item in trace(model, images, head=head).cuts if item.name == "layer1.0")
    assert cut.shapes == ((2, 64, 8, 8),)  # after the pooling, not before it


class Residual(nn.Module):
    """Opened: its blocks are parts, and a skip connection goes round both of them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(4, 4)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)) for _ in range(2))
        self.head = nn.Linear(4, 2)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor, scale: float | None = None) -> Tensor:
        x = self.stem(x)
        skip = x
        for block in self.blocks:
            x = self.relu(x)
            x = block(x)
        if scale is not None:
            x = x * scale
        return self.head(x + skip)


def test_an_operation_in_place_on_a_kept_value_does_not_spoil_it() -> None:
    # The skip connection sees what the in-place ReLU after the stem made of it: the halves must see the same.
    torch.manual_seed(0)
    model, images = Residual(), torch.randn(4, 4)
    found = trace(model, images)
    assert found.kind == "graph"
    assert [len(cut.shapes) for cut in found.cuts] == [1, 1, 2, 1]
    with torch.no_grad():
        for cut in found.cuts:
            values = found.prefix(cut)(images)
            for _ in range(3):
                assert torch.equal(found.suffix(cut)(values), model(images))
    replayed = trace(model, images, way="replay")
    assert [cut.name for cut in replayed.cuts] == ["stem", "blocks.0"]
    assert "more than one tensor" in replayed.refused["blocks.1"]


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.twice, self.middle, self.last = (nn.Linear(4, 4) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.twice(self.middle(self.twice(self.first(x)))))


@pytest.mark.parametrize("way", ["graph", "replay"])
def test_a_part_that_is_used_on_both_sides_is_named(way: str) -> None:
    torch.manual_seed(0)
    model, images = Shared(), torch.randn(3, 4)
    found = trace(model, images, way=way)
    assert [cut.name for cut in found.cuts] == ["first", "twice", "middle", "last"]
    middle = found.cuts[2]
    assert middle.shared == ("twice",)
    assert found.sides(middle).shared == ("twice.weight", "twice.bias")
    assert found.cut_before("middle") == middle
    assert found.cut_before("twice") == found.cuts[1]
    assert found.cut_for(["twice.weight", "last.bias"]) == found.cuts[1]


class Looks(nn.Module):
    """Steered by the values of a tensor: no graph, and nothing before the look can be replaced."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)) for _ in range(3))
        self.at = at

    def forward(self, x: Tensor) -> Tensor:
        sign = 1
        for number, layer in enumerate(self.layers):
            if number == self.at and float(x.sum()) > 0:
                sign = -1
            x = layer(x)
        return x * sign


def test_a_network_that_looks_at_its_values_is_replayed_up_to_there_or_not_at_all() -> None:
    torch.manual_seed(0)
    images = torch.randn(3, 4)
    early = trace(Looks(0), images)
    assert (early.kind, early.cuts) == ("none", ())
    assert early.reason is not None
    assert "cannot be traced" in early.reason
    assert "turned into a number" in early.reason
    assert early.cut_before("layers.1") is None
    late = Looks(2)
    found = trace(late, images)
    assert found.kind == "replay"
    assert "cannot be traced" in str(found.reason)
    assert [cut.name for cut in found.cuts] == ["layers.0", "layers.1", "layers.2"]
    with torch.no_grad():
        for sign in (1, -1):
            for cut in found.cuts:
                assert torch.equal(found.suffix(cut)(found.prefix(cut)(sign * images)), late(sign * images))


class Catches(Looks):
    """Its own except must not swallow the end of a prefix."""

    def forward(self, x: Tensor) -> Tensor:
        try:
            return super().forward(x)
        except Exception:
            return x


def test_a_networks_own_except_is_passed() -> None:
    torch.manual_seed(0)
    model, images = Catches(9), torch.randn(2, 4)
    found = trace(model, images, way="replay")
    assert [cut.name for cut in found.cuts] == ["layers.0", "layers.1", "layers.2"]
    with torch.no_grad():
        kept = found.prefix(found.cuts[1])(images)
        assert torch.equal(kept.tensors[0], model.layers[0](images))
        assert torch.equal(found.suffix(found.cuts[1])(kept), model(images))


class Dictionary(nn.Module):
    """Gives a dictionary and takes further arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor, *more: Tensor, flag: bool = False) -> dict[str, Tensor]:
        x = self.a(x)
        return {"logits": self.b(x), "features": x}


def test_outputs_may_have_any_structure() -> None:
    model, images = Dictionary(), torch.randn(2, 4)
    found = trace(model, images)
    assert found.kind == "graph"
    cut = found.cuts[-1]
    with torch.no_grad():
        assert same(found.suffix(cut)(found.prefix(cut)(images)), model(images))
        assert not same(found.suffix(cut)(found.prefix(cut)(images)), model(2 * images))


def test_gradients_flow_through_the_far_side() -> None:
    model, images, head = made("vit")
    found = trace(model, images, head=head)
    cut = found.cut_before("blocks.1")
    assert cut is not None
    with torch.no_grad():
        values = found.prefix(cut)(images)
    found.suffix(cut)(values).sum().backward()
    sides = found.sides(cut)
    gradients = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert gradients == set(sides.after)


def test_batch_norm_in_training_mode_works_on_the_far_side() -> None:
    model, images, head = made("resnet")
    found = trace(model, images, head=head)
    cut = found.cut_before("layer3.0")
    assert cut is not None
    with torch.no_grad():
        values = found.prefix(cut)(images)
    twin = copy.deepcopy(model)
    for half in (model, twin):
        half.layer3.train()
    with torch.no_grad():
        assert torch.equal(found.suffix(cut)(values), twin(images))
    assert torch.equal(model.layer3[0].bn1.running_mean, twin.layer3[0].bn1.running_mean)


def test_the_mode_is_given_back() -> None:
    model, images, head = made("resnet")
    model.train()
    model.bn1.eval()
    trace(model, images, head=head)
    assert model.training
    assert not model.bn1.training


class Noisy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x) + torch.randn(4))


class Two(Noisy):
    def forward(self, x: Tensor, y: Tensor | None = None, **other: Tensor) -> Tensor:
        assert not other
        return self.b(self.a(x) if y is None else self.a(y))


def test_what_cannot_be_is_named() -> None:
    images = torch.randn(2, 4)
    with pytest.raises(ArchitectureError, match="other outputs for the same images"):
        trace(Noisy(), images)
    found, other = trace(Two(), images), trace(Shared(), images)
    with pytest.raises(ModuleNameError, match=r"has no part 'c'"):
        found.cut_before("c")
    with pytest.raises(ModuleNameError, match=r"has no parameter 'a.wait'\n.*did you mean 'a.weight'"):
        found.cut_for(["a.wait"])
    with pytest.raises(ModuleNameError, match="is not one of this trace"):
        found.prefix(other.cuts[-1])
    with pytest.raises(ModuleNameError, match="is not one of this trace"):
        trace(Looks(0), images).suffix(found.cuts[0])
    with pytest.raises(ModuleNameError, match="lies before the one it should follow"):
        other.between(other.cuts[2], other.cuts[1])
    values = other.prefix(other.cuts[1])(images)
    assert other.between(other.cuts[1], other.cuts[1])(values) is values
    with pytest.raises(ModuleNameError, match="no module"):
        trace(Shared(), images, head="heed")


def test_stages_and_layers_have_their_own_cuts() -> None:
    model, images, head = made("resnet")
    stages, layers = (trace(model, images, granularity=g, head=head) for g in ("stage", "layer"))
    assert [cut.name for cut in stages.cuts] == list(stages.parts)
    assert len(layers.cuts) > len(stages.cuts)
    inner = next(cut for cut in layers.cuts if cut.name == "layer2.0.conv2")
    assert len(inner.shapes) == 2  # inside a block, beside its skip connection


def hooked(model: nn.Module) -> Iterator[nn.Module]:
    return (module for module in model.modules() if module._forward_hooks)


def test_hooks_of_parts_are_called_and_stay() -> None:
    model, images, head = made("resnet")
    seen: list[str] = []
    handle = model.layer2[0].register_forward_hook(lambda *_: seen.append("layer2.0"))
    found = trace(model, images, head=head)
    cut = found.cut_before("layer2.0")
    assert cut is not None
    seen.clear()
    with torch.no_grad():
        found.suffix(cut)(found.prefix(cut)(images))
    assert seen == ["layer2.0"]
    assert list(hooked(model)) == [model.layer2[0]]
    handle.remove()
