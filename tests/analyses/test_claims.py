"""The paper's findings as rules: each can be met, missed and left undecided."""

import polars as pl
import pytest

from tools.results.claims import CLAIMS, Claim, Measurement, judge
from transferscope.analyses.path_pairs import NEGATIVE, POSITIVE
from transferscope.keys import FINAL_GAP, SPEED_GAP
from transferscope.measures.intervals import MAGNITUDE, seed_pairs_interval, seeds_interval

BY_KEY = {claim.key: claim for claim in CLAIMS}
SEEDS = (0, 1, 2)


def numbers(quantity, subject, value, low, high, basis="seeds"):
    """Words that say nothing of the number: only its key does."""
    return pl.DataFrame(
        [{"name": "x", "value": value, "low": low, "high": high, "basis": basis, "n": 3, "unit": "metric",
          "note": "still improving", "quantity": quantity, "subject": subject, "way": ""}]
    )  # fmt: skip


def curves(variant="RI_T", *, improving=False):
    rows = {"variant": [variant] * 9, "epoch": list(range(9)), "improving": [improving] * 9}
    return pl.DataFrame(rows, schema_overrides={"improving": pl.Boolean})


def pairs(within, *, across=0.0, start=0.0, value="cka"):
    """One row per pair of networks; ``within`` by variant, with a deviation of its own for each pair."""
    wobble = {(0, 1): -0.01, (0, 2): 0.0, (1, 2): 0.02}
    rows = [
        {"variant_a": variant, "seed_a": a, "variant_b": variant, "seed_b": b, value: level + wobble[a, b]}
        for variant, level in within.items() for a, b in wobble
    ]  # fmt: skip
    rows += [{"variant_a": "RI_T", "seed_a": s, "variant_b": "P_T", "seed_b": s, value: across + 0.01 * s}
             for s in SEEDS]  # fmt: skip
    rows += [{"variant_a": "P", "seed_a": 0, "variant_b": "P_T", "seed_b": s, value: start - 0.01 * s} for s in SEEDS]
    return pl.DataFrame(rows)


def barriers(pair, *heights, examples=400, margin=0.01, seeds=((0, 1), (2, 3), (4, 5)), role="pair"):
    return pl.DataFrame(
        [{"role": role, "moved": "all", "pair": pair, "split": "test", "quantity": "error", "baseline": "mean",
          "batch_norm": "recompute", "barrier": height, "seed_a": a, "seed_b": b, "examples": examples,
          "low": None if height is None else max(0.0, height - margin),
          "high": None if height is None else height + margin}
         for height, (a, b) in zip(heights, seeds, strict=False)],
        schema_overrides=dict.fromkeys(("barrier", "low", "high"), pl.Float64),
    )  # fmt: skip


def paths(*tables, known=(0.0, 0.3)):
    """With a ruler: a pair that is connected, and one that is not."""
    ruler = [barriers(pair, height, role="ruler") for pair, height in zip((POSITIVE, NEGATIVE), known, strict=True)]
    return {"path": pl.concat([*tables, *ruler])}


def ablations(gaps, *, improving=False, basis="seeds"):
    """``gaps``: by block, the final gap, its change and the gap in speed, each ± 0.02."""
    rows = []
    for place, (block, (gap, change, speed)) in enumerate(gaps.items()):
        common = {"origin": "study", "ablation": "block_shuffle", "label": f"block {block}", "place": place,
                  "block": str(block), "n": 3, "basis": basis}  # fmt: skip
        rows.append({**common, "level": "variant", "variant": "RI_T", "improving": improving})
        for level, value in (("gap", gap), ("difference", change)):
            rows.append({**common, "level": level, "test_metric": value, "test_low": value - 0.02,
                         "test_high": value + 0.02, "speed": speed, "speed_low": speed - 0.02,
                         "speed_high": speed + 0.02})  # fmt: skip
        rows.append({**rows[-2], "basis": "examples", "test_metric": 9.0, "test_low": 8.0, "test_high": 10.0})
    return pl.DataFrame(rows, infer_schema_length=None)


def test_keys_are_unique_and_every_claim_names_its_place_in_the_paper():
    assert len(BY_KEY) == len(CLAIMS)
    for claim in CLAIMS:
        assert claim.section.startswith(("Fig. ", "Table ", "Sec. "))
        assert claim.needs


def test_the_papers_own_numbers_are_given():
    assert "quickdraw 66.9 to 64.1" in BY_KEY["final"].numbers
    assert "P-T/P-T 0.53, RI-T/RI-T 0.01" in BY_KEY["features"].numbers
    assert "real 193.45 to 815.08" in BY_KEY["distance"].numbers
    assert "quickdraw ends 67 and 66.8, between them 67.2" in BY_KEY["basin"].numbers
    assert "quickdraw ends 64 and 64, between them 16.3" in BY_KEY["barrier-init"].numbers
    assert "quickdraw 10.8 to 0.7" in BY_KEY["permuted"].numbers


@pytest.mark.parametrize(
    ("low", "high", "basis", "doubt", "verdict"),
    [
        (0.01, 0.2, "seeds", "", "reproduced"),
        (0.01, 0.2, "examples", "", "reproduced"),
        (-0.2, -0.01, "seeds", "", "not reproduced"),
        (-0.1, 0.2, "seeds", "", "undecided"),
        (0.0, 0.2, "seeds", "", "undecided"),  # the margin itself decides nothing
        (0.01, 0.2, "range", "", "undecided"),
        (None, None, None, "", "undecided"),
        (0.01, 0.2, "seeds", "RI-T is still improving", "undecided"),
    ],
)
def test_only_the_whole_interval_decides(low, high, basis, doubt, verdict):
    def test(tables):
        return Measurement("x", 0.1, low, high, basis, 3, doubt=doubt)

    claim = Claim("x", "x", "Fig. 0", "", (), "above", 0, test)
    assert judge(claim, {})[0] == verdict
    other = {"reproduced": "not reproduced", "not reproduced": "reproduced"}
    below = Claim("x", "x", "Fig. 0", "", (), "below", 0, test)
    assert judge(below, {})[0] == other.get(verdict, verdict)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.key)
def test_what_was_not_measured_is_said(claim):
    assert judge(claim, {}) == ("not measured", None)


def test_the_final_gap_is_that_to_the_longest_ri_t_and_needs_one_that_has_ended():
    claim, short = BY_KEY["final"], numbers(FINAL_GAP, "RI_T", 0.2, 0.1, 0.3)
    both = pl.concat([short, numbers(FINAL_GAP, "RI_T_long", -0.2, -0.3, -0.1)])
    rising = curves(improving=True)
    tables = {"learning_curves": pl.concat([rising, curves("RI_T_long")]), "learning_curves-numbers": both}
    verdict, tested = judge(claim, tables)
    assert verdict == "not reproduced"
    assert tested.what == "final test metric, P-T − RI-T trained longer"
    tables = {"learning_curves": curves(), "learning_curves-numbers": short}
    assert judge(claim, tables)[0] == "reproduced"
    tables["learning_curves"] = rising
    verdict, tested = judge(claim, tables)
    assert (verdict, tested.doubt) == ("undecided", "RI-T is still improving")
    tables["learning_curves"] = curves(improving=None)
    verdict, tested = judge(claim, tables)
    assert verdict == "undecided"
    assert "too few epochs" in tested.doubt


def test_speed():
    table = numbers(SPEED_GAP, "RI_T", 0.1, 0.05, 0.15)
    assert judge(BY_KEY["speed"], {"learning_curves-numbers": table})[0] == "reproduced"
    assert judge(BY_KEY["speed"], {"learning_curves-numbers": numbers("another", "RI_T", 1, 1, 1)})[0] == "not measured"


def test_ablations_are_read_at_the_smallest_blocks_and_at_all_values():
    gaps = {48: (0.3, 0, 0.2), 12: (0.2, -0.1, 0.2), 8: (0.1, -0.2, 0.2), 1: (-0.1, -0.4, 0), "*": (-0.1, -0.4, 0.1)}
    tables = {"block_shuffle": ablations(gaps)}
    found = {key: judge(BY_KEY[key], tables) for key in ("blocks", "shapes", "permuted", "permuted-speed")}
    assert [verdict for verdict, _ in found.values()] == ["reproduced", "reproduced", "not reproduced", "reproduced"]
    assert found["blocks"][1].value == 0.1
    assert found["shapes"][1].value == -0.2
    assert found["permuted"][1].value == -0.1
    assert found["permuted-speed"][1].what.startswith("block *: optimisation speed")
    only_pixels = {"block_shuffle": ablations({48: (0.3, 0, 0.2), 1: (0.1, 0, 0.2)})}
    assert judge(BY_KEY["blocks"], only_pixels)[0] == "not measured"
    assert judge(BY_KEY["permuted"], only_pixels)[0] == "not measured"


def test_no_claim_on_a_final_gap_while_ri_t_is_improving_but_on_speed():
    gaps = {48: (0.3, 0, 0.2), 8: (0.1, -0.2, 0.2), "*": (0.1, -0.2, 0.2)}
    for improving, doubt in ((True, "RI-T is still improving"), (None, "RI-T has too few epochs")):
        tables = {"block_shuffle": ablations(gaps, improving=improving)}
        for key in ("blocks", "shapes", "permuted"):
            verdict, tested = judge(BY_KEY[key], tables)
            assert verdict == "undecided"
            assert tested.doubt.startswith(doubt)
        assert judge(BY_KEY["permuted-speed"], tables)[0] == "reproduced"
    # A change of the gap rests on whole images as well.
    table = ablations(gaps).with_columns(improving=pl.col("place") == 0)
    assert judge(BY_KEY["shapes"], {"block_shuffle": table})[0] == "undecided"
    assert judge(BY_KEY["blocks"], {"block_shuffle": table})[0] == "reproduced"


def test_pairs_are_compared_seed_by_seed_and_seeds_are_left_out():
    table = pairs({"P_T": 0.8, "RI_T": 0.5}, across=0.4, start=0.7)
    verdict, tested = judge(BY_KEY["features"], {"similarity": table})
    expected = seed_pairs_interval(dict.fromkeys(((0, 1), (0, 2), (1, 2)), 0.3))
    assert verdict == "reproduced"
    assert (tested.value, tested.n, tested.basis) == (pytest.approx(expected.value), 3, "seeds")
    verdict, tested = judge(BY_KEY["features-kept"], {"similarity": table})
    expected = seeds_interval([0.3, 0.28, 0.26])
    assert verdict == "reproduced"
    assert (tested.value, tested.low) == (pytest.approx(expected.value), pytest.approx(expected.low))
    swapped = pairs({"P_T": 0.5, "RI_T": 0.8}, across=0.7, start=0.4)
    assert judge(BY_KEY["features"], {"similarity": swapped})[0] == "not reproduced"
    assert judge(BY_KEY["features-kept"], {"similarity": swapped})[0] == "not reproduced"


def test_several_modules_of_a_pair_are_one_mean():
    table = pairs({"P_T": 0.8, "RI_T": 0.5})
    twice = pl.concat([table, table.with_columns(pl.col("cka") - 0.2), table.with_columns(cka=None)])
    assert judge(BY_KEY["features"], {"similarity": twice})[1].value == pytest.approx(0.3)


def test_mistakes_within_and_across():
    table = pairs({"P_T": 0.6, "RI_T": 0.4}, across=0.3, value="kappa").with_columns(level=pl.lit("all"))
    table = pl.concat([table, table.with_columns(level=pl.lit("within"), kappa=pl.lit(-1.0))])
    assert judge(BY_KEY["mistakes"], {"mistakes": table})[0] == "reproduced"
    verdict, tested = judge(BY_KEY["mistakes-across"], {"mistakes": table})
    wobbles = {(0, 1): -0.01 - 0.005, (0, 2): -0.01, (1, 2): 0.02 - 0.015}
    expected = seed_pairs_interval({seeds: 0.3 + wobble for seeds, wobble in wobbles.items()})
    assert verdict == "reproduced"
    assert (tested.value, tested.low) == (pytest.approx(expected.value), pytest.approx(expected.low))


def test_distances_of_trunks():
    table = pairs({"P_T": 7.0, "RI_T": 27.0}, value="distance").with_columns(position=-2)
    table = pl.concat([table, table.with_columns(position=0, distance=pl.lit(1.0))])
    assert judge(BY_KEY["distance"], {"distance": table})[0] == "reproduced"
    swapped = pairs({"P_T": 27.0, "RI_T": 7.0}, value="distance").with_columns(position=-2)
    assert judge(BY_KEY["distance"], {"distance": swapped})[0] == "not reproduced"


def test_a_seed_without_a_pair_is_left_out_and_two_seeds_are_undecided():
    table = pairs({"P_T": 0.8, "RI_T": 0.5}).filter((pl.col("seed_a") < 2) & (pl.col("seed_b") < 2))
    verdict, tested = judge(BY_KEY["features"], {"similarity": table})
    assert (verdict, tested.n) == ("undecided", 2)
    only = table.filter(pl.col("variant_a") != "RI_T")
    assert judge(BY_KEY["features"], {"similarity": only})[0] == "not measured"


@pytest.mark.parametrize(
    ("heights", "basin", "barrier"),
    [
        ((0.001,), "reproduced", "not reproduced"),
        ((0.1,), "not reproduced", "reproduced"),
        ((0.02,), "undecided", "undecided"),
        ((0.001, 0.1), "not reproduced", "reproduced"),  # the highest of two is judged
        ((0.0, 0.001, 0.002), "reproduced", "not reproduced"),  # three pairs: an interval over pairs
        ((0.1, None), "undecided", "undecided"),
    ],
)
def test_barriers(heights, basin, barrier):
    for key, pair, wanted in (
        ("basin", "P-T/P-T", basin),
        ("barrier-across", "P-T/RI-T", barrier),
        ("barrier-init", "RI-T/RI-T, same init", barrier),
    ):
        assert judge(BY_KEY[key], paths(barriers(pair, *heights)))[0] == wanted
    assert judge(BY_KEY["basin"], paths(barriers("P-T/RI-T", *heights)))[0] == "not measured"
    assert judge(BY_KEY["basin"], paths(barriers("P-T/P-T", None)))[0] == "not measured"
    trunk = barriers("P-T/P-T", *heights).with_columns(moved=pl.lit("trunk"))
    assert judge(BY_KEY["basin"], paths(trunk))[0] == "not measured"


def test_two_random_starts_may_have_no_barrier_and_that_is_a_finding():
    for height, verdict in ((0.001, "not reproduced"), (0.1, "reproduced")):
        rows = barriers("RI-T/RI-T", height)
        tables = {"path": pl.concat([rows, barriers(POSITIVE, 0.0, role="ruler")])}
        assert judge(BY_KEY["barrier"], tables)[0] == verdict


def test_without_a_ruler_that_holds_nothing_is_said_of_barriers():
    for known, keys in (((0.1, 0.3), ("basin", "barrier")), ((0.0, 0.0), ("basin",))):
        for key, pair in (("basin", "P-T/P-T"), ("barrier", "RI-T/RI-T")):
            tables = paths(barriers(pair, 0.001), known=known)
            verdict, tested = judge(BY_KEY[key], tables)
            assert (verdict == "undecided") == (key in keys)
            assert tested.doubt.startswith("the ruler does not hold (") == (key in keys)


def test_what_an_interval_over_pairs_counts():
    tested = judge(BY_KEY["basin"], paths(barriers("P-T/P-T", 0.0, 0.001, 0.002)))[1]
    assert (tested.basis, tested.n, tested.value) == ("seeds", 3, pytest.approx(0.001))
    shared = barriers("P-T/P-T", 0.0, 0.001, 0.002, seeds=((0, 1), (0, 2), (1, 2)))
    tested = judge(BY_KEY["basin"], paths(shared))[1]
    expected = seed_pairs_interval({(0, 1): 0.0, (0, 2): 0.001, (1, 2): 0.002}, bounds=MAGNITUDE)
    assert (tested.n, tested.low, tested.high) == (3, pytest.approx(expected.low), pytest.approx(expected.high))
    tested = judge(BY_KEY["basin"], paths(barriers("P-T/P-T", 0.0, 0.001)))[1]
    assert (tested.basis, tested.n) == ("examples", 400)
    assert tested.what.endswith("the highest of 2")
