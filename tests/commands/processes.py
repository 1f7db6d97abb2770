"""The command as a process of its own, with streams, limits and user as asked.

Each is a fork of one server process that has imported what commands need and computed nothing: a process that was at
work may have threads of libraries, which a fork would not have.
"""

import base64
import json
import os
import resource
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple, Self

ROOT = Path(__file__).parents[2]
CLOSED, GONE = "closed", "a pipe that nobody reads"
NOBODY = 65534


def opened() -> list[str]:
    """Words that start a program for which Python and this repository lie where every user may read.

    Empty where they do. Else root's mounts of that program alone have an empty folder in place of the closed one, and
    in it what is needed, under its old path.
    """
    needed = {Path(path).resolve() for path in (sys.base_prefix, sys.prefix, ROOT, *sys.path, tempfile.gettempdir())}
    hidden: dict[Path, Path] = {}
    for path in needed:
        closed = [folder for folder in (path, *path.parents) if path.is_dir() and not is_open(folder)]
        if closed:
            hidden[path] = closed[-1]
    hidden = {path: folder for path, folder in hidden.items() if not hidden.keys() & set(path.parents)}
    if not hidden:
        return []
    script = [
        # Through descriptors, since the paths are hidden by then.
        *(f"exec {number}<{shlex.quote(str(path))}" for number, path in enumerate(hidden, 3)),
        *(f"mount -t tmpfs -o mode=755 tmpfs {shlex.quote(str(folder))}" for folder in set(hidden.values())),
    ]
    for number, path in enumerate(map(str, hidden), 3):
        script += [f"mkdir -p {shlex.quote(path)}", f"mount -c --rbind /proc/self/fd/{number} {shlex.quote(path)}"]
    return ["unshare", "-m", "sh", "-c", " && ".join([*script, 'exec "$@"']), "sh"]


def is_open(folder: Path) -> bool:
    """Whether every user may look into a folder."""
    return bool(folder.stat().st_mode & stat.S_IXOTH)


def can_be_nobody() -> bool:
    """Whether this process can start one of another user that finds Python."""
    if os.geteuid() != 0:
        return False
    words = [*opened(), "true"]
    return (
        shutil.which(words[0]) is not None and subprocess.run(words, check=False, capture_output=True).returncode == 0
    )


class Ended(NamedTuple):
    code: int
    out: str
    err: str


class Commands:
    """Starts commands; a context."""

    def __enter__(self) -> Self:
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        self._server = subprocess.Popen(
            [*opened(), sys.executable, "-m", "tests.commands.processes"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": path},
        )
        return self

    def __exit__(self, *error: object) -> None:
        self._server.communicate()

    def __call__(self, *words: str, **options: Any) -> Ended:
        """Run ``transferscope WORDS``.

        Args:
            words: of the command line.
            options: ``out``, ``err``: a file to write to, ``CLOSED`` or ``GONE``, else it is caught; ``file_bytes``:
                a limit on the size of files; ``nobody``: as a user who owns nothing; ``umask``; ``kill``: module,
                function and number of the call at which the process is killed.
        """
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        print(json.dumps({"words": words, **options}), file=self._server.stdin, flush=True)
        code, out, err = json.loads(self._server.stdout.readline())
        return Ended(code, base64.b64decode(out).decode(), base64.b64decode(err).decode())


def _serve() -> None:
    import altair  # noqa: F401
    import polars  # noqa: F401
    import timm  # noqa: F401
    import torch  # noqa: F401

    import transferscope.cli
    import transferscope.commands.storing
    import transferscope.commands.studies
    import transferscope.report.render as render
    import transferscope.running.run  # noqa: F401
    from transferscope.study.registry import ANALYSES, analysis_type

    for name in ANALYSES:
        analysis_type(name)

    render.drawings = lambda results: dict.fromkeys(render.slugs(results), ())
    for line in sys.stdin:
        asked = json.loads(line)
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            child = os.fork()
            if child == 0:
                _run(asked, out.fileno(), err.fileno())
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            texts = [base64.b64encode(os.pread(file.fileno(), 10**7, 0)).decode() for file in (out, err)]
        print(json.dumps([code, *texts]), flush=True)


def _run(asked: dict[str, Any], out: int, err: int) -> None:
    code = 99
    try:
        _stream("stdout", 1, out, asked.get("out"))
        _stream("stderr", 2, err, asked.get("err"))
        if "file_bytes" in asked:
            resource.setrlimit(resource.RLIMIT_FSIZE, (asked["file_bytes"],) * 2)
        if asked.get("nobody"):
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        os.umask(asked.get("umask", 0o022))
        if "kill" in asked:
            _kill_at(*asked["kill"])
        from transferscope.cli import main

        sys.argv = ["transferscope", *asked["words"]]
        main()
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException as error:
        sys.stderr.write(f"Traceback: {error!r}\n")
    finally:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        os._exit(code)


def _stream(name: str, number: int, caught: int, to: str | None) -> None:
    if to == CLOSED:
        os.close(number)
        setattr(sys, name, None)
        return
    if to == GONE:
        reading, caught = os.pipe()
        os.close(reading)
    elif to is not None:
        caught = os.open(to, os.O_WRONLY)
    os.dup2(caught, number)
    setattr(sys, name, open(number, "w", encoding="utf-8", closefd=False))  # noqa: SIM115 - as long as the process


def _kill_at(module: str, name: str, call: int) -> None:
    import importlib

    where = importlib.import_module(module)
    real, left = getattr(where, name), call

    def dying(*arguments: Any, **options: Any) -> Any:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **options)

    setattr(where, name, dying)


if __name__ == "__main__":
    _serve()
