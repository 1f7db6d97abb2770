"""The verdict on one-module paths: which modules have a barrier, and what they have in common."""

from collections.abc import Collection, Iterator, Sequence

import polars as pl

from transferscope.analyses.barrier_estimates import over_pairs, pairs_interval, policy
from transferscope.analyses.estimates import Estimate, Quantity
from transferscope.analyses.path_rows import line_notes
from transferscope.analyses.summary import Summary
from transferscope.bounds import DIFFERENCE, MAGNITUDE

__all__ = ["QUANTITIES", "module_barriers", "summary"]

_BARRIER = Quantity(
    "error_barrier", "error barrier of {module} {grouping}, {pair} ({split}, {baseline} baseline)", "1", MAGNITUDE,
    labels={"module": {"(all)": "all modules", "(trunk)": "the trunk"}},
)  # fmt: skip
_AGREEMENT = Quantity(
    "barrier_rank_agreement", "Kendall τ over modules, error barrier and {beside}, {pair}", "1", DIFFERENCE,
    labels={"beside": {"cka": "CKA", "relative": "relative distance"}},
)  # fmt: skip
QUANTITIES = (_BARRIER, _AGREEMENT)
"""Of ``module_path``; ``grouping`` is ``alone`` for a module, ``at once`` for several."""


def summary(table: pl.DataFrame, batch_norm: str, batch_norm_images: int, points: int) -> Summary:
    """Estimates and verdict of ``module_path``.

    Args:
        table: in the declared columns of the analysis.
        batch_norm: its setting.
        batch_norm_images: its setting.
        points: its setting.
    """
    said: list[str] = []
    estimates: list[Estimate] = []
    errors = table.filter(
        (pl.col("level") == "barrier") & (pl.col("split") == "test") & (pl.col("quantity") == "error")
    )
    for (pair,), rows in errors.group_by(["pair"], maintain_order=True):
        mean, linear = (list(module_barriers(rows.filter(pl.col("baseline") == name))) for name in ("mean", "linear"))
        found = [item for item in mean if item.at["grouping"] == "alone"]
        hills = {str(item.at["module"]) for item in linear if item.verdict == "unstable"}
        judged: dict[str, list[Estimate]] = {"unstable": [], "undecided": [], "stable": []}
        for item in found:
            judged[str(item.verdict)].append(item)
        parts = [
            f"{len(judged['unstable'])} separated{_named(judged['unstable'], hills)}",
            f"{len(judged['undecided'])} undecided{_named(judged['undecided'], hills)}",
            f"{len(judged['stable'])} connected",
        ]
        basis = _basis(found, rows.select("a", "b").unique().height)
        said.append(f"{pair}: of {len(found)} modules moved alone {', '.join(parts)} ({basis})")
        alone = rows.filter((pl.col("baseline") == "mean") & (pl.col("position") >= 0))
        estimates += [*mean, *linear, *_agreement(str(pair), alone)]
    return Summary(
        "By the test error's barrier against the mean of the ends, below 2 points for connected: "
        + "; ".join(said) + ".",
        tuple(estimates),
        (
            "over the mean of the ends a barrier is at least half of what the exchange of the module costs or gains; a "
            "hill is what rises 2 points above the straight line between the ends (linear baseline) as well",
            *line_notes(table, batch_norm, batch_norm_images, points),
        ),
    )  # fmt: skip


def module_barriers(rows: pl.DataFrame) -> Iterator[Estimate]:
    """Estimate the test error's barrier of whole networks, and of every module, judged for all modules at once.

    Over seeds it is the mean over pairs of the mean of both directions; where there is no interval over seeds, the
    largest of all measured.

    Args:
        rows: barrier rows of the test error against one baseline, of one kind of pair, both directions.
    """
    from transferscope.measures.barriers import stability
    from transferscope.measures.families import bonferroni_confidence

    size = rows.filter(pl.col("position") >= 0)["module"].n_unique()
    at = {"pair": rows["pair"][0], "split": "test", "baseline": rows["baseline"][0], "batch_norm": policy(rows)}
    for (module,), of in rows.sort("position", maintain_order=True).group_by(["module"], maintain_order=True):
        whole = of["position"][0] < 0
        interval = pairs_interval(of)
        if whole:
            yield _BARRIER.of(interval, **at, module=str(module), grouping="at once")
            continue
        together = pairs_interval(of, bonferroni_confidence(size), "simultaneous_low", "simultaneous_high")
        family = size if together.basis == "seeds" else of["n_comparisons"][0]
        yield _BARRIER.of(
            interval, simultaneous=together, n_comparisons=family, verdict=stability(together),
            **at, module=str(module), grouping="alone",
        )  # fmt: skip


def _basis(found: Sequence[Estimate], pairs: int) -> str:
    if any(item.simultaneous_low is None for item in found):
        return "without limits: too few test images or groups"
    # Of modules whose barriers are equal for all seeds the limits are those over examples.
    resting = {item.basis: item.n for item in found}
    said = []
    if "seeds" in resting:
        said.append(f"intervals over {resting['seeds']} seeds")
    if "examples" in resting:
        whose = "this pair" if pairs == 1 else f"the worst of {pairs} pairs"
        said.append(f"limits over {resting['examples']} test examples or groups, for {whose} of networks")
    return f"simultaneous 95 % {' and '.join(said)}"


def _named(of: Sequence[Estimate], hills: Collection[str]) -> str:
    worst = sorted(of, key=lambda item: -(item.value or 0.0))[:3]
    listed = ", ".join(
        f"{item.at['module']} {100 * (item.value or 0.0):.1f} points"
        f"{' with a hill' if item.at['module'] in hills else ''}"
        for item in worst
    )
    more = f" and {len(of) - len(worst)} more" if len(of) > len(worst) else ""
    return f" ({listed}{more})" if of else ""


def _agreement(pair: str, modules: pl.DataFrame) -> Iterator[Estimate]:
    """Whether unlike or distant modules are the ones with a barrier: Kendall's τ over modules, for each pair."""
    from transferscope.measures.agreement import rank_agreement

    for column in ("cka", "relative"):
        taus = []
        for (one, two), rows in modules.group_by(["seed_a", "seed_b"], maintain_order=True):
            of = (
                rows.filter(pl.col(column).is_not_null())
                .group_by("module", maintain_order=True)
                .agg(pl.col(column).first(), pl.col("barrier").mean())
            )
            tau = rank_agreement(of[column].to_list(), of["barrier"].to_list()).kendall
            taus.append({"seed_a": one, "seed_b": two, "tau": tau})
        yield over_pairs(_AGREEMENT, pl.DataFrame(taus, schema_overrides={"tau": pl.Float64}), "tau",
                         pair=pair, beside=column)  # fmt: skip
