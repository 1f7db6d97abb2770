"""Which mistakes two networks share (paper Sec. 3.2)."""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, final

import polars as pl
from pydantic import Field

from transferscope.analyses.contract import (
    AbstractAnalysis,
    Column,
    Measured,
    Member,
    Number,
    Summary,
    Unit,
    schema,
)
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.learning_rate import LearningRate
from transferscope.analyses.variants import TRAINED, BoundStudy, shown
from transferscope.specs import NetworkSpec

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from transferscope.running.context import Context

__all__ = ["Mistakes", "pairs_of"]


def pairs_of(members: Iterable[Member]) -> Iterator[tuple[Member, Member]]:
    """The pairs that are compared: all within a variant, and P-T with RI-T of the same seed."""
    by_variant: dict[str, list[Member]] = {}
    for member in members:
        by_variant.setdefault(member.variant, []).append(member)
    for variant in ("P_T", "RI_T"):
        found = by_variant.get(variant, [])
        for index, first in enumerate(found):
            for second in found[index + 1 :]:
                yield first, second
    others = {member.seed: member for member in by_variant.get("RI_T", [])}
    for member in by_variant.get("P_T", []):
        if member.seed in others:
            yield member, others[member.seed]


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
        from transferscope.measures.intervals import seeds_interval

        numbers: list[Number] = []
        words: list[str] = []
        rows = table.filter(pl.col("level") == "all")
        for pair in rows["pair"].unique(maintain_order=True):
            found = list(rows.filter(pl.col("pair") == pair).iter_rows(named=True))
            apart = disjoint(found)
            values = [row["kappa"] for row in apart if row["kappa"] is not None]
            ceilings = [row["kappa_max"] for row in apart if row["kappa_max"] is not None]
            if not values:
                words.append(f"{pair} undefined")
                continue
            if len(values) >= 2:
                interval = seeds_interval(values)
                number = Number(
                    f"error consistency κ of {pair}",
                    interval.value,
                    interval.low,
                    interval.high,
                    interval.basis,
                    interval.n,
                    note=f"ceiling {sum(ceilings) / len(ceilings):.2f}; n counts disjoint pairs",
                )
            else:
                row = next(row for row in apart if row["kappa"] is not None)
                number = Number(
                    f"error consistency κ of {pair}",
                    row["kappa"],
                    row["kappa_low"],
                    row["kappa_high"],
                    "examples",
                    row["examples"],
                    note=f"ceiling {row['kappa_max']:.2f}; one pair: it speaks for these networks",
                )
            numbers.append(number)
            span = (
                f" ({number.low:.2f} to {number.high:.2f})"
                if number.low is not None and number.high is not None
                else ""
            )
            words.append(f"{pair} κ {number.value:.2f}{span}")
            common = sum(row["common"] for row in found) / len(found)
            either = sum(row["common"] + row["only_a"] + row["only_b"] for row in found) / len(found)
            numbers.append(
                Number(
                    f"common mistakes of {pair}",
                    common,
                    n=len(found),
                    unit="images",
                    note=f"out of {either:.0f} made by either, mean over {len(found)} pairs",
                )
            )
        basis = {number.basis for number in numbers if number.basis}
        speaks = "over disjoint pairs of seeds" if basis == {"seeds"} else "intervals over examples or ranges as named"
        return Summary(f"Agreement of mistakes beyond chance: {'; '.join(words)}; {speaks}.", tuple(numbers))


def disjoint(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of pairs that share no network with an earlier one: independent, so that n counts them."""
    used: set[str] = set()
    kept = []
    for row in rows:
        if row["a"] not in used and row["b"] not in used:
            used |= {row["a"], row["b"]}
            kept.append(row)
    return kept


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
