"""The analysis of module criticality on a trained study."""

import math
import statistics

import polars as pl
import pytest

from tests.estimates import estimate_of, estimates_of
from tests.studies import Diverging
from transferscope.analyses.contract import checked, checked_summary
from transferscope.analyses.criticality.analysis import CriticalityAnalysis
from transferscope.analyses.criticality.plot import chart, figures
from transferscope.analyses.criticality.summary import free_modules, summary_of
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.learning_rate.analysis import LearningRate
from transferscope.analyses.tuned import tuned_member
from transferscope.methods.evaluation import Evaluation
from transferscope.methods.modules.criticality import CriticalitySearch, criticality
from transferscope.running.plan import plan_study
from transferscope.study.columns import schema

SETTINGS = {
    "train_images": 60,
    "batch_norm_images": 64,
    "alphas": 3,
    "sigmas": (1e-3, 1e-1),
    "n_noise": 2,
    "max_seeds": 2,
}


def measured(trained, analysis, context=None):
    """All rounds: the networks' own values, then the modules."""
    context = context or trained.context
    evidence = trained.evidence
    tables: dict[str, pl.DataFrame] = {}
    for _ in range(2):
        for task in analysis.tasks(trained.study, evidence.for_decision()):
            if task.key not in tables:
                tables[task.key] = checked(analysis, analysis.measure(task, context).table)
        rows = pl.concat(tables.values())
        evidence = Evidence({**trained.evidence.tables, analysis.key: rows})
    return rows, evidence


@pytest.fixture(scope="module")
def found(trained):
    analysis = CriticalityAnalysis(views=("direct", "optimisation", "final"), grid="full", **SETTINGS)
    return analysis, *measured(trained, analysis)


def test_every_module_of_every_network_has_its_rows(found) -> None:
    _analysis, table, _ = found
    modules = table.filter(pl.col("level") == "module")
    assert modules.select("network", "module", "view", "limit").is_duplicated().sum() == 0
    assert modules.height == 4 * 3 * 3 * 2  # networks, modules, views, limits
    assert modules["module"].unique(maintain_order=True).to_list() == ["stem", "block", "head"]
    direct = table.filter((pl.col("level") == "point") & (pl.col("view") == "direct"))
    assert direct.height == 4 * 3 * 6
    assert table.filter((pl.col("level") == "point") & (pl.col("view") == "final")).height == 4 * 3 * 2
    assert table.filter((pl.col("level") == "point") & (pl.col("view") == "optimisation")).height == 4 * 3 * 5 * 2
    common = modules.filter(pl.col("limit") == "common")
    assert common["epsilon"].n_unique() == 1
    assert common["epsilon"][0] == max(modules.filter(pl.col("limit") == "own")["epsilon"])


def test_it_is_what_the_function_gives(found, trained) -> None:
    analysis, table, _ = found
    context = trained.context
    member = tuned_member(trained.study, "P_T", 1, trained.evidence)
    alone = criticality(
        context.network(member.spec, 0),
        context.network(member.spec),
        context.batches("train", 60),
        evaluation=Evaluation(
            recompute_on=context.mixed_batches("train", 64),
            memory_format=context.memory_format,
            metric=trained.study.metric,
            device="cpu",
        ),
        head="head",
        search=CriticalitySearch(alphas=(0.0, 0.5, 1.0), sigmas=analysis.sigmas, draws=2, seed=context.seed("noise")),
    )
    rows = table.filter((pl.col("level") == "module") & (pl.col("network") == "P-T[1]") & (pl.col("view") == "direct"))
    rows = rows.filter(pl.col("limit") == "own").sort("position")
    assert rows["mu"].to_list() == [module.criticality.mu for module in alone.modules]
    assert rows["displacement"].to_list() == [module.distance for module in alone.modules]
    assert rows["epsilon"][0] == alone.epsilon


def test_the_search_agrees_with_the_grid(found, trained) -> None:
    _, whole, _ = found
    searched, _ = measured(trained, CriticalityAnalysis(**SETTINGS))
    keys = ["network", "module", "limit"]
    wanted = whole.filter((pl.col("level") == "module") & (pl.col("view") == "direct")).sort(keys)
    rows = searched.filter(pl.col("level") == "module").sort(keys)
    assert rows["mu"].to_list() == wanted["mu"].to_list()
    assert rows["evaluated"].sum() < wanted["evaluated"].sum()


def test_the_summary_names_free_and_critical_modules(found) -> None:
    analysis, table, evidence = found
    summary = checked_summary(analysis, analysis.summarise(table, evidence))
    assert "of 3 modules can go back to their initial value in all 2 seeds" in summary.verdict
    assert all(item.value is not None or item.note for item in summary.estimates)
    for (view, limit, variant), rows in table.filter(pl.col("level") == "module").group_by("view", "limit", "variant"):
        of = rows.select("seed", "mu", "parameters").rows()
        sums = {seed: math.fsum(k * math.log1p(mu / k) for s, mu, k in of if s == seed) for seed in (0, 1)}
        item = estimate_of(summary, "mu_sum", view=view, limit=limit, variant=variant)
        assert item.value == pytest.approx(statistics.mean(sums.values()))
        zero = estimate_of(summary, "mu_zero_share", view=view, limit=limit, variant=variant)
        assert zero.value == pytest.approx(statistics.mean(mu == 0 for _, mu, _ in of))
    gap = estimate_of(summary, "mu_sum_gap", view="direct", limit="own", rival="RI_T")
    ours, theirs = (
        estimate_of(summary, "mu_sum", view="direct", limit="own", variant=variant) for variant in ("P_T", "RI_T")
    )
    assert gap.value == pytest.approx(ours.value - theirs.value)
    assert (gap.n, gap.flags) == (2, ("too_few_seeds",))
    modules = table.filter((pl.col("level") == "module") & (pl.col("view") == "direct") & (pl.col("limit") == "own"))
    for name in free_modules(modules, "P_T"):
        assert set(modules.filter((pl.col("module") == name) & (pl.col("variant") == "P_T"))["mu"]) == {0.0}


def test_pictures(found) -> None:
    _, table, _ = found
    drawn = figures(table, "top1")
    assert [figure.name for figure in drawn] == ["modules-direct", "modules-optimisation", "modules-final", "valleys"]
    assert len(drawn[-1].panels) == 6
    assert "1 − top-1 accuracy on training images" in drawn[-1].caption
    chart(table).to_dict()
    assert figures(table.clear(), "top1") == ()


def test_unreachable_modules_are_counted_and_left_out_of_sums(found) -> None:
    _analysis, table, _ = found
    hard = table.with_columns(
        pl.when((pl.col("level") == "module") & (pl.col("module") == "head")).then(None).otherwise(pl.col("mu"))
        .alias("mu"),
        ((pl.col("level") == "module") & (pl.col("module") == "head")).alias("unreachable"),
    )  # fmt: skip
    summary = summary_of(hard, 0.01)
    sums = estimates_of(summary, "mu_sum")
    assert len(sums) == 12
    assert {item.value for item in sums} == {None}
    assert all("unreachable" in item.note for item in sums)
    assert "head (unreachable)" in summary.verdict


def test_a_network_with_an_unreachable_module_leaves_its_variant_without_a_sum(found) -> None:
    _analysis, table, _ = found
    one = (pl.col("level") == "module") & (pl.col("module") == "head") & (pl.col("network") == "P-T[0]")
    hard = table.with_columns(mu=pl.when(~one).then("mu"), unreachable=one)
    summary = summary_of(hard, 0.01)
    lost = estimate_of(summary, "mu_sum", view="direct", limit="own", variant="P_T")
    assert (lost.value, lost.note) == (None, "not defined for 1 of 2; 1 modules are unreachable (+∞)")
    assert estimate_of(summary, "mu_sum_gap", view="direct", limit="own").value is None
    assert estimate_of(summary, "mu_sum", view="direct", limit="own", variant="RI_T").value is not None


def test_a_diverged_network_is_left_out_and_named(trained) -> None:
    analysis = CriticalityAnalysis(**SETTINGS)
    lost = tuned_member(trained.study, "RI_T", 0, trained.evidence)
    table, evidence = measured(trained, analysis, Diverging(trained.context, lost))
    assert "RI-T[0]" not in table.filter(pl.col("level") == "module")["network"].to_list()
    summary = analysis.summarise(table, evidence)
    assert "left out: RI-T[0]" in " ".join(summary.notes)
    assert {item.at["variant"] for item in estimates_of(summary, "mu_sum") if "diverged" in item.flags} == {"RI_T"}
    assert all("diverged" in item.flags for item in estimates_of(summary, "mu_sum_gap"))


def test_a_table_without_modules_is_undecided() -> None:
    empty = pl.DataFrame([], schema=schema(CriticalityAnalysis.columns))
    assert summary_of(empty, 0.01).verdict == "Undecided: no network was measured."


def test_a_plan_counts_the_modules(trained, plain) -> None:
    assert plain.study.settings.training.recipe.keep == "all"
    both = {}
    for names in (("criticality",), ()):
        analyses = tuple(CriticalityAnalysis(**SETTINGS) for _ in names)
        asked = plain.study.settings.model_copy(update={"analyses": (LearningRate(), *analyses)})
        both[names] = sum(part.units for part in plan_study(asked, plain.store.root).rounds)
    # Four networks, twelve modules, and as for every analysis one unit for each rate the search may add: 2 × 2 ends.
    assert both["criticality",] - both[()] == 4 + 12 + 4


@pytest.mark.parametrize(
    ("settings", "match"),
    [({"sigmas": (0.1, 0.1)}, "holds a value twice"), ({"sigmas": (2.0,)}, "must lie in"), ({"n_noise": 1}, "n_noise")],
)
def test_bad_settings_are_named(settings, match) -> None:
    with pytest.raises(ValueError, match=match):
        CriticalityAnalysis(**settings)


def test_the_optimisation_path_needs_kept_epochs(trained) -> None:
    recipe = trained.study.settings.training.recipe.model_copy(update={"keep": "none"})
    training = trained.study.settings.training.model_copy(update={"recipe": recipe})
    bare = trained.study.settings.model_copy(update={"training": training})
    assert "the optimisation path needs them" in (CriticalityAnalysis(views=("optimisation",)).check_study(bare) or "")
    assert CriticalityAnalysis().check_study(bare) is None
