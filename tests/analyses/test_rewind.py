"""The analysis of rewound modules on a trained study; P-T on shuffled blocks, there and in criticality."""

from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch

from tests.estimates import estimate_of, estimates_of
from tests.studies import SIZE, Diverging
from transferscope.analyses.contract import checked, checked_summary
from transferscope.analyses.criticality.analysis import CriticalityAnalysis
from transferscope.analyses.rewind import rows as rewind_rows
from transferscope.analyses.rewind.analysis import Rewind, published_rows
from transferscope.analyses.rewind.plot import chart, figures
from transferscope.analyses.rewind.summary import drops, summary_of
from transferscope.analyses.shuffled_members import shuffled_members, shuffled_variants
from transferscope.analyses.tuned import tuned_member
from transferscope.frozen import derive_seed
from transferscope.keys import shown
from transferscope.methods.evaluation import Evaluation
from transferscope.methods.modules.rewind import ALL, ModuleSelection, Rewinding, Rewound, rewind
from transferscope.plots.theme import colour
from transferscope.study.columns import schema

SETTINGS = {"train_images": 60, "batch_norm_images": 64, "n_bootstrap": 100, "max_seeds": 3}
GROUP = ("stem", "head")


def measured(trained, analysis, context=None):
    evidence = trained.evidence.for_decision()
    units = list(analysis.tasks(trained.study, evidence))
    return pl.concat(checked(analysis, analysis.measure(task, context or trained.context).table) for task in units)


@pytest.fixture(scope="module")
def found(trained):
    analysis = Rewind(rewind_to=("random", "epochs"), groups=(GROUP,), published="chexpert", **SETTINGS)
    return analysis, measured(trained, analysis)


def test_every_module_of_every_network_has_its_rows(found) -> None:
    _, table = found
    own = table.filter(pl.col("origin") == "study")
    assert own.filter(pl.col("level") == "final").height == own.filter(pl.col("level") == "own").height == 6 * 2
    modules = own.filter(pl.col("level") == "module")
    assert modules.select("network", "module", "target_value", "epoch", "split").is_duplicated().sum() == 0
    assert modules.height == 6 * 3 * 2 * (2 + 3)  # networks, modules, splits, values (epochs 1, 2, 3)
    groups = own.filter(pl.col("level") == "group")["module"].unique(maintain_order=True).to_list()
    assert groups == ["stem + head", ALL]
    assert set(modules["n_comparisons"]) == {3}
    test = modules.filter(pl.col("split") == "test")
    assert (test["simultaneous_low"] <= test["low"]).all()
    assert (test["high"] <= test["simultaneous_high"]).all()
    assert (test["upper_one_sided"] <= test["simultaneous_high"]).all()


@pytest.mark.parametrize("variant", ["P_T", "RI_T"])
def test_it_is_what_the_function_gives(found, trained, variant) -> None:
    _, table = found
    context, study = trained.context, trained.study
    member = tuned_member(study, variant, 1, trained.evidence)
    # RI of the same seed for P-T; for RI-T, whose start that is, of another.
    seed = 1 if variant == "P_T" else derive_seed(1, "rewind")
    alone = rewind(
        context.network(member.spec, 0),
        context.network(member.spec),
        {"train": context.batches("train", 60), "test": context.batches("test")},
        random=context.network(study.untrained("RI", seed)),
        checkpoints={2: context.network(member.spec, 2)},
        modules=ModuleSelection(groups=[GROUP], head="head"),
        evaluation=Evaluation(
            recompute_on=context.mixed_batches("train", 64),
            metric=study.metric,
            memory_format=context.memory_format,
            device="cpu",
        ),
    )
    for split in ("train", "test"):
        rows = table.filter((pl.col("network") == member.label) & (pl.col("split") == split))
        assert rows.filter(pl.col("level") == "final")["metric"][0] == alone.final[split].metric
        for item in alone.rewound:
            same = pl.col("epoch").is_null() if item.epoch is None else pl.col("epoch") == item.epoch
            (row,) = rows.filter(
                (pl.col("module") == item.name) & (pl.col("target_value") == item.to) & same
            ).to_dicts()
            assert row["metric"] == item.points[split].metric
            assert row["displacement"] == item.distance
            assert row["drop"] == pytest.approx(alone.final[split].metric - item.points[split].metric)
    heads = table.filter((pl.col("network") == "P-T[1]") & (pl.col("module") == "head") & (pl.col("split") == "test"))
    by = {row["target_value"]: row["metric"] for row in heads.filter(pl.col("target_value") != "epoch").to_dicts()}
    assert by["initial"] == by["random"]  # P-T's head starts where RI's does


def test_the_summary_says_what_it_rests_on(found) -> None:
    analysis, table = found
    summary = checked_summary(analysis, analysis.summarise(table, None))
    assert "P-T put back to its initial value (3 seeds)" in summary.verdict
    assert "RI-T put back to a random value (3 seeds)" in summary.verdict
    for to in ("initial", "random"):
        for variant in ("P_T", "RI_T"):
            of = {
                item.at["module"]: item
                for item in estimates_of(summary, "drop", variant=variant, target_value=to, split="test")
            }
            assert list(of) == ["stem", "block", "head", "stem + head", ALL]
            assert [item.n_comparisons for item in of.values()] == [3, 3, 3, 1, 1]
            assert {item.verdict for item in of.values()} <= {"kept", "lost", "undecided"}
    gap = estimate_of(summary, "mean_drop_gap", variant="P_T", rival="RI_T", target_value="initial")
    rows = table.filter(
        (pl.col("origin") == "study") & (pl.col("level") == "module") & (pl.col("target_value") == "initial")
        & (pl.col("split") == "test")
    )  # fmt: skip
    means = {v: rows.filter(pl.col("variant") == v)["drop"].mean() for v in ("P_T", "RI_T")}
    assert gap.value == pytest.approx(means["P_T"] - means["RI_T"])
    assert estimate_of(summary, "mean_drop", variant="P_T", target_value="initial").value == pytest.approx(means["P_T"])
    assert gap.name == "P-T − RI-T: mean drop over modules, put back to its initial value (test)"
    assert "batch-norm statistics recomputed" in " ".join(summary.notes)


def rows_of(values, verdict="undecided", module="a", **more):
    return [
        {"module": module, "variant": "P_T", "target_value": "initial", "position": 0, "seed": seed, "drop": value,
         "low": value - 0.01, "high": value + 0.01, "simultaneous_low": value - 0.02, "simultaneous_high": value + 0.02,
         "n": 100, "verdict": verdict, **more}
        for seed, value in enumerate(values)
    ]  # fmt: skip


def test_three_seeds_are_judged_over_seeds_fewer_by_what_networks_agree_on() -> None:
    (kept,) = drops(pl.DataFrame(rows_of([0.0, 0.001, 0.0005])), 0.005)
    assert (kept.verdict, kept.basis, kept.n, kept.flags) == ("kept", "seeds", 3, ())
    (lost,) = drops(pl.DataFrame(rows_of([0.2, 0.21, 0.22])), 0.005)
    assert lost.verdict == "lost"
    (two,) = drops(pl.DataFrame(rows_of([0.0, 0.001], "kept")), 0.005)
    assert (two.verdict, two.basis, two.flags) == ("kept", "examples", ("too_few_seeds",))
    assert (two.low, two.high) == (-0.01, 0.011)
    mixed = [*rows_of([0.0], "kept"), {**rows_of([0.2], "lost")[0], "seed": 1}]
    assert drops(pl.DataFrame(mixed), 0.005)[0].verdict == "undecided"
    # More modules at once: wider limits, and what is kept alone may be undecided.
    many = [row for name in "abcdefgh" for row in rows_of([0.0, 0.002, 0.001], module=name)]
    alone = drops(pl.DataFrame(rows_of([0.0, 0.002, 0.001])), 0.005)[0]
    family = drops(pl.DataFrame(many), 0.005)[0]
    assert (alone.verdict, family.verdict) == ("kept", "undecided")
    assert family.simultaneous_high > alone.simultaneous_high
    assert (family.low, family.high, family.n_comparisons) == (alone.low, alone.high, 8)


@pytest.mark.parametrize("verdict", ["kept", "undecided"])
def test_equal_drops_of_all_seeds_are_judged_by_the_examples(verdict) -> None:
    (item,) = drops(pl.DataFrame(rows_of([0.0, 0.0, 0.0], verdict)), 0.005)
    assert (item.verdict, item.basis, item.n, item.flags) == (verdict, "examples", 100, ("no_spread",))
    assert (item.low, item.high, item.simultaneous_high) == (-0.01, 0.01, 0.02)
    # Where examples give no limits either, nothing is shown.
    none = {"low": None, "high": None, "simultaneous_low": None, "simultaneous_high": None}
    bare = pl.DataFrame(rows_of([0.0, 0.0, 0.0], **none), schema_overrides=dict.fromkeys(none, pl.Float64))
    (item,) = drops(bare, 0.005)
    assert (item.verdict, item.low, item.basis) == ("undecided", None, None)


@pytest.mark.parametrize(("metric", "distance", "verdict"), [
    ("top1", 1.0, "undecided"), ("auc", 1.0, "undecided"), ("top1", 0.0, "kept"), ("auc", 0.0, "kept"),
])  # fmt: skip
def test_without_a_changed_example_nothing_is_shown_but_that_what_did_not_move_is_kept(
    metric, distance, verdict
) -> None:
    labels = torch.arange(20) % 2
    right = np.ones(20) if metric == "top1" else np.arange(20.0)[:, None]
    point = SimpleNamespace(metric=0.9, judged=right, labels=labels, losses=np.zeros(20))
    item = Rewound("a", ("a",), 1, "initial", None, distance, {"test": point}, "")
    found = Rewinding({"test": point}, {"test": point}, (item,), "none", metric)
    context = SimpleNamespace(seed=lambda *_: 0, images=lambda: SimpleNamespace(groups=None))
    rows = list(rewind_rows.rows_of(found, {"test": None}, context, 0.005, 100))
    row = rows[-1]
    assert (row["module"], row["drop"], row["verdict"]) == ("a", 0.0, verdict)
    if distance == 0:
        assert (row["low"], row["upper_one_sided"]) == (0.0, 0.0)
    elif metric == "top1":
        assert row["upper_one_sided"] == pytest.approx(1 - 0.05 ** (1 / 20))  # none of 20, one-sided 95 %
    else:
        assert (row["low"], row["upper_one_sided"]) == (None, None)


def test_a_diverged_network_is_left_out_and_named(trained) -> None:
    lost = tuned_member(trained.study, "RI_T", 0, trained.evidence)
    analysis = Rewind(**SETTINGS)
    table = measured(trained, analysis, Diverging(trained.context, lost))
    assert table.filter((pl.col("network") == "RI-T[0]") & pl.col("metric").is_not_null()).is_empty()
    summary = analysis.summarise(table, None)
    assert "diverged, left out: RI-T[0]" in summary.notes
    assert "RI-T put back to its initial value (test examples of these networks)" in summary.verdict


def test_a_table_without_networks_is_undecided() -> None:
    empty = pl.DataFrame([], schema=schema(Rewind.columns))
    assert summary_of(empty, 0.005).verdict == "Undecided: no network was measured."


def test_shuffled_variants_have_bars_of_their_own(found) -> None:
    _, table = found
    rows = table.filter((pl.col("origin") == "study") & (pl.col("variant") == "P_T"))
    shuffled = rows.with_columns(pl.lit("P_T_block_4").alias("variant"))
    (figure, *_) = figures(pl.concat([rows, shuffled]), "top1")
    assert [label for label, _, _ in figure.legend] == ["P-T", "P-T, blocks of 4 px", "nothing put back"]
    (panel,) = figure.panels
    drawn = [row for rows in panel.to_dict()["datasets"].values() for row in rows]
    assert {row["shown"] for row in drawn} == {"P-T", "P-T, blocks of 4 px"}


def test_pictures(found) -> None:
    _, table = found
    drawn = figures(table, "top1")
    assert [figure.name for figure in drawn] == [
        "modules-initial", "groups-initial", "modules-random", "groups-random", "epochs",
    ]  # fmt: skip
    assert len(drawn[0].panels) == 3  # ours, and the paper's two rates of RI-T
    assert "Fig. 5" in drawn[0].caption
    chart(table).to_dict()
    assert figures(table.clear(), "top1") == ()


def test_published_bars_are_those_of_the_paper() -> None:
    table = checked(Rewind(), published_rows("chexpert", schema(Rewind.columns)))
    final = dict(table.filter(pl.col("level") == "final").select("network", "metric").iter_rows())
    assert final == {"P-T at 0.02": 0.735, "RI-T at 0.02": 0.703, "RI-T at 0.1": 0.701}
    modules = table.filter(pl.col("level") == "module")
    assert modules.height == 3 * 18
    first = modules.filter((pl.col("network") == "RI-T at 0.02") & (pl.col("module") == "conv1"))
    assert first["drop"][0] == pytest.approx(0.196)
    assert first["position"][0] == 0


# -- P-T on shuffled blocks ------------------------------------------------------------------------


def test_shuffled_networks_stand_beside_whole_images_without_augmentation(trained) -> None:
    study, evidence = trained.study, trained.evidence
    assert shuffled_variants(study, ()) == {}
    assert shuffled_variants(study, (4,)) == {SIZE: f"P_T_block_{SIZE}", 4: "P_T_block_4"}
    members = list(shuffled_members(study, evidence, (4,), (0, 1)))
    assert [member.variant for member in members] == ["P_T_block_16"] * 2 + ["P_T_block_4"] * 2
    plain = tuned_member(study, "P_T", 1, evidence).spec
    whole, blocks = members[1].spec, members[3].spec
    assert whole.data == plain.data
    assert blocks.data.ablation.seed == 1
    assert len({plain.key, whole.key, blocks.key}) == 3
    for spec in (whole, blocks):
        assert not spec.recipe.augmentation.flip
        assert spec.untrained().key == plain.untrained().key
    assert shown("P_T_block_4") == "P-T, blocks of 4 px"
    assert colour(shown("P_T_block_4")) != colour("P-T")


@pytest.mark.parametrize("analysis", [Rewind(blocks=(4,), **SETTINGS), CriticalityAnalysis(blocks=(4,), max_seeds=2)])
def test_blocks_add_networks_and_leave_the_others_as_they_are(trained, analysis) -> None:
    evidence = trained.evidence.for_decision()
    bare = analysis.model_copy(update={"blocks": ()})
    keys = [spec.key for spec in bare.networks(trained.study, evidence)]
    both = [spec.key for spec in analysis.networks(trained.study, evidence)]
    assert both[: len(keys)] == keys
    assert len(both) == len(keys) + 2 * analysis.max_seeds


def test_without_blocks_the_identity_of_criticality_is_what_it_was() -> None:
    assert "blocks" not in CriticalityAnalysis().identity()
    assert CriticalityAnalysis(blocks=(8,)).identity()["blocks"] == [8]


class Shuffled(Diverging):
    """A context in which the networks of some members are those of others, never trained on shuffled images."""

    def __init__(self, context, stands_for) -> None:
        super().__init__(context)
        self.stands_for = stands_for

    def network(self, spec, epoch="last"):
        return super().network(self.stands_for.get(spec.key, spec), epoch)

    def diverged(self, spec) -> bool:
        return False


def test_a_shuffled_network_sees_shuffled_images(trained) -> None:
    study, evidence = trained.study, trained.evidence
    (member,) = [m for m in shuffled_members(study, evidence, (4,), (0,)) if m.variant == "P_T_block_4"]
    plain = tuned_member(study, "P_T", 0, evidence)
    context = Shuffled(trained.context, {member.spec.key: plain.spec})
    analysis = Rewind(blocks=(4,), rewind_to=(), **SETTINGS)
    units = [task for task in analysis.tasks(study, evidence) if task.members[0].variant == "P_T_block_4"]
    task = units[0]
    table = checked(analysis, analysis.measure(task, context).table)
    alone = rewind(
        context.network(plain.spec, 0),
        context.network(plain.spec),
        {"test": context.batches("test", ablation=member.spec.data.ablation)},
        evaluation=Evaluation(
            recompute_on=context.mixed_batches("train", 64, ablation=member.spec.data.ablation),
            metric=study.metric,
            device="cpu",
        ),
    )
    final = table.filter((pl.col("level") == "final") & (pl.col("split") == "test"))
    assert final["loss"][0] == float(alone.final["test"].losses.mean())
    assert final["network"][0] == "P-T-block-4[0]"
    critical = CriticalityAnalysis(blocks=(4,), max_seeds=1, train_images=60, batch_norm_images=64, quantity="loss")
    first = next(task for task in critical.tasks(study, evidence) if task.members[0].variant == "P_T_block_4")
    value = critical.measure(first, context).table["value"][0]
    assert value != critical.measure(first.model_copy(update={"members": (plain,)}), context).table["value"][0]


# -- settings ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "settings", "match"),
    [
        (Rewind, {"variants": ("P_T", "P_T")}, "holds a value twice"),
        (Rewind, {"groups": (("stem",),)}, "a group holds two modules or more"),
        (Rewind, {"groups": (("stem", "stem"),)}, "a group holds two modules or more"),
        (Rewind, {"blocks": (8,), "variants": ("RI_T",)}, "which variants leaves out"),
        (CriticalityAnalysis, {"blocks": (8,), "variants": ("RI_T",)}, "which variants leaves out"),
        (Rewind, {"epochs": (2,)}, "rewind_to does not name 'epochs'"),
        (Rewind, {"margin": 0.0}, "greater than 0"),
    ],
)
def test_bad_settings_are_named(kind, settings, match) -> None:
    with pytest.raises(ValueError, match=match):
        kind(**settings)


@pytest.mark.parametrize(
    ("analysis", "match"),
    [
        (Rewind(blocks=(5,)), "blocks: a block of 5 pixels does not divide"),
        (CriticalityAnalysis(blocks=(5,)), "blocks: a block of 5 pixels does not divide"),
        (Rewind(rewind_to=("epochs",), epochs=(9,)), "does not keep 9"),
        (Rewind(groups=(("stem", "tail"),)), "groups: there is no block tail"),
    ],
)
def test_settings_that_do_not_fit_the_study_are_named(trained, analysis, match) -> None:
    assert match in (analysis.check_study(trained.study.settings) or "")


def test_epochs_need_kept_epochs(trained) -> None:
    recipe = trained.study.settings.training.recipe.model_copy(update={"keep": "none"})
    training = trained.study.settings.training.model_copy(update={"recipe": recipe})
    bare = trained.study.settings.model_copy(update={"training": training})
    assert "rewind_to: epochs are asked for, but" in (Rewind(rewind_to=("epochs",)).check_study(bare) or "")
    assert Rewind().check_study(bare) is None


def test_images_grow_with_what_is_asked(trained) -> None:
    (task, *_) = Rewind(**SETTINGS).tasks(trained.study, trained.evidence)
    counts = [
        Rewind(**SETTINGS, **more).forward_passes(task, trained.study)
        for more in ({"rewind_to": ()}, {}, {"groups": (GROUP,)}, {"rewind_to": ("random", "epochs")})
    ]
    assert counts == sorted(counts)
    assert len(set(counts)) == 4
