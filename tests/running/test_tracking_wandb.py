"""Weights & Biases, offline, by its own files: a run for each training and one for the study, none twice."""

import struct
from pathlib import Path
from typing import Any

import pytest

from tests.running import tiny
from tests.running.conftest import FinishedStudy
from tests.running.small_runs import copied
from transferscope.running.run import run_study
from transferscope.running.tracking import Tracking

wandb = pytest.importorskip("wandb", exc_type=ImportError)
if wandb.__file__ is None:
    pytest.skip("wandb is a folder here", allow_module_level=True)


def records(folder: Path) -> list[Any]:
    """What a run has written: protocol buffers in a log as LevelDB's, in blocks of 32 KiB after 7 bytes of a head."""
    from wandb.proto.wandb_internal_pb2 import Record

    (file,) = folder.glob("*.wandb")
    data, place, part, found = file.read_bytes(), 7, b"", []
    while place < len(data):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, place)
        part += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last piece
            found.append(Record.FromString(part))
            part = b""
    return found


def test_runs_are_written_once(finished: FinishedStudy, tmp_path: Path) -> None:
    root, report = copied(finished, tmp_path), tmp_path / "report.html"
    report.write_bytes(b"<html>")
    settings = {"trackers": [{"kind": "wandb", "mode": "offline"}], "analyses": [{"outcome": {"n_bootstrap": 100}}]}
    study = tiny.study(finished.folder, settings)
    for _ in range(2):
        with Tracking(study, root) as tracking:
            results = run_study(study, root, quiet=True, tracking=tracking)
            assert tracking.report([report]) == []
        assert results.manifest["trackers"][0]["failure"] is None
    folders = list((root / "wandb" / "wandb").glob("offline-run-*"))
    trainings = [each for each in folders if (each / "transferscope-sent").exists()]
    assert len(trainings) == 10
    # The study is told again; by its id it is the same run.
    key = results.manifest["trackers"][0]["key"]
    assert {each.name.rpartition("-")[2] for each in set(folders) - set(trainings)} == {key}
    assert (next(each for each in folders if each not in trainings) / "files" / "report.html").read_bytes() == b"<html>"
    for each in trainings:
        found = records(each)
        (run,) = (record.run for record in found if record.WhichOneof("record_type") == "run")
        assert run.run_group == key
        assert run.display_name in {network["label"] for network in finished.results.manifest["networks"]}
        history = [record.history for record in found if record.WhichOneof("record_type") == "history"]
        assert [record.step.num for record in history] == [0, 1, 2]
