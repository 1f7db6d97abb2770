"""docs/results.md is what the kept results give, and nothing in it stands without a command."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from tests.report.conftest import Run
from tests.report.synthetic import path_table
from tests.report.synthetic_align import align_table
from tests.report.synthetic_curve import curve_table
from tests.report.synthetic_module_paths import module_path_table, path_in_training_table
from tests.report.synthetic_planes import basin_table
from tools.results.claims import CLAIMS
from tools.results.collect_evidence import STUDY_BUDGET, collect
from tools.results.kept_results import KeptResults, kept_results, read_kept
from tools.results.results_barriers import barriers
from tools.results.results_pages import main, results_page, write_results_pages
from tools.results.results_study import judged, study_page
from transferscope.analyses.align.analysis import Align
from transferscope.analyses.basin.analysis import Basins
from transferscope.analyses.curve.analysis import CurveAnalysis
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.learning_rate.analysis import LearningRate, choose
from transferscope.analyses.module_path.analysis import ModulePath
from transferscope.analyses.path.analysis import Path as PathAnalysis
from transferscope.analyses.path_in_training.analysis import PathInTraining
from transferscope.errors import AnalysisError
from transferscope.report.numbers import basis_words, interval_words, minus_signs, value_words
from transferscope.study.columns import schema
from transferscope.study.file import load_study

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "docs" / "results"


@pytest.fixture(scope="module")
def results(finished: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs") / "results"
    collect(finished.folder, folder / "tiny", finished.study, "0123456789abcdef")
    return folder


@pytest.fixture(scope="module")
def tiny(results: Path) -> KeptResults:
    return read_kept(results / "tiny")


@pytest.fixture(scope="module")
def page(tiny: KeptResults) -> str:
    return results_page([tiny])


@pytest.fixture(scope="module")
def own_page(tiny: KeptResults) -> str:
    return study_page(tiny)


# -- the documentation as it is --------------------------------------------------------------------------


def test_the_documentation_is_what_the_kept_results_give() -> None:
    # python -m tools.results.results_pages docs/results docs/results.md writes it anew
    studies = kept_results(KEPT)
    assert (ROOT / "docs" / "results.md").read_text(encoding="utf-8") == results_page(studies)
    pages = {path.stem: path.read_text(encoding="utf-8") for path in KEPT.glob("*.md")}
    assert pages == {study.name: study_page(study) for study in studies}


def test_links_between_the_pages_lead_somewhere() -> None:
    for path in (ROOT / "docs" / "results.md", *KEPT.glob("*.md")):
        found = re.findall(r"\]\((?!https?:)([^)#]+)\)", path.read_text(encoding="utf-8"))
        assert found
        assert [link for link in found if not (path.parent / link).exists()] == []


def test_barriers_of_lines_matched_lines_and_curves_stand_side_by_side() -> None:
    """By key and coordinates alone, of whatever analysis."""
    estimates = {
        "path": PathAnalysis().summarise(path_table(), Evidence()).estimates,
        "align": Align().summarise(align_table(), Evidence()).estimates,
        "curve": CurveAnalysis().summarise(curve_table(pairs=3), Evidence()).estimates,
        "module_path": ModulePath().summarise(module_path_table(), Evidence()).estimates,
        "path_in_training": PathInTraining().summarise(path_in_training_table(), Evidence()).estimates,
        "basin": Basins().summarise(basin_table(), Evidence()).estimates,
    }
    found = barriers([KeptResults({"study": "tiny"}, "", {}, pl.DataFrame(), estimates, {})])
    rows = [tuple(line.strip("| ").split(" | ")) for line in found.splitlines()[2:]]
    link = "[tiny](results/tiny.md)"
    ways = ["straight line", "straight line, matched by activations", "straight line, matched by weights"]
    assert [row[1:3] for row in rows] == [
        *((pair, "straight line") for pair in ("P-T/P-T", "RI-T/RI-T")),
        *((pair, way) for pair in ("P-T/P-T", "RI-T/RI-T") for way in ways),
        *((pair, "trained curve") for pair in ("P-T/P-T", "RI-T/RI-T")),
    ]
    assert rows[3] == (link, "P-T/P-T", ways[1], "1.0 points", "0.9 to 1.1", "95 %, 656 images, one pair")
    assert rows[-1][3:] == (
        "1.5 points", "1.4 to 1.6", "95 %, 656 images, the largest of 3, with their outermost limits",
    )  # fmt: skip


def test_a_barrier_without_recomputed_batch_norm_says_so() -> None:
    table = path_table().with_columns(pl.lit("interpolate").alias("batch_norm"))
    estimates = PathAnalysis(batch_norm="interpolate").summarise(table, Evidence()).estimates
    found = barriers([KeptResults({"study": "tiny"}, "", {}, pl.DataFrame(), {"path": estimates}, {})])
    assert found.count("straight line, batch norm interpolated") == len(found.splitlines()) - 2 > 0
    assert barriers([]) == ""


def test_every_kept_study_is_one_of_the_examples_and_small() -> None:
    for study in kept_results(KEPT):
        folder = KEPT / study.name
        example = ROOT / "examples" / "studies" / study.manifest["study_file"]
        assert example.read_text(encoding="utf-8") == study.study_text
        assert sum(path.stat().st_size for path in folder.iterdir()) <= STUDY_BUDGET
        for path in folder.iterdir():
            assert not re.search(r"(?<![\w:/])/(tmp|home|work|root|Users)/", path.read_text(encoding="utf-8"))


def test_kept_studies_have_the_rates_that_their_rule_chooses() -> None:
    """They were decided by the best metric: their files say so, and the rule gives the rates of their tables."""
    columns = schema(LearningRate.columns)
    studies = kept_results(KEPT)
    for study in studies:
        asked = load_study(ROOT / "examples" / "studies" / study.manifest["study_file"])
        assert asked.training.rate_rule == "best"
        rates = study.tables["learning_rate"]
        assert rates.height == len(rates["learning_rate"].unique()) * 2 * len(asked.training.tuning_seeds)
        lacking = set(columns) - set(rates.columns)
        assert lacking <= {"validation_error", "spike_epoch", "spike_before", "spike_peak", "spike_back"}
        table = rates.with_columns(pl.lit(None, columns[name]).alias(name) for name in sorted(lacking))
        rows = study.headline.filter((pl.col("split") == "test") & pl.col("variant").is_in(["P_T", "RI_T"]))
        found = dict(rows.select("variant", "learning_rate").iter_rows())
        assert found == {variant: choose(table, variant) for variant in ("P_T", "RI_T")}
    assert len(studies) >= 15


# -- a page of a study that was run ----------------------------------------------------------------------


def test_every_study_begins_with_its_question_its_command_and_its_sizes(own_page: str, tiny: KeptResults) -> None:
    section = own_page
    assert section.startswith("# tiny\n")
    assert section.index("Squares of noise") < section.index("transferscope run examples/studies/tiny.yaml")
    assert '("\\*") permuted' in section
    images = ", ".join(f"{count} {split}" for split, count in tiny.manifest["examples"].items())
    assert f"{images}; 3 classes; seeds 0, 1, 2" in section
    assert f"- {tiny.manifest['trainings']} trainings, " in section
    assert "at 0123456789ab," in section
    assert section.index("transferscope run") < re.search(r"\d+\.\d", section).start()


def test_every_number_is_in_the_page_with_what_it_rests_on(own_page: str, tiny: KeptResults) -> None:
    page = own_page
    for item in tiny.summary["analyses"]:
        assert f"## {item['title']}\n" in page
        assert minus_signs(item["verdict"]) in page
    rows = [tuple(line.strip("| ").split(" | ")) for line in page.splitlines() if line.startswith("| ")]
    for items in tiny.estimates.values():
        for item in items:
            fixed = item.low is not None
            cells = (item.name, value_words(item.value, item.unit, fixed=fixed), interval_words(item))
            assert (*cells, basis_words(item.basis, item.n, short=True)) in {row[:4] for row in rows}, item
    (speed,) = (item for item in tiny.estimates["learning_curves"] if item.quantity == "speed_gap")
    assert (speed.basis, speed.n) == ("seeds", 3)


def test_a_real_study_measures_every_finding(page: str, own_page: str) -> None:
    """Rules read keys and coordinates of other modules: none may lose what it reads."""
    section = own_page[: own_page.index("\n## ")]
    for claim in CLAIMS:
        row = next(line for line in section.splitlines() if line.startswith(f"| {claim.sentence} |"))
        assert row.split(" | ")[1] in ("reproduced", "not reproduced", "undecided")
    findings = page[page.index("## The paper's findings") :]
    overview = next(line for line in findings.splitlines() if line.startswith("| [tiny](results/tiny.md) |"))
    cells = overview.strip("| ").split(" | ")[1:]
    assert len(cells) == len(CLAIMS)
    assert set(cells) <= {"yes", "**no**", "?"}
    assert section.count("| reproduced |") == cells.count("yes")
    against = page[page.index("## Where the paper's finding is not reproduced") :]
    assert against.count(": tiny, ") == cells.count("**no**") + cells.count("?")


def test_tables_hold_as_many_cells_as_heads(page: str, own_page: str) -> None:
    heads = 0
    for line in (*page.splitlines(), *own_page.splitlines()):
        if not line.startswith("|"):
            heads = 0
            continue
        count = len(re.findall(r"(?<!\\)\|", line))
        heads = heads or count
        assert count == heads, line


def test_several_studies_stand_in_the_order_of_their_names(results: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(results, tmp_path / "results")
    shutil.copytree(folder / "tiny", folder / "a")
    manifest = json.loads((folder / "a" / "manifest.json").read_text())
    (folder / "a" / "manifest.json").write_text(json.dumps({**manifest, "study": "a", "trainings_diverged": 2}))
    page = results_page(kept_results(folder))
    assert page.index("| [a](results/a.md) |") < page.index("| [tiny](results/tiny.md) |")
    assert "one of 2 studies" in page
    assert "- 2 of the trainings diverged" in study_page(read_kept(folder / "a"))


def test_a_page_of_no_study_has_no_finding() -> None:
    page = results_page([])
    assert "No study is finished yet." in page
    assert "## " not in page


def test_what_was_not_run_and_what_is_not_kept_is_said(results: Path, tmp_path: Path) -> None:
    study = read_kept(results / "tiny")
    analyses = [dict(item) for item in study.summary["analyses"]]
    analyses[1].update(skip_reason="there is no head", verdict=None)
    analyses[2].update(rows=9000, rows_kept=0)
    changed = KeptResults(
        study.manifest, study.study_text, {**study.summary, "analyses": analyses}, study.headline, study.estimates, {}
    )
    page = study_page(changed)
    assert "Not run: there is no head" in page
    assert "Its table of 9000 rows is too large to be kept here; the command above makes it." in page
    # Its tables are gone, its estimates are not: findings are judged by these alone.
    assert judged(changed) == judged(study)
    nothing = replace(changed, estimates={})
    overview = next(line for line in results_page([nothing]).splitlines()[::-1] if "(results/tiny.md)" in line)
    assert overview.strip("| ").split(" | ")[1:] == ["–"] * len(CLAIMS)


# -- what is not as it was collected ---------------------------------------------------------------------


def test_an_edited_number_is_refused(results: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(results / "tiny", tmp_path / "tiny")
    table = folder / "outcome.csv"
    table.write_text(table.read_text().replace("0.", "1.", 1))
    with pytest.raises(AnalysisError, match=r"tiny/outcome.csv is not what was collected"):
        read_kept(folder)


def test_a_file_too_few_or_too_many_is_refused(results: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(results / "tiny", tmp_path / "tiny")
    (folder / "more.csv").write_text("a\n1\n")
    with pytest.raises(AnalysisError, match="tiny does not hold the files of its manifest"):
        read_kept(folder)
    (folder / "more.csv").unlink()
    (folder / "path.csv").unlink()
    with pytest.raises(AnalysisError, match="tiny does not hold the files of its manifest"):
        read_kept(folder)


def test_the_command(results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "results.md"
    main([str(results), str(place)])
    assert capsys.readouterr().out.split() == [str(place), str(results / "tiny.md")]
    assert (results / "tiny.md").read_text(encoding="utf-8") == study_page(read_kept(results / "tiny"))
    assert place.read_text(encoding="utf-8") == results_page(kept_results(results))
    assert write_results_pages(tmp_path / "nothing", place) == [place]
    with pytest.raises(SystemExit, match="usage"):
        main([])
