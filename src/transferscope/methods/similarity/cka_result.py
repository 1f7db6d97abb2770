"""What a comparison of networks by CKA gives."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from transferscope.errors import ModuleNameError, nearest
from transferscope.measures.cka import Kind
from transferscope.readable import readable


@readable
@dataclass(frozen=True)
class CkaResult:
    """CKA of every point of every network with every other.

    A *point* is a module's output, or one call of it (``relu#2``). Points are in the order of the networks, and in each
    network in the order of ``modules``.

    Attributes:
        values: ``points points``, float64, symmetric, in [-1, 1] up to rounding; 0 where ``null``.
        null: ``points points``, bool: CKA is not defined there.
        unusable: (label, module) to why a module chosen by granularity has no point (never called, no single tensor).
        dropped: how many were not: in a last batch too small for the estimator, or left out by the loader.
        last_batch: examples of the last batch counted; weighted accordingly where shorter.
        shuffled: the loader shuffles, so batches (not examples) differ from run to run, and CKA a little.
    """

    networks: tuple[str, ...]
    modules: Mapping[str, tuple[str, ...]]
    values: np.ndarray
    null: np.ndarray
    reasons: Mapping[tuple[str, str], str]
    unusable: Mapping[tuple[str, str], str]
    examples: int
    dropped: int
    batches: int
    batch_size: int
    last_batch: int
    shuffled: bool
    kind: Kind
    maps: str
    precision: str
    memory_format: str
    device: str

    def _span(self, label: str) -> slice:
        if label not in self.modules:
            raise ModuleNameError(f"there is no network {label!r} in this result", hint=nearest(label, self.networks))
        start = 0
        for name in self.networks:
            if name == label:
                break
            start += len(self.modules[name])
        return slice(start, start + len(self.modules[label]))

    def between(self, a: str, b: str) -> "np.ma.MaskedArray[Any, np.dtype[np.float64]]":
        """CKA of the points of one network with those of another.

        Returns:
            ``points points``, masked where CKA is not defined.
        """
        span = self._span(a), self._span(b)
        return np.ma.MaskedArray(self.values[span], mask=self.null[span])

    def rows(self) -> list[dict[str, str | float | None]]:
        """One row for each pair of points of each pair of networks (a network with itself included).

        Returns:
            Dictionaries of ``network_a, module_a, network_b, module_b, cka, reason``; ``cka`` is None where it is not
            defined, and ``reason`` then says why.
        """
        table: list[dict[str, str | float | None]] = []
        for index, a in enumerate(self.networks):
            for b in self.networks[index:]:
                values = self.between(a, b)
                mask = np.ma.getmaskarray(values)
                for i, module_a in enumerate(self.modules[a]):
                    for j, module_b in enumerate(self.modules[b]):
                        null = bool(mask[i, j])
                        why = self.reasons.get((a, module_a)) or self.reasons.get((b, module_b))
                        table.append(
                            {
                                "network_a": a,
                                "module_a": module_a,
                                "network_b": b,
                                "module_b": module_b,
                                "cka": None if null else float(values.data[i, j]),
                                "reason": why if null else None,
                            }
                        )
        return table
