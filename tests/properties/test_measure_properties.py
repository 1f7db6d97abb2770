"""One table of what each measure is, and is not, invariant to; every row is checked, in its direction.

An invariance holds for every random case; a non-invariance is shown by at least one case that changes by more than
rounding (a measure that ignored its input would pass every invariance).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.properties.changes_of_cases import CHANGES
from tests.properties.measured_cases import MEASURES

CASES = 12


@dataclass(frozen=True)
class Law:
    measure: str
    change: str
    invariant: bool


def laws(measure: str, *, invariant: tuple[str, ...], not_invariant: tuple[str, ...]) -> list[Law]:
    return [Law(measure, change, True) for change in invariant] + [
        Law(measure, change, False) for change in not_invariant
    ]


_ORDER, _ORDER_ONE = "examples in another order", "examples in another order, labels not"


_PAIR = ("both networks' examples in another order", "networks swapped")


_CKA_INVARIANT = (
    "an orthogonal map of the features",
    "an isotropic scale of the features",
    "an offset of the features",
    "both sides' examples in another order",
)


_CKA_CHANGES = ("a general linear map of the features", "one side's examples in another order")


TABLE: list[Law] = [
    *laws(
        "cross_entropy",
        invariant=("a constant added to all logits of an example", "classes permuted with their labels", _ORDER),
        not_invariant=("a positive scale of the logits", "classes permuted without their labels", _ORDER_ONE),
    ),
    *laws(
        "top1",
        invariant=(
            "a constant added to all logits of an example",
            "an increasing map of the logits",
            "classes permuted with their labels",
            _ORDER,
        ),
        not_invariant=("negated logits", "classes permuted without their labels", _ORDER_ONE),
    ),
    *laws(
        "top2",
        invariant=("an increasing map of the logits", "classes permuted with their labels", _ORDER),
        not_invariant=("negated logits", "classes permuted without their labels", _ORDER_ONE),
    ),
    *laws(
        "binary_cross_entropy",
        invariant=(_ORDER,),
        not_invariant=(
            "a constant added to all logits of an example",
            "a positive scale of the logits",
            "an increasing map of the logits",
            _ORDER_ONE,
        ),
    ),
    *laws(
        "auc",
        invariant=("a positive scale of the logits", "an increasing map of the logits", _ORDER),
        not_invariant=("a constant added to all logits of an example", "negated logits", _ORDER_ONE),
    ),
    *laws(
        "correct_multi",
        invariant=("a positive scale of the logits", _ORDER),
        not_invariant=("an increasing map of the logits", "negated logits"),
    ),
    *(
        law
        for name in ("kappa", "kappa_max", "jaccard")
        for law in laws(
            name,
            invariant=(*_PAIR, "classes renamed everywhere"),
            not_invariant=("classes renamed in the predictions",)
            + (("one network's examples in another order",) if name != "kappa_max" else ())
            + (("examples added that both get right",) if name != "jaccard" else ()),
        )
    ),
    Law("jaccard", "examples added that both get right", True),
    *laws(
        "same_label_share",
        invariant=(*_PAIR, "classes renamed everywhere", "examples added that both get right"),
        not_invariant=("classes renamed in the predictions", "one network's examples in another order"),
    ),
    *laws(
        "seeds_half_width",
        invariant=("a constant added to the values",),
        not_invariant=("the values repeated", "a common scale"),
    ),
    *laws(
        "paired_seeds_interval",
        invariant=("a seed effect added to both",),
        not_invariant=("a seed effect added to one", "a constant added to the values", "networks swapped"),
    ),
    *laws(
        "fieller",
        invariant=("a common scale",),
        not_invariant=("one side scaled", "a constant added to the values", "a seed effect added to both"),
    ),
    *laws(
        "mean_difference_interval",
        invariant=("an example effect added to both",),
        not_invariant=("an example effect added to one", "networks swapped"),
    ),
    *laws(
        "optimisation_speed",
        invariant=("epoch 0 changed", "epochs that one lacks changed"),
        not_invariant=("epoch 1 changed", "the last epoch common to all changed"),
    ),
    *laws(
        "trend_p",
        invariant=(
            "epoch 0 changed",
            "epoch 1 changed",
            "the last epoch common to all changed",
            "the curve shifted and scaled",
        ),
        not_invariant=("epochs that one lacks changed",),
    ),
    *laws(
        "l2",
        invariant=("one orthogonal map of all", "channels of all permuted", "networks swapped", "the starts moved"),
        not_invariant=("channels of one permuted", "all parameters scaled", "one network's parameters scaled"),
    ),
    *laws(
        "relative_l2",
        invariant=("one orthogonal map of all", "channels of all permuted", "all parameters scaled"),
        not_invariant=("channels of one permuted", "one network's parameters scaled"),
    ),
    *laws(
        "displacement_cosine",
        invariant=(
            "one orthogonal map of all",
            "channels of all permuted",
            "displacements scaled",
            "all parameters scaled",
        ),
        not_invariant=("the starts moved", "channels of one permuted", "more decay of one"),
    ),
    *laws(
        "displacement_cosine_without_decay",
        invariant=("one orthogonal map of all", "displacements scaled", "all parameters scaled", "more decay of one"),
        not_invariant=("the starts moved", "channels of one permuted"),
    ),
    *(
        law
        for name in ("linear_barrier", "mean_barrier")
        for law in laws(
            name,
            invariant=(
                "a constant added to the path",
                "extrapolated points changed",
                "the path reversed",
                "points in another order",
                "an example effect added to the whole path",
            ),
            not_invariant=("a constant added to one end", "the middle raised", "the path scaled"),
        )
    ),
    *laws(
        "barrier_error",
        invariant=(
            "a constant added to the path",
            "an example effect added to the whole path",
            "the middle raised",
            "points in another order",
        ),
        not_invariant=("the path scaled",),
    ),
    *laws("cka_unbiased", invariant=(*_CKA_INVARIANT, "networks swapped"), not_invariant=_CKA_CHANGES),
    *laws("cka_biased", invariant=(*_CKA_INVARIANT, "networks swapped"), not_invariant=_CKA_CHANGES),
    *(
        law
        for name in ("cka_rbf", "procrustes_similarity", "procrustes_distance", "rsa")
        for law in laws(name, invariant=(*_CKA_INVARIANT, "networks swapped"), not_invariant=_CKA_CHANGES)
    ),
    *laws(
        "mean_squared_cca",
        invariant=(*_CKA_INVARIANT, "networks swapped", "a general linear map of the features"),
        not_invariant=("one side's examples in another order",),
    ),
    *laws(
        "rsa_correlation",
        invariant=("a translation of all features", "both sides' examples in another order", "networks swapped"),
        not_invariant=(
            "an offset of the features",
            "an orthogonal map of the features",
            "one side's examples in another order",
        ),
    ),
    *(
        law
        for name in ("kendall", "spearman")
        for law in laws(
            name,
            invariant=("an increasing map of one measure", "things in another order", "networks swapped"),
            not_invariant=("one measure negated", "things of one measure in another order"),
        )
    ),
    *laws(
        "matched_channels",
        invariant=("channels of b permuted", "a positive scale and an offset of each channel"),
        not_invariant=("signs of channels flipped", "channels mixed", "one side's examples in another order"),
    ),
    *(
        law
        for name, offset in (("logme", False), ("h_score", True))
        for law in laws(
            name,
            invariant=(
                "an orthogonal map of the features",
                "an isotropic scale of the features",
                "examples with their labels in another order",
                "target classes renamed",
                *(("an offset of the features",) if offset else ()),
            ),
            not_invariant=(
                "a general linear map of the features",
                "labels of the features in another order",
                "all examples repeated",
                *(() if offset else ("an offset of the features",)),
            ),
        )
    ),
    *laws(
        "leep",
        invariant=(_ORDER, "source classes renamed", "target classes renamed", "all examples repeated"),
        not_invariant=("a positive scale of the logits", _ORDER_ONE),
    ),
    *laws(
        "nce",
        invariant=(
            _ORDER,
            "source classes renamed",
            "target classes renamed",
            "all examples repeated",
            "a positive scale of the logits",
        ),
        not_invariant=("negated logits", _ORDER_ONE),
    ),
    *laws(
        "same_index_channels",
        invariant=("a positive scale and an offset of each channel",),
        not_invariant=("channels of b permuted", "signs of channels flipped", "channels mixed"),
    ),
]


def same(before: Any, after: Any) -> bool:
    if before is None or after is None:
        return before is after
    return bool(np.allclose(before, after, rtol=1e-9, atol=1e-9))


def before_and_after(law: Law, seed: int) -> tuple[Any, Any]:
    make, measure = MEASURES[law.measure]
    case = make(np.random.default_rng(seed))
    return measure(case), measure(CHANGES[law.change](case, np.random.default_rng(seed + 1)))


@pytest.mark.parametrize("law", [law for law in TABLE if law.invariant], ids=lambda law: f"{law.measure}: {law.change}")
def test_invariant_to(law: Law) -> None:
    @settings(derandomize=True, deadline=None, max_examples=CASES)
    @given(st.integers(0, 2**31))
    def holds(seed: int) -> None:
        before, after = before_and_after(law, seed)
        assert same(before, after), f"{before} became {after}"

    holds()


@pytest.mark.parametrize(
    "law", [law for law in TABLE if not law.invariant], ids=lambda law: f"{law.measure}: {law.change}"
)
def test_not_invariant_to(law: Law) -> None:
    changed = [not same(*before_and_after(law, seed)) for seed in range(CASES)]
    assert sum(changed) > CASES / 2


def test_table_is_whole() -> None:
    """Each measure is checked both ways, each change is used, and no row contradicts another."""
    assert {law.measure for law in TABLE} == set(MEASURES)
    assert {law.change for law in TABLE} == set(CHANGES)
    assert len({(law.measure, law.change) for law in TABLE}) == len(TABLE)
    for name in MEASURES:
        assert {law.invariant for law in TABLE if law.measure == name} == {True, False}, name
