"""A metric against the number of labels: one line per kind of features, or per variant."""

from dataclasses import dataclass

import altair as alt
import polars as pl

from transferscope.plots.theme import Figure, hover, metric_axis

__all__ = ["Words", "label_curve"]


@dataclass(frozen=True)
class Words:
    """What is written around a picture.

    Attributes:
        title: above it.
        caption: below it.
        described: what it shows, for those who do not see it; the kinds are listed after it.
    """

    title: str
    caption: str
    described: str


PROBES = Words(
    "What more labels bring",
    "A linear probe on frozen features, fitted to fewer labels; each image predicted by probes that did not see it. "
    "Bands: 95 % intervals over images, which say nothing of other draws of the labels.",
    "Metric of linear probes against the number of labels",
)


def label_curve(
    table: pl.DataFrame, metric: str, colours: dict[str, str], names: dict[str, str], words: Words = PROBES
) -> tuple[Figure, ...]:
    """A panel per network; none where no value is defined.

    Args:
        table: ``model, features, labels, value, low, high``.
        metric: what was measured.
        colours: by kind of features.
        names: of the kinds, for readers.
        words: around the picture.
    """
    known = table.drop_nulls("value")
    if known.is_empty():
        return ()
    title, form = metric_axis(metric)
    kinds = [kind for kind in colours if kind in set(known["features"])]
    tint = alt.Color("features:N", title=None, scale=alt.Scale(domain=kinds, range=[colours[kind] for kind in kinds]))
    span = known.select(pl.min_horizontal("low", "value").min(), pl.max_horizontal("high", "value").max()).row(0)
    y_scale = alt.Scale(domain=[max(0.0, span[0] - 0.03), min(1.0, span[1] + 0.03)], nice=False)
    panels = []
    for model in known["model"].unique(maintain_order=True):
        rows = known.filter(pl.col("model") == model)
        kind = pl.col("features").replace(names)
        rows = rows.with_columns(
            hover(kind, ", ", pl.col("labels"), " labels: ", pl.col("value").round(3),
                  " (", pl.col("low").round(3), " to ", pl.col("high").round(3), ")")
        )  # fmt: skip
        x = alt.X("labels:Q", title="Labels (count, log scale)").scale(type="log", nice=False)
        drawn = alt.Chart(rows, title=model)
        y = alt.Y("value:Q", title=title).scale(y_scale).axis(format=form)
        panels.append(
            alt.layer(
                drawn.mark_area(opacity=0.18, aria=False).encode(
                    x, alt.Y("low:Q", title=title).scale(y_scale), alt.Y2("high:Q"), tint
                ),
                drawn.mark_line(strokeWidth=2, aria=False).encode(x, y, tint),
                drawn.mark_circle(size=44, opacity=1).encode(x, y, tint, description="hover:N"),
            ).properties(width=370, height=230)
        )
    return (
        Figure(
            name="labels",
            title=words.title,
            caption=words.caption,
            description=f"{words.described}, for " + ", ".join(names[kind] for kind in kinds),
            panels=tuple(panels),
            columns=1 if len(panels) == 1 else 2,
            legend=tuple((names[kind], colours[kind], "line") for kind in kinds),
        ),
    )
