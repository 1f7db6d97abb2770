"""What freezing loses and what it costs, by arm; and the relative gradient of each module at the start."""

import polars as pl

from transferscope.analyses.freeze.networks import shown_arm
from transferscope.plots.axes import Axis, Names, Tints
from transferscope.plots.panels import Frame, dot_panel, interval_text, listed, present, values_text
from transferscope.plots.theme import OTHERS, Figure, metric_axis, metric_name, padded

__all__ = ["figures"]

_SPLITS = Tints("split", {"validation": OTHERS[0], "test": OTHERS[1]})


def figures(table: pl.DataFrame, metric: str = "top1") -> tuple[Figure, ...]:
    """The figures of ``freeze``; none of what there is no value of."""
    rows = table.filter(pl.col("value").is_not_null())
    words = {arm: shown_arm(arm) for arm in rows["arm"].drop_nulls().unique(maintain_order=True)}
    rows = rows.with_columns(shown=pl.col("arm").replace_strict(words, default=None))
    return present(_losses(rows, metric), _costs(rows), _gradients(rows))


def _order(rows: pl.DataFrame) -> list[str]:
    return rows.sort("k", maintain_order=True)["shown"].unique(maintain_order=True).to_list()


def _losses(rows: pl.DataFrame, metric: str) -> Figure | None:
    # Of each loss the interval that decides: over seeds where there is one.
    losses = rows.filter(pl.col("level") == "loss")
    if losses.is_empty():
        return None
    ranked = losses.with_columns(rank=pl.when(pl.col("basis") == "seeds").then(0).when(pl.col("over") == "examples")
                                 .then(1).otherwise(2))  # fmt: skip
    chosen = ranked.sort("rank", maintain_order=True).unique(["shown", "split"], keep="first", maintain_order=True)
    data = chosen.drop("simultaneous_low", "simultaneous_high").with_columns(
        interval_text(pl.col("shown"), ", ", pl.col("split"), ", over ", pl.col("over"))
    )
    title, number = metric_axis(metric, "loss of")
    reach = padded([0.0, *data["value"], *data["low"], *data["high"]])
    order = _order(losses)
    x = Axis("value", title, "+" + number, domain=reach, grid=False)
    frame = Frame(
        x, Names("shown", "Arm (name)", order, limit=150), _SPLITS, aside=True, width=250, height=34 * len(order) + 20
    )
    told = listed(data.filter(pl.col("split") == "test"), "shown", "value", "+.3f", order)
    return Figure(
        name="losses",
        title="What each arm loses against full fine-tuning",
        caption=f"Full fine-tuning − arm, final {metric_name(metric)}, paired by seed; right of the line full "
        "fine-tuning is better. Bars: 95 % intervals over seeds, over examples where there are fewer than three seeds.",
        description=f"Loss of the test {metric_name(metric)} against full fine-tuning: {told}.",
        panels=(dot_panel(frame, data, at=(0.0,)),),
        legend=_SPLITS.legend("point"),
    )


def _costs(rows: pl.DataFrame) -> Figure | None:
    data = rows.filter((pl.col("level") == "cost") & (pl.col("quantity") == "seconds_per_epoch"))
    if data.is_empty():
        return None
    order = _order(data)
    data = data.with_columns(values_text(pl.col("shown"), " [", pl.col("seed"), "], s"))
    x = Axis("value", "Seconds per epoch (s)", domain=padded([0.0, *data["value"]], low=0.0), grid=False)
    frame = Frame(x, Names("shown", "Arm (name)", order, limit=150), width=250, height=26 * len(order) + 20)
    return Figure(
        name="costs",
        title="What an epoch costs",
        caption="Measured seconds of an epoch, evaluations and the keeping of frozen outputs included: a dot for each "
        "training, a tick at the mean.",
        description=f"Mean seconds per epoch: {listed(data, 'shown', 'value', '.3g', order)}.",
        panels=(frame.panel(frame.means(data), frame.dots(data)),),
    )


def _gradients(rows: pl.DataFrame) -> Figure | None:
    data = rows.filter(pl.col("level") == "gradient").sort("position")
    if data.is_empty():
        return None
    data = data.with_columns(values_text(pl.col("module")))
    order = data["module"].to_list()
    x = Axis("value", "Relative gradient ‖g‖ / ‖θ‖ (1)", domain=padded([0.0, *data["value"]], low=0.0), grid=False)
    frame = Frame(x, Names("module", "Module (name)", order, limit=140), height=max(60, 18 * len(order)))
    largest = data.sort("value", descending=True).head(3)
    return Figure(
        name="gradients",
        title="Which modules the first gradients would change",
        caption="Norm of the gradient by that of the weights, mean over a few training batches before the first "
        "update. Modules with a small one are proposed for freezing.",
        description=f"Largest relative gradients: {listed(largest, 'module', 'value')}.",
        panels=(frame.panel(frame.bars(data), frame.dots(data)),),
    )
