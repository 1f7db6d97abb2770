"""Feature similarity of all modules with all modules, and of equal modules by depth."""

import polars as pl

from transferscope.plots.axes import Axis, Names, Ramp, Tints, tints
from transferscope.plots.panels import Frame, facets, heat_map, kept_names, line_panel, present
from transferscope.plots.theme import (
    LIMIT,
    NEUTRAL,
    OTHERS,
    Figure,
    Panel,
    hover,
    pair_rank,
    pairs_of,
    shown_column,
    thinned,
)  # fmt: skip

__all__ = ["figures"]

_MOST_PAIRS = 6
_MOST_MODULES = 28
_MOST_NAMES = 8
"""Modules named along a map: more names would be too small to read, and pointing at a cell tells them."""
_RAMP = Ramp("cka", "CKA (0 to 1)", 0, 1)
_KERNELS = {
    "unbiased": "Linear CKA (unbiased, minibatch)",
    "biased": "Linear CKA (biased, minibatch)",
    "rbf": "RBF CKA (unbiased, minibatch)",
}
_CHECKS = {"cka": "CKA", "cca": "mean squared CCA", "procrustes": "Procrustes", "rsa": "RSA"}
_CHECKED = ("P/P-T", "P/RI-T", "P-T/RI-T")
_MODULES = "Module (name), from input to output"


def figures(table: pl.DataFrame) -> tuple[Figure, ...]:
    """The figures of ``similarity``; none where no value is defined."""
    means = _by_pair(table)
    if means.is_empty():
        return ()
    places = pl.concat([means.select(module=f"module_{one}", position=f"position_{one}") for one in "ab"])
    return present(_maps(means, places, table), _diagonal(means, places), _agreement(table, places))


def _maps(means: pl.DataFrame, places: pl.DataFrame, table: pl.DataFrame) -> Figure:
    pairs = pairs_of(means["pair"])
    kept, less = kept_names(places, most=_MOST_MODULES)
    drawn = pairs[: max(1, min(_MOST_PAIRS, LIMIT // len(kept) ** 2))]
    left_out = f" The table also holds {', '.join(pairs[len(drawn) :])}." if len(drawn) < len(pairs) else ""
    pooled = "" if table["pooling"][0] == "flattened" else ", maps pooled,"
    cells = means.filter(pl.col("module_a").is_in(kept) & pl.col("module_b").is_in(kept))

    def panel(part: pl.DataFrame, pair: str) -> Panel:
        first, second = pair.split("/")
        text = hover(f"{first} ", pl.col("module_a"), f" × {second} ", pl.col("module_b"), ": ", pl.col("cka").round(3))
        across, down = (
            Names(column, f"Module of {variant} (name)", kept, limit=84, size=11, named=thinned(kept, _MOST_NAMES),
                  cells=True)
            for column, variant in (("module_b", second), ("module_a", first))
        )  # fmt: skip
        data = part.with_columns(text)
        return heat_map(data, across, down, _RAMP, title=f"{first} × {second}", width=210, height=210)

    return Figure(
        name="maps",
        title="Every module against every module",
        caption=f"{_KERNELS[table['estimator'][0]]}{pooled} of features on the same images, averaged over networks; a "
        "network is never compared with itself. Rows: modules of the first variant, columns: of the second, input at "
        f"the top left. One colour scale for all maps.{less}{left_out}",
        description="Heat maps of CKA between modules for the pairs " + ", ".join(drawn) + ".",
        panels=facets(cells, "pair", drawn, panel),
        columns=3,
        ramp=_RAMP.legend("0 unrelated", "1 same up to rotation and scale"),
    )


def _by_pair(table: pl.DataFrame) -> pl.DataFrame:
    """Mean CKA by pair of variants and pair of modules, each pair in its one reading order."""
    a, b = pl.col("variant_a"), pl.col("variant_b")
    # RI[s] is the start of RI-T[s] alone: to the others it is a stranger.
    start = ((a == "RI") & (b == "RI_T")) | ((a == "RI_T") & (b == "RI"))
    foreign = start & (pl.col("seed_a") != pl.col("seed_b"))
    rows = table.filter((pl.col("a") != pl.col("b")) & pl.col("cka").is_not_null() & ~foreign)
    # CKA is symmetric: both directions are there, then one is chosen. Within one variant both count, so that the
    # picture does not depend on the order of the seeds.
    both = pl.concat([
        rows.select(
            "cka", pair=pl.concat_str(shown_column(f"variant_{one}"), pl.lit("/"), shown_column(f"variant_{other}")),
            module_a=f"module_{one}", module_b=f"module_{other}",
            position_a=f"position_{one}", position_b=f"position_{other}",
        )
        for one, other in ("ab", "ba")
    ])  # fmt: skip
    wanted = [pair for pair in set(both["pair"]) if pair_rank(pair) <= pair_rank("/".join(reversed(pair.split("/"))))]
    cells = both.filter(pl.col("pair").is_in(wanted)).group_by(pl.exclude("cka"), maintain_order=True)
    return cells.agg(pl.col("cka").mean())


def _diagonal(means: pl.DataFrame, places: pl.DataFrame) -> Figure | None:
    rows = means.filter(pl.col("module_a") == pl.col("module_b"))
    if rows.is_empty():
        return None
    kept, less = kept_names(places, most=60)
    colours = tints("pair", pairs_of(rows["pair"])[:_MOST_PAIRS])
    text = hover(pl.col("pair"), " at ", pl.col("module_a"), ": ", pl.col("cka").round(3))
    data = rows.filter(pl.col("pair").is_in(list(colours.colours)) & pl.col("module_a").is_in(kept)).with_columns(text)
    y = Axis("cka", "CKA of equal modules (0 to 1)", domain=[min([0.0, *data["cka"]]), 1.0])
    frame = Frame(Names("module_a", _MODULES, kept, limit=100), y, colours, width=370, height=210)
    return Figure(
        name="depth",
        title="Equal modules, by depth",
        caption="CKA between the same module of two networks, averaged over networks: where a line is high, "
        "training from that start has kept or found the same features." + less,
        description="CKA of equal modules from input to output for " + ", ".join(colours.colours) + ".",
        panels=(line_panel(frame, data),),
        columns=1,
        legend=colours.legend("line"),
    )


def _agreement(table: pl.DataFrame, places: pl.DataFrame) -> Figure:
    """The other measures beside CKA, by depth: one panel for P × P-T, one for P × RI-T, one for P-T × RI-T."""
    kept, less = kept_names(places, most=60)
    colours = Tints("measure", dict(zip(_CHECKS.values(), (NEUTRAL["ink"], *OTHERS), strict=False)))
    a, b = shown_column("variant_a"), shown_column("variant_b")
    straight, turned = (pl.concat_str(one, pl.lit("/"), other) for one, other in ((a, b), (b, a)))
    pair = pl.when(straight.is_in(_CHECKED)).then(straight).otherwise(turned)
    rows = table.filter(pl.col("procrustes").is_not_null() & (pl.col("a") != pl.col("b")))
    named = rows.filter(pl.col("module_a").is_in(kept)).select(*_CHECKS, pair=pair, module="module_a")
    long = named.unpivot(list(_CHECKS), index=["pair", "module"], variable_name="measure")
    means = (
        long.drop_nulls("value").group_by("pair", "measure", "module", maintain_order=True).agg(pl.col("value").mean())
    )
    text = hover(pl.col("measure"), " at ", pl.col("module"), ": ", pl.col("value").round(3))

    def panel(part: pl.DataFrame, name: str) -> Panel:
        y = Axis("value", "Similarity (0 to 1)", domain=[min([0.0, *part["value"]]), 1.0])
        names, title = Names("module", _MODULES, kept, limit=100), name.replace("/", " × ")
        return line_panel(Frame(names, y, colours, width=300, title=title), part.with_columns(text), size=30)

    return Figure(
        name="agreement",
        title="CKA beside other measures",
        caption="Equal modules, averaged over networks. CCA, Procrustes and RSA are of features pooled over "
        "positions; their heights are not comparable with each other, their order over modules is." + less,
        description="CKA, mean squared CCA, Procrustes similarity and RSA of equal modules, by depth.",
        panels=facets(means.with_columns(pl.col("measure").replace(_CHECKS)), "pair", _CHECKED, panel),
        columns=3,
        legend=colours.legend("line"),
    )
