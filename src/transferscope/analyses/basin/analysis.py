"""The (ε, δ) test of basins between the networks of a study (paper Def. 3.1)."""

from collections.abc import Iterable, Mapping
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, ClassVar, Literal, final

import polars as pl
from pydantic import Field, model_validator

from transferscope.analyses.basin.summary import QUANTITIES, summary_of
from transferscope.analyses.contract import MeasureResult, Task
from transferscope.analyses.estimates import Quantity
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.images import OnImages
from transferscope.analyses.path_pairs import members_of
from transferscope.analyses.path_rows import clusters_of
from transferscope.analyses.summary import Summary
from transferscope.analyses.tuned import AbstractTuned, tuned_members
from transferscope.context.resolved_study import ResolvedStudy
from transferscope.context.study_network import StudyNetwork
from transferscope.keys import shown
from transferscope.published import published
from transferscope.study.columns import Column, schema

if TYPE_CHECKING:
    from transferscope.context.context import Context
    from transferscope.methods.landscape.basin import BasinGrid
    from transferscope.study.settings import Study

__all__ = ["Basins", "published_rows"]

_SPLITS: tuple[Literal["train", "test"], ...] = ("train", "test")
_NOT_A_SET = "a condition, or published"
_NOT_FINITE = "a condition, published, or not finite within the set"
_PUBLISHED = "published"


@final
class Basins(AbstractTuned, OnImages):
    """Whether the sets between trained networks are basins, of which ε and δ, and whether there is a barrier in them.

    Attributes:
        variants: whose pairs are tested as segments.
        max_pairs: at most so many segments of each variant, those of the first seeds first: (0, 1), (0, 2), (1, 2),
            ...; three of three seeds make an interval over seeds. None for all.
        hulls: whose networks of all seeds, three or more, are tested as one convex hull.
        points: of the quadrature on a segment (odd, ends included), and uniform points of a hull.
        n_noise: of noise in all directions, for a segment.
        n_hull_samples: of points, ways out and noise, for a hull.
        nodes: of the quadrature of the distance beyond an end, for a segment.
        smallest: least δ after 0, as a share of the distance of the networks.
        largest: cap of δ, as a share of that distance.
        per_doubling: values of δ to each factor of 2.
        tau: the fixed threshold of δ_τ, in nats and as a share of wrong labels.
        noise_seed: of all draws.
        batch_norm: ``recompute`` running statistics at every point; ``interpolate`` and ``none`` make artefacts.
        train_images: training images ℓ is measured on; None for all.
        test_images: test images ℓ is measured on; None for all.
        published: a basin of the paper to set beside those of the study.
    """

    variants: tuple[Literal["P_T", "RI_T"], ...] = ("P_T", "RI_T")
    max_pairs: int | None = Field(default=3, ge=1)
    hulls: tuple[Literal["P_T", "RI_T"], ...] = ("P_T",)
    points: int = Field(default=25, ge=3)
    n_noise: int = Field(default=4, ge=2)
    n_hull_samples: int = Field(default=8, ge=2)
    nodes: int = Field(default=4, ge=1, le=16)
    smallest: float = Field(default=1 / 16, gt=0)
    largest: float = Field(default=4.0, gt=0)
    per_doubling: int = Field(default=1, ge=1, le=100)
    tau: float = Field(default=0.02, gt=0)
    noise_seed: int = Field(default=0, ge=0)
    batch_norm: Literal["recompute", "interpolate", "none"] = "recompute"
    train_images: int | None = Field(default=512, ge=2)
    test_images: int | None = Field(default=None, ge=2)
    published: Literal["none", "real", "clipart", "quickdraw"] = "none"

    name: ClassVar[str] = "basin"
    title: ClassVar[str] = "Basins"
    question: ClassVar[str] = "Do the trained networks of one start share a basin, and how far does it reach?"
    reference: ClassVar[str] = "Neyshabur et al. 2020, Def. 3.1"
    version: ClassVar[int] = 2
    columns: ClassVar[Mapping[str, Column]] = {
        "level": Column(str, "set: one tested set; condition: one left side at one δ; published: of the paper"),
        "origin": Column(str, "study, or the paper's name of the target"),
        "set": Column(str, "segment P-T/P-T, segment RI-T/RI-T, hull of P-T, or hull of RI-T"),
        "networks": Column(str, "its corners", null=_PUBLISHED),
        "seed_a": Column(int, "seed of the first corner", "count", null=_PUBLISHED),
        "seed_b": Column(int, "seed of the last corner", "count", null=_PUBLISHED),
        "corners": Column(int, "how many networks", "count", null=_PUBLISHED),
        "split": Column(str, "train or test", null=_PUBLISHED),
        "quantity": Column(str, "ℓ: loss or error", null=_PUBLISHED),
        "batch_norm": Column(str, "recompute, interpolate, none, or no batch norm", null=_PUBLISHED),
        "examples": Column(int, "images evaluated", "count", null=_PUBLISHED),
        "points": Column(int, "points of the set for μ and ε", "count", null=_PUBLISHED),
        "n_noise": Column(int, "draws of noise", "count", null=_PUBLISHED),
        "parameters": Column(int, "n: numbers that noise acts on", "count", null=_PUBLISHED),
        "distance": Column(float, "‖θ_1 − θ_2‖, of a hull the mean over pairs; of the paper two P-T", "ℓ2"),
        "mean": Column(float, "μ, mean over the set", "nat or 1", "row", _NOT_FINITE),
        "epsilon": Column(float, "ε = E|ℓ − μ|", "nat or 1", "row", "a condition, or not finite within the set"),
        "epsilon_se_draws": Column(float, "its standard error over points, 0 for a quadrature", "nat or 1", "row",
                                   _NOT_FINITE),
        "epsilon_se_examples": Column(float, "its standard error over examples or groups", "nat or 1", "row",
                                      f"{_NOT_FINITE}, or one group"),
        "resolved": Column(bool, "2ε is at least twice its standard error", null=f"{_NOT_FINITE}, or no error"),
        "rise": Column(float, "barrier: largest height within the set above the mean of its corners", "nat or 1", "row",
                       _NOT_FINITE),
        "rise_low": Column(float, "lower 95 % limit, over examples", "nat or 1", "row", f"{_NOT_FINITE}, or none"),
        "rise_high": Column(float, "upper 95 % limit, over examples", "nat or 1", "row", f"{_NOT_FINITE}, or none"),
        "delta": Column(float, "δ of a set, or the δ of a condition", "ℓ2", "row", "see reason"),
        "delta_below": Column(float, "the next smaller δ tested, at which a condition fails", "ℓ2", "row",
                              "not a set of the study, δ is 0, or see reason"),
        "delta_low": Column(float, "largest δ at which a condition fails by more than its 95 % error, or 0", "ℓ2",
                            "row", f"{_NOT_FINITE}, or no error"),
        "delta_high": Column(float, "smallest δ from which both hold by more than their 95 % error", "ℓ2", "row",
                             f"{_NOT_FINITE}, no error, or not up to the cap"),
        "reason": Column(str, "why there is no δ", null="there is one, or published"),
        "tau": Column(float, "fixed threshold in place of 2ε", "nat or 1", null=_NOT_A_SET),
        "delta_tau": Column(float, "δ with that threshold", "ℓ2", "row", "not a set of the study, or see reason_tau"),
        "delta_tau_low": Column(float, "as delta_low", "ℓ2", "row", f"{_NOT_FINITE}, or no error"),
        "delta_tau_high": Column(float, "as delta_high", "ℓ2", "row", f"{_NOT_FINITE}, no error, or not up to the cap"),
        "reason_tau": Column(str, "why there is no δ_τ", null="there is one, or published"),
        "condition": Column(str, "noise: (2), in all directions; outward: (3), the way out", null="not a condition"),
        "height": Column(float, "left side of the condition: mean of ℓ there, minus μ", "nat or 1", "row",
                         "not a condition, or a loss that is not finite (the condition then holds)"),
        "height_se_draws": Column(float, "its standard error over draws, 0 for a quadrature", "nat or 1", "row",
                                  "as height"),
        "height_se_examples": Column(float, "its standard error over examples or groups", "nat or 1", "row",
                                     "as height, or one group"),
        "threshold": Column(float, "2ε, which both left sides must reach", "nat or 1", "row", "not a condition"),
    }  # fmt: skip

    quantities: ClassVar[tuple[Quantity, ...]] = QUANTITIES

    @model_validator(mode="after")
    def _holds_together(self) -> "Basins":
        if self.points % 2 == 0:
            raise ValueError("points: Simpson's rule needs an odd number")
        if self.smallest >= self.largest:
            raise ValueError("smallest must be below largest")
        for name in ("variants", "hulls"):
            if len(set(getattr(self, name))) < len(getattr(self, name)):
                raise ValueError(f"{name} names a variant twice")
        if not self.variants and not self.hulls:
            raise ValueError("variants and hulls are both empty: there is nothing to test")
        return self

    def check_study(self, study: "Study") -> str | None:
        """Hulls alone need three seeds."""
        if not self.variants and len(study.seeds) < 3:
            return "hulls: a hull needs at least three seeds, a segment (variants) two"
        return None

    def skip_reason(self, study: ResolvedStudy) -> str | None:
        """A set needs two seeds."""
        return "a basin between networks needs at least two seeds" if len(study.seeds) < 2 else None

    def tasks(self, study: ResolvedStudy, evidence: Evidence) -> Iterable[Task]:
        """One per pair, one per hull of three networks or more, and the published basin."""
        for variant in self.variants:
            pairs = members_of(f"{variant}/{variant}", study, evidence, study.seeds)
            for pair in islice(pairs, self.max_pairs):
                yield Task(members=pair)
        if len(study.seeds) >= 3:
            for variant in self.hulls:
                yield Task(members=tuple(tuned_members(study, evidence, (variant,))))
        if self.published != "none":
            yield Task(members=(), settings={"published": self.published})

    def forward_passes(self, task: Task, study: ResolvedStudy) -> int:
        """Every point: statistics (about twice the cost of a plain pass), training and test images."""
        from transferscope.measures.basin import delta_grid
        from transferscope.methods.landscape.basin import evaluations

        corners = len(task.members)
        if not corners:
            return 0
        deltas = len(delta_grid(1.0, self.smallest, self.largest, self.per_doubling))
        return evaluations(corners, self._grid(corners), deltas) * self.per_point

    def _grid(self, corners: int) -> "BasinGrid":
        from transferscope.methods.landscape.basin import BasinGrid

        draws = self.n_noise if corners == 2 else self.n_hull_samples
        return BasinGrid(points=self.points, draws=draws, nodes=self.nodes)

    def measure(self, task: Task, context: "Context") -> MeasureResult:
        """Test the set between the members; none of a diverged one."""
        if "published" in task.settings:
            return MeasureResult(published_rows(task.settings["published"], schema(self.columns)))
        if any(context.diverged(member.spec) for member in task.members):
            return MeasureResult(pl.DataFrame([], schema=schema(self.columns)))
        from transferscope.analyses.basin.rows import rows_of
        from transferscope.measures.basin import delta_grid
        from transferscope.methods.landscape.basin import basin_networks

        found = basin_networks(
            [context.network(member.spec) for member in task.members],
            self.data(context),
            evaluation=self.evaluation(context),
            grid=self._grid(len(task.members)),
            deltas=partial(
                delta_grid, smallest=self.smallest, largest=self.largest, per_doubling=self.per_doubling
            ),
            tau=self.tau,
            seed=self.noise_seed,
            clusters=clusters_of(context, self.limits),
        )  # fmt: skip
        facts = {
            "origin": "study",
            "set": set_name(task.members),
            "networks": ", ".join(member.label for member in task.members),
            "seed_a": task.members[0].seed,
            "seed_b": task.members[-1].seed,
        }
        rows = [
            {**facts, **row}
            for split in _SPLITS
            for row in rows_of(found, split, len(context.indices(split, self.limits[split])), self.tau)
        ]
        return MeasureResult(pl.DataFrame(rows, schema=schema(self.columns)))

    def summarise(self, table: pl.DataFrame, evidence: Evidence) -> Summary:
        """Which sets are one basin, by the test error: its δ, and no barrier."""
        wanted = [
            *(f"segment {shown(variant)}/{shown(variant)}" for variant in self.variants),
            *(f"hull of {shown(variant)}" for variant in self.hulls),
        ]
        return summary_of(table, wanted, self.batch_norm_images, self.largest)


def set_name(members: tuple[StudyNetwork, ...]) -> str:
    """``segment P-T/P-T`` or ``hull of P-T``."""
    names = [shown(member.variant) for member in members]
    return f"segment {names[0]}/{names[1]}" if len(names) == 2 else f"hull of {names[0]}"


def published_rows(domain: str, columns: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """The paper's basin for one target, as a row of the table.

    Args:
        domain: ``real``, ``clipart`` or ``quickdraw``.
        columns: schema of the table.
    """
    found = published("basin")
    rows = [dict(zip(found["columns"], row, strict=True)) for row in found["rows"]]
    return pl.DataFrame(
        [
            {
                "level": "published", "origin": row["domain"], "set": "segment P-T/P-T",
                "epsilon": row["epsilon"], "delta": row["delta"], "distance": row["distance"],
            }
            for row in rows if row["domain"] == domain
        ],
        schema=columns,
    )  # fmt: skip
