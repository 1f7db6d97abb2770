"""Losses that rise far above their earlier level: as facts of a run, and in words."""

from collections.abc import Iterable, Mapping
from typing import Any

from transferscope.keys import shown

__all__ = ["spike_facts", "spike_note"]


def spike_facts(losses: Mapping[int, float]) -> dict[str, Any] | None:
    """The highest spike of one run.

    Args:
        losses: clean training loss by epoch; may be empty.

    Returns:
        ``epoch`` in which it begins, ``before`` (the level until then), ``peak`` and ``back`` (the epoch in which the
        loss is down at ``before`` again, or None); None where no loss rises far above its earlier level.
    """
    from transferscope.measures.curves import loss_spikes

    spikes = loss_spikes(losses) if losses else ()
    return vars(max(spikes, key=lambda spike: spike.peak)) if spikes else None


def spike_note(runs: Iterable[Mapping[str, Any]]) -> str:
    """What a reader is told of runs with a spike.

    Args:
        runs: each with ``variant, seed, learning_rate`` and what :func:`spike_facts` gives; at least one.
    """
    told = [
        f"{shown(run['variant'])}[{run['seed']}] at {run['learning_rate']:.3g} from {run['before']:.3g} to "
        f"{run['peak']:.3g} in epoch {run['epoch']}, "
        + ("and never back" if run["back"] is None else f"back in epoch {run['back']}")
        for run in runs
    ]
    return f"the training loss rose far above its earlier level: {'; '.join(told)}"
