"""Norms, ranks and curves of spectra, and the circular approximation."""

import pytest
import torch

from tests.reference.spectra_reference import plain_summary
from transferscope.errors import MeasureError
from transferscope.measures.circular import circular_difference, small_size
from transferscope.measures.spectra import Spectrum, convolution_spectrum, matrix_spectrum
from transferscope.measures.spectrum_summary import spectrum_curve, spectrum_summary, top_energy


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def spectrum(values: list[float], times: list[int]) -> Spectrum:
    return Spectrum(torch.tensor(values, dtype=torch.float64), torch.tensor(times))


@pytest.mark.parametrize("top", [0.01, 0.1, 0.3, 1.0])
def test_against_the_list_of_all_values(top: float) -> None:
    found = convolution_spectrum(draw(5, 4, 3, 3), (6, 6), stride=2)
    exact = plain_summary(found.values.repeat_interleave(found.multiplicity).tolist(), top)
    summary = spectrum_summary(found, top)
    assert {name: getattr(summary, name) for name in exact} == pytest.approx(exact)


def test_closed_forms() -> None:
    flat = spectrum_summary(spectrum([3.0], [7]), 0.5)
    assert (flat.stable_rank, flat.effective_rank, flat.energy) == pytest.approx((7, 7, 4 / 7))
    single = spectrum_summary(spectrum([3.0, 0.0], [1, 9]))
    assert (single.stable_rank, single.effective_rank, single.energy, single.top) == pytest.approx((1, 1, 1, 1))
    weight = draw(4, 3, 3, 3)
    norm = spectrum_summary(convolution_spectrum(weight, (8, 4), stride=2)).frobenius
    assert norm**2 == pytest.approx(8 * float((weight**2).sum()))


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_ranks_do_not_change_with_scale(scale: float) -> None:
    before, after = (spectrum_summary(spectrum([3.0 * s, 2.0 * s, 1.0 * s], [1, 2, 4])) for s in (1.0, scale))
    assert (after.stable_rank, after.effective_rank, after.energy) == pytest.approx(
        (before.stable_rank, before.effective_rank, before.energy)
    )
    assert (after.largest, after.frobenius) == pytest.approx((scale * before.largest, scale * before.frobenius))
    other = spectrum_summary(spectrum([4.0, 2.0, 1.0], [1, 2, 4]))
    assert other.stable_rank != pytest.approx(before.stable_rank)


def test_zeros_have_norms_and_no_rank() -> None:
    found = spectrum_summary(matrix_spectrum(torch.zeros(3, 3)))
    assert (found.largest, found.frobenius, found.count, found.top) == (0.0, 0.0, 3, 1)
    assert (found.stable_rank, found.effective_rank, found.energy) == (None, None, None)
    assert top_energy(matrix_spectrum(torch.zeros(3, 3)), 2) is None


def test_energy_counts_repeated_values_one_by_one() -> None:
    found = spectrum([2.0, 1.0], [1, 4])
    assert [top_energy(found, k) for k in (1, 2, 5)] == pytest.approx([4 / 8, 5 / 8, 1])


def test_curves_keep_the_ends_and_thin_the_rest() -> None:
    found = matrix_spectrum(draw(300, 300))
    ranks, values = spectrum_curve(found, 20)
    assert 15 <= len(ranks) <= 20
    assert ranks[:3].tolist() == [1, 2, 4]
    assert (int(ranks[0]), int(ranks[-1])) == (1, 300)
    assert torch.equal(values, found.values[ranks - 1])
    ranks, values = spectrum_curve(spectrum([5.0, 3.0, 1.0], [2, 1, 3]), 20)
    assert (ranks.tolist(), values.tolist()) == ([1, 2, 3, 6], [5.0, 5.0, 3.0, 1.0])
    assert spectrum_curve(spectrum([5.0], [1]))[0].tolist() == [1]


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda found: spectrum_summary(found, 0), "top is a share"),
        (lambda found: top_energy(found, 6), "not so many singular values"),
        (lambda found: spectrum_curve(found, 1), "two ends"),
    ],
)
def test_bad_settings_are_named(call, match: str) -> None:
    with pytest.raises(MeasureError, match=match):
        call(spectrum([2.0, 1.0], [1, 4]))


@pytest.mark.parametrize(("stride", "groups"), [(1, 1), (2, 1), (1, 2)])
def test_zero_padding_against_a_matrix_built_by_hand(stride: int, groups: int) -> None:
    layer = torch.nn.Conv2d(4, 6, 3, stride=stride, padding=1, groups=groups, bias=False).double()
    with torch.no_grad():
        matrix = layer(torch.eye(4 * 16, dtype=torch.float64).reshape(-1, 4, 4, 4)).flatten(1)
    padded = torch.linalg.svdvals(matrix)
    circular = convolution_spectrum(layer.weight, (4, 4), stride=stride, groups=groups)
    wrapped = circular.values.repeat_interleave(circular.multiplicity)
    pairs = {"stride": (stride, stride), "dilation": (1, 1), "padding": (1, 1), "groups": groups}
    found = circular_difference(layer.weight, (4, 4), **pairs)
    assert found is not None
    assert found.largest == pytest.approx(float(abs(padded[0] - wrapped[0]) / wrapped[0]))
    assert found.any == pytest.approx(float((padded[: len(wrapped)] - wrapped).abs().max() / wrapped[0]))
    # Zero padding cuts the operator down: its norm is never above that of the larger periodic maps.
    assert padded[0] <= 1.05 * wrapped[0]


def test_without_padding_needed_both_are_one() -> None:
    settings = {"stride": (2, 2), "dilation": (1, 1), "padding": (0, 0)}
    patches = circular_difference(draw(3, 2, 2, 2), (4, 4), **settings)
    assert patches is not None
    assert (patches.largest, patches.any) == pytest.approx((0, 0), abs=1e-14)
    assert circular_difference(torch.zeros(3, 2, 2, 2), (4, 4), **settings) is None


def test_small_maps_are_as_large_as_can_be_afforded() -> None:
    near = {"stride": (1, 1), "dilation": (1, 1), "padding": (1, 1)}
    assert small_size(draw(8, 8, 3, 3), most=1024, **near) == (8, 8)
    assert small_size(draw(64, 64, 3, 3), most=1024, **near) == (4, 4)
    assert small_size(draw(512, 512, 3, 3), most=1024, **near) is None
    assert small_size(torch.empty(512, 1, 3, 3), groups=512, most=1024, **near) == (8, 8)
    wide = small_size(draw(2, 2, 3, 3), stride=(2, 2), dilation=(3, 3), padding=(3, 3), most=40)
    assert wide is None
    assert small_size(draw(2, 2, 3, 3), stride=(2, 2), dilation=(3, 3), padding=(3, 3), most=200) == (10, 10)


def test_maps_of_four_axes_cannot_be_padded() -> None:
    four = (1, 1, 1, 1)
    with pytest.raises(MeasureError, match="one to three axes"):
        circular_difference(torch.ones(1, 1, *four), four, stride=four, dilation=four, padding=(0, 0, 0, 0))
