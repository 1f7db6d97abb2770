"""The recipe of a training: everything that changes its outcome, and nothing else. No torch here."""

from typing import Any, Literal

from pydantic import Field, model_validator

from transferscope.data.spec import Augmentation
from transferscope.frozen import Frozen

TRAINER_VERSION = 1
"""Part of every trained network's key; raised when the loop's results change."""


class Recipe(Frozen):
    """How a network is trained.

    Attributes:
        optimiser: stochastic gradient descent, or AdamW.
        learning_rate: peak learning rate.
        momentum: of SGD.
        nesterov: of SGD: take the gradient where the momentum leads.
        weight_decay: equal for all variants of a study.
        decay_norm_and_bias: also decay norms and biases.
        schedule: of the rate, per update; ``step`` divides by 10 at 50 % and 75 % of the updates.
        warmup_epochs: linear warm-up from 0 (``one_cycle`` has its own and takes none).
        epochs: passes over the training images.
        batch_size: images per update; a last, shorter batch of an epoch is trained on as well unless it holds a single
            image.
        label_smoothing: in [0, 1).
        mixup: α of the Beta distribution; 0 switches it off.
        gradient_clip: largest gradient norm; None switches it off.
        module_rates: factor on the rate by name of a module or parameter (longest prefix wins); 0 freezes it.
        prefix_views: run frozen first modules once for each of so many augmented views of an image, and train on what
            was kept; epoch e sees the augmentation of epoch 1 + (e − 1) mod ``prefix_views``, kept or not, so that
            with as many views as epochs nothing is trained otherwise. None: a view for each epoch, nothing is kept.
        augmentation: of training images.
        precision: ``float32``, or ``bfloat16`` autocast.
        memory_format: ``channels_last`` or ``contiguous``.
        keep: epochs whose weights are kept beside the last: ``none``, ``all`` or a list (0 = start).
        metric: what the history records and the best epoch is chosen by: ``top1``, ``top5`` or ``auc``.
        train_evaluation: how many training images the clean training metric is measured on after each epoch (a fixed
            stratified subset, the same for all networks of a data set); None takes all.
        divergence_loss: a mean training loss above this multiple of the loss at the start (epoch 0), or a loss that is
            not finite, ends the training as "diverged".
    """

    optimiser: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float = Field(gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    nesterov: bool = True
    weight_decay: float = Field(default=1e-4, ge=0)
    decay_norm_and_bias: bool = True
    schedule: Literal["constant", "cosine", "step", "one_cycle"] = "cosine"
    warmup_epochs: float = Field(default=0.0, ge=0)
    epochs: int = Field(ge=1)
    batch_size: int = Field(default=32, ge=2, le=65_536)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    mixup: float = Field(default=0.0, ge=0)
    gradient_clip: float | None = Field(default=None, gt=0)
    module_rates: dict[str, float] = Field(default_factory=dict)
    prefix_views: int | None = Field(default=None, ge=1)
    augmentation: Augmentation = Augmentation()
    precision: Literal["float32", "bfloat16"] = "float32"
    memory_format: Literal["contiguous", "channels_last"] = "contiguous"
    keep: Literal["none", "all"] | tuple[int, ...] = "none"
    metric: Literal["top1", "top5", "auc"] = "top1"
    train_evaluation: int | None = Field(default=None, ge=1)
    divergence_loss: float = Field(default=20.0, gt=1)

    @model_validator(mode="after")
    def _holds_together(self) -> "Recipe":
        if self.warmup_epochs >= self.epochs:
            raise ValueError(f"warmup_epochs ({self.warmup_epochs}) must be below epochs ({self.epochs})")
        if self.schedule == "one_cycle" and self.warmup_epochs:
            raise ValueError("one_cycle has its own warm-up: leave warmup_epochs at 0")
        if any(factor < 0 for factor in self.module_rates.values()):
            raise ValueError("module_rates are factors of at least 0")
        beyond = [] if isinstance(self.keep, str) else [e for e in self.keep if not 0 <= e <= self.epochs]
        if beyond:
            raise ValueError(f"keep names epochs the training has not: {beyond} of 0 to {self.epochs}")
        return self

    def identity(self) -> Any:
        """Leave absent views out: keys are then what they were before a prefix could be kept."""
        identity = dict(super().identity())
        if self.prefix_views is None:
            del identity["prefix_views"]
        return identity

    def augmentation_epoch(self, epoch: int) -> int:
        """The epoch, from 1, whose augmentation an epoch sees again."""
        return epoch if self.prefix_views is None else 1 + (epoch - 1) % self.prefix_views
