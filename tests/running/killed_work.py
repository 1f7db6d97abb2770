"""A program for tests: runs a study again and again, each time in a process that is killed at another place."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import transferscope.running.run as run
import transferscope.training.loop as loop
from transferscope.running.work import Job
from transferscope.study.settings import Study

Emit = Callable[[dict[str, Any]], None]


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def in_the_middle_of_a_training() -> None:
    """In the second epoch of the second training."""
    real, left = loop._train_epoch, 4

    def dying(*arguments: Any) -> Any:
        nonlocal left
        left -= 1
        result = real(*arguments)
        if left == 0:
            die()
        return result

    loop._train_epoch = dying


def between_units() -> None:
    """After the third measured unit of a round."""
    real, left = run.do, 3

    def dying(job: Job, on_event: Emit) -> str:
        nonlocal left
        key = real(job, on_event)
        left -= isinstance(job, run.MeasureJob)
        if left == 0:
            die()
        return key

    run.do = dying


def while_an_entry_is_written() -> None:
    """When the fifth entry lies under its temporary name."""
    import transferscope.store.entry as entry

    real, left = entry.place, 5

    def dying(temporary: Path, target: Path) -> bool:
        nonlocal left
        left -= 1
        if left == 0:
            die()
        return real(temporary, target)

    entry.place = dying


def main(study: str, root: str) -> None:
    asked = Study.model_validate_json(Path(study).read_text(encoding="utf-8"))
    for deed in (in_the_middle_of_a_training, between_units, while_an_entry_is_written):
        child = os.fork()
        if child == 0:
            deed()
            run.run_study(asked, Path(root), quiet=True)
            os._exit(3)
        _, status = os.waitpid(child, 0)
        print(deed.__name__, os.WTERMSIG(status) if os.WIFSIGNALED(status) else f"code {os.WEXITSTATUS(status)}")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
