"""One number is written in one way, figures and verdicts can be read, and prompts show no arrays."""

import random
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.report import synthetic
from tests.report.synthetic_outcome import outcome_result
from transferscope.analyses.learning_curves import plot as learning_curves
from transferscope.analyses.mistakes import plot as mistakes
from transferscope.analyses.outcome.analysis import gap_verdict
from transferscope.analyses.similarity import plot as similarity
from transferscope.measures.equivalence import noninferior
from transferscope.measures.intervals import Interval
from transferscope.methods.modules.choices_result import Change, ModuleChoice, ModuleChoices, Together
from transferscope.plots import theme
from transferscope.readable import readable
from transferscope.report import glossary
from transferscope.report.figures import figures
from transferscope.report.numbers import metric_words, points_words, span_words, value_words
from transferscope.report.render import render
from transferscope.report.sections import clauses, tidy
from transferscope.rounding import exact, rounded
from transferscope.study.registry import analysis_type

# -- numbers ----------------------------------------------------------------------------------------------------


@pytest.mark.kind("report")
@pytest.mark.parametrize("value", [0.1275, 0.1285, 0.0625, 0.4875, 0.0005, -0.1275, 0.33335])
def test_a_number_reached_in_two_ways_is_written_in_one(value: float) -> None:
    ways = {
        value,
        value + 1e-16,
        value - 1e-16,
        (value * 3) / 3,
        1 + value - 1,
        float(np.mean([value - 0.1, value + 0.1])),
    }
    assert len({points_words(way, "top1") for way in ways}) == 1
    assert len({metric_words(way, "auc") for way in ways}) == 1
    assert len({value_words(way, "metric", fixed=True) for way in ways}) == 1
    # As a share and in per cent the last digit is one.
    assert f"{exact(100 * value):.1f}" == f"{exact(value).scaleb(2):.1f}"


@pytest.mark.kind("report")
def test_the_verdict_and_the_headline_write_one_gap_alike() -> None:
    draw = random.Random(3)
    for _ in range(200):
        value = draw.randrange(-4000, 4000) / 8000
        gaps = pl.DataFrame({"variant": ["P_T − RI_T"], "metric": ["top1"], "value": [value], "low": [value - 0.01],
                             "high": [value + 0.01], "basis": ["examples"], "n": [400]})  # fmt: skip
        said = points_words(value, "top1").replace("−", "-").removesuffix(" points")
        assert f"is {said} points" in gap_verdict(gaps)


@pytest.mark.kind("report")
@pytest.mark.parametrize(
    ("said", "words"),
    [
        (points_words(-0.0001, "top1"), "+0.0 points"),
        (metric_words(-0.0001, "auc"), "0.000"),
        (value_words(1 / 300, "rate"), "0.00333"),
        (value_words(0.3333333, "rate"), "0.333"),
        (rounded(3.33e6), "3,330,000"),
        (rounded(255000.0), "255,000"),
        (span_words("75.6\u00a0%", "78.0\u00a0%"), "75.6 to 78.0\u00a0%"),
    ],
)
def test_no_digit_or_sign_that_says_nothing(said: str, words: str) -> None:
    assert said == words


# -- verdicts and words -----------------------------------------------------------------------------------------


@pytest.mark.kind("report")
def test_a_long_verdict_is_a_line_and_a_list() -> None:
    long = "Undecided, for this holds (a; b. C): " + "; ".join(
        f"pair {k} has a barrier of {k}.5 points here" for k in range(9)
    )
    parts = clauses(f"{long}. A last one.")
    assert parts[0].endswith("pair 0 has a barrier of 0.5 points here")
    assert parts[-1] == "A last one."
    assert max(len(part.split()) for part in parts) < 20
    assert clauses("Short; and whole.") == ["Short; and whole."]


@pytest.mark.kind("report")
def test_terms_lead_to_the_glossary_once() -> None:
    text = glossary.linked(tidy("A barrier, a <barrier>, error consistency κ and P-T[0]; undecided."))
    assert text.count("<a ") == 3
    anchors = {anchor for anchor, _, _ in glossary.terms()}
    assert len(anchors) == len(glossary.GLOSSARY)
    assert set(re.findall(r'href="#([^"]+)"', text)) <= anchors
    assert "&lt;" in text


# -- figures ----------------------------------------------------------------------------------------------------


@pytest.mark.kind("report")
@pytest.mark.parametrize("name", sorted(synthetic.TABLES))
def test_captions_hold_where_panels_are_stacked(name: str) -> None:
    for figure in figures(analysis_type(name), synthetic.TABLES[name](), "top1"):
        assert not re.search(r"\b(left|right)\b\s*[:;,]|\b(left|right) (panel|picture)", figure.caption, re.IGNORECASE)


@pytest.mark.kind("report")
def test_a_colour_means_one_thing() -> None:
    pairs = ("P-T/RI-T", "P/RI-T", "RI/P-T")
    tints = [theme.colour(name) for name in (*theme.VARIANTS, *pairs)] + list(theme.OTHERS)
    assert len({tint.lower() for tint in tints}) == len(tints)
    assert {theme.colour(f"P_T_block_{side}") for side in (2, 4, 8, 16)} == set(theme.OTHERS)


@pytest.mark.kind("report")
def test_maps_of_many_modules_have_few_and_readable_names() -> None:
    table = synthetic.similarity_table((0,), [f"blocks.{k}" for k in range(42)])
    maps = next(figure for figure in similarity.figures(table) if figure.name == "maps")
    for panel in maps.panels:
        encoding = panel.to_dict()["encoding"]
        for channel in ("x", "y"):
            axis = encoding[channel]["axis"]
            assert len(axis["values"]) <= 8
            assert axis["labelFontSize"] >= 11
            assert (axis["values"][0], axis["values"][-1]) == ("blocks.0", "blocks.41")


@pytest.mark.kind("report")
@pytest.mark.parametrize(("spike", "kind"), [(1.0, "linear"), (22.0, "log"), (1e6, "log")])
def test_a_loss_spike_does_not_flatten_the_curves(spike: float, kind: str) -> None:
    at = (pl.col("variant") == "RI_T") & (pl.col("seed") == 0) & (pl.col("epoch") == 4)
    table = synthetic.learning_curves_table().with_columns(
        test_loss=pl.when(at).then(spike).otherwise(pl.col("test_loss"))
    )
    figure = learning_curves.figures(table)[0]
    scales = [panel.to_dict()["layer"][0]["encoding"]["y"]["scale"] for panel in figure.panels]
    assert [scale.get("type", "linear") for scale in scales] == ["linear", "linear", kind, kind]
    assert ("logarithmic" in figure.caption) == (kind == "log")
    low, high = scales[-1]["domain"]
    assert high > spike if kind == "log" else high >= 1
    assert low >= 0
    zero = table.with_columns(train_loss=pl.when(at).then(0.0).otherwise(pl.col("train_loss")))
    assert "logarithmic" not in learning_curves.figures(zero)[0].caption, "0 has no logarithm"


@pytest.mark.kind("report")
def test_intervals_of_classes_end_within_the_frame() -> None:
    figure = next(found for found in mistakes.figures(synthetic.TABLES["mistakes"]()) if found.name == "classes")
    layers = figure.panels[0].to_dict()["layer"]
    low, high = next(layer for layer in layers if layer["mark"]["type"] == "circle")["encoding"]["x"]["scale"]["domain"]
    rows = synthetic.TABLES["mistakes"]().filter(level="recall", basis="examples")
    assert low < 100 * min(rows["low"])
    assert high > 100 * max(rows["high"])


# -- the page ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def page() -> str:
    return render(synthetic.results(analyses=(outcome_result(), synthetic.result("learning_rate"))))


@pytest.mark.kind("report")
def test_the_page_has_lasting_contents_and_a_dark_mode(page: str) -> None:
    assert "prefers-color-scheme: dark" in page
    assert '<meta name="color-scheme" content="light dark">' in page
    (nav,) = re.findall(r"<nav.*?</nav>", page, re.DOTALL)
    targets = re.findall(r'href="#([^"]+)"', nav)
    assert targets[:3] == ["next", "headline", "classes"]
    assert targets.index("outcome") < targets.index("learning_rate")
    assert all(f'id="{target}"' in page for target in targets)
    assert re.search(r"nav \{ position: sticky", page)


@pytest.mark.kind("report")
def test_one_verdict_stands_once_and_ranges_are_called_so() -> None:
    outcome = outcome_result()
    assert outcome.summary is not None
    text = render(synthetic.results(analyses=(outcome,), verdict=outcome.summary.verdict))
    assert text.count("This pre-training helps") == 1
    rates = render(synthetic.results(analyses=(synthetic.result("learning_rate"),)))
    assert "interval or range" in rates
    assert ">95 % interval<" not in rates


@pytest.mark.kind("C3")
def test_classes_stand_near_the_top_with_their_matrices(page: str) -> None:
    assert page.index('id="classes"') < page.index('class="analysis"')
    assert page.count('class="confusion"') == 2
    for words in ("P-T recall", "P-T precision", "RI-T recall", "RI-T precision", "defective"):
        assert words in page


# -- prompts ----------------------------------------------------------------------------------------------------


@readable
@dataclass(frozen=True)
class Found:
    values: Any
    name: str = "x" * 400


@pytest.mark.kind("report")
@pytest.mark.parametrize(
    "values",
    [np.zeros((90, 90)), tuple(range(5000)), {f"layer{k}": np.zeros(9) for k in range(300)}, [np.zeros(9)] * 50,
     pl.DataFrame({"a": range(99)}), np.ma.masked_all((40, 40)), 0.1234567890123, None, (1.0, 2.0)],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_a_prompt_shows_a_line_and_no_array(values: Any) -> None:
    found = Found(values)
    assert len(repr(found)) < 250
    assert "\n" not in repr(found)
    html = found._repr_html_()  # type: ignore[attr-defined]  # given by the decorator
    assert html.startswith("<table>")
    assert len(html) < 500


@pytest.mark.kind("report")
@pytest.mark.parametrize(
    "name",
    [
        "methods.alignment.align.Aligned",
        "methods.averaging.advice_result.AverageAdvice",
        "methods.landscape.basin.NetworkBasin",
        "methods.similarity.cka_result.CkaResult",
        "methods.compare.comparison.Comparison",
        "methods.landscape.curve.CurvePath",
        "methods.domains.distance.DomainComparison",
        "methods.landscape.hessian.Hessian",
        "methods.landscape.linear_path.LinearPath",
        "methods.modules.choices_result.ModuleChoices",
        "methods.modules.criticality.CriticalityResult",
        "methods.modules.paths.ModuleLines",
        "methods.modules.rewind.Rewinding",
        "methods.spectra.NetworkSpectra",
        "methods.landscape.plane.Plane",
        "methods.landscape.radius_curves.RadiusCurves",
    ],
)
def test_every_public_result_is_readable(name: str) -> None:
    import importlib

    module, _, kind = name.rpartition(".")
    assert hasattr(getattr(importlib.import_module(f"transferscope.{module}"), kind), "_repr_html_")


@pytest.mark.kind("report")
def test_a_gain_of_a_module_is_no_negative_loss() -> None:
    def change(loss: float) -> Change:
        judged = noninferior(Interval(loss, loss - 0.01, loss + 0.01, 200, "examples", 0.9))
        return Change(loss, judged, unchanged=False)

    module = ModuleChoice("stem", 800, 1.0, 0.1, change(-0.05), change(0.2), 3.33e6, 0.5)
    together = Together(("stem",), 800, change(-0.05))
    found = ModuleChoices((module,), together, Together((), 0, None), "top1", 0.8, (100, 200), 9000, 0.005, 0.1, "none")
    assert "+0.050 (+0.040 to +0.060) no loss" in found.text
    assert "-0.200 (-0.210 to -0.190) a loss" in found.text
    assert "top1 on test changes by +0.0500 (+0.0400 to +0.0600)" in found.text
    assert "3,330,000 (σ 0.5)" in found.text
    assert "e+0" not in found.text
    assert "lost -" not in found.text
    assert found._repr_html_() == "<pre>" + found.text + "</pre>"  # type: ignore[attr-defined]
