"""Which mistakes two networks share, against literal counts."""

import numpy as np
import polars as pl
import pytest

from tests.reference import pairs_reference as reference
from tests.studies import Diverging, Trained, arrays, bound, untrained
from transferscope.analyses.contract import Task, checked, checked_summary
from transferscope.analyses.estimates import spoken
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.mistakes.analysis import MistakesAnalysis
from transferscope.analyses.pairs import pairs_of
from transferscope.analyses.tuned import tuned_members
from transferscope.networks.evaluate import logits
from transferscope.study.columns import schema

ANALYSIS = MistakesAnalysis(n_bootstrap=200)
EXACT = ("common", "only_a", "only_b", "mistakes_a", "mistakes_b", "examples")


def literal(a: list, b: list, y: list) -> dict:
    """The counts of a pair, one judgement at a time."""
    common = sum(p != t and q != t for p, q, t in zip(a, b, y, strict=True))
    only_a = sum(p != t and q == t for p, q, t in zip(a, b, y, strict=True))
    only_b = sum(p == t and q != t for p, q, t in zip(a, b, y, strict=True))
    same = sum(p == q != t for p, q, t in zip(a, b, y, strict=True))
    n = len(y)
    p1, p2 = 1 - (common + only_a) / n, 1 - (common + only_b) / n
    expected = p1 * p2 + (1 - p1) * (1 - p2)
    agree = 1 - (only_a + only_b) / n
    either = common + only_a + only_b
    return {
        "examples": n, "common": common, "only_a": only_a, "only_b": only_b, "mistakes_a": common + only_a,
        "mistakes_b": common + only_b, "jaccard": common / either if either else None,
        "same_wrong_label": same / common if common else None,
        "kappa": (agree - expected) / (1 - expected) if expected < 1 else None,
        "kappa_max": (1 - abs(p1 - p2) - expected) / (1 - expected) if expected < 1 else None,
    }  # fmt: skip


def assert_row(row: dict, expected: dict) -> None:
    assert {name: row[name] for name in EXACT} == {name: expected[name] for name in EXACT}
    for name in ("jaccard", "same_wrong_label", "kappa", "kappa_max"):
        assert row[name] == (None if expected[name] is None else pytest.approx(expected[name], abs=1e-12)), name


def test_every_pair_against_literal_counts(trained: Trained) -> None:
    found = trained.evidence.table(ANALYSIS)
    context = trained.context
    members = list(tuned_members(trained.study, trained.evidence, ("RI_T", "P_T")))
    said = {}
    for member in members:
        values, labels = logits(context.network(member.spec), context.batches("test"), context.device)
        said[member.label] = values.argmax(1).tolist()
    labels = labels.tolist()
    for row in found.filter(pl.col("level").is_in(["all", "class"])).iter_rows(named=True):
        kept = [k for k, y in enumerate(labels) if row["level"] == "all" or str(y) == row["item"]]
        assert_row(row, literal(*([side[k] for k in kept] for side in (said[row["a"]], said[row["b"]], labels))))
        if row["level"] == "all" and row["only_a"] + row["only_b"] == 0:
            assert (row["kappa"], row["kappa_low"], row["kappa_high"]) == (1, None, None)  # so is every resample
        elif row["level"] == "all":
            assert row["kappa_low"] <= row["kappa"] <= row["kappa_high"] <= 1
    assert found.filter(pl.col("level") == "class")["item"].unique().sort().to_list() == ["0", "1", "2"]
    # All pairs within a variant; across variants those of one seed, which share head and data order.
    pairs = found.filter(pl.col("level") == "all").select("pair", "seed_a", "seed_b").rows()
    within = [(s, t) for s in range(4) for t in range(s + 1, 4)]
    assert sorted(pairs) == sorted(
        [(f"{v}/{v}", s, t) for v in ("P-T", "RI-T") for s, t in within] + [("P-T/RI-T", s, s) for s in range(4)]
    )


def test_with_several_labels_each_is_judged_and_images_stay_together(tmp_path) -> None:
    context = bound(tmp_path, target={"data": arrays(tmp_path / "many", 90, 3, multi=True), "image_size": 16})
    members = untrained(context.study, "RI_T 0", "RI_T 1")
    found = checked(ANALYSIS, ANALYSIS.measure(Task(members=members), context).table)
    said = []
    for member in members:
        values, labels = logits(context.network(member.spec), context.batches("test"), context.device)
        said.append((values >= 0).int())
    labels = labels.int()
    (whole,) = found.filter(pl.col("level") == "all").iter_rows(named=True)
    assert_row(whole, literal(*(side.flatten().tolist() for side in (*said, labels))))
    assert whole["examples"] == labels.numel()
    for index, row in enumerate(found.filter(pl.col("level") == "class").iter_rows(named=True)):
        assert row["item"] == str(index)
        assert_row(row, literal(*(side[:, index].tolist() for side in (*said, labels))))
    # Labels of one image are not independent: drawn one by one they would give another interval.
    from transferscope.measures.intervals import bootstrap_interval
    from transferscope.measures.mistakes import mistake_indicators, mistake_statistic

    flat = [side.flatten().numpy() for side in (*said, labels)]
    seed = context.seed("mistakes", "RI-T[0]", "RI-T[1]")
    owners = np.repeat(np.arange(len(labels)), 3)
    together = bootstrap_interval(mistake_statistic("kappa"), [mistake_indicators(*flat)], owners, 200, seed)
    assert (whole["kappa_low"], whole["kappa_high"]) == (together.low, together.high)


def test_diverged_networks_are_in_no_pair(plain) -> None:
    members = untrained(plain.study, "RI_T 0", "RI_T 1", "RI_T 2")
    found = ANALYSIS.measure(Task(members=members), Diverging(plain, members[1])).table
    assert set(found["a"]) | set(found["b"]) == {"RI-T[0]", "RI-T[2]"}
    none = ANALYSIS.measure(Task(members=members), Diverging(plain, *members)).table
    assert checked(ANALYSIS, none).height == 0


# -- pairs ------------------------------------------------------------------------------------------------------


def test_pairs_are_made_within_variants_and_across_equal_seeds(plain) -> None:
    members = untrained(plain.study, "RI_T 0", "RI_T 2", "P_T 0")
    members = tuple(m.model_copy(update={"variant": v}) for m, v in zip(members, ("RI_T", "RI_T", "P_T"), strict=True))
    assert [(a.label, b.label) for a, b in pairs_of(members)] == [("RI-T[0]", "RI-T[2]"), ("P-T[0]", "RI-T[0]")]


# -- summary ----------------------------------------------------------------------------------------------------


def table(*rows: tuple) -> pl.DataFrame:
    """Rows of (pair, seed a, seed b, κ, ceiling)."""
    made = [
        {
            "level": "all", "item": "", "pair": pair,
            "a": f"{pair.split('/')[0]}[{s}]", "b": f"{pair.split('/')[1]}[{t}]",
            "variant_a": pair.split("/")[0], "seed_a": s, "variant_b": pair.split("/")[1], "seed_b": t, "examples": 90,
            "mistakes_a": 9, "mistakes_b": 9, "common": 5, "only_a": 4, "only_b": 4, "jaccard": 5 / 13,
            "same_wrong_label": 1.0, "kappa": kappa, "kappa_low": None if kappa is None else kappa - 0.2,
            "kappa_high": None if kappa is None else kappa + 0.2, "kappa_max": ceiling,
        }
        for pair, s, t, kappa, ceiling in rows
    ]  # fmt: skip
    return checked(ANALYSIS, pl.DataFrame(made, schema=schema(MistakesAnalysis.columns)))


def test_the_unit_of_a_claim_is_the_seed_and_all_pairs_count() -> None:
    kappas = {(s, t): 0.05 * (s + 1) + 0.02 * s * t for s in range(5) for t in range(s + 1, 5)}
    rows = [("P-T/P-T", s, t, kappa, 0.9) for (s, t), kappa in kappas.items()]
    rows += [("RI-T/RI-T", 0, 1, 0.4, 0.8), ("P-T/RI-T", 0, 0, None, None)]
    summary = ANALYSIS.summarise(table(*rows), Evidence())
    assert checked_summary(ANALYSIS, summary) == summary
    found = {(item.quantity, item.at.get("pair")): item for item in summary.estimates}
    many = found["kappa", "P-T/P-T"]
    assert (many.value, many.low, many.high) == pytest.approx(reference.leave_one_seed_out(kappas))
    assert (many.n, many.basis, many.flags) == (5, "seeds", ())
    assert many.name == "error consistency κ of P-T/P-T"
    one = found["kappa", "RI-T/RI-T"]
    assert (one.value, one.low, one.high) == pytest.approx((0.4, 0.2, 0.6))
    assert (one.basis, one.n, one.flags) == ("examples", 90, ("too_few_seeds",))
    none = found["kappa", "P-T/RI-T"]
    assert (none.value, none.n, none.note) == (None, 1, "all right, or all wrong")
    assert ("kappa_max", "P-T/RI-T") not in found
    assert found["kappa_max", "RI-T/RI-T"].value == 0.8
    for quantity, value in (("common", 5), ("either", 13)):
        same = found[quantity, "P-T/P-T"]
        assert (same.value, same.low, same.n, same.flags, same.unit) == (value, None, 5, ("no_spread",), "count")
    assert summary.verdict == (
        f"Agreement of mistakes beyond chance: P-T/P-T κ {spoken(many)}; RI-T/RI-T κ {spoken(one)}; "
        f"P-T/RI-T κ {spoken(none)}."
    )


def test_kappa_of_two_p_t_against_that_of_others_is_paired_by_seed() -> None:
    p_t = {(s, t): 0.5 + 0.03 * s * t for s in range(4) for t in range(s + 1, 4)}
    ri_t = {(s, t): 0.2 + 0.05 * t for s, t in p_t}
    across = {(s, s): 0.1 + 0.02 * s**2 for s in range(4)}
    rows = [
        (pair, s, t, kappa, 0.9)
        for pair, kappas in (("P-T/P-T", p_t), ("RI-T/RI-T", ri_t), ("P-T/RI-T", across))
        for (s, t), kappa in kappas.items()
    ]
    summary = ANALYSIS.summarise(table(*rows), Evidence())
    gaps = {item.at["rival"]: item for item in summary.estimates if item.quantity == "kappa_gap"}
    within = {pair: kappa - ri_t[pair] for pair, kappa in p_t.items()}
    # A pair of two seeds is compared with what each of them has with its own RI-T.
    beyond = {(s, t): kappa - (across[s, s] + across[t, t]) / 2 for (s, t), kappa in p_t.items()}
    for rival, expected in (("RI-T/RI-T", within), ("P-T/RI-T", beyond)):
        item = gaps[rival]
        assert (item.value, item.low, item.high) == pytest.approx(reference.leave_one_seed_out(expected))
        assert (item.basis, item.n, item.at["pair"]) == ("seeds", 4, "P-T/P-T")
        assert item.name == f"error consistency κ, P-T/P-T − {rival}"


def test_a_kappa_that_is_not_defined_for_every_pair_is_not_defined() -> None:
    kappas = {(s, t): 0.3 + 0.01 * s * t for s in range(4) for t in range(s + 1, 4)}
    rows = [("P-T/P-T", s, t, None if (s, t) == (0, 2) else kappa, 0.9) for (s, t), kappa in kappas.items()]
    first, *_ = ANALYSIS.summarise(table(*rows), Evidence()).estimates
    assert (first.quantity, first.value, first.n, first.note) == ("kappa", None, 4, "not defined for 1 of 6")
    assert first.flags == ("incomplete",)


def test_equal_kappas_have_no_interval() -> None:
    rows = [("P-T/P-T", s, t, 0.3, 0.9) for s, t in ((0, 1), (0, 2), (1, 2))]
    first, *_ = ANALYSIS.summarise(table(*rows), Evidence()).estimates
    assert (first.value, first.low, first.basis, first.n, first.flags) == (0.3, None, None, 3, ("no_spread",))
