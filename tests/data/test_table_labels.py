"""Labels of tables: joined by name, vectors told from lists, numbers that are not 0 to k − 1."""

import json
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import transferscope.data.sources
from tests.data.making import encoded
from transferscope.data.sources import Arrays, Listing, Parquet
from transferscope.errors import DataError

joining = pytest.mark.kind("data-2")
vectors = pytest.mark.kind("data-3")
numbering = pytest.mark.kind("data-14")
CAT, DOG = ["cat", "dog"], ["dog", "cat"]
CARD = {"names": {"1": "dog", "0": "cat"}}  # as the card of a data set writes them


def hub(*names: str, feature: object = None) -> dict[str, str]:
    """Metadata as the Hugging Face hub writes them."""
    found = feature or {"names": list(names), "_type": "ClassLabel"}
    return {"huggingface": json.dumps({"info": {"features": {"image": {"_type": "Image"}, "label": found}}})}


def table(path: Path, labels: object, metadata: dict[str, str] | None = None, **more: object) -> Path:
    series = labels if isinstance(labels, pl.Series) else pl.Series(labels)
    path.parent.mkdir(parents=True, exist_ok=True)
    pictures = [encoded(number) for number in range(8)] * (len(series) // 8 + 1)
    pl.DataFrame({"image": pictures[: len(series)], "label": series, **more}).write_parquet(
        path, metadata=metadata or {}
    )
    return path


def read(path: Path, **settings: object) -> Listing:
    return Parquet(path=str(path), **settings).listing()


def called(listing: Listing) -> list[str]:
    """The class of every example."""
    assert not listing.multi_label
    return [listing.classes[int(number)] for number in listing.labels]


def together(listing: Listing) -> list[set[str]]:
    """The labels of every example."""
    assert listing.multi_label
    return [{listing.classes[int(number)] for number in np.flatnonzero(row)} for row in listing.labels]


def categories(words: list[str], order: list[str]) -> pl.Series:
    return pl.Series(words, dtype=pl.Enum(order))


@joining
@pytest.mark.parametrize(
    ("train", "test", "settings", "expected"),
    [
        (([0, 1], hub(*CAT)), ([1, 0], hub(*DOG)), {}, ["cat", "dog", "cat", "dog"]),
        (([0, 1], hub(*DOG)), ([1, 0], hub(*CAT)), {}, ["dog", "cat", "dog", "cat"]),
        (([0, 1], hub(*CAT)), ([1, 0], hub(*DOG)), {"classes": CAT}, ["cat", "dog", "cat", "dog"]),
        (([0, 1], hub(*DOG)), ([0, 1], hub(*DOG)), {"classes": CAT}, ["dog", "cat", "dog", "cat"]),
        (([0, 1], hub(*DOG)), ([0, 1], hub(*DOG)), {"classes": ["Hund", "Katze"]}, ["Hund", "Katze"] * 2),
        (([0, 1], hub(*CAT)), ([0, 0], hub("dog")), {}, ["cat", "dog", "dog", "dog"]),
        (([0, 0], hub("dog")), ([0, 1], hub(*CAT)), {}, ["dog", "dog", "cat", "dog"]),
        (([0, 1], hub(*CAT)), (["dog", "cat"], {}), {}, ["cat", "dog", "dog", "cat"]),
        ((["dog", "cat"], {}), ([1, 0], hub(*DOG)), {}, ["dog", "cat", "cat", "dog"]),
        (([0, 1], hub(*CAT)), ([1, 0], {"classes": json.dumps(DOG)}), {}, ["cat", "dog", "cat", "dog"]),
        ((["cat", "dog"], {}), (categories(["dog", "cat"], DOG), {}), {}, ["cat", "dog", "dog", "cat"]),
        (
            (categories(["cat", "dog"], CAT), {}),
            (categories(["dog", "cat"], DOG), {}),
            {},
            ["cat", "dog", "dog", "cat"],
        ),
        (([0, 1], {}), ([0, 1], {}), {"classes": CAT}, ["cat", "dog", "cat", "dog"]),
        (([0, 1], {}), (["1", "0"], {}), {}, ["0", "1", "1", "0"]),
        (([0, 1], {}), (pl.Series([1, 0], dtype=pl.UInt8), {}), {}, ["0", "1", "1", "0"]),
        (
            ([0, 1], hub(feature={"names": {"1": "dog", "0": "cat"}})),
            ([0, 1], hub(*DOG)),
            {},
            ["cat", "dog", "dog", "cat"],
        ),
    ],
)
@pytest.mark.parametrize("second", ["test-00000-of-00001.parquet", "train-00001-of-00002.parquet"])
def test_each_file_is_read_by_its_own_names(
    tmp_path: Path, second: str, train: tuple, test: tuple, settings: dict[str, object], expected: list[str]
) -> None:
    table(tmp_path / second, *test)
    table(tmp_path / "train-00000-of-00002.parquet", *train)
    listing = read(tmp_path, **settings)
    assert called(listing) == (expected if second.startswith("train") else [*expected[2:], *expected[:2]])


@joining
def test_lists_and_vectors_too_are_read_by_their_own_names(tmp_path: Path) -> None:
    both = {"feature": {"names": CAT, "_type": "ClassLabel"}, "_type": "List"}
    other = {"feature": {"names": DOG, "_type": "ClassLabel"}, "_type": "List"}
    table(tmp_path / "a" / "train-0.parquet", [[0], [1], [0, 1]], hub(feature=both))
    table(tmp_path / "a" / "train-1.parquet", [[0], [1], []], hub(feature=other))
    assert together(read(tmp_path / "a")) == [{"cat"}, {"dog"}, {"cat", "dog"}, {"dog"}, {"cat"}, set()]
    table(tmp_path / "b" / "train-0.parquet", [[True, False], [False, True], [True, True]], hub(feature=both))
    table(tmp_path / "b" / "train-1.parquet", [[True, False], [False, True], [False, False]], hub(feature=other))
    assert together(read(tmp_path / "b")) == [{"cat"}, {"dog"}, {"cat", "dog"}, {"dog"}, {"cat"}, set()]


@joining
@pytest.mark.parametrize(
    ("train", "test", "settings", "named"),
    [
        (([0, 1], hub(*CAT)), ([0, 1], hub("cat", "bird")), {}, "bird"),
        (([0, 1], hub(*CAT)), ([0, 1], hub("Cat", "Dog")), {}, "Cat"),
        (([0, 1], hub(*CAT)), ([0, 1], {}), {}, "two.parquet"),
        (([0, 1], {}), ([0, 1], hub(*CAT)), {}, "one.parquet"),
        (([0, 1], {}), (["cat", "dog"], {}), {}, "numbers"),
        (([0, 1], hub(*CAT)), (["cat", "bird"], {}), {}, "bird"),
        (([0, 1], hub(*CAT)), ([0, 2], hub(*DOG)), {}, "two.parquet"),
        (([0, 1], hub(*CAT)), ([0, 1], hub(*CAT)), {"classes": ["dog", "bird"]}, "bird"),
        (([0, 1], hub(*CAT)), ([0, 1], hub(*DOG)), {"classes": ["Katze", "Hund"]}, "Katze"),
        (([0, 1], hub("cat", "cat")), ([0, 1], hub(*CAT)), {}, "unique"),
        (([0, 1], hub(*CAT)), ([[0], [1, 0]], hub(*CAT)), {}, "two.parquet"),
    ],
)
def test_names_that_disagree_or_lack_are_errors(
    tmp_path: Path, train: tuple, test: tuple, settings: dict[str, object], named: str
) -> None:
    table(tmp_path / "train" / "one.parquet", *train)
    table(tmp_path / "train" / "two.parquet", *test)
    with pytest.raises(DataError, match=named):
        read(tmp_path, **settings)


@joining
def test_parts_of_a_torchvision_data_set_with_other_orders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision

    class Ordered:
        targets = (0, 1, 1)

        def __init__(self, root: str, train: bool = True) -> None:
            self.classes = CAT if train else DOG

        def __len__(self) -> int:
            return 3

    monkeypatch.setattr(torchvision.datasets, "Ordered", Ordered, raising=False)
    monkeypatch.setattr(torchvision.datasets, "__all__", (*torchvision.datasets.__all__, "Ordered"))
    listing = transferscope.data.sources.Torchvision(name="Ordered", root=str(tmp_path)).listing()
    assert called(listing) == ["cat", "dog", "dog", "dog", "cat", "cat"]


def test_what_torchvision_is_told_to_do_can_be_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hint names settings that this source has, and doing what it says is enough."""
    import torchvision

    class Disagreeing:
        targets = (0, 1, 1)

        def __init__(self, root: str, train: bool = True) -> None:
            self.classes = CAT if train else ("cat", "bird")

        def __len__(self) -> int:
            return 3

    monkeypatch.setattr(torchvision.datasets, "Disagreeing", Disagreeing, raising=False)
    monkeypatch.setattr(torchvision.datasets, "__all__", (*torchvision.datasets.__all__, "Disagreeing"))
    source = transferscope.data.sources.Torchvision(name="Disagreeing", root=str(tmp_path))
    with pytest.raises(DataError) as caught:
        source.listing()
    settings = re.findall(r"target\.data\.(\w+)=", caught.value.hint or "")
    assert settings
    assert set(settings) <= set(type(source).model_fields)
    assert called(source.model_copy(update={"options": {"train": True}}).listing()) == ["cat", "dog", "dog"]


HOT = [[0, 1], [1, 0], [1, 1], [0, 0]]
ONE = [[0, 1, 0], [1, 0, 0], [0, 0, 1]]


@vectors
@pytest.mark.parametrize(
    ("labels", "settings", "expected"),
    [
        (HOT, {}, [{"1"}, {"0"}, {"0", "1"}, set()]),
        (HOT, {"classes": CAT}, [{"dog"}, {"cat"}, {"cat", "dog"}, set()]),
        (ONE, {}, [{"1"}, {"0"}, {"2"}]),
        (ONE, {"classes": ["a", "b", "c"]}, [{"b"}, {"a"}, {"c"}]),
        (pl.Series(HOT, dtype=pl.Array(pl.UInt8, 2)), {}, [{"1"}, {"0"}, {"0", "1"}, set()]),
        (pl.Series(HOT, dtype=pl.List(pl.Float32)), {}, [{"1"}, {"0"}, {"0", "1"}, set()]),
        ([[bool(value) for value in row] for row in HOT], {}, [{"1"}, {"0"}, {"0", "1"}, set()]),
        (HOT, {"label_format": "multi_hot"}, [{"1"}, {"0"}, {"0", "1"}, set()]),
        ([[0, 1], [2, 0], [1, 2]], {}, [{"0", "1"}, {"0", "2"}, {"1", "2"}]),
        ([[0, 1], [1], []], {}, [{"0", "1"}, {"1"}, set()]),
        ([["a", "b"], ["b"], []], {}, [{"a", "b"}, {"b"}, set()]),
        ([[3, 50_000_000], [3], [7]], {}, [{"3", "50000000"}, {"3"}, {"7"}]),
        ([[1, 0, 0], [0, 1, 0], [0, 0, 0]], {"classes": ["a", "b", "c"]}, [{"a"}, {"b"}, set()]),
    ],
)
def test_rows_of_several_labels(
    tmp_path: Path, labels: object, settings: dict[str, object], expected: list[set[str]]
) -> None:
    assert together(read(table(tmp_path / "x.parquet", labels), **settings)) == expected


@vectors
@pytest.mark.parametrize(
    ("labels", "settings", "expected"),
    [
        ([[0], [1], [1]], {}, ["0", "1", "1"]),
        ([[2], [0], [1]], {"classes": ["a", "b", "c"]}, ["c", "a", "b"]),
        ([["b"], ["a"], ["b"]], {}, ["b", "a", "b"]),
        (pl.Series([[2], [0]], dtype=pl.Array(pl.Int64, 1)), {}, ["2", "0"]),
        ([[True], [False]], {}, ["1", "0"]),
        (ONE, {"label_format": "one_hot"}, ["1", "0", "2"]),
        (ONE, {"label_format": "one_hot", "classes": ["a", "b", "c"]}, ["b", "a", "c"]),
    ],
)
def test_rows_that_hold_one_label(
    tmp_path: Path, labels: object, settings: dict[str, object], expected: list[str]
) -> None:
    assert called(read(table(tmp_path / "x.parquet", labels), **settings)) == expected


@vectors
def test_the_form_is_that_of_all_files_together(tmp_path: Path) -> None:
    table(tmp_path / "train-0.parquet", [[0], [1], [1]])
    table(tmp_path / "train-1.parquet", [[0, 1], [0]])
    assert together(read(tmp_path)) == [{"0"}, {"1"}, {"1"}, {"0", "1"}, {"0"}]
    table(tmp_path / "train-0.parquet", [[0, 1], [1, 0]])
    table(tmp_path / "train-1.parquet", [[0, 2], [2, 1]])
    assert together(read(tmp_path)) == [{"0", "1"}, {"0", "1"}, {"0", "2"}, {"1", "2"}]


@vectors
@pytest.mark.parametrize(
    ("labels", "settings", "named"),
    [
        (HOT, {"classes": ["a", "b", "c"]}, "label_format=numbers"),
        (HOT, {"label_format": "one_hot"}, "one-hot"),
        ([0, 1], {"label_format": "one_hot"}, "one label per row"),
        ([[True, False], [True]], {}, "rows of 1 to 2"),
        ([[0.2, 0.8], [0.9, 0.1]], {}, "0.2 in row 0"),
        ([[0, None], [1]], {}, "empty rows"),
        ([[0, 1], None], {}, "empty rows"),
    ],
)
def test_rows_that_are_neither(tmp_path: Path, labels: object, settings: dict[str, object], named: str) -> None:
    with pytest.raises(DataError, match=named):
        read(table(tmp_path / "x.parquet", labels), **settings)


@vectors
def test_what_was_guessed_is_said(tmp_path: Path) -> None:
    def notes(labels: object, **settings: object) -> str:
        return " ".join(read(table(tmp_path / "x.parquet", labels), **settings).notes)

    assert "label_format=numbers" in notes(HOT)
    assert "label_format=one_hot" in notes(ONE)
    assert "one label per image" in notes([[0], [1], [1]], label_format="numbers")
    assert not notes([0, 1, 1])
    assert not notes([[0, 1], [1], []])


TEN = [f"c{number}" for number in range(10)]


@numbering
@pytest.mark.parametrize(
    ("labels", "metadata", "settings", "expected", "note"),
    [
        ([3, 7, 7], hub(*TEN), {}, ["c3", "c7", "c7"], "8 of 10 named classes"),
        ([1, 2, 2], {}, {}, ["1", "2", "2"], "1, 2"),
        ([5, 10, 2], {}, {}, ["5", "10", "2"], "2, 5, 10"),
        ([0, 1, 50_000_000], {}, {}, ["0", "1", "50000000"], "50000000"),
        ([1, 2, 2], {}, {"classes": ["none", "a", "b"]}, ["a", "b", "b"], "1 of 3 named classes"),
        (["a", "c"], {}, {"classes": ["a", "b", "c"]}, ["a", "c"], "1 of 3 named classes"),
        (["a", "c"], {"classes": '["a", "b", "c"]'}, {}, ["a", "c"], "1 of 3 named classes"),
        (pl.Series([0, 2], dtype=pl.UInt64), {}, {}, ["0", "2"], "0, 2"),
        ([False, True], {}, {}, ["0", "1"], ""),
        ([False, True], hub("no", "yes"), {}, ["no", "yes"], ""),
        ([0.0, 1.0], {}, {}, ["0", "1"], ""),
        (pl.Series(["0", "1"]).cast(pl.Decimal(10, 2)), {}, {}, ["0", "1"], ""),
        (pl.Series(["b", "a"], dtype=pl.Categorical), {}, {}, ["b", "a"], ""),
        (["10", "9"], {}, {}, ["10", "9"], ""),
    ],
)
def test_labels_that_are_not_0_to_k(
    tmp_path: Path, labels: object, metadata: dict, settings: dict, expected: list[str], note: str
) -> None:
    listing = read(table(tmp_path / "x.parquet", labels, metadata), **settings)
    assert called(listing) == expected
    assert set(called(listing)) == set(listing.classes)
    assert note in " ".join(listing.notes)
    assert bool(note) == bool(listing.notes)


@numbering
@pytest.mark.parametrize(
    ("labels", "settings", "named"),
    [
        ([1, 2, 2], {"classes": ["a", "b"]}, "start at 1"),
        ([1, 3], {"classes": ["a", "b"]}, "3 in row 1"),
        ([0, 1, -1], {}, "-1 in row 2"),
        ([0.0, 1.0, float("nan")], {}, "nan in row 2"),
        ([0.0, 1.5], {}, "1.5 in row 1"),
        ([0, 1, None], {}, "first in row 2"),
        (["a", "", "b"], {}, "1 of 3 rows have no label"),
        ([None, None], {}, "empty rows"),
        ([2**63, 1], {}, "out of range"),
        (pl.Series(["2020-01-01", "2021-01-01"]).str.to_date(), {}, "Date"),
        ([b"a", b"b"], {}, "Binary"),
        ([{"x": 1}, {"x": 2}], {}, "Struct"),
        (pl.Series(range(1200)), {}, "1,200 different labels"),
    ],
)
def test_labels_that_are_none(tmp_path: Path, labels: object, settings: dict, named: str) -> None:
    with pytest.raises(DataError, match=named) as caught:
        read(table(tmp_path / "x.parquet", labels), **settings)
    assert "x.parquet" in str(caught.value)


@pytest.mark.kind("S9")
def test_labels_are_counted_before_they_are_listed(tmp_path: Path) -> None:
    labels = np.array([0, 1, 2**62])
    assert len(Arrays.save(tmp_path, np.zeros((3, 8, 8), dtype=np.uint8), labels).listing().classes) == 3
    assert len(read(table(tmp_path / "x.parquet", [0, 1, 2**62])).classes) == 3
    wide = pl.Series([[number, number + 1] for number in range(0, 3600, 2)])
    with pytest.raises(DataError, match="different labels"):
        read(table(tmp_path / "y.parquet", wide))


@pytest.mark.kind("data-15")
@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (["cat", "cat ", "dog"], "'cat' and 'cat '"),
        (["cat", "Cat", "dog"], "'Cat' and 'cat'"),
        (["caf\u00e9", "cafe\u0301", "dog"], "kept apart"),
        (["cat", "nan", "dog"], "'nan' may stand for rows without a label"),
        (["cat", "None", "dog"], "'None' may stand for rows without a label"),
        (["01", "1", "2"], None),
        (["nancy", "no", "na\u00efve"], None),
    ],
)
def test_words_that_look_equal_or_stand_for_nothing_are_told(
    tmp_path: Path, labels: list[str], said: str | None
) -> None:
    source = Arrays.save(tmp_path, np.zeros((12, 4, 4, 3), np.uint8), np.array(labels * 4))
    listing = source.listing()
    assert len(listing.classes) == 3
    assert (said is None and not listing.notes) or any(said in note for note in listing.notes)
