"""Labels that are exchanged: which, how, and that nothing of the settings changed where they are not."""

import numpy as np
import pytest

from tests.studies import RECIPE, arrays
from transferscope.data.permuted_labels import permute_labels
from transferscope.data.spec import DataSpec, SplitSettings
from transferscope.data.splits import make_splits
from transferscope.data.store import open_images
from transferscope.specs.pretraining import Pretraining


@pytest.mark.parametrize("multi", [False, True])
def test_labels_are_exchanged_among_the_examples_named(tmp_path, multi):
    images = open_images(arrays(tmp_path / "a", 90, 1, multi=multi), 16, tmp_path / "images")
    train = make_splits(images, SplitSettings())["train"]
    found = permute_labels(images, train, 0)
    before, after = np.array(images.labels), np.array(found.labels)
    others = np.setdiff1d(np.arange(len(before)), train)
    assert before[others].tolist() == after[others].tolist()
    assert sorted(before[train].tolist()) == sorted(after[train].tolist())
    assert before[train].tolist() != after[train].tolist()
    assert found.fingerprint == images.fingerprint
    assert np.array_equal(found.pixels([0, 5]), images.pixels([0, 5]))
    assert permute_labels(images, train[::-1], 0).labels.tolist() == after.tolist()
    assert permute_labels(images, train, 1).labels.tolist() != after.tolist()


def test_labels_as_given_are_no_part_of_a_key(tmp_path):
    source = arrays(tmp_path, 30, 1)
    data = DataSpec(source=source, fingerprint="0" * 64, image_size=16)
    assert "labels" not in data.identity()
    assert data.model_copy(update={"labels": "permuted"}).key != data.key
    pretrain = Pretraining.model_validate({"data": source, "recipe": RECIPE})
    assert "labels" not in pretrain.identity()
    assert pretrain.model_copy(update={"labels": "permuted"}).key != pretrain.key
