from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import TypeAdapter

from transferscope.data.sources import Arrays, DataSource, Elpv, Folder, Listing, known_sources
from transferscope.errors import DataError


def listing(labels: object, classes: tuple[str, ...] = ("a", "b"), **more: object) -> Listing:
    names = more.pop("names", None) or [str(k) for k in range(len(np.asarray(labels)))]
    return Listing(names=names, labels=labels, classes=classes, read=lambda k: Image.new("L", (8, 8)), **more)


def test_labels_are_brought_to_their_types() -> None:
    assert listing(np.array([0, 1], dtype=np.uint8)).labels.dtype == np.int64
    assert listing(np.array([False, True])).labels.tolist() == [0, 1]
    assert listing(np.array([[1, 0], [0, 1]]), multi_label=True).labels.dtype == np.uint8


@pytest.mark.parametrize(
    ("labels", "classes", "message"),
    [
        ([], ("a", "b"), "no images"),
        ([0.0, 1.0], ("a", "b"), "whole numbers"),
        ([0, -1], ("a", "b"), r"out of range(.|\n)*-1 for '1'"),
        ([0, 2], ("a", "b"), r"out of range(.|\n)*0 to 1"),
        ([0, 0], ("a", "b"), r"only one class(.|\n)*got: +a"),
        ([0, 1], ("a", "b", "c"), "no images of 'c'"),
        ([0, 1], ("a", "a"), "classes must be unique"),
        ([[0, 1]], ("a", "b"), "do not fit the images"),
    ],
)
def test_labels_that_do_not_fit(labels: list[object], classes: tuple[str, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        listing(np.array(labels), classes)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([[0, 1], [1, 2]], "out of range"),
        ([[0, 1], [1, 1]], "'b' is the same for all"),
        ([[0, 0], [1, 0]], "'b' is the same for all"),
        ([0, 1], "2 labels each"),
    ],
)
def test_several_labels_that_do_not_fit(labels: list[object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        listing(np.array(labels), multi_label=True)


def test_names_splits_and_groups_that_do_not_fit() -> None:
    labels = np.array([0, 1])
    with pytest.raises(DataError, match=r"names of examples must be unique(.|\n)*'x' 2 times"):
        listing(labels, names=["x", "x"])
    with pytest.raises(DataError, match="the splits do not fit"):
        listing(labels, splits=["train"])
    with pytest.raises(DataError, match=r"a split has an unknown name(.|\n)*'dev'"):
        listing(labels, splits=["train", "dev"])
    with pytest.raises(DataError, match="the groups do not fit"):
        listing(labels, groups=["p"])


@pytest.mark.kind("S4")
@pytest.mark.parametrize(
    "name", ["a\x1bb", "a\ufffeb", "a\uffffb", "caf\udce9", "a\r\nb", "\x9b31m", "\ufdd0", "\u2028"]
)
def test_text_from_outside_is_printable_in_every_listing(name: str, tmp_path: Path) -> None:
    made = listing(np.array([0, 1]), (name, "b"), names=[f"x{name}", "y"], groups=[name, "q"], notes=(name,))
    arrays = Arrays.save(tmp_path, np.zeros((2, 8, 8), np.uint8), np.array([0, 1]), classes=(name, "b")).listing()
    for text in (*made.names, *made.classes, *(made.groups or ()), *made.notes, *arrays.classes):
        assert text.isprintable()
        text.encode()
    error = DataError(name, got=name, hint=name)
    assert str(error).replace("\n", "").isprintable()


def test_sources_by_kind() -> None:
    assert set(known_sources()) == {"elpv", "folder", "parquet", "arrays", "torchvision", "factory"}
    assert TypeAdapter(DataSource).validate_python({"kind": "folder", "path": "x"}) == Folder(path="x")


def test_every_source_has_a_first_line_and_documents_its_fields() -> None:
    for source in known_sources().values():
        text = source.__doc__ or ""
        assert text.splitlines()[0].endswith(".")
        for name in source.model_fields:
            assert name == "kind" or f"        {name}:" in text


def test_sources_can_be_hashed_with_options() -> None:
    one, two = (
        TypeAdapter(DataSource).validate_python({"kind": "factory", "function": "a:b", "options": {"n": 1}})
        for _ in range(2)
    )
    assert hash(one) == hash(two)
    assert one == two
    assert hash(Elpv()) != hash(Elpv(cells="mono"))
