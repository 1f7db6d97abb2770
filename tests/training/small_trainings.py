"""A training of seconds by the settings given, and one that uses all of them."""

import torch

from tests.callers import gathered
from tests.training.conftest import spec, tiny
from transferscope.training.loop import train

EVERYTHING = {
    "optimiser": "adamw",
    "schedule": "one_cycle",
    "mixup": 0.4,
    "label_smoothing": 0.1,
    "gradient_clip": 1.0,
    "decay_norm_and_bias": False,
    "module_rates": {"stem": 0.1},
    "learning_rate": 0.01,
    "epochs": 4,
    "keep": "all",
}


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def run(images, splits, folder, model=None, *, classes=2, seed=0, options=None, **recipe):
    model = tiny(classes=classes) if model is None else model
    return train(model, images, splits, spec(classes, seed, **recipe), folder, **gathered(train, **(options or {})))
