"""What a study took, as its report says it."""

from dataclasses import replace

from tests.report.synthetic import result, results
from transferscope.report.render import render
from transferscope.report.sections import took


def test_every_part_has_its_time_and_its_share_of_the_whole():
    rows = {row["what"]: (row["time"], row["share"]) for row in took(results())}
    assert rows["6 trainings"] == ("6 min 40 s", "80\u00a0%")
    assert rows["of them waiting for images"] == ("20 s", "4\u00a0%")
    assert rows["of them backward passes and updates"] == ("3 min 20 s", "40\u00a0%")
    assert rows["Distance in parameter space"] == ("1 min 40 s", "20\u00a0%")
    assert "of them writing" not in rows  # nothing was measured
    assert "of them waiting for images" in render(results(analyses=(result("learning_rate"),)))


def test_results_of_an_earlier_version_say_nothing():
    old = results()
    kept = {name: value for name, value in old.manifest.items() if name != "times"}
    assert took(replace(old, manifest=kept)) == []
