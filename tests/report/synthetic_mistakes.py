"""Tables and pictures of mistakes, with the shapes and sizes of real ones."""

import io
import math
import random
from typing import Any

import numpy as np
import polars as pl
from PIL import Image, ImageDraw

from transferscope.analyses.gallery import Gallery, GalleryGroup, GalleryImage, gallery_files
from transferscope.analyses.mistakes.analysis import MistakesAnalysis
from transferscope.analyses.mistakes_in_training.analysis import MistakesInTraining
from transferscope.study.columns import schema

CLASSES = (("functional", 377), ("defective", 279))
_KAPPA = {("P_T", "P_T"): 0.55, ("RI_T", "RI_T"): 0.5}
_DIFFICULTIES = (
    ("none wrong", 480, 0.0, 0.0), ("up to half wrong", 90, 0.25, 0.5), ("more than half wrong", 50, 0.75, 0.75),
    ("all wrong", 36, 1.0, 1.0),
)  # fmt: skip
_QUARTERS = (
    ("lowest quarter", 164, 0.01, 0.2), ("second quarter", 164, 0.2, 0.4), ("third quarter", 164, 0.4, 0.6),
    ("highest quarter", 164, 0.6, 0.69),
)  # fmt: skip


def _pairs(seeds: tuple[int, ...]) -> list[dict[str, Any]]:
    networks = [
        (variant, seed, f"{variant.replace('_', '-')}[{seed}]") for variant in ("P_T", "RI_T") for seed in seeds
    ]
    return [
        {"pair": f"{va}/{vb}".replace("_", "-"), "a": a, "b": b, "variant_a": va, "seed_a": sa, "variant_b": vb,
         "seed_b": sb}
        for place, (va, sa, a) in enumerate(networks) for vb, sb, b in networks[place + 1 :] if va == vb or sa == sb
    ]  # fmt: skip


def _counts(pair: dict[str, Any], size: int, kappa: float, errors: dict[str, float]) -> dict[str, Any]:
    wrong = [int(size * errors[pair[side]]) for side in ("variant_a", "variant_b")]
    common = int(min(wrong) * min(1.0, max(0.0, kappa + 0.15)))
    either = sum(wrong) - common
    return {
        "examples": size, "mistakes_a": wrong[0], "mistakes_b": wrong[1], "common": common,
        "only_a": wrong[0] - common, "only_b": wrong[1] - common, "jaccard": common / either if either else None,
        "same_wrong_label": 1.0 if common else None, "kappa": kappa, "kappa_low": kappa - 0.08,
        "kappa_high": kappa + 0.08, "kappa_max": 1.0 if wrong[0] == wrong[1] else 0.76,
    }  # fmt: skip


def mistakes_table(seeds: tuple[int, ...] = (0, 1, 2)) -> pl.DataFrame:
    draw = random.Random(3)
    errors = {"P_T": 0.15, "RI_T": 0.23}
    rows: list[dict[str, Any]] = []
    for pair in _pairs(seeds):
        base = _KAPPA.get((pair["variant_a"], pair["variant_b"]), 0.36)
        places: list[tuple[str, str, int, float | None, float | None, float]] = [("all", "", 656, None, None, base)]
        places += [("class", name, size, None, None, base) for name, size in CLASSES]
        if len(seeds) > 1:
            places += [("difficulty", *stratum, 0.3 * base) for stratum in _DIFFICULTIES]
            places += [("entropy", *stratum, 0.6 * base) for stratum in _QUARTERS]
            places += [("within", "difficulty", 656, None, None, 0.3 * base)]
        for level, item, size, low, high, kappa in places:
            rows.append({
                **pair, "level": level, "item": item, "stratum_low": low, "stratum_high": high,
                **_counts(pair, size, kappa + draw.gauss(0, 0.02), errors),
            })  # fmt: skip
    for name, size in CLASSES:
        p, ri = (0.9, 0.82) if name == "functional" else (0.78, 0.75)
        for basis, n, half in (("examples", size, 0.05), ("seeds", len(seeds), 0.07))[: 2 if len(seeds) > 2 else 1]:
            rows.append({
                "pair": "P-T/RI-T", "a": "P-T", "b": "RI-T", "variant_a": "P_T", "variant_b": "RI_T",
                "level": "recall", "item": name, "examples": size, "recall_a": p, "recall_b": ri, "difference": p - ri,
                "low": p - ri - half, "high": p - ri + half, "basis": basis, "n": n, "p": 0.004 if p > 0.8 else 0.2,
                "p_holm": 0.008 if p > 0.8 else 0.2,
            })  # fmt: skip
    return pl.DataFrame(rows, schema=schema(MistakesAnalysis.columns))


def in_training_table(seeds: tuple[int, ...] = (0, 1, 2)) -> pl.DataFrame:
    draw = random.Random(6)
    rows: list[dict[str, Any]] = []
    for epoch in (0, 1, 2, 5, 10):
        errors = {"P_T": 0.15 + 0.3 * math.exp(-epoch), "RI_T": 0.23 + 0.25 * math.exp(-0.3 * epoch)}
        for pair in _pairs(seeds):
            base = _KAPPA.get((pair["variant_a"], pair["variant_b"]), 0.36) * (1 - 0.8 * math.exp(-epoch))
            rows.append({
                "level": "pair", "epoch": epoch, **pair, **_counts(pair, 656, base + draw.gauss(0, 0.02), errors),
            })  # fmt: skip
        for variant in ("P_T", "RI_T"):
            for seed in seeds:
                name = variant.replace("_", "-")
                label = f"{name}[{seed}]"
                pair = {"pair": f"{name}/its end", "a": label, "b": label, "variant_a": variant, "seed_a": seed,
                        "variant_b": variant, "seed_b": seed}  # fmt: skip
                kappa = 1.0 if epoch == 10 else 0.8 * (1 - math.exp(-0.8 * epoch))
                rows.append({"level": "end", "epoch": epoch, **pair, **_counts(pair, 656, kappa, errors)})
    return pl.DataFrame(rows, schema=schema(MistakesInTraining.columns))


def cell(seed: int, side: int = 64) -> bytes:
    """A drawn solar cell: grey, with bars and cracks."""
    draw = random.Random(seed)
    image = Image.fromarray(np.full((side, side), 110 + draw.randrange(60), dtype=np.uint8))
    pencil = ImageDraw.Draw(image)
    for place in (side // 3, 2 * side // 3):
        pencil.line([(0, place), (side, place)], fill=210, width=2)
    for _ in range(draw.randrange(1, 4)):
        pencil.line([(draw.randrange(side), draw.randrange(side)) for _ in range(3)], fill=30, width=1)
    file = io.BytesIO()
    image.save(file, format="PNG")
    return file.getvalue()


def mistakes_files(count: int = 20) -> dict[str, bytes]:
    """A gallery of three groups, the last of them empty."""
    pictures: dict[str, bytes] = {}
    groups = []
    for kind, number in (("only-P-T", count), ("only-RI-T", 5), ("both", 0)):
        cards = []
        for place in range(number):
            name = f"{kind}-{place:02d}.png"
            pictures[name] = cell(len(pictures))
            lines = ("true: defective", "P-T: functional (2), defective (1)", "RI-T: defective (3)",
                     f"image cell{place:04d}.png")  # fmt: skip
            cards.append(GalleryImage(file=name, alt=f"test image cell{place:04d}.png; true: defective", lines=lines))
        groups.append(GalleryGroup(title=f"{kind} wrong", note=f"{number} of {3 * number} images", images=tuple(cards)))
    gallery = Gallery(title="Images behind the mistakes", caption="Wrong by most seeds.", groups=tuple(groups))
    return gallery_files("mistakes", gallery, pictures)
