"""Loops that change, wrap, raise and die: the loop is never broken by us, and what was recorded is there."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
import torch
from torch import nn

import transferscope
from tests.watching.loops import EVERY, batches, small, train
from transferscope.errors import DataError
from transferscope.networks.weight_files import read_file
from transferscope.watching.attach import WatchWarning

KILLED = """
import os, signal, sys
from tests.watching.loops import small
import transferscope
model = small()
w = transferscope.watch(model, out=sys.argv[1], recording=transferscope.Recording(every=1, flush_records=4))
for step in range(1, 11):
    w.step()
    w.log(step=step)
if sys.argv[2] == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
"""

LEFT = pytest.param("leave", 10, "left", marks=pytest.mark.slow)


def whole(folder: Path) -> pl.DataFrame:
    return transferscope.read_watched(folder).tables["steps"].filter(pl.col("module") == "(all)")


@pytest.mark.parametrize(("how", "steps", "status"), [("kill", 8, "unfinished"), LEFT])
def test_a_process_that_dies_leaves_a_readable_run(tmp_path: Path, how: str, steps: int, status: str) -> None:
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root / "src"), str(root)])}
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "run"), how], env=environment, capture_output=True, text=True,
        check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == (-signal.SIGKILL if how == "kill" else 0), done.stderr
    assert whole(tmp_path / "run")["step"].to_list() == list(range(1, steps + 1))
    assert transferscope.read_watched(tmp_path / "run").status == status


def test_a_loop_that_raises_is_recorded_to_its_end(tmp_path: Path) -> None:
    model = small()

    def loop() -> None:
        with transferscope.watch(model, out=tmp_path / "run", recording=EVERY) as w:
            train(model, w, epochs=1)
            raise ZeroDivisionError("of the loop")

    with pytest.raises(ZeroDivisionError):
        loop()
    run = transferscope.read_watched(tmp_path / "run")
    assert run.status == "failed"
    assert run.facts["error"] == "ZeroDivisionError: of the loop"
    assert whole(tmp_path / "run").height == 4
    assert run.last is not None


def test_a_changed_structure_is_followed_where_it_stayed(tmp_path: Path) -> None:
    model = small()
    with transferscope.watch(model, out=tmp_path / "run", recording=EVERY) as w:
        train(model, w, epochs=1, steps=2)
        model[5] = nn.Linear(16, 3, bias=False)
        model.append(nn.Linear(3, 3))
        train(model, w, epochs=1, steps=2)
    run = transferscope.read_watched(tmp_path / "run")
    assert [note.kind for note in run.notes] == ["own_start"]
    assert "6.weight" in run.notes[0].text
    steps = run.tables["steps"]
    assert set(steps.filter(pl.col("step") == 4)["module"]) == {"(all)", "0", "1", "5", "6"}
    # The module that stayed goes on from its start; the new one starts when it is first seen.
    stayed = steps.filter(pl.col("module") == "0")["distance"].to_list()
    assert stayed[2] > stayed[1] / 2
    assert steps.filter((pl.col("module") == "6") & (pl.col("step") == 3))["distance"].item() == 0


def test_an_observation_that_fails_is_one_warning_and_then_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = small()
    with transferscope.watch(model, out=tmp_path / "run", recording=EVERY) as w:
        w.step()
        monkeypatch.setattr(w._movement, "observe", lambda: torch.empty(2) @ torch.empty(3))
        with pytest.warns(WatchWarning, match="the training goes on"):
            w.step()
        for _ in range(8):
            w.step()
    run = transferscope.read_watched(tmp_path / "run")
    assert [note.kind for note in run.notes] == ["failure"] * 3
    assert whole(tmp_path / "run")["step"].to_list() == [1]
    assert run.last is not None


def test_a_probe_that_does_not_fit_stops_nothing(tmp_path: Path) -> None:
    model = small()
    with (
        transferscope.watch(model, out=tmp_path / "run", recording=EVERY, probe=torch.ones(8, 7)) as w,
        pytest.warns(WatchWarning, match="similarity failed"),
    ):
        train(model, w)
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())
    run = transferscope.read_watched(tmp_path / "run")
    assert run.tables["similarity"].is_empty()
    assert whole(tmp_path / "run").height == 8


def test_weights_that_are_not_finite_are_nulls(tmp_path: Path) -> None:
    model = small()
    with transferscope.watch(model, out=tmp_path / "run", recording=EVERY) as w:
        with torch.no_grad():
            model[0].weight.fill_(float("inf"))
        w.step()
        w.log(loss=float("nan"), name="a word", pair=torch.ones(2))
    run = transferscope.read_watched(tmp_path / "run")
    rows = {row["module"]: row["distance"] for row in run.tables["steps"].to_dicts()}
    assert rows == {"(all)": None, "0": None, "1": 0.0, "5": 0.0}
    assert run.tables["metrics"]["value"].to_list() == [None] * 3


@pytest.mark.parametrize("wrap", ["compile", "data_parallel"])
def test_a_wrapped_network_has_the_names_of_its_start(tmp_path: Path, wrap: str) -> None:
    start = small(seed=4)
    model = small()
    wrapped = torch.compile(model, backend="eager") if wrap == "compile" else nn.DataParallel(model)
    with transferscope.watch(wrapped, start=start, out=tmp_path / "run", recording=EVERY, probe=batches(1)[0][0]) as w:
        optimizer = torch.optim.SGD(wrapped.parameters(), lr=0.1)
        wrapped(batches(1)[0][0]).sum().backward()
        optimizer.step()
        w.step()
        w.epoch()
    run = transferscope.read_watched(tmp_path / "run")
    assert run.notes == ()
    assert set(run.tables["similarity"]["module"]) == {"0", "1", "5"}
    assert run.last is not None
    assert set(read_file(run.last)) == set(start.state_dict())


def test_damaged_records_are_noted_and_the_rest_is_read(tmp_path: Path) -> None:
    model = small()
    recording = transferscope.Recording(every=1, flush_records=1)
    w = transferscope.watch(model, out=tmp_path / "run", recording=recording)
    for _ in range(3):
        w.step()
    parts = sorted((tmp_path / "run" / "records").glob("steps-*"))
    parts[1].write_bytes(b"PAR1 cut off")
    (tmp_path / "run" / "notes.jsonl").write_text('{"kind": "cut o')
    run = transferscope.read_watched(tmp_path / "run")
    assert [note.kind for note in run.notes] == ["damaged"]
    assert whole(tmp_path / "run")["step"].to_list() == [1, 3]
    with pytest.raises(DataError, match="is no run"):
        transferscope.read_watched(tmp_path)
    with pytest.warns(WatchWarning):  # joining the parts meets the damaged one
        w.close()
    assert whole(tmp_path / "run")["step"].to_list() == [1, 3]
