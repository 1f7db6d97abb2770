"""Ways between two networks of one variant: the settings, columns and pairs that analyses of them share."""

import abc
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

import polars as pl
from pydantic import Field

from transferscope.analyses.contract import MeasureResult, Task
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.images import OnImages
from transferscope.analyses.path_pairs import members_of
from transferscope.analyses.path_rows import clusters_of
from transferscope.analyses.tuned import AbstractTuned
from transferscope.context.resolved_study import ResolvedStudy
from transferscope.context.study_network import StudyNetwork
from transferscope.keys import shown
from transferscope.study.columns import Column, schema

if TYPE_CHECKING:
    from transferscope.context.context import Context

__all__ = ["AbstractWays", "joined", "way_columns"]


class AbstractWays(AbstractTuned, OnImages):
    """Loss and error along some ways between two networks of one variant, and the barriers on them.

    The first two members of a unit are the ends.

    Attributes:
        points: positions on every way, ends included.
        variants: whose pairs.
        max_pairs: at most so many pairs of each variant, those of the first seeds first: (0, 1), (0, 2), (1, 2), ...;
            three pairs of three seeds make an interval over seeds. None for all.
    """

    points: int = Field(default=25, ge=3)
    batch_norm_images: int = Field(default=512, ge=2)
    train_images: int | None = Field(default=1024, ge=2)
    test_images: int | None = Field(default=None, ge=2)
    variants: tuple[Literal["P_T", "RI_T"], ...] = ("P_T", "RI_T")
    max_pairs: int | None = Field(default=3, ge=1)

    def measure(self, task: Task, context: "Context") -> MeasureResult:
        """Walk every way; none where a network diverged."""
        rows: list[dict[str, Any]] = []
        if not any(context.diverged(member.spec) for member in task.members):
            ends = joined(*task.members[:2])
            rows += [{**ends, **row} for row in self.path_rows(task, context, clusters_of(context, self.limits))]
        return MeasureResult(pl.DataFrame(rows, schema=schema(self.columns)))

    def pairs(
        self, variant: str, study: ResolvedStudy, evidence: Evidence
    ) -> Iterator[tuple[StudyNetwork, StudyNetwork]]:
        """The pairs of one variant that are measured."""
        return islice(members_of(f"{variant}/{variant}", study, evidence, study.seeds), self.max_pairs)

    @abc.abstractmethod
    def path_rows(self, task: Task, context: "Context", clusters: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """The rows of all ways of a unit, without the columns that name its ends.

        Args:
            task: of networks that did not diverge.
            context: of the study.
            clusters: by split, the group of each image; None where the data has no groups.
        """


def joined(first: StudyNetwork, second: StudyNetwork) -> dict[str, Any]:
    """The columns that name the two ends: ``pair``, ``a``, ``b``, ``seed_a`` and ``seed_b``."""
    return {
        "pair": f"{shown(first.variant)}/{shown(second.variant)}",
        "a": first.label,
        "b": second.label,
        "seed_a": first.seed,
        "seed_b": second.seed,
    }


def way_columns(position: str, ways: str, second: str = "") -> dict[str, Column]:
    """The columns that say which row of which way between which networks it is.

    Args:
        position: the letter of a place on a way.
        ways: the meaning of the column ``way``.
        second: what else is to be said of the second network.
    """
    barrier = f"barrier: the largest gap over {position} in [0, 1]"
    return {
        "level": Column(str, f"point: one {position}; own: an end with its own statistics; {barrier}"),
        "way": Column(str, ways),
        "pair": Column(str, "which variants"),
        "a": Column(str, f"the network at {position} = 0"),
        "b": Column(str, f"the network at {position} = 1{second}"),
        "seed_a": Column(int, "seed of a", "count"),
        "seed_b": Column(int, "seed of b", "count"),
    }
