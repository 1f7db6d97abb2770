"""A study as people in Python see it: the settings of a study file, and what can be done with them."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transferscope.arguments import checked_as
from transferscope.errors import OptionError, StoreError
from transferscope.study import settings
from transferscope.study.file import dump_study
from transferscope.study.file import load_study as load_settings

if TYPE_CHECKING:
    from transferscope.python.results import StudyResults
    from transferscope.running.plan import Plan
    from transferscope.running.results import Results

__all__ = ["DEFAULT_STORE", "Study", "load_results", "load_study"]

DEFAULT_STORE = Path("transferscope-runs")
"""The folder of results where none is named."""


class Study(settings.Study):
    """Everything that is asked for, and how it is run.

    The settings are those of a study file: nested dictionaries, or the models they are read into.

    Example:
        >>> study = Study(
        ...     name="photos",
        ...     source={"architecture": "timm:resnet18.a1_in1k", "weights": "timm"},
        ...     target={"data": {"kind": "folder", "path": "photos"}, "image_size": 96},
        ... )
        >>> study.seeds
        (0, 1, 2)
    """

    if TYPE_CHECKING:
        # Names and nested dictionaries are settings too: they are read as a study file is.
        def __init__(self, **data: Any) -> None: ...

    @classmethod
    @checked_as(OptionError)
    def from_images(
        cls,
        images: Any,
        labels: Any = None,
        *,
        classes: Sequence[str] | None = None,
        groups: Sequence[object] | None = None,
        store: str | Path = DEFAULT_STORE,
        target: dict[str, Any] | None = None,
        **study: Any,
    ) -> "Study":
        """A study of images in memory; they are written to ``images/`` in the store, where the study reads them.

        Args:
            images: uint8 or uint16 (examples, height, width[, channels]) as an array or a list of equally large ones,
                (examples, channels, height, width) as a tensor; or a data set whose items are ``(image, label)``.
            labels: one number or word per image, or rows of 0 and 1; None where ``images`` is a data set.
            classes: names of the classes, by number.
            groups: one per image: what must not be torn apart by a split.
            store: folder of the store.
            target: settings of ``target`` beside ``data``: ``image_size``, ``splits``, ...
            study: all other settings: ``name``, ``source``, ``training``, ``seeds``, ``analyses``, ...

        Raises:
            DataError: images that are no pictures as they were taken, or of different sizes; labels that are missing.
        """
        from transferscope.python.images import images_source

        data = images_source(images, labels, classes=classes, groups=groups, folder=Path(store) / "images")
        return cls(target={"data": data, **(target or {})}, **study)

    @checked_as(OptionError)
    def plan(self, store: str | Path = DEFAULT_STORE) -> "Plan":
        """What the study will take, before anything is trained: trainings, measurements, images, seconds, disk.

        Args:
            store: folder of the store.
        """
        from transferscope.running.plan import plan_study

        return plan_study(self, Path(store))

    @checked_as(OptionError)
    def run(self, store: str | Path = DEFAULT_STORE, *, quiet: bool = False) -> "StudyResults":
        """Train, measure and summarise everything; what the store has is not done again.

        Stop it at any moment: the same call goes on at the last epoch.

        Args:
            store: folder of the store.
            quiet: show no progress.

        Raises:
            TransferscopeError: bad input, a damaged store, a run that was stopped; each says what to do.
        """
        from transferscope.running.run import run_study

        return _opened(run_study(self, Path(store), quiet=quiet), Path(store), allow_code=True)

    @checked_as(OptionError)
    def results(self, store: str | Path = DEFAULT_STORE) -> "StudyResults":
        """The results of the finished study, from its store; nothing is trained.

        Args:
            store: folder of the store.

        Raises:
            StoreError: there is no store.
            TransferscopeError: it is not finished.
        """
        from transferscope.running.reopen import reopen
        from transferscope.store import Store

        if not Store.found(Path(store)):
            raise StoreError(
                f"there is no store at {store}",
                expected="the folder in which the study was run",
                hint="name it: study.results(folder); study.run(folder) makes one",
            )
        return _opened(reopen(self, Path(store), "study.run() finishes it"), Path(store), allow_code=True)

    def to_yaml(self) -> str:
        """The study file: every setting written out, for ``transferscope run``."""
        return dump_study(self)


def load_study(path: str | Path, overrides: Sequence[str] = (), *, allow_code: bool = False) -> Study:
    """Read a study file.

    Args:
        path: of a YAML file; relative paths in it start at its folder.
        overrides: as after ``--set``: ``target.image_size=96``, ``seeds=[0, 1]``; values are YAML.
        allow_code: accept functions (``package.module:function``) that the file names.

    Raises:
        StudyError: the file is missing, not YAML, or its settings do not hold together: all problems at once.
    """
    return Study.model_validate(dict(load_settings(path, overrides, allow_code=allow_code)))


@checked_as(StoreError)
def load_results(folder: str | Path, *, store: str | Path | None = None, allow_code: bool = False) -> "StudyResults":
    """The results in the folder of a report: no images and no store are needed, and nothing is trained.

    Args:
        folder: of the report: ``transferscope-runs/reports/NAME``, or a copy of it.
        store: folder of the store, for its networks; the one in which the report lies where None.
        allow_code: networks may be made by functions (``package.module:function``) that the study names.

    Raises:
        StoreError: there are no results in the folder, or they are damaged or of another version.
    """
    from transferscope.report.results_reading import read_results
    from transferscope.store import Store

    place = Path(folder)
    around = place.resolve().parent.parent
    found = store or (around if Store.found(around) else None)
    return _opened(read_results(place), None if found is None else Path(found), allow_code=allow_code)


def _opened(results: "Results", store: Path | None, *, allow_code: bool) -> "StudyResults":
    from transferscope.python.results import StudyResults

    values = {field.name: getattr(results, field.name) for field in fields(results)}
    return StudyResults(**values, store=store, allow_code=allow_code)
