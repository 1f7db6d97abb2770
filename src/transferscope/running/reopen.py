"""The results of a study that is finished, from its store; nothing is trained or measured."""

from pathlib import Path

from transferscope.errors import TransferscopeError
from transferscope.running import plan, run
from transferscope.running.results import Results
from transferscope.running.tracking import Tracking
from transferscope.study.settings import Study

__all__ = ["reopen"]


def reopen(study: Study, store_root: Path, finish: str, *, command: str = "") -> Results:
    """Everything a report needs, as :func:`transferscope.run_study` gave it.

    Args:
        study: what was asked for.
        store_root: folder of the store.
        finish: what finishes the study, for the error.
        command: how to run it again, for the manifest.

    Raises:
        TransferscopeError: something is still to do.
    """
    state = plan.study_status(study, store_root)
    if state.trainings_pending or state.units_pending:
        raise TransferscopeError(
            f"the study {study.name!r} is not finished: there is nothing to report yet",
            expected="every training and measurement in the store",
            got=f"{state.trainings_pending} trainings and {state.units_pending} measurements to do",
            hint=finish,
        )
    # What a reader asks for is written to nobody else.
    nobody = Tracking(study.model_copy(update={"trackers": ()}), store_root)
    return run.run_study(study, store_root, quiet=True, command=command, tracking=nobody)
