import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from transferscope.errors import ArchitectureError, LoaderError, StudyError
from transferscope.networks.evaluate import (
    check_deterministic,
    check_network_deterministic,
    logits,
    preserved,
    resolve_device,
)

CPU = torch.device("cpu")
IMAGES = torch.randn(7, 3, 8, 8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(7)
BATCHES = [(IMAGES[:4], LABELS[:4]), (IMAGES[4:], LABELS[4:])]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm, self.drop = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5)
        self.fc = nn.Linear(4, 5)
        self.register_buffer("counter", torch.zeros(2), persistent=False)
        self.fails = False

    def forward(self, x):
        if self.fails:
            raise ValueError("in the middle")
        self.counter += 1
        return self.fc(self.drop(self.norm(self.conv(x)).relu().mean((2, 3))))


def prepared():
    """A network in a state of its own: mixed modes, frozen parts, a gradient, hooks, odd strides."""
    model = Net()
    model.conv.to(memory_format=torch.channels_last)
    model.norm.eval()
    model.fc.weight.requires_grad_(False)
    model.conv.weight.grad = torch.ones_like(model.conv.weight)
    handle = model.fc.register_forward_hook(lambda *_: None)
    model.conv.register_forward_pre_hook(lambda *_: None)
    model.conv.register_full_backward_hook(lambda *_: None)
    return model, handle


def picture(model):
    """All that must not change, identities of tensors and hooks included."""
    tensors = [*model.named_parameters(), *model.named_buffers()]
    return {
        "values": {k: v.detach().clone() for k, v in tensors},
        "identity": {k: (id(v), v.data_ptr(), v.stride(), v.dtype, v.device, v.requires_grad) for k, v in tensors},
        "gradients": {k: (id(p.grad), p.grad.data_ptr()) for k, p in model.named_parameters() if p.grad is not None},
        "modes": [m.training for m in model.modules()],
        "hooks": [
            [list(d) for d in (m._forward_hooks, m._forward_pre_hooks, m._backward_hooks, m._backward_pre_hooks)]
            for m in model.modules()
        ],
    }  # fmt: skip


def assert_same(a, b):
    assert a["values"].keys() == b["values"].keys()
    assert all(torch.equal(a["values"][name], b["values"][name]) for name in a["values"])
    for part in ("identity", "gradients", "modes", "hooks"):
        assert a[part] == b[part]


@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_logits(memory_format, precision):
    model = Net()
    got, labels = logits(model, BATCHES, CPU, precision, memory_format)
    with torch.no_grad():
        expected = Net().eval()(IMAGES)
    tolerance = 1e-5 if precision == "float32" else 3e-2
    torch.testing.assert_close(got, expected, atol=tolerance, rtol=tolerance)
    assert (got.dtype, tuple(got.shape)) == (torch.float32, (7, 5))
    assert torch.equal(labels, LABELS)
    assert not got.is_inference()
    assert not got.requires_grad
    again, _ = logits(model, BATCHES, CPU, precision, memory_format)
    assert torch.equal(got, again)


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")
@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
def test_the_callers_network_is_unchanged(memory_format):
    model, _ = prepared()
    before = picture(model)
    logits(model, BATCHES, CPU, "bfloat16", memory_format)
    assert_same(before, picture(model))
    model.fails = True
    with pytest.raises(ValueError, match="in the middle"):
        logits(model, BATCHES, CPU, "float32", memory_format)
    assert_same(before, picture(model))
    # It can still be trained: nothing of inference mode is left in it.
    model.fails = False
    model.train()(IMAGES).sum().backward()


def test_preserved_restores_everything_after_an_exception():
    model, handle = prepared()
    before = picture(model)

    def disturb(inside):
        assert inside is model
        model.train().double()  # exchanges data of weights, gradients and buffers, as a move to a device does
        model.requires_grad_(True)
        model.norm.running_mean.add_(3)
        model.counter = torch.ones(9)
        model.fc.register_forward_hook(lambda *_: None)
        handle.remove()
        model.zero_grad(set_to_none=True)
        model.fc.weight = nn.Parameter(torch.zeros(1, 1))
        raise KeyError

    with pytest.raises(KeyError), preserved(model) as inside:
        disturb(inside)
    assert_same(before, picture(model))
    handle.remove()  # handles given out before still work
    assert not model.fc._forward_hooks


def test_preserved_weights_on_request():
    model = Net()
    before = picture(model)
    with preserved(model, weights=True), torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)
    assert_same(before, picture(model))
    with preserved(model), torch.no_grad():
        model.fc.weight.mul_(2)
    assert torch.equal(model.fc.weight, 2 * before["values"]["fc.weight"])


def test_logits_that_are_not_finite_are_returned_as_they_are():
    model = Net()
    model.fc.bias.data[1] = float("nan")
    got, _ = logits(model, BATCHES, CPU)
    assert got[:, 1].isnan().all()
    assert got[:, 0].isfinite().all()


def test_labels_of_several_per_image():
    labels = torch.ones(7, 3)
    _, got = logits(Net(), [(IMAGES, labels)], CPU)
    assert torch.equal(got, labels)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Conv2d(3, 2, 3), r"one row of logits per image(?s:.*)\(4, classes\)(?s:.*)\(4, 2, 6, 6\)"),
        (nn.Flatten(0), r"one row of logits"),
        (nn.Sequential(nn.Flatten(2), nn.AdaptiveMaxPool1d(2, return_indices=True)), r"logits(?s:.*)tuple"),
    ],
)
def test_networks_without_logits(model, message):
    with pytest.raises(ArchitectureError, match=message):
        logits(model, BATCHES, CPU)


def test_batches_that_cannot_be_evaluated():
    with pytest.raises(LoaderError, match="there is no batch to evaluate on"):
        logits(Net(), [], CPU)
    with pytest.raises(LoaderError, match=r"not as many labels as images(?s:.*)7 labels(?s:.*)6"):
        logits(Net(), [(IMAGES, LABELS[:6])], CPU)


DATA = TensorDataset(IMAGES, LABELS)


class Augmented(TensorDataset):
    def __getitem__(self, index):
        image, label = super().__getitem__(index)
        return image + torch.rand(()), label


class Shrinking:
    def __init__(self):
        self.passes = 0

    def __iter__(self):
        self.passes += 1
        return iter(BATCHES[: 3 - self.passes])


class Growing(Shrinking):
    def __iter__(self):
        self.passes += 1
        return iter(BATCHES[: self.passes])


@pytest.mark.parametrize(
    "batches",
    [
        BATCHES,
        DataLoader(DATA, batch_size=3),
        DataLoader(DATA, batch_size=7, drop_last=True),
        [{"x": IMAGES, "y": LABELS, "n": 1}],
    ],
)
def test_deterministic_loaders(batches):
    check_deterministic(batches)


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        (lambda: DataLoader(DATA, batch_size=3, shuffle=True), r"not deterministic: batch \d(?s:.*)shuffling"),
        (lambda: DataLoader(Augmented(IMAGES, LABELS), batch_size=3), "not deterministic: batch 0"),
        (
            lambda: DataLoader(DATA, batch_size=3, drop_last=True),
            r"leaves examples out(?s:.*)all 7(?s:.*)6 examples in 2(?s:.*)drop_last=False",
        ),
        (lambda: iter(BATCHES), r"read only once(?s:.*)list_iterator"),
        (lambda: (b for b in BATCHES), r"read only once(?s:.*)generator"),
        (lambda: [], "gives no batch"),
        (Shrinking, r"two passes differ in length(?s:.*)2 batches(?s:.*)1 batches"),
        (Growing, r"two passes differ in length(?s:.*)1 batches(?s:.*)2 batches"),
    ],
)
def test_loaders_that_do_not_repeat_themselves(batches, message):
    torch.manual_seed(0)
    with pytest.raises(LoaderError, match=message):
        check_deterministic(batches())


def test_looking_at_a_loader_leaves_global_randomness_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    check_deterministic(DataLoader(DATA, batch_size=3))  # draws a seed at each start
    assert torch.equal(torch.rand(1), expected)


def test_networks_that_do_not_repeat_themselves():
    class Noisy(nn.Module):
        def forward(self, x):
            return nn.functional.dropout(x, 0.5, training=True).flatten(1)

    model, _ = prepared()
    before = picture(model)
    check_network_deterministic(model, IMAGES)  # dropout in train mode is switched off, and on again
    assert_same(before, picture(model))
    with pytest.raises(ArchitectureError, match="other outputs for the same images in evaluation mode"):
        check_network_deterministic(Noisy(), IMAGES)


def test_devices(monkeypatch):
    assert resolve_device("cpu") == CPU
    assert resolve_device(CPU) == CPU
    with pytest.raises(StudyError, match=r"'gpu' is not a device(?s:.*)auto or one of cpu"):
        resolve_device("gpu")
    for name in ("cuda:99", "xpu", "cpu:3"):
        with pytest.raises(StudyError, match=rf"'{name}' is not available(?s:.*)device: auto"):
            resolve_device(name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert resolve_device() == CPU
    with pytest.raises(StudyError, match="'mps' is not available"):
        resolve_device("mps")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert resolve_device("auto") == resolve_device("mps") == torch.device("mps")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("auto").type == "cuda"
    assert resolve_device("cuda:1").index == 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
def test_a_network_comes_back_from_the_accelerator():
    model, _ = prepared()
    before = picture(model)
    got, labels = logits(model, BATCHES, resolve_device("cuda"), "float32", "channels_last")
    assert_same(before, picture(model))
    assert got.device == labels.device == CPU
    torch.testing.assert_close(got, logits(model, BATCHES, CPU)[0], atol=1e-2, rtol=1e-2)
