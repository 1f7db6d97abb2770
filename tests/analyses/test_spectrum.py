"""The analysis ``spectrum`` on a tiny study, against plain numpy on the weights of its networks."""

import io
import math
import os

import numpy as np
import polars as pl
import pytest
import torch
from scipy import stats

from tests.estimates import estimate_of
from tests.report.synthetic_spectrum import spectrum_table
from tests.studies import RECIPE, Diverging, Trained, bound, study
from transferscope.analyses.contract import checked
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.learning_rate.analysis import LearningRate
from transferscope.analyses.spectrum import plot as plots
from transferscope.analyses.spectrum.analysis import SpectrumAnalysis
from transferscope.analyses.spectrum.rows import ratio_interval
from transferscope.analyses.spectrum.summary import verdict
from transferscope.context.context import Context
from transferscope.context.resolve import resolve
from transferscope.running.run import run_study
from transferscope.store import Store

VARIANTS = {"RI", "P", "RI_T", "P_T", "RI_T_wd0", "P_T_wd0"}
OPERATORS = ["stem.0", "block.0", "head"]


@pytest.fixture(scope="module")
def decayed(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Three seeds, one rate, strong weight decay."""
    folder = tmp_path_factory.mktemp("decayed")
    recipe = {**RECIPE, "epochs": 1, "weight_decay": 0.3, "keep": "none"}
    asked = study(
        folder,
        training={"recipe": recipe, "learning_rates": [0.05], "extensions": 0},
        seeds=[0, 1, 2],
        analyses=["spectrum"],
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        results = run_study(asked, folder / "store", quiet=True)
    store = Store(folder / "store")
    found = resolve(asked, store)
    return Trained(found, Context(store, found), results)


def table_of(trained: Trained) -> pl.DataFrame:
    return trained.evidence.table(trained.analysis("spectrum"))


def plain(weight: torch.Tensor, pixels: int, stride: int) -> np.ndarray:
    """Singular values by numpy's FFT on the full plane, for stride 1 and for stride 2."""
    array = weight.double().numpy()
    if array.ndim == 2:
        return np.linalg.svd(array, compute_uv=False)
    plane = np.fft.fft2(array.transpose(2, 3, 0, 1), (pixels, pixels), axes=(0, 1))
    step = pixels // stride
    blocks = [
        np.concatenate([plane[i + a * step, j + b * step] for a in range(stride) for b in range(stride)], axis=1)
        / stride
        for i in range(step)
        for j in range(step)
    ]
    return np.sort(np.linalg.svd(np.stack(blocks), compute_uv=False).ravel())[::-1]


def test_every_network_and_every_weight_against_numpy(decayed: Trained) -> None:
    table = table_of(decayed)
    rows = table.filter(level="network")
    members = {(m.variant, m.seed): m for task in units(decayed) for m in task.members}
    assert set(rows.select("variant", "seed").unique().rows()) == set(members)
    assert {variant for variant, _ in members} == VARIANTS
    for (variant, seed, operator), found in rows.group_by("variant", "seed", "operator"):
        weight = decayed.context.state(members[variant, seed].spec)[f"{operator}.weight"]
        values = plain(weight, 16, 2 if operator == "block.0" else 1)
        told = dict(found.select("quantity", "value").rows())
        shares = values / values.sum()
        top = math.ceil(round(0.1 * len(values), 9))
        assert told == pytest.approx(
            {
                "largest": values[0],
                "frobenius": np.sqrt((values**2).sum()),
                "stable_rank": (values**2).sum() / values[0] ** 2,
                "effective_rank": np.exp(-(shares * np.log(shares)).sum()),
                "energy": (values[:top] ** 2).sum() / (values**2).sum(),
            }
        )
        assert found["count"].unique().to_list() == [len(values)]


def units(trained: Trained) -> list:
    return list(trained.analysis("spectrum").tasks(trained.study, trained.evidence.for_decision()))


def test_means_and_ratios_are_over_seeds(decayed: Trained) -> None:
    table = table_of(decayed)
    networks = {
        (row["variant"], row["seed"], row["operator"], row["quantity"]): row["value"]
        for row in table.filter(level="network").iter_rows(named=True)
    }
    ratios = table.filter(level="ratio")
    assert set(ratios["variant"]) == {
        "P-T / P", "RI-T / RI", "P-T-wd0 / P", "RI-T-wd0 / RI", "P-T / P-T-wd0", "RI-T / RI-T-wd0", "P-T / RI-T",
    }  # fmt: skip
    for row in ratios.iter_rows(named=True):
        above, below = (name.replace("-", "_") for name in row["variant"].split(" / "))
        at = row["operator"], row["quantity"]
        logs = np.log([networks[above, s, *at] / networks[below, s, *at] for s in range(3)])
        assert row["value"] == pytest.approx(math.exp(logs.mean()))
        for confidence, low, high in ((0.95, "low", "high"), (1 - 0.05 / 3, "simultaneous_low", "simultaneous_high")):
            half = stats.t.ppf((1 + confidence) / 2, 2) * logs.std(ddof=1) / math.sqrt(3)
            assert (row[low], row[high]) == pytest.approx((math.exp(logs.mean() - half), math.exp(logs.mean() + half)))
        assert (row["basis"], row["n"]) == ("seeds", 3)
    means = table.filter(level="variant")
    for row in means.filter(variant="RI_T").iter_rows(named=True):
        values = [networks["RI_T", s, row["operator"], row["quantity"]] for s in range(3)]
        assert (row["value"], row["basis"]) == (pytest.approx(np.mean(values)), "seeds")


def test_the_trunk_of_p_is_one_network(decayed: Trained) -> None:
    rows = table_of(decayed).filter(level="variant", variant="P")
    for row in rows.iter_rows(named=True):
        expected = (3, "seeds") if row["operator"] == "head" else (1, None)
        assert (row["n"], row["basis"]) == expected


def test_the_control_differs_by_weight_decay_alone(decayed: Trained) -> None:
    found = {(m.variant, m.seed): m.spec for m in units(decayed)[0].members}
    plain_one, control = found["P_T", 1], found["P_T_wd0", 1]
    assert control.recipe.weight_decay == 0
    assert control.recipe.model_copy(update={"weight_decay": 0.3}) == plain_one.recipe
    assert control.untrained() == plain_one.untrained()
    # What decay does is seen: the decayed weights are smaller.
    table = table_of(decayed)
    decay = table.filter(level="ratio", variant="P-T / P-T-wd0", quantity="frobenius")
    assert decay.height == 3
    assert decay["simultaneous_high"].max() < 1


def test_curves_and_files_hold_the_singular_values(decayed: Trained) -> None:
    table = table_of(decayed)
    curves = table.filter(level="curve")
    assert set(curves["variant"]) == VARIANTS
    assert set(curves["seed"]) == {0}
    sizes = curves.group_by("operator", "variant").len()["len"]
    assert 3 <= sizes.min() <= sizes.max() <= 48
    for _, rows in curves.group_by("operator", "variant"):
        assert rows["rank"].is_sorted()
        assert rows["value"].is_sorted(descending=True)
        assert (rows["rank"][0], rows["rank"][-1]) == (1, rows["count"][0])
    item = next(item for item in decayed.results.analyses if item.analysis.name == "spectrum")
    assert sorted(item.files) == ["spectra-00.parquet", "spectra-01.parquet", "spectra-02.parquet"]
    stored = pl.concat(pl.read_parquet(io.BytesIO(data)) for data in item.files.values())
    assert stored.group_by("operator", "variant", "seed").len()["len"].max() <= 256
    largest = stored.filter(rank=1, operator="stem.0").sort("variant", "seed")
    told = table.filter(level="network", quantity="largest", operator="stem.0").sort("variant", "seed")
    assert largest["value"].to_list() == told["value"].to_list()


def test_what_is_skipped_and_what_is_approximated(decayed: Trained) -> None:
    table = table_of(decayed)
    skipped = dict(table.filter(level="skipped").select("operator", "note").rows())
    assert skipped == {
        "stem.1.weight": "of a normalisation",
        "stem.1.bias": "of a normalisation",
        "block.1.weight": "of a normalisation",
        "block.1.bias": "of a normalisation",
        "block.0.bias": "a bias",
        "head.bias": "a bias",
    }
    circular = table.filter(level="circular")
    assert set(circular["operator"]) == {"stem.0", "block.0"}
    assert circular["value"].min() >= 0
    assert circular["value"].max() < 1
    ordered = table.filter(pl.col("position") >= 0).sort("position")["operator"].unique(maintain_order=True)
    assert ordered.to_list() == OPERATORS
    maps = dict(table.filter(level="network").select("operator", "map").rows())
    assert maps == {"stem.0": "16 × 16", "block.0": "16 × 16", "head": None}


def test_the_summary_speaks_of_all_operators_at_once(decayed: Trained) -> None:
    item = next(item for item in decayed.results.analyses if item.analysis.name == "spectrum")
    said = item.summary.verdict
    assert said.startswith("Stable rank: from P to P-T it rises at ")
    assert "intervals over 3 seeds, for all operators at once" in said
    assert "; trained with weight decay 0: from P to P-T-wd0 it rises at " in said
    assert "certain" not in said
    assert len(item.summary.estimates) == 14
    one = estimate_of(item.summary, "stable_rank_ratio", variant="P_T", rival="P")
    assert one.name == "stable rank, P-T over P (geometric mean over operators)"
    assert estimate_of(item.summary, "largest_ratio", variant="P_T", rival="P_T_wd0").n == 3
    assert (one.basis, one.n) == ("seeds", 3)
    assert one.low < one.value < one.high
    ratios = table_of(decayed).filter(variant="P-T / P", quantity="stable_rank")
    assert one.value == pytest.approx(math.exp(ratios["value"].log().mean()))
    text = " ".join(item.summary.notes)
    assert "circular approximation: on small maps (2 operators) zero padding changes" in text
    assert "parameters that are no operators: 2 (a bias), 4 (of a normalisation)" in text
    assert "no control" not in text


def test_the_figures_are_drawn(decayed: Trained) -> None:
    names = [figure.name for figure in plots.figures(table_of(decayed))]
    assert names == ["depth", "changes", "spectra"]


def test_fewer_seeds_without_control_and_in_single_precision(decayed: Trained) -> None:
    found = SpectrumAnalysis(control=False, max_seeds=2, precision="single", points=5)
    listed = list(found.tasks(decayed.study, decayed.evidence.for_decision()))
    assert {(m.variant, m.seed) for m in listed[0].members} == {
        (variant, seed) for variant in ("RI", "P", "RI_T", "P_T") for seed in (0, 1)
    }
    assert {spec.key for spec in found.networks(decayed.study, decayed.evidence.for_decision())} == {
        member.spec.key for member in listed[0].members
    }
    table = pl.concat(checked(found, found.measure(task, decayed.context).table) for task in listed)
    ratios = table.filter(level="ratio")
    assert set(ratios["basis"]) == {"range"}
    assert ratios["simultaneous_low"].null_count() == ratios.height
    exact = table_of(decayed).filter(level="network", quantity="largest")
    fast = table.filter(level="network", quantity="largest")
    both = fast.join(exact, on=("operator", "variant", "seed"))
    assert both.height == fast.height == 24
    assert both["value"].to_list() == pytest.approx(both["value_right"].to_list(), rel=1e-5)
    assert fast["error"].null_count() == 0
    summary = found.summarise(table, decayed.evidence)
    assert "from P to P-T undecided with fewer than 3 seeds" in summary.verdict
    text = " ".join(summary.notes)
    assert "without a control trained at weight decay 0" in text
    assert "single precision: on a sample at most" in text


def test_networks_that_diverged_are_left_out(decayed: Trained) -> None:
    found = decayed.analysis("spectrum")
    task = units(decayed)[0]
    lost = [member for member in task.members if member.variant == "P_T"]
    table = checked(found, found.measure(task, Diverging(decayed.context, *lost)).table)
    assert "P_T" not in set(table["variant"])
    assert "P-T / P" not in set(table["variant"])
    nothing = found.measure(task, Diverging(decayed.context, *task.members))
    started = {"RI", "P"}
    assert set(checked(found, nothing.table)["variant"].drop_nulls()) <= started
    summary = found.summarise(table.filter(level="skipped"), decayed.evidence)
    assert summary.verdict == "Undecided: no trained network has a spectrum."
    assert summary.estimates == ()


def test_without_weight_decay_there_is_no_control(tmp_path) -> None:
    context = bound(tmp_path, training={"recipe": {**RECIPE, "weight_decay": 0.0}, "learning_rates": [0.05]})
    evidence = Evidence({LearningRate().key: LearningRate().expected_table(context.study)})
    (task, *_) = SpectrumAnalysis().tasks(context.study, evidence)
    assert {member.variant for member in task.members} == {"RI", "P", "RI_T", "P_T"}


def test_a_verdict_counts_what_its_intervals_exclude() -> None:
    table = spectrum_table()
    ratios = table.filter(variant="P-T / P", quantity="stable_rank")
    up = (ratios["simultaneous_low"] > 1).sum()
    down = (ratios["simultaneous_high"] < 1).sum()
    assert f"from P to P-T it rises at {up} and falls at {down} of 8 operators, undecided at the rest" in verdict(table)
    lifted = table.with_columns(pl.col("value", "low", "high", "simultaneous_low", "simultaneous_high") * 100)
    assert "from P to P-T it rises at 8 and falls at 0 of 8 operators (most at head" in verdict(lifted)


def test_ratios_of_what_is_not_there(approved) -> None:
    assert ratio_interval([(None, 1.0), (0.0, 2.0)]).value is None
    approved(ratio_interval([(None, 1.0)]).note)
    half = ratio_interval([(0.0, 1.0), (2.0, 1.0)])
    assert (half.value, half.note) == (
        pytest.approx(2.0),
        "one seed: no interval; 1 of 2 seeds left out: all singular values are 0",
    )
