"""The paper's findings judged over all studies together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from tools.results.claims import CLAIMS, Claim, Verdict, decide, doubt
from tools.results.kept_results import KeptResults
from tools.results.markdown import table
from tools.results.results_study import Judged
from transferscope.analyses.estimates import Estimate
from transferscope.report.numbers import MISSING, value_words

if TYPE_CHECKING:
    from transferscope.measures.meta_analysis import RandomEffects

__all__ = ["Pooled", "pooled", "pooled_table", "target_of"]


@dataclass(frozen=True)
class Pooled:
    """A finding over all studies.

    Attributes:
        by_target: the mean where what counts are targets.
        by_source: the same for pre-trained networks.
        deciding: the one with the wider interval, of those that have one (over three clusters or more); by targets
            where neither has.
        verdict: by its interval.
        unit: of the number.
        left_out: how many studies have the number, but with a flag that forbids a claim.
    """

    by_target: "RandomEffects"
    by_source: "RandomEffects"
    deciding: "RandomEffects"
    verdict: Verdict
    unit: str
    left_out: int


def target_of(study: KeptResults) -> str:
    """The data set of a study's target; pictures of the same objects in several styles are one."""
    data: Mapping[str, Any] = yaml.safe_load(study.study_text)["target"]["data"]
    place = str(data.get("path", data.get("images", "")))
    return " ".join([str(data["kind"]), *place.split("/")[:2]])


def pooled(claim: Claim, studies: Sequence[KeptResults], found: Mapping[str, Judged]) -> Pooled | None:
    """One finding over all studies that measured its number without a flag that forbids a claim.

    Args:
        claim: the finding.
        studies: all of them.
        found: the judgements, by the name of the study.

    Returns:
        None where no study has the number, or none has it without such a flag.
    """
    from transferscope.measures.meta_analysis import random_effects

    measured = [(study, found[study.name][claim.key][1]) for study in studies]
    known = [(study, number) for study, number in measured if number is not None]
    used = [(study, number) for study, number in known if not doubt(number)]
    if not used:
        return None
    values = [number.value for _, number in used if number.value is not None]
    errors = [_error(number) for _, number in used]
    by_target = random_effects(values, errors, [target_of(study) for study, _ in used])
    by_source = random_effects(values, errors, [study.manifest["pretrained"] for study, _ in used])
    ranked = [item for item in (by_target, by_source) if item.low is not None and item.high is not None]
    deciding = max(ranked, key=lambda item: (item.high or 0) - (item.low or 0), default=by_target)
    verdict = decide(claim, deciding.low, deciding.high)
    return Pooled(by_target, by_source, deciding, verdict, used[0][1].unit, len(known) - len(used))


def _error(number: Estimate) -> float:
    """The standard error behind an interval; 0 where there is none, so that its spread counts as one of effects."""
    from scipy import stats

    if number.value is None or number.low is None or number.high is None or number.basis == "range":
        return 0.0
    # A limit that is cut at what the number can be is the nearer one.
    half = max(number.high - number.value, number.value - number.low)
    seeds = number.basis == "seeds" and number.n is not None
    return half / float(stats.t.ppf(0.975, (number.n or 0) - 1) if seeds else stats.norm.ppf(0.975))


def pooled_table(studies: Sequence[KeptResults], found: Mapping[str, Judged]) -> str:
    """A row for each finding that any study measured, as Markdown."""
    heads = ("", "finding", "over all", "mean", "95 % limits", "targets (networks, studies)", "τ", "predicted",
             "without one")  # fmt: skip
    rows = []
    for place, claim in enumerate(CLAIMS, start=1):
        item = pooled(claim, studies, found)
        if item is None:
            continue
        mean = item.by_target
        left = f"; {item.left_out} {'study' if item.left_out == 1 else 'studies'} left out" if item.left_out else ""
        rows.append(
            (
                str(place),
                claim.sentence,
                item.verdict,
                value_words(mean.value, item.unit, fixed=True),
                _span(item.deciding.low, item.deciding.high, item.unit),
                f"{mean.n} ({item.by_source.n}, {mean.studies}){left}",
                value_words(mean.tau, item.unit, fixed=True),
                _span(mean.prediction_low, mean.prediction_high, item.unit),
                MISSING if mean.leave_one_out is None else _span(*mean.leave_one_out, item.unit),
            )
        )
    return table(heads, rows)


def _span(low: float | None, high: float | None, unit: str) -> str:
    if low is None or high is None:
        return MISSING
    return f"{value_words(low, unit, fixed=True)} to {value_words(high, unit, fixed=True)}"
