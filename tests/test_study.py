"""A study: what it takes, what it refuses, and that it survives JSON."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.running import tiny
from transferscope.specs.architecture import FileWeights, PackageWeights, TimmWeights
from transferscope.study.registry import DEFAULT_ANALYSES
from transferscope.study.settings import Source, Study

MINIMAL = {
    "name": "cells",
    "source": {"architecture": "timm:resnet18", "weights": "timm"},
    "target": {"data": {"kind": "elpv"}},
}


def study(**changes: Any) -> Study:
    return Study.model_validate(MINIMAL | changes)


def refused(words: str, **changes: Any) -> None:
    with pytest.raises(ValidationError, match=words):
        study(**changes)


def test_the_least_one_can_say() -> None:
    asked = study()
    assert asked.seeds == (0, 1, 2)
    assert tuple(analysis.name for analysis in asked.analyses) == DEFAULT_ANALYSES
    assert not set(asked.seeds) & set(asked.training.tuning_seeds)


def test_json_and_back_is_the_same_study(tmp_path: Path) -> None:
    for changes in ({}, tiny.pretrained(tmp_path, checkpoint="best")):
        asked = tiny.study(tmp_path, changes)
        again = Study.model_validate_json(asked.model_dump_json())
        assert again == asked
        assert again.key == asked.key
        assert Study.model_validate(json.loads(json.dumps(asked.model_dump(mode="json")))) == asked


def test_settings_of_an_analysis_survive_json() -> None:
    asked = study(analyses=["distance", {"path": {"points": 7}}])
    written = asked.model_dump(mode="json")["analyses"]
    assert [list(each) for each in written] == [["distance"], ["path"]]
    assert written[1]["path"]["points"] == 7


@pytest.mark.parametrize(
    ("text", "weights"),
    [
        ("timm", TimmWeights()),
        ("package:efficientnet-lite0", PackageWeights(name="efficientnet-lite0")),
        ("folder/weights.pt", FileWeights(path="folder/weights.pt")),
    ],
)
def test_weights_in_words(text: str, weights: object) -> None:
    assert Source.model_validate({"architecture": "timm:resnet18", "weights": text}).weights == weights


def test_a_source_is_weights_or_a_pre_training() -> None:
    words = "give either weights or pretrain"
    pretrain = {"data": {"kind": "elpv"}}
    refused(words, source={"architecture": "timm:resnet18"})
    refused(words, source={"architecture": "timm:resnet18", "weights": "timm", "pretrain": pretrain})
    assert study(source={"architecture": "timm:resnet18", "pretrain": pretrain}).source.pretrain is not None


@pytest.mark.parametrize("epoch", [11, -1])
def test_a_pre_training_has_the_checkpoint_it_is_asked_for(epoch: int) -> None:
    pretrain = {"data": {"kind": "elpv"}, "checkpoint": epoch}
    words = "names an epoch from 0 to 10, got 11" if epoch > 0 else "greater than or equal to 0"
    refused(words, source={"architecture": "timm:resnet18", "pretrain": pretrain})


def test_report_seeds_never_tune() -> None:
    refused(r"tuning seeds are not report seeds: \[1\] are both", training={"tuning_seeds": [1, 1000]})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seeds": [0, 0]}, "seeds holds a seed twice"),
        ({"seeds": []}, "at least 1 item"),
        ({"training": {"tuning_seeds": [7, 7]}}, "tuning_seeds holds a seed twice"),
        ({"training": {"tuning_seeds": []}}, "at least 1 item"),
        ({"training": {"learning_rates": [0.1, 0.1]}}, "learning_rates holds a rate twice"),
        ({"training": {"learning_rates": []}}, "at least 1 item"),
        ({"training": {"learning_rates": [0.0]}}, "greater than 0"),
        ({"training": {"plateau_epochs": 10}}, r"plateau_epochs must be above recipe.epochs \(10\)"),
        ({"training": {"recipe": {"warmup_epochs": 10}}}, r"warmup_epochs \(10\) must be below epochs \(10\)"),
        ({"training": {"recipe": {"schedule": "one_cycle", "warmup_epochs": 1}}}, "one_cycle has its own warm-up"),
        ({"training": {"recipe": {"keep": [11]}}}, r"keep names epochs from 0 to 10, got \[11\]"),
        ({"training": {"recipe": {"batch_size": 1}}}, "greater than or equal to 2"),
        ({"analyses": ["distance", "distance"]}, "analyses holds the same analysis twice"),
        ({"analyses": ["distence"]}, "unknown analysis 'distence': did you mean 'distance'"),
        ({"analyses": [{"path": {"pionts": 7}}]}, r"path.pionts[\s\S]*did you mean 'points'"),
        ({"analyses": "distance"}, "valid tuple"),
        ({"name": "a/b"}, "match pattern"),
        ({"compute": {"executor": "ray"}}, "'serial' or 'processes'"),
        ({"compute": {"threads": 0}}, "greater than or equal to 1"),
        ({"target": {"data": {"kind": "elpv"}, "fraction": 0}}, "greater than 0"),
        ({"target": {"data": {"kind": "elpv"}, "image_size": 4}}, "greater than or equal to 8"),
        ({"target": {"data": {"kind": "elvp"}}}, "does not match any of the expected tags"),
        ({"sources": {}}, "Extra inputs are not permitted"),
    ],
)
def test_what_does_not_hold_together_is_refused(changes: dict[str, Any], words: str) -> None:
    refused(words, **changes)


def test_an_analysis_may_come_twice_with_other_settings() -> None:
    asked = study(analyses=["path", {"path": {"points": 7}}])
    assert len({analysis.key for analysis in asked.analyses}) == 2


def test_a_longer_training_to_the_plateau() -> None:
    assert study(training={"plateau_epochs": 11}).training.plateau_epochs == 11


def test_all_problems_come_at_once() -> None:
    with pytest.raises(ValidationError) as caught:
        study(name="a/b", seeds=[], training={"learning_rates": []})
    assert {".".join(map(str, problem["loc"])) for problem in caught.value.errors()} == {
        "name",
        "seeds",
        "training.learning_rates",
    }


def test_the_rule_that_chooses_rates_is_part_of_what_is_asked_and_the_old_one_changes_no_key() -> None:
    asked = study()
    assert asked.training.rate_rule == "one_standard_error"
    best = study(training={"rate_rule": "best"})
    assert asked.key != best.key
    # As before there was a rule: whoever asks for the best asks for what was done then.
    assert "rate_rule" not in best.training.identity()
    assert asked.training.identity() == {**best.training.identity(), "rate_rule": "one_standard_error"}
    refused("'one_standard_error' or 'best'", training={"rate_rule": "one_se"})
