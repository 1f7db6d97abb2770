"""Torch's own random numbers and kernels, fixed for a while and put back."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Torch's global generators of the CPU and of ``device`` start from ``seed``; their state is put back.

    Dropout and stochastic depth draw from them: seeded per epoch, a resumed training draws the same.
    """
    before = torch.get_rng_state()
    accelerator = _accelerator_state(device)
    try:
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        elif device.type == "mps":
            torch.mps.manual_seed(seed)
        yield
    finally:
        torch.set_rng_state(before)
        if accelerator is not None and device.type == "cuda":
            torch.cuda.set_rng_state(accelerator, device)
        elif accelerator is not None:
            torch.mps.set_rng_state(accelerator)


def _accelerator_state(device: torch.device) -> torch.Tensor | None:
    if device.type == "cuda":
        return torch.cuda.get_rng_state(device)
    return torch.mps.get_rng_state() if device.type == "mps" else None


@contextmanager
def deterministic_kernels() -> Iterator[None]:
    """cuDNN picks deterministic kernels, always the same ones; its settings are put back."""
    before = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    try:
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
        yield
    finally:
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = before
