"""Which networks a study's variants are."""

import pytest

from tests.analyses.test_learning_curves import rates
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.tuned import tuned_member, tuned_members
from transferscope.context.context import Context
from transferscope.context.resolved_study import recipe_of
from transferscope.errors import AnalysisError
from transferscope.keys import shown
from transferscope.study.settings import VariantRecipe


def test_variants_are_shown_with_hyphens() -> None:
    assert [shown(name) for name in ("RI", "P_T", "RI_T_long", "P_T − RI_T")] == [
        "RI",
        "P-T",
        "RI-T-long",
        "P-T − RI-T",
    ]


def test_a_shorter_recipe_keeps_what_fits_it() -> None:
    settings = VariantRecipe(epochs=10, warmup_epochs=4, keep=(0, 3, 9), schedule="cosine", memory_format="auto")
    whole = recipe_of(settings, 0.1, "channels_last", "top1")
    assert (whole.epochs, whole.warmup_epochs, whole.keep) == (10, 4, (0, 3, 9))
    assert (whole.learning_rate, whole.memory_format, whole.metric) == (0.1, "channels_last", "top1")
    short = recipe_of(settings, 0.1, "channels_last", "top1", 3)
    assert (short.epochs, short.warmup_epochs, short.keep) == (3, 1.5, (0, 3))
    fixed = settings.model_copy(update={"memory_format": "contiguous", "keep": "all"})
    assert recipe_of(fixed, 0.1, "channels_last", "top1", 3).memory_format == "contiguous"
    assert recipe_of(fixed, 0.1, "channels_last", "top1", 3).keep == "all"


def test_networks_of_one_seed_pair(plain: Context) -> None:
    """P-T[s] and RI-T[s] differ in their start alone: recipe, data and seed (head, order, augmentation) are one."""
    study = plain.study
    p_t, ri_t = (study.trained(variant, 2, 0.1) for variant in ("P_T", "RI_T"))
    assert p_t.model_copy(update={"start": ri_t.start}) == ri_t
    assert p_t.start == study.pretrained != ri_t.start
    assert p_t.untrained() == study.untrained("P", 2)
    heads = [plain.start(study.untrained("RI", 2)).head.weight for _ in range(2)]
    assert heads[0].equal(heads[1])
    assert not heads[0].equal(plain.start(study.untrained("RI", 3)).head.weight)


def test_members_are_at_their_own_chosen_rates(plain: Context) -> None:
    study, evidence = plain.study, rates(p_t=0.1, ri_t=0.2)
    members = {
        member.label: member for member in tuned_members(study, evidence, ("RI", "P", "RI_T", "P_T", "RI_T_long"))
    }
    assert len(members) == 5 * 4
    recipes = {label: member.spec.recipe for label, member in members.items()}
    assert recipes["RI[0]"] is recipes["P[3]"] is None
    assert (recipes["P-T[0]"].learning_rate, recipes["P-T[0]"].epochs) == (0.1, 4)
    assert (recipes["RI-T[1]"].learning_rate, recipes["RI-T[1]"].epochs) == (0.2, 4)
    assert (recipes["RI-T-long[1]"].learning_rate, recipes["RI-T-long[1]"].epochs) == (0.2, 6)
    with pytest.raises(AnalysisError, match="there is no table of 'learning_rate' yet"):
        tuned_member(study, "P_T", 0, Evidence())
