"""Successive halving: which arms of a search are trained longer, and which are dropped, by validation data alone.

An arm is whatever is searched over (a rate, a start with a rate). At each rung every arm that is left is trained anew
for equally many epochs with the whole schedule, so that annealed networks are compared; then a share goes on.
"""

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

from transferscope.errors import AnalysisError

__all__ = ["FACTOR", "Dropped", "Halving", "Reason", "Score", "Search", "ranked", "rungs", "select"]

Arm = TypeVar("Arm", bound=Hashable)
Reason = Literal["diverged", "behind", "no_place"]

FACTOR = 3
"""Of a rung's epochs to those of the one before, and of the arms before to those after."""


@dataclass(frozen=True)
class Score:
    """What is known of one arm after one rung.

    Attributes:
        metric: on validation data, larger is better; None where it is not defined: the loss then ranks alone.
        error: standard error of ``metric``, over validation images and seeds.
        loss: on validation data.
        diverged: a run of it did.
    """

    metric: float | None
    error: float = 0.0
    loss: float | None = None
    diverged: bool = False

    @property
    def sound(self) -> bool:
        """Whether it can be compared at all: not diverged, and a finite number to rank by."""
        numbers = [number for number in (self.metric, self.loss) if number is not None]
        return not self.diverged and bool(numbers) and all(map(math.isfinite, (*numbers, self.error)))


@dataclass(frozen=True)
class Dropped:
    """Why an arm is not trained any longer, and after which rung.

    Attributes:
        epochs: of the rung.
        reason: ``diverged``; ``behind``: even if it gains once more what longer training gained so far, and noise was
            against it, it ends below the best as that stands; ``no_place``: others are ahead and take all places.
    """

    epochs: int
    reason: Reason


@dataclass(frozen=True)
class Search(Generic[Arm]):
    """How far a search is.

    Attributes:
        asked: by rung, the arms that are trained for so many epochs.
        waiting: trainings whose score is not known yet.
        dropped: by arm, when and why.
        finalists: arms that are left, best first; empty where every arm diverged.
    """

    asked: Mapping[int, tuple[Arm, ...]]
    waiting: tuple[tuple[Arm, int], ...] = ()
    dropped: Mapping[Arm, Dropped] = field(default_factory=dict)
    finalists: tuple[Arm, ...] = ()

    @property
    def finished(self) -> bool:
        """Whether nothing is left to train."""
        return not self.waiting

    @property
    def epochs(self) -> int:
        """Of all trainings asked for so far: their updates are in this proportion."""
        return sum(rung * len(arms) for rung, arms in self.asked.items())


@dataclass(frozen=True)
class Halving:
    """The rule of a search.

    Attributes:
        rungs: epochs of its trainings, ascending.
        factor: one of so many arms goes on.
    """

    rungs: tuple[int, ...]
    factor: int = FACTOR

    def __post_init__(self) -> None:
        if not self.rungs or any(a >= b for a, b in zip((0, *self.rungs), self.rungs, strict=False)):
            raise AnalysisError("rungs ascend from at least one epoch", expected="(1, 3, 9)", got=str(self.rungs))
        if self.factor < 2:
            raise AnalysisError("of the arms one in ``factor`` goes on", expected="2 or more", got=str(self.factor))

    def places(self, arms: int, rung: int) -> int:
        """How many of ``arms`` go on at most, after the rung of this number.

        After the first, when least is known, a share is rounded up; later ones cost more and are rounded down.
        """
        return math.ceil(arms / self.factor) if rung == 0 else max(1, arms // self.factor)

    def search(self, arms: Iterable[Arm], scores: Mapping[tuple[Arm, int], Score]) -> Search[Arm]:
        """Which trainings a search needs, by the scores there are: ask again when those that wait are known.

        An arm that was trained at a rung stays in it, whatever arms came to the first rung since. A search ends when
        one arm is left, or after the last rung.

        Args:
            arms: all of them, hashable and orderable (of two that are exactly as good the smaller one goes first).
            scores: by arm and epochs.

        Raises:
            AnalysisError: there is no arm, or one is named twice.
        """
        left = tuple(arms)
        if not left or len(set(left)) != len(left):
            raise AnalysisError("a search needs arms, each once", expected="one or more", got=str(list(left)))
        left = _ordered(left)
        asked: dict[int, tuple[Arm, ...]] = {}
        dropped: dict[Arm, Dropped] = {}
        seen: list[Mapping[Arm, Score]] = []
        for number, rung in enumerate(self.rungs):
            asked[rung] = left
            if waiting := tuple((arm, rung) for arm in left if (arm, rung) not in scores):
                return Search(asked, waiting, dropped, ranked(seen[-1], left) if seen else ())
            seen.append({arm: scores[arm, rung] for arm in left})
            last = number == len(self.rungs) - 1
            if last:
                reasons: Mapping[Arm, Reason] = {arm: "diverged" for arm in left if not seen[-1][arm].sound}
            else:
                reasons = select(seen, self.places(len(left), number))
                longer = self.rungs[number + 1]
                reasons = {arm: why for arm, why in reasons.items() if (arm, longer) not in scores}
            dropped |= {arm: Dropped(rung, why) for arm, why in reasons.items()}
            left = tuple(arm for arm in left if arm not in reasons)
            if last or len(left) < 2:
                break
        return Search(asked, (), dropped, ranked(seen[-1], left))

    def most(self, first: int, beyond: int = 0) -> dict[int, int]:
        """Trainings by rung that may come on top of those of the first arms on the first rung, if every place is taken.

        Args:
            first: arms at the beginning.
            beyond: arms that may come to the first rung later; each may take the place of one that has gone on.
        """
        found, arms = {self.rungs[0]: beyond}, first + beyond
        for number, rung in enumerate(self.rungs[1:]):
            if (places := self.places(arms, number)) < 2 and not beyond:
                break
            arms = min(arms, places + beyond)
            found[rung] = arms
        return found


def rungs(longest: int, factor: int = FACTOR, shortest: int = 1) -> tuple[int, ...]:
    """The epochs of the trainings of a search: the longest, a ``factor``-th of it and so on, rounded.

    >>> rungs(9), rungs(10), rungs(6), rungs(2)
    ((1, 3, 9), (1, 3, 10), (2, 6), (2,))

    Args:
        longest: of the last rung.
        factor: between two rungs.
        shortest: of the first one, before rounding, at least.

    Raises:
        AnalysisError: a number is too small to be what it is.
    """
    if longest < 1 or shortest < 1 or factor < 2:
        raise AnalysisError(
            "no rungs can be made of these", expected="longest and shortest of 1 or more, a factor of 2 or more",
            got=f"longest {longest}, shortest {shortest}, factor {factor}",
        )  # fmt: skip
    steps = range(math.floor(math.log(longest / shortest, factor) + 1e-9) + 1) if longest > shortest else (0,)
    return tuple(sorted(round(longest / factor**step) for step in steps))


def ranked(scores: Mapping[Arm, Score], arms: Iterable[Arm]) -> tuple[Arm, ...]:
    """Arms that can be compared, best first: by metric, of equal ones by loss, then the smaller arm."""

    def place(arm: Arm) -> tuple[float, float]:
        score = scores[arm]
        metric = -math.inf if score.metric is None else score.metric
        return -metric, math.inf if score.loss is None else score.loss

    return tuple(sorted(_ordered(arm for arm in arms if scores[arm].sound), key=place))


def select(seen: Sequence[Mapping[Arm, Score]], places: int) -> dict[Arm, Reason]:
    """Which arms of the last rung are dropped, and why.

    With the metric m of an arm after the rung, its standard error e and its last gain g (of the rung over the one
    before, at least 0; unknown after the first rung) it ends between m − e and m + g + e: learning curves flatten, so
    all that is still to come is taken to be no more than the last gain. It is dropped as ``behind`` where even the
    upper of these lies below the lower one of the best. Of those that are left the best take the places.

    Args:
        seen: scores by rung; each rung holds the arms of the next.
        places: how many arms go on at most.
    """
    now, before = seen[-1], seen[-2] if len(seen) > 1 else None
    order = ranked(now, now)
    reasons: dict[Arm, Reason] = {arm: "diverged" for arm in now if not now[arm].sound}
    doubtful = [arm for arm in order if before is None or not _behind(now, before, arm, order[0])]
    reasons |= {arm: "behind" for arm in order if arm not in doubtful}
    reasons |= dict.fromkeys(doubtful[places:], "no_place")
    return reasons


def _behind(now: Mapping[Arm, Score], before: Mapping[Arm, Score], arm: Arm, best: Arm) -> bool:
    own, first, earlier = now[arm].metric, now[best].metric, before[arm].metric
    if own is None or first is None or earlier is None:
        return False
    return own + max(own - earlier, 0.0) + now[arm].error < first - now[best].error


def _ordered(arms: Iterable[Arm]) -> tuple[Arm, ...]:
    named = list(arms)
    try:
        return tuple(sorted(named))  # type: ignore[type-var] # hashable and orderable: typing has no name for both
    except TypeError as error:
        raise AnalysisError(
            "the arms of a search cannot be compared", expected="arms that can be put in order, as tuples of one kind",
            got=str(named),
        ) from error  # fmt: skip
