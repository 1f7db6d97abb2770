"""What a study knows of an analysis: its name, its columns, and whether its settings fit."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal

from transferscope.data.sources import DataSource
from transferscope.data.spec import SplitSettings
from transferscope.errors import AnalysisError, TransferscopeError
from transferscope.frozen import Frozen
from transferscope.study.candidate import Candidate
from transferscope.study.columns import Column
from transferscope.study.other_source import OtherSource
from transferscope.study.renamed import former_settings


class AnalysisSettings(Frozen):
    """The settings of an analysis; what it does with them is added by :mod:`transferscope.analyses.contract`.

    The study that is passed is a :class:`transferscope.study.settings.Study`, which holds these settings itself.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    question: ClassVar[str]
    reference: ClassVar[str]
    version: ClassVar[int]
    columns: ClassVar[Mapping[str, Column]]

    def data_sources(self, study: Any) -> Iterable[tuple[DataSource, SplitSettings]]:
        """Data sets beside the target that it looks at, decoded at the target's size before anything is done.

        An analysis that needs another one passes on what that one names.
        """
        return ()

    def other_sources(self, study: Any) -> Iterable[OtherSource | Candidate]:
        """Pre-trained networks beside the source's that its networks start from, looked up before anything is done."""
        return ()

    def check_study(self, study: Any) -> str | None:
        """Which of its settings do not fit those of the study; None if all do. Asked before anything is done."""
        return None

    def identity(self) -> Any:
        """What is asked for, with the analysis's name and version; settings under the names they had first."""
        return {"analysis": self.name, "version": self.version, **former_settings(self.name, super().identity())}


def answered(
    analysis: AnalysisSettings, asked: Literal["check_study", "data_sources", "other_sources"], study: Any
) -> Any:
    """What an analysis says of a study before anything is done; it may be of somebody else's package."""
    try:
        found = getattr(analysis, asked)(study)
        return found if asked == "check_study" else tuple(found)
    except TransferscopeError:
        raise
    except Exception as error:
        raise AnalysisError(
            f"the analysis {analysis.name!r} cannot say its {asked}", got=f"{type(error).__name__}: {error}"
        ) from error
