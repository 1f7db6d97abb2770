"""The script that puts mistakes into the sources: which it makes, where it puts them, which tests it asks."""

from pathlib import Path

import pytest

from tools.mutations import ROOT, applied, drawn, found_in, mutations, related_tests

TEXT = '''"""A module: 1 + 1."""
LIMIT = 3 + 4


def chosen(values, least=0, *, sure=True):
    """At least 2 < 3."""
    if not values:
        raise ValueError(f"{1 + 2} values")
    first = values[0] if sure else least
    return round(min(first - least, 5.5), ndigits=2)


def words(count):
    return count + 1
'''


def test_every_operator_makes_its_mistake_and_messages_are_left_alone() -> None:
    found = list(mutations(TEXT, "x.py"))
    assert {(item.operator, item.after) for item in found} == {
        ("not dropped", "if values:"),
        ("other branch", "first = least if sure else values[0]"),
        ("index", "first = values[1] if sure else least"),
        ("min and max", "return round(max(first - least, 5.5), ndigits=2)"),
        ("arithmetic", "return round(min(first + least, 5.5), ndigits=2)"),
        ("constant", "return round(min(first - least, 11.0), ndigits=2)"),
        ("constant", "return round(min(first - least, 5.5), ndigits=3)"),
        ("keyword dropped", "return round(min(first - least, 5.5))"),
    }
    assert {item.function for item in found} == {"chosen"}
    (compared,) = mutations("def f(a, b):\n    return a < b\n", "x.py")
    assert applied("def f(a, b):\n    return a < b\n", compared) == ("def f(a, b):\n    return a >= b\n", 2)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.slow
def test_the_same_mistakes_are_drawn_again_and_each_can_be_made(seed: int) -> None:
    first, second = ([item for item, _ in zip(drawn(ROOT, seed), range(12), strict=False)] for _ in range(2))
    assert first == second
    assert len({item.file for item in first}) > 6
    for item in first:
        text = (ROOT / item.file).read_text(encoding="utf-8")
        mutated, line = applied(text, item)
        assert [a != b for a, b in zip(text.splitlines(), mutated.splitlines(), strict=True)].index(True) == line - 1


@pytest.mark.slow
def test_a_line_is_found_where_its_module_has_moved(tmp_path: Path) -> None:
    item = next(iter(drawn(ROOT, 0)))
    moved = tmp_path / "src" / "transferscope" / "elsewhere.py"
    moved.parent.mkdir(parents=True)
    assert found_in(tmp_path, item) is None
    moved.write_text((ROOT / item.file).read_text(encoding="utf-8"), encoding="utf-8")
    assert found_in(tmp_path, item) == moved
    assert found_in(ROOT, item) == ROOT / item.file


@pytest.mark.slow
def test_tests_named_after_a_module_come_before_those_that_import_it() -> None:
    stages = related_tests(ROOT, ROOT / "src" / "transferscope" / "measures" / "cka.py")
    assert ROOT / "tests" / "measures" / "test_cka.py" in stages[0]
    assert all("cka" in path.stem for path in stages[0])
    asked = [path for stage in stages for path in stage]
    assert len(asked) == len(set(asked)) > len(stages[0])
