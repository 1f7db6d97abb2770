"""Keep what a finished study found beside the documentation: small tables and a manifest, nothing of this machine.

``python -m tools.results.collect_evidence RUN_FOLDER docs/results/STUDY --study examples/studies/STUDY.yaml``

``RUN_FOLDER`` is where ``transferscope run`` and ``transferscope report`` leave the report of the study.
"""

import argparse
import hashlib
import json
import platform
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from tools.results.evidence_tables import ESTIMATES, small_table, table_bytes
from transferscope.errors import AnalysisError, StudyError
from transferscope.report.results_file import FORMAT
from transferscope.study.file import load_study

__all__ = ["MANIFEST", "STUDY_BUDGET", "collect", "main"]

MANIFEST = "manifest.json"
STUDY_BUDGET = 300_000
"""Bytes of everything kept of one study."""

# A path from the root, of two parts or more; those within links have something before their first stroke.
_PLACE = re.compile(r"(?<![\w.:/~<])/(?:[\w.+-]+/)+[\w.+-]+|\b[A-Z]:\\\w")


def collect(run: Path, output: Path, study: Path, commit: str | None = None) -> Path:
    """Write the small tables, the summary and the manifest of one study.

    Args:
        run: folder of the finished report.
        output: folder to write; what an earlier collection left there is replaced.
        study: the study file that was run, as it is published.
        commit: of the program the study was run with; that of this checkout where None.

    Returns:
        The path of the manifest.

    Raises:
        StudyError: ``study`` is not what was run.
        AnalysisError: ``run`` holds no results that can be read; they hold a path of this machine, or are too large.
    """
    found = _results(run)
    text = study.read_text(encoding="utf-8")
    _check_same(found, study)
    files: dict[str, bytes] = {"study.yaml": text.encode()}
    headline = _table(run, "headline")
    files["headline.csv"] = table_bytes(headline.with_columns(pl.col(pl.Float64).round_sig_figs(6)))
    estimates = _table(run, ESTIMATES).with_columns(pl.col(pl.Float64).round_sig_figs(6))
    files[f"{ESTIMATES}.csv"] = table_bytes(estimates)
    analyses = []
    if failed := [item["slug"] for item in found["analyses"] if item.get("failed")]:
        raise AnalysisError(
            f"{run} is not a whole study", expected="every analysis finished", got=f"{', '.join(failed)} failed"
        )
    for item in found["analyses"]:
        slug = item["slug"]
        facts = {name: item[name] for name in ("slug", "name", "title", "question", "reference", "version",
                                               "skip_reason", "verdict", "notes")}  # fmt: skip
        if item["skip_reason"] is None:
            table = _table(run, slug)
            small = small_table(item["name"], table)
            facts |= {"rows": len(table), "rows_kept": 0 if small is None else len(small)}
            if small is not None and len(small):
                files[f"{slug}.csv"] = table_bytes(small)
        analyses.append(facts)
    files["summary.json"] = _json({"verdict": found["verdict"], "gap": found["gap"], "analyses": analyses})
    manifest = _manifest(found, study.name, text, commit)
    manifest["files"] = {name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items())}
    files[MANIFEST] = _json(manifest)
    _check(files)
    output.mkdir(parents=True, exist_ok=True)
    for old in output.iterdir():
        if old.is_file():
            old.unlink()
    for name, data in files.items():
        (output / name).write_bytes(data)
    return output / MANIFEST


def _results(run: Path) -> dict[str, Any]:
    place = run / "results.json"
    try:
        found = json.loads(place.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise AnalysisError(
            f"{run} holds no results of a finished study",
            expected="results.json, which `transferscope run` and `transferscope report` write",
            hint="transferscope report STUDY writes it again from the store",
        ) from None
    except ValueError as error:
        raise AnalysisError(f"{place} is damaged", got=str(error), hint="transferscope report STUDY") from error
    if found.get("format") != FORMAT:
        raise AnalysisError(
            f"{place} was written by another version of transferscope",
            expected=f"format {FORMAT}",
            got=f"format {found.get('format')}",
            hint="write the report again: transferscope report STUDY",
        )
    return dict(found)


def _table(run: Path, slug: str) -> pl.DataFrame:
    place = run / "tables" / f"{slug}.parquet"
    try:
        return pl.read_parquet(place)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise AnalysisError(
            f"the table {place} cannot be read", got=str(error).splitlines()[0], hint="transferscope report STUDY"
        ) from error


def _check_same(found: Mapping[str, Any], study: Path) -> None:
    """The published file asks for what was run; where its data lie, and how it was computed, may differ."""
    asked = load_study(study, allow_code=True).model_dump(mode="json")
    root = str(study.resolve().parent)
    different = [
        name
        for name in sorted({*asked, *found["settings"]} - {"compute"})
        if not _alike(asked.get(name), found["settings"].get(name), root)
    ]
    if different:
        raise StudyError(
            f"{study.name} is not the study that was run",
            expected=f"the settings of the run of {found['study']['name']!r}",
            got=f"other settings under {', '.join(different)}",
            hint="give the file that was run, or run this one",
        )


def _alike(asked: Any, ran: Any, root: str) -> bool:
    if isinstance(asked, dict) and isinstance(ran, dict):
        return set(asked) == set(ran) and all(_alike(asked[name], ran[name], root) for name in asked)
    if isinstance(asked, list) and isinstance(ran, list):
        return len(asked) == len(ran) and all(_alike(*each, root) for each in zip(asked, ran, strict=True))
    if isinstance(asked, str) and isinstance(ran, str) and asked.startswith(f"{root}/"):
        # The same place below the study file, in another checkout.
        return ran.endswith(asked.removeprefix(root))
    return bool(asked == ran)


def _manifest(found: Mapping[str, Any], name: str, text: str, commit: str | None) -> dict[str, Any]:
    from_run = found["manifest"]
    networks = from_run["networks"]
    seconds = sum(network["seconds"] for network in networks)
    return {
        "study": found["study"]["name"],
        "study_key": found["study"]["key"],
        "study_file": name,
        "study_sha256": hashlib.sha256(text.encode()).hexdigest(),
        "program": {
            "version": from_run["versions"]["transferscope"],
            "commit": commit or _commit(),
        },
        "versions": {key: value for key, value in from_run["versions"].items() if key != "transferscope"},
        "machine": {
            "architecture": platform.machine(),
            "processor": _processor(),
            "device": from_run["device"],
            "threads": from_run["threads"],
            "precision": from_run["precision"],
            "memory_format": from_run["memory_format"],
        },
        "trainings": len(networks),
        "trainings_diverged": sum(bool(network["diverged"]) for network in networks),
        "training_minutes": round(seconds / 60, 1 if seconds > 60 else 3),
        "seeds": from_run["seeds"],
        "tuning_seeds": from_run["tuning_seeds"],
        "pretrained": from_run["pretrained"],
        "fingerprint": from_run["fingerprint"],
        "classes": from_run["classes"],
        "examples": from_run["examples"],
        "notes": from_run["notes"],
        "mixed": from_run["mixed"],
    }


def _commit() -> str | None:
    """Of the checkout this program lies in; marked where it was changed since."""
    here = Path(__file__).parent

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(here), *words], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("-changed" if git("status", "--porcelain", "--", str(here.parent)) else "")
    except (OSError, subprocess.CalledProcessError):
        return None  # installed from a package: its version says what it is


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def _json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _check(files: Mapping[str, bytes]) -> None:
    size = sum(len(data) for data in files.values())
    if size > STUDY_BUDGET:
        largest = max(files, key=lambda name: len(files[name]))
        raise AnalysisError(
            "the tables of the study are too large to be kept beside the documentation",
            expected=f"at most {STUDY_BUDGET} bytes",
            got=f"{size} bytes, the largest of them in {largest}",
            hint="keep fewer rows in tools.results.evidence_tables",
        )
    for name, data in files.items():
        if (place := _PLACE.search(data.decode())) is not None:
            raise AnalysisError(
                f"{name} holds a path of this machine",
                got=place.group(0),
                hint="name files relative to the study file",
            )


def main(words: list[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tools.results.collect_evidence", description=__doc__)
    parser.add_argument("run", type=Path, metavar="RUN_FOLDER")
    parser.add_argument("output", type=Path, metavar="FOLDER")
    parser.add_argument("--study", type=Path, required=True, help="the study file that was run")
    parser.add_argument("--commit", help="of the program the study was run with")
    asked = parser.parse_args(words)
    print(collect(asked.run, asked.output, asked.study, asked.commit))


if __name__ == "__main__":
    main()
