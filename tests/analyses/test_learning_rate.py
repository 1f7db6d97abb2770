"""The search over learning rates: who is chosen, and when the grid grows."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.studies import Trained, study
from transferscope.analyses.contract import checked, schema
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.learning_rate import LearningRate, choose, scores
from transferscope.running.context import Context
from transferscope.running.rounds import expand

ANALYSIS = LearningRate()


def table(*rows: tuple) -> pl.DataFrame:
    """Rows of (variant, rate, seed, metric, loss); a metric of None is a diverged run."""
    made = pl.DataFrame(
        [
            {
                "variant": variant,
                "learning_rate": rate,
                "seed": seed,
                "epochs": 3,
                "updates": 30,
                "train_metric": metric,
                "validation_metric": metric,
                "validation_loss": loss,
                "diverged": metric is None,
            }
            for variant, rate, seed, metric, loss in rows
        ],
        schema=schema(ANALYSIS.columns),
    )
    return checked(ANALYSIS, made)


def both(p_t: dict[float, float | None], ri_t: dict[float, float | None]) -> pl.DataFrame:
    return table(
        *(
            (variant, rate, 1000, metric, None if metric is None else 1 - metric)
            for variant, metrics in (("P_T", p_t), ("RI_T", ri_t))
            for rate, metric in metrics.items()
        )
    )


def with_training(context: Context, **changes) -> "object":
    """The plain study's facts, with other settings of its training."""
    from dataclasses import replace

    asked = context.study.settings
    training = type(asked.training).model_validate({**asked.training.model_dump(), **changes})
    return replace(context.study, settings=asked.model_copy(update={"training": training}))


# -- choose -----------------------------------------------------------------------------------------------------


def test_the_highest_mean_metric_over_tuning_seeds_is_chosen() -> None:
    rows = table(
        ("P_T", 0.1, 1000, 0.9, 0.1),
        ("P_T", 0.1, 1001, 0.5, 0.1),
        ("P_T", 0.2, 1000, 0.75, 0.3),
        ("P_T", 0.2, 1001, 0.75, 0.3),
        ("RI_T", 0.1, 1000, 1.0, 0.1),
    )
    assert choose(rows, "P_T") == 0.2
    assert choose(rows, "RI_T") == 0.1


@pytest.mark.parametrize(
    ("rows", "chosen"),
    [
        ([(0.1, 0.8, 0.5), (0.2, 0.8, 0.4)], 0.2),  # equal metrics: the lower loss
        ([(0.2, 0.8, 0.5), (0.1, 0.8, 0.5), (0.4, 0.8, 0.5)], 0.1),  # equal losses as well: the lower rate
        ([(0.1, None, None), (0.2, 0.1, 9.0)], 0.2),  # a diverged one never wins
        ([(0.4, None, None), (0.2, None, None)], 0.2),  # all diverged: the lowest
        ([(0.3, 0.4, 1.0)], 0.3),
    ],
)
def test_ties_and_divergence(rows, chosen) -> None:
    assert choose(table(*(("P_T", rate, 1000, metric, loss) for rate, metric, loss in rows)), "P_T") == chosen


def test_a_rate_at_which_one_seed_diverged_comes_after_all_others() -> None:
    rows = table(
        ("P_T", 0.1, 1000, 0.5, 1.0), ("P_T", 0.1, 1001, 0.5, 1.0),
        ("P_T", 0.2, 1000, 0.9, 0.1), ("P_T", 0.2, 1001, None, None),
    )  # fmt: skip
    assert choose(rows, "P_T") == 0.1
    assert scores(rows, "P_T")["learning_rate"].to_list() == [0.1, 0.2]


def test_metrics_that_differ_by_the_order_of_a_sum_are_a_tie() -> None:
    parts = (0.1, 0.2, 0.3)
    assert (parts[0] + parts[1]) + parts[2] != (parts[2] + parts[1]) + parts[0]
    rows = table(
        *(("P_T", 0.2, 1000 + k, metric, 0.5) for k, metric in enumerate(parts)),
        *(("P_T", 0.1, 1000 + k, metric, 0.4) for k, metric in enumerate(reversed(parts))),
    )
    assert choose(rows, "P_T") == 0.1


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3)), min_size=1, max_size=6), st.randoms())
@settings(derandomize=True, deadline=None, max_examples=40)
def test_the_choice_does_not_depend_on_the_order_of_the_runs(values, shuffle) -> None:
    rows = [("P_T", 0.01 * 2**k, 1000, m / 10, loss / 4) for k, (m, loss) in enumerate(values)]
    literal = max(rows, key=lambda row: (row[3], -row[4], -row[1]))[1]
    shuffle.shuffle(rows)
    assert choose(table(*rows), "P_T") == literal


# -- the grid ---------------------------------------------------------------------------------------------------


def grown(context, metrics, limit: int = 20) -> list[list[float]]:
    """Every grid until nothing new is named; ``metrics(variant, rate)`` plays the trainings."""
    asked, grids = Evidence(), []
    for _ in range(limit):
        grid = ANALYSIS.grid(context, asked)
        if grids and grid == grids[-1]:
            return grids
        grids.append(grid)
        found = both(*({rate: metrics(variant, rate) for rate in grid} for variant in ("P_T", "RI_T")))
        asked = Evidence({ANALYSIS.key: found}, decision=True)
    raise AssertionError("the grid never ends")


def test_an_interior_best_leaves_the_grid_alone(plain: Context) -> None:
    assert grown(plain.study, lambda variant, rate: 1 - abs(rate - 0.1)) == [[0.02, 0.1, 0.5]]


def test_the_grid_is_shared_and_grows_until_both_are_interior(plain: Context) -> None:
    wide = with_training(plain, learning_rates=(0.01, 0.02, 0.04), extensions=5)
    peak = {"P_T": 0.0025, "RI_T": 0.16}

    def metrics(variant, rate):
        return 1 - abs(rate - peak[variant])

    grids = grown(wide, metrics)
    assert grids[0] == [0.01, 0.02, 0.04]
    assert grids[1] == [0.005, 0.01, 0.02, 0.04, 0.08]
    assert grids[-1] == [0.00125, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32]
    final = both(*({rate: metrics(variant, rate) for rate in grids[-1]} for variant in ("P_T", "RI_T")))
    assert {variant: choose(final, variant) for variant in peak} == peak
    assert not any("edge" in note for note in ANALYSIS.summarise(final, Evidence()).notes)


@pytest.mark.parametrize("extensions", [0, 1, 2])
def test_the_grid_ends_at_its_limit_and_says_so(plain: Context, extensions) -> None:
    limited = with_training(plain, extensions=extensions)
    grid = grown(limited, lambda variant, rate: rate / (1 + rate) if variant == "P_T" else 1 - abs(rate - 0.1))[-1]
    assert grid == [0.02, 0.1, 0.5, 2.5, 12.5][: 3 + extensions]
    table_there = both({rate: rate / 99 for rate in grid}, {rate: 1 - abs(rate - 0.1) for rate in grid})
    (note,) = ANALYSIS.summarise(table_there, Evidence()).notes
    assert note == "the best rate of P-T still lies at the edge of the grid: the search was cut short"


def test_where_every_rate_diverged_lower_ones_are_tried(plain: Context) -> None:
    assert grown(plain.study, lambda variant, rate: None)[-1] == [0.004, 0.02, 0.1, 0.5]


def test_one_rate_is_given_not_searched(plain: Context) -> None:
    given_one = with_training(plain, learning_rates=(0.1,), extensions=3)
    assert grown(given_one, lambda variant, rate: 0.5) == [[0.1]]
    assert ANALYSIS.further(given_one) == 0
    summary = ANALYSIS.summarise(both({0.1: 0.5}, {0.1: 0.6}), Evidence())
    assert summary.notes == ("one rate only: it was given, not chosen",)


@given(
    st.integers(0, 3),
    st.lists(st.sampled_from([0.001, 0.01, 0.1, 1.0, 10.0]), min_size=1, max_size=4, unique=True),
    st.floats(-6, 6),
    st.floats(-6, 6),
    st.sampled_from([(1000,), (1000, 1001)]),
)
@settings(derandomize=True, deadline=None, max_examples=40)
def test_further_is_an_upper_bound(plain: Context, extensions, rates, p_peak, ri_peak, seeds) -> None:
    import math

    asked = with_training(plain, learning_rates=tuple(rates), extensions=extensions, tuning_seeds=seeds)
    peak = {"P_T": p_peak, "RI_T": ri_peak}
    grids = grown(asked, lambda variant, rate: 1 / (1 + abs(math.log10(rate) - peak[variant])))
    added = (len(grids[-1]) - len(grids[0])) * 2 * len(seeds)
    assert added <= ANALYSIS.further(asked)
    assert set(grids[0]) <= set(grids[-1])


def test_both_variants_get_the_same_trainings(plain: Context) -> None:
    two = with_training(plain, tuning_seeds=(1000, 1001), tuning_epochs=2)
    units = list(ANALYSIS.units(two, Evidence(decision=True)))
    asked = {"P_T": [], "RI_T": []}
    for unit in units:
        (member,) = unit.members
        recipe = member.spec.recipe
        assert (recipe.epochs, member.spec.seed) == (2, member.seed)
        asked[member.variant].append((recipe.learning_rate, member.seed))
    assert sorted(asked["P_T"]) == sorted(asked["RI_T"]) == [(r, s) for r in (0.02, 0.1, 0.5) for s in (1000, 1001)]
    assert {spec.key for spec in ANALYSIS.networks(two, Evidence())} == {u.members[0].spec.key for u in units}


def test_a_plan_supposes_a_table_from_which_all_others_expand(plain: Context) -> None:
    supposed = checked(ANALYSIS, ANALYSIS.supposed(plain.study))
    assert choose(supposed, "P_T") == choose(supposed, "RI_T") == 0.1
    two_rates = with_training(plain, learning_rates=(0.1, 0.5))
    from transferscope.analyses.learning_curves import LearningCurves

    evidence = Evidence({ANALYSIS.key: ANALYSIS.supposed(two_rates)})
    step = expand(two_rates, [LearningCurves()], evidence, [ANALYSIS.key], {})
    grid = [piece for piece in step.pieces if piece.unit.settings["setting"] == "grid"]
    assert len(grid) == 4, "only rates of the table: what comes on top is counted by further()"


# -- measure and summary ----------------------------------------------------------------------------------------


def test_the_table_is_the_end_of_each_history(trained: Trained) -> None:
    found = trained.evidence.table(ANALYSIS)
    assert found.height == 2 * len(found["learning_rate"].unique())
    for row in found.iter_rows(named=True):
        spec = trained.study.trained(row["variant"], row["seed"], row["learning_rate"], 3)
        # A tuning run keeps no epochs, whatever the study keeps of its report runs.
        assert trained.study.settings.training.recipe.keep == "all"
        spec = spec.model_copy(update={"recipe": spec.recipe.model_copy(update={"keep": "none"})})
        last = trained.context.history(spec).filter(pl.col("epoch") == 3)
        assert row["updates"] == last["updates"][0] > 0
        assert row["validation_metric"] == last["validation_metric"][0]
        assert row["validation_loss"] == last["validation_loss"][0]
        assert row["train_metric"] == last["train_metric"][0]
        assert (row["epochs"], row["seed"], row["diverged"]) == (3, 1000, False)


def test_a_diverged_run_has_no_numbers(tmp_path, monkeypatch) -> None:
    from tests.studies import bound

    class Lost(Context):
        def history(self, spec):
            return pl.DataFrame(
                {"epoch": [0, 1], "updates": [0, 7], "train_metric": [0.3, 0.4], "validation_metric": [0.3, 0.4],
                 "validation_loss": [1.0, 99.0], "diverged": [False, True]}
            )  # fmt: skip

    context = bound(tmp_path)
    unit = next(iter(ANALYSIS.units(context.study, Evidence())))
    row = checked(ANALYSIS, ANALYSIS.measure(unit, Lost(context.store, context.study)).table).row(0, named=True)
    assert row["diverged"]
    assert (row["updates"], row["train_metric"], row["validation_metric"], row["validation_loss"]) == (
        7,
        None,
        None,
        None,
    )


def test_the_summary_speaks_of_the_rate_that_was_chosen() -> None:
    rows = table(
        ("P_T", 0.1, 1000, None, None), ("P_T", 0.1, 1001, 0.2, 2.0),
        ("P_T", 0.2, 1000, 0.9, 0.1), ("P_T", 0.2, 1001, None, None),
        ("RI_T", 0.1, 1000, 0.6, 1.0), ("RI_T", 0.1, 1001, 0.6, 1.0),
        ("RI_T", 0.2, 1000, 0.5, 1.0), ("RI_T", 0.2, 1001, 0.5, 1.0),
    )  # fmt: skip
    summary = ANALYSIS.summarise(rows, Evidence())
    # A run diverged at both rates of P-T: the lowest is taken, and no better metric of another rate is told of it.
    assert summary.verdict == (
        "Chosen on validation data out of 0.1, 0.2: RI-T 0.1, P-T 0.1 (a run diverged at every rate: the lowest is "
        "taken)."
    )
    numbers = {number.name: number for number in summary.numbers}
    assert numbers["chosen rate of P-T"].note == "a run diverged at every rate: the lowest is taken"
    assert (numbers["chosen rate of RI-T"].value, numbers["chosen rate of RI-T"].note) == (
        0.1,
        "validation metric 0.600",
    )
    assert numbers["chosen rate of RI-T"].n == 2
    assert "P-T diverged at 0.1, 0.2" in summary.notes


def test_an_undefined_metric_leaves_the_choice_to_the_loss() -> None:
    rows = table(
        ("P_T", 0.1, 1, 0.5, 2.0), ("P_T", 0.2, 1, 0.5, 1.0), ("RI_T", 0.1, 1, 0.5, 1.0), ("RI_T", 0.2, 1, 0.5, 2.0)
    )
    undefined = rows.with_columns(pl.lit(None, pl.Float64).alias("validation_metric"))
    assert [choose(undefined, variant) for variant in ("P_T", "RI_T")] == [0.2, 0.1]
    note = "the metric is not defined on the validation images: chosen by the loss"
    assert {number.note for number in ANALYSIS.summarise(undefined, Evidence()).numbers} == {note}


def test_report_seeds_never_tune(tmp_path) -> None:
    with pytest.raises(ValueError, match="tuning seeds are not report seeds"):
        study(tmp_path, training={"tuning_seeds": [3]})
