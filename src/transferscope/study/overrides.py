"""``--set a.b=c``: changes of a study's values before it is validated."""

from typing import Any

from transferscope.errors import nearest
from transferscope.study.problems import Place, place_name, shown
from transferscope.study.registry import DEFAULT_ANALYSES
from transferscope.study.yaml import read_value


def override(values: dict[str, Any], text: str) -> Place:
    """Change one value in place.

    Names are separated by dots, list items are counted from 0, and one past the last item adds one. An analysis of the
    list ``analyses`` can also be named: ``analyses.similarity.granularity=block``.

    Args:
        text: ``a.b=c``; ``c`` is YAML.

    >>> values = {"seeds": [0, 1]}
    >>> override(values, "seeds.1=5"), override(values, "target.image_size=96")
    (('seeds', 1), ('target', 'image_size'))
    >>> values
    {'seeds': [0, 5], 'target': {'image_size': 96}}
    """
    path, equals, given = text.partition("=")
    parts = [part.strip() for part in path.split(".")]
    if not equals or not all(parts):
        raise ValueError(f"expected 'name.name=value', got {text!r}")
    value = read_value(given)
    if parts[0] == "analyses" and len(parts) > 1:
        parts = _analysis(values, parts)
    place: Place = ()
    here: Any = values
    for part in parts[:-1]:
        step = _step(here, part, place, adding=False)
        place = (*place, step)
        if isinstance(here, dict) and here.get(part) is None:
            here[part] = {}
        here = here[step]
    step = _step(here, parts[-1], place, adding=True)
    if isinstance(here, list) and step == len(here):
        here.append(value)
    else:
        here[step] = value
    return (*place, step)


def _step(here: Any, part: str, place: Place, *, adding: bool) -> str | int:
    if isinstance(here, dict):
        return part
    if not isinstance(here, list):
        raise ValueError(f"{place_name(place)} holds no settings but {shown(here)}: set it as a whole")
    if not part.isdigit():
        raise ValueError(f"{place_name(place)} is a list: expected a position such as 0, got {part!r}")
    if int(part) >= len(here) + adding:
        raise ValueError(f"{place_name(place)} has {len(here)} items, counted from 0: there is no item {part}")
    return int(part)


def _analysis(values: dict[str, Any], parts: list[str]) -> list[str]:
    """``parts`` with the analysis by position, its settings a mapping where they are to be changed."""
    if values.get("analyses") is None:
        values["analyses"] = list(DEFAULT_ANALYSES)
    listed = values["analyses"]
    if not isinstance(listed, list):
        return parts
    if not parts[1].isdigit():
        names = [str(next(iter(item), "")) if isinstance(item, dict) else str(item) for item in listed]
        if parts[1] not in names:
            raise ValueError(f"the study does not list the analysis {parts[1]!r}; {nearest(parts[1], names)}")
        if len(parts) == 2:
            raise ValueError(f"expected a setting of the analysis, as in 'analyses.{parts[1]}.setting=value'")
        parts = [parts[0], str(names.index(parts[1])), *parts[1:]]
    index = int(parts[1])
    if len(parts) > 3 and index < len(listed) and listed[index] == parts[2]:
        listed[index] = {parts[2]: {}}
    return parts
