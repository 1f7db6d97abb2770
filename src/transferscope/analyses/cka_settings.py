"""What analyses of feature similarity have in common: how CKA is estimated, on which images, and its columns."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from transferscope.analyses.contract import Task
from transferscope.analyses.modules import OnModules
from transferscope.analyses.tuned import AbstractTuned, OnSeeds
from transferscope.context.resolved_study import ResolvedStudy
from transferscope.study.columns import Column

if TYPE_CHECKING:
    from torch import nn

    from transferscope.context.context import Context
    from transferscope.methods.similarity.cka_states import StatesCka

__all__ = ["CKA", "AbstractSimilarity", "AbstractStatesSimilarity"]

CKA: Mapping[str, Column] = {
    "cka": Column(float, "CKA, at most 1; unbiased unless estimator says biased, so small negative values occur", "1",
                  "test", "features without variation"),
    "estimator": Column(str, "unbiased or biased (linear kernel), or rbf"),
    "pooling": Column(str, "flattened, or pooled over positions"),
    "examples": Column(int, "test images used", "count"),
    "batch": Column(int, "images per Gram matrix", "count"),
}  # fmt: skip
"""Columns of a CKA and of how it was estimated."""


class AbstractSimilarity(AbstractTuned, OnModules, OnSeeds):
    """CKA of the modules of networks on test images.

    Attributes:
        estimator: ``unbiased`` or ``biased`` HSIC with the linear kernel, or ``rbf`` (unbiased, as wide as the median
            distance of a batch).
        pooling: feature maps ``flattened``, or ``pooled`` over positions.
        test_images: test images used; None for all.
        batch_size: images per Gram matrix; a last batch shorter than the others is weighted by its images.
        max_seeds: at most so many seeds of RI-T and P-T; None for all.
    """

    estimator: Literal["unbiased", "biased", "rbf"] = "unbiased"
    pooling: Literal["flattened", "pooled"] = "flattened"
    test_images: int | None = Field(default=512, ge=8)
    batch_size: int = Field(default=64, ge=4)

    def forward_passes(self, task: Task, study: ResolvedStudy) -> int:
        """Every network sees every image once, at every epoch that is looked at."""
        return len(task.members) * len(task.settings.get("epochs", [-1])) * (self.test_images or 1000)

    def estimated_on(self, examples: int, batch: int) -> dict[str, Any]:
        """The values of the columns :data:`CKA` beside CKA itself."""
        return {"estimator": self.estimator, "pooling": self.pooling, "examples": examples, "batch": batch}


class AbstractStatesSimilarity(AbstractSimilarity):
    """CKA of like modules, of which only one network is in memory at a time.

    Attributes:
        memory: MiB of Gram matrices held at once; beyond it modules are taken in groups, and each network is read
            once for each group.
    """

    memory: int = Field(default=1024, ge=1)

    def states(self, states: "Mapping[str, Callable[[], nn.Module]]", context: "Context") -> "StatesCka":
        """One pass of each network over the test images; what gives a network is called by its label."""
        from transferscope.methods.similarity.cka_states import cka_states

        return cka_states(
            states,
            context.mixed_batches("test", self.test_images, self.batch_size),
            granularity=self.granularity,
            device=context.device,
            memory_format=context.memory_format,
            kind=self.estimator,
            maps=self.pooling,
            memory=self.memory * 2**20,
        )

    def row(self, found: "StatesCka", position: int, i: int, j: int) -> dict[str, Any]:
        """One module of two networks: the columns ``module, position`` and :data:`CKA`."""
        cka = None if found.null[position, i, j] else float(found.values[position, i, j])
        at = {"module": found.modules[position], "position": position, "cka": cka}
        return {**at, **self.estimated_on(found.examples, found.batch_size)}
