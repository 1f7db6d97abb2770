"""What a training keeps, and that it goes on from there to the bit."""

import pytest

from tests.training.conftest import tiny
from tests.training.small_trainings import EVERYTHING, run, same
from transferscope.errors import StopRequested


class TestKeeping:
    def test_chosen_epochs_and_the_best_are_kept(self, images, splits, tmp_path):
        training = run(images, splits, tmp_path, epochs=5, keep=(0, 3))
        assert set(training.checkpoints) == {0, 3, training.best_epoch}
        files = {path.name for path in tmp_path.glob("epoch-*")}
        assert files == {path.name for path in training.checkpoints.values()}

    def test_the_best_epoch_is_the_first_of_the_best(self, images, splits, tmp_path):
        training = run(images, splits, tmp_path, epochs=8)
        metrics = training.history["validation_metric"].to_list()
        assert training.best_epoch == metrics.index(max(metrics))
        assert training.best_epoch > 0  # so that the file of epoch 0 was there and went
        assert set(training.checkpoints) == {training.best_epoch}
        assert [path.name for path in tmp_path.glob("epoch-*")] == [f"epoch-{training.best_epoch:05d}.safetensors"]


class Interrupt:
    """Raises at one update of the training."""

    def __init__(self, update):
        self.left = update

    def __call__(self):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return False


class TestResuming:
    @pytest.fixture
    def straight(self, images, splits, tmp_path):
        return run(images, splits, tmp_path / "straight", tiny(dropout=0.3), **EVERYTHING)

    @pytest.mark.parametrize("update", [0, 3, 7, 17, 27])
    def test_is_bit_identical(self, images, splits, tmp_path, straight, update):
        """7 updates an epoch; AdamW, one-cycle, dropout, mixup, smoothing, clipping, module rates."""
        model, events = tiny(dropout=0.3).eval(), []
        with pytest.raises(KeyboardInterrupt):
            run(images, splits, tmp_path / "b", model, options={"stop_requested": Interrupt(update)}, **EVERYTHING)
        assert not model.training
        resumed = run(
            images, splits, tmp_path / "b", tiny(dropout=0.3), options={"on_event": events.append}, **EVERYTHING
        )
        assert events[0]["kind"] == "training_resumed"
        assert events[0]["epoch"] == update // 7
        assert same(resumed.state, straight.state)
        assert resumed.history.equals(straight.history)
        assert resumed.history.write_csv() == straight.history.write_csv()
        assert resumed.best_epoch == straight.best_epoch
        assert resumed.checkpoints.keys() == straight.checkpoints.keys()
        for epoch, path in resumed.checkpoints.items():
            assert path.read_bytes() == straight.checkpoints[epoch].read_bytes()

    def test_is_bit_identical_with_sgd_channels_last_and_bfloat16(self, images, splits, tmp_path):
        settings = {"memory_format": "channels_last", "precision": "bfloat16", "epochs": 3, "warmup_epochs": 0.5}
        straight = run(images, splits, tmp_path / "a", tiny(dropout=0.3), **settings)
        options = {"stop_requested": Interrupt(15)}
        with pytest.raises(KeyboardInterrupt):
            run(images, splits, tmp_path / "b", tiny(dropout=0.3), options=options, **settings)
        resumed = run(images, splits, tmp_path / "b", tiny(dropout=0.3), **settings)
        assert same(resumed.state, straight.state)
        assert resumed.history.equals(straight.history)

    def test_an_interruption_from_the_listener_is_kept_too(self, images, splits, tmp_path, straight):
        def listener(event):
            if event["kind"] == "epoch" and event["epoch"] == 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run(images, splits, tmp_path / "b", tiny(dropout=0.3), options={"on_event": listener}, **EVERYTHING)
        resumed = run(images, splits, tmp_path / "b", tiny(dropout=0.3), **EVERYTHING)
        assert same(resumed.state, straight.state)
        assert resumed.history.equals(straight.history)

    def test_a_finished_training_is_read_back(self, images, splits, tmp_path, straight):
        events = []
        model = tiny(dropout=0.3)
        again = run(images, splits, tmp_path / "straight", model, options={"on_event": events.append}, **EVERYTHING)
        assert [event["kind"] for event in events] == ["training_resumed"]
        assert again.history.equals(straight.history)
        assert again.timings == straight.timings
        assert same(dict(model.state_dict()), straight.state)

    @pytest.mark.parametrize("damage", ["flipped", "truncated", "checkpoint"])
    def test_a_damaged_partial_starts_again_and_says_so(self, images, splits, tmp_path, straight, damage):
        options = {"stop_requested": Interrupt(16)}
        with pytest.raises(KeyboardInterrupt):
            run(images, splits, tmp_path / "b", tiny(dropout=0.3), options=options, **EVERYTHING)
        path = tmp_path / "b" / ("epoch-00001.safetensors" if damage == "checkpoint" else "partial.safetensors")
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 4
        path.write_bytes(content[:-9] if damage == "truncated" else content)
        events = []
        resumed = run(
            images, splits, tmp_path / "b", tiny(dropout=0.3), options={"on_event": events.append}, **EVERYTHING
        )
        assert events[0]["kind"] == "training_restarted"
        assert "damaged" in events[0]["reason"]
        assert same(resumed.state, straight.state)
        assert resumed.history.equals(straight.history)

    def test_another_recipe_or_split_does_not_resume(self, images, splits, tmp_path):
        run(images, splits, tmp_path)
        for changed, recipe in ((splits, {"learning_rate": 0.01}), ({**splits, "train": splits["train"][:-3]}, {})):
            events = []
            run(images, changed, tmp_path, options={"on_event": events.append}, **recipe)
            assert events[0]["kind"] == "training_restarted"
            assert "another one" in events[0]["reason"]

    def test_a_request_to_stop_says_how_to_go_on(self, images, splits, tmp_path):
        with pytest.raises(StopRequested, match=r"stopped in epoch 1 of 2[\s\S]*goes on after epoch 0"):
            run(images, splits, tmp_path, options={"stop_requested": lambda: True})
