"""Programs that tests start and then hinder: each is run as ``python -m``-like script with arguments."""

import os
import random
import signal
import sys
import threading
import time
from pathlib import Path

from transferscope.errors import StoreError
from transferscope.store import Store


def content(key: str, name: str, size: int) -> bytes:
    return random.Random(f"{key} {name}").randbytes(size)


def write(store: Store, key: str, files: int = 4, size: int = 50_000) -> None:
    with store.entry("units", key).write({"key_again": key}) as folder:
        for number in range(files):
            (folder / f"part{number}").write_bytes(content(key, f"part{number}", size))


def write_until_killed(root: str, seconds: str) -> None:
    """Kill this very process after a delay, at whatever line it then is."""
    store = Store(Path(root))
    threading.Thread(
        target=lambda: (time.sleep(float(seconds)), os.kill(os.getpid(), signal.SIGKILL)), daemon=True
    ).start()
    for number in range(100_000):
        write(store, f"{os.getpid() % 256:02x}{number:06x}")


def write_and_die_at(root: str, call: str, number: str) -> None:
    """Die at the n-th call of one function of ``os``, before it does anything."""
    store = Store(Path(root))
    left, real = int(number), getattr(os, call)

    def dying(*args: object, **options: object) -> object:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **options)

    setattr(os, call, dying)
    write(store, "aaaa", files=2)
    print("whole")


def write_same(root: str, key: str, times: str) -> None:
    """Race with others of our kind for the same entries, without a lock."""
    store = Store(Path(root))
    for number in range(int(times)):
        write(store, f"{key}{number:02x}", files=2, size=1000)
    print("whole")


def fill(root: str, way: str) -> None:
    """Write one entry too large for what the disk, or the limit, allows; say what happened."""
    store = Store(Path(root))
    write(store, "aaaa", files=1, size=1000)
    if way == "limit":
        import resource

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        way = "bytes"
    try:
        with store.entry("units", "bbbb").write() as folder:
            _fill(folder, way, 4_000_000)
    except StoreError as error:
        print(error)
    print([path.name for path in (store.root / "units" / "bb").iterdir()], store.entry("units", "bbbb").exists())
    if way in ("bytes", "numpy", "safetensors", "polars", "torch"):
        assert store.entry("units", "aaaa").read_bytes("part0") == content("aaaa", "part0", 1000)


def _fill(folder: Path, way: str, size: int) -> None:
    if way == "bytes":
        (folder / "big").write_bytes(bytes(size))
    elif way == "numpy":
        import numpy as np

        np.save(folder / "big.npy", np.zeros(size, np.uint8))
    elif way == "safetensors":
        import torch
        from safetensors.torch import save_file

        save_file({"w": torch.zeros(size, dtype=torch.uint8)}, folder / "big.safetensors")
    elif way == "torch":
        import torch

        torch.save({"w": torch.zeros(size, dtype=torch.uint8)}, folder / "big.pt")
    elif way == "polars":
        import numpy as np
        import polars as pl

        noise = np.random.default_rng(0).random(size // 8)
        pl.DataFrame({"x": noise}).write_parquet(folder / "big.parquet")


def read_only(root: str) -> None:
    """Use a store that can only be read."""
    store = Store(Path(root))
    assert store.entry("units", "aaaa").read_bytes("part0") == content("aaaa", "part0", 1000)
    actions = {
        "write": lambda: write(store, "bbbb"),
        "lock": lambda: store.lock("a", wait=0).__enter__(),
        "working": lambda: store.working("units", "bbbb"),
        "study": lambda: store.study("s0s0"),
        "discard": lambda: store.discard("units", "aaaa"),
    }
    for name, action in actions.items():
        try:
            action()
            print(name, "-> not needed")
        except StoreError as error:
            print(name, "->", error.what)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
