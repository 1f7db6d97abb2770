"""How a network comes to be: recursive settings, each with a key. No torch here.

A :class:`NetworkSpec` names an architecture, a start (random, a file, a checkpoint of another network), and, if it is
trained, its data, recipe and seed. Its key is the hash of all that and of its parents' keys: what was asked for.
"""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from transferscope.data.spec import DataSpec
from transferscope.frozen import Frozen
from transferscope.specs.architecture import Architecture, ControlMethod, CurveShape, Weights
from transferscope.specs.recipe import TRAINER_VERSION, Recipe

STATISTICS_IMAGES = 512
"""Training images on which batch norm's statistics are estimated for a start that mixes or scrambles weights."""


_CONTROL_VERSION = 1
_CURVE_VERSION = 1
_TRANSPLANT_VERSION = 1


class Random(Frozen):
    """The architecture's own random initialisation, drawn from the network's seed."""

    kind: Literal["random"] = "random"


class File(Frozen):
    """Given weights; the head is replaced (drawn from the seed) where its size differs or ``new_head``.

    Attributes:
        weights: where they lie.
        sha256: of their content; this is what the key is made of.
        new_head: draw a new head even where the sizes agree.
    """

    kind: Literal["file"] = "file"
    weights: Weights
    sha256: str
    new_head: bool = True
    not_identity: ClassVar[frozenset[str]] = frozenset({"weights"})


class Checkpoint(Frozen):
    """The weights of another network after one of its epochs.

    Attributes:
        of: the network.
        epoch: 0 is its start; ``last`` its end; ``best`` the epoch with the best validation metric.
        new_head: draw a new head (as for a new task).
    """

    kind: Literal["checkpoint"] = "checkpoint"
    of: "NetworkSpec"
    epoch: Annotated[int, Field(ge=0)] | Literal["last", "best"] = "last"
    new_head: bool = True

    @model_validator(mode="after")
    def _exists(self) -> "Checkpoint":
        epochs = 0 if self.of.recipe is None else self.of.recipe.epochs
        if isinstance(self.epoch, int) and self.epoch > epochs:
            raise ValueError(f"there is no epoch {self.epoch}: the network is trained for {epochs}")
        return self


Origin = Annotated[File | Checkpoint, Field(discriminator="kind")]
"""Where whole pre-trained weights come from."""


class Control(Frozen):
    """Only part of what pre-trained weights hold; the rest is drawn from ``derive_seed(seed, "control", method)``.

    Batch norm's running statistics are estimated on :data:`STATISTICS_IMAGES` training images before training.

    Attributes:
        of: the pre-trained network.
        method: what is kept: see :mod:`transferscope.networks.controls`.
        new_head: draw a new head, the one of RI-T and P-T of the same seed; else the pre-trained head, where it fits,
            is treated like every other layer.
        data: gives the images for batch norm of a network that is not trained; a trained one takes its own.
    """

    kind: Literal["control"] = "control"
    of: Origin
    method: ControlMethod
    new_head: bool = True
    data: DataSpec | None = None

    @model_validator(mode="after")
    def _has_a_head(self) -> "Control":
        if not self.new_head and self.of.new_head:
            raise ValueError("new_head is off, but `of` draws a new head: there is no pre-trained head to keep")
        return self

    def identity(self) -> Any:
        """Add the version of the drawing to what is asked for."""
        return {**super().identity(), "version": _CONTROL_VERSION, "statistics": STATISTICS_IMAGES}


class Transplant(Frozen):
    """Some modules from pre-trained weights, the rest random; the head is drawn from the network's seed.

    Batch norm's running statistics are estimated on :data:`STATISTICS_IMAGES` training images before training.

    Attributes:
        of: the pre-trained network.
        modules: parts, by their name at ``granularity``, that are taken from it; their order does not matter.
        granularity: ``stage``, ``block`` or ``layer``: see :mod:`transferscope.networks.modules`.
        data: see :class:`Control`.
    """

    kind: Literal["transplant"] = "transplant"
    of: Origin
    modules: tuple[str, ...] = Field(min_length=1)
    granularity: Literal["stage", "block", "layer"] = "stage"
    data: DataSpec | None = None

    @field_validator("modules")
    @classmethod
    def _in_one_order(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        # The same modules are the same network: one key.
        return tuple(sorted(set(value)))

    def identity(self) -> Any:
        """Add the version of the transplanting to what is asked for."""
        return {**super().identity(), "version": _TRANSPLANT_VERSION, "statistics": STATISTICS_IMAGES}


class Curve(Frozen):
    """The bend φ of a curve between two networks: before training their midpoint.

    Training moves φ such that the loss is low along the whole curve, not at φ: see
    :mod:`transferscope.training.curve_midpoint`. The ends are the last weights of both networks and do not move.

    Attributes:
        a: where the curve starts.
        b: where it ends; of the same architecture, with as many classes.
        shape: how the curve runs through or past φ.
    """

    kind: Literal["curve"] = "curve"
    a: "NetworkSpec"
    b: "NetworkSpec"
    shape: CurveShape = "bezier"

    def identity(self) -> Any:
        """Name the ends by their keys, and add the version of the training of bends."""
        return {**super().identity(), "a": self.a.key, "b": self.b.key, "version": _CURVE_VERSION}


Start = Annotated[Random | File | Checkpoint | Control | Transplant | Curve, Field(discriminator="kind")]


class NetworkSpec(Frozen):
    """A network: what it is made of and how it was trained.

    Attributes:
        architecture: the network before its weights.
        classes: outputs of the head.
        start: where its weights come from.
        seed: of the random start, the head, the data order, augmentation, dropout.
        data: the examples it is trained on, None if it is not trained.
        recipe: how it is trained, None if it is not trained.
    """

    architecture: Architecture
    classes: int = Field(ge=1)
    start: Start
    seed: int = 0
    data: DataSpec | None = None
    recipe: Recipe | None = None

    @model_validator(mode="after")
    def _holds_together(self) -> "NetworkSpec":
        if (self.data is None) != (self.recipe is None):
            raise ValueError("a trained network needs both data and recipe, an untrained one neither")
        if isinstance(self.start, Control | Transplant) and self.start.data is not None and self.data is not None:
            raise ValueError("the start of a trained network takes its images from the network's own data")
        if isinstance(self.start, Curve):
            ends = (self.start.a, self.start.b)
            if any((end.architecture, end.classes) != (self.architecture, self.classes) for end in ends):
                raise ValueError("the ends of a curve and its bend are of one architecture, with heads of one size")
        return self

    @property
    def origin(self) -> "Random | File | Checkpoint | Curve":
        """Where its weights come from in the end: what a control or a transplant is made of, else its start."""
        return self.start.of if isinstance(self.start, Control | Transplant) else self.start

    @property
    def parents(self) -> tuple["NetworkSpec", ...]:
        """The networks that must exist before this one: of a parent's epoch 0 only its start is needed."""
        origin = self.origin
        if isinstance(origin, Curve):
            return (origin.a, origin.b)
        if not isinstance(origin, Checkpoint):
            return ()
        return (origin.of.untrained() if origin.epoch == 0 else origin.of,)

    @property
    def ancestors(self) -> "tuple[NetworkSpec, ...]":
        """Parents, their parents and so on, the oldest first."""
        return tuple(network for parent in self.parents for network in (*parent.ancestors, parent))

    @property
    def trained(self) -> bool:
        """Whether making it takes a training."""
        return self.recipe is not None

    def identity(self) -> Any:
        """Name parents by their keys, and add the trainer's version."""
        identity = dict(super().identity())
        if isinstance(self.start, Checkpoint):
            identity["start"] = {**identity["start"], "of": self.start.of.key}
        elif isinstance(self.start, Control | Transplant) and isinstance(self.start.of, Checkpoint):
            origin = {**identity["start"]["of"], "of": self.start.of.of.key}
            identity["start"] = {**identity["start"], "of": origin}
        if self.trained:
            identity["trainer"] = TRAINER_VERSION
        return identity

    def untrained(self) -> "NetworkSpec":
        """The same network at its start: RI for RI-T, P (with the same head) for P-T."""
        start = self.start
        if isinstance(start, Control | Transplant) and self.data is not None:
            # Without it batch norm's statistics would have no images.
            start = start.model_copy(update={"data": self.data})
        return self.model_copy(update={"start": start, "data": None, "recipe": None})


Checkpoint.model_rebuild()
Control.model_rebuild()
Transplant.model_rebuild()
Curve.model_rebuild()
NetworkSpec.model_rebuild()
