"""Work that tests hand to executors; a module of its own, so that worker processes can import it."""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transferscope.errors import DataError, MissingExtraError
from transferscope.frozen import Frozen, derive_seed
from transferscope.running.executors import processes
from transferscope.store import Store

Emit = Callable[[dict[str, Any]], None]


class Piece(Frozen):
    network: str
    number: int
    folder: str = ""

    @property
    def label(self) -> str:
        return f"{self.network}[{self.number}]"


class StrangeError(Exception):
    """An error that pickle cannot rebuild: its constructor asks for more than it keeps."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(one)


class NoPickle:
    def __reduce__(self) -> tuple[Any, ...]:
        raise RuntimeError("not to be pickled")


def square(piece: Piece, emit: Emit) -> int:
    return piece.number**2


def report(piece: Piece, emit: Emit) -> int:
    for step in range(3):
        emit({"kind": "training", "network": piece.network, "number": piece.number, "step": step})
    return piece.number


def product(piece: Piece, emit: Emit) -> tuple[bytes, int]:
    """Bytes that depend on the order in which sums are added up."""
    import torch

    generator = torch.Generator().manual_seed(derive_seed(piece.number, "product"))
    left = torch.randn(300, 2000, generator=generator)
    return (left @ left.T).sum(1).numpy().tobytes(), torch.get_num_threads()


def who(piece: Piece, emit: Emit) -> tuple[int, str | None, int]:
    import torch

    return os.getpid(), os.environ.get("OMP_NUM_THREADS"), torch.get_num_threads()


def meet(piece: Piece, emit: Emit) -> int:
    """The number of the process, once two processes are at work."""
    (Path(piece.folder) / str(os.getpid())).touch()
    while len(list(Path(piece.folder).iterdir())) < 2:
        time.sleep(0.01)
    return os.getpid()


def fail(piece: Piece, emit: Emit) -> int:
    if piece.number != 1:
        return piece.number
    match piece.network:
        case "data":
            raise DataError("no images", expected="some", got="none", hint="add some")
        case "extra":
            raise MissingExtraError("ray", "ray")
        case "strange":
            raise StrangeError("a", "b")
        case "exit":
            sys.exit(3)
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "gone":
            os._exit(7)
        case "result":
            return NoPickle()  # type: ignore[return-value]  # that is the test
    raise ValueError(piece.network)


def wait_in_the_middle_of_a_write(piece: Piece, emit: Emit) -> int:
    """Begin an entry, say so, and wait to be stopped."""
    store = Store(Path(piece.folder))
    with store.entry("units", f"{piece.number:04d}").write() as folder:
        (folder / "table").write_bytes(b"half")
        emit({"kind": "note", "text": f"{os.getpid()}"})
        if piece.network == "stubborn":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        for _ in range(600):
            time.sleep(0.1)
            if piece.network == "talking":
                emit({"kind": "note", "text": "still here"})
    return piece.number


def run_until_stopped(root: str, network: str, workers: str) -> None:
    """A program for tests of Ctrl-C: prints the number of each worker at work, then what ended it."""
    items = [Piece(network=network, number=number, folder=root) for number in range(int(workers))]

    def show(event: dict[str, Any]) -> None:
        if event["text"] != "still here":
            print(event["text"], flush=True)

    try:
        list(processes(wait_in_the_middle_of_a_write, items, workers=len(items), threads=None, on_event=show))
    except KeyboardInterrupt:
        print("stopped", flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    from tests.running import executor_work

    executor_work.run_until_stopped(*sys.argv[1:])
