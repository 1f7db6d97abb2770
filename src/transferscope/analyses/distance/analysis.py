"""Distance in parameter space (paper Table 2)."""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, final

import polars as pl

from transferscope.analyses.estimates import Contrast, Quantity, estimated, spoken
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.modules import PART, TRUNK, OnModules, parameters_of
from transferscope.analyses.summary import Summary
from transferscope.analyses.tuned import PAIR, Pair, PairAnalysis
from transferscope.bounds import DIFFERENCE, MAGNITUDE
from transferscope.context.study_network import StudyNetwork
from transferscope.study.columns import Column

if TYPE_CHECKING:
    from transferscope.context.context import Context

__all__ = ["DistanceAnalysis"]


@final
class DistanceAnalysis(PairAnalysis, OnModules):
    """ℓ2 distance between networks, whole and per module, and the cosine between their displacements.

    Parameters only, frozen ones included, no buffers; heads apart.
    """

    name: ClassVar[str] = "distance"
    title: ClassVar[str] = "Distance in parameter space"
    question: ClassVar[str] = "How far do the networks move, and do they move the same way?"
    reference: ClassVar[str] = "Neyshabur et al. 2020, Table 2"
    version: ClassVar[int] = 1
    columns: ClassVar[Mapping[str, Column]] = {
        **PAIR,
        "pair": Column(str, "which variants; a network and its own start for P/P-T and RI/RI-T"),
        **PART,
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
        Quantity("distance", "ℓ2 distance, {pair} (trunk)", "ℓ2", MAGNITUDE, "distance", TRUNK, ("pair",)),
        Quantity("cosine", "cosine of displacements, {pair} (trunk)", "1", DIFFERENCE, "cosine", TRUNK, ("pair",)),
        Quantity(
            "cosine_without_decay", "cosine of displacements without decay, {pair} (trunk)", "1", DIFFERENCE,
            "cosine_without_decay", TRUNK, ("pair",),
        ),
        Quantity(
            "within_gap", "ℓ2 of trunks, {pair} − {rival}", "ℓ2", None, "distance", TRUNK, ("pair",),
            Contrast("pair", "P-T/P-T", "RI-T/RI-T"),
        ),
    )  # fmt: skip

    def pairs(self, members: Iterable[StudyNetwork]) -> Iterator[tuple[StudyNetwork, StudyNetwork]]:
        """Every network with its own start; then the pairs of trained ones."""
        members = list(members)
        for member in members:
            variant = member.variant.removesuffix("_T")
            yield StudyNetwork(variant=variant, seed=member.seed, spec=member.spec.untrained()), member
        yield from super().pairs(members)

    def read(self, member: StudyNetwork, context: "Context") -> Any:
        """Parts, and weights at the start and at the end; no network is run. Nothing of a start, which is its run's."""
        if not member.spec.trained:
            return None
        model = context.start(member.spec)
        return self.parts(model, member.spec.architecture), model.state_dict(), context.state(member.spec)

    def rows(self, pair: Pair, context: "Context") -> Iterator[Mapping[str, Any]]:
        """One for each part."""
        from transferscope.measures.distance import displacement_cosine, parameter_distance

        parts, *second = pair.b
        first = second[:1] * 2 if pair.a is None else pair.a[1:]
        for part, position, names in parts:
            start_a, a, start_b, b = (parameters_of(state, names) for state in (*first, *second))
            found = parameter_distance(a, b, start_b)
            row = {"part": part, "position": position, "parameters": found.parameters}
            row |= {"distance": found.l2, "relative": found.relative}
            if pair.a is not None:
                row["cosine"] = displacement_cosine(a, start_a, b, start_b)
                row["cosine_without_decay"] = displacement_cosine(a, start_a, b, start_b, without_decay=True)
            yield row

    def summarise(self, table: pl.DataFrame, evidence: Evidence) -> Summary:
        """Distances of whole trunks, and cosines."""
        estimates = estimated(table, self.quantities)
        said = ", ".join(f"{item.at['pair']} {spoken(item)}" for item in estimates if item.quantity == "distance")
        return Summary(f"ℓ2 distance of trunks: {said}.", tuple(estimates))
