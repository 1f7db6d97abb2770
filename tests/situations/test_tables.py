"""Twenty tables as people have them: listed rightly, or refused with a way out; never a traceback."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from pydantic import TypeAdapter

from tests.situations.tables import COUNT, Situation, make, situations
from transferscope.data.decode import as_image
from transferscope.data.sources import DataSource
from transferscope.errors import DataError

MADE = list(situations())


def test_there_are_twenty_and_each_is_made_the_same_again() -> None:
    assert len(MADE) == COUNT
    assert len({made.name for made in MADE}) == COUNT
    assert [made.rows for made in situations()] == [made.rows for made in MADE]
    assert sum(made.refused is not None for made in MADE) < COUNT / 3


@pytest.mark.kind("tables")
@pytest.mark.parametrize("made", MADE, ids=lambda made: made.name)
def test_a_table_is_listed_rightly_or_refused_with_a_way_out(made: Situation, tmp_path: Path) -> None:
    source = TypeAdapter(DataSource).validate_python(make(made, tmp_path / "data"))
    if made.refused is not None:
        with pytest.raises(DataError) as refused:
            source.listing()
        assert made.refused in str(refused.value)
        assert ".parquet" in str(refused.value)
        return
    listing = source.listing()
    rows = [row for listed in made.rows.values() for row in listed]
    assert set(listing.classes) == made.classes
    assert listing.multi_label == made.several
    assert (None if listing.splits is None else Counter(listing.splits)) == made.splits
    matrix = listing.labels if made.several else np.eye(len(listing.classes), dtype=int)[listing.labels]
    found = [frozenset(listing.classes[int(number)] for number in np.flatnonzero(labels)) for labels in matrix]
    assert found == [row.labels for row in rows]
    assert [as_image(listing.read(index)).getpixel((0, 0)) for index in range(len(rows))] == [row.grey for row in rows]
    assert made.noted in " ".join(listing.notes)
    assert bool(made.noted) <= bool(listing.notes)
    assert source.stamp() == source.stamp()
