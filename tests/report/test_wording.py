"""What a report may call flat, sharp or a basin: the rules of its words, held over everything it can print.

"Flatter" and "sharper" belong to the analysis that measures it, as comparisons. Elsewhere the words stand only where
they are denied. "Basin" belongs to the basin test; elsewhere it is asked, denied, or left to that test. A claim of one
basin needs the barrier rule and an (ε, δ) found.
"""

import ast
import itertools
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import polars as pl
import pytest

import transferscope
from transferscope.analyses.evidence import Evidence
from transferscope.measures.barriers import stability
from transferscope.measures.intervals import Interval
from transferscope.study.columns import schema
from transferscope.study.registry import BUILT_IN, analysis_type

PACKAGE = Path(transferscope.__file__).parent
PRINTED = ("analyses", "commands", "context", "files", "methods", "plots", "report", "running", "studies")
"""Folders whose words reach a reader of a report or of the command line."""

CURVATURE = re.compile(r"\b(flat(?:ter|test|ness|ly)?|flattens?|sharp(?:er|est|ness|ly)?)\b", re.IGNORECASE)
BASIN = re.compile(r"\bbasins?\b", re.IGNORECASE)
DENIAL = re.compile(r"\b(not?|nor|nothing|never|neither|none|without|cannot)\b", re.IGNORECASE)
DEFERRAL = re.compile(r"\bbasin test\b|\bbasins? to decide\b", re.IGNORECASE)
OWNERS = {CURVATURE: ("flatness", "hessian", "radius_curves"), BASIN: ("basin",)}
OF_OTHER_THINGS = {
    ("block_shuffle", "sharp edge"),
    ("domain_distance", "drawings are flatter"),
    ("learning_rate", "A flat top"),
    ("probe", "a flat end"),
    ("similarity_by_size", "P/RI-T flat:"),
    ("align", "Git Re-Basin: merging models"),
    ("average", "Git Re-Basin: merging models"),
}
"""Filters, spectra and curves that are no loss landscape, and the title of a paper."""


def sentences(text: str) -> list[str]:
    """Split at full stops, semicolons and blank lines, so that no denial covers another claim."""
    return [part.strip() for part in re.split(r"(?<=[.?!;])\s+|\n\s*\n|\n- ", text) if part.strip()]


def complaints(owner: str, text: str) -> list[str]:
    """Sentences that ``owner`` may not print."""
    found = []
    for words, owners in OWNERS.items():
        if owner.startswith(owners):
            continue
        for sentence in sentences(text):
            if not words.search(sentence) or DENIAL.search(sentence):
                continue
            if words is BASIN and (sentence.endswith("?") or DEFERRAL.search(sentence)):
                continue
            if any(owner == name and phrase in sentence for name, phrase in OF_OTHER_THINGS):
                continue
            found.append(f"{owner}: {sentence}")
    return found


def literals(tree: ast.AST) -> Iterator[str]:
    """Every string a module can print: literals and f-strings with their holes; no docstrings, no single words."""
    documented = {
        node.body[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    inside = {part for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if node in documented or node in inside:
            continue
        if isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and re.search(r"\s", node.value):
            yield node.value


def owner_of(path: Path) -> str:
    """The question whose folder a file lies in, else the file itself."""
    return path.parent.name if path.parent.parent.name == "analyses" else path.stem


def printed() -> list[Path]:
    return sorted(
        path
        for folder in PRINTED
        for path in (PACKAGE / folder).rglob("*")
        if path.suffix in (".py", ".md", ".j2", ".yaml")
    )


@pytest.mark.parametrize("path", printed(), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_no_source_can_print_a_claim_that_is_not_its_own(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    texts = literals(ast.parse(text)) if path.suffix == ".py" else [text]
    assert [found for item in texts for found in complaints(owner_of(path), item)] == []


class Sections(HTMLParser):
    """The visible text of each analysis's section, by its id; of the rest under its own."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: dict[str, list[str]] = {}
        self.place, self.hidden = "page", 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "section":
            self.place = dict(attrs).get("id") or "page"
        self.hidden += tag in ("script", "style")
        if tag in ("p", "li", "td", "th", "h2", "h3", "text", "figcaption", "dt", "dd", "desc", "title", "div"):
            self.found.setdefault(self.place, []).append("\n\n")

    def handle_endtag(self, tag: str) -> None:
        self.hidden -= tag in ("script", "style")
        if tag == "section":
            self.place = "page"

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            self.found.setdefault(self.place, []).append(data)


def test_a_whole_report_keeps_to_the_words(whole_report: Path) -> None:
    sections = Sections(whole_report.read_text(encoding="utf-8")).found
    assert {"path", "flatness"} <= set(sections)
    said = {place: "".join(parts) for place, parts in sections.items()}
    assert CURVATURE.search(said["flatness"])
    complained = [
        found
        for place, text in said.items()
        if place not in ("settings", "manifest")  # they name analyses, and say nothing
        for found in complaints(place, text)
        if found not in ("glossary: basin", "page: Basins")  # a term, and the title of a section
        # Questions, which the page sets beside the next heading without a full stop.
        and not found.endswith("?Definition")
    ]
    assert complained == []


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_questions_and_titles_make_no_claim(name: str) -> None:
    kind = analysis_type(name)
    assert complaints(name, kind.question) == []
    assert complaints(name, f"{kind.title}, {kind.reference}.") == []


@pytest.mark.parametrize(
    ("owner", "text", "allowed"),
    [
        ("path", "The solutions lie in a flat region.", False),
        ("path", "P-T is flatter than RI-T by this line.", False),
        ("path", "Both networks share one basin.", False),
        ("path", "Nothing is known. The floor is flat.", False),
        ("path", "Do two networks share one basin?", True),
        ("path", "Whether they share a basin is for the basin test.", True),
        ("path", "This picture does not measure flatness.", True),
        ("path", "Feature maps are flattened before the product.", True),
        ("curve", "A sharp minimum", False),
        ("basin", "P-T share one basin", True),
        ("basin", "a flat basin", False),
        ("flatness", "P-T is flatter than RI-T by the trace", True),
        ("flatness", "they share one basin", False),
        ("probe", "An early rise, and a flat end", True),
        ("probe", "a flat minimum", False),
    ],
)
def test_the_rules_tell_claims_from_denials(owner: str, text: str, allowed: bool) -> None:
    assert (complaints(owner, text) == []) == allowed


def test_literals_are_all_found() -> None:
    tree = ast.parse(
        '"""A flat doc."""\nx = f"one {y} basin" "!"\nz = ("a " "b", "word")\ndef f():\n    "a flat doc"\n'
    )
    assert sorted(literals(tree)) == ["a b", "one … basin!"]


# -- one basin: the barrier rule and (ε, δ) ----------------------------------------------------------------------


def basin_verdict(high: float | None, delta: float | None, resolved: bool | None, mean: float | None) -> str:
    """Of one segment whose error barrier is 1 point, with this upper limit."""
    kind = analysis_type("basin")
    row = {
        "level": "set", "origin": "study", "set": "segment P-T/P-T", "networks": "P-T[0], P-T[1]", "seed_a": 0,
        "seed_b": 1, "corners": 2, "batch_norm": "recompute", "examples": 400, "distance": 10.0, "mean": mean,
        "epsilon": 0.01, "epsilon_se_draws": 0.0, "epsilon_se_examples": 0.002, "resolved": resolved, "rise": 0.01,
        "rise_low": 0.005, "rise_high": high, "delta": delta,
        "reason": None if delta is not None else "no δ up to the cap",
        "delta_tau": delta, "reason_tau": None if delta is not None else "no δ up to the cap", "tau": 0.02,
    }  # fmt: skip
    rows = [{**row, "split": "test", "quantity": quantity} for quantity in ("error", "loss")]
    return kind().summarise(pl.DataFrame(rows, schema=schema(kind.columns)), Evidence()).verdict


@pytest.mark.parametrize(
    ("high", "delta", "resolved", "mean"),
    list(itertools.product((0.015, 0.025, None), (4.0, None), (True, False), (0.1, None))),
)
def test_one_basin_needs_the_barrier_rule_a_delta_and_a_resolved_epsilon(high, delta, resolved, mean) -> None:
    said = basin_verdict(high, delta, resolved, mean).split(";")[0]
    claimed = bool(re.search(r"(?<!not )\bone basin\b", said))
    stable = high is not None and stability(Interval(0.01, 0.005, high, 400, "examples")) == "stable"
    assert claimed == (stable and delta is not None and resolved and mean is not None)
    assert not CURVATURE.search(said)
