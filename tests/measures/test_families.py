import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reference import statistics_reference as reference
from transferscope.errors import MeasureError
from transferscope.measures.families import bonferroni, bonferroni_confidence, holm

probabilities = st.lists(st.floats(0, 1), min_size=1, max_size=8)


@settings(derandomize=True, deadline=None)
@given(probabilities)
def test_holm_against_its_definition(p: list[float]) -> None:
    adjusted = holm(p)
    assert adjusted == pytest.approx(reference.holm(p), rel=1e-15)
    for raw, mine, coarse in zip(p, adjusted, bonferroni(p), strict=True):
        assert raw <= mine <= coarse


def test_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert bonferroni([0.01, 0.3, 0.5]) == pytest.approx([0.03, 0.9, 1.0])
    assert bonferroni_confidence(1) == pytest.approx(0.95)
    assert bonferroni_confidence(4, 0.9) == pytest.approx(0.975)


def test_what_was_not_tested_is_not_counted() -> None:
    assert holm([0.02, None, 0.03]) == [0.04, None, 0.04]
    assert bonferroni([None, 0.02, 0.03]) == [None, 0.04, 0.06]
    assert holm([]) == []


def test_errors() -> None:
    for bad in (-0.1, 1.1, float("nan")):
        with pytest.raises(MeasureError, match="not a probability"):
            holm([0.1, bad])
        with pytest.raises(MeasureError, match="not a probability"):
            bonferroni([bad])
    with pytest.raises(MeasureError, match="family of intervals"):
        bonferroni_confidence(0)
    with pytest.raises(MeasureError, match="family of intervals"):
        bonferroni_confidence(3, 1.0)
