"""Frozen settings whose identity is a hash of what they ask for."""

import hashlib
import json
from typing import Any, ClassVar, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationInfo, field_validator


def content_key(value: object) -> str:
    """The key of a JSON-like value: 32 hexadecimal digits of the SHA-256 of its canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def derive_seed(seed: int, *purpose: object) -> int:
    """A 63-bit seed for one purpose, derived from ``seed`` alone, never from global state.

    Two networks of the same seed get the same number for the same purpose: this is what pairs P-T[s] with RI-T[s] (same
    head, data order and augmentation).

    Args:
        seed: the seed of the network or analysis.
        purpose: words that name the use, for example ``"data order", epoch``.

    Returns:
        An integer in [0, 2**63).
    """
    return int(content_key([seed, [str(word) for word in purpose]])[:16], 16) >> 1


def _once(value: tuple[Any, ...] | None, info: ValidationInfo) -> tuple[Any, ...] | None:
    if value is not None and len(set(value)) != len(value):
        raise ValueError(f"{info.field_name} holds a value twice")
    return value


Once: Final = AfterValidator(_once)
"""Of a setting that is a list: every value is in it once, as in ``Annotated[tuple[int, ...], Once]``."""


_LARGEST = 1_000_000
_ANY_SIZE = ("seed", "bytes", "version", "max_pixels")


class Frozen(BaseModel):
    """Immutable, validated settings; unknown fields are errors.

    ``identity`` is what the settings ask for, as JSON: fields named in ``not_identity`` (paths, labels, everything that
    says where something lies rather than what it is) are left out. ``key`` is its hash.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)

    not_identity: ClassVar[frozenset[str]] = frozenset()

    @field_validator("*")
    @classmethod
    def _possible(cls, value: object, info: ValidationInfo) -> object:
        """Refuse counts so large that what is made from them fills the memory or never ends."""
        if not any(word in str(info.field_name) for word in _ANY_SIZE):
            items = value if isinstance(value, (tuple, list)) else (value,)
            if any(isinstance(item, int) and item > _LARGEST for item in items):
                raise ValueError(f"expected whole numbers of at most {_LARGEST:,}")
        return value

    def identity(self) -> Any:
        """What is asked for, as JSON-like values: the input of :attr:`key`."""
        return {
            name: _identity(getattr(self, name)) for name in type(self).model_fields if name not in self.not_identity
        }

    @classmethod
    def setting_names(cls) -> list[str]:
        """Settings as they are read: what these have of their own first, then what they share with others."""
        return sorted(cls.model_fields, key=lambda name: name not in cls.__annotations__)

    @property
    def code(self) -> str | None:
        """The function of the user's own, ``package.module:function``, that these settings name by themselves."""
        return None

    @property
    def key(self) -> str:
        """32 hexadecimal digits that stand for what these settings ask for."""
        return content_key(self.identity())


def _identity(value: object) -> Any:
    if isinstance(value, Frozen):
        return value.identity()
    if isinstance(value, dict):
        return {str(name): _identity(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_identity(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(_identity(item) for item in value)
    return value
