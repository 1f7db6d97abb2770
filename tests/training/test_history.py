import polars as pl

from transferscope.training.history import EpochRow, EpochTiming, best_epoch, history_frame


def rows(*metrics):
    return [EpochRow(epoch=i, updates=10 * i, validation_metric=value) for i, value in enumerate(metrics)]


def test_best_is_the_earliest_of_equals():
    assert best_epoch(rows(0.5, 0.8, 0.7, 0.8)) == 1


def test_epochs_without_a_metric_are_passed_over():
    assert best_epoch(rows(None, 0.2, None)) == 1
    assert best_epoch(rows(None, None)) is None
    assert best_epoch([]) is None


def test_columns_and_types_do_not_depend_on_the_rows():
    empty, full = history_frame([]), history_frame(rows(0.5, None))
    assert empty.schema == full.schema
    assert full.columns == [
        "epoch",
        "updates",
        "learning_rate",
        "running_loss",
        "train_loss",
        "train_metric",
        "validation_loss",
        "validation_metric",
        "test_loss",
        "test_metric",
        "diverged",
    ]
    assert full.schema["epoch"] == full.schema["updates"] == pl.Int64
    assert full.schema["diverged"] == pl.Boolean
    assert full["validation_metric"].to_list() == [0.5, None]


def test_rate_of_images():
    assert EpochTiming(1, 100, 4.0, 1.0).images_per_second == 25
    assert EpochTiming(0, 0, 0.0, 1.0).images_per_second is None
