"""Which mistakes two networks share (paper Sec. 3.2), how hard the images are, and which classes change."""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, final

import polars as pl
from pydantic import Field

from transferscope.analyses.contract import MeasureResult, Task
from transferscope.analyses.estimates import Contrast, Quantity, estimated, spoken
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.mistake_rows import PAIR_COLUMNS, Counts, Strata, consistency, row_of, within_row
from transferscope.analyses.mistakes.recall import RECALL_COLUMNS, RECALL_QUANTITIES, recall_estimates, recall_rows
from transferscope.analyses.pairs import pairs_of
from transferscope.analyses.summary import Summary
from transferscope.analyses.tuned import AbstractTuned, Pair, finite, tuned_members
from transferscope.bounds import DIFFERENCE, MAGNITUDE
from transferscope.context.resolved_study import TRAINED, ResolvedStudy
from transferscope.context.study_network import StudyNetwork
from transferscope.study.columns import Column, schema

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from transferscope.analyses.predictions import Judgements
    from transferscope.context.context import Context

__all__ = ["MistakesAnalysis"]

_ALL, _PAIR = pl.col("level") == "all", ("pair",)
_KAPPA = Quantity("kappa", "error consistency κ of {pair}", "1", DIFFERENCE, "kappa", _ALL, _PAIR)
_WITHIN = Quantity(
    "kappa_within",
    "κ within strata of difficulty of {pair}",
    "1",
    DIFFERENCE,
    "kappa",
    pl.col("level") == "within",
    _PAIR,
)
_GAPS = tuple(
    Quantity("kappa_gap", "error consistency κ, {pair} − {rival}", "1", None, "kappa", _ALL, _PAIR, contrast)
    for contrast in (Contrast("pair", "P-T/P-T", "RI-T/RI-T"), Contrast("pair", "P-T/P-T", "P-T/RI-T"))
)
_COUNTED = (
    Quantity("kappa_max", "largest κ that the accuracies allow, {pair}", "1", DIFFERENCE, "kappa_max", _ALL, _PAIR),
    Quantity("common", "common mistakes of {pair}", "count", MAGNITUDE, "common", _ALL, _PAIR),
    Quantity("either", "mistakes of either of {pair}", "count", MAGNITUDE, "either", _ALL, _PAIR),
)


@final
class MistakesAnalysis(AbstractTuned):
    """Common and uncommon mistakes on test images, error consistency κ and its ceiling; over all, per class, per
    stratum of difficulty; recall of P-T against RI-T per class; the images behind them.

    Attributes:
        n_bootstrap: bootstrap draws of the intervals over examples.
        gallery: images shown for each group (only P-T wrong, only RI-T wrong, both wrong); 0 shows none.
        thumbnail: side of a shown image, in pixels.
        gallery_bytes: all shown images take at most so much of the report.
    """

    n_bootstrap: int = Field(default=2000, ge=100)
    gallery: int = Field(default=24, ge=0, le=99)
    thumbnail: int = Field(default=96, ge=16, le=512)
    gallery_bytes: int = Field(default=400_000, ge=0)

    name: ClassVar[str] = "mistakes"
    title: ClassVar[str] = "Mistakes"
    question: ClassVar[str] = "Do networks from the same pre-trained start make the same mistakes?"
    reference: ClassVar[str] = "Neyshabur et al. 2020, Sec. 3.2; κ: Geirhos et al. 2020"
    version: ClassVar[int] = 4
    columns: ClassVar[Mapping[str, Column]] = {
        "level": Column(
            str,
            "all: every judgement; class: those of one class or label; difficulty: by the share of the networks "
            "outside the pair that are wrong; entropy: quarters by the entropy of their mean prediction; within: κ "
            "beyond accuracy and difficulty; recall: P-T against RI-T over all seeds",
        ),
        "item": Column(str, "the class, label or stratum; empty for all"),
        **PAIR_COLUMNS,
        "stratum_low": Column(
            float, "smallest share of wrong networks (or entropy, nats) in the stratum", "1", "test", "not a stratum"
        ),
        "stratum_high": Column(float, "largest", "1", "test", "not a stratum"),
        **RECALL_COLUMNS,
    }
    quantities: ClassVar[tuple[Quantity, ...]] = (_KAPPA, *_GAPS, *_COUNTED, _WITHIN, *RECALL_QUANTITIES)

    def tasks(self, study: ResolvedStudy, evidence: Evidence) -> Iterable[Task]:
        """One: all pairs read the same stored logits."""
        yield Task(members=tuple(tuned_members(study, evidence, TRAINED)))

    def measure(self, task: Task, context: "Context") -> MeasureResult:
        """Compare predictions on the test split; no network is run that another analysis has run."""
        from transferscope.analyses.mistakes.gallery import mistake_gallery
        from transferscope.analyses.predictions import Judgements

        members = finite(task, context)
        judgements = Judgements.of(context)
        predicted = {
            member.label: judgements.predicted(context.outputs(member.spec, "test").logits) for member in members
        }
        rows: list[dict[str, Any]] = []
        outside = _Outside(context, judgements, members, predicted)
        for first, second in pairs_of(members):
            named = Pair(first, second).columns
            rows += [{**named, **row} for row in self._pair(first, second, context, judgements, predicted, outside)]
        sides = {
            variant: {member.seed: predicted[member.label] for member in members if member.variant == variant}
            for variant in TRAINED
        }
        if all(sides.values()):
            rows += self._recall(sides, context, judgements)
            files = mistake_gallery(
                judgements,
                {variant: list(found.values()) for variant, found in sides.items()},
                context.images(),
                context.indices("test"),
                context.seed("mistakes", "gallery"),
                most=self.gallery,
                side=self.thumbnail,
                budget=self.gallery_bytes,
            )
        else:
            files = {}
        return MeasureResult(pl.DataFrame(rows, schema=schema(self.columns)), files)

    def _pair(
        self,
        first: StudyNetwork,
        second: StudyNetwork,
        context: "Context",
        judgements: "Judgements",
        predicted: Mapping[str, Counts],
        outside: "_Outside",
    ) -> Iterator[dict[str, Any]]:
        a, b = predicted[first.label], predicted[second.label]
        seed = context.seed("mistakes", first.label, second.label)
        yield {"level": "all", "item": "", **row_of(judgements, a, b, None, self.n_bootstrap, seed)}
        strata = [Strata("class", judgements.classes, judgements.names), *outside.strata(first, second)]
        for grouping in strata:
            for item, inside, low, high in grouping.parts():
                drawn = context.seed("mistakes", first.label, second.label, grouping.level, item)
                row = row_of(judgements, a, b, inside, self.n_bootstrap, drawn)
                yield {"level": grouping.level, "item": item, "stratum_low": low, "stratum_high": high, **row}
            if grouping.level == "difficulty":
                row = within_row(judgements, a, b, grouping, self.n_bootstrap, seed)
                yield {"level": "within", "item": "difficulty", **row}

    def _recall(
        self, sides: Mapping[str, Mapping[int, Counts]], context: "Context", judgements: "Judgements"
    ) -> Iterator[dict[str, Any]]:
        seeds = [seed for seed in sides["P_T"] if seed in sides["RI_T"]]
        if not seeds:
            return
        named = {"pair": "P-T/RI-T", "a": "P-T", "b": "RI-T", "variant_a": "P_T", "variant_b": "RI_T"}
        p, ri = ([sides[variant][seed] for seed in seeds] for variant in TRAINED[::-1])
        for row in recall_rows(judgements, p, ri, self.n_bootstrap, context.seed("mistakes", "recall")):
            yield {**named, **row}

    def summarise(self, table: pl.DataFrame, evidence: Evidence) -> Summary:
        """Mean κ of each kind of pair, over all pairs of seeds; what difficulty explains; classes that change."""
        kappas = consistency(table, _KAPPA)
        counted = table.with_columns(either=pl.sum_horizontal("common", "only_a", "only_b", ignore_nulls=False))
        recalls = recall_estimates(list(table.filter(pl.col("level") == "recall").iter_rows(named=True)))
        words = "; ".join(f"{item.at['pair']} κ {spoken(item)}" for item in kappas)
        notes = () if (table["level"] == "difficulty").any() else (_NO_OUTSIDE,)
        return Summary(
            f"Agreement of mistakes beyond chance: {words or 'not defined'}.",
            (
                *kappas,
                *estimated(counted, (*_GAPS, *_COUNTED)),
                *consistency(table, _WITHIN),
                *recalls,
            ),
            notes,
        )


_NO_OUTSIDE = "difficulty is judged by networks outside a pair: this study has none (more seeds give some)"


class _Outside:
    """What the networks outside a pair say of every judgement: a pair's own mistakes would make it agree."""

    def __init__(
        self, context: "Context", judgements: "Judgements", members: list[StudyNetwork], predicted: Mapping[str, Counts]
    ) -> None:
        import numpy as np

        self._context, self._judgements = context, judgements
        self._places = {member.label: place for place, member in enumerate(members)}
        self._wrong = np.array([predicted[member.label] != judgements.truth for member in members])
        self._sum: npt.NDArray[np.float64] | None = None
        if len(members) > 2:
            # Only the sum is held: the predictions of all networks at once can be larger than memory.
            for member in members:
                found = self._probabilities(member)
                self._sum = found if self._sum is None else self._sum + found

    def strata(self, first: StudyNetwork, second: StudyNetwork) -> Iterator[Strata]:
        """By difficulty and by entropy; nothing where there is no network outside the pair."""
        import numpy as np

        from transferscope.measures.mistakes import difficulty, ensemble_entropy
        from transferscope.measures.strata import DIFFICULTIES, QUARTERS, difficulty_strata, quarter_strata

        shares = difficulty(self._wrong, (self._places[first.label], self._places[second.label]))
        if shares is None or self._sum is None:
            return
        yield Strata("difficulty", difficulty_strata(shares), tuple(DIFFICULTIES), shares)
        rest = self._sum - self._probabilities(first) - self._probabilities(second)
        # The subtraction leaves rounding errors of either sign around 0; rounding makes equals of what differs by them.
        mean = np.clip(rest, 0, None) / (len(self._places) - 2)
        entropy = ensemble_entropy(mean[None]).round(9)
        yield Strata("entropy", quarter_strata(entropy), tuple(QUARTERS), entropy)

    def _probabilities(self, member: StudyNetwork) -> "npt.NDArray[np.float64]":
        return self._judgements.probabilities(self._context.outputs(member.spec, "test").logits)
