"""How far networks moved, against plain sums over their weights."""

import math

import polars as pl
import pytest
import torch

from tests.reference import pairs_reference as reference
from tests.studies import Diverging, Trained
from transferscope.analyses.contract import checked, checked_summary
from transferscope.analyses.distance.analysis import DistanceAnalysis
from transferscope.analyses.estimates import spoken
from transferscope.analyses.tuned import tuned_members

ANALYSIS = DistanceAnalysis()
TOTALS = {"all": -3, "trunk": -2, "head": -1}


def flat(model: torch.nn.Module, keep) -> torch.Tensor:
    return torch.cat([p.detach().double().flatten() for name, p in model.named_parameters() if keep(name)])


def part_of(row: dict):
    if row["position"] >= 0:
        return lambda name: name.startswith(row["part"] + ".")
    return {
        "all": lambda name: True,
        "trunk": lambda name: not name.startswith("head."),
        "head": lambda name: name.startswith("head."),
    }[row["part"]]


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(a @ b / (a.norm() * b.norm()))


def test_every_row_against_plain_sums(trained: Trained) -> None:
    found = trained.evidence.table(ANALYSIS)
    context = trained.context
    members = {m.label: m for m in tuned_members(trained.study, trained.evidence, ("RI_T", "P_T"))}
    ends = {label: context.network(member.spec) for label, member in members.items()}
    starts = {label: context.network(member.spec.untrained()) for label, member in members.items()}
    for row in found.iter_rows(named=True):
        keep = part_of(row)
        own_start = row["a"] not in members
        first = starts[row["b"]] if own_start else ends[row["a"]]
        a, b, zero = flat(first, keep), flat(ends[row["b"]], keep), flat(starts[row["b"]], keep)
        assert row["distance"] == pytest.approx(float((a - b).norm()), rel=1e-6)
        assert row["relative"] == pytest.approx(float((a - b).norm() / zero.norm()), rel=1e-6)
        assert row["parameters"] == len(a)
        if own_start:
            assert (row["cosine"], row["cosine_without_decay"]) == (None, None)
            continue
        zero_a = flat(starts[row["a"]], keep)
        u, v = a - zero_a, b - zero
        assert row["cosine"] == pytest.approx(cosine(u, v), abs=1e-6)
        u, v = (d - (d @ s) / (s @ s) * s for d, s in ((u, zero_a), (v, zero)))
        assert row["cosine_without_decay"] == pytest.approx(cosine(u, v), abs=1e-5)


def test_parts_divide_the_whole(trained: Trained) -> None:
    for _, rows in trained.evidence.table(ANALYSIS).group_by("a", "b"):
        by_part = {(part, position): (d, n) for part, position, d, n in
                   rows.select("part", "position", "distance", "parameters").rows()}  # fmt: skip
        assert {part: position for part, position in by_part if position < 0} == TOTALS
        total = {part: by_part[part, position] for part, position in TOTALS.items()}
        modules = [value for (_, position), value in by_part.items() if position >= 0]
        assert total["all"][0] ** 2 == pytest.approx(total["trunk"][0] ** 2 + total["head"][0] ** 2)
        assert total["all"][0] == pytest.approx(math.sqrt(sum(d**2 for d, _ in modules)))
        assert total["all"][1] == total["trunk"][1] + total["head"][1] == sum(n for _, n in modules)
        # The module called head is one of the modules and a total as well: their positions tell them apart.
        assert ("head", 2) in by_part


def test_own_starts_and_pairs(trained: Trained) -> None:
    pairs = trained.evidence.table(ANALYSIS).select("pair", "a", "b").unique().rows()
    within = [(s, t) for s in range(4) for t in range(s + 1, 4)]
    assert sorted(pairs) == sorted(
        [(f"{v}/{v}-T", f"{v}[{s}]", f"{v}-T[{s}]") for v in ("P", "RI") for s in range(4)]
        + [(f"{v}/{v}", f"{v}[{s}]", f"{v}[{t}]") for v in ("P-T", "RI-T") for s, t in within]
        + [("P-T/RI-T", f"P-T[{s}]", f"RI-T[{s}]") for s in range(4)]
    )


def test_diverged_networks_are_left_out(trained: Trained) -> None:
    (task,) = ANALYSIS.tasks(trained.study, trained.evidence.for_decision())
    found = ANALYSIS.measure(task, Diverging(trained.context, *task.members[2:])).table
    assert set(found["b"]) == {"RI-T[0]", "RI-T[1]"}
    assert checked(ANALYSIS, ANALYSIS.measure(task, Diverging(trained.context, *task.members)).table).height == 0


def test_the_summary_is_of_trunks_and_leaves_one_seed_out(trained: Trained) -> None:
    found = trained.evidence.table(ANALYSIS)
    # A module that happens to be called trunk is not the trunk.
    odd = found.with_columns(pl.when(pl.col("position") == 0).then(pl.lit("trunk")).otherwise("part").alias("part"))
    summary, same = ANALYSIS.summarise(found, trained.evidence), ANALYSIS.summarise(odd, trained.evidence)
    assert summary == same
    assert checked_summary(ANALYSIS, summary) == summary
    trunk = found.filter(pl.col("position") == -2)
    *ours, gap = summary.estimates
    estimates = {(item.quantity, item.at["pair"]): item for item in ours}
    assert set(estimates) == {("distance", pair) for pair in trunk["pair"]} | {
        (cosine, f"{a}-T/{b}-T")
        for cosine in ("cosine", "cosine_without_decay") for a, b in (("P", "P"), ("RI", "RI"), ("P", "RI"))
    }  # fmt: skip
    for (column, pair), item in estimates.items():
        rows = trunk.filter(pl.col("pair") == pair)
        values = {(a, b): value for a, b, value in rows.select("seed_a", "seed_b", column).iter_rows()}
        # A pair of one seed is a unit of its own: leaving it out is then Student's interval.
        value, low, high = reference.leave_one_seed_out(values)
        least = 0.0 if column == "distance" else -1.0
        most = math.inf if column == "distance" else 1.0
        assert (item.value, item.low, item.high) == pytest.approx((value, max(least, low), min(most, high)))
        assert (item.n, item.basis, item.unit) == (4, "seeds", "ℓ2" if column == "distance" else "1")
        assert item.flags == (("clipped",) if low < least or high > most else ())
    within = {
        pair: {
            (a, b): d for a, b, d in trunk.filter(pl.col("pair") == pair).select("seed_a", "seed_b", "distance").rows()
        }
        for pair in ("P-T/P-T", "RI-T/RI-T")
    }
    expected = {seeds: value - within["RI-T/RI-T"][seeds] for seeds, value in within["P-T/P-T"].items()}
    assert (gap.value, gap.low, gap.high) == pytest.approx(reference.leave_one_seed_out(expected))
    assert (gap.quantity, dict(gap.at)) == ("within_gap", {"pair": "P-T/P-T", "rival": "RI-T/RI-T"})
    assert summary.verdict.startswith("ℓ2 distance of trunks: RI/RI-T ")
    assert f"P/P-T {spoken(estimates['distance', 'P/P-T'])}" in summary.verdict


def test_equal_distances_and_few_seeds_are_flagged(trained: Trained) -> None:
    found = trained.evidence.table(ANALYSIS)
    equal = ANALYSIS.summarise(found.with_columns(distance=pl.lit(2.0)), trained.evidence)
    for item in equal.estimates:
        if item.quantity == "distance":
            assert (item.value, item.low, item.high, item.flags) == (2.0, None, None, ("no_spread",))
    few = ANALYSIS.summarise(found.filter((pl.col("seed_a") < 2) & (pl.col("seed_b") < 2)), trained.evidence)
    assert {item.flags for item in few.estimates} == {("too_few_seeds",)}
    assert {item.basis for item in few.estimates if item.at["pair"] == "P-T/P-T"} == {None}  # one pair
    assert {item.basis for item in few.estimates if item.at["pair"] == "P/P-T"} == {"range"}
