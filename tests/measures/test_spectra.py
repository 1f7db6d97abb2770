"""Singular values of convolutions against dense matrices, numpy and closed forms."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reference.spectra_reference import dense_circular, dense_transposed
from transferscope.errors import MeasureError
from transferscope.measures import spectra
from transferscope.measures.spectra import (
    Spectrum,
    convolution_spectrum,
    matrix_spectrum,
    transposed_convolution_spectrum,
)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def listed(spectrum: Spectrum, length: int | None = None) -> torch.Tensor:
    """All values, repeated ones repeatedly; zeros that no weight can change at the end."""
    values = spectrum.values.repeat_interleave(spectrum.multiplicity)
    return values if length is None else torch.nn.functional.pad(values, (0, length - len(values)))


def same(spectrum: Spectrum, matrix: torch.Tensor) -> None:
    exact = torch.linalg.svdvals(matrix)
    assert spectrum.count <= len(exact)
    torch.testing.assert_close(listed(spectrum, len(exact)), exact, rtol=1e-11, atol=1e-12)


@st.composite
def layers(draw: st.DrawFn) -> tuple:
    axes = draw(st.integers(1, 2))
    stride = tuple(draw(st.integers(1, 4)) for _ in range(axes))
    size = tuple(s * draw(st.integers(1, 4 if axes == 2 else 7)) for s in stride)
    kernel = tuple(draw(st.integers(1, 4)) for _ in range(axes))
    dilation = tuple(draw(st.integers(1, 3)) for _ in range(axes))
    groups = draw(st.integers(1, 3))
    weight = (groups * draw(st.integers(1, 3)), draw(st.integers(1, 3)), *kernel)
    return weight, size, stride, dilation, groups, draw(st.integers(0, 999))


@given(layers())
@settings(derandomize=True, deadline=None, max_examples=50)
def test_against_the_dense_circular_matrix(layer: tuple) -> None:
    shape, size, stride, dilation, groups, seed = layer
    if math.prod(size) * shape[1] * groups > 300:
        size = stride
    weight = draw(*shape, seed=seed)
    found = convolution_spectrum(weight, size, stride=stride, dilation=dilation, groups=groups)
    same(found, dense_circular(weight, size, stride, dilation, groups))
    places = math.prod(n // s for n, s in zip(size, stride, strict=True))
    total = float((found.multiplicity * found.values**2).sum())
    wraps = any((k - 1) * d >= n for k, d, n in zip(shape[2:], dilation, size, strict=True))
    if not wraps:  # taps that fall on one place add up, and their squares do not
        assert total == pytest.approx(places * float((weight**2).sum()))


def test_three_axes() -> None:
    weight = draw(2, 2, 3, 2, 1)
    found = convolution_spectrum(weight, (4, 3, 2), stride=(2, 1, 1))
    same(found, dense_circular(weight, (4, 3, 2), (2, 1, 1), (1, 1, 1), 1))


@pytest.mark.parametrize("n", [7, 8, 13, 14])
@pytest.mark.parametrize("shape", [(6, 6, 3, 3), (4, 7, 3, 3), (9, 2, 5, 5)])
def test_against_numpy_on_the_full_plane(n: int, shape: tuple[int, ...]) -> None:
    weight = draw(*shape, seed=n)
    plane = np.fft.fft2(weight.numpy().transpose(2, 3, 0, 1), (n, n), axes=(0, 1))
    exact = np.sort(np.linalg.svd(plane, compute_uv=False).ravel())[::-1]
    found = convolution_spectrum(weight, (n, n))
    np.testing.assert_allclose(listed(found).numpy(), exact, rtol=1e-11)
    blocks = (n * n + (4 if n % 2 == 0 else 1)) // 2
    assert len(found.values) == blocks * min(shape[:2])


def test_a_map_that_is_not_square() -> None:
    weight = draw(3, 4, 3, 3)
    same(convolution_spectrum(weight, (4, 9), stride=(2, 3)), dense_circular(weight, (4, 9), (2, 3), (1, 1), 1))


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_one_by_one_is_the_matrix_many_times(stride: int) -> None:
    weight = draw(5, 3, 1, 1)
    found = convolution_spectrum(weight, (8, 8), stride=stride)
    torch.testing.assert_close(found.values, torch.linalg.svdvals(weight[:, :, 0, 0]))
    assert found.multiplicity.tolist() == [(8 // stride) ** 2] * 3


@pytest.mark.parametrize("kernel", [4, 3, 2])
def test_patches_are_one_matrix(kernel: int) -> None:
    weight = draw(6, 2, kernel, kernel)
    found = convolution_spectrum(weight, (12, 8), stride=4)
    torch.testing.assert_close(found.values, torch.linalg.svdvals(weight.flatten(1)))
    assert found.multiplicity.tolist() == [6] * len(found.values)


def test_dilation_repeats_the_values_of_a_smaller_map() -> None:
    weight = draw(3, 3, 3, 3)
    wide, near = convolution_spectrum(weight, (8, 8), dilation=2), convolution_spectrum(weight, (4, 4))
    torch.testing.assert_close(wide.values, near.values)
    assert torch.equal(wide.multiplicity, 4 * near.multiplicity)


def test_a_transposed_convolution_is_the_adjoint() -> None:
    layer = torch.nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2).double()
    found = transposed_convolution_spectrum(layer.weight, (3, 4), stride=2, groups=2)
    same(found, dense_transposed(layer.weight.detach(), (3, 4), (2, 2), 2))
    forward = convolution_spectrum(layer.weight, (6, 8), stride=2, groups=2)
    assert torch.equal(found.values, forward.values)


def test_groups_are_one_convolution_each() -> None:
    weight = draw(6, 2, 3, 3)
    parts = [listed(convolution_spectrum(part, (5, 5))) for part in weight.chunk(3)]
    whole = listed(convolution_spectrum(weight, (5, 5), groups=3))
    torch.testing.assert_close(whole, torch.cat(parts).sort(descending=True).values)


def test_a_depthwise_convolution_is_the_modulus_of_its_transform() -> None:
    weight = draw(4, 1, 3, 3)
    exact = torch.fft.fft2(weight[:, 0], (6, 6)).abs().flatten().sort(descending=True).values
    torch.testing.assert_close(listed(convolution_spectrum(weight, (6, 6), groups=4)), exact)


@pytest.mark.parametrize("precision", ["double", "single"])
@pytest.mark.parametrize(("channels", "stride"), [(6, 1), (6, 2), (70, 1)])
def test_chunks_give_the_same_values(channels: int, stride: int, precision: str) -> None:
    weight = draw(channels, channels, 3, 3)
    one, many = (
        convolution_spectrum(weight, (6, 6), stride=stride, memory=memory, precision=precision)  # type: ignore[arg-type]  # a parametrised literal
        for memory in (1, 2**24)
    )
    assert torch.equal(one.multiplicity, many.multiplicity)
    tolerance = 1e-12 if precision == "double" else 1e-4
    torch.testing.assert_close(one.values, many.values, rtol=tolerance, atol=tolerance)


def test_blocks_are_held_in_the_memory_given(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    decompose = spectra._svd
    monkeypatch.setattr(
        spectra, "_svd", lambda found, precision: sizes.append(found.nbytes) or decompose(found, precision)
    )
    for shape, size in (((64, 64, 3, 3), (16, 16)), ((96, 96, 3, 3), (7, 7))):
        convolution_spectrum(draw(*shape).float(), size, memory=2**20)
    assert max(sizes) <= 2**20
    assert len(sizes) == 14


@pytest.mark.parametrize("channels", [8, 80])
def test_single_precision_measures_its_own_error(channels: int) -> None:
    weight = draw(channels, channels, 3, 3)
    exact, fast = (convolution_spectrum(weight, (9, 9), precision=kind) for kind in ("double", "single"))
    assert exact.error is None
    assert fast.error is not None
    assert 0 < fast.error < 1e-5
    true = float((listed(exact) - listed(fast)).abs().max() / exact.values[0])
    # A sample cannot show more than there is, but for the order of equal values.
    assert 0.02 * true < fast.error <= 1.01 * true


def test_small_values_survive_in_double_precision() -> None:
    left, right = (torch.linalg.qr(draw(12, 12, seed=seed))[0] for seed in (1, 2))
    exact = torch.logspace(0, -12, 12, dtype=torch.float64)
    weight = (left * exact) @ right
    torch.testing.assert_close(matrix_spectrum(weight).values, exact, rtol=1e-3, atol=0)
    gram = torch.linalg.eigvalsh(weight @ weight.T).clamp(min=0).sqrt()
    # What is not done: from the Gram matrix the smallest values are anything up to √eps.
    assert float((gram.flip(0)[-1] - exact[-1]).abs() / exact[-1]) > 0.5


def test_a_matrix_of_any_type_and_a_weight_of_zeros() -> None:
    weight = draw(4, 3)
    torch.testing.assert_close(matrix_spectrum(weight).values, torch.linalg.svdvals(weight))
    half = matrix_spectrum(weight.to(torch.bfloat16).requires_grad_())
    assert (half.values.dtype, half.values.requires_grad) == (torch.float64, False)
    zero = convolution_spectrum(torch.zeros(2, 2, 3, 3), (4, 4), precision="single")
    assert (float(zero.values.max()), zero.error) == (0.0, 0.0)


def test_what_keeps_the_values_and_what_does_not() -> None:
    weight, size = draw(4, 5, 3, 3), (6, 6)
    before = listed(convolution_spectrum(weight, size))
    left, right = (torch.linalg.qr(draw(n, n, seed=n))[0] for n in (4, 5))
    mixed = torch.einsum("ab,bcij,cd->adij", left, weight, right)
    for kept in (mixed, weight.flip(2, 3), weight.flip(2), weight.transpose(2, 3), weight.transpose(0, 1)):
        torch.testing.assert_close(listed(convolution_spectrum(kept, size)), before)
    shifted = torch.nn.functional.pad(weight, (2, 0, 1, 0))
    torch.testing.assert_close(listed(convolution_spectrum(shifted, size)), before)
    torch.testing.assert_close(listed(convolution_spectrum(3 * weight, size)), 3 * before)
    permuted = weight.flatten(2)[..., [1, 0, 2, 3, 4, 5, 6, 7, 8]].reshape(weight.shape)
    assert not torch.allclose(listed(convolution_spectrum(permuted, size)), before, rtol=1e-3)
    assert not torch.allclose(listed(convolution_spectrum(weight + 1, size)), before, rtol=1e-3)


def test_a_stride_that_does_not_divide_is_named() -> None:
    with pytest.raises(MeasureError, match=r"does not divide the map[\s\S]*size \(7, 8\), stride \(2, 2\)"):
        convolution_spectrum(draw(2, 2, 3, 3), (7, 8), stride=2)


@pytest.mark.parametrize(
    ("weight", "size", "options", "match"),
    [
        (draw(2, 2, 3), (4, 4), {}, "not that of a linear map"),
        (torch.ones(2, 2, 3, dtype=torch.int64), (4,), {}, "not that of a linear map"),
        (draw(2, 0, 3), (4,), {}, "not that of a linear map"),
        (draw(3, 2, 3), (4,), {"groups": 2}, "groups do not divide"),
        (draw(3, 2, 3), (4,), {"groups": 0}, "groups do not divide"),
        (draw(2, 2, 3) / 0, (4,), {}, "not finite"),
        (draw(2, 2, 3), (4,), {"memory": 0}, "there must be memory"),
        (draw(2, 2, 3), (0,), {}, "size of a convolution does not fit"),
        (draw(2, 2, 3), (4,), {"stride": 0}, "stride of a convolution does not fit"),
        (draw(2, 2, 3), (4,), {"dilation": (1, 2)}, "dilation of a convolution does not fit"),
    ],
)
def test_bad_input_is_named(weight: torch.Tensor, size: tuple[int, ...], options: dict, match: str) -> None:
    with pytest.raises(MeasureError, match=match):
        convolution_spectrum(weight, size, **options)
