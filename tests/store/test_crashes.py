"""Processes killed, disks full, stores read-only, writers racing: an entry is whole or is not there."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from transferscope.store import Store
from transferscope.store.verify import verify

PROGRAM = [sys.executable, str(Path(__file__).with_name("crash_work.py"))]

posix = pytest.mark.skipif(os.name != "posix", reason="signals, limits and mounts of POSIX systems")


def run(*arguments: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([*PROGRAM, *map(str, arguments)], capture_output=True, text=True, check=False)


def can_mount() -> bool:
    if shutil.which("unshare") is None:
        return False
    test = "mount -t tmpfs -o size=64k tmpfs /mnt"
    return subprocess.run(["unshare", "-rm", "sh", "-c", test], capture_output=True, check=False).returncode == 0


needs_mount = pytest.mark.skipif(not can_mount(), reason="this machine does not let us mount a small disk")


def run_on_small_disk(mount: Path, *steps: str) -> str:
    """Run shell ``steps`` in a mount namespace of their own, with a disk of 1 MiB at ``mount``."""
    mount.mkdir(exist_ok=True)
    script = " && ".join([f"mount -t tmpfs -o size=1m tmpfs {shlex.quote(str(mount))}", *steps])
    done = subprocess.run(["unshare", "-rm", "sh", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def program(*arguments: object) -> str:
    return shlex.join([*PROGRAM, *map(str, arguments)])


@posix
@pytest.mark.parametrize("seconds", [0.02, 0.05, 0.11])
def test_killed_at_any_moment_every_entry_is_whole_or_not_there(tmp_path: Path, seconds: float):
    Store(tmp_path)
    killed = run("write_until_killed", tmp_path, seconds)
    assert killed.returncode == -9, killed.stderr
    store = Store(tmp_path)
    assert verify(store) == []
    for key in store.keys("units"):
        assert store.entry("units", key).names() == ["part0", "part1", "part2", "part3"]
        assert store.entry("units", key).manifest()["key_again"] == key


@posix
@pytest.mark.parametrize("call", ["fsync", "rename", "mkdir"])
def test_killed_before_each_call_of_the_system(tmp_path: Path, call: str):
    whole = []
    for number in range(1, 40):
        done = run("write_and_die_at", tmp_path / str(number), call, number)
        store = Store(tmp_path / str(number))
        keys = list(store.keys("units"))
        assert verify(store) == []
        if keys:
            assert store.entry("units", "aaaa").names() == ["part0", "part1"]
        whole.append(bool(keys))
        if done.returncode == 0:
            break
        assert done.returncode == -9, done.stderr
    else:
        pytest.fail("the program never came to its end")
    assert whole[0] is False
    assert whole[-1] is True
    assert whole == sorted(whole)


def test_two_writers_of_the_same_entries_at_once(tmp_path: Path):
    Store(tmp_path)
    command = [*PROGRAM, "write_same", str(tmp_path), "abcd", "20"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    racers = [subprocess.Popen(command, **pipes) for _ in range(3)]
    for racer in racers:
        out, err = racer.communicate()
        assert (out, err) == ("whole\n", "")
    store = Store(tmp_path)
    assert store.status()["units"] == 20
    assert verify(store) == []


@posix
def test_a_file_over_the_limit_is_an_error_and_leaves_nothing(tmp_path: Path):
    done = run("fill", tmp_path, "limit")
    assert done.returncode == 0, done.stderr
    assert "File too large" in done.stdout
    assert "ulimit -f" in done.stdout
    assert done.stdout.endswith("[] False\n")


@posix
@needs_mount
@pytest.mark.parametrize("way", ["bytes", "numpy", "safetensors", "torch", "polars"])
def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path: Path, way: str):
    out = run_on_small_disk(tmp_path / "disk", program("fill", tmp_path / "disk" / "store", way))
    assert f"cannot write {tmp_path}/disk/store/units/bb/" in out
    assert "No space left on device" in out
    assert "bytes free on this disk" in out
    assert "free space on this disk, or name a place on another one (--store" in out
    assert out.endswith("[] False\n")


@posix
@needs_mount
def test_a_read_only_store_can_be_read_and_says_so_when_written(tmp_path: Path):
    disk = tmp_path / "disk"
    make = f"{shlex.quote(sys.executable)} -c 'import sys; sys.path.insert(0, sys.argv[1]); import crash_work; "
    make += 'crash_work.write(crash_work.Store(crash_work.Path(sys.argv[2])), "aaaa", 1, 1000)\' '
    make += shlex.join([str(Path(__file__).parent), str(disk / "store")])
    out = run_on_small_disk(
        disk, make, f"mount -o remount,ro {shlex.quote(str(disk))}", program("read_only", disk / "store")
    )
    lines = dict(line.split(" -> ") for line in out.splitlines())
    assert sorted(lines) == ["discard", "lock", "study", "working", "write"]
    assert lines.pop("lock") == "not needed"
    assert all("Read-only file system" in line for line in lines.values())
