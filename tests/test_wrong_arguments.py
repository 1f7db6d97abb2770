"""Wrong arguments in every public function: the right answer where the meaning is clear, else an error of our own."""

import inspect
import math
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import transferscope as ts
from tests.measures import test_arguments
from tests.measures.test_arguments import K, L, X, Y
from transferscope import measures as m
from transferscope.errors import TransferscopeError
from transferscope.methods.similarity.channels import channel_reuse


def network(seed: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)).eval()


A, B, BEND = network(0), network(1), network(2)
BATCHES = [(X[:6], torch.arange(6) % 3), (X[6:], torch.arange(6) % 3)]
DATA = {"test": BATCHES}
CPU = ts.Evaluation(device="cpu")
MOMENTS = m.channel_update(None, X, Y)
SPECTRUM = m.matrix_spectrum(X)
INTERVAL = m.seeds_interval([0.1, 0.2, 0.3])
CURVE = {1: 3.0, 2: 2.0, 3: 1.0, 4: 0.5}
EPOCHS = {0: 3.0, **CURVE}
PREDICTED = torch.arange(12) % 3
LABELS = PREDICTED.numpy()
SUMS = m.cka_update(None, torch.stack([K, L]))
EXAMPLE_WEIGHTS = np.ones((2, 12))
INDICATORS = m.mistake_indicators(LABELS, LABELS[::-1], LABELS)

METHODS: dict[str, dict[str, Any]] = {
    "align": {"a": A, "b": B, "batches": BATCHES, "method": "activations", "seed": 0, "restarts": 1, "device": "cpu"},
    "average_checkpoints": {
        "checkpoints": [A, B, BEND], "data": ts.AverageData(BATCHES, BATCHES), "evaluation": CPU,
        "names": ["a", "b", "c"], "decays": (0.5,), "margin": 0.005,
    },
    "average_networks": {
        "networks": [A, B], "data": ts.AverageData(BATCHES, BATCHES), "evaluation": CPU, "names": ["a", "b"],
        "methods": ["uniform"], "margin": 0.005, "head": "2", "force": True,
    },
    "basin_networks": {
        "networks": [A, B], "data": DATA, "evaluation": CPU, "grid": ts.BasinGrid(points=3, draws=1, nodes=1),
        "deltas": lambda span: (0.0, span), "tau": 0.02, "seed": 0,
    },
    "channel_reuse": {
        "reference": A, "networks": {"b": B}, "loader": BATCHES, "modules": ["0"], "positions": 4, "threshold": 0.5,
        "device": "cpu",
    },
    "cka": {
        "a": A, "b": B, "loader": BATCHES, "modules": ["0"], "granularity": "block",
        "execution": ts.Execution(device="cpu"), "estimator": ts.CkaEstimator(), "repeatable": True,
    },
    "cka_networks": {"networks": {"a": A, "b": B}, "loader": BATCHES, "execution": ts.Execution(device="cpu")},
    "compare": {
        "a": A, "b": B, "data": BATCHES, "evaluation": CPU, "path": ts.PathGrid(points=3, refine=None),
        "align_by": None, "head": "2", "clusters": np.arange(12) // 2,
    },
    "criticality": {
        "initial": A, "final": B, "data": BATCHES, "evaluation": CPU, "modules": ["0"], "checkpoints": (BEND,),
        "search": ts.CriticalitySearch(draws=2, alphas=(0, 1), sigmas=(0.1,), quantity="loss", margin=9.0),
    },
    "curve_path": {
        "a": A, "b": B, "bend": BEND, "data": DATA, "evaluation": CPU, "shape": "bezier", "positions": (0, 0.5, 1),
    },
    "domain_distance": {
        "model": A, "source": ts.Domain(BATCHES), "target": ts.Domain(BATCHES), "head": "2", "draws": 2,
        "penalty": 0.01, "seed": 0, "device": "cpu",
    },
    "hessian": {
        "network": A, "batches": BATCHES, "evaluation": CPU, "count": 1, "probes": 2, "tolerance": 0.1,
        "most_products": 50, "seed": 0,
    },
    "linear_path": {"a": A, "b": B, "data": DATA, "evaluation": CPU, "alphas": (0, 0.5, 1), "refine": None},
    "load_study": {"path": "no-such-study.yaml", "overrides": ()},
    "module_choices": {
        "pretrained": A, "finetuned": B, "data": ts.ChoiceData(BATCHES, BATCHES),
        "evaluation": ts.Evaluation(device="cpu", recompute_on=BATCHES),
    },
    "module_paths": {
        "a": A, "b": B, "data": DATA, "evaluation": CPU, "alphas": (0, 1), "modules": {"first": ["0.weight"]},
    },
    "plane_around": {"network": A, "data": DATA, "evaluation": CPU, "resolution": 5, "seed": 0},
    "plane_through": {
        "networks": [A, B, BEND], "data": DATA, "evaluation": CPU, "resolution": 5, "margin": 0.25, "tolerance": 1.0,
    },
    "radius_curves": {
        "network": A, "data": DATA, "radii": (1.0,), "directions": 1, "evaluation": CPU, "seed": 0,
    },
    "rewind": {
        "initial": A, "final": B, "data": DATA, "evaluation": CPU, "random": BEND, "zero": True,
        "checkpoints": {1: A}, "modules": ts.ModuleSelection(names=["0"]),
    },
    "run_study": {"study": None, "store_root": "store"},
    "score": {
        "folder": "no-such-folder", "models": ["random:timm:test_resnet"], "architecture": None, "images": 20,
        "image_size": 32, "device": "cpu", "source_accuracy": {}, "data": {},
    },
    "spectra": {"network": A, "example": X, "top": 0.1, "memory": 2**24},
    "write_report": {"results": None, "folder": "report"},
}  # fmt: skip
FAILING = {"load_study", "run_study", "score", "write_report"}
"""Rows that are no right call by themselves: a right one takes minutes, and other tests make it."""

MEASURES: dict[str, dict[str, Any]] = {
    "against_halves": {"distance": lambda a, b, c, d: 1.0, "a": X, "b": Y, "draws": 2, "seed": 0},
    "auc_difference_interval": {"a": X[:, :2], "b": Y[:, :2], "labels": (X[:, 2:] > 0).long(), "draws": 20},
    "auc_error": {"area": 0.7, "positives": 5, "negatives": 6},
    "basin": {"interior": np.ones((2, 8)), "noise": np.ones((2, 1, 8)), "outward": np.ones((2, 1, 8)),
              "deltas": [0.0, 1.0]},
    "bonferroni": {"p": [0.1, None]},
    "bonferroni_confidence": {"count": 3, "confidence": 0.95},
    "bootstrap_draws": {"statistic": m.weighted_mean, "arrays": [np.ones(5)], "draws": 5, "seed": 0},
    "bootstrap_interval": {"statistic": m.weighted_mean, "arrays": [np.arange(5.0)], "draws": 5, "seed": 0},
    "bootstrap_weights": {"examples": 5, "draws": 5, "seed": 0, "clusters": ["a", "a", "b", "b", "c"]},
    "canonical_correlation": {"a": m.decompose(X), "b": m.decompose(Y)},
    "chance_level": {"metric": "top1", "classes": 4},
    "channel_correlation": {"moments": MOMENTS},
    "circular_difference": {
        "weight": torch.ones(4, 3, 3, 3), "size": (8, 8), "stride": (1, 1), "dilation": (1, 1), "padding": (1, 1),
    },
    "cka_compute": {"sums": SUMS},
    "cka_update": {"sums": None, "grams": torch.stack([K, L]), "kind": "unbiased", "bandwidth": 1.0},
    "coarse_to_fine": {"evaluate": lambda i, j: [1.0], "resolution": 5, "tolerance": 0.1},
    "common_thresholds": {"curves": [CURVE, CURVE], "count": 2, "higher_is_better": False},
    "curve_lengths": {
        "shape": "bezier", "positions": (0.0, 1.0), "to_bend": 1.0, "from_bend": 1.0, "straight": 1.5,
    },
    "dead_channels": {"mean": torch.ones(4), "square": torch.ones(4) * 2, "count": 9},
    "decompose": {"features": X},
    "delta_grid": {"span": 1.0, "smallest": 0.5, "largest": 2.0, "per_doubling": 1},
    "frechet_gaussian": {
        "mean_a": torch.ones(3), "covariance_a": torch.eye(3), "mean_b": torch.zeros(3), "covariance_b": torch.eye(3),
    },
    "group_by_module": {"names": ["a.w", "b.w"], "modules": ["a", "b"]},
    "h_score": {"features": X, "labels": PREDICTED},
    "leep": {"probabilities": torch.full((12, 4), 0.25), "labels": PREDICTED},
    "logme": {"features": X, "targets": torch.nn.functional.one_hot(PREDICTED)},
    "nce": {"sources": PREDICTED, "labels": PREDICTED},
    "holm": {"p": [0.1, None]},
    "loss_spikes": {"losses": CURVE},
    "match_channels": {
        "correlation": torch.eye(3), "dead_a": torch.zeros(3, dtype=torch.bool),
        "dead_b": torch.zeros(3, dtype=torch.bool),
    },
    "metric_error": {"value": 0.5, "labels": LABELS, "metric": "top1"},
    "mistake_indicators": {"predicted_a": LABELS, "predicted_b": LABELS, "labels": LABELS},
    "mistake_statistic": {"name": "kappa"},
    "mistakes_by_label": {
        "predicted_a": np.eye(3, dtype=int), "predicted_b": np.eye(3, dtype=int), "labels": np.eye(3, dtype=int),
    },
    "noninferior": {"loss": INTERVAL, "margin": 0.005},
    "label_crossover": {"sizes": [10, 20], "better": [0.2, 0.1], "worse": [0.3, 0.05], "draws": 2, "seed": 0},
    "label_curve": {"sizes": [10, 20, 40], "errors": [0.3, 0.2, 0.1], "draws": 3, "seed": 0},
    "label_multipliers": {"sizes": [10, 20], "better": [0.2, 0.1], "worse": [0.3, 0.2], "draws": 2, "seed": 0},
    "optimisation_speed": {"curves": [CURVE, CURVE]},
    "procrustes_of": {"a": m.decompose(X), "b": m.decompose(Y)},
    "arm_metrics": {
        "outputs": [[torch.eye(2)], [torch.ones(2, 2)]], "labels": torch.tensor([0, 1]), "metric": "top1",
        "clusters": np.array([0, 1]), "draws": 10, "seed": 0,
    },
    "decayed_shares": {"count": 3, "decay": 0.5},
    "leave_one_out_interval": {"value": 0.2, "left_out": [0.1, 0.2, 0.3]},
    "model_stock_state": {
        "states": [{"w": X}, {"w": X + 1}], "start": {"w": Y}, "parameters": ["w"], "counters": ["n"],
    },
    "stock_ratio": {"cosine": 0.5, "count": 2},
    "weighted_state": {"states": [{"w": X}, {"w": Y}], "shares": [0.5, 0.5], "counters": ["n"]},
    "expected_regret": {
        "means": [0.1, 0.2], "covariance": [[0.1, 0.0], [0.0, 0.1]], "n": 5, "chosen": 1, "basis": "examples",
        "confidence": 0.9, "draws": 10, "seed": 0, "confirmed": [0],
    },
    "random_effects": {"values": [0.1, 0.2], "errors": [0.1, 0.1], "weights": "equal", "confidence": 0.95},
    "choose_penalty": {
        "path": torch.rand(2, 6, 1, generator=torch.Generator().manual_seed(0)), "targets": torch.ones(6, 1),
        "folds": torch.arange(6) % 2,
    },
    "label_issues": {"probabilities": np.full((4, 2), 0.5), "labels": np.array([0, 1, 0, 1])},
    "ridge_path": {
        "features": X, "targets": Y, "folds": torch.arange(len(X)) % 2, "penalties": [0.1, 1.0], "others": X,
    },
    "softmax_at_best_scale": {"scores": np.eye(2), "labels": np.array([0, 1])},
    "independent_examples": {"clusters": np.array([0, 0, 1, 2])},
    "reuse": {"choosing": MOMENTS, "scoring": MOMENTS, "threshold": 0.5},
    "rsa_of": {"a": m.dissimilarities(X), "b": m.dissimilarities(Y)},
    "seed_pairs_interval": {"pairs": {(0, 1): 0.1, (0, 2): 0.2, (1, 2): 0.3}, "confidence": 0.95},
    "seeds_p_value": {"a": [0.1, 0.2, 0.4], "b": [0.2, 0.1, 0.1]},
    "share_error": {"share": 0.5, "examples": 10},
    "smallest_batch": {"kind": "unbiased"},
    "spectrum_curve": {"spectrum": SPECTRUM, "points": 5},
    "spectrum_summary": {"spectrum": SPECTRUM, "top": 0.1},
    "speed_from_equal_loss": {"losses": [EPOCHS, EPOCHS], "metrics": [EPOCHS, EPOCHS]},
    "split_head": {"parameters": {"a.w": X, "head.w": Y}, "head": "head"},
    "stability": {"error_barrier": INTERVAL, "limit": 0.02},
    "steps_to_threshold": {"curve": CURVE, "threshold": 1.0, "higher_is_better": False},
    "still_improving": {"curve": CURVE, "level": 0.05, "higher_is_better": False},
    "stratified_kappa": {"weights": EXAMPLE_WEIGHTS, "indicators": INDICATORS, "strata": np.zeros(12, dtype=int)},
    "top_energy": {"spectrum": SPECTRUM, "k": 2},
    "top_k": {"logits": X, "labels": PREDICTED, "k": 2},
    "weighted_mean": {"weights": EXAMPLE_WEIGHTS, "values": np.arange(12.0)},
    "weighted_mistakes": {"weights": EXAMPLE_WEIGHTS, "indicators": INDICATORS},
    "within": {"interval": INTERVAL, "bounds": (0.0, 1.0)},
}  # fmt: skip


def function_of(name: str) -> Callable[..., Any]:
    if name == "channel_reuse":
        return channel_reuse
    return getattr(ts if name in ts.__all__ else m, name)


def row_of(name: str) -> dict[str, Any]:
    if name in METHODS or name in MEASURES:
        return METHODS.get(name) or MEASURES[name]
    words = inspect.signature(function_of(name)).parameters
    return dict(zip(words, test_arguments.CALLS[name], strict=False))


ENTRANCES = {
    "images_source", "lightning_callback", "load_results", "read_watched", "transformers_callback", "watch",
}  # fmt: skip
"""Of files, folders and training loops: tests/test_wrong_entrances.py gives them wrong arguments."""

PUBLIC = sorted(
    {name for name in ts.__all__ if inspect.isfunction(getattr(ts, name))} - ENTRANCES
    | {name for name in m.__all__ if inspect.isfunction(getattr(m, name))}
    | {"channel_reuse"}
)

SLOW = {"align", "compare", "module_choices", "plane_through"}
NEVER = {"object", "complex number", "module", "complex tensor"}
"""What no argument can be."""

NOT_FITTING: dict[str, Any] = {
    "None": None,
    "text": "plausible",
    "no text": "",
    "object": object(),
    "class": nn.Linear,
    "function": len,
    "zero": 0,
    "negative": -1,
    "fraction": 0.5,
    "huge": 1e30,
    "NaN": math.nan,
    "infinite": math.inf,
    "complex number": 1j,
    "bool": True,
    "empty list": [],
    "list of text": ["a", "b"],
    "list of None": [None, None],
    "ragged": [[1.0], [1.0, 2.0]],
    "numbers": [1, 2, 3],
    "tensor": torch.ones(3, 2),
    "scalar tensor": torch.tensor(1.0),
    "empty tensor": torch.ones(0, 4),
    "deep tensor": torch.ones(2, 2, 2, 2, 2),
    "complex tensor": torch.ones(12, 4, dtype=torch.complex64),
    "sparse tensor": torch.eye(4).to_sparse(),
    "meta tensor": torch.ones(3, 2, device="meta"),
    "array": np.ones((3, 2)),
    "array of objects": np.array([object(), None]),
    "array of text": np.array(["a", "b"]),
    "network": A,
    "state dict": A.state_dict(),
    "empty dict": {},
    "dict of None": {"a": None},
    "dict of loaders": DATA,
    "loader": BATCHES,
    "data set": TensorDataset(X),
    "no batches": DataLoader(TensorDataset(X[:0])),
    "images and labels": (X, PREDICTED),
    "batches of None": [None],
    "batches of text": [{"text": ["a"]}],
    "path": Path("nowhere"),
    "settings": ts.PathGrid(),
    "module": types,
}


def variants(value: Any) -> dict[str, Any]:
    """What is close to a right argument, and is not one or another one."""
    found = dict(NOT_FITTING)
    found["used up"] = iter(())
    if isinstance(value, (torch.Tensor, np.ndarray)):
        tensor = torch.as_tensor(np.ascontiguousarray(value))
        found |= {
            "as list": tensor.tolist(), "as array": tensor.numpy(), "half": tensor.half(), "whole": tensor.long(),
            "bools": tensor != 0, "shorter": tensor[:-1], "one": tensor[:1], "none": tensor[:0],
            "one axis more": tensor[None], "one axis less": tensor[0], "NaN in it": tensor.float() * math.nan,
            "as wide": tensor.float().abs().numpy().astype("uint32"), "negative ones": -tensor.long() - 1,
        }  # fmt: skip
    if isinstance(value, (list, tuple)) and value:
        found |= {"shorter": value[:-1], "none": value[:0], "doubled": [*value, *value], "of text": [str(value[0])]}
    if isinstance(value, dict) and value:
        found |= {"of None": dict.fromkeys(value), "of numbers": dict.fromkeys(value, 3), "other names": {"x": value}}
    return found


def left_out(name: str, word: str, right: Any, value: Any) -> bool:
    if isinstance(right, nn.Module):
        return False
    # What goes wrong in a function or network of the caller's, called with what it does not take, is the caller's to
    # see as it is. Batches of the slow functions are read where those of the others are.
    own = (callable(right) and callable(value)) or word == "arrays" or (word == "example" and hasattr(value, "shape"))
    return own or (name in SLOW and isinstance(value, (list, tuple)))


def spoilt(name: str, word: str, row: dict[str, Any], wrong: dict[str, Any]) -> list[str]:
    fitting = {kind: value for kind, value in wrong.items() if not left_out(name, word, row[word], value)}
    return refused(function_of(name), name, word, row, fitting)


def refused(
    function: Callable[..., Any], name: str, word: str, row: dict[str, Any], wrong: dict[str, Any]
) -> list[str]:
    """What becomes of one argument after the other: those that end in another error than ours, or in none."""
    found = []
    for kind, value in wrong.items():
        try:
            function(**{**row, word: value})
            if kind in NEVER:
                found.append(f"{name}({word}={kind}): taken")
        except TransferscopeError as error:
            if not (error.expected or error.hint):
                found.append(f"{name}({word}={kind}): says neither what was expected nor what to do: {error}")
        except Exception as error:
            found.append(f"{name}({word}={kind}): {type(error).__name__}: {str(error)[:100]}")
    return found


def test_every_public_function_has_a_row() -> None:
    rows = {*METHODS, *MEASURES, *(test_arguments.CALLS.keys() & set(m.__all__))}
    assert rows == set(PUBLIC)


@pytest.mark.parametrize("name", PUBLIC)
def test_right_arguments_fit_and_wrong_ones_are_named(name: str) -> None:
    row = row_of(name)
    if name not in FAILING:
        function_of(name)(**row)
    assert not [text for word, value in row.items() for text in spoilt(name, word, row, variants(value))]
