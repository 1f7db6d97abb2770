"""The main job on real input: pre-trained EfficientNet-Lite0 on solar cells, through the command, small."""

import subprocess
import sys
from pathlib import Path

import polars as pl

from transferscope.study.registry import DEFAULT_ANALYSES

STUDY = """
name: cells
source:
  architecture: timm:tf_efficientnet_lite0
  weights: package:efficientnet-lite0
target:
  data: {kind: elpv}
  image_size: 32
  fraction: 0.05
  metric: auc
  splits: {test: 0.05, validation: 0.05}
training:
  learning_rates: [0.02]
  tuning_epochs: 1
  recipe: {epochs: 1, batch_size: 32, memory_format: channels_last, train_evaluation: 32}
seeds: [0, 1]
analyses:
  - outcome
  - learning_curves
  - mistakes
  - similarity: {test_images: 32, batch_size: 16}
  - distance
  - path: {points: 3, refine: null, points_outside: 0, extrapolate: 0, batch_norm_images: 32, train_images: 32,
           test_images: 32}
compute: {threads: 1, device: cpu}
"""


def transferscope(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "transferscope", *arguments, "--store", "store"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    return done


def entries(store: Path) -> dict[str, int]:
    return {
        path.relative_to(store).as_posix(): path.stat().st_mtime_ns
        for kind in ("networks", "units", "artefacts")
        for path in (store / kind).glob("??/*/manifest.json")
    }


def test_a_study_on_real_images_from_file_to_report_and_again_from_the_store(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(STUDY)

    first = transferscope("run", "study.yaml", folder=tmp_path)

    folder = tmp_path / "store" / "reports" / "cells"
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert str(folder / "report.html") in first.stdout
    assert "<svg" in page or "vega" in page
    for name in (*DEFAULT_ANALYSES, "learning_rate"):
        assert pl.read_parquet(folder / "tables" / f"{name}.parquet").height > 0, name
        assert name in page
    outcome = pl.read_parquet(folder / "tables" / "outcome.parquet")
    gaps = outcome.filter(level="gap", split="test")
    assert gaps["variant"].to_list() == ["P_T − RI_T", "P_T − RI_T"]
    assert gaps["basis"].to_list() == ["range", "examples"]
    assert gaps["value"].is_between(-1, 1).all()
    assert "P-T − RI-T" in first.stdout
    headline = pl.read_parquet(folder / "tables" / "headline.parquet").filter(split="test")
    assert headline["variant"].to_list() == ["RI", "P", "RI_T", "P_T"]
    assert headline["value"].is_between(0, 1).all()
    assert sum(line.startswith("trained ") for line in first.stderr.splitlines()) == 6
    done = entries(tmp_path / "store")
    assert sum(name.startswith("networks") for name in done) == 6

    again = transferscope("run", "study.yaml", folder=tmp_path)

    assert not any(line.startswith(("trained", "measured")) for line in again.stderr.splitlines())
    assert entries(tmp_path / "store") == done
    told, *rest = first.stdout.splitlines(keepends=True)
    assert told.startswith("report, written anew as the run goes on: ")
    assert again.stdout == "".join(rest)
