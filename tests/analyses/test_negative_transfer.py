"""Negative transfer: a start that cannot learn is found to hurt, on seeds that had no part in its choice."""

import os

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy import stats

from tests.estimates import estimate_of, estimates_of
from tests.report.synthetic_choices import harm_ends, harm_summary, harm_table, negative_transfer_table
from tests.studies import NAME, RECIPE, Trained, arrays, bound, study
from tests.tables import example
from transferscope.analyses.contract import checked_summary
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.learning_rate.analysis import LearningRate
from transferscope.analyses.negative_transfer.analysis import NegativeTransfer
from transferscope.analyses.negative_transfer.rows import CONTROL, Candidate
from transferscope.context.context import Context
from transferscope.context.resolve import resolve
from transferscope.networks.architectures import build
from transferscope.networks.weight_files import write_state
from transferscope.running.run import run_study
from transferscope.specs.architecture import Architecture
from transferscope.store import Store

PLAIN = {"name": NAME, "options": {"norm": False}}
ENDED = {**RECIPE, "epochs": 6, "keep": "none"}


def dead(folder):
    """Weights of which no gradient flows: every unit is off for every image."""
    model = build(Architecture.model_validate(PLAIN), 3, 0)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for name in ("stem.0.bias", "block.0.bias"):
        state[name] = torch.full_like(state[name], -100.0)
    folder.mkdir(exist_ok=True)
    write_state(folder / "dead.safetensors", state, {})
    return {"weights": str(folder / "dead.safetensors")}


@pytest.fixture(scope="module")
def harmed(tmp_path_factory) -> Trained:
    """A study whose one candidate cannot learn, beside the control and an equal rate."""
    folder = tmp_path_factory.mktemp("harmed")
    source = study(folder).source.model_dump(mode="json", exclude_none=True)
    analysis = {"candidates": {"dead": dead(folder)}, "equal_rates": [0.2], "confirm_seeds": [3, 4, 5]}
    asked = study(
        folder,
        source={**source, "architecture": PLAIN, "pretrain": {**source["pretrain"], "recipe": {**RECIPE, "epochs": 2}}},
        training={"recipe": ENDED, "learning_rates": [0.1], "extensions": 0, "rate_rule": "best"},
        seeds=[0, 1, 2],
        analyses=[{"outcome": {"n_bootstrap": 100}}, {"negative_transfer": {**analysis, "n_bootstrap": 200}}],
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)  # nothing here outlives the session
        results = run_study(asked, folder / "store", quiet=True)
    store = Store(folder / "store")
    found = resolve(asked, store)
    return Trained(found, Context(store, found), results)


def summary_in(done):
    return next(item for item in done.results.analyses if item.analysis.name == "negative_transfer").summary


def test_planted_harm_is_found_and_confirmed_on_other_seeds(harmed):
    summary = summary_in(harmed)
    (deciding,) = [item for item in summary.estimates if item.verdict and item.at["candidate"] == "dead"]
    assert (deciding.verdict, deciding.at["stage"], deciding.basis, deciding.n) == ("hurts", "confirm", "seeds", 3)
    assert deciding.low > 0
    # Errors of the networks themselves, by hand.
    study_, context = harmed.study, harmed.context
    start = study_.other(harmed.analysis("negative_transfer").candidates["dead"])

    def error(spec):
        return 1 - context.history(spec)["test_metric"][-1]

    gaps = [
        error(study_.trained_from(start, seed, 0.1)) - error(study_.trained("RI_T", seed, 0.1)) for seed in (3, 4, 5)
    ]
    limits = stats.ttest_1samp(gaps, 0).confidence_interval(0.95)
    assert (deciding.value, deciding.low) == pytest.approx((np.mean(gaps), limits.low))


def test_every_candidate_is_listed_whichever_way_it_went(harmed):
    table = harmed.evidence.table(harmed.analysis("negative_transfer"))
    gaps = table.filter(level="gap")
    assert gaps.filter(stage="first")["candidate"].unique(maintain_order=True).to_list() == [
        "source", CONTROL, "dead", "rate 0.2"]  # fmt: skip
    first = gaps.filter(stage="first", split="validation")
    worse = [name for name, value in first.select("candidate", "value").iter_rows() if value > 0]
    assert gaps.filter(stage="confirm")["candidate"].unique(maintain_order=True).to_list() == worse
    assert "dead" in worse
    said = {item.at["candidate"] for item in summary_in(harmed).estimates if item.verdict}
    assert said == {"source", CONTROL, "dead"}


def test_the_control_differs_from_the_source_by_its_labels_alone(harmed):
    study_, context = harmed.study, harmed.context
    own, control = (
        study_.pretrained.of,
        study_.other(harmed.analysis("negative_transfer").starts(study_.settings)[CONTROL]).of,
    )
    assert control.data == own.data.model_copy(update={"labels": "permuted"})
    assert control.model_copy(update={"data": own.data}) == own
    assert control.key != own.key
    given, permuted = (np.asarray(context.training_images(spec.data).labels) for spec in (own, control))
    train = context.splits(own.data)["train"]
    others = np.setdiff1d(np.arange(len(given)), train)
    assert (given[train] != permuted[train]).mean() > 0.4
    assert np.bincount(given[train]).tolist() == np.bincount(permuted[train]).tolist()
    assert given[others].tolist() == permuted[others].tolist()
    assert np.asarray(context.images(own.data).labels).tolist() == given.tolist()


def test_an_equal_rate_is_instability_and_decides_nothing(harmed):
    summary = summary_in(harmed)
    item = estimate_of(summary, "instability", learning_rate=0.2, stage="first")
    study_, context = harmed.study, harmed.context
    ends = {variant: [context.history(study_.trained(variant, seed, 0.2))["test_metric"][-1] for seed in (0, 1, 2)]
            for variant in ("P_T", "RI_T")}  # fmt: skip
    assert item.value == pytest.approx(np.mean(ends["RI_T"]) - np.mean(ends["P_T"]))
    assert all(item.verdict is None for item in estimates_of(summary, "instability"))
    assert estimates_of(summary, "instability", stage="tuning", split="validation")


def told(found, improving=(), names=("source",)):
    candidates = [Candidate(name, "P_T" if name == "source" else name) for name in names]
    return checked_summary(NegativeTransfer(), harm_summary(harm_table(found, candidates, improving)))


@pytest.mark.parametrize(
    ("mine", "rival", "verdict"),
    [
        ((0.5, 0.52, 0.51), (0.6, 0.63, 0.6), "hurts"),
        ((0.7, 0.72, 0.71), (0.6, 0.63, 0.6), "helps"),
        ((0.5, 0.72, 0.6), (0.6, 0.63, 0.6), "undecided"),
        ((0.5, 0.5, 0.5), (0.6, 0.6, 0.6), "undecided"),  # no spread proves nothing
    ],
)
def test_the_verdict_is_that_of_the_paired_interval(mine, rival, verdict):
    summary = told(harm_ends(P_T=mine, RI_T=rival))
    item = estimate_of(summary, "negative_transfer_gap", candidate="source", split="test")
    (deciding,) = [item for item in summary.estimates if item.verdict]
    # Without spread over seeds the interval over examples decides.
    assert (deciding.verdict, deciding == item) == (verdict, len(set(mine)) > 1)
    assert item.value == pytest.approx(np.mean(rival) - np.mean(mine))
    if verdict in ("hurts", "helps"):
        limits = stats.ttest_rel(rival, mine).confidence_interval(0.95)
        assert (item.low, item.high) == pytest.approx(tuple(limits))


def test_what_is_said_of_all_candidates(approved):
    summary = harm_summary(negative_transfer_table(), confirm_seeds=(10, 11, 12, 13, 14))
    deciding = {item.at["candidate"]: (item.verdict, item.at["stage"]) for item in summary.estimates if item.verdict}
    assert deciding == {"source": ("helps", "first"), CONTROL: ("hurts", "confirm")}
    instability = {item.at["stage"]: item.value for item in estimates_of(summary, "instability")}
    assert instability["tuning"] == pytest.approx((0.70 + 0.73 - 0.80 - 0.81) / 2)
    assert instability["first"] > 0.1
    approved(summary.verdict, *summary.notes)


def test_what_is_behind_and_still_improves_decides_nothing():
    found = harm_ends(P_T=(0.5, 0.52, 0.51), RI_T=(0.6, 0.63, 0.6))
    for improving, verdict in ((("P_T",), "undecided"), (("RI_T",), "hurts")):
        item = estimate_of(told(found, improving), "negative_transfer_gap", split="test")
        assert item.verdict == verdict
        assert ("still_improving" in item.flags) == (verdict == "undecided")


def test_harm_is_decided_on_validation_data_alone(plain):
    analysis = NegativeTransfer(control=False, confirm_seeds=(7, 8, 9))
    tuned = [{"variant": v, "learning_rate": 0.1, "validation_metric": 0.5} for v in ("P_T", "RI_T")]
    rates = example(LearningRate, tuned, seed=1000)

    def tasks(validation, test):
        same = {"level": "gap", "stage": "first", "candidate": "source", "variant": "P_T", "tuned": True, "n": 3}
        rows = [{**same, "split": "validation", "value": validation}, {**same, "split": "test", "value": test}]
        evidence = Evidence({LearningRate().key: rates, analysis.key: example(NegativeTransfer, rows)}).for_decision()
        return [task.settings["stage"] for task in analysis.tasks(plain.study, evidence)]

    assert tasks(0.1, -0.1) == ["first", "confirm"]
    assert tasks(-0.1, 0.1) == ["first"]


def test_without_a_pre_training_of_our_own_there_is_no_control(tmp_path):
    context = bound(tmp_path, source={"architecture": PLAIN, **dead(tmp_path)}, analyses=["negative_transfer"])
    (analysis,) = context.study.settings.analyses
    assert analysis.starts(context.study.settings) == {}
    summary = told(harm_ends(P_T=(0.5, 0.52, 0.51), RI_T=(0.6, 0.63, 0.6)))
    assert any("no positive control" in note for note in summary.notes)


@pytest.mark.parametrize(
    ("settings", "place"),
    [
        ({"candidates": {"source": {"weights": "timm"}}}, "candidates: source is the name of another row"),
        ({"candidates": {"Far Domain": {"weights": "timm"}}}, "candidates"),
        ({"confirm_seeds": [3, 9]}, "confirm_seeds: 3 is also a seed of the study"),
        ({"confirm_seeds": [77]}, "confirm_seeds: 77 is also the seed of source.pretrain"),
        ({"equal_rates": [0.0]}, "equal_rates"),
    ],
)
def test_settings_that_cannot_be(tmp_path, settings, place):
    with pytest.raises(ValidationError, match=place):
        study(tmp_path, analyses=[{"negative_transfer": settings}])


def test_a_candidate_must_not_start_where_ri_starts(tmp_path):
    pretrain = {"data": arrays(tmp_path / "other", 60, 9), "recipe": RECIPE, "seed": 3}
    with pytest.raises(ValidationError, match=r"candidates.far.pretrain.seed: 3 is also a seed"):
        study(tmp_path, analyses=[{"negative_transfer": {"candidates": {"far": {"pretrain": pretrain}}}}])
