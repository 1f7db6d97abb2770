"""How much the weights of each module have grown in training."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, final

import polars as pl

from transferscope.analyses.estimates import Contrast, Quantity
from transferscope.analyses.modules import PART, TRUNK, OnModules, parameters_of
from transferscope.analyses.tuned import NETWORK, NetworkAnalysis
from transferscope.bounds import MAGNITUDE
from transferscope.study.columns import Column

if TYPE_CHECKING:  # torch and altair are loaded when they are needed
    from transferscope.context.context import Context
    from transferscope.context.study_network import StudyNetwork
    from transferscope.plots.theme import Figure

CARD = """
## Question
Do weights grow in training, and in which modules?
## Definition
    growth = ‖θ_{T}‖_{2} / ‖θ_{0}‖_{2}
over the parameters of a part, with θ_{0} the network's own start.
## How to read
Above 1: the weights have grown. Weight decay pulls below 1.
## When not to trust
Layers before batch norm can be scaled without changing what the network computes.
## Reference
A. Krogh, J. Hertz: A simple weight decay can improve generalization. NeurIPS 1991."""


@final
class WeightNorms(NetworkAnalysis, OnModules):
    """ℓ2 norm of the weights of each module after training, over that at the start."""

    name: ClassVar[str] = "weight_norms"
    title: ClassVar[str] = "Norm of the weights"
    question: ClassVar[str] = "Do weights grow in training, and in which modules?"
    reference: ClassVar[str] = "Krogh and Hertz 1991"
    version: ClassVar[int] = 1
    columns: ClassVar[Mapping[str, Column]] = {
        **NETWORK,
        **PART,
        "norm": Column(float, "‖θ‖₂ after training", "ℓ2"),
        "growth": Column(float, "norm over that at the start", null="that norm is 0"),
    }
    quantities: ClassVar[tuple[Quantity, ...]] = (
        Quantity("growth", "growth of the norm, {variant} (trunk)", "1", MAGNITUDE, "growth", TRUNK, ("variant",)),
        Quantity("gap", "growth of the norm, {variant} − {rival} (trunk)", column="growth", where=TRUNK,
                 by=("variant",), contrast=Contrast("variant", "P_T", "RI_T")),
    )  # fmt: skip

    def rows(self, member: "StudyNetwork", context: "Context") -> Iterator[dict[str, Any]]:
        """One row for each part of the network."""
        from transferscope.measures.distance import parameter_distance

        start, end = context.start(member.spec), context.state(member.spec)
        states = end, {name: 0 * tensor for name, tensor in end.items()}, start.state_dict()
        for part, position, names in self.parts(start, member.spec.architecture):
            found = parameter_distance(*(parameters_of(state, names) for state in states))
            row = {"part": part, "position": position, "parameters": found.parameters}
            yield {**row, "norm": found.l2, "growth": found.relative}


def figures(table: pl.DataFrame) -> "tuple[Figure, ...]":
    """Growth of each module from input to output, a dot for each network."""
    import altair as alt

    from transferscope.plots.theme import Figure, colour, hover, scale, shown_column

    text = hover("network", ", ", pl.col("part"), ": ", pl.col("growth").round_sig_figs(4))
    data = table.filter(pl.col("position") >= 0).with_columns(shown_column("variant"), text)
    variants = sorted(set(data["variant"]))
    chart = alt.Chart(data).mark_circle(size=44).encode(
        alt.X("growth:Q", title="Norm ÷ norm at the start (ratio)"), alt.Y("part:N", title="Module (name)", sort=None),
        alt.Color("variant:N", title=None, scale=scale(variants)), description="hover:N",
    )  # fmt: skip
    legend = tuple((variant, colour(variant), "point") for variant in variants)
    return (Figure("modules", "By module", "A dot for each network.", "Growth by module", (chart,), legend=legend),)
