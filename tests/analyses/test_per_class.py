"""Recall, precision and confusion of every class, against counting by hand."""

from collections.abc import Iterable

import numpy as np
import polars as pl
import pytest

from tests.studies import arrays, bound, untrained
from tests.tables import example
from transferscope.analyses.contract import Task, checked
from transferscope.analyses.outcome.analysis import Outcome
from transferscope.analyses.outcome.per_class import class_rows
from transferscope.analyses.predictions import Judgements

ANALYSIS = Outcome(n_bootstrap=100)


def table(judgements: Judgements, said: Iterable[Iterable[int]], other: Iterable[Iterable[int]] = ()) -> pl.DataFrame:
    predicted = {"P_T": [np.array(list(row)) for row in said], "RI_T": [np.array(list(row)) for row in other]}
    rows = class_rows(judgements, {name: rows for name, rows in predicted.items() if rows})
    return example(Outcome, [{name: row[name] for name in row if name in Outcome.columns} for row in rows])


def share(found: pl.DataFrame, item: str, metric: str, basis: str | None = "examples", variant: str = "P_T"):
    chosen = (pl.col("level") == "class") & (pl.col("item") == item) & (pl.col("metric") == metric)
    rows = found.filter(chosen, pl.col("basis").eq_missing(basis), variant=variant)
    return rows.row(0, named=True)


LABELS = np.array([0, 0, 0, 0, 1, 1, 1, 2])
NAMES = ("cat", "dog", "owl", "emu")
SAID = ([0, 0, 0, 1, 1, 1, 0, 2], [0, 0, 1, 1, 1, 1, 1, 2])


@pytest.mark.kind("C3")
def test_shares_pool_seeds_and_know_their_images() -> None:
    found = table(Judgements.made(LABELS, NAMES, None), SAID)
    cat = share(found, "cat", "recall")
    assert (cat["value"], cat["n"]) == (5 / 8, 4)
    assert cat["low"] < 5 / 8 < cat["high"]
    assert share(found, "cat", "precision")["value"] == 5 / 6
    ranged = share(found, "cat", "recall", "range")
    assert (ranged["value"], ranged["low"], ranged["high"], ranged["n"]) == (5 / 8, 0.5, 0.75, 2)


@pytest.mark.kind("C3")
def test_a_class_found_whole_is_not_sure() -> None:
    owl = share(table(Judgements.made(LABELS, NAMES, None), SAID), "owl", "recall")
    assert (owl["value"], owl["high"], owl["n"]) == (1.0, 1.0, 1)
    assert owl["low"] < 0.3


@pytest.mark.kind("C3")
def test_classes_without_an_image_or_never_predicted_are_null() -> None:
    found = table(Judgements.made(LABELS, NAMES, None), SAID)
    for metric in ("recall", "precision"):
        emu = share(found, "emu", metric, None)
        assert (emu["value"], emu["low"], emu["n"]) == (None, None, 0)
    never = table(Judgements.made(LABELS, NAMES, None), [np.zeros(8, int)])
    assert share(never, "dog", "precision", None)["value"] is None
    assert share(never, "dog", "recall")["value"] == 0
    assert share(never, "dog", "recall")["high"] > 0.5, "none of three found is not surely none"


@pytest.mark.kind("C3")
def test_one_seed_says_nothing_of_seeds_and_three_make_an_interval() -> None:
    made = Judgements.made(LABELS, NAMES, None)
    one = table(made, SAID[:1]).filter(level="class")
    assert set(one["basis"].drop_nulls()) == {"examples"}
    three = share(table(made, [*SAID, SAID[0]]), "cat", "recall", "seeds")
    assert (three["n"], three["value"]) == (3, pytest.approx((0.75 + 0.5 + 0.75) / 3))
    assert 0 <= three["low"] < three["high"] <= 1
    # Equal for all seeds: a row of seeds without an interval, and one of images as before.
    equal = table(made, [SAID[0]] * 3)
    row = share(equal, "cat", "recall", "seeds")
    assert (row["value"], row["low"], row["high"], row["n"]) == (0.75, None, None, 3)
    assert share(equal, "cat", "recall")["low"] < 0.75


@pytest.mark.kind("C3")
def test_the_confusion_matrix_is_of_all_images_and_its_diagonal_the_recall() -> None:
    found = table(Judgements.made(LABELS, NAMES, None), SAID, SAID[:1])
    cells = found.filter(level="confusion", variant="P_T")
    by_pair = {(row["item"], row["predicted"]): row["value"] for row in cells.iter_rows(named=True)}
    assert by_pair == {("cat", "cat"): 2.5, ("cat", "dog"): 1.5, ("dog", "dog"): 2.5, ("dog", "cat"): 0.5,
                       ("owl", "owl"): 1.0}  # fmt: skip
    assert sum(by_pair.values()) == len(LABELS)
    assert set(cells["n"]) == {2}
    assert by_pair["cat", "cat"] / 4 == share(found, "cat", "recall")["value"]
    assert share(found, "cat", "recall", variant="RI_T")["value"] == 0.75


@pytest.mark.kind("C3")
def test_images_of_one_group_count_once() -> None:
    groups = np.array([7, 7, 7, 7, 1, 2, 3, 4])
    single, grouped = (share(table(Judgements.made(LABELS, NAMES, by), SAID), "cat", "recall") for by in (None, groups))
    assert grouped["n"] == 1
    assert grouped["high"] - grouped["low"] > single["high"] - single["low"]


@pytest.mark.kind("C3")
def test_labels_of_which_several_hold_have_shares_and_no_matrix() -> None:
    labels = np.array([[1, 0], [1, 1], [0, 1]])
    found = table(Judgements.made(labels, ("mass", "scar"), None), [[1, 1, 0, 1, 0, 0]])
    assert (share(found, "mass", "recall")["value"], share(found, "mass", "precision")["value"]) == (0.5, 1.0)
    assert (share(found, "scar", "recall")["value"], share(found, "scar", "precision")["value"]) == (0.5, 0.5)
    assert "confusion" not in set(found["level"])


@pytest.mark.kind("C3")
@pytest.mark.parametrize("multi", [False, True])
def test_the_four_networks_know_their_classes(tmp_path, multi: bool) -> None:
    data = {"data": arrays(tmp_path / "many", 90, 3, multi=multi), "image_size": 16}
    context = bound(tmp_path, target=data)
    ri = untrained(context.study, "RI_T 0", "RI_T 1")
    members = (*ri, *(m.model_copy(update={"variant": "P_T"}) for m in ri))
    found = checked(ANALYSIS, ANALYSIS.measure(Task(members=members), context).table)
    classes = found.filter(level="class")
    assert set(classes["split"]) == {"test"}
    assert set(classes["variant"]) == {"P_T", "RI_T"}
    assert set(classes["item"]) == set(context.study.class_names)
    said = np.stack([context.outputs(member.spec, "test").logits.numpy() for member in ri])
    truth = context.labels("test").numpy()
    for place, name in enumerate(context.study.class_names):
        if multi:
            literal = (said[:, truth[:, place] == 1, place] > 0).mean()
        else:
            literal = (said[:, truth == place].argmax(2) == place).mean()
        assert share(found, name, "recall")["value"] == pytest.approx(literal)
