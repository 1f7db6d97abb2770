"""What is kept of a finished study: small, of no machine, and only if it is what the published file asks for."""

import hashlib
import json
import re
import shutil
from pathlib import Path

import polars as pl
import pytest

from tests.report import synthetic
from tests.report.conftest import Run
from tools.results import collect_evidence
from tools.results.collect_evidence import STUDY_BUDGET, collect, main
from tools.results.evidence_tables import BUDGET, ESTIMATES, small_table, table_bytes
from tools.results.kept_results import read_kept
from transferscope.analyses.contract import checked
from transferscope.errors import AnalysisError, StudyError
from transferscope.report.results_file import results_as_json
from transferscope.report.sections import slugs


@pytest.fixture(scope="module")
def kept(finished: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return collect(finished.folder, tmp_path_factory.mktemp("results") / "tiny", finished.study, "0123abcd").parent


def test_every_kept_file_has_its_hash_and_nothing_else_is_kept(kept: Path) -> None:
    manifest = json.loads((kept / "manifest.json").read_text())
    assert {path.name for path in kept.iterdir()} == {*manifest["files"], "manifest.json"}
    for name, digest in manifest["files"].items():
        assert hashlib.sha256((kept / name).read_bytes()).hexdigest() == digest
    names = ("outcome", "learning_curves", "block_shuffle", "mistakes", "similarity", "distance", "path")
    assert {f"{name}.csv" for name in (*names, ESTIMATES)} <= set(manifest["files"])
    assert {"study.yaml", "summary.json", "headline.csv"} <= set(manifest["files"])


def test_the_manifest_says_with_what_it_was_made(kept: Path, finished: Run) -> None:
    manifest = json.loads((kept / "manifest.json").read_text())
    results = json.loads((finished.folder / "results.json").read_text())
    assert manifest["study_key"] == results["study"]["key"]
    assert manifest["program"] == {"version": results["manifest"]["versions"]["transferscope"], "commit": "0123abcd"}
    assert manifest["versions"]["torch"] == results["manifest"]["versions"]["torch"]
    assert manifest["trainings"] == len(results["manifest"]["networks"])
    seconds = sum(network["seconds"] for network in results["manifest"]["networks"])
    assert manifest["training_minutes"] == pytest.approx(seconds / 60, abs=0.05)
    assert manifest["machine"]["processor"]
    assert (kept / "study.yaml").read_bytes() == finished.study.read_bytes()


def test_nothing_kept_names_a_place_on_this_machine(kept: Path, finished: Run) -> None:
    for path in kept.iterdir():
        text = path.read_text(encoding="utf-8")
        assert str(finished.folder.parent) not in text
        assert not re.search(r"/(tmp|home|work|root|Users)/", text)


def test_kept_numbers_are_those_of_the_report(kept: Path, finished: Run) -> None:
    study = read_kept(kept)
    results = json.loads((finished.folder / "results.json").read_text())
    limits = ("value", "low", "high", "simultaneous_low", "simultaneous_high")
    assert set(study.estimates) == {item["slug"] for item in results["analyses"] if item["estimates"]}
    for item in results["analyses"]:
        for number, theirs in zip(study.estimates.get(item["slug"], ()), item["estimates"], strict=True):
            mine = {**vars(number), "flags": list(number.flags)}
            theirs["at"] = {name: str(value) for name, value in theirs["at"].items()}  # a table has one type
            for name in limits:
                theirs[name] = None if theirs[name] is None else pytest.approx(theirs[name], rel=1e-5)
            assert mine == theirs
    assert study.summary["verdict"] == results["verdict"]


def test_collecting_again_replaces_and_gives_the_same_bytes(kept: Path, finished: Run, tmp_path: Path) -> None:
    again = shutil.copytree(kept, tmp_path / "again")
    (again / "left-over.csv").write_text("a\n1\n")
    collect(finished.folder, again, finished.study, "0123abcd")
    assert {path.name: path.read_bytes() for path in again.iterdir()} == {
        path.name: path.read_bytes() for path in kept.iterdir()
    }


def test_another_study_file_is_refused(finished: Run, tmp_path: Path) -> None:
    other = finished.study.with_name("other.yaml")
    other.write_text(finished.study.read_text().replace("seeds: [0, 1, 2]", "seeds: [0, 1, 3]"))
    with pytest.raises(StudyError, match=r"other.yaml is not the study that was run(?s:.*)other settings under seeds"):
        collect(finished.folder, tmp_path / "x", other)
    other.write_text(finished.study.read_text().replace("data/target/", "data/source/"))
    with pytest.raises(StudyError, match="other settings under target"):
        collect(finished.folder, tmp_path / "x", other)
    assert not (tmp_path / "x").exists()


def test_the_same_study_elsewhere_with_other_workers_is_the_same(finished: Run, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.yaml"
    elsewhere.write_text(finished.study.read_text().replace("threads: 1", "threads: 2"))
    assert collect(finished.folder, tmp_path / "x", elsewhere, "0").exists()


def test_the_commit_is_that_of_the_checkout(finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = json.loads(collect(finished.folder, tmp_path / "x", finished.study).read_text())["program"]["commit"]
    assert found is None or re.fullmatch(r"[0-9a-f]{40}(-changed)?", found)
    monkeypatch.setenv("PATH", str(tmp_path))  # no git: installed from a package
    found = json.loads(collect(finished.folder, tmp_path / "x", finished.study).read_text())["program"]["commit"]
    assert found is None


def test_a_folder_without_results_is_named(finished: Run, tmp_path: Path) -> None:
    with pytest.raises(AnalysisError, match=r"holds no results of a finished study(?s:.*)transferscope report STUDY"):
        collect(tmp_path, tmp_path / "x", finished.study)
    run = shutil.copytree(finished.folder, tmp_path / "run")
    (run / "results.json").write_text("{")
    with pytest.raises(AnalysisError, match="is damaged"):
        collect(run, tmp_path / "x", finished.study)
    (run / "results.json").write_text('{"format": 0}')
    with pytest.raises(AnalysisError, match="written by another version"):
        collect(run, tmp_path / "x", finished.study)
    shutil.copy(finished.folder / "results.json", run / "results.json")
    (run / "tables" / "distance.parquet").write_bytes(b"")
    with pytest.raises(AnalysisError, match=r"distance.parquet cannot be read"):
        collect(run, tmp_path / "x", finished.study)


def test_a_path_of_this_machine_is_refused(finished: Run, tmp_path: Path) -> None:
    run = shutil.copytree(finished.folder, tmp_path / "run")
    results = json.loads((run / "results.json").read_text())
    results["manifest"]["notes"] = ["unreadable, skipped: /data/set/cat.png"]
    (run / "results.json").write_text(json.dumps(results))
    with pytest.raises(AnalysisError, match=r"manifest.json holds a path of this machine(?s:.*)/data/set/cat.png"):
        collect(run, tmp_path / "x", finished.study)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("at /srv/data/x", True), ("'C:\\Users'", True), ("https://github.com/a/b", False), ("P-T/P-T", False),
        ("train / validation / test", False), ("data/set/x.png", False), ("<https://a.org/b/c>", False),
    ],
)  # fmt: skip
def test_what_a_path_is(text: str, found: bool) -> None:
    assert bool(collect_evidence._PLACE.search(text)) is found


def test_too_much_is_refused(finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect_evidence, "STUDY_BUDGET", 5000)
    with pytest.raises(AnalysisError, match=r"too large to be kept(?s:.*)the largest of them in"):
        collect(finished.folder, tmp_path / "x", finished.study)


def test_the_command(finished: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([str(finished.folder), str(tmp_path / "kept"), "--study", str(finished.study), "--commit", "1"])
    assert capsys.readouterr().out.strip() == str(tmp_path / "kept" / "manifest.json")
    with pytest.raises(SystemExit):
        main([str(finished.folder), str(tmp_path / "kept")])


# -- tables of the size of a real study ------------------------------------------------------------------

LARGE = {"align", "rewind", "spectrum"}
"""Left out where a network has many modules; the page says so, and has their numbers and verdict."""


@pytest.mark.parametrize("name", sorted(synthetic.TABLES))
def test_small_tables_of_a_study_of_real_size(name: str) -> None:
    table = checked(synthetic.analysis(name), synthetic.TABLES[name]())
    small = small_table(name, table)
    if small is None:
        assert name in LARGE
        return
    assert len(small)
    assert len(table_bytes(small)) <= BUDGET < STUDY_BUDGET
    assert name not in ("block_shuffle", "learning_curves") or "network" not in small.columns  # a key there
    assert not {"network", "tuning"} & set(small["level"] if "level" in small.columns else [])


def test_a_table_that_stays_large_is_left_out() -> None:
    assert small_table("new", pl.DataFrame({"value": [k / 7 for k in range(9000)]})) is None


def test_likeness_of_every_pair_and_the_mean_of_curves_survive() -> None:
    table = checked(synthetic.analysis("similarity"), synthetic.similarity_table())
    small = small_table("similarity", table)
    assert small is not None
    row = small.row(5, named=True)
    same = (pl.col("a") == row["a"]) & (pl.col("b") == row["b"]) & (pl.col("module_a") == row["module"])
    of = table.filter(same & (pl.col("module_a") == pl.col("module_b")))
    assert row["cka"] == pytest.approx(of["cka"].item(), rel=1e-5)
    curves = checked(synthetic.analysis("learning_curves"), synthetic.learning_curves_table())
    means = small_table("learning_curves", curves)
    assert means is not None
    end = means.filter(variant="P_T", epoch=10)
    theirs = curves.filter(variant="P_T", epoch=10)
    assert end["test_metric"].item() == pytest.approx(theirs["test_metric"].mean(), rel=1e-5)
    assert end["n"].item() == 3


def test_results_as_json_holds_every_verdict() -> None:
    results = synthetic.results()
    found = json.loads(results_as_json(results, slugs(results)))
    assert [item["verdict"] for item in found["analyses"]] == [
        item.summary.verdict for item in results.analyses if item.summary is not None
    ]
    assert found["gap"][0]["value"] == results.gap[0].value
    assert found["settings"]["name"] == "solar-cells"


def test_whether_runs_still_improve_is_kept_beside_their_means() -> None:
    def run(variant: str, seed: int, values: list[float]) -> pl.DataFrame:
        """One that rises to its end, one that has ended, one too short to tell."""
        return pl.DataFrame(
            {
                "variant": variant, "setting": "chosen", "seed": seed, "learning_rate": 0.1, "diverged": False,
                "epoch": range(len(values)), "train_metric": values, "validation_metric": values, "test_metric": values,
            }
        )  # fmt: skip

    rising, flat, short = [0.05 * k for k in range(12)], [0.1, 0.5, *[0.8] * 10], [0.1, 0.2]
    runs = [("P_T", 0, flat), ("P_T", 1, flat), ("RI_T", 0, flat), ("RI_T", 1, rising), ("RI_T_long", 0, short)]
    kept = small_table("learning_curves", pl.concat(run(*each) for each in runs))
    assert kept is not None
    assert dict(kept.select("variant", "improving").unique().iter_rows()) == {
        "P_T": False,
        "RI_T": True,
        "RI_T_long": None,
    }
