import pytest
import torch

from transferscope.errors import MeasureError
from transferscope.measures.metrics import correct, top_k, top_k_correct


def test_against_a_sort_of_every_row() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(80, 6, generator=generator).round(decimals=0)  # with ties
    labels = torch.randint(6, (80,), generator=generator)
    for k in range(1, 7):
        literal = [
            int(label) in sorted(range(6), key=lambda c, row=row: (-row[c], c))[:k]
            for row, label in zip(logits.tolist(), labels, strict=True)
        ]
        found = top_k_correct(logits, labels, k)
        assert found.dtype == torch.bool
        assert found.tolist() == literal
        assert top_k(logits, labels, k) == pytest.approx(sum(literal) / 80)
    assert torch.equal(top_k_correct(logits, labels), correct(logits, labels))


def test_a_nan_is_wrong_even_where_every_class_counts() -> None:
    logits = torch.tensor([[float("nan"), 0.0, 1.0], [2.0, 0.0, 1.0], [float("inf"), 0.0, 1.0]])
    assert top_k_correct(logits, torch.tensor([2, 2, 0]), 3).tolist() == [False, True, True]


@pytest.mark.parametrize(
    ("labels", "k", "message"),
    [
        (torch.zeros(2, 3, dtype=torch.long), 1, "top1 takes one label per example"),
        (torch.tensor([0, 1]), 5, "top5 does not fit 3 classes"),
        (torch.tensor([0, 1]), 0, "top0 does not fit 3 classes"),
        (torch.tensor([0, 3]), 1, "a label is out of range"),
    ],
)
def test_what_does_not_fit_is_named(labels, k, message) -> None:
    with pytest.raises(MeasureError, match=message):
        top_k_correct(torch.zeros(2, 3), labels, k)
