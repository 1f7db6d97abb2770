"""Frozen first modules run once: what they give is kept, and updates and evaluations go on from there."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, final

import torch
from torch import Tensor, nn

from transferscope.data.batches import TrainingBatches
from transferscope.errors import ArchitectureError
from transferscope.networks.cuts.cuts import Cut, CutValues
from transferscope.networks.cuts.prefix import KeptPrefix
from transferscope.networks.cuts.rows import Rows
from transferscope.networks.cuts.trace import Trace, trace
from transferscope.networks.evaluate import autocast, preserved
from transferscope.networks.modules import Granularity
from transferscope.specs.recipe import Recipe
from transferscope.store.system_errors import translated
from transferscope.training.objective import Objective, PrefixBudget
from transferscope.training.randomness import seeded

_ROUNDING = {"float32": 1e-3, "bfloat16": 5e-2}
"""Of the largest output: what another order of sums may change; who draws, or looks at other images, changes more."""


@dataclass(frozen=True)
class PrefixUse:
    """How a training that asked for it kept what its frozen first modules give.

    Attributes:
        kept: where; ``none``: every update ran the whole network.
        before: the module that the kept values enter.
        why: why nothing, or less than what is frozen, is kept.
        views: of each image that are kept: 1 where images are not augmented.
        megabytes: that are kept of training images.
        seconds: that keeping them took.
        to_the_bit: whether the outputs of the first and the last batch of an epoch are the bits of a full pass; False:
            equal up to rounding, as an image's values hang on how many others are in its batch.
    """

    kept: Literal["memory", "file", "none"] = "none"
    before: str | None = None
    why: str | None = None
    views: int = 0
    megabytes: float = 0.0
    seconds: float = 0.0
    to_the_bit: bool | None = None

    @property
    def text(self) -> str:
        """What is to be told."""
        if self.kept == "none":
            return f"every update runs the frozen modules: {self.why}"
        less = f"; {self.why}" if self.why else ""
        rounding = "" if self.to_the_bit else ", equal to full passes up to rounding"
        views = f"{self.views} view{'s' if self.views > 1 else ''} of each image"
        return (
            f"what lies before {self.before} is kept in {self.kept}: {views}, {self.megabytes:.1f} MB{rounding}{less}"
        )


class _FullPasses(Exception):  # noqa: N818 - becomes a reason, not a failure
    """Nothing can be kept; the words say why."""


@final
class FrozenPrefix(Objective):
    """Ordinary training that goes on from kept values at a cut.

    Attributes:
        evaluation: the same cut for the batches of evaluation.
    """

    def __init__(self, found: Trace, cut: Cut, rows: Rows, views: int, evaluation: KeptPrefix) -> None:
        self._model, self._suffix = found.model, found.suffix(cut)
        self._rows, self._views = rows, views
        self.evaluation = evaluation

    def batches(self, batches: TrainingBatches, epoch: int) -> Iterator[tuple[CutValues, Tensor]]:
        """The batches of an epoch: values at the cut in place of images."""
        for positions in batches.positions:
            yield self.values(batches, positions, epoch), batches.labels(positions)

    def values(self, batches: TrainingBatches, positions: Tensor, epoch: int) -> CutValues:
        """The values of one batch of an epoch."""
        view = (epoch - 1) % self._views
        return self._rows.take(view * batches.count + positions)

    def logits(self, inputs: CutValues, epoch: int, step: int) -> Tensor:
        """Run what lies after the cut."""
        outputs: Tensor = self._suffix(inputs)
        return outputs

    def before_step(self) -> None:
        """Do nothing."""

    def measured(self) -> nn.Module:
        """The network."""
        return self._model


def keep_prefix(
    model: nn.Module,
    objective: Objective,
    trained: list[str],
    recipe: Recipe,
    epoch_batches: Callable[[int], TrainingBatches],
    folder: Path,
    files: ExitStack,
) -> tuple[FrozenPrefix | None, PrefixUse]:
    """Run the frozen modules before all that is trained once for every view of every training image.

    The rows are filled in the order of the images, in batches of the size of an update: an interrupted training that
    fills them again has the same bits.

    Args:
        model: on its device, ready to be trained: frozen modules in eval mode.
        objective: says how much may be kept, and whether an update can do without its images.
        trained: names of the parameters that change.
        recipe: with ``prefix_views``.
        epoch_batches: the training batches of an epoch.
        folder: for a file, where memory is not enough.
        files: removes it in the end.

    Returns:
        What updates go on from, None for full passes; and what a record says of it.
    """
    started = time.perf_counter()
    try:
        kept, use = _kept(model, objective, trained, recipe, epoch_batches, folder, files)
    except _FullPasses as reason:
        return None, PrefixUse(why=str(reason))
    return kept, PrefixUse(**{**vars(use), "seconds": round(time.perf_counter() - started, 3)})


def _kept(
    model: nn.Module,
    objective: Objective,
    trained: list[str],
    recipe: Recipe,
    epoch_batches: Callable[[int], TrainingBatches],
    folder: Path,
    files: ExitStack,
) -> tuple[FrozenPrefix, PrefixUse]:
    budget = objective.prefix_budget
    if budget is None:
        raise _FullPasses("what is trained is not the network itself, which needs the images of every update")
    if recipe.mixup:
        raise _FullPasses("mixup blends images before they enter the network")
    first = epoch_batches(1)
    example = first.images(first.positions[0])
    found, cut = _cut(model, example, trained)
    views = 1 if first.plain else min(recipe.prefix_views or 1, recipe.epochs)
    prefix = found.prefix(cut)
    with torch.no_grad(), autocast(example.device, recipe.precision):
        sizes = {len(example), len(first.positions[-1]), len(example) + 1}
        templates = {size: prefix(example[torch.arange(size) % len(example)]) for size in sizes}
        rows = Rows.like(templates, views * first.count)
        if isinstance(rows, str):
            raise _FullPasses(rows)
        place = _allocated(rows, budget, example.device, folder, files)
        size = len(example)
        for view in range(views):
            batches = epoch_batches(view + 1)
            for start in range(0, first.count, size):
                # The last batch is filled up with the first images: values may hang on how many there are.
                positions = torch.arange(start, start + size) % first.count
                values = prefix(batches.images(positions))
                rows.put(view * first.count + positions[: first.count - start], values)
    left = budget.memory * 2**20 - (rows.bytes if place == "memory" else 0)
    kept = FrozenPrefix(found, cut, rows, views, KeptPrefix(found, cut, max(left, 0), ()))
    exact = _checked(model, kept, first, recipe)
    frozen = {name for name, _ in model.named_parameters()} - set(trained)
    owned = found.parameters_of(cut.after)
    again = [part for part in cut.after if set(owned[part]) <= frozen]
    why = f"run each time although frozen: {', '.join(again)}" if again else None
    return kept, PrefixUse(place, cut.name, why, views, round(rows.bytes / 1e6, 3), 0.0, exact)


def _cut(model: nn.Module, example: Tensor, trained: list[str]) -> tuple[Trace, Cut]:
    """The last cut before everything that is trained: between blocks, within one where more lies before that."""
    frozen = {name for name, _ in model.named_parameters()} - set(trained)
    best: tuple[int, Trace, Cut] | None = None
    reasons: list[str] = []
    granularities: tuple[Granularity, ...] = ("block", "layer")
    for granularity in granularities:
        try:
            found = trace(model, example, granularity=granularity)
        except ArchitectureError as error:
            raise _FullPasses(str(error)) from error
        cut = found.cut_for(trained)
        if cut is None:
            reasons.append(f"the network cannot be cut ({found.reason or 'it has no cut'})")
        elif cut.index == 0:
            refused = "; ".join(dict.fromkeys(found.refused.values()))
            reasons.append(
                "nothing that is frozen lies before all that is trained" + (f" ({refused})" if refused else "")
            )
        else:
            sides = found.sides(cut)
            before = len(sides.before)
            if best is None or before > best[0]:
                best = (before, found, cut)
            if not frozen & set(sides.after):
                break
    if best is None:
        raise _FullPasses(reasons[0])
    return best[1:]


def _allocated(
    rows: Rows, budget: PrefixBudget, device: torch.device, folder: Path, files: ExitStack
) -> Literal["memory", "file"]:
    """Give the rows their place."""
    megabytes = rows.bytes / 2**20
    if megabytes <= budget.memory:
        rows.allocate(device)
        return "memory"
    free = shutil.disk_usage(folder).free / 2**20
    if megabytes > min(budget.disk, free):
        raise _FullPasses(
            f"{megabytes:.0f} MiB would have to be kept, compute.prefix_memory is {budget.memory} MiB, "
            f"compute.prefix_disk {budget.disk} MiB, of which {free:.0f} are free"
        )
    path = folder / "prefix"
    with translated(path, "write"):
        made = rows.allocate(device, path)
    for file in made:
        files.callback(file.unlink, missing_ok=True)
    return "file"


def _checked(model: nn.Module, kept: FrozenPrefix, first: TrainingBatches, recipe: Recipe) -> bool:
    """Whether updates see the bits of full passes, in train mode and with the same draws.

    A first module that draws random numbers, or whose values for an image hang on the others of its batch, gives other
    outputs in the full pass, whose batches are mixed.
    """
    exact = True
    for positions in (first.positions[0], first.positions[-1]):
        outputs = []
        images = first.images(positions)
        for run in (lambda: model(images), lambda: kept.logits(kept.values(first, positions, 1), 1, 0)):  # noqa: B023
            with preserved(model), seeded(0, images.device), torch.no_grad(), autocast(images.device, recipe.precision):
                outputs.append(run())
        full, short = outputs
        if not (isinstance(full, Tensor) and isinstance(short, Tensor) and full.shape == short.shape):
            raise _FullPasses("the network does not give one tensor in train mode")
        exact &= bool(torch.equal(full, short))
        apart = float((full.float() - short.float()).abs().max())
        if not apart <= _ROUNDING[recipe.precision] * float(full.float().abs().max()):
            raise _FullPasses(
                "in train mode the two halves do not give the output of the whole: something before the cut draws "
                "random numbers, looks at the other images of a batch, or depends on the mode of the network"
            )
    return exact
