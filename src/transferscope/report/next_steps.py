"""What a reader can do next, from what the study found and from what it could not say."""

from transferscope.analyses.contract import Number
from transferscope.running.results import Results

__all__ = ["NEGLIGIBLE", "next_steps"]

NEGLIGIBLE = 0.005
"""A difference of the metric this small, both ways, makes two starts equally good: half a point."""


def next_steps(results: Results) -> list[str]:
    """A few sentences, the most useful first; each follows from a number of the report.

    The choice of a start rests on the gap alone; what a study could not decide is answered by what would decide it.
    """
    steps = [*_start(results), *_seeds(results), *_doubts(results)]
    missing = [item for item in results.analyses if item.inapplicable]
    if missing:
        names = ", ".join(item.analysis.title for item in missing)
        steps.append(f"Not answered here: {names}. The reasons stand in their sections.")
    return steps


def _start(results: Results) -> list[str]:
    gap = _deciding(results.gap)
    if gap is None or gap.value is None or gap.low is None or gap.high is None:
        return ["Train at least one finished pair of P-T and RI-T: without it nothing can be said about the start."]
    if results.verdict.startswith("No claim"):
        return ["Do not choose a start by the final gap yet: RI-T was stopped before it ended."]
    rows = results.headline.filter(results.headline["split"] == "test")
    rates = {row["variant"]: row["learning_rate"] for row in rows.to_dicts()}
    general = gap.basis == "seeds"
    if gap.low > 0:
        rate = rates.get("P_T")
        at = f" at learning rate {rate:g}" if rate is not None else ""
        if not general:
            return [f"Of these networks take P-T{at}; whether training again gives the same needs at least 3 seeds."]
        return [f"Start from the pre-trained weights{at}."]
    if gap.high < 0:
        if not general:
            return ["Of these networks take RI-T; whether training again gives the same needs at least 3 seeds."]
        return ["Start from random weights: for this task the pre-trained ones do harm at their best learning rate."]
    if gap.low > -NEGLIGIBLE and gap.high < NEGLIGIBLE:
        return ["Take whichever start is cheaper: the difference lies within half a point both ways."]
    return ["The start is undecided: add seeds or test images before choosing one."]


def _deciding(gap: tuple[Number, ...]) -> Number | None:
    """The gap over seeds where there are enough of them, else the one over examples."""
    for basis in ("seeds", "examples", "range"):
        for number in gap:
            if number.basis == basis:
                return number
    return None


def _seeds(results: Results) -> list[str]:
    count = len(results.study.seeds)
    if count >= 5:
        return []
    have = "1 seed" if count == 1 else f"{count} seeds"
    if count < 3:
        return [
            f"Add seeds (`--set seeds=[0,1,2]`): with {have} the report speaks for these trained networks only, not "
            "for training in general. What is finished is not trained again."
        ]
    return [f"For a headline claim use five seeds (`--set seeds=[0,1,2,3,4]`); this study has {have}."]


def _doubts(results: Results) -> list[str]:
    steps = []
    notes = [note for item in results.analyses if item.summary for note in item.summary.notes]
    notes += [str(note) for note in results.headline["note"].to_list() if note]
    training = results.study.training
    if any("still improving" in note for note in notes) and training.plateau_epochs is None:
        longer = 3 * training.recipe.epochs
        steps.append(
            f"RI-T is still improving: also train it to its plateau (`--set training.plateau_epochs={longer}`) before "
            "any claim on the final gap."
        )
    if any("edge of the grid" in note for note in notes):
        steps.append("Widen the grid of learning rates (`training.learning_rates`): a best rate lies at its edge.")
    return steps
