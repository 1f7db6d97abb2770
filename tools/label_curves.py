"""How well curves of labels extrapolate: recorded ones of language models, fitted to small sizes, judged on larger.

``python -m tools.label_curves docs/label-curves.md`` writes the page anew, from the folder that ``TRANSFERSCOPE_DATA``
names: ``label_curves/flan.csv`` and ``gigaword.csv``, with ``model, parameters, examples, test_loss``.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from transferscope.measures.label_curve import label_curve
from transferscope.measures.label_families import FAMILIES, fit_family

TASKS = ("flan", "gigaword")
BUDGETS = (5, 8, 10)
"""How many of the 14 sizes, from 200 examples on, each double the last, a curve is fitted to."""
FACTORS = (2, 4, 8)
COLUMNS = ("sizes", "task", "factor", "curves", "chosen", "power law", "last value", "covered")
_TEXT = """# How well curves of labels extrapolate

The curves behind `label_budget` (`measures.label_curve`) on recorded losses of 30 language models, each fine-tuned on
two tasks (flan, gigaword) with 200 to 1,638,400 examples, one run at each size. A curve is fitted to the first sizes
alone, the family chosen by its error on the largest quarter of these, and judged at 2, 4 and 8 times the largest
of them. Rivals: a plain power law without a floor, and the last value. Numbers are median relative errors of the
loss over curves, in per cent; *covered* is the share of curves whose loss lies within the 95 % limits, which rest on
resampled points and on how far earlier forecasts of the same curve went astray, as there is one run at each size.
How the limits are made was settled while looking at these curves, so that their coverage here is no independent check
and likely better than on others.

Written by `python -m tools.label_curves docs/label-curves.md`; a test holds the numbers.

"""


def recorded(
    folder: Path, tasks: Sequence[str] = TASKS
) -> Iterator[tuple[str, npt.NDArray[np.float64], npt.NDArray[np.float64]]]:
    """Task, sizes and losses of each curve; what was measured without any example is left out."""
    for task in tasks:
        rows = pl.read_csv(folder / "label_curves" / f"{task}.csv").filter(pl.col("examples") > 0)
        for _, own in rows.sort("examples").group_by("model", maintain_order=True):
            yield task, own["examples"].to_numpy().astype(np.float64), own["test_loss"].to_numpy()


def judged(folder: Path, budgets: Sequence[int] = BUDGETS, tasks: Sequence[str] = TASKS) -> pl.DataFrame:
    """One row for each number of sizes, task and factor."""
    rows = []
    for task, sizes, losses in recorded(folder, tasks):
        for count in budgets:
            n, known = sizes[:count], losses[:count]
            curve, power = label_curve(n, known), fit_family(FAMILIES[0], n, known)
            for factor in FACTORS:
                at = int(np.flatnonzero(sizes == factor * n[-1])[0])
                forecast, truth = curve.error_at(sizes[at]), losses[at]
                guesses = (forecast.value, float(power([sizes[at]])[0, 0]), known[-1])
                wrong = [abs(guess / truth - 1) for guess in guesses]
                rows.append((count, task, factor, *wrong, forecast.low <= truth <= forecast.high))
    names = ["sizes", "task", "factor", "chosen", "power law", "last value", "covered"]
    found = pl.DataFrame(rows, schema=names, orient="row")
    summed = found.group_by("sizes", "task", "factor", maintain_order=True).agg(
        pl.len().alias("curves"), pl.col("chosen", "power law", "last value").median(), pl.col("covered").mean()
    )
    return summed.sort("sizes", "task", "factor").select(COLUMNS)


def page(table: pl.DataFrame) -> str:
    """The page that shows the table, and what it comes to."""
    shown = table.with_columns(pl.col("chosen", "power law", "last value", "covered") * 100)
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    rows = ([f"{cell:.1f}" if isinstance(cell, float) else str(cell) for cell in row] for row in shown.iter_rows())
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    better = table.filter(pl.col("chosen") < pl.col("power law") - 5e-4).height
    worse = table.filter(pl.col("chosen") > pl.col("power law") + 5e-4).height
    last = table.filter(pl.col("last value") > pl.max_horizontal("chosen", "power law")).height
    held, curves = table["covered"].to_list(), table["curves"].to_list()
    covered = 100 * sum(share * count for share, count in zip(held, curves, strict=True)) / sum(curves)
    least = table.sort("covered", maintain_order=True).row(0, named=True)
    said = (
        f"The chosen family errs less than the plain power law in {better} of the {table.height} rows and more in "
        f"{worse} (by more than\n0.05 % of the loss); the last value errs most in {last}. The 95 % limits hold "
        f"{covered:.0f} % of the time over all rows, and least\n"
        f"often, {100 * least['covered']:.0f} %, for {least['sizes']} sizes of {least['task']} at {least['factor']} "
        "times the largest: there the limits are too narrow. Curves that begin\nto fall faster just beyond the sizes "
        "that are known give no sign of it before.\n"
    )
    return _TEXT + "\n".join(lines) + "\n\n" + said


if __name__ == "__main__":
    if "TRANSFERSCOPE_DATA" not in os.environ:
        sys.exit("set TRANSFERSCOPE_DATA to the folder that holds label_curves/flan.csv and label_curves/gigaword.csv")
    Path(sys.argv[1]).write_text(page(judged(Path(os.environ["TRANSFERSCOPE_DATA"]))), encoding="utf-8")
