"""Small networks and plain loops to watch."""

from typing import Any

import torch
from torch import Tensor, nn

import transferscope

EVERY = transferscope.Recording(every=1)


def small(classes: int = 3, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, classes)
    )


def batches(count: int, seed: int = 1, classes: int = 3) -> list[tuple[Tensor, Tensor]]:
    draw = torch.Generator().manual_seed(seed)
    return [
        (torch.randn(8, 1, 6, 6, generator=draw), torch.randint(classes, (8,), generator=draw)) for _ in range(count)
    ]


def train(model: nn.Module, watch: Any, epochs: int = 2, steps: int = 4, seed: int = 1) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for epoch in range(epochs):
        for images, labels in batches(steps, seed + epoch):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
            watch.step()
            watch.log(loss=loss)
        watch.log(accuracy=0.5 + 0.1 * epoch)
        watch.epoch()
