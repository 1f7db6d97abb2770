"""Batches as loaders give them: one reader for all functions that take networks and batches."""

import collections
import dataclasses

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import transferscope as ts
from tests.callers import CPU, FUNCTIONS, gathered
from transferscope.errors import LoaderError
from transferscope.networks.evaluate import logits

ON_CPU = ts.Execution(**CPU)

pytestmark = pytest.mark.kind("F11")

Named = collections.namedtuple("Named", ["labels", "images", "path"])
Unnamed = collections.namedtuple("Unnamed", ["first", "second"])


@dataclasses.dataclass
class Record:
    y: torch.Tensor
    x: torch.Tensor


class Encoding(collections.UserDict):
    """A mapping that is no dict, as tokenizers give."""


class Table:
    """A mapping in all but name."""

    def __init__(self, **entries) -> None:
        self._entries = entries

    def keys(self):
        return self._entries.keys()

    def __getitem__(self, key):
        return self._entries[key]


def networks() -> tuple[nn.Module, nn.Module]:
    made = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        made.append(nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)))
    return made[0], made[1]


A, B = networks()
PAIRS = [(torch.randn(12, 6, generator=torch.Generator().manual_seed(seed)), torch.arange(12) % 3) for seed in (2, 3)]
FORMS = {
    "list": lambda x, y: [x, y],
    "with an index": lambda x, y: (x, y, torch.arange(len(x))),
    "with paths": lambda x, y: (x, y, ["a.png"] * len(x)),
    "arrays": lambda x, y: (x.numpy(), y.numpy()),
    "arrays that are read only": lambda x, y: (np.broadcast_to(x.numpy(), x.shape), y.numpy()),
    "reversed arrays": lambda x, y: (x.numpy()[:, ::-1].copy()[:, ::-1], y.numpy()),
    "labels in a list": lambda x, y: (x, y.tolist()),
    "int32 labels": lambda x, y: (x, y.int()),
    "uint8 labels": lambda x, y: (x, y.to(torch.uint8)),
    "float64 inputs": lambda x, y: (x.double(), y),
    "inputs of a graph": lambda x, y: (x.clone().requires_grad_(True) * 1, y),
    "images, labels": lambda x, y: {"images": x, "labels": y},
    "pixel_values": lambda x, y: {"pixel_values": x, "labels": y},
    "image, label": lambda x, y: {"image": x, "label": y, "index": 3, "path": ["a"] * len(x)},
    "img, fine_label": lambda x, y: {"img": x, "fine_label": y, "coarse_label": y},
    "x, y": lambda x, y: {"y": y, "x": x},
    "inputs, target": lambda x, y: {"target": y, "inputs": x},
    "a mask of ones": lambda x, y: {"input_values": x, "attention_mask": torch.ones(12, 6), "labels": y},
    "named tuple": lambda x, y: Named(y, x, "a"),
    "named tuple of other names": Unnamed,
    "dataclass": lambda x, y: Record(y, x),
    "encoding": lambda x, y: Encoding(pixel_values=x, labels=y),
    "table": lambda x, y: Table(x=x, y=y),
    "mapping and labels": lambda x, y: ({"pixel_values": x}, y),
    "labels in a mapping": lambda x, y: (x, {"label": y, "box": None}),
}


def losses(data, **more):
    found = ts.linear_path(A, B, {"t": data}, **gathered(ts.linear_path, alphas=(0, 0.5, 1), **CPU, **more))
    return [float(point.losses.mean()) for point in found.points["t"]]


@pytest.mark.parametrize("form", FORMS)
def test_batches_of_every_form_give_what_pairs_give(form: str) -> None:
    data = [FORMS[form](x, y) for x, y in PAIRS]
    assert losses(data) == losses(PAIRS)
    assert np.array_equal(ts.cka(A, B, data, execution=ON_CPU).values, ts.cka(A, B, PAIRS, execution=ON_CPU).values)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_takes_mappings(name: str) -> None:
    FUNCTIONS[name](*networks(), [{"image": x, "label": y, "index": 0} for x, y in PAIRS])


@pytest.mark.parametrize(
    "alone", [lambda x: x, lambda x: [x], lambda x: (x,), lambda x: x.numpy(), lambda x: {"image": x}]
)
@pytest.mark.parametrize("name", ["cka", "cka_networks", "channel_reuse", "domain_distance", "align", "spectra"])
def test_inputs_alone_where_labels_are_not_needed(name: str, alone) -> None:
    FUNCTIONS[name](*networks(), [alone(x) for x, _ in PAIRS])


def test_statistics_are_recomputed_on_inputs_alone() -> None:
    a, b = (nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)) for _ in range(2))
    data = {"t": PAIRS}
    found = [
        ts.linear_path(
            a, b, data, alphas=(0, 1), evaluation=ts.Evaluation(recompute_on=[form(x, y) for x, y in PAIRS], **CPU)
        ).values("t", "loss")
        for form in (lambda x, y: (x, y), lambda x, y: x, lambda x, y: {"inputs": x.numpy()})
    ]
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])


WITH_LABELS = [
    "linear_path", "compare", "curve_path", "module_paths", "rewind", "criticality", "module_choices",
    "basin_networks", "plane_around", "radius_curves", "hessian",
]  # fmt: skip


@pytest.mark.parametrize(
    "alone", [lambda x: x, lambda x: x[:2], lambda x: [x], lambda x: {"image": x}, lambda x: (x, None)]
)
@pytest.mark.parametrize("name", WITH_LABELS)
def test_inputs_alone_where_labels_are_needed(name: str, alone) -> None:
    with pytest.raises(LoaderError, match=r"holds no labels(?s:.*)expected: (?s:.*)labels(?s:.*)got: "):
        FUNCTIONS[name](*networks(), [alone(x) for x, _ in PAIRS])


X, Y = PAIRS[0]


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({"picture": X, "label": Y}, r"no input(?s:.*)one of images(?s:.*)'picture' \(Tensor \(12, 6\)\), 'label'"),
        ({}, r"no input(?s:.*)nothing in it"),
        ({"x": X, "image": X, "y": Y}, r"several inputs(?s:.*)image, x"),
        ({"x": ["a.png"], "y": Y}, r"no input(?s:.*)'x' \(list\)"),
        ({"input_ids": X, "attention_mask": torch.zeros(12, 6), "label": Y}, r"'attention_mask'(?s:.*)1 everywhere"),
        ({"input_ids": X, "token_type_ids": torch.ones(12, 6), "label": Y}, r"'token_type_ids'(?s:.*)0 everywhere"),
        ({"pixel_values": X, "bool_masked_pos": X, "label": Y}, "'bool_masked_pos'"),
        ({"x": X, "label": Y, "target": Y}, r"several entries(?s:.*)label, target"),
        ((X, ["cat"] * 12), r"labels of a batch are no numbers(?s:.*)list of str"),
        ((X, Y[:5]), r"not as many labels as images(?s:.*)12 labels(?s:.*)got: +5"),
        ((X, torch.tensor(1)), "not as many labels"),
        (((X, X), Y), r"no input(?s:.*)tuple of tuple, Tensor \(12,\)"),
        ([(X[0], 0), (X[1], 1)], r"no input(?s:.*)list of tuple, tuple"),
        (("a.png", 3), r"no input(?s:.*)tuple of str, int"),
        (np.array(["a", "b"]), "no input"),
        (None, r"no input(?s:.*)NoneType"),
        (torch.tensor(3.0), "no input"),
    ],
)
def test_batches_that_cannot_be_read(batch, message: str) -> None:
    for call in (
        losses,
        lambda data: logits(A, data, torch.device("cpu")),
        lambda data: ts.compare(A, B, data, evaluation=ts.Evaluation(**CPU)),
    ):
        with pytest.raises(LoaderError, match=message):
            call([batch])


class Rows(Dataset):
    def __len__(self) -> int:
        return 24

    def __getitem__(self, index: int):
        return {"pixel_values": torch.cat([x for x, _ in PAIRS])[index].numpy(), "label": index % 3, "id": str(index)}


def test_loaders_of_data_sets() -> None:
    tensors = TensorDataset(torch.cat([x for x, _ in PAIRS]), torch.arange(24) % 3, torch.arange(24))
    assert losses(DataLoader(Rows(), batch_size=12)) == losses(DataLoader(tensors, batch_size=12)) == losses(PAIRS)
    shuffled = ts.cka(A, B, DataLoader(Rows(), batch_size=12, shuffle=True), execution=ON_CPU)
    assert (shuffled.examples, shuffled.shuffled) == (24, True)


def test_random_augmentation_of_arrays_is_seen() -> None:
    """The middle of a large array, where its text says nothing."""

    class Augmented:
        def __iter__(self):
            images = np.zeros((12, 400), dtype=np.float32)
            images[:, 200] = np.random.default_rng().random(12)
            yield images, np.arange(12) % 3

    with pytest.raises(LoaderError, match="not deterministic"):
        ts.linear_path(nn.Linear(400, 3), nn.Linear(400, 3), {"t": Augmented()}, evaluation=ts.Evaluation(**CPU))


@pytest.mark.kind("data-20")
@pytest.mark.parametrize("dtype", [torch.uint8, torch.bool])
def test_integers_are_kept_for_networks_that_take_them(dtype: torch.dtype) -> None:
    class Scaling(nn.Module):
        def forward(self, x):
            return x.float() / 255

    images = torch.randint(0, 2, (12, 6), generator=torch.Generator().manual_seed(0)).to(dtype)
    a, b = (nn.Sequential(Scaling(), network) for network in networks())
    as_floats = [(images.float() / 255, Y)]
    assert losses_of(a, b, [(images, Y)]) == losses_of(*networks(), as_floats)
    found = ts.compare(
        a,
        b,
        [{"image": images.numpy(), "label": Y}],
        path=ts.PathGrid(points=3, refine=None),
        evaluation=ts.Evaluation(**CPU),
    )
    assert (
        found.mistakes
        == ts.compare(
            *networks(), as_floats, path=ts.PathGrid(points=3, refine=None), evaluation=ts.Evaluation(**CPU)
        ).mistakes
    )


def losses_of(a, b, data):
    found = ts.linear_path(a, b, {"t": data}, alphas=(0, 0.5, 1), evaluation=ts.Evaluation(**CPU))
    return [float(point.losses.mean()) for point in found.points["t"]]


@pytest.mark.kind("data-20")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_bytes_are_refused_where_a_network_takes_none(name: str) -> None:
    data = [(torch.randint(0, 255, (12, 6), generator=torch.Generator().manual_seed(s)).byte(), Y) for s in (0, 1)]
    with pytest.raises(LoaderError, match=r"fails on a batch of torch.uint8(?s:.*)images\.float\(\) / 255"):
        FUNCTIONS[name](*networks(), data)
