"""The paper's findings as rules: each can be met, missed and left undecided."""

import re
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from tests.report import synthetic
from tests.report.synthetic_ablations import ablation_table
from tools.results.claims import CLAIMS, Claim, Verdict, decide, doubt, judge
from tools.results.kept_results import kept_results
from transferscope.analyses.block_shuffle.analysis import InputAblations
from transferscope.analyses.block_shuffle.summary import summary_of
from transferscope.analyses.estimates import Estimate
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.path.analysis import Path as PathAnalysis
from transferscope.analyses.path_pairs import POSITIVE
from transferscope.study.registry import analysis_type

DOCS = Path(__file__).parents[2] / "docs"
BY_KEY = {claim.key: claim for claim in CLAIMS}
EVERY = pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.key)
SOME = {"rival": "RI_T", "block": "8"}
"""Coordinates that are chosen by."""
BLOCKS = {"origin": "study", "ablation": "block_shuffle"}


def number(claim, value, low, high, basis="seeds", flags=(), **at):
    """Words say nothing of the number: only its key and coordinates do."""
    return Estimate(
        claim.quantity, {**SOME, **claim.at, **at}, value, low, high, basis, 3, name="x", note="still improving",
        flags=flags,
    )  # fmt: skip


def measured(claim, *numbers):
    """A study with these; where whole images have such a number too, with that of them."""
    whole = [number(claim, 9.0, 8.0, 10.0, block="48")] if claim.key == "blocks" else []
    return {claim.analysis: [*whole, *numbers]}


def side_of(claim, high):
    """A limit pair on the higher or the lower side of the margin."""
    return (claim.margin + 0.01, claim.margin + 0.2) if high else (claim.margin - 0.2, claim.margin - 0.01)


def test_keys_are_unique_and_every_claim_names_its_place_in_the_paper():
    assert len(BY_KEY) == len(CLAIMS)
    for claim in CLAIMS:
        assert claim.section.startswith(("Fig. ", "Table ", "Sec. "))


def test_the_papers_own_numbers_are_given():
    assert "quickdraw 66.9 to 64.1" in BY_KEY["final"].numbers
    assert "P-T/P-T 0.53, RI-T/RI-T 0.01" in BY_KEY["features"].numbers
    assert "real 193.45 to 815.08" in BY_KEY["distance"].numbers
    assert "quickdraw ends 67 and 66.8, between them 67.2" in BY_KEY["basin"].numbers
    assert "quickdraw ends 64 and 64, between them 16.3" in BY_KEY["barrier-init"].numbers
    assert "quickdraw 10.8 to 0.7" in BY_KEY["permuted"].numbers


# -- the rule --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "basis", "flags", "verdict"),
    [
        (0.03, 0.2, "seeds", (), "reproduced"),
        (0.03, 0.2, "examples", (), "reproduced"),
        (0.03, 0.2, "seeds", ("clipped", "edge_of_grid", "diverged"), "reproduced"),
        (-0.2, 0.01, "seeds", (), "not reproduced"),
        (-0.1, 0.2, "seeds", (), "undecided"),
        (0.02, 0.2, "seeds", (), "undecided"),  # the margin itself decides nothing
        (-0.2, 0.02, "seeds", (), "undecided"),
        (0.03, 0.2, "range", (), "undecided"),
        (None, None, None, (), "undecided"),
    ],
)
def test_only_the_whole_interval_decides(low, high, basis, flags, verdict):
    claim = Claim("x", "x", "Fig. 0", "", "path", "height", "above", 0.02)
    estimates = {"path": [number(claim, 0.02, low, high, basis, flags)]}
    assert judge(claim, estimates)[0] == verdict
    other = {"reproduced": "not reproduced", "not reproduced": "reproduced"}
    assert judge(replace(claim, side="below"), estimates)[0] == other.get(verdict, verdict)


@pytest.mark.parametrize(("low", "high"), [(0.1, None), (None, -0.1)])
def test_half_an_interval_decides_nothing(low, high):
    assert decide(BY_KEY["final"], low, high) is Verdict.UNDECIDED


@EVERY
def test_what_was_not_measured_is_said(claim):
    assert judge(claim, {}) == ("not measured", None)
    elsewhere = {"outcome": measured(claim, number(claim, 1.0, 0.9, 1.1))[claim.analysis]}
    assert judge(claim, elsewhere) == ("not measured", None)


@EVERY
def test_every_claim_can_be_met_missed_and_left_undecided(claim):
    for high in (True, False):
        found = number(claim, sum(side_of(claim, high)) / 2, *side_of(claim, high))
        wanted = "reproduced" if high == (claim.side == "above") else "not reproduced"
        assert judge(claim, measured(claim, found)) == (wanted, found)
    open_ = number(claim, claim.margin, claim.margin - 0.1, claim.margin + 0.1)
    assert judge(claim, measured(claim, open_)) == ("undecided", open_)


@EVERY
@pytest.mark.parametrize("flag", ["still_improving", "too_few_epochs", "incomplete", "uncontrolled"])
def test_a_flag_that_forbids_a_claim_leaves_it_undecided(claim, flag):
    found = number(claim, claim.margin, *side_of(claim, claim.side == "above"), flags=("clipped", flag))
    assert judge(claim, measured(claim, found)) == ("undecided", found)
    assert doubt(found)
    assert not doubt(replace(found, flags=("clipped",)))
    if flag == "incomplete":  # and then has no value, but was measured
        found = replace(found, value=None, low=None, high=None, basis=None)
        assert judge(claim, measured(claim, found)) == ("undecided", found)
        assert judge(claim, {claim.analysis: [replace(found, flags=())]}) == ("not measured", None)


def test_reasons_of_several_flags_are_all_given():
    of = [Estimate("x", {}, 0.1, flags=flags) for flags in (("still_improving",), ("uncontrolled",))]
    both = Estimate("x", {}, 0.1, flags=("still_improving", "uncontrolled"))
    assert doubt(both) == "; ".join(map(doubt, of))
    assert len({doubt(item) for item in of}) == 2


@EVERY
def test_other_coordinates_and_other_keys_are_not_read(claim):
    found = number(claim, claim.margin, *side_of(claim, high=True))
    assert judge(claim, measured(claim, replace(found, quantity="another")))[1] != found
    for name in claim.at:
        assert judge(claim, {claim.analysis: [replace(found, at={**found.at, name: "another"})]})[1] is None
        lacking = {key: value for key, value in found.at.items() if key != name}
        assert judge(claim, {claim.analysis: [replace(found, at=lacking)]})[1] is None


# -- which of several ------------------------------------------------------------------------------------


def test_the_final_gap_is_that_to_the_longest_ri_t_and_needs_one_that_has_ended():
    claim = BY_KEY["final"]
    short = number(claim, 0.2, 0.1, 0.3, rival="RI_T")
    longer = number(claim, -0.2, -0.3, -0.1, rival="RI_T_long")
    for both in ([short, longer], [longer, short]):
        assert judge(claim, {"learning_curves": both}) == ("not reproduced", longer)
    rising = replace(short, flags=("still_improving",))
    assert judge(claim, {"learning_curves": [rising, longer]}) == ("not reproduced", longer)
    assert judge(claim, {"learning_curves": [short]}) == ("reproduced", short)
    assert judge(claim, {"learning_curves": [rising]}) == ("undecided", rising)
    unended = replace(longer, flags=("still_improving",))
    assert judge(claim, {"learning_curves": [short, unended]}) == ("undecided", unended)


def test_speed_is_that_of_the_same_budget_at_the_own_rate():
    claim = BY_KEY["speed"]
    own = number(claim, 0.1, 0.05, 0.15)
    equal = replace(own, at={**own.at, "at_rate": "equal"}, low=-0.2, high=-0.1)
    longer = replace(own, at={**own.at, "rival": "RI_T_long"}, low=-0.2, high=-0.1)
    assert judge(claim, {"learning_curves": [equal, longer, own]}) == ("reproduced", own)


def gaps(claim, *blocks):
    return {"block_shuffle": [number(claim, 0.1, 0.05, 0.15, block=block) for block in blocks]}


@pytest.mark.parametrize("key", ["blocks", "shapes"])
def test_ablations_are_read_at_the_smallest_blocks(key):
    claim = BY_KEY[key]
    for blocks in (("48", "12", "8", "1", "*"), ("*", "1", "8", "12", "48"), ("48", "8")):
        assert judge(claim, gaps(claim, *blocks))[1].at["block"] == "8"
    assert judge(claim, gaps(claim, "128", "32", "4"))[1].at["block"] == "4"  # by size, not by letters


@pytest.mark.parametrize("key", ["blocks", "shapes"])
@pytest.mark.parametrize("others", [(), ("*",), ("1",), ("1", "*")])
def test_whole_images_and_single_pixels_are_no_blocks(key, others):
    whole = () if key == "shapes" else ("48",)  # a gap minus itself is nothing that is measured
    assert judge(BY_KEY[key], gaps(BY_KEY[key], *whole, *others)) == ("not measured", None)


def test_all_values_are_read_where_they_were_permuted():
    for key in ("permuted", "permuted-speed"):
        claim = BY_KEY[key]
        assert judge(claim, gaps(claim, "48", "8", "*"))[1].at["block"] == "*"
        assert judge(claim, gaps(claim, "48", "8", "1")) == ("not measured", None)
        published = number(claim, 0.1, 0.05, 0.15, origin="quickdraw")
        assert judge(claim, {"block_shuffle": [published]}) == ("not measured", None)


@pytest.mark.parametrize(
    ("blocks", "read"), [((64, 16, 8, 1, "*"), "8"), ((8, "*"), "8"), ((64, "*"), None), ((1,), None)]
)
def test_real_tables_of_ablations_are_read_at_the_blocks_they_hold(blocks, read):
    found = {"block_shuffle": summary_of(ablation_table(settings=InputAblations(blocks=blocks))).estimates}
    for key in ("blocks", "shapes"):
        number = judge(BY_KEY[key], found)[1]
        assert (number and number.at["block"]) == read
    assert (judge(BY_KEY["permuted"], found)[1] is None) == ("*" not in blocks)


def test_barriers_of_a_ruler_and_of_a_trunk_are_no_finding():
    for key in ("basin", "barrier", "barrier-across", "barrier-init"):
        claim = BY_KEY[key]
        found = number(claim, 0.1, 0.05, 0.15, batch_norm="batch norm recomputed")
        for other in ({"role": "ruler"}, {"moves": "trunk"}, {"split": "train"}, {"baseline": "linear"}):
            assert judge(claim, {"path": [replace(found, at={**found.at, **other})]}) == ("not measured", None)


# -- what analyses produce -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def produced():
    """Estimates of made-up tables, by the analyses themselves."""
    path = PathAnalysis(pairs=("P_T/P_T", "RI_T/RI_T", "P_T/RI_T", "RI_T/RI_T same init"))
    again = synthetic.path_table().with_columns(pair=pl.col("pair").replace("RI-T/RI-T", "RI-T/RI-T, same init"))
    again = again.filter(pl.col("pair") == "RI-T/RI-T, same init")
    tables = {"path": path.summarise(pl.concat([synthetic.path_table(), again]), Evidence()).estimates}
    names = {claim.analysis for claim in CLAIMS} - {"path"}
    return {**tables, **{name: synthetic.result(name).summary.estimates for name in names}}


@EVERY
def test_an_analysis_produces_what_a_claim_reads(claim, produced):
    assert claim.quantity in {quantity.key for quantity in analysis_type(claim.analysis).quantities}
    found = claim.number(produced)
    assert found is not None
    assert found.quantity == claim.quantity
    assert found.value is not None
    assert judge(claim, produced)[1] == found


def test_made_up_tables_give_the_verdicts_that_were_made_up(produced):
    found = {claim.key: judge(claim, produced)[0] for claim in CLAIMS}
    assert found["speed"] == found["blocks"] == found["permuted-speed"] == "reproduced"
    assert found["features"] == found["features-kept"] == found["distance"] == "reproduced"
    assert found["final"] == "undecided"  # RI-T is still improving
    assert doubt(judge(BY_KEY["final"], produced)[1])
    for key in ("basin", "barrier", "barrier-across", "barrier-init"):  # without a ruler that was measured
        assert found[key] == "undecided"
        assert "uncontrolled" in judge(BY_KEY[key], produced)[1].flags


def test_a_ruler_that_holds_lets_barriers_be_judged():
    """Two RI-T may have no barrier, and that is a finding; all else needs both known answers."""
    ruler = synthetic.path_table().filter((pl.col("pair") == "P-T/P-T") & (pl.col("level") == "barrier"))
    ruler = ruler.with_columns(pl.lit("ruler").alias("role"), pl.lit(POSITIVE).alias("pair"))
    pairs = pl.concat([synthetic.path_table(), ruler])
    level = pl.when(pl.col("pair") == "RI-T/RI-T").then(0.02).otherwise(1.0)
    low = pairs.with_columns(pl.col(name) * level for name in ("barrier", "low", "high"))
    for table, barrier, basin in ((pairs, "reproduced", "reproduced"), (low, "not reproduced", "undecided")):
        estimates = {"path": PathAnalysis().summarise(table, Evidence()).estimates}
        assert judge(BY_KEY["barrier"], estimates)[0] == barrier
        assert judge(BY_KEY["basin"], estimates)[0] == basin


# -- what is kept beside the documentation ---------------------------------------------------------------

SIGNS = {"yes": "reproduced", "**no**": "not reproduced", "?": "undecided", "–": "not measured"}


@pytest.fixture(scope="module")
def kept():
    return {study.name: study.estimates for study in kept_results(DOCS / "results")}


def test_kept_numbers_give_the_verdicts_of_the_page(kept):
    page = (DOCS / "results.md").read_text(encoding="utf-8")
    part = page[page.index("## The paper's findings") : page.index("## The findings over all studies")]
    rows = dict(re.findall(r"^\| \[([\w-]+)\]\([^)]*\) \| (.*) \|$", part, re.MULTILINE))
    assert set(rows) == set(kept)
    for name, row in rows.items():
        shown = [SIGNS[cell] for cell in row.split(" | ")]
        assert [judge(claim, kept[name])[0] for claim in CLAIMS] == shown, name


@EVERY
def test_every_claim_is_judged_by_a_kept_study(claim, kept):
    verdicts = {judge(claim, estimates)[0] for estimates in kept.values()}
    assert verdicts - {"not measured"}
