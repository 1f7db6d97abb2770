"""Distance in parameter space (paper Table 2)."""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, final

import polars as pl

from transferscope.analyses.contract import Measured, Unit
from transferscope.analyses.estimates import Contrast, Quantity, estimated, spoken
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.pairs import pairs_of
from transferscope.analyses.summary import Summary
from transferscope.analyses.tuned import AbstractTuned, tuned_members
from transferscope.bounds import DIFFERENCE, MAGNITUDE
from transferscope.context.bound import TRAINED, BoundStudy
from transferscope.context.members import Member
from transferscope.keys import shown
from transferscope.study.columns import Column, schema

if TYPE_CHECKING:
    import torch

    from transferscope.context.context import Context

__all__ = ["Distance"]

_TOTALS = {"all": -3, "trunk": -2, "head": -1}
_TRUNK = pl.col("position") == _TOTALS["trunk"]
"""By position: an architecture may have a module of that name."""


@final
class Distance(AbstractTuned):
    """ℓ2 distance between networks, whole and per module, and the cosine between their displacements.

    Parameters only, frozen ones included, no buffers; heads apart.

    Attributes:
        granularity: of the modules: ``stage``, ``block`` or ``layer``.
    """

    granularity: Literal["stage", "block", "layer"] = "block"

    name: ClassVar[str] = "distance"
    title: ClassVar[str] = "Distance in parameter space"
    question: ClassVar[str] = "How far do the networks move, and do they move the same way?"
    reference: ClassVar[str] = "Neyshabur et al. 2020, Table 2"
    version: ClassVar[int] = 1
    columns: ClassVar[Mapping[str, Column]] = {
        "pair": Column(str, "which variants; a network and its own start for P/P-T and RI/RI-T"),
        "a": Column(str, "first network"),
        "variant_a": Column(str, "its variant"),
        "seed_a": Column(int, "its seed", "count"),
        "b": Column(str, "second network"),
        "variant_b": Column(str, "its variant"),
        "seed_b": Column(int, "its seed", "count"),
        "part": Column(str, "all, trunk (all but the head), head, or a module"),
        "position": Column(int, "depth of the module: 0 is the first; negative for totals", "count"),
        "parameters": Column(int, "numbers compared", "count"),
        "distance": Column(float, "‖θ_a − θ_b‖₂", "ℓ2"),
        "relative": Column(float, "distance over the norm of the same part of b's start", null="that norm is 0"),
        "cosine": Column(
            float,
            "cosine between the displacements from each one's own start",
            null="a network did not move, or a is b's start",
        ),
        "cosine_without_decay": Column(
            float,
            "the same with the decay direction −θ_0 projected out of each",
            null="nothing is left of one, or a is b's start",
        ),
    }

    quantities: ClassVar[tuple[Quantity, ...]] = (
        Quantity("distance", "ℓ2 distance, {pair} (trunk)", "ℓ2", MAGNITUDE, "distance", _TRUNK, ("pair",)),
        Quantity("cosine", "cosine of displacements, {pair} (trunk)", "1", DIFFERENCE, "cosine", _TRUNK, ("pair",)),
        Quantity(
            "cosine_without_decay", "cosine of displacements without decay, {pair} (trunk)", "1", DIFFERENCE,
            "cosine_without_decay", _TRUNK, ("pair",),
        ),
        Quantity(
            "within_gap", "ℓ2 of trunks, {pair} − {rival}", "ℓ2", None, "distance", _TRUNK, ("pair",),
            Contrast("pair", "P-T/P-T", "RI-T/RI-T"),
        ),
    )  # fmt: skip

    def units(self, study: BoundStudy, evidence: Evidence) -> Iterable[Unit]:
        """One: every network is read once."""
        yield Unit(members=tuple(tuned_members(study, evidence, TRAINED)))

    def measure(self, unit: Unit, context: "Context") -> Measured:
        """Read weights; no network is run."""
        from transferscope.networks.architectures import head_name
        from transferscope.networks.modules import parts_parameters

        members = [member for member in unit.members if not context.diverged(member.spec)]
        if not members:
            return Measured(pl.DataFrame([], schema=schema(self.columns)))
        model = context.start(members[0].spec)
        head = head_name(model, members[0].spec.architecture)
        parts = parts_parameters(model, self.granularity, head)
        names = [name for name, _ in model.named_parameters()]
        in_head = [name for name in names if name.startswith(head + ".") or name == head]
        totals = {
            "all": names,
            "trunk": [name for name in names if name not in set(in_head)],
            "head": in_head,
        }

        def weights(state: Mapping[str, "torch.Tensor"]) -> dict[str, "torch.Tensor"]:
            return {name: state[name] for name in names}

        starts = {m.label: weights(context.state(m.spec, 0)) for m in members}
        ends = {m.label: weights(context.state(m.spec)) for m in members}
        rows: list[dict[str, Any]] = []
        for member in members:
            origin = member.variant.removesuffix("_T")
            base: dict[str, Any] = {"pair": f"{shown(origin)}/{shown(member.variant)}"}
            base |= {"a": f"{shown(origin)}[{member.seed}]", "variant_a": origin, "seed_a": member.seed}
            base |= {"b": member.label, "variant_b": member.variant, "seed_b": member.seed}
            start, end = starts[member.label], ends[member.label]
            rows += [{**base, **row} for row in _parts(start, end, start, totals, parts)]
        for first, second in pairs_of(members):
            base = {"pair": f"{shown(first.variant)}/{shown(second.variant)}", **_pair(first, second)}
            cosines = (starts[first.label], starts[second.label])
            rows += [
                {**base, **row}
                for row in _parts(ends[first.label], ends[second.label], cosines[1], totals, parts, cosines)
            ]
        return Measured(pl.DataFrame(rows, schema=schema(self.columns)))

    def summarise(self, table: pl.DataFrame, evidence: Evidence) -> Summary:
        """Distances of whole trunks, and cosines."""
        estimates = estimated(table, self.quantities)
        said = ", ".join(f"{item.at['pair']} {spoken(item)}" for item in estimates if item.quantity == "distance")
        return Summary(f"ℓ2 distance of trunks: {said}.", tuple(estimates))


def _pair(first: Member, second: Member) -> dict[str, Any]:
    return {
        "a": first.label,
        "variant_a": first.variant,
        "seed_a": first.seed,
        "b": second.label,
        "variant_b": second.variant,
        "seed_b": second.seed,
    }


def _parts(
    a: Mapping[str, "torch.Tensor"],
    b: Mapping[str, "torch.Tensor"],
    initial: Mapping[str, "torch.Tensor"],
    totals: Mapping[str, list[str]],
    parts: Mapping[str, list[str]],
    starts: tuple[Mapping[str, "torch.Tensor"], Mapping[str, "torch.Tensor"]] | None = None,
) -> Iterator[dict[str, Any]]:
    from transferscope.measures.distance import displacement_cosine, parameter_distance

    places = [(part, _TOTALS[part], names) for part, names in totals.items() if names]
    places += [(part, index, names) for index, (part, names) in enumerate(parts.items())]
    for part, position, names in places:
        first, second, zero = _chosen(a, names), _chosen(b, names), _chosen(initial, names)
        found = parameter_distance(first, second, zero)
        row: dict[str, Any] = {
            "part": part,
            "position": position,
            "parameters": found.parameters,
            "distance": found.l2,
            "relative": found.relative,
        }
        if starts is not None:
            start_a, start_b = _chosen(starts[0], names), _chosen(starts[1], names)
            row["cosine"] = displacement_cosine(first, start_a, second, start_b)
            row["cosine_without_decay"] = displacement_cosine(first, start_a, second, start_b, without_decay=True)
        yield row


def _chosen(state: Mapping[str, "torch.Tensor"], names: list[str]) -> dict[str, "torch.Tensor"]:
    return {name: state[name] for name in names}
