"""What two networks do on the same data, and what a trunk has forgotten."""

import numpy as np
import pytest
import torch
from torch import nn

from transferscope.errors import WeightsError
from transferscope.files.comparison_estimates import DATA, data_estimates
from transferscope.methods.compare.behaviour import behaviour, forgetting
from transferscope.methods.compare.compare import PathGrid, compare
from transferscope.methods.evaluation import Evaluation

CPU = Evaluation(device="cpu")


class Net(nn.Module):
    def __init__(self, seed: int, classes: int = 3) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.trunk = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU())
        self.head = nn.Linear(8, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.trunk(x))


def data(n: int = 96) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(n, 4, generator=generator)
    labels = torch.randint(0, 3, (n,), generator=generator)
    return list(zip(images.split(32), labels.split(32), strict=True))


def test_likelihood_churn_and_metric_are_those_of_torch() -> None:
    generator = torch.Generator().manual_seed(1)
    first, second = (torch.randn(200, 5, generator=generator) for _ in range(2))
    labels = torch.randint(0, 5, (200,), generator=generator)
    found = behaviour((first, second), labels, "top1")
    losses = [nn.functional.cross_entropy(each.double(), labels) for each in (first, second)]
    for interval, loss in zip(found.nll, losses, strict=True):
        assert interval.value == pytest.approx(float(loss))
        assert interval.low < interval.value < interval.high
    assert found.nll_difference.value == pytest.approx(float(losses[1] - losses[0]))
    assert found.churn.value == float((first.argmax(1) != second.argmax(1)).double().mean())
    right = [(each.argmax(1) == labels).double().mean() for each in (first, second)]
    assert found.difference.value == pytest.approx(float(right[1] - right[0]))
    # Student's t of the mean is what a bootstrap of 200 examples comes near to.
    each = nn.functional.cross_entropy(first.double(), labels, reduction="none").numpy()
    half = 1.96 * each.std(ddof=1) / np.sqrt(200)
    assert found.nll[0].high - found.nll[0].low == pytest.approx(2 * half, rel=0.1)
    grouped = behaviour((first, second), labels, "top1", np.arange(200) // 20)
    assert grouped.nll[0].n == 10
    assert behaviour((first, second * torch.nan), labels, "top1") is None


def test_several_labels_at_once() -> None:
    generator = torch.Generator().manual_seed(2)
    first, second = (torch.randn(60, 3, generator=generator) for _ in range(2))
    labels = torch.randint(0, 2, (60, 3), generator=generator)
    found = behaviour((first, second), labels, "auc")
    assert found.churn.value == pytest.approx(float(((first >= 0) != (second >= 0)).double().mean()))
    assert found.nll[0].value == pytest.approx(
        float(nn.functional.binary_cross_entropy_with_logits(first.double(), labels.double()))
    )
    assert found.calibration[0].n == 60


def test_forgetting_is_the_old_head_on_the_new_trunk() -> None:
    a, b, batches = Net(0).eval(), Net(1, classes=7).eval(), data()
    before = {name: value.clone() for name, value in b.state_dict().items()}
    found = forgetting(a, b, "head", batches, CPU)
    images, labels = (torch.cat(each) for each in zip(*batches, strict=True))
    with torch.no_grad():
        old, new = a.head(a.trunk(images)), a.head(b.trunk(images))
    right = [(each.argmax(1) == labels).double().mean() for each in (old, new)]
    assert found.metric.value == pytest.approx(float(right[0] - right[1]))
    losses = [nn.functional.cross_entropy(each.double(), labels) for each in (old, new)]
    assert found.nll.value == pytest.approx(float(losses[1] - losses[0]), rel=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in b.state_dict().items())
    # Nothing is forgotten by a trunk that did not move, and few examples do not prove it.
    same = forgetting(a, a, "head", batches, CPU)
    assert same.metric.value == 0
    assert same.metric.high > 0.03
    given = Net(5).eval()
    other = forgetting(a, b, "head", batches, CPU, old=given)
    with torch.no_grad():
        both = [(given.head(net.trunk(images)).argmax(1) == labels).double().mean() for net in (a, b)]
    assert other.metric.value == pytest.approx(float(both[0] - both[1]))
    wide = Net(6)
    wide.head = nn.Linear(9, 3)
    with pytest.raises(WeightsError, match="does not fit a trunk"):
        forgetting(a, b, "head", batches, CPU, old=wide)


def test_every_number_of_a_comparison_on_data_has_its_key() -> None:
    a, b, batches = Net(0), Net(1), data()
    found = compare(a, b, batches, Evaluation(device="cpu", recompute_on=batches), path=PathGrid(points=3, refine=None))
    estimates = {item.quantity: item for item in data_estimates(found)}
    assert estimates.keys() == DATA.keys() - {"forgetting", "forgetting_nll"} - (
        {"aligned_error_barrier"} if found.aligned_barrier is None else set()
    )
    assert estimates["error_barrier"].value == found.error_barrier.mean.value
    assert estimates["churn"].value >= abs(estimates["metric_difference"].value)
    other = compare(a, Net(2, classes=7), batches, CPU, head="head", path=PathGrid(points=3, refine=None))
    assert other.behaviour is None
    assert not {item.quantity for item in data_estimates(other)} & {"churn", "ece_a", "nll_a"}
