import random

import numpy as np
import pytest
import torch
from torch import nn

from transferscope.networks.probe_speed import ADVANTAGE, choose_format, probe

CPU = torch.device("cpu")


def factory():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )


def test_the_options_are_measured_and_one_is_chosen():
    result = probe(factory, 16, 4, CPU, steps=2, warmup=1)
    assert list(result.images_per_second) == ["float32 contiguous", "float32 channels_last"]
    assert all(speed > 0 for speed in result.images_per_second.values())
    assert result.memory_format == choose_format(result.images_per_second)
    assert (result.precision, result.image_size, result.batch_size, result.device) == ("float32", 16, 4, "cpu")
    assert result.threads == torch.get_num_threads()


def test_bfloat16_is_listed_but_never_chosen():
    result = probe(factory, 16, 4, CPU, steps=1, warmup=0, bfloat16=True)
    assert len(result.images_per_second) == 4
    assert {name.split()[0] for name in result.images_per_second} == {"float32", "bfloat16"}
    assert result.precision == "float32"


@pytest.mark.parametrize(
    ("contiguous", "channels_last", "expected"),
    [
        (100.0, 100.0, "contiguous"),
        (100.0, 104.9, "contiguous"),
        (100.0, 100.0 * ADVANTAGE, "channels_last"),
        (141.0, 206.0, "channels_last"),
        (206.0, 141.0, "contiguous"),
    ],
)
def test_the_rule(contiguous, channels_last, expected):
    speeds = {"float32 contiguous": contiguous, "float32 channels_last": channels_last, "bfloat16 channels_last": 1e9}
    assert choose_format(speeds) == expected


def test_the_choice_follows_the_clock(monkeypatch):
    """A clock that gives channels_last half the time: the decision is made of what was measured."""
    ticks, steps = [0.0], [0]

    def clock():
        steps[0] += 1
        if steps[0] % 2 == 0:
            ticks[0] += 2.0 if steps[0] % 4 == 2 else 1.0
        return ticks[0]

    monkeypatch.setattr("transferscope.networks.probe_speed.time.perf_counter", clock)
    result = probe(factory, 16, 4, CPU, steps=3, warmup=1)
    assert result.images_per_second == {"float32 contiguous": 2.0, "float32 channels_last": 4.0}
    assert result.memory_format == "channels_last"


def test_global_randomness_is_unchanged():
    torch.manual_seed(0), random.seed(0), np.random.seed(0)
    expected = torch.rand(1).item(), random.random(), np.random.rand()
    torch.manual_seed(0), random.seed(0), np.random.seed(0)
    probe(factory, 16, 4, CPU, steps=1, warmup=0)
    assert (torch.rand(1).item(), random.random(), np.random.rand()) == expected


def test_randomness_comes_back_after_a_factory_that_fails():
    def failing():
        torch.rand(5)
        raise RuntimeError("no such network")

    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    with pytest.raises(RuntimeError, match="no such network"):
        probe(failing, 16, 4, CPU)
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
def test_randomness_of_the_accelerator_is_unchanged():
    before = torch.cuda.get_rng_state()
    probe(factory, 16, 4, torch.device("cuda"), steps=1, warmup=0)
    assert torch.equal(torch.cuda.get_rng_state(), before)
