"""Fifty folders as people have them: listed rightly, or refused with a way out; never a traceback."""

from collections import Counter
from pathlib import Path

import pytest

from tests.commands.calling import call
from tests.running.tiny import NAME, weights
from tests.situations.folders import COUNT, Situation, make, situations
from transferscope.data.sources import Folder
from transferscope.errors import DataError

MADE = list(situations())


def test_there_are_fifty_and_each_is_made_the_same_again() -> None:
    assert len(MADE) == COUNT
    assert len({made.name for made in MADE}) == COUNT
    assert [made.pictures for made in situations()] == [made.pictures for made in MADE]
    assert sum(made.refused is not None for made in MADE) < COUNT / 2


@pytest.mark.kind("folders")
@pytest.mark.parametrize("made", MADE, ids=lambda made: made.name)
def test_a_folder_is_listed_rightly_or_refused_with_a_way_out(made: Situation, tmp_path: Path) -> None:
    root = make(made, tmp_path / "data")
    source = Folder(path=str(root), **made.settings)  # type: ignore[arg-type]  # settings of a folder
    if made.refused is not None:
        with pytest.raises(DataError) as refused:
            source.listing()
        assert made.refused in (refused.value.hint or "")
        return
    listing = source.listing()
    assert set(listing.classes) == made.classes
    assert (None if listing.splits is None else Counter(listing.splits)) == made.splits
    for words in made.said:
        assert any(words in note for note in listing.notes), listing.notes
    for text in (*listing.names, *listing.classes, *listing.notes):
        assert text.isprintable()
        text.encode()
    assert source.stamp() == source.stamp()
    for index in (0, len(listing.names) - 1):
        assert listing.names[index].endswith(".heic") or listing.read(index).size == (8, 8)


def test_some_of_them_are_planned(tmp_path: Path) -> None:
    """What ``init`` writes, ``plan`` takes, whatever the folder is called."""
    model = weights(tmp_path / "w")
    for layout in ("_split", "_within_classes", "_odd_bytes", "_control"):
        made = next(made for made in MADE if made.name.endswith(layout.strip("_")))
        # Three pictures of every class in every split.
        made.pictures += [path.replace(b".png", b"-%d.png" % more) for path in made.pictures for more in range(3)]
        root = make(made, tmp_path / layout)
        study = tmp_path / f"{layout}.yaml"
        # All pictures of a situation are one picture: equal ones would be one group.
        common = ["--set", "analyses=[distance]", "--set", "target.image_size=16", "--set", "target.duplicates=ignore"]
        call("init", str(root), "-o", str(study), "--model", str(model), "--architecture", NAME, "--quick", *common)
        out, _ = call("plan", str(study), "--store", str(tmp_path / "store"), "--allow-code")
        assert "trainings to do:    at most 6" in out
        assert all(line.isprintable() for line in out.splitlines())
