import copy
import math

import pytest
import torch
from scipy import stats
from torch import nn

from transferscope.errors import WeightsError
from transferscope.frozen import derive_seed
from transferscope.networks.architectures import build
from transferscope.networks.batchnorm import recompute
from transferscope.networks.controls import CONTROL_METHODS, haar, initialise
from transferscope.networks.heads import head_name
from transferscope.networks.packed import packed_rows
from transferscope.specs.architecture import Architecture

# Twenty architectures, small variants; all have one head.
FAST = (
    "test_convnext", "test_convnext2", "test_efficientnet", "test_efficientnet_gn", "test_mambaout", "test_nfnet",
    "test_resnet", "test_vit",
)  # fmt: skip
SLOW = (
    "edgenext_xx_small", "ghostnet_050", "lcnet_035", "mobilenetv3_small_050", "mobilevit_xxs", "pvt_v2_b0",
    "regnety_002", "swin_tiny_patch4_window7_224", "test_byobnet", "test_vit2", "vit_tiny_patch16_224",
    "xcit_nano_12_p16_224",
)  # fmt: skip
# Thinner or shallower than they are published: what is tested is every kind of tensor, not their number.
OPTIONS: dict[str, dict[str, object]] = {
    "swin_tiny_patch4_window7_224": {"embed_dim": 24, "depths": [1, 1, 2, 1], "num_heads": [1, 2, 4, 8]},
    "vit_tiny_patch16_224": {"depth": 3},
    "xcit_nano_12_p16_224": {"depth": 3},
}


class Everything(nn.Module):
    """Every kind of tensor: grouped, depthwise and transposed convolutions, norms, attention, tokens, scales."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3)
        self.norm = nn.BatchNorm2d(16)
        self.grouped = nn.Conv2d(16, 12, 3, groups=4)
        self.depthwise = nn.Conv2d(12, 12, 3, groups=12, bias=False)
        self.up = nn.ConvTranspose2d(12, 8, 2, groups=2)
        self.attention = nn.MultiheadAttention(8, 2)
        self.last = nn.LayerNorm(8)
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.positions = nn.Parameter(torch.randn(1, 5, 8))
        self.scale = nn.Parameter(torch.randn(8, 1, 1))
        self.temperature = nn.Parameter(torch.tensor(3.0))
        self.fixed = nn.Parameter(torch.randn(4, 4), requires_grad=False)
        self.register_buffer("index", torch.arange(6))
        self.register_buffer("mask", torch.randn(3, 3))
        self.head = nn.Linear(8, 4)


@pytest.fixture
def pretrained() -> Everything:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        model = Everything()
        with torch.no_grad():
            for parameter in model.parameters():
                # No tensor is constant, so that a permutation is seen.
                parameter.add_(torch.randn_like(parameter) * 0.3)
        model.norm.running_mean.normal_()
        model.norm.running_var.uniform_(0.5, 2)
        model.norm.num_batches_tracked.fill_(7)
    return model


def control(model: nn.Module, method: str, seed: int = 0, head: str | None = "head") -> dict[str, torch.Tensor]:
    changed = copy.deepcopy(model)
    initialise(changed, method, seed, head)
    return {name: value.detach().clone() for name, value in changed.state_dict(keep_vars=True).items()}


def state(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict(keep_vars=True).items()}


def rows(value: torch.Tensor) -> list[tuple[float, ...]]:
    return sorted(tuple(row) for row in value.reshape(len(value), -1).tolist())


TRAINED = (
    "conv.weight", "conv.bias", "norm.weight", "norm.bias", "grouped.weight", "grouped.bias", "depthwise.weight",
    "up.weight", "up.bias", "attention.in_proj_weight", "attention.in_proj_bias", "attention.out_proj.weight",
    "attention.out_proj.bias", "last.weight", "last.bias", "token", "positions", "scale",
)  # fmt: skip


@pytest.mark.parametrize("method", CONTROL_METHODS)
def test_what_is_left_alone(pretrained: Everything, method: str) -> None:
    before, after = state(pretrained), control(pretrained, method)
    assert before.keys() == after.keys()
    for name in ("temperature", "fixed", "index", "mask", "head.weight", "head.bias"):
        assert torch.equal(before[name], after[name]), name
    for name in TRAINED:
        assert before[name].shape == after[name].shape
        assert before[name].dtype == after[name].dtype
        assert not torch.equal(before[name], after[name]), name
        assert torch.isfinite(after[name]).all()
    # Statistics belong to the former weights.
    assert torch.equal(after["norm.running_mean"], torch.zeros(16))
    assert torch.equal(after["norm.running_var"], torch.ones(16))
    assert after["norm.num_batches_tracked"] == 0


def test_what_became_of_each_tensor_is_told(pretrained: Everything) -> None:
    told = initialise(copy.deepcopy(pretrained), "spectrum", 0, "head")
    assert set(told) == {name for name, _ in pretrained.named_parameters()}
    assert told["grouped.weight"] == told["positions"] == "singular vectors drawn"
    assert told["token"] == told["scale"] == told["norm.weight"] == "gaussian"
    assert told["temperature"] == told["fixed"] == "copied"
    assert told["head.weight"] == "head"


def test_without_a_head_every_module_is_treated(pretrained: Everything) -> None:
    assert not torch.equal(control(pretrained, "permuted", head=None)["head.weight"], pretrained.head.weight)


def test_mean_var_draws_gaussians_with_the_moments_of_each_tensor() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(200, 150), nn.BatchNorm1d(150))
        with torch.no_grad():
            model[0].weight.exponential_().add_(2.0)  # far from a Gaussian
            model[0].bias.fill_(0.25)
    old = model[0].weight.detach().clone()
    initialise(model, "mean-var", 0)
    new = model[0].weight.detach()
    error = float(old.std()) / math.sqrt(new.numel())
    assert abs(float(new.mean() - old.mean())) < 4 * error
    assert float(new.std() / old.std()) == pytest.approx(1, abs=4 / math.sqrt(2 * new.numel()))
    assert stats.kstest(((new - old.mean()) / old.std()).flatten().numpy(), "norm").pvalue > 0.01
    # A constant has no spread.
    assert torch.equal(model[0].bias, torch.full((150,), 0.25))
    assert torch.equal(model[1].weight, torch.ones(150))


def test_permuted_keeps_the_entries_of_each_tensor(pretrained: Everything) -> None:
    before, after = state(pretrained), control(pretrained, "permuted")
    for name in set(TRAINED) - {"attention.in_proj_weight", "attention.in_proj_bias"}:
        assert torch.equal(before[name].flatten().sort().values, after[name].flatten().sort().values), name
    # Query, key and value are tensors of their own.
    for name in ("attention.in_proj_weight", "attention.in_proj_bias"):
        for old, new in zip(before[name].chunk(3), after[name].chunk(3), strict=True):
            assert torch.equal(old.flatten().sort().values, new.flatten().sort().values)
    # Rows are not kept: the permutation is one of entries.
    assert rows(before["conv.weight"]) != rows(after["conv.weight"])


def test_filter_permuted_keeps_whole_filters_and_their_inputs_in_order(pretrained: Everything) -> None:
    before, after = state(pretrained), control(pretrained, "filter-permuted")
    for name in ("conv.weight", "grouped.weight", "depthwise.weight", "attention.out_proj.weight", "norm.weight"):
        assert rows(before[name]) == rows(after[name]), name
    for name in ("attention.in_proj_weight", "attention.in_proj_bias"):
        for old, new in zip(before[name].chunk(3), after[name].chunk(3), strict=True):
            assert rows(old) == rows(new)
    # A bias goes with its filter, and a norm's two numbers stay together; other layers have other permutations.
    for layer in ("conv", "norm", "grouped", "attention.out_proj"):
        joined = [
            torch.cat([values[f"{layer}.weight"].flatten(1) if values[f"{layer}.weight"].dim() > 1
                       else values[f"{layer}.weight"][:, None], values[f"{layer}.bias"][:, None]], dim=1)
            for values in (before, after)
        ]  # fmt: skip
        assert rows(joined[0]) == rows(joined[1])
    # Whole position vectors change places; entries of a token do.
    assert rows(before["positions"][0]) == rows(after["positions"][0])
    assert torch.equal(before["token"].flatten().sort().values, after["token"].flatten().sort().values)
    places = [before["conv.weight"].flatten(1).tolist().index(row) for row in after["conv.weight"].flatten(1).tolist()]
    assert sorted(places) == list(range(16))
    assert places != list(range(16))


def test_filters_of_a_transposed_convolution_are_found_on_its_second_axis(pretrained: Everything) -> None:
    # weight: inputs × outputs per group; output o of group g reads the inputs of group g.
    def filters(values: dict[str, torch.Tensor]) -> list[tuple[float, ...]]:
        weight = values["up.weight"].reshape(2, 6, 4, 4)
        bias = values["up.bias"].reshape(2, 4)
        return sorted(
            (*weight[group, :, output].flatten().tolist(), bias[group, output].item())
            for group in range(2)
            for output in range(4)
        )

    before, after = state(pretrained), control(pretrained, "filter-permuted")
    assert filters(before) == filters(after)
    assert rows(before["up.weight"]) != rows(after["up.weight"])


def matrices(name: str, value: torch.Tensor) -> list[torch.Tensor]:
    value = value.double()
    if name == "grouped.weight":
        return list(value.reshape(4, 3, -1))
    if name == "depthwise.weight":
        return list(value.reshape(12, 1, -1))
    if name == "up.weight":
        return list(value.reshape(2, 6, 4, 4).transpose(1, 2).reshape(2, 4, -1))
    if name == "attention.in_proj_weight":
        return list(value.chunk(3))
    return [value[0] if name == "positions" else value.flatten(1)]


def test_spectrum_keeps_singular_values_of_each_group_and_nothing_else(pretrained: Everything) -> None:
    before, after = state(pretrained), control(pretrained, "spectrum")
    for name in ("conv.weight", "grouped.weight", "depthwise.weight", "up.weight", "attention.in_proj_weight",
                 "attention.out_proj.weight", "positions"):  # fmt: skip
        for old, new in zip(matrices(name, before[name]), matrices(name, after[name]), strict=True):
            kept = torch.linalg.svdvals(old)
            assert torch.allclose(torch.linalg.svdvals(new), kept, rtol=0, atol=1e-5 * float(kept[0])), name


def test_singular_vectors_of_a_spectrum_control_are_unrelated_to_the_former_ones() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(64, 48))
    old = torch.linalg.svd(model[0].weight.detach().double(), full_matrices=False)
    initialise(model, "spectrum", 0)
    new = torch.linalg.svd(model[0].weight.detach().double(), full_matrices=False)
    for a, b, size in ((old.U, new.U, 48), (old.Vh.T, new.Vh.T, 64)):
        # Squared cosines of unrelated unit vectors have mean 1/size; those of one vector with itself are 1.
        assert float((a.T @ b).square().mean()) == pytest.approx(1 / size, rel=0.05)
        assert float((a * b).sum(0).square().mean()) < 4 / size


def test_haar_has_orthonormal_columns_and_no_preferred_sign() -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = haar((3000, 2, 2), generator)
    identity = torch.eye(2, dtype=torch.float64).expand(3000, 2, 2)
    assert torch.allclose(drawn.transpose(1, 2) @ drawn, identity, atol=1e-12)
    # The angle of the first column is uniform: without the sign of R's diagonal LAPACK fills half of the circle.
    angles = torch.atan2(drawn[:, 1, 0], drawn[:, 0, 0]).numpy()
    assert stats.kstest((angles + math.pi) / (2 * math.pi), "uniform").pvalue > 0.01
    signs = torch.linalg.det(drawn).sign()
    assert abs(float(signs.mean())) < 4 / math.sqrt(3000)


@pytest.mark.parametrize("method", CONTROL_METHODS)
def test_a_control_depends_on_seed_method_and_name_alone(pretrained: Everything, method: str) -> None:
    before = torch.random.get_rng_state()
    first = control(pretrained, method, seed=3)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(3)
    again, other = control(pretrained, method, seed=3), control(pretrained, method, seed=4)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert all(not torch.equal(first[name], other[name]) for name in TRAINED)


def test_the_stream_of_a_tensor_is_derived_from_its_name() -> None:
    layer = nn.Sequential(nn.Linear(3, 5, bias=False))
    old = layer[0].weight.detach().clone().flatten()
    initialise(layer, "permuted", seed=11)
    generator = torch.Generator().manual_seed(derive_seed(11, "control", "permuted", "0.weight", 0))
    expected = old.double()[torch.randperm(15, generator=generator)].float()
    assert torch.equal(layer[0].weight.detach().flatten(), expected)


def test_a_shared_parameter_is_treated_once() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    told = initialise(model, "permuted", 0)
    assert sorted(told) == ["0.bias", "0.weight", "1.bias"]
    assert model[1].weight is model[0].weight


def test_half_precision_weights_stay_so() -> None:
    model = nn.Sequential(nn.Linear(8, 8)).bfloat16()
    initialise(model, "spectrum", 0)
    assert model[0].weight.dtype is torch.bfloat16
    assert torch.isfinite(model[0].weight).all()


def test_weights_that_are_not_finite_are_refused(pretrained: Everything) -> None:
    pretrained.grouped.bias.data[2] = float("nan")
    before = state(pretrained)
    with pytest.raises(WeightsError, match=r"'grouped\.bias' is not finite"):
        initialise(pretrained, "permuted", 0)
    assert torch.equal(pretrained.conv.weight, before["conv.weight"])


def test_unknown_method_is_named(pretrained: Everything) -> None:
    with pytest.raises(ValueError, match="no control 'shuffled': mean-var, permuted, filter-permuted, spectrum"):
        initialise(pretrained, "shuffled", 0)  # type: ignore[arg-type]  # the point of the test


def check(name: str) -> None:
    architecture = Architecture(name=name, options=OPTIONS.get(name, {}))
    model = build(architecture, 3, seed=1)
    head = head_name(model, architecture)
    packed = packed_rows(model)
    pretrained = state(model)
    channels, height, width = model.pretrained_cfg["input_size"]
    if not model.pretrained_cfg["fixed_input_size"]:
        height = width = 96
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        images = torch.randn(2, channels, height, width)
    parameters = {name for name, value in model.named_parameters() if value.requires_grad}
    for method in CONTROL_METHODS:
        model.load_state_dict(pretrained)
        told = initialise(model, method, 0, head)
        after = state(model)
        assert [(key, value.shape) for key, value in after.items()] == [
            (key, value.shape) for key, value in pretrained.items()
        ]
        assert set(told) >= parameters
        for key, treatment in told.items():
            promised(key, treatment, pretrained[key], after[key], packed.get(key))
        recompute(model, [images])
        with torch.no_grad():
            assert torch.isfinite(model.eval()(images)).all(), method


def promised(
    name: str, treatment: str, old: torch.Tensor, new: torch.Tensor, parts: tuple[torch.Tensor, ...] | None
) -> None:
    """The statistics that a treatment promises for a tensor; of a packed one for each part."""
    if treatment in ("copied", "head"):
        assert torch.equal(old, new), name
        return
    for part in parts or (torch.arange(len(old)),):
        a, b = old[part].double(), new[part].double()
        if treatment in ("entries permuted", "filters permuted"):
            assert torch.equal(a.flatten().sort().values, b.flatten().sort().values), name
        if treatment == "gaussian" and a.numel() >= 16:
            # Five standard errors: hundreds of tensors are looked at.
            error = float(a.std(correction=0)) / math.sqrt(a.numel())
            assert abs(float(a.mean() - b.mean())) <= 5 * error + 1e-6, name
        if treatment == "singular vectors drawn":
            assert float(a.norm()) == pytest.approx(float(b.norm()), rel=1e-5), name


@pytest.mark.parametrize("name", FAST)
def test_timm_architectures(name: str) -> None:
    check(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_larger_timm_architectures(name: str) -> None:
    check(name)


def test_there_are_twenty_architectures() -> None:
    assert len({*FAST, *SLOW}) == 20


def attention_output(name: str, key: str) -> tuple[nn.Module, torch.Tensor, tuple[torch.Tensor, ...]]:
    model = build(Architecture(name=name), 2, 0).eval()
    return model, dict(model.named_parameters())[key], packed_rows(model)[key]


@pytest.mark.parametrize(
    ("name", "key"),
    [("test_vit", "blocks.0.attn.qkv.weight"), ("coatnet_pico_rw_224", "stages.2.blocks.0.attn.qkv.weight")],
)
def test_packed_rows_find_the_values(name: str, key: str) -> None:
    # With values of 0 an attention's output does not depend on its input, whatever queries and keys are.
    model, weight, parts = attention_output(name, key)
    attention = model.get_submodule(key.rpartition(".qkv")[0])
    bias = dict(model.named_parameters())[key.replace("weight", "bias")]
    with torch.no_grad():
        weight[parts[2]] = 0
        bias[parts[2]] = 0
    shape = (1, 4, weight.shape[1]) if isinstance(attention.qkv, nn.Linear) else (1, weight.shape[1], 14, 14)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        outputs = [attention(torch.randn(shape)) for _ in range(2)]
    assert torch.allclose(*outputs, atol=1e-6)
    assert sorted(torch.cat(parts).tolist()) == list(range(len(weight)))


def test_unknown_layouts_are_one_matrix() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qkv = nn.Linear(4, 12)

    assert packed_rows(Attention()) == {}
    kv = packed_rows(build(Architecture(name="pvt_v2_b0"), 2, 0))["stages.0.blocks.0.attn.kv.weight"]
    assert [len(part) for part in kv] == [32, 32]
