"""The ledger of advice: what every advice promised, and what its proof found; and decision rules on public tables.

    python -m tools.advice [--write]

``--write`` writes ``docs/advice.md`` and, where ``TRANSFERSCOPE_DATA`` names a folder with the public tables
(``selection/*.csv``: target, model, accuracy), ``docs/advice.csv`` with what the rules did on them.
"""

import argparse
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import polars as pl

from tools.results.markdown import table
from tools.selection_rules import RULES, evaluated, rules_for
from transferscope.analyses.estimates import COLUMNS

__all__ = ["Entry", "ledger", "page", "rules_table", "tables_of"]

DOCS = Path(__file__).parents[1] / "docs"
PROMISE, PROOF = "expected_regret", "proved_regret"
"""Quantities under which analyses keep what an advice promised and what its proof found."""
CONFIRMED = (1, 3)
ZOOS = {
    "supervised": "Supervised: 11 torchvision networks",
    "self_supervised": "Self-supervised: 12 pre-trainings of ResNet-50",
}
ALL = "(all)"
_NOT_COORDINATES = {"analysis", "quantity", "split", *COLUMNS}

_INTRODUCTION = (
    "An advice is decided on training and validation data. Before it is proved it promises an expected regret with a "
    "limit that holds with probability 0.9; then it is proved by training, on test data. Both are kept, whichever way "
    "it went. Written by `python -m tools.advice --write`."
)
_HOW = (
    "Which of several pre-trained networks should be fine-tuned? Each target is left out in turn: a rule ranks the "
    "networks by their accuracies on the other targets alone, the first 1 or 3 are trained on the target, and the best "
    "of them is taken. Regret is what the best network of the table has more, in points of test accuracy, with 95 % "
    "limits over targets (a jackknife: each target is dropped, and the rule made anew). Promised is, before a target "
    "is looked at, the mean regret on the other targets (each ranked without itself and without the target), and a "
    "limit by their largest regrets (conformal: with 10 other targets it covers 10 of 11, if targets are alike). A "
    "random choice is computed exactly, not drawn. All numbers by target: [advice.csv](advice.csv)."
)
_CAVEATS = """- One accuracy stands for each pair in the public tables: what seeds do is not in these regrets, and the
  best of several noisy accuracies looks better than it is.
- A ranking jumps where one target more or less changes it: limits of rules that rank are then wide.
- The targets are 11 well-known sets of photographs: a target unlike all of them is not covered by these limits.
- The self-supervised networks are all of one size: there is no largest one.
- Parameter counts are those in the metadata of torchvision's weights. The accuracies are those of a published
  comparison, not measured here."""

Outcome = Literal["right", "wrong", "undecided"]


@dataclass(frozen=True)
class Entry:
    """One advice with its proof.

    Attributes:
        study: in which it was given.
        analysis: that gave it.
        subject: of what: the coordinates of its promise.
        promised: the expected regret.
        limit: that the regret stays below, as promised; None where no limit was.
        proved: the regret on test data; None where it was not proved.
        low: its lower limit.
        high: its upper limit.
    """

    study: str
    analysis: str
    subject: str
    promised: float
    limit: float | None
    proved: float | None
    low: float | None
    high: float | None

    @property
    def outcome(self) -> Outcome:
        """``right``: the proved regret lies surely within the promised limit; ``wrong``: surely beyond it."""
        if self.limit is None or self.low is None or self.high is None:
            return "undecided"
        return "right" if self.high <= self.limit else "wrong" if self.low > self.limit else "undecided"

    @property
    def covered(self) -> bool | None:
        """Whether the proved value is within the promised limit; None where one of them is missing."""
        return None if self.limit is None or self.proved is None else self.proved <= self.limit


def ledger(estimates: Mapping[str, pl.DataFrame]) -> list[Entry]:
    """Every promise of a regret with its proof, by study, analysis and subject.

    Args:
        estimates: the table of estimates of each study, by its name.

    Raises:
        ValueError: an advice has two promises or two proofs.
    """
    entries = []
    for study, found in sorted(estimates.items()):
        if "quantity" not in found.columns:
            raise ValueError(f"the estimates of {study} have no column quantity, but {', '.join(found.columns)}")
        promises, proofs = (_by_subject(found.filter(pl.col("quantity") == key), study) for key in (PROMISE, PROOF))
        for (analysis, subject), promise in sorted(promises.items()):
            if promise["value"] is None:
                continue  # an advice that could not be given
            proof = proofs.get((analysis, subject), {})
            of_proof = (proof.get(name) for name in ("value", "low", "high"))
            entries.append(Entry(study, analysis, subject, promise["value"], promise["high"], *of_proof))
    return entries


def _by_subject(rows: pl.DataFrame, study: str) -> dict[tuple[str, str], dict[str, Any]]:
    """Rows of one quantity by analysis and coordinates, the split apart: proofs are on another one than promises."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows.iter_rows(named=True):
        at = {name: value for name, value in row.items() if name not in _NOT_COORDINATES and value is not None}
        subject = ", ".join(f"{name} {value}" for name, value in sorted(at.items()))
        key = (row["analysis"], subject)
        if key in found:
            raise ValueError(f"{study} has two rows of {row['quantity']} for {row['analysis']} ({subject}): expected 1")
        found[key] = row
    return found


def tables_of(folder: Path) -> dict[str, pl.DataFrame]:
    """The public tables: accuracies by zoo, a row for each target, a column for each model, both in the file's order.

    Args:
        folder: that holds ``supervised.csv`` and ``self_supervised.csv``.

    Raises:
        ValueError: a pair of target and model is missing or twice there.
    """
    found = {}
    for zoo in ZOOS:
        rows = pl.read_csv(folder / f"{zoo}.csv")
        wide = rows.pivot("model", index="target", values="accuracy", maintain_order=True)
        if wide.height * (wide.width - 1) != rows.height or any(column.null_count() for column in wide):
            raise ValueError(
                f"{folder / zoo}.csv: expected one accuracy for each target and model, got {rows.height} rows for "
                f"{wide.height} targets and {wide.width - 1} models"
            )
        found[zoo] = wide
    return found


def rules_table(tables: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """What every rule lost on every target, with what was promised of it; and the mean over targets.

    Args:
        tables: as :func:`tables_of` reads them.
    """
    rows: list[dict[str, Any]] = []
    for zoo, wide in tables.items():
        models = wide.columns[1:]
        accuracies = wide.select(models).to_numpy().astype(float)
        for rule, ranked in rules_for(models).items():
            for k in CONFIRMED:
                result = evaluated(accuracies, ranked, k)
                at = {"zoo": zoo, "rule": rule, "confirmed": k}
                for place, promise in enumerate(result.promises):
                    row = {**at, "target": wide["target"][place], "regret": result.regrets[place]}
                    limits = {"promised": promise.expected, "limit": promise.limit, "covered": result.kept[place]}
                    rows.append({**row, **limits})
                value, low, high = result.interval
                known = [kept for kept in result.kept if kept is not None]
                row = {**at, "target": ALL, "regret": value, "low": low, "high": high}
                expected = sum(promise.expected for promise in result.promises) / len(result.promises)
                rows.append({**row, "promised": expected, "covered": sum(known) / len(known) if known else None})
    numbers = dict.fromkeys(("regret", "low", "high", "promised", "limit", "covered"), pl.Float64())
    schema = {"zoo": pl.String(), "rule": pl.String(), "confirmed": pl.Int64(), "target": pl.String(), **numbers}
    return pl.DataFrame(rows, schema=schema).with_columns(pl.col(name).round(4) for name in numbers)


def page(entries: Iterable[Entry], rules: pl.DataFrame) -> str:
    """The page of the ledger.

    Args:
        entries: advice given in kept studies.
        rules: as :func:`rules_table`.
    """
    parts = ["# Advice and its proof", _INTRODUCTION, "## Advice in the kept studies", *_given(list(entries))]
    parts += ["## Decision rules on public tables of fine-tuned networks", _HOW]
    for zoo, title in ZOOS.items():
        parts += [f"### {title}", _rules(rules.filter(pl.col("zoo") == zoo))]
    parts.append(_CAVEATS)
    return "\n\n".join(parts) + "\n"


def _given(entries: list[Entry]) -> list[str]:
    if not entries:
        return [
            "**None so far.** No kept study under [results](results.md) holds an advice: no table of estimates there "
            f"has a row of `{PROMISE}`. Nothing can be said yet about how often advice was right, or how often its "
            "limits held."
        ]
    heads = ("study", "analysis", "subject", "promised", "90 % below", "proved (95 % limits)", "outcome", "in limit")
    rows = [
        (
            entry.study, entry.analysis, entry.subject, _number(entry.promised), _number(entry.limit),
            f"{_number(entry.proved)} ({_number(entry.low)} to {_number(entry.high)})", entry.outcome,
            "–" if entry.covered is None else "yes" if entry.covered else "no",
        )
        for entry in entries
    ]  # fmt: skip
    counted = {of: sum(entry.outcome == of for entry in entries) for of in ("right", "wrong", "undecided")}
    decided = [entry.covered for entry in entries if entry.covered is not None]
    said = ", ".join(f"{count} {of}" for of, count in counted.items())
    covered = "No regret was both promised with a limit and proved"
    if decided:
        covered = (
            f"{sum(decided)} of {len(decided)} proved regrets lie within their promised limits (90 % are promised)"
        )
    return [
        f"{len(entries)} given: {said}. {covered}.",
        table(heads, rows),
        "Regrets in units of the metric. Right: the proved regret is surely within the promised limit; wrong: surely "
        "beyond it; undecided: its interval holds the limit, or there is none.",
    ]


def _rules(rows: pl.DataFrame) -> str:
    heads = ("rule", "trained", "mean regret (95 % limits)", "largest", "promised", "within limit")
    lines = []
    for row in rows.filter(pl.col("target") == ALL).iter_rows(named=True):
        mine = (pl.col("rule") == row["rule"]) & (pl.col("confirmed") == row["confirmed"]) & (pl.col("target") != ALL)
        each = rows.filter(mine)
        largest = each.sort("regret", "target", descending=[True, False]).row(0, named=True)
        lines.append((
            RULES[row["rule"]], str(row["confirmed"]), f"{row['regret']:.2f} ({row['low']:.2f} to {row['high']:.2f})",
            f"{largest['regret']:.2f} ({largest['target']})", f"{row['promised']:.2f}",
            "–" if row["covered"] is None else f"{row['covered'] * each.height:.1f} of {each.height}",
        ))  # fmt: skip
    return table(heads, lines)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def kept(docs: Path = DOCS) -> str:
    """The page from what is kept in the repository.

    Args:
        docs: with ``advice.csv`` and ``results/*/estimates.csv``.
    """
    found = {
        path.parent.name: pl.read_csv(path, infer_schema_length=None)
        for path in sorted(docs.glob("results/*/estimates.csv"))
    }
    return page(ledger(found), pl.read_csv(docs / "advice.csv", infer_schema_length=None))


def main() -> None:
    """Print the page, or write it."""
    parser = argparse.ArgumentParser(prog="python -m tools.advice", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write docs/advice.md, and docs/advice.csv from real data")
    if not parser.parse_args().write:
        print(kept(), end="")
        return
    if (root := os.environ.get("TRANSFERSCOPE_DATA")) is not None:
        rules_table(tables_of(Path(root) / "selection")).write_csv(DOCS / "advice.csv")
    (DOCS / "advice.md").write_text(kept(), encoding="utf-8")


if __name__ == "__main__":
    main()
