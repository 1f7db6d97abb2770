"""Feature similarity along training: against P, against the end, epoch by epoch."""

import altair as alt
import polars as pl

from transferscope.plots.heat import RAMP, heat_map, modules_down, steps_across
from transferscope.plots.theme import LIMIT, Figure, Panel, charted, colour, hover, scale, thinned

__all__ = ["chart", "figures"]

_TO_P = {"P_T": "P/P-T", "RI_T": "P/RI-T"}
_MOST_MODULES = 30
_TINT = alt.Color("cka:Q", title="CKA", scale=alt.Scale(domain=[0, 1], range=list(RAMP), clamp=True))


def figures(table: pl.DataFrame) -> tuple[Figure, ...]:
    """The figures of ``similarity_in_training``; none where no value is defined."""
    known = table.filter(pl.col("cka").is_not_null())
    if known.is_empty():
        return ()
    lines = _against_p(known)
    found = []
    if not lines.is_empty():
        found.append(_lines(lines))
        found.append(_modules(known))
    maps = _maps(known)
    return (*found, maps) if maps.panels else tuple(found)


chart = charted(figures)
"""The lines of the table of ``similarity_in_training``."""


def _against_p(known: pl.DataFrame) -> pl.DataFrame:
    """Rows of P-T against its own start, and of RI-T against P of the same seed: pair, epoch, module, cka."""
    own = known.filter((pl.col("a") == pl.col("b")) & (pl.col("variant_a") == "P_T") & (pl.col("epoch_a") == 0))
    other = known.filter(
        (pl.col("variant_a") == "RI_T") & (pl.col("variant_b") == "P_T") & (pl.col("seed_a") == pl.col("seed_b"))
        & (pl.col("epoch_b") == 0)
    )  # fmt: skip
    return pl.concat([
        own.select(pair=pl.lit("P/P-T"), seed="seed_a", epoch="epoch_b", module="module", position="position",
                   cka="cka"),
        other.select(pair=pl.lit("P/RI-T"), seed="seed_a", epoch="epoch_a", module="module", position="position",
                     cka="cka"),
    ])  # fmt: skip


def _lines(rows: pl.DataFrame) -> Figure:
    means = rows.group_by("pair", "seed", "epoch").agg(pl.col("cka").mean())
    data = means.with_columns(
        hover(pl.col("pair"), ", seed ", pl.col("seed"), ", epoch ", pl.col("epoch"), ": ", pl.col("cka").round(3)),
        run=pl.concat_str("pair", pl.lit(" "), "seed"),
    )
    pairs = [pair for pair in _TO_P.values() if pair in set(data["pair"])]
    low = min(0.0, *data["cka"].to_list())
    x = alt.X("epoch:Q", title="Epoch (count)").axis(tickMinStep=1)
    y = alt.Y("cka:Q", title="Mean CKA with P (0 to 1)").scale(domain=[low, 1.0], nice=False).axis(minExtent=38)
    tint = alt.Color("pair:N", title=None, scale=scale(pairs))
    drawn = alt.Chart(data)
    panel = alt.layer(
        drawn.mark_line(strokeWidth=1.5, opacity=0.8, aria=False).encode(x, y, tint, detail="run:N"),
        drawn.mark_circle(size=30, opacity=1).encode(x, y, tint, description="hover:N"),
    ).properties(width=370, height=210)
    return Figure(
        name="against-p",
        title="Similarity to the pre-trained network, by epoch",
        caption="Mean CKA of like modules with P, one line for each seed. P-T starts at P, so its head aside it starts "
        "at 1; RI-T shows what training on the target alone brings near to P.",
        description="CKA with P by epoch for " + ", ".join(pairs) + ".",
        panels=(panel,),
        columns=1,
        legend=tuple((pair, colour(pair), "line") for pair in pairs),
    )


def _modules(known: pl.DataFrame) -> Figure:
    rows = _against_p(known)
    names = rows.group_by("module").agg(pl.col("position").min()).sort("position")["module"].to_list()
    kept = thinned(names, _MOST_MODULES)
    means = rows.group_by("pair", "epoch", "module").agg(pl.col("cka").mean()).filter(pl.col("module").is_in(kept))
    panels = []
    for pair in _TO_P.values():
        data = means.filter(pl.col("pair") == pair)
        if data.is_empty():
            continue
        texts = hover(pl.col("module"), ", epoch ", pl.col("epoch"), ": ", pl.col("cka").round(3))
        panels.append(
            heat_map(
                data.with_columns(texts),
                pair,
                steps_across("epoch", "Epoch (count)"),
                modules_down("module", kept),
                _TINT,
                width=230,
                height=max(90, 11 * len(kept)),
            )
        )
    less = f" {len(kept)} of {len(names)} modules are drawn." if len(kept) < len(names) else ""
    return Figure(
        name="modules",
        title="Which modules leave the pre-trained features, and when",
        caption="CKA of each module with the same module of P, by epoch, averaged over seeds; input at the top." + less,
        description="Heat maps of CKA with P, modules by epochs.",
        panels=tuple(panels),
        ramp=("0 unrelated", "1 same up to rotation and scale", RAMP),
    )


def _maps(known: pl.DataFrame) -> Figure:
    panels: list[Panel] = []
    same = pl.col("a") == pl.col("b")
    seeds = pl.col("seed_a") == pl.col("seed_b")
    for names, rows, mirrored in (
        (("P-T", "P-T"), known.filter(same & (pl.col("variant_a") == "P_T")), True),
        (("RI-T", "RI-T"), known.filter(same & (pl.col("variant_a") == "RI_T")), True),
        (
            ("RI-T", "P-T"),
            known.filter(seeds & (pl.col("variant_a") == "RI_T") & (pl.col("variant_b") == "P_T")),
            False,
        ),
    ):
        means = rows.group_by("epoch_a", "epoch_b").agg(pl.col("cka").mean())
        if mirrored:
            other = means.filter(pl.col("epoch_a") != pl.col("epoch_b"))
            means = pl.concat([means, other.select(epoch_a="epoch_b", epoch_b="epoch_a", cka="cka")])
        if means.is_empty() or means.height > LIMIT:
            continue
        text = hover(f"{names[0]} at ", pl.col("epoch_a"), f", {names[1]} at ", pl.col("epoch_b"), ": ",
                     pl.col("cka").round(3))  # fmt: skip
        panels.append(
            heat_map(
                means.with_columns(text),
                " × ".join(names),
                steps_across("epoch_b", f"Epoch of {names[1]} (count)"),
                alt.Y("epoch_a:O", title=f"Epoch of {names[0]} (count)").axis(ticks=False, domain=False),
                _TINT,
                width=210,
                height=210,
            )
        )
    return Figure(
        name="epochs",
        title="Every epoch against every epoch",
        caption="CKA of like modules, averaged over modules and seeds; epoch 0 of P-T is P, epoch 0 of RI-T is RI. One "
        "training against itself, and RI-T against P-T of the same seed. A bright square at the end: features "
        "have settled.",
        description="Heat maps of mean CKA between epochs of P-T and RI-T.",
        panels=tuple(panels),
        columns=3,
        ramp=("0 unrelated", "1 same up to rotation and scale", RAMP),
    )
