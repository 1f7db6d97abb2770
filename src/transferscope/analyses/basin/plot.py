"""Both conditions of a basin against δ, and the δ of every set beside the distance of its networks."""

from typing import Any

import polars as pl

from transferscope.plots.axes import Axis, Names, Tints
from transferscope.plots.panels import Frame, present
from transferscope.plots.theme import NEUTRAL, OURS, Figure, Panel, colour, hover, padded, shown_column

__all__ = ["figures"]

_MOST_SETS = 6
_CONDITIONS = {"noise": "noise in all directions (2)", "outward": "the way out (3)"}
_QUANTITIES = {
    "error": ("Test error above μ (%)", ".1~%", (-0.5, -0.1, -0.01, 0.0, 0.01, 0.1, 0.5)),
    "loss": ("Test loss above μ (nats)", "~g", (-10.0, -1.0, -0.1, 0.0, 0.1, 1.0, 10.0, 100.0)),
}
_THRESHOLD = "#8c959f"


def figures(table: pl.DataFrame) -> tuple[Figure, ...]:
    """The figures of ``basin``; none where no set has values."""
    return present(*(_conditions(table, quantity) for quantity in _QUANTITIES), _radii(table))


def _conditions(table: pl.DataFrame, quantity: str) -> Figure | None:
    rows = table.filter((pl.col("split") == "test") & (pl.col("quantity") == quantity))
    sets = rows.filter((pl.col("level") == "set") & pl.col("mean").is_not_null()).sort("set", "networks")
    spread = 1.96 * (pl.col("height_se_draws") ** 2 + pl.col("height_se_examples").fill_null(0.0) ** 2).sqrt()
    conditions = rows.filter((pl.col("level") == "condition") & pl.col("height").is_not_null()).with_columns(
        low=pl.col("height") - spread, high=pl.col("height") + spread
    )
    if sets.is_empty() or conditions.is_empty():
        return None
    shown = sets.head(_MOST_SETS).to_dicts()
    title, number, ticks = _QUANTITIES[quantity]
    reach = padded([*conditions["low"], *conditions["high"], *conditions["threshold"]])
    linear = max(min(conditions["threshold"]), 1e-4)
    inside = [tick for tick in ticks if reach[0] <= tick <= reach[1]]
    height = Axis("height", title, number, domain=reach, kind="symlog", constant=linear, ticks=inside)
    further = f" {len(sets) - len(shown)} further sets are in the table." if len(sets) > len(shown) else ""
    return Figure(
        name=f"conditions_{quantity}",
        title=f"Both conditions against δ, by {quantity}",
        caption=f"How far test {quantity} rises above its mean μ over the set when the networks at its rim are moved "
        "by Gaussian noise of length about δ (solid), and when they are moved straight out of the set by |N(0, δ²)| "
        "(dashed). Bands: ±1.96 standard errors over draws and test images, for these networks. The set is an "
        "(ε, δ)-basin from the δ (vertical line) at and beyond which both lie above 2ε (grey). The height is "
        f"drawn linear up to about 2ε, logarithmic beyond.{further}",
        description=f"Left sides of both conditions against δ, by test {quantity}. {'; '.join(map(_words, shown))}.",
        panels=tuple(_panel(row, conditions, height) for row in shown),
        legend=(
            *((name, tint, "line") for name, tint in {row["set"]: _tint(row) for row in shown}.items()),
            (_CONDITIONS["noise"], NEUTRAL["muted"], "line"), (_CONDITIONS["outward"], NEUTRAL["muted"], "dashed"),
            ("2ε", _THRESHOLD, "line"), ("δ", NEUTRAL["ink"], "tick"),
        ),
    )  # fmt: skip


def _panel(row: dict[str, Any], conditions: pl.DataFrame, height: Axis) -> Panel:
    data = conditions.filter((pl.col("set") == row["set"]) & (pl.col("networks") == row["networks"]))
    steps = sorted(set(data["delta"]) - {0.0})
    # δ = 0 stands one step to the left of the others, under its own name.
    origin = steps[0] / 2
    value, low, high, threshold = (pl.col(name).round(4) for name in ("height", "low", "high", "threshold"))
    data = data.with_columns(
        hover(pl.col("condition").replace(_CONDITIONS), ", δ ", pl.col("delta").round(3), ": ", value, " (", low,
              " to ", high, "), 2ε ", threshold),
        place=pl.when(pl.col("delta") == 0).then(origin).otherwise(pl.col("delta")),
    ).sort("condition", "delta")  # fmt: skip
    x = Axis(
        "place", "Scale of the noise δ (ℓ2, units of the parameters)", domain=[origin / 1.2, steps[-1] * 1.2],
        kind="log", ticks=[origin, *steps[:: max(1, len(steps) // 6)]], grid=False,
        labels=f"datum.value < {1.2 * origin!r} ? '0' : format(datum.value, '.2~r')",
    )  # fmt: skip
    frame = Frame(x, height, _tint(row), height=210, title=f"{row['set']}: {row['networks']}")
    noise, outward = (data.filter(pl.col("condition") == name) for name in _CONDITIONS)
    line: dict[str, Any] = {"strokeDash": [1, 0], "strokeWidth": 1.4}
    found = [float(row["delta"]) or origin] if row["delta"] is not None else []
    return frame.panel(
        frame.rule(2 * row["epsilon"], color=_THRESHOLD, **line), frame.band(data, by=["condition"]),
        frame.lines(noise), frame.dashed(outward, width=2), frame.dots(data, size=36),
        frame.rule(*found, channel="x", color=NEUTRAL["ink"], **line),
    )  # fmt: skip


def _radii(table: pl.DataFrame) -> Figure | None:
    test = (pl.col("level") == "set") & (pl.col("split") == "test") & (pl.col("quantity") == "error")
    own = table.filter(test & pl.col("mean").is_not_null()).sort("set", "networks")
    paper = table.filter(pl.col("level") == "published")
    if own.is_empty():
        return None
    rows = pl.concat([
        own.with_columns(label=pl.concat_str("set", pl.lit(": "), shown_column("networks"))),
        paper.with_columns(label=pl.concat_str(pl.lit("paper, "), "origin")),
    ])  # fmt: skip
    items = rows.to_dicts()
    tints = {row["label"]: _tint(row) if row["level"] == "set" else NEUTRAL["muted"] for row in items}
    data = rows.with_columns(
        pl.Series("hover", [f"{OURS}{_words(row)}" for row in items]),
        low="delta_low",
        high=pl.coalesce("delta_high", "delta_low"),
    )
    top = padded([*data["delta"], *data["high"], *data["delta_tau"], *data["distance"]])[1]
    length = "Length (ℓ2, units of the parameters)"

    def frame(column: str) -> Frame:
        names = Names("label", "Set (networks)", list(tints), limit=230)
        x = Axis(column, length, ".4~g", domain=[0.0, top])
        return Frame(x, names, Tints("label", tints, named=False), width=240, height=34 * len(tints) + 8)

    none = data.filter(pl.col("delta").is_null())["label"].to_list()
    return Figure(
        name="radii",
        title="δ beside the distance of the networks",
        caption="δ by test error, on a geometric grid; bars: the values of the grid that agree with the errors over "
        "draws and test images, for these networks. δ is no width: where a set varies less, ε and with it δ are "
        "smaller. δ_τ, with one fixed height in place of 2ε, compares sets."
        + (f" Without a δ up to the largest tested: {', '.join(none)}." if none else "")
        + (" The paper's values are of another network and task: δ is a length and does not carry over."
           if len(paper) else ""),
        description="; ".join(map(_words, items)) + ".",
        panels=(frame("delta").panel(
            frame("delta").spans(data, width=2.5),
            frame("distance").dots(data.drop_nulls("distance"), size=80, filled=False, strokeWidth=1.6),
            frame("delta_tau").dots(data.drop_nulls("delta_tau"), shape="stroke", angle=90, size=160, strokeWidth=2,
                                    filled=False),
            frame("delta").dots(data.drop_nulls("delta"), size=75),
        ),),
        columns=1,
        legend=tuple((name, NEUTRAL["ink"], mark) for name, mark in
                     (("δ", "point"), ("δ_τ", "tick"), ("distance of the networks", "ring"))),
    )  # fmt: skip


def _tint(row: dict[str, Any]) -> str:
    """The colour of ``P-T/P-T`` or ``P-T``, which ends the name of a set."""
    return colour(str(row["set"]).split()[-1])


def _words(row: dict[str, Any]) -> str:
    name = f"paper, {row['origin']}" if row["level"] == "published" else f"{row['set']} ({row['networks']})"
    radius = "none up to the largest tested" if row["delta"] is None else f"{row['delta']:.3g}"
    return f"{name}: ε {row['epsilon']:.3g}, δ {radius}, distance {row['distance']:.3g}"
