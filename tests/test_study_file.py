"""Reading and writing study files: every problem, with its line, at once."""

import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, ValidationError

from transferscope.analyses.registry import ANALYSES, DEFAULT_ANALYSES, analysis_type, parse_analysis
from transferscope.data.sources import known_sources
from transferscope.errors import StudyError
from transferscope.networks.settings import FileWeights, PackageWeights, TimmWeights
from transferscope.study import Study, VariantRecipe
from transferscope.study_file import _PATHS, dump_study, load_study
from transferscope.study_problems import problems_of, shown
from transferscope.study_schema import _models, setting_meanings, study_reference, study_schema
from transferscope.study_yaml import read_document, read_value, write_values

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


# -- what is understood ---------------------------------------------------------------------------------


def test_minimal_study_gets_every_default(tmp_path: Path) -> None:
    study = load_study(write(tmp_path, MINIMAL))
    assert study.source.architecture.name == "timm:resnet18"
    assert study.source.weights == PackageWeights(name="efficientnet-lite0")
    assert [analysis.name for analysis in study.analyses] == list(DEFAULT_ANALYSES)
    assert study.seeds == (0, 1, 2)


def test_analyses_by_name_and_with_settings(tmp_path: Path) -> None:
    text = MINIMAL + "analyses:\n  - mistakes\n  - similarity: {granularity: stage}\n  - distance:\n"
    analyses = load_study(write(tmp_path, text)).analyses
    assert [analysis.name for analysis in analyses] == ["mistakes", "similarity", "distance"]
    assert analyses[1].granularity == "stage"  # type: ignore[attr-defined]  # a setting of similarity


@pytest.mark.parametrize(
    ("text", "weights"),
    [("timm", TimmWeights()), ("{kind: timm}", TimmWeights()), ("/w/a.pt", FileWeights(path="/w/a.pt"))],
)
def test_short_forms_of_weights(tmp_path: Path, text: str, weights: object) -> None:
    study = load_study(write(tmp_path, MINIMAL.replace("package:efficientnet-lite0", text)))
    assert study.source.weights == weights


def test_words_are_those_of_yaml_1_2(tmp_path: Path) -> None:
    text = MINIMAL.replace(
        "architecture: timm:resnet18",
        "architecture: {name: a.b:c, options: {rate: 1e-4, word: no, on: off, ten: 010, time: 1:30, "
        "hex: 0x1F, octal: 0o17, day: 2024-01-01, yes: True, none: ~, big: 1_000, quoted: '1'}}",
    )
    assert load_study(write(tmp_path, text)).source.architecture.options == {
        "rate": 1e-4,
        "word": "no",
        "on": "off",
        "ten": 10,
        "time": "1:30",
        "hex": 31,
        "octal": 15,
        "day": "2024-01-01",
        "yes": True,
        "none": None,
        "big": "1_000",
        "quoted": "1",
    }


def test_anchors_and_merges(tmp_path: Path) -> None:
    text = MINIMAL + ("training:\n  recipe: &recipe {epochs: 3, batch_size: 8}\n")
    text = text.replace(
        "  weights: package:efficientnet-lite0\n",
        "  pretrain:\n    data: {kind: elpv}\n    recipe: "
        "{epochs: 7, <<: [&a {epochs: 1, batch_size: 4}, {mixup: 0.5}]}\n",
    )
    study = load_study(write(tmp_path, text + "  tuning_seeds: &s [9]\nseeds: [1]\n"))
    assert study.source.pretrain is not None
    recipe = study.source.pretrain.recipe
    assert (recipe.epochs, recipe.batch_size, recipe.mixup) == (7, 4, 0.5)


def test_byte_order_mark_and_windows_lines(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + MINIMAL.replace("\n", "\r\n").encode())
    assert load_study(path).name == "cells"


# -- paths ----------------------------------------------------------------------------------------------


def test_paths_start_at_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "here").mkdir()
    text = MINIMAL.replace("{kind: elpv}", "{kind: folder, path: ../pictures}")
    path = write(tmp_path / "there", text.replace("package:efficientnet-lite0", "w/a.safetensors"))
    monkeypatch.chdir(tmp_path / "here")
    study = load_study(path)
    assert study.target.data.path == str(tmp_path / "pictures")  # type: ignore[union-attr]  # it is a Folder
    assert study.source.weights == FileWeights(path=str(tmp_path / "there" / "w" / "a.safetensors"))
    assert load_study(Path("../there/study.yaml")) == study


def test_paths_of_overrides_start_where_they_are_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    path = write(tmp_path, MINIMAL.replace("{kind: elpv}", "{kind: folder, path: pictures}"))
    monkeypatch.chdir(tmp_path / "here")
    study = load_study(path, ["target.data.path=mine", "source.weights=a.pt"])
    assert study.target.data.path == str(tmp_path / "here" / "mine")  # type: ignore[union-attr]  # it is a Folder
    assert study.source.weights == FileWeights(path=str(tmp_path / "here" / "a.pt"))
    study = load_study(path, ["target.data={kind: torchvision, name: CIFAR10}"])
    assert study.target.data.root == str(tmp_path / "here" / "data")  # type: ignore[union-attr]  # torchvision's


def test_home_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    study = load_study(write(tmp_path, MINIMAL.replace("package:efficientnet-lite0", "~/a.pt")))
    assert study.source.weights == FileWeights(path="/home/me/a.pt")


def test_every_setting_that_sounds_like_a_path_is_known_as_one() -> None:
    for kind in [*known_sources().values(), FileWeights]:
        for name, meaning in setting_meanings(kind).items():
            says = re.match(r"(the |a )?(file|folder)\b", meaning)
            assert bool(says) == (name in _PATHS.get(kind, ())), f"{kind.__name__}.{name}: {meaning}"


# -- round trip -----------------------------------------------------------------------------------------

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


@pytest.mark.parametrize("text", STUDIES)
def test_what_is_written_reads_the_same(tmp_path: Path, text: str) -> None:
    study = load_study(write(tmp_path, text))
    written = dump_study(study)
    (tmp_path / "elsewhere").mkdir()
    again = load_study(write(tmp_path / "elsewhere", written))
    assert again == study
    assert dump_study(again) == written
    assert [analysis.key for analysis in again.analyses] == [analysis.key for analysis in study.analyses]


TEXTS = st.text(st.characters(blacklist_categories=["Cs", "Cc"]), max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@settings(derandomize=True, deadline=None, max_examples=80)
@given(st.dictionaries(TEXTS.filter(lambda name: name != "<<"), VALUES, min_size=1, max_size=3))
def test_any_values_survive_writing_and_reading(values: dict[str, object]) -> None:
    written = write_values({"value": values})
    assert read_value(written) == {"value": values}


@settings(derandomize=True, deadline=None, max_examples=80)
@given(TEXTS)
def test_texts_are_safe_for_readers_of_yaml_1_1_too(text: str) -> None:
    assert yaml.safe_load(write_values({"text": text})) == {"text": text}


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
        "line 8, target.image_sise: there is no such setting; did you mean 'image_size'?",
        "line 9, target.metric: expected 'auto', 'top1', 'top5' or 'auc', got 'top2'; did you mean 'top5'",
        "line 11, target.splits.test: expected a number below 1, got 2",
        "line 13, training.recipe.epochs: expected a whole number, got 'ten'",
        "line 13, training.recipe.keep.1: expected a whole number, got 'a'",
        "line 13, training.recipe.momentun: there is no such setting; did you mean 'momentum'",
        "line 14, training.learning_rates: expected at least one item, got []",
        "line 17, seeds.1: expected a whole number, got 0.5",
        "line 20, analyses.1: there is no analysis 'simmilarity'; did you mean 'similarity' or 'similarity_by_size'",
        "line 21, analyses.2.similarity.granularity: expected 'stage', 'block' or 'layer', got 'blok'; did you mean",
        "line 21, analyses.2.similarity.images: there is no such setting; did you mean 'test_images' or 'maps'",
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
        (b"a: " + b"[" * 1500, "nested too deeply"),
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
    assert "more than 100000 values" in error_of(tmp_path, "\n".join(lines))


def test_architecture_is_not_looked_up_in_a_study_without_problems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transferscope.study_file._architecture_problems", lambda values: pytest.fail("asked"))
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


# -- overrides ------------------------------------------------------------------------------------------


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
        ("target.image_sise=5", "target.image_sise: there is no such setting; did you mean 'image_size'?"),
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


# -- the registry -----------------------------------------------------------------------------------------


def test_settings_of_an_analysis_that_are_no_mapping_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"path\.: Input should be a valid dictionary"):
        parse_analysis({"path": [1]})


# -- schema and reference -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    schema = study_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("text", STUDIES)
def test_schema_accepts_what_is_read(tmp_path: Path, validator: jsonschema.Draft202012Validator, text: str) -> None:
    path = write(tmp_path, text)
    validator.validate(read_document(path).values)
    validator.validate(yaml.safe_load(dump_study(load_study(path))))


@pytest.mark.parametrize(
    "change",
    [
        "analyses: [simmilarity]\n",
        "analyses: [similarity: {granularity: blok}]\n",
        "analyses: [{path: {}, mistakes: {}}]\n",
        "training: {recipe: {epoch: 3}}\n",
        "extra: 1\n",
    ],
)
def test_schema_refuses_what_is_refused(
    tmp_path: Path, validator: jsonschema.Draft202012Validator, change: str
) -> None:
    path = write(tmp_path, MINIMAL + change)
    with pytest.raises(StudyError):
        load_study(path)
    assert not validator.is_valid(read_document(path).values)


def test_schema_tells_the_meaning_of_each_setting_and_resolves_every_reference() -> None:
    schema = study_schema()
    text = json.dumps(schema)
    for name in re.findall(r'"#/\$defs/(\w+)"', text):
        assert name in schema["$defs"]
    assert schema["$defs"]["Target"]["properties"]["image_size"]["description"] == "height and width in pixels."
    for name in ANALYSES:
        assert analysis_type(name).question in text


def test_every_setting_has_a_meaning() -> None:
    for model in _models():
        missing = set(model.model_fields) - set(setting_meanings(model)) - {"kind"}
        assert not missing, f"{model.__name__}: no meaning in the docstring for {sorted(missing)}"


def test_reference_page_is_up_to_date() -> None:
    page = Path(__file__).parents[1] / "docs" / "study.md"
    assert page.read_text(encoding="utf-8") == study_reference(), (
        "write it again: transferscope schema --markdown > docs/study.md"
    )


def test_example_of_the_reference_page_is_a_study(tmp_path: Path) -> None:
    example = re.search(r"```yaml\n(.*?)```", study_reference(), re.DOTALL)
    assert example is not None
    assert load_study(write(tmp_path, example[1])).name == "solar-cells"


def test_recipe_of_a_study_refuses_what_a_recipe_refuses() -> None:
    for field in ("momentum", "label_smoothing", "mixup", "weight_decay", "warmup_epochs", "divergence_loss"):
        with pytest.raises(ValidationError, match=field):
            VariantRecipe.model_validate({field: -1})
    assert Study.model_fields["training"].default.recipe == VariantRecipe()
