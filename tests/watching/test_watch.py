"""A plain loop: what is recorded is right, and the network is left alone."""

import copy
import json
import math
from pathlib import Path

import polars as pl
import pytest
import torch
from torch import nn

import transferscope
from tests.watching.loops import EVERY, batches, small, train
from transferscope.errors import OptionError, WeightsError
from transferscope.measures import linear_cka
from transferscope.networks.weight_files import read_file
from transferscope.study.columns import schema
from transferscope.watching.attach import WatchWarning
from transferscope.watching.columns import TABLES


def test_every_column_is_what_a_slow_loop_computes(tmp_path: Path) -> None:
    model = small()
    start = copy.deepcopy(model).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before: list[torch.Tensor] | None = None
    expected = []
    with transferscope.watch(model, out=tmp_path / "run", recording=EVERY) as w:
        for images, labels in batches(5):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images), labels).backward()
            optimizer.step()
            w.step()
            now = [p.detach().double() for p in model.parameters()]
            moved = torch.cat([(a - b.detach()).flatten() for a, b in zip(now, start.parameters(), strict=True)])
            weights = torch.cat([a.flatten() for a in now])
            gradient = torch.cat([p.grad.double().flatten() for p in model.parameters()])
            first = torch.cat([p.detach().flatten() for p in start.parameters()])
            row = {
                "distance": moved.norm().item(), "relative": float(moved.norm() / first.norm()),
                "gradient_ratio": float(gradient.norm() / weights.norm()),
                "mean_drift": float((((model[1].running_mean - 0) / math.sqrt(1 + 1e-5)) ** 2).mean().sqrt()),
                "variance_drift": float(
                    ((((model[1].running_var + 1e-5) / (1 + 1e-5)).log()) ** 2).mean().sqrt()
                ),
            }  # fmt: skip
            if before is not None:
                update = torch.cat([(a - b).flatten() for a, b in zip(now, before, strict=True)])
                row["update_cosine"] = float(update @ moved / update.norm() / moved.norm())
            before = now
            expected.append(row)
    found = transferscope.read_watched(tmp_path / "run").tables["steps"].filter(pl.col("module") == "(all)").to_dicts()
    assert [row["step"] for row in found] == [1, 2, 3, 4, 5]
    assert found[0]["update_cosine"] is None
    for got, right in zip(found, expected, strict=True):
        assert {name: got[name] for name in right} == pytest.approx(right, rel=2e-5)


def test_modules_add_up_and_carry_declared_columns(tmp_path: Path) -> None:
    model = small()
    with transferscope.watch(model, out=tmp_path / "run", recording=EVERY, probe=batches(1)[0][0]) as w:
        train(model, w)
    run = transferscope.read_watched(tmp_path / "run")
    for name, table in run.tables.items():
        assert table.schema == schema(TABLES[name])
        assert table.height
    steps = run.tables["steps"]
    whole = steps.filter(pl.col("module") == "(all)").select("step", whole=pl.col("distance") ** 2)
    parts = steps.filter(pl.col("module") != "(all)").group_by("step").agg((pl.col("distance") ** 2).sum())
    joined = whole.join(parts, on="step").sort("step")
    assert joined["whole"].to_list() == pytest.approx(joined["distance"].to_list(), rel=1e-9)
    assert set(steps["module"]) == {"(all)", "0", "1", "5"}
    drift = steps.group_by("module").agg(pl.col("mean_drift").null_count() == pl.len()).to_dict(as_series=False)
    assert dict(zip(drift["module"], drift["mean_drift"], strict=True)) == {
        "(all)": False, "0": True, "1": False, "5": True,
    }  # fmt: skip


def test_similarity_is_that_of_the_measure_on_both_networks(tmp_path: Path) -> None:
    model, probe = small(), batches(1, seed=9)[0][0]
    start = copy.deepcopy(model).eval()
    with transferscope.watch(model, out=tmp_path / "run", recording=EVERY, probe=probe) as w:
        train(model, w, epochs=1)
    model.eval()
    found = transferscope.read_watched(tmp_path / "run").tables["similarity"]
    with torch.no_grad():
        for name, end in (("0", 1), ("1", 2), ("5", 6)):
            right = linear_cka(start[:end](probe), model[:end](probe))
            assert found.filter(pl.col("module") == name)["cka"].item() == pytest.approx(right, abs=1e-5)


def test_the_training_is_the_same_to_the_last_bit(tmp_path: Path) -> None:
    ends = []
    for watched in (False, True):
        model = small()
        model[0].weight.requires_grad_(False)
        if watched:
            keep = transferscope.Keep(log_spaced=True, epochs=1, best="accuracy")
            probe = batches(1)[0][0]
            with transferscope.watch(model, out=tmp_path / "run", recording=EVERY, keep=keep, probe=probe) as w:
                torch.manual_seed(3)
                train(model, w)
        else:

            class Nothing:
                def step(self) -> None: ...
                def epoch(self) -> None: ...
                def log(self, **metrics: object) -> None: ...

            torch.manual_seed(3)
            train(model, Nothing())
        drawn = torch.rand(3)
        grads = [p.grad for p in model.parameters()]
        ends.append((model.state_dict(), [p.requires_grad for p in model.parameters()], model.training, drawn, grads))
    first, second = ends
    assert first[1:3] == second[1:3]
    assert torch.equal(first[3], second[3])
    assert all(torch.equal(first[0][name], second[0][name]) for name in first[0])
    assert not any(module._forward_hooks for module in model.modules())


def test_checkpoints_follow_the_rules(tmp_path: Path) -> None:
    model = small()
    keep = transferscope.Keep(steps=5, log_spaced=True, epochs=2, last=2, best="accuracy")
    values = iter([0.5, 0.9, 0.9, math.nan, 0.7])
    with transferscope.watch(model, out=tmp_path / "run", keep=keep) as w:
        for _ in range(5):
            for _ in range(3):
                w.step()
            w.log(accuracy=next(values))
            w.epoch()
    run = transferscope.read_watched(tmp_path / "run")
    assert {item.step: item.reasons for item in run.checkpoints} == {
        1: ("log",), 2: ("log",), 4: ("log",), 5: ("steps",), 6: ("best", "epochs"), 8: ("log",), 10: ("steps",),
        12: ("epochs", "last"), 15: ("steps", "last", "end"),
    }  # fmt: skip
    assert {path.name for path in (tmp_path / "run" / "checkpoints").iterdir()} == {
        f"step-{step:010d}.safetensors" for step in (1, 2, 4, 5, 6, 8, 10, 12, 15)
    }
    assert run.tables["metrics"]["value"].to_list() == [0.5, 0.9, 0.9, None, 0.7]


def test_the_start_is_a_copy_and_may_have_another_head(tmp_path: Path) -> None:
    pretrained, model = small(classes=10, seed=5), small()
    weights = {name: value.clone() for name, value in pretrained.state_dict().items()}
    model.load_state_dict({n: v for n, v in weights.items() if not n.startswith("5.")}, strict=False)
    with transferscope.watch(model, start=pretrained, out=tmp_path / "run", recording=EVERY) as w:
        for parameter in pretrained.parameters():
            parameter.data.fill_(float("nan"))  # the loop uses its memory for something else
        del pretrained
        w.step()
    run = transferscope.read_watched(tmp_path / "run")
    assert run.tables["steps"]["distance"].to_list() == [0.0] * 4
    assert [note.kind for note in run.notes] == ["own_start"]
    assert "5.weight" in run.notes[0].text
    kept = read_file(tmp_path / "run" / "start.safetensors")
    assert torch.equal(kept["0.weight"], weights["0.weight"])
    assert torch.equal(kept["5.weight"], model[5].weight)


def test_half_precision_counts_all_digits(tmp_path: Path) -> None:
    model = nn.Linear(300, 300).bfloat16()
    with torch.no_grad():
        model.weight.fill_(300.0)
        model.bias.zero_()
    with transferscope.watch(model, out=tmp_path / "run", recording=EVERY) as w:
        with torch.no_grad():
            model.weight.add_(302.0)
        w.step()
    distance = transferscope.read_watched(tmp_path / "run").tables["steps"]["distance"][0]
    moved = model.weight[0, 0].item() - 300
    assert distance == pytest.approx(moved * 300, rel=1e-6)
    assert distance > 65504


def test_a_large_layer_loses_no_digits(tmp_path: Path) -> None:
    """A sum of 2.4 million equal squares in single precision is 0.2 % off on a CPU."""
    model = nn.Sequential(nn.Conv2d(512, 512, 3, bias=False), nn.Linear(1500, 1)).to(memory_format=torch.channels_last)
    start = {name: value.clone() for name, value in model.named_parameters()}
    with transferscope.watch(model, out=tmp_path / "run", recording=EVERY) as w:
        for step in (1, 2):
            for parameter in model.parameters():
                parameter.data.add_(0.01 * step)
                parameter.grad = torch.full_like(parameter, 0.01)
            w.step()
    row = transferscope.read_watched(tmp_path / "run").tables["steps"].filter(step=2, module="0").to_dicts()[0]
    moved = (model[0].weight.double() - start["0.weight"].double()).norm().item()
    assert row["distance"] == pytest.approx(moved, rel=1e-6)
    weights = model[0].weight.detach().double().norm().item()
    assert row["gradient_ratio"] == pytest.approx(0.01 * (512 * 512 * 9) ** 0.5 / weights, rel=2e-6)
    assert row["update_cosine"] == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"recording": lambda: transferscope.Recording(every=0)}, "every"),
        ({"recording": lambda: transferscope.Recording(budget=2.0)}, "budget"),
        ({"recording": lambda: transferscope.Recording(granularity="blok")}, "granularity"),
        ({"keep": lambda: transferscope.Keep(epochs=0)}, "epochs"),
        ({"keep": lambda: transferscope.Keep(mode="most")}, "mode"),
    ],
)
def test_settings_that_cannot_be_are_refused_before_training(tmp_path: Path, settings: dict, error: str) -> None:
    with pytest.raises(OptionError, match=error):
        transferscope.watch(small(), out=tmp_path / "run", **{name: make() for name, make in settings.items()})
    assert not (tmp_path / "run").exists()


def test_a_start_of_another_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no parameter of the network"):
        transferscope.watch(small(), start=nn.Linear(2, 2), out=tmp_path / "a")
    with pytest.raises(OptionError, match="as start"):
        transferscope.watch(small(), start=3, out=tmp_path / "b")
    with pytest.raises(OptionError, match="as model"):
        transferscope.watch("model", out=tmp_path / "c")


def test_a_folder_is_never_written_into_by_accident(tmp_path: Path) -> None:
    with transferscope.watch(small(), out=tmp_path / "run") as w:
        w.step()
    with pytest.raises(OptionError, match="holds a run already"):
        transferscope.watch(small(), out=tmp_path / "run")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").touch()
    with pytest.raises(OptionError, match="not empty"):
        transferscope.watch(small(), out=tmp_path / "other")


def test_a_resumed_run_continues_and_replaces_what_is_done_again(tmp_path: Path) -> None:
    model = small()
    with transferscope.watch(model, out=tmp_path / "run", recording=EVERY) as w:
        train(model, w, epochs=1, steps=4)
        state, at_four = w.state_dict(), copy.deepcopy(model.state_dict())
        for step in (5, 6):
            w.step(step)
    model.load_state_dict(at_four)
    with pytest.raises(WeightsError, match="another one"):
        transferscope.watch(model, start=model, out=tmp_path / "run", resume=True)
    with transferscope.watch(model, out=tmp_path / "run", recording=EVERY, resume=True) as w:
        w.load_state_dict(json.loads(json.dumps(state)))
        train(model, w, epochs=1, steps=3, seed=2)
    run = transferscope.read_watched(tmp_path / "run")
    whole = run.tables["steps"].filter(pl.col("module") == "(all)")
    assert whole["step"].to_list() == [1, 2, 3, 4, 5, 6, 7]
    assert whole["session"].to_list() == [0] * 4 + [1] * 3 or whole["session"].to_list() == [0] * 4 + [2] * 3
    # The start is that of the first session, not the weights at which the second began.
    ends = [read_file(tmp_path / "run" / "start.safetensors"), model.state_dict()]
    right = sum(float((ends[0][n] - ends[1][n]).square().sum()) for n, _ in model.named_parameters()) ** 0.5
    assert whole["distance"][-1] == pytest.approx(right, rel=1e-5)


def test_how_often_is_chosen_from_what_it_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("transferscope.watching.pace.time.perf_counter", lambda: clock[0])
    with transferscope.watch(small(), out=tmp_path / "run", recording=transferscope.Recording(budget=0.01)) as w:
        observe = w._movement.observe

        def slow() -> object:
            clock[0] += 0.030
            return observe()

        monkeypatch.setattr(w._movement, "observe", slow)
        for _ in range(450):
            clock[0] += 0.100
            w.step()
        assert w.every == 50  # 30 ms in 50 × 100 ms: 0.6 %; in 20 it were 1.5 %
    steps = transferscope.read_watched(tmp_path / "run").tables["steps"]
    assert steps.filter(pl.col("module") == "(all)")["step"].to_list() == [1, 2, 3, *range(50, 451, 50)]


def test_a_disk_that_fails_for_a_while_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = small()
    with transferscope.watch(model, out=tmp_path / "run", recording=EVERY) as w:
        w.step()
        add = w._folder.add
        monkeypatch.setattr(w._folder, "add", lambda *args: (_ for _ in ()).throw(OSError(28, "No space left")))
        with pytest.warns(WatchWarning, match="No space left"):
            w.flush()
        for _ in range(5):
            w.step()
            w.log(loss=1.0)
            w.flush()
        monkeypatch.setattr(w._folder, "add", add)
        w.step()
    run = transferscope.read_watched(tmp_path / "run")
    assert run.tables["steps"].filter(pl.col("module") == "(all)")["step"].to_list() == [1, 2, 3, 4, 5, 6, 7]
    assert run.tables["metrics"].height == 5
