"""The sources elpv, torchvision and factory."""

import importlib.machinery
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torchvision
from PIL import Image
from pydantic import ValidationError
from torchvision.datasets.utils import verify_str_arg

from tests.data.making import picture
from transferscope.data.sources import Elpv, Factory, Listing, Torchvision
from transferscope.errors import DataError, MissingExtraError


def test_elpv_as_published() -> None:
    listing = Elpv().listing()
    assert np.bincount(listing.labels).tolist() == [588 + 920, 313 + 402]
    assert listing.read(0).size == (300, 300)
    assert any("CC BY-NC-SA 4.0" in note for note in listing.notes)
    assert any("leakage" in note for note in listing.notes)
    assert np.bincount(Elpv(cells="mono").listing().labels).tolist() == [588, 313]
    assert len(Elpv(probabilities="half").listing().names) == 2624
    assert Elpv().stamp() != Elpv(cells="poly").stamp()


def test_elpv_agrees_with_its_own_loader(tmp_path: Path) -> None:
    import elpv_dataset
    from elpv_dataset.utils import load_dataset

    data = Path(elpv_dataset.__file__).parent / "data"
    lines = (data / "labels.csv").read_text().splitlines()
    chosen = [0, 1, 1000, 2622, 2623]
    (tmp_path / "labels.csv").write_text("\n".join(lines[k] for k in chosen))
    (tmp_path / "images").symlink_to(data / "images")
    images, probabilities, _ = load_dataset(str(tmp_path / "labels.csv"))
    listing = Elpv(probabilities="half").listing()
    assert np.array_equal(listing.labels[chosen], probabilities > 0.5)
    for own, index in zip(images, chosen, strict=True):
        assert np.array_equal(np.asarray(listing.read(index)), own)


def test_elpv_without_its_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "elpv_dataset" else found(name))
    with pytest.raises(MissingExtraError, match=r"'elpv-dataset'(.|\n)*pip install '\.\[demo\]'"):
        Elpv().listing()
    spec = importlib.machinery.ModuleSpec("elpv_dataset", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    with pytest.raises(DataError, match="elpv-dataset holds no data"):
        Elpv().listing()


def test_torchvision_by_name(tmp_path: Path) -> None:
    options = {"size": 12, "image_size": [3, 9, 9], "num_classes": 3}
    source = Torchvision(name="FakeData", root=str(tmp_path), options=options)
    listing = source.listing()
    assert len(listing.names) == 12
    assert listing.splits is None
    assert listing.read(3).size == (9, 9)
    expected = [torchvision.datasets.FakeData(**options)[k][1] for k in range(12)]
    assert listing.labels.tolist() == np.unique(expected, return_inverse=True)[1].tolist()
    before = source.stamp()
    (tmp_path / "more").write_text("x")
    assert source.stamp() != before


class WithTrain:
    """A data set with a train option, as MNIST; class 1 has no examples."""

    classes = ("a", "never", "b")

    def __init__(self, root: str, train: bool = True, download: bool = False) -> None:
        self.targets = [0, 2, 2] if train else [2, 0]
        self.start = 0 if train else 3

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return np.asarray(picture(self.start + index)), self.targets[index]


class WithSplit(WithTrain):
    """A data set with a split option, as SVHN."""

    def __init__(self, root: str, split: str = "train", download: bool = False) -> None:
        verify_str_arg(split, "split", ("train", "val", "test"), custom_msg="in words of its own")
        super().__init__(root, train=split != "test")


class WithOddSplits(WithTrain):
    def __init__(self, root: str, split: str = "letters") -> None:
        verify_str_arg(split, "split", ("letters",))
        super().__init__(root)


class WithVectors:
    attr = np.array([[0, 1], [1, 0], [1, 1]])
    attr_names = ("thin", "old", "")

    def __init__(self, root: str) -> None: ...

    def __len__(self) -> int:
        return 3


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    classes = [WithTrain, WithSplit, WithOddSplits, WithVectors]
    names = [kind.__name__ for kind in classes]
    for kind in classes:
        monkeypatch.setattr(torchvision.datasets, kind.__name__, kind, raising=False)
    monkeypatch.setattr(torchvision.datasets, "__all__", (*torchvision.datasets.__all__, *names))


@pytest.mark.usefixtures("known")
def test_torchvision_splits_classes_and_labels() -> None:
    listing = Torchvision(name="WithTrain").listing()
    assert listing.classes == ("a", "b")
    assert listing.labels.tolist() == [0, 1, 1, 1, 0]
    assert listing.splits == ["train"] * 3 + ["test"] * 2
    assert list(listing.names)[2:4] == ["train/2", "test/0"]
    assert np.array_equal(np.asarray(listing.read(4)), np.asarray(picture(4)))
    split = Torchvision(name="WithSplit").listing().splits
    assert split == ["train"] * 3 + ["validation"] * 3 + ["test"] * 2
    assert len(Torchvision(name="WithSplit", options={"split": "test"}).listing().names) == 2
    several = Torchvision(name="WithVectors").listing()
    assert several.multi_label
    assert several.classes == ("thin", "old")


@pytest.mark.usefixtures("known")
def test_torchvision_bad_input(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no data set called 'CIFAR11'(.|\n)*'CIFAR10"):
        Torchvision(name="CIFAR11").listing()
    with pytest.raises(DataError, match=r"could not open CIFAR10(.|\n)*download: true"):
        Torchvision(name="CIFAR10", root=str(tmp_path)).listing()
    with pytest.raises(DataError, match=r"could not open SVHN(.|\n)*download: true"):
        Torchvision(name="SVHN", root=str(tmp_path)).listing()
    with pytest.raises(DataError, match="could not open FakeData"):
        Torchvision(name="FakeData", options={"sizes": 3}).listing()
    with pytest.raises(DataError, match="the splits of WithOddSplits are not known"):
        Torchvision(name="WithOddSplits").listing()


MODULE = """
import numpy as np
from transferscope.data import Listing
from PIL import Image

class Pairs(list):
    classes = ("no", "yes")
    groups = [1, 1, 2, 2]

def pairs(count=4):
    return Pairs((np.full((8, 8), 10 * k, np.uint8), k % 2) for k in range(count))

def plain():
    return [(Image.new("L", (8, 8)), np.array([k, 1 - k], np.uint8)) for k in (0, 1)]

def listed():
    return Listing(["a", "b"], np.array([0, 1]), ("x", "y"), lambda k: Image.new("L", (8, 8), k))

def empty():
    return []

def wrong():
    return 3

def singles():
    return [1, 2]

def ragged():
    return [(None, [0, 1]), (None, 1)]

number = 4
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "users_own_data.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("users_own_data", None)
    return tmp_path / "users_own_data.py"


def test_factory(module: Path) -> None:
    listing = Factory(function="users_own_data:pairs", options={"count": 4}).listing()
    assert listing.classes == ("no", "yes")
    assert listing.groups == ["1", "1", "2", "2"]
    assert np.asarray(listing.read(3))[0, 0] == 30
    several = Factory(function="users_own_data:plain").listing()
    assert several.multi_label
    assert several.labels.tolist() == [[0, 1], [1, 0]]
    given = Factory(function="users_own_data:listed").listing()
    assert isinstance(given, Listing)
    assert isinstance(given.read(1), Image.Image)


@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        ("users_own_data:empty", {}, "no images"),
        ("users_own_data:wrong", {}, r"returned no data(.|\n)*int"),
        ("users_own_data:singles", {}, r"example 0 of users_own_data:singles is no"),
        ("users_own_data:ragged", {}, "differ in shape"),
        ("users_own_data:pears", {}, "no function 'pears'(.|\n)*'pairs'"),
        ("users_own_data:number", {}, "no function 'number'"),
        ("users_own_data:pairs", {"cuont": 3}, "could not be called with"),
        ("users_own_dada:pairs", {}, "cannot import the module of the data"),
    ],
)
def test_factory_bad_input(module: Path, function: str, options: dict[str, int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Factory(function=function, options=options).listing()


def test_factory_names_and_stamps(module: Path) -> None:
    with pytest.raises(ValidationError, match=r"package\.module:function"):
        Factory(function="users_own_data")
    with pytest.raises(DataError, match="there is no module for the data"):
        Factory(function="no_such_package.module:f").stamp()
    source = Factory(function="users_own_data:pairs")
    before = source.stamp()
    assert Factory(function="users_own_data:pairs", version=1).stamp() != before
    module.write_text(MODULE + "\n# changed\n")
    assert source.stamp() != before
