"""Rewinding and re-randomising modules (paper Fig. 5): what is lost when a module goes back to its start."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, final

import polars as pl
from pydantic import Field, field_validator, model_validator

from transferscope.analyses.checkpoints import chosen_epochs, missing_epochs, too_few
from transferscope.analyses.contract import MeasureResult, Task
from transferscope.analyses.estimates import Quantity
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.images import OnImages
from transferscope.analyses.rewind.summary import QUANTITIES, summary_of
from transferscope.analyses.shuffled_members import AbstractShuffled
from transferscope.analyses.summary import Summary
from transferscope.analyses.tuned import named
from transferscope.context.resolved_study import ResolvedStudy
from transferscope.context.study_network import StudyNetwork
from transferscope.frozen import Once, derive_seed
from transferscope.keys import NO_BATCH_NORM
from transferscope.published import published_of
from transferscope.study.columns import Column, schema

if TYPE_CHECKING:
    from torch import nn

    from transferscope.context.context import Context
    from transferscope.methods.modules.rewind import Rewinding
    from transferscope.study.settings import Study

__all__ = ["Rewind", "published_rows"]

_WHOLE = "the trained network itself"
_PUBLISHED = _WHOLE + ", or published"
_NO_LIMIT = _PUBLISHED + ", or no interval"


@final
class Rewind(AbstractShuffled, OnImages):
    """The metric when a module goes back to its initial value, a random one, or one it had during training.

    All other modules keep their final value. The initial value is the pre-trained one for P-T (of the head its random
    start), the random start for RI-T. The random value is a fresh initialisation: for P-T that of RI of the same seed
    (whose head is the same), for RI-T that of another seed.

    Attributes:
        rewind_to: beside the initial value, ``random`` values and those at kept ``epochs``.
        epochs: which kept epochs modules are rewound to; None for at most ``max_epochs`` of them.
        max_epochs: see ``epochs``.
        groups: modules that are put back together, by name. All modules at once are always among them.
        cumulative: also the first k and the last k modules, for every k.
        margin: largest loss of the metric that counts as nothing.
        batch_norm: ``recompute`` running statistics at every point, or ``none`` to keep the trained network's.
        n_bootstrap: bootstrap draws of the interval over examples.
        published: bars of the paper's Fig. 5 to be drawn beside those of the study.
    """

    rewind_to: Annotated[tuple[Literal["random", "epochs"], ...], Once] = ("random",)
    epochs: Annotated[tuple[int, ...] | None, Once] = None
    max_epochs: int = Field(default=6, ge=3)
    groups: Annotated[tuple[tuple[str, ...], ...], Once] = ()
    cumulative: bool = False
    margin: float = Field(default=0.005, gt=0)
    test_images: int | None = Field(default=None, ge=2)
    batch_norm: Literal["recompute", "none"] = "recompute"
    n_bootstrap: int = Field(default=2000, ge=100)
    published: Literal["none", "chexpert"] = "none"

    name: ClassVar[str] = "rewind"
    title: ClassVar[str] = "Rewinding modules"
    question: ClassVar[str] = "What is lost when a module goes back to its start?"
    reference: ClassVar[str] = "Neyshabur et al. 2020, Fig. 5; Zhang et al. 2019"
    version: ClassVar[int] = 3
    columns: ClassVar[Mapping[str, Column]] = {
        "level": Column(str, "own: as trained; final: by the batch-norm policy; module: one put back; group: several"),
        "origin": Column(str, "study, or the paper's name of the target"),
        "network": Column(str, "as P-T[0]"),
        "variant": Column(str, "P_T, RI_T, or P_T_block_8: trained on blocks of 8 px in another order"),
        "seed": Column(int, "of the network", "count", null="published"),
        "module": Column(str, "what was put back: a module, a group, or (all)", null=_WHOLE),
        "position": Column(int, "depth of the module: 0 is the first; groups come after all", "count", null=_WHOLE),
        "modules": Column(int, "how many were put back", "count"),
        "parameters": Column(int, "of what was put back", "count", null=_PUBLISHED),
        "target_value": Column(str, "initial, random or epoch", null=_WHOLE),
        "epoch": Column(int, "of the training", "count", null="not rewound to an epoch"),
        "displacement": Column(float, "distance from the final value", "ℓ2", null=_PUBLISHED),
        "batch_norm": Column(str, "recompute, none (the trained network's kept), no batch norm, or own statistics"),
        "split": Column(str, "train or test"),
        "examples": Column(int, "images evaluated", "count", null="published, or diverged"),
        "metric_name": Column(str, "top1, top5 or auc"),
        "metric": Column(float, "the metric", "metric", "row", "undefined, outputs not finite, or diverged"),
        "loss": Column(float, "mean loss", "nat", "row", "published, not finite, or diverged"),
        "drop": Column(float, "metric of the final network less this one", "metric", "row", _WHOLE + ", or undefined"),
        "loss_rise": Column(float, "loss less that of the final network", "nat", "row", _PUBLISHED + ", or not finite"),
        "low": Column(float, "lower 95 % limit of the drop, over examples or groups", "metric", "row", _NO_LIMIT),
        "high": Column(float, "upper 95 % limit", "metric", "row", _NO_LIMIT),
        "simultaneous_low": Column(float, "as low, for the whole family at once (Bonferroni)", "metric", "row",
                                   _NO_LIMIT),
        "simultaneous_high": Column(float, "as high, for the whole family at once", "metric", "row", _NO_LIMIT),
        "upper_one_sided": Column(float, "upper one-sided 95 % limit, for the whole family at once", "metric", "row",
                                  _NO_LIMIT),
        "n_comparisons": Column(int, "limits that hold at once: modules of a network put back to like values", "count",
                         null=_PUBLISHED),
        "n": Column(int, "examples or groups that the limits rest on", "count", null=_PUBLISHED),
        "verdict": Column(str, "kept (upper below the margin), lost (the lower one above it) or undecided", "1", "row",
                         _PUBLISHED),
        "evaluation": Column(str, "what was kept of the network before the module", null=_PUBLISHED),
    }  # fmt: skip

    quantities: ClassVar[tuple[Quantity, ...]] = QUANTITIES

    @field_validator("groups")
    @classmethod
    def _several(cls, value: tuple[tuple[str, ...], ...]) -> tuple[tuple[str, ...], ...]:
        if any(len(group) < 2 or len(set(group)) != len(group) for group in value):
            raise ValueError("a group holds two modules or more, each once")
        return value

    @model_validator(mode="after")
    def _holds_together(self) -> "Rewind":
        if self.epochs is not None and "epochs" not in self.rewind_to:
            raise ValueError("epochs: rewind_to does not name 'epochs'")
        return self

    def check_study(self, study: "Study") -> str | None:
        """Blocks that do not divide the image, epochs that are not kept, modules that are not there."""
        recipe = study.training.recipe
        if (reason := super().check_study(study)) is not None:
            return reason
        if (
            "epochs" in self.rewind_to
            and (reason := too_few(recipe) or missing_epochs(recipe, self.epochs)) is not None
        ):
            return reason if reason.startswith("epochs") else f"rewind_to: epochs are asked for, but {reason}"
        if self.groups:
            from transferscope.networks.transplants import parts_with_head

            known = parts_with_head(study.source.architecture, self.granularity)
            lost = sorted({name for group in self.groups for name in group} - set(known))
            if lost:
                return f"groups: there is no {self.granularity} {', '.join(lost)} (there are {', '.join(known)})"
        return None

    def tasks(self, study: ResolvedStudy, evidence: Evidence) -> Iterable[Task]:
        """One for each network, all its modules: they share what is evaluated; and the published bars."""
        yield from (Task(members=(member,)) for member in self.shuffled(study, evidence))
        if self.published != "none":
            yield Task(members=(), settings={"published": self.published})

    def forward_passes(self, task: Task, study: ResolvedStudy) -> int:
        """Every module at every value, as if every pass were whole."""
        from transferscope.networks.transplants import parts_of

        if not task.members:
            return 0
        modules = len(parts_of(study.settings.source.architecture, self.granularity)) + 1
        together = modules + len(self.groups) + 1 + (2 * max(0, modules - 2) if self.cumulative else 0)
        values = 1 + ("random" in self.rewind_to) + len(self._between(study.settings))
        once = self.per_point
        return once * (2 + together * values)

    def _between(self, study: "Study") -> tuple[int, ...]:
        """Kept epochs after the start and before the end."""
        if "epochs" not in self.rewind_to:
            return ()
        return chosen_epochs(study.training.recipe, self.epochs, self.max_epochs)[1:-1]

    def measure(self, task: Task, context: "Context") -> MeasureResult:
        """Put every module of one network back to every value."""
        from transferscope.analyses.rewind.rows import rows_of

        if "published" in task.settings:
            return MeasureResult(published_rows(task.settings["published"], schema(self.columns)))
        (member,) = task.members
        base: dict[str, Any] = {
            "origin": "study", **named(member), "metric_name": context.study.metric
        }  # fmt: skip
        if context.diverged(member.spec):
            lost = {"level": "final", "modules": 0, "batch_norm": self.batch_norm}
            return self.measured({**base, **lost, "split": split} for split in self.limits)
        found = self._rewound(member, context)
        rows = rows_of(found, self.limits, context, self.margin, self.n_bootstrap)
        return self.measured({**base, **row} for row in rows)

    def _rewound(self, member: StudyNetwork, context: "Context") -> "Rewinding":
        from transferscope.methods.modules.rewind import ModuleSelection, rewind
        from transferscope.networks.heads import head_name

        spec = member.spec
        final = context.network(spec)
        # A shuffled network knows shuffled images alone.
        ablation = context.data_of(spec).ablation
        between = self._between(context.study.settings)
        random: nn.Module | None = None
        if "random" in self.rewind_to:
            seed = derive_seed(member.seed, "rewind") if member.variant.startswith("RI") else member.seed
            random = context.network(context.study.untrained("RI", seed))
        return rewind(
            context.network(spec, 0),
            final,
            self.data(context, ablation),
            random=random,
            checkpoints={epoch: context.network(spec, epoch) for epoch in between},
            modules=ModuleSelection(
                groups=self.groups,
                cumulative=self.cumulative,
                granularity=self.granularity,
                head=head_name(final, spec.architecture),
            ),
            evaluation=self.evaluation(context, ablation),
        )

    def summarise(self, table: pl.DataFrame, evidence: Evidence) -> Summary:
        """Which modules are kept, which are lost, and whether P-T bears it better than RI-T."""
        return summary_of(table, self.margin)


def published_rows(domain: str, columns: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """The paper's Fig. 5, as rows of the table.

    Args:
        domain: ``chexpert``.
        columns: schema of the table.
    """
    rows: list[dict[str, Any]] = []
    places: dict[str, int] = {}
    finals: dict[str, float] = {}
    for item in published_of("rewind", domain):
        network = f"{item['variant'].replace('_', '-')} at {item['learning_rate']:g}"
        facts = {"origin": domain, "network": network, "variant": item["variant"], "metric_name": "auc",
                 "split": "test", "metric": item["auc"], "batch_norm": NO_BATCH_NORM}  # fmt: skip
        if item["module"] == "none":
            finals[network] = item["auc"]
            rows.append({**facts, "level": "final", "modules": 0})
            continue
        place = places.setdefault(item["module"], len(places))
        rows.append({**facts, "level": "module", "module": item["module"], "position": place, "modules": 1,
                     "target_value": "initial", "drop": finals[network] - item["auc"]})  # fmt: skip
    return pl.DataFrame(rows, schema=columns)
