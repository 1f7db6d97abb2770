"""Settings given beside a study file."""

from pathlib import Path

import pytest

from tests.study_files import MINIMAL, error_of, write
from transferscope.study.file import load_study
from transferscope.study.registry import parse_analysis


def test_overrides_are_merged_before_the_study_is_checked(tmp_path: Path) -> None:
    text = MINIMAL.replace("  data: {kind: elpv}", "  image_size: 4\n  data:")
    study = load_study(
        write(tmp_path, text),
        [
            "target.image_size=96",
            "target.data.kind=elpv",
            "target.data.cells=mono",
            "training.recipe.epochs=3",
            "seeds=[5, 6]",
            "seeds.1=7",
            "seeds.2=8",
            "analyses.similarity.granularity=stage",
            "analyses.0=learning_rate",
            "training.recipe.weight_decay=1e-3",
            "name=other-name",
        ],
    )
    assert study.target.image_size == 96
    assert study.target.data.cells == "mono"  # type: ignore[union-attr]  # it is Elpv
    assert study.training.recipe.epochs == 3
    assert study.training.recipe.weight_decay == 1e-3
    assert study.seeds == (5, 7, 8)
    assert study.name == "other-name"
    by_name = {analysis.name: analysis for analysis in study.analyses}
    assert by_name["similarity"].granularity == "stage"  # type: ignore[attr-defined]  # a setting of similarity
    assert study.analyses[0].name == "learning_rate"


def test_an_analysis_by_position_keeps_its_other_settings(tmp_path: Path) -> None:
    text = MINIMAL + "analyses: [path, similarity: {max_seeds: 2}]\n"
    study = load_study(write(tmp_path, text), ["analyses.1.similarity.granularity=layer", "analyses.0.path.points=9"])
    assert study.analyses == (
        parse_analysis({"path": {"points": 9}}),
        parse_analysis({"similarity": {"max_seeds": 2, "granularity": "layer"}}),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seeds", "--set seeds: expected 'name.name=value', got 'seeds'"),
        ("a..b=1", "expected 'name.name=value'"),
        ("=1", "expected 'name.name=value'"),
        ("seeds=[1", "'[1' is not YAML"),
        ("seeds=!x 1", "the tag '!x' is not understood"),
        ("seeds.x=1", "seeds is a list: expected a position such as 0, got 'x'"),
        ("seeds.3.a=1", "seeds has 1 items, counted from 0: there is no item 3"),
        ("name.a=1", "name holds no settings but 'cells': set it as a whole"),
        ("analyses.similarty.granularity=stage", "does not list the analysis 'similarty'; did you mean 'similarity'?"),
        ("analyses.similarity=1", "expected a setting of the analysis, as in 'analyses.similarity.setting=value'"),
        ("analyses.similarity.granularity=5", "analyses.1.similarity.granularity: expected 'stage', 'block' or"),
        (
            "target.image_sise=5",
            "target.image_sise: there is no such setting; did you mean 'image_size' or 'max_pixels'?",
        ),
        ("target.data={kind: elp}", "target.data.kind: there is no kind 'elp'; did you mean 'elpv'?"),
    ],
)
def test_problems_of_overrides_name_the_override(tmp_path: Path, text: str, message: str) -> None:
    study = MINIMAL + "seeds: [0]\nanalyses: [path, similarity]\n"
    error = error_of(tmp_path, study, text)
    assert message in error
    assert f"--set {text}" in error


def test_override_into_analyses_that_are_no_list(tmp_path: Path) -> None:
    error = error_of(tmp_path, MINIMAL + "analyses: path\n", "analyses.path.points=3")
    assert "analyses holds no settings but 'path'" in error


def test_empty_override_is_null(tmp_path: Path) -> None:
    study = load_study(write(tmp_path, MINIMAL + "training: {tuning_epochs: 3}\n"), ["training.tuning_epochs="])
    assert study.training.tuning_epochs is None
