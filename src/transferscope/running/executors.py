"""Executors: the same pieces of work in this process, or in several; the results are the same bytes.

An executor is a function of the signature of :class:`Executor`. It gives each item to
``function(item, emit)`` and yields ``(index, result)`` as results arrive. ``emit`` takes events (dictionaries)
that reach ``on_event`` in the calling process, in order, before the result of their item.
"""

import pickle
from collections import deque
from collections.abc import Callable, Generator, Hashable, Sequence
from multiprocessing import connection
from typing import Any, Protocol, TypeVar

from transferscope.context.threads import limited
from transferscope.errors import StudyError
from transferscope.running.workers import Emit, Worker, end, pickled, rebuilt

__all__ = ["Emit", "Executor", "chunks", "processes", "serial"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def _ignore(event: dict[str, Any]) -> None:
    """The listener of those who do not listen."""


class Executor(Protocol):
    """What :func:`serial` and :func:`processes` have in common."""

    def __call__(
        self,
        function: Callable[[Item, Emit], Result],
        items: Sequence[Item],
        *,
        workers: int = 1,
        threads: int | None = None,
        on_event: Emit = _ignore,
        affinity: Callable[[Item], Hashable] | None = None,
    ) -> Generator[tuple[int, Result], None, None]:
        """Give every item to ``function(item, emit)``.

        Args:
            function: does one piece of work.
            items: independent pieces of work.
            workers: how many processes.
            threads: of each process; None leaves them as they are.
            on_event: called in this process with every event, while results are being waited for.
            affinity: items of equal affinity are kept together where that costs no idle worker, so that what
                was loaded for one serves the next.

        Yields:
            ``(index, result)``: each index of ``items`` once, in any order.
        """
        ...


def chunks(items: Sequence[Item], key: Callable[[Item], Hashable]) -> list[list[int]]:
    """Indices of ``items`` grouped by ``key``: groups by first appearance, indices ascending within.

    Example:
        >>> chunks(["a1", "b1", "a2"], key=lambda item: item[0])
        [[0, 2], [1]]
    """
    groups: dict[Hashable, list[int]] = {}
    for index, item in enumerate(items):
        groups.setdefault(key(item), []).append(index)
    return list(groups.values())


def serial(
    function: Callable[[Item, Emit], Result],
    items: Sequence[Item],
    *,
    workers: int = 1,
    threads: int | None = None,
    on_event: Emit = _ignore,
    affinity: Callable[[Item], Hashable] | None = None,
) -> Generator[tuple[int, Result], None, None]:
    """Do the work here, one item after the other; arguments as in :class:`Executor`, ``workers`` must be 1.

    Threads are limited while ``function`` runs, and as before between the results.

    Raises:
        StudyError: ``workers`` or ``threads`` do not fit.
    """
    _check_counts(workers, threads)
    if workers != 1:
        raise StudyError(
            "executor.workers does not fit the serial executor",
            expected="1",
            got=str(workers),
            hint="choose the executor 'processes'",
        )
    return _serial(function, list(items), threads, on_event, affinity)


def _serial(
    function: Callable[[Item, Emit], Result],
    items: list[Item],
    threads: int | None,
    on_event: Emit,
    affinity: Callable[[Item], Hashable] | None,
) -> Generator[tuple[int, Result], None, None]:
    for index in (index for group in _groups(items, affinity) for index in group):
        with limited(threads):
            result = function(items[index], on_event)
        yield index, result


def processes(
    function: Callable[[Item, Emit], Result],
    items: Sequence[Item],
    *,
    workers: int = 2,
    threads: int | None = 1,
    on_event: Emit = _ignore,
    affinity: Callable[[Item], Hashable] | None = None,
) -> Generator[tuple[int, Result], None, None]:
    """Do the work in ``workers`` fresh processes; arguments as in :class:`Executor`.

    Function, items and results travel by pickle, between these processes only, never through the disk. Wrap
    the call in ``contextlib.closing`` if you may leave the loop early: closing stops the workers.

    - The first error stops the other workers and is raised here, of its own type, with the worker's traceback
      as a note.
    - Ctrl-C, or leaving the loop: workers are asked to stop (SIGTERM, which the work sees as
      ``KeyboardInterrupt``, so that its temporary files go), waited for a few seconds, then killed. Ctrl-C
      itself does not reach them.
    - A worker that dies is named with its item and exit code.
    - Should this process be killed, each worker stops at once.

    Raises:
        StudyError: ``workers`` or ``threads`` do not fit.
        WorkerError: a worker died, or the function, an item or a result cannot be pickled.
    """
    _check_counts(workers, threads)
    return _processes(function, list(items), workers, threads, on_event, affinity)


def _processes(
    function: Callable[[Item, Emit], Result],
    items: list[Item],
    workers: int,
    threads: int | None,
    on_event: Emit,
    affinity: Callable[[Item], Hashable] | None,
) -> Generator[tuple[int, Result], None, None]:
    if not items:
        return
    work = pickled(function, "the function")
    pending = _Pending(_groups(items, affinity))
    team: list[Worker] = []
    finished = False
    try:
        while len(team) < min(workers, len(items)):
            team.append(Worker(threads))
        for worker in team:
            worker.send(("work", work, threads), items)
            _give(worker, pending, items)
        left = len(items)
        while left:
            ready = connection.wait([worker.pipe for worker in team])
            for worker in [worker for worker in team if worker.pipe in ready]:
                what, *content = worker.receive(items)
                if what == "event":
                    on_event(content[0])
                elif what == "result":
                    index, result = content
                    left -= 1
                    _give(worker, pending, items)
                    yield index, pickle.loads(result)
                else:
                    raise rebuilt(content[0], content[1], worker, items)
        finished = True
    finally:
        end(team, at_once=not finished)


class _Pending:
    """What is not yet given out: groups of equal affinity, each to one worker while others have work."""

    def __init__(self, groups: list[list[int]]) -> None:
        self._groups = [deque(group) for group in groups]
        self._fresh = deque(range(len(groups)))

    def take(self, last: int | None) -> tuple[int, int] | None:
        """``(group, index)`` for a worker that last worked on group ``last``; None if nothing is left.

        Its own group first, then one nobody has begun, then a share of the group with most left.
        """
        if last is not None and self._groups[last]:
            return last, self._groups[last].popleft()
        if self._fresh:
            number = self._fresh.popleft()
        else:
            number = max(range(len(self._groups)), key=lambda each: len(self._groups[each]))
        return (number, self._groups[number].popleft()) if self._groups[number] else None


def _give(worker: Worker, pending: _Pending, items: list[Any]) -> None:
    taken = pending.take(worker.group)
    worker.item = None
    if taken is not None:
        worker.group, worker.item = taken
        worker.send_item(items)


def _groups(items: list[Item], affinity: Callable[[Item], Hashable] | None) -> list[list[int]]:
    return [[index] for index in range(len(items))] if affinity is None else chunks(items, affinity)


def _check_counts(workers: int, threads: int | None) -> None:
    for name, count in (("workers", workers), ("threads", threads)):
        if count is not None and count < 1:
            raise StudyError(f"executor.{name} is too small", expected="at least 1", got=str(count))
