"""Random starts that depend on a seed alone: nothing is read from, or left in, global random state."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from transferscope.errors import ArchitectureError
from transferscope.frozen import derive_seed
from transferscope.networks.copies import copied

_NUMPY_SEEDS = 2**32  # numpy's legacy generator takes 32-bit seeds


@contextmanager
def isolated_randomness(seed: int) -> Iterator[None]:
    """Seed the CPU's global generators for a while; give them back as they were, also after an exception.

    Covers torch's CPU generator, and numpy's and Python's, which a user's own factory may draw from. New tensors are
    made on the CPU, so generators of accelerators are neither seeded nor drawn from.

    Args:
        seed: a non-negative integer below 2**63.

    Example:
        >>> with isolated_randomness(3):
        ...     a = torch.rand(2)
        >>> with isolated_randomness(3):
        ...     b = torch.rand(2)
        >>> bool((a == b).all())
        True
    """
    python_state, numpy_state = random.getstate(), np.random.get_state()
    # `torch.manual_seed` would also reseed every accelerator; the default generator is the CPU's alone.
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        try:
            torch.default_generator.manual_seed(seed)
            random.seed(seed)
            np.random.seed(seed % _NUMPY_SEEDS)
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)


@contextmanager
def randomness_untouched(*generators: object) -> Iterator[None]:
    """Give the global generators, and those of ``generators`` that are torch's, back as they were.

    Those of accelerators as well, where one is in use: none is started for it. Iterating any ``DataLoader`` draws from
    torch's: looking at networks must not change what the caller draws next.
    """
    kept = [(item, item.get_state()) for item in generators if isinstance(item, torch.Generator)]
    state, python, numpy = torch.get_rng_state(), random.getstate(), np.random.get_state()
    accelerators = [
        (module, module.get_rng_state_all()) for module in (torch.cuda, torch.xpu) if module.is_initialized()
    ]
    mps = torch.mps.get_rng_state() if torch.backends.mps.is_available() else None
    try:
        yield
    finally:
        for module, states in accelerators:
            module.set_rng_state_all(states)
        if mps is not None:
            torch.mps.set_rng_state(mps)
        torch.set_rng_state(state)
        random.setstate(python)
        np.random.set_state(numpy)
        for generator, before in kept:
            generator.set_state(before)


def redraw(model: nn.Module, name: str, seed: int) -> None:
    """Draw the parameters of one module again, in place, from ``derive_seed(seed, "head")``.

    PyTorch's own ``reset_parameters`` of the module and of its submodules is used, in order of registration, rather
    than the architecture's initialisation: it needs the module alone, so the values depend on the seed and on the
    module's shape and on nothing that was drawn before. That is what lets P-T[s] and RI-T[s] (and any two trunks with
    features of equal width) start with the same head. Values are drawn on the CPU and copied to where the parameters
    are; dtype, device, ``requires_grad`` and hooks stay.
    """
    target = model.get_submodule(name)
    fresh = copied(target).to(device="cpu", dtype=torch.float32)
    drawn = False
    with isolated_randomness(derive_seed(seed, "head")):
        for part, module in fresh.named_modules():
            own = any(True for _ in module.parameters(recurse=False))
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
                drawn = drawn or own
            elif own:
                raise ArchitectureError(
                    f"the head {name!r} cannot be drawn again",
                    expected="modules with reset_parameters(), such as nn.Linear",
                    got=f"{type(module).__name__} at {'.'.join(filter(None, (name, part)))!r}",
                    hint="set the architecture's `head` to the last linear module",
                )
    if not drawn:
        raise ArchitectureError(
            f"the head {name!r} has no parameters to draw again",
            got=type(target).__name__,
            hint="set the architecture's `head` to the module that gives one output per class",
        )
    with torch.no_grad():
        values = [*fresh.parameters(), *fresh.buffers()]
        for old, new in zip([*target.parameters(), *target.buffers()], values, strict=True):
            old.copy_(new)
