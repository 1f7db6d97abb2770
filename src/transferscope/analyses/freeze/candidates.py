"""Which numbers of first modules are worth a training: evenly spaced ones, and those that finished tables propose."""

from collections.abc import Iterable, Mapping, Sequence

import polars as pl

__all__ = ["even", "proposed_by_gradient", "proposed_by_tables"]


def even(modules: int, steps: int) -> list[int]:
    """Numbers of modules from some to all, evenly spaced.

    >>> even(9, 3), even(2, 5)
    ([3, 6, 9], [1, 2])
    """
    return sorted({max(1, round(step * modules / steps)) for step in range(1, steps + 1)})


def proposed_by_gradient(ratios: Mapping[str, float], share: float) -> int:
    """The most first modules that together hold at most a share of the relative gradient of all.

    Args:
        ratios: by module, from input to output.
        share: in (0, 1).

    >>> proposed_by_gradient({"a": 0.01, "b": 0.02, "c": 0.5, "d": 0.47}, 0.1)
    2
    """
    whole, so_far, count = sum(ratios.values()), 0.0, 0
    for ratio in ratios.values():
        so_far += ratio
        if so_far > share * whole:
            break
        count += 1
    return count


def proposed_by_tables(tables: Mapping[str, pl.DataFrame], modules: Sequence[str]) -> dict[str, int]:
    """The number of first modules that each finished table speaks for.

    ``rewind``: those that go back to their initial value without loss of the training metric, in every run of P-T;
    ``criticality``: those whose criticality is 0 in every run of P-T; ``probe``: up to the module of P at whose output
    a probe has the highest validation metric. Modules of another granularity count where one lies within the other.

    Args:
        tables: by the name of their analysis; those of other names are left out.
        modules: from input to output.
    """
    found: dict[str, int] = {}
    p_t = pl.col("variant") == "P_T"
    if "rewind" in tables:
        at_start = p_t & (pl.col("level") == "module") & (pl.col("target_value") == "initial")
        rows = tables["rewind"].filter(at_start & (pl.col("split") == "train"))
        found["rewind"] = _leading(modules, rows.select("module", ok=pl.col("verdict") == "kept"))
    if "criticality" in tables:
        rows = tables["criticality"].filter(
            p_t & (pl.col("level") == "module") & (pl.col("view") == "direct") & (pl.col("limit") == "own")
        )
        found["criticality"] = _leading(modules, rows.select("module", ok=pl.col("mu") == 0))
    if "probe" in tables:
        rows = tables["probe"].filter(
            (pl.col("level") == "network") & (pl.col("variant") == "P") & pl.col("validation_metric").is_not_null()
        )
        if not rows.is_empty():
            best = rows.sort("validation_metric", "position", descending=[True, False])["module"][0]
            places = [place for place, module in enumerate(modules) if _related(module, best)]
            # What enters the head is no module: everything before it.
            found["probe"] = places[-1] + 1 if places else len(modules)
    return found


def _leading(modules: Sequence[str], rows: pl.DataFrame) -> int:
    """How many modules from the first on are spoken for by every row of theirs, of which there is at least one."""
    fine: Iterable[tuple[str, bool | None]] = list(rows.iter_rows())
    for count, module in enumerate(modules):
        own = [ok for name, ok in fine if _related(module, name)]
        if not own or not all(own):
            return count
    return len(modules)


def _related(a: str, b: str) -> bool:
    return a == b or a.startswith(f"{b}.") or b.startswith(f"{a}.")
