"""The notebook of the docs runs from top to bottom, and is kept without outputs."""

import ast
import json
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parents[1] / "docs"
NOTEBOOKS = sorted(DOCS.glob("*.ipynb"))


def cells(notebook: Path) -> list[dict[str, Any]]:
    found = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in found if cell["cell_type"] == "code"]


def run(source: str, names: dict[str, Any]) -> object:
    """Run a cell as a kernel does; the value of its last line, if that is an expression."""
    body = ast.parse(source).body
    last = body.pop() if isinstance(body[-1], ast.Expr) else None
    exec(compile(ast.Module(body, []), "cell", "exec"), names)
    return None if last is None else eval(compile(ast.Expression(last.value), "cell", "eval"), names)  # type: ignore[attr-defined]


@pytest.mark.slow
def test_the_tutorial_runs_cell_by_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("xarray", reason="xarray is a test dependency")
    pytest.importorskip("pyarrow", reason="pyarrow is a test dependency")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    values = [run("".join(cell["source"]), names) for cell in cells(DOCS / "tutorial.ipynb")]
    shown = [value for value in values if value is not None]
    assert len(shown) == 5
    assert all(hasattr(value, "_repr_html_") for value in shown[1:])
    assert (tmp_path / "shapes-P_T-seed0.safetensors").is_file()


@pytest.mark.slow
def test_the_tutorial_runs_in_a_kernel(tmp_path: Path) -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    notebook = nbformat.read(DOCS / "tutorial.ipynb", as_version=4)
    nbformat.validate(notebook)
    nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    pages = ["".join(output.data.get("text/html", "")) for output in outputs if "data" in output]
    # Drawn anew in its place, complete at the end.
    assert any("trainings 7 of 7" in page and "took" in page for page in pages)
    assert any("transferscope-results" in page for page in pages)
    assert any("data:image/svg+xml;base64," in page for page in pages)
    assert not [output for output in outputs if output.get("name") == "stderr"]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_outputs_are_kept(notebook: Path) -> None:
    for cell in cells(notebook):
        assert cell["outputs"] == []
        assert cell["execution_count"] is None
