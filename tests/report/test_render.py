import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import polars as pl
import pytest

from tests.report import synthetic
from transferscope.analyses.estimates import Estimate
from transferscope.analyses.summary import Summary
from transferscope.errors import AnalysisError, StoreError
from transferscope.report.render import render, write_report
from transferscope.report.sections import CSV_BUDGET, ROWS
from transferscope.running.results import AnalysisResult, Results

LOST = Estimate("gap", {"variant": "P_T", "rival": "RI_T"}, None, name="P-T − RI-T", note="every run diverged")
EVIL = "<script>alert('x')</script>"
LOST = Estimate("gap", {"variant": "P_T", "rival": "RI_T"}, None, name="P-T − RI-T", note="every run diverged")


@pytest.fixture(scope="module")
def page(whole_report: Path) -> str:
    return whole_report.read_text(encoding="utf-8")


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def small(**changes: object) -> Results:
    """Results with one analysis, which renders fast."""
    only = synthetic.result("learning_rate")
    return replace(synthetic.results(analyses=(only,)), **changes)  # type: ignore[arg-type]  # any field


def test_report_answers_first(page: str) -> None:
    order = ["Fine-tuning beats training from scratch", "<strong>Ship ", "Pre-training helps", ">Contents<",
             ">What to do</h2>", ">Four networks, one test</h2>", ">Learning rate</h2>", ">Glossary</h2>",
             ">Settings</h2>", ">Manifest</h2>"]  # fmt: skip
    places = [page.index(words) for words in order]
    assert places == sorted(places)
    for words in ("84.9\u00a0%", "76.8\u00a0%", "+8.1 points", "95 % interval over 3 seeds: training in general",
                  "95 % interval over 656 test images: these trained networks"):  # fmt: skip
        assert words in page


def test_every_analysis_has_verdict_figure_numbers_card_table_and_settings(page: str) -> None:
    sections = re.findall(r'<section id="\w+" class="analysis".*?</section>', page, re.DOTALL)
    assert len(sections) == len(synthetic.TABLES)
    for text in sections:
        for part in ('class="verdict"', "<figure", "<svg", 'class="numbers"', 'class="card"', 'class="rows"',
                     'class="settings"', "When not to trust"):  # fmt: skip
            assert part in text


def test_nothing_is_loaded_from_elsewhere(page: str) -> None:
    tags = Tags(page).found
    policy = next(item["content"] for tag, item in tags if item.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert "default-src 'none'" in policy
    assert "unsafe-eval" not in policy
    assert "script-src 'sha256-" in policy
    for tag, attributes in tags:
        assert tag not in ("iframe", "object", "embed", "form")
        assert tag == "img" or "src" not in attributes
        assert str(attributes.get("src", "data:")).startswith("data:")
        target = attributes.get("href") or attributes.get("xlink:href") or "#"
        if target.startswith("http"):
            assert tag == "a"
        else:
            assert target.startswith(("#", "data:"))
    assert "@import" not in page
    assert "url(http" not in page


def test_ids_are_unique_and_links_lead_somewhere(page: str) -> None:
    tags = Tags(page).found
    ids = [item["id"] for _, item in tags if "id" in item]
    assert len(set(ids)) == len(ids)
    inner = {str(item["href"])[1:] for tag, item in tags if tag == "a" and str(item.get("href")).startswith("#")}
    assert inner <= set(ids)


def test_pictures_have_words_and_tables_have_headers(page: str) -> None:
    tags = Tags(page).found
    assert all(item.get("aria-label") for _, item in tags if item.get("role") == "img")
    assert all(item.get("scope") in ("col", "row") for tag, item in tags if tag == "th")
    assert ("html", {"lang": "en"}) in tags
    assert {"main", "nav", "header", "footer"} <= {tag for tag, _ in tags}


def test_whatever_users_write_is_escaped() -> None:
    table = synthetic.mistakes_table((0, 1)).with_columns(
        pl.when(pl.col("level") == "class").then(pl.lit(EVIL)).otherwise(pl.col("item")).alias("item")
    )
    evil = synthetic.result("mistakes", table)
    assert evil.summary
    evil = replace(
        evil, summary=Summary(EVIL, (Estimate("kappa", {"pair": EVIL}, 0.5, name=EVIL, note=EVIL),), (EVIL,)),
    )  # fmt: skip
    modules = synthetic.similarity_table((0,), ["a", EVIL, '"><b>'])
    board = synthetic.headline().with_columns(pl.lit(EVIL).alias("note"))
    gone = AnalysisResult(synthetic.analysis("path"), None, {}, None, EVIL)
    text = render(
        synthetic.results(
            analyses=(evil, synthetic.result("similarity", modules), gone),
            headline=board,
            verdict=EVIL,
            manifest={**synthetic.MANIFEST, "mixed": [EVIL], "device": EVIL, "data": {"classes": [EVIL]}},
            gap=(Estimate("gap", {"variant": EVIL, "rival": EVIL}, 0.1, name=EVIL, note=EVIL),),
        )
    )
    assert text.count("<script") == 1
    assert "alert(" in text
    assert '<b>"' not in text
    assert '"><b>' not in text


def test_tables_are_cut_for_the_page_and_the_whole_is_named(page: str) -> None:
    section = re.search(r'<section id="similarity".*?</section>', page, re.DOTALL)
    assert section
    assert section.group(0).count("<tr><td") == ROWS
    assert "tables/similarity.csv" in section.group(0)
    assert "data:text/csv" not in section.group(0)  # above the budget
    assert synthetic.similarity_table().estimated_size() > CSV_BUDGET
    assert page.count("data:text/csv") >= 3


def test_mixed_conditions_come_before_the_numbers() -> None:
    text = render(small(manifest={**synthetic.MANIFEST, "mixed": ["devices: cpu, cuda"]}))
    assert text.index("devices: cpu, cuda") < text.index("Four networks")
    assert "mixes conditions" not in render(small())


def test_inapplicable_analysis_gives_its_reason() -> None:
    gone = AnalysisResult(synthetic.analysis("path"), None, {}, None, "a path needs two seeds; this study has one")
    text = render(synthetic.results(analyses=(gone,)))
    assert "a path needs two seeds" in text
    assert "Not answered here: Paths between solutions" in text


def test_everything_diverged_renders_with_the_reason() -> None:
    lost = Summary("Undecided: every run diverged.", (LOST,))
    analyses = (
        replace(synthetic.result("learning_rate", synthetic.learning_rate_table(diverge=True)), summary=lost),
        replace(synthetic.result("learning_curves", synthetic.learning_curves_table(diverge="all")), summary=lost),
        replace(synthetic.result("path", synthetic.path_table().clear()), summary=lost),
    )
    board = synthetic.headline().with_columns(
        pl.lit(None, pl.Float64).alias(name) for name in ("value", "low", "high", "learning_rate")
    )
    text = render(
        synthetic.results(
            analyses=analyses, headline=board, verdict="Undecided: every run diverged.",
            gap=(LOST,),
        )
    )  # fmt: skip
    assert "There is nothing to draw" in text
    assert "The table has no rows" in text
    assert "no interval" in text
    assert "nan" not in re.sub(r"data:[^\"]*", "", text).lower().split()
    assert "Train at least one finished pair" in text


def test_one_seed_speaks_of_these_networks_only() -> None:
    analyses = tuple(
        synthetic.result(name, make((0,)))
        for name, make in (("learning_curves", synthetic.learning_curves_table), ("mistakes", synthetic.mistakes_table),
                           ("distance", synthetic.distance_table), ("path", synthetic.path_table))
    )  # fmt: skip
    text = render(
        synthetic.results(
            study=synthetic.study((), seeds=(0,)), analyses=analyses, headline=synthetic.headline(1),
            gap=(synthetic.gap(0.08, 0.05, 0.11, "examples", 656),),
        )
    )  # fmt: skip
    assert "95 %, 656 images" in text
    assert "speaks for these trained networks only" in text


def test_two_analyses_of_one_kind_have_two_names() -> None:
    first = synthetic.result("learning_rate")
    text = render(synthetic.results(analyses=(first, first)))
    assert 'id="learning_rate"' in text
    assert 'id="learning_rate-2"' in text


def test_write_report_leaves_whole_files_only(tmp_path: Path) -> None:
    item = replace(synthetic.result("learning_rate"), files={"thumb.bin": b"\x00\x01"})
    results = synthetic.results(analyses=(item,))
    place = write_report(results, tmp_path / "out")
    assert place == tmp_path / "out" / "report.html"
    names = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert names == {
        "report.html", "results.json", "files/learning_rate/thumb.bin",
        "figures/learning_rate-rates.svg", "figures/learning_rate-rates.png",
        *(f"tables/{stem}.{kind}" for stem in ("headline", "learning_rate", "estimates")
          for kind in ("csv", "tex", "parquet")),
    }  # fmt: skip
    assert item.table is not None
    assert pl.read_parquet(tmp_path / "out/tables/learning_rate.parquet").equals(item.table)
    assert pl.read_csv(tmp_path / "out/tables/learning_rate.csv").height == item.table.height
    first = place.read_bytes()
    assert write_report(results, tmp_path / "out").read_bytes() == first


def test_a_file_outside_of_its_folder_is_refused(tmp_path: Path) -> None:
    item = replace(synthetic.result("learning_rate"), files={"../escape": b"x"})
    with pytest.raises(AnalysisError, match="unusable name"):
        write_report(synthetic.results(analyses=(item,)), tmp_path)
    assert not (tmp_path.parent / "escape").exists()


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "report.html").write_text("old")
    monkeypatch.setattr("transferscope.report.render._page", lambda results, drawn: "\ud800")  # cannot be encoded
    with pytest.raises(UnicodeEncodeError):
        write_report(small(), tmp_path)
    assert (tmp_path / "report.html").read_text() == "old"

    def full(source: object, target: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(StoreError, match="No space left"):
        write_report(small(), tmp_path / "new")
    assert not [path for path in (tmp_path / "new").rglob("*") if path.is_file()]
