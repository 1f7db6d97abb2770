"""Spectra of all weights, relative to their own initial value, with a control without weight decay (R2.2c)."""

import hashlib
import io
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, final

import polars as pl
from pydantic import Field

from transferscope.analyses.contract import MeasureResult, Task
from transferscope.analyses.estimates import Quantity
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.spectrum.rows import CONTROLS, Key, Told, circular_rows, operator_rows
from transferscope.analyses.spectrum.summary import QUANTITIES, estimates, notes, verdict
from transferscope.analyses.summary import Summary
from transferscope.analyses.tuned import AbstractTuned, tuned_member
from transferscope.context.resolved_study import TRAINED, ResolvedStudy
from transferscope.context.study_network import StudyNetwork
from transferscope.specs.network import NetworkSpec
from transferscope.study.columns import Column, schema

if TYPE_CHECKING:
    from torch import Tensor

    from transferscope.context.context import Context
    from transferscope.methods.spectra import Indivisible, OperatorSpectrum
    from transferscope.networks.operators import Operator

__all__ = ["SpectrumAnalysis"]

_CURVE_POINTS = 48
_HEAD = "(head)"


@final
class SpectrumAnalysis(AbstractTuned):
    """All singular values of every convolution, linear layer, embedding and attention projection, at its map size.

    Convolutions are taken on periodic maps (circular approximation); how far that is from zero padding is measured on
    small maps where the dense matrices can be afforded. RI-T and P-T are set against their own starts and, network by
    network, against a control trained with weight decay 0 and everything else equal.

    Attributes:
        control: train the control: one more training for every network.
        max_seeds: at most so many seeds; None for all.
        precision: of the decompositions: ``double``, or ``single``, about 1.5 times as fast, its error in the table.
        top: share of the singular values whose energy is told.
        indivisible: an operator whose stride does not divide its map is taken on the next larger map, or left out.
        points: singular values kept for each operator of each network in the files, at most.
    """

    control: bool = True
    max_seeds: int | None = Field(default=None, ge=1)
    precision: Literal["double", "single"] = "double"
    top: float = Field(default=0.1, gt=0, le=1)
    indivisible: Literal["round_up", "skip"] = "round_up"
    points: int = Field(default=256, ge=2, le=100_000)

    name: ClassVar[str] = "spectrum"
    title: ClassVar[str] = "Spectra of the weights"
    question: ClassVar[str] = "How does training change the singular values of each layer, from its own start?"
    reference: ClassVar[str] = "Sedghi, Gupta & Long 2019, Theorem 6"
    version: ClassVar[int] = 2
    columns: ClassVar[Mapping[str, Column]] = {
        "level": Column(
            str,
            "network: one network; variant: mean over networks with different weights; ratio: geometric mean over "
            "seeds of the first over the second of two variants; curve: singular values of the first seed; circular: "
            "zero-padded against periodic operator on a small map; skipped: a parameter that is no operator",
        ),
        "operator": Column(str, "module, with the part of an attention; the parameter that is skipped"),
        "position": Column(int, "in the order in which operators run; −1: skipped", "count"),
        "kind": Column(str, "convolution, transposed convolution, linear or embedding", null="skipped"),
        "part": Column(str, "q, k, v or out of an attention", null="no projection of an attention"),
        "map": Column(str, "the map that it reads, in pixels", null="a matrix, or skipped"),
        "periodic_map": Column(str, "the periodic map of its operator, in pixels", null="a matrix, or skipped"),
        "count": Column(int, "singular values, with multiplicity", "count", null="skipped"),
        "variant": Column(str, "RI, P, RI_T, P_T, a control (_wd0), or the two of a ratio", null="skipped"),
        "seed": Column(int, "seed of the network", "count", null="the row speaks of all seeds, or skipped"),
        "quantity": Column(
            str,
            "largest: σ₁; frobenius: ‖·‖_F; stable_rank: ‖·‖_F²/σ₁²; effective_rank: exp(H(σ/Σσ)); energy: share of "
            "Σσ² in the largest values; singular_value; difference_largest: |σ′₁ − σ₁|/σ₁; difference_any: "
            "max |σ′ᵢ − σᵢ|/σ₁",
            null="skipped",
        ),
        "rank": Column(int, "of a curve: place of the value, 1 is the largest", "count", null="not a curve"),
        "value": Column(float, "of the quantity; of a ratio: the ratio", null="not defined, or skipped: see note"),
        "low": Column(float, "lower end of the 95 % interval, or of a range", null="no interval"),
        "high": Column(float, "upper end of the 95 % interval, or of a range", null="no interval"),
        "simultaneous_low": Column(
            float, "as low, at all operators at once (Bonferroni)", null="not a ratio over 3 seeds"
        ),
        "simultaneous_high": Column(
            float, "as high, at all operators at once (Bonferroni)", null="not a ratio over 3 seeds"
        ),
        "basis": Column(str, "seeds, or range (of two seeds)", null="one network, or no interval"),
        "n": Column(int, "how many seeds", "count", null="skipped"),
        "error": Column(
            float, "of a network: largest difference to double precision on a sample, over σ₁",
            null="not a network, or double precision",
        ),
        "note": Column(str, "what a reader must know", null="nothing"),
    }  # fmt: skip

    quantities: ClassVar[tuple[Quantity, ...]] = QUANTITIES

    def networks(self, study: ResolvedStudy, evidence: Evidence) -> Iterable[NetworkSpec]:
        """P-T and RI-T, and their controls; RI and P need no training."""
        return [member.spec for member in self._members(study, evidence)]

    def _members(self, study: ResolvedStudy, evidence: Evidence) -> tuple[StudyNetwork, ...]:
        seeds = study.seeds[: self.max_seeds]
        members = [
            tuned_member(study, variant, seed, evidence) for variant in ("RI", "P", *TRAINED) for seed in seeds
        ]  # fmt: skip
        if self._controlled(study):
            members += [
                _without_decay(tuned_member(study, variant, seed, evidence)) for variant in TRAINED for seed in seeds
            ]  # fmt: skip
        return tuple(members)

    def _controlled(self, study: ResolvedStudy) -> bool:
        return self.control and study.settings.training.recipe.weight_decay > 0

    def tasks(self, study: ResolvedStudy, evidence: Evidence) -> Iterable[Task]:
        """One for each stage and one for the head, with all networks: P's trunk is decomposed once for all seeds."""
        from transferscope.networks.transplants import parts_of

        members = self._members(study, evidence)
        for position, stage in enumerate((*parts_of(study.settings.source.architecture, "stage"), _HEAD)):
            yield Task(members=members, settings={"stage": stage, "position": position})

    def measure(self, task: Task, context: "Context") -> MeasureResult:
        """Decompose the operators of one stage in every network that did not diverge."""
        stage, position = task.settings["stage"], task.settings["position"]
        told: dict[str, dict[Key, Told]] = {}
        places: dict[str, int] = {}
        seen: dict[tuple[str, str], OperatorSpectrum] = {}
        skipped: dict[str, str] = {}
        total = 0
        for member in task.members:
            if context.diverged(member.spec):
                continue
            listed, inside, skipped = _listed(member, stage, context, self.indivisible)
            total = len(listed)
            for operator in inside:
                content = _content(operator.weight)
                if (operator.name, content) not in seen:
                    seen[operator.name, content] = self._decomposed(operator)
                places[operator.name] = listed.index(operator.name)
                told.setdefault(operator.name, {})[member.variant, member.seed] = Told(
                    seen[operator.name, content], content
                )
        rows: list[dict[str, Any]] = []
        kept: list[pl.DataFrame] = []
        for name, networks in told.items():
            common = {"operator": name, "position": places[name], **_facts(next(iter(networks.values())).found)}
            rows += [{**common, **row} for row in operator_rows(networks, total, min(self.points, _CURVE_POINTS))]
            variant, seed = _trained_first(networks)
            rows += [{**common, **row} for row in circular_rows(networks[variant, seed].found, variant, seed)]
            kept += [self._values(name, key, one) for key, one in networks.items()]
        if position == 0:
            rows += [_skip(name, reason) for name, reason in skipped.items()]
        table = pl.DataFrame(rows, schema=schema(self.columns))
        return MeasureResult(table, {f"spectra-{position:02d}.parquet": _parquet(kept)} if kept else {})

    def _decomposed(self, operator: "Operator") -> "OperatorSpectrum":
        from transferscope.measures.spectrum_summary import spectrum_summary
        from transferscope.methods.spectra import OperatorSpectrum, operator_spectrum, periodic_size

        size = periodic_size(operator, self.indivisible)
        assert size is not None  # what is left out was not listed
        spectrum = operator_spectrum(operator, size, precision=self.precision)
        return OperatorSpectrum(operator, size, spectrum, spectrum_summary(spectrum, self.top))

    def _values(self, name: str, key: Key, one: Told) -> pl.DataFrame:
        from transferscope.measures.spectrum_summary import spectrum_curve

        ranks, values = spectrum_curve(one.found.spectrum, self.points)
        return pl.DataFrame({"rank": ranks.numpy(), "value": values.numpy()}).select(
            pl.lit(name).alias("operator"),
            pl.lit(key[0]).alias("variant"),
            pl.lit(key[1]).alias("seed"),
            "rank",
            "value",
        )

    def summarise(self, table: pl.DataFrame, evidence: Evidence) -> Summary:
        """At how many operators training changes the stable rank, and whether it does without weight decay too."""
        return Summary(verdict(table), tuple(estimates(table)), tuple(notes(table, self.control)))


def _without_decay(member: StudyNetwork) -> StudyNetwork:
    """The control of a trained network: weight decay 0, everything else equal."""
    recipe = member.spec.recipe
    assert recipe is not None
    # Its epochs are read by nobody.
    spec = member.spec.model_copy(update={"recipe": recipe.model_copy(update={"weight_decay": 0.0, "keep": "none"})})
    return StudyNetwork(variant=CONTROLS[member.variant], seed=member.seed, spec=spec)


def _listed(
    member: StudyNetwork, stage: str, context: "Context", indivisible: "Indivisible"
) -> "tuple[list[str], list[Operator], dict[str, str]]":
    """Names of all operators of a network, those of a stage, and what is skipped."""
    import torch

    from transferscope.methods.spectra import periodic_size
    from transferscope.networks.architectures import head_name
    from transferscope.networks.modules import parts_parameters
    from transferscope.networks.operators import operators
    from transferscope.networks.transplants import parts_of

    model = context.network(member.spec)
    pixels = context.study.data.image_size
    found = operators(model, torch.zeros(1, 3, pixels, pixels))
    chosen = [one for one in found.found if periodic_size(one, indivisible) is not None]
    skipped = dict(found.skipped)
    skipped |= {
        one.name: f"its stride does not divide the map of {_pixels(one.size)}"
        for one in found.found
        if one not in chosen
    }
    parts = parts_parameters(model, "stage", head_name(model, member.spec.architecture))
    movable = parts_of(member.spec.architecture, "stage")
    stages = [stage] if stage != _HEAD else [name for name in parts if name not in movable]
    owners = {_owner(parameter) for name in stages for parameter in parts[name]}
    inside = [one for one in chosen if _owner(one.parameter) in owners]
    return [one.name for one in chosen], inside, skipped


def _owner(parameter: str) -> str:
    """The module of a parameter; of a parametrised one the module that it is made for."""
    return (
        parameter.partition(".parametrizations.")[0]
        if ".parametrizations." in parameter
        else parameter.rpartition(".")[0]
    )


def _content(weight: "Tensor") -> str:
    import torch

    flat = weight.detach().to("cpu").contiguous().reshape(-1).view(torch.uint8)
    return hashlib.sha256(flat.numpy().tobytes()).hexdigest()


def _trained_first(networks: Mapping[Key, Told]) -> Key:
    """P-T of the first seed, or what there is."""
    return next((key for key in networks if key[0] == "P_T"), next(iter(networks)))


def _facts(one: "OperatorSpectrum") -> dict[str, Any]:
    operator = one.operator
    return {
        "kind": operator.kind,
        "part": operator.part or None,
        "map": _pixels(operator.size) if operator.size else None,
        "periodic_map": _pixels(one.size) if one.size else None,
        "count": one.summary.count,
    }


def _pixels(size: tuple[int, ...]) -> str:
    return " × ".join(map(str, size))


def _skip(name: str, reason: str) -> dict[str, Any]:
    return {"level": "skipped", "operator": name, "position": -1, "note": reason}


def _parquet(frames: list[pl.DataFrame]) -> bytes:
    target = io.BytesIO()
    pl.concat(frames).write_parquet(target)
    return target.getvalue()
