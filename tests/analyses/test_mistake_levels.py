"""Mistakes by difficulty, by entropy and by class, against literal counts; nothing is trained."""

import math

import numpy as np
import polars as pl
import pytest
from scipy.stats import binomtest

from tests.reference import strata_reference as reference
from tests.studies import Diverging, arrays, bound
from transferscope.analyses.contract import Task, checked
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.mistakes.analysis import MistakesAnalysis
from transferscope.analyses.mistakes.recall import recall_estimates, recall_rows
from transferscope.analyses.predictions import Judgements
from transferscope.context.context import Context
from transferscope.context.study_network import StudyNetwork
from transferscope.networks.evaluate import logits
from transferscope.study.columns import schema

ANALYSIS = MistakesAnalysis(n_bootstrap=150, gallery=2)
FOUR = ("RI_T 0", "RI_T 1", "RI_T 2", "P_T 0")


def untrained(study, *labels: str) -> tuple[StudyNetwork, ...]:
    """Random networks in the roles of trained ones; those of P-T are other ones than those of RI-T."""
    found = []
    for label in labels:
        variant, seed = label.split()
        spec = study.untrained("RI", int(seed) + 10 * (variant == "P_T"))
        found.append(StudyNetwork(variant=variant, seed=int(seed), spec=spec))
    return tuple(found)


def said_by(context: Context, members) -> tuple[dict, np.ndarray]:
    said = {}
    for member in members:
        values, labels = logits(context.network(member.spec), context.batches("test"), context.device)
        said[member.label] = values.double()
    return said, labels.numpy()


@pytest.fixture(scope="module")
def measured(plain):
    members = untrained(plain.study, *FOUR)
    return members, ANALYSIS.measure(Task(members=members), plain)


def test_difficulty_is_judged_by_the_networks_outside_the_pair(plain, measured) -> None:
    members, found = measured
    said, labels = said_by(plain, members)
    wrong = {label: values.argmax(1).numpy() != labels for label, values in said.items()}
    rows = checked(ANALYSIS, found.table).filter(pl.col("level") == "difficulty")
    seen = set()
    for row in rows.iter_rows(named=True):
        a, b = row["a"], row["b"]
        rest = [wrong[label] for label in wrong if label not in (a, b)]
        inside = [
            i for i in range(len(labels)) if reference.difficulty_stratum([side[i] for side in rest]) == row["item"]
        ]
        assert row["examples"] == len(inside) > 0
        assert row["common"] == sum(wrong[a][i] and wrong[b][i] for i in inside)
        assert row["only_a"] == sum(wrong[a][i] and not wrong[b][i] for i in inside)
        shares = [np.mean([side[i] for side in rest]) for i in inside]
        assert (row["stratum_low"], row["stratum_high"]) == (min(shares), max(shares))
        seen.add((a, b))
    assert len(seen) == 4
    for pair in seen:
        mine = rows.filter((pl.col("a") == pair[0]) & (pl.col("b") == pair[1]))
        assert mine["examples"].sum() == len(labels)


def test_kappa_within_difficulty_by_its_definition(plain, measured) -> None:
    members, found = measured
    said, labels = said_by(plain, members)
    right = {label: values.argmax(1).numpy() == labels for label, values in said.items()}
    rows = found.table.filter(pl.col("level") == "within")
    assert rows.height == 4
    for row in rows.iter_rows(named=True):
        rest = [~right[label] for label in right if label not in (row["a"], row["b"])]
        names = [reference.difficulty_stratum([side[i] for side in rest]) for i in range(len(labels))]
        codes = [sorted(set(names)).index(name) for name in names]
        expected = reference.stratified_kappa(list(right[row["a"]]), list(right[row["b"]]), codes)
        assert row["kappa"] == (None if expected is None else pytest.approx(expected, abs=1e-12))
        assert row["kappa_max"] is None
        assert row["examples"] == len(labels)


def test_quarters_of_entropy_are_those_of_the_mean_prediction_of_the_others(plain, measured) -> None:
    members, found = measured
    said, labels = said_by(plain, members)
    rows = found.table.filter((pl.col("level") == "entropy") & (pl.col("a") == "RI-T[0]") & (pl.col("b") == "RI-T[1]"))
    rest = [said[label].softmax(1).numpy() for label in ("RI-T[2]", "P-T[0]")]
    entropy = []
    for i in range(len(labels)):
        mean = [(first + second) / 2 for first, second in zip(rest[0][i], rest[1][i], strict=True)]
        entropy.append(-sum(p * math.log(p) for p in mean if p > 0))
    edges = np.quantile(entropy, [0.25, 0.5, 0.75])
    names = ["lowest quarter", "second quarter", "third quarter", "highest quarter"]
    assert rows["item"].to_list() == names
    for place, row in enumerate(rows.iter_rows(named=True)):
        inside = [value for value in entropy if sum(value > edge for edge in edges) == place]
        assert row["examples"] == len(inside)
        assert row["stratum_low"] == pytest.approx(min(inside), abs=1e-8)
        assert row["stratum_high"] == pytest.approx(max(inside), abs=1e-8)


def test_two_networks_have_nobody_outside_and_the_summary_says_so(plain) -> None:
    members = untrained(plain.study, "RI_T 0", "P_T 0")
    table = checked(ANALYSIS, ANALYSIS.measure(Task(members=members), plain).table)
    assert set(table["level"]) == {"all", "class", "recall"}
    assert "this study has none" in ANALYSIS.summarise(table, Evidence()).notes[0]


def test_with_several_labels_strata_and_recall_are_of_judgements(tmp_path) -> None:
    context = bound(tmp_path, target={"data": arrays(tmp_path / "many", 90, 3, multi=True), "image_size": 16})
    members = untrained(context.study, "RI_T 0", "RI_T 1", "P_T 0")
    measured = ANALYSIS.measure(Task(members=members), context)
    table = checked(ANALYSIS, measured.table)
    said, labels = said_by(context, members)
    predicted = {label: (values >= 0).numpy() for label, values in said.items()}
    outside = (predicted["P-T[0]"] != labels).reshape(-1)
    rows = table.filter((pl.col("level") == "difficulty") & (pl.col("pair") == "RI-T/RI-T"))
    assert dict(rows.select("item", "examples").rows()) == {
        "none wrong": int((~outside).sum()), "all wrong": int(outside.sum())
    }  # fmt: skip
    entropy = table.filter((pl.col("level") == "entropy") & (pl.col("pair") == "RI-T/RI-T"))
    assert entropy["examples"].sum() == labels.size
    assert entropy["stratum_high"].max() <= math.log(2)
    recall = table.filter((pl.col("level") == "recall") & (pl.col("basis") == "examples"))
    for index, row in enumerate(recall.iter_rows(named=True)):
        having = labels[:, index] == 1
        assert row["examples"] == having.sum()
        assert row["recall_a"] == pytest.approx(predicted["P-T[0]"][having, index].mean())
        assert row["recall_b"] == pytest.approx(predicted["RI-T[0]"][having, index].mean())
    assert b'"alt": "test image' in measured.files["mistakes.gallery.json"]
    assert measured.files["wrong-images.csv"].startswith(b"image,class,holds,wrong_P_T,wrong_RI_T,group\n")


def test_without_a_finished_network_of_either_there_is_no_recall_and_no_gallery(plain) -> None:
    members = untrained(plain.study, "RI_T 0", "RI_T 1", "P_T 0")
    found = ANALYSIS.measure(Task(members=members), Diverging(plain, members[2]))
    assert "recall" not in set(found.table["level"])
    assert found.files == {}
    # One of each, of different seeds: images can be shown, a difference between seeds that do not pair is none.
    other = ANALYSIS.measure(Task(members=untrained(plain.study, "RI_T 1", "P_T 0")), plain)
    assert "recall" not in set(other.table["level"])
    assert "mistakes.gallery.json" in other.files


# -- recall -----------------------------------------------------------------------------------------------------

NAMES = ("cat", "dog", "emu")


def judged(count: int = 30, clusters=None) -> Judgements:
    """Thirty cats and thirty dogs; no emu."""
    return Judgements.made(np.repeat([0, 1], count), NAMES, clusters)


def saying(judgements: Judgements, *wrong: int) -> np.ndarray:
    said = judgements.truth.copy()
    said[list(wrong)] = 2
    return said


def test_recall_of_each_class_with_p_values_of_mcnemar() -> None:
    truth = judged()
    a, b = saying(truth, *range(12)), saying(truth, 0, 1, 30)
    rows = list(recall_rows(truth, [a], [b], 200, 0))
    assert [(row["item"], row["examples"], row.get("basis")) for row in rows] == [
        ("cat", 30, "examples"), ("dog", 30, "examples"), ("emu", 0, None)
    ]  # fmt: skip
    cat, dog, emu = rows
    assert (cat["recall_a"], cat["recall_b"]) == (pytest.approx(18 / 30), pytest.approx(28 / 30))
    assert cat["difference"] == pytest.approx(-10 / 30)
    assert cat["low"] < cat["difference"] < cat["high"] < 0
    assert cat["p"] == pytest.approx(binomtest(0, 10).pvalue)
    assert dog["p"] == 1.0
    assert (cat["p_holm"], dog["p_holm"]) == (pytest.approx(2 * cat["p"]), 1.0)
    assert (emu["n"], emu.get("difference")) == (0, None)
    made = pl.DataFrame(
        [{**row, "pair": "P-T/RI-T", "a": "P-T", "b": "RI-T", "variant_a": "P_T", "variant_b": "RI_T"} for row in rows],
        schema=schema(MistakesAnalysis.columns),
    )
    assert checked(ANALYSIS, made).height == 3


def test_recall_over_seeds_is_paired_and_adjusted_for_itself() -> None:
    truth = judged()
    a = [saying(truth, *range(10 + seed)) for seed in range(3)]
    b = [saying(truth, *range(seed), 40) for seed in range(3)]
    rows = [row for row in recall_rows(truth, a, b, 200, 0) if row.get("basis") == "seeds"]
    assert [row["item"] for row in rows] == ["cat", "dog"]
    cat, dog = rows
    assert (cat["n"], cat["difference"]) == (3, pytest.approx(-10 / 30))
    # Every seed loses exactly ten: no spread, and so neither an interval nor a test over seeds.
    assert (cat["low"], cat["high"], cat["p"], cat["p_holm"]) == (None, None, None, None)
    assert dog["difference"] == pytest.approx(1 / 30)
    assert (dog["low"], dog["p"]) == (None, None)
    a[2] = saying(truth, *range(11))
    cat, _ = [row for row in recall_rows(truth, a, b, 200, 0) if row.get("basis") == "seeds"]
    assert cat["difference"] == pytest.approx(-29 / 90)
    assert cat["low"] < cat["difference"] < cat["high"] < 0
    # One test is left: the other class has none, and is not counted in the family.
    assert 0 < cat["p"] == cat["p_holm"] < 0.01
    two = [row for row in recall_rows(truth, a[:2], b[:2], 200, 0) if row.get("basis") == "range"]
    assert [row["p"] for row in two] == [None, None]


def test_groups_of_images_count_once() -> None:
    truth = judged(clusters=np.repeat(np.arange(20), 3))
    a, b = saying(truth, *range(12)), saying(truth)
    rows = list(recall_rows(truth, [a], [b], 200, 0))
    assert rows[0]["n"] == 10
    assert rows[0]["p"] == pytest.approx(binomtest(0, 4).pvalue)  # twelve images of four groups
    found = recall_estimates(rows)
    assert "over groups of test examples" in found[0].note
    lowest = next(item for item in found if item.quantity == "lowest_recall_difference")
    assert (lowest.n, lowest.note.endswith("n counts groups of images")) == (10, True)


def test_estimates_name_the_classes_that_surely_change() -> None:
    truth = judged()
    sides = [[saying(truth, *range(12 + seed)) for seed in range(3)],
             [saying(truth, *range(30, 45 - seed)) for seed in range(3)]]  # fmt: skip
    rows = list(recall_rows(truth, *sides, 200, 0))
    found = {(item.quantity, item.at.get("direction", item.at.get("item"))): item for item in recall_estimates(rows)}
    assert list(found) == [
        *((name, word) for name in ("changed_classes", "changed_classes_over_seeds") for word in ("lower", "higher")),
        ("lowest_recall_difference", "cat"), ("lowest_recall_p", "cat"),
    ]  # fmt: skip
    for (name, _), item in list(found.items())[:4]:
        assert (item.value, item.n, item.unit, item.n_comparisons) == (1, 2, "count", 2), name
    assert "cat -43.3 points" in found["changed_classes", "lower"].note
    assert "dog +46.7 points" in found["changed_classes", "higher"].note
    lowest = found["lowest_recall_difference", "cat"]
    assert lowest.name == "recall of P-T − RI-T, class cat (the lowest of all)"
    assert (lowest.value, lowest.basis, lowest.n) == (pytest.approx(-13 / 30), "examples", 30)
    cat = next(row for row in rows if row["item"] == "cat" and row["basis"] == "examples")
    assert (lowest.low, lowest.high, found["lowest_recall_p", "cat"].value) == (cat["low"], cat["high"], cat["p_holm"])
    nothing = [{**row, "difference": 0.0, "p": 1.0, "p_holm": 1.0} for row in rows if row.get("difference") is not None]
    assert [item.value for item in recall_estimates(nothing)][:4] == [0, 0, 0, 0]
    assert recall_estimates([{"basis": None, "n": 0}]) == []


def test_a_long_list_of_classes_is_cut() -> None:
    row = {"basis": "examples", "n": 30, "examples": 30, "low": -0.3, "high": -0.1, "p_holm": 0.001}
    rows = [{**row, "item": f"c{place}", "difference": -0.1 - place / 100} for place in range(8)]
    listed = "c7 -17.0 points, c6 -16.0 points, c5 -15.0 points, c4 -14.0 points, c3 -13.0 points and 3 more"
    assert recall_estimates(rows)[0].note.endswith(listed)
