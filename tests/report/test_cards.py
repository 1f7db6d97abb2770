from pathlib import Path

import polars as pl
import pytest

from tools.analysis_pages import page, write_pages
from transferscope.errors import AnalysisError
from transferscope.report.cards import SECTIONS, card, html, parse
from transferscope.report.glossary import GLOSSARY
from transferscope.report.latex import escape, latex
from transferscope.study.registry import BUILT_IN, analysis_type

DOCS = Path(__file__).parents[2] / "docs" / "analyses"


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_every_analysis_has_a_card(name: str) -> None:
    found = card(analysis_type(name))
    assert found is not None
    assert tuple(found.sections) == SECTIONS
    assert all(len(text) > 20 for text in found.sections.values())
    assert "https://" in found.sections["Reference"]
    assert found.sections["Question"] == analysis_type(name).question


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_every_analysis_has_its_page(name: str) -> None:
    # python -m tools.analysis_pages docs/analyses writes them anew
    assert (DOCS / f"{name}.md").read_text(encoding="utf-8") == page(analysis_type(name))


def test_pages_are_written_where_asked(tmp_path: Path) -> None:
    assert [path.stem for path in write_pages(tmp_path / "new")] == list(BUILT_IN)


def test_a_page_needs_a_card() -> None:
    class Odd:
        name = "odd"

    with pytest.raises(AnalysisError, match="no method card"):
        page(Odd)  # type: ignore[arg-type]  # only its name is read


def test_an_analysis_with_nothing_beside_it_has_no_card() -> None:
    class Odd:
        name = "odd"

    assert card(Odd) is None  # type: ignore[arg-type]  # only its name and its module are read


def test_card_without_its_sections_is_named() -> None:
    with pytest.raises(AnalysisError, match="does not have its sections"):
        parse("odd", "## Question\n\nWhy?\n")


def test_html_of_cards() -> None:
    text = html(
        "One `a<b>` **two**\nlines.\n\n    x_{i} = y^{2}\n    z\n\n- first *one*\n  goes on\n- second\n\nhttps://a.org/b."
    )
    assert "<code>a&lt;b&gt;</code> <strong>two</strong> lines." in text
    assert '<div class="equation">x<sub>i</sub> = y<sup>2</sup><br>z</div>' in text
    assert "<ul><li>first <em>one</em> goes on</li><li>second</li></ul>" in text
    assert '<a href="https://a.org/b" rel="noreferrer">https://a.org/b</a>.' in text


def test_a_section_may_begin_with_an_equation() -> None:
    found = card(analysis_type("path"))
    assert found is not None
    assert dict(found.html())["Definition"].startswith('<div class="equation">θ(α) = ')


def test_glossary_explains_the_words_of_the_report() -> None:
    for word in (
        "barrier",
        "basin",
        "CKA",
        "connectivity",
        "optimisation speed",
        "undecided",
        "RI",
        "P",
        "RI-T",
        "P-T",
    ):
        assert word in GLOSSARY


def test_latex_is_escaped_aligned_and_marks_nulls() -> None:
    table = pl.DataFrame({"name_a": ["50 % & more", "x~y^2\\z"], "value": [0.51234, None], "n": [3, -12000]})
    text = latex(table, "A caption with 5 %", "tab:a")
    assert r"\begin{tabular}{@{}lrr@{}}" in text
    assert r"name\_a & value & n \\" in text
    assert r"50 \% \& more & 0.512 & 3 \\" in text
    assert r"x\textasciitilde{}y\textasciicircum{}2\textbackslash{}z & -- & $-$12\,000 \\" in text
    assert r"\caption{A caption with 5 \%}" in text
    assert text.count(r"\midrule") == 1


def test_long_tables_may_break() -> None:
    text = latex(pl.DataFrame({"a": list(range(80))}), "c")
    assert r"\begin{longtable}" in text
    assert r"\endhead" in text
    assert latex(pl.DataFrame({"a": [1]}), long_from=1).count(r"\caption") == 0


def test_escape_keeps_plain_text() -> None:
    assert escape("P-T 0.5") == "P-T 0.5"
