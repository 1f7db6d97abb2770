"""A plugin of pytest that writes how each test ended, also with sources older than the tests.

    python -m pytest -p tools.outcomes --outcomes FILE TESTS

FILE gets two lines of JSON for each test: that it began, and how it ended. A test that has a line already is not run
again, so that the same command goes on where a killed one stopped; ``python -m tools.reliability`` does that.

=========  =========================================================================================================
right      the test passed
words      an error of the right class was raised, and its words are others
wrong      the test failed, or needed more than `BYTES`
long       the test ran longer than `SECONDS`, or its process died
absent     what the test calls did not exist: nothing can be said
skipped    the test cannot run on this machine
=========  =========================================================================================================
"""

import builtins
import faulthandler
import json
import resource
import signal
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

PACKAGE = "transferscope"
SECONDS = 60
BYTES = 8 << 30


class DidNotExistError(Exception):
    """A test used a name that the package does not have."""


class TookLongError(BaseException):
    """A test ran longer than it may; no error that code under test catches."""


class Absent:
    """Stands for a name that the package does not have: can be imported and listed, and not used."""

    used = False
    in_test = False

    def __init__(self, name: str) -> None:
        self.__name__ = name

    def _use(self, *values: object, **named: object) -> NoReturn:
        Absent.used = True
        raise DidNotExistError(self.__name__)

    def __call__(self, *values: object, **named: object) -> "Absent":
        """Fail in a test; where a module of tests lists arguments, stand for the result too."""
        if Absent.in_test:
            self._use()
        return self

    __iter__ = __len__ = __getitem__ = __contains__ = __enter__ = __exit__ = _use

    def __getattr__(self, name: str) -> "Absent":
        if name.startswith("__"):
            raise AttributeError(name)
        Absent.used = True
        return Absent(f"{self.__name__}.{name}")

    def __or__(self, other: object) -> "Absent":  # in annotations
        return self

    __ror__ = __or__


class AbsentModule(types.ModuleType):
    """Stands for a module that the package does not have."""

    __path__: list[str] = []  # noqa: RUF012 - of a package without files

    def __getattr__(self, name: str) -> Absent:
        if name.startswith("__"):
            raise AttributeError(name)
        Absent.used = True
        return Absent(name)


_import = builtins.__import__


def _import_or_absent(
    name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0
) -> types.ModuleType:
    """Import as Python does; what tests want from the package and is not there is put there as absent."""
    if level or name.partition(".")[0] != PACKAGE or not str((globals or {}).get("__name__")).startswith("tests"):
        return _import(name, globals, locals, fromlist, level)
    while True:
        try:
            module = _import(name, globals, locals, fromlist, level)
            break
        except ModuleNotFoundError as error:
            if error.name is None or not error.name.startswith(f"{PACKAGE}."):
                raise
            sys.modules[error.name] = AbsentModule(error.name)
            parent, _, child = error.name.rpartition(".")
            setattr(sys.modules[parent], child, sys.modules[error.name])
    for wanted in fromlist or ():
        if not hasattr(module, wanted):
            setattr(module, wanted, Absent(wanted))
    return module


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where the outcomes go."""
    parser.addoption("--outcomes", required=True, type=Path, help="file that gets how each test ended")


def pytest_configure(config: pytest.Config) -> None:
    """Bound the memory, and let tests import what is not there."""
    # Not of addresses: the program that draws charts reserves many more than it uses.
    resource.setrlimit(resource.RLIMIT_DATA, (BYTES, resource.getrlimit(resource.RLIMIT_DATA)[1]))
    signal.signal(signal.SIGALRM, _stop)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored if started with nohup: tests send it to their children
    builtins.__import__ = _import_or_absent
    config.pluginmanager.register(Outcomes(config.getoption("--outcomes"), config.rootpath))


def _stop(*_: object) -> NoReturn:
    raise TookLongError


def _without_package(info: pytest.ExceptionInfo[BaseException]) -> bool:
    folder = str(Path(sys.modules[PACKAGE].__file__ or "").parent)
    return not any(str(entry.path).startswith(folder) for entry in info.traceback)


def _outcome(info: pytest.ExceptionInfo[BaseException]) -> str:
    """What the error says about the package."""
    if Absent.used or isinstance(info.value, DidNotExistError):
        return "absent"
    if isinstance(info.value, TookLongError):
        return "long"
    # The package was not reached: it has no such name, or no such argument.
    if isinstance(info.value, AttributeError | TypeError | ImportError) and _without_package(info):
        return "absent"
    if isinstance(info.value, AssertionError) and Path(info.traceback[-1].path).match("_pytest/raises.py"):
        return "words"
    return "wrong"


class Outcomes:
    """Writes how tests end."""

    def __init__(self, file: Path, root: Path) -> None:
        self._file = file
        self._root = root
        self._outcome = "right"

    def _write(self, test: str, outcome: str) -> None:
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps([test, outcome]) + "\n")

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Leave out what has been run."""
        lines = self._file.read_text(encoding="utf-8").splitlines() if self._file.exists() else []
        known = {json.loads(line)[0] for line in lines}
        items[:] = [item for item in items if item.nodeid not in known]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """One test: it counts as too long until it has ended."""
        self._outcome, Absent.used, Absent.in_test = "right", False, True
        self._write(item.nodeid, "long")
        # Ends the process where no exception can get through; the next one goes on behind this test.
        faulthandler.dump_traceback_later(3 * SECONDS, exit=True)
        result = yield
        faulthandler.cancel_dump_traceback_later()
        self._write(item.nodeid, self._outcome)
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self) -> Iterator[None]:
        """The fixtures of a test, in limited time."""
        yield from self._in_time()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self) -> Iterator[None]:
        """A test, in limited time."""
        Absent.used = False  # a fixture may replace what is absent: that has no effect then
        yield from self._in_time()

    def _in_time(self) -> Iterator[None]:
        # Again and again: code under test may catch the first one.
        signal.setitimer(signal.ITIMER_REAL, SECONDS, 5)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, call: pytest.CallInfo[None]) -> Iterator[None]:
        """What a part of a test came to."""
        report: Any = yield
        if report.skipped:
            self._outcome = "skipped"
        elif report.failed and self._outcome == "right" and call.excinfo is not None:
            self._outcome = _outcome(call.excinfo)
        return report  # type: ignore[no-any-return]

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """All tests have been run, or pytest itself failed."""
        self._write("", pytest.ExitCode(exitstatus).name)
