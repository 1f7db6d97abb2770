"""Settings whose key is a hash of what they ask for: the same in every process."""

import hashlib
import os
import subprocess
import sys
from typing import Annotated, Any, ClassVar

import pytest
from pydantic import Field, ValidationError

from transferscope.frozen import Frozen, Once, content_key, derive_seed


class Inner(Frozen):
    value: float = 0.5
    path: str = "here"
    not_identity: ClassVar[frozenset[str]] = frozenset({"path"})


class Outer(Frozen):
    inner: Inner = Inner()
    many: tuple[Inner, ...] = ()
    named: dict[str, Any] = Field(default_factory=dict)
    words: frozenset[str] = frozenset()
    label: str = ""
    not_identity: ClassVar[frozenset[str]] = frozenset({"label"})


def test_a_key_is_32_hexadecimal_digits() -> None:
    assert len(Outer().key) == 32
    assert int(Outer().key, 16) >= 0


def test_golden_keys() -> None:
    # These numbers are a promise: with other ones every user's store is lost.
    assert content_key({"b": [1, 2.5, None, True], "a": "ü"}) == "016a42b8cab958d1ab0e8d320efe7edf"
    assert derive_seed(0, "head") == 1836104778914437423
    assert derive_seed(3, "order", 2) == 982558450668931151
    outer = Outer(many=(Inner(value=1),), named={"z": 1, "a": [Inner()]}, words=frozenset("cab"))
    assert outer.key == "c1cd372ae127190bdbe262ac8bafc7f5"


def test_keys_and_seeds_are_the_hash_of_canonical_json() -> None:
    def sha256(text: str) -> str:
        return hashlib.sha256(text.encode("ascii")).hexdigest()

    assert content_key({"b": [1, 2.5, None, True], "a": "ü"}) == sha256(r'{"a":"\u00fc","b":[1,2.5,null,true]}')[:32]
    assert derive_seed(3, "order", 2) == int(sha256('[3,["order","2"]]')[:16], 16) >> 1


def test_keys_do_not_hang_on_pythons_own_hashes() -> None:
    program = (
        "from tests.test_frozen import Outer\n"
        "from transferscope.frozen import derive_seed\n"
        "words = frozenset({'alpha', 'beta', 'gamma', 'delta'})\n"
        "print(Outer(words=words, named={'b': 1, 'a': 2}).key, derive_seed(5, 'order', 1))"
    )
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    said = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join((f"{root}/src", root))},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    words = frozenset({"alpha", "beta", "gamma", "delta"})
    assert said == {f"{Outer(words=words, named={'a': 2, 'b': 1}).key} {derive_seed(5, 'order', 1)}\n"}


def test_what_is_not_identity_does_not_change_a_key_at_any_depth() -> None:
    elsewhere = Inner(path="elsewhere")
    one = Outer(inner=Inner(), many=(Inner(),), named={"x": [Inner()]})
    other = Outer(inner=elsewhere, many=(elsewhere,), named={"x": [elsewhere]}, label="shown otherwise")
    assert one.key == other.key
    assert one != other


@pytest.mark.parametrize(
    "other", [{"inner": Inner(value=0.25)}, {"many": (Inner(),)}, {"named": {"a": 1}}, {"words": frozenset("a")}]
)
def test_everything_else_changes_it(other: dict[str, Any]) -> None:
    assert Outer(**other).key != Outer().key


def test_a_number_written_in_another_way_is_the_same() -> None:
    assert Inner(value=1).key == Inner(value=1.0).key == Inner(value=1e0).key
    assert Inner(value=0.1 + 0.2).key != Inner(value=0.3).key


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_a_number_has_no_key(value: float) -> None:
    with pytest.raises(ValidationError, match="finite"):
        Inner(value=value)
    with pytest.raises(ValueError, match="not JSON compliant"):
        content_key({"value": value})


def test_what_json_has_no_word_for_has_no_key() -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        content_key({"value": object()})


def test_settings_are_frozen_and_know_their_fields() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Inner().value = 1.0  # type: ignore[misc]  # that is the test
    with pytest.raises(ValidationError, match="Extra inputs"):
        Inner(valeu=1.0)  # type: ignore[call-arg]  # that is the test


def test_seeds_are_63_bits_and_one_per_purpose() -> None:
    seeds = {derive_seed(seed, *words) for seed in range(50) for words in (("order", 1), ("order", 2), ("head",), ())}
    assert len(seeds) == 200
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert any(seed >= 2**62 for seed in seeds)
    assert derive_seed(-1, "head") != derive_seed(1, "head")
    assert derive_seed(1, "a", "b") != derive_seed(1, "ab")


class Listed(Frozen):
    sides: Annotated[tuple[int, ...] | None, Once] = None


def test_a_value_is_named_once() -> None:
    assert Listed(sides=(2, 1)).sides == (2, 1)
    assert Listed().sides is None
    with pytest.raises(ValidationError, match="sides holds a value twice"):
        Listed(sides=(1, 2, 1))
