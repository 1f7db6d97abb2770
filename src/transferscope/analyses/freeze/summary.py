"""The advice on freezing: decided on validation data, with what it promises, and what test data say of it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from transferscope.analyses.estimates import Estimate, Quantity
from transferscope.analyses.final_metrics import span
from transferscope.analyses.freeze.networks import FULL, first, shown_arm
from transferscope.analyses.summary import Summary
from transferscope.bounds import DIFFERENCE, MAGNITUDE, SHARE, Flag

__all__ = ["QUANTITIES", "Advice", "decided", "summary_of"]

_LOSS = Quantity("loss_of_metric", "full fine-tuning − {arm} ({split}, over {over})", "metric", DIFFERENCE)
_PROMISED_LOSS = Quantity("promised_loss", "promised: full fine-tuning − {arm}, metric", "metric", DIFFERENCE)
_PROMISED_REGRET = Quantity("promised_regret", "promised: best of all k − {arm}, metric", "metric", MAGNITUDE)
_BEST = Quantity("probability_best", "promised: probability that no other k is better than {arm}", "1", SHARE)
_PROVED_REGRET = Quantity("proved_regret", "proved: best of all k − {arm}, test metric", "metric", MAGNITUDE)
_SPEED = Quantity("epochs_per_second_gained", "epochs per second, {arm} ÷ full fine-tuning", "1", MAGNITUDE)
_MEMORY = Quantity("update_memory", "memory of an update, {arm} ÷ full fine-tuning", "1", MAGNITUDE)
_KEPT = Quantity("kept_megabytes", "kept of frozen modules, {arm}", "MB", MAGNITUDE)
_RATIO = Quantity("gradient_ratio", "relative gradient at the start, {module}", "1", MAGNITUDE)
QUANTITIES = (_LOSS, _PROMISED_LOSS, _PROMISED_REGRET, _BEST, _PROVED_REGRET, _SPEED, _MEMORY, _KEPT, _RATIO)

_OTHERWISE = {
    "train_all": "Train all: every k loses more",
    "undecided": "Undecided: no k is shown to lose less",
}
_ONE_SIDED = 1.2815515655446004
"""Of the normal distribution: 90 % lie below."""


@dataclass(frozen=True)
class Advice:
    """What validation data say.

    Attributes:
        verdict: ``freeze``; ``train_all``: every k loses more than the margin; else ``undecided``.
        k: how many first modules to freeze, 0 for ``train_all``; None where it is undecided.
        kept: by k, whether its loss is surely below the margin: kept, lost or undecided.
    """

    verdict: Literal["freeze", "train_all", "undecided"]
    k: int | None
    kept: Mapping[int, str]


def decided(table: pl.DataFrame, margin: float) -> Advice:
    """The largest k whose validation metric is as good as that of full fine-tuning.

    A k is judged by the interval over seeds where there is one, else by that over examples: its one-sided 95 % limit,
    for all k at once, is below the margin.

    Args:
        table: of ``freeze``; rows of test data are not looked at.
        margin: loss that counts as nothing.
    """
    frozen = pl.col("arm").str.starts_with("first_")
    rows = table.filter((pl.col("level") == "loss") & (pl.col("split") == "validation") & frozen)
    kept = {k: _judged(part, margin) for (k,), part in rows.group_by("k", maintain_order=True)}
    whole = {int(str(k)): word for k, word in sorted(kept.items(), key=lambda item: int(str(item[0])))}
    best = max((k for k, word in whole.items() if word == "kept"), default=None)
    if best is not None:
        return Advice("freeze", best, whole)
    if whole and all(word == "lost" for word in whole.values()):
        return Advice("train_all", 0, whole)
    return Advice("undecided", None, whole)


def _deciding(rows: pl.DataFrame) -> dict[str, Any]:
    """The row of a loss that decides: over seeds where there is an interval, else over examples."""
    by = {row["over"]: row for row in rows.iter_rows(named=True)}
    return by["seeds"] if by["seeds"]["basis"] == "seeds" or "examples" not in by else by["examples"]


def _judged(rows: pl.DataFrame, margin: float) -> str:
    row = _deciding(rows)
    # A run that diverged says enough of its k: what is left would be a selection.
    if row["diverged"] or row["simultaneous_high"] is None:
        return "undecided"
    if row["simultaneous_high"] < margin:
        return "kept"
    return "lost" if row["simultaneous_low"] > margin else "undecided"


def summary_of(table: pl.DataFrame, margin: float, views: int | None) -> Summary:
    """The advice in a sentence, with every number.

    Args:
        table: of ``freeze``.
        margin: loss that counts as nothing.
        views: augmented views of an image that frozen networks were trained on.
    """
    modules = table.filter(pl.col("level") == "gradient").sort("position")
    names = modules["module"].to_list()
    advice = decided(table, margin)
    losses = list(_losses(table, advice))
    more = [] if advice.k is None else list(_promises(table, first(advice.k)))
    costs = list(_costs(table))
    ratios = [_RATIO.number(row["value"], row["n"], module=row["module"]) for row in modules.iter_rows(named=True)]
    facts = {"verdict": advice.verdict, "k": advice.k, "modules": names[: advice.k or 0]}
    verdict = _verdict(advice, names, [*losses, *more, *costs], margin)
    return Summary(verdict, (*losses, *more, *costs, *ratios), tuple(_notes(table, views)), facts)


def _losses(table: pl.DataFrame, advice: Advice) -> Iterator[Estimate]:
    tried = max(1, len(advice.kept))
    for (arm,), part in table.filter(pl.col("level") == "loss").group_by("arm", maintain_order=True):
        k = int(part["k"][0])
        for (split,), rows in part.group_by("split", maintain_order=True):
            judged = str(arm) == first(k) and split == "validation"
            for row in rows.iter_rows(named=True):
                decides = judged and row["over"] == _deciding(rows)["over"]
                flags: list[Flag] = ["diverged"] if row["diverged"] else []
                if row["value"] is not None and row["low"] is None:
                    flags.append("no_spread" if row["n"] > 2 else "too_few_seeds")
                elif row["basis"] == "range":
                    flags.append("too_few_seeds")
                yield _LOSS.at_row(
                    row, row["note"], "simultaneous limits are one-sided", flags=flags, n_comparisons=tried,
                    verdict=advice.kept[k] if decides else None, arm=str(arm), split=str(split), over=row["over"],
                )  # fmt: skip


def _means(table: pl.DataFrame, split: str) -> dict[str, float]:
    """Of full fine-tuning and every k."""
    rows = table.filter((pl.col("level") == "arm") & (pl.col("split") == split) & pl.col("value").is_not_null())
    found = dict(zip(rows["arm"], rows["value"], strict=True))
    return {arm: value for arm, value in found.items() if arm == FULL or arm.startswith("first_")}


def _promises(table: pl.DataFrame, arm: str) -> Iterator[Estimate]:
    """What the choice is expected to lose, from validation data alone; and what test data say of it."""
    import numpy as np

    from transferscope.measures.regret import expected_regret

    rows = table.filter(pl.col("level") == "covariance")
    means = {name: value for name, value in _means(table, "validation").items() if name in set(rows["arm"])}
    if arm not in means or len(means) < 2:
        return
    arms = list(means)
    cells = {(row["arm"], row["other"]): row["value"] for row in rows.iter_rows(named=True)}
    errors = np.array([[cells[a, b] for b in arms] for a in arms])
    n = int(rows["n"][0])
    regret = expected_regret(list(means.values()), errors, n, chosen=arms.index(arm))
    limits = "limits of 90 % each, over seeds and examples"
    if arm != FULL:
        a, b = arms.index(FULL), arms.index(arm)
        spread = float(np.sqrt(max(0.0, errors[a, a] + errors[b, b] - 2 * errors[a, b])))
        value = means[FULL] - means[arm]
        row = {"value": value, "low": value - _ONE_SIDED * spread, "high": value + _ONE_SIDED * spread,
               "basis": "examples", "n": n}  # fmt: skip
        yield _PROMISED_LOSS.at_row(row, limits, arm=arm)
    # Where no example tells arms apart the draws are all alike: that is no promise.
    apart = errors.diagonal()[:, None] + errors.diagonal() - 2 * errors
    flags: tuple[Flag, ...] = () if (apart > 1e-12).any() else ("no_spread",)
    yield _PROMISED_REGRET.of(regret.interval, limits, flags=flags, arm=arm)
    yield _BEST.number(regret.probability_best, n, flags=flags, arm=arm)
    test = _means(table, "test")
    if arm in test:
        proved = max(test.values()) - test[arm]
        inside = regret.interval.high is not None and proved <= regret.interval.high
        yield _PROVED_REGRET.number(proved, n, verdict="within the promise" if inside else "above the promise", arm=arm)


def _costs(table: pl.DataFrame) -> Iterator[Estimate]:
    """Every arm against full fine-tuning: epochs per second, paired by seed; memory of an update."""
    from transferscope.measures.intervals import seeds_interval

    rows = table.filter(pl.col("level") == "cost")
    for arm in dict.fromkeys(rows["arm"]):
        if arm == FULL:
            continue
        by = {
            (name, row["quantity"], row["seed"]): row["value"]
            for name in (FULL, arm)
            for row in rows.filter(pl.col("arm") == name).iter_rows(named=True)
        }
        pairs = [
            full / by[arm, quantity, seed]
            for (name, quantity, seed), full in by.items()
            if (name, quantity) == (FULL, "seconds_per_epoch") and by.get((arm, quantity, seed))
        ]
        if pairs:
            yield _SPEED.of(seeds_interval(pairs, bounds=MAGNITUDE), "measured, evaluations included", arm=arm)
        sizes = [[value for (name, what, _), value in by.items() if (name, what) == (of, "update_megabytes")]
                 for of in (FULL, arm)]  # fmt: skip
        if all(sizes):
            yield _MEMORY.number(sizes[1][0] / sizes[0][0], 1, arm=arm)
        kept = [value for (name, what, _), value in by.items() if (name, what) == (arm, "kept_megabytes")]
        if kept:
            yield _KEPT.number(sum(kept) / len(kept), len(kept), arm=arm)


def _verdict(advice: Advice, names: list[str], numbers: list[Estimate], margin: float) -> str:
    if advice.verdict != "freeze":
        tried = ", ".join(f"{k} {word}" for k, word in advice.kept.items()) or "none ended"
        said = _OTHERWISE[advice.verdict]
        return f"{said} than {100 * margin:g} points on validation data (of {len(names)} modules: {tried})."
    assert advice.k is not None
    arm = first(advice.k)
    found = {item.quantity: item for item in numbers if item.at.get("arm") == arm}
    losses = {(item.at["split"], item.at["over"]): item for item in numbers
              if item.quantity == _LOSS.key and item.at["arm"] == arm}  # fmt: skip
    decides = next(item for item in losses.values() if item.verdict is not None)
    which = "first" if advice.k == 1 else f"first {advice.k}"
    limit = f"{_points(decides.simultaneous_high)}, below {100 * margin:g} points"
    parts = [
        f"Freeze the {which} of {len(names)} modules: on validation data full fine-tuning is better by "
        f"{_points(decides.value)} (one-sided 95 % limit {limit}, over {decides.n} {decides.basis}, "
        f"{decides.n_comparisons} values of k at once)"
    ]
    regret = found.get(_PROMISED_REGRET.key)
    if regret is not None and "no_spread" not in regret.flags:
        best = found[_BEST.key].value or 0.0
        parts.append(
            f"expected loss against the best k {_points(regret.value)}, 90 % below {_points(regret.high)}, "
            f"P(best) {best:.2f}"
        )
    test = losses.get(("test", str(decides.at["over"])))
    if test is not None and test.value is not None:
        parts.append(f"on test data full − frozen is {_proof(test)}")
    if (speed := found.get(_SPEED.key)) is not None and speed.value is not None:
        parts.append(f"{speed.value:.1f} × the epochs per second")
    if (memory := found.get(_MEMORY.key)) is not None and memory.value is not None:
        parts.append(f"{100 * memory.value:.0f} % of the memory of an update")
    return "; ".join(parts) + "."


def _points(value: float | None) -> str:
    return "not known" if value is None else f"{100 * value:.1f} points"


def _proof(test: Estimate) -> str:
    if test.basis != "examples" or test.low is None or test.high is None:
        return span(test, 100.0, 1, " points")
    assert test.value is not None
    limits = f"95 % interval over {test.n} examples {100 * test.low:+.1f} to {100 * test.high:+.1f}"
    return f"{100 * test.value:+.1f} points ({limits})"


def _notes(table: pl.DataFrame, views: int | None) -> Iterator[str]:
    yield "all were trained at P-T's rate: networks with few trained modules may do better at another"
    yield "modules count in the order in which the network defines them; the head is always trained"
    if views is not None:
        yield f"frozen networks saw {views} augmented views of each image in turn, kept where the network can be cut"
    costs = table.filter(pl.col("level") == "cost")
    for (why,), part in costs.filter(pl.col("note").is_not_null()).group_by("note", maintain_order=True):
        yield f"{', '.join(dict.fromkeys(map(shown_arm, part['arm'])))}: {why}"
    lost = table.filter((pl.col("level") == "network") & pl.col("diverged") & (pl.col("split") == "validation"))
    if not lost.is_empty():
        runs = (f"{shown_arm(arm)} [{seed}]" for arm, seed in lost.select("arm", "seed").iter_rows())
        yield f"diverged and left out: {', '.join(runs)}"
