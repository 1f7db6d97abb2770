"""Analyses of packages that somebody else has installed: found by name, checked at the door."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.installed import install, on_path
from tests.running import tiny
from transferscope.commands.lists import _analyses
from transferscope.errors import AnalysisError
from transferscope.study.registry import ANALYSES, BUILT_IN, analysis_type, parse_analysis
from transferscope.study.schema import study_reference, study_schema

SOURCE = '''
from transferscope.analyses.contract import MeasureResult
from transferscope.analyses.tuned import NETWORK, NetworkAnalysis

class DistanceAnalysis(NetworkAnalysis):
    """Nothing at all.

    Attributes:
        depth: how deep.
    """

    depth: int = 3
    name, title, question, reference, version, columns = "extra", "Extra", "What else?", "none", 1, NETWORK

    def rows(self, member, context):
        return [{}]

class Unfinished(NetworkAnalysis):
    name, title, question, reference, version = "unfinished", "Unfinished", "?", "none", 1

class Other:
    pass
'''


def put(monkeypatch: pytest.MonkeyPatch, folder: Path, name: str, value: str, source: str = SOURCE) -> None:
    on_path(install(folder, "some-package", {name: value}, extra_module=source), monkeypatch, "extra_module")


def test_an_installed_analysis_is_one_like_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "extra" not in ANALYSES
    put(monkeypatch, tmp_path, "extra", "extra_module:DistanceAnalysis")
    assert [*ANALYSES] == [*BUILT_IN, "extra"]
    assert len(ANALYSES) == len(BUILT_IN) + 1
    assert "extra_module" not in sys.modules  # its name alone asks for nothing
    analysis = parse_analysis({"extra": {"depth": 4}})
    assert (analysis.name, analysis.depth) == ("extra", 4)  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=r"extra\.depths"):
        parse_analysis({"extra": {"depths": 4}})
    with pytest.raises(ValueError, match="did you mean 'extra'"):
        parse_analysis("extras")
    definitions = study_schema()["$defs"]
    # Its class has the name of one of ours: each keeps its own settings.
    assert "depth" in definitions["extra.DistanceAnalysis"]["properties"]
    assert "granularity" in definitions["DistanceAnalysis"]["properties"]
    assert "`extra`" in study_reference()


@pytest.mark.parametrize(
    ("name", "value", "source", "words"),
    [
        ("extra", "extra_module:DistanceAnalysis", "import nowhere_to_be_found", r"imported[\s\S]*ModuleNotFoundError"),
        ("extra", "extra_module:DistanceAnalysis", "1 +", r"imported[\s\S]*SyntaxError"),
        ("extra", "extra_module:DistanceAnalysis", "raise RuntimeError('no')", r"imported[\s\S]*RuntimeError: no"),
        ("extra", "extra_module:Missing", SOURCE, r"imported[\s\S]*AttributeError"),
        ("extra", "extra_module:Other", SOURCE, r"derived from AbstractAnalysis[\s\S]*Other"),
        ("extra", "extra_module:SOURCE", f"SOURCE = {SOURCE!r}", "derived from AbstractAnalysis"),
        ("unfinished", "extra_module:Unfinished", SOURCE, "columns, rows, on the class"),
        ("other_name", "extra_module:DistanceAnalysis", SOURCE, r"'other_name' for the class of 'extra'"),
        ("distance", "extra_module:DistanceAnalysis", SOURCE, r"two analyses called 'distance'[\s\S]*transferscope"),
    ],
)
def test_one_that_cannot_be_used_is_named_with_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, source: str, words: str
) -> None:
    put(monkeypatch, tmp_path, name, value, source)
    with pytest.raises(AnalysisError, match=words) as caught:
        parse_analysis(name)
    assert "'some-package'" in str(caught.value)
    # Nobody else is disturbed, and the list tells.
    listed = {item["name"]: item for item in _analyses()}
    assert listed[name]["question"] == caught.value.what
    assert set(listed) == {*BUILT_IN, name}
    assert parse_analysis("similarity").name == "similarity"


@pytest.mark.parametrize("question", ["check_study", "data_sources"])
def test_one_that_cannot_say_what_it_reads_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, question: str
) -> None:
    source = SOURCE.replace(
        "    depth: int = 3\n", f"    depth: int = 3\n    def {question}(self, study):\n        1 / 0\n"
    )
    put(monkeypatch, tmp_path / "site", "extra", "extra_module:DistanceAnalysis", source)
    with pytest.raises(AnalysisError, match=rf"'extra' cannot say its {question}[\s\S]*ZeroDivisionError"):
        tiny.bound(tmp_path, {"analyses": ["extra"]})


def test_two_packages_of_one_name_are_both_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, tmp_path / "one", "extra", "extra_module:DistanceAnalysis")
    on_path(install(tmp_path / "two", "other-package", {"extra": "elsewhere:Thing"}), monkeypatch)
    assert [*ANALYSES].count("extra") == 1
    with pytest.raises(AnalysisError, match=r"'other-package' and [\s\S]*'some-package'"):
        analysis_type("extra")


def test_a_package_found_twice_counts_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one installed for work on it: beside its source, and among the installed packages."""
    put(monkeypatch, tmp_path / "one", "extra", "extra_module:DistanceAnalysis")
    on_path(install(tmp_path / "two", "Some_Package", {"extra": "extra_module:DistanceAnalysis"}), monkeypatch)
    assert analysis_type("extra").__name__ == "DistanceAnalysis"


@pytest.mark.parametrize("command", [["-m", "transferscope", "list", "analyses"], ["-m", "transferscope", "schema"]])
def test_nothing_is_taken_from_the_current_folder(tmp_path: Path, command: list[str]) -> None:
    source = "import pathlib\npathlib.Path('it_ran').touch()\n" + SOURCE
    install(tmp_path, "some-package", {"extra": "extra_module:DistanceAnalysis"}, extra_module=source)
    done: Any = subprocess.run([sys.executable, *command], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert not {"extra", "`extra`", '"extra":', "extra_module"} & set(done.stdout.replace("the extra", "").split())
    assert not (tmp_path / "it_ran").exists()
