"""Small checkpoints as they lie on disks."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from transferscope.analyses.estimates import Estimate
from transferscope.files.compare_weights import compare_weight_files
from transferscope.files.comparison_estimates import weight_estimates
from transferscope.methods.compare.weights_result import WeightsComparison
from transferscope.specs.architecture import FileWeights


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def decoder(seed: int = 0, layers: int = 2, width: int = 24) -> dict[str, Tensor]:
    """Names as of a language model's."""
    state = {"model.embed_tokens.weight": normal(50, width, seed=seed)}
    for layer in range(layers):
        for at, name in enumerate(("q_proj", "v_proj")):
            state[f"model.layers.{layer}.self_attn.{name}.weight"] = normal(width, width, seed=seed + 10 * layer + at)
        state[f"model.layers.{layer}.norm.weight"] = torch.ones(width)
    return state | {"lm_head.weight": normal(50, width, seed=seed + 99)}


def moved(state: Mapping[str, Tensor], seed: int = 7, by: float = 0.1) -> dict[str, Tensor]:
    return {name: value + by * normal(*value.shape, seed=seed + at) for at, (name, value) in enumerate(state.items())}


def written(path: Path, state: Mapping[str, Tensor]) -> Path:
    """By the end of its name: safetensors, or ``torch.save``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".safetensors":
        save_file({name: value.contiguous().clone() for name, value in state.items()}, path)
    else:
        torch.save(dict(state), path)
    return path


def sharded(folder: Path, state: Mapping[str, Tensor], parts: int = 3) -> Path:
    """A folder with an index."""
    names = list(state)
    where = {
        name: f"model-{at * parts // len(names) + 1:05d}-of-{parts:05d}.safetensors" for at, name in enumerate(names)
    }
    for part in set(where.values()):
        written(folder / part, {name: state[name] for name in names if where[name] == part})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    return folder


def adapter(
    folder: Path, factors: Mapping[str, tuple[Tensor, Tensor]], more: Mapping[str, Tensor] = {}, **config: object
) -> Path:
    """A folder of PEFT's: A and B by module."""
    state = dict(more)
    for module, (down, up) in factors.items():
        state[f"base_model.model.{module}.lora_A.weight"] = down
        state[f"base_model.model.{module}.lora_B.weight"] = up
    written(folder / "adapter_model.safetensors", state)
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", **config}))
    return folder


def found(
    a: Path, b: Path, which: tuple[str | None, str | None] = (None, None), *, ranks: bool = True
) -> WeightsComparison:
    return compare_weight_files(
        *(FileWeights(path=str(path), which=place) for path, place in zip((a, b), which, strict=True)), ranks=ranks
    )


def numbers(comparison: WeightsComparison) -> dict[tuple[str, ...], Estimate]:
    """By key and the coordinates that follow it."""
    return {(item.quantity, *map(str, item.at.values())): item for item in weight_estimates(comparison)}
