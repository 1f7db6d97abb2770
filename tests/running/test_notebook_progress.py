"""Progress in a notebook: drawn in its place, escaped, complete at the end."""

import sys
from collections.abc import Callable

import pytest

from tests.running.test_progress import RUN, Clock, step
from transferscope.running.notebook_progress import in_notebook, notebook_progress


class Page:
    def __init__(self) -> None:
        self.shown: list[str] = []

    def show(self, html: str) -> Callable[[str], None]:
        self.shown.append(html)
        return self.shown.append


def test_what_is_running_is_drawn_in_its_place() -> None:
    page, clock = Page(), Clock()
    with notebook_progress(page.show, clock) as on_event:
        for event in RUN:
            clock.now += 1
            on_event(event)
    assert "preparing" in page.shown[0]
    middle = page.shown[4]
    assert "trainings 0 of 2" in middle
    assert "P-T[1] epoch 4 of 4, 50 images/s" in middle
    last = page.shown[-1]
    assert "trainings 2 of 2" in last
    assert "measurements 1 of 1" in last
    assert "images/s" not in last
    assert "took 10 s" in last
    for note in ("P-T[1] goes on after epoch 3", "waiting: [bold]someone"):
        assert note in last


def test_a_notebook_is_not_flooded() -> None:
    page, clock = Page(), Clock()
    with notebook_progress(page.show, clock) as on_event:
        on_event({"kind": "round", "trainings": 1, "units": 0})
        for number in range(1000):
            clock.now += 0.001
            on_event(step("0", 1, number % 10))
    assert len(page.shown) < 10


def _told(on_event: Callable[[dict[str, str]], None]) -> None:
    on_event({"kind": "note", "text": "<script>"})
    on_event({"kind": "nothing"})


def test_names_are_escaped_and_the_end_is_drawn_after_an_error() -> None:
    page = Page()
    with pytest.raises(ValueError, match="nothing"), notebook_progress(page.show, Clock()) as on_event:
        _told(on_event)
    assert "<script>" not in "".join(page.shown)
    assert "&lt;script&gt;" in page.shown[-1]
    assert "took" in page.shown[-1]


def test_this_process_is_no_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not in_notebook()
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert not in_notebook()
    assert "IPython" not in sys.modules
