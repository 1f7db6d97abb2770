"""A network handed in is the same object, usable, afterwards: after success, after an error in it or in the loader."""

import random
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import transferscope as ts
from tests.callers import FUNCTIONS

pytestmark = pytest.mark.kind("F9")


class Failing(nn.Module):
    """Caches, counts, drops out, and can be told to fail."""

    left = 10**9

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.conv, self.norm, self.drop = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5)
        self.fc = nn.Linear(4, 3)
        self.register_buffer("table", None, persistent=False)
        self.seen, self.latest = [], None

    def forward(self, x):
        type(self).left -= 1
        if self.left < 0:
            raise ArithmeticError("in the network")
        if self.table is None:
            self.table = torch.arange(4.0).to(x)
        self.latest = self.drop(self.norm(self.conv(x)).relu().mean((2, 3))) + self.table
        self.seen.append(self.latest)
        return self.fc(self.latest)


class Batches:
    """Two batches; after some passes one of them cannot be read."""

    def __init__(self, good_passes: int, bad: int = 1) -> None:
        generator = torch.Generator().manual_seed(0)
        self.batches = [(torch.randn(12, 3, 6, 6, generator=generator), torch.arange(12) % 3) for _ in range(2)]
        self.good_passes, self.bad, self.passes = good_passes, bad, 0

    def __iter__(self):
        self.passes += 1
        for number, batch in enumerate(self.batches):
            if number == self.bad and self.passes > self.good_passes:
                raise OSError("in the loader")
            yield batch
            torch.rand(1)  # any DataLoader draws from the global state


def patched(self, x):
    return nn.Linear.forward(self, x) * 2


def prepared(seed: int) -> Failing:
    """Mixed modes, frozen parts, a gradient, hooks, odd strides, a replaced forward, cached activations."""
    model = Failing(seed)
    model.conv.to(memory_format=torch.channels_last)
    model.fc.weight.requires_grad_(False)
    model.fc.forward = types.MethodType(patched, model.fc)
    model(torch.ones(2, 3, 6, 6)).sum().backward()
    model.table = None
    model.norm.eval()
    model.conv.register_forward_hook(lambda *_: None)
    model.fc.register_forward_pre_hook(lambda *_: None)
    return model


def picture(model: nn.Module):
    tensors = [*model.named_parameters(), *model.named_buffers()]
    return {
        "values": {name: tensor.detach().clone() for name, tensor in tensors},
        "identity": {n: (id(t), t.data_ptr(), t.stride(), t.dtype, t.requires_grad) for n, t in tensors},
        "gradients": {n: (id(p.grad), p.grad.clone()) for n, p in model.named_parameters() if p.grad is not None},
        "attributes": [{key: id(value) for key, value in vars(m).items()} for m in model.modules()],
        "modes": [m.training for m in model.modules()],
        "entries": [
            [list(map(id, v)) if isinstance(v, list) else [*v] for v in vars(m).values() if isinstance(v, (list, dict))]
            for m in model.modules()
        ],
    }


def random_state():
    return torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()


def assert_same(before, after) -> None:
    assert before.keys() == after.keys()
    for part in before:
        torch.testing.assert_close(before[part], after[part], rtol=0, atol=0) if part == "values" else None
        if part == "gradients":
            assert all(
                before[part][name][0] == after[part][name][0]
                and torch.equal(before[part][name][1], after[part][name][1])
                for name in before[part]
            )
        elif part != "values":
            assert before[part] == after[part], part


@pytest.mark.parametrize(
    ("call", "place"),
    [
        (lambda a: ts.linear_path(a, a, {}, device="cpu"), r"evaluation=Evaluation\(device=\.\.\.\)"),
        (lambda a: ts.cka(a, loader=[], kind="rbf"), r"estimator=CkaEstimator\(kind=\.\.\.\)"),
    ],
)
def test_a_keyword_of_a_settings_object_says_where_it_belongs(call: Callable[[nn.Module], Any], place: str) -> None:
    with pytest.raises(TypeError, match=place):
        call(nn.Linear(2, 2))


def test_an_unknown_keyword_is_still_one() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'devise'"):
        ts.cka(nn.Linear(2, 2), loader=[], devise="cpu")


@pytest.mark.parametrize("event", ["success", "error in the network", "error in the loader"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_networks_are_given_back_as_they_were(name: str, event: str) -> None:
    if (name, event) == ("spectra", "error in the loader"):
        pytest.skip("takes one batch, no loader")
    a, b = prepared(1), prepared(2)
    # Most check first that two passes give the same.
    good = (0 if name == "channel_reuse" else 2) if event == "error in the loader" else 10**9
    data = Batches(good, bad=0 if name == "align" else 1)
    before, randomness = [picture(a), picture(b)], random_state()
    Failing.left = {"error in the network": 0 if name == "spectra" else 3}.get(event, 10**9)
    expected = {"error in the network": ArithmeticError, "error in the loader": OSError}.get(event)
    try:
        if expected is None:
            FUNCTIONS[name](a, b, data)
        else:
            with pytest.raises(expected, match="in the"):
                FUNCTIONS[name](a, b, data)
    finally:
        Failing.left = 10**9
    for former, network in zip(before, (a, b), strict=True):
        assert_same(former, picture(network))
    for former, state in zip(randomness, random_state(), strict=True):
        assert np.array_equal(former, state) if isinstance(former, (np.ndarray, torch.Tensor)) else former == state
    # It can still be trained: nothing of inference mode is left in it.
    a.train()(torch.ones(2, 3, 6, 6)).sum().backward()
