"""Kinds of faults in folders of pictures: structure read as classes, names nothing can show, files nobody may open."""

import os
import socket
import unicodedata
from collections import Counter
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from pydantic import TypeAdapter

from transferscope.data.sources import Folder, Listing
from transferscope.errors import DataError


def fill(root: Path, *folders: str | bytes, n: int = 3) -> Path:
    buffer = BytesIO()
    Image.new("RGB", (8, 8), (10, 20, 30)).save(buffer, "PNG")
    for folder in folders:
        place = os.path.join(os.fsencode(root), os.fsencode(folder))
        os.makedirs(place, exist_ok=True)
        for number in range(n):
            with open(os.path.join(place, b"%03d.png" % number), "wb") as file:
                file.write(buffer.getvalue())
    return root


def listed(root: Path, **settings: object) -> Listing:
    return Folder(path=str(root), **settings).listing()  # type: ignore[arg-type]  # settings of a folder


def crossed(*parts: tuple[str, ...]) -> list[str]:
    """Paths of all combinations of names, one of each."""
    paths = [""]
    for names in parts:
        paths = [f"{path}/{name}".strip("/") for path in paths for name in names]
    return paths


PETS = ("cat", "dog")


@pytest.mark.kind("data-1")
@pytest.mark.parametrize(
    ("folders", "splits"),
    [
        (["seg_train/seg_train/cat", "seg_train/seg_train/dog", "seg_test/seg_test/cat", "seg_test/seg_test/dog"], 2),
        (crossed(("train_images", "val_images"), PETS), 2),
        (crossed(("TrainingData", "TestData"), PETS), 2),
        (crossed(("train2017", "val2017", "test2017"), PETS), 3),
        (crossed(("01_train", "02_valid", "03_test"), PETS), 3),
        (crossed(("data",), ("trainset", "testset"), PETS), 2),
        (crossed(("archive",), ("dataset",), ("Train", "Test"), ("images",), PETS), 2),
        (crossed(("cats", "dogs"), ("train", "test")), 2),
        (crossed(("cats", "dogs"), ("images",), ("Training", "Validation", "Testing")), 3),
        (crossed(("x_train", "x_dev", "x_test"), PETS), 3),
    ],
)
def test_splits_are_found_wherever_they_lie(tmp_path: Path, folders: list[str], splits: int) -> None:
    listing = listed(fill(tmp_path, *folders))
    assert len(listing.classes) == 2
    assert {name.lower().rstrip("s") for name in listing.classes} == {"cat", "dog"}
    counts = Counter(listing.splits or ())
    assert len(counts) == splits
    assert set(counts.values()) == {6}


@pytest.mark.kind("data-1")
@pytest.mark.parametrize(
    ("folders", "way"),
    [
        (crossed(("fold1", "fold2"), PETS), "target.data.splits="),
        (crossed(("treino", "teste"), PETS), "target.data.splits="),
        (crossed(("site A", "site B", "site C"), (*PETS, "owl")), "target.data.layout=parts"),
        (crossed(("images", "masks"), PETS), "target.data.layout=parts"),
        ([*PETS, *crossed(("augmented",), PETS)], "target.data.ignore="),
        (crossed(("train", "test"), PETS) + crossed(("chest_xray",), ("train", "test"), PETS), "target.data.ignore="),
        ([*crossed(("train", "test"), PETS), "unlabelled"], "target.data.ignore="),
        (crossed(("val", "test"), PETS), "target.data.splits="),
        (crossed(("train1", "train2", "test"), PETS), "target.data.splits="),
        (["train", "test"], "target.data.layout=classes"),
        ([*crossed(("cat", "dog"), ("train", "test")), "owl"], "target.data.layout=classes"),
        (crossed(("cat", "dog"), ("train", "test", "spare")), "target.data.layout=classes"),
        (crossed(("v1", "v2"), ("train", "test"), PETS), 'target.data.ignore=["v2"]'),
        (crossed(("indoor", "outdoor"), ("train", "test"), PETS), "target.data.layout=class_splits"),
    ],
)
def test_what_cannot_be_told_is_asked(tmp_path: Path, folders: list[str], way: str) -> None:
    with pytest.raises(DataError) as refused:
        listed(fill(tmp_path, *folders))
    assert way in (refused.value.hint or "")


@pytest.mark.kind("data-1")
def test_every_answer_to_the_question_works(tmp_path: Path) -> None:
    root = fill(tmp_path, *crossed(("fold1", "fold2", "fold3"), PETS))
    assert listed(root, layout="classes").classes == ("fold1", "fold2", "fold3")
    assert listed(root, layout="parts").classes == PETS
    split = listed(root, splits={"fold1": "train", "fold3": "test"})
    assert Counter(split.splits or ()) == {"train": 6, "test": 6}
    assert any("fold2" in note for note in split.notes)
    assert listed(root, ignore=["fold[23]"]).classes == PETS
    with pytest.raises(DataError, match="no folder 'fold9'"):
        listed(root, splits={"fold9": "train"})


@pytest.mark.kind("data-1")
def test_data_sets_side_by_side_can_be_read_one_by_one_or_as_classes(tmp_path: Path) -> None:
    root = fill(tmp_path, *crossed(("v1", "v2"), ("train", "test"), PETS))
    one = listed(root, ignore=["v2"])
    assert (one.classes, Counter(one.splits or ())) == (PETS, {"train": 6, "test": 6})
    assert listed(root, layout="class_splits").classes == ("v1", "v2")


def test_folders_may_lie_deeper_than_calls_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(1200):
        os.mkdir("a")
        os.chdir("a")
    fill(Path(), *PETS)
    os.chdir(tmp_path)
    assert Folder(path=".").listing().classes == PETS
    # Not left to pytest, whose own removal is recursive.
    for _ in range(1200):
        os.chdir("a")
    for name in PETS:
        for number in range(3):
            os.remove(f"{name}/{number:03d}.png")
        os.rmdir(name)
    for _ in range(1200):
        os.chdir("..")
        os.rmdir("a")


@pytest.mark.kind("data-1")
@pytest.mark.parametrize(
    "system",
    ["@eaDir", "__MACOSX", "$RECYCLE.BIN", "lost+found", ".thumbnails", "#recycle", "System Volume Information"],
)
def test_folders_of_systems_are_left_out_and_said(tmp_path: Path, system: str) -> None:
    fill(tmp_path, *PETS, f"{system}/000.png", f"cat/{system}/000.png", f"{system}/cat")
    listing = listed(tmp_path)
    assert listing.classes == PETS
    assert len(listing.names) == 6
    assert any(system in note for note in listing.notes)


@pytest.mark.kind("data-1")
@pytest.mark.parametrize(
    "folders",
    [
        ["train", "car", "bus"],
        ["valid", "invalid"],
        ["test tube", "beaker"],
        crossed(("cat",), ("01", "02")) + crossed(("dog",), ("11", "12")),
        crossed(("n01", "n02", "n03"), ("images",)),
        ["latest", "contest", "protest"],
    ],
)
def test_classes_stay_classes(tmp_path: Path, folders: list[str]) -> None:
    listing = listed(fill(tmp_path, *folders))
    assert listing.classes == tuple(sorted({folder.split("/")[0] for folder in folders}))
    assert listing.splits is None


@pytest.mark.kind("data-17")
@pytest.mark.parametrize("test", ["test", "test/images", "Testing", "test1", "test_set/unknown"])
def test_a_flat_test_folder_is_said_and_a_split_is_cut(tmp_path: Path, test: str) -> None:
    listing = listed(fill(tmp_path, "train/cat", "train/dog", test))
    assert listing.classes == PETS
    assert listing.splits is None
    assert any(test.split("/")[0] in note and "cut from train" in note for note in listing.notes)


@pytest.mark.kind("data-17")
def test_a_flat_validation_folder_leaves_the_test_split(tmp_path: Path) -> None:
    listing = listed(fill(tmp_path, *crossed(("train", "test"), PETS), "val"))
    assert Counter(listing.splits or ()) == {"train": 6, "test": 6}
    with pytest.raises(DataError, match=r"classes of test do not occur in train(.|\n)*owl"):
        listed(fill(tmp_path, "test/owl"))


@pytest.mark.kind("data-6")
@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"caf\xe9", "caf\\xe9"),
        (b"stra\xdfe", "stra\\xdfe"),
        (b"\xff\xfe", "\\xff\\xfe"),
        ("日本".encode("shift_jis"), "\\x93\\xfa\\x96{"),
        (b"\xc3", "\\xc3"),
    ],
)
def test_names_that_are_no_utf_8_are_shown_escaped_and_read_raw(tmp_path: Path, raw: bytes, shown: str) -> None:
    fill(tmp_path, "plain", raw)
    os.rename(os.fsencode(tmp_path) + b"/plain/000.png", os.fsencode(tmp_path) + b"/plain/" + raw + b".png")
    listing = listed(tmp_path)
    assert set(listing.classes) == {"plain", shown}
    assert f"plain/{shown}.png" in listing.names
    assert all(listing.read(index).size == (8, 8) for index in range(6))
    for text in (*listing.names, *listing.classes, *listing.notes):
        text.encode()


@pytest.mark.kind("S4")
@pytest.mark.parametrize("name", ["a\x1b[2Jb", "a\ufffeb", "a\uffffb", "a\nb", "a\x7fb", "a\x85b", "a\u202eb"])
def test_names_of_folders_and_files_can_be_shown(tmp_path: Path, name: str) -> None:
    fill(tmp_path, "plain", name)
    (tmp_path / "plain" / "000.png").rename(tmp_path / "plain" / f"{name}.png")
    listing = listed(tmp_path)
    assert all(text.isprintable() for text in (*listing.names, *listing.classes))
    assert listing.read(5).size == (8, 8)


@pytest.mark.kind("data-15")
@pytest.mark.parametrize(
    ("train", "test", "right"),
    [
        ("café", unicodedata.normalize("NFD", "café"), "café"),
        (unicodedata.normalize("NFD", "Žižek"), "Žižek", "Žižek"),
        ("Cat", "cat", "Cat"),
        ("STRASSE", "straße", "STRASSE"),
        ("cat", "cat ", "cat"),
    ],
)
def test_a_class_written_in_two_ways_is_one_and_it_is_said(tmp_path: Path, train: str, test: str, right: str) -> None:
    listing = listed(fill(tmp_path, f"train/{train}", "train/dog", f"test/{test}", "test/dog"))
    assert listing.classes == tuple(sorted((right, "dog")))
    assert any(right in note for note in listing.notes)


@pytest.mark.kind("data-15")
def test_names_side_by_side_that_differ_in_case_are_two_and_it_is_said(tmp_path: Path) -> None:
    listing = listed(fill(tmp_path, "a", "A", "b"))
    assert listing.classes == ("A", "a", "b")
    assert any("'A' and 'a'" in note for note in listing.notes)
    composed = listed(fill(tmp_path / "both", "café", unicodedata.normalize("NFD", "café"), "tea"))
    assert composed.classes == ("café", "tea")


def _pipe(place: Path) -> None:
    os.mkfifo(place / "x.png")


def _socket(place: Path) -> None:
    here = Path.cwd()
    os.chdir(place)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("x.png")
    os.chdir(here)


def _device(place: Path) -> None:
    (place / "x.png").symlink_to("/dev/zero")


def _process(place: Path) -> None:
    (place / "self").symlink_to("/proc/self")


def _environment(place: Path) -> None:
    (place / "x.png").symlink_to("/proc/self/environ")


def _root_by_process(place: Path) -> None:
    (place / "disk").symlink_to("/proc/self/root")


def _up(place: Path) -> None:
    (place / "up").symlink_to("..")


def _self(place: Path) -> None:
    (place / "x.png").symlink_to("x.png")


def _other_class(place: Path) -> None:
    (place / "more").symlink_to("../dog")


@pytest.mark.kind("S11")
@pytest.mark.parametrize(
    "make",
    [_pipe, _socket, _device, _process, _environment, _root_by_process, _up, _self, _other_class],
    ids=lambda make: make.__name__.strip("_"),
)
def test_special_files_and_links_are_never_opened_nor_walked(tmp_path: Path, make: object) -> None:
    root = fill(tmp_path / "data", *PETS)
    make(root / "cat")  # type: ignore[operator]  # one of the functions above
    source = Folder(path=str(root))
    listing = source.listing()
    assert list(listing.names) == [f"{name}/{number:03d}.png" for name in PETS for number in range(3)]
    assert any("left out" in note for note in listing.notes)
    source.stamp()


@pytest.mark.kind("S11")
def test_links_out_of_the_folder_are_followed_and_said(tmp_path: Path) -> None:
    far = fill(tmp_path / "far", "owl", "more/deep")
    (far / "owl" / "back").symlink_to(far)
    root = fill(tmp_path / "data", *PETS)
    (root / "owl").symlink_to(far / "owl")
    (root / "cat" / "one.png").symlink_to(far / "more" / "deep" / "000.png")
    listing = listed(root)
    assert listing.classes == (*PETS, "owl")
    assert any("links that leave the folder" in note and "owl" in note for note in listing.notes)
    assert len(listing.names) < 20


@pytest.mark.kind("S11")
@pytest.mark.parametrize("kind", ["arrays", "parquet", "folder", "picture"])
def test_a_pipe_in_place_of_a_file_is_refused(tmp_path: Path, kind: str) -> None:
    from transferscope.data.sources import DataSource

    os.mkfifo(tmp_path / "pipe.npy")
    os.mkfifo(tmp_path / "pipe.parquet")
    root = fill(tmp_path / "data", *PETS)
    if kind == "picture":
        listing = listed(root)
        (root / "cat" / "000.png").unlink()
        os.mkfifo(root / "cat" / "000.png")
        with pytest.raises(DataError, match="a pipe"):
            listing.read(0)
        return
    path = tmp_path / ("pipe.npy" if kind == "arrays" else "pipe.parquet")
    with pytest.raises(DataError, match="a pipe"):
        TypeAdapter(DataSource).validate_python(
            {"kind": kind, "images" if kind == "arrays" else "path": str(path)}
        ).listing()


@pytest.mark.kind("S11")
def test_pipes_and_systems_folders_beside_tables_are_left_out_and_said(tmp_path: Path) -> None:
    import polars as pl

    from transferscope.data.sources import Parquet

    picture = (fill(tmp_path, "cat") / "cat" / "000.png").read_bytes()
    for name in ("a.parquet", "@eaDir/b.parquet", "sub/.c.parquet"):
        (tmp_path / "t" / name).parent.mkdir(parents=True, exist_ok=True)
        pl.DataFrame({"image": [picture] * 4, "label": [0, 1] * 2}).write_parquet(tmp_path / "t" / name)
    os.mkfifo(tmp_path / "t" / "d.parquet")
    (tmp_path / "t" / "up").symlink_to("..")
    made = Parquet(path=str(tmp_path / "t")).listing()
    assert len(made.names) == 4
    said = " ".join(made.notes)
    assert all(name in said for name in ("@eaDir", "d.parquet", "up"))


@pytest.mark.kind("S11")
def test_a_folder_that_cannot_be_listed_is_an_error_not_a_gap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = fill(tmp_path, *PETS)
    scan = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("dog"):
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=r"dog cannot be listed(.|\n)*Permission denied"):
        listed(root)


def test_endings_that_are_not_read_are_counted(tmp_path: Path) -> None:
    root = fill(tmp_path, *PETS)
    for number in range(5):
        (root / "cat" / f"{number}.heic").write_bytes(b"x")
    (root / "notes").mkdir()
    (root / "notes" / "read.txt").write_bytes(b"x")
    listing = listed(root)
    assert any("6 files" in note and ".heic 5" in note for note in listing.notes)
    assert any("without pictures" in note and "notes" in note for note in listing.notes)
