"""The script that measures the house: what it counts is counted right."""

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
