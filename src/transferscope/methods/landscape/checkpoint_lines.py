"""Straight lines between the checkpoints of trainings, each of which is evaluated once however many lines it ends."""

from collections.abc import Hashable, Mapping, Sequence
from typing import final

from torch import Tensor

from transferscope.errors import MeasureError
from transferscope.methods.landscape.landscape import Landscape, LandscapePoint
from transferscope.methods.landscape.linear_path import LinearPath

State = Mapping[str, Tensor]


@final
class TrainingLines:
    """Evaluates lines between states; what was found at a state is kept, the state is not.

    Args:
        land: a landscape of two ends, whatever they are: both are replaced.
        alphas: of every line, ascending from 0 to 1.
    """

    def __init__(self, land: Landscape, alphas: Sequence[float]) -> None:
        if len(land.ends) != 2:
            raise MeasureError("a line has two ends", expected="a landscape of two networks", got=str(len(land.ends)))
        self.alphas = tuple(float(alpha) for alpha in alphas)
        if list(self.alphas) != sorted(set(self.alphas)) or self.alphas[0] != 0 or self.alphas[-1] != 1:
            raise MeasureError(
                "alphas must ascend from 0 to 1, each once", expected="for example (0, 0.5, 1)", got=str(self.alphas)
            )
        self._land = land
        self._found: dict[Hashable, tuple[Mapping[str, LandscapePoint], Mapping[str, LandscapePoint]]] = {}

    def visit(self, name: Hashable, state: State) -> Mapping[str, LandscapePoint]:
        """Evaluate a state as the ends of lines are: losses and errors by split.

        Args:
            name: the same name always stands for the same state, which is evaluated the first time only.
        """
        if name not in self._found:
            self._land.replace(0, state)
            self._land.combine((1.0, 0.0))
            own = self._land.evaluate(own_statistics=True)
            self._found[name] = (self._land.evaluate() if self._land.policy == "recompute" else own, own)
        return self._found[name][0]

    def own(self, name: Hashable) -> Mapping[str, LandscapePoint]:
        """What a visited state gives with its own running statistics, by split."""
        if name not in self._found:
            raise MeasureError(f"the state {name!r} was not visited", expected="one that is the end of a line")
        return self._found[name][1]

    def between(self, first: tuple[Hashable, State], second: tuple[Hashable, State]) -> LinearPath:
        """The line from one state (α = 0) to another."""
        ends = [self.visit(*first), self.visit(*second)]
        self._land.replace(0, first[1])
        self._land.replace(1, second[1])
        points = {split: [ends[0][split]] for split in self._land.splits}
        for alpha in self.alphas[1:-1]:
            self._land.combine((1 - alpha, alpha))
            for split, point in self._land.evaluate().items():
                points[split].append(point)
        for split, found in points.items():
            found.append(ends[1][split])
        return LinearPath(
            alphas=self.alphas,
            distance=self._land.distance(),
            batch_norm=self._land.policy,
            points={split: tuple(found) for split, found in points.items()},
            own={split: (self.own(first[0])[split], self.own(second[0])[split]) for split in points},
        )
