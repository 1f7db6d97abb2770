"""Small networks, trained in a moment, that can and cannot be averaged."""

from collections.abc import Callable
from copy import deepcopy
from functools import cache

import torch
from torch import Tensor, nn

from transferscope.methods.averaging.advice import AverageData
from transferscope.methods.evaluation import Evaluation

FEATURES, CLASSES, WIDTH = 6, 3, 16


@cache
def examples() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(2600, FEATURES, generator=generator)
    labels = torch.tanh(inputs @ torch.randn(FEATURES, CLASSES, generator=generator)).argmax(dim=1)
    return inputs, labels


def batches(first: int, last: int) -> list[tuple[Tensor, Tensor]]:
    inputs, labels = examples()
    return [(inputs[at : at + 100], labels[at : at + 100]) for at in range(first, last, 100)]


TRAIN, DATA = batches(0, 600), AverageData(batches(600, 1600), batches(1600, 2600))


def evaluation(**more: object) -> Evaluation:
    return Evaluation(device="cpu", recompute_on=TRAIN, **more)


def network(norm: bool = False) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(FEATURES, WIDTH),
        nn.BatchNorm1d(WIDTH) if norm else nn.Identity(),
        nn.ReLU(),
        nn.Linear(WIDTH, WIDTH),
        nn.ReLU(),
        nn.Linear(WIDTH, CLASSES),
    )


def _seeded(make: Callable[[], nn.Sequential], seed: int) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


@cache
def trained(seed: int, start: int | None = None, norm: bool = False) -> nn.Sequential:
    """A network trained on its own order of examples, from scratch or from the one trained with the seed ``start``."""
    model = _seeded(lambda: network(norm), seed) if start is None else deepcopy(trained(start, norm=norm))
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    generator = torch.Generator().manual_seed(seed)
    inputs, labels = examples()
    model.train()
    for _ in range(80):
        chosen = torch.randint(0, 600, (64,), generator=generator)
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(inputs[chosen]), labels[chosen]).backward()
        optimiser.step()
    return model.eval()


def permuted(model: nn.Sequential, seed: int = 0) -> nn.Sequential:
    """The same function, its first hidden units in another order."""
    order = torch.randperm(WIDTH, generator=torch.Generator().manual_seed(seed))
    other = deepcopy(model)
    with torch.no_grad():
        for place in (0, 1):
            for tensor in (*other[place].parameters(), *other[place].buffers()):
                if tensor.ndim:
                    tensor.copy_(tensor[order])
        other[3].weight.copy_(other[3].weight[:, order])
    return other


def rescaled(model: nn.Sequential) -> nn.Sequential:
    """The same function, half of its hidden units made large and taken back by what reads them: no order mends that."""
    other = deepcopy(model)
    factors = torch.where(torch.arange(WIDTH) % 2 == 0, 60.0, 1.0)
    with torch.no_grad():
        other[0].weight.mul_(factors[:, None])
        other[0].bias.mul_(factors)
        other[3].weight.div_(factors)
    return other
