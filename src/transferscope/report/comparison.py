"""A comparison of two networks as text, Markdown, JSON and a page of HTML: the same numbers under the same keys."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources

import jinja2
from markupsafe import Markup

from transferscope.analyses.estimate_words import spoken
from transferscope.analyses.estimates import Estimate
from transferscope.errors import printable
from transferscope.report.results_file import estimates_as_json

__all__ = ["FORMAT", "Compared", "Verdict", "as_html", "as_json", "as_markdown", "as_text"]

FORMAT = 1
"""Of the JSON document."""

_MODULE = "module_"
_SHOWN = 12
_RANKED = "module_share_of_change"


@dataclass(frozen=True)
class Verdict:
    """What a condition came to.

    Attributes:
        condition: as it was given.
        holds: whether it holds: the gate then fails.
        values: of the keys in it.
    """

    condition: str
    holds: bool
    values: Mapping[str, float | None]

    @property
    def sentence(self) -> str:
        """The condition, whether it holds, and by which numbers."""
        numbers = ", ".join(f"{name} = {_short(value)}" for name, value in self.values.items())
        word, said = ("FAILED", "holds") if self.holds else ("passed", "does not hold")
        return f"{word}: {self.condition} {said} ({numbers})"


@dataclass(frozen=True)
class Compared:
    """A comparison to be shown.

    Attributes:
        a: the first network.
        b: the second.
        estimates: every number.
        notes: what a reader must know.
        verdict: of a condition; None where there is none.
    """

    a: str
    b: str
    estimates: Sequence[Estimate]
    notes: Sequence[str]
    verdict: Verdict | None = None

    @property
    def totals(self) -> list[Estimate]:
        """The numbers of both networks as a whole."""
        return [item for item in self.estimates if not item.quantity.startswith(_MODULE)]

    @property
    def columns(self) -> list[str]:
        """The keys there are of modules."""
        return list(dict.fromkeys(item.quantity for item in self.estimates if item.quantity.startswith(_MODULE)))

    @property
    def modules(self) -> list[tuple[str, list[str]]]:
        """A row for each module, those that changed most first; a value that is not defined is a dash."""
        cells: dict[str, dict[str, list[Estimate]]] = {}
        for item in self.estimates:
            if item.quantity.startswith(_MODULE):
                cells.setdefault(str(item.at["module"]), {}).setdefault(item.quantity, []).append(item)

        def change(module: str) -> float:
            shares = cells[module].get(_RANKED, [])
            return -(shares[0].value or 0.0) if shares else 0.0

        return [
            (
                module,
                [" / ".join(_short(item.value) for item in cells[module].get(key, ())) or "–" for key in self.columns],
            )
            for module in sorted(cells, key=change)
        ]


def as_text(compared: Compared, leave_out: Sequence[str] = ()) -> str:
    """Lines for a terminal.

    Args:
        compared: what is shown.
        leave_out: keys that stand elsewhere.
    """
    lines = [f"a           {compared.a}", f"b           {compared.b}"] if not leave_out else []
    shown = [item for item in compared.totals if item.quantity not in leave_out]
    width = max((len(item.quantity) for item in shown), default=0)
    lines += [f"{item.quantity:<{width}}  {spoken(item)}" for item in shown]
    columns = [key for key in compared.columns if key not in leave_out]
    if columns and not leave_out:
        rows = compared.modules
        wide = max(len("module"), *(len(name) for name, _ in rows[:_SHOWN]))
        heads = [_heading(key) for key in compared.columns]
        lines += ["", f"{'module':<{wide}}  " + "  ".join(heads)]
        for name, cells in rows[:_SHOWN]:
            aligned = "  ".join(f"{cell:>{len(head)}}" for cell, head in zip(cells, heads, strict=True))
            lines.append(f"{name:<{wide}}  {aligned}")
        if len(rows) > _SHOWN:
            lines.append(f"and {len(rows) - _SHOWN} more modules that changed less: --json has all")
    lines += [f"note: {note}" for note in compared.notes]
    return "\n".join([*lines, *([compared.verdict.sentence] if compared.verdict else [])])


def as_json(compared: Compared) -> str:
    """The document for programs, without NaN."""
    verdict = compared.verdict
    document = {
        "format": FORMAT,
        "a": compared.a,
        "b": compared.b,
        "condition": None
        if verdict is None
        else {"text": verdict.condition, "holds": verdict.holds, "values": dict(verdict.values)},
        "notes": list(compared.notes),
        "estimates": estimates_as_json(tuple(compared.estimates)),
    }
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)


def as_markdown(compared: Compared) -> str:
    """A comment for a pull request: the verdict, the numbers, and the modules that changed most, folded."""
    lines = [f"### `{_cell(compared.a)}` → `{_cell(compared.b)}`", ""]
    if compared.verdict is not None:
        lines += [f"**{_cell(compared.verdict.sentence)}**", ""]
    lines += ["| key | value | what it is |", "|---|---|---|"]
    lines += [f"| `{item.quantity}` | {_cell(spoken(item))} | {_cell(item.name)} |" for item in compared.totals]
    rows = compared.modules
    if rows:
        lines += [
            "",
            f"<details><summary>{min(len(rows), _SHOWN)} of {len(rows)} modules, those that changed most</summary>",
            "",
        ]
        lines += ["| module | " + " | ".join(_heading(key) for key in compared.columns) + " |"]
        lines += ["|---" * (1 + len(compared.columns)) + "|"]
        lines += [f"| `{_cell(name)}` | " + " | ".join(cells) + " |" for name, cells in rows[:_SHOWN]]
        lines += ["", "</details>"]
    lines += ["", *(f"- {_cell(note)}" for note in compared.notes)] if compared.notes else []
    return "\n".join(lines)


def as_html(compared: Compared) -> str:
    """A page that needs no network and no other file, and runs nothing."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("transferscope", "report"), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    style = (resources.files("transferscope") / "report" / "report.css").read_text(encoding="utf-8")
    heading: Callable[[str], str] = _heading
    return environment.get_template("comparison.html.j2").render(
        style=Markup(style), compared=compared, spoken=spoken, heading=heading
    )


def _heading(key: str) -> str:
    return key.removeprefix(_MODULE).replace("_", " ")


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _cell(text: str) -> str:
    return printable(text).replace("|", "\\|").replace("`", "'").replace("<", "&lt;")
