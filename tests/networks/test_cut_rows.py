"""Values at a cut by image: any of them make a batch with the bits, shapes and strides of one that was run."""

import pytest
import torch

from transferscope.networks.cuts.cuts import CutValues
from transferscope.networks.cuts.rows import Rows


def batch(images, layout):
    """Values of three kinds: by image, in a layout; a constant; a number that hangs on the size of the batch."""
    values = images[:, :, None, None] * torch.arange(1.0, 13.0).view(1, 1, 3, 4)
    if layout == "channels_last":
        values = values.contiguous(memory_format=torch.channels_last)
    if layout == "expanded":
        values = values[:, :, :, :1].expand(-1, -1, -1, 4)
    return CutValues((values, torch.arange(5.0), len(images), images.to(torch.bfloat16)))


@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "expanded"])
@pytest.mark.parametrize("mapped", [False, True])
def test_any_rows_are_the_batch_of_those_images(tmp_path, layout, mapped):
    images = torch.randn(10, 2, generator=torch.Generator().manual_seed(0))
    rows = Rows.like({4: batch(images[:4], layout), 2: batch(images[:2], layout)}, 10)
    assert isinstance(rows, Rows)
    assert rows.bytes == 10 * (2 * 12 * 4 + 2 * 2)
    files = rows.allocate(torch.device("cpu"), tmp_path / "kept" if mapped else None)
    assert len(files) == (2 if mapped else 0)
    for start in (0, 4, 8):
        positions = torch.arange(start, start + 4) % 10
        rows.put(positions[: 10 - start], batch(images[positions], layout))
    for chosen in (torch.tensor([9, 0, 3, 3]), torch.tensor([5, 1])):
        taken, run = rows.take(chosen).values, batch(images[chosen], layout).values
        assert taken[2] == run[2]
        for a, b in zip((taken[0], taken[1], taken[3]), (run[0], run[1], run[3]), strict=True):
            assert torch.equal(a, b)
            assert a.dtype == b.dtype
            assert a.stride() == b.stride() or layout == "expanded"
    # What is taken is the caller's own.
    rows.take(torch.tensor([5, 1])).values[0].zero_()
    assert torch.equal(rows.take(torch.tensor([5, 1])).values[0], batch(images[[5, 1]], layout).values[0])


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (lambda n: (torch.zeros(7, n, 3),), "does not give values by image"),
        (lambda n: (torch.zeros(n, 3), torch.zeros(7, n)), "hangs on the batch"),
        (lambda n: (torch.zeros(n, 3), torch.full((2,), float(n))), "hangs on the batch"),
        (lambda n: (torch.zeros(n, 3), *([1] * n)), "other things for batches of another size"),
        (lambda n: (3,), "does not give values by image"),
    ],
)
def test_what_has_no_row_for_each_image_is_refused(values, why):
    found = Rows.like({4: CutValues(values(4)), 2: CutValues(values(2))}, 10)
    assert isinstance(found, str)
    assert why in found
