import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import transferscope.report.render as render_module
import transferscope.running.run as run_module
from tests.commands.calling import STUDY, Calls, results_of
from transferscope.running.results import Results
from transferscope.study.settings import Study


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    seen = Calls([], [], [])

    def run_study(study: Study, store_root: Path, **options: object) -> Results:
        seen.studies.append(study)
        seen.options.append({"store": store_root, **options})
        on_results = options.get("on_results")
        if callable(on_results) and study.name == "told":
            on_results(results_of(study))
            on_results(results_of(study))
        return results_of(study)

    def written_report(results: Results, folder: Path, drawn_before: object = None) -> tuple[Path, Results]:
        folder.mkdir(parents=True, exist_ok=True)
        seen.folders.append(folder)
        seen.written.append(results)
        (folder / "report.html").write_text("<html>", encoding="utf-8")
        return folder / "report.html", results

    monkeypatch.setattr(run_module, "run_study", run_study)
    monkeypatch.setattr(render_module, "written_report", written_report)
    return seen


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TRANSFERSCOPE_STORE", raising=False)
    monkeypatch.delenv("COLUMNS", raising=False)
    (tmp_path / "study.yaml").write_text(STUDY, encoding="utf-8")
    paths = list(sys.path)
    yield tmp_path
    sys.path[:] = paths
