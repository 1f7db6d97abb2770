"""How a network comes to be: recursive settings, each with a key. No torch here.

A :class:`NetworkSpec` names an architecture, a start (random, a file, a checkpoint of another network), and, if it is
trained, its data, recipe and seed. Its key is the hash of all that and of its parents' keys: what was asked for.
"""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from transferscope.data.spec import DataSpec
from transferscope.frozen import Frozen
from transferscope.networks.settings import Architecture, Weights
from transferscope.training.recipe import TRAINER_VERSION, Recipe

__all__ = ["Checkpoint", "File", "NetworkSpec", "Random", "Start"]


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


Start = Annotated[Random | File | Checkpoint, Field(discriminator="kind")]


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
        return self

    @property
    def parents(self) -> tuple["NetworkSpec", ...]:
        """The networks that must exist before this one: of a parent's epoch 0 only its start is needed."""
        if not isinstance(self.start, Checkpoint):
            return ()
        return (self.start.of.untrained() if self.start.epoch == 0 else self.start.of,)

    @property
    def ancestors(self) -> "tuple[NetworkSpec, ...]":
        """Parents, their parents and so on, the oldest first."""
        return tuple(network for parent in self.parents for network in (*parent.ancestors, parent))

    @property
    def trained(self) -> bool:
        """Whether making it takes a training."""
        return self.recipe is not None

    def identity(self) -> Any:
        """As of :class:`Frozen`, parents by their key, with the trainer's version."""
        identity = dict(super().identity())
        if isinstance(self.start, Checkpoint):
            identity["start"] = {**identity["start"], "of": self.start.of.key}
        if self.trained:
            identity["trainer"] = TRAINER_VERSION
        return identity

    def untrained(self) -> "NetworkSpec":
        """The same network at its start: RI for RI-T, P (with the same head) for P-T."""
        return self.model_copy(update={"data": None, "recipe": None})


Checkpoint.model_rebuild()
NetworkSpec.model_rebuild()
