"""Linear paths between the networks of a study (paper Fig. 4)."""

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, final

import polars as pl
from pydantic import Field

from transferscope.analyses.contract import AbstractAnalysis, Column, Measured, Number, Summary, Unit, schema
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.learning_rate import LearningRate
from transferscope.analyses.pairs import pairs_interval
from transferscope.analyses.variants import BoundStudy, shown
from transferscope.specs import NetworkSpec

if TYPE_CHECKING:
    from transferscope.analyses.linear_path import LinearPath
    from transferscope.running.context import Context

__all__ = ["Path"]

_QUANTITIES: tuple[Literal["loss", "error"], ...] = ("loss", "error")
_SPLITS: tuple[Literal["train", "test"], ...] = ("train", "test")
_NO_GAP = "outside [0, 1], own statistics, not finite, or a barrier row"
_ENOUGH_POINTS = 25


@final
class Path(AbstractAnalysis):
    """Loss and error on the straight line between two networks of one variant, both barriers, extrapolation.

    Attributes:
        points: values of α in [0, 1], ends included.
        outer: values of α beyond each end.
        extrapolate: how far beyond either end; 0 for not at all.
        batch_norm: ``recompute`` running statistics at every point, or ``interpolate`` them (which makes artefacts).
        batch_norm_images: training images the statistics are recomputed on; the same at every point.
        train_images: training images the path is evaluated on; None for all.
        test_images: test images the path is evaluated on; None for all.
        variants: whose pairs; pairs are disjoint: seeds (0, 1), (2, 3), ...
    """

    points: int = Field(default=25, ge=3)
    outer: int = Field(default=6, ge=0)
    extrapolate: float = Field(default=0.5, ge=0)
    batch_norm: Literal["recompute", "interpolate"] = "recompute"
    batch_norm_images: int = Field(default=512, ge=2)
    train_images: int | None = Field(default=1024, ge=2)
    test_images: int | None = Field(default=None, ge=2)
    variants: tuple[Literal["P_T", "RI_T"], ...] = ("P_T", "RI_T")

    name: ClassVar[str] = "path"
    title: ClassVar[str] = "Paths between solutions"
    question: ClassVar[str] = "Do two trained networks lie in one basin of the loss?"
    reference: ClassVar[str] = "Neyshabur et al. 2020, Sec. 3.4 and Fig. 4; Frankle et al. 2020"
    version: ClassVar[int] = 2
    columns: ClassVar[Mapping[str, Column]] = {
        "level": Column(str, "point: one α; barrier: the largest gap over α in [0, 1]"),
        "pair": Column(str, "which variants"),
        "a": Column(str, "the network at α = 0"),
        "b": Column(str, "the network at α = 1"),
        "seed_a": Column(int, "seed of a", "count"),
        "seed_b": Column(int, "seed of b", "count"),
        "split": Column(str, "train or test"),
        "batch_norm": Column(str, "recompute, interpolate, no batch norm, or own statistics (of the ends)"),
        "examples": Column(int, "images evaluated", "count"),
        "alpha": Column(
            float, "position on the line; of the largest gap for a barrier", null="a barrier that is not finite"
        ),
        "l2": Column(float, "distance from a, negative before it (‖θ_a − θ_b‖ for a barrier)", "ℓ2"),
        "loss": Column(float, "mean loss", "nat", "row", "not finite, or a barrier row"),
        "loss_se": Column(float, "its standard error over examples", "nat", "row", "as loss"),
        "error": Column(float, "share of wrong labels", "1", "row", "a barrier row"),
        "error_se": Column(float, "its standard error over examples", "1", "row", "as error"),
        "metric": Column(float, "the study's metric", "metric", "row", "undefined, or a barrier row"),
        "loss_gap": Column(float, "loss above the straight line between the ends", "nat", "row", _NO_GAP),
        "loss_gap_se": Column(float, "standard error, paired by example", "nat", "row", _NO_GAP),
        "loss_gap_mean": Column(float, "loss above the mean of the ends", "nat", "row", _NO_GAP),
        "loss_gap_mean_se": Column(float, "standard error, paired by example", "nat", "row", _NO_GAP),
        "error_gap": Column(float, "error above the straight line between the ends", "1", "row", _NO_GAP),
        "error_gap_se": Column(float, "standard error, paired by example", "1", "row", _NO_GAP),
        "error_gap_mean": Column(float, "error above the mean of the ends", "1", "row", _NO_GAP),
        "error_gap_mean_se": Column(float, "standard error, paired by example", "1", "row", _NO_GAP),
        "quantity": Column(str, "of a barrier: loss or error", null="a point row"),
        "baseline": Column(str, "of a barrier: linear or mean", null="a point row"),
        "barrier": Column(
            float, "largest gap over α in [0, 1], at least 0", "nat or 1", "row", "a point row, or not finite"
        ),
        "low": Column(float, "lower 95 % limit, over examples or groups", "nat or 1", "row", "a point row, or none"),
        "high": Column(float, "upper 95 % limit, over examples or groups", "nat or 1", "row", "a point row, or none"),
        "midpoint_gap": Column(float, "signed gap at α = ½", "nat or 1", "row", "a point row, or no ½ in the grid"),
        "smallest_gap": Column(
            float, "smallest gap: a better middle is negative", "nat or 1", "row", "a point row, or not finite"
        ),
    }

    def needs(self, study: BoundStudy) -> Iterable[AbstractAnalysis]:
        """Each variant's learning rate."""
        return (LearningRate(),)

    def inapplicable(self, study: BoundStudy) -> str | None:
        """A path needs two seeds."""
        return "a path between two networks needs at least two seeds" if len(study.seeds) < 2 else None

    def networks(self, study: BoundStudy, evidence: Evidence) -> Iterable[NetworkSpec]:
        """The ends."""
        return [member.spec for unit in self.units(study, evidence) for member in unit.members]

    def units(self, study: BoundStudy, evidence: Evidence) -> Iterable[Unit]:
        """One per pair."""
        for variant in self.variants:
            for pair in study.pairs(evidence, variant):
                yield Unit(members=pair)

    def images(self, unit: Unit, study: BoundStudy) -> int:
        """Every point: statistics (about twice the cost of a plain pass), training and test images."""
        per_point = 2 * self.batch_norm_images + (self.train_images or 2000) + (self.test_images or 1000)
        return (self.points + 2 * self.outer + 2) * per_point

    def measure(self, unit: Unit, context: "Context") -> Measured:
        """Walk the line between the two members."""
        import numpy as np

        from transferscope.analyses.linear_path import alpha_grid, linear_path

        first, second = unit.members
        if context.diverged(first.spec) or context.diverged(second.spec):
            return Measured(pl.DataFrame([], schema=schema(self.columns)))
        limits = {"train": self.train_images, "test": self.test_images}
        path = linear_path(
            context.network(first.spec),
            context.network(second.spec),
            {split: context.batches(split, limits[split]) for split in _SPLITS},
            recompute_on=context.mixed_batches("train", self.batch_norm_images),
            batch_norm=self.batch_norm,
            alphas=alpha_grid(self.points, self.extrapolate, self.outer),
            metric_name=context.study.metric,
            device=context.device,
            memory_format=context.memory_format,
        )
        groups = context.images().groups
        base = {
            "pair": f"{shown(first.variant)}/{shown(second.variant)}",
            "a": first.label,
            "b": second.label,
            "seed_a": first.seed,
            "seed_b": second.seed,
        }
        rows: list[dict[str, Any]] = []
        for split in _SPLITS:
            clusters = None if groups is None else np.asarray(groups)[context.indices(split, limits[split])]
            rows += [{**base, "split": split, **row} for row in _rows(path, split, clusters)]
        return Measured(pl.DataFrame(rows, schema=schema(self.columns)))

    def summarise(self, table: pl.DataFrame, evidence: Evidence) -> Summary:
        """Whether the pairs of each variant are linearly connected, by the test error's barrier."""
        return _summary(table, self)


def _rows(path: "LinearPath", split: str, clusters: Any) -> Iterable[dict[str, Any]]:
    import numpy as np

    from transferscope.measures.standard_error import standard_error

    alphas = np.asarray(path.alphas)
    examples = len(path.points[split][0].losses)
    common = {"level": "point", "examples": examples}
    columns: dict[str, list[float | None]] = {}
    for quantity in _QUANTITIES:
        # Loss outside [0, 1] may be infinite; what is not finite becomes a null.
        values = path.values(split, quantity)
        columns[quantity] = [_finite(float(row.mean())) for row in values]
        columns[f"{quantity}_se"] = [_finite(standard_error(row, clusters)) for row in values]
        first, second = values[path.alphas.index(0.0)], values[path.alphas.index(1.0)]
        with np.errstate(invalid="ignore"):
            straight = (1 - alphas[:, None]) * first + alphas[:, None] * second
        lines = {"": straight, "_mean": np.broadcast_to((first + second) / 2, values.shape)}
        for suffix, line in lines.items():
            with np.errstate(invalid="ignore"):
                gaps = values - line
            inside = (alphas >= 0) & (alphas <= 1)
            columns[f"{quantity}_gap{suffix}"] = [
                _finite(float(gap.mean())) if within else None for gap, within in zip(gaps, inside, strict=True)
            ]
            columns[f"{quantity}_gap{suffix}_se"] = [
                _finite(standard_error(gap, clusters)) if within else None
                for gap, within in zip(gaps, inside, strict=True)
            ]
    for index, alpha in enumerate(path.alphas):
        yield {
            **common,
            "batch_norm": path.batch_norm,
            "alpha": alpha,
            "l2": alpha * path.distance,
            "metric": path.points[split][index].metric,
            **{name: values[index] for name, values in columns.items()},
        }
    for alpha, end in zip((0.0, 1.0), path.own[split], strict=True):
        yield {
            **common,
            "batch_norm": "own statistics",
            "alpha": alpha,
            "l2": alpha * path.distance,
            "metric": end.metric,
            "loss": _finite(float(end.losses.mean())),
            "loss_se": _finite(standard_error(end.losses, clusters)),
            "error": float(end.errors.mean()),
            "error_se": standard_error(end.errors, clusters),
        }
    yield from _barriers(path, split, clusters, examples)


def _barriers(path: "LinearPath", split: str, clusters: Any, examples: int) -> Iterable[dict[str, Any]]:
    import numpy as np

    inside = [0 <= alpha <= 1 for alpha in path.alphas]
    for quantity in _QUANTITIES:
        values = path.values(split, quantity)
        finite = bool(np.isfinite(values[inside]).all())
        found = path.barrier(split, quantity, clusters) if finite else None
        for baseline in ("linear", "mean"):
            row: dict[str, Any] = {
                "level": "barrier",
                "batch_norm": path.batch_norm,
                "examples": examples,
                "l2": path.distance,
                "quantity": quantity,
                "baseline": baseline,
            }
            if found is not None:
                height = found.linear if baseline == "linear" else found.mean
                row |= {
                    "alpha": height.alpha,
                    "barrier": height.value,
                    "low": height.interval.low,
                    "high": height.interval.high,
                    "midpoint_gap": found.midpoint_gap,
                    "smallest_gap": found.minimum_gap,
                }
            yield row


def _summary(table: pl.DataFrame, settings: Path) -> Summary:
    numbers: list[Number] = []
    words: list[str] = []
    barriers = table.filter(pl.col("level") == "barrier")
    for variant in settings.variants:
        pair = f"{shown(variant)}/{shown(variant)}"
        rows = barriers.filter(pl.col("pair") == pair)
        if rows.is_empty():
            words.append(f"{pair} not measured (diverged, or fewer than two seeds)")
            continue
        numbers += [
            _over_pairs(
                f"{quantity} barrier of {pair} ({split}, {baseline} baseline)",
                _of(rows, split, quantity, baseline),
                "1" if quantity == "error" else "nat",
            )
            for split in _SPLITS
            for quantity in _QUANTITIES
            for baseline in ("linear", "mean")
        ]
        words.append(f"{pair} {_judged(_of(rows, 'test', 'error', 'mean'))}")
    return Summary("; ".join(words) + ".", tuple(numbers), _notes(table, settings))


def _of(rows: pl.DataFrame, split: str, quantity: str, baseline: str) -> pl.DataFrame:
    wanted = (pl.col("split") == split) & (pl.col("quantity") == quantity) & (pl.col("baseline") == baseline)
    return rows.filter(wanted)


def _judged(rows: pl.DataFrame) -> str:
    """Whether pairs are linearly connected, by the upper limit of their barriers; the rule of methods §7."""
    from transferscope.measures.barriers import stability
    from transferscope.measures.intervals import Interval

    values = [value for value in rows["barrier"].to_list() if value is not None]
    if len(values) < len(rows):
        return "undecided: a network between them gives no finite error"
    if len(values) >= 3:
        interval = pairs_interval(values)
        said = f"error barrier {100 * sum(values) / len(values):.1f} points"
        basis = f"over {len(values)} disjoint pairs of seeds"
    else:
        # Of two pairs the worst is judged: "connected" is said of both, and so is "separated".
        lows, highs = rows["low"].to_list(), rows["high"].to_list()
        low, high = (None, None) if None in lows or None in highs else (min(lows), max(highs))
        interval = Interval(max(values), low, high, rows["examples"][0], "examples")
        said = f"error barrier {100 * max(values):.1f} points{' (the larger of two)' if len(values) > 1 else ''}"
        whose = "this pair" if len(values) == 1 else "these pairs"
        basis = f"from {rows['examples'][0]} test examples, for {whose} of networks"
    word = {"stable": "linearly connected", "unstable": "separated by a barrier", "undecided": "undecided"}
    found = f"{word[stability(interval)]}: {said}"
    if interval.low is None or interval.high is None:
        return f"{found}, without limits"
    return f"{found}, 95 % limits {100 * interval.low:.1f} to {100 * interval.high:.1f} {basis}"


def _over_pairs(name: str, rows: pl.DataFrame, unit: str) -> Number:
    values = [value for value in rows["barrier"].to_list() if value is not None]
    if len(values) < len(rows):
        # The pairs that are left would be a selection: those without the worst of barriers.
        note = f"not finite for {len(rows) - len(values)} of {len(rows)} pairs of networks"
        return Number(name, None, n=len(rows), unit=unit, note=note)
    if len(values) == 1:
        row = rows.row(0, named=True)
        basis: Literal["examples"] | None = None if row["low"] is None else "examples"
        return Number(name, row["barrier"], row["low"], row["high"], basis, row["examples"], unit, "one pair")
    interval = pairs_interval(values)
    return Number(name, interval.value, interval.low, interval.high, interval.basis, interval.n, unit, interval.note)


def _notes(table: pl.DataFrame, settings: Path) -> tuple[str, ...]:
    notes = []
    policy = set(table["batch_norm"].unique()) - {"own statistics"}
    if "interpolate" in policy:
        notes.append("batch-norm statistics were interpolated, not recomputed: these barriers are artefacts")
    elif "recompute" in policy:
        notes.append(
            f"batch-norm statistics recomputed at every point on the same {settings.batch_norm_images} training images "
            "(or all, if fewer), ends included; the ends with their own statistics are listed apart"
        )
    if settings.points < _ENOUGH_POINTS:
        notes.append(f"fewer than {_ENOUGH_POINTS} points between the ends: a narrow barrier may be missed")
    notes.append("the largest of noisy values is biased upward: small barriers are found where there is none")
    return tuple(notes)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
