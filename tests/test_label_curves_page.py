"""The page on extrapolated curves says what the command computes, where the recorded curves are there."""

import os
from pathlib import Path

import pytest

from tools.label_curves import COLUMNS, TASKS, judged, page

PAGE = Path(__file__).parents[1] / "docs" / "label-curves.md"
needs_data = pytest.mark.skipif(
    "TRANSFERSCOPE_DATA" not in os.environ, reason="TRANSFERSCOPE_DATA does not name a folder of recorded curves"
)


def rows(text: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| ")
    ]


@needs_data
def test_the_page_holds_the_numbers_of_the_smallest_budgets() -> None:
    found = rows(page(judged(Path(os.environ["TRANSFERSCOPE_DATA"]), budgets=(5,), tasks=TASKS[1:])))
    kept = rows(PAGE.read_text(encoding="utf-8"))
    assert found[0] == kept[0] == list(COLUMNS)
    assert found[1:] == [row for row in kept if row[:2] == ["5", TASKS[1]]]


@needs_data
@pytest.mark.slow
def test_the_page_is_written_anew_as_it_is() -> None:
    assert page(judged(Path(os.environ["TRANSFERSCOPE_DATA"]))) == PAGE.read_text(encoding="utf-8")
