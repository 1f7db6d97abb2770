"""Whether networks may be averaged: what was found, and what is said of it in a terminal."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from torch import nn

from transferscope.errors import counted
from transferscope.measures.interval import Interval
from transferscope.measures.regret import Regret
from transferscope.methods.averaging.correspondence import LIMIT, Correspondence
from transferscope.methods.averaging.space import AveragedNetwork, AveragingMethod, Scores
from transferscope.readable import readable
from transferscope.rounding import exact

__all__ = ["AverageAdvice", "Candidate", "Member", "Need", "Reason"]

Reason = Literal["as_good", "barrier", "no_better", "worse", "undecided"]
"""Why: not worse than the best single network; no other network can be averaged with the best one; no average that was
tried makes the best one better; the average is worse; it cannot be told."""
Need = Literal["alignment", "re-estimation"]

METHOD_WORDS: Mapping[AveragingMethod, str] = {
    "uniform": "mean of all", "greedy": "greedy soup", "stock": "Model Stock", "wise": "towards the start (WiSE-FT)",
    "last": "mean of the last", "ema": "moving average",
}  # fmt: skip
_REASONS: Mapping[Reason, str] = {
    "as_good": "",
    "barrier": "a barrier lies between the best network and every other one",
    "no_better": "no average that was tried makes the best single network better",
    "worse": "the average is worse than the best single network",
    "undecided": "it is not shown that the average is as good as the best single network: more validation examples "
    "would tell",
}


@dataclass(frozen=True)
class Member:
    """One of the networks.

    Attributes:
        name: as the caller calls it.
        content: hash of parameters and buffers.
        scores: by split, as it is.
        correspondence: with the best one; None of the best one itself, and along a run.
    """

    name: str
    content: str
    scores: Mapping[str, Scores] = field(repr=False)
    correspondence: Correspondence | None = None


@dataclass(frozen=True)
class Candidate:
    """An average that was tried, against the best single network.

    Attributes:
        gain: metric of the average less that of the best single network, on the split that decides; limits hold for all
            averages that were looked at at once (two-sided 90 %: each a one-sided 95 % limit).
        proof: the same on the split that proves, with its own 95 % interval.
        verdict: ``kept``: the upper limit of the loss is below the margin; ``lost``: the lower one is above it; else
            ``undecided``.
    """

    average: AveragedNetwork
    gain: Interval
    proof: Interval
    verdict: Literal["kept", "lost", "undecided"]


@readable
@dataclass(frozen=True)
class AverageAdvice:
    """Whether one network can stand for several: decided on one split, proved on another.

    Attributes:
        answer: ``yes`` where the average is not below the best single network where it is decided, and its loss there
            is surely below the margin.
        needs: what must be done to the networks for that.
        members: in the order given.
        best: place of the best single network, by the split that decides.
        candidates: averages that were tried, the best first.
        chosen: the one that is advised; None where the answer is no.
        forced: the average that was asked for although the answer is no; None unless asked for.
        ensemble: scores of the mean of the logits of all networks: what an average can hardly reach.
        ensemble_gain: of that over the best single network where it is proved: an upper mark, not for sale.
        examples: by split.
        looked_at: averages that were evaluated.
        regret: what the answer is expected to lose against the best of all networks and averages, by the split that
            decides: the promise; None where no average was evaluated.
        not_tried: methods that do not apply here, and why.
    """

    answer: Literal["yes", "no"]
    reason: Reason
    needs: tuple[Need, ...]
    members: tuple[Member, ...]
    best: int
    candidates: tuple[Candidate, ...]
    chosen: Candidate | None
    ensemble: Mapping[str, Scores] = field(repr=False)
    ensemble_gain: Interval
    metric_name: str
    margin: float
    examples: Mapping[str, int]
    batch_norm: str
    looked_at: int
    regret: Regret | None = None
    not_tried: Mapping[str, str] = field(default_factory=dict)
    forced: Candidate | None = None
    network: nn.Module | None = field(default=None, repr=False)
    notes: tuple[str, ...] = ()

    @property
    def made(self) -> Candidate | None:
        """The average there is: the advised one, or the one that was asked for all the same."""
        return self.chosen or self.forced

    @property
    def proved_regret(self) -> float | None:
        """What the answer lost where it is proved, against the best of all networks and averages there."""
        averages = [item.average.scores for item in self.candidates]
        known = [of["test"].metric for of in (*(member.scores for member in self.members), *averages)]
        chosen = self.members[self.best].scores if self.chosen is None else self.chosen.average.scores
        taken = chosen["test"].metric
        return None if taken is None else max(value for value in known if value is not None) - taken

    @property
    def blocking(self) -> tuple[str, ...]:
        """Modules that block the way to some network, each once."""
        ways = (member.correspondence for member in self.members)
        return tuple(dict.fromkeys(module.name for way in ways if way is not None for module in way.modules))

    @property
    def sentence(self) -> str:
        """The answer."""
        if self.answer == "yes":
            return "yes" + (f" after {' and '.join(self.needs)}" if self.needs else "")
        if self.reason in ("barrier", "worse") and self.blocking:
            return f"no: these modules block it: {', '.join(self.blocking)}"
        return f"no: {_REASONS[self.reason]}"

    @property
    def text(self) -> str:
        """One page for a terminal."""
        return page(self)

    def __str__(self) -> str:
        """Return :attr:`text`."""
        return self.text


def page(found: AverageAdvice) -> str:
    """The page; every number beside what it rests on."""
    best = found.members[found.best]
    made = found.made
    lines = [
        found.sentence,
        f"decided on {found.examples['validation']:,} validation examples, proved on {found.examples['test']:,} test "
        f"examples; {found.metric_name}; batch norm: {found.batch_norm}",
        *found.notes,
        "",
    ]
    if made is not None:
        shares = ", ".join(
            f"{member.name} {share:.2g}"
            for member, share in zip(found.members, made.average.shares, strict=True)
            if share
        )
        start = f", start {made.average.start_share:.2g}" if made.average.start_share else ""
        lines += [
            f"{'average' if found.chosen else 'forced'}     {METHOD_WORDS[made.average.method]}: {shares}{start}",
            f"            on validation {_against(made.gain)} against the best single network, {best.name}; as good "
            f"within {found.margin:g}: {_VERDICTS[made.verdict]}",
            f"            on test {_against(made.proof)} (95 % interval over examples)",
        ]
    if found.regret is not None and found.proved_regret is not None:
        promised, kept = found.regret.interval, "this average" if found.chosen else "the best single network"
        lines.append(
            f"promise     {kept} loses {promised.value:.4f} to the best of all above and below (90 % below "
            f"{promised.high:.4f}; the best itself with probability {found.regret.probability_best:.2f}); on test it "
            f"lost {found.proved_regret:.4f}"
        )
    lines += [f"ensemble    on test {_against(found.ensemble_gain)}: all networks run, their logits averaged", ""]
    names = [member.name for member in found.members]
    labels = [METHOD_WORDS[item.average.method] for item in found.candidates]
    width = max(len("network"), *map(len, (*names, *labels)))
    lines.append(f"{'network':<{width}}  {'validation':>10}  {'test':>6}  barrier of the error to the best (limits)")
    for place, member in enumerate(found.members):
        lines.append(f"{member.name:<{width}}  {_scores(member.scores)}  {_way(member, place == found.best)}")
    for label, item in zip(labels, found.candidates, strict=True):
        lines.append(f"{label:<{width}}  {_scores(item.average.scores)}")
    lines += [f"not tried: {METHOD_WORDS[name]}: {why}" for name, why in _named(found.not_tried)]
    lines += ["", f"a barrier is none where its upper limit is below {LIMIT:g}"]
    if found.looked_at:
        tried = counted(found.looked_at, "average")
        lines[-1] += f"; limits on validation hold at once for the {tried} looked at"
    return "\n".join(lines)


_VERDICTS = {"kept": "shown", "lost": "no, it is worse", "undecided": "not shown"}


def _named(reasons: Mapping[str, str]) -> list[tuple[AveragingMethod, str]]:
    return [(name, reasons[name]) for name in METHOD_WORDS if name in reasons]


def _scores(scores: Mapping[str, Scores]) -> str:
    validation, test = (
        "–" if scores[split].metric is None else f"{scores[split].metric:.4f}" for split in ("validation", "test")
    )
    return f"{validation:>10}  {test:>6}"


def _against(gain: Interval) -> str:
    if gain.value is None:
        return f"not defined ({gain.note})"
    limits = "" if gain.low is None or gain.high is None else f" ({_signed(gain.low)} to {_signed(gain.high)})"
    return _signed(gain.value) + limits


def _signed(value: float) -> str:
    return f"{exact(value):+z.4f}"


def _way(member: Member, best: bool) -> str:
    way = member.correspondence
    if way is None:
        return "the best single network" if best else "–"
    words = _barrier(way.barrier)
    if way.aligned_barrier is not None:
        words += f", units matched {_barrier(way.aligned_barrier)}"
    if way.not_aligned:
        words += f", units cannot be matched: {way.not_aligned}"
    if way.blocked:
        words += "; left out"
    if way.modules:
        words += "; at " + ", ".join(f"{item.name} {item.barrier.value:.3f}" for item in way.modules)
    return words


def _barrier(interval: Interval) -> str:
    value = "–" if interval.value is None else f"{interval.value:.3f}"
    return value if interval.low is None else f"{value} ({interval.low:.3f} to {interval.high:.3f})"
