"""Conditions of a gate: what they mean, and what they refuse."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transferscope.analyses.estimates import Estimate
from transferscope.errors import MeasureError, OptionError
from transferscope.files.comparison_estimates import DATA, WEIGHTS
from transferscope.files.fail_if import parse_condition

KEYS = {*WEIGHTS, *DATA}
ESTIMATES = (
    Estimate("churn", {}, 0.02, 0.01, 0.05, "examples", 100),
    Estimate("error_barrier", {}, 0.03, 0.0, 0.1, "examples", 100),
    Estimate("distance", {}, None, note="2 weights are NaN"),
    Estimate("relative_change", {}, 0.5),
    Estimate("module_cosine", {"module": "a"}, 0.9),
    Estimate("module_cosine", {"module": "b"}, 0.4),
    Estimate("module_cosine", {"module": "c"}, None, note="all weights are 0"),
    Estimate("module_distance", {"module": "a"}, 0.9),
    Estimate("module_distance", {"module": "b"}, None, note="NaN", flags=("diverged",)),
)


def holds(text: str) -> bool:
    return parse_condition(text, KEYS, {}).holds(ESTIMATES)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("error_barrier > 0.02 or churn > 0.01", True),
        ("error_barrier > 0.02 and churn > 0.03", False),
        ("not churn > 0.03", True),
        ("churn >= 0.02", True),
        ("churn != 0.02", False),
        ("0.01 < churn < 0.03", True),
        ("0.01 < churn < 0.015", False),
        ("-churn < -0.01 and churn * 2 + 1 - 0.04 / 2 == 1.02", True),
        ("churn_low > 0.01", False),
        ("churn_high > 0.04", True),
        ("min_module_cosine < 0.5", True),
        ("max_module_cosine < 0.5", False),
        # What is not defined decides nothing that does not rest on it.
        ("churn > 0.01 or distance > 1", True),
        ("churn > 0.03 and distance > 1", False),
        ("(churn > 0.01) or (1 < distance < 2)", True),
    ],
)
def test_what_conditions_mean(text: str, expected: bool) -> None:
    assert holds(text) is expected


@given(
    value=st.floats(-10, 10), limit=st.floats(-10, 10), other=st.floats(-10, 10),
    sign=st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), join=st.sampled_from(["and", "or"]),
)  # fmt: skip
def test_conditions_are_those_of_python(value: float, limit: float, other: float, sign: str, join: str) -> None:
    text = f"churn {sign} {limit!r} {join} not (churn + {other!r}) * 2 {sign} 1"
    found = parse_condition(text, KEYS, {}).holds([Estimate("churn", {}, value)])
    assert found is eval(text, {"churn": value})  # of our own text, to hold against


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "churn.__class__ > 0",
        "max(churn, 1) > 0",
        "churn ** 999999999 > 0",
        "9**9**9 > churn",
        "1e999 > churn",
        "9" * 400 + " > churn",
        "(lambda: churn)() > 0",
        "[churn][0] > 0",
        "churn > 0 if churn else 1 > 0",
        "churn > 'a'",
        "churn > 1j",
        "churn > True",
        "churn > None",
        "churn := 3",
        "churn > 0; churn",
        "churn",
        "churn + 1",
        "1",
        "churn > 0 > (churn > 1)",
        "churn > (churn > 1)",
        "not churn",
        "churn and churn > 1",
        "churn @ 2 > 0",
        "churn % 2 > 0",
        "churn // 2 > 0",
        "~churn > 0",
        "churn << 2 > 0",
        "churn in 3",
        "churn is 3",
        "f'{churn}' > 0",
        "*churn > 0",
        "",
        "   ",
        "churn >",
        "(" * 300 + "churn > 0" + ")" * 300,
        "not " * 200 + "churn > 0",
        "-" * 90 + "churn > 0",
        "churn > 0 or " * 200 + "churn > 0",
        "churn > 0\n and __import__",
        "churn\x00 > 0",
        "churn > 0 # " + "a" * 2000,
    ],
)
def test_what_is_no_condition_is_refused(text: str) -> None:
    with pytest.raises(OptionError, match=r"--fail-if") as caught:
        parse_condition(text, KEYS, {})
    assert len(str(caught.value)) < 700


@settings(max_examples=50)
@given(st.text(max_size=60))
def test_no_text_does_anything_else(text: str) -> None:
    try:
        condition = parse_condition(text, KEYS, {})
    except OptionError:
        return
    assert set(condition.names) <= {name for key in KEYS for name in (key, f"{key}_low", f"{key}_high")}


def test_unknown_keys_are_named_with_the_nearest() -> None:
    with pytest.raises(OptionError, match="nothing is called 'chrun'") as caught:
        holds("chrun > 0.1")
    assert "did you mean churn" in str(caught.value)
    with pytest.raises(OptionError, match="one number for each module") as caught:
        holds("module_cosine < 0.5")
    assert "max_module_cosine or min_module_cosine" in str(caught.value)
    with pytest.raises(OptionError, match="not measured here") as caught:
        parse_condition("error_barrier > 0.1", WEIGHTS, {"error_barrier": "--data PATH"})
    assert "give --data PATH" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("distance > 1", "2 weights are NaN"),
        ("not distance > 1", "2 weights are NaN"),
        ("churn > 0.1 or distance > 1", "distance"),
        ("max_module_distance > 1", "NaN"),
        ("relative_change_low > 0.1", "no limits"),
        ("nll_a > 1", "not measured: one reason"),
        ("1 / (churn - churn) > 0", "cannot be judged"),
        ("churn * 1e299 * 1e299 > 0", "cannot be judged"),
    ],
)
def test_a_gate_that_cannot_be_judged_does_not_pass(text: str, why: str) -> None:
    with pytest.raises(MeasureError, match="cannot be judged") as caught:
        parse_condition(text, KEYS, {}).holds(ESTIMATES, ["nll: not measured: one reason"])
    assert why in str(caught.value)
