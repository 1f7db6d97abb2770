"""A first look: seconds to the first fact and to the page, peak memory, growth, and what of planted faults is found.

``python benchmarks/look.py [--only speed] [--images 2000] [--growth 20000 40000]``. Real pictures are taken from
TRANSFERSCOPE_DATA (emoji in several styles) where it is set; else all of them are drawn.
"""

import argparse
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks._planted import Faults, drawn, plant, score

STYLES = ("fluent3d", "openmoji")


def pictures(count: int, side: int) -> list[tuple[str, Image.Image]]:
    """Labelled pictures, real ones where they are at hand."""
    root = os.environ.get("TRANSFERSCOPE_DATA")
    if root is None:
        return [(f"kind{k % 8}", drawn(k % 8, k, side)) for k in range(count)]
    found: list[tuple[str, Image.Image]] = []
    for style in STYLES:
        for file in sorted((Path(root) / "emoji" / style).rglob("*.parquet")):
            for row in pl.read_parquet(file).iter_rows(named=True):
                picture = Image.open(io.BytesIO(row["image"]["bytes"])).convert("RGB").resize((side, side))
                found.append((f"kind{row['label']}", picture))
    order = np.random.default_rng(0).permutation(len(found))[:count]
    return [found[k] for k in order]


def run(folder: Path, *options: str) -> tuple[float, float, float, float, str]:
    """Seconds to the first line and to the end, CPU seconds, peak MB, and what was printed."""
    start, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "transferscope", "look", str(folder), "--quiet", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    peak = [0.0]
    watching = threading.Thread(target=_watch, args=(process, peak))
    watching.start()
    assert process.stdout is not None
    first = process.stdout.readline()
    to_first = time.monotonic() - start
    rest = process.stdout.read()
    if process.wait():
        sys.exit(f"{' '.join(command)} failed")
    watching.join()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return to_first, time.monotonic() - start, cpu, peak[0], first + rest


def _watch(process: "subprocess.Popen[str]", peak: list[float]) -> None:
    while process.poll() is None:
        try:
            lines = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii").splitlines()
        except OSError:
            return
        for line in lines:
            if line.startswith("VmHWM"):
                peak[0] = max(peak[0], int(line.split()[1]) / 1024)
        time.sleep(0.1)


def speed(count: int, work: Path) -> None:
    folder = work / "speed"
    for number, (label, picture) in enumerate(pictures(count, 96)):
        (folder / label).mkdir(parents=True, exist_ok=True)
        picture.save(folder / label / f"{number}.png")
    first, whole, cpu, peak, _ = run(folder, "--output", str(work / "page.html"))
    size = (work / "page.html").stat().st_size / 1e6
    print(
        f"{count} images of 96 px: first fact {first:.1f} s, page {whole:.1f} s, {cpu:.0f} CPU s, peak {peak:.0f} MB, "
        f"page {size:.2f} MB; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    )


def growth(counts: list[int], work: Path) -> None:
    for count in counts:
        folder = work / f"growth{count}"
        for kind in range(10):
            (folder / f"kind{kind}").mkdir(parents=True)
        for number in range(count):
            drawn(number % 10, number, 32).save(folder / f"kind{number % 10}" / f"{number}.png", compress_level=1)
        first, whole, cpu, peak, printed = run(folder, "--json")
        rows = json.loads(printed)["numbers"]
        spent = ", ".join(f"{row['phase']} {row['value']:.1f}" for row in rows if row["quantity"] == "seconds")
        print(
            f"{count} images of 32 px: first fact {first:.1f} s, end {whole:.1f} s, {cpu:.0f} CPU s, "
            f"peak {peak:.0f} MB; {spent}",
            flush=True,
        )


def faults(work: Path) -> None:
    for seed in range(1):
        folder = work / f"planted{seed}"
        planted = plant(folder, pictures(1000, 96), Faults(50, 20, 30), seed)
        found = score(json.loads(run(folder, "--json")[4]), planted)
        print(
            f"1,000 images, seed {seed}: copies across splits found {found.copies:.0%} (other alarms "
            f"{found.other_copies}), conflicting labels {found.conflicts:.0%} ({found.other_conflicts}), flipped "
            f"labels {found.flips:.0%}, with {1000 * found.false_flips / found.checked:.0f} other doubts per 1,000"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--growth", type=int, nargs="*", default=[20_000, 40_000])
    parser.add_argument("--only", choices=("faults", "speed", "growth"))
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="transferscope-") as place:
        if asked.only in (None, "faults"):
            faults(Path(place))
        if asked.only in (None, "speed"):
            speed(asked.images, Path(place))
        if asked.only in (None, "growth"):
            growth(asked.growth, Path(place))
