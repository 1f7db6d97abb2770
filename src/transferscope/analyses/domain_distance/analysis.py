"""How far the target is from the source (R1.4: "decreasing visual similarity" measured)."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, final

import polars as pl
from pydantic import Field

from transferscope.analyses.contract import AbstractAnalysis, MeasureResult, Task
from transferscope.analyses.estimates import Estimate, Quantity
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.summary import Summary
from transferscope.analyses.tuned import tuned_member
from transferscope.context.resolved_study import ResolvedStudy
from transferscope.data.sources import DataSource
from transferscope.data.spec import SplitSettings
from transferscope.keys import SPECTRUM_SLOPE
from transferscope.study.columns import Column

if TYPE_CHECKING:
    from transferscope.context.context import Context
    from transferscope.data.spec import DataSpec, Split
    from transferscope.methods.domains.features import Observed
    from transferscope.study.settings import Study

__all__ = ["DomainDistance"]

_BETWEEN, _STATISTICS = "target to source", "target to statistics"
_WORDS = {
    "frechet": "Fréchet distance in P's features",
    "kernel": "kernel distance (squared MMD) in P's features",
    "proxy_a": "proxy-A distance in P's features",
    "batch_norm": "distance from P's batch-norm statistics",
    "colour": "distance in colour moments",
    SPECTRUM_SLOPE: "slope of the power spectrum",
}
_UNITS = {"frechet": "feature²", "colour": "pixel value"}
_DISTANCES = {
    name: Quantity(name.replace(" ", "_"), f"{words}, {{compared}}", _UNITS.get(name, "1"))
    for name, words in _WORDS.items()
}
_NULL = Quantity("null", "two halves of the source: {measure}", labels={"measure": _WORDS})
_EXCESS = Quantity(
    "above_chance", "{measure}, {compared}, less that of two halves of the source", labels={"measure": _WORDS}
)

_ATTRIBUTES = {
    "part": "place",
    "above_chance": "excess",
    "above_chance_low": "excess_low",
    "above_chance_high": "excess_high",
}
"""Where a column is named otherwise than the attribute of the measured row."""


@final
class DomainDistance(AbstractAnalysis):
    """Distance between source and target images: in P's features, from its batch-norm statistics, and in themselves.

    The target's training images stand against images that P was not trained on: the test images of a pre-training of
    the study's own, or all images of ``reference_data``. Without either, only what needs no source images.

    Attributes:
        reference_data: any data source, in place of the images of ``source.pretrain``.
        images_per_set: at most so many images of the target and of the source.
        granularity: of the parts for which the Fréchet distance is given along the network.
        n_resamples: of random halves, for the null and standard errors.
        penalty: ℓ2 penalty of the linear domain classifier on standardised features.
    """

    reference_data: DataSource | None = None
    images_per_set: int = Field(default=1000, ge=16)
    granularity: Literal["stage", "block", "layer"] = "stage"
    n_resamples: int = Field(default=20, ge=2)
    penalty: float = Field(default=0.01, gt=0)

    name: ClassVar[str] = "domain_distance"
    title: ClassVar[str] = "Distance between source and target"
    question: ClassVar[str] = "How far is the target from the data that the network was pre-trained on?"
    reference: ClassVar[str] = (
        "Heusel et al. 2017, eq. 6; Bińkowski et al. 2018, §3; Ben-David et al. 2007, §4; Stricker & Orengo 1995"
    )
    version: ClassVar[int] = 1
    columns: ClassVar[Mapping[str, Column]] = {
        "quantity": Column(
            str, "frechet, kernel, proxy_a, batch_norm, colour, spectrum slope, or colour mean, deviation, skewness"
        ),
        "compared": Column(str, "target to source, target or source to P's statistics, or target or source alone"),
        "part": Column(
            str, "a part, (features): what enters the head, a batch norm, (all) of them, a channel, or (images)"
        ),
        "position": Column(int, "order of the places of a quantity; −1 for what enters the head, and for totals",
                           "count"),
        "value": Column(float,
                        "the quantity; of two sets the mean over draws, at as many images of each as `examples` says",
                        "as the quantity", "train", "not defined: see note"),
        "low": Column(float, "lower end of the 95 % interval over images", "as value", "train", "no interval"),
        "high": Column(float, "upper end of the 95 % interval over images", "as value", "train", "no interval"),
        "standard_error": Column(float, "over images", "as value", "train", "too few images"),
        "relative": Column(float, "Fréchet distance over the total variance of the source's features", "1", "train",
                           "another quantity"),
        "null": Column(float, "the same between two halves of the source", "as value", "train",
                       "nothing that two sets are needed for"),
        "null_deviation": Column(float, "its spread over the draws", "as value", "train", "no null"),
        "above_chance": Column(float, "value − null", "as value", "train", "no null"),
        "above_chance_low": Column(float, "lower 95 % limit over images", "as value", "train", "no null"),
        "above_chance_high": Column(float, "upper 95 % limit over images", "as value", "train", "no null"),
        "examples": Column(int, "images of each set that the number rests on", "count"),
        "features": Column(int, "numbers per image", "count"),
        "note": Column(str, "what a reader must know", null="nothing"),
    }  # fmt: skip
    quantities: ClassVar[tuple[Quantity, ...]] = (*_DISTANCES.values(), _NULL, _EXCESS)

    def data_sources(self, study: "Study") -> Iterable[tuple[DataSource, SplitSettings]]:
        """The images on the source's side, if there are any."""
        if self.reference_data is not None:
            yield self.reference_data, SplitSettings()
        elif study.source.pretrain is not None:
            yield study.source.pretrain.data, study.source.pretrain.splits

    def tasks(self, study: ResolvedStudy, evidence: Evidence) -> Iterable[Task]:
        """One: both sets are compared with each other."""
        member = tuned_member(study, "P", study.seeds[0], evidence)
        found = self._source(study)
        # Its content decides, wherever it lies.
        settings = {} if found is None else {"source": found[0].key, "split": found[1]}
        yield Task(members=(member,), settings=settings)

    def _source(self, study: ResolvedStudy) -> "tuple[DataSpec, Split | None] | None":
        """The images on the source's side, and which of them."""
        if self.reference_data is not None:
            return study.reference(self.reference_data), None
        pretrain = study.settings.source.pretrain
        return None if pretrain is None else (study.reference(pretrain.data), "test")

    def forward_passes(self, task: Task, study: ResolvedStudy) -> int:
        """P sees every image once."""
        return self.images_per_set * (1 if self._source(study) is None else 2)

    def measure(self, task: Task, context: "Context") -> MeasureResult:
        """One pass of P over each set."""
        from transferscope.methods.domains.distance import compare_domains

        found = self._source(context.study)
        target = self._observed(task, context, context.study.data, "train")
        source = None if found is None else self._observed(task, context, *found)
        rows = compare_domains(
            source, target, draws=self.n_resamples, penalty=self.penalty, seed=context.seed("domain_distance")
        )
        return self.measured({name: getattr(row, _ATTRIBUTES.get(name, name)) for name in self.columns} for row in rows)

    def _observed(self, task: Task, context: "Context", data: "DataSpec", split: "Split | None") -> "Observed":
        import numpy as np

        from transferscope.methods.domains.features import Domain, observe
        from transferscope.networks.heads import head_name

        spec = task.members[0].spec
        model = context.network(spec)
        batches, indices = context.sample(data, split, self.images_per_set)
        groups = context.images(data).groups
        return observe(
            model,
            Domain(batches, None if groups is None else np.asarray(groups)[indices], data.mean, data.std),
            head_name(model, spec.architecture),
            granularity=self.granularity,
            device=context.device,
            memory_format=context.memory_format,
        )

    def summarise(self, table: pl.DataFrame, evidence: Evidence) -> Summary:
        """Each distance with its null, and whether the two sets can be told apart."""
        totals = table.filter((pl.col("position") == -1) & pl.col("quantity").is_in(list(_WORDS)))
        estimates: list[Estimate] = []
        for row in totals.iter_rows(named=True):
            name, compared = row["quantity"], row["compared"]
            unit = _UNITS.get(name, "1")
            estimates.append(
                _DISTANCES[name].at_row(_interval(row, "value", "low", "high"), row["note"], compared=compared)
            )
            if row["null"] is None:
                continue
            estimates.append(_NULL.number(row["null"], row["examples"], unit=unit, measure=name))
            excess = _interval(row, "above_chance", "above_chance_low", "above_chance_high")
            estimates.append(_EXCESS.at_row(excess, unit=unit, measure=name, compared=compared))
        found = {(item.quantity, *item.at.values()): item for item in estimates}
        notes = [
            "distances are those that this pre-trained network sees, at the target's image size; they speak of these "
            "images, not of how well the transfer works"
        ]
        if ("frechet", _BETWEEN) not in found:
            notes.append("no source images were given: `reference_data` names any data set to compare with")
        return Summary(_verdict(found), tuple(estimates), tuple(notes))


def _interval(row: Mapping[str, Any], value: str, low: str, high: str) -> dict[str, Any]:
    basis = None if row[low] is None else "examples"
    return {"value": row[value], "low": row[low], "high": row[high], "basis": basis, "n": row["examples"]}


def _verdict(found: Mapping[tuple[Any, ...], Estimate]) -> str:
    frechet = found.get(("frechet", _BETWEEN))
    if frechet is not None:
        null, excess = found["null", "frechet"], found["above_chance", "frechet", _BETWEEN]
        said = f"Fréchet distance {_short(frechet)} against {_short(null)} between two halves of the source"
        if excess.low is not None:
            said += f", 95 % interval of the excess over {excess.n} images each {excess.low:.3g} to {excess.high:.3g}"
        proxy = found["proxy_a", _BETWEEN]
        if proxy.value is not None:
            error = 100 * (1 - proxy.value / 2) / 2
            said += f"; a linear classifier of P's features errs in {error:.0f} % of held-out images (50 % is chance)"
        if excess.low is not None and excess.low > 0:
            return f"For P the target is further from the source than two halves of the source: {said}."
        return f"Undecided whether P tells target and source apart: {said}."
    moments = found.get(("batch_norm", _STATISTICS))
    if moments is not None:
        limits = "" if moments.low is None else (
            f" (95 % interval over {moments.n} images {moments.low:.3g} to {moments.high:.3g})"
        )  # fmt: skip
        return (
            f"Without source images: the target's activations are {_short(moments)}{limits} from the statistics of P's "
            "batch norms, in units of their variance; there is no null to judge it by."
        )
    return "Undecided: there are no source images and no batch-norm statistics to compare the target with."


def _short(item: Estimate) -> str:
    return "not defined" if item.value is None else f"{item.value:.3g}"
