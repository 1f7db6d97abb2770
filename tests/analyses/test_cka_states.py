"""CKA of many states, one in memory at a time: equal to all at once; groups; what does not fit is named."""

import numpy as np
import pytest
import torch
from torch import nn

from transferscope.errors import LoaderError, MeasureError
from transferscope.methods.evaluation import Execution
from transferscope.methods.similarity.cka import CkaEstimator, cka_networks
from transferscope.methods.similarity.cka_states import cka_states


def network(seed: int, width: int = 6) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.ReLU(inplace=True)),
        nn.Sequential(nn.Conv2d(width, width, 3), nn.BatchNorm2d(width), nn.ReLU()),
        nn.Flatten(),
        nn.Linear(16 * width, 4),
    )


def batches(sizes: tuple[int, ...] = (20, 20, 9)) -> list[torch.Tensor]:
    return [
        torch.randn(size, 3, 8, 8, generator=torch.Generator().manual_seed(size + k)) for k, size in enumerate(sizes)
    ]


@pytest.mark.parametrize("kind", ["unbiased", "biased", "rbf"])
@pytest.mark.parametrize("maps", ["flattened", "pooled"])
def test_equals_all_networks_at_once(kind, maps) -> None:
    models = {f"epoch {seed}": network(seed) for seed in range(4)}
    whole = cka_networks(
        models,
        batches(),
        granularity="layer",
        execution=Execution(device="cpu"),
        estimator=CkaEstimator(kind=kind, maps=maps),
    )
    found = cka_states({label: lambda model=model: model for label, model in models.items()}, batches(),
                       granularity="layer", device="cpu", kind=kind, maps=maps)  # fmt: skip
    assert (found.examples, found.batch_size, found.groups) == (49, 20, 1)
    for i, a in enumerate(models):
        for j, b in enumerate(models):
            expected = whole.between(a, b)
            for position, module in enumerate(found.modules):
                place = whole.modules[a].index(module)
                assert found.values[position, i, j] == pytest.approx(float(expected[place, place]), abs=1e-9)
    assert not found.null.any()


def test_each_state_is_loaded_once_and_dropped() -> None:
    made: list[int] = []
    alive: list[int] = []

    class Counted(nn.Module):
        def __init__(self, seed: int) -> None:
            super().__init__()
            self.inner = network(seed)
            made.append(seed)
            alive.append(seed)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert len(alive) <= 2, "the state before is let go as the next one is made"
            return self.inner(x)

        def __del__(self) -> None:
            alive.remove(alive[0])

    found = cka_states({str(seed): lambda seed=seed: Counted(seed) for seed in range(5)}, batches(), device="cpu")
    assert made == [0, 1, 2, 3, 4]
    assert found.groups == 1
    assert found.gram_bytes == 4 * 5 * len(found.modules) * (400 + 400 + 81)


def test_a_small_budget_takes_modules_in_groups_with_the_same_result() -> None:
    loaded: list[int] = []

    def make(seed: int) -> nn.Module:
        loaded.append(seed)
        return network(seed)

    states = {str(seed): lambda seed=seed: make(seed) for seed in range(3)}
    whole = cka_states(states, batches(), granularity="layer", device="cpu")
    loaded.clear()
    parts = cka_states(states, batches(), granularity="layer", device="cpu", memory=1)
    assert parts.groups == len(parts.modules) == len(whole.modules) > 2
    assert sorted(loaded) == sorted([0, 1, 2] * parts.groups)
    assert parts.modules == whole.modules
    np.testing.assert_allclose(parts.values, whole.values, atol=1e-12)
    assert parts.gram_bytes * parts.groups == whole.gram_bytes


def test_features_without_variation_are_null_and_a_short_last_batch_is_left_out() -> None:
    flat = network(0)
    with torch.no_grad():
        flat[1][0].weight.zero_()
    found = cka_states({"a": lambda: network(1), "b": lambda: flat}, batches((12, 2)), device="cpu")
    assert found.examples == 12
    place = found.modules.index("1")
    assert found.null[place].tolist() == [[False, True], [True, True]]
    assert np.isfinite(found.values).all()


def test_networks_are_given_back_as_they_were() -> None:
    model = network(0).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    cka_states({"a": lambda: model}, batches(), device="cpu")
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_errors() -> None:
    with pytest.raises(MeasureError, match="no state to compare"):
        cka_states({}, batches())
    with pytest.raises(LoaderError, match="the loader has no batches"):
        cka_states({"a": lambda: network(0)}, [], device="cpu")
    with pytest.raises(MeasureError, match="a batch of 2 examples is too small for unbiased CKA"):
        cka_states({"a": lambda: network(0)}, batches((2, 9)), device="cpu")

    class Skips(nn.Module):
        def __init__(self, skip: bool) -> None:
            super().__init__()
            self.first, self.second, self.skip = nn.Linear(192, 6), nn.Linear(6, 6), skip

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.first(x.flatten(1))
            return x if self.skip else self.second(x)

    with pytest.raises(MeasureError, match="the state 'b' has other modules than the first"):
        cka_states({"a": lambda: Skips(False), "b": lambda: Skips(True)}, batches(), granularity="layer", device="cpu")
