"""Public measures on whatever tensors people have: of a graph, of inference mode, of other types, strides."""

import functools

import pytest
import torch

from transferscope import measures as m

pytestmark = pytest.mark.kind("F23")


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def positive(*shape: int, seed: int = 0) -> torch.Tensor:
    return drawn(*shape, seed=seed).abs() + 0.5


def gram(seed: int) -> torch.Tensor:
    x = drawn(6, 3, seed=seed)
    return x @ x.T


X, Y, K, L = drawn(12, 4), drawn(12, 4, seed=1), gram(0), gram(1)
LOGITS, LABELS = drawn(8, 3), torch.arange(8) % 3
WEIGHTS, OTHER = {"w": drawn(4, 3)}, {"w": drawn(4, 3, seed=2)}
PROBABILITIES = drawn(2, 5, 3).softmax(2)
# Names of measures to what they are called with; tensors are replaced, settings stay.
CALLS = {
    "linear_cka": (X, Y),
    "rbf_cka": (X, Y),
    "centred_gram": (X,),
    "hsic1": (K, L),
    "hsic_pairs": (torch.stack([K, L]),),
    "u_centred": (K,),
    "rbf_grams": (torch.stack([K, L]),),
    "channel_update": (None, X, Y),
    "mean_squared_cca": (X, Y),
    "procrustes_distance": (X, Y),
    "procrustes_similarity": (X, Y),
    "rsa": (X, Y),
    "dissimilarities": (X,),
    "rank_scores": (X[:, 0],),
    "frechet_distance": (X, Y),
    "kernel_distance": (X, Y),
    "proxy_a_distance": (X, Y, X, Y),
    "batch_norm_distance": (drawn(4), positive(4), drawn(4, seed=3), positive(4, seed=4)),
    "colour_moments": (drawn(2, 3, 8, 8),),
    "colour_distance": (positive(9, 9), positive(9, 9, seed=5)),
    "spectrum_slope": (drawn(2, 3, 8, 8),),
    "matrix_spectrum": (X,),
    "convolution_spectrum": (drawn(4, 3, 3, 3), (4, 4)),
    "transposed_convolution_spectrum": (drawn(4, 3, 3, 3), (4, 4)),
    "parameter_norm": (WEIGHTS,),
    "parameter_distance": (WEIGHTS, OTHER),
    "distance_by_module": (WEIGHTS, OTHER, ("w",)),
    "displacement_cosine": (WEIGHTS, OTHER, OTHER, WEIGHTS),
    "interpolate": (WEIGHTS, OTHER, 0.5),
    "fit_logistic": (X, torch.arange(12) % 2, 2, 0.1),
    "scaling": (X,),
    "per_example_loss": (LOGITS, LABELS),
    "predictions": (LOGITS,),
    "correct": (LOGITS, LABELS),
    "top_k_correct": (LOGITS, LABELS, 2),
    "metric": (LOGITS, LABELS, "top1"),
    "per_label_auc": (LOGITS[:, :2], LABELS % 2),
    "ensemble_entropy": (PROBABILITIES,),
    "barrier": ([0.0, 0.5, 1.0], positive(3, 8)),
    "compare_mistakes": (LABELS, LABELS.flip(0), LABELS),
    "mistakes_by_group": (LABELS, LABELS.flip(0), LABELS, LABELS),
    "weighted_auc": (X[:, 0], X[:, 1] > 0, torch.ones(1, 12)),
    "difficulty": (X.T > 0, (0, 1)),
    "standard_error": (X[:, 0],),
    "seeds_interval": (positive(5),),
    "paired_seeds_interval": (positive(5), positive(5, seed=6)),
    "mean_difference_interval": (X[:, 0], Y[:, 0]),
    "sign_flip_p_value": (torch.tensor([1, -1, 0, 1, 1, 0, 1, 1]),),
    "fieller": (positive(5), positive(5, seed=7) + 3),
    "rank_agreement": (X[:, 0], Y[:, 0]),
    "quarter_strata": (X[:, 0],),
    "difficulty_strata": (torch.tensor([0.0, 0.5, 1.0]),),
}
# Covariances and kernels of rounded numbers may be other numbers, no other kind of number.
ROUNDED = ("bfloat16", "float16")


def of_graph(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.clone().requires_grad_(True) * 1 if tensor.is_floating_point() else tensor


def of_inference(tensor: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return tensor.clone()


def strided(tensor: torch.Tensor) -> torch.Tensor:
    return torch.stack([tensor, tensor], -1)[..., 0]


def as_type(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


VARIANTS = {
    "requires grad": lambda tensor: tensor.clone().requires_grad_(True) if tensor.is_floating_point() else tensor,
    "of a graph": of_graph,
    "of inference mode": of_inference,
    "strided": strided,
    "float64": functools.partial(as_type, dtype=torch.float64),
    "bfloat16": functools.partial(as_type, dtype=torch.bfloat16),
    "float16": functools.partial(as_type, dtype=torch.float16),
}


def changed(item, change):
    if isinstance(item, torch.Tensor):
        return change(item)
    return {key: change(value) for key, value in item.items()} if isinstance(item, dict) else item


def numbers(result) -> list[float]:
    """All numbers in a result, in order."""
    if result is None or isinstance(result, str):
        return []
    if isinstance(result, torch.Tensor):
        assert not result.requires_grad
        return result.double().flatten().tolist()
    if isinstance(result, dict):
        return [number for value in result.values() for number in numbers(value)]
    if hasattr(result, "__dict__"):
        return numbers(vars(result))
    if hasattr(result, "tolist"):
        return numbers(result.tolist())
    return [n for part in result for n in numbers(part)] if isinstance(result, (list, tuple)) else [float(result)]


def settled(name: str, arguments) -> list[float]:
    function = getattr(m, name)
    return numbers(function(*arguments, **({"draws": 20} if name == "mean_difference_interval" else {})))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", CALLS)
def test_measures_take_any_tensor(name: str, variant: str) -> None:
    given = [changed(item, VARIANTS[variant]) for item in CALLS[name]]
    # What the same numbers give as plain float32 (rounded ones, where the type rounds).
    plain = [changed(item, lambda t: t.detach().float() if t.is_floating_point() else t) for item in given]
    if variant in ROUNDED and name == "ensemble_entropy":
        pytest.skip("rounded probabilities do not sum to 1")
    expected = settled(name, plain)
    assert expected
    tolerance = 2e-2 if variant in ROUNDED else 1e-4
    assert settled(name, given) == pytest.approx(expected, rel=tolerance, abs=tolerance, nan_ok=True)


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool])
def test_whole_numbers_are_features(dtype: torch.dtype) -> None:
    a, b = ((table > 0).to(dtype) for table in (X, Y))
    for measure in (m.linear_cka, m.rbf_cka):
        assert measure(a, b) == pytest.approx(measure(a.double(), b.double()), abs=1e-9)
    assert numbers(m.channel_update(None, a, b)) == pytest.approx(
        numbers(m.channel_update(None, a.double(), b.double()))
    )
    grams = torch.stack([(X > 0).long() @ (X > 0).long().T, (Y > 0).long() @ (Y > 0).long().T])
    assert numbers(m.cka_update(None, grams).hsic) == pytest.approx(numbers(m.cka_update(None, grams.double()).hsic))


def test_arguments_given_by_name_and_within_lists() -> None:
    x, y = (table.clone().requires_grad_(True) for table in (X, Y))
    assert m.linear_cka(a=x, b=y) == m.linear_cka(X, Y)
    assert numbers(m.bootstrap_interval(m.weighted_mean, [x[:, 0]], draws=20)) == numbers(
        m.bootstrap_interval(m.weighted_mean, [X[:, 0].numpy()], draws=20)
    )
    assert numbers(m.ensemble_entropy([p.requires_grad_(True) for p in PROBABILITIES.clone().unbind()])) == numbers(
        m.ensemble_entropy(PROBABILITIES)
    )
