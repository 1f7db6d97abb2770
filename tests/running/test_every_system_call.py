"""Every call of the system fails once, at every place that makes it: only errors of ours, and then the same tables."""

import builtins
import errno
import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

import transferscope
import transferscope.report.render as render
import transferscope.running.work as work
from tests.running import tiny
from tests.running.small_runs import SMALL
from transferscope.errors import TransferscopeError
from transferscope.report.render import write_report
from transferscope.running.results import Results
from transferscope.running.run import run_study
from transferscope.store import Store
from transferscope.store.verify import verify
from transferscope.study.settings import Study

PACKAGE = str(Path(transferscope.__file__).parent)
CALLS = (
    "open",
    "fsync",
    "rename",
    "replace",
    "mkdir",
    "rmdir",
    "link",
    "unlink",
    "write",
    "chmod",
    "sendfile",
    "scandir",
)
NUMBERS = (errno.ENOSPC, errno.EIO, errno.EACCES)

Place = tuple[str, str, int]


class Failing:
    """Makes each n-th place fail at the first call from there; a place is a line of the package and a call.

    Args:
        every: n.
        first: which of n.
        rotation: which error number comes first.
    """

    def __init__(self, every: int, first: int, rotation: int) -> None:
        self.every, self.first, self.rotation = every, first, rotation
        self.places: dict[Place, bool] = {}

    def before(self, name: str, path: object) -> None:
        place = self._place(name)
        if place is None or place in self.places:
            return
        number = len(self.places)
        self.places[place] = number % self.every == self.first
        if self.places[place]:
            code = NUMBERS[(number + self.rotation) % len(NUMBERS)]
            raise OSError(code, os.strerror(code), path if isinstance(path, (str, os.PathLike)) else None)

    @staticmethod
    def _place(name: str) -> Place | None:
        frame = sys._getframe(2)
        while frame is not None and not frame.f_code.co_filename.startswith(PACKAGE):
            frame = frame.f_back  # type: ignore[assignment]
        return None if frame is None else (name, frame.f_code.co_filename, frame.f_lineno)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            for name in CALLS:
                patch.setattr(os, name, self._wrapped(name, getattr(os, name)))
            opened = self._opening(io.open)
            patch.setattr(io, "open", opened)
            patch.setattr(builtins, "open", opened)
            yield

    def _wrapped(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            self.before(name, arguments[0] if arguments else None)
            return real(*arguments, **options)

        return call

    def _opening(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
            self.before("open", file)
            opened = real(file, mode, *arguments, **options)
            return opened if set(mode).isdisjoint("wax+") else _Written(opened, self, file)

        return call


class _Written:
    """A file whose writing may fail."""

    def __init__(self, file: Any, failing: Failing, path: object) -> None:
        self._file, self._failing, self._path = file, failing, path

    def write(self, data: Any) -> int:
        self._failing.before("write", self._path)
        return int(self._file.write(data))

    def __enter__(self) -> "_Written":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def whole(study: Study, root: Path) -> Results:
    """A run with its report, as ``transferscope run``."""
    results = run_study(study, root, quiet=True)
    write_report(results, root / "reports" / "tiny")
    return results


def tables(results: Results, root: Path) -> dict[str, bytes]:
    reported = sorted((root / "reports" / "tiny" / "tables").iterdir())
    return {path.name: path.read_bytes() for path in reported if path.suffix == ".csv"} | tiny.contents(root)


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render, "svg", lambda chart: "<svg/>")
    monkeypatch.setattr(render, "png", lambda picture: b"png")


def fail_everywhere(tmp_path: Path, failing: Failing) -> int:
    study = tiny.study(tmp_path, SMALL)
    expected = tables(whole(study, tmp_path / "undisturbed"), tmp_path / "undisturbed")
    root, failures = tmp_path / "store", 0
    results: Results | None = None
    while results is None:
        work.forget()
        with failing.at_work(), suppress(TransferscopeError):
            results = whole(study, root)
        failures += results is None
        assert failures <= len(failing.places), "the same place fails again"
    assert sum(failing.places.values()) >= failures > 3
    assert tables(results, root) == expected
    assert verify(Store(root)) == []
    # What the system answers is no damage.
    assert not (root / "discarded").exists()
    assert list(root.rglob(".tmp-*")) == []
    return failures


@pytest.mark.kind("R1")
def test_some_calls_fail_one_after_the_other(tmp_path: Path) -> None:
    """Every seventh; ``make test-slow`` takes all of them, with every error."""
    fail_everywhere(tmp_path, Failing(every=7, first=0, rotation=0))


@pytest.mark.slow
@pytest.mark.kind("R1")
@pytest.mark.parametrize("rotation", range(len(NUMBERS)))
def test_every_call_fails_once_with_every_error(tmp_path: Path, rotation: int) -> None:
    fail_everywhere(tmp_path, Failing(every=1, first=0, rotation=rotation))
