import warnings

import pytest
import torch

from transferscope.specs.recipe import Recipe
from transferscope.training.schedules import learning_rate, warmup_updates

schedulers = torch.optim.lr_scheduler


def theirs(make, total, rate=0.3):
    """The rates a torch scheduler sets, update by update."""
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate)
    scheduler = make(optimiser)
    rates = []
    for _ in range(total):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # SequentialLR itself uses a deprecated argument
            scheduler.step()
    return rates


def ours(per_epoch, **settings):
    recipe = Recipe(learning_rate=0.3, **settings)
    return [learning_rate(recipe, update, per_epoch) for update in range(recipe.epochs * per_epoch)]


def warm(optimiser, warmup, after):
    start = schedulers.LinearLR(optimiser, start_factor=1 / (warmup + 1), total_iters=warmup)
    return schedulers.SequentialLR(optimiser, [start, after], milestones=[warmup])


@pytest.mark.parametrize("per_epoch", [1, 7, 10])
def test_cosine_is_torchs(per_epoch):
    total = 5 * per_epoch
    expected = theirs(lambda o: schedulers.CosineAnnealingLR(o, T_max=total), total)
    assert ours(per_epoch, epochs=5, schedule="cosine") == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_warmup_then_cosine_is_torchs():
    per_epoch, total, warmup = 10, 50, 15
    expected = theirs(lambda o: warm(o, warmup, schedulers.CosineAnnealingLR(o, T_max=total - warmup)), total)
    rates = ours(per_epoch, epochs=5, schedule="cosine", warmup_epochs=1.5)
    assert rates == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert rates[0] > 0
    assert max(rates) == rates[warmup] == pytest.approx(0.3)


def test_warmup_then_constant_is_torchs():
    expected = theirs(lambda o: warm(o, 4, schedulers.ConstantLR(o, factor=1.0, total_iters=0)), 12)
    assert ours(4, epochs=3, schedule="constant", warmup_epochs=1) == pytest.approx(expected)


@pytest.mark.parametrize("per_epoch", [4, 5])
def test_step_is_torchs(per_epoch):
    total = 4 * per_epoch
    milestones = [-(-total // 2), -(-3 * total // 4)]
    expected = theirs(lambda o: schedulers.MultiStepLR(o, milestones, gamma=0.1), total)
    assert ours(per_epoch, epochs=4, schedule="step") == pytest.approx(expected)


@pytest.mark.parametrize("total", [4, 5, 7, 10, 33, 100])
def test_one_cycle_is_torchs(total):
    # torch refuses the step after the last one, so its rates are read before each step.
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = schedulers.OneCycleLR(optimiser, max_lr=0.3, total_steps=total, cycle_momentum=False)
    rates = [optimiser.param_groups[0]["lr"]]
    for _ in range(total - 1):
        optimiser.step()
        scheduler.step()
        rates.append(optimiser.param_groups[0]["lr"])
    assert ours(total, epochs=1, schedule="one_cycle") == pytest.approx(rates, rel=1e-9)


@pytest.mark.parametrize("total", [1, 2, 3])
def test_one_cycle_of_few_updates_starts_at_the_peak(total):
    rates = ours(total, epochs=1, schedule="one_cycle")
    assert rates[0] == pytest.approx(0.3)
    assert rates == sorted(rates, reverse=True)


def test_constant_is_constant():
    assert set(ours(3, epochs=2, schedule="constant")) == {0.3}


def test_warmup_is_counted_in_updates():
    assert warmup_updates(Recipe(learning_rate=1, epochs=3, warmup_epochs=0.5), 9) == 4
    assert warmup_updates(Recipe(learning_rate=1, epochs=3), 9) == 0


@pytest.mark.parametrize("update", [-1, 6])
def test_an_update_outside_the_training_has_no_rate(update):
    with pytest.raises(ValueError, match="is outside"):
        learning_rate(Recipe(learning_rate=1, epochs=2), update, 3)
