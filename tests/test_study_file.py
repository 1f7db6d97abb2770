"""Reading and writing study files: what is understood, and that what is written reads the same."""

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.study_files import MINIMAL, STUDIES, write
from transferscope.data.sources import known_sources
from transferscope.specs.architecture import FileWeights, PackageWeights, TimmWeights
from transferscope.study.file import _PATHS, dump_study, load_study
from transferscope.study.registry import DEFAULT_ANALYSES
from transferscope.study.schema import setting_meanings
from transferscope.study.yaml import read_value, write_values

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
    assert load_study(write(tmp_path, text), allow_code=True).source.architecture.options == {
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


@pytest.mark.parametrize("text", STUDIES)
def test_what_is_written_reads_the_same(tmp_path: Path, text: str) -> None:
    study = load_study(write(tmp_path, text), allow_code=True)
    written = dump_study(study)
    (tmp_path / "elsewhere").mkdir()
    again = load_study(write(tmp_path / "elsewhere", written), allow_code=True)
    assert again == study
    assert dump_study(again) == written
    assert [analysis.key for analysis in again.analyses] == [analysis.key for analysis in study.analyses]


TEXTS = st.text(st.characters(blacklist_categories=["Cs", "Cc"]), max_size=12)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63) + 1, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
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
