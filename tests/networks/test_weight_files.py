import os
import pickle

import pytest
import torch
from safetensors.torch import save_file

from transferscope.errors import StoreError, WeightsError
from transferscope.networks.weight_files import read_file, read_metadata, shared_prefix, write_state

STATE = {"fc.weight": torch.arange(6.0).reshape(2, 3), "fc.bias": torch.tensor([1.0, -2.0])}


def same(a, b):
    return list(a) == list(b) and all(torch.equal(a[k], b[k]) and a[k].dtype == b[k].dtype for k in a)


class Payload:
    """A pickle that would write a file when it is opened freely."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt"])
@pytest.mark.parametrize("zipped", [True, False])
def test_torch_files(tmp_path, suffix, zipped):
    path = tmp_path / f"w{suffix}"
    torch.save(STATE, path, _use_new_zipfile_serialization=zipped)
    assert same(read_file(path), STATE)
    assert read_metadata(path) == {}


def test_safetensors_file(tmp_path):
    save_file(STATE, tmp_path / "w.safetensors")
    got = read_file(str(tmp_path / "w.safetensors"))
    assert {k: got[k] for k in STATE}.keys() == got.keys()
    assert all(torch.equal(got[k], STATE[k]) for k in STATE)


@pytest.mark.parametrize("name", ["state_dict", "model_state_dict", "model", "state_dict_ema", "model_ema"])
def test_nested_tensors(tmp_path, name):
    torch.save({"epoch": 3, name: STATE, "optimizer": {"lr": 0.1}}, tmp_path / "w.pt")
    assert same(read_file(tmp_path / "w.pt"), STATE)


def test_raw_weights_before_an_average(tmp_path):
    torch.save({"state_dict_ema": {k: v + 1 for k, v in STATE.items()}, "state_dict": STATE}, tmp_path / "w.pt")
    assert same(read_file(tmp_path / "w.pt"), STATE)


@pytest.mark.parametrize("prefix", ["module.", "model.", "_orig_mod.", "module._orig_mod.", "model.module."])
def test_shared_prefixes_are_taken_off(tmp_path, prefix):
    torch.save({prefix + k: v for k, v in STATE.items()}, tmp_path / "w.pt")
    assert same(read_file(tmp_path / "w.pt"), STATE)


def test_a_prefix_of_some_names_stays():
    assert shared_prefix(["module.a", "b"]) == ""
    assert shared_prefix([]) == ""


def test_swa_counter_and_integer_counters(tmp_path):
    content = {"n_averaged": torch.tensor(4), "module.bn.num_batches_tracked": 7}
    torch.save(content | {f"module.{k}": v for k, v in STATE.items()}, tmp_path / "w.pt")
    got = read_file(tmp_path / "w.pt")
    assert got["bn.num_batches_tracked"].item() == 7
    assert got.keys() == STATE.keys() | {"bn.num_batches_tracked"}


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt"])
@pytest.mark.parametrize("zipped", [True, False, 2, 4], ids=["zip", "legacy", "protocol 2", "protocol 4"])
def test_a_malicious_pickle_does_not_run(tmp_path, suffix, zipped, monkeypatch):
    trap = tmp_path / "executed"
    path = tmp_path / f"evil{suffix}"
    plain = zipped not in (True, False)
    if plain:
        path.write_bytes(pickle.dumps({"w": Payload(trap)}, protocol=zipped))
    else:
        torch.save({"state_dict": STATE, "w": Payload(trap)}, path, _use_new_zipfile_serialization=zipped)
    # Even an environment that asks torch for free unpickling is not heeded.
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    reason = "Unsupported operand" if zipped == 4 else "system"
    with pytest.raises(WeightsError, match=rf"holds more than tensors(?s:.*)was not opened(?s:.*){reason}"):
        read_file(path)
    assert not trap.exists()
    # The trap is real: free unpickling springs it.
    pickle.loads(path.read_bytes()) if plain else torch.load(path, weights_only=False)
    assert trap.exists()


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt", "w.pth"])
@pytest.mark.parametrize("kept", [0, 7, 0.5, 0.98])
def test_truncated_files(tmp_path, name, kept):
    path = tmp_path / name
    state = {"w": torch.rand(100, 100)}
    save_file(state, path) if name.endswith("safetensors") else torch.save(state, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: kept if isinstance(kept, int) else int(kept * len(whole))])
    for read in (read_file, read_metadata) if name.endswith("safetensors") else (read_file,):
        with pytest.raises(WeightsError, match="is damaged" if kept else "is empty") as caught:
            read(path)
        assert "copy it again" in caught.value.hint


def test_missing_files(tmp_path):
    (tmp_path / "image.pth").write_bytes(b"x")
    with pytest.raises(WeightsError, match=r"does not exist(?s:.*)there are: image\.pth"):
        read_file(tmp_path / "imag.pth")
    with pytest.raises(WeightsError, match=r"does not exist(?s:.*)check the path"):
        read_metadata(tmp_path / "folder" / "w.safetensors")


@pytest.mark.parametrize("content", [[1, 2], {}, {"epoch": 3}])
def test_content_without_tensors(tmp_path, content):
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match="holds no tensor"):
        read_file(tmp_path / "w.pt")


def test_what_is_no_tensor_is_left_out(tmp_path):
    torch.save({"a": torch.ones(1), "b": "text", 3: torch.ones(1)}, tmp_path / "w.pt")
    assert list(read_file(tmp_path / "w.pt")) == ["a", "3"]


def test_empty_safetensors(tmp_path):
    save_file({}, tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match="holds no tensor"):
        read_file(tmp_path / "w.safetensors")


def test_written_files_come_back_to_the_bit(tmp_path):
    tied = torch.randn(4, 4)
    state = {
        "model.a": tied,
        "model.b": tied,  # shared memory
        "model.c": torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last),
        "model.d": torch.randn(3).to(torch.bfloat16),
        "model.n": torch.tensor(3),
        "model.nan": torch.tensor([float("nan"), -0.0]),
    }
    path = tmp_path / "w.safetensors"
    write_state(path, state, {"architecture": "timm:resnet18", "classes": "3"})
    got = read_file(path)
    assert got.keys() == state.keys()  # names are exact: the shared prefix is the network's own
    for name, value in state.items():
        assert got[name].dtype == value.dtype
        assert torch.equal(got[name].view(-1).view(torch.uint8), value.contiguous().view(-1).view(torch.uint8))
    metadata = read_metadata(path)
    assert (metadata["architecture"], metadata["classes"]) == ("timm:resnet18", "3")
    assert [item.name for item in tmp_path.iterdir()] == ["w.safetensors"]


def test_writing_that_fails_leaves_nothing(tmp_path, monkeypatch):
    with pytest.raises(StoreError, match="cannot be written"):
        write_state(tmp_path / "missing" / "w.safetensors", STATE)
    with pytest.raises(WeightsError, match="written as safetensors"):
        write_state(tmp_path / "w.pt", STATE)
    path = tmp_path / "w.safetensors"
    write_state(path, STATE)
    before = path.read_bytes()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(StoreError, match="No space left on device"):
        write_state(path, {"x": torch.ones(3)})
    assert path.read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == ["w.safetensors"]
