import numpy as np
import pytest
import torch

from transferscope.training.mixup import Mixup


def batch(n=6):
    return torch.arange(n * 3 * 4 * 4, dtype=torch.float32).reshape(n, 3, 4, 4), torch.arange(n)


def test_images_are_blended_with_the_labels_they_belong_to():
    images, labels = batch()
    mixed = Mixup(0.4, seed=3, epoch=1)(images, labels)
    expected = mixed.share * images + (1 - mixed.share) * images[mixed.others]  # labels are positions here
    torch.testing.assert_close(mixed.images, expected)
    assert torch.equal(mixed.labels, labels)
    assert sorted(mixed.others.tolist()) == labels.tolist()
    assert torch.equal(images, batch()[0])


def test_draws_depend_on_seed_and_epoch_alone():
    def draws(seed, epoch):
        torch.manual_seed(seed * 7 + epoch)
        mixup = Mixup(1.0, seed, epoch)
        mixed = [mixup(*batch()) for _ in range(3)]
        return [m.share for m in mixed], [m.others.tolist() for m in mixed]

    assert draws(0, 1) == draws(0, 1)
    assert draws(0, 1) != draws(0, 2)
    assert draws(0, 1) != draws(1, 1)
    assert len(set(draws(0, 1)[0])) == 3


@pytest.mark.parametrize("alpha", [0.2, 1.0, 5.0])
def test_shares_are_beta_distributed(alpha):
    mixup = Mixup(alpha, seed=0, epoch=1)
    shares = np.array([mixup(*batch(2)).share for _ in range(3000)])
    assert shares.mean() == pytest.approx(0.5, abs=0.04)
    assert shares.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.12)


def test_rows_of_labels_and_layout_are_kept():
    images, _ = batch()
    rows = torch.eye(6, dtype=torch.uint8)
    mixed = Mixup(1.0, 0, 1)(images.to(memory_format=torch.channels_last), rows)
    assert mixed.others.shape == rows.shape
    assert mixed.images.is_contiguous(memory_format=torch.channels_last)
