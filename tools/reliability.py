"""Count, kind by kind, the situations that the tests hold.

    python -m tools.reliability [--write]

Prints the table of docs/reliability.md; ``--write`` puts it there.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reliability.md"
START, END = "<!-- table -->", "<!-- end of the table -->"

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
    "F4": "running statistics known by class alone",
    "F8": "Hessian products that are not symmetric",
    "F9": "a network handed in is not the same afterwards",
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


class Kinds:
    """Counts what pytest collects."""

    def __init__(self) -> None:
        self.count: Counter[str] = Counter()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Every test, slow ones included, that is marked with a kind."""
        self.count.update(marker.args[0] for item in session.items for marker in item.iter_markers("kind"))


def table(count: Counter[str]) -> str:
    """One row for each kind, and their sum."""
    rows = [f"| {words} | {count[kind]} |" for kind, words in KINDS.items() if count[kind]]
    return "\n".join(["| kind | situations |", "|---|---|", *rows, f"| **all** | {sum(count.values())} |"])


def main() -> int:
    """Print or write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put the table into docs/reliability.md")
    options = parser.parse_args()
    kinds = Kinds()
    code = pytest.main(["--collect-only", "-qqq", "-m", "kind", str(ROOT / "tests")], plugins=[kinds])
    unknown = sorted(set(kinds.count) - set(KINDS))
    if code or unknown:
        sys.exit(f"pytest ended with {code}; kinds without words here: {', '.join(unknown) or 'none'}")
    text = table(kinds.count)
    print(text)
    if options.write:
        page = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(f"{page.partition(START)[0]}{START}\n{text}\n{END}{page.partition(END)[2]}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
