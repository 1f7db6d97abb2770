"""Candidates ranked: scores against literal ones on features found by hand, blind to test images, odd input."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import transferscope
from benchmarks._planted import drawn
from tests.look.nets import tiny
from tests.reference import transferability_reference as literal
from transferscope.data.sources import Arrays
from transferscope.errors import ArchitectureError, DataError, MeasureError, StudyError, WeightsError
from transferscope.measures import arm_metrics, expected_regret
from transferscope.networks.architectures import IMAGENET_MEAN, IMAGENET_STD, build
from transferscope.networks.weight_files import write_state
from transferscope.report.score_words import missing_lines, preparation_lines, sentences, table_of
from transferscope.scores.result import Scores
from transferscope.scores.score import ScoreSettings, score_candidates
from transferscope.specs.architecture import Architecture

TINY = "tests.look.nets:tiny"
SOURCES = 5


def pictures(folder: Path, counts: dict[str, int], first: int = 0) -> Path:
    for kind, (name, count) in enumerate(counts.items()):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(first, first + count):
            drawn(kind, number, 32).save(folder / name / f"{number}.png")
    return folder


def written(file: Path, seed: int, classes: int = SOURCES) -> Path:
    write_state(file, dict(build(Architecture(name=TINY), classes, seed).state_dict()), {})
    return file


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    written(folder / "a.safetensors", 5)
    written(folder / "b.safetensors", 6)
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos") / "photos"
    for start, (split, count) in enumerate({"train": 16, "validation": 6, "test": 6}.items()):
        pictures(folder / split, {"disc": count, "square": count, "stripes": count}, 100 * start)
    return folder


def asked(*models: Path | str, **changes: object) -> ScoreSettings:
    return replace(
        ScoreSettings(tuple(map(str, models)), architecture=TINY, image_size=32, device="cpu"),
        **changes,  # type: ignore[arg-type]
    )


def without_times(found: Scores) -> list[dict[str, object]]:
    return [row for row in found.as_json()["numbers"] if row["unit"] != "s"]


@pytest.fixture(scope="module")
def ranked(photos: Path, weights: Path) -> Scores:
    return score_candidates(photos, asked(weights, "random"))


def by_hand(photos: Path, file: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, probabilities of the source head and labels of the training images, in no other code than PIL's."""
    from safetensors.torch import load_file

    network = tiny(SOURCES)
    network.load_state_dict(load_file(file))
    network.eval()
    rows, labels = [], []
    for label, kind in enumerate(sorted(item.name for item in (photos / "train").iterdir())):
        for picture in sorted((photos / "train" / kind).iterdir()):
            rows.append(np.asarray(Image.open(picture)))
            labels.append(label)
    x = torch.from_numpy(np.stack(rows)).permute(0, 3, 1, 2) / 255
    x = (x - torch.tensor(IMAGENET_MEAN)[:, None, None]) / torch.tensor(IMAGENET_STD)[:, None, None]
    with torch.no_grad():
        features = network[:-1](x)
        theta = network[-1](features).double().softmax(1)
    return features.double().numpy(), theta.numpy(), np.array(labels)


def test_scores_are_those_of_features_found_by_hand(photos: Path, weights: Path, ranked: Scores) -> None:
    file = weights / "b.safetensors"
    features, theta, labels = by_hand(photos, file)
    found = {item.quantity: item.value for one in ranked.candidates if one.name == str(file) for item in one.numbers}
    assert found["logme"] == pytest.approx(literal.logme(features, np.eye(3)[labels]), abs=1e-5)
    assert found["h_score"] == pytest.approx(literal.h_score(features, labels)[0], rel=1e-4)
    assert found["leep"] == pytest.approx(literal.leep(theta, labels), abs=1e-5)
    assert found["nce"] == pytest.approx(literal.nce(theta.argmax(1), labels), abs=1e-9)
    assert found["sources"] == SOURCES
    assert found["parameters"] == 12 * 3 * 25 + 12
    assert found["step_seconds"] > 0  # type: ignore[operator]


def test_a_folder_of_several_networks_gives_as_many_candidates(weights: Path, ranked: Scores) -> None:
    names = {one.name for one in ranked.candidates}
    assert names == {str(weights / "a.safetensors"), str(weights / "b.safetensors"), "random"}
    drawn_one = next(one for one in ranked.candidates if one.name == "random")
    assert (drawn_one.facts.start, drawn_one.weights, drawn_one.value("leep")) == ("random", "", None)
    leep = drawn_one.find("leep")
    assert leep is not None
    assert "no source classes" in leep.note


def test_the_order_is_that_of_the_probe_whatever_was_named_first(photos: Path, weights: Path, ranked: Scores) -> None:
    probes = ranked.table["linear"].to_list()
    assert probes == sorted(probes, reverse=True)
    files = [weights / "b.safetensors", weights / "a.safetensors"]
    again = score_candidates(photos, asked(*files, "random"))
    assert again.table.drop("step_seconds").equals(ranked.table.drop("step_seconds"))


def test_the_expected_loss_is_of_the_probes_and_falls_with_what_is_confirmed(ranked: Scores, photos: Path) -> None:
    lost = ranked.find("regret", confirmed=1)
    assert lost is not None
    assert ranked.find("regret", confirmed=3) is None  # of three candidates: nothing is left out
    assert 0 <= lost.value <= lost.high  # type: ignore[operator]
    chances = ranked.table["probability_best"].to_list()
    # Of draws in which two are equally the best both count.
    assert 1 - 1e-9 <= sum(chances) < 1.2
    more = score_candidates(photos, asked(*[one.name for one in ranked.candidates], confirm=2))
    two = more.find("regret", confirmed=2)
    assert two is not None
    assert two.value <= lost.value  # type: ignore[operator]
    assert more.find("regret", confirmed=1).value == lost.value  # type: ignore[union-attr]


def test_neither_test_nor_validation_images_have_a_say(
    tmp_path: Path, photos: Path, weights: Path, ranked: Scores
) -> None:
    import shutil

    other = tmp_path / "photos"
    shutil.copytree(photos / "train", other / "train")
    for split in ("validation", "test"):  # other pictures, under each other's labels
        for kind, name in enumerate(("stripes", "disc", "square")):
            pictures(other / split, {name: 0})
            for number in range(4):
                drawn(kind + 3, 500 + number, 32).save(other / split / name / f"{number}.png")
    changed = score_candidates(other, asked(weights, "random"))
    of_choice = [found.find("regret", confirmed=1) for found in (changed, ranked)]
    assert of_choice[0] == of_choice[1]
    assert changed.table.drop("step_seconds").equals(ranked.table.drop("step_seconds"))
    assert ranked.split == "given"
    assert ranked.find("images").value == 48  # type: ignore[union-attr]


def test_where_the_data_name_no_splits_those_of_a_study_are_kept_out(tmp_path: Path, weights: Path) -> None:
    folder = pictures(tmp_path / "photos", {"disc": 10, "square": 10})
    found = score_candidates(folder, asked(weights / "a.safetensors"))
    assert found.split == "divided"
    images = found.find("images")
    assert images is not None
    assert 10 <= images.value < 14  # type: ignore[operator]  # 25 % to test, 15 % of the rest to choose by
    assert images.n == 20
    assert len(found.candidates) == 1
    assert "nothing to choose" in sentences(found)[1]
    assert len(sentences(found)) == 2


def test_the_same_twice(photos: Path, ranked: Scores) -> None:
    again = score_candidates(photos, asked(*[one.name for one in ranked.candidates]))
    assert without_times(again) == without_times(ranked)


def test_each_number_has_a_key_and_the_answer_is_json(ranked: Scores) -> None:
    rows = json.loads(json.dumps(ranked.as_json()))["numbers"]
    keys = [tuple((name, row.get(name)) for name in ("quantity", "candidate", "confirmed", "phase")) for row in rows]
    assert len(set(keys)) == len(keys)
    assert all(row["name"] for row in rows)


def test_several_labels_at_once_are_scored_label_by_label(tmp_path: Path, weights: Path) -> None:
    images = np.stack([np.asarray(drawn(k % 4, k, 32)) for k in range(60)])
    labels = np.stack([np.arange(60) % 2, np.arange(60) % 4 > 1], axis=1).astype(np.uint8)
    Arrays.save(tmp_path / "arrays", images, labels)
    found = score_candidates(tmp_path / "arrays", asked(weights / "a.safetensors", "random"))
    assert found.metric == "auc"
    first = found.candidates[0]
    each = [item for item in first.numbers if item.quantity == "logme_label"]
    assert np.mean([item.value for item in each]) == pytest.approx(first.value("logme"))  # type: ignore[arg-type]
    probes = [item for item in first.numbers if item.quantity == "linear_label"]
    assert np.mean([item.value for item in probes]) == pytest.approx(first.value("linear"))  # type: ignore[arg-type]
    for key in ("h_score", "leep", "nce"):
        item = first.find(key)
        assert item is not None
        assert item.value is None
        assert "several labels" in item.note
    assert any("several labels" in line for line in missing_lines(found))


def test_images_are_prepared_as_each_candidate_declares(tmp_path: Path) -> None:
    import timm
    from torchvision import transforms

    for start, split in enumerate(("train", "validation", "test")):
        for kind, name in enumerate(("disc", "square")):
            (tmp_path / "photos" / split / name).mkdir(parents=True)
            for number in range(6 if start == 0 else 2):
                picture = drawn(kind, 100 * start + number, 200)
                picture.save(tmp_path / "photos" / split / name / f"{number}.png")
    small = "timm:test_resnet"
    found = score_candidates(tmp_path / "photos", ScoreSettings((f"random:{small}", f"random:{TINY}"), device="cpu"))
    one, other = sorted(found.candidates, key=lambda each: each.name, reverse=True)
    declared = timm.models.get_pretrained_cfg("test_resnet")
    size = declared.input_size[-1]
    assert (one.facts.used.size, one.facts.used.crop) == (size, pytest.approx(declared.crop_pct, abs=0.005))
    assert (other.facts.declared.size, other.facts.used.crop) == (None, 1.0)  # the images as they were read
    prepare = transforms.Compose(
        [
            transforms.Resize(round(size / declared.crop_pct), transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(size),
            transforms.ToTensor(),
            transforms.Normalize(declared.mean, declared.std),
        ]
    )
    files = [sorted((tmp_path / "photos" / "train" / name).iterdir()) for name in ("disc", "square")]
    x = torch.stack([prepare(Image.open(file)) for part in files for file in part])
    network = build(Architecture(name=small), 2, 0).eval()
    with torch.no_grad():
        features = network.forward_head(network.forward_features(x), pre_logits=True).double().numpy()
    assert one.value("logme") == pytest.approx(literal.logme(features, np.eye(2)[np.repeat([0, 1], 6)]), abs=1e-4)
    assert found.unlike
    assert any("unlike size" in line for line in sentences(found))
    assert any("it declares no size" in line for line in preparation_lines(found))


# -- bad input -----------------------------------------------------------------------------------------------


def test_candidates_that_cannot_be_used_are_named_before_an_image_is_read(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transferscope.networks.weights.fitting", lambda tables: [])  # forty networks: seconds
    nowhere = tmp_path / "no-photos"
    good = weights / "a.safetensors"
    other = tmp_path / "other.safetensors"
    write_state(other, {"weight": torch.ones(3, 3)}, {})
    with pytest.raises(WeightsError, match="do not fit"):
        score_candidates(nowhere, asked(good, other))
    with pytest.raises(WeightsError, match="no weights for the candidate") as caught:
        score_candidates(nowhere, asked("timm:test_vit"))
    assert "random:timm:test_vit" in str(caught.value.hint)
    with pytest.raises(ArchitectureError):
        score_candidates(nowhere, asked("random:timm:resnet81"))
    with pytest.raises(StudyError, match="nothing to rank"):
        score_candidates(nowhere, asked())
    with pytest.raises(StudyError, match="which network the random one is"):
        score_candidates(nowhere, asked("random"))
    with pytest.raises(StudyError, match="of no candidate"):
        score_candidates(nowhere, asked(good, source_accuracy={"resnet": 0.5}))
    with pytest.raises(StudyError, match="is a share"):
        score_candidates(nowhere, asked(good, source_accuracy={str(good): 75.0}))
    with pytest.raises(DataError):
        score_candidates(nowhere, asked(good))


def test_too_few_images_are_an_error_and_classes_in_one_fold_are_counted(tmp_path: Path, weights: Path) -> None:
    good = weights / "a.safetensors"
    few = pictures(tmp_path / "few" / "train", {"disc": 1, "square": 1}).parent
    pictures(few / "test", {"disc": 1, "square": 1}, 50)
    pictures(few / "validation", {"disc": 1, "square": 1}, 60)
    with pytest.raises(DataError, match="cannot be scored"):
        score_candidates(few, asked(good))
    uneven = pictures(tmp_path / "uneven" / "train", {"disc": 12, "square": 12, "stripes": 1}).parent
    for start, split in enumerate(("validation", "test")):
        pictures(uneven / split, {"disc": 2, "square": 2, "stripes": 1}, 50 * (1 + start))
    found = score_candidates(uneven, asked(good))
    assert found.find("classes_torn").value == 1  # type: ignore[union-attr]
    assert "all lie in one fold: 1" in sentences(found)[0]


def test_features_that_are_not_finite_name_the_candidate(photos: Path, tmp_path: Path) -> None:
    state = dict(build(Architecture(name=TINY), SOURCES, 0).state_dict())
    name = next(iter(state))
    write_state(tmp_path / "huge.safetensors", {**state, name: torch.full_like(state[name], 3e38)}, {})
    with pytest.raises((MeasureError, WeightsError), match=r"huge\.safetensors"):
        score_candidates(photos, asked(tmp_path / "huge.safetensors"))


def test_weights_without_a_head_have_no_source_classes(photos: Path, tmp_path: Path) -> None:
    state = dict(build(Architecture(name=TINY), SOURCES, 0).state_dict())
    torch.save({key: value for key, value in state.items() if not key.startswith("4.")}, tmp_path / "trunk.pt")
    found = score_candidates(photos, asked(tmp_path / "trunk.pt"))
    leep = found.candidates[0].find("leep")
    assert leep is not None
    assert (leep.value, leep.note) == (None, "the weights have no head")


# -- Python and words ----------------------------------------------------------------------------------------


def test_the_function_of_python_gives_the_same(photos: Path, weights: Path, ranked: Scores) -> None:
    found = transferscope.score(
        photos,
        [str(weights), "random"],
        architecture=TINY,
        image_size=32,
        device="cpu",
        source_accuracy={"random": 0.1},
    )
    assert found.table.drop("step_seconds", "source_accuracy").equals(
        ranked.table.drop("step_seconds", "source_accuracy")
    )
    assert found.find("source_accuracy", candidate="random").value == 0.1  # type: ignore[union-attr]
    assert repr(found).startswith("Scores(")


def test_columns_without_values_are_left_out(ranked: Scores) -> None:
    columns, rows = table_of(ranked)
    assert "#source" not in columns
    assert "#LEEP" in columns
    assert all(len(row) == len(columns) for row in rows)


def test_the_chance_of_each_is_that_of_the_probes_held_out_scores() -> None:
    """The regret among arms of the same examples: by a closed form for two."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(200) % 2
    scores = [torch.randn(200, 2, generator=generator, dtype=torch.float64) for _ in range(2)]
    metrics = arm_metrics([[each] for each in scores], labels, "top1", draws=4000)
    found = expected_regret(metrics.means, metrics.covariance, 200, chosen=0)
    gap = metrics.means[0] - metrics.means[1]
    spread = float(np.sqrt(metrics.covariance[0, 0] + metrics.covariance[1, 1] - 2 * metrics.covariance[0, 1]))
    assert found.probability_best == pytest.approx(float(torch.special.ndtr(torch.tensor(gap / spread))), abs=0.02)
