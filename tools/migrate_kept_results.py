"""Bring the kept results of earlier versions to keyed estimates; nothing is trained or measured again.

``python tools/migrate_kept_results.py docs/results > changes.txt``

Numbers that are functions of kept tables (statistics of pairs of networks) are computed again, with every measured
pair; all others keep their value and get a key: the template of the quantity whose words they have. A number that no
template explains is an error. What changed is printed: study, number, old and new, and why.
"""

import hashlib
import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from tools.results.evidence_tables import ESTIMATES, table_bytes
from transferscope.analyses.contract import AbstractAnalysis
from transferscope.analyses.estimates import Estimate, Quantity, frame
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.summary import Summary
from transferscope.context.members import shown
from transferscope.report.results_file import estimates_as_json
from transferscope.study.columns import schema
from transferscope.study.file import load_study
from transferscope.study.registry import analysis_type

RECOMPUTED: Mapping[str, tuple[str, ...] | None] = {
    "distance": None,
    "similarity": ("cka", "cka_gap"),
    "mistakes": ("kappa", "kappa_gap", "kappa_within"),
    "path": ("error_barrier", "loss_barrier", "error_barrier_per_l2", "loss_barrier_per_l2"),
    "block_shuffle": None,
}
"""Analyses whose kept tables hold what these of their quantities (all where None) are computed from."""

_VARIANT = {shown(name): name for name in ("RI", "P", "RI_T", "P_T", "RI_T_long")}


def keyed(analysis: type[AbstractAnalysis], row: dict[str, Any]) -> Estimate:
    """An old number under its key."""
    for quantity in sorted(analysis.quantities, key=lambda item: -len(re.sub(r"\{\w+[^}]*\}", "", item.words))):
        if (at := matched(quantity, row["name"])) is not None:
            break
    else:
        raise SystemExit(f"no quantity of {analysis.name} has the words {row['name']!r}")
    note = row["note"] or ""
    flags = []
    basis, low, high = row["basis"], row["low"], row["high"]
    if basis == "range" or (row["n"] in (1, 2) and basis is None and row["value"] is not None and "pair" in note):
        flags.append("too_few_seeds")
    if "still improving" in note:
        flags.append("still_improving")
    if basis == "seeds" and low is not None and low == high:
        flags.append("no_spread")
        basis = low = high = None
    return Estimate(
        quantity.key,
        at,
        row["value"],
        low,
        high,
        basis,
        row["n"],
        row["unit"],
        quantity.named(at),
        note,
        flags=tuple(flags),
    )  # type: ignore[arg-type]


def matched(quantity: Quantity, name: str) -> dict[str, str | float] | None:
    """The coordinates with which a quantity has these words; None where it never has."""
    names = re.findall(r"\{(\w+)([^}]*)\}", quantity.words)
    pattern, seen = "", set()
    for part in re.split(r"(\{\w+[^}]*\})", quantity.words):
        field = re.fullmatch(r"\{(\w+)[^}]*\}", part)
        if field is None:
            pattern += re.escape(part)
        elif field[1] in seen:
            pattern += f"(?P={field[1]})"
        else:
            seen.add(field[1])
            pattern += f"(?P<{field[1]}>{spelt(quantity, field[1])})"
    found = re.fullmatch(pattern, name)
    if found is None:
        return None
    at: dict[str, str | float] = {}
    for each, number in names:
        value = found[each]
        if each in ("variant", "rival"):
            value = _VARIANT.get(value, value)
        keys = {words: key for key, words in quantity.labels.get(each, {}).items()}
        at[each] = float(value) if number else keys.get(value, value)
    return at


def spelt(quantity: Quantity, coordinate: str) -> str:
    """How a coordinate may be spelt in the words of a quantity; one that may be left out has no other values."""
    words = sorted(quantity.labels.get(coordinate, {}).values(), key=len, reverse=True)
    return "|".join([*map(re.escape, words), *([] if "" in words else [".+?"])])


def recomputed(analysis: AbstractAnalysis, table: pl.DataFrame) -> Summary:
    """What the analysis says of its kept table; columns that were not kept are null."""
    columns = schema(analysis.columns)
    if analysis.name == "similarity":
        table = table.with_columns(pl.col("module").alias("module_a"), pl.col("module").alias("module_b"))
        table = table.with_columns(position_a="position", position_b="position", batch=pl.lit(0))
    if analysis.name == "block_shuffle":
        # Whether any training of RI-T still improved is kept with the mean over them.
        told = (pl.col("level") == "variant") & (pl.col("variant") == "RI_T")
        table = pl.concat([table, table.filter(told).with_columns(pl.lit("network").alias("level"), diverged=False)])
    if analysis.name == "path" and "n" not in table.columns:
        table = table.with_columns(n="examples")
    kept = [pl.col(name).cast(kind, strict=False) for name, kind in columns.items() if name in table.columns]
    lacking = [pl.lit(None, kind).alias(name) for name, kind in columns.items() if name not in table.columns]
    return analysis.summarise(table.select(*kept, *lacking).select(*columns), Evidence())


def migrated(analysis: AbstractAnalysis, old: pl.DataFrame, tables: Mapping[str, pl.DataFrame]) -> Summary:
    """The numbers of one analysis under their keys; an empty verdict where it stays."""
    rows = list(old.iter_rows(named=True))
    for index, row in enumerate(rows):
        if analysis.name == "outcome" and " − " in row["name"]:
            # Of each gap the number over seeds came first, that over examples after it.
            over = (
                "examples" if any(row["name"] == before["name"] for before in old.rows(named=True)[:index]) else "seeds"
            )
            row["name"] = row["name"].replace(", test)", f", test, over {over})")
    estimates = {place(item): item for item in (keyed(type(analysis), row) for row in rows)}
    estimates = {at: flagged(analysis.name, item, tables) for at, item in estimates.items()}
    if analysis.name not in RECOMPUTED or analysis.name not in tables:
        return Summary("", tuple(estimates.values()))
    chosen, summary = RECOMPUTED[analysis.name], recomputed(analysis, tables[analysis.name])
    for item in summary.estimates:
        if (chosen is None or item.quantity in chosen) and (analysis.name != "path" or item.at["split"] == "test"):
            # An old number lacks the coordinates that its words do not name.
            old_place = next((at for at, before in estimates.items() if before.name == item.name), place(item))
            before = estimates.pop(old_place, None)
            estimates[place(item)] = item if before is None else unless_rounding(before, item)
    return Summary(summary.verdict, tuple(estimates.values()))


def place(item: Estimate) -> tuple[str, tuple[tuple[str, Any], ...]]:
    """Key and coordinates."""
    return item.quantity, tuple(sorted((name, str(value)) for name, value in item.at.items()))


def flagged(name: str, item: Estimate, tables: Mapping[str, pl.DataFrame]) -> Estimate:
    """Flags and coordinates that the words do not tell."""
    if name != "learning_curves":
        return item
    if item.quantity == "speed_gap":
        return replace(item, at={**item.at, "at_rate": "own"})
    if item.quantity == "final_gap":
        rival = tables["learning_curves"].filter(pl.col("variant") == item.at["rival"])["improving"]
        flag = "still_improving" if True in set(rival) else "too_few_epochs" if None in set(rival) else None
        return replace(item, flags=tuple(dict.fromkeys((*item.flags, *([flag] if flag else [])))))  # type: ignore
    return item


def migrate(folder: Path) -> Iterator[str]:
    """Rewrite one study's folder; yields a line for each number that changed."""
    study = load_study(folder / "study.yaml", allow_code=True)
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    tables = {
        path.stem: pl.read_csv(path, infer_schema_length=None)
        for path in sorted(folder.glob("*.csv"))
        if not path.stem.endswith("-numbers") and path.stem not in ("headline", ESTIMATES)
    }
    settings = {item.name: item for item in study.analyses}
    found: dict[str, tuple[Estimate, ...]] = {}
    for item in summary["analyses"]:
        old = folder / f"{item['slug']}-numbers.csv"
        if not old.exists():
            continue
        numbers = pl.read_csv(old, infer_schema_length=None).with_columns(
            pl.col("value", "low", "high").cast(pl.Float64)
        )
        analysis = settings.get(item["name"]) or analysis_type(item["name"])()
        new = migrated(analysis, numbers, tables)
        found[item["slug"]] = tuple(rounded(each) for each in new.estimates)
        item["verdict"] = new.verdict or item["verdict"]
        yield from changes(folder.name, item["slug"], numbers, found[item["slug"]])
        old.unlink()
    gaps = tuple(each for each in found["outcome"] if each.quantity == "gap")
    summary["gap"] = estimates_as_json(gaps)
    files = {
        f"{ESTIMATES}.csv": table_bytes(frame(found)),
        "summary.json": (json.dumps(summary, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode(),
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    manifest["files"] = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
        if path.name != "manifest.json"
    }
    text = json.dumps(manifest, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    (folder / "manifest.json").write_text(text, encoding="utf-8")


def unless_rounding(before: Estimate, item: Estimate) -> Estimate:
    """The number as it was where computing it again from six digits gives no other one."""
    was, now = ([getattr(each, name) for name in ("value", "low", "high")] for each in (before, item))
    if before.basis == item.basis and alike(was, now):
        return replace(item, value=was[0], low=was[1], high=was[2])
    return item


def alike(was: list[Any], now: list[Any]) -> bool:
    """Whether numbers differ by no more than what was rounded before an interval was taken."""
    scale = max((abs(value) for value in was if value is not None), default=0.0)
    return all(a == b or (None not in (a, b) and abs(a - b) <= 2e-5 * scale) for a, b in zip(was, now, strict=True))


def rounded(item: Estimate) -> Estimate:
    """Six digits, as everything kept."""
    names = ("value", "low", "high", "simultaneous_low", "simultaneous_high")
    values = {name: getattr(item, name) for name in names}
    return replace(item, **{name: None if value is None else float(f"{value:.6g}") for name, value in values.items()})


def changes(study: str, slug: str, old: pl.DataFrame, new: tuple[Estimate, ...]) -> Iterator[str]:
    """What is not as it was, with the reason."""
    before = {row["name"]: row for row in old.iter_rows(named=True)} if slug != "outcome" else {}
    for item in new:
        row = before.pop(item.name, None)
        if row is None:
            continue
        was, now = [[of[name] for name in ("value", "low", "high", "n")] for of in (row, vars(item))]
        if not alike(was, now) and spelled(was) != spelled(now):
            reason = "no spread" if "no_spread" in item.flags else "all pairs of seeds"
            yield f"{study} | {slug} | {item.name} | {spelled(was)} | {spelled(now)} | {reason}"
    values = {(item.value, item.low, item.high): item.name for item in new}
    for name, row in before.items():
        now = values.get((row["value"], row["low"], row["high"]))
        yield f"{study} | {slug} | {name} | " + ("gone" if now is None else f"is now called: {now}")


def spelled(values: list[Any]) -> str:
    """Value, limits and n."""
    value, low, high, n = values
    return f"{value} [{low}, {high}] n={n}"


if __name__ == "__main__":
    for place_ in sorted(Path(sys.argv[1]).glob("*/manifest.json")):
        for line in migrate(place_.parent):
            print(line)
