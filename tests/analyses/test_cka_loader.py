"""CKA of networks on a loader: the must-pass list, the brute force, honest bookkeeping, clear errors."""

import copy
import re

import numpy as np
import pytest
import timm
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from tests.reference.cka_reference import cka_matrix, hsic0, hsic1
from transferscope.errors import (
    ActivationError,
    ArchitectureError,
    LoaderError,
    MeasureError,
    ModuleNameError,
    StudyError,
)
from transferscope.methods.evaluation import Execution
from transferscope.methods.similarity.cka import CkaEstimator, cka, cka_networks
from transferscope.networks.activations import ActivationRecorder

ON_CPU = Execution(device="cpu")


class Block(nn.Module):
    """Batch norm, an in-place ReLU that is called twice, a residual sum."""

    def __init__(self, width):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        return self.relu(self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x))))) + x)


def network(seed: int, width: int = 8) -> nn.Module:
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(3, width, 3, stride=2),
        nn.ReLU(inplace=True),
        nn.Sequential(Block(width), Block(width)),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(width, 5),
    )
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 2)
    return model


def images(count: int = 46, offset: float = 0.0) -> torch.Tensor:
    return torch.randn(count, 3, 12, 12, generator=torch.Generator().manual_seed(7)) + offset


def loader(count: int = 46, batch: int = 20, offset: float = 0.0, **options) -> DataLoader:
    return DataLoader(TensorDataset(images(count, offset), torch.zeros(count)), batch_size=batch, **options)


EVERY = ["0", "1", "2.0.conv1", "2.0.bn1", "2.0.relu", "2.0.bn2", "2.0", "2.1.relu", "2", "4", "6"]


def brute_force(models, batches, names, hsic=hsic1):
    """Features of every point kept, in float32 as the networks give them; everything after in float64."""
    features = []
    for x in batches:
        kept = []
        for model in models:
            model = copy.deepcopy(model).eval()
            found = {}
            with ActivationRecorder(
                model, names, lambda name, y, found=found: found.update({name: y.numpy().copy()})
            ) as recorder:
                recorder.run(x)
            order = sorted(found, key=lambda n: (names.index(n.partition("#")[0]), n))
            kept += [found[name] for name in order]
        features.append(kept)
    return cka_matrix(features, hsic)


@pytest.mark.parametrize("kind", ["unbiased", "biased"])
def test_equals_the_float64_brute_force_with_repeated_calls_and_a_short_last_batch(kind):
    models = {"P": network(0), "RI": network(1), "wide": network(2, 12)}
    result = cka_networks(models, loader(), modules=EVERY, execution=ON_CPU, estimator=CkaEstimator(kind=kind))
    expected = brute_force(models.values(), images().split(20), EVERY, hsic1 if kind == "unbiased" else hsic0)
    assert result.values.shape == expected.shape
    np.testing.assert_allclose(result.values, expected, atol=1e-6, rtol=0)
    assert not result.null.any()
    assert (result.examples, result.dropped, result.batches) == (46, 0, 3)
    assert (result.batch_size, result.last_batch, result.shuffled) == (20, 6, False)
    assert "2.0.relu#2" in result.modules["P"]
    assert result.modules["P"].index("2.0.relu#2") == result.modules["P"].index("2.0.relu") + 1
    np.testing.assert_array_equal(result.between("P", "wide"), result.between("wide", "P").T)


@pytest.mark.parametrize("offset", [0.0, 100.0])
@pytest.mark.parametrize("shuffle", [False, True])
def test_a_network_with_itself_is_one(offset, shuffle):
    """Shuffling, in-place ReLU, a module called twice, a short last batch, features of mean 100."""
    model = network(0)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for net in (model, twin):
            net[0].bias += offset
    result = cka(model, twin, loader(46, 20, offset, shuffle=shuffle), modules=EVERY, execution=ON_CPU)
    assert result.shuffled is shuffle
    diagonal = result.between("a", "b").diagonal()
    assert len(diagonal) == 13
    assert not np.ma.getmaskarray(diagonal).any()
    assert np.abs(diagonal - 1).max() <= 1e-6
    assert np.abs(np.diagonal(result.values) - 1).max() <= 1e-6
    assert np.abs(result.values).max() <= 1 + 1e-9


def test_features_of_mean_100_equal_the_brute_force():
    models = {"P": network(0), "RI": network(1)}
    with torch.no_grad():
        for model in models.values():
            model[0].bias += 100
    result = cka_networks(models, loader(40), modules=["0", "2.0.conv1", "2.0"], execution=ON_CPU)
    expected = brute_force(models.values(), images(40).split(20), ["0", "2.0.conv1", "2.0"])
    np.testing.assert_allclose(result.values, expected, atol=1e-6, rtol=0)


def state(model):
    return (
        {name: (tensor.clone(), tensor.data_ptr(), tensor.stride()) for name, tensor in model.state_dict().items()},
        [module.training for module in model.modules()],
        [parameter.requires_grad for parameter in model.parameters()],
        [list(module._forward_hooks) for module in model.modules()],
        [parameter.device for parameter in model.parameters()],
    )


def assert_unchanged(model, before):
    after = state(model)
    assert after[1:] == before[1:]
    for name, (tensor, pointer, stride) in before[0].items():
        assert torch.equal(after[0][name][0], tensor), name
        assert after[0][name][1:] == (pointer, stride), name


@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
@pytest.mark.parametrize("fails", [False, True])
def test_the_callers_network_and_data_are_unchanged(fails, memory_format):
    model = network(0)
    model.train()
    model[2][0].bn1.eval()
    model[0].weight.requires_grad_(False)
    model[6].register_forward_hook(lambda *_: None)
    before = state(model)
    data = [images(8), images(8), torch.randn(8, 4, 12, 12) if fails else images(8)]
    kept = [x.clone() for x in data]
    if fails:
        with pytest.raises(RuntimeError, match="expected input"):
            cka(model, network(1), data, execution=Execution(memory_format=memory_format, device="cpu"))
    else:
        cka(model, network(1), data, execution=Execution(memory_format=memory_format, device="cpu"))
    assert_unchanged(model, before)
    assert all(map(torch.equal, data, kept))
    model(images(8)).sum().backward()  # still trainable


def test_a_network_that_begins_in_place_does_not_spoil_the_next():
    data = [images(8)]
    kept = data[0].clone()
    first = nn.Sequential(nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(432, 3))
    second = nn.Sequential(nn.Flatten(), nn.Linear(432, 3))
    both = cka_networks({"a": first, "b": second}, data, modules={"a": ["2"], "b": ["0", "1"]}, execution=ON_CPU)
    alone = cka_networks({"b": second}, data, modules=["0", "1"], execution=ON_CPU)
    np.testing.assert_array_equal(both.between("b", "b"), alone.between("b", "b"))
    assert torch.equal(data[0], kept)


def test_all_parts_of_a_granularity_by_default_and_shared_networks_run_once():
    model, other = network(0), network(1)
    passes = []
    model[0].register_forward_hook(lambda _m, inputs, _o: passes.append(len(inputs[0])))
    result = cka_networks({"P": model, "RI": other, "again": model}, loader(), execution=ON_CPU)
    assert result.modules["P"] == ("0", "2.0", "2.1", "6")
    assert passes.count(20) == 2
    np.testing.assert_array_equal(result.between("P", "RI"), result.between("again", "RI"))
    np.testing.assert_array_equal(result.between("P", "P"), result.between("P", "again"))
    one = cka(model, loader=loader(), execution=ON_CPU)
    assert one.networks == ("a",)
    # Another set of networks, another width of the product of all pairs: equal but for the last bits.
    np.testing.assert_allclose(one.between("a", "a"), result.between("P", "P"), atol=1e-12)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "densenet121"])
@pytest.mark.parametrize("granularity", ["stage", "block"])
def test_real_architectures(name, granularity):
    options = {"vit_tiny_patch16_224": {"img_size": 32, "depth": 3}, "densenet121": {"block_config": (2, 2)}}.get(
        name, {"img_size": 64, "window_size": 2, "depths": (1, 1, 2, 1), "embed_dim": 12, "num_heads": (1, 1, 1, 1)}
    )
    torch.manual_seed(0)
    model = timm.create_model(name, pretrained=False, num_classes=4, **options)
    size = options.get("img_size", 32)
    data = [torch.randn(6, 3, size, size) for _ in range(2)]
    result = cka(model, loader=data, granularity=granularity, execution=ON_CPU)
    assert not result.unusable
    valid = np.diagonal(result.values)[~np.diagonal(result.null)]
    assert len(valid) >= len(result.modules["a"]) - 1
    assert np.abs(valid - 1).max() <= 1e-6


def test_bfloat16_is_near_and_said():
    models = {"P": network(0), "RI": network(1)}
    exact = cka_networks(models, loader(), modules=EVERY[:9], execution=ON_CPU)
    fast = cka_networks(
        models,
        loader(),
        modules=EVERY[:9],
        execution=Execution(device="cpu", precision="bfloat16", memory_format="channels_last"),
    )
    assert (fast.precision, fast.memory_format, fast.device) == ("bfloat16", "channels_last", "cpu")
    difference = np.abs(exact.values - fast.values).max()
    assert 0 < difference < 2e-2


def test_bookkeeping_of_dropped_examples():
    model = network(0)
    dropped = cka(model, loader=loader(43), execution=ON_CPU)
    assert (dropped.examples, dropped.dropped, dropped.batches, dropped.last_batch) == (40, 3, 2, 20)
    left_out = cka(model, loader=loader(46, drop_last=True), execution=ON_CPU)
    assert (left_out.examples, left_out.dropped) == (40, 6)
    exact = cka(model, loader=[images()[:20], images()[20:40]], execution=ON_CPU)
    np.testing.assert_array_equal(left_out.values, exact.values)
    seen = []
    cka(model, loader=loader(46), execution=ON_CPU, on_batch=seen.append)
    assert seen == [20, 40, 46]


def test_a_constant_output_is_null_with_its_reason_and_rows_hold_no_nan():
    model = network(0)
    with torch.no_grad():
        model[6].weight.zero_()
    result = cka(model, network(1), loader(), execution=ON_CPU)
    assert result.reasons == {("a", "6"): "the same for all examples, up to rounding"}
    assert np.isfinite(result.values).all()
    assert np.ma.getmaskarray(result.between("a", "b"))[3].all()
    rows = result.rows()
    assert len(rows) == 3 * 16
    nulls = [row for row in rows if row["cka"] is None]
    assert nulls
    assert all("6" in (row["module_a"], row["module_b"]) and row["reason"] for row in nulls)
    assert all(row["reason"] is None for row in rows if row["cka"] is not None)


def test_rows_and_between_agree():
    result = cka(network(0), network(1), loader(), execution=ON_CPU)
    row = next(r for r in result.rows() if (r["network_a"], r["module_a"], r["module_b"]) == ("a", "2.1", "0"))
    assert row["network_b"] == "a"
    cross = [r for r in result.rows() if (r["network_a"], r["network_b"]) == ("a", "b")]
    np.testing.assert_array_equal([r["cka"] for r in cross], result.between("a", "b").ravel())
    with pytest.raises(ModuleNameError, match="no network 'c' in this result"):
        result.between("a", "c")


class Odd(nn.Module):
    """One module never called, one of several tensors, one that is sequence-first."""

    def __init__(self):
        super().__init__()
        self.used, self.unused, self.pair = nn.Linear(6, 6), nn.Linear(6, 6), Pair()
        self.turned = nn.Linear(6, 6)

    def forward(self, x):
        self.pair(x)
        # Six rows whatever the number of examples.
        self.turned(x[:1].expand(6, 6))
        return self.used(x)


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(6))

    def forward(self, x):
        return x, x * self.weight


class Noisy(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 6)

    def forward(self, x):
        return nn.functional.dropout(self.linear(x))  # ignores evaluation mode


BATCHES = [torch.randn(6, 6, generator=torch.Generator().manual_seed(s)) for s in range(2)]


def test_parts_that_cannot_be_compared_are_told_not_hidden():
    result = cka(Odd(), loader=BATCHES, execution=ON_CPU)
    assert result.modules["a"] == ("used",)
    assert result.unusable.keys() == {("a", "unused"), ("a", "pair"), ("a", "turned")}
    assert result.unusable["a", "unused"] == "is never called"


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("unused", "hook on 'unused' of network 'a' stayed empty"),
        ("pair", "output of module 'pair' cannot be compared"),
        ("turned", "output of module 'turned' of network 'a' is not one row for each example"),
    ],
)
def test_named_modules_that_cannot_be_compared_are_errors(name, match):
    model = Odd()
    before = state(model)
    with pytest.raises(ActivationError, match=match):
        cka(model, loader=BATCHES, modules=["used", name], execution=ON_CPU)
    assert_unchanged(model, before)


def test_errors():
    model = Odd()
    small = re.escape("a batch of 3 examples is too small for unbiased CKA")
    with pytest.raises(MeasureError, match=small):
        cka(model, loader=[BATCHES[0][:3]], execution=ON_CPU)
    with pytest.raises(MeasureError, match=small):
        cka(model, loader=[BATCHES[0], BATCHES[0][:3], BATCHES[0]], execution=ON_CPU)
    with pytest.raises(ModuleNameError, match=r"no module 'usde'[\s\S]*did you mean 'used'"):
        cka(model, loader=BATCHES, modules="usde", execution=ON_CPU)
    with pytest.raises(ModuleNameError, match="modules are named for other networks than there are: 'c'"):
        cka(model, model, BATCHES, modules={"a": ["used"], "c": ["used"]}, execution=ON_CPU)
    with pytest.raises(ModuleNameError, match="modules are named for other networks than there are: 'b'"):
        cka(model, model, BATCHES, modules={"a": ["used"]}, execution=ON_CPU)
    with pytest.raises(ActivationError, match="no module of network 'a' has an output"):
        cka(nn.Sequential(nn.ReLU()), loader=BATCHES, execution=ON_CPU)
    with pytest.raises(MeasureError, match="there is no network"):
        cka_networks({}, BATCHES)
    with pytest.raises(LoaderError, match="there is no loader"):
        cka(model)
    with pytest.raises(MeasureError, match=r"cannot take this as execution.precision[\s\S]*bfloat16"):
        cka(model, loader=BATCHES, execution=Execution(precision="bfloat"))
    with pytest.raises(MeasureError, match="cannot take this as granularity"):
        cka(model, loader=BATCHES, granularity="blocks")
    with pytest.raises(MeasureError, match=r"cannot take this as execution\.memory_format"):
        cka(model, loader=BATCHES, execution=Execution(memory_format="last"))
    with pytest.raises(MeasureError, match=r"cannot take this as estimator\.kind"):
        cka(model, loader=BATCHES, estimator=CkaEstimator(kind="debiased"))
    with pytest.raises(StudyError, match="is not a device"):
        cka(model, loader=BATCHES, execution=Execution(device="gpu"))


def test_what_does_not_repeat_itself_is_found_before_computing():
    model = network(0)
    with pytest.raises(LoaderError, match="draws other examples each time"):
        cka(model, loader=loader(46, shuffle=True, drop_last=True), execution=ON_CPU)
    with pytest.raises(LoaderError, match="can be read only once"):
        cka(model, loader=iter([images(8)]), execution=ON_CPU)
    result = cka(model, loader=iter([images(8)]), execution=ON_CPU, repeatable=False)
    assert result.examples == 8
    with pytest.raises(LoaderError, match="has no batches"):
        cka(model, loader=iter([]), execution=ON_CPU, repeatable=False)
    with pytest.raises(ArchitectureError, match="other outputs for the same images in evaluation mode"):
        cka(Noisy(), loader=BATCHES, execution=ON_CPU)


class Wavering(nn.Module):
    """Calls its ReLU once more when the batch is large."""

    def __init__(self):
        super().__init__()
        self.linear, self.relu = nn.Linear(6, 6), nn.ReLU()

    def forward(self, x):
        x = self.relu(self.linear(x))
        return self.relu(x) if len(x) > 3 else x


def test_a_network_that_calls_modules_in_another_way_later():
    with pytest.raises(ActivationError, match=r"calls modules in another way[\s\S]*relu#2"):
        cka(Wavering(), loader=BATCHES, modules=["relu"], execution=ON_CPU)
