"""Laws of single measures that are no invariance, and the public names of measures."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.properties.measured_cases import half_width, multi_label, parameters
from transferscope import measures
from transferscope.measures import barriers, curves, distance, intervals, metrics, mistakes
from transferscope.measures.cka import linear_cka


@settings(derandomize=True, deadline=None, max_examples=40)
@given(st.integers(0, 2**31))
def test_distance_is_a_metric(seed: int) -> None:
    case = parameters(np.random.default_rng(seed))
    a, b, c = case["a"], case["b"], case["a_start"]
    ab, bc, ac = (distance.parameter_distance(*pair).l2 for pair in ((a, b), (b, c), (a, c)))
    assert ac <= ab + bc + 1e-12
    assert distance.parameter_distance(a, a).l2 == 0
    assert ab > 0


@settings(derandomize=True, deadline=None, max_examples=40)
@given(st.integers(0, 2**31))
def test_negated_scores_mirror_the_area(seed: int) -> None:
    case = multi_label(np.random.default_rng(seed))
    area, mirrored = (metrics.metric(sign * case["logits"], case["labels"], "auc") for sign in (1, -1))
    assert area is not None
    assert mirrored is not None
    assert area + mirrored == pytest.approx(1.0)


@settings(derandomize=True, deadline=None, max_examples=40)
@given(st.integers(0, 2**31), st.floats(0.5, 0.99))
def test_a_wider_margin_never_turns_kept_into_lost(seed: int, shrink: float) -> None:
    values = np.random.default_rng(seed).normal(0.004, 0.002, size=4)
    loss = intervals.seeds_interval(values, confidence=0.90)
    order = ("lost", "undecided", "kept")
    narrow, wide = (intervals.noninferior(loss, margin).verdict for margin in (0.005 * shrink, 0.005))
    assert order.index(narrow) <= order.index(wide)
    wider = intervals.seeds_interval(values, confidence=0.99)
    assert half_width(wider) > half_width(loss)
    if intervals.noninferior(loss).verdict == "undecided":
        assert intervals.noninferior(wider).verdict == "undecided"
    assert intervals.noninferior(replace(loss, basis="range")).verdict == "undecided"


def test_public_names_of_measures() -> None:
    assert len(set(measures.__all__)) == len(measures.__all__)
    for name in measures.__all__:
        assert getattr(measures, name) is not None
    for module in (barriers, curves, distance, intervals, metrics, mistakes):
        missing = set(module.__all__) - set(measures.__all__)
        assert not missing, module.__name__
    assert measures.linear_cka is linear_cka
    assert not math.isnan(measures.parameter_norm({"w": torch.ones(2)}))
