"""One word for every module of P-T: kept, changed, useless or undecided, from the table of ``rewind``."""

from dataclasses import dataclass
from typing import Literal

import polars as pl

from transferscope.analyses.rewind.summary import drops
from transferscope.report.answer import found
from transferscope.report.numbers import points_words
from transferscope.running.results import Results

__all__ = ["STATES", "ModulePart", "State", "modules_strip"]

State = Literal["kept", "changed", "useless", "undecided"]

STATES: dict[State, str] = {
    "kept": "its pre-trained weights do as well as the trained ones",
    "changed": "without its training the test metric falls",
    "useless": "even random weights do as well",
    "undecided": "the interval allows both",
}
"""What each word means."""


@dataclass(frozen=True)
class ModulePart:
    """One module.

    Attributes:
        name: as in the network.
        state: what was shown of it.
        words: what putting it back costs.
    """

    name: str
    state: State
    words: str


def modules_strip(results: Results) -> tuple[ModulePart, ...]:
    """Every module of P-T from input to output; none where the study did not put modules back."""
    item = found(results, "rewind")
    if item is None or item.table is None:
        return ()
    rows = item.table.filter(
        (pl.col("origin") == "study") & (pl.col("split") == "test") & (pl.col("level") == "module")
        & (pl.col("variant") == "P_T")
    )  # fmt: skip
    margin = float(item.analysis.model_dump()["margin"])
    back, random = (drops(rows.filter(pl.col("target_value") == to), margin) for to in ("initial", "random"))
    useless = {drop.at["module"] for drop in random if drop.verdict == "kept"}
    words: dict[str, State] = {"kept": "kept", "lost": "changed", "undecided": "undecided"}
    metric = str(rows["metric_name"][0]) if rows.height else "top1"
    return tuple(
        ModulePart(
            str(drop.at["module"]),
            "useless" if drop.at["module"] in useless else words[drop.verdict or "undecided"],
            f"put back to its start: {points_words(-(drop.value or 0.0), metric)}",
        )
        for drop in back
    )
