"""Averages held against the best single network: decided on validation examples, proved on test examples."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Literal, final

import numpy.typing as npt
import torch

from transferscope.errors import MeasureError
from transferscope.measures.equivalence import noninferior
from transferscope.measures.families import bonferroni_confidence
from transferscope.measures.interval import Interval
from transferscope.measures.metric_difference import difference_over_examples, judged
from transferscope.measures.regret import Regret, arm_metrics, expected_regret
from transferscope.methods.averaging.advice_result import AverageAdvice, Candidate, Member, Need, Reason
from transferscope.methods.averaging.correspondence import Correspondence
from transferscope.methods.averaging.soups import best_single
from transferscope.methods.averaging.space import AveragedNetwork, AveragingSpace, Scores, rank_of, scored
from transferscope.methods.evaluation import Evaluation

__all__ = ["DECIDES", "PROVES", "Judging"]

DECIDES, PROVES = "validation", "test"
"""Names of the splits."""
_DRAWS = 2000
_ONE_SIDED = 0.90  # the ends of such an interval are one-sided 95 % limits


@final
class Judging:
    """What is known of the networks as they are, and averages held against the best of them."""

    def __init__(
        self,
        space: AveragingSpace,
        evaluation: Evaluation,
        clusters: Mapping[str, npt.ArrayLike | None],
        margin: float,
        names: Sequence[str],
    ) -> None:
        self.space, self._clusters, self._metric = space, clusters, evaluation.metric
        self._margin, self._names = margin, names
        self.singles = [space.single(place) for place in range(len(space))]
        self.order = best_single(space, self.singles, DECIDES)
        self._best = self.singles[self.order[0]]
        if self._best[DECIDES].metric is None:
            raise MeasureError(
                f"{evaluation.metric} is not defined on the validation examples: nothing can be decided",
                expected="examples of at least two classes, and finite outputs",
                got=f"{len(self._best[DECIDES].labels)} examples",
                hint="give more validation examples, or choose another metric",
            )

    def members(self, ways: Mapping[int, Correspondence]) -> tuple[Member, ...]:
        """All networks, with what lies between each and the best one."""
        return tuple(
            Member(name, self.space.hashes[place], self.singles[place], ways.get(place))
            for place, name in enumerate(self._names)
        )

    def judged(self, average: AveragedNetwork, looked_at: int) -> Candidate:
        """An average against the best single network.

        Args:
            looked_at: averages over which limits hold at once where it is decided.
        """
        gain = self.gain(average.scores, DECIDES, bonferroni_confidence(looked_at, _ONE_SIDED))
        loss = replace(gain, value=_minus(gain.value), low=_minus(gain.high), high=_minus(gain.low))
        return Candidate(
            average, gain, self.gain(average.scores, PROVES, 0.95), noninferior(loss, self._margin).verdict
        )

    def gain(self, scores: Mapping[str, Scores], split: str, confidence: float) -> Interval:
        """Metric less that of the best single network on a split, paired over examples."""
        ours, theirs = scores[split], self._best[split]
        if torch.equal(ours.logits, theirs.logits):
            # One function: that no example differs is no chance then.
            return Interval(
                0.0, 0.0, 0.0, len(ours.labels), "examples", confidence, "the same outputs, to the last bit"
            )
        if ours.metric is None or theirs.metric is None:
            return Interval(None, None, None, len(ours.labels), None, confidence, "the metric is not defined")
        sides = [judged(each.logits, each.labels, self._metric) for each in (ours, theirs)]
        return difference_over_examples(
            sides[0], sides[1], ours.labels, self._metric, self._clusters.get(split), _DRAWS, 0, confidence
        )

    def advice(
        self,
        averages: Sequence[AveragedNetwork],
        space: AveragingSpace,
        *,
        blocked: bool = False,
        ways: Mapping[int, Correspondence] = MappingProxyType({}),
        not_tried: Mapping[str, str] = MappingProxyType({}),
    ) -> AverageAdvice:
        """Decide among averages, and put together what was found.

        Args:
            averages: in any order.
            space: in which they were made, of networks that may be aligned.
            blocked: no other network can be averaged with the best one.
            ways: what lies between the best network and the others, by place.
            not_tried: methods that do not apply, and why.
        """
        looked_at = sum(item.trials for item in averages)
        ranked = sorted(averages, key=lambda item: rank_of(item.scores[DECIDES]))
        candidates = tuple(self.judged(item, looked_at) for item in ranked)
        answer, reason = self._decided(candidates, blocked=blocked)
        chosen = candidates[0] if answer == "yes" else None
        needs: list[Need] = []
        if chosen is not None:
            if any(way.aligned and place in chosen.average.members for place, way in ways.items()):
                needs.append("alignment")
            if space.re_estimated:
                needs.append("re-estimation")
        ensemble = {
            split: scored(
                torch.stack([single[split].logits for single in self.singles]).mean(dim=0), of.labels, self._metric
            )
            for split, of in self._best.items()
        }
        return AverageAdvice(
            answer=answer,
            reason=reason,
            needs=tuple(needs),
            members=self.members(ways),
            best=self.order[0],
            candidates=candidates,
            chosen=chosen,
            ensemble=ensemble,
            ensemble_gain=self.gain(ensemble, PROVES, 0.95),
            metric_name=self._metric,
            margin=self._margin,
            examples={split: len(of.labels) for split, of in self._best.items()},
            batch_norm=space.policy,
            looked_at=looked_at,
            regret=self._regret(candidates, answer),
            not_tried=not_tried,
            network=None if chosen is None else space.network(chosen.average),
        )

    def _regret(self, candidates: Sequence[Candidate], answer: Literal["yes", "no"]) -> Regret | None:
        """What the answer is expected to lose against the best of all networks and averages; None without an average.

        No is an answer too: the best single network is kept.
        """
        if not candidates:
            return None
        others = (self.singles[place] for place in self.order[1:])
        arms = (self._best, *(item.average.scores for item in candidates), *others)
        known = [of[DECIDES] for of in arms if of[DECIDES].metric is not None]
        found = arm_metrics(
            [[of.logits] for of in known], known[0].labels, self._metric, self._clusters.get(DECIDES), _DRAWS
        )
        return expected_regret(found.means, found.covariance, found.n, 1 if answer == "yes" else 0)

    def _decided(self, candidates: Sequence[Candidate], *, blocked: bool) -> tuple[Literal["yes", "no"], Reason]:
        if blocked:
            return "no", "barrier"
        if not candidates:
            return "no", "no_better"
        first = candidates[0]
        if first.gain.value is None or first.gain.value < 0:
            return "no", "worse" if first.verdict == "lost" else "no_better"
        return ("yes", "as_good") if first.verdict == "kept" else ("no", "undecided")


def _minus(value: float | None) -> float | None:
    return None if value is None else -value
