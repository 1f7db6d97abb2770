"""P-T on shuffled blocks in rewind and criticality, and spectrum's control: the plan, the run, its tables and words."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from tests.estimates import estimate_of, estimates_of
from tests.running import tiny
from tests.running.small_runs import rounds_done
from transferscope.running.plan import Plan, plan_study, study_status
from transferscope.running.results import AnalysisResult, Results
from transferscope.running.run import run_study
from transferscope.store import Store
from transferscope.study.settings import Study

SEEDS = (0, 1, 2)
BLOCKS = ("P_T_block_12", "P_T_block_4")
MODULES = ("stem", "block", "head")
SMALL = {"train_images": 32, "batch_norm_images": 32, "blocks": [4]}
CHANGES: dict[str, Any] = {
    "analyses": [
        {"outcome": {"n_bootstrap": 100}},
        {"rewind": {"n_bootstrap": 100, **SMALL}},
        {"criticality": {"alphas": 3, "sigmas": [0.01, 0.1], "n_noise": 2, **SMALL}},
        "spectrum",
    ],
    "training": {"learning_rates": [0.05]},
    "seeds": list(SEEDS),
}


@dataclass(frozen=True)
class Ran:
    """A study that was planned, run, and planned again.

    Attributes:
        study: what was asked for.
        root: of its store.
        plan: before the run.
        rounds: labels of the trainings and measurements of each round.
        trained: images that went forward to be trained on.
        results: what came out.
    """

    study: Study
    root: Path
    plan: Plan
    rounds: list[tuple[list[str], list[str]]]
    trained: int
    results: Results

    def of(self, name: str) -> AnalysisResult:
        return next(item for item in self.results.analyses if item.analysis.name == name)

    def table(self, name: str) -> pl.DataFrame:
        table = self.of(name).table
        assert table is not None
        return table


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("modules")
    study, root = tiny.study(folder, CHANGES), folder / "store"
    plan = plan_study(study, root)
    forward, trained = tiny.Network.forward, 0

    def counted(self: tiny.Network, images: torch.Tensor) -> torch.Tensor:
        nonlocal trained
        trained += len(images) if self.training and torch.is_grad_enabled() else 0
        return forward(self, images)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny.Network, "forward", counted)
        with pytest.MonkeyPatch.context() as spied:
            rounds = rounds_done(study, root, spied)
    return Ran(study, root, plan, rounds, trained, run_study(study, root, quiet=True))


def test_each_round_trains_and_measures_what_was_planned(ran: Ran) -> None:
    """One rate: nothing is searched or extended, and later rounds, though upper bounds, are met."""
    planned = [(part.trainings, part.units) for part in ran.plan.rounds]
    assert planned == [(len(trained), len(measured)) for trained, measured in ran.rounds]
    assert list(ran.plan.networks) == [label for trained, _ in ran.rounds for label in trained]
    assert [part.exact for part in ran.plan.rounds] == [True, False, False, False]
    # Two tuning runs; then P-T, RI-T, two kinds of blocks and two controls of each seed.
    assert [part.trainings for part in ran.plan.rounds] == [2, 6 * len(SEEDS), 0, 0]
    # Criticality looks at the modules of P-T, RI-T and both kinds of blocks, once their own values are known.
    assert ran.plan.rounds[2].units == 4 * len(SEEDS) * len(MODULES)
    assert Store(ran.root).status()["networks"] == 20


def test_the_images_of_trainings_are_those_that_were_planned(ran: Ran) -> None:
    sizes = {split: len(part) for split, part in tiny.bound(ran.root.parent, CHANGES)[2].splits().items()}
    assert ran.trained == 20 * 2 * sizes["train"]
    # Nothing but the two tuning runs costs anything in the first round: what they are trained on and looked at.
    assert ran.plan.rounds[0].images == 2 * (2 * sizes["train"] + 3 * sum(sizes.values()))


def test_nothing_is_left_afterwards(ran: Ran) -> None:
    again = plan_study(ran.study, ran.root)
    assert [(part.trainings, part.units) for part in again.rounds] == [
        (part.trainings, part.units) for part in ran.plan.rounds
    ]
    assert all((part.trainings, part.units) == (part.trainings_stored, part.units_stored) for part in again.rounds)
    assert all(part.exact for part in again.rounds)
    assert (again.networks, again.seconds, again.disk_bytes) == ((), (0, 0), 0)
    status = study_status(ran.study, ran.root)
    assert (status.trainings_pending, status.units_pending) == (0, 0)
    assert status.units_finished == sum(part.units for part in ran.plan.rounds)


def test_networks_are_shown_by_what_they_were_trained_on(ran: Ran) -> None:
    shown = [label for label in ran.plan.networks if label.startswith("P-T[0]")]
    assert shown == [
        "P-T[0] at 0.05",
        "P-T[0] at 0.05, whole images without augmentation",
        "P-T[0] at 0.05, blocks of 4",
    ]


def test_rewinding_tells_every_module_of_every_network(ran: Ran) -> None:
    table = ran.table("rewind")
    modules = table.filter(pl.col("level") == "module")
    assert set(modules["variant"]) == {"P_T", "RI_T", *BLOCKS}
    kinds = modules.group_by("variant", "seed", "module", "target_value", "split").len()
    assert kinds.height == modules.height == 4 * len(SEEDS) * len(MODULES) * 2 * 2
    # Networks of one seed that were trained on other images are other networks.
    own = table.filter((pl.col("level") == "own") & (pl.col("split") == "test"))
    assert own["loss"].n_unique() == own.height == 4 * len(SEEDS)
    summary = ran.of("rewind").summary
    assert summary is not None
    for words in ("P-T put back", "RI-T put back", "P-T, blocks of 12 px put back", "P-T, blocks of 4 px put back"):
        assert f"{words} to its initial value (3 seeds)" in summary.verdict
    for rival in ("RI_T", *BLOCKS):
        assert estimate_of(summary, "mean_drop_gap", variant="P_T", rival=rival, target_value="initial").n == 3
        assert (
            len(estimates_of(summary, "drop", variant=rival, target_value="initial")) == len(MODULES) + 1
        )  # and all at once
    assert any("a block of the image size is whole images" in note for note in summary.notes)


def test_criticality_tells_every_module_of_every_network(ran: Ran) -> None:
    table = ran.table("criticality")
    modules = table.filter(pl.col("level") == "module")
    assert set(modules["variant"]) == {"P_T", "RI_T", *BLOCKS}
    kinds = modules.group_by("variant", "seed", "module", "limit").len()
    assert kinds.height == modules.height == 4 * len(SEEDS) * len(MODULES) * 2
    # One ε for all networks, shuffled ones among them; the other is each network's own.
    final = dict(table.filter(pl.col("level") == "final").select("network", "value").rows())
    limits = modules.filter(pl.col("limit") == "own").select("network", "epsilon").unique()
    assert dict(limits.rows()) == pytest.approx({name: value + 0.01 for name, value in final.items()})
    assert modules.filter(pl.col("limit") == "common")["epsilon"].unique().to_list() == pytest.approx(
        [max(final.values()) + 0.01]
    )
    summary = ran.of("criticality").summary
    assert summary is not None
    for words in ("P-T: ", "RI-T: ", "P-T, blocks of 12 px: ", "P-T, blocks of 4 px: "):
        assert words in summary.verdict
    for rival in ("RI_T", *BLOCKS):
        assert estimate_of(summary, "mu_sum_gap", view="direct", limit="own", rival=rival).n == 3
    assert any("a block of the image size is whole images" in note for note in summary.notes)


def test_the_spectrum_is_set_against_the_control(ran: Ran) -> None:
    table = ran.table("spectrum")
    networks = table.filter((pl.col("level") == "network") & (pl.col("quantity") == "stable_rank"))
    trained = networks.filter(pl.col("variant").is_in(["P_T", "RI_T", "P_T_wd0", "RI_T_wd0"]))
    assert trained.height == 4 * len(SEEDS) * len(MODULES)
    # Without weight decay the weights are others, and hardly so after two epochs.
    values = trained.pivot("variant", index=["operator", "seed"], values="value")
    for variant in ("P_T", "RI_T"):
        change = values.select((pl.col(variant) / pl.col(f"{variant}_wd0") - 1).abs().alias("change"))["change"]
        assert 0 < change.max() < 0.01
    summary = ran.of("spectrum").summary
    assert summary is not None
    assert "; trained with weight decay 0: from P to P-T-wd0 it rises at" in summary.verdict
    assert "from RI to RI-T-wd0 it rises at" in summary.verdict
    for variant in ("P_T", "RI_T"):
        assert estimate_of(summary, "stable_rank_ratio", variant=variant, rival=f"{variant}_wd0").n == 3
