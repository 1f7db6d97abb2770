"""Spectra of whole networks."""

import pytest
import torch
from torch import nn

from transferscope.errors import MeasureError
from transferscope.measures.circular import CircularDifference
from transferscope.methods.spectra import difference_from_padded, spectra
from transferscope.networks.operators import operators


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=False)
        self.deep = nn.Conv2d(4, 4, 3, stride=2, padding=1, groups=2, bias=False)
        self.up = nn.ConvTranspose2d(4, 5, 2, stride=2, bias=False)
        self.norm = nn.BatchNorm2d(5)
        self.head = nn.Linear(5, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.up(self.deep(self.patch(x)))).mean((2, 3)))


@pytest.fixture
def net() -> Net:
    torch.manual_seed(3)
    return Net()


def test_frobenius_norms_of_every_layer(net: Net) -> None:
    seen = []
    found = spectra(net, torch.zeros(1, 3, 12, 8), on_operator=lambda done, of: seen.append((done, of)))
    norms = {one.operator.name: one.summary.frobenius**2 for one in found.found}
    exact = {name: float((value.detach().double() ** 2).sum()) for name, value in net.named_parameters()}
    assert norms == pytest.approx(
        {
            "patch": 24 * exact["patch.weight"],
            "deep": 6 * exact["deep.weight"],
            "up": 6 * exact["up.weight"],
            "head": exact["head.weight"],
        }
    )
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert set(found.skipped) == {"norm.weight", "norm.bias", "head.bias"}


def test_a_stride_that_does_not_divide_is_told(net: Net) -> None:
    image = torch.zeros(1, 3, 6, 8)  # deep sees 3 × 4
    up = {one.operator.name: one for one in spectra(net, image).found}
    assert (up["deep"].operator.size, up["deep"].size) == ((3, 4), (4, 4))
    assert up["deep"].summary.count == 4 * 4
    left_out = spectra(net, image, indivisible="skip")
    assert "deep" not in {one.operator.name for one in left_out.found}
    assert "does not divide" in left_out.skipped["deep"]


def test_single_precision_tells_its_error(net: Net) -> None:
    exact, fast = (spectra(net, torch.zeros(1, 3, 8, 8), precision=kind).found for kind in ("double", "single"))
    assert all(one.spectrum.error is None for one in exact)
    assert all(one.spectrum.error is not None and one.spectrum.error < 1e-5 for one in fast)
    assert [one.summary.largest for one in fast] == pytest.approx([one.summary.largest for one in exact], rel=1e-5)


def test_a_weight_that_is_not_finite_is_named(net: Net) -> None:
    with torch.no_grad():
        net.deep.weight[0, 0, 0, 0] = float("nan")
    with pytest.raises(MeasureError, match=r"the weight 'deep\.weight' is not finite"):
        spectra(net, torch.zeros(1, 3, 8, 8))


def test_the_difference_to_zero_padding_or_why_there_is_none(net: Net) -> None:
    listed = {one.name: one for one in operators(net, torch.zeros(1, 3, 8, 8)).found}
    found = difference_from_padded(listed["patch"])
    assert isinstance(found, CircularDifference)
    assert 0 < found.any < 1
    assert found.largest <= found.any
    assert difference_from_padded(listed["up"]) == "not a convolution"
    assert (
        difference_from_padded(listed["patch"], most=10) == "its dense matrix is above 10 rows even on the smallest map"
    )
    mirrored = operators(nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular"), torch.zeros(1, 2, 8, 8)).found[0]
    assert difference_from_padded(mirrored) == "padded in another way than evenly with zeros"
    empty = nn.Conv2d(2, 2, 3, padding=1)
    nn.init.zeros_(empty.weight)
    nothing = operators(empty, torch.zeros(1, 2, 8, 8)).found[0]
    assert difference_from_padded(nothing) == "all its singular values are 0"
