"""What is done to a case to see whether a measure stays the same."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from tests.properties.measured_cases import Case, Generator


def on(*names: str) -> Callable[[Callable[[Any, Generator], Any]], Callable[[Case, Generator], Case]]:
    """A change of the named entries of a case, with the same random numbers for each."""

    def wrap(change: Callable[[Any, Generator], Any]) -> Callable[[Case, Generator], Case]:
        def changed(case: Case, generator: Generator) -> Case:
            seed = int(generator.integers(2**31))
            return {**case, **{name: change(case[name], np.random.default_rng(seed)) for name in names}}

        return changed

    return wrap


def shuffled(table: Any, generator: Generator) -> Any:
    return table[generator.permutation(len(table))]


def orthogonal(size: int, generator: Generator) -> np.ndarray:
    return np.linalg.qr(generator.normal(size=(size, size)))[0]


def classes_with_labels(case: Case, generator: Generator) -> Case:
    order = generator.permutation(case["logits"].shape[1])
    return {"logits": case["logits"][:, order], "labels": torch.from_numpy(np.argsort(order))[case["labels"]]}


def renamed(names: tuple[str, ...]) -> Callable[[Case, Generator], Case]:
    def change(case: Case, generator: Generator) -> Case:
        order = np.roll(np.arange(3), int(generator.integers(1, 3)))
        return {**case, **{name: order[case[name]] for name in names}}

    return change


def more_right(case: Case, generator: Generator) -> Case:
    extra = generator.integers(3, size=15)
    return {name: np.concatenate([column, extra]) for name, column in case.items()}


def at_epoch(epoch: int) -> Callable[[Case, Generator], Case]:
    def change(case: Case, generator: Generator) -> Case:
        return {name: {**curve, epoch: curve[epoch] + 3.0} for name, curve in case.items()}

    return change


def rows_turned(parameters: dict[str, torch.Tensor], generator: Generator) -> dict[str, torch.Tensor]:
    turn = torch.from_numpy(orthogonal(6, generator))
    return {name: turn @ tensor for name, tensor in parameters.items()}


def rows_permuted(parameters: dict[str, torch.Tensor], generator: Generator) -> dict[str, torch.Tensor]:
    order = torch.from_numpy(np.roll(np.arange(6), 1 + int(generator.integers(5))))
    return {name: tensor[order] for name, tensor in parameters.items()}


def scaled_by(factor: float) -> Callable[[Any, Generator], Any]:
    def change(value: Any, generator: Generator) -> Any:
        return {name: factor * item for name, item in value.items()} if isinstance(value, dict) else factor * value

    return change


def farther(case: Case, generator: Generator) -> Case:
    """Each network three times as far from its start, in the same direction."""
    moved = {
        side: {name: start + 3 * (case[side][name] - start) for name, start in case[f"{side}_start"].items()}
        for side in ("a", "b")
    }
    return {**case, **moved}


def decayed(case: Case, generator: Generator) -> Case:
    return {**case, "a": {name: tensor - 0.5 * case["a_start"][name] for name, tensor in case["a"].items()}}


def path_part(points: slice | int, by: float) -> Callable[[Case, Generator], Case]:
    def change(case: Case, generator: Generator) -> Case:
        values = case["values"].copy()
        values[points] += by
        return {**case, "values": values}

    return change


def per_example_shift(names: tuple[str, ...]) -> Callable[[Case, Generator], Case]:
    return on(*names)(lambda table, generator: table + 5 * generator.random(table.shape[-1]))


CHANGES: dict[str, Callable[[Case, Generator], Case]] = {
    # logits
    "a constant added to all logits of an example": on("logits")(
        lambda table, generator: table + torch.from_numpy(generator.normal(size=(len(table), 1)) * 3)
    ),
    "a positive scale of the logits": on("logits")(scaled_by(2.5)),
    "an increasing map of the logits": on("logits")(lambda table, generator: table.exp() - 3),
    "negated logits": on("logits")(scaled_by(-1.0)),
    "classes permuted with their labels": classes_with_labels,
    "classes permuted without their labels": on("logits")(lambda table, generator: table.roll(1, 1)),
    "examples in another order": on("logits", "labels")(shuffled),
    "examples in another order, labels not": on("logits")(shuffled),
    # mistakes
    "networks swapped": lambda case, generator: {**case, "a": case["b"], "b": case["a"]},
    "both networks' examples in another order": on("a", "b", "labels")(shuffled),
    "one network's examples in another order": on("a")(shuffled),
    "classes renamed everywhere": renamed(("a", "b", "labels")),
    "classes renamed in the predictions": renamed(("a", "b")),
    "examples added that both get right": more_right,
    # seeds
    "a constant added to the values": on("a")(lambda values, generator: values + 4.0),
    "the values repeated": on("a")(lambda values, generator: np.tile(values, 2)),
    "a seed effect added to both": on("a", "b")(lambda values, generator: values + generator.normal(size=len(values))),
    "a seed effect added to one": on("a")(lambda values, generator: values + generator.normal(size=len(values))),
    "a common scale": on("a", "b")(scaled_by(-3.0)),
    "one side scaled": on("b")(scaled_by(2.0)),
    # examples
    "an example effect added to both": per_example_shift(("a", "b")),
    "an example effect added to one": per_example_shift(("a",)),
    # curves
    "epoch 0 changed": at_epoch(0),
    "epoch 1 changed": at_epoch(1),
    "the last epoch common to all changed": at_epoch(8),
    "epochs that one lacks changed": lambda case, generator: {**case, "a": {**case["a"], 12: 9.0}},
    "the curve shifted and scaled": on("a")(lambda curve, generator: {e: 3 * v - 2 for e, v in curve.items()}),
    # parameters
    "one orthogonal map of all": on("a", "b", "a_start", "b_start")(rows_turned),
    "channels of all permuted": on("a", "b", "a_start", "b_start")(rows_permuted),
    "channels of one permuted": on("a")(rows_permuted),
    "the starts moved": on("a_start", "b_start")(rows_permuted),
    "all parameters scaled": on("a", "b", "a_start", "b_start")(scaled_by(3.0)),
    "one network's parameters scaled": on("a")(scaled_by(3.0)),
    "displacements scaled": farther,
    "more decay of one": decayed,
    # paths
    "a constant added to the path": path_part(slice(None), 2.0),
    "a constant added to one end": path_part(2, 2.0),
    "the middle raised": path_part(4, 2.0),
    "extrapolated points changed": path_part(slice(7, None), 50.0),
    "the path reversed": lambda case, generator: {**case, "values": case["values"][::-1]},
    "points in another order": on("alphas", "values")(shuffled),
    "an example effect added to the whole path": per_example_shift(("values",)),
    "the path scaled": on("values")(scaled_by(2.0)),
    # features
    "an orthogonal map of the features": on("a")(
        lambda table, generator: table @ torch.from_numpy(orthogonal(table.shape[1], generator))
    ),
    "an isotropic scale of the features": on("a")(scaled_by(-7.0)),
    "an offset of the features": on("a")(
        lambda table, generator: table + torch.from_numpy(generator.normal(size=table.shape[1]) * 5)
    ),
    "a general linear map of the features": on("a")(
        lambda table, generator: table * torch.from_numpy(10.0 ** np.linspace(-1, 1, table.shape[1]))
    ),
    "a translation of all features": on("a")(lambda table, generator: table + 5.0),
    "examples with their labels in another order": on("a", "labels")(shuffled),
    "labels of the features in another order": on("labels")(shuffled),
    "target classes renamed": on("labels")(lambda labels, generator: (labels + 1) % 3),
    "source classes renamed": on("logits")(lambda table, generator: table[:, generator.permutation(table.shape[1])]),
    "all examples repeated": lambda case, generator: {name: torch.cat([part, part]) for name, part in case.items()},
    # two measures of the same things
    "an increasing map of one measure": on("a")(lambda values, generator: np.exp(3 * values)),
    "one measure negated": on("a")(scaled_by(-1.0)),
    "things in another order": on("a", "b")(shuffled),
    "things of one measure in another order": on("a")(shuffled),
    # channels
    "channels of b permuted": on("b")(lambda table, generator: table[:, torch.arange(6).roll(2)]),
    "a positive scale and an offset of each channel": on("b")(
        lambda table, generator: table * torch.from_numpy(generator.uniform(0.5, 3, 6)) + torch.arange(6.0)
    ),
    "signs of channels flipped": on("b")(scaled_by(-1.0)),
    "channels mixed": on("b")(lambda table, generator: table @ torch.from_numpy(orthogonal(6, generator))),
    "both sides' examples in another order": on("a", "b")(shuffled),
    "one side's examples in another order": on("a")(shuffled),
}
