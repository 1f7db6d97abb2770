"""Feature similarity of all modules with all modules, and of equal modules by depth."""

import altair as alt
import polars as pl

from transferscope.plots.heat import RAMP, heat_map, modules_down
from transferscope.plots.theme import (
    LIMIT,
    OTHERS,
    Figure,
    Panel,
    charted,
    colour,
    hover,
    pair_rank,
    scale,
    shown_column,
    thinned,
)

__all__ = ["chart", "figures"]

_MOST_PAIRS = 6
_MOST_MODULES = 28
_MOST_NAMES = 8
"""Modules named along a map: more names would be too small to read, and pointing at a cell tells them."""


def figures(table: pl.DataFrame) -> tuple[Figure, ...]:
    """The figures of ``similarity``; none where no value is defined."""
    means = _by_pair(table)
    if means.is_empty():
        return ()
    pairs = sorted(set(means["pair"]), key=pair_rank)
    modules = _by_depth(means)
    kept = thinned(modules, _MOST_MODULES)
    shown_pairs = pairs[:_MOST_PAIRS]
    while len(shown_pairs) > 1 and len(shown_pairs) * len(kept) ** 2 > LIMIT:
        shown_pairs = shown_pairs[:-1]
    left_out = [pair for pair in pairs if pair not in shown_pairs]
    notes = []
    if len(kept) < len(modules):
        notes.append(f"{len(kept)} of {len(modules)} modules are drawn, evenly spaced by depth.")
    if left_out:
        notes.append(f"The table also holds {', '.join(left_out)}.")
    maps = Figure(
        name="maps",
        title="Every module against every module",
        caption=" ".join([
            f"{_measured(table)} of features on the same images, averaged over networks; a network is "
            "never compared with itself. Rows: modules of the first variant, columns: of the second, input at the top "
            "left. One colour scale for all maps.", *notes,
        ]),
        description="Heat maps of CKA between modules for the pairs " + ", ".join(shown_pairs) + ".",
        panels=tuple(_map(means, pair, kept) for pair in shown_pairs),
        columns=3,
        ramp=("0 unrelated", "1 same up to rotation and scale", RAMP),
    )  # fmt: skip
    return (maps, *_diagonal(means, modules), *_agreement(table, modules))


chart = charted(figures)
"""The heat maps of the table of ``similarity``, one per pair of variants."""


def _measured(table: pl.DataFrame) -> str:
    """The measure in words, as the table says."""
    kernel = {"unbiased": "Linear CKA (unbiased, minibatch)", "biased": "Linear CKA (biased, minibatch)",
              "rbf": "RBF CKA (unbiased, minibatch)"}[table["estimator"][0]]  # fmt: skip
    return kernel if table["pooling"][0] == "flattened" else f"{kernel}, maps pooled,"


def _by_pair(table: pl.DataFrame) -> pl.DataFrame:
    """Mean CKA by pair of variants and pair of modules, each pair in its one reading order."""
    a, b = pl.col("variant_a"), pl.col("variant_b")
    # RI[s] is the start of RI-T[s] alone: to the others it is a stranger.
    start = ((a == "RI") & (b == "RI_T")) | ((a == "RI_T") & (b == "RI"))
    foreign = start & (pl.col("seed_a") != pl.col("seed_b"))
    rows = table.filter((pl.col("a") != pl.col("b")) & pl.col("cka").is_not_null() & ~foreign)
    if rows.is_empty():
        return rows.select("module_a", "module_b", "position_a", "position_b", "cka").with_columns(pair=pl.lit(""))
    rows = rows.with_columns(
        shown_column("variant_a"),
        shown_column("variant_b"),
    )
    columns = ["variant_a", "variant_b", "module_a", "module_b", "position_a", "position_b", "cka"]
    flipped = rows.select(
        pl.col("variant_b").alias("variant_a"), pl.col("variant_a").alias("variant_b"),
        pl.col("module_b").alias("module_a"), pl.col("module_a").alias("module_b"),
        pl.col("position_b").alias("position_a"), pl.col("position_a").alias("position_b"), "cka",
    )  # fmt: skip
    # CKA is symmetric: both directions are there, then one is chosen. Within one variant both count, so that the
    # picture does not depend on the order of the seeds.
    both = pl.concat([rows.select(columns), flipped.select(columns)])
    both = both.with_columns(pl.concat_str("variant_a", pl.lit("/"), "variant_b").alias("pair"))
    wanted = [
        pair
        for pair in set(both["pair"])
        if pair_rank(pair) <= pair_rank("/".join(reversed(pair.split("/"))))
    ]  # fmt: skip
    return (
        both.filter(pl.col("pair").is_in(wanted))
        .group_by("pair", "module_a", "module_b", "position_a", "position_b")
        .agg(pl.col("cka").mean())
    )


def _by_depth(means: pl.DataFrame) -> list[str]:
    places = pl.concat([
        means.select(module=pl.col("module_a"), position=pl.col("position_a")),
        means.select(module=pl.col("module_b"), position=pl.col("position_b")),
    ])  # fmt: skip
    names: list[str] = places.group_by("module").agg(pl.col("position").min()).sort("position", "module")[
        "module"
    ].to_list()  # fmt: skip
    return names


def _map(means: pl.DataFrame, pair: str, modules: list[str]) -> Panel:
    first, second = pair.split("/")
    data = (
        means.filter(
            (pl.col("pair") == pair) & pl.col("module_a").is_in(modules) & pl.col("module_b").is_in(modules)
        )
        .with_columns(
            hover(f"{first} ", pl.col("module_a"), f" × {second} ", pl.col("module_b"), ": ", pl.col("cka").round(3))
        )
        .select("module_a", "module_b", "cka", "hover")
    )  # fmt: skip
    named = thinned(modules, _MOST_NAMES)
    return heat_map(
        data,
        f"{first} × {second}",
        alt.X("module_b:N", title=f"Module of {second} (name)", sort=modules).axis(
            labelAngle=-90,
            ticks=False,
            domain=False,
            labelFontSize=11,
            labelLimit=84,
            values=named,
        ),
        modules_down("module_a", modules, f"Module of {first} (name)", size=11, named=named),
        alt.Color("cka:Q", title="CKA (0 to 1)", scale=alt.Scale(domain=[0, 1], range=list(RAMP), clamp=True)),
        width=210,
        height=210,
    )


def _diagonal(means: pl.DataFrame, modules: list[str]) -> list[Figure]:
    rows = means.filter(pl.col("module_a") == pl.col("module_b"))
    if rows.is_empty():
        return []
    kept = thinned(modules, 60)
    lines = sorted(set(rows["pair"]), key=pair_rank)[:_MOST_PAIRS]
    data = (
        rows.filter(pl.col("pair").is_in(lines) & pl.col("module_a").is_in(kept))
        .with_columns(hover(pl.col("pair"), " at ", pl.col("module_a"), ": ", pl.col("cka").round(3)))
        .select("pair", module=pl.col("module_a"), cka=pl.col("cka"), hover=pl.col("hover"))
    )
    low = min(0.0, *data["cka"].to_list())
    x = alt.X("module:N", title="Module (name), from input to output", sort=kept)
    x = x.axis(labelAngle=-60, ticks=False, labelFontSize=9, labelOverlap=len(kept) > 22, labelLimit=100, grid=False)
    y = alt.Y("cka:Q", title="CKA of equal modules (0 to 1)").scale(domain=[low, 1.0], nice=False).axis(minExtent=38)
    tint = alt.Color("pair:N", title=None, scale=scale(lines))
    drawn = alt.Chart(data)
    panel = alt.layer(
        drawn.mark_line(strokeWidth=2, aria=False).encode(x, y, tint),
        drawn.mark_circle(size=36, opacity=1).encode(x, y, tint, description="hover:N"),
    ).properties(width=370, height=210)
    return [
        Figure(
            name="depth",
            title="Equal modules, by depth",
            caption="CKA between the same module of two networks, averaged over networks: where a line is high, "
            "training from that start has kept or found the same features.",
            description="CKA of equal modules from input to output for " + ", ".join(lines) + ".",
            panels=(panel,),
            columns=1,
            legend=tuple((pair, colour(pair), "line") for pair in lines),
        )
    ]


_CHECKS = {"cka": "CKA", "cca": "mean squared CCA", "procrustes": "Procrustes", "rsa": "RSA"}
_CHECK_COLOURS = ("#1b1f24", *OTHERS[:3])


def _agreement(table: pl.DataFrame, modules: list[str]) -> list[Figure]:
    """The other measures beside CKA, by depth: one panel for P × P-T, one for P × RI-T, one for P-T × RI-T."""
    kept = thinned(modules, 60)
    rows = table.filter(
        pl.col("procrustes").is_not_null() & (pl.col("a") != pl.col("b")) & pl.col("module_a").is_in(kept)
    )
    if rows.is_empty():
        return []
    a, b = pl.col("variant_a"), pl.col("variant_b")
    panels = []
    for one, other in (("P", "P_T"), ("P", "RI_T"), ("P_T", "RI_T")):
        found = rows.filter(((a == one) & (b == other)) | ((a == other) & (b == one)))
        long = found.unpivot(list(_CHECKS), index=["module_a"], variable_name="measure").drop_nulls("value")
        means = long.group_by("measure", module=pl.col("module_a")).agg(pl.col("value").mean())
        if means.is_empty():
            continue
        data = means.with_columns(pl.col("measure").replace(_CHECKS)).with_columns(
            hover(pl.col("measure"), " at ", pl.col("module"), ": ", pl.col("value").round(3))
        )
        x = alt.X("module:N", title="Module (name), from input to output", sort=kept)
        x = x.axis(labelAngle=-60, ticks=False, labelFontSize=9, labelOverlap=True, labelLimit=100, grid=False)
        low = min(0.0, *data["value"].to_list())
        y = alt.Y("value:Q", title="Similarity (0 to 1)").scale(domain=[low, 1.0], nice=False).axis(minExtent=38)
        tint = alt.Color("measure:N", title=None).scale(
            domain=list(_CHECKS.values()), range=list(_CHECK_COLOURS)
        )  # fmt: skip
        title = f"{one} × {other}".replace("_", "-")
        drawn = alt.Chart(data, title=title)
        panels.append(
            alt.layer(
                drawn.mark_line(strokeWidth=2, aria=False).encode(x, y, tint),
                drawn.mark_circle(size=30, opacity=1).encode(x, y, tint, description="hover:N"),
            ).properties(width=300, height=200)
        )
    return (
        [
            Figure(
                name="agreement",
                title="CKA beside other measures",
                caption="Equal modules, averaged over networks. CCA, Procrustes and RSA are of features pooled over "
                "positions; their heights are not comparable with each other, their order over modules is.",
                description="CKA, mean squared CCA, Procrustes similarity and RSA of equal modules, by depth.",
                panels=tuple(panels),
                columns=3,
                legend=tuple((name, tint, "line") for name, tint in zip(_CHECKS.values(), _CHECK_COLOURS, strict=True)),
            )
        ]
        if panels
        else []
    )
