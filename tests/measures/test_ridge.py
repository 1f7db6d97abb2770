"""Ridge probes: the closed form against refitting without each fold."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from transferscope.errors import MeasureError
from transferscope.measures import choose_penalty, ridge_path


def tables(examples: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(examples + width)
    x = torch.randn(examples, width, generator=generator, dtype=torch.float64) + 3
    y = torch.nn.functional.one_hot(torch.arange(examples) % 3, 3).double()
    return x, y


def refitted(x: torch.Tensor, y: torch.Tensor, folds: torch.Tensor, penalty: float) -> np.ndarray:
    strength = penalty * float((x - x.mean(0)).square().sum()) / len(x)
    held = np.empty((len(x), y.shape[1]))
    for fold in set(folds.tolist()):
        out = (folds == fold).numpy()
        held[out] = Ridge(alpha=strength).fit(x[~out].numpy(), y[~out].numpy()).predict(x[out].numpy())
    return held


@pytest.mark.parametrize(("examples", "width"), [(30, 7), (20, 60)])
@pytest.mark.parametrize("count", [5, None])
def test_held_out_predictions_are_those_of_refitting(examples: int, width: int, count: int | None) -> None:
    x, y = tables(examples, width)
    folds = torch.arange(examples) % (count or examples)
    found = ridge_path(x, y, folds, [0.01, 1.0]).held_out
    for place, penalty in enumerate((0.01, 1.0)):
        np.testing.assert_allclose(found[place].numpy(), refitted(x, y, folds, penalty), atol=1e-8)


def test_others_are_predicted_by_the_fit_to_all() -> None:
    x, y = tables(25, 8)
    more = tables(4, 8)[0]
    strength = 0.1 * float((x - x.mean(0)).square().sum()) / len(x)
    expected = Ridge(alpha=strength).fit(x.numpy(), y.numpy()).predict(more.numpy())
    found = ridge_path(x, y, torch.arange(25) % 5, [0.1], more).others[0]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-8)


def test_it_is_invariant_to_offset_scale_and_rotation() -> None:
    x, y = tables(30, 6)
    turn = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64))[0]
    folds = torch.arange(30) % 3
    plain, moved = (ridge_path(table, y, folds, [0.3]).held_out for table in (x, 5 * (x @ turn) - 2))
    torch.testing.assert_close(plain, moved)
    stretched = x * torch.tensor([9.0, 1, 1, 1, 1, 1])
    assert not torch.allclose(plain, ridge_path(stretched, y, folds, [0.3]).held_out)


def test_the_penalty_of_a_fold_is_chosen_by_the_others() -> None:
    target = torch.tensor([[1.0], [1.0], [0.0]])
    folds = torch.tensor([0, 1, 2])
    path = torch.tensor([[[1.0], [1.0], [1.0]], [[0.5], [0.5], [0.0]]])
    # Without its own error the first penalty is best for the last fold alone.
    assert choose_penalty(path, target, folds).flatten().tolist() == [0.5, 0.5, 1.0]


@pytest.mark.parametrize(
    ("x", "y", "folds", "penalties"),
    [
        (torch.ones(4, 2), torch.ones(3, 1), torch.arange(4), [1.0]),
        (torch.full((4, 2), torch.nan), torch.ones(4, 1), torch.arange(4), [1.0]),
        (torch.ones(4, 2), torch.ones(4, 1), torch.zeros(4), [1.0]),
        (torch.ones(4, 2), torch.ones(4, 1), torch.arange(4), [0.0]),
        (torch.ones(4, 2), torch.ones(4, 1), torch.arange(4), []),
    ],
)
def test_bad_input_is_named(x: torch.Tensor, y: torch.Tensor, folds: torch.Tensor, penalties: list[float]) -> None:
    with pytest.raises(MeasureError):
        ridge_path(x, y, folds, penalties)


def test_a_solver_that_gives_up_is_followed_by_one_that_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = tables(20, 6)
    folds = torch.arange(20) % 4
    expected = ridge_path(x, y, folds, [0.1]).held_out

    def gives_up(gram: torch.Tensor) -> None:
        raise torch.linalg.LinAlgError("failed to converge")

    monkeypatch.setattr(torch.linalg, "eigh", gives_up)
    torch.testing.assert_close(ridge_path(x, y, folds, [0.1]).held_out, expected)


def test_features_that_never_vary_give_the_mean() -> None:
    found = ridge_path(torch.ones(4, 3), torch.tensor([[0.0], [0], [1], [1]]), torch.arange(4) % 2, [1.0])
    assert found.held_out[0].flatten().tolist() == pytest.approx([0.5] * 4)
