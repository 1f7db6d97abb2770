"""What a plan says beforehand, against what a run then does."""

from pathlib import Path
from typing import Any

import pytest

import transferscope.running.plan as plan_module
import transferscope.running.run as run_module
from tests.running import tiny
from tests.running.conftest import FinishedStudy
from tests.running.small_runs import rounds_done
from transferscope.errors import StopRequested
from transferscope.running.plan import Plan, plan_study, study_status
from transferscope.running.run import run_study
from transferscope.store import Store

EXTENDED = {
    "analyses": ["outcome"],
    "seeds": [0],
    "training": {"learning_rates": [1e-6, 2e-6], "extensions": 2, "recipe": {"epochs": 1}},
}

HALVED = {
    **EXTENDED,
    "training": {
        "search": "halving", "learning_rates": [1e-6, 2e-6, 4e-6, 0.05], "extensions": 1, "recipe": {"epochs": 3},
    },
}  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, marks=pytest.mark.slow),
        pytest.param(EXTENDED, marks=pytest.mark.slow),
        {**EXTENDED, "seeds": [0, 1, 2]},
        HALVED,
    ],
    ids=["full", "extended", "seeds", "halved"],
)
def test_round_1_is_exact_and_the_rest_is_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    study, root = tiny.study(tmp_path, changes), tmp_path / "store"

    plan = plan_study(study, root)

    assert Store(root).status()["networks"] == 0
    assert Store(root).status()["units"] == 0
    before = sum(len(each) for each in tiny.contents(root).values())
    done = rounds_done(study, root, monkeypatch)
    first = plan.rounds[0]
    assert first.exact
    assert first.analyses == ("learning_rate",)
    assert (first.trainings, first.units) == (len(done[0][0]), len(done[0][1]))
    assert list(plan.networks[: first.trainings]) == done[0][0]
    assert not any(part.exact for part in plan.rounds[1:])
    assert sum(part.trainings for part in plan.rounds) >= sum(len(trained) for trained, _ in done)
    assert sum(part.units for part in plan.rounds) >= sum(len(measured) for _, measured in done)
    assert plan.disk_bytes >= sum(len(each) for each in tiny.contents(root).values()) - before
    assert plan.seconds is not None
    assert 0 < plan.seconds[0] <= plan.seconds[1]
    if not changes:
        # Nothing is extended: the bound on the number of trainings is reached.
        assert sum(part.trainings for part in plan.rounds) == 10

    again = plan_study(study, root)
    assert nothing_left(again)
    assert again.seconds == (0, 0)
    assert again.disk_bytes == 0
    assert again.networks == ()
    assert all(part.exact for part in again.rounds)
    assert sum(part.images for part in again.rounds) == 0


def nothing_left(plan: Plan) -> bool:
    return all((part.trainings, part.units) == (part.trainings_stored, part.units_stored) for part in plan.rounds)


def test_images_of_the_first_round_are_those_of_its_trainings(tmp_path: Path) -> None:
    plan = plan_study(tiny.study(tmp_path), tmp_path / "store")
    _, _, context = tiny.bound(tmp_path)
    sizes = {split: len(indices) for split, indices in context.splits().items()}
    assert sum(sizes.values()) == 90
    # Six trainings of two epochs; every split is looked at before them and after each.
    assert plan.rounds[0].images == 6 * (2 * sizes["train"] + 3 * 90)


def test_a_pre_training_is_counted_once(tmp_path: Path) -> None:
    study = tiny.study(tmp_path, {**EXTENDED, **tiny.pretrained(tmp_path)})
    plan = plan_study(study, tmp_path / "store")
    assert plan.rounds[0].trainings == 5
    assert [name for name in plan.networks if name.startswith("pre-training")] == ["pre-training[2000] at 0.05"]


def test_networks_of_a_supposed_rate_do_not_count_as_stored(tmp_path: Path) -> None:
    root = tmp_path / "store"
    shared = {"analyses": ["outcome"], "seeds": [0]}
    run_study(tiny.study(tmp_path, {**shared, "training": {"learning_rates": [0.05]}}), root, quiet=True)
    # The middle rate of this grid was trained already, but it need not be the best one.
    changes = {**shared, "training": {"learning_rates": [0.01, 0.05, 0.2], "tuning_seeds": [2000]}}
    plan = plan_study(tiny.study(tmp_path, changes), root)
    assert [(part.trainings, part.trainings_stored) for part in plan.rounds[:2]] == [(6, 0), (2, 0)]
    status = study_status(tiny.study(tmp_path, changes), root)
    assert (status.trainings_finished, status.trainings_pending) == (0, 8)


def test_status_before_in_the_middle_and_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study, root = tiny.study(tmp_path, EXTENDED), tmp_path / "store"
    before = study_status(study, root)
    assert (before.trainings_finished, before.units_finished) == (0, 0)
    assert before.trainings_pending == sum(part.trainings for part in plan_study(study, root).rounds)
    assert before.units_pending == sum(part.units for part in plan_study(study, root).rounds)

    real, left = run_module.do, 3

    def stopping(job: Any, on_event: Any) -> str:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        return real(job, on_event)

    monkeypatch.setattr(run_module, "do", stopping)
    with pytest.raises(StopRequested):
        run_study(study, root, quiet=True)
    middle = study_status(study, root)
    assert middle.trainings_finished == 3
    assert middle.trainings_pending == before.trainings_pending - 3
    assert middle.units_finished == 0

    monkeypatch.undo()
    run_study(study, root, quiet=True)
    after = study_status(study, root)
    assert (after.trainings_pending, after.units_pending) == (0, 0)
    assert after.trainings_finished == Store(root).status()["networks"]
    assert after.units_finished == Store(root).status()["units"]
    assert after.trainings_finished <= before.trainings_pending
    assert after.units_finished <= before.units_pending
    assert after.disk_bytes > middle.disk_bytes > before.disk_bytes > 0


def test_the_status_of_a_finished_study(finished: FinishedStudy) -> None:
    status = study_status(finished.study, finished.store)
    assert (status.trainings_finished, status.trainings_pending) == (10, 0)
    assert status.units_pending == 0
    assert status.disk_bytes == Store(finished.store).size()


@pytest.mark.kind("C6")
def test_the_time_of_a_step_is_measured_anew_and_then_taken_from_finished_trainings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy = iter([(3.08,) * 5, (0.5, 0.59, 0.7)])
    monkeypatch.setattr(plan_module, "step_seconds", lambda *_, **__: next(busy))
    study, root = tiny.study(tmp_path), tmp_path / "store"
    first, second = plan_study(study, root), plan_study(study, root)
    assert first.step is not None
    assert second.step is not None
    assert (first.step.median, second.step.median) == (3.08, 0.59)
    assert second.seconds is not None
    assert second.seconds[1] / second.seconds[0] == pytest.approx(0.7 / 0.5)
    run_study(study, root, quiet=True)
    more = study.model_copy(update={"seeds": (*study.seeds, 77)})
    third = plan_study(more, root)
    assert third.step is not None
    assert third.step.source == "trainings"
    assert third.step.low <= third.step.median <= third.step.high < 3


@pytest.mark.kind("C6")
@pytest.mark.parametrize(("count", "workers", "share"), [(4, 2, 0.5), (3, 2, 2 / 3), (1, 2, 1), (1, 1, 1), (0, 2, 0)])
def test_work_side_by_side_takes_its_share_of_the_time(count: int, workers: int, share: float) -> None:
    assert plan_module._side_by_side(count, workers) == pytest.approx(share)
