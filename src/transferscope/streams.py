"""The three standard streams: closed, full, or with nobody who reads any more."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from transferscope.errors import StoreError, printable


class Lasting:
    """A text stream for what need not be heard: where it cannot be written any more, it goes silent.

    Progress must not end a run because a terminal was closed, a pipe has no reader, or a disk is full.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, or nothing."""
        with self._or_silent():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush, or nothing."""
        with self._or_silent():
            self._stream.flush()

    @contextlib.contextmanager
    def _or_silent(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            _silence(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def open_closed() -> None:
    """Open what the caller has closed of the streams 0, 1 and 2, to nothing.

    Else the next file that is opened takes the number, and what somebody prints goes into it.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - as long as the process
            setattr(sys, f"__{name}__", getattr(sys, name))


def told(text: str) -> None:
    """One line on standard error, if anybody can read it. Not through rich: paths keep their brackets and length."""
    print(printable(text, keep="\n\t"), file=Lasting(sys.stderr), flush=True)


def lost_output() -> StoreError | None:
    """Write out what was printed; an error where standard output does not take it.

    Nothing where nobody reads it any more: whoever closed a pipe knows.
    """
    try:
        with printing():
            sys.stdout.flush()
    except StoreError as error:
        return error
    except BrokenPipeError:
        _silence(sys.stdout)
    return None


@contextlib.contextmanager
def printing() -> Iterator[None]:
    """Turn what the system answers to printing into an error of ours."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        _silence(sys.stdout)
        raise StoreError(
            f"standard output cannot be written: {error.strerror or error}",
            expected="a terminal, pipe or file that takes what is printed",
            hint="what was finished is kept: send the output elsewhere and run the same command again",
        ) from error


def _silence(stream: TextIO) -> None:
    # A buffer keeps what it could not write, and would try again when the process ends.
    with contextlib.suppress(OSError):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, stream.fileno())
        os.close(nothing)


def stop_signals() -> None:
    """End at SIGTERM and SIGHUP as at Ctrl-C: with temporary files removed, and words on how to go on.

    What is ignored stays ignored: ``nohup`` asks for it.
    """
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
