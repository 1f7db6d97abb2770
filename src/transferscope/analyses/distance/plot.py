"""How far apart parameters are: by module, and for the whole network."""

from typing import Any

import altair as alt
import polars as pl

from transferscope.plots.theme import Figure, Panel, charted, colour, hover, pair_rank, scale, shown_column, thinned

__all__ = ["chart", "figures"]

_TOTALS = ("all", "trunk", "head")
_MEASURES = {
    "distance": "ℓ2 distance (units of the parameters)",
    "relative": "Distance ÷ norm at the start (ratio)",
}
_COSINES = {
    "cosine": "Cosine of displacements (−1 to 1)",
    "cosine_without_decay": "Cosine, decay projected out (−1 to 1)",
}
_MOST_PAIRS = 6
_MOST_MODULES = 40


def figures(table: pl.DataFrame) -> tuple[Figure, ...]:
    """The figures of ``distance``; none where the table is empty."""
    if table.is_empty():
        return ()
    rows = table.with_columns(shown_column("pair"))
    pairs = sorted(set(rows["pair"]), key=pair_rank)[:_MOST_PAIRS]
    rows = rows.filter(pl.col("pair").is_in(pairs))
    legend = tuple((pair, colour(pair), "point") for pair in pairs)
    found = []
    totals = rows.filter(pl.col("part").is_in(_TOTALS) & (pl.col("position") < 0))
    if not totals.is_empty():
        found.append(_whole(totals, pairs, legend))
    parts = rows.filter(pl.col("position") >= 0)
    if not parts.is_empty():
        found.append(_modules(parts, pairs, legend))
    return tuple(found)


chart = charted(figures)
"""The picture of the table of ``distance``: ℓ2 distance by module and for the whole network."""


def _whole(rows: pl.DataFrame, pairs: list[str], legend: tuple[tuple[str, str, str], ...]) -> Figure:
    order = [part for part in _TOTALS if part in set(rows["part"])]
    columns = {
        name: title for name, title in {**_MEASURES, **_COSINES}.items() if rows[name].null_count() < rows.height
    }
    panels = tuple(
        _dots(rows, name, title, order, pairs, 22 * len(order) * 2 + 12, single=True) for name, title in columns.items()
    )
    return Figure(
        name="whole",
        title="Whole network, trunk and head",
        caption="One dot per pair of networks, a tick at their mean. Cosines compare the directions in which two "
        "networks left their starts; shared weight decay alone makes them positive, so it is also projected out.",
        description="Distance between the parameters of pairs of networks: " + _said(rows, pairs),
        panels=panels,
        legend=legend,
    )


def _modules(rows: pl.DataFrame, pairs: list[str], legend: tuple[tuple[str, str, str], ...]) -> Figure:
    names = rows.group_by("part").agg(pl.col("position").min()).sort("position", "part")["part"].to_list()
    kept = thinned(names, _MOST_MODULES)
    means = rows.filter(pl.col("part").is_in(kept)).group_by("pair", "part").agg(pl.col(*_MEASURES).mean())
    titles = {name: title for name, title in _MEASURES.items() if means[name].null_count() < means.height}
    less = f" {len(kept)} of {len(names)} modules are drawn; the table holds all." if len(kept) < len(names) else ""
    return Figure(
        name="modules",
        title="By module, from input to output",
        caption="Mean over the networks of a pair. Large modules move further: the ratio beside it divides by the "
        "norm of the module's initial value." + less,
        description="Distance by module for " + ", ".join(pairs) + ".",
        panels=tuple(
            _dots(means, name, title, kept, pairs, max(15 * len(kept), 60), single=False)
            for name, title in titles.items()
        ),
        legend=legend,
    )


def _dots(
    rows: pl.DataFrame, name: str, title: str, order: list[str], pairs: list[str], height: int, single: bool
) -> Panel:
    known = rows.filter(pl.col(name).is_not_null())
    label = pl.concat_str("a", pl.lit(" · "), "b") if single else pl.col("pair")
    data = known.with_columns(hover(label, ", ", pl.col("part"), ": ", pl.col(name).round_sig_figs(4)))
    data = data.select("pair", "part", "hover", value=pl.col(name))
    x = alt.X("value:Q", title=title).scale(zero=True, nice=True)
    y = alt.Y("part:N", title="Part (name)" if single else "Module (name)", sort=order).axis(
        ticks=False, domain=False, grid=True, labelLimit=130, minExtent=52, labelFontSize=11 if single else 10
    )
    tint = alt.Color("pair:N", title=None, scale=scale(pairs))
    aside = alt.YOffset("pair:N", sort=pairs) if single else alt.Undefined
    dots = alt.Chart(data).mark_circle(size=44, opacity=0.9).encode(
        x, y, tint, yOffset=aside, description="hover:N"
    )  # fmt: skip
    layers: list[Any] = [dots]
    if single:
        mean = data.group_by("pair", "part").agg(pl.col("value").mean())
        layers.insert(
            0,
            alt.Chart(mean).mark_tick(thickness=2, size=11, aria=False).encode(x, y, tint, yOffset=aside),
        )
    return alt.layer(*layers).properties(width=320, height=height)


def _said(rows: pl.DataFrame, pairs: list[str]) -> str:
    part = "all" if "all" in set(rows["part"]) else rows["part"][0]
    means = rows.filter(pl.col("part") == part).group_by("pair").agg(pl.col("distance").mean())
    by_pair = dict(zip(means["pair"], means["distance"], strict=True))
    return ", ".join(f"{pair} {by_pair[pair]:.3g}" for pair in pairs if by_pair.get(pair) is not None) + "."
