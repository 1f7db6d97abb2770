"""One module at a time: what lies between two networks in each of their modules, beside similarity and distance."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, Literal, final

import polars as pl
from pydantic import Field

from transferscope.analyses.contract import MeasureResult, Task
from transferscope.analyses.estimates import Quantity
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.images import OnImages
from transferscope.analyses.module_path.summary import QUANTITIES, summary
from transferscope.analyses.modules import OnModules
from transferscope.analyses.path_pairs import members_of
from transferscope.analyses.path_rows import LINE_COLUMNS, clusters_of, own_row, way_rows
from transferscope.analyses.path_settings import joined
from transferscope.analyses.summary import Summary
from transferscope.analyses.tuned import AbstractTuned
from transferscope.context.resolved_study import ResolvedStudy
from transferscope.context.study_network import StudyNetwork
from transferscope.keys import shown
from transferscope.study.columns import Column, schema

if TYPE_CHECKING:
    import torch

    from transferscope.context.context import Context
    from transferscope.methods.modules.paths import ModuleLines

__all__ = ["ALL", "TRUNK", "ModulePath"]

ALL = "(all)"
"""All modules at once: the straight line between the two networks."""
TRUNK = "(trunk)"
"""All modules but the head at once."""
_GROUPS = {ALL: -2, TRUNK: -1}
_SPLITS: tuple[Literal["train", "test"], ...] = ("train", "test")


@final
class ModulePath(AbstractTuned, OnImages, OnModules):
    """The straight line between two networks in one module after the other, the rest staying at either network.

    Beside the barriers of a module stand its CKA between the two networks and its distance. What lies before a module
    is run once and kept (see ``memory``).

    Attributes:
        granularity: of the modules: ``stage``, ``block`` or ``layer``. The head is a module of its own.
        head: whether the head is moved as well; without it the trunk alone stands for all modules at once.
        pairs: which networks; ``P_T/P_T`` and ``RI_T/RI_T`` have two seeds, ``P_T/RI_T`` have the same seed.
        max_pairs: at most so many of each kind, those of the first seeds first: (0, 1), (0, 2), (1, 2), ...; three of
            three seeds make an interval over seeds. None for all.
        points: values of α from 0 to 1, ends included.
        batch_norm: ``recompute`` running statistics at every point, or ``interpolate`` them (which makes artefacts).
        cka_images: test images CKA is estimated on; None for all.
        cka_batch: images per Gram matrix.
        memory: MiB of activations before a module that are kept.
    """

    head: bool = True
    pairs: tuple[Literal["P_T/P_T", "RI_T/RI_T", "P_T/RI_T"], ...] = Field(
        default=("P_T/P_T", "RI_T/RI_T"), min_length=1
    )
    max_pairs: int | None = Field(default=3, ge=1)
    points: int = Field(default=9, ge=2)
    batch_norm: Literal["recompute", "interpolate"] = "recompute"
    cka_images: int | None = Field(default=512, ge=8)
    cka_batch: int = Field(default=128, ge=4)
    memory: int = Field(default=1024, ge=0)

    name: ClassVar[str] = "module_path"
    title: ClassVar[str] = "Paths of one module at a time"
    question: ClassVar[str] = "Which modules hold two solutions apart?"
    reference: ClassVar[str] = (
        "Neyshabur et al. 2020, Fig. 4 (whole networks); Adilova et al. 2024; Frankle et al. 2020 (barriers)"
    )
    version: ClassVar[int] = 3
    columns: ClassVar[Mapping[str, Column]] = {
        "level": Column(str, "point: one α; own: the network that stays, as it was trained; barrier: the largest gap"),
        "pair": Column(str, "which variants"),
        "a": Column(str, "first network of the pair"),
        "seed_a": Column(int, "its seed", "count"),
        "b": Column(str, "second network of the pair"),
        "seed_b": Column(int, "its seed", "count"),
        "rest": Column(str, "the network whose other modules stay: a or b; it is α = 0"),
        "module": Column(str, "what moves: a module, (trunk) or (all); (none) for own"),
        "position": Column(int, "depth of the module: 0 is the first; negative for (trunk), (all) and (none)", "count"),
        "head": Column(bool, "whether it is the classifying head"),
        "parameters": Column(int, "numbers that move", "count"),
        "l2": Column(float, "distance of the module from α = 0; between the networks for a barrier", "ℓ2"),
        "relative": Column(
            float, "of a barrier row: l2 over the norm of the module in b's start", null="as said, or that norm is 0"
        ),
        "cka": Column(
            float,
            "of a barrier row: CKA of the module's outputs in the two networks as they were trained, test images",
            "1",
            "row",
            "not a barrier row, (trunk), (all), no single output, or features without variation",
        ),
        **LINE_COLUMNS,
    }

    quantities: ClassVar[tuple[Quantity, ...]] = QUANTITIES

    def skip_reason(self, study: ResolvedStudy) -> str | None:
        """Two networks of one variant need two seeds."""
        if len(study.seeds) < 2 and "P_T/RI_T" not in self.pairs:
            return "two networks of one variant need two seeds; pairs: [P_T/RI_T] does with one"
        return None

    def tasks(self, study: ResolvedStudy, evidence: Evidence) -> Iterable[Task]:
        """One for each pair, both directions."""
        for kind in self.pairs:
            for pair in islice(members_of(kind, study, evidence, study.seeds), self.max_pairs):
                yield Task(members=pair)

    def forward_passes(self, task: Task, study: ResolvedStudy) -> int:
        """Every point as full passes, for as many modules as the network has; what is kept makes it less."""
        from transferscope.networks.transplants import parts_of

        modules = len(parts_of(study.settings.source.architecture, self.granularity)) + self.head + len(_GROUPS)
        return 2 * (modules * (self.points - 1) + 2) * self.per_point + 2 * (self.cka_images or 1000)

    def measure(self, task: Task, context: "Context") -> MeasureResult:
        """Move every module of each network to that of the other."""
        from transferscope.methods.landscape.linear_path import alpha_grid
        from transferscope.methods.modules.paths import module_paths
        from transferscope.networks.architectures import head_name
        from transferscope.networks.modules import parts_parameters

        first, second = task.members
        if context.diverged(first.spec) or context.diverged(second.spec):
            return MeasureResult(pl.DataFrame([], schema=schema(self.columns)))
        networks = context.network(first.spec), context.network(second.spec)
        head = head_name(networks[0], first.spec.architecture)
        parts = parts_parameters(networks[0], self.granularity, head)
        of_head = {part for part, names in parts.items() if all(_inside(name, head) for name in names)}
        moved = _moved(parts, of_head, self.head)
        similar = self._similar(networks, context)
        relative = _relative(networks, context.start(second.spec), moved)
        clusters = clusters_of(context, self.limits)
        places = {**{part: place for place, part in enumerate(parts)}, **_GROUPS}
        base = joined(first, second)
        rows: list[dict[str, Any]] = []
        for member, ends in ((first, networks), (second, networks[::-1])):
            lines = module_paths(
                *ends,
                self.data(context),
                modules=moved,
                granularity=self.granularity,
                head=head,
                evaluation=self.evaluation(context),
                alphas=alpha_grid(self.points, 0),
            )
            # Both directions of all modules of a pair are one family; whole networks are not members of it.
            family = 2 * sum(module not in _GROUPS for module in lines.modules)
            for row in _rows(lines, clusters, family):
                module = row["module"]
                place = {"position": places.get(module, -3), "head": module in of_head, "rest": member.label}
                rows.append({**base, **place, **row})
                if row["level"] == "barrier":
                    rows[-1] |= {"cka": similar.get(module), "relative": relative[module]}
        table = pl.DataFrame(rows, schema=schema(self.columns))
        return MeasureResult(table, {f"side-by-side-{_file(first)}-{_file(second)}.csv": _side_by_side(table)})

    def _similar(
        self, networks: "tuple[torch.nn.Module, torch.nn.Module]", context: "Context"
    ) -> dict[str, float | None]:
        """CKA of like modules of the two networks as they were trained."""
        import numpy as np

        from transferscope.methods.evaluation import Execution
        from transferscope.methods.similarity.cka import cka

        found = cka(
            *networks,
            context.mixed_batches("test", self.cka_images, self.cka_batch),
            granularity=self.granularity,
            execution=Execution(device=context.device, memory_format=context.memory_format),
        )
        values = found.between("a", "b")
        null = np.ma.getmaskarray(values)
        columns = {module: place for place, module in enumerate(found.modules["b"])}
        return {
            module: None if null[place, columns[module]] else float(values.data[place, columns[module]])
            for place, module in enumerate(found.modules["a"])
            if module in columns
        }

    def summarise(self, table: pl.DataFrame, evidence: Evidence) -> Summary:
        """Which modules have a barrier, and whether they are the unlike or the distant ones."""
        return summary(table, self.batch_norm, self.batch_norm_images, self.points)


def _inside(parameter: str, module: str) -> bool:
    return parameter == module or parameter.startswith(f"{module}.")


def _moved(parts: Mapping[str, list[str]], of_head: Collection[str], head: bool) -> dict[str, list[str]]:
    """Parameters of everything that moves, whole networks first."""
    trunk = [name for part, names in parts.items() if part not in of_head for name in names]
    groups = {ALL: [name for names in parts.values() for name in names]} if head else {}
    modules = {part: names for part, names in parts.items() if head or part not in of_head}
    return {**groups, TRUNK: trunk, **modules}


def _relative(
    networks: "tuple[torch.nn.Module, torch.nn.Module]", start: "torch.nn.Module", moved: Mapping[str, list[str]]
) -> dict[str, float | None]:
    from transferscope.measures.distance import parameter_distance

    a, b, zero = (
        {name: parameter.detach().cpu() for name, parameter in network.named_parameters()}
        for network in (*networks, start)
    )
    return {
        module: parameter_distance(*({name: state[name] for name in names} for state in (a, b, zero))).relative
        for module, names in moved.items()
    }


def _rows(lines: "ModuleLines", clusters: Mapping[str, Any], family: int) -> Iterator[dict[str, Any]]:
    for split in _SPLITS:
        facts: dict[str, Any] = {"split": split, "module": "(none)", "parameters": 0, "l2": 0.0}
        yield {**facts, **own_row(lines.own[split], clusters[split])}
        for module, line in lines.modules.items():
            facts = {"module": module, "parameters": line.parameters, "batch_norm": lines.batch_norm, "split": split}
            lengths = [alpha * line.distance for alpha in lines.alphas]
            of = 1 if module in _GROUPS else family
            for row in way_rows(lines.alphas, lengths, line.points[split], clusters[split], of):
                yield {**facts, **row}


def _file(member: StudyNetwork) -> str:
    return f"{shown(member.variant)}-{member.seed}"


def _side_by_side(table: pl.DataFrame) -> bytes:
    """One row for each module: CKA, distance, and the test error's barrier (mean baseline) in both directions."""
    rows = table.filter(
        (pl.col("level") == "barrier") & (pl.col("split") == "test") & (pl.col("quantity") == "error")
        & (pl.col("baseline") == "mean")
    )  # fmt: skip
    ends = dict(
        table.filter((pl.col("level") == "point") & (pl.col("split") == "test") & (pl.col("alpha") == 1.0))
        .select(pl.concat_str("rest", pl.lit(" "), "module"), "error_change")
        .iter_rows()
    )
    columns = ("barrier", "low", "high", "simultaneous_low", "simultaneous_high")
    lines: dict[str, dict[str, Any]] = {}
    for row in rows.sort("position", maintain_order=True).iter_rows(named=True):
        facts = {name: row[name] for name in ("module", "parameters", "cka", "l2", "relative")}
        line = lines.setdefault(row["module"], facts)
        line |= {f"{name} (rest {row['rest']})": row[name] for name in columns}
        line[f"error at the other's module (rest {row['rest']})"] = ends[f"{row['rest']} {row['module']}"]
    return pl.DataFrame(list(lines.values()), infer_schema_length=None).write_csv().encode()
