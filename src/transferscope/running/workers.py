"""Worker processes: how they start, talk, end, and how many threads they use."""

import contextlib
import multiprocessing
import os
import pickle
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from transferscope.context.threads import limited
from transferscope.errors import WorkerError

Emit = Callable[[dict[str, Any]], None]

# Read by the libraries when they are imported, so they are set before a worker starts.
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "POLARS_MAX_THREADS",
)
_GRACE_SECONDS = 5.0
# A terminal sends these to all processes it started: the parent alone answers, and ends its workers.
_OF_TERMINALS = {getattr(signal, name) for name in ("SIGINT", "SIGHUP") if hasattr(signal, name)}


class Worker:
    """One child process, seen from the parent."""

    def __init__(self, threads: int | None) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(target=_serve, args=(theirs,), daemon=True)
        self.item: int | None = None
        self.group: int | None = None
        with _environment(threads), _interrupts_held():
            self.process.start()
        # Only the child holds this end now, so its death is an end of file here.
        theirs.close()

    def send_item(self, items: list[Any]) -> None:
        """Send the item it was given."""
        assert self.item is not None
        what = f"item {self.item} ({_label(items[self.item])})"
        self.send(("item", self.item, pickled(items[self.item], what)), items)

    def send(self, message: tuple[Any, ...], items: list[Any]) -> None:
        """Send, or say that the child has died."""
        try:
            self.pipe.send_bytes(pickle.dumps(message))
        except OSError as error:
            raise self._death(items) from error

    def receive(self, items: list[Any]) -> tuple[Any, ...]:
        """The next message, or an error that says that the child has died."""
        try:
            message: tuple[Any, ...] = pickle.loads(self.pipe.recv_bytes())
        except (EOFError, OSError) as error:
            raise self._death(items) from error
        return message

    def _death(self, items: list[Any]) -> WorkerError:
        self.process.join(_GRACE_SECONDS)
        code = self.process.exitcode
        doing = "without an item" if self.item is None else f"while working on {_label(items[self.item])}"
        by = f"signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit code {code}"
        memory = code == -9
        return WorkerError(
            f"a worker process died {doing}",
            expected="a process that ends with a result or an error",
            got=by + (", as when the system runs out of memory" if memory else ""),
            hint="use fewer workers or smaller batches, or the serial executor to see more; in a script, "
            "call this under if __name__ == '__main__':. What was finished is kept: run again to go on",
        )


def end(team: list[Worker], *, at_once: bool) -> None:
    """End all workers: idle ones by closing their pipe, busy ones by SIGTERM, stubborn ones by SIGKILL."""
    try:
        for worker in team:
            if at_once:
                worker.process.terminate()
            worker.pipe.close()
        deadline = time.monotonic() + _GRACE_SECONDS
        for worker in team:
            worker.process.join(max(0.0, deadline - time.monotonic()))
    finally:
        # Also after a second Ctrl-C while waiting.
        for worker in team:
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()


def _serve(pipe: Connection) -> None:
    """The life of a worker process."""
    talking = threading.Lock()

    def send(*message: Any) -> None:
        with talking:
            pipe.send_bytes(pickle.dumps(message))

    try:
        for number in _OF_TERMINALS:
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _OF_TERMINALS)
        threading.Thread(target=_end_with_parent, daemon=True).start()
        _serve_items(pipe, send)
    except (KeyboardInterrupt, EOFError, BrokenPipeError, ConnectionResetError):
        # Asked to stop, or the parent has gone: nobody is left to tell.
        os._exit(128 + signal.SIGTERM)


def _end_with_parent() -> None:
    """Stop the work when the parent has died, however long the piece at hand would take: it holds locks."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
        time.sleep(_GRACE_SECONDS)
    os._exit(128 + signal.SIGTERM)


def _serve_items(pipe: Connection, send: Callable[..., None]) -> None:
    function: Callable[[Any, Emit], Any] | None = None
    message: tuple[Any, ...]
    limits = contextlib.ExitStack()
    while True:
        try:
            what, *content = pickle.loads(pipe.recv_bytes())
        except EOFError:
            return
        try:
            if what == "work":
                limits.enter_context(limited(content[1]))
                function = pickle.loads(content[0])
                continue
            assert function is not None
            index, item = content
            result = function(pickle.loads(item), lambda event: send("event", dict(event)))
            message = ("result", index, pickled(result, f"the result of item {index}"))
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            message = ("error", _portable(error), traceback.format_exc())
        send(*message)


def _portable(error: BaseException) -> bytes:
    """``error`` pickled, or what can be said of it where it does not survive that."""
    if isinstance(error, Exception):
        try:
            raw = pickle.dumps(error)
            if type(pickle.loads(raw)) is type(error):
                return raw
        except Exception:
            # Somebody's __reduce__ may raise anything; the words below, and the traceback, remain.
            pass
    return pickle.dumps(WorkerError(f"the work failed with {type(error).__name__}: {error}"))


def rebuilt(raw: bytes, text: str, worker: Worker, items: list[Any]) -> Exception:
    """The error a worker sent, of its own type, with the worker's traceback as a note."""
    error: Exception = pickle.loads(raw)
    label = "the function" if worker.item is None else _label(items[worker.item])
    error.add_note(f"in worker process {worker.process.pid}, at work on {label}:\n{text.rstrip()}")
    return error


def pickled(value: object, what: str) -> bytes:
    """``value`` as bytes for another process of ours."""
    try:
        return pickle.dumps(value)
    except Exception as error:  # pickle raises whatever a __reduce__ raises
        raise WorkerError(
            f"{what} cannot be sent between processes: {type(error).__name__}: {error}",
            expected="what pickle can carry: functions at the top level of a module, plain values, settings",
            hint="use the serial executor, or make it picklable",
        ) from error


def _label(item: object) -> str:
    text = str(getattr(item, "label", None) or item)
    return text if len(text) <= 200 else text[:197] + "..."


@contextlib.contextmanager
def _environment(threads: int | None) -> Iterator[None]:
    """The thread variables set for children started meanwhile, and the current folder kept from their path."""
    before = {name: os.environ.get(name) for name in (*_THREAD_VARIABLES, "PYTHONSAFEPATH")}
    os.environ["PYTHONSAFEPATH"] = "1"
    if threads is not None:
        os.environ.update(dict.fromkeys(_THREAD_VARIABLES, str(threads)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C and hang-ups kept waiting, also in children started meanwhile, until they can ignore them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _OF_TERMINALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
