"""The snippets of docs/watch.md run as they are."""

import re
from pathlib import Path

import pytest

import transferscope

TEXT = (Path(__file__).parents[2] / "docs" / "watch.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("number", "library"), [(0, "torch"), (1, "transformers"), (2, "lightning")])
def test_snippet(number: int, library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(library)
    monkeypatch.chdir(tmp_path)
    exec(compile(SNIPPETS[number], "docs/watch.md", "exec"), {"__name__": "snippet"})
    run = transferscope.read_watched(tmp_path / f"run_{'abc'[number]}")
    assert run.status == "finished"
    assert run.tables["steps"].height
    assert not [note for note in run.notes if note.kind == "failure"]


def test_all_snippets_are_run() -> None:
    assert len(SNIPPETS) == 3
