"""Conditions over the numbers of a comparison, for a gate: ``error_barrier > 0.02 or churn > 0.01``.

Nothing is evaluated as code. Python's parser makes the tree; a handful of its nodes is read here, others are refused.
"""

import ast
import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from transferscope.analyses.estimates import Estimate
from transferscope.errors import MeasureError, OptionError, near

__all__ = ["Condition", "parse_condition"]

_MOST_CHARACTERS = 1000
_MOST_NESTED = 30
_COMPARE: Mapping[type[ast.cmpop], tuple[str, Callable[[float, float], bool]]] = {
    ast.Lt: ("<", operator.lt),
    ast.LtE: ("<=", operator.le),
    ast.Gt: (">", operator.gt),
    ast.GtE: (">=", operator.ge),
    ast.Eq: ("==", operator.eq),
    ast.NotEq: ("!=", operator.ne),
}
_ARITHMETIC: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_GRAMMAR = "keys and numbers, + - * /, < <= > >= == !=, and, or, not, parentheses"
_ENDS = {"_low": "low", "_high": "high"}


@dataclass(frozen=True)
class Condition:
    """A condition that was read and whose names are known.

    Attributes:
        text: as written.
        names: in it.
        tree: what was read.
    """

    text: str
    names: tuple[str, ...]
    tree: ast.expr

    def holds(self, estimates: Sequence[Estimate], left_out: Iterable[str] = ()) -> bool:
        """Whether the condition holds.

        A number that is not defined leaves open what rests on it, no more: ``churn > 0.1 or error_barrier > 0.02``
        holds where churn is large, whatever the barrier.

        Args:
            estimates: of the comparison.
            left_out: why keys have none.

        Raises:
            MeasureError: it is left open: a gate that cannot be judged must not pass.
        """
        values = _values(estimates)
        found = _truth(self.tree, values)
        if found is not None:
            return found
        open_names = [name for name in self.names if values.get(name) is None]
        why = "; ".join(f"{name}: {_reason(name, estimates, left_out)}" for name in open_names)
        raise MeasureError(
            f"the condition {self.text!r} cannot be judged",
            expected="numbers for all its keys",
            got=why,
            hint="leave that key out of --fail-if, or give what it is measured from",
        )

    def values(self, estimates: Sequence[Estimate]) -> dict[str, float | None]:
        """The numbers that its names stand for."""
        found = _values(estimates)
        return {name: found.get(name) for name in self.names}


def parse_condition(text: str, keys: Iterable[str], missing: Mapping[str, str]) -> Condition:
    """Read a condition.

    Args:
        text: a comparison of numbers, or several with ``and``, ``or``, ``not``.
        keys: of the numbers that will be measured. ``KEY_low`` and ``KEY_high`` are limits, ``max_KEY`` and ``min_KEY``
            the largest and smallest of a key that begins with ``module_``.
        missing: keys that will not be measured, with what measures them.

    Raises:
        OptionError: it is none, a name is unknown (the nearest are named), or will not be measured.
    """
    if len(text) > _MOST_CHARACTERS:
        raise _refused(text, f"{len(text):,} characters", f"at most {_MOST_CHARACTERS:,}")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise _refused(
            text, f"no expression: {str(error).splitlines()[0]}" if str(error) else "no expression"
        ) from error
    names: dict[str, None] = {}
    if not _is_truth(tree, text, names, 0):
        raise _refused(text, "a number", "a comparison, such as churn > 0.01")
    known = {name: key for key in keys for name in _names_of(key)}
    later = {name: how for key, how in missing.items() for name in _names_of(key)}
    for name in names:
        if name in known:
            continue
        if name in later:
            raise OptionError(
                f"--fail-if asks for {name}, which is not measured here", expected=f"{later[name]}", got=text,
                hint=f"give {later[name]}, or leave {name} out",
            )  # fmt: skip
        if f"max_{name}" in known:
            raise OptionError(
                f"--fail-if: {name} is one number for each module",
                expected=f"max_{name} or min_{name}", got=text, hint=f"write max_{name} or min_{name}",
            )  # fmt: skip
        close = near(name, [*known, *later], 4)
        raise OptionError(
            f"--fail-if: nothing is called {name!r}",
            expected="keys of the comparison",
            got=text,
            hint="did you mean " + " or ".join(close) + "?" if close else f"keys: {', '.join(sorted(keys))}",
        )
    return Condition(text, tuple(names), tree)


def _refused(text: str, got: str, expected: str = _GRAMMAR) -> OptionError:
    shown = text if len(text) <= 80 else f"{text[:80]}…"
    return OptionError(
        f"--fail-if cannot be read: {shown}", expected=expected, got=got,
        hint="for example --fail-if 'error_barrier > 0.02 or churn > 0.01'",
    )  # fmt: skip


def _names_of(key: str) -> list[str]:
    stems = [f"{which}_{key}" for which in ("max", "min")] if key.startswith("module_") else [key]
    return [*stems, *(f"{stem}{end}" for stem in stems for end in _ENDS)]


def _is_truth(node: ast.expr, text: str, names: dict[str, None], depth: int) -> bool:
    """Check a tree, gather its names, and tell a truth from a number.

    Raises:
        OptionError: something else stands in it.
    """
    if depth > _MOST_NESTED:
        raise _refused(text, f"more than {_MOST_NESTED} nested parts", "a condition without nesting")

    def parts(nodes: Iterable[ast.expr], *, truths: bool) -> None:
        for each in nodes:
            if _is_truth(each, text, names, depth + 1) != truths:
                raise _refused(text, "a number where a comparison belongs, or a comparison where a number does")

    if isinstance(node, ast.BoolOp):
        parts(node.values, truths=True)
        return True
    if isinstance(node, ast.Compare) and all(type(op) in _COMPARE for op in node.ops):
        parts((node.left, *node.comparators), truths=False)
        return True
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub | ast.UAdd):
        negated = isinstance(node.op, ast.Not)
        parts((node.operand,), truths=negated)
        return negated
    if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
        parts((node.left, node.right), truths=False)
        return False
    if isinstance(node, ast.Name):
        names[node.id] = None
        return False
    if isinstance(node, ast.Constant) and _is_number(node.value):
        return False
    kinds = {ast.Constant: "a text, or a number beyond 1e300", ast.Pow: "a power"}
    what = type(getattr(node, "op", node)) if isinstance(node, ast.BinOp) else type(node)
    raise _refused(text, kinds.get(what, f"something else ({what.__name__})"))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def _truth(node: ast.expr, values: Mapping[str, float | None]) -> bool | None:
    """Kleene's logic: None is open."""
    if isinstance(node, ast.BoolOp):
        parts = [_truth(each, values) for each in node.values]
        decides = isinstance(node.op, ast.Or)
        return decides if decides in parts else None if None in parts else not decides
    if isinstance(node, ast.UnaryOp):
        inner = _truth(node.operand, values)
        return None if inner is None else not inner
    assert isinstance(node, ast.Compare)
    numbers = [_value(each, values) for each in (node.left, *node.comparators)]
    holds = [
        None if one is None or other is None else _COMPARE[type(op)][1](one, other)
        for one, op, other in zip(numbers, node.ops, numbers[1:], strict=False)
    ]
    return False if False in holds else None if None in holds else True


def _value(node: ast.expr, values: Mapping[str, float | None]) -> float | None:
    if isinstance(node, ast.Constant):
        return float(node.value)  # type: ignore[arg-type]  # checked when it was read
    if isinstance(node, ast.Name):
        return values.get(node.id)
    if isinstance(node, ast.UnaryOp):
        inner = _value(node.operand, values)
        return None if inner is None else -inner if isinstance(node.op, ast.USub) else inner
    assert isinstance(node, ast.BinOp)
    one, other = _value(node.left, values), _value(node.right, values)
    if one is None or other is None or (isinstance(node.op, ast.Div) and other == 0):
        return None
    found = _ARITHMETIC[type(node.op)](one, other)
    return found if math.isfinite(found) else None


def _values(estimates: Iterable[Estimate]) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    modules: dict[str, list[Estimate]] = {}
    for item in estimates:
        if item.quantity.startswith("module_"):
            modules.setdefault(item.quantity, []).append(item)
            continue
        found[item.quantity] = item.value
        found |= {f"{item.quantity}{end}": getattr(item, name) for end, name in _ENDS.items()}
    for key, items in modules.items():
        # A module whose weights are no numbers is no smaller and no larger than another.
        broken = any("diverged" in item.flags for item in items)
        for word, choose in (("max", max), ("min", min)):
            for end, name in (("", "value"), *_ENDS.items()):
                known = [value for item in items if (value := getattr(item, name)) is not None]
                found[f"{word}_{key}{end}"] = None if broken or not known else choose(known)
    return found


def _reason(name: str, estimates: Sequence[Estimate], left_out: Iterable[str]) -> str:
    stem = name.removeprefix("max_").removeprefix("min_")
    items = [item for item in estimates if stem in (item.quantity, *(item.quantity + end for end in _ENDS))]
    notes = [item.note for item in items if item.value is None and item.note]
    if notes:
        return notes[0]
    if any(item.value is not None for item in items):
        return "it has no limits here"
    return "; ".join(left_out) or "it was not measured"
