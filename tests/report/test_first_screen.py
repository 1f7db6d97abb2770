"""What a reader learns first: a plain sentence, what to take, its limits, and what to do; from keys alone."""

from dataclasses import replace
from typing import Any

import polars as pl
import pytest

from tests.report import synthetic
from tests.report.synthetic_outcome import outcome_result, outcome_table
from transferscope.analyses.summary import Summary
from transferscope.report.answer import answer
from transferscope.report.modules_strip import modules_strip
from transferscope.report.next_steps import choices, next_steps
from transferscope.running.results import AnalysisResult, Results

RUN = "transferscope run study.yaml --store 'my runs'"
SILENT = Summary("A sentence that nobody may read to decide.")


def results(*more: AnalysisResult, seeds: tuple[int, ...] = (0, 1, 2), **facts: Any) -> Results:
    """A study whose verdict says nothing: only its facts do."""
    outcome = outcome_result(**facts)
    assert outcome.summary is not None
    outcome = replace(outcome, summary=replace(outcome.summary, verdict=SILENT.verdict))
    return synthetic.results(
        analyses=(outcome, *more), study=synthetic.study(tuple(item.analysis for item in more), seeds=seeds),
        verdict=SILENT.verdict, headline=synthetic.headline().with_columns(note=pl.lit("")),
        manifest={**synthetic.MANIFEST, "run": RUN},
    )  # fmt: skip


@pytest.mark.kind("C11")
@pytest.mark.parametrize(
    ("facts", "sentence", "advice"),
    [
        ({}, "Fine-tuning beats training from scratch: 84.9\u00a0% against 76.8\u00a0% accuracy, three runs each.",
         "Ship P-T at rate 0.03."),
        ({"winner": "RI_T", "low": -0.09, "high": -0.02}, "Fine-tuning does worse than training from scratch:",
         "Ship RI-T at rate 0.03: at their chosen rate the pre-trained weights do harm here."),
        ({"winner": None, "low": -0.02, "high": 0.06}, "Whether fine-tuning beats training from scratch is undecided:",
         "The start is undecided: add seeds or test images before choosing one."),
        ({"winner": None, "low": -0.004, "high": 0.004}, "Fine-tuning and training from scratch end equally well,",
         "Take whichever start is cheaper: the difference lies within half a point both ways."),
        ({"winner": None, "low": None, "high": None, "basis": None}, "Whether fine-tuning beats", "The start is"),
        ({"rival": None, "winner": None, "value": None}, "No answer yet: no fine-tuned network", "Train at least one"),
    ],
)  # fmt: skip
def test_a_plain_sentence_and_what_to_take(facts: dict[str, Any], sentence: str, advice: str) -> None:
    found = answer(results(**facts))
    assert found.sentence.startswith(sentence)
    assert found.advice.startswith(advice)


@pytest.mark.kind("C11")
def test_longer_training_from_scratch_is_named_with_its_epochs() -> None:
    rows = synthetic.headline()
    long = rows.filter(variant="RI_T").with_columns(
        variant=pl.lit("RI_T_long"), value=pl.lit(0.82), epochs=pl.lit(30, pl.Int64)
    )
    found = answer(replace(results(rival="RI_T_long"), headline=pl.concat([rows, long])))
    assert found.sentence == (
        "Fine-tuning beats training from scratch for longer (30 epochs against 10): 84.9\u00a0% against 82.0\u00a0% "
        "accuracy, three runs each."
    )


@pytest.mark.kind("C12")
@pytest.mark.parametrize(
    ("key", "doubt"),
    [("improving", "was still improving when it stopped"), ("too short", "was too short to tell"),
     ("no run", "No run from scratch has finished")],
)  # fmt: skip
@pytest.mark.parametrize(("winner", "place"), [("P_T", "ahead of"), ("RI_T", "behind")])
def test_at_equal_cost_advice_follows_although_the_end_is_open(key: str, doubt: str, winner: str, place: str) -> None:
    found = answer(results(unended=key, winner=winner))
    assert found.sentence.startswith(f"After equal training (10 epochs each) fine-tuning is {place} training from")
    assert found.advice.startswith(f"At equal cost ship {winner.replace('_', '-')} at rate 0.03")
    assert doubt in found.caveats[0]
    assert f"`{RUN} --set training.plateau_epochs=30`" in found.caveats[0]


@pytest.mark.kind("C12")
def test_no_advice_speaks_against_a_number_beside_it() -> None:
    for winner in ("P_T", "RI_T", None):
        found = answer(results(unended="improving", winner=winner))
        assert "do not choose" not in (found.sentence + found.advice).lower()


@pytest.mark.kind("C11")
def test_caveats_stand_beside_the_answer() -> None:
    edge = replace(
        synthetic.result("learning_rate"), summary=replace(SILENT, facts={"tried": [0.1, 0.3], "at_edge": ["P_T"]})
    )
    notes = ["cells of one panel may lie in several splits", *(f"unreadable, skipped: {k}.png" for k in range(9))]
    made = results(edge, seeds=(0, 1), basis="examples")
    found = answer(replace(made, manifest={**made.manifest, "notes": notes}))
    said = " ".join(found.caveats)
    assert "speaks of these trained networks, not of training in general" in said
    assert "lies at the edge of those tried" in said
    assert found.notes == (*notes[:4], "6 more notes on the data are in the manifest.")
    (rate,) = [choice.text for choice in choices(made) if choice.topic == "rate"]
    assert f"`{RUN} --set 'training.learning_rates=[0.0333333,0.1,0.3,0.9]'`" in rate


@pytest.mark.kind("C8")
def test_a_rate_that_is_not_distinguishable_from_the_best_is_said_beside_it() -> None:
    choices_of = {
        variant: {"rate": 0.03, "best": best, "metric": 0.8, "error": 0.03, "moved": best != 0.03, "diverged": False}
        for variant, best in (("P_T", 0.09), ("RI_T", 0.03))
    }
    facts = {"tried": [0.03, 0.09], "at_edge": [], "choices": choices_of}
    made = results(replace(synthetic.result("learning_rate"), summary=replace(SILENT, facts=facts)))
    (rate,) = [choice.text for choice in choices(made) if choice.topic == "rate"]
    assert "for P-T not distinguishable from 0.09" in rate
    assert "for RI-T not" not in rate


@pytest.mark.kind("C8")
def test_a_spike_of_the_loss_stands_beside_the_answer() -> None:
    spike = {"variant": "P_T", "seed": 0, "learning_rate": 0.09, "epoch": 3, "before": 0.5, "peak": 22.0, "back": 5}
    for spikes in ([spike], []):
        facts = {"improving": [], "spikes": spikes}
        curves = replace(synthetic.result("learning_curves"), summary=replace(SILENT, facts=facts))
        said = " ".join(answer(results(curves)).caveats)
        assert ("P-T[0] at 0.09 from 0.5 to 22 in epoch 3, back in epoch 5" in said) == bool(spikes)
        assert ("--set 'training.learning_rates=[0.03,0.09]'`" in said) == bool(spikes)


@pytest.mark.kind("C11")
def test_everything_to_decide_is_told_or_how_to_measure_it() -> None:
    found = {choice.topic: choice for choice in choices(results(synthetic.result("learning_rate")))}
    assert list(found) == ["rate", "freeze", "average", "classes", "labels", "file"]
    for topic, name in (("freeze", "rewind"), ("average", "path"), ("labels", "mistakes")):
        assert not found[topic].measured
        assert found[topic].text == f"not measured: `{RUN} --set analyses.1={name}`"
    assert found["classes"].text.startswith("P-T finds 82.7\u00a0% of “defective” (")


@pytest.mark.kind("C11")
@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (
            {"ruler_holds": True, "pairs": {"P-T/P-T": "stable"}},
            "can be averaged: the error rises by less than 2 points",
        ),
        ({"ruler_holds": True, "pairs": {"P-T/P-T": "unstable"}}, "do not average"),
        ({"ruler_holds": False, "pairs": {"P-T/P-T": "stable"}}, "undecided"),
        ({"ruler_holds": True, "pairs": {}}, "not told by"),
    ],
)
def test_averaging_follows_from_the_key_of_paths(facts: dict[str, Any], words: str) -> None:
    path = replace(synthetic.result("path"), summary=replace(SILENT, facts=facts))
    (said,) = [choice.text for choice in choices(results(path)) if choice.topic == "average"]
    assert words in said
    (alone,) = [choice.text for choice in choices(results(path, seeds=(0,))) if choice.topic == "average"]
    assert facts["pairs"] or f"`{RUN} --set 'seeds=[0,1]'`" in alone


@pytest.mark.kind("C11")
def test_an_analysis_that_cannot_be_run_says_why() -> None:
    gone = AnalysisResult(synthetic.analysis("path"), None, {}, None, "heads differ")
    (said,) = [choice for choice in choices(results(gone)) if choice.topic == "average"]
    assert (said.text, said.measured) == ("not measured: heads differ", False)


@pytest.mark.kind("C11")
def test_labels_that_every_network_contradicts_are_counted() -> None:
    listed = b"image,class,wrong_P_T,wrong_RI_T,group\na,x,1,1,both\nb,x,1,0.5,\nc,y,1,1,both\nd,y,0,1,\n"
    mistakes = replace(synthetic.result("mistakes"), files={"wrong-images.csv": listed})
    (said,) = [choice.text for choice in choices(results(mistakes)) if choice.topic == "labels"]
    assert said.startswith("2 test labels are contradicted by every network")


@pytest.mark.kind("C11")
def test_modules_are_kept_changed_useless_or_undecided() -> None:
    rewind = replace(synthetic.result("rewind"), summary=SILENT)
    strip = {part.name: part.state for part in modules_strip(results(rewind))}
    assert strip == {"stem": "kept", "blocks.0": "useless", "blocks.1": "undecided", "blocks.2": "undecided",
                     "blocks.3": "changed", "classifier": "changed"}  # fmt: skip
    assert modules_strip(results()) == ()
    (said,) = [choice.text for choice in choices(results(rewind)) if choice.topic == "freeze"]
    assert said.startswith("candidates are stem, blocks.0:")


@pytest.mark.kind("C12")
def test_steps_follow_from_what_was_asked() -> None:
    assert f"Add seeds (`{RUN} --set 'seeds=[0,1,2]'`)" in next_steps(results(seeds=(0, 1)))[0]
    # Its own seeds stay, whatever they are; and where Python ran it there is no command to name.
    assert f"`{RUN} --set 'seeds=[7,0,1]'`" in next_steps(results(seeds=(7,)))[0]
    assert f"`{RUN} --set 'seeds=[1,8,3,0,2]'`" in next_steps(results(seeds=(1, 8, 3)))[0]
    by_python = replace(results(seeds=(0, 1)), manifest=synthetic.MANIFEST)
    assert "Add seeds (set `seeds=[0,1,2]`)" in next_steps(by_python)[0]
    assert next_steps(results(seeds=(0, 1, 2, 3, 4))) == []
    gone = AnalysisResult(synthetic.analysis("path"), None, {}, None, "heads differ")
    assert next_steps(results(gone))[-1].startswith("Not answered here: Paths between solutions")


@pytest.mark.kind("C11")
def test_results_without_the_four_networks_rest_on_the_gap() -> None:
    gap = (synthetic.gap(0.0, -0.5, 0.5, "examples", 656), synthetic.gap(0.05, 0.02, 0.09, "seeds", 3))
    made = synthetic.results(analyses=(synthetic.result("learning_rate"),), gap=gap)
    assert answer(made).advice == "Ship P-T at rate 0.03."
    assert answer(replace(made, gap=())).advice.startswith("Train at least one finished pair")


@pytest.mark.kind("C3")
def test_many_classes_are_listed_with_their_largest_confusions() -> None:
    from transferscope.report.classes import OPEN_CLASSES, class_results

    few = class_results(results())
    assert few is not None
    assert [matrix.variant for matrix in few.matrices] == ["P-T", "RI-T"]
    assert [row.name for row in few.rows] == ["defective", "intact"]
    assert all(value.endswith("%") and " to " in span for row in few.rows for value, span in row.cells)
    table = outcome_table([f"class {k}" for k in range(30)], images=900)
    many = class_results(synthetic.results(analyses=(outcome_result(table),)))
    assert many is not None
    assert (many.matrices, len(many.rows), len(many.taken)) == ((), 30, OPEN_CLASSES)
    assert all(true != taken for true, taken, *_ in many.taken)
