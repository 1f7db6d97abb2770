"""One table of what each measure is, and is not, invariant to; every row is checked, in its direction.

An invariance holds for every random case; a non-invariance is shown by at least one case that changes by more than
rounding (a measure that ignored its input would pass every invariance).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from transferscope import measures
from transferscope.measures import barriers, curves, distance, intervals, metrics, mistakes
from transferscope.measures.agreement import rank_agreement
from transferscope.measures.channels import channel_update, reuse
from transferscope.measures.cka import linear_cka, rbf_cka
from transferscope.measures.linear_similarity import mean_squared_cca, procrustes_distance, procrustes_similarity
from transferscope.measures.rsa import rsa

Case = dict[str, Any]
Generator = np.random.Generator

CASES = 12


@dataclass(frozen=True)
class Law:
    measure: str
    change: str
    invariant: bool


# ---------------------------------------------------------------- random cases


def single_label(generator: Generator) -> Case:
    labels = np.concatenate([np.arange(5), generator.integers(5, size=25)])
    return {"logits": torch.from_numpy(generator.normal(size=(30, 5)) * 2), "labels": torch.from_numpy(labels)}


def multi_label(generator: Generator) -> Case:
    labels = generator.integers(2, size=(30, 3))
    labels[:2] = [[0] * 3, [1] * 3]
    return {"logits": torch.from_numpy(generator.normal(size=(30, 3)) + labels), "labels": torch.from_numpy(labels)}


def pair_of_networks(generator: Generator) -> Case:
    return dict(zip(("a", "b", "labels"), generator.integers(3, size=(3, 40)), strict=True))


def paired_seeds(generator: Generator) -> Case:
    a, b = generator.normal(size=(2, 4))
    return {"a": a + 0.5, "b": b + 8.0}


def paired_examples(generator: Generator) -> Case:
    a, b = generator.normal(size=(2, 3, 30))
    return {"a": a, "b": b}


def learning_curves(generator: Generator) -> Case:
    return {
        "a": dict(enumerate(generator.random(13).tolist())),
        "b": dict(enumerate(generator.random(9).tolist())),
    }


def parameters(generator: Generator) -> Case:
    def network() -> dict[str, torch.Tensor]:
        return {
            "weight": torch.from_numpy(generator.normal(size=(6, 4))),
            "bias": torch.from_numpy(generator.normal(size=6)),
        }

    return {name: network() for name in ("a", "a_start", "b", "b_start")}


def path(generator: Generator) -> Case:
    values = generator.normal(size=(9, 25)) + 2
    values[4] += 3
    return {"alphas": np.linspace(-0.5, 1.5, 9), "values": values}


def features(generator: Generator) -> Case:
    a = generator.normal(size=(24, 6))
    b = a @ generator.normal(size=(6, 5)) + generator.normal(size=(24, 5))
    return {"a": torch.from_numpy(a), "b": torch.from_numpy(b)}


def two_measures(generator: Generator) -> Case:
    a = generator.random(9)
    return {"a": a, "b": a + generator.random(9)}


def channels(generator: Generator) -> Case:
    a = generator.normal(size=(80, 6))
    return {"a": torch.from_numpy(a), "b": torch.from_numpy(a + generator.normal(size=(80, 6)))}


# ---------------------------------------------------------------- measures


def reused(case: Case) -> Any:
    halves = [channel_update(None, case["a"][part], case["b"][part]) for part in (slice(None, 40), slice(40, None))]
    return reuse(*halves, threshold=0.6)


def half_width(interval: intervals.Interval) -> float:
    assert interval.low is not None
    assert interval.high is not None
    return (interval.high - interval.low) / 2


def both_ends(interval: intervals.Interval) -> tuple[float, float]:
    assert interval.low is not None
    assert interval.high is not None
    return interval.low, interval.high


def trend_p(case: Case) -> float:
    trend = curves.still_improving(case["a"])
    assert trend is not None
    return trend.p_value


def mistake(name: str) -> Callable[[Case], Any]:
    return lambda case: getattr(mistakes.compare_mistakes(case["a"], case["b"], case["labels"]), name)


def displaced(case: Case, **options: bool) -> float | None:
    return distance.displacement_cosine(case["a"], case["a_start"], case["b"], case["b_start"], **options)


MEASURES: dict[str, tuple[Callable[[Generator], Case], Callable[[Case], Any]]] = {
    "cross_entropy": (single_label, lambda c: metrics.per_example_loss(c["logits"], c["labels"]).mean().item()),
    "top1": (single_label, lambda c: metrics.metric(c["logits"], c["labels"], "top1")),
    "top2": (single_label, lambda c: metrics.top_k(c["logits"], c["labels"], 2)),
    "binary_cross_entropy": (
        multi_label,
        lambda c: metrics.per_example_loss(c["logits"], c["labels"], "multi").mean().item(),
    ),
    "auc": (multi_label, lambda c: metrics.metric(c["logits"], c["labels"], "auc")),
    "correct_multi": (multi_label, lambda c: metrics.correct(c["logits"], c["labels"]).double().mean().item()),
    "kappa": (pair_of_networks, mistake("kappa")),
    "kappa_max": (pair_of_networks, mistake("kappa_max")),
    "jaccard": (pair_of_networks, mistake("jaccard")),
    "same_label_share": (pair_of_networks, mistake("same_label_share")),
    "seeds_half_width": (paired_seeds, lambda c: half_width(intervals.seeds_interval(c["a"]))),
    "paired_seeds_interval": (paired_seeds, lambda c: both_ends(intervals.paired_seeds_interval(c["a"], c["b"]))),
    "fieller": (paired_seeds, lambda c: both_ends(intervals.fieller(c["a"], c["b"]))),
    "mean_difference_interval": (
        paired_examples,
        lambda c: both_ends(intervals.mean_difference_interval(c["a"], c["b"], draws=100)),
    ),
    "optimisation_speed": (learning_curves, lambda c: curves.optimisation_speed([c["a"], c["b"]])),
    "trend_p": (learning_curves, trend_p),
    "l2": (parameters, lambda c: distance.parameter_distance(c["a"], c["b"]).l2),
    "relative_l2": (parameters, lambda c: distance.parameter_distance(c["a"], c["b"], c["a_start"]).relative),
    "displacement_cosine": (parameters, displaced),
    "displacement_cosine_without_decay": (parameters, lambda c: displaced(c, without_decay=True)),
    "linear_barrier": (path, lambda c: barriers.barrier(c["alphas"], c["values"]).linear.value),
    "mean_barrier": (path, lambda c: barriers.barrier(c["alphas"], c["values"]).mean.value),
    "barrier_error": (path, lambda c: barriers.barrier(c["alphas"], c["values"]).linear.standard_error),
    "cka_unbiased": (features, lambda c: linear_cka(c["a"], c["b"])),
    "cka_biased": (features, lambda c: linear_cka(c["a"], c["b"], "biased")),
    "cka_rbf": (features, lambda c: rbf_cka(c["a"], c["b"])),
    "mean_squared_cca": (features, lambda c: mean_squared_cca(c["a"], c["b"])),
    "procrustes_similarity": (features, lambda c: procrustes_similarity(c["a"], c["b"])),
    "procrustes_distance": (features, lambda c: procrustes_distance(c["a"], c["b"])),
    "rsa": (features, lambda c: rsa(c["a"], c["b"])),
    "rsa_correlation": (features, lambda c: rsa(c["a"], c["b"], "correlation")),
    "kendall": (two_measures, lambda c: rank_agreement(c["a"], c["b"]).kendall),
    "spearman": (two_measures, lambda c: rank_agreement(c["a"], c["b"]).spearman),
    "matched_channels": (channels, lambda c: (reused(c).matched, reused(c).correlation)),
    "same_index_channels": (channels, lambda c: (reused(c).same_index, reused(c).correlation_same)),
}

# ---------------------------------------------------------------- changes


def on(*names: str) -> Callable[[Callable[[Any, Generator], Any]], Callable[[Case, Generator], Case]]:
    """A change of the named entries of a case, with the same random numbers for each."""

    def wrap(change: Callable[[Any, Generator], Any]) -> Callable[[Case, Generator], Case]:
        def changed(case: Case, generator: Generator) -> Case:
            seed = int(generator.integers(2**31))
            return {**case, **{name: change(case[name], np.random.default_rng(seed)) for name in names}}

        return changed

    return wrap


def shuffled(table: Any, generator: Generator) -> Any:
    return table[generator.permutation(len(table))]


def orthogonal(size: int, generator: Generator) -> np.ndarray:
    return np.linalg.qr(generator.normal(size=(size, size)))[0]


def classes_with_labels(case: Case, generator: Generator) -> Case:
    order = generator.permutation(case["logits"].shape[1])
    return {"logits": case["logits"][:, order], "labels": torch.from_numpy(np.argsort(order))[case["labels"]]}


def renamed(names: tuple[str, ...]) -> Callable[[Case, Generator], Case]:
    def change(case: Case, generator: Generator) -> Case:
        order = np.roll(np.arange(3), int(generator.integers(1, 3)))
        return {**case, **{name: order[case[name]] for name in names}}

    return change


def more_right(case: Case, generator: Generator) -> Case:
    extra = generator.integers(3, size=15)
    return {name: np.concatenate([column, extra]) for name, column in case.items()}


def at_epoch(epoch: int) -> Callable[[Case, Generator], Case]:
    def change(case: Case, generator: Generator) -> Case:
        return {name: {**curve, epoch: curve[epoch] + 3.0} for name, curve in case.items()}

    return change


def rows_turned(parameters: dict[str, torch.Tensor], generator: Generator) -> dict[str, torch.Tensor]:
    turn = torch.from_numpy(orthogonal(6, generator))
    return {name: turn @ tensor for name, tensor in parameters.items()}


def rows_permuted(parameters: dict[str, torch.Tensor], generator: Generator) -> dict[str, torch.Tensor]:
    order = torch.from_numpy(np.roll(np.arange(6), 1 + int(generator.integers(5))))
    return {name: tensor[order] for name, tensor in parameters.items()}


def scaled_by(factor: float) -> Callable[[Any, Generator], Any]:
    def change(value: Any, generator: Generator) -> Any:
        return {name: factor * item for name, item in value.items()} if isinstance(value, dict) else factor * value

    return change


def farther(case: Case, generator: Generator) -> Case:
    """Each network three times as far from its start, in the same direction."""
    moved = {
        side: {name: start + 3 * (case[side][name] - start) for name, start in case[f"{side}_start"].items()}
        for side in ("a", "b")
    }
    return {**case, **moved}


def decayed(case: Case, generator: Generator) -> Case:
    return {**case, "a": {name: tensor - 0.5 * case["a_start"][name] for name, tensor in case["a"].items()}}


def path_part(points: slice | int, by: float) -> Callable[[Case, Generator], Case]:
    def change(case: Case, generator: Generator) -> Case:
        values = case["values"].copy()
        values[points] += by
        return {**case, "values": values}

    return change


def per_example_shift(names: tuple[str, ...]) -> Callable[[Case, Generator], Case]:
    return on(*names)(lambda table, generator: table + 5 * generator.random(table.shape[-1]))


CHANGES: dict[str, Callable[[Case, Generator], Case]] = {
    # logits
    "a constant added to all logits of an example": on("logits")(
        lambda table, generator: table + torch.from_numpy(generator.normal(size=(len(table), 1)) * 3)
    ),
    "a positive scale of the logits": on("logits")(scaled_by(2.5)),
    "an increasing map of the logits": on("logits")(lambda table, generator: table.exp() - 3),
    "negated logits": on("logits")(scaled_by(-1.0)),
    "classes permuted with their labels": classes_with_labels,
    "classes permuted without their labels": on("logits")(lambda table, generator: table.roll(1, 1)),
    "examples in another order": on("logits", "labels")(shuffled),
    "examples in another order, labels not": on("logits")(shuffled),
    # mistakes
    "networks swapped": lambda case, generator: {**case, "a": case["b"], "b": case["a"]},
    "both networks' examples in another order": on("a", "b", "labels")(shuffled),
    "one network's examples in another order": on("a")(shuffled),
    "classes renamed everywhere": renamed(("a", "b", "labels")),
    "classes renamed in the predictions": renamed(("a", "b")),
    "examples added that both get right": more_right,
    # seeds
    "a constant added to the values": on("a")(lambda values, generator: values + 4.0),
    "the values repeated": on("a")(lambda values, generator: np.tile(values, 2)),
    "a seed effect added to both": on("a", "b")(lambda values, generator: values + generator.normal(size=len(values))),
    "a seed effect added to one": on("a")(lambda values, generator: values + generator.normal(size=len(values))),
    "a common scale": on("a", "b")(scaled_by(-3.0)),
    "one side scaled": on("b")(scaled_by(2.0)),
    # examples
    "an example effect added to both": per_example_shift(("a", "b")),
    "an example effect added to one": per_example_shift(("a",)),
    # curves
    "epoch 0 changed": at_epoch(0),
    "epoch 1 changed": at_epoch(1),
    "the last epoch common to all changed": at_epoch(8),
    "epochs that one lacks changed": lambda case, generator: {**case, "a": {**case["a"], 12: 9.0}},
    "the curve shifted and scaled": on("a")(lambda curve, generator: {e: 3 * v - 2 for e, v in curve.items()}),
    # parameters
    "one orthogonal map of all": on("a", "b", "a_start", "b_start")(rows_turned),
    "channels of all permuted": on("a", "b", "a_start", "b_start")(rows_permuted),
    "channels of one permuted": on("a")(rows_permuted),
    "the starts moved": on("a_start", "b_start")(rows_permuted),
    "all parameters scaled": on("a", "b", "a_start", "b_start")(scaled_by(3.0)),
    "one network's parameters scaled": on("a")(scaled_by(3.0)),
    "displacements scaled": farther,
    "more decay of one": decayed,
    # paths
    "a constant added to the path": path_part(slice(None), 2.0),
    "a constant added to one end": path_part(2, 2.0),
    "the middle raised": path_part(4, 2.0),
    "extrapolated points changed": path_part(slice(7, None), 50.0),
    "the path reversed": lambda case, generator: {**case, "values": case["values"][::-1]},
    "points in another order": on("alphas", "values")(shuffled),
    "an example effect added to the whole path": per_example_shift(("values",)),
    "the path scaled": on("values")(scaled_by(2.0)),
    # features
    "an orthogonal map of the features": on("a")(
        lambda table, generator: table @ torch.from_numpy(orthogonal(table.shape[1], generator))
    ),
    "an isotropic scale of the features": on("a")(scaled_by(-7.0)),
    "an offset of the features": on("a")(
        lambda table, generator: table + torch.from_numpy(generator.normal(size=table.shape[1]) * 5)
    ),
    "a general linear map of the features": on("a")(
        lambda table, generator: table * torch.from_numpy(10.0 ** np.linspace(-1, 1, table.shape[1]))
    ),
    "a translation of all features": on("a")(lambda table, generator: table + 5.0),
    # two measures of the same things
    "an increasing map of one measure": on("a")(lambda values, generator: np.exp(3 * values)),
    "one measure negated": on("a")(scaled_by(-1.0)),
    "things in another order": on("a", "b")(shuffled),
    "things of one measure in another order": on("a")(shuffled),
    # channels
    "channels of b permuted": on("b")(lambda table, generator: table[:, torch.arange(6).roll(2)]),
    "a positive scale and an offset of each channel": on("b")(
        lambda table, generator: table * torch.from_numpy(generator.uniform(0.5, 3, 6)) + torch.arange(6.0)
    ),
    "signs of channels flipped": on("b")(scaled_by(-1.0)),
    "channels mixed": on("b")(lambda table, generator: table @ torch.from_numpy(orthogonal(6, generator))),
    "both sides' examples in another order": on("a", "b")(shuffled),
    "one side's examples in another order": on("a")(shuffled),
}


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
