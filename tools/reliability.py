"""Count, kind by kind, the situations that the tests hold, and those that were wrong with older sources.

    python -m tools.reliability [--write] [--before [COMMIT]]

Prints the table of docs/reliability.md. ``--write`` puts it there, with docs/reliability.csv from which it is made: one
row for each kind and test function. ``--before`` runs the quick ones among today's tests of which the file tells
nothing yet, with the sources of COMMIT and with those of today; delete the file to run all of them (an hour).
"""

import argparse
import contextlib
import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reliability.md"
ROWS = ROOT / "docs" / "reliability.csv"
STATE = ROOT / "build" / "reliability"
START, END = "<!-- table -->", "<!-- end of the table -->"
COMMIT = "88673f3"
"""The sources before most of these kinds were mended."""

KINDS = {
    "code-weights": "a file of weights decides which code runs",
    "code-study": "a study file or a store decides which code runs",
    "code-folder": "standing in a folder runs its files",
    "data-1": "folders of splits, or of the system, read as classes",
    "data-2": "label numbers of several files joined under the names of the first",
    "data-3": "label vectors read as lists of class numbers",
    "data-4": "the same picture twice: across splits, under two classes",
    "data-5": "pictures beside a table taken for the data",
    "data-6": "names that are not UTF-8",
    "data-7": "broken metadata lose a good picture",
    "data-8": "what a deep, transparent or many-paged picture loses is not said",
    "data-9": "checkpoints of other wrappers refused",
    "data-10": "`init` accepts what `plan` refuses",
    "data-11": "what a file is, when it is no picture",
    "data-12": "harmless values in a checkpoint refused (hostile ones stay refused)",
    "data-13": "weights with values that cannot work",
    "data-14": "labels that are not 0 to k − 1",
    "data-15": "hints that cannot be followed; names that look equal",
    "data-16": "raw warnings of the picture library",
    "data-17": "a split without class folders",
    "data-18": "`compare` and `modules` refuse tables and arrays",
    "data-19": "weights at another image size",
    "data-20": "batches of uint8 in `compare`",
    "data-21": "very large pictures refused without a setting",
    "data-22": "`plan` prints a plan for weights that do not fit",
    "data-23": "raw and averaged weights side by side",
    "F1": "one architecture by names and shapes, another function",
    "F2": "buffers that are functions of weights",
    "masks": "two networks pruned with unlike masks",
    "F4": "running statistics known by class alone",
    "F8": "Hessian products that are not symmetric",
    "F9": "a network handed in is not the same afterwards",
    "in-place": "networks that write to their input",
    "networks": "networks with tensors of no usual kind",
    "F10": "parts depend on wrapping",
    "F11": "batches unpacked in several places",
    "F13": "networks with tensors that cannot be copied",
    "F14": "modules called with keyword arguments",
    "F15": "TorchScript networks",
    "F16": "compiled networks run without hooks",
    "F17": "rounding takes real differences away",
    "F18": "measures depend on the scale of the features",
    "F19": "inputs cast to another dtype",
    "F21": "messages hide the cause",
    "F23": "measures on tensors that require grad",
    "entrances": "wrong arguments where files, folders, loops and settings come in",
    "empty": "measures of nothing",
    "search": "a located barrier says settled and is not",
    "examples": "examples of property tests depend on what is imported",
    "R1": "raw system errors of a full or read-only disk",
    "R2": "one damaged entry stops everything",
    "R3": "a lack of files or memory reads as bad images",
    "R4": "closed standard streams",
    "R5": "mutated study files",
    "R8": "decoded images changed while a study runs",
    "R9": "networks gone while measuring, with a wrong reason",
    "S4": "control characters in names",
    "S7": "workers outlive their driver",
    "S8": "leftovers that nothing removes",
    "S9": "memory allocated before it is known to be there",
    "S10": "each reader with its own list of exceptions",
    "S11": "special files, loops of links, formats that start programs",
    "S12": "stores closed to other users",
    "S13": "threads changed inside a training",
    "S14": "study files that hang",
    "C2": "a run replaces another one's report",
    "C3": "no result per class",
    "C4": "the trained network is not handed over",
    "C5": "printed commands lose what was typed",
    "C6": "a plan keeps one noisy timing",
    "C7": "a first study takes hours unsaid",
    "C8": "the chosen learning rate rests on noise",
    "C10": "`compare` takes another image size unsaid",
    "C11": "the first screen says no plain sentence",
    "C12": "advice does not follow from what was asked",
    "contact": "what confused newcomers in the terminal",
    "report": "what was unreadable in the report",
    "checkpoints": "30 checkpoints of a seeded script",
    "folders": "50 image folders of a seeded script",
    "tables": "20 tables of a seeded script",
    "messages": "hints name settings and commands that exist",
}
"""What the kinds are, in the order of the table."""


@dataclass
class Row:
    """What one test function tells about one kind of fault."""

    kind: str
    test: str
    """The function, as pytest names it."""
    situations: int = 0
    """How often it is run with other arguments, slow ones included."""
    before: str = ""
    """The commit of the older sources; empty if no test was run."""
    tried: int = 0
    """Situations that were run with both sources."""
    skipped: int = 0
    """Quick ones that could not be run where the others were."""
    wrong: int = 0
    """Those in which the test failed with the older sources."""
    words: int = 0
    """Those of them in which the error was of the right class and said other words."""
    absent: int = 0
    """Those that say nothing about the older sources, which lacked what the test calls."""
    wrong_after: int = 0
    """Those in which the test fails today."""

    def is_stale(self, quick: int, commit: str) -> bool:
        """Whether tests must be run, ``quick`` of which can be, before this row is true."""
        return quick > 0 and (self.before != commit or self.tried + self.skipped < quick)


Collected = dict[tuple[str, str], dict[str, bool]]
"""Of each kind and test function the tests, and whether they are quick."""


def collected(items: Iterable[pytest.Item]) -> Collected:
    """Sort tests by kind and function."""
    groups: Collected = {}
    for item in items:
        for marker in item.iter_markers("kind"):
            group = groups.setdefault((marker.args[0], item.nodeid.partition("[")[0]), {})
            group[item.nodeid] = item.get_closest_marker("slow") is None
    return groups


def read_rows() -> dict[tuple[str, str], Row]:
    """Read docs/reliability.csv."""
    if not ROWS.exists():
        return {}
    numbers = [field.name for field in fields(Row) if field.type is int]
    with ROWS.open(encoding="utf-8", newline="") as file:
        rows = [Row(**{**row, **{name: int(row[name]) for name in numbers}}) for row in csv.DictReader(file)]  # type: ignore[arg-type]
    return {(row.kind, row.test): row for row in rows}


def write_rows(rows: Iterable[Row]) -> None:
    """Write docs/reliability.csv, in the order of the table."""
    order = list(KINDS)
    with ROWS.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Row)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in sorted(rows, key=lambda row: (order.index(row.kind), row.test)))


def table(rows: Iterable[Row]) -> str:
    """One row for each kind, and their sum."""
    columns = ("situations", "tried", "wrong", "words", "absent", "wrong_after")
    sums = {kind: Counter[str]() for kind in KINDS}
    for row in rows:
        sums[row.kind].update({name: getattr(row, name) for name in columns})
    lines = [(words, sums[kind]) for kind, words in KINDS.items() if sums[kind]]
    lines.append(("**all**", sum((count for _, count in lines), Counter())))
    return "\n".join(
        [
            "| kind | situations | tried | wrong before | only in words | could not be asked | wrong after |",
            "|---|---|---|---|---|---|---|",
            *(f"| {words} | {' | '.join(str(count[name]) for name in columns)} |" for words, count in lines),
        ]
    )


def page(rows: Iterable[Row]) -> str:
    """docs/reliability.md with the table of ``rows``."""
    text = PAGE.read_text(encoding="utf-8")
    return f"{text.partition(START)[0]}{START}\n{table(rows)}\n{END}{text.partition(END)[2]}"


def run(source: Path, modules: list[str], file: Path) -> dict[str, str]:
    """Run the quick tests of ``modules`` that ``file`` does not know, with the package in ``source``.

    Returns:
        How each of them ended.
    """
    # Packages that only the older sources need may be named there.
    path = os.pathsep.join([str(source), *filter(None, [os.environ.get("PYTHONPATH")])])
    words = ["-p", "tools.outcomes", "--outcomes", str(file), "-p", "no:cacheprovider", "--tb=no", "-qq"]
    outcomes: dict[str, str] = {}
    while True:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "pytest",
                *words,
                "--continue-on-collection-errors",
                "-m",
                "kind and not slow",
                *modules,
            ],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )
        process.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # what tests left behind
        known = len(outcomes)
        if file.exists():
            outcomes = dict(json.loads(line) for line in file.read_text(encoding="utf-8").splitlines())
        # A process that came to an end has run everything; one that died goes on behind the test that killed it.
        end = outcomes.pop("", pytest.ExitCode.INTERNAL_ERROR.name)
        if end != pytest.ExitCode.INTERNAL_ERROR.name or len(outcomes) == known:
            return outcomes


def try_tests(groups: Collected, rows: dict[tuple[str, str], Row], commit: str) -> None:
    """Run what ``rows`` do not tell, with the sources of ``commit`` and with today's; put it into them."""
    stale = [key for key in groups if rows[key].is_stale(sum(groups[key].values()), commit)]
    if not stale:
        return
    modules = sorted({function.partition("::")[0] for _, function in stale})
    # Kept until all is done: a run that was stopped goes on.
    STATE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # for commands of other users
        archive = subprocess.run(["git", "archive", commit, "src"], cwd=ROOT, check=True, capture_output=True).stdout
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            files.extractall(folder, filter="data")
        before = run(Path(folder) / "src", modules, STATE / f"before-{commit}")
    after = run(ROOT / "src", modules, STATE / "after")
    for key in stale:
        quick = [test for test, is_quick in groups[key].items() if is_quick]
        tests = [test for test in quick if after.get(test) != "skipped"]
        count = Counter(before.get(test, "absent") for test in tests)
        rows[key] = Row(
            *key,
            situations=len(groups[key]),
            before=commit,
            tried=len(tests),
            skipped=len(quick) - len(tests),
            wrong=count["wrong"] + count["words"] + count["long"],
            words=count["words"],
            absent=count["absent"] + count["skipped"],
            wrong_after=sum(after.get(test) != "right" for test in tests),
        )


class Collection:
    """Keeps what pytest collects."""

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Every test, slow ones included."""
        self.groups = collected(session.items)


def main() -> int:
    """Print or write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write docs/reliability.csv and the table of the page")
    parser.add_argument("--before", nargs="?", const=COMMIT, metavar="COMMIT", help="run tests, then write")
    options = parser.parse_args()
    collection = Collection()
    code = pytest.main(["--collect-only", "-qqq", "-m", "kind", str(ROOT / "tests")], plugins=[collection])
    unknown = sorted({kind for kind, _ in collection.groups} - set(KINDS))
    if code or unknown:
        sys.exit(f"pytest ended with {code}; kinds without words here: {', '.join(unknown) or 'none'}")
    known = read_rows()
    rows = {key: known.get(key, Row(*key)) for key in collection.groups}
    for key, tests in collection.groups.items():
        if rows[key].tried + rows[key].skipped > len(tests):
            rows[key] = Row(*key)  # about tests that are no more
        rows[key].situations = len(tests)
    if options.before:
        try_tests(collection.groups, rows, options.before)
    print(table(rows.values()))
    if options.write or options.before:
        write_rows(rows.values())
        PAGE.write_text(page(rows.values()), encoding="utf-8")
    if options.before and STATE.exists():
        shutil.rmtree(STATE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
