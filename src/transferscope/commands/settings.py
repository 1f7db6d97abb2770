"""Settings of ``--set``, those of the data apart."""

from collections.abc import Mapping, Sequence
from typing import Any

from transferscope.errors import StudyError

__all__ = ["divided"]


def divided(overrides: Sequence[str]) -> tuple[Mapping[str, Any], list[str]]:
    """Settings of ``target.data``, and the overrides of anything else.

    Raises:
        StudyError: the data as a whole are set.
    """
    from transferscope.study.overrides import override

    data: dict[str, Any] = {}
    others: list[str] = []
    for text in overrides:
        values: dict[str, Any] = {"target": {"data": data}}
        try:
            place = override(values, text)
        except ValueError:
            place = ()  # told when the study is read
        if place[:2] != ("target", "data"):
            others.append(text)
        elif not isinstance(data := values["target"]["data"], dict):
            raise StudyError(f"--set {text}: target.data holds settings", expected="target.data.NAME=VALUE")
    return data, others
