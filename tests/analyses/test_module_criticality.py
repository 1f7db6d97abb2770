"""Criticality of modules: against full passes, closed forms, and the properties of the definition."""

import copy

import pytest
import torch
from scipy import stats
from torch import nn

from tests.analyses.test_landscape_focus import batches, network
from tests.callers import gathered
from tests.reference.criticality_reference import naive_grid
from transferscope.errors import MeasureError, ModuleNameError
from transferscope.methods.evaluation import Evaluation
from transferscope.methods.modules.criticality import CriticalitySearch, criticality
from transferscope.networks.modules import parts_parameters

ALPHAS = (0.0, 0.5, 1.0)
SIGMAS = (1e-3, 1e-1)


def moved(net: nn.Module, seed: int, scale: float = 0.1) -> nn.Module:
    other = copy.deepcopy(net)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
    return other


def test_every_point_is_that_of_full_passes_to_the_last_bit() -> None:
    final = network("resnet", 0)
    initial = moved(final, 1)
    parts = parts_parameters(final, "block")
    some = [list(parts)[place] for place in (0, 4, -1)]
    found = criticality(
        initial,
        final,
        batches(1),
        evaluation=Evaluation(recompute_on=batches(3), device="cpu"),
        search=CriticalitySearch(alphas=ALPHAS, sigmas=SIGMAS, draws=2, grid="full", margin=0.1, seed=5),
        modules=some,
    )
    assert [module.name for module in found.modules] == some
    for module in found.modules:
        wanted = naive_grid(
            initial, final, module.name, parts[module.name], batches(1), batches(3), ALPHAS, SIGMAS, 2, 5
        )
        got = {(point.position, point.sigma): point.value for point in module.criticality.points}
        assert got == wanted, module.name
    assert found.modules[-1].evaluation.startswith("kept before")
    assert found.batch_norm == "recompute"


@pytest.mark.parametrize(("name", "every"), [("resnet", 3), ("vit", 1)])
def test_the_search_finds_what_the_grid_finds(name: str, every: int) -> None:
    final = network(name, 0)
    initial = moved(final, 1, 0.3)
    parts = list(parts_parameters(final, "block"))[::every]
    results = {}
    for grid in ("search", "full"):
        results[grid] = criticality(
            initial,
            final,
            batches(1),
            evaluation=Evaluation(recompute_on=batches(3), device="cpu"),
            search=CriticalitySearch(draws=2, grid=grid, margin=0.2, alphas=ALPHAS),
            modules=None if every == 1 else parts,
        )
    assert [module.name for module in results["full"].modules] == parts
    for searched, whole in zip(results["search"].modules, results["full"].modules, strict=True):
        assert searched.criticality.mu == whole.criticality.mu
        assert searched.evaluations <= whole.evaluations == 2 * 3 * 5


def test_modules_that_do_not_matter_have_none() -> None:
    class Ignored(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used = nn.Linear(3 * 32 * 32, 3)
            self.ignored = nn.Linear(3, 3)
            self.still = nn.Linear(3, 3)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            out = self.used(images.flatten(1))
            return self.still(out + 0.0 * self.ignored(out))

    torch.manual_seed(0)
    final = Ignored().eval()
    initial = moved(final, 1, 1.0)
    initial.still.load_state_dict(final.still.state_dict())
    # Labels are what the trained network says, so that every change of its outputs is an error.
    data = [(images, final(images).argmax(1)) for images, _ in batches(1)]
    result = criticality(
        initial,
        final,
        data,
        granularity="layer",
        search=CriticalitySearch(draws=2),
        evaluation=Evaluation(device="cpu"),
    )
    found = {module.name: module for module in result.modules}
    assert found["ignored"].criticality.mu == 0
    assert found["ignored"].criticality.at_largest_sigma
    assert (found["still"].criticality.mu, found["still"].criticality.certificate) == (0, "still")
    assert found["still"].evaluations == 0
    assert found["used"].criticality.mu > 0


def test_a_linear_network_of_two_layers_in_closed_form() -> None:
    # One number x goes in, v·w·x is the difference of the two logits: with v = 1 all answers are right while w + u > 0,
    # and all wrong otherwise. So the expected error is Φ(−w(α)/σ), where w goes from −0.5 to 1.5.
    def linear(w: float, v: float) -> nn.Module:
        net = nn.Sequential(nn.Flatten(), nn.Linear(1, 1, bias=False), nn.Linear(1, 2, bias=False))
        with torch.no_grad():
            net[1].weight.fill_(w)
            net[2].weight.copy_(torch.tensor([[v], [0.0]]))
        return net.eval()

    data = [(torch.tensor([1.0, 3.0, -2.0, -0.5]).reshape(4, 1, 1, 1), torch.tensor([0, 0, 1, 1]))]
    alphas, sigmas, draws = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0), (0.1, 0.4), 200
    found = criticality(
        linear(-0.5, 1.0),
        linear(1.5, 1.0),
        data,
        granularity="layer",
        modules=["1"],
        search=CriticalitySearch(alphas=alphas, sigmas=sigmas, draws=draws, margin=0.1, grid="full"),
        evaluation=Evaluation(device="cpu"),
    )
    (first,) = found.modules
    assert (found.final, found.epsilon, first.distance) == (0.0, 0.1, 2.0)
    for point in first.criticality.points:
        share = float(stats.norm.cdf(-(-0.5 + 2 * alphas[point.position]) / point.sigma))
        assert point.value == pytest.approx(share, abs=5 * (share * (1 - share) / draws) ** 0.5 + 1e-6)
    # Φ(−0.3/0.1) = 0.001 at α = 0.4 and Φ(−0.7/0.4) = 0.040 at α = 0.6 are kept; Φ(1) and Φ(−0.3/0.4) = 0.227 are not.
    best = first.criticality
    assert (best.mu, alphas[best.position], best.sigma) == (pytest.approx(1.2**2 / 0.4**2), 0.6, 0.4)
    feasible = {(p.position, p.sigma) for p in best.points if p.value + 2 * p.standard_error <= 0.1}
    assert feasible == {(place, 0.1) for place in (2, 3, 4, 5)} | {(place, 0.4) for place in (3, 4, 5)}


def test_views() -> None:
    final = network("resnet", 0)
    initial, middle = moved(final, 1, 0.3), moved(final, 2, 0.1)
    common = {"recompute_on": batches(3), "draws": 2, "margin": 0.1, "modules": ["fc"], "device": "cpu"}
    last = criticality(
        initial, final, batches(1), **gathered(criticality, view="final", grid="full", **common)
    ).modules[0]
    assert last.distances == pytest.approx((last.distance,))
    way = criticality(
        initial,
        final,
        batches(1),
        checkpoints=[middle],
        **gathered(criticality, view="optimisation", grid="full", **common),
    ).modules[0]
    apart = sum(
        float((a - b).detach().square().sum())
        for a, b in zip(middle.fc.parameters(), initial.fc.parameters(), strict=True)
    )
    assert way.distances == pytest.approx((0.0, apart**0.5, last.distance))
    assert len(way.criticality.points) == 15


def test_networks_are_left_as_they_were() -> None:
    final = network("resnet", 0)
    initial = moved(final, 1)
    before = [{k: v.clone() for k, v in net.state_dict().items()} for net in (initial, final)]
    criticality(
        initial,
        final,
        batches(1),
        evaluation=Evaluation(recompute_on=batches(3), device="cpu"),
        search=CriticalitySearch(draws=2),
        modules=["fc"],
    )
    for net, state in zip((initial, final), before, strict=True):
        assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"draws": 1}, MeasureError, "noise needs draws"),
        ({"modules": ["fx"]}, ModuleNameError, "no module 'fx'"),
        ({"alphas": (0.5, 1.0)}, MeasureError, "with 0 among them"),
        ({"view": "optimisation"}, MeasureError, "needs checkpoints"),
        ({"epsilon": 0.0}, MeasureError, "ε lies below"),
        ({"metric": "auc"}, MeasureError, "metric is not defined on these images"),
    ],
)
def test_bad_input_is_named(options, error, match) -> None:
    final = network("resnet", 0)
    data = batches(1)
    if options.get("metric") == "auc":
        data = [(images, torch.zeros(len(images), 2, dtype=torch.uint8)) for images, _ in data]
        final.fc = nn.Linear(16, 2)
    with pytest.raises(error, match=match):
        criticality(
            moved(final, 1), final, data, **gathered(criticality, recompute_on=batches(3), device="cpu", **options)
        )
