"""A finding over all studies: means over what is independent, by hand."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tools.results.claims import CLAIMS, Verdict, judge
from tools.results.kept_results import KeptResults, kept_results
from tools.results.results_pooled import Pooled, pooled, pooled_table, target_of
from transferscope.analyses.estimates import Estimate
from transferscope.bounds import Basis

KEPT = Path(__file__).parents[2] / "docs" / "results"
CLAIM = next(claim for claim in CLAIMS if claim.key == "speed")  # above 0
BASIN = next(claim for claim in CLAIMS if claim.key == "basin")  # below 0.02
T2 = 4.302652729911275
"""Student's t of two degrees of freedom at 0.975; of infinitely many, 1.959964."""
NORMAL = 1.959963984540054


def study(name: str, target: str, source: str, number: Estimate | None, claim: Any = CLAIM) -> KeptResults:
    text = f"target:\n  data:\n    kind: folder\n    path: {target}\n"
    estimates = {} if number is None else {claim.analysis: (number,)}
    return KeptResults({"study": name, "pretrained": source}, text, {}, pl.DataFrame(), estimates, {})


def number(value: float, half: float = 0.01 * T2, basis: Basis = "seeds", claim: Any = CLAIM, **more: Any) -> Estimate:
    """Of three seeds with a standard error of 0.01."""
    limits = {"low": value - half, "high": value + half, "basis": basis, "n": 3, **more}
    return Estimate(claim.quantity, dict(claim.at), value, unit="metric", **limits)


def over(*studies: KeptResults, claim: Any = CLAIM) -> Pooled | None:
    return pooled(claim, studies, judgements(*studies, claim=claim))


def judgements(*studies: KeptResults, claim: Any = CLAIM) -> dict[str, Any]:
    return {each.name: {claim.key: judge(claim, each.estimates)} for each in studies}


THREE = (
    study("a", "one/x", "P1", number(0.10)),
    study("b", "one/x", "P2", number(0.20)),
    study("c", "two/x", "P1", number(0.40)),
)


def test_studies_of_one_target_or_of_one_network_are_one() -> None:
    found = over(*THREE)
    assert found is not None
    target, source = found.by_target, found.by_source
    # one: (0.10 + 0.20) / 2, two: 0.40; P1: (0.10 + 0.40) / 2, P2: 0.20
    assert target.value == pytest.approx((0.15 + 0.40) / 2)
    assert source.value == pytest.approx((0.25 + 0.20) / 2)
    assert (target.n, source.n, target.studies, source.studies) == (2, 2, 3, 3)
    assert target.leave_one_out == pytest.approx((0.15, 0.40))
    assert source.leave_one_out == pytest.approx((0.20, 0.25))
    # variance of the cluster means less the mean square of their errors
    assert target.tau == pytest.approx(math.sqrt(0.25**2 / 2 - 0.01**2))
    assert source.tau == pytest.approx(math.sqrt(0.05**2 / 2 - 0.01**2))
    assert (found.unit, found.left_out) == ("metric", 0)


def test_two_clusters_of_either_kind_decide_nothing() -> None:
    found = over(*THREE)
    assert found is not None
    assert found.deciding is found.by_target
    assert (found.deciding.low, found.deciding.high) == (None, None)
    assert found.verdict is Verdict.UNDECIDED


def crossed(targets: tuple[float, ...], sources: tuple[float, ...]) -> list[KeptResults]:
    """Every target with every network; effects add up."""
    return [
        study(f"{i}{j}", f"target{i}/x", f"P{j}", number(0.3 + target + source))
        for i, target in enumerate(targets)
        for j, source in enumerate(sources)
    ]


def limits(center: float, deviation: float) -> tuple[float, float]:
    """Student's 95 % interval of three cluster means."""
    half = T2 * deviation / math.sqrt(3)
    return center - half, center + half


@pytest.mark.parametrize("wider", ["by_target", "by_source"])
def test_the_wider_of_both_clusterings_decides(wider: str) -> None:
    wide, narrow = (-0.2, 0.0, 0.2), (-0.02, 0.0, 0.02)
    targets, sources = (wide, narrow) if wider == "by_target" else (narrow, wide)
    found = over(*crossed(targets, sources))
    assert found is not None
    assert found.deciding is getattr(found, wider)
    other = found.by_source if wider == "by_target" else found.by_target
    assert (found.deciding.low, found.deciding.high) == pytest.approx(limits(0.3, 0.2))
    assert (other.low, other.high) == pytest.approx(limits(0.3, 0.02))
    # The narrow one alone would have said more than is known.
    assert other.low is not None
    assert other.low > 0
    assert found.verdict is Verdict.UNDECIDED


def test_where_there_are_fewer_than_three_of_one_kind_the_other_decides() -> None:
    three, two = (-0.1, 0.0, 0.1), (-0.2, 0.2)
    for targets, sources, kind in ((three, two, "by_target"), (two, three, "by_source")):
        found = over(*crossed(targets, sources))
        assert found is not None
        assert found.deciding is getattr(found, kind)
        assert (found.deciding.low, found.deciding.high) == pytest.approx(limits(0.3, 0.1))
        assert found.verdict is Verdict.REPRODUCED


@pytest.mark.parametrize(("value", "verdict"), [(0.001, Verdict.REPRODUCED), (0.1, Verdict.NOT_REPRODUCED)])
def test_the_side_and_the_margin_are_those_of_the_claim(value: float, verdict: Verdict) -> None:
    studies = [study(f"{i}", f"target{i}/x", "P", number(value + 0.0001 * i, claim=BASIN), BASIN) for i in range(3)]
    found = over(*studies, claim=BASIN)
    assert found is not None
    assert found.verdict is verdict


def test_a_number_of_which_no_claim_is_made_is_left_out_and_counted() -> None:
    rising = number(9.0, flags=("still_improving",))
    incomplete = replace(rising, value=None, low=None, high=None, basis=None, flags=("incomplete",))
    studies = (*THREE, study("d", "three/x", "P3", rising), study("e", "four/x", "P3", incomplete))
    found, without = over(*studies), over(*THREE)
    assert found is not None
    assert without is not None
    assert found.left_out == 2
    assert (found.by_target, found.by_source) == (without.by_target, without.by_source)
    other = over(*THREE, study("d", "three/x", "P3", replace(rising, flags=("clipped", "edge_of_grid"))))
    assert other is not None
    assert (other.left_out, other.by_target.n) == (0, 3)


def test_undecided_studies_count() -> None:
    wide = (study("d", "three/x", "P1", number(0.3, half=1.0)), study("e", "four/x", "P1", number(0.2, basis="range")))
    assert {each[CLAIM.key][0] for each in judgements(*wide).values()} == {Verdict.UNDECIDED}
    found = over(*THREE, *wide)
    assert found is not None
    assert found.by_target.value == pytest.approx((0.15 + 0.40 + 0.3 + 0.2) / 4)


def test_what_no_study_has_or_all_must_leave_out_is_none() -> None:
    nothing = study("a", "one/x", "P1", None)
    assert over() is None
    assert over(nothing) is None
    assert over(study("a", "one/x", "P1", number(0.1, flags=("uncontrolled",)))) is None
    found = over(nothing, *(replace(each, manifest={**each.manifest, "study": f"{each.name}2"}) for each in THREE))
    assert found is not None
    assert (found.by_target.studies, found.left_out) == (3, 0)


@pytest.mark.parametrize(
    ("more", "error"),
    [
        ({"low": 0.07, "high": 0.13, "n": 3}, 0.03 / T2),
        ({"low": 0.0, "high": 0.25, "n": 3}, 0.15 / T2),  # cut at what the number can be: the longer half
        ({"low": -0.15, "high": 0.11, "n": 3}, 0.25 / T2),
        ({"low": 0.07, "high": 0.13, "n": 6}, 0.03 / 2.5705818366147395),
        ({"low": 0.07, "high": 0.13, "n": 656, "basis": "examples"}, 0.03 / NORMAL),
        ({"low": 0.07, "high": 0.13, "n": 2, "basis": "range"}, 0.0),
        ({"low": None, "high": None, "n": 3, "basis": None}, 0.0),
    ],
)
def test_the_error_behind_an_interval(more: dict[str, Any], error: float) -> None:
    """Read back from τ: of two clusters, half the squared difference less the mean squared error."""
    exact = number(0.5, basis="range", n=2)
    found = over(study("a", "one/x", "P1", number(0.1, **more)), study("b", "two/x", "P1", exact))
    assert found is not None
    squared = 2 * (0.4**2 / 2 - found.by_target.tau**2)
    assert squared == pytest.approx(error**2, abs=1e-12)


def test_targets_are_data_sets_and_styles_of_the_same_objects_are_one() -> None:
    kept = kept_results(KEPT)
    by_target: dict[str, set[str]] = {}
    for each in kept:
        by_target.setdefault(target_of(each), set()).add(each.name.removesuffix("-landscape").split("-")[1])
    assert sorted(by_target.values(), key=min) == [{"cifar"}, {"elpv"}, {"emoji"}, {"fashion"}]
    assert target_of(THREE[0]) == target_of(THREE[1]) != target_of(THREE[2])


def test_the_table_has_a_row_for_each_finding_that_was_measured() -> None:
    doubtful = study("d", "three/x", "P3", number(9.0, flags=("still_improving",)))
    studies = (*crossed((-0.1, 0.0, 0.1), (-0.02, 0.02)), doubtful)
    found = {each.name: {claim.key: judge(claim, each.estimates) for claim in CLAIMS} for each in studies}
    (row,) = pooled_table(studies, found).splitlines()[2:]
    cells = row.strip("| ").split(" | ")
    place = 1 + [claim.key for claim in CLAIMS].index(CLAIM.key)
    assert cells[:4] == [str(place), CLAIM.sentence, "reproduced", "0.300"]
    assert cells[4] == "0.052 to 0.548"  # 0.3 ± 4.3027 · 0.1 / √3
    assert cells[5] == "3 (2, 6); 1 study left out"
    assert cells[8] == "0.250 to 0.350"
