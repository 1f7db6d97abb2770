"""What is judged right or wrong: images, or with several labels image-label pairs."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from transferscope.analyses.images import groups_of

if TYPE_CHECKING:
    from torch import Tensor

    from transferscope.context.context import Context

__all__ = ["Judgements"]


@dataclass(frozen=True, eq=False)
class Judgements:
    """The judgements of a split, in the order of its images; of one image, in the order of its labels.

    Attributes:
        truth: ``judgements``: the class, or whether the label holds (0 or 1).
        classes: ``judgements``: the class or label it speaks of.
        images: ``judgements``: place of the image within the split.
        clusters: ``judgements``: what is drawn together in a bootstrap; None draws judgements.
        task: ``multi`` where each label is judged at probability ½.
        names: of the classes or labels.
    """

    truth: npt.NDArray[np.int64]
    classes: npt.NDArray[np.int64]
    images: npt.NDArray[np.int64]
    clusters: npt.NDArray[np.generic] | None
    task: Literal["single", "multi"]
    names: tuple[str, ...]

    @classmethod
    def of(cls, context: "Context", split: Literal["train", "validation", "test"] = "test") -> "Judgements":
        """Those of the target's images of a split."""
        labels = context.labels(split).numpy().astype(np.int64)
        return cls.made(labels, context.study.class_names, groups_of(context, split))

    @classmethod
    def made(
        cls, labels: npt.NDArray[np.int64], names: tuple[str, ...], clusters: npt.NDArray[np.generic] | None
    ) -> "Judgements":
        """From labels ``examples`` or ``examples labels``, and the group of each example."""
        images = np.arange(len(labels))
        if labels.ndim == 1:
            return cls(labels, labels, images, clusters, "single", names)
        count = labels.shape[1]
        # The judgements of one image are drawn together.
        owners = images if clusters is None else clusters
        return cls(
            truth=labels.reshape(-1),
            classes=np.tile(np.arange(count), len(labels)),
            images=np.repeat(images, count),
            clusters=np.repeat(owners, count),
            task="multi",
            names=names,
        )

    def predicted(self, logits: "Tensor") -> npt.NDArray[np.int64]:
        """``judgements``: what a network says; −1 is nothing, which is never right."""
        from transferscope.measures.metrics import predictions

        found: npt.NDArray[np.int64] = predictions(logits, self.task).numpy().reshape(-1)
        return found

    def probabilities(self, logits: "Tensor") -> npt.NDArray[np.float64]:
        """``judgements outcomes``: of each class, or of a label not to hold and to hold."""
        values = logits.double()
        if self.task == "single":
            found: npt.NDArray[np.float64] = values.softmax(1).numpy()
            return found
        holds = values.sigmoid().reshape(-1).numpy()
        return np.stack([1 - holds, holds], axis=1)

    def recall_of(self, item: int) -> npt.NDArray[np.bool_]:
        """Which judgements the recall of a class or label is counted over."""
        found: npt.NDArray[np.bool_] = self.classes == item
        return found if self.task == "single" else found & (self.truth == 1)
