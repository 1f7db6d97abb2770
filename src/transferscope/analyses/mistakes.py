"""Which mistakes two networks share (paper Sec. 3.2)."""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, final

import polars as pl
from pydantic import Field

from transferscope.analyses.contract import (
    AbstractAnalysis,
    Column,
    Measured,
    Number,
    Summary,
    Unit,
    schema,
)
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.learning_rate import LearningRate
from transferscope.analyses.pairs import disjoint, pairs_interval, pairs_of
from transferscope.analyses.variants import TRAINED, BoundStudy, shown
from transferscope.specs import NetworkSpec

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from transferscope.running.context import Context

__all__ = ["Mistakes"]


@final
class Mistakes(AbstractAnalysis):
    """Common and uncommon mistakes on test images, error consistency κ and its ceiling, over all and per class.

    Attributes:
        draws: bootstrap draws of the interval of κ over examples.
    """

    draws: int = Field(default=2000, ge=100)

    name: ClassVar[str] = "mistakes"
    title: ClassVar[str] = "Mistakes"
    question: ClassVar[str] = "Do networks from the same pre-trained start make the same mistakes?"
    reference: ClassVar[str] = "Neyshabur et al. 2020, Sec. 3.2; κ: Geirhos et al. 2020; methods §4"
    version: ClassVar[int] = 1
    columns: ClassVar[Mapping[str, Column]] = {
        "level": Column(str, "all: every test image (and label); class: those of one class or label"),
        "item": Column(str, "the class or label; empty for all"),
        "pair": Column(str, "which variants"),
        "a": Column(str, "first network"),
        "b": Column(str, "second network"),
        "variant_a": Column(str, "variant of a"),
        "seed_a": Column(int, "seed of a", "count"),
        "variant_b": Column(str, "variant of b"),
        "seed_b": Column(int, "seed of b", "count"),
        "examples": Column(int, "judgements: images, or image-label pairs", "count"),
        "mistakes_a": Column(int, "wrong by a", "count", "test"),
        "mistakes_b": Column(int, "wrong by b", "count", "test"),
        "common": Column(int, "wrong by both", "count", "test"),
        "only_a": Column(int, "wrong by a alone", "count", "test"),
        "only_b": Column(int, "wrong by b alone", "count", "test"),
        "jaccard": Column(float, "common / wrong by either", "1", "test", "neither makes a mistake"),
        "same_wrong_label": Column(
            float, "share of common mistakes with the same wrong label", "1", "test", "no common mistake"
        ),
        "kappa": Column(
            float, "error consistency: 0 is chance, in [−1, 1]", "1", "test", "both all right or all wrong"
        ),
        "kappa_low": Column(float, "lower end of its 95 % interval over examples", "1", "test", "no interval"),
        "kappa_high": Column(float, "upper end", "1", "test", "no interval"),
        "kappa_max": Column(float, "the largest κ these two accuracies allow", "1", "test", "as kappa"),
    }

    def needs(self, study: BoundStudy) -> Iterable[AbstractAnalysis]:
        """Each variant's learning rate."""
        return (LearningRate(),)

    def networks(self, study: BoundStudy, evidence: Evidence) -> Iterable[NetworkSpec]:
        """P-T and RI-T of all seeds."""
        return [member.spec for unit in self.units(study, evidence) for member in unit.members]

    def units(self, study: BoundStudy, evidence: Evidence) -> Iterable[Unit]:
        """One: all pairs read the same stored logits."""
        yield Unit(members=tuple(study.members(evidence, TRAINED)))

    def measure(self, unit: Unit, context: "Context") -> Measured:
        """Compare predictions on the test split; no network is run that another analysis has run."""
        import numpy as np

        from transferscope.measures.metrics import predictions

        members = [member for member in unit.members if not context.diverged(member.spec)]
        task = context.study.task
        predicted = {
            member.label: predictions(context.outputs(member.spec, "test").logits, task).numpy() for member in members
        }
        labels = context.labels("test").numpy()
        groups = context.images().groups
        clusters = None if groups is None else np.asarray(groups)[context.indices("test")]
        rows: list[dict[str, Any]] = []
        for first, second in pairs_of(members):
            base = {
                "pair": f"{shown(first.variant)}/{shown(second.variant)}",
                "a": first.label,
                "b": second.label,
                "variant_a": first.variant,
                "seed_a": first.seed,
                "variant_b": second.variant,
                "seed_b": second.seed,
            }
            seed = context.seed("mistakes", first.label, second.label)
            found = self._rows(
                predicted[first.label],
                predicted[second.label],
                labels,
                context.study.class_names,
                clusters,
                seed,
            )
            rows += [{**base, **row} for row in found]
        return Measured(pl.DataFrame(rows, schema=schema(self.columns)))

    def _rows(
        self,
        first: "npt.NDArray[np.int64]",
        second: "npt.NDArray[np.int64]",
        labels: "npt.NDArray[np.int64]",
        names: tuple[str, ...],
        clusters: Any,
        seed: int,
    ) -> Iterator[dict[str, Any]]:
        import numpy as np

        from transferscope.measures.intervals import bootstrap_interval
        from transferscope.measures.mistakes import (
            compare_mistakes,
            mistake_indicators,
            mistake_statistic,
            mistakes_by_group,
            mistakes_by_label,
        )

        multi = labels.ndim == 2
        # With several labels each image-label pair is one judgement; those of one image are drawn together.
        flat = [array.reshape(-1) for array in (first, second, labels)]
        if multi:
            owners = np.arange(len(labels)) if clusters is None else clusters
            clusters = np.repeat(owners, labels.shape[1])
        overall = compare_mistakes(*flat)
        kappa = bootstrap_interval(mistake_statistic("kappa"), [mistake_indicators(*flat)], clusters, self.draws, seed)
        low, high = (kappa.low, kappa.high) if overall.kappa is not None else (None, None)
        yield {"level": "all", "item": "", **_counts(overall), "kappa_low": low, "kappa_high": high}
        if multi:
            for name, found in zip(names, mistakes_by_label(first, second, labels), strict=True):
                yield {"level": "class", "item": name, **_counts(found)}
        else:
            for index, found in mistakes_by_group(first, second, labels, labels).items():
                yield {"level": "class", "item": names[index], **_counts(found)}

    def summarise(self, table: pl.DataFrame, evidence: Evidence) -> Summary:
        """Mean κ of each kind of pair, over disjoint pairs of seeds."""
        numbers: list[Number] = []
        words: list[str] = []
        rows = table.filter(pl.col("level") == "all")
        for pair in rows["pair"].unique(maintain_order=True):
            found = list(rows.filter(pl.col("pair") == pair).iter_rows(named=True))
            number = _consistency(pair, disjoint(found))
            numbers.append(number)
            if number.value is None:
                words.append(f"{pair} κ not defined")
            else:
                span = f" ({number.low:.2f} to {number.high:.2f}, {_BASES[number.basis]})" if number.basis else ""
                words.append(f"{pair} κ {number.value:.2f}{span}")
            common = sum(row["common"] for row in found) / len(found)
            either = sum(row["common"] + row["only_a"] + row["only_b"] for row in found) / len(found)
            numbers.append(
                Number(
                    f"common mistakes of {pair}",
                    common,
                    n=len(found),
                    unit="count",
                    note=f"out of {either:.0f} made by either, mean over {len(found)} pairs",
                )
            )
        return Summary(f"Agreement of mistakes beyond chance: {'; '.join(words)}.", tuple(numbers))


_BASES = {"seeds": "disjoint pairs of seeds", "range": "range of two pairs", "examples": "test examples, this pair"}


def _consistency(pair: str, rows: list[dict[str, Any]]) -> Number:
    """κ of pairs that share no network: over pairs where there are several, else over examples."""
    name = f"error consistency κ of {pair}"
    known = [row for row in rows if row["kappa"] is not None]
    lost = f"; not defined for {len(rows) - len(known)} of {len(rows)} pairs" if len(known) < len(rows) else ""
    if not known:
        return Number(name, None, n=len(rows), note="all right, or all wrong: not defined")
    ceiling = f"ceiling {sum(row['kappa_max'] for row in known) / len(known):.2f}"
    if len(known) == 1:
        row = known[0]
        basis: Literal["examples"] | None = None if row["kappa_low"] is None else "examples"
        note = f"{ceiling}; one pair: it speaks for these networks{lost}"
        return Number(name, row["kappa"], row["kappa_low"], row["kappa_high"], basis, row["examples"], note=note)
    interval = pairs_interval([row["kappa"] for row in known])
    note = f"{ceiling}; {interval.note}{lost}"
    return Number(name, interval.value, interval.low, interval.high, interval.basis, interval.n, note=note)


def _counts(found: Any) -> dict[str, Any]:
    return {
        "examples": found.examples,
        "mistakes_a": found.common + found.only_a,
        "mistakes_b": found.common + found.only_b,
        "common": found.common,
        "only_a": found.only_a,
        "only_b": found.only_b,
        "jaccard": found.jaccard,
        "same_wrong_label": found.same_label_share,
        "kappa": found.kappa,
        "kappa_max": found.kappa_max,
    }
