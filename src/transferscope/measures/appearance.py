"""How images look, without a network: colour moments, and the slope of the power spectrum."""

import math

import torch
from torch import Tensor

from transferscope.errors import MeasureError
from transferscope.measures.arguments import of_tensors

__all__ = ["colour_distance", "colour_moments", "spectrum_slope"]


@of_tensors
def colour_moments(images: Tensor) -> Tensor:
    """Mean, standard deviation and skewness of each channel, image by image.

    The skewness is the signed cube root of the third central moment, so that all three are in the unit of pixel values.
    Invariant to the order of an image's pixels; an offset shifts the means alone, a factor scales all three.

    Args:
        images: ``examples channels height width``, values as they are to be compared, as a rule in [0, 1].

    Returns:
        float64 ``examples 3 channels``: means, deviations, skewnesses.

    Raises:
        MeasureError: not images.

    Reference: Stricker & Orengo (1995), eq. 1–3.

    >>> colour_moments(torch.tensor([0.0, 1.0]).reshape(1, 1, 1, 2)).flatten().tolist()
    [0.5, 0.5, 0.0]
    """
    pixels = _images(images).flatten(2)
    mean = pixels.mean(2, keepdim=True)
    apart = pixels - mean
    third = apart.pow(3).mean(2)
    skewness = third.sign() * third.abs().pow(1 / 3)
    return torch.stack([mean[..., 0], apart.square().mean(2).sqrt(), skewness], dim=1)


@of_tensors
def colour_distance(a: Tensor, b: Tensor) -> float:
    """Distance of two sets of images in colour: the sum of |difference| of the sets' mean colour moments.

    At least 0; symmetric; 0 for equal sets; in the unit of pixel values. The nine (3 moments × 3 channels) moments have
    equal weight.

    Args:
        a: ``examples moments``, or ``examples 3 channels`` as in :func:`colour_moments`.
        b: as ``a``; the number of examples may differ.

    Raises:
        MeasureError: no examples, or other moments.

    Reference: Stricker & Orengo (1995), eq. 4, with equal weights, on means over images.
    """
    if not len(a) or not len(b) or a.shape[1:] != b.shape[1:]:
        raise MeasureError(
            "the two sets of colour moments do not fit",
            expected=f"at least one example each, of {tuple(a.shape[1:])}",
            got=f"{tuple(a.shape)} and {tuple(b.shape)}",
        )
    return float((a.double().mean(0) - b.double().mean(0)).abs().sum())


@of_tensors
def spectrum_slope(images: Tensor) -> Tensor:
    """Slope of the radially averaged power spectrum in log-log axes, image by image.

    Grey values (channel mean) less their mean, under a Hann window in both directions, which takes away the edges'
    cross; power by discrete Fourier transform; mean power over rings of one cycle per image from 1 to half the side;
    least squares of log power on log frequency. Natural images have about −2: more negative is smoother, 0 is white
    noise. Invariant to the offset and scale of an image, and to flips.

    Args:
        images: ``examples channels side side``, side at least 8.

    Returns:
        float64 ``examples``; NaN for an image without variation in a ring, which has no slope.

    Raises:
        MeasureError: not square images of at least 8 pixels.

    Reference: Field (1987); van der Schaaf & van Hateren (1996), §2.

    >>> noise = torch.randn(64, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    >>> abs(float(spectrum_slope(noise).mean())) < 0.1
    True
    """
    pixels = _images(images)
    side = pixels.shape[-1]
    if pixels.shape[-2] != side or side < 8:
        raise MeasureError(
            "the images do not fit", expected="squares of at least 8 pixels", got=str(tuple(pixels.shape[-2:]))
        )
    grey = pixels.mean(1)
    grey = grey - grey.mean((1, 2), keepdim=True)
    window = torch.hann_window(side, periodic=True, dtype=torch.float64)
    power = torch.fft.fft2(grey * window[:, None] * window).abs().square().flatten(1)
    cycles = torch.fft.fftfreq(side, 1 / side, dtype=torch.float64)
    ring = torch.hypot(cycles[:, None], cycles).round().long().flatten()
    rings = torch.arange(1, side // 2 + 1)
    members = (ring[:, None] == rings).double()
    radial = power @ members / members.sum(0)
    # Below rounding, as of a flat image, there is nothing to take the logarithm of.
    floor = 1e-24 * pixels.square().flatten(1).sum(1) * side**2
    radial = torch.where(radial > floor[:, None], radial, torch.nan)
    x = rings.double().log()
    x = x - x.mean()
    y = radial.log()
    return (y * x).sum(1) / float(x.square().sum()) if len(rings) > 1 else torch.full((len(y),), math.nan)


def _images(images: Tensor) -> Tensor:
    if images.ndim != 4 or not images.numel():
        raise MeasureError(
            "these are no images", expected="'examples channels height width'", got=str(tuple(images.shape))
        )
    return images.detach().cpu().double()
