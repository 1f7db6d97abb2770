"""Random cases, and what each measure makes of them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from transferscope.measures import barriers, curves, distance, intervals, metrics, mistakes
from transferscope.measures.agreement import rank_agreement
from transferscope.measures.channels import channel_update, reuse
from transferscope.measures.cka import linear_cka, rbf_cka
from transferscope.measures.h_score import h_score
from transferscope.measures.label_transfer import leep, nce
from transferscope.measures.linear_similarity import mean_squared_cca, procrustes_distance, procrustes_similarity
from transferscope.measures.logme import logme
from transferscope.measures.rsa import rsa

Case = dict[str, Any]


Generator = np.random.Generator


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
    return {"a": dict(enumerate(generator.random(13).tolist())), "b": dict(enumerate(generator.random(9).tolist()))}


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


def labelled_features(generator: Generator) -> Case:
    labels = np.concatenate([np.arange(3), generator.integers(3, size=27)])
    a = generator.normal(size=(30, 6)) + generator.normal(size=(3, 6))[labels] + 0.5
    return {"a": torch.from_numpy(a), "labels": torch.from_numpy(labels)}


def source_head(generator: Generator) -> Case:
    labels = np.concatenate([np.arange(3), generator.integers(3, size=27)])
    return {"logits": torch.from_numpy(generator.normal(size=(30, 5)) * 2), "labels": torch.from_numpy(labels)}


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
    "logme": (labelled_features, lambda c: logme(c["a"], torch.nn.functional.one_hot(c["labels"], 3)).value),
    "h_score": (labelled_features, lambda c: h_score(c["a"], c["labels"]).value),
    "leep": (source_head, lambda c: leep(c["logits"].softmax(1), c["labels"])),
    "nce": (source_head, lambda c: nce(c["logits"].argmax(1), c["labels"])),
    "same_index_channels": (channels, lambda c: (reused(c).same_index, reused(c).correlation_same)),
}
