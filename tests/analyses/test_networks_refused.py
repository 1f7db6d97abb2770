"""Networks that cannot be looked at, and the cause that is named where two do not fit."""

import copy
import types
import warnings

import pytest
import torch
from torch import nn

import transferscope as ts
from tests.analyses.test_networks_of_all_kinds import PAIRS, Wrapper, path, small
from tests.callers import CPU, FUNCTIONS
from transferscope.errors import AlignmentError, ArchitectureError, MeasureError, TransferscopeError


def lazy() -> nn.Module:
    return nn.Sequential(nn.LazyConv2d(4, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3))


def of_inference_mode() -> nn.Module:
    with torch.inference_mode():
        return small()


class MakesItself(nn.Module):
    """Lazy without torch's own lazy modules."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), None

    def forward(self, x):
        x = self.conv(x).flatten(1)
        if self.fc is None:
            self.fc = nn.Linear(x.shape[1], 3)
        return self.fc(x)


with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    SCRIPTED = torch.jit.script(small())
    TRACED = torch.jit.trace(small(), PAIRS[0][0])

REFUSED = {
    "scripted": ("F15", lambda: SCRIPTED, "TorchScript networks are not supported"),
    "traced": ("F15", lambda: TRACED, "TorchScript networks are not supported"),
    "scripted inside": ("F15", lambda: nn.Sequential(nn.Identity(), SCRIPTED), "TorchScript(?s:.*)at '1'"),
    "scripted and spread": ("F15", lambda: nn.DataParallel(TRACED), "TorchScript(?s:.*)at 'module'"),
    "lazy": ("F9", lazy, "not initialised: '0.weight' has no shape(?s:.*)run it on one batch"),
    "lazy buffers": ("F9", lambda: nn.Sequential(nn.LazyBatchNorm2d(affine=False), small()), "'0.running_mean'"),
    "makes itself": ("F9", MakesItself, r"makes parameters in its first forward pass(?s:.*)fc\.weight"),
    "meta": ("F9", lambda: small().to("meta"), "holds no values: '0.weight' is on the device 'meta'"),
    "of inference mode": ("F9", of_inference_mode, "made in inference mode: '0.weight'"),
    "weights": ("F9", lambda: small().state_dict(), "this is no network"),
    "a function": ("F9", lambda: torch.relu, "this is no network"),
    "a compiled function": ("F16", lambda: torch.compile(small().forward, backend="eager"), "of a compiled function"),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize(
    "what", [pytest.param(key, marks=pytest.mark.kind(value[0])) for key, value in REFUSED.items()]
)
def test_networks_that_cannot_be_looked_at(name: str, what: str) -> None:
    _, make, message = REFUSED[what]
    if (what, name) in (("makes itself", "spectra"), ("makes itself", "domain_distance")):
        pytest.skip("looks at what there is")
    a, b = make(), make() if what == "makes itself" else small(1)
    with pytest.raises(ArchitectureError, match=message):
        FUNCTIONS[name](a, b, PAIRS)
    if what == "lazy":
        assert [type(module) for module in a] == [nn.LazyConv2d, nn.ReLU, nn.Flatten, nn.LazyLinear]
        a(PAIRS[0][0])  # can still be initialised


def headed(classes: int) -> nn.Module:
    network = small()
    network[3] = nn.Linear(144, classes)
    return network


class Tied(nn.Module):
    def __init__(self, tied: bool) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(192, 192), nn.Linear(192, 192)
        self.fc = nn.Linear(192, 3)
        if tied:
            self.second.weight = self.first.weight

    def forward(self, x):
        return self.fc(self.second(self.first(x.flatten(1))))


def cached(ran: bool) -> nn.Module:
    network = small()
    network.register_buffer("positions", torch.ones(3) if ran else None)
    return network


@pytest.mark.kind("F21")
@pytest.mark.parametrize(
    ("b", "cause"),
    [
        (lambda: small(1).bfloat16(), r"one is float32, the other bfloat16(?s:.*)b\.to\(torch\.float32\)"),
        (lambda: small(1).double(), "one is float32, the other float64"),
        (lambda: nn.DataParallel(small(1)), r"the second is wrapped(?s:.*)'module\.'(?s:.*)get_submodule\('module'\)"),
        (lambda: Wrapper(small(1)), r"differ"),
        (lambda: nn.Sequential(nn.Identity(), small(1)), r"the second is wrapped(?s:.*)get_submodule\('1'\)"),
        (lambda: headed(5), r"the module '3' has another size(?s:.*)if it is the head, name it"),
        (lambda: cached(True), r"positions \(a buffer is in the second(?s:.*)run both on a batch before, or neither"),
    ],
)
def test_why_there_is_no_line_between_networks(b, cause: str) -> None:
    a = cached(False)
    with pytest.raises(MeasureError, match=cause):
        path(a, b())
    compared = ts.compare(
        a, b(), PAIRS, path=ts.PathGrid(points=3, refine=None), align_by=None, evaluation=ts.Evaluation(**CPU)
    )
    assert {"path", "distance and path"} & compared.not_measured.keys()


@pytest.mark.kind("F21")
def test_other_causes_of_no_line() -> None:
    with pytest.raises(MeasureError, match=r"the first is wrapped"):
        path(nn.DataParallel(small(0)), small(1))
    with pytest.raises(MeasureError, match=r"second\.weight \(a weight is tied(?s:.*)tie it in both"):
        path(Tied(True), Tied(False))
    with pytest.raises(MeasureError, match=r"2\.weight(?s:.*)tensors are in one of them alone"):
        path(nn.Sequential(nn.Flatten(), nn.Linear(192, 3)), nn.Sequential(nn.Flatten(), nn.ReLU(), nn.Linear(192, 3)))
    with pytest.raises(AlignmentError, match="the second is wrapped"):
        ts.align(small(0), nn.Sequential(nn.Identity(), small(1)), PAIRS, **CPU)


@pytest.mark.kind("F21")
@pytest.mark.parametrize(
    ("network", "labels", "message"),
    [
        (lambda: headed(1), lambda y: y % 2, r"one output, and labels name two classes(?s:.*)labels\[:, None\]"),
        (lambda: headed(1), lambda y: (y % 2).float(), r"labels must be integers(?s:.*)labels\[:, None\]"),
        (lambda: headed(3), lambda y: y + 1, r"out of range(?s:.*)0 to 2(?s:.*)1 to 3(?s:.*)labels - 1"),
        (lambda: headed(3), lambda y: y - 1, r"out of range(?s:.*)-1 to 1(?s:.*)without a label"),
        (lambda: headed(2), lambda y: y, r"out of range(?s:.*)0 to 2 for 2 outputs(?s:.*)as many outputs"),
        (lambda: headed(3), lambda y: y[:, None], r"do not fit(?s:.*)labels\.squeeze\(1\)"),
        (lambda: headed(3), lambda y: y.double(), r"labels must be integers(?s:.*)labels\.long\(\)"),
    ],
)
def test_why_labels_do_not_fit(network, labels, message: str) -> None:
    data = [(x, labels(y)) for x, y in PAIRS]
    for call in (
        lambda: path(network(), network(), data),
        lambda: ts.compare(network(), network(), data, evaluation=ts.Evaluation(**CPU)),
    ):
        with pytest.raises(MeasureError, match=message):
            call()


class Output(nn.Module):
    def __init__(self, form) -> None:
        super().__init__()
        self.net, self.form = small(), form

    def forward(self, x):
        return self.form(self.net(x))


@pytest.mark.kind("F21")
@pytest.mark.parametrize(
    "form", [lambda x: (x, x), lambda x: [x], lambda x: {"logits": x}, lambda x: types.SimpleNamespace(logits=x)]
)
@pytest.mark.parametrize(
    "name", ["linear_path", "compare", "hessian", "rewind", "criticality", "align", "plane_around"]
)
def test_outputs_that_are_no_logits(name: str, form) -> None:
    with pytest.raises(
        TransferscopeError, match=r"does not give one (row of logits per image|tensor)|cannot be traced"
    ):
        FUNCTIONS[name](Output(form), copy.deepcopy(Output(form)), PAIRS)


class Stochastic(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = small()

    def forward(self, x):
        return nn.functional.dropout(self.net(x), 0.5, training=True)


@pytest.mark.kind("F9")
@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name not in ("spectra", "domain_distance")])
def test_dropout_that_ignores_the_mode(name: str) -> None:
    with pytest.raises(ArchitectureError, match="other outputs for the same images"):
        FUNCTIONS[name](Stochastic(), Stochastic(), PAIRS)
