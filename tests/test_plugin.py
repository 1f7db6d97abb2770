"""A stranger adds an analysis: one file in a package of their own, installed by pip, and nothing else."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
import yaml

from tests.running import tiny

HERE = Path(__file__).parent
SOURCE = HERE / "plugin" / "weight_norms.py"
MOST_LINES = 80


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``pip install`` makes of the package, without network."""
    folder = tmp_path_factory.mktemp("plugin")
    # pip builds beside the source.
    shutil.copytree(HERE / "plugin", folder / "source")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    pip += ["--disable-pip-version-check", "--target", str(folder / "site"), str(folder / "source")]
    subprocess.run(pip, check=True, capture_output=True, text=True, timeout=300)
    return folder / "site"


def transferscope(site: Path, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(HERE.parent / "src"), str(HERE.parent), str(site)])
    return subprocess.run(
        [sys.executable, "-m", "transferscope", *arguments], cwd=folder, env={**os.environ, "PYTHONPATH": path},
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip


def test_the_analysis_is_one_short_file() -> None:
    assert len(SOURCE.read_text(encoding="utf-8").splitlines()) <= MOST_LINES
    assert {path.name for path in SOURCE.parent.iterdir() if path.is_file()} == {"pyproject.toml", SOURCE.name}


def test_the_page_on_adding_an_analysis_shows_this_very_file() -> None:
    page = (HERE.parent / "docs" / "adding-an-analysis.md").read_text(encoding="utf-8")
    assert f"```python\n{SOURCE.read_text(encoding='utf-8')}```" in page
    assert f"```toml\n{(SOURCE.parent / 'pyproject.toml').read_text(encoding='utf-8')}```" in page


def test_it_is_listed_and_has_a_schema(site: Path, tmp_path: Path) -> None:
    listed = transferscope(site, "list", "analyses", "--json", folder=tmp_path)
    found = {item["name"]: item for item in json.loads(listed.stdout)["analyses"]}
    assert found["weight_norms"]["settings"].keys() == {"granularity"}
    assert "growth" in {column["name"] for column in found["weight_norms"]["columns"]}
    assert "weight_norms" in transferscope(site, "schema", folder=tmp_path).stdout


def test_it_runs_and_has_its_place_in_the_report(site: Path, tmp_path: Path) -> None:
    study = tiny.settings(
        tmp_path, {"analyses": [{"outcome": {"n_bootstrap": 100}}, {"weight_norms": {"granularity": "layer"}}]}
    )
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
    done = transferscope(site, "run", "study.yaml", "--allow-code", "--store", "store", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "store" / "reports" / "tiny"
    item = next(each for each in json.loads((folder / "results.json").read_text())["analyses"]
                if each["name"] == "weight_norms")  # fmt: skip
    table = pl.read_parquet(folder / "tables" / "weight_norms.parquet")
    # The estimates against the mean over the rows they are of.
    trunk = table.filter(position=-2)
    means = {variant: of["growth"].mean() for (variant,), of in trunk.group_by("variant")}
    growth = {each["at"]["variant"]: each["value"] for each in item["estimates"] if each["quantity"] == "growth"}
    assert growth == pytest.approx(means)
    assert set(growth) == {"P_T", "RI_T"}
    (gap,) = (each for each in item["estimates"] if each["quantity"] == "gap")
    assert gap["value"] == pytest.approx(growth["P_T"] - growth["RI_T"])
    page = (folder / "report.html").read_text(encoding="utf-8")
    section = page[page.index('<section id="weight_norms"') :]
    section = section[: section.index("</section>")]
    assert "<svg" in section
    assert "Krogh" in section  # of its card
    assert "growth of the norm" in section
    assert (folder / "figures" / "weight_norms-modules.svg").is_file()
    assert "Norm of the weights" in done.stdout


@pytest.mark.slow
def test_a_run_in_which_it_fails_ends_with_exit_code_1(site: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(site, broken)
    text = SOURCE.read_text(encoding="utf-8")
    (broken / SOURCE.name).write_text(text.replace("        start, end =", "        1 / 0\n        start, end ="))
    study = tiny.settings(tmp_path, {"analyses": [{"outcome": {"n_bootstrap": 100}}, "weight_norms"], "seeds": [0]})
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
    done = transferscope(broken, "run", "study.yaml", "--allow-code", "--store", "store", folder=tmp_path)
    assert done.returncode == 1
    assert "1 of 4 analyses failed: weight_norms" in done.stderr
    assert "ZeroDivisionError" in done.stderr
    assert "Traceback" not in done.stderr
    page = (tmp_path / "store" / "reports" / "tiny" / "report.html").read_text(encoding="utf-8")
    assert '<a href="#weight_norms">Norm of the weights</a> failed.' in page
