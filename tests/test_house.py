"""The script that measures the house: what it counts is counted right."""

from pathlib import Path

from tools.house import circles, lines_by_kind, parameters

TEXT = '''"""A module.

More of it.
"""

# A comment.
VALUE = """not a docstring
but two lines of code"""


class Thing:
    """A class."""

    def act(self, a, /, b, *, c=1):  # a comment beside code is code
        """Do it."""
        return a + b + c
'''


def test_every_line_is_of_one_kind() -> None:
    found = lines_by_kind(TEXT)
    assert found == {"code": 5, "docstring": 6, "comment": 1, "blank": 4}
    assert found.total() == TEXT.count("\n")


def test_parameters_are_counted_without_self() -> None:
    assert list(parameters(TEXT)) == [(3, "act")]


def test_circles_are_found_whole() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}, "e": set()}
    assert circles(graph) == [["a", "b", "c"]]
    assert circles({**graph, "c": set()}) == []


def test_no_function_takes_more_than_ten_parameters() -> None:
    package = Path(__file__).parents[1] / "src" / "transferscope"
    many = [
        f"{path.relative_to(package)}: {name}"
        for path in sorted(package.rglob("*.py"))
        for count, name in parameters(path.read_text(encoding="utf-8"))
        if count > 10
    ]
    assert not many, "put parameters that travel together into one frozen settings object"
