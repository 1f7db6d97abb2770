"""Which first modules may stay: candidates, networks, the decision, its promise, and a planted useless module."""

import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from pydantic import ValidationError
from scipy import stats
from torch import nn

from tests.analyses.test_transplant import rates
from tests.estimates import estimate_of, estimates_of
from tests.report.synthetic_freeze import MODULES, freeze_table
from tests.studies import SIZE, Trained, study
from tests.tables import example
from transferscope.analyses.contract import checked_summary
from transferscope.analyses.criticality.analysis import CriticalityAnalysis
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.freeze.analysis import FreezeAnalysis
from transferscope.analyses.freeze.candidates import even, proposed_by_gradient, proposed_by_tables
from transferscope.analyses.freeze.networks import Arms, shown_arm
from transferscope.analyses.freeze.summary import decided, summary_of
from transferscope.analyses.probe.analysis import Probe
from transferscope.analyses.rewind.analysis import Rewind
from transferscope.context.context import Context
from transferscope.context.resolve import resolve
from transferscope.data.sources.arrays import Arrays
from transferscope.errors import AnalysisError
from transferscope.measures.regret import expected_regret
from transferscope.running.run import run_study
from transferscope.specs.recipe import Recipe
from transferscope.store import Store
from transferscope.training.first_update import gradient_ratios, update_bytes

# -- candidates ------------------------------------------------------------------------------------------------


def test_even_numbers_of_modules_end_with_all():
    assert even(11, 3) == [4, 7, 11]
    assert even(1, 3) == [1]
    assert even(4, 1) == [4]


def test_the_gradient_proposes_the_first_modules_of_a_small_share():
    assert proposed_by_gradient({"a": 0.0, "b": 0.1, "c": 0.9}, 0.1) == 2
    assert proposed_by_gradient({"a": 0.2, "b": 0.1, "c": 0.7}, 0.1) == 0
    assert proposed_by_gradient({"a": 0.0, "b": 0.0}, 0.1) == 2


def test_finished_tables_propose_modules_of_any_granularity():
    modules = ["stem", "blocks.0", "blocks.1"]
    common = {"variant": "P_T", "seed": 0, "level": "module", "target_value": "initial", "split": "train"}
    verdicts = {"stem": "kept", "blocks.0.0": "kept", "blocks.0.1": "kept", "blocks.1.0": "kept", "blocks.1.1": "lost"}
    rewind = example(Rewind, [{**common, "module": name, "verdict": word} for name, word in verdicts.items()])
    assert proposed_by_tables({"rewind": rewind}, modules) == {"rewind": 2}
    # What only test data say, RI-T, or another value than the initial one speaks for nothing.
    for change in ({"split": "test"}, {"variant": "RI_T"}, {"target_value": "random"}):
        other = example(Rewind, [{**common, **change, "module": "stem", "verdict": "kept"}])
        assert proposed_by_tables({"rewind": other}, modules) == {"rewind": 0}
    mu = {"stem": 0.0, "blocks": 3.0}
    rows = [{"variant": "P_T", "seed": 0, "level": "module", "view": "direct", "limit": "own", "module": m, "mu": v}
            for m, v in mu.items()]  # fmt: skip
    assert proposed_by_tables({"criticality": example(CriticalityAnalysis, rows)}, modules) == {"criticality": 1}
    found = {"stem": 0.4, "blocks.0": 0.7, "blocks.1": 0.7, "(features)": 0.6}
    probes = [{"variant": "P", "seed": 0, "level": "network", "module": m, "position": p, "validation_metric": v}
              for p, (m, v) in enumerate(found.items())]  # fmt: skip
    assert proposed_by_tables({"probe": example(Probe, probes)}, modules) == {"probe": 2}
    best_last = example(Probe, [{**probes[-1], "validation_metric": 0.9}])
    assert proposed_by_tables({"probe": best_last, "path": rewind}, modules) == {"probe": 3}


def test_relative_gradients_are_those_written_out(plain):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))
    inputs, labels = torch.randn(6, 4), torch.tensor([0, 1, 0, 1, 1, 0])
    recipe = Recipe(learning_rate=0.1, epochs=1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    parts = {"0": ["0.weight", "0.bias"], "2": ["2.weight", "2.bias"]}
    found = gradient_ratios(model, [(inputs[:3], labels[:3]), (inputs[3:], labels[3:])], parts, recipe, "single")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    for part, names in parts.items():
        expected = []
        for rows in (slice(0, 3), slice(3, 6)):
            model.zero_grad()
            nn.functional.cross_entropy(model(inputs[rows]), labels[rows]).backward()
            owned = dict(model.named_parameters())
            norm = torch.cat([owned[name].grad.flatten() for name in names]).norm()
            expected.append(float(norm / torch.cat([owned[name].detach().flatten() for name in names]).norm()))
        assert found[part] == pytest.approx(np.mean(expected), rel=1e-5)


def test_an_update_of_fewer_modules_takes_less_memory():
    model = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))
    inputs, labels = torch.randn(6, 4), torch.tensor([0, 1, 0, 1, 1, 0])
    sizes = [
        update_bytes(model, inputs, labels, Recipe(learning_rate=0.1, epochs=1, module_rates=rates), "single")
        for rates in ({}, {"0": 0.0})
    ]
    # Weights twice (gradient and momentum); saved: the input, the output of tanh, log-probabilities, labels, a weight.
    assert sizes[0] - sizes[1] == 2 * 4 * (4 * 3 + 3) + 4 * 6 * 4
    assert all(parameter.requires_grad for parameter in model.parameters())


# -- networks --------------------------------------------------------------------------------------------------


def test_arms_are_p_t_but_for_what_is_asked(plain):
    names = {"stem": ("stem",), "block": ("block",)}
    arms = Arms(plain.study, 0.02, names, 4, 0.5, "stage")
    full = plain.study.trained("P_T", 1, 0.02)
    assert arms.spec("full", 1) == full
    frozen = arms.spec("first_1", 1)
    assert (frozen.recipe.module_rates, frozen.recipe.prefix_views) == ({"stem": 0.0}, 4)
    assert frozen.model_copy(update={"recipe": full.recipe}) == full
    assert arms.spec("rate_decay", 1).recipe.module_rates == {"stem": 0.25, "block": 0.5}
    assert arms.spec("rate_decay", 1).recipe.prefix_views is None
    last = arms.spec("lp_ft", 1)
    assert (last.start.of, last.start.new_head, last.recipe) == (arms.spec("first_2", 1), False, full.recipe)
    assert arms.spec("reinit_last", 1).start.modules == ("stem",)
    drawn = {seed: arms.drawn(1, seed) for seed in range(8)}
    assert set(drawn.values()) == {("stem",), ("block",)}
    assert arms.spec("random_1", 3).recipe.module_rates == dict.fromkeys(drawn[3], 0.0)
    assert [member.variant for member in arms.members("full")] == ["P_T"] * 4
    assert shown_arm("random_1") == "1 random modules frozen"


def test_a_finer_factor_of_the_study_does_not_thaw_what_is_frozen(plain):
    recipe = plain.study.settings.training.recipe.model_copy(update={"module_rates": {"stem.0": 0.5, "block": 0.1}})
    training = plain.study.settings.training.model_copy(update={"recipe": recipe})
    settings = plain.study.settings.model_copy(update={"training": training})
    changed = type(plain.study)(**{**vars(plain.study), "settings": settings})
    arms = Arms(changed, 0.02, {"stem": ("stem",), "block": ("block",)}, None, 0.5, "stage")
    assert arms.spec("first_1", 0).recipe.module_rates == {"block": 0.1, "stem": 0.0}


def test_first_the_gradient_then_arms(plain):
    analysis = FreezeAnalysis(granularity="layer")
    (only,) = analysis.tasks(plain.study, rates())
    assert only.settings == {"level": "gradient", "modules": ["stem.0", "stem.1", "block.0", "block.1"]}
    given = FreezeAnalysis(k=(2, 1))
    _, arms = given.tasks(plain.study, rates())
    assert arms.settings["k"] == [1, 2]
    assert len(arms.members) == 4 * 5
    expected = Evidence({**rates().tables, analysis.key: analysis.expected_table(plain.study)}).for_decision()
    _, arms = analysis.tasks(plain.study, expected)
    assert arms.settings["k"] == [1, 3, 4]
    assert list(dict.fromkeys(arms.settings["roles"])) == [
        "full",
        "first_1",
        "first_3",
        "first_4",
        "lp_ft",
        "rate_decay",
    ]
    assert analysis.extra_trainings(plain.study) == 4
    assert given.extra_trainings(plain.study) == 0


def test_what_cannot_be_is_refused(plain):
    with pytest.raises(AnalysisError, match=r"freeze\.k names more modules than the network has: 3"):
        list(FreezeAnalysis(k=(1, 3)).tasks(plain.study, rates()))
    for wrong in ({"views": 0}, {"k": ()}, {"k": (0,)}, {"k": (1, 1)}, {"margin": 0}, {"decay": 1}, {"rivals": ("x",)}):
        with pytest.raises(ValidationError):
            FreezeAnalysis(**wrong)
    assert FreezeAnalysis(margin=0.02).key == FreezeAnalysis().key
    assert FreezeAnalysis(views=2).key != FreezeAnalysis().key


# -- the decision ----------------------------------------------------------------------------------------------


def test_the_largest_k_that_is_as_good_is_advised_promised_and_proved():
    table = freeze_table()
    summary = checked_summary(FreezeAnalysis(), FreezeAnalysis(margin=0.01).summarise(table, Evidence()))
    assert summary.facts == {"verdict": "freeze", "k": 7, "modules": MODULES[:7]}
    verdicts = {item.at["arm"]: item.verdict for item in estimates_of(summary, "loss_of_metric", over="seeds")
                if item.at["split"] == "validation"}  # fmt: skip
    assert verdicts == {"first_1": "kept", "first_4": "kept", "first_7": "kept", "first_11": "lost",
                        "lp_ft": None, "rate_decay": None, "random_7": None}  # fmt: skip
    loss = estimate_of(summary, "promised_loss", arm="first_7")
    reach = stats.norm.ppf(0.9) * np.sqrt(2 * 2e-5)
    assert (loss.value, loss.low, loss.high) == pytest.approx((0.002, 0.002 - reach, 0.002 + reach))
    means = [0.9, 0.8995, 0.899, 0.898, 0.84]
    regret = expected_regret(means, np.eye(5) * 2e-5 + 2e-4, 400, chosen=3)
    found = estimate_of(summary, "promised_regret", arm="first_7")
    assert (found.value, found.high) == pytest.approx((regret.interval.value, regret.interval.high), rel=0.05)
    assert estimate_of(summary, "probability_best", arm="first_7").value == pytest.approx(
        regret.probability_best, abs=0.02
    )
    proved = estimate_of(summary, "proved_regret", arm="first_7")
    # On test data every frozen arm is 0.001 worse.
    assert (proved.value, proved.verdict) == (pytest.approx(0.003), "within the promise")
    gained = estimate_of(summary, "epochs_per_second_gained", arm="first_7")
    assert gained.value == pytest.approx(1 / (1 - 7 / 12))
    assert estimate_of(summary, "update_memory", arm="first_7").value == pytest.approx(1 - 7 / 12)
    assert summary.verdict.startswith("Freeze the first 7 of 11 modules: ")


def test_no_decision_rests_on_test_data():
    table = freeze_table()
    rng = np.random.default_rng(0)
    noise = {name: pl.Series(rng.random(table.height)) for name in ("value", "low", "high", "simultaneous_high")}
    scrambled = table.with_columns(
        pl.when(pl.col("split") == "test").then(values).otherwise(pl.col(name)).alias(name)
        for name, values in noise.items()
    )
    assert decided(scrambled, 0.01) == decided(table, 0.01)
    first, other = (summary_of(each, 0.01, 4) for each in (table, scrambled))
    promised = ("promised_loss", "promised_regret", "probability_best")
    assert [item for item in first.estimates if item.quantity in promised] == [
        item for item in other.estimates if item.quantity in promised
    ]
    assert first.facts == other.facts


@pytest.mark.parametrize(
    ("losses", "seeds", "verdict", "k"),
    [
        ({"first_1": (0.1, 0.001), "first_2": (0.2, 0.001)}, 3, "train_all", 0),
        ({"first_1": (0.0, 0.05), "first_2": (0.2, 0.001)}, 3, "undecided", None),
        # Two seeds have a range: the examples decide, and are too few.
        ({"first_1": (0.0, 0.0001), "first_2": (0.0, 0.0001)}, 2, "undecided", None),
        ({"first_1": (-0.05, 0.0001), "first_2": (0.2, 0.0001)}, 2, "freeze", 1),
        # Equal for all seeds proves nothing.
        ({"first_1": (0.0, 0.0), "first_2": (0.2, 0.001)}, 3, "undecided", None),
    ],
)
def test_verdicts(losses, seeds, verdict, k):
    table = freeze_table(losses, range(seeds), modules=["a", "b"])
    found = decided(table, 0.005)
    assert (found.verdict, found.k) == (verdict, k)
    summary = checked_summary(FreezeAnalysis(), summary_of(table, 0.005, None))
    assert summary.facts["verdict"] == verdict
    assert summary.verdict.lower().startswith(verdict.replace("_", " "))
    assert (k is None) == (not estimates_of(summary, "promised_regret"))


def test_a_diverged_run_leaves_its_k_undecided():
    table = freeze_table().with_columns(
        diverged=(pl.col("arm") == "first_7") & ((pl.col("seed") == 1) | (pl.col("level") == "loss"))
    )
    assert decided(table, 0.01).k == 4
    summary = summary_of(table, 0.01, None)
    assert any("diverged and left out: first 7 frozen [1]" in note for note in summary.notes)
    assert "diverged" in estimates_of(summary, "loss_of_metric", arm="first_7", over="seeds")[0].flags


def test_wording(approved):
    approved(summary_of(freeze_table(), 0.01, 4).verdict)
    approved(*summary_of(freeze_table(), 0.01, 4).notes)
    losses = {"first_1": (0.1, 0.001), "first_2": (0.2, 0.001)}
    approved(summary_of(freeze_table(losses, modules=["a", "b"]), 0.005, None).verdict)
    approved(summary_of(freeze_table(losses, (0,), modules=["a", "b"]), 0.2, None).verdict)


# -- a planted useless module ----------------------------------------------------------------------------------


class Planted(nn.Module):
    """A first module that changes nothing, and a second that hides what classes differ in until it is trained."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 3, 1)
        self.second = nn.Conv2d(3, 8, 1)
        self.head = nn.Linear(8, classes)
        with torch.no_grad():
            self.first.weight.copy_(torch.eye(3)[:, :, None, None])
            self.first.bias.zero_()
            # Every channel the same: which of the three is brighter is lost.
            self.second.weight.copy_(self.second.weight[:, :1].expand(-1, 3, -1, -1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.second(self.first(images))).mean((2, 3)))


def planted(num_classes: int) -> nn.Module:
    return Planted(num_classes)


def clear_pictures(folder: Path, count: int) -> Arrays:
    """Of class k, clearly brighter in channel k; as bright over all."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 3
    pixels = rng.integers(0, 120, (count, SIZE, SIZE, 3)) + 60 * np.eye(3, dtype=int)[labels][:, None, None, :]
    return Arrays.save(folder, pixels.astype(np.uint8), labels)


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A study of the planted network, run from end to end."""
    folder: Path = tmp_path_factory.mktemp("planted")
    recipe = {"epochs": 4, "batch_size": 16, "memory_format": "contiguous", "schedule": "constant"}
    pretrain = {"data": clear_pictures(folder / "before", 30), "image_size": SIZE, "recipe": {**recipe, "epochs": 1},
                "seed": 77, "checkpoint": 0}  # fmt: skip
    settings = {"margin": 0.06, "n_bootstrap": 200, "k": [1, 2], "rivals": ["lp_ft", "random_modules"], "views": 2}
    asked = study(
        folder,
        source={"architecture": "tests.analyses.test_freeze:planted", "pretrain": pretrain},
        target={"data": clear_pictures(folder / "pictures", 400), "image_size": SIZE, "splits": {"validation": 0.4}},
        training={"recipe": recipe, "learning_rates": [0.2], "extensions": 0},
        seeds=[0, 1, 2],
        analyses=[{"outcome": {"n_bootstrap": 100}}, {"freeze": settings}],
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        results = run_study(asked, folder / "store", quiet=True)
    store = Store(folder / "store")
    found = resolve(asked, store)
    return Trained(found, Context(store, found), results)


def test_a_planted_useless_module_is_advised_frozen(frozen):
    analysis = frozen.analysis("freeze")
    table = frozen.evidence.table(analysis)
    assert decided(table, 0.06).kept == {1: "kept", 2: "lost"}
    summary = analysis.summarise(table, frozen.evidence)
    assert summary.facts == {"verdict": "freeze", "k": 1, "modules": ["first"]}
    assert estimate_of(summary, "loss_of_metric", arm="first_2", split="test", over="examples").value > 0.5
    assert estimates_of(summary, "loss_of_metric", arm="random_1", split="test")
    assert abs(estimate_of(summary, "loss_of_metric", arm="first_1", split="test", over="examples").value) < 0.05
    # No example tells the first module frozen from all trained, and that proves nothing.
    assert (
        "no_spread" in estimates_of(summary, "loss_of_metric", arm="first_1", split="validation", over="seeds")[0].flags
    )
    # With labels of test images exchanged nothing else is decided.
    test = pl.col("split") == "test"
    other = table.with_columns(pl.when(test).then(1 - pl.col("value")).otherwise("value").alias("value"))
    tasks = [
        list(analysis.tasks(frozen.study, Evidence({**frozen.evidence.tables, analysis.key: each}).for_decision()))
        for each in (table, other)
    ]
    assert tasks[0] == tasks[1]
    assert len(tasks[0]) == 3


def test_rows_are_what_the_networks_say_and_records_what_they_took(frozen):
    table = frozen.evidence.table(frozen.analysis("freeze"))
    names = {"first": ("first",), "second": ("second",)}
    arms = Arms(frozen.study, 0.2, names, 2, 0.7, "stage")
    for arm in ("full", "first_1", "first_2", "lp_ft", "random_1"):
        for seed in frozen.study.seeds:
            history = frozen.context.history(arms.spec(arm, seed))
            for split in ("validation", "test"):
                row = table.filter(level="network", arm=arm, seed=seed, split=split)
                assert row["value"].to_list() == [pytest.approx(history[f"{split}_metric"][-1], abs=1e-6)]
    record = frozen.context.training_record(arms.spec("first_1", 0))["frozen_prefix"]
    assert (record["kept"], record["before"], record["views"]) == ("memory", "second", 2)
    assert "frozen_prefix" not in frozen.context.training_record(arms.spec("full", 0))
    kept = table.filter(level="cost", arm="first_1", quantity="kept_megabytes")["value"].to_list()
    assert kept == [record["megabytes"]] * 3
    assert table.filter(level="cost", quantity="seconds_per_epoch")["value"].min() > 0
    loss = table.filter(level="loss", arm="first_2", split="validation", over="seeds").row(0, named=True)
    by = {
        arm: table.filter(level="network", arm=arm, split="validation").sort("seed")["value"]
        for arm in ("full", "first_2")
    }
    assert loss["value"] == pytest.approx((by["full"] - by["first_2"]).mean())
