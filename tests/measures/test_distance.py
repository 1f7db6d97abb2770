import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from transferscope.errors import MeasureError
from transferscope.measures.distance import (
    Distance,
    displacement_cosine,
    distance_by_module,
    group_by_module,
    parameter_distance,
    parameter_norm,
    split_head,
)

exact = settings(derandomize=True, deadline=None, max_examples=40)


def weights(seed: int, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = {
        "stem.weight": (4, 3),
        "layer1.0.weight": (5, 4),
        "layer1.0.bias": (5,),
        "layer1.10.weight": (2, 5),
        "head.weight": (2, 2),
        "scale": (),
    }
    return {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in shapes.items()}


def flat(parameters: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([parameters[name].double().flatten() for name in sorted(parameters)])


@exact
@given(st.integers(0, 1000))
def test_against_one_flat_vector(seed: int) -> None:
    a, b, start = weights(seed), weights(seed + 1), weights(seed + 2)
    found = parameter_distance(a, b, start)
    l2 = (flat(a) - flat(b)).norm().item()
    assert found.l2 == pytest.approx(l2, rel=1e-13)
    assert found.relative == pytest.approx(l2 / flat(start).norm().item(), rel=1e-13)
    assert found.parameters == len(flat(a))
    assert parameter_norm(a) == pytest.approx(flat(a).norm().item(), rel=1e-13)
    u, v = flat(a) - flat(start), flat(b) - flat(start)
    assert displacement_cosine(a, start, b, start) == pytest.approx((u @ v / u.norm() / v.norm()).item(), abs=1e-12)


@exact
@given(st.integers(0, 1000))
def test_projection_of_each_start(seed: int) -> None:
    a, s, b, t = (weights(seed + step) for step in range(4))
    u, v = flat(a) - flat(s), flat(b) - flat(t)
    u = u - (u @ flat(s)) / (flat(s) @ flat(s)) * flat(s)
    v = v - (v @ flat(t)) / (flat(t) @ flat(t)) * flat(t)
    found = displacement_cosine(a, s, b, t, without_decay=True)
    assert found == pytest.approx((u @ v / u.norm() / v.norm()).item(), abs=1e-12)


def test_shared_decay_alone_makes_the_cosine_positive() -> None:
    start, noise_a, noise_b = weights(0), weights(1), weights(2)
    a = {name: 0.5 * start[name] + 0.1 * noise_a[name] for name in start}
    b = {name: 0.5 * start[name] + 0.1 * noise_b[name] for name in start}
    assert displacement_cosine(a, start, b, start) > 0.8
    assert abs(displacement_cosine(a, start, b, start, without_decay=True)) < 0.4


def test_pure_decay_leaves_only_rounding() -> None:
    start = weights(0)
    a = {name: 0.9 * tensor for name, tensor in start.items()}  # rounded to float32
    b = {name: 0.7 * tensor for name, tensor in start.items()}
    assert displacement_cosine(a, start, b, start) == pytest.approx(1.0)
    assert displacement_cosine(a, start, b, start, without_decay=True) is None


def test_no_displacement_has_no_direction() -> None:
    start, a = weights(0), weights(1)
    assert displacement_cosine(start, start, a, start) is None
    assert displacement_cosine(a, start, start, start) is None
    zero = {name: torch.zeros_like(tensor) for name, tensor in start.items()}
    assert displacement_cosine(a, zero, a, zero, without_decay=True) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("target", "between", "travelled", "published"),
    [
        ("CheXpert", 200.12, 237.31, 0.644),
        ("clipart", 178.07, 157.19, 0.358),
        ("quickdraw", 218.52, 195.44, 0.375),
        ("real", 193.45, 164.83, 0.311),
    ],
)
def test_closed_form_of_equal_displacements(target: str, between: float, travelled: float, published: float) -> None:
    """cos = 1 − d²/(2r²), at the distances of the paper's Table 2 (two P-T; P-T and P)."""
    closed = 1 - between**2 / (2 * travelled**2)
    assert closed == pytest.approx(published, abs=5e-4)
    # Two displacements of length r, 2·asin(d/2r) apart, in a random plane of parameter space.
    basis = torch.linalg.qr(torch.randn(60, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))[0]
    half = math.asin(between / (2 * travelled))
    start = torch.linspace(-1, 1, 60, dtype=torch.float64)
    ends = [
        start + travelled * basis @ torch.tensor([math.cos(half), sign * math.sin(half)]).double() for sign in (1, -1)
    ]
    p, a, b = ({"w": vector} for vector in (start, *ends))
    assert parameter_distance(a, b).l2 == pytest.approx(between, rel=1e-6)
    assert parameter_distance(a, p).l2 == pytest.approx(travelled, rel=1e-6)
    assert displacement_cosine(a, p, b, p) == pytest.approx(closed, abs=1e-6)


def test_frozen_parameters_count_and_buffers_do_not() -> None:
    def network(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
        model[1].running_mean.add_(100 * seed)
        return model

    with torch.random.fork_rng():
        a, b = network(1), network(2)
    whole = parameter_distance(dict(a.named_parameters()), dict(b.named_parameters()))
    a[0].requires_grad_(False)
    assert parameter_distance(dict(a.named_parameters()), dict(b.named_parameters())) == whole
    assert whole.parameters == sum(tensor.numel() for tensor in a.parameters())
    assert whole.l2 < 10
    with pytest.raises(MeasureError, match="num_batches_tracked' is not a parameter"):
        parameter_distance(a.state_dict(), b.state_dict())


def test_float64_sums() -> None:
    a = {"w": torch.full((2**20,), 1e4), "v": torch.full((1,), 1.0)}
    b = {"w": torch.full((2**20,), 1e4), "v": torch.full((1,), 1 + 2**-23)}
    assert parameter_distance(a, b).l2 == 2**-23
    tiny = {"w": torch.full((10_000_000,), 1e-3)}
    assert parameter_norm(tiny) == pytest.approx(float(torch.tensor(1e-3)) * math.sqrt(1e7), rel=1e-10)
    halves = {"w": torch.full((4,), 300.0, dtype=torch.float16)}  # 300² overflows float16
    assert parameter_norm(halves) == 600.0


def test_modules_add_up_in_squares() -> None:
    a, b, start = weights(0), weights(1), weights(2)
    found = distance_by_module(a, b, ["layer1.10", "stem", "layer1.0"], start)
    assert list(found) == ["layer1.10", "stem", "layer1.0", ""]
    whole = parameter_distance(a, b, start)
    assert math.sqrt(sum(part.l2**2 for part in found.values())) == pytest.approx(whole.l2, rel=1e-13)
    assert sum(part.parameters for part in found.values()) == whole.parameters
    assert found["stem"].relative == pytest.approx(found["stem"].l2 / start["stem.weight"].norm().item(), rel=1e-6)


def test_grouping_takes_the_longest_module_and_whole_words() -> None:
    names = ["a.weight", "a.b.weight", "a.b.c.weight", "ab.weight", "scale"]
    assert group_by_module(names, ["a", "a.b", "scale"]) == {
        "a": ["a.weight"],
        "a.b": ["a.b.weight", "a.b.c.weight"],
        "scale": ["scale"],
        "": ["ab.weight"],
    }


def test_heads_apart() -> None:
    trunk, head = split_head(weights(0), "head")
    assert list(head) == ["head.weight"]
    assert len(trunk) == 5


def test_relative_is_null_without_an_initial_value() -> None:
    a, zero = {"w": torch.ones(4)}, {"w": torch.zeros(4)}
    assert parameter_distance(a, zero) == Distance(2.0, None, 4)
    assert parameter_distance(a, zero, zero) == Distance(2.0, None, 4)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: parameter_distance({}, {}), "without parameters"),
        (lambda: parameter_distance({"w": torch.ones(2)}, {"x": torch.ones(2)}), "'w' is only in the first"),
        (lambda: parameter_distance({"w": torch.ones(2)}, {"w": torch.ones(2), "v": torch.ones(1)}), "in the second"),
        (lambda: parameter_distance({"w": torch.ones(2)}, {"w": torch.ones(3)}), "'w' has two shapes"),
        (lambda: parameter_distance({"w": torch.ones(2)}, {"w": torch.ones(2)}, {"v": torch.ones(2)}), "only in the"),
        (lambda: parameter_norm({"w": torch.ones(2).long()}), "'w' is not a parameter"),
        (lambda: parameter_norm({"w": torch.tensor([1.0, float("nan")])}), "'w' is not finite"),
        (lambda: distance_by_module({"w": torch.ones(2)}, {"w": torch.ones(3)}, ["w"]), "two shapes"),
        (lambda: group_by_module(["layer1.0.weight"], ["layer1.1"]), "did you mean 'layer1.0'"),
        (lambda: split_head({"fc.weight": torch.ones(1)}, "head"), "'head' has no parameters"),
        (lambda: displacement_cosine(weights(0), weights(1), {"w": torch.ones(1)}, weights(1)), "is only in the"),
    ],
)
def test_errors(call, match: str) -> None:
    with pytest.raises(MeasureError, match=match):
        call()
