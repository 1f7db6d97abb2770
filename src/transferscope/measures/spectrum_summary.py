"""A spectrum in a few numbers, and as a curve of a few hundred points; multiplicities count everywhere."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from transferscope.arguments import checked
from transferscope.errors import MeasureError
from transferscope.measures.spectra import Spectrum

__all__ = ["SpectrumSummary", "spectrum_curve", "spectrum_summary", "top_energy"]


@dataclass(frozen=True)
class SpectrumSummary:
    """What is told of a spectrum σ₁ ≥ σ₂ ≥ …

    Attributes:
        count: singular values, with multiplicity.
        largest: σ₁, the operator norm.
        frobenius: ‖·‖_F = √Σσ².
        stable_rank: ‖·‖_F² / σ₁², in [1, count]; None if all values are 0.
        effective_rank: exp(H(σ/Σσ)), in [1, count]; None if all values are 0.
        top: how many values are meant by ``energy``.
        energy: share of Σσ² in the largest ``top`` values, in (0, 1]; None if all values are 0.
    """

    count: int
    largest: float
    frobenius: float
    stable_rank: float | None
    effective_rank: float | None
    top: int
    energy: float | None


@checked
def spectrum_summary(spectrum: Spectrum, top: float = 0.1) -> SpectrumSummary:
    """Norms and ranks of an operator.

    Args:
        spectrum: of the operator.
        top: share of the values, in (0, 1], whose energy is told: the largest ⌈top · count⌉.

    Raises:
        MeasureError: ``top`` outside (0, 1].

    Ranks and energy are invariant to scaling of the operator; the norms scale with it.

    Reference: Roy & Vetterli (2007), "The effective rank", eq. 4; Vershynin (2018), Sec. 7.6 (stable rank).

    Example:
        >>> found = spectrum_summary(Spectrum(torch.tensor([2.0, 1.0]).double(), torch.tensor([1, 4])), top=0.2)
        >>> found.stable_rank, found.energy
        (2.0, 0.5)
    """
    if not 0 < top <= 1:
        raise MeasureError("top is a share of the singular values", expected="in (0, 1]", got=f"top = {top:g}")
    count, largest = spectrum.count, float(spectrum.values[0])
    # A product such as 0.1 · 30 is a little above 3, of which the fourth value is no part.
    k = max(1, math.ceil(round(top * count, 9)))
    if largest == 0:
        return SpectrumSummary(count, 0.0, 0.0, None, None, k, None)
    # Scaled by the largest value, squares neither overflow nor vanish.
    scaled = spectrum.values / largest
    squares = float((spectrum.multiplicity * scaled**2).sum())
    shares = scaled / (spectrum.multiplicity * scaled).sum()
    entropy = float((spectrum.multiplicity * torch.special.entr(shares)).sum())
    return SpectrumSummary(
        count=count,
        largest=largest,
        frobenius=largest * math.sqrt(squares),
        stable_rank=squares,
        effective_rank=math.exp(entropy),
        top=k,
        energy=top_energy(spectrum, k),
    )


@checked
def top_energy(spectrum: Spectrum, k: int) -> float | None:
    """Share of Σσ² in the k largest singular values.

    Args:
        spectrum: of the operator.
        k: how many, from 1 to all.

    Returns:
        In (0, 1], rising with k; None if all values are 0.

    Raises:
        MeasureError: there are not so many values.
    """
    if not 1 <= k <= spectrum.count:
        raise MeasureError(
            "there are not so many singular values", expected=f"k from 1 to {spectrum.count}", got=f"k = {k}"
        )
    largest = spectrum.values[0]
    if largest == 0:
        return None
    squares = (spectrum.values / largest) ** 2
    before = spectrum.multiplicity.cumsum(0) - spectrum.multiplicity
    taken = (k - before).clamp(min=0).minimum(spectrum.multiplicity)
    return min(1.0, float((taken * squares).sum() / (spectrum.multiplicity * squares).sum()))


@checked
def spectrum_curve(spectrum: Spectrum, points: int = 200) -> tuple[Tensor, Tensor]:
    """The spectrum as a curve that serves linear and logarithmic axes: the value at some ranks, the ends among them.

    Half of the ranks are evenly spaced, half in equal ratios.

    Args:
        spectrum: of the operator.
        points: at most so many, at least 2; where there are fewer different values, each stands at its last rank, and
            the largest at rank 1 too, so that nothing is left out.

    Returns:
        Ranks, int64, ascending from 1 to the count, and the values at them, float64, descending.

    Raises:
        MeasureError: fewer than 2 points.

    Example:
        >>> ranks, values = spectrum_curve(Spectrum(torch.tensor([2.0, 1.0]).double(), torch.tensor([1, 4])), points=3)
        >>> ranks.tolist(), values.tolist()
        ([1, 5], [2.0, 1.0])
    """
    if points < 2:
        raise MeasureError("a curve has two ends", expected="points of at least 2", got=str(points))
    last = spectrum.multiplicity.cumsum(0)
    if len(last) < points:
        ranks = last if last[0] == 1 else torch.cat([last.new_ones(1), last])
    else:
        count = int(last[-1])
        even = torch.linspace(1, count, points - points // 2, dtype=torch.float64)
        ratios = torch.logspace(0, math.log10(count), points // 2, dtype=torch.float64)
        ranks = torch.cat([even, ratios]).round().to(torch.int64).sort().values
        ranks = torch.unique_consecutive(ranks)
    return ranks, spectrum.values[torch.searchsorted(last, ranks)]
