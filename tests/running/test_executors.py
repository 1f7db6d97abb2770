import contextlib
import functools
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.running.executor_work import (
    NoPickle,
    Piece,
    fail,
    meet,
    product,
    report,
    square,
    wait_in_the_middle_of_a_write,
    who,
)
from transferscope.errors import DataError, MissingExtraError, StudyError, WorkerError
from transferscope.running import workers
from transferscope.running.executors import _Pending, chunks, processes, serial
from transferscope.store import Store
from transferscope.store.verify import verify

# Most of this work needs no torch, so its workers need not import it.
quick = functools.partial(processes, threads=None)
both = pytest.mark.parametrize("executor", [serial, quick], ids=["serial", "processes"])
posix = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX systems")


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    # Workers get this process's path, and import the work from there.
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))


def pieces(count: int, network: str = "P_T", **fields: Any) -> list[Piece]:
    return [Piece(network=network, number=number, **fields) for number in range(count)]


def by_network(piece: Piece) -> str:
    return piece.network


def test_every_item_gives_its_result_once():
    items = pieces(7)
    expected = [(number, number**2) for number in range(7)]
    assert list(serial(square, items)) == expected
    assert sorted(quick(square, items, workers=2)) == expected
    assert sorted(quick(square, items, workers=1)) == expected
    assert list(serial(square, [])) == list(quick(square, [])) == []


def test_results_are_the_same_bytes_whoever_computes_them():
    items = pieces(4)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        here = dict(serial(product, items, threads=1))
        there = dict(processes(product, items, workers=2))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert here == there
    assert {threads for _, threads in here.values()} == {1}
    assert len({raw for raw, _ in here.values()}) == 4


@pytest.mark.slow
def test_threads_are_those_asked_for_and_the_environment_stays(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    found = dict(processes(who, pieces(2), workers=1, threads=2))
    assert {entry[1:] for entry in found.values()} == {("2", 2)}
    assert os.getpid() not in {entry[0] for entry in found.values()}
    assert os.environ["OMP_NUM_THREADS"] == "1"
    assert "MKL_NUM_THREADS" not in os.environ


def test_serial_limits_threads_only_while_it_works():
    before = torch.get_num_threads()
    for _, (pid, _, threads) in serial(who, pieces(2), threads=before + 1):
        assert (pid, threads) == (os.getpid(), before + 1)
        assert torch.get_num_threads() == before


@both
def test_events_arrive_in_order_before_their_result(executor: Any):
    seen: list[tuple[int, int]] = []
    done: list[int] = []

    def listen(event: dict[str, Any]) -> None:
        assert event["number"] not in done
        seen.append((event["number"], event["step"]))

    for index, _ in executor(report, pieces(5), on_event=listen):
        done.append(index)
        assert [step for number, step in seen if number == index] == [0, 1, 2]
    assert sorted(done) == list(range(5))
    assert len(seen) == 15


def test_pieces_of_one_network_begin_in_one_worker_and_go_on_there(tmp_path: Path):
    items = [Piece(network=name, number=number, folder=str(tmp_path)) for number in range(5) for name in ("P", "RI")]
    order = [index for index, _ in serial(square, items, affinity=by_network)]
    assert order == [0, 2, 4, 6, 8, 1, 3, 5, 7, 9]
    pids = dict(quick(meet, items, workers=2, affinity=by_network))
    assert pids[0] != pids[1]
    # Without affinity the second item, here of the same network, goes to the second worker.
    pids = dict(quick(meet, items[::2], workers=2))
    assert pids[0] != pids[1]


@settings(derandomize=True, deadline=None, max_examples=50)
@given(sizes=st.lists(st.integers(1, 6), min_size=1, max_size=6), turns=st.lists(st.integers(0, 2), max_size=60))
def test_work_is_given_out_once_and_groups_are_split_only_for_the_idle(sizes: list[int], turns: list[int]):
    names = [number for number, size in enumerate(sizes) for _ in range(size)]
    groups = chunks(names, key=lambda name: name)
    assert [len(group) for group in groups] == sizes
    pending, last, given_out = _Pending([list(group) for group in groups]), {}, []
    begun: set[int] = set()
    for worker in turns + [0] * len(names):
        taken = pending.take(last.get(worker))
        if taken is None:
            assert len(given_out) == len(names)
            continue
        group, index = taken
        assert names[index] == group
        if group != last.get(worker) and group in begun:
            assert begun == set(range(len(sizes)))
        begun.add(group)
        last[worker] = group
        given_out.append(index)
    assert sorted(given_out) == list(range(len(names)))


def test_an_error_of_ours_keeps_its_type_and_words():
    for executor in (serial, quick):
        with pytest.raises(DataError, match=r"(?s)no images.*expected: some.*do: .*add some") as caught:
            list(executor(fail, pieces(4, "data")))
        assert caught.value.hint == "add some"
    assert any("in worker process" in note and "data[1]" in note for note in caught.value.__notes__)
    assert any("executor_work.py" in note and "raise DataError" in note for note in caught.value.__notes__)
    with pytest.raises(MissingExtraError, match=r"'\.\[ray\]'") as missing:
        list(quick(fail, pieces(2, "extra")))
    assert (missing.value.package, missing.value.extra) == ("ray", "ray")


def test_an_error_of_python_keeps_its_type():
    with pytest.raises(ValueError, match="other"):
        list(quick(fail, pieces(2, "other")))


@pytest.mark.parametrize(
    ("network", "words"),
    [
        ("strange", "the work failed with StrangeError: a"),
        ("exit", "the work failed with SystemExit: 3"),
        ("result", "the result of item 1 cannot be sent between processes: RuntimeError: not to be pickled"),
    ],
)
def test_what_cannot_travel_is_told_in_words(network: str, words: str):
    with pytest.raises(WorkerError, match=words) as caught:
        list(quick(fail, pieces(3, network)))
    assert any("executor_work.py" in note for note in caught.value.__notes__) or network == "result"


@posix
@pytest.mark.parametrize(
    ("network", "got"), [("killed", "signal SIGKILL, as when the system runs out of memory"), ("gone", "exit code 7")]
)
def test_a_worker_that_dies_is_named_with_its_item(network: str, got: str):
    with pytest.raises(WorkerError, match=rf"a worker process died while working on {network}\[1\]") as caught:
        list(quick(fail, pieces(6, network), workers=2))
    assert caught.value.got == got
    assert "fewer workers" in str(caught.value)
    assert [child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())] == []


def test_what_cannot_be_sent_is_named():
    with pytest.raises(WorkerError, match="the function cannot be sent between processes"):
        list(quick(lambda piece, emit: 1, pieces(2)))
    with pytest.raises(WorkerError, match=r"item 0 \(.*NoPickle.*\) cannot be sent"):
        list(quick(square, [NoPickle()]))


def test_a_function_the_worker_cannot_import(monkeypatch: pytest.MonkeyPatch):
    import types

    module = types.ModuleType("nowhere_to_be_found")
    exec("def work(item, emit):\n    return item", module.__dict__)
    monkeypatch.setitem(sys.modules, "nowhere_to_be_found", module)
    with pytest.raises(ModuleNotFoundError, match="nowhere_to_be_found"):
        list(quick(module.work, [1, 2]))


@both
def test_counts_that_do_not_fit(executor: Any):
    with pytest.raises(StudyError, match=r"executor.workers is too small"):
        executor(square, pieces(2), workers=0)
    with pytest.raises(StudyError, match=r"executor.threads is too small"):
        executor(square, pieces(2), threads=0)
    if executor is serial:
        with pytest.raises(StudyError, match=r"executor.workers does not fit the serial executor"):
            executor(square, pieces(2), workers=2)


def test_an_error_of_the_listener_stops_the_workers():
    def listen(event: dict[str, Any]) -> None:
        raise LookupError("enough")

    with pytest.raises(LookupError, match="enough"):
        list(quick(report, pieces(5), workers=2, on_event=listen))


def test_leaving_the_loop_stops_the_workers_and_what_they_wrote_is_not_seen(tmp_path: Path):
    started: list[int] = []

    def listen(event: dict[str, Any]) -> None:
        started.append(int(event["text"]))
        if len(started) == 2:
            raise LookupError("both at work")

    work = quick(wait_in_the_middle_of_a_write, pieces(2, folder=str(tmp_path)), workers=2, on_event=listen)
    with pytest.raises(LookupError), contextlib.closing(work):
        next(work)
    assert not any(psutil.pid_exists(pid) for pid in started)
    assert verify(Store(tmp_path)) == []
    assert Store(tmp_path).status()["units"] == 0


def program(root: Path, network: str) -> "subprocess.Popen[str]":
    script = Path(__file__).with_name("executor_work.py")
    return subprocess.Popen(
        [sys.executable, str(script), str(root), network, "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def two_at_work(running: "subprocess.Popen[str]") -> list[int]:
    assert running.stdout is not None
    return [int(running.stdout.readline()) for _ in range(2)]


@posix
@pytest.mark.parametrize("network", ["P_T", "talking"])
def test_ctrl_c_stops_workers_which_clean_up(tmp_path: Path, network: str):
    with program(tmp_path, network) as running:
        pids = two_at_work(running)
        os.killpg(running.pid, signal.SIGINT)  # as the terminal does: to parent and workers alike
        out, err = running.communicate()
    assert (out, err, running.returncode) == ("stopped\n", "", 0)
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert [path for path in tmp_path.rglob("*") if path.name.startswith(".tmp-")] == []
    assert Store(tmp_path).status()["units"] == 0


@posix
def test_a_worker_that_will_not_stop_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(workers, "_GRACE_SECONDS", 0.3)
    started: list[int] = []

    def listen(event: dict[str, Any]) -> None:
        started.append(int(event["text"]))
        raise KeyboardInterrupt

    items = pieces(1, "stubborn", folder=str(tmp_path))
    with pytest.raises(KeyboardInterrupt):
        list(quick(wait_in_the_middle_of_a_write, items, workers=1, on_event=listen))
    assert not psutil.pid_exists(started[0])
    store = Store(tmp_path)
    assert store.status()["units"] == 0
    assert verify(store) == []


@posix
@pytest.mark.kind("S7")
@pytest.mark.parametrize(
    ("network", "number"),
    [
        ("talking", signal.SIGKILL),
        ("stubborn", signal.SIGKILL),
        ("silent", signal.SIGTERM),
        *(pytest.param("silent", number, marks=pytest.mark.slow) for number in (signal.SIGKILL, signal.SIGHUP)),
    ],
)
def test_workers_end_when_their_parent_is_killed(tmp_path: Path, network: str, number: int):
    with program(tmp_path, network) as running:
        children = [psutil.Process(pid) for pid in two_at_work(running)]
        running.send_signal(number)
        running.wait()
        # Left alone, each would work for a minute.
        gone, alive = psutil.wait_procs(children, timeout=30)
        assert alive == []
        assert len(gone) == 2
    store = Store(tmp_path)
    assert verify(store) == []
    assert list(tmp_path.rglob(".tmp-*")) == []
    with store.lock("units-0000", wait=0):
        pass


@posix
@pytest.mark.kind("S7")
@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGHUP, marks=pytest.mark.slow)])
def test_what_a_terminal_sends_to_all_is_answered_by_the_parent_alone(tmp_path: Path, number: int):
    with program(tmp_path, "silent") as running:
        children = [psutil.Process(pid) for pid in two_at_work(running)]
        for child in children:
            child.send_signal(number)
        with pytest.raises(subprocess.TimeoutExpired):
            running.wait(timeout=0.5)
        assert all(child.is_running() for child in children)
        running.kill()
        running.communicate()
        psutil.wait_procs(children, timeout=30)


def test_errors_and_their_notes_survive_pickle():
    error = DataError("no images", got="none")
    error.add_note("somewhere")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.__notes__) == (DataError, str(error), ["somewhere"])
