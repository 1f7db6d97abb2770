from pathlib import Path

import pytest

from tests.data.making import folder_of
from transferscope.data.sources import Folder


@pytest.fixture
def source(tmp_path: Path) -> Folder:
    return Folder(path=str(folder_of(tmp_path / "data", {"a": 3, "b": 4})))
