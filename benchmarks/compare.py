"""Two checkpoints by their weights alone, beside modeldelta 0.4.4 on the same files: time, memory, agreement.

    python benchmarks/compare.py [--layers 8 --hidden 1024] [--folder DIR] [--json FILE]
    python benchmarks/compare.py --layers 32 --hidden 4096 --folder DIR   # 6.7 billion parameters, 13.5 GB a side

Both sides are synthetic decoders (bfloat16, safetensors in shards with an index). In attention the second one is moved
by matrices of rank 16, elsewhere by noise on all numbers; both as bfloat16 can hold it. ``transferscope compare A B
--json`` and the peer's ``compare_models`` run in processes of their own; what is measured is wall time, CPU time, and
the largest resident memory, mapped pages of files included. The peer decomposes every difference whole (up to 8,192
rows): wider than 2,048 it is given one layer, and its time is scaled by the number of parameters, which is said. Files
are removed in the end.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

VOCABULARY = 32_000
RANK = 16
SHARD = 2**32  # bytes
WHOLE = 2048  # up to that width the peer is given everything
PEER = """
import json, sys
from modeldelta.core.weight_diff import compare_models
index = [json.load(open(f"{folder}/model.safetensors.index.json"))["weight_map"] for folder in sys.argv[1:3]]
maps = [{name: f"{folder}/{part}" for name, part in one.items() if name.startswith(sys.argv[3])}
        for folder, one in zip(sys.argv[1:3], index)]
found, skipped = compare_models(*maps, min_params=1)
json.dump(found, open(sys.argv[4], "w"))
"""
WAIT = """
import resource, subprocess, sys, time
start = time.perf_counter()
with open(sys.argv[1], "w") as stream:
    subprocess.run(sys.argv[2:], stdout=stream, check=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(time.perf_counter() - start, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)
"""


def shapes(layers: int, hidden: int) -> dict[str, tuple[int, ...]]:
    inner = hidden * 11008 // 4096
    found: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (VOCABULARY, hidden)}
    for number in range(layers):
        at = f"model.layers.{number}"
        found |= {f"{at}.self_attn.{name}_proj.weight": (hidden, hidden) for name in "qkvo"}
        found |= {f"{at}.mlp.{name}_proj.weight": (inner, hidden) for name in ("gate", "up")}
        found |= {f"{at}.mlp.down_proj.weight": (hidden, inner)}
        found |= {f"{at}.{name}.weight": (hidden,) for name in ("input_layernorm", "post_attention_layernorm")}
    return found | {"model.norm.weight": (hidden,), "lm_head.weight": (VOCABULARY, hidden)}


def tensors(shape: tuple[int, ...], name: str, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    before = torch.randn(shape, generator=generator, dtype=torch.float32) * 0.02
    if "self_attn" in name:
        up, down = (torch.randn(size, generator=generator) for size in ((shape[0], RANK), (RANK, shape[1])))
        after = before + up @ down * (0.002 / RANK**0.5)
    else:
        after = before + torch.randn(shape, generator=generator) * 0.002
    return before.bfloat16(), after.bfloat16()


def write(folder: Path, layers: int, hidden: int) -> tuple[Path, Path]:
    """Both sides, a shard at a time."""
    sides = folder / "a", folder / "b"
    maps: tuple[dict[str, str], dict[str, str]] = ({}, {})
    held: tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]] = ({}, {})
    count = 0

    def flush() -> None:
        nonlocal count
        count += 1
        for side, there, state in zip(sides, maps, held, strict=True):
            side.mkdir(parents=True, exist_ok=True)
            part = f"part-{count:03d}.safetensors"
            save_file(state, side / part, metadata={"format": "pt"})
            there.update(dict.fromkeys(state, part))
            state.clear()

    for seed, (name, shape) in enumerate(shapes(layers, hidden).items()):
        held[0][name], held[1][name] = tensors(shape, name, seed)
        if sum(tensor.nbytes for tensor in held[0].values()) > SHARD:
            flush()
    flush()
    for side, there in zip(sides, maps, strict=True):
        (side / "model.safetensors.index.json").write_text(json.dumps({"weight_map": there}))
    return sides


def run(command: list[str], output: Path | None = None) -> dict[str, float]:
    """Seconds and the largest resident memory of a process.

    It is started by a small one: the resident maximum of a process counts that of the one it was started by.
    """
    done = subprocess.run(
        [sys.executable, "-c", WAIT, str(output or os.devnull), *command], stdout=subprocess.PIPE, text=True, check=True
    )
    seconds, cpu, peak = map(float, done.stdout.split())
    return {"seconds": seconds, "cpu": cpu, "peak_mb": peak}


def agreement(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> dict[str, float]:
    """Largest relative differences over the tensors that both have, one tensor to a module here."""
    values = {(row["quantity"], row["at"].get("module", "")): row for row in ours}
    apart = {"relative_change": 0.0, "cosine": 0.0, "effective_rank": 0.0, "outside": 0.0}
    names = {"relative_change": "frob_norm_relative", "cosine": "cosine_sim", "effective_rank": "effective_rank"}
    for row in theirs:
        module = row["name"].removesuffix(".weight")
        for quantity, name in names.items():
            mine = values.get((f"module_{quantity}", module))
            if mine is None or mine["value"] is None or name not in row:
                continue
            apart[quantity] = max(apart[quantity], abs(mine["value"] / row[name] - 1))
            if quantity == "effective_rank" and not mine["low"] <= row[name] <= mine["high"]:
                apart["outside"] += 1
    return apart


def error(a: Path, b: Path, ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> dict[str, float]:
    """Largest relative errors of the change and the cosine of a tensor, against double precision throughout."""
    mine = {(row["quantity"], row["at"].get("module", "")): row["value"] for row in ours}
    worst = dict.fromkeys(("ours, change", "ours, cosine", "modeldelta, change", "modeldelta, cosine"), 0.0)
    parts = [json.loads((side / "model.safetensors.index.json").read_text())["weight_map"] for side in (a, b)]
    for row in theirs:
        name, module = row["name"], row["name"].removesuffix(".weight")
        sides = []
        for side, where in zip((a, b), parts, strict=True):
            with safe_open(side / where[name], framework="pt") as stream:
                sides.append(stream.get_tensor(name).double().flatten())
        exact = {
            "change": float((sides[1] - sides[0]).norm() / sides[0].norm()),
            "cosine": float(sides[0] @ sides[1] / sides[0].norm() / sides[1].norm()),
        }
        found = {
            "ours, change": mine["module_relative_change", module],
            "ours, cosine": mine["module_cosine", module],
            "modeldelta, change": row["frob_norm_relative"],
            "modeldelta, cosine": row["cosine_sim"],
        }
        for key, value in found.items():
            worst[key] = max(worst[key], abs(value / exact[key.partition(", ")[2]] - 1))
    return worst


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--hidden", type=int, default=1024)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only-write", action="store_true", help="write the files and keep them")
    parser.add_argument("--peer-only", default="model.layers.0.", help="what a peer is given of a wide network")
    arguments = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="compare-"))
    need = sum(4 * torch.Size(shape).numel() for shape in shapes(arguments.layers, arguments.hidden).values())
    folder.mkdir(parents=True, exist_ok=True)
    ready = (folder / "b" / "model.safetensors.index.json").is_file()
    if not ready and shutil.disk_usage(folder).free < 1.2 * need:
        sys.exit(f"{folder} lacks room for {need / 1e9:.0f} GB")
    a, b = (folder / "a", folder / "b") if ready else write(folder, arguments.layers, arguments.hidden)
    if arguments.only_write:
        return
    try:
        measure(arguments, a, b, need // 4)
    finally:
        shutil.rmtree(folder)


def measure(arguments: argparse.Namespace, a: Path, b: Path, parameters: int) -> None:
    whole = arguments.hidden <= WHOLE
    result = a.parent / "ours.json"
    rows: dict[str, dict[str, float]] = {}
    for name, more in (("ours", []), ("ours, no ranks", ["--no-ranks"])):
        command = [sys.executable, "-m", "transferscope", "compare", str(a), str(b), "--json", "--quiet", *more]
        rows[name] = run(command, result if name == "ours" else None)
    print(f"{parameters / 1e9:.2f} billion parameters a side")
    document: dict[str, Any] = {"parameters": parameters, "layers": arguments.layers, "hidden": arguments.hidden}
    peer = a.parent / "peer.json"
    only = "" if whole else arguments.peer_only
    rows["modeldelta"] = run([sys.executable, "-c", PEER, str(a), str(b), only, str(peer)])
    if not whole:
        given = json.loads(peer.read_text())
        count = sum(torch.Size(row["shape"]).numel() for row in given)
        rows["modeldelta, scaled"] = {
            key: value * (1 if key == "peak_mb" else parameters / count) for key, value in rows["modeldelta"].items()
        }
        print(f"modeldelta was given {only}*: {len(given)} tensors of {count / 1e6:.0f} million numbers")
    for name, row in rows.items():
        print(f"{name:20}{row['seconds']:9.1f} s {row['cpu']:9.1f} CPU s {row['peak_mb']:9.0f} MB")
    estimates, given = json.loads(result.read_text())["estimates"], json.loads(peer.read_text())
    apart, worst = agreement(estimates, given), error(a, b, estimates, given)
    for title, values in (("apart from modeldelta", apart), ("error to double precision", worst)):
        print(f"largest relative {title}: " + ", ".join(f"{key} {value:.2g}" for key, value in values.items()))
    if arguments.json:
        document |= {"runs": rows, "apart": apart, "error": worst}
        arguments.json.write_text(json.dumps(document, indent=2))


if __name__ == "__main__":
    main()
