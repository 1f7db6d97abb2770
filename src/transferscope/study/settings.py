"""A study: one frozen model of everything that is asked for. No torch here."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, SerializeAsAny, field_serializer, field_validator, model_validator

from transferscope.data.decoding import Decoding, ImageSize
from transferscope.data.sources import DataSource
from transferscope.data.spec import SplitSettings
from transferscope.frozen import Frozen
from transferscope.specs.architecture import Architecture
from transferscope.specs.origin import AbstractOrigin
from transferscope.specs.pretraining import VariantRecipe
from transferscope.study.analysis_settings import AnalysisSettings, answered
from transferscope.study.registry import DEFAULT_ANALYSES, parse_analysis
from transferscope.study.tracker_settings import TrackerSettings


class Source(AbstractOrigin):
    """The pre-trained network.

    Attributes:
        architecture: ``timm:NAME``, ``torchvision:NAME`` or ``package.module:function``.
        weights: ``timm`` (the weights timm names for the architecture), ``package:NAME``, a path, or the long form.
        pretrain: a data set and a recipe, in place of ``weights``.
    """

    architecture: Architecture


class Target(Decoding):
    """The task the network is transferred to.

    Attributes:
        data: labelled images.
        image_size: height and width in pixels.
        splits: how examples are divided, where the source does not say.
        fraction: share of the training images used (stratified, nested).
        metric: ``auto`` is ``auc`` where several labels hold at once, else ``top1``.
        on_unreadable: stop at the first unreadable image, or skip and count them.
    """

    data: DataSource
    image_size: ImageSize = 64
    splits: SplitSettings = SplitSettings()
    fraction: float = Field(default=1.0, gt=0, le=1)
    metric: Literal["auto", "top1", "top5", "auc"] = "auto"
    on_unreadable: Literal["error", "skip"] = "error"


class TrainingSettings(Frozen):
    """How P-T and RI-T are trained: the same recipe and an equal search over learning rates.

    Attributes:
        recipe: of both variants.
        learning_rates: the grid both variants search; extended where the best lies at its edge.
        search: ``grid``: every rate is trained for as long; ``halving``: all for few epochs, the best third anew for
            three times as many, and so on up to ``tuning_epochs``, by one rule for both variants; the analysis
            ``control`` searches the grid in any case.
        tuning_seeds: seeds of the search; report seeds never tune.
        tuning_epochs: of a tuning run; None trains as long as a report run.
        extensions: how many rates may be added beyond each end of the grid.
        rate_rule: ``one_standard_error``: the smallest rate whose validation metric is within one standard error of the
            best, as differences within the noise of the validation images turn out otherwise elsewhere; ``best``: the
            rate of the highest validation metric.
        plateau_epochs: also train RI-T this long (to its plateau) beside the run of equal updates; None does not.
    """

    recipe: VariantRecipe = VariantRecipe()
    learning_rates: tuple[Annotated[float, Field(gt=0)], ...] = Field(default=(0.003, 0.01, 0.03, 0.1), min_length=1)
    search: Literal["grid", "halving"] = "grid"
    tuning_seeds: tuple[int, ...] = Field(default=(1000,), min_length=1)
    tuning_epochs: int | None = Field(default=None, ge=1)
    extensions: int = Field(default=2, ge=0, le=20)
    rate_rule: Literal["one_standard_error", "best"] = "one_standard_error"
    plateau_epochs: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _holds_together(self) -> "TrainingSettings":
        if len(set(self.learning_rates)) != len(self.learning_rates):
            raise ValueError("learning_rates holds a rate twice")
        if len(set(self.tuning_seeds)) != len(self.tuning_seeds):
            raise ValueError("tuning_seeds holds a seed twice")
        if self.plateau_epochs is not None and self.plateau_epochs <= self.recipe.epochs:
            raise ValueError(f"plateau_epochs must be above recipe.epochs ({self.recipe.epochs})")
        return self

    def identity(self) -> Any:
        """Leave out the rule that takes the best rate, and the grid: keys are as they were before."""
        identity = dict(super().identity())
        if self.search == "grid":
            del identity["search"]
        if self.rate_rule == "best":
            del identity["rate_rule"]
        return identity


class Compute(Frozen):
    """Where and how it runs; nothing here changes what is asked for.

    Attributes:
        device: ``auto`` takes cuda, then mps, then cpu.
        threads: of torch in each process; None leaves torch's default.
        executor: ``serial``, or ``processes`` (as many as ``workers``).
        workers: processes.
        evaluation_batch: images per evaluation batch.
        prefix_memory: MiB of memory in which a training may keep what its frozen first modules give
            (``prefix_views`` of a recipe).
        prefix_disk: MiB of a file in which it is kept where that is not enough; where neither is, they run each time.
    """

    device: str = "auto"
    threads: int | None = Field(default=None, ge=1, le=1024)
    executor: Literal["serial", "processes"] = "serial"
    workers: int = Field(default=2, ge=1, le=1024)
    evaluation_batch: int = Field(default=128, ge=4)
    prefix_memory: int = Field(default=2048, ge=0)
    prefix_disk: int = Field(default=8192, ge=0)
    # No value depends on where it is kept.
    not_identity: ClassVar[frozenset[str]] = frozenset({"prefix_memory", "prefix_disk"})


class Study(Frozen):
    """Everything that is asked for, in one file.

    Attributes:
        name: short; names the folder of the results.
        source: the pre-trained network.
        target: the task.
        training: how it is trained.
        seeds: report seeds; 3 for a claim about training in general, 5 for headlines.
        analyses: names, or ``name: {settings}``.
        compute: where and how it runs.
        trackers: where else trainings and results are written: ``mlflow``, ``tensorboard``, ``wandb``, or settings.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    source: Source
    target: Target
    training: TrainingSettings = TrainingSettings()
    seeds: tuple[int, ...] = Field(default=(0, 1, 2), min_length=1)
    analyses: tuple[SerializeAsAny[AnalysisSettings], ...] = Field(
        default_factory=lambda: tuple(parse_analysis(name) for name in DEFAULT_ANALYSES)
    )
    compute: Compute = Compute()
    trackers: tuple[TrackerSettings, ...] = ()
    # A study asks for the same, wherever it is written down.
    not_identity: ClassVar[frozenset[str]] = frozenset({"trackers"})

    @field_validator("trackers", mode="before")
    @classmethod
    def _trackers_from_names(cls, value: Any) -> Any:
        if not isinstance(value, (list, tuple)):
            return value
        return tuple({"kind": item} if isinstance(item, str) else item for item in value)

    @field_validator("analyses", mode="before")
    @classmethod
    def _analyses_from_names(cls, value: Any) -> Any:
        if not isinstance(value, (list, tuple)):
            return value
        return tuple(parse_analysis(item) for item in value)

    @field_serializer("analyses")
    def _analyses_to_names(self, value: tuple[AnalysisSettings, ...]) -> list[dict[str, Any]]:
        return [{analysis.name: analysis.model_dump(mode="json")} for analysis in value]

    @model_validator(mode="after")
    def _holds_together(self) -> "Study":
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError("seeds holds a seed twice")
        both = set(self.seeds) & set(self.training.tuning_seeds)
        if both:
            raise ValueError(f"tuning seeds are not report seeds: {sorted(both)} are both")
        pretrain = self.source.pretrain
        if pretrain is not None and pretrain.seed in {*self.seeds, *self.training.tuning_seeds}:
            raise ValueError(
                f"source.pretrain.seed {pretrain.seed} is also a seed of the target: RI would start where P started"
            )
        keys = [analysis.key for analysis in self.analyses]
        if len(set(keys)) != len(keys):
            raise ValueError("analyses holds the same analysis twice")
        if len({tracker.key for tracker in self.trackers}) != len(self.trackers):
            raise ValueError("trackers holds the same tracker twice")
        misfits = [f"{item.name}.{reason}" for item in self.analyses if (reason := answered(item, "check_study", self))]
        if misfits:
            raise ValueError("; ".join(misfits))
        return self
