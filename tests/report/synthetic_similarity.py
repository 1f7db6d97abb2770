"""Tables of the analyses around feature similarity and distance, with the shapes of real ones."""

import math
import random
from itertools import combinations_with_replacement
from typing import Any

import polars as pl

from tests.tables import example
from transferscope.analyses.distance_in_training.analysis import DistanceInTraining
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.reused_channels.analysis import ReusedChannels
from transferscope.analyses.similarity_by_size.analysis import SimilarityBySize
from transferscope.analyses.similarity_in_training.analysis import SimilarityInTraining
from transferscope.keys import shown

EPOCHS = (0, 1, 2, 4, 7, 10)
PARTS = ("stem", "blocks.0.0", "blocks.1.0", "blocks.1.1", "blocks.2.0", "conv_head")
FACTS = {"estimator": "unbiased", "pooling": "flattened", "examples": 512, "batch": 64}


def _sides(first: tuple[Any, ...], second: tuple[Any, ...]) -> dict[str, Any]:
    """Of (variant, seed) or (variant, seed, epoch)."""
    names = ("variant", "seed", "epoch")
    return {
        f"{name}_{side}": value
        for side, of in (("a", first), ("b", second))
        for name, value in zip(names, of, strict=False)
    }


def similarity_in_training_table(seeds: tuple[int, ...] = (0, 1)) -> pl.DataFrame:
    draw = random.Random(11)
    states = [(variant, seed, epoch) for variant in ("RI_T", "P_T") for seed in seeds for epoch in EPOCHS]
    rows = []
    for position, module in enumerate(PARTS):
        for one, two in combinations_with_replacement(states, 2):
            kin = 0.95 if one[:2] == two[:2] else 0.7 if one[0] == two[0] == "P_T" else 0.3
            gap = abs(math.exp(-one[2] / 3) - math.exp(-two[2] / 3)) * (0.3 + 0.1 * position)
            cka = 1.0 if one == two else max(-0.01, kin - gap + draw.gauss(0, 0.01))
            rows.append({"module": module, "position": position, "cka": cka, **_sides(one, two)})
    return example(SimilarityInTraining, rows, **FACTS)


def similarity_by_size_table(seeds: tuple[int, ...] = (0, 1, 2)) -> pl.DataFrame:
    draw = random.Random(12)
    pairs = [(("P", seeds[0]), (variant, seed)) for variant in ("RI_T", "P_T") for seed in seeds]
    pairs += [((variant, a), (variant, b)) for variant in ("RI_T", "P_T") for a in seeds for b in seeds if a < b]
    pairs += [(("P_T", seed), ("RI_T", seed)) for seed in seeds]
    rows = []
    for fraction, images in ((0.1, 170), (0.3, 500), (1.0, 1670)):
        for one, two in pairs:
            level = {("P", "P_T"): 0.9, ("P_T", "P_T"): 0.85}.get((one[0], two[0]), 0.3 + 0.1 * fraction)
            for position, module in enumerate(PARTS):
                rows.append({
                    "fraction": fraction, "images": images, "epochs": round(10 / fraction), "module": module,
                    "position": position, "cka": level - 0.03 * position + draw.gauss(0, 0.01), **_sides(one, two),
                })  # fmt: skip
    return example(SimilarityBySize, rows, **FACTS)


def reused_channels_table(seeds: tuple[int, ...] = (0, 1, 2)) -> pl.DataFrame:
    draw = random.Random(13)
    rows = []
    for variant, level in (("RI_T", 0.25), ("P_T", 0.8), ("RI", 0.2)):
        for seed in seeds:
            for position, module in enumerate(PARTS):
                share, own = min(1.0, max(0.0, level - 0.05 * position + draw.gauss(0, 0.02))), variant == "P_T"
                row = {
                    "level": "module", "variant": variant, "seed": seed, "module": module, "position": position,
                    "channels": 16 * (position + 1), "dead": position % 2, "reused": share,
                    "same_index": share if own else 0.01, "correlation": 0.5 * share + 0.3,
                    "correlation_same": share if own else 0.0, "kept_index": 0.9 if own else 0.05,
                }  # fmt: skip
                channels = enumerate(("reused", "lost")) if own and seed == 0 else ()
                rows += [row, *({**row, "level": "channel", "channel": place, "fate": fate, "exemplars": "4, 8, 15"}
                                for place, fate in channels)]  # fmt: skip
    return example(ReusedChannels, rows, threshold=0.5, examples=656, dead_other=0)


def distance_in_training_table(seeds: tuple[int, ...] = (0, 1)) -> pl.DataFrame:
    runs = [(variant, seed) for variant in ("RI_T", "P_T") for seed in seeds]
    rows = []
    for epoch in EPOCHS:
        done = 1 - math.exp(-epoch / 3)
        for one, two in combinations_with_replacement(runs, 2):
            (va, sa), (vb, sb), own = one, two, one == two
            if va != vb and sa != sb:
                continue
            for position, part in enumerate(("all", "trunk", "head", *PARTS), -3):
                length = (6.0 if va == "P_T" else 14.0) * (1.0 if position < -1 else 0.2)
                moved = {"from_start": length * done, "relative": done / 5, "to_end": length * (1 - done),
                         "travelled": 1.2 * length * done}  # fmt: skip
                angle = {"cosine": done if own else 0.1, "cosine_without_decay": 0.9 * done if own else 0.05}
                rows.append({
                    "level": "own" if own else "pair", "epoch": epoch, "part": part, "position": position,
                    **_sides(one, two), "pair": shown(va) if own else f"{shown(min(va, vb))}/{shown(max(va, vb))}",
                    **(moved if own else {"between": 20.0 + epoch}), **(angle if epoch else {}),
                })  # fmt: skip
    return example(DistanceInTraining, rows, parameters=100)


SUMMARIES = {
    "similarity_in_training": SimilarityInTraining().summarise(similarity_in_training_table(), Evidence()),
    "similarity_by_size": SimilarityBySize().summarise(similarity_by_size_table(), Evidence()),
    "reused_channels": ReusedChannels().summarise(reused_channels_table(), Evidence()),
    "distance_in_training": DistanceInTraining().summarise(distance_in_training_table(), Evidence()),
}
