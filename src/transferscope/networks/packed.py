"""Which rows of a packed attention projection belong to query, key and value."""

import torch
from torch import Tensor, nn

# Where timm and torchvision lay queries, keys and values out as equal thirds of the rows, one after the other.
_IN_THIRDS = """
    timm.layers.attention timm.layers.attention2d timm.layers.attention_pool2d timm.layers.diff_attention
    timm.models.beit timm.models.cait timm.models.coat timm.models.convit timm.models.davit timm.models.edgenext
    timm.models.eva timm.models.fastvit timm.models.hiera timm.models.hieradet_sam2 timm.models.maxxvit
    timm.models.metaformer timm.models.mvitv2 timm.models.nest timm.models.swin_transformer
    timm.models.swin_transformer_v2 timm.models.swin_transformer_v2_cr timm.models.twins
    timm.models.vision_transformer timm.models.vision_transformer_relpos timm.models.vision_transformer_sam
    timm.models.visformer timm.models.volo timm.models.xcit torchvision.models.maxvit
    torchvision.models.swin_transformer
"""
_THIRDS = frozenset(_IN_THIRDS.split())
_HALVES = frozenset(("timm.layers.attention_pool", "timm.models.pvt_v2", "timm.models.twins", "timm.models.volo"))
_PROJECTIONS = {"qkv": 3, "to_qkv": 3, "kv": 2}


def packed_rows(model: nn.Module) -> dict[str, tuple[Tensor, ...]]:
    """The rows of each part of every parameter that packs queries, keys and values.

    Known are ``nn.MultiheadAttention`` and the attentions of timm and torchvision whose layout is thirds (``qkv``),
    halves (``kv``), or thirds within each head. Others (TinyViT, LeViT, EfficientFormer, a user's own) are not listed:
    they are one matrix.

    Returns:
        Name of the parameter to its parts, int64 ``rows`` each: together every row once.

    Example:
        >>> rows = packed_rows(nn.Sequential(nn.MultiheadAttention(2, 1)))
        >>> [part.tolist() for part in rows["0.in_proj_weight"]]
        [[0, 1], [2, 3], [4, 5]]
    """
    found: dict[str, tuple[Tensor, ...]] = {}
    for name, module in model.named_modules():
        prefix = f"{name}." if name else ""
        if isinstance(module, nn.MultiheadAttention):
            for parameter in ("in_proj_weight", "in_proj_bias"):
                value = getattr(module, parameter)
                if value is not None:
                    found[prefix + parameter] = _thirds(len(value))
            continue
        origin = type(module).__module__
        for child, parts in _PROJECTIONS.items():
            projection = getattr(module, child, None)
            if origin not in (_THIRDS if parts == 3 else _HALVES) or not isinstance(projection, nn.Linear | nn.Conv2d):
                continue
            for parameter, value in projection.named_parameters(recurse=False):
                if len(value) % parts == 0:
                    found[f"{prefix}{child}.{parameter}"] = _layout(module, len(value), parts)
    return found


def _thirds(rows: int) -> tuple[Tensor, ...]:
    return torch.arange(rows).chunk(3)


def _layout(module: nn.Module, rows: int, parts: int) -> tuple[Tensor, ...]:
    heads = getattr(module, "num_heads", None)
    if getattr(module, "head_first", False) and isinstance(heads, int) and rows % (heads * parts) == 0:
        return torch.arange(rows).reshape(heads, parts, -1).transpose(0, 1).reshape(parts, -1).unbind(0)
    return torch.arange(rows).chunk(parts)
