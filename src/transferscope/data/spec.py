"""Which examples a network sees: source, splits, subset. No torch here."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from transferscope.data.ablation_settings import Ablation, check_study, is_identity
from transferscope.data.decoding import ImageSize
from transferscope.data.sources import DataSource
from transferscope.frozen import Frozen


class Augmentation(Frozen):
    """Random changes of training images, drawn per sample, applied as tensor operations.

    Attributes:
        flip: mirror left-right with probability ½.
        crop_padding: pixels of reflected padding before a random crop back to the image size.
    """

    flip: bool = True
    crop_padding: int = Field(default=4, ge=0)


Split = Literal["train", "validation", "test"]


class SplitSettings(Frozen):
    """How examples are divided. Splits the source gives itself are kept.

    Attributes:
        test: share of the examples held out for testing, where the source names no test split.
        validation: share of the remaining examples that chooses (rates, epochs), where the source names no validation
            split.
        seed: of the draw.
    """

    test: float = Field(default=0.25, gt=0, lt=1)
    validation: float = Field(default=0.15, gt=0, lt=1)
    seed: int = 0


class DataSpec(Frozen):
    """The examples a network is trained and tested on.

    Attributes:
        source: where they come from; the fingerprint stands for it in the identity.
        fingerprint: hash of the decoded images and labels at ``image_size``.
        image_size: height and width in pixels.
        mean: per channel, of pixel values in [0, 1], subtracted.
        std: per channel, divided by.
        splits: how examples are divided.
        fraction: share of the training images used; subsets are stratified and nested.
        subset_seed: of the subset's draw.
        class_sizes: so many training images of each class, of those that ``fraction`` leaves, drawn nested; None takes
            all. For data with one label per image.
        repeats: how often an epoch sees each training image. Parts of unlike size can so be trained for equally many
            updates at equally many epochs.
        ablation: what is taken from every image, train and test, after normalisation; None takes nothing, and is not
            part of the identity.
        labels: ``permuted``: those of the training images are exchanged at random before training, once for all
            networks with this data, so that they tell nothing of the images; ``given`` is not part of the identity.
    """

    source: DataSource
    fingerprint: str
    image_size: ImageSize
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    splits: SplitSettings = SplitSettings()
    fraction: float = Field(default=1.0, gt=0, le=1)
    subset_seed: int = 0
    class_sizes: tuple[Annotated[int, Field(ge=1)], ...] | None = None
    repeats: int = Field(default=1, ge=1)
    ablation: Ablation | None = None
    labels: Literal["given", "permuted"] = "given"
    not_identity: ClassVar[frozenset[str]] = frozenset({"source"})

    @model_validator(mode="after")
    def _holds_together(self) -> "DataSpec":
        if any(value <= 0 for value in self.std):
            raise ValueError("std must be positive")
        if self.ablation is not None and (reason := check_study(self.ablation, self.image_size)) is not None:
            raise ValueError(f"ablation: {reason}")
        return self

    def identity(self) -> Any:
        """Leave out what is not asked for of what came later: keys are then what they were before."""
        later = {"ablation": None, "class_sizes": None, "repeats": 1, "labels": "given"}
        return {
            name: value
            for name, value in dict(super().identity()).items()
            if name not in later or getattr(self, name) != later[name]
        }

    def ablated(self, ablation: Ablation | None) -> "DataSpec":
        """The same examples with another ablation, or none; one that changes nothing is none."""
        if ablation is not None and (reason := check_study(ablation, self.image_size)) is not None:
            raise ValueError(f"ablation: {reason}")
        kept = None if ablation is None or is_identity(ablation, self.image_size) else ablation
        return self.model_copy(update={"ablation": kept})
