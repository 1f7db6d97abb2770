"""Pooled features of all images, collected while networks run, and three further measures of similarity on them."""

from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor

from transferscope.measures.linear_similarity import canonical_correlation, decompose, procrustes_of
from transferscope.measures.rsa import dissimilarities, rank_scores, rsa_of

RSA_IMAGES = 1024
"""RSA looks at the first so many images: pairs grow with their square."""


@final
class PooledFeatures:
    """Takes pooled features batch by batch; compares like modules of all networks.

    Memory: 4 bytes for each image, channel, module and network; while a module is compared, 8 bytes for each pair of
    :data:`RSA_IMAGES` images and network.
    """

    def __init__(self) -> None:
        self._batches: dict[str, dict[str, list[Tensor]]] = {}

    def take(self, label: str, module: str, features: Tensor) -> None:
        """Keep a batch."""
        kept = features.detach().to("cpu", torch.float32, copy=True)
        self._batches.setdefault(module, {}).setdefault(label, []).append(kept)

    def compared(self) -> dict[tuple[str, str, str], Mapping[str, float | None]]:
        """Mean squared CCA with its chance level, Procrustes similarity and RSA, of all networks with each other.

        Returns:
            (first label, second label, module) to ``cca, cca_chance, procrustes, rsa``, both orders and a network with
            itself included; None where one is not defined.
        """
        found: dict[tuple[str, str, str], Mapping[str, float | None]] = {}
        for module, networks in self._batches.items():
            features = {label: torch.cat(batches) for label, batches in networks.items()}
            parts = {label: decompose(table) for label, table in features.items()}
            ranks = {}
            for label, table in features.items():
                apart = dissimilarities(table[:RSA_IMAGES]) if len(table) >= 3 else None
                ranks[label] = None if apart is None else rank_scores(apart)
            labels = list(features)
            for index, a in enumerate(labels):
                for b in labels[index:]:
                    first, second = parts[a], parts[b]
                    row: dict[str, float | None] = {"cca": None, "cca_chance": None, "procrustes": None, "rsa": None}
                    if first is not None and second is not None:
                        cca = canonical_correlation(first, second)
                        row |= {"cca": cca.value, "cca_chance": cca.chance, "procrustes": procrustes_of(first, second)}
                        row["rsa"] = rsa_of(ranks[a], ranks[b])
                    found[a, b, module] = found[b, a, module] = row
        return found
