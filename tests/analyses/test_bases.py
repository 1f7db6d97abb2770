"""What the bases of analyses do for those who override rows: units, pairs, diverged networks, images, cost."""

from collections.abc import Iterator
from typing import Any, ClassVar

import polars as pl
import pytest

from tests.studies import Diverging, Trained
from transferscope.analyses.contract import Task, checked
from transferscope.analyses.images import OnImages, batch_norm_note
from transferscope.analyses.modules import TOTALS, OnModules
from transferscope.analyses.task_keys import new_units, task_key
from transferscope.analyses.tuned import NETWORK, PAIR, NetworkAnalysis, OnSeeds, Pair, PairAnalysis, SetAnalysis
from transferscope.context.study_network import StudyNetwork
from transferscope.study.columns import Column


class Labels(NetworkAnalysis, OnImages):
    name, title, question, reference, version = "labels", "Labels", "?", "none", 1
    columns: ClassVar[Any] = {**NETWORK, "letters": Column(int, "of the label"), "more": Column(int, "none", null="-")}

    def rows(self, member: StudyNetwork, context: Any) -> Iterator[dict[str, Any]]:
        yield {"letters": len(member.label)}


class Reads(PairAnalysis):
    name, title, question, reference, version = "reads", "Reads", "?", "none", 1
    columns: ClassVar[Any] = {**PAIR, "both": Column(str, "what was read")}
    max_seeds: int | None = None
    seen: ClassVar[list[str]] = []

    def read(self, member: StudyNetwork, context: Any) -> str:
        self.seen.append(member.label)
        return member.label.lower()

    def rows(self, pair: Pair, context: Any) -> Iterator[dict[str, Any]]:
        yield {"both": f"{pair.a} {pair.b}"}


class Sets(SetAnalysis, OnSeeds):
    name, title, question, reference, version = "sets", "Sets", "?", "none", 1
    columns: ClassVar[Any] = {"corners": Column(int, "how many"), "label": Column(str, "of the first", null="none")}

    def tasks(self, study: Any, evidence: Any) -> Iterator[Task]:
        yield Task(members=self.members(study, evidence, ("P_T",), once=("RI", "P")))

    def rows(self, task: Task, context: Any) -> Iterator[dict[str, Any]]:
        yield {"corners": len(task.members)}

    def files(self, task: Task, table: pl.DataFrame) -> dict[str, bytes]:
        return {"corners.txt": str(table["corners"][0]).encode()}


def test_a_set_is_measured_whole_or_not_at_all(trained: Trained) -> None:
    analysis = Sets(max_seeds=2)
    (task,) = analysis.tasks(trained.study, trained.evidence.for_decision())
    # RI and P of the first seed, then P-T of all seeds that are asked for.
    assert [member.label for member in task.members] == ["RI[0]", "P[0]", "P-T[0]", "P-T[1]"]
    assert list(analysis.networks(trained.study, trained.evidence)) == [member.spec for member in task.members]
    found = analysis.measure(task, trained.context)
    assert (checked(analysis, found.table).rows(), found.files) == ([(4, None)], {"corners.txt": b"4"})
    lost = analysis.measure(task, Diverging(trained.context, task.members[-1]))
    assert (checked(analysis, lost.table).height, lost.files) == (0, {})


def test_an_example_table_has_all_that_may_not_be_null() -> None:
    table = checked(Labels(), Labels().example([{"seed": 3}, {"letters": 2}]))
    assert table.rows() == [("", "", 3, 0, None), ("", "", 0, 2, None)]
    assert checked(Labels(), Labels().example(())).height == 0


def test_a_unit_is_new_once(trained: Trained) -> None:
    analysis = Labels()
    units = list(analysis.tasks(trained.study, trained.evidence.for_decision()))
    keys = [task_key(analysis, task, trained.study) for task in units]
    assert list(new_units(analysis, [*units, *units], trained.study, ())) == keys
    assert new_units(analysis, units, trained.study, keys[1:]) == {keys[0]: units[0]}
    assert new_units(analysis, units, trained.study, set(keys)) == {}


@pytest.mark.parametrize(
    ("policies", "said"),
    [
        (["recompute", "own statistics", None], ("batch-norm statistics recomputed here",)),
        (["interpolate"], ("batch-norm statistics were kept",)),
        (["none", "recompute"], ("batch-norm statistics were kept",)),
        (["no batch norm"], ()),
        ([], ()),
    ],
)
def test_what_was_done_about_batch_norm_is_said_where_there_is_one(policies: Any, said: tuple[str, ...]) -> None:
    assert batch_norm_note(policies, "here", "were kept") == said


def test_one_unit_for_each_trained_network(trained: Trained) -> None:
    units = list(Labels().tasks(trained.study, trained.evidence.for_decision()))
    assert [task.members[0].label for task in units] == [f"{v}[{s}]" for v in ("RI-T", "P-T") for s in range(4)]
    table = checked(Labels(), Labels().measure(units[0], trained.context).table)
    assert table.rows() == [("RI-T[0]", "RI_T", 0, 7, None)]
    lost = Labels().measure(units[0], Diverging(trained.context, *units[0].members)).table
    assert checked(Labels(), lost).height == 0


@pytest.mark.parametrize(("most", "seeds"), [(None, 4), (3, 3), (1, 1)])
def test_pairs_of_one_unit_in_which_each_network_is_read_once(trained: Trained, most: int | None, seeds: int) -> None:
    analysis = Reads(max_seeds=most)
    Reads.seen.clear()
    (task,) = analysis.tasks(trained.study, trained.evidence.for_decision())
    table = checked(analysis, analysis.measure(task, trained.context).table)
    within = [(s, t) for s in range(seeds) for t in range(s + 1, seeds)]
    across = [(s, s) for s in range(seeds)]
    assert sorted(table.select("variant_a", "variant_b", "seed_a", "seed_b").rows()) == sorted(
        [(v, v, *pair) for v in ("P_T", "RI_T") for pair in within] + [("P_T", "RI_T", *pair) for pair in across]
    )
    assert sorted(Reads.seen) == sorted(f"{v}[{s}]" for v in ("P-T", "RI-T") for s in range(seeds))
    assert all(row["both"] == f"{row['a']} {row['b']}".lower() for row in table.iter_rows(named=True))
    # A network that diverged is in no pair.
    first = task.members[0]
    rest = analysis.measure(task, Diverging(trained.context, first)).table
    assert not set(rest["a"]) & {first.label} | set(rest["b"]) & {first.label}


def test_parts_are_all_parameters_once(trained: Trained) -> None:
    spec = trained.study.untrained("RI", 0)
    model = trained.context.start(spec)
    parts = OnModules(granularity="layer").parts(model, spec.architecture)
    every = [name for name, _ in model.named_parameters()]
    totals = {part: names for part, position, names in parts if TOTALS.get(part) == position}
    assert totals["all"] == every
    assert sorted(totals["trunk"] + totals["head"]) == sorted(every)
    modules = [(position, names) for _, position, names in parts if position >= 0]
    assert [position for position, _ in modules] == list(range(len(modules)))
    assert sorted(name for _, names in modules for name in names) == sorted(every)


def test_images_of_both_splits_and_their_cost(trained: Trained) -> None:
    analysis = Labels(batch_norm_images=10, train_images=None, test_images=8)
    assert analysis.limits == {"train": None, "test": 8}
    assert analysis.per_point == 2 * 10 + 2000 + 8
    data = analysis.data(trained.context)
    assert sum(len(labels) for _, labels in data["test"]) == len(trained.context.indices("test", 8))
    assert sum(len(labels) for _, labels in data["train"]) == len(trained.context.indices("train"))
    # Statistics are recomputed unless the analysis lets its user choose.
    assert analysis.evaluation(trained.context).batch_norm == "recompute"
