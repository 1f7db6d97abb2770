"""Domain distance: of a network and two loaders, and as an analysis."""

import os

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor, nn

from tests.studies import arrays, bound, study
from transferscope import domain_distance
from transferscope.analyses.contract import checked, checked_summary
from transferscope.analyses.domain_distance.analysis import DomainDistance
from transferscope.analyses.evidence import Evidence
from transferscope.context.resolve import resolve
from transferscope.data.sources import Elpv
from transferscope.errors import AnalysisError, ArchitectureError, LoaderError, MeasureError
from transferscope.methods.domains.distance import compare_domains
from transferscope.methods.domains.features import Domain, observe
from transferscope.running.run import run_study
from transferscope.store import Store


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 2)
    )


def pictures(count: int, seed: int, brighter: float = 0.0) -> Tensor:
    return torch.rand(count, 3, 12, 12, generator=torch.Generator().manual_seed(seed)) * 0.5 + brighter


# -- two loaders -------------------------------------------------------------------------------------------------


def test_far_sets_are_far_and_near_ones_are_not() -> None:
    source = [pictures(50, 0), pictures(50, 1)]
    near, far = (
        domain_distance(network(), Domain(source), Domain([pictures(80, 2, by)]), device="cpu") for by in (0.0, 0.4)
    )
    for quantity in ("frechet", "kernel", "proxy_a", "colour"):
        row = far.row(quantity)
        assert row.excess_low is not None
        assert row.excess_low > 0, quantity
        row = near.row(quantity)
        assert row.excess_low is not None
        assert row.excess_high is not None
        assert row.excess_low < 0 < row.excess_high, quantity
        assert row.null is not None
    assert far.row("proxy_a").value == 2
    assert (near.row("frechet").examples, near.row("proxy_a").examples) == (40, 25)
    assert far.row("frechet", place="0").relative is not None
    assert "proxy_a" in str(far)


def test_batch_norm_statistics_need_no_source() -> None:
    model = network()
    x = pictures(60, 0)
    with torch.no_grad():
        entering = model[0](x)
    model[1].running_mean = entering.mean((0, 2, 3))
    model[1].running_var = entering.var((0, 2, 3), correction=0)
    home = domain_distance(model, None, Domain([x[:40], x[40:]]), device="cpu")
    away = domain_distance(model, None, Domain([x + 0.4]), device="cpu")
    assert home.row("batch_norm", "target to statistics").value == pytest.approx(0, abs=1e-9)
    row = away.row("batch_norm", "target to statistics", "1")
    moved = model[0].weight.sum((1, 2, 3)) * 0.4
    wanted = (moved.square() / (model[1].running_var + 1e-5)).mean()
    assert row.value == pytest.approx(float(wanted.detach()), rel=1e-4)
    assert row.standard_error is not None
    with pytest.raises(MeasureError, match=r"'frechet', 'target to source' was not measured\n.*batch_norm"):
        away.row("frechet")


def test_the_jackknife_is_about_the_spread_over_samples() -> None:
    model = network()
    rows = [
        domain_distance(model, None, Domain([pictures(60, seed, 0.2)]), device="cpu").row(
            "batch_norm", "target to statistics"
        )
        for seed in range(30)
    ]
    spread = np.std([row.value for row in rows], ddof=1)
    assert np.mean([row.standard_error for row in rows]) == pytest.approx(spread, rel=0.3)


def test_colours_are_those_before_normalisation() -> None:
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.1, 0.3)
    raw = pictures(30, 0)
    changed = (raw - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    found = domain_distance(network(), None, Domain([changed], mean=mean, std=std), device="cpu")
    for channel, name in enumerate(("red", "green", "blue")):
        value = found.row("colour mean", "target", name).value
        assert value == pytest.approx(float(raw[:, channel].mean()), abs=1e-6)
    assert found.row("spectrum slope", "target").examples == 30


def test_flat_images_are_counted_and_left_out() -> None:
    images = pictures(10, 0)
    images[:4] = 0.25
    row = domain_distance(network(), None, Domain([images]), device="cpu").row("spectrum slope", "target")
    assert row.examples == 6
    assert row.note == "4 images without variation are left out"
    flat = domain_distance(network(), None, Domain([images[:4]]), device="cpu").row("spectrum slope", "target")
    assert (flat.value, flat.standard_error, flat.examples) == (None, None, 0)


def test_a_network_is_given_back_as_it_was() -> None:
    model = network().train()
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    domain_distance(model, Domain([pictures(20, 0)]), Domain([pictures(20, 1)]), device="cpu", draws=2)
    assert model.training
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_other_than_pictures_have_no_looks() -> None:
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))
    found = domain_distance(model, Domain([torch.randn(30, 4)]), Domain([torch.randn(30, 4)]), device="cpu", draws=3)
    assert {row.quantity for row in found.rows} == {"frechet", "kernel", "proxy_a"}


def test_the_head_may_be_named_and_must_be_there() -> None:
    x = [pictures(20, 0)]
    named = domain_distance(network(), Domain(x), Domain([pictures(20, 1)]), head="5", device="cpu")
    assert named == domain_distance(network(), Domain(x), Domain([pictures(20, 1)]), device="cpu")
    with pytest.raises(ArchitectureError, match="no classifying module was found in Sequential"):
        domain_distance(nn.Sequential(nn.Conv2d(3, 4, 3)), None, Domain(x))
    with pytest.raises(LoaderError, match="can be read only once"):
        domain_distance(network(), None, Domain(iter(x)))
    with pytest.raises(MeasureError, match="groups must name the group of each image"):
        domain_distance(network(), None, Domain(x, ["a"]), device="cpu")


def test_groups_are_not_torn_apart() -> None:
    # Ten copies of each of five pictures: to halves that share pictures the sets would look equal.
    source, target = pictures(5, 0).repeat_interleave(10, 0), pictures(50, 1)
    groups = np.repeat(np.arange(5), 10)
    torn = domain_distance(network(), Domain([source]), Domain([target]), device="cpu").row("frechet")
    whole = domain_distance(network(), Domain([source], groups), Domain([target]), device="cpu").row("frechet")
    assert torn.null is not None
    assert whole.null is not None
    assert whole.null > 3 * torn.null


# -- the analysis ------------------------------------------------------------------------------------------------

SETTINGS = {"images_per_set": 80, "n_resamples": 8}


def test_it_is_what_two_loaders_give(tmp_path) -> None:
    context = bound(tmp_path, analyses=[{"domain_distance": SETTINGS}])
    analysis = DomainDistance(**SETTINGS)
    source, split = analysis._source(context.study)
    assert split == "test"
    assert source.fingerprint == context.study.pretrained.of.data.fingerprint
    (task,) = analysis.tasks(context.study, Evidence())
    assert task.settings["source"] == source.key
    assert analysis.forward_passes(task, context.study) == 160
    _, indices = context.sample(source, "test", 80)
    assert set(indices) <= set(context.splits(source)["test"])
    assert not (np.diff(indices) > 0).all()
    member = context.study.untrained("RI", 0)
    sides = [
        observe(context.network(member), Domain(context.sample(data, part, 80)[0]), "head", device="cpu")
        for data, part in ((source, "test"), (context.study.data, "train"))
    ]
    assert sides[0].examples == len(indices)
    rows = compare_domains(*sides, draws=3)
    assert {row.quantity for row in rows} >= {"frechet", "kernel", "proxy_a", "batch_norm", "colour", "spectrum slope"}


def test_a_run_measures_it_against_the_source_of_the_study(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    other = arrays(tmp_path / "other", 60, 9)
    analyses = [{"domain_distance": SETTINGS}, {"domain_distance": {**SETTINGS, "reference_data": other.model_dump()}}]
    asked = study(tmp_path, seeds=[0], analyses=analyses)
    training = asked.training.model_copy(update={"learning_rates": (0.1,), "extensions": 0, "plateau_epochs": None})
    asked = asked.model_copy(update={"training": training})
    results = run_study(asked, tmp_path / "store", quiet=True)
    first, second = (item for item in results.analyses if item.analysis.name == "domain_distance")
    for item, images in ((first, 30), (second, 60)):
        assert item.summary is not None
        assert item.table is not None
        assert item.summary.verdict.endswith("(50 % is chance).")
        assert checked_summary(item.analysis, item.summary) == item.summary
        assert {each.basis for each in item.summary.estimates if each.quantity != "null"} == {"examples"}
        of_source = item.table.filter((pl.col("compared") == "source to statistics") & (pl.col("part") == "(all)"))
        assert of_source["examples"].item() == images
        assert item.table.filter(pl.col("quantity") == "frechet")["part"].to_list() == ["stem", "block", "(features)"]
    bound_again = resolve(asked, Store(tmp_path / "store"))
    assert len(bound_again.references) == 2
    with pytest.raises(AnalysisError, match="the study has no data set 'elpv' beside its target"):
        bound_again.reference(Elpv())


def test_without_a_source_it_says_what_needs_none(tmp_path) -> None:
    from tests.studies import NAME
    from transferscope.networks.architectures import build
    from transferscope.networks.weights import write_state
    from transferscope.specs.architecture import Architecture

    path = tmp_path / "weights.safetensors"
    write_state(path, build(Architecture(name=NAME), 3, 5).state_dict(), {})
    context = bound(
        tmp_path, source={"architecture": NAME, "weights": str(path)}, analyses=[{"domain_distance": SETTINGS}]
    )
    assert context.study.references == ()
    analysis = DomainDistance(**SETTINGS)
    (task,) = analysis.tasks(context.study, Evidence())
    assert task.settings == {}
    assert analysis.forward_passes(task, context.study) == 80
    table = checked(analysis, analysis.measure(task, context).table)
    assert set(table["compared"]) == {"target", "target to statistics"}
    assert table["null"].null_count() == table.height
    summary = analysis.summarise(table, Evidence())
    assert summary.verdict.startswith("Without source images:")
    assert any("`reference_data`" in note for note in summary.notes)
    bare = analysis.summarise(table.filter(pl.col("compared") == "target"), Evidence())
    assert bare.verdict.startswith("Undecided: there are no source images and no batch-norm")


def test_verdicts_rest_on_the_excess() -> None:
    from tests.report.synthetic_features import domain_distance_table

    far = DomainDistance().summarise(domain_distance_table(), Evidence())
    assert far.verdict.startswith("For P the target is further from the source than two halves of the source:")
    assert "errs in 3 % of held-out images" in far.verdict
    near = domain_distance_table().with_columns(pl.lit(-1.0).alias("above_chance_low"))
    assert DomainDistance().summarise(near, Evidence()).verdict.startswith("Undecided whether P tells")
    # One image of each set, say: no standard error, and so nothing to judge by.
    unknown = [
        pl.lit(None, pl.Float64).alias(name) for name in ("low", "high", "above_chance_low", "above_chance_high")
    ]
    bare = DomainDistance().summarise(domain_distance_table().with_columns(unknown), Evidence())
    assert bare.verdict.startswith("Undecided whether P tells")
    alone = DomainDistance().summarise(domain_distance_table(source=False).with_columns(unknown), Evidence())
    assert "the target's activations are 0.9 from the statistics" in alone.verdict


def test_every_total_is_an_estimate_with_its_null_and_its_excess() -> None:
    from tests.report.synthetic_features import domain_distance_table

    table = domain_distance_table()
    summary = DomainDistance().summarise(table, Evidence())
    assert checked_summary(DomainDistance(), summary) == summary
    found = {(item.quantity, *item.at.values()): item for item in summary.estimates}
    count = 0
    for row in table.filter(pl.col("position") == -1).iter_rows(named=True):
        item = found[row["quantity"].replace(" ", "_"), row["compared"]]
        assert (item.value, item.low, item.high) == (row["value"], row["low"], row["high"])
        assert (item.basis, item.n) == ("examples", 500)
        count += 1
        if row["null"] is None:
            assert ("above_chance", row["quantity"], row["compared"]) not in found
            continue
        excess, null = found["above_chance", row["quantity"], row["compared"]], found["null", row["quantity"]]
        assert (excess.value, excess.low, excess.high) == (
            row["above_chance"],
            row["above_chance_low"],
            row["above_chance_high"],
        )
        assert (null.value, null.low, null.basis, null.n) == (row["null"], None, None, 500)
        assert excess.unit == null.unit == item.unit
        count += 2
    assert count == len(found)
    assert found["frechet", "target to source"].name == "Fréchet distance in P's features, target to source"
    assert found["spectrum_slope", "target"].name == "slope of the power spectrum, target"
    assert found["frechet", "target to source"].unit == "feature²"
