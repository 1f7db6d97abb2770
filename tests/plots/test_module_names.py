"""Names of modules on an axis: short where they can be, never alike."""

from hypothesis import given, settings
from hypothesis import strategies as st

from transferscope.plots.module_names import short_names

PART = st.text("abc01", min_size=1, max_size=6)
NAME = st.lists(PART, min_size=1, max_size=5).map(".".join)


@settings(derandomize=True, deadline=None)
@given(st.lists(NAME, unique=True, max_size=12), st.integers(1, 20))
def test_different_modules_have_different_names(names, most) -> None:
    found = short_names(names, most)
    assert list(found) == names
    assert len(set(found.values())) == len(names)
    for name, said in found.items():
        assert said == name if len(name) <= most else name.endswith(said.removeprefix("…"))


def test_long_names_keep_as_many_parts_as_it_takes() -> None:
    layers = [f"features.denseblock{block}.denselayer{layer}" for block in (1, 2) for layer in (1, 2)]
    found = short_names(["features.conv0", *layers, "classifier"])
    assert list(found.values()) == [
        "features.conv0", *(f"…denseblock{block}.denselayer{layer}" for block in (1, 2) for layer in (1, 2)),
        "classifier",
    ]  # fmt: skip
    alone = short_names([layer for layer in layers if ".denseblock1." in layer])
    assert list(alone.values()) == ["…denselayer1", "…denselayer2"]


def test_of_a_group_both_ends_are_named_where_they_tell_it_from_others() -> None:
    group = "layer1.0 + layer1.1 + layer2.0"
    assert short_names([group, "(all)"])[group] == "layer1.0 … layer2.0 (3)"
    other = "layer1.0 + layer1.2 + layer2.0"
    assert short_names([group, other]) == {group: group, other: other}


def test_nothing_gives_nothing() -> None:
    assert short_names([]) == {}
