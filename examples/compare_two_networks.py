"""Two networks, no study: what do they share, and may they be averaged?

Runs offline on scikit-learn's digits (`pip install scikit-learn`) in about ten seconds; the assertions are its own
numbers' sanity.
"""

import copy

import torch
from sklearn.datasets import load_digits
from torch import nn

import transferscope

torch.manual_seed(0)
digits = load_digits()
images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
labels = torch.tensor(digits.target)


def batches(part: slice) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return list(zip(images[part].split(128), labels[part].split(128), strict=True))


train, test = batches(slice(0, 1280)), batches(slice(1280, None))


def fit(network: nn.Module, epochs: int, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    for _ in range(epochs):
        for index in torch.randperm(len(train)).tolist():
            optimiser.zero_grad()
            nn.functional.cross_entropy(network(train[index][0]), train[index][1]).backward()
            optimiser.step()
    return network.eval()


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, 10),
    )


start = fit(network(), 4, 0)
siblings = [fit(copy.deepcopy(start).train(), 4, seed) for seed in (1, 2)]
strangers = [fit(network(), 8, seed) for seed in (3, 4)]

related = transferscope.compare(
    *siblings, test, evaluation=transferscope.Evaluation(recompute_on=train), granularity="layer"
)
unrelated = transferscope.compare(
    *strangers, test, evaluation=transferscope.Evaluation(recompute_on=train), granularity="layer"
)
print("Two networks trained on from one start:\n" + related.text)
print("\nTwo networks from different random starts:\n" + unrelated.text)

assert related.loss_barrier is not None
assert unrelated.loss_barrier is not None
assert related.distance is not None
assert unrelated.distance is not None
# A shared start keeps them close and without a barrier; two random starts do neither.
assert related.distance.l2 < unrelated.distance.l2
assert related.loss_barrier.linear.value < unrelated.loss_barrier.linear.value
