"""The command ``score``: a table, JSON, bad options, and the study that confirms the first."""

import json
from pathlib import Path

import pytest

from tests.commands.calling import call
from tests.scores.test_score import SOURCES, TINY, pictures, written

OPTIONS = ("--architecture", TINY, "--image-size", "32", "--device", "cpu", "--quiet")


@pytest.fixture
def photos(here: Path) -> Path:
    written(here / "a.safetensors", 5, SOURCES)
    written(here / "b.safetensors", 6, SOURCES)
    return pictures(here / "photos", {"disc": 12, "square": 12})


def models(*names: str) -> list[str]:
    return [word for name in names for word in ("--model", name)]


def test_the_table_has_a_row_for_each_and_says_where_to_begin(photos: Path) -> None:
    said = ("--source-accuracy", "a.safetensors=0.5")
    out, _ = call("score", "photos", *models("a.safetensors", "b.safetensors", "random"), *said, *OPTIONS)
    lines = out.splitlines()
    assert lines[0].startswith("Scored on ")
    assert lines[1].startswith("Begin with ")
    assert "the expected loss against the best is" in lines[2]
    for name in ("a.safetensors", "b.safetensors", "random"):
        assert any(line.strip().startswith(name) for line in lines)
    # On a terminal of any width.
    assert "50.0" in out
    assert "no LEEP, no NCE of random: a random start has no source classes" in lines


def test_json_has_every_number_under_its_key(photos: Path) -> None:
    out, _ = call("score", "photos", *models("a.safetensors", "random"), *OPTIONS, "--json")
    found = json.loads(out)
    assert found["order"] == [item["name"] for item in found["candidates"]]
    keys = {row["quantity"] for row in found["numbers"]}
    assert {"linear", "knn", "logme", "h_score", "leep", "nce", "regret", "parameters", "step_seconds"} <= keys


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "nothing to rank"),
        ([*models("a.safetensors"), "--set", "seeds=[0]"], "target.data"),
        ([*models("a.safetensors"), "--source-accuracy", "0.7"], "MODEL=SHARE"),
        ([*models("a.safetensors"), "--source-accuracy", "c=0.7"], "of no candidate"),
        ([*models("a.safetensors"), "--output", "x.yaml"], "--confirm"),
        (models("c.safetensors"), "c.safetensors"),
    ],
)
def test_bad_options_are_named(photos: Path, arguments: list[str], words: str) -> None:
    _, err = call("score", "photos", *arguments, *OPTIONS, code=2)
    assert words in err


def test_the_study_that_confirms_the_first_can_be_planned(photos: Path) -> None:
    named = models("a.safetensors", "b.safetensors", "random")
    out, _ = call("score", "photos", *named, *OPTIONS, "--confirm", "3")
    file = Path("photos-confirm.yaml")
    assert f"run it:             transferscope run {file} --allow-code" in out
    from transferscope.study.file import load_study

    study = load_study(file, allow_code=True)
    (start,) = study.analyses
    assert start.name == "start"
    assert start.finalists == 3  # type: ignore[attr-defined]
    assert start.random_starts == "source"  # type: ignore[attr-defined]
    paths = {Path(study.source.weights.path).name, Path(start.candidates[0].weights.path).name}  # type: ignore[union-attr, attr-defined]
    assert paths == {"a.safetensors", "b.safetensors"}
    assert study.target.image_size == 32
    planned, _ = call("plan", str(file), "--allow-code")
    assert "start" in planned
    _, err = call("score", "photos", *named, *OPTIONS, "--confirm", "2", code=2)
    assert "exists already" in err


def test_random_starts_alone_have_nothing_to_fine_tune(photos: Path) -> None:
    _, err = call("score", "photos", *models(f"random:{TINY}"), *OPTIONS, "--confirm", "1", code=2)
    assert "nothing to fine-tune" in err
    assert not Path("photos-confirm.yaml").exists()
