"""Every example in a docstring runs and is right."""

import doctest
import importlib.util
import pkgutil

import pytest

import transferscope


def modules() -> list[str]:
    found = [module.name for module in pkgutil.walk_packages(transferscope.__path__, "transferscope.")]
    # __main__ runs the command when it is imported.
    return ["transferscope", *(name for name in found if not name.endswith("__main__"))]


def examples(name: str) -> list[doctest.DocTest]:
    module = importlib.import_module(name)
    return [test for test in doctest.DocTestFinder(exclude_empty=True).find(module, name) if test.examples]


def with_examples() -> list[str]:
    """Modules whose text holds a prompt: told without importing them, so that collecting is quick."""
    named = []
    for name in modules():
        found = importlib.util.find_spec(name)
        assert found is not None
        assert found.origin is not None
        with open(found.origin, encoding="utf-8") as file:
            if ">>> " in file.read():
                named.append(name)
    return named


@pytest.mark.parametrize("name", with_examples())
def test_examples_of(name: str) -> None:
    tests = examples(name)
    assert tests, "a prompt that no docstring of the module holds"
    for test in tests:
        for example in test.examples:
            assert not example.options.get(doctest.SKIP), f"{test.name}: an example that is skipped shows nothing"
        runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
        said: list[str] = []
        runner.run(test, out=said.append)
        assert not runner.failures, "".join(said)
        assert runner.tries == len(test.examples)


def test_there_are_examples() -> None:
    assert len(with_examples()) >= 20
