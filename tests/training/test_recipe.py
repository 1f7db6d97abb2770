import pytest
from pydantic import ValidationError

from transferscope.specs.recipe import Recipe


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"warmup_epochs": 3}, r"warmup_epochs \(3.0\) must be below epochs \(3\)"),
        ({"schedule": "one_cycle", "warmup_epochs": 1}, "one_cycle has its own warm-up"),
        ({"module_rates": {"stem": -1}}, "factors of at least 0"),
        ({"keep": (0, 4)}, r"keep names epochs the training has not: \[4\] of 0 to 3"),
        ({"keep": (-1,)}, r"\[-1\] of 0 to 3"),
        ({"learning_rate": 0}, "greater than 0"),
        ({"batch_size": 1}, "greater than or equal to 2"),
        ({"optimizer": "sgd"}, "Extra inputs are not permitted"),
    ],
    ids=str,
)
def test_settings_that_do_not_hold_together(settings, message):
    with pytest.raises(ValidationError, match=message):
        Recipe(**({"learning_rate": 0.1, "epochs": 3} | settings))


def test_every_setting_is_part_of_the_key():
    plain = Recipe(learning_rate=0.1, epochs=3)
    changes = {
        "optimiser": "adamw",
        "learning_rate": 0.2,
        "momentum": 0.5,
        "nesterov": False,
        "weight_decay": 0.1,
        "decay_norm_and_bias": False,
        "schedule": "step",
        "warmup_epochs": 1.0,
        "epochs": 4,
        "batch_size": 16,
        "label_smoothing": 0.1,
        "mixup": 0.2,
        "gradient_clip": 1.0,
        "module_rates": {"stem": 0.1},
        "prefix_views": 2,
        "augmentation": {"flip": False},
        "precision": "bfloat16",
        "memory_format": "channels_last",
        "keep": "all",
        "metric": "auc",
        "train_evaluation": 10,
        "divergence_loss": 5.0,
    }
    assert changes.keys() == Recipe.model_fields.keys()
    keys = {Recipe(**({"learning_rate": 0.1, "epochs": 3} | {name: value})).key for name, value in changes.items()}
    assert len(keys | {plain.key}) == len(changes) + 1
