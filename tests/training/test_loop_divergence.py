"""Trainings whose numbers stop being finite."""

import polars as pl
import torch
from torch import nn

from tests.training.conftest import tiny
from tests.training.small_trainings import run, same
from transferscope.training import loop


class TestDivergence:
    def check(self, training, model):
        history = training.history
        assert training.diverged
        assert history["diverged"].to_list() == [False] * (history.height - 1) + [True]
        numbers = history.select(pl.col(pl.Float64))
        assert not numbers.select(pl.any_horizontal(pl.all().is_nan() | pl.all().is_infinite())).to_series().any()
        assert all(bool(torch.isfinite(value).all()) for value in training.state.values())
        assert same(dict(model.state_dict()), training.state)

    def test_not_finite(self, images, splits, tmp_path):
        model = tiny()
        training = run(images, splits, tmp_path, model, learning_rate=1e30, epochs=3)
        self.check(training, model)
        assert training.history.height == 2
        assert training.state_epoch == 0
        assert training.history["train_loss"][1] is None
        assert training.best_epoch == 0
        again = run(images, splits, tmp_path, epochs=3, learning_rate=1e30)
        assert again.history.equals(training.history)
        assert again.diverged

    def test_not_finite_after_the_last_update(self, images, splits, tmp_path):
        """The mean loss of the epoch is still finite: the clean measurement finds it."""
        model = tiny()
        one = {**splits, "train": splits["train"][:8]}
        training = run(images, one, tmp_path, model, learning_rate=1e38, epochs=3)
        self.check(training, model)
        assert training.history.height == 2
        assert training.history["running_loss"][1] < 10
        assert training.history["train_loss"][1] is None
        assert training.history["train_metric"][1] is None
        assert training.state_epoch == 0

    def test_exploded(self, images, splits, tmp_path):
        """Finite, but far above the start: the weights are those of the end."""
        model = tiny()
        training = run(images, splits, tmp_path, model, learning_rate=300.0, epochs=3, gradient_clip=10.0)
        self.check(training, model)
        last = training.history.row(-1, named=True)
        assert last["running_loss"] > 20 * training.history["train_loss"][0]
        assert training.state_epoch == last["epoch"] == 1

    def test_the_limit_is_a_setting(self, images, splits, tmp_path):
        settings = {"learning_rate": 300.0, "epochs": 1, "gradient_clip": 10.0}
        assert not run(images, splits, tmp_path, divergence_loss=1e9, **settings).diverged

    def test_long_epochs_stop_early(self, images, splits, tmp_path, monkeypatch):
        monkeypatch.setattr(loop, "_FINITE_CHECK_EVERY", 2)
        model = tiny()
        with torch.no_grad():
            model.head.weight.fill_(1e37)
        training = run(images, splits, tmp_path, model, learning_rate=1e30)
        self.check(training, model)
        assert training.history["updates"][-1] < 7

    def test_a_start_that_is_not_finite_has_diverged(self, images, splits, tmp_path):
        model = tiny()
        with torch.no_grad():
            model.head.bias.fill_(float("nan"))
        training = run(images, splits, tmp_path, model)
        assert training.diverged
        assert training.history.height == 1
        assert training.history["train_loss"].to_list() == [None]
        assert training.best_epoch is None

    def test_test_data_decides_nothing(self, images, splits, tmp_path):
        """A network that is not finite on the test images alone goes on."""

        class Sensitive(nn.Module):
            def __init__(self, forbidden):
                super().__init__()
                self.inner, self.forbidden = tiny(), forbidden

            def forward(self, inputs):
                out = self.inner(inputs)
                return out * float("inf") if not self.training and len(inputs) == self.forbidden else out

        training = run(images, splits | {"test": splits["test"][:11]}, tmp_path, Sensitive(11))
        assert not training.diverged
        assert training.history["test_loss"].null_count() == 3
        assert training.history["train_loss"].null_count() == 0
