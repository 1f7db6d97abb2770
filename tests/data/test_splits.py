from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.making import bare_set
from transferscope.data.images import ImageSet
from transferscope.data.sources.arrays import Arrays
from transferscope.data.spec import DataSpec, SplitSettings
from transferscope.data.splits import make_splits, nested_subset, training_part
from transferscope.errors import DataError

quiet = settings(derandomize=True, deadline=None, max_examples=60)
NAMES = ("train", "validation", "test")

counts = st.lists(st.integers(3, 40), min_size=2, max_size=6)


def shuffled(class_counts: list[int], seed: int) -> np.ndarray:
    labels = np.repeat(np.arange(len(class_counts)), class_counts)
    return np.random.default_rng(seed).permutation(labels)


def check_partition(splits: dict, total: int) -> None:
    assert tuple(splits) == NAMES
    for part in splits.values():
        assert part.dtype == np.int64
        assert (np.diff(part) > 0).all()
    assert sorted(np.concatenate(list(splits.values())).tolist()) == list(range(total))


@quiet
@given(counts, st.integers(0, 99), st.floats(0.1, 0.5), st.floats(0.1, 0.5))
def test_disjoint_cover_stratified_within_one(
    class_counts: list[int], seed: int, test: float, validation: float
) -> None:
    images = bare_set(shuffled(class_counts, seed))
    splits = make_splits(images, SplitSettings(test=test, validation=validation, seed=seed))
    check_partition(splits, len(images))
    shares = {"test": test, "validation": (1 - test) * validation, "train": (1 - test) * (1 - validation)}
    for split, part in splits.items():
        found = np.bincount(images.labels[part], minlength=len(class_counts))
        assert (found >= 1).all()
        # One more where a split that would be empty takes one from the largest.
        slack = 1 + sum(other * min(class_counts) < 1 for other in shares.values())
        assert np.abs(found - shares[split] * np.array(class_counts)).max() <= slack
        if min(class_counts) * min(shares.values()) >= 1:
            assert np.abs(found - shares[split] * np.array(class_counts)).max() < 1 + 1e-6


def test_totals_are_close_with_many_small_classes() -> None:
    images = bare_set(np.repeat(np.arange(50), 7))
    splits = make_splits(images, SplitSettings(test=0.25, validation=0.2))
    assert abs(len(splits["test"]) - 0.25 * 350) <= 2
    assert abs(len(splits["validation"]) - 0.15 * 350) <= 2


def test_the_same_everywhere_and_always() -> None:
    """Fixed numbers: a change here changes every study's splits."""
    splits = make_splits(bare_set(np.arange(24) % 2), SplitSettings(seed=3))
    assert splits["test"].tolist() == GOLDEN_TEST
    assert splits["validation"].tolist() == GOLDEN_VALIDATION
    assert nested_subset(np.arange(24) % 2, np.arange(24), 0.25, 3).tolist() == GOLDEN_SUBSET


GOLDEN_TEST = [5, 7, 8, 15, 18, 20]
GOLDEN_VALIDATION = [1, 6, 17]
GOLDEN_SUBSET = [2, 6, 7, 9, 22, 23]


def test_the_seed_matters() -> None:
    images = bare_set(np.arange(60) % 3)
    one, two = (make_splits(images, SplitSettings(seed=seed))["test"] for seed in (0, 1))
    assert one.tolist() != two.tolist()


@quiet
@given(counts, st.integers(0, 99))
def test_given_test_split_is_kept(class_counts: list[int], seed: int) -> None:
    labels = shuffled([count + 3 for count in class_counts], seed)
    rng = np.random.default_rng(seed)
    test = np.zeros(len(labels), dtype=bool)
    for number in range(len(class_counts)):
        members = np.flatnonzero(labels == number)
        test[rng.choice(members, rng.integers(1, len(members) - 2), replace=False)] = True
    images = bare_set(labels, splits=["test" if one else "train" for one in test])
    splits = make_splits(images, SplitSettings(validation=0.3, seed=seed))
    check_partition(splits, len(labels))
    assert splits["test"].tolist() == np.flatnonzero(test).tolist()
    pool = np.bincount(labels[~test])
    assert np.abs(np.bincount(labels[splits["validation"]]) - 0.3 * pool).max() <= 1


def test_all_splits_given() -> None:
    given_splits = ["train", "train", "test", "test", "validation", "validation"]
    images = bare_set([0, 1, 0, 1, 0, 1], splits=given_splits)
    splits = make_splits(images, SplitSettings())
    assert {name: part.tolist() for name, part in splits.items()} == {
        "train": [0, 1],
        "test": [2, 3],
        "validation": [4, 5],
    }


def test_given_validation_but_no_test() -> None:
    labels = np.arange(40) % 2
    images = bare_set(labels, splits=["validation"] * 8 + ["train"] * 32)
    splits = make_splits(images, SplitSettings(test=0.25))
    check_partition(splits, 40)
    assert splits["validation"].tolist() == list(range(8))
    assert len(splits["test"]) == 8


def test_undivided_examples_join_the_training_pool() -> None:
    images = bare_set(np.arange(40) % 2, splits=["test"] * 8 + [None] * 32)
    splits = make_splits(images, SplitSettings(validation=0.25))
    assert len(splits["train"]) == 24
    assert len(splits["validation"]) == 8


@quiet
@given(st.integers(0, 200))
def test_groups_are_never_torn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 9, size=45)
    groups = np.repeat([f"p{k}" for k in range(45)], sizes)
    # Patients with one condition and patients with both.
    labels = (rng.random(len(groups)) < np.repeat(rng.choice([0.0, 0.4, 1.0], 45), sizes)).astype(int)
    images = bare_set(labels, groups=groups.tolist())
    splits = make_splits(images, SplitSettings(test=0.25, validation=0.2, seed=seed))
    check_partition(splits, len(labels))
    held = [set(groups[part]) for part in splits.values()]
    assert sum(map(len, held)) == len(set().union(*held))
    shares = dict(zip(NAMES, (0.6, 0.15, 0.25), strict=True))
    for split, part in splits.items():
        assert abs(len(part) - shares[split] * len(labels)) <= 12
        for number in (0, 1):
            expected = shares[split] * (labels == number).sum()
            assert abs((labels[part] == number).sum() - expected) <= 12


def test_groups_of_a_rare_class_reach_every_split() -> None:
    labels = np.zeros(300, dtype=int)
    groups = [f"p{k // 5}" for k in range(300)]
    for patient in (3, 30, 55):
        labels[patient * 5] = 1
    for seed in range(10):
        splits = make_splits(bare_set(labels, groups=groups), SplitSettings(seed=seed))
        assert all((labels[part] == 1).sum() == 1 for part in splits.values())


@quiet
@given(st.integers(0, 200))
def test_several_labels_are_stratified(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = (rng.random((240, 5)) < [0.5, 0.3, 0.15, 0.08, 0.04]).astype(int)
    labels[:3, 4] = 1
    images = bare_set(labels)
    splits = make_splits(images, SplitSettings(test=0.25, validation=0.2, seed=seed))
    check_partition(splits, 240)
    for share, part in zip((0.6, 0.15, 0.25), splits.values(), strict=True):
        assert abs(len(part) - share * 240) <= 3
        assert np.abs(labels[part].sum(axis=0) - share * labels.sum(axis=0)).max() <= 3
        assert (labels[part].sum(axis=0) >= 1).all()


def test_three_images() -> None:
    with pytest.raises(DataError, match=r"split has no examples of class 'c[01]'(.|\n)*at least 3 examples"):
        make_splits(bare_set([0, 1, 1]), SplitSettings())


def test_a_class_too_small_is_named() -> None:
    labels = [0] * 20 + [1] * 2 + [2] * 20
    images = bare_set(labels, classes=("cat", "newt", "dog"))
    with pytest.raises(DataError, match=r"'newt'(.|\n)*2 of 42 examples are 'newt'"):
        make_splits(images, SplitSettings())


def test_a_class_in_too_few_groups_is_named() -> None:
    groups = [f"p{k // 4}" for k in range(40)]
    labels = [1 if k < 8 else 0 for k in range(40)]
    with pytest.raises(DataError, match=r"class 'c1'(.|\n)*in 2 groups"):
        make_splits(bare_set(labels, groups=groups), SplitSettings())


def test_a_given_split_without_a_class_is_named() -> None:
    images = bare_set([0, 1] * 10 + [0, 0], splits=["train"] * 20 + ["test"] * 2)
    with pytest.raises(DataError, match=r"the test split has no examples of class 'c1'(.|\n)*gives splits itself"):
        make_splits(images, SplitSettings())


def test_a_source_without_training_examples() -> None:
    images = bare_set([0, 1] * 4, splits=["test"] * 8)
    with pytest.raises(DataError, match="the train split has no examples"):
        make_splits(images, SplitSettings())


def test_a_label_that_all_of_a_split_have() -> None:
    labels = np.array([[1, 0], [0, 1]] * 6 + [[1, 0], [1, 1]])
    images = bare_set(labels, splits=["train"] * 12 + ["test"] * 2)
    with pytest.raises(DataError, match=r"the test split has only examples of class 'c0'(.|\n)*without it"):
        make_splits(images, SplitSettings())


fractions = st.lists(st.floats(0.01, 1.0), min_size=2, max_size=4)


@quiet
@given(counts, fractions, st.integers(0, 99))
def test_subsets_are_nested_and_stratified(class_counts: list[int], parts: list[float], seed: int) -> None:
    labels = shuffled(class_counts, seed)
    indices = np.random.default_rng(seed).permutation(len(labels))
    before: set[int] = set()
    for fraction in sorted(parts):
        subset = nested_subset(labels, indices, fraction, seed)
        assert before <= set(subset.tolist())
        before = set(subset.tolist())
        found = np.bincount(labels[subset], minlength=len(class_counts))
        assert (found >= 1).all()
        assert np.abs(found - fraction * np.array(class_counts)).max() <= 1


@quiet
@given(fractions, st.integers(0, 99))
def test_subsets_with_several_labels(parts: list[float], seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = (rng.random((200, 4)) < [0.5, 0.4, 0.1, 0.02]).astype(int)
    labels[0, 3] = 1
    before: set[int] = set()
    for fraction in sorted(parts):
        subset = nested_subset(labels, np.arange(200), fraction, seed)
        assert before <= set(subset.tolist())
        before = set(subset.tolist())
        assert (labels[subset].sum(axis=0) >= 1).all()
        assert 0 <= len(subset) - np.floor(200 * fraction + 0.5) <= 4
        # Evenly from every combination of labels: the cut is off by at most one example a combination.
        strata = Counter(map(tuple, labels[subset]))
        for row, total in Counter(map(tuple, labels)).items():
            assert abs(strata[row] - fraction * total) <= 2 + total * 16 / 200


def test_subset_of_some_indices_only() -> None:
    labels = np.arange(40) % 2
    indices = np.arange(10, 30)
    subset = nested_subset(labels, indices, 0.5, 0)
    assert set(subset.tolist()) <= set(indices.tolist())
    assert len(subset) == 10
    assert nested_subset(labels, indices, 1.0, 0).tolist() == indices.tolist()
    assert nested_subset(labels, indices, 0.5, 1).tolist() != subset.tolist()


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.5])
def test_fraction_out_of_range(fraction: float) -> None:
    with pytest.raises(DataError, match=r"fraction(.|\n)*out of range"):
        nested_subset(np.arange(4) % 2, np.arange(4), fraction, 0)


# -- so many of each class, each so often --------------------------------------------------------------------


def part(images: ImageSet, **asked: Any) -> list[int]:
    data = DataSpec(source=Arrays(images="/x.npy"), fingerprint="f", image_size=8, **asked)
    return training_part(images, np.arange(len(images)), data).tolist()


def test_class_sizes_are_met_nested_and_drawn_by_the_seed() -> None:
    images = bare_set(np.repeat([0, 1, 2], [30, 20, 10]))
    large, small = part(images, class_sizes=(20, 9, 4)), part(images, class_sizes=(10, 3, 1))
    assert np.bincount(images.labels[large]).tolist() == [20, 9, 4]
    assert set(small) < set(large)
    assert part(images, class_sizes=(20, 9, 4), subset_seed=1) != large
    assert large == sorted(large)


def test_repeats_give_each_image_as_often() -> None:
    images = bare_set(np.repeat([0, 1], [6, 4]))
    once, often = part(images, fraction=0.5), part(images, fraction=0.5, repeats=3)
    assert Counter(often) == dict.fromkeys(once, 3)
    assert part(images) == list(range(10))


@pytest.mark.parametrize(
    ("sizes", "message"), [((5, 5), "does not fit the labels"), ((5, 5, 11), "too few training images of class")]
)
def test_class_sizes_that_cannot_be_are_named(sizes: tuple[int, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        part(bare_set(np.repeat([0, 1, 2], [30, 20, 10])), class_sizes=sizes)
