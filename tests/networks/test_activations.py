"""The recorder: values at hook time, repeated calls, errors that name the module, nothing left behind."""

import pytest
import torch
from torch import nn

from transferscope.errors import ActivationError, ModuleNameError
from transferscope.networks.activations import ActivationRecorder, only_tensor


def record(model, names, x, **options):
    found = {}
    with ActivationRecorder(
        model, names, lambda name, output: found.update({name: output.clone()}), **options
    ) as recorder:
        output = recorder.run(x)
    return found, output


class Shared(nn.Module):
    """One ReLU called twice; one module never called; tuples, dictionaries and integers as outputs."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.unused = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3)
        self.relu = nn.ReLU(inplace=True)
        self.pair, self.one, self.count = Returns("pair"), Returns("one"), Returns("count")

    def forward(self, x):
        x = self.relu(self.first(x))
        x = self.relu(self.second(x) - 0.5)
        self.pair(x), self.count(x)
        return self.one(x)["x"][0]


class Returns(nn.Module):
    def __init__(self, what):
        super().__init__()
        self.what = what

    def forward(self, x):
        return {"pair": (x, x), "one": {"x": (x, None), "n": 3}, "count": x.argmax(-1)}[self.what]


def hooks(model):
    return [len(module._forward_hooks) for module in model.modules()]


def test_value_is_taken_before_an_in_place_module_overwrites_it():
    model = nn.Sequential(nn.Linear(3, 5), nn.ReLU(inplace=True), nn.Linear(5, 2))
    x = torch.randn(7, 3)
    found, output = record(model, ["0", "1"], x)
    assert torch.equal(found["0"], model[0](x))
    assert found["0"].min() < 0
    assert torch.equal(found["1"], found["0"].relu())
    assert torch.equal(output, model(x))


def test_every_call_of_a_module_is_recorded_under_its_own_name():
    model, x = Shared(), torch.randn(4, 3)
    found, _ = record(model, ["relu", "second"], x)
    assert list(found) == ["relu", "second", "relu#2"]
    assert torch.equal(found["relu"], model.first(x).relu())
    assert torch.equal(found["relu#2"], (found["second"] - 0.5).relu())
    only, _ = record(model, ["relu#2"], x)
    assert list(only) == ["relu#2"]
    assert torch.equal(only["relu#2"], found["relu#2"])
    both, _ = record(model, ["relu#1", "relu"], x)
    assert list(both) == ["relu", "relu#1", "relu#2"]


def test_a_single_tensor_inside_tuples_and_dictionaries_is_found():
    model, x = Shared(), torch.randn(4, 3)
    found, output = record(model, ["one"], x)
    assert torch.equal(found["one"], output)


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("unused", r"hook on 'unused' of network 'P' stayed empty: the module is never called"),
        ("relu#3", r"hook on 'relu#3' of network 'P' stayed empty: the module is called 2 time\(s\), not 3"),
        ("pair", r"output of module 'pair' cannot be compared[\s\S]*torch.float32 \(4, 3\), torch.float32 \(4, 3\)"),
        ("count", r"output of module 'count' cannot be compared[\s\S]*torch.int64"),
    ],
)
def test_errors_name_the_module_and_remove_the_hooks(name, match):
    model = Shared()
    with pytest.raises(ActivationError, match=match):
        record(model, ["first", name], torch.randn(4, 3), label="network 'P'")
    assert not any(hooks(model))


def test_without_strict_the_reasons_are_noted():
    model = Shared()
    with ActivationRecorder(model, ["first", "unused", "pair", "relu#3"], lambda *_: None, strict=False) as recorder:
        recorder.run(torch.randn(4, 3))
    assert recorder.unusable.keys() == {"unused", "pair", "relu#3"}
    assert recorder.unusable["unused"] == "is never called"


def test_unknown_module():
    model = Shared()
    for name in ("frist", "frist#2"):
        with pytest.raises(ModuleNameError, match=r"no module 'frist'[\s\S]*did you mean 'first'"):
            record(model, ["second", name], torch.randn(4, 3))
    assert not any(hooks(model))


def test_hooks_go_on_exceptions_and_the_callers_stay():
    model, calls = Shared(), []
    model.first.register_forward_hook(lambda *_: calls.append(1))
    before = hooks(model)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        record(model, ["first", "relu"], torch.randn(4, 5))
    with pytest.raises(ZeroDivisionError), ActivationRecorder(model, ["first"], lambda *_: 1 / 0) as recorder:
        recorder.run(torch.randn(4, 3))
    assert hooks(model) == before
    record(model, ["first"], torch.randn(4, 3))
    assert hooks(model) == before
    assert calls
    assert model.training


def test_only_its_own_pass_is_recorded():
    model, found = Shared(), []
    with ActivationRecorder(model, ["first"], lambda name, _: found.append(name)) as recorder:
        model(torch.randn(4, 3))
        assert found == []
        recorder.run(torch.randn(4, 3))
        recorder.run(torch.randn(4, 3))
    assert found == ["first", "first"]
    with pytest.raises(RuntimeError, match="with statement"):
        recorder.run(torch.randn(4, 3))


def test_only_tensor():
    assert only_tensor([torch.ones(1)], "x").item() == 1
    with pytest.raises(ActivationError, match=r"got: +NoneType"):
        only_tensor(None, "x")
