"""Commands called as from a shell, with a runner that only notes what it is asked."""

from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
from PIL import Image
from typer.testing import CliRunner

from transferscope.analyses.estimates import Estimate
from transferscope.analyses.summary import Summary
from transferscope.cli import app
from transferscope.running.results import AnalysisResult, Results
from transferscope.study.registry import parse_analysis
from transferscope.study.settings import Study

RUNNER = CliRunner()


STUDY = """\
name: cells
source: {architecture: timm:resnet18, weights: "package:efficientnet-lite0"}
target: {data: {kind: elpv}}
analyses: [mistakes, path]
"""


_GAP = {"variant": "P_T", "rival": "RI_T"}


@dataclass
class Calls:
    """What the command asked of the runner."""

    studies: list[Study]
    options: list[dict[str, object]]
    folders: list[Path]
    written: list[Results] = field(default_factory=list)


def results_of(study: Study) -> Results:
    headline = pl.DataFrame(
        {
            "variant": ["RI_T", "P_T", "P_T"],
            "split": ["test", "test", "validation"],
            "metric": ["top1"] * 3,
            "value": [0.8, 0.91234, 0.5],
            "low": [0.75, 0.9, None],
            "high": [0.85, 0.92, None],
            "basis": ["seeds", "range", None],
            "n": [3, 2, None],
            "learning_rate": [0.1, 0.01, None],
            "epochs": [10, 10, None],
            "note": ["", "still improving", ""],
        }
    )
    return Results(
        study=study,
        headline=headline,
        gap=(
            Estimate("gap", _GAP, 0.1, 0.05, 0.15, "seeds", 3, name="P-T − RI-T"),
            Estimate("gap", _GAP, None, n=1, name="undefined"),
        ),
        verdict="Pre-training helps.",
        analyses=(
            AnalysisResult(parse_analysis("mistakes"), None, {}, Summary("They err alike [0.1, 0.2]."), None),
            AnalysisResult(parse_analysis("path"), None, {}, None, "heads differ"),
        ),
        manifest={},
    )


def call(*arguments: str, code: int = 0) -> tuple[str, str]:
    result = RUNNER.invoke(app, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.stdout, result.stderr


def pictures(folder: Path, classes: dict[str, int], size: tuple[int, int] = (40, 50)) -> Path:
    for name, count in classes.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            Image.new("RGB", size, (number, 0, 0)).save(folder / name / f"{number}.png")
    return folder
