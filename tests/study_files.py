"""Study files of tests: the smallest one, and some that use more."""

from pathlib import Path

import pytest

from transferscope.errors import StudyError
from transferscope.study.file import load_study

MINIMAL = """\
name: cells
source:
  architecture: timm:resnet18
  weights: package:efficientnet-lite0
target:
  data: {kind: elpv}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "study.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def error_of(folder: Path, text: str, *overrides: str) -> str:
    with pytest.raises(StudyError) as caught:
        load_study(write(folder, text), overrides)
    return str(caught.value)


STUDIES = [
    MINIMAL,
    MINIMAL + "analyses: [{similarity: {granularity: layer}}, path, learning_rate]\n",
    MINIMAL.replace("{kind: elpv}", "{kind: folder, path: 'a: b #c', layout: classes}"),
    MINIMAL.replace("timm:resnet18", "{name: a.b:c, options: {x: '1e-4', y: 'no', z: '010', n: 'null', e: ''}}"),
    MINIMAL + "training: {recipe: {keep: [0, 3], module_rates: {a.0: 1e-5}, weight_decay: 1e-7}}\n",
    MINIMAL.replace(
        "weights: package:efficientnet-lite0", "pretrain: {data: {kind: arrays, images: i.npy}, checkpoint: best}"
    ),
]
