"""How far two sets of images are apart for a network, and in themselves: no study needed."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from transferscope.errors import ArchitectureError, MeasureError
from transferscope.keys import SPECTRUM_SLOPE
from transferscope.measures.appearance import colour_distance
from transferscope.measures.domain import (
    DomainEstimate,
    against_halves,
    batch_norm_distance,
    frechet_distance,
    kernel_distance,
    proxy_a_distance,
)
from transferscope.measures.standard_error import standard_error
from transferscope.methods.domains.features import COLOURS, FOLDS, Domain, Observed, observe
from transferscope.networks.batchnorm_inputs import LayerMoments
from transferscope.networks.evaluate import MemoryFormat
from transferscope.networks.features import FEATURES
from transferscope.networks.given import takes_networks
from transferscope.networks.loader_check import check_repeatable
from transferscope.networks.modules import Granularity
from transferscope.readable import readable

_Z = 1.959964
_MOMENTS = ("colour mean", "colour deviation", "colour skewness")


@dataclass(frozen=True)
class DomainRow:
    """One number about one or two sets of images.

    Attributes:
        quantity: ``frechet``, ``kernel``, ``proxy_a``, ``batch_norm``, ``colour``, ``spectrum slope``, or one of the
            colour moments.
        compared: ``target to source``, ``target to statistics``, ``source to statistics``, ``target`` or ``source``.
        place: a part of the network, ``(features)`` (what enters the head), a batch norm, ``(all)``, a channel, or
            ``(images)``.
        position: order of the places of a quantity; −1 for totals.
        value: None where it is not defined; ``note`` says why.
        standard_error: of ``value``; None where there is none.
        relative: ``value`` over the total variance of the source's features; None for other quantities.
        null: the same between two halves of the source; None without a source.
    """

    quantity: str
    compared: str
    place: str
    position: int
    value: float | None
    standard_error: float | None
    examples: int
    features: int
    relative: float | None = None
    null: float | None = None
    null_deviation: float | None = None
    excess: float | None = None
    excess_error: float | None = None
    note: str | None = None

    @property
    def low(self) -> float | None:
        """Lower end of the 95 % interval over images."""
        return _end(self.value, self.standard_error, -_Z)

    @property
    def high(self) -> float | None:
        """Upper end of the 95 % interval over images."""
        return _end(self.value, self.standard_error, _Z)

    @property
    def excess_low(self) -> float | None:
        """Lower end of the 95 % interval of the excess."""
        return _end(self.excess, self.excess_error, -_Z)

    @property
    def excess_high(self) -> float | None:
        """Upper end of the 95 % interval of the excess."""
        return _end(self.excess, self.excess_error, _Z)


def _end(value: float | None, error: float | None, factor: float) -> float | None:
    return None if value is None or error is None else value + factor * error


def compare_domains(
    source: Observed | None, target: Observed, *, draws: int = 20, penalty: float = 0.01, seed: int = 0
) -> list[DomainRow]:
    """All distances between a source and a target, each beside its null; without a source, what needs none.

    Args:
        source: whose two halves give the null; None for the source-free numbers alone.
    """
    rows: list[DomainRow] = []
    if source is not None:
        rows += _features(source, target, draws, penalty, seed)
    for name, side in (("target", target), ("source", source)):
        if side is not None:
            rows += _statistics(side, f"{name} to statistics")
    if source is not None and source.colours is not None and target.colours is not None:
        rows.append(
            _against(
                lambda a, b, *_: colour_distance(a, b),
                ("colour", "(images)", -1),
                (source, source.colours.flatten(1)),
                (target, target.colours.flatten(1)),
                draws,
                seed,
            )
        )
    for name, side in (("target", target), ("source", source)):
        if side is not None:
            rows += _appearance(side, name)
    return rows


def _features(source: Observed, target: Observed, draws: int, penalty: float, seed: int) -> Iterator[DomainRow]:
    common = [name for name in source.tables if name in target.tables]
    for position, name in enumerate(common):
        a, b = (source, source.tables[name]), (target, target.tables[name])
        place = -1 if name == FEATURES else position
        variance = float(source.tables[name].double().var(0).sum()) if source.tables[name].numel() else 0.0
        row = _against(lambda x, y, *_: frechet_distance(x, y), ("frechet", name, place), a, b, draws, seed)
        assert row.value is not None
        yield _with(row, relative=row.value / variance if variance > 0 else None)
        if name == FEATURES:
            yield _against(lambda x, y, *_: kernel_distance(x, y), ("kernel", name, place), a, b, draws, seed)
            yield _against(
                lambda x, y, u, v: proxy_a_distance(x, y, u, v, penalty=penalty),
                ("proxy_a", name, place),
                a,
                b,
                draws,
                seed,
                held_out=True,
            )


def _with(row: DomainRow, **changes: Any) -> DomainRow:
    return DomainRow(**{**vars(row), **changes})


def _against(
    distance: Callable[[Tensor, Tensor, Tensor, Tensor], float],
    what: tuple[str, str, int],
    source: tuple[Observed, Tensor],
    target: tuple[Observed, Tensor],
    draws: int,
    seed: int,
    held_out: bool = False,
) -> DomainRow:
    found: DomainEstimate = against_halves(
        distance,
        source[1],
        target[1],
        groups_a=source[0].groups,
        groups_b=target[0].groups,
        held_out=held_out,
        draws=draws,
        seed=seed,
    )
    quantity, place, position = what
    return DomainRow(
        quantity=quantity,
        compared="target to source",
        place=place,
        position=position,
        value=found.value,
        standard_error=found.standard_error,
        examples=found.examples,
        features=source[1].shape[1],
        null=found.null,
        null_deviation=found.null_deviation,
        excess=found.excess,
        excess_error=found.excess_error,
    )


def _statistics(side: Observed, compared: str) -> Iterator[DomainRow]:
    """Each batch norm, and the mean over all; errors by the jackknife over folds of images."""
    if not side.batch_norms:
        return
    folds = min(FOLDS, side.examples)
    wholes, parts = [], []
    for position, (name, layer) in enumerate(side.batch_norms.items()):
        whole = _layer(layer, None)
        left = np.array([_layer(layer, fold) for fold in range(folds)]) if folds > 1 else None
        wholes.append(whole)
        parts.append(left)
        channels = len(layer.running_mean)
        yield DomainRow(
            "batch_norm", compared, name, position, whole, _jackknife(left), side.examples, channels
        )  # fmt: skip
    means = None if parts[0] is None else np.mean([left for left in parts if left is not None], axis=0)
    channels = sum(len(layer.running_mean) for layer in side.batch_norms.values())
    yield DomainRow(
        "batch_norm", compared, "(all)", -1, float(np.mean(wholes)), _jackknife(means), side.examples, channels
    )  # fmt: skip


def _layer(layer: LayerMoments, without: int | None) -> float:
    mean, variance = layer.moments(without)
    return batch_norm_distance(
        mean, variance, layer.running_mean, layer.running_variance, epsilon=layer.epsilon
    )  # fmt: skip


def _jackknife(left_out: npt.NDArray[np.float64] | None) -> float | None:
    if left_out is None:
        return None
    count = len(left_out)
    return math.sqrt((count - 1) / count * float(((left_out - left_out.mean()) ** 2).sum()))


def _appearance(side: Observed, name: str) -> Iterator[DomainRow]:
    if side.colours is not None:
        for moment, words in enumerate(_MOMENTS):
            for channel, colour in enumerate(COLOURS):
                values = side.colours[:, moment, channel].numpy()
                error = standard_error(values, side.groups)
                yield DomainRow(words, name, colour, channel, float(values.mean()), error, side.examples, 1)
    if side.slopes is not None:
        known = torch.isfinite(side.slopes).numpy()
        values, count = side.slopes.numpy()[known], int(known.sum())
        lost = side.examples - count
        note = f"{lost} images without variation are left out" if lost else None
        groups = None if side.groups is None else side.groups[known]
        yield DomainRow(
            SPECTRUM_SLOPE,
            name,
            "(images)",
            -1,
            float(values.mean()) if count else None,
            standard_error(values, groups) if count else None,
            count,
            1,
            note=note,
        )


@readable
@dataclass(frozen=True)
class DomainComparison:
    """What :func:`domain_distance` found.

    Attributes:
        rows: every number, see :class:`DomainRow`.
    """

    rows: tuple[DomainRow, ...]

    def row(self, quantity: str, compared: str = "target to source", place: str | None = None) -> DomainRow:
        """One of the rows; of a quantity with several places the one of the head's input, or the total."""
        for row in self.rows:
            if (row.quantity, row.compared) == (quantity, compared) and (
                row.place == place if place is not None else row.position == -1
            ):
                return row
        known = sorted({f"{row.quantity}, {row.compared}" for row in self.rows})
        raise MeasureError(
            f"{quantity!r}, {compared!r} was not measured",
            expected="; ".join(known),
            got=quantity if place is None else f"{quantity} at {place}",
        )

    @property
    def text(self) -> str:
        """A page for a terminal."""
        lines = [f"{'quantity':<18} {'compared':<22} {'place':<14} {'value':>10} {'± (s.e.)':>10} {'null':>10}"]
        for row in self.rows:
            if row.position == -1:
                numbers = [row.value, row.standard_error, row.null]
                shown = " ".join(f"{'–' if number is None else f'{number:.4g}':>10}" for number in numbers)
                lines.append(f"{row.quantity:<18} {row.compared:<22} {row.place:<14} {shown}")
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.text


@takes_networks("model")
def domain_distance(
    model: nn.Module,
    source: Domain | None,
    target: Domain,
    *,
    head: str | None = None,
    granularity: Granularity = "stage",
    draws: int = 20,
    penalty: float = 0.01,
    seed: int = 0,
    device: str | torch.device = "auto",
    memory_format: MemoryFormat = "contiguous",
) -> DomainComparison:
    """How far two sets of images are apart in a network's features, and in colour and spectrum.

    Fréchet distance, unbiased kernel distance (KID's kernel) and proxy-A distance of the pooled features, at equal
    numbers of images and beside the same between two halves of the first set; activations against the statistics that
    batch norm holds; colour moments and the slope of the power spectrum. See :mod:`transferscope.measures.domain` and
    :mod:`transferscope.measures.appearance`. The network is left as it was.

    Args:
        model: whose features; as a rule the pre-trained network.
        source: the first set. None: only what needs no source images.
        target: the second set.
        head: the classifying module, whose input are the features; the last ``nn.Linear`` where None.
        granularity: of the parts for which Fréchet distance is also given.
        draws: of random halves, for null and standard errors.
        penalty: of the linear domain classifier.
        seed: of the draws.
        memory_format: of weights and images.

    Returns:
        All numbers; ``print`` it for a page.

    Raises:
        LoaderError: a loader gives other images the second time, or none.
        ArchitectureError: no head was named and there is no ``nn.Linear``.
        MeasureError: too few images.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
        >>> near, far = [torch.rand(40, 3, 8, 8)], [torch.rand(40, 3, 8, 8) + 1]
        >>> found = domain_distance(net, Domain(near), Domain(far), device="cpu")
        >>> row = found.row("frechet")
        >>> row.examples, row.excess_low > 0
        (20, True)
    """
    if head is None:
        linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
        if not linear:
            raise ArchitectureError(
                f"no classifying module was found in {type(model).__name__}",
                expected="an nn.Linear",
                hint="name it: head=...",
            )
        head = linear[-1]
    sides: list[Observed | None] = []
    for domain in (source, target):
        if domain is not None:
            check_repeatable(domain.loader)
        sides.append(
            None
            if domain is None
            else observe(model, domain, head, granularity=granularity, device=device, memory_format=memory_format)
        )
    first, second = sides
    assert second is not None
    return DomainComparison(tuple(compare_domains(first, second, draws=draws, penalty=penalty, seed=seed)))
