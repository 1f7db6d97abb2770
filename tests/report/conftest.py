import os
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

from tests.report import synthetic
from tests.studies import NAME, SIZE, arrays
from transferscope.report import render, sections
from transferscope.running.run import run_study
from transferscope.study.file import load_study

RECIPE = "{epochs: 3, batch_size: 16, memory_format: contiguous, augmentation: {flip: false, crop_padding: 0}}"
STUDY = f"""\
# The evidence of docs/results.md: squares of noise, plain and with all values ("*") permuted.
# Made by the tests.
name: tiny
source:
  architecture: {NAME}
  pretrain:
    data: {{kind: arrays, images: data/source/images.npy, labels: data/source/labels.npy}}
    image_size: {SIZE}
    recipe: {RECIPE}
    learning_rate: 0.1
target:
  data: {{kind: arrays, images: data/target/images.npy, labels: data/target/labels.npy}}
  image_size: {SIZE}
training: {{recipe: {RECIPE}, learning_rates: [0.1], tuning_epochs: 1, plateau_epochs: 4}}
seeds: [0, 1, 2]
analyses:
  - outcome: {{n_bootstrap: 100}}
  - learning_curves
  - block_shuffle: {{blocks: [16, 8, "*"], n_bootstrap: 100, n_shown: 0}}
  - mistakes: {{n_bootstrap: 100}}
  - similarity: {{test_images: 36, batch_size: 18}}
  - distance
  - path:
      pairs: [P_T/P_T, RI_T/RI_T, P_T/RI_T, RI_T/RI_T same init]
      points: 3
      refine: null
      points_outside: 0
      batch_norm_images: 32
      train_images: 32
compute: {{device: cpu, threads: 1, evaluation_batch: 32}}
"""


@dataclass(frozen=True)
class Run:
    """A finished study.

    Attributes:
        study: its file.
        folder: of its report.
    """

    study: Path
    folder: Path


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder of this session, one for all its processes."""
    own = tmp_path_factory.getbasetemp()
    folder = (own if worker_id == "master" else own.parent) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def finished(shared: Path) -> Run:
    """A study of seconds, run and reported once; its pictures are empty."""
    folder = shared / "kept"
    study = folder / "tiny.yaml"
    with FileLock(f"{folder}.lock"):
        if not (folder / "report" / "report.html").exists():
            arrays(folder / "data" / "source", 60, 5)
            arrays(folder / "data" / "target", 150, 0)
            study.write_text(STUDY, encoding="utf-8")
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(os, "fsync", lambda descriptor: None)  # nothing here outlives the session
                results = run_study(load_study(study, allow_code=True), folder / "store", quiet=True)
                patch.setattr(sections, "figures", lambda kind, table, metric: ())
                render.write_report(results, folder / "report")
    return Run(study, folder / "report")


@pytest.fixture(scope="session")
def whole_report(shared: Path) -> Path:
    """The page of the synthetic study with every analysis, drawn once."""
    place = shared / "whole.html"
    with FileLock(f"{place}.lock"):
        if not place.exists():
            place.write_text(render.render(synthetic.results()), encoding="utf-8")
    return place
