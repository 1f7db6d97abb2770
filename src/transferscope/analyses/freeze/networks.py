"""The networks that are held against each other: frozen ones, full fine-tuning, and its rivals."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from transferscope.context.resolved_study import ResolvedStudy
from transferscope.context.study_network import StudyNetwork
from transferscope.frozen import derive_seed
from transferscope.specs.network import Checkpoint, NetworkSpec, Start, Transplant
from transferscope.specs.recipe import Recipe

__all__ = ["FULL", "Arms", "Rival", "first", "shown_arm"]

Rival = Literal["lp_ft", "rate_decay", "reinit_last", "random_modules"]
FULL = "full"
"""The arm of full fine-tuning, which is P-T."""

_WORDS = {
    FULL: "full fine-tuning",
    "lp_ft": "linear probe, then fine-tuning",
    "rate_decay": "layer-wise rate decay",
    "reinit_last": "last module drawn anew",
}


def first(k: int) -> str:
    """The arm in which the first k modules are frozen."""
    return FULL if k == 0 else f"first_{k}"


def shown_arm(arm: str) -> str:
    """An arm in words.

    >>> shown_arm("first_3"), shown_arm("random_3"), shown_arm("full")
    ('first 3 frozen', '3 random modules frozen', 'full fine-tuning')
    """
    name, _, count = arm.rpartition("_")
    if count.isdigit():
        return f"first {count} frozen" if name == "first" else f"{count} random modules frozen"
    return _WORDS[arm]


class Arms:
    """The networks of each arm, all at P-T's rate, with P-T's head, order and updates.

    Args:
        study: whose.
        rate: of P-T.
        names: of each module, what ``module_rates`` calls it; from input to output.
        views: augmented views of an image that are kept of frozen modules; None keeps nothing.
        decay: factor of the rate from a module to the one before it.
        granularity: of the modules.

    Attributes:
        names: see above.
    """

    def __init__(
        self,
        study: ResolvedStudy,
        rate: float,
        names: Mapping[str, Sequence[str]],
        views: int | None,
        decay: float,
        granularity: Literal["stage", "block", "layer"],
    ) -> None:
        self._study, self._rate, self.names = study, rate, names
        self._views, self._decay, self._granularity = views, decay, granularity
        self._modules = tuple(names)

    def members(self, arm: str) -> Iterable[StudyNetwork]:
        """Those of all report seeds."""
        for seed in self._study.seeds:
            # P-T and its like are the networks of other analyses and keep their names.
            yield StudyNetwork(variant="P_T" if arm == FULL else arm, seed=seed, spec=self.spec(arm, seed))

    def spec(self, arm: str, seed: int) -> NetworkSpec:
        """The network of one seed."""
        full = self._study.trained("P_T", seed, self._rate)
        kind, _, count = arm.rpartition("_")
        if kind == "first":
            return self._frozen(full, self._modules[: int(count)])
        if kind == "random":
            return self._frozen(full, self.drawn(int(count), seed))
        if arm == "rate_decay":
            depth = len(self._modules)
            factors = {module: self._decay ** (depth - place) for place, module in enumerate(self._modules)}
            return self._with_rates(full, factors, None)
        start: Start
        if arm == "lp_ft":
            start = Checkpoint(of=self.spec(first(len(self._modules)), seed), new_head=False)
        elif arm == "reinit_last":
            kept = self._modules[:-1]
            start = Transplant(of=self._study.pretrained, modules=kept, granularity=self._granularity)
        else:
            return full
        return full.model_copy(update={"start": start})

    def drawn(self, count: int, seed: int) -> tuple[str, ...]:
        """As many modules, drawn from all for a seed."""
        ranked = sorted(self._modules, key=lambda module: derive_seed(seed, "freeze", module))
        return tuple(module for module in self._modules if module in ranked[:count])

    def _frozen(self, full: NetworkSpec, modules: Sequence[str]) -> NetworkSpec:
        assert full.recipe is not None
        # What mixup blends cannot be kept: all views are seen then.
        views = None if full.recipe.mixup else self._views
        return self._with_rates(full, dict.fromkeys(modules, 0.0), views)

    def _with_rates(self, full: NetworkSpec, factors: Mapping[str, float], views: int | None) -> NetworkSpec:
        assert full.recipe is not None
        own = {name: factor for module, factor in factors.items() for name in self.names[module]}
        # A finer factor of the study's own recipe would undo that of its module.
        former = {
            name: factor
            for name, factor in full.recipe.module_rates.items()
            if not any(name == taken or name.startswith(f"{taken}.") for taken in own)
        }
        changed: dict[str, Any] = {"module_rates": {**former, **own}, "prefix_views": views}
        return full.model_copy(update={"recipe": Recipe.model_validate({**full.recipe.model_dump(), **changed})})
