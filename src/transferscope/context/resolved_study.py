"""A study with its facts looked up: what an analysis needs to name networks."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from transferscope.data.spec import DataSpec
from transferscope.errors import AnalysisError
from transferscope.specs.network import Checkpoint, File, NetworkSpec, Random, Start
from transferscope.specs.recipe import Recipe

if TYPE_CHECKING:
    from transferscope.data.sources import DataSource
    from transferscope.specs.architecture import Architecture
    from transferscope.specs.pretraining import VariantRecipe
    from transferscope.study.candidate import Candidate
    from transferscope.study.other_source import OtherSource
    from transferscope.study.settings import Study

BASELINES = ("RI", "P")
"""Networks before training on the target; in every table."""
TRAINED = ("RI_T", "P_T")
"""Networks after training on the target."""


def recipe_of(
    settings: "VariantRecipe",
    learning_rate: float,
    memory_format: Literal["contiguous", "channels_last"],
    metric: str,
    epochs: int | None = None,
) -> Recipe:
    """A complete recipe: the settings with a rate, a memory format, a metric and, where given, other epochs."""
    fields = settings.model_dump()
    fields.update(
        learning_rate=learning_rate,
        metric=metric,
        memory_format=memory_format if settings.memory_format == "auto" else settings.memory_format,
    )
    if epochs is not None:
        fields.update(epochs=epochs)
        # A kept epoch or a warm-up beyond a shorter run's end would make the shorter recipe invalid.
        if not isinstance(settings.keep, str):
            fields.update(keep=tuple(epoch for epoch in settings.keep if epoch <= epochs))
        fields.update(warmup_epochs=min(settings.warmup_epochs, epochs / 2))
    return Recipe(**fields)


@dataclass(frozen=True)
class ResolvedCandidate:
    """A pre-trained network that may be taken in the source's place.

    Attributes:
        architecture: of the network.
        start: its weights.
        data: the target's examples, at its image size and normalised as its weights want them.
        memory_format: probed for this architecture on this machine.
    """

    architecture: "Architecture"
    start: File | Checkpoint
    data: DataSpec
    memory_format: Literal["contiguous", "channels_last"]


@dataclass(frozen=True)
class ResolvedStudy:
    """A study whose data, weights and memory format were looked up.

    Attributes:
        settings: the study.
        data: the target's examples.
        class_names: of the target.
        multi_label: whether several labels may hold at once.
        metric: ``top1``, ``top5`` or ``auc``.
        pretrained: the start of P.
        memory_format: probed for this architecture on this machine.
        references: further data sets that its analyses look at, at the target's image size.
        class_counts: how many of the target's training images each class has, or each label.
        training_images: how many there are.
        others: pre-trained networks beside the source's that its analyses start from.
        candidates: those of architectures of their own.
    """

    settings: "Study"
    data: DataSpec
    class_names: tuple[str, ...]
    multi_label: bool
    metric: str
    pretrained: File | Checkpoint
    memory_format: Literal["contiguous", "channels_last"]
    references: tuple[DataSpec, ...] = ()
    class_counts: tuple[int, ...] = ()
    training_images: int = 0
    others: "tuple[tuple[OtherSource, File | Checkpoint], ...]" = ()
    candidates: "tuple[tuple[Candidate, ResolvedCandidate], ...]" = ()

    def reference(self, source: "DataSource") -> DataSpec:
        """The examples of a data set that an analysis named in ``data_sources``.

        Raises:
            AnalysisError: none did.
        """
        for data in self.references:
            if data.source == source:
                return data
        raise AnalysisError(
            f"the study has no data set {source.kind!r} beside its target",
            hint="name it in data_sources() of the analysis that reads it",
        )

    def other(self, source: "OtherSource") -> File | Checkpoint:
        """The start that an analysis named in ``other_sources``.

        Raises:
            AnalysisError: none did.
        """
        for asked, start in self.others:
            if asked == source:
                return start
        raise AnalysisError(
            "the study has no such pre-trained network beside its source's",
            hint="name it in other_sources() of the analysis that starts from it",
        )

    def candidate(self, asked: "Candidate | None") -> ResolvedCandidate:
        """A candidate that an analysis named in ``other_sources``; the source itself where None.

        Raises:
            AnalysisError: none did.
        """
        if asked is None:
            return ResolvedCandidate(self.settings.source.architecture, self.pretrained, self.data, self.memory_format)
        for known, found in self.candidates:
            if asked == known:
                return found
        raise AnalysisError(
            "the study has no such candidate beside its source",
            hint="name it in other_sources() of the analysis that starts from it",
        )

    @property
    def seeds(self) -> tuple[int, ...]:
        """The report seeds."""
        return self.settings.seeds

    @property
    def task(self) -> Literal["single", "multi"]:
        """``multi`` where several labels may hold at once."""
        return "multi" if self.multi_label else "single"

    def untrained(self, variant: str, seed: int) -> NetworkSpec:
        """RI or P: the start of RI-T or P-T of the same seed, with the same head."""
        start: Start = Random() if variant.startswith("RI") else self.pretrained
        return NetworkSpec(
            architecture=self.settings.source.architecture, classes=len(self.class_names), start=start, seed=seed
        )

    def recipe(self, learning_rate: float, epochs: int | None = None) -> Recipe:
        """The recipe of both variants, at a rate."""
        return recipe_of(self.settings.training.recipe, learning_rate, self.memory_format, self.metric, epochs)

    def trained(self, variant: str, seed: int, learning_rate: float, epochs: int | None = None) -> NetworkSpec:
        """RI-T or P-T of one seed at a given rate."""
        start = self.untrained(variant, seed)
        return NetworkSpec(
            architecture=start.architecture,
            classes=start.classes,
            start=start.start,
            seed=seed,
            data=self.data,
            recipe=self.recipe(learning_rate, epochs),
        )

    def trained_from(self, start: Start, seed: int, learning_rate: float, epochs: int | None = None) -> NetworkSpec:
        """A network trained like P-T of the same seed from another start: with its head, order and augmentation."""
        return self.trained("P_T", seed, learning_rate, epochs).model_copy(update={"start": start})

    def trained_candidate(
        self,
        network: ResolvedCandidate,
        seed: int,
        learning_rate: float,
        *,
        pretrained: bool,
        epochs: int | None = None,
    ) -> NetworkSpec:
        """A candidate trained on the target, from its weights or from its random start."""
        recipe = recipe_of(self.settings.training.recipe, learning_rate, network.memory_format, self.metric, epochs)
        return NetworkSpec(
            architecture=network.architecture,
            classes=len(self.class_names),
            start=network.start if pretrained else Random(),
            seed=seed,
            data=network.data,
            recipe=recipe,
        )
