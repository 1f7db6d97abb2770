"""The basin test between networks: a quadratic in closed form, every point by hand, and nothing left changed."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from tests.callers import gathered
from transferscope.errors import MeasureError
from transferscope.frozen import derive_seed
from transferscope.measures.barriers import barrier
from transferscope.measures.basin import delta_grid
from transferscope.measures.simplex import half_normal_quadrature, outward, rim, segment_quadrature, simplex_draws
from transferscope.methods.landscape.basin import BasinGrid, basin_networks, evaluations
from transferscope.methods.landscape.landscape import Landscape, LandscapePoint
from transferscope.networks.batchnorm import recompute


def network(seed: int, classes: int = 3) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes)
    ).eval()


def batches(seed: int = 9, count: int = 2) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    return [
        (torch.randn(8, 3, 6, 6, generator=generator), torch.randint(3, (8,), generator=generator))
        for _ in range(count)
    ]


def measured(networks, **options):
    settings = {"points": 5, "draws": 2, "nodes": 2, "deltas": lambda span: (0.0, span / 2, span), "device": "cpu"}
    return basin_networks(
        networks, {"test": batches()}, **gathered(basin_networks, **{"recompute_on": batches(5), **settings, **options})
    )


def moved(networks, weights, noise=None, scale: float = 0.0) -> nn.Module:
    """Σ weights·θ plus noise, running statistics estimated on the recomputation batches: tensor by tensor."""
    made = copy.deepcopy(networks[0])
    states = [dict(one.named_parameters()) for one in networks]
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            value = sum(w * state[name].double() for w, state in zip(weights, states, strict=True))
            parameter.copy_((value + (0 if noise is None else scale * noise[name].double())).float())
    recompute(made, batches(5))
    return made


def values(model: nn.Module) -> dict[str, np.ndarray]:
    with torch.no_grad():
        logits = torch.cat([model(images) for images, _ in batches()])
    labels = torch.cat([labels for _, labels in batches()])
    return {
        "loss": nn.functional.cross_entropy(logits, labels, reduction="none").double().numpy(),
        "error": (logits.argmax(1) != labels).double().numpy(),
    }


def draws_of(model: nn.Module, seed: int, draw: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(derive_seed(seed, "noise", draw))
    return {name: torch.randn(value.shape, generator=generator) for name, value in model.named_parameters()}


def spread(rows, weights) -> tuple[float, float]:
    means = np.array([row.mean() for row in rows])
    mu = float(weights @ means)
    return mu, float(weights @ np.abs(means - mu))


def test_a_segment_is_measured_point_by_point() -> None:
    networks = [network(0), network(1)]
    found = measured(networks, seed=3)
    size = sum(value.numel() for value in networks[0].parameters())
    distance = math.sqrt(
        sum(
            float((a - b).detach().double().square().sum())
            for a, b in zip(networks[0].parameters(), networks[1].parameters(), strict=True)
        )
    )
    assert (found.shape, found.parameters, found.batch_norm) == ("segment", size, "recompute")
    assert found.span == pytest.approx(distance)
    alphas, weights = segment_quadrature(5)
    nodes, shares = half_normal_quadrature(2)
    for quantity in ("loss", "error"):
        line = [values(moved(networks, (1 - a, a)))[quantity] for a in alphas]
        mu, epsilon = spread(line, weights)
        basin = found.found["test"][quantity]
        assert basin.mean.value == pytest.approx(mu, abs=1e-6)
        assert basin.epsilon.value == pytest.approx(epsilon, abs=1e-6)
        for index, delta in enumerate(basin.deltas):
            noise = np.mean([
                values(moved(networks, end, draws_of(networks[0], 3, draw), delta / math.sqrt(size)))[quantity].mean()
                for end in ((1, 0), (0, 1)) for draw in range(2)
            ])  # fmt: skip
            assert basin.noise[index].value == pytest.approx(noise - mu, abs=1e-5)
            reach = delta * nodes / distance
            out = [
                (values(moved(networks, (1 + t, -t)))[quantity] + values(moved(networks, (-t, 1 + t)))[quantity]) / 2
                for t in reach
            ]
            assert basin.outward[index].value == pytest.approx(shares @ [row.mean() for row in out] - mu, abs=1e-5)
        wanted = barrier(alphas, np.stack(line)).mean.interval
        height = found.rise["test"][quantity]
        assert (height.value, height.low, height.high) == pytest.approx(
            (wanted.value, wanted.low, wanted.high), abs=1e-6
        )


def test_a_hull_is_measured_point_by_point() -> None:
    networks = [network(seed) for seed in range(3)]
    found = measured(networks, seed=4, points=6, draws=3)
    rng = np.random.default_rng(derive_seed(4, "hull"))
    uniform, first, second = (simplex_draws(count, 3, rng) for count in (6, 3, 3))
    steps = np.abs(rng.standard_normal(3))
    ends = rim(first, second)
    ways = outward(first, ends, found.distances**2)
    size = found.parameters
    inside = [values(moved(networks, b))["loss"] for b in uniform]
    mu, epsilon = spread(inside, np.full(6, 1 / 6))
    basin = found.found["test"]["loss"]
    assert found.shape == "hull"
    assert basin.mean.value == pytest.approx(mu, abs=1e-6)
    assert basin.epsilon.value == pytest.approx(epsilon, abs=1e-6)
    for index, delta in enumerate(basin.deltas):
        noise = [
            values(moved(networks, end, draws_of(networks[0], 4, draw), delta / math.sqrt(size)))["loss"].mean()
            for draw, end in enumerate(ends)
        ]
        assert basin.noise[index].value == pytest.approx(np.mean(noise) - mu, abs=1e-5)
        out = [
            values(moved(networks, end + delta * step * way))["loss"].mean()
            for end, step, way in zip(ends, steps, ways, strict=True)
        ]
        assert basin.outward[index].value == pytest.approx(np.mean(out) - mu, abs=1e-5)
    corners = [values(moved(networks, b))["loss"] for b in np.eye(3)]
    edges = [values(moved(networks, b))["loss"] for b in ([0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5])]
    everywhere = np.stack([*corners, *edges, values(moved(networks, [1 / 3] * 3))["loss"], *inside])
    height = (everywhere - np.mean(corners, axis=0)).mean(axis=1).max()
    assert found.rise["test"]["loss"].value == pytest.approx(max(0, height), abs=1e-6)


H, OFFSET = 2.0, 0.4


def on_a_quadratic(monkeypatch, corners: list[torch.Tensor], **options):
    """ℓ = ½h‖θ − θ*‖² over all 4,000 parameters; θ* on the line of the first two, off its middle."""
    networks = [nn.Linear(3999, 1, bias=False) for _ in corners]
    for one, value in zip(networks, corners, strict=True):
        one.extra = nn.Parameter(torch.zeros(1))
        with torch.no_grad():
            one.weight.copy_(value.reshape(1, -1))
    first, second = corners[0].double(), corners[1].double()
    centre = (first + second) / 2 + OFFSET * (second - first)

    def evaluate(self, splits=None, **_):
        away = self.parameters["weight"].detach().double().flatten() - centre
        height = 0.5 * H * float(away @ away + self.parameters["extra"].detach().double().square().sum())
        return {"test": LandscapePoint(np.full(4, height), np.full(4, height), None)}

    monkeypatch.setattr(Landscape, "evaluate", evaluate)
    data = {"test": [(torch.zeros(2, 3999), torch.zeros(2, dtype=torch.int64))]}
    return basin_networks(networks, data, **gathered(basin_networks, device="cpu", **options))


def test_closed_form_of_a_quadratic_landscape(monkeypatch) -> None:
    torch.manual_seed(0)
    corners = [torch.randn(3999) for _ in range(2)]
    found = on_a_quadratic(
        monkeypatch, corners, points=401, draws=20, deltas=lambda span: delta_grid(span, 0.05, 2.0, 12)
    )
    length, basin = found.span, found.found["test"]["loss"]
    assert found.parameters == 4000
    assert length == pytest.approx(float((corners[0] - corners[1]).norm()), rel=1e-5)
    scale = H * length**2
    assert basin.mean.value == pytest.approx(0.5 * scale * (1 / 12 + OFFSET**2), rel=1e-4)
    s = OFFSET - math.sqrt(OFFSET**2 + 1 / 12)
    epsilon = scale * ((s**3 + 1 / 8) / 3 - (s + 0.5) / 12 - OFFSET * (s**2 - 0.25))
    assert basin.epsilon.value == pytest.approx(epsilon, rel=1e-3)
    for delta, noise, out in zip(basin.deltas, basin.noise, basin.outward, strict=True):
        exact = 0.5 * H * (length**2 / 6 + delta**2)
        assert noise.value == pytest.approx(exact, abs=4 * noise.draw_error + 1e-3 * scale)
        assert noise.draw_error < 0.02 * scale
        exact = 0.5 * H * (length**2 / 6 + length * delta * math.sqrt(2 / math.pi) + delta**2)
        assert out.value == pytest.approx(exact, rel=1e-3)
    wanted = math.sqrt(4 * epsilon / H - length**2 / 6)
    assert basin.delta.below / 1.02 < wanted < basin.delta.value * 1.02


def test_closed_form_of_a_quadratic_over_a_triangle(monkeypatch) -> None:
    """μ over a triangle: ½h·(mean squared distance), from the moments of Dirichlet(1, 1, 1)."""
    torch.manual_seed(1)
    corners = [torch.randn(3999) for _ in range(3)]
    found = on_a_quadratic(monkeypatch, corners, points=800, draws=2, deltas=lambda span: (0.0, span))
    places = torch.stack(corners).double().numpy()
    centre = (places[0] + places[1]) / 2 + OFFSET * (places[1] - places[0])
    away = places - centre
    moments = (np.ones((3, 3)) + np.eye(3)) / 12
    mu = 0.5 * H * float((moments * (away @ away.T)).sum())
    mean = found.found["test"]["loss"].mean
    assert mean.value == pytest.approx(mu, abs=4 * mean.draw_error)
    assert mean.draw_error < 0.03 * mu


def test_the_same_seed_gives_the_same_and_another_does_not() -> None:
    networks = [network(0), network(1)]
    one, again, other = (measured(networks, seed=seed).found["test"]["loss"] for seed in (0, 0, 1))
    assert one == again
    assert one.noise[1] != other.noise[1]
    assert (one.mean, one.outward) == (other.mean, other.outward), "a segment draws noise alone"


def test_turning_a_segment_round_changes_nothing() -> None:
    networks = [network(0), network(1)]
    there, back = (measured(order).found["test"]["loss"] for order in (networks, networks[::-1]))
    assert back.mean.value == pytest.approx(there.mean.value, abs=1e-6)
    for one, other in zip(there.outward, back.outward, strict=True):
        assert one.value == pytest.approx(other.value, abs=1e-5)
    for one, other in zip(there.noise, back.noise, strict=True):
        assert one.value == pytest.approx(other.value, abs=1e-5)


def test_the_networks_given_are_left_as_they_are() -> None:
    networks = [network(seed).train() for seed in range(3)]
    before = [copy.deepcopy(one.state_dict()) for one in networks]
    measured(networks)
    for one, state in zip(networks, before, strict=True):
        assert one.training
        assert all(torch.equal(value, state[name]) for name, value in one.state_dict().items())


@pytest.mark.parametrize("corners", [2, 3, 4])
def test_as_many_points_as_were_announced(corners: int) -> None:
    told: list[tuple[int, int]] = []
    measured([network(seed) for seed in range(corners)], on_point=lambda done, total: told.append((done, total)))
    total = evaluations(corners, BasinGrid(points=5, draws=2, nodes=2), 3)
    assert told == [(done + 1, total) for done in range(total)]


def test_groups_reach_the_errors() -> None:
    networks = [network(0), network(1)]
    alone, grouped = measured(networks), measured(networks, clusters={"test": np.repeat(np.arange(4), 4)})
    first, second = (one.found["test"]["loss"] for one in (alone, grouped))
    assert first.epsilon.value == second.epsilon.value
    assert first.epsilon.example_error != second.epsilon.example_error
    assert grouped.rise["test"]["loss"].n == 4


def test_a_loss_that_is_not_finite_within_the_set_has_no_basin() -> None:
    networks = [network(0), network(1)]
    with torch.no_grad():
        networks[1][5].weight.fill_(math.inf)
    with pytest.raises(MeasureError, match="weights that are not finite"):
        measured(networks)
    with torch.no_grad():
        networks[1][5].weight.fill_(1e30)
        networks[1][5].bias.fill_(3e38)
        networks[1][1].weight.fill_(1e30)
    found = measured(networks, deltas=lambda span: (0.0, 1.0))
    assert found.found["test"]["loss"] is None
    assert found.rise["test"]["loss"] is None
    assert found.found["test"]["error"] is not None


def test_noise_beyond_all_bounds_holds() -> None:
    found = measured([network(0), network(1)], deltas=lambda span: (0.0, 1.0, 1e25))
    loss = found.found["test"]["loss"]
    assert loss.noise[-1].value > 1 or math.isinf(loss.noise[-1].value)
    assert loss.delta.value is not None


def collinear() -> list[nn.Module]:
    networks = [network(0), network(1), network(2)]
    with torch.no_grad():
        for a, b, c in zip(*(one.parameters() for one in networks), strict=True):
            c.copy_(0.3 * a + 0.7 * b)
    return networks


@pytest.mark.parametrize(
    ("networks", "options", "match"),
    [
        (lambda: [network(0)], {}, "tested between networks"),
        (lambda: [network(0), network(0)], {}, "do not span a set"),
        (collinear, {}, "do not span a set"),
        (lambda: [network(0), network(1, classes=5)], {}, "no straight line between these networks"),
        (lambda: [network(0), network(1)], {"draws": 0}, "needs points and draws"),
        (lambda: [network(0), network(1)], {"points": 4}, "odd number of points"),
        (lambda: [network(0), network(1)], {"deltas": lambda span: (span,)}, "must ascend from 0"),
        (lambda: [network(0), network(1)], {"recompute_on": None}, "nothing to recompute its statistics on"),
    ],
)  # fmt: skip
def test_bad_input_is_named(networks, options, match) -> None:
    with pytest.raises(MeasureError, match=match):
        measured(networks(), **options)
