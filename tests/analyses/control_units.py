"""Units and tables of ``control`` as its tests ask for them."""

import polars as pl

from tests.report.synthetic import learning_curves_table, learning_rate_table
from tests.report.synthetic_starts import summary
from transferscope.analyses.control.analysis import ControlAnalysis
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.learning_rate.analysis import LearningRate
from transferscope.study.columns import schema

ONE = ControlAnalysis(methods=("permuted",))


def rates(tried=(0.02, 0.1, 0.5), best=0.1):
    rows = [
        {"variant": variant, "learning_rate": rate, "seed": 1000, "epochs": 3, "updates": 9, "diverged": False,
         "validation_metric": 0.8 - (rate != best) * 0.1, "validation_loss": 0.5}
        for variant in ("P_T", "RI_T") for rate in tried
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=schema(LearningRate.columns))


def tuned(best, tried=(0.02, 0.1, 0.5), method="permuted", lost=()):
    """Tuning rows of one control, and test rows that say the contrary: no choice may see them."""
    rows = [
        {"level": "tuning", "variant": method, "seed": 1000, "learning_rate": rate, "quantity": "metric", "n": 1,
         "split": split, "value": None if rate in lost else (0.8 if (rate == best) == (split == "validation") else 0.7),
         "loss": 0.5, "diverged": rate in lost}
        for rate in tried for split in ("validation", "test")
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=schema(ControlAnalysis.columns))


def expand(context, own=None, analysis=ONE, searched=None):
    tables = {LearningRate().key: rates() if searched is None else searched}
    if own is not None:
        tables[analysis.key] = own
    return list(analysis.tasks(context.study, Evidence(tables).for_decision()))


def settled_curves():
    """Curves that end flat."""
    table = learning_curves_table()
    flat = (
        pl.when(pl.col("epoch") >= 5).then(0.78 + 0.002 * (pl.col("epoch") % 2)).otherwise(pl.col("validation_metric"))
    )
    return table.with_columns(flat.alias("validation_metric"))


def told(table, curves=None):
    return summary("control", learning_rate_table(), settled_curves() if curves is None else curves, table)
