"""What a run tells of itself while it goes on: what is finished, what is to come, and a page of it that is whole."""

import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import transferscope.running.interim as interim_module
import transferscope.running.run as run_module
from tests.running import tiny
from tests.running.conftest import FinishedStudy
from transferscope.errors import StopRequested
from transferscope.report.next_steps import choices
from transferscope.report.render import write_report, written_report
from transferscope.report.sections import Drawn, sections
from transferscope.running.results import Results
from transferscope.running.run import run_study

ASKED = {
    "analyses": [{"outcome": {"n_bootstrap": 100}}, "distance"],
    "training": {"learning_rates": [0.05, 0.2], "extensions": 0, "plateau_epochs": None},
    "seeds": [0],
}


class Page(HTMLParser):
    """Whether every element of a page is closed."""

    VOID = ("meta", "link", "img", "br", "input", "hr")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.opened: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag not in self.VOID:
            self.opened.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self.opened and self.opened[-1] != tag and self.opened[-1] in ("p", "li"):
            self.opened.pop()
        assert self.opened
        assert self.opened.pop() == tag


def waiting(results: Results) -> set[str]:
    return {item.analysis.name for item in results.analyses if item.waiting}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[tuple[Results, str]], Results]:
    """A run whose page was written at every occasion and at its end: its folder, what was told, and its results."""
    folder = tmp_path_factory.mktemp("interim")
    told: list[tuple[Results, str]] = []
    drawn: Drawn = {}

    def on_results(so_far: Results) -> None:
        page, _ = written_report(so_far, folder / "report", drawn)
        told.append((so_far, page.read_text(encoding="utf-8")))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interim_module, "_PAUSE_SECONDS", 0.0)
        patch.setattr(interim_module, "_SHARE", float("inf"))
        study = tiny.study(folder, ASKED)
        results = run_study(study, folder / "store", quiet=True, command="again", on_results=on_results)
    write_report(results, folder / "report")
    return folder, told, results


def test_what_is_left_shrinks_to_nothing(run: tuple[Path, list[tuple[Results, str]], Results]) -> None:
    _, told, results = run
    remaining = [so_far.remaining for so_far, _ in told]
    first, last = remaining[0], remaining[-1]
    assert first is not None
    assert last is not None
    # Two rates of two variants, then one network of each at its chosen rate.
    assert first.trainings == (0, 6)
    assert first.seconds is None
    assert last.trainings == (6, 6)
    assert last.measurements[0] == last.measurements[1]
    assert last.seconds == (0.0, 0.0)
    for one, other in pairwise(remaining):
        assert one is not None
        assert other is not None
        assert one.trainings[0] <= other.trainings[0]
        assert other.trainings[1] <= one.trainings[1]
        assert one.measurements[0] <= other.measurements[0]
        assert not other.unknown
    assert {each.trainings[0] for each in remaining if each is not None} == set(range(7))
    assert results.remaining is None


def test_a_finished_analysis_is_told_as_it_ends(run: tuple[Path, list[tuple[Results, str]], Results]) -> None:
    _, told, results = run
    final = {item.analysis.key: item for item in results.analyses}
    assert waiting(told[0][0]) == {"outcome", "distance", "learning_rate", "learning_curves"}
    assert waiting(results) == set()
    states = [waiting(so_far) for so_far, _ in told]
    assert all(later <= earlier for earlier, later in pairwise(states))
    assert {"outcome", "distance"} in [state - {"learning_curves"} for state in states]  # the rates alone are known
    for so_far, _ in told:
        for item in so_far.analyses:
            if not item.waiting:
                assert item.table is not None
                assert item.table.equals(final[item.analysis.key].table)
                assert item.summary == final[item.analysis.key].summary


def test_every_page_is_whole_and_says_what_is_to_come(run: tuple[Path, list[tuple[Results, str]], Results]) -> None:
    _, told, results = run
    for so_far, page in told:
        assert Page(page).opened == []
        assert "This study is not finished." in page
        done, planned = so_far.remaining.trainings if so_far.remaining else (0, 0)
        assert f"{done} of at most {planned} trainings" in page
        known = not {"outcome"} & waiting(so_far)
        assert all(known is not choice.text.startswith("still to come") for choice in choices(so_far)[:4:3])
        names = re.search("Still to come: ([^<]*)[.]</li>", page)
        assert (names.group(1).split(", ") if names else []) == [
            item.analysis.title for item in so_far.analyses if item.waiting
        ]
    assert "This study is not finished." not in written_report(results, run[0] / "other")[0].read_text("utf-8")


def test_a_finished_run_leaves_what_a_single_writing_gives(
    run: tuple[Path, list[tuple[Results, str]], Results], tmp_path: Path
) -> None:
    folder, _, results = run
    write_report(results, tmp_path / "once")
    assert tiny.contents(folder / "report") == tiny.contents(tmp_path / "once")


def test_what_is_drawn_is_not_drawn_again(run: tuple[Path, list[tuple[Results, str]], Results]) -> None:
    _, told, _ = run
    drawn: Drawn = {}
    last = told[-1][0]
    assert [one.pictures[0].panels for _, one, _ in sections(last, drawn) if one.pictures] == [
        one.pictures[0].panels for _, one, _ in sections(last) if one.pictures
    ]
    for one, other in zip(sections(last, drawn), sections(last, drawn), strict=True):
        assert one[1] is other[1]


def test_a_finished_study_tells_nothing(finished: FinishedStudy) -> None:
    told: list[Results] = []
    run_study(finished.study, finished.store, quiet=True, on_results=told.append)
    assert told == []


def test_a_stopped_run_leaves_a_whole_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, left = run_module.do, 3

    def stopping(job: Any, on_event: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        return real(job, on_event)

    monkeypatch.setattr(run_module, "do", stopping)
    study = tiny.study(tmp_path, ASKED)
    pages: list[Path] = []
    with pytest.raises(StopRequested):
        run_study(
            study,
            tmp_path / "store",
            quiet=True,
            on_results=lambda so_far: pages.append(write_report(so_far, tmp_path / "report")),
        )
    assert set(pages) == {tmp_path / "report" / "report.html"}
    assert [path.name for path in (tmp_path / "report").iterdir()] == ["report.html"]
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert Page(page).opened == []
    assert "trainings" in page


def test_telling_waits_and_takes_a_small_share(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(interim_module.time, "monotonic", lambda: now)
    told: list[float] = []

    def slow(results: Any) -> None:
        nonlocal now
        told.append(now)
        now += 4.0

    interim = object.__new__(interim_module.Interim)
    monkeypatch.setattr(interim, "_results", lambda: None, raising=False)
    interim._on_results, interim._not_before = slow, 0.0
    for _ in range(400):
        interim.tell_in_time()
        now += 1.0
    # Four seconds of work are followed by at least 80 without.
    assert [later - earlier for earlier, later in pairwise(told)] == [84.0, 84.0, 84.0, 84.0]
