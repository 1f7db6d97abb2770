"""Both conditions of a basin against δ, and the δ of every set beside the distance of its networks."""

from typing import Any

import altair as alt
import polars as pl

from transferscope.plots.theme import NEUTRAL, OURS, Figure, Panel, charted, colour, hover, padded, shown_column

__all__ = ["chart", "figures"]

_MOST_SETS = 6
_CONDITIONS = {"noise": "noise in all directions (2)", "outward": "the way out (3)"}
_QUANTITIES = {
    "error": ("Test error above μ (%)", ".1~%", (-0.5, -0.1, -0.01, 0.0, 0.01, 0.1, 0.5)),
    "loss": ("Test loss above μ (nats)", "~g", (-10.0, -1.0, -0.1, 0.0, 0.1, 1.0, 10.0, 100.0)),
}
_DELTA = "Scale of the noise δ (ℓ2, units of the parameters)"
_LENGTH = "Length (ℓ2, units of the parameters)"


def figures(table: pl.DataFrame) -> tuple[Figure, ...]:
    """The figures of ``basin``; none where no set has values."""
    found = (*(_conditions(table, quantity) for quantity in _QUANTITIES), _radii(table))
    return tuple(figure for figure in found if figure is not None)


chart = charted(figures)
"""Both conditions against δ by test error, of the table of ``basin``."""


def _conditions(table: pl.DataFrame, quantity: str) -> Figure | None:
    rows = table.filter((pl.col("split") == "test") & (pl.col("quantity") == quantity))
    sets = rows.filter((pl.col("level") == "set") & pl.col("mean").is_not_null()).sort("set", "networks")
    conditions = rows.filter((pl.col("level") == "condition") & pl.col("height").is_not_null())
    if sets.is_empty() or conditions.is_empty():
        return None
    shown = sets.head(_MOST_SETS).to_dicts()
    spread = 1.96 * (pl.col("height_se_draws") ** 2 + pl.col("height_se_examples").fill_null(0.0) ** 2).sqrt()
    conditions = conditions.with_columns(low=pl.col("height") - spread, high=pl.col("height") + spread)
    reach = padded([*conditions["low"], *conditions["high"], *conditions["threshold"]])
    least = min(conditions["threshold"].to_list())
    panels = tuple(_panel(row, conditions, quantity, reach, least) for row in shown)
    told = "; ".join(_words(row) for row in shown)
    further = f" {len(sets) - len(shown)} further sets are in the table." if len(sets) > len(shown) else ""
    tints = {str(row["set"]): colour(_variant(row["set"])) for row in shown}
    return Figure(
        name=f"conditions_{quantity}",
        title=f"Both conditions against δ, by {quantity}",
        caption=(
            f"How far test {quantity} rises above its mean μ over the set when the networks at its rim are moved by "
            "Gaussian noise of length about δ (solid), and when they are moved straight out of the set by |N(0, δ²)| "
            "(dashed). Bands: ±1.96 standard errors over draws and test images, for these networks. The set is an "
            "(ε, δ)-basin from the δ (vertical line) at and beyond which both lie above 2ε (grey). The height is "
            f"drawn linear up to about 2ε, logarithmic beyond.{further}"
        ),
        description=f"Left sides of both conditions against δ, by test {quantity}. {told}.",
        panels=panels,
        legend=(
            *((name, tint, "line") for name, tint in tints.items()),
            (_CONDITIONS["noise"], NEUTRAL["muted"], "line"),
            (_CONDITIONS["outward"], NEUTRAL["muted"], "dashed"),
            ("2ε", "#8c959f", "line"),
            ("δ", NEUTRAL["ink"], "tick"),
        ),
    )


def _panel(
    row: dict[str, Any], conditions: pl.DataFrame, quantity: str, reach: list[float], least: float
) -> Panel:  # fmt: skip
    title, number, ticks = _QUANTITIES[quantity]
    data = conditions.filter((pl.col("set") == row["set"]) & (pl.col("networks") == row["networks"]))
    steps = sorted(set(data["delta"]) - {0.0})
    # δ = 0 stands one step to the left of the others, under its own name.
    origin = steps[0] / 2
    data = data.with_columns(
        pl.when(pl.col("delta") == 0).then(origin).otherwise(pl.col("delta")).alias("place"),
        hover(pl.col("condition").replace(_CONDITIONS), ", δ ", pl.col("delta").round(3), ": ",
              pl.col("height").round(4), " (", pl.col("low").round(4), " to ", pl.col("high").round(4), "), 2ε ",
              pl.col("threshold").round(4)),
    ).sort("condition", "delta").select("condition", "place", "height", "low", "high", "hover")  # fmt: skip
    marks = [origin, *steps[:: max(1, len(steps) // 6)]]
    x = (
        alt.X("place:Q", title=_DELTA)
        .scale(type="log", domain=[origin / 1.2, steps[-1] * 1.2], nice=False)
        .axis(
            values=marks,
            labelExpr=f"datum.value < {1.2 * origin!r} ? '0' : format(datum.value, '.2~r')",
            grid=False,
        )
    )
    inside = [tick for tick in ticks if reach[0] <= tick <= reach[1]]
    scale = alt.Scale(type="symlog", constant=max(least, 1e-4), domain=reach, nice=False)
    y = alt.Y("height:Q", title=title, scale=scale).axis(values=inside, format=number, minExtent=38)
    tint = colour(_variant(row["set"]))
    dash = alt.StrokeDash("condition:N", legend=None).scale(domain=list(_CONDITIONS), range=[[1, 0], [5, 3]])
    one = alt.Detail("condition:N")
    drawn = alt.Chart(data, title=f"{row['set']}: {row['networks']}")
    layers: list[alt.Chart] = [
        alt.Chart(pl.DataFrame({"height": [2 * row["epsilon"]]}))
        .mark_rule(color="#8c959f", strokeWidth=1.4, aria=False)
        .encode(y),
        drawn.mark_area(opacity=0.16, color=tint, clip=True, aria=False).encode(
            x, alt.Y("low:Q", title=title, scale=scale), alt.Y2("high:Q"), one
        ),
        drawn.mark_line(strokeWidth=2, color=tint, clip=True, aria=False).encode(x, y, dash),
        drawn.mark_circle(size=36, opacity=1, color=tint).encode(x, y, description="hover:N"),
    ]
    if row["delta"] is not None:
        place = pl.DataFrame({"place": [float(row["delta"]) or origin]})
        layers.append(alt.Chart(place).mark_rule(color=NEUTRAL["ink"], strokeWidth=1.4, aria=False).encode(x))
    return alt.layer(*layers).properties(width=350, height=210)


def _radii(table: pl.DataFrame) -> Figure | None:
    own = table.filter(
        (pl.col("level") == "set") & (pl.col("split") == "test") & (pl.col("quantity") == "error")
        & pl.col("mean").is_not_null()
    )  # fmt: skip
    if own.is_empty():
        return None
    paper = table.filter(pl.col("level") == "published")
    label = pl.concat_str("set", pl.lit(": "), shown_column("networks"))
    rows = pl.concat([
        own.sort("set", "networks").with_columns(label=label),
        paper.with_columns(label=pl.concat_str(pl.lit("paper, "), "origin")),
    ])  # fmt: skip
    order = rows["label"].to_list()
    lost = rows.filter(pl.col("delta").is_null())["label"].to_list()
    lines = [
        {
            "label": row["label"], "tint": colour(_variant(row["set"])) if row["level"] == "set" else NEUTRAL["muted"],
            "delta": row["delta"], "low": row["delta_low"],
            "high": row["delta_high"] if row["delta_high"] is not None else row["delta_low"],
            "tau": row["delta_tau"], "distance": row["distance"],
            "hover": f"{OURS}{_words(row)}",
        }
        for row in rows.to_dicts()
    ]  # fmt: skip
    data = pl.DataFrame(
        lines,
        schema_overrides=dict.fromkeys(("delta", "low", "high", "tau", "distance"), pl.Float64()),
    )
    reach = [0.0, padded([*data["delta"], *data["high"], *data["tau"], *data["distance"]])[1]]
    x = alt.X("delta:Q", title=_LENGTH).scale(domain=reach, nice=False).axis(format=".4~g")
    y = alt.Y("label:N", title="Set (networks)", sort=order).axis(
        ticks=False, domain=False, grid=True, minExtent=38, labelLimit=230
    )
    tint = alt.Color("tint:N", scale=None)

    def dots(column: str, **style: Any) -> alt.Chart:
        marks: alt.Chart = alt.Chart(data.drop_nulls(column)).mark_point(**style)
        return marks.encode(y, tint, alt.X(f"{column}:Q", title=_LENGTH), description="hover:N")

    span = {"y": y, "x": alt.X("low:Q", title=_LENGTH), "x2": alt.X2("high:Q"), "color": tint}
    panel = alt.layer(
        alt.Chart(data.drop_nulls(["low", "high"])).mark_rule(strokeWidth=2.5, aria=False).encode(**span),
        dots("distance", shape="circle", size=80, filled=False, strokeWidth=1.6),
        dots("tau", shape="stroke", angle=90, size=160, strokeWidth=2, filled=False),
        alt.Chart(data.drop_nulls("delta"))
        .mark_circle(size=75, opacity=1)
        .encode(x, y, tint, description="hover:N"),
    ).properties(width=240, height=34 * len(order) + 8)  # fmt: skip
    none = f" Without a δ up to the largest tested: {', '.join(lost)}." if lost else ""
    beside = " The paper's values are of another network and task: δ is a length and does not carry over." if len(
        paper
    ) else ""  # fmt: skip
    return Figure(
        name="radii",
        title="δ beside the distance of the networks",
        caption=(
            "δ by test error, on a geometric grid; bars: the values of the grid that agree with the errors over draws "
            "and test images, for these networks. δ is no width: where a set varies less, ε and with it δ are smaller. "
            f"δ_τ, with one fixed height in place of 2ε, compares sets.{none}{beside}"
        ),
        description="; ".join(_words(row) for row in rows.to_dicts()) + ".",
        panels=(panel,),
        columns=1,
        legend=(
            ("δ", NEUTRAL["ink"], "point"),
            ("δ_τ", NEUTRAL["ink"], "tick"),
            ("distance of the networks", NEUTRAL["ink"], "ring"),
        ),
    )


def _variant(name: str) -> str:
    """``P-T/P-T`` or ``P-T``, from the name of a set."""
    return str(name).split()[-1]


def _words(row: dict[str, Any]) -> str:
    name = f"paper, {row['origin']}" if row["level"] == "published" else f"{row['set']} ({row['networks']})"
    radius = "none up to the largest tested" if row["delta"] is None else f"{row['delta']:.3g}"
    return f"{name}: ε {row['epsilon']:.3g}, δ {radius}, distance {row['distance']:.3g}"
