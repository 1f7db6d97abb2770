"""Similarities do not depend on the unit of the features, nor on rounding that leaves the signal standing."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import transferscope as ts
from transferscope.measures.assignment import CrossCorrelation
from transferscope.measures.cka import centred_gram, cka_compute, cka_update, linear_cka, rbf_cka
from transferscope.measures.linear_similarity import mean_squared_cca, procrustes_similarity
from transferscope.measures.logistic import fit_logistic, scaling
from transferscope.measures.rsa import rsa


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


X, Y = draw(40, 6), draw(40, 6) + draw(40, 6, seed=1)


def batched(kind: str) -> Callable[[Tensor, Tensor], float | None]:
    def measure(a: Tensor, b: Tensor) -> float | None:
        sums = None
        for rows in (slice(0, 25), slice(25, 40)):
            pairs = [centred_gram(side[rows]) for side in (a, b)]
            grams, offsets = (torch.stack([item.double() for item in items]) for items in zip(*pairs, strict=True))
            sums = cka_update(sums, grams, offsets, kind=kind)
        assert sums is not None
        found = cka_compute(sums)
        return None if bool(found.null[0, 1]) else float(found.values[0, 1])

    return measure


def correlation(a: Tensor, b: Tensor) -> float:
    seen = CrossCorrelation()
    seen.add(a[:20], b[:20])
    seen.add(a[20:], b[20:])
    return float(seen.value()[0, 0])


MEASURES: dict[str, Callable[[Tensor, Tensor], float | None]] = {
    "unbiased": linear_cka,
    "biased": lambda a, b: linear_cka(a, b, "biased"),
    "rbf": rbf_cka,
    "unbiased, in batches": batched("unbiased"),
    "biased, in batches": batched("biased"),
    "rbf, in batches": batched("rbf"),
    "canonical correlation": mean_squared_cca,
    "procrustes": procrustes_similarity,
    "rsa": rsa,
    "rsa by correlation": lambda a, b: rsa(a, b, "correlation"),
    "correlation of units": correlation,
}


@pytest.mark.kind("F18")
@pytest.mark.parametrize("scale", [1e-36, 1e-24, 1e-13, 1e13, 1e20, 1e36])
@pytest.mark.parametrize("name", MEASURES)
def test_similarities_do_not_depend_on_the_unit(name: str, scale: float) -> None:
    measure = MEASURES[name]
    plain = measure(X, Y)
    assert plain is not None
    assert measure(X * scale, Y) == pytest.approx(plain, abs=2e-5)
    assert measure(X, Y * scale) == pytest.approx(plain, abs=2e-5)


@pytest.mark.kind("F18")
@pytest.mark.parametrize("scale", [1e-150, 1e-90, 1e90, 1e150])
@pytest.mark.parametrize("name", [name for name in MEASURES if "batches" not in name])
def test_nor_in_double_precision(name: str, scale: float) -> None:
    measure = MEASURES[name]
    assert measure(X.double() * scale, Y.double()) == pytest.approx(measure(X.double(), Y.double()), abs=1e-9)


@pytest.mark.kind("F18")
@pytest.mark.parametrize("name", MEASURES)
def test_ordinary_features_are_not_touched_and_powers_of_two_change_no_bit(name: str) -> None:
    measure = MEASURES[name]
    if "correlation of units" not in name:
        assert measure(X * 2.0**-80, Y) == measure(X * 2.0**-60, Y)
    assert measure(X * 2.0, Y) == pytest.approx(measure(X, Y), abs=1e-9)


class _Times(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


@pytest.mark.kind("F18")
@pytest.mark.parametrize("factor", [1e-30, 1e-24, 1e20, 1e30])
@pytest.mark.parametrize("settings", [{}, {"kind": "rbf"}, {"kind": "biased"}, {"maps": "pooled"}])
def test_networks_of_any_unit_are_compared(factor: float, settings: dict) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 5), _Times(factor))
    found = ts.cka(
        network,
        loader=[X, Y],
        granularity="layer",
        execution=ts.Execution(device="cpu"),
        modules=["0", "1"],
        estimator=ts.CkaEstimator(**settings),
    )
    assert not found.null.any()
    assert found.values == pytest.approx(1.0, abs=1e-6)


@pytest.mark.kind("F18")
def test_constant_features_stay_constant_in_any_unit() -> None:
    for scale in (1e-30, 1.0, 1e30):
        constant = torch.full((40, 6), 1.7) * scale
        for measure in (linear_cka, rbf_cka, mean_squared_cca, procrustes_similarity):
            assert measure(X, constant) is None
        assert linear_cka(X, X * 0) is None


@pytest.mark.kind("F18")
@pytest.mark.parametrize("scale", [1e-200, 1e-36, 1e36, 1e200])
def test_a_linear_classifier_standardises_any_unit(scale: float) -> None:
    labels = (X[:, 0] > 0).long()
    plain, scaled = (each.double() for each in (X, X))
    scaled = scaled * scale
    fits = [fit_logistic(scaling(table).apply(table), labels, 2, 0.1) for table in (plain, scaled)]
    assert fits[1].weight.numpy() == pytest.approx(fits[0].weight.numpy(), abs=1e-6)


def shifted(offset: float, width: int, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    layer = nn.Linear(20, width)
    with torch.no_grad():
        layer.bias += offset
        layer.weight *= 2
    return nn.Sequential(layer)


def exact(network: nn.Module, other: nn.Module, batches: list[Tensor], kind: str) -> float:
    """In double precision, without any rounding to bfloat16."""
    with torch.no_grad():
        sides = [[net.double()(batch.double()) for batch in batches] for net in (network, other)]
    sums = None
    for pair in zip(*sides, strict=True):
        grams, offsets = (torch.stack(items) for items in zip(*map(centred_gram, pair), strict=True))
        sums = cka_update(sums, grams, offsets, kind=kind, feature_dtype=torch.float64)
    assert sums is not None
    return float(cka_compute(sums).values[0, 1])


@pytest.mark.kind("F17")
@pytest.mark.parametrize("kind", ["unbiased", "biased", "rbf"])
@pytest.mark.parametrize(("offset", "width"), [(100.0, 300), (50.0, 100), (200.0, 1000), (-100.0, 300), (30.0, 40)])
def test_an_offset_does_not_hide_what_is_left_in_bfloat16(offset: float, width: int, kind) -> None:
    a, b = shifted(offset, width), shifted(offset, width, 1)
    batches = [draw(64, 20, seed=seed) for seed in (1, 2)]
    own = ts.cka(
        a,
        loader=batches,
        execution=ts.Execution(precision="bfloat16", device="cpu"),
        estimator=ts.CkaEstimator(kind=kind),
        granularity="layer",
    )
    assert own.values == pytest.approx(1.0, abs=1e-9)
    found = ts.cka(
        a,
        b,
        batches,
        execution=ts.Execution(precision="bfloat16", device="cpu"),
        estimator=ts.CkaEstimator(kind=kind),
        granularity="layer",
    )
    assert float(found.between("a", "b")[0, 0]) == pytest.approx(exact(a, b, batches, kind), abs=0.03)


@pytest.mark.kind("F17")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", ["unbiased", "rbf"])
def test_features_of_half_precision_are_compared_where_signal_is_left(dtype: torch.dtype, kind: str) -> None:
    offset = 100.0 if dtype == torch.bfloat16 else 1000.0
    wide = draw(64, 300, seed=3) * 1.2
    measure = linear_cka if kind == "unbiased" else rbf_cka
    plain = measure(wide, X.repeat(2, 1)[:64] + 0)
    rounded = measure((wide + offset).to(dtype), X.repeat(2, 1)[:64])
    assert plain is not None
    assert rounded == pytest.approx(plain, abs=0.05)


@pytest.mark.kind("F17")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("offset", [0.0, 10.0, 100.0])
def test_directions_above_rounding_are_kept_and_others_are_not(offset: float, dtype: torch.dtype) -> None:
    """A signal of six directions in 300 features: rounding adds none, and hides none."""
    wide = 3 * X @ draw(6, 300, seed=5) + offset
    for measure in (mean_squared_cca, procrustes_similarity):
        plain = measure(wide, Y)
        assert plain is not None
        assert measure(wide.to(dtype), Y) == pytest.approx(plain, abs=0.03)
    assert mean_squared_cca((offset + 1e-6 * X).to(dtype), Y) is None or offset == 0


@pytest.mark.kind("F17")
@pytest.mark.parametrize("width", [1, 40, 1000])
@pytest.mark.parametrize("value", [100.25, 1.0, 63.9, 0.001])
def test_what_is_rounding_alone_has_no_cka(value: float, width: int) -> None:
    """The same for all examples but for what rounding to bfloat16 makes of tiny differences, at a tie at worst."""
    noisy = (value + value * 1e-5 * draw(64, width, seed=4)).to(torch.bfloat16)
    assert linear_cka(noisy, draw(64, 10)) is None
    network = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 7))
    with torch.no_grad():
        network[0].weight.mul_(1e-6)
        network[0].bias.fill_(-1.0)
        network[2].bias.fill_(value)
    found = ts.cka(
        network,
        loader=[X],
        execution=ts.Execution(precision="bfloat16", device="cpu"),
        granularity="layer",
        modules=["2"],
    )
    assert found.null.all()
