"""How fast the loss rises around P-T and RI-T, each measure with its control."""

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, final

import polars as pl
from pydantic import Field, field_validator

from transferscope.analyses.contract import MeasureResult, Task
from transferscope.analyses.estimates import Quantity
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.flatness.summary import QUANTITIES, summary_of
from transferscope.analyses.images import OnImages, evaluation_of
from transferscope.analyses.summary import Summary
from transferscope.analyses.tuned import AbstractTuned, tuned_member
from transferscope.context.resolved_study import TRAINED, ResolvedStudy
from transferscope.keys import NO_BATCH_NORM
from transferscope.study.columns import Column, schema

if TYPE_CHECKING:
    from torch import nn

    from transferscope.context.context import Context
    from transferscope.errors import MeasureError
    from transferscope.methods.landscape.hessian import Hessian
    from transferscope.methods.landscape.radius_curves import RadiusCurves, Rise

__all__ = ["Flatness"]

_RADIUS = "not a radius row"
_HESSIAN = "a radius row"
_ONE_GROUP = "{}, or a single group of images"
_LOST = f"{_RADIUS}, or the loss of one direction is not finite"


@final
class Flatness(AbstractTuned, OnImages):
    """Loss and error against the distance from P-T and RI-T along random filter-normalised directions, and Hessians.

    A radius is a share of a length. Three lengths, each over the parameters that move, are the controls of each other:
    ``equal``, the norm of P, the same for every network of the study, so that networks are compared at equal ℓ2
    distance; ``relative``, each network's own norm; ``moved``, the distance of each network from its own start.
    All networks get the same draws.

    Attributes:
        shares: of ``equal`` and ``relative``, ascending.
        moved_shares: of ``moved``, ascending; empty to leave it out.
        directions: random directions.
        norm_and_bias: whether biases and the parameters of norms stay (``zero``) or move (``normalise``).
        batch_norm: ``recompute`` running statistics at every point, or ``none`` to keep each network's own.
        batch_norm_images: training images for it.
        splits: images on which the curves are measured; a verdict rests on the first.
        train_images: training images of the curves, stratified; None for all.
        test_images: test images of the curves; None for all.
        hessian: whether Hessians are measured.
        eigenvalues: the largest of each Hessian.
        hessian_images: training images that the loss is averaged over.
        probes: random vectors for the trace.
        tolerance: of eigenvalues, relative.
        max_products: about where a search for eigenvalues ends without convergence.
        dtype: of the products with the Hessian.
        max_seeds: at most so many seeds of either variant; None for all.
    """

    shares: tuple[float, ...] = Field(default=(0.05, 0.1, 0.2, 0.4), min_length=1)
    moved_shares: tuple[float, ...] = (0.25, 0.5, 1.0)
    directions: int = Field(default=5, ge=2)
    norm_and_bias: Literal["zero", "normalise"] = "zero"
    batch_norm: Literal["recompute", "none"] = "recompute"
    batch_norm_images: int = Field(default=512, ge=2)
    splits: tuple[Literal["train", "test"], ...] = Field(default=("train",), min_length=1)
    train_images: int | None = Field(default=512, ge=2)
    test_images: int | None = Field(default=512, ge=2)
    hessian: bool = True
    eigenvalues: int = Field(default=1, ge=1)
    hessian_images: int = Field(default=128, ge=2)
    probes: int = Field(default=30, ge=2)
    tolerance: float = Field(default=1e-3, gt=0, lt=1)
    max_products: int = Field(default=300, ge=1)
    dtype: Literal["float32", "float64"] = "float32"
    max_seeds: int | None = Field(default=None, ge=1)

    name: ClassVar[str] = "flatness"
    title: ClassVar[str] = "Curvature around the solutions"
    question: ClassVar[str] = "How fast does the loss rise around P-T and RI-T, at which distances?"
    reference: ClassVar[str] = "Li et al. 2018, Sec. 4; Dinh et al. 2017"
    version: ClassVar[int] = 2
    columns: ClassVar[Mapping[str, Column]] = {
        "level": Column(str, "radius: mean over directions at one radius; eigenvalue or trace: of the Hessian"),
        "network": Column(str, "the network"),
        "variant": Column(str, "RI_T or P_T"),
        "seed": Column(int, "its seed", "count"),
        "split": Column(str, "train or test"),
        "batch_norm": Column(str, "recompute, none (the network's own statistics) or no batch norm"),
        "examples": Column(int, "images", "count"),
        "parameters": Column(int, "numbers that move, or that the Hessian is over (all)", "count"),
        "norm": Column(float, "‖θ‖₂ over these parameters", "ℓ2"),
        "normalisation": Column(str, "equal (‖P‖), relative (own ‖θ‖) or moved (‖θ − θ_0‖)", null=_RADIUS),
        "length": Column(float, "the normalisation's length", "ℓ2", null=_RADIUS),
        "share": Column(float, "radius over that length; 0 is the network itself", null=_RADIUS),
        "l2": Column(float, "radius: share × length", "ℓ2", null=_RADIUS),
        "directions": Column(int, "random directions averaged over", "count", null=_RADIUS),
        "loss": Column(float, "mean loss", "nat", "row", _LOST),
        "loss_se": Column(float, "its standard error over directions", "nat", "row", f"{_LOST}, or share 0"),
        "loss_rise": Column(float, "loss above that of the network itself", "nat", "row", _LOST),
        "loss_rise_se": Column(float, "its standard error over images, paired", "nat", "row", _ONE_GROUP.format(_LOST)),
        "error": Column(float, "share of wrong labels", "1", "row", _RADIUS),
        "error_se": Column(float, "its standard error over directions", "1", "row", f"{_RADIUS}, or share 0"),
        "error_rise": Column(float, "error above that of the network itself", "1", "row", _RADIUS),
        "error_rise_se": Column(
            float, "its standard error over images, paired", "1", "row", _ONE_GROUP.format(_RADIUS)
        ),
        "rank": Column(int, "1 is the largest eigenvalue", "count", null="not an eigenvalue row"),
        "value": Column(float, "eigenvalue or trace", "nat/ℓ2²", "row", f"{_HESSIAN}, or not found: see note"),
        "value_se": Column(float, "standard error over random probes", "nat/ℓ2²", "row", "not a trace, or not found"),
        "scaled": Column(float, "value × norm²: not changed by a common scale", "nat", "row", "as value"),
        "residual": Column(
            float, "‖Hv − λv‖₂: an eigenvalue lies within it", "nat/ℓ2²", "row", "not an eigenvalue, or not found"
        ),
        "converged": Column(bool, "whether the search met its tolerance", null=_HESSIAN),
        "products": Column(int, "products with the Hessian, in all", "count", null=f"{_HESSIAN}, or not measured"),
        "note": Column(str, "why there is no value", null="there is one"),
    }

    quantities: ClassVar[tuple[Quantity, ...]] = QUANTITIES

    @field_validator("shares", "moved_shares")
    @classmethod
    def _ascending(cls, shares: tuple[float, ...]) -> tuple[float, ...]:
        if any(share <= 0 for share in shares) or list(shares) != sorted(set(shares)):
            raise ValueError(f"shares are ascending numbers above 0, got {list(shares)}")
        return shares

    @field_validator("splits")
    @classmethod
    def _once(cls, splits: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(splits)) < len(splits):
            raise ValueError(f"a split is named once, got {list(splits)}")
        return splits

    def tasks(self, study: ResolvedStudy, evidence: Evidence) -> Iterable[Task]:
        """Curves, and the Hessian, of one network; P is the normalisation of the curves."""
        normalisation = tuned_member(study, "P", study.seeds[0], evidence)
        for variant in TRAINED:
            for seed in study.seeds[: self.max_seeds]:
                member = tuned_member(study, variant, seed, evidence)
                yield Task(members=(member, normalisation), settings={"measure": "radius"})
                if self.hessian:
                    yield Task(members=(member,), settings={"measure": "hessian"})

    def forward_passes(self, task: Task, study: ResolvedStudy) -> int:
        """Of curves: all points and their statistics; a product with the Hessian costs about twelve passes."""
        if task.settings["measure"] == "hessian":
            return 12 * (40 + self.probes) * self.hessian_images
        limits = {"train": self.train_images or 2000, "test": self.test_images or 1000}
        points = 1 + self.directions * (2 * len(self.shares) + len(self.moved_shares))
        return points * (2 * self.batch_norm_images + sum(limits[split] for split in self.splits))

    def measure(self, task: Task, context: "Context") -> MeasureResult:
        """The curves, or the Hessian, of one network."""
        member = task.members[0]
        if context.diverged(member.spec):
            return MeasureResult(pl.DataFrame([], schema=schema(self.columns)))
        measure = self._hessian if task.settings["measure"] == "hessian" else self._curves
        base = {"network": member.label, "variant": member.variant, "seed": member.seed}
        rows = [{**base, **row} for row in measure(task, context)]
        return MeasureResult(pl.DataFrame(rows, schema=schema(self.columns)))

    def _curves(self, task: Task, context: "Context") -> Iterable[dict[str, Any]]:
        import numpy as np

        from transferscope.methods.landscape.radius_curves import radius_curves

        lengths = self._lengths(task, context)
        asked = [
            (normalisation, share)
            for normalisation in lengths
            for share in (self.moved_shares if normalisation == "moved" else self.shares)
        ]
        data = self.data(context)
        curves = radius_curves(
            context.network(task.members[0].spec),
            {split: data[split] for split in self.splits},
            [share * lengths[normalisation] for normalisation, share in asked],
            self.directions,
            # The same for every network of the study: directions pair as seeds do.
            seed=context.seed("flatness"),
            one_dimensional=self.norm_and_bias,
            evaluation=self.evaluation(context),
        )
        groups = context.images().groups
        for split in self.splits:
            clusters = None if groups is None else np.asarray(groups)[context.indices(split, self.limits[split])]
            yield from _radius_rows(curves, split, clusters, asked, lengths, self.directions)

    def _lengths(self, task: Task, context: "Context") -> dict[str, float]:
        """Of each normalisation over the parameters that move; one of length 0 is left out."""
        from transferscope.networks.directions import direction_norm, moved_names

        member, normalisation = task.members
        names = moved_names(dict(context.start(member.spec).named_parameters()), self.norm_and_bias)
        trained, start, pretrained = (
            context.state(member.spec), context.state(member.spec, 0), context.state(normalisation.spec)
        )  # fmt: skip
        lengths = {
            "equal": direction_norm(pretrained[name] for name in names),
            "relative": direction_norm(trained[name] for name in names),
        }
        if self.moved_shares:
            lengths["moved"] = direction_norm(trained[name].double() - start[name].double() for name in names)
        return {normalisation: length for normalisation, length in lengths.items() if length > 0}

    def _hessian(self, task: Task, context: "Context") -> Iterable[dict[str, Any]]:
        from transferscope.errors import MeasureError
        from transferscope.methods.landscape.hessian import hessian

        network = context.network(task.members[0].spec)
        try:
            found = hessian(
                network,
                context.batches("train", self.hessian_images),
                count=self.eigenvalues,
                probes=self.probes,
                tolerance=self.tolerance,
                most_products=self.max_products,
                dtype=self.dtype,
                evaluation=evaluation_of(context, self.batch_norm_images, self.batch_norm),
                seed=context.seed("flatness", "hessian"),
            )
        except MeasureError as error:
            # An operation without a second derivative, or numbers that overflow: the reason is the result.
            return _no_hessian(network, len(context.indices("train", self.hessian_images)), self, error)
        return _hessian_rows(found, self.eigenvalues)

    def summarise(self, table: pl.DataFrame, evidence: Evidence) -> Summary:
        """By which measures the loss rises faster around P-T or RI-T."""
        return summary_of(table, self)


def _radius_rows(
    curves: "RadiusCurves",
    split: str,
    clusters: Any,
    asked: list[tuple[str, float]],
    lengths: Mapping[str, float],
    directions: int,
) -> Iterable[dict[str, Any]]:
    centre = curves.centre[split]
    common = {
        "level": "radius",
        "split": split,
        "batch_norm": curves.batch_norm,
        "examples": len(centre.losses),
        "parameters": curves.parameters,
        "norm": curves.norm,
        "directions": directions,
    }
    loss = _finite(float(centre.losses.mean()))
    own = {"loss": loss, "loss_rise": None if loss is None else 0.0, "loss_rise_se": None if loss is None else 0.0}
    own |= {"error": float(centre.errors.mean()), "error_rise": 0.0, "error_rise_se": 0.0}
    for normalisation, length in lengths.items():
        yield {**common, "normalisation": normalisation, "length": length, "share": 0.0, "l2": 0.0, **own}
    found = {quantity: curves.rises(split, quantity, clusters) for quantity in ("loss", "error")}
    for index, (normalisation, share) in enumerate(asked):
        row = {
            **common,
            "normalisation": normalisation,
            "length": lengths[normalisation],
            "share": share,
            "l2": curves.radii[index],
        }
        for quantity, values in found.items():
            row |= _columns(quantity, values[index])
        yield row


def _columns(quantity: str, rise: "Rise") -> dict[str, float | None]:
    return {
        quantity: _finite(rise.value),
        f"{quantity}_se": rise.se_directions,
        f"{quantity}_rise": _finite(rise.rise),
        f"{quantity}_rise_se": rise.se_examples,
    }


def _hessian_rows(found: "Hessian", asked: int) -> Iterable[dict[str, Any]]:
    common = {
        "split": "train",
        "batch_norm": found.batch_norm,
        "examples": found.examples,
        "parameters": found.parameters,
        "norm": found.norm,
        "products": found.products,
    }
    for index in range(asked):
        row: dict[str, Any] = {**common, "level": "eigenvalue", "rank": index + 1}
        if index < len(found.eigenvalues):
            value = found.eigenvalues[index]
            row |= {"value": value, "scaled": value * found.norm**2, "residual": found.residuals[index]}
            row |= {"converged": True}
        else:
            row |= {"converged": False, "note": f"not converged after {found.products} products with the Hessian"}
        yield row
    scaled = found.trace * found.norm**2
    trace = {"value": found.trace, "value_se": found.trace_se, "scaled": scaled, "converged": True}
    yield {**common, "level": "trace", **trace}


def _no_hessian(
    network: "nn.Module", examples: int, settings: Flatness, error: "MeasureError"
) -> Iterable[dict[str, Any]]:
    from transferscope.measures.distance import parameter_norm
    from transferscope.networks.batchnorm import has_batch_norm

    parameters = dict(network.named_parameters())
    common = {
        "split": "train",
        "batch_norm": settings.batch_norm if has_batch_norm(network) else NO_BATCH_NORM,
        "examples": examples,
        "parameters": sum(parameter.numel() for parameter in parameters.values()),
        "norm": parameter_norm(parameters),
        "converged": False,
        "note": error.what + (f": {error.got}" if error.got else ""),
    }
    for index in range(settings.eigenvalues):
        yield {**common, "level": "eigenvalue", "rank": index + 1}
    yield {**common, "level": "trace"}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
