"""Planes through networks: a quadratic in closed form, the networks at their marks, points by hand."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from tests.callers import gathered
from transferscope.errors import MeasureError
from transferscope.frozen import derive_seed
from transferscope.methods.evaluation import Evaluation
from transferscope.methods.landscape.landscape import Landscape, LandscapePoint
from transferscope.methods.landscape.plane import plane_around, plane_through
from transferscope.networks.batchnorm import recompute
from transferscope.networks.directions import filter_normalised


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    ).eval()


def batches(seed: int = 9, count: int = 2) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    return [
        (torch.randn(8, 3, 6, 6, generator=generator), torch.randint(3, (8,), generator=generator))
        for _ in range(count)
    ]


OPTIONS = {"recompute_on": batches(5), "resolution": 5, "device": "cpu"}


def through(networks, **options):
    return plane_through(networks, {"test": batches()}, **gathered(plane_through, **{**OPTIONS, **options}))


def around(model, **options):
    return plane_around(model, {"test": batches()}, **gathered(plane_around, **{**OPTIONS, **options}))


def values(model: nn.Module) -> tuple[float, float]:
    with torch.no_grad():
        logits = torch.cat([model(images) for images, _ in batches()])
    labels = torch.cat([labels for _, labels in batches()])
    return float(nn.functional.cross_entropy(logits.double(), labels)), float(
        (logits.argmax(1) != labels).double().mean()
    )


def placed(model: nn.Module, state: dict[str, torch.Tensor]) -> nn.Module:
    made = copy.deepcopy(model)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            parameter.copy_(state[name])
    recompute(made, batches(5))
    return made


def test_every_point_of_a_plane_through_networks_is_the_one_it_says() -> None:
    networks = [network(seed) for seed in range(3)]
    found = through(networks)
    first, second, third = (
        {name: value.detach().double() for name, value in one.named_parameters()} for one in networks
    )

    def norm(state) -> float:
        return math.sqrt(sum(float(value.square().sum()) for value in state.values()))

    u = {name: second[name] - first[name] for name in first}
    u = {name: value / norm(u) for name, value in u.items()}
    rest = {name: third[name] - first[name] for name in first}
    along = sum(float((rest[name] * u[name]).sum()) for name in first)
    v = {name: rest[name] - along * u[name] for name in first}
    v = {name: value / norm(v) for name, value in v.items()}
    for row, y in enumerate(found.y):
        for column, x in enumerate(found.x):
            state = {name: (first[name] + x * u[name] + y * v[name]).float() for name in first}
            loss, error = values(placed(networks[0], state))
            assert found.loss["test"][row, column] == pytest.approx(loss, abs=1e-4)
            assert found.error["test"][row, column] == pytest.approx(error, abs=1 / 16 + 1e-9)
    assert found.batch_norm == "recompute"
    assert (found.level == 0).all()
    assert not found.interpolated.any()


def test_marks_are_the_networks_with_recomputed_and_with_own_statistics() -> None:
    networks = [network(seed) for seed in range(3)]
    found = through(networks)
    places = np.array([[mark.x, mark.y] for mark in found.marks])
    vectors = [nn.utils.parameters_to_vector(one.parameters()).detach().double() for one in networks]
    assert places[0].tolist() == [0, 0]
    assert places[1, 1] == 0
    for i in range(3):
        for j in range(3):
            wanted = float((vectors[i] - vectors[j]).norm())
            assert np.linalg.norm(places[i] - places[j]) == pytest.approx(wanted, rel=1e-6)
    for model, mark in zip(networks, found.marks, strict=True):
        own = values(model)
        assert (mark.own["test"].losses.mean(), mark.own["test"].errors.mean()) == pytest.approx(own, abs=1e-6)
        again = copy.deepcopy(model)
        recompute(again, batches(5))
        assert (mark.points["test"].losses.mean(), mark.points["test"].errors.mean()) == pytest.approx(
            values(again), abs=1e-6
        )
    low, high = places.min(axis=0), places.max(axis=0)
    air = 0.25 * (high - low).max()
    assert (found.x[0], found.x[-1]) == pytest.approx((low[0] - air, high[0] + air))
    assert (found.y[0], found.y[-1]) == pytest.approx((low[1] - air, high[1] + air))


def test_a_plane_around_a_network_has_it_at_its_centre_and_directions_as_they_are_made() -> None:
    model = network(0)
    found = around(model, reach=0.5, seed=4)
    state = {name: value.detach() for name, value in model.named_parameters()}
    first, second = (filter_normalised(state, derive_seed(4, "plane", axis)) for axis in (0, 1))
    lengths = [math.sqrt(sum(float(part.double().square().sum()) for part in d.values())) for d in (first, second)]
    assert found.x[-1] == pytest.approx(0.5 * lengths[0])
    assert found.y[0] == pytest.approx(-0.5 * lengths[1])
    # A direction is as long as the weights that move.
    assert lengths[0] == pytest.approx(
        math.sqrt(sum(float(v.double().square().sum()) for v in state.values() if v.ndim > 1))
    )
    product = sum(float((first[name].double() * second[name].double()).sum()) for name in first)
    assert found.cosine == pytest.approx(product / (lengths[0] * lengths[1]), abs=1e-9)
    again = copy.deepcopy(model)
    recompute(again, batches(5))
    assert found.loss["test"][2, 2] == found.marks[0].points["test"].losses.mean() == pytest.approx(values(again)[0])
    for row, column in ((0, 0), (1, 4), (4, 3)):
        a, b = (column - 2) / 4, (row - 2) / 4
        moved = {
            name: value + a * first.get(name, torch.zeros(())) + b * second.get(name, torch.zeros(()))
            for name, value in state.items()
        }
        assert found.loss["test"][row, column] == pytest.approx(values(placed(model, moved))[0], abs=1e-4)


def test_biases_and_norms_move_only_where_asked(monkeypatch) -> None:
    seen: dict[str, set[str]] = {}
    plain = Landscape.shift

    def shift(self, direction, scale=1.0):
        seen.setdefault("names", set()).update(direction)
        plain(self, direction, scale)

    monkeypatch.setattr(Landscape, "shift", shift)
    around(network(0))
    assert seen.pop("names") == {"0.weight", "5.weight"}
    around(network(0), one_dimensional="normalise")
    assert seen["names"] == {name for name, _ in network(0).named_parameters()}


def quadratic(monkeypatch, centre: torch.Tensor) -> None:
    def evaluate(self, splits=None, **_):
        away = torch.cat([value.detach().flatten() for value in self.parameters.values()]).double() - centre
        height = float(away @ away)
        return {"test": LandscapePoint(np.full(4, height), np.full(4, min(1.0, height / 100)), None)}

    monkeypatch.setattr(Landscape, "evaluate", evaluate)


def test_on_a_quadratic_landscape_the_loss_is_the_squared_distance(monkeypatch) -> None:
    torch.manual_seed(0)
    networks = [nn.Linear(50, 2, bias=False) for _ in range(3)]
    centre = networks[0].weight.detach().flatten().double()
    quadratic(monkeypatch, centre)
    data = {"test": [(torch.zeros(2, 50), torch.zeros(2, dtype=torch.int64))]}
    found = plane_through(networks, data, resolution=9, evaluation=Evaluation(device="cpu"))
    assert found.batch_norm == "no batch norm"
    wanted = found.x[None] ** 2 + found.y[:, None] ** 2
    assert found.loss["test"] == pytest.approx(wanted, rel=1e-4, abs=1e-5)
    # The same ℓ2 radius around a network costs the same in every direction.
    alone = plane_around(networks[0], data, resolution=9, evaluation=Evaluation(device="cpu"))
    cross = 2 * alone.cosine * alone.x[None] * alone.y[:, None]
    assert alone.loss["test"] == pytest.approx(alone.x[None] ** 2 + alone.y[:, None] ** 2 + cross, rel=1e-4, abs=1e-5)


def test_coarse_to_fine_equals_the_full_grid_where_it_is_evaluated() -> None:
    torch.manual_seed(0)
    networks = [nn.Sequential(nn.Flatten(), nn.Linear(108, 3)) for _ in range(3)]
    told: list[int] = []
    some = through(networks, resolution=17, tolerance=0.05, on_point=told.append)
    full = through(networks, resolution=17, tolerance=0.0)
    assert told == list(range(1, int((~some.interpolated).sum()) + 1))
    assert some.interpolated.any()
    done = ~some.interpolated & ~full.interpolated
    for quantity in ("loss", "error"):
        a, b = (getattr(one, quantity)["test"] for one in (some, full))
        assert (a[done] == b[done]).all()
    assert np.abs(some.error["test"] - full.error["test"]).max() < 0.2


def test_the_networks_given_are_left_as_they_are() -> None:
    networks = [network(seed).train() for seed in range(3)]
    before = [copy.deepcopy(one.state_dict()) for one in networks]
    through(networks)
    around(networks[0])
    for one, state in zip(networks, before, strict=True):
        assert one.training
        assert all(torch.equal(value, state[name]) for name, value in one.state_dict().items())


def test_draws_are_those_of_the_seed() -> None:
    one, again, other = (around(network(0), seed=seed).loss["test"] for seed in (0, 0, 1))
    assert (one == again).all()
    assert (one != other).any()


def average() -> list[nn.Module]:
    networks = [network(seed) for seed in range(3)]
    with torch.no_grad():
        for a, b, c in zip(*(one.parameters() for one in networks), strict=True):
            c.copy_(0.5 * a + 0.5 * b)
    return networks


@pytest.mark.parametrize(
    ("act", "match"),
    [
        (lambda: through([network(0), network(1)]), "a plane goes through three networks"),
        (lambda: through(average()), "lie on one line"),
        (lambda: through([network(0), network(1), network(0)]), "two of the three networks are the same"),
        (lambda: through([network(0), network(1), network(2)], margin=-0.1), "a margin is a share"),
        (lambda: through([network(0), network(1), network(2)], resolution=8), "odd number of points a side"),
        (lambda: around(network(0), reach=0.0), "a plane reaches somewhere"),
        (lambda: around(network(0), tolerance=-1.0), "a tolerance is a height"),
        (lambda: around(network(0), recompute_on=None), "nothing to recompute its statistics on"),
    ],
)  # fmt: skip
def test_bad_input_is_named(act, match: str) -> None:
    with pytest.raises(MeasureError, match=match):
        act()
