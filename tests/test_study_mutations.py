"""Study files that nobody would write: read, or refused by our error, in bounded time."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from transferscope.errors import DataError, StudyError
from transferscope.study.file import load_study

pytestmark = pytest.mark.kind("R5")
STUDY = """\
name: cells
source: {architecture: timm:resnet18, weights: weights.pt}
target:
  data: {kind: parquet, path: pictures, classes: [cat, dog]}
  image_size: 32
  splits: {test: 0.25, validation: 0.15, seed: 0}
training:
  recipe:
    epochs: 3
    optimiser: sgd
  learning_rates: [0.01, 1e-1]
seeds: [0, 1, 2]
analyses:
  - outcome
  - path: {points: 5}
compute: {device: cpu, workers: 2}
"""
WORDS = r"""
~ ~nobody-here/x &a *a <<:&a{<<:*a} !!python/object/apply:os.system !!binary !!set !!timestamp !<tag:x> 1e999 -1 1e30
9223372036854775808 .inf .nan no 010 1:30 2020-01-01 null true ? - : | > --- ... @ ` ' " # % [ { %YAML !!int !!float
"\ud800" "\x1b[2J" "\0" !!str !!null !!map
"""
LONG = ["9" * 5000, "0x" + "f" * 5000, "[" * 3000, "{a: " * 300, "- " * 300, "\0", "\ufeff", "\t", "\r", "\u2028"]
BITS = [*WORDS.split(), *LONG]


def bomb(first: str, item: str) -> str:
    """Few lines that stand for billions of values."""
    lines = [item.replace("NINE", ", ".join([f"*a{number - 1}"] * 9)) for number in range(1, 12)]
    return "\n".join(
        [f"a0: &a0 {first}", *(f"a{number}: &a{number} {line}" for number, line in enumerate(lines, 1)), ""]
    )


@contextmanager
def work(most: int) -> Iterator[None]:
    """A bound on work instead of time: so many nodes that PyYAML may make."""
    made, real = 0, yaml.nodes.Node.__init__

    def counted(self: yaml.Node, *args: object) -> None:
        nonlocal made
        made += 1
        assert made <= most
        real(self, *args)  # type: ignore[arg-type]

    yaml.nodes.Node.__init__ = counted  # type: ignore[method-assign]
    try:
        yield
    finally:
        yaml.nodes.Node.__init__ = real  # type: ignore[method-assign]


def study(tmp_path: Path, text: str | bytes, *overrides: str) -> object:
    file = tmp_path / "study.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    return load_study(file, overrides)


def mutated(rng: random.Random) -> str:
    lines = STUDY.splitlines()
    for _ in range(rng.randrange(1, 4)):
        number = rng.randrange(len(lines))
        line = lines[number]
        match rng.randrange(7):
            case 0:
                lines.insert(rng.randrange(len(lines)), line)
            case 1 if len(lines) > 1:
                del lines[number]
            case 2:
                lines[number] = "  " + line
            case 3:
                lines[number] = line.lstrip()
            case 4:
                place = rng.randrange(len(line) + 1)
                lines[number] = line[:place] + rng.choice(BITS) + line[place:]
            case 5:
                lines[number] = line.split(": ")[0] + ": " + rng.choice(BITS)
            case _:
                place = rng.randrange(len(line) + 1)
                lines[number] = line[:place] + line[place + rng.randrange(1, 9) :]
    return "\n".join(lines)


@pytest.fixture(autouse=True)
def _light(monkeypatch: pytest.MonkeyPatch) -> None:
    # Whether an architecture exists takes importing torch, and has tests of its own.
    monkeypatch.setattr("transferscope.study.file._architecture_problems", lambda values: [], raising=False)


def test_mutated_studies_are_read_or_refused(tmp_path: Path) -> None:
    read = refused = 0
    for seed in range(300):
        with work(30_000):
            try:
                study(tmp_path, mutated(random.Random(seed)))
                read += 1
            except StudyError as error:
                str(error).encode("utf-8")
                refused += 1
    assert read > 20
    assert refused > 200


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("a: &a {<<: *a}\n" + STUDY, "contains itself"),
        ("a: &a\n  b: {<<: [*a]}\n" + STUDY, "contains itself"),
        ("a: &a [*a]\n" + STUDY, "contains itself"),
        (STUDY.replace("[cat, dog]", "&c [cat, *c]"), "contains itself"),
        (bomb("[x, x, x]", "[NINE]") + STUDY, "column [0-9]+: this is more than 30000 values"),
        (bomb("{x: 1}", "{<<: [NINE]}") + STUDY, "column [0-9]+: this is more than 30000 values"),
        (STUDY + "x: " + "[" * 5000, "column [0-9]+: this is nested too deeply"),
        (STUDY + "x: " + "{a: " * 5000, "column [0-9]+: this is nested too deeply"),
        (STUDY + "x:\n" + "".join(" " * n + "- \n" for n in range(1, 200)), "this is nested too deeply"),
        (STUDY + "# " + "x" * 600_000, "too large"),
        (STUDY + "x: [" + "0," * 31_000 + "]", "more than 30000 values"),
        (STUDY + "".join(f"k{n}: {n}\n" for n in range(500)), "and 400 more problems"),
        (STUDY.replace("seeds: [0, 1, 2]", "seeds: [" + "9" * 5000 + "]"), "64 bits"),
        (STUDY.replace("seeds: [0, 1, 2]", "seeds: [0x" + "f" * 5000 + "]"), "64 bits"),
        (STUDY.replace("image_size: 32", "image_size: -9223372036854775809"), "64 bits"),
        (STUDY.replace("image_size: 32", "image_size: 1e400"), "image_size"),
        (STUDY.replace("name: cells", 'name: "\\ud800"'), "name"),
        (STUDY + '"\\x1b[2J": 1\n', "no such setting"),
        (STUDY + "1: a\nnull: b\n2020-01-01: c\n? [d]\n: e\n", "no such setting"),
        (STUDY + "name: other\n", "given twice"),
        (STUDY.replace("  image_size", "\timage_size"), "tab"),
        (STUDY.encode("utf-16"), "UTF-8"),
        (STUDY.encode("utf-32"), "UTF-8|null|x0000|special"),
        (STUDY.encode() + b"\0", "special characters"),
        (STUDY.encode() + b"x: caf\xe9\n", "UTF-8"),
        (b"\x1f\x8b\x08\x00", "UTF-8"),
        (b"", "empty"),
        (b"- a\n", "list of settings"),
    ],
)
def test_studies_that_are_refused(tmp_path: Path, text: str | bytes, named: str) -> None:
    with work(40_000), pytest.raises(StudyError, match=named):
        study(tmp_path, text)


@pytest.mark.parametrize("text", [b"\xef\xbb\xbf" + STUDY.encode(), STUDY.replace("\n", "\r\n"), STUDY + "...\n"])
def test_studies_that_are_read(tmp_path: Path, text: str | bytes) -> None:
    assert study(tmp_path, text) == study(tmp_path, STUDY)


@pytest.mark.parametrize(
    "value", ["[" * 3000, "{a: " * 3000, "&a [*a]", "&a {<<: *a}", "9" * 5000, "!!set {a}", "\0", "[" * 40]
)
@pytest.mark.parametrize("name", ["seeds", "target.image_size", "analyses.path.points", "x.y"])
def test_settings_of_the_command_line(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(StudyError, match=name.split(".")[0]):
        study(tmp_path, STUDY, f"{name}={value}")


@pytest.mark.parametrize("path", ["~nobody-here/x", "~nobody-here", "~/no such folder", "a\0b"])
def test_paths_that_lead_nowhere(tmp_path: Path, path: str) -> None:
    found = study(
        tmp_path, STUDY.replace("path: pictures", "path: " + repr(path).replace("'", '"').replace("x00", "0"))
    )
    with pytest.raises(DataError, match="does not exist"):
        found.target.data.listing()  # type: ignore[attr-defined]
