"""The learning rate of every update, in closed form: resuming needs no state.

The whole schedule is a function of the number of updates done so far, as torch's own schedulers compute it step by step
(the tests compare the two).
"""

import math

from transferscope.specs.recipe import Recipe

_ONE_CYCLE_RISE = 0.3
_ONE_CYCLE_START = 1 / 25
_ONE_CYCLE_END = 1e-4
_STEP_AT = (0.5, 0.75)
_STEP_FACTOR = 0.1


def warmup_updates(recipe: Recipe, per_epoch: int) -> int:
    """Updates of the linear warm-up: ``warmup_epochs`` × updates per epoch, rounded."""
    return round(recipe.warmup_epochs * per_epoch)


def learning_rate(recipe: Recipe, update: int, per_epoch: int) -> float:
    """The learning rate of update number ``update`` (the first is 0).

    With T updates in all, W of them warm-up, peak rate r:

    - warm-up: r·(u+1)/(W+1) for u < W: it rises from 0, and no update is lost to a rate of 0;
    - ``constant``: r;
    - ``cosine``: r·½(1 + cos(π(u−W)/(T−W)));
    - ``step``: r, r/10 from ½T, r/100 from ¾T (warm-up included in T);
    - ``one_cycle``: half a cosine from r/25 up to r over the first 30 % of the updates, another down to
      r/25·10⁻⁴ (Smith & Topin, arXiv 1708.07120, as torch's ``OneCycleLR`` with ``cycle_momentum=False``).

    >>> recipe = Recipe(learning_rate=1.0, epochs=2, schedule="step")
    >>> [round(learning_rate(recipe, update, per_epoch=2), 6) for update in range(4)]
    [1.0, 1.0, 0.1, 0.01]

    Args:
        recipe: names the schedule, its peak, warm-up and epochs.
        update: updates done before this one, in [0, T).
        per_epoch: updates per epoch.

    Returns:
        The rate before the modules' own factors.

    Raises:
        ValueError: ``update`` is outside [0, T).
    """
    total = recipe.epochs * per_epoch
    if not 0 <= update < total:
        raise ValueError(f"update {update} is outside [0, {total})")
    warmup = warmup_updates(recipe, per_epoch)
    factor = (update + 1) / (warmup + 1) if update < warmup else 1.0
    if recipe.schedule == "cosine" and update >= warmup:
        factor = 0.5 * (1 + math.cos(math.pi * (update - warmup) / (total - warmup)))
    elif recipe.schedule == "step":
        factor *= _STEP_FACTOR ** sum(update >= share * total for share in _STEP_AT)
    elif recipe.schedule == "one_cycle":
        factor = _one_cycle(update, total)
    return recipe.learning_rate * factor


def _one_cycle(update: int, total: int) -> float:
    # As in torch the peak lies at 0.3·T − 1 and the end at T − 1, not necessarily on whole updates. A run of
    # at most 3 updates has no room for the rise: it starts at the peak.
    peak, end = _ONE_CYCLE_RISE * total - 1, total - 1
    if peak <= 0:
        return _anneal(1.0, _ONE_CYCLE_START * _ONE_CYCLE_END, update / max(end, 1))
    if update <= peak:
        return _anneal(_ONE_CYCLE_START, 1.0, update / peak)
    return _anneal(1.0, _ONE_CYCLE_START * _ONE_CYCLE_END, (update - peak) / (end - peak))


def _anneal(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))
