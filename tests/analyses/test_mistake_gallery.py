"""Which images are shown for which mistakes, and what is said of them."""

import csv
import io
import json
from types import SimpleNamespace

import numpy as np
import pytest

from tests.analyses.test_mistake_levels import untrained
from tests.studies import Diverging
from transferscope.analyses.contract import Task
from transferscope.analyses.mistakes.analysis import MistakesAnalysis
from transferscope.analyses.mistakes.gallery import GROUPS, chosen, mistake_gallery, wrong_shares
from transferscope.analyses.mistakes.thumbnails import embedded_size
from transferscope.analyses.predictions import Judgements

NAMES = ("cat", "dog", "emu")


class Pictures:
    """Ten pictures of one colour each."""

    names = tuple(f"set/{place}.png" for place in range(10))

    def pixels(self, indices) -> np.ndarray:
        found = np.full((len(indices), 16, 16, 3), (0, 100, 200), np.uint8)
        found[..., 0] = 20 * np.asarray(indices)[:, None, None]
        return found


def files_of(judgements: Judgements, predicted: dict, **changes) -> dict[str, bytes]:
    options = {"most": 3, "side": 96, "budget": 100_000} | changes
    return mistake_gallery(judgements, predicted, Pictures(), np.arange(10)[::-1].copy(), 0, **options)  # type: ignore[arg-type]  # two methods are all it needs


def groups_of(files: dict[str, bytes]) -> dict[str, list[dict]]:
    gallery = json.loads(files["mistakes.gallery.json"])
    return {group["title"]: group["images"] for group in gallery["groups"]}


def by_seed(truth: np.ndarray, *wrong: dict[int, int]) -> list[np.ndarray]:
    """Each seed's predictions: right, but where it says otherwise."""
    found = []
    for said in wrong:
        row = truth.copy()
        for place, prediction in said.items():
            row[place] = prediction
        found.append(row)
    return found


def test_groups_by_the_majority_of_seeds() -> None:
    judgements = Judgements.made(np.zeros(6, dtype=np.int64), NAMES, None)
    truth = judgements.truth
    predicted = {
        # 0: P-T 2 of 3 wrong. 1: 1 of 3. 2: all, as RI-T. 3: none, RI-T all. 4: 2 of 3, RI-T split evenly.
        "P_T": by_seed(truth, {0: 1, 2: 1, 4: 1}, {0: 2, 2: 1, 4: 1}, {1: 1, 2: 1}),
        "RI_T": by_seed(truth, {2: 1, 3: 1, 4: 1}, {2: 2, 3: 2}),
    }
    found = chosen(wrong_shares(judgements, predicted), judgements.images, 0)
    assert [group.tolist() for group in found] == [[0], [3], [2]]


def test_the_clearest_come_first_and_equals_are_mixed() -> None:
    p = np.array([1, 2 / 3, 1, 1, 1])
    ri = np.array([1 / 3, 0, 0, 0, 0])
    first = chosen({"P_T": p, "RI_T": ri}, np.arange(5), 0)[0].tolist()
    assert sorted(first[:3]) == [2, 3, 4]
    assert sorted(first[3:]) == [0, 1]
    orders = {tuple(chosen({"P_T": np.ones(8), "RI_T": np.zeros(8)}, np.arange(8), seed)[0]) for seed in range(4)}
    assert len(orders) == 4
    again = [chosen({"P_T": p, "RI_T": ri}, np.arange(5), 3)[0].tolist() for _ in range(2)]
    assert again[0] == again[1]


def test_an_image_stands_once_in_a_group_for_its_clearest_label() -> None:
    shares = {"P_T": np.array([0.6, 1.0, 1.0, 0.0]), "RI_T": np.zeros(4)}
    found = chosen(shares, np.array([0, 0, 1, 1]), 0)[0]
    assert sorted(found.tolist()) == [1, 2]


def test_captions_say_what_is_true_and_what_each_variant_says(approved) -> None:
    judgements = Judgements.made(np.array([0, 1, 2, 0]), NAMES, None)
    truth = judgements.truth
    predicted = {"P_T": by_seed(truth, {1: 2}, {1: 2}, {1: 0}), "RI_T": by_seed(truth, {3: -1}, {3: -1}, {3: 2})}
    files = files_of(judgements, predicted)
    groups = groups_of(files)
    assert list(groups) == [title[0].upper() + title[1:] for title in GROUPS]
    (only_p,) = groups["Only P-T is wrong"]
    assert only_p == {
        "file": "only-P-T-01.png",
        "alt": "test image set/8.png; true: dog",
        "lines": ["true: dog", "P-T: emu\u00a0(2), cat\u00a0(1)", "RI-T: dog\u00a0(3)", "image\u00a08.png"],
    }
    assert groups["Only RI-T is wrong"][0]["lines"][2] == "RI-T: nothing\u00a0(2), emu\u00a0(1)"
    assert groups["Both are wrong"] == []
    notes = [group["note"] for group in json.loads(files["mistakes.gallery.json"])["groups"]]
    approved(*notes)
    assert "more than half of a variant's seeds" in json.loads(files["mistakes.gallery.json"])["caption"]
    # One seed each has no majority to speak of.
    alone = files_of(judgements, {variant: said[:1] for variant, said in predicted.items()})
    assert groups_of(alone)["Only P-T is wrong"][0]["lines"][1] == "P-T: emu"
    assert "more than half" not in json.loads(alone["mistakes.gallery.json"])["caption"]


def test_captions_of_several_labels_speak_of_one() -> None:
    labels = np.array([[1, 0], [0, 0]])
    judgements = Judgements.made(labels, ("day", "rain"), None)
    truth = judgements.truth
    predicted = {"P_T": by_seed(truth, {0: 0}), "RI_T": by_seed(truth, {})}
    files = files_of(judgements, predicted)
    assert groups_of(files)["Only P-T is wrong"][0]["lines"] == ["day: yes", "P-T: no", "RI-T: yes", "image\u00a09.png"]
    assert "probability ½" in json.loads(files["mistakes.gallery.json"])["caption"]
    assert files["wrong-images.csv"].decode().splitlines() == [
        "image,class,holds,wrong_P_T,wrong_RI_T,group", "set/9.png,day,1,1,0,only P-T is wrong",
    ]  # fmt: skip


def test_long_names_are_cut_below_the_picture_and_whole_in_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    long = "set/" + "x" * 20 + "-0123.png"
    monkeypatch.setattr(Pictures, "names", (long,) * 10)
    judgements = Judgements.made(np.zeros(1, dtype=np.int64), NAMES, None)
    (card,) = groups_of(files_of(judgements, {"P_T": [np.ones(1)], "RI_T": [np.zeros(1)]}))["Only P-T is wrong"]
    assert card["lines"][-1] == "image\u00a0xxxxxxx…23.png"
    assert card["alt"] == f"test image {long}; true: cat"


def test_every_wrong_image_is_listed_even_if_none_is_shown() -> None:
    judgements = Judgements.made(np.zeros(6, dtype=np.int64), NAMES, None)
    truth = judgements.truth
    predicted = {"P_T": by_seed(truth, {0: 1, 1: 1}, {0: 2}), "RI_T": by_seed(truth, {0: 1, 2: 1}, {0: 1, 2: 1})}
    files = files_of(judgements, predicted, most=0)
    assert list(files) == ["wrong-images.csv"]
    rows = list(csv.DictReader(io.StringIO(files["wrong-images.csv"].decode())))
    assert [tuple(row.values()) for row in rows] == [
        ("set/9.png", "cat", "1", "1", "both are wrong"),
        ("set/8.png", "cat", "0.5", "0", ""),
        ("set/7.png", "cat", "0", "1", "only RI-T is wrong"),
    ]


def test_pictures_are_counted_and_cut_to_the_budget() -> None:
    judgements = Judgements.made(np.zeros(10, dtype=np.int64), NAMES, None)
    predicted = {"P_T": [np.ones(10, dtype=np.int64)], "RI_T": [judgements.truth]}
    files = files_of(judgements, predicted)
    pictures = {name: data for name, data in files.items() if name.endswith(".png")}
    assert sorted(pictures) == [f"only-P-T-0{place}.png" for place in (1, 2, 3)]
    assert json.loads(files["mistakes.gallery.json"])["groups"][0]["note"] == "3 of 10 images"
    one = embedded_size([next(iter(pictures.values()))])
    fewer = files_of(judgements, predicted, budget=one)
    assert json.loads(fewer["mistakes.gallery.json"])["groups"][0]["note"] == "1 of 10 images"
    assert sum(name.endswith((".png", ".jpg")) for name in fewer) == 1


def test_the_analysis_shows_test_images_in_the_order_of_its_settings(plain) -> None:
    members = untrained(plain.study, "RI_T 0", "RI_T 1", "P_T 0", "P_T 1")
    found = MistakesAnalysis(n_bootstrap=100, gallery=2, thumbnail=16).measure(Task(members=members), plain)
    groups = groups_of(found.files)
    assert max(map(len, groups.values())) == 2
    names = {plain.images().names[index] for index in plain.indices("test")}
    for images in groups.values():
        for image in images:
            assert image["lines"][-1].removeprefix("image\u00a0") in names
    again = MistakesAnalysis(n_bootstrap=100, gallery=2, thumbnail=16).measure(Task(members=members), plain)
    assert again.files == found.files
    lost = MistakesAnalysis(n_bootstrap=100).measure(Task(members=members), Diverging(plain, *members[:2]))
    assert lost.files == {}


def test_grouped_examples_and_images_are_kept_apart() -> None:
    context = SimpleNamespace(
        labels=lambda split: SimpleNamespace(numpy=lambda: np.array([0, 2, 1])),
        images=lambda: SimpleNamespace(groups=("a", "b", "a", "b")),
        indices=lambda split, limit=None: np.array([3, 0, 2]),
        study=SimpleNamespace(class_names=NAMES),
    )
    found = Judgements.of(context)  # type: ignore[arg-type]  # four methods are all it needs
    assert found.clusters is not None
    assert found.clusters.tolist() == ["b", "a", "a"]
    assert found.recall_of(2).tolist() == [False, True, False]
