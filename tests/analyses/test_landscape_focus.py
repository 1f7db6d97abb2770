"""What lies before the moving parameters is kept: the same bits as full passes, whatever the memory."""

import pytest
import timm
import torch
from torch import nn

from transferscope.methods.evaluation import Evaluation
from transferscope.methods.landscape.landscape import Landscape
from transferscope.networks.modules import parts_parameters

NETWORKS = {
    "resnet": ("resnet18", {"layers": (1, 2, 1, 1), "channels": (4, 8, 8, 16)}),
    "vit": ("vit_tiny_patch16_224", {"img_size": 32, "depth": 3, "embed_dim": 16, "num_heads": 2}),
    "convnext": ("convnext_atto", {"depths": (1, 1, 2, 1), "dims": (4, 8, 8, 16)}),
    "efficientnet": ("test_efficientnet", {}),
    "densenet": ("densenet121", {"block_config": (2, 2), "growth_rate": 4}),
    "swin": (
        "swin_tiny_patch4_window7_224",
        {"img_size": 32, "window_size": 4, "depths": (1, 2), "num_heads": (1, 2), "embed_dim": 8},
    ),
}


def network(name: str, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    kind, options = NETWORKS[name]
    return timm.create_model(kind, num_classes=3, **options).eval()


def batches(seed: int, sizes: tuple[int, ...] = (5, 5, 3)) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    return [
        (torch.randn(n, 3, 32, 32, generator=generator), torch.randint(3, (n,), generator=generator)) for n in sizes
    ]


def landscape(name: str) -> Landscape:
    return Landscape(
        [network(name, 0), network(name, 1)],
        {"train": batches(1), "test": batches(2)},
        evaluation=Evaluation(recompute_on=batches(3), device="cpu"),
    )


@pytest.mark.parametrize(
    ("name", "memory"),
    [
        *((name, 1024) for name in NETWORKS),
        # Without memory nothing is kept, and what passes the cut is computed each time: the same way for all networks.
        *(pytest.param(n, 0, marks=() if n in ("resnet", "vit") else pytest.mark.slow) for n in NETWORKS),
    ],
)
def test_kept_and_full_passes_are_equal_to_the_last_bit(name: str, memory: int) -> None:
    plain, kept = landscape(name), landscape(name)
    parts = parts_parameters(plain.network, "block")
    words = []
    for part in [*list(parts)[:: max(1, len(parts) // 3)], list(parts)[-1]]:
        names = parts[part]
        words.append(kept.focus(names, memory=memory))
        for alpha in (0.0, 0.4, 1.0):
            for land in (plain, kept):
                land.combine((1 - alpha, alpha), only=names)
            wanted, found = plain.evaluate(), kept.evaluate()
            for split in wanted:
                assert (wanted[split].losses == found[split].losses).all(), (part, alpha)
                assert (wanted[split].errors == found[split].errors).all()
    assert any(text.startswith("kept before") for text in words), words


def test_a_network_that_keeps_values_of_its_weights_is_evaluated_where_it_is() -> None:
    torch.manual_seed(0)
    options = {"img_size": 32, "embed_dim": (16, 16, 16), "num_heads": (2, 2, 2), "depth": (1, 1, 1), "key_dim": 8}
    networks = [timm.create_model("levit_128s", num_classes=3, **options).eval() for _ in range(2)]
    with torch.no_grad():
        for parameter in (*networks[0].parameters(), *networks[1].parameters()):
            parameter.normal_(std=0.5)  # some start at 0, which would hide it
    plain, kept = (
        Landscape(networks, {"test": batches(2)}, evaluation=Evaluation(batch_norm="none", device="cpu"))
        for _ in range(2)
    )
    bias = next(name for name in plain.parameters if "attention_biases" in name)
    assert kept.focus([bias]).startswith("kept before")
    found = []
    for alpha in (0.0, 1.0, 0.5):
        for land in (plain, kept):
            land.combine((1 - alpha, alpha), only={bias})
        found.append(kept.evaluate()["test"].losses)
        assert (found[-1] == plain.evaluate()["test"].losses).all()
    assert (found[0] != found[1]).any()


def test_what_lies_before_is_run_once_and_within_the_memory() -> None:
    land = landscape("resnet")
    names = parts_parameters(land.network, "block")["fc"]
    land.focus(names, memory=1)
    for alpha in (0.0, 0.5, 1.0):
        land.combine((1 - alpha, alpha), only=names)
        land.evaluate()
    assert land.prefix is not None
    assert land.prefix.runs == {"run": 9, "kept": 18}
    assert 0 < land.prefix.kept_bytes <= 2**20


def test_a_change_before_the_cut_is_noticed() -> None:
    plain, kept = landscape("resnet"), landscape("resnet")
    kept.focus(parts_parameters(kept.network, "block")["fc"])
    kept.combine((1.0, 0.0))
    kept.evaluate()
    for land in (plain, kept):
        land.combine((0.0, 1.0))
    assert (plain.evaluate()["test"].losses == kept.evaluate()["test"].losses).all()


def test_statistics_kept_as_they_are_allow_it_too() -> None:
    networks = [network("resnet", 0), network("resnet", 1)]
    plain, kept = (
        Landscape(networks, {"test": batches(2)}, evaluation=Evaluation(batch_norm="none", device="cpu"))
        for _ in range(2)
    )
    names = parts_parameters(plain.network, "block")["layer4.0"]
    assert kept.focus(names) == "kept before layer4.0 (graph)"
    for alpha in (0.0, 0.5, 1.0):
        for land in (plain, kept):
            land.combine((1 - alpha, alpha), only=names)
        assert (plain.evaluate()["test"].losses == kept.evaluate()["test"].losses).all()


def test_interpolated_statistics_take_full_passes() -> None:
    land = Landscape(
        [network("resnet", 0)], {"test": batches(2)}, evaluation=Evaluation(batch_norm="interpolate", device="cpu")
    )
    assert land.focus(["fc.weight"]) == "full pass (batch norm: interpolate)"
    assert land.focus(None) == "full pass"
