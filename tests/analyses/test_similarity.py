"""CKA of the networks of a study, against the literal formula on whole batches."""

import numpy as np
import polars as pl
import pytest
import torch
from scipy import stats

from tests.reference import cka_reference
from tests.reference import pairs_reference as reference
from tests.studies import Diverging, Trained
from transferscope.analyses.contract import checked, checked_summary
from transferscope.analyses.estimates import spoken
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.similarity.analysis import Similarity
from transferscope.study.columns import schema

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
    (task,) = ANALYSIS.tasks(trained.study, trained.evidence.for_decision())
    assert [member.label for member in task.members] == ["RI[0]", "P[0]", "RI-T[0]", "RI-T[1]", "P-T[0]", "P-T[1]"]
    found = checked(ANALYSIS, ANALYSIS.measure(task, context).table)
    networks = {member.label: context.network(member.spec) for member in task.members}
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
    (task,) = ANALYSIS.tasks(trained.study, trained.evidence.for_decision())
    few = task.model_copy(update={"members": task.members[:3]})
    found = ANALYSIS.measure(few, Diverging(trained.context, task.members[2])).table
    assert set(found["a"]) | set(found["b"]) == {"RI[0]", "P[0]"}


def test_one_unit_and_its_images(trained: Trained) -> None:
    decision = trained.evidence.for_decision()
    (task,) = ANALYSIS.tasks(trained.study, decision)
    assert ANALYSIS.forward_passes(task, trained.study) == 6 * 40
    (every,) = Similarity(max_seeds=None).tasks(trained.study, decision)
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


def by_pair(summary) -> dict:
    return {item.at["pair"]: item for item in summary.estimates if item.quantity == "cka"}


def test_means_are_over_like_modules_and_leave_one_seed_out_of_all_pairs() -> None:
    trained = {(f"P-T[{s}]", f"P-T[{t}]"): 0.1 * (s + t) ** 1.5 for s in range(4) for t in range(s + 1, 4)}
    across = {(f"RI-T[{s}]", f"P-T[{t}]"): 0.2 + 0.01 * s if s == t else 0.9 for s in range(3) for t in range(3)}
    starts = {("P[0]", f"P-T[{s}]"): 0.5 + 0.1 * s for s in range(3)}
    other = {("RI[0]", f"P-T[{s}]"): 0.3 + 0.1 * s for s in range(3)}
    own = {("RI[0]", "RI-T[0]"): 0.7, ("RI[0]", "RI-T[1]"): 0.1}
    myself = {("P-T[0]", "P-T[0]"): 1.0}
    summary = ANALYSIS.summarise(table({**trained, **across, **starts, **other, **own, **myself}), Evidence())
    assert checked_summary(ANALYSIS, summary) == summary
    found = by_pair(summary)
    assert list(found) == ["P-T/P-T", "P-T/RI-T", "P/P-T", "RI/RI-T", "RI/P-T"]
    values = {(s, t): 0.1 * (s + t) ** 1.5 for s in range(4) for t in range(s + 1, 4)}
    mine = found["P-T/P-T"]
    assert (mine.value, mine.low, mine.high) == pytest.approx(reference.leave_one_seed_out(values))
    assert (mine.n, mine.basis, mine.name) == (4, "seeds", "mean CKA of like modules, P-T/P-T")
    # Equal seeds, whichever came first in the table; a pair with P or RI, which are one network, by the other's seed.
    for pair, of in (("P-T/RI-T", [0.2, 0.21, 0.22]), ("P/P-T", [0.5, 0.6, 0.7]), ("RI/P-T", [0.3, 0.4, 0.5])):
        low, high = stats.t.interval(0.95, 2, loc=np.mean(of), scale=stats.sem(of))
        assert (found[pair].value, found[pair].low, found[pair].high) == pytest.approx((np.mean(of), low, high)), pair
        assert (found[pair].n, found[pair].basis) == (3, "seeds")
    # What P's features are to P-T's against what RI-T's are, by seed.
    (gap,) = (item for item in summary.estimates if item.quantity == "cka_gap")
    of = [0.3, 0.39, 0.48]
    low, high = stats.t.interval(0.95, 2, loc=np.mean(of), scale=stats.sem(of))
    assert (gap.value, gap.low, gap.high) == pytest.approx((np.mean(of), low, high))
    assert dict(gap.at) == {"pair": "P/P-T", "rival": "P-T/RI-T"}
    # RI[0] is the start of RI-T[0] alone; to RI-T[1] it is a stranger.
    assert (found["RI/RI-T"].value, found["RI/RI-T"].n) == (0.7, 1)
    assert summary.verdict == "Mean CKA of like modules on 40 test images: " + ", ".join(
        f"{pair} {spoken(found[pair])}" for pair in ("P-T/P-T", "P-T/RI-T", "P/P-T")
    ) + "."  # fmt: skip


def test_two_of_one_variant_against_two_of_the_other_pair_by_pair() -> None:
    p_t = {(s, t): 0.1 * (s + t) ** 1.5 for s in range(4) for t in range(s + 1, 4)}
    ri_t = {(s, t): 0.05 * s * t for s, t in p_t}
    values = {(f"P-T[{s}]", f"P-T[{t}]"): value for (s, t), value in p_t.items()}
    values |= {(f"RI-T[{t}]", f"RI-T[{s}]"): value for (s, t), value in ri_t.items()}
    summary = ANALYSIS.summarise(table(values), Evidence())
    (gap,) = (item for item in summary.estimates if item.quantity == "cka_gap")
    expected = {pair: value - ri_t[pair] for pair, value in p_t.items()}
    assert (gap.value, gap.low, gap.high) == pytest.approx(reference.leave_one_seed_out(expected))
    assert (gap.basis, gap.n, dict(gap.at)) == ("seeds", 4, {"pair": "P-T/P-T", "rival": "RI-T/RI-T"})
    assert gap.name == "mean CKA of like modules, P-T/P-T − RI-T/RI-T"


def test_a_module_without_variation_in_one_network_is_left_out_of_all() -> None:
    values = {("P[0]", f"P-T[{s}]"): 0.5 + 0.1 * s for s in range(3)}
    rows = table(values).with_columns(
        pl.when(pl.col("module_a") == "head").then(pl.lit(9.0)).otherwise("cka").alias("cka")
    )  # fmt: skip
    lost = pl.when((pl.col("b") == "P-T[1]") & (pl.col("module_a") == "head")).then(None).otherwise("cka").alias("cka")
    summary = ANALYSIS.summarise(rows.with_columns(lost), Evidence())
    assert by_pair(summary)["P/P-T"].value == pytest.approx(0.6)
    assert "left out, without variation in some network: head" in summary.notes


def test_equal_networks_have_no_interval() -> None:
    summary = ANALYSIS.summarise(table({("P[0]", f"P-T[{s}]"): 1.0 for s in range(3)}), Evidence())
    item = by_pair(summary)["P/P-T"]
    assert (item.value, item.low, item.basis, item.flags) == (1.0, None, None, ("no_spread",))


def test_a_table_without_a_value_says_so() -> None:
    summary = ANALYSIS.summarise(table({("P[0]", "P-T[0]"): None}), Evidence())
    assert summary.verdict == "Mean CKA of like modules on 40 test images: not defined."
    assert summary.estimates == ()
