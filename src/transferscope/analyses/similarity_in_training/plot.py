"""Feature similarity along training: against P, against the end, epoch by epoch."""

from dataclasses import replace

import polars as pl

from transferscope.keys import shown
from transferscope.plots.axes import EPOCHS, Axis, Names, Ramp, Steps, tints
from transferscope.plots.panels import Frame, facets, heat_map, kept_names, present
from transferscope.plots.theme import LIMIT, Figure, among, hover

__all__ = ["figures"]

_TO_P = ("P/P-T", "P/RI-T")
_MAPS = (("P_T", "P_T"), ("RI_T", "RI_T"), ("RI_T", "P_T"))
_MOST_MODULES = 30
_RAMP = Ramp("cka", "CKA", 0, 1)
_ENDS = _RAMP.legend("0 unrelated", "1 same up to rotation and scale")


def figures(table: pl.DataFrame) -> tuple[Figure, ...]:
    """The figures of ``similarity_in_training``; none where no value is defined."""
    known = table.filter(pl.col("cka").is_not_null())
    to_p = _against_p(known)
    return present(_lines(to_p), _modules(to_p), _maps(known)) if to_p.height else present(_maps(known))


def _against_p(known: pl.DataFrame) -> pl.DataFrame:
    """Rows of P-T against its own start, and of RI-T against P of the same seed: pair, epoch, module, cka."""
    own = (pl.col("a") == pl.col("b")) & (pl.col("variant_a") == "P_T") & (pl.col("epoch_a") == 0)
    other = (pl.col("variant_a") == "RI_T") & (pl.col("variant_b") == "P_T") & (pl.col("epoch_b") == 0)
    return pl.concat([
        known.filter(own).select("module", "position", "cka", pair=pl.lit("P/P-T"), seed="seed_a", epoch="epoch_b"),
        known.filter(other & (pl.col("seed_a") == pl.col("seed_b"))).select(
            "module", "position", "cka", pair=pl.lit("P/RI-T"), seed="seed_a", epoch="epoch_a"),
    ])  # fmt: skip


def _lines(rows: pl.DataFrame) -> Figure:
    text = hover(pl.col("pair"), ", seed ", pl.col("seed"), ", epoch ", pl.col("epoch"), ": ", pl.col("cka").round(3))
    data = rows.group_by("pair", "seed", "epoch", maintain_order=True).agg(pl.col("cka").mean()).with_columns(text)
    colours = tints("pair", among(_TO_P, data["pair"]))
    y = Axis("cka", "Mean CKA with P (0 to 1)", domain=[min([0.0, *data["cka"]]), 1.0])
    frame = Frame(replace(EPOCHS, title="Epoch (count)"), y, colours, width=370, height=210)
    return Figure(
        name="against-p",
        title="Similarity to the pre-trained network, by epoch",
        caption="Mean CKA of like modules with P, one line for each seed. P-T starts at P, so its head aside it starts "
        "at 1; RI-T shows what training on the target alone brings near to P.",
        description="CKA with P by epoch for " + ", ".join(colours.colours) + ".",
        panels=(frame.panel(frame.lines(data, by=["seed"], width=1.5, opacity=0.8), frame.dots(data, size=30)),),
        columns=1,
        legend=colours.legend("line"),
    )


def _modules(rows: pl.DataFrame) -> Figure:
    kept, less = kept_names(rows, most=_MOST_MODULES)
    means = (
        rows.group_by("pair", "epoch", "module", maintain_order=True)
        .agg(pl.col("cka").mean())
        .filter(pl.col("module").is_in(kept))
    )
    text = hover(pl.col("module"), ", epoch ", pl.col("epoch"), ": ", pl.col("cka").round(3))
    names = Names("module", "Module (name)", kept, limit=84, size=9, cells=True)
    return Figure(
        name="modules",
        title="Which modules leave the pre-trained features, and when",
        caption="CKA of each module with the same module of P, by epoch, averaged over seeds; input at the top." + less,
        description="Heat maps of CKA with P, modules by epochs.",
        panels=facets(means.with_columns(text), "pair", _TO_P, lambda part, pair: heat_map(
            part, Steps("epoch", "Epoch (count)"), names, _RAMP, title=pair, width=230, height=max(90, 11 * len(kept)),
        )),
        ramp=_ENDS,
    )  # fmt: skip


def _maps(known: pl.DataFrame) -> Figure:
    panels = []
    for one, other in _MAPS:
        itself = one == other
        partner = pl.col("a") == pl.col("b") if itself else (pl.col("variant_b") == other) & (
            pl.col("seed_a") == pl.col("seed_b"))  # fmt: skip
        rows = known.filter((pl.col("variant_a") == one) & partner)
        means = rows.group_by("epoch_a", "epoch_b", maintain_order=True).agg(pl.col("cka").mean())
        if itself:
            mirrored = means.filter(pl.col("epoch_a") != pl.col("epoch_b"))
            means = pl.concat([means, mirrored.select(epoch_a="epoch_b", epoch_b="epoch_a", cka="cka")])
        if not 0 < means.height <= LIMIT:
            continue
        first, second = shown(one), shown(other)
        text = hover(f"{first} at ", pl.col("epoch_a"), f", {second} at ", pl.col("epoch_b"), ": ",
                     pl.col("cka").round(3))  # fmt: skip
        across, down = Steps("epoch_b", f"Epoch of {second} (count)"), Steps("epoch_a", f"Epoch of {first} (count)")
        panels.append(heat_map(means.with_columns(text), across, down, _RAMP, title=f"{first} × {second}",
                               width=210, height=210))  # fmt: skip
    return Figure(
        name="epochs",
        title="Every epoch against every epoch",
        caption="CKA of like modules, averaged over modules and seeds; epoch 0 of P-T is P, epoch 0 of RI-T is RI. One "
        "training against itself, and RI-T against P-T of the same seed. A bright square at the end: features "
        "have settled.",
        description="Heat maps of mean CKA between epochs of P-T and RI-T.",
        panels=tuple(panels),
        columns=3,
        ramp=_ENDS,
    )
