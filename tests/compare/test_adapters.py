"""Low-rank adapters, not merged, against the merged weights."""

import json
import math
from pathlib import Path

import pytest
import torch

from tests.compare.checkpoints import adapter, decoder, found, normal, numbers, written
from transferscope.errors import WeightsError
from transferscope.files.comparison_estimates import weight_notes
from transferscope.networks.adapters import read_adapter

MODULES = [f"model.layers.{layer}.self_attn.q_proj" for layer in range(2)]
WIDTH = 24


def factors(rank: int = 4, seed: int = 50) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    return {
        module: (normal(rank, WIDTH, seed=seed + at), normal(WIDTH, rank, seed=seed + 10 + at))
        for at, module in enumerate(MODULES)
    }


@pytest.mark.parametrize("rslora", [False, True])
def test_an_adapter_is_as_its_merged_weights(rslora: bool, tmp_path: Path) -> None:
    base, both = decoder(), factors()
    scale = 8 / (math.sqrt(4) if rslora else 4)
    merged = dict(base)
    for module, (down, up) in both.items():
        merged[f"{module}.weight"] = base[f"{module}.weight"] + scale * up @ down
    path = written(tmp_path / "base.safetensors", base)
    alone = found(path, adapter(tmp_path / "lora", both, r=4, lora_alpha=8, use_rslora=rslora))
    whole = numbers(found(path, written(tmp_path / "merged.safetensors", merged)))
    got = numbers(alone)
    for key in (("distance",), ("relative_change",), ("cosine",), ("changed_share",)):
        assert got[key].value == pytest.approx(whole[key].value, rel=1e-5), key
    for module in MODULES:
        for quantity in ("relative_change", "cosine", "share_of_change"):
            key = (f"module_{quantity}", module)
            assert got[key].value == pytest.approx(whole[key].value, rel=1e-5), key
        for quantity in ("stable_rank", "effective_rank"):
            key = (f"module_{quantity}", module, f"{module}.weight")
            # Merging rounds: the merged change has all ranks, a little.
            assert got[key].value == pytest.approx(whole[key].value, rel=1e-3), key
            assert got[key].value <= 4 + 1e-9
    assert alone.adapter
    assert any("leaves 6 tensors as they are" in note for note in weight_notes(alone))


def test_the_relative_change_of_all_weights_counts_those_the_adapter_leaves(tmp_path: Path) -> None:
    base = decoder()
    path = written(tmp_path / "base.safetensors", base)
    got = numbers(found(path, adapter(tmp_path / "lora", factors(), r=4, lora_alpha=4)))
    norm = torch.cat([value.double().reshape(-1) for value in base.values()]).norm()
    assert got["relative_change",].value == pytest.approx(got["distance",].value / float(norm), rel=1e-6)


def test_two_adapters_of_one_base(tmp_path: Path) -> None:
    one, other = factors(seed=50), factors(rank=6, seed=90)
    a = adapter(tmp_path / "a", one, r=4, lora_alpha=4)
    b = adapter(tmp_path / "b", other, r=6, lora_alpha=12)
    got = numbers(found(a, b))
    x, y = (
        torch.stack([scale * up @ down for down, up in each.values()]).double()
        for each, scale in ((one, 1), (other, 2))
    )
    assert got["relative_change",].value == pytest.approx(float((y - x).norm() / x.norm()), rel=1e-5)
    assert got["cosine",].value == pytest.approx(float((x * y).sum() / x.norm() / y.norm()), rel=1e-4)
    values = torch.linalg.svdvals((y - x)[0])
    stable = float(values.square().sum() / values[0] ** 2)
    assert got["module_stable_rank", MODULES[0], f"{MODULES[0]}.weight"].value == pytest.approx(stable, rel=1e-5)
    assert numbers(found(a, a))["distance",].value == 0


def test_layouts_of_convolutions_embeddings_and_transposed_weights(tmp_path: Path) -> None:
    base = {"conv.weight": normal(6, 5, 3, 3), "c_attn.weight": normal(7, 9), "wte.weight": normal(11, 4)}
    path = written(tmp_path / "base.safetensors", base)
    conv = adapter(
        tmp_path / "conv", {"conv": (normal(2, 5, 3, 3, seed=1), normal(6, 2, 1, 1, seed=2))}, r=2, lora_alpha=2
    )
    change = (normal(6, 2, seed=2) @ normal(2, 45, seed=1)).norm()
    assert numbers(found(path, conv))["distance",].value == pytest.approx(float(change), rel=1e-5)
    # GPT-2 stores inputs first; A reads 7 inputs, B gives 9 outputs.
    turned = adapter(
        tmp_path / "t", {"c_attn": (normal(2, 7), normal(9, 2, seed=1))}, r=2, lora_alpha=2, fan_in_fan_out=True
    )
    merged = dict(base) | {"c_attn.weight": base["c_attn.weight"] + (normal(9, 2, seed=1) @ normal(2, 7)).T}
    whole = numbers(found(path, written(tmp_path / "m.safetensors", merged)))
    got = numbers(found(path, turned))
    assert got["cosine",].value == pytest.approx(whole["cosine",].value, rel=1e-6)
    more = {
        "base_model.model.wte.lora_embedding_A": normal(2, 11),
        "base_model.model.wte.lora_embedding_B": normal(4, 2, seed=1),
    }
    table = adapter(tmp_path / "e", {}, more, r=2, lora_alpha=2)
    merged = dict(base) | {"wte.weight": base["wte.weight"] + (normal(4, 2, seed=1) @ normal(2, 11)).T}
    whole = numbers(found(path, written(tmp_path / "e.safetensors", merged)))
    assert numbers(found(path, table))["cosine",].value == pytest.approx(whole["cosine",].value, rel=1e-6)


def test_modules_to_save_take_the_place_of_the_bases(tmp_path: Path) -> None:
    base = decoder()
    path = written(tmp_path / "base.safetensors", base)
    more = {"base_model.model.lm_head.modules_to_save.weight": base["lm_head.weight"] + 1}
    got = numbers(found(path, adapter(tmp_path / "lora", factors(), more, r=4, lora_alpha=4)))
    assert got["module_distance", "lm_head"].value == pytest.approx(math.sqrt(50 * WIDTH), rel=1e-5)


def test_kohyas_alpha_lies_in_the_file_and_patterns_name_modules(tmp_path: Path) -> None:
    down, up = normal(4, WIDTH), normal(WIDTH, 4, seed=1)
    state = {
        f"{MODULES[0]}.lora_down.weight": down,
        f"{MODULES[0]}.lora_up.weight": up,
        f"{MODULES[0]}.alpha": torch.tensor(2.0),
    }
    path = written(tmp_path / "base.safetensors", decoder())
    got = numbers(found(path, written(tmp_path / "kohya.safetensors", state)))
    assert got["distance",].value == pytest.approx(float((0.5 * up @ down).norm()), rel=1e-5)
    folder = adapter(
        tmp_path / "p",
        factors(),
        r=9,
        lora_alpha=9,
        rank_pattern={"q_proj": 4},
        alpha_pattern={"layers.0.self_attn.q_proj": 40},
    )
    read = read_adapter(folder)
    assert read is not None
    first, second = read.changes.values()
    both = factors()
    assert torch.allclose(first.up, both[MODULES[0]][1] * 10)
    assert torch.allclose(second.up, both[MODULES[1]][1] * 9 / 4)


def test_what_cannot_be_read_says_why(tmp_path: Path) -> None:
    path = written(tmp_path / "base.safetensors", decoder())
    base_layer = {f"base_model.model.{MODULES[0]}.base_layer.weight": normal(WIDTH, WIDTH)}
    wrong = {MODULES[0]: (normal(4, 9), normal(9, 5))}
    cases = {
        "names no lora_alpha": adapter(tmp_path / "alpha", factors(), r=4),
        "do not belong together": adapter(tmp_path / "rank", factors(), r=8, lora_alpha=8),
        "no plain LoRA": adapter(tmp_path / "dora", factors(), r=4, lora_alpha=4, use_dora=True),
        "peft_type 'IA3'": adapter(tmp_path / "ia3", factors(), peft_type="IA3"),
        "pattern of ranks": adapter(tmp_path / "regex", factors(), r=4, lora_alpha=4, rank_pattern={"(a+)+$": 4}),
        "do not fit each other": adapter(tmp_path / "shape", wrong, r=4, lora_alpha=4),
        "no tensor of": adapter(tmp_path / "else", {"other.place": (normal(4, 9), normal(9, 4))}, r=4, lora_alpha=4),
        "its base in one file": adapter(tmp_path / "both", factors(), base_layer, r=4, lora_alpha=4),
    }
    for words, folder in cases.items():
        with pytest.raises(WeightsError, match=words):
            found(path, folder)
    damaged = adapter(tmp_path / "damaged", factors(), r=4, lora_alpha=4)
    (damaged / "adapter_config.json").write_text("{")
    with pytest.raises(WeightsError, match="is damaged"):
        found(path, damaged)
    (damaged / "adapter_config.json").unlink()
    lone = damaged / "adapter_model.safetensors"
    with pytest.raises(WeightsError, match="nothing tells the scale") as caught:
        found(path, lone)
    assert '"r": 4' in str(caught.value)
    (damaged / "adapter_config.json").write_text(json.dumps({"r": 4, "lora_alpha": 8}))
    assert numbers(found(path, lone))["distance",].value > 0
    with pytest.raises(WeightsError, match="is an adapter and"):
        found(damaged, path)


def test_an_adapter_of_another_width_is_listed_not_measured(tmp_path: Path) -> None:
    path = written(tmp_path / "base.safetensors", decoder())
    both = {MODULES[0]: factors()[MODULES[0]], MODULES[1]: (normal(4, 9), normal(9, 4))}
    got = found(path, adapter(tmp_path / "lora", both, r=4, lora_alpha=4))
    assert dict(got.reshaped) == {f"{MODULES[1]}.weight": ((WIDTH, WIDTH), (9, 9))}
