"""Long tails: class sizes, which networks are asked for, recall by frequency, bad input."""

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from tests.report.synthetic_labels import imbalance_table
from tests.studies import arrays, bound
from transferscope.analyses.contract import checked_summary
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.imbalance.analysis import Imbalance, macro_rows
from transferscope.analyses.imbalance.class_sizes import class_order, tail_sizes
from transferscope.analyses.learning_rate.analysis import LearningRate
from transferscope.analyses.predictions import Judgements
from transferscope.context.context import Context
from transferscope.errors import StudyError


def evidence(context: Context) -> Evidence:
    rate = LearningRate()
    return Evidence({rate.key: rate.expected_table(context.study)}).for_decision()


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_sizes_fall_exponentially_with_equal_totals(classes: int) -> None:
    counts, names = [400 + 7 * k for k in range(classes)], [str(k) for k in range(classes)]
    totals = set()
    for ratio in (1, 10, 50):
        sizes = tail_sizes(counts, names, ratio, 50)
        totals.add(sum(sizes))
        assert list(sizes) == sorted(sizes, reverse=True)
        assert sizes[0] <= 400
        first = sizes[0]
        for rank, size in enumerate(sizes):
            assert size == pytest.approx(first * ratio ** (-rank / (classes - 1)), abs=1.5)
    assert len(totals) == 1


def test_a_class_that_would_vanish_is_named_with_the_setting() -> None:
    with pytest.raises(StudyError, match="'b' would vanish") as failed:
        tail_sizes([30, 10, 30], ["a", "b", "c"], 50, 50)
    assert "imbalance.ratios" in str(failed.value)
    assert tail_sizes([30, 10, 30], ["a", "b", "c"], 20, 20)[-1] >= 1


def test_ratios_up_to_the_one_that_the_error_names_work() -> None:
    with pytest.raises(StudyError) as failed:
        tail_sizes([10, 10], ["a", "b"], 50, 50)
    assert "ratios up to 20 in" in str(failed.value)
    assert min(tail_sizes([10, 10], ["a", "b"], 20, 20)) == 1


def test_networks_are_paired_and_ranks_drawn_by_the_seed(plain: Context) -> None:
    tasks = list(Imbalance(ratios=(1, 10)).tasks(plain.study, evidence(plain)))
    totals, labels = [], np.asarray(plain.images().labels)
    for task in tasks:
        parts: dict[int, set[tuple[int, ...]]] = {}
        for member in task.members:
            images = plain.splits(member.spec.data)["train"]
            unique = np.unique(images)
            assert len(images) == len(unique) * member.spec.data.repeats
            assert np.bincount(labels[unique]).tolist() == list(member.spec.data.class_sizes)
            totals.append(len(unique))
            parts.setdefault(member.seed, set()).add(tuple(images.tolist()))
        assert all(len(each) == 1 for each in parts.values()), "P-T and RI-T of a seed see the same"
        assert len(set.union(*parts.values())) == len(parts), "seeds see others"
    assert len(set(totals)) == 1
    assert len({class_order(10, seed) for seed in range(5)}) == 5


def test_recall_and_macro_metrics_are_those_of_a_count_by_hand() -> None:
    labels = np.array([0, 0, 0, 0, 1, 1, 2, 2])
    said = np.array([0, 0, 0, 1, 1, 0, 2, 0])
    rows = list(macro_rows(Judgements.made(labels, ("a", "b", "c"), None), said, (9, 3, 1), (0, 1, 2)))
    recalls = {row["item"]: (row["value"], row["frequency"]) for row in rows if row["level"] == "class"}
    assert recalls == {"a": (0.75, "frequent"), "b": (0.5, "middle"), "c": (0.5, "rare")}
    of = {row["metric"]: row["value"] for row in rows if row["level"] == "network"}
    assert of["macro recall"] == pytest.approx((0.75 + 0.5 + 0.5) / 3)
    # F1 of each class: 2 tp / (2 tp + fp + fn).
    assert of["macro F1"] == pytest.approx((2 * 3 / (6 + 2 + 1) + 2 / (2 + 1 + 1) + 2 / (2 + 0 + 1)) / 3)
    assert of["accuracy"] == 5 / 8
    assert all(row["low"] <= row["value"] <= row["high"] for row in rows if row["level"] == "class")


def test_rare_classes_are_judged_by_limits_that_hold_for_all_thirds(approved: Any) -> None:
    analysis = Imbalance()
    found = checked_summary(analysis, analysis.summarise(imbalance_table(), Evidence()))
    gaps = {(item.at["ratio"], item.at["frequency"]): item for item in found.estimates if item.quantity == "recall_gap"}
    assert gaps[50.0, "rare"].verdict == "larger"
    assert gaps[50.0, "rare"].value > gaps[1.0, "rare"].value
    assert gaps[1.0, "rare"].verdict == "undecided"
    assert gaps[50.0, "rare"].n_comparisons == 3
    approved(found.verdict, *found.notes)


def test_diverged_runs_are_named_and_what_they_would_tell_is_not_defined(approved: Any) -> None:
    every = [(variant, seed, ratio) for variant in ("P_T", "RI_T") for seed in (0, 1, 2) for ratio in (1.0, 10.0, 50.0)]
    some = Imbalance().summarise(imbalance_table(lost=every[:1]), Evidence())
    undefined = [item for item in some.estimates if item.value is None]
    assert undefined
    assert all("incomplete" in item.flags for item in undefined)
    approved(some.notes[-1], Imbalance().summarise(imbalance_table(lost=every), Evidence()).verdict)


def test_several_labels_per_image_are_refused_with_the_reason(tmp_path: Any) -> None:
    several = bound(tmp_path, target={"data": arrays(tmp_path / "multi", 180, 0, multi=True), "image_size": 16})
    assert "several labels" in Imbalance().skip_reason(several.study)


@pytest.mark.parametrize("ratios", [(0.5, 1.0), (10.0, 10.0)])
def test_ratios_that_cannot_be_are_named(ratios: tuple[float, ...]) -> None:
    with pytest.raises(ValidationError, match="different numbers from 1"):
        Imbalance(ratios=ratios)
