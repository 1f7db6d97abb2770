"""What a training tells, and what it refuses."""

import numpy as np
import pytest
from torch import nn

from tests.training.conftest import spec, tiny
from tests.training.small_trainings import run
from transferscope.errors import ArchitectureError, DataError, LoaderError, StudyError
from transferscope.training import loop
from transferscope.training.loop import train


class TestEvents:
    def test_come_at_a_limited_rate(self, images, splits, tmp_path, monkeypatch):
        clock = iter(np.arange(10000) / 16)  # exact steps
        monkeypatch.setattr(loop.time, "perf_counter", lambda: float(next(clock)))
        events = []
        training = run(images, splits, tmp_path, options={"on_event": events.append})
        told = [event for event in events if event["kind"] == "training"]
        assert [event["step"] for event in told] == [4] * 2
        assert set(told[0]) == {"kind", "network", "epoch", "epochs", "step", "steps", "images_per_second"}
        assert told[0]["steps"] == 7
        assert told[0]["images_per_second"] == pytest.approx(4 * 8 / 0.25)
        assert training.timings[1].images_per_second > 0


class TestErrors:
    def test_nothing_to_train_with(self, images, splits, tmp_path):
        with pytest.raises(StudyError, match="not a trained one"):
            train(tiny(), images, splits, spec().untrained(), tmp_path)

    def test_labels_of_another_task(self, images, many_labels, splits, tmp_path):
        with pytest.raises(DataError, match="set the task to single"):
            run(images, splits, tmp_path, options={"task": "multi"})
        with pytest.raises(DataError, match="set the task to multi"):
            run(many_labels, splits, tmp_path, classes=3)

    def test_labels_beyond_the_head(self, images, many_labels, splits, tmp_path):
        with pytest.raises(DataError, match="do not fit a head of 1 classes"):
            run(images, splits, tmp_path, classes=1)
        with pytest.raises(DataError, match="got:      3 labels"):
            run(many_labels, splits, tmp_path, classes=2, options={"task": "multi", "metric": "auc"})

    def test_no_training_images(self, images, splits, tmp_path):
        with pytest.raises(DataError, match="no training split"):
            run(images, {"test": splits["test"]}, tmp_path)
        with pytest.raises(DataError, match="too few training images"):
            run(images, {"train": splits["train"][:1]}, tmp_path)

    def test_auxiliary_outputs(self, images, splits, tmp_path):
        class Auxiliary(nn.Module):
            def __init__(self):
                super().__init__()
                self.inner = tiny()

            def forward(self, inputs):
                out = self.inner(inputs)
                return (out, out) if self.training else out

        with pytest.raises(ArchitectureError, match=r"does not give logits in train mode[\s\S]*tuple"):
            run(images, splits, tmp_path, Auxiliary())

    def test_batches_that_do_not_fit_the_schedule(self, images, splits, tmp_path, monkeypatch):
        original = loop.TrainingBatches
        monkeypatch.setattr(loop, "TrainingBatches", lambda *given, **more: list(original(*given, **more))[:-1])
        with pytest.raises(LoaderError, match=r"expected: 7 batches[\s\S]*got:      6"):
            run(images, splits, tmp_path)
