"""What the bases of analyses do for those who override rows: units, pairs, diverged networks, images, cost."""

from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

from tests.studies import Diverging, Trained
from transferscope.analyses.contract import checked
from transferscope.analyses.images import OnImages
from transferscope.analyses.modules import TOTALS, OnModules
from transferscope.analyses.tuned import NETWORK, PAIR, NetworkAnalysis, Pair, PairAnalysis
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
