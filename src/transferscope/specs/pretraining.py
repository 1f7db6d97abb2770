"""How networks of a study are trained, before a learning rate is chosen; and a pre-training run of our own."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from transferscope.data.decoding import ImageSize
from transferscope.data.sources import DataSource
from transferscope.data.spec import Augmentation, SplitSettings
from transferscope.frozen import Frozen


class VariantRecipe(Frozen):
    """A recipe without its learning rate, which the analysis ``learning_rate`` chooses on validation data.

    The settings are those of :class:`transferscope.specs.recipe.Recipe`; ``memory_format`` may also be ``auto``.

    Attributes:
        memory_format: ``auto`` measures which of the two is faster for the network on this machine.
    """

    optimiser: Literal["sgd", "adamw"] = "sgd"
    momentum: float = Field(default=0.9, ge=0, lt=1)
    nesterov: bool = True
    weight_decay: float = Field(default=1e-4, ge=0)
    decay_norm_and_bias: bool = True
    schedule: Literal["constant", "cosine", "step", "one_cycle"] = "cosine"
    warmup_epochs: float = Field(default=0.0, ge=0)
    epochs: int = Field(default=10, ge=1)
    batch_size: int = Field(default=32, ge=2, le=65_536)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    mixup: float = Field(default=0.0, ge=0)
    gradient_clip: float | None = Field(default=None, gt=0)
    module_rates: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    prefix_views: int | None = Field(default=None, ge=1)
    augmentation: Augmentation = Augmentation()
    precision: Literal["float32", "bfloat16"] = "float32"
    memory_format: Literal["auto", "contiguous", "channels_last"] = "auto"
    keep: Literal["none", "all"] | tuple[int, ...] = "none"
    train_evaluation: int | None = Field(default=None, ge=1)
    divergence_loss: float = Field(default=20.0, gt=1)

    @model_validator(mode="after")
    def _holds_together(self) -> "VariantRecipe":
        # As in Recipe, which is made only later: a study must not fail in the middle of a run.
        if self.warmup_epochs >= self.epochs:
            raise ValueError(f"warmup_epochs ({self.warmup_epochs:g}) must be below epochs ({self.epochs})")
        if self.schedule == "one_cycle" and self.warmup_epochs:
            raise ValueError("one_cycle has its own warm-up: leave warmup_epochs at 0")
        if not isinstance(self.keep, str) and any(not 0 <= epoch <= self.epochs for epoch in self.keep):
            raise ValueError(f"keep names epochs from 0 to {self.epochs}, got {list(self.keep)}")
        return self

    def identity(self) -> Any:
        """As of a recipe: absent views are left out."""
        identity = dict(super().identity())
        if self.prefix_views is None:
            del identity["prefix_views"]
        return identity


class Pretraining(Frozen):
    """A pre-training run of our own, in place of given weights.

    Attributes:
        data: the source domain's images.
        image_size: of the source images, in pixels.
        splits: of the source data.
        recipe: of the run.
        learning_rate: of the run.
        seed: of the run; not a seed of the target, whose random start would otherwise be that of this run.
        checkpoint: the epoch that is P: a number (0 is the random start), ``last`` or ``best``.
        labels: ``permuted`` exchanges those of the training images at random, as a control: nothing of the classes can
            be learnt, though every label is fitted.
    """

    data: DataSource
    image_size: ImageSize = 64
    splits: SplitSettings = SplitSettings()
    recipe: VariantRecipe = VariantRecipe()
    learning_rate: float = Field(default=0.05, gt=0)
    seed: int = 2000
    checkpoint: Annotated[int, Field(ge=0)] | Literal["last", "best"] = "last"
    labels: Literal["given", "permuted"] = "given"

    def identity(self) -> Any:
        """Leave labels as given out: keys are then what they were before there were others."""
        identity = dict(super().identity())
        if self.labels == "given":
            del identity["labels"]
        return identity

    @model_validator(mode="after")
    def _holds_together(self) -> "Pretraining":
        if isinstance(self.checkpoint, int) and self.checkpoint > self.recipe.epochs:
            raise ValueError(f"checkpoint names an epoch from 0 to {self.recipe.epochs}, got {self.checkpoint}")
        return self
