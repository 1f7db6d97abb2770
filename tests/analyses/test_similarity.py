"""CKA of the networks of a study, against the literal formula on whole batches."""

import numpy as np
import polars as pl
import pytest
import torch

from tests.reference import cka_reference
from tests.studies import Diverging, Trained
from transferscope.analyses.contract import checked, schema
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.similarity import Similarity

ANALYSIS = Similarity(test_images=40, batch_size=20, max_seeds=2)
PARTS = ("stem", "block", "head")


def literal_hsic(K: np.ndarray, L: np.ndarray) -> float:
    """Unbiased HSIC of two Gram matrices, written out (Song et al. 2012, eq. 5)."""
    n = len(K)
    K, L = K - np.diag(np.diag(K)), L - np.diag(np.diag(L))
    one = np.ones(n)
    first = np.trace(K @ L)
    second = (one @ K @ one) * (one @ L @ one) / ((n - 1) * (n - 2))
    third = 2 / (n - 2) * (one @ K @ L @ one)
    return (first + second - third) / (n * (n - 3))


def grams(model: torch.nn.Module, batch: torch.Tensor) -> dict[str, np.ndarray]:
    found = {}

    def keep(name):
        def hook(module, inputs, output):
            values = output.detach().flatten(1).double().numpy()
            values = values - values.mean(axis=0)
            found[name] = values @ values.T

        return hook

    handles = [model.get_submodule(name).register_forward_hook(keep(name)) for name in PARTS]
    with torch.no_grad():
        model.eval()(batch)
    for handle in handles:
        handle.remove()
    return found


def test_every_value_against_the_formula(trained: Trained) -> None:
    context = trained.context
    (unit,) = ANALYSIS.units(trained.study, trained.evidence.for_decision())
    assert [member.label for member in unit.members] == ["RI[0]", "P[0]", "RI-T[0]", "RI-T[1]", "P-T[0]", "P-T[1]"]
    found = checked(ANALYSIS, ANALYSIS.measure(unit, context).table)
    networks = {member.label: context.network(member.spec) for member in unit.members}
    sums: dict[tuple, float] = {}
    points = [(label, part) for label in networks for part in PARTS]
    count = 0
    for images, _ in context.mixed_batches("test", 40, 20):
        count += len(images)
        here = {label: grams(model, images) for label, model in networks.items()}
        for p in points:
            for q in points:
                value = literal_hsic(here[p[0]][p[1]], here[q[0]][q[1]])
                sums[p, q] = sums.get((p, q), 0.0) + len(images) * value
    for row in found.iter_rows(named=True):
        p, q = (row["a"], row["module_a"]), (row["b"], row["module_b"])
        expected = sums[p, q] / np.sqrt(sums[p, p] * sums[q, q])
        assert row["cka"] == pytest.approx(expected, abs=2e-5)
        assert (row["position_a"], row["position_b"]) == (PARTS.index(p[1]), PARTS.index(q[1]))
        assert (row["examples"], row["batch"]) == (count, 20)
    assert found.height == (6 * 7 // 2) * 9
    assert cka_reference  # the estimator itself is held to it in tests/measures/test_cka.py


def test_batches_are_mixed(trained: Trained) -> None:
    """The tiny study lists one class after the other; batches of one class would give the CKA within classes."""
    context = trained.context
    ordered = [labels.unique().numel() for _, labels in context.batches("test", 40, 10)]
    mixed = [labels.unique().numel() for _, labels in context.mixed_batches("test", 40, 10)]
    assert min(ordered) == 1
    assert min(mixed) > 1
    same = [
        sorted(batches.indices.tolist()) for batches in (context.batches("test", 40), context.mixed_batches("test", 40))
    ]
    assert same[0] == same[1]
    assert context.mixed_batches("test", 40).indices.tolist() == context.mixed_batches("test", 40).indices.tolist()


def test_a_diverged_network_is_left_out(trained: Trained) -> None:
    (unit,) = ANALYSIS.units(trained.study, trained.evidence.for_decision())
    few = unit.model_copy(update={"members": unit.members[:3]})
    found = ANALYSIS.measure(few, Diverging(trained.context, unit.members[2])).table
    assert set(found["a"]) | set(found["b"]) == {"RI[0]", "P[0]"}


def test_one_unit_and_its_images(trained: Trained) -> None:
    decision = trained.evidence.for_decision()
    (unit,) = ANALYSIS.units(trained.study, decision)
    assert ANALYSIS.images(unit, trained.study) == 6 * 40
    (every,) = Similarity(max_seeds=None).units(trained.study, decision)
    assert len(every.members) == 2 + 2 * 4


# -- summary ----------------------------------------------------------------------------------------------------


def table(values: dict[tuple[str, str], float | None], modules=("stem", "head")) -> pl.DataFrame:
    """Rows of like and unlike modules; like modules of a pair have its value, unlike ones −1."""
    rows = [
        {
            "a": a, "variant_a": a.split("[")[0].replace("-", "_"), "seed_a": int(a[-2]), "module_a": m,
            "position_a": i,
            "b": b, "variant_b": b.split("[")[0].replace("-", "_"), "seed_b": int(b[-2]), "module_b": n,
            "position_b": j,
            "cka": value if m == n else -1.0, "examples": 40, "batch": 20,
        }
        for (a, b), value in values.items() for i, m in enumerate(modules) for j, n in enumerate(modules)
    ]  # fmt: skip
    # What a row says of the estimator is a setting of the analysis.
    said = {name: getattr(ANALYSIS, name) for name in Similarity.columns if hasattr(ANALYSIS, name)}
    return checked(ANALYSIS, pl.DataFrame([{**said, **row} for row in rows], schema=schema(Similarity.columns)))


def test_means_are_over_like_modules_and_independent_pairs() -> None:
    trained = {(f"P-T[{s}]", f"P-T[{t}]"): 0.1 * (s + t) for s in range(6) for t in range(s + 1, 6)}
    across = {(f"RI-T[{s}]", f"P-T[{t}]"): 0.2 if s == t else 0.9 for s in range(3) for t in range(3)}
    starts = {("P[0]", f"P-T[{s}]"): 0.5 + 0.1 * s for s in range(3)}
    own = {("RI[0]", "RI-T[0]"): 0.7, ("RI[0]", "RI-T[1]"): 0.1}
    myself = {("P-T[0]", "P-T[0]"): 1.0}
    summary = ANALYSIS.summarise(table({**trained, **across, **starts, **own, **myself}), Evidence())
    numbers = {number.name.removeprefix("mean CKA of like modules, "): number for number in summary.numbers}
    assert numbers["P-T/P-T"].value == pytest.approx((0.1 + 0.5 + 0.9) / 3)  # (0, 1), (2, 3), (4, 5)
    assert (numbers["P-T/P-T"].n, numbers["P-T/P-T"].basis) == (3, "seeds")
    assert numbers["P-T/RI-T"].value == pytest.approx(0.2)  # equal seeds, whichever came first in the table
    assert numbers["P/P-T"].value == pytest.approx(0.6)
    # RI[0] is the start of RI-T[0] alone; to RI-T[1] it is a stranger.
    assert (numbers["RI/RI-T"].value, numbers["RI/RI-T"].n) == (0.7, 1)
    assert numbers["P-T/P-T"].note == "n counts pairs that share no trained network; over 2 modules"
    assert summary.verdict.startswith("Mean CKA of like modules on 40 test images: P-T/P-T 0.50 (")
    assert "P/P-T 0.60 (0.35 to 0.85)" in summary.verdict


def test_a_table_without_a_value_says_so() -> None:
    summary = ANALYSIS.summarise(table({("P[0]", "P-T[0]"): None}), Evidence())
    assert summary.verdict == "Mean CKA of like modules on 40 test images: not defined."
    assert summary.numbers == ()
