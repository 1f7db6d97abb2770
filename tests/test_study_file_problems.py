"""Problems of study files: every one, with its line, at once."""

from pathlib import Path

import pytest
from pydantic import BaseModel, Field, ValidationError

from tests.study_files import MINIMAL, error_of, write
from transferscope.errors import StudyError
from transferscope.study.file import load_study
from transferscope.study.problems import problems_of, shown
from transferscope.study.registry import parse_analysis

# -- problems -------------------------------------------------------------------------------------------


def test_all_problems_at_once_with_place_line_and_nearest_name(tmp_path: Path) -> None:
    text = """\
name: a b
source:
  architecture: timm:resnet19
  weights: {kind: pakage}
target:
  data: {kind: foldr, path: x}
  image_size: 4
  image_sise: 64
  metric: top2
  splits:
    test: 2
training:
  recipe: {epochs: ten, keep: [1, a], momentun: 0.8}
  learning_rates: []
seeds:
  - 0
  - 0.5
analyses:
  - mistakes
  - simmilarity
  - similarity: {granularity: blok, images: 3}
  - {mistakes: {}, path: {}}
  - 5
extra: 1
"""
    error = error_of(tmp_path, text, "target.fraction=2", "seeds.9=1")
    assert f"the study {tmp_path / 'study.yaml'} has 21 problems:" in error
    for line in (
        "line 1, name: expected letters, digits, '.', '_' and '-', at most 64, got 'a b'",
        "line 3, source.architecture: timm has no architecture named 'resnet19'; did you mean 'resnet18'",
        "line 4, source.weights.kind: there is no kind 'pakage'; did you mean 'package'?",
        "line 6, target.data.kind: there is no kind 'foldr'; did you mean 'folder'",
        "line 7, target.image_size: expected a number of at least 8, got 4",
        "line 8, target.image_sise: there is no such setting; did you mean 'image_size' or 'max_pixels'?",
        "line 9, target.metric: expected 'auto', 'top1', 'top5' or 'auc', got 'top2'; did you mean 'top5'",
        "line 11, target.splits.test: expected a number below 1, got 2",
        "line 13, training.recipe.epochs: expected a whole number, got 'ten'",
        "line 13, training.recipe.keep.1: expected a whole number, got 'a'",
        "line 13, training.recipe.momentun: there is no such setting; did you mean 'momentum'",
        "line 14, training.learning_rates: expected at least one item, got []",
        "line 17, seeds.1: expected a whole number, got 0.5",
        "line 20, analyses.1: there is no analysis 'simmilarity'; did you mean 'similarity' or 'similarity_by_size'",
        "line 21, analyses.2.similarity.granularity: expected 'stage', 'block' or 'layer', got 'blok'; did you mean",
        "line 21, analyses.2.similarity.images: there is no such setting; did you mean 'test_images'",
        "line 22, analyses.3: expected the name of an analysis, or one 'name: {settings}', got settings",
        "line 23, analyses.4: expected the name of an analysis, or one 'name: {settings}', got 5",
        "line 24, extra: there is no such setting",
        "--set seeds.9=1: seeds has 2 items, counted from 0: there is no item 9",
        "--set target.fraction=2, target.fraction: expected a number of at most 1, got 2",
    ):
        if line not in error:
            pytest.fail(f"{line!r} is not in\n{error}")
    assert "do:" in error


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("name: cells\n", "", "name: expected a value, but the setting is missing"),
        ("name: cells", "name: 5", "line 1, name: expected text, got 5 (write it in quotes)"),
        ("name: cells", "name:", "line 1, name: expected text, got nothing (remove the name, or give it a value)"),
        ("{kind: elpv}", "elpv", "line 6, target.data: expected settings, as 'name: value', got 'elpv'"),
        ("{kind: elpv}", "{cells: mono}", "line 6, target.data.kind: expected one of elpv, folder"),
        ("{kind: elpv}", "{kind: elpv, cells: polly}", "line 6, target.data.cells: expected 'all', 'mono' or 'poly'"),
        ("{kind: elpv}", "{kind: folder}", "line 6, target.data.path: expected a value"),
        ("{kind: elpv}", "{kind: folder, path: x, group: '('}", "line 6, target.data.group: not a regular expression"),
        ("{kind: elpv}", "{kind: arrays, images: a, classes: 3}", "target.data.classes: expected a list, got 3"),
        ("{kind: elpv}\n", "{kind: elpv}\nseeds: [1, 1]\n", "seeds holds a seed twice"),
        ("{kind: elpv}\n", "{kind: elpv}\nseeds: [1000]\n", "tuning seeds are not report seeds"),
        ("{kind: elpv}\n", "{kind: elpv}\nseeds: 3\n", "line 7, seeds: expected a list, got 3"),
        ("{kind: elpv}\n", "{kind: elpv}\n  fraction: .nan\n", "line 7, target.fraction: expected a finite number"),
        (
            "{kind: elpv}\n",
            "{kind: elpv}\n  fraction: 0\n",
            "line 7, target.fraction: expected a number above 0, got 0",
        ),
        ("{kind: elpv}\n", "{kind: elpv}\n  fraction: [1]\n", "line 7, target.fraction: expected a number, got [1]"),
        (
            "{kind: elpv}\n",
            "{kind: elpv}\ntraining: {rate_rule: bset}\n",
            "line 7, training.rate_rule: expected 'one_standard_error' or 'best', got 'bset'; did you mean 'best'",
        ),
        ("{kind: elpv}\n", "{kind: elpv}\nanalyses: path\n", "line 7, analyses: expected a list, got 'path'"),
        ("{kind: elpv}\n", "{kind: elpv}\nanalyses: [path, path]\n", "analyses holds the same analysis twice"),
        (
            "{kind: elpv}\n",
            "{kind: elpv}\nanalyses: [path: [1]]\n",
            "line 7, analyses.0.path: expected settings, as 'name: value', got [1]",
        ),
        (
            "{kind: elpv}\n",
            "{kind: elpv}\ntraining: {recipe: {nesterov: maybe}}\n",
            "line 7, training.recipe.nesterov: expected true or false, got 'maybe'",
        ),
        (
            "{kind: elpv}\n",
            "{kind: elpv}\ntraining: {recipe: {module_rates: 3}}\n",
            "line 7, training.recipe.module_rates: expected settings, as 'name: value', got 3",
        ),
        (
            "{kind: elpv}\n",
            "{kind: elpv}\ntraining: {recipe: {module_rates: {a.b: x}}}\n",
            "line 7, training.recipe.module_rates.a.b: expected a number, got 'x'",
        ),
        (
            "{kind: elpv}\n",
            "{kind: elpv}\ntraining: {recipe: {keep: 3}}\n",
            "line 7, training.recipe.keep: expected 'none' or 'all' or a list, got 3",
        ),
        (
            "{kind: elpv}\n",
            "{kind: elpv}\ntraining: {recipe: {keep: [99]}}\n",
            "line 7, training.recipe: keep names epochs from 0 to 10, got [99]",
        ),
        (
            "{kind: elpv}\n",
            "{kind: elpv}\ntraining: {recipe: {warmup_epochs: 10}}\n",
            "line 7, training.recipe: warmup_epochs (10) must be below epochs (10)",
        ),
        (
            "{kind: elpv}\n",
            "{kind: elpv}\ntraining: {recipe: {schedule: one_cycle, warmup_epochs: 1}}\n",
            "line 7, training.recipe: one_cycle has its own warm-up",
        ),
        ("  weights: package:efficientnet-lite0\n", "", "line 2, source: give either weights or pretrain"),
        (
            "weights: package:efficientnet-lite0",
            "pretrain: {data: {kind: elpv}, checkpoint: first}",
            "line 4, source.pretrain.checkpoint: expected a whole number or 'last' or 'best', got 'first'",
        ),
        ("package:efficientnet-lite0", "{kind: file, path: [a]}", "line 4, source.weights.path: expected text"),
        ("target:\n", "target:\n  data: {kind: elpv}\n", "line 7, target.data: given twice: already in line 6"),
        ("name: cells", "name: !!python/name:os.system cells", "line 1, name: the tag '!!python/name:os.system'"),
        ("{kind: elpv}", "!mine {kind: elpv}", "line 6, target.data: the tag '!mine' is not understood"),
        ("{kind: elpv}", "!!set {kind: elpv}", "line 6, target.data: the tag '!!set' is not understood"),
        ("name: cells", "name: !!int x", "line 1, name: 'x' is not what the tag '!!int' says"),
        ("name: cells", "name: !!seq [cells]", "line 1, name: expected text"),
        ("name: cells", "name: !!map [cells]", "line 1, name: the tag '!!map' is not understood"),
        ("name: cells", "? [a]\n: b\nname: cells", "line 1, the study: expected a name before ':'"),
        ("name: cells", "name: &n [*n]", "line 1, name.0: an alias that contains itself"),
        ("name: cells", "<<: 5\nname: cells", "line 1, the study: '<<' merges settings only"),
    ],
)
def test_each_problem(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = MINIMAL.replace(old, new, 1)
    assert text != MINIMAL
    assert message in error_of(tmp_path, text)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"# only a comment\n", "is empty"),
        (b"- a\n", "is not a list of settings\n.*\n  got:      a list"),
        (b"text\n", "is not a list of settings\n.*\n  got:      'text'"),
        (b"name: a: b\n", r"line 1, column 8: this is not YAML: mapping values are not allowed here"),
        (b"name: x\n\tb: 1\n", r"line 2, column 1: this is not YAML: .* a tab \(indent with spaces\)"),
        (b"a: 1\n---\nb: 2\n", "this is not YAML: expected a single document"),
        (b"a: *unknown\n", "undefined alias 'unknown'"),
        (b"a: " + b"[" * 1500, r"line 1, column 55: this is nested too deeply"),
        (b"\xff\xfea", "is not a text file in UTF-8\n.*\n  got:      byte 0xff"),
    ],
)
def test_files_that_are_no_study(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "study.yaml"
    path.write_bytes(content)
    with pytest.raises(StudyError, match=message):
        load_study(path)


def test_missing_file_offers_the_nearest(tmp_path: Path) -> None:
    write(tmp_path, MINIMAL)
    with pytest.raises(StudyError, match=r"no study file .*studdy.yaml\n.*did you mean 'study.yaml'"):
        load_study(tmp_path / "studdy.yaml")
    with pytest.raises(StudyError, match="transferscope init FOLDER"):
        load_study(tmp_path / "nowhere" / "study.yaml")


def test_folder_in_place_of_a_file(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"is a folder\n.*\n.*transferscope init"):
        load_study(tmp_path)


def test_unreadable_file(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="cannot be read"):
        load_study(write(tmp_path, MINIMAL) / "below")


def test_alias_bomb_ends(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert "more than 30000 values" in error_of(tmp_path, "\n".join(lines))


def test_architecture_is_not_looked_up_in_a_study_without_problems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transferscope.study.file._architecture_problems", lambda values: pytest.fail("asked"))
    load_study(write(tmp_path, MINIMAL))


def test_pydantic_errors_without_a_word_of_ours_keep_pydantics() -> None:
    class Model(BaseModel):
        when: int = Field(multiple_of=2)
        pair: tuple[int, str] = (1, "a")
        few: list[int] = Field(default=[], max_length=1)

    with pytest.raises(ValidationError) as caught:
        Model.model_validate({"when": 3, "pair": ["x", 1], "few": [1, 2]})
    assert [str(problem) for problem in problems_of(caught.value, Model)] == [
        "when: Input should be a multiple of 2, got 3",
        "pair.0: expected a whole number, got 'x'",
        "pair.1: expected text, got 1 (write it in quotes)",
        "few: expected at most 1 items, got [1, 2]",
    ]


def test_long_values_are_cut() -> None:
    assert len(shown("x" * 500)) == 60


# -- the registry -----------------------------------------------------------------------------------------


def test_settings_of_an_analysis_that_are_no_mapping_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"path\.: Input should be a valid dictionary"):
        parse_analysis({"path": [1]})
