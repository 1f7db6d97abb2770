"""Where there is no path: networks, loaders and grids that do not fit."""

import math

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from tests.analyses.lines_by_hand import batches, images, network
from tests.callers import gathered
from tests.studies import Tiny
from transferscope.errors import ArchitectureError, LoaderError, MeasureError, ModuleNameError
from transferscope.methods.evaluation import Evaluation
from transferscope.methods.landscape.linear_path import linear_path

ON_CPU = Evaluation(device="cpu")


def test_a_trunk_that_differs_and_a_head_that_is_not_there_are_named() -> None:
    with pytest.raises(MeasureError, match="no straight line between these trunks"):
        linear_path(network(0), network(1, width=5), {"x": batches()}, trunk_of="head", evaluation=ON_CPU)
    with pytest.raises(ModuleNameError, match="no module named 'heads'"):
        linear_path(network(0), network(1), {"x": batches()}, trunk_of="heads", evaluation=ON_CPU)


def test_a_loader_without_the_name_of_its_split_is_told_what_is_expected() -> None:
    with pytest.raises(MeasureError, match="cannot take this as data") as caught:
        linear_path(network(0), network(1), batches(), evaluation=ON_CPU)
    assert '{"test": loader}' in str(caught.value)


@pytest.mark.parametrize(
    ("other", "names"),
    [
        (lambda: network(1, width=5), "block.0.weight"),
        (lambda: Tiny(4, 4, True), "head.weight ("),
        (lambda: network(1, norm=False), "stem.1.bias"),
        (lambda: network(1).double(), "block.0.weight"),
        (lambda: nn.Linear(3, 3), "bias"),
    ],
)
def test_networks_of_another_shape_have_no_line(other, names) -> None:
    with pytest.raises(MeasureError, match="no straight line between these networks") as caught:
        linear_path(network(0), other(), {"x": batches()}, evaluation=Evaluation(recompute_on=batches(), device="cpu"))
    assert names in str(caught.value)


def test_networks_whose_buffers_differ_have_no_line() -> None:
    a, b = network(0, False), network(1, False)
    a.register_buffer("scale", torch.ones(1))
    with pytest.raises(MeasureError, match=r"parameters or buffers differ\n.*\n  got:      scale"):
        linear_path(a, b, {"x": batches()}, evaluation=ON_CPU)


def test_batch_norm_needs_images_or_an_explicit_no() -> None:
    with pytest.raises(MeasureError, match="nothing to recompute its statistics on") as caught:
        linear_path(network(0), network(1), {"x": batches()}, evaluation=ON_CPU)
    assert "batch_norm='interpolate'" in str(caught.value)


@pytest.mark.parametrize("where", ["data", "recompute_on"])
def test_a_loader_that_does_not_repeat_itself_is_found_first(where: str) -> None:
    shuffled = DataLoader(TensorDataset(*images()), batch_size=8, shuffle=True)
    given = {"data": {"x": batches()}, "recompute_on": batches()}
    given[where] = {"x": shuffled} if where == "data" else shuffled
    with pytest.raises(LoaderError, match="not deterministic"):
        linear_path(network(0), network(1), **gathered(linear_path, device="cpu", **given))


def test_a_loader_that_leaves_examples_out_is_found() -> None:
    loader = DataLoader(TensorDataset(*images(25)), batch_size=8, drop_last=True)
    with pytest.raises(LoaderError, match="leaves examples out"):
        linear_path(network(0), network(1), {"x": loader}, evaluation=Evaluation(recompute_on=batches(), device="cpu"))


def test_a_network_that_does_not_repeat_itself_is_found() -> None:
    class Noisy(nn.Linear):
        def forward(self, x):
            return nn.functional.dropout(super().forward(x), 0.5, training=True)

    with pytest.raises(ArchitectureError, match="other outputs for the same images"):
        linear_path(Noisy(4, 3), Noisy(4, 3), {"x": [(torch.randn(9, 4), torch.arange(9) % 3)]}, evaluation=ON_CPU)


@pytest.mark.parametrize("alphas", [(), (0.5, 0.0), (0.0, 0.0, 1.0), (0.0, math.inf), (math.nan, 1.0)])
def test_alphas_must_ascend(alphas) -> None:
    with pytest.raises(MeasureError, match="alphas must ascend, each once"):
        linear_path(
            network(0),
            network(1),
            {"x": batches()},
            evaluation=Evaluation(recompute_on=batches(), device="cpu"),
            alphas=alphas,
        )


def test_a_path_needs_data() -> None:
    with pytest.raises(MeasureError, match="a landscape needs data"):
        linear_path(network(0, False), network(1, False), {}, evaluation=ON_CPU)
    with pytest.raises(LoaderError, match="gives no batch"):
        linear_path(network(0, False), network(1, False), {"x": []}, evaluation=ON_CPU)


def test_a_barrier_needs_both_ends() -> None:
    path = linear_path(network(0, False), network(1, False), {"x": batches()}, alphas=(0.0, 0.5), evaluation=ON_CPU)
    with pytest.raises(MeasureError, match="α = 1 is not in the grid"):
        path.barrier("x", "loss")
