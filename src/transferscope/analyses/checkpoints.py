"""Which epochs of a study's trainings can be looked at. No torch here.

What is kept is part of a recipe and so of a network's key: a network trained without keeping its epochs cannot give
them later. So analyses of what happens during training take the networks as the study trains them, and say what to
set where the study keeps too little.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from transferscope.analyses.tuned import AbstractTuned
from transferscope.context.resolved_study import ResolvedStudy

if TYPE_CHECKING:
    from transferscope.specs.pretraining import VariantRecipe
    from transferscope.study.settings import Study

__all__ = ["OnEpochs", "chosen_epochs", "evenly", "kept_epochs", "missing_epochs", "too_few"]


class OnEpochs(AbstractTuned):
    """An analysis of what happens during training, at epochs whose weights are kept.

    Attributes:
        epochs: which kept epochs, 0 is the start; None takes all kept ones. The last is always among them, and the
            start as well where it is needed.
        max_epochs: at most so many, evenly spread over the kept ones, where ``epochs`` is None.
    """

    epochs: tuple[int, ...] | None = Field(default=None, min_length=1)
    max_epochs: int = Field(default=10, ge=3)
    from_start: ClassVar[bool] = True

    def check_study(self, study: "Study") -> str | None:
        """Epochs that are asked for and not kept."""
        return missing_epochs(study.training.recipe, self.epochs, self.from_start)

    def skip_reason(self, study: ResolvedStudy) -> str | None:
        """There must be an epoch before the last whose weights are kept, after the start where that is needed."""
        return too_few(study.settings.training.recipe, self.from_start)

    def chosen(self, recipe: "VariantRecipe") -> tuple[int, ...]:
        """The epochs that are looked at, ascending."""
        return chosen_epochs(recipe, self.epochs, self.max_epochs, self.from_start)


def kept_epochs(recipe: "VariantRecipe", start: bool = True) -> tuple[int, ...]:
    """Epochs whose weights there are: the start, which is made again, what ``keep`` names, and the last.

    Args:
        recipe: of the study.
        start: whether the start is among them where ``keep`` does not name it.
    """
    if recipe.keep == "all":
        return tuple(range(recipe.epochs + 1))
    listed = () if recipe.keep == "none" else recipe.keep
    return tuple(sorted({*_first(start), *listed, recipe.epochs}))


def evenly(values: Sequence[int], most: int) -> tuple[int, ...]:
    """At most ``most`` of ``values``, evenly spread, the first and the last among them.

    >>> evenly(range(11), 5)
    (0, 2, 5, 8, 10)
    """
    if len(values) <= most:
        return tuple(values)
    places = [round(step * (len(values) - 1) / (most - 1)) for step in range(most)]
    return tuple(values[place] for place in dict.fromkeys(places))


def chosen_epochs(
    recipe: "VariantRecipe", asked: Sequence[int] | None, most: int, start: bool = True
) -> tuple[int, ...]:
    """The epochs an analysis looks at: the last always among them, and the start unless it is not asked for.

    Args:
        recipe: of the study.
        asked: by name; None for at most ``most`` of those that are kept.
        most: how many, where none are named.
        start: as in :func:`kept_epochs`.
    """
    if asked is not None:
        return tuple(sorted({*_first(start), *asked, recipe.epochs}))
    return evenly(kept_epochs(recipe, start), most)


def missing_epochs(
    recipe: "VariantRecipe", asked: Sequence[int] | None, start: bool = True, place: str = "training.recipe"
) -> str | None:
    """What is wrong with the epochs an analysis asks for; None if they are all kept.

    Args:
        recipe: of the study.
        asked: by name, or None.
        start: as in :func:`kept_epochs`.
        place: where the recipe stands in the study.
    """
    if asked is None or recipe.keep == "none":
        # A study that keeps none is told what to change by too_few: it is no misspelt setting.
        return None
    have = kept_epochs(recipe, start)
    lost = sorted(set(asked) - set(have))
    if not lost:
        return None
    listed = ", ".join(map(str, lost))
    return f"epochs: {place}.keep does not keep {listed} (it has {', '.join(map(str, have))})"


def too_few(recipe: "VariantRecipe", start: bool = True, place: str = "training.recipe") -> str | None:
    """Why a study has no training to look into; None if it has.

    Args:
        recipe: of the study.
        start: whether an epoch between the start and the last is needed, or any before the last will do.
        place: as in :func:`missing_epochs`.
    """
    if len(kept_epochs(recipe, start)) > (2 if start else 1):
        return None
    where, such = ("between the start and the last", "[1, 2, 4]") if start else ("before the last", "[0, 1, 2]")
    return f"no epoch {where} ({recipe.epochs}) is kept: set {place}.keep to all, or to a list of epochs such as {such}"


def _first(start: bool) -> tuple[int, ...]:
    return (0,) if start else ()
