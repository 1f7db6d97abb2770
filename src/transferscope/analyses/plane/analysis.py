"""Planes through the networks of a study, and of random directions around them."""

import math
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, final

import polars as pl
from pydantic import Field, field_validator, model_validator

from transferscope.analyses.contract import MeasureResult, Task
from transferscope.analyses.estimates import Quantity
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.images import OnImages
from transferscope.analyses.plane.summary import QUANTITIES, summary_of
from transferscope.analyses.summary import Summary
from transferscope.analyses.tuned import AbstractTuned, tuned_member
from transferscope.context.resolved_study import ResolvedStudy
from transferscope.context.study_network import StudyNetwork
from transferscope.keys import OWN_STATISTICS, RANDOM_DIRECTIONS
from transferscope.study.columns import Column, schema

if TYPE_CHECKING:
    from transferscope.context.context import Context
    from transferscope.methods.landscape import plane as plane_networks
    from transferscope.study.settings import Study

__all__ = ["PlaneAnalysis"]

_SPLITS: tuple[Literal["train", "test"], ...] = ("train", "test")
_NAME = re.compile(r"(RI|P|RI_T|P_T)\[(\d+)\]")
_NOT_FINITE = "not finite"


@final
class PlaneAnalysis(AbstractTuned, OnImages):
    """Loss and error on planes of parameter space, as pictures with the networks marked.

    Attributes:
        via: three networks each, such as ``P[0]``, ``P_T[0]``, ``P_T[1]``; the first is the origin. None takes P
            and two P-T, and two P-T and an RI-T, of the first seeds; with one seed P, P-T and RI-T.
        center: networks with a plane of two random filter-normalised directions around them. None takes P-T and RI-T
            of the first seed.
        resolution: points a side of the finest grid.
        margin: around three networks on all sides, as a share of the longer of their triangle's width and height.
        extent: to either side of one network, in units of the directions, which are as long as its weights.
        norm_and_bias: whether random directions leave biases and parameters of norms as they are (``zero``), or
            move each as one filter (``normalise``).
        direction_seed: of random directions; the same for all networks.
        tolerance: finer points are evaluated where interpolation was off by more, in error or in 1 − exp(−loss); 0
            evaluates wherever anything changes.
        batch_norm: ``recompute`` running statistics at every point; ``interpolate`` and ``none`` make artefacts.
    """

    via: tuple[tuple[str, str, str], ...] | None = None
    center: tuple[str, ...] | None = None
    resolution: int = Field(default=17, ge=5, le=65)
    margin: float = Field(default=0.25, ge=0)
    extent: float = Field(default=1.0, gt=0)
    norm_and_bias: Literal["zero", "normalise"] = "zero"
    direction_seed: int = Field(default=0, ge=0)
    tolerance: float = Field(default=0.02, ge=0)
    batch_norm: Literal["recompute", "interpolate", "none"] = "recompute"

    name: ClassVar[str] = "plane"
    title: ClassVar[str] = "Planes through networks"
    question: ClassVar[str] = "What does the loss look like on the plane of three networks, or around one?"
    reference: ClassVar[str] = "Neyshabur et al. 2020, Fig. 4; Garipov et al. 2018, Fig. 1; Li et al. 2018, Sec. 4"
    version: ClassVar[int] = 1
    columns: ClassVar[Mapping[str, Column]] = {
        "level": Column(str, "point of the grid, or mark: a network"),
        "plane": Column(str, "the three networks, or the one it lies around"),
        "kind": Column(str, "networks, or random directions"),
        "network": Column(str, "of a mark", null="a point of the grid"),
        "x": Column(float, "coordinate along the first axis", "ℓ2"),
        "y": Column(float, "coordinate along the second axis", "ℓ2"),
        "grid_level": Column(int, "0 for the coarsest grid, one more for each halving", "count", null="a mark"),
        "interpolated": Column(bool, "mean of its neighbours one level up, not evaluated"),
        "split": Column(str, "train or test"),
        "batch_norm": Column(str, "recompute, interpolate, none, no batch norm, or own statistics (of a mark)"),
        "examples": Column(int, "images evaluated", "count"),
        "loss": Column(float, "mean loss", "nat", "row", _NOT_FINITE),
        "loss_se": Column(float, "its standard error over examples or groups", "nat", "row",
                          "a point of the grid, one group, or not finite"),
        "error": Column(float, "share of wrong labels", "1", "row"),
        "error_se": Column(float, "its standard error over examples or groups", "1", "row",
                           "a point of the grid, or one group"),
        "metric": Column(float, "the study's metric", "metric", "row", "undefined, or a point of the grid"),
        "cosine": Column(float, "between the two axes; 0 through three networks"),
    }  # fmt: skip

    quantities: ClassVar[tuple[Quantity, ...]] = QUANTITIES

    @field_validator("via", "center")
    @classmethod
    def _one_spelling(cls, given: Any) -> Any:
        """``P-T[0]``, as reports show it, is ``P_T[0]``: one network, one key."""
        if isinstance(given, tuple):
            return tuple(cls._one_spelling(item) for item in given)
        return given.replace("-", "_") if isinstance(given, str) else given

    @model_validator(mode="after")
    def _holds_together(self) -> "PlaneAnalysis":
        if self.resolution % 2 == 0:
            raise ValueError("resolution must be odd, so that grids halve")
        if not (self.via is None or self.via) and not (self.center is None or self.center):
            raise ValueError("via and center are both empty: there is no plane")
        for name in (*(name for three in self.via or () for name in three), *(self.center or ())):
            if _NAME.fullmatch(name) is None:
                raise ValueError(f"{name!r} is no network: expected RI, P, RI_T or P_T with a seed, such as P_T[0]")
        for three in self.via or ():
            if len(set(three)) < 3:
                raise ValueError(f"{', '.join(three)}: a plane needs three different networks")
        return self

    def check_study(self, study: "Study") -> str | None:
        """A network of a seed that the study does not have."""
        for name in (*(name for three in self.via or () for name in three), *(self.center or ())):
            if _seed(name) not in study.seeds:
                return f"{name}: the study has the seeds {', '.join(map(str, study.seeds))}"
        return None

    def planes(self, seeds: tuple[int, ...]) -> tuple[tuple[str, ...], ...]:
        """The networks of every plane: three, or the one it lies around."""
        first, *others = seeds
        via: tuple[tuple[str, ...], ...] = (
            ((f"P[{first}]", f"P_T[{first}]", f"P_T[{others[0]}]"),
             (f"P_T[{first}]", f"P_T[{others[0]}]", f"RI_T[{first}]"))
            if others
            else ((f"P[{first}]", f"P_T[{first}]", f"RI_T[{first}]"),)
        )  # fmt: skip
        center = (f"P_T[{first}]", f"RI_T[{first}]") if self.center is None else self.center
        return (*(via if self.via is None else self.via), *((name,) for name in center))

    def tasks(self, study: ResolvedStudy, evidence: Evidence) -> Iterable[Task]:
        """One per plane."""
        for names in self.planes(study.seeds):
            yield Task(members=tuple(tuned_member(study, _variant(name), _seed(name), evidence) for name in names))

    def forward_passes(self, task: Task, study: ResolvedStudy) -> int:
        """Every point of the finest grid (at most): statistics (about twice a plain pass), training and test images."""
        return (self.resolution**2 + 2 * len(task.members)) * self.per_point

    def measure(self, task: Task, context: "Context") -> MeasureResult:
        """Evaluate a plane; none with a diverged network."""
        if any(context.diverged(member.spec) for member in task.members):
            return MeasureResult(pl.DataFrame([], schema=schema(self.columns)))
        from transferscope.methods.landscape.plane import plane_around, plane_through

        data = self.data(context)
        networks = [context.network(member.spec) for member in task.members]
        shared: dict[str, Any] = {
            "evaluation": self.evaluation(context),
            "resolution": self.resolution,
            "tolerance": self.tolerance,
        }
        if len(networks) == 3:
            found = plane_through(networks, data, margin=self.margin, **shared)
        else:
            found = plane_around(
                networks[0],
                data,
                seed=self.direction_seed,
                reach=self.extent,
                one_dimensional=self.norm_and_bias,
                **shared,
            )
        rows: list[dict[str, Any]] = []
        for split in _SPLITS:
            indices = context.indices(split, self.limits[split])
            groups = context.images().groups
            facts = {
                "plane": _title(task.members),
                "kind": "networks" if len(networks) == 3 else RANDOM_DIRECTIONS,
                "split": split,
                "examples": len(indices),
                "cosine": found.cosine,
            }
            clusters = None if groups is None else [groups[index] for index in indices]
            rows += [{**facts, **row} for row in _rows(found, task.members, split, clusters)]
        return MeasureResult(pl.DataFrame(rows, schema=schema(self.columns)))

    def summarise(self, table: pl.DataFrame, evidence: Evidence) -> Summary:
        """Errors at the marks, and how the plane was evaluated; a picture decides nothing."""
        return summary_of(table, self.batch_norm_images, self.tolerance, self.norm_and_bias)


def _variant(name: str) -> str:
    return name.split("[")[0]


def _seed(name: str) -> int:
    return int(name.split("[")[1].removesuffix("]"))


def _title(members: tuple[StudyNetwork, ...]) -> str:
    names = [member.label for member in members]
    return ", ".join(names) if len(names) == 3 else f"around {names[0]}"


def _rows(
    plane: "plane_networks.Plane", members: tuple[StudyNetwork, ...], split: str, clusters: list[Any] | None
) -> Iterable[dict[str, Any]]:  # fmt: skip
    from transferscope.measures.standard_error import standard_error

    for row, y in enumerate(plane.y.tolist()):
        for column, x in enumerate(plane.x.tolist()):
            yield {
                "level": "point",
                "x": x,
                "y": y,
                "grid_level": int(plane.level[row, column]),
                "interpolated": bool(plane.interpolated[row, column]),
                "batch_norm": plane.batch_norm,
                "loss": _finite(float(plane.loss[split][row, column])),
                "error": float(plane.error[split][row, column]),
            }
    for member, mark in zip(members, plane.marks, strict=True):
        for policy, points in ((plane.batch_norm, mark.points), (OWN_STATISTICS, mark.own)):
            point = points[split]
            yield {
                "level": "mark",
                "network": member.label,
                "x": mark.x,
                "y": mark.y,
                "interpolated": False,
                "batch_norm": policy,
                "loss": _finite(float(point.losses.mean())),
                "loss_se": _finite(standard_error(point.losses, clusters)),
                "error": float(point.errors.mean()),
                "error_se": standard_error(point.errors, clusters),
                "metric": point.metric,
            }


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
