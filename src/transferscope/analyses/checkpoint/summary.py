"""What is said of checkpoints: the advised one, what it may lose and loses, from where on the last is connected."""

import math
import statistics
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import polars as pl

from transferscope.analyses.barrier_estimates import barrier
from transferscope.analyses.checkpoint.scores import SCORES
from transferscope.analyses.estimates import Estimate, Quantity
from transferscope.analyses.final_metrics import estimate_of, span
from transferscope.analyses.summary import Summary
from transferscope.bounds import DIFFERENCE, MAGNITUDE, SHARE

__all__ = ["QUANTITIES", "summary_of"]

_AT = "checkpoint {epoch} of pre-training {pretraining}"
_METRIC = Quantity("final_metric", f"final {{split}} metric from {_AT}", "metric", SHARE)
_SPEED = Quantity("speed", f"optimisation speed from {_AT}", "metric", SHARE)
_UPDATES = Quantity(
    "updates_to_threshold", f"updates to a training metric of {{threshold:.3f}} from {_AT} (median)", "updates"
)
_PRETRAINING = Quantity("pretraining_metric", f"{{split}} metric of {_AT} on its own task", "metric", SHARE)
_LOSS = Quantity("loss_of_metric", f"final {{split}} metric, last checkpoint − {_AT}", "metric", DIFFERENCE)
_BARRIER = Quantity(
    "error_barrier", f"error barrier ({{split}}, over the {{baseline}}) from {_AT} to the last", "1", MAGNITUDE
)
_CONNECTED = Quantity(
    "first_connected_epoch", "first checkpoint of pre-training {pretraining} without a barrier to the last", "epochs"
)
_CHOSEN = Quantity("advised_epoch", "checkpoint of pre-training {pretraining} to start from", "epochs")
_EXPECTED = Quantity(
    "expected_regret", "expected regret of the advised checkpoint of pre-training {pretraining}", "metric", SHARE
)
_PROVED = Quantity(
    "proved_regret", "regret of the advised checkpoint of pre-training {pretraining}, on test data", "metric", SHARE
)
_SCORE = Quantity("score", f"{{score}} of the frozen {_AT} ({{split}})")
_TAU = Quantity(
    "weighted_tau", "weighted Kendall τ over checkpoints, {score} and final test metric, mean of pre-trainings", "1",
    DIFFERENCE,
)  # fmt: skip
QUANTITIES = (
    _METRIC, _SPEED, _UPDATES, _PRETRAINING, _LOSS, _BARRIER, _CONNECTED, _CHOSEN, _EXPECTED, _PROVED, _SCORE, _TAU,
)  # fmt: skip


def summary_of(table: pl.DataFrame, margin: float) -> Summary:
    """Numbers, verdict and notes.

    Args:
        table: of the analysis.
        margin: of a loss that counts as nothing.
    """
    runs = table["pretraining"].unique(maintain_order=True).to_list()
    losses, barriers = list(_losses(table, margin)), list(_barriers(table))
    advice = [item for run in runs for item in _advice(table, run)]
    connected = [_connected(run, barriers) for run in runs]
    estimates = [
        *_ends(table), *_updates(table), *_pretrainings(table), *losses, *barriers, *connected, *advice,
        *_scores(table), *_taus(table, runs),
    ]  # fmt: skip
    last = table["epoch"].max()
    said = "; ".join(_said(run, last, advice, losses, connected) for run in runs)
    return Summary(f"{said[0].upper()}{said[1:]}.", tuple(estimates), tuple(_notes(table, runs)))


def _at(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"pretraining": row["pretraining"], "epoch": row["epoch"], "split": row["split"]}


def _ends(table: pl.DataFrame) -> Iterator[Estimate]:
    """Final test metric and speed of each checkpoint, over seeds."""
    for row in table.filter((pl.col("level") == "checkpoint") & (pl.col("split") != "validation")).iter_rows(
        named=True
    ):
        yield estimate_of(_METRIC if row["quantity"] == "metric" else _SPEED, row, **_at(row))


def _updates(table: pl.DataFrame) -> Iterator[Estimate]:
    """The median, in which a network that never gets there counts as later than all others."""
    rows = table.filter((pl.col("level") == "network") & (pl.col("quantity") == "updates"))
    for (run, epoch, threshold), part in rows.group_by("pretraining", "epoch", "threshold", maintain_order=True):
        values = part["value"].to_list()
        middle = statistics.median(math.inf if value is None else value for value in values)
        censored = values.count(None)
        yield _UPDATES.number(
            None if math.isinf(middle) else float(middle), len(values),
            f"{censored} of {len(values)} never reached it" if censored else None,
            pretraining=run, epoch=epoch, threshold=threshold, split="train",
        )  # fmt: skip


def _pretrainings(table: pl.DataFrame) -> Iterator[Estimate]:
    rows = table.filter((pl.col("level") == "pretraining") & (pl.col("split") == "validation"))
    for row in rows.iter_rows(named=True):
        yield _PRETRAINING.number(row["value"], 1, row["note"], **_at(row))


def _losses(table: pl.DataFrame, margin: float) -> Iterator[Estimate]:
    """Of every checkpoint on validation data, judged; of all on test data, to be told."""
    rows = table.filter(pl.col("level") == "loss")
    family = rows["epoch"].n_unique()
    for row in rows.iter_rows(named=True):
        word = None
        if row["split"] == "validation":
            low, high = row["simultaneous_low"], row["simultaneous_high"]
            word = "kept" if high is not None and high < margin else "undecided"
            word = "lost" if low is not None and low > margin else word
        yield estimate_of(_LOSS, row, **_at(row), n_comparisons=family, verdict=word)


def _barriers(table: pl.DataFrame) -> Iterator[Estimate]:
    """Over seeds where there are three, else that of the worst pair, over examples."""
    rows = table.filter(pl.col("level") == "barrier").with_columns(
        pl.col("value").alias("barrier"), pl.col("seed").alias("seed_a"), pl.col("seed").alias("seed_b")
    )
    for (run, epoch, split), part in rows.drop("seed").group_by("pretraining", "epoch", "split", maintain_order=True):
        at: dict[str, Any] = {"pretraining": run, "epoch": epoch, "split": split, "baseline": "mean"}
        yield barrier(_BARRIER, part, **at)


def _connected(run: int, barriers: Iterable[Estimate]) -> Estimate:
    """The first checkpoint whose barrier to the last is surely small; later ones may have one again, which is said."""
    of_run = [item for item in barriers if item.at["pretraining"] == run and item.verdict is not None]
    stable = [int(item.at["epoch"]) for item in of_run if item.verdict == "stable"]
    if not stable:
        return _CONNECTED.undefined("no earlier checkpoint is shown to be connected to the last", pretraining=run)
    again = [
        int(item.at["epoch"]) for item in of_run if item.verdict != "stable" and int(item.at["epoch"]) > min(stable)
    ]
    note = f"not shown for later ones: {', '.join(map(str, again))}" if again else None
    return _CONNECTED.number(float(min(stable)), len(of_run), note, pretraining=run)


def _advice(table: pl.DataFrame, run: int) -> Iterator[Estimate]:
    rows = table.filter((pl.col("level") == "advice") & (pl.col("pretraining") == run))
    for row in rows.iter_rows(named=True):
        if row["quantity"] == "expected_regret":
            note = None
            if row["probability_best"] is not None:
                note = f"the best of all with probability {row['probability_best']:.2f}"
            yield _CHOSEN.number(float(row["epoch"]), row["n"], pretraining=run)
            yield _EXPECTED.at_row(row, row["note"], note, pretraining=run, split="validation")
        else:
            note = "limits of 95 %; the largest of noisy values lies too high, and with it a regret"
            yield _PROVED.at_row(row, row["note"], note, pretraining=run, split="test")


def _scores(table: pl.DataFrame) -> Iterator[Estimate]:
    for row in table.filter(pl.col("level") == "score").iter_rows(named=True):
        yield _SCORE.number(row["value"], 1, row["note"], **_at(row), score=row["quantity"])


def _taus(table: pl.DataFrame, runs: list[int]) -> Iterator[Estimate]:
    """Of each score with the outcome, where there are two pre-trainings: their checkpoints are not independent."""
    from transferscope.measures.agreement import weighted_tau
    from transferscope.measures.intervals import seeds_interval

    if len(runs) < 2:
        return
    outcomes = table.filter((pl.col("level") == "checkpoint") & (pl.col("quantity") == "metric"))
    outcome = _by_place(outcomes.filter(pl.col("split") == "test"))
    for score in SCORES:
        scored = _by_place(table.filter((pl.col("level") == "score") & (pl.col("quantity") == score)))
        taus = []
        for run in runs:
            places = [place for place in outcome if place[0] == run]
            tau = weighted_tau([scored.get(place) for place in places], [outcome[place] for place in places])
            taus += [] if tau is None else [tau]
        at: dict[str, Any] = {"score": score, "split": "test"}
        if len(taus) < len(runs):
            yield _TAU.undefined("fewer than 3 checkpoints with both, or all values are equal", len(taus), **at)
            continue
        yield _TAU.of(seeds_interval(taus, bounds=DIFFERENCE), "n counts pre-trainings; no advice: see regret", **at)


def _by_place(rows: pl.DataFrame) -> dict[tuple[int, int], float | None]:
    return {(run, epoch): value for run, epoch, value in rows.select("pretraining", "epoch", "value").iter_rows()}


def _said(
    run: int, last: Any, advice: Iterable[Estimate], losses: Iterable[Estimate], connected: Iterable[Estimate]
) -> str:
    """One pre-training in words."""
    own = {item.quantity: item for item in (*advice, *connected) if item.at["pretraining"] == run}
    chosen = own[_CHOSEN.key].value
    of_run = {(item.at["epoch"], item.at["split"]): item for item in losses if item.at["pretraining"] == run}
    kept = of_run.get((int(chosen or 0), "validation"))
    if kept is None or kept.verdict != "kept" or kept.simultaneous_high is None:
        text = f"no checkpoint of pre-training {run} before the last ({last}) is shown to be as good: start from it"
    else:
        text = (
            f"checkpoint {chosen:.0f} of {last} of pre-training {run} is as good as the last on validation data (upper "
            f"one-sided 95 % limit of the loss {kept.simultaneous_high:+.3f} over {kept.n} seeds, for "
            f"{kept.n_comparisons} at once)"
        )
        test = of_run.get((int(chosen or 0), "test"))
        if test is not None and test.value is not None:
            text += f", and loses {span(test, 1.0, 3)} on test data"
    expected, proved = own[_EXPECTED.key], own[_PROVED.key]
    if expected.value is not None and expected.high is not None:
        text += f"; expected regret {expected.value:.3f}, 90 % below {expected.high:.3f}"
    if proved.value is not None and proved.high is not None:
        text += f", proved {proved.value:.3f} (below {proved.high:.3f})"
    first = own[_CONNECTED.key].value
    where = "no earlier one is shown" if first is None else f"the first shown is {first:.0f}"
    return f"{text}; of checkpoints linearly connected to the last {where}"


def _notes(table: pl.DataFrame, runs: list[int]) -> Iterator[str]:
    yield "all networks were trained at P-T's rate: an early checkpoint may do better at another"
    yield (
        "scores are without fine-tuning: probe and neighbours are fitted on training images and judged on validation "
        "images, the others are computed on training images; LEEP and NCE use the head of the pre-training"
    )
    if len(runs) < 2:
        yield (
            "one pre-training: no rank correlation is given, as checkpoints of one run are not independent "
            "(pretrain_seeds adds runs)"
        )
    lost = table.filter((pl.col("level") == "network") & pl.col("diverged")).select("pretraining", "epoch", "seed")
    for run, epoch, seed in lost.unique().sort(pl.all()).iter_rows():
        yield f"the network of seed {seed} from checkpoint {epoch} of pre-training {run} diverged and is left out"
    yield "every claim is for these pre-trainings"
