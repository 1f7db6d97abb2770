import io
from typing import Any

import pytest
from rich.console import Console

from transferscope.rounding import duration
from transferscope.running.progress import EVENTS, Tally, progress


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def step(network: str, epoch: int, step: int, rate: float = 50.0) -> dict[str, Any]:
    return {
        "kind": "training",
        "network": network,
        "label": f"P-T[{network}]",
        "epoch": epoch,
        "epochs": 4,
        "step": step,
        "steps": 10,
        "images_per_second": rate,
    }


def trained(network: str, **more: Any) -> dict[str, Any]:
    return {"kind": "trained", "network": network, "label": f"P-T[{network}]", "seconds": 61.0, **more}


def unit(kind: str, label: str = "path: P-T[0]") -> dict[str, Any]:
    more = {"seconds": 2.0} if kind == "measured" else {}
    return {"kind": kind, "analysis": "path", "label": label, **more}


RUN = [
    {"kind": "round", "trainings": 2, "units": 1},
    step("0", 1, 5),
    {"kind": "training_resumed", "network": "1", "label": "P-T[1]", "epoch": 3},
    step("1", 4, 10),
    {"kind": "epoch", "network": "1", "label": "P-T[1]", "epoch": 4, "epochs": 4, "loss": 0.5},
    trained("1"),
    {"kind": "note", "text": "waiting: [bold]someone"},
    trained("0", diverged=True),
    unit("unit"),
    unit("measured"),
]
LINES = [
    "P-T[1] goes on after epoch 3",
    "trained P-T[1] in 1 min 1 s (training 1 of 2)",
    "waiting: [bold]someone",
    "diverged P-T[0] in 1 min 1 s (training 2 of 2)",
    "measured path: P-T[0] in 2.0 s (unit 1 of 1)",
]


def shown(terminal: bool, events: list[dict[str, Any]] = RUN, **options: Any) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=120, color_system=None, _environ={"TERM": "xterm"})
    with progress(console=console, **options) as on_event:
        for event in events:
            on_event(event)
    return out.getvalue()


def test_without_a_terminal_each_finished_piece_is_one_plain_line():
    assert shown(terminal=False).splitlines() == LINES


@pytest.mark.parametrize("terminal", [True, False])
def test_quiet_shows_nothing(terminal: bool):
    assert shown(terminal, quiet=True) == ""


def test_a_terminal_shows_what_runs_and_nothing_is_taken_for_markup():
    out = shown(terminal=True)
    assert "P-T[0]" in out
    assert "waiting: [bold]someone" in out
    assert "P-T[1] goes on after epoch 3" in out
    assert "trained P-T[1]" not in out


def test_a_terminal_shows_rate_position_and_time_left(monkeypatch: pytest.MonkeyPatch):
    from transferscope.running import progress as module

    clock, out = Clock(), io.StringIO()
    console = Console(file=out, force_terminal=True, width=140, color_system=None, _environ={"TERM": "xterm"})
    kept: list[Any] = []
    real = module._bars
    monkeypatch.setattr(module, "_bars", lambda console: kept.append(real(console)) or kept[0])
    with progress(2, 1, console=console, clock=clock) as on_event:
        on_event(step("0", 1, 0))
        clock.now += 30
        on_event(step("0", 3, 0, rate=80.0))
        on_event(step("1", 1, 0, rate=1000.0))
        rows = {task.description: task for task in kept[0].tasks}
        assert rows["trainings"].fields["count"] == "0 of 2"
        assert rows["trainings"].fields["note"] == "1 min 30 s left, 1,080 images/s"
        assert (rows["trainings"].completed, rows["trainings"].total) == (0.5, 2)
        assert rows["  P-T[0]"].fields == {"count": "epoch 3 of 4", "note": "80 images/s"}
        assert rows["  P-T[0]"].completed == 0.5
        on_event(trained("0"))
        on_event(unit("unit", "a"))
        on_event(unit("unit", "b"))
        rows = {task.description: task for task in kept[0].tasks}
        assert set(rows) == {"trainings", "units", "  P-T[1]"}
        assert rows["units"].fields["note"] == "path a and 1 more"


def test_time_left_counts_only_time_in_which_something_ran():
    clock = Clock()
    tally = Tally(4, clock=clock)
    assert tally.trainings.left is None
    tally.take(step("0", 1, 0))
    assert tally.trainings.left is None
    clock.now += 10
    tally.take(trained("0"))
    assert tally.trainings.left == 30
    clock.now += 1000
    tally.take(step("1", 1, 0))
    clock.now += 10
    tally.take(step("1", 3, 0))
    assert tally.trainings.left == pytest.approx(20 * 2.5 / 1.5)
    assert tally.images_per_second == 50
    for network in ("1", "2", "3", "4"):
        tally.take(trained(network))
    assert (tally.trainings.done, tally.trainings.total, tally.trainings.left) == (5, 5, 0)
    assert tally.images_per_second == 0


def test_epoch_zero_and_a_training_of_no_epochs_are_not_progress():
    tally = Tally(1)
    tally.take({"kind": "epoch", "network": "0", "label": "P", "epoch": 0, "epochs": 4})
    assert tally.trainings.completed == 0
    tally.take({"kind": "epoch", "network": "0", "label": "P", "epoch": 0, "epochs": 0})
    assert tally.trainings.completed == 0
    tally.take({"kind": "training_restarted", "network": "0", "label": "P", "reason": "damaged"})
    tally.take({"kind": "epoch", "network": "0", "label": "P", "epoch": 2, "epochs": 4})
    assert tally.trainings.completed == 0.5


@pytest.mark.parametrize("quiet", [True, False])
@pytest.mark.parametrize("terminal", [True, False])
def test_unknown_events_are_errors(terminal: bool, quiet: bool):
    with pytest.raises(ValueError, match="no event of kind 'trainned': did you mean 'trained'"):
        shown(terminal, [{"kind": "trainned"}], quiet=quiet)
    with pytest.raises(ValueError, match="no event of kind 'None'"):
        shown(terminal, [{}], quiet=quiet)


@pytest.mark.parametrize("kind", sorted(EVENTS))
def test_events_without_their_fields_are_errors(kind: str):
    with pytest.raises(ValueError, match=f"event of kind '{kind}' lacks {EVENTS[kind][0]}"):
        Tally().take({"kind": kind})


def test_the_default_is_the_standard_error(capsys: pytest.CaptureFixture[str]):
    with progress(1) as on_event:
        on_event(trained("0"))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "trained P-T[0] in 1 min 1 s (training 1 of 1)\n"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.6, "1 min 0 s"), (3599.6, "1 h 0 min"), (7325, "2 h 2 min")],
)
def test_durations(seconds: float, words: str):
    assert duration(seconds) == words
