"""Loss against radius: in closed form on a quadratic, against a literal loop on a network with batch norm."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.reference import flatness_reference as reference
from tests.studies import tiny_network
from transferscope.errors import LoaderError, MeasureError
from transferscope.frozen import derive_seed
from transferscope.measures.standard_error import standard_error
from transferscope.methods.evaluation import Evaluation
from transferscope.methods.landscape.radius_curves import radius_curves
from transferscope.networks.batchnorm import recompute
from transferscope.networks.evaluate import logits

ON_CPU = Evaluation(device="cpu")


class Quadratic(nn.Module):
    """Two classes; the cross-entropy of class 0 is c + ½ Σ h_i θ_i², whatever the image."""

    def __init__(self, curvature: Tensor, at: Tensor, floor: float = 0.3) -> None:
        super().__init__()
        self.weight = nn.Parameter(at.clone())
        self.curvature, self.floor = curvature, floor

    def forward(self, images: Tensor) -> Tensor:
        loss = self.floor + (self.curvature * self.weight**2).sum() / 2
        margin = torch.log(torch.expm1(loss)).expand(len(images))
        return torch.stack([torch.zeros_like(margin), margin], dim=1)


IMAGES, LABELS = torch.zeros(4, 3, 2, 2), torch.zeros(4, dtype=torch.long)
DATA = {"train": [(IMAGES, LABELS)]}


def noise(count: int = 24, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, 16, 16, generator=generator), torch.arange(count) % 3


def test_the_mean_rise_on_a_quadratic_is_its_closed_form() -> None:
    torch.manual_seed(0)
    at, h = torch.randn(3, 5), torch.rand(3, 5) * 4
    radii = (0.0, 0.5, 2.0)
    found = radius_curves(Quadratic(h, at), DATA, radii, 400, evaluation=ON_CPU)
    assert found.norm == pytest.approx(float(at.norm()))
    assert found.parameters == 15
    centre = 0.3 + float((h * at**2).sum()) / 2
    # Each filter of d is uniform on the sphere of its own norm: E d_i = 0 and E d_i² = ‖θ_f‖² / 5.
    spread = float((h * (at.square().sum(1, keepdim=True) / 5)).sum()) / float(at.square().sum())
    for radius, rise in zip(radii, found.rises("train", "loss"), strict=True):
        assert rise.value == pytest.approx(centre + rise.rise, abs=1e-5)
        assert rise.se_directions is not None
        assert rise.se_examples == pytest.approx(0, abs=1e-6)  # all images are alike
        assert abs(rise.rise - spread * radius**2 / 2) <= 4 * rise.se_directions + 1e-6
        if radius:
            assert rise.se_directions < 0.15 * spread * radius**2 / 2 + 0.2 * radius


def test_an_isotropic_quadratic_rises_by_half_its_curvature_times_the_squared_radius() -> None:
    # At the minimum there is no slope; a filter of zeros does not move, so the minimum lies beside θ = 0.
    class Shifted(Quadratic):
        def forward(self, images: Tensor) -> Tensor:
            loss = self.floor + 1.5 * ((self.weight - 1) ** 2).sum()
            margin = torch.log(torch.expm1(loss)).expand(len(images))
            return torch.stack([torch.zeros_like(margin), margin], dim=1)

    found = radius_curves(Shifted(torch.ones(1), torch.ones(4, 6)), DATA, (0.1, 0.7, 1.9), 3, evaluation=ON_CPU)
    for radius, rise in zip(found.radii, found.rises("train", "loss"), strict=True):
        assert rise.rise == pytest.approx(1.5 * radius**2, rel=1e-4)
        assert rise.se_directions == pytest.approx(0, abs=1e-5)  # the same in every direction


@pytest.mark.parametrize("policy", ["zero", "normalise"])
@pytest.mark.parametrize("batch_norm", ["recompute", "none"])
def test_every_point_is_that_of_a_literal_loop(policy, batch_norm) -> None:
    torch.manual_seed(1)
    network = tiny_network(3, width=4)
    images, labels = noise()
    statistics = [(images[:16], labels[:16])]
    recompute(network, [(images[8:], labels[8:])])
    before = {name: value.clone() for name, value in network.state_dict().items()}
    found = radius_curves(
        network, {"a": [(images, labels)], "b": [(images[:7], labels[:7])]}, (0.3, 1.0), 2, seed=4,
        one_dimensional=policy, evaluation=Evaluation(recompute_on=statistics, batch_norm=batch_norm, device="cpu"),
    )  # fmt: skip
    assert found.batch_norm == batch_norm
    own = {name: value.detach() for name, value in network.named_parameters()}
    for index in range(2):
        along = reference.direction(own, derive_seed(4, "radius", index), policy == "normalise")
        for place, radius in enumerate(found.radii):
            other = copy.deepcopy(network)
            other.load_state_dict(
                {**before, **{n: v.float() for n, v in reference.moved(network, along, radius).items()}}
            )
            if batch_norm == "recompute":
                recompute(other, statistics)
            values, _ = logits(other, [(images, labels)], torch.device("cpu"))
            losses = nn.functional.cross_entropy(values.double(), labels, reduction="none").numpy()
            assert found.points["a"][place][index].losses == pytest.approx(losses, abs=1e-4)
            assert len(found.points["b"][place][index].losses) == 7
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])


def test_both_standard_errors_are_those_of_the_definition() -> None:
    torch.manual_seed(2)
    network = tiny_network(3, width=4, norm=False)
    images, labels = noise()
    groups = np.arange(24) // 3
    found = radius_curves(network, {"train": [(images, labels)]}, (0.5,), 4, evaluation=ON_CPU)
    assert found.batch_norm == "no batch norm"
    losses = np.stack([point.losses for point in found.points["train"][0]])
    own = found.centre["train"].losses
    (rise,) = found.rises("train", "loss", groups)
    assert rise.value == pytest.approx(losses.mean())
    assert rise.rise == pytest.approx(losses.mean() - own.mean())
    assert rise.se_directions == pytest.approx(losses.mean(axis=1).std(ddof=1) / 2)
    assert rise.se_examples == pytest.approx(standard_error(losses.mean(axis=0) - own, groups))
    (error,) = found.rises("train", "error")
    errors = np.stack([point.errors for point in found.points["train"][0]])
    assert error.rise == pytest.approx(errors.mean() - found.centre["train"].errors.mean())
    (single,) = radius_curves(network, {"train": [(images, labels)]}, (0.5,), 1, evaluation=ON_CPU).rises(
        "train", "loss"
    )
    assert single.se_directions is None
    assert single.value == pytest.approx(losses[0].mean())  # the first direction does not depend on how many


def test_scaling_filters_before_batch_norm_changes_equal_radii_and_not_relative_ones() -> None:
    torch.manual_seed(3)
    network = tiny_network(3, width=4)
    images, labels = noise()
    data, statistics = {"train": [(images, labels)]}, [(images, labels)]
    scaled = copy.deepcopy(network)
    with torch.no_grad():
        scaled.stem[0].weight.mul_(4)
        scaled.block[0].weight.mul_(3)

    def losses(model: nn.Module, radii: list[float]) -> list[float]:
        found = radius_curves(model, data, radii, 2, evaluation=Evaluation(recompute_on=statistics, device="cpu"))
        return [rise.value for rise in found.rises("train", "loss")]

    norms = [
        math.sqrt(sum(float(p.detach().square().sum()) for p in model.parameters() if p.ndim >= 2))
        for model in (network, scaled)
    ]
    assert norms[1] > 2 * norms[0]
    relative = [losses(model, [0.2 * norm, 0.6 * norm]) for model, norm in zip((network, scaled), norms, strict=True)]
    assert relative[0] == pytest.approx(relative[1], rel=1e-3)
    equal = [losses(model, [0.6 * norms[0]])[0] for model in (network, scaled)]
    assert abs(equal[0] - equal[1]) > 1e-3


def test_a_loss_without_bound_has_no_mean() -> None:
    class Exploding(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(2, 3))

        def forward(self, images: Tensor) -> Tensor:
            far = (self.weight - 1).abs().max() > 0.1
            return torch.full((len(images), 2), math.inf if far else 0.0)

    near, far = radius_curves(Exploding(), DATA, (0.01, 3.0), 2, evaluation=ON_CPU).rises("train", "loss")
    assert near.value == pytest.approx(math.log(2))
    assert (far.value, far.rise, far.se_directions, far.se_examples) == (math.inf, math.inf, None, None)


def test_the_network_keeps_its_modes_gradients_and_hooks() -> None:
    network = tiny_network(3, width=4).train()
    network.head.weight.requires_grad_(False)
    handle = network.register_forward_hook(lambda *_: None)
    images, labels = noise()
    radius_curves(
        network,
        {"train": [(images, labels)]},
        (0.5,),
        1,
        evaluation=Evaluation(recompute_on=[(images, labels)], device="cpu"),
    )
    assert all(module.training for module in network.modules())
    assert [p.requires_grad for p in network.parameters()].count(False) == 1
    assert list(network._forward_hooks) == [handle.id]
    assert all(p.grad is None for p in network.parameters())


@pytest.mark.parametrize(
    ("radii", "directions", "message"),
    [
        ((), 1, "curves need radii"),
        ((-1.0,), 1, "ℓ2 distances of at least 0"),
        ((math.nan,), 1, "curves need radii"),
        ((1.0,), 0, "curves need a direction"),
    ],
)
def test_radii_and_directions_that_are_none(radii, directions, message) -> None:
    with pytest.raises(MeasureError, match=message):
        radius_curves(Quadratic(torch.ones(2, 2), torch.ones(2, 2)), DATA, radii, directions, evaluation=ON_CPU)


def test_what_cannot_be_compared_is_refused() -> None:
    images, labels = noise()
    network = tiny_network(3, width=4)
    with pytest.raises(MeasureError, match="nothing to recompute its statistics on"):
        radius_curves(network, {"train": [(images, labels)]}, (1.0,), 1, evaluation=ON_CPU)
    with pytest.raises(LoaderError, match="read only once"):
        radius_curves(Quadratic(torch.ones(2, 2), torch.ones(2, 2)), {"a": iter(())}, (1.0,), 1, evaluation=ON_CPU)
