"""Tables of the analyses around feature similarity and distance, with the shapes of real ones."""

import math
import random

import polars as pl

from transferscope.analyses.distance_in_training.analysis import DistanceInTraining
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.reused_channels.analysis import ReusedChannels
from transferscope.analyses.similarity_by_size.analysis import SimilarityBySize
from transferscope.analyses.similarity_in_training.analysis import SimilarityInTraining

EPOCHS = (0, 1, 2, 4, 7, 10)
PARTS = ("stem", "blocks.0.0", "blocks.1.0", "blocks.1.1", "blocks.2.0", "conv_head")
FACTS = {"estimator": "unbiased", "pooling": "flattened", "examples": 512, "batch": 64}


def similarity_in_training_table(seeds: tuple[int, ...] = (0, 1)) -> pl.DataFrame:
    draw = random.Random(11)
    states = [(variant, seed, epoch) for variant in ("RI_T", "P_T") for seed in seeds for epoch in EPOCHS]
    rows = []
    for position, module in enumerate(PARTS):
        for i, (va, sa, ea) in enumerate(states):
            for vb, sb, eb in states[i:]:
                kin = 0.95 if (va, sa) == (vb, sb) else 0.7 if va == vb == "P_T" else 0.3
                gap = abs(math.exp(-ea / 3) - math.exp(-eb / 3)) * (0.3 + 0.1 * position)
                same = (va, sa, ea) == (vb, sb, eb)
                rows.append({
                    "module": module, "position": position, "a": f"{va.replace('_', '-')}[{sa}]", "variant_a": va,
                    "seed_a": sa, "epoch_a": ea, "b": f"{vb.replace('_', '-')}[{sb}]", "variant_b": vb, "seed_b": sb,
                    "epoch_b": eb, "cka": 1.0 if same else max(-0.01, kin - gap + draw.gauss(0, 0.01)), **FACTS,
                })  # fmt: skip
    return pl.DataFrame(rows)


def similarity_by_size_table(seeds: tuple[int, ...] = (0, 1, 2)) -> pl.DataFrame:
    draw = random.Random(12)
    pairs = [("P", seeds[0], variant, seed) for variant in ("RI_T", "P_T") for seed in seeds]
    pairs += [(variant, a, variant, b) for variant in ("RI_T", "P_T") for a in seeds for b in seeds if a < b]
    pairs += [("P_T", seed, "RI_T", seed) for seed in seeds]
    rows = []
    for fraction, images in ((0.1, 170), (0.3, 500), (1.0, 1670)):
        for va, sa, vb, sb in pairs:
            level = {("P", "P_T"): 0.9, ("P_T", "P_T"): 0.85}.get((va, vb), 0.3 + 0.1 * fraction)
            for position, module in enumerate(PARTS):
                rows.append({
                    "fraction": fraction, "images": images, "epochs": round(10 / fraction),
                    "pair": f"{va}/{vb}".replace("_", "-"), "module": module, "position": position,
                    "a": f"{va.replace('_', '-')}[{sa}]", "variant_a": va, "seed_a": sa,
                    "b": f"{vb.replace('_', '-')}[{sb}]", "variant_b": vb, "seed_b": sb,
                    "cka": level - 0.03 * position + draw.gauss(0, 0.01), **FACTS,
                })  # fmt: skip
    return pl.DataFrame(rows)


def reused_channels_table(seeds: tuple[int, ...] = (0, 1, 2)) -> pl.DataFrame:
    draw = random.Random(13)
    rows = []
    for variant, level in (("RI_T", 0.25), ("P_T", 0.8), ("RI", 0.2)):
        for seed in seeds:
            for position, module in enumerate(PARTS):
                share = min(1.0, max(0.0, level - 0.05 * position + draw.gauss(0, 0.02)))
                row = {
                    "level": "module", "variant": variant, "seed": seed,
                    "network": f"{variant.replace('_', '-')}[{seed}]", "module": module, "position": position,
                    "channels": 16 * (position + 1), "dead": position % 2, "dead_other": 0, "reused": share,
                    "same_index": share if variant == "P_T" else 0.01, "correlation": 0.5 * share + 0.3,
                    "correlation_same": share if variant == "P_T" else 0.0,
                    "kept_index": 0.9 if variant == "P_T" else 0.05, "channel": None, "fate": None, "exemplars": None,
                    "threshold": 0.5, "examples": 656,
                }  # fmt: skip
                rows.append(row)
                if variant == "P_T" and seed == 0:
                    rows += [
                        {**row, "level": "channel", "channel": place, "fate": fate, "exemplars": "4, 8, 15"}
                        for place, fate in enumerate(("reused", "lost"))
                    ]
    return pl.DataFrame(rows, infer_schema_length=None)


def distance_in_training_table(seeds: tuple[int, ...] = (0, 1)) -> pl.DataFrame:
    runs = [(variant, seed) for variant in ("RI_T", "P_T") for seed in seeds]
    places = [("all", -3), ("trunk", -2), ("head", -1), *((part, place) for place, part in enumerate(PARTS))]
    rows = []
    for epoch in EPOCHS:
        done = 1 - math.exp(-epoch / 3)
        for index, (va, sa) in enumerate(runs):
            for vb, sb in [(va, sa), *runs[index + 1 :]]:
                if va != vb and sa != sb:
                    continue
                own = (va, sa) == (vb, sb)
                for part, position in places:
                    length = (6.0 if va == "P_T" else 14.0) * (1.0 if position < -1 else 0.2)
                    base = {
                        "level": "own" if own else "pair",
                        "pair": va.replace("_", "-") if own else f"{min(va, vb)}/{max(va, vb)}".replace("_", "-"),
                        "a": f"{va.replace('_', '-')}[{sa}]", "variant_a": va, "seed_a": sa,
                        "b": f"{vb.replace('_', '-')}[{sb}]", "variant_b": vb, "seed_b": sb, "epoch": epoch,
                        "part": part, "position": position, "parameters": 100,
                    }  # fmt: skip
                    rows.append({
                        **base, "from_start": length * done if own else None, "relative": done / 5 if own else None,
                        "to_end": length * (1 - done) if own else None,
                        "travelled": 1.2 * length * done if own else None, "between": None if own else 20.0 + epoch,
                        "cosine": None if epoch == 0 else done if own else 0.1,
                        "cosine_without_decay": None if epoch == 0 else 0.9 * done if own else 0.05,
                    })  # fmt: skip
    return pl.DataFrame(rows, infer_schema_length=None)


SUMMARIES = {
    "similarity_in_training": SimilarityInTraining().summarise(similarity_in_training_table(), Evidence()),
    "similarity_by_size": SimilarityBySize().summarise(similarity_by_size_table(), Evidence()),
    "reused_channels": ReusedChannels().summarise(reused_channels_table(), Evidence()),
    "distance_in_training": DistanceInTraining().summarise(distance_in_training_table(), Evidence()),
}
