"""Files of weights as other programs leave them: what is found, what is left out, what is refused."""

import argparse
import builtins
import collections
import datetime
import decimal
import os
import pathlib
import uuid

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn.utils import prune

from tests.situations.checkpoints import WRAPPERS, Hostile, network, other, trunk, under
from transferscope.errors import WeightsError
from transferscope.networks import known_layouts
from transferscope.networks.architectures import build
from transferscope.networks.weight_files import read_file
from transferscope.networks.weight_pickles import read_pickle
from transferscope.networks.weights import load, read_state, state_hash, take
from transferscope.specs.architecture import Architecture, FileWeights

RESNET = Architecture(name="timm:test_resnet")
VIT = "timm:test_vit"


@pytest.fixture(autouse=True)
def few_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that a file of unknown origin is compared with takes long to build; three stand for them."""
    monkeypatch.setattr(known_layouts, "CANDIDATES", ("timm:resnet18", "torchvision:resnet18", "timm:resnet10t"))


@pytest.fixture(scope="module")
def state():
    return network()


def taken(path, content, which=None, architecture=RESNET):
    torch.save(content, path)
    return take(FileWeights(path=str(path), which=which), architecture)


def equal(found, expected):
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.kind("data-9")
@pytest.mark.parametrize("name", sorted(WRAPPERS))
def test_wrappers(tmp_path, state, name):
    wrapped = WRAPPERS[name](state)
    found = taken(tmp_path / "w.pt", wrapped.content)
    model = build(RESNET, 3, 1)
    load(model, found.state, "fc", new_head=not wrapped.head)
    expected = state if wrapped.head else trunk(state)
    assert all(torch.equal(model.state_dict()[key], value) for key, value in expected.items())
    for words in wrapped.says:
        assert words in "; ".join(found.remarks)


@pytest.mark.kind("data-9")
@pytest.mark.parametrize(
    "content",
    [
        lambda s: {"network": {"encoder": {"weights": s}}},
        lambda s: {"module": under("backbone.", s), "dp_world_size": 1},
        lambda s: {"state": {"model": under("module.net.", s)}, "rng": torch.get_rng_state()},
        lambda s: [s, {"lr": 0.1}],
        lambda s: {"model_state": under("_forward_module.module.", s), "scaler": {"scale": torch.ones(1)}},
        lambda s: under("online_encoder.net.", s) | under("online_encoder.projector.", {"0.weight": torch.ones(9, 9)}),
        lambda s: {"ema": s},
    ],
)
def test_more_wrappers(tmp_path, state, content):
    assert equal(taken(tmp_path / "w.pt", content(state)).state, state)


@pytest.mark.kind("data-9")
def test_a_safetensors_file_of_a_larger_model(tmp_path, state):
    path = tmp_path / "w.safetensors"
    save_file({**under("vision.backbone.", state), **under("text.", {"emb.weight": torch.ones(9)})}, path)
    found = take(FileWeights(path=str(path)), RESNET)
    assert equal(found.state, state)
    assert found.remarks == ("found under vision.backbone", "left out: text.emb.weight")


@pytest.mark.kind("data-9")
@pytest.mark.parametrize("head", ["classifier.1", "fc.0", "head.fc", "last_linear", "heads.head", "fc.net.2"])
def test_only_a_head_does_not_fit(tmp_path, state, head):
    content = {**trunk(state), **under(f"{head}.", {"weight": torch.ones(10, 9), "bias": torch.ones(10)})}
    found = taken(tmp_path / "w.pt", content)
    model = build(RESNET, 3, 1)
    load(model, found.state, "fc", new_head=True)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in trunk(state).items())
    with pytest.raises(WeightsError, match="only the head 'fc' does not fit"):
        load(model, found.state, "fc", new_head=False)


@pytest.mark.kind("data-9")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        # Parts within the network's own modules, or beside a head that fits, may belong to what it computes.
        (lambda s: {**s, "layer1.7.conv1.weight": torch.ones(3)}, "1 unexpected"),
        (lambda s: {**s, "norm_pre.weight": torch.ones(3)}, "1 unexpected"),
        (lambda s: {k: v for k, v in s.items() if not k.startswith("layer2.0.bn1")}, "4 missing"),
        (lambda s: {"a": s, "b": other(s)}, "holds 2 networks that fit"),
        (lambda s: {**under("left.", s), **under("right.", other(s))}, "holds 2 networks that fit"),
        (lambda s: {"shadow_params": list(s.values())}, "do not fit"),
    ],
)
def test_what_is_not_surely_the_network_is_refused(tmp_path, state, change, message):
    with pytest.raises(WeightsError, match=message) as caught:
        taken(tmp_path / "w.pt", change(state))
    assert caught.value.hint


@pytest.mark.kind("masks")
@pytest.mark.parametrize("prefix", ["", "module.", "net.backbone."])
def test_a_network_saved_while_it_is_pruned(tmp_path, state, prefix):
    model, expected = build(RESNET, 3, 0), dict(state)
    model.load_state_dict(state)
    for name in ("fc", "layer1.0.conv1"):
        module = model.get_submodule(name)
        prune.l1_unstructured(module, "weight", 0.5)
        size = state[f"{name}.weight"].abs()
        expected[f"{name}.weight"] = torch.where(size > size.median(), state[f"{name}.weight"], 0.0)
    found = taken(tmp_path / "w.pt", {"state_dict": under(prefix, model.state_dict())})
    assert equal(dict(sorted(found.state.items())), dict(sorted(expected.items())))
    assert "2 pruned weights are taken times their masks" in found.remarks
    assert not any("left out" in remark for remark in found.remarks)
    load(build(RESNET, 3, 1), found.state, "fc", new_head=False)
    # A network that is pruned itself gets what the file holds.
    twin = build(RESNET, 3, 1)
    for name in ("fc", "layer1.0.conv1"):
        prune.identity(twin.get_submodule(name), "weight")
    load(twin, read_file(tmp_path / "w.pt"), "fc", new_head=False)
    assert equal(twin.state_dict(), model.state_dict())


@pytest.mark.kind("data-9")
def test_the_hash_is_that_of_the_tensors_alone(tmp_path, state):
    plain = taken(tmp_path / "a.pt", state).state
    wrapped = taken(tmp_path / "b.pt", {"net": under("model.", state), "optimizer": {"m": torch.ones(9)}}).state
    assert state_hash(plain) == state_hash(wrapped) == state_hash(state)


@pytest.mark.kind("data-23")
@pytest.mark.parametrize(
    ("raw", "average"),
    [
        ("state_dict", "state_dict_ema"),
        ("model", "model_ema"),
        ("state_dict", "ema_state_dict"),
        ("params", "params_ema"),
        ("online_model", "ema_model"),
        ("student", "teacher"),
        ("net", "swa_model"),
    ],
)
def test_an_average_beside_the_weights(tmp_path, state, raw, average):
    content = {average: under("module.", other(state)), raw: state}
    found = taken(tmp_path / "w.pt", content)
    assert equal(found.state, state)
    assert f"{average} fits as well (which: ema)" in found.remarks
    assert equal(taken(tmp_path / "w.pt", content, "ema").state, other(state))
    assert equal(taken(tmp_path / "w.pt", content, average).state, other(state))
    assert equal(taken(tmp_path / "w.pt", content, "raw").state, state)
    with pytest.raises(WeightsError, match=f"no weights under which='best'(?s:.*){average}"):
        taken(tmp_path / "w.pt", content, "best")


@pytest.mark.kind("data-23")
def test_equal_networks_are_one(tmp_path, state):
    copy = {name: value.clone() for name, value in state.items()}
    assert equal(taken(tmp_path / "w.pt", {"a": state, "b": copy}).state, state)
    assert equal(taken(tmp_path / "w.pt", {"a": state, "b": other(state)}, "b").state, other(state))


HARMLESS = {
    "float64": np.float64(1.5),
    "int32": np.int32(3),
    "bool": np.bool_(True),
    "dtype": np.dtype("float32"),
    "array": np.arange(6.0).reshape(2, 3),
    "texts": np.array(["a", "b"]),
    "path": pathlib.Path("/tmp/x"),
    "pure path": pathlib.PureWindowsPath("C:/x"),
    "namespace": argparse.Namespace(lr=0.1, out=pathlib.Path("x"), nested=argparse.Namespace(a=np.float32(1))),
    "ordered": collections.OrderedDict(a=1),
    "default": collections.defaultdict(list, {"a": [1]}),
    "counter": collections.Counter("aab"),
    "deque": collections.deque([1, 2], maxlen=3),
    "date": datetime.datetime(2024, 1, 2, tzinfo=datetime.UTC),
    "delta": datetime.timedelta(seconds=3),
    "decimal": decimal.Decimal("0.1"),
    "uuid": uuid.UUID(int=3),
    "set": {1, 2},
    "frozen set": frozenset({1}),
    "torch version": torch.__version__,
    "device": torch.device("cpu"),
    "random state": np.random.default_rng(0).bit_generator.state,
}


@pytest.mark.kind("data-12")
@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", HARMLESS)
def test_harmless_values(tmp_path, name, zipped):
    weights = {"w": torch.arange(3.0)}
    torch.save({"state_dict": weights, "x": HARMLESS[name]}, tmp_path / "w.pt", _use_new_zipfile_serialization=zipped)
    assert equal(read_file(tmp_path / "w.pt"), weights)


class Filled:
    """A pickle that fills an object with a state of the attacker's."""

    def __init__(self, make, arguments, state):
        self.made = (make, arguments, state)

    def __reduce__(self):
        return self.made


HOSTILE = {
    "os.system": lambda trap: Hostile(os.system, f"touch {trap}"),
    "eval": lambda trap: Hostile(builtins.eval, f"open({str(trap)!r}, 'w')"),
    "exec": lambda trap: Hostile(builtins.exec, f"open({str(trap)!r}, 'w')"),
    "getattr": lambda trap: Hostile(getattr, pathlib.Path(trap), "touch"),
    "open": lambda trap: Hostile(open, str(trap), "w"),
    "import": lambda trap: Hostile(__import__, "os"),
    "numpy's loader": lambda trap: Hostile(np.load, str(trap)),
    "torch's loader": lambda trap: Hostile(torch.load, str(trap)),
    "torch's hub": lambda trap: Hostile(torch.hub.load, str(trap), "x"),
    "numpy's files": lambda trap: Hostile(np.memmap, str(trap), "u1", "w+"),
    "a method": lambda trap: Hostile(pathlib.Path.touch, pathlib.Path(trap)),
    "map": lambda trap: Hostile(map, os.system, [f"touch {trap}"]),
}


@pytest.mark.kind("data-12")
@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickles_are_refused(tmp_path, name, zipped):
    trap = tmp_path / "executed"
    content = {"state_dict": {"w": torch.ones(1)}, "x": HOSTILE[name](trap)}
    torch.save(content, tmp_path / "w.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match="was not opened"):
        read_state(FileWeights(path=str(tmp_path / "w.pt")), RESNET)
    assert not trap.exists()


@pytest.mark.kind("data-12")
@pytest.mark.parametrize(
    "value",
    [
        # NumPy's own functions would read any memory as an object here; a path's own would be a real path.
        Filled(np._core.multiarray.scalar, (np.dtype("O"), b"AAAAAAAA"), None),
        Filled(np.dtype, ("O", False, True), (3, "|", None, None, None, -1, -1, 0)),
        Filled(np._core.multiarray._reconstruct, (np.ndarray, (0,), b"b"), (1, (9**9,), np.dtype("O"), False, b"A")),
        Filled(argparse.Namespace, (), {"__class__": 1, "__dict__": {}}),
        Filled(pathlib.PosixPath, ("/etc", "passwd"), {"_drv": 1}),
        Filled(int, ("9" * 4000,), None),
        Filled(bytes, (10**12,), None),
        Filled(datetime.timedelta, ("no", "number"), None),
    ],
)
def test_nothing_is_made_of_allowed_names(tmp_path, value):
    torch.save({"state_dict": {"w": torch.ones(1)}, "x": value}, tmp_path / "w.pt")
    content = read_pickle(tmp_path / "w.pt")
    assert type(content["x"]).__module__ == "transferscope.networks.weight_pickles"


@pytest.mark.kind("data-13")
@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("bn1.running_var", lambda v: v.index_fill(0, torch.tensor([3]), -1.0), "the variance -1"),
        ("layer1.0.conv1.weight", lambda v: v * float("nan"), "NaN"),
        ("layer3.0.bn2.bias", lambda v: v / 0, "infinite"),
        ("layer3.0.bn2.running_mean", lambda v: v.double() * 1e300, "infinite"),
        ("conv1.0.weight", lambda v: v.to(torch.int8), "int8"),
        ("conv1.0.weight", lambda v: v.long(), "int64"),
        ("fc.weight", lambda v: v.to(torch.float8_e4m3fn), "float8_e4m3fn"),
        ("fc.bias", lambda v: v.to(torch.complex64), "complex64"),
        ("layer2.0.bn1.weight", lambda v: v > 0, "bool"),
        ("fc.weight", lambda v: torch.quantize_per_tensor(v, 0.1, 0, torch.qint8), "quantised"),
        ("fc.weight", lambda v: v.to_sparse(), "sparse"),
        ("fc.weight", lambda v: v.to("meta"), "no values"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_values_that_cannot_work(tmp_path, state, name, change, message):
    path = tmp_path / "w.pt"
    with pytest.raises(WeightsError, match=message) as caught:
        taken(path, {**state, name: change(state[name])})
    assert name in caught.value.got
    assert str(path) in caught.value.what


@pytest.mark.kind("data-13")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_converted_and_said(tmp_path, state, dtype):
    content = {name: value.to(dtype) if value.is_floating_point() else value for name, value in state.items()}
    found = taken(tmp_path / "w.pt", content)
    assert f"converted from {dtype} to torch.float32".replace("torch.", "") in found.remarks[-1]
    model = build(RESNET, 3, 1)
    load(model, found.state, "fc", new_head=False)
    assert torch.equal(model.state_dict()["fc.weight"], state["fc.weight"].to(dtype).float())


@pytest.mark.kind("data-13")
@pytest.mark.parametrize("change", [torch.zeros_like, lambda value: value * 1e20])
def test_odd_values_that_work(tmp_path, state, change):
    content = {name: change(value) if value.is_floating_point() else value for name, value in state.items()}
    content["criterion.weight"] = torch.tensor([float("nan")])  # what is left out may be anything
    assert len(taken(tmp_path / "w.pt", content).state) == len(state)


@pytest.mark.kind("data-19")
@pytest.mark.parametrize(
    ("name", "options", "changed"),
    [
        (VIT, {"img_size": 32}, ["pos_embed"]),
        (VIT, {"img_size": 96}, ["pos_embed"]),
        (VIT, {"img_size": 64, "patch_size": 8}, ["pos_embed", "patch_embed.proj.weight"]),
        ("timm:test_vit2", {"img_size": 48}, ["pos_embed"]),
        ("timm:test_vit3", {"img_size": 32}, ["pos_embed"]),
    ],
)
def test_weights_of_another_image_size(tmp_path, name, options, changed):
    from timm.layers import resample_abs_pos_embed
    from timm.models.vision_transformer import checkpoint_filter_fn

    state = build(Architecture(name=name), 3, 0).state_dict()
    architecture = Architecture(name=name, options=options)
    found = taken(tmp_path / "w.pt", {"state_dict": under("module.", state)}, architecture=architecture)
    model = build(architecture, 3, 1)
    report = load(model, found.state, "head", new_head=False)
    expected = checkpoint_filter_fn(dict(state), model)
    assert equal(model.state_dict(), expected)
    prefix = state["pos_embed"].shape[1] - 100
    own = resample_abs_pos_embed(state["pos_embed"], list(model.patch_embed.grid_size), num_prefix_tokens=prefix)
    assert torch.equal(model.pos_embed, own)
    assert all(name in report.remarks[0] for name in changed)
    assert "resampled" in str(report)


@pytest.mark.kind("data-19")
def test_shapes_that_no_resampling_mends(tmp_path):
    state = build(Architecture(name=VIT), 3, 0).state_dict()
    wide = Architecture(name=VIT, options={"embed_dim": 128})
    with pytest.raises(WeightsError, match=r"of another shape(?s:.*)set its options as they were"):
        taken(tmp_path / "w.pt", state, architecture=wide)
