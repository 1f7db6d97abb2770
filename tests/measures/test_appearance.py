"""Colour moments and spectrum slopes: by hand, against literal loops, and laws both ways."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.reference import domain_reference
from transferscope.errors import MeasureError
from transferscope.measures.appearance import colour_distance, colour_moments, spectrum_slope


def images(count: int = 3, side: int = 12, channels: int = 3, seed: int = 0) -> Tensor:
    return torch.rand(count, channels, side, side, generator=torch.Generator().manual_seed(seed))


def power_law(side: int, slope: float, seed: int = 0) -> Tensor:
    """An image whose power is exactly a power of the frequency, with random phases."""
    cycles = torch.fft.fftfreq(side, 1 / side, dtype=torch.float64)
    radius = torch.hypot(cycles[:, None], cycles)
    radius[0, 0] = 1
    noise = torch.fft.fft2(torch.randn(side, side, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))
    return torch.fft.ifft2(noise / noise.abs() * radius ** (slope / 2)).real[None, None]


def test_colour_moments_against_loops() -> None:
    pictures = images()
    found = colour_moments(pictures)
    assert found.shape == (3, 3, 3)
    for image, row in zip(pictures.double().numpy(), found.numpy(), strict=True):
        np.testing.assert_allclose(row, domain_reference.moments(image), atol=1e-12)


def test_colour_moments_laws() -> None:
    pictures = images().double()
    found = colour_moments(pictures)
    torch.testing.assert_close(colour_moments(pictures.flip(2, 3)), found)
    moved = colour_moments(pictures + 0.25)
    torch.testing.assert_close(moved[:, 0], found[:, 0] + 0.25)
    torch.testing.assert_close(moved[:, 1:], found[:, 1:])
    torch.testing.assert_close(colour_moments(2 * pictures), 2 * found)
    assert not torch.allclose(colour_moments(pictures.sqrt()), found)


def test_colour_distance_by_hand() -> None:
    a = torch.tensor([[0.0, 1.0], [2.0, 1.0]])
    b = torch.tensor([[3.0, 0.0]])
    assert colour_distance(a, b) == colour_distance(b, a) == 3.0
    assert colour_distance(a, a.flip(0)) == 0.0


@pytest.mark.parametrize("side", [8, 13, 16])
def test_slope_against_a_literal_sum(side: int) -> None:
    pictures = images(side=side)
    found = spectrum_slope(pictures)
    for image, value in zip(pictures.double().numpy(), found.tolist(), strict=True):
        assert value == pytest.approx(domain_reference.slope(image), abs=1e-9)


@pytest.mark.parametrize("slope", [0.0, -1.0, -2.0])
def test_slope_of_a_known_power_law(slope: float) -> None:
    # The window blurs the spectrum by one cycle: the mean over images is near, not equal.
    found = torch.cat([spectrum_slope(power_law(64, slope, seed)) for seed in range(40)])
    assert float(found.mean()) == pytest.approx(slope, abs=0.12)


def test_slope_laws() -> None:
    pictures = images(side=16).double()
    found = spectrum_slope(pictures)
    torch.testing.assert_close(spectrum_slope(3 * pictures + 1), found)
    torch.testing.assert_close(spectrum_slope(pictures.flip(1)), found)
    smooth = torch.nn.functional.avg_pool2d(torch.nn.functional.pad(pictures, (1, 1, 1, 1), mode="circular"), 3, 1)
    assert bool((spectrum_slope(smooth) < found - 0.5).all())


def test_a_flat_image_has_no_slope() -> None:
    pictures = images(2)
    pictures[1] = 0.3
    found = spectrum_slope(pictures)
    assert math.isfinite(float(found[0]))
    assert math.isnan(float(found[1]))


def test_bad_input_is_named() -> None:
    with pytest.raises(MeasureError, match="these are no images"):
        colour_moments(torch.zeros(3, 4))
    with pytest.raises(MeasureError, match="the images do not fit"):
        spectrum_slope(torch.zeros(1, 3, 8, 9))
    with pytest.raises(MeasureError, match="the images do not fit"):
        spectrum_slope(torch.zeros(1, 3, 6, 6))
    with pytest.raises(MeasureError, match="two sets of colour moments do not fit"):
        colour_distance(torch.zeros(2, 3), torch.zeros(2, 4))
