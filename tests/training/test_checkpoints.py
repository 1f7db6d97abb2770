import errno
import os

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from transferscope.errors import CorruptEntryError, StoreError, WeightsError
from transferscope.training.checkpoints import WorkingFolder, cpu_state
from transferscope.training.history import EpochRow, EpochTiming
from transferscope.training.progress import Progress, Saved


def saved(identity="a", epoch=1, kept=None):
    rows = tuple(EpochRow(epoch=i, updates=3 * i, train_loss=0.1 + 0.2, train_metric=1 / 3) for i in range(epoch + 1))
    timings = tuple(EpochTiming(row.epoch, 10, 0.1, 0.2) for row in rows)
    state = {"weight": torch.randn(3, 2), "count": torch.tensor(7), "half": torch.ones(2).bfloat16()}
    return Saved(
        Progress(identity, rows, timings, kept or {}, epoch), state, {"momentum_buffer/weight": torch.ones(3, 2)}
    )


def flip_a_byte(path, at=-1):
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def test_what_is_saved_comes_back_bit_for_bit(tmp_path):
    folder = WorkingFolder(tmp_path / "new" / "work", "a")
    assert folder.load() is None
    digest = folder.keep(1, {"weight": torch.zeros(2)})
    original = saved(kept={1: digest})
    folder.save(original)
    found = folder.load()
    assert found.progress == original.progress
    assert (found.progress.epoch, found.progress.diverged) == (1, False)
    for mine, other in ((found.state, original.state), (found.optimiser, original.optimiser)):
        assert mine.keys() == other.keys()
        assert all(torch.equal(mine[name], other[name]) and mine[name].dtype == other[name].dtype for name in mine)
    assert load_file(folder.path(1))["weight"].tolist() == [0, 0]


@pytest.mark.parametrize("at", [-1, 400, 8])
def test_a_changed_byte_is_found(tmp_path, at):
    folder = WorkingFolder(tmp_path, "a")
    folder.save(saved())
    flip_a_byte(tmp_path / "partial.safetensors", at)
    with pytest.raises(CorruptEntryError, match="is damaged"):
        folder.load()


@pytest.mark.parametrize("size", [0, 5, 300])
def test_a_truncated_file_is_found(tmp_path, size):
    folder = WorkingFolder(tmp_path, "a")
    folder.save(saved())
    path = tmp_path / "partial.safetensors"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(CorruptEntryError, match="is damaged"):
        folder.load()


def test_a_damaged_or_missing_checkpoint_is_found(tmp_path):
    folder = WorkingFolder(tmp_path, "a")
    folder.save(saved(kept={1: folder.keep(1, {"weight": torch.zeros(2)})}))
    flip_a_byte(folder.path(1))
    with pytest.raises(CorruptEntryError, match=r"epoch-00001.safetensors is damaged"):
        folder.load()
    folder.drop(1)
    with pytest.raises(CorruptEntryError, match="no file"):
        folder.load()


def test_the_partial_file_of_another_training_is_not_resumed(tmp_path):
    WorkingFolder(tmp_path, "a").save(saved("a"))
    with pytest.raises(CorruptEntryError, match="is another one"):
        WorkingFolder(tmp_path, "b").load()


def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch):
    folder = WorkingFolder(tmp_path, "a")
    before = saved(epoch=1)
    folder.save(before)

    def full(source, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(StoreError, match="No space left"):
            folder.save(saved(epoch=2))
    assert folder.load().progress == before.progress
    assert [path.name for path in tmp_path.iterdir()] == ["partial.safetensors"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot make"):
        WorkingFolder(tmp_path / "file" / "work", "a")


def test_clearing_removes_its_own_files_alone(tmp_path):
    folder = WorkingFolder(tmp_path, "a")
    folder.save(saved(kept={0: folder.keep(0, {"weight": torch.zeros(2)})}))
    (tmp_path / "notes.txt").write_text("mine")
    folder.clear()
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_state_is_a_contiguous_copy_of_its_own():
    shared = nn.Linear(4, 4)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), shared, shared).to(memory_format=torch.channels_last)
    state = cpu_state(model)
    assert all(value.is_contiguous() for value in state.values())
    assert len({value.data_ptr() for value in state.values()}) == len(state)
    with torch.no_grad():
        model[0].weight.zero_()
    assert float(state["0.weight"].abs().sum()) > 0


def test_state_that_is_not_a_tensor_is_refused():
    class Strange(nn.Linear):
        def get_extra_state(self):
            return {"anything": 1}

        def set_extra_state(self, state):
            pass

    with pytest.raises(WeightsError, match="'_extra_state' is not a tensor"):
        cpu_state(Strange(1, 1))
