"""What analyses that evaluate networks on images have in common: how many images, loaders, and the cost of a point."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import Field

from transferscope.frozen import Frozen

if TYPE_CHECKING:
    import numpy.typing as npt

    from transferscope.context.context import Context
    from transferscope.data.ablation_settings import Ablation
    from transferscope.data.batches import EvaluationBatches
    from transferscope.data.spec import Split
    from transferscope.methods.evaluation import Evaluation
    from transferscope.methods.landscape.buffer_rules import BatchNormPolicy

__all__ = ["OnImages", "batch_norm_note", "clusters_of", "evaluation_of", "groups_of", "on_same"]


class OnImages(Frozen):
    """Settings of an analysis that evaluates networks on training and test images.

    One that lets its user choose declares ``batch_norm`` (statistics are recomputed else) or ``memory``.

    Attributes:
        batch_norm_images: training images the statistics are recomputed on; the same at every point.
        train_images: training images that are evaluated; None for all.
        test_images: test images that are evaluated; None for all.
    """

    batch_norm_images: int = Field(default=256, ge=2)
    train_images: int | None = Field(default=256, ge=2)
    test_images: int | None = Field(default=512, ge=2)

    @property
    def limits(self) -> "dict[Split, int | None]":
        """How many images of each split are evaluated; None for all."""
        return {"train": self.train_images, "test": self.test_images}

    @property
    def per_point(self) -> int:
        """About how many images go through a network at one point, for a plan's estimate of time.

        Recomputing statistics costs about twice a plain pass; all images are taken as 2000 and 1000.
        """
        return 2 * self.batch_norm_images + (self.train_images or 2000) + (self.test_images or 1000)

    def data(self, context: "Context", ablation: "Ablation | None" = None) -> "dict[str, EvaluationBatches]":
        """The images that are evaluated, by split."""
        return {split: context.batches(split, limit, ablation=ablation) for split, limit in self.limits.items()}

    def evaluation(self, context: "Context", ablation: "Ablation | None" = None) -> "Evaluation":
        """How networks are evaluated: with the study's metric, where it runs, by these settings."""
        chosen = {name: getattr(self, name) for name in ("batch_norm", "memory") if hasattr(self, name)}
        return evaluation_of(context, self.batch_norm_images, ablation=ablation, **chosen)


def groups_of(context: "Context", split: "Split", limit: int | None = None) -> "npt.NDArray[Any] | None":
    """The group of each image of a split, of which intervals draw whole groups; None where the data has none.

    Args:
        context: of the study.
        split: whose images.
        limit: at most so many, as in ``context.indices``; None for all.
    """
    import numpy as np

    groups = context.images().groups
    return None if groups is None else np.asarray(groups)[context.indices(split, limit)]


def clusters_of(context: "Context", limits: "Mapping[Split, int | None]") -> "dict[str, npt.NDArray[Any] | None]":
    """As :func:`groups_of`, by split.

    Args:
        context: of the study.
        limits: how many images of each split.
    """
    return {split: groups_of(context, split, limit) for split, limit in limits.items()}


def batch_norm_note(policies: Iterable[str | None], recomputed: str, kept: str) -> tuple[str, ...]:
    """What was done about batch norm, as readers must know; nothing where there is none.

    Args:
        policies: of the rows of a table.
        recomputed: where, and on what; see :func:`on_same`.
        kept: what they are where statistics were not recomputed.
    """
    found = set(policies)
    if found & {"interpolate", "none"}:
        return (f"batch-norm statistics {kept}",)
    return (f"batch-norm statistics recomputed {recomputed}",) if "recompute" in found else ()


def on_same(images: int, place: str = "point") -> str:
    """Where statistics were recomputed, for :func:`batch_norm_note`."""
    return f"at every {place} on the same {images} training images (or all, if fewer)"


def evaluation_of(
    context: "Context",
    batch_norm_images: int,
    batch_norm: "BatchNormPolicy" = "recompute",
    *,
    ablation: "Ablation | None" = None,
    memory: int = 1024,
) -> "Evaluation":
    """How the networks of a study are evaluated: with its metric, where it runs.

    Args:
        context: of the study.
        batch_norm_images: training images batch norm's statistics are recomputed on.
        batch_norm: ``recompute``, or ``interpolate`` or ``none`` to switch that off.
        ablation: of the images.
        memory: MiB that may be kept of what lies before a module that changes alone.
    """
    from transferscope.methods.evaluation import Evaluation

    return Evaluation(
        recompute_on=context.mixed_batches("train", batch_norm_images, ablation=ablation),
        batch_norm=batch_norm,
        metric=context.study.metric,
        device=context.device,
        memory_format=context.memory_format,
        memory=memory,
    )
