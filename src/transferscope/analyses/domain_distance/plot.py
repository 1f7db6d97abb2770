"""The picture of domain distance: every distance beside its null, along the network, and by batch norm."""

import polars as pl

from transferscope.keys import SPECTRUM_SLOPE
from transferscope.plots.axes import Axis, Names, Tints
from transferscope.plots.panels import Frame, dot_panel, facets, interval_text, kept_names, listed, present, values_text
from transferscope.plots.theme import NEUTRAL, Figure, Panel, among

__all__ = ["figures"]

_BETWEEN = {
    "frechet": "Fréchet distance (feature²)",
    "kernel": "Kernel distance (MMD²)",
    "proxy_a": "Proxy-A distance (0 to 2)",
    "colour": "Colour distance (pixel value)",
}
_COMPARED = {"target to source": "#0072B2", "two halves of the source": NEUTRAL["muted"]}
_KINDS = Tints("kind", _COMPARED)
_SETS = {"target": "#0072B2", "source": "#E69F00"}
_LOOKS = {
    **{name: f"{name.capitalize()} (pixel value)" for name in ("colour mean", "colour deviation", "colour skewness")},
    SPECTRUM_SLOPE: f"{SPECTRUM_SLOPE.capitalize()} (power per frequency, log-log)",
}
_CHANNELS = ("red", "green", "blue")


def figures(table: pl.DataFrame) -> tuple[Figure, ...]:
    """The figures of ``domain_distance``: those for which there are rows."""
    known = table.filter(pl.col("value").is_not_null())
    whole, norms = pl.col("position") == -1, pl.col("quantity") == "batch_norm"
    along = (pl.col("quantity") == "frechet") & pl.col("relative").is_not_null() & (pl.col("value") > 0)
    return present(
        _distances(known.filter(whole & pl.col("null").is_not_null())),
        _along(known.filter(along)),
        _statistics(known.filter(norms)),
        _looks(known.filter(pl.col("quantity").is_in(list(_LOOKS)))),
    )


def _distances(rows: pl.DataFrame) -> Figure:
    told = (f"{_BETWEEN[row['quantity']]} {row['value']:.3g} against {row['null']:.3g}" for row in rows.to_dicts())
    return Figure(
        name="distances",
        title="Target and source, against two halves of the source",
        caption="Distances at equal numbers of images, with 95 % intervals over images. A target that cannot be "
        "told from the source lies where its two halves lie.",
        description="; ".join(told) + ".",
        panels=facets(rows, "quantity", _BETWEEN, _pair),
        legend=_KINDS.legend("point"),
    )


def _pair(rows: pl.DataFrame, quantity: str) -> Panel:
    spread = 1.959964 * pl.col("null_deviation")
    ours, null = _COMPARED
    data = pl.concat([
        rows.select("value", "low", "high", "examples", kind=pl.lit(ours)),
        rows.select(value="null", low=pl.col("null") - spread, high=pl.col("null") + spread, examples="examples",
                    kind=pl.lit(null)),
    ])  # fmt: skip
    text = interval_text(pl.col("kind"), unit=f", {rows['examples'][0]} images each")
    x = Axis("value", _BETWEEN[quantity], zero=True)
    names = Names("kind", "Compared (sets)", list(_COMPARED), limit=150)
    return dot_panel(Frame(x, names, _KINDS, width=250, height=52), data.with_columns(text), size=70)


def _along(rows: pl.DataFrame) -> Figure | None:
    if rows.height < 2:
        return None
    # What enters the head is the last place.
    last = rows["position"].max()
    position = pl.when(pl.col("position") < 0).then(pl.lit(last) + 1).otherwise("position")
    rows = rows.with_columns(position=position).sort("position")
    kept, less = kept_names(rows, "part", what="places")
    by_variance = pl.col("relative") / pl.col("value")
    columns = zip(_COMPARED, ("value", "null"), strict=True)
    shares = rows.select("part", **{kind: by_variance * pl.col(name) for kind, name in columns})
    data = shares.unpivot(list(_COMPARED), index="part", variable_name="kind", value_name="share").filter(
        pl.col("part").is_in(kept)
    )
    text = values_text(pl.col("kind"), " at ", pl.col("part"), value="share")
    x = Names("part", "Part (name), from input to output", kept, limit=100)
    y = Axis("share", "Fréchet ÷ variance of the source (ratio)", zero=True)
    frame = Frame(x, y, _KINDS, width=370, height=210)
    (first, start), (deepest, end) = (rows.select("part", "relative").row(index) for index in (0, -1))
    return Figure(
        name="along",
        title="Along the network",
        caption="Fréchet distance of pooled outputs of P over the total variance of the source's, beside that of "
        "two halves of the source. The last place is what enters the head." + less,
        description=f"From {start:.3g} at {first} to {end:.3g} at {deepest}.",
        panels=(frame.panel(frame.lines(data), frame.dots(data.with_columns(text), size=36)),),
        legend=_KINDS.legend("line"),
    )  # fmt: skip


def _statistics(rows: pl.DataFrame) -> Figure | None:
    norms = rows.filter(pl.col("position") >= 0)
    if norms.is_empty():
        return None
    kept, less = kept_names(norms, "part", what="batch norms")
    sets = {"target to statistics": "target", "source to statistics": "source"}
    data = norms.filter(pl.col("part").is_in(kept)).with_columns(set=pl.col("compared").replace_strict(sets))
    text = interval_text(pl.col("set"), " at ", pl.col("part"))
    colours = _colours("set", data["set"])
    x = Axis("value", "Distance from P's statistics (in variances)", zero=True)
    names = Names("part", "Batch norm (name)", kept, limit=150)
    frame = Frame(x, names, colours, width=330, height=max(15 * len(kept), 60))
    return Figure(
        name="statistics",
        title="Against the statistics that P holds",
        caption="Mean and deviation of what enters each batch norm against its running statistics, mean over "
        "channels, with 95 % intervals over images. This needs no source image." + less,
        description=f"Mean over all batch norms: {listed(rows.filter(pl.col('position') == -1), 'compared', 'value')}.",
        panels=(dot_panel(frame, data.with_columns(text)),),
        legend=colours.legend("point"),
    )  # fmt: skip


def _looks(rows: pl.DataFrame) -> Figure | None:
    slopes = rows.filter(pl.col("quantity") == SPECTRUM_SLOPE)
    if slopes.height == rows.height:
        return None
    colours = _colours("compared", rows["compared"])
    data = rows.with_columns(interval_text(pl.col("compared"), ", ", pl.col("part")))

    def panel(part: pl.DataFrame, quantity: str) -> Panel:
        slope = quantity == SPECTRUM_SLOPE
        order = list(dict.fromkeys(part["part"])) if slope else list(_CHANNELS)
        names = Names("part", "Of (what)" if slope else "Channel (name)", order)
        return dot_panel(Frame(Axis("value", _LOOKS[quantity], zero=False), names, colours, aside=True, width=230,
                               height=40 if slope else 90), part)  # fmt: skip

    return Figure(
        name="looks",
        title="Colour and spectrum of the images themselves",
        caption="Mean over images of each colour moment and of the slope of the power spectrum, with 95 % "
        "intervals over images. No network is involved.",
        description="Colour moments of each channel; slope of the power spectrum: "
        + listed(slopes, "compared", "value", ".2f") + ".",
        panels=facets(data, "quantity", _LOOKS, panel),
        legend=colours.legend("point"),
    )  # fmt: skip


def _colours(column: str, values: pl.Series) -> Tints:
    return Tints(column, {name: _SETS[name] for name in among(_SETS, values)})
