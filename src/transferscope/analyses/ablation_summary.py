"""Numbers and the verdict of the input ablations, from their table. No torch here."""

from typing import Any

import polars as pl

from transferscope.analyses.contract import Number, Summary
from transferscope.analyses.rounding import exact

__all__ = ["hardest", "summary_of"]


def hardest(table: pl.DataFrame) -> str | None:
    """The ablation the verdict is about: single pixels, else all values, else the smallest blocks there are.

    Args:
        table: of the input ablations.

    Returns:
        Its label; None where nothing but whole images has a gap.
    """
    rows = table.filter((pl.col("level") == "gap") & (pl.col("origin") == "study"))
    rows = rows.filter((pl.col("ablation") == "block_shuffle") & (pl.col("place") > 0))
    labels = dict(rows.sort("place").select("block", "label").iter_rows())
    return labels.get("1") or labels.get("*") or next(reversed(labels.values()), None)


def summary_of(table: pl.DataFrame) -> Summary:
    """For each ablation the gap, its share of P-T's metric, its change against whole images, and the gap in speed.

    Args:
        table: in the declared columns of the input ablations.
    """
    own = table.filter(pl.col("origin") == "study")
    metrics = own["metric"].to_list()
    if not metrics:
        return Summary("Undecided: no network was trained on ablated images.")
    metric = metrics[0]
    numbers: list[Number] = []
    for label in own.filter(pl.col("level") == "gap").sort("place")["label"].unique(maintain_order=True):
        numbers += _numbers(own.filter(pl.col("label") == label), label)
    return Summary(_verdict(own, metric), tuple(numbers), tuple(_notes(table, own, metric)))


def _numbers(rows: pl.DataFrame, label: str) -> list[Number]:
    numbers = []
    gaps = rows.filter(pl.col("level") == "gap")
    for row in gaps.iter_rows(named=True):
        interval = (row["test_low"], row["test_high"], row["basis"], row["n"], "metric")
        if row["basis"] == "examples":
            if "seeds" in gaps["basis"].to_list():
                continue  # in the table, and in the picture
            numbers.append(
                Number(f"{label}: final test metric, P-T − RI-T, these networks", row["test_metric"], *interval)
            )
            continue
        numbers.append(
            Number(f"{label}: final test metric, P-T − RI-T", row["test_metric"], *interval, _all_at_once(row))
        )
        numbers.append(
            Number(
                f"{label}: relative drop from P-T to RI-T",
                row["relative_drop"], row["relative_drop_low"], row["relative_drop_high"],
                row["basis"] if row["relative_drop"] is not None else None, row["n"], "%",
                "" if row["relative_drop"] is not None else _no_drop(rows, row),
            )
        )  # fmt: skip
        if row["speed"] is not None:
            numbers.append(
                Number(
                    f"{label}: optimisation speed, P-T − RI-T",
                    row["speed"], row["speed_low"], row["speed_high"], row["basis"], row["n"], "metric",
                )
            )  # fmt: skip
    numbers += [
        Number(
            f"{label}: gap minus the gap on whole images",
            row["test_metric"], row["test_low"], row["test_high"], row["basis"], row["n"], "metric",
            _all_at_once(row),
        )
        for row in rows.filter(pl.col("level") == "difference").iter_rows(named=True)
    ]  # fmt: skip
    return numbers


def _no_drop(rows: pl.DataFrame, row: dict[str, Any]) -> str:
    best = rows.filter((pl.col("level") == "variant") & (pl.col("variant") == "P_T"))["test_metric"].to_list()
    if best and best[0] <= row["chance"]:
        return f"P-T is not above chance ({row['chance']:.3g})"
    return "P-T's metric is not surely above 0"


def _all_at_once(row: dict[str, Any]) -> str:
    if row["simultaneous_low"] is None:
        return ""
    low, high = row["simultaneous_low"], row["simultaneous_high"]
    return f"for all ablations at once (Bonferroni) {exact(low):+.3f} to {exact(high):+.3f}".replace("-", "−")


def _verdict(own: pl.DataFrame, metric: str) -> str:
    label = hardest(own)
    gaps = own.filter((pl.col("level") == "gap") & (pl.col("label") == label)) if label is not None else own.clear()
    if gaps.is_empty():
        return "Undecided: no seed of both P-T and RI-T ended with a defined metric on shuffled images."
    rows = {row["basis"]: row for row in gaps.iter_rows(named=True)}
    said = f"with {label} P-T − RI-T is {_points(gaps['test_metric'][0], metric)} of test {metric}"
    whole = own.filter((pl.col("level") == "gap") & (pl.col("place") == 0) & (pl.col("basis").ne_missing("examples")))
    if not whole.is_empty():
        said += f" (on whole images {_points(whole['test_metric'][0], metric)})"
    if (row := rows.get("seeds")) is not None:
        # One ablation, named before any result was seen: its own interval, not that of the family.
        word = {
            1: "Part of the gain does not need the shapes in the images",
            -1: "Without the shapes in the images pre-training hurts",
            0: "Undecided for training in general whether a gain is left without the shapes in the images",
        }[_sign(row["test_low"], row["test_high"])]
        verdict = (
            f"{word}: {said}, 95 % interval over {row['n']} seeds "
            f"{_span(row['test_low'], row['test_high'], metric)}.{_taken(own, label, metric)}"
        )
    elif (row := rows.get("examples")) is not None:
        word = {
            1: "These P-T networks stay better without the shapes in the images",
            -1: "These P-T networks are worse without the shapes in the images",
            0: "Undecided",
        }[_sign(row["test_low"], row["test_high"])]
        fewer = "one seed"
        if (two := rows.get("range")) is not None:
            fewer = f"{two['n']} seeds, range {_span(two['test_low'], two['test_high'], metric)}"
        verdict = (
            f"{word}: {said}, 95 % interval over {row['n']} test examples "
            f"{_span(row['test_low'], row['test_high'], metric)}; {fewer}. "
            "A claim about training in general needs at least 3 seeds."
        )
    else:
        verdict = f"Undecided: {said}, without an interval."
    runs = own.filter((pl.col("level") == "network") & (pl.col("label") == label) & (pl.col("variant") == "RI_T"))
    rising = runs.filter(pl.col("improving").fill_null(value=False)).height
    if rising:
        return (
            f"No claim on the final gap, for RI-T is still improving at the end ({rising} of {runs.height} trainings "
            f"with {label}). So far: {verdict}"
        )
    return verdict


def _taken(own: pl.DataFrame, label: str | None, metric: str) -> str:
    rows = own.filter((pl.col("level") == "difference") & (pl.col("label") == label))
    if rows.is_empty() or rows["basis"][0] != "seeds":
        return ""
    row = rows.row(0, named=True)
    low, high = row["test_low"], row["test_high"]
    word = {
        -1: "Shuffling takes part of the gain",
        1: "The gain is larger than on whole images",
        0: "Whether shuffling changes the gain is undecided",
    }[_sign(low, high)]
    return f" {word}: the gap changes by {_points(row['test_metric'], metric)} ({_span(low, high, metric)})."


def _notes(table: pl.DataFrame, own: pl.DataFrame, metric: str) -> list[str]:
    notes = [
        "trained without augmentation, at the rate each variant chose on whole images; "
        "a rate chosen for each ablation could change a gap"
    ]
    runs = own.filter(pl.col("level") == "network")
    for variant in ("P_T", "RI_T"):
        rising = runs.filter((pl.col("variant") == variant) & pl.col("improving").fill_null(value=False))
        labels = rising.sort("place")["label"].unique(maintain_order=True).to_list()
        if labels:
            notes.append(
                f"{variant.replace('_', '-')} is still improving at the end with {', '.join(labels)}: "
                "no claim on the final gap is made from these"
            )
    lost = runs.filter(pl.col("diverged")).sort("place")
    notes += [
        f"{row['variant'].replace('_', '-')}[{row['seed']}] diverged with {row['label']}"
        for row in lost.iter_rows(named=True)
    ]
    paper = table.filter(pl.col("origin") != "study")
    if not paper.is_empty():
        drawn = "drawn behind ours against the side of a block over the image size"
        if metric != "top1":
            drawn = f"not drawn: it is top-1 accuracy, ours is {metric}"
        notes.append(
            f"the paper's curve for {paper['origin'][0]} (ResNet-50 with Fixup, ImageNet to DomainNet, images of 224 "
            f"pixels) is in the table, {drawn}"
        )
    return notes


def _sign(low: float, high: float) -> int:
    return 1 if low > 0 else -1 if high < 0 else 0


def _points(value: float, metric: str) -> str:
    text = f"{exact(value):+.3f}" if metric == "auc" else f"{exact(100 * value):+.1f} points"
    return text.replace("-", "−")


def _span(low: float, high: float, metric: str) -> str:
    if metric == "auc":
        return f"{exact(low):+.3f} to {exact(high):+.3f}".replace("-", "−")
    return f"{exact(100 * low):+.1f} to {exact(100 * high):+.1f} points".replace("-", "−")
