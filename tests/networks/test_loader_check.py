"""What a loader draws is looked at twice before anything is computed."""

import random

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset, WeightedRandomSampler

from transferscope.errors import LoaderError
from transferscope.networks.batch import inputs_of
from transferscope.networks.initialisation import randomness_untouched
from transferscope.networks.loader_check import LoaderFacts, check_repeatable

DATA = TensorDataset(torch.arange(46.0)[:, None].expand(46, 3).clone(), torch.zeros(46))


class Augmented(Dataset):
    def __len__(self):
        return 20

    def __getitem__(self, index):
        return torch.full((3,), float(index)) * (1 if torch.rand(()) < 0.5 else -1), 0


class Stream(IterableDataset):
    def __init__(self, noise):
        self.noise = noise

    def __iter__(self):
        return iter(torch.ones(30, 2) + self.noise * torch.rand(30, 2))


def collate_with_noise(items):
    return torch.stack([image for image, _ in items]) + torch.rand(1)


@pytest.mark.parametrize(
    ("loader", "facts"),
    [
        (DataLoader(DATA, batch_size=10), LoaderFacts()),
        (DataLoader(DATA, batch_size=10, shuffle=True), LoaderFacts(shuffled=True)),
        (DataLoader(DATA, batch_size=10, drop_last=True), LoaderFacts(left_out=6)),
        (DataLoader(DATA, batch_size=23, shuffle=True, drop_last=True), LoaderFacts(shuffled=True)),
        (DataLoader(DATA, batch_size=5, sampler=range(7)), LoaderFacts()),
        (DataLoader(DATA, batch_size=None), LoaderFacts()),
        (DataLoader(Stream(0.0), batch_size=5), LoaderFacts()),
        ([torch.ones(4, 2)], LoaderFacts()),
        ([(torch.ones(4, 2), torch.zeros(4))] * 3, LoaderFacts()),
    ],
)
def test_good_loaders(loader, facts):
    assert check_repeatable(loader) == facts


@pytest.mark.parametrize(
    ("loader", "match"),
    [
        (DataLoader(Augmented(), batch_size=5), "another tensor for the same example the second time"),
        (DataLoader(DATA, batch_size=5, collate_fn=collate_with_noise), "another tensor for the same example"),
        (DataLoader(DATA, batch_size=10, shuffle=True, drop_last=True), "draws other examples each time"),
        (DataLoader(DATA, batch_size=10, sampler=WeightedRandomSampler([1.0] * 46, 46)), "draws other examples"),
        (DataLoader(Stream(1.0), batch_size=5), "gives other batches the second time"),
        (iter([torch.ones(4, 2)]), "can be read only once"),
        ([], "has no batches"),
        (DataLoader(DATA, batch_size=50, drop_last=True), "has no batches"),
    ],
)
def test_bad_loaders(loader, match):
    with pytest.raises(LoaderError, match=match):
        check_repeatable(loader)


def test_looking_changes_no_random_state():
    generator = torch.Generator().manual_seed(5)
    loader = DataLoader(DATA, batch_size=10, shuffle=True, generator=generator)
    before = torch.get_rng_state(), generator.get_state(), random.getstate(), np.random.get_state()[1].copy()
    check_repeatable(loader)
    check_repeatable(DataLoader(DATA, batch_size=10, shuffle=True))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert torch.equal(generator.get_state(), before[1])
    assert random.getstate() == before[2]
    assert (np.random.get_state()[1] == before[3]).all()


def test_inputs_of():
    x = torch.ones(2, 3)
    assert inputs_of(x) is x
    assert inputs_of([x, 1]) is x
    assert inputs_of({"x": x}) is x
    for batch in ({"n": x}, [], (3, x)):
        with pytest.raises(LoaderError, match="holds no input that a network could take"):
            inputs_of(batch)


def test_looking_changes_no_random_state_of_an_accelerator(monkeypatch):
    """Two devices that are in use, and one kind that is not and must not be started."""
    states = [torch.tensor([1]), torch.tensor([2])]

    def put_back(given):
        states[:] = given

    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_rng_state_all", lambda: [state.clone() for state in states])
    monkeypatch.setattr(torch.cuda, "set_rng_state_all", put_back)
    monkeypatch.setattr(torch.xpu, "is_initialized", lambda: False)
    monkeypatch.setattr(torch.xpu, "get_rng_state_all", lambda: pytest.fail("it was started"))
    with randomness_untouched():
        states[:] = [torch.tensor([7]), torch.tensor([8])]
    assert [int(state) for state in states] == [1, 2]
