"""Where the report of a study lies in its store, with the study as it was run."""

from pathlib import Path
from typing import Any

from transferscope.errors import StudyError
from transferscope.frozen import content_key
from transferscope.study.file import load_study
from transferscope.study.settings import Study

__all__ = ["asked", "asked_before", "reports_folder"]


def reports_folder(store: Path, study: Study) -> Path:
    """Where the report of a study lies, with the study as it was run: ``reports/NAME``.

    Another study of the same name (other seeds, another image size) keeps its folder: this one then gets
    ``reports/NAME-KEY``. Where it is computed makes no other study.
    """
    folder = store / "reports" / study.name
    if not (folder / "study.yaml").is_file() or asked_before(folder) == asked(study):
        return folder
    return folder.with_name(f"{study.name}-{content_key(asked(study))[:8]}")


def asked(study: Study) -> dict[str, Any]:
    """All that a study asks for, as JSON-like values; where it is computed and who is told are left out."""
    return {name: value for name, value in study.model_dump(mode="json").items() if name not in ("compute", "trackers")}


def asked_before(folder: Path) -> dict[str, Any] | None:
    """What the study asked for whose report lies in a folder; None where it cannot be read any more."""
    try:
        return asked(load_study(folder / "study.yaml", allow_code=True))
    except StudyError:
        return None
