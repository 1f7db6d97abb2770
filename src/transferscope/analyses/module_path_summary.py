"""The verdict on one-module paths: which modules have a barrier, and what they have in common."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from transferscope.analyses.contract import Number, Summary
from transferscope.analyses.line_rows import line_notes
from transferscope.analyses.pairs import pairs_interval
from transferscope.analyses.way_barriers import Word, of_one, worst

if TYPE_CHECKING:
    from transferscope.measures.intervals import Interval

__all__ = ["ModuleBarrier", "module_barriers", "summary"]

_WORDS = {"stable": "connected", "unstable": "separated", "undecided": "undecided"}


@dataclass(frozen=True)
class ModuleBarrier:
    """The test error's barrier of one module over a kind of pair, with what it is judged by.

    Attributes:
        module: its name.
        interval: of three pairs or more, of the mean over pairs of the mean of both directions; of fewer, the larger
            of all measured, with the lowest lower and the highest upper limit over examples. Simultaneous over modules.
        judged: ``stable``, ``unstable`` or ``undecided``, by the rule of paths.
    """

    module: str
    interval: "Interval"
    judged: Word


def module_barriers(rows: pl.DataFrame) -> list[ModuleBarrier]:
    """Every module of one kind of pair, judged for all at once.

    Args:
        rows: barrier rows of the test error against one baseline, of one kind of pair, both directions.
    """
    from transferscope.measures.barriers import stability
    from transferscope.measures.families import bonferroni_confidence
    from transferscope.measures.intervals import MAGNITUDE, seeds_interval

    modules = rows.sort("position", maintain_order=True)["module"].unique(maintain_order=True).to_list()
    found = []
    for module in modules:
        of = rows.filter(pl.col("module") == module)
        pairs = of.group_by("a", "b", maintain_order=True).agg(pl.col("barrier").mean())
        values = pairs["barrier"].to_list()
        interval = (
            seeds_interval(values, bonferroni_confidence(len(modules)), MAGNITUDE)
            if len(values) >= 3
            else worst(of, "simultaneous_low", "simultaneous_high")
        )
        found.append(ModuleBarrier(module, interval, stability(interval)))
    return found


def summary(table: pl.DataFrame, batch_norm: str, batch_norm_images: int, points: int) -> Summary:
    """Numbers and verdict of ``module_path``.

    Args:
        table: in the declared columns of the analysis.
        batch_norm: its setting.
        batch_norm_images: its setting.
        points: its setting.
    """
    said: list[str] = []
    numbers: list[Number] = []
    errors = table.filter(
        (pl.col("level") == "barrier") & (pl.col("split") == "test") & (pl.col("quantity") == "error")
    )
    judged = errors.filter(pl.col("baseline") == "mean")
    lifted = errors.filter((pl.col("baseline") == "linear") & (pl.col("position") >= 0))
    for pair in judged["pair"].unique(maintain_order=True):
        rows = judged.filter(pl.col("pair") == pair)
        modules = rows.filter(pl.col("position") >= 0)
        found = module_barriers(modules)
        counted = rows.select("a", "b").unique().height
        basis = _basis(found, counted)
        hills = {item.module for item in module_barriers(lifted.filter(pl.col("pair") == pair))
                 if item.judged == "unstable"}  # fmt: skip
        parts = []
        for word in ("unstable", "undecided", "stable"):
            of = [module for module in found if module.judged == word]
            named = "" if word == "stable" else _named(of, hills)
            parts.append(f"{len(of)} {_WORDS[word]}{named}")
        said.append(f"{pair}: of {len(found)} modules moved alone {', '.join(parts)} ({basis})")
        numbers += _numbers(pair, rows, found)
        numbers += _agreement(pair, modules)
    return Summary(
        "By the test error's barrier against the mean of the ends, below 2 points for connected: "
        + "; ".join(said) + ".",
        tuple(numbers),
        (
            "over the mean of the ends a barrier is at least half of what the exchange of the module costs or gains; a "
            "hill is what rises 2 points above the straight line between the ends (linear baseline) as well",
            *line_notes(table, batch_norm, batch_norm_images, points),
        ),
    )  # fmt: skip


def _basis(found: Sequence[ModuleBarrier], pairs: int) -> str:
    if pairs >= 3:
        return f"simultaneous 95 % intervals over {pairs} pairs that share no trained network"
    if any(module.interval.low is None for module in found):
        return "without limits: too few test images or groups"
    whose = "this pair" if pairs == 1 else "these pairs"
    return f"simultaneous 95 % limits over {found[0].interval.n} test examples or groups, for {whose} of networks"


def _named(of: Sequence[ModuleBarrier], hills: Collection[str]) -> str:
    worst = sorted(of, key=lambda module: -(module.interval.value or 0.0))[:3]
    listed = ", ".join(
        f"{item.module} {100 * (item.interval.value or 0.0):.1f} points{' with a hill' if item.module in hills else ''}"
        for item in worst
    )
    more = f" and {len(of) - len(worst)} more" if len(of) > len(worst) else ""
    return f" ({listed}{more})" if of else ""


def _numbers(pair: str, rows: pl.DataFrame, found: Sequence[ModuleBarrier]) -> list[Number]:
    top = max(found, key=lambda module: module.interval.value or 0.0)
    interval = top.interval
    note = "; ".join(filter(None, (f"largest of {len(found)} modules, limits hold for all at once", interval.note)))
    basis = interval.basis if interval.low is not None else None
    numbers = [
        Number(f"error barrier of {top.module} alone, {pair} (test, mean baseline)",
               interval.value, interval.low, interval.high, basis, interval.n, "1", note)
    ]  # fmt: skip
    for group, words in (("(all)", "all modules at once"), ("(trunk)", "the trunk at once")):
        of = rows.filter(pl.col("module") == group)
        if not of.is_empty():
            numbers.append(_over_pairs(f"error barrier of {words}, {pair} (test, mean baseline)", of))
    return numbers


def _agreement(pair: str, modules: pl.DataFrame) -> list[Number]:
    """Whether unlike or distant modules are the ones with a barrier: Kendall's τ over modules, for each pair."""
    from transferscope.measures.agreement import rank_agreement
    from transferscope.measures.intervals import DIFFERENCE

    numbers = []
    for column, words in (("cka", "CKA"), ("relative", "relative distance")):
        taus = []
        for a in modules["a"].unique(maintain_order=True):
            of = (
                modules.filter((pl.col("a") == a) & pl.col(column).is_not_null())
                .group_by("module", maintain_order=True)
                .agg(pl.col(column).first(), pl.col("barrier").mean())
            )
            tau = rank_agreement(of[column].to_list(), of["barrier"].to_list()).kendall
            if tau is not None:
                taus.append(tau)
        name = f"Kendall τ over modules, error barrier and {words}, {pair}"
        if taus:
            numbers.append(Number.of(name, pairs_interval(taus, DIFFERENCE)))
        else:
            numbers.append(Number(name, None, note="too few modules that differ"))
    return numbers


def _over_pairs(name: str, rows: pl.DataFrame) -> Number:
    """The mean over pairs of the mean of both directions; of one pair the larger, with its limits over examples."""
    from transferscope.measures.intervals import MAGNITUDE

    means = rows.group_by("a", "b", maintain_order=True).agg(pl.col("barrier").mean())["barrier"].to_list()
    if len(means) == 1:
        return of_one(name, rows.sort("barrier", descending=True).row(0, named=True), "1", "one pair")
    return Number.of(name, pairs_interval(means, MAGNITUDE))
