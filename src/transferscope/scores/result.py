"""What a ranking found: numbers under keys, and facts of the candidates. No torch here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import polars as pl

from transferscope.analyses.estimates import Estimate
from transferscope.look.result import ModelFacts
from transferscope.readable import readable
from transferscope.scores.quantities import SCORES

__all__ = ["UNLIKE", "CandidateScores", "Scores"]

UNLIKE: Final = 1.5
"""Candidates are of unlike size where the largest has so many times the parameters of the smallest."""


@dataclass(frozen=True)
class CandidateScores:
    """A candidate and its numbers.

    Attributes:
        facts: name, architecture, start, how its images are declared and were prepared.
        weights: as a study names them; empty of a random start.
        numbers: of it.
    """

    facts: ModelFacts
    weights: str
    numbers: tuple[Estimate, ...]

    @property
    def name(self) -> str:
        """As the user wrote it."""
        return self.facts.name

    def find(self, quantity: str) -> Estimate | None:
        """The number of a key; None where there is none."""
        return next((item for item in self.numbers if item.quantity == quantity), None)

    def value(self, quantity: str) -> float | None:
        """A number's value; None where it is not defined or not there."""
        item = self.find(quantity)
        return None if item is None else item.value


@readable
@dataclass(frozen=True)
class Scores:
    """Candidates, scored on training images without fine-tuning.

    Attributes:
        name: of the data.
        place: where they lie.
        metric: of probe and neighbours: ``top1`` or ``auc``.
        split: whose images were scored: ``given`` where the data name training images, else ``divided``: those that a
            study with the usual settings would train on.
        candidates: the first is the one to begin with: by the linear probe, of equals the smaller.
        numbers: of the data and of the choice; those of a candidate are with it.
        classes: names, in their order.
        notes: what a reader must know of the data.
    """

    name: str
    place: str
    metric: str
    split: str
    candidates: tuple[CandidateScores, ...]
    numbers: tuple[Estimate, ...]
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def find(self, quantity: str, **at: str | int) -> Estimate | None:
        """The number of a key at coordinates, of a candidate's too; None where there is none."""
        every = (*self.numbers, *(item for one in self.candidates for item in one.numbers))
        for item in every:
            if item.quantity == quantity and at.items() <= item.at.items():
                return item
        return None

    def first_by(self, quantity: str) -> tuple[CandidateScores, ...]:
        """The candidates with the highest value of a key; none where it is not defined of all.

        A score that is missing for one candidate ranks none: it would say that the others are better or worse.
        """
        values = [one.value(quantity) for one in self.candidates]
        known = [value for value in values if value is not None]
        if len(known) < len(values):
            return ()
        return tuple(one for one, value in zip(self.candidates, values, strict=True) if value == max(known))

    @property
    def unlike(self) -> bool:
        """Whether the candidates are of unlike size."""
        ratio = self.find("size_ratio")
        return ratio is not None and ratio.verdict == "unlike"

    @property
    def table(self) -> pl.DataFrame:
        """One row for each candidate, in the order of the ranking: ``candidate``, every score, size and time."""
        keys = (*SCORES, "probability_best", "source_accuracy", "parameters", "step_seconds")
        rows = []
        for one in self.candidates:
            linear = one.find("linear")
            ends = {} if linear is None else {"linear_low": linear.low, "linear_high": linear.high}
            rows.append({"candidate": one.name, **{key: one.value(key) for key in keys}, **ends})
        kinds: Mapping[str, Any] = dict.fromkeys((*keys, "linear_low", "linear_high"), pl.Float64)
        return pl.DataFrame(rows, schema={"candidate": pl.String, **kinds})

    def as_json(self) -> dict[str, Any]:
        """Everything, for programs: numbers as rows."""
        return {
            "version": 1,
            "name": self.name,
            "place": self.place,
            "metric": self.metric,
            "split": self.split,
            "order": [one.name for one in self.candidates],
            "numbers": [item.row() for item in (*self.numbers, *(n for one in self.candidates for n in one.numbers))],
            "candidates": [
                {
                    **vars(one.facts),
                    "weights": one.weights,
                    "declared": vars(one.facts.declared),
                    "used": vars(one.facts.used),
                }
                for one in self.candidates
            ],
            "classes": list(self.classes),
            "notes": list(self.notes),
        }
