"""Module criticality (paper Figs. 5 and 6): which modules can go back to their start without loss."""

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, final

import polars as pl
from pydantic import Field, field_validator, model_validator

from transferscope.analyses.checkpoints import kept_epochs, too_few
from transferscope.analyses.contract import MeasureResult, Task
from transferscope.analyses.criticality.summary import QUANTITIES, summary_of
from transferscope.analyses.estimates import Quantity
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.images import evaluation_of
from transferscope.analyses.modules import OnModules
from transferscope.analyses.shuffled_members import blocks_misfit, check_variants, members_of, shuffled_variants
from transferscope.analyses.summary import Summary
from transferscope.analyses.tuned import AbstractTuned
from transferscope.context.resolved_study import ResolvedStudy
from transferscope.context.study_network import StudyNetwork
from transferscope.specs.network import NetworkSpec
from transferscope.study.columns import Column, schema

if TYPE_CHECKING:
    from transferscope.context.context import Context
    from transferscope.measures.criticality import Criticality as Found
    from transferscope.methods.modules.criticality import ModuleGrid
    from transferscope.study.settings import Study

__all__ = ["CriticalityAnalysis"]

_NOT_A_POINT = "not a point"
_NOT_A_MODULE = "not a module, or unreachable"


@final
class CriticalityAnalysis(AbstractTuned, OnModules):
    """μ of every module: how far it can go back towards its initial value, and how much noise it bears.

    One ε for each network (its own final value plus the margin), and one common to all networks (the largest of them).

    Attributes:
        variants: whose networks.
        blocks: sides of blocks in pixels: P-T trained on images shuffled so, beside the plain one, and on whole images
            without augmentation; every one is evaluated on images like those it was trained on.
        granularity: of the modules: ``stage``, ``block`` or ``layer``; the head is one of them.
        views: ``direct`` (straight line from the initial value), ``final`` (noise at the final value alone),
            ``optimisation`` (the values the module had during training; needs kept epochs).
        grid: ``search`` finds μ from few points; ``full`` evaluates all, for pictures of the valleys.
        alphas: values of α from 0 to 1 on the direct path.
        sigmas: scales of the noise, standard deviation of each parameter.
        n_noise: of noise, the same at every point of a module.
        quantity: ``error`` (1 − metric) or ``loss`` on training images under the evaluation transform.
        epsilon: largest value that counts as kept; None for the trained network's own plus ``margin``.
        margin: see ``epsilon``.
        train_images: training images it is measured on.
        batch_norm: ``recompute`` running statistics at every point, or ``none`` to keep the trained network's.
        batch_norm_images: training images the statistics are recomputed on.
        memory: MiB that may be kept of what lies before a module.
        max_seeds: at most so many seeds; None for all.
    """

    variants: tuple[Literal["P_T", "RI_T"], ...] = Field(default=("P_T", "RI_T"), min_length=1)
    blocks: tuple[int, ...] = ()
    views: tuple[Literal["direct", "optimisation", "final"], ...] = Field(default=("direct",), min_length=1)
    grid: Literal["search", "full"] = "search"
    alphas: int = Field(default=11, ge=2)
    sigmas: tuple[float, ...] = Field(default=(1e-4, 1e-3, 1e-2, 1e-1, 1.0), min_length=1)
    n_noise: int = Field(default=3, ge=2)
    quantity: Literal["error", "loss"] = "error"
    epsilon: float | None = None
    margin: float = Field(default=0.01, ge=0)
    train_images: int = Field(default=256, ge=2)
    batch_norm: Literal["recompute", "none"] = "recompute"
    batch_norm_images: int = Field(default=256, ge=2)
    memory: int = Field(default=1024, ge=0)
    max_seeds: int | None = Field(default=3, ge=1)
    # What is kept in memory changes nothing of what comes out.
    not_identity: ClassVar[frozenset[str]] = frozenset({"memory"})

    name: ClassVar[str] = "criticality"
    title: ClassVar[str] = "Module criticality"
    question: ClassVar[str] = "Which modules can go back to their start, or bear noise, without loss?"
    reference: ClassVar[str] = "Neyshabur et al. 2020, Figs. 5 and 6; Chatterji et al. 2020"
    version: ClassVar[int] = 1
    columns: ClassVar[Mapping[str, Column]] = {
        "level": Column(str, "final: the trained network itself; point: one place and σ; module: μ"),
        "view": Column(str, "direct, optimisation or final", null="the trained network itself"),
        "network": Column(str, "as P-T[0]"),
        "variant": Column(str, "P_T, RI_T, or P_T_block_8: trained on blocks of 8 px in another order"),
        "seed": Column(int, "of the network", "count"),
        "module": Column(str, "name of the module", null="the trained network itself"),
        "position": Column(int, "depth of the module: 0 is the first", "count", null="the trained network itself"),
        "parameters": Column(int, "of the module", "count", null="the trained network itself"),
        "displacement": Column(float, "‖θ_F − θ_0‖ of the module", "ℓ2", null="the trained network itself"),
        "quantity": Column(str, "error (1 − metric) or loss"),
        "batch_norm": Column(str, "recompute, none (the trained network's statistics kept) or no batch norm"),
        "examples": Column(int, "training images it is measured on", "count"),
        "limit": Column(str, "of a module: own (final value + margin) or common (the largest of all networks)",
                        null="not a module"),
        "epsilon": Column(float, "largest value that counts as kept", "1 or nat", "train", "not a module"),
        "step": Column(int, "step on the path; 0 is the initial value (final: the only one)", "count",
                        null=_NOT_A_POINT + ", or unreachable"),
        "distance": Column(float, "of the place from the initial value", "ℓ2", null=_NOT_A_POINT + ", or unreachable"),
        "sigma": Column(float, "scale of the noise; of a module the largest that reaches μ",
                        null="not a point, unreachable, or a module that never moved"),
        "objective": Column(float, "distance² / σ²", null=_NOT_A_POINT),
        "value": Column(float, "the quantity, mean over draws; of the trained network without noise", "1 or nat",
                        "train", "not finite, diverged, or a module"),
        "value_se": Column(float, "standard error over draws", "1 or nat", "train",
                           "not finite, diverged, or no noise"),
        "mu": Column(float, "smallest objective of a point with value + 2 SE ≤ ε", null=_NOT_A_MODULE),
        "mu_low": Column(float, "the same with value − 2 SE", null=_NOT_A_MODULE),
        "unreachable": Column(bool, "no point is feasible: μ is +∞"),
        "at_largest_sigma": Column(bool, "the point that gives μ has the largest σ there is"),
        "evaluated": Column(int, "points evaluated", "count", null="not a module"),
        "grid_points": Column(int, "points of the whole grid", "count", null="not a module"),
        "evaluation": Column(str, "what was kept of the network before the module", null="not a module"),
    }  # fmt: skip

    quantities: ClassVar[tuple[Quantity, ...]] = QUANTITIES

    @field_validator("views", "variants", "blocks", "sigmas")
    @classmethod
    def _each_once(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(set(value)) != len(value):
            raise ValueError("holds a value twice")
        return value

    @field_validator("sigmas")
    @classmethod
    def _scales(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if any(not 0 < sigma <= 1 for sigma in value):
            raise ValueError("noise scales must lie in (0, 1]")
        return tuple(sorted(value))

    @model_validator(mode="after")
    def _holds_together(self) -> "CriticalityAnalysis":
        check_variants(self.blocks, self.variants)
        return self

    def identity(self) -> Any:
        """As of every analysis; without blocks it is what it was before there were any."""
        identity = dict(super().identity())
        if not self.blocks:
            del identity["blocks"]
        return identity

    def check_study(self, study: "Study") -> str | None:
        """Blocks that do not divide the image; the optimisation path needs epochs between the start and the end."""
        if (reason := blocks_misfit(self.blocks, study.target.image_size)) is not None:
            return reason
        if "optimisation" in self.views and (reason := too_few(study.training.recipe)) is not None:
            return f"views: the optimisation path needs them, but {reason}"
        return None

    def networks(self, study: ResolvedStudy, evidence: Evidence) -> Iterable[NetworkSpec]:
        """The trained networks."""
        return [member.spec for member in self._members(study, evidence)]

    def _members(self, study: ResolvedStudy, evidence: Evidence) -> list[StudyNetwork]:
        return members_of(study, evidence, self.variants, self.blocks, self.max_seeds)

    def tasks(self, study: ResolvedStudy, evidence: Evidence) -> Iterable[Task]:
        """First each network's own value, which sets ε; then one unit for each module of each network."""
        members = self._members(study, evidence)
        yield from (Task(members=(member,), settings={"level": "final"}) for member in members)
        if not evidence.has(self):
            return
        final = evidence.table(self).filter(pl.col("level") == "final")
        own = dict(zip(final["network"], final["value"], strict=True))
        if any(member.label not in own for member in members):
            return
        limits = {label: value + self.margin if self.epsilon is None else self.epsilon
                  for label, value in own.items() if value is not None}  # fmt: skip
        for member in members:
            if member.label not in limits:
                continue
            for module, position in self._modules(study):
                for view in self.views:
                    settings = {
                        "level": "module", "view": view, "module": module, "position": position,
                        "final": own[member.label],
                        "limits": {"own": limits[member.label], "common": max(limits.values())},
                    }  # fmt: skip
                    yield Task(members=(member,), settings=settings)

    def _modules(self, study: ResolvedStudy) -> list[tuple[str, int]]:
        from transferscope.networks.transplants import parts_with_head

        names = parts_with_head(study.settings.source.architecture, self.granularity)
        return [(name, position) for position, name in enumerate(names)]

    def expected_table(self, study: ResolvedStudy) -> pl.DataFrame:
        """Every network's own value as 0, so that a plan can count the modules."""
        rows = [
            {"level": "final", "network": f"{variant.replace('_', '-')}[{seed}]", "variant": variant, "seed": seed,
             "quantity": self.quantity, "batch_norm": self.batch_norm, "examples": self.train_images, "value": 0.0,
             "unreachable": False, "at_largest_sigma": False}
            for variant in (*self.variants, *shuffled_variants(study, self.blocks).values())
            for seed in study.seeds[: self.max_seeds]
        ]  # fmt: skip
        return pl.DataFrame(rows, schema=schema(self.columns))

    def forward_passes(self, task: Task, study: ResolvedStudy) -> int:
        """Points × draws × images, as if every pass were whole."""
        once = self.train_images + 2 * self.batch_norm_images
        if task.settings["level"] == "final":
            return once
        points = len(self.sigmas) * (1 if task.settings["view"] == "final" else self.alphas)
        return once * self.n_noise * (points if self.grid == "full" else math.ceil(points / 4))

    def measure(self, task: Task, context: "Context") -> MeasureResult:
        """The network's own value, or the grid of one module."""
        (member,) = task.members
        common = {
            "network": member.label, "variant": member.variant, "seed": member.seed, "quantity": self.quantity,
            "batch_norm": self.batch_norm, "examples": len(context.indices("train", self.train_images)),
            "unreachable": False, "at_largest_sigma": False,
        }  # fmt: skip
        if context.diverged(member.spec):
            return MeasureResult(pl.DataFrame([{**common, "level": "final"}], schema=schema(self.columns)))
        grids = self._grids(member, task.settings.get("view", "direct"), context)
        common["batch_norm"] = grids.land.policy
        if task.settings["level"] == "final":
            rows = [{**common, "level": "final", "value": _finite(grids.final())}]
        else:
            rows = [{**common, **row} for row in self._module_rows(task, grids, member, context)]
        return MeasureResult(pl.DataFrame(rows, schema=schema(self.columns)))

    def _grids(
        self, member: StudyNetwork, view: Literal["direct", "optimisation", "final"], context: "Context"
    ) -> "ModuleGrid":
        from transferscope.methods.landscape.landscape import Landscape
        from transferscope.methods.modules.criticality import ModuleGrid, path_weights

        # A shuffled network knows shuffled images alone.
        ablation = context.data_of(member.spec).ablation
        networks = [context.network(member.spec), context.network(member.spec, 0)]
        between = kept_epochs(context.study.settings.training.recipe)[1:-1] if view == "optimisation" else ()
        networks += [context.network(member.spec, epoch) for epoch in between]
        land = Landscape(
            networks,
            {"train": context.batches("train", self.train_images, ablation=ablation)},
            evaluation=evaluation_of(context, self.batch_norm_images, self.batch_norm, ablation=ablation),
        )
        alphas = [index / (self.alphas - 1) for index in range(self.alphas)]
        return ModuleGrid(
            land, self.quantity, path_weights(view, alphas, len(between)), self.n_noise, context.seed("noise")
        )

    def _module_rows(
        self, task: Task, grids: "ModuleGrid", member: StudyNetwork, context: "Context"
    ) -> Iterable[dict[str, Any]]:
        from transferscope.measures.criticality import evaluate_grid, search_grid
        from transferscope.networks.architectures import head_name
        from transferscope.networks.modules import parts_parameters

        name = task.settings["module"]
        head = head_name(grids.land.network, member.spec.architecture)
        names = parts_parameters(grids.land.network, self.granularity, head)[name]
        evaluation = grids.focus(name, names, self.memory, self.granularity, head)
        common = {
            "view": task.settings["view"], "module": name, "position": task.settings["position"],
            "parameters": grids.size, "displacement": math.sqrt(grids.moved),
        }  # fmt: skip
        way = search_grid if self.grid == "search" else evaluate_grid
        results = {
            kind: way(
                lambda place, column: grids.at(place, self.sigmas[column]),
                grids.squared, self.sigmas, epsilon, task.settings["final"],
            )
            for kind, epsilon in task.settings["limits"].items()
        }  # fmt: skip
        points = {(p.position, p.sigma): p for found in results.values() for p in found.points}
        for place, sigma in sorted(points):
            point = points[place, sigma]
            finite = math.isfinite(point.value)
            yield {
                **common, "level": "point", "step": place, "distance": math.sqrt(grids.squared[place]),
                "sigma": sigma, "objective": point.objective, "value": point.value if finite else None,
                "value_se": point.standard_error if finite else None,
            }  # fmt: skip
        for kind, found in results.items():
            yield {**common, "level": "module", "limit": kind, "evaluation": evaluation, **_mu(found, grids.squared)}

    def summarise(self, table: pl.DataFrame, evidence: Evidence) -> Summary:
        """Modules without criticality, the most critical ones, and whole networks."""
        return summary_of(table, self.margin if self.epsilon is None else None)


def _mu(found: "Found", squared: list[float]) -> dict[str, Any]:
    return {
        "epsilon": found.epsilon,
        "step": found.position,
        "distance": None if found.position is None else math.sqrt(squared[found.position]),
        "sigma": found.sigma,
        "mu": found.mu,
        "mu_low": found.mu_low,
        "unreachable": found.mu is None,
        "at_largest_sigma": found.at_largest_sigma,
        "evaluated": len(found.points),
        "grid_points": found.grid_points,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
