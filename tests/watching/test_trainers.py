"""The callbacks, within the real trainers of transformers and Lightning; DistributedDataParallel by gloo."""

import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import transferscope
from tests.watching.loops import EVERY, batches, small, train
from transferscope.errors import MissingExtraError
from transferscope.networks.weight_files import read_file
from transferscope.watching.attach import WatchWarning

ROOT = Path(__file__).parents[2]


def steps_of(folder: Path) -> list[int]:
    table = transferscope.read_watched(folder).tables["steps"]
    return table.filter(pl.col("module") == "(all)")["step"].to_list()


def moved(folder: Path) -> float:
    """Distance of the last weights from the start, from the files."""
    run = transferscope.read_watched(folder)
    assert run.start is not None
    assert run.last is not None
    start, end = read_file(run.start), read_file(run.last)
    names = [name for name in start if name not in run.facts["buffers"]]
    return sum(float((start[name].double() - end[name].double()).square().sum()) for name in names) ** 0.5


def last_distance(folder: Path) -> float:
    table = transferscope.read_watched(folder).tables["steps"].filter(pl.col("module") == "(all)")
    return float(table["distance"][-1])


class TestTransformers:
    """A small BERT, trained by Trainer on the CPU."""

    @pytest.fixture(scope="class")
    @classmethod
    def trained(cls, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, Any]:
        transformers = pytest.importorskip("transformers")
        pytest.importorskip("accelerate")
        folder = tmp_path_factory.mktemp("hf")
        torch.manual_seed(0)
        config = transformers.BertConfig(
            vocab_size=30, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16
        )  # fmt: skip
        model = transformers.BertForSequenceClassification(config)
        tokens = torch.randint(30, (24, 6))
        data = [{"input_ids": row, "labels": row[0] % 2} for row in tokens]

        def trainer(callback: Any, epochs: int) -> Any:
            arguments = transformers.TrainingArguments(
                output_dir=str(folder / "trainer"),
                num_train_epochs=epochs,
                per_device_train_batch_size=4,
                gradient_accumulation_steps=2,
                learning_rate=1e-2,
                use_cpu=True,
                logging_steps=1,
                save_strategy="epoch",
                eval_strategy="epoch",
                report_to=[],
                disable_tqdm=True,
            )
            return transformers.Trainer(
                model, arguments, train_dataset=data, eval_dataset=data[:8], callbacks=[callback]
            )

        settings: dict[str, Any] = {"recording": EVERY, "probe": {"input_ids": tokens[:8]}}
        keep = transferscope.Keep(best="eval_loss", mode="min")
        callback = transferscope.transformers_callback(out=folder / "run", keep=keep, **settings)
        trainer(callback, 2).train()
        resumed = transferscope.transformers_callback(out=folder / "run", keep=keep, **settings)
        trainer(resumed, 3).train(resume_from_checkpoint=True)
        return folder / "run", trainer, settings

    def test_every_update_has_its_record_also_after_a_resume(self, trained: tuple[Path, Any, Any]) -> None:
        folder = trained[0]
        assert steps_of(folder) == list(range(1, 10))
        run = transferscope.read_watched(folder)
        assert run.status == "finished"
        assert run.notes == () or {note.kind for note in run.notes} == {"not_compared"}
        whole = run.tables["steps"].filter(pl.col("module") == "(all)")
        assert whole["gradient_ratio"].null_count() == 0
        assert whole["session"].to_list() == [0] * 6 + [1] * 3
        assert last_distance(folder) == pytest.approx(moved(folder), rel=1e-5)

    def test_what_the_trainer_says_is_recorded(self, trained: tuple[Path, Any, Any]) -> None:
        run = transferscope.read_watched(trained[0])
        metrics = run.tables["metrics"]
        assert {"loss", "eval_loss", "grad_norm", "learning_rate"} <= set(metrics["name"])
        assert metrics.filter(pl.col("name") == "eval_loss").height == 3
        assert run.tables["similarity"]["epoch"].unique().sort().to_list() == [1.0, 2.0, 3.0]
        assert any("best" in item.reasons for item in run.checkpoints)

    def test_a_new_training_beside_it_takes_another_name(self, trained: tuple[Path, Any, Any]) -> None:
        folder, trainer, settings = trained
        callback = transferscope.transformers_callback(out=folder, **settings)
        with pytest.warns(WatchWarning, match="run-2 is used"):
            trainer(callback, 1).train()
        assert steps_of(folder.with_name("run-2")) == [1, 2, 3]


def _module(lightning: Any) -> Any:
    class Module(lightning.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.net = small()
            self.net[0].weight.requires_grad_(False)

        def training_step(self, batch: Any, at: int) -> Any:
            loss = nn.functional.cross_entropy(self.net(batch[0]), batch[1])
            self.log("train_loss", loss)
            return loss

        def validation_step(self, batch: Any, at: int) -> None:
            self.log("val_loss", nn.functional.cross_entropy(self.net(batch[0]), batch[1]))

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD([p for p in self.parameters() if p.requires_grad], lr=0.1)

    return Module()


class TestLightning:
    """A small network, trained by Trainer on the CPU."""

    @pytest.fixture(scope="class")
    @classmethod
    def lightning(cls) -> Any:
        return pytest.importorskip("lightning.pytorch")

    def trainer(self, lightning: Any, folder: Path, callback: Any, epochs: int) -> Any:
        return lightning.Trainer(
            max_epochs=epochs, accelerator="cpu", devices=1, logger=False, enable_progress_bar=False,
            enable_model_summary=False, default_root_dir=folder, callbacks=[callback], accumulate_grad_batches=2,
        )  # fmt: skip

    @pytest.mark.filterwarnings("ignore")
    def test_a_training_that_resumes_continues_the_run(self, lightning: Any, tmp_path: Path) -> None:
        data = DataLoader(TensorDataset(*map(torch.cat, zip(*batches(4), strict=True))), batch_size=8)
        settings: dict[str, Any] = {"module": "net", "recording": EVERY, "probe": batches(1)[0][0]}
        module = _module(lightning)
        first = {name: value.clone() for name, value in module.net.state_dict().items()}
        asked = [p.requires_grad for p in module.parameters()]
        keep = transferscope.Keep(best="val_loss", mode="min")
        callback = transferscope.lightning_callback(out=tmp_path / "run", keep=keep, **settings)
        trainer = self.trainer(lightning, tmp_path, callback, 2)
        trainer.fit(module, data, data)
        trainer.save_checkpoint(tmp_path / "two.ckpt")
        assert torch.load(tmp_path / "two.ckpt")["callbacks"]["LightningWatch"]["step"] == 4
        again = _module(lightning)
        callback = transferscope.lightning_callback(out=tmp_path / "elsewhere", keep=keep, **settings)
        self.trainer(lightning, tmp_path, callback, 3).fit(again, data, data, ckpt_path=str(tmp_path / "two.ckpt"))
        assert not (tmp_path / "elsewhere").exists()
        assert [p.requires_grad for p in again.parameters()] == asked
        run = transferscope.read_watched(tmp_path / "run")
        assert steps_of(tmp_path / "run") == [1, 2, 3, 4, 5, 6]
        assert run.tables["metrics"].filter(pl.col("name") == "val_loss")["epoch"].len() == 3
        start = read_file(tmp_path / "run" / "start.safetensors")
        assert all(torch.equal(start[name], value) for name, value in first.items())
        assert last_distance(tmp_path / "run") == pytest.approx(moved(tmp_path / "run"), rel=1e-5)

    @pytest.mark.filterwarnings("ignore")
    def test_a_training_that_raises_is_closed(self, lightning: Any, tmp_path: Path) -> None:
        data = DataLoader(TensorDataset(*map(torch.cat, zip(*batches(4), strict=True))), batch_size=8)
        module = _module(lightning)
        module.on_train_epoch_end = lambda: 1 // 0
        callback = transferscope.lightning_callback(out=tmp_path / "run", module="net", recording=EVERY)
        with pytest.raises(ZeroDivisionError):
            self.trainer(lightning, tmp_path, callback, 2).fit(module, data)
        assert transferscope.read_watched(tmp_path / "run").status == "failed"
        assert steps_of(tmp_path / "run") == [1, 2]

    @pytest.mark.filterwarnings("ignore")
    def test_a_module_that_is_not_there_stops_nothing(self, lightning: Any, tmp_path: Path) -> None:
        data = DataLoader(TensorDataset(*map(torch.cat, zip(*batches(2), strict=True))), batch_size=8)
        callback = transferscope.lightning_callback(out=tmp_path / "run", module="network")
        module = _module(lightning)
        with pytest.warns(WatchWarning, match="nothing is recorded"):
            self.trainer(lightning, tmp_path, callback, 1).fit(module, data)


DISTRIBUTED = """
import sys
from pathlib import Path
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel
import transferscope
from tests.watching.loops import EVERY, batches, small
rank, folder = int(sys.argv[1]), Path(sys.argv[2])
distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
model = DistributedDataParallel(small(seed=0))
with transferscope.watch(model, out=folder / "run", recording=EVERY, probe=batches(1)[0][0]) as w:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for images, labels in batches(4, seed=rank):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
        w.step()
        w.log(loss=1.0)
    w.epoch()
distributed.barrier()
weights = torch.cat([p.detach().flatten() for p in model.parameters()])
torch.save(weights, folder / f"{rank}.pt")
distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_write_one_run_and_stay_alike(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    both = [
        subprocess.Popen(
            [sys.executable, "-c", DISTRIBUTED, str(rank), str(tmp_path)], env=environment, text=True,
            stderr=subprocess.PIPE,
        )
        for rank in range(2)
    ]  # fmt: skip
    for process in both:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    assert steps_of(tmp_path / "run") == [1, 2, 3, 4]
    assert len(list((tmp_path / "run").glob("session-???.json"))) == 1
    assert set(read_file(tmp_path / "run" / "start.safetensors")) == set(small().state_dict())
    assert torch.equal(torch.load(tmp_path / "0.pt"), torch.load(tmp_path / "1.pt"))
    assert last_distance(tmp_path / "run") == pytest.approx(moved(tmp_path / "run"), rel=1e-5)


@pytest.mark.parametrize("library", ["transformers", "lightning"])
def test_a_library_that_is_not_installed_is_named(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module(f"transferscope.watching.{library}_callback")
    for name in ("transformers", "lightning", "lightning.pytorch", "pytorch_lightning"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(module, "_callback_class", module._callback_class.__wrapped__)
    with pytest.raises(MissingExtraError, match=rf"pip install '\.\[{library}\]'"):
        getattr(transferscope, f"{library}_callback")()


def test_other_processes_do_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transferscope.watching.start._rank", lambda: 1)
    model = small()
    with transferscope.watch(model, out=tmp_path / "run", probe=batches(1)[0][0]) as w:
        train(model, w)
        w.note("a word")
        w.flush()
        w.load_state_dict(w.state_dict())
    assert list(tmp_path.iterdir()) == []
