"""Wording that was read and approved: one file for each module of tests, written anew by ``pytest --approve``.

A test asserts quantities, values and verdicts itself. What is said of them is compared with ``approved/<module>.md``:
a change of words is one command and a difference to read, and no number is asserted by its sentence.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

__all__ = ["FOLDER", "Approved", "approving"]

FOLDER = Path(__file__).parent / "approved"
_HEADING = "## "


def _sections(path: Path) -> dict[str, list[str]]:
    """Of each test the texts it says, in order."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    parts = re.split(rf"^{_HEADING}(.*)\n", text, flags=re.MULTILINE)
    return {name: body.strip("\n").split("\n\n") for name, body in zip(parts[1::2], parts[2::2], strict=True)}


class Approved:
    """Collects what one test says."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def __call__(self, *texts: str) -> None:
        """Each of them must be as it was approved, word by word."""
        assert texts, "there is nothing to approve"
        self.texts += [text.strip().replace("\n\n", "\n") for text in texts]


def approving(item: pytest.Item, module: str, write: bool) -> Iterator[Approved]:
    """What a fixture yields: compared when the test has ended."""
    path = FOLDER / f"{module.removeprefix('test_')}.md"
    said = Approved()
    yield said
    approved = _sections(path)
    if write:
        approved[item.name] = said.texts
        FOLDER.mkdir(exist_ok=True)
        sections = (f"{_HEADING}{name}\n\n" + "\n\n".join(texts) + "\n" for name, texts in sorted(approved.items()))
        path.write_text("\n".join(sections), encoding="utf-8")
    assert said.texts == approved.get(item.name), f"read it; where it is right: pytest --approve {item.nodeid}"
